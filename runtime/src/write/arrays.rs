//! Tables of numbers as CSV, and tensors as NumPy's `.npy`.

use std::io::{self, Write};
use std::path::Path;

use super::{WriteError, write_atomic};
use crate::{Data, Elem, Tensor};

/// Rows of text as CSV: `head` first, if it has names; then each row of a `[rows, columns]`
/// tensor. A float is written with as many digits as tell it from its neighbours.
pub fn csv_text(head: &[String], table: &Tensor) -> String {
    let mut out = String::new();
    if !head.is_empty() {
        out.push_str(&head.join(","));
        out.push('\n');
    }
    let columns = table
        .dims()
        .get(1..)
        .map_or(1, |dims| dims.iter().product());
    let cell = |at: usize| match table.data() {
        Data::F32(values) => values[at].to_string(),
        Data::F64(values) => values[at].to_string(),
        Data::I32(_) | Data::I64(_) | Data::Bool(_) => table.get_i64(at).to_string(),
    };
    for row in 0..table.dims().first().copied().unwrap_or(1) {
        let cells: Vec<String> = (row * columns..(row + 1) * columns).map(cell).collect();
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out
}

/// Writes text, whole or not at all.
pub fn write_text(path: &Path, text: &str) -> Result<(), WriteError> {
    write_atomic(path, |out| out.write_all(text.as_bytes()))
}

/// Writes a tensor as NumPy's `.npy`, version 1.0, in C order.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), WriteError> {
    let header = npy_header(tensor.elem(), tensor.dims(), 64)
        .ok_or_else(|| WriteError::new(path, "the tensor has too many axes for this format"))?;
    write_atomic(path, |out| {
        out.write_all(&header)?;
        write_elements(out, tensor)
    })
}

/// What stands before the elements of an `.npy` file: a multiple of `unit` bytes, which is one of
/// 64 as the format wants it.
pub(super) fn npy_header(elem: Elem, dims: &[usize], unit: usize) -> Option<Vec<u8>> {
    let kind = match elem {
        Elem::F32 => "<f4",
        Elem::F64 => "<f8",
        Elem::I32 => "<i4",
        Elem::I64 => "<i8",
        Elem::Bool => "|b1",
    };
    let dims: String = dims.iter().map(|size| format!("{size}, ")).collect();
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({dims}), }}");
    // Magic, version and length are 10 bytes.
    let padding = (unit - (10 + text.len() + 1) % unit) % unit;
    text.push_str(&" ".repeat(padding));
    text.push('\n');
    let length = u16::try_from(text.len()).ok()?;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(length.to_le_bytes());
    header.extend(text.as_bytes());
    Some(header)
}

/// The elements as little-endian bytes.
pub(super) fn write_elements(out: &mut dyn Write, tensor: &Tensor) -> io::Result<()> {
    match tensor.data() {
        Data::F32(values) => values
            .iter()
            .try_for_each(|v| out.write_all(&v.to_le_bytes())),
        Data::F64(values) => values
            .iter()
            .try_for_each(|v| out.write_all(&v.to_le_bytes())),
        Data::I32(values) => values
            .iter()
            .try_for_each(|v| out.write_all(&v.to_le_bytes())),
        Data::I64(values) => values
            .iter()
            .try_for_each(|v| out.write_all(&v.to_le_bytes())),
        Data::Bool(values) => out.write_all(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read_npy;

    #[test]
    fn arrays_come_back() {
        let path = std::env::temp_dir().join(format!("aec-npy-{}.npy", std::process::id()));
        for tensor in [
            Tensor::f32(&[2, 3], vec![1.5, -2.0, 3e-9, 4.0, 5.0, f32::MAX]),
            Tensor::f64(&[1], vec![0.1]),
            Tensor::i64(&[2, 1, 2], vec![1, -2, 3, i64::MAX]),
        ] {
            write_npy(&path, &tensor).unwrap();
            assert_eq!(read_npy(&path).unwrap(), tensor);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn cells_have_the_digits_they_need() {
        let table = Tensor::f32(&[2, 2], vec![0.1, 1.0, -2.5, 1e-7]);
        let head = ["a".to_string(), "b".to_string()];
        assert_eq!(csv_text(&head, &table), "a,b\n0.1,1\n-2.5,0.0000001\n");
    }
}
