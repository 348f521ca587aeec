//! TIR, the tensor IR: typed SSA over whole tensors with concrete sizes.
//!
//! Invariants: functions are closed; sizes are concrete; random ops carry their draw site;
//! spans survive every pass. Nothing here knows how programs are compiled.

pub mod function;
pub mod op;

pub use function::{Def, Function, Guard, Inst, InstData, Type, Value, ValueData};
pub use op::{
    Binary, Category, Comparison, Contract, Distribution, Factor, Label, Labels, Literal, Mode, Op,
    Reduction, Unary,
};
