//! Cuts a script into pieces and puts it together again. It knows less than the lexer, so that a
//! fault of the lexer is no fault of the mutations.

/// What a piece is, as far as a mutation cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A name or a word of the language.
    Word,
    /// `12`, `1.5e-3`
    Number,
    /// `"text {n}"`
    Str,
    /// From `#` to the end of the line.
    Comment,
    /// Blanks within a line.
    Blank,
    /// The end of a line.
    Newline,
    /// `(`, `[`, `{`
    Open,
    /// `)`, `]`, `}`
    Close,
    /// Anything else.
    Operator,
}

/// A piece of a script.
#[derive(Clone, PartialEq, Debug)]
pub struct Piece {
    /// What it is.
    pub kind: Kind,
    /// As it stands in the script.
    pub text: String,
}

impl Piece {
    /// A piece of this text, which is not empty.
    pub fn of(kind: Kind, text: impl Into<String>) -> Piece {
        Piece {
            kind,
            text: text.into(),
        }
    }

    /// A word that is not one of the language's.
    pub fn is_name(&self) -> bool {
        const RESERVED: [&str; 24] = [
            "use",
            "as",
            "let",
            "fn",
            "on",
            "print",
            "assert",
            "for",
            "in",
            "if",
            "then",
            "else",
            "and",
            "or",
            "not",
            "true",
            "false",
            "model",
            "param",
            "train",
            "test",
            "precision",
            "f64",
            "f32",
        ];
        self.kind == Kind::Word && !RESERVED.contains(&&*self.text)
    }
}

/// Operators of more than one character, the longest first.
const LONG: [&str; 10] = ["->", "..", "==", "!=", "<=", ">=", "|>", "??", "//", "##"];

/// The pieces of a script; together they are its text.
pub fn cut(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let while_true =
            |wanted: &dyn Fn(char) -> bool| rest.find(|c: char| !wanted(c)).unwrap_or(rest.len());
        let (kind, length) = match first {
            '\n' => (Kind::Newline, 1),
            ' ' | '\t' | '\r' => (Kind::Blank, while_true(&|c| matches!(c, ' ' | '\t' | '\r'))),
            '#' => (Kind::Comment, while_true(&|c| c != '\n')),
            '"' => (Kind::Str, string(rest)),
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            c if c.is_ascii_digit() => (Kind::Number, number(rest)),
            c if c.is_alphabetic() || c == '_' => {
                (Kind::Word, while_true(&|c| c.is_alphanumeric() || c == '_'))
            }
            c => {
                let long = LONG.iter().find(|operator| rest.starts_with(**operator));
                (Kind::Operator, long.map_or(c.len_utf8(), |long| long.len()))
            }
        };
        pieces.push(Piece::of(kind, &rest[..length]));
        rest = &rest[length..];
    }
    pieces
}

/// The bytes of a string literal; to the end of the line where it is not closed.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            '\n' => return at,
            _ => {}
        }
    }
    text.len()
}

/// The bytes of a number: `0..3` begins with the number 0.
fn number(text: &str) -> usize {
    let digits = |from: usize| {
        let end = text[from..].find(|c: char| !c.is_ascii_digit() && c != '_');
        end.map_or(text.len(), |end| from + end)
    };
    let mut end = digits(0);
    let digit = |at: usize| text[at..].starts_with(|c: char| c.is_ascii_digit());
    if text[end..].starts_with('.') && digit(end + 1) {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = end + 1 + usize::from(text[end + 1..].starts_with(['+', '-']));
        if digit(sign) {
            end = digits(sign);
        }
    }
    end
}

/// The text of pieces.
pub fn join(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_text() {
        for text in [
            "let a = f(1.5e-3, \"a\\\"{b}\")' # note\n  x[0..3] |> é\n",
            "\"open\n1e 2. ..3 \u{feff}\0",
            "",
        ] {
            assert_eq!(join(&cut(text)), text);
        }
        let kinds: Vec<Kind> = cut("0..n # c").iter().map(|piece| piece.kind).collect();
        let wanted = [
            Kind::Number,
            Kind::Operator,
            Kind::Word,
            Kind::Blank,
            Kind::Comment,
        ];
        assert_eq!(kinds, wanted);
    }
}
