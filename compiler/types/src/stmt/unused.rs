//! The value of an expression that stands as a statement wants a use (N4).

use crate::value::Value;
use crate::{Elaborator, Result};
use aec_syntax::ast::{BinaryOp, Expr, ExprKind, Ident};
use aec_syntax::{Diagnostic, Span};

impl Elaborator {
    /// The value of a pure expression statement wants a use (N4): nothing that has an effect was
    /// met since `before` were counted. What a call does is looked at while checking, when no
    /// condition of a script hides an effect.
    pub(super) fn refuse_unused(&self, expr: &Expr, value: &Value, before: u32) -> Result<()> {
        if let ExprKind::Train {
            model, settings, ..
        } = &expr.kind
        {
            // A training that writes files or calls back is done for that.
            let told = |(name, _): &(Ident, Expr)| {
                matches!(&*name.name, "checkpoint" | "log" | "on_epoch")
            };
            if self.interactive || settings.iter().any(told) {
                return Ok(());
            }
            return Err(Box::new(self.unused_training(expr, model)));
        }
        let idle = match calls(expr) {
            true => self.checking() && self.effects == before,
            false => true,
        };
        if !idle || matches!(value, Value::Unit | Value::Unknown) {
            return Ok(());
        }
        Err(Box::new(unused(expr, &self.text(expr.span))))
    }

    /// `train m on x` as a statement: m stays as it is.
    fn unused_training(&self, expr: &Expr, model: &Expr) -> Diagnostic {
        let before = Span {
            end: expr.span.start,
            ..expr.span
        };
        let head = Span {
            end: model.span.end,
            ..expr.span
        };
        let error = Diagnostic::error("E0411", head, "the trained model is not used")
            .here("a model never changes: this gives a new one");
        match &model.kind {
            ExprKind::Name(name) => error.help_edit(
                format!("`{name} = train {name} on …` gives it the name of the untrained one"),
                before,
                format!("{name} = "),
            ),
            _ => error.help_edit("`let m = train …` gives it a name", before, "let m = "),
        }
    }
}

fn unused(expr: &Expr, text: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        "E0411",
        expr.span,
        format!("the value of `{text}` is not used"),
    );
    if let ExprKind::Binary {
        op: BinaryOp::Eq,
        op_span,
        ..
    } = &expr.kind
    {
        return diagnostic.help_edit("`==` compares; `=` assigns", *op_span, "=");
    }
    let before = Span {
        end: expr.span.start,
        ..expr.span
    };
    let diagnostic = diagnostic.help_edit("bind it with `let`, or `print` it", before, "print ");
    match text.strip_prefix('-') {
        Some(rest) if !rest.starts_with(' ') => diagnostic.help(format!(
            "a line that goes on with a minus has a blank behind it: `- {rest}`"
        )),
        _ => diagnostic,
    }
}

/// Whether an expression calls something, which may have an effect.
fn calls(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Call { .. }
        | ExprKind::Pipe { .. }
        | ExprKind::Train { .. }
        | ExprKind::If { .. }
        | ExprKind::Block(_)
        | ExprKind::Error => true,
        ExprKind::Paren(inner) => calls(inner),
        _ => false,
    }
}
