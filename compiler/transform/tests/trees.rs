//! Batches of trees: rounds of nodes of any tree against one tree after the other, gradients
//! against finite differences, and loops whose number of rounds is known only when they run.

mod common;

use aec_ir::{Function, Loop, Mode, Op, Type};
use aec_runtime::Tensor;
use aec_syntax::Span;
use aec_transform::loops::segments::segment_loops;
use common::{Numbers, check_gradient, close, compile, differentiated, eval, tir};

/// `tanh(W (l + 2 r) + x + z + noise)` at each of up to five nodes, x a number of the node, z one
/// of the tree: the table of all states.
fn fold() -> Function {
    tir(
        "fn fold(%0 \"leaves\": f64[6,2], %1 \"left\": i64[5], %2 \"right\": i64[5], %3 \"count\": i64, %4 \"x\": f64[5], %5 \"z\": f64[2], %6 \"W\": f64[2,2], %7 \"tree\": i64) {
  %8: f64[5,2] = constant 0.0
  %9: f64[11,2] = concat 0 %0, %8
  %10: f64[11,2] = loop 5 nodes (%9; %1, %2, %4; %5, %6, %7; %3) {
    fn node(%0 \"i\": i64, %1 \"table\": f64[11,2], %2 \"left\": i64, %3 \"right\": i64, %4 \"x\": f64, %5 \"z\": f64[2], %6 \"W\": f64[2,2], %7 \"tree\": i64) {
      %8: f64[2] = gather batch 0 %1, %2
      %9: f64[2] = gather batch 0 %1, %3
      %10: f64[2] = contract 2.0 %9[a] -> [a]
      %11: f64[2] = add %8, %10
      %12: f64[2] = contract %6[a,b] %11[b] -> [a]
      %13: f64[2] = contract %4[] -> [a] where a=2
      %14: f64[2] = add %12, %13
      %15: f64[2] = add %14, %5
      %16: i64 = constant 7
      %17: f64[2] = draw uniform site 0x5 batch 0 radices [5] %16, %16, %7, %0
      %18: f64[2] = add %15, %17
      %19: f64[2] = tanh %18
      %20: i64 = constant 6
      %21: i64 = add %0, %20
      %22: f64[11,2] = put batch 0 %1, %21, %19
      return %22
    }
  }
  return %10
}",
    )
}

/// Down from the root: the left child gets `tanh(W s)`, the right one `s z`.
fn unfold() -> Function {
    tir(
        "fn unfold(%0 \"start\": f64[11,2], %1 \"left\": i64[5], %2 \"right\": i64[5], %3 \"count\": i64, %4 \"z\": f64[2], %5 \"W\": f64[2,2]) {
  %6: f64[11,2] = loop 5 reverse nodes (%0; %1, %2; %4, %5; %3) {
    fn node(%0 \"i\": i64, %1 \"table\": f64[11,2], %2 \"left\": i64, %3 \"right\": i64, %4 \"z\": f64[2], %5 \"W\": f64[2,2]) {
      %6: i64 = constant 6
      %7: i64 = add %0, %6
      %8: f64[2] = gather batch 0 %1, %7
      %9: f64[2] = contract %5[a,b] %8[b] -> [a]
      %10: f64[2] = tanh %9
      %11: f64[2] = contract %8[a] %4[a] -> [a]
      %12: f64[11,2] = put batch 0 %1, %2, %10
      %13: f64[11,2] = put batch 0 %12, %3, %11
      return %13
    }
  }
  return %6
}",
    )
}

/// The function for each of `size` examples; those params have the axis whose place `mapped` says.
fn batched(one: &Function, mapped: &[bool], size: usize) -> Function {
    let mut f = Function::new("batch");
    let wide = |ty: &Type| {
        let mut ty = ty.clone();
        ty.dims.insert(0, size);
        ty
    };
    let mut operands = Vec::new();
    for (&param, &mapped) in one.params.iter().zip(mapped) {
        let ty = one.ty(param).clone();
        operands.push(f.param(if mapped { wide(&ty) } else { ty }, ""));
    }
    let types: Vec<Type> = one.results.iter().map(|&v| wide(one.ty(v))).collect();
    let op = Op::Map {
        size,
        mapped: mapped.to_vec(),
        is_batch: true,
        body: Box::new(one.clone()),
    };
    let inst = f.push(op, &operands, &types, Span::NONE);
    f.results = f.insts[inst].results.to_vec();
    f
}

const FOLD: [bool; 8] = [true, true, true, true, true, true, false, true];
const UNFOLD: [bool; 6] = [true, true, true, true, true, false];

