//! Sizes in declared types as equations: what binds a size name, what must agree with it, and the
//! reason of each size that a message names.

use crate::declared::{ShapeItem, UNKNOWN};
use crate::error::{fail, show_dim, show_type, with_origin};
use crate::scope::Scope;
use crate::size::Size;
use crate::typing::axes;
use crate::value::{Dim, Origin, TensorType, Value};
use crate::{Elaborator, Result};
use aec_syntax::ast::{Name, TypeExpr, TypeKind};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// What the arguments of one call say about the sizes in its parameters' types.
#[derive(Default)]
pub(crate) struct Equations<'a> {
    sizes: Vec<Equation<'a>>,
    /// The argument that bound each `[..s]`, and its sizes.
    rests: Vec<(Name, Span, Vec<Dim>)>,
}

/// A declared size and an actual one.
struct Equation<'a> {
    declared: &'a TypeExpr,
    actual: Dim,
    argument: Span,
    whole: TensorType,
    /// Which axis of the argument, and what is declared for all of them, if that is no `[..s]`.
    axis: usize,
    axes: Rc<[&'a TypeExpr]>,
}

/// A size name that an argument has bound.
struct Bound {
    name: Name,
    argument: Span,
    /// The axis that it came from.
    dim: Dim,
}

impl Elaborator {
    /// Adds the equations of a declared shape and the type of an argument.
    pub(crate) fn match_shape<'a>(
        &mut self,
        shape: &[ShapeItem<'a>],
        actual: &TensorType,
        ty: &TypeExpr,
        span: Span,
        scope: &Scope,
        equations: &mut Equations<'a>,
    ) -> Result<()> {
        let rest = shape
            .iter()
            .position(|item| matches!(item, ShapeItem::Rest(_)));
        let fits = match rest {
            Some(_) => actual.rank() + 1 >= shape.len(),
            None => actual.rank() == shape.len(),
        };
        if !fits {
            let mut diagnostic = Diagnostic::error(
                "E0302",
                span,
                format!(
                    "`{}` has {} here, but `{}` is declared",
                    self.text(span),
                    axes(actual.rank()),
                    self.text(ty.span)
                ),
            )
            .here(show_type(actual))
            .label(ty.span, format!("{} declared here", axes(shape.len())));
            let (value, sizes) = (self.text(span), self.text(ty.span));
            if value.parse::<f64>().is_ok() && sizes.starts_with('[') && !sizes.contains("..") {
                let fill = format!("fill({value}, {sizes})");
                let help = format!("a tensor of one number is `{fill}`");
                diagnostic = diagnostic.help_edit(help, span, fill);
            } else if actual.rank() < shape.len() {
                diagnostic = diagnostic.help(
                    "a call may have more axes than declared (it is mapped over them), not fewer",
                );
            }
            return Err(Box::new(diagnostic));
        }
        let before = rest.unwrap_or(shape.len());
        let after = shape.len() - before - usize::from(rest.is_some());
        let middle = actual.shape.len() - after;
        let fixed = actual.shape[..before].iter().chain(&actual.shape[middle..]);
        let sizes = shape.iter().filter_map(|item| match item {
            ShapeItem::Size(size) => Some(*size),
            ShapeItem::Rest(_) => None,
        });
        let axes: Rc<[&TypeExpr]> = sizes.clone().collect();
        for (axis, (declared, dim)) in sizes.zip(fixed).enumerate() {
            equations.sizes.push(Equation {
                declared,
                actual: dim.clone(),
                argument: span,
                whole: actual.clone(),
                axis,
                axes: Rc::clone(&axes),
            });
        }
        if let Some(ShapeItem::Rest(name)) = rest.map(|at| &shape[at])
            && &*name.name != "_"
        {
            let dims = &actual.shape[before..middle];
            let key = format!("..{}", name.name);
            let Some((Value::List(known), _)) = scope.lookup_local(&key) else {
                let sizes = dims.iter().map(|dim| Value::size(dim.size.clone()));
                scope.define(key.into(), Value::List(Rc::new(sizes.collect())));
                let dims = dims.to_vec();
                equations.rests.push((name.name.clone(), span, dims));
                return Ok(());
            };
            let known: Vec<Size> = known.iter().filter_map(Value::as_size).collect();
            let mut pairs = known.iter().zip(dims);
            if known.len() != dims.len() || pairs.any(|(size, dim)| size.differs(&dim.size)) {
                let bound = equations.rests.iter().find(|rest| rest.0 == name.name);
                let bound = bound.map(|(_, argument, dims)| (*argument, &dims[..]));
                let error = self.rest_mismatch(ty, &known, bound, (span, actual), dims);
                return Err(Box::new(error));
            }
        }
        Ok(())
    }

