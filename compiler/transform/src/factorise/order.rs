//! The order in which a product of many factors is taken: a tree of products of two.
//!
//! Labels of one factor alone are summed at once (R8). Dynamic programming over connected
//! subsets of the factors (R9) finds the cheapest tree; where the term is unchanged when the two
//! copies of a square change places, a subset and its mirror image are one node and count once.
//! Of more factors than that can handle, the cheapest pairs are taken first (R10).

use super::cost::{Pair, pair_cost};
use super::nodes::{Nodes, is_view};
use super::twins::mirror;
use crate::rule::Rule;
use crate::term::{Term, TermFactor};
use aec_ir::{Label, Labels};
use aec_runtime::Elem;
use aec_syntax::Span;

/// Above this many factors pairs are chosen greedily.
const MAX_EXACT: usize = 13;
/// Labels that fit a [`Mask`]; what has more is multiplied from left to right.
const MAX_LABELS: usize = 128;

/// What building a term needs besides the term.
pub struct Builder<'a> {
    /// The graph.
    pub nodes: &'a mut Nodes,
    /// Element type of the result.
    pub elem: Elem,
    /// The script text that it stands for.
    pub span: Span,
    /// Splits that were tried.
    pub tried: &'a mut usize,
    /// Orders that cost more than this are of no use.
    pub bound: f64,
}

