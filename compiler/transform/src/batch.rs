//! Batching: a `map` region becomes ops over one more leading axis.
//!
//! Every value of the body either varies with the new axis (and has it in front) or does not
//! (and is computed once, as it was). One rule per op says how it acts when some operand
//! varies.

use crate::loops::batch::batch_loop;
use crate::rebuild::{Results, rebuild, replace_body, splat};
use crate::term::{Term, permute, repeat_leading, sum};
use aec_ir::rewrite::ValueMap;
use aec_ir::{Distribution, Function, Guard, InstData, Literal, MatrixOp, Op, Type, Value};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::EntitySet;
use smallvec::SmallVec;

/// `f` without maps. It holds no derivative.
pub fn batch_maps(f: &Function) -> Result<Function, Diagnostic> {
    rebuild(f, |out, data, operands| match &data.op {
        Op::Map {
            size,
            mapped,
            is_batch,
            body,
        } => {
            let body = batch_maps(body)?;
            let axis = Axis {
                size: *size,
                is_batch: *is_batch,
            };
            let results = batch_body(out, &body, operands, mapped, axis)?;
            let results = results
                .into_iter()
                .map(|(value, varies)| match varies {
                    true => value,
                    false => repeat_leading(out, value, *size, data.span),
                })
                .collect::<Results>();
            Ok(Some(results))
        }
        Op::Loop(looped) => {
            let body = batch_maps(&looped.body)?;
            Ok(Some(replace_body(out, f, data, operands, body)))
        }
        _ => Ok(None),
    })
}

/// The axis that is put in front.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Its size.
    pub size: usize,
    /// Whether it is the batch that means over the batch reduce.
    pub is_batch: bool,
}

/// Appends the body, evaluated for each index of a new leading axis, to `out`. `mapped` says
/// which arguments have the axis; the result says it of the body's results. The body holds
/// neither maps nor derivatives.
pub fn batch_body(
    out: &mut Function,
    body: &Function,
    args: &[Value],
    mapped: &[bool],
    axis: Axis,
) -> Result<Vec<(Value, bool)>, Diagnostic> {
    let mut map = ValueMap::new();
    let mut varies: EntitySet<Value> = EntitySet::new();
    for ((&param, &arg), &mapped) in body.params.iter().zip(args).zip(mapped) {
        map.insert(param, arg);
        if mapped {
            varies.insert(param);
        }
    }
    for &inst in &body.order {
        let data = &body.insts[inst];
        let which: SmallVec<[bool; 4]> =
            data.operands.iter().map(|&v| varies.contains(v)).collect();
        let whole = axis.is_batch && reduces_batch(&data.op);
        if !which.contains(&true) && !whole {
            aec_ir::rewrite::copy_inst(out, body, inst, &mut map);
            continue;
        }
        if let Op::Loop(looped) = &data.op {
            let operands = map.all(&data.operands);
            let results = batch_loop(out, looped, &operands, &which, axis, data.span)?;
            for (&old, (new, result_varies)) in data.results.iter().zip(results) {
                map.insert(old, new);
                if result_varies {
                    varies.insert(old);
                }
            }
            continue;
        }
        let result = data.results[0];
        let mut rule = Rule {
            out,
            data,
            operands: map.all(&data.operands),
            which,
            axis,
            ty: body.ty(result),
        };
        let (value, result_varies) = rule.apply()?;
        map.insert(result, value);
        if result_varies {
            varies.insert(result);
        }
    }
    for guard in &body.guards {
        out.guards.push(Guard {
            value: map.at(guard.value),
            span: guard.span,
        });
    }
    Ok(body
        .results
        .iter()
        .map(|&v| (map.at(v), varies.contains(v)))
        .collect())
}

/// Whether an op reduces over the batch, itself or in its rounds.
pub(crate) fn reduces_batch(op: &Op) -> bool {
    match op {
        Op::BatchMean => true,
        Op::Loop(looped) => {
            let body = &looped.body;
            body.order
                .iter()
                .any(|&inst| reduces_batch(&body.insts[inst].op))
        }
        _ => false,
    }
}

struct Rule<'a> {
    out: &'a mut Function,
    data: &'a InstData,
    operands: SmallVec<[Value; 4]>,
    which: SmallVec<[bool; 4]>,
    axis: Axis,
    /// Type of the result for one index.
    ty: &'a Type,
}

