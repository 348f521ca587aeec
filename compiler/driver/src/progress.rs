//! The progress line on standard error, and what is known of an epoch when it ends.

use aec_runtime::Elem;
use aec_syntax::ast::Name;
use aec_types::Value;
use std::io::Write;
use std::time::{Duration, Instant};

/// How often the line is drawn.
const EVERY: Duration = Duration::from_millis(100);

/// Says a line on standard error; nobody listening is no error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An epoch's figures.
pub struct Report<'a> {
    /// Counted from 0.
    pub epoch: usize,
    /// Steps since training began.
    pub steps: usize,
    /// Mean loss, then its parts.
    pub means: Vec<f64>,
    /// Names of the parts.
    pub parts: &'a [Name],
    /// Mean loss and parts of the validation data.
    pub validation: Option<Vec<f64>>,
    /// Further members of the validation data.
    pub metrics: Vec<(Name, f64)>,
}

impl Report<'_> {
    /// All figures by name: `loss`, parts, `validation`, metrics.
    pub fn figures(&self) -> Vec<(String, f64)> {
        let names = std::iter::once("loss".to_string())
            .chain(self.parts.iter().map(|name| name.to_string()));
        let mut all: Vec<(String, f64)> = names.zip(self.means.iter().copied()).collect();
        if let Some(validation) = &self.validation {
            all.push(("validation".into(), validation[0]));
            all.extend(
                self.parts
                    .iter()
                    .zip(&validation[1..])
                    .map(|(name, &value)| (format!("validation_{name}"), value)),
            );
        }
        all.extend(
            self.metrics
                .iter()
                .map(|(name, value)| (name.to_string(), *value)),
        );
        all
    }

    /// As the record that `on_epoch` gets; epochs count from 1.
    pub fn record(&self, float: Elem) -> Value {
        let mut fields = vec![
            ("epoch".to_string(), Value::int(self.epoch as i64 + 1)),
            ("steps".into(), Value::int(self.steps as i64)),
        ];
        fields.extend(
            self.figures()
                .into_iter()
                .map(|(name, value)| (name, Value::real(value, float))),
        );
        Value::record(
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect(),
        )
    }
}

/// For the model's file: how far the training came and its last figures.
pub fn in_words(epochs: usize, steps: usize, seed: u64, figures: &[(String, f64)]) -> String {
    let figures: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("{name} {value:.6}"))
        .collect();
    format!(
        "{epochs} epochs, {steps} steps, seed {seed}; {}",
        figures.join(", ")
    )
}

/// The line.
pub struct Progress {
    shown: bool,
    epochs: usize,
    total: usize,
    start: Instant,
    drawn: Option<Instant>,
    examples: usize,
    last: String,
}

impl Progress {
    /// A line for a training of so many epochs and steps; nothing is drawn unless `shown`.
    pub fn new(shown: bool, epochs: usize, total: usize) -> Progress {
        Progress {
            shown,
            epochs,
            total,
            start: Instant::now(),
            drawn: None,
            examples: 0,
            last: String::new(),
        }
    }

    /// After each step.
    pub fn step(
        &mut self,
        epoch: usize,
        done: usize,
        examples: usize,
        means: &[f64],
        parts: &[Name],
    ) {
        self.examples += examples;
        if !self.shown || self.drawn.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let figures = std::iter::once("loss")
            .chain(parts.iter().map(|name| &**name))
            .zip(means)
            .map(|(name, mean)| format!("{name} {mean:.5}"))
            .collect::<Vec<_>>()
            .join("  ");
        let rate = self.examples as f64 / seconds.max(1e-9);
        let left = clock(seconds / done as f64 * (self.total - done) as f64);
        self.draw(&format!(
            "epoch {}/{}  {figures}{}  {rate:.0}/s  {left} left",
            epoch + 1,
            self.epochs,
            self.last
        ));
    }

    /// After each epoch.
    pub fn epoch(&mut self, report: &Report<'_>) {
        self.last = report
            .validation
            .as_ref()
            .map(|validation| format!("  validation {:.5}", validation[0]))
            .unwrap_or_default();
        self.last.extend(
            report
                .metrics
                .iter()
                .map(|(name, value)| format!("  {name} {value:.5}")),
        );
    }

    /// Removes the line, before something else is said.
    pub fn clear(&mut self) {
        if self.shown && self.drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    /// Removes the line at the end.
    pub fn finish(mut self) {
        self.clear();
    }

    fn draw(&mut self, line: &str) {
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush());
        self.drawn = Some(Instant::now());
    }
}

/// `1:05`, `2:03:07`.
fn clock(seconds: f64) -> String {
    let all = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock(0.2), "0:00");
        assert_eq!(clock(65.0), "1:05");
        assert_eq!(clock(7387.0), "2:03:07");
    }

    #[test]
    fn a_report_names_its_figures() {
        let parts: Vec<Name> = vec!["rec".into()];
        let report = Report {
            epoch: 0,
            steps: 5,
            means: vec![3.0, 1.0],
            parts: &parts,
            validation: Some(vec![4.0, 2.0]),
            metrics: vec![("accuracy".into(), 0.5)],
        };
        let names: Vec<String> = report.figures().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["loss", "rec", "validation", "validation_rec", "accuracy"]
        );
        assert_eq!(
            report
                .record(Elem::F32)
                .field("epoch")
                .and_then(Value::as_int),
            Some(1)
        );
    }
}
