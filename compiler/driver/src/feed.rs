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
use aec_types::{BatchSize, Value, leaves};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Most batches that are read ahead.
const AHEAD: usize = 8;

/// Most bytes of batches that are read ahead, unless one alone has more.
const AHEAD_BYTES: usize = 16 << 20;

/// A short last batch is filled up if it lacks at most one in so many of the examples of a pass:
/// the copies are computed in each pass, a step of its own size is compiled once.
const FILLED: usize = 32;

/// How so many examples are taken in batches: whether the last one, if it is short, is filled up or
/// has a step of its own size. It follows from the two numbers alone, as the last bits of what is
/// computed do.
pub(crate) fn batch_size(examples: usize, batch: usize) -> BatchSize {
    let missing = examples.next_multiple_of(batch.max(1)) - examples;
    BatchSize {
        room: batch,
        may_be_short: missing > 0 && missing * FILLED <= examples,
    }
}

/// The examples of a step, by their places in the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// As many as the step has room for: the first is repeated behind the last.
    rows: Vec<usize>,
    /// How many of them count.
    pub(crate) examples: usize,
    /// Whether the step is told the share of each.
    shared: bool,
}

impl Batch {
    /// Examples, filled up if the step wants it.
    pub(crate) fn of(rows: &[usize], size: BatchSize) -> Batch {
        let mut filled = rows.to_vec();
        if size.may_be_short
            && let Some(&first) = rows.first()
        {
            filled.resize(size.room, first);
        }
        Batch {
            rows: filled,
            examples: rows.len(),
            shared: size.may_be_short,
        }
    }

    /// The number of each example in its data set.
    pub(crate) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The size of the step that runs it.
    pub(crate) fn size(&self) -> BatchSize {
        BatchSize {
            room: self.rows.len(),
            may_be_short: self.shared,
        }
    }
}

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

    /// The first of these examples that has a number which is not finite.
    pub(crate) fn not_finite(&self, rows: &[usize]) -> Option<usize> {
        let bad = |tensor: &Tensor, row: usize| {
            let width = tensor.len() / tensor.dims()[0].max(1);
            (row * width..(row + 1) * width).any(|at| !tensor.get_f64(at).is_finite())
        };
        let first = |leaf: &Leaf| match leaf {
            Leaf::Memory(tensor) => rows.iter().copied().find(|&row| bad(tensor, row)),
            Leaf::File(reader) => {
                let read = reader.rows.read(rows).ok()?;
                let at = (0..rows.len()).find(|&at| bad(&read, at))?;
                Some(rows[at])
            }
        };
        self.leaves.iter().filter_map(first).min()
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
    pub(crate) fn ask(&mut self, batch: &Batch) {
        for leaf in &mut self.leaves {
            if let Leaf::File(reader) = leaf {
                reader.ask(&batch.rows);
            }
        }
    }

    /// Writes a batch's indices, shares and rows into the inputs that start at `first`; gives the
    /// place after them.
    pub(crate) fn fill(
        &mut self,
        batch: &Batch,
        instance: &mut Instance,
        first: usize,
    ) -> Result<usize> {
        let (rows, mut next) = (&batch.rows, first);
        let mut place = || {
            next += 1;
            next - 1
        };
        instance.set_ints(place(), &[rows.len()], rows.iter().map(|&row| row as i64));
        if batch.shared {
            let share = 1.0 / batch.examples as f64;
            let shares = (0..rows.len()).map(|at| if at < batch.examples { share } else { 0.0 });
            instance.set_reals(place(), &[rows.len()], shares);
        }
        for leaf in &mut self.leaves {
            let at = place();
            match leaf {
                Leaf::Memory(tensor) => instance.set_rows(at, tensor, rows),
                Leaf::File(reader) => match reader.take(rows) {
                    Ok(batch) => instance.set_input(at, &batch),
                    Err(error) => {
                        let name = reader.rows.path().display().to_string();
                        return Err(cannot_read(&name, &error, self.span));
                    }
                },
            }
        }
        Ok(next)
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
