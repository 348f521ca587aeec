//! Untaken branches of selections are made harmless before they are differentiated.
//!
//! Reverse mode sends a zero cotangent into the branch that was not taken, and `0 * inf` there
//! is NaN (AUTODIFF.md section 9). So the operands of ops with a singular derivative inside a
//! branch are replaced, where the branch is not taken, by a place where all is finite. Values
//! do not change; shared values get a copy of their own for the branch, which CSE merges again
//! if nothing was replaced.

use crate::term::{Term, all_different};
use crate::used::entries_used;
use aec_ir::rewrite::{copy_ends, copy_inst, copy_params};
use aec_ir::{Comparison, Function, Label, Labels, Op, Unary, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Branches are followed this far back.
const MAX_DEPTH: usize = 64;

/// `f` with guarded branches. Selections inside of selections could copy a branch again and
/// again; what is copied is limited to a few times the function's size.
pub fn guard_selects(f: &Function) -> Function {
    let mut guarded = f.clone();
    for data in guarded.insts.values_mut() {
        if let Op::Loop(looped) = &mut data.op {
            *looped.body = guard_selects(&looped.body);
        }
    }
    let f = &guarded;
    let has_select = f.order.iter().any(|&inst| {
        let data = &f.insts[inst];
        matches!(data.op, Op::Select) && f.ty(data.results[0]).elem.is_float()
    });
    if !has_select {
        return f.clone();
    }
    let (mut out, mut map) = copy_params(f);
    let mut budget = 4 * f.order.len() + 64;
    for &inst in &f.order {
        let data = &f.insts[inst];
        if matches!(data.op, Op::Select) && f.ty(data.results[0]).elem.is_float() {
            let operands = map.all(&data.operands);
            let condition = operands[0];
            let mut guard = Guard {
                f: &mut out,
                seen: HashMap::new(),
                budget,
                depth: 0,
            };
            let a = guard.value(operands[1], condition, true);
            let b = guard.value(operands[2], condition, false);
            budget = guard.budget;
            let value = out.select(condition, a, b, data.span);
            map.insert(data.results[0], value);
        } else {
            copy_inst(&mut out, f, inst, &mut map);
        }
    }
    copy_ends(&mut out, f, &map);
    crate::rebuild::tidy(out)
}

struct Guard<'a> {
    f: &'a mut Function,
    seen: HashMap<(Value, Value, bool), Value>,
    /// How many instructions may still be copied.
    budget: usize,
    depth: usize,
}

impl Guard<'_> {
    /// A value equal to `value` where `condition` is `taken`, finite elsewhere as far as the
    /// ops that make it allow; `condition` has its dims.
    fn value(&mut self, value: Value, condition: Value, taken: bool) -> Value {
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
        match &data.op {
            Op::Unary(op) => {
                operands[0] = self.value(operands[0], condition, taken);
                if let Some(place) = op.safe_place() {
                    operands[0] = self.replace(operands[0], condition, taken, place, data.span);
                }
            }
            Op::Binary(op) => {
                let places = op.safe_places();
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
        self.f.push1(data.op, &operands, ty, data.span)
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
            Op::Unary(op) => op.safe_place().is_some(),
            Op::Binary(op) => op.safe_places().iter().any(Option::is_some),
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
