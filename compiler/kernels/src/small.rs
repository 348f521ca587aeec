//! Linear algebra on small matrices, written out: every entry is a value of the kernel, so that a
//! matrix for each example never leaves the registers between what it is made of and what uses its
//! result. Which are small says [`aec_runtime::linalg::way`].
//!
//! Arithmetic is in f64 and in the order of the runtime's, whatever the entries are. A matrix that
//! is not finite gives NaN. One without a result is told by a check, whose detail names the
//! example and what is wrong (see [`Condition::Matrix`](crate::plan::Condition)).

use crate::coords::{self, Coord};
use crate::emit::{Bind, Emitter, Fail};
use crate::lir::{Comparison, LirBinary, LirUnary, Stmt, Val};
use crate::math;
use crate::nest::Nest;
use crate::plan::matrix_detail;
use aec_ir::{Function, Inst, MatrixOp, Op, System, Value};
use aec_runtime::Elem;
use aec_runtime::linalg::{Element, Shape, Way, way};

/// Whether an instruction is linear algebra that kernels write out.
pub(crate) fn is_written(f: &Function, inst: Inst) -> bool {
    let data = &f.insts[inst];
    match data.op {
        Op::Matrix(op) => way(op, shape_of(f, inst)) == Way::Written,
        _ => false,
    }
}

/// Why an instruction is computed as it is, if it is linear algebra or what only the runtime can.
pub(crate) fn reason(f: &Function, inst: Inst) -> &'static str {
    let Op::Matrix(op) = f.insts[inst].op else {
        return "a call of the runtime";
    };
    match way(op, shape_of(f, inst)) {
        Way::Written => "a small matrix for each example, written out",
        Way::Lanes => "a call of the runtime: eight systems side by side",
        Way::Alone => "a call of the runtime: one system after the other",
        Way::Library => "a call of the library for large matrices",
    }
}

/// The sizes of an instruction's systems.
pub(crate) fn shape_of(f: &Function, inst: Inst) -> Shape {
    let operands = &f.insts[inst].operands;
    Shape::new(f.dims(operands[0]), operands.get(1).map(|&b| f.dims(b)))
}

/// Axes in front of the matrices, of a value that is written out.
pub(crate) fn lead_of(f: &Function, v: Value) -> Option<usize> {
    let inst = f.def_inst(v)?;
    is_written(f, inst).then(|| f.dims(f.insts[inst].operands[0]).len() - 2)
}

/// A square matrix, or right sides: entries in rows.
struct Grid {
    cols: usize,
    at: Vec<Val>,
}

impl Grid {
    fn row(&self, i: usize) -> std::ops::Range<usize> {
        i * self.cols..(i + 1) * self.cols
    }

    fn get(&self, i: usize, j: usize) -> Val {
        self.at[i * self.cols + j]
    }

    fn set(&mut self, i: usize, j: usize, value: Val) {
        self.at[i * self.cols + j] = value;
    }
}

/// What is wrong with the matrix of one example: for each pivot whether it is bad.
type Bad = Vec<Val>;

