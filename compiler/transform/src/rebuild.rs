//! Rebuilding a function by a rule that may fail with a diagnostic, and small questions about
//! values that several passes ask.

use aec_ir::rewrite::{copy_ends, copy_inst, copy_params};
use aec_ir::{Function, InstData, Literal, Op, Value};
use aec_syntax::Diagnostic;
use smallvec::SmallVec;

/// The values that stand for an instruction's results.
pub type Results = SmallVec<[Value; 1]>;

/// Copies `f`; `each` may replace an instruction (given with its new operands) by values.
pub fn rebuild(
    f: &Function,
    mut each: impl FnMut(&mut Function, &InstData, &[Value]) -> Result<Option<Results>, Diagnostic>,
) -> Result<Function, Diagnostic> {
    let (mut out, mut map) = copy_params(f);
    for &inst in &f.order {
        let data = &f.insts[inst];
        let operands = map.all(&data.operands);
        match each(&mut out, data, &operands)? {
            Some(results) => {
                for (&old, &new) in data.results.iter().zip(&results) {
                    map.insert(old, new);
                }
            }
            None => {
                copy_inst(&mut out, f, inst, &mut map);
            }
        }
    }
    copy_ends(&mut out, f, &map);
    Ok(out)
}

/// Appends a copy of a region op of `f` with another body of the same type.
pub fn replace_body(
    out: &mut Function,
    f: &Function,
    data: &InstData,
    operands: &[Value],
    body: Function,
) -> Results {
    let mut op = data.op.clone();
    if let Some(old) = op.body_mut() {
        *old = body;
    }
    let types: Vec<_> = data.results.iter().map(|&v| f.ty(v).clone()).collect();
    let inst = out.push(op, operands, &types, data.span);
    out.insts[inst].results.clone()
}

/// `f` without what nothing needs, its arenas included.
pub fn tidy(mut f: Function) -> Function {
    aec_ir::eliminate_dead(&mut f);
    match f.is_compact() {
        true => f,
        false => f.compact(),
    }
}

/// The number that a value repeats everywhere, if it is such a constant.
pub fn splat(f: &Function, value: Value) -> Option<f64> {
    let inst = f.def_inst(value)?;
    match &f.insts[inst].op {
        Op::Constant(literal) => Some(match *literal {
            Literal::Float(x) => x,
            Literal::Int(x) => x as f64,
            Literal::Bool(x) => f64::from(u8::from(x)),
        }),
        _ => None,
    }
}
