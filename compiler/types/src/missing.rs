//! `?`: tensors some of whose entries are missing (SEMANTICS.md Q1 to Q4, P10).
//!
//! A `?[n]` is a tensor beside a bool for each of its entries. Compiled code sees two plain
//! tensors; no op of TIR knows of `?`. One invariant carries the rules: where an entry is hidden,
//! the tensor holds 0 (false), never NaN. So a contraction needs no flags, a hidden entry drives
//! nothing, and as that 0 comes out of a selection, no slope goes back through it either.
//!
//! What is not listed here or in `builtins/lifted.rs` refuses a `?`: forgetting a rule is an
//! error message, never a wrong number.

use crate::error::{size_mismatch, wanted};
use crate::ops::{Operand, as_tensor};
use crate::value::{Dim, Maybe, Ragged, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::Unary;
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::{BinaryOp, Expr, ExprKind};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

/// A constant flag.
fn flag(observed: bool) -> Tensor {
    let host = HostTensor::from_f64(Elem::Bool, &[], [f64::from(u8::from(observed))]);
    Tensor {
        ty: TensorType::scalar(Elem::Bool),
        repr: Repr::Static(Arc::new(host)),
    }
}

/// The `?` of a script: a scalar that takes the type that is wanted.
pub(crate) fn literal() -> Value {
    Value::Maybe(Rc::new(Maybe {
        value: Value::int(0),
        observed: flag(false),
    }))
}

/// Whether an expression is `?` itself.
fn is_literal(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Hidden => true,
        ExprKind::Paren(inner) => is_literal(inner),
        _ => false,
    }
}

/// The value without its flags.
pub(crate) fn plain(value: &Value) -> &Value {
    match value {
        Value::Maybe(maybe) => &maybe.value,
        other => other,
    }
}

/// A `?` where a plain value is wanted: the three ways out.
pub(crate) fn refuse(span: Span, what: &str, got: &Value) -> Diagnostic {
    let end = Span {
        start: span.end,
        ..span
    };
    let diagnostic = Diagnostic::error(
        "E0320",
        span,
        format!("{what} is wanted here, but this is {}", got.describe()),
    )
    .here("may hold missing entries");
    if got
        .tensor()
        .is_some_and(|tensor| tensor.ty.elem == Elem::Bool)
    {
        return diagnostic.help(
            "`c ?? false` decides for what is missing; `all(c)` and `any(c)` take the observed entries",
        );
    }
    if matches!(plain(got), Value::Token(_)) {
        return diagnostic.help(
            "three ways out: fill it, `w ?? v[\"<unk>\"]`; use its flags, `observed(w)`; or let what it looks up \
             be missing, too",
        );
    }
    diagnostic.help_edit(
        "three ways out: fill it, `x ?? 0`; use its flags, `observed(x)`; or contract it, `A @ x` or `mean(x)`, \
         which take the observed entries",
        end,
        " ?? 0",
    )
}

/// `x == ?` is no question: hidden is not a value that something could equal.
pub(crate) fn compared_with_literal(
    elaborator: &Elaborator,
    op: BinaryOp,
    left: &Expr,
    right: &Expr,
    span: Span,
) -> Option<Diagnostic> {
    let equality = match op {
        BinaryOp::Eq => true,
        BinaryOp::Ne => false,
        _ => return None,
    };
    let other = match (is_literal(left), is_literal(right)) {
        (false, true) => left,
        (true, false) => right,
        _ => return None,
    };
    let text = elaborator.text(other.span);
    let test = if equality {
        format!("not observed({text})")
    } else {
        format!("observed({text})")
    };
    Some(
        Diagnostic::error(
            "E0321",
            span,
            "nothing equals `?`: it stands for a value that is not known",
        )
        .help_edit(
            format!("`{test}` asks which entries are missing"),
            span,
            test,
        ),
    )
}

