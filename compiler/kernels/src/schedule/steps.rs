//! From ordered tasks to the steps of a plan, and the buffers that they work on.

use super::builder::Builder;
use super::{Scheduler, Task};
use crate::emit::Bind;
use crate::fuse::{Node, Work};
use crate::kernel::Built;
use crate::plan::{
    Before, BufferRef, Gemm, Kept, LevelsCall, Matrix, MatrixCall, Place, Plan, StepKind,
};
use crate::product::{Operand, Product};
use crate::{internal, looped, small};
use aec_ir::{Function, Inst, Op, Type, Value};
use aec_runtime::Elem;
use aec_runtime::gemm::Walk;
use aec_runtime::linalg::{Shape, kept_factors};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::PrimaryMap;
use rustc_hash::FxHashSet as HashSet;

impl Scheduler<'_> {
    /// The plan whose steps come in this order.
    pub(super) fn plan(&self, original: &Function, order: &[usize]) -> Result<Plan, Diagnostic> {
        let f = &self.prepared.f;
        let mut b = Builder::new(Plan {
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
        });
        self.add_buffers(&mut b);
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
        Ok(b.finish())
    }

    /// A buffer for each value that has memory.
    fn add_buffers(&self, b: &mut Builder) {
        let f = &self.prepared.f;
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
                if !b.has(v) {
                    let place = match self.on_the_way.get(&v) {
                        Some(&param) => Place::Input(param as u32),
                        None => Place::Arena(0),
                    };
                    b.add(v, f.ty(v), place);
                }
            }
        }
    }

    /// The steps of a node.
    fn steps(&self, b: &mut Builder, node: &Node) -> Result<(), Diagnostic> {
        let kind = match &node.work {
            Work::Kernels(kernels) => {
                return kernels
                    .iter()
                    .try_for_each(|built| self.kernel(b, node, built));
            }
            Work::Product {
                value,
                product,
                epilogue,
            } => self.product(b, *value, product, epilogue.as_deref())?,
            Work::Call(inst) => self.call(b, *inst)?,
            Work::Loop(inst) => return looped::embed(b, self.prepared, *inst, node),
        };
        b.step(kind, node.span, node.reason.clone());
        Ok(())
    }

    /// A kernel's step, and the one that looks at its checks. None for a copy of an input to itself.
    fn kernel(&self, b: &mut Builder, node: &Node, built: &Built) -> Result<(), Diagnostic> {
        if let Some((from, to)) = built.copies
            && b.plan.buffers[b.get(from)?].place == b.plan.buffers[b.get(to)?].place
            && matches!(b.plan.buffers[b.get(to)?].place, Place::Input(_))
        {
            return Ok(());
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
        Ok(())
    }

    /// A product as a step, with what runs on its tiles.
    fn product(
        &self,
        b: &mut Builder,
        value: Value,
        product: &Product,
        epilogue: Option<&Built>,
    ) -> Result<StepKind, Diagnostic> {
        let (left, right) = (matrix(b, &product.a)?, matrix(b, &product.b)?);
        let whole_rows = epilogue.is_some_and(|built| built.whole_rows);
        let (to, epilogue) = match epilogue {
            None => (b.get(value)?, None),
            Some(built) => {
                let buffers = self.bind(b, built, Some(value))?;
                (b.nowhere(), Some((b.kernel(&built.kernel), buffers)))
            }
        };
        let limit = match product.limit {
            Some((limit, each)) => Some((b.get(limit)?, each)),
            None => None,
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
        Ok(StepKind::Gemm(Box::new(Gemm {
            batch: product.batch,
            m: product.m,
            n: product.n,
            k: product.k,
            a: left,
            b: right,
            c: Matrix {
                buffer: to,
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
        })))
    }

    /// A call of the runtime as a step.
    fn call(&self, b: &mut Builder, inst: Inst) -> Result<StepKind, Diagnostic> {
        let data = &self.prepared.f.insts[inst];
        let from = b.get(data.operands[0])?;
        let to = b.get(data.results[0])?;
        let dims = self.prepared.f.dims(data.operands[0]);
        Ok(match &data.op {
            Op::Matrix(op) => {
                let right = data.operands.get(1).copied();
                StepKind::Matrix(MatrixCall {
                    op: *op,
                    shape: Shape::new(dims, right.map(|b| self.prepared.f.dims(b))),
                    a: from,
                    b: right.map(|right| b.get(right)).transpose()?,
                    to,
                    factors: self.factors(b, inst),
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
        })
    }

    /// The factors that a call shares with those that come later, or with an earlier one.
    fn factors(&self, b: &mut Builder, inst: Inst) -> Option<Kept> {
        let f = &self.prepared.f;
        let data = &f.insts[inst];
        let Op::Matrix(op) = data.op else { return None };
        let matrices = data.operands[0];
        let (kind, len) = kept_factors(op, small::shape_of(f, inst))?;
        if let Some(&known) = b.factors.get(&(matrices, kind)) {
            return Some(Kept::Known(known));
        }
        let shares = |other: &Inst| {
            let data = &f.insts[*other];
            let Op::Matrix(op) = data.op else {
                return false;
            };
            *other != inst
                && data.operands[0] == matrices
                && kept_factors(op, small::shape_of(f, *other)).is_some_and(|(own, _)| own == kind)
        };
        f.order.iter().any(shares).then(|| {
            let factors = b.temporary(Type::new(Elem::F64, &[len]));
            b.factors.insert((matrices, kind), factors);
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

/// An operand in its buffer.
fn matrix(b: &Builder, operand: &Operand) -> Result<Matrix, Diagnostic> {
    Ok(Matrix {
        buffer: b.get(operand.value)?,
        offset: operand.offset,
        rows: operand.rows,
        cols: operand.cols,
        batch: operand.batch,
    })
}

/// The buffers of the sums that a product takes along.
fn sums_of(b: &Builder, values: [Option<Value>; 2]) -> Result<[Option<BufferRef>; 2], Diagnostic> {
    let [of_a, of_b] = values.map(|value| value.map(|value| b.get(value)).transpose());
    Ok([of_a?, of_b?])
}
