//! Derivatives of every op against central differences, forward against reverse, second order.

mod common;

use aec_ir::generate::{Options, program};
use aec_ir::{Binary, Function, Mode, Type, Unary};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use common::{Numbers, check_gradient, close, compile, differentiated, eval, floats, tir};

const TOLERANCE: f64 = 1e-6;

fn unary(op: Unary) -> Function {
    let mut f = Function::new(op.name());
    let x = f.param(Type::new(Elem::F64, &[3]), "x");
    let y = f.unary(op, x, Span::NONE);
    f.results.push(y);
    f
}

/// Points where the op is smooth.
fn points(op: Unary) -> [f64; 3] {
    match op {
        Unary::Log | Unary::Sqrt => [0.3, 1.0, 2.5],
        Unary::Log1p => [-0.5, 0.1, 2.0],
        Unary::Abs
        | Unary::Sign
        | Unary::Floor
        | Unary::Neg
        | Unary::Exp
        | Unary::Expm1
        | Unary::Sin
        | Unary::Cos
        | Unary::Tanh
        | Unary::Logistic
        | Unary::Erf
        | Unary::Not => [-1.3, 0.4, 1.7],
    }
}

#[test]
fn unary_ops() {
    for op in Unary::ALL {
        if op == Unary::Not {
            continue;
        }
        let x = Tensor::f64(&[3], points(op).to_vec());
        check_gradient(&unary(op), &[x], TOLERANCE);
    }
}

#[test]
fn unary_ops_twice() {
    for op in Unary::ALL {
        if op == Unary::Not {
            continue;
        }
        let first = differentiated(&unary(op), Mode::Vjp, &[true]);
        let x = Tensor::f64(&[3], points(op).to_vec());
        let ct = Tensor::f64(&[3], vec![0.7, -0.4, 1.1]);
        // The first derivative, as the interpreter can run it, differentiated again.
        check_gradient(&compile(&first), &[x, ct], 1e-5);
    }
}

#[test]
fn nested_derivatives_are_expanded_innermost_first() {
    // d/dx of (d/dx tanh x) by two nested regions against the closed form.
    let inner = differentiated(&unary(Unary::Tanh), Mode::Vjp, &[true]);
    let outer = compile(&differentiated(&inner, Mode::Jvp, &[true, false]));
    let x = [-0.8, 0.2, 1.5];
    let ones = Tensor::f64(&[3], vec![1.0; 3]);
    let results = eval(&outer, &[Tensor::f64(&[3], x.to_vec()), ones.clone(), ones]);
    // Results: y, dy; then their tangents.
    let expected: Vec<f64> = x
        .iter()
        .map(|x| -2.0 * x.tanh() * (1.0 - x.tanh().powi(2)))
        .collect();
    close(
        &results[3],
        &Tensor::f64(&[3], expected),
        1e-12,
        "second derivative",
    );
}

#[test]
fn binary_ops() {
    for op in Binary::ALL {
        if matches!(
            op,
            Binary::FloorDiv | Binary::And | Binary::Or | Binary::Mul
        ) {
            continue;
        }
        let mut f = Function::new(op.name());
        let a = f.param(Type::new(Elem::F64, &[4]), "a");
        let b = f.param(Type::new(Elem::F64, &[4]), "b");
        let y = f.binary(op, a, b, Span::NONE);
        f.results.push(y);
        let a = Tensor::f64(&[4], vec![0.5, 1.7, 2.2, 0.9]);
        let b = Tensor::f64(&[4], vec![1.3, 0.6, -0.8, 2.4]);
        check_gradient(&f, &[a.clone(), b.clone()], TOLERANCE);
        if matches!(op, Binary::Add | Binary::Sub | Binary::Div | Binary::Pow) {
            let first = compile(&differentiated(&f, Mode::Vjp, &[true, true]));
            let ct = Tensor::f64(&[4], vec![0.3, -0.2, 0.9, 1.4]);
            check_gradient(&first, &[a, b, ct], 1e-5);
        }
    }
}

