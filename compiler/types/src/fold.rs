//! Arithmetic that is done while compiling: of constants, and of sizes while they are symbolic.

use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use aec_ir::{Binary, Comparison, Unary};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::BinaryOp;
use std::sync::Arc;

/// A constant.
pub(crate) fn scalar(value: f64, elem: Elem) -> Tensor {
    let host = match elem {
        Elem::F32 | Elem::F64 => HostTensor::f64(&[], vec![value]),
        Elem::I32 | Elem::I64 => HostTensor::i64(&[], vec![value as i64]),
        Elem::Bool => HostTensor::from_f64(Elem::Bool, &[], [value]),
    };
    Tensor {
        ty: TensorType::scalar(elem),
        repr: Repr::Static(Arc::new(host)),
    }
}

/// The comparison that an operator is.
pub(crate) fn comparison(op: BinaryOp) -> Option<Comparison> {
    Some(match op {
        BinaryOp::Eq => Comparison::Eq,
        BinaryOp::Ne => Comparison::Ne,
        BinaryOp::Lt => Comparison::Lt,
        BinaryOp::Le => Comparison::Le,
        BinaryOp::Gt => Comparison::Gt,
        BinaryOp::Ge => Comparison::Ge,
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::MatMul
        | BinaryOp::Pow
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Fill => return None,
    })
}

/// Arithmetic of sizes while they are symbolic.
pub(crate) fn fold_sizes(op: BinaryOp, x: &Tensor, y: &Tensor) -> Option<Tensor> {
    if !matches!(x.repr, Repr::Symbolic(_)) && !matches!(y.repr, Repr::Symbolic(_)) {
        return None;
    }
    let size = |t: &Tensor| Value::Tensor(t.clone()).as_size();
    let (a, b) = (size(x)?, size(y)?);
    let size = match op {
        BinaryOp::Add => a.plus(&b),
        BinaryOp::Sub => a.minus(&b),
        BinaryOp::Mul => a.times(&b),
        BinaryOp::FloorDiv => a.floor_div(b.as_constant()?)?,
        BinaryOp::Eq if a == b => return Some(scalar(1.0, Elem::Bool)),
        _ => return None,
    };
    match Value::size(size) {
        Value::Tensor(tensor) => Some(tensor),
        _ => None,
    }
}

/// What an operator gives of two ints: none inside if that does not fit, none at all if it is no int.
pub(crate) fn whole(op: BinaryOp, p: i64, q: i64) -> Option<Option<i64>> {
    Some(match op {
        BinaryOp::Add => p.checked_add(q),
        BinaryOp::Sub => p.checked_sub(q),
        BinaryOp::Mul => p.checked_mul(q),
        BinaryOp::Pow if q >= 0 => match p {
            // Any exponent fits.
            -1..=1 => p.checked_pow((q % 2) as u32 + 2 * u32::from(q > 1)),
            _ => u32::try_from(q).ok().and_then(|q| p.checked_pow(q)),
        },
        BinaryOp::FloorDiv if q != 0 => {
            let quotient = p.wrapping_div(q);
            let below = p.wrapping_rem(q) != 0 && (p < 0) != (q < 0);
            Some(quotient - i64::from(below))
        }
        BinaryOp::FloorDiv
        | BinaryOp::Pow
        | BinaryOp::Div
        | BinaryOp::MatMul
        | BinaryOp::Fill
        | BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge
        | BinaryOp::And
        | BinaryOp::Or => return None,
    })
}

/// A constant int.
pub(crate) fn whole_number(value: i64) -> Tensor {
    Tensor {
        ty: TensorType::scalar(Elem::I64),
        repr: Repr::Static(Arc::new(HostTensor::i64(&[], vec![value]))),
    }
}

/// Constant folding of scalars and small tensors.
pub(crate) fn fold(
    op: BinaryOp,
    a: &HostTensor,
    b: &HostTensor,
    elem: Elem,
    shape: &[Dim],
) -> Option<Tensor> {
    // One of them may be a scalar beside a tensor without entries.
    let n = if a.rank() == 0 { b.len() } else { a.len() };
    if n > 256 {
        return None;
    }
    let int = elem.is_int();
    let mut values = Vec::with_capacity(n);
    for at in 0..n {
        let (i, j) = (
            if a.rank() == 0 { 0 } else { at },
            if b.rank() == 0 { 0 } else { at },
        );
        if int && comparison(op).is_none() {
            // Where it does not fit, compiled code decides.
            let value = whole(op, a.get_i64(i), b.get_i64(j))??;
            values.push(value as f64);
            if (value as f64) as i64 != value {
                return None;
            }
            continue;
        }
        let (p, q) = (a.get_f64(i), b.get_f64(j));
        let truth = |b: bool| f64::from(u8::from(b));
        values.push(match op {
            BinaryOp::Add => p + q,
            BinaryOp::Sub => p - q,
            BinaryOp::Mul => p * q,
            BinaryOp::Div => p / q,
            BinaryOp::Eq => truth(p == q),
            BinaryOp::Ne => truth(p != q),
            BinaryOp::Lt => truth(p < q),
            BinaryOp::Le => truth(p <= q),
            BinaryOp::Gt => truth(p > q),
            BinaryOp::Ge => truth(p >= q),
            BinaryOp::And => truth(p != 0.0 && q != 0.0),
            BinaryOp::Or => truth(p != 0.0 || q != 0.0),
            BinaryOp::FloorDiv | BinaryOp::MatMul | BinaryOp::Pow | BinaryOp::Fill => return None,
        });
    }
    let elem = if comparison(op).is_some() {
        Elem::Bool
    } else {
        elem
    };
    let held = if elem.is_float() { Elem::F64 } else { elem };
    let dims = if a.rank() == 0 { b.dims() } else { a.dims() };
    let host = HostTensor::from_f64(held, dims, values);
    Some(Tensor {
        ty: TensorType {
            elem,
            shape: shape.to_vec().into(),
        },
        repr: Repr::Static(Arc::new(host)),
    })
}

/// What it gives of two ints.
pub(crate) fn fold_ints(op: Binary, p: i64, q: i64) -> Option<Tensor> {
    let value = match op {
        Binary::Min => p.min(q),
        Binary::Max => p.max(q),
        Binary::Mod if q != 0 => {
            let rest = p.wrapping_rem(q);
            if rest != 0 && (rest < 0) != (q < 0) {
                rest + q
            } else {
                rest
            }
        }
        _ => return None,
    };
    Some(whole_number(value))
}

/// A constant as a tensor in memory.
pub(crate) fn in_memory(tensor: Tensor) -> Tensor {
    match tensor.repr {
        Repr::Static(host) => Tensor {
            ty: tensor.ty,
            repr: Repr::Concrete(host),
        },
        _ => tensor,
    }
}

/// A function of a constant, where it needs no compiled code.
pub(crate) fn static_unary(op: Unary) -> Option<fn(f64) -> f64> {
    Some(match op {
        Unary::Neg => |x| -x,
        Unary::Abs => f64::abs,
        Unary::Sign => |x| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                0.0
            }
        },
        Unary::Floor => f64::floor,
        Unary::Exp => f64::exp,
        Unary::Log => f64::ln,
        Unary::Log1p => f64::ln_1p,
        Unary::Expm1 => f64::exp_m1,
        Unary::Sqrt => f64::sqrt,
        Unary::Sin => f64::sin,
        Unary::Cos => f64::cos,
        Unary::Tanh => f64::tanh,
        Unary::Logistic => |x| 1.0 / (1.0 + (-x).exp()),
        Unary::Erf | Unary::Not => return None,
    })
}
