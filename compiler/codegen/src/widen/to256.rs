//! To the registers of AVX2: `xmm n` becomes `ymm n` and nearly every instruction the one of the same
//! name. There are no more registers than Cranelift has given out and no mask registers, so spill
//! slots stay in memory, and in a masked tail what reads or writes memory does so through
//! `vmaskmovps` or `vmaskmovpd`, whose mask is fetched from the frame each time.

use super::code::{assemble, decode, filled_in, tidy};
use super::slots::{Pool, Slot, enlarge_frame, spill_slots};
use super::tables::{Form, Move, form_of_64, takes_count};
use super::{Asks, Reader, Widened, make2, make3, unknown, with_memory_of};
use crate::emit::{Fold, Frame};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use std::collections::HashMap;

/// Bytes of a register.
const BYTES: u64 = 32;

/// See [`super::widen`].
pub(super) fn widen(code: &[u8], relocs: &[u32], frame: Frame) -> Result<Widened, String> {
    let (instructions, constants) = decode(code)?;
    let filled_in = filled_in(&instructions, relocs)?;
    let pool = Pool::new(code, constants, BYTES as usize, frame.lane_bytes);
    let slots = spill_slots(&instructions, frame.slot_bytes, &pool, (0, BYTES));
    let in_memory = |slot: &&Slot| matches!(slot, Slot::Memory(_));
    let mask = BYTES * slots.values().filter(in_memory).count() as u64;
    // Behind the slots: the mask, and a register that is needed for a moment.
    let extra = (mask + 2 * BYTES).next_multiple_of(64);
    let mut widener = Widener {
        reader: Reader::new(frame),
        lane_bytes: frame.lane_bytes,
        slots,
        mask: mask.wrapping_sub(extra),
        saved: (mask + BYTES).wrapping_sub(extra),
        extra,
        pool,
        out: Vec::with_capacity(instructions.len() + 16),
    };
    for instruction in &instructions {
        let asks = widener.reader.read(instruction)?;
        let first = widener.out.len();
        widener.instruction(instruction, asks)?;
        // The first instruction that an old one becomes carries its address.
        for (at, new) in widener.out[first..].iter_mut().enumerate() {
            new.set_ip(if at == 0 { instruction.ip() } else { 0 });
        }
    }
    widener.reader.finish(frame)?;
    let mut out = tidy(widener.out);
    enlarge_frame(&mut out, extra)?;
    assemble(out, &widener.pool.bytes(), constants, &filled_in)
}

/// The 256-bit register that contains a vector register.
fn ymm(register: Register) -> Register {
    Register::YMM0 + register.number() as u32
}

struct Widener<'a> {
    reader: Reader,
    lane_bytes: u32,
    slots: HashMap<u64, Slot>,
    /// Where the frame keeps a tail's mask as lanes of 0 and -1, from the old stack pointer:
    /// `enlarge_frame` adds `extra` to all places in the frame.
    mask: u64,
    /// Where the frame keeps a register while it is used for something else.
    saved: u64,
    /// By how much the frame grows.
    extra: u64,
    pool: Pool<'a>,
    out: Vec<Instruction>,
}

