//! From merged clusters to nodes: roots that only their own kernel reads lose their memory, what
//! changed by that is built again, and the nodes come into an order in which they may run.

use super::graph::{Cluster, ClusterKind, Graph, distinct};
use super::parts::specs_of_parts;
use super::{Groups, Node, Work, span_of};
use crate::kernel::{Built, Spec};
use crate::roots::calls_runtime;
use crate::term_sums::Side;
use crate::{internal, small};
use aec_ir::{Inst, Op, Value};
use aec_syntax::{Diagnostic, Span};

impl Graph<'_> {
    /// Final kernels, in an order in which they may run.
    pub(super) fn finish(mut self) -> Result<Groups, Diagnostic> {
        self.drop_own_roots();
        let mut nodes: Vec<Option<Node>> = Vec::new();
        for at in 0..self.clusters.len() {
            if !self.clusters[at].alive {
                nodes.push(None);
                continue;
            }
            let built = self.clusters[at].built.take();
            nodes.push(Some(self.node(&self.clusters[at], built)?));
        }
        let nodes = self
            .by_need()
            .into_iter()
            .filter_map(|at| nodes[at].take())
            .collect();
        Ok(Groups { nodes })
    }

    /// Takes the memory of roots that only their own kernel reads.
    fn drop_own_roots(&mut self) {
        for at in 0..self.clusters.len() {
            let cluster = &self.clusters[at];
            if !cluster.alive || matches!(cluster.kind, ClusterKind::Special(_)) {
                continue;
            }
            let mut values = cluster.spec.roots();
            if let ClusterKind::Product(v) = cluster.kind
                && !cluster.spec.actions.is_empty()
                && !values.contains(&v)
            {
                values.push(v);
            }
            let actions = self.root_actions(&values, &[at]);
            let cluster = &mut self.clusters[at];
            if cluster.spec.actions != actions {
                cluster.built = None;
                cluster.spec.actions = actions;
            }
        }
    }

    /// The living clusters, each after what it reads from: it may stand before it.
    fn by_need(&self) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen: Vec<bool> = self.clusters.iter().map(|c| !c.alive).collect();
        let mut stack: Vec<(usize, bool)> = (0..seen.len()).rev().map(|at| (at, false)).collect();
        while let Some((at, leaving)) = stack.pop() {
            if leaving {
                order.push(at);
                continue;
            }
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            stack.push((at, true));
            for producer in self.producers(at) {
                stack.push((producer, false));
            }
        }
        order
    }

    /// A cluster's node; `built`: its kernel, if that is known.
    fn node(&self, cluster: &Cluster, built: Option<Built>) -> Result<Node, Diagnostic> {
        let reason = |default: &str| match cluster.reasons.is_empty() {
            true => default.to_string(),
            false => cluster.reasons.join("; "),
        };
        match cluster.kind {
            ClusterKind::Plain => {
                let built = built.map_or_else(|| self.rebuild(&cluster.spec), Ok)?;
                Ok(self.kernel_node(&cluster.spec, built, reason("nothing to fuse with")))
            }
            ClusterKind::Product(value) => {
                let epilogue = match cluster.spec.actions.is_empty() {
                    true => None,
                    false => Some(built.map_or_else(|| self.rebuild(&cluster.spec), Ok)?),
                };
                Ok(self.product_node(value, epilogue, reason("nothing runs on its tiles")))
            }
            ClusterKind::Special(inst) => self.special_node(cluster, inst),
        }
    }

    /// A kernel that could be built before.
    fn rebuild(&self, spec: &Spec) -> Result<Built, Diagnostic> {
        self.build(spec)
            .map_err(|reason| internal(Span::NONE, format!("a kernel was lost: {reason}")))
    }

    fn kernel_node(&self, spec: &Spec, built: Built, reason: String) -> Node {
        let roots = spec.roots();
        let mut spans = roots.iter().map(|&v| span_of(&self.prepared.f, v));
        Node {
            // What a pass stores for the next one is no input.
            loads: built
                .loads()
                .filter(|v| !built.stores().any(|own| own == *v))
                .collect(),
            stores: built.stores().collect(),
            reason,
            span: spans.find(|s| !s.is_none()).unwrap_or(Span::NONE),
            work: Work::Kernels(vec![built]),
        }
    }

    /// A product with the sums that it takes along, and what runs on its tiles.
    fn product_node(&self, value: Value, epilogue: Option<Built>, reason: String) -> Node {
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
        let limit = product.limit.map(|(limit, _)| limit);
        let read = epilogue.iter().flat_map(Built::loads);
        let loads = product
            .operands()
            .chain(limit)
            .chain(read.filter(|&v| v != value));
        let loads = distinct(loads);
        let mut stores = match &epilogue {
            None => vec![value],
            Some(built) => built.stores().collect(),
        };
        let first = product.first.into_iter().flat_map(|first| first.sums);
        stores.extend(product.sums.into_iter().chain(first).flatten());
        Node {
            work: Work::Product {
                value,
                product: Box::new(product),
                epilogue: epilogue.map(Box::new),
            },
            loads,
            stores,
            reason,
            span: span_of(&self.prepared.f, value),
        }
    }

    fn special_node(&self, cluster: &Cluster, inst: Inst) -> Result<Node, Diagnostic> {
        let f = &self.prepared.f;
        let data = &f.insts[inst];
        let result = data.results[0];
        let span = data.span;
        if matches!(data.op, Op::Loop(_)) {
            return Ok(Node {
                work: Work::Loop(inst),
                loads: cluster.loads.clone(),
                stores: data.results.to_vec(),
                reason: "rounds that carry a state".to_string(),
                span,
            });
        }
        if calls_runtime(f, inst) {
            return Ok(Node {
                work: Work::Call(inst),
                loads: cluster.loads.clone(),
                stores: vec![result],
                reason: small::reason(f, inst).to_string(),
                span,
            });
        }
        let built: Vec<Built> = specs_of_parts(f, inst)
            .iter()
            .map(|spec| self.rebuild(spec))
            .collect::<Result<_, _>>()?;
        let mut loads = distinct(built.iter().flat_map(Built::loads));
        loads.retain(|&v| v != result);
        Ok(Node {
            work: Work::Kernels(built),
            loads,
            stores: vec![result],
            reason: format!("{} fills its buffer part by part", data.op.name()),
            span,
        })
    }
}
