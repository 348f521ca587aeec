//! Tracing what a training or evaluation runs for a batch: the loss over the batch, its gradient,
//! the optimizer, as one TIR function.

use crate::builtins::TRAINING;
use crate::call::site_hash;
use crate::error::{fail, wanted};
use crate::leaves::{leaves, with_leaves};
use crate::objective::{BatchOf, BatchSize};
use crate::running::{Seen, live, with_kept};
use crate::trace::FrameKind;
use crate::train::{TrainRequest, TrainSet, concrete_leaves};
use crate::value::{Closure, Code, TensorType, Value};
use crate::{Activation, Elaborator, Result};
use aec_ir::{Guard, Type, Value as IrValue};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::Name;
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What `train` wants as its optimizer (SEMANTICS.md P7).
const OPTIMIZER: &str = "an optimizer (a record with `init`, and `update` or `step`)";

/// A traced training step.
///
/// Params of `function`, in order: the leaves of the model that training changes (weights and
/// averages), leaves of the optimizer's state,
/// `seed` (i64), `step` (i64), then for each set of examples its indices in the data set (i64
/// `[batch]`), their shares in the mean if the batch may be short (float `[batch]`, which sum to 1)
/// and the batch of each of its data leaves (`[batch, …]`), then `constants`. Results: the new
/// model leaves and the new state leaves (aliased to their params), the mean loss (float scalar,
/// guarded), then the parts of the loss.
pub struct TrainStep {
    /// The function.
    pub function: aec_ir::Function,
    /// Number of model leaves that training changes.
    pub model_leaves: usize,
    /// Number of state leaves.
    pub state_leaves: usize,
    /// Names of the loss's parts after the loss itself; empty for a plain loss.
    pub parts: Vec<Name>,
    /// Values of the last params: script tensors and frozen weights that the step uses.
    pub constants: Vec<Arc<HostTensor>>,
}

/// A traced evaluation of a loss over a batch.
///
/// Params: all leaves of the model, `seed`, `step`, the batch as in a [`TrainStep`], then
/// `constants`. Results: the mean of the losses over the batch, then of each part.
pub struct EvalStep {
    /// The function.
    pub function: aec_ir::Function,
    /// Number of model leaves.
    pub model_leaves: usize,
    /// Names of the loss's parts.
    pub parts: Vec<Name>,
    /// Values of the last params.
    pub constants: Vec<Arc<HostTensor>>,
}

/// What an optimizer made of a batch.
struct Stepped {
    model: Value,
    state: Value,
    /// The loss before the step, then its parts.
    figures: Vec<Value>,
    /// Names of the parts.
    names: Vec<Name>,
    seen: Vec<Seen>,
    /// Whether the loss can change with the model (`Differentiated::moves`).
    moves: bool,
}

impl Elaborator {
    /// `optimizer.init(model)`, in memory.
    pub fn init_optimizer(
        &mut self,
        optimizer: &Value,
        model: &Value,
        span: Span,
    ) -> Result<Value> {
        let steps = optimizer.field("update").or(optimizer.field("step"));
        let (Some(init), Some(_)) = (optimizer.field("init").cloned(), steps) else {
            return wanted(span, OPTIMIZER, optimizer)
                .map_err(|error| Box::new(self.explain_optimizer(*error, optimizer, span)));
        };
        let state = self.call(&init, std::slice::from_ref(model), span)?;
        Ok(concrete_leaves(&state))
    }

    /// Traces one training step: for each set of `train_sets` the size of its batch and the weight
    /// of its mean loss in the objective.
    pub fn trace_train_step(
        &mut self,
        request: &TrainRequest,
        optimizer: &Value,
        state: &Value,
        batches: &[(BatchSize, f64)],
    ) -> Result<TrainStep> {
        self.step_of_its_own(|elaborator| {
            elaborator.with_training(Value::bool(true), |elaborator| {
                elaborator.step(request, optimizer, state, batches)
            })
        })
    }

