//! Where a line that is too long is broken. Only places where a newline means nothing are
//! offered: inside brackets, after what cannot end an expression, before an operator, and at the
//! `;` of a block.

use super::space;
use super::{INDENT, Open, Piece, WIDTH, closes, is_settings, opens};
use crate::token::Token;
use std::ops::Range;

/// The pieces that begin new lines, in order; none if there is no good place. Each call breaks
/// the outermost structure; what is still too long is broken in a further call.
pub(super) fn breaks(
    pieces: &[Piece<'_>],
    range: Range<usize>,
    indent: usize,
    stack: &[Open],
) -> Vec<usize> {
    let line = Structure::of(pieces, range, indent);
    let braced = stack.last().is_some_and(|open| open.brace);
    let settings = stack.last().is_some_and(|open| open.settings);
    line.places(line.statements(braced))
        .or_else(|| line.places(line.commas(settings)))
        .or_else(|| line.places(line.before_value()))
        .or_else(|| line.places(line.last_group()))
        .or_else(|| line.places(line.unclosed()))
        .or_else(|| line.places(line.after_definition()))
        .or_else(|| line.places(line.operators()))
        .or_else(|| line.places(line.widest_group()))
        .unwrap_or_default()
}

/// A line and how deep each of its pieces stands.
struct Structure<'p, 't> {
    pieces: &'p [Piece<'t>],
    range: Range<usize>,
    indent: usize,
    /// Depth by piece of the range; brackets count to what is outside of them.
    depth: Vec<i32>,
    /// The depth of the outermost pieces.
    floor: i32,
    /// Brackets that open and close in the line.
    groups: Vec<(usize, usize)>,
    /// The first bracket that stays open.
    open: Option<usize>,
    /// The columns, from the line's first, where each piece begins and ends.
    columns: Vec<(usize, usize)>,
}

