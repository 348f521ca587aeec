//! Slips of people who know another language: each function knows one, says what is written here
//! instead, and rewrites it where the tokens leave no doubt.

use super::{Site, is_closer};
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::token::Token;

/// The first of the slips that the place shows.
pub(super) fn explain(site: &Site<'_, '_>) -> Option<Diagnostic> {
    comment(site)
        .or_else(|| lambda(site))
        .or_else(|| statement_body(site))
        .or_else(|| lambda_default(site))
        .or_else(|| prefixed_string(site))
        .or_else(|| weight(site))
        .or_else(|| colon(site))
        .or_else(|| leading_colon(site))
        .or_else(|| conditional(site))
        .or_else(|| body(site))
        .or_else(|| comma(site))
        .or_else(|| membership(site))
        .or_else(|| quoted_module(site))
        .or_else(|| several_modules(site))
        .or_else(|| nameless_test(site))
        .or_else(|| decorator(site))
        .or_else(|| inner_quote(site))
        .or_else(|| from_import(site))
        .or_else(|| type_before_name(site))
}

impl Site<'_, '_> {
    pub(super) fn text(&self, from: usize, to: usize) -> &str {
        self.ctx
            .slice(self.token_span(from).to(self.token_span(to)))
    }

    pub(super) fn error(&self, span: Span, message: &str) -> Diagnostic {
        Diagnostic::error("E0110", span, message)
    }

    /// The token that is last on the statement that holds `at`.
    pub(super) fn last_of_statement(&self) -> usize {
        let tokens = &self.ctx.tokens;
        let mut depth = 0usize;
        for (i, t) in tokens.iter().enumerate().skip(self.at) {
            match &t.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                token if is_closer(token) => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return i - 1,
                },
                Token::Newline if depth == 0 => return i - 1,
                _ => {}
            }
        }
        tokens.len() - 1
    }

    pub(super) fn touching(&self, left: usize, right: usize) -> bool {
        self.token_span(left).end == self.token_span(right).start
    }

    pub(super) fn first_of_statement(&self) -> usize {
        self.same_level().last().unwrap_or(self.at)
    }
}

/// `// text`, `/* text */`, `-- text`.
fn comment(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let here = site.at.min(site.ctx.tokens.len() - 1);
    let start = |i: usize| site.token_span(i).start as usize;
    let same_line = |&i: &usize| i == here || !site.ctx.text[start(i)..start(i + 1)].contains('\n');
    let slashes = (0..=here).rev().take_while(same_line).find(|&i| {
        let next = |wanted: Token| site.token(i + 1) == Some(&wanted) && site.touching(i, i + 1);
        match site.token(i) {
            Some(Token::SlashSlash) => matches!(site.token(i + 1), Some(Token::Ident(_))),
            Some(Token::Slash) => next(Token::Star),
            Some(Token::Minus) => next(Token::Minus) && i == site.first_of_statement(),
            _ => false,
        }
    })?;
    let start = site.token_span(slashes);
    let pair = match site.token(slashes) {
        Some(Token::SlashSlash) => start,
        _ => start.to(site.token_span(slashes + 1)),
    };
    let error = site.error(pair, "a comment begins with `#`");
    let rest = site.ctx.text.get(pair.end as usize..)?;
    let line = rest.lines().next().unwrap_or("").trim_end();
    Some(match line.strip_suffix("*/") {
        Some(words) if site.token(slashes) == Some(&Token::Slash) => {
            let whole = Span {
                end: pair.end + line.len() as u32,
                ..pair
            };
            let new = format!("#{}", words.trim_end());
            error.help_edit(format!("write `{new}`"), whole, new)
        }
        _ => error.help_edit("write `#`", pair, "#"),
    })
}

