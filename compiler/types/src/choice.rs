//! `if` as an expression: decided when the script is compiled where that is possible, else a
//! selection between both branches.

use crate::error::{fail, size_mismatch};
use crate::ops::as_tensor;
use crate::scope::Scope;
use crate::value::{Choice, Repr, Shape, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Fault, Op, Unary};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::Expr;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

impl Elaborator {
    /// The branch that a condition takes, if that is known (or may be found out by running).
    pub(crate) fn decide(&mut self, test: &Value, span: Span) -> Result<Option<bool>> {
        if matches!(test, Value::Unknown) {
            return Ok(None);
        }
        let tensor = as_tensor(test, span, "a condition (a bool)")?;
        if tensor.ty.elem != Elem::Bool || !tensor.is_scalar() {
            let mut diagnostic = Diagnostic::error(
                "E0310",
                span,
                format!("a condition is one bool, but this is {}", test.describe()),
            );
            if tensor.ty.elem == Elem::Bool {
                diagnostic = diagnostic.help("`all(…)` or `any(…)` makes one bool of a tensor");
            } else if tensor.is_scalar() {
                diagnostic = diagnostic.help("compare it: `… != 0`");
            }
            return Err(Box::new(diagnostic));
        }
        if let Repr::Static(host) = &tensor.repr {
            return Ok(Some(host.get_f64(0) != 0.0));
        }
        if self.effects_allowed() && !self.checking() {
            return Ok(self.materialize_one(test.clone(), span)?.as_bool());
        }
        Ok(None)
    }

    /// The value of a branch of an `if` that compiled code decides.
    pub(crate) fn branch_of(
        &mut self,
        test: &Value,
        holds: bool,
        branch: &Expr,
        scope: &Scope,
    ) -> Result<Value> {
        let condition = match (test, holds) {
            // While checking it counts only that there is one.
            _ if self.checking() => Tensor {
                ty: TensorType::scalar(Elem::Bool),
                repr: Repr::Unknown,
            },
            (Value::Tensor(tensor), true) => tensor.clone(),
            (Value::Tensor(tensor), false) => self.unary(Unary::Not, tensor, branch.span)?,
            _ => return self.eval(branch, scope),
        };
        self.taken.push(condition);
        let value = self.eval(branch, scope);
        self.taken.pop();
        value
    }

    /// An index whose check always holds where the branch around is not taken: 0 stands there.
    pub(crate) fn checked_if_taken(&mut self, index: Tensor, span: Span) -> Result<Tensor> {
        let mut index = index;
        for at in 0..self.taken.len() {
            let condition = self.taken[at].clone();
            let zero = Tensor {
                ty: TensorType::scalar(index.ty.elem),
                repr: Repr::Static(Arc::new(HostTensor::i64(&[], vec![0]))),
            };
            index = self.select(&condition, index, zero, (span, span), span)?;
        }
        Ok(index)
    }

    /// The value itself, with a check: at run time it is an error that `observed`, a bool, does
    /// not hold (SEMANTICS.md Q3).
    pub(crate) fn unless_unobserved(
        &mut self,
        x: &Tensor,
        observed: &Tensor,
        span: Span,
    ) -> Result<Tensor> {
        if let Repr::Static(flag) = &observed.repr {
            if flag.get_f64(0) != 0.0 {
                return Ok(x.clone());
            }
            if self.taken.is_empty() {
                return Err(crate::error::unobserved(span));
            }
        }
        let hidden = self.unary(Unary::Not, observed, span)?;
        self.unless(x, &hidden, Fault::Unobserved, span)
    }

    /// The value itself, with a check: at run time it is an error that `fails`, a bool, holds. The check is an
    /// index into an axis of one entry.
    pub(crate) fn unless(
        &mut self,
        x: &Tensor,
        fails: &Tensor,
        fault: Fault,
        span: Span,
    ) -> Result<Tensor> {
        let index = self.convert(fails, Elem::I64, span)?;
        let index = self.checked_if_taken(index, span)?;
        self.build(&[x, &index], x.ty.clone(), span, |f, v, ty, span| {
            let mut dims = vec![1];
            dims.extend_from_slice(&ty.dims);
            let one = f.reshape(v[0], &dims, span);
            f.push1(Op::Gather { batch: 0, fault }, &[one, v[1]], ty, span)
        })
    }

