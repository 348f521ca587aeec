//! Models in files, used without their script: the file carries the source of the model, so that
//! its members can be called on tables of data.

use crate::effects::remake::with_arguments;
use crate::effects::{cannot_read, cannot_write, weights};
use crate::exec::gather_rows;
use crate::session::{Result, Session};
use crate::{format, has_errors};
use aec_runtime::read::{CsvRows, Stored, read_npy};
use aec_runtime::write::{Weights, load_weights, save_weights};
use aec_runtime::{Elem, Tensor};
use aec_syntax::{Diagnostic, Span};
use aec_types::tokens::Vocab;
use aec_types::value::Origin;
use aec_types::{Value, is_of_average, leaves};
use std::path::Path;
use std::sync::Arc;

/// Rows that are computed at a time.
const ROWS: usize = 4096;

/// Rounds in which a model that takes no `?` fills missing entries.
const ROUNDS: usize = 50;

/// Where the file keeps the error above which an example is an anomaly.
const THRESHOLD: &str = "aec.threshold";

/// A model from a file.
pub struct Saved {
    /// The file, as it was named.
    pub path: String,
    /// All that it holds.
    pub weights: Weights,
    /// The model.
    pub model: Value,
}

/// Examples of a table, one for each row.
pub struct Table {
    /// The file, as it was named.
    pub name: String,
    /// The numbers, `[rows, …]`; 0 where one is missing.
    pub values: Tensor,
    /// A bool for each number, if any is missing.
    pub observed: Option<Tensor>,
}

/// What is done with each example.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// `encoder(x)`
    Encode,
    /// `decoder(z)`
    Decode,
    /// `decoder(encoder(x))`
    Reconstruct,
    /// The observed entries, and the reconstruction's where one is missing.
    Complete,
}

impl Act {
    /// The member whose parameter the data must fit.
    fn member(self) -> &'static str {
        match self {
            Act::Encode | Act::Reconstruct | Act::Complete => "encoder",
            Act::Decode => "decoder",
        }
    }
}

fn fault(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(code, Span::NONE, message)
}

/// Opens a model in `session`, which must be new: the file decides on its precision.
pub fn open(session: &mut Session, path: &str) -> std::result::Result<Saved, Vec<Diagnostic>> {
    let weights = load_weights(Path::new(path))
        .map_err(|error| vec![*cannot_read(path, &error, Span::NONE)])?;
    let text = |name: &str| weights.metadata.get(name).map_or("", String::as_str);
    if text("aec.model").is_empty() {
        return Err(vec![
            fault(
                "E0813",
                format!("{path} holds tensors, but does not say of which model"),
            )
            .help("`save(m, …)` of a model writes a file that does"),
        ]);
    }
    if weights
        .tensors
        .iter()
        .any(|(_, tensor)| tensor.elem() == Elem::F64)
    {
        session.set_float(Elem::F64);
    }
    let source = text("aec.source");
    let modules = text("aec.modules")
        .split(',')
        .filter(|path| !path.is_empty());
    let uses: String = modules
        .map(|path| format!("use {path}\n"))
        .filter(|line| !source.contains(line.trim_end()))
        .collect();
    let made = format!("{uses}{source}\n\n{}\n", text("aec.call"));
    let (outcome, value) = session.evaluate(&format!("the source in {path}"), &made);
    let model = match value {
        Some(model @ Value::Model(_)) if !has_errors(&outcome.diagnostics) => model,
        _ => {
            let mut found = outcome.diagnostics;
            found.push(
                fault("E0813", format!("the model in {path} cannot be made from its file alone"))
                    .note("the file carries the model's source and what that names in its script, but no data")
                    .help("`load(model, file)` in its script still works"),
            );
            return Err(found);
        }
    };
    let model = with_arguments(&model, &|name| weights.get(name).cloned()).map_err(|name| {
        vec![fault(
            "E0813",
            format!("{path} has no tensor `{name}` that fits its model"),
        )]
    })?;
    let model =
        weights::load(&session.world, &model, path, Span::NONE).map_err(|error| vec![*error])?;
    session.elaborator.define("model", model.clone());
    Ok(Saved {
        path: path.to_string(),
        weights,
        model,
    })
}

/// A table that is read some rows at a time.
pub struct Rows {
    name: String,
    /// Names of the columns, or nothing.
    pub head: Vec<String>,
    source: Source,
    float: Elem,
}

