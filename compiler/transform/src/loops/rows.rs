//! Row writes: a round that replaces one row of its state, or adds to it, says so.
//!
//! `put` and trees write a row as a selection over the whole table, `select(i == place, row,
//! table)`, which needs no rule of its own in any pass but reads and writes the table in every
//! round. Here it becomes [`Op::Put`], or [`Op::ScatterAdd`] onto the table where the row is
//! added; the plan then leaves the table where it is (`aec_kernels::schedule`). Only what leads
//! from a value of the state to its next one changes: elsewhere the table would be copied anyway.
//!
//! Runs before a body is differentiated, so that the gradient of a written row is a row that is
//! read, and once more after it, for the gradients of rows that are read.

use crate::rebuild::{Results, rebuild, replace_body, splat};
use crate::term::{Term, repeat_to};
use aec_ir::{Binary, Comparison, Function, Inst, Loop, Op, Type, Value};
use aec_syntax::Span;
use smallvec::SmallVec;
use std::collections::HashMap;

/// What an instruction on the way from a value of the state to the next one becomes.
enum Change {
    /// Rows put, where the conditions of the frames around it hold.
    Put(Row, Vec<Held>),
    /// An op that puts already, under conditions.
    Again(Vec<Held>),
    /// A row added to the table, the operand at this place, where the conditions hold.
    Add(Row, usize, Vec<Held>),
    /// Scattered updates of the operand at this place added to the other one.
    Scatter(usize),
    /// A selection whose condition its puts have taken over: what was selected.
    Passed(Value),
}

/// A row of a table: `place` along `axis`, with a row for each index of the axes before it.
#[derive(Clone)]
struct Row {
    axis: usize,
    /// The index, and the table's axis for each of its own.
    place: (Value, SmallVec<[usize; 4]>),
    /// The row, repeated along the axis.
    entry: Value,
}

/// A condition, the table's axis for each of its own, and whether it must hold or fail.
type Held = (Value, SmallVec<[usize; 4]>, bool);

/// `f` with the row writes of its loops.
pub fn write_rows(f: &Function) -> Function {
    let result = rebuild(f, |out, data, operands| {
        let Some(body) = data.op.body() else {
            return Ok(None);
        };
        let body = write_rows(body);
        let body = match &data.op {
            Op::Loop(looped) => written(&body, looped),
            _ => body,
        };
        Ok(Some(replace_body(out, f, data, operands, body)))
    });
    // The closure above gives no error.
    result.unwrap_or_else(|_| f.clone())
}

fn written(body: &Function, looped: &Loop) -> Function {
    // A write takes over conditions from selections behind it: they must be known before it, as
    // something's operands.
    let order: HashMap<Inst, usize> = body.order.iter().copied().zip(0..).collect();
    let mut known_at: HashMap<Value, usize> = body.params.iter().map(|&v| (v, 0)).collect();
    for (inst, &at) in &order {
        for &operand in &body.insts[*inst].operands {
            let first = known_at.entry(operand).or_insert(at);
            *first = at.min(*first);
        }
    }
    let in_time = |(inst, change): &(Inst, Change)| match change {
        Change::Put(_, held) | Change::Again(held) => held
            .iter()
            .all(|(condition, ..)| known_at.get(condition).is_some_and(|at| *at <= order[inst])),
        Change::Add(..) | Change::Scatter(_) | Change::Passed(_) => true,
    };
    let mut changes: HashMap<Inst, Change> = HashMap::new();
    for at in 0..looped.carried {
        let (state, next) = (body.params[1 + at], body.results[at]);
        if let Some(chain) = chain(body, state, next)
            && chain.iter().all(in_time)
        {
            changes.extend(chain);
        }
    }
    if changes.is_empty() {
        return body.clone();
    }
    let places: HashMap<Value, Inst> = body
        .order
        .iter()
        .filter_map(|&inst| Some((*body.insts[inst].results.first()?, inst)))
        .collect();
    // Values of the body before and after, for what changes speak of.
    let mut now: HashMap<Value, Value> = HashMap::new();
    let result = rebuild(body, |out, data, operands| {
        if now.is_empty() {
            now.extend(body.params.iter().copied().zip(out.params.iter().copied()));
        }
        let change = data.results.first().and_then(|old| places.get(old));
        let results = change
            .and_then(|inst| changes.get(inst))
            .and_then(|change| changed(out, body, change, data, operands, &now))
            .unwrap_or_else(|| {
                let types: Vec<Type> = data.results.iter().map(|&v| body.ty(v).clone()).collect();
                let inst = out.push(data.op.clone(), operands, &types, data.span);
                out.insts[inst].results.clone()
            });
        now.extend(data.results.iter().copied().zip(results.iter().copied()));
        Ok(Some(results))
    });
    // The closure above gives no error.
    crate::rebuild::tidy(result.unwrap_or_else(|_| body.clone()))
}

