//! A step with room for more examples than there are does what a step of their number does: the
//! same loss, parts, weights and averages, whatever the model.

use aec_driver::exec::elements;
use aec_driver::{Options, Session};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use aec_types::{BatchSize, TrainRequest, Value, leaves, train_sets};

/// Room for examples in a full batch, and the places of those that the last one has.
const ROOM: usize = 5;
const LAST: [usize; 3] = [6, 1, 4];

/// Two steps on the same short batch from where `text` says: `(model, data, optimizer)`. All that
/// the step gives: new weights, averages and state, then the loss and its parts.
fn step(text: &str, room: usize, interpret: bool) -> Vec<Tensor> {
    let options = Options {
        float: Elem::F64,
        threads: 1,
        interpret,
        ..Options::default()
    };
    let mut session = Session::new(options, Box::new(std::io::sink()));
    let (outcome, value) = session.evaluate("last_batch.ae", text);
    let Some(Value::Tuple(given)) = value else {
        panic!("{text}: {:?}", outcome.diagnostics);
    };
    let elaborator = &mut session.elaborator;
    let data = elaborator.packed_data(&given[1], Span::NONE).expect("data");
    let mut request = TrainRequest {
        model: given[0].clone(),
        data,
        settings: Vec::new(),
        span: Span::NONE,
        data_span: Span::NONE,
    };
    // A second set, if there is one, has full batches.
    let short = BatchSize {
        room,
        may_be_short: room > LAST.len(),
    };
    let full = BatchSize {
        room: 2,
        may_be_short: false,
    };
    let sets = train_sets(&request.data);
    let batches: Vec<(BatchSize, f64)> = [(short, 0.7), (full, 0.3)][..sets.len()].to_vec();
    request.model = elaborator
        .with_started_averages(&request, &batches)
        .expect("a model");
    let state = elaborator
        .init_optimizer(&given[2], &request.model, Span::NONE)
        .expect("a state");
    let traced = elaborator
        .trace_train_step(&request, &given[2], &state, &batches)
        .expect("a step");
    let kept = traced.model_leaves + traced.state_leaves;
    let (parts, constants) = (traced.parts.len(), traced.constants);
    let inputs = traced.function.params.len();
    let compiler = &session.world.compiler;
    let program = compiler.compile(traced.function, Span::NONE).expect("code");
    let mut instance = program.instance(None);
    let changing = leaves(&request.model)
        .into_iter()
        .filter(|leaf| leaf.changes);
    for (at, leaf) in changing.chain(leaves(&state)).enumerate() {
        instance.set_input(at, &elements(&leaf.tensor).expect("in memory"));
    }
    for (at, constant) in constants.iter().enumerate() {
        instance.set_input(inputs - constants.len() + at, constant);
    }
    instance.set_int(kept, 11);
    for round in 0..2 {
        instance.set_int(kept + 1, round);
        let mut at = kept + 2;
        for (set, (size, _)) in sets.iter().zip(&batches) {
            let mut rows = LAST.to_vec();
            rows.resize(size.room, LAST[0]);
            instance.set_ints(at, &[size.room], rows.iter().map(|&row| row as i64));
            at += 1;
            if size.may_be_short {
                let shares = (0..size.room).map(|row| f64::from(u8::from(row < LAST.len())) / 3.0);
                instance.set_reals(at, &[size.room], shares);
                at += 1;
            }
            for leaf in leaves(&set.data) {
                instance.set_rows(at, &elements(&leaf.tensor).expect("in memory"), &rows);
                at += 1;
            }
        }
        assert_eq!(at + constants.len(), inputs);
        instance.run().expect("a run");
    }
    let figures =
        (kept..=kept + parts).map(|at| Tensor::f64(&[], vec![instance.output_scalar(at)]));
    let kept: Vec<Tensor> = (0..kept).map(|at| instance.input(at)).collect();
    kept.into_iter().chain(figures).collect()
}

/// Largest difference between two steps, relative to the largest number of each tensor.
fn apart(a: &[Tensor], b: &[Tensor]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mut worst: f64 = 0.0;
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.to_f64_vec(), b.to_f64_vec());
        assert!(a.iter().chain(&b).all(|x| x.is_finite()), "{a:?} {b:?}");
        let largest = a.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
        let gaps = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / largest);
        worst = gaps.fold(worst, f64::max);
    }
    worst
}

fn same(text: &str) {
    let alone = step(text, LAST.len(), false);
    let filled = step(text, ROOM, false);
    let difference = apart(&alone, &filled);
    assert!(difference < 1e-9, "{text}\ndiffers by {difference:e}");
    // The interpreter knows nothing of kernels, nor of what they leave out.
    let plain = step(text, ROOM, true);
    let difference = apart(&plain, &filled);
    assert!(
        difference < 1e-9,
        "{text}\ndiffers by {difference:e} from the interpreter"
    );
    // What is compared did change.
    let other = step(&text.replace("normal(0, 1)", "normal(0, 2)"), ROOM, false);
    assert!(
        apart(&filled, &other) > 1e-3,
        "{text}\ndoes not look at its data"
    );
}

