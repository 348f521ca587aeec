//! The builtins that loop: `scan`, `iterate`, `while`, `reduce`.

use super::functions::leading_axis;
use crate::call::Args;
use crate::error::{fail, wanted};
use crate::loops::Rounds;
use crate::ops::as_tensor;
use crate::value::{Code, Dim, Repr, Tensor, Value};
use crate::{Elaborator, Result};
use aec_runtime::Elem;
use aec_syntax::ast::{Param, Pattern};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// Refuses a function that wants another number of arguments than a builtin has for it; `given`
/// says what these are.
fn takes(
    elaborator: &Elaborator,
    name: &str,
    f: &(Value, Span),
    given: &[&str],
    help: &str,
) -> Result<()> {
    let Value::Fn(closure) = &f.0 else {
        return Ok(());
    };
    let (params, at) = match &closure.code {
        Code::Named(def, _) => (&def.params, f.1),
        Code::Lambda(lambda, _) => (&lambda.params, f.1),
        // What is around a function and takes its arguments alone takes as many.
        Code::Around(around) if around.behind == 0 => {
            return takes(elaborator, name, &(around.of.clone(), f.1), given, help);
        }
        Code::Around(_) | Code::Native(_) => return Ok(()),
    };
    let least = params.iter().filter(|param| param.default.is_none());
    let tuple = |param: &Param| matches!(param.pattern, Pattern::Tuple(..));
    if (least.count()..=params.len()).contains(&given.len()) || params.iter().any(tuple) {
        return Ok(());
    }
    let (wants, gets) = (
        crate::call::count(params.len(), "argument"),
        given.join(" and "),
    );
    let error = Diagnostic::error(
        "E0401",
        at,
        format!("`{name}` gives this function {gets}, but it takes {wants}"),
    );
    let error = match elaborator.in_library(closure.span) {
        true => error,
        false if closure.span == at => error,
        false => error.label(closure.span, "defined here"),
    };
    Err(Box::new(error.help(help)))
}

/// `scan(f, s0, xs)`: `f(state, x)` gives the next state and an output.
pub(super) fn scan(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(f, f_span), (start, start_span), (xs, xs_span)] = args.positional.as_slice() else {
        return fail(
            "E0401",
            span,
            "`scan` wants a function, a first state and a sequence",
        );
    };
    let help = "`scan(fn s, x -> (next, output), s0, xs)`; with no output, `reduce(fn s, x -> next, s0, xs)`";
    takes(
        elaborator,
        "scan",
        &args.positional[0],
        &["the state", "an entry"],
        help,
    )?;
    if let Value::List(items) = xs {
        return unrolled(elaborator, f, start, items, span);
    }
    let Some(count) = leading_axis(&[(xs.clone(), *xs_span)], "scan", span)? else {
        return Ok(Value::Unknown);
    };
    let rounds = Rounds {
        name: "scan",
        count,
        state: (start.clone(), *start_span),
        sequences: vec![xs.clone()],
        reverse: false,
        exit: false,
        nodes: None,
        span,
    };
    let ran = elaborator.run_rounds(&rounds, &mut |elaborator, state, entries| {
        let result = elaborator.apply(f, &[state.clone(), entries[0].clone()], span)?;
        pair(result, *f_span)
    })?;
    Ok(Value::tuple(vec![ran.state, ran.given]))
}

/// The next state and the output of a round of `scan`.
fn pair(result: Value, span: Span) -> Result<(Value, Value)> {
    match &result {
        Value::Tuple(parts) if parts.len() == 2 => Ok((parts[0].clone(), parts[1].clone())),
        Value::Unknown => Ok((Value::Unknown, Value::Unknown)),
        other => wanted(span, "a function that gives a pair (state, output)", other),
    }
}

fn unrolled(
    elaborator: &mut Elaborator,
    f: &Value,
    start: &Value,
    items: &[Value],
    span: Span,
) -> Result<Value> {
    let mut state = start.clone();
    let mut outputs = Vec::new();
    for item in items {
        let result = elaborator.apply(f, &[state, item.clone()], span)?;
        let (next, output) = pair(result, span)?;
        state = next;
        outputs.push(output);
    }
    let outputs = elaborator.stack(&Value::List(Rc::new(outputs)), span)?;
    Ok(Value::tuple(vec![state, outputs]))
}

