//! What a turn of the REPL does: run an item, or a command that begins with a colon.

use crate::terminal;
use aec_driver::{Ended, Session};

/// What comes of a turn.
pub enum Turn {
    /// It ended so; the session goes on.
    Ended(Ended),
    /// The user wants to leave.
    Quit,
}

/// Whether this is a command, not an item.
pub fn is_command(text: &str) -> bool {
    text.trim_start().starts_with(':')
}

/// Does one input. `number` counts the items.
pub fn turn(session: &mut Session, number: &mut usize, text: &str) -> Turn {
    let outcome = session.turn(*number, text);
    terminal::report(session, &outcome.diagnostics);
    *number += 1;
    Turn::Ended(outcome.ended)
}

/// Completes a command at the cursor; `None` when this is no command.
pub fn complete(line: &str, _at: usize) -> Option<(usize, Vec<String>)> {
    is_command(line).then(|| (0, Vec::new()))
}
