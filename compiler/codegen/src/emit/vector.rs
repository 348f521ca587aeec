//! How operations are done on groups of lanes. What has no vector form here (`None`) is done
//! lane by lane with the scalar form, which gives the same bits.

use super::memory::scalar_type;
use super::scalar::{Operation, float_condition, int_condition};
use super::{Emitter, Group, Repr};
use aec_kernels::lir::{AccOp, Comparison, LirBinary, LirUnary};
use aec_runtime::Elem;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{ConstantData, InstBuilder, Value, types};
use smallvec::SmallVec;

impl Emitter<'_, '_, '_> {
    /// The same scalar in each of `lanes` lanes.
    pub(crate) fn splat(&mut self, elem: Elem, value: Value, lanes: u32) -> Group {
        let ty = self.registers.of(elem);
        let value = match elem {
            Elem::Bool => self.mask(value),
            Elem::F32 | Elem::F64 | Elem::I32 | Elem::I64 => value,
        };
        let reg = self.b.ins().splat(ty, value);
        let count = self.registers.count(elem, lanes) as usize;
        let regs = std::iter::repeat_n(reg, count).collect();
        Group { elem, regs }
    }

    /// A representation as a group of the current lane loop.
    pub(crate) fn group_of(&mut self, elem: Elem, repr: &Repr) -> Group {
        match repr {
            Repr::Scalar(value) => {
                let lanes = self
                    .lanes
                    .expect("groups are made in lane loops only")
                    .lanes;
                self.splat(elem, *value, lanes)
            }
            Repr::Lanes(group) => group.clone(),
        }
    }

    /// The scalars of one register.
    pub(crate) fn lanes_of_reg(&mut self, elem: Elem, reg: Value) -> Vec<Value> {
        let count = self.registers.of(elem).lane_count() as u8;
        (0..count)
            .map(|lane| self.lane_of_reg(elem, reg, lane))
            .collect()
    }

    /// One scalar of one register.
    pub(crate) fn lane_of_reg(&mut self, elem: Elem, reg: Value, lane: u8) -> Value {
        let value = self.b.ins().extractlane(reg, lane);
        match elem {
            Elem::Bool => self.b.ins().icmp_imm_s(IntCC::NotEqual, value, 0),
            Elem::F32 | Elem::F64 | Elem::I32 | Elem::I64 => value,
        }
    }

    /// The scalars of a group.
    pub(crate) fn lanes_of_group(&mut self, group: &Group) -> Vec<Value> {
        group
            .regs
            .iter()
            .flat_map(|&reg| self.lanes_of_reg(group.elem, reg))
            .collect()
    }

    /// A group made of scalars.
    pub(crate) fn group_of_lanes(&mut self, elem: Elem, values: Vec<Value>) -> Group {
        let ty = self.registers.of(elem);
        let values: Vec<Value> = values
            .into_iter()
            .map(|value| match elem {
                Elem::Bool => self.mask(value),
                Elem::F32 | Elem::F64 | Elem::I32 | Elem::I64 => value,
            })
            .collect();
        let regs = values
            .chunks(ty.lane_count() as usize)
            .map(|lanes| {
                let mut reg = self.b.ins().scalar_to_vector(ty, lanes[0]);
                for (at, &value) in lanes.iter().enumerate().skip(1) {
                    reg = self.b.ins().insertlane(reg, value, at as u8);
                }
                reg
            })
            .collect();
        Group { elem, regs }
    }

    /// `op(before, value)` of an accumulator, lane by lane.
    pub(crate) fn combine_groups(&mut self, op: AccOp, before: &Group, value: &Group) -> Group {
        let elem = before.elem;
        let regs = before
            .regs
            .iter()
            .zip(&value.regs)
            .map(|(&before, &value)| match op {
                AccOp::Sum if elem.is_float() => self.b.ins().fadd(before, value),
                AccOp::Sum => self.b.ins().iadd(before, value),
                AccOp::Max | AccOp::Min => self.extreme(op, elem, before, value),
                AccOp::All => self.b.ins().band(before, value),
                AccOp::Any => self.b.ins().bor(before, value),
            })
            .collect();
        Group { elem, regs }
    }

    /// `value` where it is beyond `before` or NaN, else `before`, of registers. Written so that
    /// the comparison is one instruction, and NaN is looked for in `value`, off the chain from
    /// one `before` to the next.
    pub(crate) fn extreme(&mut self, op: AccOp, elem: Elem, before: Value, value: Value) -> Value {
        let beyond = match op {
            AccOp::Min => self.raw_compare(Comparison::Lt, elem, value, before),
            AccOp::Sum | AccOp::Max | AccOp::All | AccOp::Any => {
                self.raw_compare(Comparison::Lt, elem, before, value)
            }
        };
        let best = self.blend(elem, beyond, value, before);
        if !elem.is_float() {
            return best;
        }
        let nan = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        self.blend(elem, nan, value, best)
    }

    /// A comparison of registers; the mask has lanes of the operands' width.
    pub(super) fn raw_compare(&mut self, op: Comparison, elem: Elem, x: Value, y: Value) -> Value {
        if elem.is_float() {
            self.b.ins().fcmp(float_condition(op), x, y)
        } else {
            self.b.ins().icmp(int_condition(op), x, y)
        }
    }

    /// `x` where the mask (of the same width) is set, else `y`.
    pub(crate) fn blend(&mut self, elem: Elem, mask: Value, x: Value, y: Value) -> Value {
        let mask = self.recast(self.registers.of(elem), mask);
        self.b.ins().bitselect(mask, x, y)
    }

    /// The operation on groups, if it has a vector form.
    pub(crate) fn vector_operation(
        &mut self,
        op: Operation,
        elem: Elem,
        elems: &[Elem],
        operands: &[Repr],
    ) -> Option<Group> {
        if let Operation::Binary(op, constant) = op
            && matches!(
                op,
                LirBinary::Shl | LirBinary::ShrLogical | LirBinary::ShrArithmetic
            )
        {
            let x = self.group_of(elem, &operands[0]);
            return self.shift(op, &x, &operands[1], constant);
        }
        if !has_vector_form(op, elem, elems) {
            return None;
        }
        let groups: Vec<Group> = operands
            .iter()
            .zip(elems)
            .map(|(repr, &elem)| self.group_of(elem, repr))
            .collect();
        let x = &groups[0];
        Some(match op {
            Operation::Unary(op) => self.each(elem, x, |this, x| this.vector_unary(op, elem, x)),
            Operation::Binary(op, _) => self.each2(elem, x, &groups[1], |this, x, y| {
                this.vector_binary(op, elem, x, y)
            }),
            Operation::Fma => {
                let regs = (0..x.regs.len())
                    .map(|at| {
                        let [x, y, z] = [0, 1, 2].map(|operand: usize| groups[operand].regs[at]);
                        self.b.ins().fma(x, y, z)
                    })
                    .collect();
                Group { elem, regs }
            }
            Operation::Compare(op) => {
                let operand = elems[0];
                let wide = self.each2(operand, x, &groups[1], |this, x, y| {
                    this.raw_compare(op, operand, x, y)
                });
                self.narrow_mask(wide)
            }
            Operation::Select => {
                let masks = self.widen_mask(x, elem);
                let regs = (0..masks.len())
                    .map(|at| self.blend(elem, masks[at], groups[1].regs[at], groups[2].regs[at]))
                    .collect();
                Group { elem, regs }
            }
            Operation::Convert => self.vector_convert(elems[0], elem, x),
            Operation::Bitcast => {
                let ty = self.registers.of(elem);
                self.each(elem, x, |this, x| this.recast(ty, x))
            }
        })
    }

    fn each(
        &mut self,
        elem: Elem,
        x: &Group,
        mut op: impl FnMut(&mut Self, Value) -> Value,
    ) -> Group {
        let regs = x.regs.iter().map(|&x| op(self, x)).collect();
        Group { elem, regs }
    }

    fn each2(
        &mut self,
        elem: Elem,
        x: &Group,
        y: &Group,
        mut op: impl FnMut(&mut Self, Value, Value) -> Value,
    ) -> Group {
        let pairs = x.regs.iter().zip(&y.regs);
        let regs = pairs.map(|(&x, &y)| op(self, x, y)).collect();
        Group { elem, regs }
    }

    fn shift(
        &mut self,
        op: LirBinary,
        x: &Group,
        amount: &Repr,
        constant: Option<i64>,
    ) -> Option<Group> {
        let amount = match (constant, amount) {
            (Some(constant), _) => self.b.ins().iconst(types::I32, constant),
            (None, Repr::Scalar(amount)) => *amount,
            (None, Repr::Lanes(_)) => return None,
        };
        let elem = x.elem;
        Some(self.each(elem, x, |this, x| match op {
            LirBinary::Shl => this.b.ins().ishl(x, amount),
            LirBinary::ShrLogical => this.b.ins().ushr(x, amount),
            _ if this.wide() && elem == Elem::I64 => this.shift_with_sign(x, amount),
            _ => this.b.ins().sshr(x, amount),
        }))
    }

    /// An arithmetic shift of 64-bit lanes to the right, for which AVX2 has no instruction: with the sign's
    /// bit flipped there is none to keep, and what flipping it has added is taken off again.
    fn shift_with_sign(&mut self, x: Value, amount: Value) -> Value {
        let sign = self.b.ins().iconst(types::I64, i64::MIN);
        let sign = self.b.ins().splat(types::I64X2, sign);
        let flipped = self.b.ins().bxor(x, sign);
        let shifted = self.b.ins().ushr(flipped, amount);
        let added = self.b.ins().ushr(sign, amount);
        self.b.ins().isub(shifted, added)
    }

    fn vector_unary(&mut self, op: LirUnary, elem: Elem, x: Value) -> Value {
        let ins = self.b.ins();
        match (op, elem.is_float()) {
            (LirUnary::Neg, true) => ins.fneg(x),
            (LirUnary::Neg, false) => ins.ineg(x),
            (LirUnary::Abs, true) => ins.fabs(x),
            (LirUnary::Abs, false) => ins.iabs(x),
            (LirUnary::Sqrt, _) => ins.sqrt(x),
            (LirUnary::Floor, true) => ins.floor(x),
            (LirUnary::Nearest, true) => ins.nearest(x),
            (LirUnary::Floor | LirUnary::Nearest, false) => x,
            (LirUnary::Not, _) => ins.bnot(x),
        }
    }

    fn vector_binary(&mut self, op: LirBinary, elem: Elem, x: Value, y: Value) -> Value {
        let float = elem.is_float();
        match op {
            LirBinary::Add if float => self.b.ins().fadd(x, y),
            LirBinary::Add => self.b.ins().iadd(x, y),
            LirBinary::Sub if float => self.b.ins().fsub(x, y),
            LirBinary::Sub => self.b.ins().isub(x, y),
            LirBinary::Mul if float => self.b.ins().fmul(x, y),
            LirBinary::Mul => self.b.ins().imul(x, y),
            LirBinary::Div => self.b.ins().fdiv(x, y),
            LirBinary::Min => {
                let less = self.raw_compare(Comparison::Lt, elem, x, y);
                self.blend(elem, less, x, y)
            }
            LirBinary::Max => {
                // `b < a` rather than `a > b`: the form that becomes one instruction.
                let more = self.raw_compare(Comparison::Lt, elem, y, x);
                self.blend(elem, more, x, y)
            }
            LirBinary::And => self.b.ins().band(x, y),
            LirBinary::Or => self.b.ins().bor(x, y),
            LirBinary::Xor => self.b.ins().bxor(x, y),
            LirBinary::Shl
            | LirBinary::ShrLogical
            | LirBinary::ShrArithmetic
            | LirBinary::FloorDiv
            | LirBinary::FloorMod => unreachable!("has no form for two groups"),
        }
    }

    /// Masks as wide as the operands, of which `wide.elem` is, made as wide as masks are.
    fn narrow_mask(&mut self, wide: Group) -> Group {
        let regs = match self.wider_than_masks(wide.elem) {
            false => wide.regs,
            true => self.narrow_pairs(&wide.regs),
        };
        Group {
            elem: Elem::Bool,
            regs,
        }
    }

    /// Whether lanes of such elements have 64 bits where masks have 32.
    fn wider_than_masks(&self, elem: Elem) -> bool {
        scalar_type(elem).bytes() > self.registers.lane_bytes
    }

    /// The low halves of 64-bit lanes: two I64X2 make one I32X4.
    fn narrow_pairs(&mut self, regs: &[Value]) -> SmallVec<[Value; 8]> {
        regs.chunks(2)
            .map(|pair| {
                let reg = self.shuffle(
                    pair[0],
                    pair[1],
                    [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27],
                );
                self.recast(types::I32X4, reg)
            })
            .collect()
    }

    /// Masks as wide as lanes of `elem`.
    fn widen_mask(&mut self, mask: &Group, elem: Elem) -> SmallVec<[Value; 8]> {
        if self.wider_than_masks(elem) {
            self.widen_ints(&mask.regs)
        } else {
            mask.regs.clone()
        }
    }

    /// I32X4 to pairs of I64X2, with sign.
    fn widen_ints(&mut self, regs: &[Value]) -> SmallVec<[Value; 8]> {
        regs.iter()
            .flat_map(|&reg| {
                let low = self.b.ins().swiden_low(reg);
                let high = self.b.ins().swiden_high(reg);
                [low, high]
            })
            .collect()
    }

    pub(super) fn shuffle(&mut self, a: Value, b: Value, bytes: [u8; 16]) -> Value {
        let a = self.recast(types::I8X16, a);
        let b = self.recast(types::I8X16, b);
        let mask = self
            .b
            .func
            .dfg
            .immediates
            .push(ConstantData::from(&bytes[..]));
        self.b.ins().shuffle(a, b, mask)
    }

    fn vector_convert(&mut self, from: Elem, to: Elem, x: &Group) -> Group {
        let regs = match (from, to) {
            (Elem::F32, Elem::F64) => {
                let mut regs = SmallVec::new();
                for &reg in &x.regs {
                    regs.push(self.b.ins().fvpromote_low(reg));
                    let swapped = self.shuffle(
                        reg,
                        reg,
                        [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15],
                    );
                    let swapped = self.recast(types::F32X4, swapped);
                    regs.push(self.b.ins().fvpromote_low(swapped));
                }
                regs
            }
            (Elem::F64, Elem::F32) => x
                .regs
                .chunks(2)
                .map(|pair| {
                    let low = self.b.ins().fvdemote(pair[0]);
                    let high = self.b.ins().fvdemote(pair[1]);
                    let both = self.shuffle(
                        low,
                        high,
                        [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23],
                    );
                    self.recast(types::F32X4, both)
                })
                .collect(),
            (Elem::F32, Elem::I32) => {
                let to_int = |this: &mut Self, x| this.b.ins().fcvt_to_sint_sat(types::I32X4, x);
                return self.each(to, x, to_int);
            }
            (Elem::I32, Elem::F32) => {
                let to_float = |this: &mut Self, x| this.b.ins().fcvt_from_sint(types::F32X4, x);
                return self.each(to, x, to_float);
            }
            (Elem::I32, Elem::I64) => self.widen_ints(&x.regs),
            (Elem::I64, Elem::I32) => self.narrow_pairs(&x.regs),
            (Elem::I32, Elem::F64) => self
                .widen_ints(&x.regs)
                .into_iter()
                .map(|wide| self.b.ins().fcvt_from_sint(types::F64X2, wide))
                .collect(),
            (Elem::Bool, _) => {
                let one = self.number(to, 1.0, 1);
                let one = self.b.ins().splat(self.registers.of(to), one);
                self.widen_mask(x, to)
                    .into_iter()
                    .map(|mask| {
                        let mask = self.recast(self.registers.of(to), mask);
                        self.b.ins().band(mask, one)
                    })
                    .collect()
            }
            (_, Elem::Bool) => {
                let zero = self.number(from, 0.0, 0);
                let zero = self.b.ins().splat(self.registers.of(from), zero);
                let wide = self.each(from, x, |this, x| {
                    this.raw_compare(Comparison::Ne, from, x, zero)
                });
                return self.narrow_mask(wide);
            }
            _ => unreachable!("{from} to {to} has no vector form"),
        };
        Group { elem: to, regs }
    }
}

/// Whether [`Emitter::vector_operation`] has a form for operands of `elems`.
fn has_vector_form(op: Operation, elem: Elem, elems: &[Elem]) -> bool {
    match op {
        Operation::Unary(_) | Operation::Fma | Operation::Compare(_) | Operation::Bitcast => true,
        Operation::Select => true,
        Operation::Binary(op, _) => !matches!(op, LirBinary::FloorDiv | LirBinary::FloorMod),
        Operation::Convert => match (elems[0], elem) {
            (Elem::F32, Elem::F64 | Elem::I32) => true,
            (Elem::F64, Elem::F32) => true,
            (Elem::I32, Elem::F32 | Elem::F64 | Elem::I64) => true,
            (Elem::I64, Elem::I32) => true,
            (Elem::Bool, _) | (_, Elem::Bool) => true,
            (Elem::F32 | Elem::F64, Elem::I64)
            | (Elem::F64, Elem::I32)
            | (Elem::I64, Elem::F32 | Elem::F64) => false,
            // Identities: the scalar form passes each lane through.
            (Elem::F32, Elem::F32)
            | (Elem::F64, Elem::F64)
            | (Elem::I32, Elem::I32)
            | (Elem::I64, Elem::I64) => false,
        },
    }
}
