//! Cuts a product into row blocks, column panels and k blocks, and spreads them over threads.
//! Generic over the tiles; the cut is a matter of speed only, never of the result.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

#[cfg(doc)]
use super::pack::pack_walks;
use super::pack::{PackBuffer, pack_plain};
use super::{
    Axes, Batch, EPILOGUE_ARGS, EpilogueCall, GemmCall, MatRef, PACK_FROM_ROW_BLOCKS, PANEL_COLS,
    TILE_ROWS, TILE_STRIDE, Walk,
};
use crate::pool::Pool;

/// k is cut into blocks of at most this, so that a packed panel stays in L2.
pub(super) const K_BLOCK: usize = 2048;
/// The same for B with axes: a panel, packed for this part of A alone, stays in L1.
const K_BLOCK_AXES: usize = 256;
/// Bytes of A with axes that are packed at a time, to be read from L1.
const A_PACKED: usize = 1 << 14;
/// Bytes of B's panels that are kept in L2 while rows go by.
const B_GROUP: usize = 1 << 18;
/// The same where an epilogue takes strips: a row block's tiles of all the panels.
const B_STRIPS: usize = 1 << 19;
/// An epilogue takes strips, row by row, if they have at least so many columns: what it loads and
/// stores is then long enough for the processor to foresee.
const STRIP_COLS: usize = 192;
/// Bytes of A that are kept in L2 while panels go by.
const A_CHUNK: usize = 3 << 17;
/// Panels that a single row is multiplied by at once.
pub(super) const ROW_PANELS: usize = 4;
/// Multiply-adds that are worth a thread: about 5 microseconds.
const MADDS_PER_PART: usize = 200_000;

/// Tiles that keep do so if so many row blocks of at least such a depth read what they kept.
const KEEP_FROM_ROW_BLOCKS: usize = 3;
const KEEP_FROM_DEPTH: usize = 16;

/// How B gets to the tiles.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// They read it where it is.
    InPlace,
    /// The first row block reads it where it is and leaves a panel to the others.
    Kept,
    /// It is copied into a panel beforehand.
    Packed,
}

/// What one tile call computes: `out = init + A B` for some rows and columns.
pub(super) struct TileArgs<T> {
    pub k: usize,
    pub a: *const T,
    pub a_row_stride: usize,
    pub a_col_stride: usize,
    /// Columns adjacent.
    pub b: *const T,
    pub b_row_stride: usize,
    /// Whether B may be read up to the tile's full width.
    pub b_padded: bool,
    /// Where to write the rows of B as a padded panel; null not to. Only for tiles that keep.
    pub keep: *mut T,
    /// What to call into L2 meanwhile: the element here, and one further on for each of `k`.
    pub coming: *const T,
    pub coming_step: usize,
    /// Null for zeros; row stride as `init_row_stride`.
    pub init: *const T,
    pub init_row_stride: usize,
    pub out: *mut T,
    pub out_row_stride: usize,
    /// Columns of `out` and `init` (and of B unless padded) that exist.
    pub cols: usize,
}

/// What one row computes with several panels: `out = init + a B`.
pub(super) struct RowArgs<T> {
    pub k: usize,
    pub a: *const T,
    pub a_col_stride: usize,
    /// Where each panel of `COLS` columns begins; `count` of them exist.
    pub b: [*const T; ROW_PANELS],
    pub count: usize,
    /// From row to row of all panels.
    pub b_row_stride: usize,
    /// Null for zeros.
    pub init: *const T,
    pub out: *mut T,
    /// Columns of `out` and `init`; panels are padded.
    pub cols: usize,
}

/// The tiles of one instruction set and element type.
pub(super) trait Tiles {
    type T: Copy + Default + Send + Sync + 'static;
    /// Most rows of a tile, at most [`TILE_ROWS`].
    const ROWS: usize;
    /// Columns of a tile, at most [`TILE_STRIDE`].
    const COLS: usize;
    /// Whether a tile narrower than `COLS` can read B in place.
    const MASKS: bool;
    /// Whether a tile can write B as a panel while it reads it.
    const KEEPS: bool;

