//! `grad` and its kin: functions of functions that trace a derivative region.

use crate::around::Parameters;
use crate::call::Args;
use crate::error::{fail, wanted};
use crate::leaves::{Leaf, leaves, with_leaves};
use crate::seeds::Role;
use crate::trace::FrameKind;
use crate::value::{Maybe, Model, Ragged, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Mode, Op, Type, Value as IrValue};
use aec_runtime::Elem;
use aec_syntax::ast::Ident;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// Which derivative a function value computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Grad,
    ValueAndGrad,
    Jacobian,
    Jvp,
    Vjp,
    HessianVector,
}

impl Kind {
    /// How many arguments stand after those of the function.
    fn seeds(self) -> usize {
        match self {
            Kind::Grad | Kind::ValueAndGrad | Kind::Jacobian => 0,
            Kind::Jvp | Kind::Vjp | Kind::HessianVector => 1,
        }
    }
}

/// What came out of a derivative region.
pub(crate) struct Differentiated {
    /// The function's value.
    pub(crate) value: Value,
    /// One derivative for each active leaf (and float result leaf, for a Jacobian).
    pub(crate) derivatives: Vec<Tensor>,
    /// Whether small changes of what it is differentiated by can change the first result at all, or
    /// a discrete draw was warned of that hides them.
    pub(crate) moves: bool,
}

