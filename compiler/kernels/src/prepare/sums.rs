//! Sums that are not matrix products: factors outside the sum, several factors in pairs, long
//! sums as partial sums of fixed shape (so that no result depends on the number of threads).

use super::{Preparer, count, plain, sum_of, unused};
use crate::coords;
use aec_ir::{Contract, Factor, Label, Labels, Op, Reduction, Value};
use aec_runtime::Elem;
use smallvec::{SmallVec, smallvec};

/// Sums of more terms than this are split into partial sums.
const LONG_SUM: usize = 8192;
/// Sums of at least so many columns beside one another, and of so many bytes, go by blocks of rows.
const LEAST_COLUMNS: usize = 16;
const COLUMN_SUMS_FROM: usize = 1 << 17;
/// Bytes of a block of rows: several operands' blocks fit L1.
const BLOCK_BYTES: usize = 1 << 13;

impl Preparer {
    /// Sums without the factors that do not vary along the sum, then multiplies by them.
    pub(super) fn outer_factors(
        &mut self,
        c: Contract,
        operands: &[Value],
        elem: Elem,
        outer: &[bool],
    ) -> Value {
        let side = |wanted: bool| -> (Vec<Factor>, SmallVec<[Value; 4]>) {
            let picked = (0..outer.len()).filter(|&x| outer[x] == wanted);
            picked.map(|x| (c.factors[x].clone(), operands[x])).unzip()
        };
        let (inner_factors, inner_operands) = side(false);
        let (mut factors, mut all) = side(true);
        let kept: Labels = c
            .out
            .iter()
            .copied()
            .filter(|l| inner_factors.iter().any(|x| x.labels.contains(l)))
            .collect();
        let inner = sum_of(&c, inner_factors, kept.clone());
        let sum = self.contract(only_used(inner), inner_operands, elem);
        factors.insert(0, plain(kept));
        all.insert(0, sum);
        self.push_contract(Contract { factors, ..c }, &all, elem)
    }

    /// Whether the loops of a contraction run much longer than its largest factor.
    pub(super) fn is_wide(&self, c: &Contract, operands: &[Value]) -> bool {
        let used = |l: &usize| c.factors.iter().any(|x| x.labels.contains(&(*l as Label)));
        let total: usize = (0..c.sizes.len())
            .filter(used)
            .map(|l| c.sizes[l])
            .product();
        let most = operands.iter().map(|&x| self.out.f.ty(x).len()).max();
        total > 4096 && total > 4 * most.unwrap_or(0)
    }

    /// Contracts the pair of factors with the smallest result first.
    pub(super) fn pairwise(
        &mut self,
        c: Contract,
        mut operands: SmallVec<[Value; 4]>,
        elem: Elem,
    ) -> Value {
        let number = c.factors.len();
        let kept_of = |p: usize, q: usize| -> Labels {
            let mut kept = Labels::new();
            for &l in c.factors[p].labels.iter().chain(&c.factors[q].labels) {
                let later = c.out.contains(&l)
                    || (0..number).any(|x| x != p && x != q && c.factors[x].labels.contains(&l));
                if later && !kept.contains(&l) {
                    kept.push(l);
                }
            }
            kept
        };
        let pairs = (0..number).flat_map(|p| (p + 1..number).map(move |q| (p, q)));
        let best = pairs.min_by_key(|&(p, q)| count(&c, &kept_of(p, q)));
        let Some((p, q)) = best else {
            return self.push_contract(c, &operands, elem);
        };
        let kept = kept_of(p, q);
        let pair = vec![c.factors[p].clone(), c.factors[q].clone()];
        let first = sum_of(&c, pair, kept.clone());
        let made = self.contract(
            only_used(first),
            SmallVec::from_slice(&[operands[p], operands[q]]),
            elem,
        );
        let mut rest = c;
        rest.factors.remove(q);
        operands.remove(q);
        rest.factors[p] = plain(kept);
        operands[p] = made;
        self.contract(only_used(rest), operands, elem)
    }

