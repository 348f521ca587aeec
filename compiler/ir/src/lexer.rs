//! Tokens of the text form, each with its line and column.

use crate::parse::ParseError;

/// One token.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    /// A word: letters, digits, `_`, `.`, starting with a letter or `_`.
    Word(String),
    /// `%12`
    Value(u32),
    /// A number with its sign, as written.
    Number(String),
    /// Quoted text, unescaped.
    Text(String),
    /// Punctuation; `->` is one.
    Mark(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// How an error names it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Value(number) => format!("`%{number}`"),
            Token::Number(number) => format!("`{number}`"),
            Token::Text(text) => format!("{text:?}"),
            Token::Mark(mark) => format!("`{mark}`"),
            Token::End => "the end of the text".to_string(),
        }
    }
}

/// A token and where it starts, both counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

const MARKS: [&str; 15] = [
    "->", "(", ")", "[", "]", "{", "}", ",", ":", ";", "=", "^", "-", "+", "…",
];

/// Splits the text; `#` starts a comment to the end of the line.
pub(crate) fn tokens(text: &str) -> Result<Vec<Placed>, ParseError> {
    let mut out = Vec::new();
    for (index, content) in text.lines().enumerate() {
        line(content, index + 1, &mut out)?;
    }
    out.push(Placed {
        token: Token::End,
        line: text.lines().count().max(1),
        column: text.lines().last().map_or(0, |last| last.chars().count()) + 1,
    });
    Ok(out)
}

fn line(content: &str, line: usize, out: &mut Vec<Placed>) -> Result<(), ParseError> {
    let mut rest = content;
    while let Some(first) = rest.chars().next() {
        let column = content[..content.len() - rest.len()].chars().count() + 1;
        let fail = |message: String| ParseError {
            line,
            column,
            message,
        };
        if first == '#' {
            break;
        }
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (token, used) = if first.is_ascii_alphabetic() || first == '_' {
            let used = length(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            (Token::Word(rest[..used].to_string()), used)
        } else if first == '%' {
            let digits = length(&rest[1..], |c| c.is_ascii_digit());
            match rest[1..=digits].parse() {
                Ok(number) => (Token::Value(number), digits + 1),
                Err(_) => return Err(fail("a value is `%` and a number".to_string())),
            }
        } else if first.is_ascii_digit()
            || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let used = number_length(rest);
            (Token::Number(rest[..used].to_string()), used)
        } else if first == '"' {
            text(rest).ok_or_else(|| fail("the quotes do not end on this line".to_string()))?
        } else {
            match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                Some(mark) => (Token::Mark(mark), mark.len()),
                None => return Err(fail(format!("`{first}` has no place here"))),
            }
        };
        out.push(Placed {
            token,
            line,
            column,
        });
        rest = &rest[used..];
    }
    Ok(())
}

fn length(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|c| !accept(c)).unwrap_or(text.len())
}

/// A number runs over digits, letters (hexadecimal, exponent) and dots, and over a sign
/// straight after a decimal exponent's `e`.
fn number_length(text: &str) -> usize {
    let body = text.strip_prefix('-').unwrap_or(text);
    let hexadecimal = body.starts_with("0x");
    let mut previous = '0';
    let used = body
        .find(|c: char| {
            let sign = (c == '-' || c == '+') && previous == 'e' && !hexadecimal;
            previous = c;
            !(c.is_ascii_alphanumeric() || c == '.' || sign)
        })
        .unwrap_or(body.len());
    text.len() - body.len() + used
}

fn text(rest: &str) -> Option<(Token, usize)> {
    let mut content = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Token::Text(content), at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => content.push('\n'),
                other => content.push(other),
            },
            c => content.push(c),
        }
    }
    None
}
