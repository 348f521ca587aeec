//! The formatter: the one layout of a script. It works on tokens and keeps all of them in their
//! order, and the author's line breaks, comments and single blank lines; what it decides is the
//! space between tokens, the indentation, the columns of settings and of comments at line ends,
//! and where a line of more than [`WIDTH`] columns is broken.
//!
//! Invariants: the tree and the comments of the result are those of the input (checked on every
//! call); formatting the result changes nothing, as all breaks of a result are kept breaks.

mod space;
mod wrap;

use crate::ast::Script;
use crate::diagnostic::Diagnostic;
use crate::dump::dump;
use crate::lexer::{self, Comment, Lexed};
use crate::parser::parse_script_with_comments;
use crate::span::{FileId, Span};
use crate::token::Token;
use std::collections::HashMap;
use std::ops::Range;

/// Columns of a line; longer ones are broken where the grammar allows it.
pub const WIDTH: usize = 100;

/// Columns of one level of brackets or of a continued statement.
const INDENT: usize = 2;

/// The formatted text of a script, or why it cannot be read. Nothing about it is wrong: a script
/// with syntax errors is refused.
pub fn format_script(file: FileId, text: &str) -> Result<String, Vec<Diagnostic>> {
    let (script, diagnostics, comments) = parse_script_with_comments(file, text);
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let lexed = lexer::lex(file, text, 0..text.len());
    let formatted = print(text, &lexed, &comments);
    if same_meaning(&script, &comments, &formatted) {
        return Ok(formatted);
    }
    let bug = "this is a bug in aec: the formatted text would mean something else";
    Err(vec![Diagnostic::error("E0999", Span::new(file, 0, 0), bug)])
}

fn same_meaning(script: &Script, comments: &[Comment], formatted: &str) -> bool {
    let (again, diagnostics, kept) = parse_script_with_comments(FileId(0), formatted);
    diagnostics.is_empty()
        && dump(script) == dump(&again)
        && comments
            .iter()
            .map(|c| &c.text)
            .eq(kept.iter().map(|c| &c.text))
}

/// A token as it is printed.
struct Piece<'t> {
    token: Token,
    text: &'t str,
    /// It begins a statement, a member or a setting.
    begins: bool,
    /// A `;` stands between it and the piece before.
    semicolon: bool,
    /// `-` before an operand, not between two.
    prefix: bool,
    /// An operator that the author wrote without blanks, where that is allowed.
    tight: bool,
}

