//! Matrix products `C = A B` and `C += A B` by register tiles, with an optional epilogue that
//! takes what is finished while it lies in L1 or L2.
//!
//! Order of summation: every element of C is one chain of multiply-adds over k from 0 upwards,
//! starting from 0 (or from C when accumulating), whatever the shape, the layouts and the number
//! of threads. AVX-512 and AVX2 fuse each multiply-add and agree bit for bit; the portable tiles
//! fuse only where the target does so in hardware.
//!
//! Order of work: groups of column panels of B that fill an eighth of L2, within them chunks of
//! rows of A that fill a fifth, within them panels, within them row blocks. An epilogue of a wide
//! product gets rows of a group (of a quarter of L2; whole rows of C if it asks for them) instead
//! of tiles: there row blocks come first and panels within them. Tiles meanwhile call the panels and
//! rows to come into L2, and what the epilogue of whole rows reads beside the product.
//! k is cut into blocks where a panel would be too long, or where lines that lie a large power of
//! two apart would drive one another out of L2; unfinished sums wait in C, or beside it for an
//! epilogue.
//!
//! Sums of A's rows or B's columns over the terms ([`TermSums`]) are taken along: A's by the tiles of
//! the first panel, which hold its elements anyway.
//!
//! Packing rule: a B that many calls share can be brought into panels by [`panels_f32`] once and for
//! all ([`Batch::b_panels`]); the rest is of the others. A with two strides is never packed. B is copied panel by panel, through a transposition in
//! registers, unless its columns are adjacent. If they are, AVX-512 tiles read B in place; if
//! several row blocks need it, the first one writes the panel that the others read on its way,
//! which costs it nothing but the wait for memory. (In place again and again, a large B misses
//! the tables of pages and collides in cache sets where its row stride is a multiple of 4 KiB.)
//! Operands with axes that are several axes of memory ([`Axes`]) are packed, A a chunk of rows at
//! a time: so a convolution's pieces never lie in memory all together.
//! The other tiles copy beforehand if the stride is such, or if at least
//! [`PACK_FROM_ROW_BLOCKS`] row blocks use B.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod drive;
mod group;
mod pack;
mod packed_rows;
mod portable;
mod sink;
mod sums;
mod tiles;
mod walk;

use std::sync::OnceLock;

use crate::pool::Pool;

pub use sums::TermSums;
pub use walk::{WALK_AXES, Walk};

/// Row stride, in elements, of the tile that an epilogue gets.
pub const TILE_STRIDE: usize = 32;
/// Columns that a right side in panels is padded to a multiple of: tiles of all kinds divide it.
pub const PANEL_COLS: usize = 32;
/// Most rows that a tile has.
pub const TILE_ROWS: usize = 14;
/// Most terms of a product that gives whole rows; see [`EpilogueCall`].
pub const WHOLE_ROWS_DEPTH: usize = drive::K_BLOCK;
/// Number of entries of the epilogue's `args`; see [`Epilogue`].
pub const EPILOGUE_ARGS: usize = 7;
/// Tiles that cannot keep B have it packed if at least so many row blocks read it.
pub const PACK_FROM_ROW_BLOCKS: usize = 37;

/// The instruction sets that tiles exist for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// 256-bit AVX2 with FMA.
    Avx2,
    /// 512-bit AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// All, narrowest first.
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// The widest one that this processor has.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            Isa::ALL
                .into_iter()
                .rfind(|isa| isa.available())
                .unwrap_or(Isa::Portable)
        })
    }

    /// Whether this processor has it.
    pub fn available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && Isa::Avx2.available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The one called `portable`, `avx2` or `avx512`, if there is such a name and this
    /// processor has it.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == name && isa.available())
    }

    /// Its name on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

/// Where a matrix lies: element (i, j) is at `ptr + i * row_stride + j * col_stride`. Strides
/// are in elements. One of them is 1 on the fast paths; 0 repeats.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<T = f32> {
    /// Element (0, 0).
    pub ptr: *const T,
    /// From one row to the next.
    pub row_stride: usize,
    /// From one column to the next.
    pub col_stride: usize,
}

