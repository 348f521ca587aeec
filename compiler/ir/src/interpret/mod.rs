//! The reference interpreter: what TIR means, one op at a time, with no care for speed.
//! Compiled code is compared with it. Mapped examples are computed each alone, from the
//! region as it stands, so that a wrong batching rule can not hide here as well.

mod array;
mod contract;
mod elementwise;
mod matrix;
mod movement;
mod random;
mod reduce;

use crate::function::{Function, Inst, InstData, Value};
use crate::op::{BadIndex, Loop, Op};
use crate::verify::{VerifyError, verify};
use aec_runtime::linalg::BadMatrix;
use aec_runtime::{Elem, Tensor};
use aec_syntax::Span;
use array::Array;
use cranelift_entity::SecondaryMap;
use std::fmt;
use std::rc::Rc;

/// What floats are kept in between ops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// Each op computes in f64 and rounds its result to the element type that it has.
    AsTyped,
    /// Nothing is rounded: `f32` values are f64 throughout, inputs and results too.
    F64,
}

/// Why there is no result.
#[derive(Clone, PartialEq, Debug)]
pub enum InterpretError {
    /// The function breaks a rule.
    Invalid(VerifyError),
    /// The inputs do not fit the params.
    Inputs(String),
    /// `gather` or `scatter_add` met an index beyond its axis.
    OutOfRange {
        /// Which, and what it means.
        bad: BadIndex,
        /// The instruction's script text.
        span: Span,
    },
    /// A system of linear algebra has no result.
    Matrix {
        /// Which, and why.
        bad: BadMatrix,
        /// The instruction's script text.
        span: Span,
    },
    /// A derivative is left: `transform` expands them first.
    Derivative {
        /// The instruction's script text.
        span: Span,
    },
}

impl fmt::Display for InterpretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InterpretError::Invalid(error) => error.fmt(f),
            InterpretError::Inputs(message) => f.write_str(message),
            InterpretError::OutOfRange { bad, .. } => bad.fmt(f),
            InterpretError::Matrix { bad, .. } => bad.fmt(f),
            InterpretError::Derivative { .. } => {
                f.write_str("expand derivatives before interpreting")
            }
        }
    }
}

impl std::error::Error for InterpretError {}

/// Evaluates `f`. Inputs have the params' types (with [`Precision::F64`] a float param takes
/// either float type); results have the results' types, floats as `f64` with
/// [`Precision::F64`].
pub fn interpret(
    f: &Function,
    inputs: &[Tensor],
    precision: Precision,
) -> Result<Vec<Tensor>, InterpretError> {
    verify(f).map_err(InterpretError::Invalid)?;
    if inputs.len() != f.params.len() {
        return Err(InterpretError::Inputs(format!(
            "{} inputs for the {} params of {}",
            inputs.len(),
            f.params.len(),
            f.name
        )));
    }
    let mut lane = Vec::with_capacity(inputs.len());
    for (index, (input, &param)) in inputs.iter().zip(&f.params).enumerate() {
        let ty = f.ty(param);
        let elem_fits = input.elem() == ty.elem
            || (precision == Precision::F64 && input.elem().is_float() && ty.elem.is_float());
        if !elem_fits || input.dims() != &ty.dims[..] {
            return Err(InterpretError::Inputs(format!(
                "input {index} is {}{:?}, but the param is {ty}",
                input.elem(),
                input.dims()
            )));
        }
        lane.push(Rc::new(Array::from_tensor(input)));
    }
    let mut results = run(f, vec![lane], precision)?;
    let results = results.pop().unwrap_or_default();
    Ok(results
        .iter()
        .zip(&f.results)
        .map(|(array, &result)| {
            let elem = match f.ty(result).elem {
                Elem::F32 if precision == Precision::F64 => Elem::F64,
                elem => elem,
            };
            array.to_tensor(elem)
        })
        .collect())
}

type Lane = Vec<Rc<Array>>;

/// Evaluates `f` once for each lane, instruction by instruction over all lanes. Lanes are the
/// examples of the batch around `f` (one lane outside of a batch); they meet in `BatchMean`
/// and nowhere else.
fn run(f: &Function, lanes: Vec<Lane>, precision: Precision) -> Result<Vec<Lane>, InterpretError> {
    let mut known: Vec<SecondaryMap<Value, Option<Rc<Array>>>> = lanes
        .into_iter()
        .map(|lane| {
            let mut known = SecondaryMap::new();
            for (&param, array) in f.params.iter().zip(lane) {
                known[param] = Some(array);
            }
            known
        })
        .collect();
    for &inst in &f.order {
        let operands: Vec<Lane> = known
            .iter()
            .map(|known| {
                f.insts[inst]
                    .operands
                    .iter()
                    .map(|&operand| fetch(known, operand))
                    .collect()
            })
            .collect();
        let results = step(f, inst, operands, precision)?;
        for (known, results) in known.iter_mut().zip(results) {
            for (&result, array) in f.insts[inst].results.iter().zip(results) {
                known[result] = Some(array);
            }
        }
    }
    Ok(known
        .iter()
        .map(|known| f.results.iter().map(|&value| fetch(known, value)).collect())
        .collect())
}

