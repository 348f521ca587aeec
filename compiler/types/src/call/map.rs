//! A function of one example over all entries of an axis: a `map` region, or while checking the
//! type that it gives.

use crate::error::fail;
use crate::leaves::{leaves, map_tensors, with_leaves};
use crate::loops::{with_axis, without_axis};
use crate::trace::{FrameKind, ir_type};
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Function, Op, Type, Value as IrValue};
use aec_runtime::Elem;
use aec_syntax::Span;

impl Elaborator {
    /// Evaluates a function of arguments for each index of a new leading axis; the mapped
    /// arguments lose their leading axis. Every tensor of the result gets the axis in front.
    pub(crate) fn map_over(
        &mut self,
        dim: &Dim,
        args: &[(Value, bool)],
        is_batch: bool,
        span: Span,
        body: impl FnOnce(&mut Elaborator, &[Value]) -> Result<Value>,
    ) -> Result<Value> {
        // The rounds of a loop around a whole batch are the same for all of its examples.
        let around = match is_batch {
            true => std::mem::take(&mut self.alone),
            false => Vec::new(),
        };
        let result = self.map_axis(dim, args, is_batch, span, body);
        if is_batch {
            self.alone = around;
        }
        result
    }

    /// The map itself: checked, or traced as a region.
    fn map_axis(
        &mut self,
        dim: &Dim,
        args: &[(Value, bool)],
        is_batch: bool,
        span: Span,
        body: impl FnOnce(&mut Elaborator, &[Value]) -> Result<Value>,
    ) -> Result<Value> {
        if self.checking() {
            return self.map_type(dim, args, is_batch, span, body);
        }
        let Some(size) = dim.size.room() else {
            return fail(
                "E0305",
                span,
                format!("the size {} is not known here", dim.size),
            );
        };
        let real = self.inside(std::slice::from_ref(dim), None, span)?;
        // The batch is what the outermost mapped call of a member is mapped over (B1); maps around
        // that, over models or over batches, have a batch each time.
        let is_batch = is_batch
            && !self
                .frames
                .iter()
                .any(|frame| matches!(frame.kind, FrameKind::Map { is_batch: true, .. }));
        // Operands are lifted in the frame around before the body's frame opens.
        let mut lifted: Vec<Vec<(IrValue, TensorType)>> = Vec::new();
        for (value, mapped) in args {
            let mut operands = Vec::new();
            if *mapped {
                for leaf in leaves(value) {
                    if let Value::Tensor(tensor) = &leaf.tensor {
                        operands.push((self.lift(tensor, span)?, tensor.ty.clone()));
                    }
                }
            }
            lifted.push(operands);
        }
        let real = match &real {
            Some(flags) => Some(self.lift(flags, span)?),
            None => None,
        };
        self.push_frame(
            "map",
            FrameKind::Map {
                size,
                operands: Vec::new(),
                coordinate: None,
                share: None,
                is_batch,
            },
        );
        let mark = self.lengths_mark();
        let (rounds, taken) = (self.varying.rounds.len(), self.taken.len());
        let result = self.map_body(args, lifted, real, span, body);
        self.forget_lengths(mark);
        self.varying.rounds.truncate(rounds);
        self.taken.truncate(taken);
        let frame = self.pop_frame();
        let (result, results) = result?;
        let Some(mut frame) = frame else {
            return fail("E0490", span, "a map ended twice");
        };
        frame.f.results = results;
        let FrameKind::Map { operands, .. } = frame.kind else {
            return fail("E0490", span, "a map ended inside another construct");
        };
        let (id, traced) = self.push_map(size, is_batch, frame.f, &operands, span);
        let mut next = traced.iter();
        let inner = leaves(&result);
        let mut new = inner.iter().map(|leaf| match (&leaf.tensor, next.next()) {
            (Value::Tensor(tensor), Some(&value)) => Value::Tensor(Tensor {
                ty: with_axis(&tensor.ty, dim),
                repr: Repr::Traced(id, value),
            }),
            (other, _) => other.clone(),
        });
        let all = with_leaves(&result, &mut new, false);
        self.script_lists(all, span)
    }

