//! Words: ints that are places in a vocabulary (SEMANTICS.md F7).
//!
//! A token can be looked up (`embed[w]`), compared for equality, moved and passed as an int;
//! arithmetic on it would be arithmetic on the order of a list of words. In compiled code it is
//! an int; that it is inside the table is checked by the gather.

use crate::ops::Operand;
use crate::value::{Tensor, Value};
use crate::{Elaborator, Result};
use aec_syntax::ast::BinaryOp;
use aec_syntax::{Diagnostic, Span};

/// The value as a number's tensor: words become ints.
pub(crate) fn as_ints(value: &Value) -> Value {
    match value {
        Value::Token(tensor) => Value::Tensor(tensor.clone()),
        other => other.clone(),
    }
}

/// Words where numbers are wanted.
pub(crate) fn refuse(span: Span, what: &str, got: &Value) -> Diagnostic {
    Diagnostic::error(
        "E0330",
        span,
        format!("{what} is wanted here, but this is {}", got.describe()),
    )
    .note("a token is a place in a vocabulary: a name, not a quantity")
    .help("look up its vector, `embed[w]`, and compute with that; `int(w)` is its place in the vocabulary")
}

impl Elaborator {
    /// `a op b` with words on a side: equality, and nothing else.
    pub(crate) fn binary_tokens(
        &mut self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        if matches!(a.0, Value::Unknown) || matches!(b.0, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        if matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            let (x, y) = (as_ints(a.0), as_ints(b.0));
            return self.binary(op, (&x, a.1), (&y, b.1), span);
        }
        if op == BinaryOp::Fill {
            return Ok(a.0.clone());
        }
        let text = self.text(span);
        let noisy = matches!(op, BinaryOp::Add | BinaryOp::Sub)
            && [a.0, b.0]
                .iter()
                .any(|side| matches!(side, Value::Tensor(Tensor { ty, .. }) if ty.elem.is_float()));
        let mut diagnostic = Diagnostic::error(
            "E0330",
            span,
            format!("`{}` has no meaning for words in `{text}`", op.symbol()),
        )
        .label(a.1, a.0.describe())
        .label(b.1, b.0.describe())
        .note("a token is a place in a vocabulary: a name, not a quantity, and its neighbours there are unrelated words");
        diagnostic = if noisy {
            diagnostic.help(
                "noise for words replaces or hides them: `mask(w, keep = 0.85)`; or add it to their vectors, `embed[w] + …`",
            )
        } else {
            diagnostic.help(
                "look up their vectors, `embed[w]`, and compute with those; `int(w)` is the place in the vocabulary",
            )
        };
        Err(Box::new(diagnostic))
    }
}
