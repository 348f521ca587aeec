//! The REPL through a pipe.

mod common;

use common::Folder;

fn repl(input: &str) -> common::Run {
    Folder::new("repl").aec_with_input(&["repl"], input)
}

#[test]
fn values_are_shown_and_names_kept() {
    let run = repl("let a = [1.0, 2.0]\na * 2\n\"text\"\nlet f = fn x -> x + 1\nf(2)\n").well();
    assert_eq!(run.out, "[2.0, 4.0]\n\"text\"\n3\n");
    assert_eq!(run.err, "");
}

#[test]
fn errors_do_not_end_it() {
    let run = repl("nonsense\nlet b = 3\n1 +* 2\nb + 1\n").well();
    assert_eq!(run.out, "4\n");
    assert!(
        run.err.contains("nonsense") && run.err.contains("<3>:1"),
        "{run:?}"
    );
}

#[test]
fn what_newcomers_try_first_works() {
    let run =
        repl("help\nfn area(x: [n], k: real = 1) -> real = k * sum(x)\narea\nexit()\n1\n").well();
    assert!(run.out.contains(":type"), "{run:?}");
    assert!(
        run.out.ends_with("fn area(x: [n], k: real = 1) -> real\n"),
        "{run:?}"
    );
    let run = repl("let exit = 2\nexit + 1\nexit\n").well();
    assert_eq!(run.out, "3\n2\n");
}

#[test]
fn a_line_that_is_wrong_stands_before_the_library() {
    let run = repl("use nn\nlet norm = nn.BatchNorm(2)\nnorm([1.0, 2.0])\n").well();
    assert!(
        run.err.starts_with("error[E0508]") && run.err.contains("--> <3>:1:1"),
        "{run:?}"
    );
}

#[test]
fn an_item_may_take_several_lines() {
    let run =
        repl("fn f(x: [n]) -> [n] {\n  let y = x + 1\n  y * 2\n}\nf([1.0])\nlet t = (1,\n2)\nt\n")
            .well();
    assert_eq!(run.out, "[4.0]\n(1, 2)\n");
}

#[test]
fn models_train_and_tests_run() {
    let run = repl(
        "use optim\nmodel M(n) {\n  param w: [n] = 1\n  loss(x: [n]) = sum((w * x)^2)\n}\n\
         let x: [64, 3] ~ normal(0, 1)\n\
         let m = train M(3) on x { optimizer = optim.sgd(0.1), epochs = 5 }\n\
         mean(m.loss(x)) < mean(M(3).loss(x))\ntest \"sum\" { assert 1 + 1 == 2 }\n",
    )
    .well();
    assert_eq!(run.out, "true\ntest \"sum\" passed\n", "{run:?}");
}

#[test]
fn a_name_may_be_defined_again() {
    let run = repl("let a = 1\nlet a = 2\na\nfn f(x) = x\nfn f(x) = x + 1\nf(1)\n").well();
    assert_eq!(run.out, "2\n2\n");
}

#[test]
fn input_that_ends_in_the_middle_is_an_error_of_the_input_only() {
    let run = repl("1 + 1\nfn f(x) {\n").well();
    assert_eq!(run.out, "2\n");
    assert!(run.err.contains("error"), "{run:?}");
}

#[test]
fn an_operator_waits_for_its_right_side_and_docs_for_their_item() {
    let run = repl("1 +\n2\n## Twice.\nfn two(x: real) -> real = 2 * x\n:doc two\n").well();
    assert_eq!(run.out, "3\nfn two(x: real) -> real\nTwice.\n");
}

#[test]
fn commands_say_what_a_value_is() {
    let run = repl(
        "model M(D, H) {\n  param W: [H, D] = 0\n  param b: [H] = 0\n}\nlet m = M(3, 2)\n:shape m\n:type M\n\
         :type (1, [1.0, 2.0], \"a\")\n:type fn x -> x + 1\n:doc exp\n",
    )
    .well();
    assert_eq!(
        run.out,
        ".W  [2, 3]\n.b  [2]\nmodel M(D, H)\n(int, [2], str)\nfn x -> x + 1\nthe function `exp`\n\
         e to the x, elementwise\n"
    );
}

#[test]
fn commands_compute_and_show() {
    let run = repl(
        "let x = [1.0, 2.0]\nfn f(x: [n]) -> real = sum(x^2)\nlet e: [2] ~ normal(0, 1)\n:grad f(x)\n:show tir e * 2\n:show tir 1 + 1\n:time f(x)\n",
    );
    let run = run.well();
    assert!(run.out.starts_with("[2.0, 4.0]\n── "), "{run:?}");
    assert!(
        run.out.ends_with("5.0\n") && run.err.ends_with(" ms\n"),
        "{run:?}"
    );
}

#[test]
fn scripts_are_loaded_and_loaded_again() {
    let folder = Folder::new("repl-load");
    folder
        .write("a.ae", "let a = 41\nfn f(x) = x + a\n")
        .write("broken.ae", "let a = (\n");
    let run = folder.aec_with_input(
        &["repl"],
        ":load a.ae\nf(1)\na = 1\n:reload\nf(1)\n:load broken.ae\nf(1)\n:load none.ae\n:nonsense\n:quit\nf(1)\n",
    );
    let run = run.well();
    assert_eq!(run.out, "42\n42\n42\n");
    for text in ["broken.ae:1", "none.ae", "there is no command :nonsense"] {
        assert!(run.err.contains(text), "{run:?}");
    }
}

#[test]
fn modules_of_the_user_stand_where_the_session_began() {
    let folder = Folder::new("repl-use");
    let run = folder
        .write("mine.ae", "## Twice.\nfn two(x: real) -> real = 2 * x\n")
        .aec_with_input(&["repl"], "use mine\nmine.two(4)\n:doc mine.two\n")
        .well();
    assert_eq!(run.out, "8.0\nfn two(x: real) -> real\nTwice.\n");
}

#[test]
fn seeds_are_set() {
    let draw = "let e: [3] ~ normal(0, 1)\n";
    let run = repl(&format!(
        ":seed 5\n{draw}e\n:seed 6\n{draw}e\n:seed 5\n{draw}e\n"
    ))
    .well();
    let lines: Vec<&str> = run.out.lines().collect();
    assert_ne!(lines[0], lines[1], "{run:?}");
    assert_eq!(lines[0], lines[2], "a seed begins anew: {run:?}");
}

#[test]
fn a_command_without_its_argument_says_how_it_is_called() {
    let run = repl(":type\n:load\n:seed\n1 + 1\n").well();
    assert_eq!(run.out, "2\n");
    for call in [":type EXPR", ":load FILE", ":seed N"] {
        assert!(run.err.contains(call), "no {call} in {run:?}");
    }
}