/// `fn m -> print m`: a statement where a lambda's expression stands.
fn statement_body(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let word = match site.found? {
        Token::Print => "print",
        Token::Let => "let",
        Token::Assert => "assert",
        Token::For => "for",
        _ => return None,
    };
    if site.previous() != Some(&Token::Arrow) {
        return None;
    }
    let last = site.last_of_statement();
    let new = format!("{{ {} }}", site.text(site.at, last));
    let message = format!("after `->` comes an expression; `{word}` begins a statement");
    Some(site.error(site.span, &message).help_edit(
        format!("statements stand in braces: `{new}`"),
        site.span.to(site.token_span(last)),
        new,
    ))
}

/// `fn a, b = 2 -> e`: only named functions have defaults.
fn lambda_default(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let is_lambda = || {
        site.same_level()
            .any(|i| site.token(i) == Some(&Token::Fn) && site.token(i + 2) != Some(&Token::LParen))
    };
    if site.found != Some(&Token::Eq) || !site.expects("->") || !is_lambda() {
        return None;
    }
    Some(
        site.error(site.span, "the parameters of a lambda have no defaults")
            .help("a named function has them: `fn f(a, b = 2) = a + b`"),
    )
}

/// `lambda x: e`, and `x -> e` without `fn`.
fn lambda(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let word = (0..site.at)
        .rev()
        .chain([site.at])
        .find(|&i| matches!(site.token(i), Some(Token::Ident(name)) if &**name == "lambda"));
    if let Some(word) = word {
        let colon =
            (word + 1..site.ctx.tokens.len()).find(|&i| site.token(i) == Some(&Token::Colon))?;
        let params = if colon > word + 1 {
            site.text(word + 1, colon - 1)
        } else {
            ""
        };
        let new = format!("fn {params} ->");
        return Some(
            site.error(
                site.token_span(word),
                "`lambda` is not a word of this language",
            )
            .help_edit(
                format!("a lambda is `{new} …`"),
                site.token_span(word).to(site.token_span(colon)),
                new,
            ),
        );
    }
    let before = site.at.checked_sub(1)?;
    let Some(Token::Ident(name)) = site.token(before) else {
        return None;
    };
    let start = site.token_span(before).start as usize;
    (site.found == Some(&Token::Arrow)).then(|| {
        site.error(site.span, "`->` cannot stand here").help_edit(
            format!("a lambda begins with `fn`: `fn {name} -> …`"),
            site.ctx.span(start, start),
            "fn ",
        )
    })
}

/// `f"{x}"`.
fn prefixed_string(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let before = site.at.checked_sub(1)?;
    let prefix = matches!(site.token(before), Some(Token::Ident(name)) if name.len() <= 2);
    let string = matches!(site.found, Some(Token::Str(_)));
    (prefix && string && site.touching(before, site.at)).then(|| {
        let span = site.token_span(before);
        site.error(
            span,
            "strings have no prefix; each holds expressions in braces",
        )
        .help_edit("leave it out", span, "")
    })
}

/// `W: [H, D] ~ glorot` and `let W: [H, D] ~ glorot` among the members of a model.
fn weight(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let is_model = |open: usize| {
        let end = |token: &Token| matches!(token, Token::Newline | Token::LBrace);
        let mut before = (0..open).rev().map_while(|i| site.token(i));
        before.by_ref().take_while(|token| !end(token)).last() == Some(&Token::Model)
    };
    if !site.open.is_some_and(is_model) {
        return None;
    }
    let first = site.first_of_statement();
    let error = site.error(
        site.token_span(first),
        "what is trained is declared with `param`",
    );
    let help = "a member of a model begins with `param`, `let` or `fn`";
    match (site.token(first)?, site.found?) {
        (Token::Ident(_), Token::Colon) if first + 1 == site.at => {
            let start = site.token_span(first).start as usize;
            let before = site.ctx.span(start, start);
            Some(
                error
                    .note(help)
                    .help_edit("write `param` before it", before, "param "),
            )
        }
        (Token::Let, Token::Tilde) => {
            let word = site.token_span(first);
            Some(
                error
                    .note(help)
                    .help_edit("write `param` for `let`", word, "param"),
            )
        }
        _ => None,
    }
}