    /// A sum of loops; a long one in two stages.
    pub(super) fn long_sum(&mut self, c: Contract, operands: &[Value], elem: Elem) -> Value {
        let f = &self.out.f;
        // Summed labels with their widest step in the first factor that has them.
        let mut summed: Vec<(i64, Label)> = Vec::new();
        for label in 0..c.sizes.len() as Label {
            if c.out.contains(&label) || c.sizes[usize::from(label)] == 1 {
                continue;
            }
            let step = c.factors.iter().zip(operands).find_map(|(factor, &x)| {
                let at = factor.labels.iter().position(|&l| l == label)?;
                Some(coords::row_major(f.dims(x))[at])
            });
            if let Some(step) = step {
                summed.push((step, label));
            }
        }
        summed.sort_by_key(|&(step, label)| (std::cmp::Reverse(step), label));
        let size = |l: Label| c.sizes[usize::from(l)];
        let total: usize = summed.iter().map(|&(_, l)| size(l)).product();
        let labels: Labels = summed.iter().map(|&(_, l)| l).collect();
        if let Some(sums) = self.column_sums(&c, operands, elem, &labels) {
            return sums;
        }
        if total <= LONG_SUM || c.coefficient.is_nan() || !c.deltas.is_empty() {
            return self.push_contract(c, operands, elem);
        }
        let (_, outer) = summed[0];
        let rest = total / size(outer);
        if summed.len() > 1 && rest >= 64 {
            return self.two_stages(c, operands, elem, &[outer]);
        }
        // One long axis: rows of a divisor of its size.
        let n = size(outer);
        let Some(row) = row_length(n) else {
            return self.push_contract(c, operands, elem);
        };
        let (split, parts) = self.divided(c, operands, outer, row);
        self.two_stages(split, &parts, elem, &[outer])
    }

    /// Sums of columns that lie across memory: of blocks of rows that stay in L1 while one vector of
    /// columns after the other goes down them, then over the blocks. None if that is no gain, or if
    /// a product reads the same and may take the sums along.
    fn column_sums(
        &mut self,
        c: &Contract,
        operands: &[Value],
        elem: Elem,
        summed: &[Label],
    ) -> Option<Value> {
        let f = &self.out.f;
        let widest = |label: Label| {
            let steps = c.factors.iter().zip(operands).filter_map(|(factor, &x)| {
                let at = factor.labels.iter().position(|&l| l == label)?;
                Some(coords::row_major(f.dims(x))[at])
            });
            steps.max().unwrap_or(0)
        };
        let (&inner, outer) = summed.split_last()?;
        let (columns, rows) = (count(c, &c.out), count(c, summed));
        let across = columns >= LEAST_COLUMNS && widest(inner) >= columns as i64;
        let large = rows * columns * elem.bytes() >= COLUMN_SUMS_FROM;
        if self.takes_along || !elem.is_float() || !c.deltas.is_empty() || !across || !large {
            return None;
        }
        let block = (BLOCK_BYTES / (columns * elem.bytes())).clamp(4, 64);
        let size = c.sizes[usize::from(inner)];
        if size > 2 * block {
            let row = (block.div_ceil(2)..=2 * block)
                .filter(|row| size.is_multiple_of(*row))
                .min_by_key(|row| row.abs_diff(block))?;
            let (split, parts) = self.divided(c.clone(), operands, inner, row);
            return Some(self.two_stages(split, &parts, elem, summed));
        }
        (!outer.is_empty()).then(|| self.two_stages(c.clone(), operands, elem, outer))
    }

    /// The same contraction with a label in two: rows of `row` entries, which get a label of their
    /// own, the last one, and their number.
    fn divided(
        &mut self,
        mut c: Contract,
        operands: &[Value],
        divided: Label,
        row: usize,
    ) -> (Contract, SmallVec<[Value; 4]>) {
        let inner = c.sizes.len() as Label;
        let rows = c.sizes[usize::from(divided)] / row;
        c.sizes.push(row);
        c.sizes[usize::from(divided)] = rows;
        let mut parts: SmallVec<[Value; 4]> = SmallVec::new();
        for (factor, &x) in c.factors.iter_mut().zip(operands) {
            if !factor.labels.contains(&divided) {
                parts.push(x);
                continue;
            }
            let mut dims: SmallVec<[usize; 4]> = SmallVec::new();
            let mut labels = Labels::new();
            for (&label, &d) in factor.labels.iter().zip(self.out.f.dims(x)) {
                if label == divided {
                    dims.extend([rows, row]);
                    labels.extend([divided, inner]);
                } else {
                    dims.push(d);
                    labels.push(label);
                }
            }
            factor.labels = labels;
            let ty = self.out.f.ty(x).with_dims(&dims);
            parts.push(self.push(Op::Reshape, &[x], ty));
        }
        (c, parts)
    }

