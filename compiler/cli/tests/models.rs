//! Saved models from the command line, without their script.

mod common;

use common::Folder;

const SCRIPT: &str = "use optim\n\nlet width = 0.5\nlet x: [20, 3] ~ normal(0, 1)\n\
                      fn squash(v: [n]) = tanh(v * width)\n\n\
                      model Lin(D, H) {\n  param W: [H, D] ~ glorot\n  param c: [D] = 0\n\
                      \x20 encoder(x: [D]) -> [H] = squash(W @ x)\n\
                      \x20 decoder(h: [H]) -> [D] = 2 * W' @ h + c\n\
                      \x20 loss(x: [D]) = l2(decoder(encoder(x)), x)\n}\n\n\
                      fn fit(x: [n, d]) = train Lin(d, 2) on x {\n\
                      \x20 epochs = 300, optimizer = optim.adam(lr = 0.02)\n}\n";

/// Rows `u, v, u + v, u - v`: two numbers tell the four.
fn rows() -> Vec<[f64; 4]> {
    (0..40)
        .map(|i| {
            let t = f64::from(i);
            let (u, v) = (0.6 * (1.7 * t).sin(), 0.6 * (0.9 * t).cos());
            [u, v, u + v, u - v]
        })
        .collect()
}

fn csv(rows: &[[f64; 4]]) -> String {
    let line = |row: &[f64; 4]| {
        let cells: Vec<String> = row.iter().map(|v| format!("{v:.5}")).collect();
        cells.join(",") + "\n"
    };
    "a,b,c,d\n".to_string() + &rows.iter().map(line).collect::<String>()
}

fn table(text: &str) -> Vec<Vec<f64>> {
    text.lines()
        .map(|line| {
            line.split(',')
                .filter_map(|cell| cell.parse().ok())
                .collect()
        })
        .filter(|row: &Vec<f64>| !row.is_empty())
        .collect()
}

fn trained(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("s.ae", SCRIPT).write("d.csv", csv(&rows()));
    folder
        .aec(&["train", "s.ae", "--data", "d.csv", "--out", "m.safetensors"])
        .well();
    // Nothing but the file is needed from here on.
    std::fs::remove_file(folder.0.join("s.ae")).unwrap();
    folder
}

#[test]
fn a_model_is_used_without_its_script() {
    let folder = trained("model");
    let about = folder.aec(&["inspect", "m.safetensors"]).well().out;
    for text in [
        "model Lin(D = 4, H = 2)",
        "300 epochs",
        "f32[2, 4]",
        "fn squash",
    ] {
        assert!(about.contains(text), "no {text:?} in\n{about}");
    }
    assert!(
        !about.contains("let x"),
        "data stays out of the file:\n{about}"
    );

    let codes = folder.aec(&["encode", "m.safetensors", "d.csv"]).well().out;
    let codes = table(&codes);
    assert_eq!((codes.len(), codes[0].len()), (40, 2));

    // By way of a file of NumPy's, the decoded codes are the reconstructions.
    folder
        .aec(&["encode", "m.safetensors", "d.csv", "--out", "z.npy"])
        .well();
    let decoded = folder.aec(&["decode", "m.safetensors", "z.npy"]).well().out;
    folder
        .aec(&["reconstruct", "m.safetensors", "d.csv", "--out", "r.csv"])
        .well();
    let reconstructed = std::fs::read_to_string(folder.0.join("r.csv")).unwrap();
    assert_eq!(table(&decoded), table(&reconstructed));

    let error: f64 = table(&decoded)
        .iter()
        .zip(rows())
        .flat_map(|(row, exact)| {
            let squares = row.iter().zip(exact).map(|(a, b)| (a - b).powi(2));
            squares.collect::<Vec<_>>()
        })
        .sum::<f64>()
        / 160.0;
    let spread: f64 = rows().iter().flatten().map(|v| v * v).sum::<f64>() / 160.0;
    assert!(error < 0.1 * spread, "{error} of {spread}");

    let sample = folder
        .aec(&["sample", "m.safetensors", "-n", "3", "--seed", "1"])
        .well()
        .out;
    assert_eq!(table(&sample).len(), 3);
    let other = folder
        .aec(&["sample", "m.safetensors", "-n", "3", "--seed", "2"])
        .well()
        .out;
    assert_ne!(sample, other);
}