    /// The model of a training with a place for each average that its loss keeps: the loss is
    /// traced once to learn their shapes.
    pub fn with_started_averages(
        &mut self,
        request: &TrainRequest,
        batches: &[(BatchSize, f64)],
    ) -> Result<Value> {
        let span = request.span;
        self.step_of_its_own(|elaborator| {
            elaborator.with_training(Value::bool(true), |elaborator| {
                elaborator.started_averages(&request.model, |elaborator, model| {
                    elaborator.push_step("averages");
                    elaborator.step_keys(span)?;
                    let sets = elaborator.batch_params(request, batches)?;
                    Ok(elaborator.objective(model, &sets, span)?.seen)
                })
            })
        })
    }

    /// Evaluates with `training` as given.
    pub(crate) fn with_training<T>(
        &mut self,
        training: Value,
        run: impl FnOnce(&mut Elaborator) -> T,
    ) -> T {
        let before = self.prelude.lookup(TRAINING);
        self.prelude.assign(TRAINING, training);
        let result = run(self);
        if let Some(before) = before {
            self.prelude.assign(TRAINING, before);
        }
        result
    }

    /// Traces a function that is no part of what is being traced.
    fn step_of_its_own<T>(&mut self, trace: impl FnOnce(&mut Elaborator) -> T) -> T {
        let frames = std::mem::take(&mut self.frames);
        let seen = std::mem::take(&mut self.seen);
        let activations = std::mem::replace(&mut self.activations, vec![at_path(0)]);
        let result = trace(self);
        self.frames = frames;
        self.seen = seen;
        self.activations = activations;
        result
    }

    fn push_step(&mut self, name: &str) {
        let (seed, step) = placeholder_keys();
        let inputs = Vec::new();
        self.push_frame(name, FrameKind::Step { seed, step, inputs });
    }

    fn step(
        &mut self,
        request: &TrainRequest,
        optimizer: &Value,
        state: &Value,
        batches: &[(BatchSize, f64)],
    ) -> Result<TrainStep> {
        let span = request.span;
        self.push_step("train_step");
        let model_leaves: Vec<_> = leaves(&request.model)
            .into_iter()
            .filter(|leaf| leaf.changes)
            .collect();
        let state_leaves = leaves(state);
        let mut traced = Vec::new();
        for leaf in model_leaves.iter().chain(&state_leaves) {
            if let Value::Tensor(tensor) = &leaf.tensor {
                traced.push(Value::Tensor(
                    self.traced_param(&tensor.ty, &leaf.path, span)?.0,
                ));
            }
        }
        self.step_keys(span)?;
        let sets = self.batch_params(request, batches)?;
        let split = model_leaves.len();
        let model = with_leaves(&request.model, &mut traced[..split].iter().cloned(), true);
        let state = with_leaves(state, &mut traced[split..].iter().cloned(), false);
        let (model, mut kept) = live(&model);
        let stepped = self.optimized(optimizer, model, state, sets, span)?;
        self.updated_averages(&mut kept, &stepped.seen)?;
        let (new_model, new_state) = (
            with_kept(&stepped.model, &kept),
            with_kept(&stepped.state, &kept),
        );
        let mut results: Vec<IrValue> = Vec::new();
        let new_leaves: Vec<_> = leaves(&new_model)
            .into_iter()
            .filter(|leaf| leaf.changes)
            .chain(leaves(&new_state))
            .collect();
        let old = model_leaves.iter().chain(&state_leaves);
        if new_leaves.len() != split + state_leaves.len() {
            return fail(
                "E0310",
                span,
                "the optimizer gives another structure than it was given",
            );
        }
        for (leaf, before) in new_leaves.iter().zip(old) {
            let (Value::Tensor(tensor), Value::Tensor(was)) = (&leaf.tensor, &before.tensor) else {
                continue;
            };
            let tensor = self.convert(tensor, was.ty.elem, span)?;
            let value = self.lift(&tensor, span)?;
            if self.frames[0].f.dims(value) != was.ty.dims().unwrap_or_default().as_slice() {
                return fail(
                    "E0310",
                    span,
                    format!("the optimizer changes the shape of `{}`", before.path),
                );
            }
            results.push(value);
        }
        let loss_span = self.loss_span(&request.model, "loss", span);
        if !stepped.moves {
            self.warn_of_still(loss_span, span);
        }
        for (index, loss) in stepped.figures.iter().enumerate() {
            let Value::Tensor(tensor) = loss else {
                continue;
            };
            let value = self.lift(tensor, span)?;
            if index == 0 {
                self.frames[0].f.guards.push(Guard {
                    value,
                    span: loss_span,
                });
            }
            results.push(value);
        }
        let (mut function, constants) = self.pop_step(span)?;
        function.results = results;
        function.aliases = (0..new_leaves.len()).map(|at| (at, at)).collect();
        Ok(TrainStep {
            function,
            model_leaves: split,
            state_leaves: state_leaves.len(),
            parts: stepped.names,
            constants,
        })
    }

