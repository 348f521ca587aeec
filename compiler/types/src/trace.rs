//! Tracing: frames, captures, regions, and running what a statement has traced.
//!
//! A frame is a TIR function under construction. The outermost one belongs to a script
//! statement (its params are tensors in memory) or to a training step. Inner ones are bodies of
//! `map` and `derivative`; a value of an outer frame that they use becomes a param, and an
//! operand of the region's instruction.

use crate::cut::cut_out;
use crate::error::fail;
use crate::value::{Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Def, Function, Literal, Op, Type, Value as IrValue};
use aec_runtime::{Data, Elem, Tensor as HostTensor};
use aec_syntax::Span;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What kind of function a frame is.
pub(crate) enum FrameKind {
    /// A script statement: one tensor in memory for each param, and what has been run already.
    Statement {
        inputs: Vec<Arc<HostTensor>>,
        done: FxHashMap<IrValue, Arc<HostTensor>>,
    },
    /// A training or evaluation step; `inputs` are constants of the step that scripts hold.
    Step {
        seed: IrValue,
        step: IrValue,
        inputs: Vec<Arc<HostTensor>>,
    },
    /// Body of a map: for each param, the operand in the frame around and whether it is mapped;
    /// of a batch that may be short, the param that is the example's share in a mean.
    Map {
        size: usize,
        operands: Vec<(IrValue, bool)>,
        coordinate: Option<IrValue>,
        share: Option<IrValue>,
        is_batch: bool,
    },
    /// One round of a loop: its index, once it has a param, and the operands in the frame around
    /// of the params that are constants.
    Loop {
        count: usize,
        index: Option<IrValue>,
        constants: Vec<IrValue>,
    },
    /// Body of a block that is computed again on the way back: the operands of its params.
    Block { constants: Vec<IrValue> },
    /// Body of a derivative: for each param, the operand in the frame around. It is taken by the
    /// first `active` of them.
    Derivative {
        operands: Vec<IrValue>,
        active: usize,
    },
}

/// A function being traced.
pub(crate) struct Frame {
    pub(crate) id: u32,
    pub(crate) f: Function,
    pub(crate) kind: FrameKind,
    captured: FxHashMap<IrValue, IrValue>,
    by_address: FxHashMap<usize, IrValue>,
}

/// The TIR type of a type whose sizes are all known, or have room for the longest example.
pub(crate) fn ir_type(ty: &TensorType, span: Span) -> Result<Type> {
    match ty.rooms() {
        Some(dims) => Ok(Type::new(ty.elem, &dims)),
        None => fail(
            "E0305",
            span,
            format!("the size of this {ty} is not known here"),
        ),
    }
}

/// A host tensor's elements as another element type.
pub(crate) fn converted(tensor: &Arc<HostTensor>, elem: Elem) -> Arc<HostTensor> {
    if tensor.elem() == elem {
        return tensor.clone();
    }
    if let (Data::I32(_) | Data::I64(_), Elem::I32 | Elem::I64) = (tensor.data(), elem) {
        let values: Vec<i64> = (0..tensor.len()).map(|at| tensor.get_i64(at)).collect();
        let data = match elem {
            Elem::I32 => Data::I32(values.iter().map(|&v| v as i32).collect()),
            _ => Data::I64(values),
        };
        return Arc::new(HostTensor::new(tensor.dims().to_vec(), data));
    }
    Arc::new(HostTensor::from_f64(
        elem,
        tensor.dims(),
        tensor.to_f64_vec(),
    ))
}

/// What a failed attempt at tracing is undone to.
#[derive(Clone)]
pub(crate) struct Snapshot {
    frames: usize,
    pure_depth: u32,
    batch_depth: u32,
    taken: usize,
    lengths: usize,
    rounds: usize,
    found: usize,
    seen: usize,
    calls: FxHashMap<aec_syntax::ast::Name, u64>,
}

impl Elaborator {
    /// Opens a frame.
    pub(crate) fn push_frame(&mut self, name: &str, kind: FrameKind) -> u32 {
        self.next_frame += 1;
        let frame = Frame {
            id: self.next_frame,
            f: Function::new(name),
            kind,
            captured: FxHashMap::default(),
            by_address: FxHashMap::default(),
        };
        self.frames.push(frame);
        self.next_frame
    }

