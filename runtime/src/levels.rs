//! The inner nodes of a batch of binary trees, in rounds of nodes that do not need one another.
//!
//! A round takes any nodes whose children came in earlier rounds, those furthest below their root
//! first: for trees no order needs fewer rounds (T. C. Hu, *Parallel sequencing and assembly line
//! problems*, 1961). Rounds are as many as the highest tree is high, or as many as it takes to hold
//! all nodes, or little more.

/// No node.
const NONE: u32 = u32::MAX;

/// A batch of binary trees with room for `nodes` inner nodes each. Places of a tree are its leaves,
/// `nodes + 1` of them, then its inner nodes, children before their parents.
#[derive(Clone, Copy)]
pub struct Trees<'a> {
    /// Places of the left children, tree by tree.
    pub left: &'a [i64],
    /// Places of the right children.
    pub right: &'a [i64],
    /// How many inner nodes of each tree count.
    pub count: &'a [i64],
    /// Room for inner nodes.
    pub nodes: usize,
}

/// Rounds that any batch of `trees` trees with room for `nodes` inner nodes needs at most, `rows`
/// nodes a round. By Hu's theorem the rounds are at most `k + ⌈(nodes deeper than k) / rows⌉` for
/// some k, and a tree with nodes deeper than k has at least k others.
pub fn most_rounds(trees: usize, nodes: usize, rows: usize) -> usize {
    match trees * nodes {
        0 => 0,
        all => nodes.max(all.div_ceil(rows.max(1))),
    }
}

/// Memory of [`order`], kept from call to call.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    parent: Vec<u32>,
    depth: Vec<u32>,
    /// Children that have not come yet.
    waiting: Vec<u8>,
    /// The queue of nodes that are ready at each depth: first, last, and the next of each node.
    first: Vec<u32>,
    last: Vec<u32>,
    next: Vec<u32>,
}

impl Scratch {
    fn reset(&mut self, nodes: usize, depths: usize) {
        for list in [&mut self.parent, &mut self.next] {
            list.clear();
            list.resize(nodes, NONE);
        }
        for list in [&mut self.first, &mut self.last] {
            list.clear();
            list.resize(depths, NONE);
        }
        self.depth.clear();
        self.depth.resize(nodes, 0);
        self.waiting.clear();
        self.waiting.resize(nodes, 0);
    }

    fn push(&mut self, id: u32) {
        let depth = self.depth[id as usize] as usize;
        match self.first[depth] {
            NONE => self.first[depth] = id,
            _ => self.next[self.last[depth] as usize] = id,
        }
        self.last[depth] = id;
    }

    fn pop(&mut self, depth: usize) -> Option<u32> {
        let id = self.first[depth];
        (id != NONE).then(|| {
            self.first[depth] = self.next[id as usize];
            id
        })
    }

    /// Parents and depths; false if this is no tree: a child that stands behind its parent, or
    /// has two.
    fn climb(&mut self, trees: Trees<'_>) -> bool {
        let room = trees.nodes;
        for (tree, &count) in trees.count.iter().enumerate() {
            let base = tree * room;
            for node in (0..real(count, room)).rev() {
                let id = base + node;
                if self.parent[id] != NONE {
                    self.depth[id] = self.depth[self.parent[id] as usize] + 1;
                }
                for place in [trees.left[id], trees.right[id]] {
                    let child = place - room as i64 - 1;
                    if child < 0 {
                        continue;
                    }
                    if child >= node as i64 {
                        return false;
                    }
                    let child = base + child as usize;
                    if self.parent[child] == NONE {
                        self.parent[child] = id as u32;
                        self.waiting[id] += 1;
                    } else if self.parent[child] != id as u32 {
                        return false;
                    }
                }
            }
        }
        true
    }
}

fn real(count: i64, room: usize) -> usize {
    usize::try_from(count).unwrap_or(0).min(room)
}

