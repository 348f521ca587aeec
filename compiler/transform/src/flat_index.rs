//! One index in place of two: an entry of a gathered row, `x[i][j]`, is an entry of `x` with both
//! axes laid out as one, and an update of an entry of a row that is added to `x` is added to that
//! entry. Rows of which one entry each is read, or changed, are so never made.

use aec_ir::{Fault, Function, InstData, Label, Labels, Op, Type, Value};
use aec_runtime::Elem;
use aec_syntax::Span;

use crate::simplify::Context;

/// A gather, with `batch` axes, of what another gathers and nothing else reads.
pub fn gather_of_gather(
    context: &mut Context<'_>,
    (rows, index): (Value, Value),
    batch: usize,
    fault: Fault,
    ty: &Type,
) -> Option<Value> {
    let span = context.span;
    if context.uses[rows] > 1 {
        return None;
    }
    let f = &mut *context.out;
    let inner = f.insts[f.def_inst(rows)?].clone();
    let Op::Gather {
        batch: shared,
        fault: of_row,
    } = inner.op
    else {
        return None;
    };
    let (x, row) = (inner.operands[0], inner.operands[1]);
    let dims = f.dims(x).to_vec();
    let sizes = [*dims.get(shared)?, *dims.get(shared + 1)?];
    let places = [(row, of_row), (index, fault)];
    let at = flat(f, places, batch, sizes, span)?;
    let x = f.reshape(x, &joined(&dims, shared), span);
    let op = Op::Gather {
        batch: shared,
        fault,
    };
    Some(f.push1(op, &[x, at], ty.clone(), span))
}

/// A scatter, with `batch` axes, of rows that another scatters and nothing else reads.
pub fn scatter_of_scatter(
    context: &mut Context<'_>,
    operands: &[Value],
    batch: usize,
    ty: &Type,
) -> Option<Value> {
    let span = context.span;
    let &[row, rows] = operands else {
        return None;
    };
    if context.uses[rows] > 1 {
        return None;
    }
    let f = &mut *context.out;
    let InstData {
        op: Op::ScatterAdd { batch: within },
        operands: inner,
        ..
    } = f.insts[f.def_inst(rows)?].clone()
    else {
        return None;
    };
    let &[index, updates] = &inner[..] else {
        return None;
    };
    let sizes = [*ty.dims.get(batch)?, *ty.dims.get(batch + 1)?];
    let places = [(row, Fault::Index), (index, Fault::Index)];
    let at = flat(f, places, within, sizes, span)?;
    let sums = ty.with_dims(&joined(&ty.dims, batch));
    let sums = f.push1(Op::ScatterAdd { batch }, &[at, updates], sums, span);
    Some(f.reshape(sums, &ty.dims, span))
}

/// Dims with axes `axis` and the next one as one.
fn joined(dims: &[usize], axis: usize) -> Vec<usize> {
    let mut out = dims.to_vec();
    out[axis] *= out.remove(axis + 1);
    out
}

/// `row * size + index`, where `index` has the axes of `row` first, which are `batch`. Each is still held
/// against its own axis.
fn flat(
    f: &mut Function,
    [(row, of_row), (index, of_index)]: [(Value, Fault); 2],
    batch: usize,
    [rows, size]: [usize; 2],
    span: Span,
) -> Option<Value> {
    // Of one entry alone, what an index gives is known whatever it is.
    if f.dims(row).len() != batch || rows <= 1 || size <= 1 {
        return None;
    }
    let row = checked(f, row, rows, of_row, span);
    let index = checked(f, index, size, of_index, span);
    let labels: Labels = (0..f.dims(index).len() as Label).collect();
    let extra: Vec<(Label, usize)> = labels.iter().copied().zip(f.dims(index).to_vec()).collect();
    let of_row = &labels[..batch];
    let start = f.contract(&[(row, of_row)], &labels, &extra, size as f64, span);
    Some(f.binary(aec_ir::Binary::Add, start, index, span))
}

/// The index itself, which must be one of an axis: a gather from the numbers of its entries.
fn checked(f: &mut Function, index: Value, size: usize, fault: Fault, span: Span) -> Value {
    let ty = Type::new(Elem::I64, &[size]);
    let entries = f.push1(Op::Iota { axis: 0 }, &[], ty, span);
    let ty = Type::new(Elem::I64, f.dims(index));
    f.push1(Op::Gather { batch: 0, fault }, &[entries, index], ty, span)
}
