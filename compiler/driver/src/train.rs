//! The training loop. Weights and optimizer state stay inside one instance of the compiled step;
//! each step only fills in the batch. The epoch's order, the draws and so every bit of the
//! result follow from the seed.

use crate::checkpoint::State;
use crate::evaluate::{Evaluator, Means, bad};
use crate::exec::{Failure, Instance, elements};
use crate::feed::{Batch, DataSet, batch_size};
use crate::history;
use crate::progress::{Progress, Report, in_words, say};
use crate::session::{OPTIMIZERS, Result, World};
use crate::settings::{self, Length, Settings};
use crate::trainlog::TrainLog;
use aec_runtime::pages;
use aec_runtime::pool::Pool;
use aec_runtime::{Tensor, shuffle};
use aec_syntax::ast::Name;
use aec_syntax::{Diagnostic, Span};
use aec_types::value::{History, Repr, Tensor as TensorValue};
use aec_types::{
    BatchSize, Elaborator, TrainRequest, Value, leaves, settled, train_sets, with_leaves,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Least size of a batch that is only evaluated.
const EVALUATE: usize = 256;

/// Bytes of a step's memory from which on it is worth asking that the system has back what only its
/// beginning needed.
const MUCH: usize = 4 << 20;

/// Compiled steps of a training, one for each size of batch; the weights live in one of them.
struct Steps<'a> {
    world: &'a World,
    /// Once an instance holds the weights, the model has only their types.
    request: TrainRequest,
    optimizer: &'a Value,
    /// The optimizer's first state, of which only the types stay, too.
    state: Value,
    /// Threads, if the training has its own.
    pool: Option<Arc<Pool>>,
    /// By the size of each set's batch.
    ready: Vec<(Vec<BatchSize>, Instance)>,
    /// Weight of each set in the objective.
    set_weights: Vec<f64>,
    /// Model leaves and state leaves: inputs `0..kept` of each instance.
    kept: usize,
    model_leaves: usize,
    parts: Vec<Name>,
    /// Index into `ready` of the instance that holds the weights.
    holder: Option<usize>,
    /// What a checkpoint says the kept leaves are.
    start: Option<Vec<Arc<Tensor>>>,
}

impl Steps<'_> {
    /// The instance for a size of batch, weights moved into it.
    fn prepare(
        &mut self,
        elaborator: &mut Elaborator,
        sizes: &[BatchSize],
        seed: u64,
    ) -> Result<usize> {
        let at = match self.ready.iter().position(|(ready, _)| ready == sizes) {
            Some(at) => at,
            None => {
                let batches: Vec<(BatchSize, f64)> = sizes
                    .iter()
                    .copied()
                    .zip(self.set_weights.iter().copied())
                    .collect();
                let step = self.world.compiler.timed("trace", || {
                    elaborator.trace_train_step(
                        &self.request,
                        self.optimizer,
                        &self.state,
                        &batches,
                    )
                })?;
                self.kept = step.model_leaves + step.state_leaves;
                self.model_leaves = step.model_leaves;
                self.parts = step.parts;
                let constants = step.function.params.len() - step.constants.len();
                let program = self
                    .world
                    .compiler
                    .compile(step.function, self.request.span)?;
                let mut instance = program.instance(self.pool.clone());
                instance.set_int(self.kept, seed as i64);
                for (at, constant) in step.constants.iter().enumerate() {
                    instance.set_input(constants + at, constant);
                }
                self.ready.push((sizes.to_vec(), instance));
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
            None if self.start.is_some() => {
                let start = self.start.iter().flatten();
                for (place, tensor) in start.enumerate().take(self.kept) {
                    self.ready[at].1.set_input(place, tensor);
                }
            }
            None => {
                let start = leaves(&self.request.model)
                    .into_iter()
                    .filter(|leaf| leaf.changes);
                for (place, leaf) in start.chain(leaves(&self.state)).enumerate().take(self.kept) {
                    if let Some(tensor) = elements(&leaf.tensor) {
                        self.ready[at].1.set_first_input(place, &tensor);
                    }
                }
            }
        }
        if self.holder.is_none() {
            self.request.model = without_elements(&self.request.model, true);
            self.state = without_elements(&self.state, false);
            self.start = None;
            if self.ready[at].1.memory_bytes() >= MUCH {
                pages::give_back();
            }
        }
        self.holder = Some(at);
        Ok(at)
    }

    /// Copies of the model leaves that training changes.
    fn weights(&self) -> Vec<Arc<Tensor>> {
        match self.holder {
            Some(at) => {
                let instance = &self.ready[at].1;
                (0..self.model_leaves)
                    .map(|leaf| Arc::new(instance.input(leaf)))
                    .collect()
            }
            None => {
                let trained = leaves(&self.request.model)
                    .into_iter()
                    .filter(|leaf| leaf.changes);
                match &self.start {
                    Some(start) => start.iter().take(trained.count()).cloned().collect(),
                    None => trained.filter_map(|leaf| elements(&leaf.tensor)).collect(),
                }
            }
        }
    }

    /// Copies of model and optimizer state.
    fn kept(&self) -> Vec<Arc<Tensor>> {
        let Some(at) = self.holder else {
            return self.start.clone().unwrap_or_default();
        };
        let instance = &self.ready[at].1;
        (0..self.kept)
            .map(|leaf| Arc::new(instance.input(leaf)))
            .collect()
    }

    /// The model with the weights as they are now.
    fn model(&self) -> Value {
        rebuild(&self.request.model, self.weights())
    }

    /// [`Steps::model`] after the last step; the weights are copied when the optimizer's state is gone.
    fn trained(mut self) -> Value {
        let weights = match self.holder {
            Some(at) => {
                let (_, instance) = self.ready.swap_remove(at);
                let weights = instance.into_inputs(self.model_leaves);
                weights.into_iter().map(Arc::new).collect()
            }
            None => self.weights(),
        };
        rebuild(&self.request.model, weights)
    }
}

