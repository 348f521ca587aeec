//! `scan`, `iterate`, `while` and `reduce` over a tensor: calls that trace one round of a loop.
//!
//! The state keeps its exact type from round to round, sizes and `?` included (SEMANTICS.md F3);
//! a whole number written in the first state becomes real if the rounds make it so.

use crate::error::{fail, show_type};
use crate::leaves::{Leaf, leaves, map_tensors, with_leaves};
use crate::ops::as_tensor;
use crate::trace::{FrameKind, Snapshot};
use crate::train::holds_unknown;
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Loop, Op, Type, Value as IrValue};
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};

/// One loop, before it is traced.
#[derive(Clone)]
pub(crate) struct Rounds {
    /// The builtin's name, for messages.
    pub(crate) name: &'static str,
    /// Number of rounds.
    pub(crate) count: Dim,
    /// The first state, and its place.
    pub(crate) state: (Value, Span),
    /// What gives each round an entry of its leading axis.
    pub(crate) sequences: Vec<Value>,
    /// Whether the rounds go from the last entry to the first.
    pub(crate) reverse: bool,
    /// Whether the first leaf of the state says that no more rounds are wanted.
    pub(crate) exit: bool,
    /// The rounds are the nodes of a tree (see [`Loop::nodes`]), and so many of them count.
    pub(crate) nodes: Option<Tensor>,
    /// The call.
    pub(crate) span: Span,
}

/// The last state and, if the rounds gave any, what they gave, stacked.
pub(crate) struct Ran {
    pub(crate) state: Value,
    pub(crate) given: Value,
}

/// The next state and what the round gives (unit for nothing).
type Round<'a> = &'a mut dyn FnMut(&mut Elaborator, &Value, &[Value]) -> Result<(Value, Value)>;

/// Why a round does not fit its state.
enum Misfit {
    /// These leaves are whole numbers that the round makes real.
    Widens(Vec<(usize, Elem)>),
    /// There is no help.
    Error(Box<Diagnostic>),
}

impl Elaborator {
    /// Traces a loop. `round` is traced once, or twice if numbers of the state become real.
    pub(crate) fn run_rounds(&mut self, rounds: &Rounds, round: Round<'_>) -> Result<Ran> {
        let state = self.stack(&rounds.state.0, rounds.state.1)?;
        if let Some(part) = fixed_part(&state) {
            return Err(Box::new(
                Diagnostic::error(
                    "E0317",
                    rounds.state.1,
                    format!(
                        "the state of `{}` holds {}, which compiled rounds cannot change",
                        rounds.name,
                        part.describe()
                    ),
                )
                .help("over a list, `reduce` and `scan` go entry by entry in the script"),
            ));
        }
        let alone = rounds.exit || rounds.nodes.is_some();
        if alone {
            self.alone.push(rounds.name);
        }
        let ran = self.attempts(rounds, state, round);
        if alone {
            self.alone.pop();
        }
        ran
    }

    fn attempts(&mut self, rounds: &Rounds, state: Value, round: Round<'_>) -> Result<Ran> {
        let snapshot: Snapshot = self.snapshot();
        let first = self.attempt(rounds, &state, round);
        let misfit = match first {
            Ok(Ok(ran)) => return Ok(ran),
            Ok(Err(Misfit::Error(error))) | Err(error) => Err(error),
            Ok(Err(Misfit::Widens(places))) => Ok(places),
        };
        // Whole numbers written in the first state may be meant as reals: those that the round
        // makes real, or all if the round can do nothing with them.
        let float = self.float();
        let places = match &misfit {
            Ok(places) => places.clone(),
            Err(_) => leaves(&state)
                .iter()
                .enumerate()
                .filter(|(_, leaf)| leaf.tensor.tensor().is_some_and(Tensor::is_static_int))
                .map(|(at, _)| (at, float))
                .collect(),
        };
        if let (true, Err(error)) = (places.is_empty(), &misfit) {
            return Err(error.clone());
        }
        let found = self.found_since(&snapshot);
        self.restore(snapshot.clone());
        let state = self.widened(&state, &places, rounds.span)?;
        match (self.attempt(rounds, &state, round), misfit) {
            (Ok(Ok(ran)), Ok(_)) => Ok(ran),
            (Ok(Ok(ran)), Err(_)) if self.found_since(&snapshot).is_empty() => Ok(ran),
            (_, Err(error)) => {
                // What the first attempt met is what the script says.
                self.restore(snapshot);
                self.found.extend(found);
                Err(error)
            }
            (Err(error) | Ok(Err(Misfit::Error(error))), Ok(_)) => Err(error),
            (Ok(Err(Misfit::Widens(_))), Ok(_)) => fail(
                "E0317",
                rounds.state.1,
                format!("the state of this `{}` has no one type", rounds.name),
            ),
        }
    }