#[test]
fn models_of_the_library_are_used_without_a_script() {
    let folder = Folder::new("library_model");
    let script = "use autoencoders\nuse data\nlet x: [20, 4] ~ uniform(0, 1)\n\
                  let m = train autoencoders.Vanilla([4, 2]) on x { epochs = 2 }\n\
                  save(m, \"m.safetensors\")\nexport(m.encoder(x), \"h.csv\")\n\
                  export(x, \"x.csv\")\n";
    folder.write("s.ae", script);
    folder.aec(&["run", "s.ae"]).well();
    std::fs::remove_file(folder.0.join("s.ae")).unwrap();
    // Its defaults, functions of the prelude, are found again.
    let said = folder.aec(&["encode", "m.safetensors", "x.csv"]).well().out;
    let own = std::fs::read_to_string(folder.0.join("h.csv")).unwrap();
    let (codes, wanted) = (table(&said), table(&own));
    assert_eq!((codes.len(), wanted.len()), (20, 20), "{said}");
    for (code, wanted) in codes.iter().flatten().zip(wanted.iter().flatten()) {
        assert!((code - wanted).abs() < 1e-4, "{code} {wanted}");
    }
}

#[test]
fn errors_tell_anomalies_from_the_rest() {
    let folder = trained("anomaly");
    let first = folder
        .aec(&["reconstruct", "m.safetensors", "d.csv"])
        .well();
    assert!(first.out.starts_with("row,error\n"), "{}", first.out);
    let kept = folder
        .aec(&[
            "reconstruct",
            "m.safetensors",
            "d.csv",
            "--keep-threshold",
            "1",
        ])
        .well();
    assert!(kept.out.starts_with("row,error,anomaly\n"), "{}", kept.out);
    assert!(table(&kept.out).iter().all(|row| row[2] == 0.0));
    // A row that breaks the rule of the data is one, by the threshold in the file.
    folder.write("odd.csv", "a,b,c,d\n0.5,0.5,-1.5,2\n0.1,0.2,0.3,-0.1\n");
    let odd = folder
        .aec(&["reconstruct", "m.safetensors", "odd.csv"])
        .well()
        .out;
    let flags: Vec<f64> = table(&odd).iter().map(|row| row[2]).collect();
    assert_eq!(flags, [1.0, 0.0], "{odd}");
}

#[test]
fn empty_cells_are_filled_and_the_others_stay() {
    let folder = trained("complete");
    let mut text = csv(&rows());
    let exact = rows()[1];
    let old = format!("{:.5},{:.5},{:.5},", exact[0], exact[1], exact[2]);
    let new = format!("{:.5},{:.5},,", exact[0], exact[1]);
    assert!(text.contains(&old));
    text = text.replace(&old, &new);
    folder.write("holes.csv", &text);
    let full = folder
        .aec(&["complete", "m.safetensors", "holes.csv"])
        .well()
        .out;
    assert!(full.starts_with("a,b,c,d\n"), "{full}");
    let row = &table(&full)[1];
    assert!((row[0] - exact[0]).abs() < 1e-4 && (row[3] - exact[3]).abs() < 1e-4);
    // Better than the column's mean, which is what one would say without a model.
    let mean: f64 = rows().iter().map(|row| row[2]).sum::<f64>() / 40.0;
    assert!(
        (row[2] - exact[2]).abs() < 0.5 * (mean - exact[2]).abs(),
        "{row:?} {exact:?}"
    );
    folder
        .aec(&["encode", "m.safetensors", "holes.csv"])
        .fails(1, &["holes.csv has empty cells", "aec complete"]);
}

#[test]
fn what_does_not_fit_is_said() {
    let folder = trained("unfit");
    folder
        .write("narrow.csv", "1,2,3\n")
        .write("text.txt", "no model\n");
    folder
        .aec(&["encode", "m.safetensors", "narrow.csv"])
        .fails(1, &["narrow.csv has 3 numbers in each row", "takes 4"]);
    folder
        .aec(&["encode", "text.txt", "d.csv"])
        .fails(1, &["text.txt"]);
    folder
        .aec(&["encode", "m.safetensors", "absent.csv"])
        .fails(1, &["absent.csv", "there is no such file"]);
    folder.write("t.ae", "save((a = [1.0]), \"t.safetensors\")\n");
    folder.aec(&["run", "t.ae"]).well();
    folder
        .aec(&["encode", "t.safetensors", "d.csv"])
        .fails(1, &["does not say of which model"]);
    folder
        .aec(&["train", "t.ae", "--data", "d.csv", "--out", "n.safetensors"])
        .fails(1, &["no function `fit`"]);
    folder.write("half.ae", "model E(D) {\n  param w: [D] = 1\n  encoder(x: [D]) -> [D] = w * x\n}\nsave(E(4), \"half.safetensors\")\n");
    folder.aec(&["run", "half.ae"]).well();
    folder
        .aec(&["decode", "half.safetensors", "d.csv"])
        .fails(1, &["has no `decoder`"]);
}

