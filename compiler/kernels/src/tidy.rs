//! What is done to a kernel once it is emitted: dead values go, and adjacent loops that walk memory as
//! one become one.

use crate::lir::{Acc, Affine, Bound, BufferId, Kernel, Loop, Stmt, Val, ValKind, Var};
use crate::nest::operands;
use cranelift_entity::{EntitySet, SecondaryMap};

/// Calls `visit` on each statement, outer ones first.
pub fn for_each_stmt<'k>(body: &'k [Stmt], visit: &mut impl FnMut(&'k Stmt)) {
    for stmt in body {
        visit(stmt);
        if let Stmt::Loop(inner) = stmt {
            for_each_stmt(&inner.body, visit);
        }
    }
}

/// Calls `visit` on each statement to change it, outer ones first.
pub fn for_each_stmt_mut(body: &mut [Stmt], visit: &mut impl FnMut(&mut Stmt)) {
    for stmt in body {
        visit(stmt);
        if let Stmt::Loop(inner) = stmt {
            for_each_stmt_mut(&mut inner.body, visit);
        }
    }
}

/// Removes values that nothing uses, and numbers the rest in order of appearance.
pub fn eliminate_dead(kernel: &mut Kernel) {
    eliminate_dead_keeping_vars(kernel);
    renumber(kernel);
}

/// Removes values that nothing uses; all numbers stay.
pub fn eliminate_dead_keeping_vars(kernel: &mut Kernel) {
    let mut live: EntitySet<Val> = EntitySet::with_capacity(kernel.values.len());
    let mut roots: Vec<Val> = Vec::new();
    for_each_stmt(&kernel.body, &mut |stmt| match stmt {
        Stmt::Loop(_) | Stmt::Let(_) | Stmt::Init(_) => {}
        Stmt::Store { value, .. } | Stmt::Accumulate(_, value) => roots.push(*value),
        Stmt::StoreAt { value, at, .. } => roots.extend([*value, *at]),
        Stmt::Check { ok, detail, .. } => roots.extend([*ok, *detail]),
    });
    while let Some(val) = roots.pop() {
        if live.insert(val) {
            roots.extend(operands(&kernel.values[val].kind));
        }
    }
    sweep(&mut kernel.body, &live);
}

/// Removes stores to buffers that nobody wants but the kernel itself, and that it never loads; all
/// numbers stay.
pub fn drop_unread(kernel: &mut Kernel, private: &[BufferId]) {
    eliminate_dead_keeping_vars(kernel);
    let mut unread = private.to_vec();
    for_each_stmt(&kernel.body, &mut |stmt| {
        if let Stmt::Let(val) = stmt
            && let ValKind::Load { buffer, .. } | ValKind::LoadAt { buffer, .. } =
                &kernel.values[*val].kind
        {
            unread.retain(|own| own != buffer);
        }
    });
    if !unread.is_empty() {
        let kept = |stmt: &Stmt| match stmt {
            Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => !unread.contains(buffer),
            Stmt::Loop(_)
            | Stmt::Let(_)
            | Stmt::Init(_)
            | Stmt::Accumulate(..)
            | Stmt::Check { .. } => true,
        };
        retain(&mut kernel.body, &kept);
    }
}

fn retain(body: &mut Vec<Stmt>, kept: &impl Fn(&Stmt) -> bool) {
    body.retain_mut(|stmt| {
        if let Stmt::Loop(inner) = stmt {
            retain(&mut inner.body, kept);
        }
        kept(stmt)
    });
}

fn sweep(body: &mut Vec<Stmt>, live: &EntitySet<Val>) {
    body.retain_mut(|stmt| match stmt {
        Stmt::Let(val) => live.contains(*val),
        Stmt::Loop(inner) => {
            sweep(&mut inner.body, live);
            !inner.body.is_empty()
        }
        Stmt::Store { .. }
        | Stmt::StoreAt { .. }
        | Stmt::Init(_)
        | Stmt::Accumulate(..)
        | Stmt::Check { .. } => true,
    });
}

