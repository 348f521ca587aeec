//! Binary trees: `fold`, `unfold` and what reads them.
//!
//! A tree is a record of tables: `leaf`, the values of its leaves, from left to right; `left` and
//! `right`, the children of its inner nodes; `count`, the number of its leaves; and `label` if
//! each place has one. Leaves have the places 0.. of a table of places, inner nodes the places
//! after all leaves, children before their parents. A data set of trees has a leading axis on
//! every table; small trees are padded to the largest, and what is beyond `count` means nothing.
//!
//! A fold is a loop over the inner nodes with the table of all states as its state. Batching makes
//! one loop of it for trees of different shapes, which goes level by level
//! (`transform/src/loops/levels.rs`).

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::leaves::{leaves, map_tensors, with_leaves};
use crate::loops::{Rounds, with_axis, without_axis};
use crate::ops::as_tensor;
use crate::size::Size;
use crate::train::holds_unknown;
use crate::value::{Code, Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_ir::{Binary, Comparison, Function, Op, Type, Value as IrValue};
use aec_runtime::Elem;
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;

/// The tables of one tree.
struct Parts {
    leaf: Value,
    label: Option<Value>,
    left: Tensor,
    right: Tensor,
    count: Tensor,
    /// Room for leaves.
    leaves: Dim,
    /// Room for inner nodes.
    nodes: Dim,
    /// Room for both.
    places: Dim,
}

pub(crate) fn unknown(elem: Elem, shape: Vec<Dim>) -> Tensor {
    Tensor {
        ty: TensorType {
            elem,
            shape: shape.into(),
        },
        repr: Repr::Unknown,
    }
}

pub(crate) fn record(
    leaf: Value,
    label: Option<Value>,
    left: Tensor,
    right: Tensor,
    count: Tensor,
) -> Value {
    let mut fields: Vec<(Rc<str>, Value)> = vec![("leaf".into(), leaf)];
    fields.extend(label.map(|label| ("label".into(), label)));
    fields.push(("left".into(), Value::Tensor(left)));
    fields.push(("right".into(), Value::Tensor(right)));
    fields.push(("count".into(), Value::Tensor(count)));
    Value::Tree(Rc::new(Value::Record(Rc::new(fields))))
}

/// `leaves`, `leaves - 1` and `2 leaves - 1`.
fn rooms(leaves: &Size) -> [Dim; 3] {
    let nodes = leaves.minus(&Size::constant(1));
    let places = leaves.plus(&nodes);
    [Dim::of(leaves.clone()), Dim::of(nodes), Dim::of(places)]
}

/// A tree of which only the types are known, with room for `size` leaves.
pub(crate) fn abstract_tree(leaf: &Value, label: Option<&Value>, size: Size) -> Value {
    let [leaves, nodes, places] = rooms(&size);
    let many = |value: &Value, dim: &Dim| {
        map_tensors(value, &mut |tensor| Tensor {
            ty: with_axis(&tensor.ty, dim),
            repr: Repr::Unknown,
        })
    };
    record(
        many(leaf, &leaves),
        label.map(|label| many(label, &places)),
        unknown(Elem::I64, vec![nodes.clone()]),
        unknown(Elem::I64, vec![nodes]),
        unknown(Elem::I64, Vec::new()),
    )
}

/// The axes of a data set of trees.
pub(crate) fn frame(parts: &Value) -> Vec<Dim> {
    parts
        .field("count")
        .and_then(Value::tensor)
        .map(|count| count.ty.shape.to_vec())
        .unwrap_or_default()
}

/// What it is, for messages.
pub(crate) fn describe(tree: &Value) -> String {
    let Value::Tree(parts) = tree else {
        return "a tree".into();
    };
    let labelled = match parts.field("label") {
        Some(_) => " with labels",
        None => "",
    };
    match frame(parts).first() {
        Some(dim) => format!("{} trees{labelled}", dim.size),
        None => format!("a tree{labelled}"),
    }
}

fn parts_of(value: &Value, span: Span) -> Result<Parts> {
    let Value::Tree(parts) = value else {
        return wanted(span, "a tree", value);
    };
    let table = |name: &str| match parts.field(name) {
        Some(field) => as_tensor(field, span, "a table of a tree"),
        None => fail("E0310", span, "this tree lacks a table"),
    };
    let (left, right, count) = (table("left")?, table("right")?, table("count")?);
    let (Some(leaf), [nodes]) = (parts.field("leaf"), &left.ty.shape[..]) else {
        return fail(
            "E0310",
            span,
            format!("one tree is wanted here, but these are {}", describe(value)),
        );
    };
    let [leaves, nodes, places] = rooms(&nodes.size.plus(&Size::constant(1)));
    Ok(Parts {
        leaf: leaf.clone(),
        label: parts.field("label").cloned(),
        left,
        right,
        count,
        leaves,
        nodes,
        places,
    })
}

impl Parts {
    /// Whether all the room for leaves is used, as far as is known.
    fn is_full(&self) -> bool {
        let count = match &self.count.repr {
            Repr::Static(host) | Repr::Concrete(host) => Some(host.get_i64(0)),
            _ => None,
        };
        count.is_some() && count == self.leaves.size.as_constant()
    }
}

/// How many parameters a function has, if that is known.
fn arity(f: &Value) -> Option<usize> {
    match f {
        Value::Fn(closure) => match &closure.code {
            Code::Named(def, _) => Some(def.params.len()),
            Code::Lambda(lambda, _) => Some(lambda.params.len()),
            Code::Around(around) => Some(arity(&around.of)? + around.behind),
            Code::Native(_) => None,
        },
        _ => None,
    }
}

impl Elaborator {
    /// Entries `start..` of each table, as many as `dim` says; from the end if not from the
    /// start.
    fn part(&mut self, value: &Value, dim: &Dim, from_end: bool, span: Span) -> Result<Value> {
        self.each_leaf(value, |elaborator, tensor| {
            let ty = with_axis(&without_axis(&tensor.ty), dim);
            elaborator.build(&[tensor], ty, span, |f, v, ty, span| {
                let all = f.dims(v[0]).to_vec();
                let mut start = vec![0; all.len()];
                let mut limit = all.clone();
                if from_end {
                    start[0] = all[0] - ty.dims[0];
                } else {
                    limit[0] = ty.dims[0];
                }
                let stride = vec![1; all.len()];
                let op = Op::Slice {
                    start,
                    limit,
                    stride,
                };
                f.push1(op, v, ty, span)
            })
        })
    }

    /// The entry of each table at a place.
    fn entry(&mut self, value: &Value, place: &Tensor, span: Span) -> Result<Value> {
        self.each_leaf(value, |elaborator, tensor| {
            elaborator.gather(tensor, 0, place, span, span, span)
        })
    }

    fn each_leaf(
        &mut self,
        value: &Value,
        mut change: impl FnMut(&mut Elaborator, &Tensor) -> Result<Tensor>,
    ) -> Result<Value> {
        let mut new = Vec::new();
        for leaf in leaves(value) {
            if let Value::Tensor(tensor) = &leaf.tensor {
                new.push(Value::Tensor(change(self, tensor)?));
            }
        }
        Ok(with_leaves(value, &mut new.into_iter(), false))
    }

    /// The states of the leaves, with the axis of leaves in front.
    fn leaf_states(
        &mut self,
        parts: &Parts,
        leaf: &Value,
        more: Option<&Value>,
        widen: bool,
        span: Span,
    ) -> Result<Value> {
        let mut args = Vec::new();
        args.extend(more.map(|more| (more.clone(), true)));
        args.push((parts.leaf.clone(), true));
        if let (Some(labels), Some(n)) = (&parts.label, arity(leaf))
            && n > args.len()
        {
            args.push((self.part(labels, &parts.leaves, false, span)?, true));
        }
        let float = self.float();
        self.map_over(&parts.leaves, &args, false, span, |elaborator, values| {
            let state = elaborator.apply(leaf, values, span)?;
            let state = elaborator.stack(&state, span)?;
            elaborator.each_leaf(&state, |elaborator, tensor| {
                match widen && tensor.is_static_int() {
                    true => elaborator.convert(tensor, float, span),
                    false => Ok(tensor.clone()),
                }
            })
        })
    }

    /// Room for the states of inner nodes behind those of the leaves.
    fn with_room(&mut self, states: &Value, parts: &Parts, span: Span) -> Result<Value> {
        let places = parts.places.clone();
        self.each_leaf(states, |elaborator, tensor| {
            let ty = with_axis(&without_axis(&tensor.ty), &places);
            elaborator.build(&[tensor], ty, span, |f, v, ty, span| {
                let mut dims = ty.dims.to_vec();
                dims[0] -= f.dims(v[0])[0];
                if dims[0] == 0 {
                    return v[0];
                }
                let zeros = f.number(0.0, ty.with_dims(&dims), span);
                f.push1(Op::Concat { axis: 0 }, &[v[0], zeros], ty, span)
            })
        })
    }

    /// Each table with one entry replaced.
    fn replaced(
        &mut self,
        tables: &Value,
        entry: &Value,
        place: &Tensor,
        span: Span,
    ) -> Result<Value> {
        let entries: Vec<Value> = leaves(entry).into_iter().map(|leaf| leaf.tensor).collect();
        let mut at = 0;
        self.each_leaf(tables, |elaborator, table| {
            let entry = as_tensor(&entries[at], span, "a state")?;
            let entry = elaborator.convert(&entry, table.ty.elem, span)?;
            at += 1;
            let ty = table.ty.clone();
            elaborator.build(&[table, &entry, place], ty, span, |f, v, ty, span| {
                f.push1(Op::Put { batch: 0 }, &[v[0], v[2], v[1]], ty, span)
            })
        })
    }

    /// The place of the inner node of this round.
    fn node_place(&mut self, parts: &Parts, span: Span) -> Result<Tensor> {
        let leaves = parts.leaves.size.as_constant().unwrap_or(0);
        let scalar = TensorType::scalar(Elem::I64);
        self.build(&[], scalar, span, |f, _, _, span| {
            let round = f.params[0];
            add(f, round, leaves as f64, span)
        })
    }

    /// How many inner nodes there are.
    fn node_count(&mut self, parts: &Parts, span: Span) -> Result<Tensor> {
        let scalar = TensorType::scalar(Elem::I64);
        self.build(&[&parts.count], scalar, span, |f, v, _, span| {
            add(f, v[0], -1.0, span)
        })
    }

    /// The place of the root: the last inner node, or the only leaf.
    fn root(&mut self, parts: &Parts, span: Span) -> Result<Tensor> {
        let scalar = TensorType::scalar(Elem::I64);
        let operands = [&parts.count, &parts.left];
        self.build(&operands, scalar, span, |f, v, ty, span| {
            let room = f.dims(v[1])[0] as f64 + 1.0;
            let last = add(f, v[0], room - 2.0, span);
            let one = f.number(1.0, ty.clone(), span);
            let zero = f.number(0.0, ty, span);
            let alone = f.compare(Comparison::Le, v[0], one, span);
            f.select(alone, zero, last, span)
        })
    }

    /// Folds a tree; gives the tables of all states, and the state at the root.
    fn fold_tree(
        &mut self,
        parts: &Parts,
        leaf: &Value,
        node: (&Value, Span),
        widen: bool,
        span: Span,
    ) -> Result<(Value, Value)> {
        let states = self.leaf_states(parts, leaf, None, widen, span)?;
        let states = self.stack(&states, span)?;
        if matches!(states, Value::Unknown) {
            return Ok((Value::Unknown, Value::Unknown));
        }
        let table = self.with_room(&states, parts, span)?;
        let mut sequences = vec![
            Value::Tensor(parts.left.clone()),
            Value::Tensor(parts.right.clone()),
        ];
        let labelled = arity(node.0) == Some(3);
        if labelled {
            let Some(labels) = &parts.label else {
                return Err(Box::new(
                    Diagnostic::error(
                        "E0310",
                        node.1,
                        "this function wants a label at each node, but the tree has none",
                    )
                    .help("`fn l, r -> …` takes the two states alone"),
                ));
            };
            sequences.push(self.part(labels, &parts.nodes, true, span)?);
        }
        let rounds = Rounds {
            name: "fold",
            count: parts.nodes.clone(),
            state: (table, span),
            sequences,
            reverse: false,
            exit: false,
            nodes: Some(self.node_count(parts, span)?),
            span,
        };
        let ran = self.run_rounds(&rounds, &mut |elaborator, table, entries| {
            let [left, right, ..] = entries else {
                return Ok((Value::Unknown, Value::Unit));
            };
            let int = |value: &Value| as_tensor(value, span, "a place");
            let l = elaborator.entry(table, &int(left)?, span)?;
            let r = elaborator.entry(table, &int(right)?, span)?;
            let mut args = vec![l.clone(), r];
            args.extend(entries.get(2).cloned());
            let new = elaborator.apply(node.0, &args, span)?;
            let new = elaborator.stack(&new, span)?;
            if holds_unknown(&new) || holds_unknown(&l) {
                return Ok((Value::Unknown, Value::Unit));
            }
            elaborator.same_state(&rounds, &l, &new)?;
            let place = elaborator.node_place(parts, span)?;
            let table = elaborator.replaced(table, &new, &place, span)?;
            Ok((table, Value::Unit))
        })?;
        if matches!(ran.state, Value::Unknown) {
            return Ok((Value::Unknown, Value::Unknown));
        }
        let root = self.root(parts, span)?;
        let last = self.entry(&ran.state, &root, span)?;
        Ok((ran.state, last))
    }

    /// Folds, with whole numbers of the leaves' states as reals if that is what fits.
    fn fold_either(
        &mut self,
        parts: &Parts,
        leaf: &Value,
        node: (&Value, Span),
        span: Span,
    ) -> Result<(Value, Value)> {
        let snapshot = self.snapshot();
        self.fold_tree(parts, leaf, node, false, span)
            .or_else(|error| {
                self.restore(snapshot);
                self.fold_tree(parts, leaf, node, true, span)
                    .map_err(|_| error)
            })
    }
}

fn same_types(a: &Value, b: &Value) -> bool {
    let (a, b) = (leaves(a), leaves(b));
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| {
            let (Some(x), Some(y)) = (a.tensor.tensor(), b.tensor.tensor()) else {
                return false;
            };
            let same_shape = crate::value::may_agree(&x.ty.shape, &y.ty.shape);
            a.path == b.path && x.ty.elem == y.ty.elem && same_shape
        })
}

