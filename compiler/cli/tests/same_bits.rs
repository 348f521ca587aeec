//! Equal seeds give equal bits: run after run, and with any number of threads.

mod common;

use common::Folder;
use std::fs;

const SCRIPT: &str = "use data\nuse optim\n\
    model Ae(D, H) {\n  param W: [H, D] ~ glorot\n  param b: [H] = 0\n  param c: [D] = 0\n\
      encoder(x: [D]) -> [H] = sigmoid(W @ x + b)\n  decoder(h: [H]) -> [D] = sigmoid(W' @ h + c)\n\
      loss(x: [D]) {\n    let noise: [D] ~ normal(0, 0.3)\n    l2(decoder(encoder(x + noise)), x)\n  }\n}\n\
    let (train_x, test_x) = data.split(data.digits().x, 0.8)\n\
    let ae = train Ae(64, 48) on train_x { optimizer = optim.adam(1e-3), batch = 100, epochs = 3, validate = test_x }\n\
    print mean(ae.loss(test_x))\nsave(ae, \"w.safetensors\")\n";

/// The output and the weights file of a run.
fn bits(args: &[&str]) -> (String, Vec<u8>) {
    let folder = Folder::new("bits");
    folder.write("script.ae", SCRIPT);
    let args: Vec<&str> = ["run"]
        .iter()
        .chain(args)
        .chain(&["script.ae"])
        .copied()
        .collect();
    let run = folder.aec(&args).well();
    (
        run.out,
        fs::read(folder.0.join("w.safetensors")).expect("the weights were saved"),
    )
}

#[test]
fn runs_and_threads_do_not_change_a_bit() {
    let one = bits(&["--threads", "1"]);
    assert!(one == bits(&["--threads", "1"]), "two runs differ");
    assert!(
        one == bits(&["--threads", "2"]),
        "two threads differ from one"
    );
    assert!(
        one == bits(&["--threads", "3"]),
        "three threads differ from one"
    );
}

#[test]
fn another_seed_gives_other_weights() {
    assert!(bits(&["--seed", "1"]).1 != bits(&["--seed", "2"]).1);
}
