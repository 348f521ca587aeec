//! Sums of two matrix products that become one, and those that must not.

mod common;

use aec_ir::{Binary, Function, Type, Value};
use aec_kernels::plan::{Plan, StepKind};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use common::{check_with, sample};

const S: Span = Span::NONE;

fn f32s(dims: &[usize]) -> Type {
    Type::new(Elem::F32, dims)
}

/// A layer that is used twice: `[40, 24]` and `[50, 24]` flow back, `[40, 36]` and `[50, 36]` came in.
fn twice() -> (Function, [Value; 2]) {
    let mut f = Function::new("f");
    let products = [40, 50].map(|rows| {
        let g = f.param(f32s(&[rows, 24]), "g");
        let x = f.param(f32s(&[rows, 36]), "x");
        f.contract(&[(g, &[0, 1]), (x, &[0, 2])], &[1, 2], &[], 1.0, S)
    });
    (f, products)
}

/// For each product of the plan the terms that come first, and what they are multiplied by, when the
/// plan gives what the interpreter gives.
fn products(f: &Function) -> Vec<Option<(usize, f64)>> {
    let seeds = 3..;
    let inputs = f.params.iter().zip(seeds);
    let inputs: Vec<Tensor> = inputs.map(|(&p, seed)| sample(f.ty(p), seed)).collect();
    products_of(&check_with(f, &inputs))
}

fn products_of(plan: &Plan) -> Vec<Option<(usize, f64)>> {
    let mut found = Vec::new();
    for step in &plan.steps {
        if let StepKind::Gemm(gemm) = &step.kind {
            let first = gemm.before.as_ref();
            found.push(first.map(|before| (before.k, before.factor)));
        }
    }
    found
}

#[test]
fn a_sum_of_two_products_is_one() {
    let (mut f, [p, q]) = twice();
    f.results = vec![f.binary(Binary::Add, p, q, S)];
    assert_eq!(products(&f), [Some((50, 1.0))]);
    let (mut f, [p, q]) = twice();
    f.results = vec![f.binary(Binary::Sub, p, q, S)];
    assert_eq!(products(&f), [Some((50, -1.0))]);
    let (mut f, [p, q]) = twice();
    f.results = vec![f.binary(Binary::Sub, q, p, S)];
    assert_eq!(products(&f), [Some((40, -1.0))]);
}

#[test]
fn what_follows_runs_on_its_tiles() {
    let (mut f, [p, q]) = twice();
    let w = f.param(f32s(&[24, 36]), "w");
    let sum = f.binary(Binary::Add, p, q, S);
    f.results = vec![f.binary(Binary::Sub, w, sum, S)];
    let seeds: Vec<Tensor> = f.params.iter().map(|&p| sample(f.ty(p), 5)).collect();
    let plan = check_with(&f, &seeds);
    assert_eq!(products_of(&plan), [Some((50, 1.0))]);
    assert_eq!(plan.steps.len(), 1);
}

#[test]
fn products_meet_in_a_longer_sum() {
    let (mut f, [p, q]) = twice();
    let [w, v] = ["w", "v"].map(|name| f.param(f32s(&[24, 36]), name));
    let first = f.binary(Binary::Add, w, p, S);
    let second = f.binary(Binary::Add, first, v, S);
    f.results = vec![f.binary(Binary::Add, q, second, S)];
    assert_eq!(products(&f).len(), 1);
    assert!(products(&f)[0].is_some());
    // What is between is wanted, too.
    f.results.push(second);
    assert_eq!(products(&f), [None, None]);
}

#[test]
fn products_have_coefficients() {
    for (c, d, op, first) in [
        (1.0, 0.5, Binary::Add, 0.5),
        (0.25, 1.0, Binary::Sub, -4.0),
        (-2.0, 0.5, Binary::Add, -0.25),
    ] {
        let mut f = Function::new("f");
        let parts = [(40, c), (50, d)].map(|(rows, coefficient)| {
            let g = f.param(f32s(&[rows, 24]), "g");
            let x = f.param(f32s(&[rows, 36]), "x");
            f.contract(&[(g, &[0, 1]), (x, &[0, 2])], &[1, 2], &[], coefficient, S)
        });
        f.results = vec![f.binary(op, parts[0], parts[1], S)];
        assert_eq!(products(&f), [Some((50, first))]);
    }
}

