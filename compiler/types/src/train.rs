//! Training: `train … on …`, and tracing its step (loss over a batch, gradient, optimizer) as
//! one TIR function.

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::leaves::{leaves, map_tensors, with_leaves};
use crate::scope::Scope;
use crate::trace::{FrameKind, converted};
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Activation, Elaborator, Result};
use aec_ir::{Guard, Type, Value as IrValue};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::{BinaryOp, Expr, ExprKind, Ident, Name};
use aec_syntax::{Diagnostic, Span};
use std::collections::HashMap;
use std::sync::Arc;

/// What `train model on data { settings }` asks for; everything is evaluated.
pub struct TrainRequest {
    /// The model to start from.
    pub model: Value,
    /// A tensor, a tuple that feeds the loss's parameters, or a record of data sets by member.
    pub data: Value,
    /// The settings in order: name, its place, value.
    pub settings: Vec<(Name, Span, Value)>,
    /// The whole expression.
    pub span: Span,
    /// The text of the data expression, for messages.
    pub data_span: Span,
}

/// A set of examples and the member that is its loss (M5).
#[derive(Clone)]
pub struct TrainSet {
    /// `loss`, or the field's name in a record of data sets.
    pub member: Name,
    /// A tensor, or a tuple that feeds the member's parameters.
    pub data: Value,
}

/// The sets that training data stands for: one for `loss`, or one for each field of a record.
pub fn train_sets(data: &Value) -> Vec<TrainSet> {
    match data {
        Value::Record(fields) => fields
            .iter()
            .map(|(name, data)| TrainSet {
                member: name.clone(),
                data: data.clone(),
            })
            .collect(),
        other => vec![TrainSet {
            member: "loss".into(),
            data: other.clone(),
        }],
    }
}

