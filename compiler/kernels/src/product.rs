//! Matrix products of a plan to be: where their operands lie, and which of them are added up as one.

use crate::prepare::Prepared;
use aec_ir::{Binary, Function, Inst, Op, Value};
use aec_runtime::gemm::Walk;
use cranelift_entity::EntitySet;
use std::ops::Range;

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
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct First {
    /// Its terms.
    pub k: usize,
    /// Left operand.
    pub a: Operand,
    /// Right operand.
    pub b: Operand,
    /// What it is multiplied by before the others are added.
    pub factor: f64,
    /// As those of the [`Product`].
    pub sums: [Option<Value>; 2],
}

/// A contraction as a matrix product.
#[derive(Clone, Copy, PartialEq, Debug)]
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
/// the first one then takes no way through memory. Products by the params `panelled`, which come in
/// panels for all rounds of a loop, stay alone: without panels they would cost more than that.
pub(crate) fn join_sums(prepared: &mut Prepared, panelled: Range<usize>) {
    if prepared.products.len() < 2 {
        return;
    }
    let mut once = used_once(&prepared.f);
    let panelled = &prepared.f.params[panelled];
    for (&value, product) in &prepared.products {
        if panelled.contains(&product.b.value) {
            once.remove(value);
        }
    }
    for sum in whole_sums(&prepared.f, &once) {
        bring_together(prepared, &once, sum);
    }
    for inst in prepared.f.order.clone() {
        join(prepared, &once, inst);
    }
}

/// Values that one operand of one instruction is, and nothing else wants.
fn used_once(f: &Function) -> EntitySet<Value> {
    let mut once: EntitySet<Value> = EntitySet::new();
    let mut more: EntitySet<Value> = EntitySet::new();
    let wanted = f
        .results
        .iter()
        .copied()
        .chain(f.guards.iter().map(|guard| guard.value));
    for v in wanted {
        more.insert(v);
    }
    for &inst in &f.order {
        for &operand in &f.insts[inst].operands {
            if !once.insert(operand) {
                more.insert(operand);
            }
        }
    }
    for v in more.iter() {
        once.remove(v);
    }
    once
}

fn is_add(f: &Function, inst: Inst) -> bool {
    matches!(f.insts[inst].op, Op::Binary(Binary::Add))
}

/// The additions that are not themselves a part of a larger sum.
fn whole_sums(f: &Function, once: &EntitySet<Value>) -> Vec<Inst> {
    let mut parts: EntitySet<Value> = EntitySet::new();
    let sums = || f.order.iter().copied().filter(|&inst| is_add(f, inst));
    for inst in sums() {
        for &operand in &f.insts[inst].operands {
            if once.contains(operand) {
                parts.insert(operand);
            }
        }
    }
    sums()
        .filter(|&inst| !parts.contains(f.insts[inst].results[0]))
        .collect()
}

/// One of two products that are added up: `coefficient` times a product.
struct Addend {
    product: Product,
    value: Value,
    coefficient: f64,
    /// What multiplies by the coefficient, if that is not 1.
    scale: Option<Inst>,
}

