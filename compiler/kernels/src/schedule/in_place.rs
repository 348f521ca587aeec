//! Which results are computed in the memory of the inputs that they overwrite.
//!
//! A link says that one value is written over another. A result stands in its input's memory if a
//! chain of links leads there and each writer can wait for all others that read what it overwrites;
//! else it is computed elsewhere and copied at the end.

use super::{Scheduler, Task};
use crate::fuse::Work;
use crate::kernel::in_place;
use aec_ir::Value;
use rustc_hash::FxHashSet as HashSet;

/// A value that is written over another one.
struct Link {
    writer: usize,
    before: Value,
    after: Value,
}

impl Scheduler<'_> {
    /// Puts a result in a param's memory, or a copy at the end.
    pub(super) fn alias(&mut self, param: usize, result: usize) {
        let f = &self.prepared.f;
        let (p, v) = (f.params[param], f.results[result]);
        if let Some(links) = self.links(p, v)
            && self.constrain(&links)
        {
            for link in &links {
                if link.after != v {
                    self.on_the_way.insert(link.after, param);
                }
            }
            self.in_input.insert(result, param);
            return;
        }
        let mut before: HashSet<usize> = self.readers(p).into_iter().collect();
        before.extend(self.guards());
        before.extend(self.owner.get(&v));
        before.extend(0..self.nodes.len());
        self.tasks.push(Task::CopyBack(result));
        self.before.push(before);
    }

    /// How a result comes to stand in a param's memory, the last value first: by rows written
    /// over what stands there, or because its kernel reads the param, if at all, only where it
    /// writes.
    fn links(&self, p: Value, v: Value) -> Option<Vec<Link>> {
        let f = &self.prepared.f;
        let mut links = Vec::new();
        let mut after = v;
        loop {
            let writer = *self.owner.get(&after)?;
            let base = self.written_over(writer, after);
            let goes_on = base.is_some_and(|base| base != p && self.owner.contains_key(&base));
            let before = match base {
                Some(base) if goes_on && !f.results.contains(&base) => base,
                _ if self.fits_in_place(writer, p, after) => p,
                _ => return None,
            };
            links.push(Link {
                writer,
                before,
                after,
            });
            if before == p {
                return Some(links);
            }
            after = before;
        }
    }

    /// What a node copies before it writes over parts of the copy.
    fn written_over(&self, writer: usize, v: Value) -> Option<Value> {
        match &self.nodes[writer].work {
            Work::Kernels(built) => match built.as_slice() {
                [first, rest @ ..] => first.copies.and_then(|(from, to)| {
                    let unread = rest.iter().all(|built| built.loads().all(|l| l != from));
                    (to == v && unread).then_some(from)
                }),
                [] => None,
            },
            Work::Product { .. } | Work::Call(_) | Work::Loop(_) => None,
        }
    }

    /// Lets every link's writer wait for the others that read what it overwrites, and the one
    /// that writes the param's memory first for the guards. False, and nothing changes, if that
    /// is impossible.
    fn constrain(&mut self, links: &[Link]) -> bool {
        let saved: Vec<HashSet<usize>> = links
            .iter()
            .map(|link| self.before[link.writer].clone())
            .collect();
        for link in links {
            let readers = self.readers(link.before);
            let others = readers.into_iter().filter(|&t| t != link.writer);
            self.before[link.writer].extend(others);
        }
        if let Some(first) = links.last() {
            let guards = self.guards();
            self.before[first.writer].extend(guards);
        }
        if links.iter().any(|link| self.reaches(link.writer)) {
            for (link, before) in links.iter().zip(saved) {
                self.before[link.writer] = before;
            }
            return false;
        }
        true
    }

    fn fits_in_place(&self, writer: usize, p: Value, v: Value) -> bool {
        let node = &self.nodes[writer];
        if !node.loads.contains(&p) {
            return true;
        }
        match &node.work {
            // Only the first may read what the others change.
            Work::Kernels(built) => match built.as_slice() {
                [first, rest @ ..] => {
                    in_place(first, p, v) && rest.iter().all(|built| built.loads().all(|l| l != p))
                }
                [] => false,
            },
            Work::Product {
                product, epilogue, ..
            } => {
                product.operands().all(|operand| operand != p)
                    && epilogue.as_ref().is_some_and(|built| in_place(built, p, v))
            }
            Work::Call(_) | Work::Loop(_) => false,
        }
    }

    /// Whether a task must come before itself.
    fn reaches(&self, from: usize) -> bool {
        let mut seen = vec![false; self.tasks.len()];
        let mut work: Vec<usize> = self.before[from].iter().copied().collect();
        while let Some(at) = work.pop() {
            if at == from {
                return true;
            }
            if !std::mem::replace(&mut seen[at], true) {
                work.extend(self.before[at].iter().copied());
            }
        }
        false
    }
}
