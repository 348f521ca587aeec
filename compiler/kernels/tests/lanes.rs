//! Which loop of a kernel runs in lanes.

mod common;

use aec_kernels::lir::{Bound, Stmt};
use aec_kernels::plan::Plan;
use aec_kernels::tidy::for_each_stmt;
use common::{check, parse};

/// The number of iterations of each lane loop, of a plan that gives what the interpreter gives.
fn lane_counts(text: &str) -> Vec<i64> {
    let plan: Plan = check(&parse(text));
    let mut counts = Vec::new();
    for kernel in plan.kernels.values() {
        for_each_stmt(&kernel.body, &mut |stmt| {
            if let Stmt::Loop(inner) = stmt
                && inner.lanes
            {
                counts.push(match inner.end {
                    Bound::Const(end) => end,
                    Bound::Arg(_) | Bound::Block { .. } | Bound::BlockEnd { .. } => -1,
                });
            }
        });
    }
    counts
}

/// Eight lanes that lie side by side, half of a step, are better than sixteen that do not.
#[test]
fn short_rows_run_in_lanes_where_much_is_computed() {
    let state = "fn f(%0: f32[8,64,24], %1: f32[24,8]) {
  %2: f32[8,64,24,8] = contract %0[a,b,c] %1[c,d] -> [a,b,c,d]
  %3: f32[8,64,24,8] = exp %2
  %4: f32[64,8,8] = contract %3[a,b,c,d] %0[a,b,c] -> [b,a,d]
  return %4
}";
    assert_eq!(lane_counts(state), [8]);
}

/// A store under a mask for each row of ten is dearer than to move lane by lane.
#[test]
fn rows_that_are_only_moved_go_lane_by_lane() {
    let moved = "fn f(%0: f32[1000,50,10]) {
  %1: f32[50,1000,10] = contract %0[a,b,c] -> [b,a,c]
  return %1
}";
    assert!(!lane_counts(moved).contains(&10));
}