/// Writes the rounds to `out`, `[3, most_rounds, rows]`: which node, of which tree, and 1 where that
/// is a node of the round; else 0, and the node is one that counts, the last before it, or the first
/// place if no node counts. Of what is no tree all nodes are -1.
pub fn order(trees: Trees<'_>, rows: usize, out: &mut [i64], scratch: &mut Scratch) {
    let (room, plane) = (trees.nodes, out.len() / 3);
    let (node, rest) = out.split_at_mut(plane);
    let (tree, is_real) = rest.split_at_mut(plane);
    is_real.fill(0);
    tree.fill(0);
    scratch.reset(trees.left.len(), room);
    if !scratch.climb(trees) {
        node.fill(-1);
        return;
    }
    let mut left = 0;
    for (tree, &count) in trees.count.iter().enumerate() {
        for node in 0..real(count, room) {
            let id = tree * room + node;
            left += 1;
            if scratch.waiting[id] == 0 {
                scratch.push(id as u32);
            }
        }
    }
    let (mut at, mut last) = (0, 0);
    let mut deepest = room;
    while left > 0 {
        let begin = at;
        let mut depth = deepest;
        while at < begin + rows && depth > 0 {
            match scratch.pop(depth - 1) {
                None => {
                    if at == begin {
                        deepest = depth - 1;
                    }
                    depth -= 1;
                }
                Some(id) => {
                    last = id as usize;
                    node[at] = id.into();
                    is_real[at] = 1;
                    at += 1;
                }
            }
        }
        left -= at - begin;
        for &id in &node[begin..at] {
            let parent = scratch.parent[id as usize];
            if parent != NONE {
                scratch.waiting[parent as usize] -= 1;
                if scratch.waiting[parent as usize] == 0 {
                    scratch.push(parent);
                }
            }
        }
        node[at..begin + rows].fill(last as i64);
        at = begin + rows;
    }
    node[at..].fill(last as i64);
    // Divided as u32, which takes a third of the time.
    let room = u32::try_from(room).unwrap_or(NONE).max(1);
    for (node, tree) in node.iter_mut().zip(tree) {
        let id = *node as u32;
        *tree = (id / room).into();
        *node = (id % room).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox;

    /// A forest of random trees: `shape` 0 joins at random, 1 leans to the left, 2 joins level by
    /// level.
    struct Forest {
        left: Vec<i64>,
        right: Vec<i64>,
        count: Vec<i64>,
        nodes: usize,
    }

    fn forest(trees: usize, nodes: usize, seed: u64) -> Forest {
        let mut state = seed;
        let mut random = |n: usize| {
            state += 1;
            philox::key64(state, 7) as usize % n
        };
        let mut all = Forest {
            left: vec![0; trees * nodes],
            right: vec![0; trees * nodes],
            count: Vec::new(),
            nodes,
        };
        for tree in 0..trees {
            let count = random(nodes + 1);
            let shape = random(3);
            let mut parts: Vec<i64> = (0..=count as i64).collect();
            for node in 0..count {
                let at = match shape {
                    0 => random(parts.len() - 1),
                    1 => 0,
                    _ => 0,
                };
                let (l, r) = (parts.remove(at), parts.remove(at));
                all.left[tree * nodes + node] = l;
                all.right[tree * nodes + node] = r;
                let place = (nodes + 1 + node) as i64;
                match shape {
                    2 => parts.push(place),
                    _ => parts.insert(at, place),
                }
            }
            all.count.push(count as i64);
        }
        all
    }

    fn ordered(forest: &Forest, rows: usize) -> Vec<i64> {
        let most = most_rounds(forest.count.len(), forest.nodes, rows);
        let mut out = vec![-7; 3 * most * rows];
        let trees = Trees {
            left: &forest.left,
            right: &forest.right,
            count: &forest.count,
            nodes: forest.nodes,
        };
        order(trees, rows, &mut out, &mut Scratch::default());
        out
    }

    #[test]
    fn children_come_before_their_parents_and_each_node_once() {
        for seed in 0..400 {
            let (trees, nodes) = (1 + seed as usize % 9, 1 + seed as usize % 23);
            let forest = forest(trees, nodes, 1000 * seed);
            for rows in [1, 2, 3, 8, 40] {
                let out = ordered(&forest, rows);
                let plane = out.len() / 3;
                let mut round_of = vec![None; trees * nodes];
                for at in 0..plane {
                    let (node, tree, real) = (out[at], out[plane + at], out[2 * plane + at]);
                    let id = tree as usize * nodes + node as usize;
                    if real == 1 {
                        assert_eq!(round_of[id], None);
                        round_of[id] = Some(at / rows);
                    } else {
                        // What stands in for nothing has come before.
                        let nothing = forest.count.iter().all(|&count| count == 0);
                        assert!(nothing || round_of[id].is_some_and(|round| round <= at / rows));
                    }
                }
                for tree in 0..trees {
                    for node in 0..nodes {
                        let id = tree * nodes + node;
                        let counts = (node as i64) < forest.count[tree];
                        assert_eq!(round_of[id].is_some(), counts);
                        for place in [forest.left[id], forest.right[id]] {
                            if counts && place > nodes as i64 {
                                let child = tree * nodes + place as usize - nodes - 1;
                                assert!(round_of[child] < round_of[id]);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rounds_are_as_few_as_trees_allow() {
        // Hu's bound from below, which the order must reach.
        for seed in 0..400 {
            let (trees, nodes) = (1 + seed as usize % 9, 1 + seed as usize % 23);
            let forest = forest(trees, nodes, 77 * seed);
            let mut depths = vec![0; trees * nodes];
            for tree in 0..trees {
                for node in (0..forest.count[tree] as usize).rev() {
                    let id = tree * nodes + node;
                    for place in [forest.left[id], forest.right[id]] {
                        if place > nodes as i64 {
                            depths[tree * nodes + place as usize - nodes - 1] = depths[id] + 1;
                        }
                    }
                }
            }
            let real = |id: &usize| ((id % nodes) as i64) < forest.count[id / nodes];
            for rows in [1, 2, 3, 8, 40] {
                let deeper = |k: usize| {
                    let ids = (0..trees * nodes).filter(real);
                    ids.filter(|&id| depths[id] >= k).count()
                };
                let want = (0..=nodes)
                    .filter(|&k| deeper(k) > 0)
                    .map(|k| k + deeper(k).div_ceil(rows))
                    .max()
                    .unwrap_or(0);
                let out = ordered(&forest, rows);
                let plane = out.len() / 3;
                let first = (0..plane).step_by(rows);
                let rounds = first.filter(|at| out[2 * plane + at] == 1).count();
                assert_eq!(rounds, want, "seed {seed}, {rows} rows");
            }
        }
    }

    #[test]
    fn what_is_no_tree_has_no_order() {
        let order_of = |left: &[i64], right: &[i64]| {
            let nodes = left.len();
            ordered(
                &Forest {
                    left: left.to_vec(),
                    right: right.to_vec(),
                    count: vec![nodes as i64],
                    nodes,
                },
                2,
            )
        };
        // Places 0 to 3 are leaves, 4 to 6 inner nodes.
        assert_eq!(order_of(&[0, 2, 4], &[1, 3, 5])[..6], [0, 1, 2, 2, 2, 2]);
        assert!(order_of(&[0, 4, 4], &[1, 3, 5]).contains(&-1));
        assert!(order_of(&[5, 2, 4], &[1, 3, 5]).contains(&-1));
        // The same child on both sides has one parent.
        assert!(!order_of(&[0, 4, 5], &[1, 4, 3]).contains(&-1));
    }
}
