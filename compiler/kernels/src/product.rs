//! Matrix products of a plan to be: where their operands lie, and which of them are added up as one.

use crate::contract::Prepared;
use aec_ir::{Binary, Inst, Op, Value};
use aec_runtime::gemm::Walk;

/// An operand of a product: where its matrices lie in a stored value's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// Whose buffer.
    pub value: Value,
    /// First element.
    pub offset: usize,
    /// From row to row, in elements.
    pub rows: Walk,
    /// From column to column.
    pub cols: Walk,
    /// From one matrix of the batch to the next.
    pub batch: Walk,
}

impl Operand {
    /// Whether rows and columns are each an axis of memory: tiles can read it in place.
    pub(crate) fn is_plain(&self) -> bool {
        self.rows.uniform().is_some() && self.cols.uniform().is_some()
    }
}

/// A product whose terms come first ([`join_sums`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct First {
    /// Its terms.
    pub k: usize,
    /// Left operand.
    pub a: Operand,
    /// Right operand.
    pub b: Operand,
    /// Whether it is subtracted.
    pub minus: bool,
    /// As those of the [`Product`].
    pub sums: [Option<Value>; 2],
}

/// A contraction as a matrix product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Product {
    /// Number of products.
    pub batch: usize,
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Terms.
    pub k: usize,
    /// Left operand.
    pub a: Operand,
    /// Right operand.
    pub b: Operand,
    /// Elements between rows of the result.
    pub row_stride: usize,
    /// From one matrix of the result to the next.
    pub batch_walk: Walk,
    /// How many leading axes of the result are its rows, if it is one matrix, row-major.
    pub row_axes: Option<usize>,
    /// The terms are those of rounds of a loop with this limit, so many of each round. Those of
    /// rounds that are not run are zero, and need not be added.
    pub limit: Option<(Value, usize)>,
    /// Sums of A's rows, and of B's columns, that it takes along (`term_sums.rs`).
    pub sums: [Option<Value>; 2],
    /// The product that it is added to, if the value is the sum of two.
    pub first: Option<First>,
}

impl Product {
    /// The values whose matrices it multiplies.
    pub fn operands(&self) -> impl Iterator<Item = Value> {
        let first = self.first.into_iter().flat_map(|first| [first.a, first.b]);
        [self.a, self.b]
            .into_iter()
            .chain(first)
            .map(|operand| operand.value)
    }
}

/// Makes one product of each sum or difference of two that nothing else wants: the gradient of a
/// weight that is used twice, or what a cell takes from its input and from its state. The result of
/// the first one then takes no way through memory.
pub(crate) fn join_sums(prepared: &mut Prepared) {
    for inst in prepared.f.order.clone() {
        bring_together(prepared, inst);
    }
    for inst in prepared.f.order.clone() {
        let Some((sum, parts, joined)) = joined(prepared, inst) else {
            continue;
        };
        for part in parts {
            prepared.products.remove(&part);
        }
        let gone = parts.map(|part| prepared.f.def_inst(part));
        prepared.f.order.retain(|&inst| !gone.contains(&Some(inst)));
        prepared.products.insert(sum, joined);
        let note = "a sum of two products, in one chain of additions";
        prepared.notes.insert(sum, note.to_string());
    }
}

/// Of a sum of several values among which are two products that can be joined, adds those two first.
fn bring_together(prepared: &mut Prepared, sum: Inst) {
    let f = &prepared.f;
    let is_add = |inst: Inst| matches!(f.insts[inst].op, Op::Binary(Binary::Add));
    if !is_add(sum) {
        return;
    }
    // What is added up, and the other additions that do it.
    let (mut addends, mut inner) = (Vec::new(), Vec::new());
    let mut work = vec![sum];
    while let Some(inst) = work.pop() {
        for &operand in &f.insts[inst].operands {
            match f.def_inst(operand) {
                Some(own) if is_add(own) && is_used_once(prepared, operand) => {
                    inner.push(own);
                    work.push(own);
                }
                _ => addends.push(operand),
            }
        }
    }
    let pair = addends.iter().enumerate().find_map(|(at, &left)| {
        let mut others = addends[at + 1..].iter();
        let right = others.find(|&&right| pair_of(prepared, left, right).is_some())?;
        Some([left, *right])
    });
    let Some(pair) = pair.filter(|_| !inner.is_empty()) else {
        return;
    };
    let others = addends.into_iter().filter(|v| !pair.contains(v));
    let mut rest: Vec<Value> = pair.into_iter().chain(others).collect();
    let f = &mut prepared.f;
    f.order.retain(|inst| !inner.contains(inst));
    for &inst in inner.iter().chain([&sum]) {
        let two: Vec<Value> = rest.drain(..2).collect();
        f.insts[inst].operands = two.into_iter().collect();
        rest.insert(0, f.insts[inst].results[0]);
    }
    let place = f.order.iter().position(|&inst| inst == sum);
    let place = place.unwrap_or(f.order.len());
    f.order.splice(place..place, inner);
}

fn is_used_once(prepared: &Prepared, v: Value) -> bool {
    let f = &prepared.f;
    let uses = f.order.iter().flat_map(|&inst| &f.insts[inst].operands);
    let wanted = f.results.contains(&v) || f.guards.iter().any(|guard| guard.value == v);
    uses.filter(|&&operand| operand == v).count() == 1 && !wanted
}

/// Two values as products that can be joined: nothing else wants them, and they fill matrices of one
/// shape from plain ones.
fn pair_of(prepared: &Prepared, left: Value, right: Value) -> Option<[Product; 2]> {
    let plain = |v: Value| {
        let product = *prepared.products.get(&v)?;
        let plain = product.batch == 1
            && product.limit.is_none()
            && product.first.is_none()
            && product.row_axes.is_some()
            && product.a.is_plain()
            && product.b.is_plain()
            && is_used_once(prepared, v);
        plain.then_some(product)
    };
    let alike = |p: &Product| (p.m, p.n, p.row_stride, p.row_axes);
    let pair = [plain(left)?, plain(right)?];
    (alike(&pair[0]) == alike(&pair[1])).then_some(pair)
}

/// The sum that an instruction is, the products that it adds, and the one that does it at once.
fn joined(prepared: &Prepared, inst: Inst) -> Option<(Value, [Value; 2], Product)> {
    let data = &prepared.f.insts[inst];
    let minus = match data.op {
        Op::Binary(Binary::Add) => false,
        Op::Binary(Binary::Sub) => true,
        _ => return None,
    };
    let &[left, right] = data.operands.as_slice() else {
        return None;
    };
    let [then, first] = pair_of(prepared, left, right)?;
    let joined = Product {
        first: Some(First {
            k: first.k,
            a: first.a,
            b: first.b,
            minus,
            sums: first.sums,
        }),
        ..then
    };
    Some((data.results[0], [left, right], joined))
}