/// Tables of random trees of up to five nodes.
fn shapes(size: usize, numbers: &mut Numbers) -> [Tensor; 3] {
    let mut below = |n: usize| ((numbers.next() + 1.0) / 2.0 * n as f64) as usize;
    let (mut left, mut right, mut count) = (vec![0; size * 5], vec![0; size * 5], Vec::new());
    for tree in 0..size {
        let nodes = below(6);
        let mut parts: Vec<i64> = (0..=nodes as i64).collect();
        for node in 0..nodes {
            let at = below(parts.len() - 1);
            left[tree * 5 + node] = parts.remove(at);
            right[tree * 5 + node] = parts.remove(at);
            parts.insert(at, 6 + node as i64);
        }
        count.push(nodes as i64);
    }
    [
        Tensor::i64(&[size, 5], left),
        Tensor::i64(&[size, 5], right),
        Tensor::i64(&[size], count),
    ]
}

fn fold_inputs(size: usize, seed: u64) -> Vec<Tensor> {
    let mut numbers = Numbers(seed);
    let [left, right, count] = shapes(size, &mut numbers);
    vec![
        numbers.tensor(&[size, 6, 2]),
        left,
        right,
        count,
        numbers.tensor(&[size, 5]),
        numbers.tensor(&[size, 2]),
        numbers.tensor(&[2, 2]),
        Tensor::i64(&[size], (0..size as i64).map(|i| 100 + i).collect()),
    ]
}

/// As [`fold_inputs`]; the root has a state.
fn unfold_inputs(size: usize, seed: u64) -> Vec<Tensor> {
    let mut numbers = Numbers(seed);
    let [left, right, count] = shapes(size, &mut numbers);
    let mut start = vec![0.0; size * 22];
    for tree in 0..size {
        let root = match count.get_i64(tree) {
            0 => 0,
            nodes => 5 + nodes as usize,
        };
        for at in 0..2 {
            start[(tree * 11 + root) * 2 + at] = numbers.next();
        }
    }
    vec![
        Tensor::f64(&[size, 11, 2], start),
        left,
        right,
        count,
        numbers.tensor(&[size, 2]),
        numbers.tensor(&[2, 2]),
    ]
}

fn loops_in(f: &Function) -> Vec<&Loop> {
    f.order
        .iter()
        .filter_map(|&inst| match &f.insts[inst].op {
            Op::Loop(looped) => Some(looped),
            _ => None,
        })
        .collect()
}

fn has_levels(f: &Function) -> bool {
    f.order
        .iter()
        .any(|&inst| matches!(f.insts[inst].op, Op::Levels { .. }))
}

#[test]
fn batches_are_as_one_by_one() {
    for size in [0, 1, 3, 17] {
        for seed in 0..8 {
            let cases = [
                (fold(), &FOLD[..], fold_inputs(size, seed)),
                (unfold(), &UNFOLD[..], unfold_inputs(size, seed)),
            ];
            for (one, mapped, inputs) in cases {
                let f = batched(&one, mapped, size);
                let flat = compile(&f);
                assert_eq!(has_levels(&flat), size > 0, "{flat}");
                for (a, b) in eval(&flat, &inputs).iter().zip(&eval(&f, &inputs)) {
                    close(a, b, 1e-12, &format!("{size} trees, seed {seed}\n{flat}"));
                }
            }
        }
    }
}

#[test]
fn one_program_takes_trees_of_any_shape() {
    let flat = compile(&batched(&fold(), &FOLD, 17));
    let loops = loops_in(&flat);
    assert_eq!(loops.len(), 1, "{flat}");
    assert!(loops[0].limited && loops[0].count == 5, "{flat}");
    // A node of each tree, no tables of all.
    for &inst in &loops[0].body.order {
        let data = &loops[0].body.insts[inst];
        let ty = loops[0].body.ty(data.results[0]);
        assert!(
            matches!(data.op, Op::Put { .. }) || ty.len() <= 34,
            "{flat}"
        );
    }
}

#[test]
fn trees_of_one_shape_go_node_by_node() {
    let mapped = [true, false, false, false, true, true, false, true];
    let f = batched(&fold(), &mapped, 3);
    let mut inputs = fold_inputs(3, 1);
    for (at, dims) in [(1, vec![5]), (2, vec![5]), (3, Vec::new())] {
        let all: Vec<i64> = (0..inputs[at].len())
            .map(|i| inputs[at].get_i64(i))
            .collect();
        let count: usize = dims.iter().product();
        inputs[at] = Tensor::i64(&dims, all[..count].to_vec());
    }
    let flat = compile(&f);
    assert!(!has_levels(&flat), "{flat}");
    for (a, b) in eval(&flat, &inputs).iter().zip(&eval(&f, &inputs)) {
        close(a, b, 1e-12, &flat.to_string());
    }
}