/// The entries of one example's result, in the rows of its matrix.
pub(crate) fn entries(
    e: &mut Emitter<'_>,
    inst: Inst,
    op: MatrixOp,
    lead: &[Coord],
) -> Result<Vec<Val>, Fail> {
    let f = e.f;
    let data = &f.insts[inst];
    let shape = shape_of(f, inst);
    let (n, elem) = (shape.rows, f.ty(data.results[0]).elem);
    let mut a = read(e, data.operands[0], lead, n)?;
    let mut b = match data.operands.get(1) {
        Some(&b) => read(e, b, lead, shape.rhs)?,
        None => Grid {
            cols: 0,
            at: Vec::new(),
        },
    };
    let nest = &mut e.nest;
    let eps = if elem == Elem::F64 {
        <f64 as Element>::EPSILON
    } else {
        <f32 as Element>::EPSILON
    };
    let least = eps * n as f64;
    let (out, bad) = match op {
        MatrixOp::Solve(System::Positive) => {
            let factor = cholesky(nest, &a, least);
            lower(nest, &factor.l, &factor.inverse, &mut b);
            upper(nest, &transposed(&factor.l), &factor.inverse, &mut b);
            (b.at, factor.bad)
        }
        MatrixOp::Solve(System::Lower { transposed: turned }) => {
            let nan = not_finite(nest, triangle(&a, true));
            let (inverse, bad) = diagonal(nest, &a, nan);
            match turned {
                false => lower(nest, &a, &inverse, &mut b),
                true => upper(nest, &transposed(&a), &inverse, &mut b),
            }
            (b.at, bad)
        }
        MatrixOp::Solve(System::Upper { transposed: turned }) => {
            let nan = not_finite(nest, triangle(&a, false));
            let (inverse, bad) = diagonal(nest, &a, nan);
            match turned {
                false => upper(nest, &a, &inverse, &mut b),
                true => lower(nest, &transposed(&a), &inverse, &mut b),
            }
            (b.at, bad)
        }
        MatrixOp::Solve(System::General { transposed: turned }) => {
            let nan = not_finite(nest, a.at.clone());
            let largest = largest(nest, &a);
            let lu = lu(nest, &mut a);
            let bad = vanishing(nest, &a, largest, least, nan);
            general(nest, &a, &lu, turned, nan, &mut b);
            (b.at, bad)
        }
        MatrixOp::Cholesky => {
            let factor = cholesky(nest, &a, least);
            let mut out = vec![factor.nan; n * n];
            for i in 0..n {
                for j in 0..=i {
                    out[i * n + j] = factor.l.get(i, j);
                }
            }
            (out, factor.bad)
        }
        MatrixOp::LogDet => (logdet(nest, &mut a), Vec::new()),
        MatrixOp::Qr | MatrixOp::Svd | MatrixOp::Eigh => {
            return Err(Fail::Illegal("no kernel factors so"));
        }
    };
    if !bad.is_empty() {
        check(e, inst, op, lead, &bad);
    }
    Ok(out
        .into_iter()
        .map(|value| e.nest.convert(value, elem))
        .collect())
}

/// The entries of one example's matrix, as f64.
fn read(e: &mut Emitter<'_>, v: Value, lead: &[Coord], cols: usize) -> Result<Grid, Fail> {
    let rows = e.f.dims(v)[lead.len()];
    let mut at = Vec::with_capacity(rows * cols);
    for i in 0..rows {
        for j in 0..cols {
            let mut coords = lead.to_vec();
            coords.push(Coord::constant(i as i64));
            coords.push(Coord::constant(j as i64));
            let entry = e.emit(v, &coords)?;
            at.push(e.nest.convert(entry, Elem::F64));
        }
    }
    Ok(Grid { cols, at })
}

/// Tells of a bad pivot: of a positive definite system how many unknowns the others settle, else
/// the first that is bad.
fn check(e: &mut Emitter<'_>, inst: Inst, op: MatrixOp, lead: &[Coord], bad: &Bad) {
    let Some(code) = e.check_code(inst) else {
        return;
    };
    let a = e.f.insts[inst].operands[0];
    let system = coords::linear(&e.f.dims(a)[..lead.len()], lead);
    let status = e.buffer(Bind::Status, true);
    let n = &mut e.nest;
    let system = n.index(&system);
    let at = match op {
        MatrixOp::Solve(System::Positive) => {
            let mut count = n.int(0, Elem::I64);
            for &bad in bad {
                let good = n.unary(LirUnary::Not, bad);
                let one = n.convert(good, Elem::I64);
                count = n.add(count, one);
            }
            count
        }
        _ => {
            let mut first = n.int(bad.len() as i64 - 1, Elem::I64);
            for (at, &bad) in bad.iter().enumerate().rev().skip(1) {
                let at = n.int(at as i64, Elem::I64);
                first = n.select(bad, at, first);
            }
            first
        }
    };
    let detail = matrix_detail(n, system, at);
    let mut any = bad[0];
    for &bad in &bad[1..] {
        any = n.binary(LirBinary::Or, any, bad);
    }
    let ok = n.unary(LirUnary::Not, any);
    let depth = n.depth_of(ok).max(n.depth_of(detail));
    n.push_at(
        Stmt::Check {
            ok,
            status,
            code,
            detail,
        },
        depth,
    );
}

/// `c - a b`
fn less(n: &mut Nest, c: Val, a: Val, b: Val) -> Val {
    let minus = n.unary(LirUnary::Neg, a);
    n.fma(minus, b, c)
}

/// 0 if all are finite, else NaN.
fn not_finite(n: &mut Nest, entries: Vec<Val>) -> Val {
    let zero = n.float(0.0, Elem::F64);
    entries
        .into_iter()
        .fold(zero, |sum, entry| n.fma(entry, zero, sum))
}

