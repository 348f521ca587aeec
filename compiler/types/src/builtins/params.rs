//! `params.map` and its kin: the trained leaves of models, records and lists alike.

use super::shape;
use crate::call::Args;
use crate::error::{fail, wanted};
use crate::ops::as_tensor;
use crate::value::{Closure, Code, Model, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Op, Unary};
use aec_syntax::Span;
use aec_syntax::ast::{BinaryOp, Name};
use std::cell::Cell;
use std::rc::Rc;

/// `params.map(f, m, g, …)`: f of each leaf of m with the leaves of the others at its place.
pub(super) fn map(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let Some(((f, _), rest)) = args
        .positional
        .split_first()
        .filter(|(_, rest)| !rest.is_empty())
    else {
        return fail(
            "E0401",
            span,
            "`params.map` wants a function and a model or record",
        );
    };
    let values: Vec<Value> = rest.iter().map(|(value, _)| value.clone()).collect();
    walk(elaborator, f, &values, span)
}

fn walk(elaborator: &mut Elaborator, f: &Value, values: &[Value], span: Span) -> Result<Value> {
    let part = |elaborator: &mut Elaborator,
                get: &dyn Fn(&Value) -> Option<Value>,
                name: &str|
     -> Result<Value> {
        let mut parts = Vec::new();
        for value in values {
            match get(value) {
                Some(part) => parts.push(part),
                None => {
                    return fail(
                        "E0310",
                        span,
                        format!(
                            "the arguments of `params.map` differ: {} has no `{name}`",
                            value.describe()
                        ),
                    );
                }
            }
        }
        walk(elaborator, f, &parts, span)
    };
    let named = |name: &Name| {
        let name = name.clone();
        move |value: &Value| match value {
            Value::Model(model) => model
                .params
                .iter()
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.clone()),
            other => other.field(&name).cloned(),
        }
    };
    if values.iter().any(|value| matches!(value, Value::Unknown)) {
        return Ok(match &values[0] {
            Value::Model(_) => values[0].clone(),
            _ => Value::Unknown,
        });
    }
    match &values[0] {
        Value::Tensor(_) => elaborator.apply(f, values, span),
        Value::Model(model) if model.frozen => Ok(values[0].clone()),
        Value::Model(model) => {
            let mut params = Vec::new();
            for (name, value) in &model.params {
                if matches!(value, Value::Model(inner) if inner.frozen) {
                    params.push((name.clone(), value.clone()));
                } else {
                    params.push((name.clone(), part(elaborator, &named(name), name)?));
                }
            }
            Ok(Value::Model(Rc::new(Model {
                params,
                ..(**model).clone()
            })))
        }
        Value::Record(fields) => {
            let mut out = Vec::new();
            for (name, _) in fields.iter() {
                out.push((name.clone(), part(elaborator, &named(name), name)?));
            }
            Ok(Value::Record(Rc::new(out)))
        }
        Value::List(items) | Value::Tuple(items) => {
            let mut out = Vec::new();
            for at in 0..items.len() {
                let get = |value: &Value| match value {
                    Value::List(items) | Value::Tuple(items) => items.get(at).cloned(),
                    _ => None,
                };
                out.push(part(elaborator, &get, &at.to_string())?);
            }
            Ok(match &values[0] {
                Value::Tuple(_) => Value::tuple(out),
                _ => Value::List(Rc::new(out)),
            })
        }
        Value::Unit => Ok(Value::Unit),
        other => wanted(span, "a model, record or tensor", other),
    }
}

/// `params.zeros(m)`: zeros in the structure of a gradient: a record of the trained leaves.
pub(super) fn zeros(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    zeros_like(elaborator, &args.positional[0].0, span)
}

fn zeros_like(elaborator: &mut Elaborator, value: &Value, span: Span) -> Result<Value> {
    Ok(match value {
        Value::Unknown => Value::Unknown,
        Value::Tensor(tensor) => {
            let Value::Tensor(zero) = Value::real(0.0, tensor.ty.elem) else {
                return Ok(Value::Unit);
            };
            if tensor.ty.shape.is_empty() {
                // A scalar of its own, not a constant: optimizers keep state in it.
                let host = aec_runtime::Tensor::zeros(tensor.ty.elem, &[]);
                return Ok(if elaborator.checking() {
                    Value::Tensor(Tensor {
                        ty: tensor.ty.clone(),
                        repr: crate::value::Repr::Unknown,
                    })
                } else {
                    Value::concrete(host)
                });
            }
            Value::Tensor(elaborator.filled(&zero, tensor.ty.shape.clone(), span)?)
        }
        Value::Model(model) if model.frozen => Value::Record(Rc::default()),
        Value::Model(model) => {
            let mut fields = Vec::new();
            for (name, value) in &model.params {
                fields.push((name.clone(), zeros_like(elaborator, value, span)?));
            }
            Value::Record(Rc::new(fields))
        }
        Value::Record(record) => {
            let mut fields = Vec::new();
            for (name, value) in record.iter() {
                fields.push((name.clone(), zeros_like(elaborator, value, span)?));
            }
            Value::Record(Rc::new(fields))
        }
        Value::List(items) => {
            let items: Result<Vec<Value>> = items
                .iter()
                .map(|item| zeros_like(elaborator, item, span))
                .collect();
            Value::List(Rc::new(items?))
        }
        Value::Tuple(items) => {
            let items: Result<Vec<Value>> = items
                .iter()
                .map(|item| zeros_like(elaborator, item, span))
                .collect();
            Value::tuple(items?)
        }
        Value::Unit => Value::Unit,
        other => return wanted(span, "a model, record or tensor", other),
    })
}

