//! Random well-typed programs for differential tests: compiled code against the interpreter,
//! gradients against finite differences. Values stay of order one, and what jumps (compare,
//! floor, sort, conversion to int) is applied only to values that every way of evaluation
//! computes to the same bits; so two results that differ are a bug.

mod algebra;
mod ops;
mod regions;
mod rng;
mod tables;

use crate::function::{Function, Type, Value};
use crate::op::{Literal, Op};
use aec_runtime::{Data, Elem, Tensor};
use aec_syntax::Span;
use cranelift_entity::EntitySet;
use rng::Rng;

/// What programs to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of steps; each appends one op and what makes its operands fit.
    pub ops: usize,
    /// The float type.
    pub elem: Elem,
    /// `map` regions, with `batch_mean` in batches.
    pub maps: bool,
    /// `loop` regions, without exits.
    pub loops: bool,
    /// `draw`.
    pub draws: bool,
    /// Only ops that are differentiable with respect to floats where they stand (no kinks,
    /// no jumps): for finite differences.
    pub smooth: bool,
    /// Axes of size 0 now and then.
    pub empty: bool,
    /// `batch_mean`, in maps that are batches.
    pub means: bool,
    /// Linear algebra, squares of sums and long products.
    pub algebra: bool,
    /// Loops over tables, loops and blocks that are computed again.
    pub tables: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ops: 12,
            elem: Elem::F32,
            maps: true,
            loops: true,
            draws: true,
            smooth: false,
            empty: true,
            means: true,
            algebra: false,
            tables: false,
        }
    }
}

/// A program and inputs for it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Verified; every op matters to some result.
    pub function: Function,
    /// One for each param: multiples of 1/8 in -2 to 2 for floats, small ints, bools.
    pub inputs: Vec<Tensor>,
}

/// The program of a seed: the same for the same options, on every machine.
pub fn program(seed: u64, options: &Options) -> Program {
    let mut rng = Rng::new(seed);
    let mut generator = Generator::new("random", options, rng.split(), 0, false);
    let count = 2 + rng.below(3);
    for index in 0..count {
        let dims = generator.dims();
        let elem = match rng.below(8) {
            0 => Elem::I64,
            1 => Elem::Bool,
            _ => options.elem,
        };
        // Something to differentiate, in any case.
        let elem = if index == 0 { options.elem } else { elem };
        generator.param(Type::new(elem, &dims), true);
    }
    let function = generator.finish();
    let inputs = function
        .params
        .iter()
        .map(|&param| rng.tensor(function.ty(param)))
        .collect();
    Program { function, inputs }
}

/// An input of a type: multiples of 1/8 in -2 to 2 for floats, small ints, bools.
pub fn input(seed: u64, ty: &Type) -> Tensor {
    Rng::new(seed).tensor(ty)
}

/// Most elements of a value.
const MAX_ELEMENTS: usize = 600;
/// Most axes of a value.
const MAX_RANK: usize = 4;
/// Regions in regions.
const MAX_DEPTH: usize = 2;

#[derive(Clone, Copy)]
struct Entry {
    value: Value,
    /// All ways of evaluation give the same bits.
    exact: bool,
}

struct Generator<'o> {
    f: Function,
    pool: Vec<Entry>,
    rng: Rng,
    options: &'o Options,
    depth: usize,
    in_batch: bool,
    sites: u64,
}

