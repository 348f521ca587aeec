//! Prepares a function for planning: picks the contractions that are matrix products (with the
//! strides of their operands), splits large sums into partial sums of fixed shape, gives every
//! result a value of its own, and numbers the run-time checks.

use crate::coords;
use crate::plan::{CheckInfo, Plan};
use crate::views::{merge, trace};
use aec_ir::rewrite::{self, ValueMap};
use aec_ir::{Contract, Factor, Fault, Function, Inst, Label, Labels, Op, Type, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::{EntityRef, EntitySet};
use smallvec::SmallVec;
use std::collections::HashMap;

/// An operand of a product: where its matrices lie in a stored value's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// Whose buffer.
    pub value: Value,
    /// First element.
    pub offset: usize,
    /// Elements between rows.
    pub row_stride: usize,
    /// Elements between columns.
    pub col_stride: usize,
    /// Elements between matrices of the batch.
    pub batch_stride: usize,
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
    /// Elements between matrices of the result.
    pub batch_stride: usize,
    /// How many leading axes of the result are its rows, if it is one matrix, row-major.
    pub row_axes: Option<usize>,
}

/// A function ready to be planned.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The rewritten function.
    pub f: Function,
    /// Results of contractions that are matrix products.
    pub products: HashMap<Value, Product>,
    /// Copies that a product or a result needs: stored whatever fusion says.
    pub copies: EntitySet<Value>,
    /// Plans of the bodies of loops.
    pub loops: HashMap<Inst, Plan>,
    /// Check codes of gathers and scatters.
    pub checks: HashMap<Inst, i64>,
    /// Their meaning.
    pub check_infos: Vec<CheckInfo>,
    /// Reasons worth recording, by value.
    pub notes: HashMap<Value, String>,
}

impl Prepared {
    /// A name for dumps.
    pub fn value_name(&self, v: Value) -> String {
        if let aec_ir::Def::Param(index) = self.f.values[v].def
            && let Some(name) = self.f.param_names.get(index as usize)
            && !name.is_empty()
        {
            return name.clone();
        }
        format!("v{}", v.index())
    }
}

/// Products of fewer multiplications than this are loops.
const SMALL_PRODUCT: usize = 128;

pub(crate) struct Preparer {
    pub(crate) out: Prepared,
    pub(crate) span: Span,
}

/// Prepares a function.
pub fn prepare(f: &Function, first_check: i64) -> Prepared {
    let (into, mut map) = rewrite::copy_params(f);
    let mut p = Preparer {
        out: Prepared {
            f: into,
            ..Prepared::default()
        },
        span: Span::NONE,
    };
    for &inst in &f.order {
        let data = &f.insts[inst];
        p.span = data.span;
        let operands = map.all(&data.operands);
        match &data.op {
            Op::Contract(contract) => {
                let elem = f.ty(data.results[0]).elem;
                let v = p.contract(contract.clone(), operands, elem);
                map.insert(data.results[0], v);
            }
            Op::Reduce { op, axes } => {
                let v = p.reduce(*op, axes, operands[0]);
                map.insert(data.results[0], v);
            }
            Op::Binary(aec_ir::Binary::Add) => {
                let v = match p.as_concat(operands[0], operands[1]) {
                    Some((axis, parts)) => {
                        let ty = f.ty(data.results[0]).clone();
                        p.push(Op::Concat { axis }, &parts, ty)
                    }
                    None => rewrite::copy_inst(&mut p.out.f, f, inst, &mut map)[0],
                };
                map.insert(data.results[0], v);
            }
            _ => {
                rewrite::copy_inst(&mut p.out.f, f, inst, &mut map);
            }
        }
    }
    p.ends(f, &map, first_check);
    p.out
}

impl Preparer {
    pub(crate) fn push(&mut self, op: Op, operands: &[Value], ty: Type) -> Value {
        self.out.f.push1(op, operands, ty, self.span)
    }

