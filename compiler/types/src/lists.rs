//! `map(f, xs)` and `[f(x) for x in xs]` of a script's list of tensors of different sizes: one
//! packed call (`ragged.rs`) in place of a copy of f for each item.
//!
//! It goes item by item where the packed call could give anything else than the items do: where f
//! draws (items that are called one by one have call paths of their own, R1), where it gives
//! something else than one tensor, or a number that is known before anything runs and may be a
//! size, and where f cannot be traced for a size that varies. Then nothing remains of the attempt.

use crate::ragged::{differ, is_ragged};
use crate::value::{Dim, Repr, Value};
use crate::{Elaborator, Result};
use aec_ir::{Function, Op};
use aec_syntax::Span;

/// Whether anything in a function draws.
fn draws(f: &Function) -> bool {
    let mut found = false;
    aec_ir::rewrite::for_each_function(f, &mut |f: &Function| {
        let mut ops = f.insts.values().map(|inst| &inst.op);
        found |= ops.any(|op| matches!(op, Op::Draw { .. }));
    });
    found
}

/// Whether a value is one tensor that is computed when the script runs.
fn is_computed(value: &Value) -> bool {
    let plain = crate::missing::plain(value);
    matches!(plain, Value::Tensor(_) | Value::Token(_))
        && plain
            .tensor()
            .is_some_and(|tensor| matches!(tensor.repr, Repr::Traced(..)))
}

impl Elaborator {
    /// What `body` gives for the items of a script's lists, taken together, by one packed call;
    /// none if it is to go item by item.
    pub(crate) fn over_lists(
        &mut self,
        lists: &[&Value],
        span: Span,
        body: &mut dyn FnMut(&mut Elaborator, &[Value]) -> Result<Value>,
    ) -> Result<Option<Value>> {
        let differs = |list: &&Value| matches!(list, Value::List(items) if differ(items));
        let fit = lists.iter().all(|list| is_ragged(list)) && lists.iter().any(differs);
        if self.checking() || !self.effects_allowed() || !fit {
            return Ok(None);
        }
        let mut inputs = Vec::with_capacity(lists.len());
        let mut count = None;
        for list in lists {
            let list = self.materialize_one((*list).clone(), span)?;
            let (Value::List(items), Some(packed)) = (&list, self.packed(&list, span)?) else {
                return Ok(None);
            };
            if count.is_some_and(|count| count != items.len()) {
                return Ok(None);
            }
            count = Some(items.len());
            inputs.push((packed, true));
        }
        let before = self.snapshot();
        let dim = Dim::known(count.unwrap_or(0));
        let mapped = self.map_over(&dim, &inputs, false, span, |elaborator, items| {
            let value = body(elaborator, items)?;
            let traced = elaborator.frames.last();
            match is_computed(&value) && !traced.is_some_and(|frame| draws(&frame.f)) {
                true => Ok(value),
                // Only leaves the map, before anything of it runs.
                false => crate::error::fail("E0305", span, "this goes item by item"),
            }
        });
        match mapped {
            Ok(value) => Ok(Some(value)),
            Err(_) => {
                self.host.check_interrupt()?;
                self.restore(before);
                Ok(None)
            }
        }
    }
}
