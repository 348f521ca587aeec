//! Steps of a plan made into actions: functions, shares of work and places in the table of
//! pointers, worked out once when an instance is made.
use crate::cost;
use crate::emit::{has_long_chains, read_beside};
use crate::execute::{Executable, bytes};
use crate::jit::{KernelFn, kernel_index};
use aec_kernels::plan::{
    BufferRef, Gemm, LevelsCall, LoopStep, Matrix, MatrixCall, Pack, Place, Plan, Step, StepKind,
};
use aec_runtime::Elem;
use aec_runtime::gemm::{Axes, Batch, Before, EpilogueCall, GemmCall, MatRef, TermSums};
use aec_runtime::levels::Scratch;
use aec_syntax::Span;
use std::cell::{Cell, RefCell};

/// Kernels with less work than this (in estimated nanoseconds) for each part are not shared out.
pub(crate) const PART_NANOSECONDS: f64 = 3000.0;
/// Parts for each thread, so that a thread that lost its core does not hold up the others.
pub(crate) const PARTS_PER_THREAD: usize = 4;

/// A step with everything resolved.
pub(crate) enum Action {
    Kernel {
        func: KernelFn,
        /// Start of its pointers in the table.
        at: usize,
    },
    SharedKernel {
        func: KernelFn,
        at: usize,
        extent: usize,
        grain: usize,
        parts: usize,
    },
    Gemm32(Product<f32>),
    Gemm64(Product<f64>),
    Pack32(Packing<f32>),
    Pack64(Packing<f64>),
    Copy {
        at: usize,
        bytes: usize,
    },
    ArgSort {
        elem: Elem,
        at: usize,
        rows: usize,
        len: usize,
        keep: usize,
    },
    Levels {
        /// Places in the table of the three tables of the trees, and of the rounds.
        at: usize,
        call: LevelsCall,
        /// Batches of trees, each with rounds of its own.
        batches: usize,
        scratch: RefCell<Scratch>,
    },
    Matrix {
        call: MatrixCall,
        elem: Elem,
        /// Place in the table of the matrices, the right sides, the results and, if there are some,
        /// the factors.
        at: usize,
        span: Span,
    },
    Settle,
    Guard {
        elem: Elem,
        at: usize,
        span: Span,
    },
    Loop(Rounds),
}

/// A product whose matrices begin where the table's entries `at..at + 3` lead.
pub(crate) struct Product<T> {
    pub(crate) call: GemmCall<T>,
    pub(crate) batch: Batch,
    pub(crate) at: usize,
    /// Elements from there to the first one, of A, B and C.
    pub(crate) offsets: [usize; 3],
    /// Place in the table of the limit, and the terms for each 1 of it.
    pub(crate) limit: Option<(usize, usize)>,
    /// Places in the table of the sums of A's rows and of B's columns.
    pub(crate) sums: [Option<usize>; 2],
    /// Of the terms that come first.
    pub(crate) before: Option<FirstTerms>,
    /// Whether the next run takes the columns backwards: from end to end by turns, as what the
    /// last run read last may still be in L2.
    pub(crate) backwards: Cell<bool>,
}

/// Where the matrices of terms that come first are: places in the table of A, of B and of their sums,
/// and elements from there to the first one of A and B.
pub(crate) struct FirstTerms {
    at: usize,
    offsets: [usize; 2],
    sums: [Option<usize>; 2],
}

/// A right side to be brought into panels; the table's entries `at..at + 2` lead to it and them.
pub(crate) struct Packing<T> {
    /// The right side, `offset` elements from where its entry leads.
    pub(crate) from: MatRef<T>,
    pub(crate) offset: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) at: usize,
    /// See [`Pack::kept`].
    pub(crate) kept: Option<u32>,
    /// Whether the panels are those of what the input holds.
    pub(crate) made: Cell<bool>,
}

impl<T> Packing<T> {
    /// The right side and its panels where they are now.
    pub(crate) fn places(&self, table: &[Cell<*mut u8>]) -> (MatRef<T>, *mut T) {
        let [from, to] = [0, 1].map(|nth| table[self.at + nth].get().cast::<T>());
        let from = MatRef {
            ptr: from.wrapping_add(self.offset).cast_const(),
            ..self.from
        };
        (from, to)
    }
}

