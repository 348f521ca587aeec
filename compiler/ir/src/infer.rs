//! The type rule of each op. The one place that says what operands an op takes and what its
//! results are; builders, parser and verifier all ask here.

use crate::function::Type;
use crate::op::{Binary, Literal, Op, Reduction, Unary, literal_fits};
use aec_runtime::Elem;
use aec_runtime::levels::most_rounds;
use aec_runtime::linalg::MatrixOp;
use smallvec::SmallVec;

mod contract;
mod regions;

use contract::{contract_rule, integer_coefficient, out_dims};
use regions::{derivative_rule, loop_rule, map_rule};

/// What a rule says of the results.
enum Rule {
    /// The operands and attributes fix all of them.
    Types(Vec<Type>),
    /// The caller chooses; [`check_given`] says within which bounds.
    Given,
}

/// The types of the results, for ops where operands and attributes fix them. An error for
/// operands that break the op's rule, and for ops whose result type must be given:
/// `Constant`, `Iota`, `Convert`, `Reshape`, `ScatterAdd`, `Draw`, and a `Contract` without
/// factors ([`check_types`] checks those).
pub fn result_types(op: &Op, operands: &[Type]) -> Result<Vec<Type>, String> {
    match rule(op, operands)? {
        Rule::Types(types) => Ok(types),
        Rule::Given => Err(format!("the result type of {} must be given", op.name())),
    }
}

/// Whether operands and results fit the op; the error says what does not.
pub fn check_types(op: &Op, operands: &[Type], results: &[Type]) -> Result<(), String> {
    match rule(op, operands)? {
        Rule::Types(types) => {
            if types.len() != results.len() {
                return Err(format!(
                    "it has {} results, but the rule gives {}",
                    results.len(),
                    types.len()
                ));
            }
            for (index, (want, have)) in types.iter().zip(results).enumerate() {
                if want != have {
                    return Err(format!(
                        "result {index} has type {have}, but the rule gives {want}"
                    ));
                }
            }
            Ok(())
        }
        Rule::Given => match results {
            [result] => check_given(op, operands, result),
            _ => Err(format!("it has {} results, not one", results.len())),
        },
    }
}

fn one(ty: Type) -> Result<Rule, String> {
    Ok(Rule::Types(vec![ty]))
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}

fn fixed<const N: usize>(operands: &[Type]) -> Result<&[Type; N], String> {
    operands
        .try_into()
        .map_err(|_| format!("it takes {N} operands, not {}", operands.len()))
}

fn axis_of(axis: usize, ty: &Type) -> Result<(), String> {
    ensure(axis < ty.rank(), || {
        format!("axis {axis} is not one of {ty}")
    })
}

fn axes_of(axes: &[usize], ty: &Type) -> Result<(), String> {
    for &axis in axes {
        axis_of(axis, ty)?;
    }
    ensure(axes.windows(2).all(|pair| pair[0] < pair[1]), || {
        format!("axes {axes:?} are not ascending")
    })
}

fn float(ty: &Type) -> Result<(), String> {
    ensure(ty.elem.is_float(), || format!("{ty} is not of floats"))
}

fn number(ty: &Type) -> Result<(), String> {
    ensure(ty.elem != Elem::Bool, || {
        "bool operands are not numbers".to_string()
    })
}

fn boolean(ty: &Type) -> Result<(), String> {
    ensure(ty.elem == Elem::Bool, || format!("{ty} is not of bool"))
}

fn int(ty: &Type) -> Result<(), String> {
    ensure(ty.elem.is_int(), || format!("{ty} is not of ints"))
}

fn index(ty: &Type) -> Result<(), String> {
    ensure(ty.elem == Elem::I64, || format!("index {ty} is not i64"))
}

fn same(a: &Type, b: &Type) -> Result<(), String> {
    ensure(a == b, || format!("{a} and {b} are not one type"))
}

