//! Linear algebra: the runtime's own code, of which its tests say that it is right.

use super::array::{Array, Items};
use crate::function::Type;
use aec_runtime::linalg::{BadMatrix, MatrixOp, Shape, apply};
use aec_runtime::pool::Pool;
use std::rc::Rc;

/// `rounded`: the operands are f32, and what they leave undecided is judged so.
pub(super) fn matrix(
    op: MatrixOp,
    operands: &[Rc<Array>],
    ty: &Type,
    rounded: bool,
) -> Result<Array, BadMatrix> {
    let dims = operands.get(1).map(|b| &b.dims[..]);
    let shape = Shape::new(&operands[0].dims, dims);
    let a = operands[0].floats();
    let b = operands.get(1).map_or(&[][..], |b| b.floats());
    let pool = Pool::new(1);
    let mut out = vec![0.0; ty.len()];
    if rounded {
        let short = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let mut short_out = vec![0.0f32; ty.len()];
        apply(op, shape, &short(a), &short(b), &mut short_out, &pool)?;
        for (to, from) in out.iter_mut().zip(short_out) {
            *to = f64::from(from);
        }
    } else {
        apply(op, shape, a, b, &mut out, &pool)?;
    }
    Ok(Array {
        dims: ty.dims.to_vec(),
        items: Items::Float(out),
    })
}
