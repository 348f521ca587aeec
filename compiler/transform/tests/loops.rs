//! Loops through every pass: gradients against finite differences, batches against one by one,
//! what leaves the loop, and that nothing grows with the count.

mod common;

use aec_ir::{Function, Mode, Op, Type};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use aec_transform::loops::segments::segment_loops;
use common::{check_gradient, close, compile, differentiated, eval, tir};

/// A recurrent net: h' = tanh(W h + U x); results: last state, all states.
fn recurrent() -> Function {
    tir("fn rnn(%0 \"W\": f64[3,3], %1 \"U\": f64[3,2], %2 \"h\": f64[3], %3 \"xs\": f64[4,2]) {
  %4: f64[3], %5: f64[4,3] = loop 4 (%2; %3; %0, %1) {
    fn round(%0 \"t\": i64, %1 \"h\": f64[3], %2 \"x\": f64[2], %3 \"W\": f64[3,3], %4 \"U\": f64[3,2]) {
      %5: f64[3] = contract %3[a,b] %1[b] -> [a]
      %6: f64[3] = contract %4[a,b] %2[b] -> [a]
      %7: f64[3] = add %5, %6
      %8: f64[3] = tanh %7
      return %8, %8
    }
  }
  return %4, %5
}")
}

fn ramp(dims: &[usize], scale: f64) -> Tensor {
    let count: usize = dims.iter().product();
    let values = (0..count)
        .map(|i| scale * ((i * 7 % 11) as f64 - 5.0) / 5.0)
        .collect();
    Tensor::f64(dims, values)
}

fn inputs() -> Vec<Tensor> {
    vec![
        ramp(&[3, 3], 0.7),
        ramp(&[3, 2], 0.5),
        ramp(&[3], 0.4),
        ramp(&[4, 2], 1.0),
    ]
}

fn loops_in(f: &Function) -> Vec<&aec_ir::Loop> {
    f.order
        .iter()
        .filter_map(|&inst| match &f.insts[inst].op {
            Op::Loop(looped) => Some(looped),
            _ => None,
        })
        .collect()
}

#[test]
fn gradients_of_a_recurrent_net() {
    check_gradient(&recurrent(), &inputs(), 1e-6);
}

#[test]
fn second_order() {
    let first = differentiated(&recurrent(), Mode::Vjp, &[true, true, true, true]);
    let mut all = inputs();
    all.push(ramp(&[3], 1.0));
    all.push(ramp(&[4, 3], 0.3));
    check_gradient(&compile(&first), &all, 1e-5);
}

#[test]
fn reversed_loops_and_the_index() {
    let f = tir("fn f(%0 \"s\": f64, %1 \"xs\": f64[5]) {
  %2: f64, %3: f64[5] = loop 5 reverse (%0; %1; ) {
    fn round(%0 \"t\": i64, %1 \"s\": f64, %2 \"x\": f64) {
      %3: f64 = convert %0
      %4: f64 = contract 0.3 %1[] %2[] -> []
      %5: f64 = sin %4
      %6: f64 = contract %3[] %5[] -> []
      %7: f64 = add %6, %2
      return %7, %4
    }
  }
  return %2, %3
}");
    check_gradient(&f, &[ramp(&[], 1.0), ramp(&[5], 1.0)], 1e-6);
}

#[test]
fn nested_loops() {
    let f = tir("fn f(%0 \"s\": f64[2], %1 \"w\": f64[2,2]) {
  %2: f64[2] = loop 3 (%0; ; %1) {
    fn outer(%0 \"t\": i64, %1 \"s\": f64[2], %2 \"w\": f64[2,2]) {
      %3: f64[2], %4: f64[2,2] = loop 2 (%1; %2; %2) {
        fn inner(%0 \"u\": i64, %1 \"s\": f64[2], %2 \"row\": f64[2], %3 \"w\": f64[2,2]) {
          %4: f64[2] = contract %3[a,b] %1[b] -> [a]
          %5: f64[2] = contract %4[a] %2[a] -> [a]
          %6: f64[2] = logistic %5
          return %6, %5
        }
      }
      %5: f64[2] = contract %4[a,b] -> [a]
      %6: f64[2] = add %3, %5
      return %6
    }
  }
  return %2
}");
    check_gradient(&f, &[ramp(&[2], 1.0), ramp(&[2, 2], 0.8)], 1e-6);
}

