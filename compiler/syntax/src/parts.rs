//! What expressions and statements are made of, one level down: for walks that look for something
//! wherever it stands. Which names are bound where is known to `free.rs`.

use crate::ast::*;

/// A piece of an expression or statement.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// An expression.
    Expr(&'a Expr),
    /// A statement.
    Stmt(&'a Stmt),
}

impl<'a> Part<'a> {
    /// The pieces of this one, in the order of the text. Defaults of parameters count, types do not.
    pub fn parts(self) -> Vec<Part<'a>> {
        match self {
            Part::Expr(expr) => of_expr(expr),
            Part::Stmt(stmt) => of_stmt(stmt),
        }
    }
}

/// The pieces of a named function: the defaults of its parameters, then its body.
pub fn of_function(def: &FnDef) -> Vec<Part<'_>> {
    let defaults = def.params.iter().filter_map(|param| param.default.as_ref());
    exprs(defaults.chain([&def.body]))
}

fn exprs<'a>(all: impl IntoIterator<Item = &'a Expr>) -> Vec<Part<'a>> {
    all.into_iter().map(Part::Expr).collect()
}

fn of_expr(expr: &Expr) -> Vec<Part<'_>> {
    match &expr.kind {
        ExprKind::Name(_)
        | ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Bool(_)
        | ExprKind::Hidden
        | ExprKind::Placeholder
        | ExprKind::Error => Vec::new(),
        ExprKind::Str(parts) => exprs(parts.iter().filter_map(|part| match part {
            StrPart::Text(_) => None,
            StrPart::Value { expr, .. } => Some(&**expr),
        })),
        ExprKind::Block(stmts) => stmts.iter().map(Part::Stmt).collect(),
        ExprKind::Paren(e)
        | ExprKind::Transpose(e)
        | ExprKind::Neg(e)
        | ExprKind::Not(e)
        | ExprKind::Field { base: e, .. }
        | ExprKind::TupleField { base: e, .. } => exprs([&**e]),
        ExprKind::Tuple(items) | ExprKind::List(items) => exprs(items),
        ExprKind::Record(fields) => exprs(fields.iter().map(|(_, field)| field)),
        ExprKind::Comprehension {
            element,
            iter,
            condition,
            ..
        } => exprs(
            [&**element, &**iter]
                .into_iter()
                .chain(condition.as_deref()),
        ),
        ExprKind::Call { callee, args } => exprs(
            [&**callee]
                .into_iter()
                .chain(args.iter().map(|arg| &arg.value)),
        ),
        ExprKind::Index { base, indices } => {
            let indices = indices.iter().flat_map(|index| match index {
                Index::At(expr) => vec![expr],
                Index::Slice { start, end, .. } => start.iter().chain(end).collect(),
                Index::All(_) => Vec::new(),
            });
            exprs([&**base].into_iter().chain(indices))
        }
        ExprKind::Binary { left, right, .. } => exprs([&**left, &**right]),
        ExprKind::Range { start, end } => exprs([&**start, &**end]),
        ExprKind::Pipe { value, into } => exprs([&**value, &**into]),
        ExprKind::Lambda(lambda) => exprs([&lambda.body]),
        ExprKind::If {
            condition,
            then,
            otherwise,
        } => exprs([&**condition, &**then, &**otherwise]),
        ExprKind::Train {
            model,
            data,
            settings,
        } => exprs(
            [&**model, &**data]
                .into_iter()
                .chain(settings.iter().map(|(_, value)| value)),
        ),
    }
}

fn of_stmt(stmt: &Stmt) -> Vec<Part<'_>> {
    match &stmt.kind {
        StmtKind::Let {
            init: Init::Value(expr) | Init::Draw(expr),
            ..
        }
        | StmtKind::Expr(expr) => exprs([expr]),
        StmtKind::Fn(def) => of_function(def),
        StmtKind::For { iter, body, .. } => [Part::Expr(iter)]
            .into_iter()
            .chain(body.iter().map(Part::Stmt))
            .collect(),
        StmtKind::Print(all) => exprs(all),
        StmtKind::Assert { condition, message } => exprs([condition].into_iter().chain(message)),
        StmtKind::If {
            condition,
            then,
            otherwise,
        } => {
            let otherwise = otherwise.iter().flat_map(|body| body.iter());
            let branches = then.iter().chain(otherwise).map(Part::Stmt);
            [Part::Expr(condition)]
                .into_iter()
                .chain(branches)
                .collect()
        }
        StmtKind::Assign { value, .. } => exprs([value]),
        StmtKind::Error => Vec::new(),
    }
}
