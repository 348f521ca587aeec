//! Reverse mode: the linear program run backwards, one rule per linear op.
//!
//! A cotangent that is zero is `None` and never becomes an op. Contractions transpose into
//! contractions: the linear factor and the result swap places.

use crate::linearize::Linear;
use crate::loops::transpose::transpose_loop;
use crate::rebuild::splat;
use crate::term::{Term, TermFactor, all_different, repeat_to, scale};
use aec_ir::{Binary, Comparison, Fault, Function, Inst, InstData, MatrixOp, Op, Type, Value};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::SecondaryMap;
use cranelift_entity::packed_option::PackedOption;
use smallvec::SmallVec;

/// Appends the transposed program. `cotangents` pairs linear values with what flows into them;
/// the result says what flows out of each value of `inputs`, none for zero.
pub fn transpose(
    f: &mut Function,
    linear: &Linear,
    cotangents: &[(Value, Value)],
    inputs: &[Value],
) -> Result<Vec<Option<Value>>, Diagnostic> {
    let mut pass = Transpose {
        f,
        linear,
        cotangent: SecondaryMap::new(),
        span: Span::NONE,
    };
    for &(value, cotangent) in cotangents {
        pass.accumulate(value, cotangent);
    }
    for &inst in linear.insts.iter().rev() {
        pass.inst(inst)?;
    }
    Ok(inputs
        .iter()
        .map(|&input| pass.cotangent[input].expand())
        .collect())
}

struct Transpose<'a> {
    f: &'a mut Function,
    linear: &'a Linear,
    cotangent: SecondaryMap<Value, PackedOption<Value>>,
    span: Span,
}

