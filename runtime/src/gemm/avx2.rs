//! AVX2 + FMA tiles: 6 rows x 2 vectors (16 f32 or 8 f64 columns).

use std::arch::x86_64::*;
use std::ops::Range;

use super::pack::{pack_plain, pack_walks};
use super::sums::{Terms, add_terms};
use super::tiles::{TileArgs, Tiles};
use super::walk::Walk;

/// Most rows of a tile: 12 accumulators, 2 vectors of B and a broadcast fill 16 registers.
pub(super) const ROWS: usize = 6;

macro_rules! tiles {
    ($name:ident, $tile:ident, $t:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $set1:ident, $mul:ident, $fmadd:ident) => {
        /// Tiles of one element type.
        pub(super) struct $name;

        impl Tiles for $name {
            type T = $t;
            const ROWS: usize = ROWS;
            const COLS: usize = 2 * $lanes;
            const MASKS: bool = false;
            const KEEPS: bool = false;
            const SUMS_A: bool = false;

            unsafe fn tile(rows: usize, args: &TileArgs<$t>) {
                // SAFETY: the contract of `tile`.
                unsafe {
                    match rows {
                        1 => $tile::<1>(args),
                        2 => $tile::<2>(args),
                        3 => $tile::<3>(args),
                        4 => $tile::<4>(args),
                        5 => $tile::<5>(args),
                        _ => $tile::<6>(args),
                    }
                }
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

            unsafe fn pack_walks(
                to: *mut $t,
                to_strides: (usize, usize),
                from: *const $t,
                outer: (&Walk, Range<usize>),
                inner: (&Walk, Range<usize>),
            ) {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn wide(
                    to: *mut $t,
                    to_strides: (usize, usize),
                    from: *const $t,
                    outer: (&Walk, Range<usize>),
                    inner: (&Walk, Range<usize>),
                ) {
                    // SAFETY: the caller's promise.
                    unsafe { pack_walks(to, to_strides, from, outer, inner) }
                }
                // SAFETY: the contract of `pack_walks`.
                unsafe { wide(to, to_strides, from, outer, inner) }
            }

            unsafe fn pack(
                panel: *mut $t,
                b: *const $t,
                row_stride: usize,
                col_stride: usize,
                k: usize,
                cols: usize,
            ) {
                // SAFETY: the contract of `pack`.
                unsafe { pack_plain(panel, b, row_stride, col_stride, k, cols, 2 * $lanes) }
            }
        }

        /// # Safety
        /// As [`Tiles::tile`], with `R` rows.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $tile<const R: usize>(args: &TileArgs<$t>) {
            const WIDE: usize = 2 * $lanes;
            let mut acc = [[$zero(); 2]; R];
            // SAFETY: rows below `R` and columns below `args.cols` exist in `init` and `out`;
            // B is padded to the full width (`MASKS` is off). Narrow tiles go through `line`.
            unsafe {
                if !args.init.is_null() {
                    for r in 0..R {
                        let from = args.init.add(r * args.init_row_stride);
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
                let (mut a, mut b) = (args.a, args.b);
                for _ in 0..args.k {
                    let b0 = $load(b);
                    let b1 = $load(b.add($lanes));
                    for r in 0..R {
                        let x = $set1(*a.add(r * args.a_row_stride));
                        acc[r] = [$fmadd(x, b0, acc[r][0]), $fmadd(x, b1, acc[r][1])];
                    }
                    a = a.wrapping_add(args.a_col_stride);
                    b = b.wrapping_add(args.b_row_stride);
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
    f32,
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps
);
tiles!(
    TilesF64,
    tile_f64,
    f64,
    4,
    _mm256_setzero_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_mul_pd,
    _mm256_fmadd_pd
);
