//! A plan: everything that one run of a function does, fixed when it is compiled. Buffers have
//! their places, steps their order; nothing is allocated or decided while it runs.

use crate::lir::{Kernel, Val};
use crate::nest::Nest;
use aec_ir::{Fault, Type};
#[cfg(doc)]
use aec_runtime::gemm::Axes;
use aec_runtime::gemm::Walk;
use aec_runtime::linalg::{self, BadMatrix, MatrixOp, Shape, System};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use cranelift_entity::{PrimaryMap, entity_impl};
use std::fmt;
use std::sync::Arc;

/// A buffer of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferRef(u32);
entity_impl!(BufferRef, "b");

/// A kernel of a plan; several steps may run the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelRef(u32);
entity_impl!(KernelRef, "k");

/// Where a buffer lives.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    /// Memory of the n-th input. Written only if an alias allows it.
    Input(u32),
    /// Memory of the n-th result.
    Output(u32),
    /// Bytes `offset..` of the arena; offsets are multiples of 64.
    Arena(usize),
    /// A constant of the plan.
    Constant(Arc<Tensor>),
    /// The present round's entry of a stack: bytes `index * stride..` of another buffer. Only
    /// inside of the [`StepKind::Loop`] that lists it among its slots.
    Slot {
        /// The stack; it may be a slot of a loop further out.
        of: BufferRef,
        /// Bytes between entries.
        stride: usize,
    },
    /// The status cells of [`crate::lir::Stmt::Check`]: two I64, 0 and the largest before each run.
    Status,
}

/// A buffer: row-major elements of a type.
#[derive(Clone, PartialEq, Debug)]
pub struct PlanBuffer {
    /// What it holds.
    pub ty: Type,
    /// Where.
    pub place: Place,
}

/// A matrix operand: `element(i, j) = buffer[offset + rows.at(i) + cols.at(j)]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matrix {
    /// The buffer.
    pub buffer: BufferRef,
    /// First element.
    pub offset: usize,
    /// From row to row, in elements.
    pub rows: Walk,
    /// From column to column.
    pub cols: Walk,
    /// From one matrix of a batch to the next; a step of 0 shares one.
    pub batch: Walk,
}

/// A product whose terms come before those of a [`Gemm`] of the same rows and columns: one chain of
/// additions through both.
#[derive(Clone, PartialEq, Debug)]
pub struct Before {
    /// Columns of A, rows of B.
    pub k: usize,
    /// Left operand; rows and columns are each an axis of memory, as they are of `b`.
    pub a: Matrix,
    /// Right operand.
    pub b: Matrix,
    /// What it is multiplied by before the others are added.
    pub factor: f64,
    /// As those of the [`Gemm`].
    pub sums: [Option<BufferRef>; 2],
}

/// `C[b] (+)= A[b] B[b]` for `b < batch`, f32 or f64.
#[derive(Clone, PartialEq, Debug)]
pub struct Gemm {
    /// Number of products.
    pub batch: usize,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Left operand.
    pub a: Matrix,
    /// Right operand.
    pub b: Matrix,
    /// Result, columns adjacent, rows at one distance; not written if there is an epilogue.
    pub c: Matrix,
    /// Add to what C holds.
    pub accumulate: bool,
    /// An i64 scalar, and terms: of the `k` only so many for each 1 of it are added.
    pub limit: Option<(BufferRef, usize)>,
    /// A kernel for each finished rectangle of C, a tile or a row across several (batch 1 only):
    /// its buffer 0 is the rectangle (row stride 32 elements), its args are
    /// `[row0, row1, col0, col1, rows, cols]`, the place in C and the extent;
    /// `rows = row1 - row0`.
    pub epilogue: Option<(KernelRef, Vec<BufferRef>)>,
    /// Whether the epilogue wants whole rows of C, one at a time, as it sums over them. B is then
    /// read again and again, by as many columns as C has.
    pub whole_rows: bool,
    /// Where the sums of A's rows, and of B's columns, over the terms go (batch 1 only). The rows,
    /// or the columns, are adjacent in memory.
    pub sums: [Option<BufferRef>; 2],
    /// What the product is added to (batch 1 only, plain matrices, no limit, no whole rows).
    pub before: Option<Before>,
}

impl Gemm {
    /// Additions and multiplications.
    pub fn flops(&self) -> f64 {
        let terms = self.k + self.before.as_ref().map_or(0, |before| before.k);
        2.0 * (self.batch * self.m * self.n * terms) as f64
    }

