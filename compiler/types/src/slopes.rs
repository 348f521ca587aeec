//! `with_derivative(f, d)`: a function of the values of the first and of the slopes that the second
//! computes.
//!
//! What d gives is what `jacobian(f)` would give: built like the result, inside of that like the
//! argument; of several arguments with reals, a tuple of these. Parts without reals have no slopes.

use crate::around::around;
use crate::call::{Args, count};
use crate::declared::{Declared, Kind};
use crate::error::{show_type, wanted};
use crate::leaves::leaves;
use crate::missing::plain;
use crate::value::{Dim, Maybe, Repr, Tensor, Value};
use crate::{Elaborator, Result};
use aec_ir::Op;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// Whether a derivative has a slope for an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counts {
    /// It holds reals.
    Yes,
    /// It is whole numbers in the text, which stand for reals if the function takes them so: the
    /// derivative may have a slope for it, to which nothing flows.
    Perhaps,
    No,
}

/// Where things stand in the text.
#[derive(Clone, Copy)]
struct Places {
    function: Span,
    derivative: Span,
    call: Span,
}

/// The reals that a value may be differentiated by.
fn reals(value: &Value) -> Vec<Tensor> {
    let trained = leaves(value).into_iter().filter(|leaf| leaf.trained);
    trained
        .filter_map(|leaf| match leaf.tensor {
            Value::Tensor(tensor) if tensor.ty.elem.is_float() => Some(tensor),
            _ => None,
        })
        .collect()
}

impl Elaborator {
    pub(crate) fn with_derivative(
        &mut self,
        [f, d]: [&(Value, Span); 2],
        span: Span,
    ) -> Result<Value> {
        for (value, at) in [f, d] {
            if !matches!(
                value,
                Value::Fn(_) | Value::Builtin(_) | Value::Model(_) | Value::Unknown
            ) {
                return wanted(*at, "a function", value);
            }
        }
        let (function, derivative) = (f.1, d.1);
        let (inner, d) = (f.0.clone(), d.0.clone());
        let run = move |elaborator: &mut Elaborator, args: Args, call: Span| {
            let args = elaborator.in_order(&inner, args, call)?;
            let counts = elaborator.counts(&inner, &args)?;
            let args: Vec<Value> = args.into_iter().map(|(value, _)| value).collect();
            let y = elaborator.apply(&inner, &args, call)?;
            let slopes = elaborator.apply(&d, &args, call)?;
            let at = Places {
                function,
                derivative,
                call,
            };
            elaborator.attach(&y, &args, &counts, slopes, at)
        };
        Ok(around(&f.0, 0, "with_derivative(…)", span, Box::new(run)))
    }

    /// For which arguments of a function a derivative has slopes.
    fn counts(&mut self, f: &Value, args: &[(Value, Span)]) -> Result<Vec<Counts>> {
        let parameters = self.parameters(f)?;
        let mut all = Vec::with_capacity(args.len());
        for (place, (value, _)) in args.iter().enumerate() {
            let whole = leaves(value).into_iter().any(|leaf| {
                let tensor = leaf.tensor.tensor();
                tensor.is_some_and(Tensor::is_static_int)
            });
            let ty = parameters.declared().get(place).and_then(|p| p.ty.as_ref());
            let declared = match ty {
                Some(ty) if whole => Some(self.declared(ty)?),
                _ => None,
            };
            all.push(match declared {
                _ if !reals(value).is_empty() => Counts::Yes,
                Some(Declared::Tensor { elem, .. }) => match elem {
                    Kind::Real => Counts::Yes,
                    Kind::Fixed(elem) if elem.is_float() => Counts::Yes,
                    Kind::Fixed(_) | Kind::Token => Counts::No,
                    Kind::Any => Counts::Perhaps,
                },
                Some(Declared::Function | Declared::Str | Declared::Model) => Counts::No,
                _ if whole => Counts::Perhaps,
                _ => Counts::No,
            });
        }
        Ok(all)
    }

