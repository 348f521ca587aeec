//! Untaken branches are made harmless entry by entry.
//!
//! Reverse mode sends a zero cotangent into the branch that was not taken, and `0 * inf` there
//! is NaN (AUTODIFF.md section 9). So the operands of ops with a singular derivative inside a
//! branch are replaced, where the branch is not taken, by a place where all is finite. Values
//! do not change; what is used elsewhere too gets a copy of its own for the branch, which CSE
//! merges again if nothing was replaced, or stays as it is (`reach.rs` says when).

use super::entries::entries_used;
use super::reach::{Arm, Reach};
use crate::range::range;
use crate::term::{Term, all_different};
use aec_ir::rewrite::sort_order;
use aec_ir::{Binary, Comparison, Function, Inst, Label, Labels, Op, Unary, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Branches are followed this far back.
const MAX_DEPTH: usize = 64;

/// What is farther from 0 has a finite logarithm and quotient in f32, too.
const NEAR: f64 = 1e-30;

/// `f` with guarded branches. Selections inside of selections could copy a branch again and
/// again; what is copied is limited to a few times the function's size.
pub fn guard_selects(f: &Function) -> Function {
    let mut f = f.clone();
    for data in f.insts.values_mut() {
        if let Op::Loop(looped) = &mut data.op {
            *looped.body = guard_selects(&looped.body);
        }
    }
    let chooses = |f: &Function, inst: Inst| {
        let data = &f.insts[inst];
        matches!(data.op, Op::Select) && f.ty(data.results[0]).elem.is_float()
    };
    let selects: Vec<Inst> = f
        .order
        .iter()
        .copied()
        .filter(|&inst| chooses(&f, inst))
        .collect();
    if selects.is_empty() {
        return f;
    }
    let mut reach = Reach::of(&f);
    let mut budget = 4 * f.order.len() + 64;
    for select in selects {
        for operand in [1, 2] {
            let mut guard = Guard {
                f: &mut f,
                reach: &mut reach,
                arm: Arm { select, operand },
                seen: HashMap::new(),
                budget,
                depth: 0,
            };
            let data = &guard.f.insts[select];
            let (condition, value) = (data.operands[0], data.operands[operand]);
            let guarded = guard.value(value, condition, operand == 1);
            budget = guard.budget;
            f.insts[select].operands[operand] = guarded;
        }
    }
    sort_order(&mut f);
    crate::rebuild::tidy(f)
}

struct Guard<'a> {
    f: &'a mut Function,
    reach: &'a mut Reach,
    arm: Arm,
    seen: HashMap<(Value, Value, bool), Value>,
    /// How many instructions may still be copied.
    budget: usize,
    depth: usize,
}

