//! Blocks: lanes that walk across the rows of a buffer touch a cache line each. Where there are more
//! of them than the caches hold, the next iteration of the loop around them, which wants the
//! neighbours in those lines, finds them gone. So a loop over blocks of lanes goes outside of both.
//! The lanes are independent of each other: no value changes.

use crate::lir::{Affine, Bound, Kernel, Loop, Stmt, ValKind, Var, VarData};
use crate::tidy;

/// Lanes of a block that touches a line for each. Rows a power of two apart share few sets of a cache:
/// of more lines L1 and L2 would keep none.
const BLOCK: i64 = 16;
/// Fewer such lanes than this stay in the caches as they are.
const BLOCKS_FROM: i64 = 128;
/// Elements of a line, roughly.
const LINE: i64 = 16;
/// Elements that a block of lanes spans which share lines: half of L1.
const SPAN: i64 = 4096;
/// Elements that stay in L2.
const STAYS: i64 = 1 << 16;

/// Brings lanes into blocks wherever lines would be lost.
pub fn keep_lines(kernel: &mut Kernel) {
    if kernel.draws() {
        return;
    }
    let mut body = std::mem::take(&mut kernel.body);
    for stmt in &mut body {
        in_stmt(kernel, stmt);
    }
    kernel.body = body;
}

fn in_stmt(kernel: &mut Kernel, stmt: &mut Stmt) {
    let Stmt::Loop(outer) = stmt else { return };
    if let Some((limit, size)) = lanes_that_lose_lines(kernel, outer) {
        let of = kernel.vars.push(VarData);
        for stmt in &mut outer.body {
            if let Stmt::Loop(lanes) = stmt {
                lanes.start = Bound::Block { of, size };
                lanes.end = Bound::BlockEnd { of, size, limit };
            }
        }
        let blocks = Loop {
            var: of,
            start: Bound::Const(0),
            end: Bound::Const((limit + size - 1) / size),
            lanes: false,
            body: vec![Stmt::Loop(outer.clone())],
        };
        *outer = blocks;
    } else {
        for stmt in &mut outer.body {
            in_stmt(kernel, stmt);
        }
    }
}

/// The number of lanes of the loop in `outer`, and of a block of them, if that loop is all that is done
/// there, and one of its places moves far from lane to lane and by elements from one iteration of
/// `outer` to the next.
fn lanes_that_lose_lines(kernel: &Kernel, outer: &Loop) -> Option<(i64, i64)> {
    let mut found = None;
    for stmt in &outer.body {
        match stmt {
            Stmt::Let(_) => {}
            Stmt::Loop(lanes) if lanes.lanes && found.is_none() => found = Some(lanes),
            _ => return None,
        }
    }
    let lanes = found?;
    let (Bound::Const(0), Bound::Const(limit)) = (lanes.start, lanes.end) else {
        return None;
    };
    if !tidy::fed_from_outside(lanes).is_empty() {
        return None;
    }
    let block = |index: &Affine| {
        let by = |var: Var| tidy::coefficient(index, var).abs();
        let (step, next) = (by(lanes.var), by(outer.var));
        if !(1..LINE).contains(&next) || step < 2 {
            None
        } else if step >= LINE {
            (limit >= BLOCKS_FROM).then_some(BLOCK)
        } else {
            (limit * step > STAYS).then_some(SPAN / step / BLOCK * BLOCK)
        }
    };
    let blocks = lanes.body.iter().filter_map(|stmt| match stmt {
        Stmt::Let(val) => match &kernel.values[*val].kind {
            ValKind::Load { index, .. } => block(index),
            _ => None,
        },
        Stmt::Store { index, .. } => block(index),
        _ => None,
    });
    Some((limit, blocks.min()?))
}