/// What a derivative region is given to carry through.
pub(crate) enum Seeds<'a> {
    /// Of `Vjp`: 1 for the first result, which must be one real number, and 0 for others.
    One,
    /// Of `Vjp`: a value built like the function's.
    Cotangent(&'a Value),
    /// Of `Jvp`: one for each active tensor.
    Tangents(&'a [Tensor]),
    /// Of `Jacobian`.
    None,
}

impl Elaborator {
    /// `grad(f)` and the like: a function of the arguments of `f` (and of a tangent or cotangent
    /// after them).
    pub(crate) fn derivative_of(
        &mut self,
        kind: Kind,
        f: &Value,
        wrt: Option<(Ident, Value)>,
        span: Span,
    ) -> Result<Value> {
        if matches!(f, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        if !matches!(f, Value::Fn(_) | Value::Builtin(_) | Value::Model(_)) {
            return wanted(span, "a function", f).map_err(|error| {
                Box::new(error.help("a derivative is of a function: `grad(fn x -> sum(x ^ 2))(x)`"))
            });
        }
        let place = match wrt {
            Some((at, name)) => self.parameter_place(f, &name, at.span)?,
            None => 0,
        };
        let name = match kind {
            Kind::Grad => "grad(…)",
            Kind::ValueAndGrad => "value_and_grad(…)",
            Kind::Jacobian => "jacobian(…)",
            Kind::Jvp => "jvp(…)",
            Kind::Vjp => "vjp(…)",
            Kind::HessianVector => "hessian_vector(…)",
        };
        let inner = f.clone();
        let run = move |elaborator: &mut Elaborator, args: Args, at: Span| {
            elaborator.differentiate_call(kind, &inner, place, args, at)
        };
        let behind = kind.seeds();
        Ok(crate::around::around(f, behind, name, span, Box::new(run)))
    }

    /// The place of a parameter of a function, by name.
    fn parameter_place(&mut self, f: &Value, name: &Value, span: Span) -> Result<usize> {
        let Value::Str(name) = name else {
            return wanted(span, "the name of a parameter in quotes", name);
        };
        let parameters = self.parameters(f)?;
        if let Some(at) = parameters.place(name) {
            return Ok(at);
        }
        let message = format!("{} has no parameter `{name}`", f.describe());
        let mut error = Diagnostic::error("E0403", span, message);
        let names = parameters.names();
        let named: Vec<&str> = names
            .iter()
            .copied()
            .filter(|own| !own.is_empty())
            .collect();
        if !named.is_empty() {
            error = error.note(format!("its parameters are {}", named.join(", ")));
        }
        if named.len() < names.len() {
            error = error.note(
                "a parameter in parentheses has parts with names, and none of its own: \
                                a derivative by it is built like it",
            );
        }
        Err(Box::new(error))
    }

    /// A derivative of a function by its argument at `place`. The direction or cotangent is the
    /// last one without a name.
    fn differentiate_call(
        &mut self,
        kind: Kind,
        f: &Value,
        place: usize,
        mut args: Args,
        span: Span,
    ) -> Result<Value> {
        let seed = match kind.seeds() {
            0 => None,
            _ => args.positional.pop().map(|(seed, _)| seed),
        };
        let parameters = self.parameters(f)?;
        let wants = match kind {
            Kind::Grad | Kind::ValueAndGrad | Kind::Jacobian => {
                "a derivative wants the place where it is taken"
            }
            Kind::Jvp | Kind::HessianVector => {
                "this derivative wants a place and a direction: `jvp(f)(x, v)`"
            }
            Kind::Vjp => "`vjp` wants a place and a cotangent: `vjp(f)(x, c)`",
        };
        if args.positional.is_empty() && args.named.is_empty() {
            return fail("E0401", span, wants);
        }
        let args = self.with_defaults(&parameters, args, place + 1, span)?;
        let own = args.positional.len().saturating_sub(parameters.behind);
        let of_name = |(name, _): &(Ident, Value)| parameters.place(&name.name) == Some(place);
        let named = args.named.iter().position(of_name);
        let first = match named {
            _ if place < own => args.positional[place].0.clone(),
            Some(at) => args.named[at].1.clone(),
            None => return fail("E0401", span, wants),
        };
        if crate::train::holds_unknown(&first) {
            return Ok(Value::Unknown);
        }
        let first = match first {
            Value::Tensor(tensor) if tensor.is_static_int() => {
                let float = self.float();
                Value::Tensor(self.convert(&tensor, float, span)?)
            }
            other => other,
        };
        // The arguments with another one that counts.
        let at = |x: &Value| {
            let mut all = args.clone();
            match named {
                _ if place < own => all.positional[place].0 = x.clone(),
                Some(at) => all.named[at].1 = x.clone(),
                None => {}
            }
            all
        };
        match kind {
            Kind::Grad | Kind::ValueAndGrad => {
                let (value, gradient, _) =
                    self.value_and_gradient(&first, span, |elaborator, x| {
                        let value = elaborator.call_value(f, at(x), span)?;
                        match one_real(&value, span) {
                            Ok(()) => Ok(value),
                            Err(error) => Err(elaborator.of_each(*error, &parameters, place, x)),
                        }
                    })?;
                Ok(if kind == Kind::Grad {
                    gradient
                } else {
                    Value::tuple(vec![value, gradient])
                })
            }
            Kind::Jacobian => {
                let active = float_leaves(&first, span)?;
                let done = self.region(
                    Mode::Jacobian,
                    &first,
                    &active,
                    Seeds::None,
                    span,
                    |elaborator, x| elaborator.call_value(f, at(x), span),
                )?;
                if let Some(value) = missing_in(&done.value) {
                    return Err(Box::new(jacobian_of_missing(value, span)));
                }
                let outputs = leaves(&done.value);
                let mut tables = done.derivatives.into_iter();
                let mut rows = Vec::new();
                for output in &outputs {
                    of_reals(&output.tensor, "a Jacobian", span)?;
                    let mut own = tables.by_ref().take(active.len()).map(Value::Tensor);
                    let row = gradient_of(&first, &mut own);
                    rows.push(self.gradient_missing(&row, span)?);
                }
                Ok(with_structure(&done.value, &mut rows.into_iter()))
            }
            Kind::Jvp | Kind::HessianVector => {
                let tangent = seed.unwrap_or(Value::Unit);
                let active = float_leaves(&first, span)?;
                let tangents = self.seeds(Role::Direction, &first, &tangent, span)?;
                let done = self.region(
                    Mode::Jvp,
                    &first,
                    &active,
                    Seeds::Tangents(&tangents),
                    span,
                    |elaborator, x| match kind {
                        Kind::HessianVector => {
                            elaborator.differentiate_call(Kind::Grad, f, place, at(x), span)
                        }
                        _ => elaborator.call_value(f, at(x), span),
                    },
                )?;
                all_reals(&done.value, "a derivative", span)?;
                let mut tangents = done.derivatives.into_iter().map(Value::Tensor);
                // What is missing in the value has a missing slope.
                let mut own = leaves(&done.value).into_iter().map(|leaf| {
                    let float = matches!(&leaf.tensor, Value::Tensor(t) if t.ty.elem.is_float());
                    match float {
                        true => tangents.next().unwrap_or(leaf.tensor),
                        false => leaf.tensor,
                    }
                });
                let out = with_leaves(&done.value, &mut own, false);
                Ok(if kind == Kind::HessianVector {
                    out
                } else {
                    Value::tuple(vec![done.value, out])
                })
            }
            Kind::Vjp => {
                let cotangent = seed.unwrap_or(Value::Unit);
                let active = float_leaves(&first, span)?;
                let done = self.region(
                    Mode::Vjp,
                    &first,
                    &active,
                    Seeds::Cotangent(&cotangent),
                    span,
                    |elaborator, x| elaborator.call_value(f, at(x), span),
                )?;
                let mut own = done.derivatives.into_iter().map(Value::Tensor);
                let gradient = gradient_of(&first, &mut own);
                self.gradient_missing(&gradient, span)
            }
        }
    }

    /// A gradient of a function that was mapped, as its argument has more axes than it declares.
    fn of_each(
        &self,
        error: Diagnostic,
        parameters: &Parameters,
        place: usize,
        at: &Value,
    ) -> Box<Diagnostic> {
        let ty = parameters.declared().get(place).and_then(|p| p.ty.as_ref());
        let mapped =
            ty.is_some_and(|ty| self.frame_of(ty, at).is_ok_and(|frame| !frame.is_empty()));
        Box::new(match mapped {
            true => error.help(
                "the function is mapped over these: `map(grad(f), xs)` is the gradient of each",
            ),
            false => error,
        })
    }

    /// Value and gradient of a function of one value, whose first result is one real number: what
    /// the gradient is of; and whether that can be other than zero (`Differentiated::moves`).
    pub(crate) fn value_and_gradient(
        &mut self,
        at: &Value,
        span: Span,
        f: impl FnOnce(&mut Elaborator, &Value) -> Result<Value>,
    ) -> Result<(Value, Value, bool)> {
        let active = float_leaves(at, span)?;
        let done = self.region(Mode::Vjp, at, &active, Seeds::One, span, f)?;
        let mut own = done.derivatives.into_iter().map(Value::Tensor);
        let gradient = gradient_of(at, &mut own);
        let gradient = self.gradient_missing(&gradient, span)?;
        Ok((done.value, gradient, done.moves))
    }

    /// Traces a function as a derivative region.
    pub(crate) fn region(
        &mut self,
        mode: Mode,
        at: &Value,
        active: &[Tensor],
        seeds: Seeds<'_>,
        span: Span,
        f: impl FnOnce(&mut Elaborator, &Value) -> Result<Value>,
    ) -> Result<Differentiated> {
        if self.checking() {
            return self.region_types(mode, at, active, seeds, span, f);
        }
        let mut operands = Vec::new();
        for tensor in active {
            operands.push(self.lift(tensor, span)?);
        }
        let active_count = operands.len();
        self.push_frame(
            "derivative",
            FrameKind::Derivative {
                operands: operands.clone(),
                active: active_count,
            },
        );
        let mut params = Vec::new();
        for tensor in active {
            let made = self.traced_param(&tensor.ty, "", span);
            match made {
                Ok((param, _)) => params.push(Value::Tensor(param)),
                Err(error) => {
                    self.pop_frame();
                    return Err(error);
                }
            }
        }
        let replaced = with_float_leaves(at, &mut params.into_iter());
        let result = f(self, &replaced).and_then(|value| {
            let mut results = Vec::new();
            for leaf in leaves(&value) {
                if let Value::Tensor(tensor) = &leaf.tensor {
                    results.push(self.lift(tensor, span)?);
                }
            }
            Ok((value, results))
        });
        let frame = self.pop_frame();
        let (value, results) = result?;
        let Some(mut frame) = frame else {
            return fail("E0490", span, "a derivative ended twice");
        };
        frame.f.results = results;
        let FrameKind::Derivative { operands, .. } = frame.kind else {
            return fail("E0490", span, "a derivative ended inside another construct");
        };
        let moves = self.warn_of_discrete(&frame.f, active_count, span);
        let result_types: Vec<Type> = frame
            .f
            .results
            .iter()
            .map(|&value| frame.f.ty(value).clone())
            .collect();
        let active_types: Vec<Type> = frame.f.params[..active_count]
            .iter()
            .map(|&p| frame.f.ty(p).clone())
            .collect();
        let mut all: Vec<IrValue> = operands;
        let mut types = result_types.clone();
        let cotangents;
        let seeds = match seeds {
            Seeds::Cotangent(given) => {
                cotangents = self.cotangent(&value, given, span)?;
                cotangents.as_slice()
            }
            Seeds::Tangents(tangents) => tangents,
            Seeds::One | Seeds::None => &[],
        };
        match mode {
            Mode::Vjp => {
                let mut given = seeds.iter();
                for (at, ty) in result_types
                    .iter()
                    .enumerate()
                    .filter(|(_, ty)| ty.elem.is_float())
                {
                    let seed = match given.next() {
                        Some(seed) => self.lift(seed, span)?,
                        None => {
                            let number = if at == 0 { 1.0 } else { 0.0 };
                            self.top().f.number(number, ty.clone(), span)
                        }
                    };
                    all.push(seed);
                }
                types.extend(active_types);
            }
            Mode::Jvp => {
                for seed in seeds {
                    all.push(self.lift(seed, span)?);
                }
                types.extend(result_types.iter().filter(|ty| ty.elem.is_float()).cloned());
            }
            Mode::Jacobian => {
                for out in result_types.iter().filter(|ty| ty.elem.is_float()) {
                    for input in &active_types {
                        let dims: Vec<usize> =
                            out.dims.iter().chain(&input.dims).copied().collect();
                        types.push(out.with_dims(&dims));
                    }
                }
            }
        }
        let flags: Vec<bool> = (0..frame.f.params.len())
            .map(|param| param < active_count)
            .collect();
        let op = Op::Derivative {
            mode,
            active: flags,
            body: Box::new(frame.f),
        };
        let outer = self.top();
        let id = outer.id;
        let inst = outer.f.push(op, &all, &types, span);
        let traced = outer.f.insts[inst].results.clone();
        let inner = leaves(&value);
        let count = result_types.len();
        let mut new = inner
            .iter()
            .zip(&traced)
            .map(|(leaf, &result)| match &leaf.tensor {
                Value::Tensor(tensor) => Value::Tensor(Tensor {
                    ty: tensor.ty.clone(),
                    repr: Repr::Traced(id, result),
                }),
                other => other.clone(),
            });
        let value_out = with_leaves(&value, &mut new, false);
        let mut derivative_types = self.derivative_types(mode, &value, active);
        derivative_types.truncate(traced.len() - count);
        let derivatives = derivative_types
            .into_iter()
            .zip(&traced[count..])
            .map(|(ty, &result)| Tensor {
                ty,
                repr: Repr::Traced(id, result),
            })
            .collect();
        Ok(Differentiated {
            value: value_out,
            derivatives,
            moves,
        })
    }

    fn region_types(
        &mut self,
        mode: Mode,
        at: &Value,
        active: &[Tensor],
        seeds: Seeds<'_>,
        span: Span,
        f: impl FnOnce(&mut Elaborator, &Value) -> Result<Value>,
    ) -> Result<Differentiated> {
        let mut params = active.iter().map(|tensor| {
            Value::Tensor(Tensor {
                ty: tensor.ty.clone(),
                repr: Repr::Unknown,
            })
        });
        let replaced = with_float_leaves(at, &mut params);
        self.pure_depth += 1;
        let value = f(self, &replaced);
        self.pure_depth -= 1;
        let value = value?;
        match seeds {
            Seeds::Cotangent(given) => drop(self.cotangent(&value, given, span)?),
            Seeds::One | Seeds::Tangents(_) | Seeds::None => {}
        }
        let derivatives = self
            .derivative_types(mode, &value, active)
            .into_iter()
            .map(|ty| Tensor {
                ty,
                repr: Repr::Unknown,
            })
            .collect();
        Ok(Differentiated {
            value,
            derivatives,
            moves: true,
        })
    }

    fn derivative_types(&self, mode: Mode, value: &Value, active: &[Tensor]) -> Vec<TensorType> {
        let outputs: Vec<TensorType> = leaves(value)
            .iter()
            .filter_map(|leaf| match &leaf.tensor {
                Value::Tensor(tensor) if tensor.ty.elem.is_float() => Some(tensor.ty.clone()),
                _ => None,
            })
            .collect();
        match mode {
            Mode::Vjp => active.iter().map(|tensor| tensor.ty.clone()).collect(),
            Mode::Jvp => outputs,
            Mode::Jacobian => outputs
                .iter()
                .flat_map(|out| {
                    active.iter().map(|input| TensorType {
                        elem: out.elem,
                        shape: out.shape.iter().chain(&input.ty.shape).cloned().collect(),
                    })
                })
                .collect(),
        }
    }
}

/// The float leaves that a derivative is taken by: trained ones of models, all of other values.
fn float_leaves(value: &Value, span: Span) -> Result<Vec<Tensor>> {
    let found: Vec<Tensor> = leaves(value)
        .into_iter()
        .filter(|leaf| leaf.trained)
        .filter_map(|leaf| match leaf.tensor {
            Value::Tensor(tensor) if tensor.ty.elem.is_float() => Some(tensor),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        let message = format!(
            "there is nothing to differentiate by in {}",
            value.describe()
        );
        let error = Diagnostic::error("E0501", span, message);
        let error = error.note("ints, bools and frozen models are constants");
        // Alone it would have become a real.
        let whole = |leaf: &Leaf| leaf.tensor.tensor().is_some_and(Tensor::is_static_int);
        return Err(Box::new(match leaves(value).iter().any(whole) {
            true => {
                error.help("in a tuple or record a whole number stays one: write `1.0` for a real")
            }
            false => error,
        }));
    }
    Ok(found)
}

/// The value with its float leaves (trained ones of models) replaced.
fn with_float_leaves(value: &Value, new: &mut dyn Iterator<Item = Value>) -> Value {
    let all = leaves(value);
    let mut replaced = all.into_iter().map(|leaf| {
        let float = matches!(&leaf.tensor, Value::Tensor(t) if t.ty.elem.is_float());
        if leaf.trained && float {
            new.next().unwrap_or(leaf.tensor)
        } else {
            leaf.tensor
        }
    });
    with_leaves(value, &mut replaced, false)
}

/// Gradients in the structure of what they are taken by; of a model, a record of its trained
/// params (M3).
fn gradient_of(value: &Value, own: &mut dyn Iterator<Item = Value>) -> Value {
    match value {
        Value::Model(model) => model_gradient(model, own),
        Value::Tensor(tensor) if tensor.ty.elem.is_float() => own.next().unwrap_or(Value::Unknown),
        Value::Tuple(values) => {
            Value::tuple(values.iter().map(|value| gradient_of(value, own)).collect())
        }
        Value::List(values) => Value::List(Rc::new(
            values.iter().map(|value| gradient_of(value, own)).collect(),
        )),
        Value::Record(fields) => Value::Record(Rc::new(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), gradient_of(value, own)))
                .collect(),
        )),
        Value::Maybe(maybe) => match gradient_of(&maybe.value, own) {
            Value::Unit => Value::Unit,
            value => Value::Maybe(Rc::new(Maybe {
                value,
                observed: maybe.observed.clone(),
            })),
        },
        Value::Ragged(ragged) => match gradient_of(&ragged.value, own) {
            Value::Unit => Value::Unit,
            value => Value::Ragged(Rc::new(Ragged {
                value,
                ..(**ragged).clone()
            })),
        },
        Value::Tensor(_)
        | Value::Token(_)
        | Value::Unit
        | Value::Str(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Tree(_)
        | Value::Vocab(_)
        | Value::Unknown => Value::Unit,
    }
}

fn model_gradient(model: &Model, own: &mut dyn Iterator<Item = Value>) -> Value {
    if model.frozen {
        return Value::Record(Rc::default());
    }
    Value::Record(Rc::new(
        model
            .params
            .iter()
            .map(|(name, value)| (name.clone(), gradient_of(value, own)))
            .collect(),
    ))
}

/// A value of the same structure with each tensor replaced by a whole value.
fn with_structure(value: &Value, new: &mut dyn Iterator<Item = Value>) -> Value {
    with_leaves(value, new, false)
}

/// What is differentiated must be real: ints and bools jump or stay.
pub(crate) fn of_reals(value: &Value, what: &str, span: Span) -> Result<()> {
    let Value::Tensor(tensor) = value else {
        return wanted(span, "a tensor", value);
    };
    if tensor.ty.elem.is_float() {
        return Ok(());
    }
    let message = format!(
        "{what} wants a function with real results, but this gives {}",
        crate::error::show_type(&tensor.ty)
    );
    Err(Box::new(without_slope(
        Diagnostic::error("E0501", span, message),
        tensor,
    )))
}

/// As of [`of_reals`], all tensors of a value; flags of missing entries and lengths are none.
fn all_reals(value: &Value, what: &str, span: Span) -> Result<()> {
    match value {
        Value::Maybe(maybe) => all_reals(&maybe.value, what, span),
        Value::Ragged(ragged) => all_reals(&ragged.value, what, span),
        Value::Tuple(values) | Value::List(values) => {
            let mut values = values.iter();
            values.try_for_each(|value| all_reals(value, what, span))
        }
        Value::Record(fields) => {
            let mut fields = fields.iter();
            fields.try_for_each(|(_, value)| all_reals(value, what, span))
        }
        other => {
            let mut leaves = leaves(other).into_iter();
            leaves.try_for_each(|leaf| of_reals(&leaf.tensor, what, span))
        }
    }
}

/// The first part of a value that may have missing entries.
fn missing_in(value: &Value) -> Option<&Value> {
    match value {
        Value::Maybe(_) => Some(value),
        Value::Tuple(values) | Value::List(values) => values.iter().find_map(missing_in),
        Value::Record(fields) => fields.iter().find_map(|(_, value)| missing_in(value)),
        _ => None,
    }
}

fn jacobian_of_missing(value: &Value, span: Span) -> Diagnostic {
    let message = format!(
        "a Jacobian wants a function without missing results, but this gives {}",
        value.describe()
    );
    Diagnostic::error("E0320", span, message)
        .help("fill them inside the function: `jacobian(fn x -> f(x) ?? 0)(x)`")
        .help("or take the slope of what is observed: `grad(fn x -> sum(f(x)))(x)`, `jvp(f)(x, v)` or `vjp(f)(x, c)`")
}

/// Says what to use in place of a result that has no slope.
fn without_slope(error: Diagnostic, tensor: &Tensor) -> Diagnostic {
    match tensor.ty.elem {
        Elem::Bool => error
            .help("a condition jumps: differentiate the margin (`x - y` for `x > y`) or `sigmoid` of it")
            .note("bools have no derivative"),
        _ => error
            .help("an index jumps: `max(x)` has a slope where `argmax(x)` has none, `softmax(x)` is smooth")
            .note("ints have no derivative"),
    }
}

/// A gradient is of one number (F2).
pub(crate) fn one_real(value: &Value, span: Span) -> Result<()> {
    let error = |got: &Value| {
        let got = got.describe();
        let message =
            format!("a gradient wants a function with one real result, but this gives {got}");
        Diagnostic::error("E0502", span, message)
    };
    let part_of = |part: &str| {
        format!(
            "name the part that counts: `grad(fn x -> f(x).{part})(x)`; `vjp(f)(x, c)` weighs them all"
        )
    };
    Err(Box::new(match value {
        Value::Unknown => return Ok(()),
        Value::Tensor(tensor) if tensor.is_scalar() && tensor.ty.elem.is_float() => return Ok(()),
        Value::Tensor(tensor) if !tensor.ty.elem.is_float() => without_slope(error(value), tensor),
        Value::Tuple(parts) if !parts.is_empty() => error(value).help(part_of("0")),
        Value::Record(fields) if let Some((name, _)) = fields.first() => {
            error(value).help(part_of(name))
        }
        other => error(other)
            .help("`sum` or `mean` makes one number; `jacobian` differentiates all of them"),
    }))
}
