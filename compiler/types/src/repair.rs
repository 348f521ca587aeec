//! The help of messages about values of the wrong size or kind: what the script would have to say
//! instead, as an edit wherever its text alone tells what was meant.

use crate::Elaborator;
use crate::call::Args;
use crate::error::show_type;
use crate::scope::Scope;
use crate::slips::{AlongAxis, Over, along, names_axis};
use crate::value::{Dim, Tensor, TensorType, Value};
use aec_runtime::Elem;
use aec_syntax::ast::{BinaryOp, Expr, ExprKind, Ident, Param, Pattern, TypeExpr};
use aec_syntax::{Diagnostic, Help, Label, Span};

impl Elaborator {
    /// Whether `a * b`, which does not fit entry by entry, is the product of a matrix with a vector
    /// or matrix.
    pub(crate) fn is_product(&self, a: &Tensor, b: &Tensor, span: Span) -> bool {
        a.ty.rank() == 2
            && matches!(b.ty.rank(), 1 | 2)
            && a.ty.shape[1].size == b.ty.shape[0].size
            && self.text(span).contains('*')
    }

    /// Two operands whose sizes `a` and `b` differ. A param that was declared by the name of the
    /// other size is the usual slip: `relu(W @ x + b)` with `param b: [D]`.
    pub(crate) fn repair_operands(
        &self,
        diagnostic: Diagnostic,
        a: (&Dim, Span),
        b: (&Dim, Span),
    ) -> Diagnostic {
        for ((mine, at), (other, _)) in [(a, b), (b, a)] {
            let (Some(origin), Some(wanted)) = (&mine.origin, &other.name) else {
                continue;
            };
            let name = self.text(at);
            let declared = format!("param {name}: [");
            if self.line_until(origin.span).trim_start() == declared
                && self
                    .line_from(origin.span)
                    .starts_with(&self.text(origin.span))
                && self.line_after(origin.span).starts_with(']')
            {
                let help = format!("to fit here, `{name}` must be declared `[{wanted}]`");
                return diagnostic.help_edit(help, origin.span, &**wanted);
            }
        }
        diagnostic
    }

    /// A size that a call fixed, `Auto(784, 32)`, against what came: the call with the size that
    /// came, if the number stands in it once.
    pub(crate) fn repair_fixed_size(
        &self,
        diagnostic: Diagnostic,
        wanted: &Dim,
        actual: &Dim,
    ) -> Diagnostic {
        let (Some(origin), Some(fixed), Some(came)) = (
            &wanted.origin,
            wanted.size.as_constant(),
            actual.size.as_constant(),
        ) else {
            return diagnostic;
        };
        let call = self.text(origin.span);
        let fixed = fixed.to_string();
        let places: Vec<usize> = call
            .match_indices(&fixed)
            .map(|(at, _)| at)
            .filter(|&at| {
                let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
                !call[..at].ends_with(part_of_word)
                    && !call[at + fixed.len()..].starts_with(part_of_word)
            })
            .collect();
        let whole = call.ends_with(')') && self.in_one_line(origin.span);
        let ([at], true) = (places.as_slice(), whole) else {
            return diagnostic;
        };
        let new = format!("{}{came}{}", &call[..*at], &call[at + fixed.len()..]);
        diagnostic.help_edit(format!("`{new}` takes a size of {came}"), origin.span, new)
    }

    /// A result of another shape than the declared one, if its sizes have names.
    pub(crate) fn repair_result(
        &self,
        diagnostic: Diagnostic,
        declared: &TypeExpr,
        ty: &TensorType,
    ) -> Diagnostic {
        let known = |dim: &Dim| dim.name.is_some() || dim.size.as_constant().is_none();
        if ty.shape.is_empty() || !ty.shape.iter().all(known) || ty.shape.iter().any(is_hidden) {
            return diagnostic;
        }
        let shown = show_type(ty);
        let shown = shown.split(" = ").next().unwrap_or_default().to_string();
        let help = format!("this body gives `-> {shown}`");
        diagnostic.help_edit(help, declared.span, shown)
    }

