//! Completion: what may stand at the cursor, by the names of a session, the members of the value
//! before a dot, the modules after `use`, and the files inside a string.

use crate::session::Session;
use crate::stdlib;
use aec_syntax::ast::{ModelItem, Name};
use aec_syntax::token::RESERVED;
use aec_types::Value;
use std::fs;
use std::path::Path;

/// The byte where the word at `at` begins, and the words it may become, sorted.
pub fn complete(session: &mut Session, text: &str, at: usize) -> (usize, Vec<String>) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or("");
    if let Some(path) = open_string(line) {
        return files(path, at);
    }
    if let Some(module) = line.trim_start().strip_prefix("use ") {
        let start = at - module.len();
        return (start, matching(module, modules(session)));
    }
    if let Some((call, last)) = behind_call(line) {
        let value = session.elaborator.foresee(call);
        let members = value.map_or(Vec::new(), |value| members(&value));
        return (at - last.len(), matching(last, members));
    }
    let path = line
        .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')))
        .map_or(line, |end| {
            let skip = line[end..].chars().next().map_or(0, char::len_utf8);
            &line[end + skip..]
        });
    match path.rsplit_once('.') {
        None => (at - path.len(), matching(path, names(session))),
        Some((base, last)) => {
            let members = value_of(session, base).map_or(Vec::new(), |value| members(&value));
            (at - last.len(), matching(last, members))
        }
    }
}

/// `model(x)` and `pa` of a line that ends in `model(x).pa`, also with indices or more calls on the
/// way: what names alone do not tell.
fn behind_call(line: &str) -> Option<(&str, &str)> {
    let (base, last) = line.rsplit_once('.')?;
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if !last.chars().all(word) {
        return None;
    }
    let mut depth = 0usize;
    let start = base.char_indices().rev().find_map(|(at, c)| match c {
        ')' | ']' => {
            depth += 1;
            None
        }
        '(' | '[' => match depth.checked_sub(1) {
            Some(less) => {
                depth = less;
                None
            }
            None => Some(at + 1),
        },
        _ if depth > 0 || word(c) || c == '.' => None,
        _ => Some(at + c.len_utf8()),
    });
    let base = &base[start.unwrap_or(0)..];
    base.contains([')', ']']).then_some((base, last))
}

fn matching(start: &str, candidates: Vec<String>) -> Vec<String> {
    let mut found: Vec<String> = candidates
        .into_iter()
        .filter(|candidate| candidate.starts_with(start))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Names in scope and the words of the language; what no script can write is left out.
fn names(session: &Session) -> Vec<String> {
    let words = ["model", "param", "train", "test"];
    let all = session.elaborator.names();
    let written = all
        .iter()
        .map(Name::as_ref)
        .filter(|name| *name != "core" && !name.contains(' '));
    written
        .chain(RESERVED)
        .chain(words)
        .map(str::to_string)
        .collect()
}

/// Modules of the library, and the `.ae` files beside the script.
fn modules(session: &Session) -> Vec<String> {
    let hidden = ["prelude", "distributions"];
    let library = stdlib::modules().filter(|name| !hidden.contains(name));
    let mut found: Vec<String> = library.map(str::to_string).collect();
    let folder = session
        .world
        .options
        .look_in
        .first()
        .map(|folder| folder.as_path());
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        found.extend(name.strip_suffix(".ae").map(str::to_string));
    }
    found
}

/// `m.enc`: names and members only, nothing is run.
fn value_of(session: &Session, path: &str) -> Option<Value> {
    let mut parts = path.split('.');
    let mut value = session.elaborator.lookup(parts.next()?)?;
    for part in parts {
        value = match &value {
            Value::Module(module) => module.scope.here(part)?,
            Value::Record(_) => value.field(part)?.clone(),
            Value::Tuple(values) => values.get(part.parse::<usize>().ok()?)?.clone(),
            Value::Model(model) => {
                let fields = model.params.iter().chain(&model.statics);
                fields
                    .into_iter()
                    .find(|(name, _)| &**name == part)?
                    .1
                    .clone()
            }
            _ => return None,
        };
    }
    Some(value)
}