/// Numbers values, variables and accumulators in order of appearance, so that kernels that do
/// the same compare equal.
fn renumber(kernel: &mut Kernel) {
    let mut vals: SecondaryMap<Val, Val> = SecondaryMap::with_default(Val::from_u32(0));
    let mut vars: SecondaryMap<Var, Var> = SecondaryMap::with_default(Var::from_u32(0));
    let mut accs = SecondaryMap::with_default(Acc::from_u32(0));
    let old_values = std::mem::take(&mut kernel.values);
    let old_accs = std::mem::take(&mut kernel.accs);
    kernel.vars.clear();
    let mut body = std::mem::take(&mut kernel.body);
    for_each_stmt_mut(&mut body, &mut |stmt| match stmt {
        Stmt::Loop(inner) => {
            for bound in [&mut inner.start, &mut inner.end] {
                if let Bound::Block { of, .. } | Bound::BlockEnd { of, .. } = bound {
                    *of = vars[*of];
                }
            }
            vars[inner.var] = kernel.vars.push(crate::lir::VarData);
            inner.var = vars[inner.var];
        }
        Stmt::Let(val) => {
            let mut data = old_values[*val].clone();
            for operand in operands_mut(&mut data.kind) {
                *operand = vals[*operand];
            }
            if let Some(index) = affine_mut(&mut data.kind) {
                rename_affine(index, &vars);
            }
            if let ValKind::AccRead(acc) = &mut data.kind {
                *acc = accs[*acc];
            }
            vals[*val] = kernel.values.push(data);
            *val = vals[*val];
        }
        Stmt::Store { index, value, .. } => {
            rename_affine(index, &vars);
            *value = vals[*value];
        }
        Stmt::StoreAt {
            index, at, value, ..
        } => {
            rename_affine(index, &vars);
            *value = vals[*value];
            *at = vals[*at];
        }
        Stmt::Init(acc) => {
            accs[*acc] = kernel.accs.push(old_accs[*acc]);
            *acc = accs[*acc];
        }
        Stmt::Accumulate(acc, value) => {
            *acc = accs[*acc];
            *value = vals[*value];
        }
        Stmt::Check { ok, detail, .. } => {
            *ok = vals[*ok];
            *detail = vals[*detail];
        }
    });
    kernel.body = body;
}

fn rename_affine(index: &mut Affine, vars: &SecondaryMap<Var, Var>) {
    for (var, _) in &mut index.vars {
        *var = vars[*var];
    }
    index.vars.sort();
}

fn operands_mut(kind: &mut ValKind) -> Vec<&mut Val> {
    match kind {
        ValKind::Float(_)
        | ValKind::Int(_)
        | ValKind::Bool(_)
        | ValKind::Index(_)
        | ValKind::Load { .. }
        | ValKind::AccRead(_) => vec![],
        ValKind::LoadAt { at, .. } => vec![at],
        ValKind::Unary(_, a)
        | ValKind::Convert(a)
        | ValKind::Bitcast(a)
        | ValKind::DrawKey(a, _) => vec![a],
        ValKind::Binary(_, a, b) | ValKind::Compare(_, a, b) => vec![a, b],
        ValKind::Fma(a, b, c) | ValKind::Select(a, b, c) => vec![a, b, c],
        ValKind::Draw {
            key,
            inner,
            example,
            step,
            ..
        } => vec![key, inner, example, step],
    }
}

/// The affine index in a value, if it has one.
pub fn affine_mut(kind: &mut ValKind) -> Option<&mut Affine> {
    match kind {
        ValKind::Index(index)
        | ValKind::Load { index, .. }
        | ValKind::LoadAt { index, .. }
        | ValKind::Draw { element: index, .. } => Some(index),
        ValKind::Float(_)
        | ValKind::Int(_)
        | ValKind::Bool(_)
        | ValKind::Unary(..)
        | ValKind::Binary(..)
        | ValKind::Fma(..)
        | ValKind::Compare(..)
        | ValKind::Select(..)
        | ValKind::Convert(_)
        | ValKind::Bitcast(_)
        | ValKind::AccRead(_)
        | ValKind::DrawKey(..) => None,
    }
}

