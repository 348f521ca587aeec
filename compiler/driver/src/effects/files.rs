//! Reading data: tables, arrays, pictures, text, rows that stay in their file, and the bundled
//! digits.

use super::{cannot_read, wrong};
use crate::session::{Result, Stop, World};
use aec_runtime::read::{self, Encoding, ReadError, Stored};
use aec_runtime::write::load_weights;
use aec_runtime::{Data, Elem, Tensor};
use aec_syntax::{Diagnostic, Span};
use aec_types::tokens::Vocab;
use aec_types::value::{Origin, Repr};
use aec_types::{Leaf, Value, leaves, with_leaves};
use std::fs;
use std::io::Read as _;
use std::rc::Rc;

static DIGITS: &[u8] = include_bytes!("../../../../stdlib/digits/digits.csv.gz");

/// Pixels of a bundled digit; their values go from 0 to [`DEEPEST`].
const PIXELS: usize = 64;
const DEEPEST: f64 = 16.0;

fn read_with<T>(
    world: &World,
    name: &str,
    span: Span,
    read: impl FnOnce(&std::path::Path) -> std::result::Result<T, ReadError>,
) -> Result<T> {
    let path = world.find_file(name);
    world
        .compiler
        .timed("read", || read(&path))
        .map_err(|error| match world.take_interrupt() {
            true => world.stop(Stop::Interrupted, span),
            false => cannot_read(name, &error, span),
        })
}

/// The kinds of files that are known by how they begin or end, and the functions of `data` that read
/// each, the usual one first.
const KINDS: [(&str, &[&str]); 6] = [
    ("a NumPy array", &["npy", "stored"]),
    ("an archive of NumPy arrays", &["npz"]),
    ("a picture", &["image", "images", "classes"]),
    ("an IDX file", &["idx", "labels", "stored"]),
    ("a table", &["csv", "table", "stored", "text"]),
    ("a file of tensors", &["tensors"]),
];

