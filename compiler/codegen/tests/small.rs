//! Linear algebra that kernels write out: against the interpreter, which calls the runtime, by ops,
//! sizes and batches; what has no result, and what is not finite.

use aec_codegen::{CodegenOptions, Executable, Instance, RunError};
use aec_ir::interpret::InterpretError;
use aec_ir::{Elem, Function, MatrixOp, Precision, System, interpret};
use aec_kernels::plan::StepKind;
use aec_kernels::{Options, plan};
use aec_runtime::Tensor;
use aec_runtime::gemm::Isa;
use aec_runtime::linalg::{BadMatrix, Shape, Way, way};
use aec_runtime::pool::Pool;
use std::sync::Arc;

const ROWS: [usize; 8] = [1, 2, 3, 4, 5, 8, 9, 17];
const BATCHES: [usize; 6] = [0, 1, 3, 4, 17, 65];

fn ops() -> impl Iterator<Item = MatrixOp> {
    let solves = System::ALL.into_iter().map(MatrixOp::Solve);
    solves.chain([MatrixOp::Cholesky, MatrixOp::LogDet])
}

/// The op on a batch, `n` rows, two right sides; what it is given comes from a kernel and its result
/// goes to one.
fn function(op: MatrixOp, elem: Elem, batch: usize, n: usize) -> Function {
    let (name, right) = match op {
        MatrixOp::Solve(system) => (format!("solve {}", system.name()), ", %1"),
        _ => (op.name().to_string(), ""),
    };
    let out = match op {
        MatrixOp::Solve(_) => format!("{elem}[{batch},{n},2]"),
        MatrixOp::LogDet => format!("{elem}[{batch},2]"),
        _ => format!("{elem}[{batch},{n},{n}]"),
    };
    let text = format!(
        "fn f(%0: {elem}[{batch},{n},{n}], %1: {elem}[{batch},{n},2]) {{
  %2: {elem}[{batch},{n},{n}] = add %0, %0
  %3: {out} = {name} %2{right}
  %4: {out} = neg %3
  return %4
}}"
    );
    aec_ir::parse(&text).unwrap().remove(0)
}

/// Entries in (-0.5, 0.5), on the diagonals 2 and more; symmetric or not by a little.
fn inputs(elem: Elem, batch: usize, n: usize) -> [Vec<f64>; 2] {
    let noise = |at: usize| (at as f64 * 12.9898).sin() * 43758.5453 % 0.5;
    let matrices = (0..batch * n * n).map(|at| {
        let (row, col) = (at / n % n, at % n);
        let sign = if (at / (n * n)).is_multiple_of(3) {
            1.0
        } else {
            0.7
        };
        let diagonal = sign * (2.0 + n as f64 / 2.0 + row as f64 / 4.0);
        0.5 * noise(at) + if row == col { diagonal } else { 0.0 }
    });
    let right = (0..batch * n * 2).map(|at| noise(at + 77));
    let rounded = |x: f64| {
        if elem == Elem::F32 {
            f64::from(x as f32)
        } else {
            x
        }
    };
    [
        matrices.map(rounded).collect(),
        right.map(rounded).collect(),
    ]
}

fn tensors(elem: Elem, batch: usize, n: usize, [a, b]: &[Vec<f64>; 2]) -> [Tensor; 2] {
    [
        Tensor::from_f64(elem, &[batch, n, n], a.iter().copied()),
        Tensor::from_f64(elem, &[batch, n, 2], b.iter().copied()),
    ]
}

fn compiled(function: &Function) -> Arc<Executable> {
    let plan = plan(function, &Options::default()).unwrap();
    Executable::compile(plan, CodegenOptions::default()).unwrap()
}

fn run(exe: &Arc<Executable>, inputs: &[Tensor], threads: usize) -> Result<Tensor, BadMatrix> {
    let pool = Arc::new(Pool::new(threads));
    let mut instance = Instance::new(Arc::clone(exe), pool, Isa::best());
    for (at, input) in inputs.iter().enumerate() {
        instance.set_input(at, input);
    }
    match instance.run() {
        Ok(()) => Ok(instance.output(0)),
        Err(RunError::Matrix { bad, .. }) => Err(bad),
        Err(error) => panic!("{error}"),
    }
}

fn interpreted(function: &Function, inputs: &[Tensor]) -> Result<Tensor, BadMatrix> {
    match interpret(function, inputs, Precision::AsTyped) {
        Ok(mut results) => Ok(results.remove(0)),
        Err(InterpretError::Matrix { bad, .. }) => Err(bad),
        Err(error) => panic!("{error}"),
    }
}

