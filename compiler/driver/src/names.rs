//! Which script statements a script's tests need: `aec test` runs only those `let`s, so that a
//! file may train for an hour and still have quick tests (SEMANTICS.md N4).

use aec_syntax::ast::*;
use aec_syntax::free;
use std::collections::HashSet;

/// For each item, whether the tests of the script need it. Definitions are always kept; tests
/// themselves are not items to run.
pub fn needed_by_tests(script: &Script) -> Vec<bool> {
    let mut wanted = HashSet::new();
    for item in &script.items {
        if let ItemKind::Test { .. } = item.kind {
            wanted.extend(mentioned(item));
        }
    }
    let mut needed = closure(script, wanted, &|_| true);
    for (at, item) in script.items.iter().enumerate() {
        needed[at] |= match &item.kind {
            ItemKind::Use { .. } | ItemKind::Precision(_) | ItemKind::Model(_) => true,
            ItemKind::Stmt(stmt) => matches!(stmt.kind, StmtKind::Fn(_)),
            ItemKind::Test { .. } => false,
        };
    }
    needed
}

/// For each item, whether the definitions of these names need it. Of the script's `let`s only
/// those count that `keep`: a name that is mentioned may be a local one.
pub fn needed_by(script: &Script, names: HashSet<Name>, keep: &dyn Fn(&Item) -> bool) -> Vec<bool> {
    closure(script, names, keep)
}

/// The items that define what is wanted, and what those want in turn.
fn closure(script: &Script, mut wanted: HashSet<Name>, keep: &dyn Fn(&Item) -> bool) -> Vec<bool> {
    let mut needed = vec![false; script.items.len()];
    loop {
        let mut changed = false;
        for (at, item) in script.items.iter().enumerate() {
            if !needed[at] && defines_any(item, &wanted) && keep(item) {
                needed[at] = true;
                changed = true;
                wanted.extend(mentioned(item));
            }
        }
        if !changed {
            return needed;
        }
    }
}

fn defines_any(item: &Item, wanted: &HashSet<Name>) -> bool {
    match &item.kind {
        ItemKind::Use { path, alias } => alias
            .as_ref()
            .or(path.last())
            .is_some_and(|ident| wanted.contains(&ident.name)),
        ItemKind::Model(def) => wanted.contains(&def.name.name),
        ItemKind::Precision(_) | ItemKind::Test { .. } => false,
        ItemKind::Stmt(stmt) => stmt_defines(stmt, wanted),
    }
}

fn stmt_defines(stmt: &Stmt, wanted: &HashSet<Name>) -> bool {
    match &stmt.kind {
        StmtKind::Let { pattern, .. }
        | StmtKind::Assign {
            target: pattern, ..
        } => binds(pattern, wanted),
        StmtKind::Fn(def) => wanted.contains(&def.name.name),
        StmtKind::For { body, .. } => body.iter().any(|stmt| stmt_assigns(stmt, wanted)),
        StmtKind::If {
            then, otherwise, ..
        } => then
            .iter()
            .chain(otherwise.iter().flat_map(|body| body.iter()))
            .any(|stmt| stmt_assigns(stmt, wanted)),
        StmtKind::Print(_) | StmtKind::Assert { .. } | StmtKind::Expr(_) | StmtKind::Error => false,
    }
}

/// Inside a block only an assignment reaches names outside.
fn stmt_assigns(stmt: &Stmt, wanted: &HashSet<Name>) -> bool {
    match &stmt.kind {
        StmtKind::Let { .. } | StmtKind::Fn(_) => false,
        StmtKind::Assign { .. }
        | StmtKind::For { .. }
        | StmtKind::If { .. }
        | StmtKind::Print(_)
        | StmtKind::Assert { .. }
        | StmtKind::Expr(_)
        | StmtKind::Error => stmt_defines(stmt, wanted),
    }
}

fn binds(pattern: &Pattern, wanted: &HashSet<Name>) -> bool {
    let mut names = pattern.names().into_iter();
    names.any(|ident| wanted.contains(&ident.name))
}

/// What an item mentions of other items.
fn mentioned(item: &Item) -> impl Iterator<Item = Name> {
    free::of_item(item).into_iter().map(|free| free.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aec_syntax::{FileId, parse_script};

    #[test]
    fn only_what_tests_reach_is_needed() {
        let text = "let a = 1\nlet b = a + 1\nlet c = 5\nfn f(x) = x + b\nprint c\nlet d = 0\n\
                    for i in 0..3 { d = d + c }\ntest \"t\" {\n  assert f(1) == 3\n}\n";
        let (script, errors) = parse_script(FileId(0), text);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(
            needed_by_tests(&script),
            [true, true, false, true, false, false, false, false]
        );
    }

    #[test]
    fn a_loop_that_assigns_what_a_test_reads_is_needed() {
        let text = "let d = 0\nfor i in 0..3 { d = d + i }\ntest \"t\" {\n  assert d == 3\n}\n";
        let (script, _) = parse_script(FileId(0), text);
        assert_eq!(needed_by_tests(&script), [true, true, false]);
    }
}
