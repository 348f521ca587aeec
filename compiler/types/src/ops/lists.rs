//! Operators on lists, tuples and records: joining with `+`, and `==`.

use super::{Operand, as_tensor};
use crate::error::wanted;
use crate::value::{Repr, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Op, Reduction};
use aec_runtime::Elem;
use aec_syntax::Span;
use aec_syntax::ast::BinaryOp;
use std::rc::Rc;

/// Whether a list takes the rows of a tensor behind it.
pub(super) fn collects(list: &[Value], value: &Value) -> bool {
    list.is_empty() || crate::ragged::is_ragged(value)
}

impl Elaborator {
    /// A list and the entries of a vector, one after the other; unknown if the entries are not
    /// known one by one.
    pub(super) fn with_items(
        &mut self,
        list: &[Value],
        vector: Operand<'_>,
        front: bool,
    ) -> Result<Value> {
        let at = vector.1;
        let vector = self.materialize_if_allowed(vector.0.clone(), at)?;
        let known = vector
            .tensor()
            .is_some_and(|tensor| matches!(tensor.repr, Repr::Static(_) | Repr::Concrete(_)));
        if !known {
            return match self.checking() {
                true => Ok(Value::Unknown),
                false => wanted(at, "a list", &vector),
            };
        }
        let items = crate::rows::split_rows(&vector);
        let all = match front {
            true => items.iter().chain(list).cloned().collect(),
            false => list.iter().chain(&items).cloned().collect(),
        };
        Ok(Value::List(Rc::new(all)))
    }

    /// `==` and `!=` of lists, tuples and records: one bool. They are equal if all their parts are;
    /// a list of tensors counts as the tensor it stacks to.
    pub(super) fn compare_lists(
        &mut self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        if let (Value::Str(x), Value::Str(y)) = (a.0, b.0) {
            return Ok(Value::bool((x == y) == (op == BinaryOp::Eq)));
        }
        if matches!(a.0, Value::Unknown) || matches!(b.0, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let plain = |value: &Value| match value {
            Value::Token(_) => crate::tokens::as_ints(value),
            other => other.clone(),
        };
        let (x, y) = (self.stack(&plain(a.0), a.1)?, self.stack(&plain(b.0), b.1)?);
        let join = if op == BinaryOp::Eq {
            BinaryOp::And
        } else {
            BinaryOp::Or
        };
        let (left, right) = match (&x, &y) {
            (Value::Tensor(p), Value::Tensor(q)) => {
                let same = crate::value::may_agree(&p.ty.shape, &q.ty.shape);
                if !same {
                    return Ok(Value::bool(op == BinaryOp::Ne));
                }
                let each = self.binary(op, (&x, a.1), (&y, b.1), span)?;
                let each = as_tensor(&each, span, "a tensor")?;
                if let Repr::Static(host) = &each.repr {
                    let mut bits = host.to_f64_vec().into_iter().map(|bit| bit != 0.0);
                    return Ok(Value::bool(match join {
                        BinaryOp::And => bits.all(|bit| bit),
                        _ => bits.any(|bit| bit),
                    }));
                }
                let reduction = if join == BinaryOp::And {
                    Reduction::All
                } else {
                    Reduction::Any
                };
                let reduce = Op::Reduce {
                    op: reduction,
                    axes: (0..each.ty.rank()).collect(),
                };
                let ty = TensorType::scalar(Elem::Bool);
                return Ok(Value::Tensor(self.emit(reduce, &[&each], ty, span)?));
            }
            (Value::List(p), Value::List(q)) | (Value::Tuple(p), Value::Tuple(q))
                if p.len() == q.len() =>
            {
                (p.clone(), q.clone())
            }
            (Value::Record(p), Value::Record(q)) if p.len() == q.len() => {
                let others: Option<Vec<Value>> =
                    p.iter().map(|(name, _)| y.field(name).cloned()).collect();
                let Some(others) = others else {
                    return Ok(Value::bool(op == BinaryOp::Ne));
                };
                let own = p.iter().map(|(_, value)| value.clone());
                (own.collect::<Vec<_>>().into(), others.into())
            }
            (Value::Maybe(_), _) => return wanted(a.1, "a plain value to compare", a.0),
            (_, Value::Maybe(_)) => return wanted(b.1, "a plain value to compare", b.0),
            _ => return Ok(Value::bool(op == BinaryOp::Ne)),
        };
        let mut all = Value::bool(op == BinaryOp::Eq);
        for (p, q) in left.iter().zip(right.iter()) {
            let same = self.compare_lists(op, (p, a.1), (q, b.1), span)?;
            all = match all.as_bool() {
                _ if matches!(same, Value::Unknown) => return Ok(Value::Unknown),
                Some(known) if known == (join == BinaryOp::And) => same,
                Some(_) => all,
                None => self.binary(join, (&all, span), (&same, span), span)?,
            };
        }
        Ok(all)
    }
}
