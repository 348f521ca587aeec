//! The functions of the compiler, in one table. Whatever can be said in the language is not
//! here but in `stdlib/`.

mod params;
mod shape;

use crate::call::Args;
use crate::error::{fail, not_yet, wanted};
use crate::grad::Kind;
use crate::host::EffectArgs;
use crate::ops::as_tensor;
use crate::scope::Scope;
use crate::value::{Dim, Distribution, Family, Model, Module, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Binary, Op, Reduction, Unary};
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuiltinId(usize);

impl BuiltinId {
    /// The name in scripts.
    pub fn name(self) -> &'static str {
        TABLE[self.0].name
    }

    /// One line for `:doc`.
    pub fn doc(self) -> &'static str {
        TABLE[self.0].doc
    }
}

/// What a builtin does.
#[derive(Clone, Copy)]
enum Action {
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
    /// An effect of the host.
    Effect(Checked),
    /// Anything else.
    Other(fn(&mut Elaborator, &Args, Span) -> Result<Value>),
    /// Part of the language, not compiled yet.
    NotYet,
}

/// What an effect gives while a script is checked.
#[derive(Clone, Copy)]
enum Checked {
    /// Nothing.
    Unit,
    /// Its first argument.
    First,
    /// A float tensor of that many axes whose sizes are read from a file.
    Sizes(&'static [&'static str]),
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

struct Row {
    name: &'static str,
    /// In `core`, the library's own module, not in scope of scripts.
    core: bool,
    params: &'static [&'static str],
    action: Action,
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
        name,
        core: true,
        params,
        action,
        doc,
    }
}

const X: &[&str] = &["x"];
const AB: &[&str] = &["a", "b"];
const F: &[&str] = &["f"];

static TABLE: &[Row] = &[
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
        Action::Other(select),
        "a where c holds, else b",
    ),
    row(
        "map",
        &[],
        Action::Other(map),
        "f of each entry of the first axis",
    ),
    row(
        "reduce",
        &["f", "s0", "xs"],
        Action::Other(reduce),
        "folds a list",
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
    row("stop", X, Action::Other(stop), "x, whose gradient is zero"),
    row(
        "batch_mean",
        X,
        Action::Other(batch_mean),
        "mean over the current batch",
    ),
    row(
        "seeded",
        &["f", "k"],
        Action::Other(seeded),
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
        Action::Other(log_prob),
        "log density, summed over the event",
    ),
    row(
        "entropy",
        &["d"],
        Action::Other(entropy),
        "entropy, summed over the event",
    ),
    row(
        "kl",
        &["q", "p"],
        Action::Other(kl),
        "divergence of q from p, summed over the event",
    ),
    row(
        "freeze",
        &["m"],
        Action::Other(freeze),
        "m, left alone by training",
    ),
    row(
        "with",
        &["m"],
        Action::Other(with),
        "a copy with changed params or fields: with(m, W = v)",
    ),
    row("str", X, Action::Other(to_str), "as text"),
    row(
        "save",
        &["m", "path"],
        Action::Effect(Checked::Unit),
        "writes weights to a file",
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
    row("debug", X, Action::Effect(Checked::First), "x, printed"),
    core(
        "read_csv",
        &["path"],
        Action::Effect(Checked::Sizes(&["rows", "cols"])),
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
        &["path"],
        Action::Effect(Checked::Str),
        "a text file",
    ),
    core(
        "digits",
        &[],
        Action::Effect(Checked::Digits),
        "the bundled digits",
    ),
    core(
        "plot_grid",
        &["rows", "path"],
        Action::Effect(Checked::Unit),
        "pictures in a grid",
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
        "is_function",
        X,
        Action::Other(is_function),
        "whether x can be called",
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
        "params_dot",
        AB,
        Action::Other(params::dot),
        "inner product over all leaves",
    ),
    row("scan", &[], Action::NotYet, ""),
    row("iterate", &[], Action::NotYet, ""),
    row("while", &[], Action::NotYet, ""),
    row("fold", &[], Action::NotYet, ""),
    row("unfold", &[], Action::NotYet, ""),
    row("nodes", &[], Action::NotYet, ""),
    row("leaves", &[], Action::NotYet, ""),
    row("mask", &[], Action::NotYet, ""),
    row("hide", &[], Action::NotYet, ""),
    row("observed", &[], Action::NotYet, ""),
    row("lstsq", &[], Action::NotYet, ""),
];

/// Names of the builtins that are not compiled yet, for the documentation.
pub fn not_yet_names() -> Vec<&'static str> {
    TABLE
        .iter()
        .filter(|row| matches!(row.action, Action::NotYet))
        .map(|row| row.name)
        .collect()
}

