//! The tensors inside a value: of models, records, tuples and lists alike.

use crate::value::{Distribution, Maybe, Model, Ragged, Tensor, Value};
use aec_syntax::ast::Name;
use std::rc::Rc;

/// One tensor inside a value.
#[derive(Clone)]
pub struct Leaf {
    /// Dotted path: `enc.W`, `layers.0.b`.
    pub path: String,
    /// The tensor.
    pub tensor: Value,
    /// Whether training changes it (false inside frozen models).
    pub trained: bool,
}

/// All tensors of a value in order.
pub fn leaves(value: &Value) -> Vec<Leaf> {
    let mut found = Vec::new();
    walk(value, String::new(), true, &mut found);
    found
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_string()
    } else {
        format!("{path}.{name}")
    }
}

fn walk(value: &Value, path: String, trained: bool, found: &mut Vec<Leaf>) {
    match value {
        Value::Tensor(_) => found.push(Leaf {
            path,
            tensor: value.clone(),
            trained,
        }),
        Value::Token(tensor) => walk(&Value::Tensor(tensor.clone()), path, trained, found),
        Value::Maybe(maybe) => {
            walk(&maybe.value, path.clone(), trained, found);
            let observed = Value::Tensor(maybe.observed.clone());
            walk(&observed, join(&path, "observed"), trained, found);
        }
        Value::Tuple(values) | Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                walk(value, join(&path, &index.to_string()), trained, found);
            }
        }
        Value::Tree(parts) => walk(parts, path, trained, found),
        Value::Ragged(ragged) => {
            walk(&ragged.value, path.clone(), trained, found);
            for (_, lengths) in &ragged.lengths {
                let lengths = Value::Tensor(lengths.clone());
                walk(&lengths, join(&path, "length"), trained, found);
            }
        }
        Value::Record(fields) => {
            for (name, value) in fields.iter() {
                walk(value, join(&path, name), trained, found);
            }
        }
        Value::Model(model) => {
            for (name, value) in &model.params {
                walk(value, join(&path, name), trained && !model.frozen, found);
            }
        }
        Value::Unit
        | Value::Str(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Vocab(_)
        | Value::Unknown => {}
    }
}

/// The same value with its tensors replaced, in the order of [`leaves`]; with `trained_only`
/// those of frozen models stay. Leaves beyond the end of `new` stay.
pub fn with_leaves(
    value: &Value,
    new: &mut dyn Iterator<Item = Value>,
    trained_only: bool,
) -> Value {
    rebuild(value, new, trained_only, true)
}

