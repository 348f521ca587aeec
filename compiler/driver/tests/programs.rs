//! Random programs, written for one example and compiled for a batch of them: every pass, the
//! plan and the machine code, against the interpreter on each example alone. Counters see to it
//! that every rule on products, every kind of region and every pair of op categories takes part.
//!
//! A run takes a slice of the programs. All of them:
//! `AEC_PROGRAMS=10000 cargo test --release -p aec-driver --test programs`
//! Of fewer than a plain run takes, nothing is asked but that they are right.

use aec_codegen::{CodegenOptions, Executable, run_once};
use aec_ir::generate::{Options, input, program};
use aec_ir::rewrite::for_each_function;
use aec_ir::{
    Category, Contract, Factor, Function, Label, Labels, Op, Precision, Type, interpret, verify,
};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use aec_transform::rule::Rule;
use aec_transform::{Run, compile_time_passes};
use std::collections::BTreeMap;

/// Examples in a batch.
const SIZES: [usize; 5] = [0, 1, 3, 17, 65];
/// Most ops of a program.
const MAX_OPS: u64 = 40;
/// Programs of a plain run.
const SLICE: u64 = 600;

const CATEGORIES: [Category; 9] = [
    Category::Leaf,
    Category::Elementwise,
    Category::Contraction,
    Category::Matrix,
    Category::Reduction,
    Category::Movement,
    Category::GatherScatter,
    Category::Random,
    Category::Control,
];

/// What took part in some programs.
#[derive(Default)]
struct Counts {
    rules: [u64; Rule::ALL.len()],
    pairs: BTreeMap<(Category, Category), u64>,
    regions: BTreeMap<&'static str, u64>,
}

/// What regions there are to be, after all passes.
const REGIONS: [&str; 6] = [
    "a loop in rounds",
    "a loop in rounds that are computed again",
    "a row put in the state of a loop",
    "a row added to the state of a loop",
    "a block that stays closed",
    "linear algebra in a loop",
];

fn count_regions(flat: &Function, counts: &mut Counts) {
    for_each_function(flat, &mut |f| {
        for &inst in &f.order {
            let Op::Loop(looped) = &f.insts[inst].op else {
                continue;
            };
            let body = &looped.body;
            let holds = |wanted: fn(&Op) -> bool| {
                let mut ops = body.order.iter().map(|&inst| &body.insts[inst].op);
                ops.any(wanted)
            };
            let found = [
                !looped.is_block(),
                looped.recomputed && !looped.is_block(),
                looped.carried > 0 && holds(|op| matches!(op, Op::Put { .. })),
                looped.carried > 0 && holds(|op| matches!(op, Op::ScatterAdd { .. })),
                looped.is_block(),
                holds(|op| matches!(op, Op::Matrix(_))),
            ];
            for (name, found) in REGIONS.iter().zip(found) {
                *counts.regions.entry(name).or_default() += u64::from(found);
            }
        }
    });
}

/// Whether an op of one category can be an operand of an op of another.
fn can_follow(maker: Category, user: Category) -> bool {
    match user {
        Category::Leaf => false,
        // Coordinates are ints.
        Category::Random => !matches!(maker, Category::Matrix | Category::Random),
        Category::Elementwise
        | Category::Contraction
        | Category::Matrix
        | Category::Reduction
        | Category::Movement
        | Category::GatherScatter
        | Category::Control => true,
    }
}

fn count_pairs(example: &Function, counts: &mut Counts) {
    for_each_function(example, &mut |f| {
        for &inst in &f.order {
            let data = &f.insts[inst];
            for maker in data.operands.iter().filter_map(|&v| f.def_inst(v)) {
                let pair = (f.insts[maker].op.category(), data.op.category());
                *counts.pairs.entry(pair).or_default() += 1;
            }
        }
    });
}

/// A program for one example, and the same for a batch.
struct Case {
    example: Function,
    /// Of each param, whether each example has its own.
    mapped: Vec<bool>,
    size: usize,
    batch: Function,
    inputs: Vec<Tensor>,
}

