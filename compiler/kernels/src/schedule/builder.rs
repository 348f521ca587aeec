//! A plan in the making: buffers, steps and kernels; at the end, places in the arena.

use crate::internal;
use crate::lir::Kernel;
use crate::place::{Lifetime, place};
use crate::plan::{BufferRef, KernelRef, Place, Plan, PlanBuffer, Step, StepKind};
use aec_ir::{Type, Value};
use aec_runtime::Elem;
use aec_runtime::linalg::Factorization;
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashMap as HashMap;

/// A plan in the making: its buffers by the values that they hold, its steps, its kernels.
pub(crate) struct Builder {
    pub(crate) plan: Plan,
    of_value: HashMap<Value, BufferRef>,
    /// Factors that calls of linear algebra share, by their matrices.
    pub(super) factors: HashMap<(Value, Factorization), BufferRef>,
    /// Buffers that lie in another one, and where.
    pub(crate) within: Vec<(BufferRef, BufferRef, usize)>,
    status: Option<BufferRef>,
    nowhere: Option<BufferRef>,
}

impl Builder {
    /// Of a plan that has no buffers and no steps yet.
    pub(super) fn new(plan: Plan) -> Builder {
        Builder {
            plan,
            of_value: HashMap::default(),
            factors: HashMap::default(),
            within: Vec::new(),
            status: None,
            nowhere: None,
        }
    }

    /// Whether a value has a buffer.
    pub(super) fn has(&self, v: Value) -> bool {
        self.of_value.contains_key(&v)
    }

    pub(super) fn add(&mut self, v: Value, ty: &Type, place: Place) {
        let buffer = self.plan.buffers.push(PlanBuffer {
            ty: ty.clone(),
            place,
        });
        self.of_value.insert(v, buffer);
    }

    /// A buffer in the arena that holds no value of the function.
    pub(crate) fn temporary(&mut self, ty: Type) -> BufferRef {
        self.plan.buffers.push(PlanBuffer {
            ty,
            place: Place::Arena(0),
        })
    }

    pub(crate) fn get(&self, v: Value) -> Result<BufferRef, Diagnostic> {
        self.of_value
            .get(&v)
            .copied()
            .ok_or_else(|| internal(Span::NONE, format!("{v} is read but never stored")))
    }

    pub(crate) fn status(&mut self) -> BufferRef {
        let plan = &mut self.plan;
        *self.status.get_or_insert_with(|| {
            plan.buffers.push(PlanBuffer {
                ty: Type::new(Elem::I64, &[2]),
                place: Place::Status,
            })
        })
    }

    /// What the result of a product that lives in its tiles only is bound to.
    pub(super) fn nowhere(&mut self) -> BufferRef {
        if let Some(nowhere) = self.nowhere {
            return nowhere;
        }
        let nowhere = self.temporary(Type::new(Elem::F32, &[0]));
        self.nowhere = Some(nowhere);
        nowhere
    }

    pub(crate) fn step(&mut self, kind: StepKind, span: Span, reason: String) {
        self.plan.steps.push(Step { kind, span, reason });
    }

    /// The kernel's id; equal code is kept once.
    pub(crate) fn kernel(&mut self, kernel: &Kernel) -> KernelRef {
        for (id, old) in &self.plan.kernels {
            if same_code(old, kernel) {
                return id;
            }
        }
        self.plan.kernels.push(kernel.clone())
    }

    /// The finished plan.
    pub(super) fn finish(mut self) -> Plan {
        self.keep_panels();
        self.place_arena();
        self.plan
    }

    /// Says which panels outlive a run.
    fn keep_panels(&mut self) {
        let plan = &mut self.plan;
        for step in &mut plan.steps {
            let StepKind::Pack(pack) = &mut step.kind else {
                continue;
            };
            pack.kept = match plan.buffers[pack.from.buffer].place {
                Place::Input(at) => {
                    let written = plan.aliases.iter().any(|&(_, input)| input == at as usize);
                    (!written).then_some(at)
                }
                _ => None,
            };
        }
    }

    /// Gives buffers of the arena their places, by their lifetimes.
    fn place_arena(&mut self) {
        let plan = &mut self.plan;
        let end = plan.steps.len();
        let mut lives: HashMap<BufferRef, (usize, usize)> = HashMap::default();
        for (at, step) in plan.steps.iter().enumerate() {
            for buffer in step.kind.buffers() {
                if matches!(plan.buffers[buffer].place, Place::Arena(_))
                    && Some(buffer) != self.nowhere
                {
                    let life = lives.entry(buffer).or_insert((at, at));
                    life.1 = at;
                }
            }
        }
        for step in &plan.steps {
            if let StepKind::Pack(pack) = &step.kind
                && pack.kept.is_some()
            {
                lives.insert(pack.to, (0, end));
            }
        }
        let mut ids: Vec<BufferRef> = lives.keys().copied().collect();
        ids.sort();
        let lifetimes: Vec<Lifetime> = ids
            .iter()
            .map(|id| {
                let ty = &plan.buffers[*id].ty;
                Lifetime {
                    bytes: ty.len() * ty.elem.bytes(),
                    first: lives[id].0,
                    last: lives[id].1,
                }
            })
            .collect();
        let (offsets, top) = place(&lifetimes);
        for (id, offset) in ids.iter().zip(offsets) {
            plan.buffers[*id].place = Place::Arena(offset);
        }
        for &(inner, outer, at) in &self.within {
            if let Place::Arena(base) = plan.buffers[outer].place {
                plan.buffers[inner].place = Place::Arena(base + at);
            }
        }
        plan.arena_bytes = top;
    }
}

/// Whether two kernels do the same; names do not matter.
fn same_code(a: &Kernel, b: &Kernel) -> bool {
    a.arg_count == b.arg_count
        && a.values.len() == b.values.len()
        && a.buffers.len() == b.buffers.len()
        && a.vars.len() == b.vars.len()
        && a.buffers
            .values()
            .zip(b.buffers.values())
            .all(|(x, y)| x.elem == y.elem && x.access == y.access)
        && a.body == b.body
        && a.accs == b.accs
        && a.values == b.values
}
