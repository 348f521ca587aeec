//! `contract`: a loop over all labels, factors multiplied, products added up in f64 (or in
//! wrapping 64-bit ints) and scaled at the end.

use super::array::{Array, Items, strides};
use crate::function::Type;
use crate::op::{Contract, Label};
use std::rc::Rc;

/// What products are made of.
trait Number: Copy {
    const ZERO: Self;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn power(self, exponent: u32) -> Self;
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    fn times(self, other: f64) -> f64 {
        self * other
    }
    fn power(self, exponent: u32) -> f64 {
        match exponent {
            1 => self,
            2 => self * self,
            _ => self.powi(i32::try_from(exponent).unwrap_or(i32::MAX)),
        }
    }
}

impl Number for i64 {
    const ZERO: i64 = 0;
    const ONE: i64 = 1;
    fn plus(self, other: i64) -> i64 {
        self.wrapping_add(other)
    }
    fn times(self, other: i64) -> i64 {
        self.wrapping_mul(other)
    }
    fn power(self, exponent: u32) -> i64 {
        self.wrapping_pow(exponent)
    }
}

/// One loop: labels that deltas tie together run as one.
struct Loop {
    size: usize,
    /// Step of each factor, then of the result.
    steps: Vec<usize>,
}

/// Evaluates the contraction; `ty` is the result's.
pub(super) fn contract(contract: &Contract, operands: &[Rc<Array>], ty: &Type) -> Array {
    let loops = loops(contract);
    let count = ty.len();
    let items = if ty.elem.is_float() {
        let factors: Vec<&[f64]> = operands.iter().map(|x| x.floats()).collect();
        let mut out = sum(contract, &factors, &loops, count);
        out.iter_mut().for_each(|x| *x *= contract.coefficient);
        Items::Float(out)
    } else if ty.elem.is_int() {
        let factors: Vec<&[i64]> = operands.iter().map(|x| x.ints()).collect();
        let mut out = sum(contract, &factors, &loops, count);
        let coefficient = contract.coefficient as i64;
        out.iter_mut()
            .for_each(|x| *x = x.wrapping_mul(coefficient));
        Items::Int(out)
    } else {
        // Of bool there is one factor and nothing is added, so ints 0 and 1 stay such.
        let ints: Vec<i64> = operands[0].bools().iter().map(|&x| i64::from(x)).collect();
        let out = sum(contract, &[&ints], &loops, count);
        Items::Bool(out.into_iter().map(|x| x != 0).collect())
    };
    Array {
        dims: ty.dims.to_vec(),
        items,
    }
}

/// The loops, those of the result outside. Loops of one step are left out.
fn loops(contract: &Contract) -> Vec<Loop> {
    let mut leader: Vec<Label> = (0..contract.sizes.len()).map(|l| l as Label).collect();
    for &(a, b) in &contract.deltas {
        let (a, b) = (leader[usize::from(a)], leader[usize::from(b)]);
        leader.iter_mut().filter(|l| **l == b).for_each(|l| *l = a);
    }
    let width = contract.factors.len() + 1;
    let mut loops: Vec<Loop> = contract
        .sizes
        .iter()
        .map(|&size| Loop {
            size,
            steps: vec![0; width],
        })
        .collect();
    let mut add = |labels: &[Label], place: usize| {
        let dims: Vec<usize> = labels
            .iter()
            .map(|&label| contract.sizes[usize::from(label)])
            .collect();
        for (&label, stride) in labels.iter().zip(strides(&dims)) {
            loops[usize::from(leader[usize::from(label)])].steps[place] += stride;
        }
    };
    for (place, factor) in contract.factors.iter().enumerate() {
        add(&factor.labels, place);
    }
    add(&contract.out, width - 1);
    let is_leader = |label: usize| usize::from(leader[label]) == label;
    let mut kept: Vec<Loop> = loops
        .into_iter()
        .enumerate()
        .filter(|(label, own)| is_leader(*label) && own.size != 1)
        .map(|(_, own)| own)
        .collect();
    kept.sort_by_key(|own| own.steps[width - 1] == 0);
    kept
}

fn sum<N: Number>(contract: &Contract, factors: &[&[N]], loops: &[Loop], count: usize) -> Vec<N> {
    let mut out = vec![N::ZERO; count];
    if loops.iter().any(|own| own.size == 0) || count == 0 {
        return out;
    }
    let powers: Vec<u32> = contract.factors.iter().map(|factor| factor.power).collect();
    let width = factors.len() + 1;
    let unit = Loop {
        size: 1,
        steps: vec![0; width],
    };
    let (inner, outer) = match loops.split_last() {
        Some((inner, outer)) => (inner, outer),
        None => (&unit, loops),
    };
    let mut index = vec![0; outer.len()];
    let mut at = vec![0; width];
    loop {
        row(factors, &powers, inner, &at, &mut out);
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return out;
            }
            axis -= 1;
            let own = &outer[axis];
            index[axis] += 1;
            at.iter_mut().zip(&own.steps).for_each(|(at, s)| *at += s);
            if index[axis] < own.size {
                break;
            }
            index[axis] = 0;
            at.iter_mut()
                .zip(&own.steps)
                .for_each(|(at, s)| *at -= s * own.size);
        }
    }
}

/// The innermost loop. Products of two plain factors have their own loop: they are what
/// makes tests slow.
fn row<N: Number>(factors: &[&[N]], powers: &[u32], inner: &Loop, at: &[usize], out: &mut [N]) {
    let to = factors.len();
    let step = inner.steps[to];
    if let ([a, b], [1, 1], 0) = (factors, powers, step) {
        let (mut ia, mut ib) = (at[0], at[1]);
        let mut total = N::ZERO;
        for _ in 0..inner.size {
            total = total.plus(a[ia].times(b[ib]));
            ia += inner.steps[0];
            ib += inner.steps[1];
        }
        out[at[to]] = out[at[to]].plus(total);
        return;
    }
    for i in 0..inner.size {
        let mut product = N::ONE;
        for (place, factor) in factors.iter().enumerate() {
            let x = factor[at[place] + i * inner.steps[place]];
            product = product.times(x.power(powers[place]));
        }
        let place = at[to] + i * step;
        out[place] = out[place].plus(product);
    }
}
