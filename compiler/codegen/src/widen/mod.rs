//! 128-bit machine code of a wide kernel made into 512-bit code.
//!
//! Cranelift has no registers wider than 128 bits on x86-64. A wide kernel (see `emit::wide`) is
//! written as if one of them held 16 lanes of 32 bits: only lane-wise instructions, broadcasts
//! of scalars, whole loads and stores at addresses that step by 64 bytes, and shuffles that stand for
//! the steps of a tree over the lanes. Here every packed
//! instruction becomes its AVX-512 form, `xmm n` becomes `zmm n`, spill slots become
//! `zmm16..zmm29` (512-bit values never lie in 16-byte slots), and constants are broadcast from
//! memory. Square roots become multiply-adds (see [`roots`]), and what reads copies and constants
//! reads them where they are (see [`operands`]). What is not known here is refused, and the kernel is compiled the narrow way: a
//! refusal costs speed, never bits.

mod code;
mod masks;
mod operands;
mod roots;
mod slots;
mod tables;

pub(crate) use code::disassemble;

use crate::emit::{FOLDS, Fold, Frame, PREFETCH, mask_slot};
use code::{assemble, branch_targets, decode, tidy};
use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register,
};
use masks::{Masks, drop_unread};
use operands::name_sources;
use roots::Roots;
use slots::{Pool, Slot, enlarge_frame, spill, spill_slots, touches_spills};
use std::collections::HashMap;
use tables::{is_scalar, move_of, packed, takes_count};

/// Where the old code is taken to lie, and the new. Far apart: the encoder takes an address that
/// is an old instruction's for a branch target.
const OLD: u64 = 0x1000_0000;
const NEW: u64 = 0x2000_0000;
/// Registers from `zmm16` that spill slots may become, without square roots and with.
const SPARE: [usize; 2] = [14, 12];
/// For a moment.
const SCRATCH: Register = Register::ZMM30;
/// In a masked tail, the mask as lanes of 0 and -1.
const MASK_LANES: Register = Register::ZMM31;
/// In a masked tail, the mask.
const MASK: Register = Register::K2;

/// Alignment of widened code, for the constants in it.
pub(crate) const ALIGNMENT: u64 = 64;

/// Widens the code of a function that makes no calls. An error says what is not known.
pub(crate) fn widen(code: &[u8], frame: Frame) -> Result<Vec<u8>, String> {
    let slot_bytes = frame.slot_bytes;
    let (instructions, constants) = decode(code)?;
    let pool = Pool::new(code, constants);
    let roots = |old: &Instruction| old.mnemonic() == Mnemonic::Vsqrtps;
    let spare = SPARE[usize::from(instructions.iter().any(roots))];
    let slots = spill_slots(&instructions, slot_bytes, &pool, spare);
    let in_memory = |slot: &&Slot| matches!(slot, Slot::Memory(_));
    let extra = 64 * slots.values().filter(in_memory).count() as u64;
    let mut widener = Widener {
        slots,
        slot_bytes,
        extra,
        pool,
        masked: false,
        tails: 0,
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
        widener.instruction(instruction)?;
        widener.masks.settle(held);
    }
    if widener.masked || widener.tails != frame.tails {
        return Err("masked tails are not where they should be".to_owned());
    }
    widener.roots.finish(&mut widener.out);
    name_sources(&mut widener.out);
    let mut out = tidy(widener.out);
    if widener.masks.spared {
        drop_unread(&mut out);
    }
    enlarge_frame(&mut out, extra)?;
    assemble(out, &widener.pool.bytes(), constants)
}

/// The 128-bit register that a vector register contains.
fn xmm(register: Register) -> Register {
    Register::XMM0 + register.number() as u32
}

/// The 512-bit register that contains a vector register.
fn zmm(register: Register) -> Register {
    Register::ZMM0 + register.number() as u32
}

