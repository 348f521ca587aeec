//! Compiled plans and their execution.
//!
//! An [`Executable`] is a plan with its machine code, shared by any number of streams; an
//! [`Instance`] is the memory of one stream. All pointers and shares of work are worked out when
//! an instance is made; a run walks a flat list of steps, allocates nothing and decides nothing,
//! and its results do not depend on the number of threads.

#![allow(unsafe_code)]

use crate::jit::{Code, CodegenError, CodegenOptions, kernel_text};
use crate::memory::{Block, Room, read_tensor, tensor_bytes};
use crate::resolve::{Action, Resolver, Rounds, all_loops, kept_panels, list_buffers};
use crate::sort;
use aec_ir::{BadIndex, Type};
use aec_kernels::lir::Kernel;
use aec_kernels::plan::{
    BufferRef, CheckInfo, Condition, Kept, MatrixCall, Place, Plan, bad_matrix,
};
use aec_runtime::gemm::Isa;
use aec_runtime::interrupt;
use aec_runtime::levels::{Trees, most_rounds, order};
use aec_runtime::linalg::{self, BadMatrix, Factors};
use aec_runtime::pool::{Pool, flush_denormals};
use aec_runtime::{Elem, Tensor, gemm};
use aec_syntax::Span;
use cranelift_entity::{EntityRef, PrimaryMap};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A plan and its machine code.
pub struct Executable {
    pub(crate) plan: Plan,
    pub(crate) code: Code,
    options: CodegenOptions,
}

impl Executable {
    /// Compiles the kernels of a plan.
    pub fn compile(plan: Plan, options: CodegenOptions) -> Result<Arc<Executable>, CodegenError> {
        Executable::compile_on(&Pool::new(1), plan, options)
    }

    /// The same on the threads of a pool, which the code does not depend on.
    pub fn compile_on(
        pool: &Pool,
        plan: Plan,
        options: CodegenOptions,
    ) -> Result<Arc<Executable>, CodegenError> {
        let kernels: Vec<&Kernel> = plan.kernels.values().collect();
        let code = Code::new(&kernels, options, pool)?;
        Ok(Arc::new(Executable {
            plan,
            code,
            options,
        }))
    }

    /// What was compiled.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Cranelift's input for every kernel, made anew.
    pub fn clif(&self) -> String {
        self.texts(|text| text.clif)
    }

    /// The machine code of every kernel as text, made anew.
    pub fn disassembly(&self) -> String {
        self.texts(|text| text.machine)
    }

    fn texts(&self, part: impl Fn(crate::jit::KernelText) -> String) -> String {
        let mut all = String::new();
        for (id, kernel) in &self.plan.kernels {
            let text = match kernel_text(kernel, self.options) {
                Ok(text) => part(text),
                Err(error) => error.to_string(),
            };
            all.push_str(&format!("; {id:?} {}\n{text}\n", kernel.name));
        }
        all
    }
}