    /// The buffers that are read or written beside A, B, C, the epilogue's and the limit, in the
    /// order in which tables list them.
    pub fn more_buffers(&self) -> impl Iterator<Item = BufferRef> + '_ {
        let before = self.before.iter().flat_map(|before| {
            let sums = before.sums.into_iter().flatten();
            [before.a.buffer, before.b.buffer].into_iter().chain(sums)
        });
        self.sums.into_iter().flatten().chain(before)
    }
}

/// A right side of products brought into panels ([`Axes::panels`]), for products that read it
/// again and again.
#[derive(Clone, PartialEq, Debug)]
pub struct Pack {
    /// The right side; it is no batch.
    pub from: Matrix,
    /// Its rows.
    pub k: usize,
    /// Its columns.
    pub n: usize,
    /// The panels, `[panels, k, PANEL_COLS]`.
    pub to: BufferRef,
    /// The input that they are made of, if the plan does not write it and nothing else uses the
    /// panels' memory: a run need not make them anew while the input stays the same.
    pub kept: Option<u32>,
}

/// Steps that run `count` times. What they carry lies in buffers that they write in place.
#[derive(Clone, PartialEq, Debug)]
pub struct LoopStep {
    /// Number of rounds.
    pub count: usize,
    /// Whether the index goes from the last to 0.
    pub reverse: bool,
    /// An i64 scalar that holds the round's index.
    pub index: BufferRef,
    /// A bool buffer: no further round runs once all of it holds.
    pub exit: Option<BufferRef>,
    /// An i64 scalar: rounds of that index and beyond are not run.
    pub limit: Option<BufferRef>,
    /// Stacks of what rounds yield, if there is a limit: zeros stand for rounds that are not run.
    pub yields: Vec<BufferRef>,
    /// One round.
    pub steps: Vec<Step>,
    /// Buffers with [`Place::Slot`] that move with this loop.
    pub slots: Vec<BufferRef>,
    /// What the rounds touch of the buffers around the loop, the index and the room for their
    /// own temporaries among it.
    pub touches: Vec<BufferRef>,
}

/// Rounds of the nodes of trees, see [`aec_runtime::levels`].
#[derive(Clone, PartialEq, Debug)]
pub struct LevelsCall {
    /// Places of left children, right children, and how many nodes count.
    pub trees: [BufferRef; 3],
    /// The rounds.
    pub to: BufferRef,
    /// Room for nodes of a tree.
    pub nodes: usize,
    /// Trees whose nodes share rounds.
    pub together: usize,
    /// Nodes of a round.
    pub rows: usize,
}

/// Linear algebra on a batch of dense row-major matrices.
#[derive(Clone, PartialEq, Debug)]
pub struct MatrixCall {
    /// What is computed.
    pub op: MatrixOp,
    /// Sizes.
    pub shape: Shape,
    /// The matrices.
    pub a: BufferRef,
    /// Right sides of a solve.
    pub b: Option<BufferRef>,
    /// Results.
    pub to: BufferRef,
    /// Where the factors are that calls with the same matrices share.
    pub factors: Option<Kept>,
}

/// Factors that a [`MatrixCall`] shares with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It makes them.
    Made(BufferRef),
    /// An earlier one has made them.
    Known(BufferRef),
}

impl Kept {
    /// Where they are.
    pub fn buffer(self) -> BufferRef {
        match self {
            Kept::Made(buffer) | Kept::Known(buffer) => buffer,
        }
    }

    /// The same factors at another place.
    pub fn at(self, buffer: BufferRef) -> Kept {
        match self {
            Kept::Made(_) => Kept::Made(buffer),
            Kept::Known(_) => Kept::Known(buffer),
        }
    }
}

impl fmt::Display for MatrixCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape {
            batch,
            rows,
            cols,
            rhs,
        } = self.shape;
        write!(
            f,
            "{} {batch} x {rows} x {cols} of {}",
            self.op.name(),
            self.a
        )?;
        if let Some(b) = self.b {
            write!(f, ", {rhs} right sides {b}")?;
        }
        write!(f, " -> {}", self.to)?;
        match self.factors {
            Some(Kept::Made(factors)) => write!(f, ", factors -> {factors}"),
            Some(Kept::Known(factors)) => write!(f, " by factors {factors}"),
            None => Ok(()),
        }
    }
}