impl Elaborator {
    /// Flags with the axes of `shape`, of which they have the first ones (a scalar has none).
    fn spread(&mut self, flags: &Tensor, shape: &[Dim], span: Span) -> Result<Tensor> {
        let (own, rank) = (flags.ty.rank(), shape.len());
        if own == rank {
            return Ok(flags.clone());
        }
        if let (Repr::Static(host), 0, Some(dims)) = (&flags.repr, own, known(shape)) {
            let count = dims.iter().product::<usize>();
            let host = HostTensor::from_f64(Elem::Bool, &dims, vec![host.get_f64(0); count]);
            return Ok(Tensor {
                ty: TensorType {
                    elem: Elem::Bool,
                    shape: shape.to_vec().into(),
                },
                repr: Repr::Static(Arc::new(host)),
            });
        }
        let ty = TensorType {
            elem: Elem::Bool,
            shape: shape.to_vec().into(),
        };
        self.build(&[flags], ty, span, |f, v, ty, span| {
            // New axes come in front; those of the flags go back before them.
            let repeated = f.broadcast_leading(v[0], &ty.dims[own..], span);
            let order: Vec<usize> = (rank - own..rank).chain(0..rank - own).collect();
            f.permute(repeated, &order, span)
        })
    }

    /// Flags with the axes of `shape`, of which they have the last ones: those of what a Jacobian
    /// is taken by.
    fn repeated(&mut self, flags: &Tensor, shape: Vec<Dim>, span: Span) -> Result<Tensor> {
        let lead = shape.len().saturating_sub(flags.ty.rank());
        if lead == 0 {
            return Ok(flags.clone());
        }
        let ty = TensorType {
            elem: Elem::Bool,
            shape: shape.into(),
        };
        self.build(&[flags], ty, span, |f, v, ty, span| {
            f.broadcast_leading(v[0], &ty.dims[..lead], span)
        })
    }

    /// The tensor with 0 (false) where the flags of the same shape do not hold.
    fn zeroed(&mut self, tensor: &Tensor, flags: &Tensor, span: Span) -> Result<Tensor> {
        if let (Repr::Static(values), Repr::Static(seen)) = (&tensor.repr, &flags.repr)
            && values.len() == seen.len()
        {
            let kept = (0..values.len()).map(|at| match seen.get_f64(at) {
                0.0 => 0.0,
                _ => values.get_f64(at),
            });
            let host = HostTensor::from_f64(values.elem(), values.dims(), kept);
            return Ok(Tensor {
                ty: tensor.ty.clone(),
                repr: Repr::Static(Arc::new(host)),
            });
        }
        self.instead(tensor, flags, 0.0, span)
    }

    /// The tensor with a number where the flags do not hold.
    pub(crate) fn instead(
        &mut self,
        tensor: &Tensor,
        flags: &Tensor,
        number: f64,
        span: Span,
    ) -> Result<Tensor> {
        let host = match tensor.ty.elem {
            Elem::F32 | Elem::F64 => HostTensor::f64(&[], vec![number]),
            Elem::I32 | Elem::I64 => HostTensor::i64(&[], vec![number as i64]),
            Elem::Bool => HostTensor::from_f64(Elem::Bool, &[], [number]),
        };
        let other = Tensor {
            ty: TensorType::scalar(tensor.ty.elem),
            repr: Repr::Static(Arc::new(host)),
        };
        let chosen = self.select(flags, tensor.clone(), other, (span, span), span)?;
        Ok(Tensor {
            ty: tensor.ty.clone(),
            repr: chosen.repr,
        })
    }

    /// Hides what the flags say in every tensor of a value; flags of fewer axes hide whole
    /// entries of the first ones.
    pub(crate) fn veil(&mut self, value: &Value, observed: &Tensor, span: Span) -> Result<Value> {
        self.covered(value, observed, false, span)
    }

