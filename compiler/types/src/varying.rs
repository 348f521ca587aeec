//! Sizes that vary between examples: what compiled code does with a tensor that has such an axis.
//!
//! While one example of ragged data is traced, its length is a name in its types, as every size
//! is while a definition is checked: equal lengths are equal polynomials, and what does not fit
//! is found before anything runs. In memory the axis has room for the longest example
//! ([`Size::room`]), and the length is a value of compiled code. TIR knows nothing of it.
//!
//! One invariant carries the rules: beyond the length stand finite numbers that mean nothing, and
//! no slope comes from there. Two things keep it. Whatever mixes entries of an axis (sums,
//! products along it, `max`, sorting, rounds of a loop) selects first, with what is neutral to
//! it, and a selection sends no slope into the entries that it drops. And an op that is not
//! finite everywhere ([`Unary::safe_place`]) gets a harmless operand there, so that no `0 * inf`
//! arises on the way back. What goes entry by entry, and what moves entries along with their
//! places, needs nothing. Ops that do none of these refuse.

use crate::error::fail;
use crate::size::{Atom, Size};
use crate::value::{Dim, Repr, Tensor, TensorType};
use crate::{Elaborator, Result};
use aec_ir::{Binary, Comparison, Function, Literal, Op, Reduction, Type, Value as IrValue};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::{Diagnostic, Span};
use std::sync::Arc;

/// What is known of sizes that vary.
#[derive(Default)]
pub(crate) struct Varying {
    /// Lengths of the examples of each data set so far, and the size that they are: equal
    /// lengths are one size.
    pub(crate) known: Vec<(Arc<HostTensor>, Size)>,
    /// The values of names in sizes for the example that is being traced, innermost last.
    pub(crate) lengths: Vec<(u32, Tensor)>,
    /// Of each map or loop around along an axis that varies: whether this round is real.
    pub(crate) rounds: Vec<Tensor>,
}

/// An int scalar of a size.
fn length(size: &Size) -> Tensor {
    Tensor {
        ty: TensorType::scalar(Elem::I64),
        repr: Repr::Symbolic(size.clone()),
    }
}

/// What drops out of an extreme: below everything, or above.
pub(crate) fn neutral(reduction: Reduction, elem: Elem) -> f64 {
    let far = match elem {
        Elem::F32 | Elem::F64 => f64::INFINITY,
        Elem::I32 => f64::from(i32::MAX),
        Elem::I64 => 2f64.powi(62),
        Elem::Bool => 1.0,
    };
    match (reduction, elem) {
        (Reduction::Any, _) | (Reduction::Max, Elem::Bool) => 0.0,
        (Reduction::All, _) | (Reduction::Min, Elem::Bool) => 1.0,
        (Reduction::Max, _) => -far,
        (Reduction::Min, _) => far,
    }
}

/// The axes whose size varies.
pub(crate) fn axes(shape: &[Dim]) -> impl Iterator<Item = usize> {
    let varying = shape.iter().enumerate();
    varying.filter_map(|(axis, dim)| dim.size.varies().then_some(axis))
}

/// Whether any axis varies.
pub(crate) fn any(tensor: &Tensor) -> bool {
    axes(&tensor.ty.shape).next().is_some()
}

impl Elaborator {
    /// A size that varies, as a value of the innermost frame.
    pub(crate) fn size_value(&mut self, size: &Size, span: Span) -> Result<IrValue> {
        if size.bounds().is_none() {
            return fail("E0305", span, format!("the size {size} is not known here"));
        }
        let mut names = Vec::new();
        for id in size.names() {
            let known = self
                .varying
                .lengths
                .iter()
                .rev()
                .find(|(own, _)| *own == id);
            let Some((_, length)) = known.cloned() else {
                return fail("E0305", span, format!("the size {size} is not known here"));
            };
            names.push((id, self.lift(&length, span)?));
        }
        Ok(emit_size(&mut self.top().f, size, &names, span))
    }