    /// `if` on a condition that compiled code decides: a selection (A7).
    pub(crate) fn choose(
        &mut self,
        test: &Value,
        a: (&Value, Span),
        b: (&Value, Span),
        span: Span,
    ) -> Result<Value> {
        match (a.0, b.0) {
            (Value::Unknown, other) | (other, Value::Unknown) => Ok(other.clone()),
            (Value::Maybe(_), Value::Maybe(_) | Value::Tensor(_) | Value::Token(_))
            | (Value::Tensor(_) | Value::Token(_), Value::Maybe(_)) => {
                if matches!(test, Value::Unknown) {
                    return Ok(a.0.clone());
                }
                let condition = as_tensor(test, span, "a bool")?;
                self.select_missing(&condition, a, b, span)
            }
            (Value::Token(_), Value::Tensor(_) | Value::Token(_))
            | (Value::Tensor(_), Value::Token(_)) => {
                let (x, y) = (crate::tokens::as_ints(a.0), crate::tokens::as_ints(b.0));
                Ok(match self.choose(test, (&x, a.1), (&y, b.1), span)? {
                    Value::Tensor(tensor) => Value::Token(tensor),
                    other => other,
                })
            }
            (Value::Tensor(x), Value::Tensor(y))
                if x.is_static_int() && y.is_static_int() && x.is_scalar() && y.is_scalar() =>
            {
                // Ints that may still become real where one is wanted.
                let condition = match test {
                    Value::Tensor(condition) => condition.clone(),
                    _ => Tensor {
                        ty: TensorType::scalar(Elem::Bool),
                        repr: Repr::Unknown,
                    },
                };
                let choice = Choice {
                    condition,
                    then: x.clone(),
                    otherwise: y.clone(),
                };
                Ok(Value::Tensor(Tensor {
                    ty: x.ty.clone(),
                    repr: Repr::Choice(Rc::new(choice)),
                }))
            }
            (Value::Tensor(x), Value::Tensor(y)) => {
                if matches!(test, Value::Unknown) {
                    return Ok(Value::Tensor(Tensor {
                        ty: x.ty.clone(),
                        repr: Repr::Unknown,
                    }));
                }
                let condition = as_tensor(test, span, "a bool")?;
                Ok(Value::Tensor(self.select(
                    &condition,
                    x.clone(),
                    y.clone(),
                    (a.1, b.1),
                    span,
                )?))
            }
            (Value::Tuple(xs), Value::Tuple(ys)) if xs.len() == ys.len() => {
                let mut out = Vec::new();
                for (x, y) in xs.iter().zip(ys.iter()) {
                    out.push(self.choose(test, (x, a.1), (y, b.1), span)?);
                }
                Ok(Value::tuple(out))
            }
            (Value::Record(xs), Value::Record(_)) => {
                let mut out = Vec::new();
                for (name, x) in xs.iter() {
                    let Some(y) = b.0.field(name) else {
                        return fail(
                            "E0311",
                            b.1,
                            format!("this branch gives no field `{name}`, the other one does"),
                        );
                    };
                    out.push((name.clone(), self.choose(test, (x, a.1), (y, b.1), span)?));
                }
                Ok(Value::Record(Rc::new(out)))
            }
            (Value::Unit, Value::Unit) => Ok(Value::Unit),
            (x, y) if self.checking() && std::mem::discriminant(x) == std::mem::discriminant(y) => {
                Ok(x.clone())
            }
            (x, y) => {
                let diagnostic = Diagnostic::error("E0311", span, "the branches of this `if` give different things")
                    .label(a.1, x.describe())
                    .label(b.1, y.describe())
                    .note("which branch is taken is only known while compiled code runs, so both must fit");
                Err(Box::new(diagnostic))
            }
        }
    }

    /// `a` where `c`, else `b`; shapes equal, or scalars.
    pub(crate) fn select(
        &mut self,
        c: &Tensor,
        a: Tensor,
        b: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Tensor> {
        let (a, b) = self.promote(a, b, spans, span)?;
        let mut shape = Shape::default();
        for (tensor, at) in [(c, span), (&a, spans.0), (&b, spans.1)] {
            if shape.is_empty() {
                shape = tensor.ty.shape.clone();
            } else if !tensor.is_scalar() {
                let same = crate::value::may_agree(&shape, &tensor.ty.shape);
                if !same {
                    let first = Tensor {
                        ty: TensorType {
                            elem: a.ty.elem,
                            shape,
                        },
                        repr: Repr::Unknown,
                    };
                    return Err(Box::new(size_mismatch(
                        span,
                        &self.text(span),
                        (&first, span),
                        (tensor, at),
                        None,
                    )));
                }
            }
        }
        let ty = TensorType {
            elem: a.ty.elem,
            shape,
        };
        self.build(&[c, &a, &b], ty, span, |f, v, ty, span| {
            let mut full = [v[0], v[1], v[2]];
            for value in &mut full {
                if f.dims(*value).is_empty() && !ty.dims.is_empty() {
                    *value = f.broadcast_leading(*value, &ty.dims, span);
                }
            }
            f.select(full[0], full[1], full[2], span)
        })
    }
}