    /// What a map gives while checking, when one round stands for all.
    fn map_type(
        &mut self,
        dim: &Dim,
        args: &[(Value, bool)],
        is_batch: bool,
        span: Span,
        body: impl FnOnce(&mut Elaborator, &[Value]) -> Result<Value>,
    ) -> Result<Value> {
        let peeled = args.iter().map(|(value, mapped)| match mapped {
            true => peel_type(value),
            false => value.clone(),
        });
        let peeled: Vec<Value> = peeled.collect();
        self.pure_depth += 1;
        self.batch_depth += u32::from(is_batch);
        let mark = self.lengths_mark();
        let opened: Vec<Value> = peeled.iter().map(|value| self.open(value)).collect();
        let result = body(self, &opened).and_then(|value| self.close(value, mark, span));
        self.forget_lengths(mark);
        self.pure_depth -= 1;
        self.batch_depth -= u32::from(is_batch);
        let all = map_tensors(&result?, &mut |tensor| Tensor {
            ty: with_axis(&tensor.ty, dim),
            repr: Repr::Unknown,
        });
        self.script_lists(all, span)
    }

    /// Puts a map into the frame around it, and gives that frame's id and the map's results.
    fn push_map(
        &mut self,
        size: usize,
        is_batch: bool,
        body: Function,
        operands: &[(IrValue, bool)],
        span: Span,
    ) -> (u32, Vec<IrValue>) {
        let types: Vec<Type> = body
            .results
            .iter()
            .map(|&value| {
                let ty = body.ty(value);
                let dims: Vec<usize> = std::iter::once(size)
                    .chain(ty.dims.iter().copied())
                    .collect();
                ty.with_dims(&dims)
            })
            .collect();
        let (values, mapped): (Vec<IrValue>, Vec<bool>) = operands.iter().copied().unzip();
        let outer = self.top();
        let op = Op::Map {
            size,
            mapped,
            is_batch,
            body: Box::new(body),
        };
        let inst = outer.f.push(op, &values, &types, span);
        (outer.id, outer.f.insts[inst].results.to_vec())
    }

    /// The body's frame: params for what is mapped, the result and its leaves' values.
    fn map_body(
        &mut self,
        args: &[(Value, bool)],
        lifted: Vec<Vec<(IrValue, TensorType)>>,
        real: Option<IrValue>,
        span: Span,
        body: impl FnOnce(&mut Elaborator, &[Value]) -> Result<Value>,
    ) -> Result<(Value, Vec<IrValue>)> {
        if let Some(flags) = real {
            let flag = self.mapped_param(flags, &TensorType::scalar(Elem::Bool), span)?;
            self.varying.rounds.push(flag.clone());
            self.taken.push(flag);
        }
        let mark = self.lengths_mark();
        let mut peeled = Vec::new();
        for ((value, mapped), operands) in args.iter().zip(lifted) {
            if !*mapped {
                peeled.push(value.clone());
                continue;
            }
            let mut params = Vec::new();
            for (outer, ty) in operands {
                let ty = without_axis(&ty);
                params.push(Value::Tensor(self.mapped_param(outer, &ty, span)?));
            }
            let one = with_leaves(value, &mut params.into_iter(), false);
            peeled.push(self.open(&one));
        }
        let result = body(self, &peeled)?;
        let result = self.close(result, mark, span)?;
        let mut results = Vec::new();
        for leaf in leaves(&result) {
            if let Value::Tensor(tensor) = &leaf.tensor {
                results.push(self.lift(tensor, span)?);
            }
        }
        Ok((result, results))
    }

    /// A param of the map that is being traced, which gets an entry of `outer` each time.
    fn mapped_param(&mut self, outer: IrValue, ty: &TensorType, span: Span) -> Result<Tensor> {
        let ir = ir_type(ty, span)?;
        let frame = self.top();
        let param = frame.f.param(ir, "");
        if let FrameKind::Map { operands, .. } = &mut frame.kind {
            operands.push((outer, true));
        }
        Ok(Tensor {
            ty: ty.clone(),
            repr: Repr::Traced(frame.id, param),
        })
    }
}

/// The value without its leading axis, while checking.
pub(crate) fn peel_type(value: &Value) -> Value {
    map_tensors(value, &mut |tensor| Tensor {
        ty: without_axis(&tensor.ty),
        repr: Repr::Unknown,
    })
}
