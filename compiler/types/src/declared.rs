//! What a declared type says: `[n, 3]`, `?[..s]`, `token[T]`, `tree[token, node: int]`, read off its
//! syntax, with sizes evaluated in a scope. Matching values with it is in `typing.rs`.

use crate::error::{fail, wanted};
use crate::scope::Scope;
use crate::size::Size;
use crate::value::{Dim, Maybe, Origin, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_runtime::Elem;
use aec_syntax::ast::{BinaryOp, Ident, Name, TypeArg, TypeExpr, TypeKind};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// The id of the one unknown of an equation that is being solved.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// What a declared type says, read off its syntax.
pub(crate) enum Declared<'a> {
    /// A tensor or scalar; `maybe` if entries may be missing.
    Tensor {
        elem: Kind,
        shape: Vec<ShapeItem<'a>>,
        maybe: bool,
    },
    /// `(t, u)`
    Tuple(Vec<&'a TypeExpr>),
    /// `(mu: t, logvar: u)`
    Record(Vec<(&'a Ident, &'a TypeExpr)>),
    /// `tree[token, node: int]`
    Tree {
        leaf: Option<&'a TypeExpr>,
        node: Option<&'a TypeExpr>,
    },
    /// `[n] -> [k]`
    Function,
    /// `str`
    Str,
    /// `model`, or a model's name or call
    Model,
    /// `list[t]`, or any list
    List(Option<&'a TypeExpr>),
    /// Taken as it is.
    Any,
}

/// The elements that a declared type wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `[n]`, `real`: the float in force.
    Real,
    /// `int[n]`
    Fixed(Elem),
    /// `token[n]`
    Token,
    /// `T[n]`: whatever they are.
    Any,
}

impl Kind {
    /// The kind of an element type's name; a capital letter stands for any.
    pub(crate) fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "real" => Kind::Real,
            "token" => Kind::Token,
            name if is_variable(name) => Kind::Any,
            name => Kind::Fixed(element(name)?),
        })
    }

    pub(crate) fn elem(self, float: Elem) -> Elem {
        match self {
            Kind::Real | Kind::Any => float,
            Kind::Fixed(elem) => elem,
            Kind::Token => Elem::I64,
        }
    }
}

pub(crate) fn is_variable(name: &str) -> bool {
    name.len() == 1 && name.chars().all(char::is_uppercase)
}

/// Whether a type is a scalar that may not be missing: `real`, `int`, `token` …
pub(crate) fn is_plain_scalar(ty: &TypeExpr) -> bool {
    match &ty.kind {
        TypeKind::Path(path) => {
            path.len() == 1 && !is_variable(&path[0].name) && Kind::named(&path[0].name).is_some()
        }
        TypeKind::Group(args) => {
            matches!(args.as_slice(), [TypeArg::Type(inner)] if is_plain_scalar(inner))
        }
        _ => false,
    }
}

/// `[T]` or `[T, node: L]` after `tree`.
pub(crate) fn tree_parts(args: &[TypeArg], span: Span) -> Result<Declared<'_>> {
    match args {
        [TypeArg::Type(leaf)] => Ok(Declared::Tree {
            leaf: Some(leaf),
            node: None,
        }),
        [TypeArg::Type(leaf), TypeArg::Named(name, node)] if &*name.name == "node" => {
            Ok(Declared::Tree {
                leaf: Some(leaf),
                node: Some(node),
            })
        }
        _ => fail(
            "E0204",
            span,
            "a tree's type is `tree[T]`, or `tree[T, node: L]` with a label at each node",
        ),
    }
}

