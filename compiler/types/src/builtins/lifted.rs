//! Builtins with a `?` or words among their arguments: one table of what each does then, and the
//! few ways in which they do it.

use super::table::{Action, BuiltinId, Row, TABLE};
use super::{call, numbers, ordered, ordered_up_to};
use crate::call::Args;
use crate::error::{fail, wanted};
use crate::missing::plain;
use crate::ops::as_tensor;
use crate::tokens::as_ints;
use crate::value::{Maybe, Tensor, TensorType, Value};
use crate::varying::neutral;
use crate::{Elaborator, Result};
use aec_ir::{Binary, Op, Reduction};
use aec_runtime::Elem;
use aec_syntax::Span;
use aec_syntax::ast::BinaryOp;
use std::rc::Rc;

/// What a builtin does with a `?`.
enum Treatment {
    /// It works entry by entry: observed where all arguments are.
    Lifts,
    /// It moves entries, their flags with them.
    Moves,
    /// It takes the observed entries and gives a plain value.
    Reduces,
    /// It runs along the observed entries; the result is hidden where the argument is.
    Runs,
    /// Its own code knows.
    Itself,
    /// It wants plain values.
    Refuses,
}

fn treatment(row: &Row, arguments: usize) -> Treatment {
    match row.action {
        Action::Unary(_) | Action::Binary(_) | Action::Convert(_) => Treatment::Lifts,
        Action::Extreme(..) if arguments > 1 => Treatment::Lifts,
        Action::Extreme(..) | Action::Sum { .. } | Action::Truth(_) | Action::Place(_) => {
            Treatment::Reduces
        }
        Action::Derivative(_) | Action::Effect(_) => Treatment::Itself,
        Action::Distribution(_) | Action::Fill(_) | Action::Matrix(_) => Treatment::Refuses,
        Action::Other(_) => match row.name {
            "concat" | "split" | "reshape" | "flatten" | "permute" | "broadcast" | "pad"
            | "reverse" => Treatment::Moves,
            "sum_first" | "max_first" | "batch_mean" | "shape" | "len" => Treatment::Reduces,
            "cumsum" => Treatment::Runs,
            "select" | "hide" | "observed" | "count_first" | "map" | "reduce" | "scan"
            | "iterate" | "while" | "stop" | "remat" | "with" | "str" | "is_function"
            | "seeded" | "with_derivative" | "log_prob" | "params_map" => Treatment::Itself,
            _ => Treatment::Refuses,
        },
    }
}

/// Whether a `?` or a token is among the arguments.
pub(super) fn concerns(args: &Args) -> bool {
    fn special(value: &Value) -> bool {
        match value {
            Value::Maybe(_) | Value::Token(_) => true,
            Value::List(items) => items.iter().any(special),
            _ => false,
        }
    }
    let named = args.named.iter().map(|(_, value)| value);
    args.positional
        .iter()
        .map(|(value, _)| value)
        .chain(named)
        .any(special)
}

/// Calls a builtin with a `?` or a token among its arguments; none if its own code takes them.
pub(super) fn lifted(
    elaborator: &mut Elaborator,
    id: BuiltinId,
    args: &Args,
    span: Span,
) -> Result<Option<Value>> {
    let row = &TABLE[id.0];
    match treatment(row, args.positional.len() + args.named.len()) {
        Treatment::Itself | Treatment::Refuses => Ok(None),
        Treatment::Lifts => entrywise(elaborator, id, args, span).map(Some),
        Treatment::Moves => moved(elaborator, id, args, span).map(Some),
        Treatment::Reduces | Treatment::Runs => {
            let optional = usize::from(matches!(row.action, Action::Extreme(..)));
            let args = ordered_up_to(row, args.clone(), span, optional)?;
            let (x, at) = args.positional[0].clone();
            let x = elaborator.stack(&x, at)?;
            let rest = Args {
                positional: vec![(plain(&x).clone(), at)],
                named: Vec::new(),
            };
            match &x {
                Value::Maybe(maybe) => reduced(elaborator, id, maybe, rest, span).map(Some),
                Value::Token(tensor) if matches!(row.name, "shape" | "len") => {
                    let ints = Value::Tensor(tensor.clone());
                    call(elaborator, id, Args::of(&[ints], at), span).map(Some)
                }
                _ => Ok(None),
            }
        }
    }
}

