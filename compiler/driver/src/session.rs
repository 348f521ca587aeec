//! A session: one elaborator, and the world that answers it. The world owns what outlives a
//! statement: compiled programs, the output, and whether the user wants to stop.

use crate::exec::INTERRUPTED;
use crate::pipeline::Compiler;
use crate::{effects, format, memory, stdlib, train};
use aec_runtime::{Elem, Tensor, interrupt};
use aec_syntax::ast::{Ident, Item, ItemKind};
use aec_syntax::{Diagnostic, SourceMap, Span};
use aec_types::{EffectArgs, Elaborator, Host, TrainRequest, Value};
use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// What elaboration and running give, or why they can't.
pub type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// Choices of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that kernels run on; 0 takes all cores. Results do not depend on it.
    pub threads: usize,
    /// Run the reference interpreter instead of compiled code.
    pub interpret: bool,
    /// Keep squares of sums as they are written (no Gram matrices).
    pub exact: bool,
    /// Root of the script's draws.
    pub seed: u64,
    /// What `real` and `[n]` mean.
    pub float: Elem,
    /// Folders in which files to be read are looked for after the current one; `use` looks in
    /// the first.
    pub look_in: Vec<PathBuf>,
    /// Whether to show progress on standard error.
    pub progress: bool,
    /// Compile trainings without running them, and leave files alone (for `aec show`).
    pub dry: bool,
    /// Times the first training's steps instead of training to the end.
    pub bench: Option<Rc<crate::bench::BenchClock>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            threads: 0,
            interpret: false,
            exact: false,
            seed: 0,
            float: Elem::F32,
            look_in: Vec::new(),
            progress: false,
            dry: false,
            bench: None,
        }
    }
}

/// Why a run ends that is nobody's error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Ctrl-C.
    Interrupted,
    /// Nobody reads standard output any more.
    ClosedPipe,
}

/// The world around an elaborator.
pub struct World {
    /// Choices of the command line.
    pub options: Options,
    /// Compiles and keeps programs.
    pub compiler: Compiler,
    out: RefCell<Box<dyn Write>>,
    stop: Cell<Option<Stop>>,
    /// A training was interrupted: what follows may still save, but not train.
    training_interrupted: Cell<bool>,
    sources: OnceCell<Rc<RefCell<SourceMap>>>,
}

impl World {
    /// Why the run was stopped, if it was.
    pub fn stopped(&self) -> Option<Stop> {
        self.stop
            .get()
            .or(self.training_interrupted.get().then_some(Stop::Interrupted))
    }

    /// Notes why the run stops; the error is what unwinds the script.
    pub fn stop(&self, stop: Stop, span: Span) -> Box<Diagnostic> {
        self.stop.set(Some(stop));
        let message = match stop {
            Stop::Interrupted => "interrupted",
            Stop::ClosedPipe => "nobody reads the output any more",
        };
        Box::new(Diagnostic::error(INTERRUPTED, span, message))
    }

    /// Takes the user's wish to stop, if there is one.
    pub fn take_interrupt(&self) -> bool {
        let requested = interrupt::requested();
        if requested {
            interrupt::clear();
        }
        requested
    }

    /// Notes that a training was interrupted and its weights kept.
    pub fn note_interrupted_training(&self) {
        self.training_interrupted.set(true);
    }

    /// Forgets that anything was interrupted (the REPL goes on).
    pub fn forget_stop(&self) {
        self.stop.set(None);
        self.training_interrupted.set(false);
        interrupt::clear();
    }

    /// Writes to standard output.
    pub fn write(&self, text: &str, span: Span) -> Result<()> {
        let mut out = self.out.borrow_mut();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(self.stop(Stop::ClosedPipe, span))
            }
            Err(error) => Err(Box::new(Diagnostic::error(
                "E0892",
                span,
                format!("cannot write to standard output: {error}"),
            ))),
        }
    }

    /// The file that a script names for reading: as given, else beside the script and so on.
    pub fn find_file(&self, name: &str) -> PathBuf {
        let path = Path::new(name);
        if path.is_absolute() || path.exists() {
            return path.to_path_buf();
        }
        self.options
            .look_in
            .iter()
            .map(|folder| folder.join(path))
            .find(|path| path.exists())
            .unwrap_or_else(|| path.to_path_buf())
    }

    /// `file:line:column` of a span.
    pub fn locate(&self, span: Span) -> String {
        match self.sources.get() {
            Some(sources) => sources.borrow().locate(span),
            None => String::new(),
        }
    }
}

