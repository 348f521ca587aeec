//! Expressions.

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::ops::as_tensor;
use crate::scope::Scope;
use crate::value::{Closure, Code, Maybe, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Op, Unary};
use aec_runtime::Elem;
use aec_syntax::ast::{
    Arg, BinaryOp, Expr, ExprKind, Ident, Index, Lambda, StrPart, TypeArg, TypeExpr, TypeKind,
};
use aec_syntax::parts::Part;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

impl Elaborator {
    /// Evaluates an expression.
    pub(crate) fn eval(&mut self, expr: &Expr, scope: &Scope) -> Result<Value> {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Name(name) => self.name(name, span, scope),
            ExprKind::Int(value) => Ok(Value::int(*value)),
            ExprKind::Float(value) => Ok(Value::real(*value, self.float())),
            ExprKind::Bool(value) => Ok(Value::bool(*value)),
            ExprKind::Str(parts) => self.string(parts, scope),
            ExprKind::Hidden => Ok(crate::missing::literal()),
            ExprKind::Placeholder => fail(
                "E0205",
                span,
                "`_` stands for the piped value: it is only allowed right of `|>`",
            ),
            ExprKind::Block(stmts) => self.block(stmts, scope),
            ExprKind::Paren(inner) => self.eval(inner, scope),
            ExprKind::Tuple(items) => {
                let values = items
                    .iter()
                    .map(|item| self.eval(item, scope))
                    .collect::<Result<Vec<_>>>()?;
                Ok(Value::tuple(values))
            }
            ExprKind::Record(fields) => {
                let mut values = Vec::new();
                for (name, field) in fields {
                    if values.iter().any(|(other, _)| *other == name.name) {
                        return fail(
                            "E0127",
                            name.span,
                            format!("the field `{}` is given twice", name.name),
                        );
                    }
                    values.push((name.name.clone(), self.eval(field, scope)?));
                }
                Ok(Value::Record(Rc::new(values)))
            }
            ExprKind::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.push(self.eval(item, scope)?);
                }
                self.literal(values, items, span)
            }
            ExprKind::Comprehension {
                element,
                pattern,
                iter,
                condition,
            } => self.counting_elements(|own| {
                own.comprehension(element, pattern, iter, condition.as_deref(), span, scope)
            }),
            ExprKind::Call { callee, args } => self.call_expr(callee, args, None, span, scope),
            ExprKind::Index { base, indices } => self.index_expr(base, indices, span, scope),
            ExprKind::Field { base, name } => {
                let value = self.eval(base, scope)?;
                self.field(&value, name).map_err(|error| {
                    Box::new(self.explain_field(*error, base, &value, name, scope))
                })
            }
            ExprKind::TupleField { base, index } => {
                let value = self.eval(base, scope)?;
                match &value {
                    Value::Tuple(values) | Value::List(values) => match values.get(*index) {
                        Some(value) => Ok(value.clone()),
                        None => fail(
                            "E0202",
                            span,
                            format!("{} has no part .{index}", value.describe()),
                        ),
                    },
                    Value::Unknown => Ok(Value::Unknown),
                    other => fail(
                        "E0202",
                        span,
                        format!("`.{index}` wants a tuple, but this is {}", other.describe()),
                    ),
                }
            }
            ExprKind::Transpose(inner) => {
                let value = self.eval(inner, scope)?;
                self.transpose(&value, span)
            }
            ExprKind::Neg(inner) => {
                let value = self.eval(inner, scope)?;
                if matches!(value, Value::Unknown) {
                    return Ok(value);
                }
                if value
                    .tensor()
                    .is_some_and(|tensor| tensor.ty.elem == Elem::Bool)
                {
                    return fail("E0303", span, "`-` does not work on bool; `not` negates it");
                }
                if let Value::Maybe(maybe) = &value {
                    return self.unary_missing(Unary::Neg, maybe, span);
                }
                let tensor = as_tensor(&value, inner.span, "a number or tensor")?;
                Ok(Value::Tensor(self.unary(Unary::Neg, &tensor, span)?))
            }
            ExprKind::Not(inner) => {
                let value = self.eval(inner, scope)?;
                if let Some(known) = value.as_bool().filter(|_| !self.is_concrete(&value)) {
                    return Ok(Value::bool(!known));
                }
                if matches!(value, Value::Unknown) {
                    return Ok(value);
                }
                self.lifted(&[value], span, |elaborator, bare| {
                    let tensor = as_tensor(&bare[0], inner.span, "a bool")?;
                    if tensor.ty.elem != Elem::Bool {
                        return wanted(inner.span, "a bool", &bare[0]);
                    }
                    let ty = tensor.ty.clone();
                    let op = Op::Unary(Unary::Not);
                    Ok(Value::Tensor(elaborator.emit(op, &[&tensor], ty, span)?))
                })
            }
            ExprKind::Binary {
                op, left, right, ..
            } => {
                if let Some(error) =
                    crate::missing::compared_with_literal(self, *op, left, right, span)
                {
                    return Err(Box::new(error));
                }
                let a = self.eval(left, scope)?;
                // The right side of a decided `and`, `or` is not evaluated.
                if let Some(known) = a
                    .as_bool()
                    .filter(|_| matches!(op, BinaryOp::And | BinaryOp::Or))
                {
                    if known == (*op == BinaryOp::Or) {
                        return Ok(a);
                    }
                    return self.eval(right, scope);
                }
                let b = self.eval(right, scope).map_err(|error| {
                    Box::new(self.repair_order(*error, *op, (&a, left.span), right))
                })?;
                self.binary(*op, (&a, left.span), (&b, right.span), span)
            }
            ExprKind::Range { start, end } => {
                let a = self.eval(start, scope)?;
                let b = self.eval(end, scope)?;
                self.range(&a, &b, span)
            }
            ExprKind::Pipe { value, into } => self.pipe(value, into, span, scope),
            ExprKind::Lambda(lambda) => self.lambda(lambda, scope),
            ExprKind::If {
                condition,
                then,
                otherwise,
            } => {
                let test = self.eval(condition, scope)?;
                let taken = self.decide(&test, condition.span).map_err(|error| {
                    let parts = [condition, then, otherwise].map(|part| part.span);
                    Box::new(self.repair_choice(*error, &test, parts, span))
                })?;
                match taken {
                    Some(true) => self.eval(then, scope),
                    Some(false) => self.eval(otherwise, scope),
                    None => {
                        let a = self.branch_of(&test, true, then, scope)?;
                        let b = self.branch_of(&test, false, otherwise, scope)?;
                        self.choose(&test, (&a, then.span), (&b, otherwise.span), span)
                    }
                }
            }
            ExprKind::Train {
                model,
                data,
                settings,
            } => self.train_expr(model, data, settings, span, scope),
            ExprKind::Error => Ok(Value::Unknown),
        }
    }

    fn is_concrete(&self, value: &Value) -> bool {
        matches!(
            value,
            Value::Tensor(Tensor {
                repr: Repr::Concrete(_),
                ..
            })
        ) && self.frames.len() > 1
    }

    fn name(&mut self, name: &Rc<str>, span: Span, scope: &Scope) -> Result<Value> {
        if let Some(value) = scope.lookup(name) {
            return Ok(value);
        }
        Err(Box::new(self.unknown_name(
            name,
            span,
            scope,
            &scope.names(),
        )))
    }

    /// A string with its interpolated values.
    fn string(&mut self, parts: &[StrPart], scope: &Scope) -> Result<Value> {
        let mut text = String::new();
        for part in parts {
            match part {
                StrPart::Text(piece) => text.push_str(piece),
                StrPart::Value { expr, format } => {
                    let value = self.eval(expr, scope)?;
                    let value = self.materialize_one(value, expr.span)?;
                    let value = crate::train::concrete_leaves(&value);
                    if !self.checking() {
                        let host = self.host.clone();
                        text.push_str(&host.format(&value, format.as_deref(), expr.span)?);
                    }
                }
            }
        }
        Ok(Value::str(&text))
    }

    /// `fn x -> e`, with the values it captures.
    fn lambda(&mut self, lambda: &Rc<Lambda>, scope: &Scope) -> Result<Value> {
        let captured = scope.child();
        let mut names = Vec::new();
        names_of(Part::Expr(&lambda.body), &mut names);
        for name in names {
            if let Some(value) = scope.lookup_below(&name, &self.prelude) {
                let value = if self.effects_allowed() {
                    self.materialize_one(value, lambda.span)?
                } else {
                    value
                };
                captured.define(name, value);
            }
        }
        Ok(Value::Fn(Rc::new(Closure {
            code: Code::Lambda(lambda.clone(), captured),
            name: "fn".into(),
            span: lambda.span,
        })))
    }

    /// `value |> into`.
    fn pipe(&mut self, value: &Expr, into: &Expr, span: Span, scope: &Scope) -> Result<Value> {
        if let ExprKind::Call { callee, args } = &into.kind
            && crate::running::is_running(callee, scope)
        {
            let args = crate::running::args(Some(value), args);
            return self.running(callee.span, &args, span, scope);
        }
        let piped = self.eval(value, scope)?;
        if let ExprKind::Call { callee, args } = &into.kind {
            return self.call_expr(callee, args, Some((piped, value.span)), span, scope);
        }
        let callee = self.eval(into, scope)?;
        let args = Args {
            positional: vec![(piped, value.span)],
            named: Vec::new(),
        };
        self.call_value(&callee, args, span)
    }

    fn call_expr(
        &mut self,
        callee: &Expr,
        args: &[Arg],
        piped: Option<(Value, Span)>,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        if crate::running::is_running(callee, scope) {
            let args = crate::running::args(None, args);
            return self.running(callee.span, &args, span, scope);
        }
        let function = self.eval(callee, scope)?;
        self.refuse_hiding(callee, &function, scope)?;
        let mut evaluated = Args::default();
        let placed = args
            .iter()
            .any(|arg| matches!(arg.value.kind, ExprKind::Placeholder));
        if let (Some(piped), false) = (&piped, placed) {
            evaluated.positional.push(piped.clone());
        }
        for arg in args {
            let (value, at) = match (&arg.value.kind, &piped) {
                (ExprKind::Placeholder, Some(piped)) => piped.clone(),
                _ => (self.eval(&arg.value, scope)?, arg.value.span),
            };
            match &arg.name {
                Some(name) => evaluated.named.push((name.clone(), value)),
                None if evaluated.named.is_empty() => evaluated.positional.push((value, at)),
                None => return fail("E0403", at, "unnamed arguments come before named ones"),
            }
        }
        self.call_value(&function, evaluated, span)
    }

    /// The field of a record, module, model or distribution.
    pub(crate) fn field(&mut self, value: &Value, name: &Ident) -> Result<Value> {
        let (found, names): (Option<Value>, Vec<Rc<str>>) = match value {
            Value::Unknown => return Ok(Value::Unknown),
            Value::Record(fields) => (
                value.field(&name.name).cloned(),
                fields.iter().map(|(name, _)| name.clone()).collect(),
            ),
            Value::Module(module) => {
                let mut names = module.scope.own_names();
                names.retain(|own| !matches!(module.scope.here(own), Some(Value::Module(_))));
                (module.scope.here(&name.name), names)
            }
            Value::Model(model) => {
                let mut names: Vec<Rc<str>> = model
                    .params
                    .iter()
                    .chain(&model.statics)
                    .map(|(name, _)| name.clone())
                    .collect();
                names.extend(crate::model::let_names(model));
                names.extend(crate::model::member_names(model));
                let mut found = self.member_value(value, &name.name)?;
                if matches!(found, Some(Value::Fn(_)))
                    && self.effects_allowed()
                    && Self::has_traced(value)
                {
                    // A member outlives the statement that made its model (M4).
                    let made = self.materialize_one(value.clone(), name.span)?;
                    found = self.member_value(&made, &name.name)?;
                }
                (found, names)
            }
            Value::Distribution(distribution) => {
                let params = crate::random::param_names(distribution.family);
                let at = params.iter().position(|param| **param == *name.name);
                (
                    at.and_then(|at| distribution.params.get(at).cloned()),
                    params.iter().map(|&p| p.into()).collect(),
                )
            }
            Value::Vocab(vocab) => (
                crate::tokens::member(vocab, &name.name, name.span),
                crate::tokens::MEMBERS
                    .iter()
                    .map(|&name| name.into())
                    .collect(),
            ),
            Value::Unit
            | Value::Tensor(_)
            | Value::Token(_)
            | Value::Maybe(_)
            | Value::Str(_)
            | Value::Tuple(_)
            | Value::List(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Ragged(_)
            | Value::Tree(_)
            | Value::Template(_) => (None, Vec::new()),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let mut diagnostic = Diagnostic::error(
            "E0202",
            name.span,
            format!("{} has no `{}`", value.describe(), name.name),
        );
        let elsewhere = match value {
            Value::Module(_) => self.elsewhere(&name.name),
            _ => None,
        };
        if let Some(ours) = crate::slips::of_module(&name.name)
            && names.iter().any(|name| **name == *ours)
        {
            diagnostic = diagnostic.help_edit(format!("write `{ours}`"), name.span, ours);
        } else if let Some(elsewhere) = elsewhere {
            diagnostic = diagnostic.help(elsewhere);
        } else if let (Value::Module(_), Some(advice)) = (value, crate::slips::advice(&name.name)) {
            diagnostic = diagnostic.help(advice);
        } else if let (Value::Model(_), Some(advice)) = (value, crate::slips::of_model(&name.name))
        {
            diagnostic = diagnostic.help(advice);
        } else if let Some(near) =
            aec_syntax::suggest::nearest(&name.name, names.iter().map(|name| &**name))
        {
            diagnostic = diagnostic.help_edit(format!("did you mean `{near}`?"), name.span, near);
        } else if !names.is_empty() && names.len() <= 60 {
            let list: Vec<&str> = names.iter().map(|name| &**name).collect();
            diagnostic = diagnostic.note(format!("it has {}", list.join(", ")));
        }
        Err(Box::new(diagnostic))
    }

    /// What the author of `base.name` meant, where tensors and definitions have no such part.
    fn explain_field(
        &self,
        error: Diagnostic,
        base: &Expr,
        value: &Value,
        name: &Ident,
        scope: &Scope,
    ) -> Diagnostic {
        let error = match self.explain_hiding(error, base, value) {
            Ok(explained) => return explained,
            Err(error) => error,
        };
        match value {
            Value::Tensor(_)
            | Value::Maybe(_)
            | Value::Token(_)
            | Value::Ragged(_)
            | Value::List(_)
            | Value::Str(_) => {
                let names = scope.names();
                let known: Vec<&str> = names.iter().map(|name| &**name).collect();
                let behind = Span {
                    start: name.span.end,
                    ..name.span
                };
                let (base_text, rest) = (self.text(base.span), self.line_from(behind));
                let whole = base.span.to(name.span);
                let base = (&*base_text, value.tensor().map(|tensor| tensor.ty.rank()));
                crate::slips::member(error, base, &name.name, whole, &rest, &known)
            }
            Value::Template(template) => {
                let params = template
                    .def
                    .params
                    .iter()
                    .map(|param| self.text(param.span));
                let sizes: Vec<String> = params.collect();
                let model = &template.def.name.name;
                error.help(format!(
                    "this is the definition; `let m = {model}({})` makes a model, and `m.{}` is its part",
                    sizes.join(", "),
                    name.name
                ))
            }
            _ => error,
        }
    }

    fn transpose(&mut self, value: &Value, span: Span) -> Result<Value> {
        if matches!(value, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        if let Value::Maybe(maybe) = value {
            let flags = Value::Tensor(maybe.observed.clone());
            let (inner, flags) = (
                self.transpose(&maybe.value, span)?,
                self.transpose(&flags, span)?,
            );
            let observed = as_tensor(&flags, span, "flags")?;
            return Ok(Value::Maybe(Rc::new(Maybe {
                value: inner,
                observed,
            })));
        }
        if let Value::Token(words) = value {
            let moved = self.transpose(&Value::Tensor(words.clone()), span)?;
            return Ok(Value::Token(as_tensor(&moved, span, "words")?));
        }
        let tensor = as_tensor(value, span, "a matrix")?;
        if tensor.ty.rank() != 2 {
            let diagnostic = Diagnostic::error("E0302", span, format!("`'` transposes a matrix, but this is {}", tensor.ty))
                .help("a vector needs no transpose: `a @ b` of two vectors is their inner product, `outer(a, b)` the outer");
            return Err(Box::new(diagnostic));
        }
        let shape = vec![tensor.ty.shape[1].clone(), tensor.ty.shape[0].clone()];
        let ty = TensorType {
            elem: tensor.ty.elem,
            shape: shape.into(),
        };
        Ok(Value::Tensor(self.build(
            &[&tensor],
            ty,
            span,
            |f, v, _, span| f.permute(v[0], &[1, 0], span),
        )?))
    }

    fn index_expr(
        &mut self,
        base: &Expr,
        indices: &[Index],
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let value = self.eval(base, scope)?;
        match &value {
            // `zeros[K]`, `ones[2, 3]`: sizes in brackets.
            Value::Builtin(id) if matches!(id.name(), "zeros" | "ones") => {
                let mut sizes = Vec::new();
                for index in indices {
                    match index {
                        Index::At(expr) => sizes.push(self.eval(expr, scope)?),
                        Index::Slice { span, .. } | Index::All(span) => {
                            return fail("E0310", *span, "a size is wanted here");
                        }
                    }
                }
                let shape = Value::List(Rc::new(sizes));
                crate::builtins::call(self, *id, Args::of(&[shape], span), span)
            }
            Value::Fn(closure) if let Code::Named(def, own) = &closure.code => {
                let sized = own.child();
                let takes = def.sizes.iter().filter_map(|size| match size {
                    TypeArg::Type(TypeExpr {
                        kind: TypeKind::Path(path),
                        ..
                    }) => Some(&path[0].name),
                    _ => None,
                });
                let takes: Vec<&Rc<str>> = takes.collect();
                if takes.is_empty() || takes.len() != indices.len() {
                    let count = crate::call::count(takes.len(), "size");
                    let message = format!("`{}` takes {count} in brackets", closure.name);
                    return Err(Box::new(
                        Diagnostic::error("E0401", span, message)
                            .label(def.name.span, "defined here"),
                    ));
                }
                for (name, index) in takes.into_iter().zip(indices) {
                    let Index::At(expr) = index else {
                        return fail("E0310", span, "a size is wanted here");
                    };
                    let size = self.eval(expr, scope)?;
                    if size.as_size().is_none() && !matches!(size, Value::Unknown) {
                        return wanted(expr.span, "a size", &size);
                    }
                    sized.define(name.clone(), size);
                }
                Ok(Value::Fn(Rc::new(Closure {
                    code: Code::Named(def.clone(), sized),
                    name: closure.name.clone(),
                    span: closure.span,
                })))
            }
            _ => self.index(&value, base.span, indices, span, scope),
        }
    }
}

/// All names that occur in an expression, bound ones included.
fn names_of(part: Part<'_>, names: &mut Vec<Rc<str>>) {
    if let Part::Expr(Expr {
        kind: ExprKind::Name(name),
        ..
    }) = part
        && !names.contains(name)
    {
        names.push(name.clone());
    }
    for inner in part.parts() {
        names_of(inner, names);
    }
}
