//! Dense linear algebra: batches of solves and factorizations.
//!
//! Matrices are row-major, one after the other. Whatever the elements are, arithmetic is in
//! f64: small systems are cheap, and factorizations in f32 lose what a user can see. Each
//! system is computed alone and in one order, so that results do not depend on the number of
//! threads or on the other systems of a batch.
//!
//! Factorizations with several factors give them stacked: rows of one result (see
//! [`MatrixOp`]), so that every operation has one result.

mod eigh;
mod lanes;
mod large;
mod qr;
mod solve;
mod svd;
mod way;

pub use way::{Way, way};

use crate::pool::Pool;
use std::fmt;
use std::sync::Mutex;

/// Which system a [`MatrixOp::Solve`] solves for X, with A of `n x n` and B of `n x k`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum System {
    /// `A X = B`, or `A' X = B`. By LU with partial pivoting.
    General {
        /// A is read transposed.
        transposed: bool,
    },
    /// `A X = B` (or `A' X = B`) with the lower triangle of A; the rest is not read.
    Lower {
        /// A is read transposed.
        transposed: bool,
    },
    /// `A X = B` (or `A' X = B`) with the upper triangle of A; the rest is not read.
    Upper {
        /// A is read transposed.
        transposed: bool,
    },
    /// `A X = B` with the symmetric part of A, which is positive definite. By Cholesky.
    Positive,
}

impl System {
    /// All of them.
    pub const ALL: [System; 7] = [
        System::General { transposed: false },
        System::General { transposed: true },
        System::Lower { transposed: false },
        System::Lower { transposed: true },
        System::Upper { transposed: false },
        System::Upper { transposed: true },
        System::Positive,
    ];

    /// The name in texts.
    pub fn name(self) -> &'static str {
        match self {
            System::General { transposed: false } => "general",
            System::General { transposed: true } => "general_transposed",
            System::Lower { transposed: false } => "lower",
            System::Lower { transposed: true } => "lower_transposed",
            System::Upper { transposed: false } => "upper",
            System::Upper { transposed: true } => "upper_transposed",
            System::Positive => "positive",
        }
    }

    /// The system of the transposed matrix.
    pub fn transposed(self) -> System {
        match self {
            System::General { transposed } => System::General {
                transposed: !transposed,
            },
            System::Lower { transposed } => System::Lower {
                transposed: !transposed,
            },
            System::Upper { transposed } => System::Upper {
                transposed: !transposed,
            },
            System::Positive => System::Positive,
        }
    }
}

/// An operation on matrices.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MatrixOp {
    /// `[A, B]` to X, see [`System`].
    Solve(System),
    /// The lower triangular L with `L L' = (A + A') / 2`, for a positive definite A.
    Cholesky,
    /// `[sign of det A, log |det A|]`; `[0, -inf]` for a singular A.
    LogDet,
    /// A of `n x m`, `n >= m`: Q of `n x m` over R of `m x m`, `A = Q R`. The diagonal of R is
    /// not negative.
    Qr,
    /// A of `n x m`, `r = min(n, m)`: U of `n x r` over V of `m x r` over one row with the
    /// singular values, descending: `A = U diag(s) V'`. The largest entry of each column of V
    /// is positive.
    Svd,
    /// Vectors of `n x n` (in columns) over one row with the values, ascending, of
    /// `(A + A') / 2`. The largest entry of each vector is positive.
    Eigh,
}

