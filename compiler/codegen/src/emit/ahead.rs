//! Asking for memory before it is needed, where the processor cannot guess: in wide code only, as
//! the request is written in the form that `widen` knows ([`PREFETCH`]).

use super::memory::Place;
use super::{Emitter, LaneLoop, PREFETCH};
use aec_kernels::lir::{Affine, Bound, BufferId, Kernel, Loop, Stmt, Val, ValKind, Var};
use aec_runtime::Elem;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, types};
use cranelift_entity::EntityRef;

/// Most cache lines of a row that are asked for; of longer rows the processor foresees the rest.
const LINES: usize = 16;
/// Iterations of a loop over rows from the request to the use.
const ROWS_AHEAD: i64 = 8;
/// The same of a loop around one over a few rows.
const GROUPS_AHEAD: i64 = 2;

/// Rows of a table that a lane loop reads one of, at a place that another buffer tells.
struct Rows<'k> {
    table: BufferId,
    /// Where the row begins, apart from which row it is.
    index: &'k Affine,
    stride: i64,
    /// The buffer of places, and which entry.
    places: BufferId,
    entry: &'k Affine,
}

impl Emitter<'_, '_, '_> {
    /// In the epilogue of a product: asks for what the next tile down will load. Tiles are a few
    /// cache lines wide, too short for the processor to guess; the next product's sums give the
    /// memory time.
    pub(super) fn ask_for_next_tile(&mut self, inner: &Loop) {
        let (Some(row), Some(LaneLoop { lanes, .. })) = (self.row_var, self.lanes) else {
            return;
        };
        let lanes = i64::from(lanes);
        if !self.wide() {
            return;
        }
        let mut places: Vec<(BufferId, &Affine)> = Vec::new();
        for stmt in &inner.body {
            if let Stmt::Let(val) = stmt
                && let ValKind::Load { buffer, index } = &self.kernel.values[*val].kind
                && buffer.index() != 0
                && self.lane_coefficient(index) == 1
                && !places.contains(&(*buffer, index))
            {
                places.push((*buffer, index));
            }
        }
        for (buffer, index) in places {
            let step = index.vars.iter().find(|(var, _)| *var == row);
            if let Some(&(_, step)) = step {
                // Row counts hardly differ between tiles.
                let mut next = index.clone();
                for (arg, sign) in [(1, 1), (0, -1)] {
                    match next.args.iter_mut().find(|(of, _)| *of == arg) {
                        Some((_, coefficient)) => *coefficient += sign * step,
                        None => next.args.push((arg, sign * step)),
                    }
                }
                let place = self.place(buffer, &next, None);
                let bytes = lanes * self.kernel.buffers[buffer].elem.bytes() as i64;
                for line in (0..bytes).step_by(64) {
                    let place = self.offset_place(place, line);
                    self.ask_for(place);
                }
            }
        }
    }

    /// Before a lane loop that reads or changes rows at places that are known long before: asks
    /// for the rows of a later iteration of the loop around it.
    pub(super) fn ask_for_rows(&mut self, inner: &Loop) {
        let (Bound::Const(start), Bound::Const(end)) = (inner.start, inner.end) else {
            return;
        };
        if !self.wide() || self.row_var.is_some() {
            return;
        }
        let kernel = self.kernel;
        let mut asked: Vec<(BufferId, &Affine, BufferId, &Affine)> = Vec::new();
        for stmt in &inner.body {
            let Stmt::Let(val) = stmt else { continue };
            let Some(rows) = rows_at(kernel, *val, inner.var) else {
                continue;
            };
            let key = (rows.table, rows.index, rows.places, rows.entry);
            if !asked.contains(&key) {
                asked.push(key);
                self.ask_for_row(&rows, inner.var, (start, end));
            }
        }
    }

    fn ask_for_row(&mut self, rows: &Rows<'_>, lane: Var, (start, end): (i64, i64)) {
        let moves = |var: Var| rows.entry.vars.iter().any(|&(v, c)| v == var && c != 0);
        let around: Vec<(Var, Bound)> = self
            .loops
            .iter()
            .copied()
            .filter(|&(var, _)| moves(var))
            .collect();
        let Some(&(var, bound)) = around.first() else {
            return;
        };
        let Some((now, depth)) = self.vars[var] else {
            return;
        };
        let ahead = match around.len() {
            1 => ROWS_AHEAD,
            _ => GROUPS_AHEAD,
        };
        let last = self.bound(bound);
        let last = self.b.ins().iadd_imm_s(last, -1);
        let later = self.b.ins().iadd_imm_s(now, ahead);
        let later = self.b.ins().smin(later, last);
        self.vars[var] = Some((later, depth));
        let entry = self.place(rows.places, rows.entry, None);
        let row = self.load_scalar(Elem::I64, entry);
        let first = self.b.ins().iconst(types::I64, start);
        self.vars[lane] = Some((first, depth + 1));
        let place = self.place(rows.table, rows.index, Some((row, rows.stride)));
        self.vars[lane] = None;
        self.vars[var] = Some((now, depth));
        let bytes = (end - start) * self.kernel.buffers[rows.table].elem.bytes() as i64;
        for line in (0..bytes).step_by(64).take(LINES) {
            let place = self.offset_place(place, line);
            self.ask_for(place);
        }
        if bytes <= 64 * LINES as i64 {
            // Rows that don't begin with a line have one more.
            let place = self.offset_place(place, bytes - 4);
            self.ask_for(place);
        }
    }

    /// Asks for the cache line of a place, which need not exist.
    fn ask_for(&mut self, place: Place) {
        let request = self.b.ins().iconst(types::I16, i64::from(PREFETCH));
        let flags = MemFlagsData::new().with_notrap();
        self.b.ins().store(flags, request, place.base, place.offset);
    }
}

