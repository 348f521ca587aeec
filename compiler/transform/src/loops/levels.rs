//! The batching rule of trees (AUTODIFF.md section 10): a loop over the nodes of one tree
//! ([`Loop::nodes`]) becomes one over rounds of nodes of any tree of the batch.
//!
//! The tables of all trees are one table. A round takes up to as many nodes as there are trees,
//! which [`Op::Levels`] chooses when the program runs: so there are as many rounds as the highest
//! tree is high, or little more, and rows are computed for few nodes that are none. What differs
//! from tree to tree is gathered by each node's tree; a node keeps its index in its own tree, and
//! so its draws. From here on it is a loop like any other, with rows gathered and rows put.

use super::{Builder, reframe};
use crate::batch::{Axis, batch_body, reduces_batch};
use crate::term::{repeat_leading, sum};
use aec_ir::{Binary, Comparison, Fault, Function, Inst, Loop, Op, Type, Value};
use aec_runtime::Elem;
use aec_runtime::levels::most_rounds;
use aec_syntax::{Diagnostic, Span};
use smallvec::SmallVec;

/// What a round does with its tables.
struct Uses {
    /// Rows read: the instruction, which table, and the place.
    reads: Vec<(Inst, usize, Value)>,
    /// Rows written, in order: which table, the place, and the row.
    writes: Vec<(usize, Value, Value)>,
}

/// The uses of the tables, if all there are is rows read and written.
fn uses(looped: &Loop) -> Option<Uses> {
    let body = &looped.body;
    let tables = &body.params[1..looped.first_slice()];
    let table = |v: Value| tables.iter().position(|&table| table == v);
    let is_place = |v: Value| body.dims(v).is_empty();
    let mut writes = Vec::new();
    let mut chains: Vec<Inst> = Vec::new();
    for (at, &result) in body.results.iter().enumerate() {
        let first = writes.len();
        let mut value = result;
        while table(value) != Some(at) {
            let inst = body.def_inst(value)?;
            let data = &body.insts[inst];
            let (Op::Put { batch: 0 }, true) = (&data.op, is_place(data.operands[1])) else {
                return None;
            };
            chains.push(inst);
            writes.push((at, data.operands[1], data.operands[2]));
            value = data.operands[0];
        }
        writes[first..].reverse();
    }
    let mut reads = Vec::new();
    for &inst in &body.order {
        let data = &body.insts[inst];
        let is_chain = chains.contains(&inst);
        for (nth, &operand) in data.operands.iter().enumerate() {
            let from_chain = body
                .def_inst(operand)
                .is_some_and(|inst| chains.contains(&inst));
            match (table(operand), &data.op) {
                (None, _) if !from_chain => {}
                (_, Op::Put { .. }) if is_chain && nth == 0 => {}
                (
                    Some(at),
                    Op::Gather {
                        batch: 0,
                        fault: Fault::Index,
                    },
                ) if nth == 0 && is_place(data.operands[1]) => {
                    reads.push((inst, at, data.operands[1]));
                }
                _ => return None,
            }
        }
    }
    Some(Uses { reads, writes })
}

