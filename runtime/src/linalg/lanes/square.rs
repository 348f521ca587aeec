//! LU factors with partial pivoting, and substitution by triangles of a square. Matrices are row by row;
//! once factored, the diagonal holds the inverses of U's, and L's is 1.

use super::{LANES, Lanes, Solved, less};

/// Which triangle of a matrix substitution goes by.
#[derive(Clone, Copy)]
pub(super) struct Triangle {
    /// The entries below the diagonal of what is read, not those above.
    pub(super) lower: bool,
    /// The matrix is read transposed.
    pub(super) transposed: bool,
    /// The diagonal is taken as 1.
    pub(super) unit: bool,
}

/// L and U in place of the matrices, with U's diagonal as it is, and for each column the row that was
/// swapped with the one of its number. Good is what has no pivot of 0, nor one that is no number.
#[inline(always)]
pub(super) fn lu(n: usize, a: &mut [Lanes], places: &mut [Lanes]) -> Solved {
    let mut good = [true; LANES];
    for (col, place) in places.iter_mut().enumerate() {
        *place = [col as f64; LANES];
        let mut most = a[col * n + col].map(f64::abs);
        for row in col + 1..n {
            let entry = &a[row * n + col];
            for lane in 0..LANES {
                let size = entry[lane].abs();
                let more = size > most[lane];
                most[lane] = if more { size } else { most[lane] };
                place[lane] = if more { row as f64 } else { place[lane] };
            }
        }
        for (lane, &row) in place.iter().enumerate() {
            swap_rows(a, n, lane, col, row as usize);
        }
        let (top, below) = a.split_at_mut((col + 1) * n);
        let pivot_row = &top[col * n..];
        let mut inverse = [0.0; LANES];
        for lane in 0..LANES {
            let pivot = pivot_row[col][lane];
            good[lane] &= pivot != 0.0 && pivot.is_finite();
            inverse[lane] = 1.0 / pivot;
        }
        for row in below.chunks_mut(n) {
            let mut factor = row[col];
            for lane in 0..LANES {
                factor[lane] *= inverse[lane];
            }
            row[col] = factor;
            for (to, from) in row[col + 1..].iter_mut().zip(&pivot_row[col + 1..]) {
                less(to, &factor, from);
            }
        }
    }
    good
}

/// Swaps two rows of `k` entries in one lane.
#[inline(always)]
fn swap_rows(x: &mut [Lanes], k: usize, lane: usize, one: usize, other: usize) {
    if one != other {
        for at in 0..k {
            let kept = x[one * k + at][lane];
            x[one * k + at][lane] = x[other * k + at][lane];
            x[other * k + at][lane] = kept;
        }
    }
}

/// Puts the rows of X in the order of the factors, or back.
#[inline(always)]
pub(super) fn permute(k: usize, places: &[Lanes], back: bool, x: &mut [Lanes]) {
    let n = places.len();
    for step in 0..n {
        let row = if back { n - 1 - step } else { step };
        for (lane, &place) in places[row].iter().enumerate() {
            swap_rows(x, k, lane, row, place as usize);
        }
    }
}

/// The diagonal's inverses in its place.
#[inline(always)]
pub(super) fn invert_diagonal(n: usize, a: &mut [Lanes]) {
    for entry in a.iter_mut().take(n * n).step_by(n + 1) {
        *entry = entry.map(|x| 1.0 / x);
    }
}

/// Solves with a triangle, whose diagonal holds inverses, in place of the right sides.
#[inline(always)]
pub(super) fn substitute(n: usize, k: usize, a: &[Lanes], triangle: Triangle, x: &mut [Lanes]) {
    let Triangle {
        lower,
        transposed,
        unit,
    } = triangle;
    // What is known from entry j on goes to the rows that are still open.
    let entry = |i: usize, j: usize| match transposed {
        true => &a[j * n + i],
        false => &a[i * n + j],
    };
    for step in 0..n {
        let j = if lower { step } else { n - 1 - step };
        let open = if lower { j + 1..n } else { 0..j };
        for r in 0..k {
            let mut known = x[j * k + r];
            if !unit {
                let inverse = entry(j, j);
                for lane in 0..LANES {
                    known[lane] *= inverse[lane];
                }
                x[j * k + r] = known;
            }
            for i in open.clone() {
                less(&mut x[i * k + r], entry(i, j), &known);
            }
        }
    }
}
