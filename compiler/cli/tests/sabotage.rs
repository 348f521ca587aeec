//! A row that cannot fail shows nothing: each row of tests/rows is run with one fault put into
//! it, and must then fail at one of its own assertions.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Row, text in it, the fault that takes its place.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "A1_vanilla",
        "sigmoid(d3(relu(d2(relu(d1(h))))))",
        "sigmoid(d3(d2(d1(h))))",
    ),
    (
        "A2_sigmoid",
        "bce(decoder(encoder(v)), v)",
        "bce(decoder(stop(encoder(v))), v)",
    ),
    (
        "A3_tied",
        "sigmoid(W' @ h + c)",
        "sigmoid(stop(W)' @ h + c)",
    ),
    ("A6_gaussian", "l2(f, v) / (2 * s^2)", "l2(f, v) / s^2"),
    (
        "A7_binomial",
        "-> real = bce(f, v)",
        "-> real = bce(f, v) / n",
    ),
    (
        "A4_binary_units",
        "bernoulli(encoder(v))",
        "bernoulli(encoder(v)^2)",
    ),
    (
        "A5_likelihood",
        "normal(f, 0.5), fn f, v -> 2 * l2(f, v)",
        "normal(f, 0.5), fn f, v -> l2(f, v)",
    ),
    ("A9_multitask", "tanh(W1 @ x)", "0 * tanh(W1 @ x)"),
    (
        "A10_trivial",
        "param theta: [D] = -0.5",
        "param theta: [D] = 0.5",
    ),
    (
        "A12_layers",
        "nn.Mlp([K, 64, 128, D], last = sigmoid)",
        "nn.Mlp([K, D], last = sigmoid)",
    ),
    (
        "A14_training",
        "seed      = 1\n}\nlet c",
        "seed      = 4\n}\nlet c",
    ),
    ("C1_gaussian_noise", "noise.gaussian(x, sigma)))", "x))"),
    ("C2_zeroing", "noise.zero(x, p)))", "x))"),
    (
        "C3_any_corruption",
        "encoder(corrupt(x))), x)",
        "encoder(x)), x)",
    ),
    ("C4_salt_pepper", "128, 1.5, 0.5)", "128, 0.5, 1.5)"),
    (
        "C7_application",
        "denoise(noise.gaussian(x, 0.3))",
        "denoise(x)",
    ),
    (
        "C8_no_identity",
        "let dae = train Net(64, 128, 0.3)",
        "let dae = train Net(64, 128, 0.0)",
    ),
    ("C9_augmentation", "= noise.gaussian(x, 0.5)", "= x"),
    ("A13_larger_latent", "mask(x, keep = 0.7))), x)", "x)), x)"),
    (
        "D1_zeros",
        "encoder(mask(x, keep) / keep)",
        "encoder(mask(x, keep))",
    ),
    (
        "D5_unrolled",
        "eta * B' @ (x - B @ l), zeros[K]",
        "eta * B' @ ((x ?? 0) - B @ l), zeros[K]",
    ),
    ("D6_clamped", "((x - B @ l) ?? 0)", "((x ?? 0) - B @ l)"),
    (
        "D7_wrong_reading",
        "((x ?? 0) - B @ l), zeros[2]",
        "(x - B @ l), zeros[2]",
    ),
    ("D9_flags", "A @ nn.flags(x)", "A @ concat(x ?? 0, x ?? 0)"),
    (
        "D10_masks",
        "noise.keep_some(test_x[0], 20)",
        "noise.keep_some(test_x[0], 24)",
    ),
    ("D12_completion", "mask(x, keep = 0.7))), x)", "x)), x)"),
    (
        "I2_encoder",
        "exp(encoder(x).logvar / 2)",
        "encoder(x).logvar / 2",
    ),
    (
        "I3_kl",
        "kl_normal(mu, 2 * log(sigma))",
        "kl_normal(mu, log(sigma))",
    ),
    (
        "I5_reparameterisation",
        "normal(q.mu, q.sigma)",
        "normal(q.mu, stop(q.sigma))",
    ),
    (
        "I8_vae_digits",
        "kl = kl_normal(q.mu, q.logvar))",
        "kl = 0 * kl_normal(q.mu, q.logvar))",
    ),
    (
        "E1_l1",
        "trained(0.0, s), trained(0.1, s)",
        "trained(0.0, s), trained(0.001, s)",
    ),
    ("E2_l2", "lambda * sum(h^2)", "0 * lambda * sum(h^2)"),
    (
        "E3_kl",
        "beta * kl_bernoulli(rho, batch_mean(h))",
        "beta * kl_bernoulli(rho, batch_mean(stop(h)))",
    ),
    (
        "E7_deep_penalty",
        "kl_bernoulli(0.1, batch_mean(h1)) + ",
        "",
    ),
    ("F1_stacked", "epochs = 60", "epochs = 1"),
    (
        "F2_layerwise",
        "let two = autoencoders.stack(train_x, [32, 16], fn n, m -> autoencoders.Tied(n, m), seed = s)",
        "let two = autoencoders.stack(train_x, [32, 16], fn n, m -> autoencoders.Tied(n, m), epochs = 0, seed = s)",
    ),
    ("F3_finetune", "epochs = 100", "epochs = 0"),
    (
        "F7_l2_pooling",
        "sqrt(1e-6 + sum(h^2))",
        "sqrt(1e-6 + sum(abs(h)))",
    ),
    ("F8_contrast", "?)\n", "0)\n"),
    (
        "F11_best_unit",
        "m.encoder(test_x)",
        "m.encoder(0 * test_x)",
    ),
    ("F12_top_images", "== 0), h')", "== 1), h')"),
    ("F13_stimulus", "normalize(x + 0.5", "normalize(x - 0.5"),
    (
        "F15_transposed",
        "windows(x, k, stride) @ w",
        "windows(x, k, stride) @ reverse(w)",
    ),
    (
        "G1_frozen",
        "train_y[0..100], 10, epochs = 300",
        "data.shuffle(train_y[0..100]), 10, epochs = 300",
    ),
    ("G2_finetune", "frozen = false", "frozen = true"),
    (
        "G3_unlabelled",
        "accuracy(concat(labelled, unlabelled), 50, s)",
        "accuracy(0 * concat(labelled, unlabelled), 50, s)",
    ),
    (
        "G4_surrogates",
        "l2(s, one_hot(y, 10))",
        "l2(s, one_hot(9 - y, 10))",
    ),
    (
        "G5_new_head",
        "Net(freeze(first.body), 2)",
        "Net(nn.Mlp([64, 64, 32], last = relu), 2)",
    ),
    ("G6_joint", "10, lambda) on", "10, 0 * lambda) on"),
    (
        "G7_regressor",
        "train Regressor(freeze(ae), 10) on (train_x, ink(train_x))",
        "train Regressor(freeze(ae), 10) on (train_x, data.shuffle(ink(train_x)))",
    ),
    (
        "G8_traversal",
        "autoencoders.traverse(m, code, 3, values)",
        "autoencoders.traverse(m, code, 4, values)",
    ),
    ("G9_clusters", "epochs = 150", "epochs = 0"),
    (
        "G10_storage",
        "code = code, B = m.B",
        "code = 0.99 * code, B = m.B",
    ),
    ("G11_generation", "epochs = 100", "epochs = 0"),
    ("G12_representation", "epochs = 300", "epochs = 1"),
    (
        "I1_graphical",
        "normal(B @ z + m, 0.5)",
        "normal(B @ z + m, 0.7)",
    ),
    ("I4_as_printed", "l2(px(z), x)", "l2(px(z), x) / 64"),
    (
        "I6_bounds",
        "log_prob(normal(0, 1), z)",
        "log_prob(normal(0, 2), z)",
    ),
    (
        "I9_sampling",
        "let z: [2000, 10] ~ normal(0, 1)",
        "let z: [2000, 10] ~ normal(0, 0.2)",
    ),
    ("I10_walk", "epochs = 100", "epochs = 0"),
    (
        "I12_conditional",
        "on (train.x, train.y)",
        "on (train.x, data.shuffle(train.y))",
    ),
    ("I13_semi_model", "m.decoder(z, y)))", "m.decoder(z, 0)))"),
    ("I14_labelled", "log(1.0 / 10) + ", ""),
    (
        "I15_unlabelled",
        "q @ bounds + sum(q * log(q))",
        "q @ bounds - sum(q * log(q))",
    ),
    (
        "I16_m2",
        "(x100, y100), unlabelled",
        "(x100, data.shuffle(y100)), unlabelled",
    ),
    (
        "I17_controlled",
        "(train_x, train_y), unlabelled",
        "(train_x, data.shuffle(train_y)), unlabelled",
    ),
];

fn judge(row: &str, text: &str, fault: &str, folder: &Path) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/rows")
        .join(format!("{row}.ae"));
    let source = fs::read_to_string(file).unwrap();
    if source.matches(text).count() != 1 {
        return Some(format!("{row}: `{text}` is to stand in it once"));
    }
    let broken = folder.join(format!("{row}.ae"));
    fs::write(&broken, source.replace(text, fault)).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_aec"))
        .args(["run", "--threads", "1"])
        .arg(&broken)
        .current_dir(folder)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    match done.status.code() {
        Some(0) => Some(format!("{row} does not notice `{fault}`:\n{out}")),
        Some(1) if err.contains("assert") => None,
        _ => Some(format!("{row} fails for another reason:\n{err}")),
    }
}

#[test]
fn every_row_notices_a_fault() {
    let folder = std::env::temp_dir().join(format!("aec-sabotage-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let next = AtomicUsize::new(0);
    let problems: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut problems = Vec::new();
                    while let Some((row, text, fault)) =
                        FAULTS.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        problems.extend(judge(row, text, fault, &folder));
                    }
                    problems
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    fs::remove_dir_all(&folder).unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
