//! Members of a saved model called on tables: codes, what they mean, reconstructions, and the
//! missing entries of examples.

use super::rows::{Rows, Table};
use super::{Saved, fault, parts, run};
use crate::exec::gather_rows;
use crate::has_errors;
use crate::session::{Result, Session};
use aec_runtime::Tensor;
use aec_syntax::{Diagnostic, Span};
use aec_types::Value;
use aec_types::value::Origin;
use std::sync::Arc;

/// Rows that are computed at a time.
const ROWS: usize = 4096;

/// Rounds in which a model that takes no `?` fills missing entries.
const ROUNDS: usize = 50;

/// What is done with each example.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// `encoder(x)`
    Encode,
    /// `decoder(z)`
    Decode,
    /// `decoder(encoder(x))`
    Reconstruct,
    /// The observed entries, and the reconstruction's where one is missing.
    Complete,
}

impl Act {
    /// The member whose parameter the data must fit.
    fn member(self) -> &'static str {
        match self {
            Act::Encode | Act::Reconstruct | Act::Complete => "encoder",
            Act::Decode => "decoder",
        }
    }
}

/// The data in the shape of the examples that a member takes, or why it cannot be.
fn fitted(session: &mut Session, saved: &Saved, member: &str, table: &Table) -> Result<Tensor> {
    let has = session.elaborator.member(&saved.model, member).is_some();
    let name = saved
        .weights
        .metadata
        .get("aec.model")
        .map_or("", String::as_str);
    if !has {
        return Err(Box::new(fault(
            "E0202",
            format!("the model {name} in {} has no `{member}`", saved.path),
        )));
    }
    let Some((dims, _)) = session.elaborator.takes(&saved.model, member) else {
        return Ok(table.values.clone());
    };
    let rows = table.values.dims()[0];
    let columns = table.values.len() / rows;
    let wanted: usize = dims.iter().product();
    if columns != wanted {
        return Err(Box::new(
            fault(
                "E0803",
                format!(
                    "{} has {columns} numbers in each row, but `{member}` of {name} in {} takes {wanted}",
                    table.name, saved.path
                ),
            )
            .note(format!("an example of this model is a tensor {dims:?}")),
        ));
    }
    let dims: Vec<usize> = std::iter::once(rows).chain(dims).collect();
    Ok(Tensor::new(dims, table.values.data().clone()))
}

/// Takes what `act` gives for some examples: `[rows, columns]`.
pub type Sink<'a> = dyn FnMut(&Table, &Tensor) -> std::result::Result<(), Vec<Diagnostic>> + 'a;

/// Does `act` with all rows, some at a time. Several parts of a code stand beside each other.
pub fn apply(
    session: &mut Session,
    saved: &Saved,
    act: Act,
    path: &str,
    sink: &mut Sink<'_>,
) -> std::result::Result<(), Vec<Diagnostic>> {
    let one = |error: Box<Diagnostic>| vec![*error];
    let float = session.elaborator.float();
    let maybe = session
        .elaborator
        .takes(&saved.model, act.member())
        .is_some_and(|(_, maybe)| maybe);
    let averages = match act {
        Act::Complete if !maybe => means(Rows::open(path, float).map_err(one)?).map_err(one)?,
        Act::Encode | Act::Decode | Act::Reconstruct | Act::Complete => Vec::new(),
    };
    let mut rows = Rows::open(path, float).map_err(one)?;
    let mut first = true;
    while let Some(table) = rows.next(ROWS).map_err(one)? {
        let values = fitted(session, saved, act.member(), &table).map_err(one)?;
        if table.observed.is_some() && !maybe && act != Act::Complete {
            return Err(vec![
                fault(
                    "E0803",
                    format!("{path} has empty cells, which this model does not take"),
                )
                .help("`aec complete` fills them"),
            ]);
        }
        if std::mem::take(&mut first) && matches!(act, Act::Reconstruct | Act::Complete) {
            define_reconstruct(session, saved, &values)?;
        }
        let result = some_rows(session, act, &table, values, maybe, &averages)?;
        sink(&table, &result)?;
    }
    Ok(())
}

