//! Machine code against the loop IR evaluator, bit for bit, on random kernels: every operation
//! and type, lane loops of all lengths, accumulators in all placements.

use aec_codegen::{CodegenOptions, run_kernel, why_narrow};
use aec_kernels::eval;
use aec_kernels::lir::{
    Acc, AccData, AccOp, Access, Affine, Bound, Buffer, BufferId, Comparison, Distribution, Kernel,
    LirBinary, LirUnary, Loop, Stmt, Val, ValData, ValKind, Var, VarData,
};
use aec_runtime::gemm::Isa;
use aec_runtime::pool::flush_denormals;
use aec_runtime::{Data, Elem, Tensor};
use cranelift_entity::EntityRef;

const ELEMS: [Elem; 5] = [Elem::F32, Elem::F64, Elem::I32, Elem::I64, Elem::Bool];
/// Elements of each input buffer; indices stay well inside.
const SIZE: usize = 2048;
/// Where loads are centred.
const MIDDLE: i64 = 1000;

/// The numbers of so many bytes.
fn of_width(bytes: usize) -> [Elem; 2] {
    match bytes {
        8 => [Elem::F64, Elem::I64],
        _ => [Elem::F32, Elem::I32],
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn float(&mut self) -> f64 {
        match self.below(24) {
            0 => 0.0,
            1 => -0.0,
            2 => f64::INFINITY,
            3 => f64::NEG_INFINITY,
            4 => f64::NAN,
            5 => 0.5,
            6 => -2.5,
            7 => 3e9,
            8 => -3e19,
            9 => 1e30,
            _ => (self.below(20_001) as f64 - 10_000.0) / 1024.0,
        }
    }

    fn int(&mut self) -> i64 {
        match self.below(12) {
            0 => 0,
            1 => -1,
            2 => i64::from(i32::MIN),
            3 => i64::MIN,
            4 => i64::MAX,
            5 => 1 << 31,
            _ => self.below(2001) as i64 - 1000,
        }
    }

    fn data(&mut self, elem: Elem, count: usize) -> Data {
        match elem {
            Elem::F32 => Data::F32((0..count).map(|_| self.float() as f32).collect()),
            Elem::F64 => Data::F64((0..count).map(|_| self.float()).collect()),
            Elem::I32 => Data::I32((0..count).map(|_| self.int() as i32).collect()),
            Elem::I64 => Data::I64((0..count).map(|_| self.int()).collect()),
            Elem::Bool => Data::Bool((0..count).map(|_| self.below(2) as u8).collect()),
        }
    }
}

/// Builds a kernel; `body` is a stack of open bodies.
struct Builder {
    rng: Rng,
    kernel: Kernel,
    bodies: Vec<Vec<Stmt>>,
    /// Visible values, and how many of them each open body may see.
    visible: Vec<Val>,
    vars: Vec<(Var, bool)>,
    used: [i64; 5],
    in_lanes: bool,
    /// What draws in lane loops may take from outside, in kernels that draw: a seed, its key and a
    /// loop index.
    draws: Option<[Val; 3]>,
    /// Only what wide code may have: lanes of so many bytes, side by side in memory.
    wide: Option<usize>,
}

fn input(elem: Elem) -> BufferId {
    BufferId::new(ELEMS.iter().position(|&e| e == elem).unwrap())
}

fn output(elem: Elem) -> BufferId {
    BufferId::new(5 + input(elem).index())
}

/// I64 values in 0..8.
fn small() -> BufferId {
    BufferId::new(10)
}

fn status() -> BufferId {
    BufferId::new(11)
}

impl Builder {
    fn new(seed: u64) -> Builder {
        let mut kernel = Kernel {
            name: "random".to_owned(),
            arg_count: 2,
            ..Kernel::default()
        };
        for (access, name) in [(Access::Read, "in"), (Access::Write, "out")] {
            for elem in ELEMS {
                let name = format!("{name}_{elem}");
                kernel.buffers.push(Buffer { elem, access, name });
            }
        }
        for (access, name) in [(Access::Read, "small"), (Access::ReadWrite, "status")] {
            kernel.buffers.push(Buffer {
                elem: Elem::I64,
                access,
                name: name.to_owned(),
            });
        }
        Builder {
            rng: Rng(seed),
            kernel,
            bodies: vec![Vec::new()],
            visible: Vec::new(),
            vars: Vec::new(),
            used: [0; 5],
            in_lanes: false,
            draws: None,
            wide: None,
        }
    }

    fn elem(&mut self) -> Elem {
        match self.wide {
            Some(bytes) => {
                let [float, int] = of_width(bytes);
                self.rng.pick(&[float, float, float, int, Elem::Bool])
            }
            None => self.rng.pick(&ELEMS),
        }
    }

    /// Not `Bool`.
    fn number(&mut self) -> Elem {
        match self.wide {
            Some(bytes) => self.rng.pick(&of_width(bytes)),
            None => self.rng.pick(&ELEMS[..4]),
        }
    }

    fn push(&mut self, stmt: Stmt) {
        self.bodies.last_mut().unwrap().push(stmt);
    }

    fn let_(&mut self, kind: ValKind, elem: Elem) -> Val {
        let val = self.kernel.values.push(ValData { kind, elem });
        self.push(Stmt::Let(val));
        self.visible.push(val);
        val
    }

    fn open_loop(
        &mut self,
        start: Bound,
        end: Bound,
        lanes: bool,
        body: impl FnOnce(&mut Builder, Var),
    ) {
        let var = self.kernel.vars.push(VarData);
        let seen = self.visible.len();
        self.bodies.push(Vec::new());
        self.vars.push((var, lanes));
        let outer = self.in_lanes;
        self.in_lanes |= lanes;
        body(self, var);
        self.in_lanes = outer;
        self.vars.pop();
        self.visible.truncate(seen);
        let body = self.bodies.pop().unwrap();
        self.push(Stmt::Loop(Loop {
            var,
            start,
            end,
            lanes,
            body,
        }));
    }

    fn acc(&mut self, op: AccOp, elem: Elem) -> Acc {
        let acc = self.kernel.accs.push(AccData { elem, op });
        self.push(Stmt::Init(acc));
        acc
    }

    fn random_acc(&mut self) -> Acc {
        let op = self.rng.pick(&[
            AccOp::Sum,
            AccOp::Max,
            AccOp::Min,
            AccOp::All,
            AccOp::Any,
            AccOp::Sum,
        ]);
        let elem = match op {
            AccOp::All | AccOp::Any => Elem::Bool,
            AccOp::Sum | AccOp::Max | AccOp::Min => self.number(),
        };
        self.acc(op, elem)
    }

    fn index(&mut self) -> Affine {
        self.index_with(true)
    }

    /// An index; `lanes`: it may differ between lanes.
    fn index_with(&mut self, may_differ: bool) -> Affine {
        let mut index = Affine {
            base: MIDDLE + self.rng.below(50) as i64,
            ..Affine::default()
        };
        for (var, lanes) in self.vars.clone() {
            let coefficient = if lanes && !may_differ {
                0
            } else if lanes && self.wide.is_some() {
                self.rng.pick(&[1, 1, 1, 0])
            } else if lanes {
                self.rng.pick(&[1, 1, 1, 1, 0, 2, -1, 3])
            } else {
                self.rng.pick(&[0, 1, 7, 16, -2])
            };
            if coefficient != 0 {
                index.vars.push((var, coefficient));
            }
        }
        if self.rng.below(4) == 0 {
            index.args.push((0, self.rng.pick(&[1, 2, -1])));
        }
        index
    }

    /// A place that no other store or iteration has: each store gets a stretch of its own.
    fn place(&mut self, elem: Elem) -> Affine {
        let at = input(elem).index();
        let mut stretch = 1;
        let mut index = Affine {
            base: self.used[at],
            ..Affine::default()
        };
        let mut vars = self.vars.clone();
        vars.reverse();
        if self.wide.is_some() {
            // The lane variable has coefficient 1.
            vars.sort_by_key(|&(_, lanes)| !lanes);
        }
        for (var, lanes) in vars {
            if lanes {
                let coefficient = if self.wide.is_some() {
                    1
                } else {
                    self.rng.pick(&[1, 1, 1, 2, -1])
                };
                index
                    .vars
                    .push((var, coefficient * if stretch == 1 { 1 } else { stretch }));
                if coefficient < 0 {
                    index.base += 128 * stretch;
                }
                stretch *= 256;
            } else {
                index.vars.push((var, stretch));
                stretch *= 4;
            }
        }
        self.used[at] += stretch;
        index
    }

    fn known(&mut self, elem: Elem) -> Option<Val> {
        let of: Vec<Val> = self
            .visible
            .iter()
            .copied()
            .filter(|&val| self.kernel.values[val].elem == elem)
            .collect();
        (!of.is_empty()).then(|| {
            // Recent ones more often.
            let from = if self.rng.below(2) == 0 {
                of.len().saturating_sub(4)
            } else {
                0
            };
            of[from + self.rng.below(of.len() - from)]
        })
    }

    /// A visible value, or a new leaf.
    fn operand(&mut self, elem: Elem) -> Val {
        match self.known(elem) {
            Some(val) if self.rng.below(5) != 0 => val,
            _ => self.leaf(elem),
        }
    }

    fn leaf(&mut self, elem: Elem) -> Val {
        let kind = match (self.rng.below(5), elem) {
            (0, Elem::F32 | Elem::F64) => ValKind::Float(self.rng.float()),
            (0, Elem::I32) => ValKind::Int(i64::from(self.rng.int() as i32)),
            (0, Elem::I64) => ValKind::Int(self.rng.int()),
            (0, Elem::Bool) => ValKind::Bool(self.rng.below(2) == 0),
            (_, Elem::Bool) if self.wide.is_some() => ValKind::Load {
                buffer: input(elem),
                index: self.index_with(false),
            },
            // In wide kernels an index that counts lanes can only be compared with another.
            (1, Elem::I64) => ValKind::Index(self.index_with(self.wide.is_none())),
            (2, _) => {
                let at = self.small_index();
                ValKind::LoadAt {
                    buffer: input(elem),
                    index: self.index(),
                    at,
                    stride: self.rng.pick(&[1, 3, -2]),
                }
            }
            (3, Elem::F32 | Elem::F64) if self.draws.is_some() => return self.draw(elem),
            _ => ValKind::Load {
                buffer: input(elem),
                index: self.index(),
            },
        };
        self.let_(kind, elem)
    }

    /// An I64 in 0..8.
    fn small_index(&mut self) -> Val {
        let index = self.index_with(self.wide.is_none());
        self.let_(
            ValKind::Load {
                buffer: small(),
                index,
            },
            Elem::I64,
        )
    }

    fn place_of_draws(&mut self) -> [Val; 3] {
        let seed = self.let_(ValKind::Int(self.rng.0 as i64 >> 3), Elem::I64);
        let key = self.let_(ValKind::DrawKey(seed, 77), Elem::I64);
        [seed, key, self.let_(ValKind::Int(3), Elem::I64)]
    }

    /// A number from a place that is known outside of all loops, or else made here.
    fn draw(&mut self, elem: Elem) -> Val {
        let outside = self
            .draws
            .filter(|_| self.wide.is_some() || self.rng.below(2) == 0);
        let [seed, key, inner] = match outside {
            Some(place) => place,
            None => self.place_of_draws(),
        };
        // Not the lane variable, as loop IR asks.
        let serial: Vec<(Var, i64)> = self
            .vars
            .iter()
            .filter(|(_, lanes)| !lanes)
            .map(|&(var, _)| (var, 5))
            .collect();
        let example = ValKind::Index(Affine {
            base: 1,
            vars: serial,
            args: Vec::new(),
        });
        let example = match outside {
            Some([_, _, inner]) => inner,
            None => self.let_(example, Elem::I64),
        };
        let mut element = Affine {
            base: self.rng.below(40) as i64,
            ..Affine::default()
        };
        for &(var, lanes) in &self.vars {
            if lanes {
                element.vars.push((var, 1));
            }
        }
        let distribution = self
            .rng
            .pick(&[Distribution::Uniform, Distribution::Normal]);
        self.let_(
            ValKind::Draw {
                distribution,
                key,
                element,
                inner,
                example,
                step: seed,
            },
            elem,
        )
    }

    /// A new value made of others.
    fn operation(&mut self) -> Val {
        let elem = self.elem();
        let kind = match self.rng.below(9) {
            0 if elem.is_float() => {
                let op = self.rng.pick(&[
                    LirUnary::Neg,
                    LirUnary::Abs,
                    LirUnary::Sqrt,
                    LirUnary::Floor,
                    LirUnary::Nearest,
                ]);
                ValKind::Unary(op, self.operand(elem))
            }
            0 if elem == Elem::Bool => ValKind::Unary(LirUnary::Not, self.operand(elem)),
            0 => {
                let op = self.rng.pick(&[LirUnary::Neg, LirUnary::Not]);
                ValKind::Unary(op, self.operand(elem))
            }
            1 | 2 => match elem {
                Elem::F32 | Elem::F64 => {
                    let op = self.rng.pick(&[
                        LirBinary::Add,
                        LirBinary::Sub,
                        LirBinary::Mul,
                        LirBinary::Div,
                        LirBinary::Min,
                        LirBinary::Max,
                    ]);
                    ValKind::Binary(op, self.operand(elem), self.operand(elem))
                }
                Elem::Bool => {
                    let op = self
                        .rng
                        .pick(&[LirBinary::And, LirBinary::Or, LirBinary::Xor]);
                    ValKind::Binary(op, self.operand(elem), self.operand(elem))
                }
                Elem::I32 | Elem::I64 => self.int_binary(elem),
            },
            3 if elem.is_float() => {
                ValKind::Fma(self.operand(elem), self.operand(elem), self.operand(elem))
            }
            4 if elem == Elem::Bool => {
                let of = self.number();
                let op = self.rng.pick(&Comparison::ALL);
                ValKind::Compare(op, self.operand(of), self.operand(of))
            }
            5 => ValKind::Select(
                self.operand(Elem::Bool),
                self.operand(elem),
                self.operand(elem),
            ),
            // Wide lanes of 64 bits convert to and from masks only.
            6 | 7 => {
                let from = match (self.wide, elem) {
                    (Some(8), Elem::F64 | Elem::I64) => Elem::Bool,
                    (Some(8), _) => Elem::F64,
                    _ => self.elem(),
                };
                ValKind::Convert(self.operand(from))
            }
            8 => self.bitcast(elem),
            _ => return self.leaf(elem),
        };
        self.let_(kind, elem)
    }

    fn int_binary(&mut self, elem: Elem) -> ValKind {
        let op = self.rng.pick(&[
            LirBinary::Add,
            LirBinary::Sub,
            LirBinary::Mul,
            LirBinary::Min,
            LirBinary::Max,
            LirBinary::And,
            LirBinary::Or,
            LirBinary::Xor,
            LirBinary::Shl,
            LirBinary::ShrLogical,
            LirBinary::ShrArithmetic,
            LirBinary::FloorDiv,
            LirBinary::FloorMod,
        ]);
        let op = match op {
            LirBinary::FloorDiv | LirBinary::FloorMod if self.wide.is_some() => LirBinary::Xor,
            LirBinary::Mul if self.wide == Some(8) => LirBinary::Sub,
            op => op,
        };
        let x = self.operand(elem);
        let y = match op {
            LirBinary::Shl | LirBinary::ShrLogical | LirBinary::ShrArithmetic => {
                let amount = self.rng.below(elem.bytes() * 8) as i64;
                self.let_(ValKind::Int(amount), elem)
            }
            LirBinary::FloorDiv | LirBinary::FloorMod if self.rng.below(2) == 0 => {
                let divisor = self.rng.pick(&[1, 2, 7, 8, 64, -1, -3, 0]);
                self.let_(ValKind::Int(divisor), elem)
            }
            _ => self.operand(elem),
        };
        ValKind::Binary(op, x, y)
    }

    fn bitcast(&mut self, elem: Elem) -> ValKind {
        let from = match elem {
            Elem::F32 => Elem::I32,
            Elem::F64 => Elem::I64,
            Elem::I32 => Elem::F32,
            Elem::I64 => Elem::F64,
            Elem::Bool if self.wide == Some(8) => return ValKind::Convert(self.operand(Elem::F64)),
            Elem::Bool => return ValKind::Convert(self.operand(Elem::F32)),
        };
        let x = self.operand(from);
        if !from.is_float() {
            // Denormals are taken as 0 by some instructions only.
            let float = self.let_(ValKind::Bitcast(x), elem);
            let size = self.let_(ValKind::Unary(LirUnary::Abs, float), elem);
            let least = self.let_(ValKind::Float(1e-30), elem);
            let ok = ValKind::Compare(Comparison::Gt, size, least);
            let ok = self.let_(ok, Elem::Bool);
            self.visible.retain(|&val| val != float && val != size);
            return ValKind::Select(ok, float, least);
        }
        // The bits of a NaN are not fixed.
        let ok = self.let_(ValKind::Compare(Comparison::Eq, x, x), Elem::Bool);
        let one = self.let_(ValKind::Float(1.0), from);
        let safe = self.let_(ValKind::Select(ok, x, one), from);
        ValKind::Bitcast(safe)
    }

    fn operations(&mut self, count: usize) {
        for _ in 0..count {
            self.operation();
        }
    }

    fn store(&mut self, value: Val) {
        let elem = self.kernel.values[value].elem;
        let index = self.place(elem);
        self.push(Stmt::Store {
            buffer: output(elem),
            index,
            value,
        });
    }

    fn store_some(&mut self, count: usize) {
        for _ in 0..count {
            let elem = if self.wide.is_some() {
                self.number()
            } else {
                self.elem()
            };
            let value = self.operand(elem);
            self.store(value);
        }
    }

    fn feed(&mut self, acc: Acc) {
        let elem = self.kernel.accs[acc].elem;
        let value = self.operand(elem);
        self.push(Stmt::Accumulate(acc, value));
    }

    fn read(&mut self, acc: Acc) {
        let elem = self.kernel.accs[acc].elem;
        let value = self.let_(ValKind::AccRead(acc), elem);
        self.store(value);
    }

    /// A lane loop with everything in it.
    fn lanes(&mut self, start: Bound, end: Bound, outer: &[Acc], length: usize) {
        self.open_loop(start, end, true, |b, _| {
            b.operations(length);
            let mut own = Vec::new();
            if b.rng.below(2) == 0 {
                for _ in 0..1 + b.rng.below(2) {
                    own.push(b.random_acc());
                }
                b.open_loop(Bound::Const(0), Bound::Const(3), false, |b, _| {
                    b.operations(4);
                    for &acc in own.iter().chain(outer) {
                        b.feed(acc);
                    }
                    b.store_some(1);
                });
            }
            for &acc in outer {
                b.feed(acc);
            }
            for acc in own {
                if b.wide.is_some() && b.kernel.accs[acc].elem == Elem::Bool {
                    continue;
                }
                b.read(acc);
            }
            b.store_some(3);
            if b.rng.below(3) == 0 {
                let (ok, detail) = if b.wide.is_some() {
                    // The same for all lanes.
                    let detail = b.small_index();
                    let four = b.let_(ValKind::Int(4), Elem::I64);
                    let ok = ValKind::Compare(Comparison::Lt, detail, four);
                    (b.let_(ok, Elem::Bool), detail)
                } else {
                    (b.operand(Elem::Bool), b.operand(Elem::I64))
                };
                b.push(Stmt::Check {
                    ok,
                    status: status(),
                    code: 4,
                    detail,
                });
            }
        });
    }
}

/// A kernel with a lane loop over `start .. start + length`, which `wide` registers of lanes of so many
/// bytes can hold, and its buffers.
fn random_kernel(seed: u64, start: i64, length: i64, wide: Option<usize>) -> (Kernel, Vec<Data>) {
    let mut b = Builder::new(seed);
    b.wide = wide;
    // 512-bit code has no draws.
    if seed.is_multiple_of(if wide.is_some() { 12 } else { 3 }) {
        b.draws = Some(b.place_of_draws());
    }
    b.operations(3);
    let (from, to) = if b.rng.below(2) == 0 {
        (Bound::Const(start), Bound::Const(start + length))
    } else {
        (Bound::Arg(0), Bound::Arg(1))
    };
    let accs: Vec<Acc> = (0..b.rng.below(3)).map(|_| b.random_acc()).collect();
    let body = b.rng.pick(&[2, 6, 30]);
    if b.rng.below(3) == 0 {
        b.open_loop(Bound::Const(0), Bound::Const(2), false, |b, _| {
            b.operations(2);
            let mid: Vec<Acc> = (0..b.rng.below(3)).map(|_| b.random_acc()).collect();
            let all: Vec<Acc> = accs.iter().chain(&mid).copied().collect();
            b.lanes(from, to, &all, body);
            if b.rng.below(2) == 0 {
                b.operations(2);
                for &acc in &all {
                    b.feed(acc);
                }
            }
            for acc in mid {
                b.read(acc);
            }
        });
    } else {
        b.lanes(from, to, &accs, body);
    }
    for acc in accs {
        b.read(acc);
    }
    b.store_some(2);
    let mut rng = Rng(seed ^ 0x5555);
    let mut buffers: Vec<Data> = ELEMS.iter().map(|&elem| rng.data(elem, SIZE)).collect();
    for (at, elem) in ELEMS.into_iter().enumerate() {
        buffers.push(rng.data(elem, b.used[at] as usize + 256));
    }
    buffers.push(Data::I64((0..SIZE).map(|_| rng.below(8) as i64).collect()));
    buffers.push(Data::I64(vec![0, 0]));
    b.kernel.body = b.bodies.pop().unwrap();
    (b.kernel, buffers)
}

/// Bits with all NaNs made one.
fn bits(data: &Data) -> Vec<u64> {
    match data {
        Data::F32(v) => v
            .iter()
            .map(|x| {
                if x.is_nan() {
                    u64::MAX
                } else {
                    u64::from(x.to_bits())
                }
            })
            .collect(),
        Data::F64(v) => v
            .iter()
            .map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() })
            .collect(),
        Data::I32(v) => v.iter().map(|&x| x as u64).collect(),
        Data::I64(v) => v.iter().map(|&x| x as u64).collect(),
        Data::Bool(v) => v.iter().map(|&x| u64::from(x)).collect(),
    }
}

