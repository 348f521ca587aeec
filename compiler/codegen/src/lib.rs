//! From a plan to machine code, and its execution.
//!
//! Invariants: the order of every operation is loop IR's, so results have the same bits as the
//! loop IR evaluator's, on any instruction set and any number of threads; a run allocates
//! nothing; machine code is freed with the [`Executable`] that owns it.

mod cost;
mod emit;
mod execute;
mod isa;
mod jit;
mod memory;
mod resolve;
mod sort;
mod widen;

pub use execute::{Executable, Instance, RunError, run_kernel, run_once};
pub use jit::{CodegenError, CodegenOptions, KernelFn, KernelText, kernel_text, why_narrow};
