//! Each op, fused and unfused, against the interpreter.

mod common;

use aec_ir::{
    Binary, Comparison, Contract, Distribution, Factor, Fault, Function, Literal, Op, Reduction,
    Type, Unary,
};
use aec_kernels::eval::{Stopped, run_plan};
use aec_kernels::plan::{Condition, StepKind};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use common::{check, check_with, counts, parse, planned, sample};
use smallvec::smallvec;

const S: Span = Span::NONE;

fn ty(elem: Elem, dims: &[usize]) -> Type {
    Type::new(elem, dims)
}

#[test]
fn unary_ops() {
    for elem in [Elem::F32, Elem::F64] {
        for op in Unary::ALL {
            if op == Unary::Not {
                continue;
            }
            let mut f = Function::new(op.name());
            let x = f.param(ty(elem, &[5, 7]), "x");
            let positive = matches!(op, Unary::Log | Unary::Sqrt | Unary::Log1p);
            let x = if positive {
                f.unary(Unary::Abs, x, S)
            } else {
                x
            };
            let y = f.unary(op, x, S);
            let z = f.binary(Binary::Add, y, x, S);
            f.results = vec![y, z];
            check(&f);
        }
    }
}

#[test]
fn binary_ops_and_comparisons() {
    for elem in [Elem::F32, Elem::F64, Elem::I32, Elem::I64] {
        for op in Binary::ALL {
            let logical = matches!(op, Binary::And | Binary::Or);
            let only_float = matches!(op, Binary::Div | Binary::Pow);
            let only_int = matches!(op, Binary::Mul | Binary::FloorDiv);
            if logical || (only_float && elem.is_int()) || (only_int && elem.is_float()) {
                continue;
            }
            let mut f = Function::new(op.name());
            let a = f.param(ty(elem, &[40]), "a");
            let b = f.param(ty(elem, &[40]), "b");
            let a = if op == Binary::Pow {
                f.unary(Unary::Abs, a, S)
            } else {
                a
            };
            let y = f.binary(op, a, b, S);
            f.results = vec![y];
            check(&f);
        }
        for op in Comparison::ALL {
            let mut f = Function::new(op.name());
            let a = f.param(ty(elem, &[40]), "a");
            let b = f.param(ty(elem, &[40]), "b");
            let c = f.compare(op, a, b, S);
            let d = f.select(c, b, a, S);
            f.results = vec![c, d];
            check(&f);
        }
    }
}

#[test]
fn bools() {
    let mut f = Function::new("bools");
    let a = f.param(ty(Elem::Bool, &[33]), "a");
    let b = f.param(ty(Elem::Bool, &[33]), "b");
    let mut results = vec![
        f.binary(Binary::And, a, b, S),
        f.binary(Binary::Or, a, b, S),
        f.unary(Unary::Not, a, S),
    ];
    for op in Comparison::ALL {
        results.push(f.compare(op, a, b, S));
    }
    results.push(f.convert(a, Elem::F32, S));
    results.push(f.convert(a, Elem::I64, S));
    for op in [Reduction::All, Reduction::Any] {
        let axes = smallvec![0];
        results.push(f.push1(Op::Reduce { op, axes }, &[a], Type::scalar(Elem::Bool), S));
    }
    f.results = results;
    check(&f);
}

#[test]
fn extreme_numbers() {
    let x = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        1e30,
        -1e30,
        200.0,
        -200.0,
        2.5,
        -0.5,
    ];
    let n = x.len();
    let mut f = Function::new("extreme");
    let a = f.param(ty(Elem::F32, &[n]), "a");
    let b = f.push1(
        Op::Reverse { axes: smallvec![0] },
        &[a],
        ty(Elem::F32, &[n]),
        S,
    );
    let mut results = Vec::new();
    for op in [
        Unary::Exp,
        Unary::Log,
        Unary::Tanh,
        Unary::Logistic,
        Unary::Erf,
        Unary::Expm1,
        Unary::Log1p,
        Unary::Sqrt,
        Unary::Abs,
    ] {
        results.push(f.unary(op, a, S));
    }
    for op in [Binary::Min, Binary::Max] {
        results.push(f.binary(op, a, b, S));
    }
    let zero = f.number(0.0, ty(Elem::F32, &[n]), S);
    results.push(f.binary(Binary::Max, a, zero, S));
    results.push(f.binary(Binary::Min, zero, a, S));
    results.push(f.convert(a, Elem::I32, S));
    results.push(f.convert(a, Elem::I64, S));
    for op in [Reduction::Max, Reduction::Min] {
        let axes = smallvec![0];
        results.push(f.push1(Op::Reduce { op, axes }, &[a], Type::scalar(Elem::F32), S));
        results.push(f.push1(
            Op::ArgReduce { op, axis: 0 },
            &[a],
            Type::scalar(Elem::I64),
            S,
        ));
    }
    f.results = results;
    check_with(&f, &[Tensor::f32(&[n], x.to_vec())]);
}

