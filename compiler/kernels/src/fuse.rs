//! Which values get memory, and which kernel computes what.
//!
//! First every value that is expensive and used in several places, and every reduction, is a
//! root with a kernel of its own; the rest is computed inside its consumers. Then kernels over
//! the same space (or over entries of which the other has the rows) merge, producers with consumers and neighbours that read the same, as long as
//! no value is wanted at another place than where it is computed, no cycle arises and the
//! estimated cost does not grow; consumers of a matrix product that stay on its elements become
//! its epilogue. At last, roots that only their own kernel reads lose their memory.

use crate::contract::Prepared;
use crate::kernel::{Action, Built, Spec, build, in_place};
use crate::product::Product;
use crate::roots::{Roots, calls_runtime, choose_roots, inline_operands, writes_own_buffer};
use crate::term_sums::{Ride, Side, rides};
use crate::{Options, internal, small};
use aec_ir::{Def, Function, Inst, Op, Value};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::{EntitySet, SecondaryMap};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use smallvec::SmallVec;

/// What a node runs.
#[derive(Clone, Debug)]
pub enum Work {
    /// Kernels, one after the other.
    Kernels(Vec<Built>),
    /// A matrix product, and what runs on its tiles.
    Product {
        /// Its result.
        value: Value,
        /// Its form.
        product: Box<Product>,
        /// What runs on its tiles; without it the product stores its result.
        epilogue: Option<Box<Built>>,
    },
    /// A call of the runtime.
    Call(Inst),
    /// A loop.
    Loop(Inst),
}

/// Something that runs as a whole: its steps follow one another.
#[derive(Clone, Debug)]
pub struct Node {
    /// What runs.
    pub work: Work,
    /// Stored values that it reads.
    pub loads: Vec<Value>,
    /// Values that it stores.
    pub stores: Vec<Value>,
    /// Why it is what it is.
    pub reason: String,
    /// The most telling script text.
    pub span: Span,
}

/// The nodes, in an order in which they may run.
pub struct Groups {
    /// All nodes.
    pub nodes: Vec<Node>,
}

/// Kernels do not merge beyond these.
const MAX_ROOTS: usize = 16;
const MAX_BUFFERS: usize = 28;

/// Groups the instructions of a function into nodes.
pub fn fuse(prepared: &Prepared, options: &Options) -> Result<Groups, Diagnostic> {
    let mut forced: EntitySet<Value> = EntitySet::new();
    for _ in 0..64 {
        let roots = choose_roots(prepared, options, &forced);
        let rides = match options.fuse {
            true => rides(prepared),
            false => HashMap::default(),
        };
        let mut graph = Graph::new(prepared, &roots, rides);
        match graph.fill() {
            Ok(()) => {
                if options.fuse {
                    graph.merge_all();
                }
                return graph.finish();
            }
            Err((value, reason)) => {
                // Store what the value is computed from, and try again.
                let more = inline_operands(prepared, &roots, value);
                let fresh = more.iter().filter(|v| forced.insert(**v)).count();
                if fresh == 0 {
                    let span = span_of(&prepared.f, value);
                    return Err(internal(
                        span,
                        format!("no kernel computes a value: {reason}"),
                    ));
                }
            }
        }
    }
    Err(internal(
        Span::NONE,
        "kernels could not be formed".to_string(),
    ))
}

fn span_of(f: &Function, v: Value) -> Span {
    f.def_inst(v).map_or(Span::NONE, |inst| f.insts[inst].span)
}

/// What the graph of kernels is made of while it is being merged.
#[derive(Clone)]
struct Cluster {
    spec: Spec,
    kind: ClusterKind,
    /// What a plain cluster's kernel is now; others are built at the end.
    built: Option<Built>,
    loads: Vec<Value>,
    reasons: Vec<String>,
    alive: bool,
    /// Changes whenever the cluster does.
    version: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClusterKind {
    /// Loops over a space.
    Plain,
    /// A matrix product.
    Product(Value),
    /// An op that writes its own buffer, in several kernels.
    Special(Inst),
}

struct Graph<'a> {
    prepared: &'a Prepared,
    roots: &'a Roots,
    clusters: Vec<Cluster>,
    /// Which cluster stores a value.
    owner: SecondaryMap<Value, Option<usize>>,
    /// The living clusters that read a value, in order.
    readers: SecondaryMap<Value, SmallVec<[usize; 4]>>,
    /// For each living cluster a number above those of what it reads from.
    rank: Vec<usize>,
    wanted: EntitySet<Value>,
    /// Sums that products take along.
    rides: HashMap<Value, Ride>,
    failed: HashSet<(usize, u32, usize, u32)>,
}

