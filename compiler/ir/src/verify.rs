//! What must hold of a function between any two passes. A pass that breaks one of these
//! rules is found here, with the instruction and the rule, not three passes later.

use crate::function::{Def, Function, Inst, Type, Value};
use crate::infer::check_types;
use crate::op::Op;
use crate::print::{Names, inst_text, value_name};
use cranelift_entity::{EntityRef, EntitySet};
use std::fmt;

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// The functions from the outermost to the one that breaks the rule, joined with `/`.
    pub function: String,
    /// The text of the instruction, or of the part of the function.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// Some lines around the instruction, the instruction's own marked with `>`.
    pub context: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid TIR in {}: {}: {}",
            self.function, self.place, self.message
        )?;
        if !self.context.is_empty() {
            write!(f, "\n{}", self.context.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyError {}

/// Checks a function that is called from outside. Rules: every value is defined before its
/// use and once; operand and result types follow the op's rule; regions hold recursively;
/// `batch_mean` stands inside a batch map; aliases pair params and results of one type, each
/// at most once; guards are float scalars; regions have neither.
pub fn verify(f: &Function) -> Result<(), VerifyError> {
    verify_in(f, &f.name, false, false)
}

/// Checks the body of a region on its own; `in_batch` says whether a batch map surrounds it.
pub fn verify_body(f: &Function, in_batch: bool) -> Result<(), VerifyError> {
    verify_in(f, &f.name, true, in_batch)
}

fn verify_in(f: &Function, path: &str, is_body: bool, in_batch: bool) -> Result<(), VerifyError> {
    let fail = |place: &str, message: String| VerifyError {
        function: path.to_string(),
        place: place.to_string(),
        message,
        context: String::new(),
    };
    let mut defined: EntitySet<Value> = EntitySet::with_capacity(f.values.len());
    for (index, &param) in f.params.iter().enumerate() {
        let known = f.values.get(param).map(|data| data.def);
        if known != Some(Def::Param(index as u32)) || !defined.insert(param) {
            return Err(fail(
                "params",
                format!("param {index} is not defined as such"),
            ));
        }
    }
    if f.param_names.len() > f.params.len() {
        return Err(fail("params", "more names than params".to_string()));
    }
    let mut seen: EntitySet<Inst> = EntitySet::with_capacity(f.insts.len());
    for (at, &inst) in f.order.iter().enumerate() {
        if f.insts.get(inst).is_none() {
            return Err(fail("order", format!("{inst} does not exist")));
        }
        if !seen.insert(inst) {
            return Err(at_inst(f, path, at, "it stands twice in the order".into()));
        }
        verify_inst(f, path, at, inst, &mut defined, in_batch)?;
    }
    for (index, &result) in f.results.iter().enumerate() {
        if !defined.contains(result) {
            return Err(fail(
                "return",
                format!("result {index} ({result}) is not defined"),
            ));
        }
    }
    for guard in &f.guards {
        if !defined.contains(guard.value) {
            return Err(fail("guard", format!("{} is not defined", guard.value)));
        }
        let ty = f.ty(guard.value);
        if ty.rank() != 0 || !ty.elem.is_float() {
            return Err(fail(
                "guard",
                format!("a guard is a float scalar, not {ty}"),
            ));
        }
    }
    if is_body && !(f.guards.is_empty() && f.aliases.is_empty()) {
        return Err(fail(
            "body",
            "the body of a region has no guards and no aliases".to_string(),
        ));
    }
    for (place, &(param, result)) in f.aliases.iter().enumerate() {
        let (Some(&from), Some(&to)) = (f.params.get(param), f.results.get(result)) else {
            return Err(fail(
                "alias",
                format!("{param} -> {result} names no param or no result"),
            ));
        };
        if f.ty(from) != f.ty(to) {
            return Err(fail(
                "alias",
                format!("{param} -> {result} pairs {} with {}", f.ty(from), f.ty(to)),
            ));
        }
        let again = f.aliases[..place]
            .iter()
            .any(|&(other, other_result)| other == param || other_result == result);
        if again {
            return Err(fail(
                "alias",
                format!("{param} -> {result} uses a param or a result a second time"),
            ));
        }
    }
    Ok(())
}

fn verify_inst(
    f: &Function,
    path: &str,
    at: usize,
    inst: Inst,
    defined: &mut EntitySet<Value>,
    in_batch: bool,
) -> Result<(), VerifyError> {
    let data = &f.insts[inst];
    let fail = |message: String| Err(at_inst(f, path, at, message));
    for &operand in &data.operands {
        if !defined.contains(operand) {
            let name = value_name(&Names::of(f), operand);
            return fail(format!("operand {name} is not defined before it"));
        }
    }
    for (index, &result) in data.results.iter().enumerate() {
        let known = f.values.get(result).map(|data| data.def);
        if known != Some(Def::Result(inst, index as u32)) || !defined.insert(result) {
            return fail(format!("result {index} is not defined as such"));
        }
    }
    match &data.op {
        Op::Map {
            body,
            is_batch,
            size,
            ..
        } => {
            let path = format!("{path}/{} (map {size})", body.name);
            verify_in(body, &path, true, in_batch || *is_batch)?;
        }
        Op::Loop(looped) => {
            let path = format!("{path}/{} (loop {})", looped.body.name, looped.count);
            verify_in(&looped.body, &path, true, in_batch)?;
        }
        Op::Derivative { body, .. } => {
            let path = format!("{path}/{} (derivative)", body.name);
            verify_in(body, &path, true, in_batch)?;
        }
        Op::BatchMean if !in_batch => {
            return fail("batch_mean stands outside of a batch map".to_string());
        }
        _ => {}
    }
    let operands: Vec<Type> = data.operands.iter().map(|&v| f.ty(v).clone()).collect();
    let results: Vec<Type> = data.results.iter().map(|&v| f.ty(v).clone()).collect();
    match check_types(&data.op, &operands, &results) {
        Ok(()) => Ok(()),
        Err(message) => fail(message),
    }
}

/// An error at the instruction in place `at` of the order, with two lines before and after.
fn at_inst(f: &Function, path: &str, at: usize, message: String) -> VerifyError {
    let names = Names::of(f);
    let first_line = |inst: Inst| {
        let text = inst_text(f, &names, inst);
        text.lines().next().unwrap_or_default().to_string()
    };
    let from = at.saturating_sub(2);
    let to = (at + 3).min(f.order.len());
    let mut context = String::new();
    for place in from..to {
        let inst = f.order[place];
        if inst.index() >= f.insts.len() {
            continue;
        }
        let mark = if place == at { '>' } else { ' ' };
        context.push_str(&format!("{mark} {}\n", first_line(inst)));
    }
    VerifyError {
        function: path.to_string(),
        place: first_line(f.order[at]),
        message,
        context,
    }
}