#[test]
fn batched_is_one_by_one() {
    let body = recurrent();
    for mapped in [
        [false, false, true, true],
        [true, false, false, true],
        [false, false, false, true],
    ] {
        let mut f = Function::new("batch");
        let mut operands = Vec::new();
        let mut args = Vec::new();
        for (at, (&param, &mapped)) in body.params.iter().zip(&mapped).enumerate() {
            let mut ty = body.ty(param).clone();
            if mapped {
                ty.dims.insert(0, 3);
            }
            args.push(ramp(&ty.dims, 0.3 + 0.2 * at as f64));
            operands.push(f.param(ty, ""));
        }
        let types: Vec<_> = body
            .results
            .iter()
            .map(|&v| {
                let mut ty = body.ty(v).clone();
                ty.dims.insert(0, 3);
                ty
            })
            .collect();
        let op = Op::Map {
            size: 3,
            mapped: mapped.to_vec(),
            is_batch: false,
            body: Box::new(body.clone()),
        };
        let inst = f.push(op, &operands, &types, Span::NONE);
        f.results = f.insts[inst].results.to_vec();
        let compiled = compile(&f);
        assert!(!loops_in(&compiled).is_empty());
        for (a, b) in eval(&compiled, &args).iter().zip(&eval(&f, &args)) {
            close(a, b, 1e-12, &format!("{mapped:?}\n{compiled}"));
        }
    }
}

/// Products of the sequence leave the loop before it, the weights' gradients after it.
#[test]
fn fission_of_a_gradient() {
    let f = differentiated(&recurrent(), Mode::Vjp, &[true, true, false, false]);
    let compiled = compile(&f);
    let loops = loops_in(&compiled);
    assert_eq!(loops.len(), 2, "{compiled}");
    for looped in &loops {
        let body = &looped.body;
        let products = body
            .order
            .iter()
            .filter(|&&inst| {
                let data = &body.insts[inst];
                matches!(&data.op, Op::Contract(c) if c.factors.len() > 1
                    && c.sizes.len() > c.out.len())
            })
            .count();
        assert_eq!(
            products, 1,
            "only the state's product is inside:\n{compiled}"
        );
        assert_eq!(looped.carried, 1, "{compiled}");
    }
}

/// A weight that is used twice in each round, once with a sign: neither of its gradients is added up
/// inside, nor is their difference kept for each round.
#[test]
fn fission_of_a_difference() {
    let descent = tir("fn descent(%0 \"B\": f64[5,3], %1 \"x\": f64[2,5]) {
  %2: f64[2,3] = constant 0.0
  %3: f64[2,3] = loop 4 (%2; ; %0, %1) {
    fn round(%0 \"t\": i64, %1 \"l\": f64[2,3], %2 \"B\": f64[5,3], %3 \"x\": f64[2,5]) {
      %4: f64[2,5] = contract %1[a,c] %2[b,c] -> [a,b]
      %5: f64[2,5] = sub %3, %4
      %6: f64[2,3] = contract 0.5 %2[c,b] %5[a,c] -> [a,b]
      %7: f64[2,3] = add %1, %6
      return %7
    }
  }
  return %3
}");
    let inputs = [ramp(&[5, 3], 0.4), ramp(&[2, 5], 1.0)];
    check_gradient(&descent, &inputs, 1e-6);
    let compiled = compile(&differentiated(&descent, Mode::Vjp, &[true, false]));
    let loops = loops_in(&compiled);
    let back = loops.last().expect("the way back");
    assert_eq!((back.carried, loops.len()), (1, 2), "{compiled}");
    let weights = Type::new(Elem::F64, &[5, 3]);
    let made = |looped: &aec_ir::Loop| {
        let body = &looped.body;
        let results = body.order.iter().map(|&inst| body.insts[inst].results[0]);
        results.filter(|&v| *body.ty(v) == weights).count()
    };
    assert_eq!(made(back), 0, "{compiled}");
}

#[test]
fn code_does_not_grow_with_the_count() {
    let size = |count: usize| {
        let text = recurrent().to_string();
        let text = text.replace("loop 4", &format!("loop {count}"));
        let text = text.replace("f64[4,", &format!("f64[{count},"));
        let f = differentiated(&tir(&text), Mode::Vjp, &[true, true, true, true]);
        let compiled = compile(&f);
        let inner: usize = loops_in(&compiled)
            .iter()
            .map(|looped| looped.body.order.len())
            .sum();
        compiled.order.len() + inner
    };
    assert_eq!(size(10), size(1000));
}