/// `x[:n]` and `x[:-1]`, whose colon alone is a whole axis.
fn leading_colon(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let before = site.at.checked_sub(1)?;
    let opener = site.token(before.checked_sub(1)?)?;
    let open = site.open.and_then(|open| site.token(open));
    let slice = site.token(before) == Some(&Token::Colon)
        && matches!(opener, Token::LBracket | Token::Comma)
        && open == Some(&Token::LBracket)
        && !site.found.is_some_and(is_closer);
    slice.then(|| {
        site.error(site.token_span(before), "a slice is written with `..`")
            .help_edit(
                "write `..b`; the end is excluded",
                site.token_span(before),
                "..",
            )
    })
}

/// A `:` where other languages have one.
fn colon(site: &Site<'_, '_>) -> Option<Diagnostic> {
    if site.found != Some(&Token::Colon) {
        return None;
    }
    let first = site.first_of_statement();
    let open = site.open.and_then(|open| site.token(open));
    let named = matches!(site.previous(), Some(Token::Ident(_)));
    if let (Some(Token::LBracket), Some(end)) = (open, site.at.checked_sub(1)) {
        let slice = site.token(end) != Some(&Token::Colon);
        let error = site.error(site.span, "a slice is written with `..`");
        return Some(if slice && site.token(site.at + 1) != Some(&Token::Colon) {
            error.help_edit("write `a..b`; the end is excluded", site.span, "..")
        } else {
            error.help("`x[1..4]` has no step; `reverse(x)` turns round, `x[2 * (0..n)]` gathers")
        });
    }
    if site.expects("{") && matches!(site.token(first), Some(Token::If | Token::For)) {
        let head = match site.previous() {
            Some(Token::Else) => "else",
            _ => site.text(first, site.at - 1),
        };
        return Some(
            site.error(site.span, "a block stands in braces, not behind a colon")
                .help(format!("write `{head} {{ … }}`")),
        );
    }
    if site.expects("->") && site.expects("=") {
        let typed = (site.at..site.ctx.tokens.len())
            .take_while(|&i| site.token(i) != Some(&Token::Newline))
            .any(|i| site.token(i) == Some(&Token::Eq));
        let (message, new) = if typed {
            ("the type of a result stands behind `->`", " ->")
        } else {
            (
                "the body of a function stands behind `=`, or in braces",
                " =",
            )
        };
        return Some(site.error(site.span, message).help_edit(
            format!("write `{}`", new.trim()),
            site.span,
            new,
        ));
    }
    if let Some(default) = default_before_type(site) {
        return Some(default);
    }
    let value = site.open.and_then(|open| open.checked_sub(1));
    let value = value.and_then(|before| site.token(before));
    if open == Some(&Token::LBrace) && !value.is_some_and(Token::ends_expression) {
        return Some(record(site));
    }
    if named && (site.expects("=") || open == Some(&Token::LParen)) {
        return Some(
            site.error(site.span, "a name gets its value with `=`")
                .help_edit("write `=`", site.span, " ="),
        );
    }
    None
}

/// `x = 1.0: real`.
fn default_before_type(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let name = site.at.checked_sub(3)?;
    let simple = matches!(
        (
            site.token(name),
            site.token(name + 1),
            site.token(site.at + 1)
        ),
        (
            Some(Token::Ident(_)),
            Some(Token::Eq),
            Some(Token::Ident(_))
        )
    );
    simple.then(|| {
        let new = format!(
            "{}: {} = {}",
            site.text(name, name),
            site.text(site.at + 1, site.at + 1),
            site.text(name + 2, name + 2)
        );
        site.error(site.span, "the type stands before the default")
            .help_edit(
                format!("write `{new}`"),
                site.token_span(name).to(site.token_span(site.at + 1)),
                new,
            )
    })
}

