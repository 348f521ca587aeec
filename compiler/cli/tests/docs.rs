//! The language reference's blocks of code are tests: each ```` ```ae ```` block of docs/*.md and
//! README.md runs, and prints what the ```` ```text ```` block right behind it says. A block
//! marked `ae fails E0301` must fail with that code, and with that message if a block of text
//! follows; one marked `ae warns W0101` is warned of and runs. In a ```` ```repl ```` block the lines
//! with `> ` are typed into one session. The lines of a ```` ```sh runs ```` block are commands
//! of `aec`, for which the `ae` block before is `script.ae`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a block is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As a script.
    Script,
    /// Typed into the REPL, line by line.
    Repl,
    /// Each line is a command of `aec`.
    Commands,
}

/// A fenced block.
struct Block {
    /// `docs/language.md:12`
    place: String,
    /// The code that it must fail with.
    fails: Option<String>,
    /// The code that it must be warned of with.
    warns: Option<String>,
    code: String,
    kind: Kind,
    /// The `text` block that follows.
    output: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All `ae` blocks of a Markdown file; `ae ignore` ones are left out.
fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    let mut follows = false;
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            follows &= line.trim().is_empty();
            continue;
        };
        let mut body = String::new();
        for (_, line) in lines.by_ref() {
            if line.starts_with("```") {
                break;
            }
            body.push_str(line);
            body.push('\n');
        }
        let words: Vec<&str> = info.split_whitespace().collect();
        match words.as_slice() {
            ["text"] if follows => {
                if let Some(block) = found.last_mut() {
                    block.output = Some(body);
                }
                follows = false;
            }
            ["ae"] | ["ae", "fails" | "warns", _] => {
                let code = |kind| {
                    let told = words.get(1) == Some(&kind);
                    words.get(2).filter(|_| told).map(|code| code.to_string())
                };
                found.push(Block {
                    place: format!("{name}:{}", at + 1),
                    fails: code("fails"),
                    warns: code("warns"),
                    code: body,
                    kind: Kind::Script,
                    output: None,
                });
                follows = true;
            }
            ["sh", "runs"] => {
                found.push(Block {
                    place: format!("{name}:{}", at + 1),
                    fails: None,
                    warns: None,
                    code: body,
                    kind: Kind::Commands,
                    output: None,
                });
                follows = true;
            }
            ["repl"] => {
                let lines = |typed: bool| {
                    let kept = body.lines().filter(|line| line.starts_with("> ") == typed);
                    kept.map(|line| format!("{}\n", line.strip_prefix("> ").unwrap_or(line)))
                        .collect::<String>()
                };
                found.push(Block {
                    place: format!("{name}:{}", at + 1),
                    fails: None,
                    warns: None,
                    code: lines(true),
                    kind: Kind::Repl,
                    output: Some(lines(false)),
                });
                follows = false;
            }
            _ => follows = false,
        }
    }
    found
}

/// The words of a command line behind `aec`, without its comment.
fn words_of(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or("");
    // What stands between quotes is one word.
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(at, part)| match at % 2 {
        1 => vec![part.to_string()],
        _ => part.split_whitespace().map(str::to_string).collect(),
    });
    words.skip(1).collect()
}

/// What is wrong with the commands of a block, if anything.
fn judge_commands(block: &Block, folder: &Path) -> Option<String> {
    fs::copy(folder.join("block.ae"), folder.join("script.ae")).unwrap();
    let mut out = String::new();
    for line in block.code.lines() {
        let done = Command::new(env!("CARGO_BIN_EXE_aec"))
            .args(words_of(line))
            .current_dir(folder)
            .output()
            .unwrap();
        if !line.starts_with("aec ") || !done.status.success() {
            let err = String::from_utf8_lossy(&done.stderr);
            return Some(format!("`{line}` failed:\n{err}"));
        }
        out.push_str(&String::from_utf8_lossy(&done.stdout));
    }
    match &block.output {
        Some(expected) if *expected != out => {
            Some(format!("expected\n{expected}\nthey printed\n{out}"))
        }
        Some(_) | None => None,
    }
}

/// What is wrong with a block, if anything.
fn judge(block: &Block, folder: &Path) -> Option<String> {
    let args: &[&str] = match block.kind {
        Kind::Commands => return judge_commands(block, folder),
        Kind::Repl => &["repl"],
        Kind::Script => &["run", "block.ae"],
    };
    fs::write(folder.join("block.ae"), &block.code).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_aec"))
        .args(args)
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder)
        .stdin(fs::File::open(folder.join("block.ae")).unwrap())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    match (&block.fails, done.status.code()) {
        (Some(code), Some(1)) if err.contains(&format!("error[{code}]")) => match &block.output {
            Some(expected) if *expected != err => {
                Some(format!("expected\n{expected}\nits message is\n{err}"))
            }
            Some(_) | None => None,
        },
        (Some(code), _) => Some(format!("it was to fail with {code}:\n{out}{err}")),
        (None, Some(0)) if err.contains("warning[") != block.warns.is_some() => {
            Some(format!("another warning was wanted:\n{err}"))
        }
        (None, Some(0)) => match &block.output {
            Some(expected) if *expected != out => {
                Some(format!("expected\n{expected}\nit printed\n{out}"))
            }
            Some(_) | None => None,
        },
        (None, _) => Some(format!("it failed:\n{out}{err}")),
    }
}

