//! Ragged data: sequences of different lengths (SEMANTICS.md S5).
//!
//! A script holds a list of tensors. Where compiled code takes them (`train`, `eval`, a call that
//! maps over them) they are *packed* side by side, padded to the longest, with their lengths.
//! What maps over them takes one out and *opens* it: an ordinary tensor with a size that varies
//! (`varying.rs`). Results with such a size are *closed* when the map ends, and become a list of
//! tensors of their true sizes when a statement does.

use crate::error::fail;
use crate::leaves::{leaves, map_tensors, with_leaves};
use crate::missing::plain;
use crate::size::{Range, Size};
use crate::value::{Dim, Maybe, Origin, Ragged, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Op, Type};
use aec_runtime::{Data, Elem, Tensor as HostTensor};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

/// Names of the sizes of axes, from the first.
const NAMES: [&str; 3] = ["n", "m", "k"];

/// Of so many data sets equal lengths are told to be equal: a script's loop makes ever new ones.
const MOST_KNOWN: usize = 1024;

/// What it is, for messages.
pub(crate) fn describe(ragged: &Ragged) -> String {
    let what = match crate::missing::plain(&ragged.value) {
        Value::Token(_) => "sequences of words",
        _ => "sequences",
    };
    let ranges: Vec<String> = ragged
        .sizes
        .iter()
        .filter_map(|(_, size)| size.bounds())
        .map(|(least, most)| format!("{} to {most}", least.max(0)))
        .collect();
    match (ragged.frame().first(), ranges.is_empty()) {
        (Some(dim), false) => format!("{} {what} of {} entries", dim.size, ranges.join(" by ")),
        (Some(dim), true) => format!("{} {what} of different lengths", dim.size),
        (None, _) => format!("one of {what} of different lengths"),
    }
}

/// One item of a list to pack: its tensor, if it is not an empty list.
fn item(value: &Value) -> Option<Option<&Tensor>> {
    match value {
        Value::List(items) if items.is_empty() => Some(None),
        Value::Tensor(tensor) | Value::Token(tensor) if tensor.ty.rank() > 0 => Some(Some(tensor)),
        Value::Maybe(maybe) => maybe.value.tensor().filter(|t| t.ty.rank() > 0).map(Some),
        _ => None,
    }
}

/// Whether it is a list of tensors of one rank, which a script keeps one by one as their sizes
/// differ.
pub(crate) fn is_ragged(value: &Value) -> bool {
    let Value::List(items) = value else {
        return false;
    };
    let Some(tensors) = items.iter().map(item).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let mut ranks = tensors.iter().flatten().map(|tensor| tensor.ty.rank());
    let first = ranks.next();
    first.is_some() && ranks.all(|rank| Some(rank) == first)
}

/// Whether the items of a list are tensors whose sizes are not all the same.
pub(crate) fn differ(items: &[Value]) -> bool {
    let sizes = |value: &Value| -> Option<Vec<Size>> {
        let tensor = value.tensor()?;
        Some(tensor.ty.shape.iter().map(|dim| dim.size.clone()).collect())
    };
    let mut all = items.iter().map(sizes);
    let first = all.next();
    all.any(|other| Some(other) != first)
}

/// Whether a part of a value is ragged.
fn holds_ragged(value: &Value) -> bool {
    match value {
        Value::Ragged(_) => true,
        Value::Tuple(parts) | Value::List(parts) => parts.iter().any(holds_ragged),
        Value::Record(fields) => fields.iter().any(|(_, part)| holds_ragged(part)),
        _ => false,
    }
}

/// Sequences of different lengths where one value is wanted.
pub(crate) fn refuse(span: Span, what: &str, got: &Value) -> Diagnostic {
    Diagnostic::error(
        "E0340",
        span,
        format!(
            "{what} is wanted here, but this is {}",
            match got {
                Value::List(_) => format!("{} of different lengths", got.describe()),
                _ => got.describe(),
            }
        ),
    )
    .help(
        "write a function of one of them, with a size in its type: `fn f(x: [n]) = …`; \
         called with all of them it is mapped",
    )
}

/// The elements of a tensor that is known.
fn host(tensor: &Tensor) -> Option<&Arc<HostTensor>> {
    match &tensor.repr {
        Repr::Static(host) | Repr::Concrete(host) => Some(host),
        _ => None,
    }
}