/// One item of a declared shape.
pub(crate) enum ShapeItem<'a> {
    /// A size.
    Size(&'a TypeExpr),
    /// `..s`
    Rest(&'a Ident),
}

impl Elaborator {
    /// Reads a declared type.
    pub(crate) fn declared<'a>(&self, ty: &'a TypeExpr) -> Result<Declared<'a>> {
        Ok(match &ty.kind {
            TypeKind::Shape(args) => Declared::Tensor {
                elem: Kind::Real,
                shape: self.shape_items(args, ty.span)?,
                maybe: false,
            },
            TypeKind::Path(path) => match (path.len(), &*path[0].name) {
                (1, "str") => Declared::Str,
                (1, "tree") => Declared::Tree {
                    leaf: None,
                    node: None,
                },
                (1, "model") => Declared::Model,
                (1, "list") => Declared::List(None),
                (1, "dist" | "any" | "vocab") => Declared::Any,
                (1, name) if is_variable(name) => Declared::Any,
                (1, name) if let Some(elem) = Kind::named(name) => Declared::Tensor {
                    elem,
                    shape: Vec::new(),
                    maybe: false,
                },
                _ => {
                    let name = path
                        .iter()
                        .map(|part| &*part.name)
                        .collect::<Vec<_>>()
                        .join(".");
                    if matches!(
                        self.script.lookup(&path[0].name),
                        Some(Value::Template(_) | Value::Module(_))
                    ) {
                        return Ok(Declared::Model);
                    }
                    let types = [
                        "real", "int", "bool", "f32", "f64", "i32", "i64", "str", "model", "list",
                        "dist", "token", "vocab", "tree",
                    ];
                    let mut diagnostic =
                        Diagnostic::error("E0204", ty.span, format!("there is no type `{name}`"));
                    if let Some(ours) = crate::slips::type_name(&name) {
                        diagnostic = diagnostic.help_edit(
                            format!("it is called `{ours}` here"),
                            ty.span,
                            ours,
                        );
                    } else if matches!(name.as_str(), "Tensor" | "tensor" | "ndarray" | "array") {
                        diagnostic = diagnostic.help_edit(
                            "the type of a tensor is its shape: `[n]`, `[n, m]`, or `[..s]` for any",
                            ty.span,
                            "[..s]",
                        );
                    } else if matches!(name.as_str(), "size" | "dim" | "nat" | "usize") {
                        diagnostic = diagnostic.help(
                            "a model's size is a name alone, `model M(n)`; a function takes an `int`, \
                             or sizes from the types of its parameters, `x: [n]`",
                        );
                    } else if let Some(near) =
                        aec_syntax::suggest::nearest(&name, types.into_iter())
                    {
                        diagnostic =
                            diagnostic.help_edit(format!("did you mean `{near}`?"), ty.span, near);
                    } else {
                        diagnostic = diagnostic.help_edit(
                            format!("a tensor of that size is `[{name}]`"),
                            ty.span,
                            format!("[{name}]"),
                        );
                    }
                    return Err(Box::new(diagnostic));
                }
            },
            TypeKind::Index { path, args } => match (path.len(), &*path[0].name) {
                (1, "tree") => tree_parts(args, ty.span)?,
                (1, "list") => Declared::List(match args.as_slice() {
                    [TypeArg::Type(item)] => Some(item),
                    _ => None,
                }),
                (1, "dist") => Declared::Any,
                (1, name) if let Some(elem) = Kind::named(name) => Declared::Tensor {
                    elem,
                    shape: self.shape_items(args, ty.span)?,
                    maybe: false,
                },
                _ => {
                    let message = format!("there is no type `{}`", self.text(ty.span));
                    let error = Diagnostic::error("E0204", ty.span, message);
                    return Err(Box::new(match &*path[0].name {
                        "List" | "Sequence" => {
                            error.help_edit("write `list`", path[0].span, "list")
                        }
                        "Tensor" | "Array" | "array" => error.help(
                            "the type of a tensor is its shape: `[n]`, `int[n]`, or `[..s]` for any",
                        ),
                        "Tuple" | "tuple" => {
                            error.help("the type of a tuple is written like one: `([n], real)`")
                        }
                        name if let Some(ours) = crate::slips::type_name(name) => {
                            // `[n]` alone is of reals.
                            let ours = if ours == "real" { "" } else { ours };
                            let text = self.text(ty.span);
                            let shape = text.find('[').map_or("", |at| &text[at..]);
                            let new = format!("{ours}{shape}");
                            error.help_edit(format!("it is called `{new}` here"), ty.span, new)
                        }
                        "Optional" => error.help("what may be missing has a `?`: `?[n]`"),
                        _ => error,
                    }));
                }
            },
            TypeKind::Call { .. } => Declared::Model,
            TypeKind::Maybe(inner) => match self.declared(inner)? {
                Declared::Tensor { elem, shape, .. } => Declared::Tensor {
                    elem,
                    shape,
                    maybe: true,
                },
                Declared::Any => Declared::Any,
                Declared::Tuple(_)
                | Declared::Record(_)
                | Declared::Tree { .. }
                | Declared::Function
                | Declared::Str
                | Declared::Model
                | Declared::List(_) => {
                    let error = Diagnostic::error(
                        "E0204",
                        ty.span,
                        "`?` marks tensors and scalars whose entries may be missing",
                    );
                    let plain = self.text(inner.span);
                    return Err(Box::new(error.help_edit(
                        format!("`{plain}` is always there"),
                        ty.span,
                        plain,
                    )));
                }
            },
            TypeKind::Group(args) => match args.as_slice() {
                [TypeArg::Type(inner)] => self.declared(inner)?,
                _ => {
                    let mut types = Vec::new();
                    let mut fields = Vec::new();
                    for arg in args {
                        match arg {
                            TypeArg::Type(ty) => types.push(ty),
                            TypeArg::Named(name, ty) => fields.push((name, ty)),
                            TypeArg::Rest(name) => {
                                return fail(
                                    "E0204",
                                    name.span,
                                    "`..` belongs in a shape: `[..s]`",
                                );
                            }
                        }
                    }
                    match (types.is_empty(), fields.is_empty()) {
                        (_, true) => Declared::Tuple(types),
                        (true, false) => Declared::Record(fields),
                        (false, false) => {
                            return fail(
                                "E0204",
                                ty.span,
                                "named and unnamed parts do not mix in one type",
                            );
                        }
                    }
                }
            },
            TypeKind::Arrow(..) => Declared::Function,
            TypeKind::Comprehension { .. } => Declared::List(None),
            TypeKind::Int(_) | TypeKind::Binary { .. } => {
                let text = self.text(ty.span);
                return Err(Box::new(
                    Diagnostic::error("E0204", ty.span, format!("`{text}` is a size, not a type"))
                        .help_edit(
                            format!("a tensor of that size is `[{text}]`"),
                            ty.span,
                            format!("[{text}]"),
                        ),
                ));
            }
            TypeKind::Error => Declared::Any,
        })
    }

    pub(crate) fn shape_items<'a>(
        &self,
        args: &'a [TypeArg],
        span: Span,
    ) -> Result<Vec<ShapeItem<'a>>> {
        let mut items = Vec::new();
        let mut rest = false;
        for arg in args {
            match arg {
                TypeArg::Type(size) => items.push(ShapeItem::Size(size)),
                TypeArg::Rest(name) if rest => {
                    return fail("E0204", name.span, "a shape has at most one `..`");
                }
                TypeArg::Rest(name) => {
                    rest = true;
                    items.push(ShapeItem::Rest(name));
                }
                TypeArg::Named(name, _) => {
                    return fail(
                        "E0204",
                        name.span.to(span),
                        "a shape lists sizes, not named types",
                    );
                }
            }
        }
        Ok(items)
    }

    /// The axes of a value beyond what its declared type has: what a call maps over.
    pub(crate) fn frame_of(&self, ty: &TypeExpr, value: &Value) -> Result<Vec<Dim>> {
        Ok(match (self.declared(ty)?, value) {
            (
                Declared::Tensor { shape, .. },
                Value::Tensor(_) | Value::Token(_) | Value::Maybe(_),
            ) => {
                let Some(tensor) = value.tensor() else {
                    return Ok(Vec::new());
                };
                if shape.iter().any(|item| matches!(item, ShapeItem::Rest(_))) {
                    return Ok(Vec::new());
                }
                let extra = tensor.ty.rank().saturating_sub(shape.len());
                tensor.ty.shape[..extra].to_vec()
            }
            (Declared::Tuple(types), Value::Tuple(values)) if types.len() == values.len() => {
                let mut frame = Vec::new();
                for (ty, value) in types.iter().zip(values.iter()) {
                    let own = self.frame_of(ty, value)?;
                    if own.len() > frame.len() {
                        frame = own;
                    }
                }
                frame
            }
            (Declared::Record(types), Value::Record(_)) => {
                let mut frame = Vec::new();
                for (name, ty) in types {
                    if let Some(value) = value.field(&name.name) {
                        let own = self.frame_of(ty, value)?;
                        if own.len() > frame.len() {
                            frame = own;
                        }
                    }
                }
                frame
            }
            (Declared::Tensor { .. }, Value::Ragged(ragged)) => ragged.frame().to_vec(),
            (Declared::Tree { .. }, Value::Tree(parts)) => crate::trees::frame(parts),
            (
                Declared::Tensor { .. }
                | Declared::Tree { .. }
                | Declared::Tuple(_)
                | Declared::Record(_)
                | Declared::Function
                | Declared::Str
                | Declared::Model
                | Declared::List(_)
                | Declared::Any,
                _,
            ) => Vec::new(),
        })
    }

    /// Whether a declared type is one of which a list is packed for a mapped call.
    pub(crate) fn takes_packed(&self, ty: &TypeExpr) -> Result<bool> {
        let declared = self.declared(ty)?;
        Ok(matches!(
            declared,
            Declared::Tensor { .. } | Declared::Tree { .. }
        ))
    }

    /// Evaluates a size. Names are looked up below the module's scope; those not found are
    /// added to `unknown` and stand for the one unknown.
    pub(crate) fn size_of(
        &self,
        ty: &TypeExpr,
        scope: &Scope,
        unknown: &mut Vec<Ident>,
    ) -> Result<Size> {
        match &ty.kind {
            TypeKind::Int(value) => Ok(Size::constant(*value)),
            TypeKind::Path(path) => {
                let Some((value, _)) = scope.lookup_local(&path[0].name) else {
                    if path.len() == 1 && &*path[0].name != "_" {
                        unknown.push(path[0].clone());
                    }
                    return Ok(Size::var(UNKNOWN, &path[0].name));
                };
                let mut value = value;
                for part in &path[1..] {
                    value = self.plain_field(&value, part)?;
                }
                match value.as_size() {
                    Some(size) => Ok(size),
                    None => wanted(ty.span, "a size", &value),
                }
            }
            TypeKind::Binary { op, left, right } => {
                let a = self.size_of(left, scope, unknown)?;
                let b = self.size_of(right, scope, unknown)?;
                let value = match op {
                    BinaryOp::Add => Some(a.plus(&b)),
                    BinaryOp::Sub => Some(a.minus(&b)),
                    BinaryOp::Mul => Some(a.times(&b)),
                    // Of a size that is not known yet the use decides whether it divides.
                    BinaryOp::Div => b.as_constant().and_then(|b| match a.as_constant() {
                        Some(_) => a.divide_exactly(b),
                        None => a.floor_div(b),
                    }),
                    BinaryOp::FloorDiv => b.as_constant().and_then(|b| a.floor_div(b)),
                    _ => None,
                };
                match value {
                    Some(size) => Ok(size),
                    None => {
                        let text = self.text(ty.span);
                        let error = Diagnostic::error(
                            "E0307",
                            ty.span,
                            format!("`{text}` is not a whole size ({a} {} {b})", op.symbol()),
                        );
                        let parts: Vec<&str> = text.split(" / ").collect();
                        Err(Box::new(match (op, parts.as_slice()) {
                            (BinaryOp::Div, [_, _]) => {
                                let down = parts.join(" // ");
                                error.help_edit(format!("`{down}` rounds down"), ty.span, down)
                            }
                            _ => error,
                        }))
                    }
                }
            }
            TypeKind::Group(args) => match args.as_slice() {
                [TypeArg::Type(inner)] => self.size_of(inner, scope, unknown),
                _ => fail("E0204", ty.span, "a size is wanted here"),
            },
            TypeKind::Error => Ok(Size::var(UNKNOWN, "_")),
            TypeKind::Index { path, args } => {
                let not_a_size = || {
                    let text = self.text(ty.span);
                    fail(
                        "E0204",
                        ty.span,
                        format!("a size is wanted here, not `{text}`"),
                    )
                };
                let (Some((mut list, _)), [TypeArg::Type(at)]) =
                    (scope.lookup_local(&path[0].name), args.as_slice())
                else {
                    return not_a_size();
                };
                for part in &path[1..] {
                    list = self.plain_field(&list, part)?;
                }
                let at = self.size_of(at, scope, unknown)?;
                match entry_of(&list, at.as_constant()) {
                    Some(size) => Ok(size),
                    None => not_a_size(),
                }
            }
            TypeKind::Call { .. }
            | TypeKind::Shape(_)
            | TypeKind::Maybe(_)
            | TypeKind::Comprehension { .. }
            | TypeKind::Arrow(..) => fail(
                "E0204",
                ty.span,
                format!("a size is wanted here, not `{}`", self.text(ty.span)),
            ),
        }
    }

    pub(crate) fn plain_field(&self, value: &Value, name: &Ident) -> Result<Value> {
        if let Value::Model(model) = value
            && let Some((_, found)) = model
                .statics
                .iter()
                .chain(&model.params)
                .find(|(field, _)| *field == name.name)
        {
            return Ok(found.clone());
        }
        match value.field(&name.name) {
            Some(found) => Ok(found.clone()),
            None => fail(
                "E0202",
                name.span,
                format!("{} has no field `{}`", value.describe(), name.name),
            ),
        }
    }

    /// A declared size as a dimension with its name and history.
    pub(crate) fn dim_of(&self, ty: &TypeExpr, scope: &Scope) -> Result<Dim> {
        let mut unknown = Vec::new();
        let size = self.size_of(ty, scope, &mut unknown)?;
        if let Some(name) = unknown.first() {
            let error = Diagnostic::error(
                "E0205",
                name.span,
                format!("no size `{}` is known here", name.name),
            );
            let names = scope.names();
            let near = aec_syntax::suggest::nearest(&name.name, names.iter().map(|name| &**name));
            return Err(Box::new(match near {
                Some(near) => error.help_edit(format!("did you mean `{near}`?"), name.span, near),
                None => error.note("sizes are bound by the types of parameters"),
            }));
        }
        if size.mentions(UNKNOWN) {
            return Err(Box::new(
                Diagnostic::error("E0205", ty.span, "`_` is any size, but one is wanted here").help(
                    "a name stands for the size that a call brings: `[n]`; `_` is for the items of a list, `list[[_]]`",
                ),
            ));
        }
        if size.as_constant().is_some_and(|size| size < 0) {
            return fail(
                "E0307",
                ty.span,
                format!("the size `{}` is {size}, below zero", self.text(ty.span)),
            );
        }
        Ok(self.dim_named(ty, size, scope))
    }

    pub(crate) fn dim_named(&self, ty: &TypeExpr, size: Size, scope: &Scope) -> Dim {
        let name: Option<Name> = match &ty.kind {
            TypeKind::Path(path) if path.len() == 1 => Some(path[0].name.clone()),
            TypeKind::Int(_) => None,
            _ => Some(self.text(ty.span).into()),
        };
        let mut origin = Origin {
            span: ty.span,
            text: "declared here".into(),
        };
        if let TypeKind::Path(path) = &ty.kind
            && let Some((_, Some(model))) = scope.lookup_local(&path[0].name)
            && !model.made.is_none()
        {
            origin = Origin {
                span: model.made,
                text: format!("from `{}`", self.text(model.made)).into(),
            };
        }
        Dim {
            size,
            name,
            origin: Some(Rc::new(origin)),
        }
    }

    /// The tensor type that a declared shape means, all its names being known.
    pub(crate) fn tensor_type(
        &self,
        elem: Kind,
        shape: &[ShapeItem<'_>],
        scope: &Scope,
    ) -> Result<TensorType> {
        let mut dims = Vec::new();
        for item in shape {
            match item {
                ShapeItem::Size(size) => dims.push(self.dim_of(size, scope)?),
                ShapeItem::Rest(name) => match scope.lookup_local(&format!("..{}", name.name)) {
                    Some((Value::List(sizes), _)) => {
                        dims.extend(sizes.iter().filter_map(Value::as_size).map(Dim::of));
                    }
                    _ => {
                        return fail(
                            "E0205",
                            name.span,
                            format!("no shape `..{}` is known here", name.name),
                        );
                    }
                },
            }
        }
        Ok(TensorType {
            elem: elem.elem(self.float()),
            shape: dims.into(),
        })
    }

    /// A value of a declared type of which nothing is known but that: for checking definitions.
    /// Names that are not in scope become new sizes and are bound.
    pub(crate) fn abstract_value(&mut self, ty: &TypeExpr, scope: &Scope) -> Result<Value> {
        Ok(match self.declared(ty)? {
            Declared::Tensor { elem, shape, maybe } => {
                for item in &shape {
                    match item {
                        ShapeItem::Size(size) => {
                            let mut unknown = Vec::new();
                            self.size_of(size, scope, &mut unknown)?;
                            for name in unknown {
                                let size = self.fresh_size(&name.name);
                                scope.define(name.name.clone(), Value::size(size));
                            }
                        }
                        ShapeItem::Rest(name) => {
                            let key = format!("..{}", name.name);
                            if scope.lookup_local(&key).is_none() {
                                let size = self.fresh_size(&name.name);
                                scope.define(
                                    key.into(),
                                    Value::List(Rc::new(vec![Value::size(size)])),
                                );
                            }
                        }
                    }
                }
                let ty = self.tensor_type(elem, &shape, scope)?;
                let unknown = |ty: TensorType| Tensor {
                    ty,
                    repr: Repr::Unknown,
                };
                let flags = TensorType {
                    elem: Elem::Bool,
                    shape: ty.shape.clone(),
                };
                let value = match elem {
                    Kind::Token => Value::Token(unknown(ty)),
                    Kind::Real | Kind::Fixed(_) | Kind::Any => Value::Tensor(unknown(ty)),
                };
                if maybe {
                    Value::Maybe(Rc::new(Maybe {
                        value,
                        observed: unknown(flags),
                    }))
                } else {
                    value
                }
            }
            Declared::Tree { leaf, node } => {
                let leaf = match leaf {
                    Some(ty) => self.abstract_value(ty, scope)?,
                    None => Value::Unknown,
                };
                let node = match node {
                    Some(ty) => Some(self.abstract_value(ty, scope)?),
                    None => None,
                };
                let size = self.fresh_size("leaves");
                crate::trees::abstract_tree(&leaf, node.as_ref(), size)
            }
            Declared::Tuple(types) => {
                let mut values = Vec::new();
                for ty in types {
                    values.push(self.abstract_value(ty, scope)?);
                }
                Value::tuple(values)
            }
            Declared::Record(types) => {
                let mut fields = Vec::new();
                for (name, ty) in types {
                    fields.push((name.name.clone(), self.abstract_value(ty, scope)?));
                }
                Value::Record(Rc::new(fields))
            }
            Declared::Str => Value::str(""),
            Declared::Function | Declared::Model | Declared::List(_) | Declared::Any => {
                Value::Unknown
            }
        })
    }
}

/// The size at a place of a list of sizes; a negative place counts from the end.
fn entry_of(list: &Value, at: Option<i64>) -> Option<Size> {
    let items = match list {
        Value::List(items) => items.to_vec(),
        Value::Tensor(tensor) if tensor.ty.rank() == 1 => {
            list.host()?;
            crate::rows::split_rows(list)
        }
        _ => return None,
    };
    let at = at?;
    let at = if at < 0 { at + items.len() as i64 } else { at };
    items.get(usize::try_from(at).ok()?)?.as_size()
}

/// The element type of a name, but `real`.
pub(crate) fn element(name: &str) -> Option<Elem> {
    Some(match name {
        "int" | "i64" => Elem::I64,
        "i32" => Elem::I32,
        "bool" => Elem::Bool,
        "f32" => Elem::F32,
        "f64" => Elem::F64,
        _ => return None,
    })
}
