//! What passes need to change functions: copying with remapping, inlining, dead code,
//! compaction, and a structural hash. A pass never edits arenas by hand.

use crate::function::{Function, Guard, Inst, InstData, Value};
use crate::hash::Hasher;
use aec_syntax::Span;
use cranelift_entity::{EntityRef, EntitySet, SecondaryMap, packed_option::PackedOption};
use smallvec::SmallVec;

/// Where the values of one function have gone in another (or in the same).
#[derive(Clone, Debug, Default)]
pub struct ValueMap {
    map: SecondaryMap<Value, PackedOption<Value>>,
}

impl ValueMap {
    /// A map that knows no value.
    pub fn new() -> ValueMap {
        ValueMap::default()
    }

    /// Lets `from` stand for `to`; a later call for the same `from` wins.
    pub fn insert(&mut self, from: Value, to: Value) {
        self.map[from] = to.into();
    }

    /// What stands for `from`, if anything does.
    pub fn get(&self, from: Value) -> Option<Value> {
        self.map[from].expand()
    }

    /// What stands for `from`; `from` itself if nothing does.
    pub fn resolve(&self, from: Value) -> Value {
        self.get(from).unwrap_or(from)
    }

    /// What stands for `from`. Panics when nothing does: the order of `f` is broken.
    pub fn at(&self, from: Value) -> Value {
        match self.get(from) {
            Some(value) => value,
            None => panic!("{from} is used before its definition"),
        }
    }

    /// [`ValueMap::at`] of each.
    pub fn all(&self, from: &[Value]) -> SmallVec<[Value; 4]> {
        from.iter().map(|&value| self.at(value)).collect()
    }
}

/// Appends a copy of one instruction of `from` to `into`, operands looked up in `map`, where
/// the results are entered. Gives the new results.
pub fn copy_inst(
    into: &mut Function,
    from: &Function,
    inst: Inst,
    map: &mut ValueMap,
) -> SmallVec<[Value; 1]> {
    let data = &from.insts[inst];
    let operands = map.all(&data.operands);
    let types: SmallVec<[_; 1]> = data
        .results
        .iter()
        .map(|&result| from.ty(result).clone())
        .collect();
    let copy = into.push(data.op.clone(), &operands, &types, data.span);
    let results = into.insts[copy].results.clone();
    for (&old, &new) in data.results.iter().zip(&results) {
        map.insert(old, new);
    }
    results
}

/// Appends the instructions of `callee` to `into` with its params replaced by `args` (one for
/// each, of the same types); gives what its results have become. Spans are kept; aliases are
/// dropped, guards are carried over.
pub fn inline(into: &mut Function, callee: &Function, args: &[Value]) -> Vec<Value> {
    inline_mapped(into, callee, args).0
}

/// [`inline`], also giving where each value of the callee went.
pub fn inline_mapped(
    into: &mut Function,
    callee: &Function,
    args: &[Value],
) -> (Vec<Value>, ValueMap) {
    assert_eq!(
        args.len(),
        callee.params.len(),
        "{} wants another number of arguments",
        callee.name
    );
    let mut map = ValueMap::new();
    for (&param, &arg) in callee.params.iter().zip(args) {
        map.insert(param, arg);
    }
    for &inst in &callee.order {
        copy_inst(into, callee, inst, &mut map);
    }
    for guard in &callee.guards {
        into.guards.push(Guard {
            value: map.at(guard.value),
            span: guard.span,
        });
    }
    let results = callee.results.iter().map(|&value| map.at(value)).collect();
    (results, map)
}

/// An empty function with the params of `f` (in order, with names), and the map to them.
pub fn copy_params(f: &Function) -> (Function, ValueMap) {
    let mut into = Function::new(f.name.clone());
    let mut map = ValueMap::new();
    for (index, &param) in f.params.iter().enumerate() {
        let name = f.param_names.get(index).cloned().unwrap_or_default();
        let new = into.param(f.ty(param).clone(), name);
        map.insert(param, new);
    }
    (into, map)
}

/// Gives `into` the results, aliases and guards of `f` as `map` has them.
pub fn copy_ends(into: &mut Function, f: &Function, map: &ValueMap) {
    into.results = f.results.iter().map(|&value| map.at(value)).collect();
    into.aliases.clone_from(&f.aliases);
    for guard in &f.guards {
        into.guards.push(Guard {
            value: map.at(guard.value),
            span: guard.span,
        });
    }
}

/// Rebuilds `f` instruction by instruction. `visit` sees the new function, the old
/// instruction and its operands in the new function; it gives the values that stand for the
/// results (as many as there are), or `None` to have the instruction copied as it is.
pub fn rebuild(
    f: &Function,
    mut visit: impl FnMut(&mut Function, &InstData, &[Value]) -> Option<SmallVec<[Value; 1]>>,
) -> Function {
    let (mut into, mut map) = copy_params(f);
    for &inst in &f.order {
        let data = &f.insts[inst];
        let operands = map.all(&data.operands);
        match visit(&mut into, data, &operands) {
            Some(results) => {
                assert_eq!(results.len(), data.results.len());
                for (&old, &new) in data.results.iter().zip(&results) {
                    map.insert(old, new);
                }
            }
            None => {
                copy_inst(&mut into, f, inst, &mut map);
            }
        }
    }
    copy_ends(&mut into, f, &map);
    into
}

