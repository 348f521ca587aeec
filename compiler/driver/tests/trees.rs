//! Batches of trees compiled: one program, run again and again on trees of other shapes, against
//! the interpreter on each tree alone; with one thread and with two bit for bit.

use aec_codegen::{CodegenOptions, Executable, Instance};
use aec_ir::{Function, Mode, Op, Precision, Type, Value, interpret, parse};
use aec_kernels::plan::StepKind;
use aec_kernels::{Options, plan};
use aec_runtime::gemm::Isa;
use aec_runtime::pool::Pool;
use aec_runtime::{Data, Elem, Tensor};
use aec_syntax::Span;
use aec_transform::{Run, compile_time_passes};
use std::sync::Arc;

/// Room for leaves and for inner nodes.
const LEAVES: usize = 10;
const NODES: usize = 9;
/// Numbers of a state.
const WIDTH: usize = 24;

/// The sum of all states of a tree whose nodes are `tanh(W [l; r])`, and going down again from its
/// table by `tanh(U s)` for both children.
fn one(elem: &str) -> Function {
    let text =
        "fn tree(%0: E[10,24], %1: i64[9], %2: i64[9], %3: i64, %4: E[24,48], %5: E[24,24]) {
  %6: E[9,24] = constant 0.0
  %7: E[19,24] = concat 0 %0, %6
  %8: E[19,24] = loop 9 nodes (%7; %1, %2; %4; %3) {
    fn node(%0: i64, %1: E[19,24], %2: i64, %3: i64, %4: E[24,48]) {
      %5: E[24] = gather batch 0 %1, %2
      %6: E[24] = gather batch 0 %1, %3
      %7: E[48] = concat 0 %5, %6
      %8: E[24] = contract %4[a,b] %7[b] -> [a]
      %9: E[24] = tanh %8
      %10: i64 = constant 10
      %11: i64 = add %0, %10
      %12: E[19,24] = put batch 0 %1, %11, %9
      return %12
    }
  }
  %9: E[19,24] = loop 9 reverse nodes (%8; %1, %2; %5; %3) {
    fn node(%0: i64, %1: E[19,24], %2: i64, %3: i64, %4: E[24,24]) {
      %5: i64 = constant 10
      %6: i64 = add %0, %5
      %7: E[24] = gather batch 0 %1, %6
      %8: E[24] = contract %4[a,b] %7[b] -> [a]
      %9: E[24] = tanh %8
      %10: E[19,24] = put batch 0 %1, %2, %9
      %11: E[19,24] = put batch 0 %10, %3, %9
      return %11
    }
  }
  %10: E = contract %8[a,b]^2 -> []
  %11: E = contract 0.5 %9[a,b]^2 -> []
  %12: E = add %10, %11
  return %12
}";
    let mut all = parse(
        &text
            .replace("E[", &format!("{elem}["))
            .replace(": E ", &format!(": {elem} ")),
    )
    .unwrap_or_else(|error| panic!("{error}"));
    all.remove(0)
}

/// The losses of `size` trees, and the gradients of the leaves and of both weights.
fn step(size: usize, elem: &str) -> Function {
    let one = one(elem);
    let mut batch = Function::new("batch");
    let wide = |ty: &Type| {
        let mut ty = ty.clone();
        ty.dims.insert(0, size);
        ty
    };
    let mapped = [true, true, true, true, false, false];
    let mut operands = Vec::new();
    for (&param, mapped) in one.params.iter().zip(mapped) {
        let ty = one.ty(param).clone();
        operands.push(batch.param(if mapped { wide(&ty) } else { ty }, ""));
    }
    let loss = one.ty(one.results[0]).clone();
    let op = Op::Map {
        size,
        mapped: mapped.to_vec(),
        is_batch: true,
        body: Box::new(one),
    };
    let losses = batch.push1(op, &operands, wide(&loss), Span::NONE);
    batch.results = vec![losses];
    let mut f = Function::new("step");
    let mut operands: Vec<Value> = (batch.params.iter())
        .map(|&v| f.param(batch.ty(v).clone(), ""))
        .collect();
    operands.push(f.param(wide(&loss), ""));
    let active = [true, false, false, false, true, true];
    let types: Vec<Type> = [losses, batch.params[0], batch.params[4], batch.params[5]]
        .map(|v| batch.ty(v).clone())
        .to_vec();
    let op = Op::Derivative {
        mode: Mode::Vjp,
        active: active.to_vec(),
        body: Box::new(batch),
    };
    let inst = f.push(op, &operands, &types, Span::NONE);
    f.results = f.insts[inst].results.to_vec();
    f
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = (self.0)
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f64) as usize
    }

    fn tensor(&mut self, elem: Elem, dims: &[usize]) -> Tensor {
        let count = dims.iter().product();
        let values: Vec<f64> = (0..count).map(|_| 0.6 * (self.next() - 0.5)).collect();
        Tensor::from_f64(elem, dims, values)
    }
}

