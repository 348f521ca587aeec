//! The passes, as one readable list.

use crate::batch::batch_maps;
use crate::derivative::expand_derivatives;
use crate::factorise::{Factored, Goal, factorise};
use crate::loops::blocks::open_blocks;
use crate::loops::fission::fission;
use crate::loops::rows::write_rows;
use crate::rebuild::tidy;
use crate::scatter::merge_scatters;
use crate::simplify::{Products, drop_stops, simplify};
use crate::wanted::spare_unused;
use aec_ir::{Function, Op, verify};
use aec_syntax::{Diagnostic, Span};

/// What `aec show` says of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassInfo {
    /// The name that observers get and TIR file tests ask for.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
}

/// What passes are told, and what they have to say.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Squares of sums stay as they are written (no R7): dearer derivatives, every digit.
    pub exact: bool,
    /// What each run of factorise did, in order.
    pub factored: Vec<Factored>,
}

impl Run {
    /// Factorises for a goal, within what the run allows, and notes what was done.
    pub fn factorise(&mut self, f: &Function, goal: Goal<'_>) -> Function {
        let goal = Goal {
            squares: goal.squares && !self.exact,
            ..goal
        };
        let (result, factored) = factorise(f, goal);
        self.factored.push(factored);
        result
    }
}

struct Pass {
    info: PassInfo,
    run: fn(&Function, &mut Run) -> Result<Function, Diagnostic>,
}

/// Order matters: inner derivatives are expanded inside their maps (for each example), an outer
/// one after its own maps are batched away; all products are opened before they are put in
/// order, and not opened again afterwards.
const PASSES: &[Pass] = &[
    Pass {
        info: PassInfo {
            name: "wanted",
            summary: "linear algebra whose result a branch drops has a harmless matrix there",
        },
        run: |f, _| Ok(spare_unused(f)),
    },
    Pass {
        info: PassInfo {
            name: "derivatives",
            summary: "expand derivative regions, innermost first; each body is batched and simplified before",
        },
        run: |f, run| expand_derivatives(f, run, false),
    },
    Pass {
        info: PassInfo {
            name: "stops",
            summary: "drop stop, as nothing is differentiated any more",
        },
        run: |f, _| drop_stops(f),
    },
    Pass {
        info: PassInfo {
            name: "blocks",
            summary: "open the blocks of `remat`, but for the ways back through them",
        },
        run: |f, _| open_blocks(f),
    },
    Pass {
        info: PassInfo {
            name: "batch",
            summary: "turn map regions into ops over one more axis",
        },
        run: |f, _| batch_maps(f),
    },
    Pass {
        info: PassInfo {
            name: "simplify",
            summary: "small rules, common subexpressions, dead code; products are opened",
        },
        run: |f, _| Ok(simplify(f, Products::Open)),
    },
    Pass {
        info: PassInfo {
            name: "rows",
            summary: "a round that replaces one row of its state, or adds to it, touches no other",
        },
        run: |f, _| Ok(write_rows(f)),
    },
    Pass {
        info: PassInfo {
            name: "factorise",
            summary: "sums of products become products of two, in the order that makes the whole cheapest",
        },
        run: |f, run| {
            Ok(run.factorise(
                f,
                Goal {
                    active: &[],
                    open: true,
                    squares: true,
                },
            ))
        },
    },
    Pass {
        info: PassInfo {
            name: "fission",
            summary: "what need not be inside a loop leaves it: products of all rounds at once",
        },
        run: |f, _| fission(f),
    },
    Pass {
        info: PassInfo {
            name: "clean",
            summary: "small rules, common subexpressions, dead code; products stay",
        },
        run: |f, _| Ok(simplify(f, Products::Keep)),
    },
    Pass {
        info: PassInfo {
            name: "scatters",
            summary: "scattered updates are added to what their sum is added to",
        },
        run: |f, _| Ok(merge_scatters(f)),
    },
];

/// The passes of [`compile_time_passes`] in order.
pub fn passes() -> &'static [PassInfo] {
    const INFOS: [PassInfo; PASSES.len()] = {
        let mut infos = [PASSES[0].info; PASSES.len()];
        let mut at = 0;
        while at < PASSES.len() {
            infos[at] = PASSES[at].info;
            at += 1;
        }
        infos
    };
    &INFOS
}

/// Runs one pass by name; none if there is no such pass.
pub fn run_pass(name: &str, f: &Function, run: &mut Run) -> Option<Result<Function, Diagnostic>> {
    let pass = PASSES.iter().find(|pass| pass.info.name == name)?;
    Some(run_checked(pass, f, run))
}

fn run_checked(pass: &Pass, f: &Function, run: &mut Run) -> Result<Function, Diagnostic> {
    let result = tidy((pass.run)(f, run)?);
    if cfg!(debug_assertions)
        && let Err(error) = verify(&result)
    {
        return Err(internal(
            Span::NONE,
            &format!("pass `{}` broke a rule: {error}", pass.info.name),
        ));
    }
    Ok(result)
}

/// From the elaborator's TIR to what kernels are built from: no region, no `stop`, sums of at
/// most two factors. `observer` sees the function after each pass, with the pass's name.
pub fn compile_time_passes(
    f: Function,
    run: &mut Run,
    observer: &mut dyn FnMut(&str, &Function),
) -> Result<Function, Diagnostic> {
    batch_means_have_a_batch(&f, false)?;
    let mut f = f;
    for pass in PASSES {
        f = run_checked(pass, &f, run)?;
        observer(pass.info.name, &f);
    }
    Ok(f)
}

/// A mean over the batch wants one.
fn batch_means_have_a_batch(f: &Function, in_batch: bool) -> Result<(), Diagnostic> {
    for &inst in &f.order {
        let data = &f.insts[inst];
        match &data.op {
            Op::BatchMean if !in_batch => {
                return Err(Diagnostic::error(
                    "E0502",
                    data.span,
                    "a mean over the batch is taken where there is no batch",
                )
                .here("one example alone has no batch")
                .help("call the member with a batch of examples, or inside `train` or `eval`"));
            }
            Op::Map { body, is_batch, .. } => {
                batch_means_have_a_batch(body, in_batch || *is_batch)?;
            }
            op => {
                if let Some(body) = op.body() {
                    batch_means_have_a_batch(body, in_batch)?;
                }
            }
        }
    }
    Ok(())
}

/// A diagnostic for what is a mistake of the compiler.
pub fn internal(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error("E0599", span, format!("mistake in the compiler: {message}"))
        .note("please report it with the script")
}
