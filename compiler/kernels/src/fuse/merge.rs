//! Which clusters become one kernel.
//!
//! A merge must be legal (no cycle, no value at another place than where it is computed, a space
//! that both can run) and no worse by the estimated cost. A pair that failed is tried again only
//! after one of the two has changed.

use super::graph::{Cluster, ClusterKind, Graph, distinct};
use crate::kernel::{Action, Built, Spec, in_place};
use aec_ir::Value;

/// Kernels do not merge beyond these.
const MAX_ROOTS: usize = 16;
const MAX_BUFFERS: usize = 28;
/// What a kernel costs besides its own code, as a step of the plan: so many cycles.
const STEP: f64 = 60.0;
/// Fewest entries of a row that a line is divided into.
const LEAST_ROW: usize = 64;

impl Graph<'_> {
    /// Merges until no pair is left: producers with consumers first, among them what sits on a
    /// product, as its epilogue costs no pass over memory.
    pub(super) fn merge_all(&mut self) {
        loop {
            let mut changed = false;
            for at in 0..self.clusters.len() {
                if !self.clusters[at].alive {
                    continue;
                }
                for producer in self.producers(at) {
                    changed |=
                        self.try_merge(producer, at, "its consumer's values stay in registers");
                    if !self.clusters[at].alive {
                        break;
                    }
                }
            }
            if !changed {
                changed = self.merge_neighbours();
            }
            if !changed {
                return;
            }
        }
    }

    /// Merges plain clusters over the same space that read the same.
    fn merge_neighbours(&mut self) -> bool {
        let mut changed = false;
        for a in 0..self.clusters.len() {
            let mut last = a;
            while let Some(b) = self.next_neighbour(a, last) {
                last = b;
                changed |= self.try_merge(a, b, "both read the same");
            }
        }
        changed
    }

    /// The next cluster after `last` that reads what `a` reads.
    fn next_neighbour(&self, a: usize, last: usize) -> Option<usize> {
        let x = &self.clusters[a];
        if !x.alive || x.kind != ClusterKind::Plain {
            return None;
        }
        let fits = |b: &usize| {
            let y = &self.clusters[*b];
            *b > last
                && y.alive
                && y.kind == ClusterKind::Plain
                && common_space(&x.spec.space, &y.spec.space).is_some()
        };
        let size: usize = x.spec.space.iter().product();
        let shared = x.loads.iter().filter(|v| {
            let len = self.prepared.f.ty(**v).len();
            len > 1 && 2 * len >= size
        });
        let beside = shared
            .filter_map(|&v| self.readers[v].iter().copied().find(fits))
            .min();
        let tiny = (last + 1..self.clusters.len())
            .filter(|_| size <= 1)
            .find(|b| self.clusters[*b].spec.space == x.spec.space && fits(b));
        beside.into_iter().chain(tiny).min()
    }

    /// Merges `b` into `a` if that is legal and no worse.
    fn try_merge(&mut self, a: usize, b: usize, reason: &str) -> bool {
        let (x, y) = (&self.clusters[a], &self.clusters[b]);
        if a == b || !x.alive || !y.alive {
            return false;
        }
        let key = (a, x.version, b, y.version);
        if self.failed.contains(&key) {
            return false;
        }
        match self.merged(a, b, reason) {
            Some(merged) => {
                for value in merged.spec.roots() {
                    self.owner[value] = Some(a);
                }
                let old = std::mem::replace(&mut self.clusters[a], merged).loads;
                self.clusters[b].alive = false;
                let gone = std::mem::take(&mut self.clusters[b].loads);
                for v in old.into_iter().chain(gone) {
                    self.readers[v].retain(|at| *at != a && *at != b);
                }
                for &v in &self.clusters[a].loads {
                    let of = &mut self.readers[v];
                    of.insert(of.partition_point(|&at| at < a), a);
                }
                self.rise(a);
                true
            }
            None => {
                self.failed.insert(key);
                false
            }
        }
    }

    /// The cluster that computes what `a` and `b` do, if that is legal and no worse.
    fn merged(&self, a: usize, b: usize, reason: &str) -> Option<Cluster> {
        let (x, y) = (&self.clusters[a], &self.clusters[b]);
        let space = self.joint_space(x, y)?;
        if !self.may_join(a, b) {
            return None;
        }
        let product = match x.kind {
            ClusterKind::Product(v) => Some(v),
            ClusterKind::Plain | ClusterKind::Special(_) => None,
        };
        let mut values: Vec<Value> = product.into_iter().collect();
        for value in x.spec.roots().into_iter().chain(y.spec.roots()) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        if self.overwrites(&values) && (self.guards_need(a) || self.guards_need(b)) {
            return None;
        }
        let spec = Spec {
            space,
            actions: self.root_actions(&values, &[a, b]),
            tile: x.spec.tile,
        };
        let built = self.build(&spec).ok()?;
        if !pays(x, y, &built) || self.loses_place(&values, &built, a, b) {
            return None;
        }
        let operands = product.map(|v| self.prepared.products[&v].operands());
        let mut loads = distinct(operands.into_iter().flatten().chain(built.loads()));
        loads.retain(|v| !values.contains(v) || self.reads_as_operand(a, *v));
        Some(Cluster {
            spec,
            kind: x.kind,
            built: Some(built),
            loads,
            reasons: self.reasons(x, y, reason),
            alive: true,
            version: x.version.max(y.version) + 1,
        })
    }

    /// The space of what two clusters become: that of `x` if it is a product or if linear algebra is
    /// written out in it; `None` if they have none in common.
    fn joint_space(&self, x: &Cluster, y: &Cluster) -> Option<Vec<usize>> {
        let (of_x, of_y) = (&x.spec.space, &y.spec.space);
        let written = |c: &Cluster| c.spec.written(&self.prepared.f).is_some();
        match (x.kind, y.kind) {
            (ClusterKind::Special(_), _)
            | (_, ClusterKind::Special(_) | ClusterKind::Product(_)) => None,
            (ClusterKind::Product(_), ClusterKind::Plain) => {
                // The product's space, or that of its rows.
                let (_, rows) = x.spec.tile?;
                let fits = of_y == of_x || of_y[..] == of_x[..rows];
                (fits && !written(x) && !written(y)).then(|| of_x.clone())
            }
            (ClusterKind::Plain, ClusterKind::Plain) => {
                let space = common_space(of_x, of_y)?;
                match [written(x), written(y)] {
                    [false, false] => Some(space),
                    [true, true] if of_x != of_y => None,
                    _ if !begin_alike(of_x, of_y) => None,
                    [true, _] => Some(of_x.clone()),
                    [false, true] => Some(of_y.clone()),
                }
            }
        }
    }

    /// Whether nothing but their spaces and the cost keeps two clusters apart.
    fn may_join(&self, a: usize, b: usize) -> bool {
        let (x, y) = (&self.clusters[a], &self.clusters[b]);
        let actions = x.spec.actions.len() + y.spec.actions.len();
        if actions > MAX_ROOTS || x.loads.len() + y.loads.len() + actions > MAX_BUFFERS {
            return false;
        }
        if self.needs_indirectly(b, a) || self.needs_indirectly(a, b) {
            return false;
        }
        let finds_rows = |from: usize, by: &Cluster| {
            by.loads
                .iter()
                .any(|v| self.roots.places.contains(*v) && self.owner[*v] == Some(from))
        };
        // Sums that the product takes along are there when all of its tiles are.
        let waits_for_sums = || {
            y.loads
                .iter()
                .any(|v| self.rides.contains_key(v) && self.owner[*v] == Some(a))
        };
        // A scalar that others wait for must not wait for a large kernel.
        let count = |c: &Cluster| -> usize { c.spec.space.iter().product() };
        let holds_up = |small: &Cluster, large: &Cluster| {
            count(small) <= 1
                && count(large) > 1
                && small.spec.actions.iter().any(|action| match action {
                    Action::Root { value, .. } => self.needs_memory(*value, &[a, b]),
                    Action::Place { .. }
                    | Action::Fill { .. }
                    | Action::Scatter { .. }
                    | Action::Put(_)
                    | Action::CumSum(_) => true,
                })
                && small
                    .loads
                    .iter()
                    .all(|v| self.prepared.f.ty(*v).len() <= 1)
        };
        !finds_rows(a, y)
            && !finds_rows(b, x)
            && !waits_for_sums()
            && !holds_up(x, y)
            && !holds_up(y, x)
    }

    /// Why the kernel of two clusters is what it is.
    fn reasons(&self, x: &Cluster, y: &Cluster, reason: &str) -> Vec<String> {
        let roots = y.spec.roots();
        let names: Vec<String> = roots.iter().map(|&v| self.op_name(v)).collect();
        let names = names.join(", ");
        let joined = match x.kind {
            ClusterKind::Product(_) => format!("{names} runs on the product's tiles"),
            ClusterKind::Plain | ClusterKind::Special(_) => format!("{names} fused: {reason}"),
        };
        let mut reasons = x.reasons.clone();
        for reason in y.reasons.iter().chain([&joined]) {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
        reasons
    }

    /// Pairs (param, result) that share memory, of these results.
    fn aliases<'v>(&'v self, values: &'v [Value]) -> impl Iterator<Item = (Value, Value)> + 'v {
        let f = &self.prepared.f;
        f.aliases
            .iter()
            .map(|&(param, result)| (f.params[param], f.results[result]))
            .filter(|(_, v)| values.contains(v))
    }

    /// Whether one of the values overwrites a param.
    fn overwrites(&self, values: &[Value]) -> bool {
        self.aliases(values).next().is_some()
    }

    /// Whether a guard's value depends on a cluster: params may only be overwritten later.
    fn guards_need(&self, at: usize) -> bool {
        self.prepared.f.guards.iter().any(|guard| {
            self.owner[guard.value].is_some_and(|owner| owner == at || self.needs(owner, at))
        })
    }

    /// Whether a result that could be written in place before cannot in the merged kernel.
    fn loses_place(&self, values: &[Value], built: &Built, a: usize, b: usize) -> bool {
        self.aliases(values).any(|(p, v)| {
            let operand = self.reads_as_operand(a, p);
            let before = [a, b].iter().any(|&at| {
                let own = self.clusters[at].built.as_ref();
                own.is_some_and(|own| own.stores().any(|s| s == v) && in_place(own, p, v))
            });
            before && (operand || !in_place(built, p, v))
        })
    }

    fn op_name(&self, v: Value) -> String {
        let f = &self.prepared.f;
        match f.def_inst(v) {
            Some(inst) => f.insts[inst].op.name().to_string(),
            None => self.prepared.value_name(v),
        }
    }
}