    /// `zero`: whether the value is known to hold 0 at hidden places already.
    fn covered(
        &mut self,
        value: &Value,
        observed: &Tensor,
        zero: bool,
        span: Span,
    ) -> Result<Value> {
        let maybe =
            |value: Value, observed: Tensor| Value::Maybe(Rc::new(Maybe { value, observed }));
        Ok(match value {
            Value::Tensor(tensor) | Value::Token(tensor) => {
                let flags = self.spread(observed, &tensor.ty.shape, span)?;
                let tensor = if zero {
                    tensor.clone()
                } else {
                    self.zeroed(tensor, &flags, span)?
                };
                match value {
                    Value::Token(_) => maybe(Value::Token(tensor), flags),
                    _ => maybe(Value::Tensor(tensor), flags),
                }
            }
            Value::Maybe(inner) => {
                let shape = inner.observed.ty.shape.clone();
                let flags = self.spread(observed, &shape, span)?;
                let both = self.both(&inner.observed, &flags, span)?;
                self.covered(&inner.value, &both, zero, span)?
            }
            Value::Tuple(values) => {
                let mut out = Vec::new();
                for value in values.iter() {
                    out.push(self.covered(value, observed, zero, span)?);
                }
                Value::tuple(out)
            }
            Value::List(values) => {
                let mut out = Vec::new();
                for value in values.iter() {
                    out.push(self.covered(value, observed, zero, span)?);
                }
                Value::List(Rc::new(out))
            }
            Value::Record(fields) => {
                let mut out = Vec::new();
                for (name, value) in fields.iter() {
                    out.push((name.clone(), self.covered(value, observed, zero, span)?));
                }
                Value::Record(Rc::new(out))
            }
            Value::Ragged(_) => return wanted(span, "a tensor", value),
            Value::Unit
            | Value::Str(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Model(_)
            | Value::Module(_)
            | Value::Distribution(_)
            | Value::Tree(_)
            | Value::Vocab(_)
            | Value::Unknown => value.clone(),
        })
    }

    /// Flags that hold where both do.
    fn both(&mut self, a: &Tensor, b: &Tensor, span: Span) -> Result<Tensor> {
        let (a, b) = (Value::Tensor(a.clone()), Value::Tensor(b.clone()));
        let both = self.binary(BinaryOp::And, (&a, span), (&b, span), span)?;
        as_tensor(&both, span, "flags")
    }

    /// A function of plain values, of values of which some may be `?`: its results are observed
    /// where all of them are.
    pub(crate) fn lifted(
        &mut self,
        values: &[Value],
        span: Span,
        f: impl FnOnce(&mut Elaborator, &[Value]) -> Result<Value>,
    ) -> Result<Value> {
        let bare: Vec<Value> = values.iter().map(|value| plain(value).clone()).collect();
        let result = f(self, &bare)?;
        match self.joint_flags(values, span)? {
            Some(observed) => self.veil(&result, &observed, span),
            None => Ok(result),
        }
    }

    /// Where all of the values are observed; none if nothing is hidden.
    fn joint_flags(&mut self, values: &[Value], span: Span) -> Result<Option<Tensor>> {
        let mut joint: Option<Tensor> = None;
        for value in values {
            if let Value::Maybe(maybe) = value {
                joint = Some(match &joint {
                    None => maybe.observed.clone(),
                    Some(flags) => self.both(flags, &maybe.observed, span)?,
                });
            }
        }
        Ok(joint)
    }

    /// The flags of a value: all set if it is plain.
    pub(crate) fn flags_of(&mut self, value: &Value, span: Span) -> Result<Tensor> {
        match value {
            Value::Maybe(maybe) => Ok(maybe.observed.clone()),
            Value::Tensor(tensor) | Value::Token(tensor) => {
                let shape = tensor.ty.shape.clone();
                self.filled(&flag(true), shape, span)
            }
            other => wanted(span, "a tensor", other),
        }
    }

    /// `a op b` with a `?` on a side.
    pub(crate) fn binary_missing(
        &mut self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        if matches!(a.0, Value::Unknown) || matches!(b.0, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let (x, y) = ((plain(a.0), a.1), (plain(b.0), b.1));
        let result = match op {
            BinaryOp::Fill => return self.filled_in(a, b, span),
            // Hidden entries are 0, so they drop out of the sums.
            BinaryOp::MatMul => return self.binary(op, x, y, span),
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::FloorDiv
            | BinaryOp::Pow
            | BinaryOp::Eq
            | BinaryOp::Ne
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge
            | BinaryOp::And
            | BinaryOp::Or => self.binary(op, x, y, span)?,
        };
        let Some(observed) = self.joint_flags(&[a.0.clone(), b.0.clone()], span)? else {
            return Ok(result);
        };
        let zero = keeps_zero(op, a.0, b.0);
        self.covered(&result, &observed, zero, span)
    }

    /// `x ?? v`: v, a scalar or of x's shape, where x is hidden.
    pub(crate) fn filled_in(
        &mut self,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        let Value::Maybe(maybe) = a.0 else {
            // Nothing is missing; what would fill it must fit all the same.
            if let (Some(x), Some(v)) = (a.0.tensor(), plain(b.0).tensor())
                && !v.is_scalar()
                && !crate::value::may_agree(&x.ty.shape, &v.ty.shape)
            {
                let text = self.text(span);
                let error = size_mismatch(span, &text, (x, a.1), (v, b.1), None);
                return Err(Box::new(
                    error.help("what fills is a scalar or has the same shape"),
                ));
            }
            return Ok(a.0.clone());
        };
        let words = matches!(maybe.value, Value::Token(_));
        let inner = |value: &Value, at: Span| match plain(value) {
            Value::Token(tensor) if words => Ok(tensor.clone()),
            other => as_tensor(other, at, "a number or tensor to fill with"),
        };
        let (x, v) = (inner(a.0, a.1)?, inner(b.0, b.1)?);
        if x.is_scalar() && !v.is_scalar() {
            return Err(Box::new(
                Diagnostic::error(
                    "E0301",
                    span,
                    "sizes do not match: a missing number is filled with one number",
                )
                .label(a.1, a.0.describe())
                .label(b.1, b.0.describe()),
            ));
        }
        let rows = x.ty.rank() > v.ty.rank();
        let chosen = self
            .select(&maybe.observed, x, v, (a.1, b.1), span)
            .map_err(|error| match error.code {
                "E0301" if rows => Box::new(error.help(
                    "what fills is a scalar or has the same shape; of one row each, a function is mapped: \
                     `fn fill(x: ?[n], v: [n]) -> [n] = x ?? v`",
                )),
                _ => error,
            })?;
        let chosen = if words {
            Value::Token(chosen)
        } else {
            Value::Tensor(chosen)
        };
        let Value::Maybe(other) = b.0 else {
            return Ok(chosen);
        };
        let (p, q) = (
            Value::Tensor(maybe.observed.clone()),
            Value::Tensor(other.observed.clone()),
        );
        let either = self.binary(BinaryOp::Or, (&p, span), (&q, span), span)?;
        let either = as_tensor(&either, span, "flags")?;
        self.covered(&chosen, &either, true, span)
    }

    /// An elementwise function of one `?`.
    pub(crate) fn unary_missing(&mut self, op: Unary, maybe: &Maybe, span: Span) -> Result<Value> {
        let tensor = as_tensor(&maybe.value, span, "a number or tensor")?;
        let result = Value::Tensor(self.unary(op, &tensor, span)?);
        self.covered(&result, &maybe.observed, zero_at_zero(op), span)
    }

    /// The entries of one of two values, of which some may be `?`, by a plain condition.
    pub(crate) fn select_missing(
        &mut self,
        condition: &Tensor,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        let (x, y) = (
            as_tensor(plain(a.0), a.1, "a number or tensor")?,
            as_tensor(plain(b.0), b.1, "a number or tensor")?,
        );
        let (x, y) = (fitting(x.clone(), a.0, &y), fitting(y, b.0, &x));
        let value = self.select(condition, x, y, (a.1, b.1), span)?;
        let scalar_or_own = |value: &Value| match value {
            Value::Maybe(maybe) => maybe.observed.clone(),
            _ => flag(true),
        };
        let flags = self.select(
            condition,
            scalar_or_own(a.0),
            scalar_or_own(b.0),
            (a.1, b.1),
            span,
        )?;
        self.covered(&Value::Tensor(value), &flags, true, span)
    }

    /// A list of tensors of which some may be `?`, stacked.
    pub(crate) fn stack_missing(&mut self, values: &[Value], span: Span) -> Result<Value> {
        let elem = values
            .iter()
            .filter(|value| !is_bare(value))
            .find_map(|value| value.tensor().map(|tensor| tensor.ty.elem));
        let mut parts = Vec::new();
        let mut flags = Vec::new();
        for value in values {
            let part = plain(value).clone();
            parts.push(match (&part, elem) {
                (Value::Tensor(tensor), Some(Elem::Bool)) if is_bare(value) => {
                    Value::Tensor(Tensor {
                        ty: TensorType::scalar(Elem::Bool),
                        ..flag(tensor.ty.elem == Elem::Bool)
                    })
                }
                _ => part,
            });
            let shape = value
                .tensor()
                .map_or(Vec::new(), |tensor| tensor.ty.shape.to_vec());
            let own = match value {
                Value::Maybe(maybe) => maybe.observed.clone(),
                _ => flag(true),
            };
            flags.push(Value::Tensor(self.spread(&own, &shape, span)?));
        }
        let stacked = self.stack(&Value::List(Rc::new(parts)), span)?;
        let flags = self.stack(&Value::List(Rc::new(flags)), span)?;
        match (&stacked, &flags) {
            (Value::Tensor(_) | Value::Token(_), Value::Tensor(flags)) => {
                self.covered(&stacked, flags, true, span)
            }
            _ => Ok(Value::List(Rc::new(values.to_vec()))),
        }
    }

    /// A derivative with respect to a `?` value carries its flags, and is 0 where it is hidden.
    pub(crate) fn gradient_missing(&mut self, value: &Value, span: Span) -> Result<Value> {
        Ok(match value {
            Value::Maybe(maybe) => {
                let shape = maybe
                    .value
                    .tensor()
                    .map_or(Vec::new(), |t| t.ty.shape.to_vec());
                let flags = self.repeated(&maybe.observed, shape, span)?;
                self.veil(&maybe.value, &flags, span)?
            }
            Value::Tuple(values) => {
                let mut out = Vec::new();
                for value in values.iter() {
                    out.push(self.gradient_missing(value, span)?);
                }
                Value::tuple(out)
            }
            Value::Record(fields) => {
                let mut out = Vec::new();
                for (name, value) in fields.iter() {
                    out.push((name.clone(), self.gradient_missing(value, span)?));
                }
                Value::Record(Rc::new(out))
            }
            Value::List(values) => {
                let mut out = Vec::new();
                for value in values.iter() {
                    out.push(self.gradient_missing(value, span)?);
                }
                Value::List(Rc::new(out))
            }
            Value::Ragged(ragged) => Value::Ragged(Rc::new(Ragged {
                value: self.gradient_missing(&ragged.value, span)?,
                ..(**ragged).clone()
            })),
            Value::Unit
            | Value::Tensor(_)
            | Value::Token(_)
            | Value::Str(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Model(_)
            | Value::Module(_)
            | Value::Distribution(_)
            | Value::Tree(_)
            | Value::Vocab(_)
            | Value::Unknown => value.clone(),
        })
    }
}

/// Whether a value is a `?` as it is written, which takes the type that is wanted.
fn is_bare(value: &Value) -> bool {
    matches!(value, Value::Maybe(maybe)
        if maybe.value.as_int() == Some(0) && matches!(&maybe.observed.repr, Repr::Static(_)))
}

/// The tensor of a written `?` as an entry like another.
fn fitting(tensor: Tensor, value: &Value, other: &Tensor) -> Tensor {
    if is_bare(value) && other.ty.elem == Elem::Bool {
        return flag(false);
    }
    tensor
}

fn known(shape: &[Dim]) -> Option<Vec<usize>> {
    let ty = TensorType {
        elem: Elem::Bool,
        shape: shape.to_vec().into(),
    };
    ty.dims()
        .filter(|dims| dims.iter().fold(1, |n: usize, &dim| n.saturating_mul(dim)) <= 4096)
}

/// Whether a function is 0 at 0, and its slope there finite.
fn zero_at_zero(op: Unary) -> bool {
    match op {
        Unary::Neg
        | Unary::Abs
        | Unary::Sign
        | Unary::Floor
        | Unary::Sin
        | Unary::Tanh
        | Unary::Expm1
        | Unary::Log1p
        | Unary::Erf => true,
        Unary::Exp | Unary::Log | Unary::Sqrt | Unary::Cos | Unary::Logistic | Unary::Not => false,
    }
}

/// Whether `a op b` is 0 wherever its `?` side is, so that nothing needs to be hidden again.
fn keeps_zero(op: BinaryOp, a: &Value, b: &Value) -> bool {
    let constant = |value: &Value| value.as_f64().filter(|_| is_static(value));
    match (op, a, b) {
        (BinaryOp::Mul, Value::Maybe(_), other) | (BinaryOp::Mul, other, Value::Maybe(_)) => {
            constant(other).is_some_and(f64::is_finite)
        }
        (BinaryOp::Div, Value::Maybe(_), other) => {
            constant(other).is_some_and(|by| by != 0.0 && by.is_finite())
        }
        (BinaryOp::Pow, Value::Maybe(_), other) => {
            constant(other).is_some_and(|power| power >= 1.0 && power.fract() == 0.0)
        }
        _ => false,
    }
}

fn is_static(value: &Value) -> bool {
    matches!(
        value,
        Value::Tensor(Tensor {
            repr: Repr::Static(_),
            ..
        })
    )
}
