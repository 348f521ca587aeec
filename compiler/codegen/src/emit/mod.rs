//! From a loop IR kernel to CLIF: the frame of the function, loops, lanes and accumulators.
//!
//! A lane loop is emitted twice. The vector form handles a whole group of lanes (16, or one register
//! of them where the body is long and no accumulator sees the lanes) in each iteration; a value that
//! varies with the lane is a [`Group`] of registers, one that does not stays a scalar. The scalar form
//! handles what is left, in wide code (see `wide`) a masked vector form. They give the same bits, since
//! every operation is lane-wise and the partial accumulators of the scalar form are the same 16 lanes,
//! kept in a stack slot.
//!
//! Invariants: `vals` only holds values whose `Let` dominates the current block (scoping is
//! lexical, as in loop IR); an [`AccState`] says where an accumulator lives at this point.

mod ahead;
mod draws;
mod lanes;
mod memory;
mod registers;
mod scalar;
mod steps;
mod vector;
mod wide;

pub(crate) use ahead::read_beside;
pub(crate) use lanes::{has_long_chains, keeps_order};
pub(crate) use registers::Registers;
pub(crate) use wide::{Widest, widest};

use self::draws::Runs;
use self::memory::FixedAddress;
use crate::isa::Features;
use aec_kernels::lir::{Acc, Affine, Bound, BufferId, Kernel, Stmt, Val, Var};
use aec_runtime::Elem;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, FuncRef, Function, InstBuilder, MemFlagsData, Signature, StackSlot,
    StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use smallvec::SmallVec;

/// Lanes of the language's reductions.
pub(crate) const LANES: u32 = 16;

/// Runtime functions that kernels call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Extern {
    /// Random f32: `(distribution, place, element, count, out)`. Like all of these it has no more
    /// arguments than registers pass: `widen` knows no others on the stack.
    Draw32,
    /// Random f64.
    Draw64,
    /// `(seed, site) -> key`.
    DrawKey,
    /// `(status, code, masks, details, lanes)`: reports the first lane whose mask is 0.
    CheckLanes,
}

impl Extern {
    /// All of them.
    pub const ALL: [Extern; 4] = [
        Extern::Draw32,
        Extern::Draw64,
        Extern::DrawKey,
        Extern::CheckLanes,
    ];

    /// Its type.
    pub fn signature(self, call_conv: CallConv) -> Signature {
        let (params, results): (&[Type], &[Type]) = match self {
            Extern::Draw32 | Extern::Draw64 => (
                &[types::I32, types::I64, types::I64, types::I64, types::I64],
                &[],
            ),
            Extern::DrawKey => (&[types::I64, types::I64], &[types::I64]),
            Extern::CheckLanes => (
                &[types::I64, types::I64, types::I64, types::I64, types::I64],
                &[],
            ),
        };
        let mut signature = Signature::new(call_conv);
        signature.params = params.iter().map(|&ty| AbiParam::new(ty)).collect();
        signature.returns = results.iter().map(|&ty| AbiParam::new(ty)).collect();
        signature
    }
}

/// The type of kernels: `(buffers, args)`.
pub(crate) fn kernel_signature(call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params = vec![AbiParam::new(types::I64), AbiParam::new(types::I64)];
    signature
}

/// What a kernel is emitted for.
pub(crate) struct Target<'a> {
    /// Of the instruction set.
    pub features: Features,
    /// Of the ABI.
    pub frontend: TargetFrontendConfig,
    /// Cranelift's own, or for `widen` what [`widest`] allows.
    pub registers: Registers,
    /// Imports a runtime function.
    pub import: &'a mut dyn FnMut(&mut Function, Extern) -> FuncRef,
}

