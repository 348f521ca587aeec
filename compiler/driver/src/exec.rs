//! Programs ready to run, and instances of them that keep their memory between runs. Two back
//! ends answer alike: compiled code and the reference interpreter.

use crate::session::Result;
use aec_codegen::{Executable, RunError};
use aec_ir::interpret::{InterpretError, Precision, interpret};
use aec_ir::rewrite::for_each_function;
use aec_ir::{BadIndex, Fault, Function, Guard, Op};
use aec_kernels::plan::{Plan, Step, StepKind};
use aec_kernels::report::step_text;
use aec_runtime::gemm::Isa;
use aec_runtime::linalg::BadMatrix;
use aec_runtime::pool::Pool;
use aec_runtime::rows::copy_rows;
use aec_runtime::{Data, Tensor};
use aec_syntax::{Diagnostic, Span};
use aec_types::Value;
use aec_types::value::Repr;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Why a run gave no result.
#[derive(Clone, PartialEq, Debug)]
pub enum Failure {
    /// A guarded value was not finite; nothing was written.
    NotFinite {
        /// The script text to blame.
        span: Span,
    },
    /// A check failed, such as an index out of range.
    Check {
        /// The script text to blame.
        span: Span,
        /// What is wrong.
        bad: BadIndex,
    },
    /// Linear algebra met a matrix that has no result.
    Matrix {
        /// The script text to blame.
        span: Span,
        /// Which, and why.
        bad: BadMatrix,
    },
    /// Ctrl-C.
    Interrupted,
    /// A rule of our own was broken.
    Internal(String),
}

impl Failure {
    /// As a message to the user; `span` is the statement.
    pub fn diagnostic(self, span: Span) -> Box<Diagnostic> {
        let at = |inner: Span| if inner.is_none() { span } else { inner };
        Box::new(match self {
            Failure::NotFinite { span: inner } => {
                Diagnostic::error("E0801", at(inner), "the loss is not a finite number")
            }
            Failure::Check { span: inner, bad } => {
                let code = match bad.fault {
                    Fault::Index | Fault::Beyond => "E0802",
                    Fault::Unobserved => "E0322",
                    Fault::Chance => "E0316",
                };
                Diagnostic::error(code, at(inner), bad.to_string()).help(bad.help())
            }
            Failure::Matrix { span: inner, bad } => {
                explained(Diagnostic::error("E0804", at(inner), bad.to_string()), &bad)
            }
            Failure::Interrupted => Diagnostic::error(INTERRUPTED, span, "interrupted"),
            Failure::Internal(message) => {
                Diagnostic::error("E0999", span, format!("this is a bug in aec: {message}"))
            }
        })
    }
}

/// A message about a matrix with its cause and its cure.
fn explained(error: Diagnostic, bad: &BadMatrix) -> Diagnostic {
    let error = match bad.note() {
        Some(note) => error.note(note),
        None => error,
    };
    error.help(bad.help())
}

/// Where the matrices of a place in the script stand: in the batch of so many examples, with so many
/// matrices for each; none if not in a batch.
fn matrices_at(
    f: &Function,
    span: Span,
    around: Option<[usize; 2]>,
    found: &mut Vec<Option<[usize; 2]>>,
) {
    for &inst in &f.order {
        let data = &f.insts[inst];
        match &data.op {
            Op::Matrix(_) if data.span == span => {
                let dims = f.dims(data.operands[0]);
                let own: usize = dims[..dims.len().saturating_sub(2)].iter().product();
                found.push(around.map(|[examples, each]| [examples, each * own]));
            }
            Op::Map {
                size,
                is_batch,
                body,
                ..
            } => {
                let around = match around {
                    Some([examples, each]) => Some([examples, each * size]),
                    None => is_batch.then_some([*size, 1]),
                };
                matrices_at(body, span, around, found);
            }
            op => {
                if let Some(body) = op.body() {
                    matrices_at(body, span, around, found);
                }
            }
        }
    }
}