/// Why a run stopped. Memory of aliased inputs is as it was before the run if the plan has a
/// guard before the step that writes them and the guard (or a check before it) failed.
#[derive(Clone, PartialEq, Debug)]
pub enum RunError {
    /// A guarded scalar is NaN or infinite.
    NotFinite {
        /// The script text to blame.
        span: Span,
        /// What it is.
        value: f64,
    },
    /// A check failed, such as an index out of range.
    Check {
        /// The script text to blame.
        span: Span,
        /// What is wrong.
        bad: BadIndex,
    },
    /// A step of linear algebra met a matrix that has no result.
    Matrix {
        /// The script text to blame.
        span: Span,
        /// Which, and why.
        bad: BadMatrix,
    },
    /// Ctrl-C came while a loop went round; only where [`Instance::stop_on_interrupt`] says so.
    Interrupted,
    /// The plan could not be compiled; only from [`run_once`]'s callers that compile too.
    Codegen(CodegenError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Interrupted => f.write_str("interrupted"),
            RunError::NotFinite { value, .. } => write!(f, "the value is {value}"),
            RunError::Check { bad, .. } => bad.fmt(f),
            RunError::Matrix { bad, .. } => bad.fmt(f),
            RunError::Codegen(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// The memory of one stream of execution. Everything starts as zeros.
pub struct Instance {
    exe: Arc<Executable>,
    pool: Arc<Pool>,
    isa: Isa,
    /// Inputs, outputs, status cells and arena, one after the other.
    block: Block,
    inputs: Vec<*mut u8>,
    /// Tensors that stand for inputs instead of the block's memory.
    bound: Vec<Option<Arc<Tensor>>>,
    outputs: Vec<*mut u8>,
    status: *mut i64,
    arena: *mut u8,
    /// Pointers of all steps' buffers; actions hold places in it, epilogues point into it.
    table: Box<[Cell<*mut u8>]>,
    actions: Vec<Action>,
    /// Whether loops end early when Ctrl-C comes.
    stops: bool,
}

// SAFETY: the pointers lead into `block`, into bound tensors and into the plan's constants, all
// kept alive by the instance and only written through `&mut self`.
unsafe impl Send for Instance {}

impl Instance {
    /// Memory for one stream of runs, whose kernels and products are shared out on `pool`.
    /// `isa` must be available.
    pub fn new(exe: Arc<Executable>, pool: Arc<Pool>, isa: Isa) -> Instance {
        let plan = &exe.plan;
        let mut layout = Layout::default();
        let input_places: Vec<usize> = plan.inputs.iter().map(|ty| layout.add(bytes(ty))).collect();
        let output_places: Vec<Option<usize>> = plan
            .outputs
            .iter()
            .enumerate()
            .map(|(at, ty)| {
                let aliased = plan.aliases.iter().any(|&(result, _)| result == at);
                let own = plan
                    .buffers
                    .values()
                    .any(|buffer| buffer.place == Place::Output(at as u32));
                (own || !aliased).then(|| layout.add(bytes(ty)))
            })
            .collect();
        let status = layout.add(2 * size_of::<i64>());
        let arena = layout.add(plan.arena_bytes);
        let block = Block::zeroed(layout.size);
        let inputs: Vec<*mut u8> = input_places.iter().map(|&at| block.at(at)).collect();
        let outputs = output_places
            .iter()
            .enumerate()
            .map(|(at, place)| match place {
                Some(place) => block.at(*place),
                None => {
                    let alias = plan.aliases.iter().find(|&&(result, _)| result == at);
                    inputs[alias.map_or(0, |&(_, input)| input)]
                }
            })
            .collect();
        let mut instance = Instance {
            bound: vec![None; inputs.len()],
            inputs,
            outputs,
            status: block.at(status).cast(),
            arena: block.at(arena),
            block,
            table: Box::default(),
            stops: false,
            actions: Vec::new(),
            exe,
            pool,
            isa,
        };
        instance.resolve();
        instance
    }

    /// The executable.
    pub fn executable(&self) -> &Arc<Executable> {
        &self.exe
    }

    /// Bytes of memory that this instance holds.
    pub fn memory_bytes(&self) -> usize {
        self.block.len()
    }

    /// Copies a tensor into the memory of input `i`. Its type must be the input's.
    pub fn set_input(&mut self, i: usize, tensor: &Tensor) {
        self.assert_fits(i, tensor);
        self.unbind(i);
        self.input_bytes_mut(i)
            .copy_from_slice(tensor_bytes(tensor));
    }

    /// [`Instance::set_input`] where nothing was ever set or run: zeros are there, and of a tensor
    /// that was made of them no page is touched.
    pub fn set_first_input(&mut self, i: usize, tensor: &Tensor) {
        match tensor.is_untouched_zeros() {
            true => self.assert_fits(i, tensor),
            false => self.set_input(i, tensor),
        }
    }

    /// Lets input `i` be this tensor from now on, without a copy. Its type must be the input's,
    /// and the plan must not write the input.
    pub fn bind_input(&mut self, i: usize, tensor: Arc<Tensor>) {
        self.assert_fits(i, &tensor);
        if (self.bound[i].as_ref()).is_some_and(|bound| Arc::ptr_eq(bound, &tensor)) {
            return;
        }
        let written = self.exe.plan.aliases.iter().any(|&(_, input)| input == i);
        assert!(!written, "input {i} is written by the plan");
        self.inputs[i] = tensor.as_ptr().cast_mut();
        self.bound[i] = Some(tensor);
        self.forget_panels(i);
        self.resolve();
    }

    fn unbind(&mut self, i: usize) {
        self.forget_panels(i);
        if self.bound[i].take().is_some() {
            self.inputs[i] = self.block.at(self.input_places()[i]);
            self.resolve();
        }
    }

    /// Where inputs lie in the block.
    fn input_places(&self) -> Vec<usize> {
        let mut layout = Layout::default();
        let inputs = self.exe.plan.inputs.iter();
        inputs.map(|ty| layout.add(bytes(ty))).collect()
    }

    /// Lets go of the tensors that stand for inputs, but for those of which panels were made.
    pub fn unbind_all_but_panels(&mut self) {
        let panels: Vec<usize> = self.panels().map(|(input, _)| input).collect();
        let places = self.input_places();
        for (i, bound) in self.bound.iter_mut().enumerate() {
            if !panels.contains(&i) && bound.take().is_some() {
                self.inputs[i] = self.block.at(places[i]);
            }
        }
        self.resolve();
    }

    /// The panels that outlive a run: their inputs, and whether they are made.
    fn panels(&self) -> impl Iterator<Item = (usize, &Cell<bool>)> {
        self.actions.iter().filter_map(kept_panels)
    }

    /// Input `i` is going to change.
    fn forget_panels(&mut self, i: usize) {
        for (input, made) in self.panels() {
            made.set(made.get() && input != i);
        }
    }

    fn assert_fits(&self, i: usize, tensor: &Tensor) {
        let ty = &self.exe.plan.inputs[i];
        assert!(
            tensor.elem() == ty.elem && tensor.dims() == &ty.dims[..],
            "input {i} of {} is {} {:?}, not {} {:?}",
            self.exe.plan.name,
            ty.elem,
            ty.dims,
            tensor.elem(),
            tensor.dims(),
        );
    }

    /// The memory of input `i`, to be filled; it may hold results of earlier runs.
    pub fn input_bytes_mut(&mut self, i: usize) -> &mut [u8] {
        self.unbind(i);
        // SAFETY: the block has so many bytes there, and `&mut self` keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.inputs[i], bytes(&self.exe.plan.inputs[i])) }
    }

    /// What input `i` holds now.
    pub fn input(&self, i: usize) -> Tensor {
        // SAFETY: `inputs[i]` leads to initialised memory of this type.
        unsafe { read_tensor(&self.exe.plan.inputs[i], self.inputs[i]) }
    }

    /// What the first `count` inputs hold, of an instance that is not run again. Memory is given back as it
    /// is copied, from the end, so that there is never twice as much.
    pub fn into_inputs(mut self, count: usize) -> Vec<Tensor> {
        let places = self.input_places();
        let mut tensors: Vec<Tensor> = (0..count)
            .rev()
            .map(|i| {
                if self.bound[i].is_none() {
                    let behind = places[i] + bytes(&self.exe.plan.inputs[i]);
                    self.block.discard_from(behind);
                }
                self.input(i)
            })
            .collect();
        tensors.reverse();
        tensors
    }

    /// Result `i` of the last run. An aliased one is what the input holds now.
    pub fn output(&self, i: usize) -> Tensor {
        // SAFETY: `outputs[i]` leads to initialised memory of this type.
        unsafe { read_tensor(&self.exe.plan.outputs[i], self.outputs[i]) }
    }

    /// The results of a last run. They are written to where they stay: none has memory twice.
    pub fn into_outputs(mut self) -> Result<Vec<Tensor>, RunError> {
        let exe = Arc::clone(&self.exe);
        let mut rooms: Vec<Option<Room>> = (exe.plan.outputs.iter().enumerate())
            .map(|(at, ty)| {
                let aliased = exe.plan.aliases.iter().any(|&(result, _)| result == at);
                (!aliased).then(|| Room::new(ty))
            })
            .collect();
        for (output, room) in self.outputs.iter_mut().zip(&mut rooms) {
            if let Some(room) = room {
                *output = room.start();
            }
        }
        self.resolve();
        self.run()?;
        let results = rooms.into_iter().zip(&exe.plan.outputs).enumerate();
        Ok(results
            .map(|(at, (room, ty))| match room {
                // SAFETY: a run writes all elements of its results.
                Some(room) => unsafe { room.into_tensor(&ty.dims) },
                None => self.output(at),
            })
            .collect())
    }

    /// The bytes of result `i` of the last run.
    pub fn output_bytes(&self, i: usize) -> &[u8] {
        // SAFETY: as in `output`.
        unsafe { std::slice::from_raw_parts(self.outputs[i], bytes(&self.exe.plan.outputs[i])) }
    }

    /// The first element of result `i` as f64, without an allocation; 0 if it is empty.
    pub fn output_scalar(&self, i: usize) -> f64 {
        let ty = &self.exe.plan.outputs[i];
        if ty.is_empty() {
            return 0.0;
        }
        // SAFETY: there is at least one element of the type.
        unsafe { scalar_at(ty.elem, self.outputs[i]) }
    }

    /// Runs all steps.
    pub fn run(&mut self) -> Result<(), RunError> {
        // SAFETY: the status cells are two i64 of the block.
        unsafe {
            self.status.write(0);
            self.status.add(1).write(i64::MAX);
        }
        let _denormals = flush_denormals();
        for action in &self.actions {
            self.act(action)?;
        }
        self.check_status()
    }

    /// Runs all steps and adds the nanoseconds of each to its record in `times`.
    pub fn run_timed(&mut self, times: &mut Vec<Vec<f64>>) -> Result<(), RunError> {
        // SAFETY: as in `run`.
        unsafe {
            self.status.write(0);
            self.status.add(1).write(i64::MAX);
        }
        let _denormals = flush_denormals();
        times.resize(self.actions.len(), Vec::new());
        for (action, record) in self.actions.iter().zip(times) {
            let start = Instant::now();
            self.act(action)?;
            record.push(start.elapsed().as_nanos() as f64);
        }
        self.check_status()
    }

    fn act(&self, action: &Action) -> Result<(), RunError> {
        match action {
            Action::Kernel { func, at } => {
                // SAFETY: the table holds the kernel's pointers from `at` on, as its
                // buffers ask; it takes no args.
                unsafe { func(self.table[*at..].as_ptr().cast(), [0i64; 2].as_ptr()) };
            }
            Action::SharedKernel {
                func,
                at,
                extent,
                grain,
                parts,
            } => {
                let units = extent.div_ceil(*grain);
                let table = Shared(self.table[*at..].as_ptr().cast());
                let run_part = |part: usize| {
                    let low = (part * units / parts * grain).min(*extent);
                    let high = ((part + 1) * units / parts * grain).min(*extent);
                    let args = [low as i64, high as i64];
                    // SAFETY: as above; the plan says that disjoint ranges may run at the
                    // same time.
                    unsafe { func(table.get(), args.as_ptr()) };
                };
                if *parts == 1 {
                    run_part(0);
                } else {
                    self.pool.run(*parts, run_part);
                }
            }
            Action::Gemm32(product) => {
                let (call, batch) = product.call(&self.table, |at| self.int(at));
                // SAFETY: the plan's matrices lie inside their buffers and do not overlap.
                unsafe { gemm::gemm_batched_f32(&call, &batch, self.isa, &self.pool) };
            }
            Action::Gemm64(product) => {
                let (call, batch) = product.call(&self.table, |at| self.int(at));
                // SAFETY: as above.
                unsafe { gemm::gemm_batched_f64(&call, &batch, self.isa, &self.pool) };
            }
            Action::Pack32(packing) if packing.made.get() => {}
            Action::Pack32(packing) => {
                packing.made.set(packing.kept.is_some());
                let (from, to) = packing.places(&self.table);
                // SAFETY: the plan's matrix lies inside its buffer, and the panels are as large
                // as it needs.
                unsafe { gemm::panels_f32(to, from, packing.k, packing.n, self.isa) };
            }
            Action::Pack64(packing) if packing.made.get() => {}
            Action::Pack64(packing) => {
                packing.made.set(packing.kept.is_some());
                let (from, to) = packing.places(&self.table);
                // SAFETY: as above.
                unsafe { gemm::panels_f64(to, from, packing.k, packing.n, self.isa) };
            }
            Action::Copy { at, bytes } => {
                let (from, to) = (self.table[*at].get(), self.table[at + 1].get());
                // SAFETY: both buffers have so many bytes.
                unsafe { std::ptr::copy(from.cast_const(), to, *bytes) };
            }
            Action::ArgSort {
                elem,
                at,
                rows,
                len,
                keep,
            } => {
                let (from, to) = (self.table[*at].get(), self.table[at + 1].get());
                let rows = sort::Rows {
                    count: *rows,
                    len: *len,
                    keep: *keep,
                };
                // SAFETY: both buffers have `rows * len` elements.
                unsafe { sort::argsort(*elem, from.cast_const(), to.cast(), rows) };
            }
            Action::Levels {
                at,
                call,
                batches,
                scratch,
            } => {
                let all = batches * call.together;
                let most = most_rounds(call.together, call.nodes, call.rows);
                let ints = |nth: usize| self.table[at + nth].get().cast::<i64>();
                // SAFETY: the buffers are tables of so many i64, and the result overlaps no other.
                let (left, right, count, to) = unsafe {
                    let table = |nth, len| std::slice::from_raw_parts(ints(nth).cast_const(), len);
                    (
                        table(0, all * call.nodes),
                        table(1, all * call.nodes),
                        table(2, all),
                        std::slice::from_raw_parts_mut(ints(3), batches * 3 * most * call.rows),
                    )
                };
                for batch in 0..*batches {
                    let part = |each: usize| batch * each..(batch + 1) * each;
                    let nodes = part(call.together * call.nodes);
                    let trees = Trees {
                        left: &left[nodes.clone()],
                        right: &right[nodes],
                        count: &count[part(call.together)],
                        nodes: call.nodes,
                    };
                    let to = &mut to[part(3 * most * call.rows)];
                    order(trees, call.rows, to, &mut scratch.borrow_mut());
                }
            }
            Action::Loop(rounds) => self.rounds(rounds)?,
            Action::Matrix {
                call,
                elem,
                at,
                span,
            } => {
                self.check_status()?;
                let [a, b, to] = [0, 1, 2].map(|nth| self.table[at + nth].get());
                let factors = match call.factors {
                    Some(_) => self.table[at + 3].get(),
                    None => std::ptr::null_mut(),
                };
                let outcome = match elem {
                    // SAFETY: the buffers hold matrices of the call's shape, and the result
                    // overlaps neither operand.
                    Elem::F64 => unsafe {
                        call_matrix::<f64>(call, [a, b], to, factors, &self.pool)
                    },
                    // SAFETY: as above.
                    Elem::F32 => unsafe {
                        call_matrix::<f32>(call, [a, b], to, factors, &self.pool)
                    },
                    Elem::I32 | Elem::I64 | Elem::Bool => Ok(()),
                };
                outcome.map_err(|bad| RunError::Matrix { span: *span, bad })?;
            }
            Action::Settle => self.check_status()?,
            Action::Guard { elem, at, span } => {
                self.check_status()?;
                // SAFETY: the buffer is a scalar.
                let value = unsafe { scalar_at(*elem, self.table[*at].get()) };
                if !value.is_finite() {
                    return Err(RunError::NotFinite { span: *span, value });
                }
            }
        }
        Ok(())
    }

    /// Lets Ctrl-C end the loops of further runs, between two rounds. What such a run leaves in
    /// inputs that it updates is neither old nor new, so a training does not want this.
    pub fn stop_on_interrupt(&mut self) {
        self.stops = true;
    }

    /// Goes round; afterwards the entries that moved are where they were.
    fn rounds(&self, rounds: &Rounds) -> Result<(), RunError> {
        let mut done = 0;
        let mut outcome = Ok(());
        let count = self.limit(rounds);
        let skipped = match rounds.reverse {
            true => rounds.count - count,
            false => 0,
        };
        self.advance(rounds, skipped as isize);
        while done < count && outcome.is_ok() {
            if self.stops && interrupt::requested() {
                outcome = Err(RunError::Interrupted);
                break;
            }
            if let Some(len) = rounds.exit {
                let flags = self.table[rounds.at + 1].get().cast_const();
                // SAFETY: the buffer has so many bools, of one byte each.
                let all = (0..len).all(|at| unsafe { flags.add(at).read() } != 0);
                if all {
                    break;
                }
            }
            let index = match rounds.reverse {
                true => count - 1 - done,
                false => done,
            };
            // SAFETY: the index is an i64 scalar of the arena.
            unsafe {
                self.table[rounds.at]
                    .get()
                    .cast::<i64>()
                    .write(index as i64)
            };
            outcome = rounds
                .actions
                .iter()
                .try_for_each(|action| self.act(action));
            done += 1;
            self.advance(rounds, 1);
        }
        self.advance(rounds, -((done + skipped) as isize));
        outcome
    }

    /// An i64 scalar that the table leads to.
    fn int(&self, at: usize) -> i64 {
        // SAFETY: limits, for which alone this is called, are i64 scalars of the plan's memory.
        unsafe { self.table[at].get().cast::<i64>().read() }
    }

    /// How many rounds are run; zeros are put for what the others would yield.
    fn limit(&self, rounds: &Rounds) -> usize {
        if !rounds.limited {
            return rounds.count;
        }
        let mut at = rounds.at + 1 + usize::from(rounds.exit.is_some());
        let count = self.int(at).clamp(0, rounds.count as i64) as usize;
        for bytes in &rounds.yields {
            at += 1;
            let left = (rounds.count - count) * bytes;
            // SAFETY: the stack has `rounds.count` entries of so many bytes.
            unsafe {
                let rest = self.table[at].get().add(count * bytes);
                rest.write_bytes(0, left);
            }
        }
        count
    }

    fn advance(&self, rounds: &Rounds, by: isize) {
        for &(at, stride) in &rounds.moves {
            let entry = &self.table[at];
            entry.set(entry.get().wrapping_offset(by * stride));
        }
    }

    fn check_status(&self) -> Result<(), RunError> {
        // SAFETY: the status cells are two i64 of the block; no kernel is running.
        let (code, detail) = unsafe { (self.status.read(), self.status.add(1).read()) };
        if code == 0 {
            return Ok(());
        }
        let info = usize::try_from(code - 1)
            .ok()
            .and_then(|at| self.exe.plan.checks.get(at));
        let Some(&CheckInfo { span, condition }) = info else {
            let unknown = format!("check {code} has no meaning");
            return Err(RunError::Codegen(CodegenError(unknown)));
        };
        Err(match condition {
            Condition::Index { fault, size } => RunError::Check {
                span,
                bad: BadIndex {
                    fault,
                    index: detail,
                    size,
                },
            },
            Condition::Matrix { op, batch, size } => RunError::Matrix {
                span,
                bad: bad_matrix(op, batch, size, detail),
            },
        })
    }

    /// Works out the table of pointers and the actions.
    fn resolve(&mut self) {
        let exe = Arc::clone(&self.exe);
        let plan = &exe.plan;
        let mut places: PrimaryMap<BufferRef, *mut u8> = PrimaryMap::new();
        for buffer in plan.buffers.values() {
            places.push(match &buffer.place {
                Place::Input(at) => self.inputs[*at as usize],
                Place::Output(at) => self.outputs[*at as usize],
                // SAFETY: the plan's offsets lie inside its arena.
                Place::Arena(offset) => unsafe { self.arena.add(*offset) },
                Place::Constant(tensor) => tensor.as_ptr().cast_mut(),
                Place::Status => self.status.cast(),
                Place::Slot { .. } => std::ptr::null_mut(),
            });
        }
        // Slots begin where their loop's first round is.
        let mut loops = Vec::new();
        all_loops(&plan.steps, &mut loops);
        for looped in loops {
            for &slot in &looped.slots {
                if let Place::Slot { of, stride } = plan.buffers[slot].place {
                    let first = match looped.reverse {
                        true => looped.count.saturating_sub(1) * stride,
                        false => 0,
                    };
                    places[slot] = places[of].wrapping_add(first);
                }
            }
        }

        let mut listed = Vec::new();
        list_buffers(plan, &plan.steps, &mut listed);
        self.table = listed
            .iter()
            .map(|id| Cell::new(id.map_or(std::ptr::null_mut(), |id| places[id])))
            .collect();

        let resolver = Resolver {
            exe: &exe,
            listed: &listed,
            table: &self.table,
            threads: self.pool.threads(),
        };
        let mut at = 0;
        let actions = resolver.actions(&plan.steps, &mut at);
        // The panels are where they were.
        for ((_, made), (_, before)) in actions.iter().filter_map(kept_panels).zip(self.panels()) {
            made.set(before.get());
        }
        self.actions = actions;
    }
}

/// A table of pointers that several threads read.
struct Shared(*const *mut u8);

// SAFETY: the table is not written while a run lasts.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *const *mut u8 {
        self.0
    }
}

/// Places one after the other, each aligned to a cache line and followed by room to read beyond.
#[derive(Default)]
struct Layout {
    size: usize,
}

impl Layout {
    fn add(&mut self, bytes: usize) -> usize {
        let at = self.size;
        self.size += bytes.next_multiple_of(64) + 64;
        at
    }
}

/// Bytes of a value of a type.
pub(crate) fn bytes(ty: &Type) -> usize {
    ty.len() * ty.elem.bytes()
}

/// # Safety
/// `a`, `b` and `to` point at initialised matrices of `T` of the call's shape, `factors` at room for
/// those that it shares, if it does; what is written overlaps no other.
unsafe fn call_matrix<T: linalg::Element>(
    call: &MatrixCall,
    [a, b]: [*mut u8; 2],
    to: *mut u8,
    factors: *mut u8,
    pool: &Pool,
) -> Result<(), BadMatrix> {
    let shape = call.shape;
    let (a_len, b_len, to_len) = call.op.lengths(shape);
    let kept = linalg::kept_factors(call.op, shape).map_or(0, |(_, len)| len);
    // SAFETY: the caller's promise.
    let (a, b, to, factors) = unsafe {
        (
            std::slice::from_raw_parts(a.cast::<T>(), a_len),
            std::slice::from_raw_parts(b.cast::<T>(), b_len),
            std::slice::from_raw_parts_mut(to.cast::<T>(), to_len),
            match call.factors {
                Some(Kept::Made(_)) => {
                    Factors::Keep(std::slice::from_raw_parts_mut(factors.cast(), kept))
                }
                Some(Kept::Known(_)) => {
                    Factors::Known(std::slice::from_raw_parts(factors.cast(), kept))
                }
                None => Factors::Own,
            },
        )
    };
    linalg::apply_with(call.op, shape, a, b, factors, to, pool)
}

/// # Safety
/// `at` points at an element of type `elem`.
unsafe fn scalar_at(elem: Elem, at: *const u8) -> f64 {
    // SAFETY: by the contract above.
    unsafe {
        match elem {
            Elem::F32 => f64::from(at.cast::<f32>().read()),
            Elem::F64 => at.cast::<f64>().read(),
            Elem::I32 => f64::from(at.cast::<i32>().read()),
            Elem::I64 => at.cast::<i64>().read() as f64,
            Elem::Bool => f64::from(at.read()),
        }
    }
}

/// Runs an executable once on one thread.
pub fn run_once(exe: &Arc<Executable>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, RunError> {
    let mut instance = Instance::new(Arc::clone(exe), Arc::new(Pool::new(1)), Isa::best());
    for (at, tensor) in inputs.iter().enumerate() {
        instance.set_input(at, tensor);
    }
    instance.into_outputs()
}

/// Runs one kernel alone: `buffers[i]` is the memory of its i-th buffer. For tests and tools.
///
/// Every index that the kernel forms must lie inside its buffer, which must be as large as the
/// kernel's loops ask.
pub fn run_kernel(
    kernel: &Kernel,
    buffers: &mut [Tensor],
    args: &[i64],
    options: CodegenOptions,
) -> Result<(), CodegenError> {
    let code = Code::new(&[kernel], options, &Pool::new(1))?;
    assert_eq!(buffers.len(), kernel.buffers.len(), "one tensor a buffer");
    for (id, buffer) in &kernel.buffers {
        assert_eq!(buffers[id.index()].elem(), buffer.elem, "{id:?}");
    }
    assert_eq!(args.len(), kernel.arg_count as usize);
    let pointers: Vec<*mut u8> = buffers.iter_mut().map(Tensor::as_mut_ptr).collect();
    let _denormals = flush_denormals();
    // SAFETY: types fit by the assertions; the caller vouches for the extents.
    unsafe { code.function(0)(pointers.as_ptr(), args.as_ptr()) };
    Ok(())
}
