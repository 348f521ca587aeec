//! Which code computes linear algebra: the one rule, by the op and its sizes alone.
//!
//! Small matrices, a different one for each example, are written out in the kernels around them
//! (`aec_kernels::small`): a call and the memory around it would cost more than the arithmetic.
//! Somewhat larger ones the runtime takes eight at a time, side by side, as far as it knows how.
//! Large ones go to a library.

use super::{MatrixOp, Shape, System};

/// See [`way`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By a kernel that names every entry.
    Written,
    /// By the runtime, a system in each lane.
    Lanes,
    /// By the runtime, one system after the other.
    Alone,
    /// By the library `faer`.
    Library,
}

/// Rows and columns from which on the library is asked.
const LARGE: usize = 64;
/// Examples from which on it pays to write out: as many as a kernel takes at once.
const WRITTEN_FROM: usize = 4;
/// Entries of a result that are written out at most.
const WRITTEN_ENTRIES: usize = 64;

/// Rows of matrices that are written out at most. The arithmetic of larger ones, by 128-bit
/// registers, loses against the runtime's wide ones; pivots are chosen by moving rows, which soon
/// costs more than the elimination.
fn written_to(op: MatrixOp) -> usize {
    match op {
        MatrixOp::Solve(System::Positive | System::Lower { .. } | System::Upper { .. })
        | MatrixOp::Cholesky => 5,
        MatrixOp::Solve(System::General { .. }) | MatrixOp::LogDet => 4,
        MatrixOp::Qr | MatrixOp::Svd | MatrixOp::Eigh => 0,
    }
}

/// Whether eight matrices with what they need stay in the cache. Squares leave it before triangles, and with
/// many right sides before they do with one; one alone is as fast then.
fn fits_lanes(op: MatrixOp, shape: Shape) -> bool {
    let Shape { rows, rhs, .. } = shape;
    match op {
        MatrixOp::Solve(System::Positive | System::Lower { .. } | System::Upper { .. })
        | MatrixOp::Cholesky => (1..=48).contains(&rows.max(rhs)),
        MatrixOp::Solve(System::General { .. }) => (1..=1152).contains(&(rows * (rows + rhs))),
        MatrixOp::LogDet => (1..=24).contains(&rows),
        MatrixOp::Qr | MatrixOp::Svd | MatrixOp::Eigh => false,
    }
}

/// Which code computes a batch of systems in a compiled function.
pub fn way(op: MatrixOp, shape: Shape) -> Way {
    let (a, b, out) = op.lengths(Shape { batch: 1, ..shape });
    let solves = matches!(op, MatrixOp::Solve(_));
    let written = shape.batch >= WRITTEN_FROM
        && (1..=written_to(op)).contains(&shape.rows)
        && a.max(b).max(out) <= WRITTEN_ENTRIES
        && (b > 0 || !solves);
    match written {
        true => Way::Written,
        false => called(op, shape),
    }
}

/// Which code of the runtime computes a batch of systems, for the interpreter too. The number of
/// them makes no difference.
pub(super) fn called(op: MatrixOp, shape: Shape) -> Way {
    if is_large(shape.rows, shape.cols) {
        return Way::Library;
    }
    match fits_lanes(op, shape) {
        true => Way::Lanes,
        false => Way::Alone,
    }
}

/// Whether a matrix of `rows x cols` is large.
pub(super) fn is_large(rows: usize, cols: usize) -> bool {
    rows.min(cols) >= LARGE
}
