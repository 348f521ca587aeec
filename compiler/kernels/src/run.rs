//! Runs whole plans with the evaluator of loop IR, on memory that is laid out as the plan says,
//! so that a wrong place or order shows.

use crate::eval::{Memory, Scalar, run};
use crate::plan::{BufferRef, Gemm, LevelsCall, LoopStep, Matrix, Place, Plan, Step, StepKind};
use aec_runtime::gemm::{Axes, PANEL_COLS};
use aec_runtime::levels::{Scratch, Trees, most_rounds, order};
use aec_runtime::linalg::{self, BadMatrix};
use aec_runtime::pool::Pool;
use aec_runtime::{Data, Elem, Tensor};
use std::collections::HashMap;

/// Why a plan stopped.
#[derive(Clone, PartialEq, Debug)]
pub enum Stopped {
    /// A guard met a value that is not finite; the step's index.
    Guard(usize),
    /// A check failed: its code and detail.
    Check(i64, i64),
    /// A step of linear algebra met a matrix without a result; the step's index.
    Matrix(usize, BadMatrix),
}

/// The memory of a running plan, as bytes, so that wrong places show.
struct Regions {
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    arena: Vec<u8>,
    status: Vec<u8>,
    constants: Vec<Vec<u8>>,
}

/// A kernel's view of it: for each buffer a type and a place.
struct Mapped<'a> {
    regions: &'a mut Regions,
    places: Vec<(Elem, Spot)>,
    /// Extra buffer (a tile).
    tile: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Region {
    Input(usize),
    Output(usize),
    Arena,
    Status,
    Constant(usize),
    Tile,
}

/// A place in a region, in bytes.
#[derive(Clone, Copy, Debug)]
struct Spot {
    region: Region,
    offset: usize,
}

fn scalar_of(bytes: &[u8], elem: Elem) -> Scalar {
    match elem {
        Elem::F32 => Scalar::F32(f32::from_le_bytes(bytes.try_into().expect("4 bytes"))),
        Elem::F64 => Scalar::F64(f64::from_le_bytes(bytes.try_into().expect("8 bytes"))),
        Elem::I32 => Scalar::I32(i32::from_le_bytes(bytes.try_into().expect("4 bytes"))),
        Elem::I64 => Scalar::I64(i64::from_le_bytes(bytes.try_into().expect("8 bytes"))),
        Elem::Bool => Scalar::Bool(bytes[0] != 0),
    }
}

fn put(bytes: &mut [u8], value: Scalar) {
    match value {
        Scalar::F32(x) => bytes.copy_from_slice(&x.to_le_bytes()),
        Scalar::F64(x) => bytes.copy_from_slice(&x.to_le_bytes()),
        Scalar::I32(x) => bytes.copy_from_slice(&x.to_le_bytes()),
        Scalar::I64(x) => bytes.copy_from_slice(&x.to_le_bytes()),
        Scalar::Bool(x) => bytes[0] = u8::from(x),
    }
}

impl Regions {
    fn bytes(&self, spot: Spot) -> (&[u8], usize) {
        let bytes: &[u8] = match spot.region {
            Region::Input(n) => &self.inputs[n],
            Region::Output(n) => &self.outputs[n],
            Region::Arena => &self.arena,
            Region::Status => &self.status,
            Region::Constant(n) => &self.constants[n],
            Region::Tile => &[],
        };
        (bytes, spot.offset)
    }

    fn bytes_mut(&mut self, spot: Spot) -> (&mut [u8], usize) {
        let bytes = match spot.region {
            Region::Input(n) => &mut self.inputs[n],
            Region::Output(n) => &mut self.outputs[n],
            Region::Arena => &mut self.arena,
            Region::Status => &mut self.status,
            Region::Constant(_) | Region::Tile => panic!("not written"),
        };
        (bytes, spot.offset)
    }

    fn get(&self, spot: Spot, elem: Elem, at: i64) -> Scalar {
        let at = usize::try_from(at).expect("a place in the buffer");
        let (bytes, offset) = self.bytes(spot);
        let size = elem.bytes();
        scalar_of(&bytes[offset + at * size..offset + (at + 1) * size], elem)
    }

    fn set(&mut self, spot: Spot, at: i64, value: Scalar, elem: Elem) {
        let at = usize::try_from(at).expect("a place in the buffer");
        let (bytes, offset) = self.bytes_mut(spot);
        let size = elem.bytes();
        put(
            &mut bytes[offset + at * size..offset + (at + 1) * size],
            value,
        );
    }
}

