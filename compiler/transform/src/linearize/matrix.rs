//! Tangents of linear algebra.
//!
//! Giles, "An extended collection of matrix derivative results for forward and reverse mode
//! algorithmic differentiation" (2008) for solve, determinant, eigenvalues and singular values;
//! Murray, "Differentiation of the Cholesky decomposition" (2016); Walter & Lehmann, "On
//! algorithmic differentiation of the QR decomposition" (2012). Every rule is written with the
//! ops of the primal and its results, so that derivatives of any order follow; the only new
//! linear op is a solve, which is linear in its right side.
//!
//! Directions that a factorization leaves free (vectors of equal eigenvalues or singular
//! values) have no derivative; their share is taken as zero, so that what does not depend on
//! the choice between them stays finite.

use super::Rule;
use crate::term::{Term, TermFactor, permute, product, repeat_to, scale};
use aec_ir::{Binary, Comparison, Elem, Label, Labels, Literal, MatrixOp, Op, System, Type, Value};
use smallvec::SmallVec;

/// A matrix, and whether it is read transposed.
type Side = (Value, bool);

impl Rule<'_> {
    pub(super) fn matrix(
        &mut self,
        op: MatrixOp,
        operands: &[Value],
        result: Value,
    ) -> Option<Value> {
        let a = operands[0];
        match op {
            MatrixOp::Solve(system) => self.solve_tangent(system, a, operands[1], result),
            MatrixOp::Cholesky => {
                let da = self.tangent(a)?;
                Some(self.cholesky_tangent(result, da))
            }
            MatrixOp::LogDet => {
                let da = self.tangent(a)?;
                Some(self.logdet_tangent(a, da, result))
            }
            MatrixOp::Qr => {
                let da = self.tangent(a)?;
                Some(self.qr_tangent(a, da, result))
            }
            MatrixOp::Svd => {
                let da = self.tangent(a)?;
                Some(self.svd_tangent(a, da, result))
            }
            MatrixOp::Eigh => {
                let da = self.tangent(a)?;
                Some(self.eigh_tangent(da, result))
            }
        }
    }

    /// `A X = B`: `dX = A^-1 (dB - dA X)`.
    fn solve_tangent(&mut self, system: System, a: Value, b: Value, x: Value) -> Option<Value> {
        let through_a = self.tangent(a).map(|da| match system {
            System::General { transposed } => self.product_of((da, transposed), (x, false)),
            System::Lower { transposed } => {
                let part = self.triangle(da, Comparison::Ge);
                self.product_of((part, transposed), (x, false))
            }
            System::Upper { transposed } => {
                let part = self.triangle(da, Comparison::Le);
                self.product_of((part, transposed), (x, false))
            }
            System::Positive => {
                let part = self.symmetric_part(da);
                self.product_of((part, false), (x, false))
            }
        });
        let right = match (self.tangent(b), through_a) {
            (None, None) => return None,
            (Some(db), None) => db,
            (Some(db), Some(t)) => self.push(Op::Binary(Binary::Sub), &[db, t], db),
            (None, Some(t)) => {
                let minus = scale(self.f, t, -1.0, self.span);
                self.mark(minus)
            }
        };
        Some(self.solve(system, a, right))
    }

    /// `dL = L Φ(L^-1 sym(dA) L^-T)`; Φ takes the lower triangle and halves the diagonal.
    fn cholesky_tangent(&mut self, l: Value, da: Value) -> Value {
        let lower = System::Lower { transposed: false };
        let left = self.solve(lower, l, da);
        let turned = self.transposed(left);
        let both = self.solve(lower, l, turned);
        let symmetric = self.symmetric_part(both);
        let with = self.triangle(symmetric, Comparison::Ge);
        let without = self.triangle(symmetric, Comparison::Gt);
        let sum = self.push(Op::Binary(Binary::Add), &[with, without], with);
        let phi = scale(self.f, sum, 0.5, self.span);
        let phi = self.mark(phi);
        self.product_of((l, false), (phi, false))
    }

    /// `d log |det A| = tr(A^-1 dA)`; the sign does not change.
    fn logdet_tangent(&mut self, a: Value, da: Value, result: Value) -> Value {
        let general = System::General { transposed: false };
        let inner = self.solve(general, a, da);
        let lead = self.lead(a);
        let mut term = self.diagonal_of(inner);
        term.out.truncate(lead);
        let trace = self.finish(term, result);
        let mut ty = self.f.ty(trace).clone();
        ty.dims.push(1);
        let column = self.push_typed(Op::Reshape, &[trace], ty);
        let zero = {
            let ty = self.f.ty(result).with_dims(&[]);
            self.f.number(0.0, ty, self.span)
        };
        let mut low = vec![0; lead + 1];
        low[lead] = 1;
        let op = Op::Pad {
            low,
            high: vec![0; lead + 1],
            interior: vec![0; lead + 1],
        };
        self.push(op, &[column, zero], result)
    }

    /// `Y = dA R^-1`, `K = Q' Y`, `Ω = tril(K, -1) - tril(K, -1)'`:
    /// `dQ = Y + Q (Ω - K)`, `dR = (K - Ω) R`.
    fn qr_tangent(&mut self, a: Value, da: Value, result: Value) -> Value {
        let (n, m) = self.sizes(a);
        let q = self.rows(result, 0, n);
        let r = self.rows(result, n, n + m);
        let turned = self.transposed(da);
        let upper = System::Upper { transposed: true };
        let y = self.solve(upper, r, turned);
        let y = self.transposed(y);
        let k = self.product_of((q, true), (y, false));
        let low = self.triangle(k, Comparison::Gt);
        let high = self.transposed(low);
        let omega = self.push(Op::Binary(Binary::Sub), &[low, high], low);
        let rest = self.push(Op::Binary(Binary::Sub), &[k, omega], k);
        let along = self.product_of((q, false), (rest, false));
        let dq = self.push(Op::Binary(Binary::Sub), &[y, along], y);
        let dr = self.product_of((rest, false), (r, false));
        self.stack(&[dq, dr], result)
    }

    /// `W = U' dA V`, `F_ij = 1 / (s_j^2 - s_i^2)`: `ds = diag W`,
    /// `dU = U (F ∘ (W S + S W')) + (I - U U') dA V S^-1`,
    /// `dV = V (F ∘ (S W + W' S)) + (I - V V') dA' U S^-1`.
    fn svd_tangent(&mut self, a: Value, da: Value, result: Value) -> Value {
        let (n, m) = self.sizes(a);
        let r = n.min(m);
        let u = self.rows(result, 0, n);
        let v = self.rows(result, n, n + m);
        let s_row = self.rows(result, n + m, n + m + 1);
        let forward = self.product_of((da, false), (v, false));
        let w = self.product_of((u, true), (forward, false));
        let (s_of_row, s_of_col) = self.over_square(s_row, r);
        let f = {
            let (a, b) = (s_of_col, s_of_row);
            let difference = self.f.binary(Binary::Sub, a, b, self.span);
            let sum = self.f.binary(Binary::Add, a, b, self.span);
            let squares = product(self.f, &[difference, sum], 1.0, self.span);
            self.safe_inverse(squares)
        };
        let w_turned = self.transposed(w);
        let turn = |rule: &mut Self, scale_w: Value, scale_turned: Value| {
            let a = rule.times_plain(&[f, scale_w], w);
            let b = rule.times_plain(&[f, scale_turned], w_turned);
            rule.push(Op::Binary(Binary::Add), &[a, b], a)
        };
        let left = turn(self, s_of_col, s_of_row);
        let right = turn(self, s_of_row, s_of_col);
        let mut du = self.product_of((u, false), (left, false));
        let mut dv = self.product_of((v, false), (right, false));
        if n > r {
            let more = self.outside(u, forward, w, s_row);
            du = self.push(Op::Binary(Binary::Add), &[du, more], du);
        }
        if m > r {
            let backward = self.product_of((da, true), (u, false));
            let more = self.outside(v, backward, w_turned, s_row);
            dv = self.push(Op::Binary(Binary::Add), &[dv, more], dv);
        }
        let ds = self.diagonal_row(w, s_row);
        self.stack(&[du, dv, ds], result)
    }

    /// `W = V' sym(dA) V`, `F_ij = 1 / (w_j - w_i)`: `dw = diag W`, `dV = V (F ∘ W)`.
    fn eigh_tangent(&mut self, da: Value, result: Value) -> Value {
        let n = self.sizes(da).0;
        let v = self.rows(result, 0, n);
        let values = self.rows(result, n, n + 1);
        let part = self.symmetric_part(da);
        let forward = self.product_of((part, false), (v, false));
        let w = self.product_of((v, true), (forward, false));
        let (of_row, of_col) = self.over_square(values, n);
        let difference = self.f.binary(Binary::Sub, of_col, of_row, self.span);
        let f = self.safe_inverse(difference);
        let inner = self.times_plain(&[f], w);
        let dv = self.product_of((v, false), (inner, false));
        let dw = self.diagonal_row(w, values);
        self.stack(&[dv, dw], result)
    }

    /// `(X - B (B' X)) S^-1`, `inside` being `B' X`: what of X lies outside the span of B.
    fn outside(&mut self, basis: Value, x: Value, inside: Value, s_row: Value) -> Value {
        let along = self.product_of((basis, false), (inside, false));
        let rest = self.push(Op::Binary(Binary::Sub), &[x, along], x);
        let inverse = self.safe_inverse(s_row);
        // The row of values stands for one value in each column.
        let lead = self.lead(rest);
        let mut labels: Labels = (0..lead as Label).collect();
        let mut term = Term::identity(self.f, rest);
        labels.push(term.fresh(1));
        labels.push(lead as Label + 1);
        term.factors.push(TermFactor {
            value: inverse,
            labels,
            power: 1,
        });
        self.finish(term, rest)
    }

    /// A linear value, appended without [`Rule::push`].
    fn mark(&mut self, value: Value) -> Value {
        let linear = self.f.def_inst(value).is_some_and(|inst| {
            let operands = &self.f.insts[inst].operands;
            operands.iter().any(|&v| self.linear.values.contains(v))
        });
        match linear {
            true => self.record(value),
            false => value,
        }
    }

    fn finish(&mut self, term: Term, like: Value) -> Value {
        let elem = self.f.ty(like).elem;
        let value = term.emit(self.f, elem, self.span);
        self.mark(value)
    }

    fn push_typed(&mut self, op: Op, operands: &[Value], ty: Type) -> Value {
        let value = self.f.push1(op, operands, ty, self.span);
        self.mark(value)
    }

    /// Number of leading axes.
    fn lead(&self, matrix: Value) -> usize {
        self.f.dims(matrix).len() - 2
    }

    fn sizes(&self, matrix: Value) -> (usize, usize) {
        let dims = self.f.dims(matrix);
        (dims[dims.len() - 2], dims[dims.len() - 1])
    }

    fn solve(&mut self, system: System, a: Value, b: Value) -> Value {
        let ty = self.f.ty(b).clone();
        self.push_typed(Op::Matrix(MatrixOp::Solve(system)), &[a, b], ty)
    }

    fn product_of(&mut self, (a, a_turned): Side, (b, b_turned): Side) -> Value {
        let lead = self.lead(a);
        let (a_dims, b_dims) = (self.f.dims(a), self.f.dims(b));
        let (row, inner, col) = (lead as Label, lead as Label + 1, lead as Label + 2);
        let mut sizes = a_dims[..lead].to_vec();
        sizes.push(a_dims[lead + usize::from(a_turned)]);
        sizes.push(a_dims[lead + usize::from(!a_turned)]);
        sizes.push(b_dims[lead + usize::from(!b_turned)]);
        let labels = |first: Label, second: Label, turned: bool| -> Labels {
            let pair = if turned {
                [second, first]
            } else {
                [first, second]
            };
            (0..lead as Label).chain(pair).collect()
        };
        let term = Term {
            factors: vec![
                TermFactor {
                    value: a,
                    labels: labels(row, inner, a_turned),
                    power: 1,
                },
                TermFactor {
                    value: b,
                    labels: labels(inner, col, b_turned),
                    power: 1,
                },
            ],
            deltas: Vec::new(),
            out: labels(row, col, false),
            coefficient: 1.0,
            sizes,
        };
        self.finish(term, a)
    }

    fn transposed(&mut self, x: Value) -> Value {
        let lead = self.lead(x);
        let mut axes: SmallVec<[usize; 4]> = (0..lead).collect();
        axes.extend([lead + 1, lead]);
        let value = permute(self.f, x, &axes, self.span);
        self.mark(value)
    }

    fn symmetric_part(&mut self, x: Value) -> Value {
        let turned = self.transposed(x);
        let sum = self.push(Op::Binary(Binary::Add), &[x, turned], x);
        let half = scale(self.f, sum, 0.5, self.span);
        self.mark(half)
    }

    /// The entries whose row compares so with their column, zeros elsewhere.
    fn triangle(&mut self, x: Value, keep: Comparison) -> Value {
        let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(self.f.dims(x));
        let lead = dims.len() - 2;
        let counts = Type::new(Elem::I64, &dims);
        let row = self
            .f
            .push1(Op::Iota { axis: lead }, &[], counts.clone(), self.span);
        let col = self
            .f
            .push1(Op::Iota { axis: lead + 1 }, &[], counts, self.span);
        let mask = self.f.compare(keep, row, col, self.span);
        let zero = self.zeros(x);
        self.push(Op::Select, &[mask, x, zero], x)
    }

    /// Rows `from..to` of a stack of factors.
    fn rows(&mut self, stack: Value, from: usize, to: usize) -> Value {
        let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(self.f.dims(stack));
        let lead = dims.len() - 2;
        let mut start = vec![0; dims.len()];
        let mut limit = dims.to_vec();
        start[lead] = from;
        limit[lead] = to;
        let mut ty = self.f.ty(stack).clone();
        ty.dims[lead] = to - from;
        let op = Op::Slice {
            start,
            limit,
            stride: vec![1; dims.len()],
        };
        self.f.push1(op, &[stack], ty, self.span)
    }

    /// A row `[.., 1, r]` over `[.., r, r]`: entry i of the row in row i, and in column i.
    fn over_square(&mut self, row: Value, r: usize) -> (Value, Value) {
        let mut dims: SmallVec<[usize; 4]> = SmallVec::from_slice(self.f.dims(row));
        let lead = dims.len() - 2;
        dims.remove(lead);
        let ty = self.f.ty(row).with_dims(&dims);
        let flat = self.f.push1(Op::Reshape, &[row], ty, self.span);
        dims.push(r);
        let mut at: SmallVec<[usize; 4]> = (0..=lead).collect();
        let of_row = repeat_to(self.f, flat, &dims, &at, self.span);
        at[lead] = lead + 1;
        let of_col = repeat_to(self.f, flat, &dims, &at, self.span);
        (of_row, of_col)
    }

    /// `1 / x`, and 0 where x is 0.
    fn safe_inverse(&mut self, x: Value) -> Value {
        let ty = self.f.ty(x).clone();
        let zero = self.f.number(0.0, ty.clone(), self.span);
        let one = self.f.constant(Literal::Float(1.0), ty, self.span);
        let vanishes = self.f.compare(Comparison::Eq, x, zero, self.span);
        let safe = self.f.select(vanishes, one, x, self.span);
        let inverse = self.f.binary(Binary::Div, one, safe, self.span);
        self.f.select(vanishes, zero, inverse, self.span)
    }

    /// A linear value times values that are not, elementwise.
    fn times_plain(&mut self, plain: &[Value], linear: Value) -> Value {
        let mut factors: SmallVec<[Value; 4]> = SmallVec::from_slice(plain);
        factors.push(linear);
        let value = product(self.f, &factors, 1.0, self.span);
        self.mark(value)
    }

    /// The diagonal of `[.., r, r]` as `[.., r]`.
    fn diagonal_of(&mut self, x: Value) -> Term {
        let lead = self.lead(x);
        let mut term = Term::identity(self.f, x);
        term.factors[0].labels[lead + 1] = lead as Label;
        term.out.truncate(lead + 1);
        // The label is gone, not summed.
        term.sizes[lead + 1] = 1;
        term
    }

    /// The diagonal of `[.., r, r]` as `[.., 1, r]`.
    fn diagonal_row(&mut self, x: Value, like: Value) -> Value {
        let term = self.diagonal_of(x);
        let diagonal = self.finish(term, x);
        self.push(Op::Reshape, &[diagonal], like)
    }

    fn stack(&mut self, parts: &[Value], like: Value) -> Value {
        let axis = self.lead(like);
        self.push(Op::Concat { axis }, parts, like)
    }
}
