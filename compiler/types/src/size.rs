//! Sizes: polynomials in names with integer coefficients (SEMANTICS.md S2). Two sizes are equal
//! if their normal forms are. When a script runs every size is a number, but those that vary
//! between examples (`ragged.rs`): of such a name the least and the largest value are known, and
//! memory has room for the largest. While a script is checked, what only its run tells (the rows of
//! a file, an entry of a list that a loop counts through) is a name, too, which may yet equal any
//! other size.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// The values that a size takes which varies between examples.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Range {
    /// Of the shortest example; not below 0.
    pub least: i64,
    /// Of the longest, at least 1: what memory has room for.
    pub most: i64,
}

/// What is known of the number that a size name stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Known {
    /// Nothing: it stands for each, and no other name is equal to it.
    Each,
    /// That the run of the script tells it; until then it may be equal to any other size.
    Later,
    /// The values that it takes from example to example.
    Within(Range),
}

impl Known {
    fn range(self) -> Option<Range> {
        match self {
            Known::Within(range) => Some(range),
            Known::Each | Known::Later => None,
        }
    }
}

/// What a polynomial is in: a size name, or a floor division that does not reduce.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Atom {
    /// A size name; `id` tells apart equal names of different scopes.
    Var {
        /// Unique number.
        id: u32,
        /// As written.
        name: Rc<str>,
        /// What is known of its value.
        known: Known,
    },
    /// `size // divisor`.
    FloorDiv(Size, i64),
}

/// A product of atoms, each with its power, sorted; empty for 1.
type Monomial = Vec<(Atom, u32)>;

/// Coefficients of monomials, none of them 0.
type Terms = BTreeMap<Monomial, i64>;

/// A size in normal form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Size(Form);

/// Numbers and names, which most sizes are, take no memory of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Form {
    Number(i64),
    Name {
        id: u32,
        name: Rc<str>,
        known: Known,
    },
    /// Neither a number nor a name alone.
    Sum(Rc<Terms>),
}

impl Default for Size {
    fn default() -> Size {
        Size::constant(0)
    }
}

fn add_term(terms: &mut Terms, monomial: Monomial, coefficient: i64) {
    if coefficient == 0 {
        return;
    }
    let old = terms.get(&monomial).copied().unwrap_or(0);
    match old.saturating_add(coefficient) {
        0 => terms.remove(&monomial),
        sum => terms.insert(monomial, sum),
    };
}

impl Size {
    /// A number.
    pub fn constant(value: i64) -> Size {
        Size(Form::Number(value))
    }

    /// A name.
    pub fn var(id: u32, name: &str) -> Size {
        Size(Form::Name {
            id,
            name: name.into(),
            known: Known::Each,
        })
    }

    /// A name for a number that only the run of the script tells.
    pub fn later(id: u32, name: &str) -> Size {
        Size(Form::Name {
            id,
            name: name.into(),
            known: Known::Later,
        })
    }

    /// A size that varies between examples.
    pub fn varying(id: u32, name: &str, range: Range) -> Size {
        Size(Form::Name {
            id,
            name: name.into(),
            known: Known::Within(range),
        })
    }

    fn of(terms: Terms) -> Size {
        let only = match terms.len() {
            0 => return Size::constant(0),
            1 => terms.first_key_value(),
            _ => None,
        };
        match only.map(|(monomial, &coefficient)| (monomial.as_slice(), coefficient)) {
            Some(([], value)) => Size::constant(value),
            Some(([(Atom::Var { id, name, known }, 1)], 1)) => Size(Form::Name {
                id: *id,
                name: name.clone(),
                known: *known,
            }),
            _ => Size(Form::Sum(Rc::new(terms))),
        }
    }

    fn terms(&self) -> Rc<Terms> {
        let mut terms = Terms::new();
        match &self.0 {
            Form::Number(value) => add_term(&mut terms, Vec::new(), *value),
            Form::Name { id, name, known } => {
                let atom = Atom::Var {
                    id: *id,
                    name: name.clone(),
                    known: *known,
                };
                add_term(&mut terms, vec![(atom, 1)], 1);
            }
            Form::Sum(terms) => return terms.clone(),
        }
        Rc::new(terms)
    }