impl<T: Copy> Product<T> {
    /// The product with where its matrices begin now, for the next run; `int` reads an i64 scalar of
    /// the table.
    pub(crate) fn call(
        &self,
        table: &[Cell<*mut u8>],
        int: impl FnOnce(usize) -> i64,
    ) -> (GemmCall<T>, Batch) {
        let place = |at: usize, offset: usize| table[at].get().cast::<T>().wrapping_add(offset);
        let side = |nth: usize| place(self.at + nth, self.offsets[nth]);
        let sums = |sums: [Option<usize>; 2]| {
            let [a, b] = sums.map(|at| at.map_or(std::ptr::null_mut(), |at| place(at, 0)));
            TermSums { a, b }
        };
        let mut call = self.call;
        call.a.ptr = side(0).cast_const();
        call.b.ptr = side(1).cast_const();
        call.c = side(2);
        call.sums = sums(self.sums);
        if let (Some(before), Some(first)) = (&mut call.before, &self.before) {
            before.a.ptr = place(first.at, first.offsets[0]).cast_const();
            before.b.ptr = place(first.at + 1, first.offsets[1]).cast_const();
            before.sums = sums(first.sums);
        }
        if let Some((at, each)) = self.limit {
            let limit = usize::try_from(int(at)).unwrap_or(0);
            call.k = limit.saturating_mul(each).min(call.k);
        }
        let mut batch = self.batch;
        batch.backwards = self.backwards.replace(!self.backwards.get());
        (call, batch)
    }
}

/// A loop, resolved.
pub(crate) struct Rounds {
    pub(crate) count: usize,
    pub(crate) reverse: bool,
    /// Place in the table of the index; the exit's flags follow it if there is one, then the limit,
    /// then the stacks of what is yielded.
    pub(crate) at: usize,
    /// Number of the exit's flags.
    pub(crate) exit: Option<usize>,
    /// Whether there is a limit.
    pub(crate) limited: bool,
    /// Bytes of an entry of each stack, if there is a limit.
    pub(crate) yields: Vec<usize>,
    pub(crate) actions: Vec<Action>,
    /// Entries of the table that move with each round, and by how many bytes.
    pub(crate) moves: Vec<(usize, isize)>,
}

/// Of an action that makes panels which outlive a run: their input, and whether they are made.
pub(crate) fn kept_panels(action: &Action) -> Option<(usize, &Cell<bool>)> {
    let (kept, made) = match action {
        Action::Pack32(packing) => (packing.kept, &packing.made),
        Action::Pack64(packing) => (packing.kept, &packing.made),
        Action::Kernel { .. }
        | Action::SharedKernel { .. }
        | Action::Gemm32(_)
        | Action::Gemm64(_)
        | Action::Copy { .. }
        | Action::ArgSort { .. }
        | Action::Levels { .. }
        | Action::Matrix { .. }
        | Action::Settle
        | Action::Guard { .. }
        | Action::Loop(_) => return None,
    };
    Some((kept? as usize, made))
}

/// All loops, outer ones first.
pub(crate) fn all_loops<'p>(steps: &'p [Step], out: &mut Vec<&'p LoopStep>) {
    for step in steps {
        if let StepKind::Loop(looped) = &step.kind {
            out.push(looped);
            all_loops(&looped.steps, out);
        }
    }
}

/// The buffers of the table's entries, step by step; none for a tile.
pub(crate) fn list_buffers(plan: &Plan, steps: &[Step], out: &mut Vec<Option<BufferRef>>) {
    for step in steps {
        match &step.kind {
            StepKind::Kernel { buffers, .. } => out.extend(buffers.iter().copied().map(Some)),
            StepKind::Gemm(gemm) => {
                out.extend([gemm.a.buffer, gemm.b.buffer, gemm.c.buffer].map(Some));
                if let Some((kernel, buffers)) = &gemm.epilogue {
                    // Buffer 0 is the tile, whether or not the plan lists it.
                    if buffers.len() < plan.kernels[*kernel].buffers.len() {
                        out.push(None);
                    }
                    out.extend(buffers.iter().copied().map(Some));
                }
                out.extend(gemm.limit.map(|(limit, _)| Some(limit)));
                out.extend(gemm.more_buffers().map(Some));
            }
            StepKind::Pack(pack) => out.extend([Some(pack.from.buffer), Some(pack.to)]),
            StepKind::Copy { from, to } | StepKind::ArgSort { from, to, .. } => {
                out.extend([Some(*from), Some(*to)]);
            }
            StepKind::Levels(call) => {
                out.extend(call.trees.iter().copied().chain([call.to]).map(Some));
            }
            StepKind::Matrix(call) => {
                out.extend([Some(call.a), Some(call.b.unwrap_or(call.a)), Some(call.to)]);
                out.extend(call.factors.map(|kept| Some(kept.buffer())));
            }
            StepKind::Settle => {}
            StepKind::Guard { buffer } => out.push(Some(*buffer)),
            StepKind::Loop(looped) => {
                out.push(Some(looped.index));
                out.extend([looped.exit, looped.limit].into_iter().flatten().map(Some));
                out.extend(looped.yields.iter().copied().map(Some));
                list_buffers(plan, &looped.steps, out);
            }
        }
    }
}

