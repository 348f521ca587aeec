//! What a saved model's file says so that the model can be made again without its script: an
//! expression that calls the model with its sizes, the source of all that this names, and the
//! tensors among its arguments, those of models that are arguments included.

use crate::exec::elements;
use crate::format;
use crate::names::needed_by;
use aec_runtime::Tensor;
use aec_syntax::ast::{Item, ItemKind, Name, Pattern, Stmt, StmtKind};
use aec_syntax::parse_script;
use aec_types::value::{Code, Model, ModelTemplate, Repr};
use aec_types::{Elaborator, Value, leaves, with_leaves};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What the names of arguments' tensors begin with.
pub(crate) const ARGUMENT: &str = "argument.";

/// How a model is made again.
#[derive(Default)]
pub(crate) struct Remade {
    /// `Net(layers = [Auto(D = 4, H = 2)], C = 10)`
    pub(crate) call: String,
    /// Modules that the call names.
    pub(crate) modules: BTreeSet<String>,
    /// Source of the models and functions of the script that it names, and of what those need.
    pub(crate) source: String,
    /// Tensors among the arguments, by argument and path.
    pub(crate) arguments: Vec<(String, Arc<Tensor>)>,
}

/// Reads off a model how it is made.
pub(crate) fn remade(elaborator: &Elaborator, model: &Model) -> Remade {
    let mut out = Remade::default();
    let mut names = HashSet::new();
    out.call = call(elaborator, model, &mut names, &mut out.modules);
    for (name, value) in &model.statics {
        for leaf in leaves(value) {
            if let Some(tensor) = elements(&leaf.tensor).filter(|_| !is_small(&leaf.tensor)) {
                out.arguments.push((path(name, &leaf.path), tensor));
            }
        }
    }
    out.source = source(elaborator, &model.template, names);
    out
}

/// The model with the tensors that a file has for its arguments.
pub(crate) fn with_arguments(
    model: &Value,
    get: &dyn Fn(&str) -> Option<Tensor>,
) -> std::result::Result<Value, String> {
    let Value::Model(model) = model else {
        return Ok(model.clone());
    };
    let mut model = (**model).clone();
    for (name, value) in &mut model.statics {
        let mut new = Vec::new();
        for leaf in leaves(value) {
            let path = path(name, &leaf.path);
            new.push(match (get(&path), elements(&leaf.tensor)) {
                _ if is_small(&leaf.tensor) => leaf.tensor,
                (Some(tensor), Some(place)) if tensor.dims() == place.dims() => {
                    Value::concrete(match tensor.elem() == place.elem() {
                        true => tensor,
                        false => Tensor::from_f64(place.elem(), tensor.dims(), tensor.to_f64_vec()),
                    })
                }
                _ => return Err(path),
            });
        }
        *value = with_leaves(value, &mut new.into_iter(), false);
    }
    Ok(Value::Model(std::rc::Rc::new(model)))
}

/// The name of an argument's tensor in the file.
fn path(argument: &str, leaf: &str) -> String {
    match leaf {
        "" => format!("{ARGUMENT}{argument}"),
        leaf => format!("{ARGUMENT}{argument}.{leaf}"),
    }
}

/// Numbers that the call itself says.
fn is_small(value: &Value) -> bool {
    /// Most entries of a list that the call says.
    const MOST: usize = 100;
    value.tensor().is_some_and(|tensor| match &tensor.repr {
        Repr::Static(known) => known.len() <= MOST,
        _ => tensor.ty.shape.is_empty(),
    })
}

fn call(
    elaborator: &Elaborator,
    model: &Model,
    names: &mut HashSet<Name>,
    modules: &mut BTreeSet<String>,
) -> String {
    let statics: Vec<String> = model
        .statics
        .iter()
        .map(|(name, value)| format!("{name} = {}", expression(elaborator, value, names, modules)))
        .collect();
    let own = &model.template.def.name.name;
    let made = match &*model.template.module {
        "" => {
            names.insert(own.clone());
            format!("{own}({})", statics.join(", "))
        }
        module => {
            modules.insert(module.to_string());
            let last = module.rsplit('.').next().unwrap_or(module);
            format!("{last}.{own}({})", statics.join(", "))
        }
    };
    match model.frozen {
        true => format!("freeze({made})"),
        false => made,
    }
}