impl MatrixOp {
    /// The name in texts.
    pub fn name(self) -> &'static str {
        match self {
            MatrixOp::Solve(_) => "solve",
            MatrixOp::Cholesky => "cholesky",
            MatrixOp::LogDet => "logdet",
            MatrixOp::Qr => "qr",
            MatrixOp::Svd => "svd",
            MatrixOp::Eigh => "eigh",
        }
    }

    /// Number of operands.
    pub fn operands(self) -> usize {
        match self {
            MatrixOp::Solve(_) => 2,
            MatrixOp::Cholesky
            | MatrixOp::LogDet
            | MatrixOp::Qr
            | MatrixOp::Svd
            | MatrixOp::Eigh => 1,
        }
    }

    /// Dims of one result, given the dims of one A and (for a solve) the columns of one B.
    /// An error says what is wrong with them.
    pub fn result_dims(self, rows: usize, cols: usize, rhs: usize) -> Result<Vec<usize>, String> {
        let square = match self {
            MatrixOp::Solve(_) | MatrixOp::Cholesky | MatrixOp::LogDet | MatrixOp::Eigh => {
                rows == cols
            }
            MatrixOp::Qr | MatrixOp::Svd => true,
        };
        if !square {
            return Err(format!(
                "{} wants a square matrix, not {rows} x {cols}",
                self.name()
            ));
        }
        Ok(match self {
            MatrixOp::Solve(_) => vec![rows, rhs],
            MatrixOp::Cholesky => vec![rows, cols],
            MatrixOp::LogDet => vec![2],
            MatrixOp::Qr if rows < cols => {
                return Err(format!(
                    "qr wants at least as many rows as columns, not {rows} x {cols}"
                ));
            }
            MatrixOp::Qr => vec![rows + cols, cols],
            MatrixOp::Svd => vec![rows + cols + 1, rows.min(cols)],
            MatrixOp::Eigh => vec![rows + 1, cols],
        })
    }

    /// Number of elements of all A, all B and all results of a batch.
    pub fn lengths(self, shape: Shape) -> (usize, usize, usize) {
        let Shape {
            batch,
            rows,
            cols,
            rhs,
        } = shape;
        let b = match self {
            MatrixOp::Solve(_) => batch * rows * rhs,
            MatrixOp::Cholesky
            | MatrixOp::LogDet
            | MatrixOp::Qr
            | MatrixOp::Svd
            | MatrixOp::Eigh => 0,
        };
        let each = self
            .result_dims(rows, cols, rhs)
            .map_or(0, |dims| dims.iter().product());
        (batch * rows * cols, b, batch * each)
    }

    /// Whether all entries of a matrix that are read are finite.
    fn is_finite(self, rows: usize, cols: usize, a: &[f64]) -> bool {
        let finite = |row: usize, from: usize, to: usize| {
            let entries = &a[row * cols..][from..to];
            entries.iter().all(|x| x.is_finite())
        };
        (0..rows).all(|row| match self {
            MatrixOp::Solve(System::Lower { .. }) => finite(row, 0, row + 1),
            MatrixOp::Solve(System::Upper { .. }) => finite(row, row, cols),
            MatrixOp::Solve(System::General { .. } | System::Positive)
            | MatrixOp::Cholesky
            | MatrixOp::LogDet
            | MatrixOp::Qr
            | MatrixOp::Svd
            | MatrixOp::Eigh => finite(row, 0, cols),
        })
    }

    /// Rough number of arithmetic operations for one system.
    pub fn flops(self, shape: Shape) -> f64 {
        let (n, m, k) = (shape.rows as f64, shape.cols as f64, shape.rhs as f64);
        match self {
            MatrixOp::Solve(System::General { .. }) => 2.0 / 3.0 * n * n * n + 2.0 * n * n * k,
            MatrixOp::Solve(System::Lower { .. } | System::Upper { .. }) => n * n * k,
            MatrixOp::Solve(System::Positive) => n * n * n / 3.0 + 2.0 * n * n * k,
            MatrixOp::Cholesky => n * n * n / 3.0,
            MatrixOp::LogDet => 2.0 / 3.0 * n * n * n,
            MatrixOp::Qr => 4.0 * n * m * m,
            MatrixOp::Svd => 4.0 * n * m * m + 30.0 * n.min(m).powi(3),
            MatrixOp::Eigh => 9.0 * n * n * n,
        }
    }
}

/// The sizes of a batch of systems.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Number of systems.
    pub batch: usize,
    /// Rows of each A.
    pub rows: usize,
    /// Columns of each A.
    pub cols: usize,
    /// Columns of each B, for a solve.
    pub rhs: usize,
}

