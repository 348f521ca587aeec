//! Prepares a function for planning: picks the contractions that are matrix products (`products`,
//! with what the runtime can read of their operands, `operands`), splits large sums into partial
//! sums of fixed shape (`sums`), lets parts of a sum stand side by side (`concat`), gives every
//! result a value of its own, and numbers the run-time checks (`checks`).

mod checks;
mod concat;
mod operands;
mod products;
mod sums;

use crate::plan::{CheckInfo, Plan};
use crate::product::Product;
use crate::{term_sums, windows_back};
use aec_ir::rewrite::{self, ValueMap};
use aec_ir::{Binary, Contract, Def, Factor, Function, Inst, Label, Labels, Op, Type, Value};
use aec_runtime::Elem;
use aec_syntax::Span;
use cranelift_entity::{EntityRef, EntitySet};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use smallvec::SmallVec;
use std::ops::Range;

/// A function ready to be planned.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The rewritten function.
    pub f: Function,
    /// Results of contractions that are matrix products.
    pub products: HashMap<Value, Product>,
    /// Copies that a product or a result needs: stored whatever fusion says.
    pub copies: EntitySet<Value>,
    /// Plans of the bodies of loops.
    pub loops: HashMap<Inst, Plan>,
    /// Check codes of gathers, scatters and small matrices.
    pub checks: HashMap<Inst, i64>,
    /// Their meaning.
    pub check_infos: Vec<CheckInfo>,
    /// Reasons worth recording, by value.
    pub notes: HashMap<Value, String>,
}

impl Prepared {
    /// A name for dumps.
    pub fn value_name(&self, v: Value) -> String {
        if let Def::Param(index) = self.f.values[v].def
            && let Some(name) = self.f.param_names.get(index as usize)
            && !name.is_empty()
        {
            return name.clone();
        }
        format!("v{}", v.index())
    }
}

/// A function while it is being prepared.
struct Preparer {
    out: Prepared,
    /// Of the instruction that is being prepared.
    span: Span,
    /// Copies of values with their axes in another order.
    copied: HashMap<(Value, Vec<usize>), Value>,
    /// Params that come in panels where a product wants them.
    panelled: EntitySet<Value>,
    /// Whether a product may take the sum that is being prepared along (`term_sums.rs`).
    takes_along: bool,
}

/// Prepares a function, of which the params `panelled` are matrices that come in panels where a
/// product wants them, and `windows` products of [`windows_back`].
pub(crate) fn prepare(
    f: &Function,
    first_check: i64,
    panelled: Range<usize>,
    windows: &[Value],
) -> Prepared {
    let (into, mut map) = rewrite::copy_params(f);
    let mut p = Preparer {
        out: Prepared {
            f: into,
            ..Prepared::default()
        },
        span: Span::NONE,
        copied: HashMap::default(),
        panelled: EntitySet::new(),
        takes_along: false,
    };
    for &param in &f.params[panelled] {
        p.panelled.insert(map.at(param));
    }
    let pairs = term_sums::summed_by_pairs(f);
    for &inst in &f.order {
        let data = &f.insts[inst];
        p.span = data.span;
        let operands = map.all(&data.operands);
        match &data.op {
            Op::Contract(contract) => {
                let elem = f.ty(data.results[0]).elem;
                p.takes_along = term_sums::may_ride(&pairs, contract, &data.operands);
                let v = p.contract(contract.clone(), operands, elem);
                map.insert(data.results[0], v);
            }
            Op::Reduce { op, axes } => {
                let v = p.reduce(*op, axes, operands[0]);
                map.insert(data.results[0], v);
            }
            Op::Binary(Binary::Add) => {
                let v = match concat::as_concat(&p.out.f, [operands[0], operands[1]]) {
                    Some((axis, parts)) => {
                        let ty = f.ty(data.results[0]).clone();
                        p.push(Op::Concat { axis }, &parts, ty)
                    }
                    None => rewrite::copy_inst(&mut p.out.f, f, inst, &mut map)[0],
                };
                map.insert(data.results[0], v);
            }
            _ => {
                rewrite::copy_inst(&mut p.out.f, f, inst, &mut map);
            }
        }
    }
    p.note_windows(windows, &map);
    p.ends(f, &map);
    checks::number(&mut p.out, first_check);
    products::find_limits(&mut p.out);
    p.out
}

impl Preparer {
    fn push(&mut self, op: Op, operands: &[Value], ty: Type) -> Value {
        self.out.f.push1(op, operands, ty, self.span)
    }

    fn push_contract(&mut self, contract: Contract, operands: &[Value], elem: Elem) -> Value {
        let dims = contract.out.iter();
        let dims = dims.map(|&l| contract.sizes[usize::from(l)]).collect();
        self.push(Op::Contract(contract), operands, Type { elem, dims })
    }

