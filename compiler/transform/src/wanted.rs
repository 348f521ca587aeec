//! Linear algebra fails only where what it gives is used.
//!
//! A script may name a solution before the `if` that needs it, or hand it to `select`. The value
//! of a branch that is not taken does not count (SEMANTICS.md A7), so neither does a matrix there
//! that is singular. This pass finds under which conditions each such op is used; where they do
//! not hold a harmless matrix stands in, whose factors have slopes, too. It comes first: the ops
//! that derivatives add work on the matrices that stand there.

use crate::term::Term;
use aec_ir::rewrite::{for_each_function, sort_order};
use aec_ir::{Binary, Function, Inst, InstData, Op, Type, Unary, Value};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use cranelift_entity::{EntitySet, SecondaryMap};
use smallvec::SmallVec;

/// More cases than these count as always.
const MAX_CASES: usize = 8;
/// What a case asks for beyond these is forgotten.
const MAX_CONDITIONS: usize = 8;

/// Scalar bools that hold, or do not, all at once; sorted. None: always.
type Case = SmallVec<[(Value, bool); 2]>;

/// The cases in which a value is used; none is never.
#[derive(Clone, Default)]
struct Need {
    cases: SmallVec<[Case; 1]>,
}

impl Need {
    fn always() -> Need {
        Need {
            cases: smallvec::smallvec![Case::new()],
        }
    }

    fn is_always(&self) -> bool {
        self.cases.iter().any(|case| case.is_empty())
    }

    fn add(&mut self, case: &Case) {
        let within = |a: &Case, b: &Case| a.iter().all(|x| b.contains(x));
        if self.cases.iter().any(|own| within(own, case)) {
            return;
        }
        // A value that both branches use is used in any case.
        if let [(condition, holds)] = case[..]
            && self
                .cases
                .iter()
                .any(|own| own[..] == [(condition, !holds)])
        {
            *self = Need::always();
            return;
        }
        self.cases.retain(|own| !within(case, own));
        self.cases.push(case.clone());
        if self.cases.len() > MAX_CASES {
            *self = Need::always();
        }
    }

    fn join(&mut self, other: &Need) {
        for case in &other.cases {
            self.add(case);
        }
    }

    /// The cases in which a condition is as said as well.
    fn and(&self, condition: Value, holds: bool) -> Need {
        let mut narrowed = Need::default();
        for case in &self.cases {
            if case.contains(&(condition, !holds)) {
                continue;
            }
            let mut case = case.clone();
            if !case.contains(&(condition, holds)) && case.len() < MAX_CONDITIONS {
                case.push((condition, holds));
                case.sort();
            }
            narrowed.add(&case);
        }
        narrowed
    }
}

/// `f` with linear algebra that cannot fail where nothing uses it.
pub fn spare_unused(f: &Function) -> Function {
    let mut f = f.clone();
    spare(&mut f, None);
    f
}

fn can_fail(op: &Op) -> bool {
    let mut found = matches!(op, Op::Matrix(_));
    if let Some(body) = op.body() {
        for_each_function(body, &mut |f| {
            let mut ops = f.order.iter().map(|&inst| &f.insts[inst].op);
            found |= ops.any(|op| matches!(op, Op::Matrix(_)));
        });
    }
    found
}

/// `used` is a param that says whether the results are.
fn spare(f: &mut Function, used: Option<Value>) {
    if !f.order.iter().any(|&inst| can_fail(&f.insts[inst].op)) {
        return;
    }
    let needs = needs(f, used);
    for inst in f.order.clone() {
        if !can_fail(&f.insts[inst].op) {
            continue;
        }
        let condition = condition(f, inst, &needs);
        if let Op::Matrix(_) = f.insts[inst].op {
            if let Some(condition) = condition {
                keep_harmless(f, inst, condition);
            }
        } else {
            spare_region(f, inst, condition);
        }
    }
    sort_order(f);
}

/// The cases in which each value is used.
fn needs(f: &Function, used: Option<Value>) -> SecondaryMap<Value, Need> {
    let mut needs: SecondaryMap<Value, Need> = SecondaryMap::new();
    let whole = match used {
        Some(used) => Need::always().and(used, true),
        None => Need::always(),
    };
    for &result in &f.results {
        needs[result].join(&whole);
    }
    for guard in &f.guards {
        needs[guard.value].join(&Need::always());
    }
    for &inst in f.order.iter().rev() {
        let data = &f.insts[inst];
        let mut need = Need::default();
        for &result in &data.results {
            need.join(&needs[result]);
        }
        let decided = match &data.op {
            Op::Select => scalar_of(f, data.operands[0]),
            _ => None,
        };
        for (at, &operand) in data.operands.iter().enumerate() {
            match decided {
                Some(condition) if at > 0 => {
                    needs[operand].join(&need.and(condition, at == 1));
                }
                _ => needs[operand].join(&need),
            }
        }
    }
    needs
}

