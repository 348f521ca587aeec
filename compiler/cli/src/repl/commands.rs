//! What a turn of the REPL does: run an item, or a command that begins with a colon.

use crate::commands::{print, read};
use crate::terminal;
use aec_driver::show::{Wanted, watch};
use aec_driver::{Ended, Outcome, Session, complete as completion, describe};
use aec_syntax::ast::ExprKind;
use aec_syntax::{FileId, parse_expr};
use aec_types::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The commands, what they take, and what they do.
const COMMANDS: [(&str, &str, &str); 11] = [
    (
        ":type",
        "EXPR",
        "the type of a value, the signature of a function",
    ),
    (":shape", "EXPR", "the shapes of all tensors in a value"),
    (":doc", "NAME", "what the author says about a name"),
    (
        ":grad",
        "F(X, …)",
        "the gradient of F by its first argument",
    ),
    (
        ":show",
        "STAGE EXPR",
        "what becomes of it: tir, tir:PASS, plan, kernels, lir, clif, asm",
    ),
    (":time", "EXPR", "how long it takes"),
    (":load", "FILE", "run a script and keep its names"),
    (":reload", "", "run the last script again"),
    (":seed", "N", "seed of the draws from now on"),
    (":help", "", "this list"),
    (":quit", "", "leave (or Ctrl-D)"),
];

/// What comes of a turn.
pub enum Turn {
    /// It ended so; the session goes on.
    Ended(Ended),
    /// The user wants to leave.
    Quit,
}

/// What a session of the REPL remembers between turns.
#[derive(Default)]
pub struct Memory {
    turns: usize,
    loaded: Option<PathBuf>,
}

/// Whether this is a command, not an item.
pub fn is_command(text: &str) -> bool {
    text.trim_start().starts_with(':')
}

/// Does one input.
pub fn turn(session: &mut Session, memory: &mut Memory, text: &str) -> Turn {
    memory.turns += 1;
    let name = format!("<{}>", memory.turns);
    let Some(command) = command_of(session, text) else {
        let outcome = session.turn(&name, text);
        return reported(session, outcome);
    };
    let (word, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    let rest = rest.trim();
    let mut wanting = COMMANDS.iter().filter(|(_, takes, _)| !takes.is_empty());
    if rest.is_empty()
        && let Some((name, takes, _)) =
            wanting.find(|(name, ..)| name.strip_prefix(':') == Some(word))
    {
        terminal::say(&format!("it is called as {name} {takes}"));
        return Turn::Ended(Ended::Failed);
    }
    match word {
        "q" | "quit" | "exit" => return Turn::Quit,
        "h" | "help" | "?" => return printed(&help()),
        "t" | "type" => return with_value(session, &name, rest, describe::type_of),
        "shape" => return with_value(session, &name, rest, |_, value| describe::shapes(value)),
        "doc" => return with_value(session, &name, rest, describe::documentation),
        "grad" => match gradient(rest) {
            Some(text) => {
                let outcome = session.turn(&name, &text);
                return reported(session, outcome);
            }
            None => terminal::say(":grad wants a call, such as :grad f(x)"),
        },
        "show" => return show(session, &name, rest),
        "time" => {
            let start = Instant::now();
            let outcome = session.turn(&name, rest);
            let time = start.elapsed();
            let turn = reported(session, outcome);
            terminal::say(&format!("{:.3} ms", time.as_secs_f64() * 1e3));
            return turn;
        }
        "load" => {
            let path = PathBuf::from(rest.trim_matches('"'));
            memory.loaded = Some(path.clone());
            return load(session, &path);
        }
        "reload" => match memory.loaded.clone() {
            Some(path) => return load(session, &path),
            None => terminal::say("nothing was loaded yet; :load FILE does"),
        },
        "seed" => match rest.parse() {
            Ok(seed) => session.elaborator.set_seed(seed),
            Err(_) => terminal::say(":seed wants a whole number"),
        },
        _ => terminal::say(&format!("there is no command :{word}; :help lists them")),
    }
    Turn::Ended(Ended::Failed)
}

/// The command that a line is, without its colon. What every newcomer tries first works without
/// one, as long as nothing has that name.
fn command_of<'a>(session: &Session, text: &'a str) -> Option<&'a str> {
    let text = text.trim();
    let word = text.trim_end_matches("()");
    let tried = matches!(word, "help" | "quit" | "exit");
    match tried && session.elaborator.lookup(word).is_none() {
        true => Some(word),
        false => text.strip_prefix(':'),
    }
}

fn reported(session: &Session, outcome: Outcome) -> Turn {
    terminal::report(&session.sources().borrow(), &outcome.diagnostics);
    Turn::Ended(outcome.ended)
}

fn printed(text: &str) -> Turn {
    Turn::Ended(match print(text) {
        0 => Ended::Well,
        code if code == Ended::ClosedPipe.exit_code() => Ended::ClosedPipe,
        _ => Ended::Failed,
    })
}

fn help() -> String {
    let line = |(name, takes, does): &(&str, &str, &str)| {
        format!("{:20} {does}\n", format!("{name} {takes}"))
    };
    COMMANDS.iter().map(line).collect()
}

/// Evaluates an expression and says something about its value.
fn with_value(
    session: &mut Session,
    name: &str,
    text: &str,
    say: impl Fn(&Session, &Value) -> String,
) -> Turn {
    let (outcome, value) = session.evaluate(name, text);
    match value {
        Some(value) => printed(&format!("{}\n", say(session, &value))),
        None => reported(session, outcome),
    }
}

/// `f(x, y)` as `grad(f)(x, y)`.
fn gradient(text: &str) -> Option<String> {
    let call = parse_expr(FileId(0), text).ok()?;
    let ExprKind::Call { callee, .. } = &call.kind else {
        return None;
    };
    let (function, args) = text.split_at_checked(callee.span.end as usize)?;
    Some(format!("grad({function}){args}"))
}

fn show(session: &mut Session, name: &str, text: &str) -> Turn {
    let (stage, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let wanted = match Wanted::parse(stage) {
        Ok(wanted) => wanted,
        Err(message) => {
            terminal::say(&message);
            return Turn::Ended(Ended::Failed);
        }
    };
    let shown = watch(session, &wanted);
    let (outcome, _) = session.evaluate(name, rest);
    session.world.compiler.stop_observing();
    let text = shown.take();
    if text.is_empty() && outcome.ended == Ended::Well {
        terminal::say("nothing is compiled for this: its value is known before");
    }
    match printed(&text) {
        Turn::Ended(Ended::Well) => reported(session, outcome),
        other => other,
    }
}

/// Runs a script in the session; a broken one leaves the session as it was.
fn load(session: &mut Session, path: &Path) -> Turn {
    match read(path) {
        Ok(text) => {
            let outcome = session.turn(&path.display().to_string(), &text);
            reported(session, outcome)
        }
        Err(_) => Turn::Ended(Ended::Failed),
    }
}

/// Completes a command or its file at the cursor; `None` where an expression stands.
pub fn complete(line: &str, at: usize) -> Option<(usize, Vec<String>)> {
    let text = line.get(..at)?;
    if !is_command(text) {
        return None;
    }
    if let Some(path) = text.strip_prefix(":load ") {
        return Some(completion::files(path, at));
    }
    let known = COMMANDS.iter().map(|(name, ..)| *name);
    let found: Vec<String> = known
        .filter(|name| name.starts_with(text))
        .map(String::from)
        .collect();
    (!text.contains(' ')).then_some((0, found))
}