impl Memory for Mapped<'_> {
    fn load(&self, buffer: usize, at: i64) -> Scalar {
        let (elem, spot) = self.places[buffer];
        if let Region::Tile = spot.region {
            let x = self.tile[usize::try_from(at).expect("a place in the tile")];
            return if elem == Elem::F32 {
                Scalar::F32(x as f32)
            } else {
                Scalar::F64(x)
            };
        }
        self.regions.get(spot, elem, at)
    }

    fn store(&mut self, buffer: usize, at: i64, value: Scalar) {
        let (elem, spot) = self.places[buffer];
        self.regions.set(spot, at, value, elem);
    }
}

fn to_bytes(tensor: &Tensor) -> Vec<u8> {
    match tensor.data() {
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Bool(v) => v.clone(),
    }
}

fn from_bytes(bytes: &[u8], ty: &aec_ir::Type) -> Tensor {
    let size = ty.elem.bytes();
    let items = (0..ty.len()).map(|at| scalar_of(&bytes[at * size..(at + 1) * size], ty.elem));
    let mut data = Tensor::zeros(ty.elem, &ty.dims);
    let out = std::slice::from_mut(data.data_mut());
    for (at, item) in items.enumerate() {
        out.store(0, at as i64, item);
    }
    data
}

/// Runs a plan on copies of the inputs. Gives the results; those that alias an input are read
/// from the input's memory, as the plan says.
pub fn run_plan(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Tensor>, Stopped> {
    let mut constants = Vec::new();
    let mut regions = Regions {
        inputs: inputs.iter().map(to_bytes).collect(),
        outputs: plan
            .outputs
            .iter()
            .map(|ty| vec![0xa5; ty.len() * ty.elem.bytes()])
            .collect(),
        arena: vec![0xa5; plan.arena_bytes],
        status: [0, i64::MAX].map(i64::to_ne_bytes).concat(),
        constants: Vec::new(),
    };
    for buffer in plan.buffers.values() {
        if let Place::Constant(tensor) = &buffer.place {
            constants.push(to_bytes(tensor));
        }
    }
    regions.constants = constants;
    let mut rounds = Rounds::new();
    run_steps(plan, &plan.steps, &mut rounds, &mut regions)?;
    Ok(plan
        .outputs
        .iter()
        .enumerate()
        .map(|(index, ty)| {
            let alias = plan.aliases.iter().find(|alias| alias.0 == index);
            match alias {
                Some(&(_, input)) => from_bytes(&regions.inputs[input], ty),
                None => from_bytes(&regions.outputs[index], ty),
            }
        })
        .collect())
}

/// The present index of each slot's loop.
type Rounds = HashMap<BufferRef, usize>;

fn spot(plan: &Plan, rounds: &Rounds, id: BufferRef) -> Spot {
    let at = |region, offset| Spot { region, offset };
    match &plan.buffers[id].place {
        Place::Input(n) => at(Region::Input(*n as usize), 0),
        Place::Output(n) => at(Region::Output(*n as usize), 0),
        Place::Arena(offset) => at(Region::Arena, *offset),
        Place::Constant(_) => {
            let before = plan.buffers.iter().take_while(|(other, _)| *other != id);
            let nth = before
                .filter(|(_, buffer)| matches!(buffer.place, Place::Constant(_)))
                .count();
            at(Region::Constant(nth), 0)
        }
        Place::Slot { of, stride } => {
            let stack = spot(plan, rounds, *of);
            let index = rounds.get(&id).copied().unwrap_or(0);
            at(stack.region, stack.offset + index * stride)
        }
        Place::Status => at(Region::Status, 0),
    }
}

fn zero(elem: Elem) -> Scalar {
    match elem {
        Elem::F32 => Scalar::F32(0.0),
        Elem::F64 => Scalar::F64(0.0),
        Elem::I32 => Scalar::I32(0),
        Elem::I64 => Scalar::I64(0),
        Elem::Bool => Scalar::Bool(false),
    }
}

/// Room for the rounds of a call, and the rounds.
fn run_levels(
    plan: &Plan,
    call: &LevelsCall,
    regions: &mut Regions,
    place: &dyn Fn(&BufferRef) -> (Elem, Spot),
) {
    let ints = |regions: &Regions, b: &BufferRef| -> Vec<i64> {
        let (elem, at) = place(b);
        (0..plan.buffers[*b].ty.len())
            .map(|i| int(regions.get(at, elem, i as i64)))
            .collect()
    };
    let [left, right, count] = [0, 1, 2].map(|nth| ints(regions, &call.trees[nth]));
    let size = 3 * most_rounds(call.together, call.nodes, call.rows) * call.rows;
    let (elem, to) = place(&call.to);
    for (batch, count) in count.chunks_exact(call.together.max(1)).enumerate() {
        let nodes = call.together * call.nodes;
        let trees = Trees {
            left: &left[batch * nodes..(batch + 1) * nodes],
            right: &right[batch * nodes..(batch + 1) * nodes],
            count,
            nodes: call.nodes,
        };
        let mut rounds = vec![0; size];
        order(trees, call.rows, &mut rounds, &mut Scratch::default());
        for (at, &value) in rounds.iter().enumerate() {
            regions.set(to, (batch * size + at) as i64, Scalar::I64(value), elem);
        }
    }
}

/// An entry of a buffer of ints.
fn int(entry: Scalar) -> i64 {
    match entry {
        Scalar::I64(x) => x,
        Scalar::F32(_) | Scalar::F64(_) | Scalar::Bool(_) | Scalar::I32(_) => {
            panic!("the plan reads {entry:?} as an int")
        }
    }
}

fn run_loop(
    plan: &Plan,
    looped: &LoopStep,
    rounds: &mut Rounds,
    regions: &mut Regions,
) -> Result<(), Stopped> {
    let limit = match looped.limit {
        None => looped.count,
        Some(limit) => {
            let limit = int(regions.get(spot(plan, rounds, limit), Elem::I64, 0));
            limit.clamp(0, looped.count as i64) as usize
        }
    };
    for &stack in &looped.yields {
        let ty = &plan.buffers[stack].ty;
        let entry = ty.len() / looped.count.max(1);
        let stack = spot(plan, rounds, stack);
        for at in limit * entry..ty.len() {
            regions.set(stack, at as i64, zero(ty.elem), ty.elem);
        }
    }
    for round in 0..limit {
        if let Some(exit) = looped.exit {
            let flag = spot(plan, rounds, exit);
            let all = (0..plan.buffers[exit].ty.len() as i64)
                .all(|at| regions.get(flag, Elem::Bool, at) == Scalar::Bool(true));
            if all {
                break;
            }
        }
        let index = match looped.reverse {
            true => limit - 1 - round,
            false => round,
        };
        let counter = spot(plan, rounds, looped.index);
        regions.set(counter, 0, Scalar::I64(index as i64), Elem::I64);
        for &slot in &looped.slots {
            rounds.insert(slot, index);
        }
        run_steps(plan, &looped.steps, rounds, regions)?;
    }
    Ok(())
}

fn run_steps(
    plan: &Plan,
    steps: &[Step],
    rounds: &mut Rounds,
    regions: &mut Regions,
) -> Result<(), Stopped> {
    for (at, step) in steps.iter().enumerate() {
        if let StepKind::Loop(looped) = &step.kind {
            run_loop(plan, looped, rounds, regions)?;
            continue;
        }
        let place = |b: &BufferRef| (plan.buffers[*b].ty.elem, spot(plan, rounds, *b));
        match &step.kind {
            StepKind::Kernel {
                kernel,
                buffers,
                parallel,
            } => {
                let mut memory = Mapped {
                    regions: &mut *regions,
                    places: buffers.iter().map(place).collect(),
                    tile: Vec::new(),
                };
                let kernel = &plan.kernels[*kernel];
                match parallel {
                    None => run(kernel, &mut memory, &[]),
                    Some((extent, grain)) => {
                        // In two parts, as two threads would, the later one first.
                        let cut = (extent / grain / 2 * grain) as i64;
                        run(kernel, &mut memory, &[cut, *extent as i64]);
                        run(kernel, &mut memory, &[0, cut]);
                    }
                }
            }
            StepKind::Gemm(gemm) => run_gemm(plan, gemm, regions, &place),
            StepKind::Levels(call) => run_levels(plan, call, regions, &place),
            StepKind::Pack(pack) => {
                let (elem, source) = place(&pack.from.buffer);
                let (_, target) = place(&pack.to);
                let zero = match elem {
                    Elem::F64 => Scalar::F64(0.0),
                    Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => Scalar::F32(0.0),
                };
                let Axes { rows, cols } = Axes::panels(pack.k);
                for j in 0..pack.n.next_multiple_of(PANEL_COLS) {
                    for i in 0..pack.k {
                        let at = pack.from.offset + pack.from.rows.at(i) + pack.from.cols.at(j);
                        let item = match j < pack.n {
                            true => regions.get(source, elem, at as i64),
                            false => zero,
                        };
                        regions.set(target, (rows.at(i) + cols.at(j)) as i64, item, elem);
                    }
                }
            }
            StepKind::Copy { from, to } => {
                let (elem, source) = place(from);
                let (_, target) = place(to);
                let items: Vec<Scalar> = (0..plan.buffers[*from].ty.len())
                    .map(|i| regions.get(source, elem, i as i64))
                    .collect();
                for (i, item) in items.into_iter().enumerate() {
                    regions.set(target, i as i64, item, elem);
                }
            }
            StepKind::ArgSort {
                from,
                to,
                len,
                keep,
            } => {
                let (elem, source) = place(from);
                let (to_elem, target) = place(to);
                let count = plan.buffers[*from].ty.len();
                let key = |i: usize| match regions.get(source, elem, i as i64) {
                    Scalar::F32(x) => f64::from(x),
                    Scalar::F64(x) => x,
                    Scalar::I32(x) => f64::from(x),
                    Scalar::I64(x) => x as f64,
                    Scalar::Bool(x) => f64::from(u8::from(x)),
                };
                let keys: Vec<f64> = (0..count).map(key).collect();
                for start in (0..count).step_by((*len).max(1)) {
                    let mut order: Vec<usize> = (0..*len).collect();
                    order.sort_by(|&a, &b| {
                        let (a, b) = (keys[start + a], keys[start + b]);
                        a.partial_cmp(&b)
                            .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
                    });
                    for (i, place) in order.into_iter().enumerate().take(*keep) {
                        let value = Scalar::I64(place as i64);
                        regions.set(target, (start + i) as i64, value, to_elem);
                    }
                }
            }
            // Checks are looked at after every step.
            StepKind::Loop(_) | StepKind::Settle => {}
            StepKind::Matrix(call) => {
                let read = |buffer: &BufferRef| -> Vec<f64> {
                    let (elem, spot) = place(buffer);
                    (0..plan.buffers[*buffer].ty.len())
                        .map(|i| match regions.get(spot, elem, i as i64) {
                            Scalar::F32(x) => f64::from(x),
                            Scalar::F64(x) => x,
                            Scalar::I32(_) | Scalar::I64(_) | Scalar::Bool(_) => f64::NAN,
                        })
                        .collect()
                };
                let a = read(&call.a);
                let b = call.b.as_ref().map_or(Vec::new(), read);
                let (elem, target) = place(&call.to);
                let mut out = vec![0.0; plan.buffers[call.to].ty.len()];
                linalg::apply(call.op, call.shape, &a, &b, &mut out, &Pool::new(1))
                    .map_err(|bad| Stopped::Matrix(at, bad))?;
                for (i, x) in out.into_iter().enumerate() {
                    let value = match elem {
                        Elem::F32 => Scalar::F32(x as f32),
                        Elem::F64 | Elem::I32 | Elem::I64 | Elem::Bool => Scalar::F64(x),
                    };
                    regions.set(target, i as i64, value, elem);
                }
            }
            StepKind::Guard { buffer } => {
                let (elem, spot) = place(buffer);
                let finite = match regions.get(spot, elem, 0) {
                    Scalar::F32(x) => x.is_finite(),
                    Scalar::F64(x) => x.is_finite(),
                    Scalar::I32(_) | Scalar::I64(_) | Scalar::Bool(_) => true,
                };
                if !finite {
                    return Err(Stopped::Guard(at));
                }
            }
        }
        let status = Spot {
            region: Region::Status,
            offset: 0,
        };
        let code = regions.get(status, Elem::I64, 0);
        if code != Scalar::I64(0) {
            let detail = regions.get(status, Elem::I64, 1);
            if let (Scalar::I64(code), Scalar::I64(detail)) = (code, detail) {
                return Err(Stopped::Check(code, detail));
            }
        }
    }
    Ok(())
}

/// A product in tiles of odd sizes, so that epilogues meet all their edges.
fn run_gemm(
    plan: &Plan,
    gemm: &Gemm,
    regions: &mut Regions,
    place: &dyn Fn(&BufferRef) -> (Elem, Spot),
) {
    let (elem, _) = place(&gemm.a.buffer);
    let (_, c) = place(&gemm.c.buffer);
    let number = |s: Scalar| match s {
        Scalar::F32(x) => f64::from(x),
        Scalar::F64(x) => x,
        other => panic!("no product of {other:?}"),
    };
    let round = |x: f64| {
        if elem == Elem::F32 {
            Scalar::F32(x as f32)
        } else {
            Scalar::F64(x)
        }
    };
    let terms = match &gemm.limit {
        None => gemm.k,
        Some((limit, each)) => {
            let limit = int(regions.get(place(limit).1, Elem::I64, 0));
            gemm.k.min(limit.max(0) as usize * each)
        }
    };
    let sides_of = |a: &Matrix, b: &Matrix, terms: usize, sums: [Option<BufferRef>; 2]| {
        let sides = [
            (*a, a.rows, a.cols, gemm.m, terms),
            (*b, b.cols, b.rows, gemm.n, terms),
        ];
        sides.into_iter().zip(sums)
    };
    let before = gemm.before.iter();
    let summed = before
        .flat_map(|before| sides_of(&before.a, &before.b, before.k, before.sums))
        .chain(sides_of(&gemm.a, &gemm.b, terms, gemm.sums));
    for ((matrix, own, along, count, terms), sum) in summed {
        let Some(sum) = sum else { continue };
        let (from, to) = (place(&matrix.buffer).1, place(&sum).1);
        for at in 0..count {
            let entry = |k: usize| (matrix.offset + own.at(at) + along.at(k)) as i64;
            let total = (0..terms)
                .map(|k| number(regions.get(from, elem, entry(k))))
                .sum();
            regions.set(to, at as i64, round(total), elem);
        }
    }
    for batch in 0..gemm.batch {
        let product = |regions: &Regions, (a, b): (&Matrix, &Matrix), terms, (i, j)| {
            let mut sum = 0.0;
            let (from_a, from_b) = (place(&a.buffer).1, place(&b.buffer).1);
            for k in 0..terms {
                let at_a = a.offset + a.batch.at(batch) + a.rows.at(i) + a.cols.at(k);
                let at_b = b.offset + b.batch.at(batch) + b.rows.at(k) + b.cols.at(j);
                let x = number(regions.get(from_a, elem, at_a as i64));
                sum += x * number(regions.get(from_b, elem, at_b as i64));
            }
            sum
        };
        let element = |regions: &Regions, i: usize, j: usize| {
            let sum = product(regions, (&gemm.a, &gemm.b), terms, (i, j));
            gemm.before.as_ref().map_or(sum, |before| {
                let first = product(regions, (&before.a, &before.b), before.k, (i, j));
                before.factor * first + sum
            })
        };
        match &gemm.epilogue {
            None => {
                for i in 0..gemm.m {
                    for j in 0..gemm.n {
                        let at = gemm.c.offset + gemm.c.batch.at(batch) + gemm.c.rows.at(i) + j;
                        let mut x = element(regions, i, j);
                        if gemm.accumulate {
                            x += number(regions.get(c, elem, at as i64));
                        }
                        regions.set(c, at as i64, round(x), elem);
                    }
                }
            }
            Some((kernel, buffers)) => {
                let (high, wide) = match gemm.whole_rows {
                    true => (1, gemm.n),
                    false => (14, 32),
                };
                for row0 in (0..gemm.m).step_by(high) {
                    for col0 in (0..gemm.n).step_by(wide) {
                        let (row1, col1) = ((row0 + high).min(gemm.m), (col0 + wide).min(gemm.n));
                        let mut tile = vec![f64::NAN; high.max(14) * wide.max(32)];
                        for i in row0..row1 {
                            for j in col0..col1 {
                                tile[(i - row0) * 32 + j - col0] = element(regions, i, j);
                            }
                        }
                        let tile_spot = Spot {
                            region: Region::Tile,
                            offset: 0,
                        };
                        let mut places = vec![(elem, tile_spot)];
                        places.extend(buffers.iter().map(place));
                        let mut memory = Mapped {
                            regions: &mut *regions,
                            places,
                            tile,
                        };
                        let args = [
                            row0 as i64,
                            row1 as i64,
                            col0 as i64,
                            col1 as i64,
                            (row1 - row0) as i64,
                            (col1 - col0) as i64,
                        ];
                        run(&plan.kernels[*kernel], &mut memory, &args);
                    }
                }
            }
        }
    }
}
