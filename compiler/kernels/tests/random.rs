//! Random programs: fused and unfused plans against the interpreter.

mod common;

use aec_ir::generate::{Options, program};
use aec_runtime::Elem;

#[test]
fn random_programs_agree_with_the_interpreter() {
    for elem in [Elem::F64, Elem::F32] {
        for seed in 0..250 {
            let options = Options {
                ops: 4 + (seed as usize % 20),
                elem,
                maps: false,
                draws: true,
                empty: seed % 5 == 0,
                smooth: false,
            };
            let made = program(seed, &options);
            let run = std::panic::AssertUnwindSafe(|| {
                common::check_loosely(&made.function, &made.inputs);
            });
            if let Err(error) = std::panic::catch_unwind(run) {
                eprintln!(
                    "{elem} seed {seed}:\n{}",
                    aec_ir::print::print(&made.function)
                );
                std::panic::resume_unwind(error);
            }
        }
    }
}