fn fetch(known: &SecondaryMap<Value, Option<Rc<Array>>>, value: Value) -> Rc<Array> {
    match &known[value] {
        Some(array) => Rc::clone(array),
        None => unreachable!("the verifier saw {value} defined before its use"),
    }
}

/// One instruction over all lanes.
fn step(
    f: &Function,
    inst: Inst,
    lanes: Vec<Lane>,
    precision: Precision,
) -> Result<Vec<Lane>, InterpretError> {
    let data = &f.insts[inst];
    match &data.op {
        Op::Derivative { .. } => Err(InterpretError::Derivative { span: data.span }),
        Op::BatchMean => {
            let elem = f.ty(data.results[0]).elem;
            let mean = Rc::new(reduce::mean_of(&lanes).settle(elem, precision));
            Ok(lanes.iter().map(|_| vec![Rc::clone(&mean)]).collect())
        }
        Op::Map {
            size,
            mapped,
            is_batch,
            body,
        } => {
            // collected[lane][index] holds the body's results.
            let mut collected: Vec<Vec<Lane>> = lanes.iter().map(|_| Vec::new()).collect();
            let arguments = |lane: &Lane, index: usize| -> Lane {
                lane.iter()
                    .zip(mapped)
                    .map(|(operand, &mapped)| {
                        if mapped {
                            Rc::new(operand.row(index))
                        } else {
                            Rc::clone(operand)
                        }
                    })
                    .collect()
            };
            if *is_batch {
                for (lane, collected) in lanes.iter().zip(&mut collected) {
                    let examples = (0..*size).map(|index| arguments(lane, index)).collect();
                    *collected = run(body, examples, precision)?;
                }
            } else {
                for index in 0..*size {
                    let inner = lanes.iter().map(|lane| arguments(lane, index)).collect();
                    let results = run(body, inner, precision)?;
                    for (collected, results) in collected.iter_mut().zip(results) {
                        collected.push(results);
                    }
                }
            }
            Ok(collected
                .iter()
                .map(|rows| {
                    data.results
                        .iter()
                        .enumerate()
                        .map(|(place, &result)| {
                            let parts = rows.iter().map(|row| &*row[place]);
                            Rc::new(Array::stack(f.ty(result), parts))
                        })
                        .collect()
                })
                .collect())
        }
        Op::Loop(looped) => run_loop(f, data, looped, lanes, precision),
        Op::Constant(_)
        | Op::Dense(_)
        | Op::Iota { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Select
        | Op::Convert
        | Op::Contract(_)
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Reshape
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Reverse { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Put { .. }
        | Op::CumSum { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Matrix(_)
        | Op::Draw { .. }
        | Op::Stop
        | Op::Slope { .. } => lanes
            .iter()
            .map(|lane| {
                let array = plain(f, data, lane, precision)?;
                let elem = f.ty(data.results[0]).elem;
                Ok(vec![Rc::new(array.settle(elem, precision))])
            })
            .collect(),
    }
}

/// All lanes go round together; a loop with an exit ends when it does in every lane. A lane whose
/// limit is reached stays as it is.
fn run_loop(
    f: &Function,
    data: &InstData,
    looped: &Loop,
    lanes: Vec<Lane>,
    precision: Precision,
) -> Result<Vec<Lane>, InterpretError> {
    let carried = looped.carried;
    let mut states: Vec<Lane> = lanes.iter().map(|lane| lane[..carried].to_vec()).collect();
    let mut yielded: Vec<Vec<Option<Lane>>> =
        lanes.iter().map(|_| vec![None; looped.count]).collect();
    for round in 0..looped.count {
        let index = match looped.reverse {
            true => looped.count - 1 - round,
            false => round,
        };
        let done = |state: &Lane| state[0].bools().iter().all(|&done| done);
        if looped.exit && states.iter().all(done) {
            break;
        }
        let limit = |lane: &Lane| match (looped.limited, lane.last()) {
            (true, Some(limit)) => limit.ints()[0],
            _ => i64::MAX,
        };
        let runs: Vec<bool> = lanes
            .iter()
            .map(|lane| (index as i64) < limit(lane))
            .collect();
        if !runs.contains(&true) {
            continue;
        }
        let arguments = lanes
            .iter()
            .zip(&states)
            .map(|(lane, state)| {
                let lane = &lane[..lane.len() - usize::from(looped.limited)];
                let (slices, constants) = lane[carried..].split_at(looped.sliced);
                std::iter::once(Rc::new(Array::index(index)))
                    .chain(state.iter().cloned())
                    .chain(slices.iter().map(|slice| Rc::new(slice.row(index))))
                    .chain(constants.iter().cloned())
                    .collect()
            })
            .collect();
        let results = run(&looped.body, arguments, precision)?;
        for (at, mut results) in results.into_iter().enumerate() {
            if runs[at] {
                yielded[at][index] = Some(results.split_off(carried));
                states[at] = results;
            }
        }
    }
    Ok(states
        .into_iter()
        .zip(yielded)
        .map(|(state, rounds)| {
            let stacks = data.results[carried..]
                .iter()
                .enumerate()
                .map(|(place, &result)| {
                    let body = &looped.body;
                    let zeros = movement::zeros(body.ty(body.results[carried + place]));
                    let parts = rounds.iter().map(|row| match row {
                        Some(row) => &*row[place],
                        None => &zeros,
                    });
                    Rc::new(Array::stack(f.ty(result), parts))
                });
            state.into_iter().chain(stacks).collect()
        })
        .collect())
}

/// An op without region, for one lane.
fn plain(
    f: &Function,
    data: &InstData,
    operands: &Lane,
    precision: Precision,
) -> Result<Array, InterpretError> {
    let ty = f.ty(data.results[0]);
    let x = |index: usize| -> &Array { &operands[index] };
    Ok(match &data.op {
        Op::Constant(literal) => Array::constant(*literal, ty),
        Op::Dense(tensor) => Array::from_tensor(tensor),
        Op::Iota { axis } => movement::iota(&ty.dims, *axis),
        Op::Unary(op) => elementwise::unary(*op, x(0)),
        Op::Binary(op) => elementwise::binary(*op, x(0), x(1)),
        Op::Compare(op) => elementwise::compare(*op, x(0), x(1)),
        Op::Select => elementwise::select(x(0), x(1), x(2)),
        Op::Convert => elementwise::convert(x(0), ty.elem),
        Op::Contract(contract) => contract::contract(contract, operands, ty),
        Op::Reduce { op, axes } => reduce::reduce(*op, axes, x(0)),
        Op::ArgReduce { op, axis } => reduce::arg_reduce(*op, *axis, x(0)),
        Op::Reshape => Array {
            dims: ty.dims.to_vec(),
            items: x(0).items.clone(),
        },
        Op::Slice { start, stride, .. } => movement::slice(x(0), start, stride, &ty.dims),
        Op::Pad {
            low,
            interior,
            high: _,
        } => movement::pad(x(0), x(1), low, interior, &ty.dims),
        Op::Concat { axis } => movement::concat(operands, *axis, &ty.dims),
        Op::Reverse { axes } => movement::reverse(x(0), axes),
        Op::Gather { batch, fault } => {
            let fault = *fault;
            movement::gather(x(0), x(1), *batch, &ty.dims)
                .map_err(|bad| out_of_range(BadIndex { fault, ..bad }, data.span))?
        }
        Op::ScatterAdd { batch } => {
            let pairs = operands.chunks_exact(2);
            let mut sums = match pairs.remainder() {
                [base] => Array::clone(base),
                _ => movement::zeros(ty),
            };
            for pair in pairs {
                movement::scatter_add(&mut sums, &pair[0], &pair[1], *batch)
                    .map_err(|bad| out_of_range(bad, data.span))?;
            }
            sums
        }
        Op::Put { batch } => movement::put(x(0), x(1), x(2), *batch),
        Op::CumSum { axis, reverse } => reduce::cumsum(x(0), *axis, *reverse),
        Op::ArgSort => reduce::argsort(x(0)),
        Op::Levels { rows } => movement::levels(operands, *rows, &ty.dims),
        Op::Matrix(op) => {
            let rounded = ty.elem == Elem::F32 && precision == Precision::AsTyped;
            matrix::matrix(*op, operands, ty, rounded).map_err(|bad| InterpretError::Matrix {
                bad,
                span: data.span,
            })?
        }
        Op::Draw {
            distribution,
            site,
            batch: _,
            radices,
        } => random::draw(*distribution, *site, radices, operands, ty),
        Op::Stop | Op::Slope { .. } => x(0).clone(),
        Op::Map { .. } | Op::Loop(_) | Op::Derivative { .. } | Op::BatchMean => {
            unreachable!("{} is evaluated over lanes", data.op.name())
        }
    })
}

fn out_of_range(bad: BadIndex, span: Span) -> InterpretError {
    InterpretError::OutOfRange { bad, span }
}
