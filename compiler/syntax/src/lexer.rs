//! From text to tokens, and from newlines to statement ends: SEMANTICS.md section 1.
//!
//! Two passes. The first finds tokens, comments and docs; the second decides which newlines
//! count, closes brackets that were left open and cuts the file into top-level items. The
//! second runs again with stricter cuts when brackets do not balance, so that one missing `}`
//! costs one item.

use crate::ast::Name;
use crate::diagnostic::Diagnostic;
use crate::span::{FileId, Span};
use crate::strings;
use crate::token::{RawPart, Token};
use logos::Logos;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::rc::Rc;

/// A token and its byte range.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned {
    /// What it is.
    pub token: Token,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A comment. Comments are trivia: the grammar never sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// From its `#` to the end of its line.
    pub span: Span,
    /// Its text, `#` included.
    pub text: Name,
    /// `##`.
    pub doc: bool,
    /// Nothing but blanks and `;` stands before it on its line.
    pub own_line: bool,
}

/// A file's tokens, in items.
#[derive(Clone, Debug, Default)]
pub struct Lexed {
    /// All tokens.
    pub tokens: Vec<Spanned>,
    /// The token range of each top-level item; never empty ranges.
    pub items: Vec<Range<usize>>,
    /// All comments in order.
    pub comments: Vec<Comment>,
    /// The `##` text above the token that starts at a byte offset.
    pub docs: FxHashMap<usize, Name>,
    /// The `##` comment at the head of the file.
    pub script_doc: Option<Name>,
    /// Brackets are open at the end, and nothing before was wrong with brackets.
    pub open_at_end: bool,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

/// More messages about characters help nobody (a binary file, say).
const MAX_LEXICAL_ERRORS: usize = 20;

struct Raw {
    token: Token,
    start: usize,
    end: usize,
    line_start: bool,
    column_zero: bool,
}

/// Lexes the bytes `range` of `text`; offsets are those of `text`.
pub fn lex(file: FileId, text: &str, range: Range<usize>) -> Lexed {
    let mut lexed = Lexed::default();
    let raw = tokenize(file, text, range, &mut lexed);
    if lexed.diagnostics.len() > MAX_LEXICAL_ERRORS {
        let more = lexed.diagnostics.len() - MAX_LEXICAL_ERRORS;
        lexed.diagnostics.truncate(MAX_LEXICAL_ERRORS);
        if let Some(last) = lexed.diagnostics.pop() {
            lexed
                .diagnostics
                .push(last.note(format!("{more} further errors of this kind are not shown")));
        }
    }
    if !layout(text, &raw, false, &mut lexed) {
        let open_at_end = lexed.open_at_end;
        layout(text, &raw, true, &mut lexed);
        lexed.open_at_end = open_at_end;
    }
    lexed
}

/// First pass: tokens, comments, docs.
fn tokenize(file: FileId, text: &str, range: Range<usize>, lexed: &mut Lexed) -> Vec<Raw> {
    let mut raw: Vec<Raw> = Vec::new();
    let mut lexer = Token::lexer(&text[..range.end]);
    let bom = if range.start == 0 && text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    lexer.bump(range.start + bom);
    let mut newlines = 1;
    // Nothing but blanks and `;` stands before on the line.
    let mut fresh = true;
    let mut doc: Vec<&str> = Vec::new();
    let mut line_begin = range.start + bom;
    while let Some(result) = lexer.next() {
        let (start, mut end) = (lexer.span().start, lexer.span().end);
        let diagnostics = &mut lexed.diagnostics;
        let token = match result {
            Ok(Token::Newline) => {
                newlines += 1;
                fresh = true;
                line_begin = end;
                if newlines == 2 && !doc.is_empty() {
                    let block = doc_text(&mut doc);
                    if nothing_yet(&raw) && lexed.script_doc.is_none() {
                        lexed.script_doc = Some(block);
                    }
                }
                continue;
            }
            Ok(Token::Comment) => {
                let comment = text[start..end].trim_end();
                let (is_doc, own_line) = (comment.starts_with("##"), fresh);
                if is_doc && own_line {
                    doc.push(comment);
                }
                lexed.comments.push(Comment {
                    span: Span::new(file, start, start + comment.len()),
                    text: comment.into(),
                    doc: is_doc,
                    own_line,
                });
                // The comment's own newline must not look like a blank line; a trailing
                // comment's newline still ends its statement.
                if own_line {
                    newlines = 0;
                    if let Some(next) = text.get(end..).filter(|t| t.starts_with('\n')) {
                        let _ = next;
                        lexer.bump(1);
                        newlines = 1;
                        line_begin = end + 1;
                    }
                }
                continue;
            }
            Ok(Token::Quote) => {
                let scanned = strings::scan(file, text, start, range.end, diagnostics);
                lexer.bump(scanned.end - end);
                end = scanned.end;
                Token::Str(scanned.parts.into())
            }
            Ok(Token::Tick)
                if !raw.last().is_some_and(|r| r.token.ends_expression()) || newlines > 0 =>
            {
                let rest = text[end..range.end].split('\n').next().unwrap_or("");
                match rest.find('\'') {
                    Some(length) => {
                        let body = &rest[..length];
                        lexer.bump(length + 1);
                        end += length + 1;
                        let span = Span::new(file, start, end);
                        diagnostics.push(
                            Diagnostic::error(
                                "E0105",
                                span,
                                "strings are written with double quotes",
                            )
                            .help_edit(
                                format!("write `\"{body}\"`; `'` is transpose"),
                                span,
                                format!("\"{body}\""),
                            ),
                        );
                        Token::Str(Rc::new([RawPart::Text(body.into())]))
                    }
                    None => Token::Tick,
                }
            }
            Ok(Token::Foreign) => {
                let line_start = newlines > 0 || raw.is_empty();
                foreign(file, text, start..end, raw.last(), line_start, diagnostics)
            }
            Ok(Token::Ident(name)) => contextual(name, &text[end..range.end], newlines > 0),
            // `on = data` names an argument; everywhere else `on` belongs to `train`.
            Ok(Token::On) if Token::lexer(&text[end..range.end]).next() == Some(Ok(Token::Eq)) => {
                Token::Ident("on".into())
            }
            Ok(token) => token,
            Err(()) if quoted(text, start, end, range.end).is_some() => {
                let close = quoted(text, start, end, range.end).unwrap_or(end);
                let length = text[close..].chars().next().map_or(1, char::len_utf8);
                let body = &text[end..close];
                lexer.bump(close + length - end);
                end = close + length;
                let span = Span::new(file, start, end);
                diagnostics.push(
                    Diagnostic::error("E0101", span, "strings are written with double quotes")
                        .help_edit(format!("write `\"{body}\"`"), span, format!("\"{body}\"")),
                );
                Token::Str(Rc::new([RawPart::Text(body.into())]))
            }
            Err(()) => {
                let bad = unreadable(file, text, start, end, raw.last(), diagnostics);
                match (bad, raw.last_mut()) {
                    // One token for a run of unreadable characters.
                    (Token::Bad, Some(last)) if last.token == Token::Bad && last.end == start => {
                        last.end = end;
                        continue;
                    }
                    (token, _) => token,
                }
            }
        };
        // A `;` with nothing before it separates nothing: the doc is of what follows it.
        if !doc.is_empty() && token != Token::Semicolon {
            let block = doc_text(&mut doc);
            if token == Token::Use && nothing_yet(&raw) && lexed.script_doc.is_none() {
                lexed.script_doc = Some(block);
            } else {
                lexed.docs.insert(start, block);
            }
        }
        fresh &= token == Token::Semicolon;
        raw.push(Raw {
            token,
            start,
            end,
            line_start: newlines > 0,
            column_zero: newlines > 0 && start == line_begin,
        });
        newlines = 0;
    }
    if nothing_yet(&raw) && lexed.script_doc.is_none() && !doc.is_empty() {
        lexed.script_doc = Some(doc_text(&mut doc));
    }
    raw
}

/// No token but separators.
fn nothing_yet(raw: &[Raw]) -> bool {
    raw.iter().all(|r| r.token == Token::Semicolon)
}

fn doc_text(lines: &mut Vec<&str>) -> Name {
    let text: Vec<&str> = lines
        .drain(..)
        .map(|line| line.trim_start_matches('#'))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    text.join("\n").into()
}

/// `model`, `param`, `train` are words of the grammar only right before a name, `test` only
/// right before a string. At the start of a line `param` and `model` before a reserved word
/// are taken as keywords too, for the sake of the message.
fn contextual(name: Name, rest: &str, line_start: bool) -> Token {
    let keyword = match &*name {
        "model" => Token::Model,
        "param" => Token::Param,
        "train" => Token::Train,
        "test" => Token::Test,
        _ => return Token::Ident(name),
    };
    let rest = rest.trim_start_matches([' ', '\t']);
    let follows = match (&keyword, Token::lexer(rest).next()) {
        (Token::Test, Some(Ok(Token::Quote))) => true,
        (Token::Model | Token::Param | Token::Train, Some(Ok(Token::Ident(_)))) => true,
        (Token::Model | Token::Param, Some(Ok(token))) => line_start && token.is_reserved(),
        _ => false,
    };
    if follows { keyword } else { Token::Ident(name) }
}

/// Reports an operator of another language and gives the token it stands for here.
fn foreign(
    file: FileId,
    text: &str,
    range: Range<usize>,
    left: Option<&Raw>,
    line_start: bool,
    out: &mut Vec<Diagnostic>,
) -> Token {
    let operator = &text[range.clone()];
    let (token, ours) = match operator {
        "&&" => (Token::And, "and"),
        "||" => (Token::Or, "or"),
        "!" => (Token::Not, "not"),
        "**" => (Token::Caret, "^"),
        "=>" => (Token::Arrow, "->"),
        ":=" => (Token::Eq, "="),
        "===" => (Token::EqEq, "=="),
        "!==" | "<>" => (Token::Ne, "!="),
        // Nothing stands for these; the parser goes on as behind any operator.
        "%" => (Token::SlashSlash, ""),
        "&" => (Token::And, ""),
        "|" => (Token::Or, ""),
        _ => (Token::Bad, ""),
    };
    let span = Span::new(file, range.start, range.end);
    let error = Diagnostic::error("E0106", span, format!("there is no operator `{operator}`"));
    let name = match left {
        Some(Raw {
            token: Token::Ident(name),
            ..
        }) => Some(name),
        _ => None,
    };
    let after = text[range.end..]
        .split(['\n', ';', '}', '#'])
        .next()
        .unwrap_or("")
        .trim();
    let behind_value = left.is_some_and(|left| left.token.ends_expression());
    // The second of two bars that were told together.
    if matches!(operator, "|" | "||") && out.last().is_some_and(|last| covers(last, span)) {
        return Token::Bad;
    }
    if operator == "||"
        && !behind_value
        && let Some(told) = double_bars(text, span)
    {
        out.push(told);
        return Token::Bad;
    }
    if operator == "|"
        && !behind_value
        && let Some(told) = bars(text, span)
    {
        out.push(told);
        return Token::Bad;
    }
    if operator == "%" && line_start {
        out.push(error.help_edit("a comment begins with `#`", span, "#"));
        return Token::Bad;
    }
    out.push(match (operator, name) {
        ("=>", _) => match left.and_then(|left| parameters(text, left)) {
            Some((start, names)) => {
                let new = format!("fn {names} ->");
                let whole = Span::new(file, start, range.end);
                error.help_edit(format!("a lambda is `{new} …`"), whole, new)
            }
            None => error.help_edit("write `->`", span, "->"),
        },
        ("**=" | "//=" | "^=", Some(name)) => {
            let sign = if operator == "//=" { "//" } else { "^" };
            error.help_edit(
                format!("write `{name} = {name} {sign} …`"),
                span,
                format!("= {name} {sign}"),
            )
        }
        ("%", _) => remainder(error, text, file, left, after),
        ("+=" | "-=" | "*=" | "/=", Some(name)) => {
            let sign = &operator[..1];
            let help = format!("write `{name} = {name} {sign} …`");
            // `x -= a + b` would have to become `x - (a + b)`.
            let plain = sign == "+" || !after.contains(['+', '-']);
            match plain {
                true => error.help_edit(help, span, format!("= {name} {sign}")),
                false => error.help(help),
            }
        }
        ("+=" | "-=" | "*=" | "/=", None) => error.help(format!(
            "values do not change: `x = put(x, i, x[i] {} …)` gives the name to a changed copy",
            &operator[..1]
        )),
        ("++", Some(name)) if after.is_empty() => {
            let help = format!("write `{name} = {name} + 1`");
            error.help_edit(help, span, format!(" = {name} + 1"))
        }
        ("++", _) => error.help("lists and strings are joined with `+`"),
        ("&" | "|", _) => error.help("write `and`, `or`; `|>` pipes a value into a call"),
        _ if token == Token::Bad => error,
        ("!", _) => error.help_edit(format!("write `{ours}`"), span, "not "),
        _ => error.help_edit(format!("write `{ours}`"), span, ours),
    });
    token
}

fn covers(told: &Diagnostic, span: Span) -> bool {
    let own = told.span();
    told.code == "E0106" && own.start < span.start && span.end <= own.end
}

/// `||x||` and `||x - y||^2`, where a value is wanted.
fn double_bars(text: &str, first: Span) -> Option<Diagnostic> {
    let rest = text.get(first.end as usize..)?.lines().next()?;
    let inner = &rest[..rest.find("||")?];
    let after = &rest[inner.len() + 2..];
    let (new, length) = match after.starts_with("^2") {
        true => (format!("sum(({})^2)", inner.trim()), 2),
        false => (format!("norm({})", inner.trim()), 0),
    };
    let whole = Span {
        end: first.end + (inner.len() + 2 + length) as u32,
        ..first
    };
    let error = Diagnostic::error("E0106", whole, "there are no bars around a value");
    Some(error.help_edit(format!("write `{new}`"), whole, new))
}

/// `|x|` and `|x| e`, where a value is wanted.
fn bars(text: &str, first: Span) -> Option<Diagnostic> {
    let rest = text.get(first.end as usize..)?.lines().next()?;
    let inner = &rest[..rest.find('|')?];
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = Span {
        end: first.end + inner.len() as u32 + 1,
        ..first
    };
    let after = rest[inner.len() + 1..].trim_start();
    let names = inner.chars().all(|c| word(c) || c == ',' || c == ' ');
    let (message, help, new) = if names && after.starts_with(|c| word(c) || c == '{' || c == '(') {
        let new = format!("fn {} ->", inner.trim());
        ("a lambda begins with `fn`", format!("write `{new} …`"), new)
    } else {
        let new = format!("abs({})", inner.trim());
        (
            "there are no bars around a value",
            format!("write `{new}`"),
            new,
        )
    };
    Some(Diagnostic::error("E0106", whole, message).help_edit(help, whole, new))
}

/// What stands before `=>` as the parameters of a lambda, and where it begins.
fn parameters<'t>(text: &'t str, left: &Raw) -> Option<(usize, &'t str)> {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ',' | ' ');
    match &left.token {
        Token::Ident(_) => {
            // `fn x => e` has its `fn` already.
            let lambda = text[..left.start].trim_end().ends_with("fn");
            (!lambda).then(|| (left.start, &text[left.start..left.end]))
        }
        Token::RParen => {
            let open = text[..left.start].rfind('(')?;
            let names = &text[open + 1..left.start];
            (!names.is_empty() && names.chars().all(word)).then_some((open, names))
        }
        _ => None,
    }
}

