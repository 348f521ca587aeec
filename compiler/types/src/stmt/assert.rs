//! `assert`, and what it shows of a condition that does not hold.

use crate::error::{fail, wanted};
use crate::scope::Scope;
use crate::value::Value;
use crate::{Elaborator, Result};
use aec_runtime::Elem;
use aec_syntax::ast::{BinaryOp, Expr, ExprKind};
use aec_syntax::{Diagnostic, Span};

impl Elaborator {
    /// `assert condition, message`: runs in scripts and tests, and is only typed while checking.
    pub(super) fn assert(
        &mut self,
        condition: &Expr,
        message: Option<&Expr>,
        span: Span,
        scope: &Scope,
    ) -> Result<()> {
        let value = self.eval(condition, scope)?;
        let text = match message {
            Some(message) => match self.eval(message, scope)? {
                Value::Str(text) => Some(text),
                Value::Unknown => None,
                other => return wanted(message.span, "a string", &other),
            },
            None => None,
        };
        if matches!(value, Value::Unknown) {
            return Ok(());
        }
        if !matches!(&value, Value::Tensor(tensor) if tensor.ty.elem == Elem::Bool) {
            return wanted(condition.span, "a condition (a bool)", &value).map_err(|error| {
                match &condition.kind {
                    ExprKind::Tuple(_) => Box::new(self.repair_assert(*error, condition.span)),
                    _ => error,
                }
            });
        }
        if self.checking() || self.options.dry {
            return Ok(());
        }
        if !self.effects_allowed() {
            return fail(
                "E0410",
                span,
                "`assert` belongs to scripts and tests, not to code that is compiled",
            );
        }
        let value = self.materialize_one(value, condition.span)?;
        let holds = value
            .host()
            .is_some_and(|host| host.to_f64_vec().iter().all(|&bit| bit != 0.0));
        if holds {
            return Ok(());
        }
        let what = text.map_or_else(
            || format!("this does not hold: `{}`", self.text(condition.span)),
            |text| format!("assertion failed: {text}"),
        );
        let mut diagnostic = Diagnostic::error("E0701", span, what);
        for (side, shown) in self.sides(condition, scope) {
            diagnostic = diagnostic.label(side, format!("is {shown}"));
        }
        Err(Box::new(diagnostic))
    }

    /// What both sides of a comparison are, and where they stand; literals say it themselves.
    fn sides(&mut self, condition: &Expr, scope: &Scope) -> Vec<(Span, String)> {
        let mut inner = condition;
        while let ExprKind::Paren(next) = &inner.kind {
            inner = next;
        }
        let ExprKind::Binary {
            op, left, right, ..
        } = &inner.kind
        else {
            return Vec::new();
        };
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            return Vec::new();
        }
        let mut out = Vec::new();
        for side in [left, right] {
            let literal = matches!(
                side.kind,
                ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_)
            );
            if !literal
                && let Ok(value) = self.eval(side, scope)
                && let Ok(value) = self.materialize_one(value, side.span)
                && let Ok(shown) = self.host.clone().format(&value, None, side.span)
            {
                out.push((side.span, shown));
            }
        }
        out
    }
}
