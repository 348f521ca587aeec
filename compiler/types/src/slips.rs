//! What other libraries call things, and what they are called here: the help of messages about
//! names that do not exist.

use aec_syntax::{Diagnostic, Span};

/// A name of another language: what is written here, and what replaces it where that is all.
const NAMES: [(&str, &str, Option<&str>); 28] = [
    ("True", "write `true`", Some("true")),
    ("False", "write `false`", Some("false")),
    (
        "None",
        "there is no empty value; `?` is an entry that nobody saw",
        None,
    ),
    (
        "null",
        "there is no empty value; `?` is an entry that nobody saw",
        None,
    ),
    (
        "nil",
        "there is no empty value; `?` is an entry that nobody saw",
        None,
    ),
    (
        "where",
        "a choice entry by entry is `select(c, a, b)`",
        None,
    ),
    ("pow", "a power is `x ^ 2`", None),
    ("matmul", "the product of matrices is `A @ B`", None),
    ("mm", "the product of matrices is `A @ B`", None),
    (
        "einsum",
        "write the sum for one example, with `@` and `sum`, and let the call map it",
        None,
    ),
    ("range", "the ints from 0 to n - 1 are `0..n`", None),
    ("arange", "the ints from 0 to n - 1 are `0..n`", None),
    (
        "enumerate",
        "walk the places, `for i in 0..len(xs)`, and take `xs[i]`",
        None,
    ),
    (
        "zip",
        "`map(fn a, b -> …, xs, ys)` takes entries together; in a script, `for i in 0..len(xs)`",
        None,
    ),
    ("randn", "draw with `let x: [n] ~ normal(0, 1)`", None),
    ("rand", "draw with `let x: [n] ~ uniform(0, 1)`", None),
    ("sqr", "write `x ^ 2`", None),
    ("square", "write `x ^ 2`", None),
    ("ln", "write `log`", Some("log")),
    (
        "mse",
        "the squared error is `l2(p, t)`, summed over the entries",
        Some("l2"),
    ),
    (
        "mse_loss",
        "the squared error is `l2(p, t)`, summed over the entries",
        Some("l2"),
    ),
    ("ReLU", "write `relu`", Some("relu")),
    ("concatenate", "write `concat`", Some("concat")),
    ("cat", "write `concat`", Some("concat")),
    (
        "stack",
        "a list of tensors of one shape is a tensor: `[a, b]`",
        None,
    ),
    (
        "train",
        "training is written `train M(…) on data { … }`",
        None,
    ),
    (
        "this",
        "the members of a model see each other without a prefix",
        None,
    ),
    (
        "self",
        "the members of a model see each other without a prefix",
        None,
    ),
];

/// Libraries whose functions are in scope here without a prefix.
const LIBRARIES: [&str; 11] = [
    "np", "numpy", "torch", "F", "jnp", "jax", "tf", "keras", "math", "self", "this",
];

/// Arguments and settings by their names elsewhere.
const ARGUMENTS: [(&str, &str); 14] = [
    ("learning_rate", "lr"),
    ("step_size", "lr"),
    ("momentum", "beta"),
    ("weight_decay", "decay"),
    ("batch_size", "batch"),
    ("minibatch", "batch"),
    ("num_epochs", "epochs"),
    ("n_epochs", "epochs"),
    ("max_steps", "steps"),
    ("iterations", "steps"),
    ("random_state", "seed"),
    ("validation_data", "validate"),
    ("patience", "early_stop"),
    ("callback", "on_epoch"),
];

/// Types by their names elsewhere.
const TYPES: [(&str, &str); 12] = [
    ("float", "real"),
    ("Float", "real"),
    ("float32", "f32"),
    ("double", "f64"),
    ("float64", "f64"),
    ("integer", "int"),
    ("long", "int"),
    ("int64", "i64"),
    ("boolean", "bool"),
    ("Bool", "bool"),
    ("string", "str"),
    ("String", "str"),
];

/// Models and functions of the library's modules by their names elsewhere.
const OF_MODULES: [(&str, &str); 18] = [
    ("inv", "inverse"),
    ("Dense", "Linear"),
    ("Sequential", "Mlp"),
    ("MLP", "Mlp"),
    ("GRU", "Gru"),
    ("GRUCell", "Gru"),
    ("LSTM", "Lstm"),
    ("LSTMCell", "Lstm"),
    ("RNN", "Rnn"),
    ("Embed", "Embedding"),
    ("MultiheadAttention", "MultiHeadAttention"),
    ("TransformerEncoderLayer", "TransformerBlock"),
    ("BatchNorm1d", "BatchNorm"),
    ("Dropout", "dropout"),
    ("SGD", "sgd"),
    ("Adam", "adam"),
    ("AdamW", "adamw"),
    ("RMSprop", "rmsprop"),
];

