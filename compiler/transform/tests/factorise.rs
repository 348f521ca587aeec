//! Factorised against not, on random products and on encoders; what is kept exact, and that
//! plans stay small.

mod common;

use aec_ir::verify;
use aec_transform::factorise::{Goal, factorise};
use aec_transform::rule::Rule;
use common::{close, eval, random_products, tir};

fn goal(active: &[bool]) -> Goal<'_> {
    Goal {
        active,
        open: true,
        squares: true,
    }
}

#[test]
fn random_programs_mean_the_same_factorised() {
    let mut changed = 0;
    let (mut gram, mut distributed) = (0, 0);
    for seed in 0..4000 {
        let (f, inputs) = random_products(seed, 3 + seed as usize % 10);
        verify(&f).unwrap_or_else(|error| panic!("{error}\n{f}"));
        let expected = eval(&f, &inputs);
        let large = |x: f64| x.is_nan() || x.abs() > 1e6;
        if expected
            .iter()
            .any(|t| t.to_f64_vec().into_iter().any(large))
        {
            continue;
        }
        for active in [vec![], vec![true; 3]] {
            let (g, factored) = factorise(&f, goal(&active));
            verify(&g).unwrap_or_else(|error| panic!("{error}\n{f}\n{g}"));
            changed += usize::from(!factored.choices.is_empty());
            gram += factored
                .choices
                .iter()
                .filter(|c| c.rules.contains(Rule::Gram))
                .count();
            distributed += factored
                .choices
                .iter()
                .filter(|c| c.rules.contains(Rule::Distribute))
                .count();
            for (a, b) in eval(&g, &inputs).iter().zip(&expected) {
                close(a, b, 1e-8, &format!("seed {seed}\n{f}\n{g}"));
            }
        }
    }
    assert!(changed > 200, "{changed} programs changed");
    assert!(gram > 10, "{gram} squares opened");
    assert!(distributed > 3, "{distributed} sums multiplied out");
}

#[test]
fn a_switch_keeps_squares() {
    let f = tir("fn f(%0: f32[500,20], %1: f32[20,300]) {
  %2: f32[500,300] = contract %0[a,c] %1[c,b] -> [a,b]
  %3: f32 = contract %2[a,b]^2 -> []
  return %3
}");
    let (_, factored) = factorise(&f, goal(&[true, true]));
    assert!(factored.choices[0].rules.contains(Rule::Gram));
    let exact = Goal {
        squares: false,
        ..goal(&[true, true])
    };
    let (_, factored) = factorise(&f, exact);
    assert!(factored.choices.is_empty());
    assert_eq!(factored.kept_exact.len(), 1);
}

#[test]
fn large_programs_stay_within_their_budget() {
    // A chain of squared products, each of the one before: opened, it doubles at every step.
    let mut text = String::from("fn f(%0: f32[6,6]) {\n");
    for at in 1..60 {
        let last = at - 1;
        text += &format!("%{at}: f32[6,6] = contract 0.1 %{last}[a,c] %{last}[c,b] -> [a,b]\n");
    }
    text += "%60: f32 = contract %59[a,b]^2 -> []\nreturn %60\n}";
    let (g, factored) = factorise(&tir(&text), goal(&[true]));
    assert!(factored.tried < 1_000_000, "{} splits", factored.tried);
    assert!(g.insts.len() <= 62, "{g}");
}