fn triangle(a: &Grid, lower: bool) -> Vec<Val> {
    let inside = |i: usize, j: usize| if lower { j <= i } else { i <= j };
    (0..a.cols)
        .flat_map(|i| (0..a.cols).map(move |j| (i, j)))
        .filter(|&(i, j)| inside(i, j))
        .map(|(i, j)| a.get(i, j))
        .collect()
}

fn transposed(a: &Grid) -> Grid {
    let n = a.cols;
    Grid {
        cols: n,
        at: (0..n * n).map(|at| a.get(at % n, at / n)).collect(),
    }
}

fn inverse(n: &mut Nest, x: Val) -> Val {
    let one = n.float(1.0, Elem::F64);
    n.div(one, x)
}

/// The lower triangular factor, the inverse of its diagonal, which pivots are bad, and 0, or NaN if
/// the matrix is not finite.
struct Cholesky {
    l: Grid,
    inverse: Vec<Val>,
    bad: Bad,
    nan: Val,
}

/// Of `(A + A') / 2`. A bad pivot, not above what rounding leaves of its diagonal entry, leaves its
/// column out, so that the good ones count the unknowns that are settled.
fn cholesky(n: &mut Nest, a: &Grid, least: f64) -> Cholesky {
    let size = a.cols;
    let nan = not_finite(n, a.at.clone());
    let zero = n.float(0.0, Elem::F64);
    let mut l = Grid {
        cols: size,
        at: vec![zero; size * size],
    };
    for i in 0..size {
        for j in 0..i {
            let half = n.float(0.5, Elem::F64);
            let sum = n.add(a.get(i, j), a.get(j, i));
            let mean = n.mul(half, sum);
            l.set(i, j, mean);
        }
        l.set(i, i, a.get(i, i));
    }
    let start = n.add(l.get(0, 0), nan);
    l.set(0, 0, start);
    let (mut inverses, mut bads) = (Vec::new(), Vec::new());
    for j in 0..size {
        let pivot = l.get(j, j);
        let diagonal = n.unary(LirUnary::Abs, a.get(j, j));
        let least = n.float(least, Elem::F64);
        let least = n.mul(least, diagonal);
        let bad = n.compare(Comparison::Le, pivot, least);
        let root = n.unary(LirUnary::Sqrt, pivot);
        let over = inverse(n, root);
        let over = n.select(bad, zero, over);
        l.set(j, j, root);
        for i in j + 1..size {
            let entry = n.mul(l.get(i, j), over);
            l.set(i, j, entry);
        }
        for k in j + 1..size {
            for i in k..size {
                let rest = less(n, l.get(i, k), l.get(k, j), l.get(i, j));
                l.set(i, k, rest);
            }
        }
        inverses.push(over);
        bads.push(bad);
    }
    Cholesky {
        l,
        inverse: inverses,
        bad: bads,
        nan,
    }
}

/// `L X = B` in place of B, with the inverse of L's diagonal, or a diagonal of 1.
fn lower(n: &mut Nest, l: &Grid, inverse: &[Val], b: &mut Grid) {
    for r in 0..b.cols {
        for i in 0..l.cols {
            let mut x = b.get(i, r);
            for j in 0..i {
                x = less(n, x, l.get(i, j), b.get(j, r));
            }
            if let Some(&inverse) = inverse.get(i) {
                x = n.mul(x, inverse);
            }
            b.set(i, r, x);
        }
    }
}

/// `U X = B` in place of B, with the inverse of U's diagonal, or a diagonal of 1.
fn upper(n: &mut Nest, u: &Grid, inverse: &[Val], b: &mut Grid) {
    for r in 0..b.cols {
        for i in (0..u.cols).rev() {
            let mut x = b.get(i, r);
            for j in i + 1..u.cols {
                x = less(n, x, u.get(i, j), b.get(j, r));
            }
            if let Some(&inverse) = inverse.get(i) {
                x = n.mul(x, inverse);
            }
            b.set(i, r, x);
        }
    }
}

/// Inverses of a triangle's diagonal, NaN if it is not finite, and which entries are 0.
fn diagonal(n: &mut Nest, a: &Grid, nan: Val) -> (Vec<Val>, Bad) {
    let zero = n.float(0.0, Elem::F64);
    (0..a.cols)
        .map(|i| {
            let entry = n.add(a.get(i, i), nan);
            let bad = n.compare(Comparison::Eq, entry, zero);
            (inverse(n, entry), bad)
        })
        .unzip()
}

