//! Every error code has a page, and every page an example and its repair, or a reason for having
//! none. That the examples fail with their code and the repairs run is tested by docs.rs.

mod common;

use aec_syntax::codes;
use common::{Folder, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Codes that no small script gives: nesting that is too long for a page, two files, bugs of
/// ours, and what the system does.
const WITHOUT_EXAMPLE: [&str; 8] = [
    "E0125", "E0208", "E0490", "E0491", "E0599", "E0891", "E0892", "E0999",
];

/// Every `"E0301"` and `"W0101"` in the text of the compiler, tests left out.
fn codes_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !["tests", "target", "fuzz"].contains(&&*name) {
            codes_in(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a text");
            let code = text.split("#[cfg(test)]").next().unwrap_or("");
            for kind in ["E", "W"] {
                for part in code.split(&format!("\"{kind}")).skip(1) {
                    if let Some(number) = part.get(..4)
                        && number.bytes().all(|b| b.is_ascii_digit())
                        && part[4..].starts_with('"')
                    {
                        found.insert(format!("{kind}{number}"));
                    }
                }
            }
        }
    }
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let mut used = BTreeSet::new();
    codes_in(&root().join("compiler"), &mut used);
    let explained: BTreeSet<String> = codes::pages().map(|page| page.code.to_string()).collect();
    assert_eq!(
        used, explained,
        "docs/errors.md and the compiler's codes differ"
    );
}

#[test]
fn every_page_has_an_example_and_its_repair() {
    for page in codes::pages() {
        let kind = if page.code.starts_with('W') {
            "warns"
        } else {
            "fails"
        };
        let fails = format!("```ae {kind} {}\n", page.code);
        let whole = page.text.contains(&fails) && page.text.contains("```ae\n");
        let none = WITHOUT_EXAMPLE.contains(&page.code);
        assert_ne!(whole, none, "{}", page.code);
    }
}

#[test]
fn explain_prints_a_page_or_the_list() {
    let folder = Folder::new("explain");
    let page = folder.aec(&["explain", "e0301"]).well();
    assert!(
        page.out.starts_with("E0301: sizes that do not match\n"),
        "{page:?}"
    );
    assert!(
        page.out.contains("This gives it:\n\n    fn layer"),
        "{page:?}"
    );
    let list = folder.aec(&["explain"]).well();
    assert_eq!(list.out.lines().count(), codes::pages().count(), "{list:?}");
    assert!(list.out.contains("E0114  `=` in a condition\n"), "{list:?}");
    folder
        .aec(&["explain", "E0300"])
        .fails(2, &["there is no error E0300"]);
}
