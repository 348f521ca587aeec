//! Coordinates: how an index of a tensor follows from loop variables. Views (transposes,
//! slices, reshapes) are maps of coordinates and cost nothing; this file owns those maps.

use crate::lir::Val;
use smallvec::SmallVec;

/// A variable of a [`Coord`]: a loop variable's number, or an axis number when views are traced.
pub type Term = u32;

/// `base + Σ coefficient * variable + Σ coefficient * value`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Coord {
    /// The constant term.
    pub base: i64,
    /// Terms of variables, ascending, no coefficient 0.
    pub terms: SmallVec<[(Term, i64); 3]>,
    /// Terms of I64 values (places given by data), ascending, no coefficient 0.
    pub at: SmallVec<[(Val, i64); 1]>,
}

impl Coord {
    /// A constant.
    pub fn constant(base: i64) -> Coord {
        Coord {
            base,
            ..Coord::default()
        }
    }

    /// Whether it is one.
    pub fn is_constant(&self) -> bool {
        self.terms.is_empty() && self.at.is_empty()
    }

    /// A variable.
    pub fn var(var: Term) -> Coord {
        Coord {
            terms: SmallVec::from_slice(&[(var, 1)]),
            ..Coord::default()
        }
    }

    /// An I64 value.
    pub fn value(value: Val) -> Coord {
        Coord {
            at: SmallVec::from_slice(&[(value, 1)]),
            ..Coord::default()
        }
    }

    /// Adds `factor * other`.
    pub fn add_scaled(&mut self, other: &Coord, factor: i64) {
        if factor == 0 {
            return;
        }
        self.base += factor * other.base;
        for &(var, c) in &other.terms {
            add_term(&mut self.terms, var, c * factor);
        }
        for &(val, c) in &other.at {
            add_term(&mut self.at, val, c * factor);
        }
    }

    /// `factor * self + offset`.
    pub fn scaled(&self, factor: i64, offset: i64) -> Coord {
        let mut out = Coord::constant(offset);
        out.add_scaled(self, factor);
        out
    }

    /// Coefficient of a variable, 0 if it has none.
    pub fn coefficient(&self, var: Term) -> i64 {
        self.terms
            .iter()
            .find(|&&(v, _)| v == var)
            .map_or(0, |&(_, c)| c)
    }
}

fn add_term<K: Copy + Ord, const N: usize>(terms: &mut SmallVec<[(K, i64); N]>, key: K, c: i64)
where
    [(K, i64); N]: smallvec::Array<Item = (K, i64)>,
{
    match terms.binary_search_by_key(&key, |&(k, _)| k) {
        Ok(at) => {
            terms[at].1 += c;
            if terms[at].1 == 0 {
                terms.remove(at);
            }
        }
        Err(at) => {
            if c != 0 {
                terms.insert(at, (key, c));
            }
        }
    }
}

/// Row-major strides, in elements.
pub fn row_major(dims: &[usize]) -> SmallVec<[i64; 4]> {
    let mut strides: SmallVec<[i64; 4]> = SmallVec::from_elem(1, dims.len());
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis].max(1) as i64;
    }
    strides
}

/// The coordinates of the element at a place in memory.
pub fn place_of(dims: &[usize], mut at: usize) -> Vec<Coord> {
    let mut coords = vec![Coord::constant(0); dims.len()];
    for (coord, &size) in coords.iter_mut().zip(dims).rev() {
        *coord = Coord::constant((at % size) as i64);
        at /= size;
    }
    coords
}

/// The place of an element in a row-major buffer.
pub fn linear(dims: &[usize], coords: &[Coord]) -> Coord {
    let mut out = Coord::default();
    for (coord, stride) in coords.iter().zip(row_major(dims)) {
        out.add_scaled(coord, stride);
    }
    out
}

/// Why a coordinate is not affine in the variables there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsplit {
    /// It would be if this variable were two, the inner one of this size.
    Variable(Term, i64),
    /// It depends on the data, or sizes do not divide.
    Never(
        /// Which operand axis of a reshape.
        usize,
    ),
}

