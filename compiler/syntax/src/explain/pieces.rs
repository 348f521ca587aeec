//! Pieces of statements as other languages write them.

use super::{Site, is_closer};
use crate::diagnostic::Diagnostic;
use crate::token::Token;

/// The first of these slips that the place shows.
pub(super) fn explain(site: &Site<'_, '_>) -> Option<Diagnostic> {
    nothing_to_print(site)
        .or_else(|| mark_behind_value(site))
        .or_else(|| import_of_tensors(site))
        .or_else(|| starred(site))
        .or_else(|| set(site))
        .or_else(|| function_with_let(site))
        .or_else(|| dotted_operator(site))
        .or_else(|| not_in(site))
        .or_else(|| two_clauses(site))
        .or_else(|| spaced(site))
        .or_else(|| three_quotes(site))
        .or_else(|| several_at_once(site))
        .or_else(|| angled_type(site))
        .or_else(|| equals_in_walk(site))
        .or_else(|| range_with_colon(site))
        .or_else(|| ellipsis(site))
        .or_else(|| axes_in_brackets(site))
        .or_else(|| settings_with(site))
        .or_else(|| braces_of_lambda(site))
        .or_else(|| inheritance(site))
}

/// `[x^2 for x = 1..10]`.
fn equals_in_walk(site: &Site<'_, '_>) -> Option<Diagnostic> {
    (site.found == Some(&Token::Eq) && site.expects("in")).then(|| {
        site.error(site.span, "what is walked stands behind `in`")
            .help_edit("write `in`", site.span, "in")
    })
}

/// `let x = 0:10`, `let x = 0:0.1:1`.
fn range_with_colon(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let value = matches!(
        site.previous(),
        Some(Token::Int(_) | Token::Float(_) | Token::RParen | Token::Ident(_))
    );
    let named = (first..site.at).any(|i| site.token(i) == Some(&Token::Eq));
    if site.found != Some(&Token::Colon) || !value || !named || site.open.is_some() {
        return None;
    }
    let error = site.error(site.span, "a range is written with `..`");
    let end = site.last_of_statement();
    let stepped = (site.at + 1..end).any(|i| site.token(i) == Some(&Token::Colon));
    Some(match stepped {
        true => error.help(
            "`a..b` counts the ints from a to b - 1; `linspace(a, b, n)` are n numbers from a to b",
        ),
        false => error.help_edit("`a..b` ends before b", site.span, ".."),
    })
}

/// `x[..., 0]`.
fn ellipsis(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let before = site.at.checked_sub(1)?;
    let dots = site.found == Some(&Token::Dot)
        && site.previous() == Some(&Token::DotDot)
        && site.touching(before, site.at);
    dots.then(|| {
        let whole = site.token_span(before).to(site.span);
        site.error(whole, "there is no `...`")
            .help("each axis has its index, a whole one is `:`, as in `x[:, 0]`")
    })
}

/// `W: [H][D]`.
fn axes_in_brackets(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let open = (0..site.at)
        .rev()
        .find(|&i| site.token(i) == Some(&Token::LBracket))?;
    let typed = matches!(
        open.checked_sub(1).and_then(|i| site.token(i)),
        Some(Token::Colon | Token::Arrow)
    );
    let next = site.found == Some(&Token::LBracket) && site.previous() == Some(&Token::RBracket);
    (typed && next).then(|| {
        let between = site.token_span(site.at - 1).to(site.span);
        site.error(site.span, "a tensor has one pair of brackets")
            .help_edit(
                "its sizes stand in them with commas: `[n, m]`",
                between,
                ", ",
            )
    })
}

/// `train m on x with { epochs = 2 }`.
fn settings_with(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let named =
        matches!(site.found, Some(Token::Ident(name)) if matches!(&**name, "with" | "using"));
    let training = site.same_level().any(|i| site.token(i) == Some(&Token::On));
    (named && training && site.token(site.at + 1) == Some(&Token::LBrace)).then(|| {
        let next = site.token_span(site.at + 1).start as usize;
        let word = site.ctx.span(site.span.start as usize, next);
        site.error(
            site.span,
            "the settings of `train` stand in braces behind the data",
        )
        .help_edit("leave the word out", word, "")
    })
}

