//! Draws: `let z: [Z] ~ normal(mu, sigma)`, keyed by place (SEMANTICS.md R1 to R4).
//!
//! A draw is base noise times location and scale: only the noise is constant, so gradients flow
//! to the parameters of location-scale families without a rule of their own.

use crate::call::site_hash;
use crate::error::{fail, wanted};
use crate::ops::as_tensor;
use crate::scope::Scope;
use crate::size::Size;
use crate::trace::FrameKind;
use crate::value::{Dim, Family, Repr, Shape, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Distribution as Base, Function, Op, Reduction, Type, Unary, Value as IrValue};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::Span;
use aec_syntax::ast::{BinaryOp, Expr, Name, TypeExpr};
use std::rc::Rc;
use std::sync::Arc;

/// Parameter names of a family.
pub(crate) fn param_names(family: Family) -> &'static [&'static str] {
    match family {
        Family::Normal => &["mu", "sigma"],
        Family::Uniform => &["a", "b"],
        Family::Bernoulli => &["p"],
        Family::Categorical => &["logits"],
        Family::Gumbel => &[],
        Family::Permutation => &["n"],
    }
}

impl Elaborator {
    /// The value of a draw `let name: ty ~ expr`.
    pub(crate) fn draw_let(
        &mut self,
        name: &Name,
        ty: Option<&TypeExpr>,
        expr: &Expr,
        scope: &Scope,
    ) -> Result<Value> {
        let Some(ty) = ty else {
            let distribution = self.eval(expr, scope)?;
            return self.draw(name, None, &distribution, expr.span);
        };
        let inner = self.annotation_scope(ty, scope);
        let want = match self.declared(ty)? {
            crate::declared::Declared::Tensor { elem, shape, .. } => {
                match self.tensor_type(elem, &shape, &inner) {
                    Ok(want) => Some(want),
                    // A size name that is new takes the size of the distribution's parameters.
                    Err(error) if error.code == "E0205" => None,
                    Err(error) => return Err(error),
                }
            }
            _ => return fail("E0310", ty.span, "a draw is a tensor: give its shape"),
        };
        let distribution = self.eval(expr, scope)?;
        let known = want.is_some();
        let value = self.draw(name, want, &distribution, expr.span)?;
        if known {
            return Ok(value);
        }
        self.match_let(ty, &value, expr.span, scope)
    }

    /// The start value of `param name: ty ~ expr`.
    pub(crate) fn draw_param(
        &mut self,
        name: &Name,
        want: TensorType,
        expr: &Expr,
        scope: &Scope,
    ) -> Result<Value> {
        let distribution = self.eval(expr, scope)?;
        let value = self.draw(name, Some(want.clone()), &distribution, expr.span)?;
        Ok(match value {
            Value::Tensor(tensor) => Value::Tensor(Tensor {
                ty: want,
                repr: tensor.repr,
            }),
            other => other,
        })
    }

