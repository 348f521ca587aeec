//! What the grammar's actions call: nodes with spans, the rules that are about one node
//! (records against tuples, `??` beside arithmetic, assignment targets), and the report of
//! syntax errors.

use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::explain;
use crate::lexer::Spanned;
use crate::parser;
use crate::span::{FileId, Span};
use crate::token::{RawPart, Token};
use lalrpop_util::{ErrorRecovery, ParseError};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What one parser call knows.
pub struct Ctx<'c> {
    /// The file.
    pub file: FileId,
    /// The whole text of the file.
    pub text: &'c str,
    /// The tokens of this call, without the marker.
    pub tokens: &'c [Spanned],
    /// Doc comments by the offset of the token below.
    pub docs: &'c FxHashMap<usize, Name>,
    /// How many strings this call is inside.
    pub string_depth: usize,
    /// What was found wrong.
    pub diagnostics: RefCell<Vec<Diagnostic>>,
    /// Syntax errors so far, reported or not.
    pub errors: Cell<usize>,
}

/// Syntax errors beyond these are mostly consequences of the first.
const MAX_ERRORS_PER_ITEM: usize = 3;

/// Strings inside expressions of strings inside …
const MAX_STRING_DEPTH: usize = 8;

/// What a parser call gives.
pub enum Entry {
    /// A top-level item.
    Item(Box<Item>),
    /// An expression.
    Expr(Expr),
}

/// A list whose entries were boxed while the parser held them.
pub fn unboxed<T>(list: Vec<Box<T>>) -> Vec<T> {
    list.into_iter().map(|entry| *entry).collect()
}

/// What stands between parentheses.
pub struct Parens {
    /// Its parts.
    pub args: Vec<Arg>,
    /// `(a,)`, or nothing at all.
    pub trailing_comma: bool,
}

impl Ctx<'_> {
    /// A span of this file.
    pub fn span(&self, l: usize, r: usize) -> Span {
        Span::new(self.file, l, r.max(l))
    }

    /// The doc comment above the token at `l`.
    pub fn doc(&self, l: usize) -> Option<Name> {
        self.docs.get(&l).cloned()
    }

    /// A node.
    pub fn expr(&self, kind: ExprKind, l: usize, r: usize) -> Expr {
        Expr {
            kind,
            span: self.span(l, r),
        }
    }

    /// A type node.
    pub fn ty(&self, kind: TypeKind, l: usize, r: usize) -> TypeExpr {
        TypeExpr {
            kind,
            span: self.span(l, r),
        }
    }

    /// An item; its doc comment is the one above its first token.
    pub fn item(&self, kind: ItemKind, l: usize, r: usize) -> Item {
        Item {
            kind,
            span: self.span(l, r),
            doc: self.doc(l),
        }
    }

    /// `left op right`, the operator at `l..r`.
    pub fn binary(&self, op: BinaryOp, l: usize, r: usize, left: Expr, right: Expr) -> Expr {
        let span = left.span.to(right.span);
        let op_span = self.span(l, r);
        Expr {
            kind: ExprKind::Binary {
                op,
                op_span,
                left: Box::new(left),
                right: Box::new(right),
            },
            span,
        }
    }

    /// Adds a message.
    pub fn report(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// The text of a span of this file.
    pub fn slice(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or("")
    }

    /// Reports a recovered error; gives the span of what was skipped.
    pub fn broken(&self, recovery: ErrorRecovery<usize, Token, ()>, l: usize, r: usize) -> Span {
        let end = recovery
            .dropped_tokens
            .last()
            .map_or(r, |&(_, _, end)| end.max(r));
        self.syntax_error(recovery.error);
        self.span(l.min(end), end)
    }

    /// Reports a syntax error, unless the lexer has spoken of that place or enough was said.
    pub fn syntax_error(&self, error: ParseError<usize, Token, ()>) {
        self.errors.set(self.errors.get() + 1);
        if self.errors.get() > MAX_ERRORS_PER_ITEM {
            return;
        }
        let (at, expected) = match error {
            ParseError::InvalidToken { location } => (self.index_of(location), Vec::new()),
            ParseError::UnrecognizedEof { expected, .. } => (self.tokens.len(), expected),
            ParseError::UnrecognizedToken {
                token: (start, _, _),
                expected,
            } => (self.index_of(start), expected),
            ParseError::ExtraToken {
                token: (start, _, _),
            } => (self.index_of(start), Vec::new()),
            ParseError::User { error: () } => return,
        };
        if let Some(diagnostic) = explain::syntax_error(self, at, &expected) {
            self.report(diagnostic);
        }
    }

    fn index_of(&self, start: usize) -> usize {
        // A newline token is empty and may share its offset with no other token's start.
        self.tokens.partition_point(|t| t.start < start)
    }

    /// The pieces of a string, expressions parsed.
    pub fn string(&self, parts: &[RawPart]) -> Vec<StrPart> {
        let piece = |part: &RawPart| match part {
            RawPart::Text(text) => StrPart::Text(text.clone()),
            RawPart::Value { start, end, format } => {
                let expr = if self.string_depth >= MAX_STRING_DEPTH {
                    self.report(Diagnostic::error(
                        "E0125",
                        self.span(*start, *end),
                        "strings are nested too deeply here",
                    ));
                    self.expr(ExprKind::Error, *start, *end)
                } else {
                    let (expr, found) =
                        parser::expr_in(self.file, self.text, *start..*end, self.string_depth + 1);
                    self.diagnostics.borrow_mut().extend(found);
                    expr
                };
                StrPart::Value {
                    expr: Box::new(expr),
                    format: format.clone(),
                }
            }
        };
        parts.iter().map(piece).collect()
    }
}

