//! What a kernel costs: an estimate to compare the ways of running one, and to tell what is worth a thread.
//! Its figures are of AVX2 and of 16 lanes a step, measured on kernels of each kind; with other registers the
//! order of the ways is much the same.

use aec_runtime::Elem;

use crate::lir::{
    AccOp, Affine, Bound, Kernel, LirBinary, LirUnary, Loop, Stmt, ValData, ValKind, Var,
};
use crate::tidy::{coefficient, fed_from_outside, for_each_stmt};

/// Estimated cost of one run in cycles on 16 lanes, for comparing variants of a kernel.
pub fn cost(kernel: &Kernel) -> f64 {
    cost_body(kernel, &kernel.body, None, 1.0)
}

/// What an operation on 16 lanes takes in narrow registers where it takes one cycle in wide ones.
const NARROW: f64 = 2.0;
/// Bytes of an element that wide registers can be made of.
const WIDTHS: [usize; 2] = [4, 8];
/// To load or store a lane that does not lie beside the others: what is loaded is brought into a register
/// with them.
const STRIDED_LOAD: f64 = 1.5;
const STRIDED_STORE: f64 = 1.0;
/// To make a mask, and a store under it, in cycles of AVX2.
const MASK: f64 = 4.0;
const MASKED_STORE: f64 = 24.0;

/// Stores that a round of a loop executes, those of loops in it counted as one.
fn stores_of(body: &[Stmt]) -> f64 {
    let mut stores = 0.0;
    for_each_stmt(body, &mut |stmt| {
        stores += f64::from(matches!(stmt, Stmt::Store { .. } | Stmt::StoreAt { .. }));
    });
    stores
}

/// Whether a lane loop can be compiled for wide registers, as far as its types and its accesses to memory
/// tell: what differs between lanes lies side by side and is of one width.
fn may_be_wide(kernel: &Kernel, inner: &Loop) -> bool {
    WIDTHS.iter().any(|&bytes| lanes_have(kernel, inner, bytes))
}

/// See [`may_be_wide`].
fn lanes_have(kernel: &Kernel, inner: &Loop, bytes: usize) -> bool {
    let side_by_side =
        |index: &Affine, elem: Elem| coefficient(index, inner.var) == 1 && elem.bytes() == bytes;
    let fits_or_masks = |elem: Elem| elem.bytes() == bytes || elem == Elem::Bool;
    let value = |data: &ValData| match &data.kind {
        ValKind::Index(_) | ValKind::Int(_) => true,
        ValKind::Load { index, .. } if coefficient(index, inner.var) == 0 => true,
        ValKind::Load { index, .. } | ValKind::LoadAt { index, .. } => {
            side_by_side(index, data.elem)
        }
        _ => fits_or_masks(data.elem),
    };
    let mut wide = true;
    for_each_stmt(&inner.body, &mut |stmt| {
        wide &= match stmt {
            Stmt::Let(val) => value(&kernel.values[*val]),
            Stmt::Store { index, buffer, .. } | Stmt::StoreAt { index, buffer, .. } => {
                side_by_side(index, kernel.buffers[*buffer].elem)
            }
            Stmt::Accumulate(acc, _) => fits_or_masks(kernel.accs[*acc].elem),
            Stmt::Loop(_) | Stmt::Init(_) | Stmt::Check { .. } => true,
        };
    });
    wide
}

/// The lane loop that is looked at.
#[derive(Clone, Copy)]
struct Lanes {
    var: Var,
    /// How many iterations one step serves.
    per: f64,
    /// What an operation of a step takes.
    operation: f64,
}

