//! The functions of the compiler, in one table. Whatever can be said in the language is not
//! here but in `stdlib/`.

mod bounds;
mod distributions;
mod effect;
mod functions;
mod lifted;
mod linalg;
mod loops;
mod params;
mod shape;
mod table;

pub use table::BuiltinId;

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::ops::as_tensor;
use crate::scope::Scope;
use crate::value::{Module, Tensor, TensorType, Value};
use crate::varying::neutral;
use crate::{Elaborator, Result};
use aec_ir::{Binary, Op, Unary};
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};
use distributions::distribution;
use effect::effect;
use std::rc::Rc;
use table::{Action, Row, TABLE};

/// The name of the bool that holds while `train` traces its loss (SEMANTICS.md B2).
pub(crate) const TRAINING: &str = "training";

/// Puts the table into the outermost scope, and constants of the float in force.
pub(crate) fn define_all(scope: &Scope, float: Elem) {
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
    scope.define("pi".into(), Value::real(std::f64::consts::PI, float));
    scope.define(TRAINING.into(), Value::bool(false));
    scope.define("inf".into(), Value::real(f64::INFINITY, float));
}

/// Whether it is among what forbids an autoencoder the identity (`identity.rs`).
fn unlike_a_copy(row: &Row) -> bool {
    match row.action {
        Action::Derivative(_) | Action::Matrix(_) => true,
        Action::Other(_) => matches!(
            row.name,
            "hide" | "batch_mean" | "iterate" | "while" | "argsort"
        ),
        Action::Unary(_)
        | Action::Binary(_)
        | Action::Extreme(..)
        | Action::Sum { .. }
        | Action::Truth(_)
        | Action::Place(_)
        | Action::Convert(_)
        | Action::Fill(_)
        | Action::Distribution(_)
        | Action::Effect(_) => false,
    }
}

/// Calls a builtin.
pub(crate) fn call(
    elaborator: &mut Elaborator,
    id: BuiltinId,
    args: Args,
    span: Span,
) -> Result<Value> {
    let row = &TABLE[id.0];
    let known = |name: &str| row.params.contains(&name);
    let beyond = args.positional.len() > row.params.len()
        || args.named.iter().any(|(name, _)| !known(&name.name));
    if !beyond {
        return run(elaborator, id, args, span);
    }
    let given = args.clone();
    run(elaborator, id, args, span).map_err(|error| match error.code {
        "E0401" | "E0403" => Box::new(beyond_params(elaborator, row, *error, &given, span)),
        _ => error,
    })
}

/// A call that is given more than the row has parameters: what was meant, where that is plain.
fn beyond_params(
    elaborator: &Elaborator,
    row: &Row,
    mut error: Diagnostic,
    given: &Args,
    span: Span,
) -> Diagnostic {
    if let Some(over) = crate::slips::goes_over(row.name) {
        return elaborator.repair_axis(error, row.name, over, given, span);
    }
    if let Action::Distribution(_) = row.action
        && let Some((shape, _)) = given.named.iter().find(|(name, _)| is_shape(&name.name))
    {
        let (name, shape) = (row.name, &shape.name);
        return error.help(format!(
            "a draw has its {shape} at its name: `let x: [n] ~ {name}(…)`"
        ));
    }
    let [(_, f), at @ ..] = given.positional.as_slice() else {
        return error;
    };
    let makes_a_function = matches!(row.action, Action::Derivative(_)) || row.name == "remat";
    if makes_a_function && !at.is_empty() && given.named.is_empty() {
        let at: Vec<String> = at.iter().map(|(_, at)| elaborator.text(*at)).collect();
        let (name, f) = (row.name, elaborator.text(*f));
        error.help.clear();
        let meant = format!("{name}({f})({})", at.join(", "));
        let (takes, behind) = match name {
            "jvp" | "hessian_vector" => ("the place and a direction", "x, v"),
            "vjp" => ("the place and a weight for each result", "x, c"),
            _ => ("the place", "x"),
        };
        let help = format!("`{name}(f)` is a function, which takes {takes}: `{name}(f)({behind})`");
        return match elaborator.in_one_line(span) {
            true => error.help_edit(help, span, meant),
            false => error.help(help),
        };
    }
    error
}

fn is_shape(name: &str) -> bool {
    matches!(name, "size" | "shape" | "n" | "dims" | "sample_shape")
}

/// Refuses `map(xs, f)`: what is worked on stands where the function belongs.
fn function_first(row: &Row, args: &Args) -> Result<()> {
    let [(first, at), rest @ ..] = args.positional.as_slice() else {
        return Ok(());
    };
    let loops = matches!(row.name, "map" | "scan" | "reduce" | "iterate" | "while");
    let data = matches!(
        first,
        Value::Tensor(_)
            | Value::Token(_)
            | Value::Maybe(_)
            | Value::List(_)
            | Value::Ragged(_)
            | Value::Tuple(_)
            | Value::Record(_)
    );
    let function = |value: &Value| matches!(value, Value::Fn(_) | Value::Builtin(_));
    if !(loops && data && rest.iter().any(|(value, _)| function(value))) {
        return Ok(());
    }
    let message = format!("`{}` takes its function first", row.name);
    Err(Box::new(
        Diagnostic::error("E0310", *at, message)
            .label(*at, first.describe())
            .help(called_as(row)),
    ))
}

