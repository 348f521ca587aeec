//! Addresses, loads, stores and checks.
//!
//! Address terms are added outermost loop first, so that everything but the last addition moves
//! out of the inner loops.

use super::{Emitter, Extern, Group, Repr};
use aec_kernels::lir::{Affine, BufferId, Loop, Stmt, Val, ValKind, Var};
use aec_runtime::Elem;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AtomicRmwOp, BlockArg, ConstantData, InstBuilder, MemFlagsData, StackSlot, Type, Value, types,
};

/// A place in memory.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) base: Value,
    pub(super) offset: i32,
}

/// An address without the terms of a lane loop's variable and without constants.
pub(super) struct FixedAddress {
    buffer: BufferId,
    index: Affine,
    address: Value,
}

/// An index without its constant and the terms of a variable.
fn without(index: &Affine, var: Var) -> Affine {
    let others = index.vars.iter().copied().filter(|&(of, _)| of != var);
    Affine {
        base: 0,
        vars: others.collect(),
        args: index.args.clone(),
    }
}

/// The type of one scalar.
pub(crate) fn scalar_type(elem: Elem) -> Type {
    match elem {
        Elem::F32 => types::F32,
        Elem::F64 => types::F64,
        Elem::I32 => types::I32,
        Elem::I64 => types::I64,
        Elem::Bool => types::I8,
    }
}

