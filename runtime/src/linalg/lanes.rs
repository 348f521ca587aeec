//! Small positive definite systems side by side: eight of a batch at a time, each in a lane of its
//! own, so that the short sums of one are not waited for. The order of arithmetic in a lane does
//! not depend on its neighbours, and nothing is contracted: every instruction set gives the same
//! bits, however a batch is shared out, and a system alone has those that it has in a batch.

#![allow(unsafe_code)]

use super::Element;

/// Systems that are solved together.
pub(super) const LANES: usize = 8;

/// One number of each system.
pub(super) type Lanes = [f64; LANES];

/// Which systems of a group were solved. The others have a matrix that is not finite or not
/// positive definite.
pub(super) type Solved = [bool; LANES];

/// The factors of a group: the columns of lower triangles one after the other, with the inverse of
/// each diagonal entry in its place; NaN for a matrix without one.
pub(super) enum Factor<'a> {
    /// Room for those that are made.
    Make(&'a mut [Lanes]),
    /// Those that another call has made of the same matrices.
    Take(&'a [Lanes]),
}

/// Entries of a triangle of `n` rows.
pub(super) fn triangle(n: usize) -> usize {
    n * (n + 1) / 2
}

/// Solves up to [`LANES`] systems with matrices `a` of `n x n`, right sides `b` and results `out`
/// of `n x k`.
pub(super) fn solve<T: Element>(
    (n, k): (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was just seen.
            return unsafe { solve_avx512((n, k), a, b, factor, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just seen.
            return unsafe { solve_avx2((n, k), a, b, factor, out) };
        }
    }
    solve_with((n, k), a, b, factor, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn solve_avx512<T: Element>(
    sizes: (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    solve_with(sizes, a, b, factor, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn solve_avx2<T: Element>(
    sizes: (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    solve_with(sizes, a, b, factor, out)
}

#[inline(always)]
fn solve_with<T: Element>(
    (n, k): (usize, usize),
    a: &[T],
    b: &[T],
    factor: Factor<'_>,
    out: &mut [T],
) -> Solved {
    // Lanes without a system repeat the last one.
    let last = (out.len() / (n * k)).saturating_sub(1);
    let (l, solved): (&[Lanes], Solved) = match factor {
        Factor::Take(l) => (l, [true; LANES]),
        Factor::Make(l) => {
            symmetric::<T>(n, last, a, l);
            let solved = cholesky(n, T::EPSILON, l);
            for lane in 0..LANES {
                if !solved[lane] {
                    l[0][lane] = f64::NAN;
                }
            }
            (l, solved)
        }
    };
    let mut x = vec![[0.0; LANES]; n * k];
    for lane in 0..LANES {
        let from = &b[lane.min(last) * n * k..][..n * k];
        for (to, from) in x.iter_mut().zip(from) {
            to[lane] = from.wide();
        }
    }
    substitute(n, k, l, &mut x);
    for (lane, to) in out.chunks_mut(n * k).enumerate() {
        for (to, from) in to.iter_mut().zip(&x) {
            *to = T::narrow(from[lane]);
        }
    }
    solved
}

/// The lower triangles of `(A + A') / 2`.
#[inline(always)]
fn symmetric<T: Element>(n: usize, last: usize, a: &[T], l: &mut [Lanes]) {
    for lane in 0..LANES {
        let a = &a[lane.min(last) * n * n..][..n * n];
        let mut at = 0;
        for j in 0..n {
            for i in j..n {
                l[at][lane] = 0.5 * (a[i * n + j].wide() + a[j * n + i].wide());
                at += 1;
            }
        }
    }
}

/// The factors in place of the triangles. A pivot that is not above what rounding leaves of its
/// diagonal entry is bad; an entry that is not finite makes one so.
#[inline(always)]
fn cholesky(n: usize, eps: f64, l: &mut [Lanes]) -> Solved {
    let least = eps * n as f64;
    let mut good = [true; LANES];
    let mut diagonal = vec![[0.0; LANES]; n];
    let mut at = 0;
    for (j, entry) in diagonal.iter_mut().enumerate() {
        *entry = l[at];
        at += n - j;
    }
    let mut at = 0;
    for (j, diagonal) in diagonal.iter().enumerate() {
        let (column, mut right) = l[at..].split_at_mut(n - j);
        at += n - j;
        let mut inverse = [0.0; LANES];
        for lane in 0..LANES {
            let pivot = column[0][lane];
            good[lane] &= pivot > diagonal[lane].abs() * least;
            inverse[lane] = 1.0 / pivot.sqrt();
        }
        column[0] = inverse;
        for entry in &mut column[1..] {
            for lane in 0..LANES {
                entry[lane] *= inverse[lane];
            }
        }
        for k in 1..n - j {
            let (own, more) = right.split_at_mut(n - j - k);
            right = more;
            let factor = column[k];
            for (to, from) in own.iter_mut().zip(&column[k..]) {
                less(to, &factor, from);
            }
        }
    }
    good
}

/// `L L' X = B`, B in place of X.
#[inline(always)]
fn substitute(n: usize, k: usize, l: &[Lanes], x: &mut [Lanes]) {
    for r in 0..k {
        let mut rest = l;
        for j in 0..n {
            let (column, more) = rest.split_at(n - j);
            rest = more;
            let mut known = x[j * k + r];
            for lane in 0..LANES {
                known[lane] *= column[0][lane];
            }
            x[j * k + r] = known;
            for (i, entry) in (j + 1..n).zip(&column[1..]) {
                less(&mut x[i * k + r], entry, &known);
            }
        }
        let mut end = l.len();
        for j in (0..n).rev() {
            let column = &l[end - (n - j)..end];
            end -= n - j;
            let mut value = x[j * k + r];
            for (i, entry) in (j + 1..n).zip(&column[1..]) {
                less(&mut value, entry, &x[i * k + r]);
            }
            for lane in 0..LANES {
                value[lane] *= column[0][lane];
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
