//! Elementwise ops.

use super::array::{Array, Items};
use crate::op::{Binary, Comparison, Unary};
use aec_runtime::Elem;

fn with_items(like: &Array, items: Items) -> Array {
    Array {
        dims: like.dims.clone(),
        items,
    }
}

pub(super) fn unary(op: Unary, x: &Array) -> Array {
    let items = match &x.items {
        Items::Float(v) => Items::Float(v.iter().map(|&x| unary_float(op, x)).collect()),
        Items::Int(v) => Items::Int(v.iter().map(|&x| unary_int(op, x)).collect()),
        Items::Bool(v) => Items::Bool(v.iter().map(|&x| !x).collect()),
    };
    with_items(x, items)
}

fn unary_float(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)),
        Unary::Floor => x.floor(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Sqrt => x.sqrt(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        Unary::Logistic => 1.0 / (1.0 + (-x).exp()),
        Unary::Erf => libm::erf(x),
        Unary::Not => unreachable!("the verifier saw bools"),
    }
}

fn unary_int(op: Unary, x: i64) -> i64 {
    match op {
        Unary::Neg => x.wrapping_neg(),
        Unary::Abs => x.wrapping_abs(),
        Unary::Sign => x.signum(),
        Unary::Floor
        | Unary::Exp
        | Unary::Log
        | Unary::Log1p
        | Unary::Expm1
        | Unary::Sqrt
        | Unary::Sin
        | Unary::Cos
        | Unary::Tanh
        | Unary::Logistic
        | Unary::Erf
        | Unary::Not => unreachable!("the verifier saw floats or bools"),
    }
}

pub(super) fn binary(op: Binary, a: &Array, b: &Array) -> Array {
    let items = match (&a.items, &b.items) {
        (Items::Float(a), Items::Float(b)) => {
            Items::Float(zip(a, b, |a, b| binary_float(op, a, b)))
        }
        (Items::Int(a), Items::Int(b)) => Items::Int(zip(a, b, |a, b| binary_int(op, a, b))),
        (Items::Bool(a), Items::Bool(b)) => Items::Bool(zip(a, b, |a, b| match op {
            Binary::And => a && b,
            Binary::Or => a || b,
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Div
            | Binary::FloorDiv
            | Binary::Mod
            | Binary::Pow
            | Binary::Min
            | Binary::Max => unreachable!("the verifier saw numbers"),
        })),
        _ => unreachable!("the verifier saw one type"),
    };
    with_items(a, items)
}

fn zip<A: Copy, R>(a: &[A], b: &[A], f: impl Fn(A, A) -> R) -> Vec<R> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

fn binary_float(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Div => a / b,
        Binary::Mod => {
            // `%` is exact; only its sign follows the dividend.
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                rest + b
            } else {
                rest
            }
        }
        Binary::Pow => a.powf(b),
        Binary::Min => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.min(b)
            }
        }
        Binary::Max => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.max(b)
            }
        }
        Binary::Mul | Binary::FloorDiv | Binary::And | Binary::Or => {
            unreachable!("the verifier saw ints or bools")
        }
    }
}

fn binary_int(op: Binary, a: i64, b: i64) -> i64 {
    match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::FloorDiv => floor_div(a, b),
        // By a zero divisor the quotient is 0, so all is left.
        Binary::Mod => a.wrapping_sub(b.wrapping_mul(floor_div(a, b))),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Div | Binary::Pow | Binary::And | Binary::Or => {
            unreachable!("the verifier saw floats or bools")
        }
    }
}

fn floor_div(a: i64, b: i64) -> i64 {
    if b == 0 {
        return 0;
    }
    let quotient = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) {
        quotient - 1
    } else {
        quotient
    }
}

pub(super) fn compare(op: Comparison, a: &Array, b: &Array) -> Array {
    fn apply<A: Copy + PartialOrd>(op: Comparison, a: &[A], b: &[A]) -> Vec<bool> {
        zip(a, b, |a, b| match op {
            Comparison::Eq => a == b,
            Comparison::Ne => a != b,
            Comparison::Lt => a < b,
            Comparison::Le => a <= b,
            Comparison::Gt => a > b,
            Comparison::Ge => a >= b,
        })
    }
    let bools = match (&a.items, &b.items) {
        (Items::Float(a), Items::Float(b)) => apply(op, a, b),
        (Items::Int(a), Items::Int(b)) => apply(op, a, b),
        (Items::Bool(a), Items::Bool(b)) => apply(op, a, b),
        _ => unreachable!("the verifier saw one type"),
    };
    with_items(a, Items::Bool(bools))
}

pub(super) fn select(condition: &Array, a: &Array, b: &Array) -> Array {
    fn apply<A: Copy>(condition: &[bool], a: &[A], b: &[A]) -> Vec<A> {
        condition
            .iter()
            .zip(a.iter().zip(b))
            .map(|(&condition, (&a, &b))| if condition { a } else { b })
            .collect()
    }
    let condition = condition.bools();
    let items = match (&a.items, &b.items) {
        (Items::Float(a), Items::Float(b)) => Items::Float(apply(condition, a, b)),
        (Items::Int(a), Items::Int(b)) => Items::Int(apply(condition, a, b)),
        (Items::Bool(a), Items::Bool(b)) => Items::Bool(apply(condition, a, b)),
        _ => unreachable!("the verifier saw one type"),
    };
    with_items(a, items)
}

/// Conversion of the kind; the caller rounds or wraps to the exact type.
pub(super) fn convert(x: &Array, elem: Elem) -> Array {
    let items = match elem {
        Elem::F32 | Elem::F64 => Items::Float(match &x.items {
            Items::Float(v) => v.clone(),
            Items::Int(v) => v.iter().map(|&x| x as f64).collect(),
            Items::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
        }),
        Elem::I32 => Items::Int(match &x.items {
            // `as` saturates and takes NaN to 0.
            Items::Float(v) => v.iter().map(|&x| i64::from(x as i32)).collect(),
            Items::Int(v) => v.clone(),
            Items::Bool(v) => v.iter().map(|&x| i64::from(x)).collect(),
        }),
        Elem::I64 => Items::Int(match &x.items {
            Items::Float(v) => v.iter().map(|&x| x as i64).collect(),
            Items::Int(v) => v.clone(),
            Items::Bool(v) => v.iter().map(|&x| i64::from(x)).collect(),
        }),
        Elem::Bool => Items::Bool(match &x.items {
            Items::Float(v) => v.iter().map(|&x| x != 0.0).collect(),
            Items::Int(v) => v.iter().map(|&x| x != 0).collect(),
            Items::Bool(v) => v.clone(),
        }),
    };
    with_items(x, items)
}