/// A value as an expression that makes it again, but for the elements of large tensors.
fn expression(
    elaborator: &Elaborator,
    value: &Value,
    names: &mut HashSet<Name>,
    modules: &mut BTreeSet<String>,
) -> String {
    let mut each = |values: &[Value]| -> String {
        let parts = values.iter();
        let parts = parts.map(|value| expression(elaborator, value, names, modules));
        parts.collect::<Vec<_>>().join(", ")
    };
    match value {
        Value::List(items) => format!("[{}]", each(items)),
        Value::Tuple(items) => format!("({})", each(items)),
        Value::Record(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    format!("{name} = {}", expression(elaborator, value, names, modules))
                })
                .collect();
            format!("({})", fields.join(", "))
        }
        Value::Model(model) => call(elaborator, model, names, modules),
        Value::Tensor(tensor) if !is_small(value) => {
            let dims = tensor.ty.dims().unwrap_or_default();
            let sizes: Vec<String> = dims.iter().map(usize::to_string).collect();
            let zero = match tensor.ty.elem {
                aec_runtime::Elem::Bool => "false",
                elem if elem.is_int() => "0",
                _ => "0.0",
            };
            format!("fill({zero}, [{}])", sizes.join(", "))
        }
        Value::Builtin(id) => id.name().to_string(),
        Value::Fn(closure) => match &closure.code {
            Code::Lambda(..) => {
                let sources = elaborator.sources();
                let text = sources.borrow().text(closure.span).to_string();
                format!("({text})")
            }
            Code::Named(..) | Code::Native(_) | Code::Around(_) => {
                names.insert(closure.name.clone());
                match module_of(elaborator, value) {
                    Some((path, name)) => {
                        modules.insert(path);
                        format!("{name}.{}", closure.name)
                    }
                    None => closure.name.to_string(),
                }
            }
        },
        Value::Tensor(_)
        | Value::Token(_)
        | Value::Maybe(_)
        | Value::Unit
        | Value::Str(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Ragged(_)
        | Value::Tree(_)
        | Value::Vocab(_)
        | Value::Unknown => format::inspect(value),
    }
}

/// The module of the script that a function comes from: its path and its name there. None for what has
/// its name without a module, as what the prelude has.
fn module_of(elaborator: &Elaborator, function: &Value) -> Option<(String, String)> {
    let Value::Fn(wanted) = function else {
        return None;
    };
    if let Some(Value::Fn(known)) = elaborator.lookup(&wanted.name)
        && std::rc::Rc::ptr_eq(&known, wanted)
    {
        return None;
    }
    // Modules of ours that nobody can name have a blank in theirs.
    let names = elaborator.names();
    let mut named = names.iter().filter(|name| !name.contains(' '));
    named.find_map(|name| {
        let Some(Value::Module(module)) = elaborator.lookup(name) else {
            return None;
        };
        // What the module itself binds: behind it all see the prelude.
        match module.scope.here(&wanted.name) {
            Some(Value::Fn(known)) if std::rc::Rc::ptr_eq(&known, wanted) => {
                Some((module.path.to_string(), name.to_string()))
            }
            _ => None,
        }
    })
}

/// The text of definitions and of all in their script that they need: functions, other models,
/// modules, and the `let`s that hold no data.
fn source(elaborator: &Elaborator, template: &ModelTemplate, names: HashSet<Name>) -> String {
    let sources = elaborator.sources();
    let sources = sources.borrow();
    let span = template.def.span;
    let Some(file) = sources.get(span.file).filter(|_| !names.is_empty()) else {
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
    let needed = needed_by(&script, names, &keep);
    let texts: Vec<&str> = script
        .items
        .iter()
        .zip(needed)
        .filter(|(_, needed)| *needed)
        .map(|(item, _)| sources.text(item.span))
        .collect();
    texts.join("\n\n")
}
