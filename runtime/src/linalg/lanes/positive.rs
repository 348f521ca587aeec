//! Cholesky factors: the columns of lower triangles one after the other, with the inverse of each
//! diagonal entry in its place.

use super::super::Element;
use super::{LANES, Lanes, Solved, less};

/// Entries of a triangle of `n` rows.
pub(super) fn triangle(n: usize) -> usize {
    n * (n + 1) / 2
}

/// The lower triangles of `(A + A') / 2`.
#[inline(always)]
pub(super) fn symmetric<T: Element>(n: usize, last: usize, a: &[T], l: &mut [Lanes]) {
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

/// The factors in place of the triangles, and the roots of the pivots. A pivot that is not above what
/// rounding leaves of its diagonal entry is bad; an entry that is not finite makes one so.
#[inline(always)]
pub(super) fn cholesky(n: usize, eps: f64, l: &mut [Lanes], roots: &mut [Lanes]) -> Solved {
    let least = eps * n as f64;
    let mut good = [true; LANES];
    let mut at = 0;
    for (j, entry) in roots.iter_mut().enumerate() {
        *entry = l[at];
        at += n - j;
    }
    let mut at = 0;
    for (j, root) in roots.iter_mut().enumerate() {
        let (column, mut right) = l[at..].split_at_mut(n - j);
        at += n - j;
        let mut inverse = [0.0; LANES];
        for lane in 0..LANES {
            let pivot = column[0][lane];
            good[lane] &= pivot > root[lane].abs() * least;
            root[lane] = pivot.sqrt();
            inverse[lane] = 1.0 / root[lane];
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
pub(super) fn substitute(n: usize, k: usize, l: &[Lanes], x: &mut [Lanes]) {
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

/// L in full, from the factors and the roots of its pivots.
#[inline(always)]
pub(super) fn spread<T: Element>(n: usize, l: &[Lanes], roots: &[Lanes], out: &mut [T]) {
    for (lane, to) in out.chunks_mut(n * n).enumerate() {
        let mut at = 0;
        for j in 0..n {
            for row in to.chunks_mut(n).take(j) {
                row[j] = T::narrow(0.0);
            }
            to[j * n + j] = T::narrow(roots[j][lane]);
            for i in j + 1..n {
                to[i * n + j] = T::narrow(l[at + i - j][lane]);
            }
            at += n - j;
        }
    }
}
