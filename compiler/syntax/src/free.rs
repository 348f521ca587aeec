//! Free names: what a piece of a script mentions and does not bind itself. The one place that knows
//! which constructs bind names, and how far they reach.

use crate::ast::*;
use crate::span::Span;
use rustc_hash::FxHashSet;

/// A name that is mentioned where nothing of the same piece binds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Free {
    /// The name.
    pub name: Name,
    /// Where it is mentioned.
    pub span: Span,
    /// `field` of `name.field`, if that follows at once.
    pub field: Option<Ident>,
    /// Mentioned as a type or size: it may be a size that the type introduces.
    pub in_type: bool,
}

/// The free names of an item, in the order of the text. What the item defines is not free in it.
pub fn of_item(item: &Item) -> Vec<Free> {
    walk(item, Span::NONE).free
}

/// The free names of a function, its own among them.
pub fn of_function(def: &FnDef) -> Vec<Free> {
    let mut walk = Walk::looking_at(Span::NONE);
    walk.function(def);
    walk.free
}

/// Whether an expression mentions one of some names that it does not bind itself.
pub fn mentions_any(expr: &Expr, names: &[Name]) -> bool {
    let mut walk = Walk::looking_at(Span::NONE);
    walk.expr(expr);
    walk.free.iter().any(|free| names.contains(&free.name))
}

/// The names that the item itself makes visible where it mentions the name at `span`.
pub fn visible_at(item: &Item, span: Span) -> Vec<Name> {
    walk(item, span).visible
}

fn walk(item: &Item, look_at: Span) -> Walk {
    let mut walk = Walk::looking_at(look_at);
    walk.scoped(|walk| match &item.kind {
        ItemKind::Use { .. } | ItemKind::Precision(_) => {}
        ItemKind::Model(def) => walk.model(def),
        ItemKind::Test { body, .. } => walk.block(body),
        ItemKind::Stmt(stmt) => walk.block(std::slice::from_ref(stmt)),
    });
    walk
}

struct Walk {
    scopes: Vec<FxHashSet<Name>>,
    free: Vec<Free>,
    look_at: Span,
    visible: Vec<Name>,
}

impl Walk {
    fn looking_at(look_at: Span) -> Walk {
        Walk {
            scopes: Vec::new(),
            free: Vec::new(),
            look_at,
            visible: Vec::new(),
        }
    }

    fn scoped(&mut self, inside: impl FnOnce(&mut Walk)) {
        self.scopes.push(FxHashSet::default());
        inside(self);
        self.scopes.pop();
    }