fn doubling() -> Function {
    tir("fn f(%0 \"s\": f64, %1 \"limit\": f64) {
  %2: bool = constant false
  %3: bool, %4: f64 = loop 50 exit (%2, %0; ; %1) {
    fn round(%0 \"t\": i64, %1 \"done\": bool, %2 \"s\": f64, %3 \"limit\": f64) {
      %4: f64 = contract 2.0 %2[] -> []
      %5: bool = ge %4, %3
      %6: f64 = select %1, %2, %4
      %7: bool = or %1, %5
      return %7, %6
    }
  }
  return %4
}")
}

#[test]
fn forward_mode_goes_through_an_exit_and_reverse_mode_does_not() {
    let forward = compile(&differentiated(&doubling(), Mode::Jvp, &[true, false]));
    let scalar = |x: f64| Tensor::f64(&[], vec![x]);
    let results = eval(&forward, &[scalar(1.5), scalar(10.0), scalar(1.0)]);
    assert_eq!(results[0].get_f64(0), 12.0);
    assert_eq!(results[1].get_f64(0), 8.0);
    let reverse = differentiated(&doubling(), Mode::Vjp, &[true, false]);
    let error = aec_transform::compile_time_passes(
        reverse,
        &mut aec_transform::Run::default(),
        &mut |_, _| {},
    );
    let error = error.expect_err("no reverse mode");
    assert_eq!(error.code, "E0504");
}

#[test]
fn a_batch_of_exits_runs_until_all_are_done() {
    let body = doubling();
    let mut f = Function::new("batch");
    let ty = aec_ir::Type::new(Elem::F64, &[3]);
    let s = f.param(ty.clone(), "s");
    let limit = f.param(ty.clone(), "limit");
    let op = Op::Map {
        size: 3,
        mapped: vec![true, true],
        is_batch: false,
        body: Box::new(body),
    };
    let inst = f.push(op, &[s, limit], &[ty], Span::NONE);
    f.results = f.insts[inst].results.to_vec();
    let args = [
        Tensor::f64(&[3], vec![1.0, 3.0, 0.5]),
        Tensor::f64(&[3], vec![10.0, 4.0, 100.0]),
    ];
    let values = eval(&compile(&f), &args);
    let got: Vec<f64> = (0..3).map(|at| values[0].get_f64(at)).collect();
    assert_eq!(got, [16.0, 6.0, 128.0]);
}

/// Rounds that make one row of a table from two others, by a selection over the whole table; the
/// last round is held back by a condition.
fn joining() -> Function {
    tir("fn f(%0 \"table\": f64[5,2], %1 \"l\": i64[3], %2 \"r\": i64[3], %3 \"at\": i64[3], %4 \"on\": bool[3]) {
  %5: f64[5,2] = loop 3 (%0; %1, %2, %3, %4; ) {
    fn round(%0 \"t\": i64, %1 \"table\": f64[5,2], %2 \"l\": i64, %3 \"r\": i64, %4 \"at\": i64, %5 \"on\": bool) {
      %6: f64[2] = gather batch 0 %1, %2
      %7: f64[2] = gather batch 0 %1, %3
      %8: f64[2] = contract %6[a] %7[a] -> [a]
      %9: f64[2] = tanh %8
      %10: i64[5] = iota 0
      %11: i64[5] = contract %4[] -> [a]
      %12: bool[5] = eq %10, %11
      %13: bool[5,2] = contract %12[a] -> [a,b]
      %14: f64[5,2] = contract %9[b] -> [a,b]
      %15: f64[5,2] = select %13, %14, %1
      %16: bool[5,2] = contract %5[] -> [a,b]
      %17: f64[5,2] = select %16, %15, %1
      return %17
    }
  }
  return %5
}")
}

fn joining_inputs() -> Vec<Tensor> {
    vec![
        ramp(&[5, 2], 0.9),
        Tensor::i64(&[3], vec![0, 3, 4]),
        Tensor::i64(&[3], vec![1, 3, 2]),
        Tensor::i64(&[3], vec![3, 4, 0]),
        Tensor::new(vec![3], aec_runtime::Data::Bool(vec![1, 1, 0])),
    ]
}

/// Whether a loop touches whole tables of `[5, 2]` in its rounds other than by row.
fn whole_tables(looped: &aec_ir::Loop) -> usize {
    let body = &looped.body;
    let whole = |&&inst: &&aec_ir::Inst| {
        let data = &body.insts[inst];
        body.dims(data.results[0]) == [5, 2]
            && !matches!(data.op, Op::Put { .. } | Op::ScatterAdd { .. })
    };
    body.order.iter().filter(whole).count()
}