struct Widener<'a> {
    slots: HashMap<u64, Slot>,
    slot_bytes: u32,
    /// By how much the frame grows, for [`Slot::Memory`].
    extra: u64,
    pool: Pool<'a>,
    /// Within a masked tail.
    masked: bool,
    /// Masked tails so far.
    tails: u32,
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

    fn instruction(&mut self, old: &Instruction) -> Result<(), String> {
        let refuse = || Err(format!("{:?} is not known", old.code()));
        if old.flow_control() == FlowControl::Return {
            self.push(Instruction::with(Code::VEX_Vzeroupper), old.ip());
            self.push(*old, 0);
            return Ok(());
        }
        if matches!(
            old.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        ) {
            return Err("a call".to_owned());
        }
        if let Some(offset) = self.mask_store(old) {
            return self.tail(old, offset);
        }
        match old.code() {
            Code::Mov_rm16_imm16 if old.immediate16() == PREFETCH.cast_unsigned() => {
                let mut new = *old;
                new.set_code(Code::Prefetcht0_m8);
                self.push(new, old.ip());
                return Ok(());
            }
            // The old code may write more than it should only where it asks for a prefetch.
            Code::Mov_rm16_imm16 | Code::Mov_rm16_r16 => {
                return Err("a 16-bit store".to_owned());
            }
            _ => {}
        }
        if matches!(
            old.code(),
            Code::Xorps_xmm_xmmm128 | Code::Xorpd_xmm_xmmm128 | Code::Pxor_xmm_xmmm128
        ) && old.op1_kind() == OpKind::Register
            && old.op0_register() == old.op1_register()
        {
            let zero = zmm(old.op0_register());
            let code = Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
            self.push(make3(code, zero, zero, zero), old.ip());
            return Ok(());
        }
        let vector = (0..old.op_count()).any(|operand| {
            old.op_kind(operand) == OpKind::Register
                && old.op_register(operand).is_vector_register()
        });
        if !vector || is_scalar(old.mnemonic()) {
            self.push(*old, old.ip());
            return Ok(());
        }
        if let Some(slot) = spill(old, self.slot_bytes) {
            self.spill(old, slot);
            return Ok(());
        }
        if touches_spills(old, self.slot_bytes) {
            return Err("a spill slot as an operand".to_owned());
        }
        if is_same_operands_zero(old) {
            let mut zero = make3(
                Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
                zmm(old.op0_register()),
                zmm(old.op1_register()),
                zmm(old.op2_register()),
            );
            zero.set_ip(old.ip());
            self.out.push(zero);
            return Ok(());
        }
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
            // What a tree over the lanes has left in the first one.
            Mnemonic::Vpextrd if old.immediate8() == 0 && !self.masked => {
                self.push(*old, old.ip());
            }
            Mnemonic::Vpblendvb | Mnemonic::Vblendvps => self.blend(old)?,
            Mnemonic::Vsqrtps => self.root(old)?,
            Mnemonic::Vpshufd
                if old.op1_kind() == OpKind::Register
                    && let Some(fold) = FOLDS.iter().find(|f| f.marker() == old.immediate8()) =>
            {
                self.fold(*fold, old);
            }
            Mnemonic::Vpshufd if old.immediate8() == 0 && old.op1_kind() == OpKind::Register => {
                self.broadcast(old, old.op1_register());
            }
            Mnemonic::Vshufps
                if old.immediate8() == 0
                    && old.op2_kind() == OpKind::Register
                    && old.op1_register() == old.op2_register() =>
            {
                self.broadcast(old, old.op1_register());
            }
            Mnemonic::Vbroadcastss | Mnemonic::Vpbroadcastd => {
                if old.op1_kind() == OpKind::Register {
                    self.broadcast(old, old.op1_register());
                } else {
                    let mut new = *old;
                    new.set_code(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
                    new.set_op0_register(zmm(old.op0_register()));
                    self.push(new, old.ip());
                }
            }
            _ => {
                if let Some(code) = move_of(old.code()) {
                    self.copy(old, code)?;
                } else if let Some(code) = packed(old.code()) {
                    let new = self.wide(old, code)?;
                    self.push(new, old.ip());
                } else {
                    return refuse();
                }
            }
        }
        Ok(())
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

    /// The beginning or end of a masked tail.
    fn tail(&mut self, old: &Instruction, offset: u64) -> Result<(), String> {
        let begins = offset == mask_slot::BEGIN as u64;
        if begins == self.masked || !begins && offset != mask_slot::END as u64 {
            return Err("masked tails are not where they should be".to_owned());
        }
        self.masked = begins;
        if !begins {
            self.tails += 1;
            self.push(Instruction::with(Code::Nopd), old.ip());
            return Ok(());
        }
        self.push(*old, old.ip());
        let mut load = make2(Code::VEX_Kmovw_kr_km16, MASK, Register::K0);
        load.set_op1_kind(OpKind::Memory);
        load.set_memory_base(Register::RSP);
        load.set_memory_displ_size(old.memory_displ_size());
        load.set_memory_displacement64(offset);
        self.push(load, 0);
        self.push(make2(Code::EVEX_Vpmovm2d_zmm_kr, MASK_LANES, MASK), 0);
        Ok(())
    }

    /// Whether the memory operand is the mask.
    fn loads_mask(&self, old: &Instruction) -> bool {
        self.masked
            && old.memory_base() == Register::RSP
            && old.memory_index() == Register::None
            && old.memory_displacement64() == mask_slot::LANES as u64
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
        if new.op2_kind() == OpKind::Memory && self.masked && !new.is_broadcast() {
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
            self.instruction(&bring)?;
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

    /// A move that is no spill.
    fn copy(&mut self, old: &Instruction, code: Code) -> Result<(), String> {
        if old.is_ip_rel_memory_operand() {
            if self.pool.splat(old.ip_rel_memory_address()).is_none() {
                return Err("a constant that differs between lanes".to_owned());
            }
            let mut new = *old;
            new.set_code(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
            new.set_op0_register(zmm(old.op0_register()));
            self.push(new, old.ip());
            return Ok(());
        }
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
                if takes_count(code) || self.pool.splat(old.ip_rel_memory_address()).is_none() {
                    return Err("a constant that differs between lanes".to_owned());
                }
                new.set_is_broadcast(true);
            } else if old.op_kind(operand) == OpKind::Memory && self.loads_mask(old) {
                new.set_op_kind(operand, OpKind::Register);
                new.set_op_register(operand, MASK_LANES);
                new.set_memory_base(Register::None);
                new.set_memory_displ_size(0);
                new.set_memory_displacement64(0);
            } else if old.op_kind(operand) == OpKind::Memory && self.masked {
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

/// The constant in all lanes of a register.
fn load_constant(to: Register, address: u64) -> Instruction {
    let load = make2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, to, Register::None);
    with_constant(load, 1, address)
}

/// With a constant, in all lanes, for an operand.
fn with_constant(mut instruction: Instruction, operand: u32, address: u64) -> Instruction {
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
    new.set_op2_kind(old.op2_kind());
    if old.op2_kind() == OpKind::Register {
        new.set_op2_register(old.op2_register());
    } else {
        new.set_memory_base(old.memory_base());
        new.set_memory_index(old.memory_index());
        new.set_memory_index_scale(old.memory_index_scale());
        new.set_memory_displ_size(old.memory_displ_size());
        new.set_memory_displacement64(old.memory_displacement64());
        new.set_is_broadcast(old.is_broadcast());
    }
    new
}
