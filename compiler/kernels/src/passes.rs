//! What a kernel computes itself though it has memory: at the place of the iteration space, or in a
//! pass over a row, which stores it for later passes and takes along what else is made of the row
//! entry by entry. The space may have an axis in rows that a value has in one line.

use crate::coords::{self, Coord};
use crate::emit::{Bind, Emitter, Fail, LoopKey, summed_labels};
use crate::lir::{Val, Var};
use aec_ir::{Category, Op, Value};
use cranelift_entity::EntitySet;
use smallvec::SmallVec;

impl Emitter<'_> {
    /// Coordinates of a value at the place of the iteration space, whose first axes are the value's,
    /// or the value's regrouped.
    pub fn home(&mut self, v: Value) -> Result<Vec<Coord>, Fail> {
        let f = self.f;
        match self.regrouped(v) {
            None => Ok(self.space[..f.dims(v).len()].to_vec()),
            Some(axes) => {
                let (dims, space) = (
                    self.space_dims[..axes].to_vec(),
                    self.space[..axes].to_vec(),
                );
                self.reshape(f.dims(v), &dims, &space)
            }
        }
    }

    /// How many of the space's axes a value has.
    pub fn axes(&self, v: Value) -> usize {
        self.regrouped(v).unwrap_or(self.f.dims(v).len())
    }

    /// How many axes of the space a value regroups, if its dims are not the first of the space's.
    fn regrouped(&self, v: Value) -> Option<usize> {
        let dims = self.f.dims(v);
        if self.space_dims.is_empty() || self.space_dims.starts_with(dims) {
            return None;
        }
        let len = self.f.ty(v).len();
        (1..=self.space_dims.len())
            .find(|&axes| self.space_dims[..axes].iter().product::<usize>() == len)
    }

    /// A value that this kernel computes: at the place of the iteration space, or for a whole
    /// row in an earlier pass (a reduction's loop), which then stores it for the later ones.
    pub(crate) fn own_value(&mut self, v: Value, coords: &[Coord]) -> Result<Val, Fail> {
        if self.written {
            // Every place of a row is one that the kernel names.
            let (row, entry) = coords.split_at(self.space.len().min(coords.len()));
            return match row == &self.space[..row.len()] && entry.iter().all(Coord::is_constant) {
                true => self.compute(v, coords),
                false => Err(Fail::Illegal("wanted in another row of the same kernel")),
            };
        }
        // The same place in terms of the space's axes.
        let (dims, place) = match self.regrouped(v) {
            None => (self.f.dims(v).to_vec(), coords.to_vec()),
            Some(axes) => {
                let dims = self.space_dims[..axes].to_vec();
                let place = self.reshape(&dims, self.f.dims(v), coords)?;
                (dims, place)
            }
        };
        if let Some((_, vars)) = self.streamed.iter().find(|(own, _)| *own == v) {
            if vars.iter().any(|&var| self.nest.is_open(var)) {
                return Err(Fail::Illegal("wanted at another place of the same row"));
            }
            let fixed = place.len() - vars.len();
            if place[..fixed] != self.space[..fixed] {
                return Err(Fail::Illegal("wanted in another row of the same kernel"));
            }
            let buffer = self.buffer(Bind::Value(v), false);
            let place = coords::linear(self.f.dims(v), coords);
            return Ok(self.nest.load(buffer, &place));
        }
        if place[..] == self.space[..place.len()] {
            return self.compute(v, coords);
        }
        let mut vars: SmallVec<[Var; 2]> = SmallVec::new();
        for (axis, coord) in place.iter().enumerate() {
            if vars.is_empty() && *coord == self.space[axis] {
                continue;
            }
            if dims[axis] == 1 {
                return Err(Fail::Illegal("wanted at another place of the same kernel"));
            }
            let whole = match coord.terms[..] {
                [(var, 1)] if coord.base == 0 && coord.at.is_empty() => {
                    let loop_of = self.loop_of(Var::from_u32(var));
                    let reduced = matches!(loop_of, Some((LoopKey::Reduced(..), _)));
                    let fresh = !vars.contains(&Var::from_u32(var));
                    (reduced && fresh && self.nest.extent(var) == dims[axis] as i64).then_some(var)
                }
                _ => None,
            };
            let Some(var) = whole else {
                return Err(Fail::Illegal("wanted at another place of the same kernel"));
            };
            vars.push(Var::from_u32(var));
        }
        // No other loop around: it might run often, or not at all.
        let fixed = &self.space[..place.len() - vars.len()];
        let outer = fixed.iter().map(|c| self.nest.depth_of_coord(c)).max();
        if outer.unwrap_or(0) + vars.len() != self.nest.depth() {
            return Err(Fail::Illegal("a row's pass inside another loop"));
        }
        // In lanes, each lane must store to places of its own.
        let lane = self.nest.lane_var(self.nest.depth());
        let distinct = |lane: Var| coords.iter().any(|c| c.coefficient(lane.as_u32()) != 0);
        if lane.is_some_and(|lane| !distinct(lane)) {
            return Err(Fail::Illegal("a row's pass inside a lane loop"));
        }
        let val = self.compute(v, coords)?;
        self.store(v, coords, val);
        self.streamed.push((v, vars));
        self.memo.insert((v, coords.to_vec()), val);
        self.take_along(v, coords)?;
        Ok(val)
    }

    /// Computes in a pass over a row what else this kernel stores of it and what needs no more than
    /// the pass has at its place: values of the dims of `v`, which the pass stores.
    fn take_along(&mut self, v: Value, coords: &[Coord]) -> Result<(), Fail> {
        let f = self.f;
        for w in self.own.clone() {
            let streamed = self.streamed.iter().any(|(own, _)| *own == w);
            let overwrites = f.aliases.iter().any(|&(_, result)| f.results[result] == w);
            if !streamed && !overwrites && f.dims(w) == f.dims(v) && self.rides(w) {
                self.emit(w, coords)?;
            }
        }
        Ok(())
    }

    /// Whether a value is made entry by entry of what is stored.
    fn rides(&self, v: Value) -> bool {
        let f = self.f;
        let mut work = vec![v];
        let mut seen: EntitySet<Value> = EntitySet::new();
        while let Some(x) = work.pop() {
            let stored = self.stored.contains(x) && !self.own.contains(&x);
            if stored || !seen.insert(x) {
                continue;
            }
            let Some(inst) = f.def_inst(x) else {
                continue;
            };
            let data = &f.insts[inst];
            let constant = matches!(data.op, Op::Constant(_));
            let by_entry = match &data.op {
                Op::Contract(contract) => {
                    contract.deltas.is_empty() && summed_labels(f, inst, contract).is_empty()
                }
                op => op.category() == Category::Elementwise || constant,
            };
            if !by_entry || (f.dims(x) != f.dims(v) && !constant) {
                return false;
            }
            work.extend(&data.operands);
        }
        true
    }
}