/// One step of a plan.
#[derive(Clone, PartialEq, Debug)]
pub enum StepKind {
    /// Runs a kernel. `parallel`: the kernel's args 0 and 1 are a range of `0..extent`, which
    /// threads may share out in multiples of `grain`; else it takes no args.
    Kernel {
        /// Which.
        kernel: KernelRef,
        /// Its buffers in order.
        buffers: Vec<BufferRef>,
        /// `(extent, grain)`.
        parallel: Option<(usize, usize)>,
    },
    /// A matrix product.
    Gemm(Box<Gemm>),
    /// Brings the right side of products into panels.
    Pack(Box<Pack>),
    /// Copies all elements.
    Copy {
        /// From.
        from: BufferRef,
        /// To.
        to: BufferRef,
    },
    /// Stable ascending argsort of rows of length `len`; of each the first `keep` indices are
    /// wanted, and nothing is said of the others.
    ArgSort {
        /// Keys.
        from: BufferRef,
        /// I64 indices.
        to: BufferRef,
        /// Length of a row.
        len: usize,
        /// Indices wanted of a row.
        keep: usize,
    },
    /// Orders the nodes of trees.
    Levels(LevelsCall),
    /// Rounds of steps, see [`LoopStep`].
    Loop(LoopStep),
    /// Linear algebra; a matrix without a result stops the run.
    Matrix(MatrixCall),
    /// Stops the run if a check has failed. Stands after kernels that write out linear algebra.
    Settle,
    /// Stops the run with an error if the float scalar is not finite. Stands before every step
    /// that writes an input's memory.
    Guard {
        /// The scalar.
        buffer: BufferRef,
    },
}

impl StepKind {
    /// What it is, in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            StepKind::Kernel { .. } => "kernel",
            StepKind::Gemm(_) => "product",
            StepKind::Pack(_) => "panels",
            StepKind::Copy { .. } => "copy",
            StepKind::ArgSort { .. } => "sort",
            StepKind::Levels(_) => "levels",
            StepKind::Matrix(_) => "linear algebra",
            StepKind::Settle => "checks",
            StepKind::Loop(_) => "loop",
            StepKind::Guard { .. } => "guard",
        }
    }

    /// All buffers that it touches.
    pub fn buffers(&self) -> Vec<BufferRef> {
        match self {
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
}

/// A step, the script text behind it, and why it is a step of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// What is done.
    pub kind: StepKind,
    /// Script texts, the most telling first.
    pub span: Span,
    /// The recorded reasons for fusing or not fusing.
    pub reason: String,
}

/// What a failed check means.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CheckInfo {
    /// The script text to blame.
    pub span: Span,
    /// What did not hold.
    pub condition: Condition,
}

/// What a check asks for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Condition {
    /// An index, the check's detail, lies on its axis.
    Index {
        /// What it means if not.
        fault: Fault,
        /// The size of the axis.
        size: usize,
    },
    /// A matrix that a kernel factors has a result. The detail is [`matrix_detail`].
    Matrix {
        /// What is computed.
        op: MatrixOp,
        /// Number of systems.
        batch: usize,
        /// Columns of each.
        size: usize,
    },
}

/// More than a small matrix has pivots.
const PIVOTS: i64 = 64;

/// What the check of a matrix tells: the example, and its pivot that is bad, or (of a positive definite
/// system) how many are good.
pub fn matrix_detail(n: &mut Nest, system: Val, at: Val) -> Val {
    let pivots = n.int(PIVOTS, Elem::I64);
    let scaled = n.mul(system, pivots);
    n.add(scaled, at)
}

/// What a failed check of a matrix told.
pub fn bad_matrix(op: MatrixOp, batch: usize, size: usize, detail: i64) -> BadMatrix {
    let at = (detail % PIVOTS) as usize;
    BadMatrix {
        op,
        system: (detail / PIVOTS) as usize,
        batch,
        size,
        fault: match op {
            MatrixOp::Solve(System::Positive) | MatrixOp::Cholesky => {
                linalg::Fault::NotPositive(at)
            }
            MatrixOp::Solve(
                System::General { .. } | System::Lower { .. } | System::Upper { .. },
            )
            | MatrixOp::LogDet
            | MatrixOp::Qr
            | MatrixOp::Svd
            | MatrixOp::Eigh => linalg::Fault::Singular(at),
        },
    }
}

/// A compiled-to-be function.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// The function's name.
    pub name: String,
    /// Types of the inputs.
    pub inputs: Vec<Type>,
    /// Types of the results.
    pub outputs: Vec<Type>,
    /// Result i lives in input j's memory.
    pub aliases: Vec<(usize, usize)>,
    /// All buffers.
    pub buffers: PrimaryMap<BufferRef, PlanBuffer>,
    /// All kernels.
    pub kernels: PrimaryMap<KernelRef, Kernel>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Size of the arena in bytes.
    pub arena_bytes: usize,
    /// Meaning of check codes: code c is entry c - 1.
    pub checks: Vec<CheckInfo>,
}

impl Plan {
    /// Whether a second run on the same inputs finds panels made by the first.
    pub fn keeps_panels(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(&step.kind, StepKind::Pack(pack) if pack.kept.is_some()))
    }
}
