//! QR by Householder reflections (Golub & Van Loan, Matrix Computations, 5.2).

use super::way::is_large;
use super::{axpy, dot, large, transpose};

/// Q (`n x m`) over R (`m x m`) of an `n x m` matrix, `n >= m`.
pub(super) fn qr(n: usize, m: usize, a: Vec<f64>) -> Vec<f64> {
    if is_large(n, m) {
        return large::qr(n, m, &a);
    }
    // Columns are contiguous while reflections are applied.
    let mut columns = transpose(n, m, &a);
    let mut diagonal = vec![0.0; m];
    for j in 0..m {
        let (head, later) = columns.split_at_mut((j + 1) * n);
        let v = &mut head[j * n + j..];
        let norm = dot(v, v).sqrt();
        if norm == 0.0 {
            continue;
        }
        // Away from the entry, so that nothing cancels.
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        diagonal[j] = alpha;
        v[0] -= alpha;
        let scale = 2.0 / dot(v, v);
        for column in later.chunks_mut(n) {
            let part = &mut column[j..];
            let s = -scale * dot(v, part);
            axpy(s, v, part);
        }
    }
    // Q: the reflections applied to the first columns of the identity, last one first.
    let mut q = vec![0.0; n * m];
    for j in 0..m {
        q[j * n + j] = 1.0;
    }
    for j in (0..m).rev() {
        let v = &columns[j * n + j..][..n - j];
        let square = dot(v, v);
        if diagonal[j] == 0.0 || square == 0.0 {
            continue;
        }
        for column in q.chunks_mut(n).skip(j) {
            let part = &mut column[j..];
            let s = -2.0 / square * dot(v, part);
            axpy(s, v, part);
        }
    }
    let signs: Vec<f64> = diagonal
        .iter()
        .map(|&x| if x < 0.0 { -1.0 } else { 1.0 })
        .collect();
    let mut out = Vec::with_capacity((n + m) * m);
    for i in 0..n {
        out.extend((0..m).map(|j| q[j * n + i] * signs[j]));
    }
    for i in 0..m {
        out.extend((0..m).map(|j| match j {
            _ if j < i => 0.0,
            _ if j == i => diagonal[i] * signs[i],
            _ => columns[j * n + i] * signs[i],
        }));
    }
    out
}
