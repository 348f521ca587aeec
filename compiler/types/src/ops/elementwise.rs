//! Operators and builtins that go entry by entry: what is known is computed at once (`fold.rs`), the
//! rest becomes ops of TIR, with scalars repeated.

use super::{Operand, as_tensor};
use crate::fold::{
    comparison, fold, fold_ints, fold_sizes, in_memory, scalar, static_unary, whole, whole_number,
};
use crate::value::{Repr, Shape, Tensor, TensorType, Value};
use crate::{Elaborator, Result, vanishing};
use aec_ir::{Binary, Function, Label, Labels, Literal, Op, Type, Unary, Value as IrValue};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::BinaryOp;
use aec_syntax::{Diagnostic, Span};
use std::sync::Arc;

/// Both operands, a scalar beside a tensor repeated to its dims.
fn repeated(f: &mut Function, operands: [IrValue; 2], dims: &[usize], span: Span) -> [IrValue; 2] {
    operands.map(|v| match f.dims(v).is_empty() && !dims.is_empty() {
        true => f.broadcast_leading(v, dims, span),
        false => v,
    })
}

fn labels(rank: usize) -> Labels {
    (0..rank as Label).collect()
}

impl Elaborator {
    /// An operator that goes entry by entry.
    pub(super) fn elementwise(
        &mut self,
        op: BinaryOp,
        x: Tensor,
        y: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Tensor> {
        if let Some(folded) = fold_sizes(op, &x, &y) {
            return Ok(folded);
        }
        let (x, y) = match op {
            BinaryOp::Div => self.reals(x, y, spans, span)?,
            _ => self.promote(x, y, spans, span)?,
        };
        let elem = x.ty.elem;
        self.expect_elem(op, (&x, &y), spans, span)?;
        if let (BinaryOp::FloorDiv, Repr::Static(divisor)) = (op, &y.repr)
            && (0..divisor.len()).any(|at| divisor.get_i64(at) == 0)
        {
            return crate::error::division_by_zero(spans.1);
        }
        let shape = self.joint_shape(&x, &y, spans, span)?;
        if let (Repr::Static(p), Repr::Static(q)) = (&x.repr, &y.repr) {
            if elem == Elem::I64
                && p.rank() + q.rank() == 0
                && let Some(value) = self.whole(op, p.get_i64(0), q.get_i64(0), span)?
            {
                return Ok(whole_number(value));
            }
            if let Some(folded) = fold(op, p, q, elem, &shape) {
                return Ok(folded);
            }
        }
        if let Some((p, q)) = self.counters(&x, &y)
            && comparison(op).is_none()
            && let Some(folded) = fold(op, p, q, elem, &shape)
        {
            return Ok(in_memory(folded));
        }
        let comparison = comparison(op);
        let y = match op {
            BinaryOp::Div => self.harmless(&y, &shape, Binary::Div.safe_places()[1], span)?,
            _ => y,
        };
        let result = TensorType {
            elem: if comparison.is_some() {
                Elem::Bool
            } else {
                elem
            },
            shape,
        };
        self.build(&[&x, &y], result, span, |f, v, ty, span| {
            let (a, b) = (v[0], v[1]);
            let (ra, rb) = (f.dims(a).len(), f.dims(b).len());
            if op == BinaryOp::Mul {
                let [a, b] = vanishing::tamed(f, [a, b], span);
                // A scalar factor needs no repeating: it is a factor without labels.
                return f.contract(
                    &[(a, &labels(ra)), (b, &labels(rb))],
                    &labels(ra.max(rb)),
                    &[],
                    1.0,
                    span,
                );
            }
            let [a, b] = repeated(f, [a, b], &ty.dims, span);
            match (comparison, op) {
                (Some(comparison), _) => f.compare(comparison, a, b, span),
                (None, BinaryOp::Add) => f.binary(Binary::Add, a, b, span),
                (None, BinaryOp::Sub) => f.binary(Binary::Sub, a, b, span),
                (None, BinaryOp::Div) => f.binary(Binary::Div, a, b, span),
                (None, BinaryOp::FloorDiv) => f.binary(Binary::FloorDiv, a, b, span),
                (None, BinaryOp::And) => f.binary(Binary::And, a, b, span),
                (None, _) => f.binary(Binary::Or, a, b, span),
            }
        })
    }

    /// What an operator gives of two ints, none if it is no int. Those that a script writes have to fit;
    /// those of compiled code wrap around.
    fn whole(&self, op: BinaryOp, p: i64, q: i64, span: Span) -> Result<Option<i64>> {
        match whole(op, p, q) {
            Some(None) => {
                let message = format!("`{}` is beyond an int, which has 64 bits", self.text(span));
                Err(Box::new(
                    Diagnostic::error("E0316", span, message)
                        .note(format!("the largest int is {}", i64::MAX))
                        .help("reals go further, up to 3e38: `2.0^64`"),
                ))
            }
            value => Ok(value.flatten()),
        }
    }

    /// Both sides of a `/`, which always divides reals: of compile-time ints it gives a real.
    fn reals(
        &mut self,
        x: Tensor,
        y: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<(Tensor, Tensor)> {
        if !x.ty.elem.is_int() || !y.ty.elem.is_int() {
            return self.promote(x, y, spans, span);
        }
        if !x.is_static_int() || !y.is_static_int() {
            let diagnostic = Diagnostic::error(
                "E0304",
                span,
                format!("`/` divides reals, but `{}` has ints", self.text(span)),
            )
            .label(spans.0, x.ty.to_string())
            .label(spans.1, y.ty.to_string())
            .help_edit(
                "`//` is floor division, `mod(a, b)` the remainder; `real(…)` converts",
                spans.0,
                format!("real({})", self.text(spans.0)),
            );
            return Err(Box::new(diagnostic));
        }
        let float = self.float();
        Ok((
            self.convert(&x, float, spans.0)?,
            self.convert(&y, float, spans.1)?,
        ))
    }

    /// An error if an operator does not work on its operands' element type, which is one.
    fn expect_elem(
        &self,
        op: BinaryOp,
        (x, y): (&Tensor, &Tensor),
        spans: (Span, Span),
        span: Span,
    ) -> Result<()> {
        let elem = x.ty.elem;
        let works = match op {
            BinaryOp::And | BinaryOp::Or => elem == Elem::Bool,
            BinaryOp::FloorDiv => elem.is_int(),
            BinaryOp::Eq | BinaryOp::Ne => true,
            _ => elem != Elem::Bool,
        };
        if works {
            return Ok(());
        }
        let mut diagnostic = Diagnostic::error(
            "E0303",
            span,
            format!("`{}` does not work on {elem}", op.symbol()),
        )
        .label(spans.0, x.ty.to_string())
        .label(spans.1, y.ty.to_string());
        if op == BinaryOp::FloorDiv {
            diagnostic = diagnostic.help("`//` is for ints and sizes; `floor(a / b)` for reals");
        } else if elem == Elem::Bool {
            diagnostic = diagnostic.help("`real(…)` or `int(…)` turns a bool into 0 or 1");
        }
        Err(Box::new(diagnostic))
    }

    /// Two ints in memory, of which one may be an input of what is compiled, such as a loop's counter. What
    /// is made of them is worked out at once: it may be a size, and in the body of a `map` or a
    /// derivative nothing can run that tells it. It is an input again.
    fn counters<'a>(
        &self,
        x: &'a Tensor,
        y: &'a Tensor,
    ) -> Option<(&'a HostTensor, &'a HostTensor)> {
        let (Repr::Static(p) | Repr::Concrete(p), Repr::Static(q) | Repr::Concrete(q)) =
            (&x.repr, &y.repr)
        else {
            return None;
        };
        let ints = x.ty.elem == Elem::I64 && y.ty.elem == Elem::I64;
        (ints && p.rank() == 0 && q.rank() == 0).then_some((p, q))
    }

    /// An elementwise builtin of two operands: `max(a, b)`, `mod(a, b)`.
    pub(crate) fn elementwise_builtin(
        &mut self,
        op: Binary,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        if matches!(a.0, Value::Unknown) || matches!(b.0, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let x = as_tensor(a.0, a.1, "a number or tensor")?;
        let y = as_tensor(b.0, b.1, "a number or tensor")?;
        let (x, y) = self.promote(x, y, (a.1, b.1), span)?;
        let shape = self.joint_shape(&x, &y, (a.1, b.1), span)?;
        if let (Repr::Static(p), Repr::Static(q)) = (&x.repr, &y.repr)
            && let (0, 0) = (p.rank(), q.rank())
        {
            if x.ty.elem == Elem::I64
                && let Some(folded) = fold_ints(op, p.get_i64(0), q.get_i64(0))
            {
                return Ok(Value::Tensor(folded));
            }
            let (p, q) = (p.get_f64(0), q.get_f64(0));
            let value = match op {
                Binary::Min | Binary::Max if p.is_nan() || q.is_nan() => Some(f64::NAN),
                Binary::Min => Some(p.min(q)),
                Binary::Max => Some(p.max(q)),
                Binary::Mod if q != 0.0 => Some(p - q * (p / q).floor()),
                Binary::Pow => Some(p.powf(q)),
                _ => None,
            };
            if let Some(value) = value {
                return Ok(Value::Tensor(scalar(value, x.ty.elem)));
            }
        }
        if let Some((p, q)) = self.counters(&x, &y)
            && let Some(folded) = fold_ints(op, p.get_i64(0), q.get_i64(0))
        {
            return Ok(Value::Tensor(in_memory(folded)));
        }
        let places = match x.ty.elem.is_float() {
            true => op.safe_places(),
            false => [None, None],
        };
        let x = self.harmless(&x, &shape, places[0], span)?;
        let y = self.harmless(&y, &shape, places[1], span)?;
        let ty = TensorType {
            elem: x.ty.elem,
            shape,
        };
        let tensor = self.build(&[&x, &y], ty, span, |f, v, ty, span| {
            let [a, b] = repeated(f, [v[0], v[1]], &ty.dims, span);
            f.binary(op, a, b, span)
        })?;
        Ok(Value::Tensor(tensor))
    }

    /// An elementwise function of one tensor.
    pub(crate) fn unary(&mut self, op: Unary, x: &Tensor, span: Span) -> Result<Tensor> {
        if let Repr::Static(host) = &x.repr
            && let Some(function) = static_unary(op)
            && x.ty.elem != Elem::Bool
            // What multiplies it may be 0 by the same numbers (`vanishing`).
            && (op != Unary::Log || (0..host.len()).all(|at| host.get_f64(at) != 0.0))
            && (!x.ty.elem.is_int() || matches!(op, Unary::Neg | Unary::Abs | Unary::Sign))
        {
            let held = if x.ty.elem.is_float() {
                Elem::F64
            } else {
                x.ty.elem
            };
            let values = host.to_f64_vec().into_iter().map(function);
            let host = HostTensor::from_f64(held, host.dims(), values);
            return Ok(Tensor {
                ty: x.ty.clone(),
                repr: Repr::Static(Arc::new(host)),
            });
        }
        if let (Unary::Neg, Repr::Symbolic(size)) = (op, &x.repr) {
            let size = crate::size::Size::constant(0).minus(size);
            return Ok(Tensor {
                ty: x.ty.clone(),
                repr: Repr::Symbolic(size),
            });
        }
        let x = &self.harmless(x, &x.ty.shape, op.safe_place(), span)?;
        self.emit(Op::Unary(op), &[x], x.ty.clone(), span)
    }

    /// `x ^ y`.
    pub(super) fn power(
        &mut self,
        x: Tensor,
        y: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Tensor> {
        let exponent = match &y.repr {
            Repr::Static(host) if host.rank() == 0 => Some(host.get_f64(0)),
            _ => None,
        };
        if let (Some(exponent), Repr::Static(base), Repr::Static(exponents)) =
            (exponent, &x.repr, &y.repr)
            && base.rank() == 0
        {
            if x.ty.elem.is_int()
                && y.ty.elem.is_int()
                && let (base, exponent) = (base.get_i64(0), exponents.get_i64(0))
                && let Some(value) = self.whole(BinaryOp::Pow, base, exponent, span)?
            {
                return Ok(whole_number(value));
            }
            let elem = match x.ty.elem.is_float() {
                true => x.ty.elem,
                false => self.float(),
            };
            return Ok(scalar(base.get_f64(0).powf(exponent), elem));
        }
        let x = if x.is_static_int() && y.ty.elem.is_float() {
            self.convert(&x, y.ty.elem, spans.0)?
        } else {
            x
        };
        match exponent {
            Some(n) if n.fract() == 0.0 && (1.0..=8.0).contains(&n) && x.ty.elem != Elem::Bool => {
                // A small whole power is one contraction: the factor counted n times.
                self.build(&[&x], x.ty.clone(), span, |f, v, ty, span| {
                    let axes = labels(ty.dims.len());
                    let inst = f.contract(&[(v[0], &axes)], &axes, &[], 1.0, span);
                    if let Some(at) = f.def_inst(inst)
                        && let Op::Contract(contract) = &mut f.insts[at].op
                    {
                        contract.factors[0].power = n as u32;
                    }
                    inst
                })
            }
            Some(0.5) if x.ty.elem.is_float() => self.unary(Unary::Sqrt, &x, span),
            _ => {
                let (x, y) = self.promote(x, y, spans, span)?;
                if !x.ty.elem.is_float() {
                    let diagnostic = Diagnostic::error(
                        "E0303",
                        span,
                        format!(
                            "`^` with this exponent works on reals, not on {}",
                            x.ty.elem
                        ),
                    )
                    .help_edit(
                        "`real(…)` converts",
                        spans.0,
                        format!("real({})", self.text(spans.0)),
                    );
                    return Err(Box::new(diagnostic));
                }
                let shape = self.joint_shape(&x, &y, spans, span)?;
                let x = self.harmless(&x, &shape, Binary::Pow.safe_places()[0], span)?;
                let ty = TensorType {
                    elem: x.ty.elem,
                    shape,
                };
                self.build(&[&x, &y], ty, span, |f, v, ty, span| {
                    let [a, b] = repeated(f, [v[0], v[1]], &ty.dims, span);
                    f.binary(Binary::Pow, a, b, span)
                })
            }
        }
    }

    /// A tensor of one constant.
    pub(crate) fn filled(
        &mut self,
        value: &Tensor,
        shape: impl Into<Shape>,
        span: Span,
    ) -> Result<Tensor> {
        let ty = TensorType {
            elem: value.ty.elem,
            shape: shape.into(),
        };
        if ty.shape.is_empty() {
            return Ok(value.clone());
        }
        let constant = match &value.repr {
            Repr::Static(host) if host.rank() == 0 => Some(match ty.elem {
                Elem::F32 | Elem::F64 => Literal::Float(host.get_f64(0)),
                Elem::I32 | Elem::I64 => Literal::Int(host.get_i64(0)),
                Elem::Bool => Literal::Bool(host.get_f64(0) != 0.0),
            }),
            _ => None,
        };
        match constant {
            Some(literal) => self.emit(Op::Constant(literal), &[], ty, span),
            None => self.build(&[value], ty, span, |f, v, ty: Type, span| {
                f.broadcast_leading(v[0], &ty.dims, span)
            }),
        }
    }
}