    /// Computes one tile.
    ///
    /// # Safety
    /// The instruction set is there, `1 <= rows <= ROWS`, `1 <= args.cols <= COLS`, and the
    /// pointers are good for what `args` describes.
    unsafe fn tile(rows: usize, args: &TileArgs<Self::T>);

    /// Computes a row by several panels at once, as one panel is one chain of additions that
    /// memory would wait for.
    ///
    /// # Safety
    /// As [`Tiles::tile`]; there is a panel at least, and its columns fit `out`.
    unsafe fn row(args: &RowArgs<Self::T>) {
        for (at, &b) in args.b[..args.count].iter().enumerate() {
            let from = at * Self::COLS;
            let tile = TileArgs {
                k: args.k,
                a: args.a,
                a_row_stride: 0,
                a_col_stride: args.a_col_stride,
                b,
                b_row_stride: args.b_row_stride,
                b_padded: true,
                keep: std::ptr::null_mut(),
                coming: b,
                coming_step: 0,
                init: match args.init.is_null() {
                    true => args.init,
                    false => args.init.wrapping_add(from),
                },
                init_row_stride: 0,
                out: args.out.wrapping_add(from),
                out_row_stride: 0,
                cols: Self::COLS.min(args.cols - from),
            };
            // SAFETY: the caller's promise.
            unsafe { Self::tile(1, &tile) };
        }
    }

    /// Copies `k` x `cols` elements of B into a panel of `COLS` columns, padded with zeros.
    ///
    /// # Safety
    /// The instruction set is there; `panel` has room for `k * COLS` elements; B is readable.
    unsafe fn pack(
        panel: *mut Self::T,
        b: *const Self::T,
        row_stride: usize,
        col_stride: usize,
        k: usize,
        cols: usize,
    );

    /// [`pack_walks`], by the instruction set's moves.
    ///
    /// # Safety
    /// The instruction set is there, and as [`pack_walks`].
    unsafe fn pack_walks(
        to: *mut Self::T,
        to_strides: (usize, usize),
        from: *const Self::T,
        outer: (&Walk, Range<usize>),
        inner: (&Walk, Range<usize>),
    );
}

/// Row blocks of nearly equal size: the first `longer` have one row more.
#[derive(Clone, Copy)]
struct RowBlocks {
    count: usize,
    rows: usize,
    longer: usize,
}

impl RowBlocks {
    fn new(m: usize, most: usize) -> RowBlocks {
        let count = m.div_ceil(most);
        RowBlocks {
            count,
            rows: m / count,
            longer: m % count,
        }
    }

    /// First row of block `at`.
    fn start(self, at: usize) -> usize {
        at * self.rows + at.min(self.longer)
    }
}

/// The entries of a range from either end.
fn turned(range: Range<usize>, backwards: bool) -> impl Iterator<Item = usize> {
    let ends = range.start + range.end;
    range.map(move |at| if backwards { ends - 1 - at } else { at })
}

/// Part `at` of `parts` of the range `0..count`.
fn share(count: usize, parts: usize, at: usize) -> Range<usize> {
    count * at / parts..count * (at + 1) / parts
}

/// # Safety
/// As [`super::panels_f32`].
pub(super) unsafe fn panels<K: Tiles>(to: *mut K::T, b: MatRef<K::T>, k: usize, n: usize) {
    for col in (0..n).step_by(PANEL_COLS) {
        let panel = to.wrapping_add(col * k);
        let from = b.ptr.wrapping_add(col * b.col_stride);
        let (rows, cols) = (b.row_stride, b.col_stride);
        let width = PANEL_COLS.min(n - col);
        // SAFETY: the columns exist, and the panel has `PANEL_COLS * k` elements.
        unsafe {
            if K::COLS == PANEL_COLS {
                K::pack(panel, from, rows, cols, k, width);
            } else {
                pack_plain(panel, from, rows, cols, k, width, PANEL_COLS);
            }
        }
    }
}