impl Shape {
    /// From the dims of A and, for a solve, of B; their leading axes are the batch.
    pub fn new(a: &[usize], b: Option<&[usize]>) -> Shape {
        let (lead, matrix) = a.split_at(a.len().saturating_sub(2));
        Shape {
            batch: lead.iter().product(),
            rows: matrix.first().copied().unwrap_or(1),
            cols: matrix.last().copied().unwrap_or(1),
            rhs: b.and_then(|b| b.last()).copied().unwrap_or(0),
        }
    }
}

/// Why a system has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Column `.0` depends on those before it (by the working precision).
    Singular(usize),
    /// Not positive definite by the working precision: of a solve, `.0` is the matrix's rank; of
    /// a Cholesky factor, the pivot that is not above zero.
    NotPositive(usize),
    /// An iteration did not settle; never seen for finite matrices.
    NoConvergence,
}

/// A system of a batch that has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadMatrix {
    /// What was asked.
    pub op: MatrixOp,
    /// Which system of the batch.
    pub system: usize,
    /// How many there are.
    pub batch: usize,
    /// Columns of the matrix.
    pub size: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for BadMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the matrix")?;
        if self.batch != 1 {
            write!(f, " of example {}", self.system)?;
        }
        write!(f, " {}", self.verdict())
    }
}

/// What is wrong with a matrix: the sentence without its subject.
struct Verdict<'a>(&'a BadMatrix);

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadMatrix { size, .. } = self.0;
        match self.0.fault {
            Fault::Singular(at) => write!(
                f,
                "is singular, or nearly so: column {at} of its {size} depends on the others"
            ),
            Fault::NotPositive(at) if matches!(self.0.op, MatrixOp::Solve(_)) => write!(
                f,
                "is not positive definite: it settles {at} of {size} unknowns"
            ),
            Fault::NotPositive(at) => write!(
                f,
                "is not positive definite: pivot {at} of its {size} is not above 0"
            ),
            Fault::NoConvergence => write!(f, "has no {} that settles", self.0.op.name()),
        }
    }
}

impl BadMatrix {
    /// What is wrong with it: the sentence without its subject.
    pub fn verdict(&self) -> impl fmt::Display + '_ {
        Verdict(self)
    }

    /// Where such a matrix comes from.
    pub fn note(&self) -> Option<&'static str> {
        match self.fault {
            Fault::NotPositive(_) if matches!(self.op, MatrixOp::Solve(_)) => Some(
                "in `lstsq(B, x)` it is B' B of the rows where x is observed: there are fewer of \
                 them than unknowns, or columns of B depend on each other",
            ),
            Fault::NotPositive(_) | Fault::Singular(_) | Fault::NoConvergence => None,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self.fault {
            Fault::Singular(_) => "a ridge keeps it away from singular: `A + 1e-3 * eye(n)`",
            Fault::NotPositive(_) if matches!(self.op, MatrixOp::Solve(_)) => {
                "give a ridge: `lstsq(B, x, ridge = 1e-3)`, or `A + 1e-3 * eye(n)`"
            }
            Fault::NotPositive(_) => "a ridge lifts its eigenvalues: `A + 1e-3 * eye(n)`",
            Fault::NoConvergence => "look at the matrix: its entries differ too much in size",
        }
    }
}

/// Elements of matrices.
pub trait Element: Copy + Send + Sync {
    /// Relative distance of neighbouring numbers.
    const EPSILON: f64;
    /// As f64.
    fn wide(self) -> f64;
    /// Rounded from f64.
    fn narrow(x: f64) -> Self;
}

impl Element for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn narrow(x: f64) -> f32 {
        x as f32
    }
}

impl Element for f64 {
    const EPSILON: f64 = f64::EPSILON;
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(x: f64) -> f64 {
        x
    }
}

/// Work below which (in operations) a batch is not shared out among threads.
const SHARED_FLOPS: f64 = 200_000.0;

/// What becomes of the factors of a batch of matrices.
pub enum Factors<'a> {
    /// They are used here alone.
    Own,
    /// They are kept for other calls with the same matrices; as many numbers as [`kept_factors`].
    Keep(&'a mut [f64]),
    /// An earlier call has kept them.
    Known(&'a [f64]),
}

/// What matrices are factored into, where several solves with the same matrices can share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Factorization {
    /// `L L'` of a symmetric matrix.
    Cholesky,
    /// `L U` of its rows in another order.
    Lu,
}

