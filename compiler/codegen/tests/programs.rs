//! Random TIR programs, planned and compiled: against the plan evaluator bit for bit, against
//! the interpreter within rounding, and with several threads bit for bit.

use aec_codegen::{CodegenOptions, Executable, Instance, RunError, run_once};
use aec_ir::generate::{Options, Program, program};
use aec_ir::{Function, Precision, interpret};
use aec_kernels::eval::run_plan;
use aec_kernels::plan::{Step, StepKind};
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

/// Whether there are matrix products among the steps, those of loops included.
fn has_products(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.kind {
        StepKind::Gemm(_) => true,
        StepKind::Loop(looped) => has_products(&looped.steps),
        _ => false,
    })
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
    let exact = !has_products(&plan.steps);
    let compile = |isa| {
        let options = CodegenOptions {
            isa,
            ..CodegenOptions::default()
        };
        Executable::compile(plan.clone(), options)
            .unwrap_or_else(|error| panic!("{error}\n{shown}"))
    };
    let exe = compile(Isa::best());
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
            for isa in Isa::ALL.into_iter().filter(|isa| *isa < Isa::best()) {
                let narrow = run_once(&compile(isa), &refs).unwrap();
                for (at, (got, narrow)) in got.iter().zip(&narrow).enumerate() {
                    let (g, n) = (bits(got), bits(narrow));
                    assert_eq!(g, n, "result {at} depends on the width; {shown}");
                }
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
        tables: true,
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
        algebra: true,
        tables: true,
        elem: Elem::F64,
        ..Options::default()
    };
    for seed in 2000..2080 {
        check(seed, &program(seed, &options), true);
    }
}

/// Every op of linear algebra, on a batch, between kernels that make and use its operands.
#[test]
fn linear_algebra() {
    for (elem, size, batch) in [
        ("f32", 3, 4),
        ("f64", 3, 17),
        ("f32", 1, 4),
        ("f64", 0, 4),
        ("f32", 17, 4),
        ("f64", 8, 5),
        ("f32", 4, 3),
        ("f32", 2, 65),
    ] {
        let (n, above, below) = (size, size + 1, 2 * size + 1);
        let double = 2 * size;
        let text = format!(
            "fn f(%0: {elem}[{batch},{n},{n}], %1: {elem}[{batch},{n},2]) {{
  %2: {elem}[{batch},{n},{n}] = tanh %0
  %3: {elem}[{batch},{n},{n}] = contract %2[a,b,d] %2[a,c,d] -> [a,b,c]
  %4: {elem}[{batch},{n},{n}] = constant 2.0
  %5: {elem}[{batch},{n},{n}] = contract %4[a,b,b] delta[b,c] -> [a,b,c]
  %6: {elem}[{batch},{n},{n}] = add %3, %5
  %7: {elem}[{batch},{n},2] = solve positive %6, %1
  %8: {elem}[{batch},{n},2] = solve general %6, %7
  %9: {elem}[{batch},{n},2] = solve general_transposed %6, %8
  %10: {elem}[{batch},{n},2] = sin %9
  %11: {elem}[{batch},{n},{n}] = cholesky %6
  %12: {elem}[{batch},{n},2] = solve lower %11, %10
  %13: {elem}[{batch},{n},2] = solve upper_transposed %6, %12
  %14: {elem}[{batch},{double},{n}] = qr %6
  %15: {elem}[{batch},{below},{n}] = svd %6
  %16: {elem}[{batch},1,{n}] = slice [0:{batch}:1,{double}:{below}:1,0:{n}:1] %15
  %17: {elem}[{batch},{above},{n}] = eigh %6
  %18: {elem}[{batch},1,{n}] = slice [0:{batch}:1,{n}:{above}:1,0:{n}:1] %17
  %19: {elem}[{batch},2] = logdet %6
  %20: {elem}[{batch},2] = exp %19
  return %13, %14, %16, %18, %20
}}"
        );
        check_text(size as u64, &text);
    }
}

