//! From syntax tree to TIR: names, types, sizes, automap, models, draw sites.
//!
//! The elaborator is one abstract interpreter for three jobs. While it *checks*, sizes are
//! polynomials and tensors only types. While it *runs* a script, each statement's tensor work is
//! traced into one TIR function with concrete sizes, which the [`Host`] compiles and runs.
//! Functions, models, closures, records and distributions are values of the elaborator and leave
//! no trace in TIR; mapped calls and derivatives become regions.
//!
//! Invariants: no files, no clock, no terminal (the `Host` has them); user input never panics;
//! a traced value is only used in its own frame or in frames inside it, where it is captured.

mod around;
mod arrows;
pub mod builtins;
pub mod call;
mod check;
mod choice;
mod cut;
mod declared;
mod discrete;
mod equations;
mod error;
mod expr;
mod fold;
mod grad;
pub mod host;
mod identity;
mod index;
mod leaves;
mod lists;
mod loops;
mod missing;
mod model;
mod modules;
mod objective;
mod once;
mod ops;
mod ragged;
mod random;
mod recursion;
mod remat;
mod repair;
mod rows;
mod running;
pub mod scope;
mod seeds;
mod sequence;
mod signatures;
pub mod size;
mod slips;
mod slopes;
mod statics;
mod step;
mod stmt;
pub mod tokens;
mod trace;
pub mod train;
mod treebank;
mod trees;
mod typing;
mod unbound;
pub mod value;
mod vanishing;
mod varying;

pub use host::{EffectArgs, Host};
pub use leaves::{Leaf, leaves, with_leaves};
pub use objective::BatchSize;
pub use running::{average_count, is_of_average, settled, with_averages};
pub use step::{EvalStep, TrainStep};
pub use train::{TrainRequest, TrainSet, train_sets};
pub use value::Value;

use aec_runtime::Elem;
use aec_syntax::ast::Name;
use aec_syntax::{Diagnostic, SourceMap, Span};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

/// What elaboration gives, or why it can't.
pub type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// Choices of the command line.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What `real` and `[n]` mean: F32, or F64 with `--f64`.
    pub float: Elem,
    /// Root of the script's draws.
    pub seed: u64,
    /// Trainings are compiled, not run: what the script asserts of their models is not looked at.
    pub dry: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            float: Elem::F32,
            seed: 0,
            dry: false,
        }
    }
}

/// Whether the script is only checked or also run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Types only.
    Check,
    /// Tracing and running.
    Run,
}

/// One call in progress: the hash of its call path, and how often it has called what.
pub(crate) struct Activation {
    path: u64,
    calls: FxHashMap<Name, u64>,
}

/// The elaborator of one script or session.
pub struct Elaborator {
    pub(crate) host: Rc<dyn Host>,
    pub(crate) options: Options,
    sources: Rc<RefCell<SourceMap>>,
    pub(crate) phase: Phase,
    /// Functions that are being traced, outermost first; empty while checking.
    pub(crate) frames: Vec<trace::Frame>,
    next_frame: u32,
    next_size: u32,
    pub(crate) prelude: scope::Scope,
    pub(crate) script: scope::Scope,
    modules: FxHashMap<Name, Rc<value::Module>>,
    loading: Vec<Name>,
    pub(crate) activations: Vec<Activation>,
    /// Root seed of draws: the script's, or that of the `train` around.
    pub(crate) seed: u64,
    /// Counts rounds of script loops, so that each draws anew.
    pub(crate) round: i64,
    /// Found while checking.
    pub(crate) found: Vec<Diagnostic>,
    /// Found while running: warnings that nobody has asked for yet.
    warnings: Vec<Diagnostic>,
    /// Draws that were warned of.
    warned: FxHashSet<Span>,
    /// Whether calls went too deep, and are refused on the way back.
    refusing: bool,
    /// Depth of constructs in which nothing may have an effect.
    pub(crate) pure_depth: u32,
    /// Values of models' `let`s that are being worked out, outer ones first.
    pub(crate) lets: Vec<Span>,
    /// Whether they went too deep, and are refused on the way back.
    pub(crate) refusing_lets: bool,
    /// Elements that the outermost comprehension has come to, and whether there is one.
    pub(crate) elements: Option<usize>,
    /// The module of each function and model of the library, read when a name is missed.
    library_names: OnceCell<FxHashMap<Name, String>>,
    /// Names that the script binds further down, while it is checked.
    pub(crate) below: FxHashMap<Name, Span>,
    /// Whether this is a REPL: values are shown, names may be defined again.
    pub(crate) interactive: bool,
    /// Whether a batch is being mapped over, while checking.
    pub(crate) batch_depth: u32,
    /// Conditions under which what is being traced counts: those of the `if`s around it, which
    /// compiled code decides. Checks of the branch not taken must hold whatever the data.
    pub(crate) taken: Vec<value::Tensor>,
    /// The loops around of which each example has its own rounds: `while`, `fold`, `unfold`.
    pub(crate) alone: Vec<&'static str>,
    /// Counts what has an effect: prints, assignments, trainings and the like (N4).
    pub(crate) effects: u32,
    /// Counts, while checking, what no mere copy of an input does: draws, hiding, derivatives,
    /// sorting, iterations.
    pub(crate) unlike_copies: u32,
    /// Sizes that vary between examples.
    pub(crate) varying: varying::Varying,
    /// What `running` has seen of the batch whose loss is being traced for training.
    pub(crate) seen: Vec<running::Seen>,
    /// The script's innermost call in progress: what an op inside the library is blamed on.
    pub(crate) caller: Span,
}

