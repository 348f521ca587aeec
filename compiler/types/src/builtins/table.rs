//! The table of builtins: name, parameters, action, one line of documentation. Adding one is
//! adding a row.

use super::{bounds, distributions, functions, lifted, linalg, loops, params, shape};
use crate::call::Args;
use crate::grad::Kind;
use crate::value::{Family, Value};
use crate::{Elaborator, Result};
use aec_ir::{Binary, MatrixOp, Reduction, System, Unary};
use aec_runtime::Elem;
use aec_syntax::Span;

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuiltinId(pub(super) usize);

impl BuiltinId {
    /// The name in scripts.
    pub fn name(self) -> &'static str {
        TABLE[self.0].name
    }

    /// The names of its parameters.
    pub(crate) fn params(self) -> &'static [&'static str] {
        TABLE[self.0].params
    }

    /// Whether it makes a distribution.
    pub(crate) fn is_distribution(self) -> bool {
        matches!(TABLE[self.0].action, Action::Distribution(_))
    }

    /// One line for `:doc`.
    pub fn doc(self) -> &'static str {
        TABLE[self.0].doc
    }
}

/// What a builtin does.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// Elementwise, of one tensor.
    Unary(Unary),
    /// Elementwise, of two.
    Binary(Binary),
    /// Reduces everything with one argument, elementwise with two.
    Extreme(Reduction, Binary),
    /// Sum or mean of everything.
    Sum { mean: bool },
    /// All or any.
    Truth(Reduction),
    /// Place of the largest or smallest, of a vector.
    Place(Reduction),
    /// Conversion to an element type; none means the float in force.
    Convert(Option<Elem>),
    /// A tensor of one number.
    Fill(Option<f64>),
    /// A derivative of a function.
    Derivative(Kind),
    /// A distribution.
    Distribution(Family),
    /// Linear algebra; see `builtins/linalg.rs`.
    Matrix(MatrixOp),
    /// An effect of the host.
    Effect(Checked),
    /// Anything else.
    Other(fn(&mut Elaborator, &Args, Span) -> Result<Value>),
}

/// What an effect gives while a script is checked.
#[derive(Clone, Copy)]
pub(super) enum Checked {
    /// Nothing.
    Unit,
    /// Its first argument.
    First,
    /// A vector of ints from a file.
    Ints,
    /// The bundled digits.
    Digits,
    /// Something that is only known when it runs.
    Unknown,
    /// A string.
    Str,
    /// An int.
    Int,
}

/// What the compiler and `:doc` know of a builtin.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// In `core`, the library's own module, not in scope of scripts.
    pub(super) core: bool,
    pub(super) params: &'static [&'static str],
    pub(super) action: Action,
    doc: &'static str,
}

const fn row(
    name: &'static str,
    params: &'static [&'static str],
    action: Action,
    doc: &'static str,
) -> Row {
    Row {
        name,
        core: false,
        params,
        action,
        doc,
    }
}

const fn core(
    name: &'static str,
    params: &'static [&'static str],
    action: Action,
    doc: &'static str,
) -> Row {
    Row {
        core: true,
        ..row(name, params, action, doc)
    }
}

const X: &[&str] = &["x"];
const AB: &[&str] = &["a", "b"];
const F: &[&str] = &["f"];

