//! The `.ae` tests of the repository, run by the user's own tool.

mod common;

use common::root;
use std::process::Command;

/// `aec test` on a folder of the repository; its report is printed.
fn passes(folder: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_aec"))
        .args(["test", folder])
        .current_dir(root())
        .output()
        .expect("aec starts");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{out}{err}");
    assert!(
        output.status.success(),
        "aec test {folder}: {}",
        output.status
    );
    assert!(
        !out.contains("\n0 passed"),
        "nothing was tested in {folder}"
    );
}

#[test]
fn tests() {
    passes("tests");
}

#[test]
fn stdlib() {
    passes("stdlib");
}

#[test]
fn examples() {
    passes("examples");
}
