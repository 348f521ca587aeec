//! The settings of `train`, read and checked; the elaborator has seen to their names.

use crate::checkpoint::Checkpoint;
use crate::session::Result;
use aec_syntax::{Diagnostic, Span};
use aec_types::{TrainRequest, Value};

/// Examples in a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Batch {
    /// So many.
    Rows(usize),
    /// The whole data set: `batch = all`.
    All,
    /// For each of several data sets its own, by name; 64 for one that is not named.
    Each(Vec<(String, usize)>),
}

impl Batch {
    /// Examples of the set of that name in one step.
    pub fn rows(&self, name: &str, len: usize) -> usize {
        let rows = match self {
            Batch::Rows(rows) => *rows,
            Batch::All => len,
            Batch::Each(each) => each
                .iter()
                .find(|(set, _)| set == name)
                .map_or(64, |(_, rows)| *rows),
        };
        rows.min(len)
    }
}

/// How long to train.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// Passes over the data.
    Epochs(usize),
    /// Steps, over as many passes as it takes.
    Steps(usize),
}

/// The settings of the loop.
pub struct Settings {
    /// The optimizer, unless it is the default.
    pub optimizer: Option<Value>,
    /// Examples in a step.
    pub batch: Batch,
    /// How long.
    pub length: Length,
    /// Root of initial weights, shuffles and draws.
    pub seed: u64,
    /// Data to evaluate after each epoch.
    pub validate: Option<(Value, Span)>,
    /// Whether each epoch has its own order.
    pub shuffle: bool,
    /// Epochs without improvement before training ends with the best weights.
    pub early_stop: Option<usize>,
    /// Files for the figures of each epoch.
    pub log: Vec<(String, Span)>,
    /// Called after each epoch with the model and the epoch's figures.
    pub on_epoch: Option<(Value, Span)>,
    /// Members to report of the validation data.
    pub metrics: Vec<Value>,
    /// The learning rate of the default optimizer, as a function of the step.
    pub schedule: Option<Value>,
    /// Longest gradient.
    pub clip: Option<Value>,
    /// Where the state is kept between epochs, to continue from.
    pub checkpoint: Option<Checkpoint>,
    /// Threads of its own.
    pub threads: Option<usize>,
    /// Weights of several data sets in the objective, by name; each set's share of the examples
    /// unless given.
    pub weights: Vec<(String, f64)>,
}