/// A traced training step.
///
/// Params of `function`, in order: trained leaves of the model, leaves of the optimizer's state,
/// `seed` (i64), `step` (i64), then for each set of examples its indices in the data set (i64
/// `[batch]`) and the batch of each of its data leaves (`[batch, …]`), then `constants`. Results: the new model leaves and the new
/// state leaves (aliased to their params), the mean loss (float scalar, guarded), then the parts
/// of the loss.
pub struct TrainStep {
    /// The function.
    pub function: aec_ir::Function,
    /// Number of trained model leaves.
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
/// Params: all leaves of the model, `seed`, `step`, indices, the data leaves, then `constants`.
/// Results: the sum of the losses over the batch, then of each part.
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

/// The settings of `train`.
pub const SETTINGS: &[&str] = &[
    "optimizer",
    "batch",
    "epochs",
    "steps",
    "seed",
    "validate",
    "shuffle",
    "schedule",
    "clip",
    "early_stop",
    "checkpoint",
    "log",
    "on_epoch",
    "threads",
    "metrics",
    "weights",
];

impl Elaborator {
    pub(crate) fn train_expr(
        &mut self,
        model: &Expr,
        data: &Expr,
        settings: &[(Ident, Expr)],
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        if !self.effects_allowed() {
            return fail(
                "E0410",
                span,
                "`train` belongs to scripts, not to code that is compiled",
            );
        }
        let mut given: Vec<(Name, Span, Value)> = Vec::new();
        for (name, expr) in settings {
            if !SETTINGS.contains(&&*name.name) {
                let mut diagnostic = Diagnostic::error(
                    "E0405",
                    name.span,
                    format!("`train` has no setting `{}`", name.name),
                );
                diagnostic =
                    match crate::slips::argument(&name.name, SETTINGS)
                        .or_else(|| aec_syntax::suggest::nearest(&name.name, SETTINGS.iter().copied()))
                    {
                        Some(near) => {
                            diagnostic.help_edit(format!("did you mean `{near}`?"), name.span, near)
                        }
                        None if matches!(&*name.name, "lr" | "learning_rate") => diagnostic.help_edit(
                            "the learning rate belongs to the optimizer: `optimizer = optim.adam(lr = …)`",
                            name.span.to(expr.span),
                            format!("optimizer = optim.adam(lr = {})", self.text(expr.span)),
                        ),
                        None => {
                            diagnostic.note(format!("its settings are {}", SETTINGS.join(", ")))
                        }
                    };
                return Err(Box::new(diagnostic));
            }
            if given.iter().any(|(other, ..)| *other == name.name) {
                return fail(
                    "E0405",
                    name.span,
                    format!("the setting `{}` is given twice", name.name),
                );
            }
            let value = self.eval(expr, scope)?;
            let value = self.materialize_one(value, expr.span)?;
            given.push((name.name.clone(), expr.span, value));
        }
        // A model written here draws its weights from the training's own seed (R3).
        let seed = given
            .iter()
            .find(|(name, ..)| &**name == "seed")
            .and_then(|(.., value)| value.as_int());
        let before = (self.seed, self.round);
        let written_here = matches!(model.kind, ExprKind::Call { .. });
        if let (Some(seed), true) = (seed, written_here) {
            (self.seed, self.round) = (seed as u64, 0);
            self.activations.push(Activation {
                path: 0,
                calls: HashMap::new(),
            });
        }
        let value = self
            .eval(model, scope)
            .and_then(|value| self.materialize_one(value, model.span));
        if seed.is_some() && written_here {
            (self.seed, self.round) = before;
            self.activations.pop();
        }
        let value = concrete_leaves(&value?);
        match &value {
            Value::Model(_) => {}
            Value::Unknown => return Ok(Value::Unknown),
            Value::Template(template) => {
                let name = &template.def.name.name;
                let params: Vec<String> = template
                    .def
                    .params
                    .iter()
                    .map(|param| self.text(param.span))
                    .collect();
                return Err(Box::new(
                    Diagnostic::error(
                        "E0310",
                        model.span,
                        format!("`{name}` is not a model yet: it wants its sizes"),
                    )
                    .help(format!("`train {name}({}) on …`", params.join(", "))),
                ));
            }
            other => return wanted(model.span, "a model", other),
        }
        let data_value = self.eval(data, scope)?;
        let data_value = self.materialize_one(data_value, data.span)?;
        let data_value = self.packed_data(&data_value, data.span)?;
        for (name, at, value) in &mut given {
            if &**name == "validate" {
                *value = self.packed_data(value, *at)?;
            }
        }
        if self.checking() {
            for set in train_sets(&data_value) {
                if !holds_unknown(&set.data) {
                    self.check_loss(&value, &set, data.span)?;
                }
            }
            self.warn_of_identity(&value, model.span);
            return Ok(map_tensors(&value, &mut |tensor| match tensor.repr {
                Repr::Symbolic(_) | Repr::Static(_) => tensor.clone(),
                _ => Tensor {
                    ty: tensor.ty.clone(),
                    repr: Repr::Unknown,
                },
            }));
        }
        let request = TrainRequest {
            model: value,
            data: data_value,
            settings: given,
            span,
            data_span: data.span,
        };
        let host = self.host.clone();
        let frames = std::mem::take(&mut self.frames);
        let result = host.train(self, request);
        self.frames = frames;
        result
    }

    fn check_loss(&mut self, model: &Value, set: &TrainSet, span: Span) -> Result<()> {
        let dim = self.data_rows(&set.data, span)?;
        let args = data_args(&set.data);
        let loss = self.loss_of(model, &set.member, span)?;
        let takes = self.takes(model, &set.member);
        self.map_over(&dim, &args, true, span, |elaborator, values| {
            let at = elaborator.loss_span(model, &set.member, span);
            let result = elaborator
                .call_value(&loss, Args::of(values, span), span)
                .and_then(|value| match elaborator.loss_parts(&value, at) {
                    Ok(_) => Ok(value),
                    Err(error) if at == span => Err(error),
                    Err(error) => Err(Box::new(error.label(span, "trained on this"))),
                });
            let example = values.first().and_then(Value::tensor);
            match (&takes, example, result) {
                // More axes than the loss declares are mapped: then the data are the slip.
                (Some((shape, _)), Some(x), Err(_)) if x.ty.rank() > shape.len() => {
                    Err(Box::new(too_many_axes(&x.ty, shape, span)))
                }
                (_, _, Err(error)) if error.code == "E0401" && error.labels[0].span == span => {
                    Err(Box::new(error.help(
                        "data for several parameters is a tuple, a part for each: `on (x, y)`",
                    )))
                }
                (_, _, result) => result,
            }
        })?;
        Ok(())
    }

