//! 128-bit machine code of a wide kernel made into 512-bit code.
//!
//! Cranelift has no registers wider than 128 bits on x86-64. A wide kernel (see `emit::wide`) is
//! written as if one of them held 16 lanes of 32 bits: only lane-wise instructions, broadcasts
//! of scalars, whole loads and stores at addresses that step by 64 bytes. Here every packed
//! instruction becomes its AVX-512 form, `xmm n` becomes `zmm n`, spill slots become
//! `zmm16..zmm31` (512-bit values never lie in 16-byte slots), and constants are broadcast from
//! memory. What is not known here is refused, and the kernel is compiled the narrow way: a
//! refusal costs speed, never bits.

use crate::emit::{Frame, mask_slot};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FastFormatter, FlowControl,
    Instruction, InstructionBlock, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where the old code is taken to lie, and the new. Far apart: the encoder takes an address that
/// is an old instruction's for a branch target.
const OLD: u64 = 0x1000_0000;
const NEW: u64 = 0x2000_0000;
/// `zmm16..zmm29`.
const SPARE_REGISTERS: usize = 14;
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
    let pool = Pool {
        code,
        start: constants,
    };
    let slots = spill_slots(&instructions, slot_bytes, &pool);
    let in_memory = |slot: &&Slot| matches!(slot, Slot::Memory(_));
    let extra = 64 * slots.values().filter(in_memory).count() as u64;
    let mut widener = Widener {
        slots,
        slot_bytes,
        extra,
        pool,
        masked: false,
        tails: 0,
        out: Vec::with_capacity(instructions.len() + 16),
    };
    for instruction in &instructions {
        widener.instruction(instruction)?;
    }
    if widener.masked || widener.tails != frame.tails {
        return Err("masked tails are not where they should be".to_owned());
    }
    let mut out = tidy(widener.out);
    enlarge_frame(&mut out, extra)?;
    assemble(out, &code[constants..], constants)
}

/// The instructions, and where the constants after them start.
fn decode(code: &[u8]) -> Result<(Vec<Instruction>, usize), String> {
    let mut decoder = Decoder::with_ip(64, code, OLD, DecoderOptions::NONE);
    let mut instructions = Vec::new();
    let mut constants = OLD + code.len() as u64;
    // The furthest address that a branch goes to: what follows the last way out is not code.
    let mut reach = 0;
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err("undecodable bytes".to_owned());
        }
        if instruction.is_ip_rel_memory_operand() {
            constants = constants.min(instruction.ip_rel_memory_address());
        }
        if is_branch(&instruction) {
            reach = reach.max(instruction.near_branch_target());
        }
        instructions.push(instruction);
        let leaves = matches!(
            instruction.flow_control(),
            FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::Exception
        );
        if leaves && instruction.next_ip() > reach {
            if constants < instruction.next_ip() {
                return Err("memory relative to the code".to_owned());
            }
            return Ok((instructions, (constants - OLD) as usize));
        }
    }
    Err("no way out".to_owned())
}

fn is_branch(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    )
}

/// The old code's constants.
struct Pool<'a> {
    code: &'a [u8],
    start: usize,
}

impl Pool<'_> {
    /// Offset of a 16-byte constant, if its four words are equal.
    fn splat(&self, address: u64) -> Option<u64> {
        let at = address.checked_sub(OLD)? as usize;
        let bytes = self.code.get(at..at + 16)?;
        (at >= self.start && bytes.chunks(4).all(|word| word == &bytes[..4])).then_some(address)
    }
}

/// What a spill slot becomes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Slot {
    Register(Register),
    /// 64 bytes at the bottom of the frame.
    Memory(u64),
    /// Always holds this constant, which is loaded anew instead.
    Constant(u64),
}