/// `i % 2`, `"%d" % x`.
fn remainder(
    error: Diagnostic,
    text: &str,
    file: FileId,
    left: Option<&Raw>,
    after: &str,
) -> Diagnostic {
    let help = "the remainder of ints is `mod(a, b)`";
    let word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    match left {
        Some(Raw {
            token: Token::Str(_),
            ..
        }) => error.help("a string holds its values in braces: `\"{n} examples\"`"),
        Some(left) => {
            let start = left.start;
            let right: String = after
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let alone = text[..start].trim_end().ends_with(['=', '(', ','])
                || text[..start].ends_with("print ");
            if !word(&text[start..left.end]) || !word(&right) || !alone {
                return error.help(help);
            }
            let end = error.span().end as usize;
            let gap = text[end..].len() - text[end..].trim_start().len();
            let new = format!("mod({}, {right})", &text[start..left.end]);
            error.help_edit(
                format!("the remainder of ints is `{new}`"),
                Span::new(file, start, end + gap + right.len()),
                new,
            )
        }
        None => error.help(help),
    }
}

/// Where a string in typographic quotes or backticks that begins at `start..end` has its last one.
fn quoted(text: &str, start: usize, end: usize, limit: usize) -> Option<usize> {
    let closers: &[char] = match text[start..end].chars().next()? {
        '“' | '„' | '”' => &['“', '”'],
        '`' => &['`'],
        _ => return None,
    };
    let line = text[end..limit].split('\n').next()?;
    line.find(closers).map(|at| end + at)
}

