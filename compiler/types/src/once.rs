//! N1: in one scope a name is defined once. Of `let`s at the top of a script the elaborator knows
//! when it comes to them; this is about what is declared before anything runs.

use aec_syntax::ast::{
    FnDef, Ident, ItemKind, ModelDef, ModelItem, Name, Param, Pattern, Script, StmtKind,
};
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashMap;

/// What a script's functions, models, members and parameters define twice.
pub(crate) fn defined_twice(script: &Script) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut names = Names::of("the script");
    for item in &script.items {
        match &item.kind {
            ItemKind::Model(def) => {
                names.add(&def.name, &mut found);
                model(def, &mut found);
            }
            ItemKind::Stmt(stmt) => {
                if let StmtKind::Fn(def) = &stmt.kind {
                    names.add(&def.name, &mut found);
                    function(def, &mut found);
                }
            }
            ItemKind::Use { .. } | ItemKind::Precision(_) | ItemKind::Test { .. } => {}
        }
    }
    found
}

/// The names of one scope.
struct Names {
    scope: String,
    known: FxHashMap<Name, Span>,
}

impl Names {
    fn of(scope: impl Into<String>) -> Names {
        Names {
            scope: scope.into(),
            known: FxHashMap::default(),
        }
    }

    fn add(&mut self, name: &Ident, found: &mut Vec<Diagnostic>) {
        match self.known.get(&name.name) {
            Some(&first) => found.push(
                Diagnostic::error(
                    "E0209",
                    name.span,
                    format!("{} defines `{}` twice", self.scope, name.name),
                )
                .here("the second time")
                .label(first, "the first time")
                .help("give one of the two another name, or leave it out"),
            ),
            None => _ = self.known.insert(name.name.clone(), name.span),
        }
    }

    fn pattern(&mut self, pattern: &Pattern, found: &mut Vec<Diagnostic>) {
        for name in pattern.names() {
            self.add(name, found);
        }
    }

    fn params(&mut self, params: &[Param], found: &mut Vec<Diagnostic>) {
        params
            .iter()
            .for_each(|param| self.pattern(&param.pattern, found));
    }
}

fn function(def: &FnDef, found: &mut Vec<Diagnostic>) {
    Names::of(format!("`{}`", def.name.name)).params(&def.params, found);
}

fn model(def: &ModelDef, found: &mut Vec<Diagnostic>) {
    // `model Deep(low) { param low = low }`: a parameter's name may become a member's.
    Names::of(format!("the model `{}`", def.name.name)).params(&def.params, found);
    let mut names = Names::of(format!("the model `{}`", def.name.name));
    for item in &def.items {
        match item {
            ModelItem::Param { names: new, .. } => {
                new.iter().for_each(|name| names.add(name, found))
            }
            ModelItem::Let { pattern, .. } => names.pattern(pattern, found),
            ModelItem::Fn(def) => {
                names.add(&def.name, found);
                function(def, found);
            }
            ModelItem::Error(_) => {}
        }
    }
}