/// Offset from the stack pointer, if the instruction moves a register to or from a spill slot.
fn spill(instruction: &Instruction, slot_bytes: u32) -> Option<u64> {
    let plain = instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() >= u64::from(slot_bytes);
    let has_memory =
        (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    (has_memory && plain && move_of(instruction.code()).is_some())
        .then(|| instruction.memory_displacement64())
}

/// Finds out which slots there are and what they hold.
fn spill_slots(
    instructions: &[Instruction],
    slot_bytes: u32,
    pool: &Pool<'_>,
) -> HashMap<u64, Slot> {
    let targets: BTreeSet<u64> = instructions
        .iter()
        .filter(|instruction| is_branch(instruction))
        .map(Instruction::near_branch_target)
        .collect();
    // For each slot: the constant that all stores so far put there, if they do.
    let mut slots: BTreeMap<u64, Option<Option<u64>>> = BTreeMap::new();
    let mut constants: HashMap<Register, u64> = HashMap::new();
    let mut info = InstructionInfoFactory::new();
    for instruction in instructions {
        if targets.contains(&instruction.ip()) {
            constants.clear();
        }
        if let Some(slot) = spill(instruction, slot_bytes) {
            let held = slots.entry(slot).or_insert(None);
            if instruction.op0_kind() == OpKind::Memory {
                let stored = constants.get(&instruction.op1_register()).copied();
                *held = match *held {
                    None => Some(stored),
                    Some(known) if known == stored => Some(stored),
                    Some(_) => Some(None),
                };
                continue;
            }
        }
        let loaded = constant_of(instruction, pool);
        let copied = (move_of(instruction.code()).is_some()
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register)
            .then(|| constants.get(&instruction.op1_register()).copied())
            .flatten();
        for used in info.info(instruction).used_registers() {
            if matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::ReadWrite
                    | OpAccess::CondWrite
                    | OpAccess::ReadCondWrite
            ) && used.register().is_vector_register()
            {
                constants.remove(&xmm(used.register()));
            }
        }
        if let Some(constant) = loaded.or(copied) {
            constants.insert(instruction.op0_register(), constant);
        }
    }
    // The most used go to registers.
    let mut uses: HashMap<u64, usize> = HashMap::new();
    for instruction in instructions {
        if let Some(slot) = spill(instruction, slot_bytes) {
            *uses.entry(slot).or_insert(0) += 1;
        }
    }
    let mut places = HashMap::new();
    let mut others: Vec<u64> = Vec::new();
    for (slot, held) in slots {
        match held {
            Some(Some(constant)) => {
                places.insert(slot, Slot::Constant(constant));
            }
            Some(None) | None => others.push(slot),
        }
    }
    others.sort_by_key(|slot| (std::cmp::Reverse(uses[slot]), *slot));
    for (at, slot) in others.into_iter().enumerate() {
        let place = if at < SPARE_REGISTERS {
            Slot::Register(Register::ZMM16 + at as u32)
        } else {
            Slot::Memory((at - SPARE_REGISTERS) as u64 * 64)
        };
        places.insert(slot, place);
    }
    places
}