/// The flags of a `?`.
fn flags(value: &Value) -> Option<&Tensor> {
    match value {
        Value::Maybe(maybe) => Some(&maybe.observed),
        _ => None,
    }
}

/// The flags of an item of a list, all true where it has none; none for an empty list.
fn own_flags(value: &Value) -> Option<Tensor> {
    if let Some(flags) = flags(value) {
        return Some(flags.clone());
    }
    let dims = value.tensor()?.ty.dims()?;
    let count = dims.iter().product();
    let all = HostTensor::from_f64(Elem::Bool, &dims, std::iter::repeat_n(1.0, count));
    Value::concrete(all).tensor().cloned()
}

/// Tensors one after the other, each with zeros up to `room`.
pub(crate) fn padded(parts: &[Option<Arc<HostTensor>>], room: &[usize], elem: Elem) -> HostTensor {
    let dims: Vec<usize> = std::iter::once(parts.len())
        .chain(room.iter().copied())
        .collect();
    let mut whole = HostTensor::zeros(elem, &dims);
    let volume: usize = room.iter().product();
    for (at, part) in parts.iter().enumerate() {
        let Some(part) = part else { continue };
        let part = crate::trace::converted(part, elem);
        each_run(part.dims(), room, &mut |from, to, len| {
            copy(part.data(), from, whole.data_mut(), at * volume + to, len);
        });
    }
    whole
}

/// Runs of entries that lie together in a tensor of dims `own` and in a larger one: where they
/// begin in both, and how many.
fn each_run(own: &[usize], room: &[usize], run: &mut dyn FnMut(usize, usize, usize)) {
    let Some((&len, outer)) = own.split_last() else {
        return run(0, 0, 1);
    };
    let rows: usize = outer.iter().product();
    for row in 0..rows {
        let (mut rest, mut to, mut step) = (row, 0, room[outer.len()]);
        for (axis, &size) in outer.iter().enumerate().rev() {
            to += rest % size * step;
            rest /= size;
            step *= room[axis];
        }
        run(row * len, to, len);
    }
}

pub(crate) fn copy(from: &Data, start: usize, to: &mut Data, at: usize, len: usize) {
    let (source, target) = (start..start + len, at..at + len);
    match (from, to) {
        (Data::F32(from), Data::F32(to)) => to[target].copy_from_slice(&from[source]),
        (Data::F64(from), Data::F64(to)) => to[target].copy_from_slice(&from[source]),
        (Data::I32(from), Data::I32(to)) => to[target].copy_from_slice(&from[source]),
        (Data::I64(from), Data::I64(to)) => to[target].copy_from_slice(&from[source]),
        (Data::Bool(from), Data::Bool(to)) => to[target].copy_from_slice(&from[source]),
        // Both were made of one element type.
        _ => {}
    }
}

/// The first entries of each axis of one row of a padded tensor.
fn trimmed(whole: &HostTensor, row: usize, dims: &[usize]) -> HostTensor {
    let room = &whole.dims()[1..];
    let volume: usize = room.iter().product();
    let mut part = HostTensor::zeros(whole.elem(), dims);
    each_run(dims, room, &mut |to, from, len| {
        copy(whole.data(), row * volume + from, part.data_mut(), to, len);
    });
    part
}

impl Elaborator {
    /// The size that the lengths of a data set are: the same for equal lengths.
    fn size_of_lengths(&mut self, lengths: &Arc<HostTensor>, name: &str) -> Size {
        let known = self.varying.known.iter().find(|(own, _)| own == lengths);
        if let Some((_, size)) = known {
            return size.clone();
        }
        let all = || (0..lengths.len()).map(|at| lengths.get_i64(at));
        let range = Range {
            least: all().min().unwrap_or(0),
            most: all().max().unwrap_or(0).max(1),
        };
        let size = self.varying_size(name, range);
        if self.varying.known.len() == MOST_KNOWN {
            self.varying.known.remove(0);
        }
        self.varying.known.push((lengths.clone(), size.clone()));
        size
    }