fn compare(kernel: &Kernel, buffers: &[Data], args: &[i64], options: CodegenOptions, what: &str) {
    let mut want = buffers.to_vec();
    {
        let _denormals = flush_denormals();
        eval::run_kernel(kernel, &mut want, args);
    }
    let mut got: Vec<Tensor> = buffers
        .iter()
        .map(|data| {
            let count = bits(data).len();
            Tensor::new(vec![count], data.clone())
        })
        .collect();
    run_kernel(kernel, &mut got, args, options).unwrap();
    for (id, buffer) in &kernel.buffers {
        let (want, got) = (bits(&want[id.index()]), bits(got[id.index()].data()));
        if let Some(at) = (0..want.len()).find(|&at| want[at] != got[at]) {
            panic!(
                "{what}: {} differs at {at}: want {:x}, got {:x}\n{}",
                buffer.name,
                want[at],
                got[at],
                aec_kernels::report::print_kernel(kernel)
            );
        }
    }
}

/// For Cranelift's registers.
fn options() -> CodegenOptions {
    options_for(Isa::Portable)
}

fn options_for(isa: Isa) -> CodegenOptions {
    CodegenOptions { verify: true, isa }
}

/// The instruction sets with wider registers that this machine has.
fn wider() -> impl Iterator<Item = Isa> {
    [Isa::Avx2, Isa::Avx512]
        .into_iter()
        .filter(|isa| isa.available())
}

