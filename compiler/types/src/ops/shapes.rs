//! The shape of an elementwise result, and what is said where two shapes do not fit.

use crate::error::size_mismatch;
use crate::value::{Dim, Shape, Tensor};
use crate::{Elaborator, Result};
use aec_syntax::{Diagnostic, Span};

impl Elaborator {
    /// The shape of an elementwise result: equal shapes, or one side a scalar (A6).
    pub(super) fn joint_shape(
        &mut self,
        a: &Tensor,
        b: &Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Shape> {
        if b.is_scalar() {
            return Ok(a.ty.shape.clone());
        }
        if a.is_scalar() {
            return Ok(b.ty.shape.clone());
        }
        let mut axes = a.ty.shape.iter().zip(&b.ty.shape);
        let differing = axes.find(|(x, y)| x.size.differs(&y.size));
        if a.ty.rank() != b.ty.rank() || differing.is_some() {
            return Err(Box::new(self.misfit((a, b), differing, spans, span)));
        }
        if a.ty.shape.iter().all(|x| x.origin.is_some()) {
            return Ok(a.ty.shape.clone());
        }
        Ok(a.ty
            .shape
            .iter()
            .zip(&b.ty.shape)
            .map(|(x, y)| if x.origin.is_some() { x } else { y }.clone())
            .collect())
    }

    /// Why two shapes do not fit, and what was rather meant. `differing`: the first axes that do not
    /// have one size.
    fn misfit(
        &mut self,
        (a, b): (&Tensor, &Tensor),
        differing: Option<(&Dim, &Dim)>,
        spans: (Span, Span),
        span: Span,
    ) -> Diagnostic {
        let (text, sides) = (self.text(span), [spans.0, spans.1].map(|at| self.text(at)));
        let [left, right] = &sides;
        let mismatch = |axes| size_mismatch(span, &text, (a, spans.0), (b, spans.1), axes);
        let between = Span {
            start: spans.0.end,
            end: spans.1.start,
            ..span
        };
        let word = self.text(between);
        let word = word.trim();
        if matches!(word, "and" | "or") {
            return mismatch(None).help_edit(
                format!("`{word}` goes entry by entry; `all(…)` makes one bool of each side"),
                spans.0.to(spans.1),
                format!("all({left}) {word} all({right})"),
            );
        }
        let is_product = self.is_product(a, b, span);
        let Some((x, y)) = differing.filter(|_| a.ty.rank() == b.ty.rank()) else {
            let ranks = format!("{} axes against {}", a.ty.rank(), b.ty.rank());
            let diagnostic = mismatch(None).here(ranks);
            return match is_product {
                true => diagnostic.help_edit(
                    "the product of a matrix with a vector is `@`",
                    span,
                    format!("{left} @ {right}"),
                ),
                false => self.repair_ranks(diagnostic, (a, b), spans, span),
            };
        };
        let diagnostic = mismatch(Some((x, y)));
        if is_product {
            return diagnostic.help_edit(
                "the product of matrices is `@`",
                span,
                format!("{left} @ {right}"),
            );
        }
        let ints = [a, b]
            .iter()
            .all(|side| side.ty.rank() == 1 && side.is_static_int());
        if ints && text.contains('+') {
            let joined = format!("concat({left}, {right})");
            return diagnostic.help_edit(
                format!("`+` adds entry by entry; one after the other is `{joined}`"),
                span,
                joined,
            );
        }
        if [x, y].iter().any(|axis| axis.size.as_constant() == Some(1)) {
            return diagnostic
                .help("an axis of size 1 does not repeat; `broadcast` repeats on purpose");
        }
        self.repair_operands(diagnostic, (x, spans.0), (y, spans.1))
    }
}