#[test]
fn contractions() {
    for elem in [Elem::F32, Elem::F64] {
        let mut f = Function::new("contract");
        let a = f.param(ty(elem, &[9, 20]), "a");
        let b = f.param(ty(elem, &[20, 33]), "b");
        let v = f.param(ty(elem, &[20]), "v");
        let w = f.param(ty(elem, &[9]), "w");
        let square = f.param(ty(elem, &[20, 20]), "s");
        let q = f.param(ty(elem, &[3, 5, 2, 8]), "q");
        let k = f.param(ty(elem, &[3, 7, 2, 8]), "k");
        f.results = vec![
            f.contract(&[(a, &[0, 1]), (b, &[1, 2])], &[0, 2], &[], 1.0, S),
            f.contract(&[(a, &[0, 1]), (b, &[1, 2])], &[2, 0], &[], 0.5, S),
            f.contract(&[(a, &[0, 1]), (v, &[1])], &[0], &[], 1.0, S),
            f.contract(&[(w, &[0]), (a, &[0, 1])], &[1], &[], 2.0, S),
            f.contract(&[(w, &[0]), (v, &[1])], &[0, 1], &[], 1.0, S),
            f.contract(&[(v, &[0]), (v, &[0])], &[], &[], 1.0, S),
            f.contract(&[(a, &[0, 1]), (v, &[1])], &[0, 1], &[], 1.0, S),
            f.contract(&[(square, &[0, 0])], &[0], &[], 1.0, S),
            f.contract(&[(square, &[0, 0])], &[], &[], 1.0, S),
            f.contract(
                &[(q, &[0, 1, 3, 4]), (k, &[0, 2, 3, 4])],
                &[0, 3, 1, 2],
                &[],
                1.0,
                S,
            ),
            f.contract(
                &[(q, &[0, 1, 3, 4]), (k, &[0, 2, 3, 4])],
                &[0, 1, 3, 2],
                &[],
                1.0,
                S,
            ),
            f.contract(&[(a, &[0, 1])], &[1, 2, 0], &[(2, 3)], 1.0, S),
            f.contract(&[(a, &[0, 1]), (b, &[2, 3])], &[0], &[], 1.0, S),
            f.contract(&[], &[0, 1], &[(0, 2), (1, 3)], 1.0, S),
            f.sum(a, &[0], S),
            f.sum(a, &[1], S),
            f.sum(a, &[0, 1], S),
            f.sum(q, &[1, 3], S),
        ];
        // The empty product is f32.
        if elem == Elem::F64 {
            f.results.remove(13);
        }
        check(&f);
    }
}

#[test]
fn attention_scores_and_values() {
    let mut f = Function::new("attention");
    let q = f.param(ty(Elem::F32, &[3, 12, 2, 8]), "q");
    let k = f.param(ty(Elem::F32, &[3, 14, 2, 8]), "k");
    let v = f.param(ty(Elem::F32, &[3, 14, 2, 8]), "v");
    let s = f.contract(
        &[(q, &[0, 1, 3, 4]), (k, &[0, 2, 3, 4])],
        &[0, 3, 1, 2],
        &[],
        0.25,
        S,
    );
    let t = f.unary(Unary::Tanh, s, S);
    let y = f.contract(
        &[(t, &[0, 3, 1, 2]), (v, &[0, 2, 3, 4])],
        &[0, 1, 3, 4],
        &[],
        1.0,
        S,
    );
    // Three factors, and one that no sum touches.
    let a = f.param(ty(Elem::F32, &[30, 20]), "a");
    let b = f.param(ty(Elem::F32, &[30, 25]), "b");
    let weight = f.param(ty(Elem::F32, &[30]), "weight");
    let scalar = f.param(Type::scalar(Elem::F32), "scalar");
    let w = f.contract(
        &[(a, &[0, 1]), (b, &[0, 2]), (weight, &[0]), (scalar, &[])],
        &[1, 2],
        &[],
        0.5,
        S,
    );
    f.results = vec![y, w];
    let plan = check(&f);
    assert_eq!(common::counts(&plan).1, 3);
}

