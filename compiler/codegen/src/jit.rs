//! Machine code of a set of kernels: one Cranelift module, freed when it is dropped.

#![allow(unsafe_code)]

use crate::emit::{self, Extern, Frame, Registers, Target, Widest};
use crate::isa::{self, Targets};
use crate::widen::{ALIGNMENT, Widened, Wider, disassemble, widen};
use aec_kernels::lir::{Kernel, ValKind};
use aec_runtime::gemm::Isa;
use aec_runtime::philox;
use aec_runtime::pool::{Pool, flush_denormals};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::{ExtFuncData, ExternalName, Function, UserExternalName, UserFuncName};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::{CompiledCode, Context};
use cranelift_entity::EntityRef;
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{
    FuncId, Linkage, Module, ModuleReloc, ModuleRelocTarget, default_libcall_names,
};
use std::cmp::Reverse;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A compiled kernel: `(buffers, args)`.
pub type KernelFn = unsafe extern "C" fn(buffers: *const *mut u8, args: *const i64);

/// Choices of code generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodegenOptions {
    /// Check the intermediate code for consistency (slow; on in debug builds).
    pub verify: bool,
    /// Whose registers lane loops are compiled for, at most: on a machine without it, and where a
    /// kernel has something that cannot be widened, the next narrower one.
    pub isa: Isa,
}

impl Default for CodegenOptions {
    fn default() -> CodegenOptions {
        CodegenOptions {
            verify: cfg!(debug_assertions),
            isa: Isa::best(),
        }
    }
}

/// Why no machine code could be made: a defect of the compiler or an unsupported machine, never
/// the script's fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodegenError(pub String);

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodegenError {}

/// What compiling one kernel gave, for dumps.
#[derive(Clone, Debug)]
pub struct KernelText {
    /// The kernel's name.
    pub name: String,
    /// The code before Cranelift's passes.
    pub clif: String,
    /// The machine code, as text.
    pub machine: String,
}

/// Machine code of kernels.
pub(crate) struct Code {
    module: ManuallyDrop<JITModule>,
    functions: Vec<KernelFn>,
}

// SAFETY: after `Code::new` the module is not touched until it is freed on drop; the functions
// are immutable machine code.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: `module` is not used again. The functions' addresses live in `self` and in
        // instances, which hold the `Executable` that owns `self`.
        unsafe { ManuallyDrop::take(&mut self.module).free_memory() };
    }
}

impl Code {
    /// Compiles the kernels, on the threads of the pool; equal ones only once.
    pub(crate) fn new(
        kernels: &[&Kernel],
        options: CodegenOptions,
        pool: &Pool,
    ) -> Result<Code, CodegenError> {
        let targets = Targets::native(options.verify)?;
        let moved = targets.moved.clone();
        let call_conv = moved.default_call_conv();
        let mut builder = JITBuilder::with_isa(moved, default_libcall_names());
        for which in Extern::ALL {
            builder.symbol(symbol(which), address(which));
        }
        builder.symbols(libcalls());
        let mut code = Code {
            module: ManuallyDrop::new(JITModule::new(builder)),
            functions: Vec::new(),
        };
        // From here on `code` frees the module, whatever happens.
        let externs = code.declare_externs(call_conv)?;
        // For each kernel, the first that has the same code.
        let firsts: Vec<usize> = (0..kernels.len())
            .map(|at| {
                let same = (0..at).find(|&other| same_code(kernels[at], kernels[other]));
                same.unwrap_or(at)
            })
            .collect();
        let mut jobs: Vec<usize> = (0..kernels.len()).filter(|&at| firsts[at] == at).collect();
        // The longest first, lest one of them be left to a single thread in the end.
        jobs.sort_by_key(|&at| Reverse(kernels[at].values.len()));
        let compiler = Compiler {
            targets: &targets,
            options,
            externs,
            scratch: Mutex::new(Vec::new()),
        };
        let done: Vec<OnceLock<Result<MachineCode, CodegenError>>> =
            (0..kernels.len()).map(|_| OnceLock::new()).collect();
        pool.run(jobs.len(), |job| {
            let at = jobs[job];
            let _ = done[at].set(compiler.kernel(at, kernels[at]));
        });
        let mut ids: Vec<FuncId> = Vec::with_capacity(kernels.len());
        for (at, done) in done.into_iter().enumerate() {
            let id = match done.into_inner() {
                Some(machine) => code.define(at, kernels[at], machine?)?,
                None => ids[firsts[at]],
            };
            ids.push(id);
        }
        code.module.finalize_definitions().map_err(describe)?;
        code.functions = ids
            .iter()
            .map(|&id| {
                let start = code.module.get_finalized_function(id);
                // SAFETY: the function was compiled with `kernel_signature`, which is this type.
                unsafe { std::mem::transmute::<*const u8, KernelFn>(start) }
            })
            .collect();
        Ok(code)
    }