impl Builder<'_> {
    /// A view of the value of any term over nodes; none if it costs more than the bound.
    pub fn build(&mut self, mut term: Term) -> Option<Term> {
        self.nodes.rules.extend(term.normalize());
        self.nodes.sort_symmetric(&mut term);
        if term.coefficient == 0.0 {
            let mut zero = super::nodes::constant_view(&term.dims());
            zero.coefficient = 0.0;
            return Some(zero);
        }
        if is_view(&term) {
            return Some(term);
        }
        // Diagonals and repetitions are made of the finished product.
        let second: Labels = term.deltas.iter().map(|&(_, b)| b).collect();
        let repeated = term.repeated();
        let gone = |l: Label| second.contains(&l) || repeated.contains(&l);
        let kept: Labels = term.out.iter().copied().filter(|&l| !gone(l)).collect();
        let mut inner = term.clone();
        inner.deltas.clear();
        inner.coefficient = 1.0;
        inner.out.clone_from(&kept);
        for label in 0..inner.sizes.len() {
            if gone(label as Label) {
                inner.sizes[label] = 1;
            }
        }
        inner.normalize();
        let made = self.product(inner)?;
        let mut outer = term;
        outer.factors = vec![TermFactor {
            value: made.factors[0].value,
            labels: Labels::new(),
            power: 1,
        }];
        outer.factors[0].labels = made.factors[0]
            .labels
            .iter()
            .map(|&l| kept[l as usize])
            .collect();
        outer.coefficient *= made.coefficient;
        for label in 0..outer.sizes.len() {
            if !outer.out.contains(&(label as Label)) {
                outer.sizes[label] = 1;
            }
        }
        outer.normalize();
        self.nodes.sort_symmetric(&mut outer);
        Some(outer)
    }

    /// A product without coefficient, deltas and repetition, as a view of one node whose result
    /// labels are those of `term`.
    fn product(&mut self, mut term: Term) -> Option<Term> {
        if !term.is_summed() || term.factors.len() == 1 {
            return Some(self.nodes.product(term, self.elem, self.span));
        }
        for at in 0..term.factors.len() {
            self.sum_alone(&mut term, at);
        }
        let mut sigma = self.group(&mut term);
        while term.factors.len() > MAX_EXACT || term.sizes.len() > MAX_LABELS {
            if term.factors.len() <= 2 {
                break;
            }
            self.take_pair(&mut term, sigma.as_deref());
            sigma = mirror(self.nodes, &term);
        }
        let root = self.search(&term, sigma.as_deref())?;
        let mut view = Term {
            factors: vec![root],
            deltas: Vec::new(),
            out: term.out.clone(),
            coefficient: 1.0,
            sizes: term.sizes.clone(),
        };
        for label in 0..view.sizes.len() {
            if !view.out.contains(&(label as Label)) {
                view.sizes[label] = 1;
            }
        }
        view.normalize();
        Some(view)
    }

    /// The node of some factors under the given result labels, as a factor of the same term.
    fn node(&mut self, term: &Term, factors: Vec<TermFactor>, out: Labels) -> TermFactor {
        let mut part = Term {
            factors,
            deltas: Vec::new(),
            out: out.clone(),
            coefficient: 1.0,
            sizes: term.sizes.clone(),
        };
        for label in 0..part.sizes.len() as Label {
            if !out.contains(&label) && !part.carries(label) {
                part.sizes[label as usize] = 1;
            }
        }
        let view = match is_view_of_one(&part) {
            true => return part.factors.remove(0),
            false => self.nodes.product(part, self.elem, self.span),
        };
        TermFactor {
            value: view.factors[0].value,
            labels: view.factors[0]
                .labels
                .iter()
                .map(|&l| out[l as usize])
                .collect(),
            power: 1,
        }
    }

    /// R8: what one factor alone carries is summed there.
    fn sum_alone(&mut self, term: &mut Term, at: usize) {
        let mut needed = term.out.clone();
        for (other, factor) in term.factors.iter().enumerate() {
            if other != at {
                needed.extend(factor.labels.iter().copied());
            }
        }
        let factor = &term.factors[at];
        let mut kept = Labels::new();
        for &label in &factor.labels {
            if needed.contains(&label) && !kept.contains(&label) {
                kept.push(label);
            }
        }
        let repeats = kept.len() < factor.labels.len();
        if repeats {
            self.nodes.rules.insert(Rule::SumAlone);
            let factor = factor.clone();
            term.factors[at] = self.node(term, vec![factor], kept);
        }
    }

    /// Multiplies factors of equal labels, which any order would meet at some point, keeps the
    /// two copies of a square apart if the term has a mirror image (R2'), and takes the other
    /// powers. Gives the mirror.
    fn group(&mut self, term: &mut Term) -> Option<Vec<usize>> {
        let mut groups: Vec<(Labels, Vec<TermFactor>)> = Vec::new();
        for factor in &term.factors {
            let mut labels = factor.labels.clone();
            labels.sort_unstable();
            match groups.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, group)) => group.push(factor.clone()),
                None => groups.push((labels, vec![factor.clone()])),
            }
        }
        let parts: Vec<(Vec<TermFactor>, Labels)> = groups
            .into_iter()
            .map(|(labels, group)| {
                let inside = |f: &TermFactor| group.iter().any(|g| g == f);
                let needed = |l: &Label| {
                    let mut others = term.factors.iter().filter(|f| !inside(f));
                    term.out.contains(l) || others.any(|f| f.labels.contains(l))
                };
                let kept = group[0].labels.iter().copied().filter(needed).collect();
                debug_assert_eq!(labels.len(), group[0].labels.len());
                (group, kept)
            })
            .collect();
        let mut apart = term.clone();
        apart.factors.clear();
        for (group, kept) in &parts {
            let power = group
                .iter()
                .fold(0, |gcd, f| greatest_divisor(gcd, f.power));
            if power < 2 || kept.len() < group[0].labels.len() {
                let factor = self.group_node(term, group, kept);
                apart.factors.push(factor);
                continue;
            }
            let root: Vec<TermFactor> = group
                .iter()
                .map(|f| TermFactor {
                    power: f.power / power,
                    ..f.clone()
                })
                .collect();
            self.nodes.rules.insert(Rule::Powers);
            let factor = self.node(term, root, kept.clone());
            for _ in 0..power {
                apart.factors.push(factor.clone());
            }
        }
        let sigma = match apart.factors.len() <= 2 * MAX_EXACT {
            true => mirror(self.nodes, &apart),
            false => None,
        };
        if sigma.is_some() {
            *term = apart;
            return sigma;
        }
        let mut together = Vec::new();
        for (group, kept) in &parts {
            together.push(self.group_node(term, group, kept));
        }
        term.factors = together;
        None
    }

    /// The product of factors of equal labels, summed over those that nothing else has.
    fn group_node(&mut self, term: &Term, group: &[TermFactor], kept: &Labels) -> TermFactor {
        let is_summed = kept.len() < group[0].labels.len();
        let is_pair = group.len() == 2 && group.iter().all(|f| f.power == 1);
        if !is_summed || is_pair || group.len() == 1 {
            return self.node(term, group.to_vec(), kept.clone());
        }
        let product = self.node(term, group.to_vec(), group[0].labels.clone());
        self.node(term, vec![product], kept.clone())
    }

    /// Labels that the rest or the result needs of a set of factors, result labels first.
    fn kept(term: &Term, set: impl Fn(usize) -> bool) -> Labels {
        let carried = |l: Label, inside: bool| {
            let mut factors = term.factors.iter().enumerate();
            factors.any(|(at, f)| set(at) == inside && f.labels.contains(&l))
        };
        let mut kept: Labels = term
            .out
            .iter()
            .copied()
            .filter(|&l| carried(l, true))
            .collect();
        for (at, factor) in term.factors.iter().enumerate() {
            if !set(at) {
                continue;
            }
            for &label in &factor.labels {
                if !kept.contains(&label) && carried(label, false) {
                    kept.push(label);
                }
            }
        }
        kept
    }

    /// R10: replaces the pair that is cheapest to multiply, and its mirror image.
    fn take_pair(&mut self, term: &mut Term, sigma: Option<&[usize]>) {
        self.nodes.rules.insert(Rule::Greedy);
        let n = term.factors.len();
        let mut best = (f64::INFINITY, 0, 1);
        if term.sizes.len() <= MAX_LABELS {
            let sets = Sets::new(self.nodes, term, None);
            for a in 0..n {
                for b in a + 1..n {
                    let cost = sets.greedy_cost(a, b);
                    if cost < best.0 {
                        best = (cost, a, b);
                    }
                }
            }
        }
        let (_, a, b) = best;
        let mut pairs = vec![(a, b)];
        if let Some(sigma) = sigma {
            let (x, y) = (sigma[a].min(sigma[b]), sigma[a].max(sigma[b]));
            if ![a, b].contains(&x) && ![a, b].contains(&y) {
                pairs.push((x, y));
            }
        }
        let mut made = Vec::new();
        for &(x, y) in &pairs {
            let labels = Self::kept(term, |at| at == x || at == y);
            let factors = vec![term.factors[x].clone(), term.factors[y].clone()];
            made.push(self.node(term, factors, labels));
        }
        let gone: Vec<usize> = pairs.iter().flat_map(|&(x, y)| [x, y]).collect();
        let mut at = 0;
        term.factors.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
        term.factors.extend(made);
        for label in 0..term.sizes.len() as Label {
            if !term.out.contains(&label) && !term.carries(label) {
                term.sizes[label as usize] = 1;
            }
        }
    }

    /// R9: the product of all factors of `term` in the cheapest order.
    fn search(&mut self, term: &Term, sigma: Option<&[usize]>) -> Option<TermFactor> {
        let n = term.factors.len();
        if n > MAX_EXACT || term.sizes.len() > MAX_LABELS {
            // Two factors with very many labels.
            return Some(self.node(term, term.factors.clone(), term.out.clone()));
        }
        if n > 2 {
            self.nodes.rules.insert(Rule::Order);
        }
        let sets = Sets::new(self.nodes, term, sigma);
        let found = sets.search(self.bound, self.tried);
        let full = (1usize << n) - 1;
        let mut parts = Vec::new();
        let mut left = full;
        while left != 0 {
            let part = sets.component(left);
            if part.count_ones() > 1 && !found[sets.canon(part)].total.is_finite() {
                return None;
            }
            parts.push(self.tree(term, &sets, &found, part));
            left &= !part;
        }
        if parts.len() == 1 {
            return parts.pop();
        }
        Some(self.node(term, parts, term.out.clone()))
    }

    fn tree(&mut self, term: &Term, sets: &Sets, found: &[Found], set: usize) -> TermFactor {
        if set.count_ones() == 1 {
            return term.factors[set.trailing_zeros() as usize].clone();
        }
        // A mirror image is split as its original is.
        let canon = sets.canon(set);
        let split = match canon == set {
            true => found[canon].split,
            false => sets.image(found[canon].split),
        };
        let a = self.tree(term, sets, found, split);
        let b = self.tree(term, sets, found, set & !split);
        let labels = Self::kept(term, |at| set >> at & 1 == 1);
        let is_part = set.count_ones() < term.factors.len() as u32;
        if is_part && term.out.iter().any(|label| !labels.contains(label)) {
            self.nodes.rules.insert(Rule::Hoist);
        }
        self.node(term, vec![a, b], labels)
    }
}