    /// First all but `outer`, then `outer`.
    fn two_stages(
        &mut self,
        c: Contract,
        operands: &[Value],
        elem: Elem,
        outer: &[Label],
    ) -> Value {
        let first_axis = |l: Label| {
            c.factors
                .iter()
                .find_map(|x| x.labels.iter().position(|&o| o == l))
        };
        let before = match (c.out.first(), outer.first()) {
            (Some(&l), Some(&outer)) => first_axis(outer) < first_axis(l),
            _ => true,
        };
        let mut out = c.out.clone();
        let at = if before { 0 } else { out.len() };
        out.insert_from_slice(at, outer);
        let mut first = c.clone();
        first.coefficient = 1.0;
        first.out = out.clone();
        let partial = self.push_contract(first, operands, elem);
        self.out
            .notes
            .insert(partial, "partial sums of fixed shape".to_string());
        let second = Contract {
            coefficient: c.coefficient,
            ..sum_of(&c, vec![plain(out)], c.out.clone())
        };
        self.long_sum(second, &[partial], elem)
    }

    pub(super) fn reduce(&mut self, op: Reduction, axes: &[usize], x: Value) -> Value {
        let ty = self.out.f.ty(x).clone();
        let total: usize = axes.iter().map(|&a| ty.dims[a]).product();
        let keep = |drop: &[usize]| -> SmallVec<[usize; 4]> {
            (0..ty.dims.len())
                .filter(|a| !drop.contains(a))
                .map(|a| ty.dims[a])
                .collect()
        };
        if axes.len() > 1 && total > LONG_SUM {
            let dims = keep(&axes[1..]);
            let partial = self.push(
                Op::Reduce {
                    op,
                    axes: axes[1..].into(),
                },
                &[x],
                ty.with_dims(&dims),
            );
            let dims = keep(axes);
            let first: SmallVec<[usize; 4]> = smallvec![axes[0]];
            return self.push(
                Op::Reduce { op, axes: first },
                &[partial],
                ty.with_dims(&dims),
            );
        }
        let dims = keep(axes);
        self.push(
            Op::Reduce {
                op,
                axes: axes.into(),
            },
            &[x],
            ty.with_dims(&dims),
        )
    }
}

/// Labels that nothing has left get size 1: what was summed over them is summed elsewhere.
fn only_used(mut c: Contract) -> Contract {
    for label in unused(&c) {
        c.sizes[usize::from(label)] = 1;
    }
    c
}

/// The divisor of `n` nearest to 1024 in 64..=8192, if there is one.
fn row_length(n: usize) -> Option<usize> {
    (64..=LONG_SUM.min(n / 2))
        .filter(|row| n.is_multiple_of(*row))
        .min_by_key(|row| (row.leading_zeros() as i32 - 1024usize.leading_zeros() as i32).abs())
}

#[cfg(test)]
mod tests {
    use crate::prepare::prepare;
    use aec_ir::{Function, Type};
    use aec_runtime::Elem;
    use aec_syntax::Span;

    #[test]
    fn a_long_sum_has_partial_sums() {
        let mut f = Function::new("f");
        let x = f.param(Type::new(Elem::F32, &[128, 784]), "x");
        let s = f.sum(x, &[0, 1], Span::NONE);
        f.results = vec![s];
        let p = prepare(&f, 0, 0..0, &[]);
        assert_eq!(p.f.order.len(), 2);
        assert_eq!(p.f.dims(p.f.insts[p.f.order[0]].results[0]), &[128]);
    }
}
