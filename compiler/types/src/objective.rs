//! The loss over a batch: the mean of its examples' losses, as params of a step and ops on them.
//!
//! The last batch of a pass may be short. A step that runs it too has room for a full batch
//! ([`BatchSize::may_be_short`]) and is told each example's *share* in the mean when it runs: 1/n for
//! each of n examples, 0 for copies of one of them that fill the rest. A copy is an example in all
//! else, so that nothing else of the compiler knows of it, and what follows from it has a gradient
//! of 0. What sees the batch as a whole (`batch_mean`) weighs by the same shares.

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::leaves::{leaves, with_leaves};
use crate::running::Seen;
use crate::trace::FrameKind;
use crate::train::{TrainRequest, TrainSet, data_args, train_sets};
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Label, Op};
use aec_runtime::Elem;
use aec_syntax::Span;
use aec_syntax::ast::{BinaryOp, Name};

/// Of how many examples a step computes the mean loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchSize {
    /// How many there is room for.
    pub room: usize,
    /// Whether there may be fewer: each example's share in the mean is given when it runs.
    pub may_be_short: bool,
}

/// A batch of a set of examples, as params of the step: the examples' indices, their shares if it
/// may be short, the leaves of the data.
#[derive(Clone)]
pub(crate) struct BatchOf {
    /// The member that is its loss.
    member: Name,
    /// The places of the examples in their set.
    indices: Value,
    /// The share of each in the mean, if it is not the same for all.
    shares: Option<Tensor>,
    data: Value,
    room: usize,
    /// Weight of its mean loss in the objective.
    weight: f64,
}

/// The loss over a batch, and what it gives besides.
pub(crate) struct Objective {
    pub(crate) total: Value,
    /// By name; none for a plain loss.
    parts: Vec<(Name, Value)>,
    /// What `running` saw, each a value of the frame around the batch.
    pub(crate) seen: Vec<Seen>,
}

impl Objective {
    /// The loss and its parts.
    pub(crate) fn figures(&self) -> Vec<Value> {
        let parts = self.parts.iter().map(|(_, part)| part.clone());
        [self.total.clone()].into_iter().chain(parts).collect()
    }

    /// Names of the parts.
    pub(crate) fn names(&self) -> Vec<Name> {
        self.parts.iter().map(|(name, _)| name.clone()).collect()
    }
}

impl Elaborator {
    /// The batches of a training's step as params.
    pub(crate) fn batch_params(
        &mut self,
        request: &TrainRequest,
        batches: &[(BatchSize, f64)],
    ) -> Result<Vec<BatchOf>> {
        let sets = train_sets(&request.data).into_iter().zip(batches);
        sets.map(|(set, &(size, weight))| self.batch_param(&set, size, weight, request.span))
            .collect()
    }

    /// A batch of a set as params.
    pub(crate) fn batch_param(
        &mut self,
        set: &TrainSet,
        size: BatchSize,
        weight: f64,
        span: Span,
    ) -> Result<BatchOf> {
        let room = size.room;
        let vector = |elem| TensorType {
            elem,
            shape: vec![Dim::known(room)].into(),
        };
        let (indices, _) = self.traced_param(&vector(Elem::I64), "examples", span)?;
        let shares = match size.may_be_short {
            true => {
                let ty = vector(self.float());
                Some(self.traced_param(&ty, "shares", span)?.0)
            }
            false => None,
        };
        let data = self.data_params(&set.data, room, span)?;
        Ok(BatchOf {
            member: set.member.clone(),
            indices: Value::Tensor(indices),
            shares,
            data,
            room,
            weight,
        })
    }

    /// What a step makes small: the mean loss; of several sets, the weighted sum of their means,
    /// each of which is a part.
    pub(crate) fn objective(
        &mut self,
        model: &Value,
        sets: &[BatchOf],
        span: Span,
    ) -> Result<Objective> {
        if let [set] = sets {
            return self.batch_loss(model, set, span);
        }
        let mut total: Option<Value> = None;
        let (mut parts, mut seen) = (Vec::new(), Vec::new());
        for set in sets {
            let own = self.batch_loss(model, set, span)?;
            let weight = Value::real(set.weight, self.float());
            let mean = own.total;
            let term = self.binary(BinaryOp::Mul, (&weight, span), (&mean, span), span)?;
            total = Some(match total {
                None => term,
                Some(before) => self.binary(BinaryOp::Add, (&before, span), (&term, span), span)?,
            });
            parts.push((set.member.clone(), mean));
            seen.extend(own.seen);
        }
        Ok(Objective {
            total: total.unwrap_or(Value::Unit),
            parts,
            seen,
        })
    }

    /// The data with each leaf a param of `batch` rows.
    fn data_params(&mut self, data: &Value, batch: usize, span: Span) -> Result<Value> {
        let mut params = Vec::new();
        for leaf in leaves(data) {
            let Value::Tensor(tensor) = &leaf.tensor else {
                continue;
            };
            let mut ty = tensor.ty.clone();
            let Some(first) = ty.shape.first_mut() else {
                return fail(
                    "E0302",
                    span,
                    "training data has the examples as its first axis, but this is a scalar",
                );
            };
            *first = Dim::known(batch);
            let name = if leaf.path.is_empty() {
                "x".to_string()
            } else {
                leaf.path.clone()
            };
            params.push(Value::Tensor(self.traced_param(&ty, &name, span)?.0));
        }
        Ok(with_leaves(data, &mut params.into_iter(), false))
    }

