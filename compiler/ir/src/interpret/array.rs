//! Values of the interpreter: three kinds of elements, whatever the types in TIR.

use super::Precision;
use crate::function::Type;
use crate::op::Literal;
use aec_runtime::{Data, Elem, Tensor};

/// Elements. `f32` and `f64` are `Float`, `i32` and `i64` are `Int`.
#[derive(Clone, Debug)]
pub(super) enum Items {
    Float(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
}

/// A dense row-major array.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) dims: Vec<usize>,
    pub(super) items: Items,
}

/// Applies `$body` to the elements, whatever their kind, and wraps what it gives.
macro_rules! same_kind {
    ($items:expr, $v:ident => $body:expr) => {
        match $items {
            Items::Float($v) => Items::Float($body),
            Items::Int($v) => Items::Int($body),
            Items::Bool($v) => Items::Bool($body),
        }
    };
}

impl Array {
    pub(super) fn from_tensor(tensor: &Tensor) -> Array {
        let items = match tensor.data() {
            Data::F32(v) => Items::Float(v.iter().map(|&x| f64::from(x)).collect()),
            Data::F64(v) => Items::Float(v.clone()),
            Data::I32(v) => Items::Int(v.iter().map(|&x| i64::from(x)).collect()),
            Data::I64(v) => Items::Int(v.clone()),
            Data::Bool(v) => Items::Bool(v.iter().map(|&x| x != 0).collect()),
        };
        Array {
            dims: tensor.dims().to_vec(),
            items,
        }
    }

    pub(super) fn to_tensor(&self, elem: Elem) -> Tensor {
        let data = match elem {
            Elem::F32 => Data::F32(self.floats().iter().map(|&x| x as f32).collect()),
            Elem::F64 => Data::F64(self.floats().to_vec()),
            Elem::I32 => Data::I32(self.ints().iter().map(|&x| x as i32).collect()),
            Elem::I64 => Data::I64(self.ints().to_vec()),
            Elem::Bool => Data::Bool(self.bools().iter().map(|&x| u8::from(x)).collect()),
        };
        Tensor::new(self.dims.clone(), data)
    }

    pub(super) fn constant(literal: Literal, ty: &Type) -> Array {
        let count = ty.len();
        let items = match literal {
            Literal::Float(value) => Items::Float(vec![value; count]),
            Literal::Int(value) => Items::Int(vec![value; count]),
            Literal::Bool(value) => Items::Bool(vec![value; count]),
        };
        Array {
            dims: ty.dims.to_vec(),
            items,
        }
    }

    /// An int scalar.
    pub(super) fn index(index: usize) -> Array {
        Array {
            dims: Vec::new(),
            items: Items::Int(vec![index as i64]),
        }
    }

    /// Rounds to the element type, unless floats are kept wide.
    pub(super) fn settle(mut self, elem: Elem, precision: Precision) -> Array {
        match (&mut self.items, elem) {
            (Items::Float(v), Elem::F32) if precision == Precision::AsTyped => {
                v.iter_mut().for_each(|x| *x = f64::from(*x as f32));
            }
            (Items::Int(v), Elem::I32) => {
                v.iter_mut().for_each(|x| *x = i64::from(*x as i32));
            }
            _ => {}
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        match &self.items {
            Items::Float(v) => v.len(),
            Items::Int(v) => v.len(),
            Items::Bool(v) => v.len(),
        }
    }

    /// The elements as floats; the verifier has seen that they are.
    pub(super) fn floats(&self) -> &[f64] {
        match &self.items {
            Items::Float(v) => v,
            Items::Int(_) | Items::Bool(_) => unreachable!("the verifier saw floats"),
        }
    }

    /// The elements as ints; the verifier has seen that they are.
    pub(super) fn ints(&self) -> &[i64] {
        match &self.items {
            Items::Int(v) => v,
            Items::Float(_) | Items::Bool(_) => unreachable!("the verifier saw ints"),
        }
    }

    /// The elements as bools; the verifier has seen that they are.
    pub(super) fn bools(&self) -> &[bool] {
        match &self.items {
            Items::Bool(v) => v,
            Items::Float(_) | Items::Int(_) => unreachable!("the verifier saw bools"),
        }
    }

    /// What stands at `index` of the leading axis.
    pub(super) fn row(&self, index: usize) -> Array {
        let dims = self.dims[1..].to_vec();
        let count: usize = dims.iter().product();
        let range = index * count..(index + 1) * count;
        Array {
            dims,
            items: same_kind!(&self.items, v => v[range].to_vec()),
        }
    }

    /// Arrays in a row along a new leading axis; `ty` is the result's.
    pub(super) fn stack<'a>(ty: &Type, parts: impl Iterator<Item = &'a Array>) -> Array {
        let mut items = match ty.elem {
            Elem::F32 | Elem::F64 => Items::Float(Vec::with_capacity(ty.len())),
            Elem::I32 | Elem::I64 => Items::Int(Vec::with_capacity(ty.len())),
            Elem::Bool => Items::Bool(Vec::with_capacity(ty.len())),
        };
        for part in parts {
            match &mut items {
                Items::Float(v) => v.extend_from_slice(part.floats()),
                Items::Int(v) => v.extend_from_slice(part.ints()),
                Items::Bool(v) => v.extend_from_slice(part.bools()),
            }
        }
        Array {
            dims: ty.dims.to_vec(),
            items,
        }
    }

    /// The elements at `places`, under new dims.
    pub(super) fn pick(&self, dims: &[usize], places: &[usize]) -> Array {
        Array {
            dims: dims.to_vec(),
            items: same_kind!(&self.items, v => places.iter().map(|&at| v[at]).collect()),
        }
    }
}

/// Row-major strides, in elements.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Calls `visit` with each index in row-major order.
pub(super) fn each_index(dims: &[usize], mut visit: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    loop {
        visit(&index);
        let mut axis = dims.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// The sum of index times stride.
pub(super) fn offset(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}
