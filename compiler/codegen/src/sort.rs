//! Stable argsort without an allocation: ties are broken by index.

#![allow(unsafe_code)]

use aec_runtime::Elem;
use std::cmp::Ordering;
use std::ops::Range;

/// Rows to be sorted.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// How many.
    pub(crate) count: usize,
    /// Keys of each.
    pub(crate) len: usize,
    /// Indices that are wanted of each, the first ones.
    pub(crate) keep: usize,
}

/// Up to so many indices are kept sorted while the keys go by once.
const FEW: usize = 64;

/// Sorts each row ascending, NaN last; writes the first `keep` indices to the beginning of its
/// row in `to`.
///
/// # Safety
/// `from` points at `count * len` initialised elements of `elem`, `to` at room for as many i64;
/// `keep <= len`.
pub(crate) unsafe fn argsort(elem: Elem, from: *const u8, to: *mut i64, rows: Rows) {
    let all = rows.count * rows.len;
    if all == 0 || rows.keep == 0 {
        return;
    }
    // SAFETY: the caller's promise; every element type is one of these.
    unsafe {
        match elem {
            Elem::F32 => sort_rows(from.cast::<f32>(), to, rows),
            Elem::F64 => sort_rows(from.cast::<f64>(), to, rows),
            Elem::I32 => sort_rows(from.cast::<i32>(), to, rows),
            Elem::I64 => sort_rows(from.cast::<i64>(), to, rows),
            Elem::Bool => sort_rows(from, to, rows),
        }
    }
}

/// # Safety
/// As of [`argsort`], with elements `T`.
unsafe fn sort_rows<T: PartialOrd + Copy>(from: *const T, to: *mut i64, rows: Rows) {
    let Rows { count, len, keep } = rows;
    for row in 0..count {
        // SAFETY: row `row` of both lies within what the caller promises. The places may never
        // have been written; i64 has no invalid values once they are zero.
        unsafe {
            let keys = std::slice::from_raw_parts(from.add(row * len), len);
            let to = to.add(row * len);
            if keep <= FEW && 4 * keep <= len {
                to.write_bytes(0, keep);
                least(keys, std::slice::from_raw_parts_mut(to, keep));
            } else {
                to.write_bytes(0, len);
                sort(keys, std::slice::from_raw_parts_mut(to, len));
            }
        }
    }
}

fn sort<T: PartialOrd + Copy>(keys: &[T], to: &mut [i64]) {
    for (at, index) in to.iter_mut().enumerate() {
        *index = at as i64;
    }
    to.sort_unstable_by(|&a, &b| order(keys[a as usize], keys[b as usize]).then_with(|| a.cmp(&b)));
}

/// Keys that are looked at together.
const BLOCK: usize = 64;

/// The indices of the least keys, sorted: they stay in `to` while the others go by. Most blocks of
/// them have none that is less than what is kept.
fn least<T: PartialOrd + Copy>(keys: &[T], to: &mut [i64]) {
    let mut have = 0;
    for (block, some) in keys.chunks(BLOCK).enumerate() {
        if have == to.len() {
            let limit = keys[to[have - 1] as usize];
            // Nothing compares with NaN.
            let is_number = limit.partial_cmp(&limit).is_some();
            if is_number && !some.iter().fold(false, |any, &key| any | (key < limit)) {
                continue;
            }
        }
        have = keep_least(keys, block * BLOCK..block * BLOCK + some.len(), to, have);
    }
}

/// Takes some keys up among the `have` least ones of those before; gives how many there are now.
fn keep_least<T: PartialOrd + Copy>(
    keys: &[T],
    some: Range<usize>,
    to: &mut [i64],
    mut have: usize,
) -> usize {
    let keep = to.len();
    for at in some {
        let key = keys[at];
        if have == keep && order(key, keys[to[keep - 1] as usize]) != Ordering::Less {
            continue;
        }
        // A later key comes after its equals.
        let before = |&index: &i64| order(keys[index as usize], key) != Ordering::Greater;
        let place = to[..have].partition_point(before);
        have = (have + 1).min(keep);
        to.copy_within(place..have - 1, place + 1);
        to[place] = at as i64;
    }
    have
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
        sort(&keys, &mut indices);
        assert_eq!(indices, [2, 7, 4, 5, 0, 3, 1, 6]);
        sort(&[2, 1, 1, 2], &mut indices[..4]);
        assert_eq!(indices[..4], [1, 2, 0, 3]);
    }

    #[test]
    fn the_least_are_the_first_of_all() {
        let keys: Vec<f32> = (0..300)
            .map(|i| match i * 37 % 101 {
                7 => f32::NAN,
                n => (n / 3) as f32,
            })
            .collect();
        let mut all = vec![0; keys.len()];
        sort(&keys, &mut all);
        for keep in [1, 2, 9, 64, 299, 300] {
            let mut some = vec![0; keep];
            least(&keys, &mut some);
            assert_eq!(some, all[..keep]);
        }
    }
}
