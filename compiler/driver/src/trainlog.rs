//! `log = "file"`: one line for each epoch, CSV or (for `.jsonl` and `.json`) JSON lines. Lines
//! are written as they come, so that a run can be watched.

use crate::progress::Report;
use crate::session::Result;
use aec_syntax::{Diagnostic, Span};
use std::fs::File;
use std::io::Write;

/// An open log.
pub struct TrainLog {
    file: File,
    path: String,
    span: Span,
    json: bool,
    head: bool,
}

impl TrainLog {
    /// Opens the file, replacing what it held.
    pub fn create(path: &str, span: Span) -> Result<TrainLog> {
        let json = path.ends_with(".jsonl") || path.ends_with(".json");
        match File::create(path) {
            Ok(file) => Ok(TrainLog {
                file,
                path: path.to_string(),
                span,
                json,
                head: false,
            }),
            Err(error) => Err(cannot_write(path, span, &error)),
        }
    }

    /// Writes an epoch's line.
    pub fn write(&mut self, report: &Report<'_>) -> Result<()> {
        let figures = report.figures();
        let mut text = String::new();
        if self.json {
            let fields: Vec<String> = figures
                .iter()
                .map(|(name, value)| {
                    if value.is_finite() {
                        format!("{name:?}:{value}")
                    } else {
                        format!("{name:?}:null")
                    }
                })
                .collect();
            text.push_str(&format!(
                "{{\"epoch\":{},{}}}\n",
                report.epoch + 1,
                fields.join(",")
            ));
        } else {
            if !self.head {
                let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
                text.push_str(&format!("epoch,{}\n", names.join(",")));
            }
            let values: Vec<String> = figures.iter().map(|(_, value)| value.to_string()).collect();
            text.push_str(&format!("{},{}\n", report.epoch + 1, values.join(",")));
        }
        self.head = true;
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| cannot_write(&self.path, self.span, &error))
    }
}

fn cannot_write(path: &str, span: Span, error: &std::io::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(
        "E0812",
        span,
        format!("cannot write {path}: {error}"),
    ))
}