fn rule(op: &Op, operands: &[Type]) -> Result<Rule, String> {
    match op {
        Op::Constant(_) | Op::Iota { .. } => {
            fixed::<0>(operands)?;
            Ok(Rule::Given)
        }
        Op::Dense(tensor) => {
            fixed::<0>(operands)?;
            one(Type::new(tensor.elem(), tensor.dims()))
        }
        Op::Unary(op) => {
            let [x] = fixed(operands)?;
            match op {
                Unary::Neg | Unary::Abs | Unary::Sign => number(x)?,
                Unary::Floor
                | Unary::Exp
                | Unary::Log
                | Unary::Log1p
                | Unary::Expm1
                | Unary::Sqrt
                | Unary::Sin
                | Unary::Cos
                | Unary::Tanh
                | Unary::Logistic
                | Unary::Erf => float(x)?,
                Unary::Not => boolean(x)?,
            }
            one(x.clone())
        }
        Op::Binary(op) => {
            let [a, b] = fixed(operands)?;
            same(a, b)?;
            match op {
                Binary::Add | Binary::Sub | Binary::Min | Binary::Max | Binary::Mod => number(a)?,
                Binary::Mul | Binary::FloorDiv => int(a)?,
                Binary::Div | Binary::Pow => float(a)?,
                Binary::And | Binary::Or => boolean(a)?,
            }
            one(a.clone())
        }
        Op::Compare(_) => {
            let [a, b] = fixed(operands)?;
            same(a, b)?;
            one(Type::new(Elem::Bool, &a.dims))
        }
        Op::Select => {
            let [condition, a, b] = fixed(operands)?;
            boolean(condition)?;
            same(a, b)?;
            ensure(condition.dims == a.dims, || {
                format!("condition {condition} and {a} differ in dims")
            })?;
            one(a.clone())
        }
        Op::Convert | Op::Reshape => {
            fixed::<1>(operands)?;
            Ok(Rule::Given)
        }
        Op::Contract(contract) => contract_rule(contract, operands),
        Op::Reduce { op, axes } => {
            let [x] = fixed(operands)?;
            match op {
                Reduction::Max | Reduction::Min => number(x)?,
                Reduction::All | Reduction::Any => boolean(x)?,
            }
            axes_of(axes, x)?;
            one(without_axes(x, axes))
        }
        Op::ArgReduce { op, axis } => {
            let [x] = fixed(operands)?;
            match op {
                Reduction::Max | Reduction::Min => number(x)?,
                Reduction::All | Reduction::Any => {
                    return Err(format!("{} has no index", op.name()));
                }
            }
            axis_of(*axis, x)?;
            one(Type::new(Elem::I64, &without_axes(x, &[*axis]).dims))
        }
        Op::Slice {
            start,
            limit,
            stride,
        } => {
            let [x] = fixed(operands)?;
            let rank = x.rank();
            ensure(
                start.len() == rank && limit.len() == rank && stride.len() == rank,
                || format!("{x} wants one range for each axis"),
            )?;
            let mut dims: SmallVec<[usize; 4]> = SmallVec::new();
            for axis in 0..rank {
                let (from, to, step) = (start[axis], limit[axis], stride[axis]);
                ensure(from <= to && to <= x.dims[axis] && step >= 1, || {
                    format!("range {from}:{to}:{step} is not within axis {axis} of {x}")
                })?;
                dims.push((to - from).div_ceil(step));
            }
            one(x.with_dims(&dims))
        }
        Op::Pad {
            low,
            high,
            interior,
        } => {
            let [x, value] = fixed(operands)?;
            let rank = x.rank();
            ensure(*value == Type::scalar(x.elem), || {
                format!("the padding {value} is not a scalar of {}", x.elem)
            })?;
            ensure(
                low.len() == rank && high.len() == rank && interior.len() == rank,
                || format!("{x} wants one padding for each axis"),
            )?;
            let dims: SmallVec<[usize; 4]> = (0..rank)
                .map(|axis| {
                    let size = x.dims[axis];
                    let between = size.saturating_sub(1).saturating_mul(interior[axis]);
                    (low[axis].saturating_add(high[axis]))
                        .saturating_add(size)
                        .saturating_add(between)
                })
                .collect();
            one(x.with_dims(&dims))
        }
        Op::Concat { axis } => {
            let [first, rest @ ..] = operands else {
                return Err("it takes at least one operand".to_string());
            };
            axis_of(*axis, first)?;
            let mut ty = first.clone();
            for other in rest {
                let fits = other.elem == first.elem
                    && other.rank() == first.rank()
                    && (0..first.rank()).all(|other_axis| {
                        other_axis == *axis || other.dims[other_axis] == first.dims[other_axis]
                    });
                ensure(fits, || {
                    format!("{first} and {other} differ beyond axis {axis}")
                })?;
                ty.dims[*axis] = ty.dims[*axis].saturating_add(other.dims[*axis]);
            }
            one(ty)
        }
        Op::Reverse { axes } => {
            let [x] = fixed(operands)?;
            axes_of(axes, x)?;
            one(x.clone())
        }
        Op::Gather { batch, fault: _ } => {
            let [x, at] = fixed(operands)?;
            index(at)?;
            ensure(*batch < x.rank() && *batch <= at.rank(), || {
                format!("{batch} batch axes are too many for {x} at {at}")
            })?;
            ensure(x.dims[..*batch] == at.dims[..*batch], || {
                format!("{x} and {at} differ in their {batch} batch axes")
            })?;
            let mut ty = x.with_dims(&at.dims);
            ty.dims.extend_from_slice(&x.dims[batch + 1..]);
            one(ty)
        }
        Op::ScatterAdd { batch } => {
            ensure(operands.len() >= 2, || {
                "an index and updates are missing".to_string()
            })?;
            for pair in operands.chunks_exact(2) {
                let (at, updates) = (&pair[0], &pair[1]);
                index(at)?;
                number(updates)?;
                ensure(*batch <= at.rank(), || {
                    format!("{batch} batch axes are too many for {at}")
                })?;
                ensure(
                    updates.rank() >= at.rank() && updates.dims[..at.rank()] == at.dims[..],
                    || format!("updates {updates} do not start with the dims of {at}"),
                )?;
            }
            Ok(Rule::Given)
        }
        Op::Put { batch } => {
            let [x, at, rows] = fixed(operands)?;
            index(at)?;
            ensure(*batch < x.rank() && *batch <= at.rank(), || {
                format!("{batch} batch axes are too many for {x} at {at}")
            })?;
            let fits = rows.elem == x.elem
                && x.dims[..*batch] == at.dims[..*batch]
                && rows.dims.starts_with(&at.dims)
                && rows.dims[at.rank()..] == x.dims[batch + 1..];
            ensure(fits, || {
                format!("{rows} at {at} with {batch} batch axes are no rows of {x}")
            })?;
            one(x.clone())
        }
        Op::CumSum { axis, .. } => {
            let [x] = fixed(operands)?;
            number(x)?;
            axis_of(*axis, x)?;
            one(x.clone())
        }
        Op::ArgSort => {
            let [x] = fixed(operands)?;
            number(x)?;
            ensure(x.rank() >= 1, || "a scalar has no last axis".to_string())?;
            one(Type::new(Elem::I64, &x.dims))
        }
        Op::Levels { rows } => {
            let [left, right, count] = fixed(operands)?;
            let fits = left.rank() >= 2
                && left == right
                && count.dims[..] == left.dims[..left.rank() - 1]
                && left.elem == Elem::I64
                && count.elem == Elem::I64
                && *rows > 0;
            ensure(fits, || {
                format!("{left}, {right} and {count} are no trees in rounds of {rows}")
            })?;
            let [batch @ .., trees, nodes] = &left.dims[..] else {
                return Err("it has no trees".to_string());
            };
            let rounds = most_rounds(*trees, *nodes, *rows);
            let dims: SmallVec<[usize; 4]> =
                batch.iter().copied().chain([3, rounds, *rows]).collect();
            one(Type::new(Elem::I64, &dims))
        }
        Op::Matrix(op) => matrix_rule(*op, operands),
        Op::Draw { batch, radices, .. } => {
            let [seed, step, coordinates @ ..] = operands else {
                return Err("it takes a seed and a step".to_string());
            };
            for scalar in [seed, step] {
                ensure(*scalar == Type::scalar(Elem::I64), || {
                    format!("seed and step are i64 scalars, not {scalar}")
                })?;
            }
            ensure(radices.len() == coordinates.len().saturating_sub(1), || {
                format!(
                    "{} coordinates want {} radices, not {}",
                    coordinates.len(),
                    coordinates.len().saturating_sub(1),
                    radices.len()
                )
            })?;
            for coordinate in coordinates {
                index(coordinate)?;
                same(coordinate, &coordinates[0])?;
                ensure(coordinate.rank() == *batch, || {
                    format!("coordinate {coordinate} does not have {batch} axes")
                })?;
            }
            ensure(!coordinates.is_empty() || *batch == 0, || {
                "batch axes without a coordinate".to_string()
            })?;
            Ok(Rule::Given)
        }
        Op::Map {
            size, mapped, body, ..
        } => map_rule(*size, mapped, body, operands),
        Op::Loop(looped) => loop_rule(looped, operands),
        Op::Derivative { mode, active, body } => derivative_rule(*mode, active, body, operands),
        Op::BatchMean => {
            let [x] = fixed(operands)?;
            float(x)?;
            one(x.clone())
        }
        Op::Stop => {
            let [x] = fixed(operands)?;
            one(x.clone())
        }
        Op::Slope { batch } => {
            let [y, x, slope] = fixed(operands)?;
            for operand in [&y, &x, &slope] {
                float(operand)?;
            }
            let shared = *batch <= y.rank() && *batch <= x.rank();
            let fits = shared && y.dims[..*batch] == x.dims[..*batch] && {
                let mut dims = y.dims.clone();
                dims.extend_from_slice(&x.dims[*batch..]);
                slope.dims == dims && slope.elem == y.elem && x.elem == y.elem
            };
            ensure(fits, || format!("{slope} is no slope of {y} by {x}"))?;
            one(y.clone())
        }
    }
}

