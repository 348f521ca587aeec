//! What other libraries call things, and what they are called here: the help of messages about
//! names that do not exist.

use aec_syntax::{Diagnostic, Span};

/// A name of another language: what is written here, and what replaces it where that is all.
const NAMES: [(&str, &str, Option<&str>); 88] = [
    ("std", "the standard deviation is `sqrt(var(x))`", None),
    (
        "median",
        "`use stats` brings `stats.quantile(x, 0.5)`",
        None,
    ),
    (
        "prod",
        "the product of all entries is `reduce(fn a, b -> a * b, 1.0, x)`",
        None,
    ),
    (
        "hessian",
        "the second derivatives are `jacobian(grad(f))(x)`; along one direction `hessian_vector(f)(x, v)`",
        None,
    ),
    (
        "percentile",
        "`use stats` brings `stats.quantile(x, 0.95)`",
        None,
    ),
    (
        "vstack",
        "`concat(A, B)` has the rows of both; `[a, b]` has two vectors as rows",
        None,
    ),
    (
        "hstack",
        "vectors are joined by `concat(a, b)`, matrices side by side by `concat(A', B')'`",
        None,
    ),
    (
        "list",
        "what is made entry by entry is `[f(x) for x in xs]`",
        None,
    ),
    ("float", "`real(x)` converts", Some("real")),
    ("random", "draw with `let x: [n] ~ uniform(0, 1)`", None),
    (
        "randint",
        "draw with `let x: int[n] ~ categorical(weights = ones[k])`",
        None,
    ),
    ("help", "the REPL tells what a name is: `:doc name`", None),
    ("SGD", "`use optim` brings `optim.sgd(lr = 0.01)`", None),
    ("Adam", "`use optim` brings `optim.adam(lr = 1e-3)`", None),
    ("isnan", "what is missing is a `?`: `not observed(x)`", None),
    ("isna", "what is missing is a `?`: `not observed(x)`", None),
    ("fillna", "`x ?? 0` fills what is missing", None),
    ("nanmean", "`mean(x)` takes what is observed", Some("mean")),
    (
        "round",
        "the nearest whole number is `floor(x + 0.5)`",
        None,
    ),
    ("ceil", "the next whole number is `-floor(-x)`", None),
    (
        "trunc",
        "`int(x)` cuts off what stands behind the point",
        None,
    ),
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
        "none",
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
    ("sample", "draw with `let x: [n] ~ normal(0, 1)`", None),
    ("I", "the identity matrix is `eye(n)`", None),
    (
        "Identity",
        "a lambda that gives what it gets is `fn x -> x`",
        None,
    ),
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
    ("halves", "`split(x, 2)` gives both halves", None),
    ("nan", "what is missing is written `?`", None),
    ("NaN", "what is missing is written `?`", None),
    ("e", "the power of e is `exp(x)`", None),
    ("σ", "write `sigmoid`", Some("sigmoid")),
    (
        "break",
        "a `for` runs to its end; `while(f, s0, until = c, max = n)` ends where c holds",
        None,
    ),
    (
        "continue",
        "what is left out stands in an `if`; `[f(x) for x in xs if c]` takes some",
        None,
    ),
    ("pass", "a block may be empty: leave the word out", Some("")),
    (
        "input",
        "a script asks nobody: values stand in it or in files",
        None,
    ),
    (
        "open",
        "files are read whole: `data.csv`, `data.text`, `data.npy` of `use data`",
        None,
    ),
    (
        "read_csv",
        "`use data` brings `data.csv(\"file.csv\")`",
        None,
    ),
    (
        "type",
        "the REPL shows types: `:type x`; a shape is `shape(x)`",
        None,
    ),
    (
        "isinstance",
        "types are known before a script runs: a parameter says its own, `x: [n]`",
        None,
    ),
    (
        "exit",
        "a script ends with its last line; `assert c` ends it where c fails",
        None,
    ),
    ("println", "write `print x`", Some("print ")),
    ("printf", "write `print \"x is {x:.3}\"`", None),
    ("disp", "write `print x`", Some("print ")),
    ("display", "write `print x`", Some("print ")),
    ("console", "write `print x`", None),
    ("assert_eq", "write `assert a == b`", None),
    (
        "manual_seed",
        "draws are the same at each run; `train` has a setting `seed`",
        None,
    ),
    ("zeros_like", "write `zeros(shape(x))`", None),
    ("ones_like", "write `ones(shape(x))`", None),
    ("tensor", "a tensor is written `[1.0, 2.0]`", None),
    ("array", "a tensor is written `[1.0, 2.0]`", None),
    (
        "no_grad",
        "gradients are taken where `grad` is called: leave it out",
        None,
    ),
    ("Sigmoid", "write `sigmoid`", Some("sigmoid")),
    ("Tanh", "write `tanh`", Some("tanh")),
    ("GELU", "write `gelu`", Some("gelu")),
    ("Softmax", "write `softmax`", Some("softmax")),
    (
        "MSELoss",
        "the squared error is `l2(p, t)`, summed over the entries",
        Some("l2"),
    ),
    ("L1Loss", "write `l1(p, t)`", Some("l1")),
    ("BCELoss", "write `bce(p, t)`", Some("bce")),
    (
        "BCEWithLogitsLoss",
        "write `bce_logits(a, t)`",
        Some("bce_logits"),
    ),
    (
        "CrossEntropyLoss",
        "write `cross_entropy(logits, y)`",
        Some("cross_entropy"),
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
const LIBRARIES: [&str; 15] = [
    "np", "numpy", "torch", "F", "jnp", "jax", "tf", "keras", "math", "scipy", "random", "pd",
    "pandas", "self", "this",
];

/// Reductions, which take all of their argument.
const REDUCTIONS: [&str; 8] = ["sum", "mean", "max", "min", "var", "all", "any", "norm"];

/// Those that go over the first axis by another name, `rows.sum`.
const OVER_ROWS: [&str; 5] = ["sum", "mean", "max", "min", "var"];

/// What a function that has no axes to choose from goes over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// All entries.
    All,
    /// The first axis.
    First,
    /// A vector; a call is mapped over what stands before the last axis.
    Vector,
}

/// A call that was given an axis, `sum(x, axis = 0)`.
pub(crate) struct AlongAxis<'a> {
    /// The function's name.
    pub(crate) name: &'a str,
    /// What it goes over.
    pub(crate) over: Over,
    /// The text of what it is given.
    pub(crate) x: &'a str,
    /// How many axes that has.
    pub(crate) rank: Option<usize>,
    /// The axis, where it is one number.
    pub(crate) axis: Option<i64>,
    /// The call.
    pub(crate) call: Span,
}

