//! Where the operands of a product lie in memory, and what the runtime can read of them there;
//! copies of the others.

use super::{Preparer, count, plain, sum_of};
use crate::product::Operand;
use crate::views::{self, trace};
use aec_ir::{Contract, Label, Labels, Op, Value};
use aec_runtime::Elem;
use aec_runtime::gemm::Walk;

/// An operand of a contraction traced to memory.
pub(super) struct View {
    base: Value,
    offset: i64,
    /// The axes of memory that each label counts through, if it counts through any.
    of_label: Vec<(Label, Option<views::Axes>)>,
    /// How many entries the value in memory has, if the kernel that computes it can as well store
    /// it in another order.
    made: Option<usize>,
}

impl View {
    /// Empty for a label of the other operand.
    fn axes_of(&self, label: Label) -> Option<&[(usize, i64)]> {
        match self.of_label.iter().find(|(l, _)| *l == label) {
            Some((_, axes)) => axes.as_deref(),
            None => Some(&[]),
        }
    }

    /// The axes of labels as one axis.
    fn walk(&self, labels: &Labels) -> Option<Walk> {
        let axes: Option<Vec<&[(usize, i64)]>> = labels.iter().map(|&l| self.axes_of(l)).collect();
        Walk::nested(axes?.into_iter().flatten().copied())
    }

    /// From one entry of a label to the next in the outermost of its axes, in elements.
    pub(super) fn outer_step(&self, label: Label) -> i64 {
        let outermost = self.axes_of(label).and_then(|axes| axes.first());
        outermost.map_or(0, |&(_, step)| step)
    }

    /// Whether entries of a label are side by side.
    fn is_adjacent(&self, c: &Contract, label: Label) -> bool {
        let innermost = self.axes_of(label).and_then(|axes| axes.last());
        c.sizes[usize::from(label)] > 1 && matches!(innermost, Some((_, 1)))
    }

    /// Its matrices, of labels in groups (batch, rows, columns), if the runtime shall read them where
    /// they lie. What it has to pack entry by entry should be packed `once`.
    pub(super) fn operand(
        &self,
        c: &Contract,
        groups: [&Labels; 3],
        once: bool,
    ) -> Option<Operand> {
        let [batch, rows, columns] = groups;
        let operand = Operand {
            value: self.base,
            offset: usize::try_from(self.offset).ok()?,
            rows: self.walk(rows)?,
            cols: self.walk(columns)?,
            batch: match count(c, batch) {
                1 => Walk::step(0),
                _ => self.walk(batch)?,
            },
        };
        let (m, n) = (count(c, rows), count(c, columns));
        let runs = operand.rows.run(m) > 1 || operand.cols.run(n) > 1;
        let free = self
            .made
            .is_some_and(|made| m * n * count(c, batch) <= made);
        let packed = (runs || once) && !free;
        (operand.is_plain() || packed).then_some(operand)
    }
}

impl Preparer {
    /// An operand traced to memory, with the axes of each label.
    pub(super) fn view(&self, c: &Contract, x: usize, operand: Value) -> View {
        let copies = &self.out.copies;
        let traced = trace(&self.out.f, operand, &|v| copies.contains(v));
        let mut of_label: Vec<(Label, Option<views::Axes>)> = Vec::new();
        for (&label, axes) in c.factors[x].labels.iter().zip(traced.axes) {
            match of_label.iter_mut().find(|(l, _)| *l == label) {
                Some((_, known)) => *known = known.take().and_then(|known| diagonal(&known, &axes)),
                None => of_label.push((label, Some(axes))),
            }
        }
        View {
            base: traced.base,
            offset: traced.offset,
            of_label,
            made: self.made_by_kernel(traced.base),
        }
    }

    /// As [`View::made`], of a value.
    fn made_by_kernel(&self, v: Value) -> Option<usize> {
        let f = &self.out.f;
        let by_kernel = match &f.insts[f.def_inst(v)?].op {
            Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select | Op::Convert => true,
            Op::Concat { .. } | Op::Draw { .. } | Op::Reduce { .. } => true,
            Op::Contract(_) => !self.out.products.contains_key(&v),
            _ => false,
        };
        by_kernel.then(|| f.ty(v).len())
    }

    /// A copy of an operand with its labels in groups (batch, rows, columns), and their order. Rows
    /// whose entries are side by side stay so. The same copy serves other products.
    pub(super) fn copy(
        &mut self,
        c: &Contract,
        (x, view): (usize, &View),
        operand: Value,
        groups: [&Labels; 3],
        elem: Elem,
    ) -> (Operand, Labels) {
        let [batch, rows, columns] = groups;
        let by_columns = rows.iter().any(|&l| view.is_adjacent(c, l));
        let order = if by_columns {
            [batch, columns, rows]
        } else {
            groups
        };
        let out: Labels = order.iter().flat_map(|g| g.iter().copied()).collect();
        let labels = &c.factors[x].labels;
        let places: Vec<usize> = out
            .iter()
            .filter_map(|label| labels.iter().position(|l| l == label))
            .collect();
        // Of an operand with a label twice, the diagonal is copied.
        let known = (places.len() == labels.len()).then_some((operand, places));
        let made = known.as_ref().and_then(|key| self.copied.get(key)).copied();
        let v = made.unwrap_or_else(|| {
            let contract = sum_of(c, vec![plain(labels.clone())], out.clone());
            self.push_contract(contract, &[operand], elem)
        });
        if let Some(key) = known {
            self.copied.insert(key, v);
        }
        self.out.copies.insert(v);
        self.out.notes.insert(
            v,
            "copied: the product's axes do not merge in memory".to_string(),
        );
        let (m, n) = (count(c, rows), count(c, columns));
        let (row, column) = if by_columns { (1, m) } else { (n, 1) };
        let operand = Operand {
            value: v,
            offset: 0,
            rows: Walk::step(row),
            cols: Walk::step(column),
            batch: Walk::step(if count(c, batch) == 1 { 0 } else { m * n }),
        };
        (operand, out)
    }
}

/// The axes of a label that stands twice: it steps along both, which must be cut alike.
fn diagonal(a: &views::Axes, b: &views::Axes) -> Option<views::Axes> {
    let cut = |x: &views::Axes, to: &views::Axes| -> views::Axes {
        let [(_, step)] = x.as_slice() else {
            return x.clone();
        };
        let mut inner = 1;
        let mut out: views::Axes = to
            .iter()
            .rev()
            .map(|&(count, _)| {
                let axis = (count, step * inner);
                inner *= count as i64;
                axis
            })
            .collect();
        out.reverse();
        out
    };
    let (a, b) = (cut(a, b), cut(b, a));
    let alike = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0);
    alike.then(|| {
        let pairs = a.iter().zip(&b);
        pairs.map(|(&(count, x), &(_, y))| (count, x + y)).collect()
    })
}