    fn attempt(
        &mut self,
        rounds: &Rounds,
        state: &Value,
        round: Round<'_>,
    ) -> Result<std::result::Result<Ran, Misfit>> {
        match self.checking() {
            true => self.check_round(rounds, state, round),
            false => self.trace_rounds(rounds, state, round),
        }
    }

    /// The state with the numbers at `places` converted.
    fn widened(&mut self, state: &Value, places: &[(usize, Elem)], span: Span) -> Result<Value> {
        let mut new = Vec::new();
        for (at, leaf) in leaves(state).into_iter().enumerate() {
            let wider = places.iter().find(|(place, _)| *place == at);
            new.push(match (wider, &leaf.tensor) {
                (Some(&(_, elem)), Value::Tensor(tensor)) => {
                    Value::Tensor(self.convert(tensor, elem, span)?)
                }
                (_, value) => value.clone(),
            });
        }
        Ok(with_leaves(state, &mut new.into_iter(), false))
    }

    fn check_round(
        &mut self,
        rounds: &Rounds,
        state: &Value,
        round: Round<'_>,
    ) -> Result<std::result::Result<Ran, Misfit>> {
        let unknown = |tensor: &Tensor| Tensor {
            ty: tensor.ty.clone(),
            repr: Repr::Unknown,
        };
        let entry = map_tensors(state, &mut |tensor| unknown(tensor));
        let slices: Vec<Value> = rounds
            .sequences
            .iter()
            .map(|sequence| {
                map_tensors(sequence, &mut |tensor| Tensor {
                    ty: without_axis(&tensor.ty),
                    repr: Repr::Unknown,
                })
            })
            .collect();
        self.pure_depth += 1;
        let mark = self.lengths_mark();
        let slices: Vec<Value> = slices.iter().map(|slice| self.open(slice)).collect();
        let result = round(self, &entry, &slices).and_then(|(next, given)| {
            let given = self.close(given, mark, rounds.span)?;
            Ok((next, given))
        });
        self.forget_lengths(mark);
        self.pure_depth -= 1;
        let (next, given) = result?;
        if holds_unknown(&next) || holds_unknown(state) {
            return Ok(Ok(Ran {
                state: Value::Unknown,
                given: Value::Unknown,
            }));
        }
        let fits = self.fits(rounds, state, &next);
        Ok(fits.map(|()| Ran {
            state: entry,
            given: map_tensors(&given, &mut |tensor| Tensor {
                ty: with_axis(&tensor.ty, &rounds.count),
                repr: Repr::Unknown,
            }),
        }))
    }

