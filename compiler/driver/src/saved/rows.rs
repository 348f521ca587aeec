//! Tables of examples, read some rows at a time from CSV and NPY files.

use super::fault;
use crate::effects::cannot_read;
use crate::session::Result;
use aec_runtime::read::{CsvRows, Stored, read_npy};
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use std::path::Path;

/// Examples of a table, one for each row.
pub struct Table {
    /// The file, as it was named.
    pub name: String,
    /// The numbers, `[rows, …]`; 0 where one is missing.
    pub values: Tensor,
    /// A bool for each number, if any is missing.
    pub observed: Option<Tensor>,
}

/// A table that is read some rows at a time.
pub struct Rows {
    name: String,
    /// Names of the columns, or nothing.
    pub head: Vec<String>,
    source: Source,
    float: Elem,
}

enum Source {
    Csv(CsvRows),
    /// Rows of an array and how many were read.
    Stored(Stored, usize),
    /// An array that can only be read whole.
    Whole(Option<Tensor>),
}

impl Rows {
    /// Opens `.npy`, and anything else as CSV.
    pub fn open(path: &str, float: Elem) -> Result<Rows> {
        let failed = |error| cannot_read(path, &error, Span::NONE);
        let file = Path::new(path);
        let (head, source) = if path.ends_with(".npy") || path.ends_with(".npy.gz") {
            let source = match Stored::open(file, float) {
                Ok(rows) => Source::Stored(rows, 0),
                // Column by column, perhaps: what is wrong with it is said by the reader.
                Err(_) => Source::Whole(Some(read_npy(file).map_err(failed)?)),
            };
            (Vec::new(), source)
        } else {
            let csv = CsvRows::open(file).map_err(failed)?;
            (csv.header.clone().unwrap_or_default(), Source::Csv(csv))
        };
        Ok(Rows {
            name: path.to_string(),
            head,
            source,
            float,
        })
    }

    /// The next rows, at most so many; none at the end. NaN and empty cells are missing.
    pub fn next(&mut self, most: usize) -> Result<Option<Table>> {
        let failed = |error| cannot_read(&self.name, &error, Span::NONE);
        let values = match &mut self.source {
            Source::Csv(csv) => csv.next_rows(most).map_err(failed)?.tensor(Elem::F64),
            Source::Stored(rows, done) => {
                let end = done.saturating_add(most).min(rows.rows());
                let wanted: Vec<usize> = (*done..end).collect();
                if wanted.is_empty() && *done == 0 {
                    return Err(Box::new(fault(
                        "E0803",
                        format!("{} has no rows", self.name),
                    )));
                }
                *done = end;
                rows.read(&wanted).map_err(failed)?
            }
            Source::Whole(tensor) => match tensor.take() {
                Some(tensor) if tensor.dims().first().is_none_or(|&rows| rows == 0) => {
                    return Err(Box::new(fault(
                        "E0803",
                        format!("{} has no rows", self.name),
                    )));
                }
                Some(tensor) => tensor,
                None => return Ok(None),
            },
        };
        if values.dims()[0] == 0 {
            return Ok(None);
        }
        let numbers = values.to_f64_vec();
        let holes = numbers.iter().any(|value| value.is_nan());
        let observed = holes.then(|| {
            let seen = numbers
                .iter()
                .map(|value| f64::from(u8::from(!value.is_nan())));
            Tensor::from_f64(Elem::Bool, values.dims(), seen)
        });
        let numbers = numbers.iter().map(|v| if v.is_nan() { 0.0 } else { *v });
        Ok(Some(Table {
            name: self.name.clone(),
            values: Tensor::from_f64(self.float, values.dims(), numbers),
            observed,
        }))
    }
}
