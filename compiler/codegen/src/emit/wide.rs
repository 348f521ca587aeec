//! Which kernels may be emitted in wide form, where a register stands for 32 or 64 bytes of lanes.
//!
//! Wide code is written with 128-bit operations on addresses that step by 32 or 64 bytes; `widen`
//! then makes every packed instruction a 256-bit or 512-bit one. So all that differs between lanes
//! must be of one width, 32 bits or 64 (an index that counts lanes may be compared, see `emit::steps`),
//! and every operation on it lane-wise, with nothing taken out of a register but by whole stores and by
//! the tree over an accumulator's lanes.

use super::draws::drawn_ahead;
use super::walk;
use aec_kernels::lir::{Acc, Affine, Kernel, LirBinary, Loop, Stmt, Val, ValKind, Var};
use aec_runtime::Elem;
use aec_runtime::gemm::Isa;
use cranelift_entity::EntitySet;

/// The largest step of an index from lane to lane; 16 of them are far from leaving 32 bits.
const MOST_STEP: i64 = 1 << 24;

/// How a kernel may be widened at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Widest {
    /// The instruction set with the widest registers that its lane loops, of which it has some, can all
    /// use; else it is left to Cranelift's.
    pub isa: Isa,
    /// The width of all lanes, 4 or 8.
    pub lane_bytes: u32,
}

/// How the kernel may be widened. What is in the upper registers of AVX-512, where `widen` has spill
/// slots, does not survive calls; and it knows that instruction set's forms for lanes of 32 bits only.
pub(crate) fn widest(kernel: &Kernel) -> Widest {
    let mut loops: Vec<&Loop> = Vec::new();
    walk(&kernel.body, &mut |stmt| match stmt {
        Stmt::Loop(inner) if inner.lanes => loops.push(inner),
        _ => {}
    });
    let all = |lane_bytes: u32| {
        let widen = |inner: &&Loop| Lanes::new(kernel, inner, lane_bytes).widen();
        !loops.is_empty() && loops.iter().all(widen)
    };
    let (isa, lane_bytes) = if all(4) {
        let isa = if kernel.draws() {
            Isa::Avx2
        } else {
            Isa::Avx512
        };
        (isa, 4)
    } else if all(8) {
        (Isa::Avx2, 8)
    } else {
        (Isa::Portable, 4)
    };
    Widest { isa, lane_bytes }
}

/// A lane loop that is looked at.
struct Lanes<'k> {
    kernel: &'k Kernel,
    inner: &'k Loop,
    /// The width that all lanes are to have.
    bytes: u32,
    /// Values that differ between lanes.
    differs: EntitySet<Val>,
    /// Accumulators that are set inside.
    accs: Vec<Acc>,
}

