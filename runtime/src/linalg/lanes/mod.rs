//! Small matrices side by side: eight of a batch at a time, each in a lane of its own, so that the short
//! sums of one are not waited for. The order of arithmetic in a lane does
//! not depend on its neighbours, and nothing is contracted: every instruction set gives the same
//! bits, however a batch is shared out, and a system alone has those that it has in a batch.

#![allow(unsafe_code)]

mod positive;
mod square;

use super::{Element, MatrixOp, System};
use positive::triangle;
use square::Triangle;

/// Systems that are solved together.
pub(super) const LANES: usize = 8;

/// One number of each matrix.
pub(super) type Lanes = [f64; LANES];

/// Which matrices of a group have a result. The others are not finite, singular or not positive definite, or
/// are left to what computes one alone.
pub(super) type Solved = [bool; LANES];

/// The factors of a group, as many numbers as [`factors_len`] for each; NaN for a matrix without them.
pub(super) enum Factor<'a> {
    /// Room for those that are made.
    Make(&'a mut [Lanes]),
    /// Those that another call has made of the same matrices.
    Take(&'a [Lanes]),
}

/// Numbers of the factors of one matrix of `n` rows; none for what lanes do not compute.
pub(super) fn factors_len(op: MatrixOp, n: usize) -> usize {
    match op {
        MatrixOp::Solve(System::Positive) | MatrixOp::Cholesky => triangle(n),
        // The places of rows behind the square.
        MatrixOp::Solve(System::General { .. }) | MatrixOp::LogDet => n * n + n,
        MatrixOp::Solve(System::Lower { .. } | System::Upper { .. }) => n * n,
        MatrixOp::Qr | MatrixOp::Svd | MatrixOp::Eigh => 0,
    }
}

/// Computes up to [`LANES`] results of matrices `a` of `n x n` and, for solves, right sides `b` of `n x k`.
pub(super) fn group<T: Element>(
    op: MatrixOp,
    sizes: (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was just seen.
            return unsafe { group_avx512(op, sizes, a, b, factor, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just seen.
            return unsafe { group_avx2(op, sizes, a, b, factor, out) };
        }
    }
    group_with(op, sizes, a, b, factor, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn group_avx512<T: Element>(
    op: MatrixOp,
    sizes: (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    group_with(op, sizes, a, b, factor, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn group_avx2<T: Element>(
    op: MatrixOp,
    sizes: (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    group_with(op, sizes, a, b, factor, out)
}

#[inline(always)]
fn group_with<T: Element>(
    op: MatrixOp,
    (n, k): (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    match op {
        MatrixOp::Solve(System::Positive) => {
            let (l, solved) = made(factor, |l| {
                symmetric_factors::<T>(n, a, l, &mut vec![[0.0; LANES]; n])
            });
            let mut x = right_sides(n * k, b);
            positive::substitute(n, k, l, &mut x);
            give(n * k, &x, out);
            solved
        }
        MatrixOp::Cholesky => {
            let mut roots = vec![[0.0; LANES]; n];
            let (l, solved) = made(factor, |l| symmetric_factors::<T>(n, a, l, &mut roots));
            positive::spread(n, l, &roots, out);
            solved
        }
        MatrixOp::Solve(System::General { transposed }) => {
            let (factors, solved) = made(factor, |factors| {
                let (lu, places) = factors.split_at_mut(n * n);
                fill(n * n, a, lu);
                let largest = lu.iter().fold([0.0f64; LANES], |most, entry| {
                    std::array::from_fn(|lane| most[lane].max(entry[lane].abs()))
                });
                let mut good = square::lu(n, lu, places);
                for pivot in lu.iter().step_by(n + 1) {
                    for lane in 0..LANES {
                        good[lane] &= pivot[lane].abs() > largest[lane] * T::EPSILON * n as f64;
                    }
                }
                square::invert_diagonal(n, lu);
                good
            });
            let (lu, places) = factors.split_at(n * n);
            let lower = Triangle {
                lower: !transposed,
                transposed,
                unit: true,
            };
            let upper = Triangle {
                lower: transposed,
                transposed,
                unit: false,
            };
            let mut x = right_sides(n * k, b);
            // P A = L U: A X = B is L U X = P B; A' X = B is U' L' P X = B.
            if transposed {
                square::substitute(n, k, lu, upper, &mut x);
                square::substitute(n, k, lu, lower, &mut x);
                square::permute(k, places, true, &mut x);
            } else {
                square::permute(k, places, false, &mut x);
                square::substitute(n, k, lu, lower, &mut x);
                square::substitute(n, k, lu, upper, &mut x);
            }
            give(n * k, &x, out);
            solved
        }
        MatrixOp::LogDet => {
            let (factors, solved) = made(factor, |factors| {
                let (lu, places) = factors.split_at_mut(n * n);
                fill(n * n, a, lu);
                square::lu(n, lu, places)
            });
            let (lu, places) = factors.split_at(n * n);
            for (lane, to) in out.chunks_mut(2).enumerate() {
                let (mut sign, mut log) = (1.0, 0.0);
                for (col, place) in places.iter().enumerate() {
                    let pivot = lu[col * n + col][lane];
                    if (pivot < 0.0) != (place[lane] as usize != col) {
                        sign = -sign;
                    }
                    log += pivot.abs().ln();
                }
                to[0] = T::narrow(sign);
                to[1] = T::narrow(log);
            }
            solved
        }
        MatrixOp::Solve(system @ (System::Lower { transposed } | System::Upper { transposed })) => {
            let below = matches!(system, System::Lower { .. });
            let (factors, solved) = made(factor, |factors| {
                fill(n * n, a, factors);
                let good = finite(n, below, factors);
                square::invert_diagonal(n, factors);
                let settled = finite(n, below, factors);
                std::array::from_fn(|lane| good[lane] && settled[lane])
            });
            let triangle = Triangle {
                lower: below != transposed,
                transposed,
                unit: false,
            };
            let mut x = right_sides(n * k, b);
            square::substitute(n, k, factors, triangle, &mut x);
            give(n * k, &x, out);
            solved
        }
        MatrixOp::Qr | MatrixOp::Svd | MatrixOp::Eigh => [false; LANES],
    }
}

/// The factors, taken or made; NaN stands for those that are none.
#[inline(always)]
fn made<'a>(
    factor: Factor<'a>,
    make: impl FnOnce(&mut [Lanes]) -> Solved,
) -> (&'a [Lanes], Solved) {
    match factor {
        Factor::Take(factors) => (factors, [true; LANES]),
        Factor::Make(factors) => {
            let solved = make(factors);
            for lane in 0..LANES {
                if !solved[lane] {
                    factors.iter_mut().for_each(|entry| entry[lane] = f64::NAN);
                }
            }
            (factors, solved)
        }
    }
}

#[inline(always)]
fn symmetric_factors<T: Element>(
    n: usize,
    a: &[T],
    l: &mut [Lanes],
    roots: &mut [Lanes],
) -> Solved {
    positive::symmetric::<T>(n, last_of(n * n, a), a, l);
    positive::cholesky(n, T::EPSILON, l, roots)
}

/// Which triangles are finite.
#[inline(always)]
fn finite(n: usize, below: bool, a: &[Lanes]) -> Solved {
    // What is not finite stays so times 0.
    let mut sum = [0.0; LANES];
    for row in 0..n {
        let read = if below { 0..row + 1 } else { row..n };
        for entry in &a[row * n..][read] {
            for lane in 0..LANES {
                sum[lane] += entry[lane] * 0.0;
            }
        }
    }
    sum.map(|x| x == 0.0)
}

/// The last of up to [`LANES`] matrices of so many entries: lanes without one repeat it.
#[inline(always)]
fn last_of<T>(len: usize, from: &[T]) -> usize {
    (from.len() / len.max(1)).clamp(1, LANES) - 1
}

/// Matrices of so many entries, a lane each.
#[inline(always)]
fn fill<T: Element>(len: usize, from: &[T], to: &mut [Lanes]) {
    let last = last_of(len, from);
    for lane in 0..LANES {
        let from = &from[lane.min(last) * len..][..len];
        for (to, from) in to.iter_mut().zip(from) {
            to[lane] = from.wide();
        }
    }
}

#[inline(always)]
fn right_sides<T: Element>(len: usize, b: &[T]) -> Vec<Lanes> {
    let mut x = vec![[0.0; LANES]; len];
    fill(len, b, &mut x);
    x
}

/// The results of so many entries, each out of its lane.
#[inline(always)]
fn give<T: Element>(len: usize, x: &[Lanes], out: &mut [T]) {
    for (lane, to) in out.chunks_mut(len).enumerate() {
        for (to, from) in to.iter_mut().zip(x) {
            *to = T::narrow(from[lane]);
        }
    }
}

/// `to -= a b`
#[inline(always)]
fn less(to: &mut Lanes, a: &Lanes, b: &Lanes) {
    for lane in 0..LANES {
        to[lane] -= a[lane] * b[lane];
    }
}