    /// A result with slopes for each of the arguments.
    fn attach(
        &mut self,
        y: &Value,
        args: &[Value],
        counts: &[Counts],
        slopes: Value,
        at: Places,
    ) -> Result<Value> {
        if matches!(y, Value::Unknown) || matches!(slopes, Value::Unknown) {
            return Ok(y.clone());
        }
        let counted = |sure: bool| {
            let all = args.iter().zip(counts);
            let counted = all.filter(|(_, counts)| match counts {
                Counts::Yes => true,
                Counts::Perhaps => !sure,
                Counts::No => false,
            });
            counted.map(|(arg, _)| arg).collect::<Vec<_>>()
        };
        let all = counted(false);
        let each = |by: &[&Value]| match (&slopes, by) {
            (_, []) => Some(Vec::new()),
            (Value::Tuple(parts), [_, _, ..]) => (parts.len() == by.len()).then(|| parts.to_vec()),
            (_, [one]) if !matches!(slopes, Value::Tuple(_)) || like_tuple(y, one) => {
                Some(vec![slopes.clone()])
            }
            _ => None,
        };
        let found = [all.clone(), counted(true)]
            .into_iter()
            .find_map(|by| Some((each(&by)?, by)));
        let Some((slopes, by)) = found else {
            let given = match &slopes {
                Value::Tuple(parts) => parts.len(),
                _ => 1,
            };
            let (slopes, arguments) = (count(given, "slope"), count(all.len(), "argument"));
            let message = format!("this derivative gives {slopes} of {arguments}");
            return Err(Box::new(
                Diagnostic::error("E0506", at.derivative, message)
                    .here("one for each argument of reals, as a tuple if there are several")
                    .label(at.call, "applied here"),
            ));
        };
        let by: Vec<(&Value, Value)> = by.into_iter().zip(slopes).collect();
        self.attach_parts(y, &by, at)
    }

    /// The parts of a result, each with its part of the slopes.
    fn attach_parts(&mut self, y: &Value, by: &[(&Value, Value)], at: Places) -> Result<Value> {
        // What the slopes of all arguments have for a part of the result.
        let parts_of = |part: &dyn Fn(&Value) -> Option<Value>| {
            let mut parts = Vec::with_capacity(by.len());
            for (x, slope) in by {
                match part(slope) {
                    Some(part) => parts.push((*x, part)),
                    None => return Err(not_built(y, "function gives", slope, at)),
                }
            }
            Ok(parts)
        };
        Ok(match y {
            Value::Tensor(y) => Value::Tensor(self.attach_to(y, by, at)?),
            Value::Maybe(maybe) => Value::Maybe(Rc::new(Maybe {
                value: self.attach_parts(&maybe.value, by, at)?,
                observed: maybe.observed.clone(),
            })),
            Value::Tuple(parts) | Value::List(parts) => {
                let mut out = Vec::with_capacity(parts.len());
                for (place, part) in parts.iter().enumerate() {
                    let by = parts_of(&|slope| match slope {
                        Value::Tuple(own) | Value::List(own) if own.len() == parts.len() => {
                            Some(own[place].clone())
                        }
                        _ => None,
                    })?;
                    out.push(self.attach_parts(part, &by, at)?);
                }
                match y {
                    Value::Tuple(_) => Value::tuple(out),
                    _ => Value::List(Rc::new(out)),
                }
            }
            Value::Record(fields) => {
                let mut out = Vec::with_capacity(fields.len());
                for (name, part) in fields.iter() {
                    let by = parts_of(&|slope| slope.field(name).cloned())?;
                    out.push((name.clone(), self.attach_parts(part, &by, at)?));
                }
                Value::Record(Rc::new(out))
            }
            Value::Unit | Value::Unknown | Value::Token(_) | Value::Str(_) => y.clone(),
            Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Model(_)
            | Value::Module(_)
            | Value::Distribution(_)
            | Value::Ragged(_)
            | Value::Tree(_)
            | Value::Vocab(_) => {
                let wants = "a function whose result is made of tensors";
                return wanted(at.function, wants, y);
            }
        })
    }

    /// One tensor of a result with its slopes by all tensors of the arguments.
    fn attach_to(&mut self, y: &Tensor, by: &[(&Value, Value)], at: Places) -> Result<Tensor> {
        let constant = matches!(y.repr, Repr::Static(_) | Repr::Symbolic(_));
        if constant || !y.ty.elem.is_float() {
            return Ok(y.clone());
        }
        let of: Vec<Tensor> = by.iter().flat_map(|(x, _)| reals(x)).collect();
        let of: Vec<&Tensor> = of.iter().collect();
        if self.is_differentiated(y, &of) {
            let message = "this function uses a value that is differentiated and is none of its arguments, \
                           so `with_derivative` has no slope for it";
            return Err(Box::new(
                Diagnostic::error("E0506", at.function, message)
                    .label(at.call, "applied here")
                    .help("pass it as an argument and give its slope, too: `with_derivative(fn x, w -> …, fn x, w -> (…, …))`")
                    .help("or make a constant of it, `stop(w)`, if no slope is wanted"),
            ));
        }
        let mut slopes = Vec::new();
        for (x, slope) in by {
            self.slopes_by(x, slope, at, &mut slopes)?;
        }
        let span = at.call;
        let mut y = self.emit(Op::Stop, &[y], y.ty.clone(), span)?;
        for (x, slope) in slopes {
            let of_reals = slope.ty.elem.is_float() || slope.is_static_int();
            let batch = shared_axes(&y, &x, &slope).filter(|_| of_reals);
            let batch = batch.ok_or_else(|| misshapen(&y, &x, &slope, at))?;
            // A function from f64 to f32 has its slopes in the elements of its result.
            let x = self.convert(&x, y.ty.elem, span)?;
            let slope = self.convert(&slope, y.ty.elem, span)?;
            y = self.emit(Op::Slope { batch }, &[&y, &x, &slope], y.ty.clone(), span)?;
        }
        Ok(y)
    }

