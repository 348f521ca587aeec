//! Lines of a table as cells, one record at a time: memory follows the longest record, not the
//! file. Quotes as RFC 4180 has them: around a cell, doubled inside one; a quoted cell may go on
//! in the next line.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{ReadError, open};

/// Most bytes of one record: a quote that is never closed would join the rest of the file.
const LONGEST: usize = 1 << 27;

/// The records of a file; blank lines are passed over.
pub(super) struct Records {
    path: PathBuf,
    reader: BufReader<Box<dyn Read>>,
    delimiter: u8,
    /// Lines read so far.
    read: u64,
    /// The current line, with its end.
    raw: Vec<u8>,
    /// The current record's cells, one after the other, quotes undone.
    text: Vec<u8>,
    /// Where each cell ends in `text`.
    ends: Vec<usize>,
    /// The line where the current record begins, from 1.
    line: u64,
    /// The first record was read to find the delimiter and not yet given out.
    pending: bool,
}

impl Records {
    /// Opens a table, plain or gzipped. Lines at its head that begin with `#` are comments. Cells are separated by commas, or by tabs or semicolons
    /// if the first line has those and no comma.
    pub(super) fn open(path: &Path) -> Result<Records, ReadError> {
        let source = open(path)?;
        let mut records = Records {
            path: path.to_path_buf(),
            reader: BufReader::with_capacity(1 << 16, source.reader),
            delimiter: b',',
            read: 0,
            raw: Vec::new(),
            text: Vec::new(),
            ends: Vec::new(),
            line: 0,
            pending: false,
        };
        let mut more = records.fill()?;
        if records.raw.starts_with(&[0xef, 0xbb, 0xbf]) {
            records.raw.drain(..3);
        }
        while more && records.raw.starts_with(b"#") {
            more = records.fill()?;
        }
        if more {
            let known = [b',', b'\t', b';'];
            let found = known.into_iter().find(|d| records.raw.contains(d));
            records.delimiter = found.unwrap_or(b',');
            records.pending = true;
        }
        Ok(records)
    }

    /// Reads the next line that is not blank into `raw`.
    fn fill(&mut self) -> Result<bool, ReadError> {
        loop {
            self.raw.clear();
            if !self.more()? {
                return Ok(false);
            }
            if self.raw.iter().any(|&b| b != b'\n' && b != b'\r') {
                return Ok(true);
            }
        }
    }

    /// Adds the next line to `raw`.
    fn more(&mut self) -> Result<bool, ReadError> {
        let room = (LONGEST - self.raw.len().min(LONGEST)) as u64;
        let count = (&mut self.reader)
            .take(room)
            .read_until(b'\n', &mut self.raw)
            .map_err(|error| ReadError::io(&self.path, &error))?;
        if self.raw.len() >= LONGEST {
            return Err(
                ReadError::new(&self.path, "this line does not end").at_line(self.line.max(1))
            );
        }
        self.read += u64::from(count > 0);
        Ok(count > 0)
    }

    /// Goes to the next record; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, ReadError> {
        if !std::mem::take(&mut self.pending) && !self.fill()? {
            return Ok(false);
        }
        self.line = self.read;
        self.text.clear();
        self.ends.clear();
        // Whether a cell is in quotes, and whether anything of it was seen.
        let (mut quoted, mut fresh) = (false, true);
        let mut at = 0;
        loop {
            let Some(&byte) = self.raw.get(at) else {
                // Only a quoted cell goes on after the end of the line.
                if quoted && self.more()? {
                    continue;
                }
                break;
            };
            at += 1;
            match byte {
                b'"' if quoted && self.raw.get(at) == Some(&b'"') => {
                    self.text.push(b'"');
                    at += 1;
                }
                b'"' if quoted => quoted = false,
                _ if quoted => self.text.push(byte),
                b'"' if fresh => (quoted, fresh) = (true, false),
                b'\n' | b'\r' if self.raw[at..].iter().all(|b| matches!(b, b'\n' | b'\r')) => {
                    break;
                }
                byte if byte == self.delimiter => {
                    self.ends.push(self.text.len());
                    fresh = true;
                }
                byte => {
                    self.text.push(byte);
                    fresh = false;
                }
            }
        }
        self.ends.push(self.text.len());
        Ok(true)
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The line where the current record begins, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Number of cells in the current record.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The cells of the current record.
    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(from, &to)| &self.text[from..to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<(u64, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let mut records = Records::open(&path).unwrap();
        let mut all = Vec::new();
        while records.advance().unwrap() {
            let cells = records
                .cells()
                .map(|cell| String::from_utf8_lossy(cell).into_owned());
            all.push((records.line(), cells.collect()));
        }
        all
    }

    #[test]
    fn quotes_blank_lines_and_lines_that_go_on() {
        let all = records("a,\"b\"\"c\"\r\n\r\n\n\"x\ny\",5\" pipe\n,\n\"z\"");
        let expected = [
            (1, vec!["a", "b\"c"]),
            (4, vec!["x\ny", "5\" pipe"]),
            (6, vec!["", ""]),
            (7, vec!["z"]),
        ];
        let all: Vec<(u64, Vec<&str>)> = all
            .iter()
            .map(|(line, cells)| (*line, cells.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(all, expected);
        assert!(records("").is_empty());
        assert_eq!(records("a;b\n1;2").len(), 2);
    }
}
