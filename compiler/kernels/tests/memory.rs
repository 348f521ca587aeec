//! The memory policy of straight code (ARCHITECTURE.md, "Memory of a step"): which values of a
//! function get memory, and which are computed again by each kernel that uses them.

mod common;

use aec_kernels::plan::Place;
use common::{parse, planned};

/// The dims of the buffers in the arena, in ascending order. The functions below have no two
/// values of the same dims that could be mistaken for one another.
fn kept(text: &str) -> Vec<String> {
    let plan = planned(&parse(text), true);
    let mut kept: Vec<String> = (plan.buffers.values())
        .filter(|buffer| matches!(buffer.place, Place::Arena(_)) && !buffer.ty.is_empty())
        .map(|buffer| buffer.ty.to_string())
        .collect();
    kept.sort();
    kept
}

/// A layer forwards and backwards: `y = act(W x)`, and of its cotangents `V y` the gradients of W
/// and x.
fn layer(act: &str, slope: &str) -> String {
    format!(
        "fn f(%0: f32[70,50], %1: f32[64,50], %2: f32[70,70]) {{
  %3: f32[64,70] = contract %1[a,b] %0[c,b] -> [a,c]
  %30: f32[64,70] = constant 0.0
  %31: f32[64,70] = constant 1.0
{act}
  %20: f32[64,70] = contract %4[a,b] %2[b,c] -> [a,c]
{slope}
  %7: f32[64,70] = contract %20[a,b] %6[a,b] -> [a,b]
  %8: f32[70,50] = contract %7[a,b] %1[a,c] -> [b,c]
  %9: f32[64,50] = contract %7[a,b] %0[b,c] -> [a,c]
  return %4, %8, %9
}}"
    )
}

#[test]
fn slopes_that_the_result_tells_are_not_kept() {
    let cheap = [
        layer(
            "  %4: f32[64,70] = max %3, %30",
            "  %5: bool[64,70] = gt %4, %30\n  %6: f32[64,70] = select %5, %31, %30",
        ),
        layer(
            "  %4: f32[64,70] = tanh %3",
            "  %5: f32[64,70] = contract %4[a,b]^2 -> [a,b]\n  %6: f32[64,70] = sub %31, %5",
        ),
    ];
    for text in cheap {
        // The slopes times the cotangents are an operand of two products; the sums before the
        // activation are nowhere, as its result (no buffer of the arena) tells the slope.
        assert_eq!(kept(&text), ["f32[64,70]"], "{text}");
    }
    // The slope of `sin` wants the sums: they are kept, too.
    let dear = layer("  %4: f32[64,70] = sin %3", "  %6: f32[64,70] = cos %3");
    assert_eq!(kept(&dear), ["f32[64,70]", "f32[64,70]"], "{dear}");
}

#[test]
fn cheap_chains_are_computed_by_each_user() {
    let chain = |op: &str| {
        kept(&format!(
            "fn f(%0: f32[300,40], %1: f32[300,40]) {{
  %2: f32[300,40] = contract 2.0 %0[a,b] -> [a,b]
  %3: f32[300,40] = {op}
  %4: f32[300] = contract %3[a,b]^2 -> [a]
  %5: f32[40] = contract %3[a,b] -> [b]
  return %4, %5
}}"
        ))
    };
    assert!(chain("sub %2, %1").is_empty());
    // A power costs more than to read it again.
    assert_eq!(chain("pow %2, %1"), ["f32[300,40]"]);
}

#[test]
fn a_draw_is_kept_where_it_is_used_twice() {
    // To draw costs over ten times what keeping costs; rounds of loops and blocks that are
    // computed again draw again (`memory_of_rounds.tir` and `memory_of_a_block.tir`).
    let draws = |results: &str| {
        kept(&format!(
            "fn f(%0: i64, %1: f32[64,70]) {{
  %2: i64[64] = iota 0
  %3: f32[64,70] = draw normal site 0x7 batch 1 radices [] %0, %0, %2
  %4: f32[64,70] = contract %1[a,b] %3[a,b] -> [a,b]
  %5: f32[64] = contract %4[a,b] -> [a]
  %6: f32[70] = contract %3[a,b] -> [b]
  return {results}
}}"
        ))
    };
    assert!(draws("%5").is_empty());
    assert_eq!(draws("%5, %6"), ["f32[64,70]"]);
}

#[test]
fn of_a_mask_the_bits_are_kept() {
    // Dropout forwards and backwards: what both use of the draw is one byte an entry.
    let text = "fn f(%0: i64, %1: f32[64,70], %2: f32[64,70]) {
  %3: i64[64] = iota 0
  %4: f32[64,70] = draw uniform site 0x7 batch 1 radices [] %0, %0, %3
  %5: f32[64,70] = constant 0.5
  %6: bool[64,70] = lt %4, %5
  %7: f32[64,70] = constant 2.0
  %8: f32[64,70] = constant 0.0
  %9: f32[64,70] = select %6, %7, %8
  %10: f32[64,70] = contract %1[a,b] %9[a,b] -> [a,b]
  %11: f32[64] = contract %10[a,b] -> [a]
  %12: f32[64,70] = contract %2[a,b] %9[a,b] -> [a,b]
  %13: f32[70] = contract %12[a,b] -> [b]
  return %11, %13
}";
    assert_eq!(kept(text), ["bool[64,70]"]);
}