/// The affine index in a value, if it has one.
pub fn affine(kind: &ValKind) -> Option<&Affine> {
    match kind {
        ValKind::Index(index)
        | ValKind::Load { index, .. }
        | ValKind::LoadAt { index, .. }
        | ValKind::Draw { element: index, .. } => Some(index),
        ValKind::Float(_)
        | ValKind::Int(_)
        | ValKind::Bool(_)
        | ValKind::Unary(..)
        | ValKind::Binary(..)
        | ValKind::Fma(..)
        | ValKind::Compare(..)
        | ValKind::Select(..)
        | ValKind::Convert(_)
        | ValKind::Bitcast(_)
        | ValKind::AccRead(_)
        | ValKind::DrawKey(..) => None,
    }
}

/// Coefficient of a variable.
pub fn coefficient(index: &Affine, var: Var) -> i64 {
    index
        .vars
        .iter()
        .find(|&&(v, _)| v == var)
        .map_or(0, |&(_, c)| c)
}

/// Merges a loop with the only loop in it wherever every index walks both as one.
/// `may_merge` can forbid a pair (outer, inner).
pub fn collapse(kernel: &mut Kernel, may_merge: &dyn Fn(Var, Var) -> bool) {
    let mut body = std::mem::take(&mut kernel.body);
    collapse_body(kernel, &mut body, may_merge);
    kernel.body = body;
}

fn collapse_body(kernel: &mut Kernel, body: &mut [Stmt], may_merge: &dyn Fn(Var, Var) -> bool) {
    for stmt in body {
        let Stmt::Loop(outer) = stmt else { continue };
        collapse_body(kernel, &mut outer.body, may_merge);
        while let Some(merged) = merge(kernel, outer, may_merge) {
            *outer = merged;
        }
    }
}

fn merge(kernel: &mut Kernel, outer: &mut Loop, may: &dyn Fn(Var, Var) -> bool) -> Option<Loop> {
    let [Stmt::Loop(inner)] = outer.body.as_slice() else {
        return None;
    };
    let (Bound::Const(0), Bound::Const(rows)) = (outer.start, outer.end) else {
        return None;
    };
    let (Bound::Const(0), Bound::Const(columns)) = (inner.start, inner.end) else {
        return None;
    };
    if outer.lanes || !may(outer.var, inner.var) {
        return None;
    }
    let fits =
        |index: &Affine| coefficient(index, outer.var) == columns * coefficient(index, inner.var);
    let mut ok = true;
    let mut vals = Vec::new();
    for_each_stmt(&inner.body, &mut |stmt| match stmt {
        Stmt::Let(val) => {
            if let Some(index) = affine(&kernel.values[*val].kind) {
                ok &= fits(index);
                vals.push(*val);
            }
        }
        Stmt::Store { index, .. } | Stmt::StoreAt { index, .. } => ok &= fits(index),
        Stmt::Loop(_) | Stmt::Init(_) | Stmt::Accumulate(..) | Stmt::Check { .. } => {}
    });
    if !ok {
        return None;
    }
    let outer_var = outer.var;
    let drop_outer = |index: &mut Affine| index.vars.retain(|(v, _)| *v != outer_var);
    for val in vals {
        if let Some(index) = affine_mut(&mut kernel.values[val].kind) {
            drop_outer(index);
        }
    }
    let mut inner = inner.clone();
    inner.end = Bound::Const(rows * columns);
    for_each_stmt_mut(&mut inner.body, &mut |stmt| match stmt {
        Stmt::Store { index, .. } | Stmt::StoreAt { index, .. } => drop_outer(index),
        Stmt::Loop(_)
        | Stmt::Let(_)
        | Stmt::Init(_)
        | Stmt::Accumulate(..)
        | Stmt::Check { .. } => {}
    });
    Some(inner)
}

/// Accumulators that a loop feeds but does not set.
pub fn fed_from_outside(inner: &Loop) -> Vec<Acc> {
    let mut fed: Vec<Acc> = Vec::new();
    let mut own: Vec<Acc> = Vec::new();
    for_each_stmt(&inner.body, &mut |stmt| match stmt {
        Stmt::Accumulate(acc, _) => {
            if !fed.contains(acc) {
                fed.push(*acc);
            }
        }
        Stmt::Init(acc) => own.push(*acc),
        Stmt::Loop(_)
        | Stmt::Let(_)
        | Stmt::Store { .. }
        | Stmt::StoreAt { .. }
        | Stmt::Check { .. } => {}
    });
    fed.retain(|acc| !own.contains(acc));
    fed
}
