//! Tracing a training step: loss over a batch, gradient, optimizer, as one TIR function.

use crate::value::Value;
use aec_syntax::Span;
use aec_syntax::ast::Name;

/// What `train model on data { settings }` asks for; everything is evaluated.
pub struct TrainRequest {
    /// The model to start from.
    pub model: Value,
    /// A tensor, a tuple that feeds the loss's parameters, or a record of data sets by member.
    pub data: Value,
    /// The settings in order: name, its place, value.
    pub settings: Vec<(Name, Span, Value)>,
    /// The whole expression.
    pub span: Span,
    /// The text of the data expression, for messages.
    pub data_span: Span,
}

/// A traced training step.
///
/// Params of `function`, in order: trained leaves of the model, leaves of the optimizer's state,
/// `seed` (i64), `step` (i64), the examples' indices in the data set (i64 `[batch]`), then the
/// batch of each data leaf (`[batch, …]`). Results: the new model leaves and the new state leaves
/// (aliased to their params), the mean loss (float scalar, guarded), then the parts of the loss.
pub struct TrainStep {
    /// The function.
    pub function: aec_ir::Function,
    /// Number of trained model leaves.
    pub model_leaves: usize,
    /// Number of state leaves.
    pub state_leaves: usize,
    /// Names of the loss's parts after the loss itself; empty for a plain loss.
    pub parts: Vec<Name>,
}

/// A traced evaluation of a loss over a batch.
///
/// Params: all leaves of the model, `seed`, `step`, indices, then the data leaves. Results: the
/// sum of the losses over the batch, then of each part.
pub struct EvalStep {
    /// The function.
    pub function: aec_ir::Function,
    /// Number of model leaves.
    pub model_leaves: usize,
    /// Names of the loss's parts.
    pub parts: Vec<Name>,
}
