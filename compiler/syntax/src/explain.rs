//! From a parser's "unexpected token" to a sentence that a person understands. The tables
//! here know the usual slips; what none of them fits is "expected …, found …".

use crate::builder::Ctx;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::token::Token;

mod heads;
mod pieces;
mod slips;

/// The message for an error at token `at` of the call (its length: at the end). `None` where
/// the lexer has already reported that place.
pub fn syntax_error(ctx: &Ctx<'_>, at: usize, expected: &[String]) -> Option<Diagnostic> {
    let tokens = ctx.tokens;
    let found = tokens.get(at).map(|t| &t.token);
    let before = at.checked_sub(1).and_then(|i| tokens.get(i));
    if found == Some(&Token::Bad) || before.is_some_and(|t| t.token == Token::Bad) {
        return None;
    }
    let expected: Vec<&str> = expected.iter().map(|e| e.trim_matches('"')).collect();
    let site = Site {
        ctx,
        at,
        found,
        span: place(ctx, at),
        expected,
        open: open_before(ctx, at).pop(),
    };
    Some(
        unclosed(&site)
            .or_else(|| stray_closer(&site))
            .or_else(|| misplaced_item(&site))
            .or_else(|| heads::explain(&site))
            .or_else(|| reserved_name(&site))
            .or_else(|| equals_in_condition(&site))
            .or_else(|| chained_comparison(&site))
            .or_else(|| number_shape(&site))
            .or_else(|| tick(&site))
            .or_else(|| pieces::explain(&site))
            .or_else(|| slips::explain(&site))
            .or_else(|| other_language(&site))
            .unwrap_or_else(|| general(&site)),
    )
}

struct Site<'s, 'c> {
    ctx: &'s Ctx<'c>,
    at: usize,
    found: Option<&'s Token>,
    /// Where to point: the token found, or the place after the last one.
    span: Span,
    expected: Vec<&'s str>,
    /// Index of the innermost bracket that is open before `at`.
    open: Option<usize>,
}

impl Site<'_, '_> {
    fn expects(&self, terminal: &str) -> bool {
        self.expected.contains(&terminal)
    }

    fn expects_operand(&self) -> bool {
        self.expects("INT") && self.expects("ID")
    }

    fn token(&self, index: usize) -> Option<&Token> {
        self.ctx.tokens.get(index).map(|t| &t.token)
    }

    fn previous(&self) -> Option<&Token> {
        self.at.checked_sub(1).and_then(|i| self.token(i))
    }

    fn token_span(&self, index: usize) -> Span {
        self.ctx
            .tokens
            .get(index)
            .map_or(self.span, |t| self.ctx.span(t.start, t.end))
    }

    /// Indices of the tokens before `at` in the same statement and bracket, nearest first.
    fn same_level(&self) -> impl Iterator<Item = usize> + '_ {
        let mut depth = 0usize;
        let mut done = false;
        (0..self.at).rev().filter(move |&i| {
            if done {
                return false;
            }
            match &self.ctx.tokens[i].token {
                Token::RParen | Token::RBracket | Token::RBrace => depth += 1,
                Token::LParen | Token::LBracket | Token::LBrace if depth == 0 => done = true,
                Token::LParen | Token::LBracket | Token::LBrace => {
                    depth -= 1;
                    return false;
                }
                Token::Newline if depth == 0 => done = true,
                _ => {}
            }
            !done && depth == 0
        })
    }
}

/// The place of token `at`; for a newline or the end, one column after the last token.
fn place(ctx: &Ctx<'_>, at: usize) -> Span {
    match ctx.tokens.get(at) {
        Some(t) if t.token != Token::Newline => ctx.span(t.start, t.end),
        _ => {
            let end = at
                .checked_sub(1)
                .and_then(|i| ctx.tokens.get(i))
                .map_or(0, |t| t.end);
            ctx.span(end, end)
        }
    }
}

