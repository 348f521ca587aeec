//! Lane loops and accumulators: the vector form, the tails, the fixed tree.

use super::draws::drawn_ahead;
use super::{
    AccState, Emitter, FOLDS, Fold, Group, LANES, LaneLoop, Registers, Repr, mask_slot,
    slot_stride, walk,
};
use aec_kernels::lir::{Acc, AccOp, Kernel, Loop, Stmt, Val, ValData, ValKind};
use aec_kernels::nest::operands;
use aec_kernels::tidy;
use aec_runtime::Elem;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, MemFlagsData, Value, types};
use cranelift_entity::{EntityRef, SecondaryMap};
use cranelift_frontend::Variable;
use smallvec::SmallVec;

impl Emitter<'_, '_, '_> {
    pub(super) fn lane_loop(&mut self, inner: &Loop) {
        let fed = fed_from_outside(&inner.body);
        let lanes = lanes_of(self.kernel, inner, &fed, self.registers);
        let trip = inner.count();
        let has_vector = trip.is_none_or(|trip| trip >= i64::from(lanes));
        let has_tail = trip.is_none_or(|trip| trip % i64::from(lanes) != 0);
        let outer: Vec<AccState> = fed.iter().map(|&acc| self.accs[acc].clone()).collect();
        let start = self.bound(inner.start);
        let end = self.bound(inner.end);
        if keeps_order(self.kernel, self.registers) {
            self.fix_addresses(inner);
        }
        self.ask_for_rows(inner);
        self.begin_runs(inner, (start, end), trip);

        let mut partial: Vec<SmallVec<[Variable; 8]>> = Vec::with_capacity(fed.len());
        for &acc in &fed {
            let identity = self.identity_group(acc, LANES);
            let vars = self.group_vars(&identity);
            self.accs[acc] = AccState::Lanes(vars.clone());
            partial.push(vars);
        }
        // One by one, registers that a whole group lacks: a store under a mask takes far longer.
        let single = Some(self.registers.lanes)
            .filter(|&one| self.wide() && fed.is_empty() && trip.is_none() && one < lanes);
        let mut done = start;
        if has_vector {
            let mut length = self.b.ins().isub(end, start);
            if trip.is_none() {
                let zero = self.b.ins().iconst(types::I64, 0);
                length = self.b.ins().smax(length, zero);
            }
            let several = columns_of(self.kernel, inner, &fed, self.registers)
                .or_else(|| side_by_side(self.kernel, inner, self.registers));
            let several = several
                .filter(|&more| more > lanes && trip.is_none_or(|trip| trip >= i64::from(more)));
            for lanes in several.into_iter().chain([lanes]).chain(single) {
                let whole = self.b.ins().band_imm_s(length, -i64::from(lanes));
                let from = done;
                done = self.b.ins().iadd(start, whole);
                self.count(from, done, i64::from(lanes), |this, at| {
                    this.draw_ahead(at);
                    this.lanes = Some(LaneLoop {
                        var: inner.var,
                        lanes,
                    });
                    this.with_var(inner.var, at, |this| {
                        this.body(&inner.body);
                        this.ask_for_next_tile(inner);
                    });
                    this.lanes = None;
                });
            }
        }
        if has_tail && self.wide() {
            self.draw_ahead(done);
            let rest = trip.map(|trip| trip % i64::from(lanes));
            let regs = single.unwrap_or(lanes) / self.registers.lanes;
            self.wide_tail(inner, (done, end), (rest, regs), &fed, &partial);
        }
        let mut groups: Vec<Group> = Vec::with_capacity(fed.len());
        for (&acc, vars) in fed.iter().zip(&partial) {
            let elem = self.kernel.accs[acc].elem;
            groups.push(self.group_of_vars(elem, vars));
        }
        if has_tail && !self.wide() {
            let mut slots = Vec::with_capacity(fed.len());
            for (&acc, group) in fed.iter().zip(&groups) {
                let slot = self.lane_slot(group.elem);
                self.spill(group, slot);
                self.accs[acc] = AccState::Slot(slot);
                slots.push(slot);
            }
            self.draw_ahead(done);
            self.count(done, end, 1, |this, at| {
                let lane = this.b.ins().isub(at, done);
                let outer_lane = this.tail_lane.replace(lane);
                this.with_var(inner.var, at, |this| this.body(&inner.body));
                this.tail_lane = outer_lane;
            });
            for (group, slot) in groups.iter_mut().zip(slots) {
                *group = self.unspill(group.elem, slot, LANES);
            }
        }
        self.fixed.clear();
        self.runs = None;
        for ((&acc, before), group) in fed.iter().zip(outer).zip(groups) {
            let op = self.kernel.accs[acc].op;
            let tree = if self.wide() {
                self.wide_tree(op, group)
            } else {
                self.tree(op, group)
            };
            self.accs[acc] = before;
            self.accumulate_scalar(acc, tree);
        }
    }

    /// The last lanes of a wide loop, from `done` to `end`, fewer than a group of `regs`
    /// registers has, one register after the other; `rest` is their number where it is known.
    fn wide_tail(
        &mut self,
        inner: &Loop,
        (mut done, end): (Value, Value),
        (rest, regs): (Option<i64>, u32),
        fed: &[Acc],
        partial: &[SmallVec<[Variable; 8]>],
    ) {
        let after = self.b.create_block();
        for reg in 0..regs {
            let left = rest.map(|rest| rest - i64::from(reg * self.registers.lanes));
            if left.is_some_and(|left| left <= 0) {
                break;
            }
            for (&acc, vars) in fed.iter().zip(partial) {
                let var = vars[reg as usize];
                self.accs[acc] = AccState::Lanes(SmallVec::from_slice(&[var]));
            }
            if left.is_some_and(|left| left >= i64::from(self.registers.lanes)) {
                self.tail_body(inner, done);
            } else {
                self.masked_tail(inner, (done, end), after, fed);
            }
            done = self
                .b
                .ins()
                .iadd_imm_s(done, i64::from(self.registers.lanes));
        }
        let none: [BlockArg; 0] = [];
        self.b.ins().jump(after, &none);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }

    /// The body for the lanes of one register.
    fn tail_body(&mut self, inner: &Loop, at: Value) {
        self.lanes = Some(LaneLoop {
            var: inner.var,
            lanes: self.registers.lanes,
        });
        self.with_var(inner.var, at, |this| this.body(&inner.body));
        self.lanes = None;
    }

    /// The body for those lanes of one register that come before `end`, if there are any: the
    /// others load and store nothing and change no accumulator from outside.
    fn masked_tail(
        &mut self,
        inner: &Loop,
        (done, end): (Value, Value),
        after: Block,
        fed: &[Acc],
    ) {
        let slot = self.mask_slot.expect("a wide kernel has a mask slot");
        let tail = self.b.create_block();
        let less = self.b.ins().icmp(IntCC::SignedLessThan, done, end);
        let none: [BlockArg; 0] = [];
        self.b.ins().brif(less, tail, &none, after, &none);
        self.b.seal_block(tail);
        self.b.switch_to_block(tail);
        let left = self.b.ins().isub(end, done);
        let left = self.b.ins().ireduce(types::I32, left);
        let one = self.b.ins().iconst(types::I32, 1);
        let above = self.b.ins().ishl(one, left);
        let mask = self.b.ins().iadd_imm_s(above, -1);
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        let flags = MemFlagsData::trusted();
        self.b.ins().store(flags, mask, base, mask_slot::BEGIN);
        self.masked = fed.to_vec();
        self.tail_body(inner, done);
        self.masked.clear();
        self.tails += 1;
        self.b.ins().store(flags, one, base, mask_slot::END);
    }

    /// In a masked tail: the mask, as lanes of 0 or -1.
    fn tail_mask(&mut self) -> Value {
        let slot = self.mask_slot.expect("a wide kernel has a mask slot");
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        let flags = MemFlagsData::trusted();
        self.b
            .ins()
            .load(self.registers.mask(), flags, base, mask_slot::LANES)
    }

    /// A group's lanes in fresh variables.
    fn group_vars(&mut self, group: &Group) -> SmallVec<[Variable; 8]> {
        group
            .regs
            .iter()
            .map(|&reg| {
                let ty = self.b.func.dfg.value_type(reg);
                let var = self.b.declare_var(ty);
                self.b.def_var(var, reg);
                var
            })
            .collect()
    }

    fn group_of_vars(&mut self, elem: Elem, vars: &[Variable]) -> Group {
        let regs = vars.iter().map(|&var| self.b.use_var(var)).collect();
        Group { elem, regs }
    }

    pub(super) fn init(&mut self, acc: Acc) {
        self.accs[acc] = match self.lanes {
            Some(LaneLoop { lanes, .. }) => {
                let identity = self.identity_group(acc, lanes);
                AccState::Lanes(self.group_vars(&identity))
            }
            None => {
                let identity = self.identity(acc);
                let ty = self.b.func.dfg.value_type(identity);
                let var = self.b.declare_var(ty);
                self.b.def_var(var, identity);
                AccState::Scalar(var)
            }
        };
    }

    fn identity_group(&mut self, acc: Acc, lanes: u32) -> Group {
        let identity = self.identity(acc);
        self.splat(self.kernel.accs[acc].elem, identity, lanes)
    }

    fn identity(&mut self, acc: Acc) -> Value {
        let data = self.kernel.accs[acc];
        match (data.op, data.elem) {
            (AccOp::Sum, elem) => self.number(elem, 0.0, 0),
            (AccOp::Max, Elem::I32) => self.number(Elem::I32, 0.0, i64::from(i32::MIN)),
            (AccOp::Min, Elem::I32) => self.number(Elem::I32, 0.0, i64::from(i32::MAX)),
            (AccOp::Max, elem) => self.number(elem, f64::NEG_INFINITY, i64::MIN),
            (AccOp::Min, elem) => self.number(elem, f64::INFINITY, i64::MAX),
            (AccOp::All, _) => self.b.ins().iconst(types::I8, 1),
            (AccOp::Any, _) => self.b.ins().iconst(types::I8, 0),
        }
    }

    pub(super) fn accumulate(&mut self, acc: Acc, val: Val) {
        match self.accs[acc].clone() {
            AccState::Lanes(vars) => {
                let data = self.kernel.accs[acc];
                let group = self.group(val);
                let before = self.group_of_vars(data.elem, &vars);
                let mut after = before.clone();
                for regs in group.regs.chunks(before.regs.len()) {
                    let more = Group {
                        elem: group.elem,
                        regs: SmallVec::from_slice(regs),
                    };
                    after = self.combine_groups(data.op, &after, &more);
                }
                if self.masked.contains(&acc) {
                    let mask = self.tail_mask();
                    for (reg, &before) in after.regs.iter_mut().zip(&before.regs) {
                        *reg = self.blend(data.elem, mask, *reg, before);
                    }
                }
                for (&var, &reg) in vars.iter().zip(&after.regs) {
                    self.b.def_var(var, reg);
                }
            }
            AccState::Unset | AccState::Scalar(_) | AccState::Slot(_) => {
                let value = self.scalar(val);
                self.accumulate_scalar(acc, value);
            }
        }
    }

    fn accumulate_scalar(&mut self, acc: Acc, value: Value) {
        let data = self.kernel.accs[acc];
        match self.accs[acc].clone() {
            AccState::Scalar(var) => {
                let before = self.b.use_var(var);
                let after = self.combine(data.op, data.elem, before, value);
                self.b.def_var(var, after);
            }
            AccState::Slot(slot) => {
                let lane = self.tail_lane.expect("a slot is only used in a tail");
                let base = self.b.ins().stack_addr(types::I64, slot, 0);
                let offset = self.scaled(lane, slot_stride(data.elem));
                let place = self.b.ins().iadd(base, offset);
                let before = self.load_lane(data.elem, place, 0);
                let after = self.combine(data.op, data.elem, before, value);
                self.store_lane(data.elem, after, place, 0);
            }
            AccState::Lanes(_) | AccState::Unset => {
                panic!("{acc} is accumulated before it is initialised")
            }
        }
    }

    /// The fixed tree over 16 lanes.
    fn tree(&mut self, op: AccOp, group: Group) -> Value {
        let group = self.in_one_register(op, group);
        let lanes = self.lanes_of_reg(group.elem, group.regs[0]);
        self.lane_tree(op, group.elem, lanes)
    }

    /// The first steps of the tree, from register to register.
    fn in_one_register(&mut self, op: AccOp, mut group: Group) -> Group {
        let elem = group.elem;
        while group.regs.len() > 1 {
            let high = group.regs.split_off_half();
            group = self.combine_groups(op, &group, &Group { elem, regs: high });
        }
        group
    }

    /// The fixed tree over registers that stand for 16 lanes: the last one is combined with
    /// itself, its upper half on its lower, until the first lane has all.
    fn wide_tree(&mut self, op: AccOp, group: Group) -> Value {
        let mut group = self.in_one_register(op, group);
        for fold in self.folds() {
            let reg = self.shuffle(group.regs[0], group.regs[0], fold.bytes());
            let reg = self.recast(self.registers.of(group.elem), reg);
            let upper = Group {
                elem: group.elem,
                regs: SmallVec::from_slice(&[reg]),
            };
            group = self.combine_groups(op, &group, &upper);
        }
        self.lane_of_reg(group.elem, group.regs[0], 0)
    }

    /// The steps of the tree within a register.
    fn folds(&self) -> &'static [Fold] {
        let Registers { lanes, lane_bytes } = self.registers;
        let end = FOLDS.len() - (lane_bytes / 4).ilog2() as usize;
        &FOLDS[end - lanes.ilog2() as usize..end]
    }

    /// The fixed tree over scalars.
    fn lane_tree(&mut self, op: AccOp, elem: Elem, mut lanes: Vec<Value>) -> Value {
        while lanes.len() > 1 {
            let half = lanes.len() / 2;
            for at in 0..half {
                lanes[at] = self.combine(op, elem, lanes[at], lanes[at + half]);
            }
            lanes.truncate(half);
        }
        lanes[0]
    }

    pub(super) fn acc_read(&mut self, acc: Acc) -> Repr {
        match self.accs[acc].clone() {
            AccState::Scalar(var) => Repr::Scalar(self.b.use_var(var)),
            AccState::Lanes(vars) => {
                let elem = self.kernel.accs[acc].elem;
                Repr::Lanes(self.group_of_vars(elem, &vars))
            }
            AccState::Unset | AccState::Slot(_) => panic!("{acc} is read while it is fed"),
        }
    }
}

