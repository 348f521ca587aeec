//! What each error code means, for `aec explain`: the sections of docs/errors.md, where every
//! example and its repair is a test.

const PAGES: &str = include_str!("../../../docs/errors.md");

/// The page of a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// `E0301`
    pub code: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Markdown: an explanation, an example that gives this error, the example repaired.
    pub text: &'static str,
}

/// All pages in the order of their codes.
pub fn pages() -> impl Iterator<Item = Page> {
    PAGES.split("\n## ").skip(1).filter_map(|section| {
        let (head, text) = section.split_once('\n')?;
        let (code, title) = head.split_once(' ')?;
        let text = text.trim();
        Some(Page { code, title, text })
    })
}

/// The page of a code, in any case: `e0301` is `E0301`.
pub fn page(code: &str) -> Option<Page> {
    pages().find(|page| page.code.eq_ignore_ascii_case(code))
}

impl Page {
    /// The page for a terminal: examples indented, the fences gone.
    pub fn plain(&self) -> String {
        let mut out = format!("{}: {}\n", self.code, self.title);
        let mut in_code = false;
        for line in ["", self.text].join("\n").lines() {
            match line.strip_prefix("```") {
                Some(info) if !in_code => {
                    in_code = true;
                    let fails = info.contains("fails") || info.contains("warns");
                    let head = if fails { "This gives it:" } else { "Repaired:" };
                    let gap = if out.ends_with("\n\n") { "" } else { "\n" };
                    out.push_str(&format!("{gap}{head}\n\n"));
                }
                Some(_) => in_code = false,
                None if in_code => out.push_str(&format!("    {line}\n")),
                None => out.push_str(&format!("{line}\n")),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_and_in_order() {
        let codes: Vec<&str> = pages().map(|page| page.code).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        let plain = page("e0114").expect("it is explained").plain();
        assert_eq!(
            plain,
            "E0114: `=` in a condition\n\n`=` gives a value to a name, `==` compares.\n\n\
             This gives it:\n\n    let a = 1\n    if a = 1 { print \"one\" }\n\n\
             Repaired:\n\n    let a = 1\n    if a == 1 { print \"one\" }\n"
        );
    }
}