    fn loss_of(&mut self, model: &Value, member: &Name, span: Span) -> Result<Value> {
        match self.member_value(model, member) {
            Some(loss) => Ok(loss),
            None if &**member != "loss" => Err(Box::new(
                Diagnostic::error(
                    "E0402",
                    span,
                    format!("{} has no member `{member}`", model.describe()),
                )
                .note("data given as a record trains the members that its fields name"),
            )),
            None => Err(Box::new(
                Diagnostic::error(
                    "E0402",
                    span,
                    format!("{} has no `loss` to train or evaluate", model.describe()),
                )
                .help("write one as a member: `loss(x: [D]) = …`"),
            )),
        }
    }

    /// The first axis that all data leaves share.
    pub(crate) fn data_rows(&self, data: &Value, span: Span) -> Result<Dim> {
        let mut rows: Option<Dim> = None;
        for leaf in leaves(data) {
            let Value::Tensor(tensor) = &leaf.tensor else {
                continue;
            };
            let Some(first) = tensor.ty.shape.first() else {
                return fail(
                    "E0302",
                    span,
                    "training data has the examples as its first axis, but this is a scalar",
                );
            };
            match &rows {
                None => rows = Some(first.clone()),
                Some(other) if other.size != first.size => {
                    return fail(
                        "E0309",
                        span,
                        format!(
                            "the parts of the data have different numbers of examples: {} and {}",
                            other.size, first.size
                        ),
                    );
                }
                Some(_) => {}
            }
        }
        match rows {
            Some(rows) => Ok(rows),
            None => wanted(span, "data (a tensor, or a tuple of tensors)", data),
        }
    }

    /// A loss as its parts: one real, or a record of reals (P1).
    fn loss_parts(&mut self, value: &Value, span: Span) -> Result<Vec<(Name, Value)>> {
        let real = |value: &Value| matches!(value, Value::Tensor(t) if t.is_scalar() && t.ty.elem.is_float());
        // A missing loss counts as 0: an example that has none does not train.
        let filled = |elaborator: &mut Elaborator, value: &Value| match value {
            Value::Maybe(_) => elaborator.filled_in((value, span), (&Value::int(0), span), span),
            other => Ok(other.clone()),
        };
        let value = &match value {
            Value::Record(fields) => {
                let mut out = Vec::new();
                for (name, part) in fields.iter() {
                    out.push((name.clone(), filled(self, part)?));
                }
                Value::Record(std::rc::Rc::new(out))
            }
            other => filled(self, other)?,
        };
        match value {
            Value::Unknown => Ok(Vec::new()),
            Value::Record(fields)
                if fields.iter().all(|(_, value)| real(value)) && !fields.is_empty() =>
            {
                Ok(fields.to_vec())
            }
            value if real(value) => Ok(vec![("loss".into(), value.clone())]),
            other => {
                let error = Diagnostic::error(
                    "E0503",
                    span,
                    format!(
                        "`loss` must give one real number for an example, but it gives {}",
                        other.describe()
                    ),
                );
                let help =
                    "`sum` or `mean` makes one number; losses of the library do that already";
                let summed = format!("sum({})", self.text(span));
                Err(Box::new(match other {
                    Value::Tensor(tensor) if !tensor.is_scalar() => {
                        error.help_edit(help, span, summed)
                    }
                    _ => error.help(help),
                }))
            }
        }
    }

    /// `optimizer.init(model)`, in memory.
    pub fn init_optimizer(
        &mut self,
        optimizer: &Value,
        model: &Value,
        span: Span,
    ) -> Result<Value> {
        let Some(init) = optimizer.field("init").cloned() else {
            return wanted(
                span,
                "an optimizer (a record with `init` and `update`)",
                optimizer,
            );
        };
        let state = self.call(&init, std::slice::from_ref(model), span)?;
        Ok(concrete_leaves(&state))
    }

    /// Traces one training step: for each set of [`train_sets`] the number of its examples in a
    /// batch and the weight of their mean loss in the objective.
    pub fn trace_train_step(
        &mut self,
        request: &TrainRequest,
        optimizer: &Value,
        state: &Value,
        batches: &[(usize, f64)],
    ) -> Result<TrainStep> {
        let frames = std::mem::take(&mut self.frames);
        let activations = std::mem::replace(
            &mut self.activations,
            vec![Activation {
                path: 0,
                calls: HashMap::new(),
            }],
        );
        let result = self.step(request, optimizer, state, batches);
        self.frames = frames;
        self.activations = activations;
        result
    }