/// The code of what is nobody's error: the run was stopped.
pub(crate) const INTERRUPTED: &str = "E0891";

/// A program: what one TIR function became.
pub struct Program {
    /// The function as it was traced.
    traced: Function,
    /// For a program out of the cache: the one it was compiled for, of the same structure but
    /// with the spans of another place.
    compiled_for: Option<Rc<Program>>,
    code: Rc<Code>,
    pool: Arc<Pool>,
}

enum Code {
    Interpreted(Function),
    Compiled {
        executable: Arc<Executable>,
        /// Memory of the last single run, if it was small enough to keep.
        idle: RefCell<Option<aec_codegen::Instance>>,
        /// Whether there was a single run: most programs of a script have one, and the memory of
        /// thousands would add up.
        ran: Cell<bool>,
    },
}

/// Instances of up to so many bytes are kept between single runs, from the second one on; larger ones
/// take their inputs where they are and are freed.
const KEEP: usize = 1 << 20;
/// The same for those that have made panels of inputs, such as the weights of a net that decodes.
const KEEP_PANELS: usize = 1 << 26;

impl Program {
    /// Whether both are the same code, perhaps from different places of a script.
    pub(crate) fn has_code_of(&self, other: &Program) -> bool {
        Rc::ptr_eq(&self.code, &other.code)
    }

    /// A program that the interpreter runs.
    pub(crate) fn interpreted(traced: Function, function: Function, pool: Arc<Pool>) -> Program {
        Program {
            traced,
            compiled_for: None,
            code: Rc::new(Code::Interpreted(function)),
            pool,
        }
    }

    /// A program of machine code.
    pub(crate) fn compiled(
        traced: Function,
        executable: Arc<Executable>,
        pool: Arc<Pool>,
    ) -> Program {
        let code = Code::Compiled {
            executable,
            idle: RefCell::new(None),
            ran: Cell::new(false),
        };
        Program {
            traced,
            compiled_for: None,
            code: Rc::new(code),
            pool,
        }
    }

    /// The same code for a function of the same structure that stands elsewhere in the script.
    pub(crate) fn at(self: &Rc<Program>, traced: Function) -> Program {
        Program {
            traced,
            compiled_for: Some(self.clone()),
            code: self.code.clone(),
            pool: self.pool.clone(),
        }
    }

    /// Puts a failure of shared code where this function stands in the script.
    fn relocate(&self, failure: Failure) -> Failure {
        let Some(original) = &self.compiled_for else {
            return failure;
        };
        let place = |span: Span| {
            let spans = |f: &Function| {
                let mut all = Vec::new();
                for_each_function(f, &mut |f| {
                    all.extend(f.order.iter().map(|&inst| f.insts[inst].span));
                    all.extend(f.guards.iter().map(|guard| guard.span));
                });
                all
            };
            let (old, new) = (spans(&original.traced), spans(&self.traced));
            let at = old.iter().position(|&known| known == span);
            at.and_then(|at| new.get(at)).copied().unwrap_or(span)
        };
        match failure {
            Failure::NotFinite { span } => Failure::NotFinite { span: place(span) },
            Failure::Check { span, bad } => Failure::Check {
                span: place(span),
                bad,
            },
            Failure::Matrix { span, bad } => Failure::Matrix {
                span: place(span),
                bad,
            },
            Failure::Interrupted => Failure::Interrupted,
            Failure::Internal(message) => Failure::Internal(message),
        }
    }

    /// Runs once on tensors in memory.
    pub fn run(&self, inputs: &[Arc<Tensor>], span: Span) -> Result<Vec<Arc<Tensor>>> {
        let outputs = match &*self.code {
            Code::Interpreted(function) => {
                let inputs: Vec<Tensor> = inputs.iter().map(|input| (**input).clone()).collect();
                run_interpreter(function, &inputs)
            }
            Code::Compiled {
                executable,
                idle,
                ran,
            } => self.run_compiled(executable, idle, ran.replace(true), inputs),
        };
        match outputs {
            Ok(outputs) => Ok(outputs.into_iter().map(Arc::new).collect()),
            Err(failure) => Err(self.relocate(failure).diagnostic(span)),
        }
    }

