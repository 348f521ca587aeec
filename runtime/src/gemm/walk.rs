//! Axes of matrices that are several axes of memory: the pixels of a batch of pictures, the
//! pieces of a picture under a kernel, the heads of an attention.

use std::fmt;
use std::ops::Range;

/// Most axes of memory in one [`Walk`].
pub const WALK_AXES: usize = 4;

/// Where the entries of an axis lie: the index counts through nested axes of memory, the last
/// the fastest, each with a number of entries and a step. Steps may repeat or overlap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Walk {
    /// Entries and step; the first count is not looked at.
    axes: [(usize, usize); WALK_AXES],
    len: usize,
}

impl Walk {
    /// One axis of memory.
    pub const fn step(step: usize) -> Walk {
        Walk {
            axes: [(usize::MAX, step), (1, 0), (1, 0), (1, 0)],
            len: 1,
        }
    }

    /// Nested axes `(entries, step)`, outermost first; axes that lie one in the other count as
    /// one. `None` if they are too many or go backwards.
    pub fn nested(axes: impl IntoIterator<Item = (usize, i64)>) -> Option<Walk> {
        let mut walk = Walk::step(1);
        walk.len = 0;
        for (count, step) in axes {
            let step = usize::try_from(step).ok()?;
            if count == 1 {
                continue;
            }
            if let Some(last) = walk.axes[..walk.len].last_mut()
                && last.1 == step * count
            {
                *last = (last.0.saturating_mul(count), step);
                continue;
            }
            *walk.axes.get_mut(walk.len)? = (count, step);
            walk.len += 1;
        }
        if walk.len == 0 {
            return Some(Walk::step(1));
        }
        walk.axes[0].0 = usize::MAX;
        for axis in &mut walk.axes[walk.len..] {
            *axis = (1, 0);
        }
        Some(walk)
    }

    /// The step, if it is one axis of memory.
    pub fn uniform(&self) -> Option<usize> {
        (self.len == 1).then_some(self.axes[0].1)
    }

    /// How many entries in a row lie side by side at most, of an axis with so many entries.
    pub fn run(&self, entries: usize) -> usize {
        match self.axes[self.len - 1] {
            (count, 1) => count.min(entries),
            _ => 1,
        }
    }

    /// Elements from entry 0 to an entry.
    pub fn at(&self, index: usize) -> usize {
        let (mut rest, mut out) = (index, 0);
        for &(count, step) in self.axes[1..self.len].iter().rev() {
            out += rest % count * step;
            rest /= count;
        }
        out + rest * self.axes[0].1
    }

    /// Elements from entry 0 to each entry of a range.
    pub(super) fn places(&self, range: Range<usize>) -> Vec<usize> {
        let mut places = Vec::with_capacity(range.len());
        for stretch in self.stretches(range) {
            places.extend((0..stretch.count).map(|i| stretch.place + i * stretch.step));
        }
        places
    }

    /// A range of entries in stretches along the innermost axis; entries count from the range's
    /// start.
    #[inline(always)]
    pub(super) fn stretches(&self, range: Range<usize>) -> Stretches<'_> {
        let mut index = [0; WALK_AXES];
        let mut rest = range.start;
        for (index, &(count, _)) in index
            .iter_mut()
            .zip(&self.axes)
            .take(self.len)
            .skip(1)
            .rev()
        {
            *index = rest % count;
            rest /= count;
        }
        index[0] = rest;
        Stretches {
            walk: self,
            at: range.start,
            place: self.at(range.start),
            index,
            range,
        }
    }
}

/// Entries at one distance in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub(super) entry: usize,
    pub(super) place: usize,
    pub(super) count: usize,
    pub(super) step: usize,
}

/// See [`Walk::stretches`]. Counts through the axes: a division for each stretch would take longer than
/// to copy a short one.
pub(super) struct Stretches<'a> {
    walk: &'a Walk,
    at: usize,
    place: usize,
    /// How far each axis is.
    index: [usize; WALK_AXES],
    range: Range<usize>,
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    #[inline(always)]
    fn next(&mut self) -> Option<Stretch> {
        let at = self.at;
        if at >= self.range.end {
            return None;
        }
        let last = self.walk.len - 1;
        let (most, step) = self.walk.axes[last];
        let count = (most - self.index[last]).min(self.range.end - at);
        let stretch = Stretch {
            entry: at - self.range.start,
            place: self.place,
            count,
            step,
        };
        // A stretch that does not end its axis is the range's last.
        self.at += count;
        self.place -= self.index[last] * step;
        self.index[last] = 0;
        for axis in (0..last).rev() {
            let (count, step) = self.walk.axes[axis];
            self.index[axis] += 1;
            self.place += step;
            if self.index[axis] < count {
                break;
            }
            self.place -= count * step;
            self.index[axis] = 0;
        }
        Some(stretch)
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `784` or, of nested axes, `784/28x3/5x1`: a step, then entries by step.
impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.axes[0].1)?;
        for (count, step) in &self.axes[1..self.len] {
            write!(f, "/{count}x{step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_axes() {
        // Pictures of 30 x 30 pixels with 16 channels, windows two apart, 14 by 14 of them.
        let walk = Walk::nested([(3, 14_400), (14, 960), (14, 32)]).unwrap();
        let expected = |i: usize| i / 196 * 14_400 + i / 14 % 14 * 960 + i % 14 * 32;
        for start in [0, 1, 13, 14, 195, 196, 400] {
            let want: Vec<usize> = (start..588).map(expected).collect();
            assert_eq!(walk.places(start..588), want);
            assert_eq!(walk.at(start), expected(start));
        }
        assert_eq!(walk.uniform(), None);
        assert_eq!(walk.to_string(), "14400/14x960/14x32");
    }

    #[test]
    fn axes_that_lie_one_in_the_other_are_one() {
        assert_eq!(
            Walk::nested([(3, 48), (1, 7), (3, 16), (16, 1)]),
            Some(Walk::step(1))
        );
        assert_eq!(Walk::nested([]), Some(Walk::step(1)));
        assert_eq!(Walk::nested([(2, -1)]), None);
        let piece = Walk::nested([(3, 480), (3, 16), (16, 1)]).unwrap();
        assert_eq!(piece.run(144), 48);
        let runs: Vec<_> = piece
            .stretches(40..100)
            .map(|s| (s.entry, s.place, s.count, s.step))
            .collect();
        assert_eq!(runs, [(0, 40, 8, 1), (8, 480, 48, 1), (56, 960, 4, 1)]);
    }
}
