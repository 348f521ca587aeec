//! Builtins that move entries or look at shapes.

use crate::call::Args;
use crate::error::{fail, size_mismatch, wanted};
use crate::ops::as_tensor;
use crate::size::Size;
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Op, Reduction};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

/// Parts that `concat` takes one by one.
const MAX_PARTS: i64 = 4096;

/// Sizes from a list, a tensor of ints, or one int.
pub(super) fn sizes(elaborator: &mut Elaborator, value: &Value, span: Span) -> Result<Vec<Dim>> {
    let items: Vec<Value> = match value {
        Value::List(items) | Value::Tuple(items) => items.to_vec(),
        Value::Tensor(tensor) if tensor.is_scalar() => vec![value.clone()],
        Value::Tensor(tensor) if elaborator.checking() && value.host().is_none() => {
            return unknown_sizes(elaborator, tensor, span);
        }
        Value::Tensor(_) => {
            let known = match elaborator.effects_allowed() {
                true => elaborator.materialize_one(value.clone(), span)?,
                false => value.clone(),
            };
            if known.host().is_none() {
                return wanted(span, "a shape that is known here", value);
            }
            crate::rows::split_rows(&known)
        }
        other => return wanted(span, "a shape (a list of sizes)", other),
    };
    let mut dims = Vec::new();
    for item in items {
        let item = if elaborator.effects_allowed() {
            elaborator.materialize_one(item, span)?
        } else {
            item
        };
        match item.as_size() {
            Some(size) if size.as_constant().is_some_and(|size| size < 0) => {
                let message = format!("the size {size} is below zero");
                let error = Diagnostic::error("E0307", span, message);
                // What other libraries take for "whatever is left".
                return Err(Box::new(match size.as_constant() {
                    Some(-1) => error.help(
                        "no size is found out by itself; `flatten(x)` has one axis, and `len(x) // 2` is a size",
                    ),
                    _ => error,
                }));
            }
            Some(size) => dims.push(Dim::of(size)),
            None if elaborator.checking() => {
                let size = elaborator.later_size("_");
                dims.push(Dim::of(size));
            }
            None => return wanted(span, "a size that is known here", &item),
        }
    }
    Ok(dims)
}

/// Sizes of which only the number is known.
fn unknown_sizes(elaborator: &mut Elaborator, shape: &Tensor, span: Span) -> Result<Vec<Dim>> {
    let count = match &shape.ty.shape[..] {
        [axes] => axes.size.as_constant(),
        _ => None,
    };
    match count.filter(|&count| count <= 64) {
        Some(count) => Ok((0..count)
            .map(|_| Dim::of(elaborator.later_size("_")))
            .collect()),
        None => wanted(
            span,
            "a shape (a list of sizes)",
            &Value::Tensor(shape.clone()),
        ),
    }
}

/// The tensors of a builtin's arguments, lists being stacked; none if anything is unknown.
fn tensor(elaborator: &mut Elaborator, args: &Args, at: usize) -> Result<Option<Tensor>> {
    let (value, span) = &args.positional[at];
    if matches!(value, Value::Unknown) {
        return Ok(None);
    }
    let value = elaborator.stack(value, *span)?;
    Ok(Some(as_tensor(&value, *span, "a tensor")?))
}

/// Number of entries of a shape.
pub(super) fn volume(shape: &[Dim]) -> Size {
    shape
        .iter()
        .fold(Size::constant(1), |size, dim| size.times(&dim.size))
}

