//! The op table of TIR: every operation, its attributes and its category.
//!
//! Sizes are concrete. Elementwise ops want operands of equal dims (an explicit
//! [`Contract`] repeats a value along new axes); products, sums, transposes, diagonals and
//! broadcasts are all [`Op::Contract`]. Everything that handles ops matches exhaustively, so
//! that the compiler names each place which a new op must visit.

use crate::function::Function;
use aec_runtime::linalg::MatrixOp;
use aec_runtime::{Elem, Tensor};
use smallvec::SmallVec;
use std::sync::Arc;

/// A label of a [`Contract`], local to the op: an index into [`Contract::sizes`].
pub type Label = u8;

/// Labels of one factor or result, outermost axis first.
pub type Labels = SmallVec<[Label; 4]>;

/// A scalar constant. Compared by bits, so that NaN equals itself.
#[derive(Clone, Copy, Debug)]
pub enum Literal {
    /// For `f32` and `f64` results.
    Float(f64),
    /// For int results.
    Int(i64),
    /// For `bool` results.
    Bool(bool),
}

impl PartialEq for Literal {
    fn eq(&self, other: &Literal) -> bool {
        match (self, other) {
            (Literal::Float(a), Literal::Float(b)) => a.to_bits() == b.to_bits(),
            (Literal::Int(a), Literal::Int(b)) => a == b,
            (Literal::Bool(a), Literal::Bool(b)) => a == b,
            _ => false,
        }
    }
}

/// Elementwise functions of one operand; result type is the operand's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`; derivative `sign(x)`
    Abs,
    /// -1, 0 or 1 (0 of NaN and of -0); derivative 0
    Sign,
    /// Largest integer not above; derivative 0
    Floor,
    /// `e^x`
    Exp,
    /// Natural logarithm
    Log,
    /// `log(1 + x)`, exact near 0
    Log1p,
    /// `e^x - 1`, exact near 0
    Expm1,
    /// Square root; derivative at 0 is taken as 0
    Sqrt,
    /// Sine
    Sin,
    /// Cosine
    Cos,
    /// Hyperbolic tangent
    Tanh,
    /// `1 / (1 + e^-x)`
    Logistic,
    /// Error function
    Erf,
    /// Logical not, of `bool`
    Not,
}

/// Elementwise functions of two operands of one type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`, of ints only (products of floats are [`Op::Contract`], which accepts both)
    Mul,
    /// `a / b`, of floats
    Div,
    /// Floor division, of ints (a zero divisor gives 0)
    FloorDiv,
    /// Remainder of floor division, of ints or floats; an int by a zero divisor stays itself
    Mod,
    /// `a ^ b`, of floats
    Pow,
    /// The smaller; NaN if either is
    Min,
    /// The larger; NaN if either is
    Max,
    /// Logical and, of `bool`
    And,
    /// Logical or, of `bool`
    Or,
}