/// `fn(x) { x * 2 }`.
fn braces_of_lambda(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let closed = site.found == Some(&Token::LBrace) && site.previous() == Some(&Token::RParen);
    if !closed || !site.expects("->") {
        return None;
    }
    let open = (0..site.at)
        .rev()
        .find(|&i| site.token(i) == Some(&Token::LParen))?;
    let word = open.checked_sub(1)?;
    (site.token(word) == Some(&Token::Fn)).then(|| {
        let params = match open + 1 < site.at - 1 {
            true => site.text(open + 1, site.at - 2),
            false => "_",
        };
        let whole = site.token_span(word).to(site.token_span(site.at - 1));
        let new = format!("fn {params} ->");
        site.error(site.span, "the body of a lambda stands behind `->`")
            .help_edit(format!("write `{new} …`"), whole, new)
    })
}

/// `model A(D) extends B {`.
fn inheritance(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let named = matches!(site.found, Some(Token::Ident(name)) if &**name == "extends");
    let head = named || site.found == Some(&Token::Colon);
    let model = site.token(site.first_of_statement()) == Some(&Token::Model);
    (head && model && site.expects("{")).then(|| {
        site.error(site.span, "a model has no parent")
            .help("it holds other models instead: `param base: Base(D)`, and calls their members")
    })
}

/// `let a = b = 1`.
fn several_at_once(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let bound = site.token(first) == Some(&Token::Let);
    let names = first + usize::from(bound);
    let is_name = |i: usize| matches!(site.token(i), Some(Token::Ident(_)));
    let equals = |i: usize| site.token(i) == Some(&Token::Eq);
    let chain = site.at == names + 3 && equals(site.at) && equals(names + 1);
    if !chain || !is_name(names) || !is_name(names + 2) {
        return None;
    }
    let mut last = site.at;
    while is_name(last + 1) && equals(last + 2) {
        last += 2;
    }
    let end = site.last_of_statement();
    if end <= last {
        return None;
    }
    // The last name gets the value, each one before it that of the next.
    let word = if bound { "let " } else { "" };
    let mut statements = vec![format!("{word}{}", site.text(last - 1, end))];
    for name in (names..last - 1)
        .step_by(2)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let (own, next) = (site.text(name, name), site.text(name + 2, name + 2));
        statements.push(format!("{word}{own} = {next}"));
    }
    let new = statements.join("; ");
    let whole = site.token_span(first).to(site.token_span(end));
    let error = site.error(
        site.span,
        "`=` gives no value: each name has a statement of its own",
    );
    Some(error.help_edit(format!("write `{new}`"), whole, new))
}

/// `x: Vec<f32>`, `x: Tensor<Tensor<int>>`.
fn angled_type(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let name = |i: usize| match site.token(i) {
        Some(Token::Ident(name)) => Some(&**name),
        _ => None,
    };
    let start = site.at.checked_sub(1)?;
    let behind = start.checked_sub(1).and_then(|i| site.token(i));
    if site.found != Some(&Token::Lt)
        || name(start).is_none()
        || !matches!(behind, Some(Token::Colon | Token::Arrow))
    {
        return None;
    }
    let (mut inner, mut axes) = (start, 0);
    while site.token(inner + 1) == Some(&Token::Lt) && name(inner + 2).is_some() {
        (inner, axes) = (inner + 2, axes + 1);
    }
    let end = inner + axes;
    let closed = (inner + 1..=end).all(|i| site.token(i) == Some(&Token::Gt));
    let entry = match name(inner)? {
        "real" | "float" | "f32" | "float32" | "Float" | "double" | "Float32" => Some(""),
        "f64" | "float64" | "Float64" => Some("f64"),
        "int" | "i32" | "i64" | "usize" | "Int" | "int64" | "Int64" => Some("int"),
        "bool" | "Bool" => Some("bool"),
        _ => None,
    };
    let error = site.error(site.span, "types have no `<…>`");
    let help = "a tensor's type is made of its sizes: `[n]` of reals, `int[n]`, `[n, m]`; `[..s]` is any shape";
    Some(match (entry, closed && axes > 0) {
        (Some(entry), true) => {
            let sizes = ["n", "m", "k", "l"].get(..axes)?.join(", ");
            let whole = site.token_span(start).to(site.token_span(end));
            error.help_edit(help, whole, format!("{entry}[{sizes}]"))
        }
        _ => error.help(help),
    })
}

