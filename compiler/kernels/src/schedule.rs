//! From nodes to a plan: which results overwrite inputs in place, the order of the steps, and
//! the plan's buffers.
//!
//! The order keeps memory low, checks guards as soon as their values are there, and writes an
//! input's memory only after all guards and all other readers of that input. Where that is
//! impossible the result is computed elsewhere and copied at the end.

use crate::emit::Bind;
use crate::fuse::{Groups, Node, Work};
use crate::internal;
use crate::kernel::{Built, in_place};
use crate::lir::Kernel;
use crate::looped;
use crate::place::{Lifetime, place};
use crate::plan::{
    Before, BufferRef, Gemm, Kept, KernelRef, LevelsCall, Matrix, MatrixCall, Place, Plan,
    PlanBuffer, Step, StepKind,
};
use crate::prepare::Prepared;
use crate::small;
use aec_ir::{Def, Function, Inst, Op, Type, Value};
use aec_runtime::Elem;
use aec_runtime::gemm::Walk;
use aec_runtime::linalg::{Shape, kept_factors};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::{PrimaryMap, SecondaryMap};
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

/// A value that is written over another one.
struct Link {
    writer: usize,
    before: Value,
    after: Value,
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

    /// Puts a result in a param's memory, or a copy at the end.
    fn alias(&mut self, param: usize, result: usize) {
        let f = &self.prepared.f;
        let (p, v) = (f.params[param], f.results[result]);
        if let Some(links) = self.links(p, v)
            && self.constrain(&links)
        {
            for link in &links {
                if link.after != v {
                    self.on_the_way.insert(link.after, param);
                }
            }
            self.in_input.insert(result, param);
            return;
        }
        let mut before: HashSet<usize> = self.readers(p).into_iter().collect();
        before.extend(self.guards());
        before.extend(self.owner.get(&v));
        before.extend(0..self.nodes.len());
        self.tasks.push(Task::CopyBack(result));
        self.before.push(before);
    }

    /// How a result comes to stand in a param's memory, the last value first: by rows written
    /// over what stands there, or because its kernel reads the param, if at all, only where it
    /// writes.
    fn links(&self, p: Value, v: Value) -> Option<Vec<Link>> {
        let f = &self.prepared.f;
        let mut links = Vec::new();
        let mut after = v;
        loop {
            let writer = *self.owner.get(&after)?;
            let base = self.written_over(writer, after);
            let goes_on = base.is_some_and(|base| base != p && self.owner.contains_key(&base));
            let before = match base {
                Some(base) if goes_on && !f.results.contains(&base) => base,
                _ if self.fits_in_place(writer, p, after) => p,
                _ => return None,
            };
            links.push(Link {
                writer,
                before,
                after,
            });
            if before == p {
                return Some(links);
            }
            after = before;
        }
    }

    /// What a node copies before it writes over parts of the copy.
    fn written_over(&self, writer: usize, v: Value) -> Option<Value> {
        match &self.nodes[writer].work {
            Work::Kernels(built) => match built.as_slice() {
                [first, rest @ ..] => first.copies.and_then(|(from, to)| {
                    let unread = rest.iter().all(|built| built.loads().all(|l| l != from));
                    (to == v && unread).then_some(from)
                }),
                [] => None,
            },
            Work::Product { .. } | Work::Call(_) | Work::Loop(_) => None,
        }
    }

    /// Lets every link's writer wait for the others that read what it overwrites, and the one
    /// that writes the param's memory first for the guards. False, and nothing changes, if that
    /// is impossible.
    fn constrain(&mut self, links: &[Link]) -> bool {
        let saved: Vec<HashSet<usize>> = links
            .iter()
            .map(|link| self.before[link.writer].clone())
            .collect();
        for link in links {
            let readers = self.readers(link.before);
            let others = readers.into_iter().filter(|&t| t != link.writer);
            self.before[link.writer].extend(others);
        }
        if let Some(first) = links.last() {
            let guards = self.guards();
            self.before[first.writer].extend(guards);
        }
        if links.iter().any(|link| self.reaches(link.writer)) {
            for (link, before) in links.iter().zip(saved) {
                self.before[link.writer] = before;
            }
            return false;
        }
        true
    }