/// Those of them whose registers hold lanes of 64 bits.
fn wider_of_64() -> impl Iterator<Item = Isa> {
    wider().filter(|&isa| isa == Isa::Avx2)
}

#[test]
fn random_kernels_of_all_lengths() {
    for length in 0..71 {
        for turn in 0..6 {
            let seed = (length * 100 + turn) as u64;
            let start = [0, 3][turn as usize % 2];
            let (kernel, buffers) = random_kernel(seed, start, length, None);
            let args = [start, start + length];
            compare(&kernel, &buffers, &args, options(), &format!("seed {seed}"));
        }
    }
}

#[test]
fn backward_ranges_do_nothing() {
    for seed in 0..20 {
        let (kernel, buffers) = random_kernel(seed, 40, -30, None);
        compare(
            &kernel,
            &buffers,
            &[40, 10],
            options(),
            &format!("seed {seed}"),
        );
    }
}

/// 256-bit and 512-bit code where the machine has it; the narrow code of the same kernels beside it.
fn have_the_same_bits(lane_bytes: usize, sets: &[Isa]) {
    let (mut wide, mut narrow) = (0, Vec::new());
    for length in 0..71 {
        for turn in 0..6 {
            let seed = 1_000_000 + (length * 100 + turn) as u64;
            let start = [0, 3][turn as usize % 2];
            let (kernel, buffers) = random_kernel(seed, start, length, Some(lane_bytes));
            let args = [start, start + length];
            for &isa in sets {
                match why_narrow(&kernel, isa) {
                    Ok(()) => wide += 1,
                    Err(reason) => narrow.push(reason),
                }
                let what = format!("wide seed {seed} {isa:?}");
                compare(&kernel, &buffers, &args, options_for(isa), &what);
            }
            if turn == 0 {
                let what = format!("narrow seed {seed}");
                compare(&kernel, &buffers, &args, options(), &what);
            }
        }
    }
    narrow.sort();
    narrow.dedup();
    println!("{wide} wide; narrow: {narrow:#?}");
    assert!(
        wide >= 300 * sets.len(),
        "only {wide} are wide: {narrow:#?}"
    );
}