impl Emitter<'_, '_, '_> {
    /// `value * factor`.
    pub(crate) fn scaled(&mut self, value: Value, factor: i64) -> Value {
        if factor == 1 {
            value
        } else if factor > 0 && factor.count_ones() == 1 {
            self.b
                .ins()
                .ishl_imm_u(value, i64::from(factor.trailing_zeros()))
        } else {
            self.b.ins().imul_imm_s(value, factor)
        }
    }

    /// `start + unit * (the terms of index)`, without its constant.
    fn add_terms(&mut self, start: Value, index: &Affine, unit: i64) -> Value {
        let mut sum = start;
        for &(arg, coefficient) in &index.args {
            if coefficient != 0 {
                let term = self.scaled(self.args[arg as usize], coefficient * unit);
                sum = self.b.ins().iadd(sum, term);
            }
        }
        let mut vars: Vec<(u32, Value, i64)> = index
            .vars
            .iter()
            .filter(|(_, coefficient)| *coefficient != 0)
            .map(|&(var, coefficient)| {
                let (at, depth) = self.vars[var].expect("a loop variable is used in its loop");
                (depth, at, coefficient)
            })
            .collect();
        vars.sort_by_key(|&(depth, ..)| depth);
        for (_, at, coefficient) in vars {
            let term = self.scaled(at, coefficient * unit);
            sum = self.b.ins().iadd(sum, term);
        }
        sum
    }

    /// The index itself; in a lane loop, of its first lane.
    pub(crate) fn index(&mut self, index: &Affine) -> Value {
        let base = self.b.ins().iconst(types::I64, index.base);
        self.add_terms(base, index, 1)
    }

    /// The index as a value: a group if it varies with the lane, in wide code its first lane.
    pub(crate) fn index_repr(&mut self, index: &Affine) -> Repr {
        let first = self.index(index);
        let step = self.lane_coefficient(index);
        let Some(lane_loop) = self.lanes.filter(|_| step != 0 && !self.wide()) else {
            return Repr::Scalar(first);
        };
        let mut group = self.splat(Elem::I64, first, lane_loop.lanes);
        for (at, reg) in group.regs.iter_mut().enumerate() {
            let lane = 2 * at as i64;
            let mut bytes = Vec::with_capacity(16);
            bytes.extend_from_slice(&(lane * step).to_le_bytes());
            bytes.extend_from_slice(&((lane + 1) * step).to_le_bytes());
            let steps = self
                .b
                .func
                .dfg
                .constants
                .insert(ConstantData::from(&bytes[..]));
            let steps = self.b.ins().vconst(types::I64X2, steps);
            *reg = self.b.ins().iadd(*reg, steps);
        }
        Repr::Lanes(group)
    }

    pub(super) fn place(
        &mut self,
        buffer: BufferId,
        index: &Affine,
        at: Option<(Value, i64)>,
    ) -> Place {
        let unit = self.kernel.buffers[buffer].elem.bytes() as i64;
        let mut base = self.buffers[buffer];
        if let Some((at, stride)) = at {
            let term = self.scaled(at, stride * unit);
            base = self.b.ins().iadd(base, term);
        }
        let base = match self.fixed_part(buffer, index).filter(|_| at.is_none()) {
            Some((fixed, rest)) => self.add_terms(fixed, &rest, unit),
            None => self.add_terms(base, index, unit),
        };
        self.offset_place(Place { base, offset: 0 }, index.base * unit)
    }

    /// Computes the parts of addresses that stay the same in a lane loop, before it begins: in code that
    /// keeps its order nothing else moves them out.
    pub(super) fn fix_addresses(&mut self, inner: &Loop) {
        for stmt in &inner.body {
            let (buffer, index) = match stmt {
                Stmt::Let(val) => match &self.kernel.values[*val].kind {
                    ValKind::Load { buffer, index } => (*buffer, index),
                    _ => continue,
                },
                Stmt::Store { buffer, index, .. } => (*buffer, index),
                _ => continue,
            };
            let fixed = without(index, inner.var);
            let open = |&(var, _): &(Var, i64)| self.vars[var].is_some();
            let known = self
                .fixed
                .iter()
                .any(|at| (at.buffer, &at.index) == (buffer, &fixed));
            if known || !fixed.vars.iter().all(open) {
                continue;
            }
            let unit = self.kernel.buffers[buffer].elem.bytes() as i64;
            let address = self.add_terms(self.buffers[buffer], &fixed, unit);
            self.fixed.push(FixedAddress {
                buffer,
                index: fixed,
                address,
            });
        }
    }

    /// What [`Emitter::fix_addresses`] has computed of an address, and the terms that it lacks.
    fn fixed_part(&self, buffer: BufferId, index: &Affine) -> Option<(Value, Affine)> {
        let var = self.lanes?.var;
        let fixed = without(index, var);
        let known = self
            .fixed
            .iter()
            .find(|at| (at.buffer, &at.index) == (buffer, &fixed))?;
        let rest = Affine {
            base: 0,
            vars: index
                .vars
                .iter()
                .copied()
                .filter(|&(of, _)| of == var)
                .collect(),
            args: Vec::new(),
        };
        Some((known.address, rest))
    }

    pub(super) fn offset_place(&mut self, place: Place, bytes: i64) -> Place {
        match i32::try_from(i64::from(place.offset) + bytes) {
            // Room is left for the lanes of a group.
            Ok(offset) if offset.abs() < 1 << 30 => Place { offset, ..place },
            _ => Place {
                base: self.b.ins().iadd_imm_s(place.base, bytes),
                ..place
            },
        }
    }

    pub(super) fn load_scalar(&mut self, elem: Elem, place: Place) -> Value {
        self.b
            .ins()
            .load(scalar_type(elem), self.flags, place.base, place.offset)
    }

    pub(crate) fn load(&mut self, elem: Elem, buffer: BufferId, index: &Affine) -> Repr {
        let place = self.place(buffer, index, None);
        self.load_from(elem, place, self.lane_coefficient(index))
    }

    pub(crate) fn load_at(
        &mut self,
        elem: Elem,
        buffer: BufferId,
        index: &Affine,
        at: Val,
        stride: i64,
    ) -> Repr {
        let step = self.lane_coefficient(index);
        match self.repr(at) {
            Repr::Scalar(at) => {
                let place = self.place(buffer, index, Some((at, stride)));
                self.load_from(elem, place, step)
            }
            Repr::Lanes(group) => {
                let values = self
                    .lane_places(&group, buffer, index, stride, step)
                    .into_iter()
                    .map(|place| self.load_scalar(elem, place))
                    .collect();
                Repr::Lanes(self.group_of_lanes(elem, values))
            }
        }
    }

    /// The place of each lane, `at` differing between lanes.
    fn lane_places(
        &mut self,
        at: &Group,
        buffer: BufferId,
        index: &Affine,
        stride: i64,
        step: i64,
    ) -> Vec<Place> {
        let unit = self.kernel.buffers[buffer].elem.bytes() as i64;
        let first = self.place(buffer, index, None);
        self.lanes_of_group(at)
            .into_iter()
            .enumerate()
            .map(|(lane, at)| {
                let term = self.scaled(at, stride * unit);
                let base = self.b.ins().iadd(first.base, term);
                self.offset_place(Place { base, ..first }, lane as i64 * step * unit)
            })
            .collect()
    }

    fn load_from(&mut self, elem: Elem, place: Place, step: i64) -> Repr {
        let Some(lane_loop) = self.lanes.filter(|_| step != 0) else {
            return Repr::Scalar(self.load_scalar(elem, place));
        };
        let count = lane_loop.lanes;
        if step != 1 {
            let unit = elem.bytes() as i64;
            let values = (0..i64::from(count))
                .map(|lane| {
                    let place = self.offset_place(place, lane * step * unit);
                    self.load_scalar(elem, place)
                })
                .collect();
            return Repr::Lanes(self.group_of_lanes(elem, values));
        }
        let ty = self.registers.of(elem);
        let regs = match elem {
            Elem::F32 | Elem::I32 | Elem::F64 | Elem::I64 => (0..self.registers.count(elem, count))
                .map(|at| {
                    let offset = place.offset + self.reg_offset(at as usize);
                    self.b.ins().load(ty, self.flags, place.base, offset)
                })
                .collect(),
            Elem::Bool => (0..count / 4)
                .map(|at| {
                    let offset = place.offset + 4 * at as i32;
                    let bytes = self
                        .b
                        .ins()
                        .load(types::I32, self.flags, place.base, offset);
                    let bytes = self.b.ins().scalar_to_vector(types::I32X4, bytes);
                    let bytes = self.recast(types::I8X16, bytes);
                    let halves = self.b.ins().uwiden_low(bytes);
                    let words = self.b.ins().uwiden_low(halves);
                    self.b.ins().ineg(words)
                })
                .collect(),
        };
        Repr::Lanes(Group { elem, regs })
    }

    pub(crate) fn store(&mut self, buffer: BufferId, index: &Affine, value: Val) {
        let place = self.place(buffer, index, None);
        self.store_to(buffer, place, self.lane_coefficient(index), value);
    }

    pub(crate) fn store_at(
        &mut self,
        buffer: BufferId,
        index: &Affine,
        at: Val,
        stride: i64,
        value: Val,
    ) {
        let step = self.lane_coefficient(index);
        match self.repr(at) {
            Repr::Scalar(at) => {
                let place = self.place(buffer, index, Some((at, stride)));
                self.store_to(buffer, place, step, value);
            }
            Repr::Lanes(group) => {
                let places = self.lane_places(&group, buffer, index, stride, step);
                let value = self.group(value);
                let lanes = self.lanes_of_group(&value);
                for (place, value) in places.into_iter().zip(lanes) {
                    self.b
                        .ins()
                        .store(self.flags, value, place.base, place.offset);
                }
            }
        }
    }

    fn store_to(&mut self, buffer: BufferId, place: Place, step: i64, value: Val) {
        let elem = self.kernel.buffers[buffer].elem;
        if self.lanes.is_none() || step == 0 {
            // In a lane loop, a place that all lanes share keeps the last lane's value.
            let value = match self.repr(value) {
                Repr::Scalar(value) => value,
                Repr::Lanes(group) => {
                    let lanes = self.lanes_of_group(&group);
                    lanes[lanes.len() - 1]
                }
            };
            self.b
                .ins()
                .store(self.flags, value, place.base, place.offset);
            return;
        }
        let group = self.group(value);
        if step != 1 {
            let unit = elem.bytes() as i64;
            for (lane, value) in self.lanes_of_group(&group).into_iter().enumerate() {
                let place = self.offset_place(place, lane as i64 * step * unit);
                self.b
                    .ins()
                    .store(self.flags, value, place.base, place.offset);
            }
            return;
        }
        match elem {
            Elem::F32 | Elem::I32 | Elem::F64 | Elem::I64 => {
                for (at, &reg) in group.regs.iter().enumerate() {
                    let offset = place.offset + self.reg_offset(at);
                    self.b.ins().store(self.flags, reg, place.base, offset);
                }
            }
            Elem::Bool => {
                for (at, &mask) in group.regs.iter().enumerate() {
                    let halves = self.b.ins().snarrow(mask, mask);
                    let bytes = self.b.ins().snarrow(halves, halves);
                    let words = self.recast(types::I32X4, bytes);
                    let word = self.b.ins().extractlane(words, 0);
                    let word = self.b.ins().band_imm_u(word, 0x0101_0101);
                    let offset = place.offset + 4 * at as i32;
                    self.b.ins().store(self.flags, word, place.base, offset);
                }
            }
        }
    }

    /// One lane of a slot; `Bool` is kept as an I32 mask.
    pub(crate) fn load_lane(&mut self, elem: Elem, base: Value, offset: i32) -> Value {
        let flags = MemFlagsData::trusted();
        match elem {
            Elem::Bool => {
                let mask = self.b.ins().load(types::I32, flags, base, offset);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, mask, 0)
            }
            Elem::F32 | Elem::F64 | Elem::I32 | Elem::I64 => {
                self.b.ins().load(scalar_type(elem), flags, base, offset)
            }
        }
    }

    /// The opposite of [`Self::load_lane`].
    pub(crate) fn store_lane(&mut self, elem: Elem, value: Value, base: Value, offset: i32) {
        let value = match elem {
            Elem::Bool => self.mask(value),
            Elem::F32 | Elem::F64 | Elem::I32 | Elem::I64 => value,
        };
        self.b
            .ins()
            .store(MemFlagsData::trusted(), value, base, offset);
    }

    /// Stores a group's lanes in order.
    pub(crate) fn spill(&mut self, group: &Group, slot: StackSlot) {
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        for (at, &reg) in group.regs.iter().enumerate() {
            let offset = self.reg_offset(at);
            self.b
                .ins()
                .store(MemFlagsData::trusted(), reg, base, offset);
        }
    }

    /// Loads a group's lanes.
    pub(crate) fn unspill(&mut self, elem: Elem, slot: StackSlot, lanes: u32) -> Group {
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        self.load_group(elem, base, lanes)
    }

    /// Loads a group's lanes from a place on the stack.
    pub(super) fn load_group(&mut self, elem: Elem, base: Value, lanes: u32) -> Group {
        let ty = self.registers.of(elem);
        let regs = (0..self.registers.count(elem, lanes))
            .map(|at| {
                let (flags, offset) = (MemFlagsData::trusted(), self.reg_offset(at as usize));
                self.b.ins().load(ty, flags, base, offset)
            })
            .collect();
        Group { elem, regs }
    }

    pub(crate) fn check(&mut self, ok: Val, status: BufferId, code: i64, detail: Val) {
        let status = self.buffers[status];
        let ok = self.repr(ok);
        let failing = self.b.create_block();
        let after = self.b.create_block();
        self.b.set_cold_block(failing);
        let holds = match &ok {
            Repr::Scalar(ok) => *ok,
            Repr::Lanes(group) => {
                let mut all = group.regs[0];
                for &reg in &group.regs[1..] {
                    all = self.b.ins().band(all, reg);
                }
                self.b.ins().vall_true(all)
            }
        };
        let none: [BlockArg; 0] = [];
        self.b.ins().brif(holds, after, &none, failing, &none);
        self.b.seal_block(failing);
        self.b.switch_to_block(failing);
        let same = match (&ok, self.repr(detail)) {
            (Repr::Scalar(_), Repr::Scalar(detail)) => Some(detail),
            (Repr::Scalar(_) | Repr::Lanes(_), _) => None,
        };
        if let Some(detail) = same {
            // Without a call, so that wide kernels may check, too.
            let first = self.b.create_block();
            let flags = MemFlagsData::trusted();
            let zero = self.b.ins().iconst(types::I64, 0);
            let code = self.b.ins().iconst(types::I64, code);
            let before = self.b.ins().atomic_cas(flags, status, zero, code);
            let free = self.b.ins().icmp_imm_s(IntCC::Equal, before, 0);
            let same = self.b.ins().icmp(IntCC::Equal, before, code);
            let ours = self.b.ins().bor(free, same);
            self.b.set_cold_block(first);
            self.b.ins().brif(ours, first, &none, after, &none);
            self.b.seal_block(first);
            self.b.switch_to_block(first);
            let cell = self.b.ins().iadd_imm_s(status, 8);
            let least = AtomicRmwOp::Smin;
            self.b
                .ins()
                .atomic_rmw(types::I64, flags, least, cell, detail);
            self.b.ins().jump(after, &none);
            self.b.seal_block(after);
            self.b.switch_to_block(after);
            return;
        }
        let masks = self.scratch(Elem::Bool, 1);
        let details = self.scratch(Elem::I64, 2);
        let lanes = self.lanes.map_or(1, |lane_loop| lane_loop.lanes);
        let ok = self.group_of(Elem::Bool, &ok);
        self.spill(&ok, masks);
        let detail = self.group(detail);
        self.spill(&detail, details);
        let masks = self.b.ins().stack_addr(types::I64, masks, 0);
        let details = self.b.ins().stack_addr(types::I64, details, 0);
        let code = self.b.ins().iconst(types::I64, code);
        let lanes = self.b.ins().iconst(types::I64, i64::from(lanes));
        let func = self.import(Extern::CheckLanes);
        self.b
            .ins()
            .call(func, &[status, code, masks, details, lanes]);
        self.b.ins().jump(after, &none);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }
}
