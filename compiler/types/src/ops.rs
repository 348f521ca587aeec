//! Operators on tensors: promotion, scalar broadcasting, constant folding, `@`.

use crate::error::{size_mismatch, wanted};
use crate::fold::{comparison, fold, fold_ints, fold_sizes, in_memory, scalar, static_unary};
use crate::value::{Dim, Repr, Shape, Tensor, TensorType, Value};
use crate::{Elaborator, Result, vanishing};
use aec_ir::{
    Binary, Function, Label, Labels, Literal, Op, Reduction, Type, Unary, Value as IrValue,
};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::BinaryOp;
use aec_syntax::{Diagnostic, Span};
use std::sync::Arc;

/// An operand and where it stands.
pub(crate) type Operand<'a> = (&'a Value, Span);

impl Tensor {
    /// Whether it is a compile-time int: a literal, a size, or made of these. It becomes real
    /// where one is wanted (SEMANTICS.md F7).
    pub(crate) fn is_static_int(&self) -> bool {
        self.ty.elem.is_int()
            && matches!(
                self.repr,
                Repr::Static(_) | Repr::Symbolic(_) | Repr::Choice(_)
            )
    }

    /// Whether it is a float constant that takes whichever float type is wanted.
    fn is_float_constant(&self) -> bool {
        self.ty.elem.is_float() && matches!(self.repr, Repr::Static(_))
    }

    pub(crate) fn is_scalar(&self) -> bool {
        self.ty.shape.is_empty()
    }
}

