//! The hash behind plan cache keys: 128 bits, the same on every machine and in every run,
//! which the standard library's hashers don't promise.

use crate::function::{Function, Type, Value};
use crate::op::{Binary, Comparison, Contract, Distribution, Literal, Mode, Op, Reduction, Unary};
use aec_runtime::linalg::{MatrixOp, System};
use aec_runtime::{Data, Elem, Tensor};
use cranelift_entity::SecondaryMap;

/// Two 64-bit lanes, each mixed by a folded 128-bit product.
pub(crate) struct Hasher {
    a: u64,
    b: u64,
}

fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    product as u64 ^ (product >> 64) as u64
}

impl Hasher {
    pub(crate) fn new() -> Hasher {
        Hasher {
            a: 0x9e37_79b9_7f4a_7c15,
            b: 0xd1b5_4a32_d192_ed03,
        }
    }

    pub(crate) fn finish(mut self) -> u128 {
        self.word(0x5851_f42d_4c95_7f2d);
        self.word(0x1405_7b7e_f767_814f);
        u128::from(self.a) << 64 | u128::from(self.b)
    }

    fn word(&mut self, word: u64) {
        self.a = fold(self.a ^ word, 0xa076_1d64_78bd_642f).wrapping_add(self.b);
        self.b = fold(self.b.rotate_left(29) ^ word, 0xe703_7ed1_a0b4_28db).wrapping_add(!self.a);
    }

    fn size(&mut self, size: usize) {
        self.word(size as u64);
    }

    fn sizes(&mut self, sizes: &[usize]) {
        self.size(sizes.len());
        sizes.iter().for_each(|&size| self.size(size));
    }

    fn ty(&mut self, ty: &Type) {
        self.word(elem_code(ty.elem));
        self.sizes(&ty.dims);
    }

    /// Values are numbered by definition: params first, then results in order.
    pub(crate) fn function(&mut self, f: &Function) {
        let mut number: SecondaryMap<Value, u64> = SecondaryMap::with_default(u64::MAX);
        let mut next = 0;
        let mut define = |value: Value, number: &mut SecondaryMap<Value, u64>| {
            number[value] = next;
            next += 1;
        };
        self.size(f.params.len());
        for &param in &f.params {
            define(param, &mut number);
            self.ty(f.ty(param));
        }
        self.size(f.order.len());
        for &inst in &f.order {
            let data = &f.insts[inst];
            self.op(&data.op);
            self.size(data.operands.len());
            for &operand in &data.operands {
                self.word(number[operand]);
            }
            self.size(data.results.len());
            for &result in &data.results {
                define(result, &mut number);
                self.ty(f.ty(result));
            }
        }
        self.size(f.results.len());
        for &result in &f.results {
            self.word(number[result]);
        }
        self.size(f.aliases.len());
        for &(param, result) in &f.aliases {
            self.size(param);
            self.size(result);
        }
        self.size(f.guards.len());
        for guard in &f.guards {
            self.word(number[guard.value]);
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Constant(literal) => {
                self.word(1);
                match *literal {
                    Literal::Float(value) => {
                        self.word(1);
                        self.word(value.to_bits());
                    }
                    Literal::Int(value) => {
                        self.word(2);
                        self.word(value as u64);
                    }
                    Literal::Bool(value) => {
                        self.word(3);
                        self.word(u64::from(value));
                    }
                }
            }
            Op::Dense(tensor) => {
                self.word(2);
                self.tensor(tensor);
            }
            Op::Iota { axis } => {
                self.word(3);
                self.size(*axis);
            }
            Op::Unary(op) => {
                self.word(4);
                self.word(unary_code(*op));
            }
            Op::Binary(op) => {
                self.word(5);
                self.word(binary_code(*op));
            }
            Op::Compare(op) => {
                self.word(6);
                self.word(comparison_code(*op));
            }
            Op::Select => self.word(7),
            Op::Convert => self.word(8),
            Op::Contract(contract) => {
                self.word(9);
                self.contract(contract);
            }
            Op::Reduce { op, axes } => {
                self.word(10);
                self.word(reduction_code(*op));
                self.sizes(axes);
            }
            Op::ArgReduce { op, axis } => {
                self.word(11);
                self.word(reduction_code(*op));
                self.size(*axis);
            }
            Op::Reshape => self.word(12),
            Op::Slice {
                start,
                limit,
                stride,
            } => {
                self.word(13);
                self.sizes(start);
                self.sizes(limit);
                self.sizes(stride);
            }
            Op::Pad {
                low,
                high,
                interior,
            } => {
                self.word(14);
                self.sizes(low);
                self.sizes(high);
                self.sizes(interior);
            }
            Op::Concat { axis } => {
                self.word(15);
                self.size(*axis);
            }
            Op::Reverse { axes } => {
                self.word(16);
                self.sizes(axes);
            }
            Op::Gather { batch, fault } => {
                self.word(17);
                self.size(*batch);
                self.word(*fault as u64);
            }
            Op::ScatterAdd { batch } => {
                self.word(18);
                self.size(*batch);
            }
            Op::Put { batch } => {
                self.word(27);
                self.size(*batch);
            }
            Op::CumSum { axis, reverse } => {
                self.word(19);
                self.size(*axis);
                self.word(u64::from(*reverse));
            }
            Op::ArgSort => self.word(20),
            Op::Levels { rows } => {
                self.word(30);
                self.size(*rows);
            }
            Op::Matrix(op) => {
                self.word(29);
                self.word(matrix_code(*op));
            }
            Op::Draw {
                distribution,
                site,
                batch,
                radices,
            } => {
                self.word(21);
                self.word(match distribution {
                    Distribution::Uniform => 1,
                    Distribution::Normal => 2,
                });
                self.word(*site);
                self.size(*batch);
                self.sizes(radices);
            }
            Op::Map {
                size,
                mapped,
                is_batch,
                body,
            } => {
                self.word(22);
                self.size(*size);
                self.flags(mapped);
                self.word(u64::from(*is_batch));
                self.function(body);
            }
            Op::Derivative { mode, active, body } => {
                self.word(23);
                self.word(match mode {
                    Mode::Vjp => 1,
                    Mode::Jvp => 2,
                    Mode::Jacobian => 3,
                });
                self.flags(active);
                self.function(body);
            }
            Op::Loop(looped) => {
                self.word(26);
                self.size(looped.count);
                self.size(looped.carried);
                self.size(looped.sliced);
                self.flags(&[
                    looped.reverse,
                    looped.exit,
                    looped.recomputed,
                    looped.limited,
                    looped.nodes,
                ]);
                self.function(&looped.body);
            }
            Op::BatchMean => self.word(24),
            Op::Stop => self.word(25),
            Op::Slope { batch } => {
                self.word(28);
                self.size(*batch);
            }
        }
    }