/// `{ … }` as a value: what stands before its last statement has none.
pub fn block(ctx: &Ctx<'_>, mut stmts: Vec<Stmt>, l: usize, r: usize) -> Expr {
    let last = stmts.pop();
    let mut stmts = valueless(stmts);
    stmts.extend(last);
    ctx.expr(ExprKind::Block(Rc::new(stmts)), l, r)
}

/// Statements whose values nobody takes: an `if … else …` among them is a statement.
pub fn valueless(stmts: Vec<Stmt>) -> Vec<Stmt> {
    stmts.into_iter().map(valueless_stmt).collect()
}

/// One of [`valueless`].
pub fn valueless_stmt(stmt: Stmt) -> Stmt {
    let Stmt { kind, span } = stmt;
    let kind = match kind {
        StmtKind::Expr(Expr {
            kind:
                ExprKind::If {
                    condition,
                    then,
                    otherwise,
                },
            span: inner,
        }) if matches!(then.kind, ExprKind::Block(_)) => {
            let otherwise = match *otherwise {
                Expr {
                    kind: ExprKind::Block(stmts),
                    ..
                } => valueless(owned(stmts)),
                other => {
                    let span = other.span;
                    vec![valueless_stmt(Stmt {
                        kind: StmtKind::Expr(other),
                        span,
                    })]
                }
            };
            match then.kind {
                ExprKind::Block(stmts) => StmtKind::If {
                    condition: *condition,
                    then: Rc::new(valueless(owned(stmts))),
                    otherwise: Some(Rc::new(otherwise)),
                },
                kind => StmtKind::Expr(Expr { kind, span: inner }),
            }
        }
        kind => kind,
    };
    Stmt { kind, span }
}

fn owned(stmts: Rc<Vec<Stmt>>) -> Vec<Stmt> {
    Rc::try_unwrap(stmts).unwrap_or_else(|shared| (*shared).clone())
}

/// `if c { … }`, with a nested one after `else`.
pub fn if_stmt(condition: Expr, then: Expr, otherwise: Option<Stmt>) -> StmtKind {
    let then = match then.kind {
        ExprKind::Block(stmts) => valueless(owned(stmts)),
        kind => vec![Stmt {
            span: then.span,
            kind: StmtKind::Expr(Expr {
                kind,
                span: then.span,
            }),
        }],
    };
    StmtKind::If {
        condition,
        then: Rc::new(then),
        otherwise: otherwise.map(|s| Rc::new(vec![s])),
    }
}

/// `if` as a value.
pub fn if_expr(
    ctx: &Ctx<'_>,
    condition: Expr,
    then: Expr,
    otherwise: Expr,
    l: usize,
    r: usize,
) -> Expr {
    let kind = ExprKind::If {
        condition: Box::new(condition),
        then: Box::new(then),
        otherwise: Box::new(otherwise),
    };
    ctx.expr(kind, l, r)
}

/// `fn x -> e`.
pub fn lambda(ctx: &Ctx<'_>, params: Vec<Param>, body: Expr, l: usize, r: usize) -> Expr {
    let span = ctx.span(l, r);
    Expr {
        kind: ExprKind::Lambda(Rc::new(Lambda { params, body, span })),
        span,
    }
}

/// `test "name" { … }`.
pub fn test(ctx: &Ctx<'_>, parts: &[RawPart], body: Vec<Stmt>) -> ItemKind {
    let mut name = String::new();
    for part in parts {
        match part {
            RawPart::Text(text) => name.push_str(text),
            RawPart::Value { start, end, .. } => {
                ctx.report(
                    Diagnostic::error(
                        "E0103",
                        ctx.span(*start, *end),
                        "the name of a test is plain text",
                    )
                    .help("`\\{` writes a brace"),
                );
            }
        }
    }
    ItemKind::Test {
        name: name.into(),
        body: Rc::new(valueless(body)),
    }
}

