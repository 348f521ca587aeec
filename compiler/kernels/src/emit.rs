//! From TIR values to loop IR: computes a value at given coordinates inside a [`Nest`].
//!
//! Views only change coordinates; elementwise ops recurse; sums and other reductions become
//! loops placed in the outermost loop that knows their coordinates. What is stored in a buffer
//! is loaded. Emission may fail: a variable has to be split for a reshape, or a value of the
//! kernel's own is wanted at another place than the one being computed.

use crate::coords::{self, Coord, Unsplit};
use crate::elementwise::{binary, compare, unary};
use crate::lir::{AccOp, Access, BufferId, Comparison, LirBinary, Stmt, Val, ValKind, Var};
use crate::math;
use crate::nest::Nest;
use crate::prepare::Prepared;
use crate::{small, views};
use aec_ir::{Contract, Function, Inst, Label, Literal, MatrixOp, Op, Reduction, Value};
use aec_runtime::Elem;
use cranelift_entity::{EntityRef, EntitySet};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::rc::Rc;

/// What a kernel's pointer param stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Bind {
    /// A stored value.
    Value(Value),
    /// The status cells.
    Status,
}

/// A loop that a reshape may have to split: an axis of the iteration space, or a summed axis
/// (label, or axis of a reduction) of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LoopKey {
    /// An axis of the space.
    Space(usize),
    /// A reduced label or axis.
    Reduced(Inst, usize),
}

/// Sizes of the pieces of split loops, outermost first.
pub type Splits = HashMap<LoopKey, Vec<i64>>;

/// Why a kernel cannot be built this way.
#[derive(Clone, PartialEq, Debug)]
pub enum Fail {
    /// It can if this piece of this loop is split, the inner part of this size.
    Split(LoopKey, usize, i64),
    /// It cannot.
    Illegal(&'static str),
}

/// Terms of sums that are written out at most.
const WRITTEN_TERMS: usize = 16;

/// The state of building one kernel.
pub struct Emitter<'a> {
    /// The function.
    pub f: &'a Function,
    prepared: &'a Prepared,
    /// Values that have buffers.
    pub(crate) stored: &'a EntitySet<Value>,
    /// Values that this kernel computes itself though they have buffers.
    pub own: SmallVec<[Value; 8]>,
    /// Coordinates of the iteration space.
    pub space: Vec<Coord>,
    /// Its dims; none for ops that open loops of their own.
    pub space_dims: Vec<usize>,
    /// Own values that an earlier pass over the row has stored, with the loops of that pass.
    pub streamed: Vec<(Value, SmallVec<[Var; 2]>)>,
    /// The code.
    pub nest: Nest,
    /// What the buffers are.
    pub binds: Vec<Bind>,
    /// What has been emitted.
    pub(crate) memo: HashMap<(Value, Vec<Coord>), Val>,
    /// Results of small linear algebra, by the coordinates in front of the matrix.
    matrices: HashMap<(Inst, Vec<Coord>), Rc<[Val]>>,
    /// Whether axes behind the iteration space are written out, entry by entry, and short sums too.
    pub written: bool,
    buffers: HashMap<Bind, BufferId>,
    splits: &'a Splits,
    var_loop: Vec<Option<(LoopKey, usize)>>,
    /// Whether reductions outside lane loops run in lanes.
    pub lanes: bool,
}

