//! Forward mode: tangent ops are appended to the function they differentiate.
//!
//! One rule per op. A tangent that is zero is `None` and never becomes an op; a value that no
//! result depends on differentiably gets no tangent (so `stop(batch_mean(h))` is fine). The ops
//! made here are the *linear program*: each is linear in its linear operands, which
//! [`verify_linear`] checks and [`crate::transpose`] relies on.

mod matrix;

use crate::loops::linearize::linearize_loop;
use crate::partial::{Partial, binary_partials, first_extreme, unary_partial};
use crate::rebuild::splat;
use crate::term::{Term, TermFactor, product, scale};
use aec_ir::{Binary, Function, Inst, Label, Labels, MatrixOp, Op, Reduction, Unary, Value};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{EntitySet, SecondaryMap};
use smallvec::SmallVec;

/// The linear part of a function.
#[derive(Default)]
pub struct Linear {
    /// Tangent of each value; none stands for zero.
    pub tangent: SecondaryMap<Value, PackedOption<Value>>,
    /// Values that depend linearly on the tangents put in, those included.
    pub values: EntitySet<Value>,
    /// Instructions that compute them, in order.
    pub insts: Vec<Inst>,
}

impl Linear {
    /// Declares the tangent of a value to be differentiated by.
    pub fn seed(&mut self, value: Value, tangent: Value) {
        self.tangent[value] = tangent.into();
        self.values.insert(tangent);
    }
}

/// The operands through which an instruction is differentiable.
pub fn differentiable_operands(op: &Op, count: usize) -> std::ops::Range<usize> {
    match op {
        Op::Constant(_) | Op::Dense(_) | Op::Iota { .. } => 0..0,
        Op::Compare(_)
        | Op::ArgReduce { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Draw { .. }
        | Op::Stop => 0..0,
        Op::Slope { .. } => 0..2,
        Op::Select => 1..3,
        Op::Gather { .. } => 0..1,
        Op::ScatterAdd { .. } => 1..count,
        Op::Put { .. } => 0..3,
        Op::Unary(unary) => match unary {
            Unary::Sign | Unary::Floor | Unary::Not => 0..0,
            Unary::Neg
            | Unary::Abs
            | Unary::Exp
            | Unary::Log
            | Unary::Log1p
            | Unary::Expm1
            | Unary::Sqrt
            | Unary::Sin
            | Unary::Cos
            | Unary::Tanh
            | Unary::Logistic
            | Unary::Erf => 0..1,
        },
        Op::Matrix(_)
        | Op::Binary(_)
        | Op::Convert
        | Op::Contract(_)
        | Op::Reduce { .. }
        | Op::Reshape
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Reverse { .. }
        | Op::CumSum { .. }
        | Op::Map { .. }
        | Op::Loop(_)
        | Op::Derivative { .. }
        | Op::BatchMean => 0..count,
    }
}

/// The float values that some result depends on differentiably.
fn needed(f: &Function, results: &[Value]) -> EntitySet<Value> {
    let mut needed = EntitySet::new();
    for &value in results {
        if f.ty(value).elem.is_float() {
            needed.insert(value);
        }
    }
    for &inst in f.order.iter().rev() {
        let data = &f.insts[inst];
        if data.results.iter().any(|&v| needed.contains(v)) {
            for index in differentiable_operands(&data.op, data.operands.len()) {
                let operand = data.operands[index];
                if f.ty(operand).elem.is_float() {
                    needed.insert(operand);
                }
            }
        }
    }
    needed
}

/// Appends the tangents of everything between the seeds in `linear` and `results`.
/// `f` holds neither maps nor derivatives.
pub fn linearize(
    f: &mut Function,
    results: &[Value],
    mut linear: Linear,
) -> Result<Linear, Diagnostic> {
    let needed = needed(f, results);
    for inst in f.order.clone() {
        let data = &f.insts[inst];
        let active = data.operands.iter().any(|&v| linear.tangent[v].is_some());
        if !active || !data.results.iter().any(|&v| needed.contains(v)) {
            continue;
        }
        if matches!(data.op, Op::Loop(_)) {
            linearize_loop(f, &mut linear, inst, &needed)?;
            continue;
        }
        let result = data.results[0];
        if let Some(tangent) = (Rule {
            f,
            linear: &mut linear,
            span: Span::NONE,
        })
        .inst(inst)?
        {
            linear.tangent[result] = tangent.into();
        }
    }
    Ok(linear)
}

struct Rule<'a> {
    f: &'a mut Function,
    linear: &'a mut Linear,
    span: Span,
}

