//! The `aec` command. Only this crate knows the command line and the terminal.
//!
//! Exit codes: 0 well; 1 the user's program or a test failed; 2 wrong use, or a bug of ours;
//! 130 ended by Ctrl-C; 141 nobody read the output (as a shell shows SIGPIPE).

mod args;
mod bench;
mod commands;
mod fmt;
mod model;
mod repl;
mod terminal;

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::thread;

#[global_allocator]
static ALLOCATOR: aec_runtime::pages::LargePages = aec_runtime::pages::LargePages;

/// Deep expressions recurse; the memory is only reserved.
const STACK: usize = 512 << 20;

fn main() -> ExitCode {
    aec_runtime::pages::settle_the_heap();
    panic::set_hook(Box::new(|info| terminal::say(&format!("{info}"))));
    let run = || {
        panic::catch_unwind(AssertUnwindSafe(commands::run)).unwrap_or_else(|cause| {
            terminal::say(&format!("this is a bug in aec: {}", text_of(&*cause)));
            commands::FAULT
        })
    };
    let code = match thread::Builder::new().stack_size(STACK).spawn(run) {
        Ok(thread) => thread.join().unwrap_or(commands::FAULT),
        Err(error) => {
            terminal::say(&format!("cannot start a thread: {error}"));
            commands::FAULT
        }
    };
    ExitCode::from(code)
}

fn text_of(cause: &(dyn Any + Send)) -> &str {
    cause
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| cause.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