/// Fills `func` (its signature set, its body empty) with the kernel's code. Returns what
/// `widen` must know of it.
pub(crate) fn emit_kernel(
    kernel: &Kernel,
    func: &mut Function,
    context: &mut FunctionBuilderContext,
    target: Target<'_>,
) -> Frame {
    let mut builder = FunctionBuilder::new(func, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    let params: Vec<Value> = builder.block_params(entry).to_vec();
    // The tables of pointers and args are only read, and nothing that a kernel stores aliases
    // them.
    let flags = MemFlagsData::trusted().with_readonly().with_can_move();
    let buffers = (0..kernel.buffers.len())
        .map(|at| {
            builder
                .ins()
                .load(types::I64, flags, params[0], 8 * at as i32)
        })
        .collect();
    let args = (0..kernel.arg_count)
        .map(|at| {
            builder
                .ins()
                .load(types::I64, flags, params[1], 8 * at as i32)
        })
        .collect();
    let mut emitter = Emitter {
        kernel,
        b: builder,
        import: target.import,
        imported: Vec::new(),
        flags: if target.features.unaligned_operands {
            MemFlagsData::trusted()
        } else {
            MemFlagsData::new().with_notrap()
        },
        buffers,
        args,
        vars: SecondaryMap::with_default(None),
        depth: 0,
        vals: SecondaryMap::with_default(None),
        accs: (0..kernel.accs.len()).map(|_| AccState::Unset).collect(),
        lanes: None,
        tail_lane: None,
        runs: None,
        place_slot: None,
        loops: Vec::new(),
        slots: Vec::new(),
        registers: target.registers,
        slot_bytes: 0,
        mask_slot: None,
        iota_slot: None,
        masked: Vec::new(),
        tails: 0,
        row_var: None,
        fixed: Vec::new(),
    };
    if emitter.wide() {
        emitter.mask_slot = Some(emitter.lane_slot(Elem::I32));
        emitter.store_iota();
    }
    emitter.body(&kernel.body);
    emitter.b.ins().return_(&[]);
    emitter.b.finalize(target.frontend);
    Frame {
        slot_bytes: emitter.slot_bytes,
        tails: emitter.tails,
        lane_bytes: target.registers.lane_bytes,
    }
}

/// A value in the code.
#[derive(Clone, Debug)]
pub(crate) enum Repr {
    /// One scalar; in a lane loop, the same for all lanes.
    Scalar(Value),
    /// One for each lane.
    Lanes(Group),
}

/// The lanes of a value in registers: F32X4, I32X4, F64X2 or I64X2; for `Bool` masks of 0 and -1, I32X4
/// or in wide code of 64-bit lanes I64X2. In wide code they all stand for more lanes.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub elem: Elem,
    pub regs: SmallVec<[Value; 8]>,
}

/// Where an accumulator lives.
#[derive(Clone, Debug)]
enum AccState {
    Unset,
    /// One scalar.
    Scalar(Variable),
    /// One group: either partial values of an outer accumulator or lane-wise ones.
    Lanes(SmallVec<[Variable; 8]>),
    /// 16 partial values in memory, while a tail runs.
    Slot(StackSlot),
}

/// The lane loop that is being emitted in vector form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneLoop {
    var: Var,
    lanes: u32,
}

pub(crate) struct Emitter<'f, 'k, 'i> {
    kernel: &'k Kernel,
    b: FunctionBuilder<'f>,
    import: &'i mut dyn FnMut(&mut Function, Extern) -> FuncRef,
    imported: Vec<(Extern, FuncRef)>,
    /// Of loads and stores of elements.
    flags: MemFlagsData,
    buffers: PrimaryMap<BufferId, Value>,
    args: Vec<Value>,
    /// Current value of each open loop's variable, and how deep that loop is nested.
    vars: SecondaryMap<Var, Option<(Value, u32)>>,
    depth: u32,
    vals: SecondaryMap<Val, Option<Repr>>,
    accs: PrimaryMap<Acc, AccState>,
    lanes: Option<LaneLoop>,
    /// In a tail: the lane of the current iteration.
    tail_lane: Option<Value>,
    /// What the lane loop that is being emitted draws ahead.
    runs: Option<Runs>,
    /// Where calls for draws find their [`aec_runtime::philox::Place`].
    place_slot: Option<StackSlot>,
    /// The serial loops around what is being emitted, outermost first, and where they end.
    loops: Vec<(Var, Bound)>,
    /// Stack slots that are free to be used for a moment, by size.
    slots: Vec<(u32, StackSlot)>,
    /// See [`Target::registers`].
    registers: Registers,
    /// Size of all stack slots so far.
    slot_bytes: u32,
    /// In wide code: see [`mask_slot`].
    mask_slot: Option<StackSlot>,
    /// In wide code: see `steps`.
    iota_slot: Option<StackSlot>,
    /// In a masked tail: the accumulators whose other lanes must not change.
    masked: Vec<Acc>,
    /// Number of masked tails.
    tails: u32,
    /// In an epilogue: the variable that counts the tile's rows.
    row_var: Option<Var>,
    /// In a lane loop of code that keeps its order: see [`Emitter::fix_addresses`].
    fixed: Vec<FixedAddress>,
}

