//! Heads of loops, ranges and blocks as other languages write them.

use super::{Site, is_closer};
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::token::Token;

/// The first of these slips that the place shows.
pub(super) fn explain(site: &Site<'_, '_>) -> Option<Diagnostic> {
    several_names(site)
        .or_else(|| counted(site))
        .or_else(|| in_parentheses(site))
        .or_else(|| range_colon(site))
        .or_else(|| inclusive(site))
        .or_else(|| step(site))
        .or_else(|| no_braces(site))
}

impl Site<'_, '_> {
    fn begins_for(&self) -> Option<usize> {
        let first = self.first_of_statement();
        (self.token(first) == Some(&Token::For)).then_some(first)
    }

    fn name(&self, index: usize) -> Option<&str> {
        match self.token(index) {
            Some(Token::Ident(name)) => Some(name),
            _ => None,
        }
    }

    /// The whole number at a place.
    fn int(&self, index: usize) -> Option<i64> {
        match self.token(index) {
            Some(Token::Int(_)) => self.text(index, index).parse().ok(),
            _ => None,
        }
    }

    /// One behind the last of the ints up to and with the one at `index`.
    fn one_more(&self, index: usize) -> String {
        match self.int(index).and_then(|end| end.checked_add(1)) {
            Some(end) => end.to_string(),
            None => format!("{} + 1", self.text(index, index)),
        }
    }
}

/// `for i, x in xs`, `for i, x in enumerate(xs)`, `for a, b in zip(p, q)`.
fn several_names(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.begins_for()?;
    if site.found != Some(&Token::Comma) || !site.expects("in") || site.at != first + 2 {
        return None;
    }
    let error = site.error(site.span, "`for` binds one name, or a tuple in parentheses");
    let (a, b) = (site.name(first + 1)?, site.name(first + 3));
    let of_two = b.filter(|_| site.token(first + 4) == Some(&Token::In));
    let Some(b) = of_two else {
        return Some(error.help("a tuple is taken apart: `for (a, b, c) in …`"));
    };
    // `… in enumerate(xs) {`
    let call = (site.name(first + 5), site.token(first + 6));
    let head = |last: usize| {
        let ends = site.token(last) == Some(&Token::RParen)
            && site.token(last + 1) == Some(&Token::LBrace);
        ends.then(|| site.token_span(first + 1).to(site.token_span(last + 1)))
    };
    let places = format!("for the place as well, walk the places: `for {a} in 0..len(xs)`");
    Some(match call {
        (Some("enumerate"), Some(Token::LParen)) => match (site.name(first + 7), head(first + 8)) {
            (Some(xs), Some(span)) => {
                let new = format!("{a} in 0..len({xs}) {{ let {b} = {xs}[{a}];");
                error.help_edit(format!("write `for {new}`"), span, new)
            }
            _ => error.help(places),
        },
        (Some("zip"), Some(Token::LParen)) => {
            let (p, q) = (site.name(first + 7), site.name(first + 9));
            match (p, q, head(first + 10)) {
                (Some(p), Some(q), Some(span)) => {
                    let new = format!("i in 0..len({p}) {{ let ({a}, {b}) = ({p}[i], {q}[i]);");
                    error.help_edit(format!("write `for {new}`"), span, new)
                }
                _ => {
                    error.help("walk the places: `for i in 0..len(xs)`, and take `xs[i]`, `ys[i]`")
                }
            }
        }
        _ => error
            .help_edit(
                format!("a pair is taken apart: `for ({a}, {b}) in …`"),
                site.token_span(first + 1).to(site.token_span(first + 3)),
                format!("({a}, {b})"),
            )
            .help(places),
    })
}

/// `for i = 1:10`.
fn counted(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.begins_for()?;
    if site.found != Some(&Token::Eq) || !site.expects("in") || site.at != first + 2 {
        return None;
    }
    let error = site.error(site.span, "`for` walks what stands behind `in`");
    let (from, to) = (site.at + 1, site.at + 3);
    let range = site.token(site.at + 2) == Some(&Token::Colon)
        && (site.int(from).is_some() || site.name(from).is_some())
        && (site.int(to).is_some() || site.name(to).is_some());
    Some(match range {
        true => {
            let new = format!("in {}..{}", site.text(from, from), site.one_more(to));
            let span = site.span.to(site.token_span(to));
            let help = format!("write `{new}`; the end of a range is excluded");
            error.help_edit(help, span, new)
        }
        false => error.help("write `for i in 0..n { … }`"),
    })
}

