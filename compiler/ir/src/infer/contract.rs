//! What a contraction wants of its operands, and the type of its result.

use super::{Rule, ensure, one};
use crate::function::Type;
use crate::op::Contract;
use aec_runtime::Elem;
use smallvec::SmallVec;

pub(super) fn out_dims(contract: &Contract) -> SmallVec<[usize; 4]> {
    contract
        .out
        .iter()
        .map(|&label| contract.sizes[usize::from(label)])
        .collect()
}

pub(super) fn integer_coefficient(contract: &Contract, elem: Elem) -> Result<(), String> {
    let exact = elem.is_float()
        || (contract.coefficient.fract() == 0.0 && contract.coefficient.abs() <= 9e15);
    ensure(exact, || {
        format!("coefficient {} of ints", contract.coefficient)
    })
}

pub(super) fn contract_rule(contract: &Contract, operands: &[Type]) -> Result<Rule, String> {
    let count = contract.sizes.len();
    ensure(contract.factors.len() == operands.len(), || {
        format!(
            "{} factors for {} operands",
            contract.factors.len(),
            operands.len()
        )
    })?;
    let mut carried = vec![false; count];
    let mut carry = |label: u8| match carried.get_mut(usize::from(label)) {
        Some(mark) => {
            *mark = true;
            Ok(())
        }
        None => Err(format!("label {label} has no size")),
    };
    for (factor, ty) in contract.factors.iter().zip(operands) {
        ensure(factor.labels.len() == ty.rank(), || {
            format!("{} labels for {ty}", factor.labels.len())
        })?;
        ensure(factor.power >= 1, || "power 0".to_string())?;
        for (axis, &label) in factor.labels.iter().enumerate() {
            carry(label)?;
            let size = contract.sizes[usize::from(label)];
            ensure(size == ty.dims[axis], || {
                format!(
                    "label {} has size {size}, but axis {axis} of {ty} carries it",
                    crate::print::label_name(label)
                )
            })?;
        }
    }
    for &(a, b) in &contract.deltas {
        carry(a)?;
        carry(b)?;
        ensure(
            contract.sizes[usize::from(a)] == contract.sizes[usize::from(b)],
            || {
                format!(
                    "labels {} and {} of a delta differ in size",
                    crate::print::label_name(a),
                    crate::print::label_name(b)
                )
            },
        )?;
    }
    for (place, &label) in contract.out.iter().enumerate() {
        carry(label)?;
        ensure(!contract.out[..place].contains(&label), || {
            format!(
                "label {} stands twice in the result",
                crate::print::label_name(label)
            )
        })?;
    }
    for (label, (&carried, &size)) in carried.iter().zip(&contract.sizes).enumerate() {
        // A sum over nothing is a factor; it belongs in the coefficient, where all see it.
        ensure(carried || size == 1, || {
            format!(
                "label {} of size {size} stands nowhere; multiply the coefficient by its size",
                crate::print::label_name(label as u8)
            )
        })?;
    }
    let Some(first) = operands.first() else {
        return Ok(Rule::Given);
    };
    for other in operands {
        ensure(other.elem == first.elem, || {
            format!("factors of {} and {}", first.elem, other.elem)
        })?;
    }
    if first.elem == Elem::Bool {
        let factor = &contract.factors[0];
        let plain = operands.len() == 1
            && factor.power == 1
            && contract.deltas.is_empty()
            && contract.coefficient == 1.0
            && factor
                .labels
                .iter()
                .all(|label| contract.out.contains(label));
        ensure(plain, || {
            "of bool it only moves and repeats: one factor, power 1, no delta, no sum".to_string()
        })?;
    }
    integer_coefficient(contract, first.elem)?;
    one(Type::new(first.elem, &out_dims(contract)))
}