/// A member written without `fn`; only four names may be.
pub fn member(
    ctx: &Ctx<'_>,
    name: Ident,
    params: Vec<Param>,
    result: Option<TypeExpr>,
    body: Expr,
    l: usize,
    r: usize,
) -> FnDef {
    if !["encoder", "decoder", "loss", "apply"].contains(&&*name.name) {
        let message = format!("a member called `{}` is written with `fn`", name.name);
        let at = ctx.span(name.span.start as usize, name.span.start as usize);
        ctx.report(
            Diagnostic::error("E0126", name.span, message)
                .help_edit(format!("write `fn {}(…)`", name.name), at, "fn ")
                .note("only `encoder`, `decoder`, `loss` and `apply` are written bare"),
        );
    }
    FnDef {
        name,
        sizes: Vec::new(),
        params,
        result,
        body,
        doc: ctx.doc(l),
        span: ctx.span(l, r),
    }
}

fn mixed(ctx: &Ctx<'_>, span: Span, named: Span, plain: Span) {
    ctx.report(
        Diagnostic::error("E0123", span, "positions and names do not mix in one value")
            .label(named, "named")
            .label(plain, "not named")
            .help("`(a, b)` is a tuple, `(a = 1, b = 2)` a record"),
    );
}

/// `(e)`, a tuple or a record.
pub fn parens(ctx: &Ctx<'_>, parens: Parens, l: usize, r: usize) -> Expr {
    let Parens {
        mut args,
        trailing_comma,
    } = parens;
    let named = args.iter().find_map(|a| a.name.as_ref().map(|n| n.span));
    let plain = args.iter().find(|a| a.name.is_none()).map(|a| a.value.span);
    let kind = match (named, plain) {
        (Some(named), Some(plain)) => {
            mixed(ctx, ctx.span(l, r), named, plain);
            ExprKind::Error
        }
        (Some(_), None) => {
            let fields: Vec<(Ident, Expr)> = args
                .into_iter()
                .filter_map(|a| Some((a.name?, a.value)))
                .collect();
            twice(ctx, fields.iter().map(|(name, _)| name), "field");
            ExprKind::Record(fields)
        }
        (None, _) if args.len() == 1 && !trailing_comma => match args.pop() {
            Some(arg) => ExprKind::Paren(Box::new(arg.value)),
            None => ExprKind::Error,
        },
        (None, _) => ExprKind::Tuple(args.into_iter().map(|a| a.value).collect()),
    };
    ctx.expr(kind, l, r)
}

/// `f(…)`: named arguments come last, each name once.
pub fn call(ctx: &Ctx<'_>, callee: Expr, args: Vec<Arg>, l: usize, r: usize) -> Expr {
    twice(ctx, args.iter().filter_map(|a| a.name.as_ref()), "argument");
    let first_named = args
        .iter()
        .position(|a| a.name.is_some())
        .unwrap_or(args.len());
    if let Some(late) = args[first_named..].iter().find(|a| a.name.is_none())
        && let Some(name) = &args[first_named].name
    {
        ctx.report(
            Diagnostic::error(
                "E0124",
                late.value.span,
                "an argument without a name stands after a named one",
            )
            .label(name.span, "named here")
            .help("arguments without a name come first"),
        );
    }
    ctx.expr(
        ExprKind::Call {
            callee: Box::new(callee),
            args,
        },
        l,
        r,
    )
}

fn twice<'i>(ctx: &Ctx<'_>, names: impl Iterator<Item = &'i Ident>, what: &str) {
    let mut seen: FxHashMap<&str, Span> = FxHashMap::default();
    for name in names {
        if let Some(first) = seen.insert(&name.name, name.span) {
            ctx.report(
                Diagnostic::error(
                    "E0127",
                    name.span,
                    format!("the {what} `{}` is given twice", name.name),
                )
                .label(first, "first here"),
            );
        }
    }
}

/// `(a, b)`, `(mu = m)`; `(a)` is `a`.
pub fn pattern(ctx: &Ctx<'_>, parts: Vec<(Option<Ident>, Pattern)>, l: usize, r: usize) -> Pattern {
    let span = ctx.span(l, r);
    let named = parts.iter().find_map(|(n, _)| n.as_ref().map(|n| n.span));
    let plain = parts
        .iter()
        .find(|(n, _)| n.is_none())
        .map(|(_, p)| p.span());
    match (named, plain) {
        (Some(named), Some(plain)) => {
            mixed(ctx, span, named, plain);
            Pattern::Wildcard(span)
        }
        (Some(_), None) => Pattern::Record(
            parts
                .into_iter()
                .filter_map(|(n, p)| Some((n?, p)))
                .collect(),
            span,
        ),
        (None, _) => {
            let mut inner: Vec<Pattern> = parts.into_iter().map(|(_, p)| p).collect();
            match inner.pop() {
                Some(only) if inner.is_empty() => only,
                last => {
                    inner.extend(last);
                    Pattern::Tuple(inner, span)
                }
            }
        }
    }
}

