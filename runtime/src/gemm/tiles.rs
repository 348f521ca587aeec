//! What a set of tiles is: the innermost loops of one instruction set.

use std::ops::Range;

#[cfg(doc)]
use super::TILE_ROWS;
#[cfg(doc)]
use super::TILE_STRIDE;
use super::Walk;
use super::drive::{ROW_PANELS, STRIP_COLS};
#[cfg(doc)]
use super::pack::{pack_adjacent, pack_walk};
use super::sums::Terms;

/// What one tile call computes: `out = init + A B` for some rows and columns.
#[derive(Clone, Copy)]
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
    /// What `init` is multiplied by.
    pub init_factor: Option<T>,
    pub out: *mut T,
    pub out_row_stride: usize,
    /// Columns of `out` and `init` (and of B unless padded) that exist.
    pub cols: usize,
    /// Where to put the sums of A's rows; null not to. Only for tiles that sum.
    pub sums: *mut T,
    /// Whether to go on from the sums that are there.
    pub sums_go_on: bool,
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
    /// Whether a tile can sum A's rows, if they are adjacent, while it reads them.
    const SUMS_A: bool;
    /// Whether A that is stored transposed is packed where its lines cannot all stay in L1 while
    /// panels go by: a tile of few rows uses a small part of each.
    const PACKS_A: bool;
    /// Columns from which on an epilogue of long chains takes strips: where registers are narrow, several
    /// chains go side by side (`keeps_order` in the emitter), for which a tile has too few columns.
    const STRIP_COLS_CHAINED: usize = STRIP_COLS;
    /// Bytes of L2 to count with on processors that run these tiles.
    const L2: usize;

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
                init_factor: None,
                out: args.out.wrapping_add(from),
                out_row_stride: 0,
                cols: Self::COLS.min(args.cols - from),
                sums: std::ptr::null_mut(),
                sums_go_on: false,
            };
            // SAFETY: the caller's promise.
            unsafe { Self::tile(1, &tile) };
        }
    }

    /// Adds terms to sums.
    ///
    /// # Safety
    /// The instruction set is there, terms are readable, and `to` has room for the sums.
    unsafe fn add_terms(to: *mut Self::T, terms: &Terms<Self::T>);

    /// [`pack_adjacent`] into a panel of `COLS` columns.
    ///
    /// # Safety
    /// The instruction set is there, and as [`pack_adjacent`].
    unsafe fn pack_adjacent(panel: *mut Self::T, b: *const Self::T, places: &[usize], k: usize);

    /// [`pack_walk`], by the instruction set's moves.
    ///
    /// # Safety
    /// The instruction set is there, and as [`pack_walk`].
    unsafe fn pack_walk(
        to: *mut Self::T,
        to_strides: (usize, usize),
        from: *const Self::T,
        places: &[usize],
        along: (&Walk, Range<usize>),
    );
}

/// The same pointer, of which the compiler no longer knows where it came from.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)]
pub(super) fn opaque<T>(mut at: *const T) -> *const T {
    // SAFETY: no instructions.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) at, options(nomem, nostack, preserves_flags, pure))
    };
    at
}