/// `print` alone.
fn nothing_to_print(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let ends = match site.found {
        None | Some(Token::Newline) => true,
        Some(token) => is_closer(token),
    };
    (site.previous() == Some(&Token::Print) && ends).then(|| {
        let word = site.token_span(site.at - 1);
        site.error(word, "`print` wants something to print")
            .help_edit("an empty line is `print \"\"`", word, "print \"\"")
    })
}

/// `x?`, as one may read the tables of missing entries.
fn mark_behind_value(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let before = site.at.checked_sub(1)?;
    let touches = site.found == Some(&Token::Question) && site.touching(before, site.at);
    let later = (site.at..site.last_of_statement()).any(|i| site.token(i) == Some(&Token::Colon));
    let value = matches!(
        site.previous(),
        Some(Token::Ident(_) | Token::RParen | Token::RBracket)
    );
    (touches && value && !later).then(|| {
        site.error(
            site.span,
            "`?` is a missing entry, it does not stand behind a value",
        )
        .help_edit(
            "a value that may hold some is written like any other",
            site.span,
            "",
        )
        .help("`x ?? 0` fills what is missing, `observed(x)` says what is there")
    })
}

/// What is imported in other languages and is there without that in this one.
pub(super) const LIBRARIES: [&str; 9] = [
    "numpy",
    "torch",
    "jax",
    "tensorflow",
    "keras",
    "math",
    "scipy",
    "pandas",
    "random",
];

/// The help of a statement that imports one of them.
pub(super) fn without_libraries(site: &Site<'_, '_>, error: Diagnostic) -> Diagnostic {
    let line = site
        .token_span(site.first_of_statement())
        .to(site.token_span(site.last_of_statement()));
    error
        .help_edit(
            "leave the line out: tensors and their functions are there",
            line,
            "",
        )
        .help("modules of the library are taken with `use`: `use nn`, `use optim`, `use data`")
}

/// `import numpy as np`.
fn import_of_tensors(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let name = |i: usize| match site.token(i) {
        Some(Token::Ident(name)) => Some(&**name),
        _ => None,
    };
    let known = name(first + 1).is_some_and(|library| LIBRARIES.contains(&library));
    (name(first) == Some("import") && known).then(|| {
        let error = site.error(
            site.token_span(first),
            "`import` is not a word of this language",
        );
        without_libraries(site, error)
    })
}

/// `fn f(*xs)`, `f(*xs)`, `let (a, *rest) = …`.
fn starred(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let stars = matches!(site.found, Some(Token::Star | Token::Caret));
    let opens = matches!(site.previous(), Some(Token::LParen | Token::Comma));
    let named = matches!(
        site.token(site.at + 1),
        Some(Token::Ident(_) | Token::LBracket | Token::LParen)
    );
    (stars && opens && named && site.expects("ID")).then(|| {
        site.error(site.span, "there is no `*` before an argument")
            .help("each name takes one value; many values are one list or tensor: `fn f(xs)`")
    })
}

/// `{1, 2}`.
fn set(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let open = site.open?;
    let braces = site.token(open) == Some(&Token::LBrace) && site.found == Some(&Token::Comma);
    let head = open.checked_sub(1).and_then(|i| site.token(i));
    let operand = matches!(
        head,
        Some(Token::Eq | Token::LParen | Token::Comma | Token::Print)
    );
    if !braces || !operand || site.at != open + 2 {
        return None;
    }
    let error = site.error(site.token_span(open), "a list is written in brackets");
    let close = (open + 1..site.ctx.tokens.len()).find(|&i| {
        site.token(i)
            .is_some_and(|token| is_closer(token) || *token == Token::Newline)
    });
    Some(match close {
        Some(close) if site.token(close) == Some(&Token::RBrace) => {
            let new = format!("[{}]", site.text(open + 1, close - 1));
            let span = site.token_span(open).to(site.token_span(close));
            error.help_edit(format!("write `{new}`"), span, new)
        }
        _ => error.help("write `[1, 2]`"),
    })
}

