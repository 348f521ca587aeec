//! Runs loop IR one element at a time, with its exact meaning (lane accumulators included): the
//! oracle that machine code is compared with.

use crate::lir::{
    AccOp, Affine, Bound, BufferId, Comparison, Distribution, Kernel, LirBinary, LirUnary, Loop,
    Stmt, Val, ValKind,
};
use crate::tidy;
use aec_runtime::philox::{self, Draw};
use aec_runtime::{Data, Elem};

use cranelift_entity::EntityRef;

pub use crate::run::{Stopped, run_plan};

/// One element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    /// f32.
    F32(f32),
    /// f64.
    F64(f64),
    /// i32.
    I32(i32),
    /// i64.
    I64(i64),
    /// bool.
    Bool(bool),
}

/// Where a kernel's buffers are.
pub trait Memory {
    /// An element of a buffer.
    fn load(&self, buffer: usize, at: i64) -> Scalar;
    /// Changes an element of a buffer.
    fn store(&mut self, buffer: usize, at: i64, value: Scalar);
}

impl Memory for [Data] {
    fn load(&self, buffer: usize, at: i64) -> Scalar {
        let at = usize::try_from(at).expect("a place in the buffer");
        match &self[buffer] {
            Data::F32(v) => Scalar::F32(v[at]),
            Data::F64(v) => Scalar::F64(v[at]),
            Data::I32(v) => Scalar::I32(v[at]),
            Data::I64(v) => Scalar::I64(v[at]),
            Data::Bool(v) => Scalar::Bool(v[at] != 0),
        }
    }

    fn store(&mut self, buffer: usize, at: i64, value: Scalar) {
        let at = usize::try_from(at).expect("a place in the buffer");
        match (&mut self[buffer], value) {
            (Data::F32(v), Scalar::F32(x)) => v[at] = x,
            (Data::F64(v), Scalar::F64(x)) => v[at] = x,
            (Data::I32(v), Scalar::I32(x)) => v[at] = x,
            (Data::I64(v), Scalar::I64(x)) => v[at] = x,
            (Data::Bool(v), Scalar::Bool(x)) => v[at] = u8::from(x),
            (data, x) => panic!("{x:?} does not go into {data:?}"),
        }
    }
}

/// Runs a kernel over buffers of its params' types.
pub fn run_kernel(kernel: &Kernel, buffers: &mut [Data], args: &[i64]) {
    run(kernel, buffers, args);
}

/// An accumulator's state.
#[derive(Clone)]
enum State {
    Whole(Scalar),
    Lanes(Box<[Scalar; 16]>),
}

struct Machine<'a, M: Memory + ?Sized> {
    kernel: &'a Kernel,
    memory: &'a mut M,
    args: &'a [i64],
    values: Vec<Scalar>,
    vars: Vec<i64>,
    accs: Vec<State>,
    lane: usize,
}

pub(crate) fn run<M: Memory + ?Sized>(kernel: &Kernel, memory: &mut M, args: &[i64]) {
    let mut machine = Machine {
        kernel,
        memory,
        args,
        values: vec![Scalar::Bool(false); kernel.values.len()],
        vars: vec![0; kernel.vars.len()],
        accs: kernel
            .accs
            .values()
            .map(|acc| State::Whole(identity(acc.op, acc.elem)))
            .collect(),
        lane: 0,
    };
    machine.body(&kernel.body);
}

