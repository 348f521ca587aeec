//! Branches with loops are made harmless before they are differentiated, on a condition that is
//! one bool: what `selects.rs` does entry by entry, for the round of a loop as a whole.
//!
//! It runs before maps are batched, where the condition of an example is one bool. What only a
//! branch uses is computed at places where all is finite if the branch is not taken; regions are
//! told by one more operand.

use crate::wanted::{scalar_of, tell_region};
use aec_ir::rewrite::{for_each_function, sort_order};
use aec_ir::{Function, Inst, Op, Value};
use aec_runtime::Elem;
use cranelift_entity::{EntitySet, SecondaryMap};
use smallvec::SmallVec;
use std::collections::HashMap;

/// `f` with guarded branches.
pub fn guard_loops(f: &Function) -> Function {
    let mut f = f.clone();
    for data in f.insts.values_mut() {
        if let Some(body) = data.op.body_mut() {
            *body = guard_loops(body);
        }
    }
    let selects: Vec<(Inst, Value)> = (f.order.iter())
        .filter_map(|&inst| {
            let data = &f.insts[inst];
            let chooses = matches!(data.op, Op::Select) && is_float(&f, data.results[0]);
            let condition = chooses.then(|| scalar_of(&f, data.operands[0]))??;
            Some((inst, condition))
        })
        .collect();
    let has_loop = f.order.iter().any(|&inst| is_singular_loop(&f, inst));
    if selects.is_empty() || !has_loop {
        return f;
    }
    for (select, condition) in selects {
        for arm in [1, 2] {
            let only = only_in(&f, select, arm);
            if !only.iter().any(|inst| is_singular_loop(&f, inst)) {
                continue;
            }
            let mut branch = Branch {
                f: &mut f,
                only,
                condition,
                taken: arm == 1,
                done: HashMap::new(),
            };
            let operand = branch.f.insts[select].operands[arm];
            let guarded = branch.value(operand);
            f.insts[select].operands[arm] = guarded;
        }
    }
    sort_order(&mut f);
    crate::rebuild::tidy(f)
}

fn is_float(f: &Function, value: Value) -> bool {
    f.ty(value).elem.is_float()
}

/// Where the operands of an op may not be whatever they are; by operand.
fn safe_places(op: &Op) -> [Option<f64>; 2] {
    match op {
        Op::Unary(op) => [op.safe_place(), None],
        Op::Binary(op) => op.safe_places(),
        _ => [None, None],
    }
}

/// Whether it is a loop with an op in it whose derivative is not finite everywhere.
fn is_singular_loop(f: &Function, inst: Inst) -> bool {
    let Op::Loop(looped) = &f.insts[inst].op else {
        return false;
    };
    is_singular(&looped.body)
}

fn is_singular(body: &Function) -> bool {
    let mut found = false;
    for_each_function(body, &mut |f| {
        found |= f.order.iter().any(|&inst| {
            let data = &f.insts[inst];
            let places = safe_places(&data.op);
            places.iter().any(Option::is_some) && is_float(f, data.results[0])
        });
    });
    found
}

/// The instructions whose results flow into operand `arm` of a selection, and as numbers nowhere
/// else: their slopes count in no other place. (Where they go into comparisons there are none.)
fn only_in(f: &Function, select: Inst, arm: usize) -> EntitySet<Inst> {
    let mut users: SecondaryMap<Value, SmallVec<[(Inst, usize); 4]>> = SecondaryMap::new();
    for &inst in &f.order {
        for (at, &operand) in f.insts[inst].operands.iter().enumerate() {
            users[operand].push((inst, at));
        }
    }
    let mut ends: EntitySet<Value> = EntitySet::new();
    let guards = f.guards.iter().map(|guard| guard.value);
    for end in f.results.iter().copied().chain(guards) {
        ends.insert(end);
    }
    let mut only: EntitySet<Inst> = EntitySet::new();
    for &inst in f.order.iter().rev() {
        let data = &f.insts[inst];
        let mut flows = false;
        let mut elsewhere = data.results.iter().any(|&result| ends.contains(result));
        for &(user, at) in data.results.iter().flat_map(|&result| &users[result]) {
            let user_data = &f.insts[user];
            if !user_data.results.iter().any(|&result| is_float(f, result)) {
                continue;
            }
            let here = (user == select && at == arm) || only.contains(user);
            flows |= here;
            elsewhere |= !here;
        }
        if flows && !elsewhere {
            only.insert(inst);
        }
    }
    only
}

struct Branch<'a> {
    f: &'a mut Function,
    /// What only this branch uses.
    only: EntitySet<Inst>,
    /// One bool, and what it is where the branch is taken.
    condition: Value,
    taken: bool,
    done: HashMap<Inst, SmallVec<[Value; 2]>>,
}

impl Branch<'_> {
    /// A value equal to this one where the branch is taken.
    fn value(&mut self, value: Value) -> Value {
        let Some(inst) = self.f.def_inst(value) else {
            return value;
        };
        if !self.only.contains(inst) || !is_float(self.f, value) {
            return value;
        }
        let old = self.f.insts[inst].results.clone();
        if !self.done.contains_key(&inst) {
            let results = self.inst(inst);
            self.done.insert(inst, results);
        }
        let at = old.iter().position(|&result| result == value);
        at.map_or(value, |at| self.done[&inst][at])
    }

    fn inst(&mut self, inst: Inst) -> SmallVec<[Value; 2]> {
        let mut data = self.f.insts[inst].clone();
        let results: SmallVec<[Value; 2]> = data.results.iter().copied().collect();
        if matches!(data.op, Op::Stop) {
            return results;
        }
        let places = safe_places(&data.op);
        for at in 0..data.operands.len() {
            let mut operand = self.value(data.operands[at]);
            if let Some(&Some(place)) = places.get(at)
                && crate::rebuild::splat(self.f, operand).is_none()
            {
                operand = self.replace(operand, place, data.span);
            }
            data.operands[at] = operand;
        }
        if data.op.body().is_some_and(is_singular) {
            let used = match self.taken {
                true => self.condition,
                false => self.f.unary(aec_ir::Unary::Not, self.condition, data.span),
            };
            if let Some(used) = tell_region(&mut data, used)
                && let Some(body) = data.op.body_mut()
            {
                guard_results(body, used);
            }
        }
        if data == self.f.insts[inst] {
            return results;
        }
        let types: Vec<_> = results.iter().map(|&v| self.f.ty(v).clone()).collect();
        let new = self.f.push(data.op, &data.operands, &types, data.span);
        self.f.insts[new].results.iter().copied().collect()
    }

    fn replace(&mut self, x: Value, place: f64, span: aec_syntax::Span) -> Value {
        let ty = self.f.ty(x).clone();
        if ty.elem == Elem::Bool {
            return x;
        }
        let condition = match ty.dims.is_empty() {
            true => self.condition,
            false => self.f.broadcast_leading(self.condition, &ty.dims, span),
        };
        let safe = self.f.number(place, ty, span);
        match self.taken {
            true => self.f.select(condition, x, safe, span),
            false => self.f.select(condition, safe, x, span),
        }
    }
}

/// Guards all of a body, whose param says whether its results are used.
fn guard_results(body: &mut Function, used: Value) {
    let mut only = EntitySet::new();
    for &inst in &body.order {
        only.insert(inst);
    }
    let mut branch = Branch {
        only,
        f: body,
        condition: used,
        taken: true,
        done: HashMap::new(),
    };
    let results = branch.f.results.clone();
    let guarded: Vec<Value> = results.iter().map(|&v| branch.value(v)).collect();
    body.results.clone_from_slice(&guarded);
    sort_order(body);
}