/// Puts `change(v)` in place of each use of a value v: operands, results and guards.
/// Bodies of regions are closed and stay as they are.
pub fn map_values(f: &mut Function, mut change: impl FnMut(Value) -> Value) {
    for &inst in &f.order {
        for operand in &mut f.insts[inst].operands {
            *operand = change(*operand);
        }
    }
    for result in &mut f.results {
        *result = change(*result);
    }
    for guard in &mut f.guards {
        guard.value = change(guard.value);
    }
}

/// Puts `with` in place of each use of `value`.
pub fn replace_value(f: &mut Function, value: Value, with: Value) {
    map_values(f, |used| if used == value { with } else { used });
}

/// Takes instructions out of the order whose results no result and no guard needs, here and
/// in regions. Gives how many went. Arenas keep the entries until [`Function::compact`].
pub fn eliminate_dead(f: &mut Function) -> usize {
    let mut live: EntitySet<Value> = EntitySet::with_capacity(f.values.len());
    for &result in &f.results {
        live.insert(result);
    }
    for guard in &f.guards {
        live.insert(guard.value);
    }
    let mut kept = Vec::with_capacity(f.order.len());
    let mut gone = 0;
    for &inst in f.order.iter().rev() {
        let data = &mut f.insts[inst];
        if data.results.iter().any(|&result| live.contains(result)) {
            for &operand in &data.operands {
                live.insert(operand);
            }
            if let Some(body) = data.op.body_mut() {
                gone += eliminate_dead(body);
            }
            kept.push(inst);
        } else {
            gone += 1;
        }
    }
    kept.reverse();
    f.order = kept;
    gone
}

/// Number of uses of each value: as an operand, a result or a guard.
pub fn count_uses(f: &Function) -> SecondaryMap<Value, u32> {
    let mut uses = SecondaryMap::with_default(0);
    for &inst in &f.order {
        for &operand in &f.insts[inst].operands {
            uses[operand] += 1;
        }
    }
    for &result in &f.results {
        uses[result] += 1;
    }
    for guard in &f.guards {
        uses[guard.value] += 1;
    }
    uses
}

/// Puts the instructions in an order in which each operand is defined before its use, keeping
/// the present order wherever it can. Instructions of a cycle keep their places at the end,
/// where the verifier finds them.
pub fn sort_order(f: &mut Function) {
    enum Visit {
        Enter(Inst),
        Leave(Inst),
    }
    let mut entered: EntitySet<Inst> = EntitySet::with_capacity(f.insts.len());
    let mut placed = Vec::with_capacity(f.order.len());
    let mut stack = Vec::new();
    let mut members: EntitySet<Inst> = EntitySet::with_capacity(f.insts.len());
    for &inst in &f.order {
        members.insert(inst);
    }
    for &root in &f.order {
        stack.push(Visit::Enter(root));
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Enter(inst) => {
                    if !entered.insert(inst) {
                        continue;
                    }
                    stack.push(Visit::Leave(inst));
                    for &operand in f.insts[inst].operands.iter().rev() {
                        if let Some(def) = f.def_inst(operand)
                            && members.contains(def)
                        {
                            stack.push(Visit::Enter(def));
                        }
                    }
                }
                Visit::Leave(inst) => placed.push(inst),
            }
        }
    }
    f.order = placed;
}

/// Calls `visit` on `f` and every function in its regions, outermost first.
pub fn for_each_function(f: &Function, visit: &mut impl FnMut(&Function)) {
    visit(f);
    for &inst in &f.order {
        if let Some(body) = f.insts[inst].op.body() {
            for_each_function(body, visit);
        }
    }
}

/// 128 bits that two functions share when they are the same but for spans, names and the
/// numbers of values; stable between runs and machines.
pub fn hash_structure(f: &Function) -> u128 {
    let mut hasher = Hasher::new();
    hasher.function(f);
    hasher.finish()
}

impl Function {
    /// The same function with values and instructions numbered in order of definition and
    /// nothing else in the arenas, in regions as well.
    pub fn compact(&self) -> Function {
        rebuild(self, |into, data, operands| {
            data.op.body()?;
            let mut op = data.op.clone();
            if let Some(body) = op.body_mut() {
                *body = body.compact();
            }
            let types: SmallVec<[_; 1]> = data
                .results
                .iter()
                .map(|&result| self.ty(result).clone())
                .collect();
            let inst = into.push(op, operands, &types, data.span);
            Some(into.insts[inst].results.clone())
        })
    }

    /// Whether [`Self::compact`] would change nothing.
    pub fn is_compact(&self) -> bool {
        let in_order = self.order.iter().map(|&inst| &self.insts[inst]);
        let results = in_order.clone().flat_map(|data| &data.results);
        let defined = self.params.iter().chain(results);
        let count = self.params.len()
            + in_order
                .clone()
                .map(|data| data.results.len())
                .sum::<usize>();
        self.insts.len() == self.order.len()
            && self.values.len() == count
            && (self.order.iter().enumerate()).all(|(at, inst)| inst.index() == at)
            && defined.enumerate().all(|(at, value)| value.index() == at)
            && in_order
                .flat_map(|data| data.op.body())
                .all(Function::is_compact)
    }

    /// The same function without spans, for comparison.
    pub fn without_spans(&self) -> Function {
        let mut f = self.clone();
        strip_spans(&mut f);
        f
    }
}

fn strip_spans(f: &mut Function) {
    for data in f.insts.values_mut() {
        data.span = Span::NONE;
        if let Some(body) = data.op.body_mut() {
            strip_spans(body);
        }
    }
    for guard in &mut f.guards {
        guard.span = Span::NONE;
    }
}