#[test]
fn double_precision_stays_double() {
    let folder = Folder::new("double");
    folder.write("s.ae", format!("precision f64\n{SCRIPT}"));
    folder.write("d.csv", csv(&rows()));
    folder
        .aec(&["train", "s.ae", "--data", "d.csv", "--out", "m.safetensors"])
        .well();
    let about = folder.aec(&["inspect", "m.safetensors"]).well().out;
    assert!(about.contains("f64[2, 4]"), "{about}");
    let code = folder.aec(&["encode", "m.safetensors", "d.csv"]).well().out;
    assert!(code.lines().all(|line| line.len() > 30), "{code}");
}

/// A model whose arguments are a model, a vector and functions, with a prior of its own.
const ARGUMENTS: &str = "use nn\nuse optim\n\
    model Lin(D, H) {\n  param W: [H, D] ~ glorot\n  encoder(x: [D]) -> [H] = W @ x\n\
    \x20 decoder(h: [H]) -> [D] = W' @ h\n  loss(x: [D]) = sum((decoder(encoder(x)) - x)^2)\n}\n\
    fn twice(x: [n]) = 2 * x\n\
    model Two(inner: model, scale: [3], act, more, k = 0.5) {\n  param body = freeze(inner)\n\
    \x20 param out: nn.Linear(2, 3)\n  encoder(x: [3]) -> [2] = more(act(body.encoder(x))) * k\n\
    \x20 decoder(h: [2]) -> [3] = scale * h[0]\n\
    \x20 fn prior() = normal([7.0, 2.0], [0.001, 0.001])\n\
    \x20 loss(x: [3]) = sum((out(encoder(x)) - x)^2)\n}\n\
    let x: [100, 3] ~ normal(0, 1)\nlet a = train Lin(3, 2) on x { epochs = 3, seed = 1 }\n\
    let w: [3] ~ uniform(1, 2)\n\
    let m = train Two(a, w, tanh, twice) on x { epochs = 3, seed = 1 }\n\
    save(m, \"m.safetensors\")\nexport(x, \"x.npy\")\nexport(x, \"x.csv\")\n\
    export(m.encoder(x), \"z.csv\")\nexport(w, \"w.csv\")\n";

#[test]
fn models_that_have_models_as_arguments() {
    let folder = Folder::new("arguments");
    folder.run(ARGUMENTS).well();
    std::fs::remove_file(folder.0.join("script.ae")).unwrap();
    let exact = std::fs::read_to_string(folder.0.join("z.csv")).unwrap();
    for data in ["x.npy", "x.csv"] {
        let codes = folder.aec(&["encode", "m.safetensors", data]).well().out;
        assert_eq!(codes, exact, "{data}");
    }
    // Samples come from the model's own prior, around (7, 2).
    let w = table(&std::fs::read_to_string(folder.0.join("w.csv")).unwrap());
    let samples = folder.aec(&["sample", "m.safetensors", "-n", "5"]).well();
    for row in table(&samples.out) {
        for (value, scale) in row.iter().zip(w.iter().flatten()) {
            assert!((value / scale - 7.0).abs() < 0.01, "{row:?} {w:?}");
        }
    }
    folder
        .aec(&["sample", "m.safetensors", "--given", "3"])
        .fails(1, &["without a class"]);
}

#[test]
fn a_class_is_given_to_a_prior_that_wants_one() {
    let folder = Folder::new("given");
    folder
        .run(
            "use autoencoders\nlet m = autoencoders.Cvae(6, 8, 2, 3)\nsave(m, \"m.safetensors\")\n",
        )
        .well();
    folder
        .aec(&["sample", "m.safetensors"])
        .fails(1, &["of a given class", "--given 3"]);
    let run = folder
        .aec(&["sample", "m.safetensors", "-n", "4", "--given", "1"])
        .well();
    let rows = table(&run.out);
    assert_eq!((rows.len(), rows[0].len()), (4, 6));
}

