//! Checkpoints of a training: all that a later run needs to continue to the same bits. They are
//! written between epochs, whole or not at all; the order of an epoch and its draws follow from
//! the seed and the step's number, so nothing of an epoch that was cut short is needed.

use crate::effects::{cannot_read, cannot_write};
use crate::evaluate::bad;
use crate::history::{self, Figures};
use crate::session::Result;
use aec_runtime::Tensor;
use aec_runtime::write::{load_weights, remove_leftovers, save_weights};
use aec_syntax::Span;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Version of the file's layout.
const FORMAT: &str = "1";

/// Where a training keeps its state, and how often.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The file.
    pub path: String,
    /// Epochs between two writes.
    pub every: usize,
    /// The setting, for messages.
    pub span: Span,
}

/// The state of a training between two epochs.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The epoch that comes next.
    pub(crate) epoch: usize,
    /// Steps done.
    pub(crate) done: usize,
    /// Epochs without improvement.
    pub(crate) waited: usize,
    /// Model leaves that training changes (weights and averages) and optimizer leaves.
    pub(crate) kept: Vec<Arc<Tensor>>,
    /// The best score so far and its model leaves.
    pub(crate) best: Option<(f64, Vec<Arc<Tensor>>)>,
    /// The figures of the epochs so far.
    pub(crate) figures: Figures,
}

impl Checkpoint {
    /// Writes the state. `what` describes the training: a run that differs in it can't continue.
    pub(crate) fn save(&self, state: &State, what: &str) -> Result<()> {
        let mut tensors: Vec<(String, &Tensor)> = Vec::new();
        for (at, tensor) in state.kept.iter().enumerate() {
            tensors.push((format!("kept.{at}"), tensor));
        }
        let mut metadata = BTreeMap::from([
            ("aec.checkpoint".to_string(), FORMAT.to_string()),
            ("training".to_string(), what.to_string()),
            ("epoch".to_string(), state.epoch.to_string()),
            ("done".to_string(), state.done.to_string()),
            ("waited".to_string(), state.waited.to_string()),
            ("figures".to_string(), history::text(&state.figures)),
        ]);
        if let Some((score, best)) = &state.best {
            metadata.insert("best".into(), score.to_bits().to_string());
            for (at, tensor) in best.iter().enumerate() {
                tensors.push((format!("best.{at}"), tensor));
            }
        }
        let named: Vec<(&str, &Tensor)> = tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), *tensor))
            .collect();
        save_weights(Path::new(&self.path), &named, &metadata)
            .map_err(|error| cannot_write(&self.path, &error, self.span))?;
        Ok(())
    }

    /// The state that an earlier run left, if there is a file.
    pub(crate) fn load(&self, what: &str) -> Result<Option<State>> {
        let path = Path::new(&self.path);
        remove_leftovers(path);
        if !path.exists() {
            return Ok(None);
        }
        let file =
            load_weights(path).map_err(|error| cannot_read(&self.path, &error, self.span))?;
        let text = |name: &str| file.metadata.get(name).cloned().unwrap_or_default();
        if text("aec.checkpoint") != FORMAT {
            return Err(bad(
                self.span,
                format!("{} is not a checkpoint of a training", self.path),
            ));
        }
        if text("training") != what {
            let mut error = bad(
                self.span,
                format!("{} is a checkpoint of another training", self.path),
            );
            *error = error
                .note(format!("it was made by: {}", text("training")))
                .note(format!("this one is: {what}"))
                .help("delete the file to start anew, or name another one");
            return Err(error);
        }
        let damaged = || {
            bad(
                self.span,
                format!("the checkpoint {} is damaged", self.path),
            )
        };
        let number = |name: &str| text(name).parse::<usize>().map_err(|_| damaged());
        let group = |name: &str| -> Vec<Arc<Tensor>> {
            (0..)
                .map_while(|at| file.get(&format!("{name}.{at}")))
                .map(|tensor| Arc::new(tensor.clone()))
                .collect()
        };
        let best = match file.metadata.get("best") {
            Some(bits) => {
                let bits: u64 = bits.parse().map_err(|_| damaged())?;
                Some((f64::from_bits(bits), group("best")))
            }
            None => None,
        };
        Ok(Some(State {
            epoch: number("epoch")?,
            done: number("done")?,
            waited: number("waited")?,
            kept: group("kept"),
            best,
            figures: history::parse(&text("figures")),
        }))
    }
}