/// Of a sum of several values among which are two products that can be joined, adds those two first.
fn bring_together(prepared: &mut Prepared, once: &EntitySet<Value>, sum: Inst) {
    let f = &prepared.f;
    // What is added up, and the other additions that do it.
    let (mut addends, mut inner) = (Vec::new(), Vec::new());
    let mut work = vec![sum];
    while let Some(inst) = work.pop() {
        for &operand in &f.insts[inst].operands {
            match f.def_inst(operand) {
                Some(own) if is_add(f, own) && once.contains(operand) => {
                    inner.push(own);
                    work.push(own);
                }
                _ => addends.push(operand),
            }
        }
    }
    let products = addends.iter().copied();
    let products: Vec<Value> = products
        .filter(|&v| addend(prepared, once, v).is_some())
        .collect();
    let pair = products.iter().enumerate().find_map(|(at, &left)| {
        let mut others = products[at + 1..].iter();
        let right = others.find(|&&right| pair_of(prepared, once, left, right).is_some())?;
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

/// A value as a product that can be joined: nothing else wants it, and its matrices are plain.
fn addend(prepared: &Prepared, once: &EntitySet<Value>, v: Value) -> Option<Addend> {
    if !once.contains(v) {
        return None;
    }
    let Some(product) = prepared.products.get(&v) else {
        let scale = prepared.f.def_inst(v)?;
        let data = &prepared.f.insts[scale];
        let Op::Contract(contract) = &data.op else {
            return None;
        };
        let ([factor], [operand]) = (contract.factors.as_slice(), data.operands.as_slice()) else {
            return None;
        };
        let scales = factor.power == 1
            && factor.labels == contract.out
            && contract.deltas.is_empty()
            && contract.coefficient != 0.0
            && prepared.products.contains_key(operand);
        if !scales {
            return None;
        }
        return Some(Addend {
            coefficient: contract.coefficient,
            scale: Some(scale),
            ..addend(prepared, once, *operand)?
        });
    };
    let plain = product.batch == 1
        && product.limit.is_none()
        && product.first.is_none()
        && product.row_axes.is_some()
        && product.a.is_plain()
        && product.b.is_plain();
    plain.then_some(Addend {
        product: *product,
        value: v,
        coefficient: 1.0,
        scale: None,
    })
}

/// Two values as products that can be joined: they fill matrices of one shape.
fn pair_of(
    prepared: &Prepared,
    once: &EntitySet<Value>,
    left: Value,
    right: Value,
) -> Option<[Addend; 2]> {
    let pair = [
        addend(prepared, once, left)?,
        addend(prepared, once, right)?,
    ];
    let [a, b] = pair.each_ref().map(|addend| {
        let p = &addend.product;
        (p.m, p.n, p.row_stride, p.row_axes)
    });
    (a == b).then_some(pair)
}

/// Factors that neither lose what they multiply nor make too much of it.
const FACTORS: Range<f64> = 1e-12..1e12;

/// Makes one product of the two that an instruction adds, if it does.
fn join(prepared: &mut Prepared, once: &EntitySet<Value>, sum: Inst) {
    let data = &prepared.f.insts[sum];
    let sign = match data.op {
        Op::Binary(Binary::Add) => 1.0,
        Op::Binary(Binary::Sub) => -1.0,
        _ => return,
    };
    let &[left, right] = data.operands.as_slice() else {
        return;
    };
    let Some([then, first]) = pair_of(prepared, once, left, right) else {
        return;
    };
    let factor = sign * first.coefficient / then.coefficient;
    if !FACTORS.contains(&factor.abs()) {
        return;
    }
    let joined = Product {
        first: Some(First {
            k: first.product.k,
            a: first.product.a,
            b: first.product.b,
            factor,
            sums: first.product.sums,
        }),
        ..then.product
    };
    let f = &mut prepared.f;
    let parts = [then.value, first.value];
    let gone = parts.map(|part| f.def_inst(part));
    let gone = [gone[0], gone[1], first.scale, then.scale];
    f.order.retain(|&inst| !gone.contains(&Some(inst)));
    let result = match then.scale {
        None => f.insts[sum].results[0],
        // The sum first, then what multiplied one of its parts.
        Some(scale) => {
            let added = f.insts[scale].results[0];
            let adds = f.insts[sum].op.clone();
            let by = std::mem::replace(&mut f.insts[scale].op, adds);
            f.insts[scale].operands = parts.into_iter().collect();
            f.insts[sum].op = by;
            f.insts[sum].operands = std::iter::once(added).collect();
            let place = f.order.iter().position(|&inst| inst == sum);
            f.order.insert(place.unwrap_or(0), scale);
            added
        }
    };
    for part in parts {
        prepared.products.remove(&part);
    }
    prepared.products.insert(result, joined);
    let note = "a sum of two products, in one chain of additions";
    prepared.notes.insert(result, note.to_string());
}
