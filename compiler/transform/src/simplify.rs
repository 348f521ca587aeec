//! Simplification: small directional rules, tried as each instruction is rebuilt, with common
//! subexpressions and dead code, until nothing changes.
//!
//! What may change in the last bits or at the edges of floats: products are reassociated, a
//! division by a constant becomes a product, `x * 0` is 0 and `x + 0` is x (also for infinite
//! x and for -0), `pow(x, 0.5)` is `sqrt(x)`. No rule turns a finite value into NaN.

use crate::loops::prune::prune_loop;
use crate::rebuild::{Results, rebuild, replace_body, tidy};
use crate::simplify_contract::simplify_contract;
use crate::simplify_elementwise::simplify_elementwise;
use crate::simplify_movement::simplify_movement;
use aec_ir::rewrite::{count_uses, hash_structure};
use aec_ir::{Function, Inst, InstData, Literal, Loop, Op, Type, Value};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Whether products are opened into the products that use them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Products {
    /// Yes, where no sum is repeated: terms grow, [`crate::factorise`] orders them afterwards.
    Open,
    /// No: only transposes, scales and repetitions are absorbed.
    Keep,
}

/// What a rule sees.
pub struct Context<'a> {
    /// The function that is built.
    pub out: &'a mut Function,
    /// How often each value of `out` is used in the end; an upper bound.
    pub uses: &'a mut SecondaryMap<Value, u32>,
    /// See [`Products`].
    pub products: Products,
    /// Place of the instruction.
    pub span: Span,
}

/// No function needs this many rounds; each must change something to have a successor.
const MAX_ROUNDS: usize = 12;

/// The simplified function.
pub fn simplify(f: &Function, products: Products) -> Function {
    let mut current = tidy(f.clone());
    for _ in 0..MAX_ROUNDS {
        let next = tidy(round(&current, products));
        let same = next == current;
        current = next;
        if same {
            break;
        }
    }
    current
}

/// `f` without `stop`s, once nothing is differentiated any more.
pub fn drop_stops(f: &Function) -> Result<Function, Diagnostic> {
    rebuild(f, |out, data, operands| match &data.op {
        Op::Stop | Op::Slope { .. } => Ok(Some(Results::from_slice(&operands[..1]))),
        Op::Map { body, .. } => {
            let body = drop_stops(body)?;
            Ok(Some(replace_body(out, f, data, operands, body)))
        }
        Op::Loop(looped) => {
            let body = drop_stops(&looped.body)?;
            Ok(Some(replace_body(out, f, data, operands, body)))
        }
        _ => Ok(None),
    })
}

fn round(f: &Function, products: Products) -> Function {
    let old_uses = count_uses(f);
    let mut uses: SecondaryMap<Value, u32> = SecondaryMap::with_default(0);
    let mut known = Known::default();
    let mut loops = Vec::new();
    let result = rebuild(f, |out, data, operands| {
        if matches!(data.op, Op::Map { .. } | Op::Derivative { .. }) {
            return Ok(None);
        }
        if let Op::Loop(looped) = &data.op {
            let looped = Loop {
                body: Box::new(simplify(&looped.body, products)),
                ..looped.clone()
            };
            let used: Vec<bool> = data.results.iter().map(|&v| old_uses[v] > 0).collect();
            let types: Vec<Type> = data.results.iter().map(|&v| f.ty(v).clone()).collect();
            let first_new = out.order.len();
            let mut values = prune_loop(out, &looped, operands, &used, &types, data.span);
            merge_loops(out, &mut loops, first_new, &mut values);
            for (&old, &new) in data.results.iter().zip(&values) {
                uses[new] += old_uses[old];
            }
            return Ok(Some(values));
        }
        let ty = f.ty(data.results[0]).clone();
        let first_new = out.order.len();
        let mut context = Context {
            out,
            uses: &mut uses,
            products,
            span: data.span,
        };
        let value = rules(&mut context, &data.op, operands, &ty)
            .unwrap_or_else(|| out.push1(data.op.clone(), operands, ty, data.span));
        let value = known.merge(out, &mut uses, first_new, value);
        uses[value] += old_uses[data.results[0]];
        Ok(Some(Results::from_slice(&[value])))
    });
    // The closure above gives no error.
    result.unwrap_or_else(|_| f.clone())
}

