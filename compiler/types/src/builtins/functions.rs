//! Builtins that take functions, models or choices: `select`, `map`, `reduce`, `stop`, `freeze` …

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::ops::as_tensor;
use crate::value::{Dim, Model, Repr, Tensor, Value};
use crate::{Elaborator, Result};
use aec_ir::Op;
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

pub(super) fn select(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(c, c_span), (a, a_span), (b, b_span)] = args.positional.as_slice() else {
        return fail("E0401", span, "`select` takes three arguments");
    };
    if [c, a, b]
        .iter()
        .any(|value| matches!(value, Value::Unknown))
    {
        return Ok(Value::Unknown);
    }
    let condition = as_tensor(c, *c_span, "a bool")?;
    if condition.ty.elem != Elem::Bool {
        return wanted(*c_span, "a bool", c);
    }
    if matches!(a, Value::Maybe(_) | Value::Token(_))
        || matches!(b, Value::Maybe(_) | Value::Token(_))
    {
        return elaborator.choose(c, (a, *a_span), (b, *b_span), span);
    }
    let x = as_tensor(a, *a_span, "a number or tensor")?;
    let y = as_tensor(b, *b_span, "a number or tensor")?;
    Ok(Value::Tensor(elaborator.select(
        &condition,
        x,
        y,
        (*a_span, *b_span),
        span,
    )?))
}

pub(super) fn map(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(((f, _), sequences)) = args
        .positional
        .split_first()
        .filter(|(_, rest)| !rest.is_empty())
    else {
        return fail(
            "E0401",
            span,
            "`map` wants a function and one or more sequences",
        );
    };
    if sequences
        .iter()
        .any(|(value, _)| matches!(value, Value::List(_)))
    {
        let lists: Vec<Vec<Value>> = sequences
            .iter()
            .map(|(value, at)| match value {
                Value::List(items) => Ok(items.to_vec()),
                other => wanted(*at, "a list, like the other argument", other),
            })
            .collect::<Result<_>>()?;
        let n = lists[0].len();
        if lists.iter().any(|list| list.len() != n) {
            return fail("E0309", span, "the lists have different lengths");
        }
        let whole: Vec<&Value> = sequences.iter().map(|(list, _)| list).collect();
        let packed = elaborator.over_lists(&whole, span, &mut |elaborator, items| {
            elaborator.apply(f, items, span)
        })?;
        if let Some(value) = packed {
            return Ok(value);
        }
        let mut out = Vec::new();
        for at in 0..n {
            let values: Vec<Value> = lists.iter().map(|list| list[at].clone()).collect();
            out.push(elaborator.apply(f, &values, span)?);
        }
        return elaborator.stack(&Value::List(Rc::new(out)), span);
    }
    let Some(dim) = leading_axis(sequences, "map", span)? else {
        return Ok(Value::Unknown);
    };
    let inputs: Vec<(Value, bool)> = sequences
        .iter()
        .map(|(value, _)| (value.clone(), true))
        .collect();
    let f = f.clone();
    elaborator.map_over(&dim, &inputs, false, span, |elaborator, values| {
        elaborator.apply(&f, values, span)
    })
}

/// The first axis that all sequences share; none if one is unknown. `name` is the builtin's.
pub(super) fn leading_axis(
    sequences: &[(Value, Span)],
    name: &str,
    span: Span,
) -> Result<Option<Dim>> {
    if sequences
        .iter()
        .any(|(value, _)| matches!(value, Value::Unknown))
    {
        return Ok(None);
    }
    let mut dim: Option<(Dim, Span)> = None;
    for (value, at) in sequences {
        for leaf in crate::leaves(value) {
            let tensor = as_tensor(&leaf.tensor, *at, "a sequence")?;
            let Some(own) = tensor.ty.shape.first() else {
                return wanted(
                    *at,
                    "a sequence (a tensor with at least one axis, or a list)",
                    value,
                );
            };
            match &dim {
                None => dim = Some((own.clone(), *at)),
                Some((first, first_span)) if first.size.differs(&own.size) => {
                    return Err(Box::new(
                        Diagnostic::error(
                            "E0309",
                            span,
                            format!("the sequences of this `{name}` have different lengths"),
                        )
                        .label(
                            *first_span,
                            format!("{} entries", crate::error::show_dim(first)),
                        )
                        .label(*at, format!("{} entries", crate::error::show_dim(own))),
                    ));
                }
                Some(_) => {}
            }
        }
    }
    match dim {
        Some((dim, _)) => Ok(Some(dim)),
        None => wanted(
            sequences[0].1,
            "a sequence (a tensor or a list)",
            &sequences[0].0,
        ),
    }
}

