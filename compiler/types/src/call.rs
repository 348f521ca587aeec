//! Calls: what can be called and with which body, call paths, automap. How arguments come to their
//! parameters (`arguments`) and what a map over an axis is (`map`) have files of their own.

mod arguments;
mod map;

use crate::error::{fail, show_dim, wanted};
use crate::scope::Scope;
use crate::value::{Closure, Code, Dim, Value};
use crate::{Activation, Elaborator, Result};
use aec_syntax::ast::{Expr, Ident, Name, Param, TypeArg, TypeExpr, TypeKind};
use aec_syntax::{Diagnostic, Span};
pub(crate) use map::peel_type;
use rustc_hash::FxHashMap;
use std::hash::Hasher;
use std::rc::Rc;

/// Calls deeper than this are taken for recursion.
const MAX_DEPTH: usize = 200;

/// Evaluated arguments of a call.
#[derive(Default, Clone)]
pub struct Args {
    /// Those without a name, in their order.
    pub positional: Vec<(Value, Span)>,
    /// Those with one.
    pub named: Vec<(Ident, Value)>,
}

impl Args {
    pub(crate) fn of(values: &[Value], span: Span) -> Args {
        Args {
            positional: values.iter().map(|value| (value.clone(), span)).collect(),
            named: Vec::new(),
        }
    }
}

/// FNV-1a over bytes: the draw sites' hash, part of the documented stream.
pub(crate) fn site_hash(parts: &[&[u8]]) -> u64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for part in parts {
        hash.write(part);
        hash.write(&[0xff]);
    }
    hash.finish()
}

impl Elaborator {
    /// Calls any value that can be called.
    pub(crate) fn call_value(&mut self, callee: &Value, args: Args, span: Span) -> Result<Value> {
        match callee {
            Value::Fn(closure) => self.call_closure(&closure.clone(), args, span),
            Value::Builtin(id) => crate::builtins::call(self, *id, args, span),
            Value::Template(template) => self.instantiate(&template.clone(), args, span),
            Value::Model(_) => match self.member_value(callee, "apply")? {
                Some(apply) => self.call_value(&apply, args, span),
                None => Err(Box::new(no_apply(callee, span))),
            },
            Value::Unknown => Ok(Value::Unknown),
            Value::Unit
            | Value::Tensor(_)
            | Value::Token(_)
            | Value::Maybe(_)
            | Value::Str(_)
            | Value::Tuple(_)
            | Value::Record(_)
            | Value::List(_)
            | Value::Module(_)
            | Value::Distribution(_)
            | Value::Ragged(_)
            | Value::Tree(_)
            | Value::Vocab(_) => wanted(span, "a function", callee)
                .map_err(|error| Box::new(self.repair_factor(*error, callee, span))),
        }
    }

    /// Calls a function value on plain values.
    pub(crate) fn apply(&mut self, callee: &Value, values: &[Value], span: Span) -> Result<Value> {
        self.call_value(callee, Args::of(values, span), span)
    }

    fn call_closure(&mut self, closure: &Rc<Closure>, args: Args, span: Span) -> Result<Value> {
        self.host.check_interrupt()?;
        match &closure.code {
            Code::Native(native) => {
                if let Some((name, _)) = args.named.first() {
                    return fail(
                        "E0403",
                        name.span,
                        format!("`{}` takes no named arguments", closure.name),
                    );
                }
                let values: Vec<Value> = args
                    .positional
                    .into_iter()
                    .map(|(value, _)| value)
                    .collect();
                native(self, &values, span)
            }
            Code::Around(around) => (around.run)(self, args, span),
            Code::Named(def, scope) => {
                let call = Callee {
                    name: &def.name.name,
                    params: &def.params,
                    result: def.result.as_ref(),
                    body: &def.body,
                    scope,
                    member: scope.is_of_model(),
                    sizes: &def.sizes,
                };
                self.call_source(&call, args, span)
            }
            Code::Lambda(lambda, scope) => {
                let call = Callee {
                    name: &closure.name,
                    params: &lambda.params,
                    result: None,
                    body: &lambda.body,
                    scope,
                    member: false,
                    sizes: &[],
                };
                self.call_source(&call, args, span)
            }
        }
    }

