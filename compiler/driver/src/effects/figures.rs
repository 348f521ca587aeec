//! `plot.line`, `scatter`, `bars`, `hist`, `tree` and `beam`: the library describes a figure as a
//! record, this draws it into a file or, without one, prints it.

use super::{cannot_write, wrong};
use crate::exec::elements;
use crate::session::{Result, World};
use aec_runtime::Tensor;
use aec_runtime::plot::{Chart, Figure, Key, Kind, Node, Series, Tree};
use aec_syntax::Span;
use aec_types::Value;
use std::path::Path;

/// Most classes with a colour of their own in a scatter.
const MOST_CLASSES: usize = 64;

/// The fields of a figure's record.
struct Fields<'a> {
    record: &'a Value,
    span: Span,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Result<&'a Value> {
        let missing = || wrong(self.span, format!("this figure has no `{name}`"));
        self.record.field(name).ok_or_else(missing)
    }

    fn text(&self, name: &str) -> Result<String> {
        match self.get(name)? {
            Value::Str(text) => Ok(text.to_string()),
            other => Err(wrong(
                self.span,
                format!("`{name}` wants a text, not {}", other.describe()),
            )),
        }
    }

    /// A list of texts, of numbers as texts, or the words of a vocabulary.
    fn texts(&self, name: &str) -> Result<Vec<String>> {
        let wanted = |other: &Value| {
            wrong(
                self.span,
                format!("`{name}` wants a list of texts, not {}", other.describe()),
            )
        };
        match self.get(name)? {
            Value::Vocab(vocab) => Ok(vocab.words().iter().map(|word| word.to_string()).collect()),
            Value::List(items) | Value::Tuple(items) => items
                .iter()
                .map(|item| match item {
                    Value::Str(text) => Ok(text.to_string()),
                    Value::Tensor(_) => Ok(crate::format::display(item)),
                    other => Err(wanted(other)),
                })
                .collect(),
            Value::Tensor(_) => Ok(self.numbers(name)?.iter().map(f64::to_string).collect()),
            other => Err(wanted(other)),
        }
    }

    /// The numbers of a vector; none of an empty list.
    fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        match self.get(name)? {
            Value::List(items) if items.is_empty() => Ok(Vec::new()),
            other => vector(other, name, self.span),
        }
    }

    /// A chart's title, names of axes, and which are logarithmic.
    fn chart(&self, series: Vec<Series>) -> Result<Chart> {
        let log = self.text("log")?;
        if !matches!(log.as_str(), "" | "x" | "y" | "xy") {
            return Err(wrong(
                self.span,
                format!("`log` is \"x\", \"y\" or \"xy\", not \"{log}\""),
            ));
        }
        for axis in ['x', 'y'] {
            let along = |one: &Series| {
                if axis == 'x' {
                    one.x.clone()
                } else {
                    one.y.clone()
                }
            };
            let numbers: Vec<f64> = series.iter().flat_map(along).collect();
            let shown = numbers.is_empty() || numbers.iter().any(|&number| number > 0.0);
            if log.contains(axis) && !shown {
                return Err(wrong(
                    self.span,
                    format!("nothing is above 0 along {axis}, which is logarithmic"),
                ));
            }
        }
        Ok(Chart {
            title: self.text("title")?,
            x_name: self.text("across")?,
            y_name: self.text("up")?,
            x_log: log.contains('x'),
            y_log: log.contains('y'),
            series,
            ..Chart::default()
        })
    }
}

/// A vector's numbers; NaN where one is hidden.
fn vector(value: &Value, name: &str, span: Span) -> Result<Vec<f64>> {
    let known = elements(value).filter(|tensor| tensor.rank() <= 1);
    let Some(tensor) = known else {
        return Err(wrong(
            span,
            format!(
                "`{name}` wants a vector of numbers, not {}",
                value.describe()
            ),
        ));
    };
    let seen = match value {
        Value::Maybe(maybe) => elements(&Value::Tensor(maybe.observed.clone())),
        _ => None,
    };
    let number = |at: usize| match seen.as_ref().map(|seen| seen.get_f64(at)) {
        Some(0.0) => f64::NAN,
        _ => tensor.get_f64(at),
    };
    Ok((0..tensor.len()).map(number).collect())
}

