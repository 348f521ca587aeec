//! Batches of a data set: rows in memory are copied; rows that stay in their file are read by a
//! thread of their own, some batches ahead, so that the next one is there when a step ends.

use crate::effects::cannot_read;
use crate::evaluate::bad;
use crate::exec::{Instance, elements};
use crate::session::Result;
use aec_runtime::Tensor;
use aec_runtime::read::{ReadError, Stored};
use aec_syntax::Span;
use aec_types::value::Repr;
use aec_types::{Value, leaves};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Most batches that are read ahead.
const AHEAD: usize = 8;

/// Most bytes of batches that are read ahead, unless one alone has more.
const AHEAD_BYTES: usize = 16 << 20;

/// The tensors of a data set and its number of examples.
pub(crate) struct DataSet {
    leaves: Vec<Leaf>,
    /// Number of examples.
    pub(crate) len: usize,
    /// The expression it comes from, for messages.
    span: Span,
}

/// One tensor of a data set.
enum Leaf {
    Memory(Arc<Tensor>),
    File(Reader),
}

/// Rows of a file and the thread that reads them.
struct Reader {
    rows: Arc<Stored>,
    /// Batches to read; the thread ends when this is dropped.
    wanted: Sender<Vec<usize>>,
    ready: Receiver<std::result::Result<Tensor, ReadError>>,
    /// What was asked for and not yet taken, in order.
    asked: VecDeque<Vec<usize>>,
}

impl Reader {
    fn new(rows: Arc<Stored>) -> Reader {
        let (wanted, orders) = channel::<Vec<usize>>();
        let (done, ready) = channel();
        let source = rows.clone();
        thread::spawn(move || {
            while let Ok(order) = orders.recv() {
                if done.send(source.read(&order)).is_err() {
                    break;
                }
            }
        });
        Reader {
            rows,
            wanted,
            ready,
            asked: VecDeque::new(),
        }
    }

    fn ask(&mut self, rows: &[usize]) {
        // A thread that is gone is noticed when the batch is taken.
        if self.wanted.send(rows.to_vec()).is_ok() {
            self.asked.push_back(rows.to_vec());
        }
    }