#[test]
fn what_others_want_stays() {
    let (mut f, [p, q]) = twice();
    let sum = f.binary(Binary::Add, p, q, S);
    f.results = vec![sum, p];
    assert_eq!(products(&f), [None, None]);
    let (mut f, [p, _]) = twice();
    f.results = vec![f.binary(Binary::Add, p, p, S)];
    assert_eq!(products(&f).iter().flatten().count(), 0);
}

#[test]
fn sums_of_three_join_two() {
    let (mut f, [p, q]) = twice();
    let g = f.param(f32s(&[30, 24]), "g");
    let x = f.param(f32s(&[30, 36]), "x");
    let r = f.contract(&[(g, &[0, 1]), (x, &[0, 2])], &[1, 2], &[], 1.0, S);
    let sum = f.binary(Binary::Add, p, q, S);
    f.results = vec![f.binary(Binary::Add, sum, r, S)];
    let found = products(&f);
    assert_eq!(found.len(), 2);
    assert_eq!(found.iter().flatten().count(), 1);
}

#[test]
fn sums_of_terms_go_along_with_either() {
    let mut f = Function::new("f");
    let (mut products, mut sums) = (Vec::new(), Vec::new());
    for name in ["a", "b"] {
        let g = f.param(f32s(&[2048, 32]), name);
        let x = f.param(f32s(&[2048, 48]), "x");
        products.push(f.contract(&[(g, &[0, 1]), (x, &[0, 2])], &[1, 2], &[], 1.0, S));
        sums.push(f.sum(g, &[0], S));
    }
    let sum = f.binary(Binary::Add, products[0], products[1], S);
    f.results = vec![sum, sums[0], sums[1]];
    let inputs = f.params.iter().zip(3..);
    let inputs: Vec<Tensor> = inputs.map(|(&p, seed)| sample(f.ty(p), seed)).collect();
    let plan = check_with(&f, &inputs);
    let StepKind::Gemm(gemm) = &plan.steps[0].kind else {
        panic!("no product first")
    };
    let before = gemm.before.as_ref().expect("a sum of two");
    assert!(gemm.sums[0].is_some() && before.sums[0].is_some());
    assert_eq!(plan.steps.len(), 1);
}

/// Weights of a loop come in panels once for all rounds, which a sum of two would do without.
#[test]
fn weights_in_panels_stay_alone() {
    let f = aec_ir::parse(
        "fn f(%0: f64[32,64], %1: f64[64,64], %2: f64[64,64]) {
  %3: f64[32,64], %4: f64[32,64] = loop 4 (%0, %0; ; %1, %2) {
    fn round(%0 \"t\": i64, %1 \"h\": f64[32,64], %2 \"c\": f64[32,64], %3 \"U\": f64[64,64], %4 \"V\": f64[64,64]) {
      %5: f64[32,64] = contract %1[a,c] %3[b,c] -> [a,b]
      %6: f64[32,64] = contract %2[a,c] %4[b,c] -> [a,b]
      %7: f64[32,64] = add %5, %6
      %8: f64[32,64] = tanh %7
      return %8, %1
    }
  }
  return %3, %4
}",
    )
    .unwrap()
    .remove(0);
    let inputs: Vec<Tensor> = f.params.iter().map(|&p| sample(f.ty(p), 7)).collect();
    let plan = check_with(&f, &inputs);
    let packs = plan
        .steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::Pack(_)));
    assert_eq!(packs.count(), 2);
    let inside = plan.steps.iter().find_map(|step| match &step.kind {
        StepKind::Loop(looped) => Some(&looped.steps),
        _ => None,
    });
    let joined = inside
        .expect("a loop")
        .iter()
        .filter(|step| matches!(&step.kind, StepKind::Gemm(gemm) if gemm.before.is_some()));
    assert_eq!(joined.count(), 0);
}