    /// Two values padded with zeros into each other's gaps (gradients of the halves of a split)
    /// are one after the other.
    fn as_concat(&self, a: Value, b: Value) -> Option<(usize, [Value; 2])> {
        let f = &self.out.f;
        let padded = |v: Value| {
            let data = &f.insts[f.def_inst(v)?];
            let Op::Pad {
                low,
                high,
                interior,
            } = &data.op
            else {
                return None;
            };
            let zero = &f.insts[f.def_inst(data.operands[1])?].op;
            let is_zero = matches!(zero, Op::Constant(aec_ir::Literal::Float(x)) if *x == 0.0)
                || matches!(zero, Op::Constant(aec_ir::Literal::Int(0)));
            (is_zero && interior.iter().all(|&i| i == 0)).then_some((data.operands[0], low, high))
        };
        let (x, low_x, high_x) = padded(a)?;
        let (y, low_y, high_y) = padded(b)?;
        let mut axes = (0..low_x.len()).filter(|&i| {
            [low_x[i], high_x[i], low_y[i], high_y[i]]
                .iter()
                .any(|&n| n != 0)
        });
        let axis = axes.next()?;
        if axes.next().is_some() {
            return None;
        }
        let sizes = (f.dims(x)[axis], f.dims(y)[axis]);
        let ends = (low_x[axis], high_x[axis], low_y[axis], high_y[axis]);
        if ends == (0, sizes.1, sizes.0, 0) {
            Some((axis, [x, y]))
        } else if ends == (sizes.1, 0, 0, sizes.0) {
            Some((axis, [y, x]))
        } else {
            None
        }
    }

    fn ty_of(&self, contract: &Contract, elem: Elem) -> Type {
        let dims: SmallVec<[usize; 4]> = contract
            .out
            .iter()
            .map(|&l| contract.sizes[usize::from(l)])
            .collect();
        Type { elem, dims }
    }

    pub(crate) fn push_contract(
        &mut self,
        contract: Contract,
        operands: &[Value],
        elem: Elem,
    ) -> Value {
        let ty = self.ty_of(&contract, elem);
        self.push(Op::Contract(contract), operands, ty)
    }

    pub(crate) fn contract(
        &mut self,
        mut c: Contract,
        mut operands: SmallVec<[Value; 4]>,
        elem: Elem,
    ) -> Value {
        eliminate_deltas(&mut c);
        let summed = |c: &Contract| -> Labels {
            (0..c.sizes.len() as Label)
                .filter(|l| !c.out.contains(l) && c.factors.iter().any(|x| x.labels.contains(l)))
                .collect()
        };
        // Sums over nothing but the number of terms.
        for label in 0..c.sizes.len() as Label {
            let used = c.out.contains(&label)
                || c.factors.iter().any(|x| x.labels.contains(&label))
                || c.deltas.iter().any(|&(a, b)| a == label || b == label);
            if !used {
                c.coefficient *= c.sizes[usize::from(label)] as f64;
                c.sizes[usize::from(label)] = 1;
            }
        }
        let summed_now = summed(&c);
        if summed_now.iter().all(|&l| c.sizes[usize::from(l)] == 1) {
            return self.push_contract(c, &operands, elem);
        }
        if elem.is_float() && c.factors.len() > 1 {
            // What no sum touches comes after the sum.
            let outer: Vec<bool> = c
                .factors
                .iter()
                .map(|x| !x.labels.iter().any(|l| summed_now.contains(l)))
                .collect();
            if outer.contains(&true) {
                return self.outer_factors(c, &operands, elem, &outer);
            }
            if c.factors.len() > 2 && self.is_wide(&c, &operands) {
                return self.pairwise(c, operands, elem);
            }
        }
        if elem.is_float()
            && c.factors.len() == 2
            && let Some(v) = self.product(&mut c, &mut operands, elem)
        {
            return v;
        }
        self.long_sum(c, &operands, elem)
    }

