//! Checking a script without running it: definitions for all sizes, statements in order.

use crate::builtins::TRAINING;
use crate::once::defined_twice;
use crate::scope::Scope;
use crate::statics::{checkable, is_size};
use crate::value::{Average, Code, Model, ModelTemplate, Repr, Tensor, TensorType, Value};
use crate::{Activation, Elaborator, Phase, Result};
use aec_runtime::Elem;
use aec_syntax::ast::{
    FnDef, Item, ItemKind, ModelItem, Pattern, Script, Stmt, StmtKind, TypeArg, TypeExpr, TypeKind,
};
use aec_syntax::{Diagnostic, Span};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// After so many errors the rest of a script is not checked.
pub(crate) const MAX_FOUND: usize = 1000;

impl Elaborator {
    /// Checks a script: no data file is opened, nothing is compiled. Several errors in one go.
    pub fn check_script(&mut self, script: &Script) -> Vec<Diagnostic> {
        let outer = (
            self.phase,
            self.script.clone(),
            self.modules.clone(),
            std::mem::take(&mut self.found),
        );
        let frames = std::mem::take(&mut self.frames);
        let activations = std::mem::replace(
            &mut self.activations,
            vec![Activation {
                path: 0,
                calls: FxHashMap::default(),
            }],
        );
        self.phase = Phase::Check;
        // Both branches of `if training` are checked.
        let training = self.prelude.lookup(TRAINING);
        self.prelude.assign(TRAINING, unknown_bool());
        // What the session already defines stays visible (the REPL); new names go on top.
        self.script = outer.1.module();
        let scope = self.script.clone();
        self.declare_items(script, &scope, "");
        self.found.extend(defined_twice(script));
        for item in &script.items {
            if let ItemKind::Use { .. } = item.kind {
                self.check_item(item, &scope);
            }
        }
        for item in &script.items {
            if let ItemKind::Stmt(Stmt {
                kind: StmtKind::Let { pattern, .. },
                ..
            }) = &item.kind
            {
                for name in pattern.names() {
                    self.below.insert(name.name.clone(), name.span);
                }
            }
        }
        // Statements first: definitions may use what a script's `let`s bind.
        for item in &script.items {
            if self.found.len() > MAX_FOUND {
                break;
            }
            if !matches!(item.kind, ItemKind::Use { .. } | ItemKind::Test { .. }) {
                self.check_item(item, &scope);
            }
        }
        for item in &script.items {
            if let ItemKind::Test { .. } = item.kind {
                self.check_item(item, &scope);
            }
        }
        for item in &script.items {
            match &item.kind {
                ItemKind::Model(def) => {
                    if let Some(Value::Template(template)) = scope.here(&def.name.name) {
                        self.check_model(&template);
                    }
                }
                ItemKind::Stmt(Stmt {
                    kind: StmtKind::Fn(def),
                    ..
                }) => self.check_fn(def, &scope),
                ItemKind::Stmt(_)
                | ItemKind::Use { .. }
                | ItemKind::Precision(_)
                | ItemKind::Test { .. } => {}
            }
        }
        self.check_names(script, &scope);
        self.check_recursion(script);
        self.below.clear();
        self.check_signatures(script);
        let mut found = std::mem::take(&mut self.found);
        if let Some(training) = training {
            self.prelude.assign(TRAINING, training);
        }
        (self.phase, self.script, self.modules, self.found) = outer;
        self.frames = frames;
        self.activations = activations;
        let mut seen = FxHashSet::default();
        found.retain(|diagnostic| seen.insert((diagnostic.code, diagnostic.span())));
        found.sort_by_key(|diagnostic| (diagnostic.span().file, diagnostic.span().start));
        found
    }

    /// What an expression of the session is, as far as that is known without computing it: for
    /// completion. None if it is wrong.
    pub fn foresee(&mut self, text: &str) -> Option<Value> {
        let (script, errors) = aec_syntax::parse_script(Span::NONE.file, text);
        let [
            Item {
                kind:
                    ItemKind::Stmt(Stmt {
                        kind: StmtKind::Expr(expr),
                        ..
                    }),
                ..
            },
        ] = script.items.as_slice()
        else {
            return None;
        };
        if !errors.is_empty() {
            return None;
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Check);
        let found = std::mem::take(&mut self.found);
        let frames = std::mem::take(&mut self.frames);
        let scope = self.script.child();
        let value = self.eval(expr, &scope).ok();
        self.activations.truncate(1);
        (self.phase, self.found, self.frames) = (phase, found, frames);
        value
    }

    fn check_item(&mut self, item: &Item, scope: &Scope) {
        self.pure_depth = 0;
        self.batch_depth = 0;
        self.activations.truncate(1);
        let result: Result<()> = match &item.kind {
            ItemKind::Test { body, .. } => {
                let inner = scope.child();
                for stmt in body.iter() {
                    let before = self.found.len();
                    if let Err(diagnostic) = self.statements(std::slice::from_ref(stmt), &inner) {
                        self.found.truncate(before.max(self.found.len()));
                        self.found.push(*diagnostic);
                        self.poison(stmt, &inner);
                    }
                }
                Ok(())
            }
            ItemKind::Use { .. }
            | ItemKind::Precision(_)
            | ItemKind::Model(_)
            | ItemKind::Stmt(_) => self.run_item(item).map(|_| ()),
        };
        if let Err(diagnostic) = result {
            self.found.push(*diagnostic);
            match &item.kind {
                ItemKind::Stmt(stmt) => self.poison(stmt, scope),
                ItemKind::Use { path, alias } => {
                    if let Some(name) = alias.as_ref().or(path.last()) {
                        scope.define(name.name.clone(), Value::Unknown);
                    }
                }
                ItemKind::Precision(_) | ItemKind::Model(_) | ItemKind::Test { .. } => {}
            }
        }
    }

