//! Sums of values that are padded with zeros into each other's gaps, as gradients of the parts of a
//! split are: one after the other, nothing is to be added.

use aec_ir::{Binary, Function, Literal, Op, Value};

/// The axis and the parts of such a sum.
pub(super) fn as_concat(f: &Function, sum: [Value; 2]) -> Option<(usize, Vec<Value>)> {
    let (mut parts, mut axis) = (Vec::new(), None);
    for v in sum {
        padded_parts(f, v, &mut axis, &mut parts)?;
    }
    let axis = axis?;
    parts.sort_by_key(|&(low, _)| low);
    let mut end = 0;
    for &(low, part) in &parts {
        if low != end {
            return None;
        }
        end += f.dims(part)[axis];
    }
    let whole = end == f.dims(sum[0])[axis];
    whole.then(|| (axis, parts.into_iter().map(|(_, part)| part).collect()))
}

/// The parts of a sum that are padded with zeros along one axis, and where they begin.
fn padded_parts(
    f: &Function,
    v: Value,
    axis: &mut Option<usize>,
    parts: &mut Vec<(usize, Value)>,
) -> Option<()> {
    let data = &f.insts[f.def_inst(v)?];
    match &data.op {
        Op::Binary(Binary::Add) => {
            padded_parts(f, data.operands[0], axis, parts)?;
            padded_parts(f, data.operands[1], axis, parts)
        }
        Op::Pad {
            low,
            high,
            interior,
        } => {
            let zero = &f.insts[f.def_inst(data.operands[1])?].op;
            let is_zero = matches!(zero, Op::Constant(Literal::Float(x)) if *x == 0.0)
                || matches!(zero, Op::Constant(Literal::Int(0)));
            let mut padded = (0..low.len()).filter(|&i| low[i] != 0 || high[i] != 0);
            let at = padded.next()?;
            let same = *axis.get_or_insert(at) == at && padded.next().is_none();
            let plain = is_zero && interior.iter().all(|&i| i == 0);
            (same && plain).then(|| parts.push((low[at], data.operands[0])))
        }
        _ => None,
    }
}