impl<'a> Graph<'a> {
    fn new(prepared: &'a Prepared, roots: &'a Roots, rides: HashMap<Value, Ride>) -> Graph<'a> {
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

    /// One cluster for each root.
    fn fill(&mut self) -> Result<(), (Value, &'static str)> {
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
                cluster.loads = product.operands().collect();
                cluster.loads.sort();
                cluster.loads.dedup();
            } else if writes_own_buffer(f, inst) {
                cluster.kind = ClusterKind::Special(inst);
                if calls_runtime(f, inst) || matches!(f.insts[inst].op, Op::Loop(_)) {
                    cluster.loads = f.insts[inst].operands.to_vec();
                    cluster.loads.sort();
                    cluster.loads.dedup();
                } else {
                    for spec in special_specs(f, inst) {
                        let built = build(self.prepared, &self.roots.stored, &spec)
                            .map_err(|reason| (v, reason))?;
                        for load in built.loads() {
                            if load != v && !cluster.loads.contains(&load) {
                                cluster.loads.push(load);
                            }
                        }
                    }
                }
            } else {
                let built = build(self.prepared, &self.roots.stored, &cluster.spec)
                    .map_err(|reason| (v, reason))?;
                cluster.loads = built.loads().collect();
                cluster.built = Some(built);
            }
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