    /// Closes the innermost frame.
    pub(crate) fn pop_frame(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// The innermost frame; a statement always has one while it runs.
    pub(crate) fn top(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.push_statement_frame();
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// Opens the frame of a script statement.
    pub(crate) fn push_statement_frame(&mut self) {
        self.push_frame(
            "statement",
            FrameKind::Statement {
                inputs: Vec::new(),
                done: FxHashMap::default(),
            },
        );
    }

    /// The depths that a failed attempt at tracing is undone to.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            frames: self.frames.len(),
            pure_depth: self.pure_depth,
            batch_depth: self.batch_depth,
            taken: self.taken.len(),
            lengths: self.varying.lengths.len(),
            rounds: self.varying.rounds.len(),
            found: self.found.len(),
            seen: self.seen.len(),
            calls: self
                .activations
                .last()
                .map(|activation| activation.calls.clone())
                .unwrap_or_default(),
        }
    }

    /// The mistakes that were found since.
    pub(crate) fn found_since(&self, state: &Snapshot) -> Vec<aec_syntax::Diagnostic> {
        self.found.get(state.found..).unwrap_or_default().to_vec()
    }

    /// Forgets frames that a failed attempt left open. Instructions that it emitted in outer
    /// frames are dead and vanish later.
    pub(crate) fn restore(&mut self, state: Snapshot) {
        self.frames.truncate(state.frames);
        self.pure_depth = state.pure_depth;
        self.batch_depth = state.batch_depth;
        self.seen.truncate(state.seen);
        self.taken.truncate(state.taken);
        self.varying.lengths.truncate(state.lengths);
        self.varying.rounds.truncate(state.rounds);
        self.found.truncate(state.found);
        if let Some(activation) = self.activations.last_mut() {
            activation.calls = state.calls;
        }
    }

    /// Whether effects may happen: nothing but statements is being traced.
    pub(crate) fn effects_allowed(&self) -> bool {
        let traced = match self.frames.as_slice() {
            [] => false,
            [frame] => !matches!(frame.kind, FrameKind::Statement { .. }),
            _ => true,
        };
        self.pure_depth == 0 && (self.checking() || !traced)
    }

    /// Adds a param of the innermost frame, as a traced tensor.
    pub(crate) fn traced_param(
        &mut self,
        ty: &TensorType,
        name: &str,
        span: Span,
    ) -> Result<(Tensor, IrValue)> {
        let ir = ir_type(ty, span)?;
        let frame = self.top();
        let value = frame.f.param(ir, name);
        let id = frame.id;
        Ok((
            Tensor {
                ty: ty.clone(),
                repr: Repr::Traced(id, value),
            },
            value,
        ))
    }

    /// A value of the outermost frame for a tensor in memory.
    fn input(&mut self, tensor: &Arc<HostTensor>, elem: Elem) -> IrValue {
        let address = Arc::as_ptr(tensor) as usize;
        let frame = &mut self.frames[0];
        if let Some(&value) = frame.by_address.get(&address) {
            return value;
        }
        let value = frame.f.param(Type::new(elem, tensor.dims()), "");
        if let FrameKind::Statement { inputs, .. } | FrameKind::Step { inputs, .. } =
            &mut frame.kind
        {
            inputs.push(tensor.clone());
        }
        frame.by_address.insert(address, value);
        value
    }

    /// Brings a value of frame `from` (an index) into the innermost frame.
    fn bring(&mut self, value: IrValue, from: usize) -> IrValue {
        let mut value = value;
        for at in from + 1..self.frames.len() {
            if let Some(&inner) = self.frames[at].captured.get(&value) {
                value = inner;
                continue;
            }
            let ty = self.frames[at - 1].f.ty(value).clone();
            let frame = &mut self.frames[at];
            let inner = frame.f.param(ty, "");
            match &mut frame.kind {
                FrameKind::Map { operands, .. } => operands.push((value, false)),
                FrameKind::Derivative { operands, .. } => operands.push(value),
                FrameKind::Loop { constants, .. } | FrameKind::Block { constants } => {
                    constants.push(value);
                }
                FrameKind::Statement { .. } | FrameKind::Step { .. } => {}
            }
            frame.captured.insert(value, inner);
            value = inner;
        }
        value
    }

