//! The space between two neighbours on a line: one blank or none.

use super::{Piece, closes, opens};
use crate::token::Token;

/// Whether a blank stands between the pieces `at - 1` and `at` of a line that begins with `first`.
pub(super) fn between(pieces: &[Piece<'_>], first: usize, at: usize) -> bool {
    let (left, right) = (&pieces[at - 1], &pieces[at]);
    if right.semicolon {
        return true;
    }
    match (&left.token, &right.token) {
        (Token::LBrace, Token::RBrace) => false,
        (Token::LParen | Token::LBracket, _) => false,
        (_, Token::RParen | Token::RBracket | Token::Comma) => false,
        (Token::Comma, _) => true,
        (_, Token::Colon) => false,
        // With a blank it would go on with the line before.
        (Token::Minus, Token::LBrace) if left.prefix => false,
        (Token::LBrace, _) | (_, Token::LBrace | Token::RBrace) => true,
        // `5 .1` is a part of a tuple, `5.1` a number.
        (Token::Int(_) | Token::Float(_), Token::DotInt(_)) => true,
        (_, Token::Tick | Token::Dot | Token::DotInt(_)) | (Token::Dot, _) => false,
        (_, Token::DotDot) | (Token::DotDot, _) => false,
        (_, Token::LParen | Token::LBracket) if calls(left) => false,
        // `?[n]` and `?real` are types.
        (Token::Question, Token::LParen | Token::LBracket | Token::Ident(_)) => false,
        (Token::Minus, _) if left.prefix => false,
        (Token::Caret, _) | (_, Token::Caret) => false,
        (_, operator) if is_arithmetic(operator) && right.tight => false,
        // One that begins a line has its left side on another.
        (operator, _) if is_arithmetic(operator) && left.tight => at - 1 == first,
        _ => true,
    }
}

/// Whether brackets right after the piece belong to it: calls and indices.
fn calls(piece: &Piece<'_>) -> bool {
    piece.token.ends_expression() && piece.token != Token::RBrace
}

fn is_arithmetic(token: &Token) -> bool {
    matches!(
        token,
        Token::Plus | Token::Minus | Token::Star | Token::Slash | Token::SlashSlash
    )
}

/// In sizes, indices and ranges `n+1` may stay tight, as the author wrote it; elsewhere operators
/// have blanks around them.
pub(super) fn mark_tight(text: &str, pieces: &mut [Piece<'_>]) {
    let start = |piece: &Piece<'_>| piece.text.as_ptr() as usize - text.as_ptr() as usize;
    let mut stack: Vec<Level> = vec![Level::default()];
    for at in 0..pieces.len() {
        let piece = &pieces[at];
        if opens(&piece.token) {
            stack.push(Level {
                bracket: piece.token == Token::LBracket,
                inside: piece.token != Token::LBrace,
                ..Level::default()
            });
        } else if closes(&piece.token) {
            settle(pieces, stack.pop().unwrap_or_default());
            if stack.is_empty() {
                stack.push(Level::default());
            }
        } else if let Some(level) = stack.last_mut() {
            match &piece.token {
                Token::DotDot => level.range = true,
                operator if is_arithmetic(operator) && !piece.prefix && at > 0 => {
                    let before = &pieces[at - 1];
                    let left = start(before) + before.text.len() == start(piece);
                    let right = pieces
                        .get(at + 1)
                        .is_some_and(|next| start(piece) + piece.text.len() == start(next));
                    // `2*n` reads as one thing in any brackets.
                    let factor = matches!(before.token, Token::Int(_))
                        && piece.token == Token::Star
                        && level.inside;
                    // Braces have blanks around them whatever stands there.
                    let brace = before.token == Token::RBrace
                        || pieces
                            .get(at + 1)
                            .is_some_and(|next| next.token == Token::LBrace);
                    if left && right && !brace {
                        level.tight.push((at, factor));
                    }
                }
                Token::Comma | Token::In | Token::Eq | Token::If | Token::Then | Token::Else => {
                    level.end_part(pieces);
                }
                _ if piece.begins => level.end_part(pieces),
                _ => {}
            }
        }
    }
    while let Some(level) = stack.pop() {
        settle(pieces, level);
    }
}

/// What is between two brackets or commas.
#[derive(Default)]
struct Level {
    bracket: bool,
    /// In brackets of any kind but braces.
    inside: bool,
    range: bool,
    /// Operators without blanks, and whether they are the `*` of `2*n`.
    tight: Vec<(usize, bool)>,
}

impl Level {
    fn end_part(&mut self, pieces: &mut [Piece<'_>]) {
        for (at, factor) in self.tight.drain(..) {
            pieces[at].tight = self.bracket || self.range || factor;
        }
        self.range = false;
    }
}

fn settle(pieces: &mut [Piece<'_>], mut level: Level) {
    level.end_part(pieces);
}
