//! Names that nothing has: found in every body, also in those that only a call elaborates, and
//! explained.

use crate::check::MAX_FOUND;
use crate::scope::Scope;
use crate::value::Value;
use crate::{Elaborator, slips};
use aec_syntax::ast::{Item, ItemKind, Name, Script, StmtKind};
use aec_syntax::{Diagnostic, Span, free, parse_script, suggest};
use rustc_hash::FxHashMap;

impl Elaborator {
    /// Every name of the script that is bound nowhere, and every `module.name` that the module does
    /// not have. Which errors elaboration finds depends on the calls a script makes; these do not.
    pub(crate) fn check_names(&mut self, script: &Script, scope: &Scope) {
        for item in &script.items {
            if self.found.len() > MAX_FOUND {
                break;
            }
            for name in free::of_item(item) {
                let error = match (scope.lookup(&name.name), &name.field) {
                    (None, _) if name.in_type => continue,
                    (None, _) => {
                        let mut known = free::visible_at(item, name.span);
                        known.extend(scope.names());
                        self.unknown_name(&name.name, name.span, scope, &known)
                    }
                    (Some(value @ Value::Module(_)), Some(field)) => {
                        match self.field(&value, field) {
                            Ok(_) => continue,
                            Err(error) => *error,
                        }
                    }
                    (Some(_), _) => continue,
                };
                self.found.push(error);
            }
        }
    }

    /// The error for a name that is not bound; `known` are the names that are.
    pub(crate) fn unknown_name(
        &self,
        name: &str,
        span: Span,
        scope: &Scope,
        known: &[Name],
    ) -> Diagnostic {
        let error = Diagnostic::error(
            "E0201",
            span,
            format!("there is nothing called `{name}` here"),
        );
        if let Some(&below) = self.below.get(name) {
            return error
                .label(below, "it is defined here, below")
                .help("statements run in order: move the `let` above this");
        }
        if name == "T" && self.line_until(span).ends_with('^') {
            let sign = Span {
                start: span.start - 1,
                ..span
            };
            return error.help_edit("transposed is `'`", sign, "'");
        }
        let known: Vec<&str> = known.iter().map(|name| &**name).collect();
        let text = self.line_from(span);
        if let Some(explained) = slips::name(error.clone(), name, span, &text, &known) {
            return explained;
        }
        if let Some(mark) = self.comment_before(span) {
            return error.help_edit("a comment begins with `#`", mark, "#");
        }
        // The script's own names first: they are the more probable ones.
        let own = |known: &&str| {
            scope.lookup(known).is_none() || scope.lookup_below(known, &self.prelude).is_some()
        };
        if let Some(near) = suggest::nearest(name, known.iter().copied().filter(own)) {
            return did_you_mean(error, span, near);
        }
        if let Some(module) = module_in_scope_with(scope, &known, name) {
            let whole = format!("{module}.{name}");
            return error.help_edit(
                format!("the module `{module}` has it: `{whole}`"),
                span,
                whole,
            );
        }
        let top = Span {
            start: 0,
            end: 0,
            ..span
        };
        if let Some(module) = self.library_module_with(name) {
            let whole = format!("{module}.{name}");
            return error
                .help_edit(format!("the library has `{whole}`"), span, whole)
                .help_edit(
                    format!("`use {module}` at the top brings the module into scope"),
                    top,
                    format!("use {module}\n"),
                );
        }
        if self.host.module(name).is_some() {
            return error.help_edit(
                format!("`use {name}` at the top brings the module into scope"),
                top,
                format!("use {name}\n"),
            );
        }
        match suggest::nearest(name, known.iter().copied()) {
            Some(near) => did_you_mean(error, span, near),
            None => error,
        }
    }

    /// Where a name is that a module lacks.
    pub(crate) fn elsewhere(&self, name: &str) -> Option<String> {
        if self.prelude.here(name).is_some() {
            return Some(format!("`{name}` is in scope without a prefix"));
        }
        if self.host.library().iter().any(|module| module == name) {
            return Some(format!("`{name}` is a module of its own: `use {name}`"));
        }
        let module = self.library_module_with(name)?;
        Some(format!("the module `{module}` has it: `{module}.{name}`"))
    }

    /// The `//` or `--` before a name that is the first word of a comment in other languages.
    fn comment_before(&self, span: Span) -> Option<Span> {
        let before = self.line_until(span);
        let words = before.trim_end();
        let slashes = words.ends_with("//");
        let blanks = u32::try_from(before.len() - words.len()).ok()?;
        (slashes || words.trim_start() == "--").then(|| {
            let end = span.start - blanks;
            Span {
                start: end - 2,
                end,
                ..span
            }
        })
    }

    /// The module of the library that defines a name and is not in scope.
    fn library_module_with(&self, name: &str) -> Option<&str> {
        let names = self.library_names.get_or_init(|| {
            let mut names = FxHashMap::default();
            for module in self.host.library() {
                let Some((_, text)) = self.host.module(&module) else {
                    continue;
                };
                let (script, _) = parse_script(Span::NONE.file, &text);
                for name in script.items.iter().filter_map(defined) {
                    names.entry(name.into()).or_insert_with(|| module.clone());
                }
            }
            names
        });
        names.get(name).map(String::as_str)
    }
}

fn did_you_mean(error: Diagnostic, span: Span, near: &str) -> Diagnostic {
    error.help_edit(format!("did you mean `{near}`?"), span, near)
}

/// A module that a script can name, in scope, and with the name. Not `core`, which the library is made of.
fn module_in_scope_with(scope: &Scope, known: &[&str], name: &str) -> Option<String> {
    let mut modules: Vec<&str> = known
        .iter()
        .filter(|known| match scope.lookup(known) {
            Some(Value::Module(module)) => {
                let writable = known.chars().all(|c| c.is_alphanumeric() || c == '_');
                writable && **known != "core" && module.scope.here(name).is_some()
            }
            _ => false,
        })
        .copied()
        .collect();
    modules.sort_unstable();
    modules.first().map(|module| module.to_string())
}

/// The function or model that an item defines.
fn defined(item: &Item) -> Option<&str> {
    match &item.kind {
        ItemKind::Model(def) => Some(&def.name.name),
        ItemKind::Stmt(stmt) => match &stmt.kind {
            StmtKind::Fn(def) => Some(&def.name.name),
            _ => None,
        },
        ItemKind::Use { .. } | ItemKind::Precision(_) | ItemKind::Test { .. } => None,
    }
}
