//! Derivatives of linear algebra against central differences, first and second order, and
//! batching against one by one.

mod common;

use aec_ir::{Function, MatrixOp, Mode, Op, System, Type, Value};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use aec_transform::batch::batch_function;
use common::{Numbers, check_gradient, close, compile, differentiated, eval, floats};

const OPS: [MatrixOp; 5] = [
    MatrixOp::Cholesky,
    MatrixOp::LogDet,
    MatrixOp::Qr,
    MatrixOp::Svd,
    MatrixOp::Eigh,
];

fn solves() -> impl Iterator<Item = MatrixOp> {
    System::ALL.into_iter().map(MatrixOp::Solve)
}

/// The op on params of these dims.
fn function(op: MatrixOp, dims: &[&[usize]]) -> Function {
    let mut f = Function::new(op.name());
    let operands: Vec<Value> = dims
        .iter()
        .map(|dims| f.param(Type::new(Elem::F64, dims), ""))
        .collect();
    let types: Vec<Type> = operands.iter().map(|&v| f.ty(v).clone()).collect();
    let ty = aec_ir::result_types(&Op::Matrix(op), &types).unwrap();
    let value = f.push1(Op::Matrix(op), &operands, ty[0].clone(), Span::NONE);
    f.results.push(value);
    f
}

/// A matrix on which every op is smooth: apart from noise its diagonal is 2, 3, 4, …
fn matrix(numbers: &mut Numbers, dims: &[usize]) -> Tensor {
    let (n, m) = (dims[dims.len() - 2], dims[dims.len() - 1]);
    let mut values = numbers.tensor(dims).to_f64_vec();
    for (at, value) in values.iter_mut().enumerate() {
        let (row, col) = (at / m % n, at % m);
        *value = 0.4 * *value + if row == col { 2.0 + row as f64 } else { 0.0 };
    }
    Tensor::f64(dims, values)
}

fn check_twice(f: &Function, inputs: &[Tensor], numbers: &mut Numbers, tolerance: f64) {
    check_gradient(f, inputs, tolerance);
    let first = compile(&differentiated(f, Mode::Vjp, &floats(f)));
    let ct = numbers.tensor(f.dims(f.results[0]));
    let with_ct: Vec<Tensor> = inputs.iter().cloned().chain([ct]).collect();
    check_gradient(&first, &with_ct, 20.0 * tolerance);
}

#[test]
fn solves_by_matrix_and_right_side() {
    let mut numbers = Numbers(11);
    for op in solves() {
        for (n, k) in [(1, 1), (3, 2), (4, 1), (3, 0), (0, 2)] {
            let f = function(op, &[&[n, n], &[n, k]]);
            let inputs = [matrix(&mut numbers, &[n, n]), numbers.tensor(&[n, k])];
            check_twice(&f, &inputs, &mut numbers, 1e-7);
        }
        let f = function(op, &[&[2, 3, 3], &[2, 3, 2]]);
        let inputs = [matrix(&mut numbers, &[2, 3, 3]), numbers.tensor(&[2, 3, 2])];
        check_twice(&f, &inputs, &mut numbers, 1e-7);
    }
}

#[test]
fn factorizations() {
    let mut numbers = Numbers(12);
    for op in OPS {
        for dims in [&[1, 1][..], &[3, 3], &[2, 3, 3], &[0, 0]] {
            let f = function(op, &[dims]);
            check_twice(&f, &[matrix(&mut numbers, dims)], &mut numbers, 1e-6);
        }
    }
    for dims in [&[5, 3][..], &[4, 1], &[2, 4, 2], &[3, 0]] {
        for op in [MatrixOp::Qr, MatrixOp::Svd] {
            let f = function(op, &[dims]);
            check_twice(&f, &[matrix(&mut numbers, dims)], &mut numbers, 1e-6);
        }
    }
    for dims in [&[3, 5][..], &[1, 4]] {
        let f = function(MatrixOp::Svd, &[dims]);
        check_twice(&f, &[matrix(&mut numbers, dims)], &mut numbers, 1e-6);
    }
}

#[test]
fn larger_systems() {
    let mut numbers = Numbers(13);
    for op in solves() {
        let f = function(op, &[&[17, 17], &[17, 2]]);
        let inputs = [matrix(&mut numbers, &[17, 17]), numbers.tensor(&[17, 2])];
        check_gradient(&f, &inputs, 1e-6);
    }
    for op in OPS {
        let f = function(op, &[&[17, 17]]);
        check_gradient(&f, &[matrix(&mut numbers, &[17, 17])], 1e-6);
    }
}

#[test]
fn equal_values_give_finite_gradients_of_what_they_leave_fixed() {
    // The trace of the identity's eigenvalues: every vector is as good as another.
    let f = function(MatrixOp::Eigh, &[&[3, 3]]);
    let vjp = compile(&differentiated(&f, Mode::Vjp, &[true]));
    let mut ct = vec![0.0; 12];
    ct[9..].fill(1.0);
    let identity = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let inputs = [
        Tensor::f64(&[3, 3], identity.clone()),
        Tensor::f64(&[4, 3], ct),
    ];
    let gradient = &eval(&vjp, &inputs)[1];
    close(gradient, &Tensor::f64(&[3, 3], identity), 1e-12, "d trace");
}

#[test]
fn a_batch_is_its_examples() {
    let mut numbers = Numbers(14);
    for size in [0, 1, 3, 17] {
        for op in solves() {
            for mapped in [[true, true], [true, false], [false, true]] {
                for lead in [&[][..], &[2]] {
                    let dims = |tail: [usize; 2]| [lead, &tail[..]].concat();
                    let (a, b) = (dims([3, 3]), dims([3, 2]));
                    one_by_one(op, &[&a, &b], &mapped, size, &mut numbers);
                }
            }
        }
        for op in OPS {
            one_by_one(op, &[&[3, 3]], &[true], size, &mut numbers);
        }
    }
}

fn one_by_one(
    op: MatrixOp,
    dims: &[&[usize]],
    mapped: &[bool],
    size: usize,
    numbers: &mut Numbers,
) {
    let f = function(op, dims);
    let whole = batch_function(&f, mapped, size).unwrap();
    let inputs: Vec<Tensor> = dims
        .iter()
        .zip(mapped)
        .map(|(dims, &mapped)| match mapped {
            true => matrix(numbers, &[&[size], *dims].concat()),
            false => matrix(numbers, dims),
        })
        .collect();
    let results = &eval(&whole, &inputs)[0];
    let each = results.len() / size.max(1);
    for example in 0..size {
        let own: Vec<Tensor> = inputs
            .iter()
            .zip(dims)
            .zip(mapped)
            .map(|((input, dims), &mapped)| {
                let len: usize = dims.iter().product();
                let at = if mapped { example * len } else { 0 };
                Tensor::f64(dims, input.to_f64_vec()[at..at + len].to_vec())
            })
            .collect();
        let alone = eval(&f, &own).remove(0);
        let part = results.to_f64_vec()[example * each..][..each].to_vec();
        close(
            &Tensor::f64(alone.dims(), part),
            &alone,
            1e-12,
            &format!(
                "{} example {example} of {size}, mapped {mapped:?}",
                op.name()
            ),
        );
    }
}