/// Reports what no token matches.
fn unreadable(
    file: FileId,
    text: &str,
    start: usize,
    end: usize,
    last: Option<&Raw>,
    out: &mut Vec<Diagnostic>,
) -> Token {
    let slice = &text[start..end];
    let span = Span::new(file, start, end);
    let first = slice.chars().next().unwrap_or(' ');
    if first.is_ascii_digit() || first == '.' {
        out.push(Diagnostic::error("E0104", span, "this number is too large"));
        return if first == '.' {
            Token::DotInt(0)
        } else {
            Token::Int(0)
        };
    }
    if last.is_some_and(|last| last.token == Token::Bad && last.end == start) {
        return Token::Bad;
    }
    let name = match first {
        '\0' => "a NUL byte".to_string(),
        c if c.is_control() || c.is_whitespace() => format!("the character U+{:04X}", c as u32),
        c => format!("`{c}`"),
    };
    let error = Diagnostic::error("E0101", span, format!("{name} has no meaning in a script"));
    let ours = match first {
        '“' | '”' | '„' => "\"",
        '‘' | '’' | '′' => "'",
        '−' | '–' | '—' => "-",
        '×' | '·' | '⋅' => "*",
        '÷' => "/",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        '→' => "->",
        '…' => "..",
        '²' => "^2",
        '³' => "^3",
        '⊙' | '∘' => "*",
        '∞' => "inf",
        'ᵀ' | '⊤' => "'",
        '∈' => "in",
        '∧' => "and ",
        '∨' => "or ",
        '¬' => "not ",
        '\u{a0}' | '\u{200b}' | '\u{2003}' | '\u{2009}' => " ",
        _ => "",
    };
    // Signs for functions, and the sign that begins a lambda or, of MATLAB, solves a system.
    let before = text[..span.start as usize].trim_end_matches(' ');
    let behind_value = before.ends_with(|c: char| c.is_alphanumeric() || "_)]'".contains(c));
    let function = match first {
        '√' => "the square root is `sqrt(x)`",
        '∑' => "a sum is `sum(x)`; `sum([f(i) for i in 0..n])` has an index",
        '∏' => "a product is `reduce(fn p, v -> p * v, 1.0, x)`",
        '∇' | '∂' => "the gradient of f is `grad(f)`",
        '∫' => "there are no integrals: a mean over draws estimates one",
        '\\' if behind_value => {
            "`linalg.solve(A, b)` of `use linalg` is the x with A @ x = b; `lstsq(A, b)` comes nearest"
        }
        '\\' => "a lambda is `fn x -> …`",
        _ => "",
    };
    out.push(match ours {
        "" if first == '\\' && !behind_value => error.help_edit(function, span, "fn "),
        "" if !function.is_empty() => error.help(function),
        "" => error,
        " " => error.help_edit("this is a special blank; write a plain space", span, " "),
        _ => error.help_edit(format!("write `{}`", ours.trim()), span, ours),
    });
    Token::Bad
}

