//! Models: templates to models, weights to start from, members.

use crate::call::{Args, site_hash};
use crate::declared::Declared;
use crate::error::{fail, show_type, wanted, with_origin};
use crate::leaves::leaves;
use crate::scope::{Scope, member};
use crate::sequence::Walk;
use crate::statics::is_size;
use crate::value::{Average, Closure, Code, Model, ModelTemplate, Repr, Tensor, TensorType, Value};
use crate::{Activation, Elaborator, Result};
use aec_syntax::ast::{
    Arg, Expr, ExprKind, Ident, Init, ModelDef, ModelItem, Name, Pattern, TypeArg, TypeExpr,
    TypeKind,
};
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// The members whose names carry a meaning, written without `fn`.
pub(crate) const ROLES: [&str; 4] = ["encoder", "decoder", "loss", "apply"];

/// Most models of one list: each is built while the script is checked.
const MOST_MODELS: i64 = 100_000;

impl Elaborator {
    /// `M(64, 32)`: an untrained model.
    pub(crate) fn instantiate(
        &mut self,
        template: &Rc<ModelTemplate>,
        args: Args,
        span: Span,
    ) -> Result<Value> {
        let def = &template.def;
        if self.too_deep(100) {
            return fail(
                "E0404",
                span,
                format!("the model `{}` holds itself", def.name.name),
            );
        }
        let path = site_hash(&[
            &self
                .activations
                .last()
                .map_or(0, |activation| activation.path)
                .to_le_bytes(),
            def.name.name.as_bytes(),
        ]);
        let scope = template.scope.child();
        let values = self.arguments(&def.name.name, &def.params, args, &scope, span)?;
        let mut statics = Vec::new();
        for (param, (value, at)) in def.params.iter().zip(values) {
            let Pattern::Name(name) = &param.pattern else {
                return fail("E0204", param.span, "a model's parameter is a name");
            };
            // An entry of a list of sizes, `Layer(widths[i], widths[i + 1])`, is known in a script.
            let value = match param.ty {
                None if is_size(template, &name.name) => self.materialize_if_allowed(value, at)?,
                _ => value,
            };
            let value = match &param.ty {
                Some(ty) => {
                    let inner = template.scope.child();
                    for (name, value) in &statics {
                        inner.define(Name::clone(name), Value::clone(value));
                    }
                    self.match_let(ty, &value, at, &inner)?
                }
                // A size that is read from a file is some size while the script is checked.
                None if matches!(value, Value::Unknown) && is_size(template, &name.name) => {
                    Value::size(self.later_size(&name.name))
                }
                None => {
                    if is_size(template, &name.name)
                        && value.as_size().is_none()
                        && !matches!(value, Value::Unknown)
                    {
                        if self.checking()
                            && matches!(&value, Value::Tensor(t) if t.ty.elem.is_int() && t.is_scalar())
                        {
                            Value::size(self.later_size(&name.name))
                        } else {
                            return Err(Box::new(
                                Diagnostic::error(
                                    "E0310",
                                    at,
                                    format!(
                                        "`{}` of `{}` is a size (an int), but this is {}",
                                        name.name,
                                        def.name.name,
                                        value.describe()
                                    ),
                                )
                                .label(param.span, "declared here"),
                            ));
                        }
                    } else {
                        value
                    }
                }
            };
            if value
                .as_size()
                .and_then(|size| size.as_constant())
                .is_some_and(|size| size < 0)
                && is_size(template, &name.name)
            {
                return fail(
                    "E0307",
                    at,
                    format!("the size `{}` is below zero", name.name),
                );
            }
            statics.push((name.name.clone(), value));
        }
        let model = Model {
            template: template.clone(),
            statics,
            params: Vec::new(),
            averages: vec![Average::Empty; template.averages.len()],
            frozen: false,
            made: span,
            history: None,
        };
        self.with_params(model, path)
    }

    pub(crate) fn with_params(&mut self, mut model: Model, path: u64) -> Result<Value> {
        let def = model.template.def.clone();
        self.activations.push(Activation {
            path,
            calls: FxHashMap::default(),
        });
        let result = self.make_params(&mut model, &def);
        self.activations.pop();
        result?;
        Ok(Value::Model(Rc::new(model)))
    }

