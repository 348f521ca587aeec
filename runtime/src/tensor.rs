//! Dense row-major tensors on the host: what scripts hold, what plans read and write.

use std::fmt;
use std::sync::OnceLock;

/// The element types of the language.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Elem {
    /// 32-bit float, the default `real`.
    F32,
    /// 64-bit float.
    F64,
    /// 32-bit int.
    I32,
    /// 64-bit int, the default `int`.
    I64,
    /// One byte, 0 or 1.
    Bool,
}

impl Elem {
    /// Size of one element in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Elem::F32 | Elem::I32 => 4,
            Elem::F64 | Elem::I64 => 8,
            Elem::Bool => 1,
        }
    }

    /// Whether it is a float.
    pub const fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F64)
    }

    /// Whether it is an integer.
    pub const fn is_int(self) -> bool {
        matches!(self, Elem::I32 | Elem::I64)
    }

    /// The name in scripts and in TIR.
    pub const fn name(self) -> &'static str {
        match self {
            Elem::F32 => "f32",
            Elem::F64 => "f64",
            Elem::I32 => "i32",
            Elem::I64 => "i64",
            Elem::Bool => "bool",
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The elements of a tensor, by type.
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// f32 elements.
    F32(Vec<f32>),
    /// f64 elements.
    F64(Vec<f64>),
    /// i32 elements.
    I32(Vec<i32>),
    /// i64 elements.
    I64(Vec<i64>),
    /// Booleans as bytes, each 0 or 1.
    Bool(Vec<u8>),
}

impl Data {
    fn zeros(elem: Elem, count: usize) -> Data {
        match elem {
            Elem::F32 => Data::F32(vec![0.0; count]),
            Elem::F64 => Data::F64(vec![0.0; count]),
            Elem::I32 => Data::I32(vec![0; count]),
            Elem::I64 => Data::I64(vec![0; count]),
            Elem::Bool => Data::Bool(vec![0; count]),
        }
    }

    fn elem(&self) -> Elem {
        match self {
            Data::F32(_) => Elem::F32,
            Data::F64(_) => Elem::F64,
            Data::I32(_) => Elem::I32,
            Data::I64(_) => Elem::I64,
            Data::Bool(_) => Elem::Bool,
        }
    }

    fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// Puts elements behind these.
    ///
    /// # Panics
    /// If they are of another type.
    pub(crate) fn append(&mut self, more: Data) {
        match (self, more) {
            (Data::F32(all), Data::F32(more)) => all.extend(more),
            (Data::F64(all), Data::F64(more)) => all.extend(more),
            (Data::I32(all), Data::I32(more)) => all.extend(more),
            (Data::I64(all), Data::I64(more)) => all.extend(more),
            (Data::Bool(all), Data::Bool(more)) => all.extend(more),
            _ => panic!("elements of different types in one tensor"),
        }
    }
}

/// A dense row-major tensor. `dims` is empty for a scalar, which has one element.
#[derive(Clone, Debug)]
pub struct Tensor {
    elem: Elem,
    dims: Vec<usize>,
    /// Not there of zeros that nobody has looked at: the first state of an optimizer, twice as
    /// large as the weights, takes no memory.
    data: OnceLock<Data>,
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.dims == other.dims && self.data() == other.data()
    }
}

impl Tensor {
    /// A tensor of `data`; the number of elements must be the product of `dims`.
    pub fn new(dims: Vec<usize>, data: Data) -> Tensor {
        let wanted: usize = dims.iter().product();
        assert_eq!(data.len(), wanted, "element count does not fit {dims:?}");
        Tensor {
            elem: data.elem(),
            dims,
            data: OnceLock::from(data),
        }
    }

    /// A tensor of zeros.
    pub fn zeros(elem: Elem, dims: &[usize]) -> Tensor {
        Tensor {
            elem,
            dims: dims.to_vec(),
            data: OnceLock::new(),
        }
    }

    /// Whether it was made of zeros and nobody has looked at them since.
    pub fn is_untouched_zeros(&self) -> bool {
        self.data.get().is_none()
    }

    /// An f32 tensor.
    pub fn f32(dims: &[usize], data: Vec<f32>) -> Tensor {
        Tensor::new(dims.to_vec(), Data::F32(data))
    }

    /// An f64 tensor.
    pub fn f64(dims: &[usize], data: Vec<f64>) -> Tensor {
        Tensor::new(dims.to_vec(), Data::F64(data))
    }

