//! Small positive definite systems side by side: eight of a batch at a time, each in a lane of its
//! own, so that the short sums of one are not waited for. The order of arithmetic in a lane does
//! not depend on its neighbours, and nothing is contracted: every instruction set gives the same
//! bits, however a batch is shared out, and a system alone has those that it has in a batch.

#![allow(unsafe_code)]

use super::{Element, MatrixOp, Shape, System};

/// Systems that are solved together.
pub(super) const LANES: usize = 8;

/// The matrices of larger systems leave the cache when there are eight.
const LARGEST: usize = 48;

/// One number of each system.
type Lanes = [f64; LANES];

/// Which systems of a group were solved. The others have a matrix that is not finite or not
/// positive definite.
pub(super) type Solved = [bool; LANES];

/// Whether systems are solved by lanes; the number of them makes no difference.
pub(super) fn suits(op: MatrixOp, shape: Shape) -> bool {
    matches!(op, MatrixOp::Solve(System::Positive)) && shape.rows <= LARGEST && shape.rhs <= LARGEST
}

/// Solves up to [`LANES`] systems with matrices `a` of `n x n`, right sides `b` and results `out`
/// of `n x k`.
pub(super) fn solve<T: Element>(n: usize, k: usize, a: &[T], b: &[T], out: &mut [T]) -> Solved {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was just seen.
            return unsafe { solve_avx512(n, k, a, b, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just seen.
            return unsafe { solve_avx2(n, k, a, b, out) };
        }
    }
    solve_with(n, k, a, b, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn solve_avx512<T: Element>(n: usize, k: usize, a: &[T], b: &[T], out: &mut [T]) -> Solved {
    solve_with(n, k, a, b, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn solve_avx2<T: Element>(n: usize, k: usize, a: &[T], b: &[T], out: &mut [T]) -> Solved {
    solve_with(n, k, a, b, out)
}

#[inline(always)]
fn solve_with<T: Element>(n: usize, k: usize, a: &[T], b: &[T], out: &mut [T]) -> Solved {
    // Lanes without a system repeat the last one.
    let last = (out.len() / (n * k)).saturating_sub(1);
    let (mut l, mut solved) = symmetric::<T>(n, last, a);
    cholesky(n, T::EPSILON, &mut l, &mut solved);
    let mut x = vec![[0.0; LANES]; n * k];
    for lane in 0..LANES {
        let from = &b[lane.min(last) * n * k..][..n * k];
        for (to, from) in x.iter_mut().zip(from) {
            to[lane] = from.wide();
        }
    }
    substitute(n, k, &l, &mut x);
    for (lane, to) in out.chunks_mut(n * k).enumerate() {
        for (to, from) in to.iter_mut().zip(&x) {
            *to = T::narrow(from[lane]);
        }
    }
    solved
}

/// Columns of the lower triangles of `(A + A') / 2`, and which are finite.
#[inline(always)]
fn symmetric<T: Element>(n: usize, last: usize, a: &[T]) -> (Vec<Lanes>, Solved) {
    let mut l = vec![[0.0; LANES]; n * n];
    let mut finite = [true; LANES];
    for lane in 0..LANES {
        let a = &a[lane.min(last) * n * n..][..n * n];
        for j in 0..n {
            for i in j..n {
                let mean = 0.5 * (a[i * n + j].wide() + a[j * n + i].wide());
                finite[lane] &= mean.is_finite();
                l[j * n + i][lane] = mean;
            }
        }
    }
    (l, finite)
}

/// The factors in place of the triangles, column by column, with the inverse of each diagonal
/// entry in its place. A pivot that is not above what rounding leaves of its diagonal entry is bad.
#[inline(always)]
fn cholesky(n: usize, eps: f64, l: &mut [Lanes], good: &mut Solved) {
    let diagonal: Vec<Lanes> = (0..n).map(|j| l[j * n + j]).collect();
    for j in 0..n {
        let (done, rest) = l.split_at_mut((j + 1) * n);
        let column = &mut done[j * n..];
        let mut inverse = [0.0; LANES];
        for lane in 0..LANES {
            let pivot = column[j][lane];
            good[lane] &= pivot > diagonal[j][lane].abs() * eps * n as f64;
            inverse[lane] = 1.0 / pivot.sqrt();
        }
        column[j] = inverse;
        for entry in &mut column[j + 1..] {
            for lane in 0..LANES {
                entry[lane] *= inverse[lane];
            }
        }
        for (k, right) in (j + 1..n).zip(rest.chunks_mut(n)) {
            let factor = column[k];
            for (to, from) in right[k..].iter_mut().zip(&column[k..]) {
                less(to, &factor, from);
            }
        }
    }
}

/// `L L' X = B`, B in place of X.
#[inline(always)]
fn substitute(n: usize, k: usize, l: &[Lanes], x: &mut [Lanes]) {
    for r in 0..k {
        for j in 0..n {
            let mut known = x[j * k + r];
            for lane in 0..LANES {
                known[lane] *= l[j * n + j][lane];
            }
            x[j * k + r] = known;
            for i in j + 1..n {
                less(&mut x[i * k + r], &l[j * n + i], &known);
            }
        }
        for j in (0..n).rev() {
            let mut value = x[j * k + r];
            for i in j + 1..n {
                less(&mut value, &l[j * n + i], &x[i * k + r]);
            }
            for lane in 0..LANES {
                value[lane] *= l[j * n + j][lane];
            }
            x[j * k + r] = value;
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
