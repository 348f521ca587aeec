//! Partial derivatives of elementwise ops: the one table of them, written with the *output*
//! where that is cheaper.
//!
//! Choices where a derivative does not exist, so that no NaN arises in places that a user would
//! call harmless: `sqrt` at 0 has 0, and so has `a^p` with 0 <= p < 1;
//! `a^p` by p has 0 where a <= 0; `|x|` at 0 has 0; a tie of `max(a, b)` or `min(a, b)` goes to
//! `a` alone, a tie inside `max(x)` to the first entry.

use crate::rebuild::splat;
use crate::term::{permute, product, repeat_to, scale};
use aec_ir::{Binary, Comparison, Function, Op, Reduction, Type, Unary, Value};
use aec_runtime::Elem;
use aec_syntax::Span;

/// A partial derivative: what the operand's tangent is multiplied by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Partial {
    /// Nothing flows.
    Zero,
    /// A number.
    Number(f64),
    /// A value of the operand's dims.
    Value(Value),
    /// The negated value.
    Minus(Value),
    /// 1 where the condition holds, else 0, also for infinite tangents.
    Where(Value),
    /// 0 where the condition holds, else 1.
    Unless(Value),
}

fn number(f: &mut Function, like: Value, x: f64, span: Span) -> Value {
    let ty = f.ty(like).clone();
    f.number(x, ty, span)
}

/// `x + c`.
fn plus(f: &mut Function, x: Value, c: f64, span: Span) -> Value {
    let c = number(f, x, c, span);
    f.binary(Binary::Add, x, c, span)
}

/// `1 / x`.
fn reciprocal(f: &mut Function, x: Value, span: Span) -> Value {
    let one = number(f, x, 1.0, span);
    f.binary(Binary::Div, one, x, span)
}

/// Derivative of `y = op(x)`.
pub fn unary_partial(f: &mut Function, op: Unary, x: Value, y: Value, span: Span) -> Partial {
    if !f.ty(x).elem.is_float() {
        return Partial::Zero;
    }
    match op {
        Unary::Neg => Partial::Number(-1.0),
        Unary::Abs => Partial::Value(f.unary(Unary::Sign, x, span)),
        Unary::Sign | Unary::Floor | Unary::Not => Partial::Zero,
        Unary::Exp => Partial::Value(y),
        Unary::Log => Partial::Value(reciprocal(f, x, span)),
        Unary::Log1p => {
            let shifted = plus(f, x, 1.0, span);
            Partial::Value(reciprocal(f, shifted, span))
        }
        Unary::Expm1 => Partial::Value(plus(f, y, 1.0, span)),
        Unary::Sqrt => {
            let zero = number(f, y, 0.0, span);
            let half = number(f, y, 0.5, span);
            let at_zero = f.compare(Comparison::Eq, y, zero, span);
            let quotient = f.binary(Binary::Div, half, y, span);
            Partial::Value(f.select(at_zero, zero, quotient, span))
        }
        Unary::Sin => Partial::Value(f.unary(Unary::Cos, x, span)),
        Unary::Cos => Partial::Minus(f.unary(Unary::Sin, x, span)),
        Unary::Tanh => {
            let square = product(f, &[y, y], 1.0, span);
            let one = number(f, y, 1.0, span);
            Partial::Value(f.binary(Binary::Sub, one, square, span))
        }
        Unary::Logistic => {
            let one = number(f, y, 1.0, span);
            let rest = f.binary(Binary::Sub, one, y, span);
            Partial::Value(product(f, &[y, rest], 1.0, span))
        }
        Unary::Erf => {
            let minus_square = product(f, &[x, x], -1.0, span);
            let bell = f.unary(Unary::Exp, minus_square, span);
            Partial::Value(scale(f, bell, std::f64::consts::FRAC_2_SQRT_PI, span))
        }
    }
}

/// Derivatives of `y = op(a, b)`; only those that are `wanted` are built.
pub fn binary_partials(
    f: &mut Function,
    op: Binary,
    a: Value,
    b: Value,
    y: Value,
    wanted: [bool; 2],
    span: Span,
) -> [Partial; 2] {
    if !f.ty(y).elem.is_float() {
        return [Partial::Zero; 2];
    }
    match op {
        Binary::Add => [Partial::Number(1.0); 2],
        Binary::Sub => [Partial::Number(1.0), Partial::Number(-1.0)],
        Binary::Mul => [Partial::Value(b), Partial::Value(a)],
        Binary::Div => {
            let inverse = reciprocal(f, b, span);
            let by_b = if wanted[1] {
                Partial::Minus(product(f, &[y, inverse], 1.0, span))
            } else {
                Partial::Zero
            };
            [Partial::Value(inverse), by_b]
        }
        Binary::Mod => {
            let by_b = if wanted[1] {
                let quotient = f.binary(Binary::Div, a, b, span);
                Partial::Minus(f.unary(Unary::Floor, quotient, span))
            } else {
                Partial::Zero
            };
            [Partial::Number(1.0), by_b]
        }
        Binary::Pow => [
            if wanted[0] {
                power_by_base(f, a, b, span)
            } else {
                Partial::Zero
            },
            if wanted[1] {
                power_by_exponent(f, a, y, span)
            } else {
                Partial::Zero
            },
        ],
        Binary::Min => extreme(f, [a, b], y, [Comparison::Le, Comparison::Lt], span),
        Binary::Max => extreme(f, [a, b], y, [Comparison::Ge, Comparison::Gt], span),
        Binary::FloorDiv | Binary::And | Binary::Or => [Partial::Zero; 2],
    }
}

