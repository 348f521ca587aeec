//! Expressions.

use crate::call::Args;
use crate::error::{fail, size_mismatch, wanted};
use crate::ops::as_tensor;
use crate::scope::Scope;
use crate::value::{Choice, Closure, Code, Dim, Maybe, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Op, Unary};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::{
    Arg, BinaryOp, Expr, ExprKind, Ident, Index, Lambda, Pattern, Stmt, StmtKind, StrPart,
};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

/// Comprehensions over compile-time sequences up to this length may be unrolled.
const MAX_UNROLL: usize = 4096;

/// What a comprehension or `for` walks.
pub(crate) enum Walk {
    /// Values known one by one.
    Items(Vec<Value>),
    /// The first axis of a tensor, of words or of a `?`.
    Axis(Value),
    /// The ints from a size to another, while they are symbolic.
    Sizes(crate::size::Size, crate::size::Size),
}

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
            } => self.comprehension(element, pattern, iter, condition.as_deref(), span, scope),
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
                let b = self.eval(right, scope)?;
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
                match self.decide(&test, condition.span)? {
                    Some(true) => self.eval(then, scope),
                    Some(false) => self.eval(otherwise, scope),
                    None => {
                        let a = self.eval(then, scope)?;
                        let b = self.eval(otherwise, scope)?;
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
        let mut diagnostic = Diagnostic::error(
            "E0201",
            span,
            format!("there is nothing called `{name}` here"),
        );
        if let Some(&below) = self.below.get(name) {
            return Err(Box::new(
                diagnostic
                    .label(below, "it is defined here, below")
                    .help("statements run in order: move the `let` above this"),
            ));
        }
        let names = scope.names();
        let known: Vec<&str> = names.iter().map(|name| &**name).collect();
        let text = self.line_from(span);
        if let Some(explained) = crate::slips::name(diagnostic.clone(), name, span, &text, &known) {
            return Err(Box::new(explained));
        }
        if let Some(near) = aec_syntax::suggest::nearest(name, known.into_iter()) {
            diagnostic = diagnostic.help_edit(format!("did you mean `{near}`?"), span, near);
        } else if self.host.module(name).is_some() {
            let top = Span {
                start: 0,
                end: 0,
                ..span
            };
            diagnostic = diagnostic.help_edit(
                format!("`use {name}` at the top brings the module into scope"),
                top,
                format!("use {name}\n"),
            );
        }
        Err(Box::new(diagnostic))
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
        names_of(&lambda.body, &mut names);
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
        let function = self.eval(callee, scope)?;
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
            Value::Module(module) => (module.scope.here(&name.name), module.scope.own_names()),
            Value::Model(model) => {
                let mut names: Vec<Rc<str>> = model
                    .params
                    .iter()
                    .chain(&model.statics)
                    .map(|(name, _)| name.clone())
                    .collect();
                names.extend(crate::model::member_names(model));
                (self.member_value(value, &name.name), names)
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
        if let Some(near) =
            aec_syntax::suggest::nearest(&name.name, names.iter().map(|name| &**name))
        {
            diagnostic = diagnostic.help_edit(format!("did you mean `{near}`?"), name.span, near);
        } else if !names.is_empty() && names.len() <= 12 {
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
        match value {
            Value::Tensor(_) | Value::List(_) | Value::Str(_) => {
                let names = scope.names();
                let known: Vec<&str> = names.iter().map(|name| &**name).collect();
                let behind = Span {
                    start: name.span.end,
                    ..name.span
                };
                let (base_text, rest) = (self.text(base.span), self.line_from(behind));
                let whole = base.span.to(name.span);
                crate::slips::member(error, &base_text, &name.name, whole, &rest, &known)
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
            shape,
        };
        Ok(Value::Tensor(self.build(
            &[&tensor],
            ty,
            span,
            |f, v, _, span| f.permute(v[0], &[1, 0], span),
        )?))
    }

    /// `a..b` as a tensor of ints.
    fn range(&mut self, a: &Value, b: &Value, span: Span) -> Result<Value> {
        if matches!(a, Value::Unknown) || matches!(b, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let (Some(start), Some(end)) = (a.as_size(), b.as_size()) else {
            let unknown = |value: &Value| {
                self.checking()
                    && matches!(value, Value::Tensor(t) if t.ty.elem.is_int() && t.is_scalar())
            };
            if unknown(a) || unknown(b) {
                let size = self.fresh_size("_");
                let ty = TensorType {
                    elem: Elem::I64,
                    shape: vec![Dim::of(size)],
                };
                return Ok(Value::Tensor(Tensor {
                    ty,
                    repr: Repr::Unknown,
                }));
            }
            return fail(
                "E0305",
                span,
                "the ends of a range must be ints that are known before anything runs",
            );
        };
        let size = end.minus(&start);
        if let (Some(start), Some(end)) = (start.as_constant(), end.as_constant()) {
            let values: Vec<i64> = (start..end.max(start)).collect();
            let ty = TensorType {
                elem: Elem::I64,
                shape: vec![Dim::known(values.len())],
            };
            if values.len() > MAX_UNROLL {
                let iota = self.emit(Op::Iota { axis: 0 }, &[], ty, span)?;
                return if start == 0 {
                    Ok(Value::Tensor(iota))
                } else {
                    self.binary(
                        BinaryOp::Add,
                        (&Value::Tensor(iota), span),
                        (&Value::int(start), span),
                        span,
                    )
                };
            }
            let host = HostTensor::i64(&[values.len()], values);
            return Ok(Value::Tensor(Tensor {
                ty,
                repr: Repr::Static(Arc::new(host)),
            }));
        }
        let ty = TensorType {
            elem: Elem::I64,
            shape: vec![Dim::of(size)],
        };
        Ok(Value::Tensor(Tensor {
            ty,
            repr: Repr::Unknown,
        }))
    }

    /// What a list literal is: a tensor if its items stack, else a list (F6).
    fn literal(&mut self, values: Vec<Value>, items: &[Expr], span: Span) -> Result<Value> {
        let list = Value::List(Rc::new(values.clone()));
        let tensors: Vec<&Tensor> = values.iter().filter_map(Value::tensor).collect();
        if values.is_empty() || tensors.len() != values.len() {
            return Ok(list);
        }
        // Sizes that are symbolic while checking stay readable one by one.
        if tensors
            .iter()
            .any(|tensor| matches!(tensor.repr, Repr::Symbolic(_)))
        {
            return Ok(list);
        }
        let rank = tensors[0].ty.rank();
        if tensors.iter().any(|tensor| tensor.ty.rank() != rank) {
            return Ok(list);
        }
        // Rows of different length next to each other are a slip in a literal of numbers.
        let nested = items
            .iter()
            .all(|item| matches!(item.kind, ExprKind::List(_)));
        for (tensor, item) in tensors.iter().zip(items) {
            let same = tensor
                .ty
                .shape
                .iter()
                .zip(&tensors[0].ty.shape)
                .all(|(a, b)| a.size == b.size);
            if !same && nested {
                return Err(Box::new(size_mismatch(
                    span,
                    &self.text(span),
                    (tensors[0], items[0].span),
                    (tensor, item.span),
                    None,
                )));
            }
            if !same {
                return Ok(list);
            }
        }
        self.stack(&list, span)
    }

    /// A list of tensors of one type as a tensor with a new leading axis; the list itself if
    /// they differ.
    pub(crate) fn stack(&mut self, value: &Value, span: Span) -> Result<Value> {
        let Value::List(values) = value else {
            return Ok(value.clone());
        };
        if values.iter().any(|item| matches!(item, Value::Maybe(_))) {
            return self.stack_missing(values, span);
        }
        let words = values.iter().any(|item| matches!(item, Value::Token(_)));
        let mut tensors = Vec::new();
        for item in values.iter() {
            match item {
                Value::Tensor(tensor) if !words || tensor.ty.elem.is_int() => {
                    tensors.push(tensor.clone());
                }
                Value::Token(tensor) => tensors.push(tensor.clone()),
                _ => return Ok(value.clone()),
            }
        }
        let stacked = self.stack_tensors(tensors, value, span)?;
        Ok(match stacked {
            Value::Tensor(tensor) if words => Value::Token(tensor),
            other => other,
        })
    }

    /// Tensors of one type with a new leading axis, else `list` itself.
    fn stack_tensors(
        &mut self,
        mut tensors: Vec<Tensor>,
        list: &Value,
        span: Span,
    ) -> Result<Value> {
        let value = list;
        let Some(first) = tensors.first() else {
            return Ok(value.clone());
        };
        let same_shape = tensors.iter().all(|tensor| {
            tensor.ty.rank() == first.ty.rank()
                && tensor
                    .ty
                    .shape
                    .iter()
                    .zip(&first.ty.shape)
                    .all(|(a, b)| a.size == b.size)
        });
        if !same_shape {
            return Ok(value.clone());
        }
        let elem = tensors
            .iter()
            .find(|tensor| !tensor.is_static_int())
            .or_else(|| tensors.iter().find(|tensor| tensor.ty.elem.is_float()))
            .map_or(first.ty.elem, |tensor| tensor.ty.elem);
        for tensor in &mut tensors {
            if tensor.ty.elem != elem {
                if !tensor.is_static_int() || elem == Elem::Bool {
                    return Ok(value.clone());
                }
                *tensor = self.convert(&tensor.clone(), elem, span)?;
            }
        }
        let shape: Vec<Dim> = std::iter::once(Dim::known(tensors.len()))
            .chain(tensors[0].ty.shape.iter().cloned())
            .collect();
        let ty = TensorType { elem, shape };
        let statics: Option<Vec<&Arc<HostTensor>>> = tensors
            .iter()
            .map(|tensor| match &tensor.repr {
                Repr::Static(host) => Some(host),
                _ => None,
            })
            .collect();
        if let (Some(parts), Some(dims)) = (statics, ty.dims()) {
            let held = if elem.is_float() { Elem::F64 } else { elem };
            let values = parts.iter().flat_map(|part| part.to_f64_vec());
            let host = HostTensor::from_f64(held, &dims, values);
            return Ok(Value::Tensor(Tensor {
                ty,
                repr: Repr::Static(Arc::new(host)),
            }));
        }
        let operands: Vec<&Tensor> = tensors.iter().collect();
        let tensor = self.build(&operands, ty, span, |f, v, ty, span| {
            let row: Vec<usize> = std::iter::once(1)
                .chain(ty.dims[1..].iter().copied())
                .collect();
            let rows: Vec<_> = v
                .iter()
                .map(|&value| f.reshape(value, &row, span))
                .collect();
            f.push1(Op::Concat { axis: 0 }, &rows, ty, span)
        })?;
        Ok(Value::Tensor(tensor))
    }

    /// What `for p in e` walks.
    pub(crate) fn walk(&mut self, iter: &Expr, scope: &Scope) -> Result<Walk> {
        if let ExprKind::Range { start, end } = &iter.kind {
            let a = self.eval(start, scope)?;
            let a = self.materialize_if_allowed(a, start.span)?;
            let b = self.eval(end, scope)?;
            let b = self.materialize_if_allowed(b, end.span)?;
            if let (Some(from), Some(to)) = (a.as_int(), b.as_int()) {
                return Ok(Walk::Items((from..to.max(from)).map(Value::int).collect()));
            }
            if let (Some(from), Some(to)) = (a.as_size(), b.as_size()) {
                return Ok(Walk::Sizes(from, to));
            }
        }
        let value = self.eval(iter, scope)?;
        match &value {
            Value::List(values) | Value::Tuple(values) => Ok(Walk::Items(values.to_vec())),
            Value::Token(_) | Value::Maybe(_)
                if value.tensor().is_some_and(|tensor| tensor.ty.rank() > 0) =>
            {
                Ok(Walk::Axis(value))
            }
            Value::Tensor(tensor) if tensor.ty.rank() > 0 => match &tensor.repr {
                Repr::Static(host) if host.rank() == 1 && host.len() <= MAX_UNROLL => {
                    let items = (0..host.len())
                        .map(|at| {
                            if host.elem().is_int() {
                                Value::int(host.get_i64(at))
                            } else if host.elem() == Elem::Bool {
                                Value::bool(host.get_f64(at) != 0.0)
                            } else {
                                Value::real(host.get_f64(at), tensor.ty.elem)
                            }
                        })
                        .collect();
                    Ok(Walk::Items(items))
                }
                Repr::Unknown
                | Repr::Choice(_)
                | Repr::Static(_)
                | Repr::Concrete(_)
                | Repr::Traced(..)
                | Repr::Symbolic(_) => Ok(Walk::Axis(value.clone())),
            },
            Value::Unknown => Ok(Walk::Items(vec![Value::Unknown])),
            other => wanted(
                iter.span,
                "something to walk (a range, a list, a tensor's first axis)",
                other,
            ),
        }
    }

    fn materialize_if_allowed(&mut self, value: Value, span: Span) -> Result<Value> {
        if self.effects_allowed() {
            self.materialize_one(value, span)
        } else {
            Ok(value)
        }
    }

    /// `[e for p in xs if c]`: a map over the walked axis where the elements are tensors, else a
    /// list, element by element.
    fn comprehension(
        &mut self,
        element: &Expr,
        pattern: &Pattern,
        iter: &Expr,
        condition: Option<&Expr>,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let walk = self.walk(iter, scope)?;
        let round = |elaborator: &mut Elaborator, item: &Value| {
            let scope = scope.child();
            elaborator.bind_pattern(pattern, item.clone(), iter.span, &scope)?;
            elaborator.eval(element, &scope)
        };
        let (dim, over) = match &walk {
            // A sequence of which nothing is known while the script is checked.
            Walk::Items(items) if matches!(items.as_slice(), [Value::Unknown]) => {
                round(self, &Value::Unknown)?;
                return Ok(Value::Unknown);
            }
            Walk::Axis(value) => match value.tensor().and_then(|tensor| tensor.ty.shape.first()) {
                Some(dim) => (dim.clone(), value.clone()),
                None => return wanted(iter.span, "something to walk", value),
            },
            Walk::Sizes(from, to) => {
                let dim = Dim::of(to.minus(from));
                let ty = TensorType {
                    elem: Elem::I64,
                    shape: vec![dim.clone()],
                };
                (
                    dim,
                    Value::Tensor(Tensor {
                        ty,
                        repr: Repr::Unknown,
                    }),
                )
            }
            Walk::Items(items) => {
                let ints: Option<Vec<i64>> = items.iter().map(Value::as_int).collect();
                match ints.filter(|ints| condition.is_none() && ints.len() > 1) {
                    Some(ints) => {
                        let dim = Dim::known(ints.len());
                        let ty = TensorType {
                            elem: Elem::I64,
                            shape: vec![dim.clone()],
                        };
                        let host = Arc::new(HostTensor::i64(&[ints.len()], ints));
                        (
                            dim,
                            Value::Tensor(Tensor {
                                ty,
                                repr: Repr::Static(host),
                            }),
                        )
                    }
                    None => {
                        return self
                            .unrolled(items, condition, pattern, iter.span, scope, span, &round);
                    }
                }
            }
        };
        if let (Some(_), Walk::Axis(value), true) = (condition, &walk, self.effects_allowed()) {
            return self.listed(value, condition, pattern, iter.span, scope, span, &round);
        }
        if condition.is_some() {
            return fail(
                "E0305",
                span,
                "`if` in a comprehension needs a sequence that is known before anything runs",
            );
        }
        // The body may use the index as a size or to pick from a list; then it is unrolled.
        let before = self.snapshot();
        let mapped = self.map_over(&dim, &[(over, true)], false, span, |elaborator, peeled| {
            let value = round(elaborator, &peeled[0])?;
            // Tensors stack; tuples and the like make a list where the items are known.
            let stacks = match &walk {
                Walk::Items(_) => value.tensor().is_some(),
                Walk::Axis(_) | Walk::Sizes(..) => crate::leaves::is_only_tensors(&value),
            };
            if stacks {
                Ok(value)
            } else {
                fail("E0305", span, "the elements are not tensors")
            }
        });
        match (mapped, &walk) {
            (Ok(value), _) => Ok(value),
            (Err(_), Walk::Items(items)) => {
                self.restore(before);
                self.unrolled(items, None, pattern, iter.span, scope, span, &round)
            }
            (Err(_), Walk::Axis(value)) if self.effects_allowed() => {
                self.restore(before);
                self.listed(value, None, pattern, iter.span, scope, span, &round)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A script's comprehension over the rows of a tensor, row by row: their values are known.
    #[allow(clippy::too_many_arguments)]
    fn listed(
        &mut self,
        rows: &Value,
        condition: Option<&Expr>,
        pattern: &Pattern,
        at: Span,
        scope: &Scope,
        span: Span,
        round: &dyn Fn(&mut Elaborator, &Value) -> Result<Value>,
    ) -> Result<Value> {
        if self.checking() {
            round(self, &crate::call::peel_type(rows))?;
            return Ok(Value::Unknown);
        }
        let rows = self.materialize_one(rows.clone(), at)?;
        let items = crate::stmt::split_rows(&rows);
        self.unrolled(&items, condition, pattern, at, scope, span, round)
    }

    #[allow(clippy::too_many_arguments)]
    fn unrolled(
        &mut self,
        items: &[Value],
        condition: Option<&Expr>,
        pattern: &Pattern,
        at: Span,
        scope: &Scope,
        span: Span,
        round: &dyn Fn(&mut Elaborator, &Value) -> Result<Value>,
    ) -> Result<Value> {
        let mut values = Vec::new();
        for item in items {
            if let Some(condition) = condition {
                let inner = scope.child();
                self.bind_pattern(pattern, item.clone(), at, &inner)?;
                let test = self.eval(condition, &inner)?;
                match self.decide(&test, condition.span)? {
                    Some(true) => {}
                    Some(false) => continue,
                    None => {
                        return fail(
                            "E0305",
                            condition.span,
                            "this condition is not known before anything runs",
                        );
                    }
                }
            }
            values.push(round(self, item)?);
        }
        self.stack(&Value::List(Rc::new(values)), span)
    }

    /// The branch that a condition takes, if that is known (or may be found out by running).
    pub(crate) fn decide(&mut self, test: &Value, span: Span) -> Result<Option<bool>> {
        if matches!(test, Value::Unknown) {
            return Ok(None);
        }
        let tensor = as_tensor(test, span, "a condition (a bool)")?;
        if tensor.ty.elem != Elem::Bool || !tensor.is_scalar() {
            let mut diagnostic = Diagnostic::error(
                "E0310",
                span,
                format!("a condition is one bool, but this is {}", test.describe()),
            );
            if tensor.ty.elem == Elem::Bool {
                diagnostic = diagnostic.help("`all(…)` or `any(…)` makes one bool of a tensor");
            } else if tensor.is_scalar() {
                diagnostic = diagnostic.help("compare it: `… != 0`");
            }
            return Err(Box::new(diagnostic));
        }
        if let Repr::Static(host) = &tensor.repr {
            return Ok(Some(host.get_f64(0) != 0.0));
        }
        if self.effects_allowed() && !self.checking() {
            return Ok(self.materialize_one(test.clone(), span)?.as_bool());
        }
        Ok(None)
    }

    /// `if` on a condition that compiled code decides: a selection (A7).
    pub(crate) fn choose(
        &mut self,
        test: &Value,
        a: (&Value, Span),
        b: (&Value, Span),
        span: Span,
    ) -> Result<Value> {
        match (a.0, b.0) {
            (Value::Unknown, other) | (other, Value::Unknown) => Ok(other.clone()),
            (Value::Maybe(_), Value::Maybe(_) | Value::Tensor(_) | Value::Token(_))
            | (Value::Tensor(_) | Value::Token(_), Value::Maybe(_)) => {
                if matches!(test, Value::Unknown) {
                    return Ok(a.0.clone());
                }
                let condition = as_tensor(test, span, "a bool")?;
                self.select_missing(&condition, a, b, span)
            }
            (Value::Token(_), Value::Tensor(_) | Value::Token(_))
            | (Value::Tensor(_), Value::Token(_)) => {
                let (x, y) = (crate::tokens::as_ints(a.0), crate::tokens::as_ints(b.0));
                Ok(match self.choose(test, (&x, a.1), (&y, b.1), span)? {
                    Value::Tensor(tensor) => Value::Token(tensor),
                    other => other,
                })
            }
            (Value::Tensor(x), Value::Tensor(y))
                if x.is_static_int() && y.is_static_int() && x.is_scalar() && y.is_scalar() =>
            {
                // Ints that may still become real where one is wanted.
                let condition = match test {
                    Value::Tensor(condition) => condition.clone(),
                    _ => Tensor {
                        ty: TensorType::scalar(Elem::Bool),
                        repr: Repr::Unknown,
                    },
                };
                let choice = Choice {
                    condition,
                    then: x.clone(),
                    otherwise: y.clone(),
                };
                Ok(Value::Tensor(Tensor {
                    ty: x.ty.clone(),
                    repr: Repr::Choice(Rc::new(choice)),
                }))
            }
            (Value::Tensor(x), Value::Tensor(y)) => {
                if matches!(test, Value::Unknown) {
                    return Ok(Value::Tensor(Tensor {
                        ty: x.ty.clone(),
                        repr: Repr::Unknown,
                    }));
                }
                let condition = as_tensor(test, span, "a bool")?;
                Ok(Value::Tensor(self.select(
                    &condition,
                    x.clone(),
                    y.clone(),
                    (a.1, b.1),
                    span,
                )?))
            }
            (Value::Tuple(xs), Value::Tuple(ys)) if xs.len() == ys.len() => {
                let mut out = Vec::new();
                for (x, y) in xs.iter().zip(ys.iter()) {
                    out.push(self.choose(test, (x, a.1), (y, b.1), span)?);
                }
                Ok(Value::tuple(out))
            }
            (Value::Record(xs), Value::Record(_)) => {
                let mut out = Vec::new();
                for (name, x) in xs.iter() {
                    let Some(y) = b.0.field(name) else {
                        return fail(
                            "E0311",
                            b.1,
                            format!("this branch gives no field `{name}`, the other one does"),
                        );
                    };
                    out.push((name.clone(), self.choose(test, (x, a.1), (y, b.1), span)?));
                }
                Ok(Value::Record(Rc::new(out)))
            }
            (Value::Unit, Value::Unit) => Ok(Value::Unit),
            (x, y) if self.checking() && std::mem::discriminant(x) == std::mem::discriminant(y) => {
                Ok(x.clone())
            }
            (x, y) => {
                let diagnostic = Diagnostic::error("E0311", span, "the branches of this `if` give different things")
                    .label(a.1, x.describe())
                    .label(b.1, y.describe())
                    .note("which branch is taken is only known while compiled code runs, so both must fit");
                Err(Box::new(diagnostic))
            }
        }
    }

    /// `a` where `c`, else `b`; shapes equal, or scalars.
    pub(crate) fn select(
        &mut self,
        c: &Tensor,
        a: Tensor,
        b: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Tensor> {
        let text = self.text(span);
        let (a, b) = self.promote(a, b, spans, &text, span)?;
        let mut shape: Vec<Dim> = Vec::new();
        for (tensor, at) in [(c, span), (&a, spans.0), (&b, spans.1)] {
            if shape.is_empty() {
                shape = tensor.ty.shape.clone();
            } else if !tensor.is_scalar() {
                let same = shape.len() == tensor.ty.rank()
                    && shape
                        .iter()
                        .zip(&tensor.ty.shape)
                        .all(|(x, y)| x.size == y.size);
                if !same {
                    let first = Tensor {
                        ty: TensorType {
                            elem: a.ty.elem,
                            shape,
                        },
                        repr: Repr::Unknown,
                    };
                    return Err(Box::new(size_mismatch(
                        span,
                        &text,
                        (&first, span),
                        (tensor, at),
                        None,
                    )));
                }
            }
        }
        let ty = TensorType {
            elem: a.ty.elem,
            shape,
        };
        self.build(&[c, &a, &b], ty, span, |f, v, ty, span| {
            let mut full = [v[0], v[1], v[2]];
            for value in &mut full {
                if f.dims(*value).is_empty() && !ty.dims.is_empty() {
                    *value = f.broadcast_leading(*value, &ty.dims, span);
                }
            }
            f.select(full[0], full[1], full[2], span)
        })
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
            _ => self.index(&value, base.span, indices, span, scope),
        }
    }
}

/// All names that occur in an expression, bound ones included.
fn names_of(expr: &Expr, names: &mut Vec<Rc<str>>) {
    let mut each = |exprs: &[&Expr]| exprs.iter().for_each(|expr| names_of(expr, names));
    match &expr.kind {
        ExprKind::Name(name) => {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Bool(_)
        | ExprKind::Hidden
        | ExprKind::Placeholder
        | ExprKind::Error => {}
        ExprKind::Str(parts) => parts.iter().for_each(|part| match part {
            StrPart::Text(_) => {}
            StrPart::Value { expr, .. } => names_of(expr, names),
        }),
        ExprKind::Block(stmts) => stmts.iter().for_each(|stmt| names_of_stmt(stmt, names)),
        ExprKind::Paren(e)
        | ExprKind::Transpose(e)
        | ExprKind::Neg(e)
        | ExprKind::Not(e)
        | ExprKind::Field { base: e, .. }
        | ExprKind::TupleField { base: e, .. } => each(&[e]),
        ExprKind::Tuple(items) | ExprKind::List(items) => {
            items.iter().for_each(|item| names_of(item, names))
        }
        ExprKind::Record(fields) => fields.iter().for_each(|(_, field)| names_of(field, names)),
        ExprKind::Comprehension {
            element,
            iter,
            condition,
            ..
        } => {
            each(&[element, iter]);
            condition
                .iter()
                .for_each(|condition| names_of(condition, names));
        }
        ExprKind::Call { callee, args } => {
            each(&[callee]);
            args.iter().for_each(|arg| names_of(&arg.value, names));
        }
        ExprKind::Index { base, indices } => {
            each(&[base]);
            indices.iter().for_each(|index| match index {
                Index::At(expr) => names_of(expr, names),
                Index::Slice { start, end, .. } => {
                    start
                        .iter()
                        .chain(end)
                        .for_each(|expr| names_of(expr, names));
                }
                Index::All(_) => {}
            });
        }
        ExprKind::Binary { left, right, .. } => each(&[left, right]),
        ExprKind::Range { start, end } => each(&[start, end]),
        ExprKind::Pipe { value, into } => each(&[value, into]),
        ExprKind::Lambda(lambda) => names_of(&lambda.body, names),
        ExprKind::If {
            condition,
            then,
            otherwise,
        } => each(&[condition, then, otherwise]),
        ExprKind::Train {
            model,
            data,
            settings,
        } => {
            each(&[model, data]);
            settings
                .iter()
                .for_each(|(_, value)| names_of(value, names));
        }
    }
}

fn names_of_stmt(stmt: &Stmt, names: &mut Vec<Rc<str>>) {
    use aec_syntax::ast::Init;
    match &stmt.kind {
        StmtKind::Let {
            init: Init::Value(expr) | Init::Draw(expr),
            ..
        }
        | StmtKind::Expr(expr) => names_of(expr, names),
        StmtKind::Fn(def) => names_of(&def.body, names),
        StmtKind::For { iter, body, .. } => {
            names_of(iter, names);
            body.iter().for_each(|stmt| names_of_stmt(stmt, names));
        }
        StmtKind::Print(exprs) => exprs.iter().for_each(|expr| names_of(expr, names)),
        StmtKind::Assert { condition, message } => {
            names_of(condition, names);
            message.iter().for_each(|message| names_of(message, names));
        }
        StmtKind::If {
            condition,
            then,
            otherwise,
        } => {
            names_of(condition, names);
            then.iter()
                .chain(otherwise.iter().flat_map(|body| body.iter()))
                .for_each(|stmt| names_of_stmt(stmt, names));
        }
        StmtKind::Assign { value, .. } => names_of(value, names),
        StmtKind::Error => {}
    }
}
