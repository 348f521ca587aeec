//! Which values get memory before kernels merge: results, reductions, operands of products, and
//! what is too expensive to be computed again by each of its users.

use crate::Options;
use crate::emit::summed_labels;
use crate::prepare::Prepared;
use crate::{small, views};
use aec_ir::{Binary, Function, Inst, Op, Unary, Value};
use cranelift_entity::{EntitySet, SecondaryMap};
use smallvec::SmallVec;

/// Cost of computing a value again, above which it gets memory.
const CHEAP: f64 = 8.0;
/// Size of an expression, above which a part of it gets memory.
const LARGE: f64 = 260.0;

/// Values computed inside `value`'s kernel though they could have memory.
pub(crate) fn inline_operands(prepared: &Prepared, roots: &Roots, value: Value) -> Vec<Value> {
    let f = &prepared.f;
    let mut out = Vec::new();
    let mut work = vec![value];
    let mut seen: EntitySet<Value> = EntitySet::new();
    while let Some(v) = work.pop() {
        let Some(inst) = f.def_inst(v) else { continue };
        for &operand in &f.insts[inst].operands {
            let is_inst = f.def_inst(operand).is_some();
            if is_inst && !roots.stored.contains(operand) && seen.insert(operand) {
                out.push(operand);
                work.push(operand);
            }
        }
    }
    out
}

/// Which values have memory.
pub(crate) struct Roots {
    /// Params, dense constants and roots.
    pub(crate) stored: EntitySet<Value>,
    /// Roots in order of definition.
    pub(crate) order: Vec<Value>,
    /// Those of them that say where rows of a table are, and take long to compute: kernels that
    /// read the rows find the places in memory, so that the processor can fetch several rows at
    /// once.
    pub(crate) places: EntitySet<Value>,
}

/// Elements of a row from which on it is worth to know its place early.
const ROW: usize = 16;

/// What gathers of whole rows go by.
fn row_indices(f: &Function) -> EntitySet<Value> {
    let mut out = EntitySet::new();
    for &inst in &f.order {
        let data = &f.insts[inst];
        if let Op::Gather { batch, .. } = &data.op
            && views::window(f, inst).is_none()
            && f.dims(data.operands[0])[*batch + 1..]
                .iter()
                .product::<usize>()
                >= ROW
        {
            out.insert(views::trace(f, data.operands[1], &|_| false).base);
        }
    }
    out
}

pub(crate) fn writes_own_buffer(f: &Function, inst: Inst) -> bool {
    matches!(
        f.insts[inst].op,
        Op::Pad { .. }
            | Op::Concat { .. }
            | Op::ScatterAdd { .. }
            | Op::Put { .. }
            | Op::CumSum { .. }
            | Op::Loop(_)
    ) || calls_runtime(f, inst)
}

/// Whether the runtime computes it, whole buffers at a time.
pub(crate) fn calls_runtime(f: &Function, inst: Inst) -> bool {
    match f.insts[inst].op {
        Op::ArgSort | Op::Levels { .. } => true,
        Op::Matrix(_) => !small::is_written(f, inst),
        _ => false,
    }
}