    fn trace_rounds(
        &mut self,
        rounds: &Rounds,
        state: &Value,
        round: Round<'_>,
    ) -> Result<std::result::Result<Ran, Misfit>> {
        let span = rounds.span;
        let Some(count) = rounds.count.size.room() else {
            return fail(
                "E0305",
                span,
                format!(
                    "the number of rounds of this `{}` is not known here",
                    rounds.name
                ),
            );
        };
        if rounds.exit {
            self.fixed_rounds(rounds)?;
        }
        let mut rounds = rounds.clone();
        let real = self.inside(std::slice::from_ref(&rounds.count), None, span)?;
        let varies = real.is_some();
        rounds.sequences.extend(real.map(Value::Tensor));
        let rounds = &rounds;
        // Operands are lifted in the frame around before the round's frame opens.
        let state_operands = self.lifted_leaves(state, span)?;
        let mut slice_operands = Vec::new();
        for sequence in &rounds.sequences {
            slice_operands.extend(self.lifted_leaves(sequence, span)?);
        }
        // No round is run beyond the longest of a batch; each example's state stays as it is
        // beyond its own length.
        let limit = match &rounds.nodes {
            Some(nodes) => Some(self.lift(nodes, span)?),
            None if varies => Some(self.size_value(&rounds.count.size, span)?),
            None => None,
        };
        self.push_frame(
            "round",
            FrameKind::Loop {
                count,
                index: None,
                constants: Vec::new(),
            },
        );
        let mark = self.lengths_mark();
        let (real, taken) = (self.varying.rounds.len(), self.taken.len());
        let body = self.trace_round(rounds, varies, state, round);
        self.forget_lengths(mark);
        self.varying.rounds.truncate(real);
        self.taken.truncate(taken);
        let frame = self.pop_frame();
        let (next, given, results) = match body? {
            Ok(traced) => traced,
            Err(misfit) => return Ok(Err(misfit)),
        };
        let Some(mut frame) = frame else {
            return fail("E0490", span, "a loop ended twice");
        };
        let FrameKind::Loop { constants, .. } = frame.kind else {
            return fail("E0490", span, "a loop ended inside another construct");
        };
        frame.f.results = results;
        let carried = state_operands.len();
        let types: Vec<Type> = frame
            .f
            .results
            .iter()
            .enumerate()
            .map(|(at, &value)| {
                let ty = frame.f.ty(value);
                if at < carried {
                    return ty.clone();
                }
                let dims: Vec<usize> = std::iter::once(count)
                    .chain(ty.dims.iter().copied())
                    .collect();
                ty.with_dims(&dims)
            })
            .collect();
        let op = Op::Loop(Loop {
            count,
            carried,
            sliced: slice_operands.len(),
            reverse: rounds.reverse,
            exit: rounds.exit,
            recomputed: false,
            limited: limit.is_some(),
            nodes: rounds.nodes.is_some(),
            body: Box::new(frame.f),
        });
        let operands: Vec<IrValue> = state_operands
            .into_iter()
            .chain(slice_operands)
            .chain(constants)
            .chain(limit)
            .collect();
        let outer = self.top();
        let id = outer.id;
        let inst = outer.f.push(op, &operands, &types, span);
        let traced = outer.f.insts[inst].results.clone();
        let mut values = traced.iter().map(|&value| Repr::Traced(id, value));
        let last = retraced(&next, &mut values, |ty| ty.clone());
        let given = retraced(&given, &mut values, |ty| with_axis(ty, &rounds.count));
        Ok(Ok(Ran { state: last, given }))
    }

    /// Traces the body in the frame that is open: params, one round, and its results.
    #[allow(clippy::type_complexity)]
    fn trace_round(
        &mut self,
        rounds: &Rounds,
        varies: bool,
        state: &Value,
        round: Round<'_>,
    ) -> Result<std::result::Result<(Value, Value, Vec<IrValue>), Misfit>> {
        let span = rounds.span;
        let mark = self.lengths_mark();
        let frame = self.top();
        let counter = frame.f.param(Type::scalar(Elem::I64), "round");
        if let FrameKind::Loop { index, .. } = &mut frame.kind {
            *index = Some(counter);
        }
        let entry = self.params_like(state, span, |ty| ty.clone())?;
        let mut slices = Vec::new();
        for sequence in &rounds.sequences {
            let one = self.params_like(sequence, span, without_axis)?;
            slices.push(self.open(&one));
        }
        let real = match slices.pop_if(|_| varies) {
            Some(flag) => Some(as_tensor(&flag, span, "a bool")?),
            None => None,
        };
        self.varying.rounds.extend(real.clone());
        self.taken.extend(real);
        let (next, given) = round(self, &entry, &slices)?;
        let next = self.stack(&next, span)?;
        if let Err(misfit) = self.fits(rounds, state, &next) {
            return Ok(Err(misfit));
        }
        let given = self.close(given, mark, span)?;
        let mut results = self.lifted_leaves(&next, span)?;
        results.extend(self.lifted_leaves(&given, span)?);
        Ok(Ok((next, given, results)))
    }

    /// A loop that may stop early has a number of rounds that is the same for all examples.
    fn fixed_rounds(&self, rounds: &Rounds) -> Result<()> {
        match rounds.count.size.varies() {
            true => Err(Box::new(crate::varying::refused(
                &rounds.count,
                &format!("`{}`", rounds.name),
                rounds.span,
            ))),
            false => Ok(()),
        }
    }

    fn params_like(
        &mut self,
        value: &Value,
        span: Span,
        change: impl Fn(&TensorType) -> TensorType,
    ) -> Result<Value> {
        let mut params = Vec::new();
        for leaf in leaves(value) {
            let tensor = as_tensor(&leaf.tensor, span, "a tensor")?;
            let (param, _) = self.traced_param(&change(&tensor.ty), "", span)?;
            params.push(Value::Tensor(param));
        }
        Ok(with_leaves(value, &mut params.into_iter(), false))
    }

    pub(crate) fn lifted_leaves(&mut self, value: &Value, span: Span) -> Result<Vec<IrValue>> {
        let mut lifted = Vec::new();
        for leaf in leaves(value) {
            if let Value::Tensor(tensor) = &leaf.tensor {
                lifted.push(self.lift(tensor, span)?);
            }
        }
        Ok(lifted)
    }

