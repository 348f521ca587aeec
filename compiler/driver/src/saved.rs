//! Models in files, used without their script: the file carries the source of the model, so that
//! its members can be called on tables of data.

mod act;
mod fit;
mod rows;
mod sample;
mod text;

pub use act::{Act, Sink, apply, errors};
pub use fit::train;
pub use rows::{Rows, Table};
pub use sample::sample;
pub use text::{Generate, generate};

use crate::effects::remake::with_arguments;
use crate::effects::{cannot_read, cannot_write, weights};
use crate::has_errors;
use crate::session::{Result, Session};
use aec_runtime::write::{Weights, load_weights, save_weights};
use aec_runtime::{Elem, Tensor};
use aec_syntax::{Diagnostic, Span};
use aec_types::{Value, is_of_average, leaves};
use std::path::Path;
use std::sync::Arc;

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
    let source = text("aec.source");
    let modules = text("aec.modules")
        .split(',')
        .filter(|path| !path.is_empty());
    let uses: String = modules
        .map(|path| format!("use {path}\n"))
        .filter(|line| !source.contains(line.trim_end()))
        .collect();
    let made = format!("{uses}{source}\n\n{}\n", text("aec.call"));
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
    let model = with_arguments(&model, &|name| weights.get(name).cloned()).map_err(|name| {
        vec![fault(
            "E0813",
            format!("{path} has no tensor `{name}` that fits its model"),
        )]
    })?;
    let model =
        weights::load(&session.world, &model, path, Span::NONE).map_err(|error| vec![*error])?;
    session.elaborator.define("model", model.clone());
    Ok(Saved {
        path: path.to_string(),
        weights,
        model,
    })
}

impl Saved {
    /// The model's name.
    fn name(&self) -> &str {
        self.weights
            .metadata
            .get("aec.model")
            .map_or("", String::as_str)
    }

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
    if let Some(words) = text("aec.words") {
        out.push_str(&format!("knows {} words\n", words.lines().count()));
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
    // A value and a weight each.
    let names = weights.tensors.iter().map(|(name, _)| name);
    match names.filter(|name| is_of_average(name)).count() / 2 {
        0 => {}
        1 => out.push_str("1 running average of the batches it was trained on\n"),
        n => out.push_str(&format!(
            "{n} running averages of the batches it was trained on\n"
        )),
    }
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

fn fault(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(code, Span::NONE, message)
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

/// The number of parameters of a model's member.
fn parameters(model: &Value, member: &str) -> Option<usize> {
    let Value::Model(model) = model else {
        return None;
    };
    let def = aec_types::scope::member(model, member)?;
    Some(def.params.len())
}
