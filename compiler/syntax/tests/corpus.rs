//! The parser on files: scripts that must parse cleanly, trees and messages as blessed.
//! `AEC_BLESS=1 cargo test -p aec-syntax` rewrites what is beside the inputs.

use aec_syntax::dump::dump;
use aec_syntax::{SourceMap, Style, parse_script, render};
use std::path::{Path, PathBuf};

/// The `.ae` files of a folder of `tests/`, with their texts.
fn inputs(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "ae"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
        .into_iter()
        .map(|f| (f.clone(), std::fs::read_to_string(f).expect("a text")))
        .collect()
}

/// Compares with the blessed file, or writes it.
fn check(path: &Path, got: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("AEC_BLESS").is_some() {
        std::fs::write(path, got).expect("a writable folder");
        return;
    }
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    if wanted != got {
        let line = wanted
            .lines()
            .zip(got.lines())
            .take_while(|(a, b)| a == b)
            .count();
        wrong.push(format!(
            "{} line {}: blessed {:?}, got {:?}",
            path.display(),
            line + 1,
            wanted.lines().nth(line),
            got.lines().nth(line)
        ));
    }
}

fn parse(path: &Path, text: &str) -> (aec_syntax::ast::Script, String, usize) {
    let mut sources = SourceMap::new();
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("?");
    let id = sources.add(name, text);
    let (script, diagnostics) = parse_script(id, text);
    let messages: Vec<String> = diagnostics
        .iter()
        .map(|d| render(&sources, d, Style::PLAIN))
        .collect();
    (script, messages.join("\n"), diagnostics.len())
}

#[test]
fn design_scripts_parse_without_messages() {
    for (path, text) in inputs("scripts") {
        let (script, messages, count) = parse(&path, &text);
        assert_eq!(count, 0, "{}:\n{messages}", path.display());
        assert!(!script.items.is_empty());
    }
}

#[test]
fn design_scripts_survive_crlf() {
    for (path, text) in inputs("scripts") {
        let (plain, _, _) = parse(&path, &text);
        let (crlf, messages, count) = parse(&path, &text.replace('\n', "\r\n"));
        assert_eq!(count, 0, "{}:\n{messages}", path.display());
        assert_eq!(dump(&plain), dump(&crlf), "{}", path.display());
    }
}

#[test]
fn trees() {
    let mut wrong = Vec::new();
    for (path, text) in inputs("trees") {
        let (script, messages, _) = parse(&path, &text);
        check(
            &path.with_extension("tree"),
            &format!("{}{messages}", dump(&script)),
            &mut wrong,
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn messages() {
    let mut wrong = Vec::new();
    for (path, text) in inputs("errors") {
        let (_, messages, _) = parse(&path, &text);
        check(&path.with_extension("txt"), &messages, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
