//! Numbers the run-time checks: of indices that may be out of range, and of small matrices that may
//! have no result.

use super::Prepared;
use crate::plan::{CheckInfo, Condition};
use crate::small;
use crate::views::{self, trace};
use aec_ir::{Fault, Function, Inst, MatrixOp, Op, Value};
use smallvec::SmallVec;

/// Gives every instruction that needs a check a code after `first`.
pub(super) fn number(prepared: &mut Prepared, first: i64) {
    let f = &prepared.f;
    for &inst in &f.order {
        let Some(condition) = condition(f, inst) else {
            continue;
        };
        prepared.check_infos.push(CheckInfo {
            span: f.insts[inst].span,
            condition,
        });
        let code = first + prepared.check_infos.len() as i64;
        prepared.checks.insert(inst, code);
    }
}

/// What an instruction's kernel has to check, if anything.
fn condition(f: &Function, inst: Inst) -> Option<Condition> {
    let data = &f.insts[inst];
    let (fault, size, indices): (Fault, usize, SmallVec<[Value; 2]>) = match &data.op {
        &Op::Matrix(op) if small::is_written(f, inst) && op != MatrixOp::LogDet => {
            let shape = small::shape_of(f, inst);
            return Some(Condition::Matrix {
                op,
                batch: shape.batch,
                size: shape.cols,
            });
        }
        Op::Gather { batch, fault } => (
            *fault,
            f.dims(data.operands[0])[*batch],
            SmallVec::from_slice(&data.operands[1..2]),
        ),
        Op::ScatterAdd { batch } => (
            Fault::Index,
            f.dims(data.results[0])[*batch],
            data.operands.chunks_exact(2).map(|pair| pair[0]).collect(),
        ),
        _ => return None,
    };
    // No index is out of range where there is none, of an empty axis too.
    let fits = |at: Value| f.ty(at).is_empty() || in_range(f, at, size);
    let checked = !indices.iter().all(|&at| fits(at));
    checked.then_some(Condition::Index { fault, size })
}

/// Whether all indices are known to be in range.
fn in_range(f: &Function, index: Value, size: usize) -> bool {
    if let Some(at) = views::affine(f, index) {
        return views::in_range(&at, f.dims(index), size);
    }
    let base = trace(f, index, &|_| false).base;
    let Some(inst) = f.def_inst(base) else {
        return false;
    };
    let fits = |i: i64| i >= 0 && (i as u64) < size as u64;
    match &f.insts[inst].op {
        Op::Dense(tensor) => (0..tensor.len()).all(|at| fits(tensor.get_i64(at))),
        _ => false,
    }
}
