//! Where temporary buffers lie in the arena: largest first, each at the lowest free offset
//! among those that live at the same time.

/// A temporary buffer: its size and the steps between which it must be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    /// Size in bytes.
    pub bytes: usize,
    /// The step that writes it first.
    pub first: usize,
    /// The step that uses it last.
    pub last: usize,
}

/// Alignment of buffers, in bytes.
pub const ALIGN: usize = 64;

/// Offsets of the buffers and the size of the arena.
pub fn place(lifetimes: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&at| {
        (
            std::cmp::Reverse(lifetimes[at].bytes),
            lifetimes[at].first,
            at,
        )
    });
    let mut offsets = vec![0; lifetimes.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut top = 0;
    for at in order {
        let own = lifetimes[at];
        let size = own.bytes.next_multiple_of(ALIGN).max(ALIGN);
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| {
                let other = lifetimes[other];
                other.first <= own.last && own.first <= other.last
            })
            .map(|&other| {
                let size = lifetimes[other].bytes.next_multiple_of(ALIGN).max(ALIGN);
                (offsets[other], offsets[other] + size)
            })
            .collect();
        busy.sort_unstable();
        // The smallest gap that it fits into, else the end.
        let mut best: Option<(usize, usize)> = None;
        let mut end = 0;
        for (start, stop) in busy {
            if start >= end + size && best.is_none_or(|(_, gap)| start - end < gap) {
                best = Some((end, start - end));
            }
            end = end.max(stop);
        }
        let offset = best.map_or(end, |(offset, _)| offset);
        offsets[at] = offset;
        top = top.max(offset + size);
        placed.push(at);
    }
    (offsets, top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(bytes: usize, first: usize, last: usize) -> Lifetime {
        Lifetime { bytes, first, last }
    }

    #[test]
    fn buffers_of_one_time_do_not_overlap() {
        let lifetimes: Vec<Lifetime> = (0..60)
            .map(|i| {
                let first = (i * 7) % 20;
                lifetime(1 + (i * 37) % 500, first, first + (i * 5) % 9)
            })
            .collect();
        let (offsets, top) = place(&lifetimes);
        for a in 0..lifetimes.len() {
            assert!(offsets[a].is_multiple_of(ALIGN));
            assert!(offsets[a] + lifetimes[a].bytes <= top);
            for b in 0..a {
                let (x, y) = (lifetimes[a], lifetimes[b]);
                let together = x.first <= y.last && y.first <= x.last;
                let apart =
                    offsets[a] + x.bytes <= offsets[b] || offsets[b] + y.bytes <= offsets[a];
                assert!(!together || apart, "{a} {b}");
            }
        }
    }

    #[test]
    fn memory_is_used_again() {
        let (_, top) = place(&[lifetime(640, 0, 1), lifetime(640, 2, 3), lifetime(64, 1, 2)]);
        assert_eq!(top, 704);
    }
}
