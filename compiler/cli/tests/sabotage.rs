//! A row that cannot fail shows nothing: each row of tests/rows is run with one fault put into
//! it, and must then fail at one of its own assertions. Every row that trains has a fault, which a
//! test below counts; those that take minutes have one that needs no training.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
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
        "x100, y100, 10, epochs = 300",
        "x100, data.shuffle(y100), 10, epochs = 300",
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
        "headed(first.body, few, s)",
        "headed(nn.Mlp([64, 64, 32], last = relu), few, s)",
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
    ("A8_mixed_columns", "enc(concat(", "0 * enc(concat("),
    (
        "B1_linear",
        "l2(decoder(encoder(x)), x)",
        "l2(decoder(stop(encoder(x))), x)",
    ),
    ("B2_pca", "data.digits().x, 0.8)", "data.digits().x, 0.7)"),
    ("B3_compress", "lstsq(x @ W, x')", "lstsq(x @ W, 0.99 * x')"),
    (
        "B4_spectrum",
        "stats.pca(train_x, 10)",
        "stats.pca(0.99 * train_x, 10)",
    ),
    (
        "B5_beats_pca",
        "sigmoid(d3(relu(d2(relu(d1(h))))))",
        "sigmoid(d3(d2(d1(h))))",
    ),
    ("B6_map", "epochs    = 300", "epochs    = 0"),
    ("C5_stacked", "epochs = 120", "epochs = 0"),
    ("C5_mnist", "= (6, 20)", "= (0, 0)"),
    ("C6_reference", "epochs    = 36", "epochs    = 0"),
    ("D2_least_squares", "epochs    = 100", "epochs    = 0"),
    (
        "D4_per_mask",
        "lstsq(B, x, ridge = 1e-3)",
        "lstsq(B, x ?? 0, ridge = 1e-3)",
    ),
    (
        "D8_gradients",
        "-> real = l2(B @ lstsq(C, seen), x)",
        "-> real = l2(B @ lstsq(C, x), x)",
    ),
    ("D13_patches", "epochs    = 250", "epochs    = 0"),
    ("E4_digits", "batch_mean(h)", "batch_mean(stop(h))"),
    ("E4_patches", "batch_mean(h)", "batch_mean(stop(h))"),
    (
        "E5_contractive",
        "sum(jacobian(encoder)(x)^2)",
        "sum(stop(jacobian(encoder)(x))^2)",
    ),
    ("E6_tied", "h.W1 + h.W2'", "h.W1"),
    ("F4_pretraining", "epochs = 80", "epochs = 0"),
    (
        "F6_local",
        "= net.reconstruction(x)",
        "= 0 * net.reconstruction(x)",
    ),
    ("F9_triple", "epochs = 15", "epochs = 0"),
    (
        "F10_large",
        "digits.y[again] == 1",
        "data.shuffle(digits.y[again]) == 1",
    ),
    ("F14_convolution", "epochs    = 30", "epochs    = 0"),
    ("F16_sequence", "epochs    = 20", "epochs    = 0"),
    (
        "F17_attention",
        "Lm(10, 32, 2, 16, true)",
        "Lm(10, 32, 2, 16, false)",
    ),
    ("H1_recursive", "epochs    = 300", "epochs    = 0"),
    (
        "H2_bottom_up",
        "let batch = m.encoder(t)",
        "let batch = 1.01 * m.encoder(t)",
    ),
    ("H3_labels", "epochs    = 200", "epochs    = 0"),
    ("H4_sentiment", "epochs = 6", "epochs = 0"),
    ("H4_reviews", "epochs = 3", "epochs = 0"),
    ("H4_opinions", "epochs = 20", "epochs = 0"),
    ("H5_unfolding", "epochs    = 400", "epochs    = 0"),
    ("H6_deep", "epochs    = 300", "epochs    = 0"),
    (
        "H7_composition",
        "16, 3, 0.0) on train_t",
        "16, 3, 1.0) on train_t",
    ),
    ("H8_no_parser", "recursive.tree_of(m, w)", "trees.chain(w)"),
    ("I7_mnist_vae", "epochs    = 10", "epochs    = 0"),
    ("I11_adversarial", "epochs    = 200", "epochs    = 0"),
    ("J1_next_word_small", "epochs    = 12", "epochs    = 0"),
    (
        "J2_softmax",
        "cross_entropy(logits, y)",
        "cross_entropy(logits, y + 1)",
    ),
    ("J3_blank", "epochs    = 12", "epochs    = 0"),
    ("J4_embedding", "= E[w]", "= E[w] + E[0]"),
    (
        "J5_skip_gram",
        "    -log_sigmoid(inner[w] @ outer[c])",
        "    -log_sigmoid(-(inner[w] @ outer[c]))",
    ),
    (
        "J7_cbow",
        "(near.context, near.word)",
        "(near.context, data.shuffle(near.word))",
    ),
    ("J8_autoencoder", "A.inner' @ x", "A.outer' @ x"),
    ("J9_neighbours", "on (w, c)", "on (w, data.shuffle(c))"),
    ("J10_bert_masking", "keep = 0.85", "keep = 0.75"),
    ("J11_masked_words", "text.bert_fill(seen, w, blank, V)", "w"),
    (
        "J12_part_from_part",
        "net(select(target, 0, x))",
        "net(0 * x)",
    ),
    ("J14_features", "epochs    = 25", "epochs    = 0"),
    (
        "K1_one_blank",
        "[0.3, 2.0, -1.0, 1.9]",
        "[0.3, 1.8, -1.0, 1.9]",
    ),
    (
        "K2_sampling",
        "select(w == 3, 0, w + 1)",
        "select(w == 3, 1, w + 1)",
    ),
    ("K3_greedy", "width = 1", "width = 2"),
    ("K4_exhaustive", "[0.36, 0.34, 0.3]", "[0.36, 0.44, 0.2]"),
    (
        "K5_beam",
        "width = 2, max_len = 4",
        "width = 1, max_len = 4",
    ),
    ("K6_tree", "width = 2", "width = 1"),
    ("K7_short", "length = beam.none", "length = beam.average"),
    ("K8_length", "beam.gnmt(0.6)", "beam.gnmt(0.7)"),
    (
        "K9_stopping",
        "length = rule)\n",
        "length = rule, early_stop = beam.when_full)\n",
    ),
    (
        "K10_tricks",
        "beam.coverage(beam.none, 2.0",
        "beam.coverage(beam.none, 0.0",
    ),
    (
        "K11_loops",
        "allow = beam.no_repeat(2)",
        "allow = beam.all_words",
    ),
    (
        "K12_length_varies",
        "0.45, 0.0, 0.0, 0.55",
        "0.25, 0.0, 0.0, 0.75",
    ),
    ("I12_quadrants", "let epochs = 6", "let epochs = 0"),
    ("G1_mnist", "let epochs = 6", "let epochs = 0"),
    ("J6_wikitext", "for round in 0..30", "for round in 0..0"),
    ("I16_mnist", "let epochs = 100", "let epochs = 0"),
    (
        "I16_stacked",
        "let epochs = (10, 20)",
        "let epochs = (0, 0)",
    ),
    ("J11_wikitext", "epochs    = 6", "epochs    = 0"),
    ("J1_wikitext", "epochs    = 6", "epochs    = 0"),
    (
        "A11_bottleneck",
        "train Denoising(8, 12)",
        "train Plain(8, 12)",
    ),
    ("D11_purification", "let eta = 0.2", "let eta = 0.19"),
    ("F5_deep", "epochs = 150", "epochs = 0"),
    ("F5_mnist", "= (3, 20)", "= (0, 0)"),
];

