//! From the graph back to a function.

use super::cost::Choices;
use super::import::Program;
use super::nodes::Kind;
use crate::rebuild::tidy;
use crate::term::Term;
use aec_ir::rewrite::{ValueMap, copy_inst, copy_params};
use aec_ir::{Binary, Function, Guard, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::SecondaryMap;

/// `f` computed as the graph says.
pub fn emit(f: &Function, program: &Program, choices: &Choices) -> Function {
    let (out, map) = copy_params(f);
    let mut emitter = Emitter {
        f,
        program,
        choices,
        out,
        map,
        made: SecondaryMap::new(),
    };
    for &inst in &f.order {
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
    emitter.out.results = results;
    emitter.out.guards = guards;
    emitter.out.aliases.clone_from(&f.aliases);
    tidy(emitter.out)
}

struct Emitter<'a> {
    f: &'a Function,
    program: &'a Program,
    choices: &'a Choices,
    out: Function,
    /// Values that are leaves or have been needed by one.
    map: ValueMap,
    made: SecondaryMap<Value, Option<Value>>,
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
        for factor in &mut term.factors {
            factor.value = self.node(factor.value);
        }
        term.emit(&mut self.out, elem, span)
    }

    fn node(&mut self, node: Value) -> Value {
        if let Some(made) = self.made[node] {
            return made;
        }
        let data = self.program.nodes.nodes[node].clone();
        let value = match (&self.choices[node], &data.kind) {
            (Some(view), _) => self.view(view, data.elem, data.span),
            (None, Kind::Leaf(value)) => self.map.at(*value),
            (None, Kind::Product(term)) => {
                let mut term = term.clone();
                for factor in &mut term.factors {
                    factor.value = self.node(factor.value);
                }
                term.emit(&mut self.out, data.elem, data.span)
            }
            (None, Kind::Sum(terms)) => self.sum(terms, data.elem, data.span),
        };
        self.made[node] = Some(value);
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
