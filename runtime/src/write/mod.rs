//! Writers. A file appears whole or not at all: it is written beside its place and renamed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

mod arrays;
mod grid;
mod rows;
mod weights;

pub use arrays::{csv_text, write_npy, write_text};
pub use grid::{Image, write_grid};
pub use rows::TableWriter;
pub(crate) use weights::half_to_f32;
pub use weights::{Weights, load_weights, save_weights};

/// Why a file could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What might help.
    pub help: Option<String>,
}

impl WriteError {
    pub(crate) fn new(path: &Path, message: impl Into<String>) -> WriteError {
        WriteError {
            path: path.to_path_buf(),
            message: message.into(),
            help: None,
        }
    }

    fn io(path: &Path, error: &io::Error) -> WriteError {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.display().to_string(),
            Some(_) | None => ".".to_string(),
        };
        let mut out = match error.kind() {
            io::ErrorKind::NotFound => {
                WriteError::new(path, format!("the folder {folder} doesn't exist"))
            }
            io::ErrorKind::PermissionDenied => WriteError::new(
                path,
                format!("no permission to write in the folder {folder}"),
            ),
            io::ErrorKind::ReadOnlyFilesystem => {
                WriteError::new(path, format!("the folder {folder} is read-only"))
            }
            io::ErrorKind::StorageFull => WriteError::new(path, "the disk is full"),
            io::ErrorKind::QuotaExceeded => WriteError::new(path, "the disk quota is used up"),
            io::ErrorKind::NotADirectory => {
                WriteError::new(path, format!("{folder} is a file, not a folder"))
            }
            io::ErrorKind::IsADirectory => WriteError::new(path, "this is a folder, not a file"),
            _ => WriteError::new(path, format!("cannot be written: {error}")),
        };
        if error.kind() == io::ErrorKind::NotFound {
            out.help = Some("make the folder first".to_string());
        }
        out
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for WriteError {}

/// Distinguishes the temporary files of one process.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Writes a file in one piece: what `content` writes goes to a temporary file in the same folder,
/// which then takes the place of `path`. On failure nothing of it stays and an older file is
/// untouched. A link is followed; a device or pipe is written straight.
pub fn write_atomic(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let mut file = Pending::create(path)?;
    file.put(content)?;
    file.finish()
}

/// A file that is being written. Until it is finished it stands beside its place; if it never is,
/// nothing of it stays.
struct Pending {
    path: PathBuf,
    file: BufWriter<File>,
    /// The temporary file and the place that it takes; none of a device or pipe.
    moves: Option<(PathBuf, PathBuf)>,
}

impl Pending {
    fn create(path: &Path) -> Result<Pending, WriteError> {
        let fail = |error: io::Error| WriteError::io(path, &error);
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let pending = |file: File, moves| Pending {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(1 << 16, file),
            moves,
        };
        if let Ok(meta) = fs::metadata(&target) {
            if meta.is_dir() {
                return Err(WriteError::new(path, "this is a folder, not a file"));
            }
            if !meta.is_file() {
                let file = OpenOptions::new().write(true).open(&target).map_err(fail)?;
                return Ok(pending(file, None));
            }
            if meta.permissions().readonly() {
                return Err(WriteError::new(path, "the file is read-only"));
            }
        }
        let Some(name) = target.file_name() else {
            return Err(WriteError::new(path, "this path names no file"));
        };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{count}.tmp", std::process::id()));
        let temporary = target.with_file_name(temporary);
        let file = File::create_new(&temporary).map_err(fail)?;
        Ok(pending(file, Some((temporary, target))))
    }

    fn failed(&self, error: &io::Error) -> WriteError {
        WriteError::io(&self.path, error)
    }

    fn wrong(&self, message: &str) -> WriteError {
        WriteError::new(&self.path, message)
    }

    fn put(
        &mut self,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        content(&mut self.file).map_err(|error| self.failed(&error))
    }

    fn finish(mut self) -> Result<(), WriteError> {
        self.file.flush().map_err(|error| self.failed(&error))?;
        let Some((temporary, target)) = &self.moves else {
            return Ok(());
        };
        let moved = self
            .file
            .get_ref()
            .sync_all()
            .and_then(|()| fs::rename(temporary, target));
        moved.map_err(|error| self.failed(&error))?;
        self.moves = None;
        Ok(())
    }
}

/// Removes what killed processes left of a file that they were writing.
pub fn remove_leftovers(path: &Path) {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let start = format!(".{name}.");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let process = file
            .to_str()
            .and_then(|file| file.strip_prefix(&start)?.strip_suffix(".tmp"))
            .and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        // One of a process that lives is being written.
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.moves {
            // If even this fails there is nothing more to do.
            let _ = fs::remove_file(temporary);
        }
    }
}
