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

#[test]
fn a_summary_trains_nothing() {
    let folder = Folder::new("summary");
    folder.write(
        "s.ae",
        format!("{SCRIPT}let m = fit([[1.0, 2.0, 3.0, 4.0]])\nsave(m, \"w.safetensors\")\n"),
    );
    let run = folder.aec(&["summary", "s.ae"]).well();
    for text in ["m: Lin(D = 4, H = 2), 12 parameters", "f32[2, 4]", "MFLOP"] {
        assert!(run.out.contains(text), "no {text:?} in\n{}", run.out);
    }
    assert_eq!(folder.names(), ["s.ae"]);
}
