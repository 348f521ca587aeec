//! What must hold of any text.

use aec_driver::{Options, Session, has_errors};
use aec_syntax::ast::{Item, ItemKind, StmtKind};
use aec_syntax::dump::dump;
use aec_syntax::format::format_script;
use aec_syntax::{
    Diagnostic, FileId, SourceMap, Style, parse_repl, parse_script, parse_script_with_comments,
    render, render_json,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An input that takes longer is a finding.
pub const HANG: Duration = Duration::from_secs(2);

/// A part of the front end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Lexer and parser: a tree or a message, of places that are in the text.
    Parser,
    /// The elaborator's check of a whole script.
    Checker,
    /// The formatter: the meaning is kept, and the second time changes nothing.
    Formatter,
}

/// What became of an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is a script without errors.
    Accepted,
    /// It has errors, as most have.
    Refused,
    /// Something is wrong with the compiler.
    Finding(String),
}

impl Target {
    /// All, by the names that the command line takes.
    pub const ALL: [(&str, Target); 3] = [
        ("parser", Target::Parser),
        ("checker", Target::Checker),
        ("formatter", Target::Formatter),
    ];

    /// Runs an input; a panic is a finding, and so is a long time.
    pub fn examine(self, text: &str) -> Verdict {
        let begun = cpu_time();
        let verdict = catch_unwind(AssertUnwindSafe(|| match self {
            Target::Parser => parser(text),
            Target::Checker => checker(text),
            Target::Formatter => formatter(text),
        }));
        match verdict {
            Err(_) => Verdict::Finding(format!("panicked at {}", PLACE.take())),
            Ok(Err(wrong)) => Verdict::Finding(wrong),
            Ok(Ok(_)) if cpu_time() > begun + HANG => Verdict::Finding("took too long".into()),
            Ok(Ok(true)) => Verdict::Accepted,
            Ok(Ok(false)) => Verdict::Refused,
        }
    }
}

/// What this thread has computed for so far: a busy machine makes nothing hang. Where the system
/// does not say, the time that has passed.
fn cpu_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(
        || START.get_or_init(Instant::now).elapsed(),
        Duration::from_nanos,
    )
}

thread_local! {
    /// Where the last panic of this thread came from.
    static PLACE: Cell<String> = const { Cell::new(String::new()) };
}

/// Notes places of panics instead of printing them.
pub fn note_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        PLACE.set(place.unwrap_or_default());
    }));
}

/// Whether a text is a script, or what is wrong with how it was examined.
type Outcome = Result<bool, String>;

/// Each message must be printable, of a place in the text, and its edits, too.
fn messages(sources: &SourceMap, text: &str, found: &[Diagnostic]) -> Result<(), String> {
    for (n, diagnostic) in found.iter().enumerate() {
        if diagnostic.message.contains("bug in aec") {
            return Err(format!("{}: {}", diagnostic.code, diagnostic.message));
        }
        let style = Style {
            color: n % 2 == 0,
            width: 80,
        };
        if render(sources, diagnostic, style).is_empty()
            || render_json(sources, diagnostic).is_empty()
        {
            return Err(format!("{} has no text", diagnostic.code));
        }
        let spans = diagnostic.labels.iter().map(|label| label.span);
        let edits = diagnostic.help.iter().filter_map(|help| help.edit.as_ref());
        for span in spans.chain(edits.map(|edit| edit.0)) {
            let inside = text.get(span.start as usize..span.end as usize).is_some();
            let ours = sources
                .get(span.file)
                .is_some_and(|file| &*file.name == NAME);
            if ours && !inside {
                return Err(format!("{} points outside of the text", diagnostic.code));
            }
        }
    }
    Ok(())
}

/// The name of every input.
const NAME: &str = "input.ae";

fn parser(text: &str) -> Outcome {
    let mut sources = SourceMap::new();
    let file = sources.add(NAME, text);
    let (script, found) = parse_script(file, text);
    messages(&sources, text, &found)?;
    if found.len() > 4 * script.items.len() + 40 {
        return Err(format!("{} messages", found.len()));
    }
    if script.items.iter().any(|item| {
        text.get(item.span.start as usize..item.span.end as usize)
            .is_none()
    }) {
        return Err("an item lies outside of the text".into());
    }
    dump(&script);
    let broken = |item: &Item| matches!(&item.kind, ItemKind::Stmt(stmt) if matches!(stmt.kind, StmtKind::Error));
    if found.is_empty() && script.items.iter().any(broken) {
        return Err("an error node without a message".into());
    }
    let _ = parse_repl(file, text);
    Ok(found.is_empty())
}

fn checker(text: &str) -> Outcome {
    let options = Options {
        threads: 1,
        interpret: true,
        ..Options::default()
    };
    let mut session = Session::new(options, Box::new(std::io::sink()));
    let (_, found) = session.check(NAME, text);
    for diagnostic in &found {
        if matches!(diagnostic.code, "E0490" | "E0491" | "E0599" | "E0999") {
            return Err(format!("{}: {}", diagnostic.code, diagnostic.message));
        }
    }
    messages(&session.sources().borrow(), text, &found)?;
    Ok(!has_errors(&found))
}

fn formatter(text: &str) -> Outcome {
    let (script, found, comments) = parse_script_with_comments(FileId(0), text);
    let once = match format_script(FileId(0), text) {
        Ok(once) => once,
        Err(_) if !found.is_empty() => return Ok(false),
        Err(why) => return Err(format!("not formatted: {}", why[0].message)),
    };
    let (again, errors, kept) = parse_script_with_comments(FileId(0), &once);
    if let Some(error) = errors.first() {
        return Err(format!("the result has errors: {}", error.message));
    }
    let texts = |comments: &[aec_syntax::Comment]| {
        comments
            .iter()
            .map(|comment| comment.text.clone())
            .collect::<Vec<_>>()
    };
    if dump(&script) != dump(&again) || texts(&comments) != texts(&kept) {
        return Err("the result means something else".into());
    }
    match format_script(FileId(0), &once) {
        Ok(twice) if twice == once => Ok(true),
        Ok(_) => Err("formatting the result changes it".into()),
        Err(errors) => Err(format!("the result is refused: {}", errors[0].message)),
    }
}
