//! Buffers for packed panels, and the plain packers that serve any strides.

use std::cell::Cell;
use std::ops::Range;

use super::tiles::Tiles;
use super::walk::Walk;
use super::{MatRef, PANEL_COLS};

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

/// Copies `k` x `cols` elements of B into a panel of the tiles' width, the rest zeros. Goes along
/// whichever stride is 1.
///
/// # Safety
/// The instruction set is there, `panel` has room for `k * K::COLS` elements, `cols <= K::COLS`, and
/// B is readable.
pub(super) unsafe fn pack<K: Tiles>(panel: *mut K::T, b: &MatRef<K::T>, k: usize, cols: usize) {
    // SAFETY: i < k and j < `K::COLS` in the panel, j < cols in B.
    unsafe {
        if b.row_stride == 1 {
            let places: [usize; PANEL_COLS] = std::array::from_fn(|j| j * b.col_stride);
            K::pack_adjacent(panel, b.ptr, &places[..cols], k);
            return;
        }
        for i in 0..k {
            let (to, from) = (panel.add(i * K::COLS), b.ptr.wrapping_add(i * b.row_stride));
            if b.col_stride == 1 {
                std::ptr::copy_nonoverlapping(from, to, cols);
            } else {
                for j in 0..cols {
                    *to.add(j) = *from.wrapping_add(j * b.col_stride);
                }
            }
            for j in cols..K::COLS {
                *to.add(j) = K::T::default();
            }
        }
    }
}

/// Copies `k` rows of as many columns as there are `places`, whose rows are adjacent, into a panel of
/// `WIDTH` columns, the rest zeros. Column `j` begins at `b + places[j]`.
///
/// # Safety
/// `panel` has room for `k * WIDTH` elements, there are at most `WIDTH` columns, and they are readable.
#[inline(always)]
pub(super) unsafe fn pack_adjacent<T: Copy + Default, const WIDTH: usize>(
    panel: *mut T,
    b: *const T,
    places: &[usize],
    k: usize,
) {
    // Blocks of rows, so that the panel's lines stay in L1 while columns are read.
    for start in (0..k).step_by(16) {
        for j in 0..WIDTH {
            for i in start..k.min(start + 16) {
                // SAFETY: i < k and j < WIDTH in the panel, and column j is one of B's.
                unsafe {
                    *panel.add(i * WIDTH + j) = match places.get(j) {
                        Some(place) => *b.wrapping_add(place + i),
                        None => T::default(),
                    };
                }
            }
        }
    }
}

/// Copies entries of an axis that begins at several places: entry `j` of the range, from place number
/// `i` on, goes to `to + i * to_outer + j * to_inner`.
///
/// # Safety
/// All those places exist in `to` and in `from`; they do not overlap.
#[inline(always)]
pub(super) unsafe fn pack_walk<T: Copy>(
    to: *mut T,
    (to_outer, to_inner): (usize, usize),
    from: *const T,
    places: &[usize],
    (walk, range): (&Walk, Range<usize>),
) {
    for stretch in walk.stretches(range) {
        let to = to.wrapping_add(stretch.entry * to_inner);
        let from = from.wrapping_add(stretch.place);
        // SAFETY: the caller's promise.
        unsafe {
            if to_inner == 1 && stretch.step == 1 {
                let rows = (places.len(), to_outer, |i: usize| *places.get_unchecked(i));
                copy_runs(to, from, rows, stretch.count);
                continue;
            }
            for (i, &place) in places.iter().enumerate() {
                let (to, from) = (to.add(i * to_outer), from.add(place));
                for j in 0..stretch.count {
                    *to.add(j * to_inner) = *from.add(j * stretch.step);
                }
            }
        }
    }
}

/// Copies runs of `length` elements: number `i` of `count` goes from `from + place(i)` to
/// `to + i * to_step`.
///
/// # Safety
/// Both have the elements, and they do not overlap.
#[inline(always)]
unsafe fn copy_runs<T: Copy>(
    mut to: *mut T,
    mut from: *const T,
    rows: (usize, usize, impl Fn(usize) -> usize + Copy),
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
    (count, to_step, place): (usize, usize, impl Fn(usize) -> usize + Copy),
) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        unsafe {
            // As a value, the run would go through the stack.
            std::ptr::copy_nonoverlapping(from.add(place(i)), to.add(i * to_step), N);
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
        unsafe { copy_runs(to, from, (count, block_step, |i| i * height), height) };
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
