//! Some panels of B for some row blocks of A: gets both to the tiles.

use std::ops::Range;

use super::drive::{Plan, add_a_terms};
use super::pack::PackBuffer;
use super::tiles::{TileArgs, Tiles};
use super::{Axes, GemmCall, PANEL_COLS};

/// How B gets to the tiles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Supply {
    /// They read it where it is.
    InPlace,
    /// The first row block reads it where it is and leaves a panel to the others.
    Kept,
    /// It is copied into a panel beforehand.
    Packed,
}

/// A down a k block: the caller's, or the packed rows of some blocks.
pub(super) struct Side<T> {
    at: *const T,
    row_stride: usize,
    col_stride: usize,
    /// The row at `at`.
    first_row: usize,
    /// Element (0, 0) of the caller's.
    whole: *const T,
}

/// What a tile starts from: null for zeros.
pub(super) struct Init<T> {
    /// The place and its row stride.
    pub(super) at: (*const T, usize),
    /// What it is multiplied by.
    pub(super) factor: Option<T>,
}

/// A group of panels of B, down a k block, for some row blocks of a product.
pub(super) struct Group<'a, K: Tiles> {
    plan: &'a Plan<'a, K>,
    rows: Range<usize>,
    panels: Range<usize>,
    /// End of the panels of the part.
    last_panel: usize,
    /// Whether row blocks go by one after the other, or else panels.
    strips: bool,
    pub(super) depth: Range<usize>,
    a: Side<K::T>,
    b: *const K::T,
    /// A place for each panel that is not read in place.
    pub(super) packed: PackBuffer,
}

