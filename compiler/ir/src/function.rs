//! TIR functions: typed SSA in A-normal form, objects as ids into arenas.

use crate::op::{Contract, Factor, Label, Labels, Literal, Op, Unary};
use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::{PrimaryMap, entity_impl};
use smallvec::SmallVec;

/// A value: a param or a result of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(u32);
entity_impl!(Value, "%");

/// An instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inst(u32);
entity_impl!(Inst, "inst");

/// Type of a value: element type and concrete dims.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Type {
    /// Element type.
    pub elem: Elem,
    /// Dims, outermost first; empty for a scalar.
    pub dims: SmallVec<[usize; 4]>,
}

impl Type {
    /// A tensor type.
    pub fn new(elem: Elem, dims: &[usize]) -> Type {
        Type {
            elem,
            dims: SmallVec::from_slice(dims),
        }
    }

    /// A scalar type.
    pub fn scalar(elem: Elem) -> Type {
        Type {
            elem,
            dims: SmallVec::new(),
        }
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

    /// The same element type with other dims.
    pub fn with_dims(&self, dims: &[usize]) -> Type {
        Type::new(self.elem, dims)
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Def {
    /// The n-th param.
    Param(u32),
    /// The n-th result of an instruction.
    Result(Inst, u32),
}

/// What is known of a value.
#[derive(Clone, PartialEq, Debug)]
pub struct ValueData {
    /// Its type.
    pub ty: Type,
    /// Its definition.
    pub def: Def,
}

/// One instruction.
#[derive(Clone, PartialEq, Debug)]
pub struct InstData {
    /// The operation.
    pub op: Op,
    /// What it takes.
    pub operands: SmallVec<[Value; 4]>,
    /// What it gives; one for all ops but `Map` and `Derivative`.
    pub results: SmallVec<[Value; 1]>,
    /// The script text that it stands for.
    pub span: Span,
}

/// A value that must be finite before any aliased output is written (a training loss).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// A float scalar.
    pub value: Value,
    /// The script text to blame.
    pub span: Span,
}

/// A closed function: it refers to nothing but its params.
/// Instructions stand in `order`; each operand is defined before it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Function {
    /// A name for dumps.
    pub name: String,
    /// All values.
    pub values: PrimaryMap<Value, ValueData>,
    /// All instructions, in no particular order.
    pub insts: PrimaryMap<Inst, InstData>,
    /// The instructions in order of evaluation.
    pub order: Vec<Inst>,
    /// Params in order.
    pub params: Vec<Value>,
    /// A name for each param, for dumps (may be shorter than `params`).
    pub param_names: Vec<String>,
    /// Results in order; a value may stand several times.
    pub results: Vec<Value>,
    /// Pairs (param index, result index): the result may overwrite the param's memory.
    pub aliases: Vec<(usize, usize)>,
    /// Values that must be finite before aliased outputs are written.
    pub guards: Vec<Guard>,
}

impl Function {
    /// An empty function.
    pub fn new(name: impl Into<String>) -> Function {
        Function {
            name: name.into(),
            ..Function::default()
        }
    }