/// Lanes across the rows of what they read or write, in blocks, the last of which is short.
#[test]
fn transpositions() {
    for (at, (elem, rows, cols)) in [
        ("f32", 150, 137),
        ("f64", 129, 200),
        ("f32", 7, 9377),
        ("i64", 9400, 7),
        ("bool", 256, 160),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!(
            "fn f(%0: {elem}[2,{rows},{cols}], %1: {elem}[2,{cols},{rows}]) {{
  %2: {elem}[2,{cols},{rows}] = contract %0[a,b,c] -> [a,c,b]
  %3: bool[2,{cols},{rows}] = lt %2, %1
  %4: {elem}[{cols},2,{rows}] = contract %1[a,b,c] -> [b,a,c]
  return %2, %3, %4
}}"
        );
        let plan = plan(&parsed(&text), &PlanOptions { fuse: true }).unwrap();
        let loops = report::print_kernels(&plan);
        assert!(loops.contains("..min("), "no blocks\n{loops}");
        check_text(at as u64, &text);
    }
}

/// Extremes and flags down many rows, for more and fewer columns than go side by side.
#[test]
fn down_the_rows() {
    for cols in [1, 15, 63, 64, 65, 130, 201, 263] {
        let text = format!(
            "fn f(%0: f32[40,{cols}], %1: i32[40,{cols}], %8: f32[40,{cols}]) {{
  %3: f32[{cols}] = reduce max [0] %0
  %4: i32[{cols}] = reduce min [0] %1
  %9: f32[40,{cols}] = constant -0.499
  %2: bool[40,{cols}] = lt %8, %9
  %5: bool[{cols}] = reduce any [0] %2
  %6: f32[40,{cols}] = abs %0
  %7: f32[{cols}] = reduce min [0] %6
  %10: f32[{cols}] = contract %0[a,b]^2 -> [b]
  %11: f32[{cols}] = sqrt %10
  %12: f32 = contract %11[a] -> []
  return %3, %4, %5, %7, %12
}}"
        );
        check_text(cols, &text);
    }
}

