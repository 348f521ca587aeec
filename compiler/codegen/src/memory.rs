//! Aligned memory of instances, and tensors to and from it.

#![allow(unsafe_code)]

use aec_ir::Type;
use aec_runtime::{Data, Elem, Tensor};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Zeroed memory that starts at a cache line.
pub(crate) struct Block {
    /// What was allocated, without asking for lines: the system has zeros at hand for ordinary
    /// allocations only, and writes them itself, to every page, for others.
    whole: *mut u8,
    layout: Layout,
    start: *mut u8,
}

impl Block {
    /// `size` zero bytes.
    pub fn zeroed(size: usize) -> Block {
        let layout = size
            .checked_add(LINE)
            .and_then(|size| Layout::from_size_align(size, align_of::<usize>()).ok())
            .unwrap_or_else(|| handle_alloc_error(Layout::new::<u8>()));
        // SAFETY: the size is not 0.
        let whole = unsafe { alloc_zeroed(layout) };
        if whole.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: less than a line further, and there is one more than was asked for.
        let start = unsafe { whole.add(whole.align_offset(LINE)) };
        Block {
            whole,
            layout,
            start,
        }
    }

    /// Address of a byte.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.len());
        // SAFETY: just checked.
        unsafe { self.start.add(offset) }
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.layout.size() - LINE
    }

    /// Gives the bytes from an offset on back to the system: they are zeros again, or what they were.
    pub fn discard_from(&mut self, offset: usize) {
        let at = self.at(offset);
        // SAFETY: the range is inside the block, which nothing else writes, and holds plain bytes.
        unsafe { aec_runtime::pages::discard(at, self.len() - offset) };
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.whole, self.layout) };
    }
}

/// The elements of a tensor as bytes.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> &[u8] {
    let bytes = tensor.len() * tensor.elem().bytes();
    // SAFETY: so many bytes are there, and every element type has no padding.
    unsafe { std::slice::from_raw_parts(tensor.as_ptr(), bytes) }
}

/// A tensor of type `ty` from memory.
///
/// # Safety
/// `from` points at initialised elements of the type, aligned for it.
pub(crate) unsafe fn read_tensor(ty: &Type, from: *const u8) -> Tensor {
    // SAFETY: the caller's promise.
    unsafe fn elements<T: Copy>(from: *const u8, count: usize) -> Vec<T> {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(from.cast::<T>(), count) }.to_vec()
    }
    let count = ty.len();
    // SAFETY: the caller's promise.
    let data = unsafe {
        match ty.elem {
            Elem::F32 => Data::F32(elements(from, count)),
            Elem::F64 => Data::F64(elements(from, count)),
            Elem::I32 => Data::I32(elements(from, count)),
            Elem::I64 => Data::I64(elements(from, count)),
            Elem::Bool => Data::Bool(elements(from, count)),
        }
    };
    Tensor::new(ty.dims.to_vec(), data)
}

/// Memory for a tensor's elements, which become a tensor once they are written.
pub(crate) struct Room {
    data: Data,
    count: usize,
}

impl Room {
    /// For the elements of a type; no page of it is touched.
    pub fn new(ty: &Type) -> Room {
        let count = ty.len();
        let data = match ty.elem {
            Elem::F32 => Data::F32(Vec::with_capacity(count)),
            Elem::F64 => Data::F64(Vec::with_capacity(count)),
            Elem::I32 => Data::I32(Vec::with_capacity(count)),
            Elem::I64 => Data::I64(Vec::with_capacity(count)),
            Elem::Bool => Data::Bool(Vec::with_capacity(count)),
        };
        Room { data, count }
    }

    /// Where the elements are to be written.
    pub fn start(&mut self) -> *mut u8 {
        match &mut self.data {
            Data::F32(v) => v.as_mut_ptr().cast(),
            Data::F64(v) => v.as_mut_ptr().cast(),
            Data::I32(v) => v.as_mut_ptr().cast(),
            Data::I64(v) => v.as_mut_ptr().cast(),
            Data::Bool(v) => v.as_mut_ptr(),
        }
    }

    /// The tensor of these dims.
    ///
    /// # Safety
    /// All elements were written.
    pub unsafe fn into_tensor(mut self, dims: &[usize]) -> Tensor {
        let count = self.count;
        // SAFETY: there is room for so many, and they are initialised, says the caller.
        unsafe {
            match &mut self.data {
                Data::F32(v) => v.set_len(count),
                Data::F64(v) => v.set_len(count),
                Data::I32(v) => v.set_len(count),
                Data::I64(v) => v.set_len(count),
                Data::Bool(v) => v.set_len(count),
            }
        }
        Tensor::new(dims.to_vec(), self.data)
    }
}