    fn run_compiled(
        &self,
        executable: &Arc<Executable>,
        idle: &RefCell<Option<aec_codegen::Instance>>,
        again: bool,
        inputs: &[Arc<Tensor>],
    ) -> std::result::Result<Vec<Tensor>, Failure> {
        let kept = idle.borrow_mut().take();
        let mut instance = kept.unwrap_or_else(|| {
            aec_codegen::Instance::new(executable.clone(), self.pool.clone(), Isa::best())
        });
        let small = again && instance.memory_bytes() <= KEEP;
        let panels =
            again && executable.plan().keeps_panels() && instance.memory_bytes() <= KEEP_PANELS;
        for (at, tensor) in inputs.iter().enumerate() {
            if small && !panels || self.writes(at) {
                instance.set_input(at, tensor);
            } else {
                instance.bind_input(at, tensor.clone());
            }
        }
        instance.stop_on_interrupt();
        if !small && !panels {
            return instance.into_outputs().map_err(failure);
        }
        instance.run().map_err(failure)?;
        let outputs = (0..executable.plan().outputs.len())
            .map(|at| instance.output(at))
            .collect();
        if panels {
            instance.unbind_all_but_panels();
        }
        *idle.borrow_mut() = Some(instance);
        Ok(outputs)
    }

    /// Whether a result takes the place of an input.
    fn writes(&self, at: usize) -> bool {
        match &*self.code {
            Code::Interpreted(_) => false,
            Code::Compiled { executable, .. } => {
                let mut aliases = executable.plan().aliases.iter();
                aliases.any(|&(_, input)| input == at)
            }
        }
    }

    /// Memory for repeated runs, on the given threads or those of the session.
    pub fn instance(self: &Rc<Program>, pool: Option<Arc<Pool>>) -> Instance {
        let memory = match &*self.code {
            Code::Interpreted(_) => {
                let zeros = |values: &[aec_ir::Value]| -> Vec<Tensor> {
                    let zero =
                        |&value| Tensor::zeros(self.traced.ty(value).elem, self.traced.dims(value));
                    values.iter().map(zero).collect()
                };
                Memory::Interpreted {
                    inputs: zeros(&self.traced.params),
                    outputs: zeros(&self.traced.results),
                }
            }
            Code::Compiled { executable, .. } => Memory::Compiled(aec_codegen::Instance::new(
                executable.clone(),
                pool.unwrap_or_else(|| self.pool.clone()),
                Isa::best(),
            )),
        };
        Instance {
            program: self.clone(),
            memory,
        }
    }
}

/// A program with its inputs and outputs in memory. After a run, an output that is aliased to an
/// input is found in that input.
pub struct Instance {
    program: Rc<Program>,
    memory: Memory,
}

/// What a run of a plan has to do.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Work {
    /// The steps, with the floating-point operations of each.
    pub steps: Vec<(String, f64)>,
    /// Operations of the matrix products.
    pub product_flop: f64,
    /// Bytes of inputs that are updated in place, once read and once written.
    pub update_bytes: usize,
    /// Bytes that the run lives in.
    pub memory_bytes: usize,
}

impl Work {
    /// Takes in what comes after it in the same step.
    pub(crate) fn add(&mut self, next: Work) {
        self.steps.extend(next.steps);
        self.product_flop += next.product_flop;
        self.update_bytes += next.update_bytes;
        self.memory_bytes += next.memory_bytes;
    }

    fn of(plan: &Plan, memory_bytes: usize) -> Work {
        let updated = plan.aliases.iter().map(|&(_, input)| &plan.inputs[input]);
        Work {
            steps: plan
                .steps
                .iter()
                .map(|step| step_text(plan, &step.kind))
                .collect(),
            product_flop: plan.steps.iter().map(product_flop).sum(),
            update_bytes: updated.map(|ty| 2 * ty.len() * ty.elem.bytes()).sum(),
            memory_bytes,
        }
    }
}