    /// The contraction as a matrix product and what is left around it; `None` if loops are
    /// better.
    fn product(
        &mut self,
        c: &mut Contract,
        operands: &mut SmallVec<[Value; 4]>,
        elem: Elem,
    ) -> Option<Value> {
        let has = |c: &Contract, x: usize, l: Label| c.factors[x].labels.contains(&l);
        let size = |c: &Contract, l: Label| c.sizes[usize::from(l)];
        let labels: Labels = (0..c.sizes.len() as Label).collect();
        let pick = |c: &Contract, a: bool, b: bool, out: bool| -> Labels {
            labels
                .iter()
                .copied()
                .filter(|&l| has(c, 0, l) == a && has(c, 1, l) == b && c.out.contains(&l) == out)
                .collect()
        };
        let count =
            |c: &Contract, ls: &Labels| -> usize { ls.iter().map(|&l| size(c, l)).product() };
        let k = count(c, &pick(c, true, true, false));
        let m = count(c, &pick(c, true, false, true));
        let n = count(c, &pick(c, false, true, true));
        let batch = count(c, &pick(c, true, true, true));
        // A row of dot products reads its matrix as it lies.
        let wide_enough = (m >= 2 && n >= 2)
            || (m.min(n) == 1 && m.max(n) >= 16 && k >= 16 && self.column_major(c, operands));
        if !wide_enough || k < 2 || m * n * k * batch < SMALL_PRODUCT {
            return None;
        }
        if batch > 1 && m * n * k < 512 {
            return None;
        }
        // Labels of one factor alone that are summed: sum them first.
        for x in 0..2 {
            let alone = pick(c, x == 0, x == 1, false);
            if alone.iter().any(|&l| size(c, l) != 1) {
                let factor = c.factors[x].clone();
                let mut kept = Labels::new();
                for &l in &factor.labels {
                    if !alone.contains(&l) && !kept.contains(&l) {
                        kept.push(l);
                    }
                }
                let partial = Contract {
                    factors: vec![factor],
                    deltas: Vec::new(),
                    out: kept.clone(),
                    coefficient: 1.0,
                    sizes: c.sizes.clone(),
                };
                operands[x] = self.long_sum(partial, &[operands[x]], elem);
                c.factors[x] = Factor {
                    labels: kept,
                    power: 1,
                };
            } else if c.factors[x].power != 1 {
                // A power is taken before the product.
                let mut kept = Labels::new();
                for &l in &c.factors[x].labels {
                    if !kept.contains(&l) {
                        kept.push(l);
                    }
                }
                let powered = Contract {
                    factors: vec![c.factors[x].clone()],
                    deltas: Vec::new(),
                    out: kept.clone(),
                    coefficient: 1.0,
                    sizes: c.sizes.clone(),
                };
                operands[x] = self.push_contract(powered, &[operands[x]], elem);
                c.factors[x] = Factor {
                    labels: kept,
                    power: 1,
                };
            }
        }
        // The product proper has the out labels that a factor carries.
        let core_out: Labels = c
            .out
            .iter()
            .copied()
            .filter(|&l| has(c, 0, l) || has(c, 1, l))
            .collect();
        let core = self.core(c, operands, &core_out, elem);
        let plain = core.1 == c.out && c.coefficient == 1.0 && c.deltas.is_empty();
        if plain {
            return Some(core.0);
        }
        let around = Contract {
            factors: vec![Factor {
                labels: core.1,
                power: 1,
            }],
            deltas: c.deltas.clone(),
            out: c.out.clone(),
            coefficient: c.coefficient,
            sizes: c.sizes.clone(),
        };
        Some(self.push_contract(around, &[core.0], elem))
    }

    /// Whether the matrix of a matrix-vector product is stored by columns (a transposed one).
    fn column_major(&self, c: &Contract, operands: &[Value]) -> bool {
        let matrix = usize::from(c.factors[0].labels.len() < c.factors[1].labels.len());
        let (_, _, steps) = trace(&self.out.f, operands[matrix], &|_| false);
        let last = c.factors[matrix]
            .labels
            .iter()
            .zip(&steps)
            .filter(|(l, _)| c.sizes[usize::from(**l)] != 1)
            .min_by_key(|(_, step)| **step);
        last.is_some_and(|(l, _)| c.out.contains(l))
    }

