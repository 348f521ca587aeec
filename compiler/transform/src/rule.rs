//! The rules of factorise by number (AUTODIFF.md section 3), and sets of them: so that a report
//! can say, and a test can count, which were used.

/// A rule on products.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rule {
    /// R1: a label that a delta ties to another takes its name.
    Identity,
    /// R2: equal factors become a power, or a power is undone for the search.
    Powers,
    /// R3: a summed label that nothing carries multiplies by its size.
    Unused,
    /// R4: a product without a sum is opened in place.
    Open,
    /// R5: like terms of a sum are added.
    LikeTerms,
    /// R6: a product with a sum is multiplied out.
    Distribute,
    /// R7: a square of a sum becomes a product of Gram matrices.
    Gram,
    /// R8: a label that one factor alone carries is summed there.
    SumAlone,
    /// R9: the cheapest order by dynamic programming over subsets.
    Order,
    /// R10: of very many factors the cheapest pair first.
    Greedy,
    /// R11: part of a product lacks a label of the result and is computed once for all of it.
    Hoist,
    /// R12: a plan is refused, as it would not make the whole cheaper.
    Refuse,
}

impl Rule {
    /// All of them, R1 first.
    pub const ALL: [Rule; 12] = [
        Rule::Identity,
        Rule::Powers,
        Rule::Unused,
        Rule::Open,
        Rule::LikeTerms,
        Rule::Distribute,
        Rule::Gram,
        Rule::SumAlone,
        Rule::Order,
        Rule::Greedy,
        Rule::Hoist,
        Rule::Refuse,
    ];

    /// Its number.
    pub fn number(self) -> usize {
        self as usize + 1
    }
}

/// A set of rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules(u16);

impl Rules {
    /// Adds a rule.
    pub fn insert(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u8;
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Rules) {
        self.0 |= other.0;
    }

    /// Whether a rule is in it.
    pub fn contains(self, rule: Rule) -> bool {
        self.0 >> rule as u8 & 1 == 1
    }

    /// Its rules, R1 first.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::ALL
            .into_iter()
            .filter(move |&rule| self.contains(rule))
    }
}