    fn step(
        &mut self,
        request: &TrainRequest,
        optimizer: &Value,
        state: &Value,
        batches: &[(usize, f64)],
    ) -> Result<TrainStep> {
        let span = request.span;
        let Some(update) = optimizer.field("update").cloned() else {
            return wanted(
                span,
                "an optimizer (a record with `init` and `update`)",
                optimizer,
            );
        };
        let (zero, one) = placeholder_keys();
        self.push_frame(
            "train_step",
            FrameKind::Step {
                seed: zero,
                step: one,
                inputs: Vec::new(),
            },
        );
        let model_leaves: Vec<_> = leaves(&request.model)
            .into_iter()
            .filter(|leaf| leaf.trained)
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
        let mut sets = Vec::new();
        for (set, &(batch, weight)) in train_sets(&request.data).into_iter().zip(batches) {
            let indices = self.index_param(batch, span)?;
            let data = self.data_params(&set.data, batch, span)?;
            sets.push((set.member, indices, data, batch, weight));
        }
        let split = model_leaves.len();
        let model = with_leaves(&request.model, &mut traced[..split].iter().cloned(), true);
        let state = with_leaves(state, &mut traced[split..].iter().cloned(), false);
        let mut names = Vec::new();
        let (value, gradient) = self.value_and_gradient(&model, span, |elaborator, model| {
            if let [(member, indices, data, batch, _)] = sets.as_slice() {
                let (total, parts) =
                    elaborator.batch_loss(model, member, data, indices, *batch, span, true)?;
                let mut all = vec![total];
                for (name, part) in parts {
                    names.push(name);
                    all.push(part);
                }
                return Ok(Value::tuple(all));
            }
            // Several sets: the objective is the weighted sum of their means; each is a part.
            let mut all = vec![Value::Unit];
            let mut objective: Option<Value> = None;
            for (member, indices, data, batch, weight) in &sets {
                let (mean, _) =
                    elaborator.batch_loss(model, member, data, indices, *batch, span, true)?;
                let weight = Value::real(*weight, elaborator.float());
                let term =
                    elaborator.binary(BinaryOp::Mul, (&weight, span), (&mean, span), span)?;
                objective = Some(match objective {
                    None => term,
                    Some(before) => {
                        elaborator.binary(BinaryOp::Add, (&before, span), (&term, span), span)?
                    }
                });
                names.push(member.clone());
                all.push(mean);
            }
            all[0] = objective.unwrap_or(Value::Unit);
            Ok(Value::tuple(all))
        })?;
        let updated = self.apply(&update, &[model, gradient, state], span)?;
        let (Value::Tuple(pair), Value::Tuple(losses)) = (&updated, &value) else {
            return wanted(
                span,
                "an optimizer whose `update` gives the model and its state",
                &updated,
            );
        };
        let [new_model, new_state] = pair.as_slice() else {
            return wanted(
                span,
                "an optimizer whose `update` gives the model and its state",
                &updated,
            );
        };
        let mut results: Vec<IrValue> = Vec::new();
        let new_leaves: Vec<_> = leaves(new_model)
            .into_iter()
            .filter(|leaf| leaf.trained)
            .chain(leaves(new_state))
            .collect();
        let old = model_leaves.iter().chain(&state_leaves);
        if new_leaves.len() != split + state_leaves.len() {
            return fail(
                "E0310",
                span,
                "the optimizer's `update` gives another structure than it was given",
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
                    format!(
                        "the optimizer's `update` changes the shape of `{}`",
                        before.path
                    ),
                );
            }
            results.push(value);
        }
        let loss_span = self.loss_span(&request.model, "loss", span);
        for (index, loss) in losses.iter().enumerate() {
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
        let Some(mut frame) = self.pop_frame() else {
            return fail("E0490", span, "a step ended twice");
        };
        frame.f.results = results;
        frame.f.aliases = (0..new_leaves.len()).map(|at| (at, at)).collect();
        let FrameKind::Step { inputs, .. } = frame.kind else {
            return fail("E0490", span, "a step ended inside another construct");
        };
        Ok(TrainStep {
            function: frame.f,
            model_leaves: split,
            state_leaves: state_leaves.len(),
            parts: names,
            constants: inputs,
        })
    }

