//! Loops in plans: a body is planned like a function whose results overwrite the state that it
//! took, and its steps become the rounds of one step of the plan around it.

use crate::fuse::Node;
use crate::plan::{Before, BufferRef, LoopStep, Matrix, Pack, Place, PlanBuffer, Step, StepKind};
use crate::prepare::Prepared;
use crate::schedule::Builder;
use crate::{Options, internal, plan_part};
use aec_ir::{Function, Inst, Loop, Op, Type};
use aec_runtime::Elem;
use aec_runtime::gemm::{Axes, PANEL_COLS, Walk};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use std::ops::Range;

/// Rounds from which on it pays to bring what they multiply by into panels first.
const FEW_ROUNDS: usize = 4;
/// Fewest rows and columns of such a matrix.
const WORTH_PANELS: usize = 16;
/// Rows of a product above which its own work hides that of finding a right side's columns.
const MANY_ROWS: usize = 512;

/// The params of a loop's body whose products with one row are made matrix products, as their
/// matrix can be brought into panels: its constants, if the rounds are enough.
fn panelled(looped: &Loop) -> Range<usize> {
    let first = looped.first_constant();
    if looped.count >= FEW_ROUNDS {
        first..looped.body.params.len()
    } else {
        first..first
    }
}

/// Plans the bodies of all loops; their checks follow those of the function.
pub fn plan_bodies(
    prepared: &mut Prepared,
    options: &Options,
    first_check: i64,
) -> Result<(), Diagnostic> {
    for &inst in &prepared.f.order {
        let Op::Loop(looped) = &prepared.f.insts[inst].op else {
            continue;
        };
        let mut body: Function = (*looped.body).clone();
        body.aliases = (0..looped.carried).map(|at| (at + 1, at)).collect();
        let checks = first_check + prepared.check_infos.len() as i64;
        let plan = plan_part(&body, options, checks, panelled(looped))?;
        prepared.check_infos.extend(plan.checks.iter().cloned());
        prepared.loops.insert(inst, plan);
    }
    Ok(())
}

/// Appends the steps of a loop: its state is copied to where its results will be, then the
/// rounds run on it in place.
pub fn embed(
    b: &mut Builder,
    prepared: &Prepared,
    inst: Inst,
    node: &Node,
) -> Result<(), Diagnostic> {
    let data = &prepared.f.insts[inst];
    let (Op::Loop(looped), Some(body)) = (&data.op, prepared.loops.get(&inst)) else {
        return Err(internal(data.span, "a loop without a plan".to_string()));
    };
    let index = b.temporary(Type::scalar(Elem::I64));
    let scratch = b.temporary(Type::new(Elem::Bool, &[body.arena_bytes]));
    let mut touches = vec![index];
    if body.arena_bytes > 0 {
        touches.push(scratch);
    }
    let operands = data
        .operands
        .iter()
        .map(|&v| b.get(v))
        .collect::<Result<Vec<_>, _>>()?;
    let results = data
        .results
        .iter()
        .map(|&v| b.get(v))
        .collect::<Result<Vec<_>, _>>()?;
    for (&from, &to) in operands.iter().zip(&results).take(looped.carried) {
        let reason = "the state begins where its rounds will leave it".to_string();
        b.step(StepKind::Copy { from, to }, data.span, reason);
    }
    touches.extend(&results);
    touches.extend(&operands[looped.carried..]);

    let mut slots = Vec::new();
    let mut buffers: SecondaryMap<BufferRef, Option<BufferRef>> = SecondaryMap::new();
    for (id, buffer) in &body.buffers {
        let mut slot = |b: &mut Builder, of: BufferRef| {
            let id = b.plan.buffers.push(PlanBuffer {
                ty: buffer.ty.clone(),
                place: Place::Slot {
                    of,
                    stride: buffer.ty.len() * buffer.ty.elem.bytes(),
                },
            });
            slots.push(id);
            id
        };
        let here = match &buffer.place {
            Place::Input(0) => index,
            Place::Input(at) => {
                let at = *at as usize - 1;
                if at < looped.carried {
                    results[at]
                } else if at < looped.carried + looped.sliced {
                    slot(b, operands[at])
                } else {
                    operands[at]
                }
            }
            // A result that did not become an input's memory is a yield.
            Place::Output(at) => slot(b, results[*at as usize]),
            Place::Arena(offset) => {
                let id = b.temporary(buffer.ty.clone());
                b.within.push((id, scratch, *offset));
                id
            }
            Place::Status => b.status(),
            Place::Constant(_) | Place::Slot { .. } => b.plan.buffers.push(buffer.clone()),
        };
        buffers[id] = Some(here);
    }
    // Slots of inner loops lead to buffers that moved.
    for (id, buffer) in &body.buffers {
        if let (Place::Slot { of, stride }, Some(here)) = (&buffer.place, buffers[id]) {
            b.plan.buffers[here].place = Place::Slot {
                of: moved(&buffers, *of)?,
                stride: *stride,
            };
        }
    }
    let kernels: PrimaryMap<_, _> = body
        .kernels
        .values()
        .map(|kernel| b.kernel(kernel))
        .collect();
    let steps = body
        .steps
        .iter()
        .map(|step| renamed(step, &buffers, &kernels))
        .collect::<Result<Vec<_>, _>>()?;
    let mut steps = steps;
    if looped.count >= FEW_ROUNDS {
        let constants = &operands[looped.carried + looped.sliced..];
        touches.extend(pack_constants(b, &mut steps, constants, data.span));
    }
    touches.sort();
    touches.dedup();
    let step = LoopStep {
        count: looped.count,
        reverse: looped.reverse,
        index,
        exit: looped.exit.then(|| results[0]),
        limit: looped.split_limit(&operands).1,
        yields: match looped.limited {
            true => results[looped.carried..].to_vec(),
            false => Vec::new(),
        },
        steps,
        slots,
        touches,
    };
    b.step(StepKind::Loop(step), data.span, node.reason.clone());
    Ok(())
}

