//! Large matrices are factored by the library `faer`, whose blocked algorithms keep to the caches;
//! on one thread and in one order, as all here. Below 64 rows our own loops are as fast, and
//! say of a matrix without a result where it fails.

use super::{Fault, positive_columns, scale_columns};
use faer::linalg::triangular_solve as triangular;
use faer::{MatMut, MatRef, Par, Side};

fn matrix(rows: usize, cols: usize, a: &[f64]) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(a, rows, cols)
}

fn rows_of(x: MatRef<'_, f64>) -> impl Iterator<Item = f64> {
    (0..x.nrows()).flat_map(move |i| (0..x.ncols()).map(move |j| x[(i, j)]))
}

/// The lower triangular factor of a symmetric matrix; none if a pivot is not above 0.
pub(super) fn cholesky(n: usize, a: &[f64]) -> Option<Vec<f64>> {
    let factor = matrix(n, n, a).llt(Side::Lower).ok()?;
    Some(rows_of(factor.L()).collect())
}

/// L and U in one matrix and the row that stands at each place, by partial pivoting.
pub(super) fn lu(n: usize, a: &[f64]) -> (Vec<f64>, Vec<usize>) {
    let lu = matrix(n, n, a).partial_piv_lu();
    let (l, u) = (lu.L(), lu.U());
    let both = (0..n).flat_map(|i| (0..n).map(move |j| if j < i { l[(i, j)] } else { u[(i, j)] }));
    (both.collect(), lu.P().arrays().0.to_vec())
}

/// Solves with a triangle of a matrix, which is read transposed if told so, in place.
pub(super) fn substitute(
    (n, a, transposed): (usize, &[f64], bool),
    lower: bool,
    unit: bool,
    x: &mut [f64],
) {
    let a = matrix(n, n, a);
    let a = if transposed { a.transpose() } else { a };
    let cols = x.len() / n;
    let x = MatMut::from_row_major_slice_mut(x, n, cols);
    match (lower, unit) {
        (true, true) => triangular::solve_unit_lower_triangular_in_place(a, x, Par::Seq),
        (true, false) => triangular::solve_lower_triangular_in_place(a, x, Par::Seq),
        (false, true) => triangular::solve_unit_upper_triangular_in_place(a, x, Par::Seq),
        (false, false) => triangular::solve_upper_triangular_in_place(a, x, Par::Seq),
    }
}

/// See [`super::qr::qr`].
pub(super) fn qr(n: usize, m: usize, a: &[f64]) -> Vec<f64> {
    let factors = matrix(n, m, a).qr();
    let mut q: Vec<f64> = rows_of(factors.compute_thin_Q().as_ref()).collect();
    let r = factors.thin_R();
    let sign = |i: usize| if r[(i, i)] < 0.0 { -1.0 } else { 1.0 };
    scale_columns(&mut q, &(0..m).map(sign).collect::<Vec<f64>>());
    let upper = |i: usize, j: usize| if j < i { 0.0 } else { sign(i) * r[(i, j)] };
    q.extend((0..m).flat_map(|i| (0..m).map(move |j| upper(i, j))));
    q
}

/// See [`super::svd::svd`].
pub(super) fn svd(n: usize, m: usize, a: &[f64]) -> Result<Vec<f64>, Fault> {
    let factors = matrix(n, m, a)
        .thin_svd()
        .map_err(|_| Fault::NoConvergence)?;
    let mut u: Vec<f64> = rows_of(factors.U()).collect();
    let mut v: Vec<f64> = rows_of(factors.V()).collect();
    let signs = positive_columns(&mut v, n.min(m));
    scale_columns(&mut u, &signs);
    u.extend(v);
    u.extend(factors.S().column_vector().iter());
    Ok(u)
}

/// See [`super::eigh::eigh`].
pub(super) fn eigh(n: usize, a: &[f64]) -> Result<Vec<f64>, Fault> {
    let factors = matrix(n, n, a)
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| Fault::NoConvergence)?;
    let mut vectors: Vec<f64> = rows_of(factors.U()).collect();
    positive_columns(&mut vectors, n);
    vectors.extend(factors.S().column_vector().iter());
    Ok(vectors)
}
