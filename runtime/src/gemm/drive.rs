//! Cuts a product into row blocks, column panels and k blocks, and spreads them over threads.
//! Generic over the tiles; the cut is a matter of speed only, never of the result.

use std::ops::Range;

use super::group::{Group, Init, Supply};
use super::pack::{PackBuffer, pack};
use super::packed_rows::PackedRows;
use super::sink::Sink;
use super::sums::Terms;
use super::tiles::{RowArgs, TileArgs, Tiles};
use super::{Batch, EpilogueCall, GemmCall, MatRef, PACK_FROM_ROW_BLOCKS, PANEL_COLS, TILE_STRIDE};
use crate::pool::Pool;

/// k is cut into blocks of at most this, so that a packed panel stays in L2.
pub(super) const K_BLOCK: usize = 2048;
/// Bytes after which addresses fall into the same set of L2 again, and how many of its ways one
/// operand may fill: lines a large power of two apart share few sets, and would drive one another
/// out before they are read again. k is cut so that they do not.
const L2_SPAN: usize = 1 << 17;
const L2_WAYS_OF_ONE: usize = 8;
/// Bytes of sums that wait for the next k block, to stay in L2.
const PARTIAL: usize = 1 << 18;
/// Most terms of a k block for B with axes: a panel, packed for this part of A alone, stays in L1.
const K_BLOCK_AXES: usize = 256;
/// Bytes of A with axes that are packed at a time, to be read from L1.
const A_PACKED: usize = 1 << 14;
/// Bytes of B's panels that are kept in L2 while rows go by.
const B_GROUP: usize = 1 << 18;
/// The same where an epilogue takes strips: a row block's tiles of all the panels.
const B_STRIPS: usize = 1 << 19;
/// From so many terms on, that is at most half of L2: such a product gains more from a B that stays
/// near than its epilogue from long strips.
const DEEP: usize = 512;
/// An epilogue takes strips, row by row, if they have at least so many columns: what it loads and
/// stores is then long enough for the processor to foresee.
pub(super) const STRIP_COLS: usize = 192;
/// The same if it reads beside C, which tiles call for in time along whole rows.
const STRIP_COLS_BESIDE: usize = 128;
/// Bytes of A that are kept in L2 while panels go by.
const A_CHUNK: usize = 3 << 17;
/// The same if it is packed, where it shares a small L2 with the lines it came from.
const A_CHUNK_PACKED: usize = A_CHUNK / 2;
/// Panels that a single row is multiplied by at once.
pub(super) const ROW_PANELS: usize = 4;
/// Multiply-adds that are worth a thread: about 5 microseconds.
const MADDS_PER_PART: usize = 200_000;

/// Tiles that pack A do so if so many panels read it.
const PACK_A_FROM_PANELS: usize = 4;
/// Bytes after which addresses fall into the same set of L1 again, and the ways that A may fill
/// of 8: panels of B go through the others.
const L1_SPAN: usize = 1 << 12;
const L1_WAYS_OF_A: usize = 4;
/// Tiles that keep do so if so many row blocks of at least such a depth read what they kept.
const KEEP_FROM_ROW_BLOCKS: usize = 3;
const KEEP_FROM_DEPTH: usize = 16;

/// Row blocks of nearly equal size: the first `longer` have one row more.
#[derive(Clone, Copy)]
pub(super) struct RowBlocks {
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

    /// Rows of the first block, which no other has more of.
    pub(super) fn most(self) -> usize {
        self.rows + usize::from(self.longer > 0)
    }