    /// Whether each place of a shape is within the example: along one axis, or along all. None if
    /// nothing varies, or the script is only checked.
    pub(crate) fn inside(
        &mut self,
        shape: &[Dim],
        only: Option<usize>,
        span: Span,
    ) -> Result<Option<Tensor>> {
        let mut all: Option<Tensor> = None;
        if self.checking() {
            return Ok(None);
        }
        let rank = shape.len();
        for axis in axes(shape).filter(|&axis| only.is_none_or(|only| only == axis)) {
            let ty = TensorType {
                elem: Elem::Bool,
                shape: shape.to_vec().into(),
            };
            let length = length(&shape[axis].size);
            let flags = self.build(&[&length], ty, span, |f, v, ty, span| {
                let room = &ty.dims[axis..=axis];
                let counter = f.push1(Op::Iota { axis: 0 }, &[], Type::new(Elem::I64, room), span);
                let limit = f.broadcast_leading(v[0], room, span);
                let flags = f.compare(Comparison::Lt, counter, limit, span);
                if rank == 1 {
                    return flags;
                }
                let mut others = ty.dims.to_vec();
                others.remove(axis);
                let repeated = f.broadcast_leading(flags, &others, span);
                let order: Vec<usize> = (0..axis).chain([rank - 1]).chain(axis..rank - 1).collect();
                f.permute(repeated, &order, span)
            })?;
            all = Some(match all {
                None => flags,
                Some(before) => self.build(
                    &[&before, &flags],
                    flags.ty.clone(),
                    span,
                    |f, v, _, span| f.binary(Binary::And, v[0], v[1], span),
                )?,
            });
        }
        Ok(all)
    }

    /// The tensor with a number beyond the length, along one axis or all.
    pub(crate) fn within(
        &mut self,
        tensor: &Tensor,
        axis: Option<usize>,
        number: f64,
        span: Span,
    ) -> Result<Tensor> {
        match self.inside(&tensor.ty.shape, axis, span)? {
            Some(flags) => self.instead(tensor, &flags, number, span),
            None => Ok(tensor.clone()),
        }
    }

    /// An operand of an op that is not finite everywhere, harmless where its result, of the
    /// given shape, means nothing.
    pub(crate) fn harmless(
        &mut self,
        tensor: &Tensor,
        shape: &[Dim],
        place: Option<f64>,
        span: Span,
    ) -> Result<Tensor> {
        let (Some(place), false) = (place, matches!(tensor.repr, Repr::Static(_))) else {
            return Ok(tensor.clone());
        };
        let mut tensor = tensor.clone();
        // One number for all entries is only wrong where there is none.
        let can_be_empty = |dim: &Dim| dim.size.bounds().is_some_and(|(least, _)| least < 1);
        if (!tensor.is_scalar() || shape.iter().any(can_be_empty))
            && let Some(flags) = self.inside(shape, None, span)?
        {
            let safe = crate::fold::scalar(place, tensor.ty.elem);
            tensor = self.select(&flags, tensor, safe, (span, span), span)?;
        }
        for at in 0..self.varying.rounds.len() {
            let real = self.varying.rounds[at].clone();
            if self.inside_of(&tensor, &real) {
                tensor = self.instead(&tensor, &real, place, span)?;
            }
        }
        Ok(tensor)
    }

    /// Whether a tensor was made in the frame of a flag, or further inside.
    fn inside_of(&self, tensor: &Tensor, flag: &Tensor) -> bool {
        let frame = |tensor: &Tensor| match &tensor.repr {
            Repr::Traced(id, _) => self.frames.iter().position(|frame| frame.id == *id),
            Repr::Symbolic(_) | Repr::Choice(_) => Some(self.frames.len()),
            Repr::Static(_) | Repr::Concrete(_) | Repr::Unknown | Repr::Stored(_) => None,
        };
        frame(tensor).is_some_and(|own| frame(flag).is_some_and(|flag| own >= flag))
    }

    /// How many entries there are, as a divisor: at least 1.
    pub(crate) fn count_of(&mut self, size: &Size, elem: Elem, span: Span) -> Result<Tensor> {
        let count = length(size);
        let ty = TensorType::scalar(Elem::I64);
        let count = match size.bounds() {
            Some((least, _)) if least < 1 => {
                self.build(&[&count], ty, span, |f, v, ty, span| {
                    let one = f.number(1.0, ty, span);
                    f.binary(Binary::Max, v[0], one, span)
                })?
            }
            _ => count,
        };
        self.convert(&count, elem, span)
    }

