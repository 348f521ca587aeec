//! The graph of kernels while they are being merged: who stores a value, who reads it, and what
//! needs what. It begins with a cluster for each root.

use super::parts::specs_of_parts;
use crate::kernel::{Action, Built, Spec, build};
use crate::prepare::Prepared;
use crate::roots::{Roots, calls_runtime, writes_own_buffer};
use crate::small;
use crate::term_sums::Ride;
use aec_ir::{Def, Inst, Op, Value};
use cranelift_entity::{EntitySet, SecondaryMap};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use smallvec::SmallVec;

/// What the graph of kernels is made of while it is being merged.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) spec: Spec,
    pub(super) kind: ClusterKind,
    /// What a plain cluster's kernel is now; others are built at the end.
    pub(super) built: Option<Built>,
    pub(super) loads: Vec<Value>,
    pub(super) reasons: Vec<String>,
    pub(super) alive: bool,
    /// Changes whenever the cluster does.
    pub(super) version: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ClusterKind {
    /// Loops over a space.
    Plain,
    /// A matrix product.
    Product(Value),
    /// An op that writes its own buffer, in several kernels.
    Special(Inst),
}

pub(super) struct Graph<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) roots: &'a Roots,
    pub(super) clusters: Vec<Cluster>,
    /// Which cluster stores a value.
    pub(super) owner: SecondaryMap<Value, Option<usize>>,
    /// The living clusters that read a value, in order.
    pub(super) readers: SecondaryMap<Value, SmallVec<[usize; 4]>>,
    /// For each living cluster a number above those of what it reads from.
    pub(super) rank: Vec<usize>,
    pub(super) wanted: EntitySet<Value>,
    /// Sums that products take along.
    pub(super) rides: HashMap<Value, Ride>,
    pub(super) failed: HashSet<(usize, u32, usize, u32)>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(
        prepared: &'a Prepared,
        roots: &'a Roots,
        rides: HashMap<Value, Ride>,
    ) -> Graph<'a> {
        let mut wanted = EntitySet::new();
        for &result in &prepared.f.results {
            wanted.insert(result);
        }
        for guard in &prepared.f.guards {
            wanted.insert(guard.value);
        }
        Graph {
            prepared,
            roots,
            clusters: Vec::new(),
            owner: SecondaryMap::new(),
            readers: SecondaryMap::new(),
            rank: Vec::new(),
            wanted,
            rides,
            failed: HashSet::default(),
        }
    }

    /// One cluster for each root. An error is a value that no kernel computes, and why.
    pub(super) fn fill(&mut self) -> Result<(), (Value, &'static str)> {
        let f = &self.prepared.f;
        for &v in &self.roots.order {
            let Def::Result(inst, nth) = f.values[v].def else {
                continue;
            };
            if matches!(f.insts[inst].op, Op::Loop(_)) && nth > 0 {
                // The first result's cluster gives all.
                self.owner[v] = self.owner[f.insts[inst].results[0]];
                continue;
            }
            if self.rides.contains_key(&v) {
                continue;
            }
            let cluster = self.cluster(v, inst).map_err(|reason| (v, reason))?;
            self.owner[v] = Some(self.clusters.len());
            self.clusters.push(cluster);
        }
        for (&sum, ride) in &self.rides {
            self.owner[sum] = self.owner[ride.product];
        }
        self.rank = vec![0; self.clusters.len()];
        for at in 0..self.clusters.len() {
            for &v in &self.clusters[at].loads {
                self.readers[v].push(at);
            }
            self.rise(at);
        }
        Ok(())
    }

    /// What computes a root, and nothing else.
    fn cluster(&self, v: Value, inst: Inst) -> Result<Cluster, &'static str> {
        let f = &self.prepared.f;
        let mut cluster = Cluster {
            spec: Spec::root(f, v),
            kind: ClusterKind::Plain,
            built: None,
            loads: Vec::new(),
            reasons: Vec::new(),
            alive: true,
            version: 0,
        };
        if small::is_written(f, inst) {
            cluster.reasons.push(small::reason(f, inst).to_string());
        }
        if let Some(note) = self.prepared.notes.get(&v) {
            cluster.reasons.push(note.clone());
        }
        if let Some(product) = self.prepared.products.get(&v) {
            cluster.kind = ClusterKind::Product(v);
            cluster.spec.actions.clear();
            cluster.spec.tile = product.row_axes.map(|rows| (v, rows));
            cluster.loads = distinct(product.operands());
        } else if writes_own_buffer(f, inst) {
            cluster.kind = ClusterKind::Special(inst);
            if calls_runtime(f, inst) || matches!(f.insts[inst].op, Op::Loop(_)) {
                cluster.loads = distinct(f.insts[inst].operands.iter().copied());
            } else {
                for spec in specs_of_parts(f, inst) {
                    for load in self.build(&spec)?.loads() {
                        if load != v && !cluster.loads.contains(&load) {
                            cluster.loads.push(load);
                        }
                    }
                }
            }
        } else {
            let built = self.build(&cluster.spec)?;
            cluster.loads = built.loads().collect();
            cluster.built = Some(built);
        }
        Ok(cluster)
    }

    pub(super) fn build(&self, spec: &Spec) -> Result<Built, &'static str> {
        build(self.prepared, &self.roots.stored, spec)
    }

    /// Brings the rank of a cluster above what it reads from, and that of its readers above its own.
    pub(super) fn rise(&mut self, at: usize) {
        let mut work: SmallVec<[usize; 16]> = SmallVec::from_slice(&[at]);
        while let Some(at) = work.pop() {
            let above = self.producers(at).iter().map(|&p| self.rank[p] + 1).max();
            if let Some(above) = above.filter(|&above| above > self.rank[at]) {
                self.rank[at] = above;
            }
            for v in self.stored(at) {
                for &reader in &self.readers[v] {
                    if reader != at && self.rank[reader] <= self.rank[at] {
                        work.push(reader);
                    }
                }
            }
        }
    }

    /// Values that a cluster may store.
    fn stored(&self, at: usize) -> SmallVec<[Value; 8]> {
        let cluster = &self.clusters[at];
        let mut out: SmallVec<[Value; 8]> = cluster.spec.roots();
        match cluster.kind {
            ClusterKind::Plain => {}
            ClusterKind::Product(v) => {
                out.push(v);
                let rides = self.rides.iter().filter(|(_, ride)| ride.product == v);
                out.extend(rides.map(|(&sum, _)| sum));
            }
            ClusterKind::Special(inst) => {
                out.extend(self.prepared.f.insts[inst].results.iter().copied());
            }
        }
        out
    }

    pub(super) fn producers(&self, at: usize) -> SmallVec<[usize; 8]> {
        let mut out: SmallVec<[usize; 8]> = SmallVec::new();
        for &v in &self.clusters[at].loads {
            if let Some(owner) = self.owner[v]
                && owner != at
                && !out.contains(&owner)
            {
                out.push(owner);
            }
        }
        out
    }

    /// Whether `to` needs `from` through a third cluster.
    pub(super) fn needs_indirectly(&self, to: usize, from: usize) -> bool {
        // What `from` ranks above does not need it.
        let above = |p: &usize| self.rank[*p] > self.rank[from];
        let mut work = self.producers(to);
        work.retain(|p| above(p));
        if work.is_empty() {
            return false;
        }
        let mut seen = vec![false; self.clusters.len()];
        while let Some(at) = work.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            for p in self.producers(at) {
                if p == from {
                    return true;
                }
                if above(&p) && !seen[p] {
                    work.push(p);
                }
            }
        }
        false
    }

    /// Whether a value needs memory if these clusters become one.
    pub(super) fn needs_memory(&self, v: Value, inside: &[usize]) -> bool {
        self.wanted.contains(v)
            || self.readers[v]
                .iter()
                .any(|&reader| !inside.contains(&reader) || self.reads_as_operand(reader, v))
    }

    /// Whether a cluster's matrix product has the value as an operand.
    pub(super) fn reads_as_operand(&self, at: usize, v: Value) -> bool {
        match self.clusters[at].kind {
            ClusterKind::Product(product) => {
                let mut operands = self.prepared.products[&product].operands();
                operands.any(|operand| operand == v)
            }
            ClusterKind::Plain | ClusterKind::Special(_) => false,
        }
    }

    /// Whether `to` needs `from`.
    pub(super) fn needs(&self, to: usize, from: usize) -> bool {
        self.producers(to).contains(&from) || self.needs_indirectly(to, from)
    }

    /// What the kernel of clusters that become one computes, in order of definition.
    pub(super) fn root_actions(&self, values: &[Value], inside: &[usize]) -> Vec<Action> {
        let f = &self.prepared.f;
        let place = |v: Value| match f.values[v].def {
            Def::Param(_) => 0,
            Def::Result(inst, _) => f.order.iter().position(|&i| i == inst).unwrap_or(0),
        };
        let mut sorted: Vec<Value> = values.to_vec();
        sorted.sort_by_cached_key(|&v| place(v));
        sorted
            .into_iter()
            .filter(|v| {
                // A product that nothing else wants lives in its tiles only.
                !self.prepared.products.contains_key(v) || self.needs_memory(*v, inside)
            })
            .map(|value| Action::Root {
                value,
                store: self.needs_memory(value, inside),
            })
            .collect()
    }
}

/// The values in order, each once.
pub(super) fn distinct(values: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut out: Vec<Value> = values.collect();
    out.sort();
    out.dedup();
    out
}