/// # Safety
/// As [`super::gemm_f32`].
pub(super) unsafe fn run<K: Tiles>(call: &GemmCall<K::T>, batch: &Batch, pool: &Pool) {
    if call.m == 0 || call.n == 0 || batch.count == 0 {
        return;
    }
    let plain = batch.a_axes.is_none() && batch.b_axes.is_none();
    if plain && batch.count == 1 && call.m <= K::ROWS && call.n <= K::COLS && call.k <= K_BLOCK {
        let in_place = call.b.col_stride == 1 && (K::MASKS || call.n == K::COLS);
        if in_place && call.epilogue.is_none() {
            let args = TileArgs {
                k: call.k,
                a: call.a.ptr,
                a_row_stride: call.a.row_stride,
                a_col_stride: call.a.col_stride,
                b: call.b.ptr,
                b_row_stride: call.b.row_stride,
                b_padded: call.n == K::COLS,
                keep: std::ptr::null_mut(),
                coming: call.b.ptr,
                coming_step: 0,
                init: if call.accumulate {
                    call.c
                } else {
                    std::ptr::null()
                },
                init_row_stride: call.c_row_stride,
                out: call.c,
                out_row_stride: call.c_row_stride,
                cols: call.n,
            };
            // SAFETY: the caller's promise; the product is one tile.
            unsafe { K::tile(call.m, &args) };
            return;
        }
    }
    let blocks = RowBlocks::new(call.m, K::ROWS);
    let panels = call.n.div_ceil(K::COLS);
    let panelled = batch
        .b_axes
        .is_some_and(|axes| PANEL_COLS.is_multiple_of(K::COLS) && axes == Axes::panels(call.k));
    let plan = Plan::<K> {
        call,
        batch,
        blocks,
        panelled,
    };
    let madds = call
        .m
        .saturating_mul(call.n)
        .saturating_mul(call.k.max(1))
        .saturating_mul(batch.count);
    let threads = pool.threads();
    if threads == 1 || madds < 2 * MADDS_PER_PART {
        for product in 0..batch.count {
            // SAFETY: the caller's promise; all blocks and panels.
            unsafe { plan.part(product, 0..blocks.count, 0..panels) };
        }
        return;
    }
    let parts = threads.min(madds / MADDS_PER_PART);
    if batch.count >= 2 * parts {
        // Four shares per thread, for balance when one of them is delayed.
        let shares = batch.count.min(4 * parts);
        pool.run(shares, |at| {
            for product in share(batch.count, shares, at) {
                // SAFETY: the caller's promise; parts write different products.
                unsafe { plan.part(product, 0..blocks.count, 0..panels) };
            }
        });
        return;
    }
    let (by_rows, by_cols) = plan.grid(parts, panels);
    for product in 0..batch.count {
        pool.run(by_rows * by_cols, |at| {
            let rows = share(blocks.count, by_rows, at / by_cols);
            let cols = share(panels, by_cols, at % by_cols);
            // SAFETY: the caller's promise; parts write different tiles.
            unsafe { plan.part(product, rows, cols) };
        });
    }
}

struct Plan<'a, K: Tiles> {
    call: &'a GemmCall<K::T>,
    batch: &'a Batch,
    blocks: RowBlocks,
    /// Whether B lies in panels, see [`Axes::panels`].
    panelled: bool,
}

// SAFETY: shared with pool threads only inside `run`, whose caller vouches for the pointers.
unsafe impl<K: Tiles> Sync for Plan<'_, K> {}

