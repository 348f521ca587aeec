//! Sums that a matrix product takes along: over its terms, of the rows of A or the columns of B.
//!
//! The gradient of a layer's weight multiplies what flows back by what came in, and the gradient of
//! its bias sums what flows back: over the same examples. The product reads it anyway.

use crate::prepare::Prepared;
use crate::product::Operand;
use crate::views::trace;
use aec_ir::{Contract, Factor, Function, Inst, Op, Value};
use aec_runtime::gemm::Walk;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::cmp::Reverse;

/// Fewest entries that are summed: fewer lie in L2 still when the kernel that wants the sums runs.
const LEAST_ENTRIES: usize = 1 << 16;

/// Whose terms a product sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// The rows of A.
    A,
    /// The columns of B.
    B,
}

/// A sum's product, and which of its operands is summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ride {
    /// The product's result.
    pub(crate) product: Value,
    /// Whether it is an operand of the terms that come first.
    pub(crate) first: bool,
    pub(crate) side: Side,
}

/// Which sums go along with which product. A product sums each operand once.
pub(crate) fn rides(prepared: &Prepared) -> HashMap<Value, Ride> {
    let f = &prepared.f;
    let mut rides: HashMap<Value, Ride> = HashMap::default();
    for &inst in &f.order {
        let Op::Contract(contract) = &f.insts[inst].op else {
            continue;
        };
        let Some(sum) = Sum::of(prepared, inst, contract) else {
            continue;
        };
        let products = f.order.iter().filter_map(|&other| {
            let product = *f.insts[other].results.first()?;
            Some((product, prepared.products.get(&product)?))
        });
        let ride = products
            .flat_map(|(product, form)| {
                let plain = (form.batch == 1).then_some((false, form.k, form.a, form.b));
                let first = form.first.map(|first| (true, first.k, first.a, first.b));
                let fits = move |(first, k, a, b): (bool, usize, Operand, Operand)| {
                    let of = move |side| {
                        let (operand, count) = match side {
                            Side::A => ((a, a.rows, a.cols), form.m),
                            Side::B => ((b, b.cols, b.rows), form.n),
                        };
                        (k == sum.terms && sum.fits(operand, count)).then_some(Ride {
                            product,
                            first,
                            side,
                        })
                    };
                    [Side::A, Side::B].into_iter().filter_map(of)
                };
                plain.into_iter().chain(first).flat_map(fits)
            })
            .find(|ride| {
                !rides.values().any(|taken| taken == ride) && !needs(f, ride.product, inst)
            });
        if let Some(ride) = ride {
            rides.insert(f.insts[inst].results[0], ride);
        }
    }
    rides
}

/// Which axes of a value are summed by contractions of two factors, most likely products.
pub(crate) type Summed = HashMap<Value, Vec<Vec<bool>>>;

/// [`Summed`] of a function.
pub(crate) fn summed_by_pairs(f: &Function) -> Summed {
    let mut out = Summed::default();
    for &inst in &f.order {
        let data = &f.insts[inst];
        if let Op::Contract(contract) = &data.op
            && contract.factors.len() == 2
        {
            for (factor, &operand) in contract.factors.iter().zip(&data.operands) {
                out.entry(operand)
                    .or_default()
                    .push(summed(contract, factor));
            }
        }
    }
    out
}

fn summed(contract: &Contract, factor: &Factor) -> Vec<bool> {
    let labels = factor.labels.iter();
    labels.map(|l| !contract.out.contains(l)).collect()
}

/// Whether a contraction is a plain sum over axes of a value that another one, of two factors, sums
/// over, too: most likely a product that takes it along.
pub(crate) fn may_ride(pairs: &Summed, sum: &Contract, operands: &[Value]) -> bool {
    let ([factor], [x]) = (sum.factors.as_slice(), operands) else {
        return false;
    };
    let axes = summed(sum, factor);
    pairs.get(x).is_some_and(|others| others.contains(&axes))
}

/// A plain sum over leading axes of a stored value.
#[derive(Clone, Copy)]
struct Sum {
    base: Value,
    offset: usize,
    /// Number of sums, adjacent in memory, and of terms.
    count: usize,
    terms: usize,
    /// From term to term, in elements.
    step: usize,
}

impl Sum {
    fn of(prepared: &Prepared, inst: Inst, contract: &Contract) -> Option<Sum> {
        let f = &prepared.f;
        let data = &f.insts[inst];
        let [factor] = contract.factors.as_slice() else {
            return None;
        };
        let plain = factor.power == 1
            && contract.deltas.is_empty()
            && contract.coefficient == 1.0
            && f.ty(data.results[0]).elem.is_float();
        let entries = f.ty(data.operands[0]).len();
        if !plain || entries < LEAST_ENTRIES {
            return None;
        }
        let traced = trace(f, data.operands[0], &|v| prepared.copies.contains(v));
        let axes_of = |label| {
            let at = factor.labels.iter().position(|l| *l == label)?;
            Some(traced.axes[at].clone())
        };
        let mut summed: Vec<(usize, i64)> = Vec::new();
        for (at, &label) in factor.labels.iter().enumerate() {
            let twice = factor.labels[..at].contains(&label);
            if twice {
                return None;
            }
            if !contract.out.contains(&label) {
                summed.extend(traced.axes[at].iter().copied());
            }
        }
        summed.sort_by_key(|&(_, step)| Reverse(step));
        let mut kept: Vec<(usize, i64)> = Vec::new();
        for &label in &contract.out {
            kept.extend(axes_of(label)?);
        }
        let (kept, summed) = (Walk::nested(kept)?, Walk::nested(summed)?);
        let count = f.ty(data.results[0]).len();
        (kept.uniform() == Some(1) && count > 1 && entries > count).then_some(Sum {
            base: traced.base,
            offset: usize::try_from(traced.offset).ok()?,
            count,
            terms: entries / count,
            step: summed.uniform()?,
        })
    }

    /// Whether these are the sums of a product's operand, so many of them, over its terms.
    fn fits(&self, (operand, own, terms): (Operand, Walk, Walk), count: usize) -> bool {
        operand.value == self.base
            && operand.offset == self.offset
            && own.uniform() == Some(1)
            && terms.uniform() == Some(self.step)
            && count == self.count
    }
}

/// Whether a value is computed from the result of an instruction.
fn needs(f: &Function, value: Value, from: Inst) -> bool {
    let mut seen: HashSet<Inst> = HashSet::default();
    let mut work: Vec<Inst> = f.def_inst(value).into_iter().collect();
    while let Some(inst) = work.pop() {
        if inst == from {
            return true;
        }
        if seen.insert(inst) {
            let operands = f.insts[inst].operands.iter();
            work.extend(operands.filter_map(|&operand| f.def_inst(operand)));
        }
    }
    false
}