/// Where a line of the result comes from.
enum Source<'t> {
    /// An empty line.
    Blank,
    /// A comment on its own line, and the piece that follows it.
    Comment(&'t str, usize),
    /// Pieces, and the comment at their end.
    Code(Range<usize>, Option<&'t str>),
}

/// A line of the result.
struct Line {
    indent: usize,
    code: String,
    comment: Option<String>,
    /// The brace of settings in which this line begins `name = …`, by its piece, and the columns
    /// of the name.
    setting: Option<(usize, usize)>,
}

/// A bracket that is open at the beginning of a line.
#[derive(Clone)]
struct Open {
    piece: usize,
    /// Indentation of the line that opened it; what is inside is one level further right.
    indent: usize,
    brace: bool,
    settings: bool,
}

fn print(text: &str, lexed: &Lexed, comments: &[Comment]) -> String {
    let pieces = pieces(text, lexed);
    let mut lines = Vec::new();
    let mut stack: Vec<Open> = Vec::new();
    for source in sources(text, lexed, comments, &pieces) {
        match source {
            Source::Blank => lines.push(Line::of(0, String::new())),
            Source::Comment(comment, next) => {
                let indent = match (pieces.get(next), stack.last()) {
                    (Some(piece), Some(open)) if closes(&piece.token) => open.indent + INDENT,
                    (Some(_), _) => indent(&pieces, next, &stack),
                    (None, _) => 0,
                };
                lines.push(Line::of(indent, comment.to_string()));
            }
            Source::Code(range, comment) => {
                code(&pieces, range, &mut stack, &mut lines);
                if let (Some(line), Some(comment)) = (lines.last_mut(), comment) {
                    line.comment = Some(comment.to_string());
                }
            }
        }
    }
    align_settings(&mut lines);
    align_comments(&mut lines);
    let mut out = String::new();
    for line in &lines {
        if !line.code.is_empty() {
            out.push_str(&" ".repeat(line.indent));
            out.push_str(&line.code);
        }
        out.push_str(line.comment.as_deref().unwrap_or(""));
        out.push('\n');
    }
    out
}

impl Line {
    fn of(indent: usize, code: String) -> Line {
        Line {
            indent,
            code,
            comment: None,
            setting: None,
        }
    }

    fn width(&self) -> usize {
        self.indent + columns(&self.code)
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

/// The tokens that are printed; newline tokens become marks of what follows them.
fn pieces<'t>(text: &'t str, lexed: &Lexed) -> Vec<Piece<'t>> {
    let mut pieces: Vec<Piece<'t>> = Vec::with_capacity(lexed.tokens.len());
    for item in &lexed.items {
        let mut begins = true;
        let mut semicolon = false;
        for spanned in &lexed.tokens[item.clone()] {
            if spanned.token == Token::Newline {
                begins = true;
                semicolon = spanned.end > spanned.start;
                continue;
            }
            let after_value = !begins
                && pieces
                    .last()
                    .is_some_and(|last| last.token.ends_expression());
            pieces.push(Piece {
                token: spanned.token.clone(),
                text: &text[spanned.start..spanned.end],
                begins,
                semicolon,
                prefix: spanned.token == Token::Minus && !after_value,
                tight: false,
            });
            begins = spanned.token == Token::LBrace;
            semicolon = false;
        }
    }
    space::mark_tight(text, &mut pieces);
    pieces
}

/// Cuts the text into lines: the author's, but each item begins one.
fn sources<'t>(
    text: &'t str,
    lexed: &Lexed,
    comments: &'t [Comment],
    pieces: &[Piece<'t>],
) -> Vec<Source<'t>> {
    let offset = |piece: &Piece<'t>| piece.text.as_ptr() as usize - text.as_ptr() as usize;
    let item_starts: Vec<usize> = lexed
        .items
        .iter()
        .map(|item| lexed.tokens[item.start].start)
        .collect();
    let mut lines: Vec<Source<'t>> = Vec::new();
    let (mut at, mut next_comment, mut next_item) = (0, 0, 0);
    let mut end = 0;
    while at < pieces.len() || next_comment < comments.len() {
        let piece = pieces.get(at).map_or(usize::MAX, offset);
        let comment = comments
            .get(next_comment)
            .map_or(usize::MAX, |comment| comment.span.start as usize);
        let start = piece.min(comment);
        let between = &text[end..start];
        let newlines = between.bytes().filter(|&b| b == b'\n').count();
        let inside = |lines: &[Source<'t>]| {
            matches!(lines.last(), Some(Source::Code(range, _))
                if opens(&pieces[range.end - 1].token))
        };
        let closes = piece < comment && closes(&pieces[at].token);
        if has_blank_line(between) && !lines.is_empty() && !inside(&lines) && !closes {
            lines.push(Source::Blank);
        }
        if comment < piece {
            let comment = &comments[next_comment];
            let words: &'t str = &comment.text;
            match lines.last_mut() {
                Some(Source::Code(_, place)) if !comment.own_line && newlines == 0 => {
                    *place = Some(words);
                }
                _ => lines.push(Source::Comment(words, at)),
            }
            end = comment.span.end as usize;
            next_comment += 1;
            continue;
        }
        let item = item_starts.get(next_item) == Some(&piece);
        next_item += usize::from(item);
        match lines.last_mut() {
            Some(Source::Code(range, None)) if newlines == 0 && !item => range.end = at + 1,
            _ => lines.push(Source::Code(at..at + 1, None)),
        }
        end = piece + pieces[at].text.len();
        at += 1;
    }
    lines
}

/// Whether there is an empty line; one of `;` is none.
fn has_blank_line(text: &str) -> bool {
    let mut lines = text.split('\n').skip(1).peekable();
    std::iter::from_fn(|| lines.next().filter(|_| lines.peek().is_some()))
        .any(|line| line.trim().is_empty())
}

