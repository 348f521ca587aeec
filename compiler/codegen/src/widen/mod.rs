//! 128-bit machine code of a wide kernel made into 256-bit or 512-bit code.
//!
//! Cranelift has no registers wider than 128 bits on x86-64. A wide kernel (see `emit::wide`) is
//! written as if one of them held 8 or 16 lanes of 32 bits, or 4 of 64 bits: only lane-wise instructions, broadcasts
//! of scalars, whole loads and stores at addresses that step by that much, and shuffles that stand
//! for the steps of a tree over the lanes. Here every packed instruction becomes its wider form, in
//! [`to256`] for AVX2 and in [`to512`] for AVX-512. What is not known here is refused, and the
//! kernel is compiled the next narrower way: a refusal costs speed, never bits.

mod code;
mod masks;
mod operands;
mod roots;
mod slots;
mod tables;
mod to256;
mod to512;

pub(crate) use code::disassemble;

use crate::emit::{FOLDS, Fold, Frame, PREFETCH, mask_slot};
use aec_runtime::gemm::Isa;
use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};
use slots::{spill, touches_spills};
use tables::{Move, is_scalar};

/// Where the old code is taken to lie, and the new. Far apart: the encoder takes an address that
/// is an old instruction's for a branch target.
const OLD: u64 = 0x1000_0000;
const NEW: u64 = 0x2000_0000;

/// Alignment of widened code, for the constants in it.
pub(crate) const ALIGNMENT: u64 = 64;

/// Registers wider than Cranelift's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wider {
    /// Of AVX2.
    Bits256,
    /// Of AVX-512.
    Bits512,
}

impl Wider {
    /// Those of an instruction set.
    pub(crate) fn of(isa: Isa) -> Option<Wider> {
        match isa {
            Isa::Portable => None,
            Isa::Avx2 => Some(Wider::Bits256),
            Isa::Avx512 => Some(Wider::Bits512),
        }
    }

    pub(crate) fn bytes(self) -> u32 {
        match self {
            Wider::Bits256 => 32,
            Wider::Bits512 => 64,
        }
    }
}

/// Widened code.
pub(crate) struct Widened {
    pub(crate) bytes: Vec<u8>,
    /// Where the addresses now are that are filled in later, in the given order.
    pub(crate) relocs: Vec<u32>,
}

/// Widens the code of a function; `relocs` are the places of addresses that are filled in later, of
/// what it calls. An error says what is not known.
pub(crate) fn widen(
    code: &[u8],
    relocs: &[u32],
    frame: Frame,
    wider: Wider,
) -> Result<Widened, String> {
    match wider {
        Wider::Bits256 => to256::widen(code, relocs, frame),
        Wider::Bits512 if frame.lane_bytes != 4 => Err("lanes of 64 bits".to_owned()),
        Wider::Bits512 => to512::widen(code, frame),
    }
}

/// What an instruction of the old code asks for.
enum Asks {
    Return,
    Call,
    /// The beginning of a masked tail, or its end.
    Tail {
        begins: bool,
    },
    Prefetch,
    /// Zeros in the first register; the second is what they are computed from.
    Zero(Register, Register),
    /// Nothing of a vector but perhaps its first lane.
    Scalar,
    /// A whole register to or from this spill slot.
    Spill(u64),
    /// The upper half of the lanes that count on the lower.
    Fold(Fold),
    /// This register's first word, of so many bytes, in all of them.
    Broadcast(Register, u32),
    /// A word in memory, of so many bytes, in all of them.
    BroadcastLoad(u32),
    /// A whole register from or to one, or memory.
    Move(Move),
    /// Something of each lane.
    Lanes,
}

/// Reads the old code in order.
struct Reader {
    slot_bytes: u32,
    /// Within a masked tail.
    masked: bool,
    /// Masked tails that have ended.
    tails: u32,
}

impl Reader {
    fn new(frame: Frame) -> Reader {
        Reader {
            slot_bytes: frame.slot_bytes,
            masked: false,
            tails: 0,
        }
    }

