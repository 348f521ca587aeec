//! The public face of the parser: text in, tree and messages out, never a failure.

use crate::ast::*;
use crate::builder::{self, Ctx, Entry};
use crate::check;
use crate::diagnostic::Diagnostic;
use crate::lexer::{self, Comment, Lexed, Spanned};
use crate::span::{FileId, Span};
use crate::token::Token;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{Cell, RefCell};
use std::ops::Range;

#[allow(clippy::all, missing_docs, rust_2018_idioms, unused_qualifications)]
mod grammar {
    include!(concat!(env!("OUT_DIR"), "/grammar.rs"));
}

/// A tree deeper than this is refused, so that no later stage has to fear for its stack.
/// Counted are brackets and operators inside each other, a little pessimistically.
pub const MAX_DEPTH: usize = 256;

/// What the REPL has read so far.
#[derive(Clone, Debug)]
pub enum ReplInput {
    /// Something to run, with what is wrong about it.
    Complete(Script, Vec<Diagnostic>),
    /// A bracket is open or an operator waits for its right side.
    Incomplete,
}

/// Parses a file. What does not parse is an `Error` node and at least one diagnostic.
pub fn parse_script(file: FileId, text: &str) -> (Script, Vec<Diagnostic>) {
    let (script, diagnostics, _) = parse_script_with_comments(file, text);
    (script, diagnostics)
}

/// [`parse_script`], and the comments that a formatter keeps.
pub fn parse_script_with_comments(
    file: FileId,
    text: &str,
) -> (Script, Vec<Diagnostic>, Vec<Comment>) {
    if let Some(refusal) = too_large(file, text) {
        return (Script::default(), vec![refusal], Vec::new());
    }
    let mut lexed = lexer::lex(file, text, 0..text.len());
    let comments = std::mem::take(&mut lexed.comments);
    let (script, diagnostics) = script_of(file, text, lexed, true);
    (script, diagnostics, comments)
}

/// Parses what was typed. `if … else …` on its own is an expression here: the REPL shows it.
/// `text` is the lines so far, joined by newlines, without one at the end: after an empty line
/// an operator's right side is no longer waited for; an open bracket is.
pub fn parse_repl(file: FileId, text: &str) -> ReplInput {
    if let Some(refusal) = too_large(file, text) {
        return ReplInput::Complete(Script::default(), vec![refusal]);
    }
    let lexed = lexer::lex(file, text, 0..text.len());
    let empty_line = text
        .rsplit_once('\n')
        .is_some_and(|(_, line)| line.trim().is_empty());
    let waits = !empty_line
        && lexed
            .tokens
            .last()
            .is_some_and(|t| !t.token.ends_expression());
    if lexed.diagnostics.is_empty() && (lexed.open_at_end || waits) {
        return ReplInput::Incomplete;
    }
    let (script, diagnostics) = script_of(file, text, lexed, false);
    ReplInput::Complete(script, diagnostics)
}

/// Parses one expression that is the whole text.
pub fn parse_expr(file: FileId, text: &str) -> Result<Expr, Vec<Diagnostic>> {
    if let Some(refusal) = too_large(file, text) {
        return Err(vec![refusal]);
    }
    let (expr, mut diagnostics) = expr_in(file, text, 0..text.len(), 0);
    check::expr(&expr, &mut diagnostics);
    if diagnostics.is_empty() {
        Ok(expr)
    } else {
        Err(diagnostics)
    }
}

/// Spans are 32 bits wide.
fn too_large(file: FileId, text: &str) -> Option<Diagnostic> {
    (text.len() >= u32::MAX as usize).then(|| {
        Diagnostic::error(
            "E0101",
            Span::new(file, 0, 0),
            "this file is too large for a script",
        )
    })
}

fn script_of(
    file: FileId,
    text: &str,
    lexed: Lexed,
    file_rules: bool,
) -> (Script, Vec<Diagnostic>) {
    let mut script = Script {
        items: Vec::new(),
        doc: lexed.script_doc.clone(),
    };
    let mut diagnostics = lexed.diagnostics;
    for range in lexed.items {
        let mut item = item_of(
            file,
            text,
            &lexed.tokens[range],
            &lexed.docs,
            &mut diagnostics,
        );
        if file_rules && let ItemKind::Stmt(stmt) = item.kind {
            item.kind = ItemKind::Stmt(builder::valueless_stmt(stmt));
        }
        if let ItemKind::Precision(elem) = &item.kind {
            diagnostics.extend(misplaced_precision(
                elem,
                item.span,
                script.items.is_empty(),
            ));
        }
        script.items.push(item);
    }
    // What the parser makes of an operator that the lexer has refused tells nothing more.
    let refused: FxHashSet<u32> = (diagnostics.iter())
        .filter(|d| d.code == "E0106")
        .map(|d| d.span().start)
        .collect();
    diagnostics.retain(|d| d.code != "E0110" || !refused.contains(&d.span().start));
    diagnostics.sort_by_key(|d| d.span().start);
    (script, diagnostics)
}