    /// Their numbers in the module.
    fn declare_externs(
        &mut self,
        call_conv: CallConv,
    ) -> Result<[u32; Extern::ALL.len()], CodegenError> {
        let mut numbers = [0; Extern::ALL.len()];
        for which in Extern::ALL {
            let id = self
                .module
                .declare_function(symbol(which), Linkage::Import, &which.signature(call_conv))
                .map_err(describe)?;
            numbers[which as usize] = id.as_u32();
        }
        Ok(numbers)
    }

    fn define(
        &mut self,
        at: usize,
        kernel: &Kernel,
        machine: MachineCode,
    ) -> Result<FuncId, CodegenError> {
        let name = format!("aec:{}#{at}", kernel.name);
        let call_conv = self.module.isa().default_call_conv();
        let id = self
            .module
            .declare_function(&name, Linkage::Local, &emit::kernel_signature(call_conv))
            .map_err(describe)?;
        let MachineCode {
            bytes,
            alignment,
            mut relocs,
        } = machine;
        for reloc in &mut relocs {
            if let ModuleRelocTarget::FunctionOffset(own, _) = &mut reloc.name {
                *own = id;
            }
        }
        self.module
            .define_function_bytes(id, alignment, &bytes, &relocs)
            .map_err(describe)?;
        Ok(id)
    }

    /// The n-th kernel's code.
    pub(crate) fn function(&self, at: usize) -> KernelFn {
        self.functions[at]
    }
}

/// A compiled kernel that is not in memory yet.
struct MachineCode {
    bytes: Vec<u8>,
    alignment: u64,
    relocs: Vec<ModuleReloc>,
}

/// Compiles kernels one by one, on any thread.
struct Compiler<'a> {
    targets: &'a Targets,
    options: CodegenOptions,
    /// The numbers of runtime functions in the module.
    externs: [u32; Extern::ALL.len()],
    /// Memory of kernels that are done, for others.
    scratch: Mutex<Vec<Scratch>>,
}

struct Scratch {
    context: Context,
    builder: FunctionBuilderContext,
}

impl Compiler<'_> {
    fn kernel(&self, at: usize, kernel: &Kernel) -> Result<MachineCode, CodegenError> {
        let kept = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = kept().pop().unwrap_or_else(Scratch::new);
        let machine = self.kernel_with(&mut scratch, at, kernel);
        kept().push(scratch);
        machine
    }

    fn kernel_with(
        &self,
        scratch: &mut Scratch,
        at: usize,
        kernel: &Kernel,
    ) -> Result<MachineCode, CodegenError> {
        for (wider, registers) in widths(self.options.isa, kernel) {
            let isa = self.targets.of(kernel, registers);
            let frame = scratch.emit(at, kernel, isa, registers, self.externs);
            scratch.compile(kernel, isa)?;
            let code = scratch.context.compiled_code().ok_or_else(no_code)?;
            if let Ok(Widened { bytes, relocs }) = widen_code(code, frame, wider) {
                let moved = scratch.relocs().into_iter().zip(relocs);
                return Ok(MachineCode {
                    bytes,
                    alignment: ALIGNMENT,
                    relocs: moved
                        .map(|(reloc, offset)| ModuleReloc { offset, ..reloc })
                        .collect(),
                });
            }
        }
        let isa = self.targets.of(kernel, Registers::NARROW);
        scratch.emit(at, kernel, isa, Registers::NARROW, self.externs);
        scratch.compile(kernel, isa)?;
        let code = scratch.context.compiled_code().ok_or_else(no_code)?;
        Ok(MachineCode {
            bytes: code.code_buffer().to_vec(),
            alignment: u64::from(code.buffer.alignment),
            relocs: scratch.relocs(),
        })
    }
}

impl Scratch {
    fn new() -> Scratch {
        Scratch {
            context: Context::new(),
            builder: FunctionBuilderContext::new(),
        }
    }

    /// Writes a kernel for Cranelift.
    fn emit(
        &mut self,
        at: usize,
        kernel: &Kernel,
        isa: &OwnedTargetIsa,
        registers: Registers,
        externs: [u32; Extern::ALL.len()],
    ) -> Frame {
        let call_conv = isa.default_call_conv();
        self.context.clear();
        self.context.func = empty(at, call_conv);
        emit::emit_kernel(
            kernel,
            &mut self.context.func,
            &mut self.builder,
            Target {
                features: isa::features(isa),
                frontend: isa.frontend_config(),
                registers,
                import: &mut |func, which| {
                    let name = func.declare_imported_user_function(UserExternalName {
                        namespace: 0,
                        index: externs[which as usize],
                    });
                    let signature = func.import_signature(which.signature(call_conv));
                    func.import_function(ExtFuncData {
                        name: ExternalName::user(name),
                        signature,
                        colocated: false,
                        patchable: false,
                    })
                },
            },
        )
    }