impl Elaborator {
    /// A session with the prelude in scope.
    pub fn new(host: Rc<dyn Host>, options: Options) -> Elaborator {
        Elaborator::with_sources(host, options, Rc::default())
    }

    fn with_sources(
        host: Rc<dyn Host>,
        options: Options,
        sources: Rc<RefCell<SourceMap>>,
    ) -> Elaborator {
        let prelude = scope::Scope::root();
        builtins::define_all(&prelude, options.float);
        let library = prelude.module();
        let mut elaborator = Elaborator {
            host,
            options,
            sources,
            phase: Phase::Run,
            frames: Vec::new(),
            next_frame: 0,
            next_size: 0,
            library_names: OnceCell::new(),
            script: library.module(),
            prelude: library,
            modules: FxHashMap::default(),
            loading: Vec::new(),
            activations: vec![Activation {
                path: 0,
                calls: FxHashMap::default(),
            }],
            seed: options.seed,
            round: 0,
            found: Vec::new(),
            warnings: Vec::new(),
            warned: FxHashSet::default(),
            refusing: false,
            pure_depth: 0,
            lets: Vec::new(),
            refusing_lets: false,
            elements: None,
            below: FxHashMap::default(),
            interactive: false,
            batch_depth: 0,
            taken: Vec::new(),
            alone: Vec::new(),
            effects: 0,
            unlike_copies: 0,
            varying: varying::Varying::default(),
            seen: Vec::new(),
            caller: Span::NONE,
        };
        elaborator.load_prelude();
        elaborator
    }

    /// All source text seen so far, shared with whoever renders diagnostics.
    pub fn sources(&self) -> Rc<RefCell<SourceMap>> {
        self.sources.clone()
    }

    /// The script text of a span, in one line.
    pub(crate) fn text(&self, span: Span) -> String {
        let sources = self.sources.borrow();
        let words: Vec<&str> = sources.text(span).split_whitespace().collect();
        words.join(" ")
    }

    /// The script's text from a span on to the end of its line.
    pub(crate) fn line_from(&self, span: Span) -> String {
        let sources = self.sources.borrow();
        let text = sources.get(span.file).map_or("", |file| &file.text);
        let rest = text.get(span.start as usize..).unwrap_or("");
        rest.lines().next().unwrap_or("").to_string()
    }

    /// The value of a script-level name.
    pub fn lookup(&self, name: &str) -> Option<Value> {
        self.script.lookup(name)
    }

    /// Binds a script-level name.
    pub fn define(&mut self, name: &str, value: Value) {
        self.script.define(name.into(), value);
    }

    /// What a member of a model declares its first parameter to be: a shape whose sizes the model
    /// fixes, and whether entries may be missing.
    pub fn takes(&mut self, model: &Value, member: &str) -> Option<(Vec<usize>, bool)> {
        let Value::Model(model) = model else {
            return None;
        };
        let def = scope::member(model, member)?;
        let ty = def.params.first()?.ty.as_ref()?;
        let scope = self.model_scope(model).ok()?;
        match self.declared(ty).ok()? {
            declared::Declared::Tensor { elem, shape, maybe } => {
                let ty = self.tensor_type(elem, &shape, &scope).ok()?;
                Some((ty.dims()?, maybe))
            }
            _ => None,
        }
    }

    /// All names in scope at script level.
    pub fn names(&self) -> Vec<Name> {
        self.script.names()
    }

    /// Sets the root seed of the script's draws, which begin anew: what is drawn from here on is
    /// what it would be had nothing been drawn before.
    pub fn set_seed(&mut self, seed: u64) {
        self.options.seed = seed;
        self.seed = seed;
        if let [script, ..] = self.activations.as_mut_slice() {
            script.calls.clear();
        }
    }

    /// A REPL shows the values of expressions and lets names be defined again.
    pub fn set_interactive(&mut self, interactive: bool) {
        self.interactive = interactive;
    }

    /// Makes `elem` the float in force, of the library too. What the session defined is
    /// forgotten, as it was made for the other one.
    pub fn set_float(&mut self, elem: Elem) {
        if elem != self.options.float {
            let options = Options {
                float: elem,
                ..self.options
            };
            let new = Elaborator::with_sources(self.host.clone(), options, self.sources.clone());
            let interactive = self.interactive;
            *self = new;
            self.interactive = interactive;
        }
    }

    /// `precision f64` where it stands: whoever runs a script has set the float before, so only
    /// a module or a line of the REPL can contradict.
    pub(crate) fn check_precision(&self, said: &aec_syntax::ast::Ident) -> Result<()> {
        if said.name.as_ref() == self.options.float.name() {
            return Ok(());
        }
        let other = self.options.float.name();
        Err(Box::new(
            Diagnostic::error(
                "E0129",
                said.span,
                format!("everything here is in {other} already"),
            )
            .help("say it at the top of the script that is run, or start `aec` with `--f64`"),
        ))
    }

    /// The float type in force.
    pub fn float(&self) -> Elem {
        self.options.float
    }

    pub(crate) fn fresh_size(&mut self, name: &str) -> size::Size {
        self.next_size += 1;
        size::Size::var(self.next_size, name)
    }

    /// A new size of which the run of the script tells what it is.
    pub(crate) fn later_size(&mut self, name: &str) -> size::Size {
        self.next_size += 1;
        size::Size::later(self.next_size, name)
    }

    /// A new size that varies between examples.
    pub(crate) fn varying_size(&mut self, name: &str, range: size::Range) -> size::Size {
        self.next_size += 1;
        size::Size::varying(self.next_size, name, range)
    }

    pub(crate) fn checking(&self) -> bool {
        self.phase == Phase::Check
    }
}