impl<K: Tiles> Plan<'_, K> {
    /// How a panel of B, so many columns wide, gets to the tiles of some row blocks.
    fn supply(&self, width: usize, blocks: usize) -> Supply {
        let stride = self.call.b.row_stride * size_of::<K::T>();
        let axes = self.batch.b_axes.is_some();
        if self.panelled {
            Supply::InPlace
        } else if axes || self.call.b.col_stride != 1 || (width < K::COLS && !K::MASKS) {
            Supply::Packed
        } else if K::KEEPS && 2 * width > K::COLS {
            if blocks >= KEEP_FROM_ROW_BLOCKS && self.call.k >= KEEP_FROM_DEPTH {
                Supply::Kept
            } else {
                Supply::InPlace
            }
        } else if blocks >= PACK_FROM_ROW_BLOCKS
            || (self.call.k >= 16 && blocks > 1 && stride.is_multiple_of(4096))
        {
            Supply::Packed
        } else {
            Supply::InPlace
        }
    }

    /// How many parts to cut the row blocks and the panels into: the cut with the least work in
    /// the largest part, where packing the same panel twice counts.
    fn grid(&self, parts: usize, panels: usize) -> (usize, usize) {
        let pack_rows = match self.supply(K::COLS, self.blocks.count) {
            Supply::Packed => 4,
            Supply::Kept | Supply::InPlace => 1,
        };
        let whole_rows = |epilogue: EpilogueCall| epilogue.whole_rows;
        let cols_most = match self.call.epilogue.is_some_and(whole_rows) {
            true => 1,
            false => panels,
        };
        let mut best = (usize::MAX, 1, 1);
        for by_rows in 1..=parts.min(self.blocks.count) {
            let by_cols = (parts / by_rows).min(cols_most);
            let rows = self.blocks.count.div_ceil(by_rows) * (self.blocks.rows + 1);
            let cols = (panels.div_ceil(by_cols) * K::COLS).min(self.call.n);
            let cost = (rows + pack_rows) * cols;
            if cost < best.0 {
                best = (cost, by_rows, by_cols);
            }
        }
        (best.1, best.2)
    }

    /// Computes the tiles of some row blocks and panels of one product.
    ///
    /// # Safety
    /// As [`run`]; no other thread computes the same tiles.
    unsafe fn part(&self, product: usize, rows: Range<usize>, cols: Range<usize>) {
        let call = self.call;
        if self.panelled && call.m == 1 {
            // SAFETY: the caller's promise.
            return unsafe { self.row(product, cols) };
        }
        let k_block = match self.batch.b_axes {
            Some(_) if !self.panelled => K_BLOCK_AXES,
            _ => K_BLOCK,
        };
        let k_blocks = call.k.div_ceil(k_block).max(1);
        let mut sink = call
            .epilogue
            .map(|epilogue| Sink::<K::T>::new(&epilogue, product));
        let keeps_partial = k_blocks > 1 && sink.is_some();
        let depth_most = call.k.div_ceil(k_blocks).max(1);
        let panel_bytes = depth_most * K::COLS * size_of::<K::T>();
        let strip_panels = (B_STRIPS / panel_bytes).min(cols.len());
        let whole_rows = call.epilogue.is_some_and(|epilogue| epilogue.whole_rows);
        debug_assert!(!(whole_rows && keeps_partial));
        let wide = strip_panels * K::COLS >= STRIP_COLS;
        let strips = sink.is_some() && !keeps_partial && (wide || whole_rows);
        let group_most = if whole_rows {
            cols.len()
        } else if keeps_partial {
            1
        } else if strips {
            cols.len().div_ceil(cols.len().div_ceil(strip_panels))
        } else {
            (B_GROUP / panel_bytes).max(1)
        };
        let chunk = match self.batch.a_axes {
            Some(_) => A_PACKED,
            None => A_CHUNK,
        };
        let chunk_most = (chunk / (depth_most * (self.blocks.rows + 1) * size_of::<K::T>())).max(1);
        let first_row = self.blocks.start(rows.start);
        let mut partial = PackBuffer::empty();
        if keeps_partial {
            partial =
                PackBuffer::take::<K::T>(1, (self.blocks.start(rows.end) - first_row) * K::COLS);
        } else if strips {
            partial = PackBuffer::take::<K::T>(1, K::ROWS * group_most * K::COLS);
        }
        let scratch = partial.as_mut_ptr::<K::T>();
        let mut packed_a = PackBuffer::empty();
        if self.batch.a_axes.is_some() {
            let blocks = if strips {
                1
            } else {
                chunk_most.min(rows.len())
            };
            packed_a = PackBuffer::take::<K::T>(2, blocks * (self.blocks.rows + 1) * depth_most);
        }
        let backwards = self.batch.backwards;
        for group in turned(0..cols.len().div_ceil(group_most), backwards) {
            let group_start = cols.start + group * group_most;
            let panels = group_start..cols.end.min(group_start + group_most);
            for k_block in 0..k_blocks {
                // SAFETY: products lie inside the caller's matrices.
                let mut group = unsafe {
                    Group::new(
                        self,
                        product,
                        rows.clone(),
                        panels.clone(),
                        cols.end,
                        strips,
                        share(call.k, k_blocks, k_block),
                    )
                };
                let (first, last) = (k_block == 0, k_block + 1 == k_blocks);
                if strips && let Some(sink) = &mut sink {
                    let stride = panels.len() * K::COLS;
                    for block in rows.clone() {
                        // SAFETY: there is room for a block.
                        unsafe { group.pack_a(&mut packed_a, block..block + 1) };
                        for panel in turned(panels.clone(), backwards) {
                            let out = scratch.wrapping_add((panel - panels.start) * K::COLS);
                            let init = if call.accumulate {
                                group.c_at(panel, block).cast_const()
                            } else {
                                std::ptr::null()
                            };
                            // SAFETY: the strip has a row for each row of a block.
                            unsafe {
                                group.tile(panel, block, (init, call.c_row_stride), (out, stride))
                            };
                        }
                        // SAFETY: the caller vouches for the epilogue.
                        unsafe { sink.take_strip(scratch, stride, self.rows(block), group.cols()) };
                    }
                    group.packed.give_back(0);
                    continue;
                }
                let mut chunk_start = rows.start;
                while chunk_start < rows.end {
                    let chunk = chunk_start..rows.end.min(chunk_start + chunk_most);
                    chunk_start = chunk.end;
                    // SAFETY: there is room for a chunk.
                    unsafe { group.pack_a(&mut packed_a, chunk.clone()) };
                    for panel in turned(panels.clone(), backwards) {
                        for block in chunk.clone() {
                            let in_c = (group.c_at(panel, block), call.c_row_stride);
                            let Some(sink) = &mut sink else {
                                let init = if !first || call.accumulate {
                                    in_c.0.cast_const()
                                } else {
                                    std::ptr::null()
                                };
                                // SAFETY: the tile is inside C.
                                unsafe { group.tile(panel, block, (init, in_c.1), in_c) };
                                continue;
                            };
                            let rest = scratch
                                .wrapping_add((self.blocks.start(block) - first_row) * K::COLS);
                            let init = if !first {
                                (rest.cast_const(), K::COLS)
                            } else if call.accumulate {
                                (in_c.0.cast_const(), in_c.1)
                            } else {
                                (std::ptr::null(), 0)
                            };
                            let out = if last {
                                (sink.tile(), TILE_STRIDE)
                            } else {
                                (rest, K::COLS)
                            };
                            // SAFETY: the partial sums have a row per row of this part.
                            unsafe { group.tile(panel, block, init, out) };
                            if last {
                                let cols = group.cols_of(panel);
                                let tile = sink.tile();
                                // SAFETY: the caller vouches for the epilogue.
                                unsafe { sink.take(tile, self.rows(block), cols) };
                            }
                        }
                    }
                }
                group.packed.give_back(0);
            }
        }
        partial.give_back(1);
        packed_a.give_back(2);
    }

    /// [`Plan::part`] of a product of one row and a B in panels.
    ///
    /// # Safety
    /// As there.
    unsafe fn row(&self, product: usize, cols: Range<usize>) {
        let (call, batch) = (self.call, self.batch);
        let b = call.b.ptr.wrapping_add(batch.b.at(product));
        let c = call.c.wrapping_add(batch.c.at(product));
        let columns = cols.start * K::COLS..call.n.min(cols.end * K::COLS);
        let mut strip = PackBuffer::empty();
        let to = match call.epilogue {
            Some(_) => {
                strip = PackBuffer::take::<K::T>(1, cols.len() * K::COLS);
                strip.as_mut_ptr::<K::T>()
            }
            None => c.wrapping_add(columns.start),
        };
        for group in turned(0..cols.len().div_ceil(ROW_PANELS), batch.backwards) {
            let panel = cols.start + group * ROW_PANELS;
            let col = panel * K::COLS;
            let args = RowArgs {
                k: call.k,
                a: call.a.ptr.wrapping_add(batch.a.at(product)),
                a_col_stride: call.a.col_stride,
                b: std::array::from_fn(|at| b.wrapping_add(self.in_panels(panel + at, 0))),
                count: ROW_PANELS.min(cols.end - panel),
                b_row_stride: PANEL_COLS,
                init: match call.accumulate {
                    true => c.wrapping_add(col).cast_const(),
                    false => std::ptr::null(),
                },
                out: to.wrapping_add(col - columns.start),
                cols: columns.end.min(col + ROW_PANELS * K::COLS) - col,
            };
            // SAFETY: the panels are inside B, the columns inside C or the strip.
            unsafe { K::row(&args) };
        }
        if let Some(epilogue) = &call.epilogue {
            let mut sink = Sink::<K::T>::new(epilogue, product);
            // SAFETY: the caller vouches for the epilogue.
            unsafe { sink.take_strip(to, 0, 0..1, columns) };
        }
        strip.give_back(1);
    }

    /// Elements from the start of a B in panels to a row of a panel of `COLS` columns.
    fn in_panels(&self, panel: usize, row: usize) -> usize {
        let from = panel * K::COLS;
        let (whole, col) = (from / PANEL_COLS, from % PANEL_COLS);
        (whole * self.call.k + row) * PANEL_COLS + col
    }

    /// The rows of a block.
    fn rows(&self, block: usize) -> Range<usize> {
        self.blocks.start(block)..self.blocks.start(block + 1)
    }
}