    /// Traces the loss over a batch, without gradient.
    pub fn trace_eval(
        &mut self,
        model: &Value,
        data: &Value,
        batch: usize,
        span: Span,
    ) -> Result<EvalStep> {
        let frames = std::mem::take(&mut self.frames);
        let activations = std::mem::replace(
            &mut self.activations,
            vec![Activation {
                path: 0,
                calls: HashMap::new(),
            }],
        );
        let result = self.eval_step(model, data, batch, span);
        self.frames = frames;
        self.activations = activations;
        result
    }

    fn eval_step(
        &mut self,
        model: &Value,
        data: &Value,
        batch: usize,
        span: Span,
    ) -> Result<EvalStep> {
        let (zero, one) = placeholder_keys();
        self.push_frame(
            "eval_step",
            FrameKind::Step {
                seed: zero,
                step: one,
                inputs: Vec::new(),
            },
        );
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
        let indices = self.index_param(batch, span)?;
        let data = self.data_params(data, batch, span)?;
        let model = with_leaves(model, &mut traced.into_iter(), false);
        let (total, parts) =
            self.batch_loss(&model, &"loss".into(), &data, &indices, batch, span, false)?;
        let mut results = Vec::new();
        let mut names = Vec::new();
        let mut all = vec![total];
        for (name, part) in parts {
            names.push(name);
            all.push(part);
        }
        for value in &all {
            if let Value::Tensor(tensor) = value {
                results.push(self.lift(tensor, span)?);
            }
        }
        let Some(mut frame) = self.pop_frame() else {
            return fail("E0490", span, "a step ended twice");
        };
        frame.f.results = results;
        let FrameKind::Step { inputs, .. } = frame.kind else {
            return fail("E0490", span, "a step ended inside another construct");
        };
        Ok(EvalStep {
            function: frame.f,
            model_leaves: model_leaves.len(),
            parts: names,
            constants: inputs,
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

    /// The param of a batch's places in its data set.
    fn index_param(&mut self, batch: usize, span: Span) -> Result<Value> {
        let ty = TensorType {
            elem: Elem::I64,
            shape: vec![Dim::known(batch)],
        };
        Ok(Value::Tensor(self.traced_param(&ty, "examples", span)?.0))
    }

    /// The data with each leaf a param of `batch` rows.
    fn data_params(&mut self, data: &Value, batch: usize, span: Span) -> Result<Value> {
        let mut params = Vec::new();
        for leaf in leaves(data) {
            let Value::Tensor(tensor) = &leaf.tensor else {
                continue;
            };
            let mut ty = tensor.ty.clone();
            let Some(first) = ty.shape.first_mut() else {
                return fail(
                    "E0302",
                    span,
                    "training data has the examples as its first axis, but this is a scalar",
                );
            };
            *first = Dim::known(batch);
            let name = if leaf.path.is_empty() {
                "x".to_string()
            } else {
                leaf.path.clone()
            };
            params.push(Value::Tensor(self.traced_param(&ty, &name, span)?.0));
        }
        Ok(with_leaves(data, &mut params.into_iter(), false))
    }

    /// Mean (or sum) over the batch of the loss and of its parts.
    #[allow(clippy::too_many_arguments)]
    fn batch_loss(
        &mut self,
        model: &Value,
        member: &Name,
        data: &Value,
        indices: &Value,
        batch: usize,
        span: Span,
        mean: bool,
    ) -> Result<(Value, Vec<(Name, Value)>)> {
        let loss = self.loss_of(model, member, span)?;
        let mut args = data_args(data);
        args.push((indices.clone(), true));
        let mut names: Vec<Name> = Vec::new();
        let losses = self.map_over(
            &Dim::known(batch),
            &args,
            true,
            span,
            |elaborator, values| {
                // The example's index in the data set is its coordinate for draws (R2).
                if let Some(Value::Tensor(Tensor {
                    repr: Repr::Traced(_, index),
                    ..
                })) = values.last()
                    && let Some(FrameKind::Map { coordinate, .. }) =
                        elaborator.frames.last_mut().map(|frame| &mut frame.kind)
                {
                    *coordinate = Some(*index);
                }
                let value = elaborator.call_value(
                    &loss,
                    Args::of(&values[..values.len() - 1], span),
                    span,
                )?;
                let at = elaborator.loss_span(model, "loss", span);
                let parts = elaborator.loss_parts(&value, at)?;
                let mut total: Option<Value> = None;
                let mut out = Vec::new();
                for (name, part) in parts {
                    total = Some(match total {
                        None => part.clone(),
                        Some(before) => {
                            elaborator.binary(BinaryOp::Add, (&before, at), (&part, at), at)?
                        }
                    });
                    names.push(name);
                    out.push(part);
                }
                if out.len() == 1 && !matches!(value, Value::Record(_)) {
                    names.clear();
                    out.clear();
                }
                out.insert(0, total.unwrap_or(Value::Unknown));
                Ok(Value::tuple(out))
            },
        )?;
        let Value::Tuple(losses) = &losses else {
            return wanted(span, "a loss", &losses);
        };
        let mut reduced = Vec::new();
        for loss in losses.iter() {
            let Value::Tensor(tensor) = loss else {
                return wanted(span, "a real loss", loss);
            };
            reduced.push(Value::Tensor(self.total(tensor, mean, span)?));
        }
        let mut reduced = reduced.into_iter();
        let total = reduced.next().unwrap_or(Value::Unknown);
        Ok((total, names.into_iter().zip(reduced).collect()))
    }

    /// The place of what a model's loss gives, to blame for a loss that is no finite number.
    fn loss_span(&self, model: &Value, member: &str, otherwise: Span) -> Span {
        let Value::Model(model) = model else {
            return otherwise;
        };
        match crate::scope::member(model, member) {
            Some(def) => {
                let mut body = &def.body;
                while let ExprKind::Block(stmts) = &body.kind {
                    match stmts.last().map(|stmt| &stmt.kind) {
                        Some(aec_syntax::ast::StmtKind::Expr(expr)) => body = expr,
                        _ => break,
                    }
                }
                body.span
            }
            None => otherwise,
        }
    }

    /// Whether a batch is being mapped over.
    pub(crate) fn in_batch(&self) -> bool {
        self.batch_depth > 0
            || self
                .frames
                .iter()
                .any(|frame| matches!(frame.kind, FrameKind::Map { is_batch: true, .. }))
    }
}

/// Whether a part of a value is not known before the script runs.
pub(crate) fn holds_unknown(data: &Value) -> bool {
    match data {
        Value::Unknown => true,
        Value::Tuple(parts) | Value::List(parts) => parts.iter().any(holds_unknown),
        Value::Record(fields) => fields.iter().any(|(_, value)| holds_unknown(value)),
        _ => false,
    }
}

/// The arguments of `loss` that data stands for.
/// Examples with more axes than the loss declares for one.
fn too_many_axes(example: &TensorType, takes: &[usize], span: Span) -> Diagnostic {
    let shown: Vec<String> = takes.iter().map(usize::to_string).collect();
    let shown = shown.join(", ");
    let error = Diagnostic::error("E0503", span, "an example has more axes than `loss` takes")
        .here(format!("an example is {example}, `loss` takes [{shown}]"));
    let entries: Option<usize> = example.dims().map(|dims| dims.iter().product());
    match takes {
        [n] if entries == Some(*n) => error.help("`map(flatten, …)` makes one row of each example"),
        _ => error.note("the model sees one example at a time, without the axis of examples"),
    }
}

fn data_args(data: &Value) -> Vec<(Value, bool)> {
    match data {
        Value::Tuple(parts) => parts.iter().map(|part| (part.clone(), true)).collect(),
        other => vec![(other.clone(), true)],
    }
}

/// Stand-ins for the keys until their params exist.
fn placeholder_keys() -> (IrValue, IrValue) {
    let mut scratch = aec_ir::Function::new("");
    let ty = Type::scalar(Elem::I64);
    (scratch.param(ty.clone(), ""), scratch.param(ty, ""))
}

/// Constants become tensors in memory, so that they can be changed by training.
pub(crate) fn concrete_leaves(value: &Value) -> Value {
    let mut new = leaves(value).into_iter().map(|leaf| match leaf.tensor {
        Value::Tensor(Tensor {
            ty,
            repr: Repr::Static(host),
        }) => {
            let host = converted(&host, ty.elem);
            Value::Tensor(Tensor {
                ty,
                repr: Repr::Concrete(host),
            })
        }
        other => other,
    });
    let parts: Vec<Value> = new.by_ref().collect();
    with_leaves(value, &mut parts.into_iter(), false)
}
