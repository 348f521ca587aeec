//! Emission of what is more than one loop or has an order: arg-reductions, scatters, running
//! sums.

use crate::coords::{self, Coord};
use crate::emit::{Bind, Emitter, Fail, LoopKey};
use crate::lir::{AccOp, Affine, BufferId, Comparison, LirBinary, Stmt, Val, ValKind};
use crate::nest::Nest;
use aec_ir::{Inst, Reduction, Value};
use aec_runtime::Elem;

impl<'a> Emitter<'a> {
    /// Two passes: the extreme value, then the least index that has it (NaN if there is one).
    pub(crate) fn arg_reduce(
        &mut self,
        inst: Inst,
        op: Reduction,
        axis: usize,
        x: Value,
        coords: &[Coord],
        elem: Elem,
    ) -> Result<Val, Fail> {
        let size = self.f.dims(x)[axis];
        let x_elem = self.f.ty(x).elem;
        if size <= 1 {
            return Ok(self.nest.int(0, elem));
        }
        let acc = if op == Reduction::Max {
            AccOp::Max
        } else {
            AccOp::Min
        };
        let at = |inner: &[Coord]| {
            let mut all = coords.to_vec();
            all.insert(axis, inner[0].clone());
            all
        };
        let axes = [(axis, size)];
        let best = self.reduce(inst, &axes, coords, acc, x_elem, |e, inner| {
            e.emit(x, &at(inner))
        })?;
        self.reduce(inst, &axes, coords, AccOp::Min, elem, |e, inner| {
            let value = e.emit(x, &at(inner))?;
            let n = &mut e.nest;
            let mut hit = n.compare(Comparison::Eq, value, best);
            if x_elem.is_float() {
                let nan = n.compare(Comparison::Ne, value, value);
                hit = n.binary(LirBinary::Or, hit, nan);
            }
            let index = n.index(&inner[0]);
            let index = n.convert(index, elem);
            let beyond = n.int(size as i64, elem);
            Ok(n.select(hit, index, beyond))
        })
    }

    /// Adds one pair's updates to the sums that stand in the result's buffer.
    pub fn scatter(&mut self, inst: Inst, pair: usize, batch: usize) -> Result<(), Fail> {
        let f = self.f;
        let data = &f.insts[inst];
        let (index, updates) = (data.operands[2 * pair], data.operands[2 * pair + 1]);
        let result = data.results[0];
        let index_rank = f.dims(index).len();
        let dims = f.dims(updates);
        let mut coords = Vec::new();
        for (axis, &size) in dims.iter().enumerate() {
            let lanes = axis + 1 == dims.len() && axis >= index_rank && size > 1;
            coords.push(self.open_axis(LoopKey::Space(axis), size, lanes));
        }
        self.space = coords.clone();
        let update = self.emit(updates, &coords)?;
        let at = self.emit(index, &coords[..index_rank])?;
        let size = f.dims(result)[batch] as i64;
        let Some(at) = self.checked(inst, at, size) else {
            return Ok(());
        };
        let original = self.emit(index, &coords[..index_rank])?;
        let mut place: Vec<Coord> = coords[..batch].to_vec();
        place.push(Coord::value(at));
        place.extend_from_slice(&coords[index_rank..]);
        let place = coords::linear(f.dims(result), &place);
        let buffer = self.buffer(Bind::Value(result), true);
        self.buffer(Bind::Value(result), false);
        let depth = self.nest.depth();
        // A bad index adds nothing, at a safe place.
        let hit = self.nest.compare(Comparison::Eq, at, original);
        let elem = f.ty(result).elem;
        let zero = self.nest.float(0.0, elem);
        let update = self.nest.select(hit, update, zero);
        let before = self.nest.load_at(buffer, &place, depth);
        let sum = self
            .nest
            .value_at(ValKind::Binary(LirBinary::Add, before, update), elem, depth);
        self.push_store(buffer, &place, sum, depth);
        Ok(())
    }

