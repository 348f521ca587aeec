//! Forward mode of loops: the loop itself, which also yields what the tangents need, and a
//! second, linear loop over the tangents (AUTODIFF.md section 9).
//!
//! What the linear rounds need of the rounds proper (residuals) is passed as it is if it is a
//! constant, a sequence or the index, computed again if it is cheap and made of such things,
//! and stacked otherwise. A loop with an exit can not stack: its linear loop goes through the
//! rounds proper again, beside the tangents; it is for forward mode only.

use super::{Builder, reframe, stacked};
use crate::linearize::{Linear, linearize};
use crate::rebuild::splat;
use aec_ir::{Def, Function, Inst, Loop, Op, Value, ValueData};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::EntitySet;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Appends the linear loop of `inst` to `f`; enters the tangents of its results and the
/// instruction in `linear`. `needed` are the values whose tangents matter.
pub fn linearize_loop(
    f: &mut Function,
    linear: &mut Linear,
    inst: Inst,
    needed: &EntitySet<Value>,
) -> Result<(), Diagnostic> {
    let data = f.insts[inst].clone();
    let Op::Loop(looped) = &data.op else {
        return Ok(());
    };
    let carried = looped.carried;
    let body = &looped.body;
    // What is differentiated of the body: wanted results, whatever the operands.
    let wanted: Vec<Value> = body
        .results
        .iter()
        .zip(&data.results)
        .enumerate()
        .filter(|&(at, (_, &result))| at < carried || needed.contains(result))
        .map(|(_, (&value, _))| value)
        .collect();
    let mut active: Vec<bool> = std::iter::once(false)
        .chain(data.operands.iter().map(|&v| linear.tangent[v].is_some()))
        .collect();
    // A value of the state is active once a round makes it so.
    let (round, tangents) = loop {
        let (round, tangents) = tangent_round(body, &active, &wanted)?;
        let mut grown = false;
        for at in 0..carried {
            let now = tangents.tangent[round.results[at]].is_some();
            grown |= now && !std::mem::replace(&mut active[at + 1], true);
        }
        if !grown {
            break (round, tangents);
        }
    };
    let round = Round {
        f: round,
        linear: tangents,
        active,
        looped: looped.clone(),
    };
    let (builder, tangent_body, which) = match looped.exit {
        false => round.residual_loop(f, linear, inst, data.span),
        true => round.joint_loop(f, linear, &data.operands, data.span),
    };
    let results = builder.finish(f, tangent_body, data.span);
    for (&at, &tangent) in which.iter().zip(&results) {
        if let Some(at) = at {
            linear.tangent[data.results[at]] = tangent.into();
            linear.values.insert(tangent);
        }
    }
    if let Some(inst) = results.first().and_then(|&v| f.def_inst(v)) {
        linear.insts.push(inst);
    }
    Ok(())
}

/// The body with the tangents of its results appended, for tangents of the active params
/// (which stand in it as placeholders).
fn tangent_round(
    body: &Function,
    active: &[bool],
    wanted: &[Value],
) -> Result<(Function, Linear), Diagnostic> {
    let mut f = body.clone();
    let mut linear = Linear::default();
    for (&param, &active) in body.params.iter().zip(active) {
        if active {
            let ty = f.ty(param).clone();
            let seed = f.number(0.0, ty, Span::NONE);
            linear.seed(param, seed);
        }
    }
    let linear = linearize(&mut f, wanted, linear)?;
    Ok((f, linear))
}

struct Round {
    /// The body and its tangents.
    f: Function,
    linear: Linear,
    /// For each param of the body, whether it has a tangent.
    active: Vec<bool>,
    looped: Loop,
}

/// A loop to be finished, its body, and for each of its results the result of the loop proper
/// whose tangent it is.
type Planned = (Builder, Function, Vec<Option<usize>>);

impl Round {
    /// Params with tangents among `range`, with their places among the operands.
    fn active_in(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, Value)> {
        let params: Vec<(usize, Value)> = range
            .filter(|&at| self.active[at])
            .map(|at| (at - 1, self.f.params[at]))
            .collect();
        params.into_iter()
    }

    fn seed(&self, param: Value) -> Value {
        match self.linear.tangent[param].expand() {
            Some(seed) => seed,
            None => unreachable!("an active param has a tangent"),
        }
    }

