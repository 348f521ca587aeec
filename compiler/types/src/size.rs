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

/// A size in normal form: coefficients of monomials, none of them 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Size {
    terms: BTreeMap<Monomial, i64>,
}

impl Size {
    /// A number.
    pub fn constant(value: i64) -> Size {
        let mut size = Size::default();
        size.add_term(Vec::new(), value);
        size
    }

    /// A name.
    pub fn var(id: u32, name: &str) -> Size {
        let mut size = Size::default();
        size.add_term(
            vec![(
                Atom::Var {
                    id,
                    name: name.into(),
                },
                1,
            )],
            1,
        );
        size
    }

    /// The number that it is, if it is one.
    pub fn as_constant(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new() as &Monomial).copied(),
            _ => None,
        }
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: i64) {
        if coefficient == 0 {
            return;
        }
        let sum = self
            .terms
            .get(&monomial)
            .copied()
            .unwrap_or(0)
            .saturating_add(coefficient);
        if sum == 0 {
            self.terms.remove(&monomial);
        } else {
            self.terms.insert(monomial, sum);
        }
    }

    /// `self + other`.
    pub fn plus(&self, other: &Size) -> Size {
        let mut sum = self.clone();
        for (monomial, &coefficient) in &other.terms {
            sum.add_term(monomial.clone(), coefficient);
        }
        sum
    }

    /// `self - other`.
    pub fn minus(&self, other: &Size) -> Size {
        self.plus(&other.times(&Size::constant(-1)))
    }

    /// `self * other`.
    pub fn times(&self, other: &Size) -> Size {
        let mut product = Size::default();
        for (left, &a) in &self.terms {
            for (right, &b) in &other.terms {
                let mut monomial = left.clone();
                for (atom, power) in right {
                    match monomial.binary_search_by(|(at, _)| at.cmp(atom)) {
                        Ok(at) => monomial[at].1 += power,
                        Err(at) => monomial.insert(at, (atom.clone(), *power)),
                    }
                }
                product.add_term(monomial, a.saturating_mul(b));
            }
        }
        product
    }

    /// `self / divisor` if every coefficient divides.
    pub fn divide_exactly(&self, divisor: i64) -> Option<Size> {
        if divisor == 0 || self.terms.values().any(|c| c % divisor != 0) {
            return None;
        }
        Some(Size {
            terms: self
                .terms
                .iter()
                .map(|(m, c)| (m.clone(), c / divisor))
                .collect(),
        })
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
        let mut size = Size::default();
        size.add_term(vec![(Atom::FloorDiv(self.clone(), divisor), 1)], 1);
        Some(size)
    }

    /// If this is `a * name + b` with numbers a, b for the name of that id: (a, b).
    pub fn linear_in(&self, id: u32) -> Option<(i64, i64)> {
        let (mut a, mut b) = (0, 0);
        for (monomial, &coefficient) in &self.terms {
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
        for (monomial, &coefficient) in &self.terms {
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
        self.terms.keys().flatten().any(|(atom, _)| match atom {
            Atom::Var { id: other, .. } => *other == id,
            Atom::FloorDiv(size, _) => size.mentions(id),
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return write!(f, "0");
        }
        // Names before numbers, as people write them: `2*H + 1`.
        for (index, (monomial, &coefficient)) in self.terms.iter().rev().enumerate() {
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
