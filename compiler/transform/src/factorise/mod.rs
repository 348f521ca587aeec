//! Factorise: the cheapest way to compute sums of products, shared between the terms of a whole
//! function (AUTODIFF.md sections 2 to 5).
//!
//! A function becomes a graph ([`nodes`], [`import`]) in which equal products are one node and
//! every product has two factors. Then products are opened, level by level ([`rules`]), put in
//! another order ([`order`], [`twins`]), and the new plan stays if it makes the whole function
//! cheaper ([`cost`]). Nothing here knows of layers or Jacobians.
//!
//! What comes out is what kernels are built from: products that sum have one factor, or two of
//! power one without a label that one of them sums alone.

mod canonical;
mod cost;
mod emit;
mod import;
mod nodes;
mod order;
mod pull_out;
mod report;
mod rules;
mod sensitive;
mod twins;

pub use report::{Choice, Factored};

use crate::arithmetic::arithmetic;
use crate::rule::{Rule, Rules};
use crate::term::{Term, TermFactor};
use aec_ir::{Function, Op, Value};
use cost::{Alive, Choices, below, own_cost, parts_of, parts_of_view};
use cranelift_entity::{EntityRef, EntitySet, SecondaryMap};
use import::{Program, active_values, import};
use nodes::Kind;
use rules::{Allowed, open_level};

/// Levels that are tried; no derivative of a sensible encoder has more.
const MAX_LEVELS: usize = 12;
/// Searches stop when they have tried so many splits, and what is left stays as it is.
const MAX_TRIED: usize = 500_000;
/// A plan that costs more than this part of the old one is not worth another order of summing.
const WORTH: f64 = 0.999;
/// The same for the part that only the product in question needs.
const WORTH_HERE: f64 = 0.9;
/// What several products share is looked at if it makes up this part of the whole.
const WORTH_SHARED: f64 = 0.05;
/// And if no more than this many do.
const MAX_USERS: usize = 8;
/// A new plan may by itself cost so many times what it saves: parts of it may be there already.
const MAX_SHARED: f64 = 2.0;

/// What a function is planned for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Goal<'a> {
    /// For each param, whether a reverse pass will follow that differentiates by it; empty if
    /// none will.
    pub active: &'a [bool],
    /// Whether products are opened. If not, each is only put in the best order.
    pub open: bool,
    /// Whether squares of sums may become products of Gram matrices.
    pub squares: bool,
}

/// `f` with every sum of products in the order that makes the whole cheapest, and what was
/// chosen.
pub fn factorise(f: &Function, goal: Goal<'_>) -> (Function, Factored) {
    let active = active_values(f, goal.active);
    let mut program = import(f, &active);
    let mut choices: Choices = SecondaryMap::new();
    let mut factored = Factored::default();
    if goal.open {
        improve(f, goal, &mut program, &mut choices, &mut factored);
        improve_shared(f, goal, &mut program, &mut choices, &mut factored);
    }
    let mut result = emit::emit(f, &program, &choices);
    // Bodies of loops are functions of their own; a gradient flows through all of one or none.
    for inst in result.order.clone() {
        if let Op::Loop(looped) = &mut result.insts[inst].op {
            let active = vec![!goal.active.is_empty(); looped.body.params.len()];
            let goal = Goal {
                active: &active,
                ..goal
            };
            let (body, inner) = factorise(&looped.body, goal);
            *looped.body = body;
            factored.choices.extend(inner.choices);
            factored.kept_exact.extend(inner.kept_exact);
            factored.rules.extend(inner.rules);
        }
    }
    if !factored.choices.is_empty() {
        let plain = emit::emit(f, &program, &SecondaryMap::new());
        factored.arithmetic = Some((arithmetic(&plain), arithmetic(&result)));
    }
    factored.tried = program.tried;
    factored.rules.extend(program.nodes.rules);
    for choice in &factored.choices {
        factored.rules.extend(choice.rules);
    }
    (result, factored)
}