fn identity(op: AccOp, elem: Elem) -> Scalar {
    match (op, elem) {
        (AccOp::Sum, Elem::F32) => Scalar::F32(0.0),
        (AccOp::Sum, Elem::F64) => Scalar::F64(0.0),
        (AccOp::Sum, Elem::I32) => Scalar::I32(0),
        (AccOp::Sum, Elem::I64) => Scalar::I64(0),
        (AccOp::Max, Elem::F32) => Scalar::F32(f32::NEG_INFINITY),
        (AccOp::Max, Elem::F64) => Scalar::F64(f64::NEG_INFINITY),
        (AccOp::Max, Elem::I32) => Scalar::I32(i32::MIN),
        (AccOp::Max, Elem::I64) => Scalar::I64(i64::MIN),
        (AccOp::Min, Elem::F32) => Scalar::F32(f32::INFINITY),
        (AccOp::Min, Elem::F64) => Scalar::F64(f64::INFINITY),
        (AccOp::Min, Elem::I32) => Scalar::I32(i32::MAX),
        (AccOp::Min, Elem::I64) => Scalar::I64(i64::MAX),
        (AccOp::All, _) => Scalar::Bool(true),
        (AccOp::Any, _) => Scalar::Bool(false),
        (AccOp::Sum | AccOp::Max | AccOp::Min, Elem::Bool) => Scalar::Bool(false),
    }
}

fn combine(op: AccOp, a: Scalar, b: Scalar) -> Scalar {
    macro_rules! float {
        ($kind:ident, $a:expr, $b:expr) => {
            Scalar::$kind(match op {
                AccOp::Sum => $a + $b,
                AccOp::Max if $b.is_nan() || $b > $a => $b,
                AccOp::Min if $b.is_nan() || $b < $a => $b,
                AccOp::Max | AccOp::Min | AccOp::All | AccOp::Any => $a,
            })
        };
    }
    macro_rules! int {
        ($kind:ident, $a:expr, $b:expr) => {
            Scalar::$kind(match op {
                AccOp::Sum => $a.wrapping_add($b),
                AccOp::Max => $a.max($b),
                AccOp::Min => $a.min($b),
                AccOp::All | AccOp::Any => $b,
            })
        };
    }
    match (a, b) {
        (Scalar::F32(a), Scalar::F32(b)) => float!(F32, a, b),
        (Scalar::F64(a), Scalar::F64(b)) => float!(F64, a, b),
        (Scalar::I32(a), Scalar::I32(b)) => int!(I32, a, b),
        (Scalar::I64(a), Scalar::I64(b)) => int!(I64, a, b),
        (Scalar::Bool(a), Scalar::Bool(b)) => {
            Scalar::Bool(if op == AccOp::All { a && b } else { a || b })
        }
        _ => panic!("an accumulator is fed another type"),
    }
}