    /// Whether calls go deeper than `most`. Once they did, all calls are refused until the script
    /// is reached again: what looks at a body twice at each level would not end in a lifetime.
    pub(crate) fn too_deep(&mut self, most: usize) -> bool {
        let depth = self.activations.len();
        self.refusing = depth > most || (self.refusing && depth > 1);
        self.refusing
    }

    fn call_source(&mut self, callee: &Callee<'_>, args: Args, span: Span) -> Result<Value> {
        // Ctrl-C also ends a check, and the tracing of what is unrolled.
        self.host.check_interrupt()?;
        if self.too_deep(MAX_DEPTH) {
            return Err(Box::new(
                Diagnostic::error(
                    "E0404",
                    span,
                    format!("`{}` calls itself, or calls go too deep", callee.name),
                )
                .help("there is no recursion; `iterate`, `scan` and `fold` repeat"),
            ));
        }
        let path = self.enter(callee.name);
        self.activations.push(Activation {
            path,
            calls: FxHashMap::default(),
        });
        let (before, found) = (self.caller, self.found.len());
        if !span.is_none() && !self.in_library(span) {
            self.caller = span;
        }
        let result = self.bind_and_call(callee, args, span);
        self.caller = before;
        self.activations.pop();
        for at in found..self.found.len() {
            self.found[at] = *self.blame_caller(self.found[at].clone().into(), callee.name, span);
        }
        result.map_err(|diagnostic| self.blame_caller(diagnostic, callee.name, span))
    }

    /// An error inside the library points at the script's call first: that is what the user can
    /// change.
    fn blame_caller(
        &self,
        mut diagnostic: Box<Diagnostic>,
        name: &str,
        span: Span,
    ) -> Box<Diagnostic> {
        if span.is_none() || !self.in_library(diagnostic.span()) || self.in_library(span) {
            return diagnostic;
        }
        for label in &mut diagnostic.labels {
            label.primary = false;
        }
        let text = format!("in this call of `{name}`");
        diagnostic.labels.insert(
            0,
            aec_syntax::diagnostic::Label {
                span,
                text,
                primary: true,
            },
        );
        diagnostic
    }

    /// The place in the script that a failure while running is blamed on.
    pub(crate) fn blamed(&self, span: Span) -> Span {
        match self.in_library(span) && !self.caller.is_none() {
            true => self.caller,
            false => span,
        }
    }