/// `{mu: 0.0, sigma: 1.0}`.
fn record(site: &Site<'_, '_>) -> Diagnostic {
    let error = site.error(
        site.span,
        "a record is written in parentheses: `(mu = 0.0, sigma = 1.0)`",
    );
    let Some(open) = site.open else { return error };
    let mut new = String::from("(");
    let mut end = site.token_span(open).end as usize;
    for i in open + 1..site.ctx.tokens.len() {
        let span = site.token_span(i);
        let gap = site.ctx.text.get(end..span.start as usize).unwrap_or("");
        let text = match site.token(i) {
            Some(Token::Colon) if matches!(site.token(i - 1), Some(Token::Ident(_))) => " =",
            Some(Token::RBrace) => {
                new.push(')');
                let whole = site.token_span(open).to(span);
                return error.help_edit(format!("write `{new}`"), whole, new);
            }
            Some(Token::LBrace | Token::Colon | Token::Newline) | None => break,
            Some(_) => site.text(i, i),
        };
        new.push_str(gap);
        new.push_str(text);
        end = span.end as usize;
    }
    error.help("there is no mapping from keys to values: a record has names")
}

/// `a if c else b`, `c ? a : b`, `a + if c then b else c`.
fn conditional(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let mark = match site.found {
        Some(Token::If) => Token::Else,
        Some(Token::Question) => Token::Colon,
        _ => return None,
    };
    let start = site
        .same_level()
        .take_while(|&i| !matches!(site.token(i), Some(Token::Eq | Token::Comma | Token::Print)))
        .last()?;
    let last = site.last_of_statement();
    let after = site.previous().is_some_and(Token::wants_operand);
    let next = (site.at + 1..last)
        .filter_map(|i| site.token(i))
        .find(|token| matches!(token, Token::Then | Token::Else | Token::If));
    if after && mark == Token::Else && next == Some(&Token::Then) {
        // `1 + if c then a else b`: written as it should be, but in the place of an operand.
        let new = format!(
            "{} ({})",
            site.text(start, site.at - 1),
            site.text(site.at, last)
        );
        let span = site.token_span(start).to(site.token_span(last));
        return Some(
            site.error(
                site.span,
                "a choice within an expression stands in parentheses",
            )
            .help_edit(format!("write `{new}`"), span, new),
        );
    }
    let error = site.error(site.span, "a choice is written `if c then a else b`");
    let Some(second) = (site.at + 2..last).find(|&i| site.token(i) == Some(&mark)) else {
        return Some(error);
    };
    let (one, two, three) = (
        site.text(start, site.at - 1),
        site.text(site.at + 1, second - 1),
        site.text(second + 1, last),
    );
    let new = match mark {
        Token::Else => format!("if {two} then {one} else {three}"),
        _ => format!("if {one} then {two} else {three}"),
    };
    let span = site.token_span(start).to(site.token_span(last));
    Some(error.help_edit(format!("write `{new}`"), span, new))
}

/// `fn f(x) 2 * x`, `fn f(x) -> 2 * x`, and a body that ends where it begins.
fn body(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let function = site.token(first) == Some(&Token::Fn);
    let ends = matches!(site.found, None | Some(Token::Newline));
    if function && site.expects("{") && site.expects("->") && !ends {
        let at = site.span.start as usize;
        return Some(
            site.error(
                site.span,
                "the body of a function stands behind `=`, or in braces",
            )
            .help_edit("write `=` before it", site.ctx.span(at, at), "= "),
        );
    }
    if function && site.expects("{") && ends {
        let error = site.error(site.span, "the body of this function is missing");
        let arrow = (first..site.at)
            .rev()
            .find(|&i| site.token(i) == Some(&Token::Arrow));
        let after =
            arrow.filter(|&i| i + 2 < site.at || matches!(site.token(i + 1), Some(Token::Int(_))));
        return Some(match after {
            Some(arrow) => error.help_edit(
                "behind `->` stands the type of the result; write `=` before the body",
                site.token_span(arrow),
                "=",
            ),
            None => error.help("it stands behind `=`, or in braces: `fn f(x) { … }`"),
        });
    }
    let begun = site.previous() == Some(&Token::Eq) && site.found.is_none();
    (begun && function).then(|| {
        site.error(site.span, "the body of this function is missing")
            .help("several statements stand in braces: `fn f(x) { … }`")
    })
}