    /// An i64 tensor.
    pub fn i64(dims: &[usize], data: Vec<i64>) -> Tensor {
        Tensor::new(dims.to_vec(), Data::I64(data))
    }

    /// A tensor of `elem` whose elements are `values` converted (floats truncate towards zero
    /// when an int is wanted; a non-zero value is `true`).
    pub fn from_f64(elem: Elem, dims: &[usize], values: impl IntoIterator<Item = f64>) -> Tensor {
        let values = values.into_iter();
        let data = match elem {
            Elem::F32 => Data::F32(values.map(|v| v as f32).collect()),
            Elem::F64 => Data::F64(values.collect()),
            Elem::I32 => Data::I32(values.map(|v| v as i32).collect()),
            Elem::I64 => Data::I64(values.map(|v| v as i64).collect()),
            Elem::Bool => Data::Bool(values.map(|v| u8::from(v != 0.0)).collect()),
        };
        Tensor::new(dims.to_vec(), data)
    }

    /// Element type.
    pub fn elem(&self) -> Elem {
        self.elem
    }

    /// Shape, outermost axis first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        self.data.get_or_init(|| Data::zeros(self.elem, self.len()))
    }

    /// The elements, to change in place.
    pub fn data_mut(&mut self) -> &mut Data {
        self.data();
        self.data.get_mut().expect("somebody has just looked")
    }

    /// The same elements under another shape of the same size.
    pub fn reshaped(self, dims: &[usize]) -> Tensor {
        let count: usize = dims.iter().product();
        assert_eq!(self.len(), count, "element count does not fit {dims:?}");
        Tensor {
            dims: dims.to_vec(),
            ..self
        }
    }

    /// One element as f64 (bool as 0 or 1; i64 beyond 2^53 rounds).
    pub fn get_f64(&self, at: usize) -> f64 {
        match self.data() {
            Data::F32(v) => f64::from(v[at]),
            Data::F64(v) => v[at],
            Data::I32(v) => f64::from(v[at]),
            Data::I64(v) => v[at] as f64,
            Data::Bool(v) => f64::from(v[at]),
        }
    }

    /// One element as i64 (floats truncate).
    pub fn get_i64(&self, at: usize) -> i64 {
        match self.data() {
            Data::F32(v) => v[at] as i64,
            Data::F64(v) => v[at] as i64,
            Data::I32(v) => i64::from(v[at]),
            Data::I64(v) => v[at],
            Data::Bool(v) => i64::from(v[at]),
        }
    }

    /// All elements as f64.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        (0..self.len()).map(|at| self.get_f64(at)).collect()
    }

    /// The f32 elements, if that is what they are.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match self.data() {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// Start of the elements in memory, for plans.
    pub fn as_ptr(&self) -> *const u8 {
        match self.data() {
            Data::F32(v) => v.as_ptr().cast(),
            Data::F64(v) => v.as_ptr().cast(),
            Data::I32(v) => v.as_ptr().cast(),
            Data::I64(v) => v.as_ptr().cast(),
            Data::Bool(v) => v.as_ptr(),
        }
    }

    /// Start of the elements in memory, to be written.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        match self.data_mut() {
            Data::F32(v) => v.as_mut_ptr().cast(),
            Data::F64(v) => v.as_mut_ptr().cast(),
            Data::I32(v) => v.as_mut_ptr().cast(),
            Data::I64(v) => v.as_mut_ptr().cast(),
            Data::Bool(v) => v.as_mut_ptr(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_untouched_until_somebody_looks() {
        let zeros = Tensor::zeros(Elem::F64, &[2, 3]);
        assert!(zeros.is_untouched_zeros());
        let turned = zeros.clone().reshaped(&[6]);
        assert!(turned.is_untouched_zeros());
        assert_eq!(
            (turned.elem(), turned.dims(), turned.len()),
            (Elem::F64, &[6][..], 6)
        );
        let written_out = Tensor::f64(&[2, 3], vec![0.0; 6]);
        assert!(!written_out.is_untouched_zeros());
        assert_eq!(zeros, written_out);
        assert!(!zeros.is_untouched_zeros());
        let mut written = Tensor::zeros(Elem::I64, &[2]);
        let Data::I64(elements) = written.data_mut() else {
            panic!("of another type: {written:?}");
        };
        elements[1] = 5;
        assert!(!written.is_untouched_zeros());
        assert_eq!(written, Tensor::i64(&[2], vec![0, 5]));
    }
}
