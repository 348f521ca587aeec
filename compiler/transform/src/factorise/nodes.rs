//! The graph that factorise works on: leaves, products and sums, each once.
//!
//! A node is a tensor. It is numbered like a [`Value`], so that a [`Term`] can have nodes as
//! factors. What a program says of a node beyond its number is a *view*: a [`Term`] of at most
//! one factor, power one, nothing summed, no axis of the node under two labels: a scale, a
//! transpose, a repetition, a place on a diagonal. Views cost nothing and are always opened.
//!
//! Two products are one node if they are equal up to the names of labels, the order of factors
//! and the order of result axes (AUTODIFF.md section 2).

use super::canonical::{canonical, is_symmetric};
use super::pull_out::pull_out;
use crate::rule::{Rule, Rules};
use crate::term::{Term, TermFactor, all_different};
use aec_ir::{Label, Labels, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::{PrimaryMap, SecondaryMap};
use smallvec::SmallVec;
use std::collections::HashMap;

/// What a node computes.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// A value of the program that factorise does not look into.
    Leaf(Value),
    /// A product of nodes: coefficient one, no delta, labels of the result first.
    Product(Term),
    /// A sum of views of its dims.
    Sum(Vec<Term>),
}

/// A tensor of the graph.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What it computes.
    pub kind: Kind,
    /// Its dims.
    pub dims: SmallVec<[usize; 4]>,
    /// Its element type.
    pub elem: Elem,
    /// The script text that it stands for.
    pub span: Span,
    /// Whether a gradient will flow to it.
    pub active: bool,
    /// Pairs of axes that may be swapped.
    pub symmetric: SmallVec<[(usize, usize); 1]>,
    /// The instruction that it was first made for, by its place in the program's order.
    pub position: usize,
}

/// All nodes, and where to find them.
#[derive(Default)]
pub struct Nodes {
    /// By number.
    pub nodes: PrimaryMap<Value, Node>,
    /// Products by canonical form, with the canonical number of each axis's label.
    products: HashMap<Vec<u64>, (Value, Labels)>,
    sums: HashMap<Vec<u64>, Value>,
    leaves: SecondaryMap<Value, Option<Value>>,
    /// The position of nodes that are made now.
    pub position: usize,
    /// The rules that have been used.
    pub rules: Rules,
}

impl Nodes {
    /// The node of a value that is not looked into.
    pub fn leaf(
        &mut self,
        value: Value,
        dims: &[usize],
        elem: Elem,
        span: Span,
        active: bool,
    ) -> Value {
        if let Some(node) = self.leaves[value] {
            return node;
        }
        let node = self.nodes.push(Node {
            kind: Kind::Leaf(value),
            dims: SmallVec::from_slice(dims),
            elem,
            span,
            active,
            symmetric: SmallVec::new(),
            position: self.position,
        });
        self.leaves[value] = Some(node);
        node
    }

    /// The node itself as a view.
    pub fn view(&self, node: Value) -> Term {
        let sizes = self.nodes[node].dims.to_vec();
        let labels: Labels = (0..sizes.len() as Label).collect();
        Term {
            factors: vec![TermFactor {
                value: node,
                labels: labels.clone(),
                power: 1,
            }],
            deltas: Vec::new(),
            out: labels,
            coefficient: 1.0,
            sizes,
        }
    }

    /// The node of a product of nodes, as a view whose labels are those of `term.out`.
    /// The term is normal, has no delta, coefficient one and no label that nothing carries.
    pub fn product(&mut self, mut term: Term, elem: Elem, span: Span) -> Term {
        term.coefficient = 1.0;
        let used = term.normalize();
        self.rules.extend(used);
        let (key, numbers) = canonical(self, &term);
        let (node, axes) = match self.products.get(&key) {
            Some((node, axes)) => (*node, axes.clone()),
            None => {
                let axes: Labels = (0..term.out.len())
                    .map(|axis| numbers[axis] as Label)
                    .collect();
                let node = Node {
                    dims: term.dims(),
                    elem,
                    span,
                    active: term.factors.iter().any(|f| self.nodes[f.value].active),
                    symmetric: self.symmetries(&term),
                    kind: Kind::Product(term.clone()),
                    position: self.position,
                };
                let node = self.nodes.push(node);
                self.products.insert(key, (node, axes.clone()));
                (node, axes)
            }
        };
        // Axis a of the node has my label of the same canonical number.
        let labels: Labels = axes
            .iter()
            .map(|number| {
                let mine = numbers.iter().position(|n| *n == usize::from(*number));
                mine.unwrap_or(0) as Label
            })
            .collect();
        let rank = term.out.len();
        let mut view = Term {
            factors: vec![TermFactor {
                value: node,
                labels,
                power: 1,
            }],
            deltas: Vec::new(),
            out: (0..rank as Label).collect(),
            coefficient: 1.0,
            sizes: term.sizes[..rank].to_vec(),
        };
        self.sort_symmetric(&mut view);
        view
    }