/// Tries every product that sums, users first, at every level; R12 decides.
fn improve(
    f: &Function,
    goal: Goal<'_>,
    program: &mut Program,
    choices: &mut Choices,
    factored: &mut Factored,
) {
    let sensitive = sensitive::sensitive_nodes(f, program);
    let count = program.nodes.nodes.len();
    let mut alive = Alive::new(f, program, choices);
    for index in (0..count).rev() {
        let node = Value::new(index);
        if !alive.contains(node) || program.tried > MAX_TRIED {
            continue;
        }
        let Kind::Product(term) = &program.nodes.nodes[node].kind else {
            continue;
        };
        let takes_diagonal = term.out.len() < term.factors[0].labels.len();
        let has_parts =
            |f: &TermFactor| !matches!(program.nodes.nodes[f.value].kind, Kind::Leaf(_));
        if !(term.is_summed() || takes_diagonal) || !term.factors.iter().any(has_parts) {
            continue;
        }
        let squares = goal.squares && !sensitive.contains(node);
        let total = alive.total;
        let found = best_level(f, program, choices, &mut alive, node, squares, total, None);
        if let Some(found) = found {
            factored
                .choices
                .push(choice(program, node, &found, total, found.cost));
            alive.choose(f, program, choices, node, Some(found.view));
        } else if !squares && has_square(program, node) {
            factored.kept_exact.push(program.nodes.nodes[node].span);
        }
    }
}

/// A sum that several products use is worth replacing only in all of them at once.
fn improve_shared(
    f: &Function,
    goal: Goal<'_>,
    program: &mut Program,
    choices: &mut Choices,
    factored: &mut Factored,
) {
    let sensitive = sensitive::sensitive_nodes(f, program);
    let mut alive = Alive::new(f, program, choices);
    for index in (0..program.nodes.nodes.len()).rev() {
        let shared = Value::new(index);
        if !alive.contains(shared) || choices[shared].is_some() || program.tried > MAX_TRIED {
            continue;
        }
        let data = &program.nodes.nodes[shared];
        let is_sum = match &data.kind {
            Kind::Product(term) => term.is_summed(),
            Kind::Sum(terms) => terms.iter().any(|term| !term.deltas.is_empty()),
            Kind::Leaf(_) => false,
        };
        let total = alive.total;
        let worth = WORTH_SHARED * total;
        if !is_sum || alive.saving(f, program, choices, shared) < worth {
            continue;
        }
        let Some(users) = users_of(f, program, choices, &alive, shared) else {
            continue;
        };
        let mut made = Vec::new();
        for &user in &users {
            let squares = goal.squares && !sensitive.contains(user);
            let avoid = Some(shared);
            let found = best_level(f, program, choices, &mut alive, user, squares, total, avoid);
            let Some(found) = found else { break };
            alive.choose(f, program, choices, user, Some(found.view.clone()));
            made.push((user, found));
        }
        let cost = alive.total;
        if made.len() == users.len() && cost < total * WORTH {
            for (user, found) in &made {
                factored
                    .choices
                    .push(choice(program, *user, found, total, cost));
            }
        } else {
            for (user, _) in made {
                alive.choose(f, program, choices, user, None);
            }
        }
    }
}

/// The products that use a node, users first, if several do and nothing else does.
fn users_of(
    f: &Function,
    program: &Program,
    choices: &Choices,
    alive: &Alive,
    shared: Value,
) -> Option<Vec<Value>> {
    let is_shared = |factor: &TermFactor| factor.value == shared;
    if program
        .roots(f)
        .any(|root| root.factors.iter().any(is_shared))
    {
        return None;
    }
    let mut users = Vec::new();
    let mut parts = Vec::new();
    let nodes = &program.nodes.nodes;
    for node in nodes.keys().rev().filter(|&node| alive.contains(node)) {
        parts.clear();
        below(f, program, choices, node, &mut parts);
        if parts.contains(&shared) {
            let is_product = matches!(nodes[node].kind, Kind::Product(_));
            if !is_product || choices[node].is_some() {
                return None;
            }
            users.push(node);
        }
    }
    (2..=MAX_USERS).contains(&users.len()).then_some(users)
}

fn choice(program: &Program, node: Value, found: &Found, before: f64, after: f64) -> Choice {
    Choice {
        span: program.nodes.nodes[node].span,
        levels: found.level,
        rules: found.used,
        before,
        after,
    }
}

