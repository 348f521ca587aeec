//! Names and values: what the patterns of a `let`, a parameter and an assignment bind.

use crate::rows::split_rows;
use crate::scope::Scope;
use crate::value::{Code, Value};
use crate::{Elaborator, Result};
use aec_syntax::ast::{Ident, Pattern};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

impl Elaborator {
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

    /// `name = value`: of names that a `let` has bound.
    pub(super) fn assign(
        &mut self,
        pattern: &Pattern,
        value: Value,
        span: Span,
        scope: &Scope,
    ) -> Result<()> {
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
                        split_rows(&value)
                    }
                    Value::Token(tensor) if tensor.ty.rank() == 1 => split_rows(&value),
                    Value::Maybe(maybe) if maybe.observed.ty.rank() == 1 => split_rows(&value),
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

    /// At the top of a script a name is defined once (N1); a REPL replaces.
    pub(super) fn defined_once(&self, pattern: &Pattern, scope: &Scope) -> Result<()> {
        if self.interactive || !self.checking() || !scope.same(&self.script) {
            return Ok(());
        }
        for name in pattern.names() {
            if let Some(old) = scope.here(&name.name) {
                return Err(Box::new(self.defined_twice(name, &old)));
            }
        }
        Ok(())
    }

    /// A name that a script defines once more.
    fn defined_twice(&self, name: &Ident, old: &Value) -> Diagnostic {
        let message = format!("`{}` is defined already", name.name);
        let mut diagnostic = Diagnostic::error("E0209", name.span, message);
        match old {
            Value::Fn(closure) => diagnostic = diagnostic.label(closure.span, "here"),
            Value::Module(module) => {
                let (path, name) = (&module.path, &name.name);
                return diagnostic.help(format!(
                    "it is the module that `use` brings: choose another name, or `use {path} as {}`",
                    name.chars().next().unwrap_or('m')
                ));
            }
            _ => {}
        }
        let word = Span {
            start: name.span.start.saturating_sub("let ".len() as u32),
            end: name.span.start,
            ..name.span
        };
        let help = format!("`{} = …` without `let` gives it a new value", name.name);
        match self.text(word) == "let" {
            true => diagnostic.help_edit(help, word, ""),
            false => diagnostic.help(help),
        }
    }
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

/// Whether a pattern binds a name that its own block has bound.
pub(super) fn binds_again(pattern: &Pattern, scope: &Scope) -> bool {
    let mut names = pattern.names().into_iter();
    names.any(|name| scope.here(&name.name).is_some())
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