/// `let f(x) = x + 1`.
fn function_with_let(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let first = site.first_of_statement();
    let named = site.token(first) == Some(&Token::Let) && site.at == first + 2;
    (named && site.found == Some(&Token::LParen)).then(|| {
        let word = site.token_span(first);
        site.error(word, "a function is defined with `fn`")
            .help_edit("write `fn`", word, "fn")
    })
}

/// `a .* b`.
fn dotted_operator(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let dot = site.at.checked_sub(1)?;
    let operator = matches!(
        site.found,
        Some(Token::Star | Token::Slash | Token::Caret | Token::Plus | Token::Minus)
    );
    (operator && site.token(dot) == Some(&Token::Dot) && site.touching(dot, site.at)).then(|| {
        let span = site.token_span(dot).to(site.span);
        let plain = site.text(site.at, site.at).to_string();
        site.error(span, "operators have no point").help_edit(
            format!("`{plain}` works entry by entry; the product of matrices is `@`"),
            span,
            plain,
        )
    })
}

/// `x not in xs`.
fn not_in(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let asks = site.found == Some(&Token::Not) && site.token(site.at + 1) == Some(&Token::In);
    let before = site.at.checked_sub(1)?;
    if !asks {
        return None;
    }
    let span = site.span.to(site.token_span(site.at + 1));
    let error = site.error(span, "`in` belongs to `for`; it does not ask");
    let simple = |i: usize| {
        matches!(
            site.token(i),
            Some(Token::Ident(_) | Token::Int(_) | Token::Str(_))
        )
    };
    let list = site.at + 2;
    Some(match simple(before) && simple(list) {
        true => {
            let new = format!(
                "all({} != {})",
                site.text(list, list),
                site.text(before, before)
            );
            let whole = site.token_span(before).to(site.token_span(list));
            error.help_edit(format!("write `{new}`"), whole, new)
        }
        false => error.help("`all(xs != x)` asks whether x is not among them"),
    })
}

/// `[e for i in a for j in b]`.
fn two_clauses(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let open = site.open.and_then(|open| site.token(open));
    let first = site
        .same_level()
        .any(|i| site.token(i) == Some(&Token::For));
    (site.found == Some(&Token::For) && open == Some(&Token::LBracket) && first).then(|| {
        site.error(site.span, "a comprehension walks one thing")
            .help("a matrix is one in another: `[[i * j for i in a] for j in b]`; `flatten` makes a row of it")
    })
}

/// `[1 2 3]`.
fn spaced(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let number = |token: Option<&Token>| matches!(token, Some(Token::Int(_) | Token::Float(_)));
    let open = site.open.and_then(|open| site.token(open));
    let row = open == Some(&Token::LBracket) && number(site.found) && number(site.previous());
    row.then(|| {
        let start = site.span.start as usize;
        let before = site.ctx.span(start, start);
        site.error(site.span, "entries are separated by commas")
            .help_edit(
                "write `,` between them; a matrix is a list of rows: `[[1, 2], [3, 4]]`",
                before,
                ", ",
            )
    })
}

/// `"""text"""`.
fn three_quotes(site: &Site<'_, '_>) -> Option<Diagnostic> {
    let before = site.at.checked_sub(1)?;
    let empty = site.token_span(before).end - site.token_span(before).start == 2;
    let strings = matches!(
        (site.token(before), site.found),
        (Some(Token::Str(_)), Some(Token::Str(_)))
    );
    (strings && empty && site.touching(before, site.at)).then(|| {
        site.error(
            site.token_span(before),
            "a string has one quote at each end",
        )
        .help("what a function or script does is told above it, behind `##`")
    })
}
