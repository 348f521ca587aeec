//! Forms of an emitted kernel: on tiles or whole rows of a product, on ranges for threads, and without
//! the buffers that only dead code used.

use super::Built;
use crate::emit::Fail;
use crate::lir::{Access, Bound, Buffer, BufferId, Kernel, Stmt, ValKind, Var};
use crate::prepare::Prepared;
use crate::product::Product;
use crate::{strip, tidy};
use aec_ir::Value;
use aec_runtime::gemm;
use cranelift_entity::{EntityRef, PrimaryMap};

/// Work below which threads do not pay, in estimated cycles.
const PARALLEL_CYCLES: f64 = 24_000.0;
/// Work of one grain.
const GRAIN_CYCLES: f64 = 8_000.0;
/// Fewest rows of a product that are given whole: threads share them out by rows alone.
const WHOLE_ROWS_FROM: usize = 32;
/// Most elements of a right side that every row block reads as a whole: a quarter of L2, as strips of
/// a row read at once otherwise. (With 1.2 MB a product lost more than the pass over its rows took.)
const WHOLE_ROWS_B: usize = 1 << 17;

/// Lets a kernel over the space of a product, of which so many axes are rows, run on the product's
/// tiles, or on whole rows; then values that have memory for its passes alone (`private`) stay in a
/// strip. Gives whether it wants whole rows.
pub(super) fn on_tiles(
    kernel: &mut Kernel,
    prepared: &Prepared,
    (product, rows): (Value, usize),
    private: &[BufferId],
) -> Result<bool, Fail> {
    let dims = prepared.f.dims(product);
    let whole_rows = as_tile(kernel, dims, rows)?;
    if whole_rows && !gives_whole_rows(&prepared.products[&product]) {
        return Err(Fail::Illegal("the product gives no whole rows"));
    }
    if whole_rows {
        for &buffer in private {
            strip::keep_in_strip(kernel, buffer, dims[rows..].iter().product());
        }
    }
    Ok(whole_rows)
}

/// Whether the runtime gives whole rows of a product at little cost.
fn gives_whole_rows(product: &Product) -> bool {
    let plain = product.b.rows.uniform().is_some() && product.b.cols.uniform().is_some();
    plain
        && product.batch == 1
        && product.first.is_none()
        && product.m >= WHOLE_ROWS_FROM
        && product.k <= gemm::WHOLE_ROWS_DEPTH
        && product.k * product.n <= WHOLE_ROWS_B
}

/// Turns a nest over a product's space into one over a tile of it, or over some of its rows as a
/// whole if it has several loops over the columns or sums over them. Gives which.
fn as_tile(kernel: &mut Kernel, dims: &[usize], rows: usize) -> Result<bool, Fail> {
    let m: usize = dims[..rows].iter().product();
    let n: usize = dims[rows..].iter().product();
    let loops: Vec<usize> = kernel
        .body
        .iter()
        .enumerate()
        .filter(|(_, stmt)| !matches!(stmt, Stmt::Let(_)))
        .map(|(at, _)| at)
        .collect();
    let [at] = loops[..] else {
        return Err(Fail::Illegal("more than one loop over the tile"));
    };
    let Stmt::Loop(row) = &mut kernel.body[at] else {
        return Err(Fail::Illegal("no loop over the tile"));
    };
    if (row.start, row.end) != (Bound::Const(0), Bound::Const(m as i64)) {
        return Err(Fail::Illegal("its rows are not the product's"));
    }
    let row_var = row.var;
    let mut col_vars = Vec::new();
    let mut whole_rows = !kernel.accs.is_empty();
    for stmt in &row.body {
        match stmt {
            Stmt::Let(_) => {}
            Stmt::Loop(col) => {
                if (col.start, col.end) != (Bound::Const(0), Bound::Const(n as i64)) {
                    return Err(Fail::Illegal("its columns are not the product's"));
                }
                if col.body.iter().any(|s| matches!(s, Stmt::Loop(_))) {
                    return Err(Fail::Illegal("a loop inside the tile"));
                }
                col_vars.push(col.var);
            }
            Stmt::Store { .. } | Stmt::Init(_) => whole_rows = true,
            Stmt::StoreAt { .. } | Stmt::Accumulate(..) | Stmt::Check { .. } => {
                return Err(Fail::Illegal("work outside the tile's columns"));
            }
        }
    }
    whole_rows |= col_vars.len() > 1;
    if col_vars.is_empty() {
        return Err(Fail::Illegal("no loop over the tile's columns"));
    }
    if !whole_rows {
        for stmt in &mut row.body {
            if let Stmt::Loop(col) = stmt {
                (col.start, col.end) = (Bound::Arg(2), Bound::Arg(3));
            }
        }
    }
    row.start = Bound::Arg(0);
    row.end = Bound::Arg(1);
    kernel.arg_count = 6;
    bind_tile(kernel, n as i64, row_var, &col_vars)?;
    Ok(whole_rows)
}

