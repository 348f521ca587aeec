//! Rules of elementwise ops.

use crate::range::range;
use crate::rebuild::splat;
use crate::simplify::Context;
use crate::simplify_contract::like_terms;
use crate::term::{Term, TermFactor, product, scale};
use aec_ir::{Binary, Comparison, Function, Label, Labels, Literal, Op, Type, Unary, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use smallvec::SmallVec;

/// What stands for the op, or nothing if it stays.
pub fn simplify_elementwise(
    context: &mut Context<'_>,
    op: &Op,
    operands: &[Value],
    ty: &Type,
) -> Option<Value> {
    if let Some(literal) = fold(context.out, op, operands, ty.elem) {
        return Some(context.out.constant(literal, ty.clone(), context.span));
    }
    if let Some(value) = before_repetition(context, op, operands, ty) {
        return Some(value);
    }
    let span = context.span;
    match op {
        Op::Unary(op) => unary(context, *op, operands[0], ty),
        Op::Binary(op) => binary(context, *op, operands[0], operands[1], ty),
        Op::Compare(op) => compare(context, *op, operands[0], operands[1], ty),
        Op::Select => select(context, operands[0], operands[1], operands[2], ty),
        Op::Convert => {
            let f = &mut *context.out;
            let from = f.ty(operands[0]).elem;
            if from == ty.elem {
                return Some(operands[0]);
            }
            let inst = f.def_inst(operands[0])?;
            if !matches!(f.insts[inst].op, Op::Convert) {
                return None;
            }
            let source = f.insts[inst].operands[0];
            let original = f.ty(source).elem;
            // Exact on the way: nothing was lost that the second conversion would see.
            let exact = matches!(
                (original, from),
                (Elem::Bool, _) | (Elem::F32, Elem::F64) | (Elem::I32, Elem::I64 | Elem::F64)
            );
            exact.then(|| f.convert(source, ty.elem, span))
        }
        _ => None,
    }
}

fn literal(x: f64, elem: Elem) -> Literal {
    match elem {
        Elem::F32 => Literal::Float(f64::from(x as f32)),
        Elem::F64 => Literal::Float(x),
        Elem::I32 => Literal::Int(i64::from(x as i32)),
        Elem::I64 => Literal::Int(x as i64),
        Elem::Bool => Literal::Bool(x != 0.0),
    }
}

/// The value of an op of constants. Ints beyond 2^53 and ops whose rounding is the runtime's
/// own are left alone.
fn fold(f: &Function, op: &Op, operands: &[Value], elem: Elem) -> Option<Literal> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let mut x: SmallVec<[f64; 3]> = SmallVec::new();
    for &operand in operands {
        let value = splat(f, operand)?;
        if !f.ty(operand).elem.is_float() && value.abs() >= EXACT {
            return None;
        }
        x.push(value);
    }
    let value = match op {
        Op::Unary(op) => match op {
            Unary::Neg => -x[0],
            Unary::Abs => x[0].abs(),
            Unary::Sign if x[0] == 0.0 || x[0].is_nan() => x[0],
            Unary::Sign => x[0].signum(),
            Unary::Floor => x[0].floor(),
            Unary::Exp => x[0].exp(),
            Unary::Log => x[0].ln(),
            Unary::Log1p => x[0].ln_1p(),
            Unary::Expm1 => x[0].exp_m1(),
            Unary::Sqrt => x[0].sqrt(),
            Unary::Sin => x[0].sin(),
            Unary::Cos => x[0].cos(),
            Unary::Tanh => x[0].tanh(),
            Unary::Logistic => 1.0 / (1.0 + (-x[0]).exp()),
            Unary::Not => f64::from(u8::from(x[0] == 0.0)),
            Unary::Erf => return None,
        },
        Op::Binary(op) => match op {
            Binary::Add => x[0] + x[1],
            Binary::Sub => x[0] - x[1],
            Binary::Mul => x[0] * x[1],
            Binary::Div => x[0] / x[1],
            Binary::Pow => x[0].powf(x[1]),
            Binary::Min if x[0].is_nan() || x[1].is_nan() => f64::NAN,
            Binary::Max if x[0].is_nan() || x[1].is_nan() => f64::NAN,
            Binary::Min => x[0].min(x[1]),
            Binary::Max => x[0].max(x[1]),
            Binary::And => f64::from(u8::from(x[0] != 0.0 && x[1] != 0.0)),
            Binary::Or => f64::from(u8::from(x[0] != 0.0 || x[1] != 0.0)),
            Binary::FloorDiv | Binary::Mod => return None,
        },
        Op::Compare(op) => f64::from(u8::from(match op {
            Comparison::Eq => x[0] == x[1],
            Comparison::Ne => x[0] != x[1],
            Comparison::Lt => x[0] < x[1],
            Comparison::Le => x[0] <= x[1],
            Comparison::Gt => x[0] > x[1],
            Comparison::Ge => x[0] >= x[1],
        })),
        Op::Select => {
            if x[0] != 0.0 {
                x[1]
            } else {
                x[2]
            }
        }
        Op::Convert => x[0],
        _ => return None,
    };
    if !elem.is_float() && value.abs() >= EXACT {
        return None;
    }
    Some(literal(value, elem))
}

