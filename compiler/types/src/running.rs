//! `running(batch_mean(h), 0.9)` (SEMANTICS.md B2): in training the batch's own value, of which the
//! model keeps an average; elsewhere that average. It is the only state that a model has besides
//! its params.
//!
//! Each call of `running` in a model's definition is a site, and each model has an [`Average`] for
//! each site. While training traces a loss, the averages of what it trains are `Live`: what a
//! call computes is noted in [`Seen`], leaves the mapped body as a further result of the loss, and
//! the step updates the averages with it, whose elements travel with the trained weights. All
//! others are constants, and the argument of `running` is not evaluated: one example alone has no
//! batch.

use crate::error::{fail, wanted};
use crate::leaves::{WEIGHT, map_averages};
use crate::scope::Scope;
use crate::trace::{Frame, FrameKind};
use crate::value::{Average, AverageSite, Repr, Tensor, Value};
use crate::{Elaborator, Result};
use aec_ir::{Def, Op, Value as IrValue};
use aec_runtime::Tensor as HostTensor;
use aec_syntax::ast::{
    Arg, BinaryOp, Expr, ExprKind, Ident, Init, ModelDef, ModelItem, Pattern, Stmt, StmtKind,
};
use aec_syntax::parts::{Part, of_function};
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashSet;
use std::rc::Rc;
use std::sync::Arc;

/// The word.
const NAME: &str = "running";

/// What a call of `running` gave for the batch whose loss is being traced.
#[derive(Clone)]
pub(crate) struct Seen {
    /// The number of its average.
    slot: usize,
    /// The share of the old average in the new one.
    decay: f64,
    /// The batch's value.
    pub(crate) value: Tensor,
    /// The call.
    span: Span,
}

/// An average as it goes into a step.
pub(crate) struct Kept {
    value: Tensor,
    weight: Tensor,
}

impl crate::Elaborator {
    /// The averages that a definition keeps. A text without the word, as most are, is not walked.
    pub(crate) fn averages(&self, def: &ModelDef) -> Vec<AverageSite> {
        let sources = self.sources.borrow();
        let text = sources.text(def.span);
        match text.is_empty() || text.contains(NAME) {
            true => sites(def),
            false => Vec::new(),
        }
    }
}

/// The calls of `running` in the members of a definition, in the order of the text.
fn sites(def: &ModelDef) -> Vec<AverageSite> {
    let mut found = Vec::new();
    for item in &def.items {
        if let ModelItem::Fn(member) = item {
            for part in of_function(member) {
                find(part, None, &mut found);
            }
        }
    }
    let mut taken = FxHashSet::default();
    let mut named = Vec::with_capacity(found.len());
    for (at, (name, span)) in found.into_iter().enumerate() {
        let word = name.map_or_else(|| at.to_string(), |name| name.to_string());
        let mut name = format!("{NAME}.{word}");
        if !taken.insert(name.clone()) {
            name = format!("{NAME}.{word}.{at}");
            taken.insert(name.clone());
        }
        named.push(AverageSite {
            name: name.into(),
            span,
        });
    }
    named
}

/// Collects calls; `bound` is the name of the `let` whose whole value a part is.
fn find<'a>(part: Part<'a>, bound: Option<&'a Ident>, found: &mut Vec<(Option<Rc<str>>, Span)>) {
    match part {
        Part::Stmt(Stmt {
            kind:
                StmtKind::Let {
                    pattern: Pattern::Name(name),
                    init: Init::Value(value),
                    ..
                },
            ..
        }) => find(Part::Expr(value), Some(name), found),
        Part::Expr(Expr {
            kind: ExprKind::Call { callee, args },
            ..
        }) if is_word(callee) => {
            found.push((bound.map(|name| name.name.clone()), callee.span));
            for arg in args {
                find(Part::Expr(&arg.value), None, found);
            }
        }
        Part::Expr(Expr {
            kind: ExprKind::Pipe { value, into },
            ..
        }) => {
            find(Part::Expr(into), bound, found);
            find(Part::Expr(value), None, found);
        }
        Part::Expr(_) | Part::Stmt(_) => {
            for inner in part.parts() {
                find(inner, None, found);
            }
        }
    }
}

fn is_word(callee: &Expr) -> bool {
    matches!(&callee.kind, ExprKind::Name(name) if &**name == NAME)
}

/// Whether a callee is the compiler's `running`, whose arguments are not simply evaluated.
pub(crate) fn is_running(callee: &Expr, scope: &Scope) -> bool {
    is_word(callee) && matches!(scope.lookup(NAME), Some(Value::Builtin(id)) if id.name() == NAME)
}

/// An argument that is not evaluated yet.
type Unevaluated<'a> = (Option<&'a Ident>, &'a Expr);

