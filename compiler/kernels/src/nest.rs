//! The builder of one kernel: a stack of open loops and hash-consed values. Each value is
//! placed in the outermost loop that knows its operands, so loop-invariant code never enters a
//! loop and equal values are computed once.

use crate::coords::{Coord, Term};
use crate::eval::compare;
use crate::lir::{
    Acc, AccData, AccOp, Access, Affine, Bound, Buffer, BufferId, Comparison, Kernel, LirBinary,
    LirUnary, Loop, Stmt, Val, ValData, ValKind, Var, VarData,
};
use aec_runtime::Elem;
use cranelift_entity::EntityRef;
use rustc_hash::FxHashMap as HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One open loop (or the kernel itself, which has no variable).
struct Frame {
    id: u32,
    var: Option<Var>,
    start: Bound,
    end: Bound,
    lanes: bool,
    body: Vec<Stmt>,
}

/// Loops set aside while code is placed further out; give them back with [`Nest::resume`].
#[must_use]
pub struct Suspended(Vec<Frame>);

/// A kernel being built.
pub struct Nest {
    /// What has been built; `body` is filled by [`Nest::finish`].
    pub kernel: Kernel,
    stack: Vec<Frame>,
    next_frame: u32,
    val_frame: Vec<u32>,
    var_frame: Vec<u32>,
    var_extent: Vec<i64>,
    closed: Vec<bool>,
    consed: HashMap<u64, Vec<Val>>,
}

impl Default for Nest {
    fn default() -> Nest {
        Nest::new()
    }
}

impl Nest {
    /// An empty kernel.
    pub fn new() -> Nest {
        Nest {
            kernel: Kernel::default(),
            stack: vec![Frame {
                id: 0,
                var: None,
                start: Bound::Const(0),
                end: Bound::Const(1),
                lanes: false,
                body: Vec::new(),
            }],
            next_frame: 1,
            val_frame: Vec::new(),
            var_frame: Vec::new(),
            var_extent: Vec::new(),
            closed: Vec::new(),
            consed: HashMap::default(),
        }
    }

    /// A new pointer param.
    pub fn buffer(&mut self, elem: Elem, access: Access, name: &str) -> BufferId {
        self.kernel.buffers.push(Buffer {
            elem,
            access,
            name: name.to_string(),
        })
    }

    /// Opens a loop over `start..end`.
    pub fn open(&mut self, start: i64, end: i64, lanes: bool) -> Var {
        let var = self.kernel.vars.push(VarData);
        let id = self.next_frame;
        self.next_frame += 1;
        self.var_frame.push(id);
        self.var_extent.push(end);
        self.closed.push(false);
        self.stack.push(Frame {
            id,
            var: Some(var),
            start: Bound::Const(start),
            end: Bound::Const(end),
            lanes,
            body: Vec::new(),
        });
        var
    }

    /// Closes the innermost loop.
    pub fn close(&mut self) {
        let frame = self.stack.pop().expect("a loop is open");
        let var = frame.var.expect("the kernel itself is not closed");
        self.closed[var.index()] = true;
        self.body().push(Stmt::Loop(Loop {
            var,
            start: frame.start,
            end: frame.end,
            lanes: frame.lanes,
            body: frame.body,
        }));
    }

    /// Closes all loops and gives the kernel.
    pub fn finish(mut self) -> Kernel {
        while self.stack.len() > 1 {
            self.close();
        }
        self.kernel.body = self.stack.pop().expect("the kernel's frame").body;
        self.kernel
    }

    fn body(&mut self) -> &mut Vec<Stmt> {
        &mut self.stack.last_mut().expect("the kernel's frame").body
    }

    /// Number of open loops.
    pub fn depth(&self) -> usize {
        self.stack.len() - 1
    }

    /// Whether the place where code goes now lies in a lane loop.
    pub fn in_lanes(&self) -> bool {
        self.stack.iter().any(|frame| frame.lanes)
    }

    /// The lane loop's variable, if one is open at `depth` or further out.
    pub fn lane_var(&self, depth: usize) -> Option<Var> {
        self.stack[..=depth]
            .iter()
            .find(|frame| frame.lanes)
            .and_then(|frame| frame.var)
    }

    /// Sets the loops deeper than `depth` aside.
    pub fn suspend(&mut self, depth: usize) -> Suspended {
        Suspended(self.stack.split_off(depth + 1))
    }

    /// Goes on inside the loops set aside.
    pub fn resume(&mut self, suspended: Suspended) {
        self.stack.extend(suspended.0);
    }

    /// One past the largest value of a loop variable.
    pub fn extent(&self, var: Term) -> i64 {
        self.var_extent[var as usize]
    }

    fn depth_of_frame(&self, id: u32) -> Option<usize> {
        self.stack.iter().rposition(|frame| frame.id == id)
    }

