//! Ops that only change coordinates, and where a value seen through them lies in memory.

use crate::coords::{self, Coord};
use aec_ir::{Contract, Function, Op, Value};
use smallvec::SmallVec;

/// Whether a contraction only moves entries: one factor, nothing summed or scaled. Gives for
/// each axis of the operand the axis of the result.
fn as_view(contract: &Contract) -> Option<SmallVec<[Option<usize>; 4]>> {
    let [factor] = contract.factors.as_slice() else {
        return None;
    };
    if factor.power != 1 || contract.coefficient != 1.0 || !contract.deltas.is_empty() {
        return None;
    }
    factor
        .labels
        .iter()
        .map(|label| match contract.out.iter().position(|l| l == label) {
            Some(axis) => Some(Some(axis)),
            // A summed axis of one entry.
            None if contract.sizes[usize::from(*label)] == 1 => Some(None),
            None => None,
        })
        .collect()
}

/// Whether an op only changes coordinates.
pub fn is_view(op: &Op) -> bool {
    match op {
        Op::Reshape | Op::Slice { .. } | Op::Reverse { .. } | Op::Stop | Op::Slope { .. } => true,
        Op::Contract(contract) => as_view(contract).is_some(),
        _ => false,
    }
}

/// Follows a value through views to what has to be in memory: that value, its first element,
/// and the step of each axis of `v` in it.
pub fn trace(
    f: &Function,
    v: Value,
    stop: &dyn Fn(Value) -> bool,
) -> (Value, i64, SmallVec<[i64; 4]>) {
    let rank = f.dims(v).len();
    let sizes: SmallVec<[i64; 4]> = f.dims(v).iter().map(|&d| d as i64).collect();
    let mut base = v;
    let mut coords: Vec<Coord> = (0..rank as u32)
        .map(|axis| {
            if sizes[axis as usize] == 1 {
                Coord::constant(0)
            } else {
                Coord::var(axis)
            }
        })
        .collect();
    while !stop(base) {
        let Some(inst) = f.def_inst(base) else { break };
        let data = &f.insts[inst];
        let next: Option<Vec<Coord>> = match &data.op {
            Op::Stop | Op::Slope { .. } => Some(coords.clone()),
            Op::Slice { start, stride, .. } => Some(
                coords
                    .iter()
                    .enumerate()
                    .map(|(axis, c)| c.scaled(stride[axis] as i64, start[axis] as i64))
                    .collect(),
            ),
            Op::Reshape => {
                coords::reshape(f.dims(data.operands[0]), f.dims(base), &coords, &|axis| {
                    sizes[axis as usize]
                })
                .ok()
            }
            Op::Contract(contract) => as_view(contract).map(|axes| {
                axes.iter()
                    .map(|axis| match axis {
                        Some(axis) => coords[*axis].clone(),
                        None => Coord::constant(0),
                    })
                    .collect()
            }),
            _ => None,
        };
        let Some(next) = next else { break };
        base = data.operands[0];
        coords = next;
    }
    let place = coords::linear(f.dims(base), &coords);
    let steps = (0..rank as u32)
        .map(|axis| place.coefficient(axis))
        .collect();
    (base, place.base, steps)
}

/// Axes `(size, step)`, outermost first, as one axis: the step between its entries.
pub(crate) fn merge(axes: &[(usize, i64)]) -> Option<usize> {
    let real: SmallVec<[(usize, i64); 4]> = axes
        .iter()
        .copied()
        .filter(|&(size, _)| size != 1)
        .collect();
    let fits = real.windows(2).all(|w| w[0].1 == w[1].1 * w[1].0 as i64);
    let step = real.last().map_or(1, |&(_, step)| step);
    (fits && step >= 0).then_some(step as usize)
}