/// A comparison that the range of a value decides. Only to false, as what is no number is not less either.
fn compare(
    context: &mut Context<'_>,
    op: Comparison,
    a: Value,
    b: Value,
    ty: &Type,
) -> Option<Value> {
    let f = &mut *context.out;
    if !f.ty(a).elem.is_float() {
        return None;
    }
    let never = match op {
        Comparison::Lt => range(f, a).least >= range(f, b).most,
        Comparison::Gt => range(f, a).most <= range(f, b).least,
        Comparison::Eq | Comparison::Ne | Comparison::Le | Comparison::Ge => false,
    };
    never.then(|| f.constant(Literal::Bool(false), ty.clone(), context.span))
}

/// The result axes along which a value only repeats, if it is such a value.
fn repeated_axes(f: &Function, value: Value) -> Option<(Term, SmallVec<[usize; 4]>)> {
    let term = Term::of_value(f, value)?;
    if !term.is_relabel() || !term.deltas.is_empty() {
        return None;
    }
    let repeated = term.repeated();
    let axes: SmallVec<[usize; 4]> = (0..term.out.len())
        .filter(|&axis| repeated.contains(&term.out[axis]))
        .collect();
    (!axes.is_empty()).then_some((term, axes))
}

/// An op of values that all repeat along an axis is done before the repetition.
fn before_repetition(
    context: &mut Context<'_>,
    op: &Op,
    operands: &[Value],
    ty: &Type,
) -> Option<Value> {
    let f = &mut *context.out;
    let mut common: Option<SmallVec<[usize; 4]>> = None;
    let mut terms: SmallVec<[Option<Term>; 3]> = SmallVec::new();
    for &operand in operands {
        if splat(f, operand).is_some() {
            terms.push(None);
            continue;
        }
        let (term, axes) = repeated_axes(f, operand)?;
        common = Some(match common {
            None => axes,
            Some(before) => before.into_iter().filter(|a| axes.contains(a)).collect(),
        });
        terms.push(Some(term));
    }
    let common = common.filter(|axes| !axes.is_empty())?;
    let kept: SmallVec<[usize; 4]> = (0..ty.rank())
        .filter(|axis| !common.contains(axis))
        .collect();
    let dims: SmallVec<[usize; 4]> = kept.iter().map(|&axis| ty.dims[axis]).collect();
    let span = context.span;
    let mut small: SmallVec<[Value; 3]> = SmallVec::new();
    for (&operand, term) in operands.iter().zip(terms) {
        let elem = f.ty(operand).elem;
        let value = match term {
            Some(mut term) => {
                for &axis in &common {
                    let label = term.out[axis];
                    term.sizes[label as usize] = 1;
                }
                term.out = kept.iter().map(|&axis| term.out[axis]).collect();
                term.emit(f, elem, span)
            }
            None => {
                let x = splat(f, operand)?;
                let small_ty = Type::new(elem, &dims);
                match f.def_inst(operand).map(|inst| f.insts[inst].op.clone()) {
                    Some(constant @ Op::Constant(_)) => f.push1(constant, &[], small_ty, span),
                    _ => f.number(x, small_ty, span),
                }
            }
        };
        small.push(value);
    }
    let value = f.push1(op.clone(), &small, Type::new(ty.elem, &dims), span);
    Some(crate::term::repeat_to(f, value, &ty.dims, &kept, span))
}