/// Where the rows are.
fn rows() -> PathBuf {
    common::root().join("tests/rows")
}

/// What `../shared` stands for, as in `aec test`: `$AEC_SHARED`, else beside the repository.
fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("AEC_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => common::root().canonicalize().ok()?.parent()?.join("shared"),
    };
    folder.is_dir().then_some(folder)
}

/// What is wrong with a row that does not fail at its own assertion, in `folder`, beside which is
/// `../shared`. A row whose data is absent is skipped, and that is printed.
fn judge(row: &str, text: &str, fault: &str, folder: &Path) -> Option<String> {
    let source = fs::read_to_string(rows().join(format!("{row}.ae"))).unwrap();
    if source.matches(text).count() != 1 {
        return Some(format!("{row}: `{text}` is to stand in it once"));
    }
    let absent = source
        .lines()
        .filter_map(|line| line.strip_prefix("# needs: "))
        .find(|need| !folder.join(need).exists());
    if let Some(need) = absent {
        println!("skip {row}: {need} is absent");
        return None;
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

/// A folder for the broken rows with the files that rows read, and `../shared` beside it.
fn workshop() -> PathBuf {
    let base = std::env::temp_dir().join(format!("aec-sabotage-{}", std::process::id()));
    let folder = base.join("work");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(rows()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension != "ae") {
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    #[cfg(unix)]
    if let Some(shared) = shared() {
        std::os::unix::fs::symlink(shared, base.join("shared")).unwrap();
    }
    folder
}

/// Whether a row trains anything; one that the compiler is to refuse does not.
fn trains(path: &Path) -> bool {
    let refused = fs::read_to_string(path.with_extension("err"))
        .is_ok_and(|message| message.starts_with("error"));
    let source = fs::read_to_string(path).unwrap();
    !refused && trained(&source)
}

fn trained(source: &str) -> bool {
    ["train ", "autoencoders.stack(", "optim.minimize("]
        .iter()
        .any(|word| {
            source
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .any(|line| line.contains(word))
        })
}

#[test]
fn every_trained_row_has_a_fault() {
    let mut without = Vec::new();
    let mut trained = 0;
    for entry in fs::read_dir(rows()).unwrap() {
        let path = entry.unwrap().path();
        let row = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "ae") || !trains(&path) {
            continue;
        }
        trained += 1;
        if !FAULTS.iter().any(|(name, ..)| *name == row) {
            without.push(row);
        }
    }
    without.sort();
    println!("{trained} rows train; {} rows have a fault", FAULTS.len());
    assert!(trained > 80, "only {trained} rows were seen to train");
    assert!(without.is_empty(), "no fault for {}", without.join(", "));
}

#[test]
fn every_row_notices_a_fault() {
    let folder = workshop();
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
    fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