/// The buffers that an epilogue reads just as C lies, whose rows have `n` elements; as bits, for
/// [`EpilogueCall::beside`](aec_runtime::gemm::EpilogueCall::beside).
pub(crate) fn read_beside(kernel: &Kernel, n: usize) -> u64 {
    let mut beside = 0;
    for rows in &kernel.body {
        let Stmt::Loop(rows) = rows else { continue };
        for lanes in &rows.body {
            let Stmt::Loop(lanes) = lanes else { continue };
            let at_c = |index: &Affine| {
                index.base == 0
                    && index.args.is_empty()
                    && index.vars.len() == 2
                    && index.vars.contains(&(rows.var, n as i64))
                    && index.vars.contains(&(lanes.var, 1))
            };
            for stmt in &lanes.body {
                if let Stmt::Let(val) = stmt
                    && let ValKind::Load { buffer, index } = &kernel.values[*val].kind
                    && (1..64).contains(&buffer.index())
                    && kernel.buffers[*buffer].elem == kernel.buffers[BufferId::new(0)].elem
                    && at_c(index)
                {
                    beside |= 1 << buffer.index();
                }
            }
        }
    }
    beside
}

/// What a load in a lane loop reads, if it is part of such a row.
fn rows_at(kernel: &Kernel, val: Val, lane: Var) -> Option<Rows<'_>> {
    let values = &kernel.values;
    let ValKind::LoadAt {
        buffer,
        index,
        at,
        stride,
    } = &values[val].kind
    else {
        return None;
    };
    // A checked place is the one that is stored, or 0.
    let source = match &values[*at].kind {
        ValKind::Select(_, place, _) => *place,
        _ => *at,
    };
    let ValKind::Load {
        buffer: places,
        index: entry,
    } = &values[source].kind
    else {
        return None;
    };
    let is_row = index.vars.contains(&(lane, 1)) && values[source].elem == Elem::I64;
    is_row.then_some(Rows {
        table: *buffer,
        index,
        stride: *stride,
        places: *places,
        entry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aec_kernels::lir::{Access, Buffer, ValData, VarData};

    /// Of what an epilogue reads, only what lies as C does is beside it.
    #[test]
    fn what_lies_as_c_does_is_beside_it() {
        let mut kernel = Kernel::default();
        let (row, col) = (kernel.vars.push(VarData), kernel.vars.push(VarData));
        let mut body = Vec::new();
        let mut read = |elem: Elem, base: i64, vars: &[(Var, i64)]| {
            let buffer = kernel.buffers.push(Buffer {
                elem,
                access: Access::Read,
                name: String::new(),
            });
            let index = Affine {
                base,
                vars: vars.to_vec(),
                args: Vec::new(),
            };
            let kind = ValKind::Load { buffer, index };
            body.push(Stmt::Let(kernel.values.push(ValData { kind, elem })));
        };
        read(Elem::F32, 0, &[(row, 32), (col, 1)]);
        read(Elem::F32, 0, &[(row, 100), (col, 1)]);
        read(Elem::F32, 0, &[(row, 1), (col, 100)]);
        read(Elem::F32, 0, &[(col, 1)]);
        read(Elem::F32, 100, &[(row, 100), (col, 1)]);
        read(Elem::F64, 0, &[(row, 100), (col, 1)]);
        read(Elem::F32, 0, &[(row, 100), (col, 1)]);
        for (var, lanes) in [(col, true), (row, false)] {
            let inner = Loop {
                var,
                start: Bound::Const(0),
                end: Bound::Const(100),
                lanes,
                body,
            };
            body = vec![Stmt::Loop(inner)];
        }
        kernel.body = body;
        assert_eq!(read_beside(&kernel, 100), 0b100_0010);
        assert_eq!(read_beside(&kernel, 50), 0);
    }
}