/// `a..b` in brackets is a slice.
pub fn index(e: Expr) -> Index {
    match e.kind {
        ExprKind::Range { start, end } => Index::Slice {
            start: Some(*start),
            end: Some(*end),
            span: e.span,
        },
        kind => Index::At(Expr { kind, span: e.span }),
    }
}

/// `a ?? b`; arithmetic beside it must be in parentheses, as it could bind either way.
pub fn fill(ctx: &Ctx<'_>, l: usize, r: usize, left: Expr, right: Expr) -> Expr {
    if let ExprKind::Binary {
        op,
        left: a,
        right: b,
        ..
    } = &left.kind
        && is_arithmetic(*op)
    {
        let (a, b, c, op) = (
            ctx.slice(a.span),
            ctx.slice(b.span),
            ctx.slice(right.span),
            op.symbol(),
        );
        ambiguous(
            ctx,
            l,
            r,
            left.span,
            op,
            &format!("({a} {op} {b}) ?? {c}"),
            &format!("{a} {op} ({b} ?? {c})"),
        );
    }
    // `x ?? a + b ?? c` has its arithmetic in the left of the inner one.
    if let ExprKind::Binary {
        op,
        left: b,
        right: c,
        ..
    } = &right.kind
        && is_arithmetic(*op)
    {
        let (a, b, c, op) = (
            ctx.slice(left.span),
            ctx.slice(b.span),
            ctx.slice(c.span),
            op.symbol(),
        );
        ambiguous(
            ctx,
            l,
            r,
            right.span,
            op,
            &format!("{a} ?? ({b} {op} {c})"),
            &format!("({a} ?? {b}) {op} {c}"),
        );
    }
    ctx.binary(BinaryOp::Fill, l, r, left, right)
}

fn is_arithmetic(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::FloorDiv
            | BinaryOp::MatMul
    )
}

fn ambiguous(ctx: &Ctx<'_>, l: usize, r: usize, operand: Span, op: &str, one: &str, other: &str) {
    ctx.report(
        Diagnostic::error(
            "E0120",
            ctx.span(l, r),
            format!("`??` beside `{op}` can be read in two ways"),
        )
        .label(operand, format!("`{op}` without parentheses"))
        .help(format!("write `{one}`, or `{other}`")),
    );
}

/// `p = e`.
pub fn assign(ctx: &Ctx<'_>, target: Expr, value: Expr) -> StmtKind {
    match to_pattern(&target) {
        Ok(target) => StmtKind::Assign { target, value },
        Err(culprit) => {
            let error = Diagnostic::error("E0122", culprit.span, "this cannot be assigned to");
            ctx.report(match &culprit.kind {
                ExprKind::Field { name, .. } => error.help(format!(
                    "values do not change: `with(m, {} = v)` is a changed copy",
                    name.name
                )),
                ExprKind::Index { .. } => {
                    error.help("values do not change: `put(x, i, v)` is a changed copy")
                }
                ExprKind::Call { .. } => {
                    let start = Span {
                        end: culprit.span.start,
                        ..culprit.span
                    };
                    error.help_edit("a function is defined with `fn f(x) = …`", start, "fn ")
                }
                _ => error.help("`=` rebinds a name or a tuple of names; comparison is `==`"),
            });
            StmtKind::Error
        }
    }
}

fn to_pattern(e: &Expr) -> Result<Pattern, &Expr> {
    Ok(match &e.kind {
        ExprKind::Name(name) => Pattern::Name(Ident {
            name: name.clone(),
            span: e.span,
        }),
        ExprKind::Placeholder => Pattern::Wildcard(e.span),
        ExprKind::Paren(inner) => to_pattern(inner)?,
        ExprKind::Tuple(parts) => Pattern::Tuple(
            parts.iter().map(to_pattern).collect::<Result<_, _>>()?,
            e.span,
        ),
        ExprKind::Record(fields) => {
            let fields: Result<Vec<_>, _> = fields
                .iter()
                .map(|(n, v)| Ok((n.clone(), to_pattern(v)?)))
                .collect();
            Pattern::Record(fields?, e.span)
        }
        _ => return Err(e),
    })
}