/// `params.count(m)`: how many numbers are trained.
pub(super) fn count(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let mut total = crate::size::Size::constant(0);
    for leaf in crate::leaves(&args.positional[0].0) {
        if let (true, Value::Tensor(tensor)) = (leaf.trained, &leaf.tensor) {
            let size = tensor
                .ty
                .shape
                .iter()
                .fold(crate::size::Size::constant(1), |size, dim| {
                    size.times(&dim.size)
                });
            total = total.plus(&size);
        }
    }
    Ok(Value::size(total))
}

/// `core.named(m)`: the trained tensors of a model, a record or a tensor, each with its name.
pub(super) fn named(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    if matches!(args.positional[0].0, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let leaves = crate::leaves(&args.positional[0].0).into_iter();
    let parts = leaves.filter(|leaf| leaf.trained).map(|leaf| {
        let name = Value::str(&leaf.path);
        Value::record(vec![("name", name), ("value", leaf.tensor)])
    });
    Ok(Value::List(std::rc::Rc::new(parts.collect())))
}

/// `params.dot(a, b)`: the inner product over all leaves.
pub(super) fn dot(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let leaves = |value: &Value| -> Vec<Value> {
        crate::leaves(value)
            .into_iter()
            .filter(|leaf| leaf.trained)
            .map(|leaf| leaf.tensor)
            .collect()
    };
    let (a, b) = (leaves(&args.positional[0].0), leaves(&args.positional[1].0));
    if a.len() != b.len() {
        return fail(
            "E0310",
            span,
            "the arguments of `params.dot` have different parts",
        );
    }
    let mut total: Option<Value> = None;
    for (x, y) in a.iter().zip(&b) {
        let product = elaborator.binary(BinaryOp::Mul, (x, span), (y, span), span)?;
        let product = as_tensor(&product, span, "a tensor")?;
        let sum = Value::Tensor(elaborator.total(&product, false, span)?);
        total = Some(match total {
            None => sum,
            Some(before) => {
                elaborator.binary(BinaryOp::Add, (&before, span), (&sum, span), span)?
            }
        });
    }
    let float = elaborator.float();
    Ok(total.unwrap_or_else(|| Value::real(0.0, float)))
}

/// `params.norm(m)`: the length of all trained leaves as one vector.
pub(super) fn norm(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let m = args.positional[0].clone();
    let both = Args {
        positional: vec![m.clone(), m],
        named: Vec::new(),
    };
    let square = as_tensor(&dot(elaborator, &both, span)?, span, "a number")?;
    Ok(Value::Tensor(elaborator.unary(
        Unary::Sqrt,
        &square,
        span,
    )?))
}

/// `params.flatten(m)`: all trained leaves as one vector, in their order.
pub(super) fn flatten(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (m, at) = &args.positional[0];
    if matches!(m, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let mut parts = Vec::new();
    for leaf in crate::leaves(m).into_iter().filter(|leaf| leaf.trained) {
        parts.push(shape::flatten(
            elaborator,
            &Args::of(&[leaf.tensor], *at),
            span,
        )?);
    }
    if parts.is_empty() {
        return wanted(*at, "a model, record or tensor with something to train", m);
    }
    shape::concat(
        elaborator,
        &Args::of(&[Value::List(Rc::new(parts))], *at),
        span,
    )
}

/// `params.unflatten(v, m)`: m with its trained leaves taken from v, the way back of `flatten`.
pub(super) fn unflatten(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let ((v, v_span), (m, _)) = (&args.positional[0], &args.positional[1]);
    if matches!(v, Value::Unknown) || matches!(m, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let v = as_tensor(v, *v_span, "a vector")?;
    let total = count(elaborator, &Args::of(std::slice::from_ref(m), span), span)?;
    let (given, total) = (&v.ty.shape[..], total.as_size());
    let fits = match (given, &total) {
        ([dim], Some(total)) => {
            dim.size == *total || elaborator.checking() && !both_known(&dim.size, total)
        }
        _ => false,
    };
    if !fits {
        let total = total.map_or_else(String::new, |total| format!("[{total}]"));
        return wanted(
            *v_span,
            &format!("a vector {total} of all trained entries"),
            &Value::Tensor(v),
        );
    }
    let done = Cell::new(0);
    let part = move |elaborator: &mut Elaborator, values: &[Value], at: Span| {
        let like = as_tensor(&values[0], at, "a tensor")?;
        let ty = TensorType {
            elem: v.ty.elem,
            shape: like.ty.shape,
        };
        let part = elaborator.build(&[&v], ty, at, |f, values, ty, at| {
            let start = done.get();
            let limit = start + ty.len();
            done.set(limit);
            let slice = Op::Slice {
                start: vec![start],
                limit: vec![limit],
                stride: vec![1],
            };
            let part = f.push1(slice, values, ty.with_dims(&[limit - start]), at);
            f.reshape(part, &ty.dims, at)
        })?;
        Ok(Value::Tensor(part))
    };
    let part = Value::Fn(Rc::new(Closure {
        code: Code::Native(Box::new(part)),
        name: "unflatten".into(),
        span,
    }));
    walk(elaborator, &part, std::slice::from_ref(m), span)
}

fn both_known(a: &crate::size::Size, b: &crate::size::Size) -> bool {
    a.as_constant().is_some() && b.as_constant().is_some()
}
