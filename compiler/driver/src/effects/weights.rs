//! `save` and `load`: the weights of a model by their paths, and beside them what the model is.

use super::{cannot_read, cannot_write, wrong};
use crate::exec::elements;
use crate::format;
use crate::history;
use crate::names::needed_by;
use crate::session::{Result, World};
use aec_runtime::Tensor;
use aec_runtime::read::ReadError;
use aec_runtime::write::{Weights, load_weights, save_weights};
use aec_syntax::ast::{Item, ItemKind, Pattern, Stmt, StmtKind};
use aec_syntax::{Diagnostic, Span, parse_script};
use aec_types::value::{History, ModelTemplate, Repr};
use aec_types::{Elaborator, Value, leaves, with_leaves};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Version of what we write beside the weights.
const FORMAT: &str = "1";

/// Writes a model's weights (or the tensors of a record, tuple or list).
pub fn save(elaborator: &mut Elaborator, model: &Value, path: &str, span: Span) -> Result<Value> {
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
    let tensors: Vec<(&str, &Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| (*name, &**tensor))
        .collect();
    save_weights(Path::new(path), &tensors, &metadata(elaborator, model))
        .map_err(|error| cannot_write(path, &error, span))?;
    Ok(Value::Unit)
}

/// What the file says of the model: its name, sizes and source.
fn metadata(elaborator: &Elaborator, model: &Value) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([("aec.format".to_string(), FORMAT.to_string())]);
    if let Value::Model(model) = model {
        let statics: Vec<String> = model
            .statics
            .iter()
            .map(|(name, value)| format!("{name} = {}", format::inspect(value)))
            .collect();
        let source = source(elaborator, &model.template);
        if let Some(history) = &model.history {
            metadata.insert("aec.training".into(), history.words.clone());
            let figures = history::text(&history.figures);
            metadata.insert("aec.history".into(), figures);
        }
        metadata.insert("aec.model".into(), model.template.def.name.name.to_string());
        metadata.insert("aec.module".into(), model.template.module.to_string());
        metadata.insert("aec.sizes".into(), statics.join(", "));
        metadata.insert("aec.source".into(), source);
    }
    metadata
}

/// The text of a model's definition and of all in its script that it needs: functions, other
/// models, modules, and the `let`s that hold no data.
fn source(elaborator: &Elaborator, template: &ModelTemplate) -> String {
    let sources = elaborator.sources();
    let sources = sources.borrow();
    let span = template.def.span;
    let Some(file) = sources.get(span.file) else {
        return String::new();
    };
    let (script, _) = parse_script(span.file, &file.text);
    let keep = |item: &Item| match &item.kind {
        ItemKind::Stmt(Stmt {
            kind:
                StmtKind::Let {
                    pattern: Pattern::Name(name),
                    ..
                },
            ..
        }) => match template.scope.lookup(&name.name) {
            Some(Value::Tensor(tensor)) => matches!(tensor.repr, Repr::Static(_)),
            Some(Value::Str(_) | Value::Fn(_) | Value::Builtin(_) | Value::Template(_)) => true,
            _ => false,
        },
        ItemKind::Stmt(stmt) => matches!(stmt.kind, StmtKind::Fn(_)),
        ItemKind::Use { .. } | ItemKind::Model(_) => true,
        ItemKind::Precision(_) | ItemKind::Test { .. } => false,
    };
    let needed = needed_by(&script, &template.def.name.name, &keep);
    let texts: Vec<&str> = script
        .items
        .iter()
        .zip(needed)
        .filter(|(_, needed)| *needed)
        .map(|(item, _)| sources.text(item.span))
        .collect();
    texts.join("\n\n")
}

/// Fills `model` with the weights of a file.
pub fn load(world: &World, model: &Value, path: &str, span: Span) -> Result<Value> {
    let weights: Weights = load_weights(&world.find_file(path))
        .map_err(|error: ReadError| cannot_read(path, &error, span))?;
    let wanted = leaves(model);
    if wanted.is_empty() {
        return Err(wrong(
            span,
            format!("`load` wants a model first, not {}", model.describe()),
        ));
    }
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
        let tensor = if tensor.elem() == place.elem() {
            tensor.clone()
        } else {
            Tensor::from_f64(place.elem(), tensor.dims(), tensor.to_f64_vec())
        };
        found.push(Value::shared(Arc::new(tensor)));
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
