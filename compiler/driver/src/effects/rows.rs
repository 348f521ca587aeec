//! Rearranging examples: shuffles, batches and selections, on every leaf of a tuple or record.

use super::wrong;
use crate::exec::{elements, gather_rows};
use crate::session::Result;
use aec_runtime::{Elem, Tensor, shuffle};
use aec_syntax::{Diagnostic, Span};
use aec_types::value::Repr;
use aec_types::{Value, leaves, with_leaves};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// Number of examples: the first axis of every leaf.
fn count(xs: &Value, span: Span) -> Result<usize> {
    let stored = |leaf: &aec_types::Leaf| {
        let tensor = leaf.tensor.tensor();
        tensor.is_some_and(|tensor| matches!(tensor.repr, Repr::Stored(_)))
    };
    if leaves(xs).iter().any(stored) {
        let mut error = Diagnostic::error(
            "E0816",
            span,
            "these rows stay in their file, in their order: `train` and `eval` read them",
        );
        error = error.help("`train` shuffles by itself; `data.load` brings rows into memory");
        return Err(error.into());
    }
    let mut counts = leaves(xs)
        .into_iter()
        .map(|leaf| leaf.tensor.host().and_then(|t| t.dims().first().copied()));
    match counts.next().flatten() {
        Some(first) if counts.all(|other| other == Some(first)) => Ok(first),
        Some(_) => Err(wrong(
            span,
            "its parts have different numbers of examples".into(),
        )),
        None => Err(wrong(
            span,
            format!(
                "examples are wanted along a first axis, but this is {}",
                xs.describe()
            ),
        )),
    }
}

/// The given rows of every leaf.
fn take(xs: &Value, rows: &[usize]) -> Value {
    let picked: Vec<Value> = leaves(xs)
        .into_iter()
        .map(|leaf| match elements(&leaf.tensor) {
            Some(from) => {
                let mut dims = from.dims().to_vec();
                dims[0] = rows.len();
                let mut to = Tensor::zeros(from.elem(), &dims);
                gather_rows(&from, rows, &mut to);
                Value::shared(Arc::new(to))
            }
            None => leaf.tensor,
        })
        .collect();
    with_leaves(xs, &mut picked.into_iter(), false)
}

/// The rows in an order drawn with the seed.
pub fn shuffled(xs: &Value, seed: Option<&Value>, span: Span) -> Result<Value> {
    let seed = seed.and_then(Value::as_int).unwrap_or(0);
    Ok(take(
        xs,
        &shuffle::permutation(count(xs, span)?, seed as u64, 0),
    ))
}

/// Blocks of `size` rows in order; the last may be smaller.
pub fn batches(xs: &Value, size: &Value, span: Span) -> Result<Value> {
    let size = match size.as_int() {
        Some(size) if size > 0 => size as usize,
        Some(size) => {
            return Err(wrong(
                span,
                format!("a batch of {size} examples makes no sense"),
            ));
        }
        None => {
            return Err(wrong(
                span,
                format!("the size of a batch is an int, not {}", size.describe()),
            ));
        }
    };
    let rows: Vec<usize> = (0..count(xs, span)?).collect();
    Ok(Value::List(Rc::new(
        rows.chunks(size).map(|rows| take(xs, rows)).collect(),
    )))
}

/// The rows whose flag holds.
pub fn filtered(xs: &Value, keep: &Value, span: Span) -> Result<Value> {
    let rows = count(xs, span)?;
    let flags = match keep.host() {
        Some(flags) if flags.elem() == Elem::Bool && flags.dims() == [rows] => flags,
        _ => {
            return Err(wrong(
                span,
                format!(
                    "`keep` wants a bool for each of the {rows} examples, but this is {}",
                    keep.describe()
                ),
            ));
        }
    };
    let kept: Vec<usize> = (0..rows).filter(|&row| flags.get_f64(row) != 0.0).collect();
    Ok(take(xs, &kept))
}

/// The different ints of a vector, rising.
pub fn unique(x: &Value, span: Span) -> Result<Value> {
    let known = elements(x).filter(|x| x.elem().is_int());
    let Some(values) = known else {
        return Err(wrong(
            span,
            format!("`unique` wants ints, but this is {}", x.describe()),
        ));
    };
    let all: BTreeSet<i64> = (0..values.len()).map(|at| values.get_i64(at)).collect();
    Ok(match x {
        Value::Token(_) => Value::tokens(all.into_iter().collect()),
        _ => Value::concrete(Tensor::i64(&[all.len()], all.into_iter().collect())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_the_parts_together() {
        let x = Value::concrete(Tensor::f32(&[3, 2], vec![1., 2., 3., 4., 5., 6.]));
        let y = Value::concrete(Tensor::i64(&[3], vec![7, 8, 9]));
        let both = Value::tuple(vec![x, y]);
        let Value::List(parts) = batches(&both, &Value::int(2), Span::NONE).unwrap() else {
            panic!("no list")
        };
        assert_eq!(parts.len(), 2);
        let Value::Tuple(last) = &parts[1] else {
            panic!("no tuple")
        };
        assert_eq!(
            **last[0].host().unwrap(),
            Tensor::f32(&[1, 2], vec![5., 6.])
        );
        assert_eq!(**last[1].host().unwrap(), Tensor::i64(&[1], vec![9]));
        assert!(batches(&both, &Value::int(0), Span::NONE).is_err());
    }

    #[test]
    fn a_shuffle_depends_on_its_seed_alone() {
        let x = Value::concrete(Tensor::i64(&[20], (0..20).collect()));
        let one = |seed| {
            shuffled(&x, Some(&Value::int(seed)), Span::NONE)
                .unwrap()
                .host()
                .unwrap()
                .to_f64_vec()
        };
        assert_eq!(one(1), one(1));
        assert_ne!(one(1), one(2));
    }
}