/// The instruction's new result, in terms of the new function; none leaves it as it is.
fn changed(
    out: &mut Function,
    body: &Function,
    change: &Change,
    data: &aec_ir::InstData,
    operands: &[Value],
    now: &HashMap<Value, Value>,
) -> Option<Results> {
    let ty = body.ty(data.results[0]).clone();
    let span = data.span;
    let new = match change {
        Change::Put(row, held) => {
            let (index, entry) = row_parts(out, &ty.dims, row, now, span)?;
            let index = held_index(out, index, held, now, span)?;
            let op = Op::Put { batch: row.axis };
            out.push1(op, &[operands[2], index, entry], ty, span)
        }
        Change::Again(held) => {
            let index = held_index(out, operands[1], held, now, span)?;
            out.push1(
                data.op.clone(),
                &[operands[0], index, operands[2]],
                ty,
                span,
            )
        }
        Change::Add(row, table, held) => {
            let (index, mut entry) = row_parts(out, &ty.dims, row, now, span)?;
            for (condition, axes, holds) in held {
                let ty = out.ty(entry).clone();
                let condition = repeat_to(out, *now.get(condition)?, &ty.dims, axes, span);
                let nothing = out.number(0.0, ty, span);
                entry = match holds {
                    true => out.select(condition, entry, nothing, span),
                    false => out.select(condition, nothing, entry, span),
                };
            }
            let op = Op::ScatterAdd { batch: row.axis };
            out.push1(op, &[index, entry, operands[*table]], ty, span)
        }
        Change::Scatter(at) => {
            let inst = out.def_inst(operands[*at])?;
            let op = out.insts[inst].op.clone();
            let mut all = out.insts[inst].operands.to_vec();
            all.push(operands[1 - *at]);
            out.push1(op, &all, ty, span)
        }
        Change::Passed(value) => *now.get(value)?,
    };
    Some(Results::from_slice(&[new]))
}

/// The index and the rows of a row write.
fn row_parts(
    out: &mut Function,
    dims: &[usize],
    row: &Row,
    now: &HashMap<Value, Value>,
    span: Span,
) -> Option<(Value, Value)> {
    let (place, axes) = &row.place;
    let index = repeat_to(out, *now.get(place)?, &dims[..row.axis], axes, span);
    let entry = *now.get(&row.entry)?;
    let mut own: SmallVec<[usize; 4]> = SmallVec::from_slice(dims);
    own.remove(row.axis);
    let entry = match splat(out, entry) {
        Some(number) => {
            let ty = out.ty(entry).with_dims(&own);
            out.number(number, ty, span)
        }
        None => {
            let mut term = Term::of_value(out, entry)?;
            let label = term.out.remove(row.axis);
            // The label is gone, not summed.
            term.sizes[usize::from(label)] = 1;
            let elem = out.ty(entry).elem;
            term.emit(out, elem, span)
        }
    };
    Some((index, entry))
}

/// The index, or -1 where a condition says that nothing is put.
fn held_index(
    out: &mut Function,
    index: Value,
    held: &[Held],
    now: &HashMap<Value, Value>,
    span: Span,
) -> Option<Value> {
    let mut index = index;
    for (condition, axes, holds) in held {
        let ty = out.ty(index).clone();
        let condition = repeat_to(out, *now.get(condition)?, &ty.dims, axes, span);
        let nowhere = out.number(-1.0, ty, span);
        index = match holds {
            true => out.select(condition, index, nowhere, span),
            false => out.select(condition, nowhere, index, span),
        };
    }
    Some(index)
}

