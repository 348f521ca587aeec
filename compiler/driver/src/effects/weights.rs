//! `save` and `load`: the weights of a model by their paths, and beside them what the model is.

use super::remake::{ARGUMENT, Remade, remade};
use super::{cannot_read, cannot_write, wrong};
use crate::exec::elements;
use crate::format;
use crate::history;
use crate::session::{Result, World};
use aec_runtime::read::ReadError;
use aec_runtime::write::{Weights, load_weights, remove_leftovers, save_weights};
use aec_runtime::{Elem, Tensor};
use aec_syntax::{Diagnostic, Span};
use aec_types::value::History;
use aec_types::{Elaborator, Value, leaves, with_averages, with_leaves};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Version of what we write beside the weights.
const FORMAT: &str = "1";

/// Writes a model's weights (or the tensors of a record, tuple or list); `words`, the vocabulary
/// of a language model.
pub fn save(
    elaborator: &mut Elaborator,
    model: &Value,
    path: &str,
    words: Option<&Value>,
    span: Span,
) -> Result<Value> {
    let leaves = leaves(model);
    if leaves.is_empty() {
        return Err(wrong(
            span,
            format!("there are no weights to save in {}", model.describe()),
        ));
    }
    let mut tensors: Vec<(&str, Arc<Tensor>)> = Vec::new();
    for leaf in &leaves {
        let name = if leaf.path.is_empty() {
            "value"
        } else {
            &leaf.path
        };
        match elements(&leaf.tensor) {
            Some(tensor) => tensors.push((name, tensor)),
            None => return Err(wrong(span, format!("`{}` is not in memory", leaf.path))),
        }
    }
    let made = match model {
        Value::Model(model) => Some(remade(elaborator, model)),
        _ => None,
    };
    let arguments = made.iter().flat_map(|made| &made.arguments);
    let tensors: Vec<(&str, &Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| (*name, &**tensor))
        .chain(arguments.map(|(name, tensor)| (name.as_str(), &**tensor)))
        .collect();
    let mut metadata = metadata(model, made.as_ref());
    match words {
        None => {}
        Some(Value::Vocab(vocab)) => {
            metadata.insert("aec.words".into(), vocab.words().join("\n"));
        }
        Some(other) => {
            return Err(wrong(
                span,
                format!("`words` wants a vocabulary, not {}", other.describe()),
            ));
        }
    }
    remove_leftovers(Path::new(path));
    save_weights(Path::new(path), &tensors, &metadata)
        .map_err(|error| cannot_write(path, &error, span))?;
    Ok(Value::Unit)
}

/// What the file says of the model: its name, sizes and source, and how it was trained.
fn metadata(model: &Value, made: Option<&Remade>) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([("aec.format".to_string(), FORMAT.to_string())]);
    let (Value::Model(model), Some(made)) = (model, made) else {
        return metadata;
    };
    let statics: Vec<String> = model
        .statics
        .iter()
        .map(|(name, value)| format!("{name} = {}", format::inspect(value)))
        .collect();
    if let Some(history) = &model.history {
        metadata.insert("aec.training".into(), history.words.clone());
        metadata.insert("aec.history".into(), history::text(&history.figures));
    }
    let modules: Vec<&str> = made.modules.iter().map(String::as_str).collect();
    metadata.insert("aec.model".into(), model.template.def.name.name.to_string());
    metadata.insert("aec.sizes".into(), statics.join(", "));
    metadata.insert("aec.call".into(), made.call.clone());
    metadata.insert("aec.modules".into(), modules.join(","));
    metadata.insert("aec.source".into(), made.source.clone());
    metadata
}

/// Fills `model` with the weights of a file.
pub fn load(world: &World, model: &Value, path: &str, span: Span) -> Result<Value> {
    let weights: Weights = load_weights(&world.find_file(path))
        .map_err(|error: ReadError| cannot_read(path, &error, span))?;
    let params = leaves(model);
    let Some(float) = params.iter().find_map(|leaf| elements(&leaf.tensor)) else {
        return Err(wrong(
            span,
            format!("`load` wants a model first, not {}", model.describe()),
        ));
    };
    // A model that saw no batch has no shapes for its averages; they are as the file has them.
    let model = &with_averages(model, &|path| {
        let kept = weights.get(path)?;
        Some(Arc::new(in_elem(kept, float.elem())))
    });
    let wanted = leaves(model);
    let name = |leaf: &str| {
        if leaf.is_empty() {
            "value".to_string()
        } else {
            leaf.to_string()
        }
    };
    let missing: Vec<String> = wanted
        .iter()
        .map(|leaf| name(&leaf.path))
        .filter(|path| weights.get(path).is_none())
        .collect();
    let extra: Vec<&str> = weights
        .tensors
        .iter()
        .map(|(known, _)| known.as_str())
        .filter(|known| !known.starts_with(ARGUMENT))
        .filter(|known| !wanted.iter().any(|leaf| name(&leaf.path) == *known))
        .collect();
    if !missing.is_empty() || !extra.is_empty() {
        let mut error = Diagnostic::error(
            "E0813",
            span,
            format!(
                "the weights in {path} are not those of {}",
                model.describe()
            ),
        );
        if !missing.is_empty() {
            error = error.note(format!("missing in the file: {}", missing.join(", ")));
        }
        if !extra.is_empty() {
            error = error.note(format!("only in the file: {}", extra.join(", ")));
        }
        if let Some(saved) = weights.metadata.get("aec.model") {
            let sizes = weights.metadata.get("aec.sizes").map_or("", String::as_str);
            error = error.note(format!("the file holds a {saved}({sizes})"));
        }
        return Err(error.into());
    }
    let mut found = Vec::new();
    for leaf in &wanted {
        let Some(tensor) = weights.get(&name(&leaf.path)) else {
            continue;
        };
        let Some(place) = elements(&leaf.tensor) else {
            return Err(wrong(span, format!("`{}` is not in memory", leaf.path)));
        };
        if tensor.dims() != place.dims() {
            let mut error = Diagnostic::error(
                "E0813",
                span,
                format!(
                    "`{}` is {:?} in {path}, but {:?} in the model",
                    name(&leaf.path),
                    tensor.dims(),
                    place.dims()
                ),
            );
            if let (Some(saved), Some(sizes)) = (
                weights.metadata.get("aec.model"),
                weights.metadata.get("aec.sizes"),
            ) {
                error = error.note(format!("the file holds a {saved}({sizes})"));
            }
            return Err(error.into());
        }
        found.push(Value::shared(Arc::new(in_elem(tensor, place.elem()))));
    }
    let model = with_leaves(model, &mut found.into_iter(), false);
    let text = |name: &str| weights.metadata.get(name);
    Ok(match (text("aec.training"), text("aec.history")) {
        (Some(words), Some(figures)) => history::remember(
            model,
            History {
                words: words.clone(),
                figures: history::parse(figures),
            },
        ),
        _ => model,
    })
}

fn in_elem(tensor: &Tensor, elem: Elem) -> Tensor {
    match tensor.elem() == elem {
        true => tensor.clone(),
        false => Tensor::from_f64(elem, tensor.dims(), tensor.to_f64_vec()),
    }
}