    /// An error unless the next state is of the type of the state.
    pub(crate) fn same_state(&self, rounds: &Rounds, state: &Value, next: &Value) -> Result<()> {
        match self.fits(rounds, state, next) {
            Ok(()) => Ok(()),
            Err(Misfit::Error(error)) => Err(error),
            Err(Misfit::Widens(_)) => fail(
                "E0317",
                rounds.state.1,
                format!("the state of this `{}` has no one type", rounds.name),
            ),
        }
    }

    /// Whether the next state is of the type of the state.
    fn fits(
        &self,
        rounds: &Rounds,
        state: &Value,
        next: &Value,
    ) -> std::result::Result<(), Misfit> {
        let (before, after) = (leaves(state), leaves(next));
        let paths = |leaves: &[Leaf]| -> Vec<String> {
            leaves.iter().map(|leaf| leaf.path.clone()).collect()
        };
        if paths(&before) != paths(&after) {
            let diagnostic = Diagnostic::error(
                "E0317",
                rounds.span,
                format!(
                    "the state of this `{}` is {}, but a round makes it {}",
                    rounds.name,
                    state.describe(),
                    next.describe()
                ),
            )
            .label(rounds.state.1, "the first state")
            .help("every round gives a state of the same type");
            return Err(Misfit::Error(Box::new(diagnostic)));
        }
        let mut wider = Vec::new();
        for (at, (old, new)) in before.iter().zip(&after).enumerate() {
            let (Value::Tensor(old), Value::Tensor(new)) = (&old.tensor, &new.tensor) else {
                continue;
            };
            let same_shape = crate::value::may_agree(&old.ty.shape, &new.ty.shape);
            if same_shape && old.ty.elem == new.ty.elem {
                continue;
            }
            if same_shape && old.is_static_int() && new.ty.elem.is_float() {
                wider.push((at, new.ty.elem));
                continue;
            }
            if same_shape && old.ty.elem.is_float() && new.is_static_int() {
                continue;
            }
            let mut diagnostic = Diagnostic::error(
                "E0317",
                rounds.span,
                format!(
                    "the state of this `{}` is {}, but a round makes it {}",
                    rounds.name,
                    show_type(&old.ty),
                    show_type(&new.ty)
                ),
            )
            .label(
                rounds.state.1,
                format!("the first state: {}", show_type(&old.ty)),
            )
            .help("every round gives a state of the same type and size");
            for dim in old.ty.shape.iter().chain(&new.ty.shape) {
                diagnostic = crate::error::with_origin(diagnostic, dim);
            }
            return Err(Misfit::Error(Box::new(diagnostic)));
        }
        match wider.is_empty() {
            true => Ok(()),
            false => Err(Misfit::Widens(wider)),
        }
    }
}

/// A part of a state that is no tensor, nor made of tensors.
fn fixed_part(state: &Value) -> Option<&Value> {
    match state {
        Value::Tensor(_)
        | Value::Token(_)
        | Value::Maybe(_)
        | Value::Tree(_)
        | Value::Ragged(_)
        | Value::Model(_)
        | Value::Unknown => None,
        Value::Tuple(parts) | Value::List(parts) => parts.iter().find_map(fixed_part),
        Value::Record(fields) => fields.iter().find_map(|(_, part)| fixed_part(part)),
        Value::Unit
        | Value::Str(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Vocab(_) => Some(state),
    }
}

pub(crate) fn without_axis(ty: &TensorType) -> TensorType {
    TensorType {
        elem: ty.elem,
        shape: ty.shape.iter().skip(1).cloned().collect(),
    }
}

pub(crate) fn with_axis(ty: &TensorType, dim: &Dim) -> TensorType {
    TensorType {
        elem: ty.elem,
        shape: std::iter::once(dim.clone())
            .chain(ty.shape.iter().cloned())
            .collect(),
    }
}

/// The value with its tensors replaced by results of the loop.
fn retraced(
    value: &Value,
    results: &mut dyn Iterator<Item = Repr>,
    change: impl Fn(&TensorType) -> TensorType,
) -> Value {
    let new: Vec<Value> = leaves(value)
        .into_iter()
        .map(|leaf| match (&leaf.tensor, results.next()) {
            (Value::Tensor(tensor), Some(repr)) => Value::Tensor(Tensor {
                ty: change(&tensor.ty),
                repr,
            }),
            (other, _) => other.clone(),
        })
        .collect();
    with_leaves(value, &mut new.into_iter(), false)
}
