//! Operators: which rule a `a op b` goes by, by the kinds of its operands.

mod elementwise;
mod lists;
mod product;
mod promote;
mod shapes;

use crate::error::wanted;
use crate::value::{Tensor, Value};
use crate::{Elaborator, Result};
use aec_syntax::ast::BinaryOp;
use aec_syntax::{Diagnostic, Span};
use lists::collects;
use std::rc::Rc;

/// An operand and where it stands.
pub(crate) type Operand<'a> = (&'a Value, Span);

/// The value as a tensor, or an error that says what is wanted.
pub(crate) fn as_tensor(value: &Value, span: Span, what: &str) -> Result<Tensor> {
    match value {
        Value::Tensor(tensor) => Ok(tensor.clone()),
        Value::Unit
        | Value::Token(_)
        | Value::Maybe(_)
        | Value::Str(_)
        | Value::Tuple(_)
        | Value::Record(_)
        | Value::List(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Model(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Ragged(_)
        | Value::Tree(_)
        | Value::Vocab(_)
        | Value::Unknown => wanted(span, what, value),
    }
}

impl Elaborator {
    /// `a op b`.
    pub(crate) fn binary(
        &mut self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        match (a.0, b.0) {
            (Value::Unknown, _) | (_, Value::Unknown) => return Ok(Value::Unknown),
            // Sequences of different lengths, and rows of equal ones; none yet, as in `[] + [row]`.
            (Value::List(x), Value::Tensor(y) | Value::Token(y))
                if op == BinaryOp::Add && y.ty.rank() > 1 && collects(x, a.0) =>
            {
                return self.with_items(x, b, false);
            }
            (Value::Tensor(x) | Value::Token(x), Value::List(y))
                if op == BinaryOp::Add && x.ty.rank() > 1 && collects(y, b.0) =>
            {
                return self.with_items(y, a, true);
            }
            (Value::Maybe(_), _) | (_, Value::Maybe(_)) => {
                return self.binary_missing(op, a, b, span);
            }
            (Value::Token(_), _) | (_, Value::Token(_)) => {
                return self.binary_tokens(op, a, b, span);
            }
            (Value::Str(x), Value::Str(y)) => {
                if let Some(value) = of_strings(op, x, y) {
                    return Ok(value);
                }
            }
            (Value::List(x), Value::List(y)) if op == BinaryOp::Add => {
                let all = x.iter().chain(y.iter()).cloned().collect();
                return Ok(Value::List(Rc::new(all)));
            }
            // A vector of numbers, joined to a list: `[] + [n for n in widths]`.
            (Value::List(x), Value::Tensor(y)) if op == BinaryOp::Add && y.ty.rank() == 1 => {
                return self.with_items(x, b, false);
            }
            (Value::Tensor(x), Value::List(y)) if op == BinaryOp::Add && x.ty.rank() == 1 => {
                return self.with_items(y, a, true);
            }
            (Value::List(_) | Value::Tensor(_), Value::List(_))
            | (Value::List(_), Value::Tensor(_))
            | (Value::Tuple(_), Value::Tuple(_))
            | (Value::Record(_), Value::Record(_))
                if matches!(op, BinaryOp::Eq | BinaryOp::Ne) =>
            {
                return self.compare_lists(op, a, b, span);
            }
            (Value::Str(_), _) | (_, Value::Str(_)) if op == BinaryOp::Add => {
                return self.no_string(a, b, span);
            }
            _ => {}
        }
        let (x, y) = (operand(a, op)?, operand(b, op)?);
        let spans = (a.1, b.1);
        let tensor = match op {
            BinaryOp::MatMul => self.product(x.clone(), y.clone(), spans, span)?,
            BinaryOp::Fill => return self.filled_in(a, b, span),
            BinaryOp::Pow => self.power(x.clone(), y.clone(), spans, span)?,
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::FloorDiv
            | BinaryOp::Eq
            | BinaryOp::Ne
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge
            | BinaryOp::And
            | BinaryOp::Or => self.elementwise(op, x.clone(), y.clone(), spans, span)?,
        };
        Ok(Value::Tensor(tensor))
    }

    /// `+` of a string and something else.
    fn no_string(&self, a: Operand<'_>, b: Operand<'_>, span: Span) -> Result<Value> {
        let (text, other) = match a.0 {
            Value::Str(_) => (a, b),
            _ => (b, a),
        };
        let inner = self.text(other.1);
        Err(Box::new(
            Diagnostic::error(
                "E0303",
                span,
                "`+` joins two strings, not a string and something else",
            )
            .label(text.1, "a string")
            .label(other.1, other.0.describe())
            .help_edit(
                format!("`str({inner})` makes a string of it"),
                other.1,
                format!("str({inner})"),
            ),
        ))
    }
}

/// An operator on strings, if it has a meaning there.
fn of_strings(op: BinaryOp, x: &str, y: &str) -> Option<Value> {
    let holds = match op {
        BinaryOp::Add => return Some(Value::str(&format!("{x}{y}"))),
        BinaryOp::Eq => x == y,
        BinaryOp::Ne => x != y,
        BinaryOp::Lt => x < y,
        BinaryOp::Le => x <= y,
        BinaryOp::Gt => x > y,
        BinaryOp::Ge => x >= y,
        BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::MatMul
        | BinaryOp::Pow
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Fill => return None,
    };
    Some(Value::bool(holds))
}

/// An operand that must be a tensor.
fn operand<'v>((value, at): Operand<'v>, op: BinaryOp) -> Result<&'v Tensor> {
    if let Value::Tensor(tensor) = value {
        return Ok(tensor);
    }
    let what = format!("a tensor for `{}`", op.symbol());
    wanted(at, &what, value).map_err(|error| match value {
        Value::Tuple(_) => Box::new(error.help(
            "a tuple is taken apart first: `t.0`, `t.1`; what is computed with as a whole is a tensor: `[1, 2]`",
        )),
        Value::Record(_) => Box::new(error.help("a record is taken apart first: `r.name`")),
        _ => error,
    })
}