impl Rule<'_> {
    fn tangent(&self, value: Value) -> Option<Value> {
        self.linear.tangent[value].expand()
    }

    /// Records an op that was just appended as linear.
    fn record(&mut self, value: Value) -> Value {
        if self.linear.values.insert(value)
            && let Some(inst) = self.f.def_inst(value)
        {
            self.linear.insts.push(inst);
        }
        value
    }

    fn push(&mut self, op: Op, operands: &[Value], like: Value) -> Value {
        let ty = self.f.ty(like).clone();
        let value = self.f.push1(op, operands, ty, self.span);
        self.record(value)
    }

    fn zeros(&mut self, like: Value) -> Value {
        let ty = self.f.ty(like).clone();
        self.f.number(0.0, ty, self.span)
    }

    fn add(&mut self, a: Option<Value>, b: Option<Value>) -> Option<Value> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.push(Op::Binary(Binary::Add), &[a, b], a)),
            (a, b) => a.or(b),
        }
    }

    /// The operand's tangent times a partial derivative.
    fn times(&mut self, partial: Partial, operand: Value) -> Option<Value> {
        let tangent = self.tangent(operand)?;
        let value = match partial {
            Partial::Zero => return None,
            Partial::Number(1.0) => return Some(tangent),
            Partial::Number(number) => scale(self.f, tangent, number, self.span),
            Partial::Value(value) => product(self.f, &[value, tangent], 1.0, self.span),
            Partial::Minus(value) => product(self.f, &[value, tangent], -1.0, self.span),
            Partial::Where(condition) => {
                let zero = self.zeros(tangent);
                self.push(Op::Select, &[condition, tangent, zero], tangent)
            }
            Partial::Unless(condition) => {
                let zero = self.zeros(tangent);
                self.push(Op::Select, &[condition, zero, tangent], tangent)
            }
        };
        Some(self.record(value))
    }

    /// `dy + Σ slope dx`.
    fn slope(&mut self, batch: usize, operands: &[Value]) -> Option<Value> {
        let own = self.tangent(operands[0]);
        let more = self.tangent(operands[1]).map(|tangent| {
            let rank = self.f.dims(operands[0]).len();
            let labels: Labels = (0..self.f.dims(operands[2]).len() as Label).collect();
            let mut of_x = Labels::from_slice(&labels[..batch]);
            of_x.extend_from_slice(&labels[rank..]);
            let term = Term {
                factors: vec![
                    TermFactor {
                        value: operands[2],
                        labels: labels.clone(),
                        power: 1,
                    },
                    TermFactor {
                        value: tangent,
                        labels: of_x,
                        power: 1,
                    },
                ],
                deltas: Vec::new(),
                out: Labels::from_slice(&labels[..rank]),
                coefficient: 1.0,
                sizes: self.f.dims(operands[2]).to_vec(),
            };
            let elem = self.f.ty(operands[0]).elem;
            let value = term.emit(self.f, elem, self.span);
            self.record(value)
        });
        self.add(own, more)
    }

    fn inst(&mut self, inst: Inst) -> Result<Option<Value>, Diagnostic> {
        let data = self.f.insts[inst].clone();
        self.span = data.span;
        let result = data.results[0];
        let operands = &data.operands;
        Ok(match &data.op {
            Op::Constant(_)
            | Op::Dense(_)
            | Op::Iota { .. }
            | Op::Compare(_)
            | Op::ArgReduce { .. }
            | Op::ArgSort
            | Op::Levels { .. }
            | Op::Draw { .. }
            | Op::Stop => None,
            Op::Slope { batch } => self.slope(*batch, operands),
            Op::Matrix(op) => self.matrix(*op, operands, result),
            Op::Unary(op) => {
                let partial = unary_partial(self.f, *op, operands[0], result, self.span);
                self.times(partial, operands[0])
            }
            Op::Binary(op) => {
                let (a, b) = (operands[0], operands[1]);
                let wanted = [self.tangent(a).is_some(), self.tangent(b).is_some()];
                let [da, db] = binary_partials(self.f, *op, a, b, result, wanted, self.span);
                match (da, db, self.tangent(a), self.tangent(b)) {
                    (Partial::Number(1.0), Partial::Number(-1.0), Some(ta), Some(tb)) => {
                        Some(self.push(Op::Binary(Binary::Sub), &[ta, tb], ta))
                    }
                    (Partial::Where(c), Partial::Unless(_), Some(ta), Some(tb)) => {
                        Some(self.push(Op::Select, &[c, ta, tb], ta))
                    }
                    _ => {
                        let ta = self.times(da, a);
                        let tb = self.times(db, b);
                        self.add(ta, tb)
                    }
                }
            }
            Op::Select => {
                let (a, b) = (self.tangent(operands[1]), self.tangent(operands[2]));
                let a = match a {
                    Some(a) => a,
                    None => self.zeros(result),
                };
                let b = match b {
                    Some(b) => b,
                    None => self.zeros(result),
                };
                Some(self.push(Op::Select, &[operands[0], a, b], result))
            }
            Op::Convert => match self.tangent(operands[0]) {
                Some(tangent) if self.f.ty(result).elem.is_float() => {
                    Some(self.push(Op::Convert, &[tangent], result))
                }
                Some(_) | None => None,
            },
            Op::Contract(contract) => {
                let term = Term::new(contract, operands);
                let elem = self.f.ty(result).elem;
                let mut total = None;
                for at in 0..term.factors.len() {
                    let Some(tangent) = self.tangent(term.factors[at].value) else {
                        continue;
                    };
                    let mut derived = term.clone();
                    let power = derived.factors[at].power;
                    derived.coefficient *= f64::from(power);
                    let labels = derived.factors[at].labels.clone();
                    if power > 1 {
                        derived.factors[at].power -= 1;
                        derived.factors.push(TermFactor {
                            value: tangent,
                            labels,
                            power: 1,
                        });
                    } else {
                        derived.factors[at].value = tangent;
                    }
                    let value = derived.emit(self.f, elem, self.span);
                    if !self.linear.values.contains(value) && splat(self.f, value) == Some(0.0) {
                        continue;
                    }
                    let value = self.record(value);
                    total = self.add(total, Some(value));
                }
                total
            }
            Op::Reduce { op, axes } => match (op, self.tangent(operands[0])) {
                (Reduction::Max | Reduction::Min, Some(tangent)) => {
                    let axes = axes.clone();
                    match first_extreme(self.f, operands[0], *op, &axes, self.span) {
                        None => None,
                        Some(mask) => {
                            let zero = self.zeros(tangent);
                            let chosen = self.push(Op::Select, &[mask, tangent, zero], tangent);
                            let sum = crate::term::sum(self.f, chosen, &axes, 1.0, self.span);
                            Some(self.record(sum))
                        }
                    }
                }
                (Reduction::Max | Reduction::Min, None) | (Reduction::All | Reduction::Any, _) => {
                    None
                }
            },
            Op::Reshape | Op::Slice { .. } | Op::Reverse { .. } | Op::CumSum { .. } => {
                let tangent = self.tangent(operands[0]);
                tangent.map(|tangent| self.push(data.op.clone(), &[tangent], result))
            }
            Op::Pad { .. } => {
                let zero = {
                    let ty = self.f.ty(operands[1]).clone();
                    self.f.number(0.0, ty, self.span)
                };
                let inner = self
                    .tangent(operands[0])
                    .map(|tangent| self.push(data.op.clone(), &[tangent, zero], result));
                let outer = self.tangent(operands[1]).map(|tangent| {
                    // 1 on the padding, 0 on the operand's entries.
                    let one = {
                        let ty = self.f.ty(operands[1]).clone();
                        self.f.number(1.0, ty, self.span)
                    };
                    let zeros = self.zeros(operands[0]);
                    let ty = self.f.ty(result).clone();
                    let mask = self.f.push1(data.op.clone(), &[zeros, one], ty, self.span);
                    let mut term = Term::identity(self.f, mask);
                    term.factors.push(TermFactor {
                        value: tangent,
                        labels: SmallVec::new(),
                        power: 1,
                    });
                    let elem = self.f.ty(result).elem;
                    let value = term.emit(self.f, elem, self.span);
                    self.record(value)
                });
                self.add(inner, outer)
            }
            Op::Concat { .. } => {
                let mut tangents: SmallVec<[Value; 4]> = SmallVec::new();
                for &operand in operands {
                    let tangent = match self.tangent(operand) {
                        Some(tangent) => tangent,
                        None => self.zeros(operand),
                    };
                    tangents.push(tangent);
                }
                Some(self.push(data.op.clone(), &tangents, result))
            }
            Op::Gather { .. } => {
                let tangent = self.tangent(operands[0]);
                tangent.map(|tangent| self.push(data.op.clone(), &[tangent, operands[1]], result))
            }
            Op::ScatterAdd { .. } => {
                let indices = |at: usize| at.is_multiple_of(2) && at + 1 < operands.len();
                let mut tangents = operands.to_vec();
                let mut any = false;
                for (at, operand) in tangents.iter_mut().enumerate() {
                    if !indices(at) {
                        let tangent = self.tangent(*operand);
                        any |= tangent.is_some();
                        *operand = tangent.unwrap_or_else(|| self.zeros(*operand));
                    }
                }
                any.then(|| self.push(data.op.clone(), &tangents, result))
            }
            Op::Put { .. } => {
                let (x, rows) = (self.tangent(operands[0]), self.tangent(operands[2]));
                (x.is_some() || rows.is_some()).then(|| {
                    let x = x.unwrap_or_else(|| self.zeros(operands[0]));
                    let rows = rows.unwrap_or_else(|| self.zeros(operands[2]));
                    self.push(data.op.clone(), &[x, operands[1], rows], result)
                })
            }
            Op::BatchMean => {
                return Err(Diagnostic::error(
                    "E0501",
                    self.span,
                    "a derivative taken for each example reaches a mean over the batch",
                )
                .here("this mean couples the examples of a batch")
                .note("the derivative of one example's value would depend on every other example")
                .help("treat the statistic as a constant: `stop(batch_mean(h))`"));
            }
            Op::Map { .. } | Op::Loop(_) | Op::Derivative { .. } => {
                return Err(crate::pipeline::internal(
                    self.span,
                    "linearize met a region; regions are expanded before it",
                ));
            }
        })
    }
}

