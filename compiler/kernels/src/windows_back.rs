//! The way back through the windows of a convolution, as a product over windows.
//!
//! What a convolution sends back to its input is a product of what came in with the kernel, which gives
//! each window's entries, and scattered additions that put the windows onto one another. Where windows
//! begin at each place (stride 1) the same sum is a product of windows of what came in, with a margin
//! of zeros, and the kernel turned around: `Σ_{i+p=h} y[i] k[p] = Σ_q z[h+q] k[P-1-q]`, z being y behind
//! P-1 zeros. So the windows' entries, P² times the input, are never in memory.

use crate::views::affine;
use aec_ir::rewrite::{self, ValueMap};
use aec_ir::{Contract, Factor, Fault, Function, Label, Literal, Op, Type, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::{EntitySet, SecondaryMap};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;

/// Fewer columns than this do not fill a tile: the sums stay as they are.
const LEAST_COLUMNS: usize = 4;
/// Entries of windows below which nothing is gained.
const LEAST_ENTRIES: usize = 1 << 12;
/// The most multiplications for one of the product before: a margin costs some.
const MOST_WORK: f64 = 1.6;

/// An axis of an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Axis {
    /// As it is.
    Plain(Label),
    /// From the last to the first.
    Reversed(Label),
    /// Windows: entry `place + step * within - low`, 0 outside of the axis.
    Windows {
        place: Label,
        within: Label,
        step: usize,
        low: usize,
        entries: usize,
    },
}

/// A value as a product of two others, summed over the labels that are not its own.
#[derive(Clone, Debug)]
struct Form {
    coefficient: f64,
    operands: [(Value, Vec<Axis>); 2],
    /// The label of each axis.
    out: Vec<Label>,
    sizes: Vec<usize>,
    /// Multiplications of the product that it was.
    before: f64,
    /// Whether something was added up on the way.
    joined: bool,
    /// What it is made through.
    through: Vec<Value>,
}

impl Form {
    fn of(f: &Function, uses: &SecondaryMap<Value, u32>, v: Value) -> Option<Form> {
        let data = &f.insts[f.def_inst(v)?];
        let inner = |nth: usize| {
            let operand = *data.operands.get(nth)?;
            let mut form = (uses[operand] == 1).then(|| Form::of(f, uses, operand))??;
            form.through.push(operand);
            Some(form)
        };
        match &data.op {
            Op::Contract(contract) if contract.factors.len() == 2 => {
                Form::product(f, contract, &data.operands, v)
            }
            Op::Contract(contract) => inner(0)?.seen(contract),
            Op::Reshape => inner(0)?.divided(f.dims(v)),
            Op::Slice {
                start,
                limit,
                stride,
            } => {
                let mut form = inner(0)?;
                for axis in 0..form.out.len() {
                    form.cut(axis, start[axis], limit[axis], stride[axis])?;
                }
                Some(form)
            }
            Op::ScatterAdd { batch } => {
                let [index, _] = data.operands[..] else {
                    return None;
                };
                inner(1)?.put_together(f, index, *batch, f.dims(v)[*batch])
            }
            _ => None,
        }
    }

    fn product(f: &Function, c: &Contract, operands: &[Value], v: Value) -> Option<Form> {
        let has = |label: &Label| c.factors.iter().any(|x| x.labels.contains(label));
        let plain = c.factors.iter().all(is_plain)
            && c.deltas.is_empty()
            && (0..c.sizes.len()).all(|l| has(&(l as Label)))
            && f.ty(v).elem.is_float();
        let operand = |nth: usize| {
            let labels = c.factors[nth].labels.iter();
            (operands[nth], labels.map(|&l| Axis::Plain(l)).collect())
        };
        plain.then(|| Form {
            coefficient: c.coefficient,
            operands: [operand(0), operand(1)],
            out: c.out.to_vec(),
            sizes: c.sizes.clone(),
            before: c.sizes.iter().map(|&size| size as f64).product(),
            joined: false,
            through: Vec::new(),
        })
    }

