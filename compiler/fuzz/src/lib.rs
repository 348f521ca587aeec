//! Damaged scripts for the parser, the checker and the formatter: what each of them must do with
//! any text, and how texts that are nearly scripts are made. `main.rs` runs it for as long as
//! wanted; `tests/replay.rs` runs the corpus: the inputs that once found something.

pub mod mutate;
pub mod pieces;
pub mod shrink;
pub mod target;

pub use target::{Target, Verdict};

use std::fs;
use std::path::Path;

/// The scripts in a folder and those below it, in the order of their paths: `.ae` files, and the
/// `ae` blocks of Markdown files.
pub fn scripts(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let kind = path.extension().and_then(|kind| kind.to_str());
        match (kind, fs::read_to_string(&path)) {
            _ if path.is_dir() => found.extend(scripts(&path)),
            (Some("ae"), Ok(text)) => found.push(text),
            (Some("md"), Ok(text)) => {
                let blocks = text.split("\n```ae").skip(1);
                let code = blocks.filter_map(|block| block.split("\n```").next());
                found.extend(code.filter_map(|code| Some(code.split_once('\n')?.1.to_string())));
            }
            _ => {}
        }
    }
    found
}