/// Takes the upper half off.
trait SplitHalf {
    fn split_off_half(&mut self) -> Self;
}

impl SplitHalf for SmallVec<[Value; 8]> {
    fn split_off_half(&mut self) -> Self {
        let half = self.len() / 2;
        self.drain(half..).collect()
    }
}

/// Accumulators that the body feeds and does not initialise, in order of their ids.
fn fed_from_outside(body: &[Stmt]) -> Vec<Acc> {
    let (mut fed, mut own) = (Vec::new(), Vec::new());
    walk(body, &mut |stmt| match stmt {
        Stmt::Accumulate(acc, _) => fed.push(*acc),
        Stmt::Init(acc) => own.push(*acc),
        Stmt::Loop(_)
        | Stmt::Let(_)
        | Stmt::Store { .. }
        | Stmt::StoreAt { .. }
        | Stmt::Check { .. } => {}
    });
    fed.retain(|acc| !own.contains(acc));
    fed.sort_by_key(|acc| acc.index());
    fed.dedup();
    fed
}

/// From so many values on, a body is long: where Cranelift moves code, more lanes in one iteration
/// only spill.
const LONG_BODY: usize = 24;

/// From so many operations on, each of which waits for the one before, a chain is long.
const LONG_CHAIN: usize = 10;

