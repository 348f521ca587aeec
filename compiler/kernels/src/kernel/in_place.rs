//! Whether a kernel may write its result over what it reads.

use super::Built;
use crate::emit::Bind;
use crate::lir::{Access, Affine, BufferId, Kernel, Stmt, ValKind, Var};
use aec_ir::Value;
use cranelift_entity::EntityRef;

/// Whether a kernel stores to `written` only at the place it has just loaded from `read`, so
/// that both may be the same memory.
pub fn in_place(built: &Built, read: Value, written: Value) -> bool {
    let kernel = &built.kernel;
    let find = |v: Value, store: bool| {
        kernel.buffers.iter().find_map(|(id, buffer)| {
            let fits = buffer.access != if store { Access::Read } else { Access::Write };
            (fits && built.binds[id.index()] == Bind::Value(v)).then_some(id)
        })
    };
    let Some(from) = find(read, false) else {
        return true;
    };
    let Some(to) = find(written, true) else {
        return true;
    };
    // Stores and loads must have the same index, and stand in the same loops.
    let mut places = Vec::new();
    if !collect(kernel, &kernel.body, &mut Vec::new(), from, to, &mut places) {
        return false;
    }
    let Some((_, index, loops)) = places.first() else {
        return true;
    };
    let mut stored = false;
    places.iter().all(|(store, i, l)| {
        // No load after the store.
        let order = *store || !stored;
        stored |= store;
        order && i == index && l == loops
    })
}

/// The places at which `from` is loaded (false) and `to` is stored (true), with the loops around
/// them. False if one of them is not known before the kernel runs.
fn collect<'k>(
    kernel: &'k Kernel,
    body: &'k [Stmt],
    loops: &mut Vec<Var>,
    from: BufferId,
    to: BufferId,
    out: &mut Vec<(bool, &'k Affine, Vec<Var>)>,
) -> bool {
    body.iter().all(|stmt| match stmt {
        Stmt::Loop(inner) => {
            loops.push(inner.var);
            let ok = collect(kernel, &inner.body, loops, from, to, out);
            loops.pop();
            ok
        }
        Stmt::Let(val) => match &kernel.values[*val].kind {
            ValKind::Load { buffer, index } => {
                if *buffer == from {
                    out.push((false, index, loops.clone()));
                }
                true
            }
            ValKind::LoadAt { buffer, .. } => *buffer != from,
            _ => true,
        },
        Stmt::Store { buffer, index, .. } => {
            if *buffer == to {
                out.push((true, index, loops.clone()));
            }
            true
        }
        Stmt::StoreAt { buffer, .. } => *buffer != to,
        Stmt::Init(_) | Stmt::Accumulate(..) | Stmt::Check { .. } => true,
    })
}