    /// Adds a param.
    pub fn param(&mut self, ty: Type, name: impl Into<String>) -> Value {
        let index = self.params.len() as u32;
        let value = self.values.push(ValueData {
            ty,
            def: Def::Param(index),
        });
        self.params.push(value);
        self.param_names.resize(index as usize, String::new());
        self.param_names.push(name.into());
        value
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> &Type {
        &self.values[value].ty
    }

    /// Dims of a value.
    pub fn dims(&self, value: Value) -> &[usize] {
        &self.values[value].ty.dims
    }

    /// The instruction that gives a value, unless it is a param.
    pub fn def_inst(&self, value: Value) -> Option<Inst> {
        match self.values[value].def {
            Def::Param(_) => None,
            Def::Result(inst, _) => Some(inst),
        }
    }

    /// Appends an instruction whose result types are known to the caller.
    pub fn push(&mut self, op: Op, operands: &[Value], types: &[Type], span: Span) -> Inst {
        let inst = self.insts.next_key();
        let results = types
            .iter()
            .enumerate()
            .map(|(index, ty)| {
                self.values.push(ValueData {
                    ty: ty.clone(),
                    def: Def::Result(inst, index as u32),
                })
            })
            .collect();
        self.insts.push(InstData {
            op,
            operands: SmallVec::from_slice(operands),
            results,
            span,
        });
        self.order.push(inst);
        inst
    }

    /// Appends an instruction with one result.
    pub fn push1(&mut self, op: Op, operands: &[Value], ty: Type, span: Span) -> Value {
        let inst = self.push(op, operands, &[ty], span);
        self.insts[inst].results[0]
    }

    /// A scalar repeated over `ty`.
    pub fn constant(&mut self, literal: Literal, ty: Type, span: Span) -> Value {
        self.push1(Op::Constant(literal), &[], ty, span)
    }

    /// A float or int constant, by the element type of `ty`.
    pub fn number(&mut self, value: f64, ty: Type, span: Span) -> Value {
        let literal = match ty.elem {
            Elem::F32 | Elem::F64 => Literal::Float(value),
            Elem::I32 | Elem::I64 => Literal::Int(value as i64),
            Elem::Bool => Literal::Bool(value != 0.0),
        };
        self.constant(literal, ty, span)
    }

    /// An elementwise function of one operand.
    pub fn unary(&mut self, op: Unary, x: Value, span: Span) -> Value {
        let ty = self.ty(x).clone();
        self.push1(Op::Unary(op), &[x], ty, span)
    }

    /// An elementwise function of two operands of equal types.
    pub fn binary(&mut self, op: crate::op::Binary, a: Value, b: Value, span: Span) -> Value {
        let ty = self.ty(a).clone();
        self.push1(Op::Binary(op), &[a, b], ty, span)
    }

    /// An elementwise comparison.
    pub fn compare(&mut self, op: crate::op::Comparison, a: Value, b: Value, span: Span) -> Value {
        let ty = Type {
            elem: Elem::Bool,
            dims: self.ty(a).dims.clone(),
        };
        self.push1(Op::Compare(op), &[a, b], ty, span)
    }

    /// `a` where `condition`, else `b`.
    pub fn select(&mut self, condition: Value, a: Value, b: Value, span: Span) -> Value {
        let ty = self.ty(a).clone();
        self.push1(Op::Select, &[condition, a, b], ty, span)
    }

    /// Conversion to `elem`; the value itself if it has that type.
    pub fn convert(&mut self, x: Value, elem: Elem, span: Span) -> Value {
        if self.ty(x).elem == elem {
            return x;
        }
        let ty = Type {
            elem,
            dims: self.ty(x).dims.clone(),
        };
        self.push1(Op::Convert, &[x], ty, span)
    }

    /// A contraction written with label lists: `factors` pairs each operand with its labels
    /// (any small numbers), `out` lists the result's. Sizes come from the operands; a label of
    /// `out` that no operand has takes its size from `extra`.
    pub fn contract(
        &mut self,
        factors: &[(Value, &[Label])],
        out: &[Label],
        extra: &[(Label, usize)],
        coefficient: f64,
        span: Span,
    ) -> Value {
        let count = factors
            .iter()
            .flat_map(|(_, labels)| labels.iter())
            .chain(out)
            .chain(extra.iter().map(|(label, _)| label))
            .map(|&label| label as usize + 1)
            .max()
            .unwrap_or(0);
        let mut sizes = vec![1; count];
        for &(label, size) in extra {
            sizes[label as usize] = size;
        }
        for (value, labels) in factors {
            for (&label, &size) in labels.iter().zip(self.dims(*value)) {
                sizes[label as usize] = size;
            }
        }
        let elem = factors
            .first()
            .map_or(Elem::F32, |&(value, _)| self.ty(value).elem);
        let dims: SmallVec<[usize; 4]> = out.iter().map(|&label| sizes[label as usize]).collect();
        let contract = Contract {
            factors: factors
                .iter()
                .map(|(_, labels)| Factor {
                    labels: Labels::from_slice(labels),
                    power: 1,
                })
                .collect(),
            deltas: Vec::new(),
            out: Labels::from_slice(out),
            coefficient,
            sizes,
        };
        let operands: SmallVec<[Value; 4]> = factors.iter().map(|&(value, _)| value).collect();
        self.push1(Op::Contract(contract), &operands, Type { elem, dims }, span)
    }

    /// The elementwise product of two values of equal dims.
    pub fn multiply(&mut self, a: Value, b: Value, span: Span) -> Value {
        let labels: Labels = (0..self.dims(a).len() as Label).collect();
        self.contract(&[(a, &labels), (b, &labels)], &labels, &[], 1.0, span)
    }

    /// The value times a constant.
    pub fn scale(&mut self, x: Value, coefficient: f64, span: Span) -> Value {
        let labels: Labels = (0..self.dims(x).len() as Label).collect();
        self.contract(&[(x, &labels)], &labels, &[], coefficient, span)
    }

    /// The value repeated along new leading axes of the given sizes.
    pub fn broadcast_leading(&mut self, x: Value, leading: &[usize], span: Span) -> Value {
        let rank = self.dims(x).len();
        let labels: Labels = (0..rank as Label).collect();
        let new: Labels = (rank as Label..(rank + leading.len()) as Label).collect();
        let extra: Vec<(Label, usize)> = new.iter().copied().zip(leading.iter().copied()).collect();
        let out: Labels = new.iter().chain(&labels).copied().collect();
        self.contract(&[(x, &labels)], &out, &extra, 1.0, span)
    }

    /// The sum over `axes`.
    pub fn sum(&mut self, x: Value, axes: &[usize], span: Span) -> Value {
        let labels: Labels = (0..self.dims(x).len() as Label).collect();
        let out: Labels = labels
            .iter()
            .copied()
            .filter(|&label| !axes.contains(&(label as usize)))
            .collect();
        self.contract(&[(x, &labels)], &out, &[], 1.0, span)
    }

    /// The value with its axes reordered: result axis i is operand axis `axes[i]`.
    pub fn permute(&mut self, x: Value, axes: &[usize], span: Span) -> Value {
        let labels: Labels = (0..self.dims(x).len() as Label).collect();
        let out: Labels = axes.iter().map(|&axis| axis as Label).collect();
        self.contract(&[(x, &labels)], &out, &[], 1.0, span)
    }

    /// Same elements under other dims; the value itself if the dims are the same.
    pub fn reshape(&mut self, x: Value, dims: &[usize], span: Span) -> Value {
        if self.dims(x) == dims {
            return x;
        }
        let ty = self.ty(x).with_dims(dims);
        self.push1(Op::Reshape, &[x], ty, span)
    }
}