    /// Brings the rank of a cluster above what it reads from, and that of its readers above its own.
    fn rise(&mut self, at: usize) {
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

    fn producers(&self, at: usize) -> SmallVec<[usize; 8]> {
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
    fn needs_indirectly(&self, to: usize, from: usize) -> bool {
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
    fn needs_memory(&self, v: Value, inside: &[usize]) -> bool {
        self.wanted.contains(v)
            || self.readers[v]
                .iter()
                .any(|&reader| !inside.contains(&reader) || self.reads_as_operand(reader, v))
    }

    /// Whether a cluster's matrix product has the value as an operand.
    fn reads_as_operand(&self, at: usize, v: Value) -> bool {
        match self.clusters[at].kind {
            ClusterKind::Product(product) => {
                let mut operands = self.prepared.products[&product].operands();
                operands.any(|operand| operand == v)
            }
            ClusterKind::Plain | ClusterKind::Special(_) => false,
        }
    }

    fn merge_all(&mut self) {
        // What sits on a product goes first: its epilogue costs no pass over memory.
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
        let merged = self.merged(a, b, reason);
        match merged {
            Some(merged) => {
                for action in &merged.spec.actions {
                    if let Action::Root { value, .. } = action {
                        self.owner[*value] = Some(a);
                    }
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

    fn merged(&self, a: usize, b: usize, reason: &str) -> Option<Cluster> {
        let (x, y) = (&self.clusters[a], &self.clusters[b]);
        let y_plain = y.kind == ClusterKind::Plain;
        let on_product = match x.kind {
            ClusterKind::Plain => false,
            ClusterKind::Product(_) => true,
            ClusterKind::Special(_) => return None,
        };
        if !y_plain {
            return None;
        }
        if on_product {
            x.spec.tile?;
            // The product's space, or that of its rows.
            let row_axes = x.spec.tile.map_or(0, |(_, rows)| rows);
            if y.spec.space != x.spec.space && y.spec.space[..] != x.spec.space[..row_axes] {
                return None;
            }
        } else {
            common_space(&x.spec.space, &y.spec.space)?;
        }
        if x.spec.actions.len() + y.spec.actions.len() > MAX_ROOTS
            || x.loads.len() + y.loads.len() + x.spec.actions.len() + y.spec.actions.len()
                > MAX_BUFFERS
        {
            return None;
        }
        if self.needs_indirectly(b, a) || self.needs_indirectly(a, b) {
            return None;
        }
        let finds_rows = |from: usize, by: &Cluster| {
            by.loads
                .iter()
                .any(|v| self.roots.places.contains(*v) && self.owner[*v] == Some(from))
        };
        if finds_rows(a, y) || finds_rows(b, x) {
            return None;
        }
        // Sums that the product takes along are there when all of its tiles are.
        if y.loads
            .iter()
            .any(|v| self.rides.contains_key(v) && self.owner[*v] == Some(a))
        {
            return None;
        }
        // A scalar that others wait for must not wait for a large kernel.
        let count = |c: &Cluster| -> usize { c.spec.space.iter().product() };
        for (small, large) in [(x, y), (y, x)] {
            if count(small) <= 1
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
            {
                return None;
            }
        }
        let written = [x, y].map(|c| c.spec.written(&self.prepared.f).is_some());
        let (a_space, b_space) = (&x.spec.space, &y.spec.space);
        let space = match written {
            [false, false] => common_space(a_space, b_space)?,
            _ if on_product => return None,
            [true, true] if a_space != b_space => return None,
            [true, _] if begin_alike(a_space, b_space) => a_space.clone(),
            [false, true] if begin_alike(a_space, b_space) => b_space.clone(),
            _ => return None,
        };
        let inside = [a, b];
        let mut values: Vec<Value> = Vec::new();
        if let ClusterKind::Product(v) = x.kind {
            values.push(v);
        }
        for action in x.spec.actions.iter().chain(&y.spec.actions) {
            if let Action::Root { value, .. } = action
                && !values.contains(value)
            {
                values.push(*value);
            }
        }
        let actions = self.root_actions(&values, &inside);
        let spec = Spec {
            space,
            actions,
            tile: x.spec.tile,
        };
        if self.overwrites(&values) && (self.guards_need(a) || self.guards_need(b)) {
            return None;
        }
        let built = build(self.prepared, &self.roots.stored, &spec).ok()?;
        // A line of a tile is too short to draw for: a number takes twice as long there.
        if on_product && built.kernel.draws() {
            return None;
        }
        if self.loses_place(&values, &built, a, b) {
            return None;
        }
        if !on_product {
            let apart = x.built.as_ref()?.cost + y.built.as_ref()?.cost;
            if built.cost > 1.15 * apart + 200.0 {
                return None;
            }
            // Threads share out what is worth it; a merge must not lose that.
            let shared = |c: &Cluster| c.built.as_ref().is_some_and(|b| b.parallel.is_some());
            if (shared(x) || shared(y)) && built.parallel.is_none() {
                return None;
            }
        }
        let mut loads: Vec<Value> = Vec::new();
        if let ClusterKind::Product(v) = x.kind {
            loads.extend(self.prepared.products[&v].operands());
        }
        loads.extend(built.loads());
        loads.sort();
        loads.dedup();
        loads.retain(|v| !values.contains(v) || self.reads_as_operand(a, *v));
        let mut reasons = x.reasons.clone();
        for reason in &y.reasons {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
        let names: Vec<String> = y
            .spec
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Root { value, .. } => Some(self.op_name(*value)),
                Action::Place { .. }
                | Action::Fill { .. }
                | Action::Scatter { .. }
                | Action::Put(_)
                | Action::CumSum(_) => None,
            })
            .collect();
        let more = if on_product {
            format!("{} runs on the product's tiles", names.join(", "))
        } else {
            format!("{} fused: {reason}", names.join(", "))
        };
        if !reasons.contains(&more) {
            reasons.push(more);
        }
        Some(Cluster {
            spec,
            kind: x.kind,
            built: Some(built),
            loads,
            reasons,
            alive: true,
            version: x.version.max(y.version) + 1,
        })
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

    /// Whether `to` needs `from`.
    fn needs(&self, to: usize, from: usize) -> bool {
        self.producers(to).contains(&from) || self.needs_indirectly(to, from)
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

    fn root_actions(&self, values: &[Value], inside: &[usize]) -> Vec<Action> {
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

    /// Final kernels, in an order in which they may run.
    fn finish(mut self) -> Result<Groups, Diagnostic> {
        for at in 0..self.clusters.len() {
            let values: Vec<Value> = self.clusters[at]
                .spec
                .actions
                .iter()
                .filter_map(|action| match action {
                    Action::Root { value, .. } => Some(*value),
                    Action::Place { .. }
                    | Action::Fill { .. }
                    | Action::Scatter { .. }
                    | Action::Put(_)
                    | Action::CumSum(_) => None,
                })
                .collect();
            let mut values = values;
            if let ClusterKind::Product(v) = self.clusters[at].kind
                && !self.clusters[at].spec.actions.is_empty()
                && !values.contains(&v)
            {
                values.push(v);
            }
            if self.clusters[at].alive && !matches!(self.clusters[at].kind, ClusterKind::Special(_))
            {
                let actions = self.root_actions(&values, &[at]);
                let cluster = &mut self.clusters[at];
                if cluster.spec.actions != actions {
                    cluster.built = None;
                    cluster.spec.actions = actions;
                }
            }
        }
        let mut nodes: Vec<Option<Node>> = Vec::new();
        for at in 0..self.clusters.len() {
            if !self.clusters[at].alive {
                nodes.push(None);
                continue;
            }
            let built = self.clusters[at].built.take();
            nodes.push(Some(self.node(&self.clusters[at], built)?));
        }
        // A cluster may stand after one that reads it: sort by need.
        let mut order = Vec::new();
        let mut state = vec![0u8; nodes.len()];
        let mut stack: Vec<(usize, bool)> = (0..nodes.len()).rev().map(|at| (at, false)).collect();
        while let Some((at, leaving)) = stack.pop() {
            if leaving {
                order.push(at);
                continue;
            }
            if state[at] != 0 || nodes[at].is_none() {
                continue;
            }
            state[at] = 1;
            stack.push((at, true));
            for producer in self.producers(at) {
                stack.push((producer, false));
            }
        }
        let nodes = order
            .into_iter()
            .filter_map(|at| nodes[at].take())
            .collect();
        Ok(Groups { nodes })
    }

    /// A cluster's node; `built`: its kernel, if that is known.
    fn node(&self, cluster: &Cluster, built: Option<Built>) -> Result<Node, Diagnostic> {
        let f = &self.prepared.f;
        let make = |spec: &Spec| {
            build(self.prepared, &self.roots.stored, spec)
                .map_err(|reason| internal(Span::NONE, format!("a kernel was lost: {reason}")))
        };
        let reason = |default: &str| {
            if cluster.reasons.is_empty() {
                default.to_string()
            } else {
                cluster.reasons.join("; ")
            }
        };
        let mut spans: Vec<Span> = Vec::new();
        for action in &cluster.spec.actions {
            if let Action::Root { value, .. } = action {
                spans.push(span_of(f, *value));
            }
        }
        let first_span = |more: Span| {
            spans
                .iter()
                .copied()
                .chain([more])
                .find(|s| !s.is_none())
                .unwrap_or(Span::NONE)
        };
        Ok(match cluster.kind {
            ClusterKind::Plain => {
                let built = built.map_or_else(|| make(&cluster.spec), Ok)?;
                Node {
                    // What a pass stores for the next one is no input.
                    loads: built
                        .loads()
                        .filter(|v| !built.stores().any(|own| own == *v))
                        .collect(),
                    stores: built.stores().collect(),
                    reason: reason("nothing to fuse with"),
                    span: first_span(Span::NONE),
                    work: Work::Kernels(vec![built]),
                }
            }
            ClusterKind::Product(value) => {
                let mut product = self.prepared.products[&value];
                for (&sum, ride) in &self.rides {
                    if ride.product == value {
                        let sums = match &mut product.first {
                            Some(first) if ride.first => &mut first.sums,
                            _ => &mut product.sums,
                        };
                        sums[usize::from(ride.side == Side::B)] = Some(sum);
                    }
                }
                let epilogue = if cluster.spec.actions.is_empty() {
                    None
                } else {
                    Some(Box::new(built.map_or_else(|| make(&cluster.spec), Ok)?))
                };
                let mut loads: Vec<Value> = product.operands().collect();
                loads.extend(product.limit.map(|(limit, _)| limit));
                let mut stores = Vec::new();
                match &epilogue {
                    None => stores.push(value),
                    Some(built) => {
                        loads.extend(built.loads().filter(|&v| v != value));
                        stores.extend(built.stores());
                    }
                }
                loads.sort();
                loads.dedup();
                stores.extend(product.sums.into_iter().flatten());
                stores.extend(
                    product
                        .first
                        .into_iter()
                        .flat_map(|first| first.sums)
                        .flatten(),
                );
                Node {
                    work: Work::Product {
                        value,
                        product: Box::new(product),
                        epilogue,
                    },
                    loads,
                    stores,
                    reason: reason("nothing runs on its tiles"),
                    span: span_of(f, value),
                }
            }
            ClusterKind::Special(inst) => {
                let result = f.insts[inst].results[0];
                let span = f.insts[inst].span;
                if matches!(f.insts[inst].op, Op::Loop(_)) {
                    Node {
                        work: Work::Loop(inst),
                        loads: cluster.loads.clone(),
                        stores: f.insts[inst].results.to_vec(),
                        reason: "rounds that carry a state".to_string(),
                        span,
                    }
                } else if calls_runtime(f, inst) {
                    Node {
                        work: Work::Call(inst),
                        loads: cluster.loads.clone(),
                        stores: vec![result],
                        reason: small::reason(f, inst).to_string(),
                        span,
                    }
                } else {
                    let built: Vec<Built> = special_specs(f, inst)
                        .iter()
                        .map(make)
                        .collect::<Result<_, _>>()?;
                    let mut loads: Vec<Value> = built.iter().flat_map(Built::loads).collect();
                    loads.sort();
                    loads.dedup();
                    loads.retain(|&v| v != result);
                    Node {
                        work: Work::Kernels(built),
                        loads,
                        stores: vec![result],
                        reason: format!(
                            "{} fills its buffer part by part",
                            f.insts[inst].op.name()
                        ),
                        span,
                    }
                }
            }
        })
    }
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

/// Fewest entries of a row that a line is divided into.
const LEAST_ROW: usize = 64;

/// The kernels of an op that fills its buffer part by part.
fn special_specs(f: &Function, inst: Inst) -> Vec<Spec> {
    let data = &f.insts[inst];
    let result = data.results[0];
    let dims = f.dims(result).to_vec();
    let spec = |space: &[usize], action: Action| Spec {
        space: space.to_vec(),
        actions: vec![action],
        tile: None,
    };
    match &data.op {
        Op::Concat { axis } => {
            let mut start = 0;
            data.operands
                .iter()
                .map(|&x| {
                    let own = f.dims(x);
                    let at = (0..own.len())
                        .map(|a| (if a == *axis { start } else { 0 }, 1))
                        .collect();
                    start += own[*axis];
                    spec(
                        own,
                        Action::Place {
                            value: x,
                            into: result,
                            at,
                        },
                    )
                })
                .collect()
        }
        Op::Pad { low, interior, .. } => {
            let x = data.operands[0];
            let at = low
                .iter()
                .zip(interior)
                .map(|(&low, &interior)| (low, interior + 1))
                .collect();
            vec![
                spec(
                    &dims,
                    Action::Fill {
                        scalar: Some(data.operands[1]),
                        into: result,
                    },
                ),
                spec(
                    f.dims(x),
                    Action::Place {
                        value: x,
                        into: result,
                        at,
                    },
                ),
            ]
        }
        Op::ScatterAdd { .. } => {
            let pairs = data.operands.chunks_exact(2);
            let start = match pairs.remainder() {
                &[value] => Action::Place {
                    value,
                    into: result,
                    at: vec![(0, 1); dims.len()],
                },
                _ => Action::Fill {
                    scalar: None,
                    into: result,
                },
            };
            let mut specs = vec![spec(&dims, start)];
            specs.extend(
                pairs.enumerate().map(|(pair, operands)| {
                    spec(f.dims(operands[1]), Action::Scatter { inst, pair })
                }),
            );
            specs
        }
        Op::Put { .. } => {
            let start = Action::Place {
                value: data.operands[0],
                into: result,
                at: vec![(0, 1); dims.len()],
            };
            let rows = f.dims(data.operands[2]);
            vec![spec(&dims, start), spec(rows, Action::Put(inst))]
        }
        Op::CumSum { .. } => vec![spec(&dims, Action::CumSum(inst))],
        _ => Vec::new(),
    }
}