/// What a model or function of the library's modules is called here.
pub(crate) fn of_module(name: &str) -> Option<&'static str> {
    let row = OF_MODULES.iter().find(|(theirs, _)| *theirs == name);
    row.map(|(_, ours)| *ours)
}

/// What a script writes instead of using a library of another language.
pub(crate) fn library(path: &str) -> Option<&'static str> {
    let known = LIBRARIES.contains(&path);
    known.then_some("tensors and their functions need no `use`: `sum(x)`, `exp(x)`, `A @ B`")
}

/// Explains a name that nothing has. `text` is the script's text from the name on.
pub(crate) fn name(
    diagnostic: Diagnostic,
    name: &str,
    span: Span,
    text: &str,
    names: &[&str],
) -> Option<Diagnostic> {
    if LIBRARIES.contains(&name)
        && let Some(rest) = text
            .get(name.len()..)
            .and_then(|rest| rest.strip_prefix('.'))
    {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let member = rest.split(|c| !word(c)).next().unwrap_or("");
        if names.contains(&member) {
            let prefix = Span {
                end: span.end + 1,
                ..span
            };
            let help = format!("`{member}` is in scope without a prefix");
            return Some(diagnostic.help_edit(help, prefix, ""));
        }
    }
    let (_, advice, new) = NAMES.iter().find(|(theirs, ..)| *theirs == name)?;
    Some(match new {
        Some(new) => diagnostic.help_edit(*advice, span, *new),
        None => diagnostic.help(*advice),
    })
}

/// What an argument or setting is called here, if that is among `known`.
pub(crate) fn argument<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let mut ours = ARGUMENTS.iter().filter(|(theirs, _)| *theirs == name);
    ours.find_map(|(_, ours)| known.iter().find(|known| *known == ours).copied())
}

/// What a type is called here.
pub(crate) fn type_name(name: &str) -> Option<&'static str> {
    let row = TYPES.iter().find(|(theirs, _)| *theirs == name);
    row.map(|(_, ours)| *ours)
}

/// Explains an attribute or method of a tensor or list: `base.name` at `whole`, with `rest`
/// behind it.
pub(crate) fn member(
    diagnostic: Diagnostic,
    base: &str,
    name: &str,
    whole: Span,
    rest: &str,
    names: &[&str],
) -> Diagnostic {
    let called = rest.starts_with('(');
    match name {
        "T" if !called => {
            return diagnostic.help_edit(
                format!("transposed it is `{base}'`"),
                whole,
                format!("{base}'"),
            );
        }
        "append" | "push" | "extend" if called => {
            return diagnostic.help(format!(
                "values do not change: `{base} = {base} + [x]` is a longer list"
            ));
        }
        "size" | "length" => {
            return diagnostic.help(format!(
                "its sizes are `shape({base})`, the first `len({base})`"
            ));
        }
        _ => {}
    }
    if !names.contains(&name) {
        return diagnostic;
    }
    let arguments = if called {
        parenthesized(rest)
    } else {
        Some("")
    };
    let Some(arguments) = arguments else {
        return diagnostic.help("functions stand before their arguments");
    };
    let call = match (name, arguments) {
        (_, "") => format!("{name}({base})"),
        // Shapes are lists of sizes.
        ("reshape" | "broadcast", sizes) if !sizes.starts_with(['[', '(']) => {
            format!("{name}({base}, [{sizes}])")
        }
        _ => format!("{name}({base}, {arguments})"),
    };
    let taken = if called { arguments.len() + 2 } else { 0 };
    let whole = Span {
        end: whole.end + taken as u32,
        ..whole
    };
    let help = format!("functions stand before their arguments: `{call}`");
    diagnostic.help_edit(help, whole, call)
}

/// What stands in the parentheses that a text begins with, if they are closed in it.
fn parenthesized(text: &str) -> Option<&str> {
    let mut depth = 0;
    let end = text.find(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    })?;
    text.get(1..end)
}
