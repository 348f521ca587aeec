//! Statements, blocks and top-level items: what runs when. What a `for` repeats (`rounds`), what
//! patterns bind (`bind`), assertions and unused values have files of their own.

mod assert;
mod bind;
mod rounds;
mod unused;

use crate::declared::Declared;
use crate::error::fail;
use crate::scope::Scope;
use crate::train::concrete_leaves;
use crate::value::{Closure, Code, ModelTemplate, Value};
use crate::{Elaborator, Result};
use aec_syntax::ast::{
    Expr, ExprKind, FnDef, Init, Item, ItemKind, ModelDef, Pattern, Script, Stmt, StmtKind,
    TypeExpr,
};
use aec_syntax::{Diagnostic, Span};
use bind::binds_again;
use std::rc::Rc;

impl Elaborator {
    /// Makes functions and models usable before they are defined.
    pub fn declare(&mut self, script: &Script) -> Result<()> {
        let scope = self.script.clone();
        self.declare_items(script, &scope, "");
        Ok(())
    }

    pub(crate) fn declare_items(&mut self, script: &Script, scope: &Scope, module: &str) {
        for item in &script.items {
            match &item.kind {
                ItemKind::Model(def) => self.define_model(def, scope, module),
                ItemKind::Stmt(Stmt {
                    kind: StmtKind::Fn(def),
                    ..
                }) => define_fn(def, scope),
                ItemKind::Stmt(_)
                | ItemKind::Use { .. }
                | ItemKind::Precision(_)
                | ItemKind::Test { .. } => {}
            }
        }
    }

    fn define_model(&mut self, def: &Rc<ModelDef>, scope: &Scope, module: &str) {
        let template = ModelTemplate {
            def: def.clone(),
            scope: scope.clone(),
            module: module.into(),
            averages: self.averages(def),
        };
        scope.define(def.name.name.clone(), Value::Template(Rc::new(template)));
    }

    /// Runs one top-level item and gives the value of an expression.
    pub fn run_item(&mut self, item: &Item) -> Result<Value> {
        let scope = self.script.clone();
        self.item(item, &scope)
    }

    /// Runs a `test` block.
    pub fn run_test(&mut self, body: &[Stmt]) -> Result<()> {
        let scope = self.script.child();
        self.statements(body, &scope)
    }

    fn item(&mut self, item: &Item, scope: &Scope) -> Result<Value> {
        match &item.kind {
            ItemKind::Use { path, alias } => self
                .use_module(path, alias.as_ref(), scope)
                .map(|()| Value::Unit),
            ItemKind::Model(def) => {
                self.define_model(def, scope, "");
                Ok(Value::Unit)
            }
            ItemKind::Precision(elem) => self.check_precision(elem).map(|()| Value::Unit),
            ItemKind::Test { .. } => Ok(Value::Unit),
            ItemKind::Stmt(stmt) => {
                if !self.checking() {
                    self.frames.clear();
                    self.push_statement_frame();
                }
                self.activations.truncate(1);
                let result = self.top_statement(stmt, scope);
                self.frames.clear();
                result
            }
        }
    }

    fn top_statement(&mut self, stmt: &Stmt, scope: &Scope) -> Result<Value> {
        match &stmt.kind {
            StmtKind::Expr(expr) => {
                let before = self.effects;
                let value = self.eval(expr, scope)?;
                if !self.interactive {
                    self.refuse_unused(expr, &value, before)?;
                }
                self.materialize_one(value, expr.span)
            }
            StmtKind::Let { .. }
            | StmtKind::Fn(_)
            | StmtKind::For { .. }
            | StmtKind::Print(_)
            | StmtKind::Assert { .. }
            | StmtKind::If { .. }
            | StmtKind::Assign { .. }
            | StmtKind::Error => self.script_statement(stmt, scope).map(|()| Value::Unit),
        }
    }