    /// Its axes in another order, scaled.
    fn seen(mut self, c: &Contract) -> Option<Form> {
        let [factor] = c.factors.as_slice() else {
            return None;
        };
        let single = |label: &Label| c.sizes[usize::from(*label)] == 1;
        // Nothing is summed, nor counted by a label that no axis has.
        let goes_on = |label: Label| c.out.contains(&label) || single(&label);
        let all = (0..c.sizes.len()).all(|label| goes_on(label as Label));
        if !is_plain(factor) || !c.deltas.is_empty() || !all {
            return None;
        }
        let before = self.out.clone();
        let mut out = Vec::with_capacity(c.out.len());
        for label in &c.out {
            match factor.labels.iter().position(|l| l == label) {
                Some(axis) => out.push(before[axis]),
                None if single(label) => out.push(self.fresh(1)?),
                None => return None,
            }
        }
        self.out = out;
        self.coefficient *= c.coefficient;
        Some(self)
    }

    /// Its axes divided so that it has these dims.
    fn divided(mut self, dims: &[usize]) -> Option<Form> {
        let mut rest = dims.iter().copied().peekable();
        let mut out = Vec::new();
        let labels = std::mem::take(&mut self.out);
        for (at, &label) in labels.iter().enumerate() {
            let size = self.sizes[usize::from(label)];
            let mut parts: SmallVec<[usize; 4]> = SmallVec::from_slice(&[rest.next()?]);
            while parts.iter().product::<usize>() < size {
                parts.push(rest.next()?);
            }
            // Axes of one entry belong to the axis before them.
            while rest.peek() == Some(&1) && rest.len() >= labels.len() - at {
                parts.extend(rest.next());
            }
            if parts.iter().product::<usize>() != size {
                return None;
            }
            match parts.len() {
                1 => out.push(label),
                _ => out.extend(self.divide(label, &parts)?),
            }
        }
        self.out = out;
        rest.next().is_none().then_some(self)
    }

    fn divide(&mut self, label: Label, parts: &[usize]) -> Option<Vec<Label>> {
        let fresh: Option<Vec<Label>> = parts.iter().map(|&part| self.fresh(part)).collect();
        let fresh = fresh?;
        for (_, axes) in &mut self.operands {
            if let Some(at) = axes.iter().position(|axis| axis.has(label)) {
                if axes[at] != Axis::Plain(label) {
                    return None;
                }
                axes.splice(at..=at, fresh.iter().map(|&l| Axis::Plain(l)));
            }
        }
        Some(fresh)
    }

    fn fresh(&mut self, size: usize) -> Option<Label> {
        let label = Label::try_from(self.sizes.len()).ok()?;
        self.sizes.push(size);
        Some(label)
    }

    /// Entries `start..limit` of an axis.
    fn cut(&mut self, axis: usize, start: usize, limit: usize, stride: usize) -> Option<()> {
        let label = self.out[axis];
        if (start, limit, stride) == (0, self.sizes[usize::from(label)], 1) {
            return Some(());
        }
        let mut axes = self.operands.iter_mut().flat_map(|(_, axes)| axes);
        let low = axes.find_map(|axis| match axis {
            Axis::Windows { place, low, .. } if *place == label => Some(low),
            _ => None,
        })?;
        *low = (stride == 1).then(|| low.checked_sub(start))??;
        self.sizes[usize::from(label)] = limit - start;
        Some(())
    }

    /// Additions at `i + step * p` of an axis of `size` entries, as windows.
    fn put_together(
        mut self,
        f: &Function,
        index: Value,
        batch: usize,
        size: usize,
    ) -> Option<Form> {
        let at = affine(f, index)?;
        let axis = batch as u32;
        let known = at
            .terms
            .iter()
            .all(|&(term, _)| term == axis || term == axis + 1);
        let rank = f.dims(index).len() - batch;
        if !known || at.base != 0 || rank == 0 {
            return None;
        }
        self.joined = true;
        // Of an axis of one entry there is no step.
        let step_of = |axis, entries| match entries {
            0 => 0,
            1 => 1,
            _ => at.coefficient(axis),
        };
        let i = self.out[batch];
        let entries = self.sizes[usize::from(i)];
        if step_of(axis, entries) != 1 {
            return None;
        }
        let p = self.out[batch + rank - 1];
        let count = self.sizes[usize::from(p)];
        if rank == 1 || rank == 2 && count == 1 {
            // Each entry has a place, its own.
            self.out.drain(batch + 1..batch + rank);
            return (entries == size).then_some(self);
        }
        let step = step_of(axis + 1, count);
        if rank != 2 || step < 1 {
            return None;
        }
        let reach = (count - 1) * step as usize;
        if entries + reach > size {
            return None;
        }
        let place = self.fresh(size)?;
        let only = |axes: &[Axis], label| axes.contains(&Axis::Plain(label));
        let [(_, a), (_, b)] = &mut self.operands;
        let (from, by) = match (only(a, i), only(b, i)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            _ => return None,
        };
        if !only(by, p) || from.iter().any(|axis| axis.has(p)) {
            return None;
        }
        for axis in from.iter_mut().filter(|axis| **axis == Axis::Plain(i)) {
            *axis = Axis::Windows {
                place,
                within: p,
                step: step as usize,
                low: reach,
                entries,
            };
        }
        for axis in by.iter_mut().filter(|axis| **axis == Axis::Plain(p)) {
            *axis = Axis::Reversed(p);
        }
        self.out.splice(batch..batch + 2, [place]);
        Some(self)
    }

