//! Every op that has a derivative, compiled in f64, against central differences at random points
//! along random directions; forwards against backwards; and both once more for the derivative.
//!
//! A point is drawn again where a step of the difference changes a branch, a tie or an order,
//! which shows in the second difference. How often that was is counted.

use aec_codegen::{CodegenOptions, Executable, run_once};
use aec_ir::{Binary, Function, Mode, Op, Type, Unary, Value, parse};
use aec_kernels::{Options, plan};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use aec_transform::{Run, compile_time_passes};
use std::path::Path;
use std::sync::Arc;

/// Step of the differences.
const STEP: f64 = 1e-5;
/// Points of each function.
const POINTS: usize = 20;

/// Reproducible numbers.
struct Numbers(u64);

impl Numbers {
    /// In (-1, 1).
    fn next(&mut self) -> f64 {
        self.0 = (self.0)
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn tensor(&mut self, ty: &Type) -> Tensor {
        let numbers: Vec<f64> = (0..ty.len()).map(|_| self.next()).collect();
        Tensor::from_f64(ty.elem, &ty.dims, numbers)
    }
}

/// A function, and whether its inputs are to be positive: where it and its derivatives exist.
struct Case {
    f: Function,
    positive: bool,
}

fn function(text: &str) -> Function {
    let mut functions = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    functions.remove(0)
}

/// The examples of the audit, and what they leave out: every elementwise op, reduction, system
/// and factorization.
fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ops.tir");
    let text = std::fs::read_to_string(path).expect("the audit's examples");
    let examples = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |f: Function, positive: bool| cases.push(Case { f, positive });
    for f in examples {
        // What a stop or a given slope says is no difference; f32 has too few digits.
        if !["stop", "slope", "convert"].contains(&f.name.as_str()) {
            let positive = matches!(f.insts[f.order[0]].op, Op::Matrix(_));
            add(f, positive);
        }
    }
    for op in Unary::ALL {
        if op != Unary::Not {
            let text = format!(
                "fn {0}(%0: f64[4]) {{ %1: f64[4] = {0} %0 return %1 }}",
                op.name()
            );
            add(
                function(&text),
                matches!(op, Unary::Log | Unary::Sqrt | Unary::Log1p),
            );
        }
    }
    for op in Binary::ALL {
        if !matches!(
            op,
            Binary::FloorDiv | Binary::Mul | Binary::And | Binary::Or
        ) {
            let text = format!(
                "fn {0}(%0: f64[4], %1: f64[4]) {{ %2: f64[4] = {0} %0, %1 return %2 }}",
                op.name()
            );
            add(
                function(&text),
                matches!(op, Binary::Div | Binary::Mod | Binary::Pow),
            );
        }
    }
    for op in [
        "reduce min [0]",
        "reduce max [0,1]",
        "cumsum 1 reverse",
        "cumsum 0",
        "reverse [0,1]",
    ] {
        let dims = match op {
            "reduce min [0]" => "[4]",
            "reduce max [0,1]" => "",
            _ => "[3,4]",
        };
        let text = format!("fn f(%0: f64[3,4]) {{ %1: f64{dims} = {op} %0 return %1 }}");
        add(function(&text), false);
    }
    let sort = "fn sort(%0: f64[5]) {
  %1: i64[5] = argsort %0
  %2: f64[5] = gather batch 0 %0, %1
  return %2
}";
    add(function(sort), false);
    let products = "fn products(%0: f64[3,3], %1: f64[3,4]) {
  %2: f64[3] = contract 0.7 %0[a,a] %1[a,b]^2 -> [a]
  %3: f64[3,3] = contract %0[a,b] %0[c,b] -> [c,a]
  %4: f64[2,3,4] = contract %1[b,c] -> [a,b,c]
  %5: f64 = contract %0[a,b] %1[b,c] %0[a,d] %1[d,c] -> []
  return %2, %3, %4, %5
}";
    add(function(products), false);
    for system in [
        "general",
        "general_transposed",
        "lower",
        "lower_transposed",
        "upper",
        "upper_transposed",
        "positive",
    ] {
        let text = format!(
            "fn {system}(%0: f64[2,3,3], %1: f64[2,3,2]) {{
  %2: f64[2,3,2] = solve {system} %0, %1
  return %2
}}"
        );
        add(function(&text), true);
    }
    for (op, from, to) in [
        ("cholesky", "3,3", "3,3"),
        ("logdet", "3,3", "2"),
        ("qr", "4,3", "7,3"),
        ("svd", "4,3", "8,3"),
        ("svd", "3,4", "8,3"),
        ("eigh", "3,3", "4,3"),
    ] {
        let text = format!("fn {op}(%0: f64[2,{from}]) {{ %1: f64[2,{to}] = {op} %0 return %1 }}");
        add(function(&text), true);
    }
    cases
}

