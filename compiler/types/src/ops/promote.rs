//! Element types of operands: which constants become what the other side is (SEMANTICS.md F7), and
//! what is converted on purpose only.

use crate::value::{Repr, Tensor, TensorType};
use crate::{Elaborator, Result};
use aec_ir::Op;
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};

impl Tensor {
    /// Whether it is a compile-time int: a literal, a size, or made of these. It becomes real
    /// where one is wanted (SEMANTICS.md F7).
    pub(crate) fn is_static_int(&self) -> bool {
        self.ty.elem.is_int()
            && matches!(
                self.repr,
                Repr::Static(_) | Repr::Symbolic(_) | Repr::Choice(_)
            )
    }

    /// Whether it is a float constant that takes whichever float type is wanted.
    fn is_float_constant(&self) -> bool {
        self.ty.elem.is_float() && matches!(self.repr, Repr::Static(_))
    }

    pub(crate) fn is_scalar(&self) -> bool {
        self.ty.shape.is_empty()
    }
}

impl Elaborator {
    /// Converts a tensor to another element type.
    pub(crate) fn convert(&mut self, tensor: &Tensor, elem: Elem, span: Span) -> Result<Tensor> {
        if tensor.ty.elem == elem {
            return Ok(tensor.clone());
        }
        let ty = TensorType {
            elem,
            shape: tensor.ty.shape.clone(),
        };
        if let Repr::Static(host) = &tensor.repr {
            let held = if elem.is_float() { Elem::F64 } else { elem };
            return Ok(Tensor {
                ty,
                repr: Repr::Static(crate::trace::converted(host, held)),
            });
        }
        if let Repr::Choice(choice) = &tensor.repr {
            let then = self.convert(&choice.then, elem, span)?;
            let otherwise = self.convert(&choice.otherwise, elem, span)?;
            return self.select(&choice.condition, then, otherwise, (span, span), span);
        }
        self.emit(Op::Convert, &[tensor], ty, span)
    }

    /// A choice of ints as a tensor of ints.
    pub(crate) fn chosen(&mut self, tensor: &Tensor, span: Span) -> Result<Tensor> {
        match &tensor.repr {
            Repr::Choice(choice) => {
                let (then, otherwise) = (choice.then.clone(), choice.otherwise.clone());
                self.select(&choice.condition, then, otherwise, (span, span), span)
            }
            _ => Ok(tensor.clone()),
        }
    }

    /// Brings both operands to one element type, as F7 allows.
    pub(crate) fn promote(
        &mut self,
        a: Tensor,
        b: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<(Tensor, Tensor)> {
        let (ea, eb) = (a.ty.elem, b.ty.elem);
        if ea == eb {
            return Ok((a, b));
        }
        let takes = |from: &Tensor, to: Elem| {
            (from.is_static_int() && to != Elem::Bool)
                || (from.is_float_constant() && to.is_float())
        };
        if takes(&a, eb) {
            return Ok((self.convert(&a, eb, spans.0)?, b));
        }
        if takes(&b, ea) {
            return Ok((a, self.convert(&b, ea, spans.1)?));
        }
        let mut diagnostic = Diagnostic::error(
            "E0303",
            span,
            format!("element types do not match in `{}`", self.text(span)),
        )
        .label(spans.0, a.ty.to_string())
        .label(spans.1, b.ty.to_string());
        diagnostic = match (ea, eb) {
            (Elem::Bool, _) | (_, Elem::Bool) => {
                diagnostic.help("`real(…)` or `int(…)` turns a bool into 0 or 1")
            }
            (Elem::F32, Elem::F64) | (Elem::F64, Elem::F32) => {
                diagnostic.help("convert one side on purpose: `f32(…)` or `f64(…)`")
            }
            (a, _) => {
                let at = if a.is_int() { spans.0 } else { spans.1 };
                let inner = self.text(at);
                let inner = crate::slips::unwrapped(&inner);
                diagnostic.help_edit(
                    format!("`real({inner})` converts the int"),
                    at,
                    format!("real({inner})"),
                )
            }
        };
        Err(Box::new(diagnostic))
    }
}