#[test]
fn powers_and_deltas() {
    let mut f = Function::new("deltas");
    let a = f.param(ty(Elem::F64, &[6, 5]), "a");
    let v = f.param(ty(Elem::F64, &[6]), "v");
    let contract =
        |labels: &[&[u8]], powers: &[u32], deltas: &[(u8, u8)], out: &[u8], sizes: &[usize]| {
            Op::Contract(Contract {
                factors: labels
                    .iter()
                    .zip(powers)
                    .map(|(l, &power)| Factor {
                        labels: l.iter().copied().collect(),
                        power,
                    })
                    .collect(),
                deltas: deltas.to_vec(),
                out: out.iter().copied().collect(),
                coefficient: 1.5,
                sizes: sizes.to_vec(),
            })
        };
    let diagonal = f.push1(
        contract(&[&[0]], &[1], &[(0, 1)], &[0, 1], &[6, 6]),
        &[v],
        ty(Elem::F64, &[6, 6]),
        S,
    );
    let squares = f.push1(
        contract(&[&[0, 1], &[0]], &[2, 3], &[], &[1], &[6, 5]),
        &[a, v],
        ty(Elem::F64, &[5]),
        S,
    );
    let renamed = f.push1(
        contract(&[&[0, 1], &[2]], &[1, 1], &[(0, 2)], &[1], &[6, 5, 6]),
        &[a, v],
        ty(Elem::F64, &[5]),
        S,
    );
    let big = f.push1(
        contract(&[&[0, 1], &[0, 2]], &[2, 1], &[], &[1, 2], &[6, 5, 5]),
        &[a, a],
        ty(Elem::F64, &[5, 5]),
        S,
    );
    f.results = vec![diagonal, squares, renamed, big];
    check(&f);
}

#[test]
fn movement() {
    let mut f = Function::new("movement");
    let x = f.param(ty(Elem::F32, &[4, 6, 5]), "x");
    let e = f.unary(Unary::Exp, x, S);
    let flat = f.reshape(e, &[4, 30], S);
    let ragged = f.reshape(x, &[5, 24], S);
    let third = f.reshape(x, &[3, 40], S);
    let doubled = f.binary(Binary::Add, flat, flat, S);
    let shifted = f.binary(Binary::Add, ragged, ragged, S);
    let t = f.permute(x, &[2, 0, 1], S);
    let t2 = f.binary(Binary::Add, t, t, S);
    let slice = f.push1(
        Op::Slice {
            start: vec![1, 0, 1],
            limit: vec![4, 6, 5],
            stride: vec![2, 3, 2],
        },
        &[e],
        ty(Elem::F32, &[2, 2, 2]),
        S,
    );
    let reverse = f.push1(
        Op::Reverse {
            axes: smallvec![0, 2],
        },
        &[slice],
        ty(Elem::F32, &[2, 2, 2]),
        S,
    );
    let minus = f.number(-7.0, Type::scalar(Elem::F32), S);
    let pad = f.push1(
        Op::Pad {
            low: vec![1, 0, 2],
            high: vec![0, 3, 1],
            interior: vec![0, 1, 2],
        },
        &[reverse, minus],
        ty(Elem::F32, &[3, 6, 7]),
        S,
    );
    let concat = f.push1(
        Op::Concat { axis: 1 },
        &[slice, reverse, slice],
        ty(Elem::F32, &[2, 6, 2]),
        S,
    );
    let iota = f.push1(Op::Iota { axis: 1 }, &[], ty(Elem::I64, &[4, 6]), S);
    let iota_f = f.convert(iota, Elem::F32, S);
    let stop = f.push1(Op::Stop, &[x], ty(Elem::F32, &[4, 6, 5]), S);
    f.results = vec![
        flat, ragged, third, doubled, shifted, t, t2, slice, reverse, pad, concat, iota, iota_f,
        stop, x, x,
    ];
    check(&f);
}

