//! Reverse mode of linear loops: the rounds backwards. The state holds the cotangents of the
//! loop's state and, for each linear constant, the sum of what its uses give; what flows into
//! sequences is yielded. The one round of a block sums nothing and yields all.

use super::{Builder, reframe};
use crate::linearize::Linear;
use crate::rebuild::splat;
use crate::transpose::transpose;
use aec_ir::{Binary, Function, Inst, Loop, Op, Value};
use aec_syntax::Diagnostic;
use cranelift_entity::EntitySet;
use smallvec::SmallVec;

/// Appends the transposed loop. `cotangents` has one entry for each result of `inst`; the
/// result pairs linear operands with what flows out of them.
pub fn transpose_loop(
    f: &mut Function,
    linear: &Linear,
    inst: Inst,
    cotangents: &[Option<Value>],
) -> Result<Vec<(Value, Value)>, Diagnostic> {
    let data = f.insts[inst].clone();
    let Op::Loop(looped) = &data.op else {
        return Ok(Vec::new());
    };
    let span = data.span;
    if looped.exit {
        return Err(Diagnostic::error(
            "E0504",
            span,
            "a gradient would run backwards through a `while`",
        )
        .here("the number of its rounds is known only when it has run")
        .help("use `iterate` with a fixed number of rounds, or `stop(…)` what the loop gives"));
    }
    let body = &looped.body;
    let carried = looped.carried;
    let (first_slice, first_constant) = (looped.first_slice(), looped.first_constant());
    let is_linear = linear_params(linear, looped, &data.operands);
    let mut h = (**body).clone();
    let inner = linear_part(&h, &is_linear);

    let zeros = |f: &mut Function, like: Value| {
        let ty = f.ty(like).clone();
        f.number(0.0, ty, span)
    };
    let mut builder = Builder {
        reverse: !looped.reverse || looped.is_block(),
        ..Builder::like(looped, &data.operands)
    };
    let mut groups: [Vec<Value>; 3] = Default::default();
    let mut pairs = Vec::new();
    // The state: cotangents of the state, then sums of the constants'.
    for at in 0..carried {
        if is_linear[at + 1] {
            let result = body.results[at];
            let ct = h.param(body.ty(result).clone(), "");
            groups[0].push(ct);
            if inner.values.contains(result) {
                pairs.push((result, ct));
            }
            let last = match cotangents[at] {
                Some(ct) => ct,
                None => zeros(f, data.results[at]),
            };
            builder.state.push(last);
        }
    }
    let mut sums = Vec::new();
    for (at, &param) in body.params.iter().enumerate().skip(first_constant) {
        if is_linear[at] && !looped.is_block() {
            let sum = h.param(body.ty(param).clone(), "");
            groups[0].push(sum);
            sums.push(sum);
            let zero = zeros(f, data.operands[at - 1]);
            builder.state.push(zero);
        }
    }
    for (at, &ct) in cotangents.iter().enumerate().skip(carried) {
        let result = body.results[at];
        if let Some(stack) = ct
            && inner.values.contains(result)
        {
            let ct = h.param(body.ty(result).clone(), "");
            groups[1].push(ct);
            builder.slices.push(stack);
            pairs.push((result, ct));
        }
    }
    for (at, &param) in body.params.iter().enumerate().skip(first_slice) {
        if is_linear[at] {
            continue;
        }
        let (group, list) = match at < first_constant {
            true => (1, &mut builder.slices),
            false => (2, &mut builder.constants),
        };
        groups[group].push(param);
        list.push(data.operands[at - 1]);
    }

    let seeds: Vec<Value> = (1..body.params.len())
        .filter(|&at| is_linear[at])
        .map(|at| body.params[at])
        .collect();
    let gradients = transpose(&mut h, &inner, &pairs, &seeds)?;
    let mut results = Vec::new();
    let mut yielded = Vec::new();
    let mut flows = Vec::new();
    let mut sums = sums.into_iter();
    for (&param, gradient) in seeds.iter().zip(gradients) {
        let at = body.params.iter().position(|&p| p == param).unwrap_or(0);
        let gradient = gradient.unwrap_or_else(|| zeros(&mut h, param));
        let operand = data.operands[at - 1];
        if at < first_slice {
            flows.push((results.len(), operand));
            results.push(gradient);
        } else if at >= first_constant && !looped.is_block() {
            flows.push((results.len(), operand));
            let sum = match sums.next() {
                Some(sum) if splat(&h, gradient) == Some(0.0) => sum,
                Some(sum) => h.binary(Binary::Add, sum, gradient, span),
                None => gradient,
            };
            results.push(sum);
        } else {
            yielded.push((gradient, operand));
        }
    }
    for (gradient, operand) in yielded {
        flows.push((results.len(), operand));
        results.push(gradient);
    }
    let params: Vec<Value> = std::iter::once(h.params[0])
        .chain(groups.into_iter().flatten())
        .collect();
    let backwards = reframe(&h, &params, &results);
    let values = builder.finish(f, backwards, span);
    Ok(flows
        .into_iter()
        .filter(|&(_, operand)| linear.values.contains(operand))
        .map(|(at, operand)| {
            let dims: SmallVec<[usize; 4]> = SmallVec::from_slice(f.dims(operand));
            (operand, f.reshape(values[at], &dims, span))
        })
        .collect())
}

/// For each param of the body, whether it is linear: its operand is, or it is a value of the
/// state that comes to depend on such.
fn linear_params(linear: &Linear, looped: &Loop, operands: &[Value]) -> Vec<bool> {
    let body = &looped.body;
    let mut is_linear: Vec<bool> = std::iter::once(false)
        .chain(operands.iter().map(|&v| linear.values.contains(v)))
        .collect();
    loop {
        let inner = linear_part(body, &is_linear);
        let mut grown = false;
        for at in 0..looped.carried {
            let now = inner.values.contains(body.results[at]);
            grown |= now && !std::mem::replace(&mut is_linear[at + 1], true);
        }
        if !grown {
            return is_linear;
        }
    }
}

/// What depends on the marked params.
fn linear_part(body: &Function, is_linear: &[bool]) -> Linear {
    let mut linear = Linear::default();
    let mut values: EntitySet<Value> = EntitySet::new();
    for (&param, &marked) in body.params.iter().zip(is_linear) {
        if marked {
            values.insert(param);
        }
    }
    for &inst in &body.order {
        let data = &body.insts[inst];
        if data.operands.iter().any(|&v| values.contains(v)) {
            for &result in &data.results {
                values.insert(result);
            }
            linear.insts.push(inst);
        }
    }
    linear.values = values;
    linear
}
