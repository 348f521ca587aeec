//! What the tests of passes share: evaluation by the reference interpreter in f64, derivative
//! regions around functions, finite differences.
#![allow(dead_code)]

use aec_ir::{Binary, Function, Mode, Op, Precision, Type, Value, interpret, parse};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use aec_transform::{Run, compile_time_passes};

/// Parses one function.
pub fn tir(text: &str) -> Function {
    let mut functions = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(functions.len(), 1);
    functions.remove(0)
}

/// Evaluates without rounding.
pub fn eval(f: &Function, inputs: &[Tensor]) -> Vec<Tensor> {
    interpret(f, inputs, Precision::F64).unwrap_or_else(|error| panic!("{error}\n{f}"))
}

/// All passes.
pub fn compile(f: &Function) -> Function {
    compile_time_passes(f.clone(), &mut Run::default(), &mut |_, _| {})
        .unwrap_or_else(|error| panic!("{error:?}\n{f}"))
}

/// A function that differentiates `body`.
pub fn differentiated(body: &Function, mode: Mode, active: &[bool]) -> Function {
    let mut f = Function::new("derivative");
    let mut operands: Vec<Value> = Vec::new();
    for &param in &body.params {
        operands.push(f.param(body.ty(param).clone(), ""));
    }
    let floats: Vec<Type> = body
        .results
        .iter()
        .map(|&v| body.ty(v).clone())
        .filter(|ty| ty.elem.is_float())
        .collect();
    let actives: Vec<Type> = body
        .params
        .iter()
        .zip(active)
        .filter(|&(_, &active)| active)
        .map(|(&v, _)| body.ty(v).clone())
        .collect();
    let mut types: Vec<Type> = body.results.iter().map(|&v| body.ty(v).clone()).collect();
    match mode {
        Mode::Vjp => {
            for ty in &floats {
                operands.push(f.param(ty.clone(), ""));
            }
            types.extend(actives);
        }
        Mode::Jvp => {
            for ty in &actives {
                operands.push(f.param(ty.clone(), ""));
            }
            types.extend(floats);
        }
        Mode::Jacobian => {
            for result in &floats {
                for active in &actives {
                    let dims: Vec<usize> =
                        result.dims.iter().chain(&active.dims).copied().collect();
                    types.push(result.with_dims(&dims));
                }
            }
        }
    }
    let op = Op::Derivative {
        mode,
        active: active.to_vec(),
        body: Box::new(body.clone()),
    };
    let inst = f.push(op, &operands, &types, Span::NONE);
    f.results = f.insts[inst].results.to_vec();
    f
}

/// Which params are floats.
pub fn floats(f: &Function) -> Vec<bool> {
    f.params.iter().map(|&v| f.ty(v).elem.is_float()).collect()
}

/// A small deterministic generator of numbers in (-1, 1).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let count: usize = dims.iter().product();
        Tensor::f64(dims, (0..count).map(|_| self.next()).collect())
    }
}

fn dot(a: &[Tensor], b: &[Tensor]) -> f64 {
    a.iter()
        .zip(b)
        .flat_map(|(a, b)| a.to_f64_vec().into_iter().zip(b.to_f64_vec()))
        .map(|(a, b)| a * b)
        .sum()
}

fn float_results(f: &Function, results: Vec<Tensor>) -> Vec<Tensor> {
    f.results
        .iter()
        .zip(results)
        .filter(|(v, _)| f.ty(**v).elem.is_float())
        .map(|(_, tensor)| tensor)
        .collect()
}

fn shifted(x: &Tensor, at: usize, by: f64) -> Tensor {
    let mut values = x.to_f64_vec();
    values[at] += by;
    Tensor::from_f64(Elem::F64, x.dims(), values)
}

/// Compares reverse mode with forward mode and with central differences at `inputs`, and the
/// results of the derivative with those of the function itself.
pub fn check_gradient(body: &Function, inputs: &[Tensor], tolerance: f64) {
    check_gradient_at(body, inputs, tolerance, 7);
}

