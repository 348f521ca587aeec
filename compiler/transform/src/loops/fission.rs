//! What need not be in a loop leaves it (AUTODIFF.md section 9): what does not depend on the
//! state is computed before the loop, for all rounds at once; sums of products over the rounds
//! are taken after it.
//!
//! `W x_t` becomes one product over all `t`, and the gradient of a weight one product over the
//! rounds, instead of many small ones.

use super::{Builder, reframe};
use crate::batch::{Axis, batch_body};
use crate::rebuild::{Results, rebuild, replace_body, splat};
use crate::term::Term;
use aec_ir::{Binary, Contract, Function, InstData, Loop, Op, Type, Value};
use aec_runtime::Elem;
use aec_syntax::Diagnostic;
use cranelift_entity::{EntitySet, SecondaryMap};
use smallvec::SmallVec;

/// `f` with all its loops fissioned, inner ones first.
pub fn fission(f: &Function) -> Result<Function, Diagnostic> {
    rebuild(f, |out, data, operands| match &data.op {
        Op::Loop(looped) => {
            let looped = Loop {
                body: Box::new(fission(&looped.body)?),
                ..looped.clone()
            };
            if looped.is_block() {
                let body = *looped.body;
                return Ok(Some(replace_body(out, f, data, operands, body)));
            }
            let (looped, operands) = hoist(out, &looped, operands, data)?;
            Ok(Some(collect_sums(out, &looped, &operands, data)))
        }
        Op::Map { body, .. } => Ok(Some(replace_body(out, f, data, operands, fission(body)?))),
        _ => Ok(None),
    })
}

/// What a value of the body depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
enum Depends {
    /// Constants only.
    #[default]
    Nothing,
    /// The round: its index or its entries of sequences.
    Round,
    /// The state.
    State,
}

fn dependences(looped: &Loop) -> SecondaryMap<Value, Depends> {
    let body = &looped.body;
    let mut depends: SecondaryMap<Value, Depends> = SecondaryMap::new();
    for (at, &param) in body.params.iter().enumerate() {
        depends[param] = match at {
            0 => Depends::Round,
            at if at < looped.first_slice() => Depends::State,
            at if at < looped.first_constant() => Depends::Round,
            _ => Depends::Nothing,
        };
    }
    for &inst in &body.order {
        let data = &body.insts[inst];
        let most = data.operands.iter().map(|&v| depends[v]).max();
        for &result in &data.results {
            depends[result] = most.unwrap_or_default();
        }
    }
    depends
}

