//! Linear algebra: the ops as the library sees them, factors still stacked. What scripts call is
//! written in `stdlib/linalg.ae`.

use super::table::Row;
use crate::call::Args;
use crate::error::{size_mismatch, wanted};
use crate::ops::as_tensor;
use crate::size::Size;
use crate::value::{Dim, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{MatrixOp, Op, Type};
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};

/// `[n, m]`, and `[n]` or `[n, k]` for the right side of a solve.
pub(super) fn matrix(
    elaborator: &mut Elaborator,
    row: &Row,
    op: MatrixOp,
    args: Args,
    span: Span,
) -> Result<Value> {
    let args = super::ordered(row, args, span)?;
    let mut operands: Vec<(Tensor, Span)> = Vec::new();
    for (value, at) in &args.positional {
        if matches!(value, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let stacked = elaborator.stack(value, *at)?;
        let tensor = as_tensor(&stacked, *at, "a matrix of reals")?;
        let tensor = match tensor.is_static_int() {
            true => elaborator.convert(&tensor, Elem::F32, *at)?,
            false => tensor,
        };
        let ranks = if operands.is_empty() { 2..=2 } else { 1..=2 };
        if !tensor.ty.elem.is_float() || !ranks.contains(&tensor.ty.rank()) {
            return wanted(*at, "a matrix of reals", &Value::Tensor(tensor));
        }
        operands.push((tensor, *at));
    }
    for (tensor, _) in &operands {
        elaborator.refuse_varying(tensor, &format!("`{}`", row.name), span)?;
    }
    elaborator.refuse_in_rounds(&format!("`{}`", row.name), span)?;
    let (a, a_span) = operands[0].clone();
    let (n, m) = (a.ty.shape[0].clone(), a.ty.shape[1].clone());
    let square = !matches!(op, MatrixOp::Qr | MatrixOp::Svd);
    let text = elaborator.text(span);
    if square && n.size.differs(&m.size) {
        let mut diagnostic = size_mismatch(span, &text, (&a, a_span), (&a, a_span), None);
        diagnostic.labels.truncate(1);
        return Err(Box::new(
            diagnostic.here(format!("{} rows, {} columns: not square", n.size, m.size)),
        ));
    }
    if let (MatrixOp::Qr, Some(rows), Some(columns)) =
        (op, n.size.as_constant(), m.size.as_constant())
        && rows < columns
    {
        let blamed = elaborator.blamed(span);
        return Err(Box::new(
            Diagnostic::error(
                "E0315",
                blamed,
                format!(
                    "`qr` wants at least as many rows as columns, but A is [{rows}, {columns}]"
                ),
            )
            .help("`qr(A')` has the rows' span instead of the columns'"),
        ));
    }
    let a = operands[0].0.clone();
    let Some((b, b_span)) = operands.get(1).cloned() else {
        let shape = shape_of(elaborator, op, &n, &m);
        let ty = TensorType {
            elem: a.ty.elem,
            shape: shape.into(),
        };
        let blamed = elaborator.blamed(span);
        let result = elaborator.emit(Op::Matrix(op), &[&a], ty, blamed)?;
        return Ok(Value::Tensor(result));
    };
    let (a, b) = elaborator.promote(a, b, (a_span, b_span), span)?;
    if b.ty.shape[0].size.differs(&n.size) {
        return Err(Box::new(size_mismatch(
            span,
            &text,
            (&a, a_span),
            (&b, b_span),
            None,
        )));
    }
    let ty = b.ty.clone();
    let blamed = elaborator.blamed(span);
    let result = elaborator.build(&[&a, &b], ty, blamed, |f, v, ty, span| {
        if ty.rank() == 2 {
            return f.push1(Op::Matrix(op), v, ty, span);
        }
        let column: Type = ty.with_dims(&[ty.dims[0], 1]);
        let b = f.push1(Op::Reshape, &[v[1]], column.clone(), span);
        let x = f.push1(Op::Matrix(op), &[v[0], b], column, span);
        f.push1(Op::Reshape, &[x], ty, span)
    })?;
    Ok(Value::Tensor(result))
}

/// `refuse_min_norm(B, ridge)`: B, unless it has no more rows than columns and there is no ridge.
/// Least squares is then not the encoder that the lecture calls by that name: every code of a
/// whole affine space, or the only one, reproduces x exactly (S01 eq. 16.2, second case).
pub(super) fn refuse_min_norm(
    elaborator: &mut Elaborator,
    args: &Args,
    span: Span,
) -> Result<Value> {
    let (b, _) = &args.positional[0];
    let (ridge, _) = &args.positional[1];
    let shape = match b {
        Value::Tensor(tensor) if tensor.ty.rank() == 2 => &tensor.ty.shape,
        _ => return Ok(b.clone()),
    };
    let sizes = (shape[0].size.as_constant(), shape[1].size.as_constant());
    let (Some(n), Some(k)) = sizes else {
        return Ok(b.clone());
    };
    if k < n || ridge.as_f64() != Some(0.0) {
        return Ok(b.clone());
    }
    let span = elaborator.blamed(span);
    let diagnostic = Diagnostic::error(
        "E0314",
        span,
        format!("`lstsq` wants more rows than unknowns, but B is [{n}, {k}]"),
    )
    .note(if k > n {
        "many codes give x exactly; the one of least norm, B' (B B')^-1 x, learns nothing: B times it is x, whatever B"
    } else {
        "one code gives x exactly, whatever B: there is nothing to learn"
    });
    Err(Box::new(match k > n {
        true => diagnostic.help("make the code shorter than x, or give a ridge: `ridge = 1e-3`"),
        false => diagnostic.help("make the code shorter than x, or use `linalg.solve(B, x)`"),
    }))
}

/// Dims of the stacked factors of an op of one operand.
fn shape_of(elaborator: &mut Elaborator, op: MatrixOp, n: &Dim, m: &Dim) -> Vec<Dim> {
    let one = Size::constant(1);
    match op {
        MatrixOp::Solve(_) | MatrixOp::Cholesky => vec![n.clone(), m.clone()],
        MatrixOp::LogDet => vec![Dim::known(2)],
        MatrixOp::Qr => vec![Dim::of(n.size.plus(&m.size)), m.clone()],
        MatrixOp::Eigh => vec![Dim::of(n.size.plus(&one)), n.clone()],
        MatrixOp::Svd => {
            let least = match (n.size.as_constant(), m.size.as_constant()) {
                (Some(a), Some(b)) => Size::constant(a.min(b)),
                _ if n.size == m.size => n.size.clone(),
                // While a definition is checked for all sizes.
                _ => elaborator.fresh_size("r"),
            };
            vec![Dim::of(n.size.plus(&m.size).plus(&one)), Dim::of(least)]
        }
    }
}
