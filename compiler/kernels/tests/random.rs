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
                loops: true,
                draws: true,
                empty: seed % 5 == 0,
                smooth: false,
                means: false,
                algebra: seed % 3 == 0,
                tables: seed % 4 == 1,
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

/// Results that may overwrite params of their type: whatever order the plan takes, no param is
/// overwritten while it is needed.
#[test]
fn random_programs_may_overwrite_their_inputs() {
    let mut overwritten = 0;
    for seed in 0..400 {
        let options = Options {
            ops: 6 + (seed as usize % 14),
            elem: Elem::F64,
            maps: false,
            loops: true,
            draws: false,
            smooth: false,
            means: false,
            algebra: seed % 3 == 0,
            tables: seed % 4 == 1,
            empty: false,
        };
        let mut made = program(1_000_000 + seed, &options);
        let f = &mut made.function;
        // Params of the float results' types, so that there is something to overwrite.
        let kept = f.results.clone();
        for (result, &value) in kept.iter().enumerate() {
            let ty = f.ty(value).clone();
            let free = (0..f.params.len())
                .find(|&p| f.ty(f.params[p]) == &ty && f.aliases.iter().all(|alias| alias.0 != p));
            if let Some(param) = free {
                f.aliases.push((param, result));
            }
        }
        // Params themselves as results, in another place.
        for param in 0..f.params.len() {
            let shifted = (param + 1) % f.params.len();
            let value = f.params[shifted];
            if f.ty(f.params[param]) == f.ty(value) && f.aliases.iter().all(|a| a.0 != param) {
                f.results.push(value);
                f.aliases.push((param, f.results.len() - 1));
            }
        }
        overwritten += f.aliases.len();
        let run = std::panic::AssertUnwindSafe(|| {
            common::check_loosely(&made.function, &made.inputs);
        });
        if let Err(error) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}:\n{}", aec_ir::print::print(&made.function));
            std::panic::resume_unwind(error);
        }
    }
    assert!(overwritten > 100, "{overwritten}");
}