    fn flags(&mut self, flags: &[bool]) {
        self.size(flags.len());
        flags.iter().for_each(|&flag| self.word(u64::from(flag)));
    }

    fn contract(&mut self, contract: &Contract) {
        self.size(contract.factors.len());
        for factor in &contract.factors {
            self.word(u64::from(factor.power));
            self.size(factor.labels.len());
            for &label in &factor.labels {
                self.word(u64::from(label));
            }
        }
        self.size(contract.deltas.len());
        for &(a, b) in &contract.deltas {
            self.word(u64::from(a) << 8 | u64::from(b));
        }
        self.size(contract.out.len());
        for &label in &contract.out {
            self.word(u64::from(label));
        }
        self.word(contract.coefficient.to_bits());
        self.sizes(&contract.sizes);
    }

    fn tensor(&mut self, tensor: &Tensor) {
        self.word(elem_code(tensor.elem()));
        self.sizes(tensor.dims());
        match tensor.data() {
            Data::F32(v) => v.iter().for_each(|x| self.word(u64::from(x.to_bits()))),
            Data::F64(v) => v.iter().for_each(|x| self.word(x.to_bits())),
            Data::I32(v) => v.iter().for_each(|&x| self.word(i64::from(x) as u64)),
            Data::I64(v) => v.iter().for_each(|&x| self.word(x as u64)),
            Data::Bool(v) => v.iter().for_each(|&x| self.word(u64::from(x))),
        }
    }
}

fn elem_code(elem: Elem) -> u64 {
    match elem {
        Elem::F32 => 1,
        Elem::F64 => 2,
        Elem::I32 => 3,
        Elem::I64 => 4,
        Elem::Bool => 5,
    }
}

fn matrix_code(op: MatrixOp) -> u64 {
    match op {
        MatrixOp::Cholesky => 1,
        MatrixOp::LogDet => 2,
        MatrixOp::Qr => 3,
        MatrixOp::Svd => 4,
        MatrixOp::Eigh => 5,
        MatrixOp::Solve(system) => {
            let at = System::ALL.iter().position(|&other| other == system);
            6 + at.unwrap_or(System::ALL.len()) as u64
        }
    }
}

fn unary_code(op: Unary) -> u64 {
    Unary::ALL
        .iter()
        .position(|&other| other == op)
        .unwrap_or(usize::MAX) as u64
}

fn binary_code(op: Binary) -> u64 {
    Binary::ALL
        .iter()
        .position(|&other| other == op)
        .unwrap_or(usize::MAX) as u64
}

fn comparison_code(op: Comparison) -> u64 {
    Comparison::ALL
        .iter()
        .position(|&other| other == op)
        .unwrap_or(usize::MAX) as u64
}

fn reduction_code(op: Reduction) -> u64 {
    match op {
        Reduction::Max => 1,
        Reduction::Min => 2,
        Reduction::All => 3,
        Reduction::Any => 4,
    }
}
