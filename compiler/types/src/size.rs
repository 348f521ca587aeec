//! Sizes: polynomials in names with integer coefficients (SEMANTICS.md S2). Two sizes are equal
//! if their normal forms are. When a script runs every size is a number.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// What a polynomial is in: a size name, or a floor division that does not reduce.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Atom {
    /// A size name; `id` tells apart equal names of different scopes.
    Var {
        /// Unique number.
        id: u32,
        /// As written.
        name: Rc<str>,
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
            Some(([(Atom::Var { id, name }, 1)], 1)) => Size(Form::Name {
                id: *id,
                name: name.clone(),
            }),
            _ => Size(Form::Sum(Rc::new(terms))),
        }
    }

    fn terms(&self) -> Rc<Terms> {
        let mut terms = Terms::new();
        match &self.0 {
            Form::Number(value) => add_term(&mut terms, Vec::new(), *value),
            Form::Name { id, name } => {
                let atom = Atom::Var {
                    id: *id,
                    name: name.clone(),
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
                    Atom::Var { id, name } => of(*id).unwrap_or_else(|| Size::var(*id, name)),
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

    /// Whether any name of the given ids occurs.
    pub fn mentions(&self, id: u32) -> bool {
        self.terms().keys().flatten().any(|(atom, _)| match atom {
            Atom::Var { id: other, .. } => *other == id,
            Atom::FloorDiv(size, _) => size.mentions(id),
        })
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
                    Atom::FloorDiv(size, divisor) => write!(f, "({size}) // {divisor}")?,
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
        assert_eq!(half.to_string(), "(n) // 2");
        assert_eq!(
            half.substitute(&|_| Some(Size::constant(7))),
            Size::constant(3)
        );
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
