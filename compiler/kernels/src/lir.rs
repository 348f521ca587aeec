//! LIR, the loop IR: one kernel is a nest of loops over typed scalar values, written lane-wise.
//!
//! Order of arithmetic is part of the meaning, so that every back end gives the same bits:
//! - A loop with `lanes` runs its iterations in 16 virtual lanes: iteration `start + t` belongs
//!   to lane `t mod 16`. Everything is lane-wise, so only accumulators can see it.
//! - An accumulator that is initialised outside a lane loop and fed inside it keeps 16 partial
//!   values, one per lane (each starts at the identity); when the loop ends they are combined by
//!   the fixed tree `for w in [8, 4, 2, 1] { lane[i] = op(lane[i], lane[i + w]) for i < w }` and
//!   the result is combined with what the accumulator held before: `op(before, tree)`.
//! - An accumulator that is initialised inside the lane loop is itself lane-wise: one
//!   accumulator for each lane, never combined.
//! - Serial loops run in order.
//! - No operation is contracted or reassociated: `Fma` is one rounding, `Mul` then `Add` two.
//!
//! A kernel becomes `extern "C" fn(buffers: *const *mut u8, args: *const i64)`.

use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::{PrimaryMap, entity_impl};

/// A pointer param of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(u32);
entity_impl!(BufferId, "buf");

/// A loop variable, an i64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(u32);
entity_impl!(Var, "i");

/// An accumulator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Acc(u32);
entity_impl!(Acc, "acc");

/// A value: computed once, where its [`Stmt::Let`] stands, and visible below it in the same
/// body and the bodies nested in what follows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Val(u32);
entity_impl!(Val, "v");

/// What a kernel may do with a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Only loads.
    Read,
    /// Only stores.
    Write,
    /// Both; a store never goes to a place that a later iteration of a lane loop loads.
    ReadWrite,
}

/// A pointer param.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Buffer {
    /// What it points to. `Bool` is one byte, 0 or 1.
    pub elem: Elem,
    /// What is done with it.
    pub access: Access,
    /// A name for dumps.
    pub name: String,
}

/// Start or end of a loop, or a term of an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bound {
    /// Known when the kernel is built.
    Const(i64),
    /// The n-th run-time argument of the kernel (threads pass row ranges, products pass tiles).
    Arg(u32),
    /// Where the block of a loop further out begins: `of * size`.
    Block {
        /// Its variable.
        of: Var,
        /// Iterations of a block.
        size: i64,
    },
    /// Where it ends: `min((of + 1) * size, limit)`.
    BlockEnd {
        /// Its variable.
        of: Var,
        /// Iterations of a block.
        size: i64,
        /// Iterations of all blocks.
        limit: i64,
    },
}

/// `base + Σ coefficient * var + Σ coefficient * arg`, in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Affine {
    /// The constant term.
    pub base: i64,
    /// Terms of loop variables; no variable twice.
    pub vars: Vec<(Var, i64)>,
    /// Terms of run-time arguments; no argument twice.
    pub args: Vec<(u32, i64)>,
}

/// What an accumulator does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AccOp {
    /// Sum; starts at 0.
    Sum,
    /// Largest; starts at -inf (or the lowest int); NaN wins.
    Max,
    /// Smallest; starts at +inf (or the highest int); NaN wins.
    Min,
    /// All, of `Bool`; starts true.
    All,
    /// Any, of `Bool`; starts false.
    Any,
}

/// What is known of a loop variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct VarData;

/// An accumulator's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AccData {
    /// Element type.
    pub elem: Elem,
    /// What it computes.
    pub op: AccOp,
}

/// Operations of one operand; the result has the operand's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LirUnary {
    /// Sign flip.
    Neg,
    /// Absolute value.
    Abs,
    /// Correctly rounded square root.
    Sqrt,
    /// Towards minus infinity.
    Floor,
    /// To the nearest integer, ties to even.
    Nearest,
    /// Logical not, of `Bool`; bitwise of ints.
    Not,
}

/// Operations of two operands of one type; the result has that type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LirBinary {
    /// Sum; wraps for ints.
    Add,
    /// Difference; wraps for ints.
    Sub,
    /// Product; wraps for ints.
    Mul,
    /// Quotient of floats.
    Div,
    /// `if a < b { a } else { b }` (one machine instruction; NaN in `a` gives b).
    Min,
    /// `if a > b { a } else { b }` (NaN in `a` gives b).
    Max,
    /// Bitwise and of ints, logical of `Bool`.
    And,
    /// Bitwise or of ints, logical of `Bool`.
    Or,
    /// Bitwise xor of ints, logical of `Bool`.
    Xor,
    /// Shift left of ints, by a constant.
    Shl,
    /// Logical shift right of ints, by a constant.
    ShrLogical,
    /// Arithmetic shift right of ints, by a constant.
    ShrArithmetic,
    /// Floor division of ints; 0 for a zero divisor.
    FloorDiv,
    /// Remainder of floor division of ints; 0 for a zero divisor.
    FloorMod,
}

/// Comparisons of two operands of one type; floats are ordered (NaN: only `Ne` holds).
pub use aec_ir::Comparison;
/// What is drawn.
pub use aec_ir::Distribution;

