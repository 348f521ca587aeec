//! Contractions that are matrix products, with what is left around them, and how their labels
//! become rows, columns, batches and terms.

use super::operands::View;
use super::{Prepared, Preparer, count, plain, sum_of};
use crate::coords;
use crate::product::{Operand, Product};
use crate::views::trace;
use aec_ir::{Contract, Def, Function, Label, Labels, Op, Value};
use aec_runtime::Elem;
use aec_runtime::gemm::Walk;
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Up to so many columns of B, the runtime packs rows of A once.
const PACKED_ONCE: usize = 128;
/// Products of up to so many multiplications are loops.
const SMALL_PRODUCT: usize = 1024;
/// As many in each matrix of a batch.
const SMALL_IN_BATCH: usize = 512;

/// The labels of a product, each group in the order of the result's.
struct Form {
    /// Which factor gives the rows; the other one gives the columns.
    left: usize,
    batch: Labels,
    rows: Labels,
    columns: Labels,
    /// The result's.
    out: Labels,
}

impl Form {
    /// Of a contraction with the labels `wanted`, in their order if its matrices can be stored so.
    fn new(c: &Contract, wanted: &Labels) -> Form {
        let of = |a: bool, b: bool| -> Labels {
            let mut out = wanted.clone();
            out.retain(|l| has(c, 0, *l) == a && has(c, 1, *l) == b);
            out
        };
        let (batch, only_a, only_b) = (of(true, true), of(true, false), of(false, true));
        let fits = |columns: &Labels, rows: &Labels| {
            let uniform = |group| layout(c, wanted, group)?.uniform();
            uniform(columns) == Some(1)
                && uniform(rows).is_some()
                && layout(c, wanted, &batch).is_some()
        };
        let (a, b) = (count(c, &only_a), count(c, &only_b));
        let (left, out) = if fits(&only_b, &only_a) && (b > 1 || a == 1) {
            (0, wanted.clone())
        } else if fits(&only_a, &only_b) && a > 1 {
            (1, wanted.clone())
        } else {
            (0, [&batch[..], &only_a, &only_b].concat().into())
        };
        let (rows, columns) = match left {
            0 => (only_a, only_b),
            _ => (only_b, only_a),
        };
        Form {
            left,
            batch,
            rows,
            columns,
            out,
        }
    }

    /// Of a contraction's operands, the matrices that multiply over these terms.
    fn operands(
        &self,
        c: &Contract,
        [left, right]: &[View; 2],
        terms: &Labels,
    ) -> [Option<Operand>; 2] {
        // Rows of A are packed once if they meet few columns, B always is.
        let once = count(c, &self.columns) <= PACKED_ONCE;
        [
            left.operand(c, [&self.batch, &self.rows, terms], once),
            right.operand(c, [&self.batch, terms, &self.columns], true),
        ]
    }

    /// The terms in the order, of those of either operand's memory, in which most can be read where
    /// it lies.
    fn terms(&self, c: &Contract, views: &[View; 2]) -> Labels {
        let mut terms = Labels::new();
        for &l in &c.factors[self.left].labels {
            if !self.out.contains(&l) && has(c, 1 - self.left, l) && !terms.contains(&l) {
                terms.push(l);
            }
        }
        let mut orders: Vec<Labels> = vec![terms.clone()];
        for view in views {
            let mut by_step = terms.clone();
            by_step.sort_by_key(|&l| Reverse(view.outer_step(l)));
            if !orders.contains(&by_step) {
                orders.push(by_step);
            }
        }
        let score = |order: &Labels| -> usize {
            let read = self.operands(c, views, order).into_iter().flatten();
            read.map(|operand| 2 + usize::from(operand.is_plain()))
                .sum()
        };
        let mut best = 0;
        for at in 1..orders.len() {
            if score(&orders[at]) > score(&orders[best]) {
                best = at;
            }
        }
        orders.swap_remove(best)
    }

    /// Its place among the plan's products, with these operands.
    fn product(&self, c: &Contract, terms: &Labels, [a, b]: [Operand; 2]) -> Product {
        let (m, n) = (count(c, &self.rows), count(c, &self.columns));
        let batch = count(c, &self.batch);
        let leading = self.out.iter().take_while(|l| self.rows.contains(l));
        let row_axes = leading.count();
        Product {
            batch,
            m,
            n,
            k: count(c, terms),
            a,
            b,
            row_stride: match m {
                1 => n,
                _ => layout(c, &self.out, &self.rows)
                    .and_then(|rows| rows.uniform())
                    .unwrap_or(0),
            },
            batch_walk: match batch {
                1 => Walk::step(0),
                _ => layout(c, &self.out, &self.batch).unwrap_or(Walk::step(0)),
            },
            row_axes: (self.batch.is_empty() && row_axes == self.rows.len()).then_some(row_axes),
            limit: None,
            sums: [None; 2],
            first: None,
        }
    }
}