    fn bind(&mut self, name: &Name) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.clone());
        }
    }

    fn mention(&mut self, name: &Name, span: Span, field: Option<&Ident>, in_type: bool) {
        if span == self.look_at {
            self.visible = self.scopes.iter().flatten().cloned().collect();
        }
        if !self.scopes.iter().any(|scope| scope.contains(name)) {
            self.free.push(Free {
                name: name.clone(),
                span,
                field: field.cloned(),
                in_type,
            });
        }
    }

    fn pattern(&mut self, pattern: &Pattern) {
        for ident in pattern.names() {
            self.bind(&ident.name);
        }
    }

    /// Members see each other and what the model takes, in any order.
    fn model(&mut self, def: &ModelDef) {
        self.bind(&def.name.name);
        self.scoped(|walk| {
            walk.params(&def.params);
            for item in &def.items {
                match item {
                    ModelItem::Param { names, .. } => {
                        names.iter().for_each(|name| walk.bind(&name.name));
                    }
                    ModelItem::Let { pattern, .. } => walk.pattern(pattern),
                    ModelItem::Fn(def) => walk.bind(&def.name.name),
                    ModelItem::Error(_) => {}
                }
            }
            for item in &def.items {
                match item {
                    ModelItem::Param { ty, init, .. } => {
                        ty.iter().for_each(|ty| walk.ty(ty));
                        init.iter().for_each(|init| walk.init(init));
                    }
                    ModelItem::Let { ty, value, .. } => {
                        ty.iter().for_each(|ty| walk.ty(ty));
                        walk.expr(value);
                    }
                    ModelItem::Fn(def) => walk.function(def),
                    ModelItem::Error(_) => {}
                }
            }
        });
    }

    fn function(&mut self, def: &FnDef) {
        self.scoped(|walk| {
            for size in &def.sizes {
                walk.type_arg(size);
            }
            walk.params(&def.params);
            def.result.iter().for_each(|ty| walk.ty(ty));
            walk.expr(&def.body);
        });
    }

    fn params(&mut self, params: &[Param]) {
        for param in params {
            param.ty.iter().for_each(|ty| self.ty(ty));
            param.default.iter().for_each(|default| self.expr(default));
            self.pattern(&param.pattern);
        }
    }

    fn init(&mut self, init: &Init) {
        match init {
            Init::Value(e) | Init::Draw(e) => self.expr(e),
        }
    }

    /// Statements of one scope: functions are seen by all of them, other names from their
    /// statement on.
    fn block(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            if let StmtKind::Fn(def) = &stmt.kind {
                self.bind(&def.name.name);
            }
        }
        stmts.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Let { pattern, ty, init } => {
                ty.iter().for_each(|ty| self.ty(ty));
                self.init(init);
                self.pattern(pattern);
            }
            StmtKind::Fn(def) => self.function(def),
            StmtKind::For {
                pattern,
                iter,
                body,
            } => {
                self.expr(iter);
                self.scoped(|walk| {
                    walk.pattern(pattern);
                    walk.block(body);
                });
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
                self.scoped(|walk| walk.block(then));
                if let Some(otherwise) = otherwise {
                    self.scoped(|walk| walk.block(otherwise));
                }
            }
            StmtKind::Expr(e) => self.expr(e),
            // What is assigned to must exist; that is reported as such.
            StmtKind::Assign { value, .. } => self.expr(value),
            StmtKind::Error => {}
        }
    }

    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        exprs.into_iter().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Name(name) => self.mention(name, e.span, None, false),
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Hidden
            | ExprKind::Placeholder
            | ExprKind::Error => {}
            ExprKind::Str(parts) => {
                for part in parts {
                    match part {
                        StrPart::Text(_) => {}
                        StrPart::Value { expr, .. } => self.expr(expr),
                    }
                }
            }
            ExprKind::Block(stmts) => self.scoped(|walk| walk.block(stmts)),
            ExprKind::Paren(inner)
            | ExprKind::Transpose(inner)
            | ExprKind::Neg(inner)
            | ExprKind::Not(inner)
            | ExprKind::TupleField { base: inner, .. } => self.expr(inner),
            ExprKind::Tuple(parts) | ExprKind::List(parts) => self.exprs(parts),
            ExprKind::Record(fields) => self.exprs(fields.iter().map(|(_, value)| value)),
            ExprKind::Comprehension {
                element,
                pattern,
                iter,
                condition,
            } => {
                self.expr(iter);
                self.scoped(|walk| {
                    walk.pattern(pattern);
                    walk.exprs(condition.iter().map(|condition| &**condition));
                    walk.expr(element);
                });
            }
            ExprKind::Call { callee, args } => {
                self.expr(callee);
                self.exprs(args.iter().map(|arg| &arg.value));
            }
            ExprKind::Index { base, indices } => {
                self.expr(base);
                for index in indices {
                    match index {
                        Index::At(at) => self.expr(at),
                        Index::Slice { start, end, .. } => self.exprs(start.iter().chain(end)),
                        Index::All(_) => {}
                    }
                }
            }
            ExprKind::Field { base, name } => match &base.kind {
                ExprKind::Name(first) => self.mention(first, base.span, Some(name), false),
                _ => self.expr(base),
            },
            ExprKind::Binary { left, right, .. } => self.exprs([&**left, &**right]),
            ExprKind::Range { start, end } => self.exprs([&**start, &**end]),
            ExprKind::Pipe { value, into } => self.exprs([&**value, &**into]),
            ExprKind::Lambda(lambda) => self.scoped(|walk| {
                walk.params(&lambda.params);
                walk.expr(&lambda.body);
            }),
            ExprKind::If {
                condition,
                then,
                otherwise,
            } => self.exprs([&**condition, &**then, &**otherwise]),
            ExprKind::Train {
                model,
                data,
                settings,
            } => {
                self.exprs([&**model, &**data]);
                self.exprs(settings.iter().map(|(_, value)| value));
            }
        }
    }

    /// A name in a type may be a size that the type introduces: it is mentioned, then bound.
    fn ty(&mut self, ty: &TypeExpr) {
        match &ty.kind {
            TypeKind::Int(_) | TypeKind::Error => {}
            TypeKind::Path(path) => self.type_path(path, true),
            TypeKind::Index { path, args } => {
                self.type_path(path, true);
                args.iter().for_each(|arg| self.type_arg(arg));
            }
            TypeKind::Call { path, args } => {
                self.type_path(path, false);
                self.exprs(args.iter().map(|arg| &arg.value));
            }
            TypeKind::Shape(args) | TypeKind::Group(args) => {
                args.iter().for_each(|arg| self.type_arg(arg));
            }
            TypeKind::Maybe(inner) => self.ty(inner),
            TypeKind::Comprehension {
                element,
                pattern,
                iter,
            } => {
                self.expr(iter);
                self.scoped(|walk| {
                    walk.pattern(pattern);
                    walk.ty(element);
                });
            }
            TypeKind::Binary { left, right, .. } | TypeKind::Arrow(left, right) => {
                self.ty(left);
                self.ty(right);
            }
        }
    }

    /// The path of a type or size, or of a model that is called.
    fn type_path(&mut self, path: &[Ident], in_type: bool) {
        let [first, rest @ ..] = path else { return };
        self.mention(&first.name, first.span, rest.first(), in_type);
        if in_type && rest.is_empty() {
            self.bind(&first.name);
        }
    }

    fn type_arg(&mut self, arg: &TypeArg) {
        match arg {
            TypeArg::Type(ty) | TypeArg::Named(_, ty) => self.ty(ty),
            TypeArg::Rest(name) => self.bind(&name.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileId, parse_script};

    fn free(text: &str) -> String {
        let (script, errors) = parse_script(FileId(0), text);
        assert!(errors.is_empty(), "{errors:?}");
        let names = script.items.iter().flat_map(of_item);
        let names = names.filter(|free| !free.in_type).map(|free| free.name);
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_binds_and_how_far() {
        assert_eq!(free("fn f(x, y = z) = x + y + a"), "z a");
        assert_eq!(free("fn f(x: [n, m]) = n + m + x"), "");
        assert_eq!(free("let a = a"), "a");
        assert_eq!(free("fn f(x) = f(x - 1)"), "");
        assert_eq!(free("let b = [i * c for (i, _) in xs if i > d]"), "xs d c");
        assert_eq!(free("let b = { let c = 1; let d = c + e; d } + d"), "e d");
        assert_eq!(
            free("for i in 0..n { print i, \"{i} {k:.3}\" }\nprint i"),
            "n k i"
        );
        assert_eq!(free("let g = (fn x, (y, w) -> x + y + w + v)(u.x)"), "v u");
        assert_eq!(
            free(
                "model M(D, act = relu) {\n  param W: [H, D] ~ glorot(D)\n  let H = D + k\n  \
                  encoder(x: [D]) = act(W @ x + other(b))\n  fn other(y) = y\n}"
            ),
            "relu glorot k b"
        );
        assert_eq!(
            free("test \"t\" {\n  let a = 1\n  assert a == b, m\n}"),
            "b m"
        );
        assert_eq!(
            free("let m = train M(n) on xs { epochs = e, validate = xs[a..b, :] }"),
            "M n xs e xs a b"
        );
    }
}