/// Puts the table into the outermost scope.
pub(crate) fn define_all(scope: &Scope) {
    let library = scope.module();
    let params = scope.module();
    for (index, row) in TABLE.iter().enumerate() {
        let value = Value::Builtin(BuiltinId(index));
        match (row.core, row.name.strip_prefix("params_")) {
            (false, _) => scope.define(row.name.into(), value),
            (true, Some(name)) => params.define(name.into(), value),
            (true, None) => library.define(row.name.into(), value),
        }
    }
    scope.define(
        "core".into(),
        Value::Module(Rc::new(Module {
            path: "core".into(),
            scope: library,
        })),
    );
    scope.define(
        "params".into(),
        Value::Module(Rc::new(Module {
            path: "params".into(),
            scope: params,
        })),
    );
    scope.define("pi".into(), Value::real(std::f64::consts::PI, Elem::F32));
    scope.define("inf".into(), Value::real(f64::INFINITY, Elem::F32));
}

/// Calls a builtin.
pub(crate) fn call(
    elaborator: &mut Elaborator,
    id: BuiltinId,
    args: Args,
    span: Span,
) -> Result<Value> {
    let row = &TABLE[id.0];
    if let Action::NotYet = row.action {
        return not_yet(span, &format!("`{}`", row.name));
    }
    let unknown = |args: &Args| {
        args.positional
            .iter()
            .any(|(value, _)| matches!(value, Value::Unknown))
    };
    match row.action {
        Action::Other(run) => {
            if row.params.is_empty() {
                return run(elaborator, &args, span);
            }
            let args = if row.name == "with" {
                args
            } else {
                ordered(elaborator, row, args, span)?
            };
            run(elaborator, &args, span)
        }
        Action::Effect(checked) => effect(elaborator, row, checked, args, span),
        Action::Distribution(family) => distribution(elaborator, row, family, args, span),
        Action::Extreme(reduction, binary) => {
            let args = ordered_up_to(elaborator, row, args, span, 1)?;
            if unknown(&args) {
                return Ok(Value::Unknown);
            }
            match args.positional.as_slice() {
                [(x, at)] => {
                    let x = elaborator.stack(x, *at)?;
                    let tensor = numbers(&x, *at)?;
                    let ty = TensorType::scalar(tensor.ty.elem);
                    let axes = (0..tensor.ty.rank()).collect();
                    Ok(Value::Tensor(elaborator.emit(
                        Op::Reduce {
                            op: reduction,
                            axes,
                        },
                        &[&tensor],
                        ty,
                        span,
                    )?))
                }
                [(a, a_span), (b, b_span)] => {
                    elaborator.elementwise_builtin(binary, (a, *a_span), (b, *b_span), span)
                }
                _ => fail(
                    "E0401",
                    span,
                    format!("`{}` takes one or two arguments", row.name),
                ),
            }
        }
        Action::Binary(op) => {
            let args = ordered(elaborator, row, args, span)?;
            let [(a, a_span), (b, b_span)] = args.positional.as_slice() else {
                return fail("E0401", span, format!("`{}` takes two arguments", row.name));
            };
            if op == Binary::Mod
                && let (Some(a), Some(b)) = (a.as_int(), b.as_int())
                && b != 0
            {
                return Ok(Value::int(
                    a - b * a.div_euclid(b) - if b < 0 && a.rem_euclid(b) != 0 { -b } else { 0 },
                ));
            }
            elaborator.elementwise_builtin(op, (a, *a_span), (b, *b_span), span)
        }
        Action::Derivative(kind) => {
            let mut args = args;
            let wrt = args
                .named
                .iter()
                .position(|(name, _)| &*name.name == "wrt")
                .map(|at| args.named.remove(at));
            let args = ordered(elaborator, row, args, span)?;
            elaborator.derivative_of(kind, &args.positional[0].0, wrt, span)
        }
        Action::Unary(_)
        | Action::Sum { .. }
        | Action::Truth(_)
        | Action::Place(_)
        | Action::Convert(_)
        | Action::Fill(_)
        | Action::NotYet => {
            let args = ordered(elaborator, row, args, span)?;
            if unknown(&args) {
                return Ok(Value::Unknown);
            }
            simple(elaborator, row, &args, span)
        }
    }
}

