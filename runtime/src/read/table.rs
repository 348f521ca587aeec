//! Tables in CSV: optional header, empty cells and `NA` as missing. Tables of numbers, whole or
//! some rows at a time, and tables whose columns may hold words.

use std::collections::HashMap;
use std::path::Path;

use super::ReadError;
use super::records::Records;
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
    /// 1 where a number stands, 0 where the cell is empty, `NA` or `nan`.
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
    match text.parse::<f64>() {
        // What other programs write for a number that is not there.
        Ok(value) if value.is_nan() => Cell::Missing,
        Ok(value) => Cell::Number(value),
        Err(_) => Cell::Word,
    }
}

/// A table of numbers that is read some rows at a time.
pub struct CsvRows {
    records: Records,
    /// Column names, if the first line has any.
    pub header: Option<Vec<String>>,
    /// Number of columns.
    pub cols: usize,
    /// Whether the current record holds a row that was not yet given out.
    pending: bool,
    /// Rows given out.
    done: usize,
}

impl CsvRows {
    /// Opens a table, plain or gzipped. The first line is a header if it has words and no numbers.
    pub fn open(path: &Path) -> Result<CsvRows, ReadError> {
        let (records, header, pending) = headed(path)?;
        let cols = records.len();
        Ok(CsvRows {
            records,
            header,
            cols,
            pending,
            done: 0,
        })
    }

    /// The next rows, at most so many; none of them at the end. A file without any row is an
    /// error.
    pub fn next_rows(&mut self, most: usize) -> Result<CsvTable, ReadError> {
        let mut table = CsvTable {
            header: self.header.clone(),
            rows: 0,
            cols: self.cols,
            values: Vec::new(),
            observed: Vec::new(),
        };
        while table.rows < most && (std::mem::take(&mut self.pending) || self.records.advance()?) {
            check_width(&self.records, self.cols)?;
            for (at, bytes) in self.records.cells().enumerate() {
                let (value, observed) = match cell(bytes) {
                    Cell::Number(value) if value.is_finite() => (value, 1),
                    Cell::Missing => (f64::NAN, 0),
                    Cell::Number(_) => return Err(self.word_error(at, bytes)),
                    Cell::Word => return Err(self.word_error(at, bytes)),
                };
                table.values.push(value);
                table.observed.push(observed);
            }
            table.rows += 1;
            self.done += 1;
        }
        if self.done == 0 && most > 0 {
            return Err(no_rows(&self.records));
        }
        Ok(table)
    }

    fn word_error(&self, at: usize, bytes: &[u8]) -> ReadError {
        let name = self
            .header
            .as_ref()
            .and_then(|names| names.get(at))
            .map(|name| format!(" ({name})"));
        let message = match std::str::from_utf8(bytes) {
            Ok(_) if matches!(cell(bytes), Cell::Number(_)) => not_finite(bytes),
            Ok(_) => format!("`{}` is not a number", shown(bytes)),
            Err(_) => format!("`{}` is neither a number nor UTF-8 text", shown(bytes)),
        };
        let text = String::from_utf8_lossy(bytes);
        let number = |text: &str| matches!(cell(text.as_bytes()), Cell::Number(_));
        let help = if number(&text.replacen(',', ".", 1)) && text.contains(',') {
            "a number has a point: `1.5`, not `1,5`"
        } else if text.split_whitespace().count() > 1 && text.split_whitespace().all(number) {
            "commas, tabs or semicolons stand between cells, not blanks"
        } else if self.done == 0 && self.header.is_none() {
            "the first line is a header only if none of its cells is a number"
        } else {
            "a missing number is an empty cell or NA; `data.table` reads columns of words"
        };
        ReadError::new(
            self.records.path(),
            format!("column {}{}: {message}", at + 1, name.unwrap_or_default()),
        )
        .at_line(self.records.line())
        .help(help)
    }
}

/// Reads a whole table of numbers; see [`CsvRows::open`].
pub fn read_csv(path: &Path) -> Result<CsvTable, ReadError> {
    CsvRows::open(path)?.next_rows(usize::MAX)
}

/// Opens a table at its first record: its header, if that is one, and else whether the record is
/// a row.
fn headed(path: &Path) -> Result<(Records, Option<Vec<String>>, bool), ReadError> {
    let mut records = Records::open(path)?;
    if !records.advance()? {
        return Err(ReadError::new(path, "the file is empty"));
    }
    let mark = records.cells().next().and_then(|bytes| bytes.get(..2));
    if matches!(mark, Some([0xff, 0xfe] | [0xfe, 0xff])) {
        return Err(ReadError::new(path, "the table is in UTF-16").help("save the table as UTF-8"));
    }
    let kinds: Vec<Cell> = records.cells().map(cell).collect();
    let words = kinds.iter().any(|kind| matches!(kind, Cell::Word));
    let numbers = kinds.iter().any(|kind| matches!(kind, Cell::Number(_)));
    let header = (words && !numbers).then(|| {
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        records.cells().map(name).collect()
    });
    let row = header.is_none();
    Ok((records, header, row))
}

