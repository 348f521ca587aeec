//! Numbers that mean nothing beyond some bounds: chances, rates, widths. Those that are known before
//! anything runs are refused where the script gives them; a wrong one would otherwise train without a
//! word, as a `keep` of 50 for 50 % would.

use aec_syntax::{Diagnostic, Span};

use crate::call::Args;
use crate::value::{Family, Value};
use crate::{Elaborator, Result};

/// The least and the most that a number may be.
type Bounds = (f64, f64);

const CHANCE: Bounds = (0.0, 1.0);
const NOT_NEGATIVE: Bounds = (0.0, f64::INFINITY);

/// `within(x, least, most, name)`: x, unless it is known and lies beyond. The name is what the caller's
/// parameter is called.
pub(super) fn within(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(x, _), (least, _), (most, _), (name, _)] = &args.positional[..] else {
        return Ok(Value::Unknown);
    };
    if let (Some(least), Some(most), Value::Str(name)) = (least.as_f64(), most.as_f64(), name) {
        refuse_beyond(elaborator, x, (least, most), name, span)?;
    }
    Ok(x.clone())
}

/// What the parameters of a distribution may be.
pub(super) fn parameter(
    elaborator: &mut Elaborator,
    family: Family,
    nth: usize,
    value: &Value,
    at: Span,
) -> Result<()> {
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
        ) => return Ok(()),
    };
    refuse_beyond(elaborator, value, bounds, name, at)
}

/// An error at the user's line if the value is a known number beyond the bounds.
fn refuse_beyond(
    elaborator: &mut Elaborator,
    value: &Value,
    (least, most): Bounds,
    name: &str,
    at: Span,
) -> Result<()> {
    let Some(x) = value.as_f64() else {
        return Ok(());
    };
    if (least..=most).contains(&x) {
        return Ok(());
    }
    let host = elaborator.host.clone();
    let is = host.format(value, None, at)?;
    let must = match most.is_finite() {
        true => format!("from {least} to {most}"),
        false => format!("at least {least}"),
    };
    let message = format!("`{name}` is {is}, but it has to be {must}");
    let error = Diagnostic::error("E0316", elaborator.blamed(at), message);
    let per_cent = (least, most) == CHANCE && (2.0..=100.0).contains(&x);
    Err(Box::new(match per_cent {
        true => error.help(format!("{x} % are {}", x / 100.0)),
        false => error,
    }))
}
