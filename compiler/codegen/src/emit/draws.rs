//! Random draws: calls of the runtime, which draws many numbers faster than few. A lane loop draws
//! ahead: one call gives the numbers of up to [`RUN`] of its lanes, which lie on the stack until
//! they are used. So no call lies between lanes, and kernels that draw can be wide.

use super::{Emitter, Extern, LaneLoop, Repr, slot_stride, walk};
use aec_kernels::lir::{Affine, Distribution, Kernel, Loop, Stmt, Val, ValKind, Var};
use aec_runtime::{Elem, philox};
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, StackSlot, Value, types};
use cranelift_entity::EntitySet;
use smallvec::SmallVec;
use std::mem::offset_of;

/// Most lanes that are drawn for at a time: their numbers stay in L1.
const RUN: i64 = 256;
/// Bytes for a [`philox::Place`] on the stack.
const PLACE_BYTES: u32 = 32;
const _: () = assert!(size_of::<philox::Place>() <= PLACE_BYTES as usize);

/// What the lane loop that is being emitted draws ahead.
pub(super) struct Runs {
    var: Var,
    /// Where the first run begins, and where the loop ends.
    start: Value,
    end: Value,
    /// Whether one run is all.
    single: bool,
    /// The draws, and where their numbers lie.
    slots: Vec<(Val, StackSlot)>,
}

/// The draws of a lane loop that can be made ahead: of elements one after the other, at a place
/// that is known before the loop.
pub(super) fn drawn_ahead(kernel: &Kernel, inner: &Loop) -> EntitySet<Val> {
    let mut inside: EntitySet<Val> = EntitySet::new();
    walk(&inner.body, &mut |stmt| {
        if let Stmt::Let(val) = stmt {
            inside.insert(*val);
        }
    });
    let mut ahead = EntitySet::new();
    for stmt in &inner.body {
        let Stmt::Let(val) = stmt else { continue };
        let Some(drawn) = Drawn::of(&kernel.values[*val].kind) else {
            continue;
        };
        let same = drawn.fields.iter().all(|field| !inside.contains(*field));
        if same && drawn.element.vars.contains(&(inner.var, 1)) {
            ahead.insert(*val);
        }
    }
    ahead
}

