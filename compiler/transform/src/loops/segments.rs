//! Long loops in segments, so that reverse mode keeps little of them (AUTODIFF.md section 9).
//!
//! Running backwards needs of each round what its derivative is made of, stacked over all rounds.
//! Where that is much, the rounds are taken in about √T segments: an outer loop whose rounds are
//! segments keeps only the state before each ([`Loop::recomputed`]), and the backward loop goes
//! through a segment once more, forwards, before it goes through it backwards. That costs the
//! forward rounds twice and keeps √T states and the residuals of √T rounds instead of T.
//! Loops whose residuals fit [`LIMIT`] bytes stay as they are.

use super::linearize::stacked_bytes;
use super::{Builder, stacked};
use crate::rebuild::{Results, rebuild, replace_body};
use aec_ir::{Binary, Function, InstData, Loop, Op, Type, Value, inline};
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};

/// Bytes that the rounds of one loop may keep for the way back: several times what caches hold,
/// and little beside the memory of a machine.
pub const LIMIT: usize = 256 << 20;
/// Fewer rounds than this are not worth a segment.
const FEW: usize = 16;

/// `f` with its loops that would keep more than `limit` bytes taken in segments.
pub fn segment_loops(f: &Function, limit: usize) -> Result<Function, Diagnostic> {
    rebuild(f, |out, data, operands| {
        let Op::Loop(looped) = &data.op else {
            return Ok(None);
        };
        if looped.is_block() {
            let body = segment_loops(&looped.body, limit)?;
            return Ok(Some(replace_body(out, f, data, operands, body)));
        }
        let short = looped.count < FEW || looped.exit || looped.recomputed;
        if short || stacked_bytes(looped)? <= limit {
            return Ok(None);
        }
        Ok(Some(segmented(out, looped, operands, data)))
    })
}

/// Appends a loop over segments, and one over the rounds that are left.
fn segmented(out: &mut Function, looped: &Loop, operands: &[Value], data: &InstData) -> Results {
    let span = data.span;
    let rounds = (looped.count as f64).sqrt().ceil() as usize;
    let segments = looped.count / rounds;
    let whole = segments * rounds;
    let left = looped.count - whole;
    let (given, limit) = looped.split_limit(operands);
    let (state, rest) = given.split_at(looped.carried);
    let (slices, constants) = rest.split_at(looped.sliced);

    let tail = |out: &mut Function, state: &[Value]| -> Results {
        let mut builder = Builder::like(looped, operands);
        builder.limit = limit.map(|limit| shift(out, limit, -(whole as f64), span));
        builder.count = left;
        builder.state = state.to_vec();
        for &slice in slices {
            let part = rows(out, slice, whole, looped.count, span);
            builder.slices.push(part);
        }
        builder.constants = constants.to_vec();
        let first = out.number(whole as f64, Type::scalar(Elem::I64), span);
        builder.constants.push(first);
        let body = shifted(looped, span);
        builder.finish(out, body, span)
    };
    let main = |out: &mut Function, state: &[Value]| -> Results {
        let mut builder = Builder::like(looped, operands);
        // Segments in which a round is run; of the last one some may not be.
        builder.limit = limit.map(|limit| {
            let up = shift(out, limit, rounds as f64 - 1.0, span);
            let by = out.number(rounds as f64, Type::scalar(Elem::I64), span);
            out.binary(Binary::FloorDiv, up, by, span)
        });
        builder.count = segments;
        builder.recomputed = true;
        builder.state = state.to_vec();
        for &slice in slices {
            let part = rows(out, slice, 0, whole, span);
            let mut dims = vec![segments, rounds];
            dims.extend_from_slice(&out.dims(part)[1..]);
            let part = out.reshape(part, &dims, span);
            builder.slices.push(part);
        }
        builder.constants = constants.to_vec();
        builder.constants.extend(limit);
        let body = segment(looped, rounds, span);
        builder.finish(out, body, span)
    };
    // The rounds that are left are the last ones by index.
    let (first, last) = match (left, looped.reverse) {
        (0, _) => (main(out, state), None),
        (_, false) => {
            let first = main(out, state);
            let last = tail(out, &first[..looped.carried]);
            (first, Some(last))
        }
        (_, true) => {
            let last = tail(out, state);
            let first = main(out, &last[..looped.carried]);
            (first, Some(last))
        }
    };
    let end = match (&last, looped.reverse) {
        (Some(last), false) => last,
        (Some(_), true) | (None, _) => &first,
    };
    let mut results: Results = end[..looped.carried].iter().copied().collect();
    for at in looped.carried..data.results.len() {
        let mut dims = vec![whole];
        dims.extend_from_slice(&out.dims(first[at])[2..]);
        let flat = out.reshape(first[at], &dims, span);
        results.push(match &last {
            None => flat,
            Some(last) => {
                dims[0] = looped.count;
                let ty = out.ty(flat).with_dims(&dims);
                out.push1(Op::Concat { axis: 0 }, &[flat, last[at]], ty, span)
            }
        });
    }
    results
}

