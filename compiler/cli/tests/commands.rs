//! The commands on good input.

mod common;

use common::{Folder, root};
use std::fs;

const SCRIPT: &str = "use optim\nmodel M(D) {\n  param w: [D] = 1\n  loss(x: [D]) = sum((w * x)^2)\n}\n\
                      let x: [8, 3] ~ normal(0, 1)\n\
                      let m = train M(3) on x { optimizer = optim.sgd(0.1), batch = 8, epochs = 2 }\n\
                      save(m, \"w.safetensors\")\nprint \"done\"\n";

#[test]
fn version_and_help() {
    let folder = Folder::new("version");
    assert!(folder.aec(&["--version"]).well().out.starts_with("aec 0."));
    let help = folder.aec(&["help"]).well().out;
    for command in ["run", "check", "test", "show", "repl"] {
        assert!(help.contains(command), "{help}");
    }
    assert!(
        folder
            .aec(&["help", "run"])
            .well()
            .out
            .contains("--threads")
    );
}

#[test]
fn check_runs_nothing_and_opens_nothing() {
    let folder = Folder::new("check");
    folder.write(
        "good.ae",
        "use data\nlet x = data.csv(\"absent.csv\")\nprint x\n",
    );
    let run = folder.aec(&["check", "good.ae"]).well();
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""));
    folder.write("bad.ae", "print nothing_here\n");
    folder
        .aec(&["check", "good.ae", "bad.ae"])
        .fails(1, &["bad.ae:1", "nothing_here"]);
}

#[test]
fn every_stage_can_be_shown_and_nothing_is_written() {
    let folder = Folder::new("show");
    folder.write("s.ae", SCRIPT);
    for (stage, has) in [
        ("ast", "model"),
        ("tir", "train_step"),
        ("tir:simplify", "after simplify"),
        ("tir:all", "after batch"),
        ("plan", "train_step"),
        ("kernels", "kernels"),
        ("lir", "kernel"),
        ("clif", "block0"),
        ("asm", "machine code"),
    ] {
        let run = folder.aec(&["show", stage, "s.ae"]).well();
        assert!(run.out.contains(has), "{stage}: no {has:?} in\n{}", run.out);
        assert!(
            stage == "ast" || !run.out.contains("done"),
            "the script's own output is left out"
        );
    }
    assert_eq!(folder.names(), ["s.ae"]);
}