/// Draws the figure, or prints it if no file is named.
pub fn figure(world: &World, record: &Value, path: &str, span: Span) -> Result<Value> {
    let fields = Fields { record, span };
    let figure = match fields.text("kind")?.as_str() {
        "line" => Figure::Chart(line(&fields)?),
        "scatter" => Figure::Chart(scatter(&fields)?),
        "bars" => Figure::Chart(bars(&fields)?),
        "hist" => Figure::Chart(hist(&fields)?),
        "tree" => Figure::Tree(tree(&fields)?),
        "beam" => Figure::Tree(beam(&fields)?),
        other => return Err(wrong(span, format!("no figure is called `{other}`"))),
    };
    if path.is_empty() {
        world.write(&figure.text(), span)?;
        return Ok(Value::Unit);
    }
    if world.options.dry {
        return Ok(Value::Unit);
    }
    figure
        .write(Path::new(path))
        .map_err(|error| cannot_write(path, &error, span))?;
    Ok(Value::Unit)
}

/// The series of a vector, a list or matrix of them, or a record, whose names they have.
fn named_series(value: &Value, name: &str, span: Span) -> Result<Vec<(String, Vec<f64>)>> {
    match value {
        Value::Record(parts) => parts
            .iter()
            .map(|(name, part)| Ok((name.to_string(), vector(part, name, span)?)))
            .collect(),
        Value::List(parts) | Value::Tuple(parts) => parts
            .iter()
            .map(|part| Ok((String::new(), vector(part, name, span)?)))
            .collect(),
        Value::Tensor(_) => match elements(value).as_deref() {
            Some(rows) if rows.rank() == 2 => Ok(rows_of(rows)
                .into_iter()
                .map(|row| (String::new(), row))
                .collect()),
            _ => Ok(vec![(String::new(), vector(value, name, span)?)]),
        },
        other => Ok(vec![(String::new(), vector(other, name, span)?)]),
    }
}

/// The rows of a matrix.
fn rows_of(matrix: &Tensor) -> Vec<Vec<f64>> {
    let width = matrix.dims()[1];
    let values = matrix.to_f64_vec();
    (0..matrix.dims()[0])
        .map(|row| values[row * width..(row + 1) * width].to_vec())
        .collect()
}

fn line(fields: &Fields<'_>) -> Result<Chart> {
    let given = fields.numbers("x")?;
    let mut series = Vec::new();
    for (name, y) in named_series(fields.get("series")?, "series", fields.span)? {
        if !given.is_empty() && given.len() != y.len() {
            return Err(wrong(
                fields.span,
                format!(
                    "there are {} values of `x`, but {} of the line",
                    given.len(),
                    y.len()
                ),
            ));
        }
        let x = match given.is_empty() {
            true => (1..=y.len()).map(|at| at as f64).collect(),
            false => given.clone(),
        };
        series.push(Series {
            name,
            kind: Kind::Line,
            x,
            y,
            shade: None,
        });
    }
    fields.chart(series)
}