/// [`apply`] for the rows that are in memory.
fn some_rows(
    session: &mut Session,
    act: Act,
    table: &Table,
    values: Tensor,
    maybe: bool,
    averages: &[f64],
) -> std::result::Result<Tensor, Vec<Diagnostic>> {
    let rows = values.dims()[0];
    let origin = Origin {
        span: Span::NONE,
        text: format!("read from {}", table.name).into(),
    };
    let seen = table
        .observed
        .as_ref()
        .map(|seen| Tensor::new(values.dims().to_vec(), seen.data().clone()));
    let result = match (act, &seen) {
        (Act::Complete, Some(seen)) if !maybe => filled_in_rounds(session, values, seen, averages)?,
        _ => {
            let x = Value::concrete_from(values, origin.clone());
            let x = match seen {
                Some(seen) => Value::missing(x, Value::concrete_from(seen, origin)),
                None => x,
            };
            session.elaborator.define("x", x);
            parts(&run(session, call(act))?)
        }
    };
    let columns = result.iter().map(|part| part.len() / rows).sum();
    let mut out: Vec<f64> = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for part in &result {
            let width = part.len() / rows;
            out.extend((row * width..(row + 1) * width).map(|at| part.get_f64(at)));
        }
    }
    Ok(Tensor::from_f64(
        session.elaborator.float(),
        &[rows, columns],
        out,
    ))
}

/// Defines the function `reconstruct`: the model's own, if it has one. Of a code in several parts
/// (a distribution's) the first is decoded: its mean. One example shows which it is.
fn define_reconstruct(
    session: &mut Session,
    saved: &Saved,
    values: &Tensor,
) -> std::result::Result<(), Vec<Diagnostic>> {
    let own = session.elaborator.member(&saved.model, "reconstruct");
    let body = if own.is_some() {
        "model.reconstruct(x)".to_string()
    } else {
        let mut dims = values.dims().to_vec();
        dims[0] = 1;
        let mut one = Tensor::zeros(values.elem(), &dims);
        gather_rows(values, &[0], &mut one);
        session.elaborator.define("x", Value::concrete(one));
        let part = match run(session, "model.encoder(x)")? {
            Value::Tuple(_) => ".0".to_string(),
            Value::Record(fields) => fields
                .first()
                .map_or_else(String::new, |(name, _)| format!(".{name}")),
            _ => String::new(),
        };
        format!("model.decoder(model.encoder(x){part})")
    };
    let outcome = session.turn("aec", &format!("fn reconstruct(x) = {body}"));
    match has_errors(&outcome.diagnostics) {
        true => Err(outcome.diagnostics),
        false => Ok(()),
    }
}

/// What is evaluated on the examples `x`.
fn call(act: Act) -> &'static str {
    match act {
        Act::Encode => "model.encoder(x)",
        Act::Decode => "model.decoder(x)",
        Act::Reconstruct => "reconstruct(x)",
        Act::Complete => "x ?? reconstruct(x)",
    }
}

/// The mean of what is observed in each column.
fn means(mut rows: Rows) -> Result<Vec<f64>> {
    let mut sums: Vec<(f64, f64)> = Vec::new();
    while let Some(table) = rows.next(ROWS)? {
        let width = table.values.len() / table.values.dims()[0];
        sums.resize(width, (0.0, 0.0));
        for at in 0..table.values.len() {
            let seen = table.observed.as_ref();
            if seen.is_none_or(|seen| seen.get_f64(at) != 0.0) {
                sums[at % width].0 += table.values.get_f64(at);
                sums[at % width].1 += 1.0;
            }
        }
    }
    Ok(sums
        .iter()
        .map(|(sum, count)| sum / f64::max(*count, 1.0))
        .collect())
}

/// Missing entries of a model that takes none: they start at their column's mean and become what
/// the reconstruction says of them, again and again, while the observed ones stay.
fn filled_in_rounds(
    session: &mut Session,
    x: Tensor,
    seen: &Tensor,
    means: &[f64],
) -> std::result::Result<Vec<Arc<Tensor>>, Vec<Diagnostic>> {
    let (elem, dims) = (x.elem(), x.dims().to_vec());
    let start = (0..x.len()).map(|at| match seen.get_f64(at) {
        0.0 => means[at % means.len()],
        _ => x.get_f64(at),
    });
    let mut now = Arc::new(Tensor::from_f64(elem, &dims, start));
    let x = Value::missing(Value::concrete(x), Value::concrete(seen.clone()));
    session.elaborator.define("x", x);
    for _ in 0..ROUNDS {
        session
            .elaborator
            .define("filled", Value::shared(now.clone()));
        let next = run(session, "x ?? reconstruct(filled)")?;
        let Some(next) = parts(&next).into_iter().next() else {
            break;
        };
        now = next;
    }
    Ok(vec![now])
}

/// Mean squared difference of each row.
pub fn errors(a: &Tensor, b: &Tensor) -> Vec<f64> {
    let rows = a.dims()[0];
    let width = a.len() / rows;
    (0..rows)
        .map(|row| {
            let square = |at: usize| (a.get_f64(at) - b.get_f64(at)).powi(2);
            (row * width..(row + 1) * width).map(square).sum::<f64>() / width.max(1) as f64
        })
        .collect()
}
