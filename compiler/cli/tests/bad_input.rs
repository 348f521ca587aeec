//! What goes wrong outside of the language: files, data, signals and pipes. Each is a clear
//! message, the right exit code, no panic, and no half-written file.

mod common;

use common::{Folder, Run};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_missing_script_is_wrong_use() {
    Folder::new("missing")
        .aec(&["run", "nothing.ae"])
        .fails(2, &["nothing.ae", "no such file"]);
}

#[test]
fn a_script_that_is_not_text_is_wrong_use() {
    let folder = Folder::new("binary");
    folder.write("b.ae", [0xff, 0xfe, 0x00]);
    folder.aec(&["run", "b.ae"]).fails(2, &["b.ae", "UTF-8"]);
}

/// `aec check` and `aec fmt --check` of a script: no panic, no signal, and what it says.
#[track_caller]
fn front_end(folder: &Folder, script: impl AsRef<[u8]>, says: Option<&str>) {
    folder.write("odd.ae", script);
    for args in [&["check", "odd.ae"][..], &["fmt", "--check", "odd.ae"]] {
        let run = folder.aec(args);
        match says {
            None => assert!(
                matches!(run.code, Some(0 | 1)) && run.err.is_empty(),
                "{run:?}"
            ),
            Some(text) if text.starts_with("cannot") => drop(run.fails(2, &[text])),
            Some(text) => drop(run.fails(1, &[text])),
        }
    }
}

#[test]
fn nesting_ten_thousand_deep_is_one_message() {
    let folder = Folder::new("deep");
    let n = 10_000;
    let around = |left: &str, right: &str| format!("{}1{}", left.repeat(n), right.repeat(n));
    let behind = |right: &str| format!("{{ let x = 1; x{} }}", right.repeat(n));
    for expression in [
        around("(", ")"),
        around("[", "]"),
        around("{", "}"),
        around("(", ""),
        around("f(", ")"),
        around("-", ""),
        around("not ", ""),
        around("fn x -> ", ""),
        around("if b then 1 else ", ""),
        behind("'"),
        behind("[0]"),
        behind(".x"),
        behind(" + x"),
        behind(" ^ x"),
        behind(" @ x"),
        behind(" ?? x"),
        behind(" |> f"),
        behind(" and x"),
    ] {
        front_end(
            &folder,
            format!("let a = {expression}\n"),
            Some("nested too deeply"),
        );
    }
    for item in [
        format!("print \"{}\n", "{\"".repeat(n)),
        format!("{}{}\n", "for i in x { ".repeat(n), "}".repeat(n)),
        format!("if a {{ 1 }}{}\n", " else if a { 1 }".repeat(n)),
        format!("fn f(x: {}int) = x\n", "?".repeat(n)),
        format!("fn f(x: {}int) = x\n", "int -> ".repeat(n)),
        format!("fn f(x: [{}1]) = x\n", "1 + ".repeat(n)),
    ] {
        front_end(&folder, item, Some("nested too deeply"));
    }
}

#[test]
fn ten_megabytes() {
    let folder = Folder::new("large");
    let size = 10 << 20;
    front_end(&folder, format!("# {}\n", "x".repeat(size)), None);
    front_end(&folder, format!("print \"{}\"\n", "x".repeat(size)), None);
    front_end(&folder, "$".repeat(size), Some("E0101"));
    front_end(&folder, "(".repeat(size), Some("nested too deeply"));
    let line = "let value = [1.0, 2.0]  # the same again\n";
    folder.write("twice.ae", line.repeat(size / line.len()));
    let run = folder
        .aec(&["check", "twice.ae"])
        .fails(1, &["E0209", "further messages are not shown"]);
    assert!(
        run.err.len() < 100_000,
        "{} bytes of messages",
        run.err.len()
    );
}