/// Prints the pieces of one of the author's lines, in as many lines as it takes.
fn code(pieces: &[Piece<'_>], range: Range<usize>, stack: &mut Vec<Open>, lines: &mut Vec<Line>) {
    let mut waiting = vec![range];
    while let Some(range) = waiting.pop() {
        let indent = indent(pieces, range.start, stack);
        let mut line = Line::of(indent, text_of(pieces, range.clone()));
        if line.width() > WIDTH {
            let breaks = wrap::breaks(pieces, range.clone(), indent, stack);
            if !breaks.is_empty() {
                let starts = std::iter::once(range.start).chain(breaks.iter().copied());
                let ends = breaks.iter().copied().chain([range.end]);
                let parts: Vec<_> = starts.zip(ends).map(|(start, end)| start..end).collect();
                waiting.extend(parts.into_iter().rev());
                continue;
            }
        }
        line.setting = setting(pieces, range.start, stack);
        // What opens behind a bracket of an earlier line belongs to the line of that bracket.
        let mut base = indent;
        for at in range.clone() {
            if opens(&pieces[at].token) {
                let brace = pieces[at].token == Token::LBrace;
                stack.push(Open {
                    piece: at,
                    indent: base,
                    brace,
                    settings: brace && is_settings(pieces, at),
                });
            } else if closes(&pieces[at].token)
                && let Some(open) = stack.pop()
                && open.piece < range.start
            {
                base = open.indent;
            }
        }
        // The end of the line separates settings.
        if stack.last().is_some_and(|open| open.settings) && line.code.ends_with(',') {
            line.code.pop();
        }
        lines.push(line);
    }
}

/// How far a line that begins with piece `at` is indented.
fn indent(pieces: &[Piece<'_>], at: usize, stack: &[Open]) -> usize {
    if closes(&pieces[at].token) {
        return stack.last().map_or(0, |open| open.indent);
    }
    let base = stack.last().map_or(0, |open| open.indent + INDENT);
    let previous = at.checked_sub(1).map(|before| &pieces[before].token);
    let in_statements = stack.last().is_none_or(|open| open.brace);
    let next_setting =
        stack.last().is_some_and(|open| open.settings) && previous == Some(&Token::Comma);
    let next_branch = pieces[at].token == Token::Else && previous == Some(&Token::RBrace);
    if in_statements && !pieces[at].begins && !next_setting && !next_branch {
        base + INDENT
    } else {
        base
    }
}

/// The pieces of a line with the space between them.
fn text_of(pieces: &[Piece<'_>], range: Range<usize>) -> String {
    let mut text = String::new();
    for at in range.clone() {
        if at > range.start {
            if pieces[at].semicolon {
                text.push(';');
            }
            if space::between(pieces, range.start, at) {
                text.push(' ');
            }
        }
        text.push_str(pieces[at].text);
    }
    text
}

/// Whether the brace at `at` holds the settings of a `train`.
fn is_settings(pieces: &[Piece<'_>], at: usize) -> bool {
    let mut depth = 0usize;
    let mut on = false;
    for piece in pieces[..at].iter().rev() {
        match &piece.token {
            token if closes(token) => depth += 1,
            token if opens(token) => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            Token::On if depth == 0 => on = true,
            Token::Train if depth == 0 => return on,
            Token::Else | Token::Then | Token::If | Token::Fn | Token::Comma if depth == 0 => {
                return false;
            }
            _ => {}
        }
        if piece.begins && depth == 0 {
            return false;
        }
    }
    false
}

/// Whether a line begins `name =` directly inside the settings of a `train`.
fn setting(pieces: &[Piece<'_>], at: usize, stack: &[Open]) -> Option<(usize, usize)> {
    let open = stack.last().filter(|open| open.settings)?;
    let named = matches!(pieces[at].token, Token::Ident(_));
    let entry =
        pieces[at].begins || at.checked_sub(1).map(|i| &pieces[i].token) == Some(&Token::Comma);
    let value = pieces
        .get(at + 1)
        .is_some_and(|piece| piece.token == Token::Eq);
    (named && entry && value).then(|| (open.piece, columns(pieces[at].text)))
}

/// The `=` of settings stand in one column.
fn align_settings(lines: &mut [Line]) {
    let mut widest: HashMap<usize, usize> = HashMap::new();
    for (brace, width) in lines.iter().filter_map(|line| line.setting) {
        let most = widest.entry(brace).or_default();
        *most = width.max(*most);
    }
    for line in lines {
        if let Some((brace, width)) = line.setting {
            let name = line
                .code
                .char_indices()
                .nth(width)
                .map_or(line.code.len(), |(at, _)| at);
            line.code
                .insert_str(name, &" ".repeat(widest[&brace] - width));
        }
    }
}

/// Comments at the ends of neighbouring lines begin in one column, long lines excepted.
fn align_comments(lines: &mut [Line]) {
    const LONG: usize = 2 * WIDTH / 3;
    let mut start = 0;
    while start < lines.len() {
        let run = lines[start..]
            .iter()
            .take_while(|line| line.comment.is_some())
            .count();
        let run = &mut lines[start..start + run.max(1)];
        let widths = run.iter().map(Line::width);
        let column = widths.filter(|&width| width <= LONG).max().unwrap_or(0);
        for line in run.iter_mut() {
            let gap = column.saturating_sub(line.width()) + 2;
            if let Some(comment) = &mut line.comment {
                comment.insert_str(0, &" ".repeat(gap));
            }
        }
        start += run.len();
    }
}

fn opens(token: &Token) -> bool {
    matches!(token, Token::LParen | Token::LBracket | Token::LBrace)
}

fn closes(token: &Token) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace)
}