/// Brings the right sides that every round reads into panels before the first round: rows of a
/// matrix as a script has it lie apart, or are columns. Gives the panels.
fn pack_constants(
    b: &mut Builder,
    steps: &mut [Step],
    constants: &[BufferRef],
    span: Span,
) -> Vec<BufferRef> {
    let mut packed: Vec<Pack> = Vec::new();
    for step in steps {
        let StepKind::Gemm(gemm) = &mut step.kind else {
            continue;
        };
        let plain = gemm.b.rows.uniform().is_some() && gemm.b.cols.uniform().is_some();
        let small = gemm.n < WORTH_PANELS || gemm.k < WORTH_PANELS || gemm.m > MANY_ROWS;
        if gemm.batch != 1
            || gemm.limit.is_some()
            || gemm.sums[1].is_some()
            || gemm.before.is_some()
            || !plain
            || small
            || !constants.contains(&gemm.b.buffer)
        {
            continue;
        }
        let (n, k, from) = (gemm.n, gemm.k, gemm.b);
        let same = |pack: &&Pack| (pack.from, pack.n, pack.k) == (from, n, k);
        let to = match packed.iter().find(same) {
            Some(pack) => pack.to,
            None => {
                let elem = b.plan.buffers[from.buffer].ty.elem;
                let dims = [n.div_ceil(PANEL_COLS), k, PANEL_COLS];
                let to = b.temporary(Type::new(elem, &dims));
                packed.push(Pack {
                    from,
                    k,
                    n,
                    to,
                    kept: None,
                });
                to
            }
        };
        let Axes { rows, cols } = Axes::panels(k);
        gemm.b = Matrix {
            buffer: to,
            offset: 0,
            rows,
            cols,
            batch: Walk::step(0),
        };
    }
    let made = packed.iter().map(|pack| pack.to).collect();
    for pack in packed {
        let reason = "every round of the loop multiplies by it".to_string();
        b.step(StepKind::Pack(Box::new(pack)), span, reason);
    }
    made
}

type Buffers = SecondaryMap<BufferRef, Option<BufferRef>>;
type Kernels = PrimaryMap<crate::plan::KernelRef, crate::plan::KernelRef>;

