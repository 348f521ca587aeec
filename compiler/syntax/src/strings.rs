//! String literals: where one ends, its escapes, and where its `{…}` expressions stand.
//! The expressions themselves are parsed later, each by its own parser call.

use crate::ast::Name;
use crate::diagnostic::Diagnostic;
use crate::span::{FileId, Span};
use crate::token::RawPart;

/// Strings inside the expressions of strings inside …; more is an error.
const MAX_NESTING: usize = 8;

/// A scanned literal.
pub struct Scanned {
    /// Its pieces.
    pub parts: Vec<RawPart>,
    /// One past its closing quote, or the end of its line.
    pub end: usize,
}

/// Scans the literal whose opening quote is at `start`. `limit` ends the text that may be read.
pub fn scan(
    file: FileId,
    text: &str,
    start: usize,
    limit: usize,
    out: &mut Vec<Diagnostic>,
) -> Scanned {
    let bytes = &text.as_bytes()[..limit];
    let mut parts = Vec::new();
    let mut piece = String::new();
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None | Some(b'\n') => {
                let end = line_end(bytes, at);
                out.push(
                    Diagnostic::error("E0102", Span::new(file, start, end), "this string is not closed")
                        .help_edit(
                            "a string ends on its own line, with `\"`; a line break in it is written `\\n`",
                            Span::new(file, end, end),
                            "\"",
                        ),
                );
                flush(&mut parts, &mut piece);
                return Scanned { parts, end };
            }
            Some(b'"') => {
                flush(&mut parts, &mut piece);
                return Scanned { parts, end: at + 1 };
            }
            Some(b'\\') => at = escape(file, text, at, limit, &mut piece, out),
            Some(b'{') => match interpolation(bytes, at) {
                Ok((close, colon)) => {
                    flush(&mut parts, &mut piece);
                    let colon = colon.filter(|&c| is_format(&text[c + 1..close]));
                    let end = colon.unwrap_or(close);
                    if text[at + 1..end].trim().is_empty() {
                        out.push(
                            Diagnostic::error(
                                "E0103",
                                Span::new(file, at, close + 1),
                                "there is no expression in these braces",
                            )
                            .help("`\\{` writes a brace"),
                        );
                    } else {
                        let format = colon.map(|c| Name::from(text[c + 1..close].trim()));
                        parts.push(RawPart::Value {
                            start: at + 1,
                            end,
                            format,
                        });
                    }
                    at = close + 1;
                }
                Err(problem) => {
                    let message = match problem {
                        Problem::Unclosed => "no `}` closes this `{` in the string",
                        Problem::TooDeep => "strings are nested too deeply here",
                    };
                    out.push(
                        Diagnostic::error("E0103", Span::new(file, at, at + 1), message)
                            .help("`\\{` writes a brace"),
                    );
                    // Go on as if the brace were text.
                    piece.push('{');
                    at += 1;
                    if problem == Problem::TooDeep {
                        return Scanned {
                            parts,
                            end: line_end(bytes, at),
                        };
                    }
                }
            },
            Some(_) => {
                let next = text[at..limit].chars().next().map_or(1, char::len_utf8);
                piece.push_str(&text[at..at + next]);
                at += next;
            }
        }
    }
}

fn flush(parts: &mut Vec<RawPart>, piece: &mut String) {
    if !piece.is_empty() {
        parts.push(RawPart::Text(Name::from(std::mem::take(piece))));
    }
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    let mut end = bytes[from..]
        .iter()
        .position(|&b| b == b'\n')
        .map_or(bytes.len(), |n| from + n);
    if end > from && bytes[end - 1] == b'\r' {
        end -= 1;
    }
    end
}

/// Resolves the escape at `at`, gives the offset after it.
fn escape(
    file: FileId,
    text: &str,
    at: usize,
    limit: usize,
    piece: &mut String,
    out: &mut Vec<Diagnostic>,
) -> usize {
    let rest = &text[at + 1..limit];
    let Some(kind) = rest.chars().next() else {
        return at + 1;
    };
    let simple = match kind {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        '"' | '\\' | '{' | '}' => Some(kind),
        '\n' => return at + 1,
        _ => None,
    };
    if let Some(c) = simple {
        piece.push(c);
        return at + 2;
    }
    if kind == 'u' {
        let digits = rest
            .strip_prefix("u{")
            .and_then(|r| r.split_once('}'))
            .map(|(d, _)| d);
        if let Some(digits) = digits.filter(|d| d.len() <= 8 && !d.is_empty())
            && let Some(c) = u32::from_str_radix(digits, 16)
                .ok()
                .and_then(char::from_u32)
        {
            piece.push(c);
            return at + 1 + "u{}".len() + digits.len();
        }
    }
    let end = at + 1 + kind.len_utf8();
    let message = match kind {
        'u' => "`\\u` wants a character's number in braces, as in `\\u{3b1}`".to_string(),
        _ => format!("`\\{}` is no escape", kind.escape_debug()),
    };
    out.push(
        Diagnostic::error("E0103", Span::new(file, at, end), message)
            .help("the escapes are `\\n`, `\\t`, `\\\"`, `\\\\`, `\\{`, `\\}` and `\\u{…}`"),
    );
    piece.push(kind);
    end
}

#[derive(Clone, Copy, PartialEq)]
enum Problem {
    Unclosed,
    TooDeep,
}

/// From the `{` at `open`: where its `}` is, and the last colon outside all inner brackets.
/// The stack holds the closers that are awaited, `"` standing for a string.
fn interpolation(bytes: &[u8], open: usize) -> Result<(usize, Option<usize>), Problem> {
    let mut stack = vec![b'}'];
    let mut quotes = 0;
    let mut colon = None;
    let mut at = open + 1;
    while let Some(&byte) = bytes.get(at) {
        let in_string = stack.last() == Some(&b'"');
        match byte {
            b'\n' => return Err(Problem::Unclosed),
            b'\\' if in_string => at += 1,
            b'"' if in_string => {
                stack.pop();
                quotes -= 1;
            }
            b'"' => {
                stack.push(b'"');
                quotes += 1;
                if quotes > MAX_NESTING {
                    return Err(Problem::TooDeep);
                }
            }
            b'{' => stack.push(b'}'),
            b'(' if !in_string => stack.push(b')'),
            b'[' if !in_string => stack.push(b']'),
            b'}' => {
                // A `}` also closes what was left open inside; the parser reports it.
                if let Some(depth) = stack.iter().rposition(|&b| b == b'}' || b == b'"')
                    && stack[depth] == b'}'
                {
                    stack.truncate(depth);
                    if stack.is_empty() {
                        return Ok((at, colon));
                    }
                }
            }
            b')' | b']' if stack.last() == Some(&byte) => {
                stack.pop();
            }
            b':' if stack.len() == 1 => colon = Some(at),
            _ => {}
        }
        at += 1;
    }
    Err(Problem::Unclosed)
}

/// `.3`, `8.2`, `+.1e`, `>6`: what may stand after the colon.
fn is_format(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "+<>^.,%efdsx".contains(c))
        && text.chars().filter(char::is_ascii_alphabetic).count() <= 1
}
