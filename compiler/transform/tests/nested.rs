//! Regions inside regions, on random programs: derivatives for each example of a map,
//! Jacobians against columns, derivatives of derivatives.

mod common;

use aec_ir::generate::{Options, Program, program};
use aec_ir::{Function, Mode, Op, Type, Value};
use aec_runtime::{Data, Elem, Tensor};
use aec_syntax::Span;
use aec_transform::{Run, run_pass};
use common::{Numbers, check_gradient_at, close, compile, differentiated, eval, floats};

fn smooth(seed: u64, ops: usize, maps: bool) -> Program {
    let options = Options {
        ops,
        elem: Elem::F64,
        smooth: true,
        maps,
        empty: false,
        ..Options::default()
    };
    program(seed, &options)
}

fn tame(program: &Program) -> bool {
    eval(&program.function, &program.inputs)
        .iter()
        .all(|r| r.to_f64_vec().iter().all(|x| x.abs() < 1e3))
}

/// `body` for each of `size` examples; float params are mapped.
fn mapped(body: &Function, size: usize) -> Function {
    let mut f = Function::new("mapped");
    let mapped = floats(body);
    let mut operands: Vec<Value> = Vec::new();
    let with_axis = |ty: &Type| {
        let dims: Vec<usize> = std::iter::once(size)
            .chain(ty.dims.iter().copied())
            .collect();
        ty.with_dims(&dims)
    };
    for (&param, &mapped) in body.params.iter().zip(&mapped) {
        let ty = body.ty(param).clone();
        operands.push(f.param(if mapped { with_axis(&ty) } else { ty }, ""));
    }
    let types: Vec<Type> = body
        .results
        .iter()
        .map(|&v| with_axis(body.ty(v)))
        .collect();
    let op = Op::Map {
        size,
        mapped,
        is_batch: false,
        body: Box::new(body.clone()),
    };
    let inst = f.push(op, &operands, &types, Span::NONE);
    f.results = f.insts[inst].results.to_vec();
    f
}

/// `size` examples from one: the same, then slightly others.
fn stacked(x: &Tensor, size: usize, numbers: &mut Numbers) -> Tensor {
    let mut values = Vec::new();
    for example in 0..size {
        for at in 0..x.len() {
            values.push(x.get_f64(at) + 0.1 * example as f64 * numbers.next());
        }
    }
    let dims: Vec<usize> = std::iter::once(size)
        .chain(x.dims().iter().copied())
        .collect();
    Tensor::new(dims, Data::F64(values))
}

#[test]
fn derivatives_for_each_example() {
    for seed in 0..60 {
        let program = smooth(seed, 7, true);
        if !tame(&program) {
            continue;
        }
        let active = floats(&program.function);
        for mode in [Mode::Vjp, Mode::Jvp, Mode::Jacobian] {
            let derivative = differentiated(&program.function, mode, &active);
            let f = mapped(&derivative, 3);
            let mut numbers = Numbers(seed);
            let mut inputs: Vec<Tensor> = Vec::new();
            for (index, &param) in derivative.params.iter().enumerate() {
                let input = match program.inputs.get(index) {
                    Some(input) if input.elem().is_float() => stacked(input, 3, &mut numbers),
                    Some(input) => input.clone(),
                    None => {
                        let one = numbers.tensor(derivative.dims(param));
                        stacked(&one, 3, &mut numbers)
                    }
                };
                inputs.push(input);
            }
            let expanded = run_pass("derivatives", &f, &mut Run::default())
                .expect("the pass exists")
                .unwrap_or_else(|error| panic!("{error:?}"));
            let expected = eval(&expanded, &inputs);
            let compiled = compile(&f);
            for (a, b) in eval(&compiled, &inputs).iter().zip(&expected) {
                close(
                    a,
                    b,
                    1e-8,
                    &format!("seed {seed} {mode:?}\n{f}\n{compiled}"),
                );
            }
        }
    }
}

#[test]
fn random_jacobians_are_their_columns() {
    for seed in 100..160 {
        let program = smooth(seed, 6, false);
        if !tame(&program) {
            continue;
        }
        let body = &program.function;
        let active = floats(body);
        let jacobian = compile(&differentiated(body, Mode::Jacobian, &active));
        let jvp = compile(&differentiated(body, Mode::Jvp, &active));
        let all = eval(&jacobian, &program.inputs);
        let jacobians = &all[body.results.len()..];
        let float_results = body
            .results
            .iter()
            .filter(|&&v| body.ty(v).elem.is_float())
            .count();
        let float_params: Vec<usize> = (0..active.len()).filter(|&i| active[i]).collect();
        assert_eq!(jacobians.len(), float_results * float_params.len());
        for (which, &index) in float_params.iter().enumerate() {
            let columns = program.inputs[index].len();
            for column in 0..columns {
                let mut inputs = program.inputs.clone();
                for &at in &float_params {
                    let mut basis = vec![0.0; program.inputs[at].len()];
                    if at == index {
                        basis[column] = 1.0;
                    }
                    inputs.push(Tensor::f64(program.inputs[at].dims(), basis));
                }
                let tangents = eval(&jvp, &inputs);
                for result in 0..float_results {
                    let tangent = &tangents[body.results.len() + result];
                    let matrix = &jacobians[result * float_params.len() + which];
                    for row in 0..tangent.len() {
                        let (got, expected) =
                            (matrix.get_f64(row * columns + column), tangent.get_f64(row));
                        assert!(
                            (got - expected).abs() <= 1e-9 * (1.0 + expected.abs()),
                            "seed {seed}: {got} against {expected}\n{body}\n{jacobian}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn derivatives_of_derivatives() {
    for seed in 200..240 {
        let program = smooth(seed, 4, true);
        if !tame(&program) {
            continue;
        }
        let body = &program.function;
        let first = compile(&differentiated(body, Mode::Vjp, &floats(body)));
        let mut numbers = Numbers(seed);
        let mut inputs = program.inputs.clone();
        for &param in &first.params[inputs.len()..] {
            inputs.push(numbers.tensor(first.dims(param)));
        }
        let results = eval(&first, &inputs);
        if results
            .iter()
            .all(|r| r.to_f64_vec().iter().all(|x| x.abs() < 1e3))
        {
            check_gradient_at(&first, &inputs, 1e-3, seed);
        }
    }
}