/// Operations of the matrix products of a step.
fn product_flop(step: &Step) -> f64 {
    match &step.kind {
        StepKind::Gemm(gemm) => gemm.flops(),
        StepKind::Loop(looped) => {
            looped.count as f64 * looped.steps.iter().map(product_flop).sum::<f64>()
        }
        StepKind::Kernel { .. }
        | StepKind::Pack(_)
        | StepKind::Copy { .. }
        | StepKind::ArgSort { .. }
        | StepKind::Levels(_)
        | StepKind::Matrix(_)
        | StepKind::Settle
        | StepKind::Guard { .. } => 0.0,
    }
}

enum Memory {
    Interpreted {
        inputs: Vec<Tensor>,
        outputs: Vec<Tensor>,
    },
    Compiled(aec_codegen::Instance),
}

impl Instance {
    /// Bytes of memory that compiled code runs in.
    pub fn memory_bytes(&self) -> usize {
        match &self.memory {
            Memory::Compiled(instance) => instance.memory_bytes(),
            Memory::Interpreted { .. } => 0,
        }
    }

    /// Runs on what the inputs hold.
    pub fn run(&mut self) -> std::result::Result<(), Failure> {
        let result = match (&mut self.memory, &*self.program.code) {
            (Memory::Compiled(instance), _) => instance.run().map_err(failure),
            (Memory::Interpreted { inputs, outputs }, Code::Interpreted(function)) => {
                run_interpreter(function, inputs).map(|results| {
                    *outputs = results;
                    for &(param, result) in &self.program.traced.aliases {
                        inputs[param] = outputs[result].clone();
                    }
                })
            }
            (Memory::Interpreted { .. }, Code::Compiled { .. }) => {
                Err(Failure::Internal("an instance of another program".into()))
            }
        };
        result.map_err(|failure| self.program.relocate(failure))
    }

    /// Runs like [`Instance::run`] and adds the nanoseconds of each step of the plan to its
    /// record. The interpreter has no steps.
    pub fn run_timed(&mut self, times: &mut Vec<Vec<f64>>) -> std::result::Result<(), Failure> {
        match &mut self.memory {
            Memory::Compiled(instance) => {
                let ran = instance.run_timed(times).map_err(failure);
                ran.map_err(|failure| self.program.relocate(failure))
            }
            Memory::Interpreted { .. } => self.run(),
        }
    }

    /// A failure as a message, of a step on batches of examples: `rows` has the number in its data
    /// set of each example, and what to call the set, for each batch of the step.
    pub(crate) fn diagnostic(
        &self,
        failure: Failure,
        rows: &[(&[usize], &str)],
        span: Span,
    ) -> Box<Diagnostic> {
        let Failure::Matrix { span: inner, bad } = &failure else {
            return failure.diagnostic(span);
        };
        if bad.batch == 1 {
            return failure.diagnostic(span);
        }
        let mut found = Vec::new();
        matrices_at(&self.program.traced, *inner, None, &mut found);
        // Of what is the same for all examples there are fewer matrices, and what else may stand
        // there is left alone.
        let each = match found.split_first() {
            Some((Some([examples, each]), others))
                if others.iter().all(|other| *other == found[0]) =>
            {
                (examples * each == bad.batch).then_some((*examples, *each))
            }
            _ => None,
        };
        let mut sets = rows
            .iter()
            .filter(|(rows, _)| each.is_some_and(|(examples, _)| rows.len() == examples));
        let of = match (each, sets.next(), sets.next()) {
            (Some((_, each)), Some((rows, set)), None) => {
                format!("of example {} of {set}", rows[bad.system / each])
            }
            _ => format!("of example {} of its batch", bad.system),
        };
        let message = format!("the matrix {of} {}", bad.verdict());
        let at = if inner.is_none() { span } else { *inner };
        Box::new(explained(Diagnostic::error("E0804", at, message), bad))
    }