/// What may stand behind the dot.
fn members(value: &Value) -> Vec<String> {
    let owned = |names: &mut dyn Iterator<Item = &Name>| names.map(ToString::to_string).collect();
    match value {
        Value::Module(module) => owned(&mut module.scope.own_names().iter()),
        Value::Record(fields) => owned(&mut fields.iter().map(|(name, _)| name)),
        Value::Tuple(values) => (0..values.len()).map(|place| place.to_string()).collect(),
        Value::Model(model) => {
            let functions = model
                .template
                .def
                .items
                .iter()
                .filter_map(|item| match item {
                    ModelItem::Fn(def) => Some(&def.name.name),
                    ModelItem::Param { .. } | ModelItem::Let { .. } | ModelItem::Error(_) => None,
                });
            let fields = model
                .params
                .iter()
                .chain(&model.statics)
                .map(|(name, _)| name);
            owned(&mut fields.chain(functions))
        }
        Value::Unit
        | Value::Tensor(_)
        | Value::Str(_)
        | Value::List(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Token(_)
        | Value::Maybe(_)
        | Value::Ragged(_)
        | Value::Tree(_)
        | Value::Distribution(_)
        | Value::Unknown => Vec::new(),
        Value::Vocab(_) => ["encode", "decode", "has", "size", "words"]
            .map(String::from)
            .to_vec(),
    }
}

/// The text of the string that is open at the end of a line.
fn open_string(line: &str) -> Option<&str> {
    let mut open = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = open.is_some(),
            '"' => open = if open.is_some() { None } else { Some(at + 1) },
            '#' if open.is_none() => return None,
            _ => {}
        }
    }
    open.map(|start| &line[start..])
}

/// Files whose path begins as `path`; folders end in `/`.
pub fn files(path: &str, at: usize) -> (usize, Vec<String>) {
    let (folder, start) = path.rsplit_once('/').map_or(("", path), |(f, s)| (f, s));
    let shown = if path.contains('/') {
        format!("{folder}/")
    } else {
        String::new()
    };
    let read = if shown.is_empty() { "." } else { &shown };
    let mut found = Vec::new();
    for entry in fs::read_dir(read).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && !start.starts_with('.');
        if name.starts_with(start) && !hidden {
            let end = if entry.path().is_dir() { "/" } else { "" };
            found.push(format!("{shown}{name}{end}"));
        }
    }
    found.sort();
    (at - path.len(), found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Options;

    fn after(setup: &str, text: &str) -> Vec<String> {
        let mut session = Session::new(Options::default(), Box::new(std::io::sink()));
        let outcome = session.turn("<1>", setup);
        assert!(outcome.diagnostics.is_empty(), "{:?}", outcome.diagnostics);
        complete(&mut session, text, text.len()).1
    }

    #[test]
    fn names_members_and_modules_complete() {
        assert_eq!(
            after("let wide = 1", "print wi"),
            ["wide", "windows", "windows2", "with", "with_derivative"]
        );
        assert_eq!(after("let r = (mu = 1.0, sigma = 2.0)", "r.s"), ["sigma"]);
        let model = "use nn\nmodel A(D) {\n  param enc: nn.Linear(D, 2)\n  encoder(x: [D]) = enc(x)\n}\nlet m = A(3)";
        assert_eq!(after(model, "m.en"), ["enc", "encoder"]);
        assert_eq!(after(model, "1 + m.enc."), ["W", "apply", "b", "m", "n"]);
        assert_eq!(
            after("use optim", "optim.ada"),
            ["adagrad", "adam", "adamw"]
        );
        assert_eq!(after("let a = 1", "use opt"), ["optim"]);
        assert_eq!(after("let a = 1", "a.").len(), 0);
    }

    #[test]
    fn what_a_call_gives_completes() {
        let model = "use nn\nmodel A(D) {\n  param enc: nn.Linear(D, 2)\n  fn parts(x: [D]) = (code = enc(x), size = D)\n}\nlet m = A(3)\nlet ms = [m, m]";
        assert_eq!(after(model, "A(3).en"), ["enc"]);
        assert_eq!(
            after(model, "print 1 + m.parts(zeros[3])."),
            ["code", "size"]
        );
        assert_eq!(after(model, "sum(m.parts([1.0, 2.0, (3.0)]).c"), ["code"]);
        assert_eq!(after(model, "ms[0].enc."), ["W", "apply", "b", "m", "n"]);
        assert_eq!(after(model, "m.parts(nothing).").len(), 0);
        assert_eq!(after(model, "m.parts(.").len(), 0);
        assert_eq!(after(model, "(m)."), ["D", "enc", "parts"]);
    }

    #[test]
    fn strings_complete_files() {
        let found = after("let a = 1", "load(\"src/comp");
        assert_eq!(found, ["src/compare.rs", "src/complete.rs"]);
        assert_eq!(open_string("print \"a\" # \"b"), None);
    }
}
