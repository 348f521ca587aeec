//! Lines from a terminal: one item is one input, however many lines it takes, so that what is
//! typed ahead or pasted is never split between two calls of the line editor. Tab completes,
//! Enter indents, the history is kept between sessions.

use super::{Line, Lines, PROMPT, commands};
use aec_driver::{Session, complete};
use aec_syntax::{FileId, ReplInput, parse_repl};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler,
    Helper, KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::{env, fs};

/// Lines that are kept between sessions.
const HISTORY: usize = 2000;

/// One level of blocks and brackets.
const INDENT: usize = 2;

/// A terminal with line editing.
pub struct Terminal {
    editor: Editor<Assistant, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Terminal {
    /// Opens it and reads the history.
    pub fn open(session: Rc<RefCell<Session>>) -> rustyline::Result<Terminal> {
        let config = Config::builder()
            .max_history_size(HISTORY)?
            .history_ignore_dups(true)?
            .completion_type(rustyline::CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Assistant { session }));
        let key = |code| Event::from(KeyEvent(code, Modifiers::NONE));
        let handler =
            |handler: Box<dyn ConditionalEventHandler>| EventHandler::Conditional(handler);
        editor.bind_sequence(key(KeyCode::Enter), handler(Box::new(Enter)));
        for closer in [')', ']', '}'] {
            editor.bind_sequence(
                key(KeyCode::Char(closer)),
                handler(Box::new(Closer(closer))),
            );
        }
        let history = history_file();
        if let Some(file) = &history {
            // A missing or damaged history is an empty one.
            let _ = editor.load_history(file);
        }
        Ok(Terminal { editor, history })
    }
}

impl Lines for Terminal {
    fn next(&mut self) -> Line {
        match self.editor.readline(PROMPT) {
            Ok(text) => Line::Text(text),
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

/// Whether more lines are to come: a bracket is open, an operator waits for its right side, or a
/// `##` comment for what it explains.
pub fn goes_on(text: &str) -> bool {
    let last = text.rsplit('\n').next().unwrap_or("");
    !commands::is_command(text)
        && (last.trim_start().starts_with("##")
            || matches!(parse_repl(FileId(0), text), ReplInput::Incomplete))
}

/// How far the line after `text` is indented: two columns for each bracket that is open.
fn indentation(text: &str) -> usize {
    let mut depth = 0usize;
    for line in text.lines() {
        let mut in_string = false;
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if in_string => _ = chars.next(),
                '"' => in_string = !in_string,
                '#' if !in_string => break,
                '(' | '[' | '{' if !in_string => depth += 1,
                ')' | ']' | '}' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    depth * INDENT
}

/// What the line editor asks.
struct Assistant {
    session: Rc<RefCell<Session>>,
}

impl Helper for Assistant {}
impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if goes_on(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        if let Some(found) = commands::complete(line, at) {
            return Ok(found);
        }
        Ok(complete::complete(&mut self.session.borrow_mut(), line, at))
    }
}

/// Enter at the end of what goes on begins an indented line.
struct Enter;

impl ConditionalEventHandler for Enter {
    fn handle(
        &self,
        _: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let text = context.line();
        (context.pos() == text.len() && goes_on(text))
            .then(|| Cmd::Insert(1, format!("\n{}", " ".repeat(indentation(text)))))
    }
}

/// A closing bracket at the beginning of its line goes back by one level.
struct Closer(char);

impl ConditionalEventHandler for Closer {
    fn handle(
        &self,
        _: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let line = context.line()[..context.pos()].rsplit('\n').next()?;
        let begins = context.line().contains('\n') && line.chars().all(|c| c == ' ');
        // A movement with a count would be repeated once only.
        begins.then(|| {
            let blanks = " ".repeat(line.len().saturating_sub(INDENT));
            Cmd::Replace(
                Movement::BeginningOfLine,
                Some(format!("{blanks}{}", self.0)),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_brackets_and_operators_go_on() {
        assert!(goes_on("fn f(x) {"));
        assert!(goes_on("1 +"));
        assert!(goes_on("fn f(x) {\n  x\n"));
        assert!(!goes_on("1 +\n"), "an empty line ends it");
        assert!(!goes_on("fn f(x) {\n  x\n}"));
        assert!(!goes_on(":type ("));
    }

    #[test]
    fn lines_are_indented_by_what_is_open() {
        assert_eq!(indentation("fn f(x) {"), 2);
        assert_eq!(indentation("model M(D) {\n  loss(x: [D]) = sum("), 4);
        assert_eq!(indentation("print \"(\" # {"), 0);
        assert_eq!(indentation("let a = [\n  1]"), 0);
    }
}
