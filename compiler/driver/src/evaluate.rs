//! The loss of a model over a data set.

use crate::exec::{Instance, elements};
use crate::feed::{Batch, DataSet, batch_size};
use crate::session::{Result, World};
use aec_runtime::{Tensor, interrupt};
use aec_syntax::ast::Name;
use aec_syntax::{Diagnostic, Span};
use aec_types::{BatchSize, Elaborator, Value, leaves};
use std::sync::Arc;

/// An error about data.
pub(crate) fn bad(span: Span, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("E0803", span, message))
}

/// Means over an epoch: the loss, then its parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Means {
    sums: Vec<f64>,
    examples: usize,
}

impl Means {
    /// Means over so many examples more.
    pub(crate) fn add(&mut self, values: impl Iterator<Item = f64>, examples: usize) {
        for (at, value) in values.enumerate() {
            if at == self.sums.len() {
                self.sums.push(0.0);
            }
            self.sums[at] += value * examples as f64;
        }
        self.examples += examples;
    }

    pub(crate) fn get(&self) -> Vec<f64> {
        self.sums
            .iter()
            .map(|sum| sum / self.examples.max(1) as f64)
            .collect()
    }
}

/// Mean loss and parts of models of one type over one data set: compiled once, used after each
/// epoch.
pub(crate) struct Evaluator {
    set: DataSet,
    size: BatchSize,
    seed: u64,
    span: Span,
    ready: Vec<(BatchSize, Instance)>,
    /// Names of the loss's parts, once something was evaluated.
    pub(crate) parts: Vec<Name>,
}

impl Evaluator {
    /// For a data set in batches of at most so many examples. They are as equal as can be, so that
    /// few examples are missing in the last.
    pub(crate) fn new(data: &Value, most: usize, seed: u64, span: Span) -> Result<Evaluator> {
        let set = DataSet::of(data, span, "data")?;
        let batches = set.len.div_ceil(most);
        Ok(Evaluator {
            size: batch_size(set.len, set.len.div_ceil(batches)),
            set,
            seed,
            span,
            ready: Vec::new(),
            parts: Vec::new(),
        })
    }

    /// The instance for a size of batch, with the weights in it.
    fn prepare(
        &mut self,
        world: &World,
        elaborator: &mut Elaborator,
        (model, data): (&Value, &Value),
        size: BatchSize,
    ) -> Result<usize> {
        if let Some(at) = self.ready.iter().position(|&(ready, _)| ready == size) {
            return Ok(at);
        }
        let span = self.span;
        let step = world
            .compiler
            .timed("trace", || elaborator.trace_eval(model, data, size, span))?;
        let constants = step.function.params.len() - step.constants.len();
        let mut instance = world.compiler.compile(step.function, span)?.instance(None);
        instance.set_int(step.model_leaves, self.seed as i64);
        instance.set_int(step.model_leaves + 1, 0);
        for (at, constant) in step.constants.iter().enumerate() {
            instance.set_input(constants + at, constant);
        }
        self.parts = step.parts;
        self.ready.push((size, instance));
        Ok(self.ready.len() - 1)
    }

    /// Means of the loss and of its parts; `data` is the value that the set was made of.
    pub(crate) fn evaluate(
        &mut self,
        world: &World,
        elaborator: &mut Elaborator,
        model: &Value,
        data: &Value,
    ) -> Result<Vec<f64>> {
        let weights: Vec<Arc<Tensor>> = leaves(model)
            .iter()
            .filter_map(|leaf| elements(&leaf.tensor))
            .collect();
        let mut means = Means::default();
        let rows: Vec<usize> = (0..self.set.len).collect();
        let batches = rows.chunks(self.size.room);
        let batches: Vec<Batch> = batches.map(|rows| Batch::of(rows, self.size)).collect();
        let mut filled = None;
        let mut coming = batches.iter();
        let ahead = self.set.ahead(self.size.room);
        coming
            .by_ref()
            .take(ahead)
            .for_each(|batch| self.set.ask(batch));
        for batch in &batches {
            if ahead > 0
                && let Some(next) = coming.next()
            {
                self.set.ask(next);
            }
            let at = self.prepare(world, elaborator, (model, data), batch.size())?;
            let (span, parts) = (self.span, self.parts.len());
            let instance = &mut self.ready[at].1;
            if filled != Some(at) {
                for (place, weight) in weights.iter().enumerate() {
                    instance.set_input(place, weight);
                }
                filled = Some(at);
            }
            self.set.fill(batch, instance, weights.len() + 2)?;
            world
                .compiler
                .timed("run", || instance.run())
                .map_err(|failure| {
                    let rows = [(batch.rows(), "the data")];
                    instance.diagnostic(failure, &rows, span)
                })?;
            let figures = (0..=parts).map(|figure| instance.output_scalar(figure));
            means.add(figures, batch.examples);
            if interrupt::requested() {
                break;
            }
        }
        Ok(means.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_batch_counts_by_its_size() {
        let mut means = Means::default();
        means.add([1.0, 10.0].into_iter(), 3);
        means.add([5.0, 2.0].into_iter(), 1);
        assert_eq!(means.get(), [2.0, 8.0]);
    }
}
