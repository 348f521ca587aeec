//! Arguments of a call: each goes to its parameter, by place or by name, or a default stands in.

use super::{Args, count};
use crate::error::fail;
use crate::scope::Scope;
use crate::value::Value;
use crate::{Elaborator, Result};
use aec_syntax::ast::{Ident, Param, Pattern};
use aec_syntax::suggest::nearest;
use aec_syntax::{Diagnostic, Span};

impl Elaborator {
    /// One value for each parameter, in their order.
    pub(crate) fn arguments(
        &mut self,
        name: &str,
        params: &[Param],
        args: Args,
        scope: &Scope,
        span: Span,
    ) -> Result<Vec<(Value, Span)>> {
        let named = |name: &str| {
            params
                .iter()
                .any(|param| matches!(&param.pattern, Pattern::Name(own) if *own.name == *name))
        };
        let beyond = args.positional.len() > params.len()
            || args.named.iter().any(|(name, _)| !named(&name.name));
        let given = match self.goes_over(params) {
            Some(over) if beyond => Some((over, args.clone())),
            _ => None,
        };
        let values = self.in_their_order(name, params, args, scope, span);
        values.map_err(|error| match given {
            Some((over, given)) if matches!(error.code, "E0401" | "E0403") => {
                Box::new(self.repair_axis(*error, name, over, &given, span))
            }
            _ => error,
        })
    }

    fn in_their_order(
        &mut self,
        name: &str,
        params: &[Param],
        args: Args,
        scope: &Scope,
        span: Span,
    ) -> Result<Vec<(Value, Span)>> {
        let given = args.positional.len();
        if given > params.len() {
            let extra = args.positional[params.len()].1;
            return Err(Box::new(self.too_many(name, params, given, extra)));
        }
        let mut slots: Vec<Option<(Value, Span)>> = args.positional.into_iter().map(Some).collect();
        slots.resize_with(params.len(), || None);
        for (ident, value) in args.named {
            let at = params.iter().position(
                |param| matches!(&param.pattern, Pattern::Name(p) if p.name == ident.name),
            );
            let Some(at) = at else {
                return Err(Box::new(no_parameter(name, params, &ident)));
            };
            if slots[at].is_some() {
                return fail(
                    "E0403",
                    ident.span,
                    format!("`{}` is given twice", ident.name),
                );
            }
            slots[at] = Some((value, ident.span));
        }
        let mut values = Vec::with_capacity(params.len());
        for (param, slot) in params.iter().zip(slots) {
            match (slot, &param.default) {
                (Some(value), _) => {
                    if let Pattern::Name(name) = &param.pattern {
                        scope.define(name.name.clone(), value.0.clone());
                    }
                    values.push(value);
                }
                (None, Some(default)) => {
                    let value = self.eval(default, scope)?;
                    values.push((value, default.span));
                }
                (None, None) => {
                    return Err(Box::new(self.too_few(name, params, param, &values, span)));
                }
            }
        }
        Ok(values)
    }

    fn too_many(&self, name: &str, params: &[Param], given: usize, extra: Span) -> Diagnostic {
        let takes = count(params.len(), "argument");
        let message = format!("`{name}` takes {takes}, but {given} are given");
        let diagnostic = Diagnostic::error("E0401", extra, message);
        if let [param] = params
            && let Pattern::Tuple(parts, _) = &param.pattern
            && parts.len() == given
        {
            let names: Vec<String> = parts.iter().map(|part| self.text(part.span())).collect();
            let names = names.join(", ");
            return diagnostic.label(param.span, "one tuple").help_edit(
                format!("`fn {names} -> …` takes {given}"),
                param.span,
                names,
            );
        }
        match (params.first(), params.last()) {
            (Some(first), Some(last)) => {
                diagnostic.label(first.span.to(last.span), "its parameters")
            }
            _ => diagnostic,
        }
    }

    /// `param` has neither an argument nor a default; `values`: those of the params before it.
    fn too_few(
        &self,
        name: &str,
        params: &[Param],
        param: &Param,
        values: &[(Value, Span)],
        span: Span,
    ) -> Diagnostic {
        let wants = format!("`{name}` wants a value for `{}`", self.text(param.span));
        let diagnostic =
            Diagnostic::error("E0401", span, wants).label(param.span, "this parameter");
        if params.len() > 1
            && let [(Value::Tuple(parts), _)] = values
            && parts.len() == params.len()
        {
            let names: Vec<String> = params.iter().map(|param| self.text(param.span)).collect();
            return diagnostic.help(format!(
                "a tuple is one value; a function of one tuple is written `fn ({}) -> …`",
                names.join(", ")
            ));
        }
        let given = values.first().map(|(value, _)| value);
        self.repair_call(diagnostic, name, params, given)
    }
}

/// An argument with a name that no parameter has.
fn no_parameter(name: &str, params: &[Param], ident: &Ident) -> Diagnostic {
    let names: Vec<&str> = params
        .iter()
        .filter_map(|param| match &param.pattern {
            Pattern::Name(name) => Some(&*name.name),
            _ => None,
        })
        .collect();
    let message = format!("`{name}` has no parameter `{}`", ident.name);
    let diagnostic = Diagnostic::error("E0403", ident.span, message);
    let near = crate::slips::argument(&ident.name, &names)
        .or_else(|| nearest(&ident.name, names.iter().copied()));
    match near {
        Some(near) => diagnostic.help_edit(format!("did you mean `{near}`?"), ident.span, near),
        None => diagnostic.note(format!("its parameters are {}", names.join(", "))),
    }
}