impl Host for World {
    fn run(
        &self,
        function: aec_ir::Function,
        inputs: Vec<Arc<Tensor>>,
        span: Span,
    ) -> Result<Vec<Arc<Tensor>>> {
        let program = self.compiler.compile(function, span)?;
        let result = program.run(&inputs, span);
        if let Some(clock) = &self.options.bench {
            clock.ran(&program, inputs, span);
        }
        if result
            .as_ref()
            .is_err_and(|error| error.code == INTERRUPTED)
        {
            self.take_interrupt();
            return Err(self.stop(Stop::Interrupted, span));
        }
        result
    }

    fn effect(
        &self,
        elaborator: &mut Elaborator,
        name: &str,
        args: EffectArgs,
        span: Span,
    ) -> Result<Value> {
        effects::perform(self, elaborator, name, &args, span)
    }

    fn format(&self, value: &Value, spec: Option<&str>, span: Span) -> Result<String> {
        format::with_spec(value, spec)
            .map_err(|message| Box::new(Diagnostic::error("E0815", span, message)))
    }

    fn print(&self, _elaborator: &mut Elaborator, values: &[Value], span: Span) -> Result<()> {
        let mut text = format::beside(values);
        text.push('\n');
        self.write(&text, span)
    }

    fn train(&self, elaborator: &mut Elaborator, request: TrainRequest) -> Result<Value> {
        if self.training_interrupted.get() {
            return Err(self.stop(Stop::Interrupted, request.span));
        }
        train::train(self, elaborator, request)
    }

    fn module(&self, path: &str) -> Option<(String, String)> {
        stdlib::find(path, self.options.look_in.first().map(PathBuf::as_path))
    }

    fn library(&self) -> Vec<String> {
        stdlib::modules().map(str::to_string).collect()
    }

    fn check_interrupt(&self) -> Result<()> {
        // Whoever tries something else after an error is stopped, too.
        if self.take_interrupt() || self.stop.get() == Some(Stop::Interrupted) {
            return Err(self.stop(Stop::Interrupted, Span::NONE));
        }
        Ok(())
    }

    fn check_memory(&self, span: Span) -> Result<()> {
        memory::check_free(span).map_err(Box::new)
    }
}

/// An elaborator with its world.
pub struct Session {
    /// The world.
    pub world: Rc<World>,
    /// The elaborator.
    pub elaborator: Elaborator,
    /// What is wrong with the embedded library: nothing, in a sound build.
    pub faults: Vec<Diagnostic>,
}

/// Under this name, which no script can write, every script holds the module `optim`, where
/// `train` finds its default optimizer.
pub(crate) const OPTIMIZERS: &str = "optim of train";

impl Session {
    /// A session that prints to `out`. It stops on Ctrl-C if [`interrupt::install`] was called.
    pub fn new(options: Options, out: Box<dyn Write>) -> Session {
        let of_types = aec_types::Options {
            float: options.float,
            seed: options.seed,
            dry: options.dry,
        };
        let world = Rc::new(World {
            compiler: Compiler::new(options.threads, options.interpret, options.exact),
            options,
            out: RefCell::new(out),
            stop: Cell::new(None),
            training_interrupted: Cell::new(false),
            sources: OnceCell::new(),
        });
        let elaborator = Elaborator::new(world.clone(), of_types);
        let _ = world.sources.set(elaborator.sources());
        let mut session = Session {
            world,
            elaborator,
            faults: Vec::new(),
        };
        session.load_library();
        session
    }

    /// Makes `float` the float in force; what the session defined so far is forgotten if it was
    /// another.
    pub(crate) fn set_float(&mut self, float: Elem) {
        if float != self.elaborator.float() {
            self.elaborator.set_float(float);
            self.load_library();
        }
    }

    /// Binds what the driver needs of the library, and notes the library's faults.
    fn load_library(&mut self) {
        let ident = |name: &str| Ident {
            name: name.into(),
            span: Span::NONE,
        };
        let kind = ItemKind::Use {
            path: vec![ident("optim")],
            alias: Some(ident(OPTIMIZERS)),
        };
        let item = Item {
            kind,
            span: Span::NONE,
            doc: None,
        };
        self.faults = self.elaborator.library_faults().to_vec();
        self.faults
            .extend(self.elaborator.run_item(&item).err().map(|fault| *fault));
    }

    /// All source text of the session.
    pub fn sources(&self) -> Rc<RefCell<SourceMap>> {
        self.elaborator.sources()
    }
}
