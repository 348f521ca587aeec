//! Regions of a random program: maps and loops.

use super::{Entry, Generator, MAX_DEPTH, MAX_ELEMENTS};
use crate::function::{Type, Value};
use crate::op::{Binary, Loop, Op, Unary};
use aec_runtime::Elem;
use aec_syntax::Span;

impl Generator<'_> {
    pub(super) fn map(&mut self) {
        if self.depth == MAX_DEPTH {
            return;
        }
        let found = self.pick(|f, entry| f.ty(entry.value).rank() > 0);
        let Some(first) = found else { return };
        let size = self.f.dims(first.value)[0];
        let mut operands = vec![(first, true)];
        for _ in 0..1 + self.rng.below(3) {
            if let Some(other) = self.pick(|_, _| true) {
                let mappable = self.f.dims(other.value).first() == Some(&size);
                let mapped = mappable && !self.rng.chance(4);
                operands.push((other, mapped));
            }
        }
        let counter = self.push(Op::Iota { axis: 0 }, &[], Type::new(Elem::I64, &[size]));
        if self.options.draws {
            let entry = Entry {
                value: counter,
                exact: true,
            };
            operands.push((entry, true));
        }
        let is_batch = self.options.means && !self.in_batch && self.rng.chance(2);
        let mut inner = Generator::new(
            "body",
            self.options,
            self.rng.split(),
            self.depth + 1,
            self.in_batch || is_batch,
        );
        inner.sites = self.sites + 100;
        for (entry, mapped) in &operands {
            let mut ty = self.f.ty(entry.value).clone();
            if *mapped {
                ty.dims.remove(0);
            }
            inner.param(ty, entry.exact);
        }
        let body = inner.finish();
        let fits = body
            .results
            .iter()
            .all(|&result| body.ty(result).len() * size <= 8 * MAX_ELEMENTS);
        if !fits {
            return;
        }
        let values: Vec<Value> = operands.iter().map(|(entry, _)| entry.value).collect();
        let types: Vec<Type> = body
            .results
            .iter()
            .map(|&result| {
                let mut dims = vec![size];
                dims.extend_from_slice(body.dims(result));
                Type::new(body.ty(result).elem, &dims)
            })
            .collect();
        let op = Op::Map {
            size,
            mapped: operands.iter().map(|&(_, mapped)| mapped).collect(),
            is_batch,
            body: Box::new(body),
        };
        self.sites += 200;
        let inst = self.f.push(op, &values, &types, Span::NONE);
        for result in self.f.insts[inst].results.clone() {
            let ty = self.ty(result);
            // Results of bodies may be large; they are results of the program, not operands.
            if self.fits(&ty.dims) {
                self.keep(result, !ty.elem.is_float());
            }
        }
    }

    /// A loop of a few rounds whose float state stays in bounds.
    pub(super) fn looped(&mut self) {
        if self.depth == MAX_DEPTH {
            return;
        }
        let sequence = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            ty.rank() > 0 && ty.dims[0] <= 5
        });
        let count = match sequence {
            Some(entry) => self.f.dims(entry.value)[0],
            None => self.rng.below(4).max(usize::from(!self.options.empty)),
        };
        let mut state = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            state.extend(self.pick(|_, _| true));
        }
        let mut constants = Vec::new();
        for _ in 0..self.rng.below(3) {
            constants.extend(self.pick(|_, _| true));
        }
        let mut inner = Generator::new(
            "round",
            self.options,
            self.rng.split(),
            self.depth + 1,
            self.in_batch,
        );
        inner.sites = self.sites + 100;
        inner.param(Type::scalar(Elem::I64), true);
        let mut carried = Vec::new();
        for entry in &state {
            let ty = self.f.ty(entry.value).clone();
            carried.push(inner.param(ty, false));
        }
        if let Some(entry) = &sequence {
            let mut ty = self.f.ty(entry.value).clone();
            ty.dims.remove(0);
            inner.param(ty, entry.exact);
        }
        for entry in &constants {
            let ty = self.f.ty(entry.value).clone();
            inner.param(ty, entry.exact);
        }
        let mut body = inner.finish();
        let yielded = body.results.clone();
        let fits = yielded
            .iter()
            .all(|&result| body.ty(result).len() * count <= 8 * MAX_ELEMENTS);
        if !fits {
            return;
        }
        let next: Vec<Value> = carried
            .iter()
            .map(|&old| {
                let ty = body.ty(old).clone();
                if !ty.elem.is_float() {
                    return old;
                }
                let half = body.scale(old, 0.5, Span::NONE);
                let same = |v: &&Value| *body.ty(**v) == ty;
                match yielded.iter().find(same) {
                    Some(&news) => {
                        let news = body.unary(Unary::Tanh, news, Span::NONE);
                        body.binary(Binary::Add, half, news, Span::NONE)
                    }
                    None => half,
                }
            })
            .collect();
        body.results = next.into_iter().chain(yielded).collect();
        let operands: Vec<Value> = state
            .iter()
            .chain(&sequence)
            .chain(&constants)
            .map(|entry| entry.value)
            .collect();
        let op = Op::Loop(Loop {
            count,
            carried: state.len(),
            sliced: usize::from(sequence.is_some()),
            reverse: self.rng.chance(3),
            exit: false,
            recomputed: self.options.tables && self.rng.chance(3),
            limited: false,
            nodes: false,
            body: Box::new(body),
        });
        self.sites += 200;
        let types: Vec<Type> = operands.iter().map(|&value| self.ty(value)).collect();
        let types = match crate::infer::result_types(&op, &types) {
            Ok(types) => types,
            Err(message) => panic!("{message}"),
        };
        let inst = self.f.push(op, &operands, &types, Span::NONE);
        for result in self.f.insts[inst].results.clone() {
            let ty = self.ty(result);
            if self.fits(&ty.dims) {
                self.keep(result, !ty.elem.is_float());
            }
        }
    }
}