    /// Whether the loop of a variable is still open, set aside or not.
    pub fn is_open(&self, var: Var) -> bool {
        !self.closed[var.index()]
    }

    /// Whether a value may be used where code goes now.
    pub fn visible(&self, val: Val) -> bool {
        self.depth_of_frame(self.val_frame[val.index()]).is_some()
    }

    /// The loop depth at which a value stands.
    pub fn depth_of(&self, val: Val) -> usize {
        self.depth_of_frame(self.val_frame[val.index()])
            .expect("operands are visible")
    }

    fn depth_of_var(&self, var: Var) -> usize {
        self.depth_of_frame(self.var_frame[var.index()])
            .expect("loop variables in use are open")
    }

    /// The least depth at which a coordinate is known.
    pub fn depth_of_coord(&self, coord: &Coord) -> usize {
        let vars = coord.terms.iter().map(|&(v, _)| v);
        let vars = vars.map(|v| self.depth_of_var(Var::from_u32(v)));
        let vals = coord.at.iter().map(|&(v, _)| self.depth_of(v));
        vars.chain(vals).max().unwrap_or(0)
    }

    fn depth_of_affine(&self, affine: &Affine) -> usize {
        let vars = affine.vars.iter().map(|&(v, _)| self.depth_of_var(v));
        vars.max().unwrap_or(0)
    }

    fn depth_of_kind(&self, kind: &ValKind) -> usize {
        let vals = operands(kind);
        let deepest = vals.iter().map(|&v| self.depth_of(v)).max().unwrap_or(0);
        let affine = match kind {
            ValKind::Index(index)
            | ValKind::Load { index, .. }
            | ValKind::LoadAt { index, .. }
            | ValKind::Draw { element: index, .. } => self.depth_of_affine(index),
            _ => 0,
        };
        deepest.max(affine)
    }

    /// Computes a value in the outermost place that knows its operands, once.
    pub fn value(&mut self, kind: ValKind, elem: Elem) -> Val {
        let hash = hash_of(&kind, elem);
        if let Some(found) = self.consed.get(&hash) {
            for &val in found {
                let data = &self.kernel.values[val];
                if data.elem == elem && data.kind == kind && self.visible(val) {
                    return val;
                }
            }
        }
        let depth = self.depth_of_kind(&kind);
        let val = self.value_at(kind, elem, depth);
        self.consed.entry(hash).or_default().push(val);
        val
    }

    /// Computes a value at a depth, never shared with an equal one (it depends on memory or
    /// on an accumulator).
    pub fn value_at(&mut self, kind: ValKind, elem: Elem, depth: usize) -> Val {
        let val = self.kernel.values.push(ValData { kind, elem });
        let frame = &mut self.stack[depth];
        self.val_frame.push(frame.id);
        frame.body.push(Stmt::Let(val));
        val
    }

    /// Appends a statement at a depth.
    pub fn push_at(&mut self, stmt: Stmt, depth: usize) {
        self.stack[depth].body.push(stmt);
    }

    /// A new accumulator, set to its identity here.
    pub fn init(&mut self, op: AccOp, elem: Elem) -> Acc {
        let acc = self.kernel.accs.push(AccData { elem, op });
        self.body().push(Stmt::Init(acc));
        acc
    }

    /// Feeds an accumulator here.
    pub fn accumulate(&mut self, acc: Acc, value: Val) {
        self.body().push(Stmt::Accumulate(acc, value));
    }

    /// What an accumulator holds, read here.
    pub fn read(&mut self, acc: Acc) -> Val {
        let elem = self.kernel.accs[acc].elem;
        let depth = self.depth();
        self.value_at(ValKind::AccRead(acc), elem, depth)
    }

    /// Type of a value.
    pub fn elem(&self, val: Val) -> Elem {
        self.kernel.values[val].elem
    }

    /// A float constant of `elem`, or an int constant for int types.
    pub fn float(&mut self, x: f64, elem: Elem) -> Val {
        match elem {
            Elem::F32 => self.value(ValKind::Float(f64::from(x as f32)), elem),
            Elem::F64 => self.value(ValKind::Float(x), elem),
            Elem::I32 | Elem::I64 => self.int(x as i64, elem),
            Elem::Bool => self.value(ValKind::Bool(x != 0.0), elem),
        }
    }

    /// An int constant.
    pub fn int(&mut self, x: i64, elem: Elem) -> Val {
        self.value(ValKind::Int(x), elem)
    }

    /// The float constant that a value is, if it is one.
    pub fn as_float(&self, val: Val) -> Option<f64> {
        match self.kernel.values[val].kind {
            ValKind::Float(x) => Some(x),
            _ => None,
        }
    }