pub(super) fn concat(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let mut axis = 0;
    for (name, value) in &args.named {
        if &*name.name != "axis" {
            return fail(
                "E0403",
                name.span,
                format!("`concat` has no parameter `{}`; it has `axis`", name.name),
            );
        }
        axis = match value.as_int().and_then(|axis| usize::try_from(axis).ok()) {
            Some(axis) => axis,
            None => return wanted(name.span, "the number of an axis", value),
        };
    }
    if let [(first, _), .., (number, at)] = args.positional.as_slice()
        && first.tensor().is_some_and(|tensor| !tensor.is_scalar())
        && number.as_int().is_some()
    {
        let named = format!("axis = {}", elaborator.text(*at));
        let error = Diagnostic::error("E0301", *at, "`concat` joins tensors, but this is an int");
        let help = format!("the axis has a name: `{named}`");
        return Err(Box::new(error.help_edit(help, *at, named)));
    }
    let parts: Vec<(Value, Span)> = match args.positional.as_slice() {
        [(Value::List(items), at)] => items.iter().map(|item| (item.clone(), *at)).collect(),
        [(Value::Tensor(stacked), at)] if stacked.ty.rank() > 1 => {
            // A list of equal tensors has become one tensor: its rows are the parts.
            let n = stacked.ty.shape[0].size.as_constant();
            let Some(n) = n else {
                return Ok(Value::Unknown);
            };
            if n > MAX_PARTS {
                let few = format!("at most {MAX_PARTS} parts (`reshape` makes one axis of two)");
                return wanted(*at, &few, &Value::Tensor(stacked.clone()));
            }
            let mut rows = Vec::new();
            for row in 0..n {
                let index = Tensor {
                    ty: TensorType::scalar(Elem::I64),
                    ..scalar_index(row)
                };
                rows.push((
                    Value::Tensor(elaborator.gather(stacked, 0, &index, *at, *at, span)?),
                    *at,
                ));
            }
            rows
        }
        parts => parts.to_vec(),
    };
    if parts
        .iter()
        .any(|(value, _)| matches!(value, Value::Unknown))
    {
        return Ok(Value::Unknown);
    }
    if parts.is_empty() {
        return fail(
            "E0401",
            span,
            "`concat` wants two or more tensors, or a list of them",
        );
    }
    let mut tensors = Vec::new();
    for (value, at) in &parts {
        tensors.push((as_tensor(value, *at, "a tensor")?, *at));
    }
    let text = elaborator.text(span);
    for at in 1..tensors.len() {
        let (first, first_span) = tensors[0].clone();
        let (other, other_span) = tensors[at].clone();
        let (a, b) = elaborator.promote(first, other, (first_span, other_span), span)?;
        tensors[0].0 = a;
        tensors[at].0 = b;
    }
    let (first, first_span) = tensors[0].clone();
    if axis >= first.ty.rank() {
        return Err(Box::new(
            Diagnostic::error(
                "E0302",
                first_span,
                format!(
                    "`concat` along axis {axis} wants tensors that have it, but this is {}",
                    first.ty
                ),
            )
            .help("numbers become a vector in brackets: `[a, b]`"),
        ));
    }
    let mut total = Size::constant(0);
    for (tensor, at) in &tensors {
        let same = tensor.ty.rank() == first.ty.rank()
            && tensor
                .ty
                .shape
                .iter()
                .zip(&first.ty.shape)
                .enumerate()
                .all(|(i, (a, b))| i == axis || !a.size.differs(&b.size));
        if !same {
            return Err(Box::new(size_mismatch(
                span,
                &text,
                (&first, first_span),
                (tensor, *at),
                None,
            )));
        }
        total = total.plus(&tensor.ty.shape[axis].size);
    }
    let mut ty = first.ty.clone();
    ty.shape[axis] = Dim::of(total);
    if let Some(known) = joined_constants(&tensors, &ty) {
        return Ok(Value::Tensor(known));
    }
    let (_, before) = tensors.split_last().unwrap_or((&tensors[0], &[]));
    let gaps = |(part, _): &(Tensor, Span)| part.ty.shape[axis].size.varies();
    if before.iter().any(gaps) && !elaborator.checking() {
        let mut all = tensors[0].0.clone();
        for (part, _) in &tensors[1..] {
            all = elaborator.joined(&all, part, axis, span)?;
        }
        return Ok(Value::Tensor(all));
    }
    let operands: Vec<&Tensor> = tensors.iter().map(|(tensor, _)| tensor).collect();
    Ok(Value::Tensor(elaborator.emit(
        Op::Concat { axis },
        &operands,
        ty,
        span,
    )?))
}

