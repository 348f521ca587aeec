//! The rules that need more than one node: `_` stands for the piped value, and only there.

use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// Reports what is misplaced in an item.
pub fn item(item: &Item, out: &mut Vec<Diagnostic>) {
    let mut check = Check { out };
    match &item.kind {
        ItemKind::Use { .. } | ItemKind::Precision(_) => {}
        ItemKind::Model(model) => {
            check.params(&model.params);
            for item in &model.items {
                match item {
                    ModelItem::Param { ty, init, .. } => {
                        check.opt_ty(ty.as_ref());
                        if let Some(Init::Value(e) | Init::Draw(e)) = init {
                            check.expr(e);
                        }
                    }
                    ModelItem::Let { ty, value, .. } => {
                        check.opt_ty(ty.as_ref());
                        check.expr(value);
                    }
                    ModelItem::Fn(def) => check.def(def),
                    ModelItem::Error(_) => {}
                }
            }
        }
        ItemKind::Test { body, .. } => check.stmts(body),
        ItemKind::Stmt(stmt) => check.stmt(stmt),
    }
}

/// Reports what is misplaced in an expression.
pub fn expr(e: &Expr, out: &mut Vec<Diagnostic>) {
    Check { out }.expr(e);
}

struct Check<'o> {
    out: &'o mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Let {
                ty,
                init: Init::Value(e) | Init::Draw(e),
                ..
            } => {
                self.opt_ty(ty.as_ref());
                self.expr(e);
            }
            StmtKind::Fn(def) => self.def(def),
            StmtKind::For { iter, body, .. } => {
                self.expr(iter);
                self.stmts(body);
            }
            StmtKind::Print(values) => values.iter().for_each(|e| self.expr(e)),
            StmtKind::Assert { condition, message } => {
                self.expr(condition);
                message.iter().for_each(|e| self.expr(e));
            }
            StmtKind::If {
                condition,
                then,
                otherwise,
            } => {
                self.expr(condition);
                self.stmts(then);
                otherwise.iter().for_each(|body| self.stmts(body));
            }
            StmtKind::Expr(e) | StmtKind::Assign { value: e, .. } => self.expr(e),
            StmtKind::Error => {}
        }
    }

    fn def(&mut self, def: &FnDef) {
        self.params(&def.params);
        self.opt_ty(def.result.as_ref());
        self.expr(&def.body);
    }

    fn params(&mut self, params: &[Param]) {
        for param in params {
            self.opt_ty(param.ty.as_ref());
            param.default.iter().for_each(|e| self.expr(e));
        }
    }

    fn opt_ty(&mut self, ty: Option<&TypeExpr>) {
        if let Some(ty) = ty {
            self.ty(ty);
        }
    }

    fn ty(&mut self, ty: &TypeExpr) {
        match &ty.kind {
            TypeKind::Int(_) | TypeKind::Path(_) | TypeKind::Error => {}
            TypeKind::Index { args, .. } | TypeKind::Shape(args) | TypeKind::Group(args) => {
                for arg in args {
                    match arg {
                        TypeArg::Type(t) | TypeArg::Named(_, t) => self.ty(t),
                        TypeArg::Rest(_) => {}
                    }
                }
            }
            TypeKind::Call { args, .. } => args.iter().for_each(|a| self.expr(&a.value)),
            TypeKind::Maybe(t) => self.ty(t),
            TypeKind::Comprehension { element, iter, .. } => {
                self.ty(element);
                self.expr(iter);
            }
            TypeKind::Binary { left, right, .. } | TypeKind::Arrow(left, right) => {
                self.ty(left);
                self.ty(right);
            }
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Name(_)
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Hidden
            | ExprKind::Error => {}
            ExprKind::Placeholder => self.misplaced(e.span),
            ExprKind::Str(parts) => {
                for part in parts {
                    match part {
                        StrPart::Text(_) => {}
                        StrPart::Value { expr, .. } => self.expr(expr),
                    }
                }
            }
            ExprKind::Block(stmts) => self.stmts(stmts),
            ExprKind::Paren(e) | ExprKind::Transpose(e) | ExprKind::Neg(e) | ExprKind::Not(e) => {
                self.expr(e)
            }
            ExprKind::Tuple(items) | ExprKind::List(items) => {
                items.iter().for_each(|e| self.expr(e))
            }
            ExprKind::Record(fields) => fields.iter().for_each(|(_, e)| self.expr(e)),
            ExprKind::Comprehension {
                element,
                iter,
                condition,
                ..
            } => {
                self.expr(element);
                self.expr(iter);
                condition.iter().for_each(|e| self.expr(e));
            }
            ExprKind::Call { callee, args } => {
                self.expr(callee);
                args.iter().for_each(|a| self.expr(&a.value));
            }
            ExprKind::Index { base, indices } => {
                self.expr(base);
                self.indices(indices);
            }
            ExprKind::Field { base, .. } | ExprKind::TupleField { base, .. } => self.expr(base),
            ExprKind::Binary { left, right, .. } => {
                self.expr(left);
                self.expr(right);
            }
            ExprKind::Range { start, end } => {
                self.expr(start);
                self.expr(end);
            }
            ExprKind::Pipe { value, into } => {
                self.expr(value);
                let mut places = Vec::new();
                self.piped(into, &mut places);
                if let [first, second, ..] = places[..] {
                    self.out.push(
                        Diagnostic::error("E0121", second, "`_` stands twice for the piped value")
                            .label(first, "first here")
                            .help("name the value with `let`, or pipe it into `fn x -> …` with a name"),
                    );
                }
            }
            ExprKind::Lambda(lambda) => {
                self.params(&lambda.params);
                self.expr(&lambda.body);
            }
            ExprKind::If {
                condition,
                then,
                otherwise,
            } => {
                self.expr(condition);
                self.expr(then);
                self.expr(otherwise);
            }
            ExprKind::Train {
                model,
                data,
                settings,
            } => {
                self.expr(model);
                self.expr(data);
                settings.iter().for_each(|(_, e)| self.expr(e));
            }
        }
    }

    fn indices(&mut self, indices: &[Index]) {
        for index in indices {
            match index {
                Index::At(e) => self.expr(e),
                Index::Slice { start, end, .. } => {
                    start.iter().chain(end).for_each(|e| self.expr(e))
                }
                Index::All(_) => {}
            }
        }
    }

    /// Right of `|>`: `_` may be an argument of the calls on the way to the value.
    fn piped(&mut self, e: &Expr, places: &mut Vec<Span>) {
        match &e.kind {
            ExprKind::Call { callee, args } => {
                self.piped(callee, places);
                for arg in args {
                    match arg.value.kind {
                        ExprKind::Placeholder => places.push(arg.value.span),
                        _ => self.expr(&arg.value),
                    }
                }
            }
            ExprKind::Index { base, indices } => {
                self.piped(base, places);
                self.indices(indices);
            }
            ExprKind::Field { base, .. }
            | ExprKind::TupleField { base, .. }
            | ExprKind::Transpose(base) => {
                self.piped(base, places);
            }
            _ => self.expr(e),
        }
    }

    fn misplaced(&mut self, span: Span) {
        self.out.push(
            Diagnostic::error("E0121", span, "`_` is no value here")
                .help("right of `|>` it is an argument that takes the piped value, as in `xs |> map(f, _)`; in patterns it binds nothing"),
        );
    }
}
