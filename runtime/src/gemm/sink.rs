//! Where finished tiles go if a product has an epilogue.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{EPILOGUE_ARGS, EpilogueCall, TILE_ROWS, TILE_STRIDE};

/// A thread's tile buffer and its copy of the epilogue's buffers.
pub(super) struct Sink<T> {
    tile: TileBuffer<T>,
    call: EpilogueCall,
    few: [*mut u8; FEW],
    many: Vec<*mut u8>,
    product: usize,
}

/// Epilogues with at most so many buffers cost no allocation.
const FEW: usize = 32;

#[repr(align(64))]
struct TileBuffer<T>(MaybeUninit<[[T; TILE_STRIDE]; TILE_ROWS]>);

impl<T> Sink<T> {
    pub(super) fn new(call: &EpilogueCall, product: usize) -> Sink<T> {
        let mut sink = Sink {
            tile: TileBuffer(MaybeUninit::uninit()),
            call: *call,
            few: [std::ptr::null_mut(); FEW],
            many: Vec::new(),
            product,
        };
        // SAFETY: `buffers` has `buffer_count` entries.
        let given = unsafe { std::slice::from_raw_parts(call.buffers, call.buffer_count) };
        match sink.few.get_mut(..given.len()) {
            Some(few) => few.copy_from_slice(given),
            None => sink.many = given.to_vec(),
        }
        sink
    }

    pub(super) fn tile(&mut self) -> *mut T {
        self.tile.0.as_mut_ptr().cast()
    }

    /// Gives the epilogue a rectangle of C that lies at `tile` with rows [`TILE_STRIDE`] apart.
    ///
    /// # Safety
    /// The epilogue must fit its buffers.
    pub(super) unsafe fn take(&mut self, tile: *mut T, rows: Range<usize>, cols: Range<usize>) {
        let args: [i64; EPILOGUE_ARGS] = [
            rows.start as i64,
            rows.end as i64,
            cols.start as i64,
            cols.end as i64,
            rows.len() as i64,
            cols.len() as i64,
            self.product as i64,
        ];
        let buffers: &mut [*mut u8] = if self.many.is_empty() {
            &mut self.few
        } else {
            &mut self.many
        };
        buffers[0] = tile.cast();
        // SAFETY: the caller's promise.
        unsafe { (self.call.func)(buffers.as_ptr(), args.as_ptr()) };
    }

    /// Gives the epilogue a rectangle with rows `stride` apart, row by row.
    ///
    /// # Safety
    /// As [`Sink::take`].
    pub(super) unsafe fn take_strip(
        &mut self,
        strip: *mut T,
        stride: usize,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        for (at, row) in rows.enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.take(strip.wrapping_add(at * stride), row..row + 1, cols.clone()) };
        }
    }
}
