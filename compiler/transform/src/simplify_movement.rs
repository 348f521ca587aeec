//! Rules of ops that move entries, and of reductions of constants.

use crate::flat_index::{gather_of_gather, scatter_of_scatter};
use crate::rebuild::splat;
use crate::simplify::Context;
use crate::term::Term;
use aec_ir::{Fault, Function, Label, Labels, Op, Reduction, Type, Value};
use aec_syntax::Span;

/// What stands for the op, or nothing if it stays.
pub fn simplify_movement(
    context: &mut Context<'_>,
    op: &Op,
    operands: &[Value],
    ty: &Type,
) -> Option<Value> {
    let span = context.span;
    let f = &mut *context.out;
    let x = operands[0];
    let constant = f
        .def_inst(x)
        .map(|inst| f.insts[inst].op.clone())
        .filter(|op| matches!(op, Op::Constant(_)));
    let defined = f.def_inst(x).map(|inst| f.insts[inst].clone());
    match op {
        Op::Reshape => {
            if f.ty(x) == ty {
                return Some(x);
            }
            if let Some(constant) = constant {
                return Some(f.push1(constant, &[], ty.clone(), span));
            }
            if let Some(data) = &defined
                && matches!(data.op, Op::Reshape)
            {
                let source = data.operands[0];
                return Some(f.reshape(source, &ty.dims, span));
            }
            axes_of_one(context, x, ty)
        }
        Op::Slice {
            start,
            limit,
            stride,
        } => {
            if f.ty(x) == ty {
                return Some(x);
            }
            if let Some(constant) = constant {
                return Some(f.push1(constant, &[], ty.clone(), span));
            }
            let data = defined?;
            match &data.op {
                Op::Slice {
                    start: inner_start,
                    limit: _,
                    stride: inner_stride,
                } => {
                    let axes = 0..start.len();
                    // Of nothing, take nothing from the front: the composed start may lie
                    // beyond the axis.
                    let outer_start: Vec<usize> = axes
                        .clone()
                        .map(|i| match ty.dims[i] {
                            0 => 0,
                            _ => inner_start[i] + start[i] * inner_stride[i],
                        })
                        .collect();
                    let outer_stride: Vec<usize> =
                        axes.clone().map(|i| stride[i] * inner_stride[i]).collect();
                    let outer_limit: Vec<usize> = axes
                        .map(|i| match ty.dims[i] {
                            0 => 0,
                            n => outer_start[i] + (n - 1) * outer_stride[i] + 1,
                        })
                        .collect();
                    let op = Op::Slice {
                        start: outer_start,
                        limit: outer_limit,
                        stride: outer_stride,
                    };
                    Some(f.push1(op, &[data.operands[0]], ty.clone(), span))
                }
                Op::Concat { axis } => {
                    let mut at = 0;
                    for &part in &data.operands {
                        let size = f.dims(part)[*axis];
                        if start[*axis] >= at && limit[*axis] <= at + size {
                            let (mut start, mut limit) = (start.clone(), limit.clone());
                            start[*axis] -= at;
                            limit[*axis] -= at;
                            if f.ty(part) == ty {
                                return Some(part);
                            }
                            let op = Op::Slice {
                                start,
                                limit,
                                stride: stride.clone(),
                            };
                            return Some(f.push1(op, &[part], ty.clone(), span));
                        }
                        at += size;
                    }
                    None
                }
                _ => None,
            }
        }
        Op::Pad { .. } => {
            if f.ty(x) == ty {
                return Some(x);
            }
            match (splat(f, x), splat(f, operands[1])) {
                (Some(a), Some(b)) if a == b => {
                    constant.map(|constant| f.push1(constant, &[], ty.clone(), span))
                }
                _ => None,
            }
        }
        Op::Concat { axis } => {
            if operands.len() == 1 {
                return Some(x);
            }
            if operands.iter().any(|&v| f.dims(v)[*axis] == 0) {
                let full: Vec<Value> = operands
                    .iter()
                    .copied()
                    .filter(|&v| f.dims(v)[*axis] != 0)
                    .collect();
                return Some(match full.len() {
                    0 => x,
                    1 => full[0],
                    _ => f.push1(op.clone(), &full, ty.clone(), span),
                });
            }
            let first = splat(f, x)?;
            let all_same = operands.iter().all(|&v| splat(f, v) == Some(first));
            match constant {
                Some(constant) if all_same => Some(f.push1(constant, &[], ty.clone(), span)),
                _ => None,
            }
        }
        Op::Reverse { axes } => {
            if constant.is_some() || axes.iter().all(|&axis| ty.dims[axis] <= 1) {
                return Some(x);
            }
            let data = defined?;
            match &data.op {
                Op::Reverse { axes: inner } if inner == axes => Some(data.operands[0]),
                _ => None,
            }
        }
        Op::Gather { batch, fault } => {
            if let Some(constant) = constant
                && *fault == Fault::Index
            {
                return Some(f.push1(constant, &[], ty.clone(), span));
            }
            let entry = |context: &mut Context<'_>| {
                gather_of_gather(context, (x, operands[1]), *batch, *fault, ty)
            };
            if let Some(row) =
                constant_row(context, x, operands[1], *batch, ty).or_else(|| entry(context))
            {
                return Some(row);
            }
            let f = &mut *context.out;
            // Every row in order.
            let index = f.def_inst(operands[1])?;
            let whole = *batch == 0
                && matches!(f.insts[index].op, Op::Iota { axis: 0 })
                && f.dims(operands[1]).len() == 1
                && f.ty(x) == ty;
            match whole {
                true => Some(x),
                false => diagonal(f, x, operands[1], *batch, span),
            }
        }
        Op::ScatterAdd { batch } => {
            if operands.len() == 2 && splat(f, operands[1]) == Some(0.0) {
                return Some(f.number(0.0, ty.clone(), span));
            }
            scatter_of_scatter(context, operands, *batch, ty)
        }
        Op::CumSum { axis, .. } => {
            if ty.dims[*axis] <= 1 || splat(f, x) == Some(0.0) {
                return Some(x);
            }
            None
        }
        Op::Reduce { op, axes } => {
            if axes.is_empty() {
                return Some(x);
            }
            match op {
                Reduction::Max | Reduction::Min | Reduction::All | Reduction::Any => {
                    let constant = constant.filter(|_| !f.ty(x).is_empty())?;
                    Some(f.push1(constant, &[], ty.clone(), span))
                }
            }
        }
        _ => None,
    }
}