/// Vectors of ints that are known while compiling, one after the other: lists of sizes stay so.
fn joined_constants(parts: &[(Tensor, Span)], ty: &TensorType) -> Option<Tensor> {
    let mut ints = Vec::new();
    for (part, _) in parts {
        ints.extend(known_ints(part)?);
    }
    Some(int_vector(ints, ty))
}

/// The ints of a vector that is known while compiling, if there are not too many.
fn known_ints(tensor: &Tensor) -> Option<Vec<i64>> {
    match &tensor.repr {
        Repr::Static(host) if tensor.ty.elem == Elem::I64 && tensor.ty.rank() == 1 => {
            (host.len() <= 256).then(|| (0..host.len()).map(|at| host.get_i64(at)).collect())
        }
        _ => None,
    }
}

fn int_vector(ints: Vec<i64>, ty: &TensorType) -> Tensor {
    Tensor {
        ty: ty.clone(),
        repr: Repr::Static(Arc::new(HostTensor::i64(&[ints.len()], ints))),
    }
}

fn scalar_index(at: i64) -> Tensor {
    match Value::int(at) {
        Value::Tensor(tensor) => tensor,
        _ => Tensor {
            ty: TensorType::scalar(Elem::I64),
            repr: Repr::Unknown,
        },
    }
}

pub(super) fn split(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    let (k, at) = &args.positional[1];
    let Some(k) = k.as_int().filter(|&k| k > 0) else {
        return wanted(*at, "how many parts (an int that is known here)", k);
    };
    let Some(axis) = x.ty.rank().checked_sub(1) else {
        return fail("E0302", span, "`split` wants a vector");
    };
    if x.ty.shape[axis].size.varies() {
        elaborator.refuse_varying(&x, "`split`", span)?;
    }
    let whole = x.ty.shape[axis].size.clone();
    let Some(part) = whole.divide_exactly(k) else {
        return fail(
            "E0307",
            span,
            format!("a size of {whole} does not split into {k} equal parts"),
        );
    };
    let mut parts = Vec::new();
    for index in 0..k {
        let mut ty = x.ty.clone();
        ty.shape[axis] = Dim::of(part.clone());
        let tensor = elaborator.build(&[&x], ty, span, |f, v, ty, span| {
            let dims = f.dims(v[0]).to_vec();
            let width = ty.dims[axis];
            let mut start = vec![0; dims.len()];
            let mut limit = dims.clone();
            start[axis] = index as usize * width;
            limit[axis] = start[axis] + width;
            let stride = vec![1; dims.len()];
            f.push1(
                Op::Slice {
                    start,
                    limit,
                    stride,
                },
                &[v[0]],
                ty,
                span,
            )
        })?;
        parts.push(Value::Tensor(tensor));
    }
    Ok(Value::tuple(parts))
}

pub(super) fn reshape(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    let shape = sizes(elaborator, &args.positional[1].0, args.positional[1].1)?;
    let (have, want) = (volume(&x.ty.shape), volume(&shape));
    if have != want && (have.as_constant().is_some() && want.as_constant().is_some()) {
        let ty = TensorType {
            elem: x.ty.elem,
            shape: shape.into(),
        };
        return fail(
            "E0301",
            span,
            format!("{} has {have} entries, but {ty} has {want}", x.ty),
        );
    }
    let ty = TensorType {
        elem: x.ty.elem,
        shape: shape.into(),
    };
    refuse_regrouping(elaborator, &x, &ty, "`reshape`", span)?;
    Ok(Value::Tensor(elaborator.build(
        &[&x],
        ty,
        span,
        |f, v, ty, span| f.reshape(v[0], &ty.dims, span),
    )?))
}