enum Source {
    Csv(CsvRows),
    /// Rows of an array and how many were read.
    Stored(Stored, usize),
    /// An array that can only be read whole.
    Whole(Option<Tensor>),
}

impl Rows {
    /// Opens `.npy`, and anything else as CSV.
    pub fn open(path: &str, float: Elem) -> Result<Rows> {
        let failed = |error| cannot_read(path, &error, Span::NONE);
        let file = Path::new(path);
        let (head, source) = if path.ends_with(".npy") || path.ends_with(".npy.gz") {
            let source = match Stored::open(file, float) {
                Ok(rows) => Source::Stored(rows, 0),
                // Column by column, perhaps: what is wrong with it is said by the reader.
                Err(_) => Source::Whole(Some(read_npy(file).map_err(failed)?)),
            };
            (Vec::new(), source)
        } else {
            let csv = CsvRows::open(file).map_err(failed)?;
            (csv.header.clone().unwrap_or_default(), Source::Csv(csv))
        };
        Ok(Rows {
            name: path.to_string(),
            head,
            source,
            float,
        })
    }

    /// The next rows, at most so many; none at the end. NaN and empty cells are missing.
    pub fn next(&mut self, most: usize) -> Result<Option<Table>> {
        let failed = |error| cannot_read(&self.name, &error, Span::NONE);
        let values = match &mut self.source {
            Source::Csv(csv) => csv.next_rows(most).map_err(failed)?.tensor(Elem::F64),
            Source::Stored(rows, done) => {
                let end = done.saturating_add(most).min(rows.rows());
                let wanted: Vec<usize> = (*done..end).collect();
                if wanted.is_empty() && *done == 0 {
                    return Err(Box::new(fault(
                        "E0803",
                        format!("{} has no rows", self.name),
                    )));
                }
                *done = end;
                rows.read(&wanted).map_err(failed)?
            }
            Source::Whole(tensor) => match tensor.take() {
                Some(tensor) if tensor.dims().first().is_none_or(|&rows| rows == 0) => {
                    return Err(Box::new(fault(
                        "E0803",
                        format!("{} has no rows", self.name),
                    )));
                }
                Some(tensor) => tensor,
                None => return Ok(None),
            },
        };
        if values.dims()[0] == 0 {
            return Ok(None);
        }
        let numbers = values.to_f64_vec();
        let holes = numbers.iter().any(|value| value.is_nan());
        let observed = holes.then(|| {
            let seen = numbers
                .iter()
                .map(|value| f64::from(u8::from(!value.is_nan())));
            Tensor::from_f64(Elem::Bool, values.dims(), seen)
        });
        let numbers = numbers.iter().map(|v| if v.is_nan() { 0.0 } else { *v });
        Ok(Some(Table {
            name: self.name.clone(),
            values: Tensor::from_f64(self.float, values.dims(), numbers),
            observed,
        }))
    }
}

/// The data in the shape of the examples that a member takes, or why it cannot be.
fn fitted(session: &mut Session, saved: &Saved, member: &str, table: &Table) -> Result<Tensor> {
    let has = session.elaborator.member(&saved.model, member).is_some();
    let name = saved
        .weights
        .metadata
        .get("aec.model")
        .map_or("", String::as_str);
    if !has {
        return Err(Box::new(fault(
            "E0202",
            format!("the model {name} in {} has no `{member}`", saved.path),
        )));
    }
    let Some((dims, _)) = session.elaborator.takes(&saved.model, member) else {
        return Ok(table.values.clone());
    };
    let rows = table.values.dims()[0];
    let columns = table.values.len() / rows;
    let wanted: usize = dims.iter().product();
    if columns != wanted {
        return Err(Box::new(
            fault(
                "E0803",
                format!(
                    "{} has {columns} numbers in each row, but `{member}` of {name} in {} takes {wanted}",
                    table.name, saved.path
                ),
            )
            .note(format!("an example of this model is a tensor {dims:?}")),
        ));
    }
    let dims: Vec<usize> = std::iter::once(rows).chain(dims).collect();
    Ok(Tensor::new(dims, table.values.data().clone()))
}

/// Takes what `act` gives for some examples: `[rows, columns]`.
pub type Sink<'a> = dyn FnMut(&Table, &Tensor) -> std::result::Result<(), Vec<Diagnostic>> + 'a;