impl Widener<'_> {
    fn instruction(&mut self, old: &Instruction, asks: Asks) -> Result<(), String> {
        match asks {
            // All that is in vector registers at a call has been spilled, as whole registers.
            Asks::Return | Asks::Call => self
                .out
                .extend([Instruction::with(Code::VEX_Vzeroupper), *old]),
            Asks::Tail { begins: false } => self.out.push(Instruction::with(Code::Nopd)),
            Asks::Tail { begins: true } => self.begin_tail(old),
            Asks::Prefetch => {
                let mut new = *old;
                new.set_code(Code::Prefetcht0_m8);
                self.out.push(new);
            }
            Asks::Zero(to, of) => {
                let code = Code::VEX_Vxorps_ymm_ymm_ymmm256;
                self.out.push(make3(code, ymm(to), ymm(of), ymm(of)));
            }
            Asks::Scalar => self.out.push(*old),
            Asks::Spill(slot) => self.spill(old, slot)?,
            Asks::Fold(fold) => self.fold(fold, old)?,
            Asks::Broadcast(from, bytes) => {
                let code = match bytes {
                    8 => Code::VEX_Vbroadcastsd_ymm_xmm,
                    _ => Code::VEX_Vbroadcastss_ymm_xmm,
                };
                self.out.push(make2(code, ymm(old.op0_register()), from));
            }
            Asks::BroadcastLoad(bytes) => self.broadcast_load(old, bytes),
            Asks::Move(way) => self.copy(old, way)?,
            Asks::Lanes => {
                let code = wide_form(old).ok_or_else(|| unknown(old))?;
                let new = self.wide(old, code)?;
                self.with_masked_load(new);
            }
        }
        Ok(())
    }

    /// Makes lanes of the mask's bits, which the old instruction stores in the frame.
    fn begin_tail(&mut self, old: &Instruction) {
        // The mask's bit of a lane in the lane, which is one word or two.
        let words = self.lane_bytes as usize / 4;
        let bits = std::array::from_fn(|word| match word % words {
            0 => 1 << (word / words),
            _ => 0,
        });
        let bits = self.pool.add_words(bits);
        let lanes = Register::YMM0;
        let all = make2(Code::VEX_Vpbroadcastd_ymm_xmmm32, lanes, Register::None);
        let one = make3(
            Code::VEX_Vpand_ymm_ymm_ymmm256,
            lanes,
            lanes,
            Register::None,
        );
        let equal = match self.lane_bytes {
            8 => Code::VEX_Vpcmpeqq_ymm_ymm_ymmm256,
            _ => Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256,
        };
        let set = make3(equal, lanes, lanes, Register::None);
        self.out.extend([
            *old,
            store(self.saved, lanes),
            with_memory_of(all, 1, old),
            with_constant(one, 2, bits),
            with_constant(set, 2, bits),
            store(self.mask, lanes),
            load(lanes, self.saved),
        ]);
    }

    fn spill(&mut self, old: &Instruction, slot: u64) -> Result<(), String> {
        let stores = old.op0_kind() == OpKind::Memory;
        self.out.push(match self.slots[&slot] {
            Slot::Memory(place) => {
                let place = place.wrapping_sub(self.extra);
                match stores {
                    true => store(place, ymm(old.op1_register())),
                    false => load(ymm(old.op0_register()), place),
                }
            }
            // Keeps the address, should it be a branch target; removed by `tidy`.
            Slot::Constant(_) if stores => Instruction::with(Code::Nopd),
            Slot::Constant(address) => {
                let to = ymm(old.op0_register());
                let load = make2(broadcast_load(self.lane_bytes), to, Register::None);
                with_constant(load, 1, address)
            }
            Slot::Register(_) => return Err("a spare register".to_owned()),
        });
        Ok(())
    }

    /// Moves the upper half of the lanes that count onto the lower, and some other lanes about.
    fn fold(&mut self, fold: Fold, old: &Instruction) -> Result<(), String> {
        let (to, from) = (ymm(old.op0_register()), ymm(old.op1_register()));
        let halves = make3(Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, to, from, from);
        let within = make2(Code::VEX_Vpshufd_ymm_ymmm256_imm8, to, from);
        let (mut new, order, operand) = match fold {
            Fold::Half => return Err("64 bytes in a register".to_owned()),
            Fold::One if self.lane_bytes == 8 => return Err(unknown(old)),
            Fold::Quarter => (halves, 0b00_01, 3),
            Fold::Pair => (within, 0b01_00_11_10, 2),
            Fold::One => (within, 0b10_11_00_01, 2),
        };
        new.set_op_kind(operand, OpKind::Immediate8);
        new.set_immediate8(order);
        self.out.push(new);
        Ok(())
    }

    fn broadcast_load(&mut self, old: &Instruction, bytes: u32) {
        let mut new = *old;
        new.set_code(broadcast_load(bytes));
        new.set_op0_register(ymm(old.op0_register()));
        self.out.push(new);
    }

    /// A move that is no spill.
    fn copy(&mut self, old: &Instruction, way: Move) -> Result<(), String> {
        if old.is_ip_rel_memory_operand() {
            self.pool.splat(old.ip_rel_memory_address())?;
            self.broadcast_load(old, self.lane_bytes);
            return Ok(());
        }
        match way {
            Move::ToRegister => {
                let new = self.wide(old, Code::VEX_Vmovups_ymm_ymmm256)?;
                self.with_masked_load(new);
            }
            Move::ToMemory => {
                let new = self.wide(old, Code::VEX_Vmovups_ymmm256_ymm)?;
                self.with_masked_store(new);
            }
        }
        Ok(())
    }

    /// The instruction under another code, its registers widened. Constants are widened, too.
    fn wide(&mut self, old: &Instruction, code: Code) -> Result<Instruction, String> {
        let mut new = *old;
        new.set_code(code);
        for operand in 0..old.op_count() {
            // A shift count stays 128 bits.
            let count = operand == 2 && takes_count(code);
            match old.op_kind(operand) {
                OpKind::Register if !count && old.op_register(operand).is_vector_register() => {
                    new.set_op_register(operand, ymm(old.op_register(operand)));
                }
                OpKind::Memory if count => return Err("a shift count in memory".to_owned()),
                OpKind::Memory if old.is_ip_rel_memory_operand() => {
                    let words = self.pool.splat(old.ip_rel_memory_address())?;
                    let address = self.pool.add_words(std::array::from_fn(|at| words[at % 4]));
                    new.set_memory_displacement64(address);
                }
                OpKind::Memory if self.reader.loads_mask(old) => {
                    new.set_memory_displ_size(8);
                    new.set_memory_displacement64(self.mask);
                }
                _ => {}
            }
        }
        Ok(new)
    }

    /// Whether only some lanes of the memory operand are there. The frame and constants always are.
    fn is_masked(&self, new: &Instruction) -> bool {
        let known = matches!(new.memory_base(), Register::RSP | Register::RIP);
        let in_memory = (0..new.op_count()).any(|operand| new.op_kind(operand) == OpKind::Memory);
        self.reader.masked && in_memory && !known
    }

    /// Loads and stores the lanes that a mask says are there.
    fn masked_codes(&self) -> (Code, Code) {
        match self.lane_bytes {
            8 => (
                Code::VEX_Vmaskmovpd_ymm_ymm_m256,
                Code::VEX_Vmaskmovpd_m256_ymm_ymm,
            ),
            _ => (
                Code::VEX_Vmaskmovps_ymm_ymm_m256,
                Code::VEX_Vmaskmovps_m256_ymm_ymm,
            ),
        }
    }

    /// Appends an instruction that may read memory: in a tail, the lanes that are there.
    fn with_masked_load(&mut self, mut new: Instruction) {
        let operands = 0..new.op_count();
        let memory = operands
            .clone()
            .find(|&operand| new.op_kind(operand) == OpKind::Memory);
        let (true, Some(memory)) = (self.is_masked(&new), memory) else {
            self.out.push(new);
            return;
        };
        let to = new.op0_register();
        let reads_to = accumulates(new.mnemonic())
            || operands.skip(1).any(|operand| {
                new.op_kind(operand) == OpKind::Register && new.op_register(operand) == to
            });
        let taken = if reads_to { other_than(&new) } else { to };
        let (masked_load, _) = self.masked_codes();
        let masked = make2(masked_load, taken, taken);
        let masked = with_memory_of(masked, 2, &new);
        let is_move = new.code() == Code::VEX_Vmovups_ymm_ymmm256;
        if reads_to {
            self.out.push(store(self.saved, taken));
        }
        self.out.extend([load(taken, self.mask), masked]);
        if !is_move {
            new.set_op_kind(memory, OpKind::Register);
            new.set_op_register(memory, taken);
            new.set_memory_base(Register::None);
            new.set_memory_index(Register::None);
            new.set_memory_displ_size(0);
            new.set_memory_displacement64(0);
            self.out.push(new);
        }
        if reads_to {
            self.out.push(load(taken, self.saved));
        }
    }

    /// Appends a store: in a tail, of the lanes that are there.
    fn with_masked_store(&mut self, new: Instruction) {
        if !self.is_masked(&new) {
            self.out.push(new);
            return;
        }
        let taken = other_than(&new);
        let (_, masked_store) = self.masked_codes();
        let mut masked = make3(masked_store, Register::None, taken, new.op1_register());
        masked = with_memory_of(masked, 0, &new);
        self.out.extend([
            store(self.saved, taken),
            load(taken, self.mask),
            masked,
            load(taken, self.saved),
        ]);
    }
}

