//! Counts the arithmetic of a function without running it: what plans are judged by, in tests
//! and in `aec show --kernels`.
//!
//! Two operations for a multiply-add, one for each other step on an element; transcendental
//! functions count as one. Movement, constants and draws count nothing.

use aec_ir::{Contract, Function, Op, Value};
use aec_runtime::linalg::Shape;
use std::fmt;

/// What a function costs to evaluate once.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Arithmetic {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes that its instructions read and write, every one on its own (no fusion).
    pub bytes: f64,
    /// Elements of the largest value that an instruction computes.
    pub largest: usize,
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flops, bytes) = (self.flops / 1e6, self.bytes / 1e6);
        write!(
            f,
            "{flops:.3} MFLOP, {bytes:.3} MB moved without fusion, largest value {} elements",
            self.largest
        )
    }
}

/// The arithmetic of `f`; the body of a map or loop counts once for each index.
pub fn arithmetic(f: &Function) -> Arithmetic {
    let mut total = Arithmetic::default();
    for &inst in &f.order {
        let data = &f.insts[inst];
        let results = data.results.iter().map(|&v| f.ty(v).len());
        let largest = results.clone().max().unwrap_or(0);
        total.largest = total.largest.max(largest);
        let bytes = |v: &Value| (f.ty(*v).len() * f.ty(*v).elem.bytes()) as f64;
        let read: f64 = data.operands.iter().map(bytes).sum();
        let written: f64 = data.results.iter().map(bytes).sum();
        total.bytes += read + written;
        let input = data.operands.first().map_or(0, |&v| f.ty(v).len()) as f64;
        total.flops += match &data.op {
            Op::Contract(contract) => product_flops(contract),
            Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select | Op::Convert => {
                results.sum::<usize>() as f64
            }
            Op::Reduce { .. } | Op::ArgReduce { .. } | Op::CumSum { .. } | Op::BatchMean => input,
            Op::ScatterAdd { .. } => {
                let updates = data
                    .operands
                    .chunks_exact(2)
                    .map(|pair| f.ty(pair[1]).len());
                updates.sum::<usize>() as f64
            }
            Op::Matrix(op) => {
                let right = data.operands.get(1).map(|&b| f.dims(b));
                let shape = Shape::new(f.dims(data.operands[0]), right);
                op.flops(shape) * shape.batch as f64
            }
            Op::ArgSort => input * input.max(2.0).log2(),
            Op::Levels { .. } => input,
            Op::Map { size, body, .. } => {
                let inner = arithmetic(body);
                total.bytes += inner.bytes * *size as f64;
                total.largest = total.largest.max(inner.largest);
                inner.flops * *size as f64
            }
            Op::Loop(looped) => {
                let inner = arithmetic(&looped.body);
                total.bytes += inner.bytes * looped.count as f64;
                total.largest = total.largest.max(inner.largest);
                inner.flops * looped.count as f64
            }
            Op::Derivative { body, .. } => {
                let inner = arithmetic(body);
                total.largest = total.largest.max(inner.largest);
                inner.flops
            }
            Op::Constant(_)
            | Op::Dense(_)
            | Op::Iota { .. }
            | Op::Reshape
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Reverse { .. }
            | Op::Gather { .. }
            | Op::Put { .. }
            | Op::Draw { .. }
            | Op::Stop
            | Op::Slope { .. } => 0.0,
        };
    }
    total
}

/// Multiplications of each point of the iteration space, and one addition if it is summed.
fn product_flops(contract: &Contract) -> f64 {
    let size = |l: &u8| contract.sizes[*l as usize] as f64;
    let mut carried: Vec<u8> = Vec::new();
    for factor in &contract.factors {
        for &label in &factor.labels {
            if !carried.contains(&label) {
                carried.push(label);
            }
        }
    }
    let points: f64 = carried.iter().map(size).product();
    let entries: f64 = contract.out.iter().map(size).product();
    let degree: u32 = contract.factors.iter().map(|f| f.power).sum();
    let is_summed = carried.iter().any(|label| !contract.out.contains(label));
    let scaled = contract.coefficient != 1.0 && !contract.factors.is_empty();
    points * (f64::from(degree.saturating_sub(1)) + f64::from(u8::from(is_summed)))
        + entries * f64::from(u8::from(scaled))
}