impl Emitter<'_, '_, '_> {
    /// Prepares for a lane loop, whose number of lanes is `trip` if it is known; what one run does
    /// not hold is drawn by [`Self::draw_ahead`].
    pub(super) fn begin_runs(&mut self, inner: &Loop, bounds: (Value, Value), trip: Option<i64>) {
        let kernel = self.kernel;
        let slots: Vec<(Val, StackSlot)> = drawn_ahead(kernel, inner)
            .iter()
            .map(|val| {
                let bytes = RUN as u32 * slot_stride(kernel.values[val].elem) as u32;
                (val, self.stack_slot(bytes))
            })
            .collect();
        if slots.is_empty() {
            return;
        }
        let single = trip.is_some_and(|trip| trip <= RUN);
        self.runs = Some(Runs {
            var: inner.var,
            start: bounds.0,
            end: bounds.1,
            single,
            slots,
        });
        if trip.is_some_and(|trip| (1..=RUN).contains(&trip)) {
            self.draw_run(bounds.0);
        }
    }

    /// Before the lanes from `at` on: draws for the next ones if a run begins there.
    pub(super) fn draw_ahead(&mut self, at: Value) {
        let Some(runs) = self.runs.as_ref().filter(|runs| !runs.single) else {
            return;
        };
        let (begins, after) = (self.b.create_block(), self.b.create_block());
        let start = runs.start;
        let place = self.place_in_run(at, start);
        let none: [BlockArg; 0] = [];
        self.b.ins().brif(place, after, &none, begins, &none);
        self.b.seal_block(begins);
        self.b.switch_to_block(begins);
        self.draw_run(at);
        self.b.ins().jump(after, &none);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }

    /// Draws for the lanes from `at` on, as many as a run has.
    fn draw_run(&mut self, at: Value) {
        let Some(runs) = self.runs.take() else {
            return;
        };
        let left = self.b.ins().isub(runs.end, at);
        let most = self.b.ins().iconst(types::I64, RUN);
        let count = self.b.ins().smin(left, most);
        // A loop whose end is known only when it runs may have no lanes.
        let none = self.b.ins().iconst(types::I64, 0);
        let count = self.b.ins().smax(count, none);
        for &(val, slot) in &runs.slots {
            let Some(drawn) = Drawn::of(&self.kernel.values[val].kind) else {
                continue;
            };
            let fields = drawn.fields.map(|field| self.scalar(field));
            let out = self.b.ins().stack_addr(types::I64, slot, 0);
            self.with_var(runs.var, at, |this| {
                let first = this.index(drawn.element);
                this.call_draw((val, drawn.distribution), &fields, (first, count), out);
            });
        }
        self.runs = Some(runs);
    }

    /// How many lanes lie between the beginning of the run and lane `at`.
    fn place_in_run(&mut self, at: Value, start: Value) -> Value {
        let place = self.b.ins().isub(at, start);
        self.b.ins().band_imm_s(place, RUN - 1)
    }

    /// A [`ValKind::Draw`].
    pub(super) fn draw(&mut self, val: Val) -> Repr {
        let kernel = self.kernel;
        let elem = kernel.values[val].elem;
        let Some(Drawn {
            distribution,
            fields,
            element,
        }) = Drawn::of(&kernel.values[val].kind)
        else {
            panic!("{val} is no draw");
        };
        if let Some(base) = self.drawn_for(val) {
            return match self.lanes {
                Some(LaneLoop { lanes, .. }) => Repr::Lanes(self.load_group(elem, base, lanes)),
                None => Repr::Scalar(self.load_lane(elem, base, 0)),
            };
        }
        let lanes = self.lanes.map_or(1, |lane_loop| lane_loop.lanes as usize);
        let fields = fields.map(|field| self.repr(field));
        let first = self.index(element);
        let step = self.lane_coefficient(element);
        let slot = self.scratch(elem, 0);
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        let scalars: SmallVec<[Value; 4]> = (fields.iter())
            .filter_map(|field| match field {
                Repr::Scalar(value) => Some(*value),
                Repr::Lanes(_) => None,
            })
            .collect();
        // In each round of a loop inside of the lanes': at a place that is the same for all lanes.
        if let (true, &[key, inner, example, step]) = (lanes > 1 && step == 1, &scalars[..]) {
            let same = [key, inner, example, step];
            let count = self.b.ins().iconst(types::I64, lanes as i64);
            self.call_draw((val, distribution), &same, (first, count), base);
            return Repr::Lanes(self.load_group(elem, base, lanes as u32));
        }
        let fields = fields.map(|field| match field {
            Repr::Scalar(value) => vec![value; lanes],
            Repr::Lanes(group) => self.lanes_of_group(&group),
        });
        let one = self.b.ins().iconst(types::I64, 1);
        let values: Vec<Value> = (0..lanes)
            .map(|lane| {
                let same = std::array::from_fn(|field| fields[field][lane]);
                let at = self.b.ins().iadd_imm_s(first, lane as i64 * step);
                self.call_draw((val, distribution), &same, (at, one), base);
                self.load_lane(elem, base, 0)
            })
            .collect();
        match self.lanes {
            Some(_) => Repr::Lanes(self.group_of_lanes(elem, values)),
            None => Repr::Scalar(values[0]),
        }
    }

    /// Where the numbers lie that were drawn ahead for the lanes that are being emitted.
    fn drawn_for(&mut self, val: Val) -> Option<Value> {
        let runs = self.runs.as_ref()?;
        let &(_, slot) = runs.slots.iter().find(|(drawn, _)| *drawn == val)?;
        let (start, single, (at, _)) = (runs.start, runs.single, self.vars[runs.var]?);
        let place = match single {
            true => self.b.ins().isub(at, start),
            false => self.place_in_run(at, start),
        };
        let base = self.b.ins().stack_addr(types::I64, slot, 0);
        let offset = self.scaled(place, slot_stride(self.kernel.values[val].elem));
        Some(self.b.ins().iadd(base, offset))
    }

    /// Draws so many numbers from an element on. `same`: key, inner, example, step.
    fn call_draw(
        &mut self,
        (val, distribution): (Val, Distribution),
        same: &[Value; 4],
        (element, count): (Value, Value),
        out: Value,
    ) {
        let func = self.import(match self.kernel.values[val].elem {
            Elem::F64 => Extern::Draw64,
            _ => Extern::Draw32,
        });
        let code = i64::from(distribution_code(distribution));
        let which = self.b.ins().iconst(types::I32, code);
        let slot = match self.place_slot {
            Some(slot) => slot,
            None => self.stack_slot(PLACE_BYTES),
        };
        self.place_slot = Some(slot);
        let place = self.b.ins().stack_addr(types::I64, slot, 0);
        let offsets = [
            offset_of!(philox::Place, key),
            offset_of!(philox::Place, inner),
            offset_of!(philox::Place, example),
            offset_of!(philox::Place, step),
        ];
        for (field, (&value, offset)) in same.iter().zip(offsets).enumerate() {
            let value = match field {
                0 => value,
                _ => self.b.ins().ireduce(types::I32, value),
            };
            let flags = MemFlagsData::trusted();
            self.b.ins().store(flags, value, place, offset as i32);
        }
        let args = [which, place, element, count, out];
        self.b.ins().call(func, &args);
    }

    pub(super) fn draw_key(&mut self, seed: Val, site: u64) -> Value {
        let seed = self.scalar(seed);
        let site = self.b.ins().iconst(types::I64, site.cast_signed());
        let func = self.import(Extern::DrawKey);
        let call = self.b.ins().call(func, &[seed, site]);
        self.b.inst_results(call)[0]
    }
}

/// The parts of a [`ValKind::Draw`].
struct Drawn<'k> {
    distribution: Distribution,
    /// Key, inner, example, step.
    fields: [Val; 4],
    element: &'k Affine,
}

impl<'k> Drawn<'k> {
    fn of(kind: &'k ValKind) -> Option<Drawn<'k>> {
        match kind {
            ValKind::Draw {
                distribution,
                key,
                element,
                inner,
                example,
                step,
            } => Some(Drawn {
                distribution: *distribution,
                fields: [*key, *inner, *example, *step],
                element,
            }),
            _ => None,
        }
    }
}

/// How the runtime's draw functions are told the distribution.
fn distribution_code(distribution: Distribution) -> u32 {
    match distribution {
        Distribution::Uniform => philox::UNIFORM,
        Distribution::Normal => philox::NORMAL,
    }
}
