//! From a function to the graph: contractions, sums and negations are looked into, everything
//! else is a leaf.

use super::nodes::{Nodes, constant_view};
use super::order::Builder;
use crate::linearize::differentiable_operands;
use crate::rebuild::splat;
use crate::term::Term;
use aec_ir::{Binary, Function, Op, Unary, Value};
use cranelift_entity::{EntitySet, SecondaryMap};

/// Sums of at most so many terms are searched for like terms.
const MAX_TERMS: usize = 24;

/// A function as a graph.
pub struct Program {
    /// The graph.
    pub nodes: Nodes,
    /// What each value of the function is.
    views: SecondaryMap<Value, Option<Term>>,
    nothing: Term,
    /// Splits that searches have tried.
    pub tried: usize,
}

impl Program {
    /// The view of a value of the function.
    pub fn view(&self, value: Value) -> &Term {
        self.views[value].as_ref().unwrap_or(&self.nothing)
    }

    /// The views of what the function gives.
    pub fn roots<'a>(&'a self, f: &'a Function) -> impl Iterator<Item = &'a Term> {
        let guards = f.guards.iter().map(|guard| guard.value);
        let values = f.results.iter().copied().chain(guards);
        values.map(|value| self.view(value))
    }

    /// A builder of terms for a value.
    pub fn builder(&mut self, f: &Function, value: Value) -> Builder<'_> {
        let span = f
            .def_inst(value)
            .map_or(aec_syntax::Span::NONE, |inst| f.insts[inst].span);
        Builder {
            nodes: &mut self.nodes,
            elem: f.ty(value).elem,
            span,
            tried: &mut self.tried,
            bound: f64::INFINITY,
        }
    }
}

/// The values that a gradient flows to: float values that depend differentiably on the params
/// which `wanted` marks.
pub fn active_values(f: &Function, wanted: &[bool]) -> EntitySet<Value> {
    let mut active = EntitySet::with_capacity(f.values.len());
    for (&param, &wanted) in f.params.iter().zip(wanted) {
        if wanted && f.ty(param).elem.is_float() {
            active.insert(param);
        }
    }
    for &inst in &f.order {
        let data = &f.insts[inst];
        let mut through = differentiable_operands(&data.op, data.operands.len());
        if through.any(|at| active.contains(data.operands[at])) {
            for &result in &data.results {
                if f.ty(result).elem.is_float() {
                    active.insert(result);
                }
            }
        }
    }
    active
}

/// The graph of a function, every product in the order that is best for it alone.
pub fn import(f: &Function, active: &EntitySet<Value>) -> Program {
    let mut program = Program {
        nodes: Nodes::default(),
        views: SecondaryMap::new(),
        nothing: constant_view(&[]),
        tried: 0,
    };
    for &param in &f.params {
        leaf(f, &mut program, active, param);
    }
    for (position, &inst) in f.order.iter().enumerate() {
        program.nodes.position = position;
        let data = &f.insts[inst];
        let result = data.results[0];
        let view = match f.ty(result).elem.is_float() {
            true => algebra(f, &mut program, &data.op, &data.operands, result),
            false => None,
        };
        match view {
            Some(view) => program.views[result] = Some(view),
            None => {
                for &result in &data.results {
                    leaf(f, &mut program, active, result);
                }
            }
        }
    }
    program
}

fn leaf(f: &Function, program: &mut Program, active: &EntitySet<Value>, value: Value) {
    let ty = f.ty(value);
    let span = f
        .def_inst(value)
        .map_or(aec_syntax::Span::NONE, |inst| f.insts[inst].span);
    let is_active = active.contains(value);
    let node = program
        .nodes
        .leaf(value, &ty.dims, ty.elem, span, is_active);
    program.views[value] = Some(program.nodes.view(node));
}

/// The view of a value that is made by products and sums.
fn algebra(
    f: &Function,
    program: &mut Program,
    op: &Op,
    operands: &[Value],
    result: Value,
) -> Option<Term> {
    let sum = |program: &mut Program, sign: f64| {
        let mut terms = program.nodes.flatten(program.view(operands[0]), MAX_TERMS);
        let mut second = program.view(operands[1]).clone();
        second.coefficient *= sign;
        terms.extend(program.nodes.flatten(&second, MAX_TERMS));
        let builder = program.builder(f, result);
        let is_short = terms.len() <= MAX_TERMS;
        let count = terms.len();
        let merged = builder
            .nodes
            .sum(terms, f.dims(result), builder.elem, builder.span);
        // A chain of sums stays one, unless it holds like terms.
        let is_shorter = builder.nodes.flatten(&merged, MAX_TERMS).len() < count;
        if is_short && is_shorter {
            return merged;
        }
        let mut second = program.view(operands[1]).clone();
        second.coefficient *= sign;
        let terms = vec![program.view(operands[0]).clone(), second];
        let builder = program.builder(f, result);
        builder
            .nodes
            .sum(terms, f.dims(result), builder.elem, builder.span)
    };
    match op {
        Op::Contract(contract) => {
            let mut term = Term::new(contract, operands);
            for at in (0..term.factors.len()).rev() {
                let view = program.view(term.factors[at].value).clone();
                term.open(at, &view);
            }
            program.builder(f, result).build(term)
        }
        Op::Binary(Binary::Add) => Some(sum(program, 1.0)),
        Op::Binary(Binary::Sub) => Some(sum(program, -1.0)),
        Op::Unary(Unary::Neg) => {
            let mut view = program.view(operands[0]).clone();
            view.coefficient = -view.coefficient;
            Some(view)
        }
        Op::Constant(_) => {
            let mut view = constant_view(f.dims(result));
            view.coefficient = splat(f, result)?;
            // Infinities and NaN have no arithmetic.
            view.coefficient.is_finite().then_some(view)
        }
        // Whatever else there is, now or later.
        _ => None,
    }
}