#[test]
fn plain_losses() {
    same(
        "use autoencoders as zoo\nuse optim\nlet x: [7, 6] ~ normal(0, 1)\n(zoo.Vanilla([6, 4, 2]), x, optim.sgd(0.1))",
    );
}

#[test]
fn draws_are_those_of_the_example() {
    for model in ["zoo.Vae(6, 5, 2)", "zoo.Denoising(6, 4)"] {
        same(&format!(
            "use autoencoders as zoo\nuse optim\nlet x: [7, 6] ~ normal(0, 1)\n({model}, sigmoid(x), optim.sgd(0.1))"
        ));
    }
    same(
        "use nn
use optim
model Dropped(D, H) {
  param W: [H, D] ~ glorot
  encoder(x: [D]) -> [H] = nn.dropout(tanh(W @ x), 0.6)
  loss(x: [D]) = l2(W' @ encoder(x), x)
}
let x: [7, 6] ~ normal(0, 1)
(Dropped(6, 5), x, optim.sgd(0.1))",
    );
}

#[test]
fn missing_entries() {
    for model in ["zoo.Masked(6, 3)", "zoo.MaskedLs(6, 2)"] {
        same(&format!(
            "use autoencoders as zoo\nuse optim\nlet x: [7, 6] ~ normal(0, 1)\n({model}, hide(x, x > 0.8), optim.sgd(0.1))"
        ));
    }
}

#[test]
fn jacobians() {
    same(
        "use autoencoders as zoo\nuse optim\nlet x: [7, 6] ~ normal(0, 1)\n(zoo.Contractive(6, 4), x, optim.sgd(0.1))",
    );
}

#[test]
fn means_over_the_batch() {
    same(
        "use autoencoders as zoo\nuse optim\nlet x: [7, 6] ~ normal(0, 1)\n(zoo.Sparse(6, 4), x, optim.sgd(0.1))",
    );
    same(
        "use nn
use optim
model Net(D, H) {
  param enc: nn.Linear(D, H)
  param norm: nn.BatchNorm(H)
  param dec: nn.Linear(H, D)
  loss(x: [D]) = (rec = l2(dec(tanh(norm(enc(x)))), x), size = sum(abs(batch_mean(x ?? 0))))
}
let x: [7, 6] ~ normal(0, 1)
(Net(6, 4), x, optim.sgd(0.1))",
    );
    // Of what is observed.
    same(
        "use optim
model Centred(D) {
  param w: [D] = 0.5
  loss(x: ?[D]) = sum((w * x - batch_mean(x))^2)
}
let x: [7, 6] ~ normal(0, 1)
(Centred(6), hide(x, x > 0.8), optim.sgd(0.1))",
    );
}

#[test]
fn sequences_and_trees() {
    same(
        "use nn
use optim
model Last(H) {
  param cell: nn.Gru(1, H)
  param out: [H] ~ normal(0, 1)
  loss(x: [n]) {
    let h = reduce(fn h, v -> cell(h, [v]), zeros[H], x)
    (sum(x) - out @ h)^2
  }
}
let all: [7, 8] ~ normal(0, 1)
(Last(3), [all[0][0..3], all[1][0..2], all[2][0..5], all[3][0..8], all[4][0..4], all[5][0..1], all[6][0..6]], optim.sgd(0.05))",
    );
    same(
        "use trees
use data
use optim
model Rae(V, D) {
  param words: [V, D] ~ normal(0, 1)
  param W: [D, 2*D] ~ glorot
  param U: [2*D, D] ~ glorot
  loss(t: tree[token]) -> real =
    fold(t,
      leaf = fn w -> (words[w], 0.0),
      node = fn (l, el), (r, er) -> {
        let p = tanh(W @ concat(l, r))
        (p, el + er + l2(U @ p, concat(l, r)) / 2)
      }).1
}
let many = trees.parse([\"((a b) (c (d e)))\", \"a\", \"(a b)\", \"(((a b) c) d)\", \"(e (d (c (b a))))\",
  \"((a a) b)\", \"((a b) ((c d) e))\"], data.vocab(\"a b c d e\"))
(Rae(5, 4), many, optim.sgd(0.1))",
    );
}

#[test]
fn sets_of_examples_by_name() {
    same(
        "use optim
model Two(D) {
  param W: [D, D] ~ glorot
  fn first(x: [D]) = (l2(W @ x, x) + sum(W^2))
  fn second(y: [D], z: real) = (sum(W @ y) - z)^2
}
let x: [7, 6] ~ normal(0, 1)
let z: [9] ~ normal(0, 1)
(Two(6), (first = x, second = (concat(x, x[0..2]), z)), optim.sgd(0.1))",
    );
}

#[test]
fn optimizers_that_call_the_loss() {
    same(
        "use autoencoders as zoo\nuse optim\nlet x: [7, 6] ~ normal(0, 1)\n(zoo.Vae(6, 4, 2), sigmoid(x), optim.lbfgs(memory = 3))",
    );
}
