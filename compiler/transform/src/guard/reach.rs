//! Where the slopes of a function's values go: through which branches, and whether through any.
//!
//! A value that has a slope whatever is taken gains nothing from a harmless copy for one branch:
//! if its slope is no number, nor is the result's. And where one branch alone uses a product its
//! copy takes its place; another use would have it computed twice.

use crate::term::{Term, all_different};
use aec_ir::{Binary, Function, Inst, Op, Unary, Value};
use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;

/// Operand 1 or 2 of a selection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Arm {
    pub select: Inst,
    pub operand: usize,
}

/// The innermost arm that all uses of a value lie in.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Within {
    #[default]
    Unused,
    Arm(Arm),
    /// In none alone.
    Body,
}

/// Conditions, each with the side on which every entry of a value has a slope.
type Path = SmallVec<[(Value, bool); 4]>;

/// Paths of a value that are kept apart.
const MAX_PATHS: usize = 8;

/// A set of axes. Some entries have a slope whatever is taken: at every place along these axes, if
/// not at every place along the others.
type Axes = u32;

/// Of every value of one function.
pub(super) struct Reach {
    within: SecondaryMap<Value, Within>,
    paths: SecondaryMap<Value, SmallVec<[Path; 1]>>,
    always: SecondaryMap<Value, Option<Axes>>,
}

impl Reach {
    pub(super) fn of(f: &Function) -> Reach {
        let mut reach = Reach {
            within: SecondaryMap::new(),
            paths: SecondaryMap::new(),
            always: SecondaryMap::new(),
        };
        for &result in &f.results {
            reach.within[result] = Within::Body;
            reach.always[result] = Some(all_axes(f, result));
        }
        for guard in &f.guards {
            reach.within[guard.value] = Within::Body;
        }
        for &inst in f.order.iter().rev() {
            reach.visit_uses(f, inst);
            let &[result] = &f.insts[inst].results[..] else {
                continue;
            };
            if f.ty(result).elem.is_float() {
                reach.visit_paths(f, inst, result);
                reach.visit_always(f, inst, result);
            }
        }
        reach
    }

    /// Whether every entry of the value has a slope whichever branches are taken.
    pub(super) fn is_always(&self, f: &Function, value: Value) -> bool {
        self.always[value] == Some(all_axes(f, value))
    }

    /// Whether nothing but this arm uses the value.
    pub(super) fn is_within(&self, f: &Function, value: Value, arm: Arm) -> bool {
        self.around(f, self.within[value]).any(|outer| outer == arm)
    }

    /// A new value that this arm alone uses.
    pub(super) fn insert(&mut self, value: Value, arm: Arm) {
        self.within[value] = Within::Arm(arm);
    }

    /// The arms around all uses, from the innermost outwards.
    fn around<'a>(&'a self, f: &'a Function, within: Within) -> impl Iterator<Item = Arm> + 'a {
        let arm = |within| match within {
            Within::Arm(arm) => Some(arm),
            Within::Unused | Within::Body => None,
        };
        std::iter::successors(arm(within), move |inner| {
            arm(self.within[f.insts[inner.select].results[0]])
        })
    }

    fn meet(&self, f: &Function, a: Within, b: Within) -> Within {
        if a == b || b == Within::Unused {
            return a;
        }
        if a == Within::Unused {
            return b;
        }
        let outer: SmallVec<[Arm; 8]> = self.around(f, b).collect();
        let shared = self.around(f, a).find(|arm| outer.contains(arm));
        shared.map_or(Within::Body, Within::Arm)
    }

    fn visit_uses(&mut self, f: &Function, inst: Inst) {
        let data = &f.insts[inst];
        let own = (data.results.iter()).fold(Within::Unused, |own, &result| {
            self.meet(f, own, self.within[result])
        });
        if own == Within::Unused {
            return;
        }
        for (at, &operand) in data.operands.iter().enumerate() {
            let here = match data.op {
                Op::Select if at > 0 => Within::Arm(Arm {
                    select: inst,
                    operand: at,
                }),
                _ => own,
            };
            self.within[operand] = self.meet(f, self.within[operand], here);
        }
    }

    /// Conditions go along with ops that work entry by entry, and are told apart by nothing else.
    fn visit_paths(&mut self, f: &Function, inst: Inst, result: Value) {
        let data = &f.insts[inst];
        let mut paths = self.paths[result].clone();
        if self.is_always(f, result) {
            paths.push(Path::new());
        }
        match &data.op {
            Op::Select => {
                for (at, taken) in [(1, true), (2, false)] {
                    for path in &paths {
                        let mut path = path.clone();
                        path.push((data.operands[0], taken));
                        self.add_path(f, data.operands[at], path);
                    }
                }
            }
            Op::Contract(contract) if contract.deltas.is_empty() && !paths.is_empty() => {
                let term = Term::new(contract, &data.operands);
                for factor in term
                    .factors
                    .iter()
                    .filter(|factor| factor.labels == term.out)
                {
                    for path in &paths {
                        self.add_path(f, factor.value, path.clone());
                    }
                }
            }
            op => {
                for &operand in &data.operands[..sloped(op)] {
                    for path in &paths {
                        self.add_path(f, operand, path.clone());
                    }
                }
            }
        }
    }

