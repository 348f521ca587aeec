//! The training loop. Weights and optimizer state stay inside one instance of the compiled step;
//! each step only fills in the batch. The epoch's order, the draws and so every bit of the
//! result follow from the seed.

use crate::exec::{Failure, Instance, elements};
use crate::progress::{Progress, Report, say};
use crate::session::{OPTIMIZERS, Result, World};
use crate::settings::{Batch, Length, Settings};
use crate::trainlog::TrainLog;
use aec_runtime::pool::Pool;
use aec_runtime::{Tensor, interrupt, shuffle};
use aec_syntax::ast::Name;
use aec_syntax::{Diagnostic, Span};
use aec_types::{Elaborator, TrainRequest, Value, leaves, with_leaves};
use std::sync::Arc;
use std::time::Instant;

/// Inputs of a step between what it keeps and the data: seed, step, indices of the examples.
const KEYS: usize = 3;

/// The tensors of a data set and its number of examples.
pub(crate) struct DataSet {
    leaves: Vec<Arc<Tensor>>,
    /// Number of examples.
    pub(crate) len: usize,
}

impl DataSet {
    /// Every tensor of `data` has the examples as its first axis.
    pub(crate) fn of(data: &Value, span: Span, what: &str) -> Result<DataSet> {
        let mut tensors = Vec::new();
        for leaf in leaves(data) {
            match elements(&leaf.tensor) {
                Some(tensor) => tensors.push(tensor),
                None => return Err(bad(span, format!("the {what} is not in memory"))),
            }
        }
        let Some(first) = tensors.first() else {
            return Err(bad(
                span,
                format!(
                    "the {what} must be a tensor or a tuple of tensors, not {}",
                    data.describe()
                ),
            ));
        };
        let Some(&len) = first.dims().first() else {
            return Err(bad(
                span,
                format!("the {what} is one number; it needs an axis of examples"),
            ));
        };
        for other in &tensors {
            if other.dims().first() != Some(&len) {
                let sizes: Vec<String> = tensors
                    .iter()
                    .map(|tensor| {
                        tensor
                            .dims()
                            .first()
                            .map_or("none".into(), usize::to_string)
                    })
                    .collect();
                return Err(bad(
                    span,
                    format!(
                        "the parts of the {what} have different numbers of examples: {}",
                        sizes.join(" and ")
                    ),
                ));
            }
        }
        if len == 0 {
            return Err(bad(span, format!("the {what} has no examples")));
        }
        Ok(DataSet {
            leaves: tensors,
            len,
        })
    }

    /// Writes a batch's indices and rows into the inputs that start at `first`.
    fn fill(&self, rows: &[usize], instance: &mut Instance, first: usize) {
        instance.set_ints(first, &[rows.len()], rows.iter().map(|&row| row as i64));
        for (at, leaf) in self.leaves.iter().enumerate() {
            instance.set_rows(first + 1 + at, leaf, rows);
        }
    }
}

fn bad(span: Span, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("E0803", span, message))
}

/// Compiled steps of a training, one for each size of batch; the weights live in one of them.
struct Steps<'a> {
    world: &'a World,
    request: &'a TrainRequest,
    optimizer: &'a Value,
    state: &'a Value,
    /// Threads, if the training has its own.
    pool: Option<Arc<Pool>>,
    ready: Vec<(usize, Instance)>,
    /// Model leaves and state leaves: inputs `0..kept` of each instance.
    kept: usize,
    model_leaves: usize,
    data_leaves: usize,
    parts: Vec<Name>,
    /// Index into `ready` of the instance that holds the weights.
    holder: Option<usize>,
}

