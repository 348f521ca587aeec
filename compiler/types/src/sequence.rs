//! Values in a row: ranges, list literals and what becomes a tensor of them, comprehensions, and
//! what a `for` walks.

use crate::error::{fail, size_mismatch, wanted};
use crate::host::EffectArgs;
use crate::loops::with_axis;
use crate::scope::Scope;
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::Op;
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::{BinaryOp, Expr, ExprKind, Pattern};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

/// Comprehensions over compile-time sequences up to this length may be unrolled.
const MAX_UNROLL: usize = 4096;

/// Of a script's list, the values of so many items at the beginning are computed by one program, and
/// those of the others each by its own, which is most often the one before it again.
const TRACED_TOGETHER: usize = 16;

/// Comprehensions inside each other may come to so many elements before anything runs.
const MAX_ELEMENTS: usize = 1 << 16;

/// After so many more elements a run asks whether there is still memory.
const ELEMENTS_PER_LOOK: usize = 1 << 12;

/// Ranges up to this length are taken apart; longer ones are walked, not kept.
const MAX_ITEMS: i64 = 1 << 16;

/// Comprehensions of ints up to this length are worked out one by one, to be used as sizes.
const MAX_SIZES: usize = 64;

fn is_int_vector(value: &Value) -> bool {
    matches!(value, Value::Tensor(tensor) if tensor.ty.elem == Elem::I64 && tensor.ty.rank() == 1)
}

/// Whether each is the one before plus 1.
fn rising(ints: &[i64]) -> bool {
    ints.windows(2)
        .all(|pair| pair[0].checked_add(1) == Some(pair[1]))
        && ints.last() != Some(&i64::MAX)
}

/// What a comprehension or `for` walks.
pub(crate) enum Walk {
    /// Values known one by one.
    Items(Vec<Value>),
    /// The ints from one to another, more than anyone would keep as values.
    Ints(i64, i64),
    /// The first axis of a tensor, of words or of a `?`, or of all that a record holds.
    Axis(Value),
    /// The ints from a size to another, while they are symbolic.
    Sizes(crate::size::Size, crate::size::Size),
}