fn simple(elaborator: &mut Elaborator, row: &Row, args: &Args, span: Span) -> Result<Value> {
    let (x, at) = &args.positional[0];
    match row.action {
        Action::Unary(op) => {
            let x = elaborator.stack(x, *at)?;
            let mut tensor = numbers(&x, *at)?;
            let of_ints = matches!(op, Unary::Abs | Unary::Sign | Unary::Neg);
            if !tensor.ty.elem.is_float() && !of_ints {
                if !tensor.is_static_int() {
                    let text = elaborator.text(*at);
                    return Err(Box::new(
                        Diagnostic::error(
                            "E0303",
                            *at,
                            format!("`{}` works on reals, but this is {}", row.name, tensor.ty),
                        )
                        .help_edit(
                            "`real(…)` converts",
                            *at,
                            format!("real({text})"),
                        ),
                    ));
                }
                let float = elaborator.float();
                tensor = elaborator.convert(&tensor, float, *at)?;
            }
            Ok(Value::Tensor(elaborator.unary(op, &tensor, span)?))
        }
        Action::Sum { mean } => {
            let x = elaborator.stack(x, *at)?;
            let tensor = numbers(&x, *at)?;
            if mean && !tensor.ty.elem.is_float() {
                let text = elaborator.text(*at);
                return Err(Box::new(
                    Diagnostic::error(
                        "E0303",
                        *at,
                        format!("`mean` works on reals, but this is {}", tensor.ty),
                    )
                    .help_edit(
                        "`real(…)` converts",
                        *at,
                        format!("real({text})"),
                    ),
                ));
            }
            Ok(Value::Tensor(elaborator.total(&tensor, mean, span)?))
        }
        Action::Truth(reduction) => {
            let tensor = as_tensor(x, *at, "a tensor of bools")?;
            if tensor.ty.elem != Elem::Bool {
                return wanted(*at, "a tensor of bools", x);
            }
            let axes = (0..tensor.ty.rank()).collect();
            let ty = TensorType::scalar(Elem::Bool);
            Ok(Value::Tensor(elaborator.emit(
                Op::Reduce {
                    op: reduction,
                    axes,
                },
                &[&tensor],
                ty,
                span,
            )?))
        }
        Action::Place(reduction) => {
            let tensor = numbers(x, *at)?;
            if tensor.ty.rank() == 0 {
                return wanted(*at, "a vector", x);
            }
            // A function of a vector: more axes are mapped.
            let axis = tensor.ty.rank() - 1;
            let ty = TensorType {
                elem: Elem::I64,
                shape: tensor.ty.shape[..axis].to_vec(),
            };
            Ok(Value::Tensor(elaborator.emit(
                Op::ArgReduce {
                    op: reduction,
                    axis,
                },
                &[&tensor],
                ty,
                span,
            )?))
        }
        Action::Convert(elem) => {
            let x = elaborator.stack(x, *at)?;
            let tensor = as_tensor(&x, *at, "a number or tensor")?;
            let want = elem.unwrap_or(elaborator.float());
            let converted = Value::Tensor(elaborator.convert(&tensor, want, span)?);
            // A float type that is written out is meant: it does not adapt as literals do.
            let meant = matches!(elem, Some(Elem::F32 | Elem::F64));
            Ok(if meant {
                crate::train::concrete_leaves(&converted)
            } else {
                converted
            })
        }
        Action::Fill(constant) => {
            let value = match constant {
                Some(value) => match Value::real(value, elaborator.float()) {
                    Value::Tensor(tensor) => tensor,
                    _ => return wanted(span, "a number", x),
                },
                None => {
                    let tensor = as_tensor(x, *at, "a number")?;
                    if tensor.is_static_int() {
                        let float = elaborator.float();
                        elaborator.convert(&tensor, float, *at)?
                    } else {
                        tensor
                    }
                }
            };
            let (sizes, sizes_span) = if constant.is_some() {
                (x, *at)
            } else {
                (&args.positional[1].0, args.positional[1].1)
            };
            let dims = shape::sizes(elaborator, sizes, sizes_span)?;
            Ok(Value::Tensor(elaborator.filled(&value, dims, span)?))
        }
        Action::Derivative(_)
        | Action::Binary(_)
        | Action::Extreme(..)
        | Action::Distribution(_)
        | Action::Effect(_)
        | Action::Other(_)
        | Action::NotYet => fail(
            "E0490",
            span,
            format!("`{}` is not called this way", row.name),
        ),
    }
}

