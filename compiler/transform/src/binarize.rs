//! Products of many factors that sum become products of two, in a cheap order.
//!
//! Elementwise products keep all their factors (they become one loop). What sums has one
//! factor, or two with power one, no delta and no label that a single factor sums alone: a
//! reduction, a matrix-vector or a matrix product. The order is found by dynamic programming
//! over subsets (AUTODIFF.md R8, R9); factorise will stand in front of this and share work
//! between terms.

use crate::rebuild::tidy;
use crate::term::{Term, TermFactor};
use aec_ir::rewrite::{copy_ends, copy_inst, copy_params};
use aec_ir::{Function, Label, Labels, Op, Value};
use aec_runtime::Elem;
use aec_syntax::Span;

/// Above this many factors pairs are chosen greedily.
const MAX_EXACT: usize = 10;

/// `f` with binary sums of products.
pub fn binarize(f: &Function) -> Function {
    let (mut out, mut map) = copy_params(f);
    for &inst in &f.order {
        let data = &f.insts[inst];
        let term = match &data.op {
            Op::Contract(contract) => {
                let mut term = Term::new(contract, &map.all(&data.operands));
                term.normalize();
                Some(term)
            }
            _ => None,
        };
        match term {
            Some(term) if term.is_summed() && term.factors.len() > 1 => {
                let elem = f.ty(data.results[0]).elem;
                let value = split(&mut out, term, elem, data.span);
                map.insert(data.results[0], value);
            }
            _ => {
                let results = copy_inst(&mut out, f, inst, &mut map);
                let copy = results.first().and_then(|&v| out.def_inst(v));
                if let Some(copy) = copy
                    && let Op::Loop(looped) = &mut out.insts[copy].op
                {
                    *looped.body = binarize(&looped.body);
                }
            }
        }
    }
    copy_ends(&mut out, f, &map);
    tidy(out)
}

/// Emits a term that sums over products.
fn split(f: &mut Function, mut term: Term, elem: Elem, span: Span) -> Value {
    presum(f, &mut term, elem, span);
    let bound = term.bound();
    if bound.is_empty() || term.factors.len() < 2 {
        return term.emit(f, elem, span);
    }
    // A power is taken before it meets other factors.
    for at in 0..term.factors.len() {
        if term.factors[at].power > 1 {
            let labels = term.factors[at].labels.clone();
            let part = part_of(&term, &[at], &labels);
            term.factors[at] = TermFactor {
                value: part.emit(f, elem, span),
                labels,
                power: 1,
            };
        }
    }
    while term.factors.len() > 2 {
        let (a, b) = best_pair(&term);
        let others: Vec<usize> = (0..term.factors.len())
            .filter(|&i| i != a && i != b)
            .collect();
        let labels = kept_labels(&term, &[a, b], &others);
        let value = part_of(&term, &[a, b], &labels).emit(f, elem, span);
        term.factors.remove(a.max(b));
        term.factors.remove(a.min(b));
        // What the pair summed is gone from the rest.
        term.factors.push(TermFactor {
            value,
            labels,
            power: 1,
        });
        drop_unused(&mut term);
        presum(f, &mut term, elem, span);
    }
    term.emit(f, elem, span)
}

/// R8: a label that one factor alone carries is summed there at once.
fn presum(f: &mut Function, term: &mut Term, elem: Elem, span: Span) {
    if term.factors.len() < 2 {
        return;
    }
    for at in 0..term.factors.len() {
        let others: Vec<usize> = (0..term.factors.len()).filter(|&i| i != at).collect();
        let labels = kept_labels(term, &[at], &others);
        let alone = term.factors[at]
            .labels
            .iter()
            .any(|label| !labels.contains(label));
        if alone {
            let value = part_of(term, &[at], &labels).emit(f, elem, span);
            term.factors[at] = TermFactor {
                value,
                labels,
                power: 1,
            };
            drop_unused(term);
        }
    }
}

/// Labels that have been summed away must not count again.
fn drop_unused(term: &mut Term) {
    for label in 0..term.sizes.len() as Label {
        if !term.out.contains(&label) && !term.carries(label) {
            term.sizes[label as usize] = 1;
        }
    }
}