    /// Whether a value depends on what a derivative around is taken by, other than through `by`.
    /// What a loop carries from round to round is not followed.
    pub(crate) fn is_differentiated(&self, value: &Tensor, by: &[&Tensor]) -> bool {
        let traced = |tensor: &Tensor| match tensor.repr {
            Repr::Traced(id, value) => {
                let at = self.frames.iter().position(|frame| frame.id == id)?;
                Some((at, value))
            }
            _ => None,
        };
        let mut known: FxHashSet<(usize, IrValue)> =
            by.iter().filter_map(|tensor| traced(tensor)).collect();
        let mut open: Vec<(usize, IrValue)> = traced(value).into_iter().collect();
        while let Some((at, value)) = open.pop() {
            let frame = &self.frames[at];
            if !known.insert((at, value)) || !frame.f.ty(value).elem.is_float() {
                continue;
            }
            let around = match frame.f.values[value].def {
                Def::Result(inst, _) => {
                    let data = &frame.f.insts[inst];
                    let operands = match data.op {
                        Op::Stop => &[],
                        // A slope says how the value changes and is no part of it.
                        Op::Slope { .. } => &data.operands[..2],
                        _ => data.operands.as_slice(),
                    };
                    open.extend(operands.iter().map(|&operand| (at, operand)));
                    continue;
                }
                Def::Param(nth) => match &frame.kind {
                    FrameKind::Derivative { active, .. } if (nth as usize) < *active => {
                        return true;
                    }
                    FrameKind::Derivative { operands, .. } => operands.get(nth as usize).copied(),
                    FrameKind::Map { operands, .. } => {
                        operands.get(nth as usize).map(|(operand, _)| *operand)
                    }
                    FrameKind::Loop { .. } | FrameKind::Block { .. } => {
                        let mut captured = frame.captured.iter();
                        captured
                            .find(|(_, inner)| **inner == value)
                            .map(|(outer, _)| *outer)
                    }
                    FrameKind::Statement { .. } | FrameKind::Step { .. } => None,
                },
            };
            open.extend(around.filter(|_| at > 0).map(|operand| (at - 1, operand)));
        }
        false
    }

    /// The value of a tensor in the innermost frame.
    pub(crate) fn lift(&mut self, tensor: &Tensor, span: Span) -> Result<IrValue> {
        self.top();
        match &tensor.repr {
            Repr::Static(host) => {
                let ty = ir_type(&tensor.ty, span)?;
                let f = &mut self.top().f;
                if host.rank() == 0 {
                    let literal = match ty.elem {
                        Elem::F32 | Elem::F64 => Literal::Float(host.get_f64(0)),
                        Elem::I32 | Elem::I64 => Literal::Int(host.get_i64(0)),
                        Elem::Bool => Literal::Bool(host.get_f64(0) != 0.0),
                    };
                    return Ok(f.constant(literal, ty, span));
                }
                let dense = converted(host, ty.elem);
                Ok(f.push1(Op::Dense(dense), &[], ty, span))
            }
            Repr::Concrete(host) => {
                let value = self.input(&host.clone(), tensor.ty.elem);
                Ok(self.bring(value, 0))
            }
            Repr::Traced(id, value) => match self.frames.iter().position(|frame| frame.id == *id) {
                Some(at) => Ok(self.bring(*value, at)),
                None => fail(
                    "E0490",
                    span,
                    "this value was made inside a function that has ended",
                ),
            },
            Repr::Choice(_) => {
                let chosen = self.chosen(tensor, span)?;
                self.lift(&chosen, span)
            }
            Repr::Stored(rows) => Err(Box::new(
                aec_syntax::Diagnostic::error(
                    "E0816",
                    span,
                    format!(
                        "these {} rows stay in {}: nothing but `train` and `eval` reads them",
                        rows.rows(),
                        rows.path().display()
                    ),
                )
                .help("`data.load(x[0..1000])` brings rows into memory"),
            )),
            Repr::Symbolic(size) => {
                let value = self.size_value(&size.clone(), span)?;
                if tensor.ty.elem == Elem::I64 {
                    return Ok(value);
                }
                let ty = ir_type(&tensor.ty, span)?;
                Ok(self.top().f.push1(Op::Convert, &[value], ty, span))
            }
            Repr::Unknown => fail(
                "E0305",
                span,
                format!("the value of this {} is not known here", tensor.ty),
            ),
        }
    }