    /// Two arguments whose types want one shape `[..s]`, but that have different ones.
    fn rest_mismatch(
        &self,
        ty: &TypeExpr,
        known: &[Size],
        bound: Option<(Span, &[Dim])>,
        (span, actual): (Span, &TensorType),
        dims: &[Dim],
    ) -> Diagnostic {
        let argument = self.text(span);
        let Some((other, before)) = bound else {
            let known: Vec<String> = known.iter().map(Size::to_string).collect();
            let message = format!(
                "sizes do not match: `{argument}` is {}, but `{}` is [{}] here",
                show_type(actual),
                self.text(ty.span),
                known.join(", ")
            );
            return Diagnostic::error("E0301", span, message).here(show_type(actual));
        };
        let error = Diagnostic::error(
            "E0301",
            span,
            format!(
                "sizes do not match: `{}` and `{argument}` are wanted in one shape",
                self.text(other)
            ),
        )
        .label(other, show_dims(before));
        if before.len() != dims.len() {
            let counts = format!("{} against {}", axes(dims.len()), axes(before.len()));
            let error = error.here(format!("{}: {counts}", show_type(actual)));
            if !dims.is_empty() || !self.in_one_line(other) {
                return error;
            }
            let filled = format!("fill({argument}, shape({}))", self.text(other));
            let help = format!("one number does not repeat by itself: `{filled}`");
            return error.help_edit(help, span, filled);
        }
        let mut pairs = dims.iter().zip(before);
        let Some((a, b)) = pairs.find(|(a, b)| a.size.differs(&b.size)) else {
            return error.here(show_type(actual));
        };
        let against = format!("{} against {}", show_dim(a), show_dim(b));
        let error = error.here(format!("{}: {against}", show_type(actual)));
        with_origin(with_origin(error, a), b)
    }

