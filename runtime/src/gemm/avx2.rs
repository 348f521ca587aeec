//! AVX2 + FMA tiles: 6 rows x 2 vectors (16 f32 or 8 f64 columns).

use std::arch::x86_64::*;
use std::ops::Range;

use super::drive::ROW_PANELS;
use super::pack::{pack_adjacent, pack_walk};
use super::sums::{Terms, add_terms};
use super::tiles::{RowArgs, TileArgs, Tiles, opaque};
use super::walk::Walk;

/// Most rows of a tile: 12 accumulators, 2 vectors of B and a broadcast fill 16 registers.
pub(super) const ROWS: usize = 6;

/// Rows of B that a tile calls for ahead of the one it reads, when it is the first to read them.
const B_AHEAD: usize = 16;
/// Columns of A that a tile calls for ahead of the one it reads, when rows are adjacent.
const A_AHEAD: usize = 8;

/// One function per number of rows, from 1.
macro_rules! per_rows {
    ($tile:ident, $a_by_columns:literal, $keep:literal) => {
        [
            $tile::<1, $a_by_columns, $keep>,
            $tile::<2, $a_by_columns, $keep>,
            $tile::<3, $a_by_columns, $keep>,
            $tile::<4, $a_by_columns, $keep>,
            $tile::<5, $a_by_columns, $keep>,
            $tile::<6, $a_by_columns, $keep>,
        ]
    };
}