impl Elaborator {
    /// Sum or mean of all entries.
    pub(crate) fn total(&mut self, tensor: &Tensor, mean: bool, span: Span) -> Result<Tensor> {
        let ty = TensorType::scalar(tensor.ty.elem);
        let tensor = if tensor.ty.elem == Elem::Bool {
            self.convert(tensor, Elem::I64, span)?
        } else {
            tensor.clone()
        };
        let ty = TensorType {
            elem: tensor.ty.elem,
            ..ty
        };
        if tensor.is_scalar() {
            return Ok(tensor);
        }
        self.build(&[&tensor], ty, span, |f, v, _, span| {
            let dims = f.dims(v[0]).to_vec();
            let count = dims.iter().product::<usize>();
            let labels: Vec<aec_ir::Label> = (0..dims.len() as aec_ir::Label).collect();
            let scale = if mean && count > 0 {
                1.0 / count as f64
            } else {
                1.0
            };
            f.contract(&[(v[0], &labels)], &[], &[], scale, span)
        })
    }
}

/// A tensor of numbers, not bools.
fn numbers(value: &Value, span: Span) -> Result<Tensor> {
    let tensor = as_tensor(value, span, "a number or tensor")?;
    Ok(tensor)
}

/// Arguments in the order of the row's parameters, all given.
fn ordered(elaborator: &mut Elaborator, row: &Row, args: Args, span: Span) -> Result<Args> {
    let optional = usize::from(row.name == "pad");
    ordered_up_to(elaborator, row, args, span, optional)
}

fn ordered_up_to(
    elaborator: &mut Elaborator,
    row: &Row,
    args: Args,
    span: Span,
    optional: usize,
) -> Result<Args> {
    let mut slots: Vec<Option<(Value, Span)>> = args.positional.into_iter().map(Some).collect();
    if slots.len() > row.params.len() {
        let wants = crate::call::count(row.params.len(), "argument");
        return fail(
            "E0401",
            span,
            format!(
                "`{}` takes {wants}, but {} are given",
                row.name,
                slots.len()
            ),
        );
    }
    slots.resize_with(row.params.len(), || None);
    for (name, value) in args.named {
        let Some(at) = row.params.iter().position(|param| **param == *name.name) else {
            let mut diagnostic = Diagnostic::error(
                "E0403",
                name.span,
                format!("`{}` has no parameter `{}`", row.name, name.name),
            );
            if let Some(near) = aec_syntax::suggest::nearest(&name.name, row.params.iter().copied())
            {
                diagnostic =
                    diagnostic.help_edit(format!("did you mean `{near}`?"), name.span, near);
            }
            return Err(Box::new(diagnostic));
        };
        slots[at] = Some((value, name.span));
    }
    let missing = slots
        .iter()
        .take(row.params.len() - optional)
        .position(Option::is_none);
    if let Some(at) = missing {
        let _ = elaborator;
        return fail(
            "E0401",
            span,
            format!("`{}` wants a value for `{}`", row.name, row.params[at]),
        );
    }
    Ok(Args {
        positional: slots.into_iter().flatten().collect(),
        named: Vec::new(),
    })
}

