//! Examples that stay in their file: rows of an array or a table, read when they are wanted.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ReadError, check_kind, idx, npy, open, read_up_to, spill};
use crate::{Data, Elem, Tensor};

/// Bytes of a file that are enough for its header.
const HEAD: usize = 1 << 16;

/// How elements lie in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A byte that is not 0 is true.
    Bool,
    /// Bytes that mean 0..1: pictures.
    Scaled,
    /// Unsigned bytes.
    U8,
    /// Signed bytes.
    I8,
    /// Ints and floats of their widths.
    I16,
    U16,
    I32,
    U32,
    I64,
    F16,
    F32,
    F64,
}

impl Kind {
    pub(super) fn bytes(self) -> usize {
        match self {
            Kind::Bool | Kind::Scaled | Kind::U8 | Kind::I8 => 1,
            Kind::I16 | Kind::U16 | Kind::F16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::F64 => 8,
        }
    }

    /// What the elements are in memory.
    fn elem(self) -> Elem {
        match self {
            Kind::Bool => Elem::Bool,
            Kind::U8 | Kind::I8 | Kind::I16 | Kind::U16 | Kind::I32 => Elem::I32,
            Kind::U32 | Kind::I64 => Elem::I64,
            Kind::Scaled | Kind::F16 | Kind::F32 => Elem::F32,
            Kind::F64 => Elem::F64,
        }
    }
}

/// What a header says of the elements after it.
pub(super) struct Layout {
    /// Sizes, outermost first; at least one.
    pub(super) dims: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) big_endian: bool,
    /// Where the elements begin.
    pub(super) offset: u64,
}

/// Rows of a file (its first axis), or a run of them. Nothing of it is in memory.
#[derive(Clone)]
pub struct Stored {
    file: Arc<File>,
    path: PathBuf,
    kind: Kind,
    big_endian: bool,
    /// Where row 0 of this run begins.
    offset: u64,
    dims: Vec<usize>,
    elem: Elem,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({} {:?})", self.path.display(), self.dims)
    }
}

impl Stored {
    /// Opens an NPY (in C order) or IDX file or a table of numbers, each plain or gzipped; floats
    /// become `float`, as do the bytes of IDX, which are scaled to 0..1; ints become i64. Tables
    /// and compressed files are copied first, see `spill`.
    pub fn open(path: &Path, float: Elem) -> Result<Stored, ReadError> {
        let fail = |error: std::io::Error| ReadError::io(path, &error);
        let (file, format) = by_rows(path, float)?;
        let meta = file.metadata().map_err(fail)?;
        let mut head = vec![0; HEAD.min(meta.len() as usize)];
        file.read_exact_at(&mut head, 0).map_err(fail)?;
        let layout = match format {
            Format::Npy => npy::layout(path, &mut Cursor::new(&head))?,
            Format::Idx => idx::layout(path, &mut Cursor::new(&head))?,
            Format::Numbers(dims) => Layout {
                dims: dims.to_vec(),
                kind: match float {
                    Elem::F64 => Kind::F64,
                    _ => Kind::F32,
                },
                big_endian: false,
                offset: 0,
            },
        };
        let count = layout
            .dims
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d as u64));
        let wanted = count.and_then(|n| n.checked_mul(layout.kind.bytes() as u64));
        let there = meta.len().saturating_sub(layout.offset);
        if layout.dims.is_empty() || wanted != Some(there) {
            return Err(ReadError::new(
                path,
                format!(
                    "the header promises {:?} elements of {} bytes, the file has {there} bytes of them",
                    layout.dims,
                    layout.kind.bytes()
                ),
            )
            .help("the file is truncated or its header is damaged"));
        }
        let elem = match layout.kind.elem() {
            Elem::F32 | Elem::F64 => float,
            Elem::I32 | Elem::I64 => Elem::I64,
            Elem::Bool => Elem::Bool,
        };
        Ok(Stored {
            file: Arc::new(file),
            path: path.to_path_buf(),
            kind: layout.kind,
            big_endian: layout.big_endian,
            offset: layout.offset,
            dims: layout.dims,
            elem,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sizes, outermost first; at least one.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The type that rows have in memory.
    pub fn elem(&self) -> Elem {
        self.elem
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.dims[0]
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.dims[1..].iter().product()
    }

    /// Rows `from..to`, which must be among them.
    pub fn slice(&self, from: usize, to: usize) -> Stored {
        assert!(from <= to && to <= self.rows(), "rows {from}..{to}");
        let row = (self.width() * self.kind.bytes()) as u64;
        let mut part = self.clone();
        part.offset += from as u64 * row;
        part.dims[0] = to - from;
        part
    }

    /// These rows in memory, in this order.
    pub fn read(&self, rows: &[usize]) -> Result<Tensor, ReadError> {
        let mut dims = self.dims.clone();
        dims[0] = rows.len();
        let count = rows.len() * self.width();
        // What lies in the file as it does in memory is read to its place.
        match (self.kind, self.elem) {
            (Kind::F32, Elem::F32) if !self.big_endian && cfg!(target_endian = "little") => {
                let mut values = vec![0f32; count];
                self.fill(rows, bytemuck::cast_slice_mut(&mut values))?;
                return Ok(Tensor::new(dims, Data::F32(values)));
            }
            (Kind::F64, Elem::F64) if !self.big_endian && cfg!(target_endian = "little") => {
                let mut values = vec![0f64; count];
                self.fill(rows, bytemuck::cast_slice_mut(&mut values))?;
                return Ok(Tensor::new(dims, Data::F64(values)));
            }
            _ => {}
        }
        let mut raw = vec![0; count * self.kind.bytes()];
        self.fill(rows, &mut raw)?;
        if self.big_endian {
            raw.chunks_exact_mut(self.kind.bytes())
                .for_each(<[u8]>::reverse);
        }
        Ok(Tensor::new(dims, self.elements(&raw)))
    }

    /// Reads the bytes of rows.
    fn fill(&self, rows: &[usize], raw: &mut [u8]) -> Result<(), ReadError> {
        let size = self.width() * self.kind.bytes();
        let mut at = 0;
        while at < rows.len() {
            // Neighbours in the file are read in one go.
            let run = (at + 1..rows.len())
                .take_while(|&next| rows[next] == rows[at] + (next - at))
                .count()
                + 1;
            let place = self.offset + (rows[at] * size) as u64;
            self.file
                .read_exact_at(&mut raw[at * size..(at + run) * size], place)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        ReadError::new(&self.path, "the file became shorter while it was read")
                    }
                    _ => ReadError::io(&self.path, &error),
                })?;
            at += run;
        }
        Ok(())
    }

    fn elements(&self, raw: &[u8]) -> Data {
        let data = decoded(self.kind, raw);
        match (data, self.elem) {
            (Data::F32(values), Elem::F64) => {
                Data::F64(values.into_iter().map(f64::from).collect())
            }
            (Data::F64(values), Elem::F32) => {
                Data::F32(values.into_iter().map(|value| value as f32).collect())
            }
            (Data::I32(values), Elem::I64) => {
                Data::I64(values.into_iter().map(i64::from).collect())
            }
            (data, _) => data,
        }
    }
}