    /// Writes rows over those that stand in the result's buffer.
    pub fn put(&mut self, inst: Inst, batch: usize) -> Result<(), Fail> {
        let f = self.f;
        let data = &f.insts[inst];
        let (index, rows) = (data.operands[1], data.operands[2]);
        let result = data.results[0];
        let size = f.dims(result)[batch] as i64;
        if size == 0 {
            return Ok(());
        }
        let index_rank = f.dims(index).len();
        let dims = f.dims(rows);
        let mut coords = Vec::new();
        for (axis, &size) in dims.iter().enumerate() {
            let lanes = axis + 1 == dims.len() && axis >= index_rank && size > 1;
            coords.push(self.open_axis(LoopKey::Space(axis), size, lanes));
        }
        self.space = coords.clone();
        let row = self.emit(rows, &coords)?;
        let at = self.emit(index, &coords[..index_rank])?;
        let n = &mut self.nest;
        let zero = n.int(0, Elem::I64);
        let end = n.int(size, Elem::I64);
        let not_negative = n.compare(Comparison::Ge, at, zero);
        let below = n.compare(Comparison::Lt, at, end);
        let inside = n.binary(LirBinary::And, not_negative, below);
        // Where nothing is put, the first row keeps what it has.
        let safe = n.select(inside, at, zero);
        let mut place: Vec<Coord> = coords[..batch].to_vec();
        place.push(Coord::value(safe));
        place.extend_from_slice(&coords[index_rank..]);
        let place = coords::linear(f.dims(result), &place);
        let buffer = self.buffer(Bind::Value(result), true);
        self.buffer(Bind::Value(result), false);
        let depth = self.nest.depth();
        let before = self.nest.load_at(buffer, &place, depth);
        let elem = f.ty(result).elem;
        let kept = self
            .nest
            .value_at(ValKind::Select(inside, row, before), elem, depth);
        self.push_store(buffer, &place, kept, depth);
        Ok(())
    }

    fn push_store(&mut self, buffer: BufferId, place: &Coord, value: Val, depth: usize) {
        let index: Affine = Nest::affine(place);
        let stmt = match self.nest.dynamic(place) {
            None => Stmt::Store {
                buffer,
                index,
                value,
            },
            Some((at, stride)) => Stmt::StoreAt {
                buffer,
                index,
                at,
                stride,
                value,
            },
        };
        self.nest.push_at(stmt, depth);
    }

    /// Running sums: each entry is the one before plus the operand's.
    pub fn cumsum(&mut self, inst: Inst, axis: usize, reverse: bool) -> Result<(), Fail> {
        let f = self.f;
        let data = &f.insts[inst];
        let (x, result) = (data.operands[0], data.results[0]);
        let dims = f.dims(x).to_vec();
        let size = dims[axis] as i64;
        let elem = f.ty(result).elem;
        let buffer = self.buffer(Bind::Value(result), true);
        let along = |i: &Coord| {
            if reverse {
                i.scaled(-1, size - 1)
            } else {
                i.clone()
            }
        };
        // Axes before, then the entries in order, then the axes after, the last in lanes.
        let mut coords = vec![Coord::default(); dims.len()];
        for (outer, &size) in dims[..axis].iter().enumerate() {
            coords[outer] = self.open_axis(LoopKey::Space(outer), size, false);
        }
        if size == 0 {
            return Ok(());
        }
        let before = self.nest.depth();
        if dims[axis + 1..].iter().all(|&size| size == 1) {
            let acc = self.nest.init(AccOp::Sum, elem);
            let var = self.nest.open(0, size, false);
            coords[axis] = along(&Coord::var(var.as_u32()));
            self.space = coords.clone();
            let value = self.emit(x, &coords)?;
            self.nest.accumulate(acc, value);
            let sum = self.nest.read(acc);
            let depth = self.nest.depth();
            self.push_store(buffer, &coords::linear(&dims, &coords), sum, depth);
            while self.nest.depth() > before {
                self.nest.close();
            }
            return Ok(());
        }
        // The row before is read from memory.
        self.buffer(Bind::Value(result), false);
        for first in [true, false] {
            let i = if first {
                Coord::constant(0)
            } else {
                let var = self.nest.open(1, size, false);
                Coord::var(var.as_u32())
            };
            for (inner, &size) in dims.iter().enumerate().skip(axis + 1) {
                let lanes = inner + 1 == dims.len();
                coords[inner] = self.open_axis(LoopKey::Space(inner), size, lanes);
            }
            coords[axis] = along(&i);
            self.space = coords.clone();
            let value = self.emit(x, &coords)?;
            let depth = self.nest.depth();
            let place = coords::linear(&dims, &coords);
            let sum = if first {
                value
            } else {
                let mut previous = coords.clone();
                previous[axis] = along(&i.scaled(1, -1));
                let previous = coords::linear(&dims, &previous);
                let sum = self.nest.load_at(buffer, &previous, depth);
                let kind = ValKind::Binary(LirBinary::Add, sum, value);
                self.nest.value_at(kind, elem, depth)
            };
            self.push_store(buffer, &place, sum, depth);
            while self.nest.depth() > before {
                self.nest.close();
            }
        }
        Ok(())
    }
}