#[test]
fn wide_kernels_have_the_same_bits() {
    have_the_same_bits(4, &wider().collect::<Vec<Isa>>());
}

#[test]
fn wide_kernels_of_64_bits_have_the_same_bits() {
    have_the_same_bits(8, &wider_of_64().collect::<Vec<Isa>>());
}

/// Indices that count the lanes are compared in wide code, with each other and with numbers of
/// 64 bits near and far, in whole vectors and in tails.
fn compare_indices(elem: Elem, sets: &[Isa]) {
    use aec_kernels::lir::Comparison as C;
    let numbers = [i64::MIN, -70, -3, 0, 7, 16, 40, 91, 1 << 40, i64::MAX];
    for op in [C::Eq, C::Ne, C::Lt, C::Le, C::Gt, C::Ge] {
        for (step, other) in [(1, 0), (1, 3), (-2, 0), (-2, 1), (5, 5), (0, 1)] {
            let mut kernel = Kernel::default();
            let mut buffer = |elem, access, name: &str| {
                kernel.buffers.push(Buffer {
                    elem,
                    access,
                    name: name.to_owned(),
                })
            };
            let from = buffer(Elem::I64, Access::Read, "numbers");
            let to = buffer(elem, Access::Write, "holds");
            let row = kernel.vars.push(VarData);
            let lane = kernel.vars.push(VarData);
            let at = |base: i64, vars: &[(Var, i64)]| Affine {
                base,
                vars: vars.iter().copied().filter(|&(_, by)| by != 0).collect(),
                args: Vec::new(),
            };
            let mut value = |kind, elem| kernel.values.push(ValData { kind, elem });
            let number = value(
                ValKind::Load {
                    buffer: from,
                    index: at(0, &[(row, 1)]),
                },
                Elem::I64,
            );
            let one = value(ValKind::Float(1.0), elem);
            let two = value(ValKind::Float(2.0), elem);
            let index = value(ValKind::Index(at(3, &[(lane, step)])), Elem::I64);
            let beside = value(ValKind::Index(at(9, &[(lane, other)])), Elem::I64);
            let near = value(ValKind::Compare(op, index, beside), Elem::Bool);
            let far = value(ValKind::Compare(op, number, index), Elem::Bool);
            let first = value(ValKind::Select(far, two, one), elem);
            let second = value(ValKind::Select(near, first, one), elem);
            let sum = value(ValKind::Binary(LirBinary::Add, first, second), elem);
            let inside = [index, beside, near, far, first, second, sum];
            let mut body: Vec<Stmt> = inside.map(Stmt::Let).to_vec();
            body.push(Stmt::Store {
                buffer: to,
                index: at(0, &[(row, 37), (lane, 1)]),
                value: sum,
            });
            let lanes = Stmt::Loop(Loop {
                var: lane,
                start: Bound::Const(0),
                end: Bound::Const(37),
                lanes: true,
                body,
            });
            let constants = [one, two].map(Stmt::Let);
            let rows = Stmt::Loop(Loop {
                var: row,
                start: Bound::Const(0),
                end: Bound::Const(numbers.len() as i64),
                lanes: false,
                body: vec![Stmt::Let(number), lanes],
            });
            kernel.body = [constants.to_vec(), vec![rows]].concat();
            let buffers = [
                Data::I64(numbers.to_vec()),
                match elem {
                    Elem::F64 => Data::F64(vec![0.0; 37 * numbers.len()]),
                    _ => Data::F32(vec![0.0; 37 * numbers.len()]),
                },
            ];
            let what = format!("{op:?} {step} {other}");
            for &isa in sets {
                let reason = why_narrow(&kernel, isa);
                assert!(reason.is_ok(), "{what} {isa:?}: {reason:?}");
                compare(&kernel, &buffers, &[], options_for(isa), &what);
            }
            compare(&kernel, &buffers, &[], options(), &what);
        }
    }
}

#[test]
fn wide_kernels_compare_indices() {
    compare_indices(Elem::F32, &wider().collect::<Vec<Isa>>());
    compare_indices(Elem::F64, &wider_of_64().collect::<Vec<Isa>>());
}