    fn make_params(&mut self, model: &mut Model, def: &Rc<ModelDef>) -> Result<()> {
        for item in &def.items {
            let ModelItem::Param {
                names,
                ty,
                init,
                span,
            } = item
            else {
                continue;
            };
            for name in names {
                let scope = self.model_scope(&Rc::new(model.clone()))?;
                let value = self.param_value(name, ty.as_ref(), init.as_ref(), *span, &scope)?;
                model.params.push((name.name.clone(), value));
            }
        }
        Ok(())
    }

    fn param_value(
        &mut self,
        name: &Ident,
        ty: Option<&TypeExpr>,
        init: Option<&Init>,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let path = site_hash(&[
            &self
                .activations
                .last()
                .map_or(0, |activation| activation.path)
                .to_le_bytes(),
            name.name.as_bytes(),
        ]);
        self.activations.push(Activation {
            path,
            calls: FxHashMap::default(),
        });
        let value = self.param_start(name, ty, init, span, scope);
        self.activations.pop();
        value
    }

    fn param_start(
        &mut self,
        name: &Ident,
        ty: Option<&TypeExpr>,
        init: Option<&Init>,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let Some(ty) = ty else {
            return match init {
                Some(Init::Value(expr)) => {
                    let value = self.eval(expr, scope)?;
                    self.as_weights(value, expr.span)
                }
                Some(Init::Draw(expr)) => Err(Box::new(
                    Diagnostic::error("E0310", expr.span, "a drawn param needs a shape")
                        .help(format!("`param {}: [n, m] ~ …` names its sizes", name.name)),
                )),
                None => fail(
                    "E0310",
                    span,
                    format!("`param {}` needs a shape or a value", name.name),
                ),
            };
        };
        // A model as a param's type: `param enc: Linear(D, H)`.
        match &ty.kind {
            TypeKind::Call { path, args } => return self.param_model(path, args, ty.span, scope),
            TypeKind::Comprehension {
                element,
                pattern,
                iter,
            } => {
                let walk = self.walk(iter, scope)?;
                let known = match walk {
                    Walk::Items(items) if !matches!(items.as_slice(), [Value::Unknown]) => {
                        Some(items)
                    }
                    Walk::Ints(from, to) if to.saturating_sub(from) > MOST_MODELS => {
                        return fail(
                            "E0307",
                            iter.span,
                            format!("a list of {} models is too long", to.saturating_sub(from)),
                        );
                    }
                    Walk::Ints(from, to) => Some((from..to).map(Value::int).collect()),
                    Walk::Items(_) | Walk::Axis(_) | Walk::Sizes(..) => None,
                };
                let Some(items) = known else {
                    return if self.checking() {
                        Ok(Value::Unknown)
                    } else {
                        fail(
                            "E0305",
                            iter.span,
                            "how many models there are must be known here",
                        )
                    };
                };
                let mut models = Vec::new();
                for item in items {
                    let inner = scope.child();
                    self.bind_pattern(pattern, item, iter.span, &inner)?;
                    let at: Name = models.len().to_string().into();
                    let index = Ident {
                        name: at,
                        span: name.span,
                    };
                    models.push(self.param_value(&index, Some(element), None, span, &inner)?);
                }
                return Ok(Value::List(Rc::new(models)));
            }
            TypeKind::Shape(args) if args.len() == 1 => {
                if let TypeArg::Type(TypeExpr {
                    kind: TypeKind::Call { path, args },
                    span: at,
                }) = &args[0]
                {
                    return self.param_model(path, args, *at, scope);
                }
            }
            _ => {}
        }
        let Declared::Tensor {
            elem,
            shape,
            maybe: false,
        } = self.declared(ty)?
        else {
            return match init {
                Some(Init::Value(expr)) => {
                    let value = self.eval(expr, scope)?;
                    let value = self.match_let(ty, &value, expr.span, scope)?;
                    self.as_weights(value, expr.span)
                }
                _ => fail("E0310", ty.span, "a param is a tensor or a model"),
            };
        };
        let want = self.tensor_type(elem, &shape, scope)?;
        if let Some(axis) = crate::varying::axes(&want.shape).next() {
            let size = &want.shape[axis].size;
            let diagnostic = Diagnostic::error(
                "E0342",
                self.blamed(ty.span),
                format!(
                    "`param {}` has one size for all examples, but `{size}` varies",
                    name.name
                ),
            )
            .help(
                "what is learned for each position has room for the longest: \
                 `param place: [64, D]`, used as `place[0..n]`",
            );
            return Err(Box::new(crate::varying::ranged(diagnostic, size)));
        }
        match init {
            Some(Init::Draw(expr)) => self.draw_param(&name.name, want, expr, scope),
            Some(Init::Value(expr)) => {
                let value = self.eval(expr, scope)?;
                if matches!(value, Value::Fn(_) | Value::Distribution(_)) {
                    let sign = Span {
                        start: ty.span.end,
                        end: expr.span.start,
                        ..ty.span
                    };
                    let message = format!("`=` gives a value, but this is {}", value.describe());
                    return Err(Box::new(
                        Diagnostic::error("E0310", expr.span, message).help_edit(
                            "a start that is drawn stands behind `~`",
                            sign,
                            " ~ ",
                        ),
                    ));
                }
                if matches!(value, Value::Unknown) {
                    return Ok(Value::Tensor(Tensor {
                        ty: want,
                        repr: Repr::Unknown,
                    }));
                }
                let single = matches!(&value, Value::Tensor(tensor) if tensor.is_scalar());
                if single && !want.shape.is_empty() {
                    // A scalar fills the shape (M7).
                    let Value::Tensor(tensor) = value else {
                        return Ok(Value::Unknown);
                    };
                    let scalar = if tensor.is_static_int() || matches!(tensor.repr, Repr::Static(_))
                    {
                        self.convert(&tensor, want.elem, expr.span)?
                    } else {
                        tensor
                    };
                    let filled = self.filled(&scalar, want.shape.clone(), expr.span)?;
                    return Ok(Value::Tensor(Tensor {
                        ty: want,
                        repr: filled.repr,
                    }));
                }
                let value = self.match_let(ty, &value, expr.span, scope)?;
                self.as_weights(value, expr.span)
            }
            None => {
                let text = self.text(ty.span);
                Err(Box::new(
                    Diagnostic::error(
                        "E0312",
                        span,
                        format!("`param {}` has no value to start from", name.name),
                    )
                    .help_edit(
                        format!(
                            "`param {}: {text} ~ glorot` draws it, `= 0` starts at zero",
                            name.name
                        ),
                        Span {
                            start: ty.span.end,
                            ..ty.span
                        },
                        if text.contains(',') {
                            " ~ glorot"
                        } else {
                            " = 0"
                        },
                    ),
                ))
            }
        }
    }