/// Does `act` with all rows, some at a time. Several parts of a code stand beside each other.
pub fn apply(
    session: &mut Session,
    saved: &Saved,
    act: Act,
    path: &str,
    sink: &mut Sink<'_>,
) -> std::result::Result<(), Vec<Diagnostic>> {
    let one = |error: Box<Diagnostic>| vec![*error];
    let float = session.elaborator.float();
    let maybe = session
        .elaborator
        .takes(&saved.model, act.member())
        .is_some_and(|(_, maybe)| maybe);
    let averages = match act {
        Act::Complete if !maybe => means(Rows::open(path, float).map_err(one)?).map_err(one)?,
        Act::Encode | Act::Decode | Act::Reconstruct | Act::Complete => Vec::new(),
    };
    let mut rows = Rows::open(path, float).map_err(one)?;
    let mut first = true;
    while let Some(table) = rows.next(ROWS).map_err(one)? {
        let values = fitted(session, saved, act.member(), &table).map_err(one)?;
        if table.observed.is_some() && !maybe && act != Act::Complete {
            return Err(vec![
                fault(
                    "E0803",
                    format!("{path} has empty cells, which this model does not take"),
                )
                .help("`aec complete` fills them"),
            ]);
        }
        if std::mem::take(&mut first) && matches!(act, Act::Reconstruct | Act::Complete) {
            define_reconstruct(session, saved, &values)?;
        }
        let result = some_rows(session, act, &table, values, maybe, &averages)?;
        sink(&table, &result)?;
    }
    Ok(())
}

/// [`apply`] for the rows that are in memory.
fn some_rows(
    session: &mut Session,
    act: Act,
    table: &Table,
    values: Tensor,
    maybe: bool,
    averages: &[f64],
) -> std::result::Result<Tensor, Vec<Diagnostic>> {
    let rows = values.dims()[0];
    let origin = Origin {
        span: Span::NONE,
        text: format!("read from {}", table.name).into(),
    };
    let seen = table
        .observed
        .as_ref()
        .map(|seen| Tensor::new(values.dims().to_vec(), seen.data().clone()));
    let result = match (act, &seen) {
        (Act::Complete, Some(seen)) if !maybe => filled_in_rounds(session, values, seen, averages)?,
        _ => {
            let x = Value::concrete_from(values, origin.clone());
            let x = match seen {
                Some(seen) => Value::missing(x, Value::concrete_from(seen, origin)),
                None => x,
            };
            session.elaborator.define("x", x);
            parts(&run(session, call(act))?)
        }
    };
    let columns = result.iter().map(|part| part.len() / rows).sum();
    let mut out: Vec<f64> = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for part in &result {
            let width = part.len() / rows;
            out.extend((row * width..(row + 1) * width).map(|at| part.get_f64(at)));
        }
    }
    Ok(Tensor::from_f64(
        session.elaborator.float(),
        &[rows, columns],
        out,
    ))
}

/// Defines the function `reconstruct`: the model's own, if it has one. Of a code in several parts
/// (a distribution's) the first is decoded: its mean. One example shows which it is.
fn define_reconstruct(
    session: &mut Session,
    saved: &Saved,
    values: &Tensor,
) -> std::result::Result<(), Vec<Diagnostic>> {
    let own = session.elaborator.member(&saved.model, "reconstruct");
    let body = if own.is_some() {
        "model.reconstruct(x)".to_string()
    } else {
        let mut dims = values.dims().to_vec();
        dims[0] = 1;
        let mut one = Tensor::zeros(values.elem(), &dims);
        gather_rows(values, &[0], &mut one);
        session.elaborator.define("x", Value::concrete(one));
        let part = match run(session, "model.encoder(x)")? {
            Value::Tuple(_) => ".0".to_string(),
            Value::Record(fields) => fields
                .first()
                .map_or_else(String::new, |(name, _)| format!(".{name}")),
            _ => String::new(),
        };
        format!("model.decoder(model.encoder(x){part})")
    };
    let outcome = session.turn("aec", &format!("fn reconstruct(x) = {body}"));
    match has_errors(&outcome.diagnostics) {
        true => Err(outcome.diagnostics),
        false => Ok(()),
    }
}

