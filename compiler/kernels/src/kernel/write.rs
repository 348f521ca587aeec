//! Emits the code of a kernel once, with its loops in one order and pieces of a given size.

use super::forms::{drop_unused_buffers, on_tiles, share_out};
use super::{Action, Built, Spec, Strategy};
use crate::coords::{self, Coord};
use crate::emit::{Bind, Emitter, Fail, LoopKey, Splits};
use crate::lir::{Access, BufferId, Val, Var};
use crate::prepare::Prepared;
use crate::{blocks, cost, tidy};
use aec_ir::{Op, Value};
use aec_syntax::Span;
use cranelift_entity::{EntityRef, EntitySet};

/// Entries of a value that are written out at most.
const WRITTEN_ENTRIES: usize = 64;

/// What is stored once all values are there: whose buffer, where, what.
type Stores = Vec<(Value, Vec<Coord>, Val)>;

/// Emits a kernel's code.
pub(super) fn emit_once(
    prepared: &Prepared,
    stored: &EntitySet<Value>,
    spec: &Spec,
    strategy: &Strategy,
    splits: &Splits,
) -> Result<Built, Fail> {
    let mut e = open(prepared, stored, spec, strategy, splits);
    // All values before all stores: a store may overwrite what others read at this place.
    let mut stores = Stores::new();
    // Values of the outer axes first: their passes over a row store what later ones load.
    let mut actions: Vec<&Action> = spec.actions.iter().collect();
    actions.sort_by_key(|action| match action {
        Action::Root { value, .. } => e.axes(*value),
        Action::Place { .. }
        | Action::Fill { .. }
        | Action::Scatter { .. }
        | Action::Put(_)
        | Action::CumSum(_) => 0,
    });
    for action in actions {
        emit(&mut e, action, &mut stores)?;
    }
    let tile_store = spec.tile.map(|(product, _)| product);
    for (into, coords, val) in stores {
        if Some(into) == tile_store {
            // The product itself is wanted too: copied out of the tile, through a buffer of
            // its own.
            let name = prepared.value_name(into);
            let buffer = e.nest.buffer(e.f.ty(into).elem, Access::Write, &name);
            e.binds.push(Bind::Value(into));
            let place = coords::linear(e.f.dims(into), &coords);
            e.nest.store(buffer, &place, val);
        } else {
            e.store(into, &coords, val);
        }
    }
    finish(prepared, spec, e)
}

/// An emitter with the loops over the space open, if the actions do not open their own.
fn open<'a>(
    prepared: &'a Prepared,
    stored: &'a EntitySet<Value>,
    spec: &Spec,
    strategy: &Strategy,
    splits: &'a Splits,
) -> Emitter<'a> {
    let mut e = Emitter::new(prepared, stored, splits);
    e.lanes = strategy.reduce_lanes;
    e.own = spec.roots();
    e.written = spec.written(&prepared.f).is_some();
    if let Some((product, _)) = spec.tile {
        // The tile is buffer 0.
        e.own.retain(|v| *v != product);
        let tile = e.buffer(Bind::Value(product), false);
        debug_assert_eq!(tile.index(), 0);
    }
    if !spec.opens_loops() {
        let mut coords = vec![Coord::default(); spec.space.len()];
        for &axis in &strategy.order {
            let lanes = strategy.lane_axis == Some(axis);
            coords[axis] = e.open_axis(LoopKey::Space(axis), spec.space[axis], lanes);
        }
        e.space = coords;
        if !e.written {
            e.space_dims = spec.space.clone();
        }
    }
    e
}

/// Computes what an action stores, or also stores it if its place is not the space's.
fn emit(e: &mut Emitter<'_>, action: &Action, stores: &mut Stores) -> Result<(), Fail> {
    let f = e.f;
    match action {
        Action::Root { value, store } => {
            let places = match e.written {
                true => entries(&e.space, f.dims(*value))?,
                false => vec![e.home(*value)?],
            };
            for coords in places {
                let val = e.emit(*value, &coords)?;
                if *store && !e.streamed.iter().any(|(v, _)| v == value) {
                    stores.push((*value, coords, val));
                }
            }
        }
        Action::Place { value, into, at } => {
            let coords = e.space.clone();
            let val = e.emit(*value, &coords)?;
            let place = coords
                .iter()
                .zip(at)
                .map(|(c, &(start, stride))| c.scaled(stride as i64, start as i64))
                .collect();
            stores.push((*into, place, val));
        }
        Action::Fill { scalar, into } => {
            let elem = f.ty(*into).elem;
            let val = match scalar {
                Some(scalar) => e.emit(*scalar, &[])?,
                None => e.nest.float(0.0, elem),
            };
            stores.push((*into, e.space.clone(), val));
        }
        Action::Scatter { inst, pair } => {
            let Op::ScatterAdd { batch } = f.insts[*inst].op else {
                return Err(Fail::Illegal("not a scatter"));
            };
            e.scatter(*inst, *pair, batch)?;
        }
        Action::Put(inst) => {
            let Op::Put { batch } = f.insts[*inst].op else {
                return Err(Fail::Illegal("no rows are put"));
            };
            e.put(*inst, batch)?;
        }
        Action::CumSum(inst) => {
            let Op::CumSum { axis, reverse } = f.insts[*inst].op else {
                return Err(Fail::Illegal("not a running sum"));
            };
            e.cumsum(*inst, axis, reverse)?;
        }
    }
    Ok(())
}

