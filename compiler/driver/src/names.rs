//! Which script statements a script's tests need: `aec test` runs only those `let`s, so that a
//! file may train for an hour and still have quick tests (SEMANTICS.md N4).

use aec_syntax::ast::*;
use std::collections::HashSet;

/// For each item, whether the tests of the script need it. Definitions are always kept; tests
/// themselves are not items to run.
pub fn needed_by_tests(script: &Script) -> Vec<bool> {
    let mut wanted = HashSet::new();
    for item in &script.items {
        if let ItemKind::Test { body, .. } = &item.kind {
            body.iter().for_each(|stmt| of_stmt(stmt, &mut wanted));
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

/// For each item, whether the definition of a name needs it. Of the script's `let`s only those
/// count that `keep`: a name that is mentioned may be a local one.
pub fn needed_by(script: &Script, name: &Name, keep: &dyn Fn(&Item) -> bool) -> Vec<bool> {
    closure(script, HashSet::from([name.clone()]), keep)
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
                of_item(item, &mut wanted);
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
    match pattern {
        Pattern::Name(ident) => wanted.contains(&ident.name),
        Pattern::Wildcard(_) => false,
        Pattern::Tuple(parts, _) => parts.iter().any(|part| binds(part, wanted)),
        Pattern::Record(fields, _) => fields.iter().any(|(_, part)| binds(part, wanted)),
    }
}

/// Adds every name that an item mentions; a local name that hides another costs no more than a
/// `let` run in vain.
fn of_item(item: &Item, out: &mut HashSet<Name>) {
    match &item.kind {
        ItemKind::Use { .. } | ItemKind::Precision(_) => {}
        ItemKind::Model(def) => {
            of_params(&def.params, out);
            for item in &def.items {
                match item {
                    ModelItem::Param { ty, init, .. } => {
                        of_option(ty, out);
                        init.iter().for_each(|init| of_init(init, out));
                    }
                    ModelItem::Let { ty, value, .. } => {
                        of_option(ty, out);
                        of_expr(value, out);
                    }
                    ModelItem::Fn(def) => of_fn(def, out),
                    ModelItem::Error(_) => {}
                }
            }
        }
        ItemKind::Test { body, .. } => body.iter().for_each(|stmt| of_stmt(stmt, out)),
        ItemKind::Stmt(stmt) => of_stmt(stmt, out),
    }
}

fn of_fn(def: &FnDef, out: &mut HashSet<Name>) {
    of_params(&def.params, out);
    of_option(&def.result, out);
    of_expr(&def.body, out);
}

fn of_params(params: &[Param], out: &mut HashSet<Name>) {
    for param in params {
        of_option(&param.ty, out);
        param
            .default
            .iter()
            .for_each(|default| of_expr(default, out));
    }
}

fn of_init(init: &Init, out: &mut HashSet<Name>) {
    match init {
        Init::Value(e) | Init::Draw(e) => of_expr(e, out),
    }
}

fn of_stmt(stmt: &Stmt, out: &mut HashSet<Name>) {
    match &stmt.kind {
        StmtKind::Let { ty, init, .. } => {
            of_option(ty, out);
            of_init(init, out);
        }
        StmtKind::Fn(def) => of_fn(def, out),
        StmtKind::For { iter, body, .. } => {
            of_expr(iter, out);
            body.iter().for_each(|stmt| of_stmt(stmt, out));
        }
        StmtKind::Print(values) => values.iter().for_each(|e| of_expr(e, out)),
        StmtKind::Assert { condition, message } => {
            of_expr(condition, out);
            message.iter().for_each(|e| of_expr(e, out));
        }
        StmtKind::If {
            condition,
            then,
            otherwise,
        } => {
            of_expr(condition, out);
            then.iter().for_each(|stmt| of_stmt(stmt, out));
            otherwise
                .iter()
                .flat_map(|body| body.iter())
                .for_each(|stmt| of_stmt(stmt, out));
        }
        StmtKind::Expr(e) => of_expr(e, out),
        StmtKind::Assign { value, .. } => of_expr(value, out),
        StmtKind::Error => {}
    }
}

fn of_expr(e: &Expr, out: &mut HashSet<Name>) {
    match &e.kind {
        ExprKind::Name(name) => {
            out.insert(name.clone());
        }
        ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Bool(_)
        | ExprKind::Hidden
        | ExprKind::Placeholder
        | ExprKind::Error => {}
        ExprKind::Str(parts) => {
            for part in parts {
                match part {
                    StrPart::Text(_) => {}
                    StrPart::Value { expr, .. } => of_expr(expr, out),
                }
            }
        }
        ExprKind::Block(stmts) => stmts.iter().for_each(|stmt| of_stmt(stmt, out)),
        ExprKind::Paren(inner)
        | ExprKind::Transpose(inner)
        | ExprKind::Neg(inner)
        | ExprKind::Not(inner) => {
            of_expr(inner, out);
        }
        ExprKind::Tuple(parts) | ExprKind::List(parts) => {
            parts.iter().for_each(|part| of_expr(part, out))
        }
        ExprKind::Record(fields) => fields.iter().for_each(|(_, value)| of_expr(value, out)),
        ExprKind::Comprehension {
            element,
            iter,
            condition,
            ..
        } => {
            of_expr(element, out);
            of_expr(iter, out);
            condition
                .iter()
                .for_each(|condition| of_expr(condition, out));
        }
        ExprKind::Call { callee, args } => {
            of_expr(callee, out);
            args.iter().for_each(|arg| of_expr(&arg.value, out));
        }
        ExprKind::Index { base, indices } => {
            of_expr(base, out);
            for index in indices {
                match index {
                    Index::At(at) => of_expr(at, out),
                    Index::Slice { start, end, .. } => {
                        start
                            .iter()
                            .chain(end)
                            .for_each(|bound| of_expr(bound, out));
                    }
                    Index::All(_) => {}
                }
            }
        }
        ExprKind::Field { base, .. } | ExprKind::TupleField { base, .. } => of_expr(base, out),
        ExprKind::Binary { left, right, .. } => {
            of_expr(left, out);
            of_expr(right, out);
        }
        ExprKind::Range { start, end } => {
            of_expr(start, out);
            of_expr(end, out);
        }
        ExprKind::Pipe { value, into } => {
            of_expr(value, out);
            of_expr(into, out);
        }
        ExprKind::Lambda(lambda) => {
            of_params(&lambda.params, out);
            of_expr(&lambda.body, out);
        }
        ExprKind::If {
            condition,
            then,
            otherwise,
        } => {
            of_expr(condition, out);
            of_expr(then, out);
            of_expr(otherwise, out);
        }
        ExprKind::Train {
            model,
            data,
            settings,
        } => {
            of_expr(model, out);
            of_expr(data, out);
            settings.iter().for_each(|(_, value)| of_expr(value, out));
        }
    }
}

fn of_option(ty: &Option<TypeExpr>, out: &mut HashSet<Name>) {
    if let Some(ty) = ty {
        of_type(ty, out);
    }
}

fn of_type(ty: &TypeExpr, out: &mut HashSet<Name>) {
    let path = |path: &[Ident], out: &mut HashSet<Name>| {
        if let Some(first) = path.first() {
            out.insert(first.name.clone());
        }
    };
    match &ty.kind {
        TypeKind::Int(_) | TypeKind::Error => {}
        TypeKind::Path(names) => path(names, out),
        TypeKind::Index { path: names, args } => {
            path(names, out);
            of_type_args(args, out);
        }
        TypeKind::Call { path: names, args } => {
            path(names, out);
            args.iter().for_each(|arg| of_expr(&arg.value, out));
        }
        TypeKind::Shape(args) | TypeKind::Group(args) => of_type_args(args, out),
        TypeKind::Maybe(inner) => of_type(inner, out),
        TypeKind::Comprehension { element, iter, .. } => {
            of_type(element, out);
            of_expr(iter, out);
        }
        TypeKind::Binary { left, right, .. } | TypeKind::Arrow(left, right) => {
            of_type(left, out);
            of_type(right, out);
        }
    }
}

fn of_type_args(args: &[TypeArg], out: &mut HashSet<Name>) {
    for arg in args {
        match arg {
            TypeArg::Type(ty) | TypeArg::Named(_, ty) => of_type(ty, out),
            TypeArg::Rest(_) => {}
        }
    }
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