fn effect(
    elaborator: &mut Elaborator,
    row: &Row,
    checked: Checked,
    args: Args,
    span: Span,
) -> Result<Value> {
    if !elaborator.effects_allowed() {
        return fail(
            "E0410",
            span,
            format!(
                "`{}` belongs to scripts, not to code that is compiled",
                row.name
            ),
        );
    }
    if let Some((name, _)) = args
        .named
        .iter()
        .find(|(name, _)| !row.params.contains(&&*name.name))
    {
        let mut diagnostic = Diagnostic::error(
            "E0403",
            name.span,
            format!("`{}` has no parameter `{}`", row.name, name.name),
        );
        if let Some(near) = aec_syntax::suggest::nearest(&name.name, row.params.iter().copied()) {
            diagnostic = diagnostic.help_edit(format!("did you mean `{near}`?"), name.span, near);
        }
        return Err(Box::new(diagnostic));
    }
    if args.positional.len() > row.params.len() {
        let wants = crate::call::count(row.params.len(), "argument");
        return fail(
            "E0401",
            span,
            format!(
                "`{}` takes {wants}, but {} are given",
                row.name,
                args.positional.len()
            ),
        );
    }
    let optional = if row.name == "eval" { 2 } else { 0 };
    let given = args.positional.len() + args.named.len();
    if given + optional < row.params.len() {
        return fail(
            "E0401",
            span,
            format!("`{}` wants a value for `{}`", row.name, row.params[given]),
        );
    }
    if elaborator.checking() {
        return Ok(match checked {
            Checked::Unit => Value::Unit,
            Checked::First => args
                .positional
                .first()
                .map_or(Value::Unknown, |(value, _)| value.clone()),
            Checked::Sizes(names) => {
                let shape = names
                    .iter()
                    .map(|name| {
                        let size = elaborator.fresh_size(name);
                        Dim {
                            size,
                            name: Some((*name).into()),
                            origin: Some(Rc::new(crate::value::Origin {
                                span,
                                text: "read from this file".into(),
                            })),
                        }
                    })
                    .collect();
                Value::Tensor(Tensor {
                    ty: TensorType {
                        elem: elaborator.float(),
                        shape,
                    },
                    repr: Repr::Unknown,
                })
            }
            Checked::Ints => {
                let size = elaborator.fresh_size("rows");
                let ty = TensorType {
                    elem: Elem::I64,
                    shape: vec![Dim::of(size)],
                };
                Value::Tensor(Tensor {
                    ty,
                    repr: Repr::Unknown,
                })
            }
            Checked::Digits => {
                let x = TensorType {
                    elem: elaborator.float(),
                    shape: vec![Dim::known(1797), Dim::known(64)],
                };
                let y = TensorType {
                    elem: Elem::I64,
                    shape: vec![Dim::known(1797)],
                };
                Value::record(vec![
                    (
                        "x",
                        Value::Tensor(Tensor {
                            ty: x,
                            repr: Repr::Unknown,
                        }),
                    ),
                    (
                        "y",
                        Value::Tensor(Tensor {
                            ty: y,
                            repr: Repr::Unknown,
                        }),
                    ),
                ])
            }
            Checked::Unknown => Value::Unknown,
            Checked::Str => Value::str(""),
            Checked::Int => Value::Tensor(Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Unknown,
            }),
        });
    }
    let positional: Vec<Value> = args
        .positional
        .into_iter()
        .map(|(value, _)| value)
        .collect();
    let positional = elaborator.materialize(&positional, span)?;
    let mut named = Vec::new();
    for (name, value) in args.named {
        let value = elaborator.materialize_one(value, span)?;
        named.push((name.name, value));
    }
    let name = if row.core {
        format!("core.{}", row.name)
    } else {
        row.name.to_string()
    };
    let host = elaborator.host.clone();
    host.effect(elaborator, &name, EffectArgs { positional, named }, span)
}