    /// The number that it is, if it is one.
    pub fn as_constant(&self) -> Option<i64> {
        match &self.0 {
            Form::Number(value) => Some(*value),
            Form::Name { .. } | Form::Sum(_) => None,
        }
    }

    /// Its least and largest value: of a number itself; none if a name has no range.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let terms = match &self.0 {
            Form::Number(value) => return Some((*value, *value)),
            Form::Name { known, .. } => {
                return known.range().map(|range| (range.least, range.most));
            }
            Form::Sum(terms) => terms,
        };
        let (mut least, mut most) = (0i64, 0i64);
        for (monomial, &coefficient) in terms.iter() {
            let (mut low, mut high) = (1i64, 1i64);
            for (atom, power) in monomial {
                let (a, b) = match atom {
                    Atom::Var { known, .. } => {
                        known.range().map(|range| (range.least, range.most))?
                    }
                    Atom::FloorDiv(size, divisor) => {
                        let (a, b) = size.bounds()?;
                        (a.div_euclid(*divisor), b.div_euclid(*divisor))
                    }
                };
                for _ in 0..*power {
                    let ends = [low, high].map(|x| [x.saturating_mul(a), x.saturating_mul(b)]);
                    low = ends.iter().flatten().copied().min().unwrap_or(0);
                    high = ends.iter().flatten().copied().max().unwrap_or(0);
                }
            }
            let (low, high) = (
                low.saturating_mul(coefficient),
                high.saturating_mul(coefficient),
            );
            least = least.saturating_add(low.min(high));
            most = most.saturating_add(low.max(high));
        }
        Some((least, most))
    }

    /// Whether it varies between examples.
    pub fn varies(&self) -> bool {
        self.as_constant().is_none() && self.bounds().is_some()
    }

    /// What memory has room for: the size itself, or the largest value of one that varies.
    pub fn room(&self) -> Option<usize> {
        let (_, most) = self.bounds()?;
        match self.as_constant() {
            Some(size) => usize::try_from(size).ok(),
            None => usize::try_from(most.max(0)).ok(),
        }
    }

    /// The value, those of the names being given.
    pub fn value(&self, of: &dyn Fn(u32) -> Option<i64>) -> Option<i64> {
        let size = self.substitute(&|id| of(id).map(Size::constant));
        size.as_constant()
    }

    /// `self + other`.
    pub fn plus(&self, other: &Size) -> Size {
        match (self.as_constant(), other.as_constant()) {
            (Some(a), Some(b)) => return Size::constant(a.saturating_add(b)),
            (Some(0), None) => return other.clone(),
            (None, Some(0)) => return self.clone(),
            _ => {}
        }
        let mut sum = Terms::clone(&self.terms());
        for (monomial, &coefficient) in other.terms().iter() {
            add_term(&mut sum, monomial.clone(), coefficient);
        }
        Size::of(sum)
    }

    /// `self - other`.
    pub fn minus(&self, other: &Size) -> Size {
        self.plus(&other.times(&Size::constant(-1)))
    }

    /// `self * other`.
    pub fn times(&self, other: &Size) -> Size {
        match (self.as_constant(), other.as_constant()) {
            (Some(a), Some(b)) => return Size::constant(a.saturating_mul(b)),
            (Some(1), None) => return other.clone(),
            (None, Some(1)) => return self.clone(),
            _ => {}
        }
        let mut product = Terms::new();
        for (left, &a) in self.terms().iter() {
            for (right, &b) in other.terms().iter() {
                let mut monomial = left.clone();
                for (atom, power) in right {
                    match monomial.binary_search_by(|(at, _)| at.cmp(atom)) {
                        Ok(at) => monomial[at].1 += power,
                        Err(at) => monomial.insert(at, (atom.clone(), *power)),
                    }
                }
                add_term(&mut product, monomial, a.saturating_mul(b));
            }
        }
        Size::of(product)
    }

    /// `self / divisor` if every coefficient divides.
    pub fn divide_exactly(&self, divisor: i64) -> Option<Size> {
        let terms = self.terms();
        if divisor == 0 || terms.values().any(|c| c % divisor != 0) {
            return None;
        }
        let divided = terms.iter().map(|(m, c)| (m.clone(), c / divisor));
        Some(Size::of(divided.collect()))
    }

    /// `self // divisor` for a positive divisor.
    pub fn floor_div(&self, divisor: i64) -> Option<Size> {
        if divisor <= 0 {
            return None;
        }
        if let Some(value) = self.as_constant() {
            return Some(Size::constant(value.div_euclid(divisor)));
        }
        if let Some(size) = self.divide_exactly(divisor) {
            return Some(size);
        }
        let mut terms = Terms::new();
        add_term(
            &mut terms,
            vec![(Atom::FloorDiv(self.clone(), divisor), 1)],
            1,
        );
        Some(Size::of(terms))
    }

    /// If this is `a * name + b` with numbers a, b for the name of that id: (a, b).
    pub fn linear_in(&self, id: u32) -> Option<(i64, i64)> {
        let (mut a, mut b) = (0, 0);
        for (monomial, &coefficient) in self.terms().iter() {
            match monomial.as_slice() {
                [] => b = coefficient,
                [(Atom::Var { id: other, .. }, 1)] if *other == id => a = coefficient,
                _ => return None,
            }
        }
        (a != 0).then_some((a, b))
    }

    /// Replaces names by sizes.
    pub fn substitute(&self, of: &dyn Fn(u32) -> Option<Size>) -> Size {
        let mut result = Size::default();
        for (monomial, &coefficient) in self.terms().iter() {
            let mut product = Size::constant(coefficient);
            for (atom, power) in monomial {
                let value = match atom {
                    Atom::Var { id, name, known } => of(*id).unwrap_or_else(|| {
                        Size(Form::Name {
                            id: *id,
                            name: name.clone(),
                            known: *known,
                        })
                    }),
                    Atom::FloorDiv(size, divisor) => size
                        .substitute(of)
                        .floor_div(*divisor)
                        .unwrap_or_else(|| Size::constant(0)),
                };
                for _ in 0..*power {
                    product = product.times(&value);
                }
            }
            result = result.plus(&product);
        }
        result
    }

    /// Whether it is certainly another size: what a floor division of names gives is known only
    /// when they are, and some names are known only when the script runs.
    pub fn differs(&self, other: &Size) -> bool {
        fn open(size: &Size) -> bool {
            let terms = size.terms();
            terms.keys().flatten().any(|(atom, _)| match atom {
                Atom::Var { known, .. } => *known == Known::Later,
                Atom::FloorDiv(inner, _) => inner.bounds().is_none(),
            })
        }
        self != other && !open(&self.minus(other))
    }

    /// The ids of the names that occur.
    pub fn names(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        for (atom, _) in self.terms().keys().flatten() {
            match atom {
                Atom::Var { id, .. } => ids.push(*id),
                Atom::FloorDiv(size, _) => ids.extend(size.names()),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The terms of the sum: each a factor and atoms with their powers.
    pub(crate) fn products(&self) -> Vec<(i64, Vec<(Atom, u32)>)> {
        let terms = self.terms();
        let products = terms.iter().map(|(m, &c)| (c, m.clone()));
        products.collect()
    }

    /// Whether any name of the given ids occurs.
    pub fn mentions(&self, id: u32) -> bool {
        match &self.0 {
            Form::Number(_) => false,
            Form::Name { id: other, .. } => *other == id,
            Form::Sum(terms) => terms.keys().flatten().any(|(atom, _)| match atom {
                Atom::Var { id: other, .. } => *other == id,
                Atom::FloorDiv(size, _) => size.mentions(id),
            }),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Number(value) => return write!(f, "{value}"),
            Form::Name { name, .. } => return write!(f, "{name}"),
            Form::Sum(_) => {}
        }
        // Names before numbers, as people write them: `2*H + 1`.
        for (index, (monomial, &coefficient)) in self.terms().iter().rev().enumerate() {
            let magnitude = coefficient.unsigned_abs();
            match (index, coefficient < 0) {
                (0, true) => write!(f, "-")?,
                (0, false) => {}
                (_, true) => write!(f, " - ")?,
                (_, false) => write!(f, " + ")?,
            }
            if monomial.is_empty() {
                write!(f, "{magnitude}")?;
                continue;
            }
            if magnitude != 1 {
                write!(f, "{magnitude}*")?;
            }
            for (at, (atom, power)) in monomial.iter().enumerate() {
                if at > 0 {
                    write!(f, "*")?;
                }
                match atom {
                    Atom::Var { name, .. } => write!(f, "{name}")?,
                    Atom::FloorDiv(size, divisor) => {
                        let name = matches!(size.0, Form::Name { .. });
                        let inner = match name {
                            true => size.to_string(),
                            false => format!("({size})"),
                        };
                        // As tight as `*`, but not associative.
                        match magnitude == 1 && monomial.len() == 1 && *power == 1 {
                            true => write!(f, "{inner} // {divisor}")?,
                            false => write!(f, "({inner} // {divisor})")?,
                        }
                    }
                }
                if *power != 1 {
                    write!(f, "^{power}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms_are_equal_when_the_sizes_are() {
        let (n, m) = (Size::var(1, "n"), Size::var(2, "m"));
        let left = n.plus(&m).times(&n.minus(&m));
        let right = n.times(&n).minus(&m.times(&m));
        assert_eq!(left, right);
        assert_eq!(left.minus(&right), Size::constant(0));
    }

    #[test]
    fn division_is_exact_or_kept() {
        let n = Size::var(1, "n");
        let double = n.times(&Size::constant(2)).plus(&Size::constant(4));
        assert_eq!(double.divide_exactly(2), Some(n.plus(&Size::constant(2))));
        assert_eq!(n.divide_exactly(2), None);
        let half = n.floor_div(2).expect("positive divisor");
        assert_eq!(half.to_string(), "n // 2");
        assert_eq!(half.plus(&half).to_string(), "2*(n // 2)");
        assert_eq!(
            half.substitute(&|_| Some(Size::constant(7))),
            Size::constant(3)
        );
    }

    #[test]
    fn what_only_the_run_tells_may_be_any_size() {
        let (later, each) = (Size::later(1, "rows"), Size::var(2, "n"));
        let three = Size::constant(3);
        assert!(!later.differs(&three) && !later.plus(&three).differs(&each));
        assert!(each.differs(&three) && each.plus(&three).differs(&each));
        assert!(later != three && later.bounds().is_none() && !later.varies());
    }

    #[test]
    fn a_size_that_varies_has_room_for_the_largest() {
        let n = Size::varying(1, "n", Range { least: 2, most: 7 });
        let less = n.minus(&Size::constant(3));
        assert_eq!((less.bounds(), less.room()), (Some((-1, 4)), Some(4)));
        let square = n.times(&n).minus(&n);
        assert_eq!(square.bounds(), Some((4 - 7, 49 - 2)));
        let half = n.floor_div(2).expect("positive divisor");
        assert_eq!((half.room(), half.varies()), (Some(3), true));
        assert_eq!(square.value(&|_| Some(5)), Some(20));
        assert_eq!(Size::var(2, "m").plus(&n).room(), None);
    }

    #[test]
    fn binders_are_solved_where_they_stand_linearly() {
        let n = Size::var(1, "n");
        assert_eq!(
            n.times(&Size::constant(2))
                .plus(&Size::constant(3))
                .linear_in(1),
            Some((2, 3))
        );
        assert_eq!(n.times(&n).linear_in(1), None);
        assert_eq!(n.plus(&Size::var(2, "m")).linear_in(1), None);
    }
}
