//! The pipeline, sessions, the embedded library and the execution of scripts.
//!
//! Invariants: effects happen here and nowhere above in the pipeline; only the caller's `out`
//! and standard error are written to; what a run prints follows from the script, its files and
//! the seed alone, not from the number of threads.

pub mod bench;
pub mod checkpoint;
pub mod compare;
pub mod complete;
pub mod describe;
mod effects;
mod evaluate;
pub mod exec;
mod feed;
pub mod format;
mod history;
mod memory;
mod names;
pub mod pipeline;
mod progress;
mod run;
pub mod saved;
pub mod session;
mod settings;
pub mod show;
pub mod stdlib;
pub mod summary;
pub mod testhead;
pub mod testing;
mod train;
mod trainlog;

pub use run::{Ended, Outcome, has_errors};
pub use session::{Options, Session};
