//! NumPy's `.npy` arrays and `.npz` archives of them.

use std::io::Read;
use std::path::Path;

use super::stored::{Kind, Layout, read_elements};
use super::{ReadError, open, read_up_to, read_whole};
use crate::{Data, Tensor};

/// Reads an array of bools, ints or floats; 8- and 16-bit ints as i32, unsigned ones likewise
/// (u32 and u64 as i64), f16 as f32.
pub fn read_npy(path: &Path) -> Result<Tensor, ReadError> {
    let mut source = open(path)?;
    parse(path, "", &mut *source.reader)
}

/// Reads all arrays of an archive, in its order, with their names.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, ReadError> {
    let bytes = read_whole(path)?;
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
            let (method, sum, size) = (u16_at(at + 10)?, u32_at(at + 16)?, size_at(at + 20)?);
            let lengths = [u16_at(at + 28)?, u16_at(at + 30)?, u16_at(at + 32)?].map(usize::from);
            let name = String::from_utf8_lossy(tail.get(46..46 + lengths[0])?).into_owned();
            let local = size_at(at + 42)?;
            let start =
                local + 30 + usize::from(u16_at(local + 26)?) + usize::from(u16_at(local + 28)?);
            at += 46 + lengths.iter().sum::<usize>();
            tail.starts_with(b"PK\x01\x02").then_some(())?;
            let data = bytes.get(start..start.checked_add(size)?)?;
            Some((name, method, sum, data))
        })();
        let (name, method, sum, data) = entry.ok_or_else(broken)?;
        let Some(short) = name.strip_suffix(".npy") else {
            continue;
        };
        let place = format!("{short}: ");
        let unpacked: Box<dyn Read> = match method {
            0 => Box::new(data),
            8 => Box::new(flate2::read::DeflateDecoder::new(data)),
            _ => {
                return Err(ReadError::new(
                    path,
                    format!("{place}unknown compression method {method}"),
                ));
            }
        };
        let mut unpacked = flate2::CrcReader::new(unpacked);
        let tensor = parse(path, &place, &mut unpacked)?;
        if unpacked.crc().sum() != sum {
            return Err(ReadError::new(
                path,
                format!("{place}the check sum does not fit what was read"),
            )
            .help("the file is damaged"));
        }
        out.push((short.to_string(), tensor));
    }
    Ok(out)
}

/// The value of a key in the header's dictionary, up to the comma or bracket that ends it.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{key}'"))? + key.len() + 2;
    Some(header[at..].trim_start().strip_prefix(':')?.trim_start())
}

/// What a header says.
struct Header {
    layout: Layout,
    /// Whether the elements lie column by column.
    fortran: bool,
}

/// The layout of an array in C order, for reading rows out of its middle.
pub(super) fn layout(path: &Path, reader: &mut dyn Read) -> Result<Layout, ReadError> {
    let header = header(path, "", reader)?;
    if header.fortran && header.layout.dims.len() > 1 {
        return Err(ReadError::new(
            path,
            "the array lies column by column, so no row of it can be read alone",
        )
        .help("write it with numpy.ascontiguousarray"));
    }
    Ok(header.layout)
}

fn header(path: &Path, place: &str, reader: &mut dyn Read) -> Result<Header, ReadError> {
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
    let offset = 8 + width + header.len() as u64;
    let header = String::from_utf8_lossy(&header).into_owned();
    let bad = || wrong("the header cannot be understood".to_string());
    let descr = field(&header, "descr")
        .and_then(|rest| rest.strip_prefix('\'')?.split('\'').next())
        .ok_or_else(bad)?;
    let fortran = field(&header, "fortran_order")
        .ok_or_else(bad)?
        .starts_with("True");
    let (shape, _) = field(&header, "shape")
        .and_then(|rest| rest.strip_prefix('(')?.split_once(')'))
        .ok_or_else(bad)?;
    let dims = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(str::parse::<usize>);
    let dims: Vec<usize> = dims.collect::<Result<_, _>>().map_err(|_| bad())?;
    let (order, kind) = descr.split_at_checked(1).ok_or_else(bad)?;
    let kind = match kind {
        "b1" => Kind::Bool,
        "i1" => Kind::I8,
        "u1" => Kind::U8,
        "i2" => Kind::I16,
        "u2" => Kind::U16,
        "i4" => Kind::I32,
        "u4" => Kind::U32,
        "i8" | "u8" => Kind::I64,
        "f2" => Kind::F16,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        _ => {
            return Err(wrong(format!("elements of type {descr} cannot be read"))
                .help("save it as float32 or int64"));
        }
    };
    Ok(Header {
        layout: Layout {
            dims,
            kind,
            big_endian: order == ">",
            offset,
        },
        fortran,
    })
}

fn parse(path: &Path, place: &str, reader: &mut dyn Read) -> Result<Tensor, ReadError> {
    let fail = |error: std::io::Error| ReadError::io(path, &error);
    let wrong = |message: String| ReadError::new(path, format!("{place}{message}"));
    let Header { layout, fortran } = header(path, place, reader)?;
    let (dims, size) = (layout.dims, layout.kind.bytes());
    let count = dims.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
    let expected = count.and_then(|n| n.checked_mul(size)).ok_or_else(|| {
        wrong(format!(
            "the header promises {dims:?} elements, more than any file has"
        ))
    })?;
    let (data, found) =
        read_elements(reader, layout.kind, layout.big_endian, expected / size).map_err(fail)?;
    if found != expected {
        return Err(wrong(format!(
            "the header promises {expected} bytes of elements, the file has {found}"
        ))
        .help("the file is truncated"));
    }
    if fortran && dims.len() > 1 && expected > 0 {
        let reversed: Vec<usize> = dims.iter().rev().copied().collect();
        return Ok(from_columns(Tensor::new(reversed, data), &dims));
    }
    Ok(Tensor::new(dims, data))
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