/// Compiled code that takes a finished rectangle of C: a tile, or a row across several.
///
/// `buffers[0]` is the rectangle (row stride [`TILE_STRIDE`], aligned to 64 bytes; it may be
/// overwritten), the others are the call's. `args` holds [`EPILOGUE_ARGS`] numbers:
/// `row0, row1, col0, col1` (its place in C), `rows, cols` (its size), and the index of the
/// product in a batch. Every element of C is in one rectangle; how C is cut is not defined.
pub type Epilogue = unsafe extern "C" fn(buffers: *const *mut u8, args: *const i64);

/// What to do with finished tiles instead of storing them.
#[derive(Clone, Copy, Debug)]
pub struct EpilogueCall {
    /// The code. Called once per rectangle, from several threads at once.
    pub func: Epilogue,
    /// Its buffers; entry 0 is replaced by the tile (in a copy, one per thread).
    pub buffers: *const *mut u8,
    /// Number of entries in `buffers`, the tile's included.
    pub buffer_count: usize,
    /// Whether it wants each row of C as a whole. `k` is at most [`WHOLE_ROWS_DEPTH`] then, and B
    /// has no axes but panels.
    pub whole_rows: bool,
    /// Buffers of C's element type that it reads where it writes C, element (i, j) at `i * n + j`;
    /// bit 1 is the second one. Tiles call them into L2, which is a matter of speed only.
    pub beside: u64,
    /// Whether it computes a long chain of operations of an element, many of which at once are faster.
    pub chained: bool,
}

/// A product whose terms come before those of a [`GemmCall`] of the same rows and columns: one chain
/// of additions through both, so that their sum takes no pass over memory. Its matrices are plain.
#[derive(Clone, Copy, Debug)]
pub struct Before<T = f32> {
    /// Columns of A, rows of B.
    pub k: usize,
    /// Left side.
    pub a: MatRef<T>,
    /// Right side.
    pub b: MatRef<T>,
    /// What it is multiplied by before the others are added.
    pub factor: T,
    /// Sums to take beside it.
    pub sums: TermSums<T>,
}

/// One matrix product: C (m x n) from A (m x k) and B (k x n).
#[derive(Clone, Copy, Debug)]
pub struct GemmCall<T = f32> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Left side.
    pub a: MatRef<T>,
    /// Right side.
    pub b: MatRef<T>,
    /// Result, columns adjacent. May be null if there is an epilogue and `accumulate` is off.
    pub c: *mut T,
    /// From one row of C to the next, in elements.
    pub c_row_stride: usize,
    /// Start from C's elements rather than from 0.
    pub accumulate: bool,
    /// Takes the tiles in place of C, which is then not written.
    pub epilogue: Option<EpilogueCall>,
    /// Sums to take beside a single product of plain matrices.
    pub sums: TermSums<T>,
    /// What a single product of plain matrices, none of whole rows, is added to in place of C.
    pub before: Option<Before<T>>,
}

/// Both axes of a matrix of which one is several axes of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Axes {
    /// From row to row.
    pub rows: Walk,
    /// From column to column.
    pub cols: Walk,
}

impl Axes {
    /// How plans write a right side of `k` rows that lies in panels: [`PANEL_COLS`] columns after
    /// [`PANEL_COLS`] columns, each panel `k` rows one after the other, the last one padded. Products
    /// have panels of the width of their tiles, see [`Batch::b_panels`].
    pub fn panels(k: usize) -> Axes {
        let panels = [(usize::MAX, (k * PANEL_COLS) as i64), (PANEL_COLS, 1)];
        Axes {
            rows: Walk::step(PANEL_COLS),
            cols: Walk::nested(panels).unwrap_or(Walk::step(1)),
        }
    }
}

/// What a [`GemmCall`] does not say: a product is repeated `count` times, at these distances, in
/// elements, and the matrices may have [`Axes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Number of products.
    pub count: usize,
    /// From one A to the next; a step of 0 shares it.
    pub a: Walk,
    /// From one B to the next; a step of 0 shares it.
    pub b: Walk,
    /// From one C to the next.
    pub c: Walk,
    /// A's axes in place of the call's strides.
    pub a_axes: Option<Axes>,
    /// B's.
    pub b_axes: Option<Axes>,
    /// The rows of B if [`panels_f32`] has brought it into panels on the same instruction set; it
    /// has no strides then. A product of fewer terms takes the first rows.
    pub b_panels: Option<usize>,
    /// Whether to take the columns from the last to the first: a call that goes the other way
    /// than the one before it begins with what that one left in L2.
    pub backwards: bool,
}