/// What is evaluated on the examples `x`.
fn call(act: Act) -> &'static str {
    match act {
        Act::Encode => "model.encoder(x)",
        Act::Decode => "model.decoder(x)",
        Act::Reconstruct => "reconstruct(x)",
        Act::Complete => "x ?? reconstruct(x)",
    }
}

/// Evaluates one line.
fn run(session: &mut Session, text: &str) -> std::result::Result<Value, Vec<Diagnostic>> {
    let (outcome, value) = session.evaluate("aec", text);
    match value {
        Some(value) if !has_errors(&outcome.diagnostics) => Ok(value),
        _ => Err(outcome.diagnostics),
    }
}

/// The tensors of a result, each with a first axis of examples.
fn parts(value: &Value) -> Vec<Arc<Tensor>> {
    leaves(value)
        .iter()
        .filter_map(|leaf| leaf.tensor.host().cloned())
        .collect()
}

/// The mean of what is observed in each column.
fn means(mut rows: Rows) -> Result<Vec<f64>> {
    let mut sums: Vec<(f64, f64)> = Vec::new();
    while let Some(table) = rows.next(ROWS)? {
        let width = table.values.len() / table.values.dims()[0];
        sums.resize(width, (0.0, 0.0));
        for at in 0..table.values.len() {
            let seen = table.observed.as_ref();
            if seen.is_none_or(|seen| seen.get_f64(at) != 0.0) {
                sums[at % width].0 += table.values.get_f64(at);
                sums[at % width].1 += 1.0;
            }
        }
    }
    Ok(sums
        .iter()
        .map(|(sum, count)| sum / f64::max(*count, 1.0))
        .collect())
}

/// Missing entries of a model that takes none: they start at their column's mean and become what
/// the reconstruction says of them, again and again, while the observed ones stay.
fn filled_in_rounds(
    session: &mut Session,
    x: Tensor,
    seen: &Tensor,
    means: &[f64],
) -> std::result::Result<Vec<Arc<Tensor>>, Vec<Diagnostic>> {
    let (elem, dims) = (x.elem(), x.dims().to_vec());
    let start = (0..x.len()).map(|at| match seen.get_f64(at) {
        0.0 => means[at % means.len()],
        _ => x.get_f64(at),
    });
    let mut now = Arc::new(Tensor::from_f64(elem, &dims, start));
    let x = Value::missing(Value::concrete(x), Value::concrete(seen.clone()));
    session.elaborator.define("x", x);
    for _ in 0..ROUNDS {
        session
            .elaborator
            .define("filled", Value::shared(now.clone()));
        let next = run(session, "x ?? reconstruct(filled)")?;
        let Some(next) = parts(&next).into_iter().next() else {
            break;
        };
        now = next;
    }
    Ok(vec![now])
}

/// Mean squared difference of each row.
pub fn errors(a: &Tensor, b: &Tensor) -> Vec<f64> {
    let rows = a.dims()[0];
    let width = a.len() / rows;
    (0..rows)
        .map(|row| {
            let square = |at: usize| (a.get_f64(at) - b.get_f64(at)).powi(2);
            (row * width..(row + 1) * width).map(square).sum::<f64>() / width.max(1) as f64
        })
        .collect()
}