    /// A list of tensors of one rank and different sizes, side by side; a list of equal ones
    /// stacked; none if it is neither.
    pub(crate) fn packed(&mut self, value: &Value, span: Span) -> Result<Option<Value>> {
        let Value::List(items) = value else {
            return Ok(None);
        };
        if self.checking() && items.iter().any(|item| matches!(item, Value::Unknown)) {
            return Ok(Some(Value::Unknown));
        }
        if matches!(items.first(), Some(Value::Tree(_))) {
            let items = match self.effects_allowed() {
                true => self.materialize(items, span)?,
                false => items.to_vec(),
            };
            return Ok(crate::treebank::packed(self, &items));
        }
        let Some(tensors) = items.iter().map(item).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let Some(first) = tensors.iter().flatten().next() else {
            return Ok(None);
        };
        let rank = first.ty.rank();
        let empty = tensors.iter().any(Option::is_none);
        if tensors
            .iter()
            .flatten()
            .any(|tensor| tensor.ty.rank() != rank)
        {
            return Ok(None);
        }
        let elem = tensors
            .iter()
            .flatten()
            .find(|tensor| !tensor.is_static_int())
            .or_else(|| tensors.iter().flatten().find(|t| t.ty.elem.is_float()))
            .map_or(first.ty.elem, |tensor| tensor.ty.elem);
        let fits = |tensor: &Tensor| {
            tensor.ty.elem == elem || (tensor.is_static_int() && elem != Elem::Bool)
        };
        if !tensors.iter().flatten().all(|tensor| fits(tensor)) {
            return Ok(None);
        }
        let axis_varies = |axis: usize| {
            let mut sizes = tensors.iter().flatten().map(|t| &t.ty.shape[axis].size);
            let one = sizes.next();
            (axis == 0 && empty) || sizes.any(|size| Some(size) != one)
        };
        let varying: Vec<usize> = (0..rank).filter(|&axis| axis_varies(axis)).collect();
        if varying.is_empty() {
            let stacked = self.stack(value, span)?;
            return Ok((!matches!(stacked, Value::List(_))).then_some(stacked));
        }
        let hosts: Option<Vec<Option<Arc<HostTensor>>>> = tensors
            .iter()
            .map(|tensor| match tensor {
                None => Some(None),
                Some(tensor) => host(tensor).map(|host| Some(host.clone())),
            })
            .collect();
        // Values of compiled code, as a list is that is differentiated, are put side by side there.
        let sized = tensors.iter().flatten().all(|t| t.ty.dims().is_some());
        if hosts.is_none() && !sized && !self.checking() {
            return Ok(None);
        }
        let frame = Dim::known(items.len());
        let mut shape: Vec<Dim> = std::iter::once(&frame)
            .chain(&first.ty.shape)
            .cloned()
            .collect();
        let (mut sizes, mut lengths) = (Vec::new(), Vec::new());
        for &axis in &varying {
            let name = NAMES.get(axis).copied().unwrap_or("n");
            let known: Option<Vec<i64>> = tensors
                .iter()
                .map(|tensor| match tensor {
                    None => Some(0),
                    Some(tensor) => tensor.ty.shape[axis].size.as_constant(),
                })
                .collect();
            let (size, repr) = match known {
                Some(known) => {
                    let host = Arc::new(HostTensor::i64(&[known.len()], known));
                    let size = self.size_of_lengths(&host, name);
                    (size, Repr::Concrete(host))
                }
                None => (self.fresh_size(name), Repr::Unknown),
            };
            shape[axis + 1] = match size.room() {
                Some(room) => Dim::known(room),
                None => Dim::of(size.clone()),
            };
            let ty = TensorType {
                elem: Elem::I64,
                shape: vec![frame.clone()].into(),
            };
            lengths.extend(size.names().first().map(|&id| (id, Tensor { ty, repr })));
            sizes.push((rank - 1 - axis, size));
        }
        let table = |parts: Option<&[Option<Arc<HostTensor>>]>, elem: Elem| {
            let ty = TensorType {
                elem,
                shape: shape.clone().into(),
            };
            let room = ty.dims();
            let repr = match (parts, room) {
                (Some(parts), Some(room)) => {
                    Repr::Concrete(Arc::new(padded(parts, &room[1..], elem)))
                }
                _ => Repr::Unknown,
            };
            Tensor { ty, repr }
        };
        let entries = table(hosts.as_deref(), elem);
        let entries = match hosts {
            None if !self.checking() => {
                let parts: Vec<Option<Tensor>> =
                    tensors.iter().map(|tensor| tensor.cloned()).collect();
                self.side_by_side(&parts, entries.ty, span)?
            }
            _ => entries,
        };
        let words = items.iter().any(|item| {
            let plain = crate::missing::plain(item);
            matches!(plain, Value::Token(_))
        });
        let value = match words {
            true => Value::Token(entries),
            false => Value::Tensor(entries),
        };
        let value = if items.iter().any(|item| flags(item).is_some()) {
            let seen: Vec<Option<Arc<HostTensor>>> = items
                .iter()
                .zip(&tensors)
                .map(|(item, tensor)| match (flags(item), tensor) {
                    (Some(flags), _) => host(flags).cloned(),
                    (None, Some(tensor)) => tensor.ty.dims().map(|dims| {
                        let count = dims.iter().product();
                        let all = std::iter::repeat_n(1.0, count);
                        Arc::new(HostTensor::from_f64(Elem::Bool, &dims, all))
                    }),
                    (None, None) => None,
                })
                .collect();
            let observed = table(hosts.is_some().then_some(&seen), Elem::Bool);
            let observed = match hosts {
                None if !self.checking() => {
                    let parts: Vec<Option<Tensor>> = items.iter().map(own_flags).collect();
                    self.side_by_side(&parts, observed.ty, span)?
                }
                _ => observed,
            };
            Value::Maybe(Rc::new(Maybe { value, observed }))
        } else {
            value
        };
        Ok(Some(Value::Ragged(Rc::new(Ragged {
            value,
            sizes,
            lengths,
        }))))
    }

