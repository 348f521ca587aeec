//! Eigenvalues of symmetric matrices: Householder tridiagonalization and implicit QL.
//!
//! The procedures `tred2` and `tql2` of Bowdler, Martin, Reinsch and Wilkinson (Handbook for
//! Automatic Computation II, 1971), with the vectors kept in rows while they are rotated.

use super::way::is_large;
use super::{Fault, axpy, dot, large, positive_columns, transpose};

/// QL steps for one value before giving up.
const MAX_STEPS: usize = 60;

/// Vectors (`n x n`, in columns) over the values, ascending, of a symmetric matrix.
pub(super) fn eigh(n: usize, a: Vec<f64>) -> Result<Vec<f64>, Fault> {
    if is_large(n, n) {
        return large::eigh(n, &a);
    }
    let (mut values, mut off, mut vectors) = tridiagonal(n, a);
    ql(n, &mut values, &mut off, &mut vectors)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut sorted = Vec::with_capacity(n * n);
    for &from in &order {
        sorted.extend_from_slice(&vectors[from * n..][..n]);
    }
    let mut out = transpose(n, n, &sorted);
    positive_columns(&mut out, n);
    out.extend(order.iter().map(|&from| values[from]));
    Ok(out)
}

/// Diagonal, off-diagonal (entry i couples i and i + 1) and the rows of Q', where
/// `A = Q T Q'`.
fn tridiagonal(n: usize, mut a: Vec<f64>) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut off = vec![0.0; n];
    // Reflection j acts on the entries after j; its vector is kept in row j.
    let mut scales = vec![0.0; n];
    for j in 0..n.saturating_sub(2) {
        let (head, rest) = a.split_at_mut((j + 1) * n);
        let v = &mut head[j * n + j + 1..];
        let norm = dot(v, v).sqrt();
        if norm == 0.0 {
            continue;
        }
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        off[j] = alpha;
        v[0] -= alpha;
        let scale = 2.0 / dot(v, v);
        scales[j] = scale;
        // p = scale * A v - (scale^2 / 2) (v' A v) v, then A -= v p' + p v'.
        let mut p: Vec<f64> = rest
            .chunks(n)
            .map(|row| scale * dot(&row[j + 1..], v))
            .collect();
        let half = -0.5 * scale * dot(&p, v);
        axpy(half, v, &mut p);
        for (i, row) in rest.chunks_mut(n).enumerate() {
            let row = &mut row[j + 1..];
            axpy(-v[i], &p, row);
            axpy(-p[i], v, row);
        }
    }
    if n >= 2 {
        off[n - 2] = a[(n - 1) * n + n - 2];
    }
    let diagonal = (0..n).map(|i| a[i * n + i]).collect();
    // Q = H_0 H_1 …: the rows of Q' are those of … H_1 H_0, built from the last reflection on.
    let mut q = vec![0.0; n * n];
    for i in 0..n {
        q[i * n + i] = 1.0;
    }
    for j in (0..n.saturating_sub(2)).rev() {
        if scales[j] == 0.0 {
            continue;
        }
        let v = &a[j * n + j + 1..][..n - j - 1];
        for row in q.chunks_mut(n).skip(j + 1) {
            let part = &mut row[j + 1..];
            let s = -scales[j] * dot(part, v);
            axpy(s, v, part);
        }
    }
    (diagonal, off, q)
}

/// Implicit QL: `d` becomes the values, rows of `z` the vectors.
fn ql(n: usize, d: &mut [f64], e: &mut [f64], z: &mut [f64]) -> Result<(), Fault> {
    for l in 0..n {
        let mut steps = 0;
        loop {
            let small = |i: usize| e[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs());
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            steps += 1;
            if steps > MAX_STEPS {
                return Err(Fault::NoConvergence);
            }
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (l..m).rev() {
                let f = s * e[i];
                let b = c * e[i];
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    split = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                let (head, tail) = z.split_at_mut((i + 1) * n);
                for (low, high) in head[i * n..].iter_mut().zip(&mut tail[..n]) {
                    (*low, *high) = (c * *low - s * *high, s * *low + c * *high);
                }
            }
            if !split {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    Ok(())
}