fn parsed(text: &str) -> Function {
    aec_ir::parse(text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .remove(0)
}

/// Checks a program that is given as text, fused and unfused.
fn check_text(seed: u64, text: &str) {
    let function = parsed(text);
    let inputs = function
        .params
        .iter()
        .map(|&param| {
            let ty = function.ty(param);
            let values = (0..ty.len()).map(|at| (at as f64 * 0.7).sin() * 0.5);
            Tensor::from_f64(ty.elem, &ty.dims, values)
        })
        .collect();
    for fuse in [true, false] {
        let program = Program {
            function: function.clone(),
            inputs: Vec::clone(&inputs),
        };
        check(seed, &program, fuse);
    }
}

/// A singular matrix stops the run before an aliased input is written.
#[test]
fn a_bad_matrix_leaves_the_weights() {
    let text = "fn f(%0: f32[2], %1: f32[3,2,2], %2: f32[3,2,1]) {
  %3: f32[3,2,1] = solve general %1, %2
  %4: f32[2] = constant 1.0
  %5: f32[2] = add %0, %4
  %6: f32 = contract %3[a,b,c] -> []
  return %5, %6
}";
    let mut function = aec_ir::parse(text).unwrap().remove(0);
    function.aliases.push((0, 0));
    let plan = plan(&function, &PlanOptions { fuse: true }).unwrap();
    let exe = Executable::compile(plan, CodegenOptions::default()).unwrap();
    let mut instance = Instance::new(exe, Arc::new(Pool::new(1)), Isa::best());
    let good = [2.0f32, 0.0, 0.0, 1.0];
    let bad = [1.0f32, 2.0, 2.0, 4.0];
    instance.set_input(0, &Tensor::f32(&[2], vec![5.0, 6.0]));
    instance.set_input(2, &Tensor::f32(&[3, 2, 1], vec![1.0; 6]));
    instance.set_input(1, &Tensor::f32(&[3, 2, 2], [good, good, bad].concat()));
    let Err(RunError::Matrix { bad: error, .. }) = instance.run() else {
        panic!("the third matrix is singular");
    };
    assert_eq!((error.system, error.batch), (2, 3));
    assert_eq!(instance.input(0).to_f64_vec(), [5.0, 6.0]);
    instance.set_input(1, &Tensor::f32(&[3, 2, 2], [good, good, good].concat()));
    instance.run().unwrap();
    assert_eq!(instance.input(0).to_f64_vec(), [6.0, 7.0]);
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

/// A net that goes on from its own state: its weights are constants of the loop, `W` as a script
/// has it and `V` turned. Their products read them from panels made before the first round.
#[test]
fn weights_of_a_loop_come_in_panels() {
    for (rows, rounds) in [(1, 4), (8, 5), (30, 4), (8, 3)] {
        let text = format!(
            "fn f(%0 \"W\": f32[70,70], %1 \"V\": f32[70,40], %2 \"h\": f32[{rows},70]) {{
  %3: f32[{rows},70], %4: f32[{rounds},{rows},40] = loop {rounds} (%2; ; %0, %1) {{
    fn round(%0 \"t\": i64, %1 \"h\": f32[{rows},70], %2 \"W\": f32[70,70], %3 \"V\": f32[70,40]) {{
      %4: f32[{rows},70] = contract %2[a,b] %1[m,b] -> [m,a]
      %5: f32[{rows},70] = tanh %4
      %6: f32[{rows},40] = contract %5[m,b] %3[b,c] -> [m,c]
      return %5, %6
    }}
  }}
  return %3, %4
}}"
        );
        let function = aec_ir::parse(&text).unwrap().remove(0);
        let numbers = |dims: &[usize], scale: f64| {
            let count: usize = dims.iter().product();
            let value = |i: usize| scale * ((i * 7919 % 1009) as f64 / 504.5 - 1.0);
            Tensor::from_f64(Elem::F32, dims, (0..count).map(value))
        };
        let inputs = [
            numbers(&[70, 70], 0.2),
            numbers(&[70, 40], 0.3),
            numbers(&[rows, 70], 1.0),
        ];
        let want = interpret(&function, &inputs, Precision::AsTyped).unwrap();
        let plan = plan(&function, &PlanOptions::default()).unwrap();
        let panels = plan
            .steps
            .iter()
            .filter(|step| matches!(step.kind, StepKind::Pack(_)));
        assert_eq!(
            panels.count(),
            if rounds < 4 { 0 } else { 2 },
            "{rows} rows"
        );
        for (got, want) in run_plan(&plan, &inputs).unwrap().iter().zip(&want) {
            close(got, want).unwrap();
        }
        let exe = Executable::compile(plan, CodegenOptions::default()).unwrap();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let mut first = None;
            for threads in [1, 2, 3] {
                let pool = Arc::new(Pool::new(threads));
                let mut instance = Instance::new(Arc::clone(&exe), pool, isa);
                for (at, input) in inputs.iter().enumerate() {
                    instance.set_input(at, input);
                }
                instance.run().unwrap();
                instance.run().unwrap();
                let got = [instance.output(0), instance.output(1)];
                for (got, want) in got.iter().zip(&want) {
                    close(got, want).unwrap_or_else(|error| panic!("{isa:?}: {error}"));
                }
                let bits = got.map(|got| bits(&got));
                assert_eq!(
                    first.get_or_insert(bits.clone()),
                    &bits,
                    "{isa:?} {threads}"
                );
            }
        }
    }
}