    /// A contraction in the form that suits it: an elementwise one, a product, or sums.
    fn contract(
        &mut self,
        mut c: Contract,
        mut operands: SmallVec<[Value; 4]>,
        elem: Elem,
    ) -> Value {
        eliminate_deltas(&mut c);
        // Sums over nothing but the number of terms.
        for label in unused(&c) {
            c.coefficient *= c.sizes[usize::from(label)] as f64;
            c.sizes[usize::from(label)] = 1;
        }
        let summed: Labels = (0..c.sizes.len() as Label)
            .filter(|l| !c.out.contains(l) && c.factors.iter().any(|x| x.labels.contains(l)))
            .collect();
        if summed.iter().all(|&l| c.sizes[usize::from(l)] == 1) {
            return self.push_contract(c, &operands, elem);
        }
        if elem.is_float() && c.factors.len() > 1 {
            // What no sum touches comes after the sum.
            let outer: Vec<bool> = c
                .factors
                .iter()
                .map(|x| !x.labels.iter().any(|l| summed.contains(l)))
                .collect();
            if outer.contains(&true) {
                return self.outer_factors(c, &operands, elem, &outer);
            }
            if c.factors.len() > 2 && self.is_wide(&c, &operands) {
                return self.pairwise(c, operands, elem);
            }
        }
        if elem.is_float()
            && c.factors.len() == 2
            && let Some(v) = self.product(&mut c, &mut operands, elem)
        {
            return v;
        }
        self.long_sum(c, &operands, elem)
    }

    /// Notes which products stand for scattered sums over windows.
    fn note_windows(&mut self, windows: &[Value], map: &ValueMap) {
        for &window in windows {
            // The product may have another order of its axes, and be scaled afterwards.
            let mut v = map.at(window);
            while !self.out.products.contains_key(&v)
                && let Some(inst) = self.out.f.def_inst(v)
                && let Some(&operand) = self.out.f.insts[inst].operands.first()
            {
                v = operand;
            }
            self.out.notes.insert(v, windows_back::REASON.to_string());
        }
    }

    /// Results, guards and aliases. Each result gets a value of its own. What nothing needs goes.
    fn ends(&mut self, f: &Function, map: &ValueMap) {
        rewrite::copy_ends(&mut self.out.f, f, map);
        let mut seen: EntitySet<Value> = EntitySet::new();
        for index in 0..self.out.f.results.len() {
            let v = self.out.f.results[index];
            let of_inst = self.out.f.def_inst(v);
            let has_own =
                of_inst.is_some_and(|inst| !matches!(self.out.f.insts[inst].op, Op::Dense(_)));
            let fresh = seen.insert(v);
            if has_own && fresh {
                continue;
            }
            self.span = of_inst.map_or(Span::NONE, |inst| self.out.f.insts[inst].span);
            let ty = self.out.f.ty(v).clone();
            let copy = self.push(Op::Stop, &[v], ty);
            self.out.copies.insert(copy);
            self.out.notes.insert(
                copy,
                "copied: the result needs memory of its own".to_string(),
            );
            self.out.f.results[index] = copy;
        }
        rewrite::eliminate_dead(&mut self.out.f);
        let f = &self.out.f;
        let live: HashSet<Inst> = f.order.iter().copied().collect();
        self.out
            .products
            .retain(|v, _| f.def_inst(*v).is_some_and(|inst| live.contains(&inst)));
    }
}

/// Sums of products of these factors, over the labels of a contraction that are not in `out`.
fn sum_of(c: &Contract, factors: Vec<Factor>, out: Labels) -> Contract {
    Contract {
        factors,
        deltas: Vec::new(),
        out,
        coefficient: 1.0,
        sizes: c.sizes.clone(),
    }
}

/// A factor that is what it is.
fn plain(labels: Labels) -> Factor {
    Factor { labels, power: 1 }
}

/// Number of places that labels count through.
fn count(c: &Contract, labels: &[Label]) -> usize {
    labels.iter().map(|&l| c.sizes[usize::from(l)]).product()
}

/// Labels that stand nowhere.
fn unused(c: &Contract) -> Labels {
    (0..c.sizes.len() as Label)
        .filter(|l| {
            !c.out.contains(l)
                && !c.factors.iter().any(|x| x.labels.contains(l))
                && !c.deltas.iter().any(|&(a, b)| a == *l || b == *l)
        })
        .collect()
}

/// Deltas with a summed label rename it; those between result labels stay.
fn eliminate_deltas(c: &mut Contract) {
    let mut at = 0;
    while at < c.deltas.len() {
        let (a, b) = c.deltas[at];
        let (gone, kept) = if a == b {
            c.deltas.remove(at);
            continue;
        } else if !c.out.contains(&a) {
            (a, b)
        } else if !c.out.contains(&b) {
            (b, a)
        } else {
            at += 1;
            continue;
        };
        if c.sizes[usize::from(gone)] != c.sizes[usize::from(kept)] {
            at += 1;
            continue;
        }
        c.deltas.remove(at);
        let rename = |l: &mut Label| {
            if *l == gone {
                *l = kept;
            }
        };
        for factor in &mut c.factors {
            factor.labels.iter_mut().for_each(rename);
        }
        for (a, b) in &mut c.deltas {
            rename(a);
            rename(b);
        }
        c.sizes[usize::from(gone)] = 1;
        at = 0;
    }
}