/// The brackets that are open before token `at`, innermost last, as the lexer has them: a
/// statement end closes `(` and `[`.
fn open_before(ctx: &Ctx<'_>, at: usize) -> Vec<usize> {
    let mut stack: Vec<usize> = Vec::new();
    for (i, t) in ctx.tokens[..at.min(ctx.tokens.len())].iter().enumerate() {
        match t.token {
            Token::LParen | Token::LBracket | Token::LBrace => stack.push(i),
            Token::RParen | Token::RBracket | Token::RBrace => {
                let wanted = opener_of(&t.token);
                if let Some(depth) = stack.iter().rposition(|&o| ctx.tokens[o].token == wanted) {
                    stack.truncate(depth);
                }
            }
            Token::Newline => {
                while stack
                    .last()
                    .is_some_and(|&o| ctx.tokens[o].token != Token::LBrace)
                {
                    stack.pop();
                }
            }
            _ => {}
        }
    }
    stack
}

fn opener_of(closer: &Token) -> Token {
    match closer {
        Token::RParen => Token::LParen,
        Token::RBracket => Token::LBracket,
        _ => Token::LBrace,
    }
}

fn closer_of(opener: &Token) -> Token {
    match opener {
        Token::LParen => Token::RParen,
        Token::LBracket => Token::RBracket,
        _ => Token::RBrace,
    }
}

fn is_closer(token: &Token) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace)
}

/// `f(a` and then the end of the line, the file, or another closer.
fn unclosed(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let mut open = site.open?;
    let opener = site.token(open)?;
    let closer = closer_of(opener);
    let ends = match site.found {
        None | Some(Token::Newline) => *opener != Token::LBrace || site.found.is_none(),
        // A closer that fits further out shows what is missing; one that fits nowhere is stray.
        Some(token) if is_closer(token) && *token != closer => {
            *opener != Token::LBrace
                || open_before(site.ctx, site.at)
                    .iter()
                    .any(|&o| site.token(o) == Some(&opener_of(token)))
        }
        Some(_) => false,
    };
    if !ends
        || (site.expects_operand()
            && !site.expects(closer.spelling()?)
            && site
                .previous()
                .is_some_and(|t| !t.ends_expression() && *t != *opener))
    {
        return None;
    }
    if closer == Token::RBrace {
        open = suspicious_brace(site.ctx).unwrap_or(open);
    }
    let (o, c) = (opener.spelling()?, closer.spelling()?);
    if site.ctx.text[site.span.end as usize..].starts_with(';') && closer != Token::RBrace {
        let end = site.span.end as usize;
        let semicolon = site.ctx.span(end, end + 1);
        return Some(
            Diagnostic::error(
                "E0110",
                semicolon,
                "what stands in brackets is separated by commas",
            )
            .help_edit("write `,`", semicolon, ","),
        );
    }
    let found = match site.found {
        Some(token) if is_closer(token) => format!(", found {}", token.describe()),
        _ => String::new(),
    };
    Some(
        Diagnostic::error(
            "E0111",
            site.span,
            format!("expected `{c}` to close the `{o}` here{found}"),
        )
        .here(format!("`{c}` expected"))
        .label(site.token_span(open), "opened here")
        .help_edit(
            format!("write `{c}` here"),
            site.span,
            if closer == Token::RBrace { "\n}" } else { c },
        ),
    )
}