/// How a value is computed.
#[derive(Clone, PartialEq, Debug)]
pub enum ValKind {
    /// A float constant, of F32 or F64.
    Float(f64),
    /// An int constant, of I32 or I64.
    Int(i64),
    /// A `Bool` constant.
    Bool(bool),
    /// A loop variable plus constant terms, as I64.
    Index(Affine),
    /// The element at a place.
    Load {
        /// From where.
        buffer: BufferId,
        /// Which element.
        index: Affine,
    },
    /// The element at `index + stride * at`, `at` being an I64 value within bounds.
    LoadAt {
        /// From where.
        buffer: BufferId,
        /// The part that is affine.
        index: Affine,
        /// The data-dependent part.
        at: Val,
        /// Its factor.
        stride: i64,
    },
    /// One operand.
    Unary(LirUnary, Val),
    /// Two operands.
    Binary(LirBinary, Val, Val),
    /// `a * b + c` with one rounding.
    Fma(Val, Val, Val),
    /// A `Bool`.
    Compare(Comparison, Val, Val),
    /// `a` where the `Bool` holds, else `b`.
    Select(Val, Val, Val),
    /// Conversion by value (float to int: towards zero, saturating, NaN gives 0; from Bool: 0 or 1;
    /// to Bool: not equal 0).
    Convert(Val),
    /// The same bits as another type of equal width (F32 with I32, F64 with I64).
    Bitcast(Val),
    /// What an accumulator holds; only after the loops that feed it.
    AccRead(Acc),
    /// The Philox key of a seed (I64) and a site, as I64.
    DrawKey(Val, u64),
    /// A random number, F32 or F64. In a lane loop, `element` has coefficient 1 for its variable
    /// and the other fields do not vary with it.
    Draw {
        /// What is drawn.
        distribution: Distribution,
        /// From [`ValKind::DrawKey`].
        key: Val,
        /// Index of the element within the event.
        element: Affine,
        /// Flattened inner coordinates, I64.
        inner: Val,
        /// Example coordinate, I64.
        example: Val,
        /// Step, I64.
        step: Val,
    },
}

/// A value and its type.
#[derive(Clone, PartialEq, Debug)]
pub struct ValData {
    /// How it is computed.
    pub kind: ValKind,
    /// Its type.
    pub elem: Elem,
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Stmt {
    /// A loop.
    Loop(Loop),
    /// Computes a value here.
    Let(Val),
    /// Stores an element.
    Store {
        /// To where.
        buffer: BufferId,
        /// Which element; in a lane loop its variable may have any coefficient but 0.
        index: Affine,
        /// What.
        value: Val,
    },
    /// Stores at `index + stride * at` (scatter of unique places, or in a serial loop).
    StoreAt {
        /// To where.
        buffer: BufferId,
        /// The part that is affine.
        index: Affine,
        /// The data-dependent part, I64.
        at: Val,
        /// Its factor.
        stride: i64,
        /// What.
        value: Val,
    },
    /// Sets an accumulator to its identity.
    Init(Acc),
    /// `acc = op(acc, value)`.
    Accumulate(Acc, Val),
    /// If the `Bool` does not hold and the I64 buffer's element 0 is 0 or `code`, stores `code` there
    /// and makes element 1 the lesser of what it is and `detail` (I64): whichever thread comes first,
    /// the same detail is left. Execution goes on, so values must be made safe.
    Check {
        /// What must hold.
        ok: Val,
        /// The status buffer, I64, two elements.
        status: BufferId,
        /// Non-zero; see `Plan::checks`.
        code: i64,
        /// What to report.
        detail: Val,
    },
}

/// A loop.
#[derive(Clone, PartialEq, Debug)]
pub struct Loop {
    /// Its variable.
    pub var: Var,
    /// First value.
    pub start: Bound,
    /// One past the last; not above `start` means no iteration.
    pub end: Bound,
    /// Whether it runs in 16 lanes. Lane loops do not nest in one another; serial loops may
    /// stand inside one (with bounds that are the same for all lanes).
    pub lanes: bool,
    /// Its body.
    pub body: Vec<Stmt>,
}

impl Loop {
    /// The number of iterations, if it is known when the kernel is built.
    pub fn count(&self) -> Option<i64> {
        match (self.start, self.end) {
            (Bound::Const(start), Bound::Const(end)) => Some((end - start).max(0)),
            (Bound::Block { .. }, Bound::BlockEnd { size, limit, .. }) => {
                (limit % size == 0).then_some(size)
            }
            _ => None,
        }
    }
}

/// A kernel.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kernel {
    /// A name for dumps and profiles, made of the ops in it.
    pub name: String,
    /// The script texts that it computes.
    pub spans: Vec<Span>,
    /// Pointer params in order.
    pub buffers: PrimaryMap<BufferId, Buffer>,
    /// Number of run-time arguments.
    pub arg_count: u32,
    /// Loop variables.
    pub vars: PrimaryMap<Var, VarData>,
    /// Accumulators.
    pub accs: PrimaryMap<Acc, AccData>,
    /// Values.
    pub values: PrimaryMap<Val, ValData>,
    /// The code.
    pub body: Vec<Stmt>,
}

impl Kernel {
    /// Whether it draws random numbers.
    pub fn draws(&self) -> bool {
        fn any(kernel: &Kernel, body: &[Stmt]) -> bool {
            body.iter().any(|stmt| match stmt {
                Stmt::Let(val) => matches!(
                    kernel.values[*val].kind,
                    ValKind::Draw { .. } | ValKind::DrawKey(..)
                ),
                Stmt::Loop(inner) => any(kernel, &inner.body),
                _ => false,
            })
        }
        any(self, &self.body)
    }
}