/// Whether of a result only the mean over the batch is given. Such results may be computed in
/// ways that no single example would want.
fn is_mean(example: &Function, at: usize) -> bool {
    at.is_multiple_of(2) && example.ty(example.results[at]).elem.is_float()
}

fn mean_weight(size: usize) -> f64 {
    1.0 / size.max(1) as f64
}

fn case(seed: u64) -> Case {
    let elem = match seed % 4 {
        0 => Elem::F32,
        _ => Elem::F64,
    };
    let options = Options {
        ops: 1 + (seed * 7 % MAX_OPS) as usize,
        elem,
        means: false,
        algebra: true,
        tables: true,
        ..Options::default()
    };
    let example = program(seed, &options).function;
    let size = SIZES[(seed / 4) as usize % SIZES.len()];
    // The first differs between examples in any case.
    let mapped: Vec<bool> = (0..example.params.len())
        .map(|at| at == 0 || seed >> at & 1 == 1)
        .collect();
    let with_batch = |ty: &Type| {
        let mut dims = vec![size];
        dims.extend_from_slice(&ty.dims);
        Type::new(ty.elem, &dims)
    };
    let mut batch = Function::new("batch");
    let mut operands = Vec::new();
    let mut inputs = Vec::new();
    for (at, &param) in example.params.iter().enumerate() {
        let ty = match mapped[at] {
            true => with_batch(example.ty(param)),
            false => example.ty(param).clone(),
        };
        inputs.push(input(seed * 100 + at as u64, &ty));
        operands.push(batch.param(ty, ""));
    }
    let types: Vec<Type> = (example.results.iter())
        .map(|&result| with_batch(example.ty(result)))
        .collect();
    let map = Op::Map {
        size,
        mapped: mapped.clone(),
        is_batch: true,
        body: Box::new(example.clone()),
    };
    let inst = batch.push(map, &operands, &types, Span::NONE);
    batch.results = batch.insts[inst].results.to_vec();
    for (at, ty) in types.iter().enumerate() {
        if is_mean(&example, at) {
            let all: Labels = (0..ty.rank() as Label).collect();
            let contract = Contract {
                out: Labels::from_slice(&all[1..]),
                factors: vec![Factor {
                    labels: all,
                    power: 1,
                }],
                deltas: Vec::new(),
                coefficient: mean_weight(size),
                sizes: ty.dims.to_vec(),
            };
            let ty = example.ty(example.results[at]).clone();
            let whole = batch.results[at];
            batch.results[at] = batch.push1(Op::Contract(contract), &[whole], ty, Span::NONE);
        }
    }
    Case {
        example,
        mapped,
        size,
        batch,
        inputs,
    }
}

/// Row `at` of a tensor.
fn row(tensor: &Tensor, at: usize) -> Tensor {
    let dims = &tensor.dims()[1..];
    let count: usize = dims.iter().product();
    let all = tensor.to_f64_vec();
    Tensor::from_f64(
        tensor.elem(),
        dims,
        all[at * count..(at + 1) * count].iter().copied(),
    )
}

/// The results of the batch, from each example alone.
fn one_by_one(case: &Case) -> Vec<Vec<f64>> {
    let example = &case.example;
    let mut results: Vec<Vec<f64>> = (0..example.results.len())
        .map(|at| match is_mean(example, at) {
            true => vec![0.0; example.ty(example.results[at]).len()],
            false => Vec::new(),
        })
        .collect();
    for at in 0..case.size {
        let inputs: Vec<Tensor> = (case.inputs.iter().zip(&case.mapped))
            .map(|(input, &mapped)| match mapped {
                true => row(input, at),
                false => input.clone(),
            })
            .collect();
        let alone = interpret(example, &inputs, Precision::F64)
            .unwrap_or_else(|error| panic!("{error}\n{example}"));
        for (at, (into, alone)) in results.iter_mut().zip(&alone).enumerate() {
            let alone = alone.to_f64_vec();
            if is_mean(example, at) {
                for (sum, x) in into.iter_mut().zip(alone) {
                    *sum += x * mean_weight(case.size);
                }
            } else {
                into.extend(alone);
            }
        }
    }
    results
}

