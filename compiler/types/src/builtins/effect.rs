//! Effects: what the host does, and what is known of it while a script is checked.

use super::table::{Checked, Row};
use crate::call::Args;
use crate::error::fail;
use crate::host::EffectArgs;
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};

/// `debug` in code that is being compiled: its values exist only while it runs, so what is shown
/// is their type.
fn looked_at(elaborator: &mut Elaborator, positional: Vec<Value>, span: Span) -> Result<Value> {
    let Some(value) = positional.into_iter().next() else {
        return fail("E0401", span, "`debug` wants a value");
    };
    if !Elaborator::has_traced(&value) {
        let host = elaborator.host.clone();
        let args = EffectArgs {
            positional: vec![value.clone()],
            named: Vec::new(),
        };
        return host.effect(elaborator, "debug", args, span);
    }
    let text = format!("{}, computed in compiled code", value.describe());
    let args = EffectArgs {
        positional: vec![Value::str(&text)],
        named: Vec::new(),
    };
    let host = elaborator.host.clone();
    host.effect(elaborator, "debug", args, span)?;
    Ok(value)
}

/// Carries out an effect, or types it.
pub(super) fn effect(
    elaborator: &mut Elaborator,
    row: &Row,
    checked: Checked,
    args: Args,
    span: Span,
) -> Result<Value> {
    // A look at a value is no effect that anything depends on: `debug` may stand anywhere.
    let looking = row.name == "debug";
    if !elaborator.effects_allowed() && !looking {
        return fail(
            "E0410",
            span,
            format!(
                "`{}` belongs to scripts, not to code that is compiled",
                row.name
            ),
        );
    }
    if let Some((name, _)) = args
        .named
        .iter()
        .find(|(name, _)| !row.params.contains(&&*name.name))
    {
        let mut diagnostic = Diagnostic::error(
            "E0403",
            name.span,
            format!("`{}` has no parameter `{}`", row.name, name.name),
        );
        if let Some(near) = aec_syntax::suggest::nearest(&name.name, row.params.iter().copied()) {
            diagnostic = diagnostic.help_edit(format!("did you mean `{near}`?"), name.span, near);
        }
        return Err(Box::new(diagnostic));
    }
    if args.positional.len() > row.params.len() {
        let given = args.positional.len();
        return Err(Box::new(super::too_many(row, given, span)));
    }
    let optional = match row.name {
        "eval" => 2,
        "save" => 1,
        _ => 0,
    };
    let given = args.positional.len() + args.named.len();
    if given + optional < row.params.len() {
        return Err(Box::new(super::too_few(row, given, span)));
    }
    elaborator.effects += u32::from(matches!(checked, Checked::Unit | Checked::First));
    if elaborator.checking() {
        return Ok(match checked {
            Checked::Unit => Value::Unit,
            Checked::First => args
                .positional
                .first()
                .map_or(Value::Unknown, |(value, _)| value.clone()),
            Checked::Ints => {
                let size = elaborator.later_size("rows");
                let ty = TensorType {
                    elem: Elem::I64,
                    shape: vec![Dim::of(size)].into(),
                };
                Value::Tensor(Tensor {
                    ty,
                    repr: Repr::Unknown,
                })
            }
            Checked::Digits => {
                let x = TensorType {
                    elem: elaborator.float(),
                    shape: vec![Dim::known(1797), Dim::known(64)].into(),
                };
                let y = TensorType {
                    elem: Elem::I64,
                    shape: vec![Dim::known(1797)].into(),
                };
                Value::record(vec![
                    (
                        "x",
                        Value::Tensor(Tensor {
                            ty: x,
                            repr: Repr::Unknown,
                        }),
                    ),
                    (
                        "y",
                        Value::Tensor(Tensor {
                            ty: y,
                            repr: Repr::Unknown,
                        }),
                    ),
                ])
            }
            Checked::Unknown => Value::Unknown,
            Checked::Str => Value::str(""),
            Checked::Int => Value::Tensor(Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Unknown,
            }),
        });
    }
    let positional: Vec<Value> = args
        .positional
        .into_iter()
        .map(|(value, _)| value)
        .collect();
    if looking && !elaborator.effects_allowed() {
        return looked_at(elaborator, positional, span);
    }
    let mut positional = elaborator.materialize(&positional, span)?;
    let mut named = Vec::new();
    for (name, value) in args.named {
        let value = elaborator.materialize_one(value, span)?;
        named.push((name.name, value));
    }
    // What goes over examples takes sequences of different lengths side by side.
    let examples = match row.name {
        "eval" => Some((1, "on")),
        "shuffle" | "batches" | "filter" => Some((0, "x")),
        _ => None,
    };
    if let Some((place, name)) = examples {
        let by_name = named.iter_mut().filter(|(own, _)| &**own == name);
        let by_name = by_name.map(|(_, value)| value);
        for data in positional.get_mut(place).into_iter().chain(by_name) {
            *data = elaborator.packed_data(data, span)?;
        }
    }
    let name = if row.core {
        format!("core.{}", row.name)
    } else {
        row.name.to_string()
    };
    let host = elaborator.host.clone();
    let span = elaborator.blamed(span);
    let given = host.effect(elaborator, &name, EffectArgs { positional, named }, span)?;
    Ok(crate::ragged::unpacked(&given))
}