    /// One operand.
    pub fn unary(&mut self, op: LirUnary, a: Val) -> Val {
        if let (LirUnary::Neg, Some(x)) = (op, self.as_float(a)) {
            return self.float(-x, self.elem(a));
        }
        self.value(ValKind::Unary(op, a), self.elem(a))
    }

    /// Two operands.
    pub fn binary(&mut self, op: LirBinary, a: Val, b: Val) -> Val {
        self.value(ValKind::Binary(op, a, b), self.elem(a))
    }

    /// `a + b`
    pub fn add(&mut self, a: Val, b: Val) -> Val {
        self.binary(LirBinary::Add, a, b)
    }

    /// `a - b`
    pub fn sub(&mut self, a: Val, b: Val) -> Val {
        self.binary(LirBinary::Sub, a, b)
    }

    /// `a * b`; a factor 1 vanishes.
    pub fn mul(&mut self, a: Val, b: Val) -> Val {
        if self.as_float(a) == Some(1.0) {
            return b;
        }
        if self.as_float(b) == Some(1.0) {
            return a;
        }
        self.binary(LirBinary::Mul, a, b)
    }

    /// `a / b`
    pub fn div(&mut self, a: Val, b: Val) -> Val {
        self.binary(LirBinary::Div, a, b)
    }

    /// `a * b + c` with one rounding.
    pub fn fma(&mut self, a: Val, b: Val, c: Val) -> Val {
        self.value(ValKind::Fma(a, b, c), self.elem(a))
    }

    fn product_of(&self, val: Val) -> Option<(Val, Val)> {
        match self.kernel.values[val].kind {
            ValKind::Binary(LirBinary::Mul, a, b) if self.elem(val).is_float() => Some((a, b)),
            _ => None,
        }
    }

    /// `a + b`, as a fused multiply-add if one of them is a product.
    pub fn add_fused(&mut self, a: Val, b: Val) -> Val {
        if let Some((p, q)) = self.product_of(b) {
            return self.fma(p, q, a);
        }
        if let Some((p, q)) = self.product_of(a) {
            return self.fma(p, q, b);
        }
        self.add(a, b)
    }

    /// `a - b`, as a fused multiply-add if `b` is a product with a constant.
    pub fn sub_fused(&mut self, a: Val, b: Val) -> Val {
        if let Some((p, q)) = self.product_of(b) {
            let elem = self.elem(a);
            if let Some(x) = self.as_float(p) {
                let x = self.float(-x, elem);
                return self.fma(x, q, a);
            }
            if let Some(x) = self.as_float(q) {
                let x = self.float(-x, elem);
                return self.fma(x, p, a);
            }
        }
        self.sub(a, b)
    }

    /// A comparison.
    pub fn compare(&mut self, op: Comparison, a: Val, b: Val) -> Val {
        if let (&ValKind::Int(x), &ValKind::Int(y)) =
            (&self.kernel.values[a].kind, &self.kernel.values[b].kind)
        {
            return self.value(ValKind::Bool(compare(op, x, y)), Elem::Bool);
        }
        self.value(ValKind::Compare(op, a, b), Elem::Bool)
    }

    /// `a` where `c`, else `b`.
    pub fn select(&mut self, c: Val, a: Val, b: Val) -> Val {
        if let ValKind::Bool(c) = self.kernel.values[c].kind {
            return if c { a } else { b };
        }
        if a == b {
            return a;
        }
        self.value(ValKind::Select(c, a, b), self.elem(a))
    }

    /// Conversion by value.
    pub fn convert(&mut self, a: Val, elem: Elem) -> Val {
        if self.elem(a) == elem {
            return a;
        }
        if elem.is_float() {
            match self.kernel.values[a].kind {
                ValKind::Float(x) => return self.float(x, elem),
                ValKind::Int(x) => return self.float(x as f64, elem),
                ValKind::Bool(x) => return self.float(f64::from(u8::from(x)), elem),
                _ => {}
            }
        }
        self.value(ValKind::Convert(a), elem)
    }

    /// The same bits as another type.
    pub fn bitcast(&mut self, a: Val, elem: Elem) -> Val {
        self.value(ValKind::Bitcast(a), elem)
    }

    /// The affine part of a coordinate.
    pub fn affine(coord: &Coord) -> Affine {
        Affine {
            base: coord.base,
            vars: coord
                .terms
                .iter()
                .map(|&(v, c)| (Var::from_u32(v), c))
                .collect(),
            args: Vec::new(),
        }
    }