/// Panels of an input outlive a run, and are made anew when the input is another; those of an input
/// that the plan writes are made in each.
#[test]
fn panels_of_weights_are_kept_between_runs() {
    let text = "fn f(%0 \"W\": f32[40,40], %1 \"V\": f32[40,40], %2 \"h\": f32[3,40]) {
  %3: f32[3,40] = loop 5 (%2; ; %0, %1) {
    fn round(%0 \"t\": i64, %1 \"h\": f32[3,40], %2 \"W\": f32[40,40], %3 \"V\": f32[40,40]) {
      %4: f32[3,40] = contract %2[a,b] %1[m,b] -> [m,a]
      %5: f32[3,40] = tanh %4
      %6: f32[3,40] = contract %3[a,b] %5[m,b] -> [m,a]
      return %6
    }
  }
  %4: f32[40,40] = tanh %1
  return %3, %4
}";
    let mut function = aec_ir::parse(text).unwrap().remove(0);
    function.aliases.push((1, 1));
    let weights = |scale: f64| {
        let value = |i: usize| scale * ((i * 7919 % 1009) as f64 / 504.5 - 1.0);
        Tensor::from_f64(Elem::F32, &[40, 40], (0..1600).map(value))
    };
    let state = |scale: f64| {
        let value = |i: usize| scale * (i as f64 * 0.7).sin();
        Tensor::from_f64(Elem::F32, &[3, 40], (0..120).map(value))
    };
    let plan = plan(&function, &PlanOptions::default()).unwrap();
    let kept: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::Pack(pack) => Some(pack.kept),
            _ => None,
        })
        .collect();
    assert_eq!(kept, [Some(0), None]);
    let exe = Executable::compile(plan, CodegenOptions::default()).unwrap();
    let mut instance = Instance::new(exe, Arc::new(Pool::new(1)), Isa::best());
    let (first, bound) = (weights(0.3), Arc::new(weights(0.1)));
    let mut inputs = [first, weights(0.2), state(1.0)];
    for (at, input) in inputs.iter().enumerate() {
        instance.set_input(at, input);
    }
    for round in 0..8 {
        match round {
            0..2 => {}
            2 => {
                inputs[0] = weights(0.4);
                instance.set_input(0, &inputs[0]);
            }
            3 | 4 => {
                inputs[0] = Tensor::clone(&bound);
                instance.bind_input(0, bound.clone());
            }
            5 => {
                inputs[2] = state(0.5);
                instance.bind_input(2, Arc::new(inputs[2].clone()));
            }
            6 => instance.unbind_all_but_panels(),
            _ => {
                inputs[0] = Tensor::zeros(Elem::F32, &[40, 40]);
                instance.input_bytes_mut(0).fill(0);
            }
        }
        if round == 6 {
            instance.set_input(2, &inputs[2]);
        }
        let want = interpret(&function, &inputs, Precision::AsTyped).unwrap();
        instance.run().unwrap();
        for (at, want) in want.iter().enumerate() {
            close(&instance.output(at), want).unwrap_or_else(|e| panic!("run {round}: {e}"));
        }
        inputs[1] = instance.input(1);
    }
}

/// Rows of a table by places that are drawn, in groups of five, and by places that are given: the
/// drawn ones are found by a kernel of their own, and rows are asked for ahead of their use, up to
/// the last one.
#[test]
fn rows_are_read_at_places_known_early() {
    let text = "fn f(%0: f32[50,40], %1: i64[23], %2: i64, %3: i64, %4: i64[23], %5: f32[23,40]) {
  %6: f32[23,5] = draw uniform site 0x9 batch 1 radices [] %2, %3, %4
  %7: f32[23,5] = contract 50.0 %6[a,b] -> [a,b]
  %8: i64[23,5] = convert %7
  %9: f32[23,5,40] = gather batch 0 %0, %8
  %10: f32[23,5] = contract %9[a,b,c] %5[a,c] -> [a,b]
  %11: f32[23,40] = gather batch 0 %0, %1
  %12: f32[23] = contract %11[a,c] %5[a,c] -> [a]
  %13: f32[50,40] = scatter_add batch 0 %1, %11, %0
  return %10, %12, %13
}";
    let function = aec_ir::parse(text).unwrap().remove(0);
    let numbers = |dims: &[usize]| {
        let count: usize = dims.iter().product();
        Tensor::from_f64(
            Elem::F32,
            dims,
            (0..count).map(|i| (i * 37 % 101) as f64 - 50.0),
        )
    };
    let inputs = vec![
        numbers(&[50, 40]),
        Tensor::i64(&[23], (0..23).map(|i| 49 - i * i % 50).collect()),
        Tensor::from_f64(Elem::I64, &[], [3.0]),
        Tensor::from_f64(Elem::I64, &[], [4.0]),
        Tensor::i64(&[23], (0..23).collect()),
        numbers(&[23, 40]),
    ];
    let program = Program { function, inputs };
    check(0, &program, true);
    check(0, &program, false);
    let plan = plan(&program.function, &PlanOptions::default()).unwrap();
    let alone = |name: &str| plan.kernels.values().any(|kernel| kernel.name == name);
    assert!(alone("convert"), "{}", report::describe(&plan, None));
}

