//! Masks: 128-bit code keeps them as lanes of 0 and -1, 512-bit code chooses by mask registers.
//!
//! A comparison is widened to one into a mask register and its expansion to lanes. A choice that
//! follows takes the mask register if it still holds the same, and an expansion that nobody reads
//! any more is dropped.

use super::code::{Registers, Uses, is_branch};
use super::tables::Move;
use super::to512::zmm;
use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
};
use std::collections::HashMap;

/// Mask registers for comparisons; 1 and 2 have other uses.
const POOL: [Register; 5] = [
    Register::K3,
    Register::K4,
    Register::K5,
    Register::K6,
    Register::K7,
];

/// Which mask register holds the same as a vector register, in the straight code so far.
#[derive(Default)]
pub(super) struct Masks {
    known: HashMap<Register, Register>,
    next: usize,
    /// Whether a choice took a mask register.
    pub(super) spared: bool,
}

/// What is known after an instruction of the old code.
pub(super) enum After {
    /// Nothing: it may go on elsewhere.
    Nothing,
    /// The same but for these registers with what they held, and the copy of a mask.
    Without(Vec<(Register, Register)>, Option<(Register, Register)>),
}

impl Masks {
    /// Forgets all: code may come here from elsewhere.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// A mask register that is going to hold what `lanes` does.
    pub(super) fn give(&mut self, lanes: Register) -> Register {
        let mask = POOL[self.next % POOL.len()];
        self.next += 1;
        self.known.retain(|_, held| *held != mask);
        self.known.insert(lanes, mask);
        mask
    }

    /// The mask register that holds what `lanes` does.
    pub(super) fn of(&mut self, lanes: Register) -> Option<Register> {
        let mask = self.known.get(&lanes).copied();
        self.spared |= mask.is_some();
        mask
    }

    /// What an instruction of the old code will leave known, taken down before it is widened:
    /// a comparison that is widened gives its register anew.
    pub(super) fn after(&mut self, old: &Instruction, info: &mut InstructionInfoFactory) -> After {
        if old.flow_control() != FlowControl::Next {
            return After::Nothing;
        }
        let copies = Move::of(old.code()).is_some()
            && old.op0_kind() == OpKind::Register
            && old.op1_kind() == OpKind::Register;
        let copy = copies
            .then(|| self.known.get(&zmm(old.op1_register())).copied())
            .flatten()
            .map(|mask| (zmm(old.op0_register()), mask));
        let written = info
            .info(old)
            .used_registers()
            .iter()
            .filter(|used| used.register().is_vector_register() && writes(used.access()))
            .filter_map(|used| self.known.get_key_value(&zmm(used.register())))
            .map(|(&lanes, &mask)| (lanes, mask))
            .collect();
        After::Without(written, copy)
    }

    /// Makes what is known what it is after the instruction.
    pub(super) fn settle(&mut self, after: After) {
        match after {
            After::Nothing => self.forget(),
            After::Without(written, copy) => {
                for (lanes, mask) in written {
                    if self.known.get(&lanes) == Some(&mask) {
                        self.known.remove(&lanes);
                    }
                }
                self.known.extend(copy);
            }
        }
    }
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
    )
}

/// Drops expansions of masks that nothing reads.
pub(super) fn drop_unread(instructions: &mut Vec<Instruction>) {
    let mut info = InstructionInfoFactory::new();
    let uses: Vec<Uses> = instructions
        .iter()
        .map(|instruction| Uses::of(instruction, &mut info))
        .collect();
    let place_of: HashMap<u64, usize> = instructions
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, instruction)| instruction.ip() != 0)
        .map(|(at, instruction)| (instruction.ip(), at))
        .collect();
    let count = instructions.len();
    // What is read after an instruction before it is written: from the end until nothing changes.
    let mut read_after: Vec<Registers> = vec![0; count];
    let mut read_before: Vec<Registers> = vec![0; count + 1];
    let mut changed = true;
    while changed {
        changed = false;
        for at in (0..count).rev() {
            let instruction = &instructions[at];
            let next = match instruction.flow_control() {
                FlowControl::Return | FlowControl::UnconditionalBranch => 0,
                _ => read_before[at + 1],
            };
            let there = match is_branch(instruction) {
                true => match place_of.get(&instruction.near_branch_target()) {
                    Some(&target) => read_before[target],
                    None => Registers::MAX,
                },
                false => 0,
            };
            read_after[at] = next | there;
            let before = read_after[at] & !uses[at].writes | uses[at].reads;
            changed |= before != read_before[at];
            read_before[at] = before;
        }
    }
    let mut at = 0;
    instructions.retain(|instruction| {
        let unread = uses[at].writes & read_after[at] == 0;
        at += 1;
        // One with an address may be where a branch goes to.
        let expands = instruction.code() == Code::EVEX_Vpmovm2d_zmm_kr && instruction.ip() == 0;
        !(expands && unread)
    });
}
