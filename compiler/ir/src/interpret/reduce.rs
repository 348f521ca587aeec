//! Reductions that are not sums, scans, sorting, and the mean over the batch.

use super::array::{Array, Items, each_index, offset, strides};
use crate::op::Reduction;
use std::cmp::Ordering;
use std::rc::Rc;

/// Dims without `axes`, and strides of the result for each axis of x (0 along `axes`).
fn reduced(dims: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let kept: Vec<usize> = (0..dims.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    let out: Vec<usize> = kept.iter().map(|&axis| dims[axis]).collect();
    let mut steps = vec![0; dims.len()];
    for (&axis, step) in kept.iter().zip(strides(&out)) {
        steps[axis] = step;
    }
    (out, steps)
}

pub(super) fn reduce(op: Reduction, axes: &[usize], x: &Array) -> Array {
    let (dims, steps) = reduced(&x.dims, axes);
    let count = dims.iter().product();
    let mut places = Vec::with_capacity(x.len());
    each_index(&x.dims, |index| places.push(offset(index, &steps)));
    fn fold<A: Copy>(
        x: &[A],
        places: &[usize],
        mut out: Vec<A>,
        combine: impl Fn(A, A) -> A,
    ) -> Vec<A> {
        for (&x, &place) in x.iter().zip(places) {
            out[place] = combine(out[place], x);
        }
        out
    }
    let items = match (&x.items, op) {
        (Items::Float(v), Reduction::Max) => {
            let from = vec![f64::NEG_INFINITY; count];
            Items::Float(fold(v, &places, from, |a, b| {
                if b.is_nan() || b > a { b } else { a }
            }))
        }
        (Items::Float(v), Reduction::Min) => {
            let from = vec![f64::INFINITY; count];
            Items::Float(fold(v, &places, from, |a, b| {
                if b.is_nan() || b < a { b } else { a }
            }))
        }
        (Items::Int(v), Reduction::Max) => {
            Items::Int(fold(v, &places, vec![i64::MIN; count], i64::max))
        }
        (Items::Int(v), Reduction::Min) => {
            Items::Int(fold(v, &places, vec![i64::MAX; count], i64::min))
        }
        (Items::Bool(v), Reduction::All) => {
            Items::Bool(fold(v, &places, vec![true; count], |a, b| a && b))
        }
        (Items::Bool(v), Reduction::Any) => {
            Items::Bool(fold(v, &places, vec![false; count], |a, b| a || b))
        }
        (Items::Float(_) | Items::Int(_), Reduction::All | Reduction::Any)
        | (Items::Bool(_), Reduction::Max | Reduction::Min) => {
            unreachable!("the verifier saw fitting elements")
        }
    };
    Array { dims, items }
}

/// Whether a comes before b in an order where NaN is greatest.
fn order(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// Starts and step of the lines along `axis`.
fn lines(dims: &[usize], axis: usize) -> (Vec<usize>, usize) {
    let step: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    let starts = (0..outer)
        .flat_map(|at| (0..step).map(move |inner| at * dims[axis] * step + inner))
        .collect();
    (starts, step)
}

/// Whether the entry at `a` beats the one at `b` strictly; NaN beats all but NaN.
fn beats(x: &Array, op: Reduction, a: usize, b: usize) -> bool {
    let largest = op == Reduction::Max;
    match &x.items {
        Items::Float(v) => {
            let (a, b) = (v[a], v[b]);
            if a.is_nan() || b.is_nan() {
                a.is_nan() && !b.is_nan()
            } else if largest {
                a > b
            } else {
                a < b
            }
        }
        Items::Int(v) if largest => v[a] > v[b],
        Items::Int(v) => v[a] < v[b],
        Items::Bool(_) => unreachable!("the verifier saw numbers"),
    }
}

/// Of an empty axis the index is 0.
pub(super) fn arg_reduce(op: Reduction, axis: usize, x: &Array) -> Array {
    let (starts, step) = lines(&x.dims, axis);
    let found = starts
        .into_iter()
        .map(|start| {
            let mut best = 0;
            for i in 1..x.dims[axis] {
                if beats(x, op, start + i * step, start + best * step) {
                    best = i;
                }
            }
            best as i64
        })
        .collect();
    Array {
        dims: reduced(&x.dims, &[axis]).0,
        items: Items::Int(found),
    }
}

pub(super) fn cumsum(x: &Array, axis: usize, reverse: bool) -> Array {
    let (starts, step) = lines(&x.dims, axis);
    let size = x.dims[axis];
    fn run<A: Copy>(v: &mut [A], places: impl Iterator<Item = usize>, add: impl Fn(A, A) -> A) {
        let mut before: Option<A> = None;
        for place in places {
            if let Some(before) = before {
                v[place] = add(before, v[place]);
            }
            before = Some(v[place]);
        }
    }
    let mut out = x.clone();
    for start in starts {
        let places = (0..size).map(|i| {
            let i = if reverse { size - 1 - i } else { i };
            start + i * step
        });
        match &mut out.items {
            Items::Float(v) => run(v, places, |a, b| a + b),
            Items::Int(v) => run(v, places, i64::wrapping_add),
            Items::Bool(_) => unreachable!("the verifier saw numbers"),
        }
    }
    out
}

pub(super) fn argsort(x: &Array) -> Array {
    let size = x.dims[x.dims.len() - 1];
    let mut out = Vec::with_capacity(x.len());
    for start in (0..x.len()).step_by(size.max(1)) {
        let mut line: Vec<usize> = (0..size).collect();
        match &x.items {
            Items::Float(v) => line.sort_by(|&a, &b| order(v[start + a], v[start + b])),
            Items::Int(v) => line.sort_by_key(|&i| v[start + i]),
            Items::Bool(_) => unreachable!("the verifier saw numbers"),
        }
        out.extend(line.into_iter().map(|i| i as i64));
    }
    Array {
        dims: x.dims.clone(),
        items: Items::Int(out),
    }
}

/// The mean of the lanes' only operands, which are floats of one type.
pub(super) fn mean_of(lanes: &[Vec<Rc<Array>>]) -> Array {
    let Some(first) = lanes.first() else {
        return Array {
            dims: Vec::new(),
            items: Items::Float(vec![f64::NAN]),
        };
    };
    let mut total = vec![0.0; first[0].len()];
    for lane in lanes {
        for (total, x) in total.iter_mut().zip(lane[0].floats()) {
            *total += x;
        }
    }
    let count = lanes.len() as f64;
    total.iter_mut().for_each(|x| *x /= count);
    Array {
        dims: first[0].dims.clone(),
        items: Items::Float(total),
    }
}