/// `let a, b = (1, 2)`, `a, b = b, a`, `let p = 1, 2`, `let lr = 0,5`.
fn comma(site: &Site<'_, '_>) -> Option<Diagnostic> {
    if site.found != Some(&Token::Comma)
        || site
            .open
            .is_some_and(|o| site.token(o) != Some(&Token::LBrace))
    {
        return None;
    }
    let (before, last) = (site.at.checked_sub(1)?, site.last_of_statement());
    let numbers = (site.token(before), site.token(site.at + 1));
    if let (Some(Token::Int(_)), Some(Token::Int(_))) = numbers
        && site.touching(before, site.at)
        && site.touching(site.at, site.at + 1)
    {
        let new = site.text(before, site.at + 1).replace(',', ".");
        return Some(
            site.error(site.span, "a number has a point, not a comma")
                .help_edit(
                    format!("write `{new}`"),
                    site.token_span(before).to(site.token_span(site.at + 1)),
                    new,
                ),
        );
    }
    let first = site.first_of_statement();
    let equals = (first..last).find(|&i| site.token(i) == Some(&Token::Eq))?;
    let another = matches!(
        (site.token(site.at + 1), site.token(site.at + 2)),
        (Some(Token::Ident(_)), Some(Token::Eq))
    );
    if another && equals < site.at && site.token(first) == Some(&Token::Let) {
        let name = site.text(site.at + 1, site.at + 1);
        return Some(site.error(site.span, "a `let` names one value").help_edit(
            format!("write `let {name} = …` on a line of its own"),
            site.span,
            "\nlet",
        ));
    }
    let error = site.error(site.span, "a tuple is written in parentheses");
    if equals < site.at {
        let new = format!("({})", site.text(equals + 1, last));
        let span = site.token_span(equals + 1).to(site.token_span(last));
        return Some(error.help_edit(format!("write `{new}`"), span, new));
    }
    let start = first + usize::from(site.token(first) == Some(&Token::Let));
    let left = format!("({})", site.text(start, equals - 1));
    let comma = (equals..last).any(|i| site.token(i) == Some(&Token::Comma));
    let bracketed = is_closer(site.token(last)?);
    let right = match comma && !bracketed {
        true => format!("({})", site.text(equals + 1, last)),
        false => site.text(equals + 1, last).to_string(),
    };
    let new = format!("{left} = {right}");
    let span = site.token_span(start).to(site.token_span(last));
    let named = site.text(first, start - usize::from(start > first));
    let shown = match start > first {
        true => format!("{named} {new}"),
        false => new.clone(),
    };
    Some(error.help_edit(format!("write `{shown}`"), span, new))
}

/// `2 in x` as a condition.
fn membership(site: &Site<'_, '_>) -> Option<Diagnostic> {
    if site.found != Some(&Token::In) || !site.expects("then") && !site.expects("==") {
        return None;
    }
    let before = site.at.checked_sub(1)?;
    let simple = |i: usize| {
        matches!(
            site.token(i),
            Some(Token::Ident(_) | Token::Int(_) | Token::Str(_))
        )
    };
    let error = site.error(site.span, "`in` belongs to `for`; it does not ask");
    // A word is asked of a vocabulary.
    if let (Some(Token::Str(_)), Some(Token::Ident(name))) =
        (site.previous(), site.token(site.at + 1))
    {
        let new = format!("{name}.has({})", site.text(before, before));
        let span = site.token_span(before).to(site.token_span(site.at + 1));
        return Some(error.help_edit(format!("a vocabulary is asked by `{new}`"), span, new));
    }
    Some(if simple(before) && simple(site.at + 1) {
        let new = format!(
            "any({} == {})",
            site.text(site.at + 1, site.at + 1),
            site.text(before, before)
        );
        let span = site.token_span(before).to(site.token_span(site.at + 1));
        error.help_edit(format!("write `{new}`"), span, new)
    } else {
        error.help("`any(xs == x)` asks whether x is among them")
    })
}