    /// Pairs of result axes that may be swapped. Only what repeats a factor can have some.
    fn symmetries(&self, term: &Term) -> SmallVec<[(usize, usize); 1]> {
        let mut found = SmallVec::new();
        let repeats = term.factors.iter().enumerate().any(|(at, factor)| {
            let same = term.factors[..at].iter().any(|f| f.value == factor.value);
            same || !self.nodes[factor.value].symmetric.is_empty()
        });
        if !repeats {
            return found;
        }
        for a in 0..term.out.len() {
            for b in a + 1..term.out.len() {
                if term.sizes[a] == term.sizes[b] && is_symmetric(self, term, a, b) {
                    found.push((a, b));
                }
            }
        }
        found
    }

    /// Puts the labels at symmetric axes in order, so that equal uses look equal.
    pub fn sort_symmetric(&self, term: &mut Term) {
        for factor in &mut term.factors {
            for &(a, b) in &self.nodes[factor.value].symmetric {
                if factor.labels[a] > factor.labels[b] {
                    factor.labels.swap(a, b);
                }
            }
        }
    }

    /// A sum of views of the same dims as one view: like terms are added (R5), terms of
    /// coefficient zero drop out.
    pub fn sum(&mut self, terms: Vec<Term>, dims: &[usize], elem: Elem, span: Span) -> Term {
        let mut merged: Vec<Term> = Vec::new();
        for mut term in terms {
            self.rules.extend(term.normalize());
            self.sort_symmetric(&mut term);
            let same = |m: &&mut Term| {
                m.factors == term.factors && m.deltas == term.deltas && m.out == term.out
            };
            match merged.iter_mut().find(same) {
                Some(like) => {
                    like.coefficient += term.coefficient;
                    self.rules.insert(Rule::LikeTerms);
                }
                None => merged.push(term),
            }
        }
        merged.retain(|term| term.coefficient != 0.0);
        if merged.is_empty() {
            let mut zero = constant_view(dims);
            zero.coefficient = 0.0;
            return zero;
        }
        if let [term] = &merged[..] {
            return term.clone();
        }
        if let Some(view) = pull_out(self, &merged, elem, span) {
            return view;
        }
        // A common factor in front would hide that two sums are equal.
        let first = merged[0].coefficient;
        let scale = match merged.iter().all(|t| t.coefficient.abs() == first.abs()) {
            true => first,
            false => 1.0,
        };
        for term in &mut merged {
            term.coefficient /= scale;
        }
        let mut keys: Vec<(Vec<u64>, Term)> =
            merged.into_iter().map(|t| (view_key(&t), t)).collect();
        let first = keys.remove(0);
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        keys.insert(0, first);
        let mut key: Vec<u64> = keys.iter().flat_map(|(k, _)| k.iter().copied()).collect();
        key.push(elem.bytes() as u64);
        let node = match self.sums.get(&key) {
            Some(&node) => node,
            None => {
                let terms: Vec<Term> = keys.into_iter().map(|(_, t)| t).collect();
                let active = terms
                    .iter()
                    .flat_map(|t| &t.factors)
                    .any(|f| self.nodes[f.value].active);
                let node = self.nodes.push(Node {
                    kind: Kind::Sum(terms),
                    dims: SmallVec::from_slice(dims),
                    elem,
                    span,
                    active,
                    symmetric: SmallVec::new(),
                    position: self.position,
                });
                self.sums.insert(key, node);
                node
            }
        };
        let mut view = self.view(node);
        view.coefficient = scale;
        view
    }

    /// The views of a sum node, or the view itself, opened through sums of sums.
    pub fn flatten(&self, view: &Term, limit: usize) -> Vec<Term> {
        let plain = view.is_permute();
        if plain && let Kind::Sum(terms) = &self.nodes[view.factors[0].value].kind {
            let mut flat = Vec::new();
            for term in terms {
                let mut opened = view.clone();
                opened.open(0, term);
                opened.normalize();
                flat.extend(self.flatten(&opened, limit));
            }
            if flat.len() <= limit {
                return flat;
            }
        }
        vec![view.clone()]
    }
}

/// The view of the number one repeated over `dims`.
pub fn constant_view(dims: &[usize]) -> Term {
    Term {
        factors: Vec::new(),
        deltas: Vec::new(),
        out: (0..dims.len() as Label).collect(),
        coefficient: 1.0,
        sizes: dims.to_vec(),
    }
}

/// Whether a normal term is a view.
pub fn is_view(term: &Term) -> bool {
    match &term.factors[..] {
        [] => true,
        [factor] => factor.power == 1 && !term.is_summed() && all_different(&factor.labels),
        _ => false,
    }
}

fn view_key(view: &Term) -> Vec<u64> {
    let mut key = vec![view.coefficient.to_bits(), view.out.len() as u64];
    key.extend(view.sizes.iter().map(|&s| s as u64));
    for factor in &view.factors {
        key.push(u64::from(factor.value.as_u32()) << 1 | 1);
        key.extend(factor.labels.iter().map(|&l| u64::from(l)));
    }
    key.push(u64::MAX);
    for &(a, b) in &view.deltas {
        key.push(u64::from(a) << 8 | u64::from(b));
    }
    key.push(u64::MAX);
    key
}