fn gradient_of(text: &str, x: &[f64]) -> Vec<f64> {
    let body = tir(text);
    let f = compile(&differentiated(&body, Mode::Vjp, &floats(&body)));
    let dims = body.dims(body.results[0]).to_vec();
    let count = dims.iter().product();
    let ct = Tensor::f64(&dims, vec![1.0; count]);
    let x = Tensor::f64(body.dims(body.params[0]), x.to_vec());
    eval(&f, &[x, ct])[1].to_f64_vec()
}

#[test]
fn derivatives_where_there_is_none() {
    let sqrt = "fn f(%0: f64[2]) { %1: f64[2] = sqrt %0 return %1 }";
    assert_eq!(gradient_of(sqrt, &[0.0, 4.0]), [0.0, 0.25]);
    let root = "fn f(%0: f64[2]) { %1: f64[2] = constant 0.25 %2: f64[2] = pow %0, %1 return %2 }";
    assert_eq!(gradient_of(root, &[0.0, 1.0]), [0.0, 0.25]);
    let one = "fn f(%0: f64[2]) { %1: f64[2] = constant 0.0 %2: f64[2] = pow %0, %1 return %2 }";
    assert_eq!(gradient_of(one, &[0.0, 1.0]), [0.0, 0.0]);
    let abs = "fn f(%0: f64[3]) { %1: f64[3] = abs %0 return %1 }";
    assert_eq!(gradient_of(abs, &[-2.0, 0.0, 3.0]), [-1.0, 0.0, 1.0]);
    let relu = "fn f(%0: f64[3]) { %1: f64[3] = constant 0.0 %2: f64[3] = max %0, %1 return %2 }";
    assert_eq!(gradient_of(relu, &[-2.0, 0.0, 3.0]), [0.0, 0.0, 1.0]);
    let max = "fn f(%0: f64[2,3]) { %1: f64 = reduce max [0,1] %0 return %1 }";
    assert_eq!(
        gradient_of(max, &[1.0, 5.0, 2.0, 5.0, 0.0, 5.0]),
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    );
}

#[test]
fn powers_of_variable_exponent_are_safe() {
    let body = tir("fn f(%0: f64[4], %1: f64[4]) { %2: f64[4] = pow %0, %1 return %2 }");
    let f = compile(&differentiated(&body, Mode::Vjp, &[true, true]));
    let a = Tensor::f64(&[4], vec![0.0, 0.0, 0.0, 2.0]);
    let b = Tensor::f64(&[4], vec![0.0, 0.5, 2.0, 3.0]);
    let ct = Tensor::f64(&[4], vec![1.0; 4]);
    let results = eval(&f, &[a, b, ct]);
    close(
        &results[1],
        &Tensor::f64(&[4], vec![0.0, 0.0, 0.0, 12.0]),
        1e-12,
        "by the base",
    );
    let by_exponent = vec![0.0, 0.0, 0.0, 8.0 * 2f64.ln()];
    close(
        &results[2],
        &Tensor::f64(&[4], by_exponent),
        1e-12,
        "by the exponent",
    );
}

#[test]
fn untaken_branches_give_no_nan() {
    // if x > 0 then log(x) / x else 3 x, at 0 and below.
    let text = "fn f(%0: f64[3]) {
        %1: f64[3] = constant 0.0
        %2: bool[3] = gt %0, %1
        %3: f64[3] = log %0
        %4: f64[3] = div %3, %0
        %5: f64[3] = contract 3.0 %0[a] -> [a]
        %6: f64[3] = select %2, %4, %5
        return %6
    }";
    let gradient = gradient_of(text, &[0.0, -1.0, 1.0]);
    assert_eq!(gradient, [3.0, 3.0, 1.0]);
    // The branch sums: if c then sum(sqrt(x)) else 0, with x = 0 twice and c false.
    let text = "fn f(%0: f64[3]) {
        %1: f64 = constant 1.0
        %2: f64 = contract %0[a] -> []
        %3: bool = gt %2, %1
        %4: f64[3] = log %0
        %5: f64 = contract %4[a] -> []
        %6: f64 = constant 0.0
        %7: f64 = select %3, %5, %6
        return %7
    }";
    assert_eq!(gradient_of(text, &[0.0, 0.0, 0.5]), [0.0, 0.0, 0.0]);
    assert_eq!(gradient_of(text, &[1.0, 2.0, 0.5]), [1.0, 0.5, 2.0]);
}

