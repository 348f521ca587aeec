//! What factorise chose and why, for people.

use crate::arithmetic::Arithmetic;
use crate::rule::{Rule, Rules};
use aec_syntax::Span;

/// A product that is computed in another way than it was written.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    /// The script text.
    pub span: Span,
    /// Levels that were opened.
    pub levels: usize,
    /// The rules that led to it.
    pub rules: Rules,
    /// Cost of the whole function before and after, in multiply-adds of a matrix product.
    pub before: f64,
    /// See `before`.
    pub after: f64,
}

impl Choice {
    /// The reason in one line.
    pub fn reason(&self) -> String {
        let mut how = vec![format!(
            "opened {} level{}",
            self.levels,
            if self.levels == 1 { "" } else { "s" }
        )];
        if self.rules.contains(Rule::Gram) {
            how.push("squares of sums as products of Gram matrices (R7)".into());
        }
        if self.rules.contains(Rule::Distribute) {
            how.push("sums multiplied out (R6)".into());
        }
        if self.rules.contains(Rule::Hoist) {
            how.push("what is the same for all rows once (R11)".into());
        }
        format!(
            "{}; the whole costs {:.3} M instead of {:.3} M",
            how.join(", "),
            self.after / 1e6,
            self.before / 1e6
        )
    }
}

/// What factorise did to a function.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Factored {
    /// The products that were changed, users first.
    pub choices: Vec<Choice>,
    /// Squares of sums that stay as they are, as a root, a logarithm, a division or a comparison
    /// wants their digits or the script's user does.
    pub kept_exact: Vec<Span>,
    /// What the function would cost without the choices, and what it costs with them; none if
    /// nothing was changed.
    pub arithmetic: Option<(Arithmetic, Arithmetic)>,
    /// Splits that were tried.
    pub tried: usize,
    /// The rules that were used, in what stayed and on the way.
    pub rules: Rules,
}
