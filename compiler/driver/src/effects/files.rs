//! Reading data: CSV, IDX, text, and the bundled digits.

use super::{cannot_read, wrong};
use crate::session::{Result, World};
use aec_runtime::read::{self, ReadError};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use aec_types::Value;
use aec_types::value::Origin;
use std::fs;
use std::io::Read as _;

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
        .map_err(|error| cannot_read(name, &error, span))
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

/// A table of numbers; its empty cells and `NA` are `?`.
pub fn csv(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let table = read_with(world, name, span, read::read_csv)?;
    if table.any_missing() {
        // Below a `?` stands 0, as everywhere.
        let seen = table.values.iter().zip(&table.observed);
        let values = seen.map(|(&value, &seen)| if seen == 0 { 0.0 } else { value });
        let values = Tensor::from_f64(float, &[table.rows, table.cols], values);
        return Ok(Value::missing(
            from_file(values, name, span),
            from_file(table.mask(), name, span),
        ));
    }
    Ok(from_file(table.tensor(float), name, span))
}

/// The items of an IDX file, bytes scaled to 0..1.
pub fn idx(world: &World, float: Elem, name: &str, span: Span) -> Result<Value> {
    let tensor = read_with(world, name, span, read::read_idx)?.scaled();
    let tensor = if tensor.elem().is_float() && tensor.elem() != float {
        Tensor::from_f64(float, tensor.dims(), tensor.to_f64_vec())
    } else {
        tensor
    };
    Ok(from_file(tensor, name, span))
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
pub fn whole_text(world: &World, name: &str, span: Span) -> Result<Value> {
    match fs::read_to_string(world.find_file(name)) {
        Ok(text) => Ok(Value::str(&text)),
        Err(error) => Err(wrong(span, format!("cannot read {name}: {error}"))),
    }
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
