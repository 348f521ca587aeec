//! AVX-512 tiles: up to 14 rows x 2 vectors (32 f32 or 16 f64 columns), one function per number
//! of rows. 28 accumulators, 2 vectors of B and a broadcast of A fill the 32 registers; narrow
//! tiles mask their columns, those of one vector compute only that one.

use std::arch::x86_64::*;
use std::ops::Range;

use super::drive::ROW_PANELS;
use super::pack::{pack_adjacent, pack_walk};
use super::sums::Terms;
use super::tiles::{RowArgs, TileArgs, Tiles, opaque};
use super::walk::Walk;

/// Most rows of a tile.
pub(super) const ROWS: usize = 14;

/// Rows of B that a tile calls for ahead of the one it reads: of 14 rows two hundred cycles, as long as
/// L3 takes.
const B_AHEAD: usize = 16;
/// Columns of A that a tile calls for ahead of the one it reads, when rows are adjacent.
const A_AHEAD: usize = 8;

/// One function per number of rows, from 1.
macro_rules! per_rows {
    ($tile:ident, $vectors:literal, $masked:literal, $a_by_columns:literal, $keep:literal, $sums:literal) => {
        [
            $tile::<1, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<2, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<3, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<4, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<5, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<6, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<7, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<8, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<9, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<10, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<11, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<12, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<13, $vectors, $masked, $a_by_columns, $keep, $sums>,
            $tile::<14, $vectors, $masked, $a_by_columns, $keep, $sums>,
        ]
    };
}

