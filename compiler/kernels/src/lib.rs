//! From a TIR function to a static plan of fused kernels in loop IR.
//!
//! Invariants: a plan is data (nothing here emits machine code or runs anything); every fusion
//! decision has a recorded reason; results do not depend on how many threads will run the plan.

pub mod lir;
pub mod plan;
