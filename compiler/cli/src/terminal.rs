//! What goes to the terminal: messages on standard error, in colour only where colour is wanted.

use aec_syntax::{Diagnostic, SourceMap, Style, render};
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

/// Messages that are shown of one script: more help nobody.
const SHOWN: usize = 50;

/// Prints diagnostics, a blank line between them.
pub fn report(sources: &SourceMap, diagnostics: &[Diagnostic]) {
    let shown = diagnostics.iter().take(SHOWN);
    let mut text: Vec<String> = shown
        .map(|diagnostic| render(sources, diagnostic, style()))
        .collect();
    if diagnostics.len() > SHOWN {
        let more = diagnostics.len() - SHOWN;
        text.push(format!(
            "{more} further messages are not shown; `aec check --json` gives all\n"
        ));
    }
    let _ = write!(io::stderr(), "{}", text.join("\n"));
}
