//! Opening a term by one level: its factors are replaced by what they are made of.
//!
//! R4 opens products without sums, R7 a square of a sum as two copies of its body, R6
//! distributes over a sum.

use super::nodes::{Kind, Nodes};
use crate::rule::{Rule, Rules};
use crate::term::Term;

/// No term is opened beyond this many factors.
const MAX_FACTORS: usize = 40;
/// Nor beyond this many labels.
const MAX_LABELS: usize = 100;
/// R6 makes at most so many terms of one.
pub const MAX_TERMS: usize = 16;

/// What may be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// R7 and R6 on squares: reassociates a sum of squares, which can lose digits
    /// (AUTODIFF.md section 5).
    pub squares: bool,
}

/// The terms whose sum is `term` with every factor opened once; none if there is nothing to
/// open or the result is too large.
pub fn open_level(
    nodes: &Nodes,
    terms: &[Term],
    allowed: Allowed,
    used: &mut Rules,
) -> Option<Vec<Term>> {
    let mut opened = Vec::new();
    let mut any = false;
    for term in terms {
        any |= open_term(nodes, term, allowed, used, &mut opened)?;
        if opened.len() > MAX_TERMS {
            return None;
        }
    }
    any.then_some(opened)
}

fn open_term(
    nodes: &Nodes,
    term: &Term,
    allowed: Allowed,
    used: &mut Rules,
    into: &mut Vec<Term>,
) -> Option<bool> {
    let mut current = vec![term.clone()];
    let mut any = false;
    // Opening a factor leaves those before it in place.
    for at in (0..term.factors.len()).rev() {
        let factor = &term.factors[at];
        match &nodes.nodes[factor.value].kind {
            Kind::Leaf(_) => {}
            Kind::Product(inner) if is_atom(nodes, inner) => {}
            Kind::Product(inner) => {
                let is_square = factor.power > 1 && inner.is_summed();
                if is_square && (!allowed.squares || factor.power > 3) {
                    continue;
                }
                any = true;
                used.insert(match is_square {
                    true => Rule::Gram,
                    false => Rule::Open,
                });
                for term in &mut current {
                    if is_square {
                        for _ in 1..factor.power {
                            let mut copy = term.factors[at].clone();
                            copy.power = 1;
                            term.factors[at].power = 1;
                            term.factors.insert(at + 1, copy);
                        }
                        for copy in (1..factor.power as usize).rev() {
                            term.open(at + copy, inner);
                        }
                    }
                    term.open(at, inner);
                }
            }
            Kind::Sum(_) => {
                let views = nodes.flatten(&nodes.view(factor.value), MAX_TERMS);
                if !distributes(nodes, &views, factor.power, allowed) {
                    continue;
                }
                any = true;
                used.insert(Rule::Distribute);
                current = current
                    .iter()
                    .flat_map(|term| distribute(term, at, &views))
                    .collect();
            }
        }
        let large = |term: &Term| term.degree() > MAX_FACTORS || term.sizes.len() > MAX_LABELS;
        if current.len() > MAX_TERMS || current.iter().any(large) {
            return None;
        }
    }
    for mut term in current {
        used.extend(term.normalize());
        nodes.sort_symmetric(&mut term);
        into.push(term);
    }
    Some(any)
}

/// Whether a product is an elementwise one of leaves, such as the derivative of an activation:
/// no order of summing wants it in parts.
fn is_atom(nodes: &Nodes, term: &Term) -> bool {
    !term.is_summed()
        && term.factors.iter().all(|factor| {
            let is_whole = factor.labels.len() == term.out.len();
            let is_plain = match &nodes.nodes[factor.value].kind {
                Kind::Leaf(_) => true,
                Kind::Sum(terms) => terms.iter().all(|term| term.deltas.is_empty()),
                Kind::Product(inner) => is_atom(nodes, inner),
            };
            is_whole && is_plain
        })
}

/// R6: whether a power of a sum may be multiplied out. A term with a delta makes it worth it;
/// else a term with structure does, if no two signs differ: a difference that is multiplied out
/// cancels.
fn distributes(nodes: &Nodes, views: &[Term], power: u32, allowed: Allowed) -> bool {
    if views.len() < 2 || power > 2 || (power == 2 && !allowed.squares) {
        return false;
    }
    if views.iter().any(|view| !view.deltas.is_empty()) {
        return true;
    }
    let same_sign =
        views.iter().all(|v| v.coefficient > 0.0) || views.iter().all(|v| v.coefficient < 0.0);
    let structured = |view: &Term| {
        view.factors
            .iter()
            .any(|factor| match &nodes.nodes[factor.value].kind {
                Kind::Product(term) => {
                    term.is_summed() || term.factors.iter().any(|f| f.labels.len() < term.out.len())
                }
                Kind::Leaf(_) | Kind::Sum(_) => false,
            })
    };
    same_sign && views.iter().any(structured)
}

/// The terms of a product in which factor `at`, of power one or two, is a sum of views.
fn distribute(term: &Term, at: usize, views: &[Term]) -> Vec<Term> {
    let mut terms = Vec::new();
    for (index, view) in views.iter().enumerate() {
        let mut square = term.clone();
        square.open(at, view);
        terms.push(square);
        if term.factors[at].power == 2 {
            for other in &views[..index] {
                let mut cross = term.clone();
                cross.coefficient *= 2.0;
                cross.factors[at].power = 1;
                let copy = cross.factors[at].clone();
                cross.factors.insert(at + 1, copy);
                cross.open(at + 1, view);
                cross.open(at, other);
                terms.push(cross);
            }
        }
    }
    terms
}