    /// Pushes the product with the labels `core_out` in an order that its matrices allow; gives
    /// it and that order.
    fn core(
        &mut self,
        c: &Contract,
        operands: &[Value],
        core_out: &Labels,
        elem: Elem,
    ) -> (Value, Labels) {
        let size = |l: Label| c.sizes[usize::from(l)];
        let has = |x: usize, l: Label| c.factors[x].labels.contains(&l);
        let of = |a: bool, b: bool| -> Labels {
            core_out
                .iter()
                .copied()
                .filter(|&l| has(0, l) == a && has(1, l) == b)
                .collect()
        };
        let (batch, only_a, only_b) = (of(true, true), of(true, false), of(false, true));
        let layout = |out: &Labels, group: &Labels| -> Option<usize> {
            let dims: SmallVec<[usize; 4]> = out.iter().map(|&l| size(l)).collect();
            let strides = coords::row_major(&dims);
            let axes: SmallVec<[(usize, i64); 4]> = out
                .iter()
                .zip(&strides)
                .filter(|(l, _)| group.contains(l))
                .map(|(&l, &s)| (size(l), s))
                .collect();
            merge(&axes)
        };
        let total = |ls: &Labels| -> usize { ls.iter().map(|&l| size(l)).product() };
        // Which factor gives the rows, and the order of the result's labels.
        let fits = |out: &Labels, columns: &Labels, rows: &Labels| {
            layout(out, columns) == Some(1)
                && layout(out, rows).is_some()
                && layout(out, &batch).is_some()
        };
        let (left, out): (usize, Labels) =
            if fits(core_out, &only_b, &only_a) && (total(&only_b) > 1 || total(&only_a) == 1) {
                (0, core_out.clone())
            } else if fits(core_out, &only_a, &only_b) && (total(&only_a) > 1) {
                (1, core_out.clone())
            } else {
                let mut out = batch.clone();
                out.extend(only_a.iter().copied());
                out.extend(only_b.iter().copied());
                (0, out)
            };
        let right = 1 - left;
        let (rows, columns) = if left == 0 {
            (only_a, only_b)
        } else {
            (only_b, only_a)
        };
        let order = |group: &Labels| -> Labels {
            out.iter().copied().filter(|l| group.contains(l)).collect()
        };
        let (rows, columns, batch) = (order(&rows), order(&columns), order(&batch));
        // Terms in the order of either operand's memory.
        let mut terms: Labels = Labels::new();
        for &l in &c.factors[left].labels {
            if !out.contains(&l) && has(right, l) && !terms.contains(&l) {
                terms.push(l);
            }
        }
        let views = [
            self.view(c, left, operands[left]),
            self.view(c, right, operands[right]),
        ];
        let mut orders: Vec<Labels> = vec![terms.clone()];
        for view in &views {
            let mut by_step = terms.clone();
            by_step.sort_by_key(|l| std::cmp::Reverse(step_of(&view.2, *l)));
            if !orders.contains(&by_step) {
                orders.push(by_step);
            }
        }
        let matrix = |view: &Traced, rows: &Labels, columns: &Labels| -> Option<Operand> {
            let group = |ls: &Labels| -> Option<usize> {
                let axes: SmallVec<[(usize, i64); 4]> =
                    ls.iter().map(|&l| (size(l), step_of(&view.2, l))).collect();
                merge(&axes)
            };
            Some(Operand {
                value: view.0,
                offset: usize::try_from(view.1).ok()?,
                row_stride: group(rows)?,
                col_stride: group(columns)?,
                batch_stride: if batch.iter().all(|&l| size(l) == 1) {
                    0
                } else {
                    group(&batch)?
                },
            })
        };
        let score = |order: &Labels| {
            usize::from(matrix(&views[0], &rows, order).is_some())
                + usize::from(matrix(&views[1], order, &columns).is_some())
        };
        let mut terms = orders[0].clone();
        for order in &orders {
            if score(order) > score(&terms) {
                terms = order.clone();
            }
        }
        // The contraction takes the copies, which keeps them alive.
        let mut factors = c.factors.clone();
        let mut operands: SmallVec<[Value; 4]> = SmallVec::from_slice(operands);
        let mut copied = |p: &mut Preparer, x: usize, groups: [&Labels; 3]| {
            let operand = p.copy(c, x, operands[x], groups, elem);
            operands[x] = operand.value;
            factors[x].labels = groups.iter().flat_map(|g| g.iter().copied()).collect();
            operand
        };
        let a = match matrix(&views[0], &rows, &terms) {
            Some(a) => a,
            None => copied(self, left, [&batch, &rows, &terms]),
        };
        let b = match matrix(&views[1], &terms, &columns) {
            Some(b) => b,
            None => copied(self, right, [&batch, &terms, &columns]),
        };
        let row_stride = layout(&out, &rows).unwrap_or(0);
        let batch_stride = layout(&out, &batch).unwrap_or(0);
        let split = |ls: &Labels| out.iter().take_while(|l| ls.contains(l)).count();
        let one = total(&batch) == 1 && batch.is_empty();
        let row_axes = split(&rows);
        let contract = Contract {
            factors,
            deltas: Vec::new(),
            out: out.clone(),
            coefficient: 1.0,
            sizes: c.sizes.clone(),
        };
        let v = self.push_contract(contract, &operands, elem);
        let product = Product {
            batch: total(&batch),
            m: total(&rows),
            n: total(&columns),
            k: total(&terms),
            a,
            b,
            row_stride: if total(&rows) == 1 {
                total(&columns)
            } else {
                row_stride
            },
            batch_stride: if total(&batch) == 1 { 0 } else { batch_stride },
            row_axes: (one && row_axes == rows.len()).then_some(row_axes),
        };
        self.out.products.insert(v, product);
        (v, out)
    }