fn kind_of(world: &World, name: &str) -> Option<(&'static str, &'static [&'static str])> {
    let path = world.find_file(name);
    let mut head = [0u8; 8];
    let read = fs::File::open(&path).ok()?.read(&mut head).ok()?;
    let ending = path.extension().and_then(|ending| ending.to_str());
    let at = match (&head[..read], ending) {
        ([0x93, b'N', b'U', b'M', b'P', b'Y', ..], _) => 0,
        ([b'P', b'K', 3, 4, ..], _) => 1,
        ([0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..], _) => 2,
        ([0, 0, 0x08..=0x0e, 1..=8, ..], _) => 3,
        (_, Some("csv" | "tsv")) => 4,
        (_, Some("safetensors")) => 5,
        _ => return None,
    };
    Some(KINDS[at])
}

/// What to say of a file that one function of `data` cannot read and another one can.
pub fn of_another_kind(
    world: &World,
    reader: &str,
    name: &str,
    error: Box<Diagnostic>,
) -> Box<Diagnostic> {
    match kind_of(world, name) {
        Some((kind, readers)) if error.code == "E0811" && !readers.contains(&reader) => {
            let help = format!("this is {kind}, which `data.{}` reads", readers[0]);
            let mut error = *error;
            error.help.clear();
            Box::new(error.help(help))
        }
        _ => error,
    }
}

/// A tensor whose sizes come from a file.
fn from_file(tensor: Tensor, name: &str, span: Span) -> Value {
    Value::concrete_from(
        tensor,
        Origin {
            span,
            text: format!("read from {name}").into(),
        },
    )
}

/// Numbers of a file in the float in force, or as ints; NaN is how files write what is missing.
fn numbers(tensor: Tensor, float: Elem, name: &str, span: Span) -> Value {
    let elem = match tensor.elem() {
        Elem::F32 | Elem::F64 => float,
        Elem::I32 | Elem::I64 => Elem::I64,
        Elem::Bool => Elem::Bool,
    };
    let holes = match tensor.data() {
        Data::F32(values) => values.iter().any(|value| value.is_nan()),
        Data::F64(values) => values.iter().any(|value| value.is_nan()),
        Data::I32(_) | Data::I64(_) | Data::Bool(_) => false,
    };
    if holes {
        let values = tensor.to_f64_vec();
        let seen = values
            .iter()
            .map(|value| f64::from(u8::from(!value.is_nan())));
        let seen = Tensor::from_f64(Elem::Bool, tensor.dims(), seen);
        let values = values.iter().map(|v| if v.is_nan() { 0.0 } else { *v });
        let values = Tensor::from_f64(elem, tensor.dims(), values);
        return Value::missing(from_file(values, name, span), from_file(seen, name, span));
    }
    let tensor = match tensor.elem() == elem {
        true => tensor,
        false => Tensor::from_f64(elem, tensor.dims(), tensor.to_f64_vec()),
    };
    from_file(tensor, name, span)
}

/// A table of numbers; its empty cells, `NA` and `nan` are `?`.
pub fn csv(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let table = read_with(world, name, span, read::read_csv)?;
    Ok(numbers(table.tensor(Elem::F64), float, name, span))
}

/// The columns of a table by name: `(columns, levels, names)`. A column of words is tokens, and
/// `levels` has its vocabulary.
pub fn table(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let columns = read_with(world, name, span, read::read_columns)?;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let names = fields(&names, name, span)?;
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for (field, column) in names.iter().zip(columns) {
        let size = [column.values.len()];
        let holes = column.observed.contains(&0);
        let value = match column.levels {
            None => from_file(Tensor::from_f64(float, &size, column.values), name, span),
            Some(words) => {
                let words = words.iter().map(|word| word.as_str().into()).collect();
                levels.push((field.as_str(), Value::Vocab(Rc::new(Vocab::of(words)))));
                Value::tokens(column.values.iter().map(|&place| place as i64).collect())
            }
        };
        let observed = Tensor::new(size.to_vec(), Data::Bool(column.observed));
        values.push((
            field.as_str(),
            match holes {
                true => Value::missing(value, from_file(observed, name, span)),
                false => value,
            },
        ));
    }
    let list = names.iter().map(|name| Value::str(name)).collect();
    Ok(Value::record(vec![
        ("columns", Value::record(values)),
        ("levels", Value::record(levels)),
        ("names", Value::List(Rc::new(list))),
    ]))
}

/// Names of a file as fields of a record: what is neither letter nor digit becomes `_`.
fn fields(names: &[&str], file: &str, span: Span) -> Result<Vec<String>> {
    let mut fields: Vec<String> = Vec::new();
    for name in names {
        let mut field = String::new();
        for letter in name.chars() {
            match letter {
                letter if letter.is_ascii_alphanumeric() => field.push(letter),
                _ if field.is_empty() || field.ends_with('_') => {}
                _ => field.push('_'),
            }
        }
        let mut field = field.trim_end_matches('_').to_string();
        if field.is_empty() || field.starts_with(|first: char| first.is_ascii_digit()) {
            field.insert(0, 'c');
        }
        if let Some(at) = fields.iter().position(|known| *known == field) {
            return Err(wrong(
                span,
                format!(
                    "`{}` and `{name}` of {file} would both be the field `{field}`",
                    names[at]
                ),
            ));
        }
        fields.push(field);
    }
    Ok(fields)
}

/// A NumPy array.
pub fn npy(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let tensor = read_with(world, name, span, read::read_npy)?;
    Ok(numbers(tensor, float, name, span))
}

fn by_name(tensors: Vec<(String, Tensor)>, float: Elem, file: &str, span: Span) -> Result<Value> {
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let names = fields(&names, file, span)?;
    let values = tensors
        .into_iter()
        .map(|(_, tensor)| numbers(tensor, float, file, span));
    Ok(Value::record(
        names.iter().map(String::as_str).zip(values).collect(),
    ))
}

/// The arrays of a NumPy archive, as a record.
pub fn npz(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    by_name(
        read_with(world, name, span, read::read_npz)?,
        float,
        name,
        span,
    )
}

/// The tensors of a safetensors file, as a record.
pub fn tensors(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let weights = read_with(world, name, span, load_weights)?;
    by_name(weights.tensors, float, name, span)
}

/// A picture, `[height, width, channels]`.
pub fn image(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let picture = read_with(world, name, span, read::read_picture)?;
    Ok(numbers(picture, float, name, span))
}

/// All pictures of a folder, `[n, height, width, channels]`.
pub fn images(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let pictures = read_with(world, name, span, read::read_pictures)?;
    Ok(numbers(pictures.pixels, float, name, span))
}

/// All pictures of a folder's folders, each of which is a class.
pub fn classes(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let pictures = read_with(world, name, span, read::read_pictures)?;
    if pictures.classes.is_empty() {
        return Err(wrong(
            span,
            format!("the pictures lie in {name} itself, not in folders that name their classes"),
        ));
    }
    let words = pictures
        .classes
        .iter()
        .map(|class| class.as_str().into())
        .collect();
    Ok(Value::record(vec![
        ("x", numbers(pictures.pixels, float, name, span)),
        ("y", Value::tokens(pictures.labels)),
        ("classes", Value::Vocab(Rc::new(Vocab::of(words)))),
    ]))
}

/// Rows of a file that stay there.
pub fn stored(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let rows = read_with(world, name, span, |path| Stored::open(path, float))?;
    let origin = Origin {
        span,
        text: format!("read from {name}").into(),
    };
    Ok(Value::stored(rows, origin))
}

/// Rows that stay in their file, brought into memory; what is in memory already stays as it is.
pub fn load_rows(world: &World, x: &Value, span: Span) -> Result<Value> {
    let rows = leaves(x);
    let axes = |leaf: &Leaf| leaf.tensor.tensor().map_or(0, |tensor| tensor.ty.rank());
    if rows.is_empty() || rows.iter().any(|leaf| axes(leaf) == 0) {
        let error = Diagnostic::error(
            "E0310",
            span,
            format!(
                "rows of a `data.stream` are wanted here, but this is {}",
                x.describe()
            ),
        );
        let Value::Str(name) = x else {
            return Err(Box::new(error));
        };
        return Err(Box::new(match kind_of(world, name) {
            Some((kind, readers)) => {
                error.help(format!("`{name}` is {kind}, which `data.{}` reads", readers[0]))
            }
            None => error.help(
                "`data.npy`, `data.csv`, `data.idx`, `data.image` and `data.text` read files; `load(M(64, 32), file)` \
                 weights",
            ),
        }));
    }
    let mut loaded = Vec::new();
    for leaf in rows {
        loaded.push(match leaf.tensor.tensor().map(|tensor| &tensor.repr) {
            Some(Repr::Stored(rows)) => {
                let all: Vec<usize> = (0..rows.rows()).collect();
                let name = rows.path().display().to_string();
                let tensor = rows
                    .read(&all)
                    .map_err(|error| cannot_read(&name, &error, span))?;
                from_file(tensor, &name, span)
            }
            _ => leaf.tensor,
        });
    }
    Ok(with_leaves(x, &mut loaded.into_iter(), false))
}

/// The items of an IDX file, bytes scaled to 0..1.
pub fn idx(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let tensor = read_with(world, name, span, read::read_idx)?.scaled();
    Ok(numbers(tensor, float, name, span))
}

/// The labels of an IDX file.
pub fn labels(world: &World, name: &str, span: Span) -> Result<Value> {
    Ok(from_file(
        read_with(world, name, span, read::read_idx)?.ints(),
        name,
        span,
    ))
}

/// A whole text file.
pub fn whole_text(world: &World, name: &str, encoding: &str, span: Span) -> Result<Value> {
    let known = Encoding::ALL.iter().find(|(known, _)| *known == encoding);
    let Some(&(_, encoding)) = known else {
        let names = Encoding::ALL.map(|(name, _)| format!("`\"{name}\"`"));
        return Err(wrong(
            span,
            format!("`encoding` is {}, not `\"{encoding}\"`", names.join(" or ")),
        ));
    };
    let text = read_with(world, name, span, |path| read::read_text(path, encoding))?;
    Ok(Value::str(&text))
}

/// Bytes of a file.
pub fn size(world: &World, name: &str, span: Span) -> Result<Value> {
    match fs::metadata(world.find_file(name)) {
        Ok(meta) => Ok(Value::int(meta.len() as i64)),
        Err(error) => Err(wrong(span, format!("cannot read {name}: {error}"))),
    }
}

/// The bundled digits: `(x: [1797, 64], y: int[1797])`.
pub fn digits(float: Elem, span: Span) -> Result<Value> {
    let damaged = || {
        wrong(
            span,
            "this is a bug in aec: the bundled digits are damaged".into(),
        )
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(DIGITS)
        .read_to_string(&mut text)
        .map_err(|_| damaged())?;
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut values = line.split(',').map(|cell| cell.trim().parse::<f64>());
        for _ in 0..PIXELS {
            let pixel = values
                .next()
                .and_then(std::result::Result::ok)
                .ok_or_else(damaged)?;
            x.push(pixel / DEEPEST);
        }
        let label = values
            .next()
            .and_then(std::result::Result::ok)
            .ok_or_else(damaged)?;
        y.push(label as i64);
    }
    let count = y.len();
    let x = from_file(
        Tensor::from_f64(float, &[count, PIXELS], x),
        "the bundled digits",
        span,
    );
    let y = from_file(Tensor::i64(&[count], y), "the bundled digits", span);
    Ok(Value::record(vec![("x", x), ("y", y)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_digits_are_whole() {
        let value = digits(Elem::F32, Span::NONE).unwrap();
        let x = value.field("x").and_then(Value::host).unwrap();
        let y = value.field("y").and_then(Value::host).unwrap();
        assert_eq!((x.dims(), y.dims()), (&[1797, 64][..], &[1797][..]));
        let sum: f64 = x.to_f64_vec().iter().sum::<f64>() * DEEPEST;
        assert_eq!(sum, 561_718.0);
    }
}