/// `use data, nn`.
fn several_modules(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let listed = site.found == Some(&Token::Comma) && site.token(first) == Some(&Token::Use);
    listed.then(|| {
        site.error(site.span, "a `use` takes one module").help_edit(
            "each stands on a line of its own",
            site.span,
            "\nuse",
        )
    })
}

/// `use "data"`.
fn quoted_module(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let quoted = matches!(site.found, Some(Token::Str(_))) && site.previous() == Some(&Token::Use);
    let name = site.ctx.slice(site.span).trim_matches('"');
    let word = name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
    (quoted && word && !name.is_empty()).then(|| {
        site.error(site.span, "a module is named without quotes")
            .help_edit(format!("write `use {name}`"), site.span, name)
    })
}

/// `test { … }`.
fn nameless_test(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let before = site.at.checked_sub(1)?;
    let test = matches!(site.token(before), Some(Token::Ident(name)) if &**name == "test");
    (test && site.found == Some(&Token::LBrace)).then(|| {
        let end = site.token_span(before).end as usize;
        site.error(site.token_span(before), "a test has a name")
            .help_edit(
                "write `test \"…\" { … }`",
                site.ctx.span(end, end),
                " \"it works\"",
            )
    })
}

/// `@name` above a function.
fn decorator(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let begins = site.found == Some(&Token::At) && site.first_of_statement() == site.at;
    (begins && site.expects_operand()).then(|| {
        site.error(site.span, "a statement does not begin with `@`")
            .help("there are no decorators: `@` is the product of matrices")
    })
}

/// `"it went "well""`.
fn inner_quote(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let before = site.at.checked_sub(1)?;
    let string = matches!(site.token(before), Some(Token::Str(_)));
    let word = matches!(site.found, Some(Token::Ident(_)));
    (string && word && site.touching(before, site.at)).then(|| {
        site.error(site.span, "the string before this has ended")
            .help("a quote inside a string is written `\\\"`")
    })
}

/// `from optim import adam`.
fn from_import(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let word = |i: usize, wanted: &str| matches!(site.token(i), Some(Token::Ident(name)) if &**name == wanted);
    let found = word(first, "from") && (first..site.ctx.tokens.len()).any(|i| word(i, "import"));
    let library = site.text(first + 1, first + 1);
    found.then(|| {
        if super::pieces::LIBRARIES.contains(&&*library) {
            let error = site.error(
                site.token_span(first),
                "`from` is not a word of this language",
            );
            return super::pieces::without_libraries(site, error);
        }
        let new = format!("use {library}");
        let span = site
            .token_span(first)
            .to(site.token_span(site.last_of_statement()));
        site.error(
            site.token_span(first),
            "`from` is not a word of this language",
        )
        .help_edit(
            format!("write `{new}`; its names are used as `module.name`"),
            span,
            new,
        )
    })
}

/// `real x = 3.0`.
fn type_before_name(site: &Site<'_, '_>) -> Option<Diagnostic> {
    const TYPES: [&str; 9] = [
        "real", "float", "double", "int", "bool", "str", "auto", "val", "Tensor",
    ];
    let first = site.first_of_statement();
    let typed = matches!(site.token(first), Some(Token::Ident(name)) if TYPES.contains(&&**name));
    let named = first + 1 == site.at && matches!(site.found, Some(Token::Ident(_)));
    (typed && named && site.token(site.at + 1) == Some(&Token::Eq)).then(|| {
        site.error(
            site.token_span(first),
            "a value is named with `let`, its type behind the name",
        )
        .help_edit("write `let`", site.token_span(first), "let")
    })
}
