//! Row blocks of an A that is stored transposed, packed: each block by its columns. A tile of few
//! rows uses a small part of each line of such an A; packed, its lines stay in L1 while panels go by.

use std::ops::Range;

use super::drive::Plan;
use super::group::Group;
use super::pack::{PackBuffer, pack_row_blocks};
use super::tiles::Tiles;

/// Row blocks that are packed at a time: the rows of three lines.
const AT_A_TIME: usize = 8;
/// Bytes that are kept for all groups of panels.
const KEPT_MOST: usize = 1 << 22;
/// Elements between blocks, which would fall into the same sets of L1 if they were a power of two
/// apart.
const APART: usize = 16;
/// The thread's buffer.
const SLOT: usize = 2;

/// The packed row blocks of a part of a product.
pub(super) struct PackedRows {
    buffer: PackBuffer,
    /// The part's row blocks, and how many of them there is room for.
    rows: Range<usize>,
    room: usize,
    /// Whether there is room for all of them down the whole of k: then they are packed once.
    keeps: bool,
    /// Those that are packed, down the k block at hand.
    held: Range<usize>,
}

impl PackedRows {
    /// Room for so many row blocks down so many terms at least.
    pub(super) fn new<K: Tiles>(
        plan: &Plan<'_, K>,
        rows: Range<usize>,
        (blocks, depth): (usize, usize),
        stages: usize,
    ) -> PackedRows {
        let height = plan.blocks.most();
        let whole = rows.len() * (height * plan.call.k + APART * stages);
        let keeps = whole * size_of::<K::T>() <= KEPT_MOST;
        let room = match keeps {
            true => rows.len(),
            false => rows.len().min(blocks.max(AT_A_TIME)),
        };
        let size = match keeps {
            true => whole,
            false => room * (height * depth + APART),
        };
        PackedRows {
            buffer: PackBuffer::take::<K::T>(SLOT, size),
            held: rows.start..rows.start,
            rows,
            room,
            keeps,
        }
    }

    /// Before the rows go by once more: by the first group of panels or another.
    pub(super) fn begin(&mut self, first_group: bool) {
        self.held = match self.keeps && !first_group {
            true => self.rows.clone(),
            false => self.rows.start..self.rows.start,
        };
    }

    /// Packs some row blocks if they are not packed yet, and has the group's tiles read them.
    ///
    /// # Safety
    /// The group's A is stored transposed and may be read, and it is at this k block.
    pub(super) unsafe fn bring<K: Tiles>(
        &mut self,
        group: &mut Group<'_, K>,
        stage: usize,
        chunk: Range<usize>,
    ) {
        let (blocks, a) = (group.plan.blocks, &group.plan.call.a);
        let (height, depth) = (blocks.most(), group.depth.clone());
        let size = height * depth.len() + APART;
        let before = match self.keeps {
            true => self.room * (height * depth.start + APART * stage),
            false => 0,
        };
        let to = self.buffer.as_mut_ptr::<K::T>().wrapping_add(before);
        if chunk.end > self.held.end {
            if !self.keeps {
                self.held = chunk.start..chunk.start;
            }
            let most = if self.keeps { AT_A_TIME } else { self.room };
            let mut from = self.held.end;
            let end = chunk.end.max(from + most).min(self.rows.end);
            self.held.end = end;
            while from < end {
                // Blocks of the same height.
                let rows = group.plan.rows(from);
                let same = |block: &usize| group.plan.rows(*block).len() == rows.len();
                let count = (from..end).take_while(same).count();
                let place = group
                    .first_a()
                    .wrapping_add(rows.start + depth.start * a.col_stride);
                // SAFETY: there is room for the blocks from `held.start` to `end`; A is readable.
                unsafe {
                    pack_row_blocks(
                        to.wrapping_add((from - self.held.start) * size),
                        (size, height),
                        place,
                        (depth.len(), a.col_stride),
                        (count, rows.len()),
                    );
                }
                from += count;
            }
        }
        group.reads_packed_a(to, self.held.start, size);
    }

    /// Keeps the buffer for the thread's next product.
    pub(super) fn give_back(self) {
        self.buffer.give_back(SLOT);
    }
}