impl<'p, 't> Structure<'p, 't> {
    fn of(pieces: &'p [Piece<'t>], range: Range<usize>, indent: usize) -> Structure<'p, 't> {
        let first = range.start;
        let (mut depth, mut open, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut columns: Vec<(usize, usize)> = Vec::new();
        let mut level = 0;
        for at in range.clone() {
            let before = columns.last().map_or(0, |&(_, end)| {
                end + usize::from(pieces[at].semicolon)
                    + usize::from(space::between(pieces, first, at))
            });
            columns.push((before, before + super::columns(pieces[at].text)));
            if closes(&pieces[at].token) {
                level -= 1;
                groups.extend(open.pop().map(|start| (start, at)));
            }
            depth.push(level);
            if opens(&pieces[at].token) {
                level += 1;
                open.push(at);
            }
        }
        let floor = depth.iter().copied().min().unwrap_or(0);
        Structure {
            pieces,
            range,
            indent,
            depth,
            floor,
            groups,
            open: open.first().copied(),
            columns,
        }
    }

    /// Those of the found places where a line can be cut: it has two parts then.
    fn places(&self, found: Option<Vec<usize>>) -> Option<Vec<usize>> {
        let mut found = found?;
        found.retain(|&at| at > self.range.start && at < self.range.end);
        found.dedup();
        (!found.is_empty()).then_some(found)
    }

    fn outermost(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.range
            .clone()
            .filter(|&at| self.depth[at - self.range.start] == self.floor)
    }

    fn token(&self, at: usize) -> &Token {
        &self.pieces[at].token
    }

    /// The columns of a part of the line, which is not empty.
    fn width(&self, range: Range<usize>) -> usize {
        let first = self.range.start;
        self.columns[range.end - 1 - first].1 - self.columns[range.start - first].0
    }

    /// Statements between `;`.
    fn statements(&self, braced: bool) -> Option<Vec<usize>> {
        let starts = self.outermost().filter(|&at| self.pieces[at].semicolon);
        let starts: Vec<usize> = starts.collect();
        (braced && !starts.is_empty()).then_some(starts)
    }

    /// After the `=` of a definition or a `let`, if what follows then fits.
    fn before_value(&self) -> Option<Vec<usize>> {
        let value = self.definition()?;
        let whole = self.open.is_none() && *self.token(self.range.end - 1) != Token::RBrace;
        let head = self.indent + self.width(self.range.start..value) <= WIDTH;
        let fits = self.indent + INDENT + self.width(value..self.range.end) <= WIDTH;
        (whole && head && fits).then(|| vec![value])
    }

    /// The same where what follows has to be broken, too.
    fn after_definition(&self) -> Option<Vec<usize>> {
        let value = self.definition()?;
        let function = self.outermost().take_while(|&at| at < value);
        let function = function
            .filter(|&at| *self.token(at) == Token::LParen)
            .count()
            > 0;
        let long = self.indent + self.width(self.range.start..value) > WIDTH / 2;
        (function && long).then(|| vec![value])
    }

    /// The piece after the first outermost `=`.
    fn definition(&self) -> Option<usize> {
        self.outermost()
            .find(|&at| *self.token(at) == Token::Eq)
            .map(|at| at + 1)
            .filter(|&at| at < self.range.end)
    }

    /// Inside the brackets that end the line; of `f(g(a, b))` inside the inner ones.
    fn last_group(&self) -> Option<Vec<usize>> {
        let mut last = self.range.end - 1;
        let group = |close: usize| self.groups.iter().find(|group| group.1 == close);
        let &(outer, _) = group(last)?;
        let operators = self.loosest().is_some_and(|(_, places)| places[0] < outer);
        if self.depth[outer - self.range.start] != self.floor || operators {
            return None;
        }
        loop {
            let &(open, close) = group(last)?;
            if self.indent + self.width(self.range.start..open + 1) > WIDTH || close == open + 1 {
                return None;
            }
            if *self.token(open) == Token::LBrace {
                let settings = is_settings(self.pieces, open);
                let ends = |&at: &usize| {
                    let comma = settings && *self.token(at - 1) == Token::Comma;
                    self.depth_is(at, open) && (self.pieces[at].semicolon || comma)
                };
                let inner = (open + 2..close).filter(ends);
                return Some(
                    std::iter::once(open + 1)
                        .chain(inner)
                        .chain([close])
                        .collect(),
                );
            }
            if self.inside(open, close, |token| {
                matches!(token, Token::Comma | Token::For)
            }) {
                return Some(vec![open + 1, close]);
            }
            last = close - 1;
        }
    }

    /// Behind a bracket that stays open.
    fn unclosed(&self) -> Option<Vec<usize>> {
        let after = self.open? + 1;
        (after < self.range.end).then(|| vec![after])
    }

    /// Whether `at` stands directly inside the bracket at `open`.
    fn depth_is(&self, at: usize, open: usize) -> bool {
        let first = self.range.start;
        self.depth[at - first] == self.depth[open - first] + 1
    }

    fn inside(&self, open: usize, close: usize, wanted: impl Fn(&Token) -> bool) -> bool {
        (open + 1..close).any(|at| self.depth_is(at, open) && wanted(self.token(at)))
    }

    /// Before the operators that bind loosest.
    fn operators(&self) -> Option<Vec<usize>> {
        self.loosest().map(|(_, places)| places)
    }

    fn loosest(&self) -> Option<(u8, Vec<usize>)> {
        let value = self.definition().unwrap_or(self.range.start);
        let mut best: Option<(u8, Vec<usize>)> = None;
        for at in self
            .outermost()
            .filter(|&at| at > value.max(self.range.start))
        {
            let Some(class) = class(&self.pieces[at]) else {
                continue;
            };
            match &mut best {
                Some((known, places)) if *known == class => places.push(at),
                Some((known, _)) if *known < class => {}
                _ => best = Some((class, vec![at])),
            }
        }
        best
    }

    /// After outermost commas: all, or as few as it takes between short parts such as numbers.
    fn commas(&self, settings: bool) -> Option<Vec<usize>> {
        let mut in_lambda = false;
        let separates = |&at: &usize| {
            match self.token(at) {
                Token::Fn => in_lambda = true,
                Token::Arrow => in_lambda = false,
                token => return *token == Token::Comma && !in_lambda,
            }
            false
        };
        let after: Vec<usize> = self
            .outermost()
            .filter(separates)
            .map(|at| at + 1)
            .filter(|&at| at < self.range.end)
            .collect();
        let starts = std::iter::once(self.range.start).chain(after.iter().copied());
        let ends = after.iter().copied().chain([self.range.end]);
        let mut parts = starts.zip(ends);
        if settings || !parts.clone().all(|(start, end)| end - start <= 3) {
            return (!after.is_empty()).then_some(after);
        }
        let mut line = parts.next()?.0;
        let mut breaks = Vec::new();
        for (start, end) in parts {
            if self.indent + INDENT + self.width(line..end) > WIDTH {
                breaks.push(start);
                line = start;
            }
        }
        (!breaks.is_empty()).then_some(breaks)
    }

    /// Inside the widest outermost brackets.
    fn widest_group(&self) -> Option<Vec<usize>> {
        self.groups
            .iter()
            .filter(|&&(open, close)| {
                self.depth[open - self.range.start] == self.floor && close > open + 1
            })
            .max_by_key(|&&(open, close)| self.width(open..close))
            .map(|&(open, close)| vec![open + 1, close])
    }
}

/// Operators that may begin a line, the loosest first.
fn class(piece: &Piece<'_>) -> Option<u8> {
    Some(match &piece.token {
        Token::Then | Token::Else => 0,
        Token::For | Token::If if !piece.begins => 1,
        Token::Pipe => 2,
        Token::Or => 3,
        Token::And => 4,
        Token::EqEq | Token::Ne | Token::Lt | Token::Le | Token::Gt | Token::Ge => 5,
        Token::Fill => 6,
        Token::Plus => 7,
        Token::Minus if !piece.prefix => 7,
        Token::Star | Token::Slash | Token::SlashSlash => 8,
        Token::At => 9,
        _ => return None,
    })
}
