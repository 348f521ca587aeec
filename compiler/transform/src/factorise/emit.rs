//! From the graph back to a function.

use super::cost::{Choices, below, live};
use super::import::Program;
use super::nodes::Kind;
use crate::rebuild::tidy;
use crate::term::Term;
use aec_ir::rewrite::{ValueMap, copy_inst, copy_params, sort_order};
use aec_ir::{Binary, Function, Guard, Inst, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::{EntityRef, SecondaryMap};

/// `f` computed as the graph says, in the order of `f` as far as that goes.
pub fn emit(f: &Function, program: &Program, choices: &Choices) -> Function {
    let (out, map) = copy_params(f);
    let mut emitter = Emitter {
        f,
        program,
        choices,
        uses: uses(f, program, choices),
        out,
        map,
        made: SecondaryMap::new(),
        position: SecondaryMap::new(),
        placed: 0,
    };
    for (position, &inst) in f.order.iter().enumerate() {
        let data = &f.insts[inst];
        let is_leaf = data.results.iter().all(|&v| emitter.is_leaf(v));
        if is_leaf {
            for &operand in &data.operands {
                if emitter.map.get(operand).is_none() {
                    let value = emitter.value(operand);
                    emitter.map.insert(operand, value);
                }
            }
            copy_inst(&mut emitter.out, f, inst, &mut emitter.map);
            emitter.place(position);
        }
    }
    let results: Vec<Value> = f.results.iter().map(|&v| emitter.value(v)).collect();
    let guards: Vec<Guard> = f
        .guards
        .iter()
        .map(|guard| Guard {
            value: emitter.value(guard.value),
            span: guard.span,
        })
        .collect();
    emitter.place(f.order.len());
    let mut out = emitter.out;
    out.results = results;
    out.guards = guards;
    out.aliases.clone_from(&f.aliases);
    let position = emitter.position;
    out.order.sort_by_key(|&inst| position[inst]);
    sort_order(&mut out);
    tidy(out)
}

/// How often each node is used by those that are computed.
fn uses(f: &Function, program: &Program, choices: &Choices) -> SecondaryMap<Value, u32> {
    let mut uses = SecondaryMap::with_default(0);
    let live = live(f, program, choices);
    let mut parts = Vec::new();
    for root in program.roots(f) {
        parts.extend(root.factors.iter().map(|factor| factor.value));
    }
    for node in program.nodes.nodes.keys().filter(|&n| live.contains(n)) {
        below(f, program, choices, node, &mut parts);
    }
    for part in parts {
        uses[part] += 1;
    }
    uses
}

struct Emitter<'a> {
    f: &'a Function,
    program: &'a Program,
    choices: &'a Choices,
    uses: SecondaryMap<Value, u32>,
    out: Function,
    /// Values that are leaves or have been needed by one.
    map: ValueMap,
    made: SecondaryMap<Value, Option<Value>>,
    /// Where each new instruction would have stood in `f`.
    position: SecondaryMap<Inst, usize>,
    /// Number of instructions that have a position.
    placed: usize,
}

impl Emitter<'_> {
    fn is_leaf(&self, value: Value) -> bool {
        let view = self.program.view(value);
        let is_own = |node| match self.program.nodes.nodes[node].kind {
            Kind::Leaf(leaf) => leaf == value,
            Kind::Product(_) | Kind::Sum(_) => false,
        };
        view.factors.len() == 1 && view.is_permute() && is_own(view.factors[0].value)
    }

    /// Gives a position to what has been appended since the last call.
    fn place(&mut self, position: usize) {
        for index in self.placed..self.out.insts.len() {
            self.position[Inst::new(index)] = position;
        }
        self.placed = self.out.insts.len();
    }

    /// What a value of `f` has become.
    fn value(&mut self, value: Value) -> Value {
        if let Some(known) = self.map.get(value) {
            return known;
        }
        let span = match self.f.def_inst(value) {
            Some(inst) => self.f.insts[inst].span,
            None => Span::NONE,
        };
        let view = self.program.view(value).clone();
        self.view(&view, self.f.ty(value).elem, span)
    }

    fn view(&mut self, view: &Term, elem: Elem, span: Span) -> Value {
        let mut term = view.clone();
        if let [factor] = &mut term.factors[..] {
            factor.value = match self.uses[factor.value] {
                1 => self.scaled(factor.value, std::mem::replace(&mut term.coefficient, 1.0)),
                _ => self.node(factor.value),
            };
        }
        term.emit(&mut self.out, elem, span)
    }

    fn node(&mut self, node: Value) -> Value {
        if let Some(made) = self.made[node] {
            return made;
        }
        let value = self.scaled(node, 1.0);
        self.made[node] = Some(value);
        value
    }

    /// A node times a number, which goes where it costs least. Only for the sole user of a node
    /// if the number is not one.
    fn scaled(&mut self, node: Value, coefficient: f64) -> Value {
        let data = self.program.nodes.nodes[node].clone();
        let value = match (&self.choices[node], &data.kind) {
            (Some(view), _) => {
                let mut view = view.clone();
                view.coefficient *= coefficient;
                self.view(&view, data.elem, data.span)
            }
            (None, Kind::Product(term)) => {
                let mut term = term.clone();
                term.coefficient = coefficient;
                // A sum scales fewer entries, and a matrix product for nothing.
                let to = match term.is_summed() || coefficient == 1.0 {
                    true => None,
                    false => term.factors.iter().position(|factor| {
                        let is_sum = match &self.program.nodes.nodes[factor.value].kind {
                            Kind::Product(inner) => inner.is_summed(),
                            Kind::Leaf(_) | Kind::Sum(_) => false,
                        };
                        is_sum && factor.power == 1 && self.uses[factor.value] == 1
                    }),
                };
                for (at, factor) in term.factors.iter_mut().enumerate() {
                    factor.value = match to == Some(at) {
                        true => {
                            self.scaled(factor.value, std::mem::replace(&mut term.coefficient, 1.0))
                        }
                        false => self.node(factor.value),
                    };
                }
                term.emit(&mut self.out, data.elem, data.span)
            }
            (None, Kind::Leaf(_) | Kind::Sum(_)) => {
                let whole = match &data.kind {
                    Kind::Leaf(value) => self.map.at(*value),
                    Kind::Sum(terms) => self.sum(terms, data.elem, data.span),
                    Kind::Product(_) => self.node(node),
                };
                crate::term::scale(&mut self.out, whole, coefficient, data.span)
            }
        };
        self.place(data.position);
        value
    }

    /// A sum node has two terms or more.
    fn sum(&mut self, terms: &[Term], elem: Elem, span: Span) -> Value {
        let mut total = self.view(&terms[0], elem, span);
        for term in &terms[1..] {
            let mut term = term.clone();
            let op = match term.coefficient < 0.0 {
                true => Binary::Sub,
                false => Binary::Add,
            };
            term.coefficient = term.coefficient.abs();
            let value = self.view(&term, elem, span);
            total = self.out.binary(op, total, value, span);
        }
        total
    }
}
