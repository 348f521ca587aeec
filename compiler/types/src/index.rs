//! Indexing and slicing: `x[i, 2..5, :]` (SEMANTICS.md S6).

use crate::error::{fail, wanted, with_origin};
use crate::missing::plain;
use crate::ops::as_tensor;
use crate::scope::Scope;
use crate::size::Size;
use crate::tokens::as_ints;
use crate::value::{Dim, Maybe, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Binary, Comparison, Fault, Op};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::{BinaryOp, Expr, ExprKind, Index};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

/// One index, evaluated.
#[derive(Clone)]
enum At {
    /// A place that is known.
    Known(Size, Span),
    /// From a size to another.
    Range(Size, Size, Span),
    /// Everything.
    All,
    /// Ints of which only the type is known, and which of them are observed.
    Gather(Tensor, Option<Tensor>, Span),
    /// Ints that are known to be places of the axis.
    Moved(Tensor),
    /// Something of which nothing is known.
    Unknown,
    /// A range whose ends are only known when the script runs.
    Open,
}

impl Elaborator {
    pub(crate) fn index(
        &mut self,
        value: &Value,
        base: Span,
        indices: &[Index],
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        match value {
            Value::Unknown => return Ok(Value::Unknown),
            Value::List(items) => return self.index_list(items, indices, span, scope),
            Value::Ragged(ragged) if let Some(items) = self.items_of(ragged, span)? => {
                return self.index_list(&Rc::new(items), indices, span, scope);
            }
            Value::Vocab(vocab) => {
                let [Index::At(expr)] = indices else {
                    return fail("E0302", span, "a vocabulary has one index, a word");
                };
                return match self.eval(expr, scope)? {
                    Value::Str(word) => vocab.token(&word, expr.span),
                    Value::Unknown => Ok(Value::Unknown),
                    other => wanted(expr.span, "a word (a string)", &other),
                };
            }
            // Of sequences of different lengths beside other data, those at the places.
            Value::Tuple(parts) if parts.iter().any(crate::ragged::is_ragged) => {
                let mut new = Vec::new();
                for part in parts.iter() {
                    new.push(self.index(part, base, indices, span, scope)?);
                }
                return Ok(Value::tuple(new));
            }
            Value::Record(fields)
                if fields
                    .iter()
                    .any(|(_, part)| crate::ragged::is_ragged(part)) =>
            {
                let mut new = Vec::new();
                for (name, part) in fields.iter() {
                    new.push((name.clone(), self.index(part, base, indices, span, scope)?));
                }
                return Ok(Value::Record(Rc::new(new)));
            }
            Value::Tuple(_) | Value::Record(_) | Value::Tree(_) => {
                if let [Index::At(expr)] = indices
                    && let ExprKind::Str(_) = expr.kind
                    && let Value::Str(field) = self.eval(expr, scope)?
                {
                    let error = Diagnostic::error("E0302", expr.span, "a string is no index");
                    let Some(_) = value.field(&field) else {
                        return Err(Box::new(
                            error.note(format!("this is {}", value.describe())),
                        ));
                    };
                    let new = format!("{}.{field}", self.text(base));
                    let help = format!("a field is named with a dot: `{new}`");
                    return Err(Box::new(error.help_edit(help, span, new)));
                }
                // Indexing acts on every leaf (P6).
                let parts: Vec<Value> = crate::leaves(value)
                    .into_iter()
                    .map(|leaf| leaf.tensor)
                    .collect();
                if let (Value::Tuple(items), [Index::At(expr)]) = (value, indices)
                    && parts
                        .iter()
                        .filter_map(Value::tensor)
                        .any(Tensor::is_scalar)
                {
                    return Err(Box::new(self.part_by_index(base, items.len(), expr, span)));
                }
                let mut new = Vec::new();
                for part in &parts {
                    new.push(self.index(part, base, indices, span, scope)?);
                }
                return Ok(crate::with_leaves(value, &mut new.into_iter(), false));
            }
            Value::Tensor(_)
            | Value::Token(_)
            | Value::Maybe(_)
            | Value::Unit
            | Value::Str(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Model(_)
            | Value::Module(_)
            | Value::Ragged(_)
            | Value::Distribution(_) => {}
        }
        let tensor = match value.tensor() {
            Some(tensor) => tensor.clone(),
            None => as_tensor(value, base, "a tensor or list to index")?,
        };
        if indices.len() > tensor.ty.rank() {
            return Err(Box::new(
                Diagnostic::error(
                    "E0302",
                    span,
                    format!(
                        "{}, but `{}` is {}",
                        match indices.len() {
                            1 => "an index".to_string(),
                            n => format!("{n} indices"),
                        },
                        self.text(base),
                        tensor.ty
                    ),
                )
                .label(base, tensor.ty.to_string()),
            ));
        }
        let mut places = Vec::new();
        for (index, dim) in indices.iter().zip(&tensor.ty.shape) {
            places.push(self.place(index, dim, scope)?);
        }
        if places.iter().any(|place| matches!(place, At::Unknown)) {
            return Ok(Value::Unknown);
        }
        let taken = self.take(tensor, &places, base, span)?;
        let taken = match (plain(value), taken) {
            (Value::Token(_), Value::Tensor(words)) => Value::Token(words),
            (_, taken) => taken,
        };
        let taken = match value {
            Value::Maybe(maybe) => {
                let flags = self.take(maybe.observed.clone(), &places, base, span)?;
                let observed = as_tensor(&flags, span, "flags")?;
                Value::Maybe(Rc::new(Maybe {
                    value: taken,
                    observed,
                }))
            }
            _ => taken,
        };
        // What a missing index looks up is missing.
        let mut taken = taken;
        for place in &places {
            if let At::Gather(index, Some(observed), at) = place {
                if !index.is_scalar() && places.len() > 1 {
                    return self.refuse_index(index, observed, *at);
                }
                taken = self.veil(&taken, observed, span)?;
            }
        }
        Ok(taken)
    }

    /// `t[1]` for `t.1`: an index goes into every part of a tuple, and one of them has no axis.
    fn part_by_index(&self, base: Span, parts: usize, index: &Expr, span: Span) -> Diagnostic {
        let message = "an index goes into each part of a tuple, but one is a number";
        let error = Diagnostic::error("E0302", span, message);
        let place = self.text(index.span);
        match place.parse::<usize>() {
            Ok(place) if place < parts => {
                let new = format!("{}.{place}", self.text(base));
                error.help_edit(format!("a part is taken by its place: `{new}`"), span, new)
            }
            _ => error
                .help("a part is taken by its place, which is written: `.0`; lists take any index"),
        }
    }

    fn refuse_index<T>(&self, index: &Tensor, observed: &Tensor, at: Span) -> Result<T> {
        let value = Value::missing(
            Value::Tensor(index.clone()),
            Value::Tensor(observed.clone()),
        );
        wanted(at, "an index", &value)
    }

    fn index_list(
        &mut self,
        items: &Rc<Vec<Value>>,
        indices: &[Index],
        span: Span,
        scope: &Scope,
    ) -> Result<Value> {
        let dim = Dim::known(items.len());
        let [index] = indices else {
            return fail("E0302", span, "a list has one index");
        };
        match self.place(index, &dim, scope)? {
            At::Known(size, at) => match size
                .as_constant()
                .and_then(|at| items.get(usize::try_from(at).ok()?))
            {
                Some(item) => Ok(item.clone()),
                None if self.checking() && crate::ragged::differ(items) => Ok(Value::Unknown),
                None if self.checking() => Ok(items.first().cloned().unwrap_or(Value::Unknown)),
                None => fail(
                    "E0313",
                    at,
                    format!("a list of {} has no item {size}", items.len()),
                ),
            },
            At::All => Ok(Value::List(items.clone())),
            At::Range(a, b, at) => match (a.as_constant(), b.as_constant()) {
                (Some(a), Some(b)) => {
                    Ok(Value::List(Rc::new(items[a as usize..b as usize].to_vec())))
                }
                _ => fail("E0305", at, "this range is not known here"),
            },
            At::Moved(_) | At::Open | At::Unknown => Ok(Value::Unknown),
            // Of sequences of different lengths it is not known which.
            At::Gather(..) if self.checking() && crate::ragged::differ(items) => Ok(Value::Unknown),
            At::Gather(index, None, _) if self.checking() => Ok(match index.is_scalar() {
                true => items.first().cloned().unwrap_or(Value::Unknown),
                false => Value::Unknown,
            }),
            At::Gather(tensor, Some(observed), at) => self.refuse_index(&tensor, &observed, at),
            At::Gather(tensor, None, at) => {
                let known = self.materialize_for_static(Value::Tensor(tensor), at)?;
                if let Some(host) = known.host().filter(|host| host.rank() == 1) {
                    let mut out = Vec::new();
                    for place in (0..host.len()).map(|row| host.get_i64(row)) {
                        match usize::try_from(place)
                            .ok()
                            .and_then(|place| items.get(place))
                        {
                            Some(item) => out.push(item.clone()),
                            None => {
                                let n = items.len();
                                let message = format!("a list of {n} has no item {place}");
                                return fail("E0313", at, message);
                            }
                        }
                    }
                    return Ok(Value::List(Rc::new(out)));
                }
                match known
                    .as_int()
                    .and_then(|at| items.get(usize::try_from(at).ok()?))
                {
                    Some(item) => Ok(item.clone()),
                    None => fail(
                        "E0305",
                        at,
                        "a list is indexed by ints that are known before compiled code runs",
                    ),
                }
            }
        }
    }

    fn materialize_for_static(&mut self, value: Value, span: Span) -> Result<Value> {
        if self.effects_allowed() {
            self.materialize_one(value, span)
        } else {
            Ok(value)
        }
    }

    fn place(&mut self, index: &Index, dim: &Dim, scope: &Scope) -> Result<At> {
        match index {
            Index::All(_) => Ok(At::All),
            Index::At(expr) => {
                if let ExprKind::Range { start, end } = &expr.kind {
                    return self.slice(Some(start), Some(end), expr.span, dim, scope);
                }
                let value = self.eval(expr, scope)?;
                if matches!(value, Value::Unknown) {
                    return Ok(At::Unknown);
                }
                // A known int is a place; inside compiled code a script's int stays an input.
                let inner = self.frames.len() > 1
                    && matches!(
                        &value,
                        Value::Tensor(Tensor {
                            repr: Repr::Concrete(_),
                            ..
                        })
                    );
                if let Some(size) = value.as_size().filter(|_| !inner) {
                    let size = from_the_end(size, expr, dim);
                    return self.known_place(size, expr.span, dim);
                }
                let observed = match &value {
                    Value::Maybe(maybe) => Some(maybe.observed.clone()),
                    _ => None,
                };
                let value = as_ints(plain(&value));
                let tensor = as_tensor(&value, expr.span, "an int index")?;
                if !tensor.ty.elem.is_int() {
                    let mut diagnostic = Diagnostic::error(
                        "E0310",
                        expr.span,
                        format!("an index is an int, but this is {}", value.describe()),
                    );
                    if tensor.ty.elem.is_float() {
                        diagnostic = diagnostic.help_edit(
                            "`int(…)` converts",
                            expr.span,
                            format!("int({})", self.text(expr.span)),
                        );
                    } else if tensor.ty.rank() > 0 {
                        diagnostic = diagnostic.help(
                            "`[v for v in x if v > 0]` keeps some entries; `select(x > 0, x, 0)` keeps the shape",
                        );
                    }
                    return Err(Box::new(diagnostic));
                }
                Ok(At::Gather(tensor, observed, expr.span))
            }
            Index::Slice { start, end, span } => {
                self.slice(start.as_ref(), end.as_ref(), *span, dim, scope)
            }
        }
    }

    fn known_place(&self, size: Size, span: Span, dim: &Dim) -> Result<At> {
        let n = dim.size.as_constant();
        if let Some(at) = size.as_constant()
            && (at < 0 || n.is_some_and(|n| at >= n))
        {
            let mut written = self.text(span);
            let number = |c: char| c.is_ascii_digit() || c == '-';
            if !written.chars().all(number) {
                written = format!("{written} = {at}");
            }
            let diagnostic = Diagnostic::error(
                "E0313",
                span,
                format!(
                    "index {written} is out of range for an axis of size {}",
                    dim.size
                ),
            );
            let diagnostic = self.repair_index(diagnostic, at, n, span);
            return Err(Box::new(with_origin(diagnostic, dim)));
        }
        Ok(At::Known(size, span))
    }

    fn slice(
        &mut self,
        start: Option<&Expr>,
        end: Option<&Expr>,
        span: Span,
        dim: &Dim,
        scope: &Scope,
    ) -> Result<At> {
        let mut ends = [Size::constant(0), dim.size.clone()];
        for (slot, expr) in [start, end].into_iter().enumerate() {
            let Some(expr) = expr else { continue };
            let value = self.eval(expr, scope)?;
            let value = self.materialize_for_static(value, expr.span)?;
            let Some(size) = value.as_size() else {
                if let (Some(start), Some(end)) = (start, end)
                    && let Some(moving) = self.moving_slice(start, end, span, scope)?
                {
                    return Ok(moving);
                }
                if self.checking() {
                    return Ok(At::Open);
                }
                if !matches!(value, Value::Tensor(_)) {
                    return wanted(expr.span, "an int", &value);
                }
                return Err(Box::new(
                    Diagnostic::error(
                        "E0305",
                        expr.span,
                        "the ends of a slice must be known before compiled code runs",
                    )
                    .help("a slice at a place that varies has a fixed length: `x[i..i + 5]`"),
                ));
            };
            ends[slot] = from_the_end(size, expr, dim);
        }
        let [a, b] = ends;
        if let (Some(from), Some(to)) = (a.as_constant(), b.as_constant()) {
            let n = dim.size.as_constant();
            if from > to || from < 0 || n.is_some_and(|n| to > n) {
                let limit = n.map_or_else(|| dim.size.to_string(), |n| n.to_string());
                let diagnostic = Diagnostic::error(
                    "E0313",
                    span,
                    format!("the slice {from}..{to} does not fit an axis of size {limit}"),
                );
                return Err(Box::new(with_origin(diagnostic, dim)));
            }
        }
        Ok(At::Range(a, b, span))
    }

    /// `i..i + 5` at a place that only compiled code knows: as many entries as the ends are apart,
    /// a number or a size (S4). None if that does not follow from what is written.
    fn moving_slice(
        &mut self,
        start: &Expr,
        end: &Expr,
        span: Span,
        scope: &Scope,
    ) -> Result<Option<At>> {
        let mut from = (Size::constant(0), Vec::new());
        let mut to = (Size::constant(0), Vec::new());
        self.add_terms(start, 1, &mut from, scope)?;
        self.add_terms(end, 1, &mut to, scope)?;
        from.1.sort();
        to.1.sort();
        if from.1 != to.1 {
            return Ok(None);
        }
        let width = Value::size(to.0.minus(&from.0));
        let offsets = self.range(&Value::int(0), &width, span)?;
        let index = match self.eval(start, scope)? {
            Value::Unknown => offsets,
            first => self.binary(
                BinaryOp::Add,
                (&offsets, span),
                (&as_ints(&first), start.span),
                span,
            )?,
        };
        match index {
            Value::Tensor(index) if index.ty.elem.is_int() => {
                Ok(Some(At::Gather(index, None, span)))
            }
            _ => Ok(None),
        }
    }

    /// The terms of a sum: what is known of them as a size, and the others as they are written,
    /// with their signs.
    fn add_terms(
        &mut self,
        expr: &Expr,
        sign: i64,
        terms: &mut (Size, Vec<(i64, String)>),
        scope: &Scope,
    ) -> Result<()> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.add_terms(inner, sign, terms, scope),
            ExprKind::Binary {
                op: op @ (BinaryOp::Add | BinaryOp::Sub),
                left,
                right,
                ..
            } => {
                self.add_terms(left, sign, terms, scope)?;
                let right_sign = if *op == BinaryOp::Add { sign } else { -sign };
                self.add_terms(right, right_sign, terms, scope)
            }
            _ => {
                match self.eval(expr, scope)?.as_size() {
                    Some(size) => {
                        terms.0 = terms.0.plus(&size.times(&Size::constant(sign)));
                    }
                    None => terms.1.push((sign, self.text(expr.span))),
                }
                Ok(())
            }
        }
    }

    fn take(&mut self, tensor: Tensor, places: &[At], base: Span, span: Span) -> Result<Value> {
        let mut places = self.steady(&tensor, places, span)?;
        let places = places.as_mut_slice();
        // Known places and slices first, as one slice; gathers then, from the last axis on, so
        // that earlier axes keep their numbers.
        let mut shape = Vec::new();
        let mut kept: Vec<Option<Dim>> = Vec::new();
        let mut bounds: Vec<(Size, Size)> = Vec::new();
        let mut open = false;
        for (axis, dim) in tensor.ty.shape.iter().enumerate() {
            match places.get(axis) {
                None | Some(At::All | At::Gather(..) | At::Moved(_) | At::Unknown) => {
                    bounds.push((Size::constant(0), dim.size.clone()));
                    kept.push(Some(dim.clone()));
                }
                Some(At::Known(at, _)) => {
                    bounds.push((at.clone(), at.plus(&Size::constant(1))));
                    kept.push(None);
                }
                Some(At::Range(a, b, at)) => {
                    bounds.push((a.clone(), b.clone()));
                    let whole = *a == Size::constant(0) && *b == dim.size;
                    let new = Dim {
                        size: b.minus(a),
                        name: None,
                        origin: Some(Rc::new(crate::value::Origin {
                            span: *at,
                            text: "from this slice".into(),
                        })),
                    };
                    kept.push(Some(if whole { dim.clone() } else { new }));
                }
                Some(At::Open) => {
                    open = true;
                    let size = self.later_size("_");
                    bounds.push((Size::constant(0), size.clone()));
                    kept.push(Some(Dim::of(size)));
                }
            }
        }
        shape.extend(kept.iter().flatten().cloned());
        let ty = TensorType {
            elem: tensor.ty.elem,
            shape: shape.into(),
        };
        let moved = bounds
            .iter()
            .zip(&tensor.ty.shape)
            .any(|((a, b), dim)| *a != Size::constant(0) || *b != dim.size);
        let mut result = if !moved && ty.rank() == tensor.ty.rank() {
            tensor.clone()
        } else if let Some(constant) = static_slice(&tensor, &bounds, &ty) {
            constant
        } else if let Some(rows) = stored_slice(&tensor, &bounds, &ty) {
            rows
        } else if open || self.checking() {
            Tensor {
                ty,
                repr: Repr::Unknown,
            }
        } else {
            // A slice of an axis that varies ends where the room of the new one does.
            let number = |size: &Size| size.as_constant().and_then(|n| usize::try_from(n).ok());
            let bounds: Vec<(Size, Size)> = bounds
                .iter()
                .map(|(a, b)| match (b.minus(a).room(), b.varies()) {
                    (Some(room), true) => (a.clone(), a.plus(&Size::constant(room as i64))),
                    _ => (a.clone(), b.clone()),
                })
                .collect();
            let start: Option<Vec<usize>> = bounds.iter().map(|(a, _)| number(a)).collect();
            let limit: Option<Vec<usize>> = bounds.iter().map(|(_, b)| number(b)).collect();
            let (Some(start), Some(limit)) = (start, limit) else {
                return fail("E0305", span, "the ends of this slice are not known here");
            };
            self.build(&[&tensor], ty, span, |f, v, ty, span| {
                let dims: Vec<usize> = start.iter().zip(&limit).map(|(a, b)| b - a).collect();
                let stride = vec![1; dims.len()];
                let sliced = f.push1(
                    Op::Slice {
                        start,
                        limit,
                        stride,
                    },
                    &[v[0]],
                    ty.with_dims(&dims),
                    span,
                );
                f.reshape(sliced, &ty.dims, span)
            })?
        };
        let mut axis = kept.iter().flatten().count();
        for (at, place) in kept.iter().enumerate().rev() {
            if place.is_some() {
                axis -= 1;
            }
            match places.get(at) {
                Some(At::Gather(index, _, index_span)) => {
                    result = self.gather(&result, axis, index, *index_span, base, span)?;
                }
                Some(At::Moved(index)) => result = self.moved(&result, axis, index, span)?,
                _ => {}
            }
        }
        Ok(Value::Tensor(result))
    }

    /// Places and ends on axes that vary: those that no slice of memory gives are looked up.
    fn steady(&mut self, tensor: &Tensor, places: &[At], span: Span) -> Result<Vec<At>> {
        let mut out = Vec::new();
        for (place, dim) in places.iter().zip(&tensor.ty.shape) {
            let number = |size: &Size| size.as_constant().is_some();
            // What is not known while checking is left to the run.
            let below = |size: &Size, need: i64| match size.bounds() {
                Some((least, _)) => least < need,
                None => !self.checking(),
            };
            out.push(match place {
                At::Known(at, at_span) if dim.size.varies() || at.varies() => {
                    if below(&dim.size.minus(at), 1) || below(at, 0) {
                        self.too_far(
                            &format!("the place `{}`", self.text(*at_span)),
                            dim,
                            *at_span,
                        )?;
                    }
                    match Value::size(at.clone()) {
                        _ if self.checking() => place.clone(),
                        Value::Tensor(at) => At::Moved(at),
                        _ => return fail("E0490", span, "a place is no int"),
                    }
                }
                At::Range(a, b, at_span) if dim.size.varies() || a.varies() || b.varies() => {
                    let new = b.minus(a);
                    if below(&new, 0) || below(a, 0) || below(&dim.size.minus(b), 0) {
                        let what = format!("the slice `{}`", self.text(*at_span));
                        self.too_far(&what, dim, *at_span)?;
                    }
                    let fits = number(a)
                        && new.varies()
                        && a.plus(&Size::constant(new.room().unwrap_or(0) as i64))
                            .room()
                            .is_some_and(|end| dim.size.room().is_some_and(|room| end <= room));
                    match fits || self.checking() {
                        true => place.clone(),
                        false => {
                            let new = Dim {
                                size: new,
                                name: None,
                                origin: dim.origin.clone(),
                            };
                            At::Moved(self.steps(&new, a, false, span)?)
                        }
                    }
                }
                other => other.clone(),
            });
        }
        Ok(out)
    }

    /// Entries of an axis by ints: the axis is replaced by the index's axes.
    pub(crate) fn gather(
        &mut self,
        x: &Tensor,
        axis: usize,
        index: &Tensor,
        index_span: Span,
        _base: Span,
        span: Span,
    ) -> Result<Tensor> {
        if let (Repr::Static(host), Some(n)) = (&index.repr, x.ty.shape[axis].size.as_constant()) {
            for at in 0..host.len() {
                let value = host.get_i64(at);
                if !(0..n).contains(&value) {
                    let diagnostic = Diagnostic::error(
                        "E0313",
                        index_span,
                        format!("index {value} is out of range for an axis of size {n}"),
                    );
                    let diagnostic = self.repair_index(diagnostic, value, Some(n), index_span);
                    return Err(Box::new(with_origin(diagnostic, &x.ty.shape[axis])));
                }
            }
        }
        let index = self.convert(index, Elem::I64, index_span)?;
        // Beyond its own length an index means nothing; 0 is always a place.
        let index = self.within(&index, None, 0.0, index_span)?;
        let index = self.within_length(&index, &x.ty.shape[axis], index_span)?;
        let index = self.checked_if_taken(index, index_span)?;
        self.gather_unchecked(x, axis, &index, span)
    }

    /// The index, or one that is no place where it is beyond the example's length.
    fn within_length(&mut self, index: &Tensor, dim: &Dim, span: Span) -> Result<Tensor> {
        if !dim.size.varies() || self.checking() {
            return Ok(index.clone());
        }
        let length = Tensor {
            ty: TensorType::scalar(Elem::I64),
            repr: Repr::Symbolic(dim.size.clone()),
        };
        let real = self.inside(&index.ty.shape, None, span)?;
        let checked = self.build(
            &[index, &length],
            index.ty.clone(),
            span,
            |f, v, ty, span| {
                let limit = f.broadcast_leading(v[1], &ty.dims, span);
                let fits = f.compare(Comparison::Lt, v[0], limit, span);
                // What the message tells is the length: `-1 - length`.
                let none = f.number(-1.0, ty, span);
                let none = f.binary(Binary::Sub, none, limit, span);
                f.select(fits, v[0], none, span)
            },
        )?;
        match real {
            Some(flags) => self.instead(&checked, &flags, 0.0, span),
            None => Ok(checked),
        }
    }

    /// Entries of an axis by ints, as [`Elaborator::gather`], that are places of it.
    pub(crate) fn gather_unchecked(
        &mut self,
        x: &Tensor,
        axis: usize,
        index: &Tensor,
        span: Span,
    ) -> Result<Tensor> {
        let fault = match x.ty.shape[axis].size.varies() {
            true => Fault::Beyond,
            false => Fault::Index,
        };
        let (rank, t) = (x.ty.rank(), index.ty.rank());
        let mut shape: Vec<Dim> = x.ty.shape[..axis].to_vec();
        shape.extend(index.ty.shape.iter().cloned());
        shape.extend(x.ty.shape[axis + 1..].iter().cloned());
        let ty = TensorType {
            elem: x.ty.elem,
            shape: shape.into(),
        };
        let blamed = self.blamed(span);
        self.build(&[x, index], ty, blamed, |f, v, ty, span| {
            if axis == 0 {
                return f.push1(Op::Gather { batch: 0, fault }, v, ty, span);
            }
            // Axis to the front, gather, and the new axes back to its place.
            let order: Vec<usize> = std::iter::once(axis)
                .chain((0..rank).filter(|&a| a != axis))
                .collect();
            let front = f.permute(v[0], &order, span);
            let mut dims: Vec<usize> = ty.dims[axis..axis + t].to_vec();
            dims.extend(&ty.dims[..axis]);
            dims.extend(&ty.dims[axis + t..]);
            let gathered = f.push1(
                Op::Gather { batch: 0, fault },
                &[front, v[1]],
                ty.with_dims(&dims),
                span,
            );
            let back: Vec<usize> = (t..t + axis)
                .chain(0..t)
                .chain(t + axis..dims.len())
                .collect();
            f.permute(gathered, &back, span)
        })
    }
}