fn scatter(fields: &Fields<'_>) -> Result<Chart> {
    let span = fields.span;
    let points = fields.get("xy")?;
    let known = elements(points).filter(|xy| xy.rank() == 2 && xy.dims()[1] == 2);
    let Some(points) = known else {
        return Err(wrong(
            span,
            format!("`xy` wants points [n, 2], not {}", points.describe()),
        ));
    };
    let points = rows_of(&points);
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().map(|point| (point[0], point[1])).unzip();
    let colour = fields.numbers("colour")?;
    if !colour.is_empty() && colour.len() != points.len() {
        return Err(wrong(
            span,
            format!(
                "there are {} colours for {} points",
                colour.len(),
                points.len()
            ),
        ));
    }
    let dots = |name: String, x, y, shade| Series {
        name,
        kind: Kind::Dots,
        x,
        y,
        shade,
    };
    let classes = fields
        .get("colour")?
        .tensor()
        .is_some_and(|tensor| !tensor.ty.elem.is_float());
    if colour.is_empty() || !classes {
        let finite = || colour.iter().copied().filter(|value| value.is_finite());
        let (low, high) = (
            finite().fold(f64::INFINITY, f64::min),
            finite().fold(f64::NEG_INFINITY, f64::max),
        );
        let shown = low <= high;
        let shade = shown.then(|| {
            let width = if high > low { high - low } else { 1.0 };
            colour.iter().map(|value| (value - low) / width).collect()
        });
        let mut chart = fields.chart(vec![dots(String::new(), x, y, shade)])?;
        chart.key = shown.then_some(Key { low, high });
        return Ok(chart);
    }
    let mut all: Vec<i64> = colour.iter().map(|&class| class as i64).collect();
    all.sort_unstable();
    all.dedup();
    if all.len() > MOST_CLASSES {
        return Err(wrong(
            span,
            format!(
                "{} classes have no colours that can be told apart; `real(…)` makes them a scale",
                all.len()
            ),
        ));
    }
    let names = fields.texts("names")?;
    let series = all.iter().map(|&class| {
        let own = colour
            .iter()
            .enumerate()
            .filter(|(_, c)| **c as i64 == class);
        let (x, y) = own.map(|(at, _)| (x[at], y[at])).unzip();
        let name = usize::try_from(class)
            .ok()
            .and_then(|class| names.get(class));
        dots(name.cloned().unwrap_or(class.to_string()), x, y, None)
    });
    fields.chart(series.collect())
}

fn bars(fields: &Fields<'_>) -> Result<Chart> {
    let value = fields.get("values")?;
    let (names, y) = match value {
        // A record of numbers names its bars.
        Value::Record(parts) => {
            let mut names = Vec::new();
            let mut values = Vec::new();
            for (name, part) in parts.iter() {
                names.push(name.to_string());
                values.extend(vector(part, name, fields.span)?.first());
            }
            (names, values)
        }
        other => (
            fields.texts("names")?,
            vector(other, "values", fields.span)?,
        ),
    };
    let x = (0..y.len()).map(|at| at as f64).collect();
    let mut chart = fields.chart(vec![Series {
        name: String::new(),
        kind: Kind::Bars,
        x,
        y,
        shade: None,
    }])?;
    let count = chart.series[0].y.len();
    if !names.is_empty() && names.len() < count {
        return Err(wrong(
            fields.span,
            format!("there are {} names for {count} bars", names.len()),
        ));
    }
    chart.bars = match names.is_empty() {
        true => (0..count).map(|at| at.to_string()).collect(),
        false => names.into_iter().take(count).collect(),
    };
    Ok(chart)
}

fn hist(fields: &Fields<'_>) -> Result<Chart> {
    let value = fields.get("values")?;
    let Some(values) = elements(value) else {
        return Err(wrong(
            fields.span,
            format!("`x` wants numbers, not {}", value.describe()),
        ));
    };
    let values: Vec<f64> = values.to_f64_vec();
    let values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    let bins = match fields.get("bins")?.as_int() {
        Some(bins @ 1..=10_000) => bins as usize,
        _ => {
            return Err(wrong(
                fields.span,
                "`bins` is a number from 1 to 10000".into(),
            ));
        }
    };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = match low < high {
        true => (low, high),
        false if values.is_empty() => (0.0, 1.0),
        false => (low - 0.5, low + 0.5),
    };
    let edge = |bin: usize| low + (high - low) * bin as f64 / bins as f64;
    let mut counts = vec![0.0; bins];
    for value in values {
        let bin = ((value - low) / (high - low) * bins as f64) as usize;
        counts[bin.min(bins - 1)] += 1.0;
    }
    // The last edge closes the last bar.
    let last = counts.last().copied().unwrap_or(0.0);
    counts.push(last);
    fields.chart(vec![Series {
        name: String::new(),
        kind: Kind::Steps,
        x: (0..=bins).map(edge).collect(),
        y: counts,
        shade: None,
    }])
}

