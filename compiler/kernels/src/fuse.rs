//! Which values get memory, and which kernel computes what.
//!
//! First every value that is expensive and used in several places, and every reduction, is a
//! root with a kernel of its own; the rest is computed inside its consumers (`graph`). Then kernels
//! over the same space (or over entries of which the other has the rows) merge, producers with
//! consumers and neighbours that read the same, as long as no value is wanted at another place than
//! where it is computed, no cycle arises and the estimated cost does not grow; consumers of a matrix
//! product that stay on its elements become its epilogue (`merge`). At last, roots that only their
//! own kernel reads lose their memory (`nodes`).

mod graph;
mod merge;
mod nodes;
mod parts;

use crate::kernel::Built;
use crate::prepare::Prepared;
use crate::product::Product;
use crate::roots::{choose_roots, inline_operands};
use crate::term_sums::rides;
use crate::{Options, internal};
use aec_ir::{Function, Inst, Value};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::EntitySet;
use graph::Graph;
use rustc_hash::FxHashMap as HashMap;

/// What a node runs.
#[derive(Clone, Debug)]
pub enum Work {
    /// Kernels, one after the other.
    Kernels(Vec<Built>),
    /// A matrix product, and what runs on its tiles.
    Product {
        /// Its result.
        value: Value,
        /// Its form.
        product: Box<Product>,
        /// What runs on its tiles; without it the product stores its result.
        epilogue: Option<Box<Built>>,
    },
    /// A call of the runtime.
    Call(Inst),
    /// A loop.
    Loop(Inst),
}

/// Something that runs as a whole: its steps follow one another.
#[derive(Clone, Debug)]
pub struct Node {
    /// What runs.
    pub work: Work,
    /// Stored values that it reads.
    pub loads: Vec<Value>,
    /// Values that it stores.
    pub stores: Vec<Value>,
    /// Why it is what it is.
    pub reason: String,
    /// The most telling script text.
    pub span: Span,
}

/// The nodes, in an order in which they may run.
pub struct Groups {
    /// All nodes.
    pub nodes: Vec<Node>,
}

/// Groups the instructions of a function into nodes.
pub fn fuse(prepared: &Prepared, options: &Options) -> Result<Groups, Diagnostic> {
    let mut forced: EntitySet<Value> = EntitySet::new();
    for _ in 0..64 {
        let roots = choose_roots(prepared, options, &forced);
        let rides = match options.fuse {
            true => rides(prepared),
            false => HashMap::default(),
        };
        let mut graph = Graph::new(prepared, &roots, rides);
        match graph.fill() {
            Ok(()) => {
                if options.fuse {
                    graph.merge_all();
                }
                return graph.finish();
            }
            Err((value, reason)) => {
                // Store what the value is computed from, and try again.
                let more = inline_operands(prepared, &roots, value);
                let fresh = more.iter().filter(|v| forced.insert(**v)).count();
                if fresh == 0 {
                    let span = span_of(&prepared.f, value);
                    return Err(internal(
                        span,
                        format!("no kernel computes a value: {reason}"),
                    ));
                }
            }
        }
    }
    Err(internal(
        Span::NONE,
        "kernels could not be formed".to_string(),
    ))
}

fn span_of(f: &Function, v: Value) -> Span {
    f.def_inst(v).map_or(Span::NONE, |inst| f.insts[inst].span)
}
