//! The entries of a tensor's first axis, one by one, as a script walks them.

use crate::value::{Dim, Maybe, Repr, Tensor, TensorType, Value};
use aec_runtime::{Data, Tensor as HostTensor};
use std::rc::Rc;

/// The first axis of what can be walked: of a tensor, of a number of trees, or of all fields of a
/// record, a table.
pub(crate) fn first_axis(value: &Value) -> Option<Dim> {
    let parts: Vec<&Value> = match value {
        Value::Record(fields) => fields.iter().map(|(_, field)| field).collect(),
        Value::Tuple(parts) => parts.iter().collect(),
        Value::Tree(parts) => return crate::trees::frame(parts).into_iter().next(),
        _ => return value.tensor()?.ty.shape.first().cloned(),
    };
    let mut axes = parts.into_iter().map(first_axis);
    let first = axes.next()??;
    let alike = axes.all(|axis| axis.is_some_and(|axis| !axis.size.differs(&first.size)));
    alike.then_some(first)
}

/// How many entries the first axis of a tensor in memory has; none of what is no such tensor.
pub(crate) fn row_count(value: &Value) -> Option<usize> {
    match value {
        Value::Maybe(maybe) => row_count(&maybe.value),
        Value::Token(tensor) => row_count(&Value::Tensor(tensor.clone())),
        Value::Record(fields) => row_count(&fields.first()?.1),
        Value::Tree(parts) => row_count(parts),
        Value::Tuple(parts) => row_count(parts.first()?),
        _ => value.host()?.dims().first().copied(),
    }
}

/// Entry `at` of the first axis, which has that many.
pub(crate) fn row(value: &Value, at: usize) -> Option<Value> {
    match value {
        Value::Token(tensor) => match row(&Value::Tensor(tensor.clone()), at)? {
            Value::Tensor(row) => Some(Value::Token(row)),
            other => Some(other),
        },
        Value::Maybe(maybe) => {
            let Value::Tensor(observed) = row(&Value::Tensor(maybe.observed.clone()), at)? else {
                return None;
            };
            let value = row(&maybe.value, at)?;
            Some(Value::Maybe(Rc::new(Maybe { value, observed })))
        }
        Value::Record(fields) => {
            let fields = fields.iter();
            let rows = fields.map(|(name, field)| Some((name.clone(), row(field, at)?)));
            Some(Value::Record(Rc::new(rows.collect::<Option<_>>()?)))
        }
        Value::Tree(parts) => Some(Value::Tree(Rc::new(row(parts, at)?))),
        Value::Tuple(parts) => {
            let rows = parts.iter().map(|part| row(part, at));
            Some(Value::Tuple(Rc::new(rows.collect::<Option<_>>()?)))
        }
        Value::Tensor(tensor) => {
            let (_, dims) = value.host()?.dims().split_first()?;
            let len: usize = dims.iter().product();
            let part = slice(value.host()?, at * len, len, dims);
            let fixed = matches!(tensor.repr, Repr::Static(_));
            Some(match (fixed, Value::concrete(part)) {
                (true, Value::Tensor(part)) => Value::Tensor(Tensor {
                    ty: TensorType {
                        elem: tensor.ty.elem,
                        shape: part.ty.shape.clone(),
                    },
                    repr: match part.repr {
                        Repr::Concrete(host) => Repr::Static(host),
                        other => other,
                    },
                }),
                (_, value) => value,
            })
        }
        _ => None,
    }
}

/// All entries of the first axis.
pub(crate) fn split_rows(value: &Value) -> Vec<Value> {
    let count = row_count(value).unwrap_or(0);
    (0..count).filter_map(|at| row(value, at)).collect()
}

fn slice(host: &HostTensor, start: usize, len: usize, dims: &[usize]) -> HostTensor {
    let range = start..start + len;
    let data = match host.data() {
        Data::F32(v) => Data::F32(v[range].to_vec()),
        Data::F64(v) => Data::F64(v[range].to_vec()),
        Data::I32(v) => Data::I32(v[range].to_vec()),
        Data::I64(v) => Data::I64(v[range].to_vec()),
        Data::Bool(v) => Data::Bool(v[range].to_vec()),
    };
    HostTensor::new(dims.to_vec(), data)
}
