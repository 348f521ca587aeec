//! What a loop carries, takes and yields for nothing leaves it; a loop of no or one round is
//! none, unless it is a block.

use super::{Builder, reframe};
use crate::rebuild::{Results, splat};
use crate::term::repeat_leading;
use aec_ir::{Function, Loop, Type, Value, inline};
use aec_syntax::Span;
use cranelift_entity::EntitySet;
use smallvec::SmallVec;

/// Appends what stands for the loop; `used` says which of its results anything uses. The others
/// are replaced by whatever comes first.
pub fn prune_loop(
    out: &mut Function,
    looped: &Loop,
    operands: &[Value],
    used: &[bool],
    types: &[Type],
    span: Span,
) -> Results {
    let carried = looped.carried;
    let limit = looped.split_limit(operands).1;
    let known_limit = match limit {
        Some(limit) => splat(out, limit),
        None => Some(looped.count as f64),
    };
    if looped.count == 0 || known_limit.is_some_and(|limit| limit <= 0.0) {
        return types
            .iter()
            .enumerate()
            .map(|(at, ty)| match at < carried {
                true => operands[at],
                false => out.number(0.0, ty.clone(), span),
            })
            .collect();
    }
    let once = looped.count == 1 && !looped.exit && known_limit.is_some();
    if once && !looped.is_block() {
        return only_round(out, looped, operands, types, span);
    }
    let mut body = (*looped.body).clone();
    // A value that every round leaves as it is, is a constant.
    let fixed: Vec<bool> = (0..carried)
        .map(|at| body.results[at] == body.params[at + 1] && !(looped.exit && at == 0))
        .collect();
    let live = live_state(looped, &body, used, &fixed);

    let mut builder = Builder::like(looped, operands);
    builder.limit = limit.filter(|_| known_limit.is_none_or(|limit| limit < looped.count as f64));
    let mut groups: [Vec<Value>; 3] = Default::default();
    // Sequences that repeat one number are that number.
    for at in looped.first_slice()..looped.first_constant() {
        if let Some(number) = splat(out, operands[at - 1]) {
            let param = body.params[at];
            let ty = body.ty(param).clone();
            replace_first(&mut body, param, |body| body.number(number, ty, span));
        }
    }
    for at in looped.first_constant()..body.params.len() {
        if let Some(number) = splat(out, operands[at - 1]) {
            let param = body.params[at];
            let ty = body.ty(param).clone();
            replace_first(&mut body, param, |body| body.number(number, ty, span));
        } else if let Some(earlier) =
            (looped.first_constant()..at).find(|&earlier| operands[earlier - 1] == operands[at - 1])
        {
            let (param, same) = (body.params[at], body.params[earlier]);
            aec_ir::rewrite::replace_value(&mut body, param, same);
        }
    }
    for at in 0..carried {
        let param = body.params[at + 1];
        if fixed[at] {
            groups[2].push(param);
            builder.constants.push(operands[at]);
        } else if live[at] {
            groups[0].push(param);
            builder.state.push(operands[at]);
        }
    }
    let mut results: Vec<Value> = (0..carried)
        .filter(|&at| live[at] && !fixed[at])
        .map(|at| body.results[at])
        .collect();
    // Where each result of the loop has gone.
    let mut place: Vec<Option<usize>> = vec![None; types.len()];
    let mut next = 0;
    for at in 0..carried {
        if live[at] && !fixed[at] {
            place[at] = Some(next);
            next += 1;
        }
    }
    let first_yield = results.len();
    for at in carried..types.len() {
        if !used[at] {
            continue;
        }
        let value = body.results[at];
        place[at] = match results[first_yield..].iter().position(|&v| v == value) {
            Some(same) => Some(first_yield + same),
            None => {
                results.push(value);
                Some(results.len() - 1)
            }
        };
    }
    let needed = needed_params(&body, &results);
    for at in looped.first_slice()..body.params.len() {
        let param = body.params[at];
        if !needed.contains(param) {
            continue;
        }
        let (group, list) = match at < looped.first_constant() {
            true => (1, &mut builder.slices),
            false => (2, &mut builder.constants),
        };
        groups[group].push(param);
        list.push(operands[at - 1]);
    }
    for (at, &gone) in body.params[1..=carried].iter().enumerate() {
        if fixed[at] && !needed.contains(gone) {
            let index = groups[2].iter().position(|&v| v == gone);
            if let Some(index) = index {
                groups[2].remove(index);
                builder.constants.remove(index);
            }
        }
    }
    if results.is_empty() {
        return SmallVec::from_iter(types.iter().enumerate().map(|(at, ty)| match at < carried {
            true => operands[at],
            false => out.number(0.0, ty.clone(), span),
        }));
    }
    let params: Vec<Value> = std::iter::once(body.params[0])
        .chain(groups.into_iter().flatten())
        .collect();
    // A constant that is yielded is repeated outside.
    let constant_yields: Vec<Option<Value>> = (carried..types.len())
        .map(|at| {
            let value = body.results[at];
            let index = body.params.iter().position(|&p| p == value)?;
            match index {
                // Rounds beyond the limit yield zeros.
                _ if builder.limit.is_some() => None,
                index if index >= looped.first_constant() => Some(operands[index - 1]),
                index if (1..=carried).contains(&index) && fixed[index - 1] => {
                    Some(operands[index - 1])
                }
                _ => None,
            }
        })
        .collect();
    let round = reframe(&body, &params, &results);
    let values = builder.finish(out, round, span);
    types
        .iter()
        .enumerate()
        .map(|(at, ty)| {
            if at < carried && (fixed[at] || place[at].is_none()) {
                return operands[at];
            }
            if at >= carried
                && let Some(constant) = constant_yields[at - carried]
            {
                return repeat_leading(out, constant, looped.count, span);
            }
            match place[at] {
                Some(place) => values[place],
                None => out.number(0.0, ty.clone(), span),
            }
        })
        .collect()
}

