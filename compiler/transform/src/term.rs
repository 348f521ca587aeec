//! Product terms: a [`Contract`] with its operands, in a form that can be taken apart.
//!
//! Every pass that builds products goes through [`Term::emit`], so that deltas are gone, equal
//! factors are powers, unused labels are numbers and equal terms look equal wherever they were
//! made (AUTODIFF.md section 3, R1 to R3).

use crate::rule::{Rule, Rules};
use aec_ir::{Contract, Factor, Function, Inst, Label, Labels, Literal, Op, Type, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use smallvec::SmallVec;

/// No term is grown beyond this many labels; a label is one byte.
pub const MAX_LABELS: usize = 200;

/// One factor of a [`Term`].
#[derive(Clone, PartialEq, Debug)]
pub struct TermFactor {
    /// The operand.
    pub value: Value,
    /// A label for each of its axes.
    pub labels: Labels,
    /// How often it occurs.
    pub power: u32,
}

/// `coefficient * Σ Π factors^power Π δ`, summed over every label of `sizes` that is not in
/// `out` (a label that nothing carries multiplies by its size).
#[derive(Clone, PartialEq, Debug)]
pub struct Term {
    /// The factors.
    pub factors: Vec<TermFactor>,
    /// Kronecker deltas.
    pub deltas: Vec<(Label, Label)>,
    /// Labels of the result.
    pub out: Labels,
    /// A constant factor.
    pub coefficient: f64,
    /// Size of each label.
    pub sizes: Vec<usize>,
}

impl Term {
    /// The term of a contraction with its operands.
    pub fn new(contract: &Contract, operands: &[Value]) -> Term {
        Term {
            factors: contract
                .factors
                .iter()
                .zip(operands)
                .map(|(factor, &value)| TermFactor {
                    value,
                    labels: factor.labels.clone(),
                    power: factor.power,
                })
                .collect(),
            deltas: contract.deltas.clone(),
            out: contract.out.clone(),
            coefficient: contract.coefficient,
            sizes: contract.sizes.clone(),
        }
    }

    /// The term that an instruction computes, if it is a contraction.
    pub fn of_inst(f: &Function, inst: Inst) -> Option<Term> {
        match &f.insts[inst].op {
            Op::Contract(contract) => Some(Term::new(contract, &f.insts[inst].operands)),
            _ => None,
        }
    }

    /// The term that defines a value, if it is a contraction.
    pub fn of_value(f: &Function, value: Value) -> Option<Term> {
        Term::of_inst(f, f.def_inst(value)?)
    }

    /// The value itself as a term of one factor.
    pub fn identity(f: &Function, value: Value) -> Term {
        let sizes = f.dims(value).to_vec();
        let labels: Labels = (0..sizes.len() as Label).collect();
        Term {
            factors: vec![TermFactor {
                value,
                labels: labels.clone(),
                power: 1,
            }],
            deltas: Vec::new(),
            out: labels,
            coefficient: 1.0,
            sizes,
        }
    }

    /// A new label.
    pub fn fresh(&mut self, size: usize) -> Label {
        self.sizes.push(size);
        (self.sizes.len() - 1) as Label
    }

    /// Dims of the result.
    pub fn dims(&self) -> SmallVec<[usize; 4]> {
        self.out.iter().map(|&l| self.sizes[l as usize]).collect()
    }

    /// Whether a factor carries the label.
    pub fn carries(&self, label: Label) -> bool {
        self.factors.iter().any(|f| f.labels.contains(&label))
    }

    /// Labels that factors or deltas carry and the result does not.
    pub fn bound(&self) -> Labels {
        (0..self.sizes.len() as Label)
            .filter(|l| !self.out.contains(l))
            .filter(|&l| self.carries(l) || self.deltas.iter().any(|&(a, b)| a == l || b == l))
            .collect()
    }

    /// Whether something is summed.
    pub fn is_summed(&self) -> bool {
        !self.bound().is_empty()
    }

    /// Labels of the result that nothing carries: the value is repeated along them.
    pub fn repeated(&self) -> Labels {
        let in_delta = |l: Label| self.deltas.iter().any(|&(a, b)| a == l || b == l);
        self.out
            .iter()
            .copied()
            .filter(|&l| !self.carries(l) && !in_delta(l))
            .collect()
    }

    /// Whether the term is one operand under other labels, times a number.
    pub fn is_relabel(&self) -> bool {
        self.factors.len() == 1 && self.factors[0].power == 1 && !self.is_summed()
    }

    /// Whether the term is one operand with its axes in another order, times a number.
    pub fn is_permute(&self) -> bool {
        self.is_relabel()
            && self.deltas.is_empty()
            && self.factors[0].labels.len() == self.out.len()
            && all_different(&self.factors[0].labels)
    }

    /// Number of factors, each counted as often as its power says.
    pub fn degree(&self) -> usize {
        self.factors.iter().map(|f| f.power as usize).sum()
    }

    fn rename(&mut self, from: Label, to: Label) {
        for factor in &mut self.factors {
            for label in &mut factor.labels {
                if *label == from {
                    *label = to;
                }
            }
        }
        for (a, b) in &mut self.deltas {
            if *a == from {
                *a = to;
            }
            if *b == from {
                *b = to;
            }
        }
    }

    /// R1: bound labels of deltas are replaced; what stays joins two result labels, and the
    /// factors carry the first of them.
    fn remove_deltas(&mut self, used: &mut Rules) {
        let mut kept: Vec<(Label, Label)> = Vec::new();
        while let Some((a, b)) = self.deltas.pop() {
            if a == b {
                continue;
            }
            used.insert(Rule::Identity);
            let (gone, stays) = if !self.out.contains(&b) {
                (b, a)
            } else if !self.out.contains(&a) {
                (a, b)
            } else {
                // Both in the result: factors speak of the one that stands first.
                let at = |l: Label| self.out.iter().position(|&o| o == l);
                let (first, second) = if at(a) < at(b) { (a, b) } else { (b, a) };
                self.rename(second, first);
                for (x, y) in &mut kept {
                    if *x == second {
                        *x = first;
                    }
                    if *y == second {
                        *y = first;
                    }
                }
                kept.push((first, second));
                continue;
            };
            self.rename(gone, stays);
            // The label is gone, not unused: it must not multiply (R3).
            self.sizes[gone as usize] = 1;
        }
        // Renaming may have turned a joined pair round; put the lower place first again.
        let out = self.out.clone();
        let at = |l: Label| out.iter().position(|&o| o == l);
        for pair in &mut kept {
            if at(pair.0) > at(pair.1) {
                *pair = (pair.1, pair.0);
            }
        }
        kept.retain(|(a, b)| a != b);
        kept.sort_by_key(|&(a, b)| (at(a), at(b)));
        kept.dedup();
        self.deltas = kept;
    }

    /// R2: equal factors become powers.
    fn merge_powers(&mut self, used: &mut Rules) {
        let mut merged: Vec<TermFactor> = Vec::new();
        for factor in self.factors.drain(..) {
            match merged
                .iter_mut()
                .find(|m| m.value == factor.value && m.labels == factor.labels)
            {
                Some(same) => {
                    same.power += factor.power;
                    used.insert(Rule::Powers);
                }
                None => merged.push(factor),
            }
        }
        self.factors = merged;
    }

    /// R3: a summed label that nothing carries multiplies by its size.
    fn count_unused(&mut self, used: &mut Rules) {
        for label in 0..self.sizes.len() as Label {
            let is_used = self.out.contains(&label)
                || self.carries(label)
                || self.deltas.iter().any(|&(a, b)| a == label || b == label);
            if !is_used {
                if self.sizes[label as usize] != 1 {
                    used.insert(Rule::Unused);
                }
                self.coefficient *= self.sizes[label as usize] as f64;
                self.sizes[label as usize] = 1;
            }
        }
    }

    /// Sorts the factors and numbers the labels: result labels first, then bound ones by their
    /// first occurrence.
    fn number(&mut self) {
        let out = self.out.clone();
        let place = |l: Label| out.iter().position(|&o| o == l).unwrap_or(usize::MAX);
        self.factors.sort_by_cached_key(|f| {
            let places: Vec<usize> = f.labels.iter().map(|&l| place(l)).collect();
            (f.value, places, f.power)
        });
        let mut order: Labels = self.out.clone();
        for factor in &self.factors {
            for &label in &factor.labels {
                if !order.contains(&label) {
                    order.push(label);
                }
            }
        }
        let new = |l: Label| order.iter().position(|&o| o == l).unwrap_or(0) as Label;
        for factor in &mut self.factors {
            for label in &mut factor.labels {
                *label = new(*label);
            }
        }
        for (a, b) in &mut self.deltas {
            (*a, *b) = (new(*a), new(*b));
        }
        let sizes = order.iter().map(|&l| self.sizes[l as usize]).collect();
        self.out = (0..self.out.len() as Label).collect();
        self.sizes = sizes;
    }

    /// The normal form; gives the rules that led to it.
    pub fn normalize(&mut self) -> Rules {
        let mut used = Rules::default();
        self.remove_deltas(&mut used);
        self.merge_powers(&mut used);
        self.count_unused(&mut used);
        self.number();
        used
    }

    /// Replaces factor `at` by the term that defines it. The definition may sum only if the
    /// factor's power is 1. Labels of the opened term that nothing carries stay as labels of
    /// this one, so that R3 sees them.
    pub fn open(&mut self, at: usize, inner: &Term) {
        let factor = self.factors.remove(at);
        let power = factor.power;
        let mut to: Vec<Label> = Vec::with_capacity(inner.sizes.len());
        for label in 0..inner.sizes.len() {
            let place = inner.out.iter().position(|&o| o as usize == label);
            to.push(match place {
                Some(place) => factor.labels[place],
                None => self.fresh(inner.sizes[label]),
            });
        }
        for (index, opened) in inner.factors.iter().enumerate() {
            self.factors.insert(
                at + index,
                TermFactor {
                    value: opened.value,
                    labels: opened.labels.iter().map(|&l| to[l as usize]).collect(),
                    power: opened.power * power,
                },
            );
        }
        for &(a, b) in &inner.deltas {
            self.deltas.push((to[a as usize], to[b as usize]));
        }
        self.coefficient *= inner.coefficient.powi(power as i32);
    }

    /// Appends the term in normal form; gives the operand itself for an identity and a
    /// constant for a product of nothing. A coefficient of zero gives zero, whatever the
    /// factors hold.
    pub fn emit(mut self, f: &mut Function, elem: Elem, span: Span) -> Value {
        self.normalize();
        let ty = Type {
            elem,
            dims: self.dims(),
        };
        if (self.factors.is_empty() && self.deltas.is_empty()) || self.coefficient == 0.0 {
            let literal = match elem {
                Elem::F32 | Elem::F64 => Literal::Float(self.coefficient),
                Elem::I32 | Elem::I64 => Literal::Int(self.coefficient as i64),
                Elem::Bool => Literal::Bool(self.coefficient != 0.0),
            };
            return f.constant(literal, ty, span);
        }
        if let [factor] = &self.factors[..]
            && factor.power == 1
            && factor.labels == self.out
            && self.deltas.is_empty()
            && self.coefficient == 1.0
        {
            return factor.value;
        }
        let operands: SmallVec<[Value; 4]> = self.factors.iter().map(|f| f.value).collect();
        f.push1(Op::Contract(self.contract()), &operands, ty, span)
    }

    /// The op, without its operands.
    pub fn contract(&self) -> Contract {
        Contract {
            factors: self
                .factors
                .iter()
                .map(|f| Factor {
                    labels: f.labels.clone(),
                    power: f.power,
                })
                .collect(),
            deltas: self.deltas.clone(),
            out: self.out.clone(),
            coefficient: self.coefficient,
            sizes: self.sizes.clone(),
        }
    }
}

/// Whether no label stands twice.
pub fn all_different(labels: &[Label]) -> bool {
    labels
        .iter()
        .enumerate()
        .all(|(at, label)| !labels[..at].contains(label))
}

/// The elementwise product of values of equal dims, times a number.
pub fn product(f: &mut Function, values: &[Value], coefficient: f64, span: Span) -> Value {
    let elem = f.ty(values[0]).elem;
    let mut term = Term::identity(f, values[0]);
    term.coefficient = coefficient;
    for &value in &values[1..] {
        let labels = term.out.clone();
        term.factors.push(TermFactor {
            value,
            labels,
            power: 1,
        });
    }
    term.emit(f, elem, span)
}

/// The value times a number.
pub fn scale(f: &mut Function, x: Value, coefficient: f64, span: Span) -> Value {
    product(f, &[x], coefficient, span)
}

/// The value repeated along a new leading axis.
pub fn repeat_leading(f: &mut Function, x: Value, size: usize, span: Span) -> Value {
    let elem = f.ty(x).elem;
    let mut term = Term::identity(f, x);
    let axis = term.fresh(size);
    term.out.insert(0, axis);
    term.emit(f, elem, span)
}

/// The value repeated to `dims`, its axes being result axes `at` (in any order).
pub fn repeat_to(f: &mut Function, x: Value, dims: &[usize], at: &[usize], span: Span) -> Value {
    let elem = f.ty(x).elem;
    let labels: Labels = at.iter().map(|&axis| axis as Label).collect();
    let term = Term {
        factors: vec![TermFactor {
            value: x,
            labels,
            power: 1,
        }],
        deltas: Vec::new(),
        out: (0..dims.len() as Label).collect(),
        coefficient: 1.0,
        sizes: dims.to_vec(),
    };
    term.emit(f, elem, span)
}

/// The sum over `axes`, times a number.
pub fn sum(f: &mut Function, x: Value, axes: &[usize], coefficient: f64, span: Span) -> Value {
    let elem = f.ty(x).elem;
    let mut term = Term::identity(f, x);
    term.coefficient = coefficient;
    term.out.retain(|l| !axes.contains(&(*l as usize)));
    term.emit(f, elem, span)
}

/// Result axis i is operand axis `axes[i]`.
pub fn permute(f: &mut Function, x: Value, axes: &[usize], span: Span) -> Value {
    let elem = f.ty(x).elem;
    let mut term = Term::identity(f, x);
    term.out = axes.iter().map(|&axis| axis as Label).collect();
    term.emit(f, elem, span)
}
