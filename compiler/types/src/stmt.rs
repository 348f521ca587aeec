//! Statements, blocks and top-level items.

use crate::error::{fail, wanted};
use crate::scope::Scope;
use crate::sequence::Walk;
use crate::value::{Closure, Code, ModelTemplate, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_syntax::ast::{
    BinaryOp, Expr, ExprKind, FnDef, Ident, Init, Item, ItemKind, ModelDef, Pattern, Script, Stmt,
    StmtKind,
};
use aec_syntax::{Diagnostic, Span};
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
    pub fn run_test(&mut self, _name: &str, body: &[Stmt]) -> Result<()> {
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
                let value = match init {
                    Init::Value(expr) => {
                        let value = self.eval_declared(ty.as_ref(), expr, scope)?;
                        if matches!(value, Value::Unit) {
                            return Err(Box::new(
                                Diagnostic::error("E0310", expr.span, "this gives no value").help(
                                    "a block ends in its value: the last line is an expression, no `let`",
                                ),
                            ));
                        }
                        match ty {
                            Some(ty) => self.match_let(ty, &value, expr.span, scope)?,
                            None => value,
                        }
                    }
                    Init::Draw(expr) => {
                        let name = match pattern {
                            Pattern::Name(name) => name.name.clone(),
                            Pattern::Wildcard(_) | Pattern::Tuple(..) | Pattern::Record(..) => {
                                "_".into()
                            }
                        };
                        self.draw_let(&name, ty.as_ref(), expr, scope)?
                    }
                };
                if script {
                    self.defined_once(pattern, scope)?;
                }
                let value = if script {
                    self.settle(value, stmt.span)?
                } else {
                    value
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
                if !self.effects_allowed() {
                    return Err(Box::new(
                        Diagnostic::error(
                            "E0410",
                            stmt.span,
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
                let values = self.materialize(&values, stmt.span)?;
                let values: Vec<Value> = values.iter().map(crate::train::concrete_leaves).collect();
                if !self.checking() {
                    let host = self.host.clone();
                    host.print(self, &values, stmt.span)?;
                }
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

    /// The value of a `let`. Items in brackets that are declared as a list need not be equally
    /// long.
    fn eval_declared(
        &mut self,
        ty: Option<&aec_syntax::ast::TypeExpr>,
        expr: &Expr,
        scope: &Scope,
    ) -> Result<Value> {
        let value = self.eval(expr, scope);
        let (Some(ty), ExprKind::List(items), Err(error)) = (ty, &expr.kind, &value) else {
            return value;
        };
        let item_type = match self.declared(ty)? {
            crate::declared::Declared::List(item) if error.code == "E0301" => item,
            _ => return value,
        };
        let items = items.iter();
        let items = items.map(|item| self.eval_declared(item_type, item, scope));
        Ok(Value::List(Rc::new(items.collect::<Result<_>>()?)))
    }

    /// At the top of a script a name is defined once (N1); a REPL replaces.
    fn defined_once(&self, pattern: &Pattern, scope: &Scope) -> Result<()> {
        if self.interactive || !self.checking() || !scope.same(&self.script) {
            return Ok(());
        }
        match pattern {
            Pattern::Name(name) if scope.here(&name.name).is_some() => {
                let mut diagnostic = Diagnostic::error(
                    "E0209",
                    name.span,
                    format!("`{}` is defined already", name.name),
                );
                match scope.here(&name.name) {
                    Some(Value::Fn(closure)) => {
                        diagnostic = diagnostic.label(closure.span, "here");
                    }
                    Some(Value::Module(module)) => {
                        let (path, name) = (&module.path, &name.name);
                        return Err(Box::new(diagnostic.help(format!(
                            "it is the module that `use` brings: choose another name, or `use {path} as {}`",
                            name.chars().next().unwrap_or('m')
                        ))));
                    }
                    _ => {}
                }
                let word = Span {
                    start: name.span.start.saturating_sub("let ".len() as u32),
                    end: name.span.start,
                    ..name.span
                };
                let help = format!("`{} = …` without `let` gives it a new value", name.name);
                Err(Box::new(if self.text(word) == "let" {
                    diagnostic.help_edit(help, word, "")
                } else {
                    diagnostic.help(help)
                }))
            }
            Pattern::Name(_) | Pattern::Wildcard(_) => Ok(()),
            Pattern::Tuple(parts, _) => parts
                .iter()
                .try_for_each(|part| self.defined_once(part, scope)),
            Pattern::Record(parts, _) => parts
                .iter()
                .try_for_each(|(_, part)| self.defined_once(part, scope)),
        }
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

    /// A number that a loop counts with, as a size: what is made of it twice has one size.
    fn counted(&mut self, item: Value) -> Value {
        match &item {
            Value::Tensor(tensor)
                if tensor.is_scalar() && tensor.ty.elem == aec_runtime::Elem::I64 =>
            {
                Value::size(self.later_size("_"))
            }
            _ => item,
        }
    }

    fn for_loop(
        &mut self,
        pattern: &Pattern,
        iter: &Expr,
        body: &Rc<Vec<Stmt>>,
        scope: &Scope,
    ) -> Result<()> {
        let walk = self.walk(iter, scope)?;
        let outer = self.round;
        let several =
            |items: Vec<Value>| -> Box<dyn Iterator<Item = Value>> { Box::new(items.into_iter()) };
        let rounds = match walk {
            Walk::Items(items) if self.checking() => several(items),
            // Each round is a statement of its own: what the head has made is in memory by then.
            Walk::Items(items) => several(self.materialize(&items, iter.span)?),
            Walk::Ints(from, to) => Box::new((from..to).map(Value::int)),
            Walk::Axis(value) if self.checking() => several(vec![crate::call::peel_type(&value)]),
            Walk::Axis(value) => {
                let value = self.materialize_one(value, iter.span)?;
                several(crate::rows::split_rows(&value))
            }
            Walk::Sizes(..) => several(vec![Value::Tensor(Tensor {
                ty: TensorType::scalar(aec_runtime::Elem::I64),
                repr: crate::value::Repr::Unknown,
            })]),
        };
        let rounds = if self.checking() {
            let first = rounds.take(1).map(forget);
            several(first.map(|item| self.counted(item)).collect())
        } else {
            rounds
        };
        let mut assigned = Vec::new();
        if self.checking() {
            assigned_names(body, &mut assigned);
            // Names that the body itself binds, and those of the library, are not assigned here.
            let prelude = self.prelude.clone();
            assigned.retain(|name| scope.lookup_below(name, &prelude).is_some());
        }
        let before: Vec<Option<Value>> = assigned.iter().map(|name| scope.lookup(name)).collect();
        for (index, item) in rounds.enumerate() {
            let inner = scope.child();
            // A loop's counter is an input of what is compiled, so that rounds share it.
            self.bind_pattern(pattern, as_input(item), iter.span, &inner)?;
            self.round = outer.wrapping_mul(1_000_003).wrapping_add(index as i64 + 1);
            let result = self.statements(body, &inner);
            self.round = outer;
            result?;
        }
        // One round was checked for all: what it leaves in a name is only known to be what any
        // number of rounds leaves there if it has the type that it had before.
        for (name, before) in assigned.iter().zip(before) {
            let after = scope.lookup(name);
            let value = match before.zip(after) {
                Some((before, after)) if same_type(&before, &after) => {
                    let unknown = crate::leaves(&after)
                        .into_iter()
                        .map(|leaf| forget(leaf.tensor));
                    crate::with_leaves(&after, &mut unknown.into_iter(), false)
                }
                _ => Value::Unknown,
            };
            scope.assign(name, value);
        }
        Ok(())
    }

    fn assert(
        &mut self,
        condition: &Expr,
        message: Option<&Expr>,
        span: Span,
        scope: &Scope,
    ) -> Result<()> {
        let value = self.eval(condition, scope)?;
        let text = match message {
            Some(message) => match self.eval(message, scope)? {
                Value::Str(text) => Some(text),
                Value::Unknown => None,
                other => return wanted(message.span, "a string", &other),
            },
            None => None,
        };
        if matches!(value, Value::Unknown) {
            return Ok(());
        }
        if !matches!(&value, Value::Tensor(tensor) if tensor.ty.elem == aec_runtime::Elem::Bool) {
            return wanted(condition.span, "a condition (a bool)", &value).map_err(|error| {
                match &condition.kind {
                    ExprKind::Tuple(_) => Box::new(self.repair_assert(*error, condition.span)),
                    _ => error,
                }
            });
        }
        if self.checking() || self.options.dry {
            return Ok(());
        }
        if !self.effects_allowed() {
            return fail(
                "E0410",
                span,
                "`assert` belongs to scripts and tests, not to code that is compiled",
            );
        }
        let value = self.materialize_one(value, condition.span)?;
        let holds = value
            .host()
            .is_some_and(|host| host.to_f64_vec().iter().all(|&bit| bit != 0.0));
        if holds {
            return Ok(());
        }
        let what = text.map_or_else(
            || format!("this does not hold: `{}`", self.text(condition.span)),
            |text| format!("assertion failed: {text}"),
        );
        let mut diagnostic = Diagnostic::error("E0701", span, what);
        // What both sides of a comparison were.
        let mut inner = condition;
        while let ExprKind::Paren(next) = &inner.kind {
            inner = next;
        }
        if let ExprKind::Binary {
            op, left, right, ..
        } = &inner.kind
            && !matches!(op, BinaryOp::And | BinaryOp::Or)
        {
            for side in [left, right] {
                if matches!(
                    side.kind,
                    ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_)
                ) {
                    continue;
                }
                if let Ok(value) = self.eval(side, scope)
                    && let Ok(value) = self.materialize_one(value, side.span)
                    && let Ok(shown) = self.host.clone().format(&value, None, side.span)
                {
                    diagnostic = diagnostic.label(side.span, format!("is {shown}"));
                }
            }
        }
        Err(Box::new(diagnostic))
    }

    /// Binds the names of a pattern.
    pub(crate) fn bind_pattern(
        &mut self,
        pattern: &Pattern,
        value: Value,
        span: Span,
        scope: &Scope,
    ) -> Result<()> {
        self.match_pattern(pattern, value, span, &mut |name, value, _| {
            scope.define(name, value);
            Ok(())
        })
    }

    fn assign(&mut self, pattern: &Pattern, value: Value, span: Span, scope: &Scope) -> Result<()> {
        let (prelude, checking) = (self.prelude.clone(), self.checking());
        self.match_pattern(pattern, value, span, &mut |name, value, at| {
            if let Some(what) = scope
                .lookup_below(&name, &prelude)
                .and_then(|old| defined_as(&old, &name))
            {
                let message =
                    format!("`{name}` is {what}: only what a `let` binds gets a new value");
                return Err(Box::new(
                    Diagnostic::error("E0122", at, message).help("choose another name"),
                ));
            }
            if scope.lookup_below(&name, &prelude).is_some() && scope.assign(&name, value.clone()) {
                return Ok(());
            }
            let names = scope.names();
            if checking {
                // Said once: its uses are no slips of their own.
                scope.define(name.clone(), value);
            }
            let mut diagnostic = Diagnostic::error(
                "E0201",
                at,
                format!("there is nothing called `{name}` here to assign to"),
            );
            diagnostic = match aec_syntax::suggest::nearest(&name, names.iter().map(|name| &**name))
            {
                Some(near) => diagnostic.help_edit(format!("did you mean `{near}`?"), at, near),
                None => {
                    let before = Span {
                        end: at.start,
                        ..at
                    };
                    diagnostic.help_edit(
                        format!("`let {name} = …` makes a new name"),
                        before,
                        "let ",
                    )
                }
            };
            Err(Box::new(diagnostic))
        })
    }

    fn match_pattern(
        &mut self,
        pattern: &Pattern,
        value: Value,
        span: Span,
        bind: &mut dyn FnMut(Rc<str>, Value, Span) -> Result<()>,
    ) -> Result<()> {
        match pattern {
            Pattern::Name(name) => bind(name.name.clone(), value, name.span),
            Pattern::Wildcard(_) => Ok(()),
            Pattern::Tuple(parts, at) => {
                let values: Vec<Value> = match &value {
                    Value::Unknown => vec![Value::Unknown; parts.len()],
                    Value::Tuple(values) | Value::List(values) => values.to_vec(),
                    Value::Tensor(tensor) if tensor.ty.rank() == 1 && value.host().is_some() => {
                        crate::rows::split_rows(&value)
                    }
                    Value::Token(tensor) if tensor.ty.rank() == 1 => {
                        crate::rows::split_rows(&value)
                    }
                    Value::Maybe(maybe) if maybe.observed.ty.rank() == 1 => {
                        crate::rows::split_rows(&value)
                    }
                    other => return Err(Box::new(no_tuple(parts, *at, other, span))),
                };
                if values.len() != parts.len() {
                    return Err(Box::new(
                        Diagnostic::error(
                            "E0310",
                            *at,
                            format!("{} names for {} values", parts.len(), values.len()),
                        )
                        .label(span, value.describe()),
                    ));
                }
                for (part, value) in parts.iter().zip(values) {
                    self.match_pattern(part, value, span, bind)?;
                }
                Ok(())
            }
            Pattern::Record(parts, _) => {
                for (name, part) in parts {
                    let field = self.field(&value, name)?;
                    self.match_pattern(part, field, span, bind)?;
                }
                Ok(())
            }
        }
    }

    /// The value of a pure expression statement wants a use (N4): nothing that has an effect was
    /// met since `before` were counted. What a call does is looked at while checking, when no
    /// condition of a script hides an effect.
    fn refuse_unused(&self, expr: &Expr, value: &Value, before: u32) -> Result<()> {
        if let ExprKind::Train {
            model, settings, ..
        } = &expr.kind
        {
            // A training that writes files or calls back is done for that.
            let told = |(name, _): &(Ident, Expr)| {
                matches!(&*name.name, "checkpoint" | "log" | "on_epoch")
            };
            if self.interactive || settings.iter().any(told) {
                return Ok(());
            }
            return Err(Box::new(self.unused_training(expr, model)));
        }
        fn calls(expr: &Expr) -> bool {
            match &expr.kind {
                ExprKind::Call { .. }
                | ExprKind::Pipe { .. }
                | ExprKind::Train { .. }
                | ExprKind::If { .. }
                | ExprKind::Block(_)
                | ExprKind::Error => true,
                ExprKind::Paren(inner) => calls(inner),
                _ => false,
            }
        }
        let idle = match calls(expr) {
            true => self.checking() && self.effects == before,
            false => true,
        };
        if !idle || matches!(value, Value::Unit | Value::Unknown) {
            return Ok(());
        }
        Err(Box::new(unused(expr, &self.text(expr.span))))
    }
}

impl Elaborator {
    /// `train m on x` as a statement: m stays as it is.
    fn unused_training(&self, expr: &Expr, model: &Expr) -> Diagnostic {
        let before = Span {
            end: expr.span.start,
            ..expr.span
        };
        let head = Span {
            end: model.span.end,
            ..expr.span
        };
        let error = Diagnostic::error("E0411", head, "the trained model is not used")
            .here("a model never changes: this gives a new one");
        match &model.kind {
            ExprKind::Name(name) => error.help_edit(
                format!("`{name} = train {name} on …` gives it the name of the untrained one"),
                before,
                format!("{name} = "),
            ),
            _ => error.help_edit("`let m = train …` gives it a name", before, "let m = "),
        }
    }
}

/// Names that statements assign to.
fn assigned_names(stmts: &[Stmt], names: &mut Vec<Rc<str>>) {
    fn of_pattern(pattern: &Pattern, names: &mut Vec<Rc<str>>) {
        match pattern {
            Pattern::Name(name) => names.push(name.name.clone()),
            Pattern::Wildcard(_) => {}
            Pattern::Tuple(parts, _) => parts.iter().for_each(|part| of_pattern(part, names)),
            Pattern::Record(parts, _) => {
                parts.iter().for_each(|(_, part)| of_pattern(part, names));
            }
        }
    }
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::Assign { target, .. } => of_pattern(target, names),
            StmtKind::For { body, .. } => assigned_names(body, names),
            StmtKind::If {
                then, otherwise, ..
            } => {
                assigned_names(then, names);
                otherwise
                    .iter()
                    .for_each(|body| assigned_names(body, names));
            }
            StmtKind::Let { .. }
            | StmtKind::Fn(_)
            | StmtKind::Print(_)
            | StmtKind::Assert { .. }
            | StmtKind::Expr(_)
            | StmtKind::Error => {}
        }
    }
}

/// Whether two values have the same type, sizes included.
fn same_type(a: &Value, b: &Value) -> bool {
    let fields = |a: &[(Rc<str>, Value)], b: &[(Rc<str>, Value)]| {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|((m, x), (n, y))| m == n && same_type(x, y))
    };
    match (a, b) {
        (Value::Maybe(a), Value::Maybe(b)) => same_type(&a.value, &b.value),
        (Value::Tensor(a), Value::Tensor(b)) | (Value::Token(a), Value::Token(b)) => {
            a.ty.elem == b.ty.elem
                && a.ty.rank() == b.ty.rank()
                && a.ty
                    .shape
                    .iter()
                    .zip(&b.ty.shape)
                    .all(|(x, y)| x.size == y.size)
        }
        (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| same_type(x, y))
        }
        (Value::Record(a), Value::Record(b)) => fields(a, b),
        (Value::Model(a), Value::Model(b)) => {
            Rc::ptr_eq(&a.template, &b.template) && fields(&a.params, &b.params)
        }
        (Value::Str(_), Value::Str(_)) => true,
        _ => false,
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

/// What a definition has bound to a name, if one has.
fn defined_as(value: &Value, name: &str) -> Option<&'static str> {
    match value {
        Value::Fn(closure) if matches!(closure.code, Code::Named(..)) && *closure.name == *name => {
            Some("a function")
        }
        Value::Template(template) if *template.def.name.name == *name => Some("a model"),
        Value::Module(_) => Some("a module"),
        _ => None,
    }
}

fn binds_again(pattern: &Pattern, scope: &Scope) -> bool {
    match pattern {
        Pattern::Name(name) => scope.here(&name.name).is_some(),
        Pattern::Wildcard(_) => false,
        Pattern::Tuple(parts, _) => parts.iter().any(|part| binds_again(part, scope)),
        Pattern::Record(parts, _) => parts.iter().any(|(_, part)| binds_again(part, scope)),
    }
}

fn unused(expr: &Expr, text: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        "E0411",
        expr.span,
        format!("the value of `{text}` is not used"),
    );
    if let ExprKind::Binary {
        op: BinaryOp::Eq,
        op_span,
        ..
    } = &expr.kind
    {
        return diagnostic.help_edit("`==` compares; `=` assigns", *op_span, "=");
    }
    let before = Span {
        end: expr.span.start,
        ..expr.span
    };
    let diagnostic = diagnostic.help_edit("bind it with `let`, or `print` it", before, "print ");
    match text.strip_prefix('-') {
        Some(rest) if !rest.starts_with(' ') => diagnostic.help(format!(
            "a line that goes on with a minus has a blank behind it: `- {rest}`"
        )),
        _ => diagnostic,
    }
}

/// While checking, one round stands for all: nothing is known of a counter's value.
fn forget(value: Value) -> Value {
    match value {
        Value::Tensor(_) | Value::Token(_) | Value::Maybe(_) | Value::Tree(_) => {
            crate::leaves::map_tensors(&value, &mut |tensor| Tensor {
                ty: tensor.ty.clone(),
                repr: crate::value::Repr::Unknown,
            })
        }
        other => other,
    }
}

fn as_input(value: Value) -> Value {
    match value {
        Value::Tensor(_) | Value::Token(_) | Value::Maybe(_) | Value::Tree(_) => {
            crate::train::concrete_leaves(&value)
        }
        other => other,
    }
}

/// A value that is taken apart as a tuple, but is none.
fn no_tuple(parts: &[Pattern], at: Span, value: &Value, span: Span) -> Diagnostic {
    let message = format!(
        "a tuple of {} is wanted here, but the value is {}",
        parts.len(),
        value.describe()
    );
    let error = Diagnostic::error("E0310", at, message).label(span, "this value");
    let Value::Record(fields) = value else {
        return error;
    };
    let names = parts.iter().map(|part| match part {
        Pattern::Name(name) => Some(&name.name),
        _ => None,
    });
    let pairs: Option<Vec<String>> = (fields.iter().zip(names))
        .map(|((field, _), name)| Some(format!("{field} = {}", name?)))
        .collect();
    match pairs {
        Some(pairs) if parts.len() == fields.len() => {
            let pattern = format!("({})", pairs.join(", "));
            error.help_edit(format!("a record has names: `{pattern}`"), at, pattern)
        }
        _ => error.help("the fields of a record are taken by their names, `r.name`"),
    }
}