/// Which values of the state matter: their last values are used, or they are needed for what
/// matters.
fn live_state(looped: &Loop, body: &Function, used: &[bool], fixed: &[bool]) -> Vec<bool> {
    let carried = looped.carried;
    let mut live: Vec<bool> = (0..carried)
        .map(|at| (used[at] && !fixed[at]) || (looped.exit && at == 0))
        .collect();
    loop {
        let results: Vec<Value> = body
            .results
            .iter()
            .enumerate()
            .filter(|&(at, _)| match at < carried {
                true => live[at],
                false => used[at],
            })
            .map(|(_, &v)| v)
            .collect();
        let needed = needed_params(body, &results);
        let mut grown = false;
        for at in 0..carried {
            let now = !fixed[at] && needed.contains(body.params[at + 1]);
            grown |= now && !std::mem::replace(&mut live[at], true);
        }
        if !grown {
            return live;
        }
    }
}

/// The values that `results` need, params among them.
fn needed_params(body: &Function, results: &[Value]) -> EntitySet<Value> {
    let mut needed: EntitySet<Value> = EntitySet::new();
    for &result in results {
        needed.insert(result);
    }
    for &inst in body.order.iter().rev() {
        let data = &body.insts[inst];
        if data.results.iter().any(|&v| needed.contains(v)) {
            for &operand in &data.operands {
                needed.insert(operand);
            }
        }
    }
    needed
}

/// Puts a new first instruction in place of a value.
fn replace_first(body: &mut Function, value: Value, make: impl FnOnce(&mut Function) -> Value) {
    let with = make(body);
    if let Some(inst) = body.order.pop() {
        body.order.insert(0, inst);
    }
    aec_ir::rewrite::replace_value(body, value, with);
}

/// The one round, where the loop stood.
pub(super) fn only_round(
    out: &mut Function,
    looped: &Loop,
    operands: &[Value],
    types: &[Type],
    span: Span,
) -> Results {
    let body = &looped.body;
    let mut args = vec![out.number(0.0, body.ty(body.params[0]).clone(), span)];
    let (given, _) = looped.split_limit(operands);
    for (at, &operand) in given.iter().enumerate() {
        let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(body.dims(body.params[at + 1]));
        args.push(out.reshape(operand, &dims, span));
    }
    let results = inline(out, body, &args);
    results
        .iter()
        .zip(types)
        .map(|(&value, ty)| out.reshape(value, &ty.dims, span))
        .collect()
}