impl<'a> Emitter<'a> {
    /// An empty kernel.
    pub fn new(
        prepared: &'a Prepared,
        stored: &'a EntitySet<Value>,
        splits: &'a Splits,
    ) -> Emitter<'a> {
        Emitter {
            f: &prepared.f,
            prepared,
            stored,
            own: SmallVec::new(),
            space: Vec::new(),
            space_dims: Vec::new(),
            streamed: Vec::new(),
            nest: Nest::new(),
            binds: Vec::new(),
            memo: HashMap::default(),
            matrices: HashMap::default(),
            written: false,
            buffers: HashMap::default(),
            splits,
            var_loop: Vec::new(),
            lanes: true,
        }
    }

    /// Which loop a variable belongs to, if it is one that may be split.
    pub fn loop_of(&self, var: Var) -> Option<(LoopKey, usize)> {
        self.var_loop.get(var.index()).copied().flatten()
    }

    /// Opens the loops of one axis and gives its coordinate.
    pub fn open_axis(&mut self, key: LoopKey, size: usize, lanes: bool) -> Coord {
        if size == 1 {
            return Coord::constant(0);
        }
        let whole = [size as i64];
        let pieces: Vec<i64> = match self.splits.get(&key) {
            Some(pieces) => pieces.clone(),
            None => whole.to_vec(),
        };
        let mut coord = Coord::default();
        for (index, &piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            let var = self.nest.open(0, piece, lanes && last);
            self.note_var(var, key, index);
            coord = coord.scaled(piece, 0);
            coord.add_scaled(&Coord::var(var.as_u32()), 1);
        }
        coord
    }

    /// Remembers what a variable counts.
    fn note_var(&mut self, var: Var, key: LoopKey, piece: usize) {
        self.var_loop.resize(var.index() + 1, None);
        self.var_loop[var.index()] = Some((key, piece));
    }

    /// The pointer param of something.
    pub fn buffer(&mut self, bind: Bind, write: bool) -> BufferId {
        let access = if write { Access::Write } else { Access::Read };
        if let Some(&id) = self.buffers.get(&bind) {
            let own = &mut self.nest.kernel.buffers[id].access;
            if *own != access {
                *own = Access::ReadWrite;
            }
            return id;
        }
        let (elem, name) = match bind {
            Bind::Value(v) => (self.f.ty(v).elem, self.prepared.value_name(v)),
            Bind::Status => (Elem::I64, "status".to_string()),
        };
        let access = match bind {
            Bind::Value(_) => access,
            Bind::Status => Access::ReadWrite,
        };
        let id = self.nest.buffer(elem, access, &name);
        self.binds.push(bind);
        self.buffers.insert(bind, id);
        id
    }

    /// Coordinates with those of size-1 axes set to 0, so that equal places look equal.
    fn canonical(&self, v: Value, coords: &[Coord]) -> Vec<Coord> {
        let dims = self.f.dims(v);
        coords
            .iter()
            .zip(dims)
            .map(|(c, &d)| {
                if d == 1 {
                    Coord::constant(0)
                } else {
                    c.clone()
                }
            })
            .collect()
    }

    /// The value at coordinates.
    pub fn emit(&mut self, v: Value, coords: &[Coord]) -> Result<Val, Fail> {
        let coords = self.canonical(v, coords);
        let key = (v, coords);
        if let Some(&val) = self.memo.get(&key)
            && self.nest.visible(val)
        {
            return Ok(val);
        }
        let coords = &key.1;
        let val = if self.own.contains(&v) {
            self.own_value(v, coords)?
        } else if self.f.ty(v).is_empty() {
            // Only loops without iterations want it, but a load might move out of them.
            self.nest.float(0.0, self.f.ty(v).elem)
        } else if self.stored.contains(v) {
            let buffer = self.buffer(Bind::Value(v), false);
            let place = coords::linear(self.f.dims(v), coords);
            self.nest.load(buffer, &place)
        } else {
            self.compute(v, coords)?
        };
        self.memo.insert(key, val);
        Ok(val)
    }

    /// The value at coordinates, from its operands.
    pub fn compute(&mut self, v: Value, coords: &[Coord]) -> Result<Val, Fail> {
        let f = self.f;
        let Some(inst) = f.def_inst(v) else {
            return Err(Fail::Illegal("a param has a buffer"));
        };
        let data = &f.insts[inst];
        let elem = f.ty(v).elem;
        let x = data.operands.first().copied();
        match (&data.op, x) {
            (Op::Constant(literal), _) => Ok(self.literal(*literal, elem)),
            (Op::Dense(_), _) => Err(Fail::Illegal("a dense constant has a buffer")),
            (Op::Iota { axis }, _) => {
                let index = self.nest.index(&coords[*axis]);
                Ok(self.nest.convert(index, elem))
            }
            (Op::Unary(op), Some(x)) => {
                let x = self.emit(x, coords)?;
                Ok(unary(&mut self.nest, *op, x))
            }
            (Op::Binary(op), Some(x)) => {
                let a = self.emit(x, coords)?;
                let b = self.emit(data.operands[1], coords)?;
                Ok(binary(&mut self.nest, *op, a, b))
            }
            (Op::Compare(op), Some(x)) => {
                let a = self.emit(x, coords)?;
                let b = self.emit(data.operands[1], coords)?;
                Ok(compare(&mut self.nest, *op, a, b))
            }
            (Op::Select, Some(c)) => {
                let c = self.emit(c, coords)?;
                let a = self.emit(data.operands[1], coords)?;
                let b = self.emit(data.operands[2], coords)?;
                Ok(self.nest.select(c, a, b))
            }
            (Op::Convert, Some(x)) => {
                let x = self.emit(x, coords)?;
                Ok(self.nest.convert(x, elem))
            }
            (Op::Stop | Op::Slope { .. }, Some(x)) => self.emit(x, coords),
            (Op::Contract(contract), _) => self.contract(inst, contract, coords, elem),
            (Op::Reduce { op, axes }, Some(x)) => {
                let acc = match op {
                    Reduction::Max => AccOp::Max,
                    Reduction::Min => AccOp::Min,
                    Reduction::All => AccOp::All,
                    Reduction::Any => AccOp::Any,
                };
                let keys: Vec<(usize, usize)> = axes.iter().map(|&a| (a, f.dims(x)[a])).collect();
                self.reduce(inst, &keys, coords, acc, elem, |e, inner| {
                    let mut outer = coords.iter();
                    let all: Vec<Coord> = (0..f.dims(x).len())
                        .map(|axis| match axes.iter().position(|&a| a == axis) {
                            Some(at) => inner[at].clone(),
                            None => outer.next().cloned().unwrap_or_default(),
                        })
                        .collect();
                    e.emit(x, &all)
                })
            }
            (Op::ArgReduce { op, axis }, Some(x)) => {
                self.arg_reduce(inst, *op, *axis, x, coords, elem)
            }
            (Op::Reshape, Some(x)) => {
                let coords = self.reshape(f.dims(x), f.dims(v), coords)?;
                self.emit(x, &coords)
            }
            (Op::Slice { start, stride, .. }, Some(x)) => {
                let coords: Vec<Coord> = coords
                    .iter()
                    .enumerate()
                    .map(|(axis, c)| c.scaled(stride[axis] as i64, start[axis] as i64))
                    .collect();
                self.emit(x, &coords)
            }
            (Op::Reverse { axes }, Some(x)) => {
                let mut coords = coords.to_vec();
                for &axis in axes {
                    coords[axis] = coords[axis].scaled(-1, f.dims(x)[axis] as i64 - 1);
                }
                self.emit(x, &coords)
            }
            (Op::Gather { batch, .. }, Some(x)) => {
                let index = data.operands[1];
                if let Some(at) = views::window(f, inst) {
                    return self.emit(x, &views::through(&at, *batch, f.dims(index), coords));
                }
                let index_rank = f.dims(index).len();
                let at = self.emit(index, &coords[..index_rank])?;
                let size = f.dims(x)[*batch] as i64;
                let at = self.checked(inst, at, size);
                let Some(at) = at else {
                    return Ok(self.nest.float(0.0, elem));
                };
                let mut place: Vec<Coord> = coords[..*batch].to_vec();
                place.push(Coord::value(at));
                place.extend_from_slice(&coords[index_rank..]);
                self.emit(x, &place)
            }
            (
                Op::Draw {
                    distribution,
                    site,
                    batch,
                    radices,
                },
                Some(seed),
            ) => {
                let seed = self.emit(seed, &[])?;
                let step = self.emit(data.operands[1], &[])?;
                let key = self.nest.value(ValKind::DrawKey(seed, *site), Elem::I64);
                let zero = self.nest.int(0, Elem::I64);
                let (mut example, mut inner) = (zero, zero);
                for (nth, &operand) in data.operands[2..].iter().enumerate() {
                    let c = self.emit(operand, &coords[..*batch])?;
                    if nth == 0 {
                        example = c;
                    } else if nth == 1 {
                        inner = c;
                    } else {
                        let radix = self.nest.int(radices[nth - 1] as i64, Elem::I64);
                        let scaled = self.nest.mul(inner, radix);
                        inner = self.nest.add(scaled, c);
                    }
                }
                let element = coords::linear(&f.dims(v)[*batch..], &coords[*batch..]);
                if !element.at.is_empty() {
                    return Err(Fail::Illegal("a draw at a place given by data"));
                }
                self.check_draw_lanes(&element, &[example, inner])?;
                Ok(self.nest.value(
                    ValKind::Draw {
                        distribution: *distribution,
                        key,
                        element: Nest::affine(&element),
                        inner,
                        example,
                        step,
                    },
                    elem,
                ))
            }
            (
                Op::Pad { .. }
                | Op::Concat { .. }
                | Op::ScatterAdd { .. }
                | Op::Put { .. }
                | Op::CumSum { .. }
                | Op::ArgSort
                | Op::Levels { .. },
                _,
            ) => Err(Fail::Illegal("this op writes its own buffer")),
            (Op::Matrix(op), _) => self.matrix(inst, *op, coords),
            (Op::Loop(_), _) => Err(Fail::Illegal("loops are steps of their own")),
            (Op::Map { .. } | Op::Derivative { .. } | Op::BatchMean, _) => {
                Err(Fail::Illegal("transform expands this op"))
            }
            (
                Op::Unary(_)
                | Op::Binary(_)
                | Op::Compare(_)
                | Op::Select
                | Op::Convert
                | Op::Stop
                | Op::Slope { .. }
                | Op::Reduce { .. }
                | Op::ArgReduce { .. }
                | Op::Reshape
                | Op::Slice { .. }
                | Op::Reverse { .. }
                | Op::Gather { .. }
                | Op::Draw { .. },
                None,
            ) => Err(Fail::Illegal("an operand is missing")),
        }
    }

    /// An entry of small linear algebra, of which all are computed at once.
    fn matrix(&mut self, inst: Inst, op: MatrixOp, coords: &[Coord]) -> Result<Val, Fail> {
        let result = self.f.insts[inst].results[0];
        let Some(lead) = small::lead_of(self.f, result) else {
            return Err(Fail::Illegal("this op writes its own buffer"));
        };
        let (lead, entry) = coords.split_at(lead);
        let place = coords::linear(&self.f.dims(result)[lead.len()..], entry);
        if !place.is_constant() {
            return Err(Fail::Illegal("an entry of a matrix at a place that varies"));
        }
        let key = (inst, lead.to_vec());
        let known = self.matrices.get(&key);
        let entries = match known.filter(|all| all.iter().all(|&x| self.nest.visible(x))) {
            Some(entries) => entries.clone(),
            None => {
                let entries: Rc<[Val]> = small::entries(self, inst, op, lead)?.into();
                self.matrices.insert(key, entries.clone());
                entries
            }
        };
        let at = usize::try_from(place.base).ok();
        let entry = at.and_then(|at| entries.get(at).copied());
        entry.ok_or(Fail::Illegal("an entry that the matrix does not have"))
    }

    /// The code by which an instruction's check is told, if it has one.
    pub(crate) fn check_code(&self, inst: Inst) -> Option<i64> {
        self.prepared.checks.get(&inst).copied()
    }

    /// The rule of [`ValKind::Draw`]: consecutive elements in the lanes, the rest the same.
    fn check_draw_lanes(&mut self, element: &Coord, others: &[Val]) -> Result<(), Fail> {
        let mut depth = self.nest.depth_of_coord(element);
        for &other in others {
            depth = depth.max(self.nest.depth_of(other));
        }
        let Some(lane) = self.nest.lane_var(depth) else {
            return Ok(());
        };
        let lane_coord = Coord::var(lane.as_u32());
        let lane_depth = self.nest.depth_of_coord(&lane_coord);
        let varies = others.iter().any(|&o| self.nest.depth_of(o) >= lane_depth);
        if varies || element.coefficient(lane.as_u32()) != 1 {
            return Err(Fail::Illegal("a draw whose elements are not the lanes"));
        }
        Ok(())
    }

    fn literal(&mut self, literal: Literal, elem: Elem) -> Val {
        match literal {
            Literal::Float(x) => self.nest.float(x, elem),
            Literal::Int(x) => self.nest.int(x, elem),
            Literal::Bool(x) => self.nest.value(ValKind::Bool(x), Elem::Bool),
        }
    }

    /// An index within `0..size`, with a check; `None` if the axis is empty.
    pub fn checked(&mut self, inst: Inst, at: Val, size: i64) -> Option<Val> {
        let n = &mut self.nest;
        if let ValKind::Int(i) = n.kernel.values[at].kind
            && (0..size).contains(&i)
        {
            return Some(at);
        }
        let zero = n.int(0, Elem::I64);
        let top = n.int(size, Elem::I64);
        let not_negative = n.compare(Comparison::Ge, at, zero);
        let below = n.compare(Comparison::Lt, at, top);
        let ok = n.binary(LirBinary::And, not_negative, below);
        if let Some(code) = self.check_code(inst) {
            let status = self.buffer(Bind::Status, true);
            let depth = self.nest.depth_of(ok);
            self.nest.push_at(
                Stmt::Check {
                    ok,
                    status,
                    code,
                    detail: at,
                },
                depth,
            );
        }
        (size > 0).then(|| self.nest.select(ok, at, zero))
    }

    /// Coordinates before a reshape; a data-dependent or ragged regrouping is computed.
    pub(crate) fn reshape(
        &mut self,
        from: &[usize],
        to: &[usize],
        coords: &[Coord],
    ) -> Result<Vec<Coord>, Fail> {
        let extent = |v| self.nest.extent(v);
        match coords::reshape(from, to, coords, &extent) {
            Ok(coords) => Ok(coords),
            Err(Unsplit::Variable(var, inner)) => match self.loop_of(Var::from_u32(var)) {
                Some((key, piece)) => Err(Fail::Split(key, piece, inner)),
                None => Ok(self.divide(from, to, coords)),
            },
            Err(Unsplit::Never(_)) => Ok(self.divide(from, to, coords)),
        }
    }

    /// A reshape by division at run time.
    fn divide(&mut self, from: &[usize], to: &[usize], coords: &[Coord]) -> Vec<Coord> {
        let place = coords::linear(to, coords);
        let mut rest = self.nest.index(&place);
        let mut out = vec![Coord::constant(0); from.len()];
        for axis in (0..from.len()).rev() {
            let outer: usize = from[..axis].iter().product();
            if outer == 1 {
                out[axis] = Coord::value(rest);
                break;
            }
            let size = self.nest.int(from[axis] as i64, Elem::I64);
            let remainder = self.nest.binary(LirBinary::FloorMod, rest, size);
            out[axis] = Coord::value(remainder);
            rest = self.nest.binary(LirBinary::FloorDiv, rest, size);
        }
        out
    }

    /// Runs `body` for all values of the reduced axes (`(id, size)`, outermost first) and
    /// accumulates; placed where `coords` are known.
    pub(crate) fn reduce(
        &mut self,
        inst: Inst,
        axes: &[(usize, usize)],
        coords: &[Coord],
        op: AccOp,
        elem: Elem,
        mut body: impl FnMut(&mut Emitter<'a>, &[Coord]) -> Result<Val, Fail>,
    ) -> Result<Val, Fail> {
        let sizes: SmallVec<[usize; 4]> = axes.iter().map(|&(_, size)| size).collect();
        let terms: usize = sizes.iter().product();
        if self.written && op == AccOp::Sum && (1..=WRITTEN_TERMS).contains(&terms) {
            let mut sum = None;
            for at in 0..terms {
                let value = body(self, &coords::place_of(&sizes, at))?;
                sum = Some(match sum {
                    None => value,
                    Some(sum) => self.nest.add_fused(sum, value),
                });
            }
            return sum.ok_or(Fail::Illegal("no terms"));
        }
        let depth = coords
            .iter()
            .map(|c| self.nest.depth_of_coord(c))
            .max()
            .unwrap_or(0);
        let suspended = self.nest.suspend(depth);
        let acc = self.nest.init(op, elem);
        let in_lanes = self.nest.in_lanes();
        // The innermost of the axes that have loops runs in lanes.
        let lane_axis = axes.iter().rposition(|&(_, size)| size != 1);
        let before = self.nest.depth();
        let mut inner = Vec::with_capacity(axes.len());
        for (at, &(id, size)) in axes.iter().enumerate() {
            let lanes = !in_lanes && self.lanes && Some(at) == lane_axis;
            inner.push(self.open_axis(LoopKey::Reduced(inst, id), size, lanes));
        }
        let value = body(self, &inner)?;
        self.nest.accumulate(acc, value);
        while self.nest.depth() > before {
            self.nest.close();
        }
        let out = self.nest.read(acc);
        self.nest.resume(suspended);
        Ok(out)
    }

    fn contract(
        &mut self,
        inst: Inst,
        contract: &Contract,
        coords: &[Coord],
        elem: Elem,
    ) -> Result<Val, Fail> {
        let f = self.f;
        let mut of_label: Vec<Option<Coord>> = vec![None; contract.sizes.len()];
        for (&label, coord) in contract.out.iter().zip(coords) {
            of_label[usize::from(label)] = Some(coord.clone());
        }
        let summed = summed_labels(f, inst, contract);
        let product = |e: &mut Emitter<'a>, of_label: &[Option<Coord>]| {
            let mut out: Option<Val> = None;
            for (factor, &operand) in contract.factors.iter().zip(&f.insts[inst].operands) {
                let coords: Vec<Coord> = factor
                    .labels
                    .iter()
                    .map(|&l| of_label[usize::from(l)].clone().unwrap_or_default())
                    .collect();
                let x = e.emit(operand, &coords)?;
                let x = if factor.power == 1 {
                    x
                } else {
                    math::power(&mut e.nest, x, factor.power)
                };
                out = Some(match out {
                    None => x,
                    Some(out) => e.nest.mul(out, x),
                });
            }
            let mut out = out.unwrap_or_else(|| e.nest.float(1.0, elem));
            for &(a, b) in &contract.deltas {
                let a = of_label[usize::from(a)].clone().unwrap_or_default();
                let b = of_label[usize::from(b)].clone().unwrap_or_default();
                if a == b {
                    continue;
                }
                let a = e.nest.index(&a);
                let b = e.nest.index(&b);
                let same = e.nest.compare(Comparison::Eq, a, b);
                let zero = e.nest.float(0.0, elem);
                out = e.nest.select(same, out, zero);
            }
            Ok(out)
        };
        let sum = if summed.is_empty() {
            product(self, &of_label)?
        } else {
            let axes: Vec<(usize, usize)> = summed
                .iter()
                .map(|&l| (usize::from(l), contract.sizes[usize::from(l)]))
                .collect();
            self.reduce(inst, &axes, coords, AccOp::Sum, elem, |e, inner| {
                for (&label, coord) in summed.iter().zip(inner) {
                    of_label[usize::from(label)] = Some(coord.clone());
                }
                product(e, &of_label)
            })?
        };
        if contract.coefficient == 1.0 || elem == Elem::Bool {
            return Ok(sum);
        }
        let c = self.nest.float(contract.coefficient, elem);
        if let Some(x) = self.nest.as_float(sum) {
            return Ok(self.nest.float(x * contract.coefficient, elem));
        }
        Ok(self.nest.mul(c, sum))
    }

    /// Stores a value at coordinates of a stored value's buffer.
    pub fn store(&mut self, into: Value, coords: &[Coord], value: Val) {
        let buffer = self.buffer(Bind::Value(into), true);
        let place = coords::linear(self.f.dims(into), coords);
        self.nest.store(buffer, &place, value);
    }
}

/// Labels that are summed over, the one with the widest steps first.
pub fn summed_labels(f: &Function, inst: Inst, contract: &Contract) -> Vec<Label> {
    let mut labels: Vec<(i64, Label)> = Vec::new();
    for label in 0..contract.sizes.len() as Label {
        let used = contract.factors.iter().any(|x| x.labels.contains(&label))
            || contract
                .deltas
                .iter()
                .any(|&(a, b)| a == label || b == label);
        if contract.out.contains(&label) || !used {
            continue;
        }
        let mut step = 0;
        for (factor, &operand) in contract.factors.iter().zip(&f.insts[inst].operands) {
            let strides = coords::row_major(f.dims(operand));
            for (&l, &stride) in factor.labels.iter().zip(&strides) {
                if l == label {
                    step += stride;
                }
            }
        }
        labels.push((step, label));
    }
    labels.sort_by_key(|&(step, label)| (std::cmp::Reverse(step), label));
    labels.into_iter().map(|(_, label)| label).collect()
}