impl<'k> Lanes<'k> {
    fn new(kernel: &'k Kernel, inner: &'k Loop, bytes: u32) -> Lanes<'k> {
        Lanes {
            kernel,
            inner,
            bytes,
            differs: EntitySet::new(),
            accs: Vec::new(),
        }
    }

    /// Whether such an element has the lanes' width in memory.
    fn fits(&self, elem: Elem) -> bool {
        match elem {
            Elem::F32 | Elem::I32 => self.bytes == 4,
            Elem::F64 | Elem::I64 => self.bytes == 8,
            Elem::Bool => false,
        }
    }

    /// Whether it has, or is a mask.
    fn fits_or_masks(&self, elem: Elem) -> bool {
        self.fits(elem) || elem == Elem::Bool
    }

    fn step(&self, index: &Affine) -> i64 {
        step(index, self.inner.var)
    }

    fn widen(mut self) -> bool {
        let (kernel, inner) = (self.kernel, self.inner);
        let ahead = drawn_ahead(kernel, inner);
        let mut fine = true;
        walk(&inner.body, &mut |stmt| {
            fine &= match stmt {
                Stmt::Loop(_) => true,
                Stmt::Let(val) => {
                    let (ok, lanes) = match ahead.contains(*val) {
                        true => (self.fits(kernel.values[*val].elem), true),
                        false => self.value(*val),
                    };
                    if lanes {
                        self.differs.insert(*val);
                    }
                    ok
                }
                Stmt::Store {
                    buffer,
                    index,
                    value,
                } => {
                    self.step(index) == 1
                        && self.fits(kernel.buffers[*buffer].elem)
                        && !self.is_lane_index(*value)
                }
                Stmt::StoreAt {
                    buffer,
                    index,
                    at,
                    value,
                    ..
                } => {
                    !self.differs.contains(*at)
                        && self.step(index) == 1
                        && self.fits(kernel.buffers[*buffer].elem)
                        && !self.is_lane_index(*value)
                }
                Stmt::Init(acc) => {
                    self.accs.push(*acc);
                    self.fits(kernel.accs[*acc].elem)
                }
                Stmt::Accumulate(acc, val) => {
                    self.fits_or_masks(kernel.accs[*acc].elem) && !self.is_lane_index(*val)
                }
                Stmt::Check { ok, detail, .. } => {
                    !self.differs.contains(*ok) && !self.differs.contains(*detail)
                }
            };
        });
        fine
    }

    /// Whether the value is an index that counts lanes: of it there is only the first lane.
    fn is_lane_index(&self, val: Val) -> bool {
        self.differs.contains(val) && matches!(self.kernel.values[val].kind, ValKind::Index(_))
    }

    /// Whether the value can be wide, and whether it differs between lanes.
    fn value(&self, val: Val) -> (bool, bool) {
        let (kernel, differs) = (self.kernel, &self.differs);
        let data = &kernel.values[val];
        let elem_of = |val: Val| kernel.values[val].elem;
        let any = |vals: &[Val]| vals.iter().any(|&val| differs.contains(val));
        let wide = |&val: &Val| self.fits_or_masks(elem_of(val)) && !self.is_lane_index(val);
        let of = |vals: &[Val], ok: bool| {
            let lanes = any(vals);
            let fits = self.fits_or_masks(data.elem) && vals.iter().all(wide);
            (!lanes || ok && fits, lanes)
        };
        match &data.kind {
            ValKind::Float(_) | ValKind::Int(_) | ValKind::Bool(_) => (true, false),
            ValKind::Index(index) => {
                let step = self.step(index);
                (step.abs() <= MOST_STEP, step != 0)
            }
            ValKind::Load { index, .. } => match self.step(index) {
                0 => (true, false),
                step => (step == 1 && self.fits(data.elem), true),
            },
            ValKind::LoadAt { index, at, .. } => match self.step(index) {
                0 => (!differs.contains(*at), differs.contains(*at)),
                step => {
                    let ok = step == 1 && self.fits(data.elem) && !differs.contains(*at);
                    (ok, true)
                }
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
            // Which of the lanes' steps hold is known without the indices themselves.
            ValKind::Compare(_, x, y) if self.is_lane_index(*x) || self.is_lane_index(*y) => {
                let plain = |&val: &Val| !differs.contains(val) || self.is_lane_index(val);
                ([x, y].into_iter().all(plain), true)
            }
            ValKind::Compare(_, x, y) => of(&[*x, *y], true),
            ValKind::Select(c, x, y) => of(&[*c, *x, *y], true),
            // Of lanes of 64 bits, only masks become numbers and numbers masks.
            ValKind::Convert(x) => {
                let masks = data.elem == Elem::Bool || elem_of(*x) == Elem::Bool;
                of(&[*x], self.bytes == 4 || masks || elem_of(*x) == data.elem)
            }
            ValKind::Bitcast(x) => of(&[*x], true),
            ValKind::AccRead(acc) => (true, self.accs.contains(acc)),
            ValKind::DrawKey(..) | ValKind::Draw { .. } => (false, true),
        }
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
