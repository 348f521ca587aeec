//! What products cost, and what a whole plan costs with shared nodes counted once
//! (AUTODIFF.md section 4, R12).
//!
//! The unit is one multiply-add inside a matrix product. A reverse pass will add one product of
//! the same size for each distinct operand that a gradient flows to, so those count here.

use super::import::Program;
use super::nodes::{Kind, Node, Nodes};
use crate::term::Term;
use aec_ir::{Function, Value};
use cranelift_entity::{EntitySet, SecondaryMap};

/// A multiply-add outside of a matrix product, in units of one inside.
const LOOSE: f64 = 4.0;
/// Reading or writing an element.
const MEMORY: f64 = 4.0;
/// Batched matrix products with a side below this run like loops.
const SMALL: f64 = 8.0;

/// The sizes that decide what a product of two factors costs.
pub struct Pair {
    /// Product of the sizes of all labels.
    pub points: f64,
    /// Sizes of labels of the first factor alone, the second alone, both but not the result,
    /// and both and the result.
    pub sides: [f64; 4],
    /// Elements of both factors and the result.
    pub elements: f64,
    /// Whether something is summed, and both factors have labels of their own.
    pub is_matrix_product: bool,
    /// Number of distinct operands that gradients flow to.
    pub active: f64,
}

/// Cost of a product of two factors with its share of the reverse pass.
pub fn pair_cost(pair: &Pair) -> f64 {
    let [m, n, k, batch] = pair.sides;
    let small = batch > 1.0 && m.min(n).min(k) < SMALL;
    let rate = match pair.is_matrix_product && !small {
        true => 1.0,
        false => LOOSE,
    };
    (1.0 + pair.active) * pair.points * rate + MEMORY * pair.elements
}

/// Cost of computing one node from those it is made of.
fn node_cost(nodes: &Nodes, node: &Node) -> f64 {
    let elements: f64 = node.dims.iter().map(|&d| d as f64).product();
    match &node.kind {
        Kind::Leaf(_) => MEMORY * elements,
        Kind::Sum(terms) => MEMORY * elements * (terms.len() as f64 + 1.0),
        Kind::Product(term) => product_cost(nodes, term, elements),
    }
}

fn product_cost(nodes: &Nodes, term: &Term, result: f64) -> f64 {
    let size = |l: usize| term.sizes[l] as f64;
    let points: f64 = (0..term.sizes.len()).map(size).product();
    let mut moved = result;
    let mut active: Vec<Value> = Vec::new();
    for factor in &term.factors {
        let node = &nodes.nodes[factor.value];
        moved += node.dims.iter().map(|&d| d as f64).product::<f64>();
        if node.active && !active.contains(&factor.value) {
            active.push(factor.value);
        }
    }
    if let [a, b] = &term.factors[..] {
        let mut sides = [1.0; 4];
        let mut has = [false; 4];
        for label in 0..term.sizes.len() {
            let (in_a, in_b) = (
                a.labels.contains(&(label as u8)),
                b.labels.contains(&(label as u8)),
            );
            let side = match (in_a, in_b, label < term.out.len()) {
                (true, true, true) => 3,
                (true, true, false) => 2,
                (false, _, _) => 1,
                (true, false, _) => 0,
            };
            sides[side] *= size(label);
            has[side] = true;
        }
        return pair_cost(&Pair {
            points,
            sides,
            elements: moved,
            is_matrix_product: has[0] && has[1] && has[2],
            active: active.len() as f64,
        });
    }
    let steps = (term.degree().max(2) - 1) as f64;
    (1.0 + active.len() as f64) * points * LOOSE * steps + MEMORY * moved
}

/// Nodes that stand for others: a view of other nodes that computes the same.
pub type Choices = SecondaryMap<Value, Option<Term>>;

/// The nodes that the results of `f` need.
pub fn live(f: &Function, program: &Program, choices: &Choices) -> EntitySet<Value> {
    let mut seen: EntitySet<Value> = EntitySet::with_capacity(program.nodes.nodes.len());
    let mut stack: Vec<Value> = Vec::new();
    for root in program.roots(f) {
        stack.extend(root.factors.iter().map(|factor| factor.value));
    }
    while let Some(node) = stack.pop() {
        if seen.insert(node) {
            below(f, program, choices, node, &mut stack);
        }
    }
    seen
}