/// Each argument without its flags, the result hidden where one of them is.
fn entrywise(elaborator: &mut Elaborator, id: BuiltinId, args: &Args, span: Span) -> Result<Value> {
    let row = &TABLE[id.0];
    let args = if matches!(row.action, Action::Extreme(..)) {
        ordered_up_to(row, args.clone(), span, 1)?
    } else {
        ordered(row, args.clone(), span)?
    };
    let mut values = Vec::new();
    for (value, at) in &args.positional {
        values.push(elaborator.stack(value, *at)?);
    }
    if let (Action::Unary(op), [Value::Maybe(maybe)]) = (row.action, values.as_slice())
        && maybe.value.tensor().is_some_and(|t| t.ty.elem.is_float())
    {
        return elaborator.unary_missing(op, maybe, span);
    }
    let convert = matches!(row.action, Action::Convert(_));
    let spans: Vec<Span> = args.positional.iter().map(|(_, at)| *at).collect();
    elaborator.lifted(&values, span, |elaborator, bare| {
        let positional = bare.iter().zip(&spans).map(|(value, &at)| {
            // `int(w)` is the place of a word.
            let value = if convert {
                as_ints(value)
            } else {
                value.clone()
            };
            (value, at)
        });
        let args = Args {
            positional: positional.collect(),
            named: Vec::new(),
        };
        if let Some((words @ Value::Token(_), at)) = args
            .positional
            .iter()
            .find(|(value, _)| matches!(value, Value::Token(_)))
        {
            return wanted(*at, "a number or tensor", words);
        }
        call(elaborator, id, args, span)
    })
}

/// Once for the entries, once for their flags.
fn moved(elaborator: &mut Elaborator, id: BuiltinId, args: &Args, span: Span) -> Result<Value> {
    let row = &TABLE[id.0];
    let args = if row.params.is_empty() {
        args.clone()
    } else {
        ordered(row, args.clone(), span)?
    };
    // What holds entries: everything that `concat` joins, x and the border of `pad`, else x.
    let data = |at: usize| match row.name {
        "concat" => true,
        "pad" => at != 1,
        _ => at == 0,
    };
    let mut entries = args.clone();
    let mut flags = args.clone();
    let mut hidden = false;
    let mut words = false;
    for (at, (value, place)) in args.positional.iter().enumerate() {
        if !data(at) {
            continue;
        }
        let stacked = elaborator.stack(value, *place)?;
        let parts: Vec<Value> = match &stacked {
            Value::List(items) => items.to_vec(),
            one => vec![one.clone()],
        };
        let mut bare = Vec::new();
        let mut seen = Vec::new();
        for part in &parts {
            hidden |= matches!(part, Value::Maybe(_));
            words |= matches!(plain(part), Value::Token(_));
            bare.push(as_ints(plain(part)));
            seen.push(match part {
                Value::Unknown => Value::Unknown,
                part => Value::Tensor(elaborator.flags_of(part, *place)?),
            });
        }
        let join = |parts: Vec<Value>| match (&stacked, parts.first()) {
            (Value::List(_), _) | (_, None) => Value::List(Rc::new(parts)),
            (_, Some(one)) => one.clone(),
        };
        entries.positional[at].0 = join(bare);
        flags.positional[at].0 = join(seen);
    }
    let value = call(elaborator, id, entries, span)?;
    let value = if words { as_words(&value) } else { value };
    if !hidden {
        return Ok(value);
    }
    if row.name == "pad" && flags.positional.len() == 2 {
        flags.positional.push((Value::bool(true), span));
    }
    let seen = call(elaborator, id, flags, span)?;
    pair(&value, &seen, span)
}

/// Ints of a result as words.
fn as_words(value: &Value) -> Value {
    match value {
        Value::Tensor(tensor) => Value::Token(tensor.clone()),
        Value::Tuple(parts) => Value::tuple(parts.iter().map(as_words).collect()),
        other => other.clone(),
    }
}

