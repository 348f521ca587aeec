//! From a description of what a kernel stores to the kernel: emission with retries (splitting
//! loops where a reshape needs it), choice among loop orders by estimated cost, the form that
//! runs on tiles of a product, and the form that runs on ranges for threads.

use crate::coords::{self, Coord};
use crate::emit::{Bind, Emitter, Fail, LoopKey, Splits};
use crate::lir::{Access, Affine, Bound, Buffer, BufferId, Kernel, Stmt, ValKind, Var};
use crate::prepare::Prepared;
use crate::product::Product;
use crate::{blocks, small, strip, tidy};
use aec_ir::{Inst, Literal, Op, Value};
use aec_runtime::{Elem, gemm};
use aec_syntax::Span;
use cranelift_entity::{EntityRef, EntitySet, PrimaryMap};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;

/// One thing that a kernel does.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Computes a value whose dims are the first of the space's, or these regrouped, and stores it
    /// if asked to. Around linear algebra that is written out, the space may be the first of the
    /// value's dims.
    Root {
        /// The value.
        value: Value,
        /// Whether it needs memory.
        store: bool,
    },
    /// Stores a value into a part of a buffer: entry `i` at `start + i * stride`, each axis.
    Place {
        /// The value, of the space's dims.
        value: Value,
        /// Whose buffer.
        into: Value,
        /// `(start, stride)` of each axis.
        at: Vec<(usize, usize)>,
    },
    /// Fills a buffer of the space's dims with a scalar value (zero if there is none).
    Fill {
        /// The scalar.
        scalar: Option<Value>,
        /// Whose buffer.
        into: Value,
    },
    /// Adds scattered updates to what stands in the result's buffer.
    Scatter {
        /// The op.
        inst: Inst,
        /// Which of its pairs of an index and updates.
        pair: usize,
    },
    /// Writes rows over those that stand in the result's buffer.
    Put(Inst),
    /// Running sums.
    CumSum(Inst),
}

/// What a kernel does, over which dims.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Spec {
    /// The iteration space.
    pub space: Vec<usize>,
    /// What is stored.
    pub actions: Vec<Action>,
    /// The product whose finished tiles this kernel works on, and how many of the space's
    /// axes are its rows.
    pub tile: Option<(Value, usize)>,
}

impl Spec {
    /// Computes and stores one value.
    pub fn root(f: &aec_ir::Function, value: Value) -> Spec {
        let dims = f.dims(value);
        let lead = small::lead_of(f, value).unwrap_or(dims.len());
        Spec {
            space: dims[..lead].to_vec(),
            actions: vec![Action::Root { value, store: true }],
            tile: None,
        }
    }

    /// The number of axes in front of its matrices, if there is linear algebra written out in it:
    /// those are the space.
    pub fn written(&self, f: &aec_ir::Function) -> Option<usize> {
        let roots = self.roots();
        roots.iter().find_map(|&v| small::lead_of(f, v))
    }

    /// The values that it computes for themselves.
    pub fn roots(&self) -> SmallVec<[Value; 8]> {
        self.actions
            .iter()
            .filter_map(|action| match action {
                Action::Root { value, .. } => Some(*value),
                Action::Place { .. }
                | Action::Fill { .. }
                | Action::Scatter { .. }
                | Action::Put(_)
                | Action::CumSum(_) => None,
            })
            .collect()
    }
}

/// A kernel and what its pointer params stand for.
#[derive(Clone, PartialEq, Debug)]
pub struct Built {
    /// The code.
    pub kernel: Kernel,
    /// One for each buffer; of a tile kernel, buffer 0 is bound to the product.
    pub binds: Vec<Bind>,
    /// Estimated cycles.
    pub cost: f64,
    /// From and to, if all it does is copy a value's memory.
    pub copies: Option<(Value, Value)>,
    /// Whether it wants whole rows of the product that it runs on, not just tiles.
    pub whole_rows: bool,
    /// Whether it writes out linear algebra, which may meet a matrix without a result.
    pub may_stop: bool,
    /// `(extent, grain)` if its outermost loop takes its range from args 0 and 1.
    pub parallel: Option<(usize, usize)>,
}

