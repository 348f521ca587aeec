//! Tiles in plain Rust, written so that the compiler makes vectors of them: the fallback for
//! processors without AVX2, and the starting point for other architectures.

use std::ops::{Add, Mul, Range};

use super::pack::{pack_adjacent, pack_walk};
use super::sums::{Terms, add_terms};
use super::tiles::{TileArgs, Tiles};
use super::walk::Walk;

/// Rows of a tile.
pub(super) const ROWS: usize = 4;
/// Columns of a tile.
const COLS: usize = 16;

/// Floats that the portable tiles take.
pub(super) trait Float:
    Copy + Default + Add<Output = Self> + Mul<Output = Self> + Send + Sync + 'static
{
    /// `a * b + self`, fused only where that is one instruction.
    fn madd(self, a: Self, b: Self) -> Self;
}

/// Without hardware support a fused multiply-add is a library call.
const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

impl Float for f32 {
    #[inline(always)]
    fn madd(self, a: f32, b: f32) -> f32 {
        if FUSED {
            a.mul_add(b, self)
        } else {
            a * b + self
        }
    }
}

impl Float for f64 {
    #[inline(always)]
    fn madd(self, a: f64, b: f64) -> f64 {
        if FUSED {
            a.mul_add(b, self)
        } else {
            a * b + self
        }
    }
}

/// The portable tiles of one element type.
pub(super) struct TilesOf<T>(std::marker::PhantomData<T>);

impl<T: Float> Tiles for TilesOf<T> {
    type T = T;
    const ROWS: usize = ROWS;
    const COLS: usize = COLS;
    const MASKS: bool = false;
    const KEEPS: bool = false;
    const SUMS_A: bool = false;
    const PACKS_A: bool = false;
    const L2: usize = 1 << 19;

    unsafe fn tile(rows: usize, args: &TileArgs<T>) {
        // SAFETY: the contract of `tile`.
        unsafe {
            match rows {
                1 => tile::<T, 1>(args),
                2 => tile::<T, 2>(args),
                3 => tile::<T, 3>(args),
                _ => tile::<T, 4>(args),
            }
        }
    }

    unsafe fn add_terms(to: *mut T, terms: &Terms<T>) {
        // SAFETY: the contract of `add_terms`.
        unsafe { add_terms(to, terms) }
    }

    unsafe fn pack_walk(
        to: *mut T,
        to_strides: (usize, usize),
        from: *const T,
        places: &[usize],
        along: (&Walk, Range<usize>),
    ) {
        // SAFETY: the contract of `pack_walk`.
        unsafe { pack_walk(to, to_strides, from, places, along) }
    }

    unsafe fn pack_adjacent(panel: *mut T, b: *const T, places: &[usize], k: usize) {
        // SAFETY: the contract of `pack_adjacent`.
        unsafe { pack_adjacent::<T, COLS>(panel, b, places, k) }
    }
}

/// # Safety
/// As [`Tiles::tile`], with `R` rows.
unsafe fn tile<T: Float, const R: usize>(args: &TileArgs<T>) {
    let mut acc = [[T::default(); COLS]; R];
    // SAFETY: rows below `R` and columns below `args.cols` exist in `init` and `out`; B is
    // padded to the full width (`MASKS` is off).
    unsafe {
        if !args.init.is_null() {
            for (r, row) in acc.iter_mut().enumerate() {
                let from = args.init.add(r * args.init_row_stride);
                for (j, value) in row.iter_mut().enumerate().take(args.cols) {
                    *value = *from.add(j);
                    if let Some(factor) = args.init_factor {
                        *value = *value * factor;
                    }
                }
            }
        }
        let (mut a, mut b) = (args.a, args.b);
        for _ in 0..args.k {
            let line: [T; COLS] = b.cast::<[T; COLS]>().read();
            for (r, row) in acc.iter_mut().enumerate() {
                let x = *a.add(r * args.a_row_stride);
                for (value, &y) in row.iter_mut().zip(&line) {
                    *value = value.madd(x, y);
                }
            }
            a = a.wrapping_add(args.a_col_stride);
            b = b.wrapping_add(args.b_row_stride);
        }
        for (r, row) in acc.iter().enumerate() {
            std::ptr::copy_nonoverlapping(
                row.as_ptr(),
                args.out.add(r * args.out_row_stride),
                args.cols,
            );
        }
    }
}
