//! Steps that give the passes on products and on linear algebra something to do: squares of
//! sums, sums with an identity in them, long products, solves and factorizations.

use super::{Generator, MAX_ELEMENTS};
use crate::function::{Type, Value};
use crate::op::{Binary, Contract, Factor, Label, Labels, Op, Unary};
use aec_runtime::linalg::{MatrixOp, System};
use aec_syntax::Span;

/// Factors of a long product: more than an exact search for their order takes.
const LONG: usize = 15;
/// Largest matrix that is factorized.
const MAX_ORDER: usize = 4;
/// Largest system that is solved.
const MAX_SIDES: usize = 8;

fn labels(of: &[Label]) -> Labels {
    Labels::from_slice(of)
}

fn factor(of: &[Label], power: u32) -> Factor {
    Factor {
        labels: labels(of),
        power,
    }
}

impl Generator<'_> {
    fn term(
        &mut self,
        values: &[Value],
        factors: Vec<Factor>,
        out: &[Label],
        coefficient: f64,
        sizes: Vec<usize>,
    ) -> Value {
        let contract = Contract {
            factors,
            deltas: Vec::new(),
            out: labels(out),
            coefficient,
            sizes,
        };
        self.infer(Op::Contract(contract), values)
    }

    fn float_of(&mut self, dims: &[usize]) -> Value {
        let ty = Type::new(self.options.elem, dims);
        let value = self.value_of(&ty).value;
        self.apply(Unary::Tanh, value)
    }

    /// `Σ (X W)²`, with an identity beside the product now and then: what a penalty on a
    /// Jacobian is made of.
    pub(super) fn square_of_sum(&mut self) {
        let (rows, inner) = (1 + self.rng.below(5), 1 + self.rng.below(3));
        let cols = 1 + self.rng.below(17);
        let x = self.float_of(&[rows, inner]);
        let w = self.float_of(&[inner, cols]);
        let operands = [factor(&[0, 2], 1), factor(&[2, 1], 1)];
        let sizes = vec![rows, cols, inner];
        let count = (rows * cols) as f64;
        let mut y = self.term(&[x, w], operands.to_vec(), &[0, 1], 1.0, sizes);
        if rows == cols || self.rng.chance(4) {
            let side = rows.min(cols);
            let ty = Type::new(self.options.elem, &[side, side]);
            let identity = Contract {
                factors: Vec::new(),
                deltas: vec![(0, 1)],
                out: labels(&[0, 1]),
                coefficient: 1.0,
                sizes: vec![side, side],
            };
            let identity = self.push(Op::Contract(identity), &[], ty);
            let part = Op::Slice {
                start: vec![0, 0],
                limit: vec![side, side],
                stride: vec![1, 1],
            };
            if rows != cols {
                y = self.infer(part, &[y]);
            }
            y = self.infer(Op::Binary(Binary::Add), &[y, identity]);
        }
        let sizes = self.f.dims(y).to_vec();
        let keep = self.rng.below(3);
        let out: &[Label] = [&[][..], &[0], &[1]][keep];
        let value = self.term(&[y], vec![factor(&[0, 1], 2)], out, 0.25 / count, sizes);
        self.keep(value, false);
    }

    /// A chain of products longer than any that is put in order exactly.
    pub(super) fn long_product(&mut self) {
        let (mut values, mut factors, mut sizes) = (Vec::new(), Vec::new(), vec![1]);
        let mut summed = 1.0;
        for at in 0..LONG {
            let next = 1 + usize::from(self.rng.chance(3));
            let dims = [sizes[at], next];
            values.push(self.float_of(&dims));
            factors.push(factor(&[at as Label, at as Label + 1], 1));
            sizes.push(next);
            summed *= next as f64;
        }
        let value = self.term(&values, factors, &[0, LONG as Label], 1.0 / summed, sizes);
        self.keep(value, false);
    }

    /// A product in which one sum has a coefficient of its own and a factor occurs twice.
    pub(super) fn like_terms(&mut self) {
        let Some(x) = self.pick_float() else { return };
        let ty = self.ty(x.value);
        let bounded = self.apply(Unary::Tanh, x.value);
        let all: Vec<Label> = (0..ty.rank() as Label).collect();
        let twice = vec![factor(&all, 1), factor(&all, 1)];
        let square = self.term(&[bounded, bounded], twice, &all, 0.5, ty.dims.to_vec());
        let again = self.term(
            &[bounded],
            vec![factor(&all, 2)],
            &all,
            0.25,
            ty.dims.to_vec(),
        );
        let value = self.infer(Op::Binary(Binary::Add), &[square, again]);
        self.keep(value, false);
    }

    /// A batch of square matrices of order one, from some value.
    fn matrices(&mut self) -> Option<Value> {
        let found = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            ty.elem.is_float() && ty.rank() >= 1 && !ty.is_empty()
        });
        let x = found?.value;
        let ty = self.ty(x);
        let (lead, side) = (ty.rank().min(2) - 1, ty.dims[ty.rank() - 1]);
        let side = side.min(MAX_ORDER);
        let mut limit = ty.dims.to_vec();
        limit[ty.rank() - 1] = side;
        let part = Op::Slice {
            start: vec![0; ty.rank()],
            limit: limit.clone(),
            stride: vec![1; ty.rank()],
        };
        let mut rows = self.infer(part, &[x]);
        if ty.rank() > 2 {
            let count = limit[..ty.rank() - 1].iter().product();
            rows = self.f.reshape(rows, &[count, side], Span::NONE);
            limit = vec![count, side];
        }
        if limit.iter().product::<usize>() * side > MAX_ELEMENTS {
            return None;
        }
        let rows = self.apply(Unary::Tanh, rows);
        // x w' + 2 on the diagonal, symmetric: x x' / n + w w' / n + 2 is positive.
        let w = self.float_of(&[side, side]);
        let share = 1.0 / side as f64;
        let (value, last) = match lead {
            0 => {
                let sizes = vec![side, side];
                let own = vec![factor(&[0], 1), factor(&[1], 1)];
                let own = self.term(&[rows, rows], own, &[0, 1], share, sizes);
                (own, vec![0, 1])
            }
            _ => {
                let sizes = vec![limit[0], side, side];
                let own = vec![factor(&[0, 1], 1), factor(&[0, 2], 1)];
                let own = self.term(&[rows, rows], own, &[0, 1, 2], share, sizes);
                (own, vec![1, 2])
            }
        };
        let dims = self.f.dims(value).to_vec();
        let mut sizes = dims.clone();
        sizes.push(side);
        let bound = dims.len() as Label;
        let all: Vec<Label> = (0..bound).collect();
        let other = vec![factor(&[last[0], bound], 1), factor(&[last[1], bound], 1)];
        let other = self.term(&[w, w], other, &all, share, sizes);
        let sum = self.infer(Op::Binary(Binary::Add), &[value, other]);
        let two = self.twice_identity(&dims);
        Some(self.infer(Op::Binary(Binary::Add), &[sum, two]))
    }

    /// A solve with some value as right sides.
    pub(super) fn solve(&mut self) {
        let found = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            let side = ty.dims.iter().rev().nth(1).copied().unwrap_or(0);
            ty.elem.is_float() && (1..=MAX_SIDES).contains(&side)
        });
        let Some(b) = found else { return };
        let mut dims = self.f.dims(b.value).to_vec();
        let rank = dims.len();
        let side = dims[rank - 2];
        dims[rank - 1] = side;
        if !self.fits(&dims) {
            return;
        }
        // Entries below 1 / n beside a diagonal of 2.
        let w = self.float_of(&[side, side]);
        let all: Vec<Label> = (0..rank as Label).collect();
        let own = vec![factor(&all[rank - 2..], 1)];
        let repeated = self.term(&[w], own, &all, 1.0 / side as f64, dims.clone());
        let two = self.twice_identity(&dims);
        let a = self.infer(Op::Binary(Binary::Add), &[repeated, two]);
        let system = self.rng.one_of(&System::ALL);
        let value = self.infer(Op::Matrix(MatrixOp::Solve(system)), &[a, b.value]);
        self.keep(value, false);
    }

    fn twice_identity(&mut self, dims: &[usize]) -> Value {
        let rank = dims.len() as Label;
        let all: Vec<Label> = (0..rank).collect();
        let two = Contract {
            factors: Vec::new(),
            deltas: vec![(rank - 2, rank - 1)],
            out: labels(&all),
            coefficient: 2.0,
            sizes: dims.to_vec(),
        };
        self.push(Op::Contract(two), &[], Type::new(self.options.elem, dims))
    }

    /// Factorizations of positive definite matrices, and solves with them. Of those with several
    /// eigenvalues that may lie close only the values are kept.
    pub(super) fn matrix(&mut self) {
        let Some(a) = self.matrices() else { return };
        let ty = self.ty(a);
        let (rank, side) = (ty.rank(), ty.dims[ty.rank() - 1]);
        let lead = ty.dims[..rank - 2].to_vec();
        let mut dims = lead.clone();
        dims.extend([side, 1 + self.rng.below(2)]);
        let last_row = |rows: usize| {
            let mut start = vec![0; rank];
            start[rank - 2] = rows - 1;
            let mut limit = lead.clone();
            limit.extend([rows, side]);
            Op::Slice {
                start,
                limit,
                stride: vec![1; rank],
            }
        };
        let value = match self.rng.below(8) {
            0 => self.infer(Op::Matrix(MatrixOp::Cholesky), &[a]),
            1 => self.infer(Op::Matrix(MatrixOp::LogDet), &[a]),
            2 => self.infer(Op::Matrix(MatrixOp::Qr), &[a]),
            3 => {
                let all = self.infer(Op::Matrix(MatrixOp::Svd), &[a]);
                self.infer(last_row(2 * side + 1), &[all])
            }
            4 => {
                let all = self.infer(Op::Matrix(MatrixOp::Eigh), &[a]);
                self.infer(last_row(side + 1), &[all])
            }
            _ => {
                let b = self.float_of(&dims);
                let system = self.rng.one_of(&System::ALL);
                self.infer(Op::Matrix(MatrixOp::Solve(system)), &[a, b])
            }
        };
        self.keep(value, false);
    }
}