/// What goes along the axis that a call named.
pub(crate) fn along(diagnostic: Diagnostic, given: &AlongAxis<'_>) -> Diagnostic {
    let AlongAxis { name, x, .. } = given;
    let by_rows = OVER_ROWS.contains(name);
    let help = match given.over {
        Over::All if by_rows => format!(
            "`{name}` takes all of its argument: `rows.{name}(x)` goes over the first axis, \
             `map({name}, x)` takes each row by itself"
        ),
        Over::All => format!(
            "`{name}` takes all of its argument: `map({name}, x)` takes each row by itself, \
             `map({name}, x')` each column"
        ),
        Over::First => {
            format!("`{name}` goes along the first axis; `map({name}, x)` takes each row by itself")
        }
        Over::Vector => format!(
            "a call is mapped over the axes before the last: `{name}(x)` takes each row by itself, `{name}(x')` \
             each column"
        ),
    };
    let (plain, each) = (format!("{name}({x})"), format!("map({name}, {x})"));
    let meant = match (given.rank, given.axis) {
        (Some(1), Some(_)) => Some(plain),
        (Some(rank), Some(axis)) if axis == 0 || axis == -(rank as i64) => match given.over {
            Over::All if by_rows => Some(format!("rows.{name}({x})")),
            Over::First => Some(plain),
            Over::Vector if rank == 2 && x.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                Some(format!("{name}({x}')"))
            }
            Over::All | Over::Vector => None,
        },
        (Some(rank), Some(axis)) if axis == -1 || axis == rank as i64 - 1 => match given.over {
            Over::Vector => Some(plain),
            Over::All | Over::First => (rank == 2).then_some(each),
        },
        _ => None,
    };
    match meant {
        Some(new) if !x.contains('\n') => diagnostic.help_edit(help, given.call, new),
        _ => diagnostic.help(help),
    }
}