#[test]
fn nested_branches_give_no_nan() {
    // if x > 0 { if x > -5 { log(x) } else { 0 } } else { 0 }, where the inner condition holds
    // and the outer one does not.
    let text = "fn f(%0: f64[3]) {
        %1: f64[3] = constant 0.0
        %2: f64[3] = constant -5.0
        %3: bool[3] = gt %0, %1
        %4: bool[3] = gt %0, %2
        %5: f64[3] = log %0
        %6: f64[3] = select %4, %5, %1
        %7: f64[3] = select %3, %6, %1
        return %7
    }";
    assert_eq!(gradient_of(text, &[0.0, -1.0, 2.0]), [0.0, 0.0, 0.5]);
}

#[test]
fn chains_of_selections_stay_small() {
    // x = select(x > c, sqrt(x), x), sixty times: each branch sees the ones before it.
    let mut f = Function::new("chain");
    let ty = Type::new(Elem::F64, &[2]);
    let mut x = f.param(ty.clone(), "x");
    for step in 0..60 {
        let bound = f.number(1.5 - 0.01 * f64::from(step), ty.clone(), Span::NONE);
        let condition = f.compare(aec_ir::Comparison::Gt, x, bound, Span::NONE);
        let root = f.unary(Unary::Sqrt, x, Span::NONE);
        x = f.select(condition, root, x, Span::NONE);
    }
    f.results.push(x);
    let gradient = compile(&differentiated(&f, Mode::Vjp, &[true]));
    assert!(gradient.order.len() < 6000, "{}", gradient.order.len());
    check_gradient(&f, &[Tensor::f64(&[2], vec![40.0, 0.2])], TOLERANCE);
}

#[test]
fn contractions() {
    let mut numbers = Numbers(3);
    for (text, dims) in [
        (
            "fn f(%0: f64[3,4], %1: f64[4,2]) { %2: f64[3,2] = contract %0[a,b] %1[b,c] -> [a,c] return %2 }",
            vec![vec![3, 4], vec![4, 2]],
        ),
        (
            "fn f(%0: f64[3,3]) { %1: f64 = contract %0[a,a] -> [] return %1 }",
            vec![vec![3, 3]],
        ),
        (
            "fn f(%0: f64[3,3]) { %1: f64[3] = contract 2.5 %0[a,a] -> [a] return %1 }",
            vec![vec![3, 3]],
        ),
        (
            "fn f(%0: f64[3]) { %1: f64[3,3] = contract %0[a] delta[a,b] -> [a,b] return %1 }",
            vec![vec![3]],
        ),
        (
            "fn f(%0: f64[3]) { %1: f64[2,3] = contract -1.5 %0[b]^3 -> [a,b] return %1 }",
            vec![vec![3]],
        ),
        (
            "fn f(%0: f64[3], %1: f64[2]) { %2: f64[2,3] = contract %0[b]^2 %1[a] -> [a,b] return %2 }",
            vec![vec![3], vec![2]],
        ),
        (
            "fn f(%0: f64[2,3], %1: f64[2], %2: f64[3,4]) { %3: f64[4,2] = contract %0[b,i] %1[b] %2[i,j] -> [j,b] return %3 }",
            vec![vec![2, 3], vec![2], vec![3, 4]],
        ),
        (
            "fn f(%0: f64[2,3]) { %1: f64 = contract %0[a,b] %0[a,c] -> [] return %1 }",
            vec![vec![2, 3]],
        ),
        (
            "fn f(%0: f64[2,2]) { %1: f64[2] = contract %0[a,b] %0[b,a] -> [a] return %1 }",
            vec![vec![2, 2]],
        ),
        (
            "fn f(%0: f64[3,2,4]) { %1: f64[4,3] = contract %0[a,b,c] -> [c,a] return %1 }",
            vec![vec![3, 2, 4]],
        ),
    ] {
        let body = tir(text);
        let inputs: Vec<Tensor> = dims.iter().map(|dims| numbers.tensor(dims)).collect();
        check_gradient(&body, &inputs, TOLERANCE);
        let first = compile(&differentiated(&body, Mode::Vjp, &floats(&body)));
        let ct = numbers.tensor(body.dims(body.results[0]));
        let with_ct: Vec<Tensor> = inputs.iter().cloned().chain([ct]).collect();
        check_gradient(&first, &with_ct, 1e-5);
    }
}