    /// Emits an instruction with one result, or only types it while checking.
    pub(crate) fn emit(
        &mut self,
        op: Op,
        operands: &[&Tensor],
        ty: TensorType,
        span: Span,
    ) -> Result<Tensor> {
        self.build(operands, ty, span, |f, values, ir, span| {
            f.push1(op, values, ir, span)
        })
    }

    /// Emits instructions through the builder, or only types their result while checking.
    pub(crate) fn build(
        &mut self,
        operands: &[&Tensor],
        ty: TensorType,
        span: Span,
        make: impl FnOnce(&mut Function, &[IrValue], Type, Span) -> IrValue,
    ) -> Result<Tensor> {
        if self.checking() {
            return Ok(Tensor {
                ty,
                repr: Repr::Unknown,
            });
        }
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            values.push(self.lift(operand, span)?);
        }
        let ir = ir_type(&ty, span)?;
        let frame = self.top();
        let value = make(&mut frame.f, &values, ir, span);
        let id = frame.id;
        Ok(Tensor {
            ty,
            repr: Repr::Traced(id, value),
        })
    }

    /// Whether a value holds a traced tensor.
    pub(crate) fn has_traced(value: &Value) -> bool {
        match value {
            Value::Tensor(tensor) | Value::Token(tensor) => {
                matches!(tensor.repr, Repr::Traced(..) | Repr::Choice(_))
            }
            Value::Maybe(maybe) => {
                Self::has_traced(&maybe.value) || matches!(maybe.observed.repr, Repr::Traced(..))
            }
            Value::Tuple(values) | Value::List(values) => values.iter().any(Self::has_traced),
            Value::Record(fields) => fields.iter().any(|(_, value)| Self::has_traced(value)),
            Value::Tree(parts) => Self::has_traced(parts),
            Value::Ragged(ragged) => {
                let lengths = ragged.lengths.iter();
                let mut lengths = lengths.map(|(_, tensor)| Value::Tensor(tensor.clone()));
                Self::has_traced(&ragged.value) || lengths.any(|value| Self::has_traced(&value))
            }
            Value::Model(model) => {
                let mut all = model.params.iter().chain(&model.statics);
                all.any(|(_, value)| Self::has_traced(value))
                    || model
                        .kept()
                        .any(|tensor| Self::has_traced(&Value::Tensor(tensor)))
            }
            Value::Distribution(distribution) => distribution.params.iter().any(Self::has_traced),
            Value::Unit
            | Value::Str(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Module(_)
            | Value::Vocab(_)
            | Value::Unknown => false,
        }
    }

    /// Runs what is needed to have all tensors of the values in memory. While checking, the
    /// values themselves.
    pub(crate) fn materialize(&mut self, values: &[Value], span: Span) -> Result<Vec<Value>> {
        if self.checking() || !values.iter().any(Self::has_traced) {
            return Ok(values.to_vec());
        }
        let mut forced = Vec::with_capacity(values.len());
        for value in values {
            forced.push(self.force(value, span)?);
        }
        let values = forced.as_slice();
        let mut wanted: Vec<IrValue> = Vec::new();
        for value in values {
            self.collect(value, &mut wanted, span)?;
        }
        self.run_now(&wanted, span)?;
        let FrameKind::Statement { done, .. } = &self.frames[0].kind else {
            return fail(
                "E0491",
                span,
                "a value is needed here before the step has run",
            );
        };
        Ok(values
            .iter()
            .map(|value| crate::ragged::unpacked(&replace_traced(value, done)))
            .collect())
    }

    /// Choices made into traced selections.
    fn force(&mut self, value: &Value, span: Span) -> Result<Value> {
        let mut fault = None;
        let value = crate::leaves::map_tensors(value, &mut |tensor| {
            let Repr::Choice(_) = &tensor.repr else {
                return tensor.clone();
            };
            match self.chosen(tensor, span) {
                Ok(tensor) => tensor,
                Err(error) => {
                    fault = Some(error);
                    tensor.clone()
                }
            }
        });
        fault.map_or(Ok(value), Err)
    }

    /// One value in memory.
    pub(crate) fn materialize_one(&mut self, value: Value, span: Span) -> Result<Value> {
        if !Self::has_traced(&value) {
            return Ok(value);
        }
        let mut values = self.materialize(&[value], span)?;
        Ok(values.pop().unwrap_or(Value::Unit))
    }

    fn collect(&mut self, value: &Value, wanted: &mut Vec<IrValue>, span: Span) -> Result<()> {
        match value {
            Value::Tensor(Tensor {
                repr: Repr::Traced(id, traced),
                ..
            }) => {
                let statement = matches!(self.frames[0].kind, FrameKind::Statement { .. });
                if !statement || self.frames.len() != 1 || self.frames[0].id != *id {
                    return fail(
                        "E0491",
                        span,
                        "this needs a value that only exists while the compiled code runs",
                    );
                }
                wanted.push(*traced);
                Ok(())
            }
            Value::Token(tensor) => self.collect(&Value::Tensor(tensor.clone()), wanted, span),
            Value::Maybe(maybe) => {
                self.collect(&maybe.value, wanted, span)?;
                self.collect(&Value::Tensor(maybe.observed.clone()), wanted, span)
            }
            Value::Tensor(_)
            | Value::Unit
            | Value::Str(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Module(_)
            | Value::Vocab(_)
            | Value::Unknown => Ok(()),
            Value::Tuple(values) | Value::List(values) => values
                .iter()
                .try_for_each(|value| self.collect(value, wanted, span)),
            Value::Record(fields) => fields
                .iter()
                .try_for_each(|(_, value)| self.collect(value, wanted, span)),
            Value::Tree(parts) => self.collect(parts, wanted, span),
            Value::Ragged(ragged) => {
                self.collect(&ragged.value, wanted, span)?;
                ragged.lengths.iter().try_for_each(|(_, tensor)| {
                    self.collect(&Value::Tensor(tensor.clone()), wanted, span)
                })
            }
            Value::Model(model) => {
                let mut all = model.params.iter().chain(&model.statics);
                all.try_for_each(|(_, value)| self.collect(value, wanted, span))?;
                let mut kept = model.kept();
                kept.try_for_each(|tensor| self.collect(&Value::Tensor(tensor), wanted, span))
            }
            Value::Distribution(distribution) => distribution
                .params
                .iter()
                .try_for_each(|value| self.collect(value, wanted, span)),
        }
    }

    /// Compiles and runs the part of the statement that the values need.
    fn run_now(&mut self, wanted: &[IrValue], span: Span) -> Result<()> {
        let (function, inputs, fresh) = {
            let frame = &mut self.frames[0];
            let FrameKind::Statement { inputs, done } = &mut frame.kind else {
                return fail(
                    "E0491",
                    span,
                    "a value is needed here before the step has run",
                );
            };
            for &value in wanted {
                if !done.contains_key(&value)
                    && let Some(zeros) = zeros(&frame.f, value)
                {
                    done.insert(value, Arc::new(zeros));
                }
            }
            cut_out(&frame.f, inputs, done, wanted);
            let fresh: Vec<IrValue> = {
                let mut seen = FxHashSet::default();
                wanted
                    .iter()
                    .copied()
                    .filter(|value| !done.contains_key(value) && seen.insert(*value))
                    .collect()
            };
            if fresh.is_empty() {
                return Ok(());
            }
            let (function, inputs) = extract(&frame.f, inputs, done, &fresh);
            (function, inputs, fresh)
        };
        let host = self.host.clone();
        let results = host.run(function, inputs, span)?;
        if let FrameKind::Statement { done, .. } = &mut self.frames[0].kind {
            done.extend(fresh.into_iter().zip(results));
        }
        Ok(())
    }
}

/// A tensor of zeros needs no code, and its memory is taken when it is first written to: that of an
/// optimizer's state never, as the step has a copy. A larger one goes where memory is counted.
fn zeros(f: &Function, value: IrValue) -> Option<HostTensor> {
    const MOST_BYTES: usize = 1 << 28;
    let Def::Result(inst, _) = f.values[value].def else {
        return None;
    };
    let Op::Constant(literal) = &f.insts[inst].op else {
        return None;
    };
    let zero = match *literal {
        Literal::Float(number) => number.to_bits() == 0,
        Literal::Int(number) => number == 0,
        Literal::Bool(bit) => !bit,
    };
    let ty = f.ty(value);
    let bytes = (ty.dims.iter()).try_fold(ty.elem.bytes(), |all, &dim| all.checked_mul(dim))?;
    (zero && bytes <= MOST_BYTES).then(|| HostTensor::zeros(ty.elem, &ty.dims))
}

/// The part of a statement's function that gives `wanted`, what has run already being inputs.
fn extract(
    f: &Function,
    inputs: &[Arc<HostTensor>],
    done: &FxHashMap<IrValue, Arc<HostTensor>>,
    wanted: &[IrValue],
) -> (Function, Vec<Arc<HostTensor>>) {
    // From what is wanted back to what is there: a statement may have traced a thousand steps before.
    // Both numbers rise in the order of tracing.
    let (mut leaves, mut insts) = (BTreeSet::new(), BTreeSet::new());
    let mut seen: FxHashSet<IrValue> = wanted.iter().copied().collect();
    let mut work = wanted.to_vec();
    while let Some(value) = work.pop() {
        match f.values[value].def {
            Def::Result(inst, _) if !done.contains_key(&value) => {
                if insts.insert(inst) {
                    let operands = f.insts[inst].operands.iter().copied();
                    work.extend(operands.filter(|&operand| seen.insert(operand)));
                }
            }
            Def::Result(..) | Def::Param(_) => {
                leaves.insert(value);
            }
        }
    }
    let mut out = Function::new(f.name.clone());
    let mut map: FxHashMap<IrValue, IrValue> = FxHashMap::default();
    let mut given = Vec::new();
    for value in leaves {
        let data = &f.values[value];
        let host = match (done.get(&value), data.def) {
            (Some(host), _) => host,
            (None, Def::Param(index)) => &inputs[index as usize],
            (None, Def::Result(..)) => continue,
        };
        map.insert(value, out.param(data.ty.clone(), ""));
        given.push(host.clone());
    }
    for inst in insts {
        let data = &f.insts[inst];
        let operands: Vec<IrValue> = data.operands.iter().map(|operand| map[operand]).collect();
        let types: Vec<Type> = data
            .results
            .iter()
            .map(|&result| f.ty(result).clone())
            .collect();
        let copy = out.push(data.op.clone(), &operands, &types, data.span);
        let results = out.insts[copy].results.clone();
        for (&old, &new) in data.results.iter().zip(&results) {
            map.entry(old).or_insert(new);
        }
    }
    out.results = wanted.iter().map(|value| map[value]).collect();
    (out, given)
}

fn replace_traced(value: &Value, done: &FxHashMap<IrValue, Arc<HostTensor>>) -> Value {
    crate::leaves::map_tensors(value, &mut |tensor| match &tensor.repr {
        Repr::Traced(_, traced) => match done.get(traced) {
            Some(host) => Tensor {
                ty: tensor.ty.clone(),
                repr: Repr::Concrete(host.clone()),
            },
            None => tensor.clone(),
        },
        Repr::Unknown
        | Repr::Static(_)
        | Repr::Concrete(_)
        | Repr::Stored(_)
        | Repr::Symbolic(_)
        | Repr::Choice(_) => tensor.clone(),
    })
}