/// The moves that put pivots in their places: rows `.0` and `.1` change places where `.2` holds.
type Moves = Vec<(usize, usize, Val)>;

/// Rows change places where the condition holds.
fn exchange(n: &mut Nest, x: &mut Grid, (i, j, holds): (usize, usize, Val)) {
    for (up, down) in x.row(i).zip(x.row(j)) {
        let (above, below) = (x.at[up], x.at[down]);
        x.at[up] = n.select(holds, below, above);
        x.at[down] = n.select(holds, above, below);
    }
}

/// L and U in place of A (L's diagonal is 1), by partial pivoting.
fn lu(n: &mut Nest, a: &mut Grid) -> Moves {
    let size = a.cols;
    let mut moves = Vec::new();
    for col in 0..size {
        for row in col + 1..size {
            let best = n.unary(LirUnary::Abs, a.get(col, col));
            let other = n.unary(LirUnary::Abs, a.get(row, col));
            let larger = n.compare(Comparison::Gt, other, best);
            exchange(n, a, (col, row, larger));
            moves.push((col, row, larger));
        }
        for row in col + 1..size {
            let factor = n.div(a.get(row, col), a.get(col, col));
            a.set(row, col, factor);
            for at in col + 1..size {
                let rest = less(n, a.get(row, at), factor, a.get(col, at));
                a.set(row, at, rest);
            }
        }
    }
    moves
}

/// The largest magnitude of an entry.
fn largest(n: &mut Nest, a: &Grid) -> Val {
    let zero = n.float(0.0, Elem::F64);
    a.at.iter().fold(zero, |most, &entry| {
        let entry = n.unary(LirUnary::Abs, entry);
        n.binary(LirBinary::Max, most, entry)
    })
}

/// Which pivots are no more than rounding leaves; none of a matrix that is not finite.
fn vanishing(n: &mut Nest, lu: &Grid, largest: Val, least: f64, nan: Val) -> Bad {
    let least = n.float(least, Elem::F64);
    let least = n.mul(largest, least);
    let least = n.add(least, nan);
    (0..lu.cols)
        .map(|i| {
            let pivot = n.unary(LirUnary::Abs, lu.get(i, i));
            n.compare(Comparison::Le, pivot, least)
        })
        .collect()
}

/// `A X = B`, or `A' X = B`, in place of B: P A = L U.
fn general(n: &mut Nest, lu: &Grid, moves: &Moves, turned: bool, nan: Val, b: &mut Grid) {
    for entry in &mut b.at {
        *entry = n.add(*entry, nan);
    }
    let inverse: Vec<Val> = (0..lu.cols).map(|i| inverse(n, lu.get(i, i))).collect();
    match turned {
        false => {
            for &step in moves {
                exchange(n, b, step);
            }
            lower(n, lu, &[], b);
            upper(n, lu, &inverse, b);
        }
        true => {
            let lu = transposed(lu);
            lower(n, &lu, &inverse, b);
            upper(n, &lu, &[], b);
            for &step in moves.iter().rev() {
                exchange(n, b, step);
            }
        }
    }
}

/// Sign and logarithm of the determinant's magnitude; 0 and -inf for a singular matrix.
fn logdet(n: &mut Nest, a: &mut Grid) -> Vec<Val> {
    let nan = not_finite(n, a.at.clone());
    let moves = lu(n, a);
    let zero = n.float(0.0, Elem::F64);
    let mut sign = n.float(1.0, Elem::F64);
    let mut log = zero;
    let mut singular = None;
    for (_, _, moved) in moves {
        let turned = n.unary(LirUnary::Neg, sign);
        sign = n.select(moved, turned, sign);
    }
    for i in 0..a.cols {
        let pivot = a.get(i, i);
        let negative = n.compare(Comparison::Lt, pivot, zero);
        let turned = n.unary(LirUnary::Neg, sign);
        sign = n.select(negative, turned, sign);
        let magnitude = n.unary(LirUnary::Abs, pivot);
        let own = math::log(n, magnitude);
        log = n.add(log, own);
        let vanishes = n.compare(Comparison::Eq, pivot, zero);
        singular = Some(match singular {
            None => vanishes,
            Some(before) => n.binary(LirBinary::Or, before, vanishes),
        });
    }
    if let Some(singular) = singular {
        let low = n.float(f64::NEG_INFINITY, Elem::F64);
        sign = n.select(singular, zero, sign);
        log = n.select(singular, low, log);
    }
    [sign, log].map(|x| n.add(x, nan)).to_vec()
}