    /// Two paths that differ in the side of one condition are one without it.
    fn add_path(&mut self, f: &Function, value: Value, mut path: Path) {
        path.sort_unstable();
        path.dedup();
        if path.is_empty() {
            return self.add_axes(f, value, all_axes(f, value));
        }
        if path.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return;
        }
        let paths = &mut self.paths[value];
        let covers = |wide: &Path| wide.iter().all(|side| path.contains(side));
        if paths.iter().any(covers) {
            return;
        }
        for at in 0..path.len() {
            let mut other = path.clone();
            other[at].1 = !other[at].1;
            if let Some(found) = paths.iter().position(|known| *known == other) {
                paths.swap_remove(found);
                path.remove(at);
                return self.add_path(f, value, path);
            }
        }
        if paths.len() < MAX_PATHS {
            paths.push(path);
        }
    }

    fn add_axes(&mut self, f: &Function, value: Value, axes: Axes) {
        if f.ty(value).is_empty() {
            return;
        }
        // Entries of two sets may lie askew: of both, the better one is kept.
        let known = &mut self.always[value];
        if known.is_none_or(|known| known.count_ones() < axes.count_ones()) {
            *known = Some(axes);
        }
    }

    fn visit_always(&mut self, f: &Function, inst: Inst, result: Value) {
        let data = &f.insts[inst];
        let Some(axes) = self.always[result] else {
            return;
        };
        let operands = &data.operands;
        let has = |axis: usize| axes & (1 << axis) != 0;
        let bit = |axis: usize, holds: bool| Axes::from(holds) << axis;
        match &data.op {
            Op::Unary(_) | Op::Binary(_) | Op::Convert => {
                for &operand in &operands[..sloped(&data.op)] {
                    self.add_axes(f, operand, axes);
                }
            }
            Op::Reverse { .. } | Op::CumSum { .. } => self.add_axes(f, operands[0], axes),
            Op::Contract(contract) => {
                if !contract.deltas.is_empty() || !all_different(&contract.out) {
                    return;
                }
                let term = Term::new(contract, operands);
                for factor in &term.factors {
                    if !all_different(&factor.labels) {
                        continue;
                    }
                    let along = factor.labels.iter().enumerate().map(|(axis, label)| {
                        let kept = term.out.iter().position(|out| out == label);
                        bit(axis, kept.is_none_or(has))
                    });
                    self.add_axes(f, factor.value, along.sum());
                }
            }
            Op::Reduce { axes: reduced, .. } => {
                let kept = (0..f.dims(operands[0]).len()).filter(|axis| !reduced.contains(axis));
                let along = kept.enumerate().map(|(at, axis)| bit(axis, has(at)));
                self.add_axes(f, operands[0], along.sum());
            }
            Op::Gather { batch, .. } => {
                // `[..batch, n, ..s]` becomes `[..batch, ..t, ..s]`.
                let (x, rank) = (f.dims(operands[0]).len(), f.dims(result).len());
                let rows = x - batch - 1;
                let batch_axes = (0..*batch).map(|axis| bit(axis, has(axis)));
                let row_axes = (0..rows).map(|row| bit(batch + 1 + row, has(rank - rows + row)));
                self.add_axes(f, operands[0], batch_axes.chain(row_axes).sum());
            }
            Op::Slice { .. } => {
                let pairs = f.dims(operands[0]).iter().zip(f.dims(result));
                let along = (pairs.enumerate())
                    .map(|(axis, (whole, part))| bit(axis, has(axis) && whole == part));
                self.add_axes(f, operands[0], along.sum());
            }
            Op::Concat { axis } if has(*axis) => {
                for &operand in operands {
                    self.add_axes(f, operand, axes);
                }
            }
            Op::Reshape if axes == all_axes(f, result) => {
                self.add_axes(f, operands[0], all_axes(f, operands[0]));
            }
            Op::Concat { .. }
            | Op::Reshape
            | Op::Select
            | Op::Constant(_)
            | Op::Dense(_)
            | Op::Iota { .. }
            | Op::Compare(_)
            | Op::ArgReduce { .. }
            | Op::Pad { .. }
            | Op::ScatterAdd { .. }
            | Op::Put { .. }
            | Op::ArgSort
            | Op::Levels { .. }
            | Op::Matrix(_)
            | Op::Draw { .. }
            | Op::Map { .. }
            | Op::Loop(_)
            | Op::Derivative { .. }
            | Op::BatchMean
            | Op::Stop
            | Op::Slope { .. } => {}
        }
    }
}

/// How many operands of an op that works entry by entry have a slope, from the first; 0 of others.
fn sloped(op: &Op) -> usize {
    match op {
        Op::Unary(Unary::Floor | Unary::Sign | Unary::Not) | Op::Binary(Binary::FloorDiv) => 0,
        Op::Unary(_) | Op::Convert | Op::Binary(Binary::Mod) => 1,
        Op::Binary(_) => 2,
        _ => 0,
    }
}

fn all_axes(f: &Function, value: Value) -> Axes {
    let rank = f.dims(value).len();
    Axes::MAX.checked_shr(Axes::BITS - rank as u32).unwrap_or(0)
}
