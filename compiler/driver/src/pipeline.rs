//! From a traced function to a program, as a readable list: passes, plan, machine code. Programs
//! are kept by structure, so that a statement in a loop is compiled once.

use crate::exec::Program;
use crate::memory::{check_interpreted, check_plan, check_values};
use crate::session::Result;
use aec_codegen::{CodegenOptions, Executable};
use aec_ir::{Function, hash_structure};
use aec_runtime::pool::Pool;
use aec_syntax::{Diagnostic, Span};
use aec_transform::{Run, compile_time_passes, run_pass};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// What an observer is shown while a function is compiled.
pub enum Stage<'a> {
    /// The function as it was traced.
    Traced(&'a Function),
    /// The function after a pass, by the pass's name.
    Pass(&'a str, &'a Function),
    /// The function after all passes, and what factorise chose on the way.
    Lowered(&'a Function, &'a Run),
    /// The program: its plan and machine code.
    Executable(&'a Executable),
}

/// Sees every stage of every function that is compiled; the span is the statement's.
pub type Observer = Box<dyn FnMut(Stage<'_>, Span)>;

/// Compiles functions and keeps the programs.
pub struct Compiler {
    threads: usize,
    interpret: bool,
    exact: bool,
    pool: OnceCell<Arc<Pool>>,
    programs: RefCell<HashMap<u128, Rc<Program>>>,
    times: RefCell<Vec<(String, Duration)>>,
    observer: RefCell<Option<Observer>>,
}

/// Passes that the interpreter cannot do without; it runs regions as they stand.
const FOR_INTERPRETER: [&str; 2] = ["derivatives", "stops"];

impl Compiler {
    /// A compiler with an empty cache, for programs on so many threads (0: all cores); `exact`
    /// keeps squares of sums as they are written.
    pub fn new(threads: usize, interpret: bool, exact: bool) -> Compiler {
        Compiler {
            threads,
            interpret,
            exact,
            pool: OnceCell::new(),
            programs: RefCell::default(),
            times: RefCell::default(),
            observer: RefCell::new(None),
        }
    }

    /// Lets `observer` see all that is compiled from now on.
    pub fn observe(&self, observer: Observer) {
        *self.observer.borrow_mut() = Some(observer);
    }

    /// Shows nothing more.
    pub fn stop_observing(&self) {
        *self.observer.borrow_mut() = None;
    }

    /// The threads that programs run on.
    pub fn pool(&self) -> Arc<Pool> {
        let start = || {
            let all = || available_parallelism().map_or(1, usize::from);
            Arc::new(Pool::new(if self.threads == 0 {
                all()
            } else {
                self.threads
            }))
        };
        self.pool.get_or_init(start).clone()
    }

    /// Time spent by step, in the order of first use.
    pub fn times(&self) -> Vec<(String, Duration)> {
        self.times.borrow().clone()
    }

    /// Runs `work` and books its time under `name`.
    pub fn timed<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.book(name, start.elapsed());
        result
    }

    fn book(&self, name: &str, time: Duration) {
        let mut times = self.times.borrow_mut();
        match times.iter_mut().find(|(known, _)| known == name) {
            Some((_, total)) => *total += time,
            None => times.push((name.to_string(), time)),
        }
    }

    fn show(&self, stage: Stage<'_>, span: Span) {
        if let Some(observer) = self.observer.borrow_mut().as_mut() {
            observer(stage, span);
        }
    }

    /// The program of a function; `span` is the statement that wants it.
    pub fn compile(&self, function: Function, span: Span) -> Result<Rc<Program>> {
        let key = self.timed("hash", || hash_structure(&function));
        // An observer wants to see the stages, so what is known is compiled again for it.
        let observed = self.observer.borrow().is_some();
        if let Some(program) = self.programs.borrow().get(&key).filter(|_| !observed) {
            return Ok(Rc::new(program.at(function)));
        }
        check_values(&function, span)?;
        self.show(Stage::Traced(&function), span);
        let compiled = if self.interpret {
            self.for_interpreter(function, span)
        } else {
            self.to_machine_code(function, span)
        };
        let program = compiled.map(Rc::new).map_err(|mut diagnostic| {
            if let Some(label) = diagnostic.labels.first_mut()
                && label.span.is_none()
            {
                label.span = span;
            }
            Box::new(diagnostic)
        })?;
        self.programs.borrow_mut().insert(key, program.clone());
        Ok(program)
    }

    fn for_interpreter(
        &self,
        traced: Function,
        span: Span,
    ) -> std::result::Result<Program, Diagnostic> {
        let mut expanded = traced.clone();
        let mut run = Run {
            exact: self.exact,
            ..Run::default()
        };
        for name in FOR_INTERPRETER {
            if let Some(result) = self.timed(name, || run_pass(name, &expanded, &mut run)) {
                expanded = result?;
            }
            self.show(Stage::Pass(name, &expanded), span);
        }
        check_interpreted(&expanded, span)?;
        Ok(Program::interpreted(traced, expanded, self.pool()))
    }

    fn to_machine_code(
        &self,
        traced: Function,
        span: Span,
    ) -> std::result::Result<Program, Diagnostic> {
        let mut last = Instant::now();
        let mut run = Run {
            exact: self.exact,
            ..Run::default()
        };
        let lowered = compile_time_passes(traced.clone(), &mut run, &mut |name, function| {
            self.book(name, last.elapsed());
            self.show(Stage::Pass(name, function), span);
            last = Instant::now();
        })?;
        self.show(Stage::Lowered(&lowered, &run), span);
        check_values(&lowered, span)?;
        let plan = self.timed("plan", || {
            aec_kernels::plan(&lowered, &aec_kernels::Options::default())
        })?;
        check_plan(&plan, &lowered, span)?;
        let executable = self
            .timed("codegen", || {
                Executable::compile_on(&self.pool(), plan, CodegenOptions::default())
            })
            .map_err(|error| {
                Diagnostic::error("E0999", span, format!("this is a bug in aec: {error}"))
            })?;
        self.show(Stage::Executable(&executable), span);
        Ok(Program::compiled(traced, executable, self.pool()))
    }
}
