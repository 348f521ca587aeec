//! Cholesky, LU and substitution.

use super::eigh::eigh;
use super::way::is_large;
use super::{Fault, System, axpy, dot, large};

/// `(A + A') / 2`.
pub(super) fn symmetric(n: usize, mut a: Vec<f64>) -> Vec<f64> {
    for i in 0..n {
        for j in 0..i {
            let mean = 0.5 * (a[i * n + j] + a[j * n + i]);
            a[i * n + j] = mean;
            a[j * n + i] = mean;
        }
    }
    a
}

/// The lower triangular factor of a symmetric matrix. A pivot that is not above what rounding
/// leaves of its diagonal entry is a fault.
pub(super) fn cholesky(n: usize, eps: f64, mut a: Vec<f64>) -> Result<Vec<f64>, Fault> {
    let too_small = |pivot: f64, diagonal: f64| pivot <= diagonal.abs() * eps * n as f64;
    if is_large(n, n)
        && let Some(l) = large::cholesky(n, &a)
    {
        let at = |j: usize| j * (n + 1);
        return match (0..n).find(|&j| too_small(l[at(j)] * l[at(j)], a[at(j)])) {
            Some(j) => Err(Fault::NotPositive(j)),
            None => Ok(l),
        };
    }
    for j in 0..n {
        let (above, rest) = a.split_at_mut(j * n);
        let row = &mut rest[..n];
        let diagonal = row[j];
        for (i, before) in above.chunks(n).enumerate() {
            row[i] = (row[i] - dot(&row[..i], &before[..i])) / before[i];
        }
        let pivot = diagonal - dot(&row[..j], &row[..j]);
        if too_small(pivot, diagonal) {
            return Err(Fault::NotPositive(j));
        }
        row[j] = pivot.sqrt();
        row[j + 1..].fill(0.0);
    }
    Ok(a)
}

/// L and U in one matrix (L's diagonal is 1), the row that stands at each place, and the sign
/// of that permutation.
struct Lu {
    factors: Vec<f64>,
    order: Vec<usize>,
    sign: f64,
}

/// Partial pivoting. A pivot that vanishes is left as it is.
fn lu(n: usize, mut a: Vec<f64>) -> Lu {
    if is_large(n, n) {
        let (factors, order) = large::lu(n, &a);
        let sign = sign_of(&order);
        return Lu {
            factors,
            order,
            sign,
        };
    }
    let mut order: Vec<usize> = (0..n).collect();
    let mut sign = 1.0;
    for col in 0..n {
        let mut best = col;
        for row in col + 1..n {
            if a[row * n + col].abs() > a[best * n + col].abs() {
                best = row;
            }
        }
        if best != col {
            for at in 0..n {
                a.swap(col * n + at, best * n + at);
            }
            order.swap(col, best);
            sign = -sign;
        }
        let (top, below) = a.split_at_mut((col + 1) * n);
        let pivot_row = &top[col * n..];
        let pivot = pivot_row[col];
        if pivot == 0.0 {
            continue;
        }
        for row in below.chunks_mut(n) {
            let factor = row[col] / pivot;
            row[col] = factor;
            axpy(-factor, &pivot_row[col + 1..], &mut row[col + 1..]);
        }
    }
    Lu {
        factors: a,
        order,
        sign,
    }
}

/// 1 for an even permutation, -1 for an odd one: each cycle of even length turns it.
fn sign_of(order: &[usize]) -> f64 {
    let mut seen = vec![false; order.len()];
    let mut sign = 1.0;
    for start in 0..order.len() {
        let (mut at, mut length) = (start, 0);
        while !std::mem::replace(&mut seen[at], true) {
            at = order[at];
            length += 1;
        }
        if length > 0 && length % 2 == 0 {
            sign = -sign;
        }
    }
    sign
}

/// `[sign, log |det|]`.
pub(super) fn logdet(n: usize, a: Vec<f64>) -> Vec<f64> {
    let lu = lu(n, a);
    let mut sign = lu.sign;
    let mut log = 0.0;
    for i in 0..n {
        let pivot = lu.factors[i * n + i];
        if pivot == 0.0 {
            return vec![0.0, f64::NEG_INFINITY];
        }
        if pivot < 0.0 {
            sign = -sign;
        }
        log += pivot.abs().ln();
    }
    vec![sign, log]
}