/// `count` examples, `[count, columns]`. A model with a member `sample` makes each of noise from
/// the standard normal distribution; any other decodes codes from its member `prior`, or if it has
/// none from the standard normal distribution. `given` is the class for a prior that wants one.
pub fn sample(
    session: &mut Session,
    saved: &Saved,
    count: usize,
    given: Option<i64>,
) -> std::result::Result<Tensor, Vec<Diagnostic>> {
    let name = saved.name();
    let own = session.elaborator.member(&saved.model, "sample").is_some();
    let maker = if own { "sample" } else { "decoder" };
    let Some((dims, _)) = session.elaborator.takes(&saved.model, maker) else {
        return Err(vec![fault(
            "E0202",
            format!(
                "the model {name} in {} has no `decoder` of a code of known size",
                saved.path
            ),
        )]);
    };
    let classes = |member| parameters(&saved.model, member);
    let prior = (!own).then(|| classes("prior")).flatten();
    let wants_class = prior == Some(1) || classes(maker) == Some(2);
    let class = match (wants_class, given) {
        (true, Some(class)) => class.to_string(),
        (false, None) => String::new(),
        (true, None) => {
            return Err(vec![
                fault("E0803", format!("{name} makes examples of a given class"))
                    .help("name one, as in `--given 3`"),
            ]);
        }
        (false, Some(_)) => {
            return Err(vec![fault(
                "E0803",
                format!("{name} makes examples without a class, so `--given` says nothing to it"),
            )]);
        }
    };
    let sizes: Vec<String> = dims.iter().map(|size| format!(", {size}")).collect();
    let sizes = sizes.concat();
    let mut text = format!("let e: [{count}{sizes}] ~ normal(0, 1)\n");
    let of_class = if prior == Some(1) { class.as_str() } else { "" };
    let p = match prior {
        Some(_) => Some(run(session, &format!("model.prior({of_class})"))?),
        None => None,
    };
    // A mean and a spread, or a distribution.
    text.push_str(&match &p {
        None => "let z = e\n".to_string(),
        Some(Value::Distribution(_)) => {
            format!("let z = map(fn i -> {{ let z ~ model.prior({of_class}); z }}, 0..{count})\n")
        }
        Some(Value::Record(fields)) if fields.len() == 2 => format!(
            "let p = model.prior({of_class})\nlet z = map(fn e -> p.{} + p.{} * e, e)\n",
            fields[0].0, fields[1].0
        ),
        Some(Value::Tuple(parts)) if parts.len() == 2 => {
            format!("let p = model.prior({of_class})\nlet z = map(fn e -> p.0 + p.1 * e, e)\n")
        }
        Some(other) => {
            return Err(vec![
                fault(
                    "E0202",
                    format!("`prior` of {name} gives {}", format::inspect(other)),
                )
                .help("it gives a distribution, or a mean and a standard deviation"),
            ]);
        }
    });
    text.push_str(&match (classes(maker), wants_class) {
        (Some(2), true) => format!("model.{maker}(z, {class})"),
        _ => format!("model.{maker}(z)"),
    });
    let parts = parts(&run(session, &text)?);
    let Some(first) = parts.first() else {
        return Err(vec![fault("E0202", format!("the {maker} gives no tensor"))]);
    };
    let dims = [count, first.len() / count.max(1)];
    Ok(Tensor::new(dims.to_vec(), first.data().clone()))
}

/// The number of parameters of a model's member.
fn parameters(model: &Value, member: &str) -> Option<usize> {
    let Value::Model(model) = model else {
        return None;
    };
    let def = aec_types::scope::member(model, member)?;
    Some(def.params.len())
}

/// How a text is made.
pub struct Generate {
    /// What it begins with.
    pub prompt: String,
    /// Most words after that.
    pub words: usize,
    /// Divides the logits.
    pub temperature: f64,
    /// Only so many best words; 0 for all.
    pub top_k: usize,
    /// Only the words that make up this share of the probability.
    pub nucleus: f64,
}