    fn fits_in_place(&self, writer: usize, p: Value, v: Value) -> bool {
        let node = &self.nodes[writer];
        if !node.loads.contains(&p) {
            return true;
        }
        match &node.work {
            // Only the first may read what the others change.
            Work::Kernels(built) => match built.as_slice() {
                [first, rest @ ..] => {
                    in_place(first, p, v) && rest.iter().all(|built| built.loads().all(|l| l != p))
                }
                [] => false,
            },
            Work::Product {
                product, epilogue, ..
            } => {
                product.a.value != p
                    && product.b.value != p
                    && epilogue.as_ref().is_some_and(|built| in_place(built, p, v))
            }
            Work::Call(_) | Work::Loop(_) => false,
        }
    }

    /// Whether a task must come before itself.
    fn reaches(&self, from: usize) -> bool {
        let mut seen = vec![false; self.tasks.len()];
        let mut work: Vec<usize> = self.before[from].iter().copied().collect();
        while let Some(at) = work.pop() {
            if at == from {
                return true;
            }
            if !std::mem::replace(&mut seen[at], true) {
                work.extend(self.before[at].iter().copied());
            }
        }
        false
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

    fn plan(&self, original: &Function, order: &[usize]) -> Result<Plan, Diagnostic> {
        let f = &self.prepared.f;
        let mut b = Builder {
            plan: Plan {
                name: f.name.clone(),
                inputs: f.params.iter().map(|&v| f.ty(v).clone()).collect(),
                outputs: f.results.iter().map(|&v| f.ty(v).clone()).collect(),
                aliases: original
                    .aliases
                    .iter()
                    .map(|&(param, result)| (result, param))
                    .collect(),
                buffers: PrimaryMap::new(),
                kernels: PrimaryMap::new(),
                steps: Vec::new(),
                arena_bytes: 0,
                checks: self.prepared.check_infos.clone(),
            },
            of_value: HashMap::default(),
            factors: HashMap::default(),
            within: Vec::new(),
            status: None,
            nowhere: None,
        };
        for (index, &v) in f.params.iter().enumerate() {
            b.add(v, f.ty(v), Place::Input(index as u32));
        }
        let copied: HashSet<usize> = self
            .tasks
            .iter()
            .filter_map(|task| match task {
                Task::CopyBack(result) => Some(*result),
                Task::Node(_) | Task::Guard(_) => None,
            })
            .collect();
        for (index, &v) in f.results.iter().enumerate() {
            let place = match self.in_input.get(&index) {
                Some(&param) => Place::Input(param as u32),
                None if copied.contains(&index) => Place::Arena(0),
                None => Place::Output(index as u32),
            };
            b.add(v, f.ty(v), place);
        }
        for &inst in &f.order {
            let data = &f.insts[inst];
            if let Op::Dense(tensor) = &data.op {
                let v = data.results[0];
                b.add(v, f.ty(v), Place::Constant(tensor.clone()));
            }
        }
        for node in &self.nodes {
            for &v in &node.stores {
                if !b.of_value.contains_key(&v) {
                    let place = match self.on_the_way.get(&v) {
                        Some(&param) => Place::Input(param as u32),
                        None => Place::Arena(0),
                    };
                    b.add(v, f.ty(v), place);
                }
            }
        }
        for &task in order {
            match self.tasks[task] {
                Task::Node(at) => self.steps(&mut b, &self.nodes[at])?,
                Task::Guard(index) => {
                    let guard = f.guards[index];
                    let buffer = b.get(guard.value)?;
                    b.step(
                        StepKind::Guard { buffer },
                        guard.span,
                        "stops the run before inputs are overwritten".to_string(),
                    );
                }
                Task::CopyBack(result) => {
                    let from = b.get(f.results[result])?;
                    let param = original
                        .aliases
                        .iter()
                        .find(|alias| alias.1 == result)
                        .map_or(0, |alias| alias.0);
                    let to = b.get(f.params[param])?;
                    b.step(
                        StepKind::Copy { from, to },
                        Span::NONE,
                        "the input is still read while the result is computed".to_string(),
                    );
                }
            }
        }
        b.keep_panels();
        b.place_arena();
        Ok(b.plan)
    }

    fn steps(&self, b: &mut Builder, node: &Node) -> Result<(), Diagnostic> {
        match &node.work {
            Work::Kernels(kernels) => {
                for built in kernels {
                    if let Some((from, to)) = built.copies
                        && b.plan.buffers[b.get(from)?].place == b.plan.buffers[b.get(to)?].place
                        && matches!(b.plan.buffers[b.get(to)?].place, Place::Input(_))
                    {
                        continue;
                    }
                    let buffers = self.bind(b, built, None)?;
                    let kernel = b.kernel(&built.kernel);
                    b.step(
                        StepKind::Kernel {
                            kernel,
                            buffers,
                            parallel: built.parallel,
                        },
                        node.span,
                        node.reason.clone(),
                    );
                    if built.may_stop {
                        b.step(
                            StepKind::Settle,
                            node.span,
                            "a matrix may have no result".to_string(),
                        );
                    }
                }
            }
            Work::Product {
                value,
                product,
                epilogue,
            } => {
                let matrix = |b: &mut Builder, o: &crate::product::Operand| {
                    Ok::<Matrix, Diagnostic>(Matrix {
                        buffer: b.get(o.value)?,
                        offset: o.offset,
                        rows: o.rows,
                        cols: o.cols,
                        batch: o.batch,
                    })
                };
                let a_matrix = matrix(b, &product.a)?;
                let b_matrix = matrix(b, &product.b)?;
                let whole_rows = epilogue.as_ref().is_some_and(|built| built.whole_rows);
                let (c, epilogue) = match epilogue {
                    None => (b.get(*value)?, None),
                    Some(built) => {
                        let buffers = self.bind(b, built, Some(*value))?;
                        (b.nowhere(), Some((b.kernel(&built.kernel), buffers)))
                    }
                };
                let limit = match product.limit {
                    Some((limit, each)) => Some((b.get(limit)?, each)),
                    None => None,
                };
                let sums_of = |b: &mut Builder, values: [Option<Value>; 2]| {
                    let mut sums = [None; 2];
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = value.map(|value| b.get(value)).transpose()?;
                    }
                    Ok::<_, Diagnostic>(sums)
                };
                let sums = sums_of(b, product.sums)?;
                let before = match &product.first {
                    None => None,
                    Some(first) => Some(Before {
                        k: first.k,
                        a: matrix(b, &first.a)?,
                        b: matrix(b, &first.b)?,
                        factor: first.factor,
                        sums: sums_of(b, first.sums)?,
                    }),
                };
                b.step(
                    StepKind::Gemm(Box::new(Gemm {
                        batch: product.batch,
                        m: product.m,
                        n: product.n,
                        k: product.k,
                        a: a_matrix,
                        b: b_matrix,
                        c: Matrix {
                            buffer: c,
                            offset: 0,
                            rows: Walk::step(product.row_stride),
                            cols: Walk::step(1),
                            batch: product.batch_walk,
                        },
                        accumulate: false,
                        limit,
                        epilogue,
                        whole_rows,
                        sums,
                        before,
                    })),
                    node.span,
                    node.reason.clone(),
                );
            }
            Work::Loop(inst) => looped::embed(b, self.prepared, *inst, node)?,
            Work::Call(inst) => {
                let data = &self.prepared.f.insts[*inst];
                let from = b.get(data.operands[0])?;
                let to = b.get(data.results[0])?;
                let dims = self.prepared.f.dims(data.operands[0]);
                let kind = match &data.op {
                    Op::Matrix(op) => {
                        let right = data.operands.get(1).copied();
                        StepKind::Matrix(MatrixCall {
                            op: *op,
                            shape: Shape::new(dims, right.map(|b| self.prepared.f.dims(b))),
                            a: from,
                            b: right.map(|right| b.get(right)).transpose()?,
                            to,
                            factors: self.factors(b, *inst),
                        })
                    }
                    Op::Levels { rows } => {
                        let mut trees = [from; 3];
                        for (tree, &v) in trees.iter_mut().zip(&data.operands) {
                            *tree = b.get(v)?;
                        }
                        let [.., together, nodes] = *dims else {
                            return Err(internal(data.span, "no trees".to_string()));
                        };
                        StepKind::Levels(LevelsCall {
                            trees,
                            to,
                            nodes,
                            together,
                            rows: *rows,
                        })
                    }
                    _ => StepKind::ArgSort {
                        from,
                        to,
                        len: dims.last().copied().unwrap_or(1),
                        keep: self.indices_wanted(data.results[0]),
                    },
                };
                b.step(kind, node.span, node.reason.clone());
            }
        }
        Ok(())
    }