/// Methods and attributes of values elsewhere: what is written here. `{}` is the value.
const METHODS: [(&str, &str); 25] = [
    ("fillna", "`{} ?? 0` fills what is missing"),
    ("isnull", "`not observed({})` says what is missing"),
    ("astype", "`real({})` and `int({})` convert"),
    ("float", "`real({})` and `int({})` convert"),
    ("long", "`real({})` and `int({})` convert"),
    (
        "double",
        "`f64({})` converts; `precision f64` at the top is for all",
    ),
    ("to", "all is computed on the processor: leave it out"),
    ("cuda", "all is computed on the processor: leave it out"),
    ("cpu", "all is computed on the processor: leave it out"),
    ("detach", "no gradient goes through `stop({})`"),
    ("item", "a number is a tensor without axes: write `{}`"),
    ("numpy", "tensors print and save as they are: write `{}`"),
    ("clone", "values do not change and need no copy: write `{}`"),
    ("copy", "values do not change and need no copy: write `{}`"),
    ("contiguous", "values lie as they are needed: write `{}`"),
    (
        "backward",
        "the gradient of a function f is `grad(f)(x)`; `train` takes that of a loss by itself",
    ),
    (
        "unsqueeze",
        "calls map over leading axes by themselves; `[{}]` has one axis more",
    ),
    (
        "squeeze",
        "calls map over leading axes by themselves; `{}[0]` has one axis less",
    ),
    ("ndim", "its axes are counted by `len(shape({}))`"),
    ("dim", "its axes are counted by `len(shape({}))`"),
    ("dtype", "the REPL shows its type: `:type {}`"),
    ("t", "transposed it is `{}'`"),
    (
        "transpose",
        "transposed it is `{}'`; `permute({}, [1, 0])` puts axes in any order",
    ),
    (
        "format",
        "a string holds its values in braces: `\"{x:.3} of {n}\"`",
    ),
    ("dot", "the product is `{} @ y`"),
];

/// Methods of models elsewhere.
const OF_MODELS: [(&str, &str); 8] = [
    ("fit", "`train m on data { … }` gives a trained model"),
    ("train", "`train m on data { … }` gives a trained model"),
    (
        "predict",
        "a model with `apply` is called, `m(x)`; others by a member, `m.encoder(x)`",
    ),
    (
        "forward",
        "a model with `apply` is called, `m(x)`; others by a member, `m.encoder(x)`",
    ),
    (
        "eval",
        "outside of `train` a model does not train; `eval(m, on = data)` gives its loss",
    ),
    (
        "parameters",
        "`params.map(f, m)` and `params.count(m)` work on all params of a model",
    ),
    (
        "state_dict",
        "`save(m, \"m.safetensors\")` keeps the weights",
    ),
    ("to", "all is computed on the processor: leave it out"),
];

/// What a method of models is called here.
pub(crate) fn of_model(name: &str) -> Option<&'static str> {
    let row = OF_MODELS.iter().find(|(theirs, _)| *theirs == name);
    row.map(|(_, ours)| *ours)
}

/// What a function of the table goes over, of those that have an axis to choose elsewhere.
pub(crate) fn goes_over(name: &str) -> Option<Over> {
    match name {
        "cumsum" | "argsort" | "reverse" => Some(Over::First),
        "argmax" | "argmin" => Some(Over::Vector),
        _ => REDUCTIONS.contains(&name).then_some(Over::All),
    }
}

