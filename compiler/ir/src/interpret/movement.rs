//! Ops that move entries, by attributes or by an index tensor, and `scatter_add`.

use super::array::{Array, Items, each_index, offset, strides};
use crate::function::Type;
use crate::op::{BadIndex, Fault, Literal};
use aec_runtime::Elem;
use aec_runtime::levels::{Scratch, Trees, order};
use std::rc::Rc;

pub(super) fn iota(dims: &[usize], axis: usize) -> Array {
    let mut out = Vec::with_capacity(dims.iter().product());
    each_index(dims, |index| out.push(index[axis] as i64));
    Array {
        dims: dims.to_vec(),
        items: Items::Int(out),
    }
}

pub(super) fn slice(x: &Array, start: &[usize], stride: &[usize], dims: &[usize]) -> Array {
    let steps = strides(&x.dims);
    let mut places = Vec::with_capacity(dims.iter().product());
    each_index(dims, |index| {
        let place: usize = (0..dims.len())
            .map(|axis| (start[axis] + index[axis] * stride[axis]) * steps[axis])
            .sum();
        places.push(place);
    });
    x.pick(dims, &places)
}

pub(super) fn pad(
    x: &Array,
    value: &Array,
    low: &[usize],
    interior: &[usize],
    dims: &[usize],
) -> Array {
    let steps = strides(dims);
    let mut places = Vec::with_capacity(x.len());
    each_index(&x.dims, |index| {
        let place: usize = (0..dims.len())
            .map(|axis| (low[axis] + index[axis] * (interior[axis] + 1)) * steps[axis])
            .sum();
        places.push(place);
    });
    fn fill<A: Copy>(x: &[A], value: A, places: &[usize], count: usize) -> Vec<A> {
        let mut out = vec![value; count];
        for (&x, &place) in x.iter().zip(places) {
            out[place] = x;
        }
        out
    }
    let count = dims.iter().product();
    let items = match &x.items {
        Items::Float(v) => Items::Float(fill(v, value.floats()[0], &places, count)),
        Items::Int(v) => Items::Int(fill(v, value.ints()[0], &places, count)),
        Items::Bool(v) => Items::Bool(fill(v, value.bools()[0], &places, count)),
    };
    Array {
        dims: dims.to_vec(),
        items,
    }
}

pub(super) fn concat(parts: &[Rc<Array>], axis: usize, dims: &[usize]) -> Array {
    fn join<A: Copy>(parts: &[(&[A], usize)], outer: usize) -> Vec<A> {
        let mut out = Vec::new();
        for at in 0..outer {
            for &(items, block) in parts {
                out.extend_from_slice(&items[at * block..(at + 1) * block]);
            }
        }
        out
    }
    let outer: usize = dims[..axis].iter().product();
    let block = |part: &Array| -> usize { part.dims[axis..].iter().product() };
    let items = match &parts[0].items {
        Items::Float(_) => {
            let parts: Vec<_> = parts.iter().map(|p| (p.floats(), block(p))).collect();
            Items::Float(join(&parts, outer))
        }
        Items::Int(_) => {
            let parts: Vec<_> = parts.iter().map(|p| (p.ints(), block(p))).collect();
            Items::Int(join(&parts, outer))
        }
        Items::Bool(_) => {
            let parts: Vec<_> = parts.iter().map(|p| (p.bools(), block(p))).collect();
            Items::Bool(join(&parts, outer))
        }
    };
    Array {
        dims: dims.to_vec(),
        items,
    }
}

pub(super) fn reverse(x: &Array, axes: &[usize]) -> Array {
    let steps = strides(&x.dims);
    let mut places = Vec::with_capacity(x.len());
    each_index(&x.dims, |index| {
        let mut index = index.to_vec();
        for &axis in axes {
            index[axis] = x.dims[axis] - 1 - index[axis];
        }
        places.push(offset(&index, &steps));
    });
    x.pick(&x.dims, &places)
}

fn checked(index: i64, size: usize) -> Result<usize, BadIndex> {
    match usize::try_from(index) {
        Ok(at) if at < size => Ok(at),
        _ => Err(BadIndex {
            fault: Fault::Index,
            index,
            size,
        }),
    }
}