    /// Tensors of compiled code one after the other, each with zeros up to the room that the type
    /// has for it.
    fn side_by_side(
        &mut self,
        parts: &[Option<Tensor>],
        ty: TensorType,
        span: Span,
    ) -> Result<Tensor> {
        let mut own = Vec::new();
        for part in parts.iter().flatten() {
            own.push(self.convert(part, ty.elem, span)?);
        }
        let own: Vec<&Tensor> = own.iter().collect();
        self.build(&own, ty, span, |f, v, ty, span| {
            let room = ty.dims[1..].to_vec();
            let row: Vec<usize> = std::iter::once(1).chain(room.iter().copied()).collect();
            let zero = f.number(0.0, Type::scalar(ty.elem), span);
            let mut own = v.iter();
            let mut rows = Vec::with_capacity(parts.len());
            for part in parts {
                let whole = match part.as_ref().and_then(|_| own.next()) {
                    Some(&value) => {
                        let dims = f.dims(value).to_vec();
                        let high = room.iter().zip(&dims).map(|(room, own)| room - own);
                        let pad = Op::Pad {
                            low: vec![0; dims.len()],
                            high: high.collect(),
                            interior: vec![0; dims.len()],
                        };
                        f.push1(pad, &[value, zero], ty.with_dims(&room), span)
                    }
                    None => f.number(0.0, ty.with_dims(&room), span),
                };
                rows.push(f.reshape(whole, &row, span));
            }
            f.push1(Op::Concat { axis: 0 }, &rows, ty, span)
        })
    }

    /// Data as compiled code takes it: lists of sequences packed, also as parts of a tuple or
    /// record.
    pub fn packed_data(&mut self, data: &Value, span: Span) -> Result<Value> {
        Ok(match data {
            Value::List(_) => self.packed(data, span)?.unwrap_or_else(|| data.clone()),
            Value::Tuple(parts) => {
                let parts = parts.iter().map(|part| self.packed_data(part, span));
                Value::tuple(parts.collect::<Result<_>>()?)
            }
            Value::Record(fields) => {
                let mut out = Vec::new();
                for (name, field) in fields.iter() {
                    out.push((name.clone(), self.packed_data(field, span)?));
                }
                Value::Record(Rc::new(out))
            }
            other => other.clone(),
        })
    }

