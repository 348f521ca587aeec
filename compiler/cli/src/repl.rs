//! `aec repl`: lines with editing and history on a terminal, plain lines from a pipe.

use crate::terminal;
use aec_driver::{Ended, Options, Session};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::{env, fs};

const PROMPT: &str = "ae> ";
const MORE: &str = "  . ";

/// Lines that are kept between sessions.
const HISTORY: usize = 2000;

/// Where lines come from.
trait Lines {
    fn next(&mut self, prompt: &str) -> Line;
    fn remember(&mut self, text: &str);
}

enum Line {
    Text(String),
    Cancelled,
    End,
}

/// Runs until the input ends; errors of the input don't end it.
pub fn run(options: Options) -> u8 {
    let mut session = Session::new(options, Box::new(io::stdout()));
    if !session.faults.is_empty() {
        terminal::report(&session, &session.faults);
        terminal::say("this is a bug in aec: the library does not load");
        return super::commands::FAULT;
    }
    if io::stdin().is_terminal() {
        match Terminal::open() {
            Ok(mut lines) => {
                println_to_terminal(&format!(
                    "aec {}; Ctrl-D ends, Ctrl-C cancels",
                    env!("CARGO_PKG_VERSION")
                ));
                return turns(&mut session, &mut lines);
            }
            Err(error) => terminal::say(&format!("no line editing: {error}")),
        }
    }
    turns(&mut session, &mut Piped(io::stdin().lock()))
}

fn println_to_terminal(text: &str) {
    terminal::say(text);
}

fn turns(session: &mut Session, lines: &mut dyn Lines) -> u8 {
    let mut text = String::new();
    let mut number = 1;
    loop {
        let line = lines.next(if text.is_empty() { PROMPT } else { MORE });
        let ends = matches!(line, Line::End);
        match line {
            Line::Text(line) => {
                text.push_str(&line);
                text.push('\n');
            }
            Line::Cancelled => {
                text.clear();
                session.world.forget_stop();
                continue;
            }
            Line::End if text.trim().is_empty() => return 0,
            // What is open at the end of the input is read as it stands, for its message.
            Line::End => {}
        }
        if text.trim().is_empty() {
            text.clear();
            continue;
        }
        let outcome = match session.turn(number, &text) {
            Some(outcome) => outcome,
            None if ends => {
                let (_, diagnostics) = session.check(&format!("<{number}>"), &text);
                terminal::report(session, &diagnostics);
                return 0;
            }
            None => continue,
        };
        terminal::report(session, &outcome.diagnostics);
        lines.remember(text.trim_end());
        text.clear();
        number += 1;
        match outcome.ended {
            Ended::ClosedPipe => return Ended::ClosedPipe.exit_code(),
            Ended::Interrupted => {
                terminal::say("interrupted");
                session.world.forget_stop();
            }
            Ended::Well | Ended::Failed => {}
        }
        if ends {
            return 0;
        }
    }
}

struct Piped<R>(R);

impl<R: BufRead> Lines for Piped<R> {
    fn next(&mut self, _prompt: &str) -> Line {
        let mut bytes = Vec::new();
        match self.0.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => Line::End,
            Ok(_) => Line::Text(
                String::from_utf8_lossy(&bytes)
                    .trim_end_matches(['\n', '\r'])
                    .to_string(),
            ),
        }
    }

    fn remember(&mut self, _text: &str) {}
}

struct Terminal {
    editor: Editor<(), DefaultHistory>,
    history: Option<PathBuf>,
}

impl Terminal {
    fn open() -> rustyline::Result<Terminal> {
        let config = Config::builder()
            .max_history_size(HISTORY)?
            .history_ignore_dups(true)?
            .build();
        let mut editor = Editor::with_config(config)?;
        let history = history_file();
        if let Some(file) = &history {
            // A missing or damaged history is an empty one.
            let _ = editor.load_history(file);
        }
        Ok(Terminal { editor, history })
    }
}

impl Lines for Terminal {
    fn next(&mut self, prompt: &str) -> Line {
        match self.editor.readline(prompt) {
            Ok(line) => Line::Text(line),
            Err(ReadlineError::Interrupted) => Line::Cancelled,
            Err(_) => Line::End,
        }
    }

    fn remember(&mut self, text: &str) {
        let added = self.editor.add_history_entry(text);
        if let (Ok(true), Some(file)) = (added, &self.history) {
            let _ = self.editor.append_history(file);
        }
    }
}

/// `aec/history` under the user's data folder.
fn history_file() -> Option<PathBuf> {
    let data = match env::var_os("XDG_DATA_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME")?).join(".local/share"),
    };
    let folder = data.join("aec");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
