//! Buffers for packed panels, and the plain packers that serve any strides.

use super::walk::Walk;
use std::cell::Cell;
use std::ops::Range;

/// Elements of 64 bytes, so that panels are aligned to cache lines and vectors.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    _bytes: [u8; 64],
}

/// A growing, cache-line aligned buffer of plain bytes.
#[derive(Default)]
pub(super) struct PackBuffer(Vec<Line>);

impl PackBuffer {
    pub(super) const fn empty() -> PackBuffer {
        PackBuffer(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes room for so many bytes. What was in it may be lost.
    pub(super) fn grow(&mut self, bytes: usize) {
        let lines = bytes.div_ceil(64);
        if self.0.len() < lines {
            self.0.clear();
            self.0.resize(lines, Line { _bytes: [0; 64] });
        }
    }

    pub(super) fn as_mut_ptr<T>(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

/// Copies `k` x `cols` elements into a panel of `width` columns, the rest zeros. Goes along
/// whichever stride is 1.
///
/// # Safety
/// `panel` has room for `k * width` elements, `cols <= width`, and B is readable.
pub(super) unsafe fn pack_plain<T: Copy + Default>(
    panel: *mut T,
    b: *const T,
    row_stride: usize,
    col_stride: usize,
    k: usize,
    cols: usize,
    width: usize,
) {
    // SAFETY: i < k and j < width in the panel, j < cols in B.
    unsafe {
        if col_stride == 1 {
            for i in 0..k {
                let (to, from) = (panel.add(i * width), b.add(i * row_stride));
                std::ptr::copy_nonoverlapping(from, to, cols);
                for j in cols..width {
                    *to.add(j) = T::default();
                }
            }
            return;
        }
        // Blocks of rows, so that the panel's lines stay in L1 while columns are read.
        let mut i0 = 0;
        while i0 < k {
            let i1 = (i0 + 16).min(k);
            for j in 0..width {
                for i in i0..i1 {
                    let value = if j < cols {
                        *b.add(i * row_stride + j * col_stride)
                    } else {
                        T::default()
                    };
                    *panel.add(i * width + j) = value;
                }
            }
            i0 = i1;
        }
    }
}

/// [`pack_plain`] to a panel of `WIDTH` columns.
///
/// # Safety
/// As there.
pub(super) unsafe fn pack_columns<T: Copy + Default, const WIDTH: usize>(
    panel: *mut T,
    b: *const T,
    row_stride: usize,
    col_stride: usize,
    k: usize,
    cols: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { pack_plain(panel, b, row_stride, col_stride, k, cols, WIDTH) }
}

/// Copies entries `outer` x `inner` of two walks: entry (i, j) of the ranges goes to
/// `to + i * to_outer + j * to_inner`.
///
/// # Safety
/// All those places exist in `to`, and the walks' in `from`; they do not overlap.
#[inline(always)]
pub(super) unsafe fn pack_walks<T: Copy>(
    to: *mut T,
    (to_outer, to_inner): (usize, usize),
    from: *const T,
    (outer, outer_range): (&Walk, Range<usize>),
    (inner, inner_range): (&Walk, Range<usize>),
) {
    for across in inner.stretches(inner_range) {
        for along in outer.stretches(outer_range.clone()) {
            let to = to.wrapping_add(along.entry * to_outer + across.entry * to_inner);
            let from = from.wrapping_add(along.place + across.place);
            // SAFETY: the caller's promise.
            unsafe {
                if to_inner == 1 && across.step == 1 {
                    let rows = (along.count, to_outer, along.step);
                    copy_runs(to, from, rows, across.count);
                    continue;
                }
                for i in 0..along.count {
                    let (to, from) = (to.add(i * to_outer), from.add(i * along.step));
                    for j in 0..across.count {
                        *to.add(j * to_inner) = *from.add(j * across.step);
                    }
                }
            }
        }
    }
}

/// Copies `count` runs of `length` elements, `to_step` and `from_step` apart.
///
/// # Safety
/// Both have the elements, and they do not overlap.
#[inline(always)]
unsafe fn copy_runs<T: Copy>(
    mut to: *mut T,
    mut from: *const T,
    rows: (usize, usize, usize),
    mut length: usize,
) {
    macro_rules! of_length {
        ($($n:literal)*) => {
            match length {
                // SAFETY: the caller's promise.
                $($n => unsafe { copy_rows::<T, $n>(to, from, rows) },)*
                _ => {}
            }
        };
    }
    while length > 16 {
        // SAFETY: the caller's promise.
        unsafe { copy_rows::<T, 16>(to, from, rows) };
        (to, from, length) = (to.wrapping_add(16), from.wrapping_add(16), length - 16);
    }
    of_length!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

/// [`copy_runs`] of a length known to the compiler, which needs no calls nor branches.
///
/// # Safety
/// As [`copy_runs`].
#[inline(always)]
unsafe fn copy_rows<T: Copy, const N: usize>(
    to: *mut T,
    from: *const T,
    (count, to_step, from_step): (usize, usize, usize),
) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        unsafe {
            let (to, from) = (to.add(i * to_step), from.add(i * from_step));
            to.cast::<[T; N]>()
                .write_unaligned(from.cast::<[T; N]>().read_unaligned());
        }
    }
}

/// Columns that are called for ahead: each lies in other lines, and often in another page.
const COMING: usize = 12;

/// Copies columns of `count` row blocks of `height` rows, which lie one after the other in a matrix
/// whose rows are adjacent: block after block `block_step` apart, each column by column, `to_step`
/// apart. Goes along the matrix's columns, so that each of its lines is read once.
///
/// # Safety
/// All those places exist, and they do not overlap.
pub(super) unsafe fn pack_row_blocks<T: Copy>(
    to: *mut T,
    (block_step, to_step): (usize, usize),
    from: *const T,
    (columns, column_step): (usize, usize),
    (count, height): (usize, usize),
) {
    for column in 0..columns {
        let (to, from) = (
            to.wrapping_add(column * to_step),
            from.wrapping_add(column * column_step),
        );
        #[cfg(target_arch = "x86_64")]
        for line in (0..count * height).step_by(64 / size_of::<T>()) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let coming = from.wrapping_add(COMING * column_step + line);
            // SAFETY: a prefetch reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(coming.cast()) };
        }
        // SAFETY: the caller's promise.
        unsafe { copy_runs(to, from, (count, block_step, height), height) };
    }
}

thread_local! {
    /// Packed panels of B, partial sums, packed rows of A, and panels of another B, kept between
    /// calls so that steady work allocates nothing.
    static KEPT: [Cell<PackBuffer>; 4] = const {
        [
            Cell::new(PackBuffer::empty()),
            Cell::new(PackBuffer::empty()),
            Cell::new(PackBuffer::empty()),
            Cell::new(PackBuffer::empty()),
        ]
    };
}

impl PackBuffer {
    /// This thread's kept buffer number `slot`, grown to hold `count` elements.
    pub(super) fn take<T>(slot: usize, count: usize) -> PackBuffer {
        let mut buffer = KEPT.with(|kept| kept[slot].take());
        buffer.grow(count * size_of::<T>());
        buffer
    }

    /// Keeps the buffer for the thread's next call; an empty one displaces nothing.
    pub(super) fn give_back(self, slot: usize) {
        if !self.is_empty() {
            KEPT.with(|kept| kept[slot].set(self));
        }
    }
}
