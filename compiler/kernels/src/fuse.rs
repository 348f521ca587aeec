//! Which values get memory, and which kernel computes what.
//!
//! First every value that is expensive and used in several places, and every reduction, is a
//! root with a kernel of its own; the rest is computed inside its consumers. Then kernels over
//! the same space merge, producers with consumers and neighbours that read the same, as long as
//! no value is wanted at another place than where it is computed, no cycle arises and the
//! estimated cost does not grow; consumers of a matrix product that stay on its elements become
//! its epilogue. At last, roots that only their own kernel reads lose their memory.

use crate::contract::{self, Prepared, Product};
use crate::emit::summed_labels;
use crate::kernel::{Action, Built, Spec, build};
use crate::{Options, internal};
use aec_ir::{Binary, Def, Function, Inst, Op, Unary, Value};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::{EntitySet, SecondaryMap};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};

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
        product: Product,
        /// What runs on its tiles; without it the product stores its result.
        epilogue: Option<Box<Built>>,
    },
    /// A sort.
    ArgSort(Inst),
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

/// Cost of computing a value again, above which it gets memory.
const CHEAP: f64 = 8.0;
/// Size of an expression, above which a part of it gets memory.
const LARGE: f64 = 260.0;
/// Kernels do not merge beyond these.
const MAX_ROOTS: usize = 16;
const MAX_BUFFERS: usize = 28;