impl<M: Memory + ?Sized> Machine<'_, M> {
    fn bound(&self, bound: Bound) -> i64 {
        match bound {
            Bound::Const(x) => x,
            Bound::Arg(n) => self.args[n as usize],
            Bound::Block { of, size } => self.vars[of.index()] * size,
            Bound::BlockEnd { of, size, limit } => limit.min((self.vars[of.index()] + 1) * size),
        }
    }

    fn affine(&self, index: &Affine) -> i64 {
        let mut at = index.base;
        for &(var, c) in &index.vars {
            at += c * self.vars[var.index()];
        }
        for &(arg, c) in &index.args {
            at += c * self.args[arg as usize];
        }
        at
    }

    fn int(&self, val: Val) -> i64 {
        match self.values[val.index()] {
            Scalar::I64(x) => x,
            other => panic!("an I64 is wanted, not {other:?}"),
        }
    }

    fn flag(&self, val: Val) -> bool {
        match self.values[val.index()] {
            Scalar::Bool(x) => x,
            other => panic!("a Bool is wanted, not {other:?}"),
        }
    }

    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Loop(inner) => self.run_loop(inner),
                Stmt::Let(val) => {
                    let value = self.value(*val);
                    self.values[val.index()] = value;
                }
                Stmt::Store {
                    buffer,
                    index,
                    value,
                } => {
                    let at = self.affine(index);
                    self.store(*buffer, at, *value);
                }
                Stmt::StoreAt {
                    buffer,
                    index,
                    at,
                    stride,
                    value,
                } => {
                    let at = self.affine(index) + stride * self.int(*at);
                    self.store(*buffer, at, *value);
                }
                Stmt::Init(acc) => {
                    let data = self.kernel.accs[*acc];
                    self.accs[acc.index()] = State::Whole(identity(data.op, data.elem));
                }
                Stmt::Accumulate(acc, value) => {
                    let op = self.kernel.accs[*acc].op;
                    let value = self.values[value.index()];
                    match &mut self.accs[acc.index()] {
                        State::Whole(x) => *x = combine(op, *x, value),
                        State::Lanes(lanes) => {
                            lanes[self.lane] = combine(op, lanes[self.lane], value);
                        }
                    }
                }
                Stmt::Check {
                    ok,
                    status,
                    code,
                    detail,
                } => {
                    let status = status.index();
                    let before = self.memory.load(status, 0);
                    if !self.flag(*ok) && [0, *code].map(Scalar::I64).contains(&before) {
                        let mut least = self.int(*detail);
                        if let Scalar::I64(known) = self.memory.load(status, 1) {
                            least = least.min(known);
                        }
                        self.memory.store(status, 0, Scalar::I64(*code));
                        self.memory.store(status, 1, Scalar::I64(least));
                    }
                }
            }
        }
    }

    fn store(&mut self, buffer: BufferId, at: i64, value: Val) {
        let value = self.values[value.index()];
        self.memory.store(buffer.index(), at, value);
    }

    fn run_loop(&mut self, inner: &Loop) {
        let (start, end) = (self.bound(inner.start), self.bound(inner.end));
        if !inner.lanes {
            for i in start..end {
                self.vars[inner.var.index()] = i;
                self.body(&inner.body);
            }
            return;
        }
        let outside = tidy::fed_from_outside(inner);
        let before: Vec<State> = outside
            .iter()
            .map(|acc| {
                let data = self.kernel.accs[*acc];
                let lanes = State::Lanes(Box::new([identity(data.op, data.elem); 16]));
                std::mem::replace(&mut self.accs[acc.index()], lanes)
            })
            .collect();
        for i in start..end {
            self.vars[inner.var.index()] = i;
            self.lane = ((i - start) % 16) as usize;
            self.body(&inner.body);
        }
        for (acc, before) in outside.iter().zip(before) {
            let op = self.kernel.accs[*acc].op;
            let State::Whole(before) = before else {
                panic!("lane loops do not nest");
            };
            let State::Lanes(mut lanes) = self.accs[acc.index()].clone() else {
                continue;
            };
            for width in [8, 4, 2, 1] {
                for i in 0..width {
                    lanes[i] = combine(op, lanes[i], lanes[i + width]);
                }
            }
            self.accs[acc.index()] = State::Whole(combine(op, before, lanes[0]));
        }
    }

    fn value(&self, val: Val) -> Scalar {
        let data = &self.kernel.values[val];
        let get = |v: Val| self.values[v.index()];
        match &data.kind {
            ValKind::Float(x) if data.elem == Elem::F32 => Scalar::F32(*x as f32),
            ValKind::Float(x) => Scalar::F64(*x),
            ValKind::Int(x) if data.elem == Elem::I32 => Scalar::I32(*x as i32),
            ValKind::Int(x) => Scalar::I64(*x),
            ValKind::Bool(x) => Scalar::Bool(*x),
            ValKind::Index(index) => Scalar::I64(self.affine(index)),
            ValKind::Load { buffer, index } => self.memory.load(buffer.index(), self.affine(index)),
            ValKind::LoadAt {
                buffer,
                index,
                at,
                stride,
            } => self
                .memory
                .load(buffer.index(), self.affine(index) + stride * self.int(*at)),
            ValKind::Unary(op, a) => unary(*op, get(*a)),
            ValKind::Binary(op, a, b) => binary(*op, get(*a), get(*b)),
            ValKind::Fma(a, b, c) => match (get(*a), get(*b), get(*c)) {
                (Scalar::F32(a), Scalar::F32(b), Scalar::F32(c)) => Scalar::F32(a.mul_add(b, c)),
                (Scalar::F64(a), Scalar::F64(b), Scalar::F64(c)) => Scalar::F64(a.mul_add(b, c)),
                other => panic!("no fma of {other:?}"),
            },
            ValKind::Compare(op, a, b) => Scalar::Bool(compare_scalars(*op, get(*a), get(*b))),
            ValKind::Select(c, a, b) => {
                if self.flag(*c) {
                    get(*a)
                } else {
                    get(*b)
                }
            }
            ValKind::Convert(a) => convert(get(*a), data.elem),
            ValKind::Bitcast(a) => match (get(*a), data.elem) {
                (Scalar::F32(x), Elem::I32) => Scalar::I32(x.to_bits() as i32),
                (Scalar::I32(x), Elem::F32) => Scalar::F32(f32::from_bits(x as u32)),
                (Scalar::F64(x), Elem::I64) => Scalar::I64(x.to_bits() as i64),
                (Scalar::I64(x), Elem::F64) => Scalar::F64(f64::from_bits(x as u64)),
                other => panic!("no bitcast of {other:?}"),
            },
            ValKind::AccRead(acc) => match &self.accs[acc.index()] {
                State::Whole(x) => *x,
                State::Lanes(_) => panic!("an accumulator is read in the loop that feeds it"),
            },
            ValKind::DrawKey(seed, site) => {
                Scalar::I64(philox::key64(self.int(*seed) as u64, *site) as i64)
            }
            ValKind::Draw {
                distribution,
                key,
                element,
                inner,
                example,
                step,
            } => {
                let place = philox::Place {
                    key: self.int(*key) as u64,
                    inner: self.int(*inner) as u32,
                    example: self.int(*example) as u32,
                    step: self.int(*step) as u32,
                };
                let draw = match distribution {
                    Distribution::Uniform => Draw::Uniform,
                    Distribution::Normal => Draw::Normal,
                };
                let element = self.affine(element) as u64;
                if data.elem == Elem::F32 {
                    let mut out = [0f32];
                    philox::fill_f32(draw, &place, element, &mut out);
                    Scalar::F32(out[0])
                } else {
                    let mut out = [0f64];
                    philox::fill_f64(draw, &place, element, &mut out);
                    Scalar::F64(out[0])
                }
            }
        }
    }
}

