//! The allocator of the `aec` binary: the system's, which asks for large pages for what is large.
//! A fresh page of 2 MiB costs one fault instead of 512, and products over matrices that are read
//! across their rows miss the tables of pages less.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// To be named in a `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePages;

/// Smallest allocation that large pages are asked for, and that is mapped by itself.
const LARGE: usize = 4 << 20;
/// Up to this alignment zeroed memory comes as such, untouched.
const ZEROED_BY_THE_SYSTEM: usize = 16;
/// What the heap grows by; untouched pages of it cost nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GROWTH: usize = 1 << 20;
/// Size of a large page.
const PAGE: usize = 2 << 20;

// SAFETY: all memory is the system's; advice does not change what it holds.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the callee's.
        advise(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() < LARGE || layout.align() <= ZEROED_BY_THE_SYSTEM {
            // SAFETY: the caller's promise is the callee's.
            return advise(unsafe { System.alloc_zeroed(layout) }, layout.size());
        }
        // `System` would write the zeros before the advice, and so into small pages.
        // SAFETY: the caller's promise is the callee's; the memory has so many bytes.
        unsafe {
            let at = self.alloc(layout);
            if !at.is_null() {
                at.write_bytes(0, layout.size());
            }
            at
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is the callee's.
        advise(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the callee's.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Settles where the system's allocator has its memory from.
///
/// What is large is mapped by itself, always, and goes back when it is freed. Left alone, glibc puts
/// it among the small once something as large was freed; small results that stay then hold the memory
/// between them, more of it after every statement.
///
/// What is small comes from one heap, which grows by [`GROWTH`]. A heap of a thread's own, as glibc
/// would give the thread that compiles, grows by single pages, each with a call of the system's.
pub fn settle_the_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: these set numbers of the allocator's, which it checks; a refusal is no harm.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE as libc::c_int);
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, GROWTH as libc::c_int);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE as libc::c_int);
    }
}

/// Gives what is free in the heap back to the system; takes a millisecond or so. For before memory
/// that stays is touched first, when much of another kind has just been freed.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it changes only what nobody holds.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the whole pages of a range back to the system: what they held is lost, and nothing else
/// may be expected of them than that they can be written to. A refusal is no harm.
///
/// # Safety
/// The range is inside one allocation, its bytes are initialised and may be any, and nobody reads or
/// writes them meanwhile.
pub unsafe fn discard(at: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    if bytes >= LARGE {
        const SMALL_PAGE: usize = 4096;
        let skip = at.addr().next_multiple_of(SMALL_PAGE) - at.addr();
        let whole = (bytes - skip) / SMALL_PAGE * SMALL_PAGE;
        // SAFETY: the pages lie wholly inside the range; anonymous memory reads as zeros afterwards.
        unsafe { libc::madvise(at.wrapping_add(skip).cast(), whole, libc::MADV_DONTNEED) };
    }
}

/// Asks for large pages for those that lie wholly inside an allocation. A refusal is no harm.
fn advise(at: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LARGE && !at.is_null() {
        let skip = at.addr().next_multiple_of(PAGE) - at.addr();
        let whole = (size - skip) / PAGE * PAGE;
        // SAFETY: the range is inside the allocation and starts at a page; the advice does not
        // change its contents.
        unsafe { libc::madvise(at.wrapping_add(skip).cast(), whole, libc::MADV_HUGEPAGE) };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_allocations_hold_what_they_should() {
        let layout = Layout::from_size_align(3 * LARGE + 5, 64).unwrap();
        // SAFETY: the layout is not empty, and all accesses are inside it.
        unsafe {
            let mut at = LargePages.alloc_zeroed(layout);
            assert!((0..layout.size()).step_by(4096).all(|i| *at.add(i) == 0));
            *at.add(layout.size() - 1) = 7;
            at = LargePages.realloc(at, layout, 2 * layout.size());
            assert_eq!(*at.add(layout.size() - 1), 7);
            let grown = Layout::from_size_align(2 * layout.size(), 64).unwrap();
            LargePages.dealloc(at, grown);
        }
    }
}
