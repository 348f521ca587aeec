//! Between which numbers the entries of a value lie, whatever its inputs are: what a sigmoid gives is a
//! probability. Comparisons that this decides are constants, and with them the run-time checks of
//! probabilities (`Fault::Chance`) go away where none can fail; what is surely no singular point needs
//! no guard against one (`guard/selects.rs`).

use crate::rebuild::splat;
use aec_ir::{Binary, Contract, Distribution, Function, Op, Unary, Value};

/// The least and the most, entries that are no number left aside.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// No entry is below.
    pub least: f64,
    /// No entry is above.
    pub most: f64,
}

/// So many ops deep, a value is anything.
const DEEP: u32 = 8;

const ANY: Range = Range::new(f64::NEG_INFINITY, f64::INFINITY);
const SIGNED: Range = Range::new(-1.0, 1.0);
const UNIT: Range = Range::new(0.0, 1.0);
const NOT_NEGATIVE: Range = Range::new(0.0, f64::INFINITY);

/// The range of a float value.
pub fn range(f: &Function, value: Value) -> Range {
    within(f, value, DEEP)
}

impl Range {
    const fn new(least: f64, most: f64) -> Range {
        Range { least, most }
    }

    fn and(self, other: Range) -> Range {
        Range::new(self.least.min(other.least), self.most.max(other.most))
    }

    fn plus(self, other: Range) -> Range {
        sane(self.least + other.least, self.most + other.most)
    }

    fn negated(self) -> Range {
        Range::new(-self.most, -self.least)
    }

    fn times(self, other: Range) -> Range {
        // An end of 0 stays 0 beside one that is infinite: it bounds finite entries.
        let product = |a: f64, b: f64| match a == 0.0 || b == 0.0 {
            true => 0.0,
            false => a * b,
        };
        let ends = [
            product(self.least, other.least),
            product(self.least, other.most),
            product(self.most, other.least),
            product(self.most, other.most),
        ];
        sane(
            ends.into_iter().fold(f64::INFINITY, f64::min),
            ends.into_iter().fold(f64::NEG_INFINITY, f64::max),
        )
    }
}

/// Ends that are no number, as of infinities that cancel, bound nothing.
fn sane(least: f64, most: f64) -> Range {
    match least.is_nan() || most.is_nan() {
        true => ANY,
        false => Range::new(least, most),
    }
}

fn within(f: &Function, value: Value, deep: u32) -> Range {
    if let Some(number) = splat(f, value) {
        return sane(number, number);
    }
    let (Some(inst), 1..) = (f.def_inst(value), deep) else {
        return ANY;
    };
    let data = &f.insts[inst];
    let of = |at: usize| within(f, data.operands[at], deep - 1);
    match &data.op {
        Op::Unary(op) => match op {
            Unary::Logistic => UNIT,
            Unary::Tanh | Unary::Erf | Unary::Sin | Unary::Cos | Unary::Sign => SIGNED,
            Unary::Exp => Range::new(of(0).least.exp(), of(0).most.exp()),
            Unary::Sqrt => Range::new(of(0).least.max(0.0).sqrt(), f64::INFINITY),
            Unary::Abs => NOT_NEGATIVE,
            Unary::Neg => of(0).negated(),
            Unary::Floor | Unary::Log | Unary::Log1p | Unary::Expm1 | Unary::Not => ANY,
        },
        Op::Binary(op) => match op {
            Binary::Add => of(0).plus(of(1)),
            Binary::Sub => of(0).plus(of(1).negated()),
            Binary::Min => {
                let (a, b) = (of(0), of(1));
                Range::new(a.least.min(b.least), a.most.min(b.most))
            }
            Binary::Max => {
                let (a, b) = (of(0), of(1));
                Range::new(a.least.max(b.least), a.most.max(b.most))
            }
            Binary::Mul
            | Binary::Div
            | Binary::FloorDiv
            | Binary::Mod
            | Binary::Pow
            | Binary::And
            | Binary::Or => ANY,
        },
        Op::Contract(contract) => product(f, contract, &data.operands, deep),
        Op::Select => of(1).and(of(2)),
        Op::Convert if !f.ty(data.operands[0]).elem.is_float() => match f.ty(data.operands[0]).elem
        {
            aec_runtime::Elem::Bool => UNIT,
            _ => ANY,
        },
        Op::Convert => of(0),
        Op::Slice { .. } | Op::Reverse { .. } | Op::Gather { .. } | Op::Stop => of(0),
        Op::Concat { .. } => (1..data.operands.len()).fold(of(0), |all, at| all.and(of(at))),
        Op::Pad { .. } => of(0).and(of(1)),
        Op::Draw { distribution, .. } if *distribution == Distribution::Uniform => UNIT,
        _ => ANY,
    }
}

/// A product whose entries are products of entries, or sums of them that are not negative.
fn product(f: &Function, contract: &Contract, operands: &[Value], deep: u32) -> Range {
    let mut all = Range::new(contract.coefficient, contract.coefficient);
    for (factor, &operand) in contract.factors.iter().zip(operands) {
        let one = within(f, operand, deep - 1);
        let mut power = (1..factor.power).fold(one, |power, _| power.times(one));
        if factor.power % 2 == 0 {
            power.least = power.least.max(0.0);
        }
        all = all.times(power);
    }
    let one_term = contract.deltas.is_empty()
        && (0..contract.sizes.len())
            .all(|label| contract.out.iter().any(|&out| usize::from(out) == label));
    match one_term {
        true => all,
        false if all.least >= 0.0 => NOT_NEGATIVE,
        false => ANY,
    }
}
