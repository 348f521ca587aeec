//! The tensors inside a value: of models, records, tuples and lists alike.

use crate::value::{Average, Distribution, Maybe, Model, Ragged, Tensor, Value};
use aec_syntax::ast::Name;
use std::rc::Rc;

/// One tensor inside a value.
#[derive(Clone)]
pub struct Leaf {
    /// Dotted path: `enc.W`, `layers.0.b`.
    pub path: String,
    /// The tensor.
    pub tensor: Value,
    /// Whether it is a weight that training changes (false inside frozen models).
    pub trained: bool,
    /// Whether it belongs to an average that a model keeps (`running`).
    pub average: bool,
    /// Whether training changes it: trained weights, and averages outside of frozen models.
    pub changes: bool,
}

/// The last part of the path of an average's weight.
pub const WEIGHT: &str = "weight";

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
            average: false,
            changes: trained,
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
            for (site, average) in model.template.averages.iter().zip(&model.averages) {
                let path = join(&path, &site.name);
                let leaf = |path: String, tensor: &Tensor| Leaf {
                    path,
                    tensor: Value::Tensor(tensor.clone()),
                    trained: false,
                    average: true,
                    changes: trained && !model.frozen,
                };
                if let Average::Kept { value, weight } = average {
                    found.push(leaf(path.clone(), value));
                    found.push(leaf(join(&path, WEIGHT), weight));
                }
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

/// The same value with its tensors replaced, in the order of [`leaves`]; with `changing_only`
/// those of frozen models stay. Leaves beyond the end of `new` stay.
pub fn with_leaves(
    value: &Value,
    new: &mut dyn Iterator<Item = Value>,
    changing_only: bool,
) -> Value {
    rebuild(value, new, changing_only, true)
}

fn rebuild(
    value: &Value,
    new: &mut dyn Iterator<Item = Value>,
    changing_only: bool,
    trained: bool,
) -> Value {
    match value {
        Value::Tensor(_) if changing_only && !trained => value.clone(),
        Value::Tensor(_) => new.next().unwrap_or_else(|| value.clone()),
        Value::Token(tensor) => {
            match rebuild(&Value::Tensor(tensor.clone()), new, changing_only, trained) {
                Value::Tensor(tensor) => Value::Token(tensor),
                other => other,
            }
        }
        Value::Maybe(maybe) => {
            let part = rebuild(&maybe.value, new, changing_only, trained);
            let flags = Value::Tensor(maybe.observed.clone());
            match rebuild(&flags, new, changing_only, trained) {
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
                .map(|v| rebuild(v, new, changing_only, trained))
                .collect(),
        )),
        Value::List(values) => Value::List(Rc::new(
            values
                .iter()
                .map(|v| rebuild(v, new, changing_only, trained))
                .collect(),
        )),
        Value::Tree(parts) => Value::Tree(Rc::new(rebuild(parts, new, changing_only, trained))),
        Value::Ragged(ragged) => {
            let part = rebuild(&ragged.value, new, changing_only, trained);
            let lengths = ragged.lengths.iter().map(|(id, lengths)| {
                let old = Value::Tensor(lengths.clone());
                match rebuild(&old, new, changing_only, trained) {
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
                .map(|(name, v)| (name.clone(), rebuild(v, new, changing_only, trained)))
                .collect(),
        )),
        Value::Model(model) => {
            let trained = trained && !model.frozen;
            let params: Vec<(Name, Value)> = model
                .params
                .iter()
                .map(|(name, v)| (name.clone(), rebuild(v, new, changing_only, trained)))
                .collect();
            let mut next = |tensor: &Tensor| {
                let whole = Value::Tensor(tensor.clone());
                match rebuild(&whole, new, changing_only, trained) {
                    Value::Tensor(tensor) => tensor,
                    _ => tensor.clone(),
                }
            };
            let averages = model.averages.iter().map(|average| match average {
                Average::Kept { value, weight } => Average::Kept {
                    value: next(value),
                    weight: next(weight),
                },
                Average::Empty | Average::Live(_) => average.clone(),
            });
            Value::Model(Rc::new(Model {
                params,
                averages: averages.collect(),
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
            averages: model
                .averages
                .iter()
                .map(|average| match average {
                    Average::Kept { value, weight } => Average::Kept {
                        value: change(value),
                        weight: change(weight),
                    },
                    Average::Empty | Average::Live(_) => average.clone(),
                })
                .collect(),
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

/// An average that a model keeps.
pub(crate) struct Place<'a> {
    /// Its path: `enc.norm.running.mean`.
    pub(crate) path: String,
    /// Whether training changes it (false inside frozen models).
    pub(crate) changes: bool,
    /// What is kept.
    pub(crate) average: &'a Average,
}

/// The same value with every average that its models keep changed, in the order of [`leaves`].
pub(crate) fn map_averages(value: &Value, change: &mut dyn FnMut(Place<'_>) -> Average) -> Value {
    averages(value, "", true, change)
}

fn averages(
    value: &Value,
    path: &str,
    changes: bool,
    change: &mut dyn FnMut(Place<'_>) -> Average,
) -> Value {
    let mut each = |values: &[Value]| -> Rc<Vec<Value>> {
        let parts = values.iter().enumerate();
        let parts =
            parts.map(|(at, value)| averages(value, &join(path, &at.to_string()), changes, change));
        Rc::new(parts.collect())
    };
    match value {
        Value::Tuple(values) => Value::Tuple(each(values)),
        Value::List(values) => Value::List(each(values)),
        Value::Record(fields) => Value::Record(Rc::new(
            fields
                .iter()
                .map(|(name, v)| {
                    (
                        name.clone(),
                        averages(v, &join(path, name), changes, change),
                    )
                })
                .collect(),
        )),
        Value::Model(model) => {
            let changes = changes && !model.frozen;
            let params = model.params.iter().map(|(name, v)| {
                let value = averages(v, &join(path, name), changes, change);
                (name.clone(), value)
            });
            let params = params.collect();
            let sites = model.template.averages.iter().zip(&model.averages);
            let own = sites.map(|(site, average)| {
                let path = join(path, &site.name);
                change(Place {
                    path,
                    changes,
                    average,
                })
            });
            Value::Model(Rc::new(Model {
                params,
                averages: own.collect(),
                ..(**model).clone()
            }))
        }
        Value::Unit
        | Value::Tensor(_)
        | Value::Token(_)
        | Value::Maybe(_)
        | Value::Str(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Tree(_)
        | Value::Ragged(_)
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