/// Whether the kernel of two clusters costs no more than theirs.
fn pays(x: &Cluster, y: &Cluster, built: &Built) -> bool {
    if matches!(x.kind, ClusterKind::Product(_)) {
        // A line of a tile is too short to draw for: a number takes twice as long there.
        return !built.kernel.draws();
    }
    let (Some(x), Some(y)) = (&x.built, &y.built) else {
        return false;
    };
    // Threads share out what is worth it; a merge must not lose that.
    let shared = x.parallel.is_some() || y.parallel.is_some();
    built.cost <= 1.15 * (x.cost + y.cost) + STEP && (!shared || built.parallel.is_some())
}

/// Whether one space is the beginning of the other.
fn begin_alike(a: &[usize], b: &[usize]) -> bool {
    let n = a.len().min(b.len());
    a[..n] == b[..n]
}

/// The space in which kernels over two spaces can run as one: the longer one if the other is its
/// beginning; entries in a row as the rows that the other has them in, or sums them by.
fn common_space(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    if begin_alike(a, b) {
        return Some(if a.len() >= b.len() { a } else { b }.to_vec());
    }
    let rows = |line: &[usize], other: &[usize]| match *line {
        [len] if other.iter().product::<usize>() == len => Some(other.to_vec()),
        [len] => match *other {
            [rows] if rows > 1 && len.is_multiple_of(rows) && len / rows >= LEAST_ROW => {
                Some(vec![rows, len / rows])
            }
            _ => None,
        },
        _ => None,
    };
    rows(a, b).or_else(|| rows(b, a))
}