/// The same value with the types of its tensors alone, so that the elements are in memory once;
/// with `changing_only` frozen models keep theirs.
fn without_elements(value: &Value, changing_only: bool) -> Value {
    let leaves = leaves(value)
        .into_iter()
        .filter(|leaf| leaf.changes || !changing_only);
    let mut types = leaves.map(|leaf| match leaf.tensor {
        Value::Tensor(tensor) => Value::Tensor(TensorValue {
            ty: tensor.ty,
            repr: Repr::Unknown,
        }),
        other => other,
    });
    with_leaves(value, &mut types, changing_only)
}

fn rebuild(model: &Value, weights: Vec<Arc<Tensor>>) -> Value {
    let weights = &mut weights.into_iter().map(Value::shared);
    settled(&with_leaves(model, weights, true))
}

/// Trains as `request` says and gives the trained model. An interrupted training gives the
/// weights so far.
pub fn train(world: &World, elaborator: &mut Elaborator, request: TrainRequest) -> Result<Value> {
    let settings = Settings::read(&request, world.options.seed)?;
    let mut sets = Vec::new();
    for set in train_sets(&request.data) {
        let data = DataSet::of(&set.data, request.data_span, "training data")?;
        let batch = settings.batch.rows(&set.member, data.len);
        sets.push(Source {
            name: set.member,
            size: batch_size(data.len, batch),
            data,
            pass: None,
            coming: VecDeque::new(),
            asked: 0,
        });
    }
    check_names(&settings, &sets, request.span)?;
    // An epoch is one pass over the set that needs most batches; the others cycle (M5).
    let per_epoch = sets.iter().map(Source::batches).max().unwrap_or(1);
    let batch = sets.iter().map(|set| set.size.room).max().unwrap_or(1);
    let rows_total: usize = sets.iter().map(|set| set.data.len).sum();
    let set_weights: Vec<f64> = sets
        .iter()
        .map(|set| {
            let given = settings
                .weights
                .iter()
                .find(|(name, _)| **name == *set.name);
            given.map_or(set.data.len as f64 / rows_total as f64, |(_, weight)| {
                *weight
            })
        })
        .collect();
    let sizes: Vec<BatchSize> = sets.iter().map(|set| set.size).collect();
    let batches: Vec<(BatchSize, f64)> = sizes
        .iter()
        .copied()
        .zip(set_weights.iter().copied())
        .collect();
    let given: Vec<(Name, Span)> = request
        .settings
        .iter()
        .map(|(name, span, _)| (name.clone(), *span))
        .collect();
    let whole = request.span;
    let at = |setting: &str| {
        let given = given.iter().find(|(name, _)| **name == *setting);
        given.map_or(whole, |(_, span)| *span)
    };
    let request = TrainRequest {
        model: elaborator.with_started_averages(&request, &batches)?,
        settings: Vec::new(),
        ..request
    };
    let optimizer = optimizer(elaborator, &settings, &at)?;
    let state = elaborator.init_optimizer(&optimizer, &request.model, at("optimizer"))?;
    let (epochs, total) = match settings.length {
        Length::Epochs(epochs) => (epochs, epochs * per_epoch),
        Length::Steps(steps) => (steps.div_ceil(per_epoch), steps),
    };
    let bench = world.options.bench.as_deref();
    let (epochs, total) = match bench {
        Some(clock) => (clock.most().div_ceil(per_epoch), clock.most()),
        None => (epochs, total),
    };
    let what = describe(&request, &sets, settings.seed);
    let mut steps = Steps {
        world,
        request,
        optimizer: &optimizer,
        state,
        pool: settings.threads.map(|threads| Arc::new(Pool::new(threads))),
        ready: Vec::new(),
        set_weights,
        kept: 0,
        model_leaves: 0,
        parts: Vec::new(),
        holder: None,
        start: None,
    };
    if world.options.dry {
        steps.prepare(elaborator, &sizes, settings.seed)?;
        let figures = unknown_figures(&settings, &steps.parts);
        let words = String::new();
        return Ok(history::remember(steps.model(), History { words, figures }));
    }
    let mut evaluator = match &settings.validate {
        Some((data, span)) => Some(Evaluator::new(
            data,
            batch.max(EVALUATE),
            settings.seed,
            *span,
        )?),
        None => None,
    };
    let mut progress = Progress::new(world.options.progress, epochs, total);
    let mut best: Option<(f64, Vec<Arc<Tensor>>)> = None;
    let mut waited = 0;
    let mut done = 0;
    let mut first_epoch = 0;
    let mut figures = history::Figures::new();
    if let Some(checkpoint) = &settings.checkpoint
        && let Some(state) = checkpoint.load(&what)?
    {
        (first_epoch, done, waited, best) = (state.epoch, state.done, state.waited, state.best);
        figures = state.figures;
        steps.start = Some(state.kept);
        if settings
            .early_stop
            .is_some_and(|patience| waited >= patience)
        {
            first_epoch = epochs;
        }
    }
    let past = figures.first().map_or(0, |(_, values)| values.len());
    let first_logged = past.min(first_epoch);
    let mut logs = Vec::new();
    for (path, span) in &settings.log {
        let mut log = TrainLog::create(path, *span)?;
        for epoch in 0..first_logged {
            log.write(epoch, &history::epoch(&figures, epoch))?;
        }
        logs.push(log);
    }
    let mut interrupted = false;
    let mut words = match history::epoch(&figures, past.wrapping_sub(1)) {
        last if last.is_empty() => String::new(),
        last => in_words(past, done, settings.seed, &last),
    };
    'epochs: for epoch in first_epoch..epochs {
        let mut means = Means::default();
        let turns = per_epoch.min(total - done);
        for turn in 0..turns {
            let batches: Vec<Batch> = sets
                .iter_mut()
                .map(|set| set.next(epoch, turn, turns, &settings))
                .collect();
            let sizes: Vec<BatchSize> = batches.iter().map(Batch::size).collect();
            let examples: usize = batches.iter().map(|batch| batch.examples).sum();
            let at = steps.prepare(elaborator, &sizes, settings.seed)?;
            let (kept, parts) = (steps.kept, steps.parts.len());
            let instance = &mut steps.ready[at].1;
            let started = Instant::now();
            instance.set_int(kept + 1, done as i64);
            let mut first = kept + 2;
            for (set, batch) in sets.iter_mut().zip(&batches) {
                first = set.data.fill(batch, instance, first)?;
            }
            let ran = world.compiler.timed("run", || match bench {
                Some(clock) => clock.run(instance),
                None => instance.run(),
            });
            if let Err(failure) = ran {
                progress.clear();
                let failed = Failed {
                    failure,
                    instance: &steps.ready[at].1,
                    sets: &sets,
                    batches: &batches,
                };
                return Err(failed.blame(&steps.request, epoch, done, world));
            }
            if let Some(clock) = bench
                && clock.step(started.elapsed(), instance.output_scalar(kept))
            {
                return Ok(steps.trained());
            }
            let figures = (0..=parts).map(|figure| instance.output_scalar(kept + figure));
            means.add(figures, examples);
            done += 1;
            progress.step(epoch, done, examples, &means.get(), &steps.parts);
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
        let validation = match (&settings.validate, &mut evaluator) {
            (Some((data, _)), Some(evaluator)) => {
                Some(evaluator.evaluate(world, elaborator, &steps.model(), data)?)
            }
            _ => None,
        };
        let metrics = match &settings.validate {
            Some((data, _)) if !settings.metrics.is_empty() => {
                let model = steps.model();
                crate::effects::eval::metrics(elaborator, &model, &settings.metrics, data, whole)?
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
        words = in_words(epoch + 1, done, settings.seed, &report.figures());
        history::add(&mut figures, report.figures());
        for log in &mut logs {
            log.write(epoch, &report.figures())?;
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
        if let Some(checkpoint) = &settings.checkpoint
            && (epoch + 1) % checkpoint.every == 0
            && epoch + 1 < epochs
        {
            let state = State {
                epoch: epoch + 1,
                done,
                waited,
                kept: steps.kept(),
                best: best.clone(),
                figures: figures.clone(),
            };
            checkpoint.save(&state, &what)?;
        }
    }
    if let Some(checkpoint) = &settings.checkpoint
        && !interrupted
        && steps.holder.is_some()
    {
        let state = State {
            epoch: epochs,
            done,
            waited,
            kept: steps.kept(),
            best: best.clone(),
            figures: figures.clone(),
        };
        checkpoint.save(&state, &what)?;
    }
    progress.finish();
    if interrupted {
        world.note_interrupted_training();
    }
    let model = match best {
        Some((_, weights)) if !interrupted => rebuild(&steps.request.model, weights),
        _ => steps.trained(),
    };
    Ok(match figures.is_empty() {
        true => model,
        false => history::remember(model, History { words, figures }),
    })
}

/// The figures of a training that was compiled and not run: those that it would have, of one epoch.
fn unknown_figures(settings: &Settings, parts: &[Name]) -> history::Figures {
    let means = vec![f64::NAN; 1 + parts.len()];
    let metric = |member: &Value| match member {
        Value::Fn(closure) => Some((closure.name.clone(), f64::NAN)),
        Value::Str(name) => Some((name.clone(), f64::NAN)),
        _ => None,
    };
    let validated = settings.validate.is_some();
    let report = Report {
        epoch: 0,
        steps: 0,
        validation: validated.then(|| means.clone()),
        metrics: match validated {
            true => settings.metrics.iter().filter_map(metric).collect(),
            false => Vec::new(),
        },
        means,
        parts,
    };
    let mut figures = history::Figures::new();
    history::add(&mut figures, report.figures());
    figures
}

/// What two runs must agree in for one to continue the other.
fn describe(request: &TrainRequest, sets: &[Source], seed: u64) -> String {
    let leaves: Vec<String> = leaves(&request.model)
        .iter()
        .filter_map(|leaf| elements(&leaf.tensor).map(|tensor| (leaf, tensor)))
        .map(|(leaf, tensor)| format!("{} {:?}", leaf.path, tensor.dims()))
        .collect();
    let sets: Vec<String> = sets
        .iter()
        .map(|set| format!("{} of {} by {}", set.name, set.data.len, set.size.room))
        .collect();
    format!("{}; {}; seed {seed}", leaves.join(", "), sets.join(", "))
}

/// A data set that is trained on, and where its current pass stands.
struct Source {
    /// The member that is its loss.
    name: Name,
    data: DataSet,
    /// Examples in a step.
    size: BatchSize,
    /// Number and order of the current pass.
    pass: Option<(usize, Vec<usize>)>,
    /// Batches of this epoch that were asked for and not yet used.
    coming: VecDeque<Batch>,
    /// How many of this epoch were asked for.
    asked: usize,
}

impl Source {
    /// Batches of one pass.
    fn batches(&self) -> usize {
        self.data.len.div_ceil(self.size.room)
    }

    /// The examples of the next step of an epoch of so many steps; the ones after it are asked for.
    fn next(&mut self, epoch: usize, turn: usize, turns: usize, settings: &Settings) -> Batch {
        if turn == 0 {
            self.coming.clear();
            self.asked = 0;
        }
        let ahead = self.data.ahead(self.size.room);
        while self.asked <= (turn + ahead).min(turns - 1) {
            let size = self.size;
            let batch = Batch::of(self.rows(epoch, self.asked, settings), size);
            self.data.ask(&batch);
            self.coming.push_back(batch);
            self.asked += 1;
        }
        let first = self.coming.pop_front();
        first.unwrap_or_else(|| Batch::of(&[], self.size))
    }

    /// The examples of a step of an epoch. Passes are counted within the epoch and seeded by it,
    /// so that the set that sets the pace is shuffled by the epoch alone.
    fn rows(&mut self, epoch: usize, turn: usize, settings: &Settings) -> &[usize] {
        let batches = self.batches();
        let pass = turn / batches;
        let number = epoch.wrapping_mul(1 << 20).wrapping_add(pass);
        if self.pass.as_ref().is_none_or(|(known, _)| *known != number) {
            let key = if pass == 0 { epoch } else { number };
            let order = match settings.shuffle {
                true => shuffle::permutation(self.data.len, settings.seed, key as u64),
                false => (0..self.data.len).collect(),
            };
            self.pass = Some((number, order));
        }
        let start = (turn % batches) * self.size.room;
        let end = (start + self.size.room).min(self.data.len);
        self.pass
            .as_ref()
            .map_or(&[], |(_, order)| &order[start..end])
    }
}

/// Settings that name data sets must name ones that there are.
fn check_names(settings: &Settings, sets: &[Source], span: Span) -> Result<()> {
    let batches: Vec<&String> = match &settings.batch {
        settings::Batch::Each(each) => each.iter().map(|(name, _)| name).collect(),
        settings::Batch::Rows(_) | settings::Batch::All => Vec::new(),
    };
    let named = batches
        .into_iter()
        .chain(settings.weights.iter().map(|(name, _)| name));
    for name in named {
        if !sets.iter().any(|set| *set.name == **name) {
            let known: Vec<&str> = sets.iter().map(|set| &*set.name).collect();
            return Err(bad(
                span,
                format!(
                    "there is no data set `{name}` here; there is {}",
                    known.join(", ")
                ),
            ));
        }
    }
    Ok(())
}

/// The optimizer asked for, or `adam(1e-3)` of the library; with the gradient clipped if asked.
/// `at` is the place of a setting.
fn optimizer(
    elaborator: &mut Elaborator,
    settings: &Settings,
    at: &dyn Fn(&str) -> Span,
) -> Result<Value> {
    let span = at("optimizer");
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
        Some(_) if plain.field("update").is_none() => Err(Box::new(
            Diagnostic::error(
                "E0804",
                at("clip"),
                "`clip` shortens gradients, but this optimizer takes its steps by itself",
            )
            .help("leave `clip` away, or choose an optimizer with an `update`, such as `optim.adam()`"),
        )),
        Some(length) => elaborator.call(&member("clip_norm")?, &[plain, length.clone()], span),
        None => Ok(plain),
    }
}

/// A step that failed.
struct Failed<'a> {
    failure: Failure,
    instance: &'a Instance,
    sets: &'a [Source],
    batches: &'a [Batch],
}

impl Failed<'_> {
    /// An example of the step whose own numbers are not finite.
    fn example_not_finite(&self) -> Option<usize> {
        let steps = self.sets.iter().zip(self.batches);
        steps
            .filter_map(|(set, batch)| set.data.not_finite(batch.rows()))
            .next()
    }

    /// Names the epoch and the step, or the example, of a failure; the span is the loss's own.
    fn blame(
        self,
        request: &TrainRequest,
        epoch: usize,
        step: usize,
        world: &World,
    ) -> Box<Diagnostic> {
        match self.failure {
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
                .help(match self.example_not_finite() {
                    Some(example) => format!(
                        "example {example} of the data already holds a number that is NaN or infinite, as a column \
                         divided by its spread of 0 does; `data.standardize` leaves such a column at 0"
                    ),
                    None => "a smaller learning rate, or `clip`, or a loss that stays finite (`bce_logits` for `bce`) \
                             may help"
                        .into(),
                });
                let place = world.locate(at);
                if !place.is_empty() {
                    diagnostic.labels[0].text = "computed here".into();
                }
                Box::new(diagnostic)
            }
            Failure::Check { .. }
            | Failure::Matrix { .. }
            | Failure::Interrupted
            | Failure::Internal(_) => {
                let names: Vec<String> = match self.sets {
                    [_] => vec!["the data".into()],
                    sets => sets.iter().map(|set| format!("`{}`", set.name)).collect(),
                };
                let rows = self.batches.iter().map(Batch::rows);
                let rows: Vec<(&[usize], &str)> =
                    rows.zip(names.iter().map(String::as_str)).collect();
                self.instance.diagnostic(self.failure, &rows, request.span)
            }
        }
    }
}