#[test]
fn reductions_and_scans() {
    for dims in [[5usize, 40], [40, 5], [17, 33]] {
        let mut f = Function::new("reductions");
        let x = f.param(ty(Elem::F32, &dims), "x");
        let y = f.unary(Unary::Sin, x, S);
        let mut results = Vec::new();
        for op in [Reduction::Max, Reduction::Min] {
            for axis in [0, 1] {
                let out = ty(Elem::F32, &[dims[1 - axis]]);
                let axes = smallvec![axis];
                results.push(f.push1(Op::Reduce { op, axes }, &[y], out, S));
                let out = ty(Elem::I64, &[dims[1 - axis]]);
                results.push(f.push1(Op::ArgReduce { op, axis }, &[y], out, S));
            }
            let axes = smallvec![0, 1];
            results.push(f.push1(Op::Reduce { op, axes }, &[y], Type::scalar(Elem::F32), S));
        }
        for axis in [0, 1] {
            for reverse in [false, true] {
                let out = ty(Elem::F32, &dims);
                results.push(f.push1(Op::CumSum { axis, reverse }, &[y], out, S));
            }
        }
        let out = ty(Elem::I64, &dims);
        results.push(f.push1(Op::ArgSort, &[y], out, S));
        f.results = results;
        check(&f);
    }
}

#[test]
fn long_sums_have_two_stages() {
    let mut f = Function::new("long");
    let x = f.param(ty(Elem::F32, &[20_000]), "x");
    let m = f.param(ty(Elem::F32, &[120, 130]), "m");
    let s = f.sum(x, &[0], S);
    let t = f.sum(m, &[0, 1], S);
    let square = f.multiply(m, m, S);
    let u = f.sum(square, &[0, 1], S);
    let axes = smallvec![0, 1];
    let op = Reduction::Max;
    let top = f.push1(Op::Reduce { op, axes }, &[m], Type::scalar(Elem::F32), S);
    f.results = vec![s, t, u, top];
    let plan = check(&f);
    assert!(plan.steps.len() <= 8, "{}", plan.steps.len());
}

#[test]
fn gather_and_scatter() {
    let mut f = Function::new("gather");
    let x = f.param(ty(Elem::F32, &[3, 8]), "x");
    let y = f.param(ty(Elem::F32, &[4, 3, 2]), "y");
    let rows = f.param(ty(Elem::I64, &[6]), "rows");
    let each = f.param(ty(Elem::I64, &[4, 5]), "each");
    let e = f.unary(Unary::Exp, x, S);
    let a = f.push1(
        Op::Gather {
            batch: 0,
            fault: Fault::Index,
        },
        &[e, rows],
        ty(Elem::F32, &[6, 8]),
        S,
    );
    let b = f.push1(
        Op::Gather {
            batch: 1,
            fault: Fault::Index,
        },
        &[y, each],
        ty(Elem::F32, &[4, 5, 2]),
        S,
    );
    let t = f.permute(x, &[1, 0], S);
    let c = f.push1(
        Op::Gather {
            batch: 0,
            fault: Fault::Index,
        },
        &[t, rows],
        ty(Elem::F32, &[6, 3]),
        S,
    );
    let doubled = f.binary(Binary::Add, a, a, S);
    let back = f.push1(
        Op::ScatterAdd { batch: 0 },
        &[rows, doubled],
        ty(Elem::F32, &[3, 8]),
        S,
    );
    let back2 = f.push1(
        Op::ScatterAdd { batch: 1 },
        &[each, b],
        ty(Elem::F32, &[4, 3, 2]),
        S,
    );
    let row = f.sum(a, &[1], S);
    let count = f.push1(
        Op::ScatterAdd { batch: 0 },
        &[rows, row],
        ty(Elem::F32, &[3]),
        S,
    );
    f.results = vec![a, b, c, doubled, back, back2, count];
    check(&f);
    // An index out of range is reported, with the index.
    let plan = planned(&f, true);
    let mut inputs: Vec<Tensor> = f
        .params
        .iter()
        .enumerate()
        .map(|(at, &p)| sample(f.ty(p), at as u64 + 1))
        .collect();
    inputs[2] = Tensor::i64(&[6], vec![0, 1, 2, 9, -4, 0]);
    let Err(Stopped::Check(code, detail)) = run_plan(&plan, &inputs) else {
        panic!("the index 9 went through");
    };
    assert!(detail == 9 || detail == -4, "{detail}");
    let check = &plan.checks[code as usize - 1];
    let Condition::Index { size, .. } = check.condition else {
        panic!("{check:?}");
    };
    assert!(!(0..size as i64).contains(&detail), "{check:?}");
}