fn is_view_of_one(part: &Term) -> bool {
    part.factors.len() == 1
        && part.factors[0].power == 1
        && part.factors[0].labels.len() == part.out.len()
        && part.out.iter().all(|l| part.factors[0].labels.contains(l))
}

fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_divisor(b, a % b)
    }
}

/// Labels of a set of factors, as bits.
type Mask = u128;

/// The best way to multiply a set.
#[derive(Clone, Default)]
struct Found {
    /// Cost of all products in `products`.
    total: f64,
    /// Cost of the last product.
    last: f64,
    /// One half of the last product.
    split: usize,
    /// The sets (originals of mirror images) that are multiplied on the way, ascending.
    products: Vec<u16>,
}

/// What is known of a subset of the factors.
#[derive(Clone, Default)]
struct Subset {
    /// Labels of its factors.
    carried: Mask,
    /// Labels that the rest or the result needs of its product; of one factor, all.
    labels: Mask,
    /// Elements of a tensor with these.
    elements: f64,
    /// Factors that share a label with one of it.
    near: usize,
    /// The mirror image, or itself where there is none.
    image: usize,
    /// Whether a gradient flows to any of it.
    active: bool,
    /// Whether labels join its factors.
    joined: bool,
}

/// Subsets of the factors of a term, as bit sets.
struct Sets {
    n: usize,
    sigma: Option<Vec<usize>>,
    own: Vec<Mask>,
    active: Vec<bool>,
    value: Vec<aec_ir::Value>,
    sizes: Vec<f64>,
    out: Mask,
    neighbours: Vec<usize>,
}