/// Names of the argument that says the axis.
pub(crate) fn names_axis(name: &str) -> bool {
    matches!(name, "axis" | "dim" | "dims" | "axes")
}

/// Arguments and settings by their names elsewhere.
const ARGUMENTS: [(&str, &str); 20] = [
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
    ("num_beams", "width"),
    ("beam_width", "width"),
    ("max_length", "max_len"),
    ("stop", "end"),
    ("eos", "end"),
    ("bos", "start"),
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
        // `np.random.randn(3)`: the last name of the path.
        let path = rest.split(|c| !word(c) && c != '.').next().unwrap_or("");
        let last = path.rsplit('.').next().unwrap_or("");
        let known = NAMES.iter().find(|(theirs, ..)| *theirs == last);
        return Some(match known {
            Some((_, advice, _)) => diagnostic.help(*advice),
            None if matches!(name, "self" | "this") => {
                diagnostic.help("the members of a model see each other without a prefix")
            }
            None => diagnostic.help(
                "tensors and their functions are in scope without a prefix; layers, optimizers and data are \
                 modules of the library: `use nn`, `use optim`, `use data`",
            ),
        });
    }
    // As the lectures write distributions; alone they may be sizes.
    let drawn = match name {
        "N" => Some("normal"),
        "U" => Some("uniform"),
        "Ber" | "Bern" => Some("bernoulli"),
        "Cat" => Some("categorical"),
        _ => None,
    };
    if let Some(ours) = drawn.filter(|_| text[name.len()..].starts_with('(')) {
        let help = match ours {
            "normal" => {
                "write `normal(mu, sigma)`: sigma is a standard deviation, no variance".into()
            }
            _ => format!("write `{ours}`"),
        };
        return Some(diagnostic.help_edit(help, span, ours));
    }
    let (_, advice, new) = NAMES.iter().find(|(theirs, ..)| *theirs == name)?;
    Some(match new {
        Some(new) => diagnostic.help_edit(*advice, span, *new),
        None => diagnostic.help(*advice),
    })
}

/// What stands here for a name of another library.
pub(crate) fn advice(name: &str) -> Option<&'static str> {
    let row = NAMES.iter().find(|(theirs, ..)| *theirs == name);
    row.map(|(_, advice, _)| *advice)
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
/// behind it; `rank` is that of the base, if it is a tensor.
pub(crate) fn member(
    diagnostic: Diagnostic,
    (base, rank): (&str, Option<usize>),
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
            return diagnostic.help(match rank {
                Some(_) => format!(
                    "values do not change: `{base} = append({base}, [entry])` is a longer tensor"
                ),
                None => format!("values do not change: `{base} = {base} + [x]` is a longer list"),
            });
        }
        name if called
            && let Some(over) = goes_over(name)
            && let Some(given) = parenthesized(rest)
            && !given.is_empty() =>
        {
            let number = given.rsplit('=').next().unwrap_or("").trim();
            let call = Span {
                end: whole.end + given.len() as u32 + 2,
                ..whole
            };
            let along_axis = AlongAxis {
                name,
                over,
                x: base,
                rank,
                axis: number.parse().ok(),
                call,
            };
            return along(diagnostic, &along_axis);
        }
        "size" | "length" => {
            return diagnostic.help(format!(
                "its sizes are `shape({base})`, the first `len({base})`"
            ));
        }
        _ => {}
    }
    if let Some((_, advice)) = METHODS.iter().find(|(theirs, _)| *theirs == name) {
        return diagnostic.help(advice.replace("{}", base));
    }
    let name = if name == "view" { "reshape" } else { name };
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

/// A text without the parentheses that are around all of it.
pub(crate) fn unwrapped(text: &str) -> &str {
    match text.starts_with('(').then(|| parenthesized(text)).flatten() {
        Some(inner) if inner.len() + 2 == text.len() => inner,
        _ => text,
    }
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
