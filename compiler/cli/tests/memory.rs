//! What a training step keeps for the way back (ARCHITECTURE.md, "Memory of a step"), counted by
//! hand and compared with the plan.

mod common;

use common::Folder;

/// Batch of the script.
const BATCH: f64 = 128.0;

/// Sixteen layers of 32, in blocks of four that are computed again or not, for 4096 examples.
const BLOCKS: &str = "use optim
model Layer(n) {
  param W: [n, n] ~ glorot
  apply(x: [n]) -> [n] = sin(W @ x)
}
model Deep(n) {
  param layers: [[Layer(n) for i in 0..4] for j in 0..4]
  fn four(h, layers) = reduce(fn h, layer -> layer(h), h, layers)
  loss(x: [n]) = mean((reduce(fn h, layers -> FOUR(h, layers), x, layers) - x)^2)
}
let x: [4096, 32] ~ uniform(0, 1)
let m = train Deep(32) on x { optimizer = optim.sgd(lr = 0.1), batch = 4096, epochs = 1 }
";

const DEEP: &str = "use optim
model Layer(n, m) {
  param W: [m, n] ~ glorot
  param b: [m] = 0
  apply(x: [n]) -> [m] = W @ x + b
}
model Deep(d: list[int]) {
  param layers: [Layer(d[i], d[i+1]) for i in 0..len(d)-1]
  apply(x: [n]) = layers[-1](reduce(fn h, layer -> relu(layer(h)), x, layers[0..len(d)-2]))
  loss(x: [n]) {
    let noise: [n] ~ normal(0, 0.3)
    mean((sigmoid(apply(x + noise)) - x)^2)
  }
}
let x: [128, 784] ~ uniform(0, 1)
let m = train Deep([784, 1000, 500, 250, 30, 250, 500, 1000, 784]) on x {
  optimizer = optim.adam(lr = 1e-3), batch = 128, epochs = 1
}
";

/// The plan of the training step: its buffers in the arena as (type, bytes), and the arena's size.
fn arena(plan: &str) -> (Vec<(String, f64)>, f64) {
    let step = plan.rsplit("── ").next().unwrap_or(plan);
    let size = |number: &str, unit: &str| {
        let scale = match unit.trim_end_matches([',', ';']) {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            other => panic!("no unit: {other}"),
        };
        number.parse::<f64>().expect("a number") * scale
    };
    let mut buffers = Vec::new();
    let mut whole = 0.0;
    for line in step.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, ty, number, unit, "arena", ..] => {
                buffers.push((ty.to_string(), size(number, unit)))
            }
            ["arena", number, unit, ..] => whole = size(number, unit),
            _ => {}
        }
    }
    (buffers, whole)
}

#[test]
fn a_deep_autoencoder_keeps_what_must_be_live() {
    let folder = Folder::new("memory");
    folder.write("deep.ae", DEEP);
    let plan = folder.aec(&["show", "plan", "deep.ae"]).well().out;
    let (buffers, whole) = arena(&plan);
    // Most is live when the last layer has been differentiated: the noisy input and the seven
    // hidden layers, which the gradients of the weights want; the slopes of the output, and those
    // of the hidden layer below it. The weights, their gradients and the examples lie elsewhere.
    let hidden = 1000.0 + 500.0 + 250.0 + 30.0 + 250.0 + 500.0 + 1000.0;
    let by_hand = 4.0 * BATCH * (784.0 + hidden + 784.0 + 1000.0);
    assert!(
        whole <= 1.2 * by_hand,
        "{:.2} times what must be live\n{plan}",
        whole / by_hand
    );
    // Of a layer the result and the slopes by its sums are kept; the sums before `relu` are not, as
    // its slope can be told from the result.
    let wide = |(ty, _): &&(String, f64)| ty == "f32[128,1000]";
    assert_eq!(buffers.iter().filter(wide).count(), 4, "{plan}");
}

/// A gradient of `sin` wants the sums before it, and that of the weights the layer's input: two
/// values for each layer of what is kept. Of blocks it keeps what they give, and at any time the
/// layers of one.
#[test]
fn blocks_that_are_computed_again_keep_what_they_give() {
    let value = 4.0 * 4096.0 * 32.0;
    for (name, four, by_hand) in [
        ("kept.ae", "four", 2.0 * 16.0 * value),
        ("again.ae", "remat(four)", (3.0 + 2.0 * 4.0 + 1.0) * value),
    ] {
        let folder = Folder::new(name);
        folder.write(name, BLOCKS.replace("FOUR", four));
        let plan = folder.aec(&["show", "plan", name]).well().out;
        let (_, whole) = arena(&plan);
        let ratio = whole / by_hand;
        assert!((0.8..1.1).contains(&ratio), "{name}: {ratio:.2}\n{plan}");
    }
}

/// Each round is a program of its own, as where its part of `x` begins belongs to it: a thousand programs
/// that run once do not keep a megabyte each.
#[cfg(target_os = "linux")]
#[test]
fn programs_that_run_once_keep_no_memory() {
    let folder = Folder::new("rounds");
    folder.write(
        "rounds.ae",
        "let x: [240_000] ~ normal(0, 1)
let s = 0.0
for i in 0..1000 { s = s + sum(x[i..i + 20_000]) }
print s == s
",
    );
    let limited = format!(
        "ulimit -v 1200000; exec '{}' run --threads 1 rounds.ae",
        env!("CARGO_BIN_EXE_aec")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &limited])
        .current_dir(&folder.0)
        .output()
        .expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "true\n");
}
