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

/// Up to so many indices are kept sorted while many keys go by once.
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

/// A key of at most 32 bits in front of its index, as one number that compares as both do; none for
/// wider keys.
trait Key: PartialOrd + Copy {
    fn ordered_bits(self) -> Option<u32>;
}

impl Key for f32 {
    fn ordered_bits(self) -> Option<u32> {
        const SIGN: u32 = 1 << 31;
        let bits = self.to_bits();
        Some(match bits & SIGN {
            _ if self.is_nan() => u32::MAX,
            // Both zeros are equal.
            _ if self == 0.0 => SIGN,
            0 => bits | SIGN,
            _ => !bits,
        })
    }
}

impl Key for i32 {
    fn ordered_bits(self) -> Option<u32> {
        Some(self.cast_unsigned() ^ (1 << 31))
    }
}

impl Key for u8 {
    fn ordered_bits(self) -> Option<u32> {
        Some(u32::from(self))
    }
}

impl Key for f64 {
    fn ordered_bits(self) -> Option<u32> {
        None
    }
}

impl Key for i64 {
    fn ordered_bits(self) -> Option<u32> {
        None
    }
}

/// # Safety
/// As of [`argsort`], with elements `T`.
unsafe fn sort_rows<T: Key>(from: *const T, to: *mut i64, rows: Rows) {
    let Rows { count, len, keep } = rows;
    for row in 0..count {
        // SAFETY: row `row` of both lies within what the caller promises. The places may never
        // have been written; i64 has no invalid values once they are zero.
        unsafe {
            let keys = std::slice::from_raw_parts(from.add(row * len), len);
            let to = to.add(row * len);
            if keep <= FEW && 16 * keep <= len {
                to.write_bytes(0, keep);
                least(keys, std::slice::from_raw_parts_mut(to, keep));
            } else {
                let room = room(len, keep);
                to.write_bytes(0, room);
                sort(keys, std::slice::from_raw_parts_mut(to.cast(), room), keep);
            }
        }
    }
}

/// How many places [`sort`] needs to find the first `keep` of `len` keys.
fn room(len: usize, keep: usize) -> usize {
    match 4 * keep <= len {
        true => 2 * keep,
        false => len,
    }
}

/// Writes the indices of the least `keep` keys, sorted, to the beginning of `to`.
fn sort<T: Key>(keys: &[T], to: &mut [u64], keep: usize) {
    let packs = keys.first().is_some_and(|key| key.ordered_bits().is_some());
    if packs && u32::try_from(keys.len()).is_ok() {
        let item = |at: usize| {
            let bits = keys[at].ordered_bits().unwrap_or(0);
            u64::from(bits) << 32 | at as u64
        };
        first_items(keys.len(), to, keep, item, u64::cmp);
        for item in &mut to[..keep] {
            *item &= u64::from(u32::MAX);
        }
    } else {
        let by_key = |&a: &u64, &b: &u64| order(keys[a as usize], keys[b as usize]).then(a.cmp(&b));
        first_items(keys.len(), to, keep, |at| at as u64, by_key);
    }
}

/// Sorts the least `keep` of `len` items, no two of which are equal, to the beginning of `to`. Where
/// there is no room for all, those that are not among the least so far are dropped now and then.
fn first_items(
    len: usize,
    to: &mut [u64],
    keep: usize,
    item: impl Fn(usize) -> u64,
    order: impl Fn(&u64, &u64) -> Ordering,
) {
    if keep == 0 {
        return;
    }
    let mut have = 0;
    let mut limit = None;
    for at in 0..len {
        let item = item(at);
        if limit.is_some_and(|limit| order(&item, &limit) != Ordering::Less) {
            continue;
        }
        if have == to.len() {
            to.select_nth_unstable_by(keep - 1, &order);
            limit = Some(to[keep - 1]);
            have = keep;
            if order(&item, &to[keep - 1]) != Ordering::Less {
                continue;
            }
        }
        to[have] = item;
        have += 1;
    }
    let found = &mut to[..have];
    if keep < have {
        found.select_nth_unstable_by(keep - 1, &order);
    }
    found[..keep].sort_unstable_by(&order);
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

    fn sorted<T: Key>(keys: &[T], keep: usize) -> Vec<u64> {
        let mut to = vec![0; room(keys.len(), keep)];
        sort(keys, &mut to, keep);
        to.truncate(keep);
        to
    }

    #[test]
    fn is_stable_and_puts_nan_last() {
        let keys = [3.0, f64::NAN, -1.0, 3.0, 0.0, -0.0, -f64::NAN, -1.0];
        let narrow = keys.map(|key| key as f32);
        assert_eq!(sorted(&keys, 8), [2, 7, 4, 5, 0, 3, 1, 6]);
        assert_eq!(sorted(&narrow, 8), [2, 7, 4, 5, 0, 3, 1, 6]);
        assert_eq!(sorted(&[2i64, 1, 1, 2], 4), [1, 2, 0, 3]);
        assert_eq!(sorted(&[2, i32::MIN, -1, i32::MAX, -1], 5), [1, 2, 4, 0, 3]);
        assert_eq!(sorted(&[1u8, 0, 1, 0], 4), [1, 3, 0, 2]);
        let far = [f32::INFINITY, f32::MIN, f32::NEG_INFINITY, f32::MAX, -1e-45];
        assert_eq!(sorted(&far, 5), [2, 1, 4, 3, 0]);
    }

    #[test]
    fn the_least_are_the_first_of_all() {
        let keys: Vec<f32> = (0..300)
            .map(|i| match i * 37 % 101 {
                7 => f32::NAN,
                n => (n / 3) as f32,
            })
            .collect();
        let wide: Vec<f64> = keys.iter().map(|&key| f64::from(key)).collect();
        let all = sorted(&wide, keys.len());
        for keep in [1, 2, 9, 64, 75, 76, 299, 300] {
            let mut some = vec![0; keep];
            least(&keys, &mut some);
            let some: Vec<u64> = some.into_iter().map(i64::cast_unsigned).collect();
            assert_eq!(some, all[..keep]);
            assert_eq!(sorted(&keys, keep), all[..keep]);
            assert_eq!(sorted(&wide, keep), all[..keep]);
        }
    }
}