fn unary(context: &mut Context<'_>, op: Unary, x: Value, ty: &Type) -> Option<Value> {
    let span = context.span;
    let f = &mut *context.out;
    match op {
        Unary::Neg if ty.elem.is_float() => Some(scale(f, x, -1.0, span)),
        Unary::Not => {
            let inst = f.def_inst(x)?;
            match &f.insts[inst].op {
                Op::Unary(Unary::Not) => Some(f.insts[inst].operands[0]),
                Op::Compare(comparison @ (Comparison::Eq | Comparison::Ne)) => {
                    let opposite = match comparison {
                        Comparison::Eq => Comparison::Ne,
                        _ => Comparison::Eq,
                    };
                    let (a, b) = (f.insts[inst].operands[0], f.insts[inst].operands[1]);
                    Some(f.compare(opposite, a, b, span))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The operand and the factor, if the value is an operand times a number, axes as they are.
fn scaled(f: &Function, value: Value) -> Option<(Value, f64)> {
    let term = Term::of_value(f, value)?;
    (term.is_permute() && term.factors[0].labels == term.out)
        .then(|| (term.factors[0].value, term.coefficient))
}

fn binary(context: &mut Context<'_>, op: Binary, a: Value, b: Value, ty: &Type) -> Option<Value> {
    let span = context.span;
    let is_float = ty.elem.is_float();
    let (ca, cb) = (splat(context.out, a), splat(context.out, b));
    let f = &mut *context.out;
    match op {
        Binary::Add => {
            if cb == Some(0.0) {
                return Some(a);
            }
            if ca == Some(0.0) {
                return Some(b);
            }
            if !is_float {
                return None;
            }
            if let Some(value) = sum_of_like(context, a, b, 1.0, ty) {
                return Some(value);
            }
            let f = &mut *context.out;
            if let Some((x, -1.0)) = scaled(f, b) {
                return Some(f.binary(Binary::Sub, a, x, span));
            }
            if let Some((x, -1.0)) = scaled(f, a) {
                return Some(f.binary(Binary::Sub, b, x, span));
            }
            None
        }
        Binary::Sub => {
            if cb == Some(0.0) {
                return Some(a);
            }
            if !is_float {
                return None;
            }
            if ca == Some(0.0) {
                return Some(scale(f, b, -1.0, span));
            }
            if ca == Some(1.0)
                && let Some(inst) = f.def_inst(b)
                && matches!(f.insts[inst].op, Op::Unary(Unary::Logistic))
                && context.uses[b] <= 1
            {
                let x = f.insts[inst].operands[0];
                let minus = scale(f, x, -1.0, span);
                return Some(f.unary(Unary::Logistic, minus, span));
            }
            if let Some(value) = sum_of_like(context, a, b, -1.0, ty) {
                return Some(value);
            }
            let f = &mut *context.out;
            if let Some((x, -1.0)) = scaled(f, b) {
                return Some(f.binary(Binary::Add, a, x, span));
            }
            None
        }
        Binary::Mul if is_float => Some(product(f, &[a, b], 1.0, span)),
        Binary::Mul => match (ca, cb) {
            (_, Some(1.0)) => Some(a),
            (Some(1.0), _) => Some(b),
            _ => None,
        },
        Binary::Div => match cb {
            Some(c) if is_float && c != 0.0 && (1.0 / c).is_normal() => {
                Some(scale(f, a, 1.0 / c, span))
            }
            _ => {
                // A scale of the numerator is left for products to absorb.
                let (x, c) = scaled(f, a)?;
                let quotient = f.binary(Binary::Div, x, b, span);
                Some(scale(f, quotient, c, span))
            }
        },
        Binary::Pow => power(f, a, cb?, ty, span),
        Binary::Min | Binary::Max => (a == b).then_some(a),
        Binary::And => match (ca, cb) {
            (Some(0.0), _) | (_, Some(1.0)) => Some(a),
            (Some(1.0), _) | (_, Some(0.0)) => Some(b),
            _ => (a == b).then_some(a),
        },
        Binary::Or => match (ca, cb) {
            (Some(1.0), _) | (_, Some(0.0)) => Some(a),
            (Some(0.0), _) | (_, Some(1.0)) => Some(b),
            _ => (a == b).then_some(a),
        },
        Binary::FloorDiv | Binary::Mod => None,
    }
}

/// R5: `c1 t + c2 t` is `(c1 + c2) t`.
fn sum_of_like(
    context: &mut Context<'_>,
    a: Value,
    b: Value,
    sign: f64,
    ty: &Type,
) -> Option<Value> {
    if a == b && sign < 0.0 {
        // x - x: NaN for infinite x; leave it.
        return None;
    }
    let (mut term, ca, cb) = like_terms(context.out, a, b)?;
    if term.is_summed() && a != b && !(context.uses[a] <= 1 && context.uses[b] <= 1) {
        return None;
    }
    if a == b {
        return Some(scale(context.out, a, 2.0, context.span));
    }
    let coefficient = ca + sign * cb;
    if coefficient == 0.0 {
        return None;
    }
    term.coefficient = coefficient;
    Some(term.emit(context.out, ty.elem, context.span))
}

/// Powers with constant exponents.
fn power(f: &mut Function, a: Value, exponent: f64, ty: &Type, span: Span) -> Option<Value> {
    if exponent == 0.0 {
        return Some(f.number(1.0, ty.clone(), span));
    }
    if exponent == 0.5 {
        return Some(f.unary(Unary::Sqrt, a, span));
    }
    if exponent == -1.0 {
        let one = f.number(1.0, ty.clone(), span);
        return Some(f.binary(Binary::Div, one, a, span));
    }
    if exponent.fract() == 0.0 && (1.0..=4.0).contains(&exponent) {
        let mut term = Term::identity(f, a);
        term.factors[0].power = exponent as u32;
        return Some(term.emit(f, ty.elem, span));
    }
    if exponent == -2.0 {
        let square = product(f, &[a, a], 1.0, span);
        let one = f.number(1.0, ty.clone(), span);
        return Some(f.binary(Binary::Div, one, square, span));
    }
    None
}

fn select(
    context: &mut Context<'_>,
    condition: Value,
    a: Value,
    b: Value,
    ty: &Type,
) -> Option<Value> {
    let span = context.span;
    let f = &mut *context.out;
    if let Some(c) = splat(f, condition) {
        return Some(if c != 0.0 { a } else { b });
    }
    if a == b {
        return Some(a);
    }
    if let Some(inst) = f.def_inst(condition)
        && matches!(f.insts[inst].op, Op::Unary(Unary::Not))
    {
        let positive = f.insts[inst].operands[0];
        return Some(f.select(positive, b, a, span));
    }
    // select(c, select(c, x, y), z) is select(c, x, z), and likewise on the other side.
    for (side, other) in [(a, b), (b, a)] {
        if let Some(inst) = f.def_inst(side)
            && matches!(f.insts[inst].op, Op::Select)
            && f.insts[inst].operands[0] == condition
        {
            let inner = f.insts[inst].operands.clone();
            return Some(match side == a {
                true => f.select(condition, inner[1], other, span),
                false => f.select(condition, other, inner[2], span),
            });
        }
    }
    if ty.elem.is_float() {
        if splat(f, b) == Some(0.0) {
            return select_in_term(f, condition, a, true, ty, span);
        }
        if splat(f, a) == Some(0.0) {
            return select_in_term(f, condition, b, false, ty, span);
        }
    }
    None
}

/// A selection against zero of a product on a diagonal, or of an outer product, is done in a
/// factor: no identity and no larger mask is made. Without a factor the mask itself is one.
fn select_in_term(
    f: &mut Function,
    condition: Value,
    x: Value,
    taken: bool,
    ty: &Type,
    span: Span,
) -> Option<Value> {
    let mut term = Term::of_value(f, x)?;
    if term.is_summed() || term.deltas.is_empty() {
        return None;
    }
    let (condition_term, repeated) = repeated_axes(f, condition)?;
    let kept: SmallVec<[usize; 4]> = (0..ty.rank()).filter(|a| !repeated.contains(a)).collect();
    // The condition on its own axes.
    let mut narrow = condition_term.clone();
    for &axis in &repeated {
        let label = narrow.out[axis];
        narrow.sizes[label as usize] = 1;
    }
    narrow.out = kept.iter().map(|&axis| condition_term.out[axis]).collect();
    let labels: Labels = kept.iter().map(|&axis| term.out[axis]).collect();
    let wanted: Labels = labels.iter().map(|&l| first_of_class(&term, l)).collect();
    let position = term
        .factors
        .iter()
        .position(|factor| factor.power == 1 && wanted.iter().all(|l| factor.labels.contains(l)));
    let narrow = narrow.emit(f, Elem::Bool, span);
    let (value, factor_labels) = match position {
        Some(at) => {
            let factor = term.factors[at].clone();
            let value = f.ty(factor.value).clone();
            let mut over = Term::identity(f, factor.value);
            // The narrow condition repeated over the factor's axes.
            let at_axes: SmallVec<[usize; 4]> = wanted
                .iter()
                .filter_map(|l| factor.labels.iter().position(|o| o == l))
                .collect();
            over.out.clear();
            let mask = crate::term::repeat_to(f, narrow, &value.dims, &at_axes, span);
            let zero = f.number(0.0, value, span);
            let chosen = match taken {
                true => f.select(mask, factor.value, zero, span),
                false => f.select(mask, zero, factor.value, span),
            };
            term.factors.remove(at);
            (chosen, factor.labels)
        }
        None => {
            let mask_ty = Type::new(ty.elem, f.dims(narrow));
            let zero = f.number(0.0, mask_ty.clone(), span);
            let one = f.number(1.0, mask_ty, span);
            let mask = match taken {
                true => f.select(narrow, one, zero, span),
                false => f.select(narrow, zero, one, span),
            };
            if !term.factors.is_empty() {
                return None;
            }
            (mask, wanted)
        }
    };
    term.factors.push(TermFactor {
        value,
        labels: factor_labels,
        power: 1,
    });
    Some(term.emit(f, ty.elem, span))
}

/// The label that factors speak of, among those that deltas join with `label`.
fn first_of_class(term: &Term, label: Label) -> Label {
    term.deltas
        .iter()
        .find(|&&(_, b)| b == label)
        .map_or(label, |&(a, _)| a)
}