/// From the emitted code to the kernel, in the form that runs.
fn finish(prepared: &Prepared, spec: &Spec, mut e: Emitter<'_>) -> Result<Built, Fail> {
    let f = &prepared.f;
    let loop_of: Vec<Option<(LoopKey, usize)>> = e
        .nest
        .kernel
        .vars
        .keys()
        .map(|var| e.loop_of(var))
        .collect();
    let binds = std::mem::take(&mut e.binds);
    let private: Vec<BufferId> = spec
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Root {
                value,
                store: false,
            } => binds.iter().position(|bind| *bind == Bind::Value(*value)),
            _ => None,
        })
        .map(BufferId::new)
        .collect();
    let mut kernel = e.nest.finish();
    let (name, spans) = describe(prepared, spec);
    kernel.name = name;
    kernel.spans = spans;
    let rows = spec.tile.map(|(_, rows)| rows);
    let may_merge = |outer: Var, inner: Var| match rows {
        None => true,
        Some(rows) => {
            let is_row = |var: Var| match loop_of[var.index()] {
                Some((LoopKey::Space(axis), _)) => axis < rows,
                Some((LoopKey::Reduced(..), _)) | None => false,
            };
            is_row(outer) == is_row(inner)
        }
    };
    tidy::drop_unread(&mut kernel, &private);
    tidy::eliminate_dead_keeping_vars(&mut kernel);
    tidy::collapse(&mut kernel, &may_merge);
    let cost = cost::cost(&kernel);
    let mut parallel = None;
    let mut whole_rows = false;
    if let Some(tile) = spec.tile {
        whole_rows = on_tiles(&mut kernel, prepared, tile, &private)?;
    } else if !spec.opens_loops() {
        parallel = share_out(&mut kernel, cost);
        blocks::keep_lines(&mut kernel);
    }
    tidy::eliminate_dead(&mut kernel);
    let mut built = Built {
        kernel,
        binds,
        cost,
        copies: None,
        whole_rows,
        may_stop: spec.written(f).is_some(),
        parallel,
    };
    drop_unused_buffers(&mut built, spec.tile.is_some());
    if let [Action::Place { value, into, at }] = spec.actions.as_slice()
        && at.iter().all(|&place| place == (0, 1))
        && f.ty(*value) == f.ty(*into)
        && built.loads().eq([*value])
    {
        built.copies = Some((*value, *into));
    }
    Ok(built)
}

/// The places of a value's entries behind a space, all named.
fn entries(space: &[Coord], dims: &[usize]) -> Result<Vec<Vec<Coord>>, Fail> {
    let (shared, own) = dims.split_at(space.len().min(dims.len()));
    let count: usize = own.iter().product();
    if count > WRITTEN_ENTRIES {
        return Err(Fail::Illegal("too many entries to be written out"));
    }
    let place = |entry| {
        let mut coords = space[..shared.len()].to_vec();
        coords.extend(coords::place_of(own, entry));
        coords
    };
    Ok((0..count).map(place).collect())
}

/// Name and spans of a kernel: the ops behind its actions.
fn describe(prepared: &Prepared, spec: &Spec) -> (String, Vec<Span>) {
    let f = &prepared.f;
    let mut names: Vec<&'static str> = Vec::new();
    let mut spans: Vec<Span> = Vec::new();
    for action in &spec.actions {
        let inst = match action {
            Action::Root { value, .. } => f.def_inst(*value),
            Action::Place { into, .. } | Action::Fill { into, .. } => f.def_inst(*into),
            Action::Scatter { inst, .. } | Action::Put(inst) | Action::CumSum(inst) => Some(*inst),
        };
        let Some(inst) = inst else { continue };
        let data = &f.insts[inst];
        if !names.contains(&data.op.name()) && names.len() < 4 {
            names.push(data.op.name());
        }
        if !data.span.is_none() && !spans.contains(&data.span) {
            spans.push(data.span);
        }
    }
    (names.join("_"), spans)
}