/// `iterate(f, s0, n)`: f of f of … of s0, n times.
pub(super) fn iterate(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(f, _), (start, start_span), (n, n_span)] = args.positional.as_slice() else {
        return fail(
            "E0401",
            span,
            "`iterate` wants a function, a first state and a number of rounds",
        );
    };
    let help = "`reduce(fn s, i -> …, s0, 0..n)` gives it the number of the round as well";
    takes(
        elaborator,
        "iterate",
        &args.positional[0],
        &["the state"],
        help,
    )?;
    let Some(count) = rounds_of(n, *n_span)? else {
        return Ok(Value::Unknown);
    };
    let rounds = Rounds {
        name: "iterate",
        count,
        state: (start.clone(), *start_span),
        sequences: Vec::new(),
        reverse: false,
        exit: false,
        nodes: None,
        span,
    };
    let ran = elaborator.run_rounds(&rounds, &mut |elaborator, state, _| {
        let next = elaborator.apply(f, std::slice::from_ref(state), span)?;
        Ok((next, Value::Unit))
    })?;
    Ok(ran.state)
}

/// A number of rounds: known when the script is compiled.
fn rounds_of(n: &Value, span: Span) -> Result<Option<Dim>> {
    if matches!(n, Value::Unknown) {
        return Ok(None);
    }
    if n.as_int().is_some_and(|n| n < 0) {
        return fail("E0318", span, "the number of rounds is negative");
    }
    match n.as_size() {
        Some(size) => Ok(Some(Dim::of(size))),
        None if n
            .tensor()
            .is_some_and(|t| t.ty.elem.is_int() && t.is_scalar()) =>
        {
            fail(
                "E0305",
                span,
                "the number of rounds must be known when the script is compiled",
            )
        }
        None => wanted(span, "a whole number of rounds", n),
    }
}

/// `while(f, s0, until = c, max = n)`: f again and again until c holds, at most n times.
pub(super) fn while_(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [
        (f, _),
        (start, start_span),
        (until, until_span),
        (max, max_span),
    ] = args.positional.as_slice()
    else {
        return fail(
            "E0401",
            span,
            "`while` wants a function, a first state, `until = …` and `max = …`",
        );
    };
    let Some(count) = rounds_of(max, *max_span)? else {
        return Ok(Value::Unknown);
    };
    let holds = |elaborator: &mut Elaborator, state: &Value| -> Result<Value> {
        let result = elaborator.apply(until, std::slice::from_ref(state), span)?;
        match &result {
            Value::Unknown => Ok(Value::Unknown),
            Value::Tensor(tensor) if tensor.ty.elem == Elem::Bool && tensor.is_scalar() => {
                Ok(result)
            }
            other => wanted(*until_span, "a condition that gives one bool", other),
        }
    };
    // Whole numbers that the rounds make real are so from the start.
    let first = elaborator.stack(start, *start_span)?;
    let done = holds(elaborator, &first)?;
    let rounds = Rounds {
        name: "while",
        count,
        state: (Value::tuple(vec![done, first]), *start_span),
        sequences: Vec::new(),
        reverse: false,
        exit: true,
        nodes: None,
        span,
    };
    let ran = elaborator.run_rounds(&rounds, &mut |elaborator, state, _| {
        let Value::Tuple(parts) = state else {
            return Ok((Value::Unknown, Value::Unit));
        };
        let done = as_tensor(&parts[0], span, "a bool")?;
        let next = elaborator.apply(f, std::slice::from_ref(&parts[1]), span)?;
        let stop = holds(elaborator, &next)?;
        let kept = frozen(elaborator, &done, &parts[1], &next, span)?;
        let stop = match stop {
            Value::Tensor(stop) => {
                let yes = as_tensor(&Value::bool(true), span, "a bool")?;
                Value::Tensor(elaborator.select(&done, yes, stop, (span, span), span)?)
            }
            other => other,
        };
        Ok((Value::tuple(vec![stop, kept]), Value::Unit))
    })?;
    Ok(match ran.state {
        Value::Tuple(parts) => parts[1].clone(),
        other => other,
    })
}

