//! What compiled programs and the driver run on: tensors, matrix tiles, threads, random
//! numbers, readers and writers. Knows nothing of the language.

pub mod gemm;
pub mod philox;
pub mod pool;
pub mod shuffle;
pub mod tensor;

pub use tensor::{Data, Elem, Tensor};