    /// The factors that a call shares with those that come later, or with an earlier one.
    fn factors(&self, b: &mut Builder, inst: Inst) -> Option<Kept> {
        let f = &self.prepared.f;
        let data = &f.insts[inst];
        let Op::Matrix(op) = data.op else { return None };
        let matrices = data.operands[0];
        if let Some(&known) = b.factors.get(&matrices) {
            return Some(Kept::Known(known));
        }
        let len = kept_factors(op, small::shape_of(f, inst))?;
        let shares = |other: &Inst| {
            let other_data = &f.insts[*other];
            *other != inst
                && matches!(other_data.op, Op::Matrix(other) if other == op)
                && other_data.operands[0] == matrices
                && kept_factors(op, small::shape_of(f, *other)).is_some()
        };
        f.order.iter().any(shares).then(|| {
            let factors = b.plan.buffers.push(PlanBuffer {
                ty: Type::new(Elem::F64, &[len]),
                place: Place::Arena(0),
            });
            b.factors.insert(matrices, factors);
            Kept::Made(factors)
        })
    }

    /// How many indices of each sorted row are read: all, if not every reader takes the first
    /// ones alone.
    fn indices_wanted(&self, sorted: Value) -> usize {
        let f = &self.prepared.f;
        let dims = f.dims(sorted);
        let (len, axis) = (dims.last().copied().unwrap_or(1), dims.len() - 1);
        if f.results.contains(&sorted) {
            return len;
        }
        let users = f.order.iter().map(|&inst| &f.insts[inst]);
        users
            .filter(|data| data.operands.contains(&sorted))
            .map(|data| match &data.op {
                Op::Slice { limit, .. } => limit[axis],
                _ => len,
            })
            .max()
            .unwrap_or(len)
    }

