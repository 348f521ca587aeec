//! Values against declared types: conversions, parts of tuples and records, results. The sizes in
//! them are equations (`equations.rs`).

use crate::declared::{Declared, Kind, ShapeItem};
use crate::equations::Equations;
use crate::error::{fail, show_type, wanted, with_origin};
use crate::scope::Scope;
use crate::value::{Dim, Maybe, Repr, Shape, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::{Name, Param, TypeArg, TypeExpr, TypeKind};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

impl Elaborator {
    /// Matches arguments with their declared types: binds size names in `scope` and gives the
    /// arguments, converted where constants may become real.
    pub(crate) fn match_params(
        &mut self,
        params: &[Param],
        args: &[(Value, Span)],
        scope: &Scope,
    ) -> Result<Vec<Value>> {
        // Plain ints come first, since sizes may be written in terms of them.
        for (param, (value, _)) in params.iter().zip(args) {
            if let aec_syntax::ast::Pattern::Name(name) = &param.pattern
                && value.as_size().is_some()
            {
                scope.define(name.name.clone(), value.clone());
            }
        }
        let mut equations = Equations::default();
        let mut out = Vec::with_capacity(args.len());
        for (param, (value, span)) in params.iter().zip(args) {
            out.push(match &param.ty {
                Some(ty) => self.match_type(ty, value, *span, scope, &mut equations)?,
                None => value.clone(),
            });
        }
        self.solve(equations, scope)?;
        // Sizes of arguments of which nothing is known while the script is checked.
        for (param, (value, _)) in params.iter().zip(args) {
            let (Some(ty), Value::Unknown) = (&param.ty, value) else {
                continue;
            };
            let mut names = Vec::new();
            size_names(ty, &mut names);
            for name in names {
                if scope.lookup_local(&name).is_none() {
                    let size = self.later_size(&name);
                    scope.define(name, Value::size(size));
                }
            }
        }
        Ok(out)
    }

    /// Matches one value with a declared type whose new names are bound in `scope`
    /// (`let t: [n, 12] = …`).
    pub(crate) fn match_let(
        &mut self,
        ty: &TypeExpr,
        value: &Value,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let inner = self.annotation_scope(ty, scope);
        let before = inner.own_names();
        let mut equations = Equations::default();
        // Of data that is not read yet, the annotation is what is known (S4).
        let value = if self.checking() && matches!(value, Value::Unknown) {
            self.abstract_value(ty, &inner)?
        } else {
            self.match_type(ty, value, span, &inner, &mut equations)?
        };
        self.solve(equations, &inner)?;
        for name in inner.own_names() {
            if !before.contains(&name)
                && let Some(value) = inner.here(&name)
            {
                scope.define(name, value);
            }
        }
        Ok(value)
    }

    /// The scope of a `let`'s annotation: there, unlike in parameters, names of the script that
    /// are sizes refer to them (S1).
    pub(crate) fn annotation_scope(&self, ty: &TypeExpr, scope: &Scope) -> Scope {
        let inner = scope.child();
        let mut names = Vec::new();
        size_names(ty, &mut names);
        for name in names {
            if let Some(value) = scope.lookup(&name)
                && value.as_size().is_some()
            {
                inner.define(name, value);
            }
        }
        inner
    }

    /// A value whose whole numbers, where they are constants, are reals wherever its declared type
    /// wants them (F7).
    pub(crate) fn reals_where_wanted(
        &mut self,
        ty: &TypeExpr,
        value: &Value,
        span: Span,
    ) -> Result<Value> {
        Ok(match (self.declared(ty)?, value) {
            (
                Declared::Tensor {
                    elem: elem @ (Kind::Real | Kind::Fixed(_)),
                    ..
                },
                Value::Tensor(tensor),
            ) if tensor.ty.elem.is_int()
                && matches!(tensor.repr, Repr::Static(_))
                && elem.elem(self.float()).is_float() =>
            {
                let float = elem.elem(self.float());
                Value::Tensor(self.convert(tensor, float, span)?)
            }
            (Declared::Tuple(types), Value::Tuple(parts)) if types.len() == parts.len() => {
                let parts = types.iter().zip(parts.iter());
                let parts = parts.map(|(ty, part)| self.reals_where_wanted(ty, part, span));
                Value::tuple(parts.collect::<Result<_>>()?)
            }
            (Declared::Record(types), Value::Record(fields)) => {
                let mut out = Vec::with_capacity(fields.len());
                for (name, field) in fields.iter() {
                    let declared = types.iter().find(|(ident, _)| ident.name == *name);
                    out.push((
                        name.clone(),
                        match declared {
                            Some((_, ty)) => self.reals_where_wanted(ty, field, span)?,
                            None => field.clone(),
                        },
                    ));
                }
                Value::Record(Rc::new(out))
            }
            _ => value.clone(),
        })
    }

    pub(crate) fn match_type<'a>(
        &mut self,
        ty: &'a TypeExpr,
        value: &Value,
        span: Span,
        scope: &Scope,
        equations: &mut Equations<'a>,
    ) -> Result<Value> {
        if matches!(value, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        match self.declared(ty)? {
            Declared::Any => Ok(value.clone()),
            Declared::Tensor { elem, shape, maybe } => {
                let what = |checker: &Self| match shape.is_empty() {
                    true => format!("`{}`", checker.text(ty.span)),
                    false => format!("a tensor `{}`", checker.text(ty.span)),
                };
                let value = match value {
                    // A list of scalars that could not be a tensor yet may still be wanted as one.
                    Value::List(_) => self.stack(value, span)?,
                    other => other.clone(),
                };
                let inner = match &value {
                    Value::Maybe(_) if !maybe => {
                        let what = what(self);
                        return Err(Box::new(self.undeclared_missing(ty, &what, &value, span)));
                    }
                    other => crate::missing::plain(other),
                };
                if inner.tensor().is_none() {
                    return wanted(span, &what(self), &value);
                }
                let inner = self.match_elem(inner, elem, ty, span)?;
                let Some(tensor) = inner.tensor() else {
                    return wanted(span, &what(self), &value);
                };
                self.match_shape(&shape, &tensor.ty, ty, span, scope, equations)?;
                let tensor = self.renamed(tensor.clone(), &shape, scope);
                let dims = tensor.ty.shape.clone();
                let inner = match inner {
                    Value::Token(_) => Value::Token(tensor),
                    _ => Value::Tensor(tensor),
                };
                Ok(with_flags_of(&value, inner, dims))
            }
            Declared::Tuple(types) => match value {
                Value::Tuple(values) if values.len() == types.len() => {
                    let mut out = Vec::new();
                    for (ty, value) in types.iter().zip(values.iter()) {
                        out.push(self.match_type(ty, value, span, scope, equations)?);
                    }
                    Ok(Value::tuple(out))
                }
                other => wanted(span, &format!("a tuple of {}", types.len()), other),
            },
            Declared::Record(types) => match value {
                Value::Record(fields) => {
                    let mut out = Vec::new();
                    for (name, field) in fields.iter() {
                        let declared = types.iter().find(|(ident, _)| ident.name == *name);
                        out.push(match declared {
                            Some((_, ty)) => (
                                name.clone(),
                                self.match_type(ty, field, span, scope, equations)?,
                            ),
                            None => (name.clone(), field.clone()),
                        });
                    }
                    if let Some((missing, _)) = types
                        .iter()
                        .find(|(ident, _)| value.field(&ident.name).is_none())
                    {
                        return fail(
                            "E0310",
                            span,
                            format!(
                                "a field `{}` is wanted here, but this is {}",
                                missing.name,
                                value.describe()
                            ),
                        );
                    }
                    Ok(Value::Record(Rc::new(out)))
                }
                other => self.record_wanted(span, &self.text(ty.span), &types, other),
            },
            Declared::Tree { leaf, node } => {
                let Value::Tree(parts) = value else {
                    return wanted(span, "a tree", value);
                };
                for (declared, name) in [(leaf, "leaf"), (node, "label")] {
                    let Some(declared) = declared else { continue };
                    let Some(own) = parts.field(name) else {
                        return fail(
                            "E0310",
                            span,
                            "a tree with a label at each node is wanted here, but this one has none",
                        );
                    };
                    let entry = crate::call::peel_type(own);
                    self.match_type(declared, &entry, span, scope, equations)?;
                }
                Ok(value.clone())
            }
            Declared::Function => match value {
                Value::Fn(_) | Value::Builtin(_) | Value::Model(_) => Ok(value.clone()),
                other => wanted(span, "a function", other),
            },
            Declared::Str => match value {
                Value::Str(_) => Ok(value.clone()),
                other => wanted(span, "a string", other),
            },
            Declared::Model => match value {
                Value::Model(_) => Ok(value.clone()),
                other => wanted(span, "a model", other),
            },
            Declared::List(item) => self.match_list(item, value, span, scope),
        }
    }

    /// A list, each item matched with the declared one: sizes are bound anew for each (S5).
    fn match_list(
        &mut self,
        item: Option<&TypeExpr>,
        value: &Value,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let declared = item.map(|item| self.declared(item)).transpose()?;
        match (value, item, declared) {
            (Value::List(values), _, Some(Declared::List(inner))) => {
                let values = values.iter();
                let values = values.map(|value| self.match_list(inner, value, span, scope));
                Ok(Value::List(Rc::new(values.collect::<Result<_>>()?)))
            }
            (Value::List(values), Some(item), Some(Declared::Tensor { .. })) => {
                let mut out = Vec::new();
                for value in values.iter() {
                    let inner = scope.child();
                    let mut equations = Equations::default();
                    let empty = match value {
                        Value::List(items) if items.is_empty() => self.nothing_of(item, &inner)?,
                        _ => None,
                    };
                    let value = empty.as_ref().unwrap_or(value);
                    let matched = self.match_type(item, value, span, &inner, &mut equations);
                    let matched = matched.and_then(|value| {
                        self.solve(equations, &inner)?;
                        Ok(value)
                    });
                    out.push(matched.map_err(|mut error| {
                        // What would mend one item is no edit of the whole list.
                        error.help.clear();
                        error.note(format!("this is item {}", out.len()))
                    })?);
                }
                Ok(Value::List(Rc::new(out)))
            }
            // Items of one size have become a tensor.
            (
                Value::Tensor(tensor),
                Some(item),
                Some(Declared::Tensor {
                    elem: elem @ Kind::Token,
                    ..
                }),
            ) if tensor.ty.rank() > 0 => self.match_elem(value, elem, item, span),
            (Value::Tensor(tensor), ..) if tensor.is_scalar() => Err(Box::new(
                Diagnostic::error(
                    "E0310",
                    span,
                    format!("a list is wanted here, but this is {}", value.describe()),
                )
                .help("a list is written in brackets: `[64, 32]`"),
            )),
            (Value::List(_) | Value::Tuple(_) | Value::Tensor(_), ..) => Ok(value.clone()),
            (Value::Token(_) | Value::Maybe(_), Some(_), _) => Ok(value.clone()),
            (other, ..) => wanted(span, "a list", other),
        }
    }

    /// `[]` as a tensor of a declared type, of which the first axis has no entry.
    fn nothing_of(&mut self, item: &TypeExpr, scope: &Scope) -> Result<Option<Value>> {
        let Declared::Tensor { elem, shape, .. } = self.declared(item)? else {
            return Ok(None);
        };
        let mut dims = vec![0];
        for size in shape.iter().skip(1) {
            let ShapeItem::Size(size) = size else {
                return Ok(None);
            };
            let size = self.size_of(size, scope, &mut Vec::new())?;
            dims.push(
                size.as_constant()
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(0),
            );
        }
        let host = HostTensor::zeros(elem.elem(self.float()), &dims);
        Ok(match (elem, Value::concrete(host)) {
            (Kind::Token, Value::Tensor(words)) => Some(Value::Token(words)),
            (_, nothing) => Some(nothing),
        })
    }

    /// The tensor with the names that its declaration gives its sizes; a size of a model comes
    /// from the call that made the model.
    fn renamed(&self, mut tensor: Tensor, shape: &[ShapeItem<'_>], scope: &Scope) -> Tensor {
        if shape.len() != tensor.ty.rank() {
            return tensor;
        }
        for (item, dim) in shape.iter().zip(tensor.ty.shape.iter_mut()) {
            let ShapeItem::Size(size) = item else {
                continue;
            };
            let TypeKind::Path(path) = &size.kind else {
                continue;
            };
            let named = self.dim_named(size, dim.size.clone(), scope);
            let of_model = scope
                .lookup_local(&path[0].name)
                .is_some_and(|(_, model)| model.is_some_and(|model| !model.made.is_none()));
            if of_model || dim.origin.is_none() {
                dim.origin = named.origin;
            }
            dim.name = named.name;
        }
        tensor
    }

    /// A `?` for a parameter that takes none.
    fn undeclared_missing(
        &self,
        ty: &TypeExpr,
        what: &str,
        value: &Value,
        span: Span,
    ) -> Diagnostic {
        let text = self.text(ty.span);
        let diagnostic = crate::missing::refuse(span, what, value).label(ty.span, "declared here");
        if self.in_library(ty.span) {
            return diagnostic;
        }
        diagnostic.note(format!(
            "declared as `?{text}` it would take missing entries"
        ))
    }

    /// A tensor or words as elements of a kind: constants adapt, words pass as ints and ints as
    /// words.
    fn match_elem(
        &mut self,
        value: &Value,
        elem: Kind,
        ty: &TypeExpr,
        span: Span,
    ) -> Result<Value> {
        let tensor = match (value, elem) {
            (_, Kind::Any) => return Ok(value.clone()),
            (Value::Token(_), Kind::Token) => return Ok(value.clone()),
            (Value::Token(_), Kind::Real) => {
                return wanted(span, &format!("`{}`", self.text(ty.span)), value);
            }
            (Value::Token(tensor) | Value::Tensor(tensor), _) => tensor,
            (other, _) => return wanted(span, "a tensor", other),
        };
        let converted = self.match_numbers(tensor, elem.elem(self.float()), ty, span)?;
        Ok(match elem {
            Kind::Token => Value::Token(converted),
            Kind::Real | Kind::Fixed(_) | Kind::Any => Value::Tensor(converted),
        })
    }

    fn match_numbers(
        &mut self,
        tensor: &Tensor,
        want: Elem,
        ty: &TypeExpr,
        span: Span,
    ) -> Result<Tensor> {
        if tensor.ty.elem == want {
            return Ok(tensor.clone());
        }
        let constant = tensor.is_static_int() || matches!(tensor.repr, Repr::Static(_));
        let fits = constant
            && match (tensor.ty.elem, want) {
                (Elem::Bool, _) | (_, Elem::Bool) => false,
                (from, to) => to.is_float() || (from.is_int() && to.is_int()),
            };
        if fits {
            return self.convert(tensor, want, span);
        }
        let text = self.text(span);
        let mut diagnostic = Diagnostic::error(
            "E0303",
            span,
            format!(
                "`{}` is wanted here, but `{text}` is {}",
                self.text(ty.span),
                tensor.ty
            ),
        )
        .label(ty.span, "declared here");
        diagnostic = match want {
            Elem::Bool => diagnostic.help(format!("compare: `{text} != 0`")),
            Elem::I32 | Elem::I64 => diagnostic.help_edit(
                "`int(…)` converts, towards zero",
                span,
                format!("int({text})"),
            ),
            Elem::F32 if tensor.ty.elem == Elem::F64 => diagnostic
                .help_edit("`f32(…)` converts", span, format!("f32({text})"))
                .help("or `precision f64` at the script's top makes all its reals f64"),
            Elem::F64 if tensor.ty.elem == Elem::F32 => {
                diagnostic.help_edit("`f64(…)` converts", span, format!("f64({text})"))
            }
            Elem::F32 | Elem::F64 => {
                diagnostic.help_edit("`real(…)` converts", span, format!("real({text})"))
            }
        };
        Err(Box::new(diagnostic))
    }

    /// Checks a value against the declared result type; its names must be known.
    pub(crate) fn match_result(
        &mut self,
        ty: &TypeExpr,
        value: Value,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        if matches!(value, Value::Unknown) {
            return Ok(value);
        }
        match self.declared(ty)? {
            Declared::Tensor { elem, shape, maybe } => {
                let inner = match &value {
                    Value::Maybe(_) if !maybe => {
                        return Err(Box::new(self.undeclared_missing_result(ty, &value, span)));
                    }
                    other => crate::missing::plain(other),
                };
                let inner = self.match_elem(inner, elem, ty, span)?;
                let Some(tensor) = inner.tensor().cloned() else {
                    return wanted(span, &format!("`{}`", self.text(ty.span)), &value);
                };
                let again = |tensor: Tensor| {
                    let dims = tensor.ty.shape.clone();
                    let inner = match inner {
                        Value::Token(_) => Value::Token(tensor),
                        _ => Value::Tensor(tensor),
                    };
                    with_flags_of(&value, inner, dims)
                };
                let Ok(want) = self.tensor_type(elem, &shape, scope) else {
                    // `-> [..s]` of a shape that no argument binds says nothing more.
                    if shape.iter().any(|item| matches!(item, ShapeItem::Rest(_))) {
                        return Ok(again(tensor));
                    }
                    self.tensor_type(elem, &shape, scope)?;
                    return Ok(again(tensor));
                };
                let unequal = want.rank() != tensor.ty.rank()
                    || want
                        .shape
                        .iter()
                        .zip(&tensor.ty.shape)
                        .any(|(a, b)| a.size.differs(&b.size));
                if unequal {
                    let mut diagnostic = Diagnostic::error(
                        "E0306",
                        span,
                        format!(
                            "the result is {}, but {} is declared",
                            show_type(&tensor.ty),
                            show_type(&want)
                        ),
                    )
                    .here(show_type(&tensor.ty))
                    .label(ty.span, format!("declared here as {}", show_type(&want)));
                    if want.rank() == tensor.ty.rank() {
                        for (a, b) in want.shape.iter().zip(&tensor.ty.shape) {
                            if a.size.differs(&b.size) {
                                diagnostic = with_origin(with_origin(diagnostic, b), a);
                                break;
                            }
                        }
                    }
                    diagnostic = self.repair_result(diagnostic, ty, &tensor.ty);
                    return Err(Box::new(diagnostic));
                }
                let shape = want
                    .shape
                    .iter()
                    .zip(&tensor.ty.shape)
                    .map(|(a, b)| Dim {
                        size: b.size.clone(),
                        name: a.name.clone(),
                        origin: a.origin.clone(),
                    })
                    .collect();
                Ok(again(Tensor {
                    ty: TensorType {
                        elem: tensor.ty.elem,
                        shape,
                    },
                    repr: tensor.repr,
                }))
            }
            Declared::Tuple(types) => match &value {
                Value::Tuple(values) if values.len() == types.len() => {
                    let mut out = Vec::new();
                    for (ty, value) in types.iter().zip(values.iter()) {
                        out.push(self.match_result(ty, value.clone(), span, scope)?);
                    }
                    Ok(Value::tuple(out))
                }
                other => wanted(span, &format!("a tuple of {}", types.len()), other),
            },
            Declared::Record(types) => match &value {
                Value::Record(fields) => {
                    let mut out = Vec::new();
                    for (name, field) in fields.iter() {
                        let Some((_, ty)) = types.iter().find(|(ident, _)| ident.name == *name)
                        else {
                            return fail(
                                "E0306",
                                span,
                                format!("the result has a field `{name}` that is not declared"),
                            );
                        };
                        out.push((
                            name.clone(),
                            self.match_result(ty, field.clone(), span, scope)?,
                        ));
                    }
                    if out.len() < types.len() {
                        return fail(
                            "E0306",
                            span,
                            format!("the result lacks fields of `{}`", self.text(ty.span)),
                        );
                    }
                    Ok(Value::Record(Rc::new(out)))
                }
                other => self.record_wanted(span, &self.text(ty.span), &types, other),
            },
            Declared::Tree { .. }
            | Declared::Function
            | Declared::Str
            | Declared::Model
            | Declared::List(_)
            | Declared::Any => Ok(value),
        }
    }

    /// A body that gives a `?` where its declared result has none.
    fn undeclared_missing_result(&self, ty: &TypeExpr, value: &Value, span: Span) -> Diagnostic {
        let text = self.text(ty.span);
        Diagnostic::error(
            "E0320",
            span,
            format!(
                "the result is {}, but `{text}` is declared",
                value.describe()
            ),
        )
        .here("may hold missing entries")
        .label(ty.span, "declared without `?`")
        .help_edit(
            format!("`-> ?{text}` lets the result be missing; `… ?? 0` fills it"),
            ty.span,
            format!("?{text}"),
        )
    }
}

/// What is under the `?` of a value, matched, with the value's flags.
fn with_flags_of(value: &Value, inner: Value, shape: Shape) -> Value {
    match value {
        Value::Maybe(maybe) => Value::Maybe(Rc::new(Maybe {
            value: inner,
            observed: Tensor {
                ty: TensorType {
                    elem: Elem::Bool,
                    shape,
                },
                repr: maybe.observed.repr.clone(),
            },
        })),
        _ => inner,
    }
}

/// The plain names in a type.
pub(crate) fn size_names(ty: &TypeExpr, names: &mut Vec<Name>) {
    let of_args = |args: &[TypeArg], names: &mut Vec<Name>| {
        for arg in args {
            match arg {
                TypeArg::Type(ty) | TypeArg::Named(_, ty) => size_names(ty, names),
                TypeArg::Rest(_) => {}
            }
        }
    };
    match &ty.kind {
        TypeKind::Path(path) => {
            let name = path.first().map(|part| part.name.clone());
            names.extend(name.filter(|name| &**name != "_"));
        }
        TypeKind::Shape(args) | TypeKind::Index { args, .. } | TypeKind::Group(args) => {
            of_args(args, names);
        }
        TypeKind::Maybe(inner) => size_names(inner, names),
        TypeKind::Binary { left, right, .. } | TypeKind::Arrow(left, right) => {
            size_names(left, names);
            size_names(right, names);
        }
        TypeKind::Int(_)
        | TypeKind::Call { .. }
        | TypeKind::Comprehension { .. }
        | TypeKind::Error => {}
    }
}

pub(crate) fn axes(rank: usize) -> String {
    match rank {
        0 => "no axis".into(),
        1 => "one axis".into(),
        n => format!("{n} axes"),
    }
}