/// Entries and flags of one structure as `?` values.
fn pair(value: &Value, flags: &Value, span: Span) -> Result<Value> {
    match (value, flags) {
        (Value::Unknown, _) | (_, Value::Unknown) => Ok(Value::Unknown),
        (Value::Tensor(_) | Value::Token(_), Value::Tensor(observed)) => {
            Ok(Value::Maybe(Rc::new(Maybe {
                value: value.clone(),
                observed: observed.clone(),
            })))
        }
        (Value::Tuple(values), Value::Tuple(flags)) => {
            let parts: Result<Vec<Value>> = values
                .iter()
                .zip(flags.iter())
                .map(|(value, flags)| pair(value, flags, span))
                .collect();
            Ok(Value::tuple(parts?))
        }
        (other, _) => wanted(span, "tensors", other),
    }
}

/// Over the observed entries.
fn reduced(
    elaborator: &mut Elaborator,
    id: BuiltinId,
    maybe: &Maybe,
    bare: Args,
    span: Span,
) -> Result<Value> {
    let row = &TABLE[id.0];
    let at = bare.positional[0].1;
    // The number of observed entries where there is one, else 1, as a divisor.
    let per = |elaborator: &mut Elaborator, total: &Value, seen: &Value| {
        let some = elaborator.binary(BinaryOp::Gt, (seen, at), (&Value::int(0), at), span)?;
        let some = as_tensor(&some, at, "a bool")?;
        let (seen, one) = (as_tensor(seen, at, "a count")?, Value::int(1));
        let one = as_tensor(&one, at, "a number")?;
        let divisor = Value::Tensor(elaborator.select(&some, seen, one, (at, at), span)?);
        elaborator.binary(BinaryOp::Div, (total, at), (&divisor, at), span)
    };
    let replaced = |elaborator: &mut Elaborator, number: f64| -> Result<Args> {
        let tensor = numbers(&maybe.value, at)?;
        let tensor = elaborator.instead(&tensor, &maybe.observed, number, span)?;
        Ok(Args::of(&[Value::Tensor(tensor)], at))
    };
    let counted = |elaborator: &mut Elaborator| -> Result<Value> {
        let tensor = numbers(&maybe.value, at)?;
        let elem = if tensor.ty.elem.is_float() {
            tensor.ty.elem
        } else {
            elaborator.float()
        };
        Ok(Value::Tensor(elaborator.convert(
            &maybe.observed,
            elem,
            at,
        )?))
    };
    match (row.action, row.name) {
        (Action::Sum { mean: true }, _) => {
            let tensor = numbers(&maybe.value, at)?;
            if !tensor.ty.elem.is_float() {
                return call(elaborator, id, bare, span);
            }
            let total = Value::Tensor(elaborator.total(&tensor, false, span)?);
            let ones = as_tensor(&counted(elaborator)?, at, "flags")?;
            let seen = Value::Tensor(elaborator.total(&ones, false, span)?);
            per(elaborator, &total, &seen)
        }
        (Action::Truth(Reduction::All), _) => {
            let args = replaced(elaborator, 1.0)?;
            call(elaborator, id, args, span)
        }
        (Action::Extreme(reduction, _) | Action::Place(reduction), _) => {
            let elem = numbers(&maybe.value, at)?.ty.elem;
            let args = replaced(elaborator, neutral(reduction, elem))?;
            let extreme = call(elaborator, id, args, span)?;
            some_observed(elaborator, &extreme, &maybe.observed, false, span)
        }
        (_, "max_first") => {
            let elem = numbers(&maybe.value, at)?.ty.elem;
            let args = replaced(elaborator, neutral(Reduction::Max, elem))?;
            let extreme = call(elaborator, id, args, span)?;
            some_observed(elaborator, &extreme, &maybe.observed, true, span)
        }
        (_, "batch_mean") => {
            let total = call(elaborator, id, bare, span)?;
            let ones = counted(elaborator)?;
            let share = call(elaborator, id, Args::of(&[ones], at), span)?;
            per(elaborator, &total, &share)
        }
        (_, "cumsum") => {
            let sums = call(elaborator, id, bare, span)?;
            elaborator.veil(&sums, &maybe.observed, span)
        }
        (_, "shape" | "len") => call(elaborator, id, Args::of(&[as_ints(&maybe.value)], at), span),
        _ => call(elaborator, id, bare, span),
    }
}