fn no_rows(records: &Records) -> ReadError {
    ReadError::new(records.path(), "there are no rows below the header")
}

fn check_width(records: &Records, cols: usize) -> Result<(), ReadError> {
    if records.len() == cols {
        return Ok(());
    }
    let cells = |n: usize| match n {
        1 => "1 cell".to_string(),
        n => format!("{n} cells"),
    };
    Err(ReadError::new(
        records.path(),
        format!(
            "this line has {}, the first has {}",
            cells(records.len()),
            cells(cols)
        ),
    )
    .at_line(records.line())
    .help("every line of a table needs as many cells; leave a missing one empty"))
}

fn not_finite(bytes: &[u8]) -> String {
    format!("`{}` is not a finite number", shown(bytes))
}

/// The beginning of a cell, for a message.
fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .trim()
        .chars()
        .take(40)
        .collect();
    text.escape_debug().to_string()
}

// ── tables of several kinds ─────────────────────────────────────────────────────────────────

/// A column of a table of several kinds.
#[derive(Clone, PartialEq, Debug)]
pub struct Column {
    /// Its name in the header, or `c1`, `c2` … where there is none.
    pub name: String,
    /// Its entries, 0 where one is missing: numbers, or places in `levels`.
    pub values: Vec<f64>,
    /// 1 where something stands, 0 where the cell is empty or `NA`.
    pub observed: Vec<u8>,
    /// The words of a column that has any, sorted; none for one of numbers.
    pub levels: Option<Vec<String>>,
}

/// Reads a table whose columns are of numbers or of words: a column with any cell that is neither
/// a number nor missing is one of words. The first line is a header if it has words and no
/// numbers.
pub fn read_columns(path: &Path) -> Result<Vec<Column>, ReadError> {
    // Twice over the file: whether `007` is a number is known at its column's end.
    let (mut records, header, mut row) = headed(path)?;
    let cols = records.len();
    let mut words = vec![false; cols];
    while row || records.advance()? {
        row = false;
        check_width(&records, cols)?;
        for (at, (bytes, words)) in records.cells().zip(&mut words).enumerate() {
            if matches!(cell(bytes), Cell::Word) {
                *words = true;
                if std::str::from_utf8(bytes).is_err() {
                    let message = format!("column {}: `{}` is not UTF-8", at + 1, shown(bytes));
                    return Err(ReadError::new(path, message)
                        .at_line(records.line())
                        .help("save the table as UTF-8"));
                }
            }
        }
    }
    let names = header.unwrap_or_else(|| (1..=cols).map(|at| format!("c{at}")).collect());
    let mut columns: Vec<Column> = names
        .into_iter()
        .map(|name| Column {
            name,
            values: Vec::new(),
            observed: Vec::new(),
            levels: None,
        })
        .collect();
    let mut places: Vec<HashMap<String, usize>> = vec![HashMap::new(); cols];
    let (mut records, _, mut row) = headed(path)?;
    while row || records.advance()? {
        row = false;
        check_width(&records, cols)?;
        let all = columns.iter_mut().zip(&mut places).zip(&words);
        for (at, (bytes, ((column, places), &words))) in records.cells().zip(all).enumerate() {
            let value = match cell(bytes) {
                Cell::Missing => None,
                Cell::Number(value) if !words && !value.is_finite() => {
                    let message =
                        format!("column {} ({}): {}", at + 1, column.name, not_finite(bytes));
                    return Err(ReadError::new(path, message)
                        .at_line(records.line())
                        .help("a missing number is an empty cell or NA"));
                }
                Cell::Number(value) if !words => Some(value),
                Cell::Number(_) | Cell::Word => {
                    let word = String::from_utf8_lossy(bytes).trim().to_string();
                    let next = places.len();
                    Some(*places.entry(word).or_insert(next) as f64)
                }
            };
            column.values.push(value.unwrap_or(0.0));
            column.observed.push(u8::from(value.is_some()));
        }
    }
    if columns.iter().all(|column| column.values.is_empty()) {
        return Err(no_rows(&records));
    }
    for ((column, places), words) in columns.iter_mut().zip(places).zip(words) {
        if words {
            sort_levels(column, places);
        }
    }
    Ok(columns)
}

/// Renumbers a column's words in their order, so that it does not depend on that of the rows.
fn sort_levels(column: &mut Column, places: HashMap<String, usize>) {
    let mut words: Vec<(String, usize)> = places.into_iter().collect();
    words.sort();
    let mut rank = vec![0; words.len()];
    for (at, (_, place)) in words.iter().enumerate() {
        rank[*place] = at;
    }
    for (value, seen) in column.values.iter_mut().zip(&column.observed) {
        if *seen == 1 {
            *value = rank[*value as usize] as f64;
        }
    }
    column.levels = Some(words.into_iter().map(|(word, _)| word).collect());
}
