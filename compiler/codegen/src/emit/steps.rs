//! Comparisons of indices in wide code, by words of 32 bits whatever the lanes' width.
//!
//! An index in a lane loop is `first + step * lane`, where `first` is a scalar. So
//! `first + step * lane < other` asks whether `step * lane < other - first`, and the right side,
//! brought to what just lies beyond all 16 left sides if it is further away, has 32 bits. A lane of 64
//! bits holds both sides twice, and so the answer.

use super::{Emitter, Group, LANES, Repr};
use aec_kernels::lir::{Comparison, Val, ValKind};
use aec_runtime::Elem;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlot, Value, types};
use smallvec::SmallVec;

/// Indices are far smaller, so that their difference from what is brought to this range does not
/// overflow.
const FAR: i64 = 1 << 62;

impl Emitter<'_, '_, '_> {
    /// In wide code, the step of an index from lane to lane; [`Emitter::vals`] has its first
    /// lane. 0 for any other value.
    fn lane_step(&self, val: Val) -> i64 {
        match &self.kernel.values[val].kind {
            ValKind::Index(index) if self.wide() => self.lane_coefficient(index),
            _ => 0,
        }
    }

    /// The comparison, if it is one of indices that differ between lanes, in wide code.
    pub(super) fn compare_indices(&mut self, op: Comparison, x: Val, y: Val) -> Option<Repr> {
        let lanes = self.lanes?.lanes;
        let step = self.lane_step(x) - self.lane_step(y);
        if self.lane_step(x) == 0 && self.lane_step(y) == 0 {
            return None;
        }
        let (x, y) = (self.scalar(x), self.scalar(y));
        let [x, y] = [x, y].map(|value| self.within(value, -FAR, FAR));
        let apart = self.b.ins().isub(y, x);
        let last = step * i64::from(LANES - 1);
        let apart = self.within(apart, last.min(0) - 1, last.max(0) + 1);
        let apart = self.b.ins().ireduce(types::I32, apart);
        let apart = self.b.ins().splat(types::I32X4, apart);
        let slot = self.iota_slot();
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        let mut regs = SmallVec::new();
        for at in 0..self.registers.count(Elem::Bool, lanes) as usize {
            let (flags, offset) = (MemFlagsData::trusted(), self.reg_offset(at));
            let mut steps = self.b.ins().load(types::I32X4, flags, base, offset);
            if step != 1 {
                let step = self.number(Elem::I32, 0.0, step);
                let step = self.b.ins().splat(types::I32X4, step);
                steps = self.b.ins().imul(steps, step);
            }
            let holds = self.raw_compare(op, Elem::I32, steps, apart);
            regs.push(self.recast(self.registers.mask(), holds));
        }
        Some(Repr::Lanes(Group {
            elem: Elem::Bool,
            regs,
        }))
    }

    fn within(&mut self, value: Value, low: i64, high: i64) -> Value {
        let low = self.b.ins().iconst(types::I64, low);
        let high = self.b.ins().iconst(types::I64, high);
        let value = self.b.ins().smax(value, low);
        self.b.ins().smin(value, high)
    }

    /// The numbers of the lanes, each in all its words, in memory since the kernel began.
    fn iota_slot(&self) -> StackSlot {
        self.iota_slot
            .expect("a wide kernel with indices has the numbers of its lanes")
    }

    /// Puts the numbers of the lanes into memory if the kernel may ask for them.
    pub(super) fn store_iota(&mut self) {
        let mut values = self.kernel.values.values();
        if !values.any(|data| matches!(data.kind, ValKind::Index(_))) {
            return;
        }
        let words = self.registers.lane_bytes / 4;
        let slot = self.stack_slot(4 * words * LANES);
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        for word in 0..words * LANES {
            let lane = i64::from(word / words);
            let number = self.b.ins().iconst(types::I32, lane);
            let flags = MemFlagsData::trusted();
            self.b.ins().store(flags, number, base, 4 * word as i32);
        }
        self.iota_slot = Some(slot);
    }
}