    /// A value that takes the place of a model's weight (`with`, P9), which keeps its shape: the
    /// model's sizes are what they were.
    pub(crate) fn in_place_of(&mut self, old: &Value, new: &Value, name: &Ident) -> Result<Value> {
        match (old, new) {
            (Value::Unknown, _) | (_, Value::Unknown) => Ok(new.clone()),
            (Value::Tensor(old), Value::Tensor(tensor)) => {
                let shapes = (&old.ty.shape, &tensor.ty.shape);
                let unequal = shapes
                    .0
                    .iter()
                    .zip(shapes.1)
                    .find(|(a, b)| a.size.differs(&b.size));
                if shapes.0.len() != shapes.1.len() || unequal.is_some() {
                    let (was, is) = (show_type(&old.ty), show_type(&tensor.ty));
                    let message =
                        format!("`{}` is {was} in this model, but this is {is}", name.name);
                    let mut error = Diagnostic::error("E0301", name.span, message);
                    if let Some((was, is)) = unequal {
                        error = with_origin(with_origin(error, was), is);
                    }
                    return Err(Box::new(match tensor.is_scalar() {
                        true => error.help("a scalar fills the shape only in `param`; `fill(v, [n])` is a tensor of it"),
                        false => error,
                    }));
                }
                let constant = matches!(tensor.repr, Repr::Static(_) | Repr::Symbolic(_));
                if tensor.ty.elem != old.ty.elem && !constant {
                    let message = format!(
                        "`{}` holds {} in this model, but this is {}",
                        name.name,
                        old.ty.elem.name(),
                        tensor.ty
                    );
                    return fail("E0303", name.span, message);
                }
                let converted = self.convert(tensor, old.ty.elem, name.span)?;
                self.as_weights(Value::Tensor(converted), name.span)
            }
            (Value::Model(old), Value::Model(model))
                if Rc::ptr_eq(&old.template, &model.template) =>
            {
                for ((_, old), (_, new)) in old.params.iter().zip(&model.params) {
                    self.in_place_of(old, new, name)?;
                }
                Ok(new.clone())
            }
            (Value::Model(_), Value::Model(_)) => Ok(new.clone()),
            (Value::List(olds), Value::List(news)) if olds.len() == news.len() => {
                for (old, new) in olds.iter().zip(news.iter()) {
                    self.in_place_of(old, new, name)?;
                }
                Ok(new.clone())
            }
            (Value::List(_), Value::List(_) | Value::Tensor(_)) => Ok(new.clone()),
            (old, new) => wanted(name.span, &old.describe(), new),
        }
    }