/// The derivative of a function by all its float params: for each float result its tangent, or
/// for each float param its gradient. Its params are the function's, then seeds.
fn differentiated(body: &Function, mode: Mode) -> Function {
    let floats = |values: &[Value]| -> Vec<Type> {
        let types = values.iter().map(|&v| body.ty(v).clone());
        types.filter(|ty| ty.elem.is_float()).collect()
    };
    let (actives, results) = (floats(&body.params), floats(&body.results));
    let (seeds, more) = match mode {
        Mode::Vjp => (&results, &actives),
        Mode::Jvp | Mode::Jacobian => (&actives, &results),
    };
    let mut f = Function::new(format!("{} {mode:?}", body.name));
    let own: Vec<Type> = body.params.iter().map(|&v| body.ty(v).clone()).collect();
    let operands: Vec<Value> = (own.iter().chain(seeds))
        .map(|ty| f.param(ty.clone(), ""))
        .collect();
    let values = body.results.iter().map(|&v| body.ty(v).clone());
    let types: Vec<Type> = values.chain(more.iter().cloned()).collect();
    let op = Op::Derivative {
        mode,
        active: own.iter().map(|ty| ty.elem.is_float()).collect(),
        body: Box::new(body.clone()),
    };
    let inst = f.push(op, &operands, &types, Span::NONE);
    f.results = f.insts[inst].results[body.results.len()..].to_vec();
    f
}

/// A function in machine code.
struct Compiled {
    flat: Function,
    exe: Arc<Executable>,
}

impl Compiled {
    fn new(f: &Function) -> Compiled {
        let flat = compile_time_passes(f.clone(), &mut Run::default(), &mut |_, _| {})
            .unwrap_or_else(|error| panic!("{error:?}\n{f}"));
        let plan = plan(&flat, &Options::default()).unwrap_or_else(|error| panic!("{error:?}"));
        let exe = Executable::compile(plan, CodegenOptions::default()).unwrap();
        Compiled { flat, exe }
    }

    fn run(&self, inputs: &[&[Tensor]]) -> Vec<Tensor> {
        let refs: Vec<&Tensor> = inputs.iter().copied().flatten().collect();
        run_once(&self.exe, &refs).unwrap_or_else(|error| panic!("{error}\n{}", self.flat))
    }
}

fn dot(a: &[Tensor], b: &[Tensor]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs
        .flat_map(|(a, b)| a.to_f64_vec().into_iter().zip(b.to_f64_vec()))
        .map(|(a, b)| a * b)
        .sum()
}

/// The floats among `tensors`.
fn floats(tensors: Vec<Tensor>) -> Vec<Tensor> {
    tensors
        .into_iter()
        .filter(|t| t.elem().is_float())
        .collect()
}

/// How often points were drawn, and how often once more.
#[derive(Default)]
struct Draws {
    all: usize,
    again: usize,
}

