//! Refuses what does not fit into memory before anything is allocated for it: an allocation that
//! fails would end the process, and a session with it.

use aec_ir::{Def, Function, Type, Value};
use aec_kernels::plan::Plan;
use aec_runtime::machine;
use aec_syntax::{Diagnostic, Span};

/// No machine has more bytes; sizes of less can be multiplied without overflow.
const MOST: u128 = 1 << 46;

/// Below this nobody asks.
const FREE: u128 = 1 << 28;

/// Bytes of a value.
fn bytes(ty: &Type) -> u128 {
    let entries = ty.dims.iter().map(|&dim| dim as u128);
    let count = entries.fold(1u128, u128::saturating_mul);
    count.saturating_mul(ty.elem.bytes() as u128)
}

/// Refuses a function with a value that no machine can hold.
pub(crate) fn check_values(function: &Function, span: Span) -> Result<(), Diagnostic> {
    match largest(function) {
        Some(value) if bytes(&function.values[value].ty) > MOST => {
            Err(refusal(function, bytes(&function.values[value].ty), span))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a plan whose memory cannot be had: `lowered` is what it was made of.
pub(crate) fn check_plan(plan: &Plan, lowered: &Function, span: Span) -> Result<(), Diagnostic> {
    // Outputs are copied out.
    let ends = plan.inputs.iter().chain(&plan.outputs).chain(&plan.outputs);
    let needed = ends.map(bytes).sum::<u128>() + plan.arena_bytes as u128;
    check_bytes(needed, lowered, span)
}

/// Refuses what the interpreter cannot hold: it keeps every value.
pub(crate) fn check_interpreted(function: &Function, span: Span) -> Result<(), Diagnostic> {
    let values = function.values.values();
    let needed = values.map(|value| bytes(&value.ty)).max().unwrap_or(0);
    check_bytes(needed, function, span)
}

/// Whether the system gives so many bytes: a limit of the process shows only when one asks.
fn can_be_had(bytes: u128) -> bool {
    let size = usize::try_from(bytes).unwrap_or(usize::MAX);
    Vec::<u8>::new().try_reserve_exact(size).is_ok()
}

fn check_bytes(needed: u128, function: &Function, span: Span) -> Result<(), Diagnostic> {
    if needed < FREE {
        return Ok(());
    }
    let there = machine::available_memory().map(u128::from);
    if there.is_none_or(|there| needed <= there) && can_be_had(needed) {
        return Ok(());
    }
    Err(refusal(function, needed, span))
}

/// Refuses to go on with what grows by little parts when hardly anything is left.
pub(crate) fn check_free(span: Span) -> Result<(), Diagnostic> {
    let free = machine::available_memory().map_or(FREE, u128::from);
    if free >= FREE && can_be_had(FREE) {
        return Ok(());
    }
    Err(
        Diagnostic::error("E0817", span, "memory is full: this list is too long").help(
            "a list holds all its elements at once; a `for` keeps only what is needed of each",
        ),
    )
}

/// The value with the most bytes.
fn largest(function: &Function) -> Option<Value> {
    let values = function.values.keys();
    values.max_by_key(|&value| bytes(&function.values[value].ty))
}

fn refusal(function: &Function, needed: u128, span: Span) -> Diagnostic {
    let value = largest(function);
    let place = value.and_then(|value| match function.values[value].def {
        Def::Result(inst, _) => Some(function.insts[inst].span).filter(|span| !span.is_none()),
        Def::Param(_) => None,
    });
    let there = match machine::available_memory().map(u128::from) {
        Some(there) if there < needed => format!("but {} are free", amount(there)),
        Some(_) | None => "more than there is".into(),
    };
    let message = format!("this needs {} of memory, {there}", amount(needed));
    let error =
        Diagnostic::error("E0817", place.unwrap_or(span), message).note("nothing was started");
    let error = match value.map(|value| &function.values[value].ty) {
        Some(ty) => {
            let sizes: Vec<String> = ty.dims.iter().map(ToString::to_string).collect();
            let shape = format!("[{}] of {}", sizes.join(", "), ty.elem.name());
            error.note(format!(
                "the largest part is {shape}: {}",
                amount(bytes(ty))
            ))
        }
        None => error,
    };
    error.help(
        "take smaller sizes or a smaller `batch`, or part after part: a `for`, `scan` or `reduce` keeps one",
    )
}

/// `1.5 GB`
fn amount(bytes: u128) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use aec_runtime::Elem;

    #[test]
    fn sizes_do_not_overflow() {
        let ty = Type::new(Elem::F64, &[usize::MAX, usize::MAX, 4]);
        assert!(bytes(&ty) > MOST);
        assert_eq!(amount(4_000_000_000_000), "4.0 TB");
        assert_eq!(amount(1500), "1.5 kB");
    }
}