/// The wide form of a lane-wise instruction.
fn wide_form(old: &Instruction) -> Option<Code> {
    Some(match old.code() {
        Code::VEX_Vcmpps_xmm_xmm_xmmm128_imm8 => Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8,
        Code::VEX_Vpcmpeqd_xmm_xmm_xmmm128 => Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256,
        Code::VEX_Vpcmpgtd_xmm_xmm_xmmm128 => Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256,
        Code::VEX_Vblendvps_xmm_xmm_xmmm128_xmm => Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm,
        Code::VEX_Vpblendvb_xmm_xmm_xmmm128_xmm => Code::VEX_Vpblendvb_ymm_ymm_ymmm256_ymm,
        Code::VEX_Vsqrtps_xmm_xmmm128 => Code::VEX_Vsqrtps_ymm_ymmm256,
        code => match Form::of(code) {
            Some(form) => form.of_256,
            None => form_of_64(code)?,
        },
    })
}

/// Brings a word in memory, of so many bytes, to all of them.
fn broadcast_load(bytes: u32) -> Code {
    match bytes {
        8 => Code::VEX_Vbroadcastsd_ymm_m64,
        _ => Code::VEX_Vbroadcastss_ymm_m32,
    }
}

/// Whether the first operand is read as well as written.
fn accumulates(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Vfmadd132ps
            | M::Vfmadd213ps
            | M::Vfmadd231ps
            | M::Vfmsub132ps
            | M::Vfmsub213ps
            | M::Vfmsub231ps
            | M::Vfnmadd132ps
            | M::Vfnmadd213ps
            | M::Vfnmadd231ps
            | M::Vfnmsub132ps
            | M::Vfnmsub213ps
            | M::Vfnmsub231ps
            | M::Vfmadd132pd
            | M::Vfmadd213pd
            | M::Vfmadd231pd
            | M::Vfmsub132pd
            | M::Vfmsub213pd
            | M::Vfmsub231pd
            | M::Vfnmadd132pd
            | M::Vfnmadd213pd
            | M::Vfnmadd231pd
            | M::Vfnmsub132pd
            | M::Vfnmsub213pd
            | M::Vfnmsub231pd
    )
}