    /// Statements of a script, a loop or a test: each runs before the next begins.
    pub(crate) fn statements(&mut self, stmts: &[Stmt], scope: &Scope) -> Result<()> {
        for stmt in stmts {
            if let StmtKind::Fn(def) = &stmt.kind {
                define_fn(def, scope);
            }
        }
        for stmt in stmts {
            if !self.checking() && self.frames.len() <= 1 && self.activations.len() == 1 {
                self.frames.clear();
                self.push_statement_frame();
            }
            self.script_statement(stmt, scope)?;
        }
        Ok(())
    }

    fn script_statement(&mut self, stmt: &Stmt, scope: &Scope) -> Result<()> {
        if !self.checking() {
            let host = self.host.clone();
            host.check_interrupt()?;
        }
        self.statement(stmt, scope, true).map(|_| ())
    }

    /// `{ let …; e }`: a value, or Unit.
    pub(crate) fn block(&mut self, stmts: &Rc<Vec<Stmt>>, scope: &Scope) -> Result<Value> {
        let mut scope = scope.child();
        for stmt in stmts.iter() {
            if let StmtKind::Fn(def) = &stmt.kind {
                define_fn(def, &scope);
            }
        }
        let mut value = Value::Unit;
        for (at, stmt) in stmts.iter().enumerate() {
            if let StmtKind::Let { pattern, .. } = &stmt.kind
                && binds_again(pattern, &scope)
            {
                // A later `let` shadows; closures made before keep the earlier value.
                scope = scope.child();
            }
            let before = self.effects;
            value = match self.statement(stmt, &scope, false) {
                Ok(value) => value,
                // While checking, one error does not hide the next statement's.
                Err(diagnostic) if self.checking() && at + 1 < stmts.len() => {
                    self.found.push(*diagnostic);
                    self.poison(stmt, &scope);
                    Value::Unknown
                }
                Err(diagnostic) => return Err(diagnostic),
            };
            if at + 1 < stmts.len()
                && let StmtKind::Expr(expr) = &stmt.kind
            {
                self.refuse_unused(expr, &value, before)?;
            }
        }
        Ok(value)
    }

    fn statement(&mut self, stmt: &Stmt, scope: &Scope, script: bool) -> Result<Value> {
        match &stmt.kind {
            StmtKind::Let { pattern, ty, init } => {
                let value = self.bound_value(pattern, ty.as_ref(), init, scope)?;
                let value = match script {
                    true => {
                        self.defined_once(pattern, scope)?;
                        self.settle(value, stmt.span)?
                    }
                    false => value,
                };
                self.bind_pattern(pattern, value, stmt.span, scope)?;
                Ok(Value::Unit)
            }
            StmtKind::Fn(def) => {
                define_fn(def, scope);
                Ok(Value::Unit)
            }
            StmtKind::For {
                pattern,
                iter,
                body,
            } => {
                if !self.effects_allowed() {
                    return Err(Box::new(
                        Diagnostic::error(
                            "E0410",
                            stmt.span,
                            "`for` belongs to scripts, not to code that is compiled",
                        )
                        .help("`map`, a comprehension or `reduce` repeats inside a function"),
                    ));
                }
                self.effects += 1;
                self.for_loop(pattern, iter, body, scope)?;
                Ok(Value::Unit)
            }
            StmtKind::Print(exprs) => {
                self.print(exprs, stmt.span, scope)?;
                Ok(Value::Unit)
            }
            StmtKind::Assert { condition, message } => {
                self.effects += 1;
                self.assert(condition, message.as_ref(), stmt.span, scope)?;
                Ok(Value::Unit)
            }
            StmtKind::If {
                condition,
                then,
                otherwise,
            } => {
                self.effects += 1;
                let test = self.eval(condition, scope)?;
                let taken = self.decide(&test, condition.span)?;
                if taken.is_none() && !self.checking() {
                    return fail(
                        "E0410",
                        condition.span,
                        "an `if` statement inside compiled code needs a condition that is known before; use `if … then … else …`",
                    );
                }
                if taken != Some(false) {
                    self.branch(then, scope, script)?;
                }
                if taken != Some(true)
                    && let Some(otherwise) = otherwise
                {
                    self.branch(otherwise, scope, script)?;
                }
                Ok(Value::Unit)
            }
            StmtKind::Expr(expr) => {
                let before = self.effects;
                let value = self.eval(expr, scope)?;
                if script {
                    self.refuse_unused(expr, &value, before)?;
                    return self.settle(value, expr.span);
                }
                Ok(value)
            }
            StmtKind::Assign { target, value } => {
                self.effects += 1;
                let new = self.eval(value, scope)?;
                if !self.effects_allowed() {
                    return fail(
                        "E0410",
                        stmt.span,
                        "assignment belongs to scripts, not to code that is compiled; use `let`",
                    );
                }
                let new = self.settle(new, value.span)?;
                self.assign(target, new, value.span, scope)?;
                Ok(Value::Unit)
            }
            StmtKind::Error => Ok(Value::Unit),
        }
    }

