//! Ops that only change coordinates, and where a value seen through them lies in memory.

use crate::coords::{self, Coord, Term, Unsplit};
use aec_ir::{Binary, Contract, Function, Inst, Literal, Op, Value};
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

/// Whether an instruction only changes coordinates.
pub fn is_view(f: &Function, inst: Inst) -> bool {
    match &f.insts[inst].op {
        Op::Reshape | Op::Slice { .. } | Op::Reverse { .. } | Op::Stop | Op::Slope { .. } => true,
        Op::Contract(contract) => as_view(contract).is_some(),
        Op::Gather { .. } => window(f, inst).is_some(),
        _ => false,
    }
}

/// The index of a gather as a function of its result's coordinates, if it is one of windows: a
/// sum of multiples of coordinates, known to be in range. (The pieces of a convolution are.)
pub fn window(f: &Function, inst: Inst) -> Option<Coord> {
    let data = &f.insts[inst];
    let Op::Gather { batch, .. } = &data.op else {
        return None;
    };
    let [x, index] = data.operands.as_slice() else {
        return None;
    };
    let at = affine(f, *index)?;
    in_range(&at, f.dims(*index), f.dims(*x)[*batch]).then_some(at)
}

/// Whether an affine value of some dims is within `0..size`.
pub fn in_range(at: &Coord, dims: &[usize], size: usize) -> bool {
    let (mut low, mut high) = (at.base, at.base);
    for &(axis, c) in &at.terms {
        let reach = c * (dims[axis as usize] as i64 - 1).max(0);
        low += reach.min(0);
        high += reach.max(0);
    }
    at.at.is_empty() && low >= 0 && high < size as i64
}

/// Constants of more entries are not looked at.
const LOOKED_AT: usize = 1 << 16;

/// An integer value as a sum of multiples of its coordinates.
pub fn affine(f: &Function, v: Value) -> Option<Coord> {
    let data = &f.insts[f.def_inst(v)?];
    let dims = f.dims(v);
    let operand = |nth: usize| affine(f, data.operands[nth]);
    match &data.op {
        Op::Constant(Literal::Int(i)) => Some(Coord::constant(*i)),
        Op::Dense(tensor) if tensor.elem().is_int() && tensor.len() <= LOOKED_AT => {
            let strides = coords::row_major(dims);
            let mut out = Coord::constant(if tensor.is_empty() {
                0
            } else {
                tensor.get_i64(0)
            });
            for (axis, &stride) in strides
                .iter()
                .enumerate()
                .filter(|(axis, _)| dims[*axis] > 1)
            {
                let step = tensor.get_i64(stride as usize) - out.base;
                out.add_scaled(&Coord::var(axis as Term), step);
            }
            let fits = (0..tensor.len()).all(|at| {
                let place =
                    |axis: Term| at as i64 / strides[axis as usize] % dims[axis as usize] as i64;
                let value = out
                    .terms
                    .iter()
                    .map(|&(axis, c)| c * place(axis))
                    .sum::<i64>();
                out.base + value == tensor.get_i64(at)
            });
            fits.then_some(out)
        }
        Op::Iota { axis } => Some(Coord::var(*axis as Term)),
        Op::Binary(Binary::Add) => Some(sum(&operand(0)?, &operand(1)?, 1)),
        Op::Binary(Binary::Sub) => Some(sum(&operand(0)?, &operand(1)?, -1)),
        Op::Contract(c) => {
            let coefficient = c.coefficient as i64;
            if coefficient as f64 != c.coefficient || !c.deltas.is_empty() {
                return None;
            }
            let [factor] = c.factors.as_slice() else {
                let constant = c.factors.is_empty() && c.sizes.len() == c.out.len();
                return constant.then(|| Coord::constant(coefficient));
            };
            let inner = operand(0)?;
            if factor.power != 1 {
                return None;
            }
            let mut out = Coord::constant(inner.base * coefficient);
            for (axis, label) in factor.labels.iter().enumerate() {
                match c.out.iter().position(|l| l == label) {
                    Some(to) => out.add_scaled(
                        &Coord::var(to as Term),
                        coefficient * inner.coefficient(axis as Term),
                    ),
                    None if c.sizes[usize::from(*label)] == 1 => {}
                    None => return None,
                }
            }
            // Labels of no factor that are summed count the terms.
            let counts = (0..c.sizes.len()).all(|l| {
                let label = l as aec_ir::Label;
                c.sizes[l] == 1 || c.out.contains(&label) || factor.labels.contains(&label)
            });
            counts.then_some(out)
        }
        Op::Stop => operand(0),
        _ => None,
    }
}