#[test]
fn interpreted_and_compiled_runs_agree() {
    let folder = Folder::new("interpret");
    folder.write(
        "s.ae",
        SCRIPT.replace("print \"done\"", "print \"{m.w:.5}\""),
    );
    let compiled = folder.aec(&["run", "s.ae"]).well().out;
    let interpreted = folder.aec(&["run", "--interpret", "s.ae"]).well().out;
    let (compiled, interpreted) = (numbers(&compiled), numbers(&interpreted));
    assert_eq!(compiled.len(), 3);
    for (a, b) in compiled.iter().zip(&interpreted) {
        assert!((a - b).abs() < 2e-5, "{compiled:?} {interpreted:?}");
    }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split(|c: char| !(c.is_ascii_digit() || "+-.e".contains(c)))
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[test]
fn timings_name_the_steps() {
    let folder = Folder::new("timings");
    folder.write("s.ae", SCRIPT);
    let run = folder.aec(&["run", "--timings", "s.ae"]).well();
    assert!(
        run.err.contains("ms  codegen") && run.err.contains("ms  run"),
        "{}",
        run.err
    );
}

#[test]
fn f64_is_a_choice_of_the_command() {
    let folder = Folder::new("f64");
    folder.write("s.ae", "print sum([0.1, 0.2]) == 0.1 + 0.2, 1 / 3.0\n");
    assert!(
        folder
            .aec(&["run", "--f64", "s.ae"])
            .well()
            .out
            .contains("0.3333333333")
    );
}

#[test]
fn a_run_may_log_its_epochs_and_stop_early() {
    let folder = Folder::new("log");
    folder
        .run(
            "use optim\nmodel M(D) {\n  param w: [D] = 1\n  loss(x: [D]) = (fit = sum((w * x)^2), size = 0.1 * sum(w^2))\n}\n\
             let x: [50, 3] ~ normal(0, 1)\n\
             let m = train M(3) on x { optimizer = optim.sgd(0.05), batch = 20, epochs = 4, validate = x, log = \"l.csv\" }\n\
             let n = train M(3) on x { optimizer = optim.sgd(0.05), epochs = 3, log = \"l.jsonl\",\n\
               on_epoch = fn m, s -> print_epoch(m, s) }\n\
             fn print_epoch(m, s) { print \"epoch {s.epoch}\" }\n\
             let e = eval(m, on = x)\nprint e.fit > 0 and e.size > 0 and close(e.loss, e.fit + e.size, 1e-4)\n\
             let worse = train m on x { optimizer = optim.sgd(1.5), epochs = 50, early_stop = 2, validate = x, log = \"w.csv\" }\n",
        )
        .well();
    let log = fs::read_to_string(folder.0.join("l.csv")).expect("a log");
    assert_eq!(
        log.lines().next(),
        Some("epoch,loss,fit,size,validation,validation_fit,validation_size")
    );
    assert_eq!(log.lines().count(), 5, "{log}");
    let lines = fs::read_to_string(folder.0.join("l.jsonl")).expect("a log");
    assert!(
        lines.lines().count() == 3 && lines.starts_with("{\"epoch\":1,\"loss\":"),
        "{lines}"
    );
    let worse = fs::read_to_string(folder.0.join("w.csv")).expect("a log");
    assert_eq!(
        worse.lines().count(),
        4,
        "the first epoch is the best, two more are waited for: {worse}"
    );
}

#[test]
fn modules_beside_the_script_are_found() {
    let folder = Folder::new("module");
    fs::create_dir(folder.0.join("sub")).expect("a folder");
    folder
        .write("sub/own.ae", "fn twice(x) = x + x\n")
        .write("sub/main.ae", "use own\nprint own.twice(2)\n");
    assert_eq!(folder.aec(&["run", "sub/main.ae"]).well().out, "4\n");
}

#[test]
fn the_test_command_is_a_users_tool() {
    let folder = Folder::new("user-test");
    folder
        .write("good.ae", "print 1.0, \"and text\"\n")
        .write("good.out", "1.00001 and text\n");
    folder.write("blocks.ae", "fn f(x) = x + 1\ntest \"right\" { assert f(1) == 2 }\ntest \"wrong\" { assert f(1) == 3 }\n");
    let run = folder.aec(&["test", "."]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.out.contains("FAIL  ./blocks.ae: wrong") && run.out.contains("blocks.ae:3"),
        "{}",
        run.out
    );
    assert!(
        run.out.ends_with("2 passed, 1 failed, 0 skipped\n"),
        "{}",
        run.out
    );
    folder.write("bad.ae", "print missing\n");
    folder.aec(&["test", "--bless", "bad.ae"]).well();
    assert!(
        fs::read_to_string(folder.0.join("bad.err"))
            .expect("blessed")
            .contains("bad.ae:1")
    );
    folder.aec(&["test", "bad.ae", "good.ae"]).well();
    folder.write("good.out", "2.0 and text\n");
    let run = folder.aec(&["test", "good.ae"]);
    assert!(
        run.code == Some(1)
            && run.out.contains("- 2.0 and text")
            && run.out.contains("+ 1.0 and text"),
        "{run:?}"
    );
    folder.aec(&["test", "nowhere"]).fails(2, &["nowhere"]);
}

#[test]
fn the_example_of_the_readme_runs() {
    let folder = Folder::new("example");
    let script = root().join("examples/digits.ae");
    let run = folder.aec(&["run", &script.display().to_string()]).well();
    assert!(run.out.contains("test error"), "{}", run.out);
    assert_eq!(folder.names(), ["digits.png", "digits.safetensors"]);
    let png = fs::read(folder.0.join("digits.png")).expect("a picture");
    assert!(png.starts_with(b"\x89PNG"));
}

#[test]
fn fmt_writes_checks_and_shows() {
    let folder = Folder::new("fmt");
    folder
        .write("a.ae", "let a=1\n")
        .write("b.ae", "let b = 2\n");
    let check = folder.aec(&["fmt", "--check", "."]);
    assert_eq!((check.code, &*check.out), (Some(1), "./a.ae\n"));
    let diff = folder.aec(&["fmt", "--diff", "a.ae"]);
    assert!(diff.out.contains("-let a=1\n+let a = 1\n"), "{diff:?}");
    folder.aec(&["fmt", "."]).well();
    let text = fs::read_to_string(folder.0.join("a.ae")).expect("the file is there");
    assert_eq!(text, "let a = 1\n");
    folder.aec(&["fmt", "--check", "."]).well();
    let piped = folder.aec_with_input(&["fmt", "-"], "print  1\n").well();
    assert_eq!(piped.out, "print 1\n");
    folder.write("c.ae", "let c = (\n");
    folder.aec(&["fmt", "c.ae"]).fails(1, &["E0111", "c.ae:1"]);
    folder.aec(&["fmt", "none.ae"]).fails(2, &["none.ae"]);
    let kept = fs::read_to_string(folder.0.join("c.ae")).expect("the file is there");
    assert_eq!(kept, "let c = (\n");
}

/// A statement that runs several programs is timed as a whole, and nothing before it.
#[test]
fn a_bench_times_all_that_the_last_statement_runs() {
    let folder = Folder::new("bench");
    folder.write(
        "s.ae",
        "let x: [300] ~ normal(0, 1)\nprint \"{sum(sin(x))} {max(x)}\"\nfn unused(x) = x\n",
    );
    let args = [
        "bench",
        "--by-step",
        "--steps",
        "3",
        "--budget",
        "0",
        "s.ae",
    ];
    let run = folder.aec(&args).well();
    let has = |what: &str| run.out.contains(what);
    assert!(
        has("\"steps\": 3,") && has("contract (b0, b1)") && has("reduce (b0, b1)") && !has("draw"),
        "{}",
        run.out
    );
}

/// The repository's scripts have the layout of `aec fmt`; tests of wrong programs keep theirs.
#[test]
fn the_repository_is_formatted() {
    let folder = Folder::new("formatted");
    let root = root();
    let paths = [
        "stdlib",
        "examples",
        "benches",
        "tests/language",
        "tests/rows",
    ];
    let paths = paths.map(|path| root.join(path).display().to_string());
    let mut args = vec!["fmt", "--check"];
    args.extend(paths.iter().map(String::as_str));
    let run = folder.aec(&args);
    assert_eq!(
        (run.code, &*run.out),
        (Some(0), ""),
        "run `aec fmt` on these: {run:?}"
    );
}