/// Lets loads from a product of `n` columns read its tile.
fn bind_tile(kernel: &mut Kernel, n: i64, row: Var, cols: &[Var]) -> Result<(), Fail> {
    let tile = BufferId::from_u32(0);
    for data in kernel.values.values_mut() {
        let ValKind::Load { buffer, index } = &mut data.kind else {
            continue;
        };
        if *buffer != tile {
            continue;
        }
        let col = cols.iter().find(|&&col| tidy::coefficient(index, col) == 1);
        let Some(&col) = col.filter(|_| {
            tidy::coefficient(index, row) == n && index.base == 0 && index.vars.len() == 2
        }) else {
            return Err(Fail::Illegal("the product is wanted at another place"));
        };
        *index = strip::place(row, col);
    }
    Ok(())
}

/// Lets the outermost loop take its range from the caller if it is the only one, carries
/// nothing from iteration to iteration, and is worth it.
pub(super) fn share_out(kernel: &mut Kernel, cost: f64) -> Option<(usize, usize)> {
    if cost < PARALLEL_CYCLES {
        return None;
    }
    let mut only = None;
    for stmt in &mut kernel.body {
        match stmt {
            Stmt::Let(_) => {}
            Stmt::Loop(inner) if only.is_none() => only = Some(inner),
            Stmt::Loop(_)
            | Stmt::Store { .. }
            | Stmt::StoreAt { .. }
            | Stmt::Init(_)
            | Stmt::Accumulate(..)
            | Stmt::Check { .. } => return None,
        }
    }
    let outer = only?;
    if !tidy::fed_from_outside(outer).is_empty() {
        return None;
    }
    let (Bound::Const(0), Bound::Const(extent)) = (outer.start, outer.end) else {
        return None;
    };
    let each = cost / extent as f64;
    let mut grain = (GRAIN_CYCLES / each).ceil().max(1.0) as usize;
    if outer.lanes {
        grain = grain.next_multiple_of(64);
    }
    if grain * 2 > extent as usize {
        return None;
    }
    outer.start = Bound::Arg(0);
    outer.end = Bound::Arg(1);
    kernel.arg_count = 2;
    Some((extent as usize, grain))
}

/// Buffers that dead code used go; of a tile kernel buffer 0 stays.
pub(super) fn drop_unused_buffers(built: &mut Built, keep_first: bool) {
    let kernel = &mut built.kernel;
    let mut loaded = vec![false; kernel.buffers.len()];
    let mut written = vec![false; kernel.buffers.len()];
    for data in kernel.values.values() {
        if let ValKind::Load { buffer, .. } | ValKind::LoadAt { buffer, .. } = &data.kind {
            loaded[buffer.index()] = true;
        }
    }
    tidy::for_each_stmt(&kernel.body, &mut |stmt| match stmt {
        Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => {
            written[buffer.index()] = true;
        }
        Stmt::Check { status, .. } => {
            written[status.index()] = true;
            loaded[status.index()] = true;
        }
        Stmt::Loop(_) | Stmt::Let(_) | Stmt::Init(_) | Stmt::Accumulate(..) => {}
    });
    let mut map = vec![BufferId::from_u32(0); kernel.buffers.len()];
    let mut buffers: PrimaryMap<BufferId, Buffer> = PrimaryMap::new();
    let mut binds = Vec::new();
    for (id, buffer) in &kernel.buffers {
        let at = id.index();
        if loaded[at] || written[at] || (keep_first && at == 0) {
            let mut buffer = buffer.clone();
            buffer.access = match (loaded[at], written[at]) {
                (true, true) => Access::ReadWrite,
                (false, true) => Access::Write,
                (_, false) => Access::Read,
            };
            map[at] = buffers.push(buffer);
            binds.push(built.binds[at]);
        }
    }
    kernel.buffers = buffers;
    built.binds = binds;
    for data in kernel.values.values_mut() {
        if let ValKind::Load { buffer, .. } | ValKind::LoadAt { buffer, .. } = &mut data.kind {
            *buffer = map[buffer.index()];
        }
    }
    tidy::for_each_stmt_mut(&mut kernel.body, &mut |stmt| match stmt {
        Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => *buffer = map[buffer.index()],
        Stmt::Check { status, .. } => *status = map[status.index()],
        Stmt::Loop(_) | Stmt::Let(_) | Stmt::Init(_) | Stmt::Accumulate(..) => {}
    });
}
