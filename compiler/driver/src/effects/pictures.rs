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
/// of them, or one set (`[n, d]` or `[n, h, w]`). A vector is a square, or has rows of `width`.
pub fn grid(pictures: &Value, path: &str, width: &Value, span: Span) -> Result<Value> {
    if !path.to_lowercase().ends_with(".png") {
        let message = format!("pictures are written as PNG, but `{path}` does not end in .png");
        return Err(wrong(span, message));
    }
    let width = match width.as_int() {
        Some(width @ 0..) => width as usize,
        _ => return Err(wrong(span, "`width` is a number of pixels".into())),
    };
    let rows = match pictures {
        Value::List(sets) | Value::Tuple(sets) => sets
            .iter()
            .map(|set| row(known(set, span)?, width, span))
            .collect::<Result<Vec<_>>>()?,
        Value::Tensor(_) => of_tensor(known(pictures, span)?, width, span)?,
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

/// A set of pictures; vectors have rows of `width`, if it is not 0.
fn row(set: &Tensor, width: usize, span: Span) -> Result<Vec<Image>> {
    let set = match *set.dims() {
        [count, size] if width > 0 => {
            if size % width != 0 {
                return Err(wrong(
                    span,
                    format!("pictures of {size} pixels do not have rows of {width}"),
                ));
            }
            &Tensor::new(vec![count, size / width, width], set.data().clone())
        }
        _ => set,
    };
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

/// Rows of a tensor: `[rows, n, d]` is stacked sets if `width` says how vectors are read, or if d
/// is a square number and `[n, h, w]` is not the better reading; else it is one set in rows of a
/// pleasant length.
fn of_tensor(tensor: &Tensor, width: usize, span: Span) -> Result<Vec<Vec<Image>>> {
    let stacked = match *tensor.dims() {
        [_, _, _] if width > 0 => true,
        [_, h, w] => h != w && is_square(w),
        // `[n, h, w, 1]` and `[n, h, w, 3]` are pictures with channels.
        [_, _, _, channels] => !matches!(channels, 1 | 3),
        [_, _, _, _, _] => true,
        _ => false,
    };
    if stacked {
        let (count, dims) = (tensor.dims()[0], &tensor.dims()[1..]);
        let size: usize = dims.iter().product();
        return (0..count)
            .map(|at| {
                let values = (at * size..(at + 1) * size).map(|i| tensor.get_f64(i));
                row(&Tensor::from_f64(tensor.elem(), dims, values), width, span)
            })
            .collect();
    }
    let images = row(tensor, width, span)?;
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
        wide(dims, 0)
    }

    fn wide(dims: &[usize], width: usize) -> Vec<usize> {
        of_tensor(&Tensor::zeros(Elem::F32, dims), width, Span::NONE)
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
        assert_eq!(shape(&[4, 8, 8, 3]), [2, 2]);
        assert_eq!(shape(&[1, 1, 8, 8, 3]), [1]);
        assert!(of_tensor(&Tensor::zeros(Elem::F32, &[]), 0, Span::NONE).is_err());
        // 64 by 64 alone could be pictures; with a width they are rows of vectors.
        assert_eq!(shape(&[2, 64, 64]), [2]);
        assert_eq!(wide(&[2, 64, 64], 8), [64, 64]);
        assert!(of_tensor(&Tensor::zeros(Elem::F32, &[4, 10]), 3, Span::NONE).is_err());
    }
}
