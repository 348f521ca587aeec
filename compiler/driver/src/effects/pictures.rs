//! `plot.grid`: rows of square pictures in one PNG.

use super::{cannot_write, wrong};
use crate::session::Result;
use aec_runtime::Tensor;
use aec_runtime::write::{Image, write_grid};
use aec_syntax::Span;
use aec_types::Value;
use std::path::Path;

/// Most pictures in a row when one set is given and the rows are ours to choose.
const LONGEST_ROW: usize = 32;

/// Writes the picture. `pictures` is a list of sets, one for each row, one tensor `[rows, n, d]`
/// of them, or one set (`[n, d]` or `[n, h, w]`).
pub fn grid(pictures: &Value, path: &str, span: Span) -> Result<Value> {
    let rows = match pictures {
        Value::List(sets) | Value::Tuple(sets) => sets
            .iter()
            .map(|set| row(known(set, span)?, span))
            .collect::<Result<Vec<_>>>()?,
        Value::Tensor(_) => of_tensor(known(pictures, span)?, span)?,
        other => {
            return Err(wrong(
                span,
                format!("`grid` wants tensors of pictures, not {}", other.describe()),
            ));
        }
    };
    write_grid(Path::new(path), &rows, 0).map_err(|error| cannot_write(path, &error, span))?;
    Ok(Value::Unit)
}

fn known(value: &Value, span: Span) -> Result<&Tensor> {
    value.host().map(|tensor| &**tensor).ok_or_else(|| {
        wrong(
            span,
            format!("`grid` wants tensors of pictures, not {}", value.describe()),
        )
    })
}

fn row(set: &Tensor, span: Span) -> Result<Vec<Image>> {
    Image::row(set).ok_or_else(|| {
        wrong(
            span,
            format!(
                "a set of pictures is [n, d] or [n, h, w], but this one has the sizes {:?}",
                set.dims()
            ),
        )
    })
}

fn is_square(size: usize) -> bool {
    let side = size.isqrt();
    side * side == size
}

/// Rows of a tensor: `[rows, n, d]` stacked sets if d is a square number and `[n, h, w]` is not
/// the better reading, else one set in rows of a pleasant length.
fn of_tensor(tensor: &Tensor, span: Span) -> Result<Vec<Vec<Image>>> {
    let stacked = match *tensor.dims() {
        [_, h, w] => h != w && is_square(w),
        [_, _, _, _] => true,
        _ => false,
    };
    if stacked {
        let (count, dims) = (tensor.dims()[0], &tensor.dims()[1..]);
        let size: usize = dims.iter().product();
        return (0..count)
            .map(|at| {
                let values = (at * size..(at + 1) * size).map(|i| tensor.get_f64(i));
                row(&Tensor::from_f64(tensor.elem(), dims, values), span)
            })
            .collect();
    }
    let images = row(tensor, span)?;
    let length = (images.len() as f64)
        .sqrt()
        .ceil()
        .clamp(1.0, LONGEST_ROW as f64) as usize;
    let mut rows: Vec<Vec<Image>> = Vec::new();
    for image in images {
        match rows.last_mut() {
            Some(last) if last.len() < length => last.push(image),
            _ => rows.push(vec![image]),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aec_runtime::Elem;

    fn shape(dims: &[usize]) -> Vec<usize> {
        of_tensor(&Tensor::zeros(Elem::F32, dims), Span::NONE)
            .unwrap()
            .iter()
            .map(Vec::len)
            .collect()
    }

    #[test]
    fn sets_become_rows() {
        assert_eq!(shape(&[64, 784]), [8; 8]);
        assert_eq!(shape(&[10, 28, 28]), [4, 4, 2]);
        assert_eq!(shape(&[2, 10, 64]), [10, 10]);
        assert_eq!(shape(&[2, 5, 8, 8]), [5, 5]);
        assert!(of_tensor(&Tensor::zeros(Elem::F32, &[]), Span::NONE).is_err());
    }
}