/// Whether a kernel's values are computed in the order they are written, the registers of each value
/// side by side. The processor looks ahead as far as it has registers for results, on AMD's Zen 3 some 160
/// operations: where values wait for each other, hardly more than one chain of them, which waits for
/// itself. Four chains side by side wait a fourth as often.
pub(crate) fn keeps_order(kernel: &Kernel, registers: Registers) -> bool {
    registers.bytes() == SIDE_BY_SIDE_BYTES && has_long_chains(kernel)
}

/// Whether in some lane loop of a kernel many operations wait for one another.
pub(crate) fn has_long_chains(kernel: &Kernel) -> bool {
    let mut long = false;
    walk(&kernel.body, &mut |stmt| {
        if let Stmt::Loop(inner) = stmt {
            long |= inner.lanes && longest_chain(kernel, inner) >= LONG_CHAIN;
        }
    });
    long
}

/// The most operations of a loop's body of which each needs the one before.
fn longest_chain(kernel: &Kernel, inner: &Loop) -> usize {
    let mut chains: SecondaryMap<Val, usize> = SecondaryMap::new();
    let mut longest = 0;
    walk(&inner.body, &mut |stmt| {
        if let Stmt::Let(val) = stmt {
            let kind = &kernel.values[*val].kind;
            let before = operands(kind).into_iter().map(|of| chains[of]).max();
            let computes = matches!(
                kind,
                ValKind::Unary(..)
                    | ValKind::Binary(..)
                    | ValKind::Fma(..)
                    | ValKind::Compare(..)
                    | ValKind::Select(..)
                    | ValKind::Convert(_)
            );
            chains[*val] = before.unwrap_or(0) + usize::from(computes);
            longest = longest.max(chains[*val]);
        }
    });
    longest
}