/// Appends the loop over rounds of nodes, for trees whose shape differs along the axis; gives its
/// tables, with the axis in front. None if a round does more than the nodes of a tree do.
pub fn batch_nodes(
    out: &mut Function,
    looped: &Loop,
    operands: &[Value],
    which: &[bool],
    axis: Axis,
    span: Span,
) -> Result<Option<Vec<Value>>, Diagnostic> {
    let (trees, nodes, carried) = (axis.size, looped.count, looped.carried);
    let (given, Some(limit)) = looped.split_limit(operands) else {
        return Ok(None);
    };
    let shape = [carried, carried + 1, given.len()];
    let differ = looped.nodes && shape.iter().any(|&at| which[at]);
    let body = &looped.body;
    let couples = body
        .order
        .iter()
        .any(|&inst| reduces_batch(&body.insts[inst].op));
    if !differ || couples || trees * nodes == 0 {
        return Ok(None);
    }
    let Some(uses) = uses(looped) else {
        return Ok(None);
    };
    let rows = trees;
    let rounds = most_rounds(trees, nodes, rows);

    // All operands with the axis in front where it matters.
    let with_axis = |out: &mut Function, at: usize, value: Value| match which[at] {
        true => value,
        false => repeat_leading(out, value, trees, span),
    };
    let columns: Vec<Value> = (carried..carried + looped.sliced)
        .map(|at| with_axis(out, at, given[at]))
        .collect();
    let limit = with_axis(out, given.len(), limit);
    let ints = |dims: &[usize]| Type::new(Elem::I64, dims);
    let order = out.push1(
        Op::Levels { rows },
        &[columns[0], columns[1], limit],
        ints(&[3, rounds, rows]),
        span,
    );
    let [node, tree, real] = [0, 1, 2].map(|plane| {
        let op = Op::Slice {
            start: vec![plane, 0, 0],
            limit: vec![plane + 1, rounds, rows],
            stride: vec![1; 3],
        };
        let plane = out.push1(op, &[order], ints(&[1, rounds, rows]), span);
        out.reshape(plane, &[rounds, rows], span)
    });

    let mut builder = Builder::like(looped, operands);
    builder.count = rounds;
    // Each round that is run begins with a node.
    let first = Op::Slice {
        start: vec![0, 0],
        limit: vec![rounds, 1],
        stride: vec![1, 1],
    };
    let begun = out.push1(first, &[real], ints(&[rounds, 1]), span);
    builder.limit = Some(sum(out, begun, &[0, 1], 1.0, span));
    for (at, &table) in given.iter().enumerate().take(carried) {
        let table = with_axis(out, at, table);
        let mut dims: SmallVec<[usize; 4]> = SmallVec::from_slice(&out.dims(table)[1..]);
        dims[0] *= trees;
        builder.state.push(out.reshape(table, &dims, span));
    }
    let id = flat(out, tree, node, nodes, span);
    builder.slices = vec![node, tree, real];
    for &column in &columns {
        let mut dims: SmallVec<[usize; 4]> = SmallVec::from_slice(&out.dims(column)[1..]);
        dims[0] *= trees;
        let column = out.reshape(column, &dims, span);
        builder.slices.push(rows_at(out, column, id, span));
    }
    builder.constants.extend(&given[carried + looped.sliced..]);

    // One round.
    let mut f = Function::new(body.name.clone());
    f.param(Type::scalar(Elem::I64), "");
    let param = |f: &mut Function, out: &Function, &v: &Value, from: usize| {
        let ty = out.ty(v);
        f.param(ty.with_dims(&ty.dims[from..]), "")
    };
    let tables: Vec<Value> = (builder.state.iter())
        .map(|v| param(&mut f, out, v, 0))
        .collect();
    let slices: Vec<Value> = (builder.slices.iter())
        .map(|v| param(&mut f, out, v, 1))
        .collect();
    let constants: Vec<Value> = (builder.constants.iter())
        .map(|v| param(&mut f, out, v, 0))
        .collect();
    let (node, tree, real) = (slices[0], slices[1], slices[2]);
    // The arguments of one node, for all rows: the index, entries of sequences, constants.
    let mut args = vec![(node, true)];
    args.extend(slices[3..].iter().map(|&v| (v, true)));
    for (&constant, &varies) in constants.iter().zip(&which[carried + looped.sliced..]) {
        args.push(match varies {
            true => (rows_at(&mut f, constant, tree, span), true),
            false => (constant, false),
        });
    }
    let own: Vec<Value> = std::iter::once(body.params[0])
        .chain(body.params[looped.first_slice()..].iter().copied())
        .collect();
    let axis = Axis {
        size: rows,
        is_batch: false,
    };
    let places: Vec<Value> = (uses.reads.iter().map(|read| read.2))
        .chain(uses.writes.iter().map(|write| write.1))
        .collect();
    let places = per_row(&mut f, &reframe(body, &own, &places), &args, axis, span)?;
    let (read_places, write_places) = places.split_at(uses.reads.len());
    let mut with_reads = own;
    for (&(inst, table, _), &place) in uses.reads.iter().zip(read_places) {
        let room = f.dims(tables[table])[0] / trees;
        let at = flat(&mut f, tree, place, room, span);
        with_reads.push(body.insts[inst].results[0]);
        args.push((rows_at(&mut f, tables[table], at, span), true));
    }
    let written: Vec<Value> = uses.writes.iter().map(|write| write.2).collect();
    let written = per_row(
        &mut f,
        &reframe(body, &with_reads, &written),
        &args,
        axis,
        span,
    )?;
    let mut results = tables.clone();
    let zero = f.number(0.0, ints(&[rows]), span);
    let is_real = f.compare(Comparison::Ne, real, zero, span);
    let nowhere = f.number(-1.0, ints(&[rows]), span);
    for ((&(table, _, _), &place), &rows) in uses.writes.iter().zip(write_places).zip(&written) {
        let room = f.dims(tables[table])[0] / trees;
        let at = flat(&mut f, tree, place, room, span);
        let at = f.select(is_real, at, nowhere, span);
        let ty = f.ty(tables[table]).clone();
        let put = Op::Put { batch: 0 };
        results[table] = f.push1(put, &[results[table], at, rows], ty, span);
    }
    f.results = results;
    let tables = builder.finish(out, crate::rebuild::tidy(f), span);
    let tables = tables.iter().map(|&table| {
        let dims = out.dims(table);
        let front = [trees, dims[0] / trees];
        let dims: SmallVec<[usize; 4]> = front.iter().chain(&dims[1..]).copied().collect();
        out.reshape(table, &dims, span)
    });
    Ok(Some(tables.collect()))
}

/// The results of a body of one node for all rows.
fn per_row(
    f: &mut Function,
    body: &Function,
    args: &[(Value, bool)],
    axis: Axis,
    span: Span,
) -> Result<Vec<Value>, Diagnostic> {
    let (args, mapped): (Vec<Value>, Vec<bool>) = args.iter().copied().unzip();
    let results = batch_body(f, body, &args, &mapped, axis)?;
    let rows = results.into_iter().map(|(value, varies)| match varies {
        true => value,
        false => repeat_leading(f, value, axis.size, span),
    });
    Ok(rows.collect())
}

/// `tree * room + place`: where a place of a tree is in the table of all trees.
fn flat(f: &mut Function, tree: Value, place: Value, room: usize, span: Span) -> Value {
    let ty = f.ty(tree).clone();
    let room = f.number(room as f64, ty, span);
    let before = f.binary(Binary::Mul, tree, room, span);
    f.binary(Binary::Add, before, place, span)
}

/// The rows of a table at some indices.
fn rows_at(f: &mut Function, table: Value, index: Value, span: Span) -> Value {
    let ty = f.ty(table);
    let at = f.dims(index);
    let dims: SmallVec<[usize; 4]> = at.iter().chain(&ty.dims[1..]).copied().collect();
    let ty = ty.with_dims(&dims);
    let op = Op::Gather {
        batch: 0,
        fault: Fault::Index,
    };
    f.push1(op, &[table, index], ty, span)
}