    /// Entries of an axis by ints that are known to be in the example, or mean nothing: they are
    /// only kept in the room.
    pub(crate) fn moved(
        &mut self,
        x: &Tensor,
        axis: usize,
        index: &Tensor,
        span: Span,
    ) -> Result<Tensor> {
        let Some(room) = x.ty.shape[axis].size.room() else {
            return fail("E0305", span, "the size of this axis is not known here");
        };
        let index = self.build(&[index], index.ty.clone(), span, |f, v, ty, span| {
            let last = f.number(room.max(1) as f64 - 1.0, ty.clone(), span);
            let zero = f.number(0.0, ty, span);
            let low = f.binary(Binary::Max, v[0], zero, span);
            f.binary(Binary::Min, low, last, span)
        })?;
        self.gather_unchecked(x, axis, &index, span)
    }

    /// `start + factor * i` for i in a dim.
    pub(crate) fn steps(
        &mut self,
        dim: &Dim,
        start: &Size,
        backwards: bool,
        span: Span,
    ) -> Result<Tensor> {
        let ty = TensorType {
            elem: Elem::I64,
            shape: vec![dim.clone()].into(),
        };
        let first = match start.as_constant() {
            Some(number) => crate::fold::scalar(number as f64, Elem::I64),
            None => length(start),
        };
        self.build(&[&first], ty, span, |f, v, ty, span| {
            let counter = f.push1(Op::Iota { axis: 0 }, &[], ty.clone(), span);
            let first = f.broadcast_leading(v[0], &ty.dims, span);
            let op = if backwards { Binary::Sub } else { Binary::Add };
            f.binary(op, first, counter, span)
        })
    }

    /// Entries `start..` of an axis, as many as `dim` says, or as many before `start`.
    pub(crate) fn run_of(
        &mut self,
        x: &Tensor,
        axis: usize,
        dim: &Dim,
        (start, backwards): (&Size, bool),
        span: Span,
    ) -> Result<Tensor> {
        let index = self.steps(dim, start, backwards, span)?;
        self.moved(x, axis, &index, span)
    }

    /// `a` and then `b` along an axis of which `a` may be shorter than its room.
    pub(crate) fn joined(
        &mut self,
        a: &Tensor,
        b: &Tensor,
        axis: usize,
        span: Span,
    ) -> Result<Tensor> {
        let mut ty = a.ty.clone();
        let (n, m) = (&a.ty.shape[axis].size, &b.ty.shape[axis].size);
        let dim = Dim::of(n.plus(m));
        ty.shape[axis] = dim.clone();
        let room = n.room().unwrap_or(0) as f64;
        let both = self.build(&[a, b], ty, span, |f, v, ty, span| {
            f.push1(Op::Concat { axis }, v, ty, span)
        })?;
        if !n.varies() {
            return Ok(both);
        }
        let counter = self.steps(&dim, &Size::constant(0), false, span)?;
        let length = length(n);
        let index = self.build(
            &[&counter, &length],
            counter.ty.clone(),
            span,
            |f, v, ty, span| {
                let own = f.broadcast_leading(v[1], &ty.dims, span);
                let gap = f.number(room, ty, span);
                let gap = f.binary(Binary::Sub, gap, own, span);
                let later = f.binary(Binary::Add, v[0], gap, span);
                let first = f.compare(Comparison::Lt, v[0], own, span);
                f.select(first, v[0], later, span)
            },
        )?;
        self.moved(&both, axis, &index, span)
    }

    /// Refuses what cannot work on a size that varies.
    pub(crate) fn refuse_varying(&self, tensor: &Tensor, what: &str, span: Span) -> Result<()> {
        let Some(axis) = axes(&tensor.ty.shape).next() else {
            return Ok(());
        };
        Err(Box::new(refused(
            &tensor.ty.shape[axis],
            what,
            self.blamed(span),
        )))
    }

    /// Refuses what would fail in rounds that are not real.
    pub(crate) fn refuse_in_rounds(&self, what: &str, span: Span) -> Result<()> {
        if self.varying.rounds.is_empty() {
            return Ok(());
        }
        let diagnostic = Diagnostic::error(
            "E0340",
            self.blamed(span),
            format!("{what} cannot stand in a map or loop whose length varies between examples"),
        )
        .help("take it out of the map or loop; or make all sequences equally long");
        Err(Box::new(diagnostic))
    }