/// Number of args of a product's epilogue; see `aec_kernels::plan::Gemm::epilogue`.
const EPILOGUE_ARGS: u32 = 6;

/// Stored as an I16, this asks `widen` for a prefetch of the address instead. Nothing else is
/// ever stored as an I16.
pub(crate) const PREFETCH: i16 = 0x5aa5;

/// How `widen` is asked for the upper half of the lanes that count, moved onto the lower: by the
/// four steps of the fixed tree over lanes of 32 bits, the first three for lanes of 64 bits, of which there are
/// half as many. Each is a shuffle of 32-bit lanes that wide code has no other use for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fold {
    /// Lanes 8 to 15 onto 0 to 7.
    Half,
    /// 4 to 7 onto 0 to 3.
    Quarter,
    /// 2 and 3 onto 0 and 1.
    Pair,
    /// 1 onto 0.
    One,
}

/// The steps in order.
pub(crate) const FOLDS: [Fold; 4] = [Fold::Half, Fold::Quarter, Fold::Pair, Fold::One];

impl Fold {
    /// The immediate of the shuffle that asks for it.
    pub(crate) fn marker(self) -> u8 {
        match self {
            Fold::Half => 0b00_01_10_11,
            Fold::Quarter => 0b00_11_10_01,
            Fold::Pair => 0b01_00_11_10,
            Fold::One => 0b10_11_00_01,
        }
    }

    /// The same as places of bytes.
    fn bytes(self) -> [u8; 16] {
        let marker = self.marker();
        std::array::from_fn(|byte| 4 * (marker >> (2 * (byte / 4)) & 3) + (byte % 4) as u8)
    }
}

/// What `widen` must know of a wide function's frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Frame {
    /// Size of the explicit stack slots, which lie at the bottom of the frame.
    pub slot_bytes: u32,
    /// Number of masked tails.
    pub tails: u32,
    /// Of [`Registers`].
    pub lane_bytes: u32,
}

/// The first stack slot of wide code, at the stack pointer. Nothing is kept in it: accesses to
/// it tell `widen` where a masked tail is.
pub(crate) mod mask_slot {
    /// A store of the mask (bit per lane) here begins a tail.
    pub const BEGIN: i32 = 0;
    /// A store here ends it.
    pub const END: i32 = 4;
    /// A load from here is the mask as lanes of 0 and -1.
    pub const LANES: i32 = 16;
}

