//! Singular values by one-sided Jacobi rotations on the triangular factor.
//!
//! Demmel & Veselić, "Jacobi's method is more accurate than QR" (1992); the QR step before it
//! is that of Drmač & Veselić (2008): with it few sweeps are needed, and tall matrices cost
//! little more than their triangle.

use super::way::is_large;
use super::{Fault, dot, large, positive_columns, qr::qr, scale_columns, transpose};

/// Sweeps before giving up; a dozen are rarely needed.
const MAX_SWEEPS: usize = 60;

/// U (`n x r`) over V (`m x r`) over the singular values.
pub(super) fn svd(n: usize, m: usize, a: Vec<f64>) -> Result<Vec<f64>, Fault> {
    if is_large(n, m) {
        return large::svd(n, m, &a);
    }
    let tall = n >= m;
    let (rows, r) = (n.max(m), n.min(m));
    let a = if tall { a } else { transpose(n, m, &a) };
    let (scale, a) = scaled(a);
    let factors = qr(rows, r, a);
    let (q, upper) = factors.split_at(rows * r);
    // Rows of R are columns of R' = L; R' W has orthogonal columns: R' = Y diag(s) W', so
    // R = W diag(s) Y'.
    let mut x = upper.to_vec();
    let mut w: Vec<f64> = (0..r * r)
        .map(|at| f64::from(u8::from(at / r.max(1) == at % r.max(1))))
        .collect();
    rotate(r, &mut x, &mut w)?;
    let norms: Vec<f64> = x.chunks(r.max(1)).map(|row| dot(row, row).sqrt()).collect();
    let mut order: Vec<usize> = (0..r).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let y = normalized(r, &x, &norms, &order);
    // Left vectors: Q W, columns in order of the values.
    let mut left = vec![0.0; rows * r];
    for (place, &from) in order.iter().enumerate() {
        let column = &w[from * r..][..r];
        for i in 0..rows {
            left[i * r + place] = dot(&q[i * r..][..r], column);
        }
    }
    let (mut u, mut v) = if tall { (left, y) } else { (y, left) };
    let signs = positive_columns(&mut v, r);
    scale_columns(&mut u, &signs);
    u.extend(v);
    u.extend(order.iter().map(|&from| norms[from] * scale));
    Ok(u)
}

/// The matrix divided by its largest entry, so that squares neither overflow nor vanish.
fn scaled(mut a: Vec<f64>) -> (f64, Vec<f64>) {
    let largest = a.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    if largest == 0.0 {
        return (1.0, a);
    }
    for x in &mut a {
        *x /= largest;
    }
    (largest, a)
}

/// Rotates pairs of rows of `x` until all are orthogonal, and the rows of `w` with them.
fn rotate(r: usize, x: &mut [f64], w: &mut [f64]) -> Result<(), Fault> {
    let tolerance = f64::EPSILON * (r as f64).sqrt();
    // A row this small only holds what rounding left; its direction may never settle.
    let largest = x.chunks(r.max(1)).map(|p| dot(p, p)).fold(0.0f64, f64::max);
    let nothing = largest * f64::EPSILON * f64::EPSILON;
    for _ in 0..MAX_SWEEPS {
        let mut settled = true;
        for i in 0..r {
            for j in i + 1..r {
                let (p, q) = pair(x, r, i, j);
                let (alpha, beta, gamma) = (dot(p, p), dot(q, q), dot(p, q));
                if gamma.abs() <= tolerance * (alpha * beta).sqrt() || alpha.min(beta) <= nothing {
                    continue;
                }
                settled = false;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                turn(p, q, c, c * t);
                let (p, q) = pair(w, r, i, j);
                turn(p, q, c, c * t);
            }
        }
        if settled {
            return Ok(());
        }
    }
    Err(Fault::NoConvergence)
}

fn pair(x: &mut [f64], r: usize, i: usize, j: usize) -> (&mut [f64], &mut [f64]) {
    let (head, tail) = x.split_at_mut(j * r);
    (&mut head[i * r..][..r], &mut tail[..r])
}

fn turn(p: &mut [f64], q: &mut [f64], c: f64, s: f64) {
    for (p, q) in p.iter_mut().zip(q) {
        (*p, *q) = (c * *p - s * *q, s * *p + c * *q);
    }
}

/// The rows of `x` by their norms, as columns in the given order. A row that vanishes is
/// replaced by what completes the others to an orthonormal basis.
fn normalized(r: usize, x: &[f64], norms: &[f64], order: &[usize]) -> Vec<f64> {
    let negligible = norms.iter().fold(0.0f64, |a, &b| a.max(b)) * f64::EPSILON * r as f64;
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(r);
    for &from in order {
        let row = &x[from * r..][..r];
        let next = if norms[from] > negligible {
            row.iter().map(|value| value / norms[from]).collect()
        } else {
            complete(r, &basis)
        };
        basis.push(next);
    }
    let mut out = vec![0.0; r * r];
    for (place, vector) in basis.iter().enumerate() {
        for (i, value) in vector.iter().enumerate() {
            out[i * r + place] = *value;
        }
    }
    out
}

/// A unit vector orthogonal to an orthonormal, incomplete basis: of the axes, the one that is
/// farthest from it, by Gram-Schmidt twice.
fn complete(r: usize, basis: &[Vec<f64>]) -> Vec<f64> {
    let inside = |axis: usize| basis.iter().map(|v| v[axis] * v[axis]).sum::<f64>();
    let axis = (0..r)
        .min_by(|&a, &b| inside(a).total_cmp(&inside(b)))
        .unwrap_or(0);
    let mut out = vec![0.0; r];
    out[axis] = 1.0;
    for _ in 0..2 {
        for v in basis {
            let s = -dot(v, &out);
            super::axpy(s, v, &mut out);
        }
        let norm = dot(&out, &out).sqrt();
        for x in &mut out {
            *x /= norm;
        }
    }
    out
}