pub fn check_gradient_at(body: &Function, inputs: &[Tensor], tolerance: f64, seed: u64) {
    let active = floats(body);
    let mut numbers = Numbers(seed);
    let plain = eval(body, inputs);
    let cotangents: Vec<Tensor> = body
        .results
        .iter()
        .filter(|&&v| body.ty(v).elem.is_float())
        .map(|&v| numbers.tensor(body.dims(v)))
        .collect();
    let tangents: Vec<Tensor> = body
        .params
        .iter()
        .zip(&active)
        .filter(|&(_, &active)| active)
        .map(|(&v, _)| numbers.tensor(body.dims(v)))
        .collect();
    let vjp = compile(&differentiated(body, Mode::Vjp, &active));
    let with_cts: Vec<Tensor> = inputs.iter().chain(&cotangents).cloned().collect();
    let reverse = eval(&vjp, &with_cts);
    let jvp = compile(&differentiated(body, Mode::Jvp, &active));
    let with_tangents: Vec<Tensor> = inputs.iter().chain(&tangents).cloned().collect();
    let forward = eval(&jvp, &with_tangents);
    let count = body.results.len();
    for (kind, results) in [("vjp", &reverse), ("jvp", &forward)] {
        for (index, (a, b)) in results[..count].iter().zip(&plain).enumerate() {
            close(a, b, 1e-9, &format!("{kind}: result {index}\n{body}"));
        }
    }
    let gradients = &reverse[count..];
    let ahead = dot(&cotangents, &forward[count..]);
    let back = dot(gradients, &tangents);
    let size = 1.0 + ahead.abs().max(back.abs());
    assert!(
        (ahead - back).abs() <= 1e-12 * size,
        "forward {ahead} and reverse {back} differ\n{body}\nvjp {vjp}\njvp {jvp}"
    );
    let step = 1e-5;
    let mut gradient = gradients.iter();
    for (index, input) in inputs.iter().enumerate() {
        if !active[index] {
            continue;
        }
        let gradient = gradient.next().expect("a gradient for each float param");
        for at in 0..input.len() {
            let side = |by: f64| {
                let mut moved = inputs.to_vec();
                moved[index] = shifted(input, at, by);
                dot(&cotangents, &float_results(body, eval(body, &moved)))
            };
            let expected = (side(step) - side(-step)) / (2.0 * step);
            let got = gradient.get_f64(at);
            assert!(
                (got - expected).abs() <= tolerance * (1.0 + expected.abs()),
                "entry {at} of param {index}: {got}, by differences {expected}\n{body}\n{vjp}"
            );
        }
    }
}

/// Equal up to a relative tolerance; NaN and infinities must agree.
pub fn close(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    for at in 0..a.len() {
        let (x, y) = (a.get_f64(at), b.get_f64(at));
        let same = x == y || (x.is_nan() && y.is_nan());
        assert!(
            same || (x - y).abs() <= tolerance * (1.0 + x.abs().max(y.abs())),
            "{what}: entry {at}: {x} against {y}"
        );
    }
}

/// A program of contractions and sums over a few small tensors: `ops` ops, each on earlier
/// values, the last few of them results. Sizes repeat, so that labels can be joined.
pub fn random_products(seed: u64, ops: usize) -> (Function, Vec<Tensor>) {
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9).wrapping_add(17));
    let mut below = |n: usize| (((numbers.next() + 1.0) / 2.0 * n as f64) as usize).min(n - 1);
    let sizes = [2usize, 3, 4];
    let mut f = Function::new("products");
    let mut values: Vec<Value> = Vec::new();
    for _ in 0..3 {
        let rank = 1 + below(2);
        let dims: Vec<usize> = (0..rank).map(|_| sizes[below(3)]).collect();
        values.push(f.param(Type::new(Elem::F64, &dims), ""));
    }
    for _ in 0..ops {
        let value = if below(4) == 0 {
            let a = values[below(values.len())];
            let same: Vec<Value> = values
                .iter()
                .copied()
                .filter(|&v| f.dims(v) == f.dims(a))
                .collect();
            let b = same[below(same.len())];
            let op = [Binary::Add, Binary::Sub][below(2)];
            f.binary(op, a, b, Span::NONE)
        } else {
            let mut labels: Vec<usize> = Vec::new();
            let mut factors = Vec::new();
            let mut operands = Vec::new();
            for _ in 0..1 + below(3) {
                let operand = values[below(values.len())];
                let mut own = aec_ir::Labels::new();
                for &size in f.dims(operand) {
                    let known: Vec<usize> =
                        (0..labels.len()).filter(|&l| labels[l] == size).collect();
                    let label = match !known.is_empty() && below(3) > 0 {
                        true => known[below(known.len())],
                        false => {
                            labels.push(size);
                            labels.len() - 1
                        }
                    };
                    own.push(label as u8);
                }
                operands.push(operand);
                factors.push(aec_ir::Factor {
                    labels: own,
                    power: 1 + u32::from(below(4) == 0),
                });
            }
            let mut out = aec_ir::Labels::new();
            for label in 0..labels.len() {
                if out.len() < 3 && below(2) == 0 {
                    out.push(label as u8);
                }
            }
            let mut deltas = Vec::new();
            if out.len() < 3 && below(4) == 0 {
                let size = sizes[below(3)];
                labels.push(size);
                let new = (labels.len() - 1) as u8;
                out.insert(0, new);
                let other = (0..new).find(|&l| labels[l as usize] == size);
                if let Some(other) = other
                    && below(2) == 0
                {
                    deltas.push((other, new));
                }
            }
            let dims: Vec<usize> = out.iter().map(|&l| labels[l as usize]).collect();
            let contract = aec_ir::Contract {
                factors,
                deltas,
                out,
                coefficient: [1.0, 0.5, -1.0][below(3)],
                sizes: labels,
            };
            let ty = Type::new(Elem::F64, &dims);
            f.push1(Op::Contract(contract), &operands, ty, Span::NONE)
        };
        // What nothing restrains grows beyond all bounds.
        let value = match below(3) {
            0 => f.unary(aec_ir::Unary::Tanh, value, Span::NONE),
            _ => value,
        };
        values.push(value);
    }
    f.results = values[values.len() - 3..].to_vec();
    let inputs = f
        .params
        .iter()
        .map(|&v| numbers.tensor(f.dims(v)))
        .collect();
    (f, inputs)
}
