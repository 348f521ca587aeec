//! Batched programs against the same programs evaluated one example at a time.

mod common;

use aec_ir::generate::{Options, program};
use aec_ir::{Op, Precision, interpret};
use aec_runtime::Elem;
use aec_transform::{Run, run_pass};
use common::{close, compile, eval, tir};

#[test]
fn random_programs_mean_the_same_batched() {
    for seed in 0..300 {
        let options = Options {
            ops: 14,
            elem: Elem::F64,
            ..Options::default()
        };
        let program = program(seed, &options);
        let expected = eval(&program.function, &program.inputs);
        let batched = run_pass("batch", &program.function, &mut Run::default())
            .expect("the pass exists")
            .unwrap_or_else(|error| panic!("{error:?}\n{}", program.function));
        for &inst in &batched.order {
            assert!(!matches!(
                batched.insts[inst].op,
                Op::Map { .. } | Op::BatchMean
            ));
        }
        let what = |f: &aec_ir::Function| format!("seed {seed}\n{}\n{f}", program.function);
        for (a, b) in eval(&batched, &program.inputs).iter().zip(&expected) {
            close(a, b, 1e-11, &what(&batched));
        }
        let compiled = compile(&program.function);
        for (a, b) in eval(&compiled, &program.inputs).iter().zip(&expected) {
            close(a, b, 1e-9, &what(&compiled));
        }
    }
}

#[test]
fn flat_programs_mean_the_same_simplified() {
    for seed in 1000..1300 {
        let options = Options {
            ops: 20,
            elem: Elem::F64,
            maps: false,
            loops: true,
            ..Options::default()
        };
        let program = program(seed, &options);
        let expected = eval(&program.function, &program.inputs);
        let compiled = compile(&program.function);
        for (a, b) in eval(&compiled, &program.inputs).iter().zip(&expected) {
            close(
                a,
                b,
                1e-9,
                &format!("seed {seed}\n{}\n{compiled}", program.function),
            );
        }
    }
}

#[test]
fn rounding_stays_small() {
    // In f32, where every op rounds: passes may reorder sums and fold constants, no more.
    for seed in 0..200 {
        let program = program(seed, &Options::default());
        let run = |f: &aec_ir::Function| {
            interpret(f, &program.inputs, Precision::AsTyped)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"))
        };
        let compiled = compile(&program.function);
        for (a, b) in run(&compiled).iter().zip(&run(&program.function)) {
            assert_eq!(a.elem(), b.elem());
            close(
                a,
                b,
                1e-4,
                &format!("seed {seed}\n{}\n{compiled}", program.function),
            );
        }
    }
}

#[test]
fn empty_batches_and_slices() {
    let f = tir("fn f(%0: f64[0,2], %1: f64[7]) {
        %2: f64[0,2] = map 0 batch (%0 mapped) {
          fn body(%0: f64[2]) {
            %1: f64[2] = batch_mean %0
            return %1
          }
        }
        %3: f64[2] = contract %2[a,b] -> [b]
        %4: f64[2] = slice [4:6] %1
        %5: f64[0] = slice [2:2:3] %4
        return %3, %5
    }");
    let none = aec_runtime::Tensor::f64(&[0, 2], vec![]);
    let some = aec_runtime::Tensor::f64(&[7], vec![1.0; 7]);
    let results = eval(&compile(&f), &[none, some]);
    assert_eq!(results[0].to_f64_vec(), [0.0, 0.0]);
    assert!(results[1].is_empty());
}

#[test]
fn draws_are_those_of_each_example() {
    let f = tir("fn f(%0: i64, %1: i64[4]) {
        %2: f64[4,3] = map 4 (%0, %1 mapped) {
          fn body(%0: i64, %1: i64) {
            %2: i64 = constant 3
            %3: f64[3] = draw normal site 0x2a batch 0 radices [] %0, %2, %1
            return %3
          }
        }
        return %2
    }");
    let inputs = [
        aec_runtime::Tensor::i64(&[], vec![5]),
        aec_runtime::Tensor::i64(&[4], vec![7, 3, 9, 7]),
    ];
    let expected = eval(&f, &inputs);
    let got = eval(&compile(&f), &inputs);
    assert_eq!(expected, got);
    let rows = got[0].to_f64_vec();
    assert_eq!(rows[..3], rows[9..], "equal coordinates, equal draws");
    assert_ne!(rows[..3], rows[3..6]);
}

#[test]
fn a_batch_mean_without_a_batch_is_an_error() {
    let f = tir("fn f(%0: f64[3]) {
        %1: f64[3] = map 3 (%0 mapped) {
          fn body(%0: f64) {
            %1: f64 = batch_mean %0
            return %1
          }
        }
        return %1
    }");
    let error =
        aec_transform::compile_time_passes(f, &mut Run::default(), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code, "E0502");
}

#[test]
fn a_derivative_of_one_example_does_not_reach_the_batch() {
    let text = |stop: &str| {
        format!(
            "fn f(%0: f64[3]) {{
        %1: f64[3], %2: f64[3] = map 3 batch (%0 mapped) {{
          fn body(%0: f64) {{
            %1: f64 = constant 1.0
            %2: f64, %3: f64 = derivative vjp (%0 active; %1) {{
              fn g(%0: f64) {{
                %1: f64 = batch_mean %0
                {stop}
                %3: f64 = contract %0[] %2[] -> []
                return %3
              }}
            }}
            return %2, %3
          }}
        }}
        return %1, %2
    }}"
        )
    };
    let f = tir(&text("%2: f64 = neg %1"));
    let error =
        aec_transform::compile_time_passes(f, &mut Run::default(), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code, "E0501");
    assert!(error.help[0].text.contains("stop(batch_mean(h))"));
    let f = compile(&tir(&text("%2: f64 = stop %1")));
    let results = eval(&f, &[aec_runtime::Tensor::f64(&[3], vec![1.0, 2.0, 6.0])]);
    assert_eq!(results[1].to_f64_vec(), [3.0, 3.0, 3.0]);
}