    /// Tangents of the state's active values, for the next round; then those yielded.
    fn tangent_results(&mut self) -> (Vec<Value>, Vec<Option<usize>>) {
        let mut values = Vec::new();
        let mut which = Vec::new();
        for at in 0..self.f.results.len() {
            let result = self.f.results[at];
            let tangent = self.linear.tangent[result].expand();
            let is_state = at < self.looped.carried;
            let value = match (is_state, tangent) {
                (true, tangent) if self.active[at + 1] => tangent.unwrap_or_else(|| {
                    let ty = self.f.ty(result).clone();
                    self.f.number(0.0, ty, Span::NONE)
                }),
                (true, _) | (false, None) => continue,
                (false, Some(tangent)) => tangent,
            };
            values.push(value);
            which.push(Some(at));
        }
        (values, which)
    }

    /// The linear loop over tangents, with residuals; the loop proper (`inst` of `f`) yields
    /// those that are stacked.
    fn residual_loop(
        mut self,
        f: &mut Function,
        linear: &Linear,
        inst: Inst,
        span: Span,
    ) -> Planned {
        let operands = f.insts[inst].operands.clone();
        let (carried, first_slice) = (self.looped.carried, self.looped.first_slice());
        let first_constant = self.looped.first_constant();
        let count = self.looped.count;
        let (results, which) = self.tangent_results();
        let mut builder = Builder::like(&self.looped, &operands);
        let mut groups: [Vec<Value>; 3] = Default::default();
        for (at, param) in self.active_in(1..first_slice) {
            groups[0].push(self.seed(param));
            builder
                .state
                .push(tangent_or_zeros(f, linear, operands[at], span));
        }
        for (at, param) in self.active_in(first_slice..first_constant) {
            groups[1].push(self.seed(param));
            builder
                .slices
                .push(tangent_or_zeros(f, linear, operands[at], span));
        }
        for (at, param) in self.active_in(first_constant..self.active.len()) {
            groups[2].push(self.seed(param));
            builder
                .constants
                .push(tangent_or_zeros(f, linear, operands[at], span));
        }
        for (at, &param) in self.f.params.clone().iter().enumerate() {
            if at >= first_constant {
                groups[2].push(param);
                builder.constants.push(operands[at - 1]);
            } else if at >= first_slice {
                groups[1].push(param);
                builder.slices.push(operands[at - 1]);
            }
        }
        // What is stacked: yielded already, or from now on.
        for saved in self.saved() {
            let yielded = self.f.results[carried..].iter().position(|&v| v == saved);
            let place = match yielded {
                Some(place) => carried + place,
                None => {
                    self.f.results.push(saved);
                    let index = self.f.results.len() - 1;
                    let value = f.values.push(ValueData {
                        ty: stacked(self.f.ty(saved), count),
                        def: Def::Result(inst, index as u32),
                    });
                    f.insts[inst].results.push(value);
                    index
                }
            };
            groups[1].push(saved);
            builder.slices.push(f.insts[inst].results[place]);
        }
        let params: Vec<Value> = std::iter::once(self.f.params[0])
            .chain(groups.into_iter().flatten())
            .collect();
        let body = reframe(&self.f, &params, &results);
        let primal = reframe(&self.f, &self.f.params, &self.f.results);
        self.looped.body = Box::new(primal);
        f.insts[inst].op = Op::Loop(self.looped);
        // Unused operands go when the loop is pruned.
        (builder, body, which)
    }

    /// The linear loop beside the loop proper.
    fn joint_loop(
        mut self,
        f: &mut Function,
        linear: &Linear,
        operands: &[Value],
        span: Span,
    ) -> Planned {
        let carried = self.looped.carried;
        let (first_slice, first_constant) = (carried + 1, self.looped.first_constant());
        let (tangents, which) = self.tangent_results();
        let mut builder = Builder::like(&self.looped, operands);
        let mut groups: [Vec<Value>; 3] = Default::default();
        for (at, &param) in self.f.params.iter().enumerate().skip(1) {
            let (group, list) = match at {
                at if at < first_slice => (0, &mut builder.state),
                at if at < first_constant => (1, &mut builder.slices),
                _ => (2, &mut builder.constants),
            };
            groups[group].push(param);
            list.push(operands[at - 1]);
        }
        for (at, param) in self.active_in(1..self.active.len()) {
            let (group, list) = match at + 1 {
                at if at < first_slice => (0, &mut builder.state),
                at if at < first_constant => (1, &mut builder.slices),
                _ => (2, &mut builder.constants),
            };
            groups[group].push(self.seed(param));
            list.push(tangent_or_zeros(f, linear, operands[at], span));
        }
        let params: Vec<Value> = std::iter::once(self.f.params[0])
            .chain(groups.into_iter().flatten())
            .collect();
        let results: Vec<Value> = self.f.results[..carried]
            .iter()
            .copied()
            .chain(tangents)
            .collect();
        let body = reframe(&self.f, &params, &results);
        let which = vec![None; carried].into_iter().chain(which).collect();
        (builder, body, which)
    }