    /// A result's type that names a size which no parameter brings: what the body gives may have it.
    pub(crate) fn repair_unknown_size(
        &self,
        diagnostic: Diagnostic,
        declared: &TypeExpr,
    ) -> Diagnostic {
        let inside = diagnostic.labels.first().is_some_and(|label| {
            declared.span.start <= label.span.start && label.span.end <= declared.span.end
        });
        if diagnostic.code != "E0205" || !inside || !diagnostic.help.is_empty() {
            return diagnostic;
        }
        diagnostic.help(
            "a result has the sizes that its body gives: its type may be left out; one that the call chooses is declared in brackets, `fn f[k](x: [n]) -> [k]`",
        )
    }

    /// `a / s @ x` with a scalar s, read from left to right: `@` comes first.
    pub(crate) fn repair_order(
        &self,
        mut diagnostic: Diagnostic,
        op: BinaryOp,
        (first, at): (&Value, Span),
        second: &Expr,
    ) -> Diagnostic {
        let ExprKind::Binary {
            op: BinaryOp::MatMul,
            left,
            right,
            ..
        } = &second.kind
        else {
            return diagnostic;
        };
        let scalar = |label: &Label| label.span == left.span && label.text == "a scalar";
        if diagnostic.code != "E0302"
            || !matches!(op, BinaryOp::Mul | BinaryOp::Div)
            || first.tensor().is_some_and(Tensor::is_scalar)
            || !diagnostic.labels.iter().any(scalar)
        {
            return diagnostic;
        }
        let both = at.to(left.span);
        let meant = format!("({})", self.text(both));
        let rest = self.text(left.span.to(right.span));
        let rest = &rest[self.text(left.span).len()..];
        diagnostic.help = vec![Help {
            text: format!("`@` comes before `{}`: `{meant}{rest}`", op.symbol()),
            edit: Some((both, meant)),
        }];
        diagnostic
    }

    /// An index one past the end: the last entry is at one less. A negative one that is not written as
    /// one: only those count from the end.
    pub(crate) fn repair_index(
        &self,
        diagnostic: Diagnostic,
        at: i64,
        n: Option<i64>,
        span: Span,
    ) -> Diagnostic {
        let literal = self.text(span) == at.to_string();
        if at < 0 && !literal {
            return diagnostic.help("-1 counts from the end only where it is written: `x[-1]`");
        }
        let help = "indices start at 0, so the last entry is";
        match n {
            Some(n) if at == n && n > 0 => {
                let last = (n - 1).to_string();
                match literal {
                    true => diagnostic.help_edit(format!("{help} `{last}`"), span, last),
                    false => diagnostic.help(format!("{help} {last}")),
                }
            }
            _ => diagnostic,
        }
    }

    /// A call that lacks an argument: how it is written.
    pub(crate) fn repair_call(
        &self,
        diagnostic: Diagnostic,
        name: &str,
        params: &[Param],
        given: Option<&Value>,
    ) -> Diagnostic {
        let names: Option<Vec<&str>> = params
            .iter()
            .map(|param| match &param.pattern {
                Pattern::Name(name) => Some(&*name.name),
                Pattern::Wildcard(_) | Pattern::Tuple(..) | Pattern::Record(..) => None,
            })
            .collect();
        let Some(names) = names else {
            return diagnostic;
        };
        let call = format!("{name}({})", names.join(", "));
        let is_data =
            |value: &Value| matches!(value.tensor(), Some(Tensor { ty, .. }) if ty.rank() > 0);
        let sizes = params.iter().all(|param| param.ty.is_none());
        if sizes && name.starts_with(char::is_uppercase) && given.is_some_and(is_data) {
            return diagnostic.help(format!(
                "first the sizes make a model, `let m = {call}`; then the model takes data"
            ));
        }
        match name {
            // Training calls it, not the script.
            "loss" => diagnostic,
            _ => diagnostic.help(format!("it is called as `{call}`")),
        }
    }

    /// A call of a name that the script gave to something else than the library's function (N1).
    pub(crate) fn refuse_hiding(
        &self,
        callee: &Expr,
        value: &Value,
        scope: &Scope,
    ) -> crate::Result<()> {
        let ExprKind::Name(name) = &callee.kind else {
            return Ok(());
        };
        let called = matches!(
            value,
            Value::Fn(_)
                | Value::Builtin(_)
                | Value::Template(_)
                | Value::Model(_)
                | Value::Unknown
        );
        let hidden = self.prelude.lookup(name);
        if called
            || !matches!(hidden, Some(Value::Fn(_) | Value::Builtin(_)))
            || scope.lookup_below(name, &self.prelude).is_none()
        {
            return Ok(());
        }
        let message = format!(
            "`{name}` is {} here, which hides the function `{name}`",
            value.describe()
        );
        Err(Box::new(
            Diagnostic::error("E0310", callee.span, message).help("give the value another name"),
        ))
    }