impl Transpose<'_> {
    fn is_linear(&self, value: Value) -> bool {
        self.linear.values.contains(value)
    }

    fn accumulate(&mut self, value: Value, cotangent: Value) {
        if splat(self.f, cotangent) == Some(0.0) {
            return;
        }
        let sum = match self.cotangent[value].expand() {
            None => cotangent,
            Some(before) => self.f.binary(Binary::Add, before, cotangent, self.span),
        };
        self.cotangent[value] = sum.into();
    }

    fn push(&mut self, op: Op, operands: &[Value], like: Value) -> Value {
        let ty = self.f.ty(like).clone();
        self.f.push1(op, operands, ty, self.span)
    }

    fn zero_like(&mut self, like: Value) -> Value {
        let ty = self.f.ty(like).clone();
        self.f.number(0.0, ty, self.span)
    }

    fn slice(&mut self, x: Value, start: Vec<usize>, limit: Vec<usize>, like: Value) -> Value {
        let stride = vec![1; start.len()];
        self.push(
            Op::Slice {
                start,
                limit,
                stride,
            },
            &[x],
            like,
        )
    }

    fn inst(&mut self, inst: Inst) -> Result<(), Diagnostic> {
        if matches!(self.f.insts[inst].op, Op::Loop(_)) {
            return self.looped(inst);
        }
        let data = self.f.insts[inst].clone();
        self.span = data.span;
        let Some(ct) = self.cotangent[data.results[0]].expand() else {
            return Ok(());
        };
        let x = data.operands.first().copied();
        match (&data.op, x) {
            (Op::Contract(contract), _) => {
                let term = Term::new(contract, &data.operands);
                self.contract(term, ct);
            }
            (Op::Binary(Binary::Add), _) => {
                for &operand in &data.operands {
                    if self.is_linear(operand) {
                        self.accumulate(operand, ct);
                    }
                }
            }
            (Op::Binary(Binary::Sub), _) => {
                if self.is_linear(data.operands[0]) {
                    self.accumulate(data.operands[0], ct);
                }
                if self.is_linear(data.operands[1]) {
                    let minus = scale(self.f, ct, -1.0, self.span);
                    self.accumulate(data.operands[1], minus);
                }
            }
            (Op::Select, Some(condition)) => {
                let (a, b) = (data.operands[1], data.operands[2]);
                let zero = self.zero_like(ct);
                if self.is_linear(a) {
                    let taken = self.push(Op::Select, &[condition, ct, zero], ct);
                    self.accumulate(a, taken);
                }
                if self.is_linear(b) {
                    let taken = self.push(Op::Select, &[condition, zero, ct], ct);
                    self.accumulate(b, taken);
                }
            }
            (Op::Convert | Op::Reshape, Some(x)) => {
                let op = data.op.clone();
                let back = self.push(op, &[ct], x);
                self.accumulate(x, back);
            }
            (Op::Reverse { .. }, Some(x)) => {
                let back = self.push(data.op.clone(), &[ct], x);
                self.accumulate(x, back);
            }
            (Op::CumSum { axis, reverse }, Some(x)) => {
                let op = Op::CumSum {
                    axis: *axis,
                    reverse: !reverse,
                };
                let back = self.push(op, &[ct], x);
                self.accumulate(x, back);
            }
            (
                Op::Slice {
                    start,
                    limit: _,
                    stride,
                },
                Some(x),
            ) => {
                let dims = self.f.dims(x).to_vec();
                let taken = self.f.dims(ct).to_vec();
                if taken.contains(&0) {
                    return Ok(());
                }
                let high = (0..dims.len())
                    .map(|i| dims[i] - (start[i] + (taken[i] - 1) * stride[i] + 1))
                    .collect();
                let zero = self.scalar_zero(ct);
                let op = Op::Pad {
                    low: start.clone(),
                    high,
                    interior: stride.iter().map(|s| s - 1).collect(),
                };
                let back = self.push(op, &[ct, zero], x);
                self.accumulate(x, back);
            }
            (
                Op::Pad {
                    low,
                    high: _,
                    interior,
                },
                Some(x),
            ) => {
                let dims = self.f.dims(x).to_vec();
                if dims.contains(&0) {
                    return Ok(());
                }
                let limit = (0..dims.len())
                    .map(|i| low[i] + (dims[i] - 1) * (interior[i] + 1) + 1)
                    .collect();
                let op = Op::Slice {
                    start: low.clone(),
                    limit,
                    stride: interior.iter().map(|i| i + 1).collect(),
                };
                let back = self.push(op, &[ct], x);
                self.accumulate(x, back);
            }
            (Op::Matrix(MatrixOp::Solve(system)), Some(a)) => {
                let op = Op::Matrix(MatrixOp::Solve(system.transposed()));
                let back = self.push(op, &[a, ct], data.operands[1]);
                self.accumulate(data.operands[1], back);
            }
            (Op::Concat { axis }, _) => self.concat(&data, *axis, ct),
            (Op::Gather { batch, .. }, Some(x)) => {
                let index = data.operands[1];
                let back = match self.f.dims(index).len() == *batch {
                    true => self.put_one(index, ct, x, *batch),
                    false => self.push(Op::ScatterAdd { batch: *batch }, &[index, ct], x),
                };
                self.accumulate(x, back);
            }
            (Op::ScatterAdd { batch }, _) => {
                let pairs = data.operands.chunks_exact(2);
                for &base in pairs.remainder() {
                    if self.is_linear(base) {
                        self.accumulate(base, ct);
                    }
                }
                for pair in pairs {
                    if self.is_linear(pair[1]) {
                        let op = Op::Gather {
                            batch: *batch,
                            fault: Fault::Index,
                        };
                        let back = self.push(op, &[ct, pair[0]], pair[1]);
                        self.accumulate(pair[1], back);
                    }
                }
            }
            (Op::Put { batch }, Some(x)) => {
                let (index, rows) = (data.operands[1], data.operands[2]);
                if self.is_linear(x) {
                    let zeros = self.zero_like(rows);
                    let back = self.push(data.op.clone(), &[ct, index, zeros], x);
                    self.accumulate(x, back);
                }
                if self.is_linear(rows) {
                    let back = self.rows_or_zero(ct, index, rows, *batch);
                    self.accumulate(rows, back);
                }
            }
            (
                Op::Constant(_)
                | Op::Dense(_)
                | Op::Iota { .. }
                | Op::Unary(_)
                | Op::Binary(_)
                | Op::Compare(_)
                | Op::Reduce { .. }
                | Op::ArgReduce { .. }
                | Op::ArgSort
                | Op::Levels { .. }
                | Op::Matrix(_)
                | Op::Draw { .. }
                | Op::Map { .. }
                | Op::Loop(_)
                | Op::Derivative { .. }
                | Op::BatchMean
                | Op::Stop
                | Op::Slope { .. }
                | Op::Select
                | Op::Convert
                | Op::Reshape
                | Op::Reverse { .. }
                | Op::CumSum { .. }
                | Op::Slice { .. }
                | Op::Pad { .. }
                | Op::Gather { .. }
                | Op::Put { .. },
                _,
            ) => {
                return Err(crate::pipeline::internal(
                    self.span,
                    &format!("{} is not a linear op", data.op.name()),
                ));
            }
        }
        Ok(())
    }

    fn looped(&mut self, inst: Inst) -> Result<(), Diagnostic> {
        let cotangents: Vec<Option<Value>> = self.f.insts[inst]
            .results
            .iter()
            .map(|&v| self.cotangent[v].expand())
            .collect();
        if cotangents.iter().all(Option::is_none) {
            return Ok(());
        }
        self.span = self.f.insts[inst].span;
        for (operand, flow) in transpose_loop(self.f, self.linear, inst, &cotangents)? {
            self.accumulate(operand, flow);
        }
        Ok(())
    }

    fn scalar_zero(&mut self, like: Value) -> Value {
        let ty = self.f.ty(like).with_dims(&[]);
        self.f.number(0.0, ty, self.span)
    }

    /// Zeros like `x` with one entry along axis `batch`, the one at `index`, replaced by `ct`:
    /// a selection, which is elementwise. The gather that this transposes checked the index.
    fn put_one(&mut self, index: Value, ct: Value, x: Value, batch: usize) -> Value {
        let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(self.f.dims(x));
        let leading: SmallVec<[usize; 4]> = (0..batch).collect();
        let counts = Type::new(self.f.ty(index).elem, &dims);
        let count = self
            .f
            .push1(Op::Iota { axis: batch }, &[], counts, self.span);
        let place = repeat_to(self.f, index, &dims, &leading, self.span);
        let mask = self.f.compare(Comparison::Eq, count, place, self.span);
        let others: SmallVec<[usize; 4]> = (0..dims.len()).filter(|&axis| axis != batch).collect();
        let repeated = repeat_to(self.f, ct, &dims, &others, self.span);
        let zero = self.zero_like(x);
        self.f.select(mask, repeated, zero, self.span)
    }

    /// The rows of `x` at `index`, zero where the index is outside.
    fn rows_or_zero(&mut self, x: Value, index: Value, like: Value, batch: usize) -> Value {
        let size = self.f.dims(x)[batch] as f64;
        let ints = self.f.ty(index).clone();
        let zero = self.f.number(0.0, ints.clone(), self.span);
        let last = self.f.number(size - 1.0, ints, self.span);
        let low = self.f.compare(Comparison::Ge, index, zero, self.span);
        let high = self.f.compare(Comparison::Le, index, last, self.span);
        let inside = self.f.binary(Binary::And, low, high, self.span);
        let at = self.f.binary(Binary::Max, index, zero, self.span);
        let at = self.f.binary(Binary::Min, at, last, self.span);
        let found = self.push(
            Op::Gather {
                batch,
                fault: Fault::Index,
            },
            &[x, at],
            like,
        );
        let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(self.f.dims(like));
        let leading: SmallVec<[usize; 4]> = (0..self.f.dims(index).len()).collect();
        let inside = repeat_to(self.f, inside, &dims, &leading, self.span);
        let zeros = self.zero_like(like);
        self.f.select(inside, found, zeros, self.span)
    }

    /// The linear factor M and the result swap places; a label that M has twice becomes a
    /// fresh one joined by a delta, a label of M alone repeats, one of the result alone sums.
    fn contract(&mut self, mut term: Term, ct: Value) {
        let Some(at) = term
            .factors
            .iter()
            .position(|factor| self.is_linear(factor.value))
        else {
            return;
        };
        let linear = term.factors.remove(at);
        let ct_labels = term.out.clone();
        let mut out = linear.labels.clone();
        if !all_different(&out) {
            for index in 0..out.len() {
                if out[..index].contains(&out[index]) {
                    let size = term.sizes[out[index] as usize];
                    let fresh = term.fresh(size);
                    term.deltas.push((out[index], fresh));
                    out[index] = fresh;
                }
            }
        }
        term.out = out;
        term.factors.push(TermFactor {
            value: ct,
            labels: ct_labels,
            power: 1,
        });
        let elem = self.f.ty(linear.value).elem;
        let back = term.emit(self.f, elem, self.span);
        self.accumulate(linear.value, back);
    }

    fn concat(&mut self, data: &InstData, axis: usize, ct: Value) {
        let total: SmallVec<[usize; 4]> = SmallVec::from_slice(self.f.dims(ct));
        let mut at = 0;
        for &operand in &data.operands {
            let size = self.f.dims(operand)[axis];
            if self.is_linear(operand) && size > 0 {
                let mut start = vec![0; total.len()];
                let mut limit = total.to_vec();
                start[axis] = at;
                limit[axis] = at + size;
                let part = self.slice(ct, start, limit, operand);
                self.accumulate(operand, part);
            }
            at += size;
        }
    }
}
