//! Values, and how each operation is done on scalars. `Bool` is an I8 of 0 or 1.

use super::memory::scalar_type;
use super::{Emitter, Group, Repr};
use aec_kernels::lir::{AccOp, Comparison, LirBinary, LirUnary, Val, ValKind};
use aec_runtime::Elem;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};

/// An operation on values of any representation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Unary(LirUnary),
    /// With the constant that the second operand is, if it is one.
    Binary(LirBinary, Option<i64>),
    Fma,
    Compare(Comparison),
    Select,
    Convert,
    Bitcast,
}

impl Emitter<'_, '_, '_> {
    /// The value, computed here.
    pub(crate) fn value(&mut self, val: Val) -> Repr {
        let kernel = self.kernel;
        let data = &kernel.values[val];
        let elem = data.elem;
        match &data.kind {
            ValKind::Float(value) => Repr::Scalar(self.number(elem, *value, 0)),
            ValKind::Int(value) => Repr::Scalar(self.number(elem, 0.0, *value)),
            ValKind::Bool(value) => Repr::Scalar(self.b.ins().iconst(types::I8, i64::from(*value))),
            ValKind::Index(index) => self.index_repr(index),
            ValKind::Load { buffer, index } => self.load(elem, *buffer, index),
            ValKind::LoadAt {
                buffer,
                index,
                at,
                stride,
            } => self.load_at(elem, *buffer, index, *at, *stride),
            ValKind::Unary(op, x) => self.operate(Operation::Unary(*op), elem, &[*x]),
            ValKind::Binary(op, x, y) => {
                let constant = match kernel.values[*y].kind {
                    ValKind::Int(value) => Some(value),
                    _ => None,
                };
                self.operate(Operation::Binary(*op, constant), elem, &[*x, *y])
            }
            ValKind::Fma(x, y, z) => self.operate(Operation::Fma, elem, &[*x, *y, *z]),
            ValKind::Compare(op, x, y) => self
                .compare_indices(*op, *x, *y)
                .unwrap_or_else(|| self.operate(Operation::Compare(*op), elem, &[*x, *y])),
            ValKind::Select(c, x, y) => self.operate(Operation::Select, elem, &[*c, *x, *y]),
            ValKind::Convert(x) if kernel.values[*x].elem == elem => self.repr(*x),
            ValKind::Convert(x) => self.operate(Operation::Convert, elem, &[*x]),
            ValKind::Bitcast(x) => self.operate(Operation::Bitcast, elem, &[*x]),
            ValKind::AccRead(acc) => self.acc_read(*acc),
            ValKind::DrawKey(seed, site) => Repr::Scalar(self.draw_key(*seed, *site)),
            ValKind::Draw { .. } => self.draw(val),
        }
    }

    /// What the value is in the code.
    pub(crate) fn repr(&self, val: Val) -> Repr {
        match &self.vals[val] {
            Some(repr) => repr.clone(),
            None => panic!("{val} is used before its let"),
        }
    }

    /// The value as one scalar.
    pub(crate) fn scalar(&self, val: Val) -> Value {
        match self.repr(val) {
            Repr::Scalar(value) => value,
            Repr::Lanes(_) => panic!("{val} differs between lanes"),
        }
    }

    /// Scalar code if no operand differs between lanes; else vector code if there is any, else
    /// scalar code for each lane.
    fn operate(&mut self, op: Operation, elem: Elem, operands: &[Val]) -> Repr {
        let elems: Vec<Elem> = operands
            .iter()
            .map(|&val| self.kernel.values[val].elem)
            .collect();
        let reprs: Vec<Repr> = operands.iter().map(|&val| self.repr(val)).collect();
        let scalars: Option<Vec<Value>> = reprs
            .iter()
            .map(|repr| match repr {
                Repr::Scalar(value) => Some(*value),
                Repr::Lanes(_) => None,
            })
            .collect();
        if let Some(scalars) = scalars {
            return Repr::Scalar(self.scalar_operation(op, elem, &elems, &scalars));
        }
        if let Some(group) = self.vector_operation(op, elem, &elems, &reprs) {
            return Repr::Lanes(group);
        }
        let lanes: Vec<Vec<Value>> = reprs
            .iter()
            .zip(&elems)
            .map(|(repr, &elem)| {
                let group = self.group_of(elem, repr);
                self.lanes_of_group(&group)
            })
            .collect();
        let results = (0..lanes[0].len())
            .map(|lane| {
                let scalars: Vec<Value> = lanes.iter().map(|operand| operand[lane]).collect();
                self.scalar_operation(op, elem, &elems, &scalars)
            })
            .collect();
        Repr::Lanes(self.group_of_lanes(elem, results))
    }

    fn scalar_operation(
        &mut self,
        op: Operation,
        elem: Elem,
        elems: &[Elem],
        operands: &[Value],
    ) -> Value {
        match op {
            Operation::Unary(op) => self.scalar_unary(op, elem, operands[0]),
            Operation::Binary(op, constant) => {
                self.scalar_binary(op, elem, operands[0], operands[1], constant)
            }
            Operation::Fma => self.b.ins().fma(operands[0], operands[1], operands[2]),
            Operation::Compare(op) => self.compare(op, elems[0], operands[0], operands[1]),
            Operation::Select => self.b.ins().select(operands[0], operands[1], operands[2]),
            Operation::Convert => self.convert(elems[0], elem, operands[0]),
            Operation::Bitcast => self.recast(scalar_type(elem), operands[0]),
        }
    }

    /// A constant.
    pub(crate) fn number(&mut self, elem: Elem, float: f64, int: i64) -> Value {
        match elem {
            Elem::F32 => self.b.ins().f32const(float as f32),
            Elem::F64 => self.b.ins().f64const(float),
            Elem::I32 => {
                // The immediate of an I32 is its bits, zero-extended.
                let bits = i64::from((int as i32).cast_unsigned());
                self.b.ins().iconst(types::I32, bits)
            }
            Elem::I64 => self.b.ins().iconst(types::I64, int),
            Elem::Bool => self.b.ins().iconst(types::I8, int),
        }
    }

    fn scalar_unary(&mut self, op: LirUnary, elem: Elem, x: Value) -> Value {
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
            (LirUnary::Not, _) => {
                if elem == Elem::Bool {
                    ins.bxor_imm_u(x, 1)
                } else {
                    ins.bnot(x)
                }
            }
        }
    }

    fn scalar_binary(
        &mut self,
        op: LirBinary,
        elem: Elem,
        x: Value,
        y: Value,
        constant: Option<i64>,
    ) -> Value {
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
                let less = self.compare(Comparison::Lt, elem, x, y);
                self.b.ins().select(less, x, y)
            }
            LirBinary::Max => {
                let more = self.compare(Comparison::Gt, elem, x, y);
                self.b.ins().select(more, x, y)
            }
            LirBinary::And => self.b.ins().band(x, y),
            LirBinary::Or => self.b.ins().bor(x, y),
            LirBinary::Xor => self.b.ins().bxor(x, y),
            LirBinary::Shl => self.b.ins().ishl(x, y),
            LirBinary::ShrLogical => self.b.ins().ushr(x, y),
            LirBinary::ShrArithmetic => self.b.ins().sshr(x, y),
            LirBinary::FloorDiv => self.floor_div(elem, x, y, constant, false),
            LirBinary::FloorMod => self.floor_div(elem, x, y, constant, true),
        }
    }

    /// Floor division or its remainder; 0 for a zero divisor, wrapping for the lowest int by -1.
    fn floor_div(
        &mut self,
        elem: Elem,
        x: Value,
        y: Value,
        constant: Option<i64>,
        remainder: bool,
    ) -> Value {
        let ty = scalar_type(elem);
        if let Some(divisor) = constant
            && divisor > 0
            && divisor.count_ones() == 1
        {
            return if remainder {
                self.b.ins().band_imm_u(x, divisor - 1)
            } else {
                self.b
                    .ins()
                    .sshr_imm_u(x, i64::from(divisor.trailing_zeros()))
            };
        }
        let zero = self.b.ins().iconst(ty, 0);
        let special = !constant.is_some_and(|divisor| divisor != 0 && divisor != -1);
        let (mut divisor, mut is_zero, mut is_minus) = (y, None, None);
        if special {
            // The division instruction traps on both.
            let one = self.b.ins().iconst(ty, 1);
            let no = self.b.ins().icmp_imm_s(IntCC::Equal, y, 0);
            let minus = self.b.ins().icmp_imm_s(IntCC::Equal, y, -1);
            let either = self.b.ins().bor(no, minus);
            divisor = self.b.ins().select(either, one, y);
            (is_zero, is_minus) = (Some(no), Some(minus));
        }
        let quotient = self.b.ins().sdiv(x, divisor);
        let product = self.b.ins().imul(quotient, divisor);
        let rest = self.b.ins().isub(x, product);
        let signs = self.b.ins().bxor(rest, divisor);
        let differ = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
        let inexact = self.b.ins().icmp_imm_s(IntCC::NotEqual, rest, 0);
        let adjust = self.b.ins().band(differ, inexact);
        let mut result = if remainder {
            let adjusted = self.b.ins().iadd(rest, divisor);
            self.b.ins().select(adjust, adjusted, rest)
        } else {
            let adjusted = self.b.ins().iadd_imm_s(quotient, -1);
            self.b.ins().select(adjust, adjusted, quotient)
        };
        if let Some(minus) = is_minus
            && !remainder
        {
            let negated = self.b.ins().ineg(x);
            result = self.b.ins().select(minus, negated, result);
        }
        if let Some(no) = is_zero {
            result = self.b.ins().select(no, zero, result);
        }
        result
    }

    /// A comparison of scalars; the result is an I8.
    pub(crate) fn compare(&mut self, op: Comparison, elem: Elem, x: Value, y: Value) -> Value {
        if elem.is_float() {
            self.b.ins().fcmp(float_condition(op), x, y)
        } else {
            self.b.ins().icmp(int_condition(op), x, y)
        }
    }

    fn convert(&mut self, from: Elem, to: Elem, x: Value) -> Value {
        let ty = scalar_type(to);
        match (from, to) {
            (Elem::F32, Elem::F32)
            | (Elem::F64, Elem::F64)
            | (Elem::I32, Elem::I32)
            | (Elem::I64, Elem::I64)
            | (Elem::Bool, Elem::Bool) => x,
            (Elem::F32, Elem::F64) => self.b.ins().fpromote(ty, x),
            (Elem::F64, Elem::F32) => self.b.ins().fdemote(ty, x),
            (Elem::F32 | Elem::F64, Elem::I32 | Elem::I64) => self.b.ins().fcvt_to_sint_sat(ty, x),
            (Elem::I32 | Elem::I64, Elem::F32 | Elem::F64) => self.b.ins().fcvt_from_sint(ty, x),
            (Elem::I32, Elem::I64) => self.b.ins().sextend(ty, x),
            (Elem::I64, Elem::I32) => self.b.ins().ireduce(ty, x),
            (Elem::Bool, Elem::I32 | Elem::I64) => self.b.ins().uextend(ty, x),
            (Elem::Bool, Elem::F32 | Elem::F64) => {
                let int = self.b.ins().uextend(types::I32, x);
                self.b.ins().fcvt_from_sint(ty, int)
            }
            (Elem::F32 | Elem::F64 | Elem::I32 | Elem::I64, Elem::Bool) => {
                let zero = self.number(from, 0.0, 0);
                self.compare(Comparison::Ne, from, x, zero)
            }
        }
    }

    /// The same bits under another type.
    pub(crate) fn recast(&mut self, ty: Type, x: Value) -> Value {
        if self.b.func.dfg.value_type(x) == ty {
            return x;
        }
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, flags, x)
    }

    /// A scalar `Bool` as a mask's lane, 0 or -1.
    pub(crate) fn mask(&mut self, value: Value) -> Value {
        let word = self.b.ins().uextend(self.registers.mask_lane(), value);
        self.b.ins().ineg(word)
    }

    /// `op(before, value)` of an accumulator.
    pub(crate) fn combine(&mut self, op: AccOp, elem: Elem, before: Value, value: Value) -> Value {
        match op {
            AccOp::Sum if elem.is_float() => self.b.ins().fadd(before, value),
            AccOp::Sum => self.b.ins().iadd(before, value),
            // A choice between two float registers would be a branch.
            AccOp::Max | AccOp::Min if elem.is_float() => {
                let ty = self.registers.of(elem);
                let [before, value] = [before, value].map(|x| self.b.ins().splat(ty, x));
                let best = self.extreme(op, elem, before, value);
                self.b.ins().extractlane(best, 0)
            }
            AccOp::Max => self.b.ins().smax(before, value),
            AccOp::Min => self.b.ins().smin(before, value),
            AccOp::All => self.b.ins().band(before, value),
            AccOp::Any => self.b.ins().bor(before, value),
        }
    }

    /// The value's lanes as a group.
    pub(crate) fn group(&mut self, val: Val) -> Group {
        let repr = self.repr(val);
        self.group_of(self.kernel.values[val].elem, &repr)
    }
}

/// The condition of a comparison of floats: ordered, but for `Ne`.
pub(crate) fn float_condition(op: Comparison) -> FloatCC {
    match op {
        Comparison::Eq => FloatCC::Equal,
        Comparison::Ne => FloatCC::NotEqual,
        Comparison::Lt => FloatCC::LessThan,
        Comparison::Le => FloatCC::LessThanOrEqual,
        Comparison::Gt => FloatCC::GreaterThan,
        Comparison::Ge => FloatCC::GreaterThanOrEqual,
    }
}

/// The condition of a comparison of ints.
pub(crate) fn int_condition(op: Comparison) -> IntCC {
    match op {
        Comparison::Eq => IntCC::Equal,
        Comparison::Ne => IntCC::NotEqual,
        Comparison::Lt => IntCC::SignedLessThan,
        Comparison::Le => IntCC::SignedLessThanOrEqual,
        Comparison::Gt => IntCC::SignedGreaterThan,
        Comparison::Ge => IntCC::SignedGreaterThanOrEqual,
    }
}