/// A bracket that is open.
struct Open {
    token: Token,
    /// The braces of a model: what stands in them are members.
    members: bool,
}

/// The second pass under way.
struct Layout<'t> {
    text: &'t str,
    raw: &'t [Raw],
    /// Brackets do not balance: a statement word, `fn` or `for` in column 0 begins an item,
    /// and the four bare members begin a member, whatever is open.
    cut: bool,
    tokens: Vec<Spanned>,
    items: Vec<Range<usize>>,
    item_start: usize,
    stack: Vec<Open>,
    /// The next `{` opens a model.
    model_ahead: bool,
    balanced: bool,
}

/// Second pass. Gives `false` when brackets do not balance.
fn layout(text: &str, raw: &[Raw], cut: bool, lexed: &mut Lexed) -> bool {
    let mut layout = Layout {
        text,
        raw,
        cut,
        tokens: Vec::with_capacity(raw.len() + raw.len() / 8),
        items: Vec::new(),
        item_start: 0,
        stack: Vec::new(),
        model_ahead: false,
        balanced: true,
    };
    for (i, r) in raw.iter().enumerate() {
        if layout.ends_before(i, r) && layout.tokens.len() > layout.item_start {
            layout.end_statement(r);
        }
        if r.token == Token::Semicolon {
            continue;
        }
        // What stands before a `}` ends without a `;`, as the last of a file does.
        if r.token == Token::RBrace && layout.tokens.len() > layout.item_start {
            layout.tokens.pop_if(|last| last.token == Token::Newline);
        }
        layout.brackets(&r.token);
        layout.tokens.push(Spanned {
            token: r.token.clone(),
            start: r.start,
            end: r.end,
        });
    }
    layout.close_item();
    let Layout {
        tokens,
        items,
        stack,
        balanced,
        ..
    } = layout;
    lexed.open_at_end = balanced && !stack.is_empty();
    lexed.tokens = tokens;
    lexed.items = items;
    balanced && stack.is_empty()
}