    /// The buffers of a kernel; of a tile kernel those after the tile.
    fn bind(
        &self,
        b: &mut Builder,
        built: &Built,
        tile: Option<Value>,
    ) -> Result<Vec<BufferRef>, Diagnostic> {
        let skip = usize::from(tile.is_some());
        built.binds[skip..]
            .iter()
            .map(|bind| match bind {
                Bind::Value(v) => b.get(*v),
                Bind::Status => Ok(b.status()),
            })
            .collect()
    }
}

pub(crate) struct Builder {
    pub(crate) plan: Plan,
    of_value: HashMap<Value, BufferRef>,
    /// Factors that calls of linear algebra share, by their matrices.
    factors: HashMap<Value, BufferRef>,
    /// Buffers that lie in another one, and where.
    pub(crate) within: Vec<(BufferRef, BufferRef, usize)>,
    status: Option<BufferRef>,
    nowhere: Option<BufferRef>,
}

impl Builder {
    fn add(&mut self, v: Value, ty: &Type, place: Place) {
        let buffer = self.plan.buffers.push(PlanBuffer {
            ty: ty.clone(),
            place,
        });
        self.of_value.insert(v, buffer);
    }

    pub(crate) fn get(&self, v: Value) -> Result<BufferRef, Diagnostic> {
        self.of_value
            .get(&v)
            .copied()
            .ok_or_else(|| internal(Span::NONE, format!("{v} is read but never stored")))
    }

    pub(crate) fn status(&mut self) -> BufferRef {
        let plan = &mut self.plan;
        *self.status.get_or_insert_with(|| {
            plan.buffers.push(PlanBuffer {
                ty: Type::new(Elem::I64, &[2]),
                place: Place::Status,
            })
        })
    }

    /// What the result of a product that lives in its tiles only is bound to.
    fn nowhere(&mut self) -> BufferRef {
        let plan = &mut self.plan;
        *self.nowhere.get_or_insert_with(|| {
            plan.buffers.push(PlanBuffer {
                ty: Type::new(Elem::F32, &[0]),
                place: Place::Arena(0),
            })
        })
    }