/// An extreme, unless nothing was observed that it could be of: over everything, or over the
/// first axis at one of the places.
fn some_observed(
    elaborator: &mut Elaborator,
    extreme: &Value,
    observed: &Tensor,
    first: bool,
    span: Span,
) -> Result<Value> {
    if elaborator.checking() {
        return Ok(extreme.clone());
    }
    let extreme = as_tensor(extreme, span, "a tensor")?;
    let reduce = |elaborator: &mut Elaborator, op, flags: &Tensor, axes: usize| {
        if axes == 0 {
            return Ok(flags.clone());
        }
        let ty = TensorType {
            elem: Elem::Bool,
            shape: flags.ty.shape[axes..].to_vec().into(),
        };
        let axes = (0..axes).collect();
        let flags = elaborator.within(flags, None, neutral(op, Elem::Bool), span)?;
        elaborator.emit(Op::Reduce { op, axes }, &[&flags], ty, span)
    };
    let axes = if first { 1 } else { observed.ty.rank() };
    let seen = reduce(elaborator, Reduction::Any, observed, axes)?;
    let seen = reduce(elaborator, Reduction::All, &seen, seen.ty.rank())?;
    let checked = elaborator.unless_unobserved(&extreme, &seen, span)?;
    Ok(Value::Tensor(checked))
}

/// `hide(x, where = b)`: x with the entries hidden where b holds.
pub(super) fn hide(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(x, x_at), (b, b_at)] = args.positional.as_slice() else {
        return fail("E0401", span, "`hide` wants a tensor and `where`");
    };
    if matches!(x, Value::Unknown) || matches!(b, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let x = elaborator.stack(x, *x_at)?;
    let chosen = as_tensor(b, *b_at, "a bool for each entry")?;
    let Some(tensor) = x.tensor() else {
        return wanted(*x_at, "a tensor", &x);
    };
    if chosen.ty.elem != Elem::Bool {
        return wanted(*b_at, "a bool for each entry", b)
            .map_err(|error| Box::new(error.help("a comparison makes bools: `where = w > 0.5`")));
    }
    let fits = chosen.is_scalar() || crate::value::may_agree(&chosen.ty.shape, &tensor.ty.shape);
    if !fits {
        let text = elaborator.text(span);
        return Err(Box::new(crate::error::size_mismatch(
            span,
            &text,
            (tensor, *x_at),
            (&chosen, *b_at),
            None,
        )));
    }
    let kept = elaborator.emit(
        aec_ir::Op::Unary(aec_ir::Unary::Not),
        &[&chosen],
        chosen.ty.clone(),
        span,
    )?;
    elaborator.veil(&x, &kept, span)
}

/// `observed(x)`: the flags of x.
pub(super) fn observed(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (x, at) = &args.positional[0];
    if matches!(x, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let x = elaborator.stack(x, *at)?;
    Ok(Value::Tensor(elaborator.flags_of(&x, span)?))
}

/// `core.count_first(x)`: what a mean over the first axis divides by, the number of rows that are
/// observed at each place (at least 1: of nothing the mean is 0, Q3); of a plain x the number of rows.
pub(super) fn count_first(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (x, at) = &args.positional[0];
    match x {
        Value::Unknown => Ok(Value::Unknown),
        Value::Maybe(maybe) => {
            let float = elaborator.float();
            let ones = Value::Tensor(elaborator.convert(&maybe.observed, float, *at)?);
            let seen = super::shape::sum_first(elaborator, &Args::of(&[ones], *at), span)?;
            let one = Value::real(1.0, float);
            elaborator.elementwise_builtin(Binary::Max, (&seen, *at), (&one, *at), span)
        }
        other => match other.tensor().and_then(|tensor| tensor.ty.shape.first()) {
            Some(rows) if rows.size.varies() && !elaborator.checking() => {
                let (size, float) = (rows.size.clone(), elaborator.float());
                Ok(Value::Tensor(elaborator.count_of(&size, float, span)?))
            }
            Some(rows) if rows.size.as_constant() == Some(0) => Ok(Value::int(1)),
            Some(rows) => Ok(Value::size(rows.size.clone())),
            None => wanted(*at, "a tensor with an axis", other),
        },
    }
}
