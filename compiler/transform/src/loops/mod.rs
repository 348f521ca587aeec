//! Everything that passes know of `loop` regions, one file for each pass.
//!
//! A loop stays a loop through differentiation, batching and planning: compile time does not
//! grow with the count. What need not be inside leaves it (`prune`, `fission`; AUTODIFF.md
//! section 9).

pub mod batch;
pub mod blocks;
pub mod fission;
pub mod levels;
pub mod linearize;
pub mod prune;
pub mod rows;
pub mod segments;
pub mod transpose;

use aec_ir::rewrite::ValueMap;
use aec_ir::{Function, Loop, Op, Type, Value};
use aec_syntax::Span;
use cranelift_entity::EntitySet;
use smallvec::SmallVec;

/// The type of a sequence of `count` entries.
pub(crate) fn stacked(ty: &Type, count: usize) -> Type {
    let mut ty = ty.clone();
    ty.dims.insert(0, count);
    ty
}

/// A loop under construction: operands in their three groups, with the body's params beside
/// them. The body is written against `params` and given to [`Builder::finish`].
pub(crate) struct Builder {
    /// Number of rounds.
    pub count: usize,
    /// See [`Loop::reverse`].
    pub reverse: bool,
    /// See [`Loop::exit`].
    pub exit: bool,
    /// See [`Loop::recomputed`].
    pub recomputed: bool,
    /// Initial values of the state.
    pub state: Vec<Value>,
    /// Sequences.
    pub slices: Vec<Value>,
    /// Constants.
    pub constants: Vec<Value>,
    /// See [`Loop::limited`].
    pub limit: Option<Value>,
}

impl Builder {
    /// A loop like `looped`, with these operands: without any of them but the limit.
    pub fn like(looped: &Loop, operands: &[Value]) -> Builder {
        Builder {
            count: looped.count,
            reverse: looped.reverse,
            exit: looped.exit,
            recomputed: looped.recomputed,
            state: Vec::new(),
            slices: Vec::new(),
            constants: Vec::new(),
            limit: looped.split_limit(operands).1,
        }
    }

    /// Appends the loop to `out`; gives its results. The body is closed, with params and
    /// results in the order that [`Loop`] wants. That rounds were nodes of a tree is forgotten.
    pub fn finish(self, out: &mut Function, body: Function, span: Span) -> SmallVec<[Value; 1]> {
        let carried = self.state.len();
        let types: Vec<Type> = body
            .results
            .iter()
            .enumerate()
            .map(|(at, &v)| match at < carried {
                true => body.ty(v).clone(),
                false => stacked(body.ty(v), self.count),
            })
            .collect();
        let op = Op::Loop(Loop {
            count: self.count,
            carried,
            sliced: self.slices.len(),
            reverse: self.reverse,
            exit: self.exit,
            recomputed: self.recomputed,
            limited: self.limit.is_some(),
            nodes: false,
            body: Box::new(body),
        });
        let operands: Vec<Value> = self
            .state
            .into_iter()
            .chain(self.slices)
            .chain(self.constants)
            .chain(self.limit)
            .collect();
        let inst = out.push(op, &operands, &types, span);
        out.insts[inst].results.clone()
    }
}

/// Copies a body with other params: `params` lists, in the new order, the old values that are
/// to become params, `results` the old values to be given. What else the results need is
/// copied; nothing else is.
pub(crate) fn reframe(body: &Function, params: &[Value], results: &[Value]) -> Function {
    let mut out = Function::new(body.name.clone());
    let mut map = ValueMap::new();
    for &old in params {
        let new = out.param(body.ty(old).clone(), "");
        map.insert(old, new);
    }
    let mut live: EntitySet<Value> = EntitySet::new();
    for &result in results {
        live.insert(result);
    }
    let mut insts = Vec::new();
    for &inst in body.order.iter().rev() {
        let data = &body.insts[inst];
        let wanted = |&v: &Value| live.contains(v) && map.get(v).is_none();
        if data.results.iter().any(wanted) {
            for &operand in &data.operands {
                live.insert(operand);
            }
            insts.push(inst);
        }
    }
    for &inst in insts.iter().rev() {
        // A result that is a param now stays one.
        let given: SmallVec<[(Value, Value); 1]> = body.insts[inst]
            .results
            .iter()
            .filter_map(|&v| Some((v, map.get(v)?)))
            .collect();
        aec_ir::rewrite::copy_inst(&mut out, body, inst, &mut map);
        for (old, new) in given {
            map.insert(old, new);
        }
    }
    out.results = results.iter().map(|&v| map.at(v)).collect();
    crate::rebuild::tidy(out)
}
