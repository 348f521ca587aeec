//! Where the digits of a small result matter: no square of a sum is opened there
//! (AUTODIFF.md section 5).

use super::import::Program;
use aec_ir::{Binary, Function, Op, Unary, Value};
use cranelift_entity::EntitySet;

/// The nodes whose value flows, through sums and scales only, into a root, a logarithm, a
/// division, a power, a comparison or a factorization.
pub fn sensitive_nodes(f: &Function, program: &Program) -> EntitySet<Value> {
    let mut values: EntitySet<Value> = EntitySet::with_capacity(f.values.len());
    let mut nodes = EntitySet::new();
    for &inst in f.order.iter().rev() {
        let data = &f.insts[inst];
        let is_sensitive = data.results.iter().any(|&v| values.contains(v));
        let passes = match &data.op {
            Op::Unary(Unary::Sqrt | Unary::Log | Unary::Log1p | Unary::Sign | Unary::Floor) => true,
            Op::Binary(Binary::Div | Binary::Pow | Binary::Mod) => true,
            Op::Compare(_) | Op::ArgReduce { .. } | Op::ArgSort | Op::Matrix(_) => true,
            Op::Unary(Unary::Neg) | Op::Binary(Binary::Add | Binary::Sub) => is_sensitive,
            Op::Select
            | Op::Convert
            | Op::Stop
            | Op::Slope { .. }
            | Op::Reshape
            | Op::Slice { .. } => is_sensitive,
            Op::Contract(contract) => {
                let degree: u32 = contract.factors.iter().map(|f| f.power).sum();
                is_sensitive && degree == 1
            }
            // A value that is changed in any other way is another value.
            _ => false,
        };
        if passes {
            for &operand in &data.operands {
                values.insert(operand);
            }
        }
    }
    for value in f.values.keys().filter(|&value| values.contains(value)) {
        for factor in &program.view(value).factors {
            nodes.insert(factor.value);
        }
    }
    nodes
}