/// A tree's tables as nodes from the root down; leaves are words of `names` if it has any.
fn tree(fields: &Fields<'_>) -> Result<Tree> {
    let span = fields.span;
    let parts = Fields {
        record: fields.get("tree")?,
        span,
    };
    let names = fields.texts("names")?;
    let leaves = parts.numbers("leaf")?;
    let (left, right) = (parts.numbers("left")?, parts.numbers("right")?);
    let count = parts.get("count")?.as_int().unwrap_or(0).max(0) as usize;
    let labels = match parts.record.field("label") {
        Some(label) => vector(label, "label", span)?,
        None => Vec::new(),
    };
    let (room, inner) = (leaves.len(), count.saturating_sub(1));
    if count == 0 || count > room || inner > left.len() || inner > right.len() {
        return Err(wrong(span, "this is no tree, or a set of trees".into()));
    }
    // Numbered from the root: the last inner node first.
    let mut tree = Tree {
        title: fields.text("title")?,
        nodes: Vec::new(),
    };
    let mut open = vec![(if inner > 0 { room + inner - 1 } else { 0 }, None)];
    let mut at = 0;
    while at < open.len() {
        let (place, parent): (usize, Option<usize>) = open[at];
        if open.len() > 2 * count {
            return Err(wrong(
                span,
                "this is no tree: a node has two parents".into(),
            ));
        }
        let mut node = Node::default();
        match place.checked_sub(room) {
            None => {
                let word = leaves.get(place).map_or(0, |&word| word as usize);
                node.label = names.get(word).cloned().unwrap_or(word.to_string());
            }
            Some(place) => {
                for child in [left.get(place), right.get(place)].into_iter().flatten() {
                    open.push((*child as usize, Some(at)));
                }
            }
        }
        if let Some(label) = labels.get(place) {
            node.note = label.to_string();
        }
        if let Some(parent) = parent {
            tree.nodes[parent].children.push(at);
        }
        tree.nodes.push(node);
        at += 1;
    }
    Ok(tree)
}

/// The rounds of a beam search as a tree of words, with the log probability so far.
fn beam(fields: &Fields<'_>) -> Result<Tree> {
    let span = fields.span;
    let rounds = fields.get("rounds")?;
    let table = |name: &str| {
        let part = rounds.field(name).and_then(elements);
        part.ok_or_else(|| wrong(span, "`beam.trace` gives the rounds of a search".into()))
    };
    let (words, logp, next) = (table("words")?, table("logp")?, table("next")?);
    let (sums, kept) = (table("sums")?, table("kept")?);
    let (&[steps, width, longest], &[_, _, shown]) = (words.dims(), next.dims()) else {
        return Err(wrong(
            span,
            "`beam.trace` gives the rounds of a search".into(),
        ));
    };
    let names = fields.texts("names")?;
    let name = |word: i64| {
        let known = usize::try_from(word).ok().and_then(|word| names.get(word));
        known.cloned().unwrap_or(word.to_string())
    };
    let mut tree = Tree {
        title: fields.text("title")?,
        nodes: vec![Node {
            label: name(fields.get("start")?.as_int().unwrap_or(0)),
            ..Node::default()
        }],
    };
    // The words of a live hypothesis, and its node.
    let mut known: Vec<(Vec<i64>, usize)> = vec![(Vec::new(), 0)];
    for step in 0..steps {
        let mut found = Vec::new();
        for row in 0..width {
            if logp.get_f64(step * width + row) == f64::NEG_INFINITY {
                continue;
            }
            let first = (step * width + row) * longest;
            let so_far: Vec<i64> = (0..step).map(|at| words.get_i64(first + at)).collect();
            let Some(&(_, parent)) = known.iter().find(|(words, _)| *words == so_far) else {
                continue;
            };
            for at in (step * width + row) * shown..(step * width + row + 1) * shown {
                let (word, sum) = (next.get_i64(at), sums.get_f64(at));
                if sum == f64::NEG_INFINITY {
                    continue;
                }
                let kept = kept.get_f64(at) != 0.0;
                let node = tree.nodes.len();
                tree.nodes.push(Node {
                    label: name(word),
                    note: format!("{sum:.2}").replace('-', "\u{2212}"),
                    faint: !kept,
                    children: Vec::new(),
                });
                tree.nodes[parent].children.push(node);
                if kept {
                    let mut words = so_far.clone();
                    words.push(word);
                    found.push((words, node));
                }
            }
        }
        known = found;
    }
    Ok(tree)
}
