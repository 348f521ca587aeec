//! Strips: whole rows of a product, which its epilogue gets one at a time in memory that nobody
//! reads afterwards. So a pass over the row may leave there what the next one reads.

use crate::lir::{Access, Affine, BufferId, Kernel, Loop, Stmt, Val, ValKind, Var};
use crate::nest::operands;
use crate::tidy;

/// The index of an element of the product's strip: `row` and `col` count as in the product.
pub fn place(row: Var, col: Var) -> Affine {
    Affine {
        base: 0,
        vars: vec![(row, 32), (col, 1)],
        args: vec![(0, -32), (2, -1)],
    }
}

/// The other variable of an index with two.
fn other_var(index: &Affine, var: Var) -> Var {
    let other = index.vars.iter().find(|(of, _)| *of != var);
    other.map_or(var, |&(of, _)| of)
}

/// A value that only later passes over a row read, `n` of them in a row, stays in the product's
/// strip, which is the kernel's own, if no later pass reads the product itself. What would only
/// copy the product elsewhere does so in the pass that overwrites it.
pub fn keep_in_strip(kernel: &mut Kernel, buffer: BufferId, n: usize) {
    let tile = BufferId::from_u32(0);
    if kernel.buffers[buffer].elem != kernel.buffers[tile].elem {
        return;
    }
    let values = &kernel.values;
    let Some(Stmt::Loop(row)) = kernel.body.iter_mut().find(|s| matches!(s, Stmt::Loop(_))) else {
        return;
    };
    let row_var = row.var;
    let loads = |stmt: &Stmt, of: BufferId| match stmt {
        Stmt::Let(val) => match &values[*val].kind {
            ValKind::Load { buffer, .. } | ValKind::LoadAt { buffer, .. } => *buffer == of,
            _ => false,
        },
        _ => false,
    };
    let stores = |stmt: &Stmt| matches!(stmt, Stmt::Store { buffer: to, .. } if *to == buffer);
    let own_place = |index: &Affine, col: Var| {
        index.base == 0
            && index.args.is_empty()
            && index.vars.len() == 2
            && tidy::coefficient(index, row_var) == n as i64
            && tidy::coefficient(index, col) == 1
    };
    let mut passes: Vec<&mut Loop> = row
        .body
        .iter_mut()
        .filter_map(|stmt| match stmt {
            Stmt::Loop(pass) => Some(pass),
            _ => None,
        })
        .collect();
    let Some(first) = passes.iter().position(|pass| pass.body.iter().any(stores)) else {
        return;
    };
    let (before, rest) = passes.split_at_mut(first);
    let Some((first, later)) = rest.split_first_mut() else {
        return;
    };
    // Where the product is loaded, and where the value then takes its place.
    let load = first.body.iter().position(|stmt| loads(stmt, tile));
    let store = first.body.iter().position(stores);
    let (Some(load), Some(store)) = (load, store) else {
        return;
    };
    let all_at_own_place = before
        .iter()
        .chain([&*first])
        .chain(later.iter())
        .all(|pass| {
            pass.body.iter().all(|stmt| match stmt {
                Stmt::Let(val) => match &values[*val].kind {
                    ValKind::Load { buffer: of, index } => {
                        *of != buffer || own_place(index, pass.var)
                    }
                    ValKind::LoadAt { buffer: of, .. } => *of != buffer && *of != tile,
                    _ => true,
                },
                Stmt::Store {
                    buffer: to, index, ..
                } => *to != buffer || own_place(index, pass.var),
                _ => true,
            })
        });
    let early = before
        .iter()
        .any(|pass| pass.body.iter().any(|stmt| loads(stmt, buffer)))
        || first.body.iter().any(|stmt| loads(stmt, buffer));
    let again = first.body[store..].iter().any(|stmt| loads(stmt, tile))
        || first.body[store + 1..].iter().any(stores);
    let only_copied = |pass: &Loop| {
        let of_tile = |val: &Val| loads(&Stmt::Let(*val), tile);
        pass.body.iter().all(|stmt| match stmt {
            Stmt::Let(val) => !operands(&values[*val].kind).iter().any(of_tile),
            Stmt::Accumulate(_, val) => !of_tile(val),
            _ => true,
        })
    };
    if !all_at_own_place || early || again || !later.iter().all(|pass| only_copied(pass)) {
        return;
    }
    let Stmt::Let(product) = first.body[load] else {
        return;
    };
    let mut copies = Vec::new();
    for pass in later {
        let col = pass.var;
        pass.body.retain(|stmt| match stmt {
            Stmt::Store {
                buffer: to,
                index,
                value,
            } if loads(&Stmt::Let(*value), tile) => {
                let mut index = index.clone();
                for (var, _) in &mut index.vars {
                    if *var == col {
                        *var = first.var;
                    }
                }
                copies.push(Stmt::Store {
                    buffer: *to,
                    index,
                    value: product,
                });
                false
            }
            _ => true,
        });
    }
    first.body.splice(load + 1..load + 1, copies);
    tidy::for_each_stmt_mut(&mut kernel.body, &mut |stmt| {
        if let Stmt::Store {
            buffer: to, index, ..
        } = stmt
            && *to == buffer
        {
            *to = tile;
            *index = place(row_var, other_var(index, row_var));
        }
    });
    for data in kernel.values.values_mut() {
        if let ValKind::Load { buffer: of, index } = &mut data.kind
            && *of == buffer
        {
            *of = tile;
            *index = place(row_var, other_var(index, row_var));
        }
    }
    kernel.buffers[tile].access = Access::ReadWrite;
}