/// Operands are `[..batch, n, m]` and, for a solve, `[..batch, n, k]`.
fn matrix_rule(op: MatrixOp, operands: &[Type]) -> Result<Rule, String> {
    ensure(operands.len() == op.operands(), || {
        format!(
            "it takes {} operands, not {}",
            op.operands(),
            operands.len()
        )
    })?;
    let a = &operands[0];
    float(a)?;
    let lead = a
        .rank()
        .checked_sub(2)
        .ok_or_else(|| format!("{a} is not a matrix"))?;
    let mut rhs = 0;
    if let Some(b) = operands.get(1) {
        let fits = b.elem == a.elem && b.rank() == a.rank() && b.dims[..=lead] == a.dims[..=lead];
        ensure(fits, || format!("right sides {b} do not fit {a}"))?;
        rhs = b.dims[lead + 1];
    }
    let own = op.result_dims(a.dims[lead], a.dims[lead + 1], rhs)?;
    let mut ty = a.with_dims(&a.dims[..lead]);
    ty.dims.extend_from_slice(&own);
    one(ty)
}

fn check_given(op: &Op, operands: &[Type], result: &Type) -> Result<(), String> {
    match op {
        Op::Constant(literal) => ensure(literal_fits(*literal, result.elem), || {
            let kind = match literal {
                Literal::Float(_) => "a float",
                Literal::Int(_) => "an int",
                Literal::Bool(_) => "a bool",
            };
            format!("{kind} literal does not fit {result}")
        }),
        Op::Iota { axis } => {
            int(result)?;
            axis_of(*axis, result)
        }
        Op::Convert => ensure(operands[0].dims == result.dims, || {
            format!("{} and {result} differ in dims", operands[0])
        }),
        Op::Reshape => {
            ensure(operands[0].elem == result.elem, || {
                format!("{} and {result} differ in element type", operands[0])
            })?;
            ensure(operands[0].len() == result.len(), || {
                format!("{} and {result} differ in size", operands[0])
            })
        }
        Op::ScatterAdd { batch } => {
            let pairs = operands.chunks_exact(2);
            if let [base] = pairs.remainder() {
                ensure(base == result, || format!("{base} is not {result}"))?;
            }
            for pair in pairs {
                let (at, updates) = (&pair[0], &pair[1]);
                let slices = &updates.dims[at.rank()..];
                let fits = result.elem == updates.elem
                    && result.rank() == batch + 1 + slices.len()
                    && result.dims[..*batch] == at.dims[..*batch]
                    && result.dims[batch + 1..] == *slices;
                ensure(fits, || {
                    format!("{updates} at {at} with {batch} batch axes does not add up to {result}")
                })?;
            }
            Ok(())
        }
        Op::Draw { batch, .. } => {
            float(result)?;
            let dims = operands.get(2).map_or(&[][..], |ty| &ty.dims[..]);
            ensure(
                result.rank() >= *batch && result.dims[..*batch] == *dims,
                || format!("{result} does not start with the coordinates' dims {dims:?}"),
            )
        }
        Op::Contract(contract) => {
            let dims: SmallVec<[usize; 4]> = out_dims(contract);
            ensure(result.elem != Elem::Bool, || {
                "a product of nothing is a number".to_string()
            })?;
            integer_coefficient(contract, result.elem)?;
            ensure(result.dims == dims, || {
                format!("result has type {result}, but the labels give {dims:?}")
            })
        }
        // The other ops' rules give their types.
        Op::Dense(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Select
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Reverse { .. }
        | Op::Gather { .. }
        | Op::Put { .. }
        | Op::CumSum { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Matrix(_)
        | Op::Map { .. }
        | Op::Loop(_)
        | Op::Derivative { .. }
        | Op::BatchMean
        | Op::Stop
        | Op::Slope { .. } => Err(format!("{} has no given type", op.name())),
    }
}

fn without_axes(ty: &Type, axes: &[usize]) -> Type {
    let dims: SmallVec<[usize; 4]> = ty
        .dims
        .iter()
        .enumerate()
        .filter(|(axis, _)| !axes.contains(axis))
        .map(|(_, &size)| size)
        .collect();
    ty.with_dims(&dims)
}
