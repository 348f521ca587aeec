//! NumPy's `.npy` arrays and `.npz` archives of them.

use std::io::Read;
use std::path::Path;

use super::{ReadError, open, read_up_to};
use crate::{Data, Tensor};

/// Reads an array of bools, ints or floats; 8- and 16-bit ints as i32, unsigned ones likewise
/// (u32 and u64 as i64), f16 as f32.
pub fn read_npy(path: &Path) -> Result<Tensor, ReadError> {
    let mut source = open(path)?;
    parse(path, "", &mut *source.reader)
}

/// Reads all arrays of an archive, in its order, with their names.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, ReadError> {
    let bytes = std::fs::read(path).map_err(|error| ReadError::io(path, &error))?;
    let broken = || {
        ReadError::new(path, "is no zip archive, or a damaged one")
            .help("numpy.savez writes archives")
    };
    let u16_at = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let size_at = |at: usize| u32_at(at).map(|v| v as usize);
    // The end record has 22 bytes and a comment.
    let end = bytes
        .windows(4)
        .rposition(|four| four == b"PK\x05\x06")
        .ok_or_else(broken)?;
    if bytes.len() < end + 22 {
        return Err(broken());
    }
    let count = u16_at(end + 10).ok_or_else(broken)?;
    let mut at = size_at(end + 16).ok_or_else(broken)?;
    let mut out = Vec::new();
    for _ in 0..count {
        let entry = (|| {
            let tail = bytes.get(at..)?;
            let (method, size) = (u16_at(at + 10)?, size_at(at + 20)?);
            let lengths = [u16_at(at + 28)?, u16_at(at + 30)?, u16_at(at + 32)?].map(usize::from);
            let name = String::from_utf8_lossy(tail.get(46..46 + lengths[0])?).into_owned();
            let local = size_at(at + 42)?;
            let start =
                local + 30 + usize::from(u16_at(local + 26)?) + usize::from(u16_at(local + 28)?);
            at += 46 + lengths.iter().sum::<usize>();
            tail.starts_with(b"PK\x01\x02").then_some(())?;
            Some((name, method, bytes.get(start..start.checked_add(size)?)?))
        })();
        let (name, method, data) = entry.ok_or_else(broken)?;
        let Some(short) = name.strip_suffix(".npy") else {
            continue;
        };
        let place = format!("{short}: ");
        let tensor = match method {
            0 => parse(path, &place, &mut &*data)?,
            8 => parse(path, &place, &mut flate2::read::DeflateDecoder::new(data))?,
            _ => {
                return Err(ReadError::new(
                    path,
                    format!("{place}unknown compression method {method}"),
                ));
            }
        };
        out.push((short.to_string(), tensor));
    }
    Ok(out)
}

/// The value of a key in the header's dictionary, up to the comma or bracket that ends it.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{key}'"))? + key.len() + 2;
    Some(header[at..].trim_start().strip_prefix(':')?.trim_start())
}

