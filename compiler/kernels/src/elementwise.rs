//! Elementwise ops of TIR in the primitive operations of loop IR.

use crate::lir::{Comparison, LirBinary, LirUnary, Val};
use crate::math;
use crate::nest::Nest;
use aec_ir::{Binary, Unary};
use aec_runtime::Elem;

pub(crate) fn unary(n: &mut Nest, op: Unary, x: Val) -> Val {
    let elem = n.elem(x);
    match op {
        Unary::Neg if elem.is_int() => {
            let zero = n.int(0, elem);
            n.sub(zero, x)
        }
        Unary::Neg => n.unary(LirUnary::Neg, x),
        Unary::Abs if elem.is_int() => {
            let zero = n.int(0, elem);
            let minus = n.sub(zero, x);
            let negative = n.compare(Comparison::Lt, x, zero);
            n.select(negative, minus, x)
        }
        Unary::Abs => n.unary(LirUnary::Abs, x),
        Unary::Sign => {
            let zero = n.float(0.0, elem);
            let one = n.float(1.0, elem);
            let minus_one = n.float(-1.0, elem);
            let negative = n.compare(Comparison::Lt, x, zero);
            let positive = n.compare(Comparison::Gt, x, zero);
            let low = n.select(negative, minus_one, zero);
            n.select(positive, one, low)
        }
        Unary::Floor => n.unary(LirUnary::Floor, x),
        Unary::Exp => math::exp(n, x),
        Unary::Log => math::log(n, x),
        Unary::Log1p => math::log1p(n, x),
        Unary::Expm1 => math::expm1(n, x),
        Unary::Sqrt => n.unary(LirUnary::Sqrt, x),
        Unary::Sin => math::sin(n, x),
        Unary::Cos => math::cos(n, x),
        Unary::Tanh => math::tanh(n, x),
        Unary::Logistic => math::logistic(n, x),
        Unary::Erf => math::erf(n, x),
        Unary::Not => n.unary(LirUnary::Not, x),
    }
}

pub(crate) fn binary(n: &mut Nest, op: Binary, a: Val, b: Val) -> Val {
    let elem = n.elem(a);
    match op {
        Binary::Add => n.add_fused(a, b),
        Binary::Sub => n.sub_fused(a, b),
        Binary::Mul => n.mul(a, b),
        Binary::Div => n.div(a, b),
        Binary::FloorDiv => n.binary(LirBinary::FloorDiv, a, b),
        Binary::Mod if elem.is_int() => {
            // A zero divisor leaves all.
            let zero = n.int(0, elem);
            let rest = n.binary(LirBinary::FloorMod, a, b);
            let none = n.compare(Comparison::Eq, b, zero);
            n.select(none, a, rest)
        }
        Binary::Mod => {
            let q = n.div(a, b);
            let q = n.unary(LirUnary::Floor, q);
            let q = n.unary(LirUnary::Neg, q);
            let rest = n.fma(q, b, a);
            // The rounded quotient may be one too far.
            let zero = n.float(0.0, elem);
            let b_negative = n.compare(Comparison::Lt, b, zero);
            let rest_negative = n.compare(Comparison::Lt, rest, zero);
            let rest_positive = n.compare(Comparison::Gt, rest, zero);
            let wrong = n.select(b_negative, rest_positive, rest_negative);
            let shifted = n.add(rest, b);
            n.select(wrong, shifted, rest)
        }
        Binary::Pow => math::pow(n, a, b),
        Binary::Min => extreme(n, LirBinary::Min, a, b),
        Binary::Max => extreme(n, LirBinary::Max, a, b),
        Binary::And => n.binary(LirBinary::And, a, b),
        Binary::Or => n.binary(LirBinary::Or, a, b),
    }
}

/// Min or max that is NaN if either is; LIR's give `b` when `a` is NaN.
fn extreme(n: &mut Nest, op: LirBinary, a: Val, b: Val) -> Val {
    if !n.elem(a).is_float() || n.as_float(a).is_some_and(|x| !x.is_nan()) {
        return n.binary(op, a, b);
    }
    if n.as_float(b).is_some_and(|x| !x.is_nan()) {
        return n.binary(op, b, a);
    }
    let m = n.binary(op, a, b);
    let nan = n.compare(Comparison::Ne, a, a);
    n.select(nan, a, m)
}

pub(crate) fn compare(n: &mut Nest, op: Comparison, a: Val, b: Val) -> Val {
    if n.elem(a) != Elem::Bool {
        return n.compare(op, a, b);
    }
    let not_a = n.unary(LirUnary::Not, a);
    let not_b = n.unary(LirUnary::Not, b);
    match op {
        Comparison::Eq => n.binary(LirBinary::Xor, not_a, b),
        Comparison::Ne => n.binary(LirBinary::Xor, a, b),
        Comparison::Lt => n.binary(LirBinary::And, not_a, b),
        Comparison::Le => n.binary(LirBinary::Or, not_a, b),
        Comparison::Gt => n.binary(LirBinary::And, a, not_b),
        Comparison::Ge => n.binary(LirBinary::Or, a, not_b),
    }
}