#[test]
fn movement_and_reductions() {
    let mut numbers = Numbers(5);
    for (text, dims) in [
        (
            "fn f(%0: f64[2,6]) { %1: f64[3,4] = reshape %0 return %1 }",
            vec![vec![2, 6]],
        ),
        (
            "fn f(%0: f64[2,1,3]) { %1: f64[1,2,3] = reshape %0 return %1 }",
            vec![vec![2, 1, 3]],
        ),
        (
            "fn f(%0: f64[7,3]) { %1: f64[3,2] = slice [1:7:2,0:2] %0 return %1 }",
            vec![vec![7, 3]],
        ),
        (
            "fn f(%0: f64[3], %1: f64) { %2: f64[8] = pad [2:1:1] %0, %1 return %2 }",
            vec![vec![3], vec![]],
        ),
        (
            "fn f(%0: f64[2,3], %1: f64[2,2]) { %2: f64[2,5] = concat 1 %0, %1 return %2 }",
            vec![vec![2, 3], vec![2, 2]],
        ),
        (
            "fn f(%0: f64[2,3]) { %1: f64[2,3] = reverse [1] %0 return %1 }",
            vec![vec![2, 3]],
        ),
        (
            "fn f(%0: f64[2,3]) { %1: f64[2,3] = cumsum 1 %0 return %1 }",
            vec![vec![2, 3]],
        ),
        (
            "fn f(%0: f64[2,3]) { %1: f64[2,3] = cumsum 0 reverse %0 return %1 }",
            vec![vec![2, 3]],
        ),
        (
            "fn f(%0: f64[2,3]) { %1: f64[2] = reduce max [1] %0 return %1 }",
            vec![vec![2, 3]],
        ),
        (
            "fn f(%0: f64[2,3,4]) { %1: f64[3] = reduce min [0,2] %0 return %1 }",
            vec![vec![2, 3, 4]],
        ),
        (
            "fn f(%0: f64[3]) { %1: f64[3] = stop %0 %2: f64[3] = add %1, %0 return %2 }",
            vec![],
        ),
        (
            "fn f(%0: f32[3]) { %1: f64[3] = convert %0 %2: f64[3] = exp %1 return %2 }",
            vec![vec![3]],
        ),
    ] {
        if dims.is_empty() {
            // Differences see through a stop; its gradient is checked by value.
            assert_eq!(gradient_of(text, &[0.1, 0.2, 0.3]), [1.0, 1.0, 1.0]);
            continue;
        }
        let body = tir(text);
        let inputs: Vec<Tensor> = dims.iter().map(|dims| numbers.tensor(dims)).collect();
        check_gradient(&body, &inputs, TOLERANCE);
    }
}

#[test]
fn gather_and_scatter() {
    let mut numbers = Numbers(6);
    let body = tir(
        "fn f(%0: f64[4,2], %1: i64[3]) { %2: f64[3,2] = gather batch 0 %0, %1 %3: f64[3,2] = exp %2 return %3 }",
    );
    let index = Tensor::i64(&[3], vec![2, 0, 2]);
    check_gradient(&body, &[numbers.tensor(&[4, 2]), index.clone()], TOLERANCE);
    let body = tir(
        "fn f(%0: i64[3], %1: f64[3,2]) { %2: f64[4,2] = scatter_add batch 0 %0, %1 %3: f64[4,2] = exp %2 return %3 }",
    );
    check_gradient(&body, &[index, numbers.tensor(&[3, 2])], TOLERANCE);
    let body = tir(
        "fn f(%0: f64[2,4], %1: i64[2]) { %2: f64[2] = gather batch 1 %0, %1 %3: f64[2] = exp %2 return %3 }",
    );
    let index = Tensor::i64(&[2], vec![3, 1]);
    check_gradient(&body, &[numbers.tensor(&[2, 4]), index], TOLERANCE);
}