    /// A field of a value that hides a module of the same name (N1), or the error as it was.
    pub(crate) fn explain_hiding(
        &self,
        error: Diagnostic,
        base: &Expr,
        value: &Value,
    ) -> std::result::Result<Diagnostic, Diagnostic> {
        let ExprKind::Name(name) = &base.kind else {
            return Err(error);
        };
        let module = self.script.lookup(name);
        if matches!(value, Value::Module(_)) || !matches!(module, Some(Value::Module(_))) {
            return Err(error);
        }
        let what = value.describe();
        Ok(error
            .note(format!(
                "`{name}` is {what} here, which hides the module `{name}`"
            ))
            .help("give the value another name"))
    }

    /// A record of a declared type is wanted, and something else is there.
    pub(crate) fn record_wanted<T>(
        &self,
        span: Span,
        declared: &str,
        fields: &[(&Ident, &TypeExpr)],
        got: &Value,
    ) -> crate::Result<T> {
        crate::error::wanted(span, &format!("a record `{declared}`"), got).map_err(|error| {
            let names = fields.iter().map(|(name, _)| format!("{} = …", name.name));
            let names: Vec<String> = names.collect();
            match got {
                Value::Tuple(parts) if parts.len() == fields.len() => {
                    Box::new(error.help(format!("its fields have names: `({})`", names.join(", "))))
                }
                _ => error,
            }
        })
    }

    /// An `if` on a tensor of bools, `if x > 0 then x else 0`: entry by entry it is `select`.
    pub(crate) fn repair_choice(
        &self,
        error: Diagnostic,
        test: &Value,
        parts: [Span; 3],
        choice: Span,
    ) -> Diagnostic {
        let bools = |tensor: &Tensor| tensor.ty.elem == Elem::Bool && tensor.ty.rank() > 0;
        if !test.tensor().is_some_and(bools) {
            return error;
        }
        let [condition, then, otherwise] = parts.map(|part| self.text(part));
        let help = "a choice entry by entry is `select(c, a, b)`";
        match self.in_one_line(choice) {
            true => {
                let new = format!("select({condition}, {then}, {otherwise})");
                error.help_edit(help, choice, new)
            }
            false => error.help(help),
        }
    }

    /// Operands of which one has an axis more, `x - mean_of_rows`: each row against the other, or
    /// against its entry.
    pub(crate) fn repair_ranks(
        &self,
        error: Diagnostic,
        (a, b): (&Tensor, &Tensor),
        spans: (Span, Span),
        whole: Span,
    ) -> Diagnostic {
        let (left, right) = (self.text(spans.0), self.text(spans.1));
        let between = self.text(Span {
            start: spans.0.end,
            end: spans.1.start,
            ..whole
        });
        let operator = between.trim();
        let (small, large) = if a.ty.rank() < b.ty.rank() {
            (a, b)
        } else {
            (b, a)
        };
        let ends_alike = large.ty.shape[large.ty.rank() - small.ty.rank()..]
            .iter()
            .zip(&small.ty.shape)
            .all(|(x, y)| x.size == y.size);
        let begins_alike = small.ty.rank() == 1 && large.ty.shape[0].size == small.ty.shape[0].size;
        let one_more = large.ty.rank() == small.ty.rank() + 1;
        // In brackets it would be no operand of its own.
        let plain = self.in_one_line(whole)
            && !operator.is_empty()
            && !operator.contains(['(', ')', '#'])
            && !left.contains("row ")
            && !right.contains("row ");
        if !one_more || !plain || !(ends_alike || begins_alike) {
            return error.help(match ends_alike {
                true => {
                    "only scalars repeat by themselves: write the function for one example and let the call map it, \
                     or repeat on purpose with `broadcast`"
                }
                false => "operators want equal shapes, or one side a scalar",
            });
        }
        let left_is_large = a.ty.rank() > b.ty.rank();
        let call = match (ends_alike, left_is_large) {
            (true, true) => format!("map(fn row -> row {operator} {right}, {left})"),
            (true, false) => format!("map(fn row -> {left} {operator} row, {right})"),
            (false, true) => format!("map(fn row, v -> row {operator} v, {left}, {right})"),
            (false, false) => format!("map(fn v, row -> v {operator} row, {left}, {right})"),
        };
        let each = match ends_alike {
            true => "each row",
            false => "each row with its number",
        };
        error.help_edit(
            format!(
                "only scalars repeat by themselves; {each}: `{call}`, or write a function of one example and \
                 let the call map it"
            ),
            whole,
            call,
        )
    }

