//! Numbers that mean nothing beyond some bounds: chances, rates, widths. Those that are known before
//! anything runs are refused where the script gives them; a wrong one would otherwise train without a
//! word, as a `keep` of 50 for 50 % would.

use aec_syntax::{Diagnostic, Span};

use crate::call::Args;
use crate::fold::scalar;
use crate::value::{Family, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Binary, Comparison, Fault, Op, Reduction};
use aec_runtime::Elem;

/// The least and the most that a number may be.
type Bounds = (f64, f64);

/// So many entries are looked at before anything runs.
const FEW: usize = 4096;

const CHANCE: Bounds = (0.0, 1.0);
const NOT_NEGATIVE: Bounds = (0.0, f64::INFINITY);

/// `within(x, least, most, name)`: x, unless an entry lies beyond. The name is what the caller's
/// parameter is called.
pub(super) fn within(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(x, _), (least, _), (most, _), (name, _)] = &args.positional[..] else {
        return Ok(Value::Unknown);
    };
    match (least.as_f64(), most.as_f64(), name) {
        (Some(least), Some(most), Value::Str(name)) => {
            bounded(elaborator, x, (least, most), name, span)
        }
        _ => Ok(x.clone()),
    }
}

/// What the parameters of a distribution may be.
pub(super) fn parameter(
    elaborator: &mut Elaborator,
    family: Family,
    nth: usize,
    value: &Value,
    at: Span,
) -> Result<Value> {
    let (bounds, name) = match (family, nth) {
        (Family::Bernoulli, _) => (CHANCE, "p"),
        (Family::Normal, 1) => (NOT_NEGATIVE, "sigma"),
        (
            Family::Normal
            | Family::Uniform
            | Family::Categorical
            | Family::Gumbel
            | Family::Permutation,
            _,
        ) => return Ok(value.clone()),
    };
    bounded(elaborator, value, bounds, name, at)
}

/// The weights of classes, unless one is below 0, or all are 0.
pub(super) fn weights(elaborator: &mut Elaborator, value: &Value, at: Span) -> Result<Value> {
    let value = bounded(elaborator, value, NOT_NEGATIVE, "weights", at)?;
    let known = (value.host()).filter(|host| host.len() <= FEW && elaborator.taken.is_empty());
    if known.is_some_and(|host| (0..host.len()).all(|class| host.get_f64(class) == 0.0)) {
        let message = "no class can be drawn: all of `weights` are 0";
        let error = Diagnostic::error("E0316", elaborator.blamed(at), message);
        return Err(Box::new(error));
    }
    Ok(value)
}

/// What two parameters of a distribution may be beside each other: a uniform one goes up.
pub(super) fn parameters(family: Family, values: &[(Value, Span)]) -> Result<()> {
    let (Family::Uniform, [(a, start), (b, end)]) = (family, values) else {
        return Ok(());
    };
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) if a > b => {
            let message = format!("`uniform` goes from {a} down to {b}, where nothing is");
            let error = Diagnostic::error("E0316", start.to(*end), message);
            Err(Box::new(error.help(format!(
                "the smaller end comes first: `uniform({b}, {a})`"
            ))))
        }
        _ => Ok(()),
    }
}

/// The value. Numbers that are known are refused at the user's line if they lie beyond the bounds; those
/// of compiled code are looked at as it runs if they have to be probabilities.
fn bounded(
    elaborator: &mut Elaborator,
    value: &Value,
    bounds: Bounds,
    name: &str,
    at: Span,
) -> Result<Value> {
    match value {
        Value::Maybe(maybe) => {
            let inner = bounded(elaborator, &maybe.value, bounds, name, at)?;
            Ok(Value::missing(inner, Value::Tensor(maybe.observed.clone())))
        }
        Value::Tensor(tensor) => {
            let scalar = tensor.is_scalar();
            // A branch around may not be taken.
            let surely = scalar || elaborator.taken.is_empty();
            let known = value.host().filter(|host| surely && host.len() <= FEW);
            if let Some(host) = known {
                let beyond = |x: &f64| *x < bounds.0 || *x > bounds.1;
                let wrong = (0..host.len())
                    .map(|entry| host.get_f64(entry))
                    .find(beyond);
                return match wrong {
                    Some(x) => {
                        refuse_beyond(elaborator, (x, tensor.ty.elem, scalar), bounds, name, at)
                    }
                    None => Ok(value.clone()),
                };
            }
            if bounds != CHANCE || !tensor.ty.elem.is_float() || elaborator.checking() {
                return Ok(value.clone());
            }
            Ok(Value::Tensor(checked_chance(elaborator, tensor, at)?))
        }
        other => Ok(other.clone()),
    }
}

/// The tensor, with a check at run time. What is no number is not beyond: it shows in the loss.
fn checked_chance(elaborator: &mut Elaborator, x: &Tensor, span: Span) -> Result<Tensor> {
    let span = elaborator.blamed(span);
    let real = elaborator.within(x, None, 0.0, span)?;
    let flag = TensorType::scalar(Elem::Bool);
    let fails = elaborator.build(&[&real], flag, span, |f, v, ty, span| {
        let entries = f.ty(v[0]).clone();
        let [zero, one] = [0.0, 1.0].map(|bound| f.number(bound, entries.clone(), span));
        let below = f.compare(Comparison::Lt, v[0], zero, span);
        let above = f.compare(Comparison::Gt, v[0], one, span);
        let beyond = f.binary(Binary::Or, below, above, span);
        let axes = (0..entries.dims.len()).collect();
        let op = Op::Reduce {
            op: Reduction::Any,
            axes,
        };
        f.push1(op, &[beyond], ty, span)
    })?;
    elaborator.unless(x, &fails, Fault::Chance, span)
}

/// An error at the user's line about a known number that lies beyond the bounds, an entry or the whole.
fn refuse_beyond(
    elaborator: &mut Elaborator,
    (x, elem, whole): (f64, Elem, bool),
    (least, most): Bounds,
    name: &str,
    at: Span,
) -> Result<Value> {
    let host = elaborator.host.clone();
    let is = host.format(&Value::Tensor(scalar(x, elem)), None, at)?;
    let must = match most.is_finite() {
        true => format!("from {least} to {most}"),
        false => format!("at least {least}"),
    };
    let message = match whole {
        true => format!("`{name}` is {is}, but it has to be {must}"),
        false => format!("an entry of `{name}` is {is}, but all have to be {must}"),
    };
    let error = Diagnostic::error("E0316", elaborator.blamed(at), message);
    let per_cent = (least, most) == CHANCE && (2.0..=100.0).contains(&x) && whole;
    Err(Box::new(match per_cent {
        true => error.help(format!("{x} % are {}", x / 100.0)),
        false => error,
    }))
}
