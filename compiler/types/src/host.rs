//! What the elaborator asks of the world around it. The driver answers; while a script is
//! checked, nobody is asked.

use crate::train::TrainRequest;
use crate::value::Value;
use crate::{Elaborator, Result};
use aec_runtime::Tensor;
use aec_syntax::Span;
use aec_syntax::ast::Name;
use std::sync::Arc;

/// The arguments of an effect, evaluated; tensors are in memory, not traced.
pub struct EffectArgs {
    /// In order.
    pub positional: Vec<Value>,
    /// By name.
    pub named: Vec<(Name, Value)>,
}

impl EffectArgs {
    /// The argument at a place or of a name.
    pub fn get(&self, index: usize, name: &str) -> Option<&Value> {
        self.positional.get(index).or_else(|| {
            self.named
                .iter()
                .find(|(given, _)| &**given == name)
                .map(|(_, value)| value)
        })
    }
}

/// The world: compiled code, files, the terminal.
pub trait Host {
    /// Compiles and runs a closed function on inputs (one for each param) and gives its results.
    fn run(
        &self,
        function: aec_ir::Function,
        inputs: Vec<Arc<Tensor>>,
        span: Span,
    ) -> Result<Vec<Arc<Tensor>>>;

    /// Carries out an effect of the table in `builtins` (`core.read_csv`, `save`, `plot.grid` …).
    fn effect(
        &self,
        elaborator: &mut Elaborator,
        name: &str,
        args: EffectArgs,
        span: Span,
    ) -> Result<Value>;

    /// `print a, b`.
    fn print(&self, elaborator: &mut Elaborator, values: &[Value], span: Span) -> Result<()>;

    /// A value as text, for `str(x)` and `"{x:.3}"` (`spec` is what follows the colon).
    fn format(&self, value: &Value, spec: Option<&str>, span: Span) -> Result<String>;

    /// Trains a model and gives the trained one.
    fn train(&self, elaborator: &mut Elaborator, request: TrainRequest) -> Result<Value>;

    /// The text of a module (`data`, `nn`, or a file beside the script), with a name for messages.
    fn module(&self, path: &str) -> Option<(String, String)>;

    /// The names of the library's modules, sorted.
    fn library(&self) -> Vec<String>;

    /// An error if the user asked to stop (Ctrl-C); asked between statements and loop rounds.
    fn check_interrupt(&self) -> Result<()>;

    /// An error if hardly any memory is left; asked now and then while a list of any length grows.
    fn check_memory(&self, span: Span) -> Result<()>;
}