pub(crate) struct Resolver<'a> {
    pub(crate) exe: &'a Executable,
    pub(crate) listed: &'a [Option<BufferRef>],
    pub(crate) table: &'a [Cell<*mut u8>],
    pub(crate) threads: usize,
}

impl Resolver<'_> {
    /// The actions of steps whose table entries begin at `at`, which moves behind them.
    pub(crate) fn actions(&self, steps: &[Step], at: &mut usize) -> Vec<Action> {
        steps
            .iter()
            .map(|step| {
                let start = *at;
                match &step.kind {
                    StepKind::Loop(looped) => self.rounds(looped, at),
                    kind => {
                        let mut entries = Vec::new();
                        list_buffers(&self.exe.plan, std::slice::from_ref(step), &mut entries);
                        *at += entries.len();
                        self.action(kind, step.span, start)
                    }
                }
            })
            .collect()
    }

    fn rounds(&self, looped: &LoopStep, at: &mut usize) -> Action {
        let start = *at;
        *at += 1 + looped.exit.iter().chain(&looped.limit).count() + looped.yields.len();
        let own = start..*at;
        let actions = self.actions(&looped.steps, at);
        let buffers = &self.exe.plan.buffers;
        let mut moves = Vec::new();
        for entry in own.end..*at {
            // A slot moves with its own loop and with those of the stacks that it lies in.
            let mut next = self.listed[entry];
            let mut by = 0;
            while let Some(id) = next {
                next = match buffers[id].place {
                    Place::Slot { of, stride } => {
                        if looped.slots.contains(&id) {
                            by += stride as isize;
                        }
                        Some(of)
                    }
                    _ => None,
                };
            }
            if by != 0 {
                moves.push((entry, if looped.reverse { -by } else { by }));
            }
        }
        Action::Loop(Rounds {
            count: looped.count,
            reverse: looped.reverse,
            at: start,
            exit: looped.exit.map(|exit| buffers[exit].ty.len()),
            limited: looped.limit.is_some(),
            yields: (looped.yields.iter())
                .map(|&stack| bytes(&buffers[stack].ty) / looped.count.max(1))
                .collect(),
            actions,
            moves,
        })
    }

    fn action(&self, kind: &StepKind, span: Span, at: usize) -> Action {
        let plan = &self.exe.plan;
        match kind {
            StepKind::Kernel {
                kernel, parallel, ..
            } => {
                let func = self.exe.code.function(kernel_index(*kernel));
                match *parallel {
                    None => Action::Kernel { func, at },
                    Some((extent, grain)) => {
                        let work =
                            cost::nanoseconds_per_unit(&plan.kernels[*kernel]) * extent as f64;
                        Action::SharedKernel {
                            func,
                            at,
                            extent,
                            grain: grain.max(1),
                            parts: self.parts(work, extent.div_ceil(grain.max(1))),
                        }
                    }
                }
            }
            StepKind::Gemm(gemm) => match plan.buffers[gemm.a.buffer].ty.elem {
                Elem::F64 => Action::Gemm64(self.product(gemm, at, |x| x)),
                Elem::F32 => Action::Gemm32(self.product(gemm, at, |x| x as f32)),
                elem => panic!("a matrix product of {elem}"),
            },
            StepKind::Pack(pack) => match plan.buffers[pack.to].ty.elem {
                Elem::F64 => Action::Pack64(packing(pack, at)),
                Elem::F32 => Action::Pack32(packing(pack, at)),
                elem => panic!("panels of {elem}"),
            },
            StepKind::Copy { from, .. } => Action::Copy {
                at,
                bytes: bytes(&plan.buffers[*from].ty),
            },
            StepKind::ArgSort {
                from, len, keep, ..
            } => Action::ArgSort {
                elem: plan.buffers[*from].ty.elem,
                at,
                rows: plan.buffers[*from].ty.len().checked_div(*len).unwrap_or(0),
                len: *len,
                keep: *keep,
            },
            StepKind::Levels(call) => Action::Levels {
                at,
                call: call.clone(),
                batches: plan.buffers[call.trees[2]]
                    .ty
                    .len()
                    .checked_div(call.together)
                    .unwrap_or(0),
                scratch: RefCell::default(),
            },
            StepKind::Matrix(call) => Action::Matrix {
                call: call.clone(),
                elem: plan.buffers[call.to].ty.elem,
                at,
                span,
            },
            StepKind::Settle => Action::Settle,
            StepKind::Guard { buffer } => Action::Guard {
                elem: plan.buffers[*buffer].ty.elem,
                at,
                span,
            },
            StepKind::Loop(looped) => self.rounds(looped, &mut { at }),
        }
    }

    /// How many parts a kernel's range is cut into. Only speed depends on it.
    fn parts(&self, work: f64, units: usize) -> usize {
        if self.threads == 1 {
            return 1;
        }
        let wanted = (work / PART_NANOSECONDS) as usize;
        wanted
            .min(self.threads * PARTS_PER_THREAD)
            .min(units)
            .max(1)
    }

    fn product<T>(&self, gemm: &Gemm, at: usize, of: fn(f64) -> T) -> Product<T> {
        let epilogue = gemm.epilogue.as_ref().map(|(kernel, _)| {
            let code = &self.exe.plan.kernels[*kernel];
            let count = code.buffers.len();
            EpilogueCall {
                func: self.exe.code.function(kernel_index(*kernel)),
                buffers: self.table[at + 3..at + 3 + count].as_ptr().cast(),
                buffer_count: count,
                whole_rows: gemm.whole_rows,
                beside: read_beside(code, gemm.n),
                chained: has_long_chains(code),
            }
        });
        let limit = at + 3 + epilogue.map_or(0, |epilogue| epilogue.buffer_count);
        let mut next = limit + usize::from(gemm.limit.is_some());
        let mut take = || {
            next += 1;
            next - 1
        };
        let sums = gemm.sums.map(|sum| sum.map(|_| take()));
        let first = gemm.before.as_ref().map(|before| {
            let [at, _] = [take(), take()];
            FirstTerms {
                at,
                offsets: [before.a.offset, before.b.offset],
                sums: before.sums.map(|sum| sum.map(|_| take())),
            }
        });
        Product {
            call: GemmCall {
                m: gemm.m,
                n: gemm.n,
                k: gemm.k,
                a: matrix_ref(&gemm.a),
                b: matrix_ref(&gemm.b),
                c: std::ptr::null_mut(),
                c_row_stride: gemm.c.rows.uniform().unwrap_or(0),
                accumulate: gemm.accumulate,
                epilogue,
                sums: TermSums::NONE,
                before: gemm.before.as_ref().map(|before| Before {
                    k: before.k,
                    a: matrix_ref(&before.a),
                    b: matrix_ref(&before.b),
                    factor: of(before.factor),
                    sums: TermSums::NONE,
                }),
            },
            batch: batch(gemm),
            at,
            limit: gemm.limit.map(|(_, each)| (limit, each)),
            sums,
            before: first,
            offsets: [gemm.a.offset, gemm.b.offset, gemm.c.offset],
            backwards: Cell::new(false),
        }
    }
}

