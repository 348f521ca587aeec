//! Prepares a function for planning: picks the contractions that are matrix products (with the
//! strides of their operands), splits large sums into partial sums of fixed shape, gives every
//! result a value of its own, and numbers the run-time checks.

use crate::coords;
use crate::plan::{CheckInfo, Condition, Plan};
use crate::product::{Operand, Product};
use crate::views::{self, trace};
use crate::{small, term_sums, windows_back};
use aec_ir::rewrite::{self, ValueMap};
use aec_ir::{
    Contract, Def, Factor, Fault, Function, Inst, Label, Labels, MatrixOp, Op, Type, Value,
};
use aec_runtime::Elem;
use aec_runtime::gemm::Walk;
use aec_syntax::Span;
use cranelift_entity::{EntityRef, EntitySet};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::ops::Range;

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
    /// Check codes of gathers, scatters and small matrices.
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

/// Up to so many columns of B, the runtime packs rows of A once.
const PACKED_ONCE: usize = 128;
/// Products of fewer multiplications than this are loops.
const SMALL_PRODUCT: usize = 128;

pub(crate) struct Preparer {
    pub(crate) out: Prepared,
    pub(crate) span: Span,
    /// Copies of values with their axes in another order.
    copied: HashMap<(Value, Vec<usize>), Value>,
    /// Params that come in panels where a product wants them.
    panelled: EntitySet<Value>,
    /// Whether a product may take the sum that is being prepared along (`term_sums.rs`).
    pub(crate) takes_along: bool,
}