    /// A constant as weights: a tensor of its own.
    fn as_weights(&mut self, value: Value, span: Span) -> Result<Value> {
        match &value {
            Value::Tensor(tensor) => match &tensor.repr {
                Repr::Static(host) => {
                    let elem = if tensor.ty.elem.is_int() {
                        self.float()
                    } else {
                        tensor.ty.elem
                    };
                    let host = crate::trace::converted(host, elem);
                    let ty = TensorType {
                        elem,
                        shape: tensor.ty.shape.clone(),
                    };
                    Ok(Value::Tensor(Tensor {
                        ty,
                        repr: Repr::Concrete(host),
                    }))
                }
                _ => Ok(value),
            },
            Value::Model(_) | Value::Unknown => Ok(value),
            Value::List(items)
                if items
                    .iter()
                    .all(|item| matches!(item, Value::Model(_) | Value::Tensor(_))) =>
            {
                Ok(value)
            }
            Value::Fn(_) | Value::Builtin(_) => {
                let message = format!("a param is trained, but this is {}", value.describe());
                let error = Diagnostic::error("E0310", span, message);
                let line = self.line_until(span);
                let start = line.rfind("param ").map(|at| line.len() - at);
                let word = start.map(|back| Span {
                    start: span.start - back as u32,
                    end: span.start - back as u32 + 5,
                    ..span
                });
                let help = "a model names a function with `let`";
                Err(Box::new(match word {
                    Some(word) => error.help_edit(help, word, "let"),
                    None => error.help(help),
                }))
            }
            other => wanted(span, "a tensor, a model or a list of models", other),
        }
    }

    fn param_model(
        &mut self,
        path: &[Ident],
        args: &[Arg],
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        if let [name] = path
            && matches!(&*name.name, "token" | "tree")
        {
            return fail(
                "E0310",
                span,
                format!("a `param` is trained, and a {} is data", name.name),
            );
        }
        let mut callee = Expr {
            kind: ExprKind::Name(path[0].name.clone()),
            span: path[0].span,
        };
        for part in &path[1..] {
            let at = callee.span.to(part.span);
            let kind = ExprKind::Field {
                base: Box::new(callee),
                name: part.clone(),
            };
            callee = Expr { kind, span: at };
        }
        let call = Expr {
            kind: ExprKind::Call {
                callee: Box::new(callee),
                args: args.to_vec(),
            },
            span,
        };
        let value = self.eval(&call, scope)?;
        match value {
            Value::Model(_) | Value::Unknown => Ok(value),
            other => wanted(span, "a model", &other),
        }
    }

    /// The scope in which members are evaluated: sizes, params, `let`s and members of the model.
    pub(crate) fn model_scope(&mut self, model: &Rc<Model>) -> Result<Scope> {
        let scope = model.template.scope.of_model(model.clone());
        for (name, value) in model.statics.iter().chain(&model.params) {
            scope.define(name.clone(), value.clone());
        }
        let complete = model.params.len() == declared_params(&model.template.def);
        for item in &model.template.def.items {
            if let ModelItem::Let {
                pattern,
                ty,
                value,
                span,
            } = item
            {
                if self.lets_too_deep(value.span) {
                    return Err(Box::new(
                        Diagnostic::error("E0404", value.span, "this needs its own value")
                            .note("a model it uses has the same `let`, which needs it again"),
                    ));
                }
                self.pure_depth += 1;
                self.lets.push(value.span);
                let evaluated = self.eval(value, &scope);
                self.lets.pop();
                self.pure_depth -= 1;
                let evaluated = match evaluated {
                    Ok(evaluated) => evaluated,
                    // It may use a param that is still being made, and is bound once it can be.
                    Err(_) if !complete => continue,
                    Err(diagnostic) => return Err(diagnostic),
                };
                self.refuse_new_model(value, &evaluated, *span, &scope)?;
                let evaluated = match ty {
                    Some(ty) => self.match_let(ty, &evaluated, value.span, &scope)?,
                    None => evaluated,
                };
                self.bind_pattern(pattern, evaluated, value.span, &scope)?;
            }
        }
        Ok(scope)
    }