impl Built {
    /// Values that are loaded.
    pub fn loads(&self) -> impl Iterator<Item = Value> {
        self.by_access(|access| access != Access::Write)
    }

    /// Values that are stored.
    pub fn stores(&self) -> impl Iterator<Item = Value> {
        self.by_access(|access| access != Access::Read)
    }

    fn by_access(&self, wanted: impl Fn(Access) -> bool) -> impl Iterator<Item = Value> {
        let buffers = self.kernel.buffers.values();
        buffers
            .zip(&self.binds)
            .filter(move |(buffer, _)| wanted(buffer.access))
            .filter_map(|(_, bind)| match bind {
                Bind::Value(v) => Some(*v),
                Bind::Status => None,
            })
    }
}

/// Entries of a value that are written out at most.
const WRITTEN_ENTRIES: usize = 64;

/// A way to run the space.
#[derive(Clone, PartialEq, Debug)]
struct Strategy {
    /// Order in which the axes' loops nest.
    order: Vec<usize>,
    /// The axis whose loop runs in lanes.
    lane_axis: Option<usize>,
    /// Whether reductions outside of it run in lanes.
    reduce_lanes: bool,
}

/// Work below which threads do not pay, in estimated cycles.
const PARALLEL_CYCLES: f64 = 24_000.0;
/// Work of one grain.
const GRAIN_CYCLES: f64 = 8_000.0;

/// Builds the cheapest form of a kernel.
pub fn build(
    prepared: &Prepared,
    stored: &EntitySet<Value>,
    spec: &Spec,
) -> Result<Built, &'static str> {
    let identity: Vec<usize> = (0..spec.space.len()).collect();
    if spec.written(&prepared.f).is_some() {
        // Examples side by side. What belongs to several of them wants the axes in order.
        let roots = spec.roots();
        let full = |v: &Value| prepared.f.dims(*v).len() >= spec.space.len();
        let lanes = match roots.iter().all(full) {
            true => identity.iter().copied().max_by_key(|&a| spec.space[a]),
            false => last_axis(&spec.space),
        };
        let mut order: Vec<usize> = identity.into_iter().filter(|&a| Some(a) != lanes).collect();
        order.extend(lanes);
        let strategy = Strategy {
            order,
            lane_axis: lanes,
            reduce_lanes: false,
        };
        return attempt(prepared, stored, spec, &strategy);
    }
    let last = last_axis(&spec.space);
    let plain = Strategy {
        order: identity.clone(),
        lane_axis: last,
        reduce_lanes: true,
    };
    let first = attempt(prepared, stored, spec, &plain);
    if spec.tile.is_some() {
        return first;
    }
    let mut best: Result<Built, &'static str> = first;
    let consider = |best: &mut Result<Built, &'static str>, strategy: &Strategy| {
        let other = attempt(prepared, stored, spec, strategy);
        let better = match (&*best, &other) {
            (Ok(a), Ok(b)) => b.cost < 0.98 * a.cost,
            (Err(_), Ok(_)) => true,
            (_, Err(_)) => false,
        };
        if better {
            *best = other;
        }
    };
    let (reduces, strided, failed) = match &best {
        Ok(b) => (
            !b.kernel.accs.is_empty(),
            has_strided_lanes(&b.kernel),
            false,
        ),
        Err(_) => (false, false, true),
    };
    if reduces || failed {
        let strategy = Strategy {
            lane_axis: None,
            ..plain.clone()
        };
        consider(&mut best, &strategy);
    }
    if failed {
        let strategy = Strategy {
            lane_axis: None,
            reduce_lanes: false,
            ..plain.clone()
        };
        consider(&mut best, &strategy);
    }
    // Short rows: whole rows side by side in the lanes.
    let first_axis = spec.space.iter().position(|&size| size != 1);
    if let Some(axis) = first_axis
        && axis + 1 < spec.space.len().max(1)
        && spec.space[axis] >= 16
        && spec.space[axis + 1..].iter().product::<usize>() <= 64
    {
        let strategy = Strategy {
            lane_axis: Some(axis),
            reduce_lanes: false,
            ..plain.clone()
        };
        consider(&mut best, &strategy);
    }
    let short = last.is_some_and(|axis| spec.space[axis] < 16);
    let full_roots = spec.actions.iter().all(|action| match action {
        Action::Root { value, .. } => prepared.f.dims(*value).len() == spec.space.len(),
        Action::Place { .. } | Action::Fill { .. } => true,
        Action::Scatter { .. } | Action::Put(_) | Action::CumSum(_) => false,
    });
    if (strided || short) && full_roots && !failed {
        for axis in (0..spec.space.len()).rev() {
            if spec.space[axis] == 1 || Some(axis) == last {
                continue;
            }
            let mut order: Vec<usize> = identity.iter().copied().filter(|&a| a != axis).collect();
            order.push(axis);
            let strategy = Strategy {
                order,
                lane_axis: Some(axis),
                reduce_lanes: true,
            };
            consider(&mut best, &strategy);
        }
    }
    best
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