impl<'a, K: Tiles> Group<'a, K> {
    /// Packs what is to be packed beforehand, into the buffer of a slot.
    ///
    /// # Safety
    /// As [`run`].
    #[allow(clippy::too_many_arguments)]
    pub(super) unsafe fn new(
        plan: &'a Plan<'a, K>,
        product: usize,
        rows: Range<usize>,
        panels: Range<usize>,
        last_panel: usize,
        strips: bool,
        depth: Range<usize>,
        slot: usize,
    ) -> Group<'a, K> {
        let (call, batch) = (plan.call, plan.batch);
        let mut group = Group {
            plan,
            rows,
            panels: panels.clone(),
            last_panel,
            strips,
            depth: depth.clone(),
            a: Side {
                at: call
                    .a
                    .ptr
                    .wrapping_add(batch.a.at(product) + depth.start * call.a.col_stride),
                row_stride: call.a.row_stride,
                col_stride: call.a.col_stride,
                first_row: 0,
                whole: call.a.ptr.wrapping_add(batch.a.at(product)),
            },
            b: call.b.ptr.wrapping_add(batch.b.at(product)),
            packed: PackBuffer::empty(),
        };
        if panels
            .clone()
            .any(|panel| group.supply(panel) != Supply::InPlace)
        {
            let panel_size = group.depth.len() * K::COLS;
            group.packed = PackBuffer::take::<K::T>(slot, panels.len() * panel_size);
            for panel in panels {
                if group.supply(panel) != Supply::Packed {
                    continue;
                }
                if let Some(axes) = &batch.b_axes {
                    // SAFETY: the buffer has just been made that large, and the panel is
                    // inside B.
                    unsafe { group.pack_b(axes, panel) };
                } else {
                    // SAFETY: as above.
                    unsafe {
                        K::pack(
                            group.copy_of(panel),
                            group.b_at(panel),
                            call.b.row_stride,
                            call.b.col_stride,
                            group.depth.len(),
                            group.cols_of(panel).len(),
                        )
                    };
                }
            }
        }
        group
    }

    /// Packs a panel of B with axes.
    ///
    /// # Safety
    /// There is room for it, and it is inside B.
    unsafe fn pack_b(&mut self, axes: &Axes, panel: usize) {
        let (to, cols, depth) = (self.copy_of(panel), self.cols_of(panel), self.depth.clone());
        let width = cols.len();
        // SAFETY: the caller's promise, and the panel has `COLS` columns.
        unsafe {
            if axes.cols.run(width) > 1 || axes.rows.run(depth.len()) == 1 {
                let (rows, cols) = ((&axes.rows, depth.clone()), (&axes.cols, cols));
                K::pack_walks(to, (K::COLS, 1), self.b, rows, cols);
            } else {
                let (rows, cols) = ((&axes.rows, depth.clone()), (&axes.cols, cols));
                K::pack_walks(to, (1, K::COLS), self.b, cols, rows);
            }
            for row in 0..if K::MASKS { 0 } else { depth.len() } {
                for col in width..K::COLS {
                    *to.add(row * K::COLS + col) = K::T::default();
                }
            }
        }
    }

    /// Packs the rows of some blocks of A, if it has axes: by rows or by columns, as they lie in
    /// memory.
    ///
    /// # Safety
    /// There is room for them.
    pub(super) unsafe fn pack_a(&mut self, to: &mut PackBuffer, blocks: Range<usize>) {
        let Some(axes) = &self.plan.batch.a_axes else {
            return;
        };
        let rows = self.plan.blocks.start(blocks.start)..self.plan.blocks.start(blocks.end);
        let (to, depth) = (to.as_mut_ptr::<K::T>(), self.depth.clone());
        let (height, width) = (rows.len(), depth.len());
        let (rows, cols) = ((&axes.rows, rows), (&axes.cols, depth));
        let by_rows = axes.cols.run(width) >= axes.rows.run(height);
        self.a.at = to;
        self.a.first_row = rows.1.start;
        (self.a.row_stride, self.a.col_stride) = if by_rows { (width, 1) } else { (1, height) };
        // SAFETY: the caller's promise.
        unsafe {
            if by_rows {
                K::pack_walks(to, (width, 1), self.a.whole, rows, cols);
            } else {
                K::pack_walks(to, (height, 1), self.a.whole, cols, rows);
            }
        }
    }

    /// The columns of a panel.
    pub(super) fn cols_of(&self, panel: usize) -> Range<usize> {
        panel * K::COLS..self.plan.call.n.min((panel + 1) * K::COLS)
    }

    /// The columns of all panels.
    pub(super) fn cols(&self) -> Range<usize> {
        self.panels.start * K::COLS..self.plan.call.n.min(self.panels.end * K::COLS)
    }

    fn supply(&self, panel: usize) -> Supply {
        self.plan.supply(self.cols_of(panel).len(), self.rows.len())
    }

    fn copy_of(&mut self, panel: usize) -> *mut K::T {
        let at = (panel - self.panels.start) * self.depth.len() * K::COLS;
        self.packed.as_mut_ptr::<K::T>().wrapping_add(at)
    }

    fn b_at(&self, panel: usize) -> *const K::T {
        if self.plan.panelled {
            let at = self.plan.in_panels(panel, self.depth.start);
            return self.b.wrapping_add(at);
        }
        let b = &self.plan.call.b;
        self.b
            .wrapping_add(self.depth.start * b.row_stride + panel * K::COLS * b.col_stride)
    }

    /// What the tile of a panel and a block calls into L2: memory would otherwise rest while
    /// tiles compute, and all wait for it where new rows or panels start. The last tile before
    /// the next row block is first met fetches its A; of the others, those of the second and the
    /// third row block each fetch half of the panel that comes in this one's place; the rest fetch
    /// what the epilogue reads beside the product.
    fn coming(&self, panel: usize, block: usize) -> (*const K::T, usize) {
        let (a, b) = (&self.a, &self.plan.call.b);
        let line = 64 / size_of::<K::T>();
        let turn = if self.strips {
            self.panels.end - 1
        } else {
            self.panels.start
        };
        let packed = self.plan.batch.a_axes.is_some();
        let adjacent = !packed && a.col_stride == 1 && a.row_stride < self.depth.len() + line;
        if panel == turn && adjacent && block + 1 < self.rows.end {
            return (self.a_at(block + 1), line);
        }
        let next = panel + self.panels.len();
        let (more, rows) = (self.depth.end < self.plan.call.k, b.row_stride);
        match block - self.rows.start {
            half @ 1..=2
                if (more || next < self.last_panel) && self.plan.batch.b_axes.is_none() =>
            {
                let start = match more {
                    true => self.b_at(panel).wrapping_add(self.depth.len() * rows),
                    false => self.b_at(next).wrapping_sub(self.depth.start * rows),
                };
                if b.col_stride == 1 {
                    (start.wrapping_add((half - 1) * line), b.row_stride)
                } else {
                    // The panel's columns, if they lie one after the other.
                    (
                        start.wrapping_add((half - 1) * line * self.depth.len()),
                        line,
                    )
                }
            }
            _ => self.beside(panel, block).unwrap_or((self.b_at(panel), 0)),
        }
    }

    /// A panel's share of what the epilogue reads beside a strip of whole rows, buffer after buffer:
    /// the strip of an optimizer's update reads more than there is time to call for once it runs.
    fn beside(&self, panel: usize, block: usize) -> Option<(*const K::T, usize)> {
        let call = self.plan.call;
        let epilogue = call.epilogue.filter(|epilogue| epilogue.beside != 0)?;
        if !self.strips || self.cols().len() != call.n {
            return None;
        }
        // SAFETY: `buffers` has `buffer_count` entries.
        let buffers =
            unsafe { std::slice::from_raw_parts(epilogue.buffers, epilogue.buffer_count) };
        let mut called = (1..buffers.len().min(64)).filter(|at| epilogue.beside >> at & 1 == 1);
        // In panels: where this one stands in all buffers, each as long as all panels.
        let place = (panel - self.panels.start) * called.clone().count();
        let buffer = buffers[called.nth(place / self.panels.len())?];
        let rows = self.plan.rows(block);
        let line = 64 / size_of::<K::T>();
        let within = rows.len() * call.n * (place % self.panels.len()) / self.panels.len();
        let from = rows.start * call.n + within / line * line;
        Some((buffer.cast_const().cast::<K::T>().wrapping_add(from), line))
    }

    fn a_at(&self, block: usize) -> *const K::T {
        let row = self.plan.blocks.start(block) - self.a.first_row;
        self.a.at.wrapping_add(row * self.a.row_stride)
    }

    pub(super) fn call(&self) -> &GemmCall<K::T> {
        self.plan.call
    }

    /// Computes a tile: from `init` to `out`, a place and its row stride.
    ///
    /// # Safety
    /// Both have room for the tile, unless `init` is null.
    pub(super) unsafe fn tile(
        &mut self,
        panel: usize,
        block: usize,
        init: Init<K::T>,
        out: (*mut K::T, usize),
    ) {
        let call = self.plan.call;
        let (rows, cols) = (self.plan.rows(block), self.cols_of(panel));
        let supply = self.supply(panel);
        let keeps = supply == Supply::Kept && block == self.rows.start;
        let in_place = supply == Supply::InPlace || keeps;
        let copy = self.copy_of(panel);
        let sums = panel == 0 && !call.sums.a.is_null();
        let (coming, coming_step) = self.coming(panel, block);
        let args = TileArgs {
            k: self.depth.len(),
            a: self.a_at(block),
            a_row_stride: self.a.row_stride,
            a_col_stride: self.a.col_stride,
            b: if in_place { self.b_at(panel) } else { copy },
            b_row_stride: if self.plan.panelled {
                PANEL_COLS
            } else if in_place {
                call.b.row_stride
            } else {
                K::COLS
            },
            b_padded: cols.len() == K::COLS
                || self.plan.panelled
                || !(in_place || self.plan.batch.b_axes.is_some()),
            keep: if keeps { copy } else { std::ptr::null_mut() },
            coming,
            coming_step,
            init: init.at.0,
            init_row_stride: init.at.1,
            init_factor: init.factor,
            out: out.0,
            out_row_stride: out.1,
            cols: cols.len(),
            sums: match K::SUMS_A && sums {
                true => call.sums.a.wrapping_add(rows.start),
                false => std::ptr::null_mut(),
            },
            sums_go_on: self.depth.start > 0,
        };
        // SAFETY: rows and columns are inside A, B and C; packed panels are padded; each row is
        // summed once down each k block.
        unsafe {
            K::tile(rows.len(), &args);
            if sums && !K::SUMS_A {
                add_a_terms::<K>(call, rows, self.depth.clone());
            }
        }
    }
}