    /// Whether it has windows, enough columns, and no more work than it is worth.
    fn pays(&self) -> bool {
        let has = |nth: usize, label: Label| self.operands[nth].1.iter().any(|x| x.has(label));
        let windows = |nth: usize| {
            let mut axes = self.operands[nth].1.iter();
            axes.any(|axis| matches!(axis, Axis::Windows { .. }))
        };
        let (from, by) = match (windows(0), windows(1)) {
            (true, false) => (0, 1),
            (false, true) => (1, 0),
            (false, false) => return self.joined,
            (true, true) => return false,
        };
        let size = |label: Label| self.sizes[usize::from(label)];
        let own = self.out.iter().filter(|&&l| has(by, l) && !has(from, l));
        let columns: usize = own.map(|&l| size(l)).product();
        let summed = (0..self.sizes.len() as Label)
            .filter(|&l| !self.out.contains(&l) && (has(from, l) || has(by, l)));
        let all = self.out.iter().copied().chain(summed);
        let work: f64 = all.map(|l| size(l) as f64).product();
        columns >= LEAST_COLUMNS
            && self.before >= LEAST_ENTRIES as f64
            && work <= MOST_WORK * self.before
    }

    /// Computes it in another function.
    fn emit(&self, into: &mut Function, map: &ValueMap, span: Span) -> Value {
        let size = |label: Label| self.sizes[usize::from(label)];
        let [a, b] = [0, 1].map(|nth| {
            let (value, axes) = &self.operands[nth];
            let mut x = map.at(*value);
            let dims: Vec<usize> = axes
                .iter()
                .map(|axis| match *axis {
                    Axis::Plain(label) | Axis::Reversed(label) => size(label),
                    Axis::Windows { entries, .. } => entries,
                })
                .collect();
            x = into.reshape(x, &dims, span);
            let reversed = (0..axes.len()).filter(|&at| matches!(axes[at], Axis::Reversed(_)));
            let reversed: SmallVec<[usize; 4]> = reversed.collect();
            if !reversed.is_empty() {
                let ty = into.ty(x).clone();
                x = into.push1(Op::Reverse { axes: reversed }, &[x], ty, span);
            }
            x = self.margin(into, x, axes, span);
            self.windows(into, x, axes, span)
        });
        let factors = [(a.0, a.1.as_slice()), (b.0, b.1.as_slice())];
        into.contract(&factors, &self.out, &[], self.coefficient, span)
    }

    /// An operand with zeros around, as far as its windows reach.
    fn margin(&self, into: &mut Function, x: Value, axes: &[Axis], span: Span) -> Value {
        let mut low = vec![0; axes.len()];
        let mut high = vec![0; axes.len()];
        for (at, axis) in axes.iter().enumerate() {
            if let Axis::Windows { low: before, .. } = axis {
                low[at] = *before;
                high[at] = self.reach(axis).saturating_sub(before + into.dims(x)[at]);
            }
        }
        if low.iter().chain(&high).all(|&zeros| zeros == 0) {
            return x;
        }
        let elem = into.ty(x).elem;
        let zero = into.constant(Literal::Float(0.0), Type::scalar(elem), span);
        let dims: Vec<usize> = (0..axes.len())
            .map(|at| low[at] + into.dims(x)[at] + high[at])
            .collect();
        let interior = vec![0; axes.len()];
        let op = Op::Pad {
            low,
            high,
            interior,
        };
        into.push1(op, &[x, zero], Type::new(elem, &dims), span)
    }