fn add(f: &mut Function, x: IrValue, number: f64, span: Span) -> IrValue {
    let ty = f.ty(x).clone();
    let number = f.number(number, ty, span);
    f.binary(Binary::Add, x, number, span)
}

/// `fold(t, leaf, node)`.
pub(crate) fn fold(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(t, at), (leaf, _), (node, node_span)] = args.positional.as_slice() else {
        return fail(
            "E0401",
            span,
            "`fold` wants a tree, `leaf = …` and `node = …`",
        );
    };
    if matches!(t, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let parts = parts_of(t, *at)?;
    Ok(elaborator
        .fold_either(&parts, leaf, (node, *node_span), span)?
        .1)
}

/// `fold_all(t, leaf, node)`.
pub(crate) fn fold_all(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(t, at), (leaf, _), (node, node_span)] = args.positional.as_slice() else {
        return fail(
            "E0401",
            span,
            "`fold_all` wants a tree, `leaf = …` and `node = …`",
        );
    };
    if matches!(t, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let parts = parts_of(t, *at)?;
    let (table, _) = elaborator.fold_either(&parts, leaf, (node, *node_span), span)?;
    let leaf = elaborator.part(&table, &parts.leaves, false, span)?;
    Ok(record(
        leaf,
        Some(table),
        parts.left,
        parts.right,
        parts.count,
    ))
}

