//! To the registers of AVX-512: `xmm n` becomes `zmm n`, spill slots become `zmm16..zmm29` (512-bit
//! values never lie in 16-byte slots), and constants are broadcast from memory. Square roots become
//! multiply-adds (see [`roots`](super::roots)), and what reads copies and constants reads them where
//! they are (see [`operands`](super::operands)).

use super::code::{assemble, branch_targets, decode, tidy};
use super::masks::{Masks, drop_unread};
use super::operands::name_sources;
use super::roots::Roots;
use super::slots::{Pool, Slot, enlarge_frame, spill_slots};
use super::tables::{Form, Move, takes_count};
use super::{Asks, Reader, Widened, make2, make3, unknown, with_memory_of};
use crate::emit::{Fold, Frame};
use iced_x86::{Code, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};
use std::collections::HashMap;

/// Registers from `zmm16` that spill slots may become, without square roots and with.
const SPARE: [usize; 2] = [14, 12];
/// For a moment.
pub(super) const SCRATCH: Register = Register::ZMM30;
/// In a masked tail, the mask as lanes of 0 and -1.
const MASK_LANES: Register = Register::ZMM31;
/// In a masked tail, the mask.
const MASK: Register = Register::K2;

/// Widens the code of a function that makes no calls: spill slots are registers, which would not
/// survive them.
pub(super) fn widen(code: &[u8], frame: Frame) -> Result<Widened, String> {
    let (instructions, constants) = decode(code)?;
    let pool = Pool::new(code, constants, 4, frame.lane_bytes);
    let roots = |old: &Instruction| old.mnemonic() == Mnemonic::Vsqrtps;
    let spare = SPARE[usize::from(instructions.iter().any(roots))];
    let slots = spill_slots(&instructions, frame.slot_bytes, &pool, (spare, 64));
    let in_memory = |slot: &&Slot| matches!(slot, Slot::Memory(_));
    let extra = 64 * slots.values().filter(in_memory).count() as u64;
    let mut widener = Widener {
        reader: Reader::new(frame),
        slots,
        extra,
        pool,
        masks: Masks::default(),
        roots: Roots::default(),
        out: Vec::with_capacity(instructions.len() + 16),
    };
    let targets = branch_targets(&instructions);
    let mut info = InstructionInfoFactory::new();
    for instruction in &instructions {
        if targets.contains(&instruction.ip()) {
            widener.masks.forget();
        }
        let held = widener.masks.after(instruction, &mut info);
        let asks = widener.reader.read(instruction)?;
        widener.instruction(instruction, asks)?;
        widener.masks.settle(held);
    }
    widener.reader.finish(frame)?;
    widener.roots.finish(&mut widener.out);
    name_sources(&mut widener.out);
    let mut out = tidy(widener.out);
    if widener.masks.spared {
        drop_unread(&mut out);
    }
    enlarge_frame(&mut out, extra)?;
    assemble(out, &widener.pool.bytes(), constants, &[])
}

/// The 512-bit register that contains a vector register.
pub(super) fn zmm(register: Register) -> Register {
    Register::ZMM0 + register.number() as u32
}

struct Widener<'a> {
    reader: Reader,
    slots: HashMap<u64, Slot>,
    /// By how much the frame grows, for [`Slot::Memory`].
    extra: u64,
    pool: Pool<'a>,
    /// Which mask registers hold what vector registers hold as lanes.
    masks: Masks,
    roots: Roots,
    out: Vec<Instruction>,
}

