//! Stable argsort without an allocation: ties are broken by index.

#![allow(unsafe_code)]

use aec_runtime::Elem;
use std::cmp::Ordering;

/// Sorts each of `rows` rows of `len` keys ascending, NaN last; writes indices.
///
/// # Safety
/// `from` points at `rows * len` initialised elements of `elem`, `to` at room for as many i64.
pub(crate) unsafe fn argsort(elem: Elem, from: *const u8, to: *mut i64, rows: usize, len: usize) {
    let count = rows * len;
    if count == 0 {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        // The places may never have been written; i64 has no invalid values once they are zero.
        to.write_bytes(0, count);
        let to = std::slice::from_raw_parts_mut(to, count);
        match elem {
            Elem::F32 => rows_of(
                std::slice::from_raw_parts(from.cast::<f32>(), count),
                to,
                len,
            ),
            Elem::F64 => rows_of(
                std::slice::from_raw_parts(from.cast::<f64>(), count),
                to,
                len,
            ),
            Elem::I32 => rows_of(
                std::slice::from_raw_parts(from.cast::<i32>(), count),
                to,
                len,
            ),
            Elem::I64 => rows_of(
                std::slice::from_raw_parts(from.cast::<i64>(), count),
                to,
                len,
            ),
            Elem::Bool => rows_of(std::slice::from_raw_parts(from, count), to, len),
        }
    }
}

fn rows_of<T: PartialOrd + Copy>(keys: &[T], to: &mut [i64], len: usize) {
    for (keys, to) in keys.chunks(len).zip(to.chunks_mut(len)) {
        for (at, index) in to.iter_mut().enumerate() {
            *index = at as i64;
        }
        to.sort_unstable_by(|&a, &b| {
            order(keys[a as usize], keys[b as usize]).then_with(|| a.cmp(&b))
        });
    }
}

#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
fn order<T: PartialOrd>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| (a != a).cmp(&(b != b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_stable_and_puts_nan_last() {
        let keys = [3.0, f64::NAN, -1.0, 3.0, 0.0, -0.0, f64::NAN, -1.0];
        let mut indices = [0; 8];
        rows_of(&keys, &mut indices, 8);
        assert_eq!(indices, [2, 7, 4, 5, 0, 3, 1, 6]);
        rows_of(&[2, 1, 1, 2], &mut indices[..4], 2);
        assert_eq!(indices[..4], [1, 0, 0, 1]);
    }
}
