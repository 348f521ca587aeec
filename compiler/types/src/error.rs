//! The elaborator's diagnostics that are made in more than one place.

use crate::Result;
use crate::value::{Dim, Tensor, TensorType, Value};
use aec_syntax::{Diagnostic, Span};

/// An error as a result.
pub(crate) fn fail<T>(code: &'static str, span: Span, message: impl Into<String>) -> Result<T> {
    Err(Box::new(Diagnostic::error(code, span, message)))
}

/// `a // 0`, `mod(a, 0)` of ints, where the 0 is known: no int is right.
pub(crate) fn division_by_zero<T>(divisor: Span) -> Result<T> {
    fail("E0319", divisor, "an int is not divided by 0")
}

/// A value of the wrong kind.
pub(crate) fn wanted<T>(span: Span, what: &str, got: &Value) -> Result<T> {
    match got {
        Value::Maybe(_) => return Err(Box::new(crate::missing::refuse(span, what, got))),
        Value::Token(_) => return Err(Box::new(crate::tokens::refuse(span, what, got))),
        Value::Ragged(_) => return Err(Box::new(crate::ragged::refuse(span, what, got))),
        Value::List(_) if crate::ragged::is_ragged(got) => {
            return Err(Box::new(crate::ragged::refuse(span, what, got)));
        }
        _ => {}
    }
    let message = format!("{what} is wanted here, but this is {}", got.describe());
    let error = Diagnostic::error("E0310", span, message);
    Err(Box::new(match got {
        Value::Distribution(_) => {
            error.help("a distribution is drawn from: `let e: [n] ~ normal(0, 1)` makes a tensor")
        }
        Value::Template(template) => {
            let name = &template.def.name.name;
            error.help(format!(
                "this is the definition; `{name}(…)` with its sizes is a model"
            ))
        }
        Value::Record(fields) if fields.iter().any(|(_, part)| is_data(part)) => {
            let data = fields.iter().filter(|(_, part)| is_data(part));
            let parts: Vec<String> = data.map(|(name, _)| format!("`.{name}`")).collect();
            error.help(format!(
                "a part of it is taken by its name: {}",
                parts.join(", ")
            ))
        }
        Value::List(items)
            if what.starts_with("a number or")
                && !items.is_empty()
                && items.iter().all(is_data) =>
        {
            error.help("of tensors of one shape, `[x for x in xs]` makes one tensor")
        }
        Value::List(_) if what.starts_with("a tensor for") => {
            error.help("item by item it is a comprehension: `[x == y for x in xs]`")
        }
        Value::List(_) if what.starts_with("a tensor") => error.help(
            "lists are joined with `+`, `xs + [x]`; `reverse`, `len`, `xs[i]` and `xs[1..]` take them",
        ),
        Value::Unit => {
            error.help("a block ends in its value: the last line is an expression, no `let`")
        }
        _ => error,
    }))
}

fn is_data(value: &Value) -> bool {
    match value {
        Value::Record(fields) => fields.iter().any(|(_, part)| is_data(part)),
        _ => matches!(value, Value::Tensor(_)),
    }
}

/// A `max` or its like of nothing that is observed, which is known before anything runs.
pub(crate) fn unobserved(span: Span) -> Box<Diagnostic> {
    let bad = aec_ir::BadIndex {
        fault: aec_ir::Fault::Unobserved,
        index: 1,
        size: 1,
    };
    Box::new(Diagnostic::error("E0322", span, bad.to_string()).help(bad.help()))
}

/// `D = 64` or `64`.
pub(crate) fn show_dim(dim: &Dim) -> String {
    match &dim.name {
        Some(name) if dim.size.to_string() != **name => format!("{name} = {}", dim.size),
        _ => dim.size.to_string(),
    }
}

/// `[H, D]` with the names that are known.
pub(crate) fn show_type(ty: &TensorType) -> String {
    let named: Vec<String> = ty
        .shape
        .iter()
        .map(|dim| {
            dim.name
                .as_ref()
                .map_or_else(|| dim.size.to_string(), |name| name.to_string())
        })
        .collect();
    let plain = ty.to_string();
    if ty.shape.is_empty() {
        return plain;
    }
    let named = format!(
        "{}[{}]",
        plain.split('[').next().unwrap_or(""),
        named.join(", ")
    );
    if named == plain {
        plain
    } else {
        format!("{named} = {plain}")
    }
}

/// Adds the history of a dimension: where its size came from.
pub(crate) fn with_origin(mut diagnostic: Diagnostic, dim: &Dim) -> Diagnostic {
    if let Some(origin) = &dim.origin {
        let text = format!("{}: {}", show_dim(dim), origin.text);
        if origin.span.is_none() {
            diagnostic = diagnostic.note(text);
        } else if diagnostic
            .labels
            .iter()
            .all(|label| label.span != origin.span)
        {
            diagnostic = diagnostic.label(origin.span, text);
        } else {
            diagnostic = diagnostic.note(text);
        }
    }
    diagnostic
}

/// `sizes do not match in …`, with both operands and the history of the two dimensions.
pub(crate) fn size_mismatch(
    span: Span,
    text: &str,
    left: (&Tensor, Span),
    right: (&Tensor, Span),
    dims: Option<(&Dim, &Dim)>,
) -> Diagnostic {
    let mut diagnostic =
        Diagnostic::error("E0301", span, format!("sizes do not match in `{text}`"))
            .label(left.1, show_type(&left.0.ty))
            .label(right.1, show_type(&right.0.ty));
    if let Some((a, b)) = dims {
        diagnostic = diagnostic.here(format!("{} against {}", show_dim(a), show_dim(b)));
        diagnostic = with_origin(with_origin(diagnostic, a), b);
    }
    diagnostic
}