/// The labels of a part that the rest or the result still needs, in the order in which the
/// result has them, then by occurrence.
fn kept_labels(term: &Term, part: &[usize], rest: &[usize]) -> Labels {
    let in_rest = |l: Label| {
        term.out.contains(&l) || rest.iter().any(|&i| term.factors[i].labels.contains(&l))
    };
    let mut labels = Labels::new();
    let carried = |l: Label| part.iter().any(|&i| term.factors[i].labels.contains(&l));
    for &label in &term.out {
        if carried(label) {
            labels.push(label);
        }
    }
    for &i in part {
        for &label in &term.factors[i].labels {
            if in_rest(label) && !labels.contains(&label) {
                labels.push(label);
            }
        }
    }
    labels
}

/// The product of some factors with the given result labels.
fn part_of(term: &Term, part: &[usize], out: &Labels) -> Term {
    let mut result = Term {
        factors: part.iter().map(|&i| term.factors[i].clone()).collect(),
        deltas: Vec::new(),
        out: out.clone(),
        coefficient: 1.0,
        sizes: term.sizes.clone(),
    };
    drop_unused(&mut result);
    result
}

/// Labels of a set of factors as a bit mask over label numbers.
type Mask = u128;

fn mask(labels: &[Label]) -> Mask {
    labels.iter().fold(0, |m, &l| m | 1u128 << (l & 127))
}

fn elements(term: &Term, labels: Mask) -> f64 {
    (0..term.sizes.len().min(128))
        .filter(|&l| labels >> l & 1 == 1)
        .map(|l| term.sizes[l] as f64)
        .product()
}

/// Cost of multiplying two sets of factors (AUTODIFF.md section 4).
fn pair_cost(term: &Term, a: Mask, b: Mask, result: Mask) -> f64 {
    let contracted = a & b & !result;
    let is_matrix_product = contracted != 0 && a & !b & result != 0 && b & !a & result != 0;
    let rate = if is_matrix_product { 1.0 } else { 4.0 };
    elements(term, a | b) * rate
        + 4.0 * (elements(term, a) + elements(term, b) + elements(term, result))
}

/// The two factors that the cheapest order multiplies first.
fn best_pair(term: &Term) -> (usize, usize) {
    let n = term.factors.len();
    let own: Vec<Mask> = term.factors.iter().map(|f| mask(&f.labels)).collect();
    let out = mask(&term.out);
    let small = n <= MAX_EXACT && term.sizes.len() <= 128;
    if !small {
        let mut best = (f64::INFINITY, (0, 1));
        for a in 0..n {
            for b in a + 1..n {
                let rest = (0..n)
                    .filter(|&i| i != a && i != b)
                    .fold(out, |m, i| m | own[i]);
                let cost = pair_cost(term, own[a], own[b], (own[a] | own[b]) & rest);
                if cost < best.0 {
                    best = (cost, (a, b));
                }
            }
        }
        return best.1;
    }
    let full = (1usize << n) - 1;
    let carried = |set: usize| {
        (0..n)
            .filter(|i| set >> i & 1 == 1)
            .fold(0, |m, i| m | own[i])
    };
    // Labels of the product of a set: what the others or the result still need.
    let labels: Vec<Mask> = (0..=full)
        .map(|set| match set.count_ones() {
            1 => carried(set),
            _ => carried(set) & (carried(full & !set) | out),
        })
        .collect();
    let mut cost = vec![0.0f64; full + 1];
    let mut choice = vec![0usize; full + 1];
    for set in 1..=full {
        if set.count_ones() < 2 {
            continue;
        }
        let mut best = (f64::INFINITY, 0);
        let lowest = set & set.wrapping_neg();
        let mut part = (set - 1) & set;
        while part != 0 {
            if part & lowest != 0 {
                let rest = set & !part;
                let total = cost[part]
                    + cost[rest]
                    + pair_cost(term, labels[part], labels[rest], labels[set]);
                if total < best.0 {
                    best = (total, part);
                }
            }
            part = (part - 1) & set;
        }
        cost[set] = best.0;
        choice[set] = best.1;
    }
    // Walk down to a pair of single factors.
    let mut set = full;
    loop {
        let (part, rest) = (choice[set], set & !choice[set]);
        if part.count_ones() == 1 && rest.count_ones() == 1 {
            return (
                part.trailing_zeros() as usize,
                rest.trailing_zeros() as usize,
            );
        }
        set = if part.count_ones() > 1 { part } else { rest };
    }
}
