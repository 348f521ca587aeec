//! The order in memory of what all rounds of a loop multiply by.
//!
//! A product wants the sum's axis of its right factor outermost: `W x` with W as the script has
//! it, `[out, in]`, brings W into another order in every round, which costs a quarter of a product
//! of 32 rows and half of one of 8. Here a loop gets W the other way round, turned once before its
//! first round. One row alone is a row of dot products, for which W lies well.

use crate::rebuild::{Results, rebuild};
use crate::term::{Term, permute};
use aec_ir::rewrite::{copy_ends, copy_inst};
use aec_ir::{Function, Inst, InstData, Loop, Op, Value};
use smallvec::SmallVec;
use std::collections::HashMap;

/// Rows of a product, above which its own work hides the turning.
const MANY_ROWS: usize = 512;
/// Rounds below which turning once saves too little.
const FEW_ROUNDS: usize = 4;

/// `f` with the constants of its loops in the order that their products want.
pub fn lay_out(f: &Function) -> Function {
    let result = rebuild(f, |out, data, operands| {
        let Op::Loop(looped) = &data.op else {
            return Ok(None);
        };
        let body = lay_out(&looped.body);
        Ok(Some(turned(out, f, data, looped, &body, operands)))
    });
    // The closure above gives no error.
    result.unwrap_or_else(|_| f.clone())
}

/// Appends the loop, with another constant for each one that a product wants turned.
fn turned(
    out: &mut Function,
    f: &Function,
    data: &InstData,
    looped: &Loop,
    body: &Function,
    operands: &[Value],
) -> Results {
    let first = looped.first_constant();
    let products: HashMap<Inst, usize> = match looped.count >= FEW_ROUNDS {
        true => body
            .order
            .iter()
            .filter_map(|&inst| Some((inst, wants_turning(body, inst, first)?)))
            .collect(),
        false => HashMap::new(),
    };
    let mut inner = Function::new(body.name.clone());
    let mut map = aec_ir::rewrite::ValueMap::new();
    for &param in &body.params {
        let new = inner.param(body.ty(param).clone(), "");
        map.insert(param, new);
    }
    let (given, limit) = looped.split_limit(operands);
    let mut all = given.to_vec();
    let mut turned: HashMap<Value, Value> = HashMap::new();
    for &inst in &body.order {
        let Some(&at) = products.get(&inst) else {
            copy_inst(&mut inner, body, inst, &mut map);
            continue;
        };
        let data = &body.insts[inst];
        let weight = data.operands[at];
        let new = *turned.entry(weight).or_insert_with(|| {
            let place = body.params.iter().position(|&p| p == weight).unwrap_or(1);
            all.push(permute(out, operands[place - 1], &[1, 0], data.span));
            let dims: SmallVec<[usize; 4]> = body.dims(weight).iter().rev().copied().collect();
            inner.param(body.ty(weight).with_dims(&dims), "")
        });
        let given: Vec<Value> = data.operands.iter().map(|&v| map.at(v)).collect();
        let Op::Contract(contract) = &data.op else {
            copy_inst(&mut inner, body, inst, &mut map);
            continue;
        };
        let mut term = Term::new(contract, &given);
        term.factors[at].value = new;
        term.factors[at].labels.reverse();
        let elem = body.ty(data.results[0]).elem;
        let value = term.emit(&mut inner, elem, data.span);
        map.insert(data.results[0], value);
    }
    copy_ends(&mut inner, body, &map);
    all.extend(limit);
    let op = Op::Loop(Loop {
        body: Box::new(inner),
        ..looped.clone()
    });
    let types: Vec<_> = data.results.iter().map(|&v| f.ty(v).clone()).collect();
    let inst = out.push(op, &all, &types, data.span);
    out.insts[inst].results.clone()
}

/// The factor of a product, a constant of the loop, whose last axis is summed and whose first one
/// is the last of the result.
fn wants_turning(body: &Function, inst: Inst, first_constant: usize) -> Option<usize> {
    let term = Term::of_inst(body, inst)?;
    let is_constant = |v: Value| body.params[first_constant..].contains(&v);
    let plain = term.factors.len() == 2
        && term.deltas.is_empty()
        && term.factors.iter().all(|factor| factor.power == 1);
    if !plain || !body.ty(body.insts[inst].results[0]).elem.is_float() {
        return None;
    }
    (0..2).find(|&at| {
        let (weight, other) = (&term.factors[at], &term.factors[1 - at]);
        let [kept, summed] = weight.labels[..] else {
            return false;
        };
        let rows: usize = other
            .labels
            .iter()
            .filter(|&&label| label != summed)
            .map(|&label| term.sizes[usize::from(label)])
            .product();
        is_constant(weight.value)
            && !is_constant(other.value)
            && kept != summed
            && term.out.last() == Some(&kept)
            && !term.out.contains(&summed)
            && !other.labels.contains(&kept)
            && other.labels.contains(&summed)
            && (2..=MANY_ROWS).contains(&rows)
    })
}