/// The last axis that has a loop.
fn last_axis(space: &[usize]) -> Option<usize> {
    space.iter().rposition(|&size| size != 1)
}

fn has_strided_lanes(kernel: &Kernel) -> bool {
    fn scan(kernel: &Kernel, body: &[Stmt], lane: Option<Var>) -> bool {
        let strided = |index: &Affine| {
            lane.is_some_and(|var| !matches!(tidy::coefficient(index, var), 0 | 1))
        };
        body.iter().any(|stmt| match stmt {
            Stmt::Loop(inner) => {
                let lane = if inner.lanes { Some(inner.var) } else { lane };
                scan(kernel, &inner.body, lane)
            }
            Stmt::Let(val) => match &kernel.values[*val].kind {
                ValKind::Load { index, .. } => strided(index),
                _ => false,
            },
            Stmt::Store { index, .. } => strided(index),
            Stmt::StoreAt { .. } | Stmt::Init(_) | Stmt::Accumulate(..) | Stmt::Check { .. } => {
                false
            }
        })
    }
    scan(kernel, &kernel.body, None)
}

/// Emits with one strategy, splitting loops as asked.
fn attempt(
    prepared: &Prepared,
    stored: &EntitySet<Value>,
    spec: &Spec,
    strategy: &Strategy,
) -> Result<Built, &'static str> {
    let mut splits: Splits = HashMap::default();
    for _ in 0..24 {
        match emit_once(prepared, stored, spec, strategy, &splits) {
            Ok(built) => return Ok(built),
            Err(Fail::Illegal(reason)) => return Err(reason),
            Err(Fail::Split(key, piece, inner)) => {
                let size = loop_size(prepared, spec, key) as i64;
                let pieces = splits.entry(key).or_insert_with(|| vec![size]);
                let Some(&whole) = pieces.get(piece) else {
                    return Err("a reshape regroups its axes too often");
                };
                pieces.splice(piece..=piece, [whole / inner, inner]);
            }
        }
    }
    Err("a reshape regroups its axes too often")
}

fn loop_size(prepared: &Prepared, spec: &Spec, key: LoopKey) -> usize {
    match key {
        LoopKey::Space(axis) => spec.space[axis],
        LoopKey::Reduced(inst, id) => {
            let data = &prepared.f.insts[inst];
            match &data.op {
                Op::Contract(contract) => contract.sizes[id],
                _ => prepared.f.dims(data.operands[0])[id],
            }
        }
    }
}