    /// What a run has to do; nothing known of it if interpreted.
    pub fn work(&self) -> Work {
        match &self.memory {
            Memory::Compiled(instance) => {
                Work::of(instance.executable().plan(), instance.memory_bytes())
            }
            Memory::Interpreted { .. } => Work::default(),
        }
    }

    /// What the first inputs hold, of an instance that is not run again.
    pub fn into_inputs(self, count: usize) -> Vec<Tensor> {
        match self.memory {
            Memory::Interpreted { mut inputs, .. } => {
                inputs.truncate(count);
                inputs
            }
            Memory::Compiled(instance) => instance.into_inputs(count),
        }
    }

    /// What an input holds.
    pub fn input(&self, at: usize) -> Tensor {
        match &self.memory {
            Memory::Interpreted { inputs, .. } => inputs[at].clone(),
            Memory::Compiled(instance) => instance.input(at),
        }
    }

    /// Fills an input.
    pub fn set_input(&mut self, at: usize, tensor: &Tensor) {
        match &mut self.memory {
            Memory::Interpreted { inputs, .. } => inputs[at] = tensor.clone(),
            Memory::Compiled(instance) => instance.set_input(at, tensor),
        }
    }

    /// Takes an input where it is, as a statement's run does; one that the program writes is copied.
    pub(crate) fn give(&mut self, at: usize, tensor: &Arc<Tensor>) {
        match &mut self.memory {
            Memory::Compiled(instance) if !self.program.writes(at) => {
                instance.bind_input(at, tensor.clone());
            }
            Memory::Compiled(_) | Memory::Interpreted { .. } => self.set_input(at, tensor),
        }
    }

    /// Fills an input of an instance that has never run, for the first time.
    pub fn set_first_input(&mut self, at: usize, tensor: &Tensor) {
        match &mut self.memory {
            Memory::Interpreted { inputs, .. } => inputs[at] = tensor.clone(),
            Memory::Compiled(instance) => instance.set_first_input(at, tensor),
        }
    }

    /// Fills an input with an int.
    pub fn set_int(&mut self, at: usize, value: i64) {
        self.set_ints(at, &[], std::iter::once(value));
    }

    /// Fills an i64 input.
    pub fn set_ints(&mut self, at: usize, dims: &[usize], values: impl Iterator<Item = i64>) {
        match &mut self.memory {
            Memory::Interpreted { inputs, .. } => inputs[at] = Tensor::i64(dims, values.collect()),
            Memory::Compiled(instance) => {
                let slots = instance
                    .input_bytes_mut(at)
                    .chunks_exact_mut(size_of::<i64>());
                for (slot, value) in slots.zip(values) {
                    slot.copy_from_slice(&value.to_ne_bytes());
                }
            }
        }
    }

    /// Fills an input of reals.
    pub fn set_reals(&mut self, at: usize, dims: &[usize], values: impl Iterator<Item = f64>) {
        let traced = &self.program.traced;
        let elem = traced.ty(traced.params[at]).elem;
        self.set_input(at, &Tensor::from_f64(elem, dims, values));
    }

    /// Fills an input with rows of `from` (its first axis), one for each of `rows`.
    pub fn set_rows(&mut self, at: usize, from: &Tensor, rows: &[usize]) {
        match &mut self.memory {
            Memory::Interpreted { inputs, .. } => gather_rows(from, rows, &mut inputs[at]),
            Memory::Compiled(instance) => {
                let bytes: &[u8] = match from.data() {
                    Data::F32(values) => bytemuck::cast_slice(values),
                    Data::F64(values) => bytemuck::cast_slice(values),
                    Data::I32(values) => bytemuck::cast_slice(values),
                    Data::I64(values) => bytemuck::cast_slice(values),
                    Data::Bool(values) => values,
                };
                copy_rows(bytes, rows, instance.input_bytes_mut(at));
            }
        }
    }