fn rules(context: &mut Context<'_>, op: &Op, operands: &[Value], ty: &Type) -> Option<Value> {
    match op {
        Op::Contract(contract) => simplify_contract(context, contract, operands, ty),
        Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select | Op::Convert => {
            simplify_elementwise(context, op, operands, ty)
        }
        Op::Reshape
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Reverse { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::CumSum { .. }
        | Op::Reduce { .. } => simplify_movement(context, op, operands, ty),
        Op::Dense(tensor) if tensor.len() == 1 => {
            let x = tensor.get_f64(0);
            let literal = match ty.elem {
                elem if elem.is_float() => Literal::Float(x),
                elem if elem.is_int() => Literal::Int(tensor.get_i64(0)),
                _ => Literal::Bool(x != 0.0),
            };
            Some(context.out.constant(literal, ty.clone(), context.span))
        }
        Op::Constant(_)
        | Op::Dense(_)
        | Op::Iota { .. }
        | Op::ArgReduce { .. }
        | Op::ArgSort
        | Op::Levels { .. }
        | Op::Put { .. }
        | Op::Matrix(_)
        | Op::Draw { .. }
        | Op::Map { .. }
        | Op::Loop(_)
        | Op::Derivative { .. }
        | Op::BatchMean
        | Op::Stop
        | Op::Slope { .. } => None,
    }
}

/// Instructions seen so far, by hash.
#[derive(Default)]
struct Known {
    seen: HashMap<u64, SmallVec<[Value; 1]>>,
}

impl Known {
    /// Merges the instructions that one rule appended with equal earlier ones; gives what
    /// `value` has become.
    fn merge(
        &mut self,
        out: &mut Function,
        uses: &mut SecondaryMap<Value, u32>,
        first_new: usize,
        value: Value,
    ) -> Value {
        // Every instruction is appended to the order when it is pushed.
        let new: Vec<_> = out.order[first_new..].to_vec();
        let mut replaced: SmallVec<[(Value, Value); 4]> = SmallVec::new();
        for inst in new {
            for operand in &mut out.insts[inst].operands {
                if let Some(&(_, with)) = replaced.iter().find(|(old, _)| old == operand) {
                    *operand = with;
                }
            }
            let data = &out.insts[inst];
            let result = data.results[0];
            let key = key(out, data);
            let candidates = self.seen.entry(key).or_default();
            let same = candidates.iter().copied().find(|&candidate| {
                out.def_inst(candidate).is_some_and(|other| {
                    let other = &out.insts[other];
                    other.op == data.op
                        && other.operands == data.operands
                        && out.ty(candidate) == out.ty(result)
                })
            });
            match same {
                Some(same) => {
                    uses[same] += 1;
                    replaced.push((result, same));
                }
                None => candidates.push(result),
            }
        }
        replaced
            .iter()
            .find(|(old, _)| *old == value)
            .map_or(value, |&(_, with)| with)
    }
}

/// A loop seen so far, and its rounds but for names and places.
struct SeenLoop {
    inst: Inst,
    rounds: u128,
}

/// Lets values of loops appended from `first_new` on be those of equal earlier loops: a derivative
/// that is given by hand often runs the loop of the value once more. What is computed again on
/// purpose stays apart.
fn merge_loops(out: &Function, seen: &mut Vec<SeenLoop>, first_new: usize, values: &mut [Value]) {
    for &inst in &out.order[first_new..] {
        let data = &out.insts[inst];
        let Op::Loop(looped) = &data.op else {
            continue;
        };
        if looped.recomputed {
            continue;
        }
        let rounds = hash_structure(&looped.body);
        let same = seen.iter().find(|other| {
            let earlier = &out.insts[other.inst];
            other.rounds == rounds
                && earlier.operands == data.operands
                && matches!(&earlier.op, Op::Loop(earlier) if runs_alike(earlier, looped))
        });
        let Some(same) = same else {
            seen.push(SeenLoop { inst, rounds });
            continue;
        };
        let earlier = &out.insts[same.inst].results;
        for value in values.iter_mut() {
            if let Some(at) = data.results.iter().position(|result| result == value) {
                *value = earlier[at];
            }
        }
    }
}

/// Whether two loops are the same but for their rounds.
fn runs_alike(a: &Loop, b: &Loop) -> bool {
    let frame = |looped: &Loop| Loop {
        body: Box::default(),
        ..looped.clone()
    };
    frame(a) == frame(b)
}

fn key(f: &Function, data: &InstData) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.op.name().hash(&mut hasher);
    data.operands.hash(&mut hasher);
    f.ty(data.results[0]).hash(&mut hasher);
    match &data.op {
        Op::Constant(Literal::Float(x)) => x.to_bits().hash(&mut hasher),
        Op::Constant(Literal::Int(x)) => x.hash(&mut hasher),
        Op::Contract(contract) => {
            contract.factors.hash(&mut hasher);
            contract.out.hash(&mut hasher);
            contract.coefficient.to_bits().hash(&mut hasher);
        }
        Op::Slice { start, .. } => start.hash(&mut hasher),
        Op::Draw { site, .. } => site.hash(&mut hasher),
        // Attributes of the other ops are compared, not hashed.
        _ => {}
    }
    hasher.finish()
}
