//! Whole training steps: the number of steps of their plans, memory in place, results.

mod common;

use aec_ir::{Binary, Function, Guard, Type, Unary, Value};
use aec_kernels::eval::{Stopped, run_plan};
use aec_kernels::plan::{Place, StepKind};
use aec_kernels::report;
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use common::{assert_close, check_with, counts, parse, planned, sample};

const S: Span = Span::NONE;

fn f32s(dims: &[usize]) -> Type {
    Type::new(Elem::F32, dims)
}

/// A number repeated over the dims of `like`.
fn splat(f: &mut Function, x: f64, like: Value) -> Value {
    let ty = f.ty(like).clone();
    f.number(x, ty, S)
}

/// A scalar repeated over the dims of `like`.
fn broadcast(f: &mut Function, scalar: Value, like: Value) -> Value {
    let dims = f.dims(like).to_vec();
    f.broadcast_leading(scalar, &dims, S)
}

/// Adam: the new `(w, m, v)`.
fn adam(f: &mut Function, w: Value, m: Value, v: Value, g: Value, rates: [Value; 2]) -> [Value; 3] {
    let m1 = f.scale(m, 0.9, S);
    let g1 = f.scale(g, 0.1, S);
    let m = f.binary(Binary::Add, m1, g1, S);
    let v1 = f.scale(v, 0.999, S);
    let g2 = f.multiply(g, g, S);
    let g2 = f.scale(g2, 0.001, S);
    let v = f.binary(Binary::Add, v1, g2, S);
    let rate = broadcast(f, rates[0], w);
    let correction = broadcast(f, rates[1], w);
    let vh = f.multiply(v, correction, S);
    let root = f.unary(Unary::Sqrt, vh, S);
    let epsilon = splat(f, 1e-8, w);
    let d = f.binary(Binary::Add, root, epsilon, S);
    let step = f.binary(Binary::Div, m, d, S);
    let step = f.multiply(step, rate, S);
    let w = f.binary(Binary::Sub, w, step, S);
    [w, m, v]
}

/// An autoencoder x -> tanh layers -> x, squared error, all gradients, Adam. Params: x, the
/// step's rates, then w, m, v of each weight and bias. Results: the loss, then the new ones.
fn autoencoder(batch: usize, sizes: &[usize]) -> Function {
    let mut f = Function::new("train");
    let x = f.param(f32s(&[batch, sizes[0]]), "x");
    let rate = f.param(f32s(&[]), "rate");
    let correction = f.param(f32s(&[]), "correction");
    let layers = sizes.len() - 1;
    let mut state: Vec<[Value; 3]> = Vec::new();
    for layer in 0..layers {
        for (dims, name) in [
            (vec![sizes[layer], sizes[layer + 1]], "w"),
            (vec![sizes[layer + 1]], "b"),
        ] {
            let p =
                |f: &mut Function, kind: &str| f.param(f32s(&dims), format!("{name}{layer}{kind}"));
            state.push([p(&mut f, ""), p(&mut f, ".m"), p(&mut f, ".v")]);
        }
    }
    // Forward.
    let mut activations = vec![x];
    for layer in 0..layers {
        let input = activations[layer];
        let z = f.contract(
            &[(input, &[0, 1]), (state[2 * layer][0], &[1, 2])],
            &[0, 2],
            &[],
            1.0,
            S,
        );
        let b = f.broadcast_leading(state[2 * layer + 1][0], &[batch], S);
        let z = f.binary(Binary::Add, z, b, S);
        let last = layer + 1 == layers;
        let a = if last { z } else { f.unary(Unary::Tanh, z, S) };
        activations.push(a);
    }
    let y = activations[layers];
    let error = f.binary(Binary::Sub, y, x, S);
    let squares = f.multiply(error, error, S);
    let scale = 1.0 / (batch * sizes[0]) as f64;
    let loss = f.contract(&[(squares, &[0, 1])], &[], &[], scale, S);
    f.guards.push(Guard {
        value: loss,
        span: S,
    });
    // Backward.
    let mut g = f.scale(error, 2.0 * scale, S);
    let mut results = vec![loss];
    let mut updates = Vec::new();
    for layer in (0..layers).rev() {
        let w = state[2 * layer];
        let dw = f.contract(
            &[(activations[layer], &[0, 1]), (g, &[0, 2])],
            &[1, 2],
            &[],
            1.0,
            S,
        );
        let db = f.sum(g, &[0], S);
        updates.push((layer, dw, db));
        if layer > 0 {
            let dx = f.contract(&[(g, &[0, 1]), (w[0], &[2, 1])], &[0, 2], &[], 1.0, S);
            let a = activations[layer];
            let aa = f.multiply(a, a, S);
            let one = splat(&mut f, 1.0, a);
            let slope = f.binary(Binary::Sub, one, aa, S);
            g = f.multiply(dx, slope, S);
        }
    }
    updates.reverse();
    for (layer, dw, db) in updates {
        for (part, gradient) in [dw, db].into_iter().enumerate() {
            let [w, m, v] = state[2 * layer + part];
            results.extend(adam(&mut f, w, m, v, gradient, [rate, correction]));
        }
    }
    f.aliases = (3..f.params.len())
        .map(|param| (param, param - 2))
        .collect();
    f.results = results;
    f
}

