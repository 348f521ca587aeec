//! The batching rule of loops: the same rounds, with the axis on whatever varies with it. Trees of
//! different shapes have a rule of their own, [`super::levels`].

use super::levels::batch_nodes;
use super::{Builder, stacked};
use crate::batch::{Axis, batch_body};
use crate::term::{permute, repeat_leading};
use aec_ir::{Comparison, Function, Loop, Op, Reduction, Type, Value};
use aec_runtime::Elem;
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
    if let Some(tables) = batch_nodes(out, looped, operands, which, axis, span)? {
        return Ok(tables.into_iter().map(|table| (table, true)).collect());
    }
    let (operands, limit) = looped.split_limit(operands);
    let (at_first, limit_varies) = looped.split_limit(which);
    let limit = limit.map(|limit| (limit, limit_varies == Some(true)));
    if let Some((limit, true)) = limit {
        return ragged(out, looped, operands, (at_first, limit), axis, span);
    }
    let body = &looped.body;
    let carried = looped.carried;
    let constants = carried + looped.sliced;
    // A value of the state varies if it does at first, or once a round makes it so.
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
    let mut builder = Builder::like(looped, &[]);
    builder.limit = limit.map(|(limit, _)| limit);
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

/// Each index of the axis has its own limit: the rounds go to the largest, and a round beyond its
/// own leaves the state alone and yields zeros.
fn ragged(
    out: &mut Function,
    looped: &Loop,
    operands: &[Value],
    (which, limit): (&[bool], Value),
    axis: Axis,
    span: Span,
) -> Result<Vec<(Value, bool)>, Diagnostic> {
    let int = Type::scalar(Elem::I64);
    let op = Op::Reduce {
        op: Reduction::Max,
        axes: smallvec::smallvec![0],
    };
    // Of no index there is no largest.
    let most = match axis.size {
        0 => out.number(0.0, int.clone(), span),
        _ => out.push1(op, &[limit], int.clone(), span),
    };
    let mut body = (*looped.body).clone();
    let own = body.param(int, "");
    // First of all, so that what is written can depend on it.
    let runs = body.compare(Comparison::Lt, body.params[0], own, span);
    body.order.rotate_right(1);
    for at in 0..body.results.len() {
        let value = body.results[at];
        let ty = body.ty(value).clone();
        let otherwise = match at < looped.carried {
            true => body.params[at + 1],
            false => body.number(0.0, ty.clone(), span),
        };
        let runs = body.broadcast_leading(runs, &ty.dims, span);
        body.results[at] = body.select(runs, value, otherwise, span);
    }
    let looped = Loop {
        body: Box::new(body),
        nodes: false,
        ..looped.clone()
    };
    let operands: Vec<Value> = operands.iter().copied().chain([limit, most]).collect();
    let which: Vec<bool> = which.iter().copied().chain([true, false]).collect();
    batch_loop(out, &looped, &operands, &which, axis, span)
}

/// The value with its first two axes exchanged.
fn swap_leading(f: &mut Function, x: Value, span: Span) -> Value {
    let axes: Vec<usize> = [1, 0].into_iter().chain(2..f.dims(x).len()).collect();
    permute(f, x, &axes, span)
}
