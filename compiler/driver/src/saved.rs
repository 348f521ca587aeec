//! Models in files, used without their script: the file carries the source of the model, so that
//! its members can be called on tables of data.

use crate::effects::{cannot_read, cannot_write, weights};
use crate::exec::gather_rows;
use crate::session::{Result, Session};
use crate::{format, has_errors};
use aec_runtime::read::{read_csv, read_npy};
use aec_runtime::write::{Weights, load_weights, save_weights};
use aec_runtime::{Elem, Tensor};
use aec_syntax::{Diagnostic, Span};
use aec_types::value::Origin;
use aec_types::{Value, leaves};
use std::path::Path;
use std::sync::Arc;

/// Rows that are computed at a time.
const ROWS: usize = 4096;

/// Rounds in which a model that takes no `?` fills missing entries.
const ROUNDS: usize = 50;

/// Where the file keeps the error above which an example is an anomaly.
const THRESHOLD: &str = "aec.threshold";

/// A model from a file.
pub struct Saved {
    /// The file, as it was named.
    pub path: String,
    /// All that it holds.
    pub weights: Weights,
    /// The model.
    pub model: Value,
}

/// A table of examples, one for each row.
pub struct Table {
    /// The file, as it was named.
    pub name: String,
    /// Names of the columns, or nothing.
    pub head: Vec<String>,
    /// The numbers, `[rows, …]`; 0 where one is missing.
    pub values: Tensor,
    /// A bool for each number, if any is missing.
    pub observed: Option<Tensor>,
}

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

fn fault(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(code, Span::NONE, message)
}

/// Opens a model in `session`, which must be new: the file decides on its precision.
pub fn open(session: &mut Session, path: &str) -> std::result::Result<Saved, Vec<Diagnostic>> {
    let weights = load_weights(Path::new(path))
        .map_err(|error| vec![*cannot_read(path, &error, Span::NONE)])?;
    let text = |name: &str| weights.metadata.get(name).map_or("", String::as_str);
    if text("aec.model").is_empty() {
        return Err(vec![
            fault(
                "E0813",
                format!("{path} holds tensors, but does not say of which model"),
            )
            .help("`save(m, …)` of a model writes a file that does"),
        ]);
    }
    if weights
        .tensors
        .iter()
        .any(|(_, tensor)| tensor.elem() == Elem::F64)
    {
        session.set_float(Elem::F64);
    }
    let (name, sizes) = (text("aec.model"), text("aec.sizes"));
    let made = match text("aec.module") {
        "" => format!("{}\n\n{name}({sizes})\n", text("aec.source")),
        module => {
            let last = module.rsplit('.').next().unwrap_or(module);
            format!("use {module}\n\n{last}.{name}({sizes})\n")
        }
    };
    let (outcome, value) = session.evaluate(&format!("the source in {path}"), &made);
    let model = match value {
        Some(model @ Value::Model(_)) if !has_errors(&outcome.diagnostics) => model,
        _ => {
            let mut found = outcome.diagnostics;
            found.push(
                fault("E0813", format!("the model in {path} cannot be made from its file alone"))
                    .note("the file carries the model's source and what that names in its script, but no data")
                    .help("`load(model, file)` in its script still works"),
            );
            return Err(found);
        }
    };
    let model =
        weights::load(&session.world, &model, path, Span::NONE).map_err(|error| vec![*error])?;
    session.elaborator.define("model", model.clone());
    Ok(Saved {
        path: path.to_string(),
        weights,
        model,
    })
}

/// Reads `.npy`, and anything else as CSV.
pub fn read_table(path: &str, float: Elem) -> Result<Table> {
    let failed = |error| cannot_read(path, &error, Span::NONE);
    if path.ends_with(".npy") || path.ends_with(".npy.gz") {
        let tensor = read_npy(Path::new(path)).map_err(failed)?;
        let values = Tensor::from_f64(float, tensor.dims(), tensor.to_f64_vec());
        return table_of(path, Vec::new(), values, None);
    }
    let csv = read_csv(Path::new(path)).map_err(failed)?;
    let seen = csv.values.iter().zip(&csv.observed);
    let values = seen.map(|(&value, &seen)| if seen == 0 { 0.0 } else { value });
    let values = Tensor::from_f64(float, &[csv.rows, csv.cols], values);
    let observed = csv.any_missing().then(|| csv.mask());
    table_of(path, csv.header.unwrap_or_default(), values, observed)
}