pub(super) fn stop(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let parts: Vec<Value> = crate::leaves(&args.positional[0].0)
        .into_iter()
        .map(|leaf| leaf.tensor)
        .collect();
    let mut out = Vec::new();
    for part in &parts {
        let tensor = as_tensor(part, span, "a tensor")?;
        out.push(match tensor.repr {
            Repr::Static(_) | Repr::Symbolic(_) => part.clone(),
            _ => Value::Tensor(elaborator.emit(Op::Stop, &[&tensor], tensor.ty.clone(), span)?),
        });
    }
    Ok(crate::with_leaves(
        &args.positional[0].0,
        &mut out.into_iter(),
        false,
    ))
}

pub(super) fn remat(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (f, at) = &args.positional[0];
    elaborator.rematerialized(f, *at, span)
}

pub(super) fn batch_mean(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (x, at) = &args.positional[0];
    if matches!(x, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let tensor = as_tensor(x, *at, "a tensor")?;
    let in_batch = elaborator.in_batch();
    if !in_batch && !elaborator.checking() {
        return Err(Box::new(
            Diagnostic::error(
                "E0505",
                span,
                "`batch_mean` is over a batch, but one example alone is computed here",
            )
            .help("call the member on a batch, or through `train` or `eval`"),
        ));
    }
    if let Some(name) = elaborator.alone.last() {
        return Err(not_alike(&format!("in the rounds of a `{name}`"), span));
    }
    elaborator.refuse_varying(&tensor, "`batch_mean`", span)?;
    if elaborator.checking() {
        return Ok(Value::Tensor(Tensor {
            ty: tensor.ty,
            repr: Repr::Unknown,
        }));
    }
    elaborator.refuse_in_rounds("`batch_mean`", span)?;
    if !elaborator.taken.is_empty() {
        return Err(not_alike("under a condition of each example", span));
    }
    let tensor = elaborator.shared_out(tensor, span)?;
    Ok(Value::Tensor(elaborator.emit(
        Op::BatchMean,
        &[&tensor],
        tensor.ty.clone(),
        span,
    )?))
}

/// A mean over the batch where the examples do not do the same (SEMANTICS.md B1).
fn not_alike(place: &str, span: Span) -> Box<Diagnostic> {
    let message = format!("`batch_mean` takes all examples of the batch, but it stands {place}");
    Box::new(
        Diagnostic::error("E0505", span, message)
            .note("each example goes its own way there, so that some have nothing to give")
            .help("compute it before, with a `let`"),
    )
}

pub(super) fn running(_: &mut Elaborator, _: &Args, span: Span) -> Result<Value> {
    crate::running::as_value(span)
}

pub(super) fn seeded(_: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (f, key) = (args.positional[0].0.clone(), args.positional[1].0.as_int());
    let Some(key) = key else {
        return wanted(
            span,
            "a key that is known before anything runs",
            &args.positional[1].0,
        );
    };
    let inner = f.clone();
    let run = move |elaborator: &mut Elaborator, args: Args, at: Span| {
        // The call path under `seeded` is the key alone, so that the call site does not matter.
        let path = crate::call::site_hash(&[b"seeded", &key.to_le_bytes()]);
        elaborator.activations.push(crate::Activation {
            path,
            calls: Default::default(),
        });
        let result = elaborator.call_value(&inner, args, at);
        elaborator.activations.pop();
        result
    };
    Ok(crate::around::around(
        &f,
        0,
        "seeded(…)",
        span,
        Box::new(run),
    ))
}

pub(super) fn with_derivative(
    elaborator: &mut Elaborator,
    args: &Args,
    span: Span,
) -> Result<Value> {
    elaborator.with_derivative([&args.positional[0], &args.positional[1]], span)
}

pub(super) fn freeze(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let (m, at) = &args.positional[0];
    match m {
        Value::Model(model) => Ok(Value::Model(Rc::new(Model {
            frozen: true,
            ..(**model).clone()
        }))),
        Value::Unknown => Ok(Value::Unknown),
        other => wanted(*at, "a model", other),
    }
}

pub(super) fn with(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some((base, _)) = args.positional.first() else {
        return fail(
            "E0401",
            span,
            "`with` wants a model or record, and the changes: `with(m, W = v)`",
        );
    };
    let mut out = base.clone();
    for (name, value) in &args.named {
        let value = match &out {
            Value::Model(model) => match model.params.iter().find(|(param, _)| *param == name.name)
            {
                Some((_, old)) => elaborator.in_place_of(old, value, name)?,
                None => value.clone(),
            },
            _ => value.clone(),
        };
        let change = |fields: &[(Rc<str>, Value)]| -> Option<Vec<(Rc<str>, Value)>> {
            let at = fields.iter().position(|(field, _)| *field == name.name)?;
            let mut fields = fields.to_vec();
            fields[at].1 = value.clone();
            Some(fields)
        };
        let changed = match &out {
            Value::Record(fields) => change(fields).map(|fields| Value::Record(Rc::new(fields))),
            Value::Model(model) => change(&model.params).map(|params| {
                Value::Model(Rc::new(Model {
                    params,
                    ..(**model).clone()
                }))
            }),
            Value::Unknown => Some(Value::Unknown),
            other => return wanted(span, "a model or record", other),
        };
        out = match changed {
            Some(value) => value,
            None => {
                elaborator.field(&out, name)?;
                return fail(
                    "E0202",
                    name.span,
                    format!("`{}` cannot be changed", name.name),
                );
            }
        };
    }
    Ok(out)
}

/// The figures of a model's training: a record of vectors, one entry for each epoch.
pub(super) fn history(elaborator: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let (model, at) = &args.positional[0];
    if elaborator.checking() || matches!(model, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let Value::Model(known) = model else {
        return wanted(*at, "a model", model);
    };
    let Some(history) = &known.history else {
        return fail(
            "E0310",
            *at,
            "this model was not trained, so it has no history",
        );
    };
    let float = elaborator.float();
    let columns = history.figures.iter().map(|(name, values)| {
        let column = aec_runtime::Tensor::from_f64(float, &[values.len()], values.iter().copied());
        (name.as_str(), Value::concrete(column))
    });
    Ok(Value::record(columns.collect()))
}

pub(super) fn to_str(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    if elaborator.checking() {
        return Ok(Value::str(""));
    }
    let value = elaborator.materialize_one(args.positional[0].0.clone(), span)?;
    let host = elaborator.host.clone();
    Ok(Value::str(&host.format(&value, None, span)?))
}

/// How many words there are, unless more strings of `longest` of them than `MOST` are to be listed.
pub(super) fn refuse_strings(
    elaborator: &mut Elaborator,
    args: &Args,
    span: Span,
) -> Result<Value> {
    const MOST: f64 = 1e8;
    let (words, longest) = (&args.positional[0].0, &args.positional[1].0);
    if let (Some(v), Some(t)) = (words.as_f64(), longest.as_f64())
        && v.powf(t) > MOST
    {
        return Err(Box::new(
            Diagnostic::error(
                "E0817",
                elaborator.blamed(span),
                format!("there are {v}^{t} strings of {t} out of {v} words: too many to list"),
            )
            .help("`beam.search` finds good ones, most often the best, without listing all"),
        ));
    }
    Ok(words.clone())
}

/// What a column holds, hidden entries or not: `"real"`, `"int"` (words, too) or `"bool"`.
pub(super) fn kind(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let (value, span) = &args.positional[0];
    let mut value = value;
    while let Value::Maybe(maybe) = value {
        value = &maybe.value;
    }
    Ok(match value {
        Value::Unknown => Value::Unknown,
        Value::Token(_) => Value::str("int"),
        Value::Tensor(tensor) => Value::str(match tensor.ty.elem {
            Elem::F32 | Elem::F64 => "real",
            Elem::I32 | Elem::I64 => "int",
            Elem::Bool => "bool",
        }),
        other => return wanted(*span, "a number or tensor", other),
    })
}

pub(super) fn is_function(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    Ok(Value::bool(matches!(
        args.positional[0].0,
        Value::Fn(_) | Value::Builtin(_)
    )))
}
