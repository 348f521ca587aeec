//! The commands that use saved models: train, encode, decode, reconstruct, complete, sample,
//! generate, inspect. Tables are read, computed and written some rows at a time.

use crate::args::{Apply, Output, RunOptions};
use crate::commands::{FAULT, open, print, read, session_options};
use crate::terminal;
use aec_driver::saved::{self, Act, Generate, Rows, Saved};
use aec_driver::{Ended, Session};
use aec_runtime::Tensor;
use aec_runtime::write::{TableWriter, WriteError, csv_text};
use aec_syntax::{Diagnostic, SourceMap, Span, render};
use std::io;
use std::path::Path;

/// Reports what went wrong and gives the exit code.
fn failed(session: &Session, found: &[Diagnostic]) -> u8 {
    if session.world.stopped().is_some() {
        return Ended::Interrupted.exit_code();
    }
    terminal::report(&session.sources().borrow(), found);
    Ended::Failed.exit_code()
}

/// A session for a model's file, and the model.
fn open_model(path: &str, options: &RunOptions) -> Result<(Session, Saved), u8> {
    let options = session_options(options, Some(Path::new(path)), &[]);
    let mut session = open(options, Box::new(io::stdout()))?;
    match saved::open(&mut session, path) {
        Ok(saved) => Ok((session, saved)),
        Err(found) => Err(failed(&session, &found)),
    }
}

/// Where rows of results go: a file, or CSV on standard output.
enum Results {
    File(TableWriter),
    Printed,
}

impl Results {
    /// Names of columns stand above a table in CSV.
    fn begin(output: &Output, head: &[String]) -> Result<Results, Vec<Diagnostic>> {
        match &output.out {
            Some(path) => TableWriter::create(Path::new(path), head)
                .map(Results::File)
                .map_err(unwritten),
            None => {
                if !head.is_empty() {
                    shown(&(head.join(",") + "\n"))?;
                }
                Ok(Results::Printed)
            }
        }
    }

    fn add(&mut self, rows: &Tensor) -> Result<(), Vec<Diagnostic>> {
        match self {
            Results::File(file) => file.add(rows).map_err(unwritten),
            Results::Printed => shown(&csv_text(&[], rows)),
        }
    }

    fn end(self) -> Result<(), Vec<Diagnostic>> {
        match self {
            Results::File(file) => file.finish().map_err(unwritten),
            Results::Printed => Ok(()),
        }
    }
}

fn unwritten(error: WriteError) -> Vec<Diagnostic> {
    let message = format!("cannot write {}: {}", error.path.display(), error.message);
    let diagnostic = Diagnostic::error("E0812", Span::NONE, message);
    vec![match error.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }]
}

/// The code of an error that ends the command with an exit code and no further word.
const ENDED: &str = "E0892";

/// Prints, or ends with the exit code of who could not.
fn shown(text: &str) -> Result<(), Vec<Diagnostic>> {
    match print(text) {
        0 => Ok(()),
        code => Err(vec![Diagnostic::error(ENDED, Span::NONE, code.to_string())]),
    }
}

/// The exit code of a command that failed; what went wrong is reported.
fn ended(session: &Session, found: &[Diagnostic]) -> u8 {
    match found {
        [only] if only.code == ENDED => only.message.parse().unwrap_or(FAULT),
        _ => failed(session, found),
    }
}

