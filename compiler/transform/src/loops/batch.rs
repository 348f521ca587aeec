//! The batching rule of loops: the same rounds, with the axis on whatever varies with it.

use super::{Builder, stacked};
use crate::batch::{Axis, batch_body};
use crate::term::{permute, repeat_leading};
use aec_ir::{Function, Loop, Value};
use aec_syntax::{Diagnostic, Span};

/// Appends the loop with the axis in front of every value that varies. `which` says it of the
/// operands; the result says it of the results.
pub fn batch_loop(
    out: &mut Function,
    looped: &Loop,
    operands: &[Value],
    which: &[bool],
    axis: Axis,
    span: Span,
) -> Result<Vec<(Value, bool)>, Diagnostic> {
    let body = &looped.body;
    let carried = looped.carried;
    let constants = carried + looped.sliced;
    // A value of the state varies if it does at first, or once a round makes it so.
    let at_first = which;
    let mut which = at_first.to_vec();
    let (mut batched, varies) = loop {
        let mut f = Function::new(body.name.clone());
        let args: Vec<Value> = body
            .params
            .iter()
            .enumerate()
            .map(|(at, &param)| {
                let ty = match at > 0 && which[at - 1] {
                    true => stacked(body.ty(param), axis.size),
                    false => body.ty(param).clone(),
                };
                f.param(ty, "")
            })
            .collect();
        let mapped: Vec<bool> = std::iter::once(false).chain(which.clone()).collect();
        let results = batch_body(&mut f, body, &args, &mapped, axis)?;
        let mut grown = false;
        for (at, &(_, varies)) in results.iter().enumerate().take(carried) {
            grown |= varies && !std::mem::replace(&mut which[at], true);
        }
        if !grown {
            f.results = results.iter().map(|&(value, _)| value).collect();
            let varies: Vec<bool> = results.iter().map(|&(_, varies)| varies).collect();
            break (f, varies);
        }
    };
    for at in 0..carried {
        if which[at] && !varies[at] {
            let value = batched.results[at];
            batched.results[at] = repeat_leading(&mut batched, value, axis.size, span);
        }
    }
    let mut builder = Builder::like(looped);
    for (at, &operand) in operands.iter().enumerate() {
        if at < carried {
            // A state may begin alike for all and come to differ.
            let value = match which[at] && !at_first[at] {
                true => repeat_leading(out, operand, axis.size, span),
                false => operand,
            };
            builder.state.push(value);
        } else if at < constants {
            let value = match which[at] {
                true => swap_leading(out, operand, span),
                false => operand,
            };
            builder.slices.push(value);
        } else {
            builder.constants.push(operand);
        }
    }
    let results = builder.finish(out, batched, span);
    Ok(results
        .iter()
        .enumerate()
        .map(|(at, &value)| {
            if at < carried {
                return (value, which[at]);
            }
            match varies[at] {
                true => (swap_leading(out, value, span), true),
                false => (value, false),
            }
        })
        .collect())
}

/// The value with its first two axes exchanged.
fn swap_leading(f: &mut Function, x: Value, span: Span) -> Value {
    let axes: Vec<usize> = [1, 0].into_iter().chain(2..f.dims(x).len()).collect();
    permute(f, x, &axes, span)
}