/// The scalar that a condition repeats.
pub(crate) fn scalar_of(f: &Function, condition: Value) -> Option<Value> {
    if f.dims(condition).is_empty() {
        return Some(condition);
    }
    let term = Term::of_value(f, condition)?;
    let plain = term.is_relabel() && term.deltas.is_empty() && term.factors[0].labels.is_empty();
    plain.then(|| term.factors[0].value)
}

/// A bool that holds if the results of an instruction are used; none if they always are.
fn condition(f: &mut Function, inst: Inst, needs: &SecondaryMap<Value, Need>) -> Option<Value> {
    let span = f.insts[inst].span;
    let mut need = Need::default();
    for &result in &f.insts[inst].results {
        // A condition that the results themselves decide is of no use.
        for case in &needs[result].cases {
            let free = |&&(condition, _): &&(Value, bool)| !depends(f, condition, inst);
            need.add(&case.iter().filter(free).copied().collect());
        }
    }
    if need.is_always() || need.cases.is_empty() {
        return None;
    }
    let mut any = None;
    for case in need.cases {
        let mut all = None;
        for (condition, holds) in case {
            let holds = match holds {
                true => condition,
                false => f.unary(Unary::Not, condition, span),
            };
            all = Some(match all {
                Some(before) => f.binary(Binary::And, before, holds, span),
                None => holds,
            });
        }
        any = match (any, all) {
            (Some(before), Some(all)) => Some(f.binary(Binary::Or, before, all, span)),
            (before, all) => all.or(before),
        };
    }
    any
}

/// Whether a value is computed from the results of an instruction.
fn depends(f: &Function, value: Value, on: Inst) -> bool {
    let mut seen: EntitySet<Inst> = EntitySet::new();
    let mut work = vec![value];
    while let Some(value) = work.pop() {
        if let Some(inst) = f.def_inst(value)
            && seen.insert(inst)
        {
            if inst == on {
                return true;
            }
            work.extend(&f.insts[inst].operands);
        }
    }
    false
}

/// Where the condition does not hold the matrix is diagonal, of different numbers, and the right
/// side of a system is zero.
fn keep_harmless(f: &mut Function, inst: Inst, condition: Value) {
    let span = f.insts[inst].span;
    for at in 0..f.insts[inst].operands.len() {
        let operand = f.insts[inst].operands[at];
        let ty = f.ty(operand).clone();
        let harmless = match at {
            0 => diagonal(f, &ty, span),
            _ => f.number(0.0, ty.clone(), span),
        };
        let repeated = match ty.dims.is_empty() {
            true => condition,
            false => f.broadcast_leading(condition, &ty.dims, span),
        };
        f.insts[inst].operands[at] = f.select(repeated, operand, harmless, span);
    }
}

fn diagonal(f: &mut Function, ty: &Type, span: Span) -> Value {
    let (lead, matrix) = ty.dims.split_at(ty.rank() - 2);
    let mut numbers = vec![0.0; matrix.iter().product()];
    for i in 0..matrix[0].min(matrix[1]) {
        numbers[i * (matrix[1] + 1)] = (i + 1) as f64;
    }
    let one = std::sync::Arc::new(Tensor::from_f64(ty.elem, matrix, numbers));
    let one = f.push1(Op::Dense(one), &[], Type::new(ty.elem, matrix), span);
    match lead.is_empty() {
        true => one,
        false => f.broadcast_leading(one, lead, span),
    }
}

/// Goes on in a region, which is told by one more operand whether it is used.
fn spare_region(f: &mut Function, inst: Inst, condition: Option<Value>) {
    let data = &mut f.insts[inst];
    let used = condition.and_then(|condition| tell_region(data, condition));
    if let Some(body) = data.op.body_mut() {
        spare(body, used);
    }
}

/// Gives a region one more operand, a scalar bool; the body's param that it becomes.
pub(crate) fn tell_region(data: &mut InstData, condition: Value) -> Option<Value> {
    let body = data.op.body_mut()?;
    let told = body.param(Type::scalar(Elem::Bool), "");
    let params = body.params.len() - 1;
    let at = match &mut data.op {
        Op::Map { mapped, .. } => {
            mapped.push(false);
            params
        }
        Op::Derivative { active, .. } => {
            active.push(false);
            params
        }
        // The round's index is no operand; the limit follows the constants.
        Op::Loop(_) => params - 1,
        _ => params,
    };
    data.operands.insert(at, condition);
    Some(told)
}