/// A register that the instruction does not name.
fn other_than(instruction: &Instruction) -> Register {
    let named = |register| {
        (0..instruction.op_count()).any(|operand| {
            instruction.op_kind(operand) == OpKind::Register
                && instruction.op_register(operand) == register
        })
    };
    let mut register = Register::YMM0;
    while named(register) {
        register += 1;
    }
    register
}

fn load(to: Register, place: u64) -> Instruction {
    in_frame(
        make2(Code::VEX_Vmovups_ymm_ymmm256, to, Register::None),
        1,
        place,
    )
}

fn store(place: u64, from: Register) -> Instruction {
    in_frame(
        make2(Code::VEX_Vmovups_ymmm256_ymm, Register::None, from),
        0,
        place,
    )
}

/// With a place in the frame for an operand.
fn in_frame(mut new: Instruction, operand: u32, place: u64) -> Instruction {
    new.set_op_kind(operand, OpKind::Memory);
    new.set_memory_base(Register::RSP);
    new.set_memory_displ_size(8);
    new.set_memory_displacement64(place);
    new
}

/// With a constant for an operand.
fn with_constant(mut new: Instruction, operand: u32, address: u64) -> Instruction {
    new.set_op_kind(operand, OpKind::Memory);
    new.set_memory_base(Register::RIP);
    new.set_memory_displ_size(8);
    new.set_memory_displacement64(address);
    new
}