    /// What a size wanted and another that is there have to do with each other if one of them
    /// varies: where their lengths first differ, or what the type should say.
    pub(crate) fn explain_varying(
        &self,
        diagnostic: Diagnostic,
        want: &Size,
        have: &Size,
    ) -> Diagnostic {
        let known = &self.varying.known;
        let lengths = |size: &Size| {
            let own = known.iter().find(|(_, own)| own == size);
            own.map(|(lengths, _)| lengths)
        };
        let differ = |a: &HostTensor, b: &HostTensor| {
            let rows = 0..a.len().min(b.len());
            let mut pairs = rows.map(|row| (row, a.get_i64(row), b.get_i64(row)));
            pairs.find(|(_, a, b)| a != b)
        };
        match (want.varies(), have.varies(), lengths(want), lengths(have)) {
            (true, true, Some(a), Some(b)) if let Some((row, a, b)) = differ(a, b) => diagnostic
                .note(format!(
                    "the lengths differ first in example {row}: {} against {}",
                    entries(b),
                    entries(a)
                )),
            (false, true, ..) => diagnostic.help(
                "what takes sequences of any length has a size of its own in its type: `x: [n]`",
            ),
            _ => diagnostic,
        }
    }

    /// A slice or place that may lie beyond the shortest example: none if it always fits.
    pub(crate) fn too_far(&self, what: &str, dim: &Dim, span: Span) -> Result<()> {
        // The branch of an `if` that compiled code decides may ask for more than there is.
        if !self.taken.is_empty() {
            return Ok(());
        }
        let (least, _) = dim.size.bounds().unwrap_or_default();
        let error = |message| Diagnostic::error("E0341", self.blamed(span), message);
        Err(Box::new(if dim.size.varies() {
            let message = format!(
                "{what} is more than the shortest example has: {}",
                entries(least)
            );
            ranged(error(message), &dim.size).help(
                "leave out what is too short, or say what holds then: `if n > 1 then … else …`",
            )
        } else {
            let message = format!("{what} may be more than there is: {}", entries(least));
            error(message)
                .help("this axis has room for so many; make it as long as the longest example")
        }))
    }
}

fn entries(count: i64) -> String {
    match count {
        1 => "one entry".into(),
        count => format!("{} entries", count.max(0)),
    }
}

/// Adds what the values of a size are that varies.
pub(crate) fn ranged(diagnostic: Diagnostic, size: &Size) -> Diagnostic {
    match size.bounds() {
        Some((least, most)) if size.varies() => diagnostic.note(format!(
            "`{size}` varies between examples, from {} to {most}",
            least.max(0)
        )),
        _ => diagnostic,
    }
}

/// A diagnostic about an op that does not know of sizes that vary.
pub(crate) fn refused(dim: &Dim, what: &str, span: Span) -> Diagnostic {
    let name = dim
        .name
        .as_deref()
        .map_or_else(|| dim.size.to_string(), str::to_string);
    let diagnostic = Diagnostic::error(
        "E0340",
        span,
        format!("{what} wants a size that is the same for all examples, but `{name}` varies"),
    );
    ranged(diagnostic, &dim.size).help(
        "sums, `max`, `scan`, `map`, products, indices and slices work along such an axis; \
         make something of a fixed size first, such as the last state of a `scan` or a mean over the positions",
    )
}

/// A polynomial in lengths.
fn emit_size(f: &mut Function, size: &Size, names: &[(u32, IrValue)], span: Span) -> IrValue {
    let scalar = Type::scalar(Elem::I64);
    let int = |f: &mut Function, value: i64| f.constant(Literal::Int(value), scalar.clone(), span);
    let mut sum: Option<IrValue> = None;
    for (coefficient, atoms) in size.products() {
        let mut product: Option<IrValue> = match coefficient {
            1 if !atoms.is_empty() => None,
            _ => Some(int(f, coefficient)),
        };
        for (atom, power) in &atoms {
            let value = match atom {
                Atom::Var { id, .. } => names.iter().find(|(own, _)| own == id).map(|(_, v)| *v),
                Atom::FloorDiv(inner, divisor) => {
                    let inner = emit_size(f, inner, names, span);
                    let divisor = int(f, *divisor);
                    Some(f.binary(Binary::FloorDiv, inner, divisor, span))
                }
            };
            for _ in 0..*power {
                product = match (product, value) {
                    (Some(before), Some(value)) => {
                        Some(f.contract(&[(before, &[]), (value, &[])], &[], &[], 1.0, span))
                    }
                    (before, value) => before.or(value),
                };
            }
        }
        sum = match (sum, product) {
            (Some(before), Some(product)) => Some(f.binary(Binary::Add, before, product, span)),
            (before, product) => before.or(product),
        };
    }
    match sum {
        Some(sum) => sum,
        None => int(f, 0),
    }
}