/// A known place or end as it is written: `-1` counts from the end. Another negative number, such as that
/// of `i - 1` at an `i` of 0, does not, as it would not in compiled code.
fn from_the_end(size: Size, expr: &Expr, dim: &Dim) -> Size {
    let ExprKind::Neg(number) = &expr.kind else {
        return size;
    };
    match (&number.kind, size.as_constant()) {
        (ExprKind::Int(_), Some(at)) if at < 0 => dim.size.plus(&size),
        _ => size,
    }
}

/// A slice of a small constant is a constant.
/// A run of rows that stay in their file.
fn stored_slice(tensor: &Tensor, bounds: &[(Size, Size)], ty: &TensorType) -> Option<Tensor> {
    let Repr::Stored(rows) = &tensor.repr else {
        return None;
    };
    let (first, others) = bounds.split_first()?;
    let whole = others
        .iter()
        .zip(&tensor.ty.shape[1..])
        .all(|((a, b), dim)| *a == Size::constant(0) && *b == dim.size);
    if !whole || ty.rank() != tensor.ty.rank() {
        return None;
    }
    let place = |size: &Size| usize::try_from(size.as_constant()?).ok();
    let (from, to) = (place(&first.0)?, place(&first.1)?);
    Some(Tensor {
        ty: ty.clone(),
        repr: Repr::Stored(Arc::new(rows.slice(from, to))),
    })
}

