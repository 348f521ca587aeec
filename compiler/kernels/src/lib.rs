//! From a TIR function to a static plan of fused kernels in loop IR.
//!
//! Invariants: a plan is data (nothing here emits machine code or runs anything); every fusion
//! decision has a recorded reason; results do not depend on how many threads will run the plan.

mod blocks;
pub mod coords;
mod cost;
mod elementwise;
pub mod emit;
pub mod eval;
mod fuse;
pub mod kernel;
pub mod lir;
mod looped;
pub mod math;
pub mod nest;
mod passes;
mod place;
pub mod plan;
pub mod prepare;
mod product;
pub mod report;
mod roots;
mod run;
mod scan;
mod schedule;
mod small;
mod strip;
mod term_sums;
pub mod tidy;
pub mod verify;
pub mod views;
mod windows_back;

use aec_ir::Function;
use aec_syntax::{Diagnostic, Span};
use std::ops::Range;

/// How to plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Fuse ops into common kernels; without it every op is a kernel (for comparison in
    /// tests, and to find out who is to blame).
    pub fuse: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { fuse: true }
    }
}

/// Plans a function. `transform` has expanded all maps, derivatives and batch means; what is
/// left of them is an error.
pub fn plan(f: &Function, options: &Options) -> Result<plan::Plan, Diagnostic> {
    plan_part(f, options, 0, 0..0)
}

/// Plans a function or a loop's body, whose check codes begin after `first_check`, and of which
/// the params `panelled` are matrices that come in panels where a product wants them.
fn plan_part(
    f: &Function,
    options: &Options,
    first_check: i64,
    panelled: Range<usize>,
) -> Result<plan::Plan, Diagnostic> {
    for &inst in &f.order {
        let data = &f.insts[inst];
        let is_region = data.op.category() == aec_ir::Category::Control;
        let is_loop = matches!(data.op, aec_ir::Op::Loop(_));
        if is_region && !is_loop || matches!(data.op, aec_ir::Op::BatchMean) {
            return Err(internal(
                data.span,
                format!("`{}` is left in a function to be planned", data.op.name()),
            ));
        }
    }
    let rewritten = match options.fuse {
        true => windows_back::as_products(f),
        false => None,
    };
    let (f, windows) = match &rewritten {
        Some((f, products)) => (f, products.as_slice()),
        None => (f, &[][..]),
    };
    let mut prepared = prepare::prepare(f, first_check, panelled.clone(), windows);
    looped::plan_bodies(&mut prepared, options, first_check)?;
    if options.fuse {
        product::join_sums(&mut prepared, panelled);
    }
    let groups = fuse::fuse(&prepared, options)?;
    let plan = schedule::schedule(f, &prepared, groups)?;
    if cfg!(debug_assertions) {
        for kernel in plan.kernels.values() {
            if let Err(error) = verify::verify(kernel) {
                let text = report::print_kernel(kernel);
                return Err(internal(
                    Span::NONE,
                    format!("a kernel breaks a rule of loop IR: {error}\n{text}"),
                ));
            }
        }
    }
    Ok(plan)
}

/// A mistake of the compiler's own.
fn internal(span: Span, message: String) -> Diagnostic {
    Diagnostic::error("E0999", span, format!("this is a bug in aec: {message}"))
}