/// Bytes of the registers that go side by side: those of AVX2. Of wider ones one is as many lanes as a value
/// has, of narrower ones there are not enough.
const SIDE_BY_SIDE_BYTES: u32 = 32;

/// Registers of a value that are computed side by side.
const SIDE_BY_SIDE: u32 = 4;

/// Lanes of code that keeps its order, where nothing counts on their being 16.
fn side_by_side(kernel: &Kernel, inner: &Loop, registers: Registers) -> Option<u32> {
    let mut counts = !keeps_order(kernel, registers);
    walk(&inner.body, &mut |stmt| {
        if let Stmt::Let(val) = stmt {
            counts |= matches!(kernel.values[*val].kind, ValKind::Index(_));
        }
    });
    (!counts).then_some(SIDE_BY_SIDE * registers.lanes)
}

/// Values that a loop computes in each iteration, not counting constants.
fn own_values(kernel: &Kernel, inner: &Loop) -> usize {
    let mut values = 0;
    walk(&inner.body, &mut |stmt| {
        if let Stmt::Let(val) = stmt {
            let constant = matches!(
                kernel.values[*val].kind,
                ValKind::Float(_) | ValKind::Int(_) | ValKind::Bool(_)
            );
            values += usize::from(!constant);
        }
    });
    values
}