fn unary(op: LirUnary, a: Scalar) -> Scalar {
    macro_rules! float {
        ($kind:ident, $x:expr) => {
            Scalar::$kind(match op {
                LirUnary::Neg => -$x,
                LirUnary::Abs => $x.abs(),
                LirUnary::Sqrt => $x.sqrt(),
                LirUnary::Floor => $x.floor(),
                LirUnary::Nearest => $x.round_ties_even(),
                LirUnary::Not => panic!("no `not` of floats"),
            })
        };
    }
    match a {
        Scalar::F32(x) => float!(F32, x),
        Scalar::F64(x) => float!(F64, x),
        Scalar::Bool(x) if op == LirUnary::Not => Scalar::Bool(!x),
        Scalar::I32(x) if op == LirUnary::Not => Scalar::I32(!x),
        Scalar::I64(x) if op == LirUnary::Not => Scalar::I64(!x),
        Scalar::I32(x) if op == LirUnary::Neg => Scalar::I32(x.wrapping_neg()),
        Scalar::I64(x) if op == LirUnary::Neg => Scalar::I64(x.wrapping_neg()),
        other => panic!("no {op:?} of {other:?}"),
    }
}

fn binary(op: LirBinary, a: Scalar, b: Scalar) -> Scalar {
    macro_rules! float {
        ($kind:ident, $a:expr, $b:expr) => {
            Scalar::$kind(match op {
                LirBinary::Add => $a + $b,
                LirBinary::Sub => $a - $b,
                LirBinary::Mul => $a * $b,
                LirBinary::Div => $a / $b,
                LirBinary::Min => {
                    if $a < $b {
                        $a
                    } else {
                        $b
                    }
                }
                LirBinary::Max => {
                    if $a > $b {
                        $a
                    } else {
                        $b
                    }
                }
                other => panic!("no {other:?} of floats"),
            })
        };
    }
    macro_rules! int {
        ($kind:ident, $unsigned:ty, $signed:ty, $a:expr, $b:expr) => {
            Scalar::$kind(match op {
                LirBinary::Add => $a.wrapping_add($b),
                LirBinary::Sub => $a.wrapping_sub($b),
                LirBinary::Mul => $a.wrapping_mul($b),
                LirBinary::Div => panic!("no quotient of ints"),
                LirBinary::Min => $a.min($b),
                LirBinary::Max => $a.max($b),
                LirBinary::And => $a & $b,
                LirBinary::Or => $a | $b,
                LirBinary::Xor => $a ^ $b,
                LirBinary::Shl => $a.wrapping_shl($b as u32),
                LirBinary::ShrLogical => ($a as $unsigned).wrapping_shr($b as u32) as $signed,
                LirBinary::ShrArithmetic => $a.wrapping_shr($b as u32),
                LirBinary::FloorDiv => {
                    if $b == 0 {
                        0
                    } else {
                        let q = $a.wrapping_div($b);
                        if $a.wrapping_rem($b) != 0 && ($a < 0) != ($b < 0) {
                            q - 1
                        } else {
                            q
                        }
                    }
                }
                LirBinary::FloorMod => {
                    if $b == 0 {
                        0
                    } else {
                        let r = $a.wrapping_rem($b);
                        if r != 0 && (r < 0) != ($b < 0) {
                            r + $b
                        } else {
                            r
                        }
                    }
                }
            })
        };
    }
    match (a, b) {
        (Scalar::F32(a), Scalar::F32(b)) => float!(F32, a, b),
        (Scalar::F64(a), Scalar::F64(b)) => float!(F64, a, b),
        (Scalar::I32(a), Scalar::I32(b)) => int!(I32, u32, i32, a, b),
        (Scalar::I64(a), Scalar::I64(b)) => int!(I64, u64, i64, a, b),
        (Scalar::Bool(a), Scalar::Bool(b)) => Scalar::Bool(match op {
            LirBinary::And => a & b,
            LirBinary::Or => a | b,
            LirBinary::Xor => a ^ b,
            other => panic!("no {other:?} of Bools"),
        }),
        other => panic!("operands of two types: {other:?}"),
    }
}