impl<'o> Generator<'o> {
    fn new(
        name: &str,
        options: &'o Options,
        rng: Rng,
        depth: usize,
        in_batch: bool,
    ) -> Generator<'o> {
        Generator {
            f: Function::new(name),
            pool: Vec::new(),
            rng,
            options,
            depth,
            in_batch,
            sites: 0,
        }
    }

    fn param(&mut self, ty: Type, exact: bool) -> Value {
        let name = format!("p{}", self.f.params.len());
        let value = self.f.param(ty, name);
        self.pool.push(Entry { value, exact });
        value
    }

    /// Appends the steps and makes results of what nothing uses.
    fn finish(mut self) -> Function {
        let steps = if self.depth == 0 {
            self.options.ops
        } else {
            1 + self.rng.below(self.options.ops.clamp(2, 6))
        };
        for _ in 0..steps {
            self.step();
        }
        let mut used: EntitySet<Value> = EntitySet::new();
        for &inst in &self.f.order {
            for &operand in &self.f.insts[inst].operands {
                used.insert(operand);
            }
        }
        let mut results: Vec<Value> = self
            .f
            .order
            .iter()
            .flat_map(|&inst| self.f.insts[inst].results.iter().copied())
            .filter(|&result| !used.contains(result))
            .collect();
        if results.is_empty() {
            results.extend(self.pool.last().map(|entry| entry.value));
        }
        self.f.results = results;
        self.f
    }

    fn size(&mut self) -> usize {
        match self.rng.below(24) {
            0 if self.options.empty => 0,
            0..=3 => 1,
            4..=7 => 2,
            8..=13 => 3,
            14..=17 => 5,
            18..=19 => 8,
            _ => 17,
        }
    }

    fn dims(&mut self) -> Vec<usize> {
        let rank = [0, 1, 1, 1, 2, 2, 2, 3][self.rng.below(8)];
        let mut dims: Vec<usize> = Vec::new();
        for _ in 0..rank {
            let size = self.size();
            if dims.iter().product::<usize>() * size <= MAX_ELEMENTS {
                dims.push(size);
            }
        }
        dims
    }

    fn ty(&self, value: Value) -> Type {
        self.f.ty(value).clone()
    }

    fn fits(&self, dims: &[usize]) -> bool {
        dims.len() <= MAX_RANK && dims.iter().product::<usize>() <= MAX_ELEMENTS
    }

    /// A random value that satisfies `wanted`; recent ones are more likely.
    fn pick(&mut self, wanted: impl Fn(&Function, &Entry) -> bool) -> Option<Entry> {
        let found: Vec<Entry> = self
            .pool
            .iter()
            .filter(|entry| wanted(&self.f, entry))
            .copied()
            .collect();
        if found.is_empty() {
            return None;
        }
        let a = self.rng.below(found.len());
        let b = self.rng.below(found.len());
        Some(found[a.max(b)])
    }

    fn pick_float(&mut self) -> Option<Entry> {
        self.pick(|f, entry| f.ty(entry.value).elem.is_float())
    }

    fn push(&mut self, op: Op, operands: &[Value], ty: Type) -> Value {
        self.f.push1(op, operands, ty, Span::NONE)
    }

    /// Appends an op whose operands fix its type, without entering it in the pool.
    fn infer(&mut self, op: Op, operands: &[Value]) -> Value {
        let types: Vec<Type> = operands.iter().map(|&value| self.ty(value)).collect();
        match crate::infer::result_types(&op, &types) {
            Ok(results) if results.len() == 1 => self.push(op, operands, results[0].clone()),
            other => panic!("{} of {types:?}: {other:?}", op.name()),
        }
    }

    fn keep(&mut self, value: Value, exact: bool) {
        self.pool.push(Entry { value, exact });
    }

    fn constant(&mut self, value: f64, like: &Type) -> Value {
        self.f.number(value, like.clone(), Span::NONE)
    }

    fn int_constant(&mut self, value: i64, like: &Type) -> Value {
        self.f
            .constant(Literal::Int(value), like.clone(), Span::NONE)
    }

    /// A value of type `ty`: from the pool, or made from something else or from nothing.
    fn value_of(&mut self, ty: &Type) -> Entry {
        let found = self.pick(|f, entry| f.ty(entry.value) == ty);
        match found {
            Some(entry) if self.rng.below(5) > 0 => entry,
            _ => {
                let tensor = self.rng.tensor(ty);
                let value = self.push(Op::Dense(std::sync::Arc::new(tensor)), &[], ty.clone());
                Entry { value, exact: true }
            }
        }
    }
}

impl Rng {
    /// Multiples of 1/8, small ints, or bools.
    fn tensor(&mut self, ty: &Type) -> Tensor {
        let count = ty.len();
        let mut eighth = || (self.below(33) as f64 - 16.0) / 8.0;
        let data = match ty.elem {
            Elem::F32 => Data::F32((0..count).map(|_| eighth() as f32).collect()),
            Elem::F64 => Data::F64((0..count).map(|_| eighth()).collect()),
            Elem::I32 => Data::I32((0..count).map(|_| self.below(13) as i32 - 4).collect()),
            Elem::I64 => Data::I64((0..count).map(|_| self.below(13) as i64 - 4).collect()),
            Elem::Bool => Data::Bool((0..count).map(|_| self.below(2) as u8).collect()),
        };
        Tensor::new(ty.dims.to_vec(), data)
    }
}