    /// Each tensor of reals of an argument, and its slope.
    fn slopes_by(
        &mut self,
        x: &Value,
        slope: &Value,
        at: Places,
        found: &mut Vec<(Tensor, Tensor)>,
    ) -> Result<()> {
        if reals(x).is_empty() || matches!(slope, Value::Unknown) {
            return Ok(());
        }
        let fields = |value: &Value| match value {
            Value::Record(fields) => Some(fields.to_vec()),
            Value::Model(model) => Some(model.params.clone()),
            _ => None,
        };
        match (x, slope) {
            (Value::Tensor(x), _) => {
                let slope = match slope {
                    Value::List(_) => self.stack(slope, at.derivative)?,
                    // What is hidden is 0 under its flags.
                    other => plain(other).clone(),
                };
                let Value::Tensor(slope) = slope else {
                    return wanted(at.derivative, "a function whose slopes are tensors", &slope);
                };
                found.push((x.clone(), slope));
                Ok(())
            }
            (Value::Maybe(maybe), _) => self.slopes_by(&maybe.value, plain(slope), at, found),
            (Value::Tuple(parts), Value::Tuple(own)) | (Value::List(parts), Value::List(own))
                if parts.len() == own.len() =>
            {
                let mut pairs = parts.iter().zip(own.iter());
                pairs.try_for_each(|(x, slope)| self.slopes_by(x, slope, at, found))
            }
            (Value::Record(_) | Value::Model(_), _) => {
                let (Some(parts), Some(own)) = (fields(x), fields(slope)) else {
                    return Err(not_built(x, "argument is", slope, at));
                };
                for (name, part) in &parts {
                    match own.iter().find(|(own, _)| own == name) {
                        Some((_, slope)) => self.slopes_by(part, slope, at, found)?,
                        None if reals(part).is_empty() => {}
                        None => return Err(no_slope_of(name, at)),
                    }
                }
                Ok(())
            }
            _ => Err(not_built(x, "argument is", slope, at)),
        }
    }
}

/// Whether the slope of a result by an argument is a tuple: it is built like the one, then like
/// the other.
fn like_tuple(y: &Value, x: &Value) -> bool {
    matches!(plain(y), Value::Tuple(_)) || matches!(plain(x), Value::Tuple(_))
}

/// How many leading axes a slope's function is mapped over: result, argument and slope share them.
/// None if the slope has another shape than result and argument ask for.
fn shared_axes(y: &Tensor, x: &Tensor, slope: &Tensor) -> Option<usize> {
    let sizes = |dims: &[Dim]| -> Vec<_> { dims.iter().map(|dim| dim.size.clone()).collect() };
    let (y, x, slope) = (&y.ty.shape, &x.ty.shape, &slope.ty.shape);
    // Its rank tells how many.
    let batch = (y.len() + x.len()).checked_sub(slope.len())?;
    let mut wanted = sizes(y);
    wanted.extend(sizes(x.get(batch..)?));
    let leading = sizes(y.get(..batch)?) == sizes(&x[..batch]);
    (leading && wanted == sizes(slope)).then_some(batch)
}

fn misshapen(y: &Tensor, x: &Tensor, slope: &Tensor, at: Places) -> Box<Diagnostic> {
    let message = format!(
        "this derivative is {}, but the function gives {} of {}",
        show_type(&slope.ty),
        show_type(&y.ty),
        show_type(&x.ty)
    );
    Box::new(
        Diagnostic::error("E0506", at.derivative, message)
            .here("what `jacobian` would give is wanted: the shape of the result, then that of the argument")
            .label(at.call, "applied here")
            .help("for a function of one number, declare it as one (`x: real`): it is then applied entry by entry"),
    )
}

fn no_slope_of(name: &str, at: Places) -> Box<Diagnostic> {
    let message =
        format!("this derivative has no slope `{name}`, but the argument has such a part");
    Box::new(
        Diagnostic::error("E0506", at.derivative, message)
            .here("a record of slopes has the names of the argument's parts")
            .label(at.call, "applied here"),
    )
}

/// A slope of another make than what it is of; `what` says which of the two that is.
fn not_built(of: &Value, what: &str, slope: &Value, at: Places) -> Box<Diagnostic> {
    let message = format!(
        "this derivative gives {}, but the {what} {}",
        slope.describe(),
        of.describe()
    );
    Box::new(
        Diagnostic::error("E0506", at.derivative, message)
            .here("what `jacobian` would give is wanted: built like the result, then like the argument")
            .label(at.call, "applied here")
            .help("of `fn (a, b) -> …` a pair of slopes, of `fn r -> …` a record with the fields of r"),
    )
}