/// Trees that lean as far to the left as `lean` of 10 says, and what is computed with them.
fn inputs(size: usize, elem: Elem, lean: usize, numbers: &mut Numbers) -> Vec<Tensor> {
    let (mut left, mut right) = (vec![0; size * NODES], vec![0; size * NODES]);
    let mut count = Vec::new();
    for tree in 0..size {
        let nodes = numbers.below(NODES + 1);
        let mut parts: Vec<i64> = (0..=nodes as i64).collect();
        for node in 0..nodes {
            let at = match numbers.below(10) < lean {
                true => 0,
                false => numbers.below(parts.len() - 1),
            };
            left[tree * NODES + node] = parts.remove(at);
            right[tree * NODES + node] = parts.remove(at);
            parts.insert(at, (LEAVES + node) as i64);
        }
        count.push(nodes as i64);
    }
    vec![
        numbers.tensor(elem, &[size, LEAVES, WIDTH]),
        Tensor::i64(&[size, NODES], left),
        Tensor::i64(&[size, NODES], right),
        Tensor::i64(&[size], count),
        numbers.tensor(elem, &[WIDTH, 2 * WIDTH]),
        numbers.tensor(elem, &[WIDTH, WIDTH]),
        numbers.tensor(elem, &[size]),
    ]
}

fn bits(t: &Tensor) -> Vec<u64> {
    match t.data() {
        Data::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
        Data::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
        _ => Vec::new(),
    }
}

fn run(instance: &mut Instance, inputs: &[Tensor], results: usize) -> Vec<Tensor> {
    for (at, input) in inputs.iter().enumerate() {
        instance.set_input(at, input);
    }
    instance.run().unwrap_or_else(|error| panic!("{error}"));
    (0..results).map(|at| instance.output(at)).collect()
}

#[test]
fn one_program_for_trees_of_all_shapes() {
    for (elem, name, tolerance) in [(Elem::F32, "f32", 2e-4), (Elem::F64, "f64", 1e-10)] {
        for size in [0, 1, 3, 17, 40] {
            let f = step(size, name);
            let flat = compile_time_passes(f, &mut Run::default(), &mut |_, _| {})
                .unwrap_or_else(|error| panic!("{error:?}"));
            // The interpreter knows the trees alone, each by its own derivative.
            let alone = compile_time_passes(step(1, name), &mut Run::default(), &mut |_, _| {})
                .unwrap_or_else(|error| panic!("{error:?}"));
            let plan = plan(&flat, &Options::default()).unwrap_or_else(|e| panic!("{e:?}"));
            let has = |wanted: fn(&StepKind) -> bool| plan.steps.iter().any(|s| wanted(&s.kind));
            assert_eq!(has(|kind| matches!(kind, StepKind::Levels(_))), size > 0);
            // The weights' gradients add the terms of rounds that are run.
            let limited = has(|kind| matches!(kind, StepKind::Gemm(gemm) if gemm.limit.is_some()));
            assert_eq!(limited, size > 0, "{size} trees");
            let exe = Executable::compile(plan, CodegenOptions::default()).unwrap();
            let mut streams = [1, 2].map(|threads| {
                Instance::new(Arc::clone(&exe), Arc::new(Pool::new(threads)), Isa::best())
            });
            let mut numbers = Numbers(size as u64 + 1);
            // The memory holds what trees of other shapes have left.
            for lean in [10, 0, 5, 9, 0] {
                let given = inputs(size, elem, lean, &mut numbers);
                let [got, two] = streams.each_mut().map(|stream| run(stream, &given, 4));
                for (a, b) in got.iter().zip(&two) {
                    assert_eq!(bits(a), bits(b), "two threads give other bits");
                }
                let mut want = [vec![], vec![], vec![0.0; 1152], vec![0.0; 576]];
                for tree in 0..size {
                    let own: Vec<Tensor> = (given.iter().enumerate())
                        .map(|(at, tensor)| match at {
                            4 | 5 => tensor.clone(),
                            _ => part(tensor, tree, size),
                        })
                        .collect();
                    let results = interpret(&alone, &own, Precision::AsTyped)
                        .unwrap_or_else(|error| panic!("{error}"));
                    for (at, result) in results.iter().enumerate() {
                        let values = result.to_f64_vec();
                        match at {
                            0 | 1 => want[at].extend(values),
                            _ => (want[at].iter_mut().zip(values)).for_each(|(sum, x)| *sum += x),
                        }
                    }
                }
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    for (x, y) in got.to_f64_vec().iter().zip(want) {
                        assert!(
                            (x - y).abs() <= tolerance * (1.0 + y.abs()),
                            "{name}, {size} trees, result {at}: {x} is not {y}"
                        );
                    }
                }
            }
        }
    }
}

/// Entry `at` of `size` along the first axis, as a batch of one.
fn part(tensor: &Tensor, at: usize, size: usize) -> Tensor {
    let each = tensor.len() / size;
    let mut dims = tensor.dims().to_vec();
    dims[0] = 1;
    let range = at * each..(at + 1) * each;
    let data = match tensor.data() {
        Data::F32(v) => Data::F32(v[range].to_vec()),
        Data::F64(v) => Data::F64(v[range].to_vec()),
        Data::I32(v) => Data::I32(v[range].to_vec()),
        Data::I64(v) => Data::I64(v[range].to_vec()),
        Data::Bool(v) => Data::Bool(v[range].to_vec()),
    };
    Tensor::new(dims, data)
}