/// Rough cost of one element.
fn own_cost(f: &Function, inst: Inst) -> f64 {
    match &f.insts[inst].op {
        Op::Constant(_) | Op::Dense(_) | Op::Stop | Op::Slope { .. } => 0.0,
        Op::Iota { .. } | Op::Reshape | Op::Slice { .. } | Op::Reverse { .. } => 0.0,
        Op::Unary(op) => match op {
            Unary::Neg | Unary::Abs | Unary::Floor | Unary::Not => 1.0,
            Unary::Sign => 3.0,
            Unary::Sqrt => 5.0,
            Unary::Exp => 14.0,
            Unary::Tanh | Unary::Logistic | Unary::Expm1 => 18.0,
            Unary::Log => 22.0,
            Unary::Log1p | Unary::Erf | Unary::Sin | Unary::Cos => 30.0,
        },
        Op::Binary(op) => match op {
            Binary::Div => 5.0,
            Binary::FloorDiv | Binary::Mod => 20.0,
            Binary::Pow => 80.0,
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Min
            | Binary::Max
            | Binary::And
            | Binary::Or => 1.0,
        },
        Op::Compare(_) | Op::Select | Op::Convert => 1.0,
        Op::Contract(c) => {
            (c.factors.len() as f64 - 1.0).max(0.0) + f64::from(c.coefficient != 1.0)
        }
        Op::Gather { .. } => 6.0,
        Op::Draw { .. } => 60.0,
        Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::ScatterAdd { .. }
        | Op::Put { .. }
        | Op::CumSum { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Matrix(_)
        | Op::Map { .. }
        | Op::Loop(_)
        | Op::Derivative { .. }
        | Op::BatchMean => f64::INFINITY,
    }
}

fn is_reduction(f: &Function, inst: Inst) -> bool {
    match &f.insts[inst].op {
        Op::Contract(c) => summed_labels(f, inst, c)
            .iter()
            .any(|&l| c.sizes[usize::from(l)] != 1),
        Op::Reduce { .. } | Op::ArgReduce { .. } => true,
        _ => false,
    }
}

/// Who uses a value, seen through views, and whether someone uses it repeated.
#[derive(Clone, Default)]
struct Uses {
    users: SmallVec<[Inst; 4]>,
    repeated: bool,
}

fn uses(prepared: &Prepared) -> SecondaryMap<Value, Uses> {
    let f = &prepared.f;
    let mut all: SecondaryMap<Value, Uses> = SecondaryMap::new();
    for &inst in f.order.iter().rev() {
        let data = &f.insts[inst];
        let Some(&result) = data.results.first() else {
            continue;
        };
        let through = views::is_view(f, inst) && !prepared.copies.contains(result);
        for (nth, &operand) in data.operands.iter().enumerate() {
            let repeats = match &data.op {
                Op::Contract(c) => (0..c.sizes.len() as u8).any(|l| {
                    c.sizes[usize::from(l)] != 1
                        && !c.factors[nth].labels.contains(&l)
                        && (c.out.contains(&l) || c.factors.iter().any(|x| x.labels.contains(&l)))
                }),
                // Every entry is computed in its own place.
                Op::Matrix(_) => true,
                _ => false,
            };
            let mut more = if through {
                all[result].clone()
            } else {
                Uses {
                    users: SmallVec::from_slice(&[inst]),
                    repeated: false,
                }
            };
            more.repeated |= repeats;
            let entry = &mut all[operand];
            entry.repeated |= more.repeated;
            for user in more.users {
                if !entry.users.contains(&user) && entry.users.len() < 64 {
                    entry.users.push(user);
                }
            }
        }
    }
    all
}

pub(crate) fn choose_roots(
    prepared: &Prepared,
    options: &Options,
    forced: &EntitySet<Value>,
) -> Roots {
    let uses = uses(prepared);
    let mut must = needed(prepared, forced);
    let (roots, masks) = choose(prepared, options, &uses, &must);
    if masks.is_empty() {
        return roots;
    }
    for mask in masks {
        must.insert(mask);
    }
    choose(prepared, options, &uses, &must).0
}

/// What has memory whatever it costs.
fn needed(prepared: &Prepared, forced: &EntitySet<Value>) -> EntitySet<Value> {
    let f = &prepared.f;
    let mut must = forced.clone();
    for copy in prepared.copies.iter() {
        must.insert(copy);
    }
    for &result in &f.results {
        must.insert(result);
    }
    for guard in &f.guards {
        must.insert(guard.value);
    }
    for (&value, product) in &prepared.products {
        must.insert(value);
        for operand in product.operands() {
            must.insert(operand);
        }
    }
    for &inst in &f.order {
        let data = &f.insts[inst];
        match &data.op {
            _ if calls_runtime(f, inst) => {
                for &operand in &data.operands {
                    must.insert(operand);
                }
            }
            Op::Loop(_) => {
                for &operand in &data.operands {
                    must.insert(operand);
                }
            }
            // Rows that are put must not be computed from the table while it is written.
            Op::Put { .. } => {
                let is_constant = |v: Value| {
                    f.def_inst(v)
                        .is_some_and(|inst| matches!(f.insts[inst].op, Op::Constant(_)))
                };
                if !is_constant(data.operands[2]) {
                    must.insert(data.operands[2]);
                }
            }
            Op::Gather { .. } => {
                let base = views::trace(f, data.operands[0], &|_| false).base;
                // Numbers of entries need no memory to be looked up in.
                let counts = f
                    .def_inst(base)
                    .is_some_and(|inst| matches!(f.insts[inst].op, Op::Iota { .. }));
                if !counts {
                    must.insert(base);
                }
            }
            _ => {}
        }
    }
    must
}

/// Chooses, given what has memory in any case. Also gives masks: bools that are better kept than
/// what is selected by them, and would be as cheap to go on from.
fn choose(
    prepared: &Prepared,
    options: &Options,
    uses: &SecondaryMap<Value, Uses>,
    must: &EntitySet<Value>,
) -> (Roots, Vec<Value>) {
    let f = &prepared.f;
    let mut masks = Vec::new();
    let mut stored: EntitySet<Value> = EntitySet::new();
    for &param in &f.params {
        stored.insert(param);
    }
    let mut order = Vec::new();
    let row_indices = row_indices(f);
    let mut places = EntitySet::new();
    // Cost and number of loads of what is computed inside its consumers.
    let mut inline: SecondaryMap<Value, (f64, f64)> = SecondaryMap::new();
    for &inst in &f.order {
        let data = &f.insts[inst];
        if matches!(data.op, Op::Loop(_)) {
            for &v in &data.results {
                stored.insert(v);
                order.push(v);
            }
            continue;
        }
        let v = data.results[0];
        if matches!(data.op, Op::Dense(_)) {
            stored.insert(v);
            continue;
        }
        let (mut cost, mut loads) = (own_cost(f, inst), 0.0);
        for &operand in &data.operands {
            if stored.contains(operand) {
                loads += if f.ty(operand).len() > 1 { 1.0 } else { 0.1 };
            } else {
                cost += inline[operand].0;
                loads += inline[operand].1;
            }
        }
        let free = views::is_view(f, inst) || matches!(data.op, Op::Constant(_) | Op::Iota { .. });
        let repeats =
            matches!(&data.op, Op::Contract(c) if c.factors.len() == 1 && c.factors[0].power == 1);
        let several = uses[v].users.len() > 1;
        let place = options.fuse && row_indices.contains(v) && cost > CHEAP && f.ty(v).len() > 1;
        if place {
            places.insert(v);
        }
        let root = place
            || must.contains(v)
            || writes_own_buffer(f, inst)
            || matches!(data.op, Op::Matrix(_))
            || is_reduction(f, inst)
            || if options.fuse {
                !free
                    && ((several && (cost > CHEAP || loads > 2.2))
                        || (uses[v].repeated && cost > 4.0 && !repeats)
                        || cost + 4.0 * loads > LARGE)
            } else {
                !matches!(data.op, Op::Constant(_) | Op::Iota { .. })
            };
        if root {
            if matches!(data.op, Op::Select) && !must.contains(v) {
                let mask = data.operands[0];
                let own = inline[mask].0;
                if !stored.contains(mask) && own > CHEAP && cost - own <= CHEAP {
                    masks.push(mask);
                }
            }
            stored.insert(v);
            order.push(v);
        } else {
            inline[v] = (cost, loads);
        }
    }
    let roots = Roots {
        stored,
        order,
        places,
    };
    (roots, masks)
}