    /// The first element of an output.
    pub fn output_scalar(&self, at: usize) -> f64 {
        match &self.memory {
            Memory::Interpreted { outputs, .. } => outputs[at].get_f64(0),
            Memory::Compiled(instance) => instance.output_scalar(at),
        }
    }
}

fn failure(error: RunError) -> Failure {
    match error {
        RunError::NotFinite { span, .. } => Failure::NotFinite { span },
        RunError::Check { span, bad } => Failure::Check { span, bad },
        RunError::Matrix { span, bad } => Failure::Matrix { span, bad },
        RunError::Interrupted => Failure::Interrupted,
        RunError::Codegen(error) => Failure::Internal(error.to_string()),
    }
}

/// The elements of a known tensor, as its type says (constants are held with more digits).
pub fn elements(value: &Value) -> Option<Arc<Tensor>> {
    let tensor = value.tensor()?;
    let (Repr::Static(host) | Repr::Concrete(host)) = &tensor.repr else {
        return None;
    };
    if host.elem() == tensor.ty.elem {
        return Some(host.clone());
    }
    let values = host.to_f64_vec();
    Some(Arc::new(Tensor::from_f64(
        tensor.ty.elem,
        host.dims(),
        values,
    )))
}

/// Evaluates a function and then its guards.
fn run_interpreter(
    function: &Function,
    inputs: &[Tensor],
) -> std::result::Result<Vec<Tensor>, Failure> {
    let mut guarded = function.clone();
    guarded
        .results
        .extend(function.guards.iter().map(|guard| guard.value));
    let interpreted = interpret(&guarded, inputs, Precision::AsTyped);
    let mut results = interpreted.map_err(|error| match error {
        InterpretError::OutOfRange { bad, span } => Failure::Check { span, bad },
        InterpretError::Matrix { bad, span } => Failure::Matrix { span, bad },
        InterpretError::Invalid(_)
        | InterpretError::Inputs(_)
        | InterpretError::Derivative { .. } => Failure::Internal(error.to_string()),
    })?;
    let values = results.split_off(function.results.len());
    let bad: Option<&Guard> = function
        .guards
        .iter()
        .zip(&values)
        .find(|(_, value)| !(0..value.len()).all(|at| value.get_f64(at).is_finite()))
        .map(|(guard, _)| guard);
    match bad {
        Some(guard) => Err(Failure::NotFinite { span: guard.span }),
        None => Ok(results),
    }
}

/// Copies rows of `from` (its first axis) into `to`, one for each of `rows`.
pub fn gather_rows(from: &Tensor, rows: &[usize], to: &mut Tensor) {
    match (from.data(), to.data_mut()) {
        (Data::F32(from), Data::F32(to)) => copy_rows(from, rows, to),
        (Data::F64(from), Data::F64(to)) => copy_rows(from, rows, to),
        (Data::I32(from), Data::I32(to)) => copy_rows(from, rows, to),
        (Data::I64(from), Data::I64(to)) => copy_rows(from, rows, to),
        (Data::Bool(from), Data::Bool(to)) => copy_rows(from, rows, to),
        _ => debug_assert!(false, "element types differ"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aec_runtime::Elem;

    #[test]
    fn rows_are_gathered_in_order() {
        let from = Tensor::f32(&[3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut to = Tensor::zeros(Elem::F32, &[2, 2]);
        gather_rows(&from, &[2, 0], &mut to);
        assert_eq!(to, Tensor::f32(&[2, 2], vec![5.0, 6.0, 1.0, 2.0]));
        let scalars = Tensor::i64(&[3], vec![7, 8, 9]);
        let mut one = Tensor::zeros(Elem::I64, &[1]);
        gather_rows(&scalars, &[1], &mut one);
        assert_eq!(one, Tensor::i64(&[1], vec![8]));
    }
}
