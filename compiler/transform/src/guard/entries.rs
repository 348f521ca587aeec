//! Which entries of an operand matter, given which entries of the result do: of ops that move
//! entries, sum them up or choose among them. For branches that are not taken (`selects.rs`).

use crate::term::repeat_to;
use aec_ir::{Comparison, Fault, Function, InstData, Literal, Op, Type, Value};
use aec_runtime::Elem;
use smallvec::SmallVec;

/// Bools over the dims of operand `nth`: whether an entry goes into an entry of the result that is
/// `used` (bools over the result's dims). None for ops of which that is not known.
pub(crate) fn entries_used(
    f: &mut Function,
    data: &InstData,
    nth: usize,
    used: Value,
) -> Option<Value> {
    let span = data.span;
    let operand = data.operands[nth];
    let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(f.dims(operand));
    let ty = Type::new(Elem::Bool, &dims);
    if dims.contains(&0) || f.dims(used).contains(&0) {
        return None;
    }
    Some(match &data.op {
        Op::Convert => used,
        Op::Reshape | Op::Reverse { .. } => f.push1(data.op.clone(), &[used], ty, span),
        Op::CumSum { axis, reverse } => {
            let op = Op::CumSum {
                axis: *axis,
                reverse: !reverse,
            };
            let counted = f.convert(used, Elem::F32, span);
            let counts = f.push1(op, &[counted], Type::new(Elem::F32, &dims), span);
            positive(f, counts, data)
        }
        Op::Reduce { axes, .. } => {
            let kept: SmallVec<[usize; 4]> = (0..dims.len())
                .filter(|axis| !axes.contains(axis))
                .collect();
            repeat_to(f, used, &dims, &kept, span)
        }
        Op::Slice { start, stride, .. } => {
            let taken = f.dims(used).to_vec();
            let high = (0..dims.len())
                .map(|i| dims[i] - (start[i] + (taken[i] - 1) * stride[i] + 1))
                .collect();
            let op = Op::Pad {
                low: start.clone(),
                high,
                interior: stride.iter().map(|step| step - 1).collect(),
            };
            let no = f.constant(Literal::Bool(false), Type::scalar(Elem::Bool), span);
            f.push1(op, &[used, no], ty, span)
        }
        Op::Pad { low, interior, .. } if nth == 0 => {
            let limit = (0..dims.len())
                .map(|i| low[i] + (dims[i] - 1) * (interior[i] + 1) + 1)
                .collect();
            let op = Op::Slice {
                start: low.clone(),
                limit,
                stride: interior.iter().map(|i| i + 1).collect(),
            };
            f.push1(op, &[used], ty, span)
        }
        Op::Concat { axis } => {
            let before: usize = (data.operands[..nth].iter())
                .map(|&operand| f.dims(operand)[*axis])
                .sum();
            let (mut start, mut limit) = (vec![0; dims.len()], f.dims(used).to_vec());
            start[*axis] = before;
            limit[*axis] = before + dims[*axis];
            let op = Op::Slice {
                start,
                limit,
                stride: vec![1; dims.len()],
            };
            f.push1(op, &[used], ty, span)
        }
        Op::Gather { batch, .. } if nth == 0 => {
            let counted = f.convert(used, Elem::F32, span);
            let op = Op::ScatterAdd { batch: *batch };
            let ty = Type::new(Elem::F32, &dims);
            let counts = f.push1(op, &[data.operands[1], counted], ty, span);
            positive(f, counts, data)
        }
        Op::ScatterAdd { .. } if nth + 1 == data.operands.len() && nth.is_multiple_of(2) => used,
        Op::ScatterAdd { batch } if nth % 2 == 1 => {
            let op = Op::Gather {
                batch: *batch,
                fault: Fault::Index,
            };
            f.push1(op, &[used, data.operands[nth - 1]], ty, span)
        }
        Op::Put { .. } | Op::Slope { .. } if nth == 0 => used,
        Op::Constant(_)
        | Op::Dense(_)
        | Op::Iota { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Select
        | Op::Contract(_)
        | Op::ArgReduce { .. }
        | Op::Pad { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Put { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Matrix(_)
        | Op::Draw { .. }
        | Op::Map { .. }
        | Op::Loop(_)
        | Op::Derivative { .. }
        | Op::BatchMean
        | Op::Stop
        | Op::Slope { .. } => return None,
    })
}

fn positive(f: &mut Function, counts: Value, data: &InstData) -> Value {
    let ty = f.ty(counts).clone();
    let zero = f.number(0.0, ty, data.span);
    f.compare(Comparison::Gt, counts, zero, data.span)
}