/// The arguments of a call, what is piped into it in front.
pub(crate) fn args<'a>(piped: Option<&'a Expr>, args: &'a [Arg]) -> Vec<Unevaluated<'a>> {
    let placed = |arg: &Arg| matches!(arg.value.kind, ExprKind::Placeholder);
    let front = piped.filter(|_| !args.iter().any(placed));
    let rest = args.iter().map(|arg| match piped {
        Some(piped) if placed(arg) => (arg.name.as_ref(), piped),
        _ => (arg.name.as_ref(), &arg.value),
    });
    front
        .map(|piped| (None, piped))
        .into_iter()
        .chain(rest)
        .collect()
}

/// Both arguments in their order.
fn both<'a>(given: &[Unevaluated<'a>], span: Span) -> Result<(&'a Expr, &'a Expr)> {
    const PARAMS: [&str; 2] = ["x", "decay"];
    let mut slots: [Option<&Expr>; 2] = [None, None];
    for (at, (name, expr)) in given.iter().enumerate() {
        let place = match name {
            None => Some(at),
            Some(name) => PARAMS.iter().position(|param| *param == &*name.name),
        };
        match place.and_then(|place| slots.get_mut(place)) {
            Some(slot @ None) => *slot = Some(expr),
            Some(Some(_)) | None => {
                let at = name.map_or(expr.span, |name| name.span);
                return fail("E0403", at, "`running` takes `x` and `decay`, each once");
            }
        }
    }
    match slots {
        [Some(x), Some(decay)] => Ok((x, decay)),
        [x, _] => {
            let error = Diagnostic::error(
                "E0401",
                span,
                "`running` wants a value of the batch, and the share of the old average that stays",
            );
            Err(Box::new(match x {
                Some(x) => error.help_edit(
                    "`0.9` forgets a batch after about ten others",
                    Span {
                        start: x.span.end,
                        ..x.span
                    },
                    ", 0.9",
                ),
                None => error.help("`running(batch_mean(h), 0.9)`"),
            }))
        }
    }
}

/// `running` where it is not called by its name, so that no model can keep its average.
pub(crate) fn as_value(span: Span) -> Result<Value> {
    fail(
        "E0507",
        span,
        "`running` is called by its name, with its arguments: the average belongs to that place",
    )
}

