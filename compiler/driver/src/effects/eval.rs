//! `eval(m, on = data, metrics = […])`: the loss, its parts and any members, averaged over a
//! data set, as a record.

use super::wrong;
use crate::evaluate::Evaluator;
use crate::session::{Result, World};
use aec_syntax::Span;
use aec_syntax::ast::Name;
use aec_types::{EffectArgs, Elaborator, Value};

/// Most examples that are computed at a time.
const BATCH: usize = 1024;

/// The effect.
pub fn eval(
    world: &World,
    elaborator: &mut Elaborator,
    args: &EffectArgs,
    span: Span,
) -> Result<Value> {
    let model = super::value(args, 0, "m", span)?;
    let data = super::value(args, 1, "on", span)?;
    let members = match args.get(2, "metrics") {
        Some(Value::List(values)) => values.to_vec(),
        Some(Value::Fn(_)) => args.get(2, "metrics").cloned().into_iter().collect(),
        Some(other) => {
            return Err(wrong(
                span,
                format!(
                    "`metrics` wants a list of members, not {}",
                    other.describe()
                ),
            ));
        }
        None => Vec::new(),
    };
    let float = elaborator.float();
    let mut evaluator = Evaluator::new(data, BATCH, world.options.seed, span)?;
    let means = evaluator.evaluate(world, elaborator, model, data)?;
    let parts = std::mem::take(&mut evaluator.parts);
    let mut fields: Vec<(Name, f64)> = vec![("loss".into(), means[0])];
    fields.extend(parts.into_iter().zip(means[1..].iter().copied()));
    fields.extend(metrics(elaborator, model, &members, data, span)?);
    Ok(Value::record(
        fields
            .iter()
            .map(|(name, value)| (&**name, Value::real(*value, float)))
            .collect(),
    ))
}

/// The means of members of a model over a data set; each is named like its member, which is
/// looked up in `model` (so that `train` can report of the model as it is now).
pub fn metrics(
    elaborator: &mut Elaborator,
    model: &Value,
    members: &[Value],
    data: &Value,
    span: Span,
) -> Result<Vec<(Name, f64)>> {
    let arguments = match data {
        Value::Tuple(parts) => parts.to_vec(),
        other => vec![other.clone()],
    };
    let mut results = Vec::new();
    for member in members {
        let (name, function) = match member {
            Value::Fn(closure) => {
                let own = elaborator.member(model, &closure.name);
                (closure.name.clone(), own.unwrap_or_else(|| member.clone()))
            }
            Value::Str(name) => match elaborator.member(model, name) {
                Some(own) => (name.clone(), own),
                None => {
                    return Err(wrong(
                        span,
                        format!("{} has no member `{name}`", model.describe()),
                    ));
                }
            },
            other => {
                return Err(wrong(
                    span,
                    format!(
                        "a metric is a member of the model, not {}",
                        other.describe()
                    ),
                ));
            }
        };
        let result = elaborator.call(&function, &arguments, span)?;
        let Some(values) = result.host() else {
            return Err(wrong(
                span,
                format!(
                    "`{name}` gives {}, but a metric is a number",
                    result.describe()
                ),
            ));
        };
        let sum: f64 = (0..values.len()).map(|at| values.get_f64(at)).sum();
        results.push((name, sum / values.len().max(1) as f64));
    }
    Ok(results)
}