/// A gather of one constant index is a slice.
fn constant_row(
    context: &mut Context<'_>,
    x: Value,
    index: Value,
    batch: usize,
    ty: &Type,
) -> Option<Value> {
    let f = &mut *context.out;
    let at = splat(f, index)?;
    let dims = f.dims(x).to_vec();
    if f.dims(index).len() != batch || at < 0.0 || at >= dims[batch] as f64 {
        return None;
    }
    let at = at as usize;
    let mut start = vec![0; dims.len()];
    let mut limit = dims.clone();
    start[batch] = at;
    limit[batch] = at + 1;
    let mut row = dims;
    row[batch] = 1;
    let op = Op::Slice {
        start,
        limit,
        stride: vec![1; row.len()],
    };
    let slice_ty = ty.with_dims(&row);
    let slice = f.push1(op, &[x], slice_ty, context.span);
    Some(f.reshape(slice, &ty.dims, context.span))
}

/// A reshape that only adds or removes axes of size one is a relabelling.
fn axes_of_one(context: &mut Context<'_>, x: Value, ty: &Type) -> Option<Value> {
    let f = &mut *context.out;
    let dims = f.dims(x).to_vec();
    let real = |dims: &[usize]| dims.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
    if real(&dims) != real(&ty.dims) {
        return None;
    }
    let mut term = Term::identity(f, x);
    let mut remaining = (0..dims.len())
        .filter(|&axis| dims[axis] != 1)
        .map(|axis| axis as Label)
        .collect::<Vec<_>>()
        .into_iter();
    let mut out = Labels::new();
    for &size in &ty.dims {
        let label = match size {
            1 => term.fresh(1),
            _ => remaining.next()?,
        };
        out.push(label);
    }
    term.out = out;
    // Labels of size one that are in the operand alone are summed over their single index.
    if ty.elem == aec_runtime::Elem::Bool && term.is_summed() {
        return None;
    }
    Some(term.emit(f, ty.elem, context.span))
}

/// A gather whose index is the number of its row along one of the batch axes takes a diagonal,
/// which products can go on with.
fn diagonal(f: &mut Function, x: Value, index: Value, batch: usize, span: Span) -> Option<Value> {
    let rows = Term::of_value(f, index).filter(|term| term.is_relabel() && term.deltas.is_empty());
    let (counter, along) = match &rows {
        Some(term) => {
            let label = *term.factors[0].labels.first()?;
            let along = term.out.iter().position(|&out| out == label)?;
            (term.factors[0].value, along)
        }
        None => (index, 0),
    };
    let counts = f.dims(counter).len() == 1
        && match &f.insts[f.def_inst(counter)?].op {
            Op::Iota { .. } => true,
            Op::Dense(numbers) => (0..numbers.len()).all(|at| numbers.get_i64(at) == at as i64),
            _ => false,
        };
    let fits =
        f.dims(index).len() == batch && along < batch && f.dims(index)[along] == f.dims(x)[batch];
    if !counts || !fits {
        return None;
    }
    let mut term = Term::identity(f, x);
    let gathered = term.out.remove(batch);
    term.factors[0].labels[batch] = term.out[along];
    term.sizes[usize::from(gathered)] = 1;
    let elem = f.ty(x).elem;
    Some(term.emit(f, elem, span))
}
