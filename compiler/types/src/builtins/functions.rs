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
    let native = move |elaborator: &mut Elaborator, values: &[Value], at: Span| {
        // The call path under `seeded` is the key alone, so that the call site does not matter.
        let path = crate::call::site_hash(&[b"seeded", &key.to_le_bytes()]);
        elaborator.activations.push(crate::Activation {
            path,
            calls: Default::default(),
        });
        let result = elaborator.apply(&f, values, at);
        elaborator.activations.pop();
        result
    };
    Ok(Value::Fn(Rc::new(crate::value::Closure {
        code: crate::value::Code::Native(Box::new(native)),
        name: "seeded(…)".into(),
        span,
    })))
}

/// A function of the values of the first and the derivative that the second computes: for each
/// argument of reals a tensor of the result's shape and then the argument's, or of the result's
/// alone if entry depends on entry.
pub(super) fn with_derivative(_: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (f, derivative) = (args.positional[0].0.clone(), args.positional[1].0.clone());
    for (value, at) in &args.positional {
        if !matches!(
            value,
            Value::Fn(_) | Value::Builtin(_) | Value::Model(_) | Value::Unknown
        ) {
            return wanted(*at, "a function", value);
        }
    }
    let given = [args.positional[0].1, args.positional[1].1];
    let native = move |elaborator: &mut Elaborator, values: &[Value], at: Span| {
        let y = elaborator.apply(&f, values, at)?;
        let slopes = elaborator.apply(&derivative, values, at)?;
        attach_slopes(elaborator, y, values, slopes, given, at)
    };
    Ok(Value::Fn(Rc::new(crate::value::Closure {
        code: crate::value::Code::Native(Box::new(native)),
        name: "with_derivative(…)".into(),
        span,
    })))
}

fn attach_slopes(
    elaborator: &mut Elaborator,
    y: Value,
    values: &[Value],
    slopes: Value,
    [function, given]: [Span; 2],
    span: Span,
) -> Result<Value> {
    if matches!(y, Value::Unknown) || matches!(slopes, Value::Unknown) {
        return Ok(y);
    }
    // Ints in the text stand for reals, but nothing flows to them.
    let by: Vec<&Tensor> = (values.iter())
        .filter_map(|value| match value {
            Value::Tensor(x) if x.ty.elem.is_float() || x.is_static_int() => Some(x),
            _ => None,
        })
        .collect();
    let slopes: Vec<Value> = match slopes {
        Value::Tuple(items) if by.len() != 1 => items.to_vec(),
        one => vec![one],
    };
    if slopes.len() != by.len() {
        return Err(Box::new(
            Diagnostic::error(
                "E0506",
                given,
                format!(
                    "this derivative gives {} of {}",
                    count(slopes.len(), "slope"),
                    count(by.len(), "argument")
                ),
            )
            .here("one for each argument of reals, as a tuple if there are several")
            .label(span, "applied here"),
        ));
    }
    let mut y = as_tensor(&y, span, "a tensor")?;
    if matches!(y.repr, Repr::Static(_) | Repr::Symbolic(_)) {
        return Ok(Value::Tensor(y));
    }
    if elaborator.is_differentiated(&y, &by) {
        let message = "this function uses a value that is differentiated and is none of its arguments, \
                       so `with_derivative` has no slope for it";
        return Err(Box::new(
            Diagnostic::error("E0506", function, message)
                .label(span, "applied here")
                .help("pass it as an argument and give its slope, too: `with_derivative(fn x, w -> …, fn x, w -> (…, …))`")
                .help("or make a constant of it, `stop(w)`, if no slope is wanted"),
        ));
    }
    y = elaborator.emit(Op::Stop, &[&y], y.ty.clone(), span)?;
    for (x, slope) in by.into_iter().zip(&slopes) {
        if !x.ty.elem.is_float() {
            continue;
        }
        let slope = as_tensor(slope, given, "a tensor")?;
        let (rank, of_x) = (y.ty.shape.len(), x.ty.shape.len());
        // Its rank tells how many leading axes all share.
        let shared = (rank + of_x).checked_sub(slope.ty.shape.len());
        let fits = |batch: usize| {
            let sizes = |dims: &[Dim]| -> Vec<_> { dims.iter().map(|d| d.size.clone()).collect() };
            let mut wanted = sizes(&y.ty.shape);
            wanted.extend(sizes(x.ty.shape.get(batch..)?));
            let leading = sizes(y.ty.shape.get(..batch)?) == sizes(&x.ty.shape[..batch]);
            (leading && wanted == sizes(&slope.ty.shape)).then_some(batch)
        };
        let Some(batch) = shared.and_then(fits) else {
            return Err(Box::new(
                Diagnostic::error(
                    "E0506",
                    given,
                    format!(
                        "this derivative is {}, but the function gives {} of {}",
                        crate::error::show_type(&slope.ty),
                        crate::error::show_type(&y.ty),
                        crate::error::show_type(&x.ty)
                    ),
                )
                .here("what `jacobian` would give is wanted: the shape of the result, then that of the argument")
                .label(span, "applied here")
                .help("for a function of one number, declare it as one (`x: real`): it is then applied entry by entry"),
            ));
        };
        y = elaborator.emit(Op::Slope { batch }, &[&y, x, &slope], y.ty.clone(), span)?;
    }
    Ok(Value::Tensor(y))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
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
