//! Some panels of B for some row blocks of A: gets both to the tiles.

use std::ops::Range;

use super::drive::{Plan, add_a_terms};
use super::pack::{PackBuffer, pack};
use super::sums::Terms;
use super::tiles::{TileArgs, Tiles};
use super::{Axes, GemmCall, MatRef};

/// Columns of B in runs shorter than this are packed by a transposition if rows lie in longer ones.
const SHORT_RUN: usize = 8;

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
    /// If each row block is packed for itself: the block at `at`, and elements from one to the next.
    by_block: Option<(usize, usize)>,
    /// Element (0, 0) of the caller's.
    whole: *const T,
    /// Where its columns of this k block begin, if it has axes.
    columns: Vec<usize>,
}

/// What a tile starts from: null for zeros.
pub(super) struct Init<T> {
    /// The place and its row stride.
    pub(super) at: (*const T, usize),
    /// What it is multiplied by.
    pub(super) factor: Option<T>,
}

/// A panel of B, down a k block: what all its tiles have in common.
struct Panel<T> {
    supply: Supply,
    cols: Range<usize>,
    /// Where the caller has it.
    at: *const T,
    /// Its place if it is not read there.
    copy: *mut T,
    /// What its tiles call into L2, see [`Group::coming`].
    coming: Coming<T>,
    /// Of the last tile.
    args: TileArgs<T>,
}

/// What the tiles of a panel call into L2.
struct Coming<T> {
    /// Whether they call for the next row block's A.
    next_a: bool,
    /// Halves of the panel that comes in this one's place, and the step.
    next_b: Option<([*const T; 2], usize)>,
    /// What the epilogue reads beside the product, if row blocks had the full height: the place
    /// for row 0.
    beside: Option<*const T>,
}

