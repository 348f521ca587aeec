//! Files that cannot be read from their middle, compressed ones and tables in text, for those who
//! want their rows in any order: they are copied once, as numbers, into a file without a name in
//! the folder for temporary files. The system removes it when nobody reads it any more.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use super::table::CsvRows;
use super::{ReadError, open};
use crate::{Elem, interrupt};

/// Rows of a table that are in memory at a time.
const ROWS: usize = 1024;

/// Bytes of a compressed file that are in memory at a time.
const BYTES: usize = 1 << 16;

/// The bytes of a compressed file.
pub(super) fn unpacked(path: &Path) -> Result<File, ReadError> {
    let mut from = open(path)?.reader;
    let mut to = Spill::new(path)?;
    let mut bytes = vec![0; BYTES];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return to.done(),
            Ok(n) => to.write(&bytes[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::io(path, &error)),
        }
    }
}

/// The numbers of a table, plain or gzipped, row by row as little-endian `float`s; rows and columns.
pub(super) fn numbers(path: &Path, float: Elem) -> Result<(File, [usize; 2]), ReadError> {
    let mut table = CsvRows::open(path)?;
    let mut to = Spill::new(path)?;
    let mut done = 0;
    loop {
        let rows = table.next_rows(ROWS)?;
        if rows.rows == 0 {
            return Ok((to.done()?, [done, table.cols]));
        }
        if let Some(at) = rows.observed.iter().position(|&seen| seen == 0) {
            let row = done + at / table.cols + 1;
            let message = format!("row {row}: column {} is empty", at % table.cols + 1);
            return Err(ReadError::new(path, message)
                .help("a stream has no holes; `data.csv` reads them as `?`, into memory"));
        }
        for &value in &rows.values {
            match float {
                Elem::F64 => to.write(&value.to_le_bytes())?,
                _ => to.write(&(value as f32).to_le_bytes())?,
            }
        }
        done += rows.rows;
    }
}

/// A file without a name that is being written.
struct Spill<'p> {
    /// What is copied, for messages.
    of: &'p Path,
    file: BufWriter<File>,
}

impl Spill<'_> {
    fn new(of: &Path) -> Result<Spill<'_>, ReadError> {
        let file = tempfile::tempfile().map_err(|error| failed(of, &error))?;
        Ok(Spill {
            of,
            file: BufWriter::with_capacity(1 << 20, file),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        if interrupt::requested() {
            return Err(ReadError::new(self.of, "interrupted"));
        }
        let written = self.file.write_all(bytes);
        written.map_err(|error| failed(self.of, &error))
    }

    fn done(self) -> Result<File, ReadError> {
        let file = self.file.into_inner();
        file.map_err(|error| failed(self.of, error.error()))
    }
}

fn failed(of: &Path, error: &io::Error) -> ReadError {
    let folder = std::env::temp_dir();
    let message = format!("cannot be copied to {}: {error}", folder.display());
    ReadError::new(of, message).help("`TMPDIR=folder` names a folder with more room")
}

#[cfg(test)]
mod tests {
    use super::super::Stored;
    use super::*;
    use crate::Data;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn rows(name: &str, bytes: &[u8], wanted: &[usize]) -> Data {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let stored = Stored::open(&path, Elem::F32).unwrap();
        stored.read(wanted).unwrap().data().clone()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn rows_of_tables_and_packed_files_in_any_order() {
        let csv = b"a,b\n1,2\n3,4\n5,6.5\n";
        let last_first = Data::F32(vec![5.0, 6.5, 1.0, 2.0]);
        assert_eq!(rows("t.csv", csv, &[2, 0]), last_first);
        assert_eq!(rows("t.csv.gz", &packed(csv), &[2, 0]), last_first);
        // three items of two bytes each
        let idx = [0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 255, 51, 0, 255, 255];
        let items = Data::F32(vec![1.0, 1.0, 0.0, 1.0]);
        assert_eq!(rows("i.idx", &idx, &[2, 0]), items);
        assert_eq!(rows("i.idx.gz", &packed(&idx), &[2, 0]), items);
    }

    #[test]
    fn holes_and_cut_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, says) in [
            (
                "hole.csv",
                b"1,2\n3,\n".to_vec(),
                "row 2: column 2 is empty",
            ),
            ("none.csv", Vec::new(), "the file is empty"),
            (
                "cut.csv.gz",
                packed(b"1,2\n3,4\n")[..20].to_vec(),
                "compressed data",
            ),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = Stored::open(&path, Elem::F32).unwrap_err();
            assert!(error.message.contains(says), "{error}");
        }
    }
}