    /// Addresses that the compiled code lacks; `define` fills in the kernel's own number.
    fn relocs(&self) -> Vec<ModuleReloc> {
        let (func, own) = (&self.context.func, FuncId::from_u32(0));
        let relocs = self
            .context
            .compiled_code()
            .map(|code| code.buffer.relocs());
        let relocs = relocs.unwrap_or_default().iter();
        relocs
            .map(|reloc| ModuleReloc::from_mach_reloc(reloc, func, own))
            .collect()
    }

    fn compile(&mut self, kernel: &Kernel, isa: &OwnedTargetIsa) -> Result<(), CodegenError> {
        // Numbers are folded as kernels compute, whatever thread this is.
        let _denormals = flush_denormals();
        self.context
            .compile(isa.as_ref(), &mut Default::default())
            .map_err(|error| CodegenError(format!("kernel {}: {:?}", kernel.name, error.inner)))?;
        Ok(())
    }
}

fn widen_code(code: &CompiledCode, frame: Frame, wider: Wider) -> Result<Widened, String> {
    let relocs = code.buffer.relocs();
    // Others would need more than a new place.
    if relocs.iter().any(|reloc| reloc.kind != Reloc::Abs8) {
        return Err("a relative address".to_owned());
    }
    let places: Vec<u32> = relocs.iter().map(|reloc| reloc.offset).collect();
    widen(code.code_buffer(), &places, frame, wider)
}

fn no_code() -> CodegenError {
    CodegenError("no code".to_owned())
}

fn empty(at: usize, call_conv: CallConv) -> Function {
    Function::with_name_signature(
        UserFuncName::user(0, at as u32),
        emit::kernel_signature(call_conv),
    )
}

/// The code of one kernel as text: Cranelift's input and the machine code.
pub fn kernel_text(kernel: &Kernel, options: CodegenOptions) -> Result<KernelText, CodegenError> {
    let targets = Targets::native(options.verify)?;
    let mut text = KernelText {
        name: kernel.name.clone(),
        clif: String::new(),
        machine: String::new(),
    };
    for (wider, registers) in widths(options.isa, kernel) {
        let (context, clif, frame) = compile_alone(kernel, &targets, registers)?;
        let code = context.compiled_code().ok_or_else(no_code)?;
        match widen_code(code, frame, wider) {
            Ok(Widened { bytes, .. }) => {
                let Registers { lanes, lane_bytes } = registers;
                let bits = 8 * lane_bytes;
                text.clif =
                    format!("; every vector stands for {lanes} lanes of {bits} bits\n{clif}");
                text.machine.push_str(&disassemble(&bytes));
                return Ok(text);
            }
            Err(reason) => {
                let bits = 8 * registers.bytes();
                text.machine
                    .push_str(&format!("; not in {bits} bits: {reason}\n"));
            }
        }
    }
    let (context, clif, _) = compile_alone(kernel, &targets, Registers::NARROW)?;
    text.clif = clif;
    if let Some(vcode) = context.compiled_code().and_then(|code| code.vcode.as_ref()) {
        text.machine.push_str(vcode);
    }
    Ok(text)
}

/// Why a kernel is not compiled for the registers of an instruction set that the machine has and
/// that is wider than Cranelift's, or nothing if it is.
pub fn why_narrow(kernel: &Kernel, isa: Isa) -> Result<(), String> {
    let Some(wider) = Wider::of(isa) else {
        return Err("as narrow as can be".to_owned());
    };
    let Widest {
        isa: widest,
        lane_bytes,
    } = emit::widest(kernel);
    if widest < isa {
        return Err("values of several widths, draws, checks or scattered places".to_owned());
    }
    let targets = Targets::native(true).map_err(|error| error.0)?;
    let registers = Registers::of_bytes(wider.bytes(), lane_bytes);
    let (context, _, frame) =
        compile_alone(kernel, &targets, registers).map_err(|error| error.0)?;
    let code = context.compiled_code().ok_or("no code")?;
    widen_code(code, frame, wider).map(|_| ())
}

