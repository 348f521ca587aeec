//! `for`: a script runs its rounds one after the other; a check looks at one that stands for all.

use crate::call::peel_type;
use crate::rows::split_rows;
use crate::scope::Scope;
use crate::sequence::Walk;
use crate::train::concrete_leaves;
use crate::value::{Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_runtime::Elem;
use aec_syntax::ast::{Expr, Pattern, Stmt, StmtKind};
use std::rc::Rc;

impl Elaborator {
    /// Runs a body for each item, with what it leaves in names that it assigns.
    pub(super) fn for_loop(
        &mut self,
        pattern: &Pattern,
        iter: &Expr,
        body: &Rc<Vec<Stmt>>,
        scope: &Scope,
    ) -> Result<()> {
        let walk = self.walk(iter, scope)?;
        let outer = self.round;
        let rounds = self.rounds(walk, iter)?;
        let mut assigned = Vec::new();
        if self.checking() {
            assigned_names(body, &mut assigned);
            // Names that the body itself binds, and those of the library, are not assigned here.
            let prelude = self.prelude.clone();
            assigned.retain(|name| scope.lookup_below(name, &prelude).is_some());
        }
        let before: Vec<Option<Value>> = assigned.iter().map(|name| scope.lookup(name)).collect();
        for (index, item) in rounds.enumerate() {
            let inner = scope.child();
            self.bind_pattern(pattern, as_input(item), iter.span, &inner)?;
            self.round = outer.wrapping_mul(1_000_003).wrapping_add(index as i64 + 1);
            let result = self.statements(body, &inner);
            self.round = outer;
            result?;
        }
        // One round was checked for all: what it leaves in a name is only known to be what any
        // number of rounds leaves there if it has the type that it had before.
        for (name, before) in assigned.iter().zip(before) {
            let after = scope.lookup(name);
            let value = match before.zip(after) {
                Some((before, after)) if same_type(&before, &after) => {
                    let unknown = crate::leaves(&after)
                        .into_iter()
                        .map(|leaf| forget(leaf.tensor));
                    crate::with_leaves(&after, &mut unknown.into_iter(), false)
                }
                _ => Value::Unknown,
            };
            scope.assign(name, value);
        }
        Ok(())
    }

    /// What the pattern is in each round; while checking, of one that stands for all.
    fn rounds(&mut self, walk: Walk, iter: &Expr) -> Result<Box<dyn Iterator<Item = Value>>> {
        let several =
            |items: Vec<Value>| -> Box<dyn Iterator<Item = Value>> { Box::new(items.into_iter()) };
        let rounds = match walk {
            Walk::Items(items) if self.checking() => several(items),
            // Each round is a statement of its own: what the head has made is in memory by then.
            Walk::Items(items) => several(self.materialize(&items, iter.span)?),
            Walk::Ints(from, to) => Box::new((from..to).map(Value::int)),
            Walk::Axis(value) if self.checking() => several(vec![peel_type(&value)]),
            Walk::Axis(value) => {
                let value = self.materialize_one(value, iter.span)?;
                several(split_rows(&value))
            }
            Walk::Sizes(..) => several(vec![Value::Tensor(Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Unknown,
            })]),
        };
        if !self.checking() {
            return Ok(rounds);
        }
        let first = rounds.take(1).map(forget);
        Ok(several(first.map(|item| self.counted(item)).collect()))
    }

    /// A number that a loop counts with, as a size: what is made of it twice has one size.
    fn counted(&mut self, item: Value) -> Value {
        match &item {
            Value::Tensor(tensor) if tensor.is_scalar() && tensor.ty.elem == Elem::I64 => {
                Value::size(self.later_size("_"))
            }
            _ => item,
        }
    }
}

/// Names that statements assign to.
fn assigned_names(stmts: &[Stmt], names: &mut Vec<Rc<str>>) {
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::Assign { target, .. } => {
                names.extend(target.names().into_iter().map(|name| name.name.clone()));
            }
            StmtKind::For { body, .. } => assigned_names(body, names),
            StmtKind::If {
                then, otherwise, ..
            } => {
                assigned_names(then, names);
                otherwise
                    .iter()
                    .for_each(|body| assigned_names(body, names));
            }
            StmtKind::Let { .. }
            | StmtKind::Fn(_)
            | StmtKind::Print(_)
            | StmtKind::Assert { .. }
            | StmtKind::Expr(_)
            | StmtKind::Error => {}
        }
    }
}

/// Whether two values have the same type, sizes included.
fn same_type(a: &Value, b: &Value) -> bool {
    let fields = |a: &[(Rc<str>, Value)], b: &[(Rc<str>, Value)]| {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|((m, x), (n, y))| m == n && same_type(x, y))
    };
    match (a, b) {
        (Value::Maybe(a), Value::Maybe(b)) => same_type(&a.value, &b.value),
        (Value::Tensor(a), Value::Tensor(b)) | (Value::Token(a), Value::Token(b)) => {
            a.ty.elem == b.ty.elem
                && a.ty.rank() == b.ty.rank()
                && a.ty
                    .shape
                    .iter()
                    .zip(&b.ty.shape)
                    .all(|(x, y)| x.size == y.size)
        }
        (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| same_type(x, y))
        }
        (Value::Record(a), Value::Record(b)) => fields(a, b),
        (Value::Model(a), Value::Model(b)) => {
            Rc::ptr_eq(&a.template, &b.template) && fields(&a.params, &b.params)
        }
        (Value::Str(_), Value::Str(_)) => true,
        _ => false,
    }
}

/// While checking, one round stands for all: nothing is known of a counter's value.
fn forget(value: Value) -> Value {
    match value {
        Value::Tensor(_) | Value::Token(_) | Value::Maybe(_) | Value::Tree(_) => {
            crate::leaves::map_tensors(&value, &mut |tensor| Tensor {
                ty: tensor.ty.clone(),
                repr: Repr::Unknown,
            })
        }
        other => other,
    }
}

/// A loop's counter is an input of what is compiled, so that rounds share it.
fn as_input(value: Value) -> Value {
    match value {
        Value::Tensor(_) | Value::Token(_) | Value::Maybe(_) | Value::Tree(_) => {
            concrete_leaves(&value)
        }
        other => other,
    }
}