    fn draw(
        &mut self,
        name: &Name,
        want: Option<TensorType>,
        distribution: &Value,
        span: Span,
    ) -> Result<Value> {
        self.unlike_copies += 1;
        let distribution = match distribution {
            Value::Distribution(distribution) => distribution.clone(),
            Value::Unknown => {
                return Ok(match want {
                    Some(ty) => Value::Tensor(Tensor {
                        ty,
                        repr: Repr::Unknown,
                    }),
                    None => Value::Unknown,
                });
            }
            // `~ gumbel`: a family without parameters.
            Value::Builtin(family) if family.is_distribution() => {
                let made = self.apply(distribution, &[], span)?;
                return self.draw(name, want, &made, span);
            }
            // A function right of `~` makes the distribution from the shape: `~ glorot`.
            Value::Fn(_) | Value::Builtin(_) => {
                let Some(ty) = &want else {
                    return fail(
                        "E0310",
                        span,
                        "this distribution depends on the shape: write `let x: [n] ~ …`",
                    );
                };
                let sizes: Vec<Value> = ty
                    .shape
                    .iter()
                    .map(|dim| Value::size(dim.size.clone()))
                    .collect();
                let made = self.apply(distribution, &[Value::List(Rc::new(sizes))], span)?;
                if !matches!(made, Value::Distribution(_) | Value::Unknown) {
                    return wanted(span, "a distribution", &made);
                }
                return self.draw(name, want, &made, span);
            }
            other => {
                return wanted(span, "a distribution", other)
                    .map_err(|error| Box::new(error.help("a value is given with `=`; `~` draws")));
            }
        };
        if distribution
            .params
            .iter()
            .any(|param| matches!(param, Value::Unknown))
        {
            return Ok(match want {
                Some(ty) => Value::Tensor(Tensor {
                    ty,
                    repr: Repr::Unknown,
                }),
                None => Value::Unknown,
            });
        }
        // The site: the call path and the name; a repeated name gets its ordinal.
        let path = self
            .activations
            .last()
            .map_or(0, |activation| activation.path);
        let ordinal = match self.activations.last_mut() {
            Some(activation) => {
                let count = activation
                    .calls
                    .entry(format!("~{name}").into())
                    .or_insert(0);
                *count += 1;
                *count - 1
            }
            None => 0,
        };
        let site = site_hash(&[&path.to_le_bytes(), name.as_bytes(), &ordinal.to_le_bytes()]);
        let params = distribution.params.clone();
        let tensor = |value: &Value| as_tensor(value, span, "a parameter of a distribution");
        match distribution.family {
            Family::Normal | Family::Uniform | Family::Gumbel | Family::Bernoulli => {
                let shape = match &want {
                    Some(ty) => ty.shape.clone(),
                    None => {
                        let mut shape = Shape::default();
                        for param in &params {
                            let param = tensor(param)?;
                            if param.ty.rank() > 0 {
                                shape = param.ty.shape;
                            }
                        }
                        shape
                    }
                };
                for param in &params {
                    let param = tensor(param)?;
                    let fits =
                        param.is_scalar() || crate::value::may_agree(&param.ty.shape, &shape);
                    if !fits {
                        let drawn = TensorType {
                            elem: self.float(),
                            shape,
                        };
                        return fail(
                            "E0301",
                            span,
                            format!(
                                "sizes do not match: a draw of {drawn} with a parameter of {}",
                                param.ty
                            ),
                        );
                    }
                }
                let family = distribution.family;
                let elem = match (&want, family) {
                    (Some(ty), Family::Normal | Family::Uniform | Family::Gumbel) => ty.elem,
                    _ => self.float(),
                };
                if !elem.is_float() {
                    return fail(
                        "E0303",
                        span,
                        format!("a draw from this distribution is real, not {elem}"),
                    );
                }
                let base = if family == Family::Normal {
                    Base::Normal
                } else {
                    Base::Uniform
                };
                let noise = Value::Tensor(self.noise(
                    base,
                    site,
                    TensorType {
                        elem,
                        shape: shape.clone(),
                    },
                    span,
                )?);
                let op = |elaborator: &mut Elaborator, op, a: &Value, b: &Value| {
                    elaborator.binary(op, (a, span), (b, span), span)
                };
                match family {
                    Family::Normal => {
                        let scaled = op(self, BinaryOp::Mul, &params[1], &noise)?;
                        op(self, BinaryOp::Add, &params[0], &scaled)
                    }
                    Family::Uniform => {
                        let width = op(self, BinaryOp::Sub, &params[1], &params[0])?;
                        let scaled = op(self, BinaryOp::Mul, &width, &noise)?;
                        op(self, BinaryOp::Add, &params[0], &scaled)
                    }
                    Family::Bernoulli => {
                        let hit = op(self, BinaryOp::Lt, &noise, &params[0])?;
                        let hit = as_tensor(&hit, span, "a tensor")?;
                        let elem = want.as_ref().map_or(elem, |ty| ty.elem);
                        Ok(Value::Tensor(self.convert(&hit, elem, span)?))
                    }
                    Family::Gumbel | Family::Categorical | Family::Permutation => Ok(
                        Value::Tensor(self.gumbel(&as_tensor(&noise, span, "noise")?, span)?),
                    ),
                }
            }
            Family::Categorical => {
                // The Gumbel-max trick: argmax(logits + gumbel).
                let logits = tensor(&params[0])?;
                let lead: Vec<Dim> = want.as_ref().map_or_else(Vec::new, |ty| ty.shape.to_vec());
                if logits.ty.rank() != 1 {
                    return fail(
                        "E0302",
                        span,
                        format!(
                            "the logits of one draw are a vector, but these are {}",
                            logits.ty
                        ),
                    );
                }
                let shape: Vec<Dim> = lead.iter().chain(&logits.ty.shape).cloned().collect();
                let uniform = self.noise(
                    Base::Uniform,
                    site,
                    TensorType {
                        elem: logits.ty.elem,
                        shape: shape.clone().into(),
                    },
                    span,
                )?;
                let gumbel = self.gumbel(&uniform, span)?;
                let ty = TensorType {
                    elem: logits.ty.elem,
                    shape: shape.clone().into(),
                };
                let sum = self.build(&[&logits, &gumbel], ty, span, |f, v, ty, span| {
                    let leading = ty.dims[..ty.dims.len() - 1].to_vec();
                    let repeated = if leading.is_empty() {
                        v[0]
                    } else {
                        f.broadcast_leading(v[0], &leading, span)
                    };
                    f.binary(aec_ir::Binary::Add, repeated, v[1], span)
                })?;
                let axis = shape.len() - 1;
                let least = crate::varying::neutral(Reduction::Max, logits.ty.elem);
                let sum = self.within(&sum, Some(axis), least, span)?;
                let ty = TensorType {
                    elem: Elem::I64,
                    shape: lead.into(),
                };
                Ok(Value::Tensor(self.emit(
                    Op::ArgReduce {
                        op: Reduction::Max,
                        axis,
                    },
                    &[&sum],
                    ty,
                    span,
                )?))
            }
            Family::Permutation => {
                let Some(size) = params[0].as_size() else {
                    return fail(
                        "E0305",
                        span,
                        "the length of a permutation must be known here",
                    );
                };
                let shape = vec![Dim::of(size)];
                if let Some(ty) = &want
                    && !crate::value::may_agree(&ty.shape, &shape)
                {
                    let message = format!(
                        "sizes do not match: a draw of {ty} from a permutation of {}",
                        shape[0].size
                    );
                    return fail("E0301", span, message);
                }
                let keys = self.noise(
                    Base::Uniform,
                    site,
                    TensorType {
                        elem: Elem::F32,
                        shape: shape.clone().into(),
                    },
                    span,
                )?;
                let ty = TensorType {
                    elem: Elem::I64,
                    shape: shape.into(),
                };
                let keys = self.within(&keys, Some(0), f64::INFINITY, span)?;
                Ok(Value::Tensor(self.emit(Op::ArgSort, &[&keys], ty, span)?))
            }
        }
    }