macro_rules! tiles {
    ($name:ident, $tile:ident, $row:ident, $t:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $set1:ident, $mul:ident, $fmadd:ident, $pack:expr) => {
        /// Tiles of one element type.
        pub(super) struct $name;

        impl $name {
            /// By how A is read (along its rows; down its columns, of which rows are adjacent), then by
            /// whether B is kept.
            const TABLE: [[[unsafe fn(&TileArgs<$t>); ROWS]; 2]; 2] = [
                [
                    per_rows!($tile, false, false),
                    per_rows!($tile, false, true),
                ],
                [per_rows!($tile, true, false), per_rows!($tile, true, true)],
            ];
        }

        impl Tiles for $name {
            type T = $t;
            const ROWS: usize = ROWS;
            const COLS: usize = 2 * $lanes;
            const MASKS: bool = false;
            const KEEPS: bool = true;
            const SUMS_A: bool = false;
            const PACKS_A: bool = true;
            const STRIP_COLS_CHAINED: usize = 40;
            const L2: usize = 1 << 19;

            unsafe fn tile(rows: usize, args: &TileArgs<$t>) {
                let by_columns = usize::from(args.a_row_stride == 1);
                let keep = usize::from(!args.keep.is_null());
                // SAFETY: the contract of `tile`.
                unsafe { Self::TABLE[by_columns][keep][rows - 1](args) }
            }

            unsafe fn row(args: &RowArgs<$t>) {
                const OF: [unsafe fn(&RowArgs<$t>); ROW_PANELS] =
                    [$row::<1>, $row::<2>, $row::<3>, $row::<4>];
                // SAFETY: the contract of `row`.
                unsafe { OF[args.count - 1](args) }
            }

            unsafe fn add_terms(to: *mut $t, terms: &Terms<$t>) {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn wide(to: *mut $t, terms: &Terms<$t>) {
                    // SAFETY: the caller's promise.
                    unsafe { add_terms(to, terms) }
                }
                // SAFETY: the contract of `add_terms`.
                unsafe { wide(to, terms) }
            }

            unsafe fn pack_walk(
                to: *mut $t,
                to_strides: (usize, usize),
                from: *const $t,
                places: &[usize],
                along: (&Walk, Range<usize>),
            ) {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn wide(
                    to: *mut $t,
                    to_strides: (usize, usize),
                    from: *const $t,
                    places: &[usize],
                    along: (&Walk, Range<usize>),
                ) {
                    // SAFETY: the caller's promise.
                    unsafe { pack_walk(to, to_strides, from, places, along) }
                }
                // SAFETY: the contract of `pack_walk`.
                unsafe { wide(to, to_strides, from, places, along) }
            }

            unsafe fn pack_adjacent(panel: *mut $t, b: *const $t, places: &[usize], k: usize) {
                // SAFETY: the contract of `pack_adjacent`.
                unsafe { $pack(panel, b, places, k) }
            }
        }

        /// # Safety
        /// As [`Tiles::row`], with `P` panels.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $row<const P: usize>(args: &RowArgs<$t>) {
            const WIDE: usize = 2 * $lanes;
            let mut line: [$t; ROW_PANELS * WIDE] = [0.0; ROW_PANELS * WIDE];
            let mut acc = [[$zero(); 2]; P];
            // SAFETY: columns below `args.cols` exist in `init` and `out`, and there are no more than
            // panels have, which are padded.
            unsafe {
                if !args.init.is_null() {
                    std::ptr::copy_nonoverlapping(args.init, line.as_mut_ptr(), args.cols);
                    for p in 0..P {
                        let from = line.as_ptr().add(p * WIDE);
                        acc[p] = [$load(from), $load(from.add($lanes))];
                    }
                }
                let mut starts = [args.a; P];
                for (start, &b) in starts.iter_mut().zip(&args.b) {
                    *start = opaque(b);
                }
                let (mut a, mut at) = (args.a, 0usize);
                for _ in 0..args.k {
                    let x = $set1(*a);
                    for p in 0..P {
                        let from = starts[p].add(at);
                        acc[p] = [
                            $fmadd(x, $load(from), acc[p][0]),
                            $fmadd(x, $load(from.add($lanes)), acc[p][1]),
                        ];
                    }
                    a = a.wrapping_add(args.a_col_stride);
                    at += args.b_row_stride;
                }
                for p in 0..P {
                    let to = line.as_mut_ptr().add(p * WIDE);
                    $store(to, acc[p][0]);
                    $store(to.add($lanes), acc[p][1]);
                }
                std::ptr::copy_nonoverlapping(line.as_ptr(), args.out, args.cols);
            }
        }

        /// # Safety
        /// As [`Tiles::tile`], with `R` rows; A's rows are adjacent if `A_BY_COLUMNS`; B's rows go to
        /// `args.keep` if `KEEP`, and those to come are called for.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $tile<const R: usize, const A_BY_COLUMNS: bool, const KEEP: bool>(
            args: &TileArgs<$t>,
        ) {
            const WIDE: usize = 2 * $lanes;
            let mut acc = [[$zero(); 2]; R];
            // SAFETY: rows below `R` and columns below `args.cols` exist in `init` and `out`;
            // B is padded to the full width (`MASKS` is off). Narrow tiles go through `line`.
            unsafe {
                if !args.init.is_null() {
                    for r in 0..R {
                        let from = args.init.add(r * args.init_row_stride);
                        if args.cols == WIDE {
                            acc[r] = [$load(from), $load(from.add($lanes))];
                            continue;
                        }
                        let mut line: [$t; WIDE] = [0.0; WIDE];
                        std::ptr::copy_nonoverlapping(from, line.as_mut_ptr(), args.cols);
                        acc[r] = [$load(line.as_ptr()), $load(line.as_ptr().add($lanes))];
                    }
                    if let Some(factor) = args.init_factor {
                        let factor = $set1(factor);
                        for r in 0..R {
                            acc[r] = [$mul(factor, acc[r][0]), $mul(factor, acc[r][1])];
                        }
                    }
                }
                // A pointer per row and one common offset, as for AVX-512.
                let mut starts = [args.a; R];
                for (r, start) in starts.iter_mut().enumerate() {
                    *start = opaque(args.a.wrapping_add(r * args.a_row_stride));
                }
                let (mut at, mut b, mut keep) = (0usize, args.b, args.keep);
                let mut coming = args.coming;
                let (a_step, b_step) = (args.a_col_stride, args.b_row_stride);
                for _ in 0..args.k {
                    let b0 = $load(b);
                    let b1 = $load(b.add($lanes));
                    if KEEP {
                        $store(keep, b0);
                        $store(keep.add($lanes), b1);
                        keep = keep.add(WIDE);
                        let ahead = b.wrapping_add(B_AHEAD.wrapping_mul(b_step));
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    }
                    _mm_prefetch::<_MM_HINT_T1>(coming.cast());
                    coming = coming.wrapping_add(args.coming_step);
                    if A_BY_COLUMNS {
                        // Every row of memory is another cache line, which no hardware foresees.
                        let ahead = args
                            .a
                            .wrapping_add(at.wrapping_add(A_AHEAD.wrapping_mul(a_step)));
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    }
                    for r in 0..R {
                        let from = if A_BY_COLUMNS {
                            args.a.wrapping_add(r)
                        } else {
                            starts[r]
                        };
                        let x = $set1(*from.wrapping_add(at));
                        acc[r] = [$fmadd(x, b0, acc[r][0]), $fmadd(x, b1, acc[r][1])];
                    }
                    at = at.wrapping_add(a_step);
                    b = b.wrapping_add(b_step);
                }
                for r in 0..R {
                    let to = args.out.add(r * args.out_row_stride);
                    if args.cols == WIDE {
                        $store(to, acc[r][0]);
                        $store(to.add($lanes), acc[r][1]);
                    } else {
                        let mut line: [$t; WIDE] = [0.0; WIDE];
                        $store(line.as_mut_ptr(), acc[r][0]);
                        $store(line.as_mut_ptr().add($lanes), acc[r][1]);
                        std::ptr::copy_nonoverlapping(line.as_ptr(), to, args.cols);
                    }
                }
            }
        }
    };
}