/// The constant that an instruction puts into all lanes of its register.
fn constant_of(instruction: &Instruction, pool: &Pool<'_>) -> Option<u64> {
    if !instruction.is_ip_rel_memory_operand() || instruction.op0_kind() != OpKind::Register {
        return None;
    }
    let address = instruction.ip_rel_memory_address();
    match instruction.code() {
        Code::VEX_Vbroadcastss_xmm_m32 | Code::VEX_Vpbroadcastd_xmm_xmmm32 => Some(address),
        code if move_of(code).is_some() => pool.splat(address),
        _ => None,
    }
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
                let mut compare =
                    self.wide(old, Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae)?;
                compare.set_op0_register(Register::K1);
                compare.set_zeroing_masking(false);
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
                let mut compare = self.wide(old, code)?;
                compare.set_op0_register(Register::K1);
                compare.set_zeroing_masking(false);
                self.mask(compare, old);
            }
            Mnemonic::Vpblendvb | Mnemonic::Vblendvps => self.blend(old)?,
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

    /// `k1 -> zmm` after a comparison into k1.
    fn mask(&mut self, compare: Instruction, old: &Instruction) {
        self.push(compare, old.ip());
        let mask = make2(
            Code::EVEX_Vpmovm2d_zmm_kr,
            zmm(old.op0_register()),
            Register::K1,
        );
        self.push(mask, 0);
    }

    /// `d = mask ? c : b`, operands `d, b, c, mask`.
    fn blend(&mut self, old: &Instruction) -> Result<(), String> {
        let to_mask = make2(
            Code::EVEX_Vpmovd2m_kr_zmm,
            Register::K1,
            zmm(old.op3_register()),
        );
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
        new.set_op_mask(Register::K1);
        self.push(new, 0);
        Ok(())
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
            (Slot::Constant(address), false) => {
                let mut new = make2(
                    Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
                    zmm(old.op0_register()),
                    Register::XMM0,
                );
                new.set_op1_kind(OpKind::Memory);
                new.set_memory_base(Register::RIP);
                new.set_memory_displ_size(8);
                new.set_memory_displacement64(address);
                new
            }
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

/// Whether a memory operand lies among the spill slots.
fn touches_spills(instruction: &Instruction, slot_bytes: u32) -> bool {
    (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
        && instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() >= u64::from(slot_bytes)
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

/// Whether the third operand is a 128-bit shift count.
fn takes_count(code: Code) -> bool {
    matches!(
        code,
        Code::EVEX_Vpslld_zmm_k1z_zmm_xmmm128
            | Code::EVEX_Vpsrld_zmm_k1z_zmm_xmmm128
            | Code::EVEX_Vpsrad_zmm_k1z_zmm_xmmm128
    )
}

/// Instructions that only touch one lane (or none): they stay as they are.
fn is_scalar(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Vaddss
            | M::Vsubss
            | M::Vmulss
            | M::Vdivss
            | M::Vminss
            | M::Vmaxss
            | M::Vsqrtss
            | M::Vroundss
            | M::Vcmpss
            | M::Vucomiss
            | M::Ucomiss
            | M::Vcomiss
            | M::Vmovss
            | M::Movss
            | M::Vmovd
            | M::Movd
            | M::Vmovq
            | M::Movq
            | M::Vcvtsi2ss
            | M::Vcvttss2si
            | M::Cvttss2si
            | M::Cvttsd2si
            | M::Cvtsi2ss
            | M::Cvtsi2sd
            | M::Cvtss2sd
            | M::Cvtsd2ss
            | M::Roundss
            | M::Roundsd
            | M::Comiss
            | M::Comisd
            | M::Vcomisd
            | M::Vcvtss2sd
            | M::Vcvtsd2ss
            | M::Vaddsd
            | M::Vsubsd
            | M::Vmulsd
            | M::Vdivsd
            | M::Vminsd
            | M::Vmaxsd
            | M::Vsqrtsd
            | M::Vroundsd
            | M::Vcmpsd
            | M::Vucomisd
            | M::Ucomisd
            | M::Vmovsd
            | M::Movsd
            | M::Vcvtsi2sd
            | M::Vcvttsd2si
            | M::Vfmadd132ss
            | M::Vfmadd213ss
            | M::Vfmadd231ss
            | M::Vfmsub132ss
            | M::Vfmsub213ss
            | M::Vfmsub231ss
            | M::Vfnmadd132ss
            | M::Vfnmadd213ss
            | M::Vfnmadd231ss
            | M::Vfnmsub132ss
            | M::Vfnmsub213ss
            | M::Vfnmsub231ss
            | M::Vfmadd132sd
            | M::Vfmadd213sd
            | M::Vfmadd231sd
            | M::Vfmsub132sd
            | M::Vfmsub213sd
            | M::Vfmsub231sd
            | M::Vfnmadd132sd
            | M::Vfnmadd213sd
            | M::Vfnmadd231sd
            | M::Vfnmsub132sd
            | M::Vfnmsub213sd
            | M::Vfnmsub231sd
    )
}

/// The wide form of a plain move of a whole register.
fn move_of(code: Code) -> Option<Code> {
    use Code as C;
    Some(match code {
        C::Movups_xmm_xmmm128
        | C::Movaps_xmm_xmmm128
        | C::Movdqu_xmm_xmmm128
        | C::Movdqa_xmm_xmmm128
        | C::Movupd_xmm_xmmm128
        | C::Movapd_xmm_xmmm128
        | C::VEX_Vmovups_xmm_xmmm128
        | C::VEX_Vmovaps_xmm_xmmm128
        | C::VEX_Vmovupd_xmm_xmmm128
        | C::VEX_Vmovapd_xmm_xmmm128
        | C::VEX_Vmovdqu_xmm_xmmm128
        | C::VEX_Vmovdqa_xmm_xmmm128 => C::EVEX_Vmovups_zmm_k1z_zmmm512,
        C::Movups_xmmm128_xmm
        | C::Movaps_xmmm128_xmm
        | C::Movdqu_xmmm128_xmm
        | C::Movdqa_xmmm128_xmm
        | C::Movupd_xmmm128_xmm
        | C::Movapd_xmmm128_xmm
        | C::VEX_Vmovups_xmmm128_xmm
        | C::VEX_Vmovaps_xmmm128_xmm
        | C::VEX_Vmovupd_xmmm128_xmm
        | C::VEX_Vmovapd_xmmm128_xmm
        | C::VEX_Vmovdqu_xmmm128_xmm
        | C::VEX_Vmovdqa_xmmm128_xmm => C::EVEX_Vmovups_zmmm512_k1z_zmm,
        _ => return None,
    })
}

/// The wide form of a lane-wise instruction on lanes of 32 bits, operands in the same order.
fn packed(code: Code) -> Option<Code> {
    use Code as C;
    Some(match code {
        C::VEX_Vaddps_xmm_xmm_xmmm128 => C::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vsubps_xmm_xmm_xmmm128 => C::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vmulps_xmm_xmm_xmmm128 => C::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vdivps_xmm_xmm_xmmm128 => C::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vminps_xmm_xmm_xmmm128 => C::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
        C::VEX_Vmaxps_xmm_xmm_xmmm128 => C::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
        C::VEX_Vsqrtps_xmm_xmmm128 => C::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er,
        C::VEX_Vroundps_xmm_xmmm128_imm8 => C::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
        C::VEX_Vcvtdq2ps_xmm_xmmm128 => C::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er,
        C::VEX_Vcvttps2dq_xmm_xmmm128 => C::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae,
        C::VEX_Vandps_xmm_xmm_xmmm128
        | C::VEX_Vpand_xmm_xmm_xmmm128
        | C::VEX_Vandpd_xmm_xmm_xmmm128 => C::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vandnps_xmm_xmm_xmmm128
        | C::VEX_Vpandn_xmm_xmm_xmmm128
        | C::VEX_Vandnpd_xmm_xmm_xmmm128 => C::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vorps_xmm_xmm_xmmm128
        | C::VEX_Vpor_xmm_xmm_xmmm128
        | C::VEX_Vorpd_xmm_xmm_xmmm128 => C::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vxorps_xmm_xmm_xmmm128
        | C::VEX_Vpxor_xmm_xmm_xmmm128
        | C::VEX_Vxorpd_xmm_xmm_xmmm128 => C::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vpaddd_xmm_xmm_xmmm128 => C::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vpsubd_xmm_xmm_xmmm128 => C::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vpmulld_xmm_xmm_xmmm128 => C::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vpminsd_xmm_xmm_xmmm128 => C::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vpmaxsd_xmm_xmm_xmmm128 => C::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32,
        C::VEX_Vpabsd_xmm_xmmm128 => C::EVEX_Vpabsd_zmm_k1z_zmmm512b32,
        C::VEX_Vpslld_xmm_xmm_imm8 => C::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
        C::VEX_Vpsrld_xmm_xmm_imm8 => C::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8,
        C::VEX_Vpsrad_xmm_xmm_imm8 => C::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8,
        C::VEX_Vpslld_xmm_xmm_xmmm128 => C::EVEX_Vpslld_zmm_k1z_zmm_xmmm128,
        C::VEX_Vpsrld_xmm_xmm_xmmm128 => C::EVEX_Vpsrld_zmm_k1z_zmm_xmmm128,
        C::VEX_Vpsrad_xmm_xmm_xmmm128 => C::EVEX_Vpsrad_zmm_k1z_zmm_xmmm128,
        C::VEX_Vfmadd132ps_xmm_xmm_xmmm128 => C::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfmadd213ps_xmm_xmm_xmmm128 => C::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfmadd231ps_xmm_xmm_xmmm128 => C::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfmsub132ps_xmm_xmm_xmmm128 => C::EVEX_Vfmsub132ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfmsub213ps_xmm_xmm_xmmm128 => C::EVEX_Vfmsub213ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfmsub231ps_xmm_xmm_xmmm128 => C::EVEX_Vfmsub231ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfnmadd132ps_xmm_xmm_xmmm128 => C::EVEX_Vfnmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfnmadd213ps_xmm_xmm_xmmm128 => C::EVEX_Vfnmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfnmadd231ps_xmm_xmm_xmmm128 => C::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfnmsub132ps_xmm_xmm_xmmm128 => C::EVEX_Vfnmsub132ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfnmsub213ps_xmm_xmm_xmmm128 => C::EVEX_Vfnmsub213ps_zmm_k1z_zmm_zmmm512b32_er,
        C::VEX_Vfnmsub231ps_xmm_xmm_xmmm128 => C::EVEX_Vfnmsub231ps_zmm_k1z_zmm_zmmm512b32_er,
        _ => return None,
    })
}

/// Machine code as text, one instruction a line; constants are left out.
pub(crate) fn disassemble(code: &[u8]) -> String {
    let mut text = String::new();
    let mut formatter = FastFormatter::new();
    formatter.options_mut().set_rip_relative_addresses(true);
    let Ok((instructions, _)) = decode(code) else {
        return format!("{} bytes\n", code.len());
    };
    for instruction in &instructions {
        text.push_str(&format!("{:6x}  ", instruction.ip() - OLD));
        let mut shown = *instruction;
        if is_branch(instruction) {
            shown.set_near_branch64(instruction.near_branch_target() - OLD);
        }
        formatter.format(&shown, &mut text);
        text.push('\n');
    }
    text
}

/// Drops what the widening left over: stores of constants to slots that are gone. A branch to a
/// dropped instruction goes to the next one.
fn tidy(instructions: Vec<Instruction>) -> Vec<Instruction> {
    let targets: BTreeSet<u64> = instructions
        .iter()
        .filter(|instruction| is_branch(instruction))
        .map(Instruction::near_branch_target)
        .collect();
    instructions
        .into_iter()
        .filter(|instruction| {
            instruction.code() != Code::Nopd || targets.contains(&instruction.ip())
        })
        .collect()
}

/// Aligns the frame to cache lines and makes it `extra` bytes larger at its bottom. The frame
/// pointer restores the stack pointer, so nothing else changes.
fn enlarge_frame(instructions: &mut Vec<Instruction>, extra: u64) -> Result<(), String> {
    let is_stack = |instruction: &Instruction, mnemonic: Mnemonic| {
        instruction.mnemonic() == mnemonic
            && instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == Register::RSP
    };
    let from = instructions
        .iter()
        .position(|instruction| is_stack(instruction, Mnemonic::Sub))
        .ok_or("no frame")?;
    let restored = instructions.iter().any(|instruction| {
        is_stack(instruction, Mnemonic::Mov) && instruction.op1_register() == Register::RBP
    });
    if !restored {
        return Err("no frame pointer".to_owned());
    }
    for instruction in &mut instructions[from..] {
        if is_stack(instruction, Mnemonic::Sub) || is_stack(instruction, Mnemonic::Add) {
            let size = instruction.immediate(1) + extra;
            let code = if instruction.mnemonic() == Mnemonic::Sub {
                Code::Sub_rm64_imm32
            } else {
                Code::Add_rm64_imm32
            };
            let ip = instruction.ip();
            *instruction = Instruction::with2(code, Register::RSP, size as i32)
                .map_err(|error| error.to_string())?;
            instruction.set_ip(ip);
        } else if instruction.memory_base() == Register::RSP
            && (0..instruction.op_count())
                .any(|operand| instruction.op_kind(operand) == OpKind::Memory)
        {
            let place = instruction.memory_displacement64().wrapping_add(extra);
            instruction.set_memory_displacement64(place);
            instruction.set_memory_displ_size(1);
        }
    }
    let align = Instruction::with2(Code::And_rm64_imm8, Register::RSP, -64)
        .map_err(|error| error.to_string())?;
    instructions.insert(from + 1, align);
    Ok(())
}

/// Encodes the instructions, with the constants after them.
fn assemble(
    mut instructions: Vec<Instruction>,
    constants: &[u8],
    constants_start: usize,
) -> Result<Vec<u8>, String> {
    // No instruction is longer than 15 bytes. Constants keep their place within a cache line.
    let room = (instructions.len() as u64 * 15).next_multiple_of(ALIGNMENT)
        + constants_start as u64 % ALIGNMENT;
    for instruction in &mut instructions {
        if instruction.is_ip_rel_memory_operand() {
            let offset = instruction.ip_rel_memory_address() - OLD - constants_start as u64;
            instruction.set_memory_displacement64(NEW + room + offset);
        }
    }
    let block = InstructionBlock::new(&instructions, NEW);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)
        .map_err(|error| error.to_string())?;
    let mut bytes = encoded.code_buffer;
    if constants.is_empty() {
        return Ok(bytes);
    }
    bytes.resize(room as usize, 0xcc);
    bytes.extend_from_slice(constants);
    Ok(bytes)
}
