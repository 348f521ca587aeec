//! A factor that all terms of a sum share stands before the sum: `a w - b w` is `(a - b) w`, where
//! what is summed then has fewer entries. It is what two Jacobians of one layer at two points have
//! in common: their difference needs no array of batch x hidden x input entries, and no square of
//! it is multiplied out, which would cancel.

use super::nodes::{Kind, Nodes};
use super::order::Builder;
use crate::term::{Term, TermFactor};
use aec_ir::{Label, Labels};
use aec_runtime::Elem;
use aec_syntax::Span;

/// Sums of at most so many terms are looked at.
const MAX_TERMS: usize = 8;

/// The sum of views as the product of what their terms share and a smaller sum; none if they share
/// nothing or the sum would be no smaller.
pub fn pull_out(nodes: &mut Nodes, views: &[Term], elem: Elem, span: Span) -> Option<Term> {
    if !(2..=MAX_TERMS).contains(&views.len()) {
        return None;
    }
    let terms: Vec<Term> = (views.iter())
        .map(|view| opened(nodes, view))
        .collect::<Option<_>>()?;
    let (first, others) = terms.split_first()?;
    first.factors.iter().enumerate().find_map(|(at, common)| {
        if common.power != 1 {
            return None;
        }
        let mut rests = vec![without(first.clone(), at)];
        for other in others {
            rests.push(rest_of(other, first, common)?);
        }
        finish(nodes, first, common, rests, elem, span)
    })
}

/// The product that a view shows, over labels of the view.
fn opened(nodes: &Nodes, view: &Term) -> Option<Term> {
    if !view.is_permute() {
        return None;
    }
    let Kind::Product(inner) = &nodes.nodes[view.factors[0].value].kind else {
        return None;
    };
    let mut term = view.clone();
    term.open(0, inner);
    term.normalize();
    term.deltas.is_empty().then_some(term)
}

fn without(mut term: Term, at: usize) -> Term {
    term.factors.remove(at);
    term
}

/// `term` without the factor that it shares with `first`, its labels renamed to those of `first`
/// where that factor carries them.
fn rest_of(term: &Term, first: &Term, common: &TermFactor) -> Option<Term> {
    let is_out = |of: &Term, label: Label| of.out.contains(&label);
    let at = term.factors.iter().position(|factor| {
        let mut pairs = factor.labels.iter().zip(&common.labels);
        factor.value == common.value
            && factor.power == 1
            && pairs.all(|(&own, &its)| match is_out(first, its) {
                // Result labels have the same numbers in all normal terms of a sum.
                true => own == its,
                false => !is_out(term, own),
            })
    })?;
    let mut rest = term.clone();
    let shared = rest.factors.remove(at);
    // Own bound labels move out of the way of those of `first`.
    let base = first.sizes.len() as Label;
    let to = |label: Label| match shared.labels.iter().position(|&l| l == label) {
        Some(axis) => common.labels[axis],
        None if is_out(term, label) => label,
        None => base + label,
    };
    for factor in &mut rest.factors {
        for label in &mut factor.labels {
            *label = to(*label);
        }
    }
    let mut sizes = first.sizes.clone();
    sizes.extend_from_slice(&term.sizes);
    rest.sizes = sizes;
    Some(rest)
}

fn finish(
    nodes: &mut Nodes,
    first: &Term,
    common: &TermFactor,
    rests: Vec<Term>,
    elem: Elem,
    span: Span,
) -> Option<Term> {
    // What the smaller sum is over: labels of the rests that the result or the factor needs.
    let needed = |label: &Label| first.out.contains(label) || common.labels.contains(label);
    let mut kept: Labels = (rests.iter())
        .flat_map(|rest| &rest.factors)
        .flat_map(|factor| factor.labels.iter().copied())
        .filter(needed)
        .collect();
    kept.sort_unstable();
    kept.dedup();
    let elements = |labels: &[Label]| -> usize {
        labels
            .iter()
            .map(|&l| first.sizes[usize::from(l)])
            .product()
    };
    // A label that the factor alone carries has been summed there.
    let bound = |label: &Label| !first.out.contains(label) && !kept.contains(label);
    if elements(&kept) >= elements(&first.out) || common.labels.iter().any(bound) {
        return None;
    }
    let mut tried = 0;
    let mut builder = |nodes: &mut Nodes, term: Term| {
        let mut builder = Builder {
            nodes,
            elem,
            span,
            tried: &mut tried,
            bound: f64::INFINITY,
        };
        builder.build(term)
    };
    let mut views = Vec::new();
    for mut rest in rests {
        rest.out.clone_from(&kept);
        for label in 0..rest.sizes.len() as Label {
            if !rest.carries(label) && !kept.contains(&label) {
                rest.sizes[usize::from(label)] = 1;
            }
        }
        views.push(builder(nodes, rest)?);
    }
    let dims: Vec<usize> = kept.iter().map(|&l| first.sizes[usize::from(l)]).collect();
    let sum = nodes.sum(views, &dims, elem, span);
    let mut whole = first.clone();
    whole.coefficient = 1.0;
    whole.factors = vec![
        common.clone(),
        TermFactor {
            value: common.value,
            labels: kept,
            power: 1,
        },
    ];
    for label in 0..whole.sizes.len() as Label {
        if !whole.carries(label) && !whole.out.contains(&label) {
            whole.sizes[usize::from(label)] = 1;
        }
    }
    whole.open(1, &sum);
    builder(nodes, whole)
}
