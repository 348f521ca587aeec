//! `aec show`: what a script becomes at a stage, function by function.

use crate::pipeline::Stage;
use crate::run::{Ended, Outcome, has_errors};
use crate::session::Session;
use aec_ir::Function;
use aec_kernels::report;
use aec_syntax::{SourceMap, dump};
use aec_transform::Run;
use std::cell::RefCell;
use std::rc::Rc;

/// A stage to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The syntax tree.
    Ast,
    /// TIR as it was traced.
    Tir,
    /// TIR after a pass.
    After(String),
    /// TIR as traced and after each pass.
    All,
    /// The plan: steps, reasons, buffers.
    Plan,
    /// The kernels of the plan with the reasons for each.
    Kernels,
    /// Kernels in loop IR.
    Lir,
    /// Cranelift's input.
    Clif,
    /// Machine code.
    Asm,
}

impl Wanted {
    /// Reads `ast`, `tir`, `tir:simplify`, `tir:all`, `plan`, `kernels`, `lir`, `clif`, `asm`.
    pub fn parse(text: &str) -> Result<Wanted, String> {
        Ok(match text {
            "ast" => Wanted::Ast,
            "tir" => Wanted::Tir,
            "tir:all" => Wanted::All,
            "plan" => Wanted::Plan,
            "kernels" => Wanted::Kernels,
            "lir" => Wanted::Lir,
            "clif" => Wanted::Clif,
            "asm" => Wanted::Asm,
            other => match other.strip_prefix("tir:") {
                Some(name) if aec_transform::passes().iter().any(|pass| pass.name == name) => {
                    Wanted::After(name.to_string())
                }
                Some(name) => {
                    let passes: Vec<String> = aec_transform::passes()
                        .iter()
                        .map(|pass| format!("  tir:{:<12} {}", pass.name, pass.summary))
                        .collect();
                    return Err(format!(
                        "there is no pass `{name}`; the passes are\n{}",
                        passes.join("\n")
                    ));
                }
                None => {
                    return Err(format!(
                        "there is no stage `{other}`; the stages are ast, tir, tir:PASS, tir:all, plan, kernels, lir, \
                         clif and asm"
                    ));
                }
            },
        })
    }
}

/// Compiles a script (trainings are compiled, not run; nothing is written) and gives the text of
/// a stage of each function.
pub fn show(session: &mut Session, wanted: &Wanted, name: &str, text: &str) -> (String, Outcome) {
    if *wanted == Wanted::Ast {
        let (script, diagnostics) = session.check(name, text);
        let ended = if has_errors(&diagnostics) {
            Ended::Failed
        } else {
            Ended::Well
        };
        return (dump::dump(&script), Outcome { ended, diagnostics });
    }
    let shown = watch(session, wanted);
    let outcome = session.run(name, text);
    let text = std::mem::take(&mut *shown.borrow_mut());
    (text, outcome)
}

/// Collects the text of a stage of all that is compiled from now on.
pub fn watch(session: &Session, wanted: &Wanted) -> Rc<RefCell<String>> {
    let shown = Rc::new(RefCell::new(String::new()));
    let (out, sources, wanted) = (shown.clone(), session.sources(), wanted.clone());
    session.world.compiler.observe(Box::new(move |stage, span| {
        let text = match (&wanted, stage) {
            (Wanted::Tir | Wanted::All, Stage::Traced(f)) => {
                ("as traced".to_string(), aec_ir::print::print(f))
            }
            (Wanted::All, Stage::Pass(name, f)) => {
                (format!("after {name}"), aec_ir::print::print(f))
            }
            (Wanted::After(want), Stage::Pass(name, f)) if want == name => {
                (format!("after {name}"), aec_ir::print::print(f))
            }
            (Wanted::Plan, Stage::Executable(exe)) => (
                "plan".into(),
                report::describe(exe.plan(), sources.try_borrow().ok().as_deref()),
            ),
            (Wanted::Kernels, Stage::Lowered(lowered, run)) => (
                "arithmetic".into(),
                arithmetic(lowered, run, sources.try_borrow().ok().as_deref()),
            ),
            (Wanted::Kernels, Stage::Executable(exe)) => ("kernels".into(), kernels(exe.plan())),
            (Wanted::Lir, Stage::Executable(exe)) => {
                ("loop IR".into(), report::print_kernels(exe.plan()))
            }
            (Wanted::Clif, Stage::Executable(exe)) => ("CLIF".into(), exe.clif()),
            (Wanted::Asm, Stage::Executable(exe)) => ("machine code".into(), exe.disassembly()),
            (
                Wanted::Ast
                | Wanted::Tir
                | Wanted::After(_)
                | Wanted::All
                | Wanted::Plan
                | Wanted::Kernels
                | Wanted::Lir
                | Wanted::Clif
                | Wanted::Asm,
                _,
            ) => return,
        };
        let place = sources
            .try_borrow()
            .map(|sources| sources.locate(span))
            .unwrap_or_default();
        let mut out = out.borrow_mut();
        out.push_str(&format!(
            "── {place}, {} ──\n{}\n\n",
            text.0,
            text.1.trim_end()
        ));
    }));
    shown
}

