//! Canonical forms of products: labels are coloured by where they occur, ties are broken by
//! trying permutations (AUTODIFF.md section 2).

use super::nodes::Nodes;
use crate::term::Term;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Ties are broken by at most so many trials. Beyond, equal products may look different, which
/// costs sharing and nothing else.
const MAX_TRIALS: usize = 720;

/// A key that equal products share, whatever the names of their labels and the order of their
/// factors and result axes, and the canonical number of each label.
pub fn canonical(nodes: &Nodes, term: &Term) -> (Vec<u64>, Vec<usize>) {
    let rank = term.out.len();
    let start = (0..term.sizes.len())
        .map(|label| hash(&(label < rank, term.sizes[label])))
        .collect();
    smallest(nodes, term, start)
}

/// Whether the product stays the same when result axes `a` and `b` are swapped.
pub fn is_symmetric(nodes: &Nodes, term: &Term, a: usize, b: usize) -> bool {
    let rank = term.out.len();
    let start = |x: usize, y: usize| -> Vec<u64> {
        (0..term.sizes.len())
            .map(|label| {
                let axis = match label {
                    l if l == x => y,
                    l if l == y => x,
                    l if l < rank => l,
                    _ => rank,
                };
                hash(&(axis, term.sizes[label]))
            })
            .collect()
    };
    smallest(nodes, term, start(a, a)).0 == smallest(nodes, term, start(a, b)).0
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Refines the colours by the factors that labels stand on.
fn refine(nodes: &Nodes, term: &Term, mut colour: Vec<u64>) -> Vec<u64> {
    for _ in 0..4 {
        let mut seen: Vec<Vec<(u64, usize)>> = vec![Vec::new(); colour.len()];
        for factor in &term.factors {
            let symmetric = &nodes.nodes[factor.value].symmetric;
            let mut axes: Vec<u64> = factor.labels.iter().map(|&l| colour[l as usize]).collect();
            for &(a, b) in symmetric {
                if axes[a] > axes[b] {
                    axes.swap(a, b);
                }
            }
            let of_factor = hash(&(factor.value, factor.power, axes));
            for (axis, &label) in factor.labels.iter().enumerate() {
                let axis = symmetric
                    .iter()
                    .find(|&&(_, b)| b == axis)
                    .map_or(axis, |&(a, _)| a);
                seen[label as usize].push((of_factor, axis));
            }
        }
        colour = colour
            .iter()
            .zip(&mut seen)
            .map(|(old, seen)| {
                seen.sort_unstable();
                hash(&(old, &*seen))
            })
            .collect();
    }
    colour
}

fn smallest(nodes: &Nodes, term: &Term, start: Vec<u64>) -> (Vec<u64>, Vec<usize>) {
    let colour = refine(nodes, term, start);
    let mut order: Vec<usize> = (0..colour.len()).collect();
    order.sort_by_key(|&label| (colour[label], label));
    let mut best: Option<(Vec<u64>, Vec<usize>)> = None;
    let mut trials = 0;
    permute_ties(&mut order, &colour, 0, &mut |order| {
        let key = encode(nodes, term, order, &colour);
        if best.as_ref().is_none_or(|(old, _)| key < *old) {
            best = Some((key, order.to_vec()));
        }
        trials += 1;
        trials < MAX_TRIALS
    });
    let (key, order) = best.unwrap_or_default();
    let mut numbers = vec![0; colour.len()];
    for (number, &label) in order.iter().enumerate() {
        numbers[label] = number;
    }
    (key, numbers)
}

/// Calls `visit` with each order that keeps equal colours together, until it says no.
fn permute_ties(
    order: &mut Vec<usize>,
    colour: &[u64],
    at: usize,
    visit: &mut impl FnMut(&[usize]) -> bool,
) -> bool {
    if at == order.len() {
        return visit(order);
    }
    let mut other = at;
    while other < order.len() && colour[order[other]] == colour[order[at]] {
        order.swap(at, other);
        let go_on = permute_ties(order, colour, at + 1, visit);
        order.swap(at, other);
        if !go_on {
            return false;
        }
        other += 1;
    }
    true
}

/// The product as numbers, with labels numbered by `order`.
fn encode(nodes: &Nodes, term: &Term, order: &[usize], colour: &[u64]) -> Vec<u64> {
    let mut number = vec![0u64; order.len()];
    for (at, &label) in order.iter().enumerate() {
        number[label] = at as u64;
    }
    let mut factors: Vec<Vec<u64>> = term
        .factors
        .iter()
        .map(|factor| {
            let mut labels: Vec<u64> = factor.labels.iter().map(|&l| number[l as usize]).collect();
            for &(a, b) in &nodes.nodes[factor.value].symmetric {
                if labels[a] > labels[b] {
                    labels.swap(a, b);
                }
            }
            let mut code = vec![u64::from(factor.value.as_u32()), u64::from(factor.power)];
            code.extend(labels);
            code
        })
        .collect();
    factors.sort_unstable();
    let mut key: Vec<u64> = order.iter().map(|&label| colour[label]).collect();
    let rank = term.out.len();
    for &label in order {
        key.push((term.sizes[label] as u64) << 1 | u64::from(label < rank));
    }
    for factor in factors {
        key.push(u64::MAX);
        key.extend(factor);
    }
    key
}