/// The value as a tensor, or an error that says what is wanted.
pub(crate) fn as_tensor(value: &Value, span: Span, what: &str) -> Result<Tensor> {
    match value {
        Value::Tensor(tensor) => Ok(tensor.clone()),
        Value::Unit
        | Value::Token(_)
        | Value::Maybe(_)
        | Value::Str(_)
        | Value::Tuple(_)
        | Value::Record(_)
        | Value::List(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Model(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Ragged(_)
        | Value::Tree(_)
        | Value::Vocab(_)
        | Value::Unknown => wanted(span, what, value),
    }
}

/// Repeats a scalar to dims.
fn splat(f: &mut Function, value: IrValue, dims: &[usize], span: Span) -> IrValue {
    if dims.is_empty() {
        value
    } else {
        f.broadcast_leading(value, dims, span)
    }
}

fn labels(rank: usize) -> Labels {
    (0..rank as Label).collect()
}

/// Whether a list takes the rows of a tensor behind it.
fn collects(list: &[Value], value: &Value) -> bool {
    list.is_empty() || crate::ragged::is_ragged(value)
}

impl Elaborator {
    /// Converts a tensor to another element type.
    pub(crate) fn convert(&mut self, tensor: &Tensor, elem: Elem, span: Span) -> Result<Tensor> {
        if tensor.ty.elem == elem {
            return Ok(tensor.clone());
        }
        let ty = TensorType {
            elem,
            shape: tensor.ty.shape.clone(),
        };
        if let Repr::Static(host) = &tensor.repr {
            let held = if elem.is_float() { Elem::F64 } else { elem };
            return Ok(Tensor {
                ty,
                repr: Repr::Static(crate::trace::converted(host, held)),
            });
        }
        if let Repr::Choice(choice) = &tensor.repr {
            let then = self.convert(&choice.then, elem, span)?;
            let otherwise = self.convert(&choice.otherwise, elem, span)?;
            return self.select(&choice.condition, then, otherwise, (span, span), span);
        }
        self.emit(Op::Convert, &[tensor], ty, span)
    }

    /// A choice of ints as a tensor of ints.
    pub(crate) fn chosen(&mut self, tensor: &Tensor, span: Span) -> Result<Tensor> {
        match &tensor.repr {
            Repr::Choice(choice) => {
                let (then, otherwise) = (choice.then.clone(), choice.otherwise.clone());
                self.select(&choice.condition, then, otherwise, (span, span), span)
            }
            _ => Ok(tensor.clone()),
        }
    }

    /// Brings both operands to one element type, as F7 allows.
    pub(crate) fn promote(
        &mut self,
        a: Tensor,
        b: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<(Tensor, Tensor)> {
        let (ea, eb) = (a.ty.elem, b.ty.elem);
        if ea == eb {
            return Ok((a, b));
        }
        let takes = |from: &Tensor, to: Elem| {
            (from.is_static_int() && to != Elem::Bool)
                || (from.is_float_constant() && to.is_float())
        };
        if takes(&a, eb) {
            return Ok((self.convert(&a, eb, spans.0)?, b));
        }
        if takes(&b, ea) {
            return Ok((a, self.convert(&b, ea, spans.1)?));
        }
        let mut diagnostic = Diagnostic::error(
            "E0303",
            span,
            format!("element types do not match in `{}`", self.text(span)),
        )
        .label(spans.0, a.ty.to_string())
        .label(spans.1, b.ty.to_string());
        diagnostic = match (ea, eb) {
            (Elem::Bool, _) => diagnostic.help("`real(…)` or `int(…)` turns a bool into 0 or 1"),
            (_, Elem::Bool) => diagnostic.help("`real(…)` or `int(…)` turns a bool into 0 or 1"),
            (Elem::F32, Elem::F64) | (Elem::F64, Elem::F32) => {
                diagnostic.help("convert one side on purpose: `f32(…)` or `f64(…)`")
            }
            (a, _) if a.is_int() => {
                let inner = self.text(spans.0);
                diagnostic.help_edit(
                    format!("`real({inner})` converts the int"),
                    spans.0,
                    format!("real({inner})"),
                )
            }
            _ => {
                let inner = self.text(spans.1);
                diagnostic.help_edit(
                    format!("`real({inner})` converts the int"),
                    spans.1,
                    format!("real({inner})"),
                )
            }
        };
        Err(Box::new(diagnostic))
    }

    /// The shape of an elementwise result: equal shapes, or one side a scalar (A6).
    fn joint_shape(
        &mut self,
        a: &Tensor,
        b: &Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Shape> {
        if b.is_scalar() {
            return Ok(a.ty.shape.clone());
        }
        if a.is_scalar() {
            return Ok(b.ty.shape.clone());
        }
        let between = Span {
            start: spans.0.end,
            end: spans.1.start,
            ..span
        };
        let shapes = (&a.ty.shape, &b.ty.shape);
        let unequal = shapes
            .0
            .iter()
            .zip(shapes.1)
            .any(|(x, y)| x.size.differs(&y.size));
        let fit = !unequal && a.ty.rank() == b.ty.rank();
        let word = if fit {
            String::new()
        } else {
            self.text(between)
        };
        if matches!(word.trim(), "and" | "or") {
            let each = spans.0.to(spans.1);
            let joined = format!(
                "all({}) {} all({})",
                self.text(spans.0),
                word.trim(),
                self.text(spans.1)
            );
            return Err(Box::new(
                size_mismatch(span, &self.text(span), (a, spans.0), (b, spans.1), None).help_edit(
                    format!(
                        "`{}` goes entry by entry; `all(…)` makes one bool of each side",
                        word.trim()
                    ),
                    each,
                    joined,
                ),
            ));
        }
        if a.ty.rank() != b.ty.rank() {
            let diagnostic =
                size_mismatch(span, &self.text(span), (a, spans.0), (b, spans.1), None)
                    .here(format!("{} axes against {}", a.ty.rank(), b.ty.rank()));
            let product = self.is_product(a, b, span);
            let diagnostic = if product {
                diagnostic.help_edit(
                    "the product of a matrix with a vector is `@`",
                    span,
                    format!("{} @ {}", self.text(spans.0), self.text(spans.1)),
                )
            } else {
                self.repair_ranks(diagnostic, (a, b), spans, span)
            };
            return Err(Box::new(diagnostic));
        }
        for (x, y) in a.ty.shape.iter().zip(&b.ty.shape) {
            if x.size.differs(&y.size) {
                let mut diagnostic = size_mismatch(
                    span,
                    &self.text(span),
                    (a, spans.0),
                    (b, spans.1),
                    Some((x, y)),
                );
                if self.is_product(a, b, span) {
                    let product = format!("{} @ {}", self.text(spans.0), self.text(spans.1));
                    return Err(Box::new(diagnostic.help_edit(
                        "the product of matrices is `@`",
                        span,
                        product,
                    )));
                }
                let ints = [a, b]
                    .iter()
                    .all(|side| side.ty.rank() == 1 && side.is_static_int());
                if ints && self.text(span).contains('+') {
                    let joined = format!("concat({}, {})", self.text(spans.0), self.text(spans.1));
                    diagnostic = diagnostic.help_edit(
                        format!("`+` adds entry by entry; one after the other is `{joined}`"),
                        span,
                        joined,
                    );
                } else if x.size.as_constant() == Some(1) || y.size.as_constant() == Some(1) {
                    diagnostic = diagnostic
                        .help("an axis of size 1 does not repeat; `broadcast` repeats on purpose");
                } else {
                    diagnostic = self.repair_operands(diagnostic, (x, spans.0), (y, spans.1));
                }
                return Err(Box::new(diagnostic));
            }
        }
        if a.ty.shape.iter().all(|x| x.origin.is_some()) {
            return Ok(a.ty.shape.clone());
        }
        Ok(a.ty
            .shape
            .iter()
            .zip(&b.ty.shape)
            .map(|(x, y)| if x.origin.is_some() { x } else { y }.clone())
            .collect())
    }

    /// A list and the entries of a vector, one after the other; unknown if the entries are not
    /// known one by one.
    fn with_items(&mut self, list: &[Value], vector: Operand<'_>, front: bool) -> Result<Value> {
        let at = vector.1;
        let vector = self.materialize_if_allowed(vector.0.clone(), at)?;
        let known = vector
            .tensor()
            .is_some_and(|tensor| matches!(tensor.repr, Repr::Static(_) | Repr::Concrete(_)));
        if !known {
            return match self.checking() {
                true => Ok(Value::Unknown),
                false => wanted(at, "a list", &vector),
            };
        }
        let items = crate::rows::split_rows(&vector);
        let all = match front {
            true => items.iter().chain(list).cloned().collect(),
            false => list.iter().chain(&items).cloned().collect(),
        };
        Ok(Value::List(std::rc::Rc::new(all)))
    }

    /// `a op b`.
    pub(crate) fn binary(
        &mut self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        match (a.0, b.0) {
            (Value::Unknown, _) | (_, Value::Unknown) => return Ok(Value::Unknown),
            // Sequences of different lengths, and rows of equal ones; none yet, as in `[] + [row]`.
            (Value::List(x), Value::Tensor(y) | Value::Token(y))
                if op == BinaryOp::Add && y.ty.rank() > 1 && collects(x, a.0) =>
            {
                return self.with_items(x, b, false);
            }
            (Value::Tensor(x) | Value::Token(x), Value::List(y))
                if op == BinaryOp::Add && x.ty.rank() > 1 && collects(y, b.0) =>
            {
                return self.with_items(y, a, true);
            }
            (Value::Maybe(_), _) | (_, Value::Maybe(_)) => {
                return self.binary_missing(op, a, b, span);
            }
            (Value::Token(_), _) | (_, Value::Token(_)) => {
                return self.binary_tokens(op, a, b, span);
            }
            (Value::Str(x), Value::Str(y)) => match op {
                BinaryOp::Add => return Ok(Value::str(&format!("{x}{y}"))),
                BinaryOp::Eq => return Ok(Value::bool(x == y)),
                BinaryOp::Ne => return Ok(Value::bool(x != y)),
                BinaryOp::Lt => return Ok(Value::bool(x < y)),
                BinaryOp::Le => return Ok(Value::bool(x <= y)),
                BinaryOp::Gt => return Ok(Value::bool(x > y)),
                BinaryOp::Ge => return Ok(Value::bool(x >= y)),
                BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::FloorDiv
                | BinaryOp::MatMul
                | BinaryOp::Pow
                | BinaryOp::And
                | BinaryOp::Or
                | BinaryOp::Fill => {}
            },
            (Value::List(x), Value::List(y)) if op == BinaryOp::Add => {
                return Ok(Value::List(std::rc::Rc::new(
                    x.iter().chain(y.iter()).cloned().collect(),
                )));
            }
            // A vector of numbers, joined to a list: `[] + [n for n in widths]`.
            (Value::List(x), Value::Tensor(y)) if op == BinaryOp::Add && y.ty.rank() == 1 => {
                return self.with_items(x, b, false);
            }
            (Value::Tensor(x), Value::List(y)) if op == BinaryOp::Add && x.ty.rank() == 1 => {
                return self.with_items(y, a, true);
            }
            (Value::List(_) | Value::Tensor(_), Value::List(_))
            | (Value::List(_), Value::Tensor(_))
            | (Value::Tuple(_), Value::Tuple(_))
            | (Value::Record(_), Value::Record(_))
                if matches!(op, BinaryOp::Eq | BinaryOp::Ne) =>
            {
                return self.compare_lists(op, a, b, span);
            }
            (Value::Str(_), _) | (_, Value::Str(_)) if op == BinaryOp::Add => {
                let (text, other) = if matches!(a.0, Value::Str(_)) {
                    (a, b)
                } else {
                    (b, a)
                };
                let inner = self.text(other.1);
                return Err(Box::new(
                    Diagnostic::error(
                        "E0303",
                        span,
                        "`+` joins two strings, not a string and something else",
                    )
                    .label(text.1, "a string")
                    .label(other.1, other.0.describe())
                    .help_edit(
                        format!("`str({inner})` makes a string of it"),
                        other.1,
                        format!("str({inner})"),
                    ),
                ));
            }
            _ => {}
        }
        fn operand<'v>((value, at): Operand<'v>, op: BinaryOp) -> Result<&'v Tensor> {
            if let Value::Tensor(tensor) = value {
                return Ok(tensor);
            }
            let what = format!("a tensor for `{}`", op.symbol());
            wanted(at, &what, value).map_err(|error| match value {
                Value::Tuple(_) => Box::new(error.help(
                    "a tuple is taken apart first: `t.0`, `t.1`; what is computed with as a whole is a tensor: `[1, 2]`",
                )),
                Value::Record(_) => Box::new(error.help("a record is taken apart first: `r.name`")),
                _ => error,
            })
        }
        let (x, y) = (operand(a, op)?, operand(b, op)?);
        let spans = (a.1, b.1);
        let tensor = match op {
            BinaryOp::MatMul => self.product(x.clone(), y.clone(), spans, span)?,
            BinaryOp::Fill => return self.filled_in(a, b, span),
            BinaryOp::Pow => self.power(x.clone(), y.clone(), spans, span)?,
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::FloorDiv
            | BinaryOp::Eq
            | BinaryOp::Ne
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge
            | BinaryOp::And
            | BinaryOp::Or => self.elementwise(op, x.clone(), y.clone(), spans, span)?,
        };
        Ok(Value::Tensor(tensor))
    }

    /// `==` and `!=` of lists, tuples and records: one bool. They are equal if all their parts are;
    /// a list of tensors counts as the tensor it stacks to.
    fn compare_lists(
        &mut self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        if let (Value::Str(x), Value::Str(y)) = (a.0, b.0) {
            return Ok(Value::bool((x == y) == (op == BinaryOp::Eq)));
        }
        if matches!(a.0, Value::Unknown) || matches!(b.0, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let plain = |value: &Value| match value {
            Value::Token(_) => crate::tokens::as_ints(value),
            other => other.clone(),
        };
        let (x, y) = (self.stack(&plain(a.0), a.1)?, self.stack(&plain(b.0), b.1)?);
        let join = if op == BinaryOp::Eq {
            BinaryOp::And
        } else {
            BinaryOp::Or
        };
        let (left, right) = match (&x, &y) {
            (Value::Tensor(p), Value::Tensor(q)) => {
                let same = crate::value::may_agree(&p.ty.shape, &q.ty.shape);
                if !same {
                    return Ok(Value::bool(op == BinaryOp::Ne));
                }
                let each = self.binary(op, (&x, a.1), (&y, b.1), span)?;
                let each = as_tensor(&each, span, "a tensor")?;
                if let Repr::Static(host) = &each.repr {
                    let mut bits = host.to_f64_vec().into_iter().map(|bit| bit != 0.0);
                    return Ok(Value::bool(match join {
                        BinaryOp::And => bits.all(|bit| bit),
                        _ => bits.any(|bit| bit),
                    }));
                }
                let reduction = if join == BinaryOp::And {
                    Reduction::All
                } else {
                    Reduction::Any
                };
                let reduce = Op::Reduce {
                    op: reduction,
                    axes: (0..each.ty.rank()).collect(),
                };
                let ty = TensorType::scalar(Elem::Bool);
                return Ok(Value::Tensor(self.emit(reduce, &[&each], ty, span)?));
            }
            (Value::List(p), Value::List(q)) | (Value::Tuple(p), Value::Tuple(q))
                if p.len() == q.len() =>
            {
                (p.clone(), q.clone())
            }
            (Value::Record(p), Value::Record(q)) if p.len() == q.len() => {
                let others: Option<Vec<Value>> =
                    p.iter().map(|(name, _)| y.field(name).cloned()).collect();
                let Some(others) = others else {
                    return Ok(Value::bool(op == BinaryOp::Ne));
                };
                let own = p.iter().map(|(_, value)| value.clone());
                (own.collect::<Vec<_>>().into(), others.into())
            }
            (Value::Maybe(_), _) => return wanted(a.1, "a plain value to compare", a.0),
            (_, Value::Maybe(_)) => return wanted(b.1, "a plain value to compare", b.0),
            _ => return Ok(Value::bool(op == BinaryOp::Ne)),
        };
        let mut all = Value::bool(op == BinaryOp::Eq);
        for (p, q) in left.iter().zip(right.iter()) {
            let same = self.compare_lists(op, (p, a.1), (q, b.1), span)?;
            all = match all.as_bool() {
                _ if matches!(same, Value::Unknown) => return Ok(Value::Unknown),
                Some(known) if known == (join == BinaryOp::And) => same,
                Some(_) => all,
                None => self.binary(join, (&all, span), (&same, span), span)?,
            };
        }
        Ok(all)
    }

    fn elementwise(
        &mut self,
        op: BinaryOp,
        x: Tensor,
        y: Tensor,
        spans: (Span, Span),
        span: Span,
    ) -> Result<Tensor> {
        if let Some(folded) = fold_sizes(op, &x, &y) {
            return Ok(folded);
        }
        // `/` always divides reals; of compile-time ints it gives a real.
        let (x, y) = if op == BinaryOp::Div && x.ty.elem.is_int() && y.ty.elem.is_int() {
            if !x.is_static_int() || !y.is_static_int() {
                let diagnostic = Diagnostic::error(
                    "E0304",
                    span,
                    format!("`/` divides reals, but `{}` has ints", self.text(span)),
                )
                .label(spans.0, x.ty.to_string())
                .label(spans.1, y.ty.to_string())
                .help_edit(
                    "`//` is floor division, `mod(a, b)` the remainder; `real(…)` converts",
                    spans.0,
                    format!("real({})", self.text(spans.0)),
                );
                return Err(Box::new(diagnostic));
            }
            let float = self.float();
            (
                self.convert(&x, float, spans.0)?,
                self.convert(&y, float, spans.1)?,
            )
        } else {
            self.promote(x, y, spans, span)?
        };
        let elem = x.ty.elem;
        let kind = match op {
            BinaryOp::And | BinaryOp::Or => elem == Elem::Bool,
            BinaryOp::FloorDiv => elem.is_int(),
            BinaryOp::Eq | BinaryOp::Ne => true,
            BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => elem != Elem::Bool,
            _ => elem != Elem::Bool,
        };
        if !kind {
            let mut diagnostic = Diagnostic::error(
                "E0303",
                span,
                format!("`{}` does not work on {elem}", op.symbol()),
            )
            .label(spans.0, x.ty.to_string())
            .label(spans.1, y.ty.to_string());
            if op == BinaryOp::FloorDiv {
                diagnostic =
                    diagnostic.help("`//` is for ints and sizes; `floor(a / b)` for reals");
            } else if elem == Elem::Bool {
                diagnostic = diagnostic.help("`real(…)` or `int(…)` turns a bool into 0 or 1");
            }
            return Err(Box::new(diagnostic));
        }
        if let (BinaryOp::FloorDiv, Repr::Static(divisor)) = (op, &y.repr)
            && (0..divisor.len()).any(|at| divisor.get_i64(at) == 0)
        {
            return crate::error::division_by_zero(spans.1);
        }
        let shape = self.joint_shape(&x, &y, spans, span)?;
        if let (Repr::Static(p), Repr::Static(q)) = (&x.repr, &y.repr)
            && let Some(folded) = fold(op, p, q, elem, &shape)
        {
            return Ok(folded);
        }
        if let Some((p, q)) = self.counters(&x, &y)
            && comparison(op).is_none()
            && let Some(folded) = fold(op, p, q, elem, &shape)
        {
            return Ok(in_memory(folded));
        }
        let comparison = comparison(op);
        let y = match op {
            BinaryOp::Div => self.harmless(&y, &shape, Binary::Div.safe_places()[1], span)?,
            _ => y,
        };
        let result = TensorType {
            elem: if comparison.is_some() {
                Elem::Bool
            } else {
                elem
            },
            shape,
        };
        self.build(&[&x, &y], result, span, |f, v, ty, span| {
            let (a, b) = (v[0], v[1]);
            let (ra, rb) = (f.dims(a).len(), f.dims(b).len());
            if op == BinaryOp::Mul {
                let [a, b] = vanishing::tamed(f, [a, b], span);
                // A scalar factor needs no repeating: it is a factor without labels.
                return f.contract(
                    &[(a, &labels(ra)), (b, &labels(rb))],
                    &labels(ra.max(rb)),
                    &[],
                    1.0,
                    span,
                );
            }
            let (a, b) = (
                if ra == 0 {
                    splat(f, a, &ty.dims, span)
                } else {
                    a
                },
                if rb == 0 {
                    splat(f, b, &ty.dims, span)
                } else {
                    b
                },
            );
            match (comparison, op) {
                (Some(comparison), _) => f.compare(comparison, a, b, span),
                (None, BinaryOp::Add) => f.binary(Binary::Add, a, b, span),
                (None, BinaryOp::Sub) => f.binary(Binary::Sub, a, b, span),
                (None, BinaryOp::Div) => f.binary(Binary::Div, a, b, span),
                (None, BinaryOp::FloorDiv) => f.binary(Binary::FloorDiv, a, b, span),
                (None, BinaryOp::And) => f.binary(Binary::And, a, b, span),
                (None, _) => f.binary(Binary::Or, a, b, span),
            }
        })
    }

    /// Two ints in memory, of which one may be an input of what is compiled, such as a loop's counter. What
    /// is made of them is worked out at once: it may be a size, and in the body of a `map` or a
    /// derivative nothing can run that tells it. It is an input again.
    fn counters<'a>(
        &self,
        x: &'a Tensor,
        y: &'a Tensor,
    ) -> Option<(&'a HostTensor, &'a HostTensor)> {
        let (Repr::Static(p) | Repr::Concrete(p), Repr::Static(q) | Repr::Concrete(q)) =
            (&x.repr, &y.repr)
        else {
            return None;
        };
        let ints = x.ty.elem == Elem::I64 && y.ty.elem == Elem::I64;
        (ints && p.rank() == 0 && q.rank() == 0).then_some((p, q))
    }

    /// An elementwise builtin of two operands: `max(a, b)`, `mod(a, b)`.
    pub(crate) fn elementwise_builtin(
        &mut self,
        op: Binary,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        if matches!(a.0, Value::Unknown) || matches!(b.0, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let x = as_tensor(a.0, a.1, "a number or tensor")?;
        let y = as_tensor(b.0, b.1, "a number or tensor")?;
        let (x, y) = self.promote(x, y, (a.1, b.1), span)?;
        let shape = self.joint_shape(&x, &y, (a.1, b.1), span)?;
        if let (Repr::Static(p), Repr::Static(q)) = (&x.repr, &y.repr)
            && let (0, 0) = (p.rank(), q.rank())
        {
            if x.ty.elem == Elem::I64
                && let Some(folded) = fold_ints(op, p.get_i64(0), q.get_i64(0))
            {
                return Ok(Value::Tensor(folded));
            }
            let (p, q) = (p.get_f64(0), q.get_f64(0));
            let value = match op {
                Binary::Min => Some(p.min(q)),
                Binary::Max => Some(p.max(q)),
                Binary::Mod if q != 0.0 => Some(p - q * (p / q).floor()),
                Binary::Pow => Some(p.powf(q)),
                _ => None,
            };
            if let Some(value) = value {
                return Ok(Value::Tensor(scalar(value, x.ty.elem)));
            }
        }
        if let Some((p, q)) = self.counters(&x, &y)
            && let Some(folded) = fold_ints(op, p.get_i64(0), q.get_i64(0))
        {
            return Ok(Value::Tensor(in_memory(folded)));
        }
        let places = match x.ty.elem.is_float() {
            true => op.safe_places(),
            false => [None, None],
        };
        let x = self.harmless(&x, &shape, places[0], span)?;
        let y = self.harmless(&y, &shape, places[1], span)?;
        let ty = TensorType {
            elem: x.ty.elem,
            shape,
        };
        let tensor = self.build(&[&x, &y], ty, span, |f, v, ty, span| {
            let a = if f.dims(v[0]).is_empty() {
                splat(f, v[0], &ty.dims, span)
            } else {
                v[0]
            };
            let b = if f.dims(v[1]).is_empty() {
                splat(f, v[1], &ty.dims, span)
            } else {
                v[1]
            };
            f.binary(op, a, b, span)
        })?;
        Ok(Value::Tensor(tensor))
    }

    /// An elementwise function of one tensor.
    pub(crate) fn unary(&mut self, op: Unary, x: &Tensor, span: Span) -> Result<Tensor> {
        if let Repr::Static(host) = &x.repr
            && let Some(function) = static_unary(op)
            && x.ty.elem != Elem::Bool
            // What multiplies it may be 0 by the same numbers (`vanishing`).
            && (op != Unary::Log || (0..host.len()).all(|at| host.get_f64(at) != 0.0))
            && (!x.ty.elem.is_int() || matches!(op, Unary::Neg | Unary::Abs | Unary::Sign))
        {
            let held = if x.ty.elem.is_float() {
                Elem::F64
            } else {
                x.ty.elem
            };
            let values = host.to_f64_vec().into_iter().map(function);
            let host = HostTensor::from_f64(held, host.dims(), values);
            return Ok(Tensor {
                ty: x.ty.clone(),
                repr: Repr::Static(Arc::new(host)),
            });
        }
        if let (Unary::Neg, Repr::Symbolic(size)) = (op, &x.repr) {
            let size = crate::size::Size::constant(0).minus(size);
            return Ok(Tensor {
                ty: x.ty.clone(),
                repr: Repr::Symbolic(size),
            });
        }
        let x = &self.harmless(x, &x.ty.shape, op.safe_place(), span)?;
        self.emit(Op::Unary(op), &[x], x.ty.clone(), span)
    }

    /// `x ^ y`.
    fn power(&mut self, x: Tensor, y: Tensor, spans: (Span, Span), span: Span) -> Result<Tensor> {
        let exponent = match &y.repr {
            Repr::Static(host) if host.rank() == 0 => Some(host.get_f64(0)),
            _ => None,
        };
        if let (Some(exponent), Repr::Static(base)) = (exponent, &x.repr)
            && base.rank() == 0
        {
            let value = base.get_f64(0).powf(exponent);
            let whole = x.ty.elem.is_int() && y.ty.elem.is_int() && exponent >= 0.0;
            let elem = if whole || x.ty.elem.is_float() {
                x.ty.elem
            } else {
                self.float()
            };
            return Ok(scalar(value, elem));
        }
        let x = if x.is_static_int() && y.ty.elem.is_float() {
            self.convert(&x, y.ty.elem, spans.0)?
        } else {
            x
        };
        match exponent {
            Some(n) if n.fract() == 0.0 && (1.0..=8.0).contains(&n) && x.ty.elem != Elem::Bool => {
                // A small whole power is one contraction: the factor counted n times.
                self.build(&[&x], x.ty.clone(), span, |f, v, ty, span| {
                    let axes = labels(ty.dims.len());
                    let inst = f.contract(&[(v[0], &axes)], &axes, &[], 1.0, span);
                    if let Some(at) = f.def_inst(inst)
                        && let Op::Contract(contract) = &mut f.insts[at].op
                    {
                        contract.factors[0].power = n as u32;
                    }
                    inst
                })
            }
            Some(0.5) if x.ty.elem.is_float() => self.unary(Unary::Sqrt, &x, span),
            _ => {
                let (x, y) = self.promote(x, y, spans, span)?;
                if !x.ty.elem.is_float() {
                    let diagnostic = Diagnostic::error(
                        "E0303",
                        span,
                        format!(
                            "`^` with this exponent works on reals, not on {}",
                            x.ty.elem
                        ),
                    )
                    .help_edit(
                        "`real(…)` converts",
                        spans.0,
                        format!("real({})", self.text(spans.0)),
                    );
                    return Err(Box::new(diagnostic));
                }
                let shape = self.joint_shape(&x, &y, spans, span)?;
                let x = self.harmless(&x, &shape, Binary::Pow.safe_places()[0], span)?;
                let ty = TensorType {
                    elem: x.ty.elem,
                    shape,
                };
                self.build(&[&x, &y], ty, span, |f, v, ty, span| {
                    let a = if f.dims(v[0]).is_empty() {
                        splat(f, v[0], &ty.dims, span)
                    } else {
                        v[0]
                    };
                    let b = if f.dims(v[1]).is_empty() {
                        splat(f, v[1], &ty.dims, span)
                    } else {
                        v[1]
                    };
                    f.binary(Binary::Pow, a, b, span)
                })
            }
        }
    }

    /// `a @ b`: contracts the last axis of a with the first of b.
    fn product(&mut self, x: Tensor, y: Tensor, spans: (Span, Span), span: Span) -> Result<Tensor> {
        if x.is_scalar() || y.is_scalar() {
            let at = if x.is_scalar() { spans.0 } else { spans.1 };
            let diagnostic = Diagnostic::error(
                "E0302",
                span,
                format!(
                    "`@` in `{}` wants an axis to sum over on both sides",
                    self.text(span)
                ),
            )
            .label(at, "a scalar")
            .help_edit(
                "`*` multiplies by a scalar",
                span,
                format!("{} * {}", self.text(spans.0), self.text(spans.1)),
            );
            return Err(Box::new(diagnostic));
        }
        let (x, y) = self.promote(x, y, spans, span)?;
        let (ra, rb) = (x.ty.rank(), y.ty.rank());
        let (inner_left, inner_right) = (&x.ty.shape[ra - 1], &y.ty.shape[0]);
        if inner_left.size.differs(&inner_right.size) {
            let mut diagnostic = size_mismatch(
                span,
                &self.text(span),
                (&x, spans.0),
                (&y, spans.1),
                Some((inner_left, inner_right)),
            );
            diagnostic = self.product_help(diagnostic, &x, &y, spans);
            return Err(Box::new(diagnostic));
        }
        let shape: Vec<Dim> = x.ty.shape[..ra - 1]
            .iter()
            .chain(&y.ty.shape[1..])
            .cloned()
            .collect();
        let ty = TensorType {
            elem: x.ty.elem,
            shape: shape.into(),
        };
        let x = self.within(&x, Some(ra - 1), 0.0, span)?;
        let y = self.within(&y, Some(0), 0.0, span)?;
        self.build(&[&x, &y], ty, span, |f, v, _, span| {
            let v = match (ra, rb) {
                (1, 1) => vanishing::tamed(f, [v[0], v[1]], span),
                _ => [v[0], v[1]],
            };
            let left: Labels = (0..ra as Label).collect();
            let right: Labels = (ra as Label - 1..(ra + rb) as Label - 1).collect();
            let out: Labels = left[..ra - 1].iter().chain(&right[1..]).copied().collect();
            f.contract(&[(v[0], &left), (v[1], &right)], &out, &[], 1.0, span)
        })
    }

    /// What would make a product fit: a transpose, or the other declaration.
    fn product_help(
        &self,
        diagnostic: Diagnostic,
        x: &Tensor,
        y: &Tensor,
        spans: (Span, Span),
    ) -> Diagnostic {
        let (ra, inner) = (x.ty.rank(), &y.ty.shape[0]);
        if ra == 2 && x.ty.shape[0].size == inner.size {
            let left = self.text(spans.0);
            if let Some(plain) = left.strip_suffix('\'') {
                return diagnostic.help_edit(format!("`{plain}` itself fits"), spans.0, plain);
            }
            return diagnostic.help_edit(
                format!("`{left}'` is {left} transposed, and fits"),
                spans.0,
                format!("{left}'"),
            );
        }
        if y.ty.rank() == 2 && y.ty.shape[1].size == x.ty.shape[ra - 1].size {
            let right = self.text(spans.1);
            if let Some(plain) = right.strip_suffix('\'') {
                return diagnostic.help_edit(format!("`{plain}` itself fits"), spans.1, plain);
            }
            // A lower-case name is rather a batch of examples than a matrix.
            if right.starts_with(char::is_lowercase) {
                return diagnostic.help(format!(
                    "`{right}'` fits; but rather write this for one example: a call with a batch is mapped over it"
                ));
            }
            return diagnostic.help_edit(
                format!("`{right}'` is {right} transposed, and fits"),
                spans.1,
                format!("{right}'"),
            );
        }
        if let (2, Some(rows), Some(name)) = (ra, &x.ty.shape[0].name, &inner.name) {
            let left = self.text(spans.0);
            return diagnostic.help(format!(
                "`param {left}: [{rows}, {name}]` would make this product [{rows}]"
            ));
        }
        diagnostic.help(
            "`@` sums over the last axis of the left side and the first axis of the right side",
        )
    }

    /// A tensor of one constant.
    pub(crate) fn filled(
        &mut self,
        value: &Tensor,
        shape: impl Into<Shape>,
        span: Span,
    ) -> Result<Tensor> {
        let ty = TensorType {
            elem: value.ty.elem,
            shape: shape.into(),
        };
        if ty.shape.is_empty() {
            return Ok(value.clone());
        }
        let constant = match &value.repr {
            Repr::Static(host) if host.rank() == 0 => Some(match ty.elem {
                Elem::F32 | Elem::F64 => Literal::Float(host.get_f64(0)),
                Elem::I32 | Elem::I64 => Literal::Int(host.get_i64(0)),
                Elem::Bool => Literal::Bool(host.get_f64(0) != 0.0),
            }),
            _ => None,
        };
        match constant {
            Some(literal) => self.emit(Op::Constant(literal), &[], ty, span),
            None => self.build(&[value], ty, span, |f, v, ty: Type, span| {
                f.broadcast_leading(v[0], &ty.dims, span)
            }),
        }
    }
}