impl Settings {
    /// Reads a request's settings; `seed` is the script's.
    pub fn read(request: &TrainRequest, seed: u64) -> Result<Settings> {
        let mut settings = Settings {
            optimizer: None,
            batch: Batch::Rows(64),
            length: Length::Epochs(10),
            seed,
            validate: None,
            shuffle: true,
            early_stop: None,
            log: Vec::new(),
            on_epoch: None,
            metrics: Vec::new(),
            schedule: None,
            clip: None,
            checkpoint: None,
            threads: None,
            weights: Vec::new(),
        };
        let mut length: Option<(Span, &str)> = None;
        let mut schedule: Option<(Value, Span)> = None;
        for (name, span, value) in &request.settings {
            let span = *span;
            match &**name {
                "optimizer" => settings.optimizer = Some(value.clone()),
                "batch" => {
                    settings.batch = match value {
                        Value::Builtin(id) if id.name() == "all" => Batch::All,
                        Value::Record(fields) => Batch::Each(
                            fields
                                .iter()
                                .map(|(set, rows)| {
                                    Ok((set.to_string(), count(rows, name, span, 1)?))
                                })
                                .collect::<Result<_>>()?,
                        ),
                        _ => Batch::Rows(count(value, name, span, 1)?),
                    }
                }
                "epochs" | "steps" => {
                    let least = 0;
                    let number = count(value, name, span, least)?;
                    if let Some((other, known)) = length {
                        return Err(wrong(
                            span,
                            format!("`{name}` and `{known}` both say how long to train"),
                        )
                        .label(other, "the other one")
                        .into());
                    }
                    length = Some((
                        span,
                        if &**name == "epochs" {
                            "epochs"
                        } else {
                            "steps"
                        },
                    ));
                    settings.length = if &**name == "epochs" {
                        Length::Epochs(number)
                    } else {
                        Length::Steps(number)
                    };
                }
                "seed" => match value.as_int() {
                    Some(seed) => settings.seed = seed as u64,
                    None => return Err(expected(name, "an int", value, span)),
                },
                "validate" => settings.validate = Some((value.clone(), span)),
                "shuffle" => match value.as_bool() {
                    Some(shuffle) => settings.shuffle = shuffle,
                    None => return Err(expected(name, "`true` or `false`", value, span)),
                },
                "early_stop" => settings.early_stop = Some(count(value, name, span, 1)?),
                "log" => {
                    let paths = match value {
                        Value::List(paths) | Value::Tuple(paths) => paths.to_vec(),
                        one => vec![one.clone()],
                    };
                    for path in &paths {
                        let Value::Str(path) = path else {
                            return Err(expected(name, "the name of a file", path, span));
                        };
                        settings.log.push((path.to_string(), span));
                    }
                }
                "on_epoch" => match value {
                    Value::Fn(_) | Value::Builtin(_) => {
                        settings.on_epoch = Some((value.clone(), span))
                    }
                    _ => return Err(expected(name, "a function `fn m, stats -> …`", value, span)),
                },
                "metrics" => match value {
                    Value::List(values) => settings.metrics = values.to_vec(),
                    Value::Fn(_) => settings.metrics = vec![value.clone()],
                    _ => return Err(expected(name, "a list of members", value, span)),
                },
                "threads" => settings.threads = Some(count(value, name, span, 1)?.min(1024)),
                "schedule" => match value {
                    Value::Fn(_) | Value::Builtin(_) => schedule = Some((value.clone(), span)),
                    _ => {
                        return Err(expected(
                            name,
                            "a function of the step, such as `optim.cosine(…)`",
                            value,
                            span,
                        ));
                    }
                },
                "clip" => match value.as_f64() {
                    Some(length) if length > 0.0 => settings.clip = Some(value.clone()),
                    _ => return Err(expected(name, "a length above 0", value, span)),
                },
                "weights" => {
                    let Value::Record(fields) = value else {
                        return Err(expected(
                            name,
                            "a record of numbers, one for each data set",
                            value,
                            span,
                        ));
                    };
                    for (set, weight) in fields.iter() {
                        let Some(weight) = weight.as_f64() else {
                            return Err(expected(name, "numbers", weight, span));
                        };
                        settings.weights.push((set.to_string(), weight));
                    }
                }
                "checkpoint" => {
                    // A file, or a file and the epochs between two writes.
                    let (path, every) = match value {
                        Value::Tuple(parts) if parts.len() == 2 => {
                            (&parts[0], count(&parts[1], name, span, 1)?)
                        }
                        other => (other, 1),
                    };
                    let Value::Str(path) = path else {
                        return Err(expected(
                            name,
                            "a file, or a file and a number of epochs",
                            value,
                            span,
                        ));
                    };
                    settings.checkpoint = Some(Checkpoint {
                        path: path.to_string(),
                        every,
                        span,
                    });
                }
                other => {
                    return Err(wrong(span, format!("`train` has no setting `{other}`")).into());
                }
            }
        }
        if let (Some(_), Some((_, span))) = (&settings.optimizer, &schedule) {
            return Err(wrong(*span, "`schedule` is for the default optimizer; another takes its schedule itself".into())
                .help("give it to the optimizer: `optim.sgd(lr = …)` takes a schedule as well as a number")
                .into());
        }
        settings.schedule = schedule.map(|(value, _)| value);
        Ok(settings)
    }
}

fn wrong(span: Span, message: String) -> Diagnostic {
    Diagnostic::error("E0804", span, message)
}

fn expected(name: &str, what: &str, value: &Value, span: Span) -> Box<Diagnostic> {
    wrong(
        span,
        format!("`{name}` wants {what}, not {}", value.describe()),
    )
    .into()
}

fn count(value: &Value, name: &str, span: Span, least: i64) -> Result<usize> {
    match value.as_int() {
        Some(number) if number >= least => Ok(number as usize),
        Some(number) => {
            Err(wrong(span, format!("`{name}` is {number}; the least is {least}")).into())
        }
        None => Err(expected(name, "an int", value, span)),
    }
}