macro_rules! tiles {
    ($name:ident, $tile:ident, $row:ident, $sums:ident, $t:ty, $lanes:literal, $mask:ty, $zero:ident, $load:ident, $maskz_load:ident,
     $store:ident, $mask_store:ident, $set1:ident, $add:ident, $mul:ident, $fmadd:ident, $pack:expr, $sums_a:literal) => {
        /// Tiles of one element type.
        pub(super) struct $name;

        impl $name {
            /// By how A is read (along its rows; down its columns, of which rows are adjacent; so,
            /// and summed), then by shape: full width, two vectors, one, and two while keeping B.
            const TABLE: [[[unsafe fn(&TileArgs<$t>); ROWS]; 4]; 3] = [
                [
                    per_rows!($tile, 2, false, false, false, false),
                    per_rows!($tile, 2, true, false, false, false),
                    per_rows!($tile, 1, true, false, false, false),
                    per_rows!($tile, 2, true, false, true, false),
                ],
                [
                    per_rows!($tile, 2, false, true, false, false),
                    per_rows!($tile, 2, true, true, false, false),
                    per_rows!($tile, 1, true, true, false, false),
                    per_rows!($tile, 2, true, true, true, false),
                ],
                [
                    per_rows!($tile, 2, true, true, false, $sums_a),
                    per_rows!($tile, 2, true, true, false, $sums_a),
                    per_rows!($tile, 1, true, true, false, $sums_a),
                    per_rows!($tile, 2, true, true, true, $sums_a),
                ],
            ];
        }

        impl Tiles for $name {
            type T = $t;
            const ROWS: usize = ROWS;
            const COLS: usize = 2 * $lanes;
            const MASKS: bool = true;
            const KEEPS: bool = true;
            const SUMS_A: bool = $sums_a;
            const PACKS_A: bool = false;
            const L2: usize = 1 << 21;

            unsafe fn tile(rows: usize, args: &TileArgs<$t>) {
                let by_columns = match args.sums.is_null() {
                    true => usize::from(args.a_row_stride == 1),
                    false => 2,
                };
                let shape = if !args.keep.is_null() {
                    3
                } else if args.cols <= $lanes {
                    2
                } else {
                    usize::from(!args.b_padded)
                };
                // SAFETY: the contract of `tile`.
                unsafe { Self::TABLE[by_columns][shape][rows - 1](args) }
            }

            unsafe fn row(args: &RowArgs<$t>) {
                const OF: [unsafe fn(&RowArgs<$t>); ROW_PANELS] =
                    [$row::<1>, $row::<2>, $row::<3>, $row::<4>];
                // SAFETY: the contract of `row`.
                unsafe { OF[args.count - 1](args) }
            }

            unsafe fn add_terms(to: *mut $t, terms: &Terms<$t>) {
                for start in (0..terms.width).step_by(4 * $lanes) {
                    let some = Terms {
                        at: terms.at.wrapping_add(start),
                        width: (terms.width - start).min(4 * $lanes),
                        ..terms.clone()
                    };
                    // SAFETY: the contract of `add_terms`.
                    unsafe { $sums(to.wrapping_add(start), &some) };
                }
            }

            unsafe fn pack_walk(
                to: *mut $t,
                to_strides: (usize, usize),
                from: *const $t,
                places: &[usize],
                along: (&Walk, Range<usize>),
            ) {
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
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
        /// As [`Tiles::add_terms`], of at most four vectors of sums.
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        unsafe fn $sums(to: *mut $t, terms: &Terms<$t>) {
            let mut masks: [$mask; 4] = [0; 4];
            for (v, mask) in masks.iter_mut().enumerate() {
                let width = terms.width.saturating_sub(v * $lanes).min($lanes);
                *mask = ((1u32 << width) - 1) as $mask;
            }
            let mut sums = [$zero(); 4];
            // SAFETY: all is read and written under the masks.
            unsafe {
                if terms.depth.start > 0 {
                    for v in 0..4 {
                        sums[v] = $maskz_load(masks[v], to.wrapping_add(v * $lanes));
                    }
                }
                for k in terms.depth.clone() {
                    let line = terms.at.wrapping_add(k * terms.step);
                    for v in 0..4 {
                        let x = $maskz_load(masks[v], line.wrapping_add(v * $lanes));
                        sums[v] = $add(sums[v], x);
                    }
                }
                for v in 0..4 {
                    $mask_store(to.wrapping_add(v * $lanes), masks[v], sums[v]);
                }
            }
        }

        /// # Safety
        /// As [`Tiles::row`], with `P` panels.
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        unsafe fn $row<const P: usize>(args: &RowArgs<$t>) {
            let mask = |panel: usize, v: usize| -> $mask {
                let from = (2 * panel + v) * $lanes;
                ((1u32 << args.cols.saturating_sub(from).min($lanes)) - 1) as $mask
            };
            let mut acc = [[$zero(); 2]; P];
            // SAFETY: columns below `args.cols` exist in `init` and `out`, panels are padded.
            unsafe {
                if !args.init.is_null() {
                    for p in 0..P {
                        for v in 0..2 {
                            let from = args.init.wrapping_add((2 * p + v) * $lanes);
                            acc[p][v] = $maskz_load(mask(p, v), from);
                        }
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
                        for v in 0..2 {
                            let line = $load(starts[p].add(at + v * $lanes));
                            acc[p][v] = $fmadd(x, line, acc[p][v]);
                        }
                    }
                    a = a.wrapping_add(args.a_col_stride);
                    at += args.b_row_stride;
                }
                for p in 0..P {
                    for v in 0..2 {
                        let to = args.out.wrapping_add((2 * p + v) * $lanes);
                        $mask_store(to, mask(p, v), acc[p][v]);
                    }
                }
            }
        }

        /// # Safety
        /// As [`Tiles::tile`], with `R` rows and at most `V` vectors of columns; B is padded
        /// unless `MASKED`; A's rows are adjacent if `A_BY_COLUMNS`; B's rows go to `args.keep`
        /// if `KEEP`; A's rows, no more than a vector has
        /// lanes, are summed if `SUMS`.
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
        unsafe fn $tile<
            const R: usize,
            const V: usize,
            const MASKED: bool,
            const A_BY_COLUMNS: bool,
            const KEEP: bool,
            const SUMS: bool,
        >(
            args: &TileArgs<$t>,
        ) {
            let mut masks: [$mask; V] = [0; V];
            for (v, mask) in masks.iter_mut().enumerate() {
                let cols = args.cols.saturating_sub(v * $lanes).min($lanes);
                *mask = ((1u32 << cols) - 1) as $mask;
            }
            let mut acc = [[$zero(); V]; R];
            // SAFETY: rows below `R` and columns below `args.cols` exist in `init` and `out`;
            // B is read under the masks unless it is padded.
            unsafe {
                if !args.init.is_null() {
                    for r in 0..R {
                        let from = args.init.add(r * args.init_row_stride);
                        for v in 0..V {
                            acc[r][v] = $maskz_load(masks[v], from.wrapping_add(v * $lanes));
                        }
                    }
                    if let Some(factor) = args.init_factor {
                        let factor = $set1(factor);
                        for r in 0..R {
                            for v in 0..V {
                                acc[r][v] = $mul(factor, acc[r][v]);
                            }
                        }
                    }
                }
                // A pointer per row and one common offset. Were the compiler to know how the
                // pointers are related, it would make one chain of additions of them, longer
                // than the products take.
                let mut starts = [args.a; R];
                for (r, start) in starts.iter_mut().enumerate() {
                    *start = opaque(args.a.wrapping_add(r * args.a_row_stride));
                }
                let mut at = 0usize;
                let mut b = args.b;
                let own_rows = ((1u32 << R) - 1) as $mask;
                let mut sum = $zero();
                if SUMS && args.sums_go_on {
                    sum = $maskz_load(own_rows, args.sums);
                }
                let mut keep = args.keep;
                let mut coming = args.coming;
                let (a_step, b_step) = (args.a_col_stride, args.b_row_stride);
                for _ in 0..args.k {
                    let mut line = [$zero(); V];
                    for v in 0..V {
                        line[v] = if MASKED {
                            $maskz_load(masks[v], b.wrapping_add(v * $lanes))
                        } else {
                            $load(b.add(v * $lanes))
                        };
                        if KEEP {
                            $store(keep.add(v * $lanes), line[v]);
                        }
                        let ahead = b.wrapping_add(B_AHEAD.wrapping_mul(b_step) + v * $lanes);
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    }
                    if KEEP {
                        keep = keep.add(V * $lanes);
                    }
                    _mm_prefetch::<_MM_HINT_T1>(coming.cast());
                    coming = coming.wrapping_add(args.coming_step);
                    if A_BY_COLUMNS {
                        // Every row of memory is another cache line, which no hardware foresees.
                        let ahead = args
                            .a
                            .wrapping_add(at.wrapping_add(A_AHEAD.wrapping_mul(a_step)));
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(R - 1).cast());
                    }
                    if SUMS {
                        let terms = $maskz_load(own_rows, args.a.wrapping_add(at));
                        sum = $add(sum, terms);
                    }
                    for r in 0..R {
                        let from = if A_BY_COLUMNS {
                            args.a.wrapping_add(r)
                        } else {
                            starts[r]
                        };
                        let x = $set1(*from.wrapping_add(at));
                        for v in 0..V {
                            acc[r][v] = $fmadd(x, line[v], acc[r][v]);
                        }
                    }
                    at = at.wrapping_add(a_step);
                    b = b.wrapping_add(b_step);
                }
                if SUMS {
                    $mask_store(args.sums, own_rows, sum);
                }
                for r in 0..R {
                    let to = args.out.add(r * args.out_row_stride);
                    for v in 0..V {
                        $mask_store(to.wrapping_add(v * $lanes), masks[v], acc[r][v]);
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
    sums_f32,
    f32,
    16,
    __mmask16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_storeu_ps,
    _mm512_mask_storeu_ps,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    pack_f32,
    true
);
tiles!(
    TilesF64,
    tile_f64,
    row_f64,
    sums_f64,
    f64,
    8,
    __mmask8,
    _mm512_setzero_pd,
    _mm512_loadu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_storeu_pd,
    _mm512_mask_storeu_pd,
    _mm512_set1_pd,
    _mm512_add_pd,
    _mm512_mul_pd,
    _mm512_fmadd_pd,
    pack_adjacent::<f64, 16>,
    false
);

/// Transposes blocks of 16 x 16 in registers when B's rows are adjacent (B is a transposed
/// matrix); copies otherwise.
///
/// # Safety
/// As [`Tiles::pack`].
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
unsafe fn pack_f32(panel: *mut f32, b: *const f32, places: &[usize], k: usize) {
    const COLS: usize = 32;
    let mut i0 = 0;
    while i0 < k {
        let deep = (k - i0).min(16);
        let mask = ((1u32 << deep) - 1) as __mmask16;
        for half in 0..2 {
            let j0 = half * 16;
            let mut lines = [_mm512_setzero_ps(); 16];
            for (line, place) in lines.iter_mut().zip(places.iter().skip(j0)) {
                // SAFETY: the column of B has the `deep` elements under the mask.
                *line = unsafe { _mm512_maskz_loadu_ps(mask, b.wrapping_add(place + i0)) };
            }
            let rows = transpose16(lines);
            for (i, row) in rows.iter().enumerate() {
                if i < deep {
                    // SAFETY: row i0 + i < k of the panel.
                    unsafe { _mm512_storeu_ps(panel.wrapping_add((i0 + i) * COLS + j0), *row) };
                }
            }
        }
        i0 += 16;
    }
}

/// The transpose of a 16 x 16 block held in registers: pairs, quads, then 128-bit lanes.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
fn transpose16(x: [__m512; 16]) -> [__m512; 16] {
    let mut t = x;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    let mut u = t;
    for i in 0..4 {
        for h in 0..2 {
            let p = _mm512_castps_pd(t[4 * i + h]);
            let q = _mm512_castps_pd(t[4 * i + 2 + h]);
            u[4 * i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q));
            u[4 * i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
        }
    }
    // u[4 i + c], lane l: rows 4 i .. 4 i + 3 of column 4 l + c.
    let mut out = x;
    for c in 0..4 {
        let p = _mm512_shuffle_f32x4::<0x88>(u[c], u[4 + c]);
        let q = _mm512_shuffle_f32x4::<0xdd>(u[c], u[4 + c]);
        let r = _mm512_shuffle_f32x4::<0x88>(u[8 + c], u[12 + c]);
        let s = _mm512_shuffle_f32x4::<0xdd>(u[8 + c], u[12 + c]);
        out[c] = _mm512_shuffle_f32x4::<0x88>(p, r);
        out[8 + c] = _mm512_shuffle_f32x4::<0xdd>(p, r);
        out[4 + c] = _mm512_shuffle_f32x4::<0x88>(q, s);
        out[12 + c] = _mm512_shuffle_f32x4::<0xdd>(q, s);
    }
    out
}