/// `aec train`
pub fn train(file: &Path, data: &[String], out: &str, options: &RunOptions) -> u8 {
    let text = match read(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let options = session_options(options, Some(file), &[]);
    let mut session = match open(options, Box::new(io::stdout())) {
        Ok(session) => session,
        Err(code) => return code,
    };
    let name = file.display().to_string();
    let outcome = saved::train(&mut session, (&name, &text), data, out);
    terminal::report(&session.sources().borrow(), &outcome.diagnostics);
    outcome.ended.exit_code()
}

/// `aec encode`, `aec decode`, `aec complete`
pub fn apply(act: Act, args: &Apply) -> u8 {
    let (mut session, saved) = match open_model(&args.model, &args.options) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let float = session.elaborator.float();
    let mut run = || -> Result<(), Vec<Diagnostic>> {
        let rows = Rows::open(&args.data, float).map_err(|error| vec![*error])?;
        // A completed table has the columns of the one it completes.
        let head = match act {
            Act::Complete => rows.head,
            Act::Encode | Act::Decode | Act::Reconstruct => Vec::new(),
        };
        let mut results = Results::begin(&args.output, &head)?;
        let sink: &mut saved::Sink<'_> = &mut |_, rows| results.add(rows);
        saved::apply(&mut session, &saved, act, &args.data, sink)?;
        results.end()
    };
    match run() {
        Ok(()) => 0,
        Err(found) => ended(&session, &found),
    }
}

/// `aec reconstruct`: errors on standard output, reconstructions in a file.
pub fn reconstruct(args: &Apply, threshold: Option<f64>, keep: Option<f64>) -> u8 {
    let (mut session, mut saved) = match open_model(&args.model, &args.options) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    if keep.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        terminal::say("a share is a number from 0 to 1, such as 0.99");
        return FAULT;
    }
    let float = session.elaborator.float();
    let mut run = || -> Result<(), Vec<Diagnostic>> {
        let one = |error: Box<Diagnostic>| vec![*error];
        let rows = Rows::open(&args.data, float).map_err(one)?;
        let mut results = match &args.output.out {
            Some(_) => Some(Results::begin(&args.output, &rows.head)?),
            None => None,
        };
        let mut errors = Vec::new();
        let sink: &mut saved::Sink<'_> = &mut |table, rows| {
            errors.extend(saved::errors(&table.values, rows));
            results.as_mut().map_or(Ok(()), |results| results.add(rows))
        };
        saved::apply(&mut session, &saved, Act::Reconstruct, &args.data, sink)?;
        if let Some(threshold) = keep.and_then(|share| quantile(&errors, share)) {
            saved.keep_threshold(threshold).map_err(one)?;
        }
        if let Some(results) = results {
            results.end()?;
        }
        let threshold = threshold.or(saved.threshold());
        let mut text = match threshold {
            Some(_) => "row,error,anomaly\n".to_string(),
            None => "row,error\n".to_string(),
        };
        for (row, error) in errors.iter().enumerate() {
            text.push_str(&format!("{},{error:.6e}", row + 1));
            if let Some(threshold) = threshold {
                text.push_str(&format!(",{}", u8::from(*error > threshold)));
            }
            text.push('\n');
        }
        shown(&text)
    };
    match run() {
        Ok(()) => 0,
        Err(found) => ended(&session, &found),
    }
}

/// The least of the values that at least this share of them does not exceed.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (share * sorted.len() as f64).ceil().max(1.0) as usize - 1;
    (0.0..=1.0)
        .contains(&share)
        .then(|| sorted.get(at).copied())
        .flatten()
}

/// `aec sample`
pub fn sample(
    model: &str,
    (count, given): (usize, Option<i64>),
    output: &Output,
    options: &RunOptions,
) -> u8 {
    let (mut session, saved) = match open_model(model, options) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let mut run = || -> Result<(), Vec<Diagnostic>> {
        let table = saved::sample(&mut session, &saved, count, given)?;
        let mut results = Results::begin(output, &[])?;
        results.add(&table)?;
        results.end()
    };
    match run() {
        Ok(()) => 0,
        Err(found) => ended(&session, &found),
    }
}

/// `aec generate`
pub fn generate(model: &str, how: &Generate, options: &RunOptions) -> u8 {
    let (mut session, saved) = match open_model(model, options) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    match saved::generate(&mut session, &saved, how) {
        Ok(text) => print(&(text + "\n")),
        Err(found) => failed(&session, &found),
    }
}

/// `aec inspect`
pub fn inspect(model: &str) -> u8 {
    match saved::inspect(model) {
        Ok(text) => print(&text),
        Err(error) => {
            let text = render(&SourceMap::new(), &error, terminal::style());
            terminal::say(text.trim_end());
            Ended::Failed.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = [3.0, 1.0, 2.0, 4.0];
        assert_eq!(quantile(&values, 0.5), Some(2.0));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 1.5), None);
        assert_eq!(quantile(&[], 0.5), None);
    }
}