/// A text of a language model: one that was saved with its vocabulary and has a member
/// `step(state, word) -> (state, logits)`. It starts from `start()`, or from a state of zeros.
pub fn generate(
    session: &mut Session,
    saved: &Saved,
    how: &Generate,
) -> std::result::Result<String, Vec<Diagnostic>> {
    let name = saved.name();
    let Some(words) = saved.weights.metadata.get("aec.words") else {
        return Err(vec![
            fault(
                "E0813",
                format!("{} does not say what the words of {name} are", saved.path),
            )
            .help(
                "`save(m, \"m.safetensors\", words = v)` keeps the vocabulary `v` with the model",
            ),
        ]);
    };
    if parameters(&saved.model, "step") != Some(2) {
        return Err(vec![
            fault(
                "E0202",
                format!("the model {name} in {} does not say how a text goes on", saved.path),
            )
            .help("it needs a member `step(h: [H], w: token) -> ([H], [V])`: the next state, and the logits of the next word"),
        ]);
    }
    let vocab = Vocab::of(words.lines().map(Into::into).collect());
    let place = |word: &str| vocab.words().iter().position(|known| **known == *word);
    let start = match (
        parameters(&saved.model, "start"),
        session.elaborator.takes(&saved.model, "step"),
    ) {
        (Some(0), _) => "model.start()".to_string(),
        (_, Some((dims, _))) => {
            let sizes: Vec<String> = dims.iter().map(usize::to_string).collect();
            format!("zeros[{}]", sizes.join(", "))
        }
        _ => {
            return Err(vec![
                fault(
                    "E0202",
                    format!("nothing says where a text of {name} starts"),
                )
                .help("a member `start()` gives the state before the first word"),
            ]);
        }
    };
    let mut prompt: Vec<usize> = Vec::new();
    for word in how.prompt.split_whitespace() {
        match place(word).or_else(|| place("<unk>")) {
            Some(at) => prompt.push(at),
            None => {
                let near = aec_syntax::suggest::nearest(word, vocab.words().iter().map(|w| &**w));
                let error = fault("E0331", format!("{name} does not know the word `{word}`"));
                return Err(vec![match near {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error,
                }]);
            }
        }
    }
    // A text begins with its start mark, if the vocabulary has one, or with any word.
    let first = match (prompt.split_first(), place("<s>")) {
        (Some(_), Some(mark)) => mark,
        (Some((&first, _)), None) => first,
        (None, Some(mark)) => mark,
        (None, None) => {
            return Err(vec![
                fault("E0803", format!("{name} has no word that begins a text"))
                    .help("say how it begins, with `--prompt`"),
            ]);
        }
    };
    let spoken = if place("<s>").is_some() {
        &prompt[..]
    } else {
        &prompt[1..]
    };
    let end = place("</s>").map_or(-1, |at| at as i64);
    let mut text = format!("use beam\nlet s = {start}\nlet w = {first}\n");
    for (at, word) in spoken.iter().enumerate() {
        let last = if at == 0 {
            "w".to_string()
        } else {
            format!("w{}", at - 1)
        };
        let state = if at == 0 {
            "s".to_string()
        } else {
            format!("s{}", at - 1)
        };
        text.push_str(&format!(
            "let s{at} = model.step({state}, {last}).0\nlet w{at} = {word}\n"
        ));
    }
    let (state, last) = match spoken.len() {
        0 => ("s".to_string(), "w".to_string()),
        n => (format!("s{}", n - 1), format!("w{}", n - 1)),
    };
    text.push_str(&format!(
        "beam.sample(model.step, {state}, {last}, {end}, {}, temperature = {:?}, k = {}, nucleus = {:?}).tokens",
        how.words, how.temperature, how.top_k, how.nucleus
    ));
    let made = run(session, &text)?;
    let Some(made) = parts(&made).into_iter().next() else {
        return Err(vec![fault(
            "E0202",
            format!("`step` of {name} gives no logits"),
        )]);
    };
    let mut said: Vec<&str> = prompt.iter().map(|&at| &*vocab.words()[at]).collect();
    for at in 0..made.len() {
        let word = made.get_i64(at);
        if word == end {
            break;
        }
        said.push(
            usize::try_from(word)
                .ok()
                .and_then(|at| vocab.words().get(at))
                .map_or("?", |w| w),
        );
    }
    Ok(said.join(" "))
}

impl Saved {
    /// The model's name.
    fn name(&self) -> &str {
        self.weights
            .metadata
            .get("aec.model")
            .map_or("", String::as_str)
    }

    /// The error above which an example is an anomaly, if the file says.
    pub fn threshold(&self) -> Option<f64> {
        self.weights.metadata.get(THRESHOLD)?.parse().ok()
    }

    /// Writes a threshold into the model's file.
    pub fn keep_threshold(&mut self, threshold: f64) -> Result<()> {
        let metadata = &mut self.weights.metadata;
        metadata.insert(THRESHOLD.into(), threshold.to_string());
        let tensors: Vec<(&str, &Tensor)> = self
            .weights
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        save_weights(Path::new(&self.path), &tensors, &self.weights.metadata)
            .map_err(|error| cannot_write(&self.path, &error, Span::NONE))
    }
}