impl Steps<'_> {
    /// The instance for a size of batch, weights moved into it.
    fn prepare(&mut self, elaborator: &mut Elaborator, batch: usize, seed: u64) -> Result<usize> {
        let at = match self.ready.iter().position(|&(size, _)| size == batch) {
            Some(at) => at,
            None => {
                let step = self.world.compiler.timed("trace", || {
                    elaborator.trace_train_step(self.request, self.optimizer, self.state, batch)
                })?;
                self.kept = step.model_leaves + step.state_leaves;
                self.model_leaves = step.model_leaves;
                self.parts = step.parts;
                let program = self
                    .world
                    .compiler
                    .compile(step.function, self.request.span)?;
                let mut instance = program.instance(self.pool.clone());
                instance.set_int(self.kept, seed as i64);
                for (at, constant) in step.constants.iter().enumerate() {
                    instance.set_input(self.kept + KEYS + self.data_leaves + at, constant);
                }
                self.ready.push((batch, instance));
                self.ready.len() - 1
            }
        };
        match self.holder {
            Some(holder) if holder != at => {
                for leaf in 0..self.kept {
                    let tensor = self.ready[holder].1.input(leaf);
                    self.ready[at].1.set_input(leaf, &tensor);
                }
            }
            Some(_) => {}
            None => {
                let start = leaves(&self.request.model)
                    .into_iter()
                    .filter(|leaf| leaf.trained);
                for (place, leaf) in start.chain(leaves(self.state)).enumerate().take(self.kept) {
                    if let Some(tensor) = elements(&leaf.tensor) {
                        self.ready[at].1.set_input(place, &tensor);
                    }
                }
            }
        }
        self.holder = Some(at);
        Ok(at)
    }

    /// Copies of the trained weights.
    fn weights(&self) -> Vec<Arc<Tensor>> {
        match self.holder {
            Some(at) => {
                let instance = &self.ready[at].1;
                (0..self.model_leaves)
                    .map(|leaf| Arc::new(instance.input(leaf)))
                    .collect()
            }
            None => leaves(&self.request.model)
                .into_iter()
                .filter(|leaf| leaf.trained)
                .filter_map(|leaf| elements(&leaf.tensor))
                .collect(),
        }
    }

    /// The model with the weights as they are now.
    fn model(&self) -> Value {
        rebuild(&self.request.model, self.weights())
    }
}

fn rebuild(model: &Value, weights: Vec<Arc<Tensor>>) -> Value {
    with_leaves(model, &mut weights.into_iter().map(Value::shared), true)
}

/// Means over an epoch: the loss, then its parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Means {
    sums: Vec<f64>,
    examples: usize,
}

