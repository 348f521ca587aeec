//! Aligned memory of instances, and tensors to and from it.

#![allow(unsafe_code)]

use aec_ir::Type;
use aec_runtime::{Data, Elem, Tensor};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// Zeroed memory that starts at a cache line.
pub(crate) struct Block {
    start: *mut u8,
    layout: Layout,
}

impl Block {
    /// `size` zero bytes.
    pub fn zeroed(size: usize) -> Block {
        let layout = Layout::from_size_align(size.max(64), 64)
            .unwrap_or_else(|_| handle_alloc_error(Layout::new::<u8>()));
        // SAFETY: the size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Block { start, layout }
    }

    /// Address of a byte.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.layout.size());
        // SAFETY: just checked.
        unsafe { self.start.add(offset) }
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.start, self.layout) };
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