    fn gumbel(&mut self, uniform: &Tensor, span: Span) -> Result<Tensor> {
        let log = self.unary(Unary::Log, uniform, span)?;
        let negative = self.unary(Unary::Neg, &log, span)?;
        let log = self.unary(Unary::Log, &negative, span)?;
        self.unary(Unary::Neg, &log, span)
    }

    /// Base noise of a type, keyed by site and place.
    fn noise(&mut self, base: Base, site: u64, ty: TensorType, span: Span) -> Result<Tensor> {
        if self.checking() {
            return Ok(Tensor {
                ty,
                repr: Repr::Unknown,
            });
        }
        // The entries are numbered as those of an example of its own length are.
        if crate::varying::axes(&ty.shape).any(|axis| axis > 0) {
            return self.noise_of_varying(base, site, ty, span);
        }
        let mut operands = self.draw_key(span)?;
        let (coordinates, radices) = self.coordinates(span)?;
        operands.extend(coordinates);
        let op = Op::Draw {
            distribution: base,
            site,
            batch: 0,
            radices,
        };
        let ir = crate::trace::ir_type(&ty, span)?;
        let frame = self.top();
        let value = frame.f.push1(op, &operands, ir, span);
        Ok(Tensor {
            ty,
            repr: Repr::Traced(frame.id, value),
        })
    }

