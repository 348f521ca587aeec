//! Tables of numbers in CSV: optional header, empty cells and `NA` as missing.

use std::io::Read;
use std::path::Path;

use super::{ReadError, open};
use crate::{Data, Elem, Tensor};

/// A table of numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct CsvTable {
    /// Column names, if the first line has any.
    pub header: Option<Vec<String>>,
    /// Number of rows, the header not counted.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Row-major; NaN where nothing was observed.
    pub values: Vec<f64>,
    /// 1 where a number stands, 0 where the cell is empty or `NA`.
    pub observed: Vec<u8>,
}

impl CsvTable {
    /// The values as `[rows, cols]`.
    pub fn tensor(&self, elem: Elem) -> Tensor {
        Tensor::from_f64(elem, &[self.rows, self.cols], self.values.iter().copied())
    }

    /// Which cells hold a number, as a bool `[rows, cols]`.
    pub fn mask(&self) -> Tensor {
        Tensor::new(
            vec![self.rows, self.cols],
            Data::Bool(self.observed.clone()),
        )
    }

    /// Whether any cell is missing.
    pub fn any_missing(&self) -> bool {
        self.observed.contains(&0)
    }
}

/// What a cell holds.
enum Cell {
    Number(f64),
    Missing,
    Word,
}

fn cell(bytes: &[u8]) -> Cell {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Cell::Word;
    };
    let text = text.trim();
    if text.is_empty() || text == "NA" {
        return Cell::Missing;
    }
    text.parse().map_or(Cell::Word, Cell::Number)
}

/// Reads a table of numbers, plain or gzipped. The first line is a header if it has words and no
/// numbers. Cells are separated by commas, or by tabs or semicolons if the first line has those
/// and no comma. Blank lines are passed over.
pub fn read_csv(path: &Path) -> Result<CsvTable, ReadError> {
    let mut source = open(path)?;
    let mut bytes = Vec::new();
    source
        .reader
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::io(path, &error))?;
    let text = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&bytes);
    let first = text
        .split(|&b| b == b'\n' || b == b'\r')
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let delimiter = [b',', b'\t', b';']
        .into_iter()
        .find(|d| first.contains(d))
        .unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text);
    let mut table = CsvTable {
        header: None,
        rows: 0,
        cols: 0,
        values: Vec::new(),
        observed: Vec::new(),
    };
    let mut record = csv::ByteRecord::new();
    let mut seen = false;
    loop {
        let more = reader
            .read_byte_record(&mut record)
            .map_err(|error| ReadError::new(path, format!("cannot be read as CSV: {error}")))?;
        if !more {
            break;
        }
        let line = record
            .position()
            .map_or(0, |position| line_at(text, position));
        if !seen {
            seen = true;
            table.cols = record.len();
            let kinds: Vec<Cell> = record.iter().map(cell).collect();
            let words = kinds.iter().any(|kind| matches!(kind, Cell::Word));
            let numbers = kinds.iter().any(|kind| matches!(kind, Cell::Number(_)));
            if words && !numbers {
                let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
                table.header = Some(record.iter().map(name).collect());
                continue;
            }
        }
        if record.len() != table.cols {
            let cells = |n: usize| {
                if n == 1 {
                    "1 cell".to_string()
                } else {
                    format!("{n} cells")
                }
            };
            return Err(ReadError::new(
                path,
                format!(
                    "this line has {}, the first has {}",
                    cells(record.len()),
                    cells(table.cols)
                ),
            )
            .at_line(line)
            .help("every line of a table needs as many cells; leave a missing one empty"));
        }
        for (at, bytes) in record.iter().enumerate() {
            let (value, observed) = match cell(bytes) {
                Cell::Number(value) => (value, 1),
                Cell::Missing => (f64::NAN, 0),
                Cell::Word => return Err(word_error(path, &table, line, at, bytes)),
            };
            table.values.push(value);
            table.observed.push(observed);
        }
        table.rows += 1;
    }
    if !seen {
        return Err(ReadError::new(path, "the file is empty"));
    }
    if table.rows == 0 {
        return Err(ReadError::new(path, "there are no rows below the header"));
    }
    Ok(table)
}

/// The line where a record begins: the reader's position is before the blank lines above it.
fn line_at(text: &[u8], position: &csv::Position) -> u64 {
    let from = text.get(position.byte() as usize..).unwrap_or_default();
    let blank = from
        .iter()
        .take_while(|&&b| b == b'\n' || b == b'\r')
        .filter(|&&b| b == b'\n')
        .count();
    position.line() + blank as u64
}

fn word_error(path: &Path, table: &CsvTable, line: u64, at: usize, bytes: &[u8]) -> ReadError {
    let mut text: String = String::from_utf8_lossy(bytes)
        .trim()
        .chars()
        .take(40)
        .collect();
    text = text.escape_debug().to_string();
    let name = table
        .header
        .as_ref()
        .and_then(|names| names.get(at))
        .map(|name| format!(" ({name})"));
    let place = format!("column {}{}", at + 1, name.unwrap_or_default());
    let help = if table.rows == 0 && table.header.is_none() {
        "the first line is a header only if none of its cells is a number"
    } else {
        "a missing number is an empty cell or NA"
    };
    ReadError::new(path, format!("{place}: `{text}` is not a number"))
        .at_line(line)
        .help(help)
}