    /// The state's params that values are made of.
    fn states_behind(&self, values: &[Value]) -> Vec<Value> {
        let f = &self.f;
        let mut behind: EntitySet<Value> = EntitySet::new();
        for &v in values {
            behind.insert(v);
        }
        for &inst in f.order.iter().rev() {
            let data = &f.insts[inst];
            if data.results.iter().any(|&v| behind.contains(v)) {
                for &operand in &data.operands {
                    behind.insert(operand);
                }
            }
        }
        let state = &f.params[1..self.looped.first_slice()];
        state
            .iter()
            .copied()
            .filter(|&v| behind.contains(v))
            .collect()
    }

    /// The residuals to be stacked, in order of definition. Params of the state are among them;
    /// of a round that is computed again they are all.
    fn saved(&self) -> Vec<Value> {
        let f = &self.f;
        let mut have: EntitySet<Value> = EntitySet::new();
        for (at, &param) in f.params.iter().enumerate() {
            if at == 0 || at > self.looped.carried {
                have.insert(param);
            }
        }
        let mut wanted: SmallVec<[Value; 16]> = SmallVec::new();
        for &inst in &self.linear.insts {
            for &operand in &f.insts[inst].operands {
                if !self.linear.values.contains(operand) && !wanted.contains(&operand) {
                    wanted.push(operand);
                }
            }
        }
        if self.looped.recomputed {
            return self.states_behind(&wanted);
        }
        let place: HashMap<Inst, usize> = f.order.iter().copied().zip(1..).collect();
        wanted.sort_by_key(|&v| (f.def_inst(v).map_or(0, |inst| place[&inst]), v));
        let mut saved = Vec::new();
        for v in wanted {
            if !cheap(f, v, &have, 0) {
                saved.push(v);
                have.insert(v);
            }
        }
        saved
    }
}

/// Bytes that the linear loop of `looped` has stacked for it if all its numbers are differentiated.
pub(super) fn stacked_bytes(looped: &Loop) -> Result<usize, Diagnostic> {
    let body = &looped.body;
    let is_float = |&v: &Value| body.ty(v).elem.is_float();
    let active: Vec<bool> = body.params.iter().map(is_float).collect();
    let wanted: Vec<Value> = body.results.iter().copied().filter(is_float).collect();
    let (f, linear) = tangent_round(body, &active, &wanted)?;
    let round = Round {
        f,
        linear,
        active,
        looped: looped.clone(),
    };
    let bytes = |&v: &Value| round.f.ty(v).len() * round.f.ty(v).elem.bytes();
    Ok(looped.count * round.saved().iter().map(bytes).sum::<usize>())
}

/// Chains longer than this are stacked rather than computed again.
const MAX_CHAIN: usize = 12;

/// Whether a value can be computed again, entry by entry, from what a round has anyway.
fn cheap(f: &Function, v: Value, have: &EntitySet<Value>, depth: usize) -> bool {
    if have.contains(v) || splat(f, v).is_some() {
        return true;
    }
    let Some(inst) = f.def_inst(v) else {
        return false;
    };
    let data = &f.insts[inst];
    let local = match &data.op {
        Op::Constant(_)
        | Op::Dense(_)
        | Op::Iota { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Select
        | Op::Convert
        | Op::Reshape
        | Op::Slice { .. }
        | Op::Reverse { .. }
        | Op::Stop
        | Op::Slope { .. }
        | Op::Draw { .. } => true,
        Op::Contract(contract) => {
            let term = crate::term::Term::new(contract, &data.operands);
            !term.is_summed()
        }
        Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Put { .. }
        | Op::CumSum { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Matrix(_)
        | Op::Map { .. }
        | Op::Loop(_)
        | Op::Derivative { .. }
        | Op::BatchMean => false,
    };
    local && depth < MAX_CHAIN && data.operands.iter().all(|&v| cheap(f, v, have, depth + 1))
}

fn tangent_or_zeros(f: &mut Function, linear: &Linear, value: Value, span: Span) -> Value {
    match linear.tangent[value].expand() {
        Some(tangent) => tangent,
        None => {
            let ty = f.ty(value).clone();
            f.number(0.0, ty, span)
        }
    }
}
