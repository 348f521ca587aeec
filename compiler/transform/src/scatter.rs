//! Scattered updates go where their sum goes: `w - lr * scatter_add(index, g)` becomes updates
//! `-lr * g` added to w at their rows, so that a step of plain gradient descent touches the rows
//! of a table that were used, and no gradient of the whole table is made.
//!
//! The last pass: derivatives and products are done, and kernels keep the order of the additions.

use crate::term::{Term, TermFactor};
use aec_ir::rewrite::{ValueMap, copy_ends, copy_inst, copy_params};
use aec_ir::{Binary, Function, Op, Unary, Value};
use aec_syntax::Span;
use cranelift_entity::SecondaryMap;

/// A coefficient and scalar factors.
#[derive(Clone)]
struct Scale {
    coefficient: f64,
    scalars: Vec<TermFactor>,
}

/// One pair of a scatter, and what its updates are multiplied by.
struct Scattered {
    index: Value,
    updates: Value,
    scale: Scale,
}

/// Adds scattered updates to what their sums are added to.
pub fn merge_scatters(f: &Function) -> Function {
    let uses = count_uses(f);
    let (mut out, mut map) = copy_params(f);
    for &inst in &f.order {
        let data = &f.insts[inst];
        let merged = match data.op {
            Op::Binary(Binary::Add) => {
                let (x, y) = (data.operands[0], data.operands[1]);
                sum(f, &uses, x, y, 1.0).or_else(|| sum(f, &uses, y, x, 1.0))
            }
            Op::Binary(Binary::Sub) => sum(f, &uses, data.operands[0], data.operands[1], -1.0),
            _ => None,
        };
        let result = data.results[0];
        let merged = merged.filter(|(pairs, _, _)| {
            let updates: usize = pairs.iter().map(|pair| f.ty(pair.updates).len()).sum();
            f.ty(result).elem.is_float() && updates <= f.ty(result).len()
        });
        let Some((pairs, base, batch)) = merged else {
            copy_inst(&mut out, f, inst, &mut map);
            continue;
        };
        let mut operands = Vec::new();
        for pair in pairs {
            operands.push(map.at(pair.index));
            operands.push(scaled(&mut out, &map, &pair, data.span));
        }
        operands.push(map.at(base));
        let ty = f.ty(result).clone();
        let new = out.push1(Op::ScatterAdd { batch }, &operands, ty, data.span);
        map.insert(result, new);
    }
    copy_ends(&mut out, f, &map);
    out
}

fn count_uses(f: &Function) -> SecondaryMap<Value, u32> {
    let mut uses = SecondaryMap::new();
    let operands = f.order.iter().flat_map(|&inst| &f.insts[inst].operands);
    let guards = f.guards.iter().map(|guard| &guard.value);
    for &v in operands.chain(&f.results).chain(guards) {
        uses[v] += 1;
    }
    uses
}

/// The scatters whose sum `coefficient * v` is, on top of `base`, and their batch axes.
fn sum(
    f: &Function,
    uses: &SecondaryMap<Value, u32>,
    base: Value,
    v: Value,
    coefficient: f64,
) -> Option<(Vec<Scattered>, Value, usize)> {
    let scale = Scale {
        coefficient,
        scalars: Vec::new(),
    };
    let mut pairs = Vec::new();
    let batch = collect(f, uses, v, &scale, &mut pairs)?;
    Some((pairs, base, batch))
}

/// Collects the scatters that a value which nothing else needs is a weighted sum of; gives their
/// batch axes. None if it is made of anything else.
fn collect(
    f: &Function,
    uses: &SecondaryMap<Value, u32>,
    v: Value,
    scale: &Scale,
    pairs: &mut Vec<Scattered>,
) -> Option<usize> {
    if uses[v] != 1 {
        return None;
    }
    let inst = f.def_inst(v)?;
    let data = &f.insts[inst];
    let times = |coefficient: f64| Scale {
        coefficient: scale.coefficient * coefficient,
        ..scale.clone()
    };
    match &data.op {
        Op::ScatterAdd { batch } if data.operands.len().is_multiple_of(2) => {
            pairs.extend(data.operands.chunks_exact(2).map(|pair| Scattered {
                index: pair[0],
                updates: pair[1],
                scale: scale.clone(),
            }));
            Some(*batch)
        }
        Op::Binary(op @ (Binary::Add | Binary::Sub)) => {
            let sign = if *op == Binary::Add { 1.0 } else { -1.0 };
            let left = collect(f, uses, data.operands[0], scale, pairs)?;
            let right = collect(f, uses, data.operands[1], &times(sign), pairs)?;
            (left == right).then_some(left)
        }
        Op::Unary(Unary::Neg) => collect(f, uses, data.operands[0], &times(-1.0), pairs),
        Op::Contract(_) => {
            let term = Term::of_inst(f, inst)?;
            let is_whole = |factor: &TermFactor| factor.labels == term.out && factor.power == 1;
            let whole = term.factors.iter().position(is_whole)?;
            let scalars = term
                .factors
                .iter()
                .enumerate()
                .filter(|&(at, _)| at != whole);
            let mut inner = times(term.coefficient);
            for (_, factor) in scalars {
                if !factor.labels.is_empty() {
                    return None;
                }
                inner.scalars.push(factor.clone());
            }
            let plain = term.deltas.is_empty() && term.sizes.len() == term.out.len();
            let whole = term.factors[whole].value;
            (plain && !term.out.is_empty())
                .then(|| collect(f, uses, whole, &inner, pairs))
                .flatten()
        }
        _ => None,
    }
}

/// The updates of a pair, multiplied.
fn scaled(out: &mut Function, map: &ValueMap, pair: &Scattered, span: Span) -> Value {
    let updates = map.at(pair.updates);
    if pair.scale.coefficient == 1.0 && pair.scale.scalars.is_empty() {
        return updates;
    }
    let mut term = Term::identity(out, updates);
    term.coefficient = pair.scale.coefficient;
    for factor in &pair.scale.scalars {
        term.factors.push(TermFactor {
            value: map.at(factor.value),
            ..factor.clone()
        });
    }
    let elem = out.ty(updates).elem;
    term.emit(out, elem, span)
}