/// Compares the derivatives of `case` with differences at some points; `tolerance` is relative.
fn check(case: &Case, numbers: &mut Numbers, draws: &mut Draws, tolerance: f64) {
    let f = &case.f;
    let value = Compiled::new(f);
    let [vjp, jvp] = [Mode::Vjp, Mode::Jvp].map(|mode| Compiled::new(&differentiated(f, mode)));
    let float_types = |values: &[Value]| -> Vec<Type> {
        let types = values.iter().map(|&v| f.ty(v).clone());
        types.filter(|ty| ty.elem.is_float()).collect()
    };
    let (inputs, results) = (float_types(&f.params), float_types(&f.results));
    let mut done = 0;
    while done < POINTS {
        draws.all += 1;
        let point: Vec<Tensor> = (f.params.iter().enumerate())
            .map(|(at, &v)| point_of(f.ty(v), at, case.positive, numbers))
            .collect();
        let direction: Vec<Tensor> = inputs.iter().map(|ty| numbers.tensor(ty)).collect();
        let weights: Vec<Tensor> = results.iter().map(|ty| numbers.tensor(ty)).collect();
        let at = |by: f64| {
            let mut direction = direction.iter();
            let moved: Vec<Tensor> = (point.iter())
                .map(|x| match x.elem().is_float() {
                    false => x.clone(),
                    true => {
                        let d = direction.next().expect("a direction for each").to_f64_vec();
                        let moved: Vec<f64> = x
                            .to_f64_vec()
                            .iter()
                            .zip(d)
                            .map(|(x, d)| x + by * d)
                            .collect();
                        Tensor::from_f64(x.elem(), x.dims(), moved)
                    }
                })
                .collect();
            dot(&weights, &floats(value.run(&[&moved])))
        };
        let (before, here, after) = (at(-STEP), at(0.0), at(STEP));
        let difference = (after - before) / (2.0 * STEP);
        // Of a smooth function this is about the step; a kink or a jump is of the slope's size.
        let bend = (after - 2.0 * here + before).abs() / STEP;
        let backwards = dot(&vjp.run(&[&point, &weights]), &direction);
        let forwards = dot(&weights, &jvp.run(&[&point, &direction]));
        let size = 1.0 + backwards.abs().max(forwards.abs());
        assert!(
            (backwards - forwards).abs() <= 1e-12 * size,
            "{}: backwards {backwards}, forwards {forwards}\n{f}",
            f.name
        );
        if (backwards - difference).abs() > tolerance * size {
            assert!(
                bend > 1e-3 * size,
                "{}: {backwards}, by differences {difference}\n{f}",
                f.name
            );
            draws.again += 1;
            assert!(draws.again < 1000, "{}: no point is smooth", f.name);
            continue;
        }
        done += 1;
    }
}

/// A point: systems get a positive definite matrix, ints are indices.
fn point_of(ty: &Type, at: usize, positive: bool, numbers: &mut Numbers) -> Tensor {
    if !ty.elem.is_float() {
        let values = (0..ty.len()).map(|i| (i % if ty.elem == Elem::Bool { 2 } else { 3 }) as f64);
        return Tensor::from_f64(ty.elem, &ty.dims, values);
    }
    let drawn = numbers.tensor(ty);
    let matrix = positive && at == 0 && ty.dims.len() >= 2;
    let values: Vec<f64> = match (matrix, positive) {
        (false, false) => drawn.to_f64_vec(),
        (false, true) => drawn.to_f64_vec().iter().map(|x| 1.1 + 0.8 * x).collect(),
        (true, _) => {
            let [rows, columns] = [2, 1].map(|back| ty.dims[ty.dims.len() - back]);
            let place = |i: usize| (i / columns % rows, i % columns);
            let numbers = drawn.to_f64_vec();
            let entry = |(i, x): (usize, &f64)| match place(i) {
                (row, column) if row == column => 0.4 * x + 2.0 + row as f64,
                _ => 0.4 * x,
            };
            numbers.iter().enumerate().map(entry).collect()
        }
    };
    Tensor::from_f64(ty.elem, &ty.dims, values)
}

/// Whether there is something to differentiate.
fn is_real(f: &Function) -> bool {
    let float = |values: &[Value]| values.iter().any(|&v| f.ty(v).elem.is_float());
    float(&f.params) && float(&f.results)
}

#[test]
fn every_op_agrees_with_differences() {
    let mut numbers = Numbers(20);
    let mut draws = Draws::default();
    let mut checked = 0;
    for case in cases().iter().filter(|case| is_real(&case.f)) {
        check(case, &mut numbers, &mut draws, 1e-6);
        // The gradient is a function like any other.
        let first = Case {
            f: differentiated(&case.f, Mode::Vjp),
            positive: case.positive,
        };
        check(&first, &mut numbers, &mut draws, 1e-6);
        checked += 1;
    }
    assert!(checked > 50, "only {checked} functions");
    println!("{} of {} points were drawn again", draws.again, draws.all);
    assert!(
        20 * draws.again <= draws.all,
        "{} of {}",
        draws.again,
        draws.all
    );
}
