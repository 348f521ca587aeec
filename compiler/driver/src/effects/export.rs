//! `export`: a tensor for other programs, as CSV or as NumPy's `.npy`. A missing entry is an empty
//! cell, or NaN.

use super::{cannot_write, wrong};
use crate::exec::elements;
use crate::session::Result;
use aec_runtime::Tensor;
use aec_runtime::write::{csv_text, write_npy, write_text};
use aec_syntax::Span;
use aec_types::Value;
use std::path::Path;

/// Writes `x` to `path`, in the format of its ending.
pub fn export(x: &Value, path: &str, span: Span) -> Result<Value> {
    let (values, observed) = match x {
        Value::Maybe(maybe) => (
            elements(&maybe.value),
            elements(&Value::Tensor(maybe.observed.clone())),
        ),
        other => (elements(other), None),
    };
    let Some(values) = values else {
        return Err(wrong(
            span,
            format!("a tensor is exported, but this is {}", x.describe()),
        ));
    };
    let values = match &observed {
        Some(observed) if values.elem().is_float() => with_nan(&values, observed),
        Some(_) => {
            return Err(wrong(
                span,
                "ints with missing entries have no such file; fill them with `??`".into(),
            ));
        }
        None => (*values).clone(),
    };
    let file = Path::new(path);
    let written = match file.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => write_npy(file, &values),
        Some("csv") if values.rank() <= 2 => {
            write_text(file, &csv_text(&[], &values).replace("NaN", ""))
        }
        Some("csv") => {
            return Err(wrong(
                span,
                format!(
                    "a table has at most two axes, but this is {}; `.npy` takes any number",
                    x.describe()
                ),
            ));
        }
        _ => {
            return Err(wrong(
                span,
                format!("`{path}` ends neither in .csv nor in .npy"),
            ));
        }
    };
    written.map_err(|error| cannot_write(path, &error, span))?;
    Ok(Value::Unit)
}

/// The values with NaN where nothing is observed.
fn with_nan(values: &Tensor, observed: &Tensor) -> Tensor {
    let entries = (0..values.len()).map(|at| match observed.get_f64(at) {
        0.0 => f64::NAN,
        _ => values.get_f64(at),
    });
    Tensor::from_f64(values.elem(), values.dims(), entries)
}