    /// What a `let` binds its pattern to.
    fn bound_value(
        &mut self,
        pattern: &Pattern,
        ty: Option<&TypeExpr>,
        init: &Init,
        scope: &Scope,
    ) -> Result<Value> {
        let expr = match init {
            Init::Value(expr) => expr,
            Init::Draw(expr) => {
                let name = match pattern {
                    Pattern::Name(name) => name.name.clone(),
                    Pattern::Wildcard(_) | Pattern::Tuple(..) | Pattern::Record(..) => "_".into(),
                };
                return self.draw_let(&name, ty, expr, scope);
            }
        };
        let value = self.eval_declared(ty, expr, scope)?;
        if matches!(value, Value::Unit) {
            return Err(Box::new(
                Diagnostic::error("E0310", expr.span, "this gives no value")
                    .help("a block ends in its value: the last line is an expression, no `let`"),
            ));
        }
        match ty {
            Some(ty) => self.match_let(ty, &value, expr.span, scope),
            None => Ok(value),
        }
    }

    fn print(&mut self, exprs: &[Expr], span: Span, scope: &Scope) -> Result<()> {
        if !self.effects_allowed() {
            return Err(Box::new(
                Diagnostic::error(
                    "E0410",
                    span,
                    "`print` belongs to scripts, not to code that is compiled",
                )
                .help("give the value as a result, and print it in the script"),
            ));
        }
        self.effects += 1;
        let mut values = Vec::new();
        for expr in exprs {
            values.push(self.eval(expr, scope)?);
        }
        let values = self.materialize(&values, span)?;
        let values: Vec<Value> = values.iter().map(concrete_leaves).collect();
        if !self.checking() {
            let host = self.host.clone();
            host.print(self, &values, span)?;
        }
        Ok(())
    }

    /// The value of a `let`. Items in brackets that are declared as a list need not be equally
    /// long.
    fn eval_declared(
        &mut self,
        ty: Option<&TypeExpr>,
        expr: &Expr,
        scope: &Scope,
    ) -> Result<Value> {
        let value = self.eval(expr, scope);
        let (Some(ty), ExprKind::List(items), Err(error)) = (ty, &expr.kind, &value) else {
            return value;
        };
        let item_type = match self.declared(ty)? {
            Declared::List(item) if error.code == "E0301" => item,
            _ => return value,
        };
        let items = items.iter();
        let items = items.map(|item| self.eval_declared(item_type, item, scope));
        Ok(Value::List(Rc::new(items.collect::<Result<_>>()?)))
    }

    /// In a script, what a statement computes is computed when it ends.
    fn settle(&mut self, value: Value, span: Span) -> Result<Value> {
        if self.effects_allowed() {
            self.materialize_one(value, span)
        } else {
            Ok(value)
        }
    }

    fn branch(&mut self, body: &[Stmt], scope: &Scope, script: bool) -> Result<()> {
        let inner = scope.child();
        if script {
            return self.statements(body, &inner);
        }
        for stmt in body {
            self.statement(stmt, &inner, false)?;
        }
        Ok(())
    }
}

fn define_fn(def: &Rc<FnDef>, scope: &Scope) {
    scope.define(
        def.name.name.clone(),
        Value::Fn(Rc::new(Closure {
            code: Code::Named(def.clone(), scope.clone()),
            name: def.name.name.clone(),
            span: def.span,
        })),
    );
}