    /// First row of block `at`.
    pub(super) fn start(self, at: usize) -> usize {
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
    const { assert!(PANEL_COLS.is_multiple_of(K::COLS)) };
    for col in (0..n).step_by(K::COLS) {
        let panel = to.wrapping_add(col * k);
        let from = MatRef {
            ptr: b.ptr.wrapping_add(col * b.col_stride),
            ..b
        };
        let width = K::COLS.min(n - col);
        // SAFETY: the columns exist, and the panel has `K::COLS * k` elements.
        unsafe { pack::<K>(panel, &from, k, width) };
    }
}

/// # Safety
/// As [`super::gemm_f32`].
pub(super) unsafe fn run<K: Tiles>(call: &GemmCall<K::T>, batch: &Batch, pool: &Pool) {
    // The terms that come first, as a product of their own.
    let before = call.before.map(|before| GemmCall {
        k: before.k,
        a: before.a,
        b: before.b,
        sums: before.sums,
        epilogue: None,
        before: None,
        ..*call
    });
    if call.m == 0 || call.n == 0 || batch.count == 0 {
        for call in before.iter().chain([call]) {
            // SAFETY: the caller's promise.
            unsafe {
                add_a_terms::<K>(call, 0..call.m, 0..call.k);
                add_b_terms::<K>(call, 0..call.n, 0..call.k);
            }
        }
        return;
    }
    let axes = batch.a_axes.is_some() || batch.b_axes.is_some() || batch.b_panels.is_some();
    let plain = !axes && before.is_none();
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
                init_factor: None,
                out: call.c,
                out_row_stride: call.c_row_stride,
                cols: call.n,
                sums: std::ptr::null_mut(),
                sums_go_on: false,
            };
            // SAFETY: the caller's promise; the product is one tile.
            unsafe {
                K::tile(call.m, &args);
                add_a_terms::<K>(call, 0..call.m, 0..call.k);
                add_b_terms::<K>(call, 0..call.n, 0..call.k);
            }
            return;
        }
    }
    let blocks = RowBlocks::new(call.m, K::ROWS);
    let panels = call.n.div_ceil(K::COLS);
    let transposed = batch.a_axes.is_none() && before.is_none() && call.a.row_stride == 1;
    // Lines that lie a column apart fall into so many sets.
    let column = (call.a.col_stride * size_of::<K::T>()).trailing_zeros();
    let sets = L1_SPAN >> column.clamp(6, L1_SPAN.trailing_zeros());
    let plan = Plan::<K> {
        call,
        before: before.as_ref(),
        batch,
        blocks,
        packs_a: K::PACKS_A
            && transposed
            && panels >= PACK_A_FROM_PANELS
            && call.k > sets * L1_WAYS_OF_A,
    };
    let terms = call.k.max(1) + before.map_or(0, |before| before.k);
    let madds = call
        .m
        .saturating_mul(call.n)
        .saturating_mul(terms)
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

/// What it costs a part to read an entry of a row of A, or of a column of B, in multiplications: both
/// may lie in another core's cache.
const READ: usize = 8;

/// Places of packed panels of B, of terms that come first and of others.
const B_SLOTS: [usize; 2] = [0, 3];

/// Some terms of a product, and what is multiplied by a number before they are added.
struct KBlock<'a, K: Tiles> {
    plan: &'a Plan<'a, K>,
    depth: Range<usize>,
    factor: Option<K::T>,
}

/// How a part goes about its tiles.
struct Cut {
    /// Blocks of the terms that come first, and of the others.
    k_blocks: [usize; 2],
    /// Whether each tile takes the terms that come first and the others one after the other: they
    /// are one block each.
    together: bool,
    /// Most terms of a block.
    depth_most: usize,
    /// Whether sums that are not finished wait outside of C, as an epilogue takes them.
    keeps_partial: bool,
    /// Whether the epilogue gets strips.
    strips: bool,
    /// Panels of a group, and row blocks of a chunk, at most.
    group_most: usize,
    chunk_most: usize,
}

/// Adds some terms of the sums of some of A's rows, if they are wanted and no tile does.
///
/// # Safety
/// As [`super::gemm_f32`]; no other thread adds the same.
pub(super) unsafe fn add_a_terms<K: Tiles>(
    call: &GemmCall<K::T>,
    rows: Range<usize>,
    depth: Range<usize>,
) {
    if !call.sums.a.is_null() {
        let terms = Terms {
            at: call.a.ptr.wrapping_add(rows.start),
            step: call.a.col_stride,
            depth,
            width: rows.len(),
        };
        // SAFETY: the caller's promise: rows are adjacent, and there is a sum for each.
        unsafe { K::add_terms(call.sums.a.wrapping_add(rows.start), &terms) };
    }
}

/// Adds some terms of the sums of some of B's columns, if they are wanted.
///
/// # Safety
/// As [`super::gemm_f32`]; no other thread adds the same.
unsafe fn add_b_terms<K: Tiles>(call: &GemmCall<K::T>, cols: Range<usize>, depth: Range<usize>) {
    if !call.sums.b.is_null() {
        let terms = Terms {
            at: call.b.ptr.wrapping_add(cols.start),
            step: call.b.row_stride,
            depth,
            width: cols.len(),
        };
        // SAFETY: the caller's promise: columns are adjacent, and there is a sum for each.
        unsafe { K::add_terms(call.sums.b.wrapping_add(cols.start), &terms) };
    }
}