#[test]
fn a_row_of_the_state_is_written_where_it_stands() {
    let inputs = joining_inputs();
    check_gradient(&joining(), &inputs, 1e-6);
    let forward = compile(&joining());
    let (want, got) = (eval(&joining(), &inputs), eval(&forward, &inputs));
    close(&want[0], &got[0], 0.0, "the table");
    let active = [true, false, false, false, false];
    let backward = compile(&differentiated(&joining(), Mode::Vjp, &active));
    for f in [&forward, &backward] {
        for looped in loops_in(f) {
            assert_eq!(whole_tables(looped), 0, "{f}");
        }
    }
}

/// A recurrent net over 23 entries, with a sum over the rounds and the states as results.
fn long(reverse: bool) -> Function {
    let way = if reverse { "reverse " } else { "" };
    tir(&format!(
        "fn rnn(%0 \"W\": f64[3,3], %1 \"h\": f64[3], %2 \"xs\": f64[23,3]) {{
  %3: f64 = constant 0.0
  %4: f64[3], %5: f64, %6: f64[23,3] = loop 23 {way}(%1, %3; %2; %0) {{
    fn round(%0 \"t\": i64, %1 \"h\": f64[3], %2 \"s\": f64, %3 \"x\": f64[3], %4 \"W\": f64[3,3]) {{
      %5: f64[3] = contract %4[a,b] %1[b] -> [a]
      %6: f64[3] = add %5, %3
      %7: f64[3] = tanh %6
      %8: f64 = convert %0
      %9: f64 = contract 0.01 %8[] %7[a] -> []
      %10: f64 = add %2, %9
      return %7, %10, %7
    }}
  }}
  return %4, %5, %6
}}"
    ))
}

#[test]
fn a_loop_in_segments_is_the_loop() {
    let inputs = [ramp(&[3, 3], 0.6), ramp(&[3], 0.4), ramp(&[23, 3], 1.0)];
    for reverse in [false, true] {
        let whole = long(reverse);
        let parts = segment_loops(&whole, 0).unwrap();
        // Five segments of five rounds do not fit: four, and three rounds.
        let counts: Vec<usize> = loops_in(&parts).iter().map(|looped| looped.count).collect();
        let want = if reverse { [3, 4] } else { [4, 3] };
        assert_eq!(counts, want, "{parts}");
        assert!(loops_in(&parts).iter().any(|looped| looped.recomputed));
        let (a, b) = (eval(&whole, &inputs), eval(&parts, &inputs));
        for (a, b) in a.iter().zip(&b) {
            close(a, b, 0.0, "the values");
        }
        // Sums over the rounds are taken segment by segment, the rest to the bit.
        check_gradient(&parts, &inputs, 1e-6);
        let active = [true, true, true];
        let ct = [ramp(&[3], 1.0), ramp(&[], 1.0), ramp(&[23, 3], 0.3)];
        let args: Vec<Tensor> = inputs.iter().chain(&ct).cloned().collect();
        let [a, b] =
            [&whole, &parts].map(|f| eval(&compile(&differentiated(f, Mode::Vjp, &active)), &args));
        for (at, tolerance) in [(0, 1e-12), (1, 0.0), (2, 0.0)] {
            let last = a.len() - 3;
            close(&a[last + at], &b[last + at], tolerance, "a gradient");
        }
    }
}

#[test]
fn a_loop_that_keeps_little_stays_whole() {
    let f = long(false);
    // 23 rounds of at least three numbers of 8 bytes.
    let few = segment_loops(&f, 23 * 3 * 8 - 1).unwrap();
    assert_eq!(loops_in(&few).len(), 2);
    let many = segment_loops(&f, 1 << 20).unwrap();
    assert_eq!(loops_in(&many).len(), 1);
}

