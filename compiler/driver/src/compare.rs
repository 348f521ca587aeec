//! Comparing a program's output with its golden text: numbers within a tolerance, text exactly,
//! and a diff for people when they differ.

use similar::{ChangeTag, TextDiff};

/// How far two numbers may lie apart: `|a - b| <= absolute + relative * |expected|`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    /// Relative to the expected number.
    pub relative: f64,
    /// In any case.
    pub absolute: f64,
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        Tolerance {
            relative: 1e-4,
            absolute: 1e-6,
        }
    }
}

/// A piece of a line.
#[derive(PartialEq, Debug)]
enum Piece<'a> {
    Text(&'a str),
    /// An int; compared exactly with another int.
    Int(&'a str),
    Real(f64),
}

/// Whether a line equals the expected one. Runs of spaces beside a number count as one, because
/// a number of another width moves its column.
pub fn same_line(expected: &str, actual: &str, tolerance: Tolerance) -> bool {
    if expected == actual {
        return true;
    }
    let (expected, actual) = (pieces(expected), pieces(actual));
    expected.len() == actual.len()
        && expected.iter().zip(&actual).all(|(e, a)| match (e, a) {
            (Piece::Text(e), Piece::Text(a)) => same_text(e, a),
            (Piece::Int(e), Piece::Int(a)) => e == a,
            (Piece::Int(_) | Piece::Real(_), Piece::Int(_) | Piece::Real(_)) => {
                same_number(number(e), number(a), tolerance)
            }
            (Piece::Text(_), _) | (_, Piece::Text(_)) => false,
        })
}

/// Whether two texts are the same line for line.
pub fn same(expected: &str, actual: &str, tolerance: Tolerance) -> bool {
    let (mut e, mut a) = (expected.lines(), actual.lines());
    loop {
        match (e.next(), a.next()) {
            (None, None) => return true,
            (Some(e), Some(a)) if same_line(e, a, tolerance) => {}
            _ => return false,
        }
    }
}

/// A line-by-line diff, `-` expected and `+` what came; lines that agree within the tolerance
/// count as equal.
pub fn diff(expected: &str, actual: &str, tolerance: Tolerance) -> String {
    let old: Vec<&str> = expected.lines().collect();
    let new: Vec<&str> = actual.lines().collect();
    // Lines that agree within the tolerance are replaced by the expected text before the diff.
    let aligned: Vec<&str> = if old.len() == new.len() {
        old.iter()
            .zip(&new)
            .map(|(&e, &a)| if same_line(e, a, tolerance) { e } else { a })
            .collect()
    } else {
        new.iter()
            .map(|&a| {
                old.iter()
                    .copied()
                    .find(|e| same_line(e, a, tolerance))
                    .unwrap_or(a)
            })
            .collect()
    };
    let diff = TextDiff::from_slices(&old, &aligned);
    let mut text = String::new();
    for (at, group) in diff.grouped_ops(2).iter().enumerate() {
        if at > 0 {
            text.push_str("      …\n");
        }
        for op in group {
            for change in diff.iter_changes(op) {
                let sign = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                let line = change.old_index().or(change.new_index()).unwrap_or(0) + 1;
                text.push_str(&format!("{line:>5} {sign} {}\n", change.value()));
            }
        }
    }
    text
}

fn same_text(expected: &str, actual: &str) -> bool {
    let squeeze = |text: &str| -> String {
        let inner = text.trim_matches(' ');
        let start = if text.starts_with(' ') { " " } else { "" };
        // Numbers after a bracket are aligned by their width and sign.
        let open = inner.ends_with('[');
        let end = if text.ends_with(' ') && !open {
            " "
        } else {
            ""
        };
        format!("{start}{inner}{end}")
    };
    expected == actual || squeeze(expected) == squeeze(actual)
}

fn number(piece: &Piece<'_>) -> f64 {
    match piece {
        Piece::Int(text) => text.parse().unwrap_or(f64::NAN),
        Piece::Real(value) => *value,
        Piece::Text(_) => f64::NAN,
    }
}

fn same_number(expected: f64, actual: f64, tolerance: Tolerance) -> bool {
    if expected.is_nan() || actual.is_nan() {
        return expected.is_nan() && actual.is_nan();
    }
    if expected == actual {
        return true;
    }
    (expected - actual).abs() <= tolerance.absolute + tolerance.relative * expected.abs()
}

/// Cuts a line into numbers and what stands between them. A digit right after a letter or `_`
/// belongs to a name (`f32`).
fn pieces(line: &str) -> Vec<Piece<'_>> {
    let bytes = line.as_bytes();
    let mut out = Vec::new();
    let (mut at, mut text_start) = (0, 0);
    while at < bytes.len() {
        let before = at.checked_sub(1).map(|i| bytes[i]);
        let in_name = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80);
        match (!in_name).then(|| number_at(bytes, at)).flatten() {
            Some((end, real)) => {
                if text_start < at {
                    out.push(Piece::Text(&line[text_start..at]));
                }
                let text = &line[at..end];
                out.push(match (real, text.parse::<f64>()) {
                    (true, Ok(value)) => Piece::Real(value),
                    (false, _) => Piece::Int(text),
                    (true, Err(_)) => Piece::Text(text),
                });
                at = end;
                text_start = end;
            }
            None => at += 1,
        }
    }
    if text_start < bytes.len() {
        out.push(Piece::Text(&line[text_start..]));
    }
    out
}

