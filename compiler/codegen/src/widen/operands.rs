//! Copies and constants read where they are, rather than brought to another register first.
//!
//! Cranelift has 16 registers, so that in a long loop most constants and many values lie in spill
//! slots, and a load precedes each use. Once slots are registers and constants are broadcast, the
//! use can name them itself. A copy costs the processor little, but a broadcast of its own before
//! each multiply-add makes those half as slow again.

use super::code::{Registers, Uses, bit, branch_targets};
use super::to512::with_constant;
use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpKind, Register};
use std::collections::BTreeSet;

/// Lets uses name what copies are of, and constants that have one use, and drops the copies and
/// broadcasts that nothing reads any more. Looks at straight code only.
pub(super) fn name_sources(instructions: &mut Vec<Instruction>) {
    let mut code = StraightCode {
        targets: branch_targets(instructions),
        uses: Vec::with_capacity(instructions.len()),
        info: InstructionInfoFactory::new(),
        instructions,
    };
    for at in 0..code.instructions.len() {
        let uses = Uses::of(&code.instructions[at], &mut code.info);
        code.uses.push(uses);
    }
    for at in 0..code.instructions.len() {
        let instruction = code.instructions[at];
        let spare = match Source::of(&instruction) {
            Some(Source::Copy(from)) => code.rename(at, from),
            Some(Source::Constant) => code.broadcast(at),
            None => false,
        };
        if spare {
            code.set(at, Instruction::with(Code::Nopd));
            // Others may come here.
            code.instructions[at].set_ip(instruction.ip());
        }
    }
}

/// What an instruction puts into the whole of a register.
#[derive(Clone, Copy)]
enum Source {
    Copy(Register),
    /// One in memory, in all lanes.
    Constant,
}

impl Source {
    fn of(instruction: &Instruction) -> Option<Source> {
        if instruction.op0_kind() != OpKind::Register || instruction.op_mask() != Register::None {
            return None;
        }
        match instruction.code() {
            Code::EVEX_Vmovaps_zmm_k1z_zmmm512 | Code::EVEX_Vmovups_zmm_k1z_zmmm512
                if instruction.op1_kind() == OpKind::Register =>
            {
                Some(Source::Copy(instruction.op1_register()))
            }
            Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32 if instruction.is_ip_rel_memory_operand() => {
                Some(Source::Constant)
            }
            _ => None,
        }
    }
}

/// The straight code after an instruction in which its register holds what its source does.
struct Span {
    readers: Vec<usize>,
    /// Whether nothing behind it reads what the instruction put there.
    ends: bool,
}

struct StraightCode<'a> {
    instructions: &'a mut Vec<Instruction>,
    uses: Vec<Uses>,
    targets: BTreeSet<u64>,
    info: InstructionInfoFactory,
}

impl StraightCode<'_> {
    fn set(&mut self, at: usize, new: Instruction) {
        self.uses[at] = Uses::of(&new, &mut self.info);
        self.instructions[at] = new;
    }

    /// The span of the instruction, whose source is in the registers `from`.
    fn span(&self, at: usize, from: Registers) -> Span {
        let to = bit(self.instructions[at].op0_register());
        let mut readers = Vec::new();
        let mut from_changed = false;
        for next in at + 1..self.instructions.len() {
            let instruction = &self.instructions[next];
            let straight = instruction.flow_control() == FlowControl::Next;
            if !straight || self.targets.contains(&instruction.ip()) {
                break;
            }
            let uses = self.uses[next];
            if uses.reads & to != 0 {
                if from_changed {
                    break;
                }
                readers.push(next);
            }
            if uses.changes & to != 0 {
                let ends = uses.writes & to != 0;
                return Span { readers, ends };
            }
            from_changed |= uses.changes & from != 0;
        }
        Span {
            readers,
            ends: false,
        }
    }

    /// Lets the readers of a copy read what it is of; whether it is not needed then.
    fn rename(&mut self, at: usize, from: Register) -> bool {
        let to = self.instructions[at].op0_register();
        let span = self.span(at, bit(from));
        let mut spare = span.ends;
        for reader in span.readers {
            let mut new = self.instructions[reader];
            for operand in 1..new.op_count() {
                if new.op_kind(operand) == OpKind::Register && new.op_register(operand) == to {
                    new.set_op_register(operand, from);
                }
            }
            // It may change the copy, or read part of it.
            if Uses::of(&new, &mut self.info).reads & bit(to) & !bit(from) == 0 {
                self.set(reader, new);
            } else {
                spare = false;
            }
        }
        spare
    }

    /// Lets the only reader of a constant broadcast it; whether it is not needed then.
    fn broadcast(&mut self, at: usize) -> bool {
        let span = self.span(at, 0);
        let reader = match (span.readers.as_slice(), span.ends) {
            ([], true) => return true,
            ([reader], true) => *reader,
            _ => return false,
        };
        let load = self.instructions[at];
        let Some(new) = broadcasting(&self.instructions[reader], &load) else {
            return false;
        };
        let reads = Uses::of(&new, &mut self.info).reads;
        let can = reads & bit(load.op0_register()) == 0;
        if can {
            self.set(reader, new);
        }
        can
    }
}

/// The instruction with the constant that `load` brings as its last operand, if that can be one
/// in memory in all lanes.
fn broadcasting(reader: &Instruction, load: &Instruction) -> Option<Instruction> {
    let constant = load.op0_register();
    let mut new = *reader;
    let is_register = |operand: &u32| new.op_kind(*operand) == OpKind::Register;
    if (0..new.op_count()).any(|operand| new.op_kind(operand) == OpKind::Memory) {
        return None;
    }
    let last = (1..new.op_count()).rev().find(is_register)?;
    if new.op_register(last) != constant {
        if last != 2 || new.op1_register() != constant {
            return None;
        }
        exchange(&mut new)?;
    }
    new.set_op_register(last, Register::None);
    let new = with_constant(new, last, load.ip_rel_memory_address());
    new.memory_size().is_broadcast().then_some(new)
}

/// Exchanges the second and third operand, two registers, and what is done with them, so that the
/// result stays.
fn exchange(instruction: &mut Instruction) -> Option<()> {
    use Code as C;
    let code = match instruction.code() {
        C::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er => {
            C::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er
        }
        C::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er => {
            C::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er
        }
        C::EVEX_Vfmsub213ps_zmm_k1z_zmm_zmmm512b32_er => {
            C::EVEX_Vfmsub132ps_zmm_k1z_zmm_zmmm512b32_er
        }
        C::EVEX_Vfnmadd213ps_zmm_k1z_zmm_zmmm512b32_er => {
            C::EVEX_Vfnmadd132ps_zmm_k1z_zmm_zmmm512b32_er
        }
        compare @ C::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae => {
            let predicate = mirrored(instruction.immediate8())?;
            instruction.set_immediate8(predicate);
            compare
        }
        same @ (C::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er
        | C::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er
        | C::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32
        | C::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32
        | C::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32
        | C::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32
        | C::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er
        | C::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er) => same,
        _ => return None,
    };
    let second = instruction.op1_register();
    instruction.set_code(code);
    instruction.set_op1_register(instruction.op2_register());
    instruction.set_op2_register(second);
    Some(())
}

/// The predicate of `vcmpps` that says of `(b, a)` what this one says of `(a, b)`.
fn mirrored(predicate: u8) -> Option<u8> {
    Some(match predicate {
        // Equal, unordered, not equal, ordered.
        0 | 3 | 4 | 7 => predicate,
        // Less, less or equal; not less, not less or equal.
        1 => 14,
        2 => 13,
        5 => 10,
        6 => 9,
        _ => return None,
    })
}