/// A down a k block: the caller's, or the packed rows of some blocks.
struct Side<T> {
    at: *const T,
    row_stride: usize,
    col_stride: usize,
    /// The row at `at`.
    first_row: usize,
    /// Element (0, 0) of the caller's.
    whole: *const T,
}

/// A group of panels of B, down a k block, for some row blocks of a product.
struct Group<'a, K: Tiles> {
    plan: &'a Plan<'a, K>,
    rows: Range<usize>,
    panels: Range<usize>,
    /// End of the panels of the part.
    last_panel: usize,
    /// Whether row blocks go by one after the other, or else panels.
    strips: bool,
    depth: Range<usize>,
    a: Side<K::T>,
    b: *const K::T,
    c: *mut K::T,
    /// A place for each panel that is not read in place.
    packed: PackBuffer,
}

impl<'a, K: Tiles> Group<'a, K> {
    /// Packs what is to be packed beforehand.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn new(
        plan: &'a Plan<'a, K>,
        product: usize,
        rows: Range<usize>,
        panels: Range<usize>,
        last_panel: usize,
        strips: bool,
        depth: Range<usize>,
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
            c: call.c.wrapping_add(batch.c.at(product)),
            packed: PackBuffer::empty(),
        };
        if panels
            .clone()
            .any(|panel| group.supply(panel) != Supply::InPlace)
        {
            let panel_size = group.depth.len() * K::COLS;
            group.packed = PackBuffer::take::<K::T>(0, panels.len() * panel_size);
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
    unsafe fn pack_a(&mut self, to: &mut PackBuffer, blocks: Range<usize>) {
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
    fn cols_of(&self, panel: usize) -> Range<usize> {
        panel * K::COLS..self.plan.call.n.min((panel + 1) * K::COLS)
    }

    /// The columns of all panels.
    fn cols(&self) -> Range<usize> {
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
    /// third row block each fetch half of the panel that comes in this one's place.
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
        match block - self.rows.start {
            half @ 1..=2 if next < self.last_panel && self.plan.batch.b_axes.is_none() => {
                let start = self.b_at(next);
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
            _ => (self.b_at(panel), 0),
        }
    }

    fn a_at(&self, block: usize) -> *const K::T {
        let row = self.plan.blocks.start(block) - self.a.first_row;
        self.a.at.wrapping_add(row * self.a.row_stride)
    }

    fn c_at(&self, panel: usize, block: usize) -> *mut K::T {
        let row0 = self.plan.blocks.start(block);
        self.c
            .wrapping_add(row0 * self.plan.call.c_row_stride + panel * K::COLS)
    }

    /// Computes a tile: from `init` to `out`, each a place and its row stride.
    ///
    /// # Safety
    /// Both have room for the tile, unless `init` is null.
    unsafe fn tile(
        &mut self,
        panel: usize,
        block: usize,
        init: (*const K::T, usize),
        out: (*mut K::T, usize),
    ) {
        let call = self.plan.call;
        let (rows, cols) = (self.plan.rows(block), self.cols_of(panel));
        let supply = self.supply(panel);
        let keeps = supply == Supply::Kept && block == self.rows.start;
        let in_place = supply == Supply::InPlace || keeps;
        let copy = self.copy_of(panel);
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
            init: init.0,
            init_row_stride: init.1,
            out: out.0,
            out_row_stride: out.1,
            cols: cols.len(),
        };
        // SAFETY: rows and columns are inside A, B and C; packed panels are padded.
        unsafe { K::tile(rows.len(), &args) };
    }
}

/// A thread's tile buffer and its copy of the epilogue's buffers.
struct Sink<T> {
    tile: TileBuffer<T>,
    call: EpilogueCall,
    few: [*mut u8; FEW],
    many: Vec<*mut u8>,
    product: usize,
}

/// Epilogues with at most so many buffers cost no allocation.
const FEW: usize = 32;

#[repr(align(64))]
struct TileBuffer<T>(MaybeUninit<[[T; TILE_STRIDE]; TILE_ROWS]>);

impl<T> Sink<T> {
    fn new(call: &EpilogueCall, product: usize) -> Sink<T> {
        let mut sink = Sink {
            tile: TileBuffer(MaybeUninit::uninit()),
            call: *call,
            few: [std::ptr::null_mut(); FEW],
            many: Vec::new(),
            product,
        };
        // SAFETY: `buffers` has `buffer_count` entries.
        let given = unsafe { std::slice::from_raw_parts(call.buffers, call.buffer_count) };
        match sink.few.get_mut(..given.len()) {
            Some(few) => few.copy_from_slice(given),
            None => sink.many = given.to_vec(),
        }
        sink
    }

    fn tile(&mut self) -> *mut T {
        self.tile.0.as_mut_ptr().cast()
    }

    /// Gives the epilogue a rectangle of C that lies at `tile` with rows [`TILE_STRIDE`] apart.
    ///
    /// # Safety
    /// The epilogue must fit its buffers.
    unsafe fn take(&mut self, tile: *mut T, rows: Range<usize>, cols: Range<usize>) {
        let args: [i64; EPILOGUE_ARGS] = [
            rows.start as i64,
            rows.end as i64,
            cols.start as i64,
            cols.end as i64,
            rows.len() as i64,
            cols.len() as i64,
            self.product as i64,
        ];
        let buffers: &mut [*mut u8] = if self.many.is_empty() {
            &mut self.few
        } else {
            &mut self.many
        };
        buffers[0] = tile.cast();
        // SAFETY: the caller's promise.
        unsafe { (self.call.func)(buffers.as_ptr(), args.as_ptr()) };
    }

    /// Gives the epilogue a rectangle with rows `stride` apart, row by row.
    ///
    /// # Safety
    /// As [`Sink::take`].
    unsafe fn take_strip(
        &mut self,
        strip: *mut T,
        stride: usize,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        for (at, row) in rows.enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.take(strip.wrapping_add(at * stride), row..row + 1, cols.clone()) };
        }
    }
}

thread_local! {
    /// Packed panels of B, partial sums and packed rows of A, kept between calls so that steady work allocates nothing.
    static KEPT: [Cell<PackBuffer>; 3] = const {
        [
            Cell::new(PackBuffer::empty()),
            Cell::new(PackBuffer::empty()),
            Cell::new(PackBuffer::empty()),
        ]
    };
}

impl PackBuffer {
    /// This thread's kept buffer number `slot`, grown to hold `count` elements.
    fn take<T>(slot: usize, count: usize) -> PackBuffer {
        let mut buffer = KEPT.with(|kept| kept[slot].take());
        buffer.grow(count * size_of::<T>());
        buffer
    }

    /// Keeps the buffer for the thread's next call; an empty one displaces nothing.
    fn give_back(self, slot: usize) {
        if !self.is_empty() {
            KEPT.with(|kept| kept[slot].set(self));
        }
    }
}
