//! Distributions as values, and their formulas, which the library has.

use super::table::Row;
use super::{bounds, ordered_up_to};
use crate::call::Args;
use crate::error::wanted;
use crate::ops::as_tensor;
use crate::value::{Distribution, Family, Value};
use crate::{Elaborator, Result};
use aec_ir::Unary;
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

pub(super) fn distribution(
    elaborator: &mut Elaborator,
    row: &Row,
    family: Family,
    args: Args,
    span: Span,
) -> Result<Value> {
    if family == Family::Categorical
        && let Some((name, weights)) = args.named.first()
        && &*name.name == "weights"
    {
        let weights = bounds::weights(elaborator, weights, span)?;
        let weights = as_tensor(&weights, span, "weights (a vector)")?;
        let float = match weights.ty.elem {
            Elem::F64 => Elem::F64,
            _ => elaborator.float(),
        };
        let weights = elaborator.convert(&weights, float, span)?;
        let logits = elaborator.unary(Unary::Log, &weights, span)?;
        // Draws are made of the logits, formulas of the weights: where one is 0 its logarithm is not
        // finite, and a slope through it would be none.
        let params = vec![Value::Tensor(logits), Value::Tensor(weights)];
        return Ok(Value::Distribution(Rc::new(Distribution {
            family,
            params,
        })));
    }
    let optional = usize::from(family == Family::Categorical);
    let args = ordered_up_to(row, args, span, optional)?;
    bounds::parameters(family, &args.positional)?;
    let mut params = Vec::new();
    for (nth, (value, at)) in args.positional.into_iter().enumerate() {
        let value = bounds::parameter(elaborator, family, nth, &value, at)?;
        let value = match (&value, family) {
            (Value::Maybe(_) | Value::Token(_), _) => return wanted(at, "a number", &value),
            (Value::Unknown, _) | (_, Family::Permutation) => value,
            (Value::Tensor(tensor), _) if tensor.is_static_int() => {
                let float = elaborator.float();
                Value::Tensor(elaborator.convert(tensor, float, at)?)
            }
            (Value::Tensor(tensor), _) if tensor.ty.elem.is_float() => value,
            (other, _) => return wanted(at, "a real number or tensor", other),
        };
        params.push(value);
    }
    Ok(Value::Distribution(Rc::new(Distribution {
        family,
        params,
    })))
}

/// The distribution and its formula's parts, computed by the library functions of the same name
/// in `stdlib/distributions.ae`. Classes with weights are a family of their own there.
fn by_library(
    elaborator: &mut Elaborator,
    what: &str,
    values: &[Value],
    span: Span,
) -> Result<Value> {
    if values.iter().any(|value| matches!(value, Value::Unknown)) {
        return Ok(Value::Unknown);
    }
    let mut name = what.to_string();
    let mut families = Vec::new();
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Distribution(distribution) => {
                let mut params = distribution.params.iter().cloned();
                families.push(match distribution.family {
                    Family::Categorical if params.len() == 2 => {
                        params.next();
                        "weights"
                    }
                    Family::Normal => "normal",
                    Family::Uniform => "uniform",
                    Family::Bernoulli => "bernoulli",
                    Family::Categorical => "categorical",
                    Family::Gumbel => "gumbel",
                    Family::Permutation => "permutation",
                });
                name.push('_');
                name.push_str(families[families.len() - 1]);
                all.extend(params);
            }
            other => all.push(other.clone()),
        }
    }
    let prelude = elaborator.prelude.clone();
    match prelude.here(&name) {
        Some(f) => elaborator.apply(&f, &all, span),
        None => {
            let of = match families.is_empty() {
                true => values[0].describe(),
                false => families.join(" and "),
            };
            let message = format!("`{what}` has no formula for {of}");
            let error = Diagnostic::error("E0406", span, message);
            let text = elaborator.text(span);
            let inner = text
                .strip_prefix("entropy(")
                .and_then(|text| text.strip_suffix(')'));
            Err(Box::new(match (values, inner) {
                ([Value::Tensor(_)], Some(inner)) => {
                    let new = format!("entropy(categorical(weights = {inner}))");
                    error.help_edit(format!("of probabilities it is `{new}`"), span, new)
                }
                ([Value::Tensor(_), ..], _) => error.help(
                    "it takes distributions: `categorical(weights = p)` is one of probabilities, `bernoulli(p)`, \
                     `normal(mu, sigma)`",
                ),
                _ => error,
            }))
        }
    }
}

pub(super) fn log_prob(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    by_library(
        elaborator,
        "log_prob",
        &[args.positional[0].0.clone(), args.positional[1].0.clone()],
        span,
    )
}

pub(super) fn entropy(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    by_library(elaborator, "entropy", &[args.positional[0].0.clone()], span)
}

pub(super) fn kl(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    by_library(
        elaborator,
        "kl",
        &[args.positional[0].0.clone(), args.positional[1].0.clone()],
        span,
    )
}
