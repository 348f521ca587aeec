//! Properties over random programs: they verify, come back from their text, and evaluate to
//! the same whatever rewriting does to them.

use aec_ir::generate::{Options, Program, program};
use aec_ir::rewrite::{for_each_function, inline, sort_order};
use aec_ir::{
    Category, Elem, Function, Precision, eliminate_dead, hash_structure, interpret, parse, verify,
};
use aec_runtime::Tensor;
use std::collections::{HashMap, HashSet};

const PROGRAMS: u64 = 400;

fn each(options: &Options, mut check: impl FnMut(u64, &Program)) {
    for seed in 0..PROGRAMS {
        check(seed, &program(seed, options));
    }
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u64>> {
    tensors
        .iter()
        .map(|tensor| tensor.to_f64_vec().iter().map(|x| x.to_bits()).collect())
        .collect()
}

fn run(f: &Function, inputs: &[Tensor], precision: Precision) -> Vec<Tensor> {
    match interpret(f, inputs, precision) {
        Ok(results) => results,
        Err(error) => panic!("{error}\n{f}"),
    }
}

#[test]
fn programs_verify_and_return_from_their_text() {
    each(&Options::default(), |seed, program| {
        let f = &program.function;
        if let Err(error) = verify(f) {
            panic!("seed {seed}: {error}\n{f}");
        }
        let text = f.to_string();
        let back = match parse(&text) {
            Ok(back) => back,
            Err(error) => panic!("seed {seed}: {error}\n{text}"),
        };
        assert_eq!(back.len(), 1);
        assert_eq!(back[0], f.compact().without_spans(), "seed {seed}");
        assert_eq!(back[0].to_string(), text, "seed {seed}");
    });
}

#[test]
fn the_same_seed_is_the_same_program() {
    let a = program(7, &Options::default());
    let b = program(7, &Options::default());
    assert_eq!(a.function, b.function);
    assert_eq!(a.inputs, b.inputs);
}

#[test]
fn precisions_agree_and_values_stay_tame() {
    each(&Options::default(), |seed, program| {
        let f = &program.function;
        let narrow = run(f, &program.inputs, Precision::AsTyped);
        let wide = run(f, &program.inputs, Precision::F64);
        for (index, (a, b)) in narrow.iter().zip(&wide).enumerate() {
            assert_eq!(a.dims(), b.dims());
            assert_eq!(a.elem(), f.ty(f.results[index]).elem);
            for (x, y) in a.to_f64_vec().iter().zip(b.to_f64_vec()) {
                let float = a.elem().is_float();
                assert!(!float || x.abs() < 1e6, "seed {seed}: {x}\n{f}");
                let near = (x - y).abs() <= 2e-4 * (1.0 + y.abs());
                assert!(
                    if float { near } else { *x == y },
                    "seed {seed}, result {index}: {x} and {y}\n{f}"
                );
            }
        }
    });
}

#[test]
fn all_families_occur() {
    let mut seen: HashSet<Category> = HashSet::new();
    let mut names: HashMap<&'static str, usize> = HashMap::new();
    each(&Options::default(), |_, program| {
        for_each_function(&program.function, &mut |f| {
            for &inst in &f.order {
                seen.insert(f.insts[inst].op.category());
                *names.entry(f.insts[inst].op.name()).or_default() += 1;
            }
        });
    });
    assert_eq!(seen.len(), 8, "{seen:?}");
    for name in [
        "map",
        "batch_mean",
        "draw",
        "gather",
        "scatter_add",
        "argsort",
        "arg_reduce",
        "cumsum",
        "pad",
        "slice",
        "concat",
        "reverse",
        "reshape",
        "stop",
        "select",
        "convert",
        "iota",
        "dense",
        "reduce",
        "erf",
        "pow",
        "mod",
        "floor_div",
    ] {
        let count = names.get(name).copied().unwrap_or(0);
        assert!(count >= 5, "{name} occurs {count} times only");
    }
}

#[test]
fn options_are_kept() {
    let options = Options {
        maps: false,
        loops: true,
        draws: false,
        smooth: true,
        empty: false,
        elem: Elem::F64,
        ..Options::default()
    };
    let rough = [
        "map", "draw", "stop", "floor", "sign", "abs", "min", "max", "mod",
    ];
    each(&options, |seed, program| {
        let f = &program.function;
        for &inst in &f.order {
            let data = &f.insts[inst];
            let float = data
                .operands
                .iter()
                .any(|&operand| f.ty(operand).elem.is_float());
            assert!(
                !(float && rough.contains(&data.op.name())),
                "seed {seed}\n{f}"
            );
            for &result in &data.results {
                assert!(!f.ty(result).is_empty(), "seed {seed}\n{f}");
                assert_ne!(f.ty(result).elem, Elem::F32);
            }
        }
    });
}

#[test]
fn rewriting_changes_no_bit() {
    each(&Options::default(), |seed, program| {
        let f = &program.function;
        let want = bits(&run(f, &program.inputs, Precision::AsTyped));
        let hash = hash_structure(f);
        assert_eq!(hash_structure(&f.compact()), hash, "seed {seed}");
        // Behind other values, shuffled and with dead code.
        let mut into = Function::new("outer");
        let mut args = Vec::new();
        for &param in f.params.iter().rev() {
            args.push(into.param(f.ty(param).clone(), "x"));
        }
        args.reverse();
        let first = inline(&mut into, f, &args);
        into.results = inline(&mut into, f, &args);
        assert_eq!(into.order.len(), 2 * f.order.len());
        into.order.reverse();
        sort_order(&mut into);
        if let Err(error) = verify(&into) {
            panic!("seed {seed}: {error}");
        }
        let mut inputs = program.inputs.clone();
        inputs.reverse();
        assert_eq!(bits(&run(&into, &inputs, Precision::AsTyped)), want);
        let from_copy = |value| first.contains(&value) && !into.params.contains(&value);
        assert!(!into.results.iter().any(|&value| from_copy(value)));
        let gone = eliminate_dead(&mut into);
        assert!(gone >= f.order.len(), "seed {seed}: {gone}");
        assert_eq!(bits(&run(&into, &inputs, Precision::AsTyped)), want);
        assert!(f.order.is_empty() || !into.is_compact(), "seed {seed}");
        let compact = into.compact();
        assert!(compact.is_compact(), "seed {seed}");
        assert_eq!(compact.compact(), compact, "seed {seed}");
        assert_eq!(hash_structure(&compact), hash_structure(&into));
        assert_eq!(bits(&run(&compact, &inputs, Precision::AsTyped)), want);
    });
}

#[test]
fn different_programs_have_different_hashes() {
    let mut hashes: HashMap<u128, String> = HashMap::new();
    each(&Options::default(), |_, program| {
        // Names do not count.
        let mut f = program.function.compact();
        f.name = String::new();
        f.param_names.iter_mut().for_each(String::clear);
        let text = f.to_string();
        if let Some(other) = hashes.insert(hash_structure(&program.function), text.clone()) {
            assert_eq!(other, text);
        }
    });
    assert!(hashes.len() > 300);
}