    /// A value of which one example was taken out: ragged parts become tensors with sizes that
    /// vary, whose lengths are known until the mark that [`Elaborator::lengths_mark`] gave.
    pub(crate) fn open(&mut self, value: &Value) -> Value {
        match value {
            Value::Ragged(ragged) if ragged.frame().is_empty() => {
                self.varying.lengths.extend(ragged.lengths.iter().cloned());
                let sizes = &ragged.sizes;
                map_tensors(&ragged.value, &mut |tensor| {
                    let mut tensor = tensor.clone();
                    let rank = tensor.ty.rank();
                    for (from_last, size) in sizes {
                        let Some(axis) = rank.checked_sub(from_last + 1) else {
                            continue;
                        };
                        let origin = size.bounds().map(|(least, most)| {
                            let text =
                                format!("it varies between examples, from {least} to {most}");
                            Rc::new(Origin {
                                span: Span::NONE,
                                text: text.into(),
                            })
                        });
                        tensor.ty.shape[axis] = Dim {
                            origin,
                            ..Dim::of(size.clone())
                        };
                    }
                    tensor
                })
            }
            Value::Tuple(parts) => Value::tuple(parts.iter().map(|part| self.open(part)).collect()),
            Value::List(parts) => {
                Value::List(Rc::new(parts.iter().map(|part| self.open(part)).collect()))
            }
            Value::Record(fields) => Value::Record(Rc::new(
                fields
                    .iter()
                    .map(|(name, part)| (name.clone(), self.open(part)))
                    .collect(),
            )),
            other => other.clone(),
        }
    }

    /// What a map gives, as a script holds it: ragged results are computed, as lists.
    pub(crate) fn script_lists(&mut self, value: Value, span: Span) -> Result<Value> {
        if !holds_ragged(&value) || !self.effects_allowed() {
            return Ok(value);
        }
        match self.checking() {
            true => Ok(self.typed_lists(&value)),
            false => self.materialize_one(value, span),
        }
    }

    /// Ragged values of which only the types are known, as lists.
    fn typed_lists(&self, value: &Value) -> Value {
        match value {
            Value::Ragged(ragged) => self.typed_list(ragged).unwrap_or(Value::Unknown),
            Value::Tuple(parts) => {
                Value::tuple(parts.iter().map(|part| self.typed_lists(part)).collect())
            }
            Value::Record(fields) => Value::Record(Rc::new(
                fields
                    .iter()
                    .map(|(name, part)| (name.clone(), self.typed_lists(part)))
                    .collect(),
            )),
            other => other.clone(),
        }
    }

    /// The sequences one by one, of compiled code that knows their lengths.
    pub(crate) fn items_of(&mut self, ragged: &Ragged, span: Span) -> Result<Option<Vec<Value>>> {
        let Some(Value::List(items)) = self.typed_list(ragged) else {
            return Ok(None);
        };
        let whole: Vec<Value> = leaves(&ragged.value)
            .into_iter()
            .map(|leaf| leaf.tensor)
            .collect();
        let mut out = Vec::with_capacity(items.len());
        for (row, item) in items.iter().enumerate() {
            let mut parts = Vec::with_capacity(whole.len());
            for (whole, part) in whole.iter().zip(leaves(item)) {
                let (Some(whole), Some(part)) = (whole.tensor(), part.tensor.tensor()) else {
                    return Ok(None);
                };
                let part = self.build(&[whole], part.ty.clone(), span, |f, v, ty, span| {
                    let dims = || std::iter::once(1).chain(ty.dims.iter().copied());
                    let mut start = vec![0; ty.dims.len() + 1];
                    start[0] = row;
                    let slice = Op::Slice {
                        limit: start
                            .iter()
                            .zip(dims())
                            .map(|(from, len)| from + len)
                            .collect(),
                        stride: vec![1; start.len()],
                        start,
                    };
                    let row: Vec<usize> = dims().collect();
                    let one = f.push1(slice, v, ty.with_dims(&row), span);
                    f.reshape(one, &ty.dims, span)
                })?;
                parts.push(Value::Tensor(part));
            }
            out.push(with_leaves(item, &mut parts.into_iter(), false));
        }
        Ok(Some(out))
    }