#[test]
fn the_way_back_keeps_states_and_one_segment() {
    // 400 rounds of a state of 100: the stacks of the rounds are 40,000 numbers each.
    let f = tir("fn f(%0 \"W\": f64[100,100], %1 \"h\": f64[100]) {
  %2: f64[100] = loop 400 (%1; ; %0) {
    fn round(%0 \"t\": i64, %1 \"h\": f64[100], %2 \"W\": f64[100,100]) {
      %3: f64[100] = contract %2[a,b] %1[b] -> [a]
      %4: f64[100] = tanh %3
      return %4
    }
  }
  return %2
}");
    let largest = |f: &Function| {
        let back = compile(&differentiated(f, Mode::Vjp, &[true, true]));
        let sizes = back.values.values().map(|data| data.ty.len());
        sizes.max().unwrap_or(0)
    };
    let parts = segment_loops(&f, 0).unwrap();
    assert_eq!(largest(&f), 40_000);
    assert_eq!(largest(&parts), 10_000);
}

/// Two layers with a square of the weights between them, as a block or as they stand.
fn layers(block: bool) -> Function {
    let body = "  %3: f64[3] = contract %1[a,b] %2[b] -> [a]
      %4: f64[3] = sin %3
      %5: f64[3] = contract %1[a,b]^2 %4[b] -> [a]
      %6: f64[3] = tanh %5";
    let text = match block {
        true => format!(
            "fn f(%0: f64[3,3], %1: f64[3]) {{
  %2: f64[1,3] = loop 1 recomputed (; ; %0, %1) {{
    fn block(%0: i64, %1: f64[3,3], %2: f64[3]) {{
      {body}
      return %6
    }}
  }}
  %3: f64[3] = reshape %2
  %4: f64[3] = tanh %3
  return %4
}}"
        ),
        false => format!(
            "fn f(%1: f64[3,3], %2: f64[3]) {{
      {body}
      %7: f64[3] = tanh %6
      return %7
}}"
        ),
    };
    tir(&text)
}

#[test]
fn a_block_is_what_it_holds() {
    let inputs = [ramp(&[3, 3], 0.7), ramp(&[3], 1.0)];
    let (plain, block) = (layers(false), layers(true));
    check_gradient(&block, &inputs, 1e-6);
    assert!(loops_in(&compile(&block)).is_empty(), "nothing goes back");
    let ct = ramp(&[3], 0.4);
    let first = [&plain, &block].map(|f| differentiated(f, Mode::Vjp, &[true, true]));
    let second = first
        .each_ref()
        .map(|f| differentiated(f, Mode::Vjp, &[true, true, true]));
    let at = [&inputs[0], &inputs[1], &ct, &ct, &inputs[0], &inputs[1]];
    for (derivatives, ways_back, count) in [(&first, 1, 3), (&second, 3, 6)] {
        let [a, b] = derivatives.each_ref().map(compile);
        assert!(loops_in(&a).is_empty());
        // The way there is open, each way back is closed.
        let blocks = loops_in(&b);
        assert_eq!(blocks.len(), ways_back, "{b}");
        assert!(blocks.iter().all(|looped| looped.is_block()), "{b}");
        let args: Vec<Tensor> = at[..count].iter().map(|&x| x.clone()).collect();
        for (a, b) in eval(&a, &args).iter().zip(&eval(&b, &args)) {
            close(a, b, 1e-13, "a derivative");
        }
    }
    // Forwards nothing is computed twice.
    let tangents = [&plain, &block].map(|f| compile(&differentiated(f, Mode::Jvp, &[true, true])));
    assert_eq!(tangents[0].to_string(), tangents[1].to_string());
}

/// A condition that stands behind the write that it holds back: the write stays as it is.
#[test]
fn a_late_condition_is_kept() {
    let f = tir("fn f(%0: f64[4,2], %1: i64[3], %2: f64[3,2]) {
  %3: f64[4,2] = loop 3 (%0; %1, %2; ) {
    fn round(%0: i64, %1: f64[4,2], %2: i64, %3: f64[2]) {
      %4: i64[4,2] = iota 0
      %5: i64[4,2] = contract %2[] -> [a,b]
      %6: bool[4,2] = eq %4, %5
      %7: f64[4,2] = contract %3[b] -> [a,b]
      %8: f64[4,2] = select %6, %7, %1
      %9: i64 = constant 1
      %10: bool = eq %2, %9
      %11: bool[4,2] = contract %10[] -> [a,b]
      %12: f64[4,2] = select %11, %8, %1
      return %12
    }
  }
  return %3
}");
    let inputs = [
        ramp(&[4, 2], 1.0),
        Tensor::i64(&[3], vec![1, 2, 1]),
        ramp(&[3, 2], 0.5),
    ];
    let (a, b) = (eval(&f, &inputs), eval(&compile(&f), &inputs));
    close(&a[0], &b[0], 0.0, "the table");
}
