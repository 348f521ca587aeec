//! What maps, loops and functions with a derivative of their own want of their operands and
//! regions.

use super::{Rule, ensure};
use crate::function::{Function, Type};
use crate::op::{Loop, Mode};
use aec_runtime::Elem;
use smallvec::SmallVec;

pub(super) fn map_rule(
    size: usize,
    mapped: &[bool],
    body: &Function,
    operands: &[Type],
) -> Result<Rule, String> {
    ensure(
        mapped.len() == operands.len() && body.params.len() == operands.len(),
        || {
            format!(
                "{} operands for {} marks and {} params",
                operands.len(),
                mapped.len(),
                body.params.len()
            )
        },
    )?;
    for (place, (ty, &mapped)) in operands.iter().zip(mapped).enumerate() {
        let want = body.ty(body.params[place]);
        let want = if mapped {
            with_front(size, want)
        } else {
            want.clone()
        };
        ensure(*ty == want, || {
            format!("operand {place} has type {ty}, but the body wants {want}")
        })?;
    }
    Ok(Rule::Types(
        body.results
            .iter()
            .map(|&result| with_front(size, body.ty(result)))
            .collect(),
    ))
}

pub(super) fn loop_rule(looped: &Loop, operands: &[Type]) -> Result<Rule, String> {
    let body = &looped.body;
    let operands = match (looped.limited, operands.split_last()) {
        (true, Some((limit, rest))) => {
            ensure(*limit == Type::scalar(Elem::I64) && !looped.exit, || {
                format!("the limit of a loop is an i64 scalar beside no exit, not {limit}")
            })?;
            rest
        }
        (true, None) => return Err("the limit is missing".to_string()),
        (false, _) => operands,
    };
    let (carried, slices) = (looped.carried, looped.first_slice());
    ensure(
        body.params.len() == operands.len() + 1 && operands.len() >= carried + looped.sliced,
        || {
            format!(
                "{} operands for {carried} values of state, {} sequences and {} params",
                operands.len(),
                looped.sliced,
                body.params.len()
            )
        },
    )?;
    ensure(*body.ty(body.params[0]) == Type::scalar(Elem::I64), || {
        "the first param is no index".to_string()
    })?;
    for (place, ty) in operands.iter().enumerate() {
        let param = body.ty(body.params[place + 1]);
        let is_slice = (slices..looped.first_constant()).contains(&(place + 1));
        let want = match is_slice {
            true => with_front(looped.count, param),
            false => param.clone(),
        };
        ensure(*ty == want, || {
            format!("operand {place} has type {ty}, but the body wants {want}")
        })?;
    }
    ensure(body.results.len() >= carried, || {
        format!(
            "{} results for {carried} values of state",
            body.results.len()
        )
    })?;
    for (place, ty) in operands.iter().take(carried).enumerate() {
        let next = body.ty(body.results[place]);
        ensure(next == ty, || {
            format!("value {place} of the state has type {ty}, but the next one has {next}")
        })?;
    }
    if looped.exit {
        ensure(
            carried > 0 && operands[0].elem == Elem::Bool && body.results.len() == carried,
            || "an exit wants a state that begins with bools, and nothing yielded".to_string(),
        )?;
    }
    let two_places = |operands: &[Type]| {
        let places = Type::new(Elem::I64, &[looped.count]);
        operands.len() >= 2 && operands[..2].iter().all(|ty| *ty == places)
    };
    let is_tree = looped.limited && looped.sliced >= 2 && two_places(&operands[carried..]);
    ensure(!looped.nodes || is_tree, || {
        "nodes want a limit, and sequences that begin with the children's places".to_string()
    })?;
    let yielded = body.results[carried..]
        .iter()
        .map(|&result| with_front(looped.count, body.ty(result)));
    Ok(Rule::Types(
        operands[..carried].iter().cloned().chain(yielded).collect(),
    ))
}

pub(super) fn with_front(size: usize, ty: &Type) -> Type {
    let mut dims: SmallVec<[usize; 4]> = SmallVec::with_capacity(ty.rank() + 1);
    dims.push(size);
    dims.extend_from_slice(&ty.dims);
    Type {
        elem: ty.elem,
        dims,
    }
}

pub(super) fn derivative_rule(
    mode: Mode,
    active: &[bool],
    body: &Function,
    operands: &[Type],
) -> Result<Rule, String> {
    let params: Vec<&Type> = body.params.iter().map(|&param| body.ty(param)).collect();
    let results: Vec<Type> = body
        .results
        .iter()
        .map(|&result| body.ty(result).clone())
        .collect();
    ensure(active.len() == params.len(), || {
        format!("{} marks for {} params", active.len(), params.len())
    })?;
    let differentiated: Vec<&Type> = params
        .iter()
        .zip(active)
        .filter(|&(_, &active)| active)
        .map(|(&ty, _)| ty)
        .collect();
    for ty in &differentiated {
        ensure(ty.elem.is_float(), || {
            format!("a param of type {ty} can not be differentiated")
        })?;
    }
    let floats: Vec<&Type> = results.iter().filter(|ty| ty.elem.is_float()).collect();
    let mut wanted: Vec<&Type> = params;
    match mode {
        Mode::Vjp => wanted.extend(&floats),
        Mode::Jvp => wanted.extend(&differentiated),
        Mode::Jacobian => {}
    }
    ensure(wanted.len() == operands.len(), || {
        format!("it takes {} operands, not {}", wanted.len(), operands.len())
    })?;
    for (place, (have, want)) in operands.iter().zip(&wanted).enumerate() {
        ensure(have == *want, || {
            format!("operand {place} has type {have}, not {want}")
        })?;
    }
    let extra: Vec<Type> = match mode {
        Mode::Vjp => differentiated.into_iter().cloned().collect(),
        Mode::Jvp => floats.into_iter().cloned().collect(),
        Mode::Jacobian => floats
            .iter()
            .flat_map(|result| {
                differentiated.iter().map(|operand| {
                    let mut ty = (*result).clone();
                    ty.dims.extend_from_slice(&operand.dims);
                    ty
                })
            })
            .collect(),
    };
    let mut types = results;
    types.extend(extra);
    Ok(Rule::Types(types))
}