    /// An operand traced to memory, with the step of each label.
    fn view(&self, c: &Contract, x: usize, operand: Value) -> Traced {
        let copies = &self.out.copies;
        let (base, offset, steps) = trace(&self.out.f, operand, &|v| copies.contains(v));
        let mut of_label: SmallVec<[(Label, i64); 4]> = SmallVec::new();
        for (&label, &step) in c.factors[x].labels.iter().zip(&steps) {
            match of_label.iter_mut().find(|(l, _)| *l == label) {
                Some((_, s)) => *s += step,
                None => of_label.push((label, step)),
            }
        }
        (base, offset, of_label)
    }

    /// A copy of an operand with its labels in groups.
    fn copy(
        &mut self,
        c: &Contract,
        x: usize,
        operand: Value,
        groups: [&Labels; 3],
        elem: Elem,
    ) -> Operand {
        let out: Labels = groups.iter().flat_map(|g| g.iter().copied()).collect();
        let contract = Contract {
            factors: vec![Factor {
                labels: c.factors[x].labels.clone(),
                power: 1,
            }],
            deltas: Vec::new(),
            out,
            coefficient: 1.0,
            sizes: c.sizes.clone(),
        };
        let v = self.push_contract(contract, &[operand], elem);
        self.out.copies.insert(v);
        self.out.notes.insert(
            v,
            "copied: the product's axes do not merge in memory".to_string(),
        );
        let count = |g: &Labels| -> usize { g.iter().map(|&l| c.sizes[usize::from(l)]).product() };
        Operand {
            value: v,
            offset: 0,
            row_stride: count(groups[2]),
            col_stride: 1,
            batch_stride: if count(groups[0]) == 1 {
                0
            } else {
                count(groups[1]) * count(groups[2])
            },
        }
    }

    /// Results, guards, aliases and checks. Each result gets a value of its own.
    fn ends(&mut self, f: &Function, map: &ValueMap, first_check: i64) {
        rewrite::copy_ends(&mut self.out.f, f, map);
        let mut seen: EntitySet<Value> = EntitySet::new();
        for index in 0..self.out.f.results.len() {
            let v = self.out.f.results[index];
            let of_inst = self.out.f.def_inst(v);
            let has_own =
                of_inst.is_some_and(|inst| !matches!(self.out.f.insts[inst].op, Op::Dense(_)));
            let fresh = seen.insert(v);
            if has_own && fresh {
                continue;
            }
            self.span = of_inst.map_or(Span::NONE, |inst| self.out.f.insts[inst].span);
            let ty = self.out.f.ty(v).clone();
            let copy = self.push(Op::Stop, &[v], ty);
            self.out.copies.insert(copy);
            self.out.notes.insert(
                copy,
                "copied: the result needs memory of its own".to_string(),
            );
            self.out.f.results[index] = copy;
        }
        rewrite::eliminate_dead(&mut self.out.f);
        for at in 0..self.out.f.order.len() {
            let inst = self.out.f.order[at];
            let data = &self.out.f.insts[inst];
            let (fault, size, indices): (Fault, usize, Vec<Value>) = match &data.op {
                Op::Gather { batch, fault } => (
                    *fault,
                    self.out.f.dims(data.operands[0])[*batch],
                    vec![data.operands[1]],
                ),
                Op::ScatterAdd { batch } => (
                    Fault::Index,
                    self.out.f.dims(data.results[0])[*batch],
                    data.operands.chunks_exact(2).map(|pair| pair[0]).collect(),
                ),
                _ => continue,
            };
            if indices.iter().all(|&at| in_range(&self.out.f, at, size)) {
                continue;
            }
            self.out.check_infos.push(CheckInfo {
                span: data.span,
                fault,
                size,
            });
            self.out
                .checks
                .insert(inst, first_check + self.out.check_infos.len() as i64);
        }
        self.out
            .products
            .retain(|v, _| self.out.f.def_inst(*v).is_some());
        let live: std::collections::HashSet<Inst> = self.out.f.order.iter().copied().collect();
        let f = &self.out.f;
        self.out
            .products
            .retain(|v, _| f.def_inst(*v).is_some_and(|inst| live.contains(&inst)));
    }
}