/// The larger (or smaller) of two; of equal ones the first has the slope. Beside a number the
/// result alone tells which it was, so that the operand need not be kept for the way back; where
/// the two are equal the slope is zero.
fn extreme(
    f: &mut Function,
    [a, b]: [Value; 2],
    y: Value,
    [first, beyond]: [Comparison; 2],
    span: Span,
) -> [Partial; 2] {
    if splat(f, b).is_some() {
        let condition = f.compare(beyond, y, b, span);
        return [Partial::Where(condition), Partial::Unless(condition)];
    }
    if splat(f, a).is_some() {
        let condition = f.compare(beyond, y, a, span);
        return [Partial::Unless(condition), Partial::Where(condition)];
    }
    let condition = f.compare(first, a, b, span);
    [Partial::Where(condition), Partial::Unless(condition)]
}

/// `b a^(b-1)`, zero where a = 0 and 0 <= b < 1.
fn power_by_base(f: &mut Function, a: Value, b: Value, span: Span) -> Partial {
    let zero = number(f, a, 0.0, span);
    if let Some(exponent) = splat(f, b) {
        if exponent == 0.0 {
            return Partial::Zero;
        }
        if exponent == 1.0 {
            return Partial::Number(1.0);
        }
        let lower = number(f, b, exponent - 1.0, span);
        let power = f.binary(Binary::Pow, a, lower, span);
        let slope = scale(f, power, exponent, span);
        if 0.0 < exponent && exponent < 1.0 {
            let at_zero = f.compare(Comparison::Eq, a, zero, span);
            return Partial::Value(f.select(at_zero, zero, slope, span));
        }
        return Partial::Value(slope);
    }
    let one = number(f, a, 1.0, span);
    let lower = f.binary(Binary::Sub, b, one, span);
    let power = f.binary(Binary::Pow, a, lower, span);
    let slope = product(f, &[b, power], 1.0, span);
    // Elsewhere b = 0 gives 0 by itself, and keeps its own derivative by b.
    let base_zero = f.compare(Comparison::Eq, a, zero, span);
    let not_negative = f.compare(Comparison::Ge, b, zero, span);
    let below_one = f.compare(Comparison::Lt, b, one, span);
    let root = f.binary(Binary::And, not_negative, below_one, span);
    let flat = f.binary(Binary::And, base_zero, root, span);
    Partial::Value(f.select(flat, zero, slope, span))
}

/// `log(a) a^b`, zero where a <= 0.
fn power_by_exponent(f: &mut Function, a: Value, y: Value, span: Span) -> Partial {
    let zero = number(f, a, 0.0, span);
    let one = number(f, a, 1.0, span);
    let positive = f.compare(Comparison::Gt, a, zero, span);
    let safe = f.select(positive, a, one, span);
    let log = f.unary(Unary::Log, safe, span);
    Partial::Value(product(f, &[y, log], 1.0, span))
}

/// Marks the first largest (smallest) entry of `x` along `axes` taken together; nothing if
/// there is no entry.
pub fn first_extreme(
    f: &mut Function,
    x: Value,
    op: Reduction,
    axes: &[usize],
    span: Span,
) -> Option<Value> {
    let dims = f.dims(x).to_vec();
    let kept: Vec<usize> = (0..dims.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
    let size: usize = axes.iter().map(|&axis| dims[axis]).product();
    if size == 0 {
        return None;
    }
    let moved = permute(f, x, &order, span);
    let moved_dims = f.dims(moved).to_vec();
    let kept_dims: Vec<usize> = kept.iter().map(|&axis| dims[axis]).collect();
    let mut flat_dims = kept_dims.clone();
    flat_dims.push(size);
    let flat = f.reshape(moved, &flat_dims, span);
    let last = kept.len();
    let first = f.push1(
        Op::ArgReduce { op, axis: last },
        &[flat],
        Type::new(Elem::I64, &kept_dims),
        span,
    );
    let count = f.push1(
        Op::Iota { axis: last },
        &[],
        Type::new(Elem::I64, &flat_dims),
        span,
    );
    let at: Vec<usize> = (0..last).collect();
    let repeated = repeat_to(f, first, &flat_dims, &at, span);
    let mask = f.compare(Comparison::Eq, count, repeated, span);
    let mask = f.reshape(mask, &moved_dims, span);
    let mut back = vec![0; order.len()];
    for (to, &from) in order.iter().enumerate() {
        back[from] = to;
    }
    Some(permute(f, mask, &back, span))
}