/// How rows lie in a file.
enum Format {
    Npy,
    Idx,
    /// So many rows and columns of the float in force, without a header.
    Numbers([usize; 2]),
}

/// The file, or a copy of it whose rows can be read in any order.
fn by_rows(path: &Path, float: Elem) -> Result<(File, Format), ReadError> {
    let fail = |error: std::io::Error| ReadError::io(path, &error);
    let file = File::open(path).map_err(fail)?;
    check_kind(path, &file.metadata().map_err(fail)?)?;
    let mut packed = [0; 2];
    let packed = file.read_at(&mut packed, 0).map_err(fail)? == 2 && packed == [0x1f, 0x8b];
    let head = read_up_to(&mut open(path)?.reader, 4).map_err(fail)?;
    let format = match head.as_slice() {
        [0x93, b'N', b'U', b'M'] => Format::Npy,
        [0, 0, ..] => Format::Idx,
        _ => {
            let (copy, dims) = spill::numbers(path, float)?;
            return Ok((copy, Format::Numbers(dims)));
        }
    };
    match packed {
        true => Ok((spill::unpacked(path)?, format)),
        false => Ok((file, format)),
    }
}

/// Reads up to `count` elements, and says how many bytes there were. The bytes are never in memory
/// as a whole, and no more is allocated than the file has, whatever its header promises.
pub(super) fn read_elements(
    reader: &mut dyn Read,
    kind: Kind,
    big_endian: bool,
    count: usize,
) -> io::Result<(Data, usize)> {
    const AT_ONCE: usize = 1 << 18;
    let width = kind.bytes();
    let mut all = decoded(kind, &[]);
    let mut got = 0;
    let mut left = count;
    while left > 0 {
        let wanted = left.min(AT_ONCE) * width;
        let mut raw = read_up_to(reader, wanted as u64)?;
        if big_endian {
            raw.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        all.append(decoded(kind, &raw));
        got += raw.len();
        if raw.len() < wanted {
            break;
        }
        left -= wanted / width;
    }
    Ok((all, got))
}

/// Little-endian bytes as elements.
pub(super) fn decoded(kind: Kind, raw: &[u8]) -> Data {
    let (twos, fours, eights) = (
        raw.as_chunks::<2>().0,
        raw.as_chunks::<4>().0,
        raw.as_chunks::<8>().0,
    );
    match kind {
        Kind::Bool => Data::Bool(raw.iter().map(|&b| u8::from(b != 0)).collect()),
        Kind::Scaled => Data::F32(raw.iter().map(|&b| f32::from(b) / 255.0).collect()),
        Kind::U8 => Data::I32(raw.iter().map(|&b| i32::from(b)).collect()),
        Kind::I8 => Data::I32(raw.iter().map(|&b| i32::from(b as i8)).collect()),
        Kind::I16 => Data::I32(
            twos.iter()
                .map(|b| i32::from(i16::from_le_bytes(*b)))
                .collect(),
        ),
        Kind::U16 => Data::I32(
            twos.iter()
                .map(|b| i32::from(u16::from_le_bytes(*b)))
                .collect(),
        ),
        Kind::I32 => Data::I32(fours.iter().map(|b| i32::from_le_bytes(*b)).collect()),
        Kind::U32 => Data::I64(
            fours
                .iter()
                .map(|b| i64::from(u32::from_le_bytes(*b)))
                .collect(),
        ),
        Kind::I64 => Data::I64(eights.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        Kind::F16 => Data::F32(
            twos.iter()
                .map(|b| crate::write::half_to_f32(u16::from_le_bytes(*b)))
                .collect(),
        ),
        Kind::F32 => Data::F32(fours.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Kind::F64 => Data::F64(eights.iter().map(|b| f64::from_le_bytes(*b)).collect()),
    }
}