    /// A list that is built like sequences of compiled code, each as long as its own, side by side;
    /// none if it is not.
    pub(crate) fn packed_like(
        &mut self,
        like: &Ragged,
        given: &Value,
        span: Span,
    ) -> Result<Option<Value>> {
        let (Some(Value::List(types)), Value::List(items)) = (self.typed_list(like), given) else {
            return Ok(None);
        };
        let dims = |value: &Value| value.tensor().and_then(|tensor| tensor.ty.dims());
        let fits = types.len() == items.len()
            && types
                .iter()
                .zip(items.iter())
                .all(|(a, b)| dims(a) == dims(b));
        if !fits {
            return Ok(None);
        }
        Ok(match self.packed(given, span)? {
            Some(Value::Ragged(own)) => Some(plain(&own.value).clone()),
            Some(Value::Unknown) | None => None,
            Some(one) => Some(plain(&one).clone()),
        })
    }

    fn typed_list(&self, ragged: &Ragged) -> Option<Value> {
        let [rows] = ragged.frame() else {
            return None;
        };
        let rows = usize::try_from(rows.size.as_constant()?).ok()?;
        let known = &self.varying.known;
        let lengths = |id: u32| {
            let own = known.iter().find(|(_, size)| size.names() == [id]);
            own.map(|(lengths, _)| lengths)
        };
        let items = (0..rows).map(|row| {
            let mut sizes = Vec::new();
            for (from_last, size) in &ragged.sizes {
                let value = size.value(&|id| lengths(id).map(|own| own.get_i64(row)))?;
                sizes.push((*from_last, Dim::of(Size::constant(value))));
            }
            Some(map_tensors(&ragged.value, &mut |tensor| {
                let mut ty = crate::loops::without_axis(&tensor.ty);
                for (from_last, dim) in &sizes {
                    let axis = ty.rank().saturating_sub(from_last + 1);
                    if let Some(own) = ty.shape.get_mut(axis) {
                        *own = dim.clone();
                    }
                }
                let repr = Repr::Unknown;
                Tensor { ty, repr }
            }))
        });
        Some(Value::List(Rc::new(items.collect::<Option<_>>()?)))
    }

    /// What is opened from here on ends at [`Elaborator::close`].
    pub(crate) fn lengths_mark(&self) -> usize {
        self.varying.lengths.len()
    }

    /// A result of a map that opened what stands beyond the mark: tensors with those sizes become
    /// ragged. The lengths are known until [`Elaborator::forget_lengths`].
    pub(crate) fn close(&mut self, value: Value, mark: usize, span: Span) -> Result<Value> {
        if self.lengths_mark() == mark {
            return Ok(value);
        }
        self.closed(&value, mark, span)
    }

    /// Forgets the lengths that were opened since the mark.
    pub(crate) fn forget_lengths(&mut self, mark: usize) {
        self.varying.lengths.truncate(mark);
    }

    fn closed(&mut self, value: &Value, mark: usize, span: Span) -> Result<Value> {
        Ok(match value {
            Value::Tensor(tensor) | Value::Token(tensor) => {
                let shape = tensor.ty.shape.clone();
                self.with_lengths(value, &shape, mark, span)?
            }
            Value::Maybe(maybe) => match maybe.value.tensor() {
                Some(tensor) => {
                    let shape = tensor.ty.shape.clone();
                    self.with_lengths(value, &shape, mark, span)?
                }
                None => value.clone(),
            },
            Value::Tuple(parts) => {
                let parts = parts.iter().map(|part| self.closed(part, mark, span));
                Value::tuple(parts.collect::<Result<_>>()?)
            }
            Value::List(parts) => {
                let parts = parts.iter().map(|part| self.closed(part, mark, span));
                Value::List(Rc::new(parts.collect::<Result<_>>()?))
            }
            Value::Record(fields) => {
                let mut out = Vec::new();
                for (name, part) in fields.iter() {
                    out.push((name.clone(), self.closed(part, mark, span)?));
                }
                Value::Record(Rc::new(out))
            }
            Value::Ragged(ragged) => {
                let outer = |size: &Size| self.opened(size, mark).next().is_some();
                let frame = ragged.frame().iter().any(|dim| outer(&dim.size));
                if frame || ragged.sizes.iter().any(|(_, size)| outer(size)) {
                    return fail(
                        "E0340",
                        self.blamed(span),
                        "sequences of sequences, both of which vary in length, have no place here",
                    );
                }
                value.clone()
            }
            other => other.clone(),
        })
    }

