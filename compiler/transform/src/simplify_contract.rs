//! Rules of products: constants become coefficients, transposes, scales and repetitions are
//! absorbed, products are opened where no sum is repeated (AUTODIFF.md section 3, R1 to R4).

use crate::rebuild::splat;
use crate::simplify::{Context, Products};
use crate::term::{MAX_LABELS, Term, TermFactor, all_different};
use aec_ir::{Contract, Function, Label, Labels, Op, Type, Value};
use aec_runtime::Elem;

/// Terms that sum are not grown beyond this many factors by opening others.
const MAX_SUM_DEGREE: usize = 12;
/// Elementwise products are not grown beyond this many factors: the derivative of one with n
/// factors has n terms of n factors.
const MAX_PRODUCT_DEGREE: usize = 4;

/// The simplified contraction, or nothing if it stays as it is.
pub fn simplify_contract(
    context: &mut Context<'_>,
    contract: &Contract,
    operands: &[Value],
    ty: &Type,
) -> Option<Value> {
    let mut term = Term::new(contract, operands);
    let span = context.span;
    if ty.elem == Elem::Bool {
        return simplify_bool(context, term, operands, ty);
    }
    let mut opened = true;
    while opened {
        opened = fold_constants(context.out, &mut term);
        for at in 0..term.factors.len() {
            if let Some(inner) = openable(context, &term, at) {
                // The opened factors get further users unless this was the only one.
                for factor in &inner.factors {
                    context.uses[factor.value] += 1;
                }
                term.open(at, &inner);
                opened = true;
                break;
            }
        }
    }
    term.normalize();
    // What is repeated or put on a diagonal after a sum is left to an op of its own, which
    // users can absorb.
    if term.is_summed() && (!term.deltas.is_empty() || !term.repeated().is_empty()) {
        let second: Vec<Label> = term.deltas.iter().map(|&(_, b)| b).collect();
        let repeated = term.repeated();
        let kept: Labels = term
            .out
            .iter()
            .copied()
            .filter(|l| !second.contains(l) && !repeated.contains(l))
            .collect();
        let mut inner = term.clone();
        inner.deltas.clear();
        inner.out = kept.clone();
        for label in 0..inner.sizes.len() {
            let label = label as Label;
            if second.contains(&label) || repeated.contains(&label) {
                inner.sizes[label as usize] = 1;
            }
        }
        let inner = inner.emit(context.out, ty.elem, span);
        let mut outer = term;
        outer.coefficient = 1.0;
        outer.factors = vec![TermFactor {
            value: inner,
            labels: kept,
            power: 1,
        }];
        // Bound labels have been summed.
        for label in 0..outer.sizes.len() {
            if !outer.out.contains(&(label as Label)) {
                outer.sizes[label] = 1;
            }
        }
        return Some(outer.emit(context.out, ty.elem, span));
    }
    Some(term.emit(context.out, ty.elem, span))
}

/// A bool has one factor: it can only be relabelled.
fn simplify_bool(
    context: &mut Context<'_>,
    mut term: Term,
    operands: &[Value],
    ty: &Type,
) -> Option<Value> {
    let factor = operands.first()?;
    if let Some(x) = splat(context.out, *factor)
        && term.deltas.is_empty()
    {
        let literal = aec_ir::Literal::Bool(x != 0.0);
        return Some(context.out.constant(literal, ty.clone(), context.span));
    }
    while let Some(inner) = Term::of_value(context.out, term.factors[0].value)
        && inner.is_relabel()
    {
        term.open(0, &inner);
    }
    Some(term.emit(context.out, ty.elem, context.span))
}

/// Constant factors become part of the coefficient, which is exact for ints of this size.
fn fold_constants(f: &Function, term: &mut Term) -> bool {
    const EXACT: f64 = 2_147_483_648.0;
    let before = term.factors.len();
    let mut coefficient = term.coefficient;
    term.factors.retain(|factor| match splat(f, factor.value) {
        Some(x) if f.ty(factor.value).elem.is_float() || x.abs() < EXACT => {
            coefficient *= x.powi(factor.power as i32);
            false
        }
        Some(_) | None => true,
    });
    term.coefficient = coefficient;
    term.factors.len() != before
}

/// The term of a factor, if it is to be opened.
fn openable(context: &Context<'_>, user: &Term, at: usize) -> Option<Term> {
    let factor = &user.factors[at];
    let inner = Term::of_value(context.out, factor.value)?;
    if user.sizes.len() + inner.sizes.len() > MAX_LABELS {
        return None;
    }
    let single = context.uses[factor.value] <= 1;
    let user_is_one = user.factors.len() == 1 && factor.power == 1;
    if inner.is_summed() {
        // Sums are never repeated: the user only relabels, scales or sums further.
        let open = user_is_one
            && single
            && user.deltas.is_empty()
            && user.repeated().is_empty()
            && all_different(&factor.labels)
            && (context.products == Products::Open || !user.is_summed());
        return open.then_some(inner);
    }
    let open = match context.products {
        Products::Keep => {
            inner.is_permute()
                || (inner.is_relabel() && !user.is_summed())
                || (inner.factors.is_empty() && inner.deltas.is_empty())
                || (user_is_one && user.is_summed() && single && inner.repeated().is_empty())
        }
        Products::Open => {
            let degree =
                user.degree() - factor.power as usize + inner.degree() * factor.power as usize;
            if inner.is_relabel() || !inner.deltas.is_empty() {
                degree <= MAX_SUM_DEGREE
            } else if user.is_summed() {
                single
                    && degree <= MAX_SUM_DEGREE
                    && (user.factors.len() == 1 || has_structure(&inner))
            } else {
                single && degree <= MAX_PRODUCT_DEGREE
            }
        }
    };
    open.then_some(inner)
}

/// Whether a product is more than an elementwise one of equal axes, so that another order of
/// summing may be cheaper.
fn has_structure(term: &Term) -> bool {
    !term.repeated().is_empty()
        || term
            .factors
            .iter()
            .any(|factor| factor.labels.len() != term.out.len())
}

/// `a` and `b` as multiples of one term: the term and the two coefficients.
pub fn like_terms(f: &Function, a: Value, b: Value) -> Option<(Term, f64, f64)> {
    let term = |v: Value| {
        let mut term = match f.def_inst(v).map(|inst| &f.insts[inst].op) {
            Some(Op::Contract(_)) => Term::of_value(f, v)?,
            _ => Term::identity(f, v),
        };
        term.normalize();
        Some(term)
    };
    let (mut ta, mut tb) = (term(a)?, term(b)?);
    let (ca, cb) = (ta.coefficient, tb.coefficient);
    (ta.coefficient, tb.coefficient) = (1.0, 1.0);
    (ta == tb).then_some((ta, ca, cb))
}