fn distribution(
    elaborator: &mut Elaborator,
    row: &Row,
    family: Family,
    args: Args,
    span: Span,
) -> Result<Value> {
    if family == Family::Categorical
        && let Some((name, weights)) = args.named.first()
        && &*name.name == "weights"
    {
        let weights = as_tensor(weights, span, "weights (a vector)")?;
        let logits = elaborator.unary(Unary::Log, &weights, span)?;
        let params = vec![Value::Tensor(logits)];
        return Ok(Value::Distribution(Rc::new(Distribution {
            family,
            params,
        })));
    }
    let optional = usize::from(family == Family::Categorical);
    let args = ordered_up_to(elaborator, row, args, span, optional)?;
    let mut params = Vec::new();
    for (value, at) in args.positional {
        let value = match (&value, family) {
            (Value::Unknown, _) | (_, Family::Permutation) => value,
            (Value::Tensor(tensor), _) if tensor.is_static_int() => {
                let float = elaborator.float();
                Value::Tensor(elaborator.convert(tensor, float, at)?)
            }
            (Value::Tensor(tensor), _) if tensor.ty.elem.is_float() => value,
            (other, _) => return wanted(at, "a real number or tensor", other),
        };
        params.push(value);
    }
    Ok(Value::Distribution(Rc::new(Distribution {
        family,
        params,
    })))
}

fn select(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(c, c_span), (a, a_span), (b, b_span)] = args.positional.as_slice() else {
        return fail("E0401", span, "`select` takes three arguments");
    };
    if [c, a, b]
        .iter()
        .any(|value| matches!(value, Value::Unknown))
    {
        return Ok(Value::Unknown);
    }
    let condition = as_tensor(c, *c_span, "a bool")?;
    if condition.ty.elem != Elem::Bool {
        return wanted(*c_span, "a bool", c);
    }
    let x = as_tensor(a, *a_span, "a number or tensor")?;
    let y = as_tensor(b, *b_span, "a number or tensor")?;
    Ok(Value::Tensor(elaborator.select(
        &condition,
        x,
        y,
        (*a_span, *b_span),
        span,
    )?))
}