    /// The data-dependent part of a coordinate as one value and its factor.
    pub fn dynamic(&mut self, coord: &Coord) -> Option<(Val, i64)> {
        match coord.at.as_slice() {
            [] => None,
            &[(val, c)] => Some((val, c)),
            terms => {
                let mut sum = None;
                for &(val, c) in terms {
                    let c = self.int(c, Elem::I64);
                    let term = self.mul(val, c);
                    sum = Some(match sum {
                        None => term,
                        Some(sum) => self.add(sum, term),
                    });
                }
                sum.map(|sum| (sum, 1))
            }
        }
    }

    /// A coordinate as an I64 value.
    pub fn index(&mut self, coord: &Coord) -> Val {
        if coord.terms.is_empty() && coord.at.is_empty() {
            return self.int(coord.base, Elem::I64);
        }
        let dynamic = self.dynamic(coord);
        let affine = (!coord.terms.is_empty() || coord.base != 0)
            .then(|| self.value(ValKind::Index(Nest::affine(coord)), Elem::I64));
        match (dynamic, affine) {
            (None, Some(affine)) => affine,
            (None, None) => self.int(0, Elem::I64),
            (Some((val, c)), affine) => {
                let scaled = if c == 1 {
                    val
                } else {
                    let c = self.int(c, Elem::I64);
                    self.mul(val, c)
                };
                match affine {
                    None => scaled,
                    Some(affine) => self.add(affine, scaled),
                }
            }
        }
    }

    /// The element at a place.
    pub fn load(&mut self, buffer: BufferId, place: &Coord) -> Val {
        let elem = self.kernel.buffers[buffer].elem;
        let kind = self.load_kind(buffer, place);
        self.value(kind, elem)
    }

    /// [`Nest::load`] at a depth, not shared: the kernel also stores to the buffer.
    pub fn load_at(&mut self, buffer: BufferId, place: &Coord, depth: usize) -> Val {
        let elem = self.kernel.buffers[buffer].elem;
        let kind = self.load_kind(buffer, place);
        self.value_at(kind, elem, depth)
    }

    fn load_kind(&mut self, buffer: BufferId, place: &Coord) -> ValKind {
        let index = Nest::affine(place);
        match self.dynamic(place) {
            None => ValKind::Load { buffer, index },
            Some((at, stride)) => ValKind::LoadAt {
                buffer,
                index,
                at,
                stride,
            },
        }
    }

    /// Stores in the outermost loop that knows place and value.
    pub fn store(&mut self, buffer: BufferId, place: &Coord, value: Val) {
        let index = Nest::affine(place);
        let depth = self.depth_of_coord(place).max(self.depth_of(value));
        let stmt = match self.dynamic(place) {
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
        self.push_at(stmt, depth);
    }
}

/// The values that a value is computed from.
pub fn operands(kind: &ValKind) -> smallvec::SmallVec<[Val; 4]> {
    match *kind {
        ValKind::Float(_)
        | ValKind::Int(_)
        | ValKind::Bool(_)
        | ValKind::Index(_)
        | ValKind::Load { .. }
        | ValKind::AccRead(_) => smallvec::smallvec![],
        ValKind::LoadAt { at, .. } => smallvec::smallvec![at],
        ValKind::Unary(_, a)
        | ValKind::Convert(a)
        | ValKind::Bitcast(a)
        | ValKind::DrawKey(a, _) => smallvec::smallvec![a],
        ValKind::Binary(_, a, b) | ValKind::Compare(_, a, b) => smallvec::smallvec![a, b],
        ValKind::Fma(a, b, c) | ValKind::Select(a, b, c) => smallvec::smallvec![a, b, c],
        ValKind::Draw {
            key,
            inner,
            example,
            step,
            ..
        } => smallvec::smallvec![key, inner, example, step],
    }
}

fn hash_of(kind: &ValKind, elem: Elem) -> u64 {
    let mut h = DefaultHasher::new();
    std::mem::discriminant(kind).hash(&mut h);
    elem.hash(&mut h);
    match kind {
        ValKind::Float(x) => x.to_bits().hash(&mut h),
        ValKind::Int(x) => x.hash(&mut h),
        ValKind::Bool(x) => x.hash(&mut h),
        ValKind::Index(index) => index.hash(&mut h),
        ValKind::Load { buffer, index } => (buffer, index).hash(&mut h),
        ValKind::LoadAt { buffer, index, .. } => (buffer, index).hash(&mut h),
        ValKind::Unary(op, _) => op.hash(&mut h),
        ValKind::Binary(op, ..) => op.hash(&mut h),
        ValKind::Compare(op, ..) => op.hash(&mut h),
        ValKind::AccRead(acc) => acc.hash(&mut h),
        ValKind::DrawKey(_, site) => site.hash(&mut h),
        ValKind::Draw { element, .. } => element.hash(&mut h),
        ValKind::Fma(..) | ValKind::Select(..) | ValKind::Convert(_) | ValKind::Bitcast(_) => {}
    }
    operands(kind).hash(&mut h);
    h.finish()
}
