//! Functions of the compiler around another function: `grad(f)`, `remat(f)`, `seeded(f, k)`,
//! `with_derivative(f, d)`. Their parameters are those of `f`, so that what names one, or leaves
//! out one that has a default, says the same to both.

use crate::call::Args;
use crate::scope::Scope;
use crate::value::{Around, Closure, Code, Value, Wrapping};
use crate::{Elaborator, Result};
use aec_syntax::Span;
use aec_syntax::ast::{Ident, Name, Param, Pattern};
use std::rc::Rc;

/// A function around `of`, with `behind` arguments more.
pub(crate) fn around(
    of: &Value,
    behind: usize,
    name: &str,
    span: Span,
    run: Box<Wrapping>,
) -> Value {
    Value::Fn(Rc::new(Closure {
        code: Code::Around(Around {
            of: of.clone(),
            behind,
            run,
        }),
        name: name.into(),
        span,
    }))
}

/// Whose parameters a function has.
pub(crate) struct Parameters {
    /// The function inside of all that is around it; of a model, its `apply`.
    of: Value,
    /// How many arguments without names come behind.
    pub(crate) behind: usize,
}

impl Parameters {
    /// The source of the parameters, where they have one: name, parameters, scope of defaults.
    fn source(&self) -> Option<(&Name, &[Param], &Scope)> {
        let Value::Fn(closure) = &self.of else {
            return None;
        };
        match &closure.code {
            Code::Named(def, scope) => Some((&def.name.name, &def.params, scope)),
            Code::Lambda(lambda, scope) => Some((&closure.name, &lambda.params, scope)),
            Code::Native(_) | Code::Around(_) => None,
        }
    }

    /// The parameters as they are declared, if they are.
    pub(crate) fn declared(&self) -> &[Param] {
        self.source().map_or(&[], |(_, params, _)| params)
    }

    /// The name of each parameter; a pattern has an empty one.
    pub(crate) fn names(&self) -> Vec<&str> {
        if let Value::Builtin(id) = &self.of {
            return id.params().to_vec();
        }
        let patterns = self.declared().iter().map(|param| &param.pattern);
        patterns
            .map(|pattern| match pattern {
                Pattern::Name(own) => &*own.name,
                Pattern::Wildcard(_) | Pattern::Tuple(..) | Pattern::Record(..) => "",
            })
            .collect()
    }

    /// The place of the parameter of a name.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.names().iter().position(|own| *own == name)
    }
}

impl Elaborator {
    /// Whose parameters a function has.
    pub(crate) fn parameters(&mut self, f: &Value) -> Result<Parameters> {
        let (mut of, mut behind) = (f.clone(), 0);
        loop {
            of = match &of {
                Value::Fn(closure) if let Code::Around(around) = &closure.code => {
                    behind += around.behind;
                    around.of.clone()
                }
                Value::Model(_) => match self.member_value(&of, "apply")? {
                    Some(apply) => apply,
                    None => return Ok(Parameters { of, behind }),
                },
                _ => return Ok(Parameters { of, behind }),
            };
        }
    }

    /// Arguments of a call with those before `most` in their order, defaults among them; named ones
    /// further on stay as they are, since their defaults may be made of those before.
    pub(crate) fn with_defaults(
        &mut self,
        parameters: &Parameters,
        args: Args,
        most: usize,
        span: Span,
    ) -> Result<Args> {
        let own = args.positional.len().saturating_sub(parameters.behind);
        if own >= most {
            return Ok(args);
        }
        let Some((name, params, scope)) = parameters.source() else {
            return Ok(args);
        };
        let Args {
            mut positional,
            named,
        } = args;
        let behind = positional.split_off(own);
        // A name that there is none of is told of by the call itself, which knows all names.
        let later = |(ident, _): &(Ident, Value)| match parameters.place(&ident.name) {
            Some(place) => place >= most,
            None => most < params.len(),
        };
        let (later, first) = named.into_iter().partition(later);
        let given = Args {
            positional,
            named: first,
        };
        let most = most.min(params.len());
        let all = self.arguments(name, &params[..most], given, &scope.child(), span)?;
        let positional = all.into_iter().chain(behind).collect();
        Ok(Args {
            positional,
            named: later,
        })
    }

    /// All arguments of a call in their order.
    pub(crate) fn in_order(
        &mut self,
        f: &Value,
        args: Args,
        span: Span,
    ) -> Result<Vec<(Value, Span)>> {
        if args.named.is_empty() {
            return Ok(args.positional);
        }
        let parameters = self.parameters(f)?;
        let args = self.with_defaults(&parameters, args, usize::MAX, span)?;
        match args.named.first() {
            None => Ok(args.positional),
            Some((name, _)) => crate::error::fail(
                "E0403",
                name.span,
                format!("{} has no parameter `{}`", f.describe(), name.name),
            ),
        }
    }
}