impl Batch {
    /// A single product of plain matrices.
    pub const ONE: Batch = Batch {
        count: 1,
        a: Walk::step(0),
        b: Walk::step(0),
        c: Walk::step(0),
        a_axes: None,
        b_axes: None,
        b_panels: None,
        backwards: false,
    };
}

/// Brings a right side of `k` rows and `n` columns into panels for products on `isa`, see
/// [`Batch::b_panels`]: as many columns as a tile has after as many, each panel `k` rows one after
/// the other, the last one padded.
///
/// # Safety
/// B must be readable and `to` have room for `k * n` elements with `n` rounded up to a multiple of
/// [`PANEL_COLS`]; they must not overlap, and `isa` must be available.
pub unsafe fn panels_f32(to: *mut f32, b: MatRef<f32>, k: usize, n: usize, isa: Isa) {
    // SAFETY: the caller's promise, and `isa` is available by it.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => drive::panels::<avx512::TilesF32>(to, b, k, n),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => drive::panels::<avx2::TilesF32>(to, b, k, n),
            _ => drive::panels::<portable::TilesOf<f32>>(to, b, k, n),
        }
    }
}

/// [`panels_f32`] of f64.
///
/// # Safety
/// As there.
pub unsafe fn panels_f64(to: *mut f64, b: MatRef<f64>, k: usize, n: usize, isa: Isa) {
    // SAFETY: the caller's promise, and `isa` is available by it.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => drive::panels::<avx512::TilesF64>(to, b, k, n),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => drive::panels::<avx2::TilesF64>(to, b, k, n),
            _ => drive::panels::<portable::TilesOf<f64>>(to, b, k, n),
        }
    }
}

/// An f32 product.
///
/// # Safety
/// A and B must be readable and C writable (readable too when accumulating) as the call
/// describes them, C must not overlap A or B or itself, `isa` must be available, and the
/// epilogue must fit its buffers and bear being called from several threads.
pub unsafe fn gemm_f32(call: &GemmCall<f32>, isa: Isa, pool: &Pool) {
    // SAFETY: the caller's promise is the callee's.
    unsafe { gemm_batched_f32(call, &Batch::ONE, isa, pool) }
}

/// An f64 product.
///
/// # Safety
/// As [`gemm_f32`].
pub unsafe fn gemm_f64(call: &GemmCall<f64>, isa: Isa, pool: &Pool) {
    // SAFETY: the caller's promise is the callee's.
    unsafe { gemm_batched_f64(call, &Batch::ONE, isa, pool) }
}

/// Several f32 products of one shape.
///
/// # Safety
/// As [`gemm_f32`], for every product of the batch; the Cs must not overlap.
pub unsafe fn gemm_batched_f32(call: &GemmCall<f32>, batch: &Batch, isa: Isa, pool: &Pool) {
    // SAFETY: the caller's promise, and `isa` is available by it.
    unsafe {
        match isa {
            Isa::Portable => drive::run::<portable::TilesOf<f32>>(call, batch, pool),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => drive::run::<avx2::TilesF32>(call, batch, pool),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => drive::run::<avx512::TilesF32>(call, batch, pool),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => drive::run::<portable::TilesOf<f32>>(call, batch, pool),
        }
    }
}

/// Several f64 products of one shape.
///
/// # Safety
/// As [`gemm_f32`], for every product of the batch; the Cs must not overlap.
pub unsafe fn gemm_batched_f64(call: &GemmCall<f64>, batch: &Batch, isa: Isa, pool: &Pool) {
    // SAFETY: the caller's promise, and `isa` is available by it.
    unsafe {
        match isa {
            Isa::Portable => drive::run::<portable::TilesOf<f64>>(call, batch, pool),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => drive::run::<avx2::TilesF64>(call, batch, pool),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => drive::run::<avx512::TilesF64>(call, batch, pool),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => drive::run::<portable::TilesOf<f64>>(call, batch, pool),
        }
    }
}