    /// A model's `let` that makes a model: its weights are none of the outer one's, and stay as they were drawn.
    fn refuse_new_model(
        &mut self,
        expr: &Expr,
        value: &Value,
        item: Span,
        scope: &Scope,
    ) -> Result<()> {
        if !leaves(value).iter().any(|leaf| leaf.trained) || !self.makes_model(expr, scope)? {
            return Ok(());
        }
        let word = Span::new(
            item.file,
            item.start as usize,
            item.start as usize + "let".len(),
        );
        let message = "a `let` of a model is worked out anew, so these weights are never trained";
        Err(Box::new(
            Diagnostic::error("E0408", expr.span, message)
                .label(word, "makes no part of the model")
                .help_edit(
                    "`param` makes a part that is trained",
                    word,
                    "param".to_string(),
                )
                .note("`freeze(…)` around it would say that it stays as it is drawn"),
        ))
    }

    /// Whether an expression is a call of a model's sizes, or a list of such.
    fn makes_model(&mut self, expr: &Expr, scope: &Scope) -> Result<bool> {
        Ok(match &expr.kind {
            ExprKind::Call { callee, .. } => {
                matches!(self.eval(callee, scope)?, Value::Template(_))
            }
            ExprKind::Paren(inner) => self.makes_model(inner, scope)?,
            ExprKind::List(items) => match items.first() {
                Some(item) => self.makes_model(item, scope)?,
                None => false,
            },
            ExprKind::Comprehension { element, .. } => self.makes_model(element, scope)?,
            _ => false,
        })
    }

    /// Whether the value of a model's `let` is wanted while it is being worked out, and that many
    /// times. Once it was, all are refused until none is being worked out: what looks at a value
    /// twice at each level would not end in a lifetime.
    fn lets_too_deep(&mut self, at: Span) -> bool {
        let depth = self.lets.iter().filter(|&&other| other == at).count();
        self.refusing_lets = depth > MAX_LET_DEPTH || (self.refusing_lets && !self.lets.is_empty());
        self.refusing_lets
    }

    /// A param, size or member of a model, if it has one of this name; what is wrong with a `let`
    /// of the model is found here, too.
    pub(crate) fn member_value(&mut self, value: &Value, name: &str) -> Result<Option<Value>> {
        let Value::Model(model) = value else {
            return Ok(None);
        };
        if let Some((_, found)) = model
            .params
            .iter()
            .chain(&model.statics)
            .find(|(field, _)| &**field == name)
        {
            if model.frozen
                && let Value::Model(inner) = found
            {
                return Ok(Some(Value::Model(Rc::new(Model {
                    frozen: true,
                    ..(**inner).clone()
                }))));
            }
            return Ok(Some(found.clone()));
        }
        let Some(def) = member(model, name) else {
            return match let_names(model).iter().any(|bound| **bound == *name) {
                true => Ok(self.model_scope(model)?.here(name)),
                false => Ok(None),
            };
        };
        let scope = self.model_scope(model)?;
        Ok(Some(Value::Fn(Rc::new(Closure {
            name: def.name.name.clone(),
            span: def.span,
            code: Code::Named(def, scope),
        }))))
    }
}

/// A `let` of a model may use models of the same kind, of which each may do so, this deep.
const MAX_LET_DEPTH: usize = 32;

/// How many params a model declares.
fn declared_params(def: &ModelDef) -> usize {
    let names = def.items.iter().map(|item| match item {
        ModelItem::Param { names, .. } => names.len(),
        ModelItem::Fn(_) | ModelItem::Let { .. } | ModelItem::Error(_) => 0,
    });
    names.sum()
}

/// Names that the `let`s of a model's definition bind.
pub(crate) fn let_names(model: &Model) -> Vec<Name> {
    let mut names = Vec::new();
    for item in &model.template.def.items {
        if let ModelItem::Let { pattern, .. } = item {
            names.extend(pattern.names().into_iter().map(|ident| ident.name.clone()));
        }
    }
    names
}

/// Names of a model's member functions.
pub(crate) fn member_names(model: &Model) -> Vec<Name> {
    model
        .template
        .def
        .items
        .iter()
        .filter_map(|item| match item {
            ModelItem::Fn(def) => Some(def.name.name.clone()),
            ModelItem::Param { .. } | ModelItem::Let { .. } | ModelItem::Error(_) => None,
        })
        .collect()
}
