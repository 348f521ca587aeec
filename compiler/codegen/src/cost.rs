//! A rough estimate of a kernel's time, to decide whether threads pay.

use aec_kernels::lir::{Bound, Kernel, Stmt, ValKind};

/// Nanoseconds for each index of the range that the kernel's args 0 and 1 give.
pub(crate) fn nanoseconds_per_unit(kernel: &Kernel) -> f64 {
    body(kernel, &kernel.body, false)
}

fn body(kernel: &Kernel, stmts: &[Stmt], in_lanes: bool) -> f64 {
    stmts
        .iter()
        .map(|stmt| match stmt {
            Stmt::Loop(inner) => {
                let trips = match (inner.count(), inner.end) {
                    (Some(count), _) => count as f64,
                    (None, Bound::BlockEnd { size, .. }) => size as f64,
                    // The range: counted by the unit.
                    (None, _) => 1.0,
                };
                trips * body(kernel, &inner.body, in_lanes || inner.lanes)
            }
            Stmt::Let(val) => match kernel.values[*val].kind {
                ValKind::Float(_)
                | ValKind::Int(_)
                | ValKind::Bool(_)
                | ValKind::Index(_)
                | ValKind::AccRead(_) => 0.0,
                ValKind::Draw { .. } => 2.0,
                ValKind::LoadAt { .. } | ValKind::DrawKey(..) => 1.0,
                ValKind::Load { .. }
                | ValKind::Unary(..)
                | ValKind::Binary(..)
                | ValKind::Fma(..)
                | ValKind::Compare(..)
                | ValKind::Select(..)
                | ValKind::Convert(_)
                | ValKind::Bitcast(_) => each(in_lanes),
            },
            Stmt::Store { .. } | Stmt::Accumulate(..) | Stmt::Check { .. } => each(in_lanes),
            Stmt::StoreAt { .. } => 1.0,
            Stmt::Init(_) => 0.0,
        })
        .sum()
}

/// One operation on one element.
fn each(in_lanes: bool) -> f64 {
    if in_lanes { 0.04 } else { 0.5 }
}