impl Guard<'_> {
    /// A value equal to `value` where `condition` is `taken`, finite elsewhere as far as the
    /// ops that make it allow; `condition` has its dims.
    fn value(&mut self, value: Value, condition: Value, taken: bool) -> Value {
        if self.reach.is_always(self.f, value) {
            return value;
        }
        let key = (value, condition, taken);
        if let Some(&guarded) = self.seen.get(&key) {
            return guarded;
        }
        if self.budget == 0 || self.depth == MAX_DEPTH {
            return value;
        }
        self.depth += 1;
        let guarded = self.build(value, condition, taken);
        self.depth -= 1;
        self.seen.insert(key, guarded);
        guarded
    }

    fn build(&mut self, value: Value, condition: Value, taken: bool) -> Value {
        let Some(inst) = self.f.def_inst(value) else {
            return value;
        };
        if !self.f.ty(value).elem.is_float() {
            return value;
        }
        let data = self.f.insts[inst].clone();
        let mut operands = data.operands.clone();
        let mut is_product = false;
        match &data.op {
            Op::Unary(op) => {
                operands[0] = self.value(operands[0], condition, taken);
                if let Some(place) = unary_place(self.f, *op, operands[0]) {
                    operands[0] = self.replace(operands[0], condition, taken, place, data.span);
                }
            }
            Op::Binary(op) => {
                let places = binary_places(self.f, *op, &operands);
                for (operand, place) in operands.iter_mut().zip(places) {
                    *operand = self.value(*operand, condition, taken);
                    if let Some(place) = place {
                        *operand = self.replace(*operand, condition, taken, place, data.span);
                    }
                }
            }
            Op::Select => {
                for operand in &mut operands[1..] {
                    *operand = self.value(*operand, condition, taken);
                }
            }
            Op::Contract(contract) => {
                let term = Term::new(contract, &operands);
                is_product = term.factors.len() > 1 && term.is_summed();
                for (factor, operand) in term.factors.iter().zip(&mut operands) {
                    if let Some(condition) = self.spread(
                        &term,
                        &factor.labels,
                        (condition, taken),
                        *operand,
                        data.span,
                    ) {
                        *operand = self.value(*operand, condition, taken);
                    }
                }
            }
            Op::Convert
            | Op::Reduce { .. }
            | Op::Reshape
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Reverse { .. }
            | Op::Gather { .. }
            | Op::ScatterAdd { .. }
            | Op::Put { .. }
            | Op::CumSum { .. }
            | Op::Slope { .. } => {
                for (nth, operand) in operands.iter_mut().enumerate() {
                    let is_float = self.f.ty(*operand).elem.is_float();
                    if !is_float || !self.has_singular(*operand, 0) {
                        continue;
                    }
                    let used = match taken {
                        true => condition,
                        false => self.f.unary(Unary::Not, condition, data.span),
                    };
                    if let Some(used) = entries_used(self.f, &data, nth, used) {
                        *operand = self.value(*operand, used, true);
                    }
                }
            }
            Op::Constant(_)
            | Op::Dense(_)
            | Op::Iota { .. }
            | Op::Compare(_)
            | Op::ArgReduce { .. }
            | Op::ArgSort
            | Op::Levels { .. }
            | Op::Matrix(_)
            | Op::Draw { .. }
            | Op::Map { .. }
            | Op::Loop(_)
            | Op::Derivative { .. }
            | Op::BatchMean
            | Op::Stop => return value,
        }
        if operands == data.operands {
            return value;
        }
        self.budget = self.budget.saturating_sub(1);
        let ty = self.f.ty(value).clone();
        let mut guarded = self.f.push1(data.op, &operands, ty, data.span);
        if is_product && !self.reach.is_within(self.f, value, self.arm) {
            guarded = self.slope_of(value, guarded, data.span);
            guarded = self.replace(guarded, condition, taken, 0.0, data.span);
        }
        self.reach.insert(guarded, self.arm);
        guarded
    }

    /// The value with the slope of its copy, which so is never computed: what is linearized needs the
    /// copy's operands alone.
    fn slope_of(&mut self, value: Value, copy: Value, span: Span) -> Value {
        let ty = self.f.ty(value).clone();
        let stopped = self.f.push1(Op::Stop, &[value], ty.clone(), span);
        let one = self.f.number(1.0, ty.clone(), span);
        let batch = ty.rank();
        self.f
            .push1(Op::Slope { batch }, &[stopped, copy, one], ty, span)
    }

    fn replace(
        &mut self,
        x: Value,
        condition: Value,
        taken: bool,
        place: f64,
        span: Span,
    ) -> Value {
        if crate::rebuild::splat(self.f, x).is_some() {
            return x;
        }
        let ty = self.f.ty(x).clone();
        let safe = self.f.number(place, ty, span);
        match taken {
            true => self.f.select(condition, x, safe, span),
            false => self.f.select(condition, safe, x, span),
        }
    }

    /// The condition on the result of a contraction, over the axes of one factor. An entry of the
    /// factor that is repeated in the result is wanted if one of its copies is.
    fn spread(
        &mut self,
        term: &Term,
        labels: &Labels,
        (condition, taken): (Value, bool),
        operand: Value,
        span: Span,
    ) -> Option<Value> {
        if !all_different(labels) || !self.has_singular(operand, 0) {
            return None;
        }
        let mut over = Term::identity(self.f, condition);
        // Look through a repeated condition: its own labels may be fewer than the result's.
        if let Some(inner) = Term::of_value(self.f, condition)
            && inner.is_relabel()
            && inner.deltas.is_empty()
        {
            over = inner;
        }
        let place = |l: Label| over.out.iter().position(|&o| o == l);
        let mut carried = Labels::new();
        let mut repeated: SmallVec<[usize; 4]> = SmallVec::new();
        for (axis, &label) in over.factors[0].labels.iter().enumerate() {
            let result_label = term.out[place(label)?];
            match labels.contains(&result_label) {
                true => carried.push(result_label),
                false => repeated.push(axis),
            }
        }
        let mut value = over.factors[0].value;
        if !repeated.is_empty() {
            value = self.any(value, &repeated, taken, span);
        }
        let mut spread = term.clone();
        spread.coefficient = 1.0;
        spread.deltas.clear();
        spread.factors = vec![crate::term::TermFactor {
            value,
            labels: carried,
            power: 1,
        }];
        spread.out = labels.clone();
        // Labels of the other factors are not summed here.
        for label in 0..spread.sizes.len() {
            if !labels.contains(&(label as Label)) {
                spread.sizes[label] = 1;
            }
        }
        Some(spread.emit(self.f, aec_runtime::Elem::Bool, span))
    }

    /// Over the other axes, a condition that is `taken` where it is so anywhere along these.
    fn any(&mut self, condition: Value, axes: &[usize], taken: bool, span: Span) -> Value {
        let not = |f: &mut Function, x: Value| match taken {
            true => x,
            false => f.unary(Unary::Not, x, span),
        };
        let wanted = not(self.f, condition);
        let counted = self.f.convert(wanted, Elem::F32, span);
        let counts = self.f.sum(counted, axes, span);
        let ty = self.f.ty(counts).clone();
        let none = self.f.number(0.0, ty, span);
        let any = self.f.compare(Comparison::Gt, counts, none, span);
        not(self.f, any)
    }

    /// Whether something that this guards is near; keeps conditions from being spread in vain.
    fn has_singular(&self, value: Value, depth: usize) -> bool {
        let Some(inst) = self.f.def_inst(value) else {
            return false;
        };
        let data = &self.f.insts[inst];
        let here = match &data.op {
            Op::Unary(op) => unary_place(self.f, *op, data.operands[0]).is_some(),
            Op::Binary(op) => {
                let places = binary_places(self.f, *op, &data.operands);
                places.iter().any(Option::is_some)
            }
            Op::Select | Op::Contract(_) => false,
            Op::Convert
            | Op::Reduce { .. }
            | Op::Reshape
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Reverse { .. }
            | Op::Gather { .. }
            | Op::ScatterAdd { .. }
            | Op::Put { .. }
            | Op::CumSum { .. }
            | Op::Slope { .. } => false,
            Op::Constant(_)
            | Op::Dense(_)
            | Op::Iota { .. }
            | Op::Compare(_)
            | Op::ArgReduce { .. }
            | Op::ArgSort
            | Op::Levels { .. }
            | Op::Matrix(_)
            | Op::Draw { .. }
            | Op::Map { .. }
            | Op::Loop(_)
            | Op::Derivative { .. }
            | Op::BatchMean
            | Op::Stop => return false,
        };
        here || (depth < 8
            && data
                .operands
                .iter()
                .any(|&operand| self.has_singular(operand, depth + 1)))
    }
}

/// The safe place of an op, unless its operand is surely nowhere near a singular one.
fn unary_place(f: &Function, op: Unary, x: Value) -> Option<f64> {
    let place = op.safe_place()?;
    let harmless = match op {
        Unary::Log | Unary::Sqrt => range(f, x).least > NEAR,
        _ => false,
    };
    (!harmless).then_some(place)
}

/// The same, by operand.
fn binary_places(f: &Function, op: Binary, operands: &[Value]) -> [Option<f64>; 2] {
    let places = op.safe_places();
    let harmless = || {
        let by = range(f, operands[1]);
        by.least > NEAR || by.most < -NEAR
    };
    match op {
        Binary::Div if harmless() => [places[0], None],
        _ => places,
    }
}