fn emit_once(
    prepared: &Prepared,
    stored: &EntitySet<Value>,
    spec: &Spec,
    strategy: &Strategy,
    splits: &Splits,
) -> Result<Built, Fail> {
    let f = &prepared.f;
    let mut e = Emitter::new(prepared, stored, splits);
    e.lanes = strategy.reduce_lanes;
    e.own = spec.roots();
    e.written = spec.written(f).is_some();
    let own_buffers = matches!(
        spec.actions.as_slice(),
        [Action::Scatter { .. } | Action::Put(_) | Action::CumSum(_)]
    );
    if let Some((product, _)) = spec.tile {
        // The tile is buffer 0.
        e.own.retain(|v| *v != product);
        let tile = e.buffer(Bind::Value(product), false);
        debug_assert_eq!(tile.index(), 0);
    }
    if !own_buffers {
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
    // All values before all stores: a store may overwrite what others read at this place.
    let mut stores: Vec<(Value, Vec<Coord>, crate::lir::Val)> = Vec::new();
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
    }
    let tile_store = spec.tile.map(|(product, _)| product);
    for (into, coords, val) in stores {
        if Some(into) == tile_store {
            // The product itself is wanted too: copied out of the tile, through a buffer of
            // its own.
            let name = prepared.value_name(into);
            let buffer = e.nest.buffer(f.ty(into).elem, Access::Write, &name);
            e.binds.push(Bind::Value(into));
            let place = crate::coords::linear(f.dims(into), &coords);
            e.nest.store(buffer, &place, val);
        } else {
            e.store(into, &coords, val);
        }
    }
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
    let cost = tidy::cost(&kernel);
    let mut parallel = None;
    let mut whole_rows = false;
    if let Some((product, rows)) = spec.tile {
        whole_rows = as_tile(&mut kernel, f.dims(product), rows)?;
        if whole_rows && !gives_whole_rows(&prepared.products[&product]) {
            return Err(Fail::Illegal("the product gives no whole rows"));
        }
        if whole_rows {
            for &buffer in &private {
                strip::keep_in_strip(
                    &mut kernel,
                    buffer,
                    f.dims(product)[rows..].iter().product(),
                );
            }
        }
    } else if !own_buffers {
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

/// Fewest rows of a product that are given whole: threads share them out by rows alone.
const WHOLE_ROWS_FROM: usize = 32;
/// Most elements of a right side that every row block reads as a whole: a quarter of L2, as strips of
/// a row read at once otherwise. (With 1.2 MB a product lost more than the pass over its rows took.)
const WHOLE_ROWS_B: usize = 1 << 17;

/// Whether the runtime gives whole rows of a product at little cost.
fn gives_whole_rows(product: &Product) -> bool {
    let plain = product.b.rows.uniform().is_some() && product.b.cols.uniform().is_some();
    plain
        && product.batch == 1
        && product.first.is_none()
        && product.m >= WHOLE_ROWS_FROM
        && product.k <= gemm::WHOLE_ROWS_DEPTH
        && product.k * product.n <= WHOLE_ROWS_B
}

/// Turns a nest over a product's space into one over a tile of it, or over some of its rows as a
/// whole if it has several loops over the columns or sums over them. Gives which.
fn as_tile(kernel: &mut Kernel, dims: &[usize], rows: usize) -> Result<bool, Fail> {
    let m: usize = dims[..rows].iter().product();
    let n: usize = dims[rows..].iter().product();
    let loops: Vec<usize> = kernel
        .body
        .iter()
        .enumerate()
        .filter(|(_, stmt)| !matches!(stmt, Stmt::Let(_)))
        .map(|(at, _)| at)
        .collect();
    let [at] = loops[..] else {
        return Err(Fail::Illegal("more than one loop over the tile"));
    };
    let Stmt::Loop(row) = &mut kernel.body[at] else {
        return Err(Fail::Illegal("no loop over the tile"));
    };
    if (row.start, row.end) != (Bound::Const(0), Bound::Const(m as i64)) {
        return Err(Fail::Illegal("its rows are not the product's"));
    }
    let row_var = row.var;
    let mut col_vars = Vec::new();
    let mut whole_rows = !kernel.accs.is_empty();
    for stmt in &row.body {
        match stmt {
            Stmt::Let(_) => {}
            Stmt::Loop(col) => {
                if (col.start, col.end) != (Bound::Const(0), Bound::Const(n as i64)) {
                    return Err(Fail::Illegal("its columns are not the product's"));
                }
                if col.body.iter().any(|s| matches!(s, Stmt::Loop(_))) {
                    return Err(Fail::Illegal("a loop inside the tile"));
                }
                col_vars.push(col.var);
            }
            Stmt::Store { .. } | Stmt::Init(_) => whole_rows = true,
            Stmt::StoreAt { .. } | Stmt::Accumulate(..) | Stmt::Check { .. } => {
                return Err(Fail::Illegal("work outside the tile's columns"));
            }
        }
    }
    whole_rows |= col_vars.len() > 1;
    if col_vars.is_empty() {
        return Err(Fail::Illegal("no loop over the tile's columns"));
    }
    if !whole_rows {
        for stmt in &mut row.body {
            if let Stmt::Loop(col) = stmt {
                (col.start, col.end) = (Bound::Arg(2), Bound::Arg(3));
            }
        }
    }
    row.start = Bound::Arg(0);
    row.end = Bound::Arg(1);
    kernel.arg_count = 6;
    let tile = BufferId::from_u32(0);
    for data in kernel.values.values_mut() {
        let ValKind::Load { buffer, index } = &mut data.kind else {
            continue;
        };
        if *buffer != tile {
            continue;
        }
        let col = col_vars
            .iter()
            .find(|&&col| tidy::coefficient(index, col) == 1);
        let Some(&col) = col.filter(|_| {
            tidy::coefficient(index, row_var) == n as i64
                && index.base == 0
                && index.vars.len() == 2
        }) else {
            return Err(Fail::Illegal("the product is wanted at another place"));
        };
        *index = strip::place(row_var, col);
    }
    Ok(whole_rows)
}

/// Lets the outermost loop take its range from the caller if it is the only one, carries
/// nothing from iteration to iteration, and is worth it.
fn share_out(kernel: &mut Kernel, cost: f64) -> Option<(usize, usize)> {
    if cost < PARALLEL_CYCLES {
        return None;
    }
    let mut only = None;
    for stmt in &mut kernel.body {
        match stmt {
            Stmt::Let(_) => {}
            Stmt::Loop(inner) if only.is_none() => only = Some(inner),
            Stmt::Loop(_)
            | Stmt::Store { .. }
            | Stmt::StoreAt { .. }
            | Stmt::Init(_)
            | Stmt::Accumulate(..)
            | Stmt::Check { .. } => return None,
        }
    }
    let outer = only?;
    if !tidy::fed_from_outside(outer).is_empty() {
        return None;
    }
    let (Bound::Const(0), Bound::Const(extent)) = (outer.start, outer.end) else {
        return None;
    };
    let each = cost / extent as f64;
    let mut grain = (GRAIN_CYCLES / each).ceil().max(1.0) as usize;
    if outer.lanes {
        grain = grain.next_multiple_of(64);
    }
    if grain * 2 > extent as usize {
        return None;
    }
    outer.start = Bound::Arg(0);
    outer.end = Bound::Arg(1);
    kernel.arg_count = 2;
    Some((extent as usize, grain))
}

/// Buffers that dead code used go; of a tile kernel buffer 0 stays.
fn drop_unused_buffers(built: &mut Built, keep_first: bool) {
    let kernel = &mut built.kernel;
    let mut loaded = vec![false; kernel.buffers.len()];
    let mut written = vec![false; kernel.buffers.len()];
    for data in kernel.values.values() {
        if let ValKind::Load { buffer, .. } | ValKind::LoadAt { buffer, .. } = &data.kind {
            loaded[buffer.index()] = true;
        }
    }
    tidy::for_each_stmt(&kernel.body, &mut |stmt| match stmt {
        Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => {
            written[buffer.index()] = true;
        }
        Stmt::Check { status, .. } => {
            written[status.index()] = true;
            loaded[status.index()] = true;
        }
        Stmt::Loop(_) | Stmt::Let(_) | Stmt::Init(_) | Stmt::Accumulate(..) => {}
    });
    let mut map = vec![BufferId::from_u32(0); kernel.buffers.len()];
    let mut buffers: PrimaryMap<BufferId, Buffer> = PrimaryMap::new();
    let mut binds = Vec::new();
    for (id, buffer) in &kernel.buffers {
        let at = id.index();
        if loaded[at] || written[at] || (keep_first && at == 0) {
            let mut buffer = buffer.clone();
            buffer.access = match (loaded[at], written[at]) {
                (true, true) => Access::ReadWrite,
                (false, true) => Access::Write,
                (_, false) => Access::Read,
            };
            map[at] = buffers.push(buffer);
            binds.push(built.binds[at]);
        }
    }
    kernel.buffers = buffers;
    built.binds = binds;
    for data in kernel.values.values_mut() {
        if let ValKind::Load { buffer, .. } | ValKind::LoadAt { buffer, .. } = &mut data.kind {
            *buffer = map[buffer.index()];
        }
    }
    tidy::for_each_stmt_mut(&mut kernel.body, &mut |stmt| match stmt {
        Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => *buffer = map[buffer.index()],
        Stmt::Check { status, .. } => *status = map[status.index()],
        Stmt::Loop(_) | Stmt::Let(_) | Stmt::Init(_) | Stmt::Accumulate(..) => {}
    });
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

/// Whether a kernel stores to `written` only at the place it has just loaded from `read`, so
/// that both may be the same memory.
pub fn in_place(built: &Built, read: Value, written: Value) -> bool {
    let kernel = &built.kernel;
    let find = |v: Value, store: bool| {
        kernel.buffers.iter().find_map(|(id, buffer)| {
            let fits = buffer.access != if store { Access::Read } else { Access::Write };
            (fits && built.binds[id.index()] == Bind::Value(v)).then_some(id)
        })
    };
    let Some(from) = find(read, false) else {
        return true;
    };
    let Some(to) = find(written, true) else {
        return true;
    };
    // Stores and loads must have the same index, and stand in the same loops.
    fn collect<'k>(
        kernel: &'k Kernel,
        body: &'k [Stmt],
        loops: &mut Vec<Var>,
        from: BufferId,
        to: BufferId,
        out: &mut Vec<(bool, &'k Affine, Vec<Var>)>,
    ) -> bool {
        body.iter().all(|stmt| match stmt {
            Stmt::Loop(inner) => {
                loops.push(inner.var);
                let ok = collect(kernel, &inner.body, loops, from, to, out);
                loops.pop();
                ok
            }
            Stmt::Let(val) => match &kernel.values[*val].kind {
                ValKind::Load { buffer, index } => {
                    if *buffer == from {
                        out.push((false, index, loops.clone()));
                    }
                    true
                }
                ValKind::LoadAt { buffer, .. } => *buffer != from,
                _ => true,
            },
            Stmt::Store { buffer, index, .. } => {
                if *buffer == to {
                    out.push((true, index, loops.clone()));
                }
                true
            }
            Stmt::StoreAt { buffer, .. } => *buffer != to,
            Stmt::Init(_) | Stmt::Accumulate(..) | Stmt::Check { .. } => true,
        })
    }
    let mut places = Vec::new();
    if !collect(kernel, &kernel.body, &mut Vec::new(), from, to, &mut places) {
        return false;
    }
    let Some((_, index, loops)) = places.first() else {
        return true;
    };
    let mut stored = false;
    places.iter().all(|(store, i, l)| {
        // No load after the store.
        let order = *store || !stored;
        stored |= store;
        order && i == index && l == loops
    })
}

/// Whether an op is a scalar constant.
pub fn is_scalar_constant(op: &Op) -> bool {
    matches!(
        op,
        Op::Constant(Literal::Float(_) | Literal::Int(_) | Literal::Bool(_))
    )
}

/// Bytes of an element type's buffer of `len` elements.
pub fn bytes(elem: Elem, len: usize) -> usize {
    elem.bytes() * len
}
