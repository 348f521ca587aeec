//! Spill slots of the old code and what becomes of them; the enlarged frame.

use super::OLD;
use super::code::branch_targets;
use super::tables::Move;
use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// The old code's constants, and those of the new code behind them.
pub(super) struct Pool<'a> {
    code: &'a [u8],
    start: usize,
    /// Where new constants may begin.
    align: usize,
    /// Bytes of a lane.
    lane: usize,
    new: Vec<u32>,
}

impl<'a> Pool<'a> {
    /// That of code for lanes of so many bytes, with its constants from `start` on; new ones begin at a
    /// multiple of `align`.
    pub(super) fn new(code: &'a [u8], start: usize, align: usize, lane: u32) -> Pool<'a> {
        let new = Vec::new();
        Pool {
            code,
            start,
            align,
            lane: lane as usize,
            new,
        }
    }

    /// Where new constants begin.
    fn end(&self) -> usize {
        self.code.len().next_multiple_of(self.align)
    }

    /// The address of a constant of 32 bits that the old code does not have.
    pub(super) fn add(&mut self, bits: u32) -> u64 {
        let known = self.new.iter().position(|&known| known == bits);
        let at = known.unwrap_or_else(|| {
            self.new.push(bits);
            self.new.len() - 1
        });
        OLD + (self.end() + 4 * at) as u64
    }

    /// The address of 8 words that the old code does not have, in a pool of nothing else.
    pub(super) fn add_words(&mut self, words: [u32; 8]) -> u64 {
        let known = self.new.chunks(8).position(|known| known == words);
        let at = known.unwrap_or_else(|| {
            self.new.extend(words);
            self.new.len() / 8 - 1
        });
        OLD + (self.end() + 32 * at) as u64
    }

    /// All constants, as they lie from the first one on.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.code[self.start..].to_vec();
        if !self.new.is_empty() {
            bytes.resize(self.end() - self.start, 0);
        }
        bytes.extend(self.new.iter().flat_map(|bits| bits.to_le_bytes()));
        bytes
    }

    /// The words of a 16-byte constant whose lanes are equal.
    pub(super) fn splat(&self, address: u64) -> Result<[u32; 4], String> {
        let at = address.wrapping_sub(OLD) as usize;
        let bytes = self.code.get(at..at.saturating_add(16));
        let words = bytes.filter(|_| at >= self.start).and_then(|bytes| {
            let (first, _) = bytes.split_at(self.lane);
            let equal = bytes.chunks(self.lane).all(|lane| lane == first);
            let (words, _) = bytes.as_chunks::<4>();
            let words: [[u8; 4]; 4] = words.try_into().ok()?;
            equal.then(|| words.map(u32::from_le_bytes))
        });
        words.ok_or_else(|| "a constant that differs between lanes".to_owned())
    }
}

/// What a spill slot becomes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Slot {
    Register(Register),
    /// A whole register at the bottom of the frame.
    Memory(u64),
    /// Always holds this constant, which is loaded anew instead.
    Constant(u64),
}

/// Offset from the stack pointer, if the instruction moves a register to or from a spill slot.
pub(super) fn spill(instruction: &Instruction, slot_bytes: u32) -> Option<u64> {
    let plain = instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() >= u64::from(slot_bytes);
    let has_memory =
        (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    (has_memory && plain && Move::of(instruction.code()).is_some())
        .then(|| instruction.memory_displacement64())
}

/// Finds out which slots there are and what they hold; `spare` registers from `zmm16` are free, and
/// a register has that many bytes.
pub(super) fn spill_slots(
    instructions: &[Instruction],
    slot_bytes: u32,
    pool: &Pool<'_>,
    (spare, bytes): (usize, u64),
) -> HashMap<u64, Slot> {
    let targets = branch_targets(instructions);
    // For each slot: the constant that all stores so far put there, if they do.
    let mut slots: BTreeMap<u64, Option<Option<u64>>> = BTreeMap::new();
    let mut constants: HashMap<Register, u64> = HashMap::new();
    let mut info = InstructionInfoFactory::new();
    for instruction in instructions {
        let calls = matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        );
        if calls || targets.contains(&instruction.ip()) {
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
        let copied = (Move::of(instruction.code()).is_some()
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
    // What varies comes before constants, which can be loaded anew.
    let constant_in = |slot: &u64| slots[slot].flatten();
    let mut by_use: Vec<u64> = slots.keys().copied().collect();
    by_use.sort_by_key(|slot| {
        let uses = uses.get(slot).copied().unwrap_or(0);
        (constant_in(slot).is_some(), Reverse(uses), *slot)
    });
    let mut places = HashMap::new();
    for (at, slot) in by_use.into_iter().enumerate() {
        let place = match constant_in(&slot) {
            _ if at < spare => Slot::Register(Register::ZMM16 + at as u32),
            Some(constant) => Slot::Constant(constant),
            None => Slot::Memory((at - spare) as u64 * bytes),
        };
        places.insert(slot, place);
    }
    places
}

/// The 128-bit register that a vector register contains.
fn xmm(register: Register) -> Register {
    Register::XMM0 + register.number() as u32
}

/// The constant that an instruction puts into all lanes of its register.
pub(super) fn constant_of(instruction: &Instruction, pool: &Pool<'_>) -> Option<u64> {
    if !instruction.is_ip_rel_memory_operand() || instruction.op0_kind() != OpKind::Register {
        return None;
    }
    let address = instruction.ip_rel_memory_address();
    match instruction.code() {
        Code::VEX_Vbroadcastss_xmm_m32 | Code::VEX_Vpbroadcastd_xmm_xmmm32 if pool.lane == 4 => {
            Some(address)
        }
        Code::VEX_Vmovddup_xmm_xmmm64 | Code::VEX_Vpbroadcastq_xmm_xmmm64 if pool.lane == 8 => {
            Some(address)
        }
        code if Move::of(code).is_some() => pool.splat(address).ok().map(|_| address),
        _ => None,
    }
}

/// Whether a memory operand lies among the spill slots.
pub(super) fn touches_spills(instruction: &Instruction, slot_bytes: u32) -> bool {
    (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
        && instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() >= u64::from(slot_bytes)
}

/// Aligns the frame to cache lines and makes it `extra` bytes larger at its bottom. The frame
/// pointer restores the stack pointer, so nothing else changes.
pub(super) fn enlarge_frame(instructions: &mut Vec<Instruction>, extra: u64) -> Result<(), String> {
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