fn inputs_of(f: &Function) -> Vec<Tensor> {
    f.params
        .iter()
        .enumerate()
        .map(|(at, &p)| {
            let t = sample(f.ty(p), at as u64 + 5);
            // Second moments are not negative.
            let positive = f.param_names[at].ends_with(".v");
            let values = t.to_f64_vec().into_iter();
            let values = values.map(|x| if positive { x.abs() } else { 0.3 * x });
            Tensor::from_f64(t.elem(), t.dims(), values)
        })
        .collect()
}

#[test]
fn an_autoencoder_step_is_few_steps() {
    let f = autoencoder(13, &[40, 24, 6, 24, 40]);
    let plan = check_with(&f, &inputs_of(&f));
    let (kernels, products, copies) = counts(&plan);
    let text = report::describe(&plan, None);
    // 4 forward, 3 backward, 4 for the weights' gradients.
    assert_eq!(products, 11, "{text}");
    assert_eq!(copies, 0, "{text}");
    // Per layer the bias, and the loss.
    assert!(kernels <= 4 + 2, "{kernels} kernels\n{text}");
    for step in &plan.steps {
        if let StepKind::Gemm(gemm) = &step.kind {
            assert!(gemm.epilogue.is_some(), "{text}");
        }
    }
    // Weights' gradients never have memory.
    let has_gradient = plan
        .buffers
        .values()
        .any(|buffer| matches!(buffer.place, Place::Arena(_)) && buffer.ty.dims[..] == [40, 24]);
    assert!(!has_gradient, "{text}");
}

#[test]
fn updates_come_after_the_guard() {
    let f = autoencoder(4, &[16, 8, 16]);
    let plan = planned(&f, true);
    let guard = plan
        .steps
        .iter()
        .position(|step| matches!(step.kind, StepKind::Guard { .. }))
        .expect("a guard");
    let mut inputs = inputs_of(&f);
    for (at, step) in plan.steps.iter().enumerate() {
        let buffers = match &step.kind {
            StepKind::Kernel {
                kernel, buffers, ..
            } => (Some(*kernel), buffers.clone(), 0),
            StepKind::Gemm(gemm) => match &gemm.epilogue {
                Some((kernel, buffers)) => (Some(*kernel), buffers.clone(), 1),
                None => (None, vec![], 0),
            },
            _ => (None, vec![], 0),
        };
        let (Some(kernel), buffers, skip) = buffers else {
            continue;
        };
        let params = plan.kernels[kernel].buffers.values().skip(skip);
        for (param, buffer) in params.zip(buffers) {
            let writes = param.access != aec_kernels::lir::Access::Read;
            if writes && matches!(plan.buffers[buffer].place, Place::Input(_)) {
                assert!(at > guard, "step {at} writes an input before the guard");
            }
        }
    }
    inputs[0] = Tensor::from_f64(Elem::F32, inputs[0].dims(), vec![f64::NAN; 64]);
    assert_eq!(run_plan(&plan, &inputs), Err(Stopped::Guard(guard)));
}

#[test]
fn equal_sizes_do_not_tie_updates_to_the_loss() {
    // Batch and layers of one size: the loss could share kernels with the biases' updates.
    for batch in [16, 128] {
        let f = autoencoder(batch, &[40, batch, 8, batch, 40]);
        let plan = check_with(&f, &inputs_of(&f));
        let text = report::describe(&plan, None);
        assert_eq!(counts(&plan).2, 0, "{text}");
    }
}