/// Groups the instructions of a function into nodes.
pub fn fuse(prepared: &Prepared, options: &Options) -> Result<Groups, Diagnostic> {
    let mut forced: EntitySet<Value> = EntitySet::new();
    for _ in 0..64 {
        let roots = choose_roots(prepared, options, &forced);
        let mut graph = Graph::new(prepared, &roots);
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

/// Values computed inside `value`'s kernel though they could have memory.
fn inline_operands(prepared: &Prepared, roots: &Roots, value: Value) -> Vec<Value> {
    let f = &prepared.f;
    let mut out = Vec::new();
    let mut work = vec![value];
    let mut seen: EntitySet<Value> = EntitySet::new();
    while let Some(v) = work.pop() {
        let Some(inst) = f.def_inst(v) else { continue };
        for &operand in &f.insts[inst].operands {
            let is_inst = f.def_inst(operand).is_some();
            if is_inst && !roots.stored.contains(operand) && seen.insert(operand) {
                out.push(operand);
                work.push(operand);
            }
        }
    }
    out
}

/// Which values have memory.
struct Roots {
    /// Params, dense constants and roots.
    stored: EntitySet<Value>,
    /// Roots in order of definition.
    order: Vec<Value>,
}

fn writes_own_buffer(op: &Op) -> bool {
    matches!(
        op,
        Op::Pad { .. }
            | Op::Concat { .. }
            | Op::ScatterAdd { .. }
            | Op::CumSum { .. }
            | Op::ArgSort
    )
}

/// Rough cost of one element.
fn own_cost(f: &Function, inst: Inst) -> f64 {
    match &f.insts[inst].op {
        Op::Constant(_) | Op::Dense(_) | Op::Stop => 0.0,
        Op::Iota { .. } | Op::Reshape | Op::Slice { .. } | Op::Reverse { .. } => 0.0,
        Op::Unary(op) => match op {
            Unary::Neg | Unary::Abs | Unary::Floor | Unary::Not => 1.0,
            Unary::Sign => 3.0,
            Unary::Sqrt => 5.0,
            Unary::Exp => 14.0,
            Unary::Tanh | Unary::Logistic | Unary::Expm1 => 18.0,
            Unary::Log => 22.0,
            Unary::Log1p | Unary::Erf | Unary::Sin | Unary::Cos => 30.0,
        },
        Op::Binary(op) => match op {
            Binary::Div => 5.0,
            Binary::FloorDiv | Binary::Mod => 20.0,
            Binary::Pow => 80.0,
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Min
            | Binary::Max
            | Binary::And
            | Binary::Or => 1.0,
        },
        Op::Compare(_) | Op::Select | Op::Convert => 1.0,
        Op::Contract(c) => {
            (c.factors.len() as f64 - 1.0).max(0.0) + f64::from(c.coefficient != 1.0)
        }
        Op::Gather { .. } => 6.0,
        Op::Draw { .. } => 60.0,
        Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::ScatterAdd { .. }
        | Op::CumSum { .. }
        | Op::ArgSort
        | Op::Map { .. }
        | Op::Derivative { .. }
        | Op::BatchMean => f64::INFINITY,
    }
}

fn is_reduction(f: &Function, inst: Inst) -> bool {
    match &f.insts[inst].op {
        Op::Contract(c) => summed_labels(f, inst, c)
            .iter()
            .any(|&l| c.sizes[usize::from(l)] != 1),
        Op::Reduce { .. } | Op::ArgReduce { .. } => true,
        _ => false,
    }
}

/// Who uses a value, seen through views, and whether someone uses it repeated.
#[derive(Clone, Default)]
struct Uses {
    users: SmallVec<[Inst; 4]>,
    repeated: bool,
}

fn uses(prepared: &Prepared) -> SecondaryMap<Value, Uses> {
    let f = &prepared.f;
    let mut all: SecondaryMap<Value, Uses> = SecondaryMap::new();
    for &inst in f.order.iter().rev() {
        let data = &f.insts[inst];
        let result = data.results[0];
        let through = contract::is_view(&data.op) && !prepared.copies.contains(result);
        for (nth, &operand) in data.operands.iter().enumerate() {
            let repeats = match &data.op {
                Op::Contract(c) => (0..c.sizes.len() as u8).any(|l| {
                    c.sizes[usize::from(l)] != 1
                        && !c.factors[nth].labels.contains(&l)
                        && (c.out.contains(&l) || c.factors.iter().any(|x| x.labels.contains(&l)))
                }),
                _ => false,
            };
            let mut more = if through {
                all[result].clone()
            } else {
                Uses {
                    users: SmallVec::from_slice(&[inst]),
                    repeated: false,
                }
            };
            more.repeated |= repeats;
            let entry = &mut all[operand];
            entry.repeated |= more.repeated;
            for user in more.users {
                if !entry.users.contains(&user) && entry.users.len() < 64 {
                    entry.users.push(user);
                }
            }
        }
    }
    all
}

fn choose_roots(prepared: &Prepared, options: &Options, forced: &EntitySet<Value>) -> Roots {
    let f = &prepared.f;
    let mut must = forced.clone();
    for copy in prepared.copies.iter() {
        must.insert(copy);
    }
    for &result in &f.results {
        must.insert(result);
    }
    for guard in &f.guards {
        must.insert(guard.value);
    }
    for (&value, product) in &prepared.products {
        must.insert(value);
        must.insert(product.a.value);
        must.insert(product.b.value);
    }
    for &inst in &f.order {
        let data = &f.insts[inst];
        match &data.op {
            Op::ArgSort => {
                must.insert(data.operands[0]);
            }
            Op::Gather { .. } => {
                let (base, _, _) = contract::trace(f, data.operands[0], &|_| false);
                must.insert(base);
            }
            _ => {}
        }
    }
    let uses = uses(prepared);
    let mut stored: EntitySet<Value> = EntitySet::new();
    for &param in &f.params {
        stored.insert(param);
    }
    let mut order = Vec::new();
    // Cost and number of loads of what is computed inside its consumers.
    let mut inline: SecondaryMap<Value, (f64, f64)> = SecondaryMap::new();
    for &inst in &f.order {
        let data = &f.insts[inst];
        let v = data.results[0];
        if matches!(data.op, Op::Dense(_)) {
            stored.insert(v);
            continue;
        }
        let (mut cost, mut loads) = (own_cost(f, inst), 0.0);
        for &operand in &data.operands {
            if stored.contains(operand) {
                loads += if f.ty(operand).len() > 1 { 1.0 } else { 0.1 };
            } else {
                cost += inline[operand].0;
                loads += inline[operand].1;
            }
        }
        let free =
            contract::is_view(&data.op) || matches!(data.op, Op::Constant(_) | Op::Iota { .. });
        let repeats =
            matches!(&data.op, Op::Contract(c) if c.factors.len() == 1 && c.factors[0].power == 1);
        let several = uses[v].users.len() > 1;
        let root = must.contains(v)
            || writes_own_buffer(&data.op)
            || is_reduction(f, inst)
            || if options.fuse {
                !free
                    && ((several && (cost > CHEAP || loads > 2.2))
                        || (uses[v].repeated && cost > 4.0 && !repeats)
                        || cost + 4.0 * loads > LARGE)
            } else {
                !matches!(data.op, Op::Constant(_) | Op::Iota { .. })
            };
        if root {
            stored.insert(v);
            order.push(v);
        } else {
            inline[v] = (cost, loads);
        }
    }
    Roots { stored, order }
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
    owner: HashMap<Value, usize>,
    wanted: EntitySet<Value>,
    failed: HashSet<(usize, u32, usize, u32)>,
}

impl<'a> Graph<'a> {
    fn new(prepared: &'a Prepared, roots: &'a Roots) -> Graph<'a> {
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
            owner: HashMap::new(),
            wanted,
            failed: HashSet::new(),
        }
    }

    /// One cluster for each root.
    fn fill(&mut self) -> Result<(), (Value, &'static str)> {
        let f = &self.prepared.f;
        for &v in &self.roots.order {
            let Def::Result(inst, _) = f.values[v].def else {
                continue;
            };
            let mut cluster = Cluster {
                spec: Spec::root(f, v),
                kind: ClusterKind::Plain,
                built: None,
                loads: Vec::new(),
                reasons: Vec::new(),
                alive: true,
                version: 0,
            };
            if let Some(note) = self.prepared.notes.get(&v) {
                cluster.reasons.push(note.clone());
            }
            if let Some(product) = self.prepared.products.get(&v) {
                cluster.kind = ClusterKind::Product(v);
                cluster.spec.actions.clear();
                cluster.spec.tile = product.row_axes.map(|rows| (v, rows));
                cluster.loads = vec![product.a.value, product.b.value];
                cluster.loads.dedup();
            } else if writes_own_buffer(&f.insts[inst].op) {
                cluster.kind = ClusterKind::Special(inst);
                if matches!(f.insts[inst].op, Op::ArgSort) {
                    cluster.loads = vec![f.insts[inst].operands[0]];
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
            self.owner.insert(v, self.clusters.len());
            self.clusters.push(cluster);
        }
        Ok(())
    }

    /// Clusters that read a value.
    fn readers(&self, v: Value) -> impl Iterator<Item = usize> + '_ {
        self.clusters
            .iter()
            .enumerate()
            .filter(move |(_, c)| c.alive && c.loads.contains(&v))
            .map(|(at, _)| at)
    }

    fn producers(&self, at: usize) -> SmallVec<[usize; 8]> {
        let mut out: SmallVec<[usize; 8]> = SmallVec::new();
        for v in &self.clusters[at].loads {
            if let Some(&owner) = self.owner.get(v)
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
        let mut seen = vec![false; self.clusters.len()];
        let mut work: Vec<usize> = self
            .producers(to)
            .into_iter()
            .filter(|&p| p != from)
            .collect();
        while let Some(at) = work.pop() {
            if at == from {
                return true;
            }
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            work.extend(self.producers(at));
        }
        false
    }

    /// Whether a value needs memory if these clusters become one.
    fn needs_memory(&self, v: Value, inside: &[usize]) -> bool {
        self.wanted.contains(v)
            || self
                .readers(v)
                .any(|reader| !inside.contains(&reader) || self.reads_as_operand(reader, v))
    }

    /// Whether a cluster's matrix product has the value as an operand.
    fn reads_as_operand(&self, at: usize, v: Value) -> bool {
        match self.clusters[at].kind {
            ClusterKind::Product(product) => {
                let product = &self.prepared.products[&product];
                product.a.value == v || product.b.value == v
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
            for b in a + 1..self.clusters.len() {
                let (x, y) = (&self.clusters[a], &self.clusters[b]);
                if !x.alive || !y.alive {
                    continue;
                }
                let plain = x.kind == ClusterKind::Plain && y.kind == ClusterKind::Plain;
                if !plain || !related(&x.spec.space, &y.spec.space) {
                    continue;
                }
                let size: usize = x.spec.space.iter().product();
                let shares = x.loads.iter().any(|v| {
                    let len = self.prepared.f.ty(*v).len();
                    len > 1 && 2 * len >= size && y.loads.contains(v)
                });
                let tiny = size <= 1 && y.spec.space == x.spec.space;
                if shares || tiny {
                    changed |= self.try_merge(a, b, "both read the same");
                }
            }
        }
        changed
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
                        self.owner.insert(*value, a);
                    }
                }
                self.clusters[a] = merged;
                self.clusters[b].alive = false;
                self.clusters[b].loads.clear();
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
            if y.spec.space != x.spec.space {
                return None;
            }
        } else if !related(&x.spec.space, &y.spec.space) {
            return None;
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
        // A scalar that others wait for must not wait for a large kernel.
        let count = |c: &Cluster| -> usize { c.spec.space.iter().product() };
        for (small, large) in [(x, y), (y, x)] {
            if count(small) <= 1
                && count(large) > 1
                && small.spec.actions.iter().any(|action| match action {
                    Action::Root { value, .. } => self.needs_memory(*value, &[a, b]),
                    Action::Place { .. }
                    | Action::Fill { .. }
                    | Action::Scatter(_)
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
        let space = if x.spec.space.len() >= y.spec.space.len() {
            x.spec.space.clone()
        } else {
            y.spec.space.clone()
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
        let built = build(self.prepared, &self.roots.stored, &spec).ok()?;
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
            let product = &self.prepared.products[&v];
            loads.extend([product.a.value, product.b.value]);
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
                | Action::Scatter(_)
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
                    | Action::Scatter(_)
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
                self.clusters[at].spec.actions = actions;
            }
        }
        let mut nodes: Vec<Option<Node>> = Vec::new();
        for cluster in &self.clusters {
            if !cluster.alive {
                nodes.push(None);
                continue;
            }
            nodes.push(Some(self.node(cluster)?));
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

    fn node(&self, cluster: &Cluster) -> Result<Node, Diagnostic> {
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
                let built = make(&cluster.spec)?;
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
                let product = self.prepared.products[&value];
                let epilogue = if cluster.spec.actions.is_empty() {
                    None
                } else {
                    Some(Box::new(make(&cluster.spec)?))
                };
                let mut loads = vec![product.a.value, product.b.value];
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
                Node {
                    work: Work::Product {
                        value,
                        product,
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
                if matches!(f.insts[inst].op, Op::ArgSort) {
                    Node {
                        work: Work::ArgSort(inst),
                        loads: vec![f.insts[inst].operands[0]],
                        stores: vec![result],
                        reason: "a call of the runtime".to_string(),
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
fn related(a: &[usize], b: &[usize]) -> bool {
    let n = a.len().min(b.len());
    a[..n] == b[..n]
}

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
        Op::ScatterAdd { .. } => vec![
            spec(
                &dims,
                Action::Fill {
                    scalar: None,
                    into: result,
                },
            ),
            spec(f.dims(data.operands[1]), Action::Scatter(inst)),
        ],
        Op::CumSum { .. } => vec![spec(&dims, Action::CumSum(inst))],
        _ => Vec::new(),
    }
}