/// Checks that every op of the linear program is linear in its linear operands.
pub fn verify_linear(f: &Function, linear: &Linear) -> Result<(), String> {
    let is_linear = |v: Value| linear.values.contains(v);
    let is_zero = |v: Value| splat(f, v) == Some(0.0);
    for &inst in &linear.insts {
        let data = &f.insts[inst];
        let operands = &data.operands;
        let count = operands.iter().filter(|&&v| is_linear(v)).count();
        let good = match &data.op {
            Op::Contract(contract) => {
                count == 1
                    && operands
                        .iter()
                        .zip(&contract.factors)
                        .all(|(&v, factor)| !is_linear(v) || factor.power == 1)
            }
            Op::Binary(Binary::Add | Binary::Sub) => count == 2,
            Op::Select => {
                !is_linear(operands[0])
                    && count >= 1
                    && operands[1..].iter().all(|&v| is_linear(v) || is_zero(v))
            }
            Op::Concat { .. } => count >= 1 && operands.iter().all(|&v| is_linear(v) || is_zero(v)),
            Op::Pad { .. } => is_linear(operands[0]) && is_zero(operands[1]),
            Op::Convert | Op::Reshape | Op::Slice { .. } | Op::Reverse { .. } => count == 1,
            Op::CumSum { .. } => count == 1,
            Op::Gather { .. } => is_linear(operands[0]) && !is_linear(operands[1]),
            Op::ScatterAdd { .. } => {
                let pairs = operands.chunks_exact(2);
                pairs
                    .remainder()
                    .iter()
                    .all(|&v| is_linear(v) || is_zero(v))
                    && pairs
                        .clone()
                        .all(|pair| is_linear(pair[1]) || is_zero(pair[1]))
                    && count >= 1
            }
            Op::Put { .. } => {
                let rest = [operands[0], operands[2]];
                !is_linear(operands[1]) && rest.iter().all(|&v| is_linear(v) || is_zero(v))
            }
            Op::Loop(_) => count >= 1,
            Op::Matrix(MatrixOp::Solve(_)) => is_linear(operands[1]) && !is_linear(operands[0]),
            Op::Binary(
                Binary::Mul
                | Binary::Div
                | Binary::FloorDiv
                | Binary::Mod
                | Binary::Pow
                | Binary::Min
                | Binary::Max
                | Binary::And
                | Binary::Or,
            )
            | Op::Constant(_)
            | Op::Dense(_)
            | Op::Iota { .. }
            | Op::Unary(_)
            | Op::Compare(_)
            | Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::ArgSort
            | Op::Levels { .. }
            | Op::Matrix(
                MatrixOp::Cholesky
                | MatrixOp::LogDet
                | MatrixOp::Qr
                | MatrixOp::Svd
                | MatrixOp::Eigh,
            )
            | Op::Draw { .. }
            | Op::Map { .. }
            | Op::Derivative { .. }
            | Op::BatchMean
            | Op::Stop
            | Op::Slope { .. } => false,
        };
        if !good {
            return Err(format!(
                "{} of {} is not linear in its tangents",
                data.op.name(),
                data.results[0]
            ));
        }
    }
    Ok(())
}

/// The tangent of an operand of dims `dims` that is the identity: leading axes first, one for
/// each axis of the operand, then the operand's.
pub fn identity_basis(f: &mut Function, like: Value, span: Span) -> Value {
    let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(f.dims(like));
    let elem = f.ty(like).elem;
    let rank = dims.len();
    let sizes: Vec<usize> = dims.iter().chain(&dims).copied().collect();
    let term = Term {
        factors: Vec::new(),
        deltas: (0..rank)
            .map(|axis| (axis as Label, (rank + axis) as Label))
            .collect(),
        out: (0..2 * rank).map(|l| l as Label).collect(),
        coefficient: 1.0,
        sizes,
    };
    term.emit(f, elem, span)
}