pub(super) static TABLE: &[Row] = &[
    row(
        "exp",
        X,
        Action::Unary(Unary::Exp),
        "e to the x, elementwise",
    ),
    row(
        "log",
        X,
        Action::Unary(Unary::Log),
        "natural logarithm, elementwise",
    ),
    row(
        "log1p",
        X,
        Action::Unary(Unary::Log1p),
        "log(1 + x), exact near 0",
    ),
    row(
        "expm1",
        X,
        Action::Unary(Unary::Expm1),
        "exp(x) - 1, exact near 0",
    ),
    row(
        "sqrt",
        X,
        Action::Unary(Unary::Sqrt),
        "square root, elementwise",
    ),
    row("sin", X, Action::Unary(Unary::Sin), "sine"),
    row("cos", X, Action::Unary(Unary::Cos), "cosine"),
    row("tanh", X, Action::Unary(Unary::Tanh), "hyperbolic tangent"),
    row(
        "logistic",
        X,
        Action::Unary(Unary::Logistic),
        "1 / (1 + exp(-x))",
    ),
    row("erf", X, Action::Unary(Unary::Erf), "error function"),
    row("abs", X, Action::Unary(Unary::Abs), "absolute value"),
    row("sign", X, Action::Unary(Unary::Sign), "-1, 0 or 1"),
    row(
        "floor",
        X,
        Action::Unary(Unary::Floor),
        "largest whole number not above",
    ),
    row(
        "mod",
        AB,
        Action::Binary(Binary::Mod),
        "remainder of floor division",
    ),
    row(
        "max",
        AB,
        Action::Extreme(Reduction::Max, Binary::Max),
        "largest of all entries, or of two values elementwise",
    ),
    row(
        "min",
        AB,
        Action::Extreme(Reduction::Min, Binary::Min),
        "smallest of all entries, or of two values elementwise",
    ),
    row("sum", X, Action::Sum { mean: false }, "sum of all entries"),
    row("mean", X, Action::Sum { mean: true }, "mean of all entries"),
    row(
        "all",
        X,
        Action::Truth(Reduction::All),
        "whether all entries hold",
    ),
    row(
        "any",
        X,
        Action::Truth(Reduction::Any),
        "whether any entry holds",
    ),
    row(
        "argmax",
        X,
        Action::Place(Reduction::Max),
        "index of the first largest entry",
    ),
    row(
        "argmin",
        X,
        Action::Place(Reduction::Min),
        "index of the first smallest entry",
    ),
    row(
        "real",
        X,
        Action::Convert(None),
        "as the float type in force",
    ),
    row("f32", X, Action::Convert(Some(Elem::F32)), "as f32"),
    row("f64", X, Action::Convert(Some(Elem::F64)), "as f64"),
    row(
        "int",
        X,
        Action::Convert(Some(Elem::I64)),
        "as int, towards zero",
    ),
    row(
        "i32",
        X,
        Action::Convert(Some(Elem::I32)),
        "as i32, towards zero",
    ),
    row(
        "i64",
        X,
        Action::Convert(Some(Elem::I64)),
        "as i64, towards zero",
    ),
    row(
        "bool",
        X,
        Action::Convert(Some(Elem::Bool)),
        "whether not 0",
    ),
    row(
        "zeros",
        &["shape"],
        Action::Fill(Some(0.0)),
        "a tensor of zeros: zeros[3, 4]",
    ),
    row(
        "ones",
        &["shape"],
        Action::Fill(Some(1.0)),
        "a tensor of ones: ones[3]",
    ),
    row(
        "fill",
        &["v", "shape"],
        Action::Fill(None),
        "a tensor of one value",
    ),
    row(
        "concat",
        &[],
        Action::Other(shape::concat),
        "tensors one after the other along `axis`",
    ),
    row(
        "split",
        &["x", "k"],
        Action::Other(shape::split),
        "k equal parts as a tuple",
    ),
    row(
        "reshape",
        &["x", "shape"],
        Action::Other(shape::reshape),
        "the same entries in another shape",
    ),
    row(
        "flatten",
        X,
        Action::Other(shape::flatten),
        "all entries as a vector",
    ),
    row(
        "permute",
        &["x", "axes"],
        Action::Other(shape::permute),
        "axes in another order",
    ),
    row(
        "broadcast",
        &["x", "shape"],
        Action::Other(shape::broadcast),
        "x repeated along new leading axes",
    ),
    row(
        "pad",
        &["x", "widths", "with"],
        Action::Other(shape::pad),
        "x with a border",
    ),
    row(
        "reverse",
        X,
        Action::Other(shape::reverse),
        "the first axis in opposite order",
    ),
    row(
        "shape",
        X,
        Action::Other(shape::shape),
        "the sizes as a list",
    ),
    row(
        "len",
        X,
        Action::Other(shape::len),
        "size of the first axis, or of a list",
    ),
    row(
        "cumsum",
        X,
        Action::Other(shape::cumsum),
        "running sums of a vector",
    ),
    row(
        "argsort",
        X,
        Action::Other(shape::argsort),
        "indices that sort a vector",
    ),
    row(
        "select",
        &["c", "a", "b"],
        Action::Other(functions::select),
        "a where c holds, else b",
    ),
    row(
        "hide",
        &["x", "where"],
        Action::Other(lifted::hide),
        "x with the entries hidden where a bool holds",
    ),
    row(
        "observed",
        X,
        Action::Other(lifted::observed),
        "which entries of x are not missing",
    ),
    row(
        "map",
        &[],
        Action::Other(functions::map),
        "f of each entry of the first axis",
    ),
    row(
        "reduce",
        &["f", "s0", "xs"],
        Action::Other(loops::reduce),
        "folds a list or the first axis of a tensor",
    ),
    row(
        "grad",
        F,
        Action::Derivative(Kind::Grad),
        "gradient of a function with a real result",
    ),
    row(
        "value_and_grad",
        F,
        Action::Derivative(Kind::ValueAndGrad),
        "value and gradient",
    ),
    row(
        "jacobian",
        F,
        Action::Derivative(Kind::Jacobian),
        "all first derivatives",
    ),
    row(
        "jvp",
        F,
        Action::Derivative(Kind::Jvp),
        "value and directional derivative: jvp(f)(x, v)",
    ),
    row(
        "vjp",
        F,
        Action::Derivative(Kind::Vjp),
        "gradient of c · f: vjp(f)(x, c)",
    ),
    row(
        "hessian_vector",
        F,
        Action::Derivative(Kind::HessianVector),
        "second derivative along v: hessian_vector(f)(x, v)",
    ),
    row(
        "stop",
        X,
        Action::Other(functions::stop),
        "x, whose gradient is zero",
    ),
    row(
        "remat",
        F,
        Action::Other(functions::remat),
        "f, of which a gradient keeps the arguments alone and computes the rest again",
    ),
    row(
        "batch_mean",
        X,
        Action::Other(functions::batch_mean),
        "mean over the current batch",
    ),
    row(
        "running",
        &["x", "decay"],
        Action::Other(functions::running),
        "in training x of the batch, elsewhere the average that the model kept of it: running(batch_mean(h), 0.9)",
    ),
    row(
        "with_derivative",
        &["f", "derivative"],
        Action::Other(functions::with_derivative),
        "f with a derivative of your own: a function of the same arguments",
    ),
    row(
        "seeded",
        &["f", "k"],
        Action::Other(functions::seeded),
        "f with draws fixed by k",
    ),
    row(
        "normal",
        &["mu", "sigma"],
        Action::Distribution(Family::Normal),
        "the normal distribution",
    ),
    row(
        "uniform",
        &["a", "b"],
        Action::Distribution(Family::Uniform),
        "uniform between a and b",
    ),
    row(
        "bernoulli",
        &["p"],
        Action::Distribution(Family::Bernoulli),
        "1 with probability p",
    ),
    row(
        "categorical",
        &["logits", "weights"],
        Action::Distribution(Family::Categorical),
        "one of n, by logits or weights",
    ),
    row(
        "gumbel",
        &[],
        Action::Distribution(Family::Gumbel),
        "the standard Gumbel distribution",
    ),
    row(
        "permutation",
        &["n"],
        Action::Distribution(Family::Permutation),
        "an order of 0..n",
    ),
    row(
        "log_prob",
        &["d", "x"],
        Action::Other(distributions::log_prob),
        "log density, summed over the event",
    ),
    row(
        "entropy",
        &["d"],
        Action::Other(distributions::entropy),
        "entropy, summed over the event",
    ),
    row(
        "kl",
        &["q", "p"],
        Action::Other(distributions::kl),
        "divergence of q from p, summed over the event",
    ),
    row(
        "freeze",
        &["m"],
        Action::Other(functions::freeze),
        "m, left alone by training",
    ),
    row(
        "with",
        &["m"],
        Action::Other(functions::with),
        "a copy with changed params or fields: with(m, W = v)",
    ),
    row("str", X, Action::Other(functions::to_str), "as text"),
    row(
        "save",
        &["m", "path", "words"],
        Action::Effect(Checked::Unit),
        "writes weights to a file",
    ),
    row(
        "export",
        &["x", "path"],
        Action::Effect(Checked::Unit),
        "writes a tensor for other programs: .csv or .npy",
    ),
    row(
        "load",
        &["m", "path"],
        Action::Effect(Checked::First),
        "reads weights from a file",
    ),
    row(
        "eval",
        &["m", "on", "metrics"],
        Action::Effect(Checked::Unknown),
        "loss and metrics of a model on data",
    ),
    row(
        "history",
        &["m"],
        Action::Other(functions::history),
        "the figures of each epoch of a model's training, by name",
    ),
    row("debug", X, Action::Effect(Checked::First), "x, printed"),
    core(
        "read_csv",
        &["path"],
        Action::Effect(Checked::Unknown),
        "numbers of a CSV file",
    ),
    core(
        "read_idx",
        &["path"],
        Action::Effect(Checked::Unknown),
        "an IDX file, bytes scaled to 0..1",
    ),
    core(
        "read_labels",
        &["path"],
        Action::Effect(Checked::Ints),
        "ints of an IDX file",
    ),
    core(
        "read_text",
        &["path", "encoding"],
        Action::Effect(Checked::Str),
        "a text file",
    ),
    core(
        "read_npy",
        &["path"],
        Action::Effect(Checked::Unknown),
        "a NumPy array",
    ),
    core(
        "read_npz",
        &["path"],
        Action::Effect(Checked::Unknown),
        "the arrays of a NumPy archive, by name",
    ),
    core(
        "read_tensors",
        &["path"],
        Action::Effect(Checked::Unknown),
        "the tensors of a safetensors file, by name",
    ),
    core(
        "read_table",
        &["path"],
        Action::Effect(Checked::Unknown),
        "columns of numbers and of words",
    ),
    core(
        "read_image",
        &["path"],
        Action::Effect(Checked::Unknown),
        "a PNG or JPEG picture",
    ),
    core(
        "read_images",
        &["path"],
        Action::Effect(Checked::Unknown),
        "the pictures of a folder",
    ),
    core(
        "read_classes",
        &["path"],
        Action::Effect(Checked::Unknown),
        "the pictures of a folder's folders, with their classes",
    ),
    core(
        "read_stored",
        &["path"],
        Action::Effect(Checked::Unknown),
        "rows of an NPY or IDX file that stay there",
    ),
    core(
        "load_rows",
        X,
        Action::Effect(Checked::First),
        "rows that stay in a file, in memory",
    ),
    core(
        "digits",
        &[],
        Action::Effect(Checked::Digits),
        "the bundled digits",
    ),
    core(
        "plot_grid",
        &["rows", "path", "width"],
        Action::Effect(Checked::Unit),
        "pictures in a grid",
    ),
    core(
        "plot",
        &["figure", "path"],
        Action::Effect(Checked::Unit),
        "a chart or a tree, in a file or printed",
    ),
    core(
        "shuffle",
        &["x", "seed"],
        Action::Effect(Checked::First),
        "rows in random order",
    ),
    core(
        "batches",
        &["x", "b"],
        Action::Effect(Checked::Unknown),
        "a list of batches",
    ),
    core(
        "filter",
        &["x", "keep"],
        Action::Effect(Checked::Unknown),
        "the rows whose flag holds",
    ),
    core(
        "unique",
        X,
        Action::Effect(Checked::Unknown),
        "the different ints of a vector, rising",
    ),
    core(
        "file_size",
        &["path"],
        Action::Effect(Checked::Int),
        "bytes of a file",
    ),
    core(
        "sum_first",
        X,
        Action::Other(shape::sum_first),
        "sum over the first axis",
    ),
    core(
        "max_first",
        X,
        Action::Other(shape::max_first),
        "largest over the first axis",
    ),
    core(
        "vocab",
        &["words", "min_count", "extra"],
        Action::Other(crate::tokens::vocab),
        "a vocabulary of the words of a text",
    ),
    core(
        "words",
        X,
        Action::Other(crate::tokens::words),
        "the words of a text, between blanks",
    ),
    core(
        "lines",
        X,
        Action::Other(crate::tokens::lines),
        "the lines of a text",
    ),
    core(
        "lower",
        X,
        Action::Other(crate::tokens::lower),
        "a text in small letters, its punctuation apart",
    ),
    core(
        "count_first",
        X,
        Action::Other(lifted::count_first),
        "observed rows at each place, at least 1",
    ),
    core(
        "is_function",
        X,
        Action::Other(functions::is_function),
        "whether x can be called",
    ),
    core(
        "kind",
        X,
        Action::Other(functions::kind),
        "what x holds: \"real\", \"int\" or \"bool\"",
    ),
    core(
        "refuse_strings",
        &["words", "longest"],
        Action::Other(functions::refuse_strings),
        "the number of words, where all strings of so many can be listed",
    ),
    core(
        "within",
        &["x", "least", "most", "name"],
        Action::Other(bounds::within),
        "x, which can only be from least to most",
    ),
    core(
        "refuse_min_norm",
        &["B", "ridge"],
        Action::Other(linalg::refuse_min_norm),
        "B, where least squares has something to learn",
    ),
    core(
        "solve",
        &["A", "b"],
        Action::Matrix(MatrixOp::Solve(System::General { transposed: false })),
        "x with A x = b",
    ),
    core(
        "solve_lower",
        &["A", "b"],
        Action::Matrix(MatrixOp::Solve(System::Lower { transposed: false })),
        "x with A x = b, by A's lower triangle",
    ),
    core(
        "solve_upper",
        &["A", "b"],
        Action::Matrix(MatrixOp::Solve(System::Upper { transposed: false })),
        "x with A x = b, by A's upper triangle",
    ),
    core(
        "solve_positive",
        &["A", "b"],
        Action::Matrix(MatrixOp::Solve(System::Positive)),
        "x with A x = b, A positive definite",
    ),
    core(
        "cholesky",
        &["A"],
        Action::Matrix(MatrixOp::Cholesky),
        "L with A = L L'",
    ),
    core(
        "logdet",
        &["A"],
        Action::Matrix(MatrixOp::LogDet),
        "sign and logarithm of the determinant",
    ),
    core("qr", &["A"], Action::Matrix(MatrixOp::Qr), "Q over R"),
    core(
        "svd",
        &["A"],
        Action::Matrix(MatrixOp::Svd),
        "U over V over the singular values",
    ),
    core(
        "eigh",
        &["A"],
        Action::Matrix(MatrixOp::Eigh),
        "vectors over eigenvalues",
    ),
    core(
        "params_map",
        &[],
        Action::Other(params::map),
        "f leaf by leaf",
    ),
    core(
        "params_zeros",
        &["m"],
        Action::Other(params::zeros),
        "zeros like the trained leaves",
    ),
    core(
        "params_count",
        &["m"],
        Action::Other(params::count),
        "number of trained entries",
    ),
    core(
        "named",
        &["m"],
        Action::Other(params::named),
        "the tensors of a model or record: a list of (name, value)",
    ),
    core(
        "params_dot",
        AB,
        Action::Other(params::dot),
        "inner product over all leaves",
    ),
    core(
        "params_norm",
        &["m"],
        Action::Other(params::norm),
        "length of all leaves as one vector",
    ),
    core(
        "params_flatten",
        &["m"],
        Action::Other(params::flatten),
        "all leaves as one vector",
    ),
    core(
        "params_unflatten",
        &["v", "m"],
        Action::Other(params::unflatten),
        "m with its leaves taken from a vector, the way back of flatten",
    ),
    row(
        "fold",
        &["t", "leaf", "node"],
        Action::Other(crate::trees::fold),
        "a tree from its leaves up: the value at its root",
    ),
    row(
        "fold_all",
        &["t", "leaf", "node"],
        Action::Other(crate::trees::fold_all),
        "like fold: a tree with the value at each leaf and node",
    ),
    row(
        "unfold",
        &["t", "s0", "node", "leaf"],
        Action::Other(crate::trees::unfold),
        "down along the shape of a tree: a tree with a value at each leaf",
    ),
    row(
        "leaves",
        &["t"],
        Action::Other(crate::trees::leaf_values),
        "what a tree has at its leaves, from left to right",
    ),
    row(
        "nodes",
        &["t"],
        Action::Other(crate::trees::node_values),
        "what a tree has at its inner nodes, children before parents",
    ),
    core(
        "tree",
        &["leaf", "left", "right"],
        Action::Other(crate::trees::from_parts),
        "a tree of its leaves and the children of its inner nodes",
    ),
    core(
        "label_tree",
        &["t", "label"],
        Action::Other(crate::trees::labelled),
        "the tree with one label at all places",
    ),
    core(
        "parse_trees",
        &["lines", "v"],
        Action::Other(crate::treebank::parse),
        "trees in brackets, one a line",
    ),
    core(
        "tree_words",
        X,
        Action::Other(crate::treebank::words),
        "the words of trees in brackets",
    ),
    core(
        "tree_parts",
        &["t"],
        Action::Other(crate::trees::parts),
        "leaves, children and count of a tree as a record",
    ),
    row(
        "scan",
        &["f", "s0", "xs"],
        Action::Other(loops::scan),
        "f(state, x) for each x in turn: the last state, and the outputs",
    ),
    row(
        "iterate",
        &["f", "s0", "n"],
        Action::Other(loops::iterate),
        "f applied n times",
    ),
    row(
        "while",
        &["f", "s0", "until", "max"],
        Action::Other(loops::while_),
        "f again and again until a condition holds, at most max times",
    ),
];
