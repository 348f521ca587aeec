//! F1: there is no recursion. A function that calls itself, alone or through others, is found by
//! the names that the functions of a script mention, whether or not it would end.

use crate::Elaborator;
use aec_syntax::ast::{FnDef, Item, ItemKind, Name, Script, StmtKind};
use aec_syntax::{Diagnostic, Span, free};
use rustc_hash::{FxHashMap, FxHashSet};

/// The functions that a script's functions mention, and where.
type Mentions = FxHashMap<Name, Vec<(Name, Span)>>;

impl Elaborator {
    /// The functions of a script that call themselves. What elaboration says of them follows.
    pub(crate) fn check_recursion(&mut self, script: &Script) {
        let mentions = mentions(script);
        let mut reported: Vec<Name> = Vec::new();
        for item in &script.items {
            let Some(def) = function(item) else { continue };
            let name = &def.name.name;
            if reported.contains(name) {
                continue;
            }
            let Some((through, at)) = way_back(name, &mentions) else {
                continue;
            };
            self.found.retain(|other| other.code != "E0404");
            let message = match through.first() {
                None => format!("`{name}` calls itself"),
                Some(next) => format!("`{name}` calls `{next}`, which calls `{name}` again"),
            };
            reported.extend(through);
            reported.push(name.clone());
            self.found.push(
                Diagnostic::error("E0404", at, message)
                    .help("there is no recursion; `iterate`, `scan` and `fold` repeat"),
            );
        }
    }
}

fn function(item: &Item) -> Option<&FnDef> {
    match &item.kind {
        ItemKind::Stmt(stmt) => match &stmt.kind {
            StmtKind::Fn(def) => Some(def),
            _ => None,
        },
        ItemKind::Model(_)
        | ItemKind::Use { .. }
        | ItemKind::Precision(_)
        | ItemKind::Test { .. } => None,
    }
}

fn mentions(script: &Script) -> Mentions {
    let mut found: Mentions = FxHashMap::default();
    let functions: Vec<&FnDef> = script.items.iter().filter_map(function).collect();
    let names: FxHashSet<&Name> = functions.iter().map(|def| &def.name.name).collect();
    for def in &functions {
        let own = free::of_function(def).into_iter();
        let own = own.filter(|free| !free.in_type && names.contains(&free.name));
        let own = own.map(|free| (free.name, free.span));
        found.entry(def.name.name.clone()).or_default().extend(own);
    }
    found
}

/// The functions between `name` and its own call, and the place in `name` where the way begins.
fn way_back(name: &Name, mentions: &Mentions) -> Option<(Vec<Name>, Span)> {
    // For each function that was reached, the one before it.
    let mut before: FxHashMap<&Name, (&Name, Span)> = FxHashMap::default();
    let mut open = vec![name];
    while let Some(at) = open.pop() {
        for (next, span) in mentions.get(at).into_iter().flatten() {
            if next == name {
                let (mut through, mut place, mut at) = (Vec::new(), *span, at);
                while at != name {
                    through.push(at.clone());
                    (at, place) = before[at];
                }
                through.reverse();
                return Some((through, place));
            }
            if !before.contains_key(next) {
                before.insert(next, (at, *span));
                open.push(next);
            }
        }
    }
    None
}
