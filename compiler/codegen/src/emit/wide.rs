//! Which kernels may be emitted in wide form, where one register stands for 8 or 16 lanes.
//!
//! Wide code is written with 128-bit operations on addresses that step by 32 or 64 bytes; `widen`
//! then makes every packed instruction a 256-bit or 512-bit one. So all that differs between lanes
//! must be 32 bits wide (an index that counts lanes may be compared, see `emit::steps`) and every
//! operation on it lane-wise, with nothing taken out of a register but by whole stores and by the
//! tree over an accumulator's lanes.

use super::draws::drawn_ahead;
use super::walk;
use aec_kernels::lir::{Affine, Kernel, LirBinary, Loop, Stmt, Val, ValKind, Var};
use aec_runtime::Elem;
use aec_runtime::gemm::Isa;
use cranelift_entity::EntitySet;

/// The largest step of an index from lane to lane; 16 of them are far from leaving 32 bits.
const MOST_STEP: i64 = 1 << 24;

/// The instruction set with the widest registers that the kernel can use: its lane loops, of which
/// it has some, can all be wide, or it is left to Cranelift's registers. What is in the upper
/// registers of AVX-512, where `widen` has spill slots, does not survive calls.
pub(crate) fn widest(kernel: &Kernel) -> Isa {
    let mut loops: Vec<&Loop> = Vec::new();
    walk(&kernel.body, &mut |stmt| match stmt {
        Stmt::Loop(inner) if inner.lanes => loops.push(inner),
        _ => {}
    });
    if loops.is_empty() || !loops.iter().all(|inner| lanes_widen(kernel, inner)) {
        Isa::Portable
    } else if kernel.draws() {
        Isa::Avx2
    } else {
        Isa::Avx512
    }
}

fn lanes_widen(kernel: &Kernel, inner: &Loop) -> bool {
    // Values that differ between lanes, and accumulators that are set inside.
    let mut differs: EntitySet<Val> = EntitySet::new();
    let mut accs = Vec::new();
    let ahead = drawn_ahead(kernel, inner);
    let mut fine = true;
    walk(&inner.body, &mut |stmt| {
        fine &= match stmt {
            Stmt::Loop(_) => true,
            Stmt::Let(val) => {
                let (ok, lanes) = match ahead.contains(*val) {
                    true => (narrow(kernel.values[*val].elem), true),
                    false => value(kernel, *val, inner.var, &differs, &accs),
                };
                if lanes {
                    differs.insert(*val);
                }
                ok
            }
            Stmt::Store { buffer, index, .. } => {
                step(index, inner.var) == 1 && narrow(kernel.buffers[*buffer].elem)
            }
            Stmt::StoreAt {
                buffer, index, at, ..
            } => {
                !differs.contains(*at)
                    && step(index, inner.var) == 1
                    && narrow(kernel.buffers[*buffer].elem)
            }
            Stmt::Init(acc) => {
                accs.push(*acc);
                narrow(kernel.accs[*acc].elem)
            }
            Stmt::Accumulate(acc, _) => {
                narrow(kernel.accs[*acc].elem) || kernel.accs[*acc].elem == Elem::Bool
            }
            Stmt::Check { ok, detail, .. } => !differs.contains(*ok) && !differs.contains(*detail),
        };
    });
    fine
}

/// Whether the value can be wide, and whether it differs between lanes.
fn value(
    kernel: &Kernel,
    val: Val,
    var: Var,
    differs: &EntitySet<Val>,
    accs: &[aec_kernels::lir::Acc],
) -> (bool, bool) {
    let data = &kernel.values[val];
    let any = |vals: &[Val]| vals.iter().any(|&val| differs.contains(val));
    let wide_type = narrow(data.elem) || data.elem == Elem::Bool;
    let operands_wide = |vals: &[Val]| {
        vals.iter().all(|&val| {
            let elem = kernel.values[val].elem;
            narrow(elem) || elem == Elem::Bool
        })
    };
    let of = |vals: &[Val], ok: bool| {
        let lanes = any(vals);
        (!lanes || ok && wide_type && operands_wide(vals), lanes)
    };
    match &data.kind {
        ValKind::Float(_) | ValKind::Int(_) | ValKind::Bool(_) => (true, false),
        ValKind::Index(index) => {
            let step = step(index, var);
            (step.abs() <= MOST_STEP, step != 0)
        }
        ValKind::Load { index, .. } => match step(index, var) {
            0 => (true, false),
            step => (step == 1 && narrow(data.elem), true),
        },
        ValKind::LoadAt { index, at, .. } => match step(index, var) {
            0 => (!differs.contains(*at), differs.contains(*at)),
            step => (
                step == 1 && narrow(data.elem) && !differs.contains(*at),
                true,
            ),
        },
        ValKind::Unary(_, x) => of(&[*x], true),
        ValKind::Binary(op, x, y) => {
            let shifts = matches!(
                op,
                LirBinary::Shl | LirBinary::ShrLogical | LirBinary::ShrArithmetic
            );
            let divides = matches!(op, LirBinary::FloorDiv | LirBinary::FloorMod);
            let constant = matches!(kernel.values[*y].kind, ValKind::Int(_));
            of(&[*x, *y], !divides && (!shifts || constant))
        }
        ValKind::Fma(x, y, z) => of(&[*x, *y, *z], true),
        // Which of the lanes' steps hold is known without the 64-bit indices themselves.
        ValKind::Compare(_, x, y) if kernel.values[*x].elem == Elem::I64 => {
            let plain = |val: &Val| {
                !differs.contains(*val) || matches!(kernel.values[*val].kind, ValKind::Index(_))
            };
            (plain(x) && plain(y), any(&[*x, *y]))
        }
        ValKind::Compare(_, x, y) => of(&[*x, *y], true),
        ValKind::Select(c, x, y) => of(&[*c, *x, *y], true),
        ValKind::Convert(x) | ValKind::Bitcast(x) => of(&[*x], true),
        ValKind::AccRead(acc) => (true, accs.contains(acc)),
        ValKind::DrawKey(..) | ValKind::Draw { .. } => (false, true),
    }
}

fn step(index: &Affine, var: Var) -> i64 {
    index
        .vars
        .iter()
        .filter(|(of, _)| *of == var)
        .map(|&(_, coefficient)| coefficient)
        .sum()
}

/// Whether an element is 32 bits in memory.
fn narrow(elem: Elem) -> bool {
    matches!(elem, Elem::F32 | Elem::I32)
}