/// Prepares a function, of which the params `panelled` are matrices that come in panels where a
/// product wants them, and `windows` products of [`windows_back`].
pub(crate) fn prepare(
    f: &Function,
    first_check: i64,
    panelled: Range<usize>,
    windows: &[Value],
) -> Prepared {
    let (into, mut map) = rewrite::copy_params(f);
    let mut p = Preparer {
        out: Prepared {
            f: into,
            ..Prepared::default()
        },
        span: Span::NONE,
        copied: HashMap::default(),
        panelled: EntitySet::new(),
        takes_along: false,
    };
    for &param in &f.params[panelled] {
        p.panelled.insert(map.at(param));
    }
    let pairs = term_sums::summed_by_pairs(f);
    for &inst in &f.order {
        let data = &f.insts[inst];
        p.span = data.span;
        let operands = map.all(&data.operands);
        match &data.op {
            Op::Contract(contract) => {
                let elem = f.ty(data.results[0]).elem;
                p.takes_along = term_sums::may_ride(&pairs, contract, &data.operands);
                let v = p.contract(contract.clone(), operands, elem);
                map.insert(data.results[0], v);
            }
            Op::Reduce { op, axes } => {
                let v = p.reduce(*op, axes, operands[0]);
                map.insert(data.results[0], v);
            }
            Op::Binary(aec_ir::Binary::Add) => {
                let v = match p.as_concat([operands[0], operands[1]]) {
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
    for &window in windows {
        // The product may have another order of its axes, and be scaled afterwards.
        let mut v = map.at(window);
        while !p.out.products.contains_key(&v)
            && let Some(inst) = p.out.f.def_inst(v)
            && let Some(&operand) = p.out.f.insts[inst].operands.first()
        {
            v = operand;
        }
        p.out.notes.insert(v, windows_back::REASON.to_string());
    }
    p.ends(f, &map, first_check);
    let Prepared { f, products, .. } = &mut p.out;
    for product in products.values_mut() {
        let limit = |side: Operand, terms: Walk, others: Walk, count: usize| {
            limit_of(f, side, (terms, product.k), (others, count))
        };
        let one = product.batch == 1;
        product.limit = limit(product.a, product.a.cols, product.a.rows, product.m)
            .or_else(|| limit(product.b, product.b.rows, product.b.cols, product.n))
            .filter(|_| one);
    }
    p.out
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

impl Preparer {
    pub(crate) fn push(&mut self, op: Op, operands: &[Value], ty: Type) -> Value {
        self.out.f.push1(op, operands, ty, self.span)
    }

    /// Values padded with zeros into each other's gaps (gradients of the parts of a split) are one
    /// after the other: the axis and the parts.
    fn as_concat(&self, sum: [Value; 2]) -> Option<(usize, Vec<Value>)> {
        let f = &self.out.f;
        let (mut parts, mut axis) = (Vec::new(), None);
        for v in sum {
            self.padded_parts(v, &mut axis, &mut parts)?;
        }
        let axis = axis?;
        parts.sort_by_key(|&(low, _)| low);
        let mut end = 0;
        for &(low, part) in &parts {
            if low != end {
                return None;
            }
            end += f.dims(part)[axis];
        }
        let whole = end == f.dims(sum[0])[axis];
        whole.then(|| (axis, parts.into_iter().map(|(_, part)| part).collect()))
    }

    /// The parts of a sum that are padded with zeros along one axis, and where they begin.
    fn padded_parts(
        &self,
        v: Value,
        axis: &mut Option<usize>,
        parts: &mut Vec<(usize, Value)>,
    ) -> Option<()> {
        let f = &self.out.f;
        let data = &f.insts[f.def_inst(v)?];
        match &data.op {
            Op::Binary(aec_ir::Binary::Add) => {
                self.padded_parts(data.operands[0], axis, parts)?;
                self.padded_parts(data.operands[1], axis, parts)
            }
            Op::Pad {
                low,
                high,
                interior,
            } => {
                let zero = &f.insts[f.def_inst(data.operands[1])?].op;
                let is_zero = matches!(zero, Op::Constant(aec_ir::Literal::Float(x)) if *x == 0.0)
                    || matches!(zero, Op::Constant(aec_ir::Literal::Int(0)));
                let mut padded = (0..low.len()).filter(|&i| low[i] != 0 || high[i] != 0);
                let at = padded.next()?;
                let same = *axis.get_or_insert(at) == at && padded.next().is_none();
                let plain = is_zero && interior.iter().all(|&i| i == 0);
                (same && plain).then(|| parts.push((low[at], data.operands[0])))
            }
            _ => None,
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
            || (m.min(n) == 1 && m.max(n) >= 16 && k >= 16 && self.by_columns(c, operands));
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
        let layout = |out: &Labels, group: &Labels| -> Option<Walk> {
            let dims: SmallVec<[usize; 4]> = out.iter().map(|&l| size(l)).collect();
            let strides = coords::row_major(&dims);
            Walk::nested(
                out.iter()
                    .zip(&strides)
                    .filter(|(l, _)| group.contains(l))
                    .map(|(&l, &s)| (size(l), s)),
            )
        };
        let uniform = |out: &Labels, group: &Labels| layout(out, group)?.uniform();
        let total = |ls: &Labels| -> usize { ls.iter().map(|&l| size(l)).product() };
        // Which factor gives the rows, and the order of the result's labels.
        let fits = |out: &Labels, columns: &Labels, rows: &Labels| {
            uniform(out, columns) == Some(1)
                && uniform(out, rows).is_some()
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
            by_step.sort_by_key(|l| {
                let outermost = view.axes_of(*l).and_then(|axes| axes.first());
                std::cmp::Reverse(outermost.map_or(0, |&(_, step)| step))
            });
            if !orders.contains(&by_step) {
                orders.push(by_step);
            }
        }
        let across = total(&columns);
        let made = [0, 1].map(|nth| self.made_by_kernel(views[nth].base));
        let matrix = |view: &View, rows: &Labels, columns: &Labels| -> Option<Operand> {
            let operand = Operand {
                value: view.base,
                offset: usize::try_from(view.offset).ok()?,
                rows: view.walk(rows)?,
                cols: view.walk(columns)?,
                batch: if batch.iter().all(|&l| size(l) == 1) {
                    Walk::step(0)
                } else {
                    view.walk(&batch)?
                },
            };
            // What is packed entry by entry should be so once: B is, A if it meets few columns.
            let is_b = std::ptr::eq(view, &views[1]);
            let once = is_b || across <= PACKED_ONCE;
            let runs = operand.rows.run(total(rows)) > 1 || operand.cols.run(total(columns)) > 1;
            let entries = total(rows) * total(columns) * total(&batch);
            let free = made[usize::from(is_b)].is_some_and(|made| entries <= made);
            let packed = (runs || once) && !free;
            (operand.is_plain() || packed).then_some(operand)
        };
        let score = |order: &Labels| {
            let of =
                |operand: Option<Operand>| operand.map_or(0, |o| 2 + usize::from(o.is_plain()));
            of(matrix(&views[0], &rows, order)) + of(matrix(&views[1], order, &columns))
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
        let mut copied = |p: &mut Preparer, view: &View, x: usize, groups: [&Labels; 3]| {
            // Rows stay adjacent if they are.
            let adjacent = |l: &&Label| {
                size(**l) > 1
                    && matches!(view.axes_of(**l).and_then(|axes| axes.last()), Some((_, 1)))
            };
            let by_columns = groups[1].iter().any(|l| adjacent(&l));
            let (operand, labels) = p.copy(c, x, operands[x], groups, by_columns, elem);
            operands[x] = operand.value;
            factors[x].labels = labels;
            operand
        };
        let a = match matrix(&views[0], &rows, &terms) {
            Some(a) => a,
            None => copied(self, &views[0], left, [&batch, &rows, &terms]),
        };
        let b = match matrix(&views[1], &terms, &columns) {
            Some(b) => b,
            None => copied(self, &views[1], right, [&batch, &terms, &columns]),
        };
        let row_stride = uniform(&out, &rows).unwrap_or(0);
        let batch_walk = layout(&out, &batch).unwrap_or(Walk::step(0));
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
            batch_walk: if total(&batch) == 1 {
                Walk::step(0)
            } else {
                batch_walk
            },
            row_axes: (one && row_axes == rows.len()).then_some(row_axes),
            limit: None,
            sums: [None; 2],
            first: None,
        };
        self.out.products.insert(v, product);
        (v, out)
    }

    /// How many entries a value has, if the kernel that computes it can as well store it in
    /// another order.
    fn made_by_kernel(&self, v: Value) -> Option<usize> {
        let f = &self.out.f;
        let by_kernel = match &f.insts[f.def_inst(v)?].op {
            Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select | Op::Convert => true,
            Op::Concat { .. } | Op::Draw { .. } | Op::Reduce { .. } => true,
            Op::Contract(_) => !self.out.products.contains_key(&v),
            _ => false,
        };
        by_kernel.then(|| f.ty(v).len())
    }

    /// An operand traced to memory, with the axes of each label.
    fn view(&self, c: &Contract, x: usize, operand: Value) -> View {
        let copies = &self.out.copies;
        let traced = trace(&self.out.f, operand, &|v| copies.contains(v));
        let mut of_label: Vec<(Label, Option<views::Axes>)> = Vec::new();
        for (&label, axes) in c.factors[x].labels.iter().zip(traced.axes) {
            match of_label.iter_mut().find(|(l, _)| *l == label) {
                Some((_, known)) => *known = known.take().and_then(|known| diagonal(&known, &axes)),
                None => of_label.push((label, Some(axes))),
            }
        }
        View {
            base: traced.base,
            offset: traced.offset,
            of_label,
        }
    }

    /// A copy of an operand with its labels in groups (batch, rows, columns), and their order. The
    /// same copy serves other products.
    fn copy(
        &mut self,
        c: &Contract,
        x: usize,
        operand: Value,
        groups: [&Labels; 3],
        by_columns: bool,
        elem: Elem,
    ) -> (Operand, Labels) {
        let [batch, rows, columns] = groups;
        let order = if by_columns {
            [batch, columns, rows]
        } else {
            groups
        };
        let out: Labels = order.iter().flat_map(|g| g.iter().copied()).collect();
        let labels = &c.factors[x].labels;
        let places: Vec<usize> = out
            .iter()
            .filter_map(|label| labels.iter().position(|l| l == label))
            .collect();
        // Of an operand with a label twice, the diagonal is copied.
        let known = (places.len() == labels.len()).then_some((operand, places));
        let made = known.as_ref().and_then(|key| self.copied.get(key)).copied();
        let v = made.unwrap_or_else(|| {
            let contract = Contract {
                factors: vec![Factor {
                    labels: labels.clone(),
                    power: 1,
                }],
                deltas: Vec::new(),
                out: out.clone(),
                coefficient: 1.0,
                sizes: c.sizes.clone(),
            };
            self.push_contract(contract, &[operand], elem)
        });
        if let Some(key) = known {
            self.copied.insert(key, v);
        }
        self.out.copies.insert(v);
        self.out.notes.insert(
            v,
            "copied: the product's axes do not merge in memory".to_string(),
        );
        let count = |g: &Labels| -> usize { g.iter().map(|&l| c.sizes[usize::from(l)]).product() };
        let (row, column) = if by_columns {
            (1, count(rows))
        } else {
            (count(columns), 1)
        };
        let apart = count(rows) * count(columns);
        let operand = Operand {
            value: v,
            offset: 0,
            rows: Walk::step(row),
            cols: Walk::step(column),
            batch: Walk::step(if count(batch) == 1 { 0 } else { apart }),
        };
        (operand, out)
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
            if let Op::Matrix(op) = data.op
                && small::is_written(&self.out.f, inst)
                && op != MatrixOp::LogDet
            {
                let shape = small::shape_of(&self.out.f, inst);
                self.out.check_infos.push(CheckInfo {
                    span: data.span,
                    condition: Condition::Matrix {
                        op,
                        batch: shape.batch,
                        size: shape.cols,
                    },
                });
                let code = first_check + self.out.check_infos.len() as i64;
                self.out.checks.insert(inst, code);
                continue;
            }
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
            // No index is out of range where there is none, of an empty axis too.
            let fits = |at: Value| self.out.f.ty(at).is_empty() || in_range(&self.out.f, at, size);
            if indices.iter().all(|&at| fits(at)) {
                continue;
            }
            self.out.check_infos.push(CheckInfo {
                span: data.span,
                condition: Condition::Index { fault, size },
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

/// An operand of a contraction traced to memory.
struct View {
    base: Value,
    offset: i64,
    /// The axes of memory that each label counts through, if it counts through any.
    of_label: Vec<(Label, Option<views::Axes>)>,
}

impl View {
    /// Empty for a label of the other operand.
    fn axes_of(&self, label: Label) -> Option<&[(usize, i64)]> {
        match self.of_label.iter().find(|(l, _)| *l == label) {
            Some((_, axes)) => axes.as_deref(),
            None => Some(&[]),
        }
    }

    /// The axes of labels as one axis.
    fn walk(&self, labels: &Labels) -> Option<Walk> {
        let axes: Option<Vec<&[(usize, i64)]>> = labels.iter().map(|&l| self.axes_of(l)).collect();
        Walk::nested(axes?.into_iter().flatten().copied())
    }
}

/// The axes of a label that stands twice: it steps along both, which must be cut alike.
fn diagonal(a: &views::Axes, b: &views::Axes) -> Option<views::Axes> {
    let cut = |x: &views::Axes, to: &views::Axes| -> views::Axes {
        let [(_, step)] = x.as_slice() else {
            return x.clone();
        };
        let mut inner = 1;
        let mut out: views::Axes = to
            .iter()
            .rev()
            .map(|&(count, _)| {
                let axis = (count, step * inner);
                inner *= count as i64;
                axis
            })
            .collect();
        out.reverse();
        out
    };
    let (a, b) = (cut(a, b), cut(b, a));
    let alike = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0);
    alike.then(|| {
        let pairs = a.iter().zip(&b);
        pairs.map(|(&(count, x), &(_, y))| (count, x + y)).collect()
    })
}

/// Whether all indices are known to be in range.
fn in_range(f: &Function, index: Value, size: usize) -> bool {
    if let Some(at) = views::affine(f, index) {
        return views::in_range(&at, f.dims(index), size);
    }
    let base = trace(f, index, &|_| false).base;
    let Some(inst) = f.def_inst(base) else {
        return false;
    };
    let fits = |i: i64| i >= 0 && (i as u64) < size as u64;
    match &f.insts[inst].op {
        Op::Dense(tensor) => (0..tensor.len()).all(|at| fits(tensor.get_i64(at))),
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

    #[test]
    fn a_long_sum_has_partial_sums() {
        let mut f = Function::new("f");
        let x = f.param(f32s(&[128, 784]), "x");
        let s = f.sum(x, &[0, 1], Span::NONE);
        f.results = vec![s];
        let p = prepare(&f, 0, 0..0, &[]);
        assert_eq!(p.f.order.len(), 2);
        assert_eq!(p.f.dims(p.f.insts[p.f.order[0]].results[0]), &[128]);
    }
}