/// Whether an op is worth to be taken out for all rounds at once: products that sum, and
/// what they are made of goes with them. Elementwise work stays where it can fuse.
fn worthwhile(body: &Function, data: &InstData, depends: Depends) -> bool {
    match &data.op {
        Op::Contract(contract) => {
            let term = Term::new(contract, &data.operands);
            let products = data
                .operands
                .iter()
                .filter(|&&v| splat(body, v).is_none())
                .count();
            term.is_summed() && (depends == Depends::Nothing || products > 1)
        }
        Op::Constant(_) | Op::Iota { .. } | Op::Dense(_) => false,
        Op::Loop(_) | Op::Map { .. } | Op::Derivative { .. } | Op::BatchMean => {
            depends == Depends::Nothing && !matches!(data.op, Op::BatchMean)
        }
        Op::Draw { .. } => false,
        // What is the same in every round is computed once, unless it costs nothing.
        Op::Reshape | Op::Stop | Op::Slope { .. } | Op::Convert => false,
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Select
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Reverse { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Put { .. }
        | Op::CumSum { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Matrix(_) => depends == Depends::Nothing,
    }
}

/// Moves what does not depend on the state in front of the loop.
fn hoist(
    out: &mut Function,
    looped: &Loop,
    operands: &[Value],
    data: &InstData,
) -> Result<(Loop, Vec<Value>), Diagnostic> {
    let body = &looped.body;
    let depends = dependences(looped);
    let mut taken: EntitySet<Value> = EntitySet::new();
    let mut roots: Vec<Value> = Vec::new();
    // A loop with an exit may run few rounds of many: only what is the same in all leaves it.
    // Of one whose rounds are computed again, what all rounds have at once would have to be kept.
    let limit = match looped.exit || looped.recomputed {
        true => Depends::Nothing,
        false => Depends::Round,
    };
    for &inst in &body.order {
        let data = &body.insts[inst];
        let on = depends[data.results[0]];
        if on <= limit && worthwhile(body, data, on) {
            for &result in &data.results {
                taken.insert(result);
            }
        }
    }
    // Roots are what the rest of the body, or its results, use.
    let mut used_outside: EntitySet<Value> = EntitySet::new();
    for &result in &body.results {
        used_outside.insert(result);
    }
    for &inst in &body.order {
        let data = &body.insts[inst];
        if !data.results.iter().any(|&v| taken.contains(v)) {
            for &operand in &data.operands {
                used_outside.insert(operand);
            }
        }
    }
    for &inst in &body.order {
        for &result in &body.insts[inst].results {
            if taken.contains(result) && used_outside.contains(result) {
                roots.push(result);
            }
        }
    }
    if roots.is_empty() {
        return Ok((looped.clone(), operands.to_vec()));
    }
    // The part that leaves: params are those of the body that are not state.
    let (first_slice, first_constant) = (looped.first_slice(), looped.first_constant());
    let kept: Vec<usize> = std::iter::once(0)
        .chain(first_slice..body.params.len())
        .collect();
    let params: Vec<Value> = kept.iter().map(|&at| body.params[at]).collect();
    let part = reframe(body, &params, &roots);
    let span = data.span;
    let counter = Type::new(Elem::I64, &[looped.count]);
    let index = out.push1(Op::Iota { axis: 0 }, &[], counter, span);
    let args: Vec<Value> = kept
        .iter()
        .map(|&at| match at {
            0 => index,
            at => operands[at - 1],
        })
        .collect();
    let mapped: Vec<bool> = kept.iter().map(|&at| at < first_constant).collect();
    let axis = Axis {
        size: looped.count,
        is_batch: false,
    };
    let values = batch_body(out, &part, &args, &mapped, axis)?;
    let mut builder = Builder::like(looped, operands);
    let (given, _) = looped.split_limit(operands);
    let mut groups: [Vec<Value>; 3] = Default::default();
    groups[0].extend(&body.params[1..first_slice]);
    builder.state.extend(&operands[..looped.carried]);
    groups[1].extend(&body.params[first_slice..first_constant]);
    builder
        .slices
        .extend(&operands[first_slice - 1..first_constant - 1]);
    groups[2].extend(&body.params[first_constant..]);
    builder.constants.extend(&given[first_constant - 1..]);
    for (&root, (value, varies)) in roots.iter().zip(values) {
        let (group, list) = match varies {
            true => (1, &mut builder.slices),
            false => (2, &mut builder.constants),
        };
        groups[group].push(root);
        list.push(value);
    }
    let params: Vec<Value> = std::iter::once(body.params[0])
        .chain(groups.into_iter().flatten())
        .collect();
    let rest = reframe(body, &params, &body.results);
    let operands: Vec<Value> = builder
        .state
        .iter()
        .chain(&builder.slices)
        .chain(&builder.constants)
        .copied()
        .chain(builder.limit)
        .collect();
    let looped = Loop {
        sliced: builder.slices.len(),
        body: Box::new(rest),
        ..looped.clone()
    };
    Ok((looped, operands))
}

/// A sum over the rounds, of terms that do not need it.
struct Sum {
    /// Which value of the state.
    at: usize,
    /// Products whose sums over the rounds are added, and what each is multiplied by.
    terms: Vec<(Value, f64)>,
}

/// Appends the loop without the state that only sums products up; they are taken after it.
fn collect_sums(out: &mut Function, looped: &Loop, operands: &[Value], data: &InstData) -> Results {
    let body = &looped.body;
    let sums: Vec<Sum> = match looped.exit || looped.recomputed {
        true => Vec::new(),
        false => (0..looped.carried)
            .filter_map(|at| sum_of(body, looped, at))
            .filter(|sum| {
                // Of rounds that are not run, only what is yielded is zero.
                let zero = |&(term, _): &(Value, f64)| {
                    let is_yield = |v: &Value| !is_given(body, looped, *v);
                    factors(body, term).iter().any(is_yield)
                };
                !looped.limited || sum.terms.iter().all(zero)
            })
            .collect(),
    };
    let span = data.span;
    let is_sum = |at: usize| sums.iter().any(|sum| sum.at == at);
    let mut builder = Builder::like(looped, operands);
    let (given, _) = looped.split_limit(operands);
    let mut groups: [Vec<Value>; 3] = Default::default();
    let mut results = Vec::new();
    for (at, &operand) in operands.iter().enumerate().take(looped.carried) {
        if !is_sum(at) {
            groups[0].push(body.params[at + 1]);
            builder.state.push(operand);
            results.push(body.results[at]);
        }
    }
    let (first_slice, first_constant) = (looped.first_slice(), looped.first_constant());
    groups[1].extend(&body.params[first_slice..first_constant]);
    builder
        .slices
        .extend(&operands[first_slice - 1..first_constant - 1]);
    groups[2].extend(&body.params[first_constant..]);
    builder.constants.extend(&given[first_constant - 1..]);
    let first_yield = results.len();
    results.extend(&body.results[looped.carried..]);
    // Factors that are neither sequences nor constants are yielded.
    for sum in &sums {
        for &(term, _) in &sum.terms {
            for factor in factors(body, term) {
                if !is_given(body, looped, factor) && !results[first_yield..].contains(&factor) {
                    results.push(factor);
                }
            }
        }
    }
    let params: Vec<Value> = std::iter::once(body.params[0])
        .chain(groups.into_iter().flatten())
        .collect();
    let values = match results.is_empty() {
        true => SmallVec::new(),
        false => {
            let round = reframe(body, &params, &results);
            builder.finish(out, round, span)
        }
    };
    let totals: Vec<(usize, Value)> = sums
        .iter()
        .map(|sum| {
            let mut total = operands[sum.at];
            for &term in &sum.terms {
                let over_rounds = sum_over_rounds(out, looped, operands, term, |v| {
                    let place = results[first_yield..].iter().position(|&r| r == v)?;
                    Some(values[first_yield + place])
                });
                total = out.binary(Binary::Add, total, over_rounds, span);
            }
            (sum.at, total)
        })
        .collect();
    let mut kept = 0;
    data.results
        .iter()
        .enumerate()
        .map(|(at, _)| {
            if let Some(&(_, total)) = totals.iter().find(|(sum, _)| *sum == at) {
                return total;
            }
            kept += 1;
            values[kept - 1]
        })
        .collect()
}

/// Whether a factor of a product is a sequence, a constant or a number: known without the rounds.
fn is_given(body: &Function, looped: &Loop, factor: Value) -> bool {
    body.params[looped.first_slice()..].contains(&factor) || splat(body, factor).is_some()
}

/// The factors of a product.
fn factors(body: &Function, term: Value) -> SmallVec<[Value; 4]> {
    match body.def_inst(term) {
        Some(inst) => body.insts[inst].operands.clone(),
        None => SmallVec::new(),
    }
}

/// Whether the rounds only add products to value `at` of the state, and which.
fn sum_of(body: &Function, looped: &Loop, at: usize) -> Option<Sum> {
    let param = body.params[at + 1];
    let next = body.results[at];
    if !body.ty(param).elem.is_float() || next == param {
        return None;
    }
    // Nothing but the chain of additions reads it.
    let mut chain = Vec::new();
    let mut terms = Vec::new();
    let mut top = next;
    while top != param {
        let data = &body.insts[body.def_inst(top)?];
        if !matches!(data.op, Op::Binary(Binary::Add)) {
            return None;
        }
        let (a, b) = (data.operands[0], data.operands[1]);
        chain.push(top);
        let (rest, term) = if reaches(body, a, param) {
            (a, b)
        } else {
            (b, a)
        };
        products_of(body, (term, 1.0), &mut terms);
        top = rest;
    }
    for &inst in &body.order {
        let data = &body.insts[inst];
        for &operand in &data.operands {
            let in_chain = data.results.len() == 1 && chain.contains(&data.results[0]);
            if !in_chain && (operand == param || chain.contains(&operand)) {
                return None;
            }
        }
    }
    let uses = body
        .results
        .iter()
        .filter(|&v| *v == param || chain.contains(v))
        .count();
    // A term may not be the value itself, and each must be a product worth postponing: what of its
    // factors is kept for that is no larger than what it would add to in every round.
    let good = |&(term, _): &(Value, f64)| {
        let Some(inst) = body.def_inst(term) else {
            return false;
        };
        let data = &body.insts[inst];
        let Op::Contract(contract) = &data.op else {
            return false;
        };
        let size: usize = data
            .operands
            .iter()
            .filter(|&&v| !body.params[looped.first_slice()..].contains(&v))
            .map(|&v| body.ty(v).len())
            .sum();
        contract.sizes.len() < 200
            && !is_scaling(contract)
            && !reaches(body, term, param)
            && size <= body.ty(term).len().max(64)
    };
    (uses == 1 && terms.iter().all(good)).then_some(Sum { at, terms })
}

/// Whether a contraction does nothing but multiply by a number.
fn is_scaling(contract: &Contract) -> bool {
    let [factor] = contract.factors.as_slice() else {
        return false;
    };
    factor.power == 1 && factor.labels == contract.out && contract.deltas.is_empty()
}

/// A sum is not taken apart further than this: the same part may be in it over and over.
const MOST_PARTS: usize = 16;

/// What a term is made of by additions, subtractions and numbers that multiply: each part, and what
/// it is multiplied by.
fn products_of(body: &Function, (term, by): (Value, f64), out: &mut Vec<(Value, f64)>) {
    let inst = body.def_inst(term).filter(|_| out.len() < MOST_PARTS);
    let data = inst.map(|inst| &body.insts[inst]);
    match data.map(|data| (&data.op, data.operands.as_slice())) {
        Some((Op::Binary(Binary::Add), &[a, b])) => {
            products_of(body, (a, by), out);
            products_of(body, (b, by), out);
        }
        Some((Op::Binary(Binary::Sub), &[a, b])) => {
            products_of(body, (a, by), out);
            products_of(body, (b, -by), out);
        }
        Some((Op::Contract(contract), &[x])) if is_scaling(contract) => {
            products_of(body, (x, by * contract.coefficient), out);
        }
        _ => out.push((term, by)),
    }
}

/// Whether a value is or depends on another.
fn reaches(body: &Function, from: Value, to: Value) -> bool {
    let mut seen: EntitySet<Value> = EntitySet::new();
    let mut work = vec![from];
    while let Some(v) = work.pop() {
        if v == to {
            return true;
        }
        if seen.insert(v)
            && let Some(inst) = body.def_inst(v)
        {
            work.extend(body.insts[inst].operands.iter().copied());
        }
    }
    false
}

/// The product `term` of the body times a number, summed over the rounds.
fn sum_over_rounds(
    out: &mut Function,
    looped: &Loop,
    operands: &[Value],
    (term, by): (Value, f64),
    yielded: impl Fn(Value) -> Option<Value>,
) -> Value {
    let body = &looped.body;
    let elem = body.ty(term).elem;
    let (first_slice, first_constant) = (looped.first_slice(), looped.first_constant());
    let Some(inst) = body.def_inst(term) else {
        return term;
    };
    let data = &body.insts[inst];
    let Op::Contract(contract) = &data.op else {
        return term;
    };
    let mut summed = Term::new(contract, &data.operands);
    summed.coefficient *= by;
    let label = summed.fresh(looped.count);
    let mut carries = false;
    for factor in &mut summed.factors {
        let v = factor.value;
        let param = body.params.iter().position(|&p| p == v);
        match param {
            Some(at) if at >= first_constant => factor.value = operands[at - 1],
            Some(at) if at >= first_slice => {
                factor.value = operands[at - 1];
                factor.labels.insert(0, label);
                carries = true;
            }
            Some(_) | None => match (yielded(v), splat(body, v)) {
                (Some(stack), _) => {
                    factor.value = stack;
                    factor.labels.insert(0, label);
                    carries = true;
                }
                (None, number) => {
                    let ty = body.ty(v).clone();
                    factor.value = out.number(number.unwrap_or(0.0), ty, data.span);
                }
            },
        }
    }
    if !carries {
        summed.coefficient *= looped.count as f64;
        summed.sizes[usize::from(label)] = 1;
    }
    summed.emit(out, elem, data.span)
}
