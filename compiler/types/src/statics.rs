//! Which parameters of a model are sizes (S3), and whether it can be checked without being made.

use crate::scope::Scope;
use crate::value::{ModelTemplate, Value};
use aec_syntax::ast::{
    Arg, Expr, ExprKind, Ident, ModelItem, Param, Pattern, TypeArg, TypeExpr, TypeKind,
};

/// Models in models deeper than this are not looked into.
const MAX_DEPTH: usize = 16;

/// Whether an untyped parameter of a model is a size: it occurs in a shape, or is given to a model
/// inside as its size, or counts a list of models.
pub(crate) fn is_size(template: &ModelTemplate, name: &str) -> bool {
    size_in(template, name, 0)
}

/// Whether a model definition can be checked by itself: every parameter is a size or typed with
/// something that is known without a use.
pub(crate) fn checkable(template: &ModelTemplate) -> bool {
    template.def.params.iter().all(|param| match (&param.pattern, &param.ty) {
        (Pattern::Name(name), None) => is_size(template, &name.name),
        (_, Some(ty)) => !matches!(&ty.kind, TypeKind::Path(path) if matches!(&*path[0].name, "model" | "list"))
            && !matches!(&ty.kind, TypeKind::Index { path, .. } if &*path[0].name == "list")
            && !matches!(ty.kind, TypeKind::Arrow(..)),
        (_, None) => false,
    })
}

fn size_in(template: &ModelTemplate, name: &str, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    let in_params = |params: &[Param]| {
        let mut types = params.iter().filter_map(|param| param.ty.as_ref());
        types.any(|ty| in_type(ty, name, false))
    };
    template.def.items.iter().any(|item| match item {
        ModelItem::Param { ty: Some(ty), .. } => {
            in_type(ty, name, false) || given_as_size(ty, name, &template.scope, depth)
        }
        ModelItem::Let { ty, .. } => ty.as_ref().is_some_and(|ty| in_type(ty, name, false)),
        ModelItem::Fn(f) => {
            in_params(&f.params) || f.result.as_ref().is_some_and(|ty| in_type(ty, name, false))
        }
        ModelItem::Param { ty: None, .. } | ModelItem::Error(_) => false,
    }) || in_params(&template.def.params)
}

/// Whether the type of a param, `nn.Linear(D, H)` or a list of such, makes a model of this size.
fn given_as_size(ty: &TypeExpr, name: &str, scope: &Scope, depth: usize) -> bool {
    match &ty.kind {
        TypeKind::Call { path, args } => args.iter().enumerate().any(|(at, arg)| {
            computes_with(&arg.value, name) && takes_size(path, at, arg, scope, depth)
        }),
        TypeKind::Comprehension { element, iter, .. } => {
            let counts = match &iter.kind {
                ExprKind::Range { start, end } => [start, end]
                    .into_iter()
                    .any(|bound| computes_with(bound, name)),
                _ => false,
            };
            counts || given_as_size(element, name, scope, depth)
        }
        _ => false,
    }
}

/// Whether an argument of a model's call is for a size. Of a model that nobody knows it is.
fn takes_size(path: &[Ident], at: usize, arg: &Arg, scope: &Scope, depth: usize) -> bool {
    let found = match path {
        [name] => scope.lookup(&name.name),
        [module, name] => match scope.lookup(&module.name) {
            Some(Value::Module(module)) => module.scope.here(&name.name),
            _ => None,
        },
        _ => None,
    };
    let Some(Value::Template(model)) = found else {
        return true;
    };
    let param = match &arg.name {
        Some(name) => model.def.params.iter().find(
            |param| matches!(&param.pattern, Pattern::Name(known) if known.name == name.name),
        ),
        None => model.def.params.get(at),
    };
    match param.map(|param| (&param.pattern, &param.ty)) {
        Some((Pattern::Name(name), None)) => size_in(&model, &name.name, depth + 1),
        _ => false,
    }
}

/// `n`, `2 * n + 1`: arithmetic with the name.
fn computes_with(expr: &Expr, name: &str) -> bool {
    match &expr.kind {
        ExprKind::Name(known) => &**known == name,
        ExprKind::Binary { left, right, .. } => {
            computes_with(left, name) || computes_with(right, name)
        }
        _ => false,
    }
}

/// Whether a name stands as a size in a type; `shape` says that it does wherever it is mentioned.
pub(crate) fn in_type(ty: &TypeExpr, name: &str, shape: bool) -> bool {
    let in_args = |args: &[TypeArg], shape: bool| {
        args.iter().any(|arg| match arg {
            TypeArg::Type(ty) | TypeArg::Named(_, ty) => in_type(ty, name, shape),
            TypeArg::Rest(_) => false,
        })
    };
    match &ty.kind {
        TypeKind::Path(path) => shape && path.len() == 1 && &*path[0].name == name,
        TypeKind::Shape(args) => in_args(args, true),
        // What lists and trees hold are types, not sizes.
        TypeKind::Index { path, args } => in_args(args, !matches!(&*path[0].name, "list" | "tree")),
        TypeKind::Group(args) => in_args(args, shape),
        TypeKind::Maybe(inner) => in_type(inner, name, shape),
        TypeKind::Binary { left, right, .. } => {
            in_type(left, name, shape) || in_type(right, name, shape)
        }
        TypeKind::Arrow(a, b) => in_type(a, name, shape) || in_type(b, name, shape),
        TypeKind::Comprehension { element, .. } => in_type(element, name, shape),
        TypeKind::Int(_) | TypeKind::Call { .. } | TypeKind::Error => false,
    }
}