impl Elaborator {
    /// `a..b` as a tensor of ints.
    pub(crate) fn range(&mut self, a: &Value, b: &Value, span: Span) -> Result<Value> {
        if matches!(a, Value::Unknown) || matches!(b, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let (Some(start), Some(end)) = (a.as_size(), b.as_size()) else {
            let unknown = |value: &Value| {
                self.checking()
                    && matches!(value, Value::Tensor(t) if t.ty.elem.is_int() && t.is_scalar())
            };
            if unknown(a) || unknown(b) {
                let size = self.later_size("_");
                let ty = TensorType {
                    elem: Elem::I64,
                    shape: vec![Dim::of(size)].into(),
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
            self.counts_up(start, end, span)?;
            let count = end.saturating_sub(start);
            let ty = TensorType {
                elem: Elem::I64,
                shape: vec![Dim::of(crate::size::Size::constant(count))].into(),
            };
            if count > MAX_UNROLL as i64 {
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
            let values: Vec<i64> = (start..end).collect();
            let host = HostTensor::i64(&[values.len()], values);
            return Ok(Value::Tensor(Tensor {
                ty,
                repr: Repr::Static(Arc::new(host)),
            }));
        }
        if size.varies() && !self.checking() {
            let ints = self.steps(&Dim::of(size), &start, false, span)?;
            return Ok(Value::Tensor(ints));
        }
        let ty = TensorType {
            elem: Elem::I64,
            shape: vec![Dim::of(size)].into(),
        };
        Ok(Value::Tensor(Tensor {
            ty,
            repr: Repr::Unknown,
        }))
    }

    /// A range has no negative size (S6).
    fn counts_up(&self, start: i64, end: i64, span: Span) -> Result<()> {
        if start <= end {
            return Ok(());
        }
        let (text, shown) = (self.text(span), format!("{start}..{end}"));
        let range = match text == shown {
            true => shown.clone(),
            false => format!("{text} = {shown}"),
        };
        let message = format!("the range {range} ends before it begins");
        let error = Diagnostic::error("E0307", span, message);
        let down = format!(
            "reverse({}..{})",
            end.saturating_add(1),
            start.saturating_add(1)
        );
        let help = format!("a range counts up; `{down}` counts down from {start}");
        Err(Box::new(match text == shown {
            true => error.help_edit(help, span, down),
            false => error.help(help),
        }))
    }

    /// What a list literal is: a tensor if its items stack, else a list (F6).
    pub(crate) fn literal(
        &mut self,
        values: Vec<Value>,
        items: &[Expr],
        span: Span,
    ) -> Result<Value> {
        let list = Value::List(Rc::new(values.clone()));
        // What is not known before the script runs may be a tensor, and stack with the others.
        let tensor_or_unknown =
            |value: &Value| matches!(value, Value::Unknown) || value.tensor().is_some();
        if self.checking()
            && values.iter().any(|value| matches!(value, Value::Unknown))
            && values.iter().all(tensor_or_unknown)
        {
            return Ok(Value::Unknown);
        }
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
                let diagnostic = size_mismatch(
                    span,
                    &self.text(span),
                    (tensors[0], items[0].span),
                    (tensor, item.span),
                    None,
                );
                let entry = match tensor.ty.elem {
                    Elem::F32 => "",
                    Elem::I64 => "int",
                    elem => elem.name(),
                };
                let mark = if matches!(values[0], Value::Maybe(_)) {
                    "?"
                } else {
                    ""
                };
                return Err(Box::new(diagnostic.help(format!(
                    "rows of a matrix are equally long; sequences of different lengths are a list, \
                     and say so: `let xs: list[{mark}{entry}[_]] = …`",
                ))));
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
    pub(crate) fn stack_tensors(
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
        let ty = TensorType {
            elem,
            shape: shape.into(),
        };
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
                self.counts_up(from, to, iter.span)?;
                if to.saturating_sub(from) > MAX_ITEMS {
                    return Ok(Walk::Ints(from, to));
                }
                return Ok(Walk::Items((from..to).map(Value::int).collect()));
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
                | Repr::Stored(_)
                | Repr::Traced(..)
                | Repr::Symbolic(_) => Ok(Walk::Axis(value.clone())),
            },
            // A table, whose rows are records, or trees.
            Value::Record(_) | Value::Tree(_) if crate::rows::first_axis(&value).is_some() => {
                Ok(Walk::Axis(value))
            }
            Value::Unknown => Ok(Walk::Items(vec![Value::Unknown])),
            other => wanted(
                iter.span,
                "something to walk (a range, a list, a tensor's first axis)",
                other,
            ),
        }
    }

    pub(crate) fn materialize_if_allowed(&mut self, value: Value, span: Span) -> Result<Value> {
        if self.effects_allowed() {
            self.materialize_one(value, span)
        } else {
            Ok(value)
        }
    }

    /// Counts the elements of the comprehensions inside of a piece of work, from the outermost on.
    pub(crate) fn counting_elements<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let outermost = self.elements.is_none();
        self.elements.get_or_insert(0);
        let value = work(self);
        if outermost {
            self.elements = None;
        }
        value
    }

    /// Counts an element that a comprehension comes to. False once a check has seen so many that
    /// the others tell it nothing; a trace must not have that many, and a run goes on while there is
    /// memory.
    fn counts_element(&mut self, span: Span) -> Result<bool> {
        let count = self.elements.unwrap_or(0) + 1;
        self.elements = Some(count);
        let running = self.effects_allowed() && !self.checking();
        if running && count.is_multiple_of(ELEMENTS_PER_LOOK) {
            self.host.check_memory(span)?;
        }
        if running || count <= MAX_ELEMENTS {
            return Ok(true);
        }
        if self.effects_allowed() {
            return Ok(false);
        }
        fail(
            "E0305",
            span,
            format!(
                "more than {MAX_ELEMENTS} elements are to be written out, those inside counted"
            ),
        )
    }

    /// `[e for p in xs if c]`: a map over the walked axis where the elements are tensors, else a
    /// list, element by element.
    pub(crate) fn comprehension(
        &mut self,
        element: &Expr,
        pattern: &Pattern,
        iter: &Expr,
        condition: Option<&Expr>,
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let walk = self.walk(iter, scope)?;
        let long = match walk {
            Walk::Ints(from, to) => Some(from..to),
            _ => None,
        };
        let walk = match long.clone() {
            Some(ints) => {
                let ends = (Value::int(ints.start), Value::int(ints.end));
                Walk::Axis(self.range(&ends.0, &ends.1, iter.span)?)
            }
            None => walk,
        };
        let round = |elaborator: &mut Elaborator, item: &Value| {
            elaborator.host.check_interrupt()?;
            if !elaborator.counts_element(span)? {
                return Ok(Value::Unknown);
            }
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
            // In a script the ends are known when it runs, and with them each int.
            Walk::Sizes(from, to) if self.checking() && self.effects_allowed() => {
                let dim = Dim::of(to.minus(from));
                let item = Value::size(self.later_size("_"));
                let value = round(self, &item)?;
                return Ok(match value {
                    Value::Tensor(tensor) if condition.is_none() => Value::Tensor(Tensor {
                        ty: with_axis(&tensor.ty, &dim),
                        repr: Repr::Unknown,
                    }),
                    _ => Value::Unknown,
                });
            }
            Walk::Axis(value) => match crate::rows::first_axis(value) {
                Some(dim) => (dim, value.clone()),
                None => return wanted(iter.span, "something to walk", value),
            },
            Walk::Ints(from, to) => {
                return wanted(iter.span, "a shorter range", &Value::int(to - from));
            }
            Walk::Sizes(from, to) => {
                let ends = (Value::size(from.clone()), Value::size(to.clone()));
                let ints = self.range(&ends.0, &ends.1, iter.span)?;
                (Dim::of(to.minus(from)), ints)
            }
            Walk::Items(items) => {
                let ints: Option<Vec<i64>> = items.iter().map(Value::as_int).collect();
                match ints.filter(|ints| condition.is_none() && ints.len() > 1) {
                    // A range, not a table of ints: passes see where its ints lead.
                    Some(ints) if rising(&ints) && !self.checking() => {
                        let ends = (ints[0], ints[0] + ints.len() as i64);
                        let ends = (Value::int(ends.0), Value::int(ends.1));
                        let range = self.range(&ends.0, &ends.1, iter.span)?;
                        (Dim::known(ints.len()), range)
                    }
                    Some(ints) => {
                        let dim = Dim::known(ints.len());
                        let ty = TensorType {
                            elem: Elem::I64,
                            shape: vec![dim.clone()].into(),
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
                        let list = Value::List(Rc::new(items.clone()));
                        let packed = match condition {
                            None => self.over_lists(&[&list], span, &mut |elaborator, items| {
                                round(elaborator, &items[0])
                            })?,
                            Some(_) => None,
                        };
                        if let Some(value) = packed {
                            return Ok(value);
                        }
                        return self.unrolled(
                            &mut items.iter().cloned(),
                            condition,
                            pattern,
                            iter.span,
                            scope,
                            span,
                            &round,
                        );
                    }
                }
            }
        };
        let (dim, over, walk, condition) = match (condition, walk) {
            (Some(test), Walk::Axis(value)) if self.effects_allowed() && !self.checking() => {
                let before = self.snapshot();
                match self.kept(&value, &dim, test, pattern, iter.span, scope) {
                    Ok(kept) => {
                        let rows = crate::rows::row_count(&kept).unwrap_or(0);
                        (Dim::known(rows), kept.clone(), Walk::Axis(kept), None)
                    }
                    // The condition wants its entry before anything runs: entry by entry, then.
                    Err(_) => {
                        self.host.check_interrupt()?;
                        self.restore(before);
                        let at = iter.span;
                        return self.listed(&value, condition, pattern, at, scope, span, &round);
                    }
                }
            }
            (Some(_), Walk::Axis(value)) if self.effects_allowed() => {
                return self.listed(&value, condition, pattern, iter.span, scope, span, &round);
            }
            (condition, walk) => (dim, over, walk, condition),
        };
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
                Walk::Axis(_) | Walk::Ints(..) | Walk::Sizes(..) => {
                    crate::leaves::is_only_tensors(&value)
                }
            };
            if stacks {
                Ok(value)
            } else {
                fail("E0305", span, "the elements are not tensors")
            }
        });
        match (mapped, &walk) {
            // A few ints that are known while compiling stay so: they may be sizes.
            (Ok(value), Walk::Items(items))
                if items.len() <= MAX_SIZES && is_int_vector(&value) =>
            {
                let after = self.snapshot();
                self.restore(before);
                match self.unrolled(
                    &mut items.iter().cloned(),
                    None,
                    pattern,
                    iter.span,
                    scope,
                    span,
                    &round,
                ) {
                    Ok(known) if known.host().is_some() => Ok(known),
                    _ => {
                        self.restore(after);
                        Ok(value)
                    }
                }
            }
            (Ok(value), _) => Ok(value),
            (Err(_), Walk::Items(items)) => {
                self.restore(before);
                self.unrolled(
                    &mut items.iter().cloned(),
                    None,
                    pattern,
                    iter.span,
                    scope,
                    span,
                    &round,
                )
            }
            (Err(_), Walk::Axis(value)) if self.effects_allowed() => {
                self.restore(before);
                let at = iter.span;
                match long.filter(|_| !self.checking()) {
                    // Known one by one, as those of a shorter range.
                    Some(ints) => {
                        let mut items = ints.map(Value::int);
                        self.unrolled(&mut items, None, pattern, at, scope, span, &round)
                    }
                    None => self.listed(value, None, pattern, at, scope, span, &round),
                }
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The rows of a script's tensor for which a condition holds, found in one mapped call.
    fn kept(
        &mut self,
        rows: &Value,
        dim: &Dim,
        condition: &Expr,
        pattern: &Pattern,
        at: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let over = [(rows.clone(), true)];
        let flags = self.map_over(dim, &over, false, condition.span, |elaborator, row| {
            let inner = scope.child();
            elaborator.bind_pattern(pattern, row[0].clone(), at, &inner)?;
            let test = elaborator.eval(condition, &inner)?;
            match &test {
                Value::Tensor(t) if t.is_scalar() && t.ty.elem == Elem::Bool => Ok(test),
                other => wanted(condition.span, "a condition (a bool)", other),
            }
        })?;
        let args = self.materialize(&[rows.clone(), flags], at)?;
        let args = EffectArgs {
            positional: args,
            named: Vec::new(),
        };
        let host = self.host.clone();
        host.effect(self, "core.filter", args, at)
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
        let count = crate::rows::row_count(&rows).unwrap_or(0);
        let mut items = (0..count).filter_map(|at| crate::rows::row(&rows, at));
        self.unrolled(&mut items, condition, pattern, at, scope, span, round)
    }

    /// The values for items one by one, a tensor if they are alike.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn unrolled(
        &mut self,
        items: &mut dyn Iterator<Item = Value>,
        condition: Option<&Expr>,
        pattern: &Pattern,
        at: Span,
        scope: &Scope,
        span: Span,
        round: &dyn Fn(&mut Elaborator, &Value) -> Result<Value>,
    ) -> Result<Value> {
        let mut values = Vec::new();
        for item in items {
            self.host.check_interrupt()?;
            if let Some(condition) = condition {
                let inner = scope.child();
                self.bind_pattern(pattern, item.clone(), at, &inner)?;
                let test = self.eval(condition, &inner)?;
                match self.decide(&test, condition.span)? {
                    Some(true) => {}
                    Some(false) => continue,
                    // In a script the condition is known when it runs.
                    None if self.checking() && self.effects_allowed() => {
                        round(self, &item)?;
                        return Ok(Value::Unknown);
                    }
                    None => {
                        return fail(
                            "E0305",
                            condition.span,
                            "this condition is not known before anything runs",
                        );
                    }
                }
            }
            let value = round(self, &item)?;
            values.push(
                match self.effects_allowed() && values.len() >= TRACED_TOGETHER {
                    true => self.materialize_one(value, span)?,
                    false => value,
                },
            );
        }
        self.stack(&Value::List(Rc::new(values)), span)
    }
}