/// X of `n x k`.
pub(super) fn solve(
    system: System,
    n: usize,
    k: usize,
    eps: f64,
    a: Vec<f64>,
    mut b: Vec<f64>,
) -> Result<Vec<f64>, Fault> {
    match system {
        System::Lower { transposed } => {
            nonzero_diagonal(n, &a)?;
            match transposed {
                false => forward((n, &a, false), false, &mut b),
                true => backward((n, &a, true), false, &mut b),
            }
        }
        System::Upper { transposed } => {
            nonzero_diagonal(n, &a)?;
            match transposed {
                false => backward((n, &a, false), false, &mut b),
                true => forward((n, &a, true), false, &mut b),
            }
        }
        System::Positive => {
            let a = symmetric(n, a);
            // The pivot says where it failed; of use to a reader is how many unknowns there are
            // equations for.
            let rank = |a| Fault::NotPositive(rank(n, eps, a));
            let l = cholesky(n, eps, a.clone()).map_err(|_| rank(a))?;
            forward((n, &l, false), false, &mut b);
            backward((n, &l, true), false, &mut b);
        }
        System::General { transposed } => {
            let largest = a.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            let lu = lu(n, a);
            let f = &lu.factors;
            for i in 0..n {
                if f[i * n + i].abs() <= largest * eps * n as f64 {
                    return Err(Fault::Singular(i));
                }
            }
            // P A = L U: A X = B is L U X = P B; A' X = B is U' L' P X = B.
            if transposed {
                forward((n, f, true), false, &mut b);
                backward((n, f, true), true, &mut b);
                let mut x = vec![0.0; n * k];
                for (from, &to) in b.chunks(k.max(1)).zip(&lu.order) {
                    x[to * k..][..k].copy_from_slice(from);
                }
                return Ok(x);
            }
            let mut x = Vec::with_capacity(n * k);
            for &row in &lu.order {
                x.extend_from_slice(&b[row * k..][..k]);
            }
            forward((n, f, false), true, &mut x);
            backward((n, f, false), false, &mut x);
            return Ok(x);
        }
    }
    Ok(b)
}

/// Number of eigenvalues of a symmetric matrix that are above what rounding leaves of 0.
fn rank(n: usize, eps: f64, a: Vec<f64>) -> usize {
    let Ok(factors) = eigh(n, a) else { return 0 };
    let values = &factors[n * n..];
    let largest = values.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    values
        .iter()
        .filter(|&&x| x > largest * eps * n as f64)
        .count()
        .min(n.saturating_sub(1))
}

fn nonzero_diagonal(n: usize, a: &[f64]) -> Result<(), Fault> {
    match (0..n).find(|&i| a[i * n + i] == 0.0) {
        Some(i) => Err(Fault::Singular(i)),
        None => Ok(()),
    }
}

/// A matrix of `n x n`, read transposed or as it is.
type Square<'a> = (usize, &'a [f64], bool);

/// Solves with a lower triangular matrix, in place.
fn forward((n, a, transposed): Square<'_>, unit: bool, x: &mut [f64]) {
    if is_large(n, n) {
        return large::substitute((n, a, transposed), true, unit, x);
    }
    let l = |i: usize, j: usize| {
        if transposed {
            a[j * n + i]
        } else {
            a[i * n + j]
        }
    };
    let k = x.len() / n.max(1);
    for i in 0..n {
        let (known, rest) = x.split_at_mut(i * k);
        let row = &mut rest[..k];
        for j in 0..i {
            axpy(-l(i, j), &known[j * k..][..k], row);
        }
        divide(row, if unit { 1.0 } else { l(i, i) });
    }
}

/// Solves with an upper triangular matrix, in place.
fn backward((n, a, transposed): Square<'_>, unit: bool, x: &mut [f64]) {
    if is_large(n, n) {
        return large::substitute((n, a, transposed), false, unit, x);
    }
    let u = |i: usize, j: usize| {
        if transposed {
            a[j * n + i]
        } else {
            a[i * n + j]
        }
    };
    let k = x.len() / n.max(1);
    for i in (0..n).rev() {
        let (head, known) = x.split_at_mut((i + 1) * k);
        let row = &mut head[i * k..];
        for j in i + 1..n {
            axpy(-u(i, j), &known[(j - i - 1) * k..][..k], row);
        }
        divide(row, if unit { 1.0 } else { u(i, i) });
    }
}

fn divide(row: &mut [f64], by: f64) {
    for x in row {
        *x /= by;
    }
}
