//! `aec fmt`: the one layout, for files, folders and standard input (`-`).

use crate::commands::{FAULT, print, read};
use crate::terminal;
use aec_driver::testing;
use aec_syntax::SourceMap;
use aec_syntax::format::format_script;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What is done with a text that has another layout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Write it.
    Write,
    /// Name it.
    Check,
    /// Show what would change.
    Diff,
}

/// Formats all; the exit code is 1 if a file has a syntax error, or, when nothing is written, if
/// one has another layout.
pub fn run(paths: &[PathBuf], mode: Mode) -> u8 {
    if paths == [PathBuf::from("-")] {
        return standard_input(mode);
    }
    let files = match testing::scripts(paths) {
        Ok(files) => files,
        Err(message) => {
            terminal::say(&message);
            return FAULT;
        }
    };
    files.iter().map(|file| one(file, mode)).max().unwrap_or(0)
}

fn standard_input(mode: Mode) -> u8 {
    let mut bytes = Vec::new();
    if let Err(error) = io::stdin().read_to_end(&mut bytes) {
        terminal::say(&format!("cannot read standard input: {error}"));
        return FAULT;
    }
    let Ok(text) = String::from_utf8(bytes) else {
        terminal::say("cannot read standard input: it is not UTF-8 text");
        return FAULT;
    };
    match formatted("<stdin>", &text) {
        Err(code) => code,
        Ok(new) if mode == Mode::Write => print(&new),
        Ok(new) => differs("<stdin>", &text, &new, mode),
    }
}

fn one(file: &Path, mode: Mode) -> u8 {
    let name = file.display().to_string();
    let text = match read(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let new = match formatted(&name, &text) {
        Ok(new) => new,
        Err(code) => return code,
    };
    if mode != Mode::Write || new == text {
        return differs(&name, &text, &new, mode);
    }
    match fs::write(file, new) {
        Ok(()) => 0,
        Err(error) => {
            terminal::say(&format!("cannot write {name}: {error}"));
            FAULT
        }
    }
}

fn differs(name: &str, text: &str, new: &str, mode: Mode) -> u8 {
    if text == new {
        return 0;
    }
    let shown = match mode {
        Mode::Write => return 0,
        Mode::Check => format!("{name}\n"),
        Mode::Diff => similar::TextDiff::from_lines(text, new)
            .unified_diff()
            .context_radius(2)
            .header(name, &format!("{name} (formatted)"))
            .to_string(),
    };
    print(&shown).max(1)
}

/// The text in the one layout; a script that does not parse is reported and left alone.
fn formatted(name: &str, text: &str) -> Result<String, u8> {
    let mut sources = SourceMap::new();
    let file = sources.add(name, text);
    format_script(file, text).map_err(|diagnostics| {
        terminal::report(&sources, &diagnostics);
        1
    })
}