/// For each entry of `at`, in order, the start of the slice that it names in an array of
/// `[..batch, size, ..s]` whose slices have `block` elements.
fn slices(at: &Array, batch: usize, size: usize, block: usize) -> Result<Vec<usize>, BadIndex> {
    let inner: usize = at.dims[batch..].iter().product();
    at.ints()
        .iter()
        .enumerate()
        .map(|(place, &index)| Ok((place / inner * size + checked(index, size)?) * block))
        .collect()
}

pub(super) fn gather(
    x: &Array,
    at: &Array,
    batch: usize,
    dims: &[usize],
) -> Result<Array, BadIndex> {
    let block: usize = x.dims[batch + 1..].iter().product();
    let starts = slices(at, batch, x.dims[batch], block)?;
    let places: Vec<usize> = starts
        .into_iter()
        .flat_map(|start| start..start + block)
        .collect();
    Ok(x.pick(dims, &places))
}

/// Zeros of a type of numbers.
pub(super) fn zeros(ty: &Type) -> Array {
    let zero = match ty.elem {
        Elem::F32 | Elem::F64 => Literal::Float(0.0),
        Elem::I32 | Elem::I64 => Literal::Int(0),
        Elem::Bool => Literal::Bool(false),
    };
    Array::constant(zero, ty)
}

/// The rounds of nodes of each batch of trees.
pub(super) fn levels(operands: &[Rc<Array>], rows: usize, dims: &[usize]) -> Array {
    let [left, right, count] = [0, 1, 2].map(|at| operands[at].ints());
    let shape = &operands[0].dims;
    let (trees, nodes) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let size: usize = dims[dims.len() - 3..].iter().product();
    let mut out = vec![0; dims.iter().product()];
    if size > 0 {
        for (at, out) in out.chunks_exact_mut(size).enumerate() {
            let own = at * trees * nodes..(at + 1) * trees * nodes;
            let forest = Trees {
                left: &left[own.clone()],
                right: &right[own],
                count: &count[at * trees..(at + 1) * trees],
                nodes,
            };
            order(forest, rows, out, &mut Scratch::default());
        }
    }
    Array {
        dims: dims.to_vec(),
        items: Items::Int(out),
    }
}

/// Adds updates to the sums at their places.
pub(super) fn scatter_add(
    sums: &mut Array,
    at: &Array,
    updates: &Array,
    batch: usize,
) -> Result<(), BadIndex> {
    let block: usize = sums.dims[batch + 1..].iter().product();
    let starts = slices(at, batch, sums.dims[batch], block)?;
    let places = starts.into_iter().flat_map(|start| start..start + block);
    match (&mut sums.items, &updates.items) {
        (Items::Float(out), Items::Float(v)) => {
            places.zip(v).for_each(|(place, x)| out[place] += x)
        }
        (Items::Int(out), Items::Int(v)) => places
            .zip(v)
            .for_each(|(place, &x)| out[place] = out[place].wrapping_add(x)),
        _ => unreachable!("the verifier saw numbers of one type"),
    }
    Ok(())
}

/// The array with rows put at their places; one outside puts nothing.
pub(super) fn put(x: &Array, at: &Array, rows: &Array, batch: usize) -> Array {
    let block: usize = x.dims[batch + 1..].iter().product();
    let inner: usize = at.dims[batch..].iter().product();
    let size = x.dims[batch];
    let mut out = x.clone();
    for (nth, &index) in at.ints().iter().enumerate() {
        let Ok(index) = checked(index, size) else {
            continue;
        };
        let to = (nth / inner * size + index) * block;
        let from = nth * block..(nth + 1) * block;
        match (&mut out.items, &rows.items) {
            (Items::Float(out), Items::Float(v)) => out[to..to + block].copy_from_slice(&v[from]),
            (Items::Int(out), Items::Int(v)) => out[to..to + block].copy_from_slice(&v[from]),
            (Items::Bool(out), Items::Bool(v)) => out[to..to + block].copy_from_slice(&v[from]),
            _ => unreachable!("the verifier saw rows of the array's type"),
        }
    }
    out
}
