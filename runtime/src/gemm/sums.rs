//! Sums over the terms of a product, of A's rows or of B's columns: bias gradients, beside the
//! gradient of the weight, while what they add lies in L2.
//!
//! Every sum is one chain of additions over k from 0 upwards, starting from 0, so that it depends
//! neither on how the product is cut nor on threads or instruction sets.

use std::ops::{Add, Range};

/// Where the sums of a product's operands go; null for not wanted.
#[derive(Clone, Copy, Debug)]
pub struct TermSums<T> {
    /// `m` sums of A's rows, which are adjacent in memory (`row_stride` is 1).
    pub a: *mut T,
    /// `n` sums of B's columns, which are adjacent (`col_stride` is 1).
    pub b: *mut T,
}

impl<T> TermSums<T> {
    /// None are wanted.
    pub const NONE: TermSums<T> = TermSums {
        a: std::ptr::null_mut(),
        b: std::ptr::null_mut(),
    };
}

/// Terms of several sums: entry `i` of term `k` is at `at + k * step + i`.
#[derive(Clone)]
pub(super) struct Terms<T> {
    pub at: *const T,
    pub step: usize,
    /// Which terms; from the first one on the sums start from 0.
    pub depth: Range<usize>,
    /// How many sums.
    pub width: usize,
}

/// Adds terms to sums, plain.
///
/// # Safety
/// Terms are readable, and `to` has room for `width` sums.
#[inline(always)]
pub(super) unsafe fn add_terms<T: Copy + Default + Add<Output = T>>(to: *mut T, terms: &Terms<T>) {
    let mut done = 0;
    while done < terms.width {
        // SAFETY: the caller's promise.
        unsafe {
            let (to, at) = (to.add(done), terms.at.wrapping_add(done));
            done += match terms.width - done {
                32.. => columns::<T, 32>(to, at, terms),
                8.. => columns::<T, 8>(to, at, terms),
                // Row blocks of tiles are this high; each pass is a chain that waits for itself.
                6.. => columns::<T, 6>(to, at, terms),
                4.. => columns::<T, 4>(to, at, terms),
                2.. => columns::<T, 2>(to, at, terms),
                _ => columns::<T, 1>(to, at, terms),
            };
        }
    }
}

/// # Safety
/// As [`add_terms`], of `W` sums.
#[inline(always)]
unsafe fn columns<T: Copy + Default + Add<Output = T>, const W: usize>(
    to: *mut T,
    at: *const T,
    terms: &Terms<T>,
) -> usize {
    let mut sums = [T::default(); W];
    // SAFETY: the caller's promise.
    unsafe {
        if terms.depth.start > 0 {
            sums = to.cast::<[T; W]>().read();
        }
        for k in terms.depth.clone() {
            let line = at.wrapping_add(k * terms.step).cast::<[T; W]>().read();
            for (sum, x) in sums.iter_mut().zip(line) {
                *sum = *sum + x;
            }
        }
        to.cast::<[T; W]>().write(sums);
    }
    W
}