pub(super) struct Plan<'a, K: Tiles> {
    pub(super) call: &'a GemmCall<K::T>,
    /// The terms that come first, as a product of their own.
    before: Option<&'a GemmCall<K::T>>,
    pub(super) batch: &'a Batch,
    pub(super) blocks: RowBlocks,
    /// Whether row blocks of A, which is stored transposed, are packed.
    pub(super) packs_a: bool,
}

// SAFETY: shared with pool threads only inside `run`, whose caller vouches for the pointers.
unsafe impl<K: Tiles> Sync for Plan<'_, K> {}

impl<K: Tiles> Plan<'_, K> {
    /// How a panel of B, so many columns wide, gets to the tiles of some row blocks.
    pub(super) fn supply(&self, width: usize, blocks: usize) -> Supply {
        let stride = self.call.b.row_stride * size_of::<K::T>();
        let axes = self.batch.b_axes.is_some();
        if self.batch.b_panels.is_some() {
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
    /// the largest part, where packing the same panel twice counts, and what a part reads. A transposed
    /// A is cut along its rows if that is about as good: it makes the gradient of a weight, whose rows,
    /// and those of the optimizer's state, so stay with one core from step to step.
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
            let mut cost = (rows + pack_rows) * cols + READ * (rows + cols);
            if by_cols > 1 && self.call.a.row_stride == 1 {
                cost += cost / 8;
            }
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
        if let Some(height) = self.batch.b_panels
            && call.m == 1
        {
            let columns = cols.start * K::COLS..call.n.min(cols.end * K::COLS);
            // SAFETY: the caller's promise.
            unsafe {
                if cols.start == 0 {
                    add_a_terms::<K>(call, 0..1, 0..call.k);
                }
                add_b_terms::<K>(call, columns, 0..call.k);
                return self.row(product, cols, height);
            }
        }
        let c = call.c.wrapping_add(self.batch.c.at(product));
        let cut = self.cut(rows.clone(), cols.clone());
        let first_plan = Plan {
            call: self.before.unwrap_or(call),
            before: None,
            ..*self
        };
        let factor = call.before.map(|before| before.factor);
        let k_block = |at: usize| match at.checked_sub(cut.k_blocks[0]) {
            None => KBlock {
                plan: &first_plan,
                depth: share(first_plan.call.k, cut.k_blocks[0], at),
                factor: None,
            },
            Some(at) => KBlock {
                plan: self,
                depth: share(call.k, cut.k_blocks[1], at),
                // Where the other terms begin.
                factor: factor.filter(|_| at == 0),
            },
        };
        let stages = if cut.together {
            1
        } else {
            cut.k_blocks[0] + cut.k_blocks[1]
        };
        let mut sink = call
            .epilogue
            .map(|epilogue| Sink::<K::T>::new(&epilogue, product));
        // Sums that wait for the next k block, or the strip that an epilogue gets.
        let stride = cut.group_most * K::COLS;
        let first_row = self.blocks.start(rows.start);
        let held_rows = if cut.keeps_partial {
            self.blocks.start(rows.end) - first_row
        } else if cut.strips {
            K::ROWS
        } else {
            0
        };
        let mut held = PackBuffer::take::<K::T>(1, held_rows * stride);
        let scratch = held.as_mut_ptr::<K::T>();
        let mut packed_rows = self.packs_a.then(|| {
            let chunk = (cut.chunk_most, cut.depth_most);
            PackedRows::new(self, rows.clone(), chunk, stages)
        });
        let mut packed_a = PackBuffer::empty();
        if self.batch.a_axes.is_some() {
            let height = cut.chunk_most.min(rows.len()) * self.blocks.most();
            packed_a = PackBuffer::take::<K::T>(2, height * cut.depth_most);
        }
        let backwards = self.batch.backwards;
        // The part with the first rows sums B's terms; A's go with the tiles of the first panel.
        let sums_b = rows.start == 0;
        let groups = turned(0..cols.len().div_ceil(cut.group_most), backwards);
        for (turn, group) in groups.enumerate() {
            let group_start = cols.start + group * cut.group_most;
            let panels = group_start..cols.end.min(group_start + cut.group_most);
            for stage in 0..stages {
                let (first, last) = (stage == 0, stage + 1 == stages);
                let strips = cut.strips && last;
                let k_blocks = match cut.together {
                    true => [Some(k_block(0)), Some(k_block(1))],
                    false => [Some(k_block(stage)), None],
                };
                let mut slots = B_SLOTS.into_iter();
                let mut groups = k_blocks.map(|k_block| {
                    let KBlock {
                        plan,
                        depth,
                        factor,
                    } = k_block?;
                    let (rows, panels) = (rows.clone(), panels.clone());
                    let slot = slots.next()?;
                    // SAFETY: products lie inside the caller's matrices.
                    let group = unsafe {
                        Group::new(plan, product, rows, panels, cols.end, strips, depth, slot)
                    };
                    Some((group, factor))
                });
                let group_cols = panels.start * K::COLS..call.n.min(panels.end * K::COLS);
                let chunk_most = if strips { 1 } else { cut.chunk_most };
                if let Some(packed) = &mut packed_rows {
                    packed.begin(turn == 0);
                }
                let mut chunk_start = rows.start;
                while chunk_start < rows.end {
                    let chunk = chunk_start..rows.end.min(chunk_start + chunk_most);
                    chunk_start = chunk.end;
                    if let Some((group, _)) = &mut groups[0] {
                        // SAFETY: products lie inside the caller's matrices; there is room for
                        // a chunk.
                        unsafe {
                            match &mut packed_rows {
                                Some(packed) => packed.bring(group, stage, chunk.clone()),
                                None => group.pack_a(&mut packed_a, chunk.clone()),
                            }
                        }
                    }
                    let held_row = |block: usize| match cut.keeps_partial {
                        true => {
                            scratch.wrapping_add((self.blocks.start(block) - first_row) * stride)
                        }
                        false => scratch,
                    };
                    for panel in turned(panels.clone(), backwards) {
                        for block in chunk.clone() {
                            let row = self.blocks.start(block) * call.c_row_stride;
                            let in_c = (c.wrapping_add(row + panel * K::COLS), call.c_row_stride);
                            let col = (panel - panels.start) * K::COLS;
                            let rest = (held_row(block).wrapping_add(col), stride);
                            let before = if sink.is_some() && !first { rest } else { in_c };
                            let goes_on = !first || (call.accumulate && call.before.is_none());
                            let mut init = match goes_on {
                                true => (before.0.cast_const(), before.1),
                                false => (std::ptr::null(), 0),
                            };
                            let out = match &mut sink {
                                None => in_c,
                                Some(sink) if last && !strips => (sink.tile(), TILE_STRIDE),
                                Some(_) => rest,
                            };
                            for (group, factor) in groups.iter_mut().flatten() {
                                let init = Init {
                                    at: std::mem::replace(&mut init, (out.0.cast_const(), out.1)),
                                    factor: *factor,
                                };
                                // SAFETY: the tile is inside C, or there is a row for each row
                                // of this part, or of a block if none waits.
                                unsafe { group.tile(panel, block, init, out) };
                            }
                            if let Some(sink) = &mut sink
                                && last
                                && !strips
                            {
                                let cols = panel * K::COLS..call.n.min((panel + 1) * K::COLS);
                                // SAFETY: the caller vouches for the epilogue.
                                unsafe { sink.take(out.0, self.rows(block), cols) };
                            }
                        }
                    }
                    if let Some(sink) = &mut sink
                        && strips
                    {
                        let (strip, rows) = (held_row(chunk.start), self.rows(chunk.start));
                        // SAFETY: the caller vouches for the epilogue.
                        unsafe { sink.take_strip(strip, stride, rows, group_cols.clone()) };
                    }
                }
                for ((group, _), slot) in groups.into_iter().flatten().zip(B_SLOTS) {
                    if sums_b {
                        let (cols, depth) = (group_cols.clone(), group.depth.clone());
                        // SAFETY: the caller's promise; the columns are this part's.
                        unsafe { add_b_terms::<K>(group.call(), cols, depth) };
                    }
                    group.packed.give_back(slot);
                }
            }
        }
        held.give_back(1);
        packed_a.give_back(2);
        if let Some(packed) = packed_rows {
            packed.give_back();
        }
    }

    /// Most terms of a k block.
    fn k_block(&self) -> usize {
        let call = self.call;
        if self.batch.b_axes.is_some() {
            return K_BLOCK_AXES;
        }
        if call.epilogue.is_some_and(|epilogue| epilogue.whole_rows) {
            return K_BLOCK;
        }
        let plain_a = self.batch.a_axes.is_none() && call.a.row_stride == 1 && !self.packs_a;
        let plain_b = self.batch.b_axes.is_none() && call.b.col_stride == 1;
        let steps = [
            plain_a.then_some(call.a.col_stride),
            plain_b.then_some(call.b.row_stride),
        ];
        let depths = steps.into_iter().flatten().map(|step| {
            // Lines that lie one step apart fall into so many sets.
            let bytes = (step * size_of::<K::T>()).max(64);
            let sets = L2_SPAN >> bytes.trailing_zeros().min(L2_SPAN.trailing_zeros());
            sets * L2_WAYS_OF_ONE
        });
        depths.fold(K_BLOCK, usize::min).max(K_BLOCK_AXES)
    }

    fn cut(&self, rows: Range<usize>, cols: Range<usize>) -> Cut {
        let call = self.call;
        let bytes = size_of::<K::T>();
        let blocks = |plan: &Self| plan.call.k.div_ceil(plan.k_block()).max(1);
        let depth = |call: &GemmCall<K::T>, blocks: usize| call.k.div_ceil(blocks).max(1);
        let mut k_blocks = [0, blocks(self)];
        let mut depth_most = depth(call, k_blocks[1]);
        if let Some(before) = self.before {
            let plan = Plan {
                call: before,
                before: None,
                ..*self
            };
            k_blocks[0] = blocks(&plan);
            depth_most = depth_most.max(depth(before, k_blocks[0]));
        }
        let together = k_blocks == [1, 1];
        let keeps_partial = !together && k_blocks[0] + k_blocks[1] > 1 && call.epilogue.is_some();
        let panel_bytes = depth_most * K::COLS * bytes;
        let whole_rows = call.epilogue.is_some_and(|epilogue| epilogue.whole_rows);
        debug_assert!(!(whole_rows && keeps_partial));
        let one_at_a_time = keeps_partial && self.batch.b_axes.is_some();
        let height = self.blocks.start(rows.end) - self.blocks.start(rows.start);
        let mut strip_bytes = B_STRIPS;
        if depth_most >= DEEP {
            strip_bytes = strip_bytes.min(K::L2 / 2);
        }
        if keeps_partial {
            strip_bytes = strip_bytes.min(PARTIAL * depth_most / height.max(1));
        }
        let strip_panels = (strip_bytes / panel_bytes).min(cols.len());
        let strip_cols = match call.epilogue {
            Some(epilogue) if epilogue.chained => K::STRIP_COLS_CHAINED,
            Some(epilogue) if epilogue.beside != 0 => STRIP_COLS_BESIDE,
            _ => STRIP_COLS,
        };
        let wide = strip_panels * K::COLS >= strip_cols;
        let strips = call.epilogue.is_some() && !one_at_a_time && (wide || whole_rows);
        let group_most = if whole_rows {
            cols.len()
        } else if one_at_a_time {
            1
        } else if strips {
            cols.len().div_ceil(cols.len().div_ceil(strip_panels))
        } else if keeps_partial {
            (B_GROUP / panel_bytes).min(strip_panels).max(1)
        } else {
            (B_GROUP / panel_bytes).max(1)
        };
        let chunk = match self.batch.a_axes {
            Some(_) => A_PACKED,
            None if self.packs_a => A_CHUNK_PACKED,
            None => A_CHUNK,
        };
        Cut {
            k_blocks,
            together,
            depth_most,
            keeps_partial,
            strips,
            group_most,
            chunk_most: (chunk / (depth_most * (self.blocks.rows + 1) * bytes)).max(1),
        }
    }

    /// [`Plan::part`] of a product of one row and a B in panels of so many rows.
    ///
    /// # Safety
    /// As there.
    unsafe fn row(&self, product: usize, cols: Range<usize>, height: usize) {
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
                b: std::array::from_fn(|at| b.wrapping_add((panel + at) * height * K::COLS)),
                count: ROW_PANELS.min(cols.end - panel),
                b_row_stride: K::COLS,
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

    /// The rows of a block.
    pub(super) fn rows(&self, block: usize) -> Range<usize> {
        self.blocks.start(block)..self.blocks.start(block + 1)
    }
}