#[test]
fn large_steps_share_out_and_stay_right() {
    let f = autoencoder(64, &[96, 80, 96]);
    check_with(&f, &inputs_of(&f));
}

#[test]
fn swapped_results_are_copied() {
    // Each result overwrites the other's source.
    let mut f = Function::new("swap");
    let a = f.param(f32s(&[4, 4]), "a");
    let b = f.param(f32s(&[4, 4]), "b");
    let a2 = f.scale(a, 2.0, S);
    let bt = f.permute(b, &[1, 0], S);
    f.results = vec![bt, a2, a];
    f.aliases = vec![(0, 0), (1, 1)];
    check_with(&f, &[sample(f.ty(a), 1), sample(f.ty(b), 2)]);
    // In place, transposed: every entry is still read when others are written.
    let mut f = Function::new("transpose");
    let a = f.param(f32s(&[5, 5]), "a");
    let t = f.permute(a, &[1, 0], S);
    let y = f.binary(Binary::Add, a, t, S);
    f.results = vec![y];
    f.aliases = vec![(0, 0)];
    let plan = check_with(&f, &[sample(f.ty(a), 3)]);
    assert_eq!(counts(&plan).2, 1);
}

#[test]
fn a_layer_norm_is_one_kernel() {
    let mut f = Function::new("norm");
    let x = f.param(f32s(&[20, 48]), "x");
    let gain = f.param(f32s(&[48]), "gain");
    let mean = f.contract(&[(x, &[0, 1])], &[0], &[], 1.0 / 48.0, S);
    let wide = f.contract(&[(mean, &[0])], &[0, 1], &[(1, 48)], 1.0, S);
    let d = f.binary(Binary::Sub, x, wide, S);
    let var = f.contract(&[(d, &[0, 1]), (d, &[0, 1])], &[0], &[], 1.0 / 48.0, S);
    let epsilon = f.number(1e-5, f32s(&[20]), S);
    let var = f.binary(Binary::Add, var, epsilon, S);
    let sd = f.unary(Unary::Sqrt, var, S);
    let sd = f.contract(&[(sd, &[0])], &[0, 1], &[(1, 48)], 1.0, S);
    let y = f.binary(Binary::Div, d, sd, S);
    let gains = f.broadcast_leading(gain, &[20], S);
    let y = f.multiply(y, gains, S);
    f.results = vec![y];
    let plan = check_with(&f, &[sample(f.ty(x), 1), sample(f.ty(gain), 2)]);
    assert_eq!(plan.steps.len(), 1, "{}", report::describe(&plan, None));
}

#[test]
fn draws_have_kernels_of_their_own() {
    // `W x + noise`: in a tile each line of 16 numbers would be a call.
    let text = |noise: &str| {
        format!(
            "fn f(%0: f32[64,70], %1: f32[90,70], %2: f32[64,90], %9: i64) {{
  %3: f32[64,90] = contract %0[a,b] %1[c,b] -> [a,c]
  %4: i64[64] = iota 0
  %5: f32[64,90] = {noise}
  %6: f32[64,90] = add %3, %5
  return %6
}}"
        )
    };
    let drawn = "draw normal site 0x7 batch 1 radices [] %9, %9, %4";
    for (noise, rides) in [("exp %2", true), (drawn, false)] {
        let f = parse(&text(noise));
        let inputs: Vec<Tensor> = (f.params.iter().enumerate())
            .map(|(at, &p)| sample(f.ty(p), at as u64))
            .collect();
        let plan = check_with(&f, &inputs);
        let (kernels, products, _) = counts(&plan);
        let report = report::describe(&plan, None);
        assert_eq!((kernels, products), (usize::from(!rides), 1), "{report}");
    }
}

#[test]
fn a_plan_reads_text() {
    let mut f = Function::new("f");
    let x = f.param(f32s(&[3, 4]), "x");
    let e = f.unary(Unary::Exp, x, S);
    let s = f.sum(e, &[1], S);
    f.results = vec![e, s];
    let text = aec_ir::print::print(&f);
    let again = parse(&text);
    let inputs = [sample(f.ty(x), 9)];
    let a = run_plan(&planned(&f, true), &inputs).expect("runs");
    let b = run_plan(&planned(&again, true), &inputs).expect("runs");
    for (a, b) in a.iter().zip(&b) {
        assert_close(a, b, "from text");
    }
    let described = report::describe(&planned(&f, true), None);
    assert!(described.contains("arena"), "{described}");
}