/// `precision` is no reserved word: only a line of two names is read so, which nothing else is.
fn precision(file: FileId, tokens: &[Spanned]) -> Option<Item> {
    let [word, elem] = tokens else { return None };
    let (Token::Ident(said), Token::Ident(name)) = (&word.token, &elem.token) else {
        return None;
    };
    (said.as_ref() == "precision").then(|| Item {
        kind: ItemKind::Precision(Ident {
            name: name.clone(),
            span: Span::new(file, elem.start, elem.end),
        }),
        span: Span::new(file, word.start, elem.end),
        doc: None,
    })
}

fn misplaced_precision(elem: &Ident, span: Span, first: bool) -> Option<Diagnostic> {
    if !matches!(elem.name.as_ref(), "f32" | "f64") {
        return Some(
            Diagnostic::error(
                "E0129",
                elem.span,
                format!("there is no precision `{}`", elem.name),
            )
            .help_edit("`f64` has 16 digits, `f32` has 7", elem.span, "f64"),
        );
    }
    (!first).then(|| {
        Diagnostic::error(
            "E0129",
            span,
            "`precision` stands at the top of a script, before everything else",
        )
        .note("it says what every real of the script is")
    })
}

fn item_of(
    file: FileId,
    text: &str,
    tokens: &[Spanned],
    docs: &FxHashMap<usize, Name>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Item {
    if let Some(item) = precision(file, tokens) {
        return item;
    }
    let ctx = context(file, text, tokens, docs, 0);
    let entry = run(&ctx, Token::StartItem);
    let mut found = ctx.diagnostics.into_inner();
    let item = match entry {
        Some(Entry::Item(item)) => {
            check::item(&item, &mut found);
            *item
        }
        Some(Entry::Expr(_)) | None => {
            let span = match tokens {
                [first, .., last] => Span::new(file, first.start, last.end),
                [only] => Span::new(file, only.start, only.end),
                [] => Span::new(file, 0, 0),
            };
            Item {
                kind: ItemKind::Stmt(Stmt {
                    kind: StmtKind::Error,
                    span,
                }),
                span,
                doc: None,
            }
        }
    };
    diagnostics.append(&mut found);
    item
}

/// Parses the bytes `range` as an expression; used for whole texts and for `{e}` in strings.
pub(crate) fn expr_in(
    file: FileId,
    text: &str,
    range: Range<usize>,
    string_depth: usize,
) -> (Expr, Vec<Diagnostic>) {
    let mut lexed = lexer::lex(file, text, range.clone());
    let mut diagnostics = std::mem::take(&mut lexed.diagnostics);
    let ctx = context(file, text, &lexed.tokens, &lexed.docs, string_depth);
    let entry = run(&ctx, Token::StartExpr);
    diagnostics.extend(ctx.diagnostics.into_inner());
    let expr = match entry {
        Some(Entry::Expr(expr)) => expr,
        Some(Entry::Item(_)) | None => {
            let span = Span::new(file, range.start, range.end);
            if diagnostics.is_empty() {
                diagnostics.push(Diagnostic::error("E0110", span, "expected an expression"));
            }
            Expr {
                kind: ExprKind::Error,
                span,
            }
        }
    };
    (expr, diagnostics)
}

fn context<'c>(
    file: FileId,
    text: &'c str,
    tokens: &'c [Spanned],
    docs: &'c FxHashMap<usize, Name>,
    string_depth: usize,
) -> Ctx<'c> {
    Ctx {
        file,
        text,
        tokens,
        docs,
        string_depth,
        diagnostics: RefCell::new(Vec::new()),
        errors: Cell::new(0),
    }
}

/// One parser call; `None` when nothing could be recovered (reported).
fn run(ctx: &Ctx<'_>, marker: Token) -> Option<Entry> {
    if let Some(deep) = too_deep(ctx) {
        ctx.report(deep);
        return None;
    }
    let start = ctx.tokens.first().map_or(0, |t| t.start);
    let tokens = ctx.tokens.iter().map(|t| (t.start, t.token.clone(), t.end));
    let marked = std::iter::once((start, marker, start)).chain(tokens);
    match grammar::StartParser::new().parse(ctx, marked) {
        Ok(entry) => Some(entry),
        Err(error) => {
            ctx.syntax_error(error);
            None
        }
    }
}

/// Bounds the depth of the tree before there is one: in each bracket the operators since the
/// last comma or statement end, summed over the open brackets.
fn too_deep(ctx: &Ctx<'_>) -> Option<Diagnostic> {
    let mut levels = vec![0usize];
    let mut operators = 0;
    for t in ctx.tokens {
        let open = levels.len() > 1;
        let level = levels.last_mut()?;
        if t.token.deepens() {
            *level += 1;
            operators += 1;
        }
        match t.token {
            Token::LParen | Token::LBracket | Token::LBrace => levels.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if open => {
                operators -= levels.pop().unwrap_or(0);
            }
            Token::Comma | Token::Newline => operators -= std::mem::take(level),
            _ => {}
        }
        if operators > MAX_DEPTH {
            return Some(
                Diagnostic::error(
                    "E0125",
                    ctx.span(t.start, t.end),
                    "this is nested too deeply",
                )
                .note(format!(
                    "more than {MAX_DEPTH} brackets and operators stand inside each other here"
                ))
                .help("name parts of it with `let`"),
            );
        }
    }
    None
}
