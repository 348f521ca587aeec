//! What a value is, for `:type`, `:shape` and `:doc`: types as they are written, signatures as
//! they stand in their source, and the `##` comments above definitions.

use crate::session::Session;
use aec_syntax::Span;
use aec_syntax::ast::{FnDef, Name};
use aec_types::Value;
use aec_types::value::{Closure, Code};

/// The type of a value, as a script would write it.
pub fn type_of(session: &Session, value: &Value) -> String {
    let all = |values: &[Value]| -> Vec<String> {
        values.iter().map(|value| type_of(session, value)).collect()
    };
    match value {
        Value::Unit => "()".into(),
        Value::Tensor(tensor) => tensor.ty.to_string(),
        Value::Str(_) => "str".into(),
        Value::Tuple(values) => format!("({})", all(values).join(", ")),
        Value::Record(fields) => {
            let field =
                |(name, value): &(Name, Value)| format!("{name}: {}", type_of(session, value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("({})", fields.join(", "))
        }
        Value::List(values) => match all(values).first() {
            Some(first) => format!("list[{first}] of {}", values.len()),
            None => "list of 0".into(),
        },
        Value::Fn(closure) => signature(session, closure),
        Value::Template(template) => {
            let params = template
                .def
                .params
                .iter()
                .map(|param| text(session, param.span));
            let params: Vec<String> = params.collect();
            format!("model {}({})", template.def.name.name, params.join(", "))
        }
        Value::Token(_)
        | Value::Maybe(_)
        | Value::Ragged(_)
        | Value::Tree(_)
        | Value::Vocab(_)
        | Value::Builtin(_)
        | Value::Model(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Unknown => value.describe(),
    }
}

/// The shape of each tensor in a value, with the way to it: `.enc.W  [32, 64]`.
pub fn shapes(value: &Value) -> String {
    let mut lines = Vec::new();
    fn walk(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
        let named = |fields: &[(Name, Value)], lines: &mut Vec<(String, String)>| {
            for (name, part) in fields {
                walk(&format!("{path}.{name}"), part, lines);
            }
        };
        match value {
            Value::Tensor(tensor) => lines.push((path.into(), tensor.ty.to_string())),
            Value::Tuple(values) | Value::List(values) => {
                for (place, part) in values.iter().enumerate() {
                    walk(&format!("{path}.{place}"), part, lines);
                }
            }
            Value::Record(fields) => named(fields, lines),
            Value::Model(model) => named(&model.params, lines),
            Value::Unit
            | Value::Token(_)
            | Value::Maybe(_)
            | Value::Ragged(_)
            | Value::Tree(_)
            | Value::Vocab(_)
            | Value::Str(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Module(_)
            | Value::Distribution(_)
            | Value::Unknown => lines.push((path.into(), value.describe())),
        }
    }
    walk("", value, &mut lines);
    let width = lines
        .iter()
        .map(|(path, _)| path.chars().count())
        .max()
        .unwrap_or(0);
    let line = |(path, shape): &(String, String)| {
        if path.is_empty() {
            shape.clone()
        } else {
            format!("{path:width$}  {shape}")
        }
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The signature of a value that a name has, and what its author says about it.
pub fn documentation(session: &Session, value: &Value) -> String {
    let doc = match value {
        Value::Fn(closure) => match &closure.code {
            Code::Named(def, _) => def.doc.clone(),
            Code::Lambda(..) | Code::Native(_) | Code::Around(_) => None,
        },
        Value::Template(template) => template.def.doc.clone(),
        Value::Model(model) => model.template.def.doc.clone(),
        Value::Builtin(id) => Some(id.doc().into()),
        Value::Module(module) => {
            let names = module.scope.own_names();
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            Some(format!("It has {}.", names.join(", ")).into())
        }
        Value::Unit
        | Value::Tensor(_)
        | Value::Token(_)
        | Value::Maybe(_)
        | Value::Ragged(_)
        | Value::Tree(_)
        | Value::Vocab(_)
        | Value::Str(_)
        | Value::Tuple(_)
        | Value::Record(_)
        | Value::List(_)
        | Value::Distribution(_)
        | Value::Unknown => None,
    };
    let head = type_of(session, value);
    match doc {
        Some(doc) => format!("{head}\n{doc}"),
        None => head,
    }
}

fn text(session: &Session, span: Span) -> String {
    let sources = session.sources();
    let sources = sources.borrow();
    let words: Vec<&str> = sources.text(span).split_whitespace().collect();
    words.join(" ")
}

/// `fn f(x: [n]) -> real`, without its body.
fn signature(session: &Session, closure: &Closure) -> String {
    let head = |def: &FnDef| {
        let end = def.body.span.start;
        let whole = text(session, Span { end, ..def.span });
        whole.trim_end_matches(['=', ' ']).to_string()
    };
    match &closure.code {
        Code::Named(def, _) => head(def),
        Code::Lambda(lambda, _) => text(session, lambda.span),
        Code::Native(_) | Code::Around(_) => format!("the function `{}`", closure.name),
    }
}