/// Entries of an axis that varies keep their places only if it is the first one.
fn refuse_regrouping(
    elaborator: &Elaborator,
    x: &Tensor,
    to: &TensorType,
    what: &str,
    span: Span,
) -> Result<()> {
    let inner = |shape: &[Dim]| crate::varying::axes(shape).any(|axis| axis > 0);
    let varies = |shape: &[Dim]| crate::varying::axes(shape).next().is_some();
    let equal = volume(&x.ty.shape) == volume(&to.shape);
    if !(varies(&x.ty.shape) || varies(&to.shape)) {
        return Ok(());
    }
    if equal && !inner(&x.ty.shape) && !inner(&to.shape) {
        return Ok(());
    }
    elaborator.refuse_varying(x, what, span)?;
    let to = Tensor {
        ty: to.clone(),
        repr: Repr::Unknown,
    };
    elaborator.refuse_varying(&to, what, span)
}

pub(super) fn flatten(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    let ty = TensorType {
        elem: x.ty.elem,
        shape: vec![Dim::of(volume(&x.ty.shape))].into(),
    };
    refuse_regrouping(elaborator, &x, &ty, "`flatten`", span)?;
    Ok(Value::Tensor(elaborator.build(
        &[&x],
        ty,
        span,
        |f, v, ty, span| f.reshape(v[0], &ty.dims, span),
    )?))
}

pub(super) fn permute(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    let axes: Vec<usize> = sizes(elaborator, &args.positional[1].0, args.positional[1].1)?
        .iter()
        .filter_map(|dim| dim.size.as_constant().map(|axis| axis as usize))
        .collect();
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted != (0..x.ty.rank()).collect::<Vec<_>>() {
        return fail(
            "E0310",
            args.positional[1].1,
            format!("an order of the {} axes is wanted here", x.ty.rank()),
        );
    }
    let shape = axes.iter().map(|&axis| x.ty.shape[axis].clone()).collect();
    let ty = TensorType {
        elem: x.ty.elem,
        shape,
    };
    Ok(Value::Tensor(elaborator.build(
        &[&x],
        ty,
        span,
        |f, v, _, span| f.permute(v[0], &axes, span),
    )?))
}

pub(super) fn broadcast(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    let shape = sizes(elaborator, &args.positional[1].0, args.positional[1].1)?;
    let lead = shape.len().checked_sub(x.ty.rank());
    let fits = lead.is_some_and(|lead| crate::value::may_agree(&shape[lead..], &x.ty.shape));
    let Some(lead) = lead.filter(|_| fits) else {
        let ty = TensorType {
            elem: x.ty.elem,
            shape: shape.into(),
        };
        return fail(
            "E0301",
            span,
            format!(
                "{} cannot be repeated to {ty}: its axes must be the last ones",
                x.ty
            ),
        );
    };
    let ty = TensorType {
        elem: x.ty.elem,
        shape: shape.into(),
    };
    Ok(Value::Tensor(elaborator.build(
        &[&x],
        ty,
        span,
        |f, v, ty, span| f.broadcast_leading(v[0], &ty.dims[..lead], span),
    )?))
}

/// What `pad` puts before and after each axis: one width for both, or a pair.
fn borders(elaborator: &mut Elaborator, value: &Value, span: Span) -> Result<Vec<(Dim, Dim)>> {
    let items: Vec<Value> = match value {
        Value::List(items) | Value::Tuple(items) => items.to_vec(),
        // Pairs in brackets have become a matrix.
        Value::Tensor(tensor) if tensor.ty.rank() == 2 && value.host().is_some() => {
            crate::rows::split_rows(value)
        }
        one => vec![one.clone()],
    };
    let mut widths = Vec::new();
    for item in &items {
        let own = sizes(elaborator, item, span)?;
        match (item, own.as_slice()) {
            (Value::Tensor(tensor), own) if tensor.ty.rank() < 2 && items.len() == 1 => {
                widths.extend(own.iter().map(|width| (width.clone(), width.clone())));
            }
            (_, [width]) => widths.push((width.clone(), width.clone())),
            (_, [low, high]) => widths.push((low.clone(), high.clone())),
            _ => {
                return fail(
                    "E0302",
                    span,
                    "an axis has one width, or a pair of them: before and after",
                );
            }
        }
    }
    Ok(widths)
}