#[test]
fn bytes_that_are_no_script() {
    let folder = Folder::new("bytes");
    front_end(&folder, b"let a = 1\0\nprint a\n", Some("a NUL byte"));
    front_end(&folder, b"print 1\xff\n", Some("cannot read odd.ae"));
    front_end(&folder, b"", None);
    front_end(&folder, b"\xef\xbb\xbfprint 1\r\n\r\n# end\r\n", None);
    front_end(&folder, b"\r\r\r\n\t\n", None);
    let run = folder.run("\u{feff}let a = 1\r\nprint a\r\n").well();
    assert_eq!(run.out, "1\n");
    // A folder is formatted file by file, but it is no script.
    std::fs::create_dir(folder.0.join("folder.ae")).expect("a new folder");
    folder
        .aec(&["run", "folder.ae"])
        .fails(2, &["cannot read folder.ae"]);
    folder
        .aec(&["check", "folder.ae"])
        .fails(2, &["cannot read folder.ae"]);
    folder.aec(&["fmt", "none.ae"]).fails(2, &["none.ae"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let folder = Folder::new("full");
    folder
        .write("script.ae", "print 1\n")
        .write("plain.ae", "let a=1\n");
    for args in [
        &["run", "script.ae"][..],
        &["fmt", "--diff", "plain.ae"],
        &["explain", "E0301"],
        &["help"],
        &["--version"],
        &["check", "--json", "wrong.ae"],
    ] {
        folder.write("wrong.ae", "print nothing_here\n");
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("a device");
        let done = folder
            .command(args)
            .stdout(full)
            .output()
            .expect("aec starts");
        let run = Run::of(done);
        assert!(matches!(run.code, Some(1 | 2)), "{args:?}: {run:?}");
        assert!(
            run.err.contains("cannot write to standard output"),
            "{args:?}: {run:?}"
        );
    }
    let model = "model M(D) {\n  param w: [D] = 1\n  loss(x: [D]) = sum((w * x)^2)\n}\n";
    folder
        .run(&format!("{model}save(M(3000), \"/dev/full\")\n"))
        .fails(1, &["error[E0812]", "/dev/full", "disk is full"]);
    folder
        .run(&format!(
            "{model}let m = train M(2) on ones[4, 2] {{ epochs = 2, log = \"/dev/full\" }}\n"
        ))
        .fails(1, &["error[E0812]", "/dev/full"]);
}

#[test]
fn what_no_memory_holds_is_an_error() {
    let folder = Folder::new("memory");
    for script in [
        "let x = zeros[1000000000000000]\nprint sum(x)\n",
        "let x: [100000000, 1000000] ~ normal(0, 1)\nprint x[0, 0]\n",
        "model M(D) {\n  param W: [D, D] ~ glorot\n}\nlet m = M(100000000)\nprint m.W[0, 0]\n",
    ] {
        folder.run(script).fails(1, &["error[E0817]", "of memory"]);
        folder
            .aec(&["run", "--interpret", "script.ae"])
            .fails(1, &["error[E0817]"]);
    }
    // Counts alone hold nothing.
    folder
        .run("for i in 0..1000000000000 {\n  if i > 3 { assert false, \"at {i}\" }\n}\n")
        .fails(1, &["error[E0701]", "at 4"]);
    folder
        .aec_with_input(&["repl"], "let x = zeros[1000000000000000]\n1 + 1\n")
        .well();
}

#[test]
fn unknown_commands_and_options_are_wrong_use() {
    let folder = Folder::new("use");
    folder.aec(&["fly"]).fails(2, &["fly"]);
    folder.aec(&["fly.ae"]).fails(2, &["aec run fly.ae"]);
    folder.aec(&["run"]).fails(2, &["Usage"]);
    folder
        .aec(&["run", "--threads", "0", "a.ae"])
        .fails(2, &["threads"]);
    folder
        .aec(&["show", "soup", "a.ae"])
        .fails(2, &["soup", "clif"]);
}

#[test]
fn a_missing_data_file() {
    let folder = Folder::new("data");
    folder
        .run("use data\nlet x = data.csv(\"absent.csv\")\nprint x\n")
        .fails(
            1,
            &["error[E0811]", "absent.csv", "no such file", "script.ae:2"],
        );
}

#[test]
fn a_ragged_table() {
    let folder = Folder::new("ragged");
    folder.write("t.csv", "1,2,3\n4,5\n");
    folder
        .run("use data\nlet x = data.csv(\"t.csv\")\n")
        .fails(1, &["error[E0811]", "t.csv, line 2", "script.ae:2"]);
}

#[test]
fn a_word_in_a_table() {
    let folder = Folder::new("word");
    folder.write("t.csv", "1,2\n3,four\n");
    folder
        .run("use data\nlet x = data.csv(\"t.csv\")\n")
        .fails(1, &["error[E0811]", "t.csv, line 2", "four"]);
}

#[test]
fn a_file_of_another_kind() {
    let folder = Folder::new("kind");
    folder.write("t.csv", "1,2\n3,4\n");
    let say = |script: &str, words: &str| {
        folder
            .run(&format!("use data\n{script}\n"))
            .fails(1, &[words, "script.ae:2"]);
    };
    say(
        "export([[1.0, 2.0]], \"x.npy\"); let x = data.csv(\"x.npy\")",
        "`data.npy` reads",
    );
    say(
        "let x = data.load(\"x.npy\")",
        "a NumPy array, which `data.npy` reads",
    );
    say("let x = data.text(\"x.npy\")", "`data.npy` reads");
    say(
        "let x = data.npy(\"t.csv\")",
        "a table, which `data.csv` reads",
    );
    say(
        "let x = data.load([1.0, 2.0][0])",
        "rows of a `data.stream`",
    );
}

#[test]
fn a_truncated_idx_file() {
    let folder = Folder::new("short-idx");
    folder.write("i.idx", [0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 4, 1, 2, 3]);
    folder
        .run("use data\nlet x = data.idx(\"i.idx\")\n")
        .fails(1, &["error[E0811]", "i.idx"]);
}

#[test]
fn an_idx_header_that_lies() {
    let folder = Folder::new("lying-idx");
    // Two gigabytes are promised; nothing may be allocated for them.
    folder.write(
        "i.idx",
        [
            0, 0, 8, 3, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 28, 0, 0, 0, 28, 1, 2, 3,
        ],
    );
    folder
        .run("use data\nlet x = data.idx(\"i.idx\")\n")
        .fails(1, &["error[E0811]", "i.idx"]);
    folder.write("j.idx", [1, 2, 3, 4, 5, 6, 7, 8]);
    folder
        .run("use data\nlet x = data.idx(\"j.idx\")\n")
        .fails(1, &["error[E0811]", "j.idx"]);
}

#[test]
fn sizes_that_do_not_fit() {
    let folder = Folder::new("sizes");
    folder
        .run("model M(D, H) {\n  param W: [H, H] = 0\n  encoder(x: [D]) -> [H] = W @ x\n}\nlet m = M(64, 32)\n")
        .fails(1, &["error[E0301]", "W @ x"]);
}

#[test]
fn data_of_another_width_is_found_when_it_is_read() {
    let folder = Folder::new("width");
    folder.write("t.csv", "1,2,3\n4,5,6\n");
    folder
        .run(
            "use data\nmodel M(D) {\n  param w: [D] = 1\n  loss(x: [D]) = sum((w * x)^2)\n}\n\
             let m = train M(2) on data.csv(\"t.csv\") { epochs = 1 }\n",
        )
        .fails(1, &["error[E03", "t.csv"]);
}

#[test]
fn an_unknown_name_has_a_suggestion() {
    let folder = Folder::new("name");
    folder
        .run("let encoder = 1\nprint encodr\n")
        .fails(1, &["error[E02", "encodr", "`encoder`"]);
}

#[test]
fn nothing_runs_before_all_is_checked() {
    let folder = Folder::new("check-first");
    let run = folder.run("print 1\nprint unknown_thing\nprint other_thing\n");
    let run = run.fails(1, &["unknown_thing", "other_thing"]);
    assert_eq!(run.out, "");
}

const NAN: &str = "use optim\nmodel Log(D) {\n  param w: [D] = 1\n  loss(x: [D]) = sum(log(w * x))\n}\n\
                   let start = Log(2)\n\
                   let m = train start on [[1.0, 2.0], [-1.0, 2.0]] { optimizer = optim.sgd(0.1), batch = 1, epochs = 3, shuffle = false }\n";

#[test]
fn a_loss_that_turns_nan_names_epoch_step_and_line() {
    let folder = Folder::new("nan");
    folder
        .run(NAN)
        .fails(1, &["error[E0801]", "epoch 1, step 2", "script.ae:4"]);
    folder
        .aec(&["run", "--interpret", "script.ae"])
        .fails(1, &["error[E0801]", "epoch 1, step 2", "script.ae:4"]);
}

const SMALL: &str = "model M(D) {\n  param w: [D] = 1\n  apply(x: [D]) -> real = w @ x\n}\n";

#[test]
fn a_folder_that_cannot_be_written() {
    // A path below a file cannot be written even by root.
    let folder = Folder::new("unwritable");
    folder.write("file", "here");
    folder
        .run(&format!("{SMALL}save(M(3), \"file/w.safetensors\")\n"))
        .fails(1, &["error[E0812]", "file/w.safetensors", "script.ae:5"]);
    folder
        .run(&format!(
            "{SMALL}save(M(3), \"no/such/folder/w.safetensors\")\n"
        ))
        .fails(1, &["error[E0812]", "no/such/folder"]);
    folder
        .run("use plot\nplot.grid(ones[2, 4], \"file/p.png\")\n")
        .fails(1, &["error[E0812]", "file/p.png"]);
    assert_eq!(folder.names(), ["file", "script.ae"]);
}

#[test]
fn weights_of_another_model() {
    let folder = Folder::new("weights");
    folder.run(&format!("{SMALL}save(M(3), \"w.safetensors\")\nlet m = load(M(3), \"w.safetensors\")\nprint m.w\n")).well();
    folder
        .run(&format!("{SMALL}let m = load(M(4), \"w.safetensors\")\n"))
        .fails(1, &["error[E0813]", "w", "M(D = 3)"]);
    folder
        .run("model N(D) {\n  param v: [D] = 1\n  apply(x: [D]) -> real = v @ x\n}\nlet n = load(N(3), \"w.safetensors\")\n")
        .fails(1, &["error[E0813]", "missing in the file: v", "only in the file: w"]);
    folder.write("cut.safetensors", [9, 0, 0, 0, 0, 0, 0, 0, b'{']);
    folder
        .run(&format!("{SMALL}let m = load(M(3), \"cut.safetensors\")\n"))
        .fails(1, &["error[E0811]", "cut.safetensors"]);
}

/// A training that takes far longer than the test, and says when it has begun.
const LONG: &str = "use optim\nmodel M(D) {\n  param w: [D] = 1\n  loss(x: [D]) = sum((w * x)^2)\n}\n\
                    let x: [512, 16] ~ normal(0, 1)\nprint \"begins\"\n\
                    let m = train M(16) on x { optimizer = optim.sgd(1e-9), batch = 16, epochs = 100000000 }\n\
                    save(m, \"kept.safetensors\")\nprint \"kept\"\n";

/// Starts a script and gives it when it has printed its first line.
#[cfg(unix)]
fn start(folder: &Folder, script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    folder.write("script.ae", script);
    let mut child = folder
        .command_to_interrupt(&["run", "script.ae"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("aec starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    (child, out)
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
}

#[cfg(unix)]
fn finish(mut child: Child, mut out: BufReader<std::process::ChildStdout>) -> Run {
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().expect("the child is ours").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("Ctrl-C did not end it");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = child.wait().expect("it has ended");
    let (mut text, mut err) = (String::new(), String::new());
    out.read_to_string(&mut text).expect("UTF-8");
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut err)
        .expect("UTF-8");
    Run {
        code: status.code(),
        out: text,
        err,
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_in_training_keeps_the_weights_so_far() {
    let folder = Folder::new("ctrl-c");
    let (child, out) = start(&folder, LONG);
    // The first step may still be compiling; the wish to stop is kept until a step is done.
    std::thread::sleep(Duration::from_millis(300));
    interrupt(&child);
    let run = finish(child, out).fails(130, &["interrupted in epoch"]);
    assert_eq!(run.out, "kept\n");
    assert!(
        folder.names().contains(&"kept.safetensors".to_string()),
        "{:?}",
        folder.names()
    );
    let restored = LONG.split("let x").next().expect("the model");
    folder
        .run(&format!(
            "{restored}let m = load(M(16), \"kept.safetensors\")\nprint all(m.w < 1)\n"
        ))
        .well();
}

#[cfg(unix)]
#[test]
fn ctrl_c_in_a_loop_ends_the_script() {
    let folder = Folder::new("ctrl-c-loop");
    let (child, out) = start(
        &folder,
        "print \"begins\"\nlet s = 0\nfor i in 0..1000 { for j in 0..100000 { s = s + j } }\nprint s\n",
    );
    interrupt(&child);
    let run = finish(child, out);
    assert_eq!((run.code, run.out.as_str()), (Some(130), ""), "{run:?}");
    assert!(!run.err.contains("panicked"), "{run:?}");
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = Folder::new("pipe");
    let (mut child, out) = start(&folder, "for i in 0..1000000 { print \"line {i}\" }\n");
    drop(out);
    let mut err = String::new();
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut err)
        .expect("UTF-8");
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), err.as_str()), (Some(141), ""));
}

/// A list whose length only the run tells: the script ends with a message, not with the process.
#[cfg(target_os = "linux")]
#[test]
fn a_list_that_fills_the_memory_is_refused() {
    let folder = Folder::new("endless-list");
    let script = "print \"begun\"
let n = 60
let xs = [[[[str(a + b + c + d) for a in 0..n] for b in 0..n] for c in 0..n] for d in 0..n]
";
    folder.write("long.ae", script);
    let aec = env!("CARGO_BIN_EXE_aec");
    let limited = format!("ulimit -v 1000000; exec '{aec}' run --threads 1 long.ae");
    let mut shell = Command::new("sh");
    let run = shell.args(["-c", &limited]).current_dir(&folder.0).output();
    let run = Run::of(run.expect("a shell"));
    assert_eq!(run.out, "begun\n");
    run.fails(1, &["E0817", "memory is full", "long.ae:3"]);
}