/// What a batch of matrices is factored into, and how many numbers that takes, if one call can keep it for
/// others.
pub fn kept_factors(op: MatrixOp, shape: Shape) -> Option<(Factorization, usize)> {
    let kind = match op {
        MatrixOp::Solve(System::Positive) => Factorization::Cholesky,
        MatrixOp::Solve(System::General { .. }) => Factorization::Lu,
        MatrixOp::Solve(System::Lower { .. } | System::Upper { .. })
        | MatrixOp::Cholesky
        | MatrixOp::LogDet
        | MatrixOp::Qr
        | MatrixOp::Svd
        | MatrixOp::Eigh => return None,
    };
    let groups = shape.batch.div_ceil(lanes::LANES);
    let len = groups * lanes::factors_len(op, shape.rows) * lanes::LANES;
    (way(op, shape) == Way::Lanes).then_some((kind, len))
}

/// One part's results, room for the factors that it keeps, and its verdict.
struct Share<'a, T> {
    results: &'a mut [T],
    kept: &'a mut [f64],
    verdict: Result<(), BadMatrix>,
}

/// Computes all systems of a batch: `a` holds the matrices, `b` the right sides (empty but for
/// a solve), `out` takes the results. NaN and infinities give NaN. The error is that of the
/// first bad system; `out` is then undefined.
pub fn apply<T: Element>(
    op: MatrixOp,
    shape: Shape,
    a: &[T],
    b: &[T],
    out: &mut [T],
    pool: &Pool,
) -> Result<(), BadMatrix> {
    apply_with(op, shape, a, b, Factors::Own, out, pool)
}

/// [`apply`], with factors that several calls share.
pub fn apply_with<T: Element>(
    op: MatrixOp,
    shape: Shape,
    a: &[T],
    b: &[T],
    factors: Factors<'_>,
    out: &mut [T],
    pool: &Pool,
) -> Result<(), BadMatrix> {
    let each = out.len() / shape.batch.max(1);
    if each == 0 {
        return Ok(());
    }
    let total = op.flops(shape) * shape.batch as f64;
    let parts = match pool.threads() {
        1 => 1,
        threads => ((total / SHARED_FLOPS) as usize)
            .min(threads)
            .min(shape.batch)
            .max(1),
    };
    let together = match way::called(op, shape) {
        Way::Lanes => lanes::LANES,
        Way::Written | Way::Alone | Way::Library => 1,
    };
    // One share of the results for each part, and the first bad system of each.
    let per_part = shape.batch.div_ceil(parts).next_multiple_of(together);
    let each_factor = lanes::factors_len(op, shape.rows);
    let factors_len = per_part / together * each_factor * lanes::LANES;
    let (kept, known) = match factors {
        Factors::Own => (&mut [][..], None),
        Factors::Keep(kept) => (kept, None),
        Factors::Known(known) => (&mut [][..], Some(known)),
    };
    let keeps = !kept.is_empty();
    let mut kept = kept.chunks_mut(factors_len.max(1));
    let shares: Vec<Mutex<Share<'_, T>>> = out
        .chunks_mut(per_part * each)
        .map(|results| {
            Mutex::new(Share {
                results,
                kept: kept.next().unwrap_or_default(),
                verdict: Ok(()),
            })
        })
        .collect();
    let (a_len, b_len) = (shape.rows * shape.cols, shape.rows * shape.rhs);
    let run = |part: usize| {
        let Some(Ok(mut share)) = shares.get(part).map(Mutex::lock) else {
            return;
        };
        let Share {
            results,
            kept,
            verdict,
        } = &mut *share;
        let (kept, _) = kept.as_chunks_mut::<{ lanes::LANES }>();
        let mut scratch = match together > 1 && !keeps && known.is_none() {
            true => vec![[0.0; lanes::LANES]; each_factor],
            false => Vec::new(),
        };
        for (group, results) in results.chunks_mut(together * each).enumerate() {
            let first = part * per_part + group * together;
            let solved = if together > 1 {
                let own = group * each_factor..(group + 1) * each_factor;
                let factor = match known {
                    Some(known) => {
                        let (known, _) = known.as_chunks::<{ lanes::LANES }>();
                        let first = first / together * each_factor;
                        lanes::Factor::Take(&known[first..first + each_factor])
                    }
                    None if keeps => lanes::Factor::Make(&mut kept[own]),
                    None => lanes::Factor::Make(&mut scratch),
                };
                let (a, b) = (&a[first * a_len..], &b[first * b_len..]);
                lanes::group(op, (shape.rows, shape.rhs), a, b, factor, results)
            } else {
                [false; lanes::LANES]
            };
            for (at, result) in results.chunks_mut(each).enumerate() {
                if solved[at] {
                    continue;
                }
                let system = first + at;
                let a = wide(&a[system * a_len..][..a_len]);
                let b = match op {
                    MatrixOp::Solve(_) => wide(&b[system * b_len..][..b_len]),
                    MatrixOp::Cholesky
                    | MatrixOp::LogDet
                    | MatrixOp::Qr
                    | MatrixOp::Svd
                    | MatrixOp::Eigh => Vec::new(),
                };
                match one(op, shape, T::EPSILON, a, b) {
                    Ok(values) => {
                        for (to, from) in result.iter_mut().zip(values) {
                            *to = T::narrow(from);
                        }
                    }
                    Err(fault) => {
                        *verdict = Err(BadMatrix {
                            op,
                            system,
                            batch: shape.batch,
                            size: shape.cols,
                            fault,
                        });
                        return;
                    }
                }
            }
        }
    };
    if parts == 1 {
        run(0);
    } else {
        pool.run(parts, run);
    }
    shares.into_iter().try_for_each(|share| {
        share
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .verdict
    })
}

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.wide()).collect()
}