fn agree(got: &Tensor, want: &[f64]) -> Result<(), String> {
    // Values are of order one; a difference of such may be small and is as inexact.
    let tolerance = match got.elem() {
        Elem::F32 => 2e-3,
        Elem::F64 => 1e-10,
        Elem::I32 | Elem::I64 | Elem::Bool => 0.0,
    };
    if got.len() != want.len() {
        return Err(format!("{} entries, not {}", got.len(), want.len()));
    }
    let finite = want.iter().filter(|x| x.is_finite());
    let scale = finite.fold(0.1f64, |a, x| a.max(x.abs()));
    for (at, (g, w)) in got.to_f64_vec().iter().zip(want).enumerate() {
        let same = g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance * scale;
        if !same {
            return Err(format!("entry {at} is {g}, not {w}"));
        }
    }
    Ok(())
}

/// Names the program that a panic anywhere comes from.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}\n{}", self.0, case(self.0).batch);
        }
    }
}

fn check(seed: u64, counts: &mut Counts) {
    let _named = Named(seed);
    let case = case(seed);
    let shown = || format!("seed {seed}\n{}", case.batch);
    verify(&case.batch).unwrap_or_else(|error| panic!("{error}; {}", shown()));
    count_pairs(&case.example, counts);
    let mut run = Run::default();
    let flat = compile_time_passes(case.batch.clone(), &mut run, &mut |_, _| {})
        .unwrap_or_else(|error| panic!("{}; {}", error.message, shown()));
    count_regions(&flat, counts);
    for rule in run
        .factored
        .iter()
        .flat_map(|factored| factored.rules.iter())
    {
        counts.rules[rule.number() - 1] += 1;
    }
    let plan = aec_kernels::plan(&flat, &aec_kernels::Options { fuse: true })
        .unwrap_or_else(|error| panic!("{}; {}", error.message, shown()));
    for kernel in plan.kernels.values() {
        if let Err(error) = aec_kernels::verify::verify(kernel) {
            panic!(
                "{error}; {}\n{}",
                shown(),
                aec_kernels::report::print_kernels(&plan)
            );
        }
    }
    let options = CodegenOptions {
        verify: true,
        ..CodegenOptions::default()
    };
    let exe =
        Executable::compile(plan, options).unwrap_or_else(|error| panic!("{error}; {}", shown()));
    let refs: Vec<&Tensor> = case.inputs.iter().collect();
    let got = run_once(&exe, &refs).unwrap_or_else(|error| panic!("{error:?}; {}", shown()));
    for (at, (got, want)) in got.iter().zip(one_by_one(&case)).enumerate() {
        if let Err(error) = agree(got, &want) {
            panic!("result {at}: {error}; {}\nflat {flat}", shown());
        }
    }
}

#[test]
fn batches_mean_what_each_example_means() {
    let programs: u64 = match std::env::var("AEC_PROGRAMS") {
        Ok(count) => count.parse().expect("AEC_PROGRAMS is a number"),
        Err(_) => SLICE,
    };
    let mut counts = Counts::default();
    for seed in 0..programs {
        check(seed, &mut counts);
    }
    for rule in Rule::ALL {
        let count = counts.rules[rule.number() - 1];
        println!("R{}: {count} programs", rule.number());
    }
    let mut missing = Vec::new();
    for rule in Rule::ALL {
        if counts.rules[rule.number() - 1] == 0 {
            missing.push(format!("rule R{}", rule.number()));
        }
    }
    for region in REGIONS {
        match counts.regions.get(region) {
            Some(count) if *count > 0 => println!("{region}: {count}"),
            _ => missing.push(region.to_string()),
        }
    }
    for maker in CATEGORIES {
        for user in CATEGORIES {
            let count = counts.pairs.get(&(maker, user)).copied().unwrap_or(0);
            match can_follow(maker, user) {
                true if count == 0 => missing.push(format!("{maker:?} into {user:?}")),
                true => println!("{maker:?} into {user:?}: {count}"),
                false => assert_eq!(count, 0, "{maker:?} into {user:?}"),
            }
        }
    }
    assert!(
        missing.is_empty() || programs < SLICE,
        "no program has {}",
        missing.join(", ")
    );
}