fn sum(a: &Coord, b: &Coord, factor: i64) -> Coord {
    let mut out = a.clone();
    out.add_scaled(b, factor);
    out
}

/// Axes of memory, `(entries, step)`, outermost first.
pub type Axes = SmallVec<[(usize, i64); 2]>;

/// Where the entries of a value lie that is seen through views.
pub struct Traced {
    /// What has to be in memory.
    pub base: Value,
    /// The first element.
    pub offset: i64,
    /// For each axis the axes of memory that it counts through.
    pub axes: SmallVec<[Axes; 4]>,
}

/// Follows a value through views to what has to be in memory.
pub fn trace(f: &Function, v: Value, stop: &dyn Fn(Value) -> bool) -> Traced {
    let dims = f.dims(v);
    // Variables by axis, outermost first, and their sizes: an axis is split where a reshape
    // regroups it.
    let mut sizes: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
    let mut vars: SmallVec<[SmallVec<[Term; 2]>; 4]> = (0..dims.len() as Term)
        .map(|axis| SmallVec::from_slice(&[axis]))
        .collect();
    let mut base = v;
    let mut coords: Vec<Coord> = (0..dims.len())
        .map(|axis| match dims[axis] {
            1 => Coord::constant(0),
            _ => Coord::var(axis as Term),
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
                let from = f.dims(data.operands[0]);
                match coords::reshape(from, f.dims(base), &coords, &|var| sizes[var as usize]) {
                    Ok(next) => Some(next),
                    Err(Unsplit::Variable(var, inner)) => {
                        let (outer, rest) = (sizes.len() as Term, sizes.len() as Term + 1);
                        sizes.extend([sizes[var as usize] / inner, inner]);
                        for coord in &mut coords {
                            let c = coord.coefficient(var);
                            coord.add_scaled(&Coord::var(var), -c);
                            coord.add_scaled(&Coord::var(outer), c * inner);
                            coord.add_scaled(&Coord::var(rest), c);
                        }
                        for group in &mut vars {
                            if let Some(at) = group.iter().position(|&v| v == var) {
                                group[at] = outer;
                                group.insert(at + 1, rest);
                            }
                        }
                        continue;
                    }
                    Err(Unsplit::Never(_)) => None,
                }
            }
            Op::Contract(contract) => as_view(contract).map(|axes| {
                axes.iter()
                    .map(|axis| match axis {
                        Some(axis) => coords[*axis].clone(),
                        None => Coord::constant(0),
                    })
                    .collect()
            }),
            Op::Gather { batch, .. } => {
                window(f, inst).map(|at| through(&at, *batch, f.dims(data.operands[1]), &coords))
            }
            _ => None,
        };
        let Some(next) = next else { break };
        base = data.operands[0];
        coords = next;
    }
    let place = coords::linear(f.dims(base), &coords);
    let axes = vars
        .iter()
        .map(|group| {
            group
                .iter()
                .map(|&var| (sizes[var as usize] as usize, place.coefficient(var)))
                .collect()
        })
        .collect();
    Traced {
        base,
        offset: place.base,
        axes,
    }
}

/// The coordinates in a gather's operand of the entry at `coords` of its windows.
pub fn through(at: &Coord, batch: usize, index: &[usize], coords: &[Coord]) -> Vec<Coord> {
    let mut place = Coord::constant(at.base);
    for &(axis, c) in &at.terms {
        place.add_scaled(&coords[axis as usize], c);
    }
    let mut out = coords[..batch].to_vec();
    out.push(place);
    out.extend_from_slice(&coords[index.len()..]);
    out
}