impl Layout<'_> {
    /// Whether a statement ends before token `i`; closes the brackets that this closes.
    fn ends_before(&mut self, i: usize, r: &Raw) -> bool {
        let last = self.tokens.last().map(|t| &t.token);
        let begun = !matches!(last, None | Some(Token::LBrace | Token::Newline));
        let forced = r.line_start && self.forces(i, r);
        let column_zero = forced || matches!(r.token, Token::Fn | Token::For);
        if self.cut && r.column_zero && column_zero && !self.stack.is_empty() {
            self.stack.clear();
            true
        } else if forced {
            while self
                .stack
                .pop_if(|open| open.token != Token::LBrace)
                .is_some()
            {
                self.balanced = false;
            }
            begun
        } else if r.token == Token::Semicolon {
            begun && i + 1 < self.raw.len()
        } else {
            let spaced_minus =
                r.token == Token::Minus && self.text[r.end..].starts_with([' ', '\t', '\n', '\r']);
            r.line_start
                && self
                    .stack
                    .last()
                    .is_none_or(|open| open.token == Token::LBrace)
                && last.is_some_and(Token::ends_expression)
                && !r.token.continues_statement()
                && !spaced_minus
        }
    }

    /// Whether a line that begins with token `i` is a new statement whatever is open.
    fn forces(&self, i: usize, r: &Raw) -> bool {
        let ahead = |n: usize| self.raw.get(i + n).map(|r| &r.token);
        match &r.token {
            // A definition; a lambda has no parenthesis after a name.
            Token::Fn => matches!(
                (ahead(1), ahead(2)),
                (Some(Token::Ident(_)), Some(Token::LParen | Token::LBracket))
            ),
            Token::Ident(name) => {
                self.cut
                    && matches!(&**name, "encoder" | "decoder" | "loss" | "apply")
                    && ahead(1) == Some(&Token::LParen)
                    && self
                        .stack
                        .iter()
                        .rfind(|open| open.token == Token::LBrace)
                        .is_some_and(|open| open.members)
            }
            token => token.starts_statement(),
        }
    }

    fn end_statement(&mut self, r: &Raw) {
        if self.stack.is_empty() {
            return self.close_item();
        }
        let at = self.tokens.last().map_or(r.start, |t| t.end);
        let (start, end) = if r.token == Token::Semicolon {
            (r.start, r.end)
        } else {
            (at, at)
        };
        self.tokens.push(Spanned {
            token: Token::Newline,
            start,
            end,
        });
    }

    fn close_item(&mut self) {
        if self.tokens.len() > self.item_start {
            self.items.push(self.item_start..self.tokens.len());
            self.item_start = self.tokens.len();
        }
        self.model_ahead = false;
    }

    fn brackets(&mut self, token: &Token) {
        match token {
            Token::Model => self.model_ahead = true,
            Token::LParen | Token::LBracket => self.stack.push(Open {
                token: token.clone(),
                members: false,
            }),
            Token::LBrace => {
                let members = std::mem::take(&mut self.model_ahead);
                self.stack.push(Open {
                    token: Token::LBrace,
                    members,
                });
            }
            // `}` closes whatever is open inside its block.
            Token::RBrace => match self
                .stack
                .iter()
                .rposition(|open| open.token == Token::LBrace)
            {
                Some(depth) => {
                    self.balanced &= depth + 1 == self.stack.len();
                    self.stack.truncate(depth);
                }
                None => self.balanced = false,
            },
            // `)` and `]` stay inside their block, and close the other kind if there is only that.
            Token::RParen | Token::RBracket => {
                let wanted = if *token == Token::RParen {
                    Token::LParen
                } else {
                    Token::LBracket
                };
                let floor = self
                    .stack
                    .iter()
                    .rposition(|open| open.token == Token::LBrace)
                    .map_or(0, |n| n + 1);
                let depth = self.stack[floor..]
                    .iter()
                    .rposition(|open| open.token == wanted)
                    .map(|n| n + floor);
                let depth = depth.unwrap_or(self.stack.len().saturating_sub(1).max(floor));
                self.balanced &= depth + 1 == self.stack.len() && self.stack[depth].token == wanted;
                self.stack.truncate(depth);
            }
            _ => {}
        }
    }
}