    /// Entries that windows reach over, the margin before them included.
    fn reach(&self, axis: &Axis) -> usize {
        match *axis {
            Axis::Plain(_) | Axis::Reversed(_) => 0,
            Axis::Windows {
                place,
                within,
                step,
                ..
            } => {
                let [places, count] = [place, within].map(|l| self.sizes[usize::from(l)]);
                places + (count - 1) * step
            }
        }
    }

    /// An operand with its windows as axes, and the labels of its axes.
    fn windows(
        &self,
        into: &mut Function,
        mut x: Value,
        axes: &[Axis],
        span: Span,
    ) -> (Value, Vec<Label>) {
        // Labels that no axis of the form has stand for axes that are still whole.
        let whole = |at: usize| (self.sizes.len() + at) as Label;
        let mut labels: Vec<Label> = axes
            .iter()
            .enumerate()
            .map(|(at, axis)| match *axis {
                Axis::Plain(label) | Axis::Reversed(label) => label,
                Axis::Windows { .. } => whole(at),
            })
            .collect();
        for (at, axis) in axes.iter().enumerate() {
            let Axis::Windows {
                place,
                within,
                step,
                ..
            } = *axis
            else {
                continue;
            };
            let mut order = vec![whole(at)];
            order.extend(labels.iter().filter(|&&l| l != whole(at)));
            x = into.contract(&[(x, &labels)], &order, &[], 1.0, span);
            let counts = [place, within].map(|l| self.sizes[usize::from(l)]);
            let ty = Type::new(Elem::I64, &counts);
            let first = into.push1(Op::Iota { axis: 0 }, &[], ty.clone(), span);
            let next = into.push1(Op::Iota { axis: 1 }, &[], ty, span);
            let next = into.scale(next, step as f64, span);
            let index = into.binary(aec_ir::Binary::Add, first, next, span);
            let dims: Vec<usize> = counts.iter().chain(&into.dims(x)[1..]).copied().collect();
            let ty = into.ty(x).with_dims(&dims);
            let op = Op::Gather {
                batch: 0,
                fault: Fault::Index,
            };
            x = into.push1(op, &[x, index], ty, span);
            order.splice(0..1, [place, within]);
            labels = order;
        }
        (x, labels)
    }
}

/// Whether a factor counts once and takes no diagonal.
fn is_plain(factor: &Factor) -> bool {
    let labels = &factor.labels;
    let twice = (1..labels.len()).any(|at| labels[..at].contains(&labels[at]));
    factor.power == 1 && !twice
}

impl Axis {
    fn has(&self, label: Label) -> bool {
        match *self {
            Axis::Plain(own) | Axis::Reversed(own) => own == label,
            Axis::Windows { place, within, .. } => place == label || within == label,
        }
    }
}

/// Why such a product is there.
pub(crate) const REASON: &str =
    "windows put onto one another are a product over windows of what came in";

/// The function with such sums as products, if there are any, and the products.
pub(crate) fn as_products(f: &Function) -> Option<(Function, Vec<Value>)> {
    let scatters = |inst: &aec_ir::Inst| matches!(f.insts[*inst].op, Op::ScatterAdd { .. });
    if !f.order.iter().any(scatters) {
        return None;
    }
    let uses = rewrite::count_uses(f);
    let mut forms: HashMap<Value, Form> = HashMap::default();
    let mut within: EntitySet<Value> = EntitySet::new();
    for inst in f.order.iter().rev() {
        let &[v] = f.insts[*inst].results.as_slice() else {
            continue;
        };
        if within.contains(v) {
            continue;
        }
        if let Some(form) = Form::of(f, &uses, v).filter(Form::pays) {
            for &inner in &form.through {
                within.insert(inner);
            }
            forms.insert(v, form);
        }
    }
    if forms.is_empty() {
        return None;
    }
    let (mut into, mut map) = rewrite::copy_params(f);
    let mut products = Vec::with_capacity(forms.len());
    for &inst in &f.order {
        let data = &f.insts[inst];
        match data.results.first().and_then(|v| forms.get(v)) {
            Some(form) => {
                let x = form.emit(&mut into, &map, data.span);
                map.insert(data.results[0], x);
                products.push(x);
            }
            None => {
                rewrite::copy_inst(&mut into, f, inst, &mut map);
            }
        }
    }
    rewrite::copy_ends(&mut into, f, &map);
    rewrite::eliminate_dead(&mut into);
    Some((into, products))
}