impl Means {
    pub(crate) fn add(&mut self, values: impl Iterator<Item = f64>, weight: f64, examples: usize) {
        for (at, value) in values.enumerate() {
            if at == self.sums.len() {
                self.sums.push(0.0);
            }
            self.sums[at] += value * weight;
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

/// Trains as `request` says and gives the trained model. An interrupted training gives the
/// weights so far.
pub fn train(world: &World, elaborator: &mut Elaborator, request: &TrainRequest) -> Result<Value> {
    let settings = Settings::read(request, world.options.seed)?;
    let data = DataSet::of(&request.data, request.data_span, "training data")?;
    let optimizer = optimizer(elaborator, &settings, request.span)?;
    let state = elaborator.init_optimizer(&optimizer, &request.model, request.span)?;
    let batch = match settings.batch {
        Batch::Rows(rows) => rows.min(data.len),
        Batch::All => data.len,
    };
    let per_epoch = data.len.div_ceil(batch);
    let (epochs, total) = match settings.length {
        Length::Epochs(epochs) => (epochs, epochs * per_epoch),
        Length::Steps(steps) => (steps.div_ceil(per_epoch), steps),
    };
    let bench = world.options.bench.as_deref();
    let (epochs, total) = match bench {
        Some(clock) => (clock.most().div_ceil(per_epoch), clock.most()),
        None => (epochs, total),
    };
    let mut steps = Steps {
        world,
        request,
        optimizer: &optimizer,
        state: &state,
        pool: settings.threads.map(|threads| Arc::new(Pool::new(threads))),
        ready: Vec::new(),
        kept: 0,
        model_leaves: 0,
        data_leaves: data.leaves.len(),
        parts: Vec::new(),
        holder: None,
    };
    if world.options.dry {
        steps.prepare(elaborator, batch, settings.seed)?;
        return Ok(steps.model());
    }
    let mut log = match &settings.log {
        Some((path, span)) => Some(TrainLog::create(path, *span)?),
        None => None,
    };
    let mut progress = Progress::new(world.options.progress, epochs, total);
    let mut best: Option<(f64, Vec<Arc<Tensor>>)> = None;
    let mut waited = 0;
    let mut done = 0;
    let mut interrupted = false;
    'epochs: for epoch in 0..epochs {
        let order = match settings.shuffle {
            true => shuffle::permutation(data.len, settings.seed, epoch as u64),
            false => (0..data.len).collect(),
        };
        let mut means = Means::default();
        for rows in order.chunks(batch).take(total - done) {
            let at = steps.prepare(elaborator, rows.len(), settings.seed)?;
            let (kept, parts) = (steps.kept, steps.parts.len());
            let instance = &mut steps.ready[at].1;
            let started = Instant::now();
            instance.set_int(kept + 1, done as i64);
            data.fill(rows, instance, kept + 2);
            let ran = world.compiler.timed("run", || instance.run());
            if let Err(failure) = ran {
                progress.clear();
                return Err(blame(failure, request, epoch, done, world));
            }
            if let Some(clock) = bench
                && clock.step(started.elapsed(), instance.output_scalar(kept))
            {
                return Ok(steps.model());
            }
            let figures = (0..=parts).map(|figure| instance.output_scalar(kept + figure));
            means.add(figures, rows.len() as f64, rows.len());
            done += 1;
            progress.step(epoch, done, rows.len(), &means.get(), &steps.parts);
            if world.take_interrupt() {
                interrupted = true;
                progress.clear();
                say(&format!(
                    "interrupted in epoch {} after step {done}; the weights so far are kept",
                    epoch + 1
                ));
                break 'epochs;
            }
        }
        let validation = match &settings.validate {
            Some((data, span)) => {
                let model = steps.model();
                Some(evaluate(world, elaborator, &model, data, batch, settings.seed, *span)?.0)
            }
            None => None,
        };
        let metrics = match &settings.validate {
            Some((data, _)) if !settings.metrics.is_empty() => {
                let model = steps.model();
                crate::effects::eval::metrics(
                    elaborator,
                    &model,
                    &settings.metrics,
                    data,
                    request.span,
                )?
            }
            _ => Vec::new(),
        };
        let report = Report {
            epoch,
            steps: done,
            means: means.get(),
            parts: &steps.parts,
            validation,
            metrics,
        };
        progress.epoch(&report);
        if let Some(log) = &mut log {
            log.write(&report)?;
        }
        if let Some((callback, span)) = &settings.on_epoch {
            let float = elaborator.float();
            elaborator.call(callback, &[steps.model(), report.record(float)], *span)?;
        }
        if let Some(patience) = settings.early_stop {
            let score = report.validation.as_ref().unwrap_or(&report.means)[0];
            if best.as_ref().is_none_or(|(known, _)| score < *known) {
                best = Some((score, steps.weights()));
                waited = 0;
            } else {
                waited += 1;
                if waited >= patience {
                    break 'epochs;
                }
            }
        }
    }
    progress.finish();
    if interrupted {
        world.note_interrupted_training();
    }
    Ok(match best {
        Some((_, weights)) if !interrupted => rebuild(&request.model, weights),
        _ => steps.model(),
    })
}

/// The optimizer asked for, or `adam(1e-3)` of the library; with the gradient clipped if asked.
fn optimizer(elaborator: &mut Elaborator, settings: &Settings, span: Span) -> Result<Value> {
    let library = match elaborator.lookup(OPTIMIZERS) {
        Some(Value::Module(module)) => module.scope.clone(),
        _ => {
            return Err(bad(
                span,
                "this is a bug in aec: the library has no optimizers".into(),
            ));
        }
    };
    let member = |name: &str| {
        let missing = || {
            bad(
                span,
                format!("this is a bug in aec: the library has no `optim.{name}`"),
            )
        };
        library.lookup(name).ok_or_else(missing)
    };
    let plain = match (&settings.optimizer, &settings.schedule) {
        (Some(optimizer), _) => optimizer.clone(),
        (None, Some(schedule)) => {
            elaborator.call(&member("adam")?, std::slice::from_ref(schedule), span)?
        }
        (None, None) => elaborator.call(&member("adam")?, &[], span)?,
    };
    match &settings.clip {
        Some(length) => elaborator.call(&member("clip_norm")?, &[plain, length.clone()], span),
        None => Ok(plain),
    }
}

/// Names the epoch and the step of a failure; the span is the loss's own.
fn blame(
    failure: Failure,
    request: &TrainRequest,
    epoch: usize,
    step: usize,
    world: &World,
) -> Box<Diagnostic> {
    match failure {
        Failure::NotFinite { span } => {
            let at = if span.is_none() { request.span } else { span };
            let message = format!(
                "the loss is not a finite number in epoch {}, step {}",
                epoch + 1,
                step + 1
            );
            let mut diagnostic = Diagnostic::error("E0801", at, message)
                .label(request.span, "in this training")
                .note("the weights were not changed by this step")
                .help("a smaller learning rate, or `clip`, or a loss that stays finite (`bce_logits` for `bce`) may help");
            let place = world.locate(at);
            if !place.is_empty() {
                diagnostic.labels[0].text = "computed here".into();
            }
            Box::new(diagnostic)
        }
        Failure::Check { .. } | Failure::Internal(_) => failure.diagnostic(request.span),
    }
}

/// Mean loss and parts of a model over a data set, with the parts' names.
pub(crate) fn evaluate(
    world: &World,
    elaborator: &mut Elaborator,
    model: &Value,
    data: &Value,
    batch: usize,
    seed: u64,
    span: Span,
) -> Result<(Vec<f64>, Vec<Name>)> {
    let set = DataSet::of(data, span, "data")?;
    let batch = batch.min(set.len);
    let weights: Vec<Arc<Tensor>> = leaves(model)
        .iter()
        .filter_map(|leaf| elements(&leaf.tensor))
        .collect();
    let mut means = Means::default();
    let mut parts = Vec::new();
    let mut ready: Option<(usize, Instance)> = None;
    let rows: Vec<usize> = (0..set.len).collect();
    for rows in rows.chunks(batch) {
        let instance = match &mut ready {
            Some((size, instance)) if *size == rows.len() => instance,
            _ => {
                let step = elaborator.trace_eval(model, data, rows.len(), span)?;
                parts = step.parts;
                let mut instance = world.compiler.compile(step.function, span)?.instance(None);
                for (at, weight) in weights.iter().enumerate() {
                    instance.set_input(at, weight);
                }
                for (at, constant) in step.constants.iter().enumerate() {
                    instance.set_input(weights.len() + KEYS + set.leaves.len() + at, constant);
                }
                instance.set_int(weights.len(), seed as i64);
                instance.set_int(weights.len() + 1, 0);
                &mut ready.insert((rows.len(), instance)).1
            }
        };
        set.fill(rows, instance, weights.len() + 2);
        world
            .compiler
            .timed("run", || instance.run())
            .map_err(|failure| failure.diagnostic(span))?;
        let sums = (0..=parts.len()).map(|figure| instance.output_scalar(figure));
        means.add(sums, 1.0, rows.len());
        if interrupt::requested() {
            break;
        }
    }
    Ok((means.get(), parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aec_runtime::Elem;

    #[test]
    fn the_last_batch_counts_by_its_size() {
        let mut means = Means::default();
        means.add([1.0, 10.0].into_iter(), 3.0, 3);
        means.add([5.0, 2.0].into_iter(), 1.0, 1);
        assert_eq!(means.get(), [2.0, 8.0]);
    }

    #[test]
    fn data_must_agree_on_its_examples() {
        let x = Value::concrete(Tensor::zeros(Elem::F32, &[3, 2]));
        let y = Value::concrete(Tensor::zeros(Elem::I64, &[4]));
        let both = Value::tuple(vec![x.clone(), y]);
        let error = DataSet::of(&both, Span::NONE, "training data")
            .err()
            .unwrap();
        assert!(error.message.contains("3 and 4"), "{}", error.message);
        assert_eq!(DataSet::of(&x, Span::NONE, "training data").unwrap().len, 3);
        assert!(DataSet::of(&Value::str("x"), Span::NONE, "data").is_err());
    }
}
