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