fn rebuild(
    value: &Value,
    new: &mut dyn Iterator<Item = Value>,
    trained_only: bool,
    trained: bool,
) -> Value {
    match value {
        Value::Tensor(_) if trained_only && !trained => value.clone(),
        Value::Tensor(_) => new.next().unwrap_or_else(|| value.clone()),
        Value::Token(tensor) => {
            match rebuild(&Value::Tensor(tensor.clone()), new, trained_only, trained) {
                Value::Tensor(tensor) => Value::Token(tensor),
                other => other,
            }
        }
        Value::Maybe(maybe) => {
            let part = rebuild(&maybe.value, new, trained_only, trained);
            let flags = Value::Tensor(maybe.observed.clone());
            match rebuild(&flags, new, trained_only, trained) {
                Value::Tensor(observed) => Value::Maybe(Rc::new(Maybe {
                    value: part,
                    observed,
                })),
                other => other,
            }
        }
        Value::Tuple(values) => Value::Tuple(Rc::new(
            values
                .iter()
                .map(|v| rebuild(v, new, trained_only, trained))
                .collect(),
        )),
        Value::List(values) => Value::List(Rc::new(
            values
                .iter()
                .map(|v| rebuild(v, new, trained_only, trained))
                .collect(),
        )),
        Value::Tree(parts) => Value::Tree(Rc::new(rebuild(parts, new, trained_only, trained))),
        Value::Ragged(ragged) => {
            let part = rebuild(&ragged.value, new, trained_only, trained);
            let lengths = ragged.lengths.iter().map(|(id, lengths)| {
                let old = Value::Tensor(lengths.clone());
                match rebuild(&old, new, trained_only, trained) {
                    Value::Tensor(lengths) => (*id, lengths),
                    _ => (*id, lengths.clone()),
                }
            });
            Value::Ragged(Rc::new(Ragged {
                value: part,
                sizes: ragged.sizes.clone(),
                lengths: lengths.collect(),
            }))
        }
        Value::Record(fields) => Value::Record(Rc::new(
            fields
                .iter()
                .map(|(name, v)| (name.clone(), rebuild(v, new, trained_only, trained)))
                .collect(),
        )),
        Value::Model(model) => {
            let trained = trained && !model.frozen;
            let params: Vec<(Name, Value)> = model
                .params
                .iter()
                .map(|(name, v)| (name.clone(), rebuild(v, new, trained_only, trained)))
                .collect();
            Value::Model(Rc::new(Model {
                params,
                ..(**model).clone()
            }))
        }
        Value::Unit
        | Value::Str(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Vocab(_)
        | Value::Unknown => value.clone(),
    }
}

/// The same value with every tensor changed, statics of models and parameters of distributions
/// included.
pub(crate) fn map_tensors(value: &Value, change: &mut dyn FnMut(&Tensor) -> Tensor) -> Value {
    let fields = |fields: &[(Name, Value)],
                  change: &mut dyn FnMut(&Tensor) -> Tensor|
     -> Vec<(Name, Value)> {
        fields
            .iter()
            .map(|(name, value)| (name.clone(), map_tensors(value, change)))
            .collect()
    };
    match value {
        Value::Tensor(tensor) => Value::Tensor(change(tensor)),
        Value::Token(tensor) => Value::Token(change(tensor)),
        Value::Maybe(maybe) => Value::Maybe(Rc::new(Maybe {
            value: map_tensors(&maybe.value, change),
            observed: change(&maybe.observed),
        })),
        Value::Tuple(values) => Value::Tuple(Rc::new(
            values.iter().map(|v| map_tensors(v, change)).collect(),
        )),
        Value::List(values) => Value::List(Rc::new(
            values.iter().map(|v| map_tensors(v, change)).collect(),
        )),
        Value::Tree(parts) => Value::Tree(Rc::new(map_tensors(parts, change))),
        Value::Ragged(ragged) => Value::Ragged(Rc::new(Ragged {
            value: map_tensors(&ragged.value, change),
            sizes: ragged.sizes.clone(),
            lengths: (ragged.lengths.iter())
                .map(|(id, lengths)| (*id, change(lengths)))
                .collect(),
        })),
        Value::Record(record) => Value::Record(Rc::new(fields(record, change))),
        Value::Model(model) => Value::Model(Rc::new(Model {
            params: fields(&model.params, change),
            statics: fields(&model.statics, change),
            ..(**model).clone()
        })),
        Value::Distribution(distribution) => Value::Distribution(Rc::new(Distribution {
            family: distribution.family,
            params: distribution
                .params
                .iter()
                .map(|v| map_tensors(v, change))
                .collect(),
        })),
        Value::Unit
        | Value::Str(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Vocab(_)
        | Value::Unknown => value.clone(),
    }
}

/// Whether a value is a tensor or a structure of nothing else.
pub(crate) fn is_only_tensors(value: &Value) -> bool {
    match value {
        Value::Tensor(_) | Value::Token(_) | Value::Maybe(_) | Value::Ragged(_) => true,
        Value::Tuple(values) => values.iter().all(is_only_tensors),
        Value::Tree(_) => true,
        Value::Record(fields) => fields.iter().all(|(_, value)| is_only_tensors(value)),
        Value::Unit
        | Value::Str(_)
        | Value::List(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Model(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Vocab(_)
        | Value::Unknown => false,
    }
}
