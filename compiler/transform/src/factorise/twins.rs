//! The mirror of a term: an exchange of bound labels that leaves it as it is, such as that of
//! the two copies of a square (R7).

use super::nodes::Nodes;
use crate::term::Term;
use aec_ir::{Label, Labels};

/// The search gives up after so many steps.
const MAX_STEPS: usize = 2000;

/// For each factor its image under an exchange that moves some label and fixes the result's;
/// none if there is no such exchange.
pub fn mirror(nodes: &Nodes, term: &Term) -> Option<Vec<usize>> {
    let mut search = Search {
        nodes,
        term,
        image: vec![None; term.sizes.len()],
        sigma: vec![None; term.factors.len()],
        steps: 0,
    };
    for &label in &term.out {
        search.image[label as usize] = Some(label);
    }
    search
        .factor(0)
        .then(|| search.sigma.iter().flatten().copied().collect())
}

struct Search<'a> {
    nodes: &'a Nodes,
    term: &'a Term,
    image: Vec<Option<Label>>,
    sigma: Vec<Option<usize>>,
    steps: usize,
}

impl Search<'_> {
    fn factor(&mut self, at: usize) -> bool {
        if at == self.sigma.len() {
            let mut moved = self.image.iter().enumerate();
            return moved.any(|(label, image)| image.is_some_and(|i| usize::from(i) != label));
        }
        if self.sigma[at].is_some() {
            return self.factor(at + 1);
        }
        let count = self.sigma.len();
        // Another one first: staying in place explains nothing.
        for other in (at + 1..count).chain([at]) {
            let (a, b) = (&self.term.factors[at], &self.term.factors[other]);
            if self.sigma[other].is_some() || a.value != b.value || a.power != b.power {
                continue;
            }
            for labels in self.readings(&b.labels, b.value) {
                self.steps += 1;
                if self.steps > MAX_STEPS {
                    return false;
                }
                let saved = self.image.clone();
                if self.exchange(&a.labels, &labels) {
                    (self.sigma[at], self.sigma[other]) = (Some(other), Some(at));
                    if self.factor(at + 1) {
                        return true;
                    }
                    (self.sigma[at], self.sigma[other]) = (None, None);
                }
                self.image = saved;
            }
        }
        false
    }

    /// The labels of a factor, with symmetric axes either way round.
    fn readings(&self, labels: &Labels, value: aec_ir::Value) -> Vec<Labels> {
        let mut readings = vec![labels.clone()];
        for &(a, b) in &self.nodes.nodes[value].symmetric {
            let mut other = labels.clone();
            other.swap(a, b);
            readings.push(other);
        }
        readings
    }

    fn exchange(&mut self, from: &[Label], to: &[Label]) -> bool {
        from.iter().zip(to).all(|(&x, &y)| {
            for (x, y) in [(x, y), (y, x)] {
                match self.image[x as usize] {
                    Some(known) if known != y => return false,
                    Some(_) => {}
                    None => self.image[x as usize] = Some(y),
                }
            }
            true
        })
    }
}