/// Quotient and remainder of a coordinate by a size, if both are affine.
fn split(
    coord: &Coord,
    size: i64,
    extent: &dyn Fn(Term) -> i64,
) -> Result<(Coord, Coord), Option<(Term, i64)>> {
    if !coord.at.is_empty() {
        return Err(None);
    }
    let mut quotient = Coord::constant(coord.base.div_euclid(size));
    let mut rest = Coord::constant(coord.base.rem_euclid(size));
    let mut top = rest.base;
    for &(var, c) in &coord.terms {
        if c % size == 0 {
            add_term(&mut quotient.terms, var, c / size);
        } else {
            if c < 0 {
                return Err(None);
            }
            add_term(&mut rest.terms, var, c);
            top += c * (extent(var) - 1).max(0);
        }
    }
    if top < size {
        return Ok((quotient, rest));
    }
    for &(var, c) in &rest.terms {
        let inner = size / c;
        if size % c == 0 && inner > 1 && extent(var) > inner && extent(var) % inner == 0 {
            return Err(Some((var, inner)));
        }
    }
    Err(None)
}

/// Coordinates in `from` dims of the element at `coords` in `to` dims, both row-major with the
/// same number of elements. Axes are matched in groups of equal size, so that only axes which a
/// reshape really regroups are split.
pub fn reshape(
    from: &[usize],
    to: &[usize],
    coords: &[Coord],
    extent: &dyn Fn(Term) -> i64,
) -> Result<Vec<Coord>, Unsplit> {
    let mut out = vec![Coord::default(); from.len()];
    if from.contains(&0) {
        return Ok(out);
    }
    let (mut i, mut j) = (0, 0);
    while i < from.len() && j < to.len() {
        let (start_i, start_j) = (i, j);
        let (mut a, mut b) = (from[i], to[j]);
        i += 1;
        j += 1;
        while a != b {
            if a < b {
                a *= from[i];
                i += 1;
            } else {
                b *= to[j];
                j += 1;
            }
        }
        if i - start_i == 1 && j - start_j == 1 {
            out[start_i] = coords[start_j].clone();
            continue;
        }
        let mut rest = linear(&to[start_j..j], &coords[start_j..j]);
        for axis in (start_i..i).rev() {
            if axis == start_i {
                out[axis] = rest;
                break;
            }
            if from[axis] == 1 {
                continue;
            }
            match split(&rest, from[axis] as i64, extent) {
                Ok((quotient, remainder)) => {
                    out[axis] = remainder;
                    rest = quotient;
                }
                Err(Some((var, inner))) => return Err(Unsplit::Variable(var, inner)),
                Err(None) => return Err(Unsplit::Never(axis)),
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &[usize], to: &[usize]) {
        // An axis of one entry has the coordinate 0.
        let coord = |axis: usize| match to[axis] {
            1 => Coord::constant(0),
            _ => Coord::var(axis as u32),
        };
        let vars: Vec<Coord> = (0..to.len()).map(coord).collect();
        let sizes: Vec<i64> = to.iter().map(|&d| d as i64).collect();
        let got = reshape(from, to, &vars, &|v| sizes[v as usize]);
        let Ok(got) = got else {
            panic!("{from:?} {to:?} {got:?}")
        };
        let place = linear(from, &got);
        let expected = linear(to, &vars);
        assert_eq!(place, expected);
    }

    #[test]
    fn merging_and_equal_axes_are_affine() {
        check(&[6, 5], &[2, 3, 5]);
        check(&[2, 15], &[2, 3, 5]);
        check(&[1, 30, 1], &[2, 3, 1, 5]);
        check(&[], &[1, 1]);
    }

    #[test]
    fn a_split_names_its_variable() {
        let got = reshape(&[2, 3], &[6], &[Coord::var(0)], &|_| 6);
        assert_eq!(got, Err(Unsplit::Variable(0, 3)));
    }

    #[test]
    fn regrouped_axes_never_split() {
        let vars = [Coord::var(0), Coord::var(1)];
        let got = reshape(&[3, 2], &[2, 3], &vars, &|v| [2, 3][v as usize]);
        assert_eq!(got, Err(Unsplit::Never(1)));
    }
}
