//! Plans against the interpreter.
#![allow(dead_code)]

use aec_ir::{Function, Precision, Type, interpret};
use aec_kernels::eval::run_plan;
use aec_kernels::plan::{Plan, StepKind};
use aec_kernels::{Options, plan, report};
use aec_runtime::{Elem, Tensor};

/// A tensor of reproducible numbers around 0 (ints: small and not negative).
pub fn sample(ty: &Type, salt: u64) -> Tensor {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let values = (0..ty.len()).map(|_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let x = (state >> 40) as f64 / (1u64 << 24) as f64;
        match ty.elem {
            Elem::F32 | Elem::F64 => 3.0 * x - 1.5,
            Elem::I32 | Elem::I64 => (x * 3.0).floor(),
            Elem::Bool => f64::from(u8::from(x > 0.5)),
        }
    });
    Tensor::from_f64(ty.elem, &ty.dims, values)
}

/// Reads one function from text.
pub fn parse(text: &str) -> Function {
    let mut functions = aec_ir::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    functions.remove(0)
}

/// Plans, and shows the plan when that or a later check fails.
pub fn planned(f: &Function, fuse: bool) -> Plan {
    aec_ir::verify(f).unwrap_or_else(|error| panic!("{error}"));
    plan(f, &Options { fuse }).unwrap_or_else(|error| panic!("{}\n{f:?}", error.message))
}

/// Whether two tensors agree relative to the largest entry.
pub fn assert_close(got: &Tensor, expected: &Tensor, what: &str) {
    assert_close_by(got, expected, what, 1.0);
}

/// [`assert_close`] with the tolerance times `slack`.
pub fn assert_close_by(got: &Tensor, expected: &Tensor, what: &str, slack: f64) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    assert_eq!(got.elem(), expected.elem(), "{what}");
    let tolerance = slack
        * match got.elem() {
            Elem::F32 => 2e-5,
            Elem::F64 => 1e-12,
            Elem::I32 | Elem::I64 | Elem::Bool => 0.0,
        };
    let (got, expected) = (got.to_f64_vec(), expected.to_f64_vec());
    let scale = expected
        .iter()
        .filter(|x| x.is_finite())
        .fold(0.0f64, |a, x| a.max(x.abs()));
    for (at, (g, e)) in got.iter().zip(&expected).enumerate() {
        let same = g == e || (g.is_nan() && e.is_nan());
        // Differences of order-one numbers may cancel to nothing.
        let floor = if slack > 1.0 { 0.01 } else { 0.0 };
        let close = (g - e).abs() <= tolerance * (e.abs() + 0.1 * scale + floor);
        assert!(same || close, "{what}: entry {at} is {g}, not {e}");
    }
}

/// Runs the function fused and unfused, and compares with the interpreter.
pub fn check_with(f: &Function, inputs: &[Tensor]) -> Plan {
    check_by(f, inputs, 1.0)
}

/// [`check_with`] for programs that amplify rounding errors.
pub fn check_loosely(f: &Function, inputs: &[Tensor]) -> Plan {
    check_by(f, inputs, 50.0)
}

fn check_by(f: &Function, inputs: &[Tensor], slack: f64) -> Plan {
    let expected = interpret(f, inputs, Precision::AsTyped).unwrap_or_else(|e| panic!("{e}"));
    for fuse in [false, true] {
        let plan = planned(f, fuse);
        let show = || {
            format!(
                "{}\n{}",
                report::describe(&plan, None),
                report::print_kernels(&plan)
            )
        };
        let got = run_plan(&plan, inputs).unwrap_or_else(|e| panic!("{e:?}\n{}", show()));
        assert_eq!(got.len(), expected.len());
        for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let name = format!("{} fuse {fuse} result {at}", f.name);
            let result = std::panic::catch_unwind(|| assert_close_by(got, expected, &name, slack));
            if result.is_err() {
                panic!("{name} differs:\n{}", show());
            }
        }
    }
    planned(f, true)
}

/// [`check_with`] on sample inputs.
pub fn check(f: &Function) -> Plan {
    let inputs: Vec<Tensor> = f
        .params
        .iter()
        .enumerate()
        .map(|(at, &p)| sample(f.ty(p), at as u64 + 1))
        .collect();
    check_with(f, &inputs)
}

/// `(kernels, products, copies)` among the steps.
pub fn counts(plan: &Plan) -> (usize, usize, usize) {
    let count =
        |wanted: fn(&StepKind) -> bool| plan.steps.iter().filter(|step| wanted(&step.kind)).count();
    (
        count(|kind| matches!(kind, StepKind::Kernel { .. })),
        count(|kind| matches!(kind, StepKind::Gemm(_))),
        count(|kind| matches!(kind, StepKind::Copy { .. })),
    )
}
