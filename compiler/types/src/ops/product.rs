//! `a @ b`: sums over the last axis of the left side and the first of the right side.

use crate::error::size_mismatch;
use crate::value::{Dim, Tensor, TensorType};
use crate::{Elaborator, Result, vanishing};
use aec_ir::{Label, Labels};
use aec_syntax::{Diagnostic, Span};

impl Elaborator {
    /// `a @ b`: contracts the last axis of a with the first of b.
    pub(super) fn product(
        &mut self,
        x: Tensor,
        y: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Tensor> {
        if x.is_scalar() || y.is_scalar() {
            let at = if x.is_scalar() { spans.0 } else { spans.1 };
            let diagnostic = Diagnostic::error(
                "E0302",
                span,
                format!(
                    "`@` in `{}` wants an axis to sum over on both sides",
                    self.text(span)
                ),
            )
            .label(at, "a scalar")
            .help_edit(
                "`*` multiplies by a scalar",
                span,
                format!("{} * {}", self.text(spans.0), self.text(spans.1)),
            );
            return Err(Box::new(diagnostic));
        }
        let (x, y) = self.promote(x, y, spans, span)?;
        let (ra, rb) = (x.ty.rank(), y.ty.rank());
        let (inner_left, inner_right) = (&x.ty.shape[ra - 1], &y.ty.shape[0]);
        if inner_left.size.differs(&inner_right.size) {
            let mut diagnostic = size_mismatch(
                span,
                &self.text(span),
                (&x, spans.0),
                (&y, spans.1),
                Some((inner_left, inner_right)),
            );
            diagnostic = self.product_help(diagnostic, &x, &y, spans);
            return Err(Box::new(diagnostic));
        }
        let shape: Vec<Dim> = x.ty.shape[..ra - 1]
            .iter()
            .chain(&y.ty.shape[1..])
            .cloned()
            .collect();
        let ty = TensorType {
            elem: x.ty.elem,
            shape: shape.into(),
        };
        let x = self.within(&x, Some(ra - 1), 0.0, span)?;
        let y = self.within(&y, Some(0), 0.0, span)?;
        self.build(&[&x, &y], ty, span, |f, v, _, span| {
            let v = match (ra, rb) {
                (1, 1) => vanishing::tamed(f, [v[0], v[1]], span),
                _ => [v[0], v[1]],
            };
            let left: Labels = (0..ra as Label).collect();
            let right: Labels = (ra as Label - 1..(ra + rb) as Label - 1).collect();
            let out: Labels = left[..ra - 1].iter().chain(&right[1..]).copied().collect();
            f.contract(&[(v[0], &left), (v[1], &right)], &out, &[], 1.0, span)
        })
    }

    /// What would make a product fit: a transpose, or the other declaration.
    fn product_help(
        &self,
        diagnostic: Diagnostic,
        x: &Tensor,
        y: &Tensor,
        spans: (Span, Span),
    ) -> Diagnostic {
        let (ra, inner) = (x.ty.rank(), &y.ty.shape[0]);
        if ra == 2 && x.ty.shape[0].size == inner.size {
            let left = self.text(spans.0);
            if let Some(plain) = left.strip_suffix('\'') {
                return diagnostic.help_edit(format!("`{plain}` itself fits"), spans.0, plain);
            }
            return diagnostic.help_edit(
                format!("`{left}'` is {left} transposed, and fits"),
                spans.0,
                format!("{left}'"),
            );
        }
        if y.ty.rank() == 2 && y.ty.shape[1].size == x.ty.shape[ra - 1].size {
            let right = self.text(spans.1);
            if let Some(plain) = right.strip_suffix('\'') {
                return diagnostic.help_edit(format!("`{plain}` itself fits"), spans.1, plain);
            }
            // A lower-case name is rather a batch of examples than a matrix.
            if right.starts_with(char::is_lowercase) {
                return diagnostic.help(format!(
                    "`{right}'` fits; but rather write this for one example: a call with a batch is mapped over it"
                ));
            }
            return diagnostic.help_edit(
                format!("`{right}'` is {right} transposed, and fits"),
                spans.1,
                format!("{right}'"),
            );
        }
        if let (2, Some(rows), Some(name)) = (ra, &x.ty.shape[0].name, &inner.name) {
            let left = self.text(spans.0);
            return diagnostic.help(format!(
                "`param {left}: [{rows}, {name}]` would make this product [{rows}]"
            ));
        }
        diagnostic.help(
            "`@` sums over the last axis of the left side and the first axis of the right side",
        )
    }
}