/// A group of panels of B, down a k block, for some row blocks of a product.
pub(super) struct Group<'a, K: Tiles> {
    pub(super) plan: &'a Plan<'a, K>,
    rows: Range<usize>,
    /// The first panel's number.
    first_panel: usize,
    panels: Vec<Panel<K::T>>,
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
            first_panel: panels.start,
            panels: Vec::with_capacity(panels.len()),
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
                by_block: None,
                whole: call.a.ptr.wrapping_add(batch.a.at(product)),
                columns: match &batch.a_axes {
                    Some(axes) => axes.cols.places(depth.clone()),
                    None => Vec::new(),
                },
            },
            b: call.b.ptr.wrapping_add(batch.b.at(product)),
            packed: PackBuffer::empty(),
        };
        let blocks = group.rows.len();
        let cols_of = |panel: usize| panel * K::COLS..call.n.min((panel + 1) * K::COLS);
        let supply = |panel: usize| plan.supply(cols_of(panel).len(), blocks);
        let panel_size = depth.len() * K::COLS;
        if panels.clone().any(|panel| supply(panel) != Supply::InPlace) {
            group.packed = PackBuffer::take::<K::T>(slot, panels.len() * panel_size);
        }
        let copies = group.packed.as_mut_ptr::<K::T>();
        for (place, panel) in panels.clone().enumerate() {
            let (supply, cols, at) = (supply(panel), cols_of(panel), group.b_at(panel));
            let copy = copies.wrapping_add(place * panel_size);
            let coming = group.coming_with(panel, panels.clone());
            let args = group.args(supply, &cols, at, copy);
            group.panels.push(Panel {
                supply,
                cols,
                at,
                copy,
                coming,
                args,
            });
        }
        group.find_beside();
        let packed = |panel: &&Panel<K::T>| panel.supply == Supply::Packed;
        match &batch.b_axes {
            Some(axes) => {
                let rows = axes.rows.places(depth);
                for panel in group.panels.iter().filter(packed) {
                    // SAFETY: the buffer has just been made large enough, and the panel is inside B.
                    unsafe { group.pack_b(axes, &rows, panel) };
                }
            }
            None => {
                for panel in group.panels.iter().filter(packed) {
                    let from = MatRef {
                        ptr: panel.at,
                        ..call.b
                    };
                    // SAFETY: as above.
                    unsafe { pack::<K>(panel.copy, &from, depth.len(), panel.cols.len()) };
                }
            }
        }
        group
    }

    /// Packs a panel of B with axes, whose rows begin at some places.
    ///
    /// # Safety
    /// There is room for it, and it is inside B.
    unsafe fn pack_b(&self, axes: &Axes, rows: &[usize], panel: &Panel<K::T>) {
        let (to, cols, depth) = (panel.copy, panel.cols.clone(), self.depth.clone());
        let width = cols.len();
        // SAFETY: the caller's promise, and the panel has `COLS` columns.
        unsafe {
            if axes.cols.run(width) < axes.rows.run(depth.len()).min(SHORT_RUN) {
                let places = axes.cols.places(cols);
                for stretch in axes.rows.stretches(depth) {
                    let to = to.wrapping_add(stretch.entry * K::COLS);
                    let from = self.b.wrapping_add(stretch.place);
                    K::pack_adjacent(to, from, &places, stretch.count);
                }
                return;
            }
            K::pack_walk(to, (K::COLS, 1), self.b, rows, (&axes.cols, cols));
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
        self.a.at = to;
        self.a.first_row = rows.start;
        let by_rows = axes.cols.run(width) >= axes.rows.run(height);
        (self.a.row_stride, self.a.col_stride) = if by_rows { (width, 1) } else { (1, height) };
        // SAFETY: the caller's promise.
        unsafe {
            if by_rows {
                let places = axes.rows.places(rows);
                K::pack_walk(to, (width, 1), self.a.whole, &places, (&axes.cols, depth));
            } else {
                let (from, places) = (self.a.whole, &self.a.columns);
                K::pack_walk(to, (height, 1), from, places, (&axes.rows, rows));
            }
        }
    }

    /// Element (0, 0) of A.
    pub(super) fn first_a(&self) -> *const K::T {
        self.a.whole
    }

    /// Has the tiles read A where it has been packed from row block `first` on, each block by its
    /// columns and `size` elements after the one before.
    pub(super) fn reads_packed_a(&mut self, at: *const K::T, first: usize, size: usize) {
        self.a.at = at;
        self.a.col_stride = self.plan.blocks.most();
        self.a.by_block = Some((first, size));
    }

    fn b_at(&self, panel: usize) -> *const K::T {
        if let Some(height) = self.plan.batch.b_panels {
            let row = panel * height + self.depth.start;
            return self.b.wrapping_add(row * K::COLS);
        }
        let b = &self.plan.call.b;
        self.b
            .wrapping_add(self.depth.start * b.row_stride + panel * K::COLS * b.col_stride)
    }

    /// What tiles call into L2: memory would otherwise rest while tiles compute, and all wait for it
    /// where new rows or panels start. The last tile before the next row block is first met fetches
    /// its A; of the others, those of the second and the third row block each fetch half of the panel
    /// that comes in this one's place; the rest fetch what the epilogue reads beside the product.
    #[inline(always)]
    fn coming(&self, place: usize, block: usize) -> (*const K::T, usize) {
        let line = 64 / size_of::<K::T>();
        let panel = &self.panels[place];
        if panel.coming.next_a && block + 1 < self.rows.end {
            return (self.a_at(block + 1), line);
        }
        if let (Some((halves, step)), half @ 1..=2) = (panel.coming.next_b, block - self.rows.start)
        {
            return (halves[half - 1], step);
        }
        match panel.coming.beside {
            Some(first) => {
                let before = self.plan.blocks.start(block) * self.plan.call.n;
                (first.wrapping_add(before), line)
            }
            None => (panel.at, 0),
        }
    }

    /// What the tiles of one of the panels call for, but for what lies beside the product.
    fn coming_with(&self, panel: usize, panels: Range<usize>) -> Coming<K::T> {
        let (a, b) = (&self.a, &self.plan.call.b);
        let line = 64 / size_of::<K::T>();
        let turn = match self.strips {
            true => panels.end - 1,
            false => panels.start,
        };
        let packed = self.plan.batch.a_axes.is_some();
        let adjacent = !packed && a.col_stride == 1 && a.row_stride < self.depth.len() + line;
        let next = panel + panels.len();
        let more = self.depth.end < self.plan.call.k;
        let plain = self.plan.batch.b_axes.is_none() && self.plan.batch.b_panels.is_none();
        let comes = (more || next < self.last_panel) && plain;
        let next_b = comes.then(|| {
            let start = match more {
                true => self
                    .b_at(panel)
                    .wrapping_add(self.depth.len() * b.row_stride),
                false => self
                    .b_at(next)
                    .wrapping_sub(self.depth.start * b.row_stride),
            };
            // The panel's rows, or its columns if they lie one after the other.
            let (half, step) = match b.col_stride {
                1 => (line, b.row_stride),
                _ => (line * self.depth.len(), line),
            };
            ([start, start.wrapping_add(half)], step)
        });
        Coming {
            next_a: panel == turn && adjacent,
            next_b,
            beside: None,
        }
    }

    /// Gives each panel a share of what the epilogue reads beside a strip of whole rows, buffer
    /// after buffer: the strip of an optimizer's update reads more than there is time to call for
    /// once it runs. Counted for row blocks of the full height, from row 0.
    fn find_beside(&mut self) {
        let call = self.plan.call;
        let cols: usize = self.panels.iter().map(|panel| panel.cols.len()).sum();
        let epilogue = call.epilogue.filter(|epilogue| epilogue.beside != 0);
        let Some(epilogue) = epilogue.filter(|_| self.strips && cols == call.n) else {
            return;
        };
        // SAFETY: `buffers` has `buffer_count` entries.
        let buffers =
            unsafe { std::slice::from_raw_parts(epilogue.buffers, epilogue.buffer_count) };
        let called: Vec<*const K::T> = (1..buffers.len().min(64))
            .filter(|at| epilogue.beside >> at & 1 == 1)
            .map(|at| buffers[at].cast_const().cast())
            .collect();
        let strip = self.plan.blocks.most() * call.n;
        let count = self.panels.len();
        for (at, panel) in self.panels.iter_mut().enumerate() {
            // In panels: where this one stands in all buffers, each as long as all panels.
            let place = at * called.len();
            let within = strip * (place % count) / count;
            let buffer = called.get(place / count);
            panel.coming.beside = buffer.map(|buffer| buffer.wrapping_add(within));
        }
    }

    fn a_at(&self, block: usize) -> *const K::T {
        if let Some((first, size)) = self.a.by_block {
            return self.a.at.wrapping_add((block - first) * size);
        }
        let row = self.plan.blocks.start(block) - self.a.first_row;
        self.a.at.wrapping_add(row * self.a.row_stride)
    }

    pub(super) fn call(&self) -> &GemmCall<K::T> {
        self.plan.call
    }

    /// What the tiles of a panel have in common.
    fn args(
        &self,
        supply: Supply,
        cols: &Range<usize>,
        at: *const K::T,
        copy: *mut K::T,
    ) -> TileArgs<K::T> {
        let in_place = supply == Supply::InPlace;
        let in_panels = self.plan.batch.b_panels.is_some();
        TileArgs {
            k: self.depth.len(),
            a: self.a.at,
            a_row_stride: self.a.row_stride,
            a_col_stride: self.a.col_stride,
            b: if in_place { at } else { copy },
            b_row_stride: if in_place && !in_panels {
                self.plan.call.b.row_stride
            } else {
                K::COLS
            },
            b_padded: cols.len() == K::COLS
                || in_panels
                || !(in_place || self.plan.batch.b_axes.is_some()),
            keep: std::ptr::null_mut(),
            coming: at,
            coming_step: 0,
            init: std::ptr::null(),
            init_row_stride: 0,
            init_factor: None,
            out: std::ptr::null_mut(),
            out_row_stride: 0,
            cols: cols.len(),
            sums: std::ptr::null_mut(),
            sums_go_on: self.depth.start > 0,
        }
    }

    /// Computes a tile: from `init` to `out`, a place and its row stride.
    ///
    /// # Safety
    /// Both have room for the tile, unless `init` is null.
    #[inline]
    pub(super) unsafe fn tile(
        &mut self,
        panel: usize,
        block: usize,
        init: Init<K::T>,
        out: (*mut K::T, usize),
    ) {
        let call = self.plan.call;
        let place = panel - self.first_panel;
        let (coming, coming_step) = self.coming(place, block);
        let (a, rows) = (self.a_at(block), self.plan.rows(block));
        let sums = panel == 0 && !call.sums.a.is_null();
        let (first, a_col_stride) = (block == self.rows.start, self.a.col_stride);
        let panel = &mut self.panels[place];
        let args = &mut panel.args;
        args.a = a;
        (args.a_row_stride, args.a_col_stride) = (self.a.row_stride, a_col_stride);
        (args.coming, args.coming_step) = (coming, coming_step);
        (args.init, args.init_row_stride) = init.at;
        args.init_factor = init.factor;
        (args.out, args.out_row_stride) = out;
        if K::SUMS_A {
            args.sums = match sums {
                true => call.sums.a.wrapping_add(rows.start),
                false => std::ptr::null_mut(),
            };
        }
        // SAFETY: rows and columns are inside A, B and C; packed panels are padded; each row is
        // summed once down each k block.
        unsafe {
            if first && panel.supply == Supply::Kept {
                let keeping = TileArgs {
                    b: panel.at,
                    b_row_stride: call.b.row_stride,
                    b_padded: panel.cols.len() == K::COLS,
                    keep: panel.copy,
                    ..*args
                };
                K::tile(rows.len(), &keeping);
            } else {
                K::tile(rows.len(), args);
            }
            if sums && !K::SUMS_A {
                if self.a.by_block.is_some() {
                    let terms = Terms {
                        at: a.wrapping_sub(self.depth.start * a_col_stride),
                        step: a_col_stride,
                        depth: self.depth.clone(),
                        width: rows.len(),
                    };
                    K::add_terms(call.sums.a.wrapping_add(rows.start), &terms);
                } else {
                    add_a_terms::<K>(call, rows, self.depth.clone());
                }
            }
        }
    }
}