    /// After an error the names that a statement would have bound are unknown, not missing.
    pub(crate) fn poison(&mut self, stmt: &Stmt, scope: &Scope) {
        if let StmtKind::Let { pattern, .. } = &stmt.kind {
            for name in pattern.names() {
                scope.define(name.name.clone(), Value::Unknown);
            }
        }
    }

    fn check_fn(&mut self, def: &Rc<FnDef>, scope: &Scope) {
        if def.params.iter().any(|param| param.ty.is_none()) {
            return;
        }
        if let Err(diagnostic) = self.check_body(def, scope) {
            self.found.push(*diagnostic);
        }
    }

    /// Elaborates a body for all sizes: binders are new sizes, arguments only types.
    fn check_body(&mut self, def: &Rc<FnDef>, scope: &Scope) -> Result<()> {
        let scope = &self.with_sizes(def, scope);
        let outer = scope.child();
        let mut values = Vec::new();
        for param in &def.params {
            let Some(ty) = &param.ty else { continue };
            let mut value = self.abstract_value(ty, &outer)?;
            // An int parameter may be used as a size.
            if let (Value::Tensor(tensor), Pattern::Name(name)) = (&value, &param.pattern)
                && tensor.is_scalar()
                && tensor.ty.elem.is_int()
            {
                value = Value::size(self.fresh_size(&name.name));
            }
            values.push(value);
        }
        let closure = Value::Fn(Rc::new(crate::value::Closure {
            code: Code::Named(def.clone(), scope.clone()),
            name: def.name.name.clone(),
            span: def.span,
        }));
        self.apply(&closure, &values, def.name.span).map(|_| ())
    }

    /// A scope with the sizes that a definition takes in brackets, any ones.
    fn with_sizes(&mut self, def: &FnDef, scope: &Scope) -> Scope {
        if def.sizes.is_empty() {
            return scope.clone();
        }
        let sized = scope.child();
        for size in &def.sizes {
            if let TypeArg::Type(TypeExpr {
                kind: TypeKind::Path(path),
                ..
            }) = size
            {
                let name = &path[0].name;
                sized.define(name.clone(), Value::size(self.fresh_size(name)));
            }
        }
        sized
    }

    fn check_model(&mut self, template: &Rc<ModelTemplate>) {
        let def = &template.def;
        if !checkable(template) {
            return;
        }
        let mut statics = Vec::new();
        let outer = template.scope.child();
        for param in &def.params {
            let Pattern::Name(name) = &param.pattern else {
                continue;
            };
            let untyped = match is_size(template, &name.name) {
                true => Value::size(self.fresh_size(&name.name)),
                false => Value::Unknown,
            };
            let value = match &param.ty {
                None => Ok(untyped.clone()),
                Some(ty) => self.abstract_value(ty, &outer).map(|value| match &value {
                    Value::Tensor(tensor) if tensor.is_scalar() && tensor.ty.elem.is_int() => {
                        Value::size(self.fresh_size(&name.name))
                    }
                    _ => value,
                }),
            };
            // What is wrong with its type is said once, not again where the name is used.
            let value = value.unwrap_or_else(|diagnostic| {
                self.found.push(*diagnostic);
                untyped
            });
            outer.define(name.name.clone(), value.clone());
            statics.push((name.name.clone(), value));
        }
        let span = aec_syntax::Span::NONE;
        let model = Model {
            template: template.clone(),
            statics,
            params: Vec::new(),
            averages: vec![Average::Empty; template.averages.len()],
            frozen: false,
            made: span,
            history: None,
        };
        self.pure_depth += 1;
        match self.with_params(model, 0) {
            Ok(Value::Model(model)) => {
                let scope = self.model_scope(&model);
                match scope {
                    Ok(scope) => {
                        for item in &def.items {
                            if let ModelItem::Fn(member) = item {
                                self.batch_depth = 1;
                                self.check_member(member, &scope);
                            }
                        }
                    }
                    Err(diagnostic) => self.found.push(*diagnostic),
                }
            }
            Ok(_) => {}
            Err(diagnostic) => self.found.push(*diagnostic),
        }
        self.pure_depth -= 1;
        self.batch_depth = 0;
    }

    fn check_member(&mut self, member: &Rc<FnDef>, scope: &Scope) {
        if let Some(param) = member.params.iter().find(|param| param.ty.is_none()) {
            let name = &member.name.name;
            if crate::model::ROLES.contains(&&**name) {
                let text = self.text(param.span);
                let error = Diagnostic::error(
                    "E0407",
                    param.span,
                    format!("`{name}` must give the types of its parameters"),
                );
                self.found.push(match text.as_str() {
                    "self" => error.help(
                        "leave it out: params and members are called by their names, without `self.`",
                    ),
                    _ => error
                        .note("tools and `train` read them")
                        .help(format!("`{name}({text}: [D])`, with the size that is meant")),
                });
            }
            return;
        }
        if let Err(diagnostic) = self.check_body(member, scope) {
            self.found.push(*diagnostic);
        }
    }
}

/// A bool of which nothing is known.
fn unknown_bool() -> Value {
    Value::Tensor(Tensor {
        ty: TensorType::scalar(Elem::Bool),
        repr: Repr::Unknown,
    })
}