/// An int and a number.
fn shift(out: &mut Function, x: Value, by: f64, span: Span) -> Value {
    let by = out.number(by, Type::scalar(Elem::I64), span);
    out.binary(Binary::Add, x, by, span)
}

/// Entries `from..to` of the leading axis.
fn rows(out: &mut Function, x: Value, from: usize, to: usize, span: Span) -> Value {
    let mut limit = out.dims(x).to_vec();
    if (from, to) == (0, limit[0]) {
        return x;
    }
    let mut start = vec![0; limit.len()];
    (start[0], limit[0]) = (from, to);
    let mut dims = limit.clone();
    dims[0] = to - from;
    let ty = out.ty(x).with_dims(&dims);
    let stride = vec![1; limit.len()];
    let op = Op::Slice {
        start,
        limit,
        stride,
    };
    out.push1(op, &[x], ty, span)
}

/// The body with one more constant, the index of the first round.
fn shifted(looped: &Loop, span: Span) -> Function {
    let body = &looped.body;
    let mut f = Function::new(body.name.clone());
    let mut args: Vec<Value> = body
        .params
        .iter()
        .map(|&param| f.param(body.ty(param).clone(), ""))
        .collect();
    let first = f.param(Type::scalar(Elem::I64), "");
    args[0] = f.binary(Binary::Add, args[0], first, span);
    f.results = inline(&mut f, body, &args).to_vec();
    f
}

/// One round of the outer loop: the rounds of a segment.
fn segment(looped: &Loop, rounds: usize, span: Span) -> Function {
    let body = &looped.body;
    let mut f = Function::new(body.name.clone());
    let params: Vec<Value> = body
        .params
        .iter()
        .enumerate()
        .map(|(at, &param)| {
            let is_slice = (looped.first_slice()..looped.first_constant()).contains(&at);
            let ty = match is_slice {
                true => stacked(body.ty(param), rounds),
                false => body.ty(param).clone(),
            };
            f.param(ty, "")
        })
        .collect();
    let each = f.number(rounds as f64, Type::scalar(Elem::I64), span);
    let first = f.binary(Binary::Mul, params[0], each, span);
    let mut builder = Builder::like(looped, &[]);
    if looped.limited {
        let limit = f.param(Type::scalar(Elem::I64), "");
        builder.limit = Some(f.binary(Binary::Sub, limit, first, span));
    }
    builder.count = rounds;
    builder.state = params[1..looped.first_slice()].to_vec();
    builder.slices = params[looped.first_slice()..looped.first_constant()].to_vec();
    builder.constants = params[looped.first_constant()..].to_vec();
    builder.constants.push(first);
    f.results = builder.finish(&mut f, shifted(looped, span), span).to_vec();
    f
}