/// What the function costs, and what factorise changed for it.
fn arithmetic(lowered: &Function, run: &Run, sources: Option<&SourceMap>) -> String {
    let place = |span| sources.map_or(String::new(), |sources| sources.locate(span));
    let mut text = format!("{}\n", aec_transform::arithmetic::arithmetic(lowered));
    for factored in &run.factored {
        for choice in &factored.choices {
            text.push_str(&format!(
                "factorise, {}: {}\n",
                place(choice.span),
                choice.reason()
            ));
        }
        if let Some((before, after)) = &factored.arithmetic {
            text.push_str(&format!("  before {before}\n  after  {after}\n"));
        }
        for &span in &factored.kept_exact {
            text.push_str(&format!(
                "factorise, {}: the square stays as it is written: {}\n",
                place(span),
                match run.exact {
                    true => "--factorise=exact",
                    false => "a root, logarithm, division or comparison wants its digits",
                }
            ));
        }
    }
    text
}

/// Each step that runs a kernel, with why it is one.
fn kernels(plan: &aec_kernels::plan::Plan) -> String {
    kernels_of(plan, &plan.steps, "")
}

fn kernels_of(
    plan: &aec_kernels::plan::Plan,
    steps: &[aec_kernels::plan::Step],
    pad: &str,
) -> String {
    use aec_kernels::plan::StepKind;
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        let what = match &step.kind {
            StepKind::Kernel {
                kernel, parallel, ..
            } => {
                let shared = if parallel.is_some() {
                    ", on all threads"
                } else {
                    ""
                };
                format!("{kernel} {}{shared}", plan.kernels[*kernel].name)
            }
            StepKind::Gemm(gemm) => {
                let epilogue = match &gemm.epilogue {
                    Some((kernel, _)) => {
                        format!(", epilogue {kernel} {}", plan.kernels[*kernel].name)
                    }
                    None => String::new(),
                };
                let before = match &gemm.before {
                    Some(before) => format!(" after {} terms of another", before.k),
                    None => String::new(),
                };
                format!(
                    "product {}x{}x{}{before} ({} of them){epilogue}",
                    gemm.m, gemm.n, gemm.k, gemm.batch
                )
            }
            StepKind::Pack(pack) => format!("panels of {}", pack.from.buffer),
            StepKind::Copy { from, to } => format!("copy {from} to {to}"),
            StepKind::ArgSort { from, .. } => format!("argsort {from}"),
            StepKind::Levels(call) => format!("levels, rounds of {} nodes", call.rows),
            StepKind::Matrix(call) => call.to_string(),
            StepKind::Settle => "stop if a check failed".to_string(),
            StepKind::Guard { buffer } => format!("guard {buffer}"),
            StepKind::Loop(looped) => match looped.limit {
                Some(_) => format!("loop of up to {} rounds", looped.count),
                None => format!("loop of {} rounds", looped.count),
            },
        };
        text.push_str(&format!(
            "{pad}{at:>3}  {what}\n{pad}     {}\n",
            step.reason
        ));
        if let StepKind::Loop(looped) = &step.kind {
            text.push_str(&kernels_of(plan, &looped.steps, &format!("{pad}    ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_names() {
        assert_eq!(Wanted::parse("ast"), Ok(Wanted::Ast));
        assert_eq!(
            Wanted::parse("tir:simplify"),
            Ok(Wanted::After("simplify".into()))
        );
        assert!(
            Wanted::parse("tir:nothing")
                .unwrap_err()
                .contains("tir:simplify")
        );
        assert!(Wanted::parse("nothing").unwrap_err().contains("clif"));
    }
}
