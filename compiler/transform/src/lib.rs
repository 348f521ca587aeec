//! Passes on TIR: differentiation, batching, simplification.
//!
//! [`compile_time_passes`] is the readable list; everything it calls is a function from TIR to
//! TIR. Derivatives are made by linearizing and transposing, batching is a rule per op, and
//! products of any shape are [`term::Term`]s.

pub mod arithmetic;
pub mod batch;
pub mod derivative;
pub mod factorise;
mod flat_index;
pub mod guard;
pub mod linearize;
pub mod loops;
pub mod partial;
pub mod pipeline;
mod range;
pub mod rebuild;
pub mod rule;
mod scatter;
pub mod simplify;
mod simplify_contract;
mod simplify_elementwise;
mod simplify_movement;
pub mod term;
pub mod transpose;
mod wanted;

pub use pipeline::{PassInfo, Run, compile_time_passes, passes, run_pass};
