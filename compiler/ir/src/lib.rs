//! TIR, the tensor IR: typed SSA over whole tensors with concrete sizes.
//!
//! ```text
//! fn layer(%0 "W": f32[400,784], %1 "x": f32[128,784]) {
//!   %2: f32[128,400] = contract %1[a,b] %0[c,b] -> [a,c]
//!   %3: f32[128,400] = tanh %2
//!   return %3
//! }
//! ```
//!
//! Invariants, checked by [`verify`] between passes:
//! - Functions are closed; a region's body refers to nothing but its params.
//! - Sizes are concrete, and each op's result type follows from [`infer`]'s rule.
//! - Elementwise ops want operands of equal dims. Products of floats, sums, broadcasts,
//!   transposes and diagonals are all [`Op::Contract`]; every label of size other than 1 stands
//!   on a factor, a delta or the result.
//! - Random ops carry their draw site, and clones keep it.
//! - Spans survive every pass; names and value numbers mean nothing.
//!
//! What is where: [`op`] the op table, [`function`] the arenas and builders, [`infer`] type
//! rules, [`print`](mod@print) and [`parse`](mod@parse) the text form, [`rewrite`] the tools of
//! passes, [`interpret`](mod@interpret) what a function means. Nothing here knows how programs
//! are compiled.

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
    BadIndex, Binary, Category, Comparison, Contract, Distribution, Factor, Fault, Label, Labels,
    Literal, Loop, Mode, Op, Reduction, Unary,
};
pub use parse::{ParseError, parse};
pub use rewrite::{eliminate_dead, hash_structure, inline};
pub use verify::{VerifyError, verify};

// The types that TIR's own interfaces mention.
pub use aec_runtime::linalg::{MatrixOp, System};
pub use aec_runtime::{Elem, Tensor};
pub use aec_syntax::Span;
