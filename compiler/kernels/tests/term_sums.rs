//! Sums that a product takes along, and those that it must not.

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

/// What flows back in a layer, `[2048, 32]`, and what came in, `[2048, 48]`.
fn layer() -> (Function, Value, Value) {
    let mut f = Function::new("f");
    let g = f.param(f32s(&[2048, 32]), "g");
    let x = f.param(f32s(&[2048, 48]), "x");
    (f, g, x)
}

/// How many sums of A's rows and of B's columns products take along, when the plan gives what the
/// interpreter gives.
fn rides(f: &Function) -> [usize; 2] {
    let inputs: Vec<Tensor> = f.params.iter().map(|&p| sample(f.ty(p), 3)).collect();
    rides_of(&check_with(f, &inputs))
}

fn rides_of(plan: &Plan) -> [usize; 2] {
    let mut counts = [0, 0];
    for step in &plan.steps {
        if let StepKind::Gemm(gemm) = &step.kind {
            for (count, sum) in counts.iter_mut().zip(gemm.sums) {
                *count += usize::from(sum.is_some());
            }
        }
    }
    counts
}

#[test]
fn a_bias_gradient_goes_with_its_weight_gradient() {
    let (mut f, g, x) = layer();
    let dw = f.contract(&[(g, &[0, 1]), (x, &[0, 2])], &[1, 2], &[], 1.0, S);
    let db = f.sum(g, &[0], S);
    f.results = vec![dw, db];
    assert_eq!(rides(&f), [1, 0]);
    // The sum of the other side, too, and either order of the product.
    let dx = f.sum(x, &[0], S);
    f.results = vec![dw, db, dx];
    assert_eq!(rides(&f), [1, 1]);
    let (mut f, g, x) = layer();
    let dw = f.contract(&[(x, &[0, 2]), (g, &[0, 1])], &[2, 1], &[], 1.0, S);
    let db = f.sum(g, &[0], S);
    f.results = vec![dw, db];
    assert_eq!(rides(&f), [0, 1]);
}

#[test]
fn examples_and_places_are_terms_alike() {
    let mut f = Function::new("f");
    let g = f.param(f32s(&[16, 128, 32]), "g");
    let x = f.param(f32s(&[16, 128, 48]), "x");
    let dw = f.contract(&[(g, &[0, 3, 1]), (x, &[0, 3, 2])], &[1, 2], &[], 1.0, S);
    let db = f.sum(g, &[0, 1], S);
    f.results = vec![dw, db];
    assert_eq!(rides(&f), [1, 0]);
}

#[test]
fn the_bias_is_updated_after_the_product() {
    // What needs the sum over all tiles does not run on one.
    let (mut f, g, x) = layer();
    let dw = f.contract(&[(x, &[0, 2]), (g, &[0, 1])], &[2, 1], &[], 1.0, S);
    let db = f.sum(g, &[0], S);
    let wide = f.broadcast_leading(db, &[48], S);
    let both = f.binary(Binary::Sub, dw, wide, S);
    f.results = vec![both];
    assert_eq!(rides(&f), [0, 1]);
}

#[test]
fn a_sum_that_the_product_needs_goes_alone() {
    let (mut f, g, _) = layer();
    let db = f.sum(g, &[0], S);
    let repeated = f.broadcast_leading(db, &[2048], S);
    let centred = f.binary(Binary::Sub, g, repeated, S);
    let side = f.contract(&[(centred, &[0, 1]), (g, &[0, 2])], &[1, 2], &[], 1.0, S);
    f.results = vec![side, db];
    assert_eq!(rides(&f), [0, 0]);
}

#[test]
fn a_sum_over_the_other_axis_goes_alone() {
    let (mut f, g, x) = layer();
    let dw = f.contract(&[(g, &[0, 1]), (x, &[0, 2])], &[1, 2], &[], 1.0, S);
    let across = f.sum(g, &[1], S);
    f.results = vec![dw, across];
    assert_eq!(rides(&f), [0, 0]);
}