/// One system.
fn one(op: MatrixOp, shape: Shape, eps: f64, a: Vec<f64>, b: Vec<f64>) -> Result<Vec<f64>, Fault> {
    let Shape {
        rows, cols, rhs, ..
    } = shape;
    if !op.is_finite(rows, cols, &a) {
        let (_, _, len) = op.lengths(Shape { batch: 1, ..shape });
        return Ok(vec![f64::NAN; len]);
    }
    match op {
        MatrixOp::Solve(system) => solve::solve(system, rows, rhs, eps, a, b),
        MatrixOp::Cholesky => solve::cholesky(rows, eps, solve::symmetric(rows, a)),
        MatrixOp::LogDet => Ok(solve::logdet(rows, a)),
        MatrixOp::Qr => Ok(qr::qr(rows, cols, a)),
        MatrixOp::Svd => svd::svd(rows, cols, a),
        MatrixOp::Eigh => eigh::eigh(rows, solve::symmetric(rows, a)),
    }
}

/// Turns columns round so that the largest entry of each is positive; gives the signs. `x` is
/// row-major with `cols` columns.
fn positive_columns(x: &mut [f64], cols: usize) -> Vec<f64> {
    let mut largest = vec![0.0f64; cols];
    for row in x.chunks(cols.max(1)) {
        for (best, &value) in largest.iter_mut().zip(row) {
            if value.abs() > best.abs() {
                *best = value;
            }
        }
    }
    let signs: Vec<f64> = largest
        .iter()
        .map(|&x| if x < 0.0 { -1.0 } else { 1.0 })
        .collect();
    scale_columns(x, &signs);
    signs
}

fn scale_columns(x: &mut [f64], scale: &[f64]) {
    for row in x.chunks_mut(scale.len().max(1)) {
        for (value, scale) in row.iter_mut().zip(scale) {
            *value *= scale;
        }
    }
}

fn transpose(rows: usize, cols: usize, x: &[f64]) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for col in 0..cols {
        out.extend((0..rows).map(|row| x[row * cols + col]));
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Four sums, so that the loop runs in vector registers.
    let mut sums = [0.0f64; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4
        .remainder()
        .iter()
        .zip(b4.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a4.zip(b4) {
        for lane in 0..4 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// `y += s x`
fn axpy(s: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}