    /// The names in a size that were opened since the mark, with their values.
    fn opened<'a>(
        &'a self,
        size: &Size,
        mark: usize,
    ) -> impl Iterator<Item = (u32, &'a Tensor)> + use<'a> {
        size.names().into_iter().filter_map(move |id| {
            let opened = self.varying.lengths[mark..].iter().rev();
            let mut own = opened.filter(move |(own, _)| *own == id);
            own.next().map(|(_, length)| (id, length))
        })
    }

    fn with_lengths(
        &mut self,
        value: &Value,
        shape: &[Dim],
        mark: usize,
        span: Span,
    ) -> Result<Value> {
        let (mut sizes, mut lengths): (Vec<_>, Vec<(u32, Tensor)>) = (Vec::new(), Vec::new());
        for (axis, dim) in shape.iter().enumerate() {
            let names = dim.size.names().len();
            let own: Vec<(u32, Tensor)> = self
                .opened(&dim.size, mark)
                .map(|(id, length)| (id, length.clone()))
                .collect();
            if own.is_empty() {
                continue;
            }
            if own.len() < names {
                return fail(
                    "E0340",
                    self.blamed(span),
                    format!("the size {} varies in two ways at once", dim.size),
                );
            }
            sizes.push((shape.len() - 1 - axis, dim.size.clone()));
            for (id, length) in own {
                if lengths.iter().all(|(known, _)| *known != id) {
                    lengths.push((id, length));
                }
            }
        }
        if sizes.is_empty() {
            return Ok(value.clone());
        }
        let value = map_tensors(value, &mut |tensor| {
            let mut tensor = tensor.clone();
            for (from_last, size) in &sizes {
                let axis = tensor.ty.rank().saturating_sub(from_last + 1);
                if let (Some(dim), Some(room)) = (tensor.ty.shape.get_mut(axis), size.room()) {
                    *dim = Dim::known(room);
                }
            }
            tensor
        });
        Ok(Value::Ragged(Rc::new(Ragged {
            value,
            sizes,
            lengths,
        })))
    }
}

/// Ragged values in memory as lists of tensors of their true sizes, which is what scripts hold.
pub(crate) fn unpacked(value: &Value) -> Value {
    match value {
        Value::Ragged(ragged) => listed(ragged).unwrap_or_else(|| value.clone()),
        Value::Tuple(parts) => Value::tuple(parts.iter().map(unpacked).collect()),
        Value::List(parts) => Value::List(Rc::new(parts.iter().map(unpacked).collect())),
        Value::Record(fields) => Value::Record(Rc::new(
            fields
                .iter()
                .map(|(name, part)| (name.clone(), unpacked(part)))
                .collect(),
        )),
        other => other.clone(),
    }
}

/// The examples one by one; none if they are not in memory.
fn listed(ragged: &Ragged) -> Option<Value> {
    let [rows] = ragged.frame() else {
        return None;
    };
    let rows = usize::try_from(rows.size.as_constant()?).ok()?;
    let whole = ragged.value.tensor()?;
    let entries = host(whole)?.clone();
    let seen = match &ragged.value {
        Value::Maybe(maybe) => Some(host(&maybe.observed)?.clone()),
        _ => None,
    };
    let lengths: Vec<(u32, Arc<HostTensor>)> = ragged
        .lengths
        .iter()
        .map(|(id, tensor)| host(tensor).map(|host| (*id, host.clone())))
        .collect::<Option<_>>()?;
    let mut items = Vec::with_capacity(rows);
    for row in 0..rows {
        let mut dims = entries.dims()[1..].to_vec();
        for (from_last, size) in &ragged.sizes {
            let value = size.value(&|id| {
                let own = lengths.iter().find(|(own, _)| *own == id);
                own.map(|(_, lengths)| lengths.get_i64(row))
            })?;
            let axis = dims.len().checked_sub(from_last + 1)?;
            dims[axis] = usize::try_from(value).unwrap_or(0).min(dims[axis]);
        }
        let part = Value::concrete(trimmed(&entries, row, &dims));
        let part = match (crate::missing::plain(&ragged.value), part) {
            (Value::Token(_), Value::Tensor(words)) => Value::Token(words),
            (_, part) => part,
        };
        items.push(match &seen {
            Some(seen) => Value::missing(part, Value::concrete(trimmed(seen, row, &dims))),
            None => part,
        });
    }
    Some(Value::List(Rc::new(items)))
}