fn map(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(((f, _), sequences)) = args
        .positional
        .split_first()
        .filter(|(_, rest)| !rest.is_empty())
    else {
        return fail(
            "E0401",
            span,
            "`map` wants a function and one or more sequences",
        );
    };
    if sequences
        .iter()
        .any(|(value, _)| matches!(value, Value::List(_)))
    {
        let lists: Vec<Vec<Value>> = sequences
            .iter()
            .map(|(value, at)| match value {
                Value::List(items) => Ok(items.to_vec()),
                other => wanted(*at, "a list, like the other argument", other),
            })
            .collect::<Result<_>>()?;
        let n = lists[0].len();
        if lists.iter().any(|list| list.len() != n) {
            return fail("E0309", span, "the lists have different lengths");
        }
        let mut out = Vec::new();
        for at in 0..n {
            let values: Vec<Value> = lists.iter().map(|list| list[at].clone()).collect();
            out.push(elaborator.apply(f, &values, span)?);
        }
        return elaborator.stack(&Value::List(Rc::new(out)), span);
    }
    if sequences
        .iter()
        .any(|(value, _)| matches!(value, Value::Unknown))
    {
        return Ok(Value::Unknown);
    }
    let mut dim: Option<(Dim, Span)> = None;
    for (value, at) in sequences {
        for leaf in crate::leaves(value) {
            let tensor = as_tensor(&leaf.tensor, *at, "a sequence")?;
            let Some(own) = tensor.ty.shape.first() else {
                return wanted(
                    *at,
                    "a sequence (a tensor with at least one axis, or a list)",
                    value,
                );
            };
            match &dim {
                None => dim = Some((own.clone(), *at)),
                Some((first, first_span)) if first.size != own.size => {
                    return Err(Box::new(
                        Diagnostic::error(
                            "E0309",
                            span,
                            "the sequences of this `map` have different lengths",
                        )
                        .label(
                            *first_span,
                            format!("{} entries", crate::error::show_dim(first)),
                        )
                        .label(*at, format!("{} entries", crate::error::show_dim(own))),
                    ));
                }
                Some(_) => {}
            }
        }
    }
    let Some((dim, _)) = dim else {
        return wanted(
            sequences[0].1,
            "a sequence (a tensor or a list)",
            &sequences[0].0,
        );
    };
    let inputs: Vec<(Value, bool)> = sequences
        .iter()
        .map(|(value, _)| (value.clone(), true))
        .collect();
    let f = f.clone();
    elaborator.map_over(&dim, &inputs, false, span, |elaborator, values| {
        elaborator.apply(&f, values, span)
    })
}

fn reduce(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(f, _), (start, _), (sequence, at)] = args.positional.as_slice() else {
        return fail(
            "E0401",
            span,
            "`reduce` wants a function, a start and a list",
        );
    };
    let items: Vec<Value> = match sequence {
        Value::List(items) | Value::Tuple(items) => items.to_vec(),
        Value::Unknown => return Ok(Value::Unknown),
        Value::Tensor(Tensor {
            repr: Repr::Static(_),
            ..
        }) => crate::stmt::split_rows(sequence),
        Value::Tensor(_) => return not_yet(*at, "`reduce` over a tensor"),
        other => return wanted(*at, "a list", other),
    };
    let mut state = start.clone();
    for item in items {
        state = elaborator.apply(f, &[state, item], span)?;
    }
    Ok(state)
}

fn stop(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let parts: Vec<Value> = crate::leaves(&args.positional[0].0)
        .into_iter()
        .map(|leaf| leaf.tensor)
        .collect();
    let mut out = Vec::new();
    for part in &parts {
        let tensor = as_tensor(part, span, "a tensor")?;
        out.push(match tensor.repr {
            Repr::Static(_) | Repr::Symbolic(_) => part.clone(),
            _ => Value::Tensor(elaborator.emit(Op::Stop, &[&tensor], tensor.ty.clone(), span)?),
        });
    }
    Ok(crate::with_leaves(
        &args.positional[0].0,
        &mut out.into_iter(),
        false,
    ))
}

