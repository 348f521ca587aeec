//! What goes to the terminal: messages on standard error, in colour only where colour is wanted.

use aec_driver::Session;
use aec_syntax::{Diagnostic, Style, render};
use std::io::{self, IsTerminal, Write};

/// Says a line on standard error; nobody listening is no error.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// How to draw messages on standard error.
pub fn style() -> Style {
    let color = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let width = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .unwrap_or(100);
    Style { color, width }
}

/// Prints diagnostics, a blank line between them.
pub fn report(session: &Session, diagnostics: &[Diagnostic]) {
    let sources = session.sources();
    let text: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| render(&sources.borrow(), diagnostic, style()))
        .collect();
    let _ = write!(io::stderr(), "{}", text.join("\n"));
}
