//! From text to syntax tree, and diagnostics with their renderer.
//!
//! Invariants: parsing never fails (what does not parse becomes an `Error` node and a
//! diagnostic); nothing here knows about types, files or terminals.

pub mod ast;
pub mod diagnostic;
pub mod span;

pub use diagnostic::{Diagnostic, Severity};
pub use span::{FileId, SourceMap, Span};