/// Where a group of labels lies in a result of the labels `out`.
fn layout(c: &Contract, out: &Labels, group: &Labels) -> Option<Walk> {
    let dims: SmallVec<[usize; 4]> = out.iter().map(|&l| c.sizes[usize::from(l)]).collect();
    let strides = coords::row_major(&dims);
    let axes = out.iter().zip(dims.iter().zip(&strides));
    Walk::nested(
        axes.filter(|(l, _)| group.contains(l))
            .map(|(_, (&size, &stride))| (size, stride)),
    )
}

fn has(c: &Contract, x: usize, label: Label) -> bool {
    c.factors[x].labels.contains(&label)
}

impl Preparer {
    /// The contraction as a matrix product and what is left around it; `None` if loops are
    /// better.
    pub(super) fn product(
        &mut self,
        c: &mut Contract,
        operands: &mut SmallVec<[Value; 4]>,
        elem: Elem,
    ) -> Option<Value> {
        let among = |a: bool, b: bool, out: bool| -> usize {
            let labels = (0..c.sizes.len() as Label)
                .filter(|&l| has(c, 0, l) == a && has(c, 1, l) == b && c.out.contains(&l) == out);
            labels.map(|l| c.sizes[usize::from(l)]).product()
        };
        let (k, batch) = (among(true, true, false), among(true, true, true));
        let (m, n) = (among(true, false, true), among(false, true, true));
        // A row of dot products reads its matrix as it lies.
        let wide_enough = (m >= 2 && n >= 2)
            || (m.min(n) == 1 && m.max(n) >= 16 && k >= 16 && self.by_columns(c, operands));
        if !wide_enough || k < 2 || m * n * k * batch <= SMALL_PRODUCT {
            return None;
        }
        if batch > 1 && m * n * k < SMALL_IN_BATCH {
            return None;
        }
        for (x, operand) in operands.iter_mut().enumerate() {
            *operand = self.plain_factor(c, x, *operand, elem);
        }
        // The product proper has the out labels that a factor carries.
        let mut wanted = c.out.clone();
        wanted.retain(|l| has(c, 0, *l) || has(c, 1, *l));
        let (product, out) = self.core(c, operands, &wanted, elem);
        if out == c.out && c.coefficient == 1.0 && c.deltas.is_empty() {
            return Some(product);
        }
        let around = Contract {
            deltas: c.deltas.clone(),
            coefficient: c.coefficient,
            ..sum_of(c, vec![plain(out)], c.out.clone())
        };
        Some(self.push_contract(around, &[product], elem))
    }

    /// A factor as the product takes it: summed over labels that are its own alone, and raised to
    /// its power.
    fn plain_factor(&mut self, c: &mut Contract, x: usize, operand: Value, elem: Elem) -> Value {
        let alone = |l: &Label| !has(c, 1 - x, *l) && !c.out.contains(l);
        let factor = c.factors[x].clone();
        let sums = factor
            .labels
            .iter()
            .any(|l| alone(l) && c.sizes[usize::from(*l)] != 1);
        if !sums && factor.power == 1 {
            return operand;
        }
        let mut kept = Labels::new();
        for &l in &factor.labels {
            let gone = sums && alone(&l);
            if !gone && !kept.contains(&l) {
                kept.push(l);
            }
        }
        let own = sum_of(c, vec![factor], kept.clone());
        c.factors[x] = plain(kept);
        match sums {
            true => self.long_sum(own, &[operand], elem),
            false => self.push_contract(own, &[operand], elem),
        }
    }

    /// Whether the matrix of a matrix-vector product is stored by columns (a transposed one) or
    /// comes in panels.
    fn by_columns(&self, c: &Contract, operands: &[Value]) -> bool {
        let entries = |nth: usize| self.out.f.ty(operands[nth]).len();
        let matrix = usize::from(entries(0) < entries(1));
        let traced = trace(&self.out.f, operands[matrix], &|_| false);
        if self.panelled.contains(traced.base) {
            return true;
        }
        let last = c.factors[matrix]
            .labels
            .iter()
            .zip(&traced.axes)
            .filter(|(l, _)| c.sizes[usize::from(**l)] != 1)
            .min_by_key(|(_, axes)| axes.last().map_or(0, |&(_, step)| step));
        last.is_some_and(|(l, _)| c.out.contains(l))
    }

    /// Pushes the product with the labels `wanted` in an order that its matrices allow; gives
    /// it and that order.
    fn core(
        &mut self,
        c: &Contract,
        operands: &[Value],
        wanted: &Labels,
        elem: Elem,
    ) -> (Value, Labels) {
        let form = Form::new(c, wanted);
        let sides = [form.left, 1 - form.left];
        let views = sides.map(|x| self.view(c, x, operands[x]));
        let terms = form.terms(c, &views);
        let groups = [
            [&form.batch, &form.rows, &terms],
            [&form.batch, &terms, &form.columns],
        ];
        // The contraction takes the copies, which keeps them alive.
        let mut factors = c.factors.clone();
        let mut operands: SmallVec<[Value; 4]> = SmallVec::from_slice(operands);
        let read = form.operands(c, &views, &terms);
        let matrices = [0, 1].map(|nth| {
            read[nth].unwrap_or_else(|| {
                let x = sides[nth];
                let (copy, labels) = self.copy(c, (x, &views[nth]), operands[x], groups[nth], elem);
                operands[x] = copy.value;
                factors[x].labels = labels;
                copy
            })
        });
        let contract = sum_of(c, factors, form.out.clone());
        let v = self.push_contract(contract, &operands, elem);
        let product = form.product(c, &terms, matrices);
        self.out.products.insert(v, product);
        (v, form.out)
    }
}