    /// Noise of a type with axes after the first that vary: drawn in a row, and put where an
    /// example of its own sizes has it.
    fn noise_of_varying(
        &mut self,
        base: Base,
        site: u64,
        ty: TensorType,
        span: Span,
    ) -> Result<Tensor> {
        let one = Size::constant(1);
        let volume = ty.shape.iter().fold(one, |size, dim| size.times(&dim.size));
        let row = TensorType {
            elem: ty.elem,
            shape: vec![Dim::of(volume)].into(),
        };
        let row = self.noise(base, site, row, span)?;
        let sizes: Vec<Tensor> = ty
            .shape
            .iter()
            .map(|dim| as_tensor(&Value::size(dim.size.clone()), span, "a size"))
            .collect::<Result<_>>()?;
        let operands: Vec<&Tensor> = sizes.iter().collect();
        let places = TensorType {
            elem: Elem::I64,
            shape: ty.shape.clone(),
        };
        let places = self.build(&operands, places, span, |f, sizes, ty, span| {
            let mut at: Option<IrValue> = None;
            for (axis, &size) in sizes.iter().enumerate() {
                let counter = f.push1(Op::Iota { axis }, &[], ty.clone(), span);
                at = Some(match at {
                    None => counter,
                    Some(before) => {
                        let labels: Vec<aec_ir::Label> = (0..ty.rank() as aec_ir::Label).collect();
                        let factors: [(IrValue, &[aec_ir::Label]); 2] =
                            [(before, &labels), (size, &[])];
                        let before = f.contract(&factors, &labels, &[], 1.0, span);
                        f.binary(aec_ir::Binary::Add, before, counter, span)
                    }
                });
            }
            at.unwrap_or_else(|| f.number(0.0, ty, span))
        })?;
        let noise = self.moved(&row, 0, &places, span)?;
        Ok(Tensor {
            ty,
            repr: noise.repr,
        })
    }

    /// Seed and step of a draw here, in the innermost frame.
    fn draw_key(&mut self, span: Span) -> Result<Vec<IrValue>> {
        self.top();
        if let FrameKind::Step { seed, step, .. } = &self.frames[0].kind {
            let (id, seed, step) = (self.frames[0].id, *seed, *step);
            let scalar = |value| Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Traced(id, value),
            };
            return Ok(vec![
                self.lift(&scalar(seed), span)?,
                self.lift(&scalar(step), span)?,
            ]);
        }
        // Seed and round are inputs of a statement, so that loop rounds share its code.
        let (seed, round) = (self.seed as i64, self.round);
        let input = |this: &mut Elaborator, number: i64| {
            let tensor = Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Concrete(Arc::new(HostTensor::i64(&[], vec![number]))),
            };
            this.lift(&tensor, span)
        };
        Ok(vec![input(self, seed)?, input(self, round)?])
    }

    /// The coordinates of the maps and loops around, outermost first; the first is the
    /// example's.
    fn coordinates(&mut self, span: Span) -> Result<(Vec<IrValue>, Vec<usize>)> {
        let mut found: Vec<(u32, IrValue, usize)> = Vec::new();
        for at in 0..self.frames.len() {
            let (size, known) = match &self.frames[at].kind {
                FrameKind::Map {
                    size, coordinate, ..
                } => (*size, *coordinate),
                FrameKind::Loop { count, index, .. } => (*count, *index),
                FrameKind::Statement { .. }
                | FrameKind::Step { .. }
                | FrameKind::Block { .. }
                | FrameKind::Derivative { .. } => continue,
            };
            let id = self.frames[at].id;
            let own = |flag: &Tensor| matches!(flag.repr, Repr::Traced(of, _) if of == id);
            if found.len() > 1 && self.varying.rounds.iter().any(own) {
                return fail(
                    "E0340",
                    self.blamed(span),
                    "a draw cannot stand in a map or loop within another whose length varies between examples",
                );
            }
            let value = match known {
                Some(value) => value,
                None => {
                    let outer = &mut self.frames[at - 1].f;
                    let iota = outer.push1(
                        Op::Iota { axis: 0 },
                        &[],
                        Type::new(Elem::I64, &[size]),
                        span,
                    );
                    let frame = &mut self.frames[at];
                    let param = frame.f.param(Type::scalar(Elem::I64), "");
                    if let FrameKind::Map {
                        operands,
                        coordinate,
                        ..
                    } = &mut frame.kind
                    {
                        operands.push((iota, true));
                        *coordinate = Some(param);
                    }
                    param
                }
            };
            found.push((self.frames[at].id, value, size));
        }
        if found.is_empty() {
            let zero = number(&mut self.top().f, 0, span);
            return Ok((vec![zero], Vec::new()));
        }
        let radices = found.iter().skip(1).map(|(_, _, size)| *size).collect();
        let mut coordinates = Vec::new();
        for (id, value, _) in found {
            let tensor = Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Traced(id, value),
            };
            coordinates.push(self.lift(&tensor, span)?);
        }
        Ok((coordinates, radices))
    }
}

fn number(f: &mut Function, value: i64, span: Span) -> IrValue {
    f.number(value as f64, Type::scalar(Elem::I64), span)
}