/// The end of the number that starts at `at`, and whether it is a real one.
fn number_at(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut end = at;
    if bytes[end] == b'-' {
        end += 1;
    }
    for word in [b"nan".as_slice(), b"inf"] {
        let after = bytes.get(end + word.len());
        if bytes[end..].starts_with(word) && !after.is_some_and(|b| b.is_ascii_alphanumeric()) {
            return Some((end + word.len(), true));
        }
    }
    let digits = |mut i: usize| {
        while bytes.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        i
    };
    let whole = digits(end);
    if whole == end {
        return None;
    }
    end = whole;
    let mut real = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1);
        real = true;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
            real = true;
        }
    }
    Some((end, real))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(expected: &str, actual: &str) -> bool {
        same(expected, actual, Tolerance::default())
    }

    #[test]
    fn numbers_have_a_tolerance_and_text_has_none() {
        assert!(ok("error 0.738412", "error 0.738415"));
        assert!(!ok("error 0.738412", "error 0.739"));
        assert!(!ok("error 0.738412", "Error 0.738412"));
        assert!(ok("a 1e-3 b", "a 0.001 b"));
        assert!(ok("-0.0000001", "0.0"));
        assert!(ok("loss nan", "loss nan"));
        assert!(!ok("loss nan", "loss 1.0"));
    }

    #[test]
    fn ints_and_digits_of_names_are_exact() {
        assert!(!ok("10000 rows", "10001 rows"));
        assert!(!ok("f32[3]", "f64[3]"));
        assert!(!ok("x1.5", "x1.50001"));
        assert!(ok("10000 rows", "10000 rows"));
    }

    #[test]
    fn columns_may_move_with_the_width_of_a_number() {
        assert!(ok("[ 1.00001, -0.0]", "[1.0, 0.0]"));
        assert!(ok("a   1.0001", "a 1.00012"));
        assert!(!ok("a b", "a  b"));
        assert!(!ok("a 1", "a1"));
    }

    #[test]
    fn a_diff_shows_only_what_is_out_of_tolerance() {
        let text = diff(
            "a 1.00001\nb 2\nc\n",
            "a 1.00002\nb 3\nc\n",
            Tolerance::default(),
        );
        assert!(text.contains("- b 2") && text.contains("+ b 3"), "{text}");
        assert!(!text.contains("- a"), "{text}");
    }

    #[test]
    fn lines_must_be_as_many() {
        assert!(!ok("a\nb\n", "a\n"));
        assert!(ok("a\n", "a"));
    }
}