/// Finds the products whose terms come from the rounds of a loop with a limit.
pub(super) fn find_limits(prepared: &mut Prepared) {
    let Prepared { f, products, .. } = prepared;
    for product in products.values_mut() {
        let limit = |side: Operand, terms: Walk, others: Walk, count: usize| {
            limit_of(f, side, (terms, product.k), (others, count))
        };
        let one = product.batch == 1;
        product.limit = limit(product.a, product.a.cols, product.a.rows, product.m)
            .or_else(|| limit(product.b, product.b.rows, product.b.cols, product.n))
            .filter(|_| one);
    }
}

/// The limit of the loop that yields an operand, if the terms are its rounds, one after the other,
/// and the number of terms of a round.
fn limit_of(
    f: &Function,
    side: Operand,
    (terms, k): (Walk, usize),
    (others, count): (Walk, usize),
) -> Option<(Value, usize)> {
    let Def::Result(inst, nth) = f.values[side.value].def else {
        return None;
    };
    let data = &f.insts[inst];
    let Op::Loop(looped) = &data.op else {
        return None;
    };
    let limit = looped.split_limit(&data.operands).1?;
    let rounds = looped.count;
    if (nth as usize) < looped.carried || count == 0 || !k.is_multiple_of(rounds) {
        return None;
    }
    let (each, entry) = (k / rounds, f.ty(side.value).len() / rounds);
    let in_order = each > 0
        && (0..rounds).all(|round| terms.at(round * each) == round * entry)
        && side.offset + terms.at(each - 1) + others.at(count - 1) < entry;
    in_order.then_some((limit, each))
}

#[cfg(test)]
mod tests {
    use crate::prepare::prepare;
    use aec_ir::{Function, Type};
    use aec_runtime::Elem;
    use aec_runtime::gemm::Walk;
    use aec_syntax::Span;

    fn f32s(dims: &[usize]) -> Type {
        Type::new(Elem::F32, dims)
    }

    #[test]
    fn a_linear_layer_and_its_gradients_are_products() {
        let mut f = Function::new("f");
        let x = f.param(f32s(&[32, 784]), "x");
        let w = f.param(f32s(&[784, 400]), "w");
        let g = f.param(f32s(&[32, 400]), "g");
        let y = f.contract(&[(x, &[0, 1]), (w, &[1, 2])], &[0, 2], &[], 1.0, Span::NONE);
        let dw = f.contract(&[(x, &[0, 1]), (g, &[0, 2])], &[1, 2], &[], 1.0, Span::NONE);
        let dx = f.contract(&[(g, &[0, 1]), (w, &[2, 1])], &[0, 2], &[], 1.0, Span::NONE);
        f.results = vec![y, dw, dx];
        let p = prepare(&f, 0, 0..0, &[]);
        let at = |i: usize| p.products[&p.f.results[i]];
        assert_eq!((at(0).m, at(0).n, at(0).k), (32, 400, 784));
        assert_eq!(
            (at(1).a.rows, at(1).a.cols),
            (Walk::step(1), Walk::step(784))
        );
        assert_eq!((at(1).m, at(1).n, at(1).k), (784, 400, 32));
        assert_eq!(
            (at(2).b.rows, at(2).b.cols),
            (Walk::step(1), Walk::step(400))
        );
        assert_eq!(at(2).row_axes, Some(1));
        assert!(p.copies.is_empty());
    }

    #[test]
    fn attention_heads_are_a_batch_without_copies() {
        let mut f = Function::new("f");
        let q = f.param(f32s(&[4, 16, 3, 8]), "q");
        let k = f.param(f32s(&[4, 16, 3, 8]), "k");
        // scores[b, h, i, j]
        let s = f.contract(
            &[(q, &[0, 1, 3, 4]), (k, &[0, 2, 3, 4])],
            &[0, 3, 1, 2],
            &[],
            0.5,
            Span::NONE,
        );
        f.results = vec![s];
        let p = prepare(&f, 0, 0..0, &[]);
        assert_eq!(p.products.len(), 1);
        let product = p.products.values().next().unwrap();
        assert_eq!(
            (product.batch, product.m, product.n, product.k),
            (12, 16, 16, 8)
        );
        // Batch (b, h) is two axes of q's memory.
        assert_eq!(product.a.batch, Walk::nested([(4, 384), (3, 8)]).unwrap());
        assert_eq!(product.b.rows, Walk::step(1));
        assert!(p.copies.is_empty());
    }
}