/// Softmax and a sum of squares over the columns of a product run on whole rows of it; of one with
/// few rows they are kernels of their own.
#[test]
fn sums_over_rows_ride_on_their_product() {
    for (rows, cols) in [(40, 33), (77, 300), (20, 33)] {
        let text = format!(
            "fn f(%0: f32[{rows},30], %1: f32[{cols},30], %2: f32[{rows},{cols}]) {{
  %3: f32[{rows},{cols}] = contract %0[a,k] %1[b,k] -> [a,b]
  %4: f32[{rows}] = reduce max [1] %3
  %5: f32[{rows},{cols}] = contract %4[a] -> [a,b]
  %6: f32[{rows},{cols}] = sub %3, %5
  %7: f32[{rows},{cols}] = exp %6
  %8: f32[{rows}] = contract %7[a,b] -> [a]
  %9: f32[{rows},{cols}] = contract %8[a] -> [a,b]
  %10: f32[{rows},{cols}] = div %7, %9
  %11: f32[{rows},{cols}] = sub %3, %2
  %12: f32[{rows}] = contract %11[a,b]^2 -> [a]
  return %10, %12
}}"
        );
        let function = aec_ir::parse(&text).unwrap().remove(0);
        let numbers = |dims: &[usize]| {
            let count: usize = dims.iter().product();
            let value = |i: usize| (i * 7919 % 1009) as f64 / 504.5 - 1.0;
            Tensor::from_f64(Elem::F32, dims, (0..count).map(value))
        };
        let inputs = vec![
            numbers(&[rows, 30]),
            numbers(&[cols, 30]),
            numbers(&[rows, cols]),
        ];
        let program = Program { function, inputs };
        check(0, &program, true);
        let plan = plan(&program.function, &PlanOptions::default()).unwrap();
        let whole = |step: &aec_kernels::plan::Step| match &step.kind {
            StepKind::Gemm(gemm) => gemm.whole_rows,
            _ => false,
        };
        let shown = report::describe(&plan, None);
        assert_eq!(plan.steps.iter().any(whole), rows >= 32, "{shown}");
        assert_eq!(plan.steps.len() == 1, rows >= 32, "{shown}");
    }
}

/// A weight that is used twice: outside of a loop and in one, with a number before one product, the
/// sum of what flows back beside each, and an update on the tiles.
#[test]
fn two_products_are_added_on_the_tiles() {
    for elem in ["f32", "f64"] {
        let text = format!(
            "fn f(%0: {elem}[2048,40], %1: {elem}[2048,70], %2: {elem}[300,40], %3: {elem}[300,70], %4: {elem}[40,70], %5: {elem}[3,50,40], %6: {elem}[3,50,70], %7: {elem}[3,50,40], %8: {elem}[3,50,70]) {{
  %9: {elem}[40,70] = contract %0[c,a] %1[c,b] -> [a,b]
  %10: {elem}[40,70] = contract 0.25 %2[c,a] %3[c,b] -> [a,b]
  %11: {elem}[40] = contract %0[c,a] -> [a]
  %12: {elem}[40,70] = add %10, %4
  %13: {elem}[40,70] = add %12, %9
  %14: {elem}[40,70] = sqrt %13
  %15: {elem}[40,70] = loop 3 (%4; %5, %6, %7, %8; ) {{
    fn round(%0 \"t\": i64, %1 \"w\": {elem}[40,70], %2 \"g\": {elem}[50,40], %3 \"x\": {elem}[50,70], %4 \"h\": {elem}[50,40], %5 \"y\": {elem}[50,70]) {{
      %6: {elem}[40,70] = contract %2[c,a] %3[c,b] -> [a,b]
      %7: {elem}[40,70] = contract %4[c,a] %5[c,b] -> [a,b]
      %8: {elem}[40,70] = sub %6, %7
      %9: {elem}[40,70] = contract 0.125 %8[a,b] -> [a,b]
      %10: {elem}[40,70] = add %1, %9
      return %10
    }}
  }}
  return %13, %14, %11, %15
}}"
        );
        let function = aec_ir::parse(&text).unwrap().remove(0);
        let inputs = function.params.iter().zip(1..).map(|(&param, seed)| {
            let ty = function.ty(param);
            let value = |i: usize| (i * 7919 % 1009 + seed) as f64 / 2e4;
            Tensor::from_f64(ty.elem, &ty.dims, (0..ty.len()).map(value))
        });
        let program = Program {
            inputs: inputs.collect(),
            function,
        };
        check(0, &program, true);
        let plan = plan(&program.function, &PlanOptions::default()).unwrap();
        let shown = report::describe(&plan, None);
        let joined = shown.matches(", plus ").count();
        assert_eq!(
            (joined, shown.matches("sums of A's rows").count()),
            (2, 1),
            "{shown}"
        );
    }
}