/// What a file of weights holds, for a person; nothing of it is run.
pub fn inspect(path: &str) -> Result<String> {
    let weights =
        load_weights(Path::new(path)).map_err(|error| cannot_read(path, &error, Span::NONE))?;
    let text = |name: &str| weights.metadata.get(name).filter(|text| !text.is_empty());
    let mut out = String::new();
    match text("aec.model") {
        Some(model) => {
            let sizes = text("aec.sizes").map_or("", String::as_str);
            out.push_str(&format!("model {model}({sizes})\n"));
        }
        None => out.push_str("tensors of no known model\n"),
    }
    if let Some(words) = text("aec.words") {
        out.push_str(&format!("knows {} words\n", words.lines().count()));
    }
    if let Some(training) = text("aec.training") {
        out.push_str(&format!("trained: {training}\n"));
    }
    if let Some(threshold) = text(THRESHOLD) {
        out.push_str(&format!("anomaly above an error of {threshold}\n"));
    }
    let entries: usize = weights.tensors.iter().map(|(_, tensor)| tensor.len()).sum();
    out.push_str(&format!(
        "{entries} numbers in {} tensors\n",
        weights.tensors.len()
    ));
    // A value and a weight each.
    let names = weights.tensors.iter().map(|(name, _)| name);
    match names.filter(|name| is_of_average(name)).count() / 2 {
        0 => {}
        1 => out.push_str("1 running average of the batches it was trained on\n"),
        n => out.push_str(&format!(
            "{n} running averages of the batches it was trained on\n"
        )),
    }
    let width = weights.tensors.iter().map(|(name, _)| name.len()).max();
    for (name, tensor) in &weights.tensors {
        let width = width.unwrap_or(0);
        let (elem, dims) = (tensor.elem().name(), tensor.dims());
        out.push_str(&format!("  {name:width$}  {elem}{dims:?}\n"));
    }
    if let Some(source) = text("aec.source") {
        out.push_str(&format!("\n{source}\n"));
    }
    Ok(out)
}

/// Trains by a script: runs it, calls its function `fit` on the data, and saves the model that
/// this gives.
pub fn train(
    session: &mut Session,
    (name, text): (&str, &str),
    data: &[String],
    to: &str,
) -> crate::Outcome {
    let mut outcome = session.run(name, text);
    if outcome.ended != crate::Ended::Well {
        return outcome;
    }
    let result = fit(session, name, data, to);
    if let Err(mut found) = result {
        outcome.ended = match session.world.stopped() {
            Some(crate::session::Stop::Interrupted) => crate::Ended::Interrupted,
            _ => crate::Ended::Failed,
        };
        found.retain(|error| error.code != "E0891");
        outcome.diagnostics.append(&mut found);
    } else if session.world.stopped().is_some() {
        outcome.ended = crate::Ended::Interrupted;
    }
    outcome
}

fn fit(
    session: &mut Session,
    script: &str,
    data: &[String],
    to: &str,
) -> std::result::Result<(), Vec<Diagnostic>> {
    let Some(fit @ Value::Fn(_)) = session.elaborator.lookup("fit") else {
        return Err(vec![
            fault(
                "E0201",
                format!("{script} has no function `fit` that trains on given data"),
            )
            .help("write, say, `fn fit(x) = train Auto(len(x[0]), 32) on x { epochs = 20 }`"),
        ]);
    };
    let mut values = Vec::new();
    for path in data {
        let mut rows =
            Rows::open(path, session.elaborator.float()).map_err(|error| vec![*error])?;
        let table = rows.next(usize::MAX).map_err(|error| vec![*error])?;
        let Some(table) = table else {
            return Err(vec![fault("E0803", format!("{path} has no rows"))]);
        };
        let origin = Origin {
            span: Span::NONE,
            text: format!("read from {path}").into(),
        };
        let value = Value::concrete_from(table.values, origin.clone());
        values.push(match table.observed {
            Some(seen) => Value::missing(value, Value::concrete_from(seen, origin)),
            None => value,
        });
    }
    let names: Vec<String> = (0..values.len()).map(|at| format!("given{at}")).collect();
    for (name, value) in names.iter().zip(values) {
        session.elaborator.define(name, value);
    }
    session.elaborator.define("fit", fit);
    let model = run_kept(session, &format!("fit({})", names.join(", ")))?;
    weights::save(&mut session.elaborator, &model, to, None, Span::NONE)
        .map_err(|error| vec![*error])?;
    Ok(())
}

/// [`run`], but what an interrupted training gives counts.
fn run_kept(session: &mut Session, text: &str) -> std::result::Result<Value, Vec<Diagnostic>> {
    let (outcome, value) = session.evaluate("aec", text);
    match value {
        Some(value @ Value::Model(_)) => Ok(value),
        Some(other) => Err(vec![fault(
            "E0310",
            format!("`fit` gives {}, not a model", format::inspect(&other)),
        )]),
        None => Err(outcome.diagnostics),
    }
}
