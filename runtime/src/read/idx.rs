//! IDX, the format of MNIST: two zero bytes, a type, a rank, big-endian u32 sizes, the elements.

use std::path::Path;

use super::{ReadError, open, read_up_to};
use crate::{Data, Tensor};

/// An IDX file's content.
#[derive(Clone, PartialEq, Debug)]
pub struct Idx {
    /// Sizes, outermost first; at least one.
    pub dims: Vec<usize>,
    /// The elements, row-major.
    pub data: IdxData,
}

/// The elements of an IDX file.
#[derive(Clone, PartialEq, Debug)]
pub enum IdxData {
    /// Unsigned bytes: pictures or labels.
    Bytes(Vec<u8>),
    /// Anything else: i8 and i16 as i32, then i32, f32, f64.
    Numbers(Data),
}

impl Idx {
    /// As numbers to compute with: bytes scaled to 0..1 as f32, the rest as it is.
    pub fn scaled(self) -> Tensor {
        match self.data {
            IdxData::Bytes(bytes) => {
                let values = bytes.into_iter().map(|b| f32::from(b) / 255.0).collect();
                Tensor::new(self.dims, Data::F32(values))
            }
            IdxData::Numbers(data) => Tensor::new(self.dims, data),
        }
    }

    /// As i64, for labels; floats lose their fraction.
    pub fn ints(self) -> Tensor {
        let values = match self.data {
            IdxData::Bytes(bytes) => bytes.into_iter().map(i64::from).collect(),
            IdxData::Numbers(data) => {
                let tensor = Tensor::new(self.dims.clone(), data);
                (0..tensor.len()).map(|at| tensor.get_i64(at)).collect()
            }
        };
        Tensor::new(self.dims, Data::I64(values))
    }
}

/// Reads an IDX file, plain or gzipped.
pub fn read_idx(path: &Path) -> Result<Idx, ReadError> {
    let fail = |error: std::io::Error| ReadError::io(path, &error);
    let mut source = open(path)?;
    let head = read_up_to(&mut *source.reader, 4).map_err(fail)?;
    let &[zero0, zero1, kind, rank] = head.as_slice() else {
        return Err(ReadError::new(
            path,
            format!("ends within the IDX header, after {} bytes", head.len()),
        ));
    };
    let width = match kind {
        0x08 | 0x09 => 1u64,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => 0,
    };
    if zero0 != 0 || zero1 != 0 || width == 0 {
        return Err(ReadError::new(
            path,
            format!("is no IDX file: it begins with {zero0:02x} {zero1:02x} {kind:02x} {rank:02x}"),
        )
        .help(
            "IDX begins with two zero bytes, an element type from 08 to 0e and the number of axes",
        ));
    }
    if rank == 0 {
        return Err(ReadError::new(
            path,
            "the IDX header says that there are 0 axes",
        ));
    }
    let sizes = read_up_to(&mut *source.reader, 4 * u64::from(rank)).map_err(fail)?;
    if sizes.len() != 4 * usize::from(rank) {
        return Err(ReadError::new(
            path,
            format!(
                "ends within the IDX header, after {} bytes",
                4 + sizes.len()
            ),
        ));
    }
    let sizes: Vec<u32> = sizes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|four| u32::from_be_bytes(*four))
        .collect();
    let shape = sizes
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(" x ");
    let expected = sizes
        .iter()
        .try_fold(width, |all, &size| all.checked_mul(u64::from(size)));
    let Some(expected) = expected.filter(|&bytes| bytes <= isize::MAX as u64) else {
        return Err(ReadError::new(
            path,
            format!("the IDX header promises {shape} elements, more than any file has"),
        ));
    };
    let header = 4 + 4 * u64::from(rank);
    let promise = |found: String| {
        ReadError::new(
            path,
            format!(
                "the IDX header promises {shape} elements ({expected} bytes), the file has {found}"
            ),
        )
        .help("the file is truncated or its header is damaged")
    };
    if let Some(size) = source.size
        && size != header + expected
    {
        return Err(promise(size.saturating_sub(header).to_string()));
    }
    let bytes = read_up_to(&mut *source.reader, expected).map_err(fail)?;
    if bytes.len() as u64 != expected {
        return Err(promise(bytes.len().to_string()));
    }
    if !read_up_to(&mut *source.reader, 1).map_err(fail)?.is_empty() {
        return Err(promise("more".to_string()));
    }
    let data = match kind {
        0x08 => IdxData::Bytes(bytes),
        0x09 => IdxData::Numbers(Data::I32(
            bytes.into_iter().map(|b| i32::from(b as i8)).collect(),
        )),
        0x0b => {
            let numbers = bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| i32::from(i16::from_be_bytes(*b)));
            IdxData::Numbers(Data::I32(numbers.collect()))
        }
        0x0c => {
            let numbers = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| i32::from_be_bytes(*b));
            IdxData::Numbers(Data::I32(numbers.collect()))
        }
        0x0d => {
            let numbers = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_be_bytes(*b));
            IdxData::Numbers(Data::F32(numbers.collect()))
        }
        _ => {
            let numbers = bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| f64::from_be_bytes(*b));
            IdxData::Numbers(Data::F64(numbers.collect()))
        }
    };
    Ok(Idx {
        dims: sizes.into_iter().map(|size| size as usize).collect(),
        data,
    })
}
