//! Untaken branches of selections are made harmless before they are differentiated: reverse mode
//! sends a zero cotangent into the branch that was not taken, and `0 * inf` there is NaN
//! (AUTODIFF.md section 9).
//!
//! [`loops`] does so for branches with loops in them, on a condition that is one bool, before maps
//! are batched; [`selects`] for everything else, entry by entry, after.

mod entries;
pub mod loops;
mod reach;
pub mod selects;