impl Widener<'_> {
    /// Appends; the first instruction that an old one becomes carries its address.
    fn push(&mut self, mut instruction: Instruction, ip: u64) {
        instruction.set_ip(ip);
        self.out.push(instruction);
    }

    fn instruction(&mut self, old: &Instruction, asks: Asks) -> Result<(), String> {
        match asks {
            Asks::Return => {
                self.push(Instruction::with(Code::VEX_Vzeroupper), old.ip());
                self.push(*old, 0);
            }
            Asks::Call => return Err("a call".to_owned()),
            Asks::Tail { begins } => self.tail(old, begins),
            Asks::Prefetch => {
                let mut new = *old;
                new.set_code(Code::Prefetcht0_m8);
                self.push(new, old.ip());
            }
            Asks::Zero(to, of) => {
                let (to, of) = (zmm(to), zmm(of));
                let code = Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
                self.push(make3(code, to, of, of), old.ip());
            }
            Asks::Scalar => self.push(*old, old.ip()),
            Asks::Spill(slot) => self.spill(old, slot),
            Asks::Fold(fold) => self.fold(fold, old),
            Asks::Broadcast(from, 4) => self.broadcast(old, from),
            Asks::BroadcastLoad(4) => self.broadcast_load(old),
            Asks::Broadcast(..) | Asks::BroadcastLoad(_) => return Err(unknown(old)),
            Asks::Move(way) => self.copy(old, way)?,
            Asks::Lanes => self.lanes(old)?,
        }
        Ok(())
    }

    fn lanes(&mut self, old: &Instruction) -> Result<(), String> {
        match old.mnemonic() {
            Mnemonic::Vcmpps => {
                let compare = self.wide(old, Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae)?;
                self.mask(compare, old);
            }
            Mnemonic::Vpcmpeqd if old.op1_register() == old.op2_register() => {
                let ones = zmm(old.op0_register());
                let mut all = make3(
                    Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8,
                    ones,
                    ones,
                    ones,
                );
                all.set_op3_kind(OpKind::Immediate8);
                all.set_immediate8(0xff);
                self.push(all, old.ip());
            }
            Mnemonic::Vpcmpeqd | Mnemonic::Vpcmpgtd => {
                let code = if old.mnemonic() == Mnemonic::Vpcmpeqd {
                    Code::EVEX_Vpcmpeqd_kr_k1_zmm_zmmm512b32
                } else {
                    Code::EVEX_Vpcmpgtd_kr_k1_zmm_zmmm512b32
                };
                let compare = self.wide(old, code)?;
                self.mask(compare, old);
            }
            Mnemonic::Vpblendvb | Mnemonic::Vblendvps => self.blend(old)?,
            Mnemonic::Vsqrtps => self.root(old)?,
            _ => {
                let form = Form::of(old.code()).ok_or_else(|| unknown(old))?;
                let new = self.wide(old, form.of_512)?;
                self.push(new, old.ip());
            }
        }
        Ok(())
    }

    fn tail(&mut self, old: &Instruction, begins: bool) {
        if !begins {
            self.push(Instruction::with(Code::Nopd), old.ip());
            return;
        }
        self.push(*old, old.ip());
        let load = make2(Code::VEX_Kmovw_kr_km16, MASK, Register::K0);
        self.push(with_memory_of(load, 1, old), 0);
        self.push(make2(Code::EVEX_Vpmovm2d_zmm_kr, MASK_LANES, MASK), 0);
    }

    /// A comparison into a mask register, and from there to lanes of 0 and -1.
    fn mask(&mut self, mut compare: Instruction, old: &Instruction) {
        let lanes = zmm(old.op0_register());
        let mask = self.masks.give(lanes);
        compare.set_op0_register(mask);
        compare.set_zeroing_masking(false);
        self.push(compare, old.ip());
        self.push(make2(Code::EVEX_Vpmovm2d_zmm_kr, lanes, mask), 0);
    }

    /// `d = mask ? c : b`, operands `d, b, c, mask`.
    fn blend(&mut self, old: &Instruction) -> Result<(), String> {
        let lanes = zmm(old.op3_register());
        let mask = self.masks.of(lanes);
        let to_mask = match mask {
            Some(_) => Instruction::with(Code::Nopd),
            None => make2(Code::EVEX_Vpmovd2m_kr_zmm, Register::K1, lanes),
        };
        // The new form has three operands: the mask is a field.
        let new = self.wide(old, Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32)?;
        let mut new = without_fourth(&new);
        self.push(to_mask, old.ip());
        if new.op2_kind() == OpKind::Memory && self.reader.masked && !new.is_broadcast() {
            // Its mask field is taken, so the tail's mask goes to a load of its own.
            let mut load = new;
            load.set_code(Code::EVEX_Vmovups_zmm_k1z_zmmm512);
            load.set_op0_register(SCRATCH);
            load.set_op1_kind(OpKind::Memory);
            load.set_op2_kind(OpKind::Register);
            load.set_op2_register(Register::None);
            load.set_op_mask(MASK);
            load.set_zeroing_masking(true);
            self.push(load, 0);
            new = make3(
                Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32,
                new.op0_register(),
                new.op1_register(),
                SCRATCH,
            );
        }
        new.set_op_mask(mask.unwrap_or(Register::K1));
        self.push(new, 0);
        Ok(())
    }

    /// The root in place of what it is of, which is brought there first.
    fn root(&mut self, old: &Instruction) -> Result<(), String> {
        let first = self.out.len();
        if old.op1_kind() == OpKind::Memory || old.op1_register() != old.op0_register() {
            let mut bring = *old;
            bring.set_code(Code::VEX_Vmovups_xmm_xmmm128);
            self.copy(&bring, Move::ToRegister)?;
        }
        let x = zmm(old.op0_register());
        let after = old.next_ip();
        self.roots.push(x, after, &mut self.pool, &mut self.out);
        self.out[first].set_ip(old.ip());
        Ok(())
    }

    /// Moves the upper half of the lanes that count onto the lower, and some other lanes about.
    fn fold(&mut self, fold: Fold, old: &Instruction) {
        let (to, from) = (zmm(old.op0_register()), zmm(old.op1_register()));
        let quarters = Code::EVEX_Vshufi64x2_zmm_k1z_zmm_zmmm512b64_imm8;
        let within = Code::EVEX_Vpshufd_zmm_k1z_zmmm512b32_imm8;
        let (mut new, order) = match fold {
            Fold::Half => (make3(quarters, to, from, from), 0b01_00_11_10),
            Fold::Quarter => (make3(quarters, to, from, from), 0b10_11_00_01),
            Fold::Pair => (make2(within, to, from), 0b01_00_11_10),
            Fold::One => (make2(within, to, from), 0b10_11_00_01),
        };
        match new.op_count() {
            4 => new.set_op3_kind(OpKind::Immediate8),
            _ => new.set_op2_kind(OpKind::Immediate8),
        }
        new.set_immediate8(order);
        self.push(new, old.ip());
    }

    fn broadcast(&mut self, old: &Instruction, from: Register) {
        let new = make2(
            Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
            zmm(old.op0_register()),
            from,
        );
        self.push(new, old.ip());
    }

    fn broadcast_load(&mut self, old: &Instruction) {
        let mut new = *old;
        new.set_code(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
        new.set_op0_register(zmm(old.op0_register()));
        self.push(new, old.ip());
    }

    /// A move that is no spill.
    fn copy(&mut self, old: &Instruction, way: Move) -> Result<(), String> {
        if old.is_ip_rel_memory_operand() {
            self.pool.splat(old.ip_rel_memory_address())?;
            self.broadcast_load(old);
            return Ok(());
        }
        let code = match way {
            Move::ToRegister => Code::EVEX_Vmovups_zmm_k1z_zmmm512,
            Move::ToMemory => Code::EVEX_Vmovups_zmmm512_k1z_zmm,
        };
        let new = self.wide(old, code)?;
        self.push(new, old.ip());
        Ok(())
    }

    fn spill(&mut self, old: &Instruction, slot: u64) {
        let store = old.op0_kind() == OpKind::Memory;
        let new = match (self.slots[&slot], store) {
            (Slot::Register(register), true) => make2(
                Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
                register,
                zmm(old.op1_register()),
            ),
            (Slot::Register(register), false) => make2(
                Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
                zmm(old.op0_register()),
                register,
            ),
            (Slot::Memory(offset), _) => {
                let mut new = *old;
                new.set_code(if store {
                    Code::EVEX_Vmovaps_zmmm512_k1z_zmm
                } else {
                    Code::EVEX_Vmovaps_zmm_k1z_zmmm512
                });
                let register = u32::from(store);
                new.set_op_register(register, zmm(old.op_register(register)));
                // `enlarge_frame` adds `extra` to all of them.
                new.set_memory_displacement64(offset.wrapping_sub(self.extra));
                new
            }
            // Keeps the address, should it be a branch target; removed by `tidy`.
            (Slot::Constant(_), true) => Instruction::with(Code::Nopd),
            (Slot::Constant(address), false) => load_constant(zmm(old.op0_register()), address),
        };
        self.push(new, old.ip());
    }

    /// The instruction under another code, its registers widened. Constants are broadcast.
    fn wide(&self, old: &Instruction, code: Code) -> Result<Instruction, String> {
        let mut new = *old;
        new.set_code(code);
        for operand in 0..old.op_count().min(new.op_count()) {
            if old.op_kind(operand) == OpKind::Register {
                let register = old.op_register(operand);
                // A shift count stays 128 bits.
                let count = operand == 2 && takes_count(code);
                if register.is_vector_register() && !count {
                    new.set_op_register(operand, zmm(register));
                }
            } else if old.op_kind(operand) == OpKind::Memory && old.is_ip_rel_memory_operand() {
                if takes_count(code) {
                    return Err("a shift count in memory".to_owned());
                }
                self.pool.splat(old.ip_rel_memory_address())?;
                new.set_is_broadcast(true);
            } else if old.op_kind(operand) == OpKind::Memory && self.reader.loads_mask(old) {
                new.set_op_kind(operand, OpKind::Register);
                new.set_op_register(operand, MASK_LANES);
                new.set_memory_base(Register::None);
                new.set_memory_displ_size(0);
                new.set_memory_displacement64(0);
            } else if old.op_kind(operand) == OpKind::Memory && self.reader.masked {
                if takes_count(code) {
                    return Err("a shift count in memory".to_owned());
                }
                new.set_op_mask(MASK);
                // Lanes that are not there become 0; stores and comparisons have no such form.
                new.set_zeroing_masking(operand != 0);
            }
        }
        Ok(new)
    }
}

/// The constant in all lanes of a register.
pub(super) fn load_constant(to: Register, address: u64) -> Instruction {
    let load = make2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, to, Register::None);
    with_constant(load, 1, address)
}

/// With a constant, in all lanes, for an operand.
pub(super) fn with_constant(
    mut instruction: Instruction,
    operand: u32,
    address: u64,
) -> Instruction {
    instruction.set_op_kind(operand, OpKind::Memory);
    instruction.set_memory_base(Register::RIP);
    instruction.set_memory_displ_size(8);
    instruction.set_memory_displacement64(address);
    // A broadcast to a register is one by its code.
    instruction.set_is_broadcast(instruction.code() != Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
    instruction
}

/// The instruction built anew from its first three operands.
fn without_fourth(old: &Instruction) -> Instruction {
    let mut new = make2(old.code(), old.op0_register(), old.op1_register());
    if old.op2_kind() == OpKind::Register {
        new.set_op2_register(old.op2_register());
    } else {
        new = with_memory_of(new, 2, old);
        new.set_is_broadcast(old.is_broadcast());
    }
    new
}