impl Emitter<'_, '_, '_> {
    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Loop(inner) if inner.lanes => self.lane_loop(inner),
                Stmt::Loop(inner) => {
                    let (start, end) = (self.bound(inner.start), self.bound(inner.end));
                    let rows = (inner.start, inner.end) == (Bound::Arg(0), Bound::Arg(1))
                        || (inner.start, inner.end) == (Bound::Const(0), Bound::Arg(4));
                    let outer = self.row_var;
                    if rows && self.kernel.arg_count == EPILOGUE_ARGS {
                        self.row_var = Some(inner.var);
                    }
                    self.loops.push((inner.var, inner.end));
                    self.count(start, end, 1, |this, at| {
                        this.with_var(inner.var, at, |this| this.body(&inner.body));
                    });
                    self.loops.pop();
                    self.row_var = outer;
                }
                Stmt::Let(val) => {
                    let repr = self.value(*val);
                    self.vals[*val] = Some(repr);
                }
                Stmt::Store {
                    buffer,
                    index,
                    value,
                } => self.store(*buffer, index, *value),
                Stmt::StoreAt {
                    buffer,
                    index,
                    at,
                    stride,
                    value,
                } => self.store_at(*buffer, index, *at, *stride, *value),
                Stmt::Init(acc) => self.init(*acc),
                Stmt::Accumulate(acc, val) => self.accumulate(*acc, *val),
                Stmt::Check {
                    ok,
                    status,
                    code,
                    detail,
                } => self.check(*ok, *status, *code, *detail),
            }
        }
    }

    /// `for at in (start..end).step_by(step) { body }`, tested at the bottom.
    fn count(&mut self, start: Value, end: Value, step: i64, body: impl FnOnce(&mut Self, Value)) {
        let inside = self.b.create_block();
        let after = self.b.create_block();
        let at = self.b.append_block_param(inside, types::I64);
        self.branch_if_less(start, end, inside, after);
        self.b.switch_to_block(inside);
        self.depth += 1;
        body(self, at);
        self.depth -= 1;
        let next = self.b.ins().iadd_imm_s(at, step);
        self.branch_if_less(next, end, inside, after);
        self.b.seal_block(inside);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }

    fn branch_if_less(&mut self, at: Value, end: Value, inside: Block, after: Block) {
        let less = self.b.ins().icmp(IntCC::SignedLessThan, at, end);
        let args = [BlockArg::Value(at)];
        self.b.ins().brif(less, inside, &args, after, &[]);
    }

    fn with_var(&mut self, var: Var, at: Value, body: impl FnOnce(&mut Self)) {
        self.vars[var] = Some((at, self.depth));
        body(self);
        self.vars[var] = None;
    }

    fn bound(&mut self, bound: Bound) -> Value {
        match bound {
            Bound::Const(value) => self.b.ins().iconst(types::I64, value),
            Bound::Arg(at) => self.args[at as usize],
            Bound::Block { of, size } => self.block_start(of, size),
            Bound::BlockEnd { of, size, limit } => {
                let start = self.block_start(of, size);
                let end = self.b.ins().iadd_imm_s(start, size);
                let limit = self.b.ins().iconst(types::I64, limit);
                self.b.ins().smin(end, limit)
            }
        }
    }

    fn block_start(&mut self, of: Var, size: i64) -> Value {
        let (at, _) = self.vars[of].expect("blocks are bounds inside of their loop");
        self.b.ins().imul_imm_s(at, size)
    }

    /// The function, imported once.
    fn import(&mut self, which: Extern) -> FuncRef {
        if let Some(&(_, func)) = self.imported.iter().find(|(known, _)| *known == which) {
            return func;
        }
        let func = (self.import)(self.b.func, which);
        self.imported.push((which, func));
        func
    }

    /// A stack slot for 16 lanes of `elem` (`Bool` as I32 masks), not shared.
    fn lane_slot(&mut self, elem: Elem) -> StackSlot {
        self.stack_slot(LANES * slot_stride(elem) as u32)
    }

    /// A stack slot of so many bytes, a multiple of 16.
    fn stack_slot(&mut self, bytes: u32) -> StackSlot {
        self.slot_bytes += bytes;
        self.b
            .create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4))
    }

    /// A stack slot for a moment: the next call with the same size may return the same.
    fn scratch(&mut self, elem: Elem, which: u32) -> StackSlot {
        let key = slot_stride(elem) as u32 * 16 + which;
        if let Some(&(_, slot)) = self.slots.iter().find(|(known, _)| *known == key) {
            return slot;
        }
        let slot = self.lane_slot(elem);
        self.slots.push((key, slot));
        slot
    }

    /// Whether the code is for `widen`.
    fn wide(&self) -> bool {
        self.registers.wide()
    }

    /// Where a group's n-th register lies in memory, in bytes after the first.
    fn reg_offset(&self, at: usize) -> i32 {
        self.registers.bytes() as i32 * at as i32
    }

    /// The coefficient of the lane variable; 0 outside lane loops.
    fn lane_coefficient(&self, index: &Affine) -> i64 {
        self.lanes.map_or(0, |lane_loop| {
            index
                .vars
                .iter()
                .filter(|(var, _)| *var == lane_loop.var)
                .map(|&(_, coefficient)| coefficient)
                .sum()
        })
    }
}

/// Bytes of a lane in a stack slot.
fn slot_stride(elem: Elem) -> i64 {
    match elem {
        Elem::F32 | Elem::I32 | Elem::Bool => 4,
        Elem::F64 | Elem::I64 => 8,
    }
}

fn walk<'s>(body: &'s [Stmt], visit: &mut impl FnMut(&'s Stmt)) {
    for stmt in body {
        visit(stmt);
        if let Stmt::Loop(inner) = stmt {
            walk(&inner.body, visit);
        }
    }
}
