//! From a description of what a kernel stores to the kernel: emission (`write`) with retries
//! (splitting loops where a reshape needs it), choice among loop orders by estimated cost, the form
//! that runs on tiles of a product, and the form that runs on ranges for threads (`forms`).

mod forms;
mod in_place;
mod write;

use crate::emit::{Bind, Fail, LoopKey, Splits};
use crate::lir::{Access, Affine, Kernel, Stmt, ValKind, Var};
use crate::prepare::Prepared;
use crate::{small, tidy};
use aec_ir::{Inst, Op, Value};
use cranelift_entity::EntitySet;
pub use in_place::in_place;
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use write::emit_once;

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

    /// Whether its action opens loops of its own in place of those over the space.
    fn opens_loops(&self) -> bool {
        matches!(
            self.actions.as_slice(),
            [Action::Scatter { .. } | Action::Put(_) | Action::CumSum(_)]
        )
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

/// Builds the cheapest form of a kernel.
pub fn build(
    prepared: &Prepared,
    stored: &EntitySet<Value>,
    spec: &Spec,
) -> Result<Built, &'static str> {
    if spec.written(&prepared.f).is_some() {
        return attempt(prepared, stored, spec, &side_by_side(prepared, spec));
    }
    let plain = Strategy {
        order: (0..spec.space.len()).collect(),
        lane_axis: last_axis(&spec.space),
        reduce_lanes: true,
    };
    let mut best = attempt(prepared, stored, spec, &plain);
    if spec.tile.is_some() {
        return best;
    }
    for strategy in others(prepared, spec, &plain, best.as_ref().ok()) {
        let other = attempt(prepared, stored, spec, &strategy);
        let better = match (&best, &other) {
            (Ok(a), Ok(b)) => b.cost < 0.98 * a.cost,
            (Err(_), Ok(_)) => true,
            (_, Err(_)) => false,
        };
        if better {
            best = other;
        }
    }
    best
}

/// Ways that may be cheaper than the plain one, by what that has `given`, if anything.
fn others(
    prepared: &Prepared,
    spec: &Spec,
    plain: &Strategy,
    given: Option<&Built>,
) -> Vec<Strategy> {
    let (space, last) = (&spec.space, plain.lane_axis);
    let mut out = Vec::new();
    if given.is_none_or(|built| !built.kernel.accs.is_empty()) {
        out.push(Strategy {
            lane_axis: None,
            ..plain.clone()
        });
    }
    if given.is_none() {
        out.push(Strategy {
            lane_axis: None,
            reduce_lanes: false,
            ..plain.clone()
        });
    }
    // Short rows: whole rows side by side in the lanes.
    if let Some(axis) = space.iter().position(|&size| size != 1)
        && axis + 1 < space.len()
        && space[axis] >= 16
        && space[axis + 1..].iter().product::<usize>() <= 64
    {
        out.push(Strategy {
            lane_axis: Some(axis),
            reduce_lanes: false,
            ..plain.clone()
        });
    }
    let short = last.is_some_and(|axis| space[axis] < 16);
    let full_roots = spec.actions.iter().all(|action| match action {
        Action::Root { value, .. } => prepared.f.dims(*value).len() == space.len(),
        Action::Place { .. } | Action::Fill { .. } => true,
        Action::Scatter { .. } | Action::Put(_) | Action::CumSum(_) => false,
    });
    let unsuited = given.is_some_and(|built| short || has_strided_lanes(&built.kernel));
    if unsuited && full_roots {
        let axes = (0..space.len()).rev();
        for axis in axes.filter(|&axis| space[axis] != 1 && Some(axis) != last) {
            let mut order: Vec<usize> = (0..space.len()).filter(|&a| a != axis).collect();
            order.push(axis);
            out.push(Strategy {
                order,
                lane_axis: Some(axis),
                reduce_lanes: true,
            });
        }
    }
    out
}

/// The way to run linear algebra that is written out: examples side by side. What belongs to
/// several of them wants the axes in order.
fn side_by_side(prepared: &Prepared, spec: &Spec) -> Strategy {
    let roots = spec.roots();
    let full = |v: &Value| prepared.f.dims(*v).len() >= spec.space.len();
    let lanes = match roots.iter().all(full) {
        true => (0..spec.space.len()).max_by_key(|&a| spec.space[a]),
        false => last_axis(&spec.space),
    };
    let mut order: Vec<usize> = (0..spec.space.len())
        .filter(|&a| Some(a) != lanes)
        .collect();
    order.extend(lanes);
    Strategy {
        order,
        lane_axis: lanes,
        reduce_lanes: false,
    }
}

/// The last axis that has a loop.
fn last_axis(space: &[usize]) -> Option<usize> {
    space.iter().rposition(|&size| size != 1)
}

/// Whether lanes read or write entries that do not lie side by side.
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

/// The number of rounds of a loop before it is split.
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