    /// A call that is given an axis, `sum(x, axis = 0)`, by position or by name; the error as it
    /// was if there is none.
    pub(crate) fn repair_axis(
        &self,
        mut error: Diagnostic,
        name: &str,
        over: Over,
        given: &Args,
        call: Span,
    ) -> Diagnostic {
        let mut named = given.named.iter();
        let named = named.find(|(name, _)| names_axis(&name.name));
        let (x, axis) = match (given.positional.as_slice(), named) {
            ([x], Some((_, axis))) | ([x, (axis, _)], None) => (x, axis),
            _ => return error,
        };
        // Beside it, `keepdims = true` would make another shape.
        let alone = given.positional.len() + given.named.len() == 2;
        error.help.clear();
        error.notes.clear();
        let along_axis = AlongAxis {
            name,
            over,
            x: &self.text(x.1),
            rank: x.0.tensor().map(|tensor| tensor.ty.rank()),
            axis: axis.as_int().filter(|_| alone),
            call,
        };
        along(error, &along_axis)
    }

    /// What a function of one parameter goes over, by the parameter's type.
    pub(crate) fn goes_over(&self, params: &[Param]) -> Option<Over> {
        let [Param { ty: Some(ty), .. }] = params else {
            return None;
        };
        let ty = self.text(ty.span);
        let shape = ty.strip_prefix('?').unwrap_or(&ty).strip_prefix('[')?;
        match shape.strip_suffix(']')? {
            rest if rest.starts_with("..") => Some(Over::All),
            sizes if sizes.contains(',') => None,
            _ => Some(Over::Vector),
        }
    }

    /// A number in front of parentheses, `2(a + b)`: a product is meant.
    pub(crate) fn repair_factor(
        &self,
        diagnostic: Diagnostic,
        callee: &Value,
        call: Span,
    ) -> Diagnostic {
        let text = self.text(call);
        let Some((factor, rest)) = text.split_once('(').filter(|_| !self.in_library(call)) else {
            return diagnostic;
        };
        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        // The first parenthesis is the call's own if it is closed by the last.
        let mut depth = 1;
        let closed = rest.find(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let own = closed.is_some_and(|at| at + 1 == rest.len());
        if callee.tensor().is_none() || factor.is_empty() || !factor.chars().all(plain) || !own {
            return diagnostic;
        }
        let at = call.start + factor.len() as u32;
        let between = Span {
            start: at,
            end: at,
            ..call
        };
        diagnostic.help_edit("a product is written with `*`", between, " * ")
    }

    /// `assert (c, "text")`, a tuple.
    pub(crate) fn repair_assert(&self, diagnostic: Diagnostic, tuple: Span) -> Diagnostic {
        let text = self.text(tuple);
        let bare = text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'));
        match bare {
            Some(bare) if self.in_one_line(tuple) => {
                let help = format!("`assert` takes no parentheses: `assert {bare}`");
                diagnostic.help_edit(help, tuple, format!(" {bare}"))
            }
            _ => diagnostic.help("`assert` takes no parentheses"),
        }
    }

    /// Whether the text of a span can be written anew from [`Elaborator::text`]: what stands in
    /// several lines may need its line ends, and a string its blanks.
    pub(crate) fn in_one_line(&self, span: Span) -> bool {
        self.sources().borrow().text(span) == self.text(span)
    }

    /// The line of a span up to where it begins.
    pub(crate) fn line_until(&self, span: Span) -> String {
        let start = Span {
            start: 0,
            end: span.start,
            ..span
        };
        let sources = self.sources();
        let sources = sources.borrow();
        let before = sources.text(start);
        before.rsplit('\n').next().unwrap_or("").to_string()
    }

    /// The line of a span from where it ends.
    fn line_after(&self, span: Span) -> String {
        self.line_from(Span {
            start: span.end,
            ..span
        })
    }
}

/// A size that the script has no name for.
fn is_hidden(dim: &Dim) -> bool {
    dim.name.as_ref().is_some_and(|name| name.starts_with('_'))
}
