//! Blocks of which reverse mode keeps the operands alone (`remat`, [`aec_ir::Loop::is_block`]).
//!
//! A block is closed while derivatives are taken: its linear twin gets the block's operands and
//! computes inside of it what it needs, and so does the way back. Where no derivative is left, the
//! way there is opened and merges with what is around it, also with a tangent's block, so that
//! forward mode computes nothing twice. The ways back stay closed, as a common subexpression would
//! bring back what was not to be kept.

use super::prune::only_round;
use crate::rebuild::{rebuild, replace_body};
use aec_ir::{Function, Op};
use aec_syntax::Diagnostic;

/// `f` with its blocks opened, but for the ways back through them.
pub fn open_blocks(f: &Function) -> Result<Function, Diagnostic> {
    rebuild(f, |out, data, operands| match &data.op {
        Op::Loop(looped) => {
            let body = open_blocks(&looped.body)?;
            if !looped.is_block() || looped.reverse {
                return Ok(Some(replace_body(out, f, data, operands, body)));
            }
            let types: Vec<_> = data.results.iter().map(|&v| f.ty(v).clone()).collect();
            let open = aec_ir::Loop {
                body: Box::new(body),
                ..looped.clone()
            };
            Ok(Some(only_round(out, &open, operands, &types, data.span)))
        }
        Op::Map { body, .. } => {
            let body = open_blocks(body)?;
            Ok(Some(replace_body(out, f, data, operands, body)))
        }
        _ => Ok(None),
    })
}