fn moved(buffers: &Buffers, id: BufferRef) -> Result<BufferRef, Diagnostic> {
    buffers[id].ok_or_else(|| internal(Span::NONE, format!("{id} of a loop has no place")))
}

/// A step of the body with the ids of the plan around it.
fn renamed(step: &Step, buffers: &Buffers, kernels: &Kernels) -> Result<Step, Diagnostic> {
    let at = |id: &BufferRef| moved(buffers, *id);
    let all = |ids: &[BufferRef]| ids.iter().map(at).collect::<Result<Vec<_>, _>>();
    let matrix = |m: &Matrix| {
        Ok::<Matrix, Diagnostic>(Matrix {
            buffer: at(&m.buffer)?,
            ..*m
        })
    };
    let sums = |ids: [Option<BufferRef>; 2]| {
        let [a, b] = ids.map(|id| id.as_ref().map(at).transpose());
        Ok::<_, Diagnostic>([a?, b?])
    };
    let kind = match &step.kind {
        StepKind::Kernel {
            kernel,
            buffers,
            parallel,
        } => StepKind::Kernel {
            kernel: kernels[*kernel],
            buffers: all(buffers)?,
            parallel: *parallel,
        },
        StepKind::Gemm(gemm) => StepKind::Gemm(Box::new(crate::plan::Gemm {
            a: matrix(&gemm.a)?,
            b: matrix(&gemm.b)?,
            c: matrix(&gemm.c)?,
            limit: match &gemm.limit {
                Some((limit, each)) => Some((at(limit)?, *each)),
                None => None,
            },
            epilogue: match &gemm.epilogue {
                Some((kernel, ids)) => Some((kernels[*kernel], all(ids)?)),
                None => None,
            },
            sums: sums(gemm.sums)?,
            before: match &gemm.before {
                Some(before) => Some(Before {
                    a: matrix(&before.a)?,
                    b: matrix(&before.b)?,
                    sums: sums(before.sums)?,
                    ..*before
                }),
                None => None,
            },
            ..(**gemm).clone()
        })),
        StepKind::Pack(pack) => StepKind::Pack(Box::new(Pack {
            from: matrix(&pack.from)?,
            to: at(&pack.to)?,
            // Their memory is a loop's scratch.
            kept: None,
            ..**pack
        })),
        StepKind::Copy { from, to } => StepKind::Copy {
            from: at(from)?,
            to: at(to)?,
        },
        StepKind::ArgSort {
            from,
            to,
            len,
            keep,
        } => StepKind::ArgSort {
            from: at(from)?,
            to: at(to)?,
            len: *len,
            keep: *keep,
        },
        StepKind::Levels(call) => StepKind::Levels(crate::plan::LevelsCall {
            trees: [
                at(&call.trees[0])?,
                at(&call.trees[1])?,
                at(&call.trees[2])?,
            ],
            to: at(&call.to)?,
            ..call.clone()
        }),
        StepKind::Matrix(call) => StepKind::Matrix(crate::plan::MatrixCall {
            a: at(&call.a)?,
            b: call.b.as_ref().map(at).transpose()?,
            to: at(&call.to)?,
            factors: match call.factors {
                Some(kept) => Some(kept.at(at(&kept.buffer())?)),
                None => None,
            },
            ..call.clone()
        }),
        StepKind::Settle => StepKind::Settle,
        StepKind::Guard { buffer } => StepKind::Guard {
            buffer: at(buffer)?,
        },
        StepKind::Loop(inner) => StepKind::Loop(LoopStep {
            index: at(&inner.index)?,
            exit: match &inner.exit {
                Some(exit) => Some(at(exit)?),
                None => None,
            },
            limit: match &inner.limit {
                Some(limit) => Some(at(limit)?),
                None => None,
            },
            yields: all(&inner.yields)?,
            steps: inner
                .steps
                .iter()
                .map(|step| renamed(step, buffers, kernels))
                .collect::<Result<_, _>>()?,
            slots: all(&inner.slots)?,
            touches: all(&inner.touches)?,
            ..inner.clone()
        }),
    };
    Ok(Step {
        kind,
        span: step.span,
        reason: step.reason.clone(),
    })
}
