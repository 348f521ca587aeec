//! Machine code to instructions and back, and as text.

use super::{ALIGNMENT, NEW, OLD, Widened};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FastFormatter, FlowControl,
    Instruction, InstructionBlock, InstructionInfoFactory, OpAccess, Register,
};
use std::collections::BTreeSet;

/// The instructions, and where the constants after them start.
pub(super) fn decode(code: &[u8]) -> Result<(Vec<Instruction>, usize), String> {
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

pub(super) fn is_branch(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    )
}

/// Vector registers as bits.
pub(super) type Registers = u32;

pub(super) fn bit(register: Register) -> Registers {
    1 << register.number()
}

/// The vector registers that an instruction reads, writes as a whole whatever they held,
/// and changes in any way.
#[derive(Clone, Copy, Default)]
pub(super) struct Uses {
    pub(super) reads: Registers,
    pub(super) writes: Registers,
    pub(super) changes: Registers,
}

impl Uses {
    pub(super) fn of(instruction: &Instruction, info: &mut InstructionInfoFactory) -> Uses {
        let mut uses = Uses::default();
        for used in info.info(instruction).used_registers() {
            let register = used.register();
            if !register.is_vector_register() {
                continue;
            }
            let bit = bit(register);
            match used.access() {
                OpAccess::None | OpAccess::NoMemAccess => {}
                OpAccess::Read | OpAccess::CondRead => uses.reads |= bit,
                OpAccess::Write => {
                    uses.writes |= bit;
                    uses.changes |= bit;
                }
                OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite => {
                    uses.reads |= bit;
                    uses.changes |= bit;
                }
            }
        }
        uses
    }
}

/// Where branches go.
pub(super) fn branch_targets(instructions: &[Instruction]) -> BTreeSet<u64> {
    instructions
        .iter()
        .filter(|instruction| is_branch(instruction))
        .map(Instruction::near_branch_target)
        .collect()
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
pub(super) fn tidy(instructions: Vec<Instruction>) -> Vec<Instruction> {
    let targets = branch_targets(&instructions);
    instructions
        .into_iter()
        .filter(|instruction| {
            instruction.code() != Code::Nopd || targets.contains(&instruction.ip())
        })
        .collect()
}

/// Addresses of the instructions whose numbers, at these places in the code, are filled in later.
pub(super) fn filled_in(instructions: &[Instruction], relocs: &[u32]) -> Result<Vec<u64>, String> {
    let holder = |reloc: &u32| {
        let at = OLD + u64::from(*reloc);
        let holds = |of: &&Instruction| of.ip() < at && at < of.next_ip();
        match instructions.iter().find(holds) {
            Some(found) if found.code() == Code::Mov_r64_imm64 => Ok(found.ip()),
            _ => Err("an address outside of a move".to_owned()),
        }
    };
    relocs.iter().map(holder).collect()
}

/// Encodes the instructions, with the constants after them; `filled_in` has the addresses of those
/// that hold a number which is filled in later.
pub(super) fn assemble(
    mut instructions: Vec<Instruction>,
    constants: &[u8],
    constants_start: usize,
    filled_in: &[u64],
) -> Result<Widened, String> {
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
    let options = match filled_in {
        [] => BlockEncoderOptions::NONE,
        _ => {
            BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS
                | BlockEncoderOptions::RETURN_CONSTANT_OFFSETS
        }
    };
    let encoded = BlockEncoder::encode(64, block, options).map_err(|error| error.to_string())?;
    let place = |address: &u64| {
        let at = instructions.iter().position(|new| new.ip() == *address)?;
        let number = encoded.constant_offsets.get(at)?.immediate_offset() as u32;
        Some(encoded.new_instruction_offsets.get(at)? + number)
    };
    let relocs: Option<Vec<u32>> = filled_in.iter().map(place).collect();
    let relocs = relocs.ok_or("an address that is gone")?;
    let mut bytes = encoded.code_buffer;
    if !constants.is_empty() {
        bytes.resize(room as usize, 0xcc);
        bytes.extend_from_slice(constants);
    }
    Ok(Widened { bytes, relocs })
}
