//! From nodes to a plan: which results overwrite inputs in place (`in_place`), the order of the
//! steps, and the plan's steps and buffers (`steps`, `builder`).
//!
//! The order keeps memory low, checks guards as soon as their values are there, and writes an
//! input's memory only after all guards and all other readers of that input. Where that is
//! impossible the result is computed elsewhere and copied at the end.

mod builder;
mod in_place;
mod steps;

use crate::fuse::{Groups, Node, Work};
use crate::internal;
use crate::plan::Plan;
use crate::prepare::Prepared;
use aec_ir::{Def, Function, Inst, Op, Value};
use aec_syntax::{Diagnostic, Span};
pub(crate) use builder::Builder;
use cranelift_entity::SecondaryMap;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::collections::BTreeSet;

/// A task to be ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Task {
    /// A node.
    Node(usize),
    /// A guard.
    Guard(usize),
    /// The copy of a result (its index) to the input that it aliases.
    CopyBack(usize),
}

/// What is known of the tasks while they are brought into order.
struct Scheduler<'a> {
    prepared: &'a Prepared,
    nodes: Vec<Node>,
    tasks: Vec<Task>,
    /// For each task, those that must come before.
    before: Vec<HashSet<usize>>,
    owner: HashMap<Value, usize>,
    /// Result index to param index, for results computed in the input's memory.
    in_input: HashMap<usize, usize>,
    /// Values on the way to such a result that stand there before it, with the param's index.
    on_the_way: HashMap<Value, usize>,
}

/// Makes the plan of a function's nodes.
pub fn schedule(f: &Function, prepared: &Prepared, groups: Groups) -> Result<Plan, Diagnostic> {
    let nodes = groups.nodes;
    let mut s = Scheduler {
        prepared,
        tasks: (0..nodes.len()).map(Task::Node).collect(),
        before: vec![HashSet::default(); nodes.len()],
        owner: HashMap::default(),
        in_input: HashMap::default(),
        on_the_way: HashMap::default(),
        nodes,
    };
    for (at, node) in s.nodes.iter().enumerate() {
        for &v in &node.stores {
            s.owner.insert(v, at);
        }
    }
    for at in 0..s.nodes.len() {
        for v in s.nodes[at].loads.clone() {
            if let Some(&owner) = s.owner.get(&v)
                && owner != at
            {
                s.before[at].insert(owner);
            }
        }
    }
    for index in 0..prepared.f.guards.len() {
        let v = prepared.f.guards[index].value;
        let before = s.owner.get(&v).copied().into_iter().collect();
        s.tasks.push(Task::Guard(index));
        s.before.push(before);
    }
    for &(param, result) in &f.aliases {
        s.alias(param, result);
    }
    let order = s.order()?;
    s.plan(f, &order)
}

impl Scheduler<'_> {
    /// What may stop the run: guards, and linear algebra that may meet a matrix without a
    /// result. An input's memory is written after them.
    fn guards(&self) -> Vec<usize> {
        (0..self.tasks.len())
            .filter(|&t| match self.tasks[t] {
                Task::Guard(_) => true,
                Task::Node(at) => match &self.nodes[at].work {
                    Work::Call(inst) | Work::Loop(inst) => may_stop(&self.prepared.f, *inst),
                    Work::Kernels(built) => built.iter().any(|built| built.may_stop),
                    Work::Product { .. } => false,
                },
                Task::CopyBack(_) => false,
            })
            .collect()
    }

    /// Tasks that read a value's memory.
    fn readers(&self, v: Value) -> Vec<usize> {
        (0..self.tasks.len())
            .filter(|&t| match self.tasks[t] {
                Task::Node(at) => self.nodes[at].loads.contains(&v),
                Task::Guard(index) => self.prepared.f.guards[index].value == v,
                Task::CopyBack(_) => false,
            })
            .collect()
    }

    /// Topological order that takes what frees the most memory first, guards before all.
    fn order(&self) -> Result<Vec<usize>, Diagnostic> {
        let count = self.tasks.len();
        let mut waiting: Vec<usize> = self.before.iter().map(HashSet::len).collect();
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (at, before) in self.before.iter().enumerate() {
            for &b in before {
                after[b].push(at);
            }
        }
        let bytes = self.arena_bytes();
        // The nodes that have not yet run of those that read a value.
        let mut readers: SecondaryMap<Value, HashSet<usize>> = SecondaryMap::new();
        for (task, of) in self.tasks.iter().enumerate() {
            if let Task::Node(at) = of {
                for &v in &self.nodes[*at].loads {
                    readers[v].insert(task);
                }
            }
        }
        let key = |task: usize, readers: &SecondaryMap<Value, HashSet<usize>>| {
            let cost = match self.tasks[task] {
                Task::Guard(_) => i64::MIN,
                Task::CopyBack(_) => i64::MAX,
                Task::Node(at) => {
                    let node = &self.nodes[at];
                    let made: i64 = node.stores.iter().map(|&v| bytes[v]).sum();
                    let last = node.loads.iter().filter(|&&v| readers[v].len() == 1);
                    made - last.map(|&v| bytes[v]).sum::<i64>()
                }
            };
            (cost, task)
        };
        let mut ready: BTreeSet<(i64, usize)> = (0..count)
            .filter(|&task| waiting[task] == 0)
            .map(|task| key(task, &readers))
            .collect();
        let mut order = Vec::with_capacity(count);
        while let Some((_, task)) = ready.pop_first() {
            order.push(task);
            if let Task::Node(at) = self.tasks[task] {
                for &v in &self.nodes[at].loads {
                    // The one reader that is left will free it.
                    let others = readers[v].iter().filter(|&&other| other != task);
                    let last = match (readers[v].len(), others.copied().next()) {
                        (2, Some(last)) => Some((last, key(last, &readers))),
                        _ => None,
                    };
                    readers[v].remove(&task);
                    if let Some((last, before)) = last
                        && ready.remove(&before)
                    {
                        ready.insert(key(last, &readers));
                    }
                }
            }
            for &next in &after[task] {
                waiting[next] -= 1;
                if waiting[next] == 0 {
                    ready.insert(key(next, &readers));
                }
            }
        }
        if order.len() < count {
            return Err(internal(
                Span::NONE,
                "the steps of a plan need one another".to_string(),
            ));
        }
        Ok(order)
    }

    /// Bytes of the values that live in the arena, 0 of others.
    fn arena_bytes(&self) -> SecondaryMap<Value, i64> {
        let f = &self.prepared.f;
        let mut bytes = SecondaryMap::new();
        for (v, data) in &f.values {
            let is_inst = matches!(data.def, Def::Result(inst, _)
                if !matches!(f.insts[inst].op, Op::Dense(_)));
            if is_inst && !self.on_the_way.contains_key(&v) {
                bytes[v] = (f.ty(v).len() * f.ty(v).elem.bytes()) as i64;
            }
        }
        for &result in &f.results {
            bytes[result] = 0;
        }
        bytes
    }
}

/// Whether an op is linear algebra that may meet a matrix without a result, or a loop around one.
fn may_stop(f: &Function, inst: Inst) -> bool {
    match &f.insts[inst].op {
        Op::Matrix(_) => true,
        Op::Loop(looped) => {
            let body = &looped.body;
            body.order.iter().any(|&inst| may_stop(body, inst))
        }
        _ => false,
    }
}
