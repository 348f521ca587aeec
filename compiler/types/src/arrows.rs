//! Sizes that only a function can tell: of `f: [n] -> [k]` the other arguments of the call give n,
//! and what f makes of an `[n]` gives k (SEMANTICS.md S2).

use crate::equations::Equations;
use crate::leaves::map_tensors;
use crate::scope::Scope;
use crate::trace::FrameKind;
use crate::typing::size_names;
use crate::value::{Repr, Tensor, Value};
use crate::{Elaborator, Result};
use aec_syntax::Span;
use aec_syntax::ast::{Expr, Param, TypeArg, TypeExpr, TypeKind};
use std::rc::Rc;

/// What a function type takes and gives.
fn arrow(ty: &TypeExpr) -> Option<(&TypeExpr, &TypeExpr)> {
    match &ty.kind {
        TypeKind::Arrow(takes, gives) => Some((takes, gives)),
        TypeKind::Group(args) => match args.as_slice() {
            [TypeArg::Type(inner)] => arrow(inner),
            _ => None,
        },
        _ => None,
    }
}

/// The types of a function's parameters: `([n], real) -> [k]` takes two.
fn parameters(takes: &TypeExpr) -> Option<Vec<&TypeExpr>> {
    let TypeKind::Group(args) = &takes.kind else {
        return Some(vec![takes]);
    };
    let types = args.iter().map(|arg| match arg {
        TypeArg::Type(ty) => Some(ty),
        TypeArg::Rest(_) | TypeArg::Named(..) => None,
    });
    types.collect()
}

impl Elaborator {
    /// Binds the sizes that the parameters of a call name in results of functions alone, if the
    /// body mentions one: the function is asked what it gives.
    pub(crate) fn sizes_of_results(
        &mut self,
        params: &[Param],
        values: &[Value],
        spans: &[Span],
        body: &Expr,
        scope: &Scope,
    ) -> Result<()> {
        for ((param, value), &span) in params.iter().zip(values).zip(spans) {
            let Some((takes, gives)) = param.ty.as_ref().and_then(arrow) else {
                continue;
            };
            if !matches!(value, Value::Fn(_) | Value::Builtin(_) | Value::Model(_)) {
                continue;
            }
            let mut names = Vec::new();
            size_names(gives, &mut names);
            names.retain(|name| scope.lookup_local(name).is_none());
            if names.is_empty() || !aec_syntax::free::mentions_any(body, &names) {
                continue;
            }
            if let Some(made) = self.result_of(value, takes, span, scope)? {
                let mut equations = Equations::default();
                self.match_type(gives, &made, span, scope, &mut equations)?;
                self.solve(equations, scope)?;
            }
        }
        Ok(())
    }

    /// What a function gives for arguments of declared types, as a value of which only the type is
    /// known; none if their sizes are not. What tracing it leaves behind is undone, so that its
    /// draws are those of its first real call.
    fn result_of(
        &mut self,
        f: &Value,
        takes: &TypeExpr,
        span: Span,
        scope: &Scope,
    ) -> Result<Option<Value>> {
        let mut names = Vec::new();
        size_names(takes, &mut names);
        let sized = |value: &Value| value.as_size().is_some();
        let known = |name: &Rc<str>| {
            scope
                .lookup_local(name)
                .is_some_and(|(value, _)| sized(&value))
        };
        let (true, Some(types)) = (names.iter().all(known), parameters(takes)) else {
            return Ok(None);
        };
        let inner = scope.child();
        let mut args = Vec::with_capacity(types.len());
        for ty in types {
            args.push(self.abstract_value(ty, &inner)?);
        }
        let before = self.snapshot();
        self.pure_depth += 1;
        if !self.checking() {
            self.top();
            let constants = Vec::new();
            self.push_frame("type", FrameKind::Block { constants });
        }
        let made = self.traced_stand_ins(&args, span);
        let made = made.and_then(|args| self.apply(f, &args, span));
        self.restore(before);
        Ok(Some(map_tensors(&made?, &mut |tensor| Tensor {
            ty: tensor.ty.clone(),
            repr: Repr::Unknown,
        })))
    }

    /// Values of which the types are known, as params of the innermost frame.
    fn traced_stand_ins(&mut self, values: &[Value], span: Span) -> Result<Vec<Value>> {
        if self.checking() {
            return Ok(values.to_vec());
        }
        let mut fault = None;
        let made = values.iter().map(|value| {
            map_tensors(
                value,
                &mut |tensor| match self.traced_param(&tensor.ty, "", span) {
                    Ok((param, _)) => param,
                    Err(error) => {
                        fault = Some(error);
                        tensor.clone()
                    }
                },
            )
        });
        let made = made.collect();
        match fault {
            Some(error) => Err(error),
            None => Ok(made),
        }
    }
}
