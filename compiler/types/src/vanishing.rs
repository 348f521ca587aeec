//! `x log x` is 0 at 0, its limit, and not `0 * -inf`.
//!
//! The one simplification that changes a value of a script: where `x` is a factor of a product,
//! another factor's `log` of `x`, or of a product with `x` in it, is taken of 1 wherever `x` is 0.
//! So entropies and divergences can be written as on the slide, `sum(p * log(p / q))`. The slope
//! at 0 is then that of 0, instead of the infinite one. The rule sees what one statement, or one
//! function that is compiled, makes of `x`.

use aec_ir::{Binary, Comparison, Function, Literal, Op, Unary, Value};
use aec_syntax::Span;

/// Factors are looked for so deep in products of products.
const MAX_DEPTH: usize = 8;

/// The two sides of a product entry by entry, with logarithms finite where a factor of the other
/// side makes them vanish.
pub(crate) fn tamed(f: &mut Function, [a, b]: [Value; 2], span: Span) -> [Value; 2] {
    if f.ty(a) != f.ty(b) || !f.ty(a).elem.is_float() {
        return [a, b];
    }
    let (of_a, of_b) = (factors(f, a), factors(f, b));
    [
        tame(f, a, &of_b, MAX_DEPTH, span),
        tame(f, b, &of_a, MAX_DEPTH, span),
    ]
}

/// What a value is a product of, entry by entry: itself first.
fn factors(f: &Function, value: Value) -> Vec<Value> {
    let mut found: Vec<Value> = vec![value];
    let mut at = 0;
    while at < found.len() && at < 1 << MAX_DEPTH {
        found.extend(parts(f, found[at]));
        at += 1;
    }
    found
}

/// The factors of a value that is a product entry by entry.
fn parts(f: &Function, value: Value) -> Vec<Value> {
    let Some(inst) = f.def_inst(value) else {
        return Vec::new();
    };
    let data = &f.insts[inst];
    match &data.op {
        Op::Unary(Unary::Neg) | Op::Binary(Binary::Div) => vec![data.operands[0]],
        Op::Contract(c) if c.deltas.is_empty() => (c.factors.iter().zip(&data.operands))
            .filter(|(factor, _)| factor.labels == c.out)
            .map(|(_, &operand)| operand)
            .collect(),
        _ => Vec::new(),
    }
}

/// `value` with its logarithms made finite where one of `zeros` is 0; it is a sum or a product of
/// what may hold one.
fn tame(f: &mut Function, value: Value, zeros: &[Value], depth: usize, span: Span) -> Value {
    let Some(inst) = f.def_inst(value).filter(|_| depth > 0) else {
        return value;
    };
    let data = f.insts[inst].clone();
    let mut operands = data.operands.clone();
    match &data.op {
        Op::Unary(Unary::Log) => {
            let Some(zero) = shared(f, operands[0], zeros) else {
                return value;
            };
            let ty = f.ty(operands[0]).clone();
            let nothing = f.number(0.0, ty.clone(), span);
            let one = f.number(1.0, ty, span);
            let vanishes = f.compare(Comparison::Eq, zero, nothing, span);
            operands[0] = f.select(vanishes, one, operands[0], span);
        }
        Op::Unary(Unary::Neg) | Op::Binary(Binary::Div) => {
            operands[0] = tame(f, operands[0], zeros, depth - 1, span);
        }
        Op::Binary(Binary::Add | Binary::Sub) | Op::Select => {
            let condition = usize::from(matches!(data.op, Op::Select));
            for operand in &mut operands[condition..] {
                *operand = tame(f, *operand, zeros, depth - 1, span);
            }
        }
        Op::Contract(c) if c.deltas.is_empty() => {
            for (factor, operand) in c.factors.iter().zip(&mut operands) {
                if factor.labels == c.out {
                    *operand = tame(f, *operand, zeros, depth - 1, span);
                }
            }
        }
        _ => return value,
    }
    if operands == data.operands {
        return value;
    }
    let ty = f.ty(value).clone();
    f.push1(data.op, &operands, ty, data.span)
}

/// Which of `zeros` is a factor of `of`, the operand of a logarithm. An operand may have been kept
/// away from 0 in entries that mean nothing.
fn shared(f: &Function, of: Value, zeros: &[Value]) -> Option<Value> {
    let kept = |value: Value| -> Option<[Value; 2]> {
        let data = &f.insts[f.def_inst(value)?];
        matches!(data.op, Op::Select).then(|| [data.operands[1], data.operands[2]])
    };
    let mut all = factors(f, of);
    for arm in kept(of).into_iter().flatten() {
        all.extend(factors(f, arm));
    }
    let vanishes = |value: Value| {
        let mut zeros = zeros.iter().copied();
        zeros.find(|&zero| goes_with(f, value, zero))
    };
    all.into_iter().find_map(vanishes)
}

/// Whether a value is `zero`, or computed as it is. Numbers that a script writes, and what it makes
/// of them, have lost where they come from: they have to be 0 only where `zero` is.
fn goes_with(f: &Function, value: Value, zero: Value) -> bool {
    let op = |value: Value| f.def_inst(value).map(|inst| &f.insts[inst].op);
    match (op(value), op(zero)) {
        (Some(Op::Dense(a)), Some(Op::Dense(b))) => {
            a.dims() == b.dims()
                && (0..a.len()).all(|at| a.get_f64(at) != 0.0 || b.get_f64(at) == 0.0)
        }
        (Some(Op::Constant(Literal::Float(a))), Some(Op::Constant(Literal::Float(b)))) => {
            *a == 0.0 && *b == 0.0
        }
        _ => same(f, value, zero, MAX_DEPTH),
    }
}

/// Whether two values are computed alike: `1 - p` is written twice in `(1 - p) * log(1 - p)`.
fn same(f: &Function, a: Value, b: Value, depth: usize) -> bool {
    if a == b {
        return true;
    }
    let (Some(x), Some(y)) = (f.def_inst(a), f.def_inst(b)) else {
        return false;
    };
    let (x, y) = (&f.insts[x], &f.insts[y]);
    // A region may have several results, and what it computes alike is dear to find out.
    let repeats = x.op.body().is_none();
    depth > 0
        && repeats
        && x.op == y.op
        && f.ty(a) == f.ty(b)
        && x.operands.len() == y.operands.len()
        && (x.operands.iter().zip(&y.operands)).all(|(&a, &b)| same(f, a, b, depth - 1))
}