#[test]
fn blocks_of_the_reference_run() {
    let folder = std::env::temp_dir().join(format!("aec-docs-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut pages = vec![root().join("README.md")];
    pages.extend(
        fs::read_dir(root().join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    pages.sort();
    let mut count = 0;
    let mut problems = Vec::new();
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|kind| kind == "md"))
    {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        for block in blocks(&name, &fs::read_to_string(page).unwrap()) {
            count += 1;
            if let Some(problem) = judge(&block, &folder) {
                problems.push(format!("{}: {problem}", block.place));
            }
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count >= 15, "only {count} blocks were found");
}

/// The words between marks like `"` of a text.
fn between(text: &str, mark: char) -> BTreeSet<String> {
    let parts = text.split(mark).enumerate();
    parts
        .filter(|(at, _)| at % 2 == 1)
        .map(|(_, part)| part.to_string())
        .collect()
}

/// The grammar of the reference has the words of the parser's, and its rules the names of its.
#[test]
fn the_grammar_is_the_parsers() {
    let source = root().join("compiler/syntax/src/grammar.lalrpop");
    let source = fs::read_to_string(source).unwrap();
    let reference = fs::read_to_string(root().join("docs/language.md")).unwrap();
    let grammar = reference.split("```ebnf\n").nth(1).expect("a grammar");
    let grammar = grammar.split("```").next().unwrap();
    let (tokens, rules) = source.split_once("pub Start").unwrap();
    // Tokens are declared as `"use" => Token::Use`; these are not text that is written.
    let inner = ["START_ITEM", "START_EXPR", "BAD"];
    let declared = tokens.lines().filter_map(|line| {
        let (text, _) = line.trim().strip_prefix('"')?.split_once("\" => Token::")?;
        Some(text.to_string())
    });
    let classes = ["ID", "INT", "FLOAT", "PLACE", "STR", "nl"];
    let declared: BTreeSet<String> = declared
        .filter(|text| !inner.contains(&&**text) && !classes.contains(&&**text))
        .collect();
    let mut written = between(grammar, '"');
    // Not of the parser's tokens: the line `precision f64`.
    assert!(written.remove("precision"), "{written:?}");
    assert_eq!(written, declared);
    let heads = |text: &str, is_head: &dyn Fn(&str) -> Option<String>| -> BTreeSet<String> {
        text.lines().filter_map(is_head).collect()
    };
    let parser = heads(rules, &|line| {
        let name = line.split([':', '<']).next()?;
        let head = line.starts_with(|c: char| c.is_ascii_uppercase()) && line.contains(':');
        (head && !["Comma", "Comma1", "Lines"].contains(&name)).then(|| name.to_string())
    });
    let ours = heads(grammar, &|line| {
        Some(line.split_once(" = ")?.0.trim().to_string())
    });
    let missing: Vec<&String> = parser.difference(&ours).collect();
    assert!(
        missing.is_empty(),
        "rules that the reference does not have: {missing:?}"
    );
}

#[test]
fn blocks_are_cut_out_of_markdown() {
    let page = "```repl\n> 1 + 1\n2\n> 3\n3\n```\ntext\n```ae\nprint 1\n```\n\n```text\n1\n```\n```sh\nls\n```\n```ae fails E0301\nx\n```\nbetween\n```text\nno\n```\n";
    let mut found = blocks("page.md", page);
    assert_eq!(found.len(), 3);
    let typed = found.remove(0);
    assert_eq!(
        (typed.code.as_str(), typed.output.as_deref()),
        ("1 + 1\n3\n", Some("2\n3\n"))
    );
    assert_eq!(
        (found[0].code.as_str(), found[0].output.as_deref()),
        ("print 1\n", Some("1\n"))
    );
    assert_eq!(
        (found[1].fails.as_deref(), found[1].output.as_deref()),
        (Some("E0301"), None)
    );
    assert_eq!(found[1].place, "page.md:18");
}

#[test]
fn every_example_is_shown() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
    let (index, gallery) = (read("docs/examples.md"), read("docs/gallery.md"));
    let mut count = 0;
    for entry in fs::read_dir(root().join("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "ae") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let link = format!("../examples/{name}.ae");
        assert!(index.contains(&link), "{name} is not in docs/examples.md");
        let printed = read(&format!("examples/{name}.out"));
        let shown = format!("```text\n{printed}```");
        assert!(
            gallery.contains(&link) && gallery.contains(&shown),
            "docs/gallery.md does not show {name}; docs/gallery.sh makes it again"
        );
        count += 1;
    }
    assert!(count >= 20, "{count} examples");
}
