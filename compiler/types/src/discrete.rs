//! Gradients that end at a discrete draw (SEMANTICS.md P2): `let z ~ bernoulli(p)` is 0 or 1, so
//! that the loss hears nothing of small changes of p by way of z. Where p depends on what is
//! differentiated and z reaches the result, a warning says so.
//!
//! A draw is told by its ops: a comparison with uniform noise, or the place of the largest of some
//! numbers to which Gumbel noise was added. `stop` on either side of it says that the author knows,
//! and so do the two estimators that are written by hand: the straight-through one adds p to z, the
//! score function takes `log_prob` at z, which depends on p.

use crate::Elaborator;
use aec_ir::{
    Binary, Def, Distribution, Fault, Function, InstData, Loop, Op, Unary, Value as IrValue,
};
use aec_syntax::{Diagnostic, Span};
use rustc_hash::{FxHashMap, FxHashSet};

/// What is known of a value: whether it moves with what is differentiated, and the draws at which
/// other ways to it end.
#[derive(Clone, Default, PartialEq)]
struct Fact {
    moves: bool,
    ends: Vec<Span>,
}

impl Fact {
    /// Adds what is known of another way to the value; whether that was new.
    fn join(&mut self, other: &Fact) -> bool {
        let before = (self.moves, self.ends.len());
        self.moves |= other.moves;
        for span in &other.ends {
            if !self.ends.contains(span) {
                self.ends.push(*span);
            }
        }
        before != (self.moves, self.ends.len())
    }
}

/// The discrete draws at which the derivative of a function's results with respect to its first
/// `active` params ends.
///
/// Also whether its first result moves with these params.
pub(crate) fn ends(f: &Function, active: usize) -> (Vec<Span>, bool) {
    let params = (0..f.params.len()).map(|at| Fact {
        moves: at < active && f.ty(f.params[at]).elem.is_float(),
        ends: Vec::new(),
    });
    let mut all = Fact::default();
    let results = results_of(f, params.collect());
    for fact in &results {
        all.join(fact);
    }
    let moves = results.first().is_none_or(|fact| fact.moves);
    (all.ends, moves)
}

/// What is known of a function's results, from what is known of its params.
fn results_of(f: &Function, params: Vec<Fact>) -> Vec<Fact> {
    let mut facts: FxHashMap<IrValue, Fact> = f.params.iter().copied().zip(params).collect();
    // Of each draw the value whose small changes are lost.
    let mut lost: FxHashMap<Span, IrValue> = FxHashMap::default();
    for &inst in &f.order {
        let data = &f.insts[inst];
        let own: Vec<Fact> = (data.operands.iter())
            .map(|operand| facts.get(operand).cloned().unwrap_or_default())
            .collect();
        let results = match &data.op {
            Op::Stop | Op::Draw { .. } | Op::Unary(Unary::Floor | Unary::Sign) => {
                vec![Fact::default()]
            }
            Op::Map { body, .. } => results_of(body, own),
            Op::Derivative { body, .. } => {
                let mut results =
                    results_of(body, own[..body.params.len().min(own.len())].to_vec());
                let mut all = Fact::default();
                own.iter().chain(&results).for_each(|fact| {
                    all.join(fact);
                });
                results.resize(data.results.len(), all);
                results
            }
            Op::Loop(looped) => rounds_of(looped, own),
            _ => {
                let mut all = Fact::default();
                for (at, fact) in own.iter().enumerate() {
                    let mut fact = fact.clone();
                    fact.ends.retain(|span| {
                        lost.get(span)
                            .is_none_or(|p| !is_estimated(f, data, at, *p))
                    });
                    all.join(&fact);
                }
                if let Some(p) = root(f, data)
                    && facts.get(&p).is_some_and(|fact| fact.moves)
                {
                    lost.insert(data.span, p);
                    all.join(&Fact {
                        moves: false,
                        ends: vec![data.span],
                    });
                }
                vec![all]
            }
        };
        for (&result, mut fact) in data.results.iter().zip(results) {
            fact.moves &= f.ty(result).elem.is_float();
            facts.insert(result, fact);
        }
    }
    let result = |value: &IrValue| facts.get(value).cloned().unwrap_or_default();
    f.results.iter().map(result).collect()
}

/// What is known of the results of a loop: its state carries what a round gives to the next.
fn rounds_of(looped: &Loop, own: Vec<Fact>) -> Vec<Fact> {
    let mut params = vec![Fact::default()];
    params.extend(own);
    // A limit is no param of a round.
    params.truncate(looped.body.params.len());
    loop {
        let results = results_of(&looped.body, params.clone());
        let mut changed = false;
        for (at, fact) in results.iter().take(looped.carried).enumerate() {
            changed |= params.get_mut(1 + at).is_some_and(|state| state.join(fact));
        }
        if !changed {
            return results;
        }
    }
}

/// What a discrete draw depends on, if the instruction makes one, before functions of one operand:
/// of `bernoulli(sigmoid(a))` it is a.
fn root(f: &Function, data: &InstData) -> Option<IrValue> {
    let mut value = parameter(f, data)?;
    loop {
        match made_by(f, value) {
            Some((Op::Unary(_) | Op::Contract(_) | Op::Reshape | Op::Convert, &[inner])) => {
                value = inner;
            }
            // A check of it.
            Some((
                Op::Gather {
                    fault: Fault::Chance,
                    ..
                },
                &[inner, _],
            )) => value = inner,
            _ => return Some(value),
        }
    }
}