    /// Solves equations in any order: a name is bound where it stands alone or linearly (S2).
    pub(crate) fn solve(&mut self, equations: Equations<'_>, scope: &Scope) -> Result<()> {
        let mut pending = equations.sizes;
        let mut bound: Vec<Bound> = Vec::new();
        loop {
            let mut rest = Vec::new();
            let before = pending.len();
            for equation in pending {
                let mut unknown = Vec::new();
                let declared = self.size_of(equation.declared, scope, &mut unknown)?;
                unknown.dedup_by(|a, b| a.name == b.name);
                match unknown.as_slice() {
                    [] if declared.mentions(UNKNOWN) => {}
                    [] => {
                        if declared.differs(&equation.actual.size) {
                            let error = self.mismatch(&equation, declared, &bound, scope);
                            return Err(Box::new(error));
                        }
                    }
                    [name] => match declared.linear_in(UNKNOWN) {
                        Some((a, b)) => {
                            let value = equation.actual.size.minus(&Size::constant(b));
                            let Some(value) = value.divide_exactly(a) else {
                                let diagnostic = Diagnostic::error(
                                    "E0307",
                                    equation.argument,
                                    format!(
                                        "`{}` cannot be {}: no whole `{}` fits",
                                        self.text(equation.declared.span),
                                        equation.actual.size,
                                        name.name
                                    ),
                                )
                                .label(equation.declared.span, "declared here");
                                return Err(Box::new(with_origin(diagnostic, &equation.actual)));
                            };
                            scope.define(name.name.clone(), Value::size(value));
                            bound.push(Bound {
                                name: name.name.clone(),
                                argument: equation.argument,
                                dim: equation.actual,
                            });
                        }
                        None => rest.push(equation),
                    },
                    _ => rest.push(equation),
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
            if rest.len() == before {
                let equation = &rest[0];
                return fail(
                    "E0308",
                    equation.declared.span,
                    format!(
                        "`{}` does not tell its names: each must stand alone somewhere in the parameters",
                        self.text(equation.declared.span)
                    ),
                );
            }
            pending = rest;
        }
    }

    fn mismatch(
        &self,
        equation: &Equation<'_>,
        declared: Size,
        bound: &[Bound],
        scope: &Scope,
    ) -> Diagnostic {
        if declared.varies() && equation.actual.size.varies() {
            let (argument, size) = (self.text(equation.argument), &equation.actual.size);
            let name = self.text(equation.declared.span);
            let message = format!("the sequences of `{argument}` are not as long as `{name}` says");
            let diagnostic = Diagnostic::error("E0301", equation.argument, message)
                .here("these lengths differ from those before")
                .label(equation.declared.span, "declared here");
            return self.explain_varying(diagnostic, &declared, size);
        }
        let want = self.dim_named(equation.declared, declared, scope);
        let diagnostic = Diagnostic::error(
            "E0301",
            equation.argument,
            format!(
                "sizes do not match: `{}` is {} where {} is wanted",
                self.text(equation.argument),
                show_type(&equation.whole),
                show_dim(&want)
            ),
        )
        .here(format!(
            "{} against {}",
            show_dim(&equation.actual),
            show_dim(&want)
        ))
        .label(equation.declared.span, "declared here");
        let diagnostic = with_origin(diagnostic, &equation.actual);
        if equation.actual.size.varies() {
            let diagnostic = with_origin(diagnostic, &want);
            return self.explain_varying(diagnostic, &want.size, &equation.actual.size);
        }
        match binder(equation.declared, bound) {
            Some(binder) => {
                let text = match binder.argument == equation.argument {
                    true => "from another axis of it",
                    false => "from this argument",
                };
                let from = Origin {
                    span: binder.argument,
                    text: text.into(),
                };
                let want = Dim {
                    origin: Some(Rc::new(from)),
                    ..want
                };
                with_origin(with_origin(diagnostic, &want), &binder.dim)
            }
            None => {
                let diagnostic = with_origin(diagnostic, &want);
                if let Some(order) = self.other_order(equation, &want.size, scope) {
                    return diagnostic.help(format!(
                        "its axes are in another order: `permute(x, {order:?})` of each `x` has them \
                         in this one"
                    ));
                }
                self.repair_fixed_size(diagnostic, &want, &equation.actual)
            }
        }
    }

    /// An order of the argument's axes, one of them moved, in which all the sizes fit that are
    /// known: pictures come as `[height, width, channels]`, convolutions take the channels first.
    fn other_order(
        &self,
        equation: &Equation<'_>,
        want: &Size,
        scope: &Scope,
    ) -> Option<Vec<usize>> {
        let shape = &equation.whole.shape;
        if shape.len() < 3 || shape.len() != equation.axes.len() {
            return None;
        }
        let mut having = (0..shape.len()).filter(|&at| shape[at].size == *want);
        let (Some(from), None) = (having.next(), having.next()) else {
            return None;
        };
        let mut order: Vec<usize> = (0..shape.len()).filter(|&at| at != from).collect();
        order.insert(equation.axis, from);
        let fits = order
            .iter()
            .zip(equation.axes.iter())
            .all(|(&at, declared)| {
                let mut unknown = Vec::new();
                let known = self.size_of(declared, scope, &mut unknown);
                known.is_ok_and(|known| !unknown.is_empty() || !known.differs(&shape[at].size))
            });
        fits.then_some(order)
    }
}

/// Where the name that a declared size is comes from, if an argument of the same call bound it.
fn binder<'b>(declared: &TypeExpr, bound: &'b [Bound]) -> Option<&'b Bound> {
    let TypeKind::Path(path) = &declared.kind else {
        return None;
    };
    bound.iter().find(|bound| bound.name == path[0].name)
}

fn show_dims(dims: &[Dim]) -> String {
    let shown: Vec<String> = dims.iter().map(show_dim).collect();
    format!("[{}]", shown.join(", "))
}
