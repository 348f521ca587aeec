//! What is wrong with a signature by its text alone: a size where a type is wanted, `x: D` for
//! `x: [D]`. A capital letter alone is a type (of any elements), so no other check would see it.

use crate::Elaborator;
use crate::statics::in_type;
use aec_syntax::ast::{
    FnDef, Item, ItemKind, ModelDef, ModelItem, Name, Pattern, Script, Stmt, StmtKind, TypeArg,
    TypeExpr, TypeKind,
};
use aec_syntax::{Diagnostic, Span};

impl Elaborator {
    /// The slips in the signatures of a script's functions and models. What else was found in such
    /// a definition follows from them, and is dropped.
    pub(crate) fn check_signatures(&mut self, script: &Script) {
        let others = std::mem::take(&mut self.found);
        self.find_bare_sizes(script);
        let slips: Vec<Span> = script
            .items
            .iter()
            .map(|item| item.span)
            .filter(|item| self.found.iter().any(|slip| within(slip.span(), *item)))
            .collect();
        let follows = |other: &Diagnostic| slips.iter().any(|item| within(other.span(), *item));
        self.found
            .extend(others.into_iter().filter(|other| !follows(other)));
    }

    fn find_bare_sizes(&mut self, script: &Script) {
        for Item { kind, .. } in &script.items {
            match kind {
                ItemKind::Model(def) => self.check_model_signatures(def),
                ItemKind::Stmt(Stmt {
                    kind: StmtKind::Fn(def),
                    ..
                }) => self.check_signature(def, &[]),
                ItemKind::Stmt(_)
                | ItemKind::Use { .. }
                | ItemKind::Precision(_)
                | ItemKind::Test { .. } => {}
            }
        }
    }

    fn check_model_signatures(&mut self, def: &ModelDef) {
        let sizes: Vec<&Name> = def
            .params
            .iter()
            .filter_map(|param| match (&param.pattern, &param.ty) {
                (Pattern::Name(name), None) => Some(&name.name),
                _ => None,
            })
            .collect();
        for item in &def.items {
            match item {
                ModelItem::Param { ty: Some(ty), .. } | ModelItem::Let { ty: Some(ty), .. } => {
                    self.check_bare(ty, &|name| sizes.iter().any(|size| ***size == *name));
                }
                ModelItem::Fn(member) => self.check_signature(member, &sizes),
                ModelItem::Param { ty: None, .. }
                | ModelItem::Let { ty: None, .. }
                | ModelItem::Error(_) => {}
            }
        }
    }

    /// `sizes`: those of the model around.
    fn check_signature(&mut self, def: &FnDef, sizes: &[&Name]) {
        let types = || {
            def.params
                .iter()
                .filter_map(|param| param.ty.as_ref())
                .chain(def.result.as_ref())
        };
        let is_size = |name: &str| {
            sizes.iter().any(|size| &***size == name) || types().any(|ty| in_type(ty, name, false))
        };
        for ty in types() {
            self.check_bare(ty, &is_size);
        }
    }

    fn check_bare(&mut self, ty: &TypeExpr, is_size: &dyn Fn(&str) -> bool) {
        if !bare(ty, is_size) {
            return;
        }
        let text = self.text(ty.span);
        let sizes = text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
            .unwrap_or(&text);
        let message = match &ty.kind {
            TypeKind::Group(args) if args.len() > 1 => {
                format!("`{sizes}` are sizes, not types")
            }
            _ => format!("`{sizes}` is a size, not a type"),
        };
        self.found
            .push(Diagnostic::error("E0204", ty.span, message).help_edit(
                format!("a tensor's type is its sizes in brackets: `[{sizes}]`"),
                ty.span,
                format!("[{sizes}]"),
            ));
    }
}

fn within(inner: Span, outer: Span) -> bool {
    inner.file == outer.file && outer.start <= inner.start && inner.end <= outer.end
}

/// `D`, `(D)` or `(H, D)` of sizes alone.
fn bare(ty: &TypeExpr, is_size: &dyn Fn(&str) -> bool) -> bool {
    match &ty.kind {
        TypeKind::Path(path) => path.len() == 1 && is_size(&path[0].name),
        TypeKind::Group(args) => {
            !args.is_empty()
                && args.iter().all(|arg| match arg {
                    TypeArg::Type(ty) => bare(ty, is_size),
                    TypeArg::Named(..) | TypeArg::Rest(_) => false,
                })
        }
        TypeKind::Shape(_)
        | TypeKind::Index { .. }
        | TypeKind::Call { .. }
        | TypeKind::Maybe(_)
        | TypeKind::Arrow(..)
        | TypeKind::Binary { .. }
        | TypeKind::Int(_)
        | TypeKind::Comprehension { .. }
        | TypeKind::Error => false,
    }
}