#[test]
fn gradients_of_batches() {
    for (size, seed) in [(1, 3), (3, 4), (4, 5)] {
        check_gradient(
            &batched(&fold(), &FOLD, size),
            &fold_inputs(size, seed),
            1e-6,
        );
        check_gradient(
            &batched(&unfold(), &UNFOLD, size),
            &unfold_inputs(size, seed),
            1e-6,
        );
    }
}

#[test]
fn gradients_of_gradients() {
    let one = batched(&fold(), &FOLD, 3);
    let active: Vec<bool> = (0..8).map(|at| at == 6).collect();
    let first = compile(&differentiated(&one, Mode::Vjp, &active));
    let mut inputs = fold_inputs(3, 9);
    inputs.push(Numbers(2).tensor(&[3, 11, 2]));
    check_gradient(&first, &inputs, 1e-5);
}

/// The gradient of each tree alone, then the batch.
#[test]
fn gradients_of_each_tree() {
    let active: Vec<bool> = (0..8).map(|at| at == 6).collect();
    let alone = differentiated(&fold(), Mode::Vjp, &active);
    let mut mapped = FOLD.to_vec();
    mapped.push(true);
    let f = batched(&alone, &mapped, 4);
    let mut inputs = fold_inputs(4, 11);
    inputs.push(Numbers(3).tensor(&[4, 11, 2]));
    let flat = compile(&f);
    let want = eval(&batched(&compile(&alone), &mapped, 4), &inputs);
    for (a, b) in eval(&flat, &inputs).iter().zip(&want) {
        close(a, b, 1e-12, &flat.to_string());
    }
}

/// Sums of a sequence, of which so many entries count: the sum, and the sums before each round.
fn sums() -> Function {
    tir(
        "fn sums(%0 \"s\": f64[2], %1 \"xs\": f64[6,2], %2 \"W\": f64[2,2], %3 \"limit\": i64) {
  %4: f64[2], %5: f64[6,2] = loop 6 (%0; %1; %2; %3) {
    fn round(%0 \"t\": i64, %1 \"s\": f64[2], %2 \"x\": f64[2], %3 \"W\": f64[2,2]) {
      %4: f64[2] = contract %3[a,b] %1[b] -> [a]
      %5: f64[2] = add %4, %2
      %6: f64[2] = tanh %5
      return %6, %1
    }
  }
  return %4, %5
}",
    )
}

fn sums_inputs(limit: i64) -> Vec<Tensor> {
    let mut numbers = Numbers(limit.unsigned_abs() + 1);
    vec![
        numbers.tensor(&[2]),
        numbers.tensor(&[6, 2]),
        numbers.tensor(&[2, 2]),
        Tensor::i64(&[], vec![limit]),
    ]
}

#[test]
fn limits_have_gradients_and_segments() {
    for limit in [-2, 0, 1, 4, 6, 9] {
        check_gradient(&sums(), &sums_inputs(limit), 1e-6);
    }
    // Long enough to be cut: 22 rounds in segments of five, with some left.
    for reverse in ["", " reverse"] {
        let text = sums().to_string().replace("[6,2]", "[22,2]");
        let body = tir(&text.replace("loop 6", &format!("loop 22{reverse}")));
        let cut = segment_loops(&body, 16).unwrap();
        assert!(
            loops_in(&cut).iter().any(|looped| looped.recomputed),
            "{cut}"
        );
        for limit in [-1, 0, 3, 5, 14, 20, 21, 22, 30] {
            let mut inputs = sums_inputs(limit);
            inputs[1] = Numbers(5).tensor(&[22, 2]);
            for (a, b) in eval(&cut, &inputs).iter().zip(&eval(&body, &inputs)) {
                close(a, b, 1e-12, &format!("limit {limit}\n{cut}"));
            }
            check_gradient(&cut, &inputs, 1e-6);
        }
    }
}

#[test]
fn each_example_has_its_limit() {
    let f = batched(&sums(), &[true, true, false, true], 3);
    let mut numbers = Numbers(8);
    let inputs = vec![
        numbers.tensor(&[3, 2]),
        numbers.tensor(&[3, 6, 2]),
        numbers.tensor(&[2, 2]),
        Tensor::i64(&[3], vec![4, 0, 5]),
    ];
    let flat = compile(&f);
    for (a, b) in eval(&flat, &inputs).iter().zip(&eval(&f, &inputs)) {
        close(a, b, 1e-12, &flat.to_string());
    }
    check_gradient(&f, &inputs, 1e-6);
}