/// `for (i in 0..3) {`, `for (let i = 0; i < 3; …) {`.
fn in_parentheses(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let open = site.open?;
    let after_for = open.checked_sub(1).and_then(|i| site.token(i)) == Some(&Token::For);
    if after_for && site.found == Some(&Token::Let) {
        return Some(
            site.error(site.span, "`for` walks a range or a list")
                .help("write `for i in 0..n { … }`"),
        );
    }
    if site.found != Some(&Token::In) || !after_for || site.at != open + 2 {
        return None;
    }
    let error = site.error(
        site.token_span(open),
        "the head of a `for` stands without parentheses",
    );
    let mut depth = 0usize;
    let close = (open..site.ctx.tokens.len()).find(|&i| {
        match site.token(i) {
            Some(Token::LParen) => depth += 1,
            Some(Token::RParen) => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    Some(match close.filter(|&close| close > open + 1) {
        Some(close) => {
            let new = site.text(open + 1, close - 1).to_string();
            let span = site.token_span(open).to(site.token_span(close));
            error.help_edit(format!("write `for {new}`"), span, new)
        }
        None => error.help("write `for i in 0..n { … }`"),
    })
}

/// `0:10` where no index is.
fn range_colon(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let (before, after) = (site.at.checked_sub(1)?, site.at + 1);
    let ends = site.int(before).is_some()
        && (site.int(after).is_some() || site.name(after).is_some())
        && site.touching(before, site.at)
        && site.touching(site.at, after);
    let index = site.open.and_then(|open| site.token(open)) == Some(&Token::LBracket);
    (site.found == Some(&Token::Colon) && ends && !index).then(|| {
        site.error(site.span, "a range is written with `..`")
            .help_edit("write `a..b`; the end is excluded", site.span, "..")
    })
}

/// `0..=10`.
fn inclusive(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let dots = site.at.checked_sub(1)?;
    if site.found != Some(&Token::Eq) || site.token(dots) != Some(&Token::DotDot) {
        return None;
    }
    let span = site.token_span(dots).to(site.span);
    let error = site.error(span, "a range does not include its end");
    let end = site.at + 1;
    Some(match site.int(end).is_some() || site.name(end).is_some() {
        true => {
            let new = format!("..{}", site.one_more(end));
            let whole = span.to(site.token_span(end));
            error.help_edit(format!("write `{new}`"), whole, new)
        }
        false => error.help("`0..n + 1` ends with n"),
    })
}

/// `0..10..2`.
fn step(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let mut level = site
        .same_level()
        .take_while(|&i| site.token(i) != Some(&Token::Comma));
    let second =
        site.found == Some(&Token::DotDot) && level.any(|i| site.token(i) == Some(&Token::DotDot));
    second.then(|| {
        site.error(site.span, "a range has no step")
            .help("`2 * (0..5)` are the even numbers from 0 to 8; `reverse(0..5)` counts down")
    })
}

/// `if x > 0` and the block on lines of its own, without braces.
fn no_braces(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let word = match site.token(first)? {
        Token::If => "if",
        Token::For => "for",
        _ => return None,
    };
    let ends = matches!(site.found, None | Some(Token::Newline)) && site.expects("{");
    let last = site.at.checked_sub(1)?;
    if !ends
        || last <= first
        || site
            .token(last)
            .is_some_and(|t| !t.ends_expression() && !is_closer(t))
    {
        return None;
    }
    let head = site.text(first, last).to_string();
    let end = site.token_span(last);
    let span = Span {
        start: end.end,
        ..end
    };
    Some(
        site.error(
            span,
            &format!("the block of this `{word}` stands in braces"),
        )
        .help(format!("write `{head} {{ … }}`")),
    )
}
