//! Modules: the prelude, `use`, and files beside the script.

use crate::error::fail;
use crate::scope::Scope;
use crate::value::{Module, Value};
use crate::{Elaborator, Result};
use aec_syntax::ast::{Ident, ItemKind, Name};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// Modules whose names are in scope everywhere.
const IN_SCOPE: &[&str] = &["prelude", "distributions"];

/// Modules of the library that can be named without `use`.
const NAMED: &[&str] = &["rows"];

impl Elaborator {
    /// Loads the prelude; a fault in it is the compiler's, and reported as found while checking.
    pub(crate) fn load_prelude(&mut self) {
        let library = self.prelude.clone();
        for path in IN_SCOPE {
            if let Err(diagnostic) = self.load_into(path, &library) {
                self.found.push(*diagnostic);
            }
        }
        for path in NAMED {
            match self.module(path, Span::NONE) {
                Ok(module) => library.define((*path).into(), Value::Module(module)),
                Err(diagnostic) if self.host.module(path).is_some() => self.found.push(*diagnostic),
                Err(_) => {}
            }
        }
    }

    /// What went wrong while the library was loaded: nothing, in a sound build.
    pub fn library_faults(&self) -> &[Diagnostic] {
        &self.found
    }

    fn load_into(&mut self, path: &str, scope: &Scope) -> Result<()> {
        let Some((name, text)) = self.host.module(path) else {
            return Ok(());
        };
        let file = self.sources.borrow_mut().add(&name, &text);
        let (script, diagnostics) = aec_syntax::parse_script(file, &text);
        if let Some(first) = diagnostics.into_iter().next() {
            return Err(Box::new(first));
        }
        self.declare_items(&script, scope, path);
        for item in &script.items {
            match &item.kind {
                ItemKind::Use { path, alias } => self.use_module(path, alias.as_ref(), scope)?,
                ItemKind::Stmt(stmt) => {
                    let frames = std::mem::take(&mut self.frames);
                    if !self.checking() {
                        self.push_statement_frame();
                    }
                    let result = self.statements(std::slice::from_ref(stmt), scope);
                    self.frames = frames;
                    result?;
                }
                ItemKind::Precision(elem) => self.check_precision(elem)?,
                ItemKind::Model(_) | ItemKind::Test { .. } => {}
            }
        }
        Ok(())
    }

    /// `use a.b as c`.
    pub(crate) fn use_module(
        &mut self,
        path: &[Ident],
        alias: Option<&Ident>,
        scope: &Scope,
    ) -> Result<()> {
        let dotted = path
            .iter()
            .map(|part| &*part.name)
            .collect::<Vec<_>>()
            .join(".");
        let span = path
            .iter()
            .fold(Span::NONE, |span, part| span.to(part.span));
        let module = self.module(&dotted, span)?;
        let Some(last) = alias.or(path.last()) else {
            return Ok(());
        };
        scope.define(last.name.clone(), Value::Module(module));
        Ok(())
    }

    fn module(&mut self, path: &str, span: Span) -> Result<Rc<Module>> {
        if let Some(module) = self.modules.get(path) {
            return Ok(module.clone());
        }
        let key: Name = path.into();
        if let Some(at) = self.loading.iter().position(|loading| *loading == key) {
            let mut cycle: Vec<&str> = self.loading[at..].iter().map(|name| &**name).collect();
            cycle.push(path);
            return fail(
                "E0208",
                span,
                format!("modules use each other in a circle: {}", cycle.join(" -> ")),
            );
        }
        if self.host.module(path).is_none() {
            let known = self.host.library();
            let mut diagnostic =
                Diagnostic::error("E0207", span, format!("there is no module `{path}`"));
            diagnostic = match aec_syntax::suggest::nearest(path, known.iter().map(String::as_str))
            {
                Some(near) => diagnostic.help_edit(format!("did you mean `{near}`?"), span, near),
                None => match crate::slips::library(path) {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic.note(
                        "a module is part of the library, or a file of that name beside the script",
                    ),
                },
            };
            return Err(Box::new(diagnostic));
        }
        let scope = self.prelude.module();
        self.loading.push(key.clone());
        let result = self.load_into(path, &scope);
        self.loading.pop();
        result?;
        let module = Rc::new(Module {
            path: key.clone(),
            scope,
        });
        self.modules.insert(key, module.clone());
        Ok(module)
    }
}