pub(super) fn pad(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    let (widths, widths_at) = &args.positional[1];
    let widths = borders(elaborator, widths, *widths_at)?;
    if widths.len() != x.ty.rank() {
        let rank = x.ty.rank();
        let each = |width: &str| vec![width; rank].join(", ");
        return Err(Box::new(
            Diagnostic::error(
                "E0302",
                *widths_at,
                format!(
                    "{} for {}: one for each axis is wanted",
                    crate::call::count(widths.len(), "width"),
                    crate::typing::axes(rank)
                ),
            )
            .help(format!(
                "`[{}]` for the same on both sides, `[{}]` for before and after each",
                each("1"),
                each("(1, 2)")
            )),
        ));
    }
    let zero = match args.positional.get(2) {
        Some((value, at)) => as_tensor(value, *at, "a number")?,
        None => as_tensor(&Value::real(0.0, x.ty.elem), span, "a number")?,
    };
    let zero = elaborator.convert(&zero, x.ty.elem, span)?;
    if widths
        .iter()
        .any(|(low, high)| low.size.varies() || high.size.varies())
    {
        let width = widths.iter().flat_map(|(low, high)| [low, high]);
        let mut width = width.filter(|width| width.size.varies());
        let width = width.next().cloned();
        let width = width.unwrap_or_else(|| Dim::known(0));
        return Err(Box::new(crate::varying::refused(
            &width,
            "the border of `pad`",
            *widths_at,
        )));
    }
    // What is beyond the length becomes border.
    let x = match elaborator.inside(&x.ty.shape, None, span)? {
        Some(flags) => elaborator.select(&flags, x, zero.clone(), (span, span), span)?,
        None => x,
    };
    let shape =
        x.ty.shape
            .iter()
            .zip(&widths)
            .map(|(dim, (low, high))| Dim::of(dim.size.plus(&low.size).plus(&high.size)))
            .collect();
    let ty = TensorType {
        elem: x.ty.elem,
        shape,
    };
    let number = |width: &Dim| width.size.as_constant().unwrap_or(0) as usize;
    let (low, high): (Vec<usize>, Vec<usize>) = widths
        .iter()
        .map(|(low, high)| (number(low), number(high)))
        .unzip();
    let interior = vec![0; low.len()];
    Ok(Value::Tensor(elaborator.emit(
        Op::Pad {
            low,
            high,
            interior,
        },
        &[&x, &zero],
        ty,
        span,
    )?))
}

pub(super) fn reverse(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    // A list of what is no tensor, such as the layers of a net.
    if let (Value::List(items), at) = &args.positional[0]
        && let Value::List(_) = elaborator.stack(&args.positional[0].0, *at)?
    {
        let items = items.iter().rev().cloned();
        return Ok(Value::List(Rc::new(items.collect())));
    }
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    if x.is_scalar() {
        return wanted(span, "a tensor with an axis", &args.positional[0].0);
    }
    if let Some(mut ints) = known_ints(&x) {
        ints.reverse();
        return Ok(Value::Tensor(int_vector(ints, &x.ty)));
    }
    let dim = x.ty.shape[0].clone();
    if dim.size.varies() && !elaborator.checking() {
        let last = dim.size.minus(&Size::constant(1));
        let turned = elaborator.run_of(&x, 0, &dim, (&last, true), span)?;
        return Ok(Value::Tensor(turned));
    }
    let axes = std::iter::once(0).collect();
    Ok(Value::Tensor(elaborator.emit(
        Op::Reverse { axes },
        &[&x],
        x.ty.clone(),
        span,
    )?))
}