    /// The function of the innermost frame, a step, and the values of its last params.
    fn pop_step(&mut self, span: Span) -> Result<(aec_ir::Function, Vec<Arc<HostTensor>>)> {
        match self.pop_frame() {
            Some(frame) => match frame.kind {
                FrameKind::Step { inputs, .. } => Ok((frame.f, inputs)),
                FrameKind::Statement { .. }
                | FrameKind::Map { .. }
                | FrameKind::Loop { .. }
                | FrameKind::Block { .. }
                | FrameKind::Derivative { .. } => {
                    fail("E0490", span, "a step ended inside another construct")
                }
            },
            None => fail("E0490", span, "a step ended twice"),
        }
    }

    /// `optim.adam` without its parentheses, or its name as text.
    fn explain_optimizer(&self, error: Diagnostic, given: &Value, span: Span) -> Diagnostic {
        match given {
            Value::Fn(_) => {
                let made = format!("{}()", self.text(span));
                error.help_edit(
                    "this is a function that makes optimizers: call it",
                    span,
                    made,
                )
            }
            Value::Str(_) => {
                error.help("`use optim` at the top brings `optim.adam(lr = 1e-3)` and others")
            }
            _ => error,
        }
    }

    /// A step of the optimizer on the objective: by the gradient if it has `update`, else by
    /// its `step`, to which the objective is a function of the model.
    fn optimized(
        &mut self,
        optimizer: &Value,
        model: Value,
        state: Value,
        sets: Vec<BatchOf>,
        span: Span,
    ) -> Result<Stepped> {
        if let Some(update) = optimizer.field("update").cloned() {
            let mut names = Vec::new();
            let mut seen = Vec::new();
            let (value, gradient, moves) =
                self.value_and_gradient(&model, span, |elaborator, model| {
                    let objective = elaborator.objective(model, &sets, span)?;
                    names = objective.names();
                    let mut all = objective.figures();
                    crate::grad::one_real(&all[0], span)?;
                    seen = objective.seen;
                    all.extend(seen.iter().map(|seen| Value::Tensor(seen.value.clone())));
                    Ok(Value::tuple(all))
                })?;
            let Value::Tuple(figures) = &value else {
                return wanted(span, "a loss", &value);
            };
            let (figures, values) = figures.split_at(1 + names.len());
            for (seen, value) in seen.iter_mut().zip(values) {
                if let Value::Tensor(value) = value {
                    seen.value = value.clone();
                }
            }
            let updated = self.apply(&update, &[model, gradient, state], span)?;
            return match &updated {
                Value::Tuple(pair) if pair.len() == 2 => Ok(Stepped {
                    model: pair[0].clone(),
                    state: pair[1].clone(),
                    figures: figures.to_vec(),
                    names,
                    seen,
                    moves,
                }),
                other => wanted(
                    span,
                    "an optimizer whose `update` gives the model and its state",
                    other,
                ),
            };
        }
        let Some(step) = optimizer.field("step").cloned() else {
            return wanted(span, OPTIMIZER, optimizer);
        };
        // The optimizer calls the objective where it likes, in loops and derivatives too; parts and
        // averages are taken here, at the model that it starts from.
        let objective = self.same_draws(|elaborator| elaborator.objective(&model, &sets, span))?;
        let native = move |elaborator: &mut Elaborator, args: &[Value], at: Span| {
            let [model] = args else {
                return fail("E0401", at, "the loss of a step is a function of the model");
            };
            let objective =
                elaborator.same_draws(|elaborator| elaborator.objective(model, &sets, span))?;
            Ok(objective.total)
        };
        let loss = Value::Fn(Rc::new(Closure {
            code: Code::Native(Box::new(native)),
            name: "loss".into(),
            span,
        }));
        let stepped = self.apply(&step, &[loss, model, state], span)?;
        let wrong = "an optimizer whose `step` gives the model, its state and the loss";
        match &stepped {
            Value::Tuple(parts) => match parts.as_slice() {
                [model, state, value @ Value::Tensor(loss)]
                    if loss.is_scalar() && loss.ty.elem.is_float() =>
                {
                    let mut figures = objective.figures();
                    figures[0] = value.clone();
                    Ok(Stepped {
                        model: model.clone(),
                        state: state.clone(),
                        figures,
                        names: objective.names(),
                        seen: objective.seen,
                        moves: true,
                    })
                }
                _ => wanted(span, wrong, &stepped),
            },
            other => wanted(span, wrong, other),
        }
    }

