//! The steps of a random program, one function for each family of ops. A step that finds
//! nothing to work on does nothing.

use super::{Entry, Generator, MAX_ELEMENTS, MAX_RANK};
use crate::function::{Type, Value};
use crate::op::{
    Binary, Comparison, Contract, Distribution, Factor, Fault, Label, Labels, Op, Reduction, Unary,
};
use aec_runtime::Elem;
use aec_syntax::Span;
use smallvec::SmallVec;

impl Generator<'_> {
    pub(super) fn step(&mut self) {
        // Each family has its numbers, so that programs without it stay as they are.
        let algebra = if self.options.algebra { 9 } else { 0 };
        let tables = if self.options.tables { 3 } else { 0 };
        let kind = match self.rng.below(33 + algebra + tables) {
            kind if kind >= 33 + algebra => kind + 9 - algebra,
            kind => kind,
        };
        match kind {
            0..=5 => self.unary_float(),
            6..=9 => self.binary_float(),
            10 => self.int(),
            11 => self.boolean(),
            12..=13 => self.compare_select(),
            14 => self.convert(),
            15..=20 => self.contract(),
            21..=22 => self.reduce(),
            23 => self.scan_sort(),
            24..=26 => self.movement(),
            27 => self.gather(),
            28 => self.scatter(),
            29 => self.leaf(),
            30 if self.options.draws => self.draw(),
            32 => self.put(),
            31 if self.options.maps && self.rng.chance(2) => self.map(),
            31 if self.options.loops => self.looped(),
            31 if self.options.maps => self.map(),
            33..=34 => self.square_of_sum(),
            35 => self.like_terms(),
            36 if self.rng.chance(3) => self.long_product(),
            37 => self.matrix(),
            38..=40 => self.solve(),
            41 if self.options.draws => self.draw(),
            42..=43 => self.table_loop(),
            44 => self.block(),
            _ => self.unary_float(),
        }
    }

    pub(super) fn apply(&mut self, op: Unary, x: Value) -> Value {
        self.infer(Op::Unary(op), &[x])
    }

    /// Between 1/2 and 3/2.
    fn positive(&mut self, x: Value) -> Value {
        let ty = self.ty(x);
        let x = self.apply(Unary::Logistic, x);
        let half = self.constant(0.5, &ty);
        self.infer(Op::Binary(Binary::Add), &[x, half])
    }

    fn unary_float(&mut self) {
        let Some(x) = self.pick_float() else { return };
        let rough = x.exact && !self.options.smooth;
        let op = self.rng.one_of(&Unary::ALL);
        let value = match op {
            Unary::Neg => {
                let value = self.apply(op, x.value);
                return self.keep(value, x.exact);
            }
            Unary::Abs | Unary::Sign | Unary::Floor => {
                if !rough && (self.options.smooth || op != Unary::Abs) {
                    return;
                }
                let value = self.apply(op, x.value);
                return self.keep(value, x.exact);
            }
            Unary::Exp | Unary::Expm1 => {
                let x = self.apply(Unary::Tanh, x.value);
                self.apply(op, x)
            }
            Unary::Log | Unary::Sqrt | Unary::Log1p => {
                let x = self.positive(x.value);
                self.apply(op, x)
            }
            Unary::Sin | Unary::Cos | Unary::Tanh | Unary::Logistic | Unary::Erf => {
                self.apply(op, x.value)
            }
            Unary::Not => return,
        };
        let value = if !self.options.smooth && self.rng.chance(12) {
            self.infer(Op::Stop, &[value])
        } else if self.in_batch && self.options.means && self.rng.chance(4) {
            self.infer(Op::BatchMean, &[value])
        } else {
            value
        };
        self.keep(value, false);
    }

    fn binary_float(&mut self) {
        let Some(a) = self.pick_float() else { return };
        let ty = self.ty(a.value);
        let b = self.value_of(&ty);
        let exact = a.exact && b.exact;
        let op = self.rng.one_of(&Binary::ALL);
        let value = match op {
            Binary::Add | Binary::Sub => {
                let sum = self.infer(Op::Binary(op), &[a.value, b.value]);
                // Sums of sums would grow.
                self.f.scale(sum, 0.5, Span::NONE)
            }
            Binary::Min | Binary::Max => {
                if self.options.smooth {
                    return;
                }
                let value = self.infer(Op::Binary(op), &[a.value, b.value]);
                return self.keep(value, exact);
            }
            Binary::Div => {
                let b = self.positive(b.value);
                self.infer(Op::Binary(op), &[a.value, b])
            }
            Binary::Pow => {
                let a = self.positive(a.value);
                let b = self.apply(Unary::Tanh, b.value);
                self.infer(Op::Binary(op), &[a, b])
            }
            Binary::Mod => {
                if !a.exact || self.options.smooth {
                    return;
                }
                let divisor = self.constant(0.75, &ty);
                let value = self.infer(Op::Binary(op), &[a.value, divisor]);
                return self.keep(value, true);
            }
            Binary::Mul | Binary::FloorDiv | Binary::And | Binary::Or => return,
        };
        self.keep(value, false);
    }

    fn int(&mut self) {
        let found = self.pick(|f, entry| f.ty(entry.value).elem.is_int());
        let Some(a) = found else {
            return self.iota();
        };
        let ty = self.ty(a.value);
        let b = self.value_of(&ty);
        let op = self.rng.one_of(&[
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::FloorDiv,
            Binary::Mod,
            Binary::Min,
            Binary::Max,
        ]);
        let value = if self.rng.chance(4) {
            let op = self.rng.one_of(&[Unary::Neg, Unary::Abs, Unary::Sign]);
            self.apply(op, a.value)
        } else {
            self.infer(Op::Binary(op), &[a.value, b.value])
        };
        self.keep(value, true);
    }

    fn boolean(&mut self) {
        let found = self.pick(|f, entry| f.ty(entry.value).elem == Elem::Bool);
        let Some(a) = found else {
            return self.compare_select();
        };
        let ty = self.ty(a.value);
        let b = self.value_of(&ty);
        let value = match self.rng.below(3) {
            0 => self.apply(Unary::Not, a.value),
            1 => self.infer(Op::Binary(Binary::And), &[a.value, b.value]),
            _ => self.infer(Op::Binary(Binary::Or), &[a.value, b.value]),
        };
        self.keep(value, true);
    }

    /// A condition of these dims that every way of evaluation agrees on.
    fn condition(&mut self, dims: &[usize]) -> Value {
        let ty = Type::new(Elem::Bool, dims);
        let smooth = self.options.smooth;
        let comparable = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            entry.exact && ty.dims[..] == *dims && !(smooth && ty.elem.is_float())
        });
        match comparable {
            Some(a) if !self.rng.chance(4) && self.ty(a.value).elem != Elem::Bool => {
                let b = self.exact_of(&self.ty(a.value));
                let op = self.rng.one_of(&Comparison::ALL);
                self.infer(Op::Compare(op), &[a.value, b])
            }
            _ => self.value_of(&ty).value,
        }
    }

    pub(super) fn exact_of(&mut self, ty: &Type) -> Value {
        let smooth = self.options.smooth;
        let found = self.pick(|f, entry| {
            entry.exact && f.ty(entry.value) == ty && !(smooth && ty.elem.is_float())
        });
        match found {
            Some(entry) => entry.value,
            None => {
                let tensor = self.rng.tensor(ty);
                self.push(Op::Dense(std::sync::Arc::new(tensor)), &[], ty.clone())
            }
        }
    }

    fn compare_select(&mut self) {
        let Some(a) = self.pick(|_, _| true) else {
            return;
        };
        let ty = self.ty(a.value);
        let condition = self.condition(&ty.dims);
        if self.rng.chance(3) {
            return self.keep(condition, true);
        }
        let b = self.value_of(&ty);
        let value = self.infer(Op::Select, &[condition, a.value, b.value]);
        self.keep(value, a.exact && b.exact);
    }

    fn convert(&mut self) {
        let smooth = self.options.smooth;
        let found =
            self.pick(|f, entry| entry.exact && !(smooth && f.ty(entry.value).elem.is_float()));
        let Some(x) = found else { return };
        let from = self.ty(x.value);
        let to = self.rng.one_of(&[
            self.options.elem,
            self.options.elem,
            Elem::I32,
            Elem::I64,
            Elem::Bool,
        ]);
        if from.elem == to {
            return;
        }
        let ty = Type::new(to, &from.dims);
        let value = if to.is_float() && from.elem.is_int() {
            // Ints may be of any size; floats stay of order one and exact.
            let seven = self.int_constant(7, &from);
            let rest = self.infer(Op::Binary(Binary::Mod), &[x.value, seven]);
            let value = self.push(Op::Convert, &[rest], ty);
            self.f.scale(value, 0.25, Span::NONE)
        } else {
            self.push(Op::Convert, &[x.value], ty)
        };
        self.keep(value, true);
    }

    /// One to three factors; axes of equal size share labels now and then.
    fn contract(&mut self) {
        let Some(first) = self.pick(|_, _| true) else {
            return;
        };
        let elem = self.ty(first.value).elem;
        let mut operands: Vec<Entry> = vec![first];
        if elem != Elem::Bool {
            for _ in 0..self.rng.below(3) {
                let other = self.pick(|f, entry| f.ty(entry.value).elem == elem);
                operands.extend(other);
            }
        }
        let mut sizes: Vec<usize> = Vec::new();
        let mut factors = Vec::new();
        for operand in &operands {
            let mut labels = Labels::new();
            for &size in self.f.dims(operand.value).to_vec().iter() {
                let known: Vec<usize> = (0..sizes.len()).filter(|&l| sizes[l] == size).collect();
                if !known.is_empty() && !self.rng.chance(4) {
                    labels.push(self.rng.one_of(&known) as Label);
                } else {
                    labels.push(sizes.len() as Label);
                    sizes.push(size);
                }
            }
            let power = if elem != Elem::Bool && self.rng.chance(6) {
                2 + self.rng.below(2) as u32
            } else {
                1
            };
            factors.push(Factor { labels, power });
        }
        // All labels in random order; some stay for the result, new ones repeat.
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        for i in (1..order.len()).rev() {
            let j = self.rng.below(i + 1);
            order.swap(i, j);
        }
        let mut out = Labels::new();
        let mut elements = 1;
        for label in order {
            let size = sizes[label];
            let keep = elem == Elem::Bool || self.rng.chance(2);
            if keep && out.len() < MAX_RANK && elements * size <= MAX_ELEMENTS {
                out.push(label as Label);
                elements *= size;
            }
        }
        if elem == Elem::Bool && out.len() < sizes.len() {
            return;
        }
        if self.rng.chance(3) && out.len() < MAX_RANK {
            let size = self.size();
            if elements * size <= MAX_ELEMENTS {
                let place = self.rng.below(out.len() + 1);
                out.insert(place, sizes.len() as Label);
                sizes.push(size);
            }
        }
        let mut deltas = Vec::new();
        if elem != Elem::Bool && self.rng.chance(5) {
            let mut pairs = Vec::new();
            for a in 0..sizes.len() {
                for b in 0..a {
                    if sizes[a] == sizes[b] {
                        pairs.push((b as Label, a as Label));
                    }
                }
            }
            if !pairs.is_empty() {
                deltas.push(self.rng.one_of(&pairs));
            }
        }
        let all: f64 = sizes.iter().map(|&size| size.max(1) as f64).product();
        if all > 2e6 {
            return;
        }
        let mut summed = 1.0;
        for (label, &size) in sizes.iter().enumerate() {
            if !out.contains(&(label as Label)) {
                summed *= size.max(1) as f64;
            }
        }
        let plain = factors.len() == 1 && factors[0].power == 1 && summed == 1.0;
        let coefficient = if elem == Elem::Bool || plain {
            1.0
        } else if elem.is_int() {
            1.0 + self.rng.below(3) as f64
        } else {
            let count: u32 = factors.iter().map(|factor| factor.power).sum();
            // Most inputs are of order one; products of several are the larger for it.
            0.5f64.powi(count as i32 - 1) / summed.sqrt()
        };
        let values: Vec<Value> = operands.iter().map(|operand| operand.value).collect();
        let value = self.infer(
            Op::Contract(Contract {
                factors,
                deltas,
                out,
                coefficient,
                sizes,
            }),
            &values,
        );
        let float = elem.is_float();
        let exact = !float || (plain && operands[0].exact);
        // Powers of sums grow quickly; what is not plain passes through a bounded function.
        let value = if float && !plain && self.rng.chance(2) {
            self.apply(Unary::Tanh, value)
        } else {
            value
        };
        self.keep(value, exact);
    }

    fn reduce(&mut self) {
        let smooth = self.options.smooth;
        let found = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            // The largest of nothing is infinite.
            ty.rank() > 0 && !ty.is_empty() && !(smooth && ty.elem.is_float())
        });
        let Some(x) = found else {
            return self.contract();
        };
        let ty = self.ty(x.value);
        let axis = self.rng.below(ty.rank());
        if ty.elem != Elem::Bool && x.exact && self.rng.chance(3) {
            let op = self.rng.one_of(&[Reduction::Max, Reduction::Min]);
            let value = self.infer(Op::ArgReduce { op, axis }, &[x.value]);
            return self.keep(value, true);
        }
        let op = if ty.elem == Elem::Bool {
            self.rng.one_of(&[Reduction::All, Reduction::Any])
        } else {
            self.rng.one_of(&[Reduction::Max, Reduction::Min])
        };
        let axes: SmallVec<[usize; 4]> = (0..ty.rank())
            .filter(|&other| other == axis || self.rng.chance(3))
            .collect();
        let value = self.infer(Op::Reduce { op, axes }, &[x.value]);
        self.keep(value, x.exact);
    }

    fn scan_sort(&mut self) {
        let found = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            ty.rank() > 0 && ty.elem != Elem::Bool
        });
        let Some(x) = found else { return };
        let ty = self.ty(x.value);
        let sortable = x.exact && !(self.options.smooth && ty.elem.is_float());
        if sortable && self.rng.chance(2) {
            let value = self.infer(Op::ArgSort, &[x.value]);
            return self.keep(value, true);
        }
        let axis = self.rng.below(ty.rank());
        let reverse = self.rng.chance(2);
        let value = self.infer(Op::CumSum { axis, reverse }, &[x.value]);
        let value = if ty.elem.is_float() {
            let count = ty.dims[axis].max(1) as f64;
            self.f.scale(value, 1.0 / count.sqrt(), Span::NONE)
        } else {
            value
        };
        self.keep(value, !ty.elem.is_float());
    }

    fn movement(&mut self) {
        let Some(x) = self.pick(|_, _| true) else {
            return;
        };
        let ty = self.ty(x.value);
        let rank = ty.rank();
        let value = match self.rng.below(5) {
            0 => {
                let dims = self.regrouped(&ty.dims);
                self.f.reshape(x.value, &dims, Span::NONE)
            }
            1 if rank > 0 => {
                let (mut start, mut limit, mut stride) = (Vec::new(), Vec::new(), Vec::new());
                for &size in &ty.dims {
                    let from = self.rng.below(size + 1).min(self.rng.below(size + 1));
                    let to = from + self.rng.below(size - from + 1).max((size - from) / 2);
                    start.push(from);
                    limit.push(to);
                    stride.push(1 + self.rng.below(3));
                }
                if !self.options.empty && (0..rank).any(|axis| start[axis] == limit[axis]) {
                    return;
                }
                let op = Op::Slice {
                    start,
                    limit,
                    stride,
                };
                self.infer(op, &[x.value])
            }
            2 => {
                let (mut low, mut high, mut interior) = (Vec::new(), Vec::new(), Vec::new());
                for _ in 0..rank {
                    low.push(self.rng.below(3));
                    high.push(self.rng.below(3));
                    interior.push(self.rng.below(3) / 2);
                }
                let dims: Vec<usize> = (0..rank)
                    .map(|axis| low[axis] + high[axis] + ty.dims[axis] * 2)
                    .collect();
                if !self.fits(&dims) {
                    return;
                }
                let filler = self.value_of(&Type::scalar(ty.elem));
                let op = Op::Pad {
                    low,
                    high,
                    interior,
                };
                let value = self.infer(op, &[x.value, filler.value]);
                return self.keep(value, x.exact && filler.exact);
            }
            3 if rank > 0 => {
                let axis = self.rng.below(rank);
                let other = self.pick(|f, entry| {
                    let other = f.ty(entry.value);
                    other.elem == ty.elem
                        && other.rank() == rank
                        && (0..rank).all(|a| a == axis || other.dims[a] == ty.dims[a])
                });
                let Some(other) = other else { return };
                if ty.len() + self.ty(other.value).len() > MAX_ELEMENTS {
                    return;
                }
                let value = self.infer(Op::Concat { axis }, &[x.value, other.value]);
                return self.keep(value, x.exact && other.exact);
            }
            _ if rank > 0 => {
                let axis = self.rng.below(rank);
                let axes = (0..rank)
                    .filter(|&other| other == axis || self.rng.chance(2))
                    .collect();
                self.infer(Op::Reverse { axes }, &[x.value])
            }
            _ => return,
        };
        self.keep(value, x.exact);
    }

    /// Other dims of the same size.
    fn regrouped(&mut self, dims: &[usize]) -> Vec<usize> {
        let mut out: Vec<usize> = Vec::new();
        for &size in dims {
            if size % 2 == 0 && size > 2 && self.rng.chance(2) {
                out.extend([2, size / 2]);
            } else if let Some(last) = out.last_mut()
                && self.rng.chance(2)
            {
                *last *= size;
            } else {
                out.push(size);
            }
        }
        if self.rng.chance(3) {
            let place = self.rng.below(out.len() + 1);
            out.insert(place, 1);
        }
        if out.len() > MAX_RANK {
            out = vec![out.iter().product()];
        }
        out
    }

    /// Ints of `[..batch, ..t]` within `0..size`, which is not 0.
    fn indices(&mut self, batch: &[usize], size: usize) -> Value {
        let found = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            ty.elem == Elem::I64 && ty.dims.len() <= batch.len() + 1 && ty.dims.starts_with(batch)
        });
        let x = match found {
            Some(entry) => entry.value,
            None => {
                let mut dims = batch.to_vec();
                dims.push(1 + self.rng.below(4));
                self.exact_of(&Type::new(Elem::I64, &dims))
            }
        };
        let ty = self.ty(x);
        let size = self.int_constant(size as i64, &ty);
        self.infer(Op::Binary(Binary::Mod), &[x, size])
    }

    fn gather(&mut self) {
        let found = self.pick(|f, entry| f.ty(entry.value).rank() > 0);
        let Some(x) = found else { return };
        let ty = self.ty(x.value);
        let batch = self.rng.below(ty.rank());
        if ty.dims[batch] == 0 {
            return;
        }
        let index = self.indices(&ty.dims[..batch], ty.dims[batch]);
        let count = self.ty(index).len() * ty.dims[batch + 1..].iter().product::<usize>();
        if count > MAX_ELEMENTS || self.ty(index).rank() + ty.rank() > MAX_RANK + batch + 1 {
            return;
        }
        let value = self.infer(
            Op::Gather {
                batch,
                fault: Fault::Index,
            },
            &[x.value, index],
        );
        self.keep(value, x.exact);
    }

    fn scatter(&mut self) {
        let found = self.pick(|f, entry| f.ty(entry.value).elem != Elem::Bool);
        let Some(x) = found else { return };
        let ty = self.ty(x.value);
        // The index has the leading axes of x, the last of which may name places.
        let batch = self.rng.below(ty.rank() + 1);
        let places = self.rng.below(ty.rank() - batch + 1).min(1);
        let size = 1 + self.rng.below(6);
        let index_dims = &ty.dims[..batch + places];
        let some = self.exact_of(&Type::new(Elem::I64, index_dims));
        let some_ty = self.ty(some);
        let limit = self.int_constant(size as i64, &some_ty);
        let index = self.infer(Op::Binary(Binary::Mod), &[some, limit]);
        let mut dims: SmallVec<[usize; 4]> = SmallVec::from_slice(&ty.dims[..batch]);
        dims.push(size);
        dims.extend_from_slice(&ty.dims[batch + places..]);
        if !self.fits(&dims) {
            return;
        }
        let result = Type::new(ty.elem, &dims);
        let value = self.push(Op::ScatterAdd { batch }, &[index, x.value], result);
        let value = if ty.elem.is_float() {
            self.f.scale(value, 0.5, Span::NONE)
        } else {
            value
        };
        self.keep(value, ty.elem.is_int());
    }

    /// The largest entries along an axis in place of those at one index, which may be outside.
    fn put(&mut self) {
        let wanted = |ty: &Type| ty.rank() > 0 && ty.elem != Elem::Bool && !ty.is_empty();
        let found = self.pick(|f, entry| wanted(f.ty(entry.value)));
        let Some(x) = found else { return };
        let ty = self.ty(x.value);
        let batch = self.rng.below(ty.rank());
        let some = self.exact_of(&Type::new(Elem::I64, &ty.dims[..batch]));
        let some_ty = self.ty(some);
        let limit = self.int_constant(ty.dims[batch] as i64 + 1, &some_ty);
        let index = self.infer(Op::Binary(Binary::Mod), &[some, limit]);
        let rows = if self.options.smooth && ty.elem.is_float() {
            // The largest has kinks.
            let all: Vec<Label> = (0..ty.rank() as Label).collect();
            let mut rest = all.clone();
            rest.remove(batch);
            let share = 1.0 / ty.dims[batch] as f64;
            (self.f).contract(&[(x.value, &all)], &rest, &[], share, Span::NONE)
        } else {
            let axes = SmallVec::from_slice(&[batch]);
            let op = Reduction::Max;
            self.infer(Op::Reduce { op, axes }, &[x.value])
        };
        let value = self.infer(Op::Put { batch }, &[x.value, index, rows]);
        let exact = x.exact && !(self.options.smooth && ty.elem.is_float());
        self.keep(value, exact);
    }

    fn iota(&mut self) {
        let dims = self.dims();
        if dims.is_empty() {
            return;
        }
        let axis = self.rng.below(dims.len());
        let elem = self.rng.one_of(&[Elem::I32, Elem::I64]);
        let value = self.push(Op::Iota { axis }, &[], Type::new(elem, &dims));
        self.keep(value, true);
    }

    fn leaf(&mut self) {
        match self.rng.below(3) {
            0 => self.iota(),
            1 => {
                let dims = self.dims();
                let ty = Type::new(self.options.elem, &dims);
                let number = (self.rng.below(9) as f64 - 4.0) / 4.0;
                let value = self.constant(number, &ty);
                self.keep(value, true);
            }
            _ => {
                let dims = self.dims();
                let ty = Type::new(self.options.elem, &dims);
                let tensor = self.rng.tensor(&ty);
                let value = self.push(Op::Dense(std::sync::Arc::new(tensor)), &[], ty);
                self.keep(value, true);
            }
        }
    }

    fn draw(&mut self) {
        let scalar = Type::scalar(Elem::I64);
        let number = self.rng.below(1000) as i64;
        let seed = self.int_constant(number, &scalar);
        let number = self.rng.below(50) as i64;
        let step = self.int_constant(number, &scalar);
        let mut operands = vec![seed, step];
        let mut dims = Vec::new();
        let mut radices = Vec::new();
        // Inside a map the index that came in as an operand names the example.
        let coordinate = self.pick(|f, entry| {
            let ty = f.ty(entry.value);
            ty.elem == Elem::I64 && ty.rank() <= 1
        });
        if let Some(coordinate) = coordinate {
            let ty = self.ty(coordinate.value);
            // Coordinates are taken modulo 2^32, so that any will do.
            let example = match self.options.algebra && self.rng.chance(2) {
                true => coordinate.value,
                false => {
                    let limit = self.int_constant(1000, &ty);
                    self.infer(Op::Binary(Binary::Mod), &[coordinate.value, limit])
                }
            };
            operands.push(example);
            dims.extend_from_slice(&ty.dims);
            if self.rng.chance(3) {
                let radix = 1 + self.rng.below(9);
                let limit = self.int_constant(radix as i64, &ty);
                operands.push(self.infer(Op::Binary(Binary::Mod), &[coordinate.value, limit]));
                radices.push(radix);
            }
        }
        let batch = dims.len();
        dims.extend(self.dims());
        if !self.fits(&dims) {
            return;
        }
        self.sites += 1;
        let op = Op::Draw {
            distribution: self.rng.one_of(&Distribution::ALL),
            site: self.sites * 1000 + self.depth as u64,
            batch,
            radices,
        };
        let ty = Type::new(self.options.elem, &dims);
        let value = self.push(op, &operands, ty);
        self.keep(value, false);
    }
}