pub(super) fn shape(elaborator: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    Ok(Value::List(Rc::new(
        x.ty.shape
            .iter()
            .map(|dim| Value::size(dim.size.clone()))
            .collect(),
    )))
}

pub(super) fn len(_: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    match &args.positional[0].0 {
        Value::List(items) | Value::Tuple(items) => Ok(Value::int(items.len() as i64)),
        Value::Str(text) => Ok(Value::int(text.chars().count() as i64)),
        Value::Vocab(vocab) => Ok(Value::size(vocab.size())),
        Value::Unknown => Ok(Value::Unknown),
        Value::Tensor(tensor) if tensor.ty.rank() > 0 => {
            Ok(Value::size(tensor.ty.shape[0].size.clone()))
        }
        Value::Record(fields)
            if let Some((_, Value::List(items))) = fields.first()
                && crate::ragged::is_ragged(&fields[0].1) =>
        {
            Ok(Value::int(items.len() as i64))
        }
        Value::Record(_) | Value::Tree(_) => match crate::leaves(&args.positional[0].0)
            .first()
            .map(|leaf| &leaf.tensor)
        {
            Some(Value::Tensor(tensor)) if tensor.ty.rank() > 0 => {
                Ok(Value::size(tensor.ty.shape[0].size.clone()))
            }
            _ if crate::train::holds_unknown(&args.positional[0].0) => Ok(Value::Unknown),
            _ => wanted(span, "something with a length", &args.positional[0].0),
        },
        other => wanted(span, "something with a length", other),
    }
}

pub(super) fn cumsum(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    let Some(axis) = x.ty.rank().checked_sub(1) else {
        return wanted(span, "a vector", &args.positional[0].0);
    };
    Ok(Value::Tensor(elaborator.emit(
        Op::CumSum {
            axis,
            reverse: false,
        },
        &[&x],
        x.ty.clone(),
        span,
    )?))
}

pub(super) fn argsort(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    if x.is_scalar() {
        return wanted(span, "a vector", &args.positional[0].0);
    }
    let ty = TensorType {
        elem: Elem::I64,
        shape: x.ty.shape.clone(),
    };
    let last = crate::varying::neutral(Reduction::Min, x.ty.elem);
    let x = elaborator.within(&x, Some(x.ty.rank() - 1), last, span)?;
    Ok(Value::Tensor(elaborator.emit(
        Op::ArgSort,
        &[&x],
        ty,
        span,
    )?))
}

pub(super) fn sum_first(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    if x.is_scalar() {
        return wanted(span, "a tensor with an axis", &args.positional[0].0);
    }
    let ty = TensorType {
        elem: x.ty.elem,
        shape: x.ty.shape[1..].to_vec().into(),
    };
    let x = elaborator.within(&x, Some(0), 0.0, span)?;
    Ok(Value::Tensor(elaborator.build(
        &[&x],
        ty,
        span,
        |f, v, _, span| f.sum(v[0], &[0], span),
    )?))
}

pub(super) fn max_first(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(x) = tensor(elaborator, args, 0)? else {
        return Ok(Value::Unknown);
    };
    if x.is_scalar() {
        return wanted(span, "a tensor with an axis", &args.positional[0].0);
    }
    let ty = TensorType {
        elem: x.ty.elem,
        shape: x.ty.shape[1..].to_vec().into(),
    };
    let axes = std::iter::once(0).collect();
    let least = crate::varying::neutral(Reduction::Max, x.ty.elem);
    let x = elaborator.within(&x, Some(0), least, span)?;
    Ok(Value::Tensor(elaborator.emit(
        Op::Reduce {
            op: Reduction::Max,
            axes,
        },
        &[&x],
        ty,
        span,
    )?))
}