/// Registers of accumulators that rows feed side by side.
const COLUMN_REGS: u32 = 8;
/// Fewer rows are as many places that memory foresees.
const MANY_ROWS: i64 = 16;
/// Longest body, with its loop over rows, that is worth several copies.
const SHORT_BODY: usize = 6;

/// Lanes that go down the rows of a buffer together: each row gives several lines, which memory
/// fetches faster than one here and there, and the accumulators of one register need not wait for
/// each other. Only where little else is done.
fn columns_of(kernel: &Kernel, inner: &Loop, fed: &[Acc], registers: Registers) -> Option<u32> {
    // What counts on 16 lanes: accumulators from outside, draws, indices as values.
    let simple = |val: &Val| {
        let ValData { kind, elem } = &kernel.values[*val];
        let counts = matches!(
            kind,
            ValKind::Draw { .. } | ValKind::Index(_) | ValKind::LoadAt { .. }
        );
        elem.bytes() <= registers.lane_bytes as usize && !counts
    };
    let (mut accs, mut values, mut rows) = (0, 0, false);
    for stmt in &inner.body {
        match stmt {
            Stmt::Init(_) => accs += 1,
            Stmt::Let(val) if simple(val) => values += 1,
            Stmt::Store { .. } => {}
            Stmt::Loop(over) if over.count().is_none_or(|count| count >= MANY_ROWS) => {
                for stmt in &over.body {
                    match stmt {
                        Stmt::Let(val) if simple(val) => {
                            values += 1;
                            rows |= matches!(&kernel.values[*val].kind, ValKind::Load { index, .. }
                                if tidy::coefficient(index, inner.var) == 1);
                        }
                        Stmt::Accumulate(..) => {}
                        _ => return None,
                    }
                }
            }
            _ => return None,
        }
    }
    let fits = rows && fed.is_empty() && accs > 0 && values <= SHORT_BODY;
    fits.then(|| (COLUMN_REGS / accs).max(1) * registers.lanes)
}

/// How many lanes an iteration of the vector form handles. Accumulators from outside and draws
/// that are not made ahead need all 16; a long body is better off with one register for each value.
fn lanes_of(kernel: &Kernel, inner: &Loop, fed: &[Acc], registers: Registers) -> u32 {
    let ahead = drawn_ahead(kernel, inner);
    let mut draws = false;
    walk(&inner.body, &mut |stmt| {
        if let Stmt::Let(val) = stmt {
            let kind = &kernel.values[*val].kind;
            draws |= matches!(kind, ValKind::Draw { .. }) && !ahead.contains(*val);
        }
    });
    let long = own_values(kernel, inner) > LONG_BODY && !keeps_order(kernel, registers);
    if fed.is_empty() && !draws && long {
        registers.lanes
    } else {
        LANES
    }
}