impl Elaborator {
    /// `running(x, decay)`; `word` is the place of its name, which tells the average.
    pub(crate) fn running(
        &mut self,
        word: Span,
        given: &[Unevaluated<'_>],
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let (x, decay) = both(given, span)?;
        let model = scope.model();
        let site = model.as_ref().and_then(|model| {
            let sites = &model.template.averages;
            let at = sites.iter().position(|site| site.span == word)?;
            model.averages.get(at).cloned()
        });
        let (Some(model), Some(average)) = (model, site) else {
            return Err(Box::new(
                Diagnostic::error("E0507", span, "`running` keeps an average in a model, but this is in no member of one")
                    .help("write it in a member, or make a model of this: `param norm: nn.BatchNorm(n)` is one of the library"),
            ));
        };
        if self.checking() {
            self.decay(decay, scope)?;
            let value = self.eval(x, scope)?;
            return Ok(match batch_value(&value, x.span)? {
                Some(tensor) => Value::Tensor(Tensor {
                    ty: tensor.ty,
                    repr: Repr::Unknown,
                }),
                None => Value::Unknown,
            });
        }
        match average {
            Average::Kept { value, .. } => Ok(Value::Tensor(value)),
            Average::Empty => Err(Box::new(
                Diagnostic::error(
                    "E0508",
                    span,
                    format!("this model {} has no average yet", model.template.def.name.name),
                )
                .note("`running` gives the average over the batches of a training, and this model has seen none")
                .help("train it first; a gradient that a script takes by itself is no training"),
            )),
            Average::Live(slot) => {
                self.in_the_batch(span)?;
                let decay = self.decay(decay, scope)?;
                let value = self.eval(x, scope)?;
                let Some(value) = batch_value(&value, x.span)? else {
                    return Ok(Value::Unknown);
                };
                let at = self.lift(&value, x.span)?;
                if self.frames.last().is_some_and(|frame| differs(frame, at)) {
                    let text = self.text(x.span);
                    return Err(Box::new(
                        Diagnostic::error(
                            "E0507",
                            x.span,
                            "`running` wants one value for the whole batch, but this differs from example to example",
                        )
                        .help_edit(
                            "`batch_mean` and `batch_var` give one",
                            x.span,
                            format!("batch_mean({text})"),
                        ),
                    ));
                }
                self.seen.push(Seen {
                    slot,
                    decay: decay.unwrap_or(0.0),
                    value: value.clone(),
                    span,
                });
                Ok(Value::Tensor(value))
            }
        }
    }

    /// The share of the old average, if it is known.
    fn decay(&mut self, expr: &Expr, scope: &Scope) -> Result<Option<f64>> {
        let value = self.eval(expr, scope)?;
        match value.as_f64() {
            Some(decay) if (0.0..1.0).contains(&decay) => Ok(Some(decay)),
            Some(decay) => fail(
                "E0307",
                expr.span,
                format!(
                    "the share of the old average is below 1 and not negative, but this is {decay}"
                ),
            ),
            None if self.checking() => Ok(None),
            None => wanted(expr.span, "a number that is known before training", &value),
        }
    }

    /// In training `running` stands where one value for the whole batch can be had.
    fn in_the_batch(&self, span: Span) -> Result<()> {
        const BEFORE: &str = "compute it before, in the member itself";
        let (inside, help) = match self.frames.last().map(|frame| &frame.kind) {
            Some(FrameKind::Map { is_batch: true, .. }) if self.taken.is_empty() => return Ok(()),
            Some(FrameKind::Map { is_batch: true, .. }) => {
                ("under a condition of each example", BEFORE)
            }
            Some(FrameKind::Map { .. }) => (
                "in a call that is mapped over an axis of each example",
                "average over that axis too, in the member itself: `running(batch_mean(rows.mean(x)), 0.9)`; \
                 `nn.LayerNorm` wants no batch",
            ),
            Some(FrameKind::Loop { .. }) => (
                "in a loop",
                "compute it before the loop, in the member itself; `nn.LayerNorm` wants no batch",
            ),
            Some(FrameKind::Derivative { .. }) => (
                "in a function that is differentiated for each example",
                BEFORE,
            ),
            Some(FrameKind::Block { .. }) => {
                ("in a block that is computed again (`remat`)", BEFORE)
            }
            Some(FrameKind::Statement { .. } | FrameKind::Step { .. }) | None => {
                ("outside of the loss", BEFORE)
            }
        };
        let message =
            format!("`running` has one value for the whole batch, but it stands {inside}");
        Err(Box::new(
            Diagnostic::error("E0507", span, message).help(help),
        ))
    }

    /// The averages that a value's models keep, as they are at the start of a training: those that
    /// `loss` uses and that saw no batch yet get a shape, and weigh nothing.
    pub(crate) fn started_averages(
        &mut self,
        model: &Value,
        loss: impl FnOnce(&mut Elaborator, &Value) -> Result<Vec<Seen>>,
    ) -> Result<Value> {
        let mut empty = false;
        map_averages(model, &mut |place| {
            empty |= place.changes && matches!(place.average, Average::Empty);
            place.average.clone()
        });
        if !empty {
            return Ok(model.clone());
        }
        let (live, _) = live(model);
        let seen = loss(self, &live)?;
        let float = self.float();
        let mut fault = None;
        let mut slot = 0;
        let started = map_averages(model, &mut |place| {
            if !place.changes {
                return place.average.clone();
            }
            slot += 1;
            let used = seen.iter().find(|seen| seen.slot + 1 == slot);
            let (Average::Empty, Some(used)) = (place.average, used) else {
                return place.average.clone();
            };
            let Some(dims) = used.value.ty.dims() else {
                fault = Some(used.span);
                return Average::Empty;
            };
            let zeros = |dims: &[usize], elem| match Value::concrete(HostTensor::zeros(elem, dims))
            {
                Value::Tensor(tensor) => tensor,
                _ => used.value.clone(),
            };
            Average::Kept {
                value: zeros(&dims, used.value.ty.elem),
                weight: zeros(&[], float),
            }
        });
        match fault {
            Some(at) => fail("E0305", at, "the shape of this average is not known here"),
            None => Ok(started),
        }
    }

    /// The averages after a batch: each value that was seen moves its own,
    /// `a ← a + (1 - decay) / w (v - a)` where `w ← decay w + (1 - decay)`, so that the average is
    /// right from the first batch on and needs no start.
    pub(crate) fn updated_averages(
        &mut self,
        kept: &mut [Option<Kept>],
        seen: &[Seen],
    ) -> Result<()> {
        for seen in seen {
            let (span, decay) = (seen.span, seen.decay);
            let Some(Some(old)) = kept.get(seen.slot) else {
                return fail(
                    "E0490",
                    span,
                    "this average was not there when training began",
                );
            };
            if seen.value.ty.dims() != old.value.ty.dims() {
                return Err(Box::new(
                    Diagnostic::error(
                        "E0301",
                        span,
                        format!(
                            "the average kept here is {}, but this batch gives {}",
                            old.value.ty, seen.value.ty
                        ),
                    )
                    .help("a model that is called with several shapes wants a `running` for each"),
                ));
            }
            let number = |x: f64| Value::real(x, old.weight.ty.elem);
            let value = Value::Tensor(seen.value.clone());
            let average = Value::Tensor(old.value.clone());
            let weight = Value::Tensor(old.weight.clone());
            let mut op = |op, a: &Value, b: &Value| self.binary(op, (a, span), (b, span), span);
            let left = op(BinaryOp::Mul, &number(decay), &weight)?;
            let weight = op(BinaryOp::Add, &left, &number(1.0 - decay))?;
            let share = op(BinaryOp::Div, &number(1.0 - decay), &weight)?;
            let apart = op(BinaryOp::Sub, &value, &average)?;
            let moved = op(BinaryOp::Mul, &apart, &share)?;
            let average = op(BinaryOp::Add, &average, &moved)?;
            if let (Value::Tensor(value), Value::Tensor(weight)) = (average, weight) {
                kept[seen.slot] = Some(Kept { value, weight });
            }
        }
        Ok(())
    }
}

/// What is averaged: a tensor of reals.
fn batch_value(value: &Value, span: Span) -> Result<Option<Tensor>> {
    match value {
        Value::Unknown => Ok(None),
        Value::Tensor(tensor) if tensor.ty.elem.is_float() => Ok(Some(tensor.clone())),
        other => wanted(span, "a tensor of reals", other),
    }
}

/// Whether a value of a batch's body is another for each example: it depends on the example by
/// another way than through a mean over the batch.
fn differs(frame: &Frame, value: IrValue) -> bool {
    let FrameKind::Map { operands, .. } = &frame.kind else {
        return false;
    };
    let (mut open, mut known) = (vec![value], FxHashSet::default());
    while let Some(value) = open.pop() {
        if !known.insert(value) {
            continue;
        }
        match frame.f.values[value].def {
            Def::Param(at) => {
                if operands.get(at as usize).is_none_or(|(_, mapped)| *mapped) {
                    return true;
                }
            }
            Def::Result(inst, _) => {
                let data = &frame.f.insts[inst];
                if !matches!(data.op, Op::BatchMean) {
                    open.extend(data.operands.iter().copied());
                }
            }
        }
    }
    false
}

/// The model for the loss of a step: all averages that training changes are live. Beside it what
/// they are so far, by their numbers.
pub(crate) fn live(model: &Value) -> (Value, Vec<Option<Kept>>) {
    let mut kept = Vec::new();
    let model = map_averages(model, &mut |place| {
        if !place.changes {
            return place.average.clone();
        }
        kept.push(match place.average {
            Average::Kept { value, weight } => Some(Kept {
                value: value.clone(),
                weight: weight.clone(),
            }),
            Average::Empty | Average::Live(_) => None,
        });
        Average::Live(kept.len() - 1)
    });
    (model, kept)
}

/// The model after a step, whose averages are no longer live.
pub(crate) fn with_kept(model: &Value, kept: &[Option<Kept>]) -> Value {
    map_averages(model, &mut |place| match place.average {
        Average::Live(slot) => match kept.get(*slot) {
            Some(Some(kept)) => Average::Kept {
                value: kept.value.clone(),
                weight: kept.weight.clone(),
            },
            _ => Average::Empty,
        },
        other => other.clone(),
    })
}

/// The model with averages that saw no batch forgotten.
pub fn settled(model: &Value) -> Value {
    map_averages(model, &mut |place| match place.average {
        Average::Kept { weight, .. } if Value::Tensor(weight.clone()).as_f64() == Some(0.0) => {
            Average::Empty
        }
        other => other.clone(),
    })
}

/// The model with the averages that `get` has by their paths, and no others.
pub fn with_averages(model: &Value, get: &dyn Fn(&str) -> Option<Arc<HostTensor>>) -> Value {
    map_averages(model, &mut |place| {
        let weight = format!("{}.{WEIGHT}", place.path);
        match (
            get(&place.path).map(Value::shared),
            get(&weight).map(Value::shared),
        ) {
            (Some(Value::Tensor(value)), Some(Value::Tensor(weight)))
                if value.ty.elem.is_float() && weight.is_scalar() && weight.ty.elem.is_float() =>
            {
                Average::Kept { value, weight }
            }
            _ => Average::Empty,
        }
    })
}

/// Whether a path of [`crate::leaves`] belongs to an average, its value or its weight: where
/// `running` is called no param has this name.
pub fn is_of_average(path: &str) -> bool {
    let mut parts = path.split('.');
    parts.any(|part| part == NAME) && parts.next().is_some()
}

/// How many averages models have for what they train, filled or not.
pub fn average_count(model: &Value) -> usize {
    let mut count = 0;
    map_averages(model, &mut |place| {
        count += 1;
        place.average.clone()
    });
    count
}
