//! The commands that use saved models: train, encode, decode, reconstruct, complete, sample,
//! inspect.

use crate::args::{Apply, Output, RunOptions};
use crate::commands::{FAULT, open, print, read, session_options};
use crate::terminal;
use aec_driver::saved::{self, Act, Saved};
use aec_driver::{Ended, Session};
use aec_runtime::Tensor;
use aec_runtime::write::{csv_text, write_npy, write_text};
use aec_syntax::{Diagnostic, SourceMap, render};
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

/// Writes a table where it is wanted.
fn write(output: &Output, head: &[String], table: &Tensor) -> u8 {
    let Some(path) = &output.out else {
        return print(&csv_text(head, table));
    };
    let written = match path.ends_with(".npy") {
        true => write_npy(Path::new(path), table),
        false => write_text(Path::new(path), &csv_text(head, table)),
    };
    match written {
        Ok(()) => 0,
        Err(error) => {
            terminal::say(&format!("cannot write {error}"));
            Ended::Failed.exit_code()
        }
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
    let run = || -> Result<u8, u8> {
        let (mut session, saved) = open_model(&args.model, &args.options)?;
        let float = session.elaborator.float();
        let table =
            saved::read_table(&args.data, float).map_err(|error| failed(&session, &[*error]))?;
        let result = saved::apply(&mut session, &saved, act, &table)
            .map_err(|found| failed(&session, &found))?;
        // A completed table has the columns of the one it completes.
        let head = match act {
            Act::Complete => table.head,
            Act::Encode | Act::Decode | Act::Reconstruct => Vec::new(),
        };
        Ok(write(&args.output, &head, &result))
    };
    run().unwrap_or_else(|code| code)
}

/// `aec reconstruct`: errors on standard output, reconstructions in a file.
pub fn reconstruct(args: &Apply, threshold: Option<f64>, keep: Option<f64>) -> u8 {
    let run = || -> Result<u8, u8> {
        let (mut session, mut saved) = open_model(&args.model, &args.options)?;
        let float = session.elaborator.float();
        let table =
            saved::read_table(&args.data, float).map_err(|error| failed(&session, &[*error]))?;
        let result = saved::apply(&mut session, &saved, Act::Reconstruct, &table)
            .map_err(|found| failed(&session, &found))?;
        let errors = saved::errors(&table.values, &result);
        if let Some(share) = keep {
            let Some(threshold) = quantile(&errors, share) else {
                terminal::say("a share is a number from 0 to 1, such as 0.99");
                return Err(FAULT);
            };
            saved
                .keep_threshold(threshold)
                .map_err(|error| failed(&session, &[*error]))?;
        }
        if args.output.out.is_some() {
            let code = write(&args.output, &table.head, &result);
            if code != 0 {
                return Ok(code);
            }
        }
        let mut text = String::new();
        match threshold.or(saved.threshold()) {
            Some(threshold) => {
                text.push_str("row,error,anomaly\n");
                for (row, error) in errors.iter().enumerate() {
                    let anomaly = u8::from(*error > threshold);
                    text.push_str(&format!("{},{error:.6e},{anomaly}\n", row + 1));
                }
            }
            None => {
                text.push_str("row,error\n");
                for (row, error) in errors.iter().enumerate() {
                    text.push_str(&format!("{},{error:.6e}\n", row + 1));
                }
            }
        }
        Ok(print(&text))
    };
    run().unwrap_or_else(|code| code)
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
pub fn sample(model: &str, count: usize, output: &Output, options: &RunOptions) -> u8 {
    let (mut session, saved) = match open_model(model, options) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    match saved::sample(&mut session, &saved, count) {
        Ok(table) => write(output, &[], &table),
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
