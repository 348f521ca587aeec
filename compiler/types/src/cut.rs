//! Small parts of tensors that are in memory are copied without a program, and joined: which part it is
//! would belong to the program, and a loop over the rows of a tensor would compile one for each row.

use aec_ir::{Def, Function, Inst, Op, Value};
use aec_runtime::{Data, Tensor};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Larger parts are read where they are, by the program that wants them.
const MOST_BYTES: usize = 1 << 16;
/// So many parts that make one tensor, a list of rows, are joined here, too: a program would have
/// as many inputs and loops.
const MANY: usize = 16;

/// Adds to what is there the parts of it that `wanted` is computed from, if they lie in one piece.
pub(crate) fn cut_out(
    f: &Function,
    inputs: &[Arc<Tensor>],
    done: &mut FxHashMap<Value, Arc<Tensor>>,
    wanted: &[Value],
) {
    let mut insts: BTreeSet<Inst> = BTreeSet::new();
    let mut work = wanted.to_vec();
    while let Some(value) = work.pop() {
        if let Def::Result(inst, _) = f.values[value].def
            && !done.contains_key(&value)
            && insts.insert(inst)
        {
            work.extend(&f.insts[inst].operands);
        }
    }
    // Parts of parts: in the order of tracing.
    for inst in insts {
        let data = &f.insts[inst];
        let Some(&result) = data.results.first() else {
            continue;
        };
        let there = |operand: &Value| match f.values[*operand].def {
            Def::Param(at) => inputs.get(at as usize),
            Def::Result(..) => done.get(operand),
        };
        let ty = f.ty(result);
        let bytes = ty.len() * ty.elem.bytes();
        let part = match (&data.op, &data.operands[..]) {
            (Op::Slice { .. } | Op::Reshape, [operand]) if (1..=MOST_BYTES).contains(&bytes) => {
                there(operand).and_then(|whole| {
                    let at = first_entry(&data.op, whole.dims(), &ty.dims)?;
                    Some(part_of(whole, at, &ty.dims))
                })
            }
            (Op::Concat { axis: 0 }, parts) if parts.len() >= MANY => {
                let parts: Option<Vec<_>> = parts.iter().map(there).collect();
                parts.map(|parts| joined(&parts, &ty.dims))
            }
            _ => None,
        };
        if let Some(part) = part {
            done.insert(result, Arc::new(part));
        }
    }
}

/// Where a part begins, if it lies in one piece: along one axis it is a range, before that one
/// entry of each axis, behind it all.
fn first_entry(op: &Op, whole: &[usize], part: &[usize]) -> Option<usize> {
    let Op::Slice { start, stride, .. } = op else {
        return Some(0);
    };
    let cut = (0..part.len())
        .rev()
        .find(|&axis| part[axis] != whole[axis]);
    let before = cut.unwrap_or(0);
    if part[..before].iter().any(|&count| count != 1) {
        return None;
    }
    if cut.is_some_and(|axis| stride[axis] != 1 && part[axis] > 1) {
        return None;
    }
    let places = start.iter().zip(whole);
    Some(places.fold(0, |at, (start, count)| at * count + start))
}

/// Tensors one after the other.
fn joined(parts: &[&Arc<Tensor>], dims: &[usize]) -> Tensor {
    let mut all = Tensor::zeros(parts[0].elem(), dims);
    let mut at = 0;
    for part in parts {
        match (all.data_mut(), part.data()) {
            (Data::F32(all), Data::F32(part)) => all[at..at + part.len()].copy_from_slice(part),
            (Data::F64(all), Data::F64(part)) => all[at..at + part.len()].copy_from_slice(part),
            (Data::I32(all), Data::I32(part)) => all[at..at + part.len()].copy_from_slice(part),
            (Data::I64(all), Data::I64(part)) => all[at..at + part.len()].copy_from_slice(part),
            (Data::Bool(all), Data::Bool(part)) => all[at..at + part.len()].copy_from_slice(part),
            // A concat of different types is no function of the IR.
            _ => {}
        }
        at += part.len();
    }
    all
}

/// The entries of a tensor from one on.
fn part_of(whole: &Tensor, at: usize, dims: &[usize]) -> Tensor {
    let range = at..at + dims.iter().product::<usize>();
    let data = match whole.data() {
        Data::F32(all) => Data::F32(all[range].to_vec()),
        Data::F64(all) => Data::F64(all[range].to_vec()),
        Data::I32(all) => Data::I32(all[range].to_vec()),
        Data::I64(all) => Data::I64(all[range].to_vec()),
        Data::Bool(all) => Data::Bool(all[range].to_vec()),
    };
    Tensor::new(dims.to_vec(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_in_one_piece() {
        let slice = |start: &[usize], stride: &[usize]| Op::Slice {
            start: start.to_vec(),
            limit: Vec::new(),
            stride: stride.to_vec(),
        };
        let whole = [4, 5, 6];
        let rows = slice(&[1, 0, 0], &[1, 1, 1]);
        assert_eq!(first_entry(&rows, &whole, &[2, 5, 6]), Some(30));
        let row = slice(&[3, 2, 0], &[1, 1, 1]);
        assert_eq!(first_entry(&row, &whole, &[1, 3, 6]), Some(102));
        assert_eq!(first_entry(&row, &whole, &[1, 1, 6]), Some(102));
        let entries = slice(&[3, 2, 1], &[1, 1, 1]);
        assert_eq!(first_entry(&entries, &whole, &[1, 1, 4]), Some(103));
        // Columns, several rows of a part, every second one.
        assert_eq!(
            first_entry(&slice(&[0, 0, 1], &[1, 1, 1]), &whole, &[4, 5, 1]),
            None
        );
        assert_eq!(first_entry(&row, &whole, &[2, 3, 6]), None);
        assert_eq!(
            first_entry(&slice(&[0, 0, 0], &[2, 1, 1]), &whole, &[2, 5, 6]),
            None
        );
        assert_eq!(
            first_entry(&slice(&[0, 0, 0], &[1, 1, 1]), &whole, &whole),
            Some(0)
        );
        assert_eq!(first_entry(&Op::Reshape, &whole, &[120]), Some(0));
    }
}
