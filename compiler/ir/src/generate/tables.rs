//! Loops over tables: a round reads rows of its state and replaces one or adds to it, in each of
//! the forms that scripts and gradients have. And blocks that are computed again on the way back.

use super::{Entry, Generator, MAX_DEPTH, MAX_ELEMENTS};
use crate::function::{Function, Type, Value};
use crate::op::{Binary, Comparison, Fault, Loop, Op, Unary};
use aec_runtime::Elem;
use aec_syntax::Span;

const S: Span = Span::NONE;

/// The result of an op whose operands fix its type.
fn infer(f: &mut Function, op: Op, operands: &[Value]) -> Value {
    let types: Vec<Type> = operands.iter().map(|&v| f.ty(v).clone()).collect();
    match crate::infer::result_types(&op, &types) {
        Ok(results) => f.push1(op, operands, results[0].clone(), S),
        Err(message) => panic!("{} of {types:?}: {message}", op.name()),
    }
}

/// Where row `at` of a table is, over the whole table.
fn is_row(f: &mut Function, at: Value, table: &Type) -> Value {
    let ints = Type::new(Elem::I64, &table.dims);
    let rows = f.push1(Op::Iota { axis: 0 }, &[], ints, S);
    let place = f.broadcast_leading(at, &table.dims, S);
    f.compare(Comparison::Eq, rows, place, S)
}

/// The row repeated over the whole table.
fn over_table(f: &mut Function, row: Value, table: &Type) -> Value {
    f.contract(&[(row, &[1])], &[0, 1], &[(0, table.dims[0])], 1.0, S)
}

/// The table with a row put at an index or added to what is there, in one of several forms.
fn changed(f: &mut Function, form: usize, table: Value, at: Value, row: Value) -> Value {
    let ty = f.ty(table).clone();
    match form {
        0 => infer(f, Op::Put { batch: 0 }, &[table, at, row]),
        1 => {
            let here = is_row(f, at, &ty);
            let rows = over_table(f, row, &ty);
            f.select(here, rows, table, S)
        }
        2 => {
            let op = Op::ScatterAdd { batch: 0 };
            let added = f.push1(op, &[at, row], ty, S);
            f.binary(Binary::Add, table, added, S)
        }
        _ => {
            let here = is_row(f, at, &ty);
            let rows = over_table(f, row, &ty);
            let zeros = f.number(0.0, ty, S);
            let added = f.select(here, rows, zeros, S);
            f.binary(Binary::Add, added, table, S)
        }
    }
}

impl Generator<'_> {
    /// A loop whose state is a table and a row: each round reads one row and writes another, once
    /// or twice, or only where a condition holds.
    pub(super) fn table_loop(&mut self) {
        if self.depth == MAX_DEPTH {
            return;
        }
        let (rows, width) = (2 + self.rng.below(5), 1 + self.rng.below(4));
        let count = 1 + self.rng.below(6);
        let elem = self.options.elem;
        let table = self.bounded(&[rows, width]);
        let start = self.bounded(&[width]);
        let sequence = self.bounded(&[count, width]);
        let places = self.exact_of(&Type::new(Elem::I64, &[count]));
        let places_ty = self.ty(places);
        let size = self.int_constant(rows as i64, &places_ty);
        let places = self.infer(Op::Binary(Binary::Mod), &[places, size]);

        let mut f = Function::new("round");
        let index = f.param(Type::scalar(Elem::I64), "t");
        let state = f.param(Type::new(elem, &[rows, width]), "table");
        let last = f.param(Type::new(elem, &[width]), "last");
        let x = f.param(Type::new(elem, &[width]), "x");
        let at = f.param(Type::scalar(Elem::I64), "at");
        let gather = Op::Gather {
            batch: 0,
            fault: Fault::Index,
        };
        let limit = f.number(rows as f64, Type::scalar(Elem::I64), S);
        let other = f.binary(Binary::Add, at, index, S);
        let other = f.binary(Binary::Mod, other, limit, S);
        let read = infer(&mut f, gather.clone(), &[state, other]);
        let sum = f.binary(Binary::Add, read, x, S);
        let half = f.scale(last, 0.5, S);
        let sum = f.binary(Binary::Add, sum, half, S);
        let row = f.unary(Unary::Tanh, sum, S);
        let form = self.rng.below(4);
        let mut next = changed(&mut f, form, state, at, row);
        match self.rng.below(4) {
            // Once more, elsewhere.
            0 => {
                let form = self.rng.below(4);
                next = changed(&mut f, form, next, other, half);
            }
            // Only in some rounds.
            1 => {
                let two = f.number(2.0, Type::scalar(Elem::I64), S);
                let parity = f.binary(Binary::Mod, at, two, S);
                let zero = f.number(0.0, Type::scalar(Elem::I64), S);
                let even = f.compare(Comparison::Eq, parity, zero, S);
                let even = f.broadcast_leading(even, &[rows, width], S);
                next = f.select(even, next, state, S);
            }
            _ => {}
        }
        f.results = vec![next, row, read];
        if self.rng.chance(2) {
            let after = infer(&mut f, gather, &[next, at]);
            f.results.push(after);
        }
        let op = Op::Loop(Loop {
            count,
            carried: 2,
            sliced: 2,
            reverse: self.rng.chance(3),
            exit: false,
            recomputed: self.rng.chance(3),
            limited: false,
            nodes: false,
            body: Box::new(f),
        });
        self.region(op, &[table, start, sequence, places]);
    }

    /// A block of straight code; one that is closed to the end now and then, as are the ways back
    /// through blocks.
    pub(super) fn block(&mut self) {
        if self.depth == MAX_DEPTH {
            return;
        }
        let mut given: Vec<Entry> = Vec::new();
        for _ in 0..1 + self.rng.below(4) {
            given.extend(self.pick(|_, _| true));
        }
        let mut inner = Generator::new(
            "block",
            self.options,
            self.rng.split(),
            self.depth + 1,
            self.in_batch,
        );
        inner.sites = self.sites + 100;
        inner.f.param(Type::scalar(Elem::I64), "");
        for entry in &given {
            let ty = self.f.ty(entry.value).clone();
            inner.param(ty, entry.exact);
        }
        let body = inner.finish();
        let fits = |&v: &Value| body.ty(v).len() <= 8 * MAX_ELEMENTS;
        if !body.results.iter().all(fits) {
            return;
        }
        let op = Op::Loop(Loop {
            count: 1,
            carried: 0,
            sliced: 0,
            reverse: !self.options.smooth && self.rng.chance(2),
            exit: false,
            recomputed: true,
            limited: false,
            nodes: false,
            body: Box::new(body),
        });
        let operands: Vec<Value> = given.iter().map(|entry| entry.value).collect();
        self.region(op, &operands);
    }

    /// A value of order one.
    fn bounded(&mut self, dims: &[usize]) -> Value {
        let ty = Type::new(self.options.elem, dims);
        let value = self.value_of(&ty).value;
        self.apply(Unary::Tanh, value)
    }

    /// Appends a region and keeps its results.
    fn region(&mut self, op: Op, operands: &[Value]) {
        self.sites += 200;
        let types: Vec<Type> = operands.iter().map(|&v| self.ty(v)).collect();
        let types = match crate::infer::result_types(&op, &types) {
            Ok(types) => types,
            Err(message) => panic!("{message}"),
        };
        let inst = self.f.push(op, operands, &types, S);
        for result in self.f.insts[inst].results.clone() {
            let ty = self.ty(result);
            if self.fits(&ty.dims) {
                self.keep(result, !ty.elem.is_float());
            }
        }
    }
}
