//! Tables that are written some rows at a time, as CSV or NPY: whole or not at all.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::arrays::{csv_text, npy_header, write_elements};
use super::{Pending, WriteError};
use crate::Tensor;

/// Bytes of an NPY header that is filled in at the end: room for any number of rows.
const HEADER: usize = 128;

/// A table that grows.
pub struct TableWriter {
    file: Pending,
    npy: bool,
    /// Sizes and type of what was written; the first size is the number of rows.
    shape: Option<Tensor>,
    rows: usize,
}

impl TableWriter {
    /// Begins a file: NPY by its name, else CSV with these names of columns, if there are any.
    pub fn create(path: &Path, head: &[String]) -> Result<TableWriter, WriteError> {
        let npy = path.extension().is_some_and(|ending| ending == "npy");
        let mut writer = TableWriter {
            file: Pending::create(path)?,
            npy,
            shape: None,
            rows: 0,
        };
        let start = match npy {
            true => vec![b' '; HEADER],
            false if head.is_empty() => Vec::new(),
            false => (head.join(",") + "\n").into_bytes(),
        };
        writer.put(|out| out.write_all(&start))?;
        Ok(writer)
    }

    /// Adds rows, `[rows, …]`; all of one type and one width.
    pub fn add(&mut self, rows: &Tensor) -> Result<(), WriteError> {
        let npy = self.npy;
        self.put(|out| match npy {
            true => write_elements(out, rows),
            false => out.write_all(csv_text(&[], rows).as_bytes()),
        })?;
        self.rows += rows.dims().first().copied().unwrap_or(1);
        if self.shape.is_none() {
            let mut dims = rows.dims().to_vec();
            if let Some(first) = dims.first_mut() {
                *first = 0;
            }
            self.shape = Some(Tensor::zeros(rows.elem(), &dims));
        }
        Ok(())
    }

    /// Puts the file into its place.
    pub fn finish(mut self) -> Result<(), WriteError> {
        if self.npy {
            let empty = Tensor::f32(&[0], Vec::new());
            let shape = self.shape.take().unwrap_or(empty);
            let mut dims = shape.dims().to_vec();
            if let Some(first) = dims.first_mut() {
                *first = self.rows;
            }
            let header = npy_header(shape.elem(), &dims, HEADER);
            let Some(header) = header.filter(|header| header.len() == HEADER) else {
                return Err(self
                    .file
                    .wrong("the table has too many axes for this format"));
            };
            self.file.at_start(&header)?;
        }
        self.file.finish()
    }

    fn put(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        self.file.put(write)
    }
}

impl Pending {
    /// Writes over the beginning of the file.
    fn at_start(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let result = self
            .file
            .flush()
            .and_then(|()| self.file.get_mut().seek(SeekFrom::Start(0)).map(drop))
            .and_then(|()| self.file.write_all(bytes));
        result.map_err(|error| self.failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{read_csv, read_npy};

    #[test]
    fn tables_grow() {
        let dir = tempfile::tempdir().unwrap();
        let parts = [
            Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]),
            Tensor::f32(&[1, 2], vec![5.0, 6.5]),
        ];
        let names = ["a".to_string(), "b".to_string()];
        let path = dir.path().join("t.npy");
        let mut writer = TableWriter::create(&path, &names).unwrap();
        parts.iter().for_each(|part| writer.add(part).unwrap());
        assert!(!path.exists());
        writer.finish().unwrap();
        let whole = Tensor::f32(&[3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
        assert_eq!(read_npy(&path).unwrap(), whole);
        let path = dir.path().join("t.csv");
        let mut writer = TableWriter::create(&path, &names).unwrap();
        parts.iter().for_each(|part| writer.add(part).unwrap());
        writer.finish().unwrap();
        let table = read_csv(&path).unwrap();
        assert_eq!(table.header.as_deref(), Some(&names[..]));
        assert_eq!(table.values, whole.to_f64_vec());
        // What is not finished leaves nothing.
        drop(TableWriter::create(&dir.path().join("u.csv"), &names).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
