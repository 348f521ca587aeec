//! What penalties on Jacobians cost when scripts say them: the counts of AUTODIFF.md section 1,
//! of whole steps as their plans have them.

mod common;

use common::Folder;
use std::path::Path;

/// MFLOP and the largest value's elements of every statement that computes, by its line.
fn counts(script: &str) -> Vec<(usize, f64, usize)> {
    let folder = Folder::new("arithmetic");
    let nets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/nets.ae");
    let nets = std::fs::read_to_string(nets).expect("the models of the benchmarks");
    folder.write("nets.ae", &nets);
    folder.write("counted.ae", script);
    let shown = folder.aec(&["show", "kernels", "counted.ae"]).well().out;
    let mut found = Vec::new();
    let mut lines = shown.lines();
    while let Some(line) = lines.next() {
        let Some(place) = line
            .strip_prefix("── counted.ae:")
            .and_then(|rest| rest.strip_suffix(", arithmetic ──"))
        else {
            continue;
        };
        let counted = lines.next().expect("the counts below");
        let words: Vec<&str> = counted.split_whitespace().collect();
        let line = place.split(':').next().expect("a line").parse();
        let largest = words[words.len() - 2].parse();
        let flops = words[0].parse().expect("MFLOP");
        found.push((line.expect("a line"), flops, largest.expect("elements")));
    }
    found
}

/// The dearest function of a line.
fn on_line(counts: &[(usize, f64, usize)], line: usize) -> (f64, usize) {
    let of_line = counts.iter().filter(|&&(at, ..)| at == line);
    of_line
        .map(|&(_, flops, largest)| (flops, largest))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or_else(|| panic!("nothing is computed on line {line}: {counts:?}"))
}

/// Value and gradient by all parameters, batch 64.
fn step(model: &str) -> (f64, usize) {
    let script = format!(
        "use nets
let x: [64, 784] ~ uniform(0, 1)
let m = nets.{model}
let (value, gradient) = value_and_grad(fn m -> mean(m.loss(x)))(m)
"
    );
    on_line(&counts(&script), 4)
}

#[test]
fn a_penalty_by_jacobian_costs_what_its_closed_form_costs() {
    let (closed, _) = step("ContractiveClosed(784, 256, 0.1)");
    let (flops, largest) = step("Contractive(784, 256, 0.1)");
    assert!(flops <= 1.05 * closed, "{flops} against {closed} MFLOP");
    assert!(flops <= 131.0, "{flops} MFLOP");
    // The weights are the largest: nothing is of batch, hidden and input.
    assert_eq!(largest, 784 * 256);
}

#[test]
fn penalties_of_deeper_encoders() {
    let (flops, largest) = step("ContractiveDeep([784, 256, 64], [64, 256, 784], 0.1)");
    assert!(flops <= 1450.0, "{flops} MFLOP");
    assert!(largest <= 64 * 64 * 256, "{largest}");
    let (flops, largest) = step("ContractiveDeep([784, 512, 256, 64], [64, 256, 512, 784], 0.1)");
    assert!(flops <= 8800.0, "{flops} MFLOP");
    assert!(largest <= 64 * 64 * 512, "{largest}");
}

#[test]
fn other_expressions_of_jacobians() {
    let head = "let x: [64, 784] ~ normal(0, 1)
let h: [64, 256] ~ normal(0, 1)
let mask: [64, 784] ~ uniform(0, 1)
let W: [256, 784] ~ normal(0, 0.1)
let V: [784, 256] ~ normal(0, 0.1)
";
    let cases = [
        (
            "fn f(x: [784]) = trace(jacobian(fn x -> V @ tanh(W @ x))(x))\nlet y = f(x)",
            26.5,
            784 * 256,
        ),
        (
            "fn f(x: [784]) = sum(jacobian(fn x -> x + V @ tanh(W @ x))(x)^2)\nlet y = f(x)",
            240.5,
            64 * 1024,
        ),
        (
            "fn f(x: [784], m: [784]) = sum(jacobian(fn x -> sigmoid(W @ (m * x)))(x)^2)\nlet y = f(x, mask)",
            52.5,
            784 * 256,
        ),
        (
            "fn f(x: [784]) = sum(jacobian(fn x -> tanh(x))(x)^2)\nlet y = f(x)",
            0.31,
            64 * 784,
        ),
        (
            "fn f(h: [256]) = sum(jacobian(fn h -> sigmoid(V @ h))(h)^2)\nlet y = f(h)",
            26.5,
            784 * 64,
        ),
        (
            "fn f(x: [784]) { let J = jacobian(fn x -> sigmoid(W @ x))(x); J @ J' }\nlet y = f(x)",
            137.5,
            64 * 256 * 256,
        ),
    ];
    for (text, most, most_elements) in cases {
        let (flops, largest) = on_line(&counts(&format!("{head}{text}\n")), 7);
        assert!(flops <= most, "{flops} MFLOP, not {most}: {text}");
        assert!(largest <= most_elements, "{largest} elements: {text}");
    }
}

#[test]
fn a_branch_costs_no_network_a_second_time() {
    let step = |activation: &str, loss: &str| {
        let script = format!(
            "use nn
fn act(x: real) -> real = {activation}
fn cost(scores: [C], y: int) -> real {{ let top = stop(max(scores)); {loss} - scores[y] }}
model Net(d) {{
  param layers: [nn.Linear(d, d) for _ in 0..3]
  param norms: [nn.LayerNorm(d) for _ in 0..2]
  param out: nn.Linear(d, 10)
  loss(x: [d], y: int) {{
    let h = map(act, norms[0](layers[0](x)))
    let h = map(act, norms[1](layers[1](h)))
    cost(out(layers[2](h)), y)
  }}
}}
let x: [64, 128] ~ normal(0, 1)
let m = Net(128)
let y = mod(0..64, 10)
let (value, gradient) = value_and_grad(fn m -> mean(m.loss(x, y)))(m)
"
        );
        on_line(&counts(&script), 17).0
    };
    let sum = "(top + log(sum(exp(scores - top))))";
    let plain = step("max(x, 0.1 * x)", sum);
    for activation in [
        "if x > 0 then x else 0.1 * x",
        "if x > 0 then x else 0",
        "if x > 0 then x else exp(x) - 1",
    ] {
        let chosen = step(activation, sum);
        assert!(
            chosen <= 1.01 * plain,
            "{chosen} against {plain} MFLOP: {activation}"
        );
    }
    let limit = step(
        "max(x, 0.1 * x)",
        &format!("(if abs(top) == inf then top else {sum})"),
    );
    assert!(limit <= 1.01 * plain, "{limit} against {plain} MFLOP");
}