/// What leads from a value of the state to its next one, if all of it is row writes.
fn chain(body: &Function, state: Value, next: Value) -> Option<Vec<(Inst, Change)>> {
    let mut changes = Vec::new();
    let mut held: Vec<Held> = Vec::new();
    let mut at = next;
    while at != state {
        let inst = body.def_inst(at)?;
        let data = &body.insts[inst];
        let (change, before) = match &data.op {
            Op::Put { batch } => {
                let fits = held.iter().all(|h| h.1.iter().all(|axis| axis < batch));
                (fits.then(|| Change::Again(held.clone()))?, data.operands[0])
            }
            Op::ScatterAdd { .. } if held.is_empty() => {
                let pairs = data.operands.chunks_exact(2);
                let &[base] = pairs.remainder() else {
                    return None;
                };
                at = base;
                continue;
            }
            Op::Select => {
                let (c, a, b) = (data.operands[0], data.operands[1], data.operands[2]);
                if let Some(row) = row_of(body, c, a) {
                    let fits = held.iter().all(|h| h.1.iter().all(|&axis| axis < row.axis));
                    (fits.then(|| Change::Put(row, held.clone()))?, b)
                } else {
                    // The state is left alone where a condition fails.
                    let (inner, holds) = match (a == state, b == state) {
                        (false, true) => (a, true),
                        (true, false) => (b, false),
                        _ => return None,
                    };
                    let (condition, axes) = source(body, c);
                    held.push((condition, axes, holds));
                    (Change::Passed(inner), inner)
                }
            }
            Op::Binary(Binary::Add) => {
                let (a, b) = (data.operands[0], data.operands[1]);
                let fits = |row: &Row| held.iter().all(|h| h.1.iter().all(|&axis| axis < row.axis));
                let always = held.is_empty();
                match (added(body, b).filter(fits), added(body, a).filter(fits)) {
                    (Some(row), _) => (Change::Add(row, 0, held.clone()), a),
                    (None, Some(row)) => (Change::Add(row, 1, held.clone()), b),
                    (None, None) if always && scattered(body, b) => (Change::Scatter(1), a),
                    (None, None) if always && scattered(body, a) => (Change::Scatter(0), b),
                    (None, None) => return None,
                }
            }
            _ => return None,
        };
        // Conditions must be known where the row is written.
        if !matches!(change, Change::Passed(_)) {
            let place = |inst: Inst| body.order.iter().position(|&other| other == inst);
            let known = |h: &Held| {
                body.def_inst(h.0)
                    .is_none_or(|def| place(def) < place(inst))
            };
            if !held.iter().all(known) {
                return None;
            }
        }
        changes.push((inst, change));
        at = before;
    }
    Some(changes)
}

/// Updates scattered over zeros.
fn scattered(body: &Function, v: Value) -> bool {
    body.def_inst(v).is_some_and(|inst| {
        let data = &body.insts[inst];
        matches!(data.op, Op::ScatterAdd { .. }) && data.operands.len().is_multiple_of(2)
    })
}

/// The row that `select(c, row, 0)` holds among zeros.
fn added(body: &Function, v: Value) -> Option<Row> {
    let data = &body.insts[body.def_inst(v)?];
    let fits = matches!(data.op, Op::Select) && splat(body, data.operands[2]) == Some(0.0);
    fits.then(|| row_of(body, data.operands[0], data.operands[1]))?
}

/// The row that a selection by `mask` has from `entry`: the mask holds at one place of an axis,
/// and the entry is the same along it.
fn row_of(body: &Function, mask: Value, entry: Value) -> Option<Row> {
    let (inner, outer) = source(body, mask);
    let data = &body.insts[body.def_inst(inner)?];
    if !matches!(data.op, Op::Compare(Comparison::Eq)) {
        return None;
    }
    let sides = [data.operands[0], data.operands[1]].map(|side| {
        let (value, axes) = source(body, side);
        let axes: SmallVec<[usize; 4]> = axes.iter().map(|&axis| outer[axis]).collect();
        (value, axes)
    });
    let counts = |(value, axes): &(Value, SmallVec<[usize; 4]>)| {
        let inst = body.def_inst(*value)?;
        match body.insts[inst].op {
            Op::Iota { axis } => axes.get(axis).copied(),
            _ => None,
        }
    };
    let [a, b] = sides;
    let (axis, place) = match (counts(&a), counts(&b)) {
        (Some(axis), None) => (axis, b),
        (None, Some(axis)) => (axis, a),
        _ => return None,
    };
    let ints = body.ty(place.0).elem == aec_runtime::Elem::I64;
    if !ints || place.1.iter().any(|&other| other >= axis) {
        return None;
    }
    let same = splat(body, entry).is_some()
        || Term::of_value(body, entry).is_some_and(|term| {
            term.out
                .get(axis)
                .is_some_and(|label| term.repeated().contains(label))
        });
    same.then_some(Row { axis, place, entry })
}

/// What a value repeats along new axes, and the value's axis for each axis of that.
fn source(body: &Function, v: Value) -> (Value, SmallVec<[usize; 4]>) {
    let mut value = v;
    let mut axes: SmallVec<[usize; 4]> = (0..body.dims(v).len()).collect();
    while let Some(term) = Term::of_value(body, value) {
        let plain = term.is_relabel()
            && term.deltas.is_empty()
            && term.coefficient == 1.0
            && crate::term::all_different(&term.factors[0].labels);
        if !plain {
            break;
        }
        let factor = &term.factors[0];
        let place = |l: &u8| term.out.iter().position(|o| o == l);
        let Some(own) = factor
            .labels
            .iter()
            .map(place)
            .collect::<Option<SmallVec<[usize; 4]>>>()
        else {
            break;
        };
        axes = own.iter().map(|&axis| axes[axis]).collect();
        value = factor.value;
    }
    (value, axes)
}
