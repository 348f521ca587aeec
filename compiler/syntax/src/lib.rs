//! From text to syntax tree, and diagnostics with their renderer.
//!
//! Invariants: parsing never fails (what does not parse becomes an `Error` node and a
//! diagnostic); nothing here knows about types, files or terminals.

pub mod ast;
mod builder;
mod check;
pub mod codes;
pub mod diagnostic;
pub mod dump;
mod explain;
pub mod format;
pub mod free;
pub mod lexer;
pub mod parser;
pub mod parts;
pub mod render;
pub mod span;
mod strings;
pub mod suggest;
pub mod token;

pub use diagnostic::{Diagnostic, Help, Label, Severity};
pub use lexer::Comment;
pub use parser::{ReplInput, parse_expr, parse_repl, parse_script, parse_script_with_comments};
pub use render::{Style, render, render_json};
pub use span::{FileId, SourceMap, Span};