fn close(got: &Tensor, want: &Tensor, what: &str) {
    let tolerance = if got.elem() == Elem::F32 { 1e-6 } else { 1e-13 };
    let (got, want) = (got.to_f64_vec(), want.to_f64_vec());
    let finite = want.iter().filter(|x| x.is_finite());
    let scale = finite.fold(0.0f64, |most, x| most.max(x.abs()));
    for (at, (g, w)) in got.iter().zip(&want).enumerate() {
        let same = g == w || g.is_nan() && w.is_nan();
        assert!(
            same || (g - w).abs() <= tolerance * scale,
            "{what}: entry {at} is {g}, not {w}"
        );
    }
}

#[test]
fn written_out_or_called() {
    for op in ops() {
        for elem in [Elem::F32, Elem::F64] {
            for n in ROWS {
                let batches = match elem {
                    Elem::F64 => &BATCHES[3..5],
                    _ => &BATCHES[..],
                };
                for &batch in batches {
                    let what = format!("{op:?} {elem} {batch} x {n}");
                    let function = function(op, elem, batch, n);
                    let inputs = tensors(elem, batch, n, &inputs(elem, batch, n));
                    let rhs = if matches!(op, MatrixOp::Solve(_)) {
                        2
                    } else {
                        0
                    };
                    let shape = Shape {
                        batch,
                        rows: n,
                        cols: n,
                        rhs,
                    };
                    let exe = compiled(&function);
                    let steps = &exe.plan().steps;
                    let called = steps.iter().any(|s| matches!(s.kind, StepKind::Matrix(_)));
                    assert_eq!(called, way(op, shape) != Way::Written, "{what}");
                    assert!(called || steps.len() <= 2, "{what}: all is one kernel");
                    let want = interpreted(&function, &inputs).unwrap();
                    let got = run(&exe, &inputs, 1).unwrap();
                    close(&got, &want, &what);
                    for threads in [2, 3] {
                        assert_eq!(run(&exe, &inputs, threads).unwrap(), got, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_example_without_a_result_is_named() {
    for op in ops().filter(|&op| op != MatrixOp::LogDet) {
        for elem in [Elem::F32, Elem::F64] {
            for n in [1, 2, 3, 4, 5, 8] {
                for (batch, bad) in [(4, 3), (17, 16)] {
                    let function = function(op, elem, batch, n);
                    let exe = compiled(&function);
                    for pivot in 0..n {
                        let what = format!("{op:?} {elem} {n}: pivot {pivot}");
                        let mut values = inputs(elem, batch, n);
                        let matrix = &mut values[0][bad * n * n..][..n * n];
                        for i in 0..n {
                            matrix[pivot * n + i] = 0.0;
                            matrix[i * n + pivot] = 0.0;
                        }
                        let inputs = tensors(elem, batch, n, &values);
                        let want = interpreted(&function, &inputs).unwrap_err();
                        assert_eq!((want.system, want.batch), (bad, batch), "{what}");
                        assert_eq!(run(&exe, &inputs, 1).unwrap_err(), want, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_gives_nan_and_no_fault() {
    for op in ops() {
        for n in [1, 2, 3, 4] {
            let function = function(op, Elem::F32, 5, n);
            let exe = compiled(&function);
            for entry in 0..n * n {
                for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let what = format!("{op:?} {n}: {bad} at {entry}");
                    let mut values = inputs(Elem::F32, 5, n);
                    values[0][2 * n * n + entry] = bad;
                    let inputs = tensors(Elem::F32, 5, n, &values);
                    let want = interpreted(&function, &inputs).unwrap();
                    close(&run(&exe, &inputs, 1).unwrap(), &want, &what);
                }
            }
        }
    }
}

/// Kernels around the factor are one with it: what makes the matrix, two solutions with it, and a sum
/// of squares.
#[test]
fn what_is_around_is_in_the_same_kernel() {
    let text = "fn f(%0: f32[64,3,3], %1: f32[64,3,1], %2: f32[64,3,1]) {
  %3: f32[64,3,3] = add %0, %0
  %4: f32[64,3,1] = solve positive %3, %1
  %5: f32[64,3,1] = add %4, %2
  %6: f32[64,3,1] = solve positive %3, %5
  %7: f32[64] = contract %6[a,b,c] %6[a,b,c] -> [a]
  return %7
}";
    let function = aec_ir::parse(text).unwrap().remove(0);
    let plan = plan(&function, &Options::default()).unwrap();
    let kernels = plan.steps.iter();
    let kernels = kernels.filter(|step| matches!(step.kind, StepKind::Kernel { .. }));
    assert_eq!(kernels.count(), 1);
    let roots = aec_kernels::report::print_kernels(&plan)
        .matches("sqrt")
        .count();
    assert_eq!(roots, 3, "one for each pivot: the matrix is factored once");
}