/// See [`cost`].
fn cost_body(kernel: &Kernel, body: &[Stmt], lanes: Option<Lanes>, trips: f64) -> f64 {
    let mut total = 0.0;
    let per = lanes.map_or(1.0, |lanes| lanes.per);
    let width = |elem: Elem| {
        let wide_type = if elem.bytes() > 4 { 2.0 } else { 1.0 };
        wide_type * lanes.map_or(1.0, |lanes| lanes.operation)
    };
    let memory = |index: &Affine, elem: Elem, strided: f64| match lanes {
        None => 1.0,
        Some(lanes) => match coefficient(index, lanes.var) {
            0 => 1.0,
            1 => width(elem),
            _ => strided * per,
        },
    };
    for stmt in body {
        total += match stmt {
            Stmt::Loop(inner) => {
                let (Bound::Const(start), Bound::Const(end)) = (inner.start, inner.end) else {
                    continue;
                };
                let count = (end - start).max(0) as f64;
                if inner.lanes {
                    // In wide registers the tail is one step, most often under a mask; in narrow ones it
                    // runs one by one, and a whole step takes more of them.
                    let wide = may_be_wide(kernel, inner);
                    let whole = (count / 16.0).floor();
                    let rest = count - 16.0 * whole;
                    let tail = if wide { rest.min(1.0) } else { rest };
                    let steps = whole + tail;
                    let per = if steps > 0.0 { count / steps } else { 1.0 };
                    let lanes = Lanes {
                        var: inner.var,
                        per,
                        operation: if wide || whole == 0.0 { 1.0 } else { NARROW },
                    };
                    let inner_cost = cost_body(kernel, &inner.body, Some(lanes), steps);
                    let masked = match wide && rest % 8.0 != 0.0 {
                        true => MASK + MASKED_STORE * stores_of(&inner.body),
                        false => 0.0,
                    };
                    let fed = 12.0 * fed_from_outside(inner).len() as f64;
                    4.0 + steps * 2.0 + inner_cost + masked + fed
                } else {
                    let inner_cost = cost_body(kernel, &inner.body, lanes, count);
                    2.0 + count + inner_cost
                }
            }
            Stmt::Let(val) => {
                let data = &kernel.values[*val];
                match &data.kind {
                    ValKind::Float(_) | ValKind::Int(_) | ValKind::Bool(_) => 0.0,
                    ValKind::Index(_) => 1.0,
                    ValKind::Load { index, .. } => memory(index, data.elem, STRIDED_LOAD),
                    ValKind::LoadAt { .. } => 2.0 * per,
                    ValKind::Draw { .. } => 30.0,
                    ValKind::DrawKey(..) => 10.0,
                    ValKind::Binary(op, ..) => match op {
                        LirBinary::Div => 8.0 * width(data.elem),
                        LirBinary::FloorDiv | LirBinary::FloorMod => 20.0 * per,
                        LirBinary::Add
                        | LirBinary::Sub
                        | LirBinary::Mul
                        | LirBinary::Min
                        | LirBinary::Max
                        | LirBinary::And
                        | LirBinary::Or
                        | LirBinary::Xor
                        | LirBinary::Shl
                        | LirBinary::ShrLogical
                        | LirBinary::ShrArithmetic => width(data.elem),
                    },
                    ValKind::Unary(LirUnary::Sqrt, _) => 8.0 * width(data.elem),
                    ValKind::Unary(..)
                    | ValKind::Fma(..)
                    | ValKind::Compare(..)
                    | ValKind::Select(..)
                    | ValKind::Convert(_)
                    | ValKind::Bitcast(_)
                    | ValKind::AccRead(_) => width(data.elem),
                }
            }
            Stmt::Store { index, buffer, .. } => {
                memory(index, kernel.buffers[*buffer].elem, STRIDED_STORE)
            }
            Stmt::StoreAt { .. } => 2.0 * per,
            Stmt::Init(_) => 1.0,
            Stmt::Accumulate(acc, _) => {
                // Max and min keep NaN, at a price.
                match kernel.accs[*acc].op {
                    AccOp::Sum => 4.0,
                    AccOp::Max | AccOp::Min | AccOp::All | AccOp::Any => 5.0,
                }
            }
            Stmt::Check { .. } => 3.0 * per,
        };
    }
    total * trips
}
