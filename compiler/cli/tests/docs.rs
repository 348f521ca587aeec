//! The language reference's blocks of code are tests: each ```` ```ae ```` block of docs/*.md and
//! README.md runs, and prints what the ```` ```text ```` block right behind it says. A block
//! marked `ae fails E0301` must fail with that code, one marked `ae warns W0101` is warned of and runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block.
struct Block {
    /// `docs/language.md:12`
    place: String,
    /// The code that it must fail with.
    fails: Option<String>,
    /// The code that it must be warned of with.
    warns: Option<String>,
    code: String,
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
                    output: None,
                });
                follows = true;
            }
            _ => follows = false,
        }
    }
    found
}

/// What is wrong with a block, if anything.
fn judge(block: &Block, folder: &Path) -> Option<String> {
    let script = folder.join("block.ae");
    fs::write(&script, &block.code).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_aec"))
        .arg("run")
        .arg(&script)
        .current_dir(folder)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    match (&block.fails, done.status.code()) {
        (Some(code), Some(1)) if err.contains(&format!("error[{code}]")) => None,
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

#[test]
fn blocks_are_cut_out_of_markdown() {
    let page = "text\n```ae\nprint 1\n```\n\n```text\n1\n```\n```sh\nls\n```\n```ae fails E0301\nx\n```\nbetween\n```text\nno\n```\n";
    let found = blocks("page.md", page);
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].code.as_str(), found[0].output.as_deref()),
        ("print 1\n", Some("1\n"))
    );
    assert_eq!(
        (found[1].fails.as_deref(), found[1].output.as_deref()),
        (Some("E0301"), None)
    );
    assert_eq!(found[1].place, "page.md:12");
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