#[test]
fn random_smooth_programs() {
    for seed in 0..200 {
        let options = Options {
            ops: 8,
            elem: Elem::F64,
            smooth: true,
            tables: seed % 2 == 1,
            ..Options::default()
        };
        let program = program(seed, &options);
        let results = eval(&program.function, &program.inputs);
        let tame = results
            .iter()
            .all(|r| r.to_f64_vec().iter().all(|x| x.abs() < 1e3));
        if tame {
            check_gradient(&program.function, &program.inputs, 1e-4);
        }
    }
}

#[test]
fn jacobian_is_its_columns() {
    let mut numbers = Numbers(9);
    // Wide and tall, so that both forward and reverse are chosen.
    for (text, dims) in [
        (
            "fn f(%0: f64[2], %1: f64[5,2]) { %2: f64[5] = contract %1[a,b] %0[b] -> [a] %3: f64[5] = tanh %2 return %3 }",
            vec![vec![2], vec![5, 2]],
        ),
        (
            "fn f(%0: f64[5], %1: f64[2,5]) { %2: f64[2] = contract %1[a,b] %0[b] -> [a] %3: f64[2] = tanh %2 return %3 }",
            vec![vec![5], vec![2, 5]],
        ),
        (
            "fn f(%0: f64[2,2], %1: f64[2]) { %2: f64[2,2] = contract %0[a,b] %1[a] -> [b,a] %3: f64[2,2] = exp %2 %4: f64[4] = reshape %3 %5: f64[2] = slice [1:4:2] %4 return %5 }",
            vec![vec![2, 2], vec![2]],
        ),
        (
            "fn f(%0: f64[3], %1: f64) { %2: f64[3] = constant 0.0 %3: bool[3] = gt %0, %2 %4: f64[3] = select %3, %0, %2 %5: f64[3] = contract %4[a] %1[] -> [a] return %5 }",
            vec![vec![3], vec![]],
        ),
        (
            "fn f(%0: f64[2,3]) { %1: f64[2,3] = cumsum 1 %0 %2: f64[2,3] = sin %1 return %2 }",
            vec![vec![2, 3]],
        ),
        (
            "fn f(%0: f64[3]) { %1: f64[3] = reverse [0] %0 %2: f64[6] = concat 0 %0, %1 %3: f64[6] = sin %2 return %3 }",
            vec![vec![3]],
        ),
    ] {
        let body = tir(text);
        let active = floats(&body);
        let inputs: Vec<Tensor> = dims.iter().map(|dims| numbers.tensor(dims)).collect();
        let jacobian = compile(&differentiated(&body, Mode::Jacobian, &active));
        let jacobians = eval(&jacobian, &inputs);
        let jvp = compile(&differentiated(&body, Mode::Jvp, &active));
        for (index, input) in inputs.iter().enumerate() {
            let matrix = jacobians[1 + index].to_f64_vec();
            let columns = input.len();
            for column in 0..columns {
                let tangents: Vec<Tensor> = inputs
                    .iter()
                    .enumerate()
                    .map(|(at, x)| {
                        let mut basis = vec![0.0; x.len()];
                        if at == index {
                            basis[column] = 1.0;
                        }
                        Tensor::f64(x.dims(), basis)
                    })
                    .collect();
                let all: Vec<Tensor> = inputs.iter().cloned().chain(tangents).collect();
                let tangent = eval(&jvp, &all)[1].to_f64_vec();
                for (row, expected) in tangent.iter().enumerate() {
                    let got = matrix[row * columns + column];
                    assert!(
                        (got - expected).abs() < 1e-12,
                        "row {row}, column {column} of param {index}: {got} against {expected}\n{jacobian}"
                    );
                }
            }
        }
    }
}