impl Sets {
    fn new(nodes: &Nodes, term: &Term, sigma: Option<&[usize]>) -> Sets {
        let mask = |labels: &[Label]| labels.iter().fold(0, |m: Mask, &l| m | 1 << l);
        let own: Vec<Mask> = term.factors.iter().map(|f| mask(&f.labels)).collect();
        let neighbours = (0..own.len())
            .map(|a| {
                let near = (0..own.len()).filter(|&b| own[a] & own[b] != 0);
                near.fold(0, |set, b| set | 1 << b)
            })
            .collect();
        Sets {
            n: own.len(),
            sigma: sigma.map(<[usize]>::to_vec),
            active: term
                .factors
                .iter()
                .map(|f| nodes.nodes[f.value].active)
                .collect(),
            value: term.factors.iter().map(|f| f.value).collect(),
            sizes: term.sizes.iter().map(|&s| s as f64).collect(),
            out: mask(&term.out),
            own,
            neighbours,
        }
    }

    fn elements(&self, mut labels: Mask) -> f64 {
        let mut elements = 1.0;
        while labels != 0 {
            elements *= self.sizes[labels.trailing_zeros() as usize];
            labels &= labels - 1;
        }
        elements
    }

    fn image(&self, set: usize) -> usize {
        match &self.sigma {
            Some(sigma) => (0..self.n)
                .filter(|at| set >> at & 1 == 1)
                .fold(0, |image, at| image | 1 << sigma[at]),
            None => set,
        }
    }