impl Rule<'_> {
    fn span(&self) -> Span {
        self.data.span
    }

    /// The result's type with the axis.
    fn result_type(&self) -> Type {
        let mut ty = self.ty.clone();
        ty.dims.insert(0, self.axis.size);
        ty
    }

    /// The operand with the axis, repeated along it if it does not vary.
    fn varying(&mut self, index: usize) -> Value {
        let value = self.operands[index];
        if self.which[index] {
            return value;
        }
        let span = self.span();
        match splat(self.out, value) {
            Some(_) => {
                let mut ty = self.out.ty(value).clone();
                ty.dims.insert(0, self.axis.size);
                let Some(inst) = self.out.def_inst(value) else {
                    return value;
                };
                let op = self.out.insts[inst].op.clone();
                self.out.push1(op, &[], ty, span)
            }
            None => repeat_leading(self.out, value, self.axis.size, span),
        }
    }

    fn all_varying(&mut self) -> SmallVec<[Value; 4]> {
        (0..self.operands.len()).map(|i| self.varying(i)).collect()
    }

    fn push(&mut self, op: Op, operands: &[Value]) -> Value {
        let ty = self.result_type();
        self.out.push1(op, operands, ty, self.data.span)
    }

    fn apply(&mut self) -> Result<(Value, bool), Diagnostic> {
        let span = self.span();
        let op = &self.data.op;
        let value = match op {
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Select
            | Op::Convert
            | Op::Reshape
            | Op::Stop
            | Op::ArgSort
            | Op::Levels { .. } => {
                let operands = self.all_varying();
                self.push(op.clone(), &operands)
            }
            Op::Slope { batch } => {
                let operands = self.all_varying();
                self.push(Op::Slope { batch: batch + 1 }, &operands)
            }
            Op::Matrix(MatrixOp::Solve(_)) if !self.which[0] => self.solve_columns(),
            Op::Matrix(_) => {
                let operands = self.all_varying();
                self.push(op.clone(), &operands)
            }
            Op::Contract(contract) => {
                let mut term = Term::new(contract, &self.operands);
                let label = term.fresh(self.axis.size);
                for (factor, &varies) in term.factors.iter_mut().zip(&self.which) {
                    if varies {
                        factor.labels.insert(0, label);
                    }
                }
                term.out.insert(0, label);
                term.emit(self.out, self.ty.elem, span)
            }
            Op::Reduce { op, axes } => {
                let op = Op::Reduce {
                    op: *op,
                    axes: axes.iter().map(|axis| axis + 1).collect(),
                };
                let x = self.operands[0];
                self.push(op, &[x])
            }
            Op::ArgReduce { op, axis } => {
                let op = Op::ArgReduce {
                    op: *op,
                    axis: axis + 1,
                };
                let x = self.operands[0];
                self.push(op, &[x])
            }
            Op::CumSum { axis, reverse } => {
                let op = Op::CumSum {
                    axis: axis + 1,
                    reverse: *reverse,
                };
                let x = self.operands[0];
                self.push(op, &[x])
            }
            Op::Slice {
                start,
                limit,
                stride,
            } => {
                let op = Op::Slice {
                    start: prepend(0, start),
                    limit: prepend(self.axis.size, limit),
                    stride: prepend(1, stride),
                };
                let x = self.operands[0];
                self.push(op, &[x])
            }
            Op::Pad {
                low,
                high,
                interior,
            } => self.pad(low, high, interior),
            Op::Concat { axis } => {
                let operands = self.all_varying();
                self.push(Op::Concat { axis: axis + 1 }, &operands)
            }
            Op::Reverse { axes } => {
                let op = Op::Reverse {
                    axes: axes.iter().map(|axis| axis + 1).collect(),
                };
                let x = self.operands[0];
                self.push(op, &[x])
            }
            Op::Gather { batch, fault } => {
                if *batch == 0 && !self.which[0] {
                    // Every index looks into the same table.
                    let operands = self.operands.clone();
                    self.push(
                        Op::Gather {
                            batch: 0,
                            fault: *fault,
                        },
                        &operands,
                    )
                } else {
                    let operands = self.all_varying();
                    self.push(
                        Op::Gather {
                            batch: batch + 1,
                            fault: *fault,
                        },
                        &operands,
                    )
                }
            }
            Op::ScatterAdd { batch } => {
                let operands = self.all_varying();
                self.push(Op::ScatterAdd { batch: batch + 1 }, &operands)
            }
            Op::Put { batch } => {
                let operands = self.all_varying();
                self.push(Op::Put { batch: batch + 1 }, &operands)
            }
            Op::Draw {
                distribution,
                site,
                batch,
                radices,
            } => self.draw(*distribution, *site, *batch, radices)?,
            Op::BatchMean => {
                let x = self.operands[0];
                if !self.axis.is_batch {
                    return Ok((self.push(Op::BatchMean, &[x]), true));
                }
                if !self.which[0] {
                    return Ok((x, false));
                }
                // Of no example there is no result that could show a mean.
                let share = 1.0 / self.axis.size.max(1) as f64;
                return Ok((sum(self.out, x, &[0], share, span), false));
            }
            Op::Constant(_)
            | Op::Dense(_)
            | Op::Iota { .. }
            | Op::Map { .. }
            | Op::Loop(_)
            | Op::Derivative { .. } => {
                return Err(crate::pipeline::internal(
                    span,
                    &format!("batching met {} with a varying operand", op.name()),
                ));
            }
        };
        Ok((value, true))
    }

    /// The padding value is one scalar for the whole op; where it varies, it is put in by a
    /// selection.
    fn pad(&mut self, low: &[usize], high: &[usize], interior: &[usize]) -> Value {
        let span = self.span();
        let op = Op::Pad {
            low: prepend(0, low),
            high: prepend(0, high),
            interior: prepend(0, interior),
        };
        if !self.which[1] {
            let value = self.operands[1];
            let x = self.varying(0);
            return self.push(op, &[x, value]);
        }
        let x = self.varying(0);
        let value = self.operands[1];
        let ty = self.result_type();
        let bools = |dims: &[usize]| Type::new(aec_runtime::Elem::Bool, dims);
        let inside_dims: SmallVec<[usize; 4]> = SmallVec::from_slice(self.out.dims(x));
        let inside = self
            .out
            .constant(Literal::Bool(true), bools(&inside_dims), span);
        let outside = self.out.constant(Literal::Bool(false), bools(&[]), span);
        let mask = self
            .out
            .push1(op.clone(), &[inside, outside], bools(&ty.dims), span);
        let zero = self.out.number(0.0, ty.with_dims(&[]), span);
        let padded = self.out.push1(op, &[x, zero], ty.clone(), span);
        let repeated = crate::term::repeat_to(self.out, value, &ty.dims, &[0], span);
        self.out.select(mask, padded, repeated, span)
    }

    /// One matrix for all right sides: they become columns of one system, factored once.
    fn solve_columns(&mut self) -> Value {
        let span = self.span();
        let op = self.data.op.clone();
        let b = self.operands[1];
        let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(self.out.dims(b));
        let (rank, size) = (dims.len(), self.axis.size);
        // `[size, ..batch, n, k]` to `[..batch, n, size * k]` and back.
        let mut inward: SmallVec<[usize; 4]> = (1..rank - 1).collect();
        inward.extend([0, rank - 1]);
        let mut outward: SmallVec<[usize; 4]> = SmallVec::from_slice(&[rank - 2]);
        outward.extend((0..rank - 2).chain([rank - 1]));
        let split = permute(self.out, b, &inward, span);
        let split_type = self.out.ty(split).clone();
        let mut joined_dims: SmallVec<[usize; 4]> = SmallVec::from_slice(&dims[1..rank - 1]);
        joined_dims.push(size * dims[rank - 1]);
        let joined_type = split_type.with_dims(&joined_dims);
        let joined = self
            .out
            .push1(Op::Reshape, &[split], joined_type.clone(), span);
        let solved = self
            .out
            .push1(op, &[self.operands[0], joined], joined_type, span);
        let apart = self.out.push1(Op::Reshape, &[solved], split_type, span);
        permute(self.out, apart, &outward, span)
    }

    /// A coordinate that varies makes all of them grow a leading axis.
    fn draw(
        &mut self,
        distribution: Distribution,
        site: u64,
        batch: usize,
        radices: &[usize],
    ) -> Result<Value, Diagnostic> {
        let span = self.span();
        if self.which[0] || self.which[1] {
            return Err(Diagnostic::error(
                "E0503",
                span,
                "the seed of a draw may not differ between the elements of a map",
            )
            .help("draw outside of the map, or let the map's index make the draws differ"));
        }
        let mut operands: SmallVec<[Value; 4]> = SmallVec::from_slice(&self.operands[..2]);
        for index in 2..self.operands.len() {
            let coordinate = self.varying(index);
            operands.push(coordinate);
        }
        let op = Op::Draw {
            distribution,
            site,
            batch: batch + 1,
            radices: radices.to_vec(),
        };
        Ok(self.push(op, &operands))
    }
}

fn prepend(first: usize, rest: &[usize]) -> Vec<usize> {
    std::iter::once(first).chain(rest.iter().copied()).collect()
}

/// Used by tests and by Jacobians: `body` with a leading axis on the params that `mapped`
/// marks and on every result.
pub fn batch_function(
    body: &Function,
    mapped: &[bool],
    size: usize,
) -> Result<Function, Diagnostic> {
    let mut out = Function::new(body.name.clone());
    let mut args = Vec::new();
    for (&param, &mapped) in body.params.iter().zip(mapped) {
        let mut ty = body.ty(param).clone();
        if mapped {
            ty.dims.insert(0, size);
        }
        args.push(out.param(ty, ""));
    }
    let axis = Axis {
        size,
        is_batch: false,
    };
    let results = batch_body(&mut out, body, &args, mapped, axis)?;
    for (value, varies) in results {
        let value = match varies {
            true => value,
            false => repeat_leading(&mut out, value, size, Span::NONE),
        };
        out.results.push(value);
    }
    Ok(out)
}
