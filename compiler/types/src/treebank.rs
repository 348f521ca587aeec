//! Data sets of trees: read from brackets, or packed from a list of trees.
//!
//! In a data set every table of a tree (`trees.rs`) has room for the largest, so a small tree's
//! inner nodes move back to where the room for leaves ends.

use crate::call::Args;
use crate::error::{fail, wanted};
use crate::leaves::{leaves, map_tensors, with_leaves};
use crate::loops::with_axis;
use crate::ragged::{copy, padded};
use crate::trace::converted;
use crate::trees::{abstract_tree, record, unknown};
use crate::value::{Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::{Diagnostic, Span};
use std::rc::Rc;
use std::sync::Arc;

// ── packing ──────────────────────────────────────────────────────────────────────────────────

/// The tables of a list of trees, side by side; none if these are not trees whose leaves and
/// labels are alike, or if the script runs and the elements of one are not known yet.
pub(crate) fn packed(elaborator: &mut Elaborator, items: &[Value]) -> Option<Value> {
    let trees: Vec<&Value> = items
        .iter()
        .map(|item| match item {
            Value::Tree(parts) => Some(&**parts),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let first = *trees.first()?;
    let frame = Dim::known(trees.len());
    if elaborator.checking() {
        let size = elaborator.later_size("leaves");
        let example = |value: &Value| map_tensors(value, &mut without_first_axis);
        let label = first.field("label").map(example);
        let tree = abstract_tree(&example(first.field("leaf")?), label.as_ref(), size);
        let many = &mut |tensor: &Tensor| Tensor {
            ty: with_axis(&tensor.ty, &frame),
            repr: Repr::Unknown,
        };
        return Some(map_tensors(&tree, many));
    }
    let counts: Vec<usize> = trees
        .iter()
        .map(|tree| leaf_count(tree))
        .collect::<Option<_>>()?;
    let room = counts.iter().copied().max()?;
    // Each field's tensors in order, over all trees.
    let table = |name: &str, put: &dyn Fn(&HostTensor, usize) -> HostTensor| {
        let like = first.field(name)?;
        let mut whole = Vec::new();
        for (at, leaf) in leaves(like).iter().enumerate() {
            let elem = leaf.tensor.tensor()?.ty.elem;
            let parts: Option<Vec<Option<Arc<HostTensor>>>> = trees
                .iter()
                .zip(&counts)
                .map(|(tree, &count)| {
                    let leaves = leaves(tree.field(name)?);
                    let host = elements(leaves.get(at)?.tensor.tensor()?)?;
                    Some(Some(Arc::new(put(&converted(&host, elem), count))))
                })
                .collect();
            let parts = parts?;
            let mut dims = parts.first()?.as_ref()?.dims().to_vec();
            let others = dims.get(1..).map(<[usize]>::to_vec);
            if let Some(rows) = dims.first_mut() {
                *rows = parts.iter().flatten().map(|part| part.dims()[0]).max()?;
            }
            let alike = |part: &Arc<HostTensor>| part.dims().get(1..) == others.as_deref();
            if !parts.iter().flatten().all(alike) {
                return None;
            }
            let host = padded(&parts, &dims, elem);
            whole.push(Value::Tensor(concrete(host)));
        }
        Some(with_leaves(like, &mut whole.into_iter(), false))
    };
    let as_it_is = |host: &HostTensor, _: usize| host.clone();
    let children = |host: &HostTensor, count: usize| {
        let moved = (0..host.len()).map(|at| match host.get_i64(at) {
            leaf if leaf < count as i64 => leaf,
            node => node - count as i64 + room as i64,
        });
        HostTensor::i64(host.dims(), moved.collect())
    };
    let places = |host: &HostTensor, count: usize| {
        let mut dims = host.dims().to_vec();
        dims[0] = 2 * room - 1;
        let volume: usize = dims[1..].iter().product();
        let mut whole = HostTensor::zeros(host.elem(), &dims);
        let (leaves, nodes) = (count * volume, (count - 1) * volume);
        copy(host.data(), 0, whole.data_mut(), 0, leaves);
        copy(host.data(), leaves, whole.data_mut(), room * volume, nodes);
        whole
    };
    let label = match first.field("label") {
        Some(_) => Some(table("label", &places)?),
        None => None,
    };
    let table_of_ints = |name: &str| table(name, &children)?.tensor().cloned();
    let counts = counts.iter().map(|&count| count as i64).collect();
    Some(record(
        table("leaf", &as_it_is)?,
        label,
        table_of_ints("left")?,
        table_of_ints("right")?,
        concrete(HostTensor::i64(&[trees.len()], counts)),
    ))
}

/// The number of leaves of one tree without padding, if it is known.
fn leaf_count(tree: &Value) -> Option<usize> {
    let count = elements(tree.field("count")?.tensor()?)?;
    let left = tree.field("left")?.tensor()?.ty.dims()?;
    let count = usize::try_from(count.get_i64(0)).ok()?;
    (left == [count.checked_sub(1)?]).then_some(count)
}

fn elements(tensor: &Tensor) -> Option<Arc<HostTensor>> {
    match &tensor.repr {
        Repr::Static(host) | Repr::Concrete(host) => Some(host.clone()),
        _ => None,
    }
}

fn concrete(host: HostTensor) -> Tensor {
    Tensor {
        ty: TensorType {
            elem: host.elem(),
            shape: host.dims().iter().map(|&size| Dim::known(size)).collect(),
        },
        repr: Repr::Concrete(Arc::new(host)),
    }
}

fn without_first_axis(tensor: &Tensor) -> Tensor {
    let mut ty = tensor.ty.clone();
    ty.shape = ty.shape.iter().skip(1).cloned().collect();
    Tensor {
        ty,
        repr: Repr::Unknown,
    }
}

// ── brackets ─────────────────────────────────────────────────────────────────────────────────

/// A tree as it is read.
#[derive(Default)]
struct Read {
    words: Vec<String>,
    leaf_labels: Vec<i64>,
    /// Children: below 0 a leaf (`-1 - index`), else an inner node.
    nodes: Vec<(i64, i64, i64)>,
}

impl Read {
    fn value(&self, labelled: bool, place: impl Fn(&str) -> Result<i64>) -> Result<Value> {
        let words: Result<Vec<i64>> = self.words.iter().map(|word| place(word)).collect();
        let count = self.words.len() as i64;
        let child = |child: i64| match child < 0 {
            true => -1 - child,
            false => count + child,
        };
        let ints = |values: Vec<i64>| concrete(HostTensor::i64(&[values.len()], values));
        let labels = self.leaf_labels.iter().copied();
        let labels = labels.chain(self.nodes.iter().map(|&(_, _, label)| label));
        Ok(record(
            Value::Token(ints(words?)),
            labelled.then(|| Value::Tensor(ints(labels.collect()))),
            ints(self.nodes.iter().map(|&(l, _, _)| child(l)).collect()),
            ints(self.nodes.iter().map(|&(_, r, _)| child(r)).collect()),
            concrete(HostTensor::i64(&[], vec![count])),
        ))
    }
}

/// `core.parse_trees(lines, v)`: one tree, or a data set of them.
pub(crate) fn parse(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    let [(text, at), (vocab, vocab_span)] = args.positional.as_slice() else {
        return fail(
            "E0401",
            span,
            "trees are read from lines, with a vocabulary",
        );
    };
    if elaborator.checking() || matches!(text, Value::Unknown) {
        let many = !matches!(text, Value::Str(_));
        let size = elaborator.later_size("leaves");
        let word = Value::Token(unknown(Elem::I64, Vec::new()));
        let label = Value::Tensor(unknown(Elem::I64, Vec::new()));
        let tree = abstract_tree(&word, Some(&label), size);
        if !many {
            return Ok(tree);
        }
        let written = |line: &Value| matches!(line, Value::Str(line) if !line.trim().is_empty());
        let trees = match text {
            Value::List(lines) if lines.iter().all(written) => Dim::known(lines.len()),
            _ => Dim::of(elaborator.later_size("trees")),
        };
        return Ok(map_tensors(&tree, &mut |tensor| Tensor {
            ty: with_axis(&tensor.ty, &trees),
            repr: Repr::Unknown,
        }));
    }
    let Value::Vocab(vocab) = vocab else {
        return wanted(*vocab_span, "a vocabulary", vocab);
    };
    let lines: Vec<Rc<str>> = match text {
        Value::Str(line) => vec![line.clone()],
        Value::List(items) => items
            .iter()
            .filter_map(|item| match item {
                Value::Str(line) if line.trim().is_empty() => None,
                Value::Str(line) => Some(Ok(line.clone())),
                other => Some(wanted(*at, "a text", other)),
            })
            .collect::<Result<_>>()?,
        other => return wanted(*at, "a text, or a list of texts", other),
    };
    let mut read = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        match read_tree(line) {
            Ok(tree) => read.push(tree),
            Err(message) => {
                let shown: String = line.chars().take(60).collect();
                return Err(Box::new(
                    Diagnostic::error("E0332", *at, format!("this is no tree: {message}"))
                        .note(format!("tree {}: `{shown}`", number + 1))
                        .help("`((the cat) sat)`, or `(2 (1 the) (3 cat))` with labels"),
                ));
            }
        }
    }
    // Labels if all trees have them.
    let labelled = read.iter().all(|tree| !tree.leaf_labels.is_empty());
    let trees: Result<Vec<Value>> = read
        .iter()
        .map(|tree| tree.value(labelled, |word| vocab.place(word, *vocab_span)))
        .collect();
    let trees = trees?;
    match (text, trees.as_slice()) {
        (Value::Str(_), [tree]) => Ok(tree.clone()),
        (_, []) => fail("E0332", *at, "there is no tree in this text"),
        _ => match packed(elaborator, &trees) {
            Some(packed) => Ok(packed),
            None => fail("E0332", *at, "these trees are not alike"),
        },
    }
}

/// `core.tree_words(text)`: the words of trees, with blanks between; of a text or of a list of its lines.
pub(crate) fn words(elaborator: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    let (text, at) = &args.positional[0];
    if elaborator.checking() || matches!(text, Value::Unknown) {
        return Ok(Value::str(""));
    }
    let texts = match text {
        Value::List(texts) => texts.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut words = Vec::new();
    for text in texts {
        let Value::Str(text) = text else {
            return wanted(*at, "a text, or a list of texts", text);
        };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Ok(tree) = read_tree(line) {
                words.extend(tree.words);
            }
        }
    }
    Ok(Value::str(&words.join(" ")))
}

/// One tree in brackets: `((the cat) sat)`, or `(2 (1 the) (3 cat))` with a label first. Nodes
/// with more than two children lean to the left.
fn read_tree(text: &str) -> std::result::Result<Read, String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    // Labels, if every bracket begins with a number.
    let labelled = tokens
        .iter()
        .zip(tokens.iter().skip(1))
        .filter(|(open, _)| **open == "(")
        .all(|(_, next)| next.parse::<i64>().is_ok())
        && tokens.contains(&"(");
    let mut tree = Read::default();
    // Of each open bracket its label, the children that it has, and its words.
    let mut open: Vec<(i64, Vec<i64>)> = Vec::new();
    let mut root = None;
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        at += 1;
        if root.is_some() {
            return Err("something follows the closing bracket".into());
        }
        let done = match token {
            "(" => {
                let mut label = 0;
                if labelled {
                    label = tokens.get(at).and_then(|t| t.parse().ok()).unwrap_or(0);
                    at += 1;
                }
                open.push((label, Vec::new()));
                continue;
            }
            ")" => {
                let Some((label, children)) = open.pop() else {
                    return Err("a bracket closes that was not opened".into());
                };
                let Some((&first, rest)) = children.split_first() else {
                    return Err("a bracket is empty".into());
                };
                if rest.is_empty() && labelled && first < 0 {
                    tree.leaf_labels[(-1 - first) as usize] = label;
                }
                rest.iter().fold(first, |left, &right| {
                    tree.nodes.push((left, right, label));
                    tree.nodes.len() as i64 - 1
                })
            }
            word => {
                tree.words.push(word.to_string());
                if labelled {
                    tree.leaf_labels.push(0);
                }
                -(tree.words.len() as i64)
            }
        };
        match open.last_mut() {
            Some((_, children)) => children.push(done),
            None => root = Some(done),
        }
    }
    if !open.is_empty() {
        return Err("a bracket is not closed".into());
    }
    match root {
        Some(_) => Ok(tree),
        None => Err("there are no words".into()),
    }
}
