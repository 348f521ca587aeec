//! `aec summary`: what a script trains, without training it: the weights of each model, and what
//! one step of each training computes, moves and keeps.

use crate::exec::elements;
use crate::pipeline::Stage;
use crate::session::Session;
use crate::{Outcome, format};
use aec_transform::arithmetic::arithmetic;
use aec_types::{Value, average_count, leaves};
use std::cell::RefCell;
use std::rc::Rc;

/// The name that the elaborator gives to what a training compiles.
const STEP: &str = "train_step";

/// The summary of a script. The session must be dry: trainings are compiled, not run.
pub fn summary(session: &mut Session, name: &str, text: &str) -> (String, Outcome) {
    let steps = Rc::new(RefCell::new(String::new()));
    let (out, sources) = (steps.clone(), session.sources());
    session.world.compiler.observe(Box::new(move |stage, span| {
        let mut out = out.borrow_mut();
        match stage {
            Stage::Lowered(f, _) if f.name.starts_with(STEP) => {
                let place = sources
                    .try_borrow()
                    .map(|sources| sources.locate(span))
                    .unwrap_or_default();
                let cost = arithmetic(f);
                let inputs: usize = f.params.iter().map(|&v| f.ty(v).len() * f.ty(v).elem.bytes()).sum();
                out.push_str(&format!(
                    "a step of the training at {place}\n  {:.3} MFLOP\n  {:.3} MB read and written, every operation on \
                     its own\n  {:.3} MB of weights, optimizer state and data\n",
                    cost.flops / 1e6,
                    cost.bytes / 1e6,
                    inputs as f64 / 1e6,
                ));
            }
            Stage::Executable(exe) if exe.plan().name.starts_with(STEP) => {
                let plan = exe.plan();
                out.push_str(&format!(
                    "  {} kernels and other steps, {:.3} MB between them\n",
                    plan.steps.len(),
                    plan.arena_bytes as f64 / 1e6
                ));
            }
            Stage::Traced(_) | Stage::Pass(..) | Stage::Lowered(..) | Stage::Executable(_) => {}
        }
    }));
    let outcome = session.run(name, text);
    session.world.compiler.stop_observing();
    let mut shown = String::new();
    for name in session.elaborator.names() {
        if let Some(model @ Value::Model(_)) = session.elaborator.lookup(&name) {
            shown.push_str(&weights(&name, &model));
        }
    }
    shown.push_str(&steps.borrow());
    (shown, outcome)
}

/// The weights of a model: path, shape and number, and what the shares of training are.
fn weights(name: &str, value: &Value) -> String {
    let Value::Model(model) = value else {
        return String::new();
    };
    let statics: Vec<String> = model
        .statics
        .iter()
        .map(|(name, value)| format!("{name} = {}", format::inspect(value)))
        .collect();
    let all = leaves(value);
    let count = |leaf: &aec_types::Leaf| elements(&leaf.tensor).map_or(0, |tensor| tensor.len());
    let total: usize = all.iter().filter(|leaf| !leaf.average).map(count).sum();
    let trained: usize = all.iter().filter(|leaf| leaf.trained).map(count).sum();
    let mut text = format!(
        "{name}: {}({}), {total} parameters",
        model.template.def.name.name,
        statics.join(", ")
    );
    if trained != total {
        text.push_str(&format!(", of which {trained} are trained"));
    }
    match average_count(value) {
        0 => {}
        1 => text.push_str(", 1 running average"),
        n => text.push_str(&format!(", {n} running averages")),
    }
    text.push('\n');
    let width = all.iter().map(|leaf| leaf.path.len()).max().unwrap_or(0);
    for leaf in &all {
        let Some(tensor) = elements(&leaf.tensor) else {
            continue;
        };
        text.push_str(&format!(
            "  {:width$}  {}{:?}{}\n",
            leaf.path,
            tensor.elem().name(),
            tensor.dims(),
            match (leaf.changes, leaf.average) {
                (false, _) => "  frozen",
                (true, true) => "  running average",
                (true, false) => "",
            }
        ));
    }
    text
}
