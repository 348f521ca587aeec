//! Readers of data files. Whatever a file holds, a reader returns data or a [`ReadError`]; it
//! never panics, and never allocates by a number in a header that the file's size doesn't bear out.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

mod idx;
mod npy;
mod picture;
mod records;
mod spill;
mod stored;
mod table;

pub use idx::{Idx, IdxData, read_idx};
pub use npy::{read_npy, read_npz};
pub use picture::{Pictures, read_picture, read_pictures};
pub use stored::Stored;
pub use table::{Column, CsvRows, CsvTable, read_columns, read_csv};

/// Why a file could not be read, for the person whose file it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// The line, from 1, in a text file.
    pub line: Option<u64>,
    /// What might help.
    pub help: Option<String>,
}

impl ReadError {
    pub(crate) fn new(path: &Path, message: impl Into<String>) -> ReadError {
        ReadError {
            path: path.to_path_buf(),
            message: message.into(),
            line: None,
            help: None,
        }
    }

    pub(crate) fn at_line(mut self, line: u64) -> ReadError {
        self.line = Some(line);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> ReadError {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> ReadError {
        match error.kind() {
            io::ErrorKind::NotFound => {
                let mut out = ReadError::new(path, "there is no such file");
                if path.is_relative()
                    && let Ok(folder) = std::env::current_dir()
                {
                    out = out.help(format!(
                        "paths count from the current folder, {}",
                        folder.display()
                    ));
                }
                out
            }
            io::ErrorKind::PermissionDenied => {
                ReadError::new(path, "no permission to read this file")
            }
            io::ErrorKind::IsADirectory => ReadError::new(path, "this is a folder, not a file"),
            io::ErrorKind::UnexpectedEof => {
                ReadError::new(path, "the compressed data end too early")
                    .help("the file is truncated, perhaps by a download that broke off")
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                ReadError::new(path, format!("the compressed data are damaged ({error})"))
            }
            _ => ReadError::new(path, format!("cannot be read: {error}")),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ReadError {}

/// An opened file, unpacked on the fly if it is gzip (by its first two bytes, whatever its name).
pub(crate) struct Source {
    /// The bytes.
    pub reader: Box<dyn Read>,
    /// How many they are, unless the file is compressed.
    pub size: Option<u64>,
}

/// Opens a file for the readers here.
pub(crate) fn open(path: &Path) -> Result<Source, ReadError> {
    let fail = |error: io::Error| ReadError::io(path, &error);
    let file = File::open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    check_kind(path, &meta)?;
    let size = meta.is_file().then_some(meta.len());
    let mut file = BufReader::with_capacity(1 << 16, file);
    let mut magic = Vec::new();
    (&mut file).take(2).read_to_end(&mut magic).map_err(fail)?;
    let zipped = magic == [0x1f, 0x8b];
    let whole = io::Cursor::new(magic).chain(file);
    if zipped {
        let reader = BufReader::with_capacity(1 << 16, flate2::read::MultiGzDecoder::new(whole));
        return Ok(Source {
            reader: Box::new(reader),
            size: None,
        });
    }
    if path
        .extension()
        .is_some_and(|ext| ext.eq_ignore_ascii_case("gz"))
    {
        return Err(ReadError::new(
            path,
            "the name ends in .gz, but this is no gzip file",
        ));
    }
    Ok(Source {
        reader: Box::new(whole),
        size,
    })
}

/// An error for what is neither a file nor a pipe: a device may have no end.
fn check_kind(path: &Path, meta: &std::fs::Metadata) -> Result<(), ReadError> {
    let kind = meta.file_type();
    if kind.is_dir() {
        return Err(ReadError::new(path, "this is a folder, not a file"));
    }
    if kind.is_char_device() || kind.is_block_device() {
        return Err(ReadError::new(path, "this is a device, not a file"));
    }
    Ok(())
}

/// All bytes of a file, plain or gzipped.
pub(crate) fn read_whole(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    open(path)?
        .reader
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::io(path, &error))?;
    Ok(bytes)
}

/// How the bytes of a text are its letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// UTF-8; other bytes are an error.
    Utf8,
    /// ISO 8859-1: each byte is the letter of that number.
    Latin1,
}

impl Encoding {
    /// All of them, and their names in scripts.
    pub const ALL: [(&'static str, Encoding); 2] =
        [("utf-8", Encoding::Utf8), ("latin-1", Encoding::Latin1)];
}

/// Reads a text, plain or gzipped.
pub fn read_text(path: &Path, encoding: Encoding) -> Result<String, ReadError> {
    let bytes = read_whole(path)?;
    if encoding == Encoding::Latin1 {
        return Ok(bytes.into_iter().map(char::from).collect());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = bytes[..good].iter().filter(|&&b| b == b'\n').count() as u64 + 1;
        ReadError::new(
            path,
            format!("the byte {:02x} at {good} is not UTF-8", bytes[good]),
        )
        .at_line(line)
        .help("if it is a text in Latin-1, read it with `encoding = \"latin-1\"`; else save it as UTF-8")
    })
}

/// The next `count` bytes, or fewer if there are fewer. Memory grows with what is there, not
/// with `count`.
pub(crate) fn read_up_to(reader: &mut dyn Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count.min(1 << 20) as usize);
    reader.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}
