//! Trees from the root down: parses, and the hypotheses of a beam search.

use super::font::Font;
use super::scene::{Anchor, Color, FAINT, GRID, INK, Item, Scene};

/// Size of letters.
const SIZE: f64 = 13.0;
/// From one level to the next.
const LEVEL: f64 = 46.0;
/// Between neighbours.
const GAP: f64 = 14.0;

/// A node of a tree.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Node {
    /// What stands there; an empty one is a joint.
    pub label: String,
    /// A second line, small.
    pub note: String,
    /// Whether it is drawn faintly: a hypothesis that was dropped.
    pub faint: bool,
    /// Places of its children in the tree's list, from left to right.
    pub children: Vec<usize>,
}

/// A tree: its root is node 0, and a child's place is behind its parent's.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tree {
    /// Above it.
    pub title: String,
    /// All nodes.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Whether every child is behind its parent and has no other one.
    pub fn is_sound(&self) -> bool {
        let mut seen = vec![false; self.nodes.len()];
        self.nodes.iter().enumerate().all(|(at, node)| {
            node.children.iter().all(|&child| {
                child > at && child < seen.len() && !std::mem::replace(&mut seen[child], true)
            })
        })
    }

    /// Middle of each node, and the width of the whole: leaves beside each other, a parent over
    /// the middle of its children.
    fn places(&self, font: &Font) -> (Vec<(f64, usize)>, f64) {
        let count = self.nodes.len();
        let width = |node: &Node| {
            let note = font.width(&node.note, SIZE - 2.5);
            font.width(&node.label, SIZE).max(note).max(10.0)
        };
        let mut span = vec![0.0; count];
        for at in (0..count).rev() {
            let node = &self.nodes[at];
            let below: f64 = node.children.iter().map(|&child| span[child] + GAP).sum();
            span[at] = width(node).max(below - GAP);
        }
        // Left end of each node's room, and its level.
        let mut left = vec![(0.0, 0); count];
        for at in 0..count {
            let node = &self.nodes[at];
            let below: f64 = node.children.iter().map(|&child| span[child] + GAP).sum();
            let (start, level) = left[at];
            let mut x = start + (span[at] - (below - GAP)) / 2.0;
            for &child in &node.children {
                left[child] = (x, level + 1);
                x += span[child] + GAP;
            }
        }
        let mut places = vec![(0.0, 0); count];
        for at in (0..count).rev() {
            let node = &self.nodes[at];
            let middle = match (node.children.first(), node.children.last()) {
                (Some(&first), Some(&last)) => f64::midpoint(places[first].0, places[last].0),
                _ => left[at].0 + span[at] / 2.0,
            };
            places[at] = (middle, left[at].1);
        }
        (places, span.first().copied().unwrap_or(0.0))
    }

    /// The tree as shapes.
    pub(super) fn scene(&self) -> Scene {
        let font = Font::open();
        let (places, width) = self.places(&font);
        let levels = places.iter().map(|(_, level)| level + 1).max().unwrap_or(0);
        let top = if self.title.is_empty() { 26.0 } else { 56.0 };
        let title = font.width(&self.title, 15.0);
        let wide = width.max(title);
        let (margin, shift) = (24.0, (wide - width) / 2.0);
        let mut scene = Scene {
            width: wide + 2.0 * margin,
            height: top + LEVEL * levels.saturating_sub(1) as f64 + 34.0,
            items: Vec::new(),
        };
        let at = |node: usize| {
            let (x, level) = places[node];
            (margin + shift + x, top + LEVEL * level as f64)
        };
        for (parent, node) in self.nodes.iter().enumerate() {
            let (x, y) = at(parent);
            // A line begins under the letters, or at the joint itself.
            let from = match (node.label.is_empty(), node.note.is_empty()) {
                (true, true) => y,
                (_, true) => y + 7.0,
                (_, false) => y + 19.0,
            };
            for &child in &node.children {
                let (to_x, to_y) = at(child);
                let (color, width) = match self.nodes[child].faint {
                    true => (GRID, 1.2),
                    false => (Color::class(0), 1.6),
                };
                let end = match self.nodes[child].label.is_empty() {
                    true => to_y,
                    false => to_y - 12.0,
                };
                scene.line(vec![(x, from), (to_x, end)], width, color);
            }
        }
        for (place, node) in self.nodes.iter().enumerate() {
            let (x, y) = at(place);
            let color = if node.faint {
                FAINT.with_opacity(170)
            } else {
                INK
            };
            if node.label.is_empty() {
                scene.items.push(Item::Circle {
                    x,
                    y,
                    radius: 2.6,
                    color: Color::class(0),
                });
            } else {
                scene.text((x, y + 2.0), &node.label, SIZE, Anchor::Middle, color);
            }
            if !node.note.is_empty() {
                let size = SIZE - 2.5;
                let note = FAINT.with_opacity(if node.faint { 150 } else { 255 });
                scene.text((x, y + 15.0), &node.note, size, Anchor::Middle, note);
            }
        }
        if !self.title.is_empty() {
            let middle = scene.width / 2.0;
            scene.text((middle, 26.0), &self.title, 15.0, Anchor::Middle, INK);
        }
        scene
    }
}