    /// A batch: the one that was read ahead, or else read now.
    fn take(&mut self, rows: &[usize]) -> std::result::Result<Tensor, ReadError> {
        while let Some(asked) = self.asked.pop_front() {
            match self.ready.recv() {
                Ok(batch) if asked == rows => return batch,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.rows.read(rows)
    }
}

impl DataSet {
    /// Every tensor of `data` has the examples as its first axis.
    pub(crate) fn of(data: &Value, span: Span, what: &str) -> Result<DataSet> {
        let (mut found, mut counts) = (Vec::new(), Vec::new());
        for leaf in leaves(data) {
            let stored = match leaf.tensor.tensor().map(|tensor| &tensor.repr) {
                Some(Repr::Stored(rows)) => Some(rows.clone()),
                _ => None,
            };
            match (stored, elements(&leaf.tensor)) {
                (Some(rows), _) => {
                    counts.push(Some(rows.rows()));
                    found.push(Leaf::File(Reader::new(rows)));
                }
                (None, Some(tensor)) => {
                    counts.push(tensor.dims().first().copied());
                    found.push(Leaf::Memory(tensor));
                }
                (None, None) => return Err(bad(span, format!("the {what} is not in memory"))),
            }
        }
        let Some(&first) = counts.first() else {
            return Err(bad(
                span,
                format!(
                    "the {what} must be a tensor or a tuple of tensors, not {}",
                    data.describe()
                ),
            ));
        };
        let Some(len) = first else {
            return Err(bad(
                span,
                format!("the {what} is one number; it needs an axis of examples"),
            ));
        };
        if counts.iter().any(|count| *count != Some(len)) {
            let sizes: Vec<String> = counts
                .iter()
                .map(|count| count.map_or("none".into(), |count| count.to_string()))
                .collect();
            return Err(bad(
                span,
                format!(
                    "the parts of the {what} have different numbers of examples: {}",
                    sizes.join(" and ")
                ),
            ));
        }
        if len == 0 {
            return Err(bad(span, format!("the {what} has no examples")));
        }
        Ok(DataSet {
            leaves: found,
            len,
            span,
        })
    }

    /// Number of tensors.
    pub(crate) fn tensors(&self) -> usize {
        self.leaves.len()
    }

    /// How many batches of so many examples are asked for before they are filled in; none if all
    /// is in memory.
    pub(crate) fn ahead(&self, batch: usize) -> usize {
        let bytes = |leaf: &Leaf| match leaf {
            Leaf::Memory(_) => 0,
            Leaf::File(reader) => (batch * reader.rows.width() * reader.rows.elem().bytes()).max(1),
        };
        match self.leaves.iter().map(bytes).sum::<usize>() {
            0 => 0,
            bytes => (AHEAD_BYTES / bytes).clamp(1, AHEAD),
        }
    }

    /// Says that this batch will be wanted, after those that were asked for before.
    pub(crate) fn ask(&mut self, rows: &[usize]) {
        for leaf in &mut self.leaves {
            if let Leaf::File(reader) = leaf {
                reader.ask(rows);
            }
        }
    }

    /// Writes a batch's indices and rows into the inputs that start at `first`.
    pub(crate) fn fill(
        &mut self,
        rows: &[usize],
        instance: &mut Instance,
        first: usize,
    ) -> Result<()> {
        instance.set_ints(first, &[rows.len()], rows.iter().map(|&row| row as i64));
        for (at, leaf) in self.leaves.iter_mut().enumerate() {
            let place = first + 1 + at;
            match leaf {
                Leaf::Memory(tensor) => instance.set_rows(place, tensor, rows),
                Leaf::File(reader) => match reader.take(rows) {
                    Ok(batch) => instance.set_input(place, &batch),
                    Err(error) => {
                        let name = reader.rows.path().display().to_string();
                        return Err(cannot_read(&name, &error, self.span));
                    }
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aec_runtime::Elem;
    use aec_runtime::write::write_npy;

    #[test]
    fn data_must_agree_on_its_examples() {
        let x = Value::concrete(Tensor::zeros(Elem::F32, &[3, 2]));
        let y = Value::concrete(Tensor::zeros(Elem::I64, &[4]));
        let both = Value::tuple(vec![x.clone(), y]);
        let error = DataSet::of(&both, Span::NONE, "training data")
            .err()
            .unwrap();
        assert!(error.message.contains("3 and 4"), "{}", error.message);
        assert_eq!(DataSet::of(&x, Span::NONE, "training data").unwrap().len, 3);
        assert!(DataSet::of(&Value::str("x"), Span::NONE, "data").is_err());
    }

    #[test]
    fn batches_come_as_they_are_wanted_whatever_was_asked() {
        let path = std::env::temp_dir().join(format!("aec-feed-{}.npy", std::process::id()));
        let values: Vec<f32> = (0..20).map(|value| value as f32).collect();
        write_npy(&path, &Tensor::f32(&[10, 2], values)).unwrap();
        let mut reader = Reader::new(Arc::new(Stored::open(&path, Elem::F64).unwrap()));
        let batch = |rows: &[usize]| {
            let pairs = rows.iter().flat_map(|&row| [2 * row, 2 * row + 1]);
            Tensor::f64(&[rows.len(), 2], pairs.map(|value| value as f64).collect())
        };
        for rows in [[1, 2, 3], [9, 0, 4], [5, 5, 5]] {
            reader.ask(&rows);
        }
        assert_eq!(reader.take(&[1, 2, 3]).unwrap(), batch(&[1, 2, 3]));
        // One that was asked for is passed over, one that was not is read.
        assert_eq!(reader.take(&[5, 5, 5]).unwrap(), batch(&[5, 5, 5]));
        assert_eq!(reader.take(&[7, 8]).unwrap(), batch(&[7, 8]));
        std::fs::remove_file(&path).unwrap();
    }
}