/// How the kernel may be widened, best first.
fn widths(isa: Isa, kernel: &Kernel) -> impl Iterator<Item = (Wider, Registers)> {
    let Widest {
        isa: widest,
        lane_bytes,
    } = emit::widest(kernel);
    let widest = isa.min(widest);
    Isa::ALL
        .into_iter()
        .rev()
        .filter(move |&wider| wider <= widest && wider.available())
        .filter_map(Wider::of)
        .map(move |wider| (wider, Registers::of_bytes(wider.bytes(), lane_bytes)))
}

/// Compiles one kernel outside of any module. Returns Cranelift's input as text, too.
fn compile_alone(
    kernel: &Kernel,
    targets: &Targets,
    registers: Registers,
) -> Result<(Context, String, Frame), CodegenError> {
    let isa = targets.of(kernel, registers);
    let mut scratch = Scratch::new();
    let externs = std::array::from_fn(|at| at as u32);
    let frame = scratch.emit(0, kernel, isa, registers, externs);
    let clif = scratch.context.func.display().to_string();
    scratch.context.set_disasm(true);
    scratch.compile(kernel, isa)?;
    Ok((scratch.context, clif, frame))
}

/// Whether two kernels have the same code: all but names and spans, floats by their bits.
fn same_code(a: &Kernel, b: &Kernel) -> bool {
    a.arg_count == b.arg_count
        && a.vars.len() == b.vars.len()
        && a.values.len() == b.values.len()
        && a.accs == b.accs
        && a.buffers.len() == b.buffers.len()
        && a.buffers
            .values()
            .zip(b.buffers.values())
            .all(|(a, b)| a.elem == b.elem)
        && a.body == b.body
        && a.values.values().zip(b.values.values()).all(|(a, b)| {
            a.elem == b.elem
                && match (&a.kind, &b.kind) {
                    (ValKind::Float(a), ValKind::Float(b)) => a.to_bits() == b.to_bits(),
                    (a, b) => a == b,
                }
        })
}

fn describe(error: cranelift_module::ModuleError) -> CodegenError {
    CodegenError(error.to_string())
}

fn symbol(which: Extern) -> &'static str {
    match which {
        Extern::Draw32 => "aec_draw_f32",
        Extern::Draw64 => "aec_draw_f64",
        Extern::DrawKey => "aec_draw_key",
        Extern::CheckLanes => "aec_check_lanes",
    }
}

fn address(which: Extern) -> *const u8 {
    match which {
        Extern::Draw32 => philox::aec_draw_f32 as *const u8,
        Extern::Draw64 => philox::aec_draw_f64 as *const u8,
        Extern::DrawKey => philox::aec_draw_key as *const u8,
        Extern::CheckLanes => check_lanes as *const u8,
    }
}

/// Reports the lanes whose mask is 0 in the status cells, unless another check has been reported
/// already.
///
/// # Safety
/// `status` points at two cells, `masks` and `details` at `lanes` ones.
unsafe extern "C" fn check_lanes(
    status: *mut i64,
    code: i64,
    masks: *const i32,
    details: *const i64,
    lanes: i64,
) {
    for lane in 0..lanes as usize {
        // SAFETY: `lane` is below `lanes`; generated code passes its own stack slots.
        let (holds, detail) = unsafe { (*masks.add(lane) != 0, *details.add(lane)) };
        if !holds {
            use std::sync::atomic::{AtomicI64, Ordering};
            // SAFETY: the status cells are only accessed here while a plan runs, by any thread.
            let (cell, detail_cell) = unsafe {
                (
                    AtomicI64::from_ptr(status),
                    AtomicI64::from_ptr(status.add(1)),
                )
            };
            let before = cell.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
            if before.is_ok() || before == Err(code) {
                detail_cell.fetch_min(detail, Ordering::Relaxed);
            }
        }
    }
}

/// What Cranelift calls where the machine lacks an instruction.
fn libcalls() -> Vec<(&'static str, *const u8)> {
    extern "C" fn fmaf(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    extern "C" fn fma(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    extern "C" fn floorf(a: f32) -> f32 {
        a.floor()
    }
    extern "C" fn floor(a: f64) -> f64 {
        a.floor()
    }
    extern "C" fn nearbyintf(a: f32) -> f32 {
        a.round_ties_even()
    }
    extern "C" fn nearbyint(a: f64) -> f64 {
        a.round_ties_even()
    }
    vec![
        ("fmaf", fmaf as *const u8),
        ("fma", fma as *const u8),
        ("floorf", floorf as *const u8),
        ("floor", floor as *const u8),
        ("nearbyintf", nearbyintf as *const u8),
        ("nearbyint", nearbyint as *const u8),
    ]
}

/// Index of a kernel reference.
pub(crate) fn kernel_index(kernel: aec_kernels::plan::KernelRef) -> usize {
    kernel.index()
}