#[test]
fn texts_are_generated() {
    let folder = Folder::new("generate");
    folder
        .run(
            "use data\nuse nn\nuse optim\n\
             let v = data.vocab([\"<s> a b c </s>\"], extra = [\"<s>\", \"</s>\"])\n\
             model Lm(V, H) {\n  param embed: [V, H] ~ normal(0, 0.5)\n  param cell: nn.Gru(H, H)\n\
             \x20 param out: nn.Linear(H, V)\n\
             \x20 fn step(h: [H], w: token) -> ([H], [V]) { let n = cell(h, embed[w]); (n, out(n)) }\n\
             \x20 loss(s: token[T]) {\n    let (_, logits) = scan(step, zeros[H], s[0..T-1])\n\
             \x20   mean(map(cross_entropy, logits, s[1..T]))\n  }\n}\n\
             let one = v.encode(\"<s> a b c </s>\")\nlet rows = map(fn i -> one, 0..64)\n\
             let m = train Lm(v.size, 12) on rows { optimizer = optim.adam(lr = 0.02), epochs = 60, seed = 1 }\n\
             save(m, \"m.safetensors\", words = v)\nsave(m, \"dumb.safetensors\")\n",
        )
        .well();
    let text = |args: &[&str]| {
        let all = [&["generate", "m.safetensors", "--top-k", "1"], args].concat();
        folder.aec(&all).well().out
    };
    assert_eq!(text(&[]), "a b c\n");
    assert_eq!(text(&["--prompt", "a b"]), "a b c\n");
    assert_eq!(text(&["-n", "2"]), "a b\n");
    let free = folder
        .aec(&[
            "generate",
            "m.safetensors",
            "--temperature",
            "50",
            "-n",
            "40",
            "--seed",
            "3",
        ])
        .well();
    assert_ne!(free.out, "a b c\n");
    folder
        .aec(&["generate", "m.safetensors", "--prompt", "x"])
        .fails(1, &["does not know the word `x`"]);
    folder
        .aec(&["generate", "dumb.safetensors"])
        .fails(1, &["does not say what the words", "words = v"]);
    assert!(
        folder
            .aec(&["inspect", "m.safetensors"])
            .well()
            .out
            .contains("knows 5 words")
    );
}

#[test]
fn tables_stream_through_a_model() {
    let folder = trained("streamed");
    // More rows than are computed at a time, as CSV and NPY, in and out.
    let line = |i: u32| {
        format!(
            "{},{},{},{}\n",
            i % 7,
            i % 5,
            i % 3,
            f64::from(i % 11) / 10.0
        )
    };
    let rows: String = (0..10_000).map(line).collect();
    folder.write("long.csv", format!("a,b,c,d\n{rows}"));
    folder
        .run("use data\nexport(data.csv(\"long.csv\"), \"long.npy\")\n")
        .well();
    let from_csv = folder
        .aec(&["encode", "m.safetensors", "long.csv"])
        .well()
        .out;
    let from_npy = folder
        .aec(&["encode", "m.safetensors", "long.npy"])
        .well()
        .out;
    assert_eq!(from_csv.lines().count(), 10_000);
    assert!(from_csv == from_npy);
    folder
        .aec(&["encode", "m.safetensors", "long.npy", "--out", "z.npy"])
        .well();
    let decoded = folder.aec(&["decode", "m.safetensors", "z.npy"]).well().out;
    assert_eq!(decoded.lines().count(), 10_000);
    // A bad row far down: nothing of the result stays.
    folder.write("bad.csv", format!("a,b,c,d\n{rows}1,2,x,4\n"));
    folder
        .aec(&["encode", "m.safetensors", "bad.csv", "--out", "bad.npy"])
        .fails(1, &["bad.csv, line 10002", "column 3 (c)"]);
    let names = folder.names();
    assert!(
        !names.iter().any(|name| name.contains("bad.npy")),
        "{names:?}"
    );
}

#[test]
fn a_summary_trains_nothing() {
    let folder = Folder::new("summary");
    folder.write(
        "s.ae",
        format!(
            "{SCRIPT}let m = fit([[1.0, 2.0, 3.0, 4.0]])\nassert history(m).loss[-1] < 0\nsave(m, \"w.safetensors\")\n"
        ),
    );
    let run = folder.aec(&["summary", "s.ae"]).well();
    for text in ["m: Lin(D = 4, H = 2), 12 parameters", "f32[2, 4]", "MFLOP"] {
        assert!(run.out.contains(text), "no {text:?} in\n{}", run.out);
    }
    assert_eq!(folder.names(), ["s.ae"]);
}