/// Whether a comparison holds.
pub(crate) fn compare<T: PartialOrd>(op: Comparison, a: T, b: T) -> bool {
    match op {
        Comparison::Eq => a == b,
        Comparison::Ne => a != b,
        Comparison::Lt => a < b,
        Comparison::Le => a <= b,
        Comparison::Gt => a > b,
        Comparison::Ge => a >= b,
    }
}

fn compare_scalars(op: Comparison, a: Scalar, b: Scalar) -> bool {
    match (a, b) {
        (Scalar::F32(a), Scalar::F32(b)) => compare(op, a, b),
        (Scalar::F64(a), Scalar::F64(b)) => compare(op, a, b),
        (Scalar::I32(a), Scalar::I32(b)) => compare(op, a, b),
        (Scalar::I64(a), Scalar::I64(b)) => compare(op, a, b),
        other => panic!("no comparison of {other:?}"),
    }
}

fn convert(a: Scalar, elem: Elem) -> Scalar {
    macro_rules! number {
        ($x:expr) => {
            match elem {
                Elem::F32 => Scalar::F32($x as f32),
                Elem::F64 => Scalar::F64($x as f64),
                Elem::I32 => Scalar::I32($x as i32),
                Elem::I64 => Scalar::I64($x as i64),
                Elem::Bool => Scalar::Bool($x as f64 != 0.0),
            }
        };
    }
    match a {
        Scalar::F32(x) => number!(x),
        Scalar::F64(x) => number!(x),
        Scalar::I32(x) => number!(x),
        Scalar::I64(x) if elem == Elem::Bool => Scalar::Bool(x != 0),
        Scalar::I64(x) => number!(x),
        Scalar::Bool(x) if elem == Elem::Bool => Scalar::Bool(x),
        Scalar::Bool(x) => number!(u8::from(x)),
    }
}
