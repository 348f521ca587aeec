//! Named tensors in safetensors files.
//!
//! Reading goes through the `safetensors` crate. Writing does not: the crate takes the metadata as
//! a `HashMap`, so that equal weights would give files that differ from run to run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::{WriteError, write_atomic};
use crate::read::{ReadError, read_whole};
use crate::{Data, Elem, Tensor};

/// The content of a weights file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Weights {
    /// Tensors by name, in the order of names.
    pub tensors: Vec<(String, Tensor)>,
    /// Free text by name.
    pub metadata: BTreeMap<String, String>,
}

impl Weights {
    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, tensor)| tensor)
    }
}

/// Writes tensors and metadata; the same content gives the same bytes.
pub fn save_weights(
    path: &Path,
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), WriteError> {
    // Widest elements first, so that all are aligned; then by name.
    let mut order: Vec<&(&str, &Tensor)> = tensors.iter().collect();
    order.sort_by_key(|(name, tensor)| (std::cmp::Reverse(tensor.elem().bytes()), *name));
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(WriteError::new(
            path,
            format!("two tensors are called {}", twice[0]),
        ));
    }
    if names.contains(&"__metadata__") {
        return Err(WriteError::new(
            path,
            "no tensor can be called __metadata__ in a safetensors file",
        ));
    }
    let header = header(&order, metadata);
    write_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for (_, tensor) in &order {
            match tensor.data() {
                Data::F32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?,
                Data::F64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?,
                Data::I32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?,
                Data::I64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?,
                Data::Bool(v) => out.write_all(v)?,
            }
        }
        Ok(())
    })
}

/// The JSON header, padded with spaces to a multiple of 8.
fn header(order: &[&(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> String {
    let mut text = String::from("{");
    if !metadata.is_empty() {
        text.push_str("\"__metadata__\":{");
        for (at, (name, value)) in metadata.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "," });
            quote(&mut text, name);
            text.push(':');
            quote(&mut text, value);
        }
        text.push('}');
    }
    let mut offset = 0;
    for (name, tensor) in order {
        text.push_str(if text.len() == 1 { "" } else { "," });
        quote(&mut text, name);
        let dtype = match tensor.elem() {
            Elem::F32 => "F32",
            Elem::F64 => "F64",
            Elem::I32 => "I32",
            Elem::I64 => "I64",
            Elem::Bool => "BOOL",
        };
        let dims = tensor
            .dims()
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let end = offset + tensor.len() * tensor.elem().bytes();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            ":{{\"dtype\":\"{dtype}\",\"shape\":[{dims}],\"data_offsets\":[{offset},{end}]}}"
        );
        offset = end;
    }
    text.push('}');
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    text
}

/// Appends a JSON string.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            c if c < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04x}", c as u32);
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Reads a weights file. f16 and bf16 become f32, ints of 8 and 16 bits i32, u32 i64.
pub fn load_weights(path: &Path) -> Result<Weights, ReadError> {
    let bytes = read_whole(path)?;
    let broken = |error: safetensors::SafeTensorError| {
        ReadError::new(
            path,
            format!("is no safetensors file, or a damaged one ({error})"),
        )
    };
    let (_, info) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut weights = Weights::default();
    if let Some(metadata) = info.metadata() {
        weights.metadata = metadata
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
    }
    for (name, view) in file.iter() {
        let Some(data) = elements(view.dtype(), view.data()) else {
            return Err(ReadError::new(
                path,
                format!("tensor {name} has elements of type {}", view.dtype()),
            )
            .help("f64, f32, f16, bf16, ints and bools can be read"));
        };
        weights
            .tensors
            .push((name.to_string(), Tensor::new(view.shape().to_vec(), data)));
    }
    weights.tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(weights)
}

fn elements(dtype: Dtype, bytes: &[u8]) -> Option<Data> {
    let (twos, fours, eights) = (
        bytes.as_chunks::<2>().0,
        bytes.as_chunks::<4>().0,
        bytes.as_chunks::<8>().0,
    );
    Some(match dtype {
        Dtype::F32 => Data::F32(fours.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F64 => Data::F64(eights.iter().map(|b| f64::from_le_bytes(*b)).collect()),
        Dtype::F16 => Data::F32(
            twos.iter()
                .map(|b| half_to_f32(u16::from_le_bytes(*b)))
                .collect(),
        ),
        Dtype::BF16 => Data::F32(
            twos.iter()
                .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16))
                .collect(),
        ),
        Dtype::I64 => Data::I64(eights.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        Dtype::I32 => Data::I32(fours.iter().map(|b| i32::from_le_bytes(*b)).collect()),
        Dtype::U32 => Data::I64(
            fours
                .iter()
                .map(|b| i64::from(u32::from_le_bytes(*b)))
                .collect(),
        ),
        Dtype::I16 => Data::I32(
            twos.iter()
                .map(|b| i32::from(i16::from_le_bytes(*b)))
                .collect(),
        ),
        Dtype::U16 => Data::I32(
            twos.iter()
                .map(|b| i32::from(u16::from_le_bytes(*b)))
                .collect(),
        ),
        Dtype::I8 => Data::I32(bytes.iter().map(|&b| i32::from(b as i8)).collect()),
        Dtype::U8 => Data::I32(bytes.iter().map(|&b| i32::from(b)).collect()),
        Dtype::BOOL => Data::Bool(bytes.iter().map(|&b| u8::from(b != 0)).collect()),
        // `Dtype` is open: complex, 8-bit and narrower floats, u64.
        _ => return None,
    })
}

/// An IEEE half as f32, exactly.
pub(crate) fn half_to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let (exponent, mantissa) = (u32::from(half >> 10) & 31, u32::from(half) & 1023);
    match exponent {
        0 => {
            let size = mantissa as f32 * (1.0 / 16_777_216.0);
            f32::from_bits(sign | size.to_bits())
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}
