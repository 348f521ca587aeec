//! Random TIR programs, planned and compiled: against the plan evaluator bit for bit, against
//! the interpreter within rounding, and with several threads bit for bit.

use aec_codegen::{CodegenOptions, Executable, Instance, RunError, run_once};
use aec_ir::generate::{Options, Program, program};
use aec_ir::{Precision, interpret};
use aec_kernels::eval::run_plan;
use aec_kernels::plan::StepKind;
use aec_kernels::{Options as PlanOptions, plan, report};
use aec_runtime::gemm::Isa;
use aec_runtime::pool::{Pool, flush_denormals};
use aec_runtime::{Elem, Tensor};
use std::sync::Arc;

/// Bits with all NaNs made one.
fn bits(tensor: &Tensor) -> Vec<u64> {
    tensor
        .to_f64_vec()
        .iter()
        .map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() })
        .collect()
}

fn close(got: &Tensor, want: &Tensor) -> Result<(), String> {
    // Values are of order one; a difference of such may be small and is as inexact.
    let (tolerance, least) = match got.elem() {
        Elem::F32 => (2e-4, 1e-5),
        Elem::F64 => (1e-11, 1e-12),
        Elem::I32 | Elem::I64 | Elem::Bool => (0.0, 0.0),
    };
    let (got, want) = (got.to_f64_vec(), want.to_f64_vec());
    let finite = want.iter().filter(|x| x.is_finite());
    let scale = finite.fold(0.0f64, |a, x| a.max(x.abs()));
    for (at, (g, w)) in got.iter().zip(&want).enumerate() {
        let same = g == w || g.is_nan() && w.is_nan();
        let near = (g - w).abs() <= tolerance * (w.abs() + 0.1 * scale) + least;
        if !same && !near {
            return Err(format!("entry {at} is {g}, not {w}"));
        }
    }
    Ok(())
}

fn check(seed: u64, Program { function, inputs }: &Program, fuse: bool) {
    let plan = match plan(function, &PlanOptions { fuse }) {
        Ok(plan) => plan,
        Err(error) => panic!("seed {seed}: {}\n{function}", error.message),
    };
    let shown = format!(
        "seed {seed} fuse {fuse}\n{function}\n{}\n{}",
        report::describe(&plan, None),
        report::print_kernels(&plan)
    );
    let evaluated = {
        let _denormals = flush_denormals();
        run_plan(&plan, inputs)
    };
    // The evaluator's products are summed in another precision.
    let exact = !plan
        .steps
        .iter()
        .any(|step| matches!(step.kind, StepKind::Gemm(_)));
    let compile = |wide| {
        let options = CodegenOptions {
            wide,
            ..CodegenOptions::default()
        };
        Executable::compile(plan.clone(), options)
            .unwrap_or_else(|error| panic!("{error}\n{shown}"))
    };
    let exe = compile(true);
    let refs: Vec<&Tensor> = inputs.iter().collect();
    let got = match (run_once(&exe, &refs), evaluated) {
        (Ok(got), Ok(evaluated)) => {
            for (at, (got, evaluated)) in got.iter().zip(&evaluated).enumerate() {
                if exact {
                    let (g, e) = (bits(got), bits(evaluated));
                    assert_eq!(g, e, "result {at} is not what the plan says; {shown}");
                } else if let Err(error) = close(got, evaluated) {
                    panic!("result {at} is not what the plan says: {error}; {shown}");
                }
            }
            let narrow = run_once(&compile(false), &refs).unwrap();
            for (at, (got, narrow)) in got.iter().zip(&narrow).enumerate() {
                let (g, n) = (bits(got), bits(narrow));
                assert_eq!(g, n, "result {at} depends on the width; {shown}");
            }
            got
        }
        (Err(RunError::Check { .. }), Err(_)) => return,
        (got, evaluated) => panic!("{got:?} is not {evaluated:?}\n{shown}"),
    };
    let want = {
        let _denormals = flush_denormals();
        interpret(function, inputs, Precision::AsTyped).unwrap_or_else(|error| panic!("{error}"))
    };
    for (at, (got, want)) in got.iter().zip(&want).enumerate() {
        if let Err(error) = close(got, want) {
            panic!("result {at}: {error}\n{shown}");
        }
    }
    let pool = Arc::new(Pool::new(2));
    let mut instance = Instance::new(Arc::clone(&exe), pool, Isa::best());
    for run in 0..2 {
        for (at, input) in inputs.iter().enumerate() {
            instance.set_input(at, input);
        }
        instance.run().unwrap();
        for (at, got) in got.iter().enumerate() {
            let again = instance.output(at);
            assert_eq!(bits(got), bits(&again), "run {run}, result {at}; {shown}");
        }
    }
}

#[test]
fn programs_of_f32() {
    let options = Options {
        maps: false,
        loops: true,
        ..Options::default()
    };
    for seed in 0..150 {
        check(seed, &program(seed, &options), true);
    }
}

#[test]
fn programs_of_f32_unfused() {
    let options = Options {
        maps: false,
        loops: true,
        ..Options::default()
    };
    for seed in 1000..1060 {
        check(seed, &program(seed, &options), false);
    }
}

#[test]
fn programs_of_f64() {
    let options = Options {
        maps: false,
        loops: true,
        elem: Elem::F64,
        ..Options::default()
    };
    for seed in 2000..2080 {
        check(seed, &program(seed, &options), true);
    }
}

#[test]
fn long_programs() {
    let options = Options {
        maps: false,
        loops: true,
        ops: 40,
        ..Options::default()
    };
    for seed in 3000..3030 {
        check(seed, &program(seed, &options), true);
    }
}