fn parse(path: &Path, place: &str, reader: &mut dyn Read) -> Result<Tensor, ReadError> {
    let fail = |error: std::io::Error| ReadError::io(path, &error);
    let wrong = |message: String| ReadError::new(path, format!("{place}{message}"));
    let head = read_up_to(reader, 8).map_err(fail)?;
    if head.len() < 8 || !head.starts_with(b"\x93NUMPY") {
        return Err(wrong("is no NumPy array".to_string()));
    }
    let width = if head[6] == 1 { 2 } else { 4 };
    let length = read_up_to(reader, width).map_err(fail)?;
    let length = length
        .iter()
        .rev()
        .fold(0u64, |all, &byte| all << 8 | u64::from(byte));
    let header = read_up_to(reader, length.min(1 << 20)).map_err(fail)?;
    let header = String::from_utf8_lossy(&header).into_owned();
    let bad = || wrong("the header cannot be understood".to_string());
    let descr = field(&header, "descr")
        .and_then(|rest| rest.strip_prefix('\'')?.split('\'').next())
        .ok_or_else(bad)?;
    let fortran = field(&header, "fortran_order")
        .ok_or_else(bad)?
        .starts_with("True");
    let shape = field(&header, "shape")
        .and_then(|rest| rest.strip_prefix('(')?.split(')').next())
        .ok_or_else(bad)?;
    let dims = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(str::parse::<usize>);
    let dims: Vec<usize> = dims.collect::<Result<_, _>>().map_err(|_| bad())?;
    let (order, kind) = descr.split_at_checked(1).ok_or_else(bad)?;
    let big = order == ">";
    let size: usize = kind
        .get(1..)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(bad)?;
    let known = [
        "b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8",
    ];
    if !known.contains(&kind) {
        return Err(wrong(format!("elements of type {descr} cannot be read"))
            .help("save it as float32 or int64"));
    }
    let count = dims.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
    let expected = count.and_then(|n| n.checked_mul(size)).ok_or_else(bad)?;
    let mut bytes = read_up_to(reader, expected as u64).map_err(fail)?;
    if bytes.len() != expected {
        return Err(wrong(format!(
            "the header promises {expected} bytes of elements, the file has {}",
            bytes.len()
        ))
        .help("the file is truncated"));
    }
    if big {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    let data = elements(kind, &bytes);
    if fortran && dims.len() > 1 && expected > 0 {
        let reversed: Vec<usize> = dims.iter().rev().copied().collect();
        return Ok(from_columns(Tensor::new(reversed, data), &dims));
    }
    Ok(Tensor::new(dims, data))
}

fn elements(kind: &str, bytes: &[u8]) -> Data {
    let (twos, fours, eights) = (
        bytes.as_chunks::<2>().0,
        bytes.as_chunks::<4>().0,
        bytes.as_chunks::<8>().0,
    );
    match kind {
        "b1" => Data::Bool(bytes.iter().map(|&b| u8::from(b != 0)).collect()),
        "i1" => Data::I32(bytes.iter().map(|&b| i32::from(b as i8)).collect()),
        "u1" => Data::I32(bytes.iter().map(|&b| i32::from(b)).collect()),
        "i2" => Data::I32(
            twos.iter()
                .map(|b| i32::from(i16::from_le_bytes(*b)))
                .collect(),
        ),
        "u2" => Data::I32(
            twos.iter()
                .map(|b| i32::from(u16::from_le_bytes(*b)))
                .collect(),
        ),
        "i4" => Data::I32(fours.iter().map(|b| i32::from_le_bytes(*b)).collect()),
        "u4" => Data::I64(
            fours
                .iter()
                .map(|b| i64::from(u32::from_le_bytes(*b)))
                .collect(),
        ),
        "i8" | "u8" => Data::I64(eights.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        "f2" => Data::F32(
            twos.iter()
                .map(|b| crate::write::half_to_f32(u16::from_le_bytes(*b)))
                .collect(),
        ),
        "f4" => Data::F32(fours.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        _ => Data::F64(eights.iter().map(|b| f64::from_le_bytes(*b)).collect()),
    }
}

/// The row-major tensor of `dims` whose elements `columns` holds in column-major order.
fn from_columns(columns: Tensor, dims: &[usize]) -> Tensor {
    fn permute<T: Copy>(from: &[T], dims: &[usize]) -> Vec<T> {
        let mut strides = vec![1usize; dims.len()];
        for axis in 1..dims.len() {
            strides[axis] = strides[axis - 1] * dims[axis - 1];
        }
        let mut index = vec![0usize; dims.len()];
        let mut out = Vec::with_capacity(from.len());
        for _ in 0..from.len() {
            out.push(
                from[index
                    .iter()
                    .zip(&strides)
                    .map(|(i, s)| i * s)
                    .sum::<usize>()],
            );
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                if index[axis] < dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        out
    }
    let data = match columns.data() {
        Data::F32(v) => Data::F32(permute(v, dims)),
        Data::F64(v) => Data::F64(permute(v, dims)),
        Data::I32(v) => Data::I32(permute(v, dims)),
        Data::I64(v) => Data::I64(permute(v, dims)),
        Data::Bool(v) => Data::Bool(permute(v, dims)),
    };
    Tensor::new(dims.to_vec(), data)
}