fn run(elaborator: &mut Elaborator, id: BuiltinId, args: Args, span: Span) -> Result<Value> {
    let row = &TABLE[id.0];
    function_first(row, &args)?;
    elaborator.unlike_copies += u32::from(unlike_a_copy(row));
    if lifted::concerns(&args)
        && let Some(value) = lifted::lifted(elaborator, id, &args, span)?
    {
        return Ok(value);
    }
    let unknown = |args: &Args| {
        args.positional.iter().any(|(value, _)| match value {
            // Whether it is a tensor shows when its items are known.
            Value::List(items) => items.iter().any(|item| matches!(item, Value::Unknown)),
            value => matches!(value, Value::Unknown),
        })
    };
    match row.action {
        // A shape that is read from a file.
        Action::Other(_)
            if unknown(&args)
                && matches!(row.name, "reshape" | "permute" | "broadcast" | "pad") =>
        {
            Ok(Value::Unknown)
        }
        Action::Other(run) => {
            if row.params.is_empty() {
                return run(elaborator, &args, span);
            }
            let args = if row.name == "with" {
                args
            } else {
                ordered(row, args, span)?
            };
            run(elaborator, &args, span)
        }
        Action::Matrix(op) => linalg::matrix(elaborator, row, op, args, span),
        Action::Effect(checked) => effect(elaborator, row, checked, args, span),
        Action::Distribution(family) => distribution(elaborator, row, family, args, span),
        Action::Extreme(reduction, binary) => {
            let args = ordered_up_to(row, args, span, 1)?;
            if unknown(&args) {
                return Ok(Value::Unknown);
            }
            match args.positional.as_slice() {
                [(x, at)] => {
                    let x = elaborator.stack(x, *at)?;
                    let tensor = numbers(&x, *at)?;
                    let ty = TensorType::scalar(tensor.ty.elem);
                    let axes = (0..tensor.ty.rank()).collect();
                    let least = neutral(reduction, tensor.ty.elem);
                    let tensor = elaborator.within(&tensor, None, least, span)?;
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
                // The lesser of two sizes is a size, of which checking knows no more.
                [(a, _), (b, _)]
                    if elaborator.checking()
                        && let (Some(a), Some(b)) = (a.as_size(), b.as_size())
                        && (a.as_constant().is_none() || b.as_constant().is_none()) =>
                {
                    Ok(Value::size(
                        elaborator.fresh_size(&format!("{}({a}, {b})", row.name)),
                    ))
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
            let args = ordered(row, args, span)?;
            let [(a, a_span), (b, b_span)] = args.positional.as_slice() else {
                return fail("E0401", span, format!("`{}` takes two arguments", row.name));
            };
            if op == Binary::Mod
                && let (Some(a), Some(b)) = (a.as_int(), b.as_int())
            {
                if b == 0 {
                    return crate::error::division_by_zero(*b_span);
                }
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
            let args = ordered(row, args, span)?;
            elaborator.derivative_of(kind, &args.positional[0].0, wrt, span)
        }
        Action::Unary(_)
        | Action::Sum { .. }
        | Action::Truth(_)
        | Action::Place(_)
        | Action::Convert(_)
        | Action::Fill(_) => {
            let args = ordered(row, args, span)?;
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
            let least = neutral(reduction, Elem::Bool);
            let tensor = elaborator.within(&tensor, None, least, span)?;
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
                shape: tensor.ty.shape[..axis].to_vec().into(),
            };
            let least = neutral(reduction, tensor.ty.elem);
            let tensor = elaborator.within(&tensor, Some(axis), least, span)?;
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
                None => as_tensor(x, *at, "a number")?,
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
        | Action::Matrix(_)
        | Action::Other(_) => fail(
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
        let tensor = self.within(&tensor, None, 0.0, span)?;
        let varies = crate::varying::any(&tensor) && !self.checking();
        if mean && varies {
            let all = shape::volume(&tensor.ty.shape);
            let sum = self.total(&tensor, false, span)?;
            let count = self.count_of(&all, tensor.ty.elem, span)?;
            return self.build(&[&sum, &count], ty, span, |f, v, _, span| {
                f.binary(Binary::Div, v[0], v[1], span)
            });
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

/// A call with more arguments than the row has parameters.
fn too_many(row: &Row, given: usize, span: Span) -> Diagnostic {
    let wants = crate::call::count(row.params.len(), "argument");
    let message = format!("`{}` takes {wants}, but {given} are given", row.name);
    let error = Diagnostic::error("E0401", span, message);
    match row.params {
        ["shape"] => error.help(format!("sizes stand in brackets: `{}([2, 3])`", row.name)),
        _ => error.help(called_as(row)),
    }
}

/// A call that leaves out what the row's parameter at a place stands for.
fn too_few(row: &Row, at: usize, span: Span) -> Diagnostic {
    let message = format!("`{}` wants a value for `{}`", row.name, row.params[at]);
    Diagnostic::error("E0401", span, message).help(called_as(row))
}

fn called_as(row: &Row) -> String {
    let params = match row.name {
        "map" => "f, xs".to_string(),
        "while" => "f, s0, until = c, max = n".to_string(),
        _ => row.params.join(", "),
    };
    format!("it is called as `{}({params})`", row.name)
}

/// Arguments in the order of the row's parameters, all given.
fn ordered(row: &Row, args: Args, span: Span) -> Result<Args> {
    let optional = usize::from(row.name == "pad");
    ordered_up_to(row, args, span, optional)
}

fn ordered_up_to(row: &Row, args: Args, span: Span, optional: usize) -> Result<Args> {
    let mut slots: Vec<Option<(Value, Span)>> = args.positional.into_iter().map(Some).collect();
    if slots.len() > row.params.len() {
        return Err(Box::new(too_many(row, slots.len(), span)));
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
        return Err(Box::new(too_few(row, at, span)));
    }
    Ok(Args {
        positional: slots.into_iter().flatten().collect(),
        named: Vec::new(),
    })
}