    /// What the next instruction asks for.
    fn read(&mut self, old: &Instruction) -> Result<Asks, String> {
        match old.flow_control() {
            FlowControl::Return => return Ok(Asks::Return),
            FlowControl::Call | FlowControl::IndirectCall => return Ok(Asks::Call),
            _ => {}
        }
        if let Some(offset) = self.mask_store(old) {
            return self.tail(offset);
        }
        match old.code() {
            Code::Mov_rm16_imm16 if old.immediate16() == PREFETCH.cast_unsigned() => {
                return Ok(Asks::Prefetch);
            }
            // The old code may write more than it should only where it asks for a prefetch.
            Code::Mov_rm16_imm16 | Code::Mov_rm16_r16 => {
                return Err("a 16-bit store".to_owned());
            }
            Code::Xorps_xmm_xmmm128 | Code::Xorpd_xmm_xmmm128 | Code::Pxor_xmm_xmmm128
                if old.op1_kind() == OpKind::Register
                    && old.op0_register() == old.op1_register() =>
            {
                return Ok(Asks::Zero(old.op0_register(), old.op0_register()));
            }
            _ => {}
        }
        let vector = (0..old.op_count()).any(|operand| {
            old.op_kind(operand) == OpKind::Register
                && old.op_register(operand).is_vector_register()
        });
        if !vector || is_scalar(old.mnemonic()) {
            return Ok(Asks::Scalar);
        }
        if let Some(slot) = spill(old, self.slot_bytes) {
            return Ok(Asks::Spill(slot));
        }
        if touches_spills(old, self.slot_bytes) {
            return Err("a spill slot as an operand".to_owned());
        }
        if is_same_operands_zero(old) {
            return Ok(Asks::Zero(old.op0_register(), old.op1_register()));
        }
        let of_register = old.op1_kind() == OpKind::Register;
        Ok(match old.mnemonic() {
            // What a tree over the lanes has left in the first one.
            Mnemonic::Vpextrd | Mnemonic::Vpextrq if old.immediate8() == 0 && !self.masked => {
                Asks::Scalar
            }
            Mnemonic::Vpshufd if of_register => {
                let folds = FOLDS.iter().find(|fold| fold.marker() == old.immediate8());
                match (folds, old.immediate8()) {
                    (Some(fold), _) => Asks::Fold(*fold),
                    (None, 0) => Asks::Broadcast(old.op1_register(), 4),
                    (None, 0b01_00_01_00) => Asks::Broadcast(old.op1_register(), 8),
                    _ => Asks::Lanes,
                }
            }
            Mnemonic::Vshufps
                if old.immediate8() == 0
                    && old.op2_kind() == OpKind::Register
                    && old.op1_register() == old.op2_register() =>
            {
                Asks::Broadcast(old.op1_register(), 4)
            }
            mnemonic => match (broadcast(mnemonic), of_register) {
                (Some(bytes), true) => Asks::Broadcast(old.op1_register(), bytes),
                (Some(bytes), false) => Asks::BroadcastLoad(bytes),
                (None, _) => Move::of(old.code()).map_or(Asks::Lanes, Asks::Move),
            },
        })
    }

    /// Offset in the mask slot of a scalar store to it.
    fn mask_store(&self, old: &Instruction) -> Option<u64> {
        let here = old.op0_kind() == OpKind::Memory
            && old.mnemonic() == Mnemonic::Mov
            && old.memory_base() == Register::RSP
            && old.memory_index() == Register::None
            && self.slot_bytes > 0;
        let offset = old.memory_displacement64();
        (here && offset <= mask_slot::END as u64).then_some(offset)
    }

    fn tail(&mut self, offset: u64) -> Result<Asks, String> {
        let begins = offset == mask_slot::BEGIN as u64;
        if begins == self.masked || !begins && offset != mask_slot::END as u64 {
            return Err(misplaced_tails());
        }
        self.masked = begins;
        self.tails += u32::from(!begins);
        Ok(Asks::Tail { begins })
    }

    /// Whether the memory operand is the mask as lanes.
    fn loads_mask(&self, old: &Instruction) -> bool {
        self.masked
            && old.memory_base() == Register::RSP
            && old.memory_index() == Register::None
            && old.memory_displacement64() == mask_slot::LANES as u64
    }

    /// At the end of the code: an error if masked tails are not what the frame says.
    fn finish(&self, frame: Frame) -> Result<(), String> {
        match !self.masked && self.tails == frame.tails {
            true => Ok(()),
            false => Err(misplaced_tails()),
        }
    }
}

/// How many bytes the instruction puts all over a register, if it does.
fn broadcast(mnemonic: Mnemonic) -> Option<u32> {
    match mnemonic {
        Mnemonic::Vbroadcastss | Mnemonic::Vpbroadcastd => Some(4),
        Mnemonic::Vmovddup | Mnemonic::Vpbroadcastq => Some(8),
        _ => None,
    }
}

fn misplaced_tails() -> String {
    "masked tails are not where they should be".to_owned()
}

fn unknown(old: &Instruction) -> String {
    format!("{:?} is not known", old.code())
}

/// `xor x, x` and the like.
fn is_same_operands_zero(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Vxorps | Mnemonic::Vpxor | Mnemonic::Vxorpd
    ) && instruction.op2_kind() == OpKind::Register
        && instruction.op1_register() == instruction.op2_register()
}

fn make2(code: Code, a: Register, b: Register) -> Instruction {
    let mut new = Instruction::default();
    new.set_code(code);
    new.set_op0_register(a);
    new.set_op1_register(b);
    new
}

fn make3(code: Code, a: Register, b: Register, c: Register) -> Instruction {
    let mut new = make2(code, a, b);
    new.set_op2_register(c);
    new
}

/// With the memory operand of another instruction for an operand.
fn with_memory_of(mut new: Instruction, operand: u32, old: &Instruction) -> Instruction {
    new.set_op_kind(operand, OpKind::Memory);
    new.set_memory_base(old.memory_base());
    new.set_memory_index(old.memory_index());
    new.set_memory_index_scale(old.memory_index_scale());
    new.set_memory_displ_size(old.memory_displ_size());
    new.set_memory_displacement64(old.memory_displacement64());
    new
}