/// The `{` that indentation says was left open: its `}` stands further left than its line.
fn suspicious_brace(ctx: &Ctx<'_>) -> Option<usize> {
    let mut stack = Vec::new();
    for (i, t) in ctx.tokens.iter().enumerate() {
        match t.token {
            Token::LBrace => stack.push(i),
            Token::RBrace => {
                let open = stack.pop()?;
                let (own, column) = indent(ctx.text, t.start);
                let (_, opener) = indent(ctx.text, ctx.tokens[open].start);
                if own && column < opener {
                    return Some(open);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether only blanks precede `at` on its line, and how far the line is indented.
fn indent(text: &str, at: usize) -> (bool, usize) {
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let line = &text[start..];
    let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
    (start + blanks == at, blanks)
}

/// `)` that nothing opened.
fn stray_closer(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let token = site.found.filter(|t| is_closer(t))?;
    if site
        .open
        .and_then(|o| site.token(o))
        .is_some_and(|o| *o == opener_of(token))
    {
        return None;
    }
    let (c, o) = (token.spelling()?, opener_of(token).spelling()?);
    Some(
        Diagnostic::error("E0112", site.span, format!("this `{c}` closes nothing"))
            .note(format!("no `{o}` is open here"))
            .help_edit("leave it out", site.span, ""),
    )
}

/// `let in = 3`.
fn reserved_name(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let word = site.found.filter(|t| t.is_reserved())?;
    if !site.expects("ID") {
        return None;
    }
    let named = matches!(
        site.token(site.at + 1),
        Some(Token::Eq | Token::Colon | Token::Tilde)
    );
    let binder = matches!(
        site.previous(),
        Some(
            Token::Let
                | Token::Fn
                | Token::Param
                | Token::Model
                | Token::For
                | Token::Use
                | Token::As
                | Token::Dot
        )
    );
    // `f(in)`: the name of a value, as nothing follows that the word could begin.
    let alone = !matches!(
        word,
        Token::If | Token::Fn | Token::Not | Token::True | Token::False
    ) && matches!(
        site.token(site.at + 1),
        None | Some(Token::Newline | Token::Comma | Token::RParen | Token::RBracket)
    );
    if !(binder || named || alone || !site.expects_operand()) {
        return None;
    }
    let word = word.spelling()?;
    Some(
        Diagnostic::error(
            "E0113",
            site.span,
            format!("`{word}` is a word of the language and cannot be a name"),
        )
        .help_edit(
            format!("choose another name, for example `{word}_`"),
            site.span,
            format!("{word}_"),
        ),
    )
}

/// `if a = b {`.
fn equals_in_condition(site: &Site<'_, '_>) -> Option<Diagnostic> {
    if site.found != Some(&Token::Eq) {
        return None;
    }
    let heads = |i: usize| {
        matches!(
            site.ctx.tokens[i].token,
            Token::If | Token::Assert | Token::And | Token::Or | Token::Not
        )
    };
    if !site.same_level().any(heads) {
        return None;
    }
    Some(
        Diagnostic::error(
            "E0114",
            site.span,
            "`=` gives a value to a name; it does not compare",
        )
        .help_edit("write `==` to compare", site.span, "=="),
    )
}

fn is_comparison(token: &Token) -> bool {
    matches!(
        token,
        Token::EqEq | Token::Ne | Token::Lt | Token::Le | Token::Gt | Token::Ge
    )
}

/// `a < b < c`.
fn chained_comparison(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let second = site.found.filter(|t| is_comparison(t))?.spelling()?;
    let level: Vec<usize> = site
        .same_level()
        .take_while(|&i| {
            !matches!(
                site.ctx.tokens[i].token,
                Token::Comma
                    | Token::And
                    | Token::Or
                    | Token::Not
                    | Token::If
                    | Token::Then
                    | Token::Else
                    | Token::Eq
            )
        })
        .collect();
    let first = level
        .iter()
        .copied()
        .find(|&i| is_comparison(&site.ctx.tokens[i].token))?;
    let middle = site
        .ctx
        .text
        .get(site.ctx.tokens[first].end..site.span.start as usize)?
        .trim();
    let one = site.token(first)?.spelling()?;
    Some(
        Diagnostic::error("E0115", site.span, "comparisons do not chain")
            .label(site.token_span(first), "the first comparison")
            .help_edit(
                format!("write `… {one} {middle} and {middle} {second} …`"),
                site.span,
                format!("and {middle} {second}"),
            ),
    )
}

/// `use` inside a block, `param` outside a model.
fn misplaced_item(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let word = site.found?;
    let in_brackets = site.open.is_some();
    let text = word.spelling().unwrap_or("");
    match word {
        Token::Use | Token::Model | Token::Test if in_brackets => Some(
            Diagnostic::error(
                "E0128",
                site.span,
                format!("`{text}` stands at the top of a script only"),
            )
            .help("move it out of the braces"),
        ),
        Token::Param => Some(
            Diagnostic::error(
                "E0128",
                site.span,
                "a `param` belongs directly in a `model`",
            )
            .help("elsewhere a value is named with `let`"),
        ),
        Token::Print | Token::Assert | Token::For if site.expects("param") => Some(
            Diagnostic::error(
                "E0128",
                site.span,
                format!("`{text}` cannot stand among the members of a model"),
            )
            .note("a model holds `param`, `let`, `fn`, and `encoder`, `decoder`, `loss`, `apply`"),
        ),
        _ => None,
    }
}

/// `.5`, `5.`, `2x`.
fn number_shape(site: &Site<'_, '_>) -> Option<Diagnostic> {
    if let Some(Token::DotInt(_)) = site.found
        && site.expects_operand()
    {
        let digits = site.ctx.slice(site.span).to_string();
        return Some(
            Diagnostic::error(
                "E0116",
                site.span,
                "a number has digits on both sides of its point",
            )
            .help_edit(
                format!("write `0{digits}`"),
                site.span,
                format!("0{digits}"),
            ),
        );
    }
    let touching = |a: usize, b: usize| site.token_span(a).end == site.token_span(b).start;
    if let Some(before) = site.at.checked_sub(2)
        && site.previous() == Some(&Token::Dot)
        && matches!(site.token(before), Some(Token::Int(_)))
        && touching(before, before + 1)
    {
        let span = site.token_span(before).to(site.token_span(before + 1));
        let text = site.ctx.slice(span).to_string();
        return Some(
            Diagnostic::error(
                "E0116",
                span,
                "a number has digits on both sides of its point",
            )
            .help_edit(format!("write `{text}0`"), span, format!("{text}0")),
        );
    }
    if let Some(before) = site.at.checked_sub(1)
        && let (Some(Token::Int(_) | Token::Float(_)), Some(Token::Ident(name))) =
            (site.previous(), site.found)
        && touching(before, site.at)
    {
        let number = site.ctx.slice(site.token_span(before)).to_string();
        return Some(
            Diagnostic::error(
                "E0116",
                site.token_span(before).to(site.span),
                format!("`{number}{name}` is neither a number nor a name"),
            )
            .help_edit(
                format!("a product is written `{number} * {name}`"),
                site.token_span(before).to(site.span),
                format!("{number} * {name}"),
            ),
        );
    }
    None
}

/// `'` where an operand is wanted.
fn tick(site: &Site<'_, '_>) -> Option<Diagnostic> {
    (site.found == Some(&Token::Tick)).then(|| {
        Diagnostic::error(
            "E0105",
            site.span,
            "`'` is transpose and stands after a value",
        )
        .help("strings are written with double quotes")
    })
}

/// Words of other languages, what is written here, and what the word is replaced by where that
/// is all.
const ELSEWHERE: [(&str, &str, Option<&str>); 37] = [
    ("def", "a function is `fn f(x) = …`", Some("fn ")),
    ("function", "a function is `fn f(x) = …`", Some("fn ")),
    ("func", "a function is `fn f(x) = …`", Some("fn ")),
    (
        "return",
        "the last expression of a block is its value",
        Some(""),
    ),
    ("var", "a value is named with `let`", Some("let ")),
    ("const", "a value is named with `let`", Some("let ")),
    (
        "mut",
        "a script's `let` may be rebound with `x = …`",
        Some(""),
    ),
    ("import", "a module is taken with `use`", Some("use ")),
    ("include", "a module is taken with `use`", Some("use ")),
    (
        "class",
        "a `model` holds params and members",
        Some("model "),
    ),
    ("struct", "a record is `(a = 1, b = 2)`", None),
    ("elif", "write `else if`", Some("else if ")),
    ("elseif", "write `else if`", Some("else if ")),
    ("is", "`==` compares", Some("== ")),
    (
        "while",
        "a script has `for`; in functions `while(f, s0, until = c, max = n)`",
        None,
    ),
    ("match", "choices are made with `if … then … else`", None),
    ("switch", "choices are made with `if … then … else`", None),
    ("del", "names stay until the script ends", None),
    ("try", "an error ends the script", None),
    (
        "pub",
        "everything in a file can be used from outside",
        Some(""),
    ),
    (
        "public",
        "everything in a file can be used from outside",
        Some(""),
    ),
    ("async", "statements run in order", Some("")),
    ("assertEq", "write `assert a == b`", None),
    ("end", "blocks are written in braces", None),
    ("do", "blocks are written in braces", None),
    (
        "raise",
        "`assert c, \"…\"` ends a script that went wrong",
        None,
    ),
    (
        "throw",
        "`assert c, \"…\"` ends a script that went wrong",
        None,
    ),
    (
        "with",
        "nothing is opened and closed: files are read and written by one call",
        None,
    ),
    (
        "global",
        "a script's `let` may be rebound with `x = …`",
        None,
    ),
    (
        "nonlocal",
        "a script's `let` may be rebound with `x = …`",
        None,
    ),
    (
        "loop",
        "a script has `for`; in functions `iterate(f, s0, n)`",
        None,
    ),
    (
        "repeat",
        "a script has `for`; in functions `iterate(f, s0, n)`",
        None,
    ),
    (
        "until",
        "a script has `for`; in functions `while(f, s0, until = c, max = n)`",
        None,
    ),
    ("unless", "write `if not …`", Some("if not ")),
    ("new", "a model is made by its name: `M(64, 32)`", Some("")),
    (
        "yield",
        "what each round gives is collected by `map` and `scan`",
        None,
    ),
    ("echo", "write `print`", Some("print ")),
];

fn other_language(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let start = site.same_level().last().unwrap_or(site.at);
    let candidates = [Some(start), site.at.checked_sub(1), Some(site.at)];
    let (index, &(word, advice, new)) =
        candidates
            .into_iter()
            .flatten()
            .find_map(|i| match site.token(i) {
                // `with(m, W = v)` is a call.
                Some(Token::Ident(name))
                    if &**name == "with" && site.token(i + 1) == Some(&Token::LParen) =>
                {
                    None
                }
                Some(Token::Ident(name)) => ELSEWHERE
                    .iter()
                    .find(|(word, _, _)| **word == **name)
                    .map(|row| (i, row)),
                _ => None,
            })?;
    let span = site.token_span(index);
    let error = Diagnostic::error(
        "E0110",
        span,
        format!("`{word}` is not a word of this language"),
    );
    let next = site.token_span(index + 1);
    Some(match new.filter(|_| next.start > span.end) {
        // Together with the blank behind it.
        Some(new) => {
            let whole = Span {
                end: next.start,
                ..span
            };
            error.help_edit(advice, whole, new)
        }
        None => error.help(advice),
    })
}

/// What a terminal is called in "expected …".
const CALLED: [(&str, &str); 15] = [
    ("ID", "a name"),
    ("INT", "a number"),
    ("STR", "a string"),
    ("=", "`=`"),
    ("~", "`~`"),
    ("->", "`->`"),
    ("in", "`in`"),
    ("on", "`on`"),
    ("then", "`then`"),
    ("else", "`else`"),
    ("{", "`{`"),
    (",", "`,`"),
    (")", "`)`"),
    ("]", "`]`"),
    ("}", "`}`"),
];

fn general(site: &Site<'_, '_>) -> Diagnostic {
    let mut wanted: Vec<&str> = Vec::new();
    let operand = site.expects_operand();
    if operand {
        wanted.push(
            if site.expects("+") || site.expects("true") || site.expects("(") {
                "an expression"
            } else {
                "a size"
            },
        );
        if !site.expects("true") {
            wanted[0] = "a type or size";
        }
    }
    for (terminal, name) in CALLED {
        let covered = operand && matches!(terminal, "ID" | "INT" | "STR" | "{");
        if site.expects(terminal) && !covered {
            wanted.push(name);
        }
    }
    let opener = site.open.and_then(|o| site.token(o));
    wanted.retain(|w| match opener {
        Some(Token::LParen) => !matches!(*w, "`]`" | "`}`"),
        Some(Token::LBracket) => !matches!(*w, "`)`" | "`}`"),
        _ => true,
    });
    let ended = site.previous().is_some_and(Token::ends_expression) && !operand;
    let operator = site.found.is_some_and(Token::deepens);
    let after_value = ended && (site.expects("+") || wanted.is_empty());
    let end = if site.ctx.string_depth > 0 {
        "the end of the braces"
    } else {
        "the end of the line"
    };
    if after_value && wanted.is_empty() && (!operator || site.found == Some(&Token::Question)) {
        wanted.extend(["an operator", end]);
    } else if site.expects("nl") && !operand && wanted.len() < 3 {
        wanted.push(end);
    }
    if after_value && wanted.len() > 1 {
        wanted.retain(|w| *w != "`=`");
    }
    let found = match site.found {
        None if site.ctx.string_depth > 0 => "the end of the braces".to_string(),
        None => "the end of the statement".to_string(),
        Some(token) => token.describe(),
    };
    let message = match wanted.as_slice() {
        [] => format!("{found} cannot stand here"),
        [only] => format!("expected {only}, found {found}"),
        [first @ .., last] => format!("expected {} or {last}, found {found}", first.join(", ")),
    };
    let mut error = Diagnostic::error("E0110", site.span, message);
    if let Some(open) = site.open
        && (wanted.contains(&"`)`") || wanted.contains(&"`]`"))
    {
        error = error.label(site.token_span(open), "in the brackets opened here");
    }
    let piped = site
        .same_level()
        .any(|i| site.token(i) == Some(&Token::Pipe));
    match site.found {
        Some(Token::Eq) if after_value => {
            error.help("comparison is `==`; a value is named with `let x = …`")
        }
        Some(Token::Comma) if after_value && site.open.is_none() => {
            error.help("a tuple is written in parentheses")
        }
        Some(Token::Ident(_) | Token::Int(_) | Token::Float(_) | Token::Str(_))
            if after_value && site.open.is_some() =>
        {
            error.help("is an operator or a comma missing before it?")
        }
        Some(_) if piped && operator => {
            error.help("right of `|>` stands a call; put the pipe in parentheses to go on from it")
        }
        None | Some(Token::Newline | Token::RBrace)
            if site.expects("else") && !site.expects("nl") =>
        {
            let error =
                error.help("an `if` that gives a value says what it is otherwise: `else …`");
            let lambda = (0..site.at).any(|i| site.token(i) == Some(&Token::Arrow));
            match lambda {
                true => error
                    .help("a lambda that only does something has braces: `fn x -> { if c { … } }`"),
                false => error,
            }
        }
        Some(_)
            if site.expects("on")
                && site
                    .same_level()
                    .any(|i| site.token(i) == Some(&Token::Train)) =>
        {
            let start = site.span.start as usize;
            let before = site.ctx.span(start, start);
            error.help_edit(
                "training is written `train M(…) on data { … }`",
                before,
                "on ",
            )
        }
        _ => error,
    }
}