fn static_slice(tensor: &Tensor, bounds: &[(Size, Size)], ty: &TensorType) -> Option<Tensor> {
    let Repr::Static(host) = &tensor.repr else {
        return None;
    };
    let ranges: Vec<(usize, usize)> = bounds
        .iter()
        .map(|(a, b)| {
            Some((
                usize::try_from(a.as_constant()?).ok()?,
                usize::try_from(b.as_constant()?).ok()?,
            ))
        })
        .collect::<Option<_>>()?;
    let dims = ty.dims()?;
    let total: usize = ranges.iter().map(|(a, b)| b - a).product();
    let mut values = Vec::with_capacity(total);
    for flat in 0..total {
        let (mut rest, mut at, mut step) = (flat, 0, 1);
        for (axis, (a, b)) in ranges.iter().enumerate().rev() {
            at += (a + rest % (b - a)) * step;
            rest /= b - a;
            step *= host.dims()[axis];
        }
        values.push(at);
    }
    let host = match host.elem() {
        Elem::I32 | Elem::I64 => {
            HostTensor::i64(&dims, values.iter().map(|&at| host.get_i64(at)).collect())
        }
        Elem::F32 | Elem::F64 | Elem::Bool => HostTensor::from_f64(
            host.elem(),
            &dims,
            values.iter().map(|&at| host.get_f64(at)),
        ),
    };
    Some(Tensor {
        ty: ty.clone(),
        repr: Repr::Static(Arc::new(host)),
    })
}