/// `unfold(t, s0, node, leaf)`: `node` gives the states of the two children, `leaf` of the state
/// and the value at a leaf what is there afterwards.
pub(crate) fn unfold(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(t, at), (start, start_span), (node, node_span), (leaf, _)] = args.positional.as_slice()
    else {
        return fail(
            "E0401",
            span,
            "`unfold` wants a tree, a state for its root, `node = …` and `leaf = …`",
        );
    };
    if matches!(t, Value::Unknown) || matches!(start, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let parts = parts_of(t, *at)?;
    let start = elaborator.stack(start, *start_span)?;
    let places = parts.places.clone();
    let empty = elaborator.each_leaf(&start, |elaborator, tensor| {
        let ty = with_axis(&tensor.ty, &places);
        elaborator.build(&[], ty, span, |f, _, ty, span| f.number(0.0, ty, span))
    })?;
    let root = elaborator.root(&parts, span)?;
    let table = elaborator.replaced(&empty, &start, &root, span)?;
    let mut sequences = vec![
        Value::Tensor(parts.left.clone()),
        Value::Tensor(parts.right.clone()),
    ];
    if let (Some(labels), Some(2)) = (&parts.label, arity(node)) {
        sequences.push(elaborator.part(labels, &parts.nodes, true, span)?);
    }
    let rounds = Rounds {
        name: "unfold",
        count: parts.nodes.clone(),
        state: (table, *start_span),
        sequences,
        reverse: true,
        exit: false,
        nodes: Some(elaborator.node_count(&parts, span)?),
        span,
    };
    let ran = elaborator.run_rounds(&rounds, &mut |elaborator, table, entries| {
        let [left, right, ..] = entries else {
            return Ok((Value::Unknown, Value::Unit));
        };
        let place = elaborator.node_place(&parts, span)?;
        let state = elaborator.entry(table, &place, span)?;
        let mut args = vec![state.clone()];
        args.extend(entries.get(2).cloned());
        let children = match elaborator.apply(node, &args, span)? {
            Value::Tuple(children) if children.len() == 2 => children,
            Value::Unknown => return Ok((Value::Unknown, Value::Unit)),
            other => return wanted(*node_span, "a function that gives two states", &other),
        };
        let mut table = table.clone();
        for (child, state_of) in [(left, &children[0]), (right, &children[1])] {
            if !same_types(&state, state_of) {
                return Err(Box::new(
                    Diagnostic::error(
                        "E0317",
                        *node_span,
                        format!(
                            "the state of this `unfold` is {}, but a child's is {}",
                            state.describe(),
                            state_of.describe()
                        ),
                    )
                    .help("each child's state is of the type of its parent's"),
                ));
            }
            let child = as_tensor(child, span, "a place")?;
            table = elaborator.replaced(&table, state_of, &child, span)?;
        }
        Ok((table, Value::Unit))
    })?;
    if matches!(ran.state, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let states = elaborator.part(&ran.state, &parts.leaves, false, span)?;
    let given = elaborator.leaf_states(&parts, leaf, Some(&states), false, span)?;
    Ok(record(given, None, parts.left, parts.right, parts.count))
}

/// The values of `table` at the places that the tree has: a `?` if there may be others.
fn present(
    elaborator: &mut Elaborator,
    parts: &Parts,
    table: Value,
    dim: &Dim,
    less: f64,
    span: Span,
) -> Result<Value> {
    if parts.is_full() {
        return Ok(table);
    }
    let ty = TensorType {
        elem: Elem::Bool,
        shape: vec![dim.clone()].into(),
    };
    let there = elaborator.build(&[&parts.count], ty, span, |f, v, ty, span| {
        let ints = Type::new(Elem::I64, &ty.dims);
        let counter = f.push1(Op::Iota { axis: 0 }, &[], ints, span);
        let limit = add(f, v[0], -less, span);
        let limit = f.broadcast_leading(limit, &ty.dims, span);
        f.compare(Comparison::Lt, counter, limit, span)
    })?;
    elaborator.veil(&table, &there, span)
}

/// `leaves(t)`.
pub(crate) fn leaf_values(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (t, at) = &args.positional[0];
    if matches!(t, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let parts = parts_of(t, *at)?;
    let (leaf, dim) = (parts.leaf.clone(), parts.leaves.clone());
    present(elaborator, &parts, leaf, &dim, 0.0, span)
}

/// `nodes(t)`.
pub(crate) fn node_values(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let (t, at) = &args.positional[0];
    if matches!(t, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let parts = parts_of(t, *at)?;
    let Some(labels) = &parts.label else {
        return fail("E0310", *at, "this tree has nothing at its nodes");
    };
    let inner = elaborator.part(labels, &parts.nodes, true, span)?;
    let dim = parts.nodes.clone();
    present(elaborator, &parts, inner, &dim, 1.0, span)
}

/// `core.tree_parts(t)`: the tables as a record.
pub(crate) fn parts(_: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let (t, at) = &args.positional[0];
    match t {
        Value::Tree(parts) => Ok((**parts).clone()),
        Value::Unknown => Ok(Value::Unknown),
        other => wanted(*at, "a tree", other),
    }
}

/// `core.tree(leaf, left, right)`: children before parents, leaves first.
pub(crate) fn from_parts(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(leaf, leaf_span), (left, _), (right, _)] = args.positional.as_slice() else {
        return fail("E0401", span, "a tree has leaves and children");
    };
    if [leaf, left, right]
        .iter()
        .any(|value| matches!(value, Value::Unknown))
    {
        return Ok(Value::Unknown);
    }
    let places = |elaborator: &mut Elaborator, value: &Value| {
        let tensor = as_tensor(value, span, "the children of the nodes")?;
        elaborator.convert(&tensor, Elem::I64, span)
    };
    let (left, right) = (places(elaborator, left)?, places(elaborator, right)?);
    // A leaf may be of several tensors, each with the leaves in front.
    let tables = leaves(leaf);
    let first = tables.first().and_then(|leaf| leaf.tensor.tensor());
    let Some(size) = first.and_then(|tensor| tensor.ty.shape.first()) else {
        return wanted(*leaf_span, "the values of the leaves", leaf);
    };
    let count = match size.size.as_constant() {
        Some(count) => as_tensor(&Value::int(count), span, "an int")?,
        None => unknown(Elem::I64, Vec::new()),
    };
    Ok(record(leaf.clone(), None, left, right, count))
}

/// `core.label_tree(t, label)`: the same tree with one label at all its places.
pub(crate) fn labelled(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(t, at), (label, label_span)] = args.positional.as_slice() else {
        return fail("E0401", span, "a tree and its label are wanted");
    };
    if matches!(t, Value::Unknown) || matches!(label, Value::Unknown) {
        return Ok(Value::Unknown);
    }
    let parts = parts_of(t, *at)?;
    let label = as_tensor(label, *label_span, "the label of a tree")?;
    let label = elaborator.filled(&label, vec![parts.places], span)?;
    let (leaf, left, right) = (parts.leaf, parts.left, parts.right);
    Ok(record(
        leaf,
        Some(Value::Tensor(label)),
        left,
        right,
        parts.count,
    ))
}