    pub(crate) fn step(&mut self, kind: StepKind, span: Span, reason: String) {
        self.plan.steps.push(Step { kind, span, reason });
    }

    /// The kernel's id; equal code is kept once.
    pub(crate) fn kernel(&mut self, kernel: &Kernel) -> KernelRef {
        for (id, old) in &self.plan.kernels {
            if same_code(old, kernel) {
                return id;
            }
        }
        self.plan.kernels.push(kernel.clone())
    }

    /// Says which panels outlive a run.
    fn keep_panels(&mut self) {
        let plan = &mut self.plan;
        for step in &mut plan.steps {
            let StepKind::Pack(pack) = &mut step.kind else {
                continue;
            };
            pack.kept = match plan.buffers[pack.from.buffer].place {
                Place::Input(at) => {
                    let written = plan.aliases.iter().any(|&(_, input)| input == at as usize);
                    (!written).then_some(at)
                }
                _ => None,
            };
        }
    }

    fn place_arena(&mut self) {
        let plan = &mut self.plan;
        let end = plan.steps.len();
        let mut lives: HashMap<BufferRef, (usize, usize)> = HashMap::default();
        for (at, step) in plan.steps.iter().enumerate() {
            for buffer in buffers_of(&step.kind) {
                if matches!(plan.buffers[buffer].place, Place::Arena(_))
                    && Some(buffer) != self.nowhere
                {
                    let life = lives.entry(buffer).or_insert((at, at));
                    life.1 = at;
                }
            }
        }
        for step in &plan.steps {
            if let StepKind::Pack(pack) = &step.kind
                && pack.kept.is_some()
            {
                lives.insert(pack.to, (0, end));
            }
        }
        let mut ids: Vec<BufferRef> = lives.keys().copied().collect();
        ids.sort();
        let lifetimes: Vec<Lifetime> = ids
            .iter()
            .map(|id| {
                let ty = &plan.buffers[*id].ty;
                Lifetime {
                    bytes: ty.len() * ty.elem.bytes(),
                    first: lives[id].0,
                    last: lives[id].1,
                }
            })
            .collect();
        let (offsets, top) = place(&lifetimes);
        for (id, offset) in ids.iter().zip(offsets) {
            plan.buffers[*id].place = Place::Arena(offset);
        }
        for &(inner, outer, at) in &self.within {
            if let Place::Arena(base) = plan.buffers[outer].place {
                plan.buffers[inner].place = Place::Arena(base + at);
            }
        }
        plan.arena_bytes = top;
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

/// All buffers that a step touches.
pub fn buffers_of(kind: &StepKind) -> Vec<BufferRef> {
    match kind {
        StepKind::Kernel { buffers, .. } => buffers.clone(),
        StepKind::Gemm(gemm) => {
            let mut out = vec![gemm.a.buffer, gemm.b.buffer];
            match &gemm.epilogue {
                Some((_, buffers)) => out.extend(buffers.iter().copied()),
                None => out.push(gemm.c.buffer),
            }
            out.extend(gemm.limit.map(|(limit, _)| limit));
            out.extend(gemm.more_buffers());
            out
        }
        StepKind::Pack(pack) => vec![pack.from.buffer, pack.to],
        StepKind::Copy { from, to } | StepKind::ArgSort { from, to, .. } => vec![*from, *to],
        StepKind::Levels(call) => call.trees.into_iter().chain([call.to]).collect(),
        StepKind::Matrix(call) => {
            let kept = call.factors.map(Kept::buffer);
            let operands = call.b.into_iter().chain([call.a, call.to]);
            operands.chain(kept).collect()
        }
        StepKind::Settle => Vec::new(),
        StepKind::Guard { buffer } => vec![*buffer],
        StepKind::Loop(looped) => looped.touches.clone(),
    }
}

/// Whether two kernels do the same; names do not matter.
fn same_code(a: &Kernel, b: &Kernel) -> bool {
    a.arg_count == b.arg_count
        && a.values.len() == b.values.len()
        && a.buffers.len() == b.buffers.len()
        && a.vars.len() == b.vars.len()
        && a.buffers
            .values()
            .zip(b.buffers.values())
            .all(|(x, y)| x.elem == y.elem && x.access == y.access)
        && a.body == b.body
        && a.accs == b.accs
        && a.values == b.values
}