/// A cheaper way to compute a node.
struct Found {
    level: usize,
    used: Rules,
    view: Term,
    cost: f64,
}

/// The level at which opening a node makes the whole cheapest. If another node is to be avoided,
/// the cheapest that does without it, whatever the whole costs.
#[expect(
    clippy::too_many_arguments,
    reason = "the graph, its state and the question"
)]
fn best_level(
    f: &Function,
    program: &mut Program,
    choices: &mut Choices,
    alive: &mut Alive,
    node: Value,
    squares: bool,
    total: f64,
    avoid: Option<Value>,
) -> Option<Found> {
    let data = program.nodes.nodes[node].clone();
    let Kind::Product(term) = data.kind else {
        return None;
    };
    let before_all = alive.total;
    let own = own_cost(program, choices, node);
    // What would be saved if the node cost nothing.
    let gain = total - (before_all - alive.saving(f, program, choices, node));
    if avoid.is_none() && gain < (1.0 - WORTH) * total {
        return None;
    }
    let parts = parts_of(f, program, choices, node);
    alive.remove(f, program, choices, &parts);
    let without = alive.total;
    let bound = match avoid {
        Some(_) => total,
        None => MAX_SHARED * gain,
    };
    program.nodes.position = data.position;
    let mut terms = vec![term];
    let mut used = Rules::default();
    let mut best: Option<Found> = None;
    for level in 1..=MAX_LEVELS {
        let allowed = Allowed { squares };
        match open_level(&program.nodes, &terms, allowed, &mut used) {
            Some(opened) => terms = opened,
            None => break,
        }
        let before = std::mem::take(&mut program.nodes.rules);
        let views: Option<Vec<Term>> = terms
            .iter()
            .map(|term| {
                let mut builder = order::Builder {
                    nodes: &mut program.nodes,
                    elem: data.elem,
                    span: data.span,
                    tried: &mut program.tried,
                    bound,
                };
                builder.build(term.clone())
            })
            .collect();
        let view = views.map(|views| (program.nodes).sum(views, &data.dims, data.elem, data.span));
        let built = std::mem::replace(&mut program.nodes.rules, before);
        program.nodes.rules.extend(built);
        let Some(view) = view else { continue };
        if view.factors.first().is_some_and(|f| f.value == node) {
            continue;
        }
        let tried = parts_of_view(&view);
        alive.add(f, program, choices, &tried);
        let cost = alive.total - own;
        alive.remove(f, program, choices, &tried);
        alive.total = without;
        let bar = match &best {
            Some(best) => best.cost * WORTH,
            None if avoid.is_some() => f64::INFINITY,
            None => (total * WORTH).min(total - (1.0 - WORTH_HERE) * gain),
        };
        let unwanted = |node| leads_to(f, program, choices, &view, node);
        if cost < bar && !unwanted(node) && !avoid.is_some_and(unwanted) {
            used.extend(built);
            best = Some(Found {
                level,
                used,
                view,
                cost,
            });
        } else {
            program.nodes.rules.insert(Rule::Refuse);
        }
        if program.tried > MAX_TRIED {
            break;
        }
    }
    alive.add(f, program, choices, &parts);
    alive.total = before_all;
    best
}

/// Whether a square of a sum stands among the factors of a node.
fn has_square(program: &Program, node: Value) -> bool {
    let nodes = &program.nodes.nodes;
    match &nodes[node].kind {
        Kind::Product(term) => term.factors.iter().any(|factor| {
            let is_sum = match &nodes[factor.value].kind {
                Kind::Product(inner) => inner.is_summed(),
                Kind::Leaf(_) | Kind::Sum(_) => false,
            };
            factor.power > 1 && is_sum
        }),
        Kind::Leaf(_) | Kind::Sum(_) => false,
    }
}

/// Whether `view` needs `node`.
fn leads_to(f: &Function, program: &Program, choices: &Choices, view: &Term, node: Value) -> bool {
    let mut seen: EntitySet<Value> = EntitySet::new();
    let mut stack: Vec<Value> = view.factors.iter().map(|f| f.value).collect();
    while let Some(next) = stack.pop() {
        if next == node {
            return true;
        }
        if seen.insert(next) {
            below(f, program, choices, next, &mut stack);
        }
    }
    false
}
