//! TIR, the tensor IR: typed SSA over whole tensors with concrete sizes.
//!
//! Invariants: functions are closed; sizes are concrete; random ops carry their draw site;
//! spans survive every pass. Nothing here knows how programs are compiled.

pub mod function;
#[doc(hidden)]
pub mod generate;
mod hash;
pub mod infer;
pub mod interpret;
mod lexer;
pub mod op;
pub mod parse;
pub mod print;
pub mod rewrite;
pub mod verify;

pub use function::{Def, Function, Guard, Inst, InstData, Type, Value, ValueData};
pub use infer::{check_types, result_types};
pub use interpret::{InterpretError, Precision, interpret};
pub use op::{
    Binary, Category, Comparison, Contract, Distribution, Factor, Label, Labels, Literal, Mode, Op,
    Reduction, Unary,
};
pub use parse::{ParseError, parse};
pub use rewrite::{eliminate_dead, hash_structure, inline};
pub use verify::{VerifyError, verify};

// The types that TIR's own interfaces mention.
pub use aec_runtime::{Elem, Tensor};
pub use aec_syntax::Span;
