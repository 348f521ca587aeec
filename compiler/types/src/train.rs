//! `train … on …`: what it is given, and what of it is known before it runs. Its step is traced in
//! `step.rs`.

use crate::call::Args;
use crate::declared::Declared;
use crate::error::{fail, wanted};
use crate::leaves::{leaves, map_tensors, with_leaves};
use crate::scope::Scope;
use crate::trace::{FrameKind, converted};
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Activation, Elaborator, Result};
use aec_syntax::ast::{Expr, ExprKind, Ident, Name, Pattern, Stmt, StmtKind};
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashMap;

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
        self.effects += 1;
        if !self.effects_allowed() {
            let message = "`train` belongs to scripts, not to code that is compiled";
            let help = "train in the script; what it gives can be a model's argument, or the start of a `param`";
            return Err(Box::new(
                Diagnostic::error("E0410", span, message).help(help),
            ));
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
                calls: FxHashMap::default(),
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
                (_, Some(x), Err(error))
                    if error.code == "E0302" && error.labels[0].span == span =>
                {
                    let declared = elaborator.loss_axes(model, &set.member);
                    Err(match declared.filter(|(_, rank)| *rank > x.ty.rank()) {
                        Some((ty, rank)) => Box::new(too_few_axes(&x.ty, rank, span, ty)),
                        None => error,
                    })
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

    /// Where a loss declares its first parameter, and with how many axes.
    fn loss_axes(&self, model: &Value, member: &str) -> Option<(Span, usize)> {
        let Value::Model(model) = model else {
            return None;
        };
        let def = crate::scope::member(model, member)?;
        let ty = def.params.first()?.ty.as_ref()?;
        match self.declared(ty).ok()? {
            Declared::Tensor { shape, .. } => Some((ty.span, shape.len())),
            _ => None,
        }
    }

    pub(crate) fn loss_of(&mut self, model: &Value, member: &Name, span: Span) -> Result<Value> {
        match self.member_value(model, member)? {
            Some(loss) => Ok(loss),
            None if &**member != "loss" => {
                let error = Diagnostic::error(
                    "E0402",
                    span,
                    format!("{} has no member `{member}`", model.describe()),
                )
                .note("data given as a record trains the members that its fields name");
                Err(Box::new(match parts_of_loss(model, member) {
                    Some(parts) => error.help(format!(
                        "data for several parameters is a tuple, a part for each, in the order of `loss({parts})`"
                    )),
                    None => error.help(format!(
                        "a part of the data is taken by its name: `.{member}`"
                    )),
                }))
            }
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
                Some(other) if other.size.differs(&first.size) => {
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
    pub(crate) fn loss_parts(&mut self, value: &Value, span: Span) -> Result<Vec<(Name, Value)>> {
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
            // The error that made a part unknown is said already.
            Value::Record(fields)
                if !fields.is_empty()
                    && fields
                        .iter()
                        .all(|(_, value)| real(value) || matches!(value, Value::Unknown))
                    && fields
                        .iter()
                        .any(|(_, value)| matches!(value, Value::Unknown)) =>
            {
                Ok(Vec::new())
            }
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
                    Value::Tensor(tensor) if !tensor.is_scalar() && self.in_one_line(span) => {
                        error.help_edit(help, span, summed)
                    }
                    Value::Unit => error.help(
                        "a block ends in its value: the last line is an expression, no `let`",
                    ),
                    _ => error.help(help),
                }))
            }
        }
    }

    /// The place of what a model's loss gives, to blame for a loss that is no finite number.
    pub(crate) fn loss_span(&self, model: &Value, member: &str, otherwise: Span) -> Span {
        let Value::Model(model) = model else {
            return otherwise;
        };
        match crate::scope::member(model, member) {
            Some(def) => {
                let mut body = &def.body;
                while let ExprKind::Block(stmts) = &body.kind {
                    match stmts.last() {
                        Some(Stmt {
                            kind: StmtKind::Expr(expr),
                            ..
                        }) => body = expr,
                        Some(last) => return last.span,
                        None => break,
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

/// The parameters of the model's loss if this name is one of several.
fn parts_of_loss(model: &Value, name: &str) -> Option<String> {
    let Value::Model(model) = model else {
        return None;
    };
    let loss = crate::scope::member(model, "loss")?;
    let names: Vec<&str> = (loss.params.iter())
        .map(|param| match &param.pattern {
            Pattern::Name(ident) => &*ident.name,
            Pattern::Wildcard(_) | Pattern::Tuple(..) | Pattern::Record(..) => "_",
        })
        .collect();
    (names.len() > 1 && names.contains(&name)).then(|| names.join(", "))
}

/// Whether a part of a value is not known before the script runs.
pub(crate) fn holds_unknown(data: &Value) -> bool {
    match data {
        Value::Unknown => true,
        Value::Tuple(parts) | Value::List(parts) => parts.iter().any(holds_unknown),
        Value::Record(fields) => fields.iter().any(|(_, value)| holds_unknown(value)),
        // Layers whose number is not known while a script is checked.
        Value::Model(model) => model.params.iter().any(|(_, value)| holds_unknown(value)),
        _ => false,
    }
}

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

/// Examples with fewer axes than the loss declares for one; `ty` is where it does.
fn too_few_axes(example: &TensorType, takes: usize, span: Span, ty: Span) -> Diagnostic {
    let error = Diagnostic::error("E0503", span, "an example has fewer axes than `loss` takes")
        .here(match example.rank() {
            0 => "an example is one number".to_string(),
            _ => format!("an example is {example}"),
        })
        .label(ty, format!("{} declared here", crate::typing::axes(takes)))
        .note("the first axis of the data counts the examples; the model sees one at a time");
    match example.rank() {
        0 => error.help("a data set of one example has it in brackets: `[x]`"),
        // One axis too many is that of the examples; more are those of a picture that lies flat.
        rank if takes == rank + 1 => {
            error.help("declare `loss` for one example, without the axis of examples")
        }
        _ => error.help(
            "rows that hold pictures become pictures by `reshape(x, [n, channels, height, width])`",
        ),
    }
}

/// The arguments of `loss` that data stands for.
pub(crate) fn data_args(data: &Value) -> Vec<(Value, bool)> {
    match data {
        Value::Tuple(parts) => parts.iter().map(|part| (part.clone(), true)).collect(),
        other => vec![(other.clone(), true)],
    }
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
