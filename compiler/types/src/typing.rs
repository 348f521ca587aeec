//! Declared types against values: frames for automap, size binders, conversions, results.

use crate::error::{fail, show_dim, show_type, wanted, with_origin};
use crate::scope::Scope;
use crate::size::Size;
use crate::value::{Dim, Maybe, Origin, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_runtime::Elem;
use aec_syntax::ast::{BinaryOp, Ident, Name, Param, TypeArg, TypeExpr, TypeKind};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// The id of the one unknown of an equation that is being solved.
const UNKNOWN: u32 = u32::MAX;

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
    /// `list[t]`
    List,
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
    fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "real" => Kind::Real,
            "token" => Kind::Token,
            name if is_variable(name) => Kind::Any,
            name => Kind::Fixed(element(name)?),
        })
    }

    fn elem(self, float: Elem) -> Elem {
        match self {
            Kind::Real | Kind::Any => float,
            Kind::Fixed(elem) => elem,
            Kind::Token => Elem::I64,
        }
    }
}

fn is_variable(name: &str) -> bool {
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
fn tree_parts(args: &[TypeArg], span: Span) -> Result<Declared<'_>> {
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

/// An equation between a declared size and an actual one.
struct Equation<'a> {
    declared: &'a TypeExpr,
    actual: Dim,
    argument: Span,
    whole: TensorType,
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
                (1, "list") => Declared::List,
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
                (1, "list") => Declared::List,
                (1, "dist") => Declared::Any,
                (1, name) if let Some(elem) = Kind::named(name) => Declared::Tensor {
                    elem,
                    shape: self.shape_items(args, ty.span)?,
                    maybe: false,
                },
                _ => {
                    return fail(
                        "E0204",
                        ty.span,
                        format!("there is no type `{}`", self.text(ty.span)),
                    );
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
                | Declared::List => {
                    return fail(
                        "E0204",
                        ty.span,
                        "`?` marks tensors and scalars whose entries may be missing",
                    );
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
            TypeKind::Comprehension { .. } => Declared::List,
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

    fn shape_items<'a>(&self, args: &'a [TypeArg], span: Span) -> Result<Vec<ShapeItem<'a>>> {
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
            (Declared::Tree { .. }, Value::Tree(parts)) => crate::trees::frame(parts),
            (
                Declared::Tensor { .. }
                | Declared::Tree { .. }
                | Declared::Tuple(_)
                | Declared::Record(_)
                | Declared::Function
                | Declared::Str
                | Declared::Model
                | Declared::List
                | Declared::Any,
                _,
            ) => Vec::new(),
        })
    }

    /// Evaluates a size. Names are looked up below the module's scope; those not found are
    /// added to `unknown` and stand for the one unknown.
    fn size_of(&self, ty: &TypeExpr, scope: &Scope, unknown: &mut Vec<Ident>) -> Result<Size> {
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
                    BinaryOp::Div => b.as_constant().and_then(|b| a.divide_exactly(b)),
                    BinaryOp::FloorDiv => b.as_constant().and_then(|b| a.floor_div(b)),
                    _ => None,
                };
                match value {
                    Some(size) => Ok(size),
                    None => fail(
                        "E0307",
                        ty.span,
                        format!(
                            "`{}` is not a whole size ({a} {} {b})",
                            self.text(ty.span),
                            op.symbol()
                        ),
                    ),
                }
            }
            TypeKind::Group(args) => match args.as_slice() {
                [TypeArg::Type(inner)] => self.size_of(inner, scope, unknown),
                _ => fail("E0204", ty.span, "a size is wanted here"),
            },
            TypeKind::Error => Ok(Size::var(UNKNOWN, "_")),
            TypeKind::Index { .. }
            | TypeKind::Call { .. }
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

    fn plain_field(&self, value: &Value, name: &Ident) -> Result<Value> {
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
        if size.as_constant().is_some_and(|size| size < 0) {
            return fail(
                "E0307",
                ty.span,
                format!("the size `{}` is {size}, below zero", self.text(ty.span)),
            );
        }
        Ok(self.dim_named(ty, size, scope))
    }

    fn dim_named(&self, ty: &TypeExpr, size: Size, scope: &Scope) -> Dim {
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
            shape: dims,
        })
    }

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
        let mut equations = Vec::new();
        let mut out = Vec::with_capacity(args.len());
        for (param, (value, span)) in params.iter().zip(args) {
            out.push(match &param.ty {
                Some(ty) => self.match_type(ty, value, *span, scope, &mut equations)?,
                None => value.clone(),
            });
        }
        self.solve(equations, scope)?;
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
        let mut equations = Vec::new();
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

    fn match_type<'a>(
        &mut self,
        ty: &'a TypeExpr,
        value: &Value,
        span: Span,
        scope: &Scope,
        equations: &mut Vec<Equation<'a>>,
    ) -> Result<Value> {
        if matches!(value, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        match self.declared(ty)? {
            Declared::Any => Ok(value.clone()),
            Declared::Tensor { elem, shape, maybe } => {
                let what = format!("a tensor `{}`", self.text(ty.span));
                let value = match value {
                    // A list of scalars that could not be a tensor yet may still be wanted as one.
                    Value::List(_) => self.stack(value, span)?,
                    other => other.clone(),
                };
                let inner = match &value {
                    Value::Maybe(_) if !maybe => {
                        return Err(Box::new(self.undeclared_missing(ty, &what, &value, span)));
                    }
                    other => crate::missing::plain(other),
                };
                if inner.tensor().is_none() {
                    return wanted(span, &what, &value);
                }
                let inner = self.match_elem(inner, elem, ty, span)?;
                let Some(tensor) = inner.tensor() else {
                    return wanted(span, &what, &value);
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
                other => wanted(span, &format!("a record `{}`", self.text(ty.span)), other),
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
            Declared::List => match value {
                Value::List(_) | Value::Tuple(_) | Value::Tensor(_) => Ok(value.clone()),
                other => wanted(span, "a list", other),
            },
        }
    }

    /// The tensor with the names that its declaration gives its sizes; a size of a model comes
    /// from the call that made the model.
    fn renamed(&self, mut tensor: Tensor, shape: &[ShapeItem<'_>], scope: &Scope) -> Tensor {
        if shape.len() != tensor.ty.rank() {
            return tensor;
        }
        for (item, dim) in shape.iter().zip(&mut tensor.ty.shape) {
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

    fn match_shape<'a>(
        &mut self,
        shape: &[ShapeItem<'a>],
        actual: &TensorType,
        ty: &TypeExpr,
        span: Span,
        scope: &Scope,
        equations: &mut Vec<Equation<'a>>,
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
            if actual.rank() < shape.len() {
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
        for (declared, dim) in sizes.zip(fixed) {
            equations.push(Equation {
                declared,
                actual: dim.clone(),
                argument: span,
                whole: actual.clone(),
            });
        }
        if let Some(ShapeItem::Rest(name)) = rest.map(|at| &shape[at])
            && &*name.name != "_"
        {
            let sizes = &actual.shape[before..middle];
            let key = format!("..{}", name.name);
            if let Some((Value::List(known), _)) = scope.lookup_local(&key) {
                let same = known.len() == sizes.len()
                    && known
                        .iter()
                        .zip(sizes)
                        .all(|(value, dim)| value.as_size().as_ref() == Some(&dim.size));
                if !same {
                    let shown: Vec<String> = known
                        .iter()
                        .filter_map(Value::as_size)
                        .map(|size| size.to_string())
                        .collect();
                    let diagnostic = Diagnostic::error(
                        "E0301",
                        span,
                        format!(
                            "sizes do not match: `{}` wants the same shape for all of its `[..{}]`",
                            self.text(ty.span),
                            name.name
                        ),
                    )
                    .here(show_type(actual))
                    .note(format!(
                        "an earlier argument has shape [{}]",
                        shown.join(", ")
                    ));
                    return Err(Box::new(diagnostic));
                }
            } else {
                let list = sizes
                    .iter()
                    .map(|dim| Value::size(dim.size.clone()))
                    .collect();
                scope.define(key.into(), Value::List(Rc::new(list)));
            }
        }
        Ok(())
    }

    /// Solves equations in any order: a name is bound where it stands alone or linearly (S2).
    fn solve(&mut self, equations: Vec<Equation<'_>>, scope: &Scope) -> Result<()> {
        let mut pending = equations;
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
                        if declared != equation.actual.size {
                            return Err(Box::new(self.mismatch(&equation, declared, scope)));
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

    fn mismatch(&self, equation: &Equation<'_>, declared: Size, scope: &Scope) -> Diagnostic {
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
        with_origin(with_origin(diagnostic, &equation.actual), &want)
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
                        .any(|(a, b)| a.size != b.size);
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
                            if a.size != b.size {
                                diagnostic = with_origin(with_origin(diagnostic, b), a);
                                break;
                            }
                        }
                    }
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
                other => wanted(span, &format!("a record `{}`", self.text(ty.span)), other),
            },
            Declared::Tree { .. }
            | Declared::Function
            | Declared::Str
            | Declared::Model
            | Declared::List
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
            Declared::Function | Declared::Model | Declared::List | Declared::Any => Value::Unknown,
        })
    }
}

/// What is under the `?` of a value, matched, with the value's flags.
fn with_flags_of(value: &Value, inner: Value, shape: Vec<Dim>) -> Value {
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
fn size_names(ty: &TypeExpr, names: &mut Vec<Name>) {
    let of_args = |args: &[TypeArg], names: &mut Vec<Name>| {
        for arg in args {
            match arg {
                TypeArg::Type(ty) | TypeArg::Named(_, ty) => size_names(ty, names),
                TypeArg::Rest(_) => {}
            }
        }
    };
    match &ty.kind {
        TypeKind::Path(path) => names.extend(path.first().map(|part| part.name.clone())),
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

fn axes(rank: usize) -> String {
    match rank {
        0 => "no axis".into(),
        1 => "one axis".into(),
        n => format!("{n} axes"),
    }
}
