//! The corpus of wrong programs in tests/errors: each says where its slip is, the message must
//! point there, and where the message has an edit, the edited program must be right.
//!
//! `# slip: text` at the head of a file quotes the text of the slip, as it first stands below the
//! head. The whole message is compared by `aec test`, with the `.err` file beside it.

mod common;

use aec_driver::{Options, Session, has_errors};
use aec_syntax::{Diagnostic, Span};
use common::root;
use std::fs;
use std::path::PathBuf;

/// Programs of the corpus that are repaired by the edits of their messages.
const REPAIRED: usize = 80;

/// Programs of the corpus.
const PROGRAMS: usize = 120;

fn programs() -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("tests/errors"))
        .expect("the folder is there")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "ae"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (name, fs::read_to_string(&path).expect("a text"))
    };
    files.into_iter().map(read).collect()
}

fn session() -> Session {
    let options = Options {
        threads: 1,
        interpret: true,
        ..Options::default()
    };
    Session::new(options, Box::new(std::io::sink()))
}

/// What checking finds, and whether it is an error.
fn check(text: &str) -> Vec<Diagnostic> {
    session().check("slip.ae", text).1
}

/// What checking, or else running, finds.
fn find(text: &str) -> Vec<Diagnostic> {
    let found = check(text);
    if has_errors(&found) {
        return found;
    }
    session().run("slip.ae", text).diagnostics
}

/// The bytes of the slip.
fn slip(text: &str) -> Option<(usize, usize)> {
    let line = text.lines().find(|line| line.starts_with("# slip: "))?;
    let quoted = line.strip_prefix("# slip: ")?.trim_end();
    let below = text.find(line)? + line.len();
    let start = below + text[below..].find(quoted)?;
    Some((start, start + quoted.len()))
}

/// The text with the first edit of the first diagnostic applied.
fn edited(text: &str, found: &[Diagnostic]) -> Option<String> {
    let (span, new): &(Span, String) = found.first()?.help.iter().find_map(|h| h.edit.as_ref())?;
    let mut text = text.to_string();
    text.replace_range(span.start as usize..span.end as usize, new);
    Some(text)
}

#[test]
fn messages_point_at_the_slip() {
    let programs = programs();
    assert!(
        programs.len() >= PROGRAMS,
        "only {} programs",
        programs.len()
    );
    let mut wrong = Vec::new();
    for (name, text) in &programs {
        let Some((start, end)) = slip(text) else {
            if text.contains("# slip: ") {
                wrong.push(format!("{name}: no `# slip:` whose text stands below"));
            }
            continue;
        };
        let found = find(text);
        let Some(first) = found.first() else {
            wrong.push(format!("{name}: nothing is found"));
            continue;
        };
        let span = first.span();
        let at = (span.start as usize, span.end as usize);
        if at.0 < start
            || at.0 > end
            || at.1 > text[start..].find('\n').map_or(text.len(), |n| start + n)
        {
            let shown = text.get(at.0..at.1).unwrap_or("");
            wrong.push(format!(
                "{name}: {} points at {shown:?}, {at:?}, not at {:?}",
                first.code,
                (start, end)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn edits_of_messages_repair_programs() {
    let mut repaired = 0;
    let mut wrong = Vec::new();
    for (name, text) in programs() {
        let mut now = text.clone();
        let mut found = find(&now);
        let (several, mut steps) = (found.len() > 1, 0);
        while let Some(next) = edited(&now, &found).filter(|_| steps < 10) {
            now = next;
            found = check(&now);
            steps += 1;
        }
        match (steps, has_errors(&found)) {
            (0, _) => {}
            (_, false) => repaired += 1,
            // Of several slips some may have no edit.
            (_, true) if several => {}
            (_, true) => {
                let why = found.first().map_or("", |first| &first.message);
                wrong.push(format!(
                    "{name}: the edited program is still wrong: {why}\n{now}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        repaired >= REPAIRED,
        "only {repaired} programs are repaired by their messages"
    );
}
