//! Ctrl-C sets the flag. One test, as a signal belongs to the whole process.

#![cfg(unix)]

use std::process::Command;

use aec_runtime::interrupt;

#[test]
fn a_signal_is_a_request() {
    interrupt::install();
    interrupt::install();
    for _ in 0..2 {
        assert!(!interrupt::requested());
        let status = Command::new("kill")
            .args(["-INT", &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        while !interrupt::requested() {
            std::thread::yield_now();
        }
        interrupt::clear();
    }
}
