//! Copying rows of a table that are picked from anywhere in it.

#![allow(unsafe_code)]

/// How many rows ahead of the one that is copied memory is asked for.
const AHEAD: usize = 3;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Copies rows of `from` into `to`, one for each of `rows`, in order; all rows are as long as
/// `to` has room for.
///
/// # Panics
/// If a row is not in `from`.
pub fn copy_rows<T: Copy>(from: &[T], rows: &[usize], to: &mut [T]) {
    if rows.is_empty() || to.is_empty() {
        return;
    }
    let width = to.len() / rows.len();
    for (at, (&row, slot)) in rows.iter().zip(to.chunks_exact_mut(width)).enumerate() {
        if let Some(&next) = rows.get(at + AHEAD)
            && let Some(next) = from.get(next * width..(next + 1) * width)
        {
            ask_for(next);
        }
        slot.copy_from_slice(&from[row * width..][..width]);
    }
}

/// Asks for the memory of a slice, to be read soon.
fn ask_for<T>(slice: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(slice)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let place = slice.as_ptr().cast::<i8>().wrapping_add(line);
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(place) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, LINE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_copied_in_order() {
        let from: Vec<i64> = (0..60).collect();
        for width in [1, 3, 20] {
            let count = from.len() / width;
            let rows: Vec<usize> = (0..7).map(|at| (at * 11 + 5) % count).collect();
            let mut to = vec![0; rows.len() * width];
            copy_rows(&from, &rows, &mut to);
            let want: Vec<i64> = rows
                .iter()
                .flat_map(|&row| (row * width..(row + 1) * width).map(|at| at as i64))
                .collect();
            assert_eq!(to, want);
        }
        copy_rows(&from, &[], &mut []);
        copy_rows(&from, &[1, 2], &mut []);
    }
}