fn batch_mean(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (x, at) = &args.positional[0];
    if matches!(x, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let tensor = as_tensor(x, *at, "a tensor")?;
    let in_batch = elaborator.in_batch();
    if !in_batch && !elaborator.checking() {
        return Err(Box::new(
            Diagnostic::error(
                "E0505",
                span,
                "`batch_mean` is over a batch, but one example alone is computed here",
            )
            .help("call the member on a batch, or through `train` or `eval`"),
        ));
    }
    if elaborator.checking() {
        return Ok(Value::Tensor(Tensor {
            ty: tensor.ty,
            repr: Repr::Unknown,
        }));
    }
    Ok(Value::Tensor(elaborator.emit(
        Op::BatchMean,
        &[&tensor],
        tensor.ty.clone(),
        span,
    )?))
}

fn seeded(_: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (f, key) = (args.positional[0].0.clone(), args.positional[1].0.as_int());
    let Some(key) = key else {
        return wanted(span, "an int key", &args.positional[1].0);
    };
    let native = move |elaborator: &mut Elaborator, values: &[Value], at: Span| {
        // The call path under `seeded` is the key alone, so that the call site does not matter.
        let path = crate::call::site_hash(&[b"seeded", &key.to_le_bytes()]);
        elaborator.activations.push(crate::Activation {
            path,
            calls: Default::default(),
        });
        let result = elaborator.apply(&f, values, at);
        elaborator.activations.pop();
        result
    };
    Ok(Value::Fn(Rc::new(crate::value::Closure {
        code: crate::value::Code::Native(Box::new(native)),
        name: "seeded(…)".into(),
        span,
    })))
}

fn freeze(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let (m, at) = &args.positional[0];
    match m {
        Value::Model(model) => Ok(Value::Model(Rc::new(Model {
            frozen: true,
            ..(**model).clone()
        }))),
        Value::Unknown => Ok(Value::Unknown),
        other => wanted(*at, "a model", other),
    }
}

fn with(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some((base, _)) = args.positional.first() else {
        return fail(
            "E0401",
            span,
            "`with` wants a model or record, and the changes: `with(m, W = v)`",
        );
    };
    let mut out = base.clone();
    for (name, value) in &args.named {
        let change = |fields: &[(Rc<str>, Value)]| -> Option<Vec<(Rc<str>, Value)>> {
            let at = fields.iter().position(|(field, _)| *field == name.name)?;
            let mut fields = fields.to_vec();
            fields[at].1 = value.clone();
            Some(fields)
        };
        let changed = match &out {
            Value::Record(fields) => change(fields).map(|fields| Value::Record(Rc::new(fields))),
            Value::Model(model) => change(&model.params).map(|params| {
                Value::Model(Rc::new(Model {
                    params,
                    ..(**model).clone()
                }))
            }),
            Value::Unknown => Some(Value::Unknown),
            other => return wanted(span, "a model or record", other),
        };
        out = match changed {
            Some(value) => value,
            None => {
                elaborator.field(&out, name)?;
                return fail(
                    "E0202",
                    name.span,
                    format!("`{}` cannot be changed", name.name),
                );
            }
        };
    }
    Ok(out)
}

fn to_str(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    if elaborator.checking() {
        return Ok(Value::str(""));
    }
    let value = elaborator.materialize_one(args.positional[0].0.clone(), span)?;
    let host = elaborator.host.clone();
    Ok(Value::str(&host.format(&value, None, span)?))
}

fn is_function(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    Ok(Value::bool(matches!(
        args.positional[0].0,
        Value::Fn(_) | Value::Builtin(_)
    )))
}

/// The distribution and its formula's parts, computed by the library functions of the same name
/// in `stdlib/distributions.ae`.
fn by_library(
    elaborator: &mut Elaborator,
    what: &str,
    values: &[Value],
    span: Span,
) -> Result<Value> {
    if values.iter().any(|value| matches!(value, Value::Unknown)) {
        return Ok(Value::Unknown);
    }
    let mut name = what.to_string();
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Distribution(distribution) => {
                name.push('_');
                name.push_str(match distribution.family {
                    Family::Normal => "normal",
                    Family::Uniform => "uniform",
                    Family::Bernoulli => "bernoulli",
                    Family::Categorical => "categorical",
                    Family::Gumbel => "gumbel",
                    Family::Permutation => "permutation",
                });
                all.extend(distribution.params.iter().cloned());
            }
            other => all.push(other.clone()),
        }
    }
    let prelude = elaborator.prelude.clone();
    match prelude.here(&name) {
        Some(f) => elaborator.apply(&f, &all, span),
        None => fail(
            "E0406",
            span,
            format!("`{what}` has no formula for {}", values[0].describe()),
        ),
    }
}

fn log_prob(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    by_library(
        elaborator,
        "log_prob",
        &[args.positional[0].0.clone(), args.positional[1].0.clone()],
        span,
    )
}

fn entropy(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    by_library(elaborator, "entropy", &[args.positional[0].0.clone()], span)
}

fn kl(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    by_library(
        elaborator,
        "kl",
        &[args.positional[0].0.clone(), args.positional[1].0.clone()],
        span,
    )
}