    /// Whether a place is in the library, which a user cannot change.
    pub(crate) fn in_library(&self, span: Span) -> bool {
        self.sources
            .borrow()
            .get(span.file)
            .and_then(|file| file.name.strip_prefix('<'))
            // `<1>` is a line of a REPL.
            .is_some_and(|name| !name.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// The call path of a call of `name` from here: the callee's name and its ordinal among the
    /// calls of that name in the same function (SEMANTICS.md R1).
    fn enter(&mut self, name: &Name) -> u64 {
        let Some(activation) = self.activations.last_mut() else {
            return 0;
        };
        let count = activation.calls.entry(name.clone()).or_insert(0);
        let ordinal = *count;
        *count += 1;
        site_hash(&[
            &activation.path.to_le_bytes(),
            name.as_bytes(),
            &ordinal.to_le_bytes(),
        ])
    }

    fn bind_and_call(&mut self, callee: &Callee<'_>, args: Args, span: Span) -> Result<Value> {
        let scope = callee.scope.child();
        let values = self.arguments(callee.name, callee.params, args, &scope, span)?;
        self.call_mapped(callee, values, span)
    }

    /// Calls a body, mapped over the axes that the arguments have beyond the declared ones.
    fn call_mapped(
        &mut self,
        callee: &Callee<'_>,
        values: Vec<(Value, Span)>,
        span: Span,
    ) -> Result<Value> {
        let mut values = values;
        let mut unread = false;
        for (param, (value, at)) in callee.params.iter().zip(&mut values) {
            if let (Some(ty), Value::List(_)) = (&param.ty, &*value)
                && self.takes_packed(ty)?
                && let Some(packed) = self.packed(value, *at)?
            {
                unread |= matches!(packed, Value::Unknown);
                *value = packed;
            }
        }
        if unread {
            // Sequences that are not read while checking: the body may still be wrong.
            self.call_body(callee, values, span)?;
            return Ok(Value::Unknown);
        }
        let mut frame: Option<(Vec<Dim>, Span)> = None;
        let mut mapped = vec![false; values.len()];
        for (at, (param, (value, at_span))) in callee.params.iter().zip(&values).enumerate() {
            let Some(ty) = &param.ty else { continue };
            let own = self.frame_of(ty, value)?;
            if own.is_empty() {
                continue;
            }
            mapped[at] = true;
            match &frame {
                None => frame = Some((own, *at_span)),
                Some((first, first_span)) => {
                    let same = crate::value::may_agree(first, &own);
                    if !same {
                        return Err(Box::new(self.unequal_frames(
                            callee.name,
                            first,
                            *first_span,
                            &own,
                            *at_span,
                            span,
                        )));
                    }
                }
            }
        }
        let Some((frame, _)) = frame else {
            return self.call_body(callee, values, span);
        };
        // Constants become real where one is wanted before they are taken apart (F7).
        for (param, (value, at)) in callee.params.iter().zip(&mut values) {
            if let Some(ty) = &param.ty {
                *value = self.reals_where_wanted(ty, value, *at)?;
            }
        }
        let is_batch = callee.member;
        let dim = frame[0].clone();
        let args: Vec<(Value, bool)> = values
            .iter()
            .zip(&mapped)
            .map(|((value, _), &m)| (value.clone(), m))
            .collect();
        let spans: Vec<Span> = values.iter().map(|(_, span)| *span).collect();
        self.map_over(&dim, &args, is_batch, span, |elaborator, peeled| {
            let values = peeled.iter().cloned().zip(spans.iter().copied()).collect();
            elaborator.call_mapped(callee, values, span)
        })
    }

    fn unequal_frames(
        &self,
        name: &str,
        a: &[Dim],
        a_span: Span,
        b: &[Dim],
        b_span: Span,
        span: Span,
    ) -> Diagnostic {
        let show = |frame: &[Dim]| frame.iter().map(show_dim).collect::<Vec<_>>().join(", ");
        Diagnostic::error("E0309", span, format!("the arguments of `{name}` cannot be mapped together"))
            .label(a_span, format!("mapped over [{}]", show(a)))
            .label(b_span, format!("mapped over [{}]", show(b)))
            .help("arguments with extra leading axes must all have the same ones; one without is used for every element")
    }

    fn call_body(
        &mut self,
        callee: &Callee<'_>,
        values: Vec<(Value, Span)>,
        span: Span,
    ) -> Result<Value> {
        // A missing scalar where a plain one is declared: the whole call gives nothing (P10).
        let missing = |(param, (value, _)): (&Param, &(Value, Span))| {
            matches!(value, Value::Maybe(_))
                && param
                    .ty
                    .as_ref()
                    .is_some_and(crate::declared::is_plain_scalar)
        };
        if callee.params.iter().zip(&values).any(missing) {
            let lifted: Vec<bool> = callee.params.iter().zip(&values).map(missing).collect();
            let hidden: Vec<Value> = values
                .iter()
                .zip(&lifted)
                .map(|((value, _), &lifted)| if lifted { value.clone() } else { Value::Unit })
                .collect();
            return self.lifted(&hidden, span, |elaborator, bare| {
                let values = values
                    .iter()
                    .zip(bare.iter().zip(&lifted))
                    .map(|((value, at), (bare, &lifted))| {
                        (if lifted { bare } else { value }.clone(), *at)
                    })
                    .collect();
                elaborator.call_body(callee, values, span)
            });
        }
        let scope = callee.scope.child();
        let matched = self.match_params(callee.params, &values, &scope)?;
        let spans: Vec<Span> = values.iter().map(|(_, span)| *span).collect();
        self.sizes_of_results(callee.params, &matched, &spans, callee.body, &scope)?;
        for size in callee.sizes {
            if let TypeArg::Type(TypeExpr {
                kind: TypeKind::Path(path),
                span: declared,
            }) = size
                && scope.lookup_local(&path[0].name).is_none()
            {
                let (name, size) = (callee.name, &path[0].name);
                let message = format!("`{name}` takes the size `{size}` in brackets");
                return Err(Box::new(
                    Diagnostic::error("E0401", span, message)
                        .label(*declared, "declared here")
                        .help(format!("`{name}[3](…)` is called with {size} = 3")),
                ));
            }
        }
        for ((param, value), (_, span)) in callee.params.iter().zip(matched).zip(&values) {
            self.bind_pattern(&param.pattern, value, *span, &scope)?;
        }
        let result = self.eval(callee.body, &scope)?;
        match callee.result {
            Some(ty) => self
                .match_result(ty, result, body_span(callee.body), &scope)
                .map_err(|error| Box::new(self.repair_unknown_size(*error, ty))),
            None => Ok(result),
        }
    }

    /// Calls a function value from outside (an `on_epoch` callback); the result is in memory.
    pub fn call(&mut self, f: &Value, args: &[Value], span: Span) -> Result<Value> {
        let frames = std::mem::take(&mut self.frames);
        if !self.checking() {
            self.push_statement_frame();
        }
        let result = self
            .apply(f, args, span)
            .and_then(|value| self.materialize_one(value, span));
        self.frames = frames;
        result
    }

    /// A member of a model as a function value, or one of its params or sizes.
    pub fn member(&mut self, model: &Value, name: &str) -> Option<Value> {
        self.member_value(model, name).ok().flatten()
    }
}

/// What a call runs.
struct Callee<'a> {
    name: &'a Name,
    params: &'a [Param],
    result: Option<&'a TypeExpr>,
    body: &'a Expr,
    scope: &'a Scope,
    member: bool,
    sizes: &'a [TypeArg],
}

/// A model is called that has no `apply`.
fn no_apply(model: &Value, span: Span) -> Diagnostic {
    let message = format!(
        "{} has no `apply`, so it cannot be called",
        model.describe()
    );
    let error = Diagnostic::error("E0402", span, message);
    let Value::Model(made) = model else {
        return error;
    };
    // What other libraries call it.
    let theirs = ["forward", "call", "__call__"];
    match (theirs.iter()).find_map(|name| crate::scope::member(made, name)) {
        Some(member) => {
            let help = format!(
                "the member that makes a model callable is named `apply` and written without `fn`: `apply(…)` in \
                 place of `fn {}(…)`",
                member.name.name
            );
            error.label(member.name.span, "not called by itself").help(help)
        }
        None => error.help("a member `apply(x: [D]) = …` makes it callable; others are called by name, `m.encoder(x)`"),
    }
}

/// The place of a body's value: its last expression.
fn body_span(body: &Expr) -> Span {
    use aec_syntax::ast::{ExprKind, StmtKind};
    if let ExprKind::Block(stmts) = &body.kind
        && let Some(last) = stmts.last()
    {
        return match &last.kind {
            StmtKind::Expr(expr) => body_span(expr),
            _ => last.span,
        };
    }
    body.span
}

/// `3 arguments`.
pub(crate) fn count(n: usize, what: &str) -> String {
    match n {
        0 => format!("no {what}"),
        1 => format!("one {what}"),
        n => format!("{n} {what}s"),
    }
}