/// The number that uniform noise is compared with, or what Gumbel noise was added to.
fn parameter(f: &Function, data: &InstData) -> Option<IrValue> {
    match data.op {
        Op::Compare(_) => {
            let (a, b) = (*data.operands.first()?, *data.operands.get(1)?);
            match (is_noise(f, a), is_noise(f, b)) {
                (true, false) => Some(b),
                (false, true) => Some(a),
                (true, true) | (false, false) => None,
            }
        }
        Op::ArgReduce { .. } => {
            let mut value = *data.operands.first()?;
            // Beyond the length of a sequence stands what is never largest.
            if let Some((Op::Select, operands)) = made_by(f, value) {
                value = *operands.get(1)?;
            }
            match made_by(f, value) {
                Some((Op::Binary(Binary::Add), operands)) => {
                    let (a, b) = (*operands.first()?, *operands.get(1)?);
                    match (is_noise(f, a), is_noise(f, b)) {
                        (true, false) => Some(b),
                        (false, true) => Some(a),
                        (true, true) | (false, false) => None,
                    }
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn made_by(f: &Function, value: IrValue) -> Option<(&Op, &[IrValue])> {
    match f.values[value].def {
        Def::Param(_) => None,
        Def::Result(inst, _) => {
            let data = &f.insts[inst];
            Some((&data.op, &data.operands))
        }
    }
}

/// Whether a value is uniform noise, or a function of it entry by entry.
fn is_noise(f: &Function, value: IrValue) -> bool {
    match made_by(f, value) {
        Some((Op::Draw { distribution, .. }, _)) => *distribution == Distribution::Uniform,
        Some((Op::Unary(_) | Op::Gather { .. } | Op::Reshape, operands)) => {
            operands.first().is_some_and(|&inner| is_noise(f, inner))
        }
        _ => false,
    }
}

/// Whether operand `at`, which a draw from `p` reaches, meets something that depends on p where an
/// estimator of the gradient has it: z + p, z * log p, (log p)[z].
fn is_estimated(f: &Function, data: &InstData, at: usize, p: IrValue) -> bool {
    let others = || {
        data.operands
            .iter()
            .enumerate()
            .filter(move |(other, _)| *other != at)
    };
    match &data.op {
        Op::Gather { .. } => at == 1 && depends(f, data.operands[0], p),
        Op::Contract(_) => others().any(|(_, &other)| depends(f, other, p)),
        Op::Binary(Binary::Add | Binary::Sub) => {
            let drawn = match made_by(f, data.operands[at]) {
                Some((Op::Convert, operands)) => operands.first().copied(),
                _ => Some(data.operands[at]),
            };
            let is_draw = |value| matches!(made_by(f, value), Some((Op::Compare(_), _)));
            drawn.is_some_and(is_draw) && others().any(|(_, &other)| depends(f, other, p))
        }
        _ => false,
    }
}

/// Whether a value depends on another of the same function, as derivatives see it.
fn depends(f: &Function, value: IrValue, on: IrValue) -> bool {
    let (mut open, mut known) = (vec![value], FxHashSet::default());
    while let Some(value) = open.pop() {
        if value == on {
            return true;
        }
        if known.insert(value)
            && let Some((op, operands)) = made_by(f, value)
            && !matches!(op, Op::Stop)
        {
            open.extend(operands.iter().copied());
        }
    }
    false
}

impl Elaborator {
    /// Warns of the discrete draws at which a derivative ends, once each. Gives whether the first
    /// result moves, or a draw tells why it does not.
    pub(crate) fn warn_of_discrete(&mut self, f: &Function, active: usize, span: Span) -> bool {
        let (draws, moves) = ends(f, active);
        let told = moves || !draws.is_empty();
        for draw in draws {
            if !self.warned.insert(draw) {
                continue;
            }
            let library = self.in_library(draw);
            let at = if library { span } else { draw };
            let warning = Diagnostic::warning(
                "W0102",
                at,
                "no gradient goes through this draw: what it draws does not change with its parameters by degrees",
            );
            let warning = match library {
                true => warning.label(draw, "drawn here"),
                false if span.is_none() || self.in_library(span) => warning,
                false => warning.label(span, "the gradient is taken here"),
            };
            self.warnings.push(
                warning
                    .note("by this way the parameters are not trained")
                    .help(
                        "draw from a continuous distribution, or add an estimator: `z + p - stop(p)` lets the gradient \
                         pass straight through; `stop(…)` around the parameters says that none is wanted",
                    ),
            );
        }
        told
    }

    /// Warns of training by a loss that no small change of the weights changes.
    pub(crate) fn warn_of_still(&mut self, loss: Span, span: Span) {
        let at = if self.in_library(loss) { span } else { loss };
        if !self.warned.insert(at) {
            return;
        }
        let warning = Diagnostic::warning(
            "W0103",
            at,
            "no gradient goes from this loss to a weight: nothing is trained by it",
        );
        let warning = match at == span {
            true => warning,
            false => warning.label(span, "trained here"),
        };
        self.warnings.push(
            warning
                .note("comparisons, `argmax`, `int`, `floor`, `sign` and `stop` end a gradient")
                .help(
                    "compute the loss from what the weights give, by functions that change by degrees: of scores \
                     for classes `cross_entropy(scores, y)`",
                ),
        );
    }

    /// Warnings of what ran since they were last asked for.
    pub fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }
}