    fn canon(&self, set: usize) -> usize {
        set.min(self.image(set))
    }

    fn carried(&self, set: usize) -> Mask {
        (0..self.n)
            .filter(|at| set >> at & 1 == 1)
            .fold(0, |m, at| m | self.own[at])
    }

    /// The factors that are joined by labels with the lowest of a set, within it.
    fn component(&self, set: usize) -> usize {
        let mut reached = set & set.wrapping_neg();
        loop {
            let mut next = reached;
            let mut left = reached;
            while left != 0 {
                next |= self.neighbours[left.trailing_zeros() as usize] & set;
                left &= left - 1;
            }
            if next == reached {
                return reached;
            }
            reached = next;
        }
    }

    /// `elements` are those of both factors and of the result together.
    fn cost(&self, [a, b, result]: [Mask; 3], elements: f64, active: f64) -> f64 {
        let matrix = a & b & !result != 0 && a & !b & result != 0 && b & !a & result != 0;
        let sides = match matrix {
            true => [a & !b, b & !a, a & b & !result, a & b & result].map(|m| self.elements(m)),
            false => [1.0; 4],
        };
        pair_cost(&Pair {
            points: self.elements(a | b),
            sides,
            elements,
            is_matrix_product: matrix,
            active,
        })
    }

    fn greedy_cost(&self, a: usize, b: usize) -> f64 {
        let full = (1usize << self.n) - 1;
        let rest = self.carried(full & !(1 << a) & !(1 << b)) | self.out;
        let joined = self.own[a] & self.own[b] != 0;
        let active = f64::from(u8::from(self.active[a])) + f64::from(u8::from(self.active[b]));
        let masks = [self.own[a], self.own[b], (self.own[a] | self.own[b]) & rest];
        let elements = masks.map(|mask| self.elements(mask)).iter().sum();
        let cost = self.cost(masks, elements, active);
        // What shares no label is left for the end.
        if joined { cost } else { cost * 1e6 }
    }

    /// What is known of each subset before any product: all from what is known of smaller ones.
    fn table(&self) -> Vec<Subset> {
        let full = (1usize << self.n) - 1;
        let mut table = vec![Subset::default(); full + 1];
        for set in 1..=full {
            let (first, rest) = (set.trailing_zeros() as usize, set & (set - 1));
            let smaller = &table[rest];
            table[set] = Subset {
                carried: smaller.carried | self.own[first],
                near: smaller.near | self.neighbours[first],
                image: match &self.sigma {
                    Some(sigma) => smaller.image | 1 << sigma[first],
                    None => set,
                },
                active: smaller.active || self.active[first],
                ..Subset::default()
            };
        }
        for set in 1..=full {
            let outside = table[full & !set].carried | self.out;
            let mut reached = set & set.wrapping_neg();
            loop {
                let next = (reached | table[reached].near) & set;
                if next == reached {
                    break;
                }
                reached = next;
            }
            let subset = &mut table[set];
            subset.labels = match rest_of(set) {
                0 => subset.carried,
                _ => subset.carried & outside,
            };
            subset.elements = self.elements(subset.labels);
            subset.joined = reached == set;
        }
        table
    }