fn packing<T>(pack: &Pack, at: usize) -> Packing<T> {
    Packing {
        from: matrix_ref(&pack.from),
        offset: pack.from.offset,
        k: pack.k,
        n: pack.n,
        at,
        kept: pack.kept,
        made: Cell::new(false),
    }
}

/// The strides of a matrix; those that do not exist are in the batch's axes.
fn matrix_ref<T>(matrix: &Matrix) -> MatRef<T> {
    MatRef {
        ptr: std::ptr::null(),
        row_stride: matrix.rows.uniform().unwrap_or(0),
        col_stride: matrix.cols.uniform().unwrap_or(0),
    }
}

pub(crate) fn batch(gemm: &Gemm) -> Batch {
    let panels = Axes::panels(gemm.k);
    let in_panels = (gemm.b.rows, gemm.b.cols) == (panels.rows, panels.cols);
    let axes = |matrix: &Matrix| {
        let plain = matrix.rows.uniform().is_some() && matrix.cols.uniform().is_some();
        (!plain).then_some(Axes {
            rows: matrix.rows,
            cols: matrix.cols,
        })
    };
    Batch {
        count: gemm.batch,
        a: gemm.a.batch,
        b: gemm.b.batch,
        c: gemm.c.batch,
        a_axes: axes(&gemm.a),
        b_axes: axes(&gemm.b).filter(|_| !in_panels),
        b_panels: in_panels.then_some(gemm.k),
        backwards: false,
    }
}
