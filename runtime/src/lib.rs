//! What compiled programs and the driver run on: tensors, matrix tiles, dense linear algebra,
//! threads, random numbers, readers and writers. Knows nothing of the language.

pub mod gemm;
pub mod interrupt;
pub mod levels;
pub mod linalg;
pub mod machine;
pub mod pages;
pub mod philox;
pub mod plot;
pub mod pool;
pub mod read;
pub mod rows;
pub mod shuffle;
pub mod tensor;
pub mod write;

pub use tensor::{Data, Elem, Tensor};