fn table_of(
    path: &str,
    head: Vec<String>,
    values: Tensor,
    observed: Option<Tensor>,
) -> Result<Table> {
    if values.dims().first().is_none_or(|&rows| rows == 0) {
        return Err(Box::new(fault("E0803", format!("{path} has no rows"))));
    }
    Ok(Table {
        name: path.to_string(),
        head,
        values,
        observed,
    })
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

/// What `act` gives for each row: `[rows, columns]`. Several parts of a code stand beside each
/// other.
pub fn apply(
    session: &mut Session,
    saved: &Saved,
    act: Act,
    table: &Table,
) -> std::result::Result<Tensor, Vec<Diagnostic>> {
    let one = |error: Box<Diagnostic>| vec![*error];
    let values = fitted(session, saved, act.member(), table).map_err(one)?;
    let maybe = session
        .elaborator
        .takes(&saved.model, act.member())
        .is_some_and(|(_, maybe)| maybe);
    if table.observed.is_some() && !maybe && act != Act::Complete {
        return Err(vec![
            fault(
                "E0803",
                format!(
                    "{} has empty cells, which this model does not take",
                    table.name
                ),
            )
            .help("`aec complete` fills them"),
        ]);
    }
    let rows = values.dims()[0];
    let observed = table
        .observed
        .as_ref()
        .map(|seen| Tensor::new(values.dims().to_vec(), seen.data().clone()));
    let means = means(&values, observed.as_ref());
    if matches!(act, Act::Reconstruct | Act::Complete) {
        define_reconstruct(session, saved, &values)?;
    }
    let mut out: Vec<f64> = Vec::new();
    let mut columns = 0;
    let all: Vec<usize> = (0..rows).collect();
    for rows in all.chunks(ROWS) {
        let part = |from: &Tensor| {
            let mut dims = from.dims().to_vec();
            dims[0] = rows.len();
            let mut to = Tensor::zeros(from.elem(), &dims);
            gather_rows(from, rows, &mut to);
            to
        };
        let origin = Origin {
            span: Span::NONE,
            text: format!("read from {}", table.name).into(),
        };
        let x = part(&values);
        let seen = observed.as_ref().map(part);
        let result = match (act, &seen) {
            (Act::Complete, Some(seen)) if !maybe => filled_in_rounds(session, x, seen, &means)?,
            _ => {
                let x = Value::concrete_from(x, origin.clone());
                let x = match seen {
                    Some(seen) => Value::missing(x, Value::concrete_from(seen, origin)),
                    None => x,
                };
                session.elaborator.define("x", x);
                parts(&run(session, call(act))?)
            }
        };
        columns = result.iter().map(|part| part.len() / rows.len()).sum();
        for row in 0..rows.len() {
            for part in &result {
                let width = part.len() / rows.len();
                out.extend((row * width..(row + 1) * width).map(|at| part.get_f64(at)));
            }
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

/// Evaluates one line.
fn run(session: &mut Session, text: &str) -> std::result::Result<Value, Vec<Diagnostic>> {
    let (outcome, value) = session.evaluate("aec", text);
    match value {
        Some(value) if !has_errors(&outcome.diagnostics) => Ok(value),
        _ => Err(outcome.diagnostics),
    }
}

/// The tensors of a result, each with a first axis of examples.
fn parts(value: &Value) -> Vec<Arc<Tensor>> {
    leaves(value)
        .iter()
        .filter_map(|leaf| leaf.tensor.host().cloned())
        .collect()
}

/// The mean of what is observed in each column.
fn means(values: &Tensor, observed: Option<&Tensor>) -> Vec<f64> {
    let rows = values.dims()[0];
    let width = values.len() / rows;
    let mut sums = vec![(0.0, 0.0); width];
    for at in 0..values.len() {
        let seen = observed.is_none_or(|seen| seen.get_f64(at) != 0.0);
        if seen {
            sums[at % width].0 += values.get_f64(at);
            sums[at % width].1 += 1.0;
        }
    }
    sums.iter()
        .map(|(sum, count)| sum / f64::max(*count, 1.0))
        .collect()
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

/// `count` examples: codes drawn from the standard normal distribution, decoded.
pub fn sample(
    session: &mut Session,
    saved: &Saved,
    count: usize,
) -> std::result::Result<Tensor, Vec<Diagnostic>> {
    let Some((dims, _)) = session.elaborator.takes(&saved.model, "decoder") else {
        return Err(vec![fault(
            "E0202",
            format!(
                "the model in {} has no `decoder` of a code of known size",
                saved.path
            ),
        )]);
    };
    let sizes: Vec<String> = dims.iter().map(|size| format!(", {size}")).collect();
    let text = format!(
        "let z: [{count}{}] ~ normal(0, 1)\nmodel.decoder(z)",
        sizes.concat()
    );
    let parts = parts(&run(session, &text)?);
    let Some(first) = parts.first() else {
        return Err(vec![fault("E0202", "the decoder gives no tensor".into())]);
    };
    let dims = [count, first.len() / count.max(1)];
    Ok(Tensor::new(dims.to_vec(), first.data().clone()))
}

impl Saved {
    /// The error above which an example is an anomaly, if the file says.
    pub fn threshold(&self) -> Option<f64> {
        self.weights.metadata.get(THRESHOLD)?.parse().ok()
    }

    /// Writes a threshold into the model's file.
    pub fn keep_threshold(&mut self, threshold: f64) -> Result<()> {
        let metadata = &mut self.weights.metadata;
        metadata.insert(THRESHOLD.into(), threshold.to_string());
        let tensors: Vec<(&str, &Tensor)> = self
            .weights
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        save_weights(Path::new(&self.path), &tensors, &self.weights.metadata)
            .map_err(|error| cannot_write(&self.path, &error, Span::NONE))
    }
}

/// What a file of weights holds, for a person; nothing of it is run.
pub fn inspect(path: &str) -> Result<String> {
    let weights =
        load_weights(Path::new(path)).map_err(|error| cannot_read(path, &error, Span::NONE))?;
    let text = |name: &str| weights.metadata.get(name).filter(|text| !text.is_empty());
    let mut out = String::new();
    match text("aec.model") {
        Some(model) => {
            let sizes = text("aec.sizes").map_or("", String::as_str);
            out.push_str(&format!("model {model}({sizes})\n"));
        }
        None => out.push_str("tensors of no known model\n"),
    }
    if let Some(training) = text("aec.training") {
        out.push_str(&format!("trained: {training}\n"));
    }
    if let Some(threshold) = text(THRESHOLD) {
        out.push_str(&format!("anomaly above an error of {threshold}\n"));
    }
    let entries: usize = weights.tensors.iter().map(|(_, tensor)| tensor.len()).sum();
    out.push_str(&format!(
        "{entries} numbers in {} tensors\n",
        weights.tensors.len()
    ));
    let width = weights.tensors.iter().map(|(name, _)| name.len()).max();
    for (name, tensor) in &weights.tensors {
        let width = width.unwrap_or(0);
        let (elem, dims) = (tensor.elem().name(), tensor.dims());
        out.push_str(&format!("  {name:width$}  {elem}{dims:?}\n"));
    }
    if let Some(source) = text("aec.source") {
        out.push_str(&format!("\n{source}\n"));
    }
    Ok(out)
}

/// Trains by a script: runs it, calls its function `fit` on the data, and saves the model that
/// this gives.
pub fn train(
    session: &mut Session,
    (name, text): (&str, &str),
    data: &[String],
    to: &str,
) -> crate::Outcome {
    let mut outcome = session.run(name, text);
    if outcome.ended != crate::Ended::Well {
        return outcome;
    }
    let result = fit(session, name, data, to);
    if let Err(mut found) = result {
        outcome.ended = match session.world.stopped() {
            Some(crate::session::Stop::Interrupted) => crate::Ended::Interrupted,
            _ => crate::Ended::Failed,
        };
        found.retain(|error| error.code != "E0891");
        outcome.diagnostics.append(&mut found);
    } else if session.world.stopped().is_some() {
        outcome.ended = crate::Ended::Interrupted;
    }
    outcome
}

fn fit(
    session: &mut Session,
    script: &str,
    data: &[String],
    to: &str,
) -> std::result::Result<(), Vec<Diagnostic>> {
    let Some(fit @ Value::Fn(_)) = session.elaborator.lookup("fit") else {
        return Err(vec![
            fault(
                "E0201",
                format!("{script} has no function `fit` that trains on given data"),
            )
            .help("write, say, `fn fit(x) = train Auto(len(x[0]), 32) on x { epochs = 20 }`"),
        ]);
    };
    let mut values = Vec::new();
    for path in data {
        let table = read_table(path, session.elaborator.float()).map_err(|error| vec![*error])?;
        let origin = Origin {
            span: Span::NONE,
            text: format!("read from {path}").into(),
        };
        let value = Value::concrete_from(table.values, origin.clone());
        values.push(match table.observed {
            Some(seen) => Value::missing(value, Value::concrete_from(seen, origin)),
            None => value,
        });
    }
    let names: Vec<String> = (0..values.len()).map(|at| format!("given{at}")).collect();
    for (name, value) in names.iter().zip(values) {
        session.elaborator.define(name, value);
    }
    session.elaborator.define("fit", fit);
    let model = run_kept(session, &format!("fit({})", names.join(", ")))?;
    weights::save(&mut session.elaborator, &model, to, Span::NONE).map_err(|error| vec![*error])?;
    Ok(())
}

/// [`run`], but what an interrupted training gives counts.
fn run_kept(session: &mut Session, text: &str) -> std::result::Result<Value, Vec<Diagnostic>> {
    let (outcome, value) = session.evaluate("aec", text);
    match value {
        Some(value @ Value::Model(_)) => Ok(value),
        Some(other) => Err(vec![fault(
            "E0310",
            format!("`fit` gives {}, not a model", format::inspect(&other)),
        )]),
        None => Err(outcome.diagnostics),
    }
}