    /// Mean over the batch of the loss and of its parts.
    fn batch_loss(&mut self, model: &Value, set: &BatchOf, span: Span) -> Result<Objective> {
        let loss = self.loss_of(model, &set.member, span)?;
        let mut args = data_args(&set.data);
        let plain = args.len();
        args.push((set.indices.clone(), true));
        args.extend(
            set.shares
                .iter()
                .map(|shares| (Value::Tensor(shares.clone()), true)),
        );
        let outer = std::mem::take(&mut self.seen);
        let mut seen: Vec<Seen> = Vec::new();
        let mut names: Vec<Name> = Vec::new();
        let losses = self.map_over(
            &Dim::known(set.room),
            &args,
            true,
            span,
            |elaborator, values| {
                let (values, own) = values.split_at(plain);
                let traced = |value: &Value| match value.tensor().map(|tensor| &tensor.repr) {
                    Some(Repr::Traced(_, value)) => Some(*value),
                    _ => None,
                };
                if let Some(FrameKind::Map {
                    coordinate, share, ..
                }) = elaborator.frames.last_mut().map(|frame| &mut frame.kind)
                {
                    // The example's index in the data set is its coordinate for draws (R2).
                    *coordinate = own.first().and_then(traced);
                    *share = own.get(1).and_then(traced);
                }
                let value = elaborator.call_value(&loss, Args::of(values, span), span)?;
                let at = elaborator.loss_span(model, "loss", span);
                let parts = elaborator.loss_parts(&value, at)?;
                let mut total: Option<Value> = None;
                let mut out = Vec::new();
                for (name, part) in parts {
                    total = Some(match total {
                        None => part.clone(),
                        Some(before) => {
                            elaborator.binary(BinaryOp::Add, (&before, at), (&part, at), at)?
                        }
                    });
                    names.push(name);
                    out.push(part);
                }
                if out.len() == 1 && !matches!(value, Value::Record(_)) {
                    names.clear();
                    out.clear();
                }
                out.insert(0, total.unwrap_or(Value::Unknown));
                seen = std::mem::take(&mut elaborator.seen);
                out.extend(seen.iter().map(|seen| Value::Tensor(seen.value.clone())));
                Ok(Value::tuple(out))
            },
        )?;
        self.seen = outer;
        let Value::Tuple(losses) = &losses else {
            return wanted(span, "a loss", &losses);
        };
        let mut reduced = Vec::new();
        let (figures, values) = losses.split_at(1 + names.len());
        for loss in figures {
            let Value::Tensor(tensor) = loss else {
                return wanted(span, "a real loss", loss);
            };
            reduced.push(Value::Tensor(self.mean_of(set, tensor, span)?));
        }
        for (seen, value) in seen.iter_mut().zip(values) {
            if let Value::Tensor(tensor) = value {
                seen.value = self.first_row(tensor, span)?;
            }
        }
        let mut reduced = reduced.into_iter();
        let total = reduced.next().unwrap_or(Value::Unknown);
        let parts = names.into_iter().zip(reduced).collect();
        Ok(Objective { total, parts, seen })
    }

    /// The mean of a number of each example.
    fn mean_of(&mut self, set: &BatchOf, numbers: &Tensor, span: Span) -> Result<Tensor> {
        let Some(shares) = &set.shares else {
            return self.total(numbers, true, span);
        };
        let shares = self.convert(shares, numbers.ty.elem, span)?;
        let ty = TensorType::scalar(numbers.ty.elem);
        self.build(&[numbers, &shares], ty, span, |f, v, _, span| {
            f.contract(&[(v[0], &[0]), (v[1], &[0])], &[], &[], 1.0, span)
        })
    }

    /// What the mean over the batch is of: `x` of an example, so that copies of examples do not count.
    pub(crate) fn shared_out(&mut self, x: Tensor, span: Span) -> Result<Tensor> {
        let batch = self.frames.iter().find_map(|frame| match frame.kind {
            FrameKind::Map {
                size,
                share: Some(share),
                ..
            } => Some((size, Repr::Traced(frame.id, share))),
            _ => None,
        });
        let Some((room, repr)) = batch else {
            return Ok(x);
        };
        let share = Tensor {
            ty: TensorType::scalar(self.float()),
            repr,
        };
        let share = self.convert(&share, x.ty.elem, span)?;
        self.build(&[&x, &share], x.ty.clone(), span, |f, v, _, span| {
            let labels: Vec<Label> = (0..f.dims(v[0]).len() as Label).collect();
            let factors: [(_, &[Label]); 2] = [(v[0], &labels), (v[1], &[])];
            f.contract(&factors, &labels, &[], room as f64, span)
        })
    }

    /// The first row of what is the same in each.
    fn first_row(&mut self, tensor: &Tensor, span: Span) -> Result<Tensor> {
        let ty = TensorType {
            elem: tensor.ty.elem,
            shape: tensor.ty.shape[1..].to_vec().into(),
        };
        self.build(&[tensor], ty, span, |f, v, ty, span| {
            let mut limit = f.dims(v[0]).to_vec();
            let (start, stride) = (vec![0; limit.len()], vec![1; limit.len()]);
            limit[0] = 1;
            let row = ty.with_dims(&limit);
            let op = Op::Slice {
                start,
                limit,
                stride,
            };
            let first = f.push1(op, &[v[0]], row, span);
            f.reshape(first, &ty.dims, span)
        })
    }
}
