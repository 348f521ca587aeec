//! `aec repl`: items with editing and history on a terminal, plain lines from a pipe.

mod commands;
mod editor;

use crate::terminal;
use aec_driver::{Ended, Options, Session};
use editor::{Terminal, goes_on};
use std::cell::RefCell;
use std::io::{self, BufRead, IsTerminal};
use std::rc::Rc;

const PROMPT: &str = "ae> ";

/// Where input comes from.
trait Lines {
    /// One whole input: an item or a command, of as many lines as it takes.
    fn next(&mut self) -> Line;
    fn remember(&mut self, text: &str);
}

enum Line {
    Text(String),
    Cancelled,
    End,
}

/// Runs until the input ends; errors of the input don't end it.
pub fn run(options: Options) -> u8 {
    let session = Session::new(options, Box::new(io::stdout()));
    if !session.faults.is_empty() {
        terminal::report(&session.sources().borrow(), &session.faults);
        terminal::say("this is a bug in aec: the library does not load");
        return super::commands::FAULT;
    }
    let session = Rc::new(RefCell::new(session));
    if io::stdin().is_terminal() {
        match Terminal::open(session.clone()) {
            Ok(mut lines) => {
                terminal::say(&format!(
                    "aec {}; :help lists the commands, Ctrl-D ends",
                    env!("CARGO_PKG_VERSION")
                ));
                return turns(&session, &mut lines);
            }
            Err(error) => terminal::say(&format!("no line editing: {error}")),
        }
    }
    turns(&session, &mut Piped(io::stdin().lock()))
}

fn turns(session: &RefCell<Session>, lines: &mut dyn Lines) -> u8 {
    let mut memory = commands::Memory::default();
    loop {
        let text = match lines.next() {
            Line::Text(text) => text,
            Line::Cancelled => {
                session.borrow().world.forget_stop();
                continue;
            }
            Line::End => return 0,
        };
        let text = text.trim_end();
        if text.trim().is_empty() {
            continue;
        }
        lines.remember(text);
        let mut session = session.borrow_mut();
        let ended = commands::turn(&mut session, &mut memory, text);
        match ended {
            commands::Turn::Quit => return 0,
            commands::Turn::Ended(Ended::ClosedPipe) => return Ended::ClosedPipe.exit_code(),
            commands::Turn::Ended(Ended::Interrupted) => {
                terminal::say("interrupted");
                session.world.forget_stop();
            }
            commands::Turn::Ended(Ended::Well | Ended::Failed) => {}
        }
    }
}

struct Piped<R>(R);

impl<R: BufRead> Lines for Piped<R> {
    fn next(&mut self) -> Line {
        let mut text = String::new();
        loop {
            let mut bytes = Vec::new();
            match self.0.read_until(b'\n', &mut bytes) {
                // What is open at the end of the input is read as it stands, for its message.
                Ok(0) | Err(_) if text.trim().is_empty() => return Line::End,
                Ok(0) | Err(_) => return Line::Text(text),
                Ok(_) => {}
            }
            let line = String::from_utf8_lossy(&bytes);
            text.push_str(line.trim_end_matches(['\n', '\r']));
            if !goes_on(&text) {
                return Line::Text(text);
            }
            text.push('\n');
        }
    }

    fn remember(&mut self, _text: &str) {}
}