    /// Evaluates on a call path of its own, the same each time: equal calls draw alike.
    fn same_draws<T>(&mut self, run: impl FnOnce(&mut Elaborator) -> T) -> T {
        self.activations.push(at_path(site_hash(&[b"step"])));
        let result = run(self);
        self.activations.pop();
        result
    }

    /// Traces the loss over a batch, without gradient.
    pub fn trace_eval(
        &mut self,
        model: &Value,
        data: &Value,
        size: BatchSize,
        span: Span,
    ) -> Result<EvalStep> {
        self.step_of_its_own(|elaborator| elaborator.eval_step(model, data, size, span))
    }

    fn eval_step(
        &mut self,
        model: &Value,
        data: &Value,
        size: BatchSize,
        span: Span,
    ) -> Result<EvalStep> {
        self.push_step("eval_step");
        let model_leaves = leaves(model);
        let mut traced = Vec::new();
        for leaf in &model_leaves {
            if let Value::Tensor(tensor) = &leaf.tensor {
                traced.push(Value::Tensor(
                    self.traced_param(&tensor.ty, &leaf.path, span)?.0,
                ));
            }
        }
        self.step_keys(span)?;
        let set = TrainSet {
            member: "loss".into(),
            data: data.clone(),
        };
        let set = self.batch_param(&set, size, 1.0, span)?;
        let model = with_leaves(model, &mut traced.into_iter(), false);
        let objective = self.objective(&model, &[set], span)?;
        let mut results = Vec::new();
        for value in &objective.figures() {
            if let Value::Tensor(tensor) = value {
                results.push(self.lift(tensor, span)?);
            }
        }
        let (mut function, constants) = self.pop_step(span)?;
        function.results = results;
        Ok(EvalStep {
            function,
            model_leaves: model_leaves.len(),
            parts: objective.names(),
            constants,
        })
    }

    /// The params `seed` and `step`.
    fn step_keys(&mut self, span: Span) -> Result<()> {
        let scalar = TensorType::scalar(Elem::I64);
        let (_, new_seed) = self.traced_param(&scalar, "seed", span)?;
        let (_, new_step) = self.traced_param(&scalar, "step", span)?;
        if let Some(FrameKind::Step { seed, step, .. }) =
            self.frames.last_mut().map(|frame| &mut frame.kind)
        {
            (*seed, *step) = (new_seed, new_step);
        }
        Ok(())
    }
}

/// A call in progress of that path.
fn at_path(path: u64) -> Activation {
    Activation {
        path,
        calls: FxHashMap::default(),
    }
}

/// Stand-ins for the keys until their params exist.
fn placeholder_keys() -> (IrValue, IrValue) {
    let mut scratch = aec_ir::Function::new("");
    let ty = Type::scalar(Elem::I64);
    (scratch.param(ty.clone(), ""), scratch.param(ty, ""))
}