#[test]
fn scatters_onto_a_param() {
    // Whether the updates read the table, and the copies that take.
    for (reads, copies) in [(false, 0), (true, 1)] {
        let mut f = Function::new("rows");
        let table = f.param(ty(Elem::F32, &[9, 20]), "table");
        let rows = f.param(ty(Elem::I64, &[6]), "rows");
        let more = f.param(ty(Elem::I64, &[2, 2]), "more");
        let x = f.param(ty(Elem::F32, &[6, 20]), "x");
        let y = f.param(ty(Elem::F32, &[2, 2, 20]), "y");
        let e = match reads {
            false => f.unary(Unary::Neg, x, S),
            true => f.push1(
                Op::Gather {
                    batch: 0,
                    fault: Fault::Index,
                },
                &[table, rows],
                ty(Elem::F32, &[6, 20]),
                S,
            ),
        };
        let next = f.push1(
            Op::ScatterAdd { batch: 0 },
            &[rows, e, more, y, table],
            ty(Elem::F32, &[9, 20]),
            S,
        );
        let both = f.push1(
            Op::ScatterAdd { batch: 0 },
            &[rows, x, more, y],
            ty(Elem::F32, &[9, 20]),
            S,
        );
        f.results = vec![next, both];
        f.aliases = vec![(0, 0)];
        let plan = check(&f);
        assert_eq!(counts(&plan).2, copies, "{plan:?}");
        // Zeros and two scatters; the two onto the table, and a kernel that copies it beforehand
        // where they read it.
        assert_eq!(counts(&plan).0, 5 + copies, "{plan:?}");
    }
}

#[test]
fn rows_of_a_state_are_written_in_place() {
    // Two rows put and one added, from rows that the table has; the fourth index is outside.
    let f = parse(
        "fn f(%0: f32[6,20], %1: i64[4], %2: i64[4], %3: f32[4,20]) {
  %4: f32[6,20] = loop 4 (%0; %1, %2, %3; ) {
    fn round(%0: i64, %1: f32[6,20], %2: i64, %3: i64, %4: f32[20]) {
      %5: f32[20] = gather batch 0 %1, %2
      %6: f32[20] = add %5, %4
      %7: f32[20] = tanh %6
      %8: f32[6,20] = put batch 0 %1, %3, %7
      %9: f32[20] = exp %5
      %10: f32[6,20] = put batch 0 %8, %2, %9
      %11: f32[6,20] = scatter_add batch 0 %2, %4, %10
      return %11
    }
  }
  return %4
}",
    );
    let numbers = sample(&ty(Elem::F32, &[6, 20]), 1);
    let more = sample(&ty(Elem::F32, &[4, 20]), 2);
    let read = Tensor::i64(&[4], vec![0, 3, 1, 5]);
    let put = Tensor::i64(&[4], vec![3, 1, -1, 6]);
    let plan = check_with(&f, &[numbers, read, put, more]);
    let rounds = plan.steps.iter().find_map(|step| match &step.kind {
        StepKind::Loop(looped) => Some(&looped.steps),
        _ => None,
    });
    let rounds = rounds.expect("the loop");
    // The new rows, and the three writes.
    assert!(rounds.len() <= 5, "{plan:?}");
    let whole = |step: &&aec_kernels::plan::Step| matches!(step.kind, StepKind::Copy { .. });
    assert_eq!(rounds.iter().filter(whole).count(), 0, "{plan:?}");
}

#[test]
fn draws() {
    for elem in [Elem::F32, Elem::F64] {
        let mut f = Function::new("draws");
        let seed = f.param(Type::scalar(Elem::I64), "seed");
        let step = f.param(Type::scalar(Elem::I64), "step");
        let example = f.param(ty(Elem::I64, &[6]), "example");
        let inner = f.param(ty(Elem::I64, &[6]), "inner");
        let mut draw = |distribution, operands: &[aec_ir::Value], batch, dims: &[usize]| {
            let op = Op::Draw {
                distribution,
                site: 77,
                batch,
                radices: vec![5; operands.len().saturating_sub(3)],
            };
            f.push1(op, operands, ty(elem, dims), S)
        };
        let a = draw(Distribution::Normal, &[seed, step, example], 1, &[6, 40]);
        let b = draw(
            Distribution::Uniform,
            &[seed, step, example, inner, inner],
            1,
            &[6],
        );
        let c = draw(Distribution::Normal, &[seed, step], 0, &[3, 5]);
        let shifted = f.binary(Binary::Add, a, a, S);
        let total = f.sum(a, &[0], S);
        f.results = vec![b, c, shifted, total];
        check(&f);
    }
}