/// `old` where a loop is done, else `new`; of another type than `old` it is `new`, and the
/// loop complains.
fn frozen(
    elaborator: &mut Elaborator,
    done: &Tensor,
    old: &Value,
    new: &Value,
    span: Span,
) -> Result<Value> {
    let (olds, news) = (crate::leaves(old), crate::leaves(new));
    if olds.len() != news.len() {
        return Ok(new.clone());
    }
    let mut kept = Vec::new();
    for (a, b) in olds.iter().zip(&news) {
        let (Value::Tensor(a), Value::Tensor(b)) = (&a.tensor, &b.tensor) else {
            return Ok(new.clone());
        };
        let same = crate::value::may_agree(&a.ty.shape, &b.ty.shape);
        kept.push(match same && (a.ty.elem == b.ty.elem) {
            true => {
                Value::Tensor(elaborator.select(done, a.clone(), b.clone(), (span, span), span)?)
            }
            false => Value::Tensor(b.clone()),
        });
    }
    Ok(crate::with_leaves(new, &mut kept.into_iter(), false))
}

/// Numbers of the program, such as `0..n`, of which there are more than these are first tried as a
/// loop, as a net has fewer layers.
const MANY: usize = 64;

/// Whether a value is sequences side by side, as `scan` takes them: tensors that have a first axis.
fn is_side_by_side(value: &Value) -> bool {
    match value {
        Value::Tuple(parts) => parts.iter().all(is_side_by_side),
        Value::Record(parts) => parts.iter().all(|(_, part)| is_side_by_side(part)),
        Value::Maybe(_) | Value::Token(_) | Value::Tensor(_) => crate::missing::plain(value)
            .tensor()
            .is_some_and(|tensor| !tensor.is_scalar()),
        _ => false,
    }
}

/// `reduce(f, s0, xs)`: over a list round by round, where the state may change its type, and so over
/// a tuple of what are no sequences, such as layers; over first axes of tensors as a loop. Over numbers of the program round by round if there are few or a
/// round needs to know its number (to pick an entry of a list), else as a loop.
pub(super) fn reduce(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(f, _), (start, start_span), (sequence, at)] = args.positional.as_slice() else {
        return fail(
            "E0401",
            span,
            "`reduce` wants a function, a start and a list or tensor",
        );
    };
    let help = "`reduce(fn s, x -> next, s0, xs)`";
    takes(
        elaborator,
        "reduce",
        &args.positional[0],
        &["the state", "an entry"],
        help,
    )?;
    let looped = |elaborator: &mut Elaborator| {
        let Some(count) = leading_axis(&[(sequence.clone(), *at)], "reduce", span)? else {
            return Ok(Value::Unknown);
        };
        let rounds = Rounds {
            name: "reduce",
            count,
            state: (start.clone(), *start_span),
            sequences: vec![sequence.clone()],
            reverse: false,
            exit: false,
            nodes: None,
            span,
        };
        let ran = elaborator.run_rounds(&rounds, &mut |elaborator, state, entries| {
            let next = elaborator.apply(f, &[state.clone(), entries[0].clone()], span)?;
            Ok((next, Value::Unit))
        })?;
        Ok(ran.state)
    };
    let items: Vec<Value> = match sequence {
        Value::Tuple(_) if is_side_by_side(sequence) => return looped(elaborator),
        Value::List(items) | Value::Tuple(items) => items.to_vec(),
        Value::Unknown => return Ok(Value::Unknown),
        Value::Tensor(Tensor {
            repr: Repr::Static(_),
            ty,
        }) if !ty.shape.is_empty() => {
            let items = crate::rows::split_rows(sequence);
            if items.len() > MANY {
                let snapshot = elaborator.snapshot();
                if let Ok(state) = looped(elaborator)
                    && elaborator.found_since(&snapshot).is_empty()
                {
                    return Ok(state);
                }
                elaborator.restore(snapshot);
            }
            items
        }
        // Text cannot be a compiled state: the script goes entry by entry.
        Value::Tensor(_) if matches!(start, Value::Str(_)) && elaborator.effects_allowed() => {
            if elaborator.checking() {
                return Ok(start.clone());
            }
            let sequence = elaborator.materialize_one(sequence.clone(), *at)?;
            crate::rows::split_rows(&sequence)
        }
        _ => return looped(elaborator),
    };
    let mut state = start.clone();
    for item in items {
        state = elaborator.apply(f, &[state, item], span)?;
    }
    Ok(state)
}