    fn search(&self, bound: f64, tried: &mut usize) -> Vec<Found> {
        let table = self.table();
        let full = table.len() - 1;
        let canon = |set: usize| set.min(table[set].image);
        let mut found: Vec<Found> = vec![Found::default(); full + 1];
        // What a set costs (of mirror images the original has it), infinite where it is of no use.
        let mut total = vec![f64::INFINITY; full + 1];
        // The sets that are of use, by their lowest factor, ascending.
        let mut halves: Vec<Vec<usize>> = vec![Vec::new(); self.n];
        for set in 1..=full {
            let lowest = set & set.wrapping_neg();
            let first = set.trailing_zeros() as usize;
            let others = set & !lowest;
            if others == 0 {
                total[set] = 0.0;
            } else if canon(set) == set && table[set].joined {
                let mut best = Found {
                    total: f64::INFINITY,
                    ..Found::default()
                };
                let mut consider = |part: usize| {
                    let rest = set & !part;
                    let halves = [total[canon(part)], total[canon(rest)]];
                    if halves.iter().all(|&half| half < bound) {
                        *tried += 1;
                        let sets = [part, rest, set];
                        self.consider(&table, &found, sets, halves, bound, &mut best);
                    }
                };
                // Each split once: the half that has the lowest factor, from large to small. Few
                // sets are joined where factors stand in a row, and nearly all where each has
                // something with each.
                if halves[first].len() < 1 << others.count_ones() {
                    let fitting = halves[first].iter().rev();
                    for &part in fitting.filter(|&part| part & !set == 0) {
                        consider(part);
                    }
                } else {
                    let mut chosen = others;
                    while chosen != 0 {
                        chosen = (chosen - 1) & others;
                        consider(chosen | lowest);
                    }
                }
                best.products.push(set as u16);
                best.products.sort_unstable();
                total[set] = best.total;
                found[set] = best;
            }
            if total[canon(set)] < bound {
                halves[first].push(set);
            }
        }
        found
    }

    /// Splits a set into two halves of the given costs, if that is cheaper than the best so far.
    fn consider(
        &self,
        table: &[Subset],
        found: &[Found],
        [part, rest, set]: [usize; 3],
        [total_part, total_rest]: [f64; 2],
        bound: f64,
        best: &mut Found,
    ) {
        // Halves without a mirror image share no product, but their costs may be added up in
        // another order than below.
        let least = match self.sigma {
            Some(_) => total_part.max(total_rest),
            None => (total_part + total_rest) * (1.0 - 1e-9),
        };
        let limit = best.total.min(bound);
        if least >= limit {
            return;
        }
        let (left, right) = (&table[part], &table[rest]);
        let (a, b) = (part.min(left.image), rest.min(right.image));
        let single = |set: usize| match rest_of(set) {
            0 => Some(self.value[set.trailing_zeros() as usize]),
            _ => None,
        };
        let is_same = a == b || (single(part).is_some() && single(part) == single(rest));
        let count = match is_same {
            true => u8::from(left.active),
            false => u8::from(left.active) + u8::from(right.active),
        };
        let last = self.cost(
            [left.labels, right.labels, table[set].labels],
            left.elements + right.elements + table[set].elements,
            f64::from(count),
        );
        if last + least >= limit {
            return;
        }
        let products = union(&found[a].products, &found[b].products);
        let shared: f64 = products.iter().map(|&s| found[s as usize].last).sum();
        if last + shared < limit {
            *best = Found {
                total: last + shared,
                last,
                split: part,
                products,
            };
        }
    }
}

/// A set without its lowest factor.
fn rest_of(set: usize) -> usize {
    set & (set - 1)
}

fn union(a: &[u16], b: &[u16]) -> Vec<u16> {
    let mut all = Vec::with_capacity(a.len() + b.len() + 1);
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let take_a = j == b.len() || (i < a.len() && a[i] <= b[j]);
        if take_a {
            if j < b.len() && a[i] == b[j] {
                j += 1;
            }
            all.push(a[i]);
            i += 1;
        } else {
            all.push(b[j]);
            j += 1;
        }
    }
    all
}