tiles!(
    TilesF32,
    tile_f32,
    row_f32,
    f32,
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    pack_f32
);
tiles!(
    TilesF64,
    tile_f64,
    row_f64,
    f64,
    4,
    _mm256_setzero_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_mul_pd,
    _mm256_fmadd_pd,
    pack_adjacent::<f64, 8>
);

/// Transposes blocks of 8 x 8 in registers. The last one begins eight rows before the end, so that
/// some rows are written twice.
///
/// # Safety
/// As [`Tiles::pack_adjacent`].
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_f32(panel: *mut f32, b: *const f32, places: &[usize], k: usize) {
    const COLS: usize = 16;
    if k < 8 {
        // SAFETY: the caller's promise.
        unsafe { pack_adjacent::<f32, COLS>(panel, b, places, k) };
        return;
    }
    for start in (0..k).step_by(8) {
        let i0 = start.min(k - 8);
        for j0 in [0, 8] {
            let mut lines = [_mm256_setzero_ps(); 8];
            for (line, place) in lines.iter_mut().zip(places.iter().skip(j0)) {
                // SAFETY: eight elements of a column of B, from row i0 on.
                *line = unsafe { _mm256_loadu_ps(b.wrapping_add(place + i0)) };
            }
            for (i, row) in transpose8(lines).into_iter().enumerate() {
                // SAFETY: row i0 + i < k of the panel.
                unsafe { _mm256_storeu_ps(panel.wrapping_add((i0 + i) * COLS + j0), row) };
            }
        }
    }
}

/// The transpose of an 8 x 8 block held in registers: pairs, quads, then 128-bit lanes.
#[target_feature(enable = "avx2,fma")]
fn transpose8(x: [__m256; 8]) -> [__m256; 8] {
    let mut t = x;
    for i in 0..4 {
        t[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    let mut u = t;
    for i in 0..2 {
        for h in 0..2 {
            let p = _mm256_castps_pd(t[4 * i + h]);
            let q = _mm256_castps_pd(t[4 * i + 2 + h]);
            u[4 * i + 2 * h] = _mm256_castpd_ps(_mm256_unpacklo_pd(p, q));
            u[4 * i + 2 * h + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(p, q));
        }
    }
    // u[4 i + c], lane l: rows 4 i .. 4 i + 3 of column 4 l + c.
    let mut out = x;
    for c in 0..4 {
        out[c] = _mm256_permute2f128_ps::<0x20>(u[c], u[4 + c]);
        out[4 + c] = _mm256_permute2f128_ps::<0x31>(u[c], u[4 + c]);
    }
    out
}