/// Appends the nodes that a node is made of.
pub fn below(
    f: &Function,
    program: &Program,
    choices: &Choices,
    node: Value,
    into: &mut Vec<Value>,
) {
    if let Some(view) = &choices[node] {
        into.extend(view.factors.iter().map(|factor| factor.value));
        return;
    }
    match &program.nodes.nodes[node].kind {
        Kind::Leaf(value) => {
            if let Some(inst) = f.def_inst(*value) {
                for &operand in &f.insts[inst].operands {
                    let view = program.view(operand);
                    into.extend(view.factors.iter().map(|factor| factor.value));
                }
            }
        }
        Kind::Product(term) => into.extend(term.factors.iter().map(|factor| factor.value)),
        Kind::Sum(terms) => {
            let factors = terms.iter().flat_map(|term| &term.factors);
            into.extend(factors.map(|factor| factor.value));
        }
    }
}

/// The nodes that the results need, and what they cost together. Kept up to date use by use, as a
/// plan that is tried changes few of them.
pub struct Alive {
    /// How many uses each node has by those that are needed, and by results.
    uses: SecondaryMap<Value, u32>,
    /// Cost of them all; those that another stands for are free.
    pub total: f64,
    stack: Vec<Value>,
}

impl Alive {
    /// What the results of `f` need.
    pub fn new(f: &Function, program: &Program, choices: &Choices) -> Alive {
        let mut alive = Alive {
            uses: SecondaryMap::with_capacity(program.nodes.nodes.len()),
            total: 0.0,
            stack: Vec::new(),
        };
        for root in program.roots(f) {
            alive.add(f, program, choices, &parts_of_view(root));
        }
        alive
    }

    /// Whether something needs the node.
    pub fn contains(&self, node: Value) -> bool {
        self.uses[node] > 0
    }

    /// Uses nodes once more.
    pub fn add(&mut self, f: &Function, program: &Program, choices: &Choices, parts: &[Value]) {
        let mut stack = std::mem::take(&mut self.stack);
        stack.extend_from_slice(parts);
        while let Some(node) = stack.pop() {
            self.uses[node] += 1;
            if self.uses[node] == 1 {
                self.total += own_cost(program, choices, node);
                below(f, program, choices, node, &mut stack);
            }
        }
        self.stack = stack;
    }

    /// Takes back what [`Alive::add`] did.
    pub fn remove(&mut self, f: &Function, program: &Program, choices: &Choices, parts: &[Value]) {
        let mut stack = std::mem::take(&mut self.stack);
        stack.extend_from_slice(parts);
        while let Some(node) = stack.pop() {
            self.uses[node] -= 1;
            if self.uses[node] == 0 {
                self.total -= own_cost(program, choices, node);
                below(f, program, choices, node, &mut stack);
            }
        }
        self.stack = stack;
    }

    /// What would be saved if a node that is needed cost nothing.
    pub fn saving(
        &mut self,
        f: &Function,
        program: &Program,
        choices: &Choices,
        node: Value,
    ) -> f64 {
        let parts = parts_of(f, program, choices, node);
        let before = self.total;
        self.remove(f, program, choices, &parts);
        let saved = before - self.total + own_cost(program, choices, node);
        self.add(f, program, choices, &parts);
        self.total = before;
        saved
    }

    /// Lets a view stand for a node that is needed, or the node for itself.
    pub fn choose(
        &mut self,
        f: &Function,
        program: &Program,
        choices: &mut Choices,
        node: Value,
        view: Option<Term>,
    ) {
        self.total -= own_cost(program, choices, node);
        let parts = parts_of(f, program, choices, node);
        self.remove(f, program, choices, &parts);
        choices[node] = view;
        self.total += own_cost(program, choices, node);
        let parts = parts_of(f, program, choices, node);
        self.add(f, program, choices, &parts);
    }
}

/// Cost of a node itself, free if another stands for it.
pub fn own_cost(program: &Program, choices: &Choices, node: Value) -> f64 {
    match choices[node] {
        Some(_) => 0.0,
        None => node_cost(&program.nodes, &program.nodes.nodes[node]),
    }
}

/// The nodes that a node is made of.
pub fn parts_of(f: &Function, program: &Program, choices: &Choices, node: Value) -> Vec<Value> {
    let mut parts = Vec::new();
    below(f, program, choices, node, &mut parts);
    parts
}

/// The nodes of a view.
pub fn parts_of_view(view: &Term) -> Vec<Value> {
    view.factors.iter().map(|factor| factor.value).collect()
}