#[test]
fn conversions() {
    let mut f = Function::new("convert");
    let x = f.param(ty(Elem::F64, &[20]), "x");
    let i = f.param(ty(Elem::I64, &[20]), "i");
    f.results = vec![
        f.convert(x, Elem::F32, S),
        f.convert(x, Elem::I32, S),
        f.convert(x, Elem::Bool, S),
        f.convert(i, Elem::F64, S),
        f.convert(i, Elem::I32, S),
        f.convert(i, Elem::Bool, S),
    ];
    check(&f);
}

#[test]
fn softmax_rows_are_one_kernel() {
    let mut f = Function::new("softmax");
    let x = f.param(ty(Elem::F32, &[12, 40]), "x");
    let axes = smallvec![1];
    let op = Reduction::Max;
    let top = f.push1(Op::Reduce { op, axes }, &[x], ty(Elem::F32, &[12]), S);
    let wide = f.contract(&[(top, &[0])], &[0, 1], &[(1, 40)], 1.0, S);
    let shifted = f.binary(Binary::Sub, x, wide, S);
    let e = f.unary(Unary::Exp, shifted, S);
    let sum = f.sum(e, &[1], S);
    let sums = f.contract(&[(sum, &[0])], &[0, 1], &[(1, 40)], 1.0, S);
    let y = f.binary(Binary::Div, e, sums, S);
    let log = f.unary(Unary::Log, sum, S);
    f.results = vec![y, log];
    let plan = check(&f);
    assert_eq!(plan.steps.len(), 1);
}

#[test]
fn gradients_of_a_split_are_put_side_by_side() {
    for swap in [false, true] {
        let mut f = Function::new("split");
        let x = f.param(ty(Elem::F32, &[6, 5]), "x");
        let y = f.param(ty(Elem::F32, &[6, 3]), "y");
        let zero = f.number(0.0, Type::scalar(Elem::F32), S);
        let mut pad = |v, low, high| {
            let op = Op::Pad {
                low: vec![0, low],
                high: vec![0, high],
                interior: vec![0, 0],
            };
            f.push1(op, &[v, zero], ty(Elem::F32, &[6, 8]), S)
        };
        let (a, b) = (pad(x, 0, 3), pad(y, 5, 0));
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let sum = f.binary(Binary::Add, a, b, S);
        f.results = vec![sum];
        let plan = check(&f);
        assert_eq!(plan.steps.len(), 2);
        assert_eq!(plan.arena_bytes, 0);
    }
}

#[test]
fn constants_and_empty_tensors() {
    let mut f = Function::new("constants");
    let x = f.param(ty(Elem::F32, &[0, 4]), "x");
    let y = f.param(ty(Elem::F32, &[4, 6]), "y");
    let dense = f.push1(
        Op::Dense(std::sync::Arc::new(Tensor::f32(&[3], vec![1.0, 2.0, 3.0]))),
        &[],
        ty(Elem::F32, &[3]),
        S,
    );
    let c = f.constant(Literal::Int(4), ty(Elem::I32, &[2, 2]), S);
    let z = f.contract(&[(x, &[0, 1]), (y, &[1, 2])], &[0, 2], &[], 1.0, S);
    let none = f.sum(x, &[0, 1], S);
    let nothing = f.contract(&[(x, &[0, 1]), (x, &[0, 2])], &[1, 2], &[], 1.0, S);
    f.results = vec![dense, c, z, none, nothing, dense];
    check(&f);
}

#[test]
fn a_long_sum_takes_along_what_its_terms_are_made_of() {
    // Rows of 1250 entries are no whole number of vectors; a prime number of entries has no rows.
    for (n, rows) in [(20_000, 16), (9_973, 0)] {
        for elem in [Elem::F32, Elem::F64] {
            let mut f = Function::new("chain");
            let x = f.param(ty(elem, &[n]), "x");
            let (t, e) = (f.unary(Unary::Tanh, x, S), f.unary(Unary::Exp, x, S));
            let term = f.multiply(t, e, S);
            let total = f.contract(&[(term, &[0])], &[], &[], 1.0, S);
            // e (1 + t - t^2), the slope of the sum.
            let square = f.multiply(t, t, S);
            let rest = f.binary(Binary::Sub, t, square, S);
            let slope = f.multiply(rest, e, S);
            let slope = f.binary(Binary::Add, slope, e, S);
            f.results = vec![total, slope];
            check(&f);
            let plan = planned(&f, true);
            if rows > 0 {
                // One pass, and one over the rows' sums, which alone go through memory.
                assert_eq!(counts(&plan).0, 2, "{plan:?}");
                assert_eq!(plan.arena_bytes, (rows * elem.bytes()).next_multiple_of(64));
            }
        }
    }
}