/// Comparisons; the result is `bool`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Comparison {
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a > b`
    Gt,
    /// `a >= b`
    Ge,
}

/// Reductions that are not sums.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reduction {
    /// Largest; NaN if any is; of nothing: the lowest value
    Max,
    /// Smallest; NaN if any is; of nothing: the highest value
    Min,
    /// All true, of `bool`
    All,
    /// Any true, of `bool`
    Any,
}

/// One operand of a [`Contract`]: the label of each of its axes, and how often it occurs.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Factor {
    /// One label for each axis of the operand; a label twice takes the diagonal.
    pub labels: Labels,
    /// The factor counts this many times (1 for most; 2 is a square). At least 1.
    pub power: u32,
}

/// A product term with named axes, summed over every label that is not in `out`:
/// `out[out labels] = coefficient * Σ Π factorᵢ[labels]^power Π δ(a, b)`.
/// An out label that no factor and no delta carries repeats the value along that axis.
/// With no factor the product is 1. (AUTODIFF.md section 2.)
#[derive(Clone, PartialEq, Debug)]
pub struct Contract {
    /// One for each operand of the op.
    pub factors: Vec<Factor>,
    /// Kronecker deltas: terms where the two labels differ are zero.
    pub deltas: Vec<(Label, Label)>,
    /// Labels of the result, all different.
    pub out: Labels,
    /// A constant factor; 1.0 for most. An integer value when the result is an int.
    pub coefficient: f64,
    /// The size of each label.
    pub sizes: Vec<usize>,
}

/// What a [`Op::Draw`] draws.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Distribution {
    /// Uniform on (0, 1)
    Uniform,
    /// Standard normal
    Normal,
}

/// How a [`Op::Derivative`] differentiates its body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// Operands: the body's, then one cotangent for each float result. Results: the body's,
    /// then one gradient for each active operand.
    Vjp,
    /// Operands: the body's, then one tangent for each active operand. Results: the body's,
    /// then one tangent for each float result (in order).
    Jvp,
    /// Operands: the body's. Results: the body's, then for each float result and each active
    /// operand (results outer) the Jacobian, dims: result dims then operand dims. The pass
    /// picks forward or reverse by size.
    Jacobian,
}

/// `count` rounds of a body, one after the other.
///
/// Operands: the initial state (`carried` values), then sequences (`sliced` values, each with a
/// leading axis of size `count`), then constants. The body's params: the round's index (an i64
/// scalar), the state, the round's entry of each sequence, the constants. The body's results:
/// the next state, of the same types, then what each round yields. Results: the last state,
/// then what was yielded, stacked along a new leading axis of size `count`.
#[derive(Clone, PartialEq, Debug)]
pub struct Loop {
    /// Number of rounds.
    pub count: usize,
    /// Number of values that make up the state.
    pub carried: usize,
    /// Number of sequences.
    pub sliced: usize,
    /// Whether indices run from the last to 0; entries stay at their index.
    pub reverse: bool,
    /// The first value of the state is of `bool`; no further round runs once all of it holds.
    /// The body leaves the state alone where it holds, and nothing is yielded.
    pub exit: bool,
    /// A derivative keeps of each round the state before it alone, and computes the rest again.
    /// See also [`Loop::is_block`].
    pub recomputed: bool,
    /// One more operand, the last, is no param of the body: an i64 scalar. Rounds of that index
    /// and beyond are not run: they leave the state alone, and zeros stand for what they yield.
    pub limited: bool,
    /// Rounds are the inner nodes of a tree, each after its children (in opposite order if
    /// `reverse`). The first two sequences are the places of a node's children, the limit is the
    /// number of nodes, and with `n` rounds node `i` has the place `n + 1 + i`, behind those of
    /// the leaves. The state is tables of places, of which a round uses its own row and its
    /// children's alone. A batch of trees may go on by several nodes of any tree in a round.
    pub nodes: bool,
    /// One round.
    pub body: Box<Function>,
}

impl Loop {
    /// Whether it is a block of straight code of which a derivative keeps the operands alone
    /// (`remat`): one round, computed again. Passes leave it closed, so that no common
    /// subexpression brings back what was not to be kept, until no derivative is left. Then it
    /// is opened, unless it is the way back through one: those are the reversed ones.
    pub fn is_block(&self) -> bool {
        self.count == 1 && self.recomputed && !self.exit && !self.limited
    }

    /// Index of the first sequence among the body's params.
    pub fn first_slice(&self) -> usize {
        1 + self.carried
    }

    /// Index of the first constant among the body's params.
    pub fn first_constant(&self) -> usize {
        1 + self.carried + self.sliced
    }

    /// The operands that are params of the body, and the limit.
    pub fn split_limit<'a, T: Copy>(&self, operands: &'a [T]) -> (&'a [T], Option<T>) {
        match (self.limited, operands.split_last()) {
            (true, Some((&limit, rest))) => (rest, Some(limit)),
            _ => (operands, None),
        }
    }
}

/// What it means that the index of an [`Op::Gather`] lies beyond its axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The script asked for an entry that is not there.
    Index,
    /// A `max` or its like was asked of entries that are all missing. The axis has one entry;
    /// the index is 1 where nothing was observed.
    Unobserved,
    /// Like `Index`, along an axis whose size varies between examples; where the script asked for
    /// an entry beyond the length of one, the index is less than 0: `-1 - length`.
    Beyond,
    /// A number that has to be a probability is below 0 or above 1. The axis has one entry; the index
    /// is 1 where one is.
    Chance,
}

/// An index beyond its axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadIndex {
    /// What it means.
    pub fault: Fault,
    /// The index.
    pub index: i64,
    /// Size of the axis.
    pub size: usize,
}

impl BadIndex {
    /// What the script's writer can do about it.
    pub fn help(&self) -> &'static str {
        match self.fault {
            Fault::Index => {
                "the first index is 0, the last one is the size less 1; -1 counts from the end only where it is written"
            }
            Fault::Beyond => {
                "an example has as many entries as its size says, which the function may ask: `if i < n then x[i] else 0`"
            }
            Fault::Unobserved => {
                "`if count(x) > 0 then max(x) else 0` says what holds where nothing is observed"
            }
            Fault::Chance => {
                "`sigmoid(…)` makes probabilities of numbers, and `bce_logits` takes them as they are"
            }
        }
    }
}

impl std::fmt::Display for BadIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.fault {
            Fault::Index => write!(
                f,
                "index {} is out of range for an axis of size {}",
                self.index, self.size
            ),
            Fault::Beyond if self.index == -2 => {
                f.write_str("an index is out of range for an example of one entry")
            }
            Fault::Beyond if self.index < 0 => write!(
                f,
                "an index is out of range for an example of {} entries",
                -1 - self.index
            ),
            Fault::Beyond => write!(f, "index {} is out of range", self.index),
            Fault::Unobserved => {
                f.write_str("every entry is missing here, so there is no largest or smallest")
            }
            Fault::Chance => f.write_str("a probability is below 0 or above 1 here"),
        }
    }
}

/// A TIR operation. Operands and results are kept by the [`Function`].
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// A scalar repeated over the result's dims. No operand.
    Constant(Literal),
    /// A constant tensor. No operand.
    Dense(Arc<Tensor>),
    /// `result[i…] = i_axis`, an int tensor. No operand.
    Iota {
        /// The axis that counts.
        axis: usize,
    },
    /// Elementwise function of one operand.
    Unary(Unary),
    /// Elementwise function of two operands.
    Binary(Binary),
    /// Elementwise comparison of two operands of one type.
    Compare(Comparison),
    /// `[c, a, b]`: `a` where `c` (bool) holds, else `b`.
    Select,
    /// Elementwise conversion to the result's element type (float to int truncates towards
    /// zero and saturates, NaN gives 0; to bool: not equal 0).
    Convert,
    /// Products, sums, broadcasts, transposes, diagonals; of any element type
    /// (of `bool`: one factor, nothing summed).
    Contract(Contract),
    /// Reduces `axes` (ascending) of one operand.
    Reduce {
        /// What it computes.
        op: Reduction,
        /// The axes that vanish.
        axes: SmallVec<[usize; 4]>,
    },
    /// Index (i64) of the first largest (or smallest) entry along `axis`, which vanishes.
    /// NaN counts as largest (smallest); of an empty axis the index is 0.
    ArgReduce {
        /// Largest (`Max`) or smallest (`Min`).
        op: Reduction,
        /// The axis that vanishes.
        axis: usize,
    },
    /// Same elements, other dims.
    Reshape,
    /// `start <= i < limit` in steps of `stride`, for every axis.
    Slice {
        /// First index of each axis.
        start: Vec<usize>,
        /// One past the last.
        limit: Vec<usize>,
        /// Step, at least 1.
        stride: Vec<usize>,
    },
    /// `[x, value]`: x with `low`/`high` entries of the scalar `value` around each axis and
    /// `interior` between neighbours.
    Pad {
        /// Before the first.
        low: Vec<usize>,
        /// After the last.
        high: Vec<usize>,
        /// Between neighbours.
        interior: Vec<usize>,
    },
    /// Operands one after the other along `axis`.
    Concat {
        /// The axis that grows.
        axis: usize,
    },
    /// Entries in opposite order along `axes`.
    Reverse {
        /// The axes that turn round.
        axes: SmallVec<[usize; 4]>,
    },
    /// `[x, index]`: x is `[..batch, n, ..s]`, index (i64) `[..batch, ..t]`, the result
    /// `[..batch, ..t, ..s]`. An index outside `0..n` is a run-time error.
    Gather {
        /// Number of leading axes that x and index share.
        batch: usize,
        /// What an index outside means.
        fault: Fault,
    },
    /// `[index, updates]`: zeros of `[..batch, n, ..s]` plus every update added at its index;
    /// updates `[..batch, ..t, ..s]`. Additions in the order of the updates. More pairs of an
    /// index and its updates may follow, and then one operand of the result's type that stands
    /// in place of the zeros.
    ScatterAdd {
        /// Number of leading axes that all share.
        batch: usize,
    },
    /// `[x, index, rows]`: x, `[..batch, n, ..s]`, with the rows (`[..batch, ..t, ..s]`) in place
    /// of its own at their indices (i64, `[..batch, ..t]`). An index outside `0..n` puts nothing;
    /// those inside differ, for each index of the batch axes. A loop whose state is so changed
    /// writes the rows where they stand.
    Put {
        /// Number of leading axes that all share.
        batch: usize,
    },
    /// Running sums along `axis`, inclusive; from the end if `reverse`.
    CumSum {
        /// The axis.
        axis: usize,
        /// From the end.
        reverse: bool,
    },
    /// Indices (i64) that sort the last axis ascending, stable; NaN last.
    ArgSort,
    /// `[left, right, count]`: the inner nodes of a batch of trees in rounds of up to `rows`
    /// nodes whose children were in earlier rounds, as few rounds as can be
    /// ([`aec_runtime::levels`]). `left` and `right`, `[b, n]`, are places as in [`Loop::nodes`],
    /// `count`, `[b]`, says how many nodes count. The result is `[3, rounds, rows]`: which node,
    /// of which tree, and 1 where that is so; elsewhere 0, and the node is one that counts, too,
    /// so that rounds can compute it for nothing. All are i64.
    Levels {
        /// Nodes of a round.
        rows: usize,
    },
    /// Linear algebra on the last two axes; leading axes are a batch, the same for all
    /// operands. f32 or f64.
    Matrix(MatrixOp),
    /// `[seed, step, coordinates…]`: random numbers keyed by place (AUTODIFF.md section 11).
    /// seed and step are i64 scalars. The result is `[..batch, ..event]`; each coordinate is
    /// an i64 tensor of dims `[..batch]`. The first coordinate is the example; the others are
    /// flattened in mixed radix with `radices` (one for each coordinate after the first).
    Draw {
        /// What is drawn.
        distribution: Distribution,
        /// The draw site, fixed by the elaborator; clones keep it.
        site: u64,
        /// Number of leading axes that coordinates index.
        batch: usize,
        /// Trip counts of the coordinates after the first.
        radices: Vec<usize>,
    },
    /// The body for each index of a new leading axis of size `size`. Operands match the body's
    /// params: a mapped one has the extra leading axis, the others are passed whole. Every
    /// result gets the axis in front.
    Map {
        /// Size of the mapped axis.
        size: usize,
        /// For each operand, whether its leading axis is mapped.
        mapped: Vec<bool>,
        /// Whether this is the batch that [`Op::BatchMean`] reduces over.
        is_batch: bool,
        /// What is evaluated for each index.
        body: Box<Function>,
    },
    /// Rounds of a body that carry a state; see [`Loop`].
    Loop(Loop),
    /// Derivative of the body; see [`Mode`]. Expanded by `transform`, never run.
    Derivative {
        /// Which one.
        mode: Mode,
        /// For each of the body's params, whether it is differentiated.
        active: Vec<bool>,
        /// What is differentiated.
        body: Box<Function>,
    },
    /// Mean of the operand over the batch; only inside a `Map` with `is_batch`.
    BatchMean,
    /// The operand; its derivative is zero.
    Stop,
    /// `[y, x, slope]`: y, to whose derivative the slope times that of x is added. y is
    /// `[..batch, ..s]`, x `[..batch, ..t]`, slope `[..batch, ..s, ..t]`. Around a `stop` it is a
    /// derivative that the script gives.
    Slope {
        /// Number of leading axes that all share.
        batch: usize,
    },
}

/// Families of ops, for tests and documentation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Category {
    /// Constants and counters.
    Leaf,
    /// One result entry from the operands' entries at the same place.
    Elementwise,
    /// Contractions.
    Contraction,
    /// Solves and factorizations.
    Matrix,
    /// Other reductions and scans along an axis.
    Reduction,
    /// Entries move, none is computed.
    Movement,
    /// Places given by data.
    GatherScatter,
    /// Draws.
    Random,
    /// Regions.
    Control,
}

impl Op {
    /// The region that the op evaluates, if it has one.
    pub fn body(&self) -> Option<&Function> {
        match self {
            Op::Map { body, .. } | Op::Derivative { body, .. } => Some(body),
            Op::Loop(looped) => Some(&looped.body),
            _ => None,
        }
    }

    /// [`Op::body`], to be changed.
    pub fn body_mut(&mut self) -> Option<&mut Function> {
        match self {
            Op::Map { body, .. } | Op::Derivative { body, .. } => Some(body),
            Op::Loop(looped) => Some(&mut looped.body),
            _ => None,
        }
    }

    /// The family.
    pub fn category(&self) -> Category {
        match self {
            Op::Constant(_) | Op::Dense(_) | Op::Iota { .. } => Category::Leaf,
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Select
            | Op::Convert
            | Op::Stop
            | Op::Slope { .. } => Category::Elementwise,
            Op::Contract(_) => Category::Contraction,
            Op::Matrix(_) => Category::Matrix,
            Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::CumSum { .. }
            | Op::ArgSort
            | Op::Levels { .. }
            | Op::BatchMean => Category::Reduction,
            Op::Reshape
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Reverse { .. } => Category::Movement,
            Op::Gather { .. } | Op::ScatterAdd { .. } | Op::Put { .. } => Category::GatherScatter,
            Op::Draw { .. } => Category::Random,
            Op::Map { .. } | Op::Loop(_) | Op::Derivative { .. } => Category::Control,
        }
    }

    /// The name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Constant(_) => "constant",
            Op::Dense(_) => "dense",
            Op::Iota { .. } => "iota",
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Compare(op) => op.name(),
            Op::Select => "select",
            Op::Convert => "convert",
            Op::Contract(_) => "contract",
            Op::Reduce { .. } => "reduce",
            Op::ArgReduce { .. } => "arg_reduce",
            Op::Reshape => "reshape",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Concat { .. } => "concat",
            Op::Reverse { .. } => "reverse",
            Op::Gather { .. } => "gather",
            Op::ScatterAdd { .. } => "scatter_add",
            Op::Put { .. } => "put",
            Op::CumSum { .. } => "cumsum",
            Op::ArgSort => "argsort",
            Op::Levels { .. } => "levels",
            Op::Matrix(op) => op.name(),
            Op::Draw { .. } => "draw",
            Op::Map { .. } => "map",
            Op::Loop(_) => "loop",
            Op::Derivative { .. } => "derivative",
            Op::BatchMean => "batch_mean",
            Op::Stop => "stop",
            Op::Slope { .. } => "slope",
        }
    }
}

impl Unary {
    /// Where the op and its derivative are finite, if there are places where they are not.
    pub fn safe_place(self) -> Option<f64> {
        match self {
            Unary::Log | Unary::Sqrt => Some(1.0),
            Unary::Exp | Unary::Expm1 | Unary::Log1p => Some(0.0),
            Unary::Neg
            | Unary::Abs
            | Unary::Sign
            | Unary::Floor
            | Unary::Sin
            | Unary::Cos
            | Unary::Tanh
            | Unary::Logistic
            | Unary::Erf
            | Unary::Not => None,
        }
    }

    /// All of them.
    pub const ALL: [Unary; 15] = [
        Unary::Neg,
        Unary::Abs,
        Unary::Sign,
        Unary::Floor,
        Unary::Exp,
        Unary::Log,
        Unary::Log1p,
        Unary::Expm1,
        Unary::Sqrt,
        Unary::Sin,
        Unary::Cos,
        Unary::Tanh,
        Unary::Logistic,
        Unary::Erf,
        Unary::Not,
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Abs => "abs",
            Unary::Sign => "sign",
            Unary::Floor => "floor",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Log1p => "log1p",
            Unary::Expm1 => "expm1",
            Unary::Sqrt => "sqrt",
            Unary::Sin => "sin",
            Unary::Cos => "cos",
            Unary::Tanh => "tanh",
            Unary::Logistic => "logistic",
            Unary::Erf => "erf",
            Unary::Not => "not",
        }
    }
}

impl Binary {
    /// For each operand, a place where the op and its derivatives are finite.
    pub fn safe_places(self) -> [Option<f64>; 2] {
        match self {
            Binary::Div | Binary::Mod => [None, Some(1.0)],
            Binary::Pow => [Some(1.0), None],
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::FloorDiv
            | Binary::Min
            | Binary::Max
            | Binary::And
            | Binary::Or => [None, None],
        }
    }

    /// All of them.
    pub const ALL: [Binary; 11] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::FloorDiv,
        Binary::Mod,
        Binary::Pow,
        Binary::Min,
        Binary::Max,
        Binary::And,
        Binary::Or,
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::FloorDiv => "floor_div",
            Binary::Mod => "mod",
            Binary::Pow => "pow",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::And => "and",
            Binary::Or => "or",
        }
    }
}

impl Comparison {
    /// All of them.
    pub const ALL: [Comparison; 6] = [
        Comparison::Eq,
        Comparison::Ne,
        Comparison::Lt,
        Comparison::Le,
        Comparison::Gt,
        Comparison::Ge,
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Comparison::Eq => "eq",
            Comparison::Ne => "ne",
            Comparison::Lt => "lt",
            Comparison::Le => "le",
            Comparison::Gt => "gt",
            Comparison::Ge => "ge",
        }
    }
}

/// The element type that a literal may stand for.
pub fn literal_fits(literal: Literal, elem: Elem) -> bool {
    match literal {
        Literal::Float(_) => elem.is_float(),
        Literal::Int(_) => elem.is_int(),
        Literal::Bool(_) => elem == Elem::Bool,
    }
}