/// Base, offset, and the step of each label.
type Traced = (Value, i64, SmallVec<[(Label, i64); 4]>);

fn step_of(steps: &[(Label, i64)], label: Label) -> i64 {
    steps
        .iter()
        .find(|(l, _)| *l == label)
        .map_or(0, |&(_, step)| step)
}

/// Whether all indices are known to be in range.
fn in_range(f: &Function, index: Value, size: usize) -> bool {
    let (base, _, _) = trace(f, index, &|_| false);
    let Some(inst) = f.def_inst(base) else {
        return false;
    };
    let fits = |i: i64| i >= 0 && (i as u64) < size as u64;
    match &f.insts[inst].op {
        Op::Dense(tensor) => (0..tensor.len()).all(|at| fits(tensor.get_i64(at))),
        Op::Constant(aec_ir::Literal::Int(i)) => fits(*i),
        Op::Iota { axis } => f.dims(base)[*axis] <= size,
        _ => false,
    }
}

/// Deltas with a summed label rename it; those between result labels stay.
fn eliminate_deltas(c: &mut Contract) {
    let mut at = 0;
    while at < c.deltas.len() {
        let (a, b) = c.deltas[at];
        let (gone, kept) = if a == b {
            c.deltas.remove(at);
            continue;
        } else if !c.out.contains(&a) {
            (a, b)
        } else if !c.out.contains(&b) {
            (b, a)
        } else {
            at += 1;
            continue;
        };
        if c.sizes[usize::from(gone)] != c.sizes[usize::from(kept)] {
            at += 1;
            continue;
        }
        c.deltas.remove(at);
        let rename = |l: &mut Label| {
            if *l == gone {
                *l = kept;
            }
        };
        for factor in &mut c.factors {
            factor.labels.iter_mut().for_each(rename);
        }
        for (a, b) in &mut c.deltas {
            rename(a);
            rename(b);
        }
        c.sizes[usize::from(gone)] = 1;
        at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let p = prepare(&f, 0);
        let at = |i: usize| p.products[&p.f.results[i]];
        assert_eq!((at(0).m, at(0).n, at(0).k), (32, 400, 784));
        assert_eq!((at(1).a.row_stride, at(1).a.col_stride), (1, 784));
        assert_eq!((at(1).m, at(1).n, at(1).k), (784, 400, 32));
        assert_eq!((at(2).b.row_stride, at(2).b.col_stride), (1, 400));
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
        let p = prepare(&f, 0);
        // batch (b, h) does not merge in q's memory: copies are needed.
        assert_eq!(p.products.len(), 1);
        let product = p.products.values().next().unwrap();
        assert_eq!(
            (product.batch, product.m, product.n, product.k),
            (12, 16, 16, 8)
        );
        assert_eq!(p.copies.iter().count(), 2);
    }

    #[test]
    fn a_long_sum_has_partial_sums() {
        let mut f = Function::new("f");
        let x = f.param(f32s(&[128, 784]), "x");
        let s = f.sum(x, &[0, 1], Span::NONE);
        f.results = vec![s];
        let p = prepare(&f, 0);
        assert_eq!(p.f.order.len(), 2);
        assert_eq!(p.f.dims(p.f.insts[p.f.order[0]].results[0]), &[128]);
    }
}
