//! `remat(f)`: f, of which reverse mode keeps the arguments alone and computes the rest again.
//!
//! A call traces a block: a loop of one round, without a state, whose rounds are computed again
//! ([`aec_ir::Loop::is_block`]). It computes what `f` computes, draws included: the block is no
//! loop of the script, so it has no coordinate.

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::leaves::{leaves, with_leaves};
use crate::trace::FrameKind;
use crate::value::{Repr, Tensor, Value};
use crate::{Elaborator, Result};
use aec_ir::{Loop, Op, Type};
use aec_runtime::Elem;
use aec_syntax::Span;

impl Elaborator {
    /// `remat(f)`: a function of the arguments of `f`.
    pub(crate) fn rematerialized(&mut self, f: &Value, at: Span, span: Span) -> Result<Value> {
        match f {
            Value::Unknown => return Ok(Value::Unknown),
            Value::Fn(_) | Value::Builtin(_) | Value::Model(_) => {}
            other => return wanted(at, "a function", other),
        }
        let inner = f.clone();
        let run = move |elaborator: &mut Elaborator, args: Args, at: Span| {
            elaborator.rematerialized_call(&inner, args, at)
        };
        Ok(crate::around::around(f, 0, "remat(…)", span, Box::new(run)))
    }

    /// Traces a call as a block. What the call takes from around it, its arguments among them,
    /// becomes the block's constants.
    fn rematerialized_call(&mut self, f: &Value, args: Args, span: Span) -> Result<Value> {
        if self.checking() {
            self.pure_depth += 1;
            let value = self.call_value(f, args, span);
            self.pure_depth -= 1;
            return value;
        }
        self.top();
        let constants = Vec::new();
        self.push_frame("block", FrameKind::Block { constants });
        self.top().f.param(Type::scalar(Elem::I64), "round");
        let traced = self.call_value(f, args, span).and_then(|value| {
            let mut results = Vec::new();
            for leaf in leaves(&value) {
                results.push(match &leaf.tensor {
                    Value::Tensor(tensor) if !matches!(tensor.repr, Repr::Static(_)) => {
                        Some(self.lift(tensor, span)?)
                    }
                    _ => None,
                });
            }
            Ok((value, results))
        });
        let frame = self.pop_frame();
        let (value, results) = traced?;
        let Some(mut frame) = frame else {
            return fail("E0490", span, "a block ended twice");
        };
        let FrameKind::Block { constants } = frame.kind else {
            return fail("E0490", span, "a block ended inside another construct");
        };
        frame.f.results = results.iter().flatten().copied().collect();
        let stacked: Vec<Type> = (frame.f.results.iter())
            .map(|&result| {
                let ty = frame.f.ty(result);
                let dims: Vec<usize> = [1].iter().chain(&ty.dims).copied().collect();
                ty.with_dims(&dims)
            })
            .collect();
        let op = Op::Loop(Loop {
            count: 1,
            carried: 0,
            sliced: 0,
            reverse: false,
            exit: false,
            recomputed: true,
            limited: false,
            nodes: false,
            body: Box::new(frame.f),
        });
        let outer = self.top();
        let id = outer.id;
        let inst = outer.f.push(op, &constants, &stacked, span);
        let mut yielded = outer.f.insts[inst].results.clone().into_iter();
        let mut new = Vec::new();
        for (leaf, result) in leaves(&value).into_iter().zip(results) {
            let yielded = result.and_then(|_| yielded.next());
            new.push(match (leaf.tensor, yielded) {
                (Value::Tensor(tensor), Some(yielded)) => {
                    let dims = outer.f.dims(yielded)[1..].to_vec();
                    let result = outer.f.reshape(yielded, &dims, span);
                    Value::Tensor(Tensor {
                        ty: tensor.ty,
                        repr: Repr::Traced(id, result),
                    })
                }
                (other, _) => other,
            });
        }
        Ok(with_leaves(&value, &mut new.into_iter(), false))
    }
}
