//! IDX, the format of MNIST: two zero bytes, a type, a rank, big-endian u32 sizes, the elements.

use std::io::Read;
use std::path::Path;

use super::stored::{Kind, Layout, read_elements};
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

/// The layout of a file's elements, for reading rows out of its middle; bytes are scaled.
pub(super) fn layout(path: &Path, reader: &mut dyn Read) -> Result<Layout, ReadError> {
    let fail = |error: std::io::Error| ReadError::io(path, &error);
    let ends = |count: usize| {
        ReadError::new(
            path,
            format!("ends within the IDX header, after {count} bytes"),
        )
    };
    let head = read_up_to(reader, 4).map_err(fail)?;
    let &[zero0, zero1, code, rank] = head.as_slice() else {
        return Err(ends(head.len()));
    };
    let kind = match code {
        0x08 => Some(Kind::Scaled),
        0x09 => Some(Kind::I8),
        0x0b => Some(Kind::I16),
        0x0c => Some(Kind::I32),
        0x0d => Some(Kind::F32),
        0x0e => Some(Kind::F64),
        _ => None,
    };
    let Some(kind) = kind.filter(|_| zero0 == 0 && zero1 == 0) else {
        return Err(ReadError::new(
            path,
            format!("is no IDX file: it begins with {zero0:02x} {zero1:02x} {code:02x} {rank:02x}"),
        )
        .help(
            "IDX begins with two zero bytes, an element type from 08 to 0e and the number of axes",
        ));
    };
    if rank == 0 {
        return Err(ReadError::new(
            path,
            "the IDX header says that there are 0 axes",
        ));
    }
    let sizes = read_up_to(reader, 4 * u64::from(rank)).map_err(fail)?;
    if sizes.len() != 4 * usize::from(rank) {
        return Err(ends(4 + sizes.len()));
    }
    let sizes = sizes.as_chunks::<4>().0;
    Ok(Layout {
        dims: sizes
            .iter()
            .map(|four| u32::from_be_bytes(*four) as usize)
            .collect(),
        kind,
        big_endian: true,
        offset: 4 + 4 * u64::from(rank),
    })
}

/// Reads an IDX file, plain or gzipped.
pub fn read_idx(path: &Path) -> Result<Idx, ReadError> {
    let fail = |error: std::io::Error| ReadError::io(path, &error);
    let mut source = open(path)?;
    let layout = layout(path, &mut *source.reader)?;
    let shape = layout
        .dims
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(" x ");
    let width = layout.kind.bytes();
    let expected = layout
        .dims
        .iter()
        .try_fold(width as u64, |all, &size| all.checked_mul(size as u64));
    let Some(expected) = expected.filter(|&bytes| bytes <= isize::MAX as u64) else {
        return Err(ReadError::new(
            path,
            format!("the IDX header promises {shape} elements, more than any file has"),
        ));
    };
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
        && size != layout.offset + expected
    {
        return Err(promise(size.saturating_sub(layout.offset).to_string()));
    }
    let reader = &mut *source.reader;
    let (data, found) = match layout.kind {
        Kind::Scaled => {
            let bytes = read_up_to(reader, expected).map_err(fail)?;
            let found = bytes.len();
            (IdxData::Bytes(bytes), found)
        }
        kind => {
            let count = expected as usize / width;
            let (data, found) = read_elements(reader, kind, true, count).map_err(fail)?;
            (IdxData::Numbers(data), found)
        }
    };
    if found as u64 != expected {
        return Err(promise(found.to_string()));
    }
    if !read_up_to(reader, 1).map_err(fail)?.is_empty() {
        return Err(promise("more".to_string()));
    }
    Ok(Idx {
        dims: layout.dims,
        data,
    })
}
