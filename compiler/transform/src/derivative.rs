//! Derivative regions become ops: innermost first, each body flat, batched and simplified
//! before it is differentiated.

use crate::batch::{batch_function, batch_maps};
use crate::factorise::Goal;
use crate::guard::loops::guard_loops;
use crate::guard::selects::guard_selects;
use crate::linearize::{Linear, identity_basis, linearize, verify_linear};
use crate::loops::fission::fission;
use crate::loops::rows::write_rows;
use crate::loops::segments::{self, segment_loops};
use crate::pipeline::Run;
use crate::rebuild::{Results, rebuild, replace_body, splat, tidy};
use crate::simplify::{Products, simplify};
use crate::term::permute;
use crate::transpose::transpose;
use aec_ir::rewrite::{ValueMap, copy_inst};
use aec_ir::{Function, Mode, Op, Value, inline};
use aec_syntax::{Diagnostic, Span};
use cranelift_entity::EntitySet;

/// `f` without derivatives. Maps stay (their bodies are expanded too). What is `in_map` is
/// planned for one example, so that its products are not opened there: the sizes that decide
/// are those of the batch.
pub fn expand_derivatives(
    f: &Function,
    run: &mut Run,
    in_map: bool,
) -> Result<Function, Diagnostic> {
    rebuild(f, |out, data, operands| match &data.op {
        Op::Map { body, .. } => {
            let body = expand_derivatives(body, run, true)?;
            Ok(Some(replace_body(out, f, data, operands, body)))
        }
        Op::Loop(looped) => {
            let body = expand_derivatives(&looped.body, run, in_map)?;
            Ok(Some(replace_body(out, f, data, operands, body)))
        }
        Op::Derivative { mode, active, body } => {
            let body = expand_derivatives(body, run, in_map)?;
            let body = batch_maps(&guard_loops(&body))?;
            let body = write_rows(&simplify(&body, Products::Open));
            let goal = Goal {
                active,
                open: !in_map,
                squares: true,
            };
            let body = fission(&run.factorise(&body, goal))?;
            let body = simplify(&body, Products::Keep);
            let body = match mode {
                Mode::Vjp => segment_loops(&body, segments::LIMIT)?,
                Mode::Jvp | Mode::Jacobian => body,
            };
            let body = guard_selects(&body);
            let expanded = differentiate(&body, *mode, active, data.span)?;
            let expanded = simplify(&expanded, Products::Keep);
            Ok(Some(Results::from_vec(inline(out, &expanded, operands))))
        }
        _ => Ok(None),
    })
}

/// The function that a derivative region of a flat body stands for; its params are the
/// region's operands.
pub fn differentiate(
    body: &Function,
    mode: Mode,
    active: &[bool],
    span: Span,
) -> Result<Function, Diagnostic> {
    let mut f = body.clone();
    let inputs: Vec<Value> = body
        .params
        .iter()
        .zip(active)
        .filter(|&(_, &active)| active)
        .map(|(&param, _)| param)
        .collect();
    let outputs: Vec<Value> = body
        .results
        .iter()
        .copied()
        .filter(|&v| body.ty(v).elem.is_float())
        .collect();
    match mode {
        Mode::Jvp => {
            let mut linear = Linear::default();
            for &input in &inputs {
                let tangent = f.param(body.ty(input).clone(), "");
                if body.ty(input).elem.is_float() {
                    linear.seed(input, tangent);
                }
            }
            let linear = checked(&mut f, &outputs, linear, span)?;
            for &output in &outputs {
                let tangent = linear.tangent[output].expand();
                let value = or_zeros(&mut f, tangent, output, span);
                f.results.push(value);
            }
        }
        Mode::Vjp => {
            let cotangents: Vec<Value> = outputs
                .iter()
                .map(|&output| f.param(body.ty(output).clone(), ""))
                .collect();
            let mut linear = Linear::default();
            let seeds: Vec<Value> = inputs
                .iter()
                .map(|&input| seed_placeholder(&mut f, &mut linear, input, span))
                .collect();
            let linear = checked(&mut f, &outputs, linear, span)?;
            let pairs: Vec<(Value, Value)> = outputs
                .iter()
                .zip(&cotangents)
                .filter_map(|(&output, &ct)| Some((linear.tangent[output].expand()?, ct)))
                .collect();
            let gradients = transpose(&mut f, &linear, &pairs, &seeds)?;
            for (&input, gradient) in inputs.iter().zip(gradients) {
                let value = or_zeros(&mut f, gradient, input, span);
                f.results.push(value);
            }
        }
        Mode::Jacobian => {
            for &output in &outputs {
                for &input in &inputs {
                    let value = jacobian(&mut f, input, output, span)?;
                    f.results.push(value);
                }
            }
        }
    }
    Ok(tidy(f))
}

/// A value that stands for the tangent of `input` until the transposed program replaces it.
/// Integers have no tangent.
fn seed_placeholder(f: &mut Function, linear: &mut Linear, input: Value, span: Span) -> Value {
    let ty = f.ty(input).clone();
    let is_float = ty.elem.is_float();
    let value = f.number(0.0, ty, span);
    if is_float {
        linear.seed(input, value);
    }
    value
}

fn checked(
    f: &mut Function,
    outputs: &[Value],
    seeds: Linear,
    span: Span,
) -> Result<Linear, Diagnostic> {
    let linear = linearize(f, outputs, seeds)?;
    if cfg!(debug_assertions)
        && let Err(message) = verify_linear(f, &linear)
    {
        return Err(crate::pipeline::internal(span, &message));
    }
    Ok(linear)
}

fn or_zeros(f: &mut Function, value: Option<Value>, like: Value, span: Span) -> Value {
    value.unwrap_or_else(|| {
        let ty = f.ty(like).clone();
        f.number(0.0, ty, span)
    })
}

/// Appends the Jacobian of `output` by `input`: linearized once, and only the linear program
/// is batched over a basis, which is an identity that contractions absorb. Forward if the
/// input is not larger than the output.
fn jacobian(
    f: &mut Function,
    input: Value,
    output: Value,
    span: Span,
) -> Result<Value, Diagnostic> {
    let (input_rank, output_rank) = (f.dims(input).len(), f.dims(output).len());
    let mut dims = f.dims(output).to_vec();
    dims.extend_from_slice(f.dims(input));
    let ty = f.ty(output).with_dims(&dims);
    let mut linear = Linear::default();
    let seed = seed_placeholder(f, &mut linear, input, span);
    let linear = checked(f, &[output], linear, span)?;
    let Some(tangent) = linear.tangent[output].expand() else {
        return Ok(f.number(0.0, ty, span));
    };
    let forward = f.ty(input).len() <= f.ty(output).len();
    let (variable, result, axes) = if forward {
        let axes = f.dims(input).to_vec();
        (seed, Some(tangent), axes)
    } else {
        let axes = f.dims(output).to_vec();
        let ty = f.ty(output).clone();
        // A zero constant would be dropped as a cotangent; the stop makes it a variable.
        let zero = f.number(0.0, ty.clone(), span);
        let ct = f.push1(Op::Stop, &[zero], ty, span);
        let gradients = transpose(f, &linear, &[(tangent, ct)], &[seed])?;
        (ct, gradients[0], axes)
    };
    let Some(result) = result else {
        return Ok(f.number(0.0, ty, span));
    };
    let (mut program, residuals) = extract(f, variable, result);
    let mut mapped = vec![false; program.params.len()];
    mapped[0] = true;
    for &size in axes.iter().rev() {
        program = batch_function(&program, &mapped, size)?;
    }
    let like = if forward { input } else { output };
    let basis = identity_basis(f, like, span);
    let mut args = vec![basis];
    args.extend(residuals);
    let value = inline(f, &program, &args)[0];
    if forward {
        // The basis axes stand in front; the input's go last.
        let order: Vec<usize> = (input_rank..input_rank + output_rank)
            .chain(0..input_rank)
            .collect();
        return Ok(permute(f, value, &order, span));
    }
    Ok(value)
}

/// The part of `f` that computes `result` from `variable`, as a function of `variable` and of
/// the other values it needs (its residuals, which are given too).
fn extract(f: &Function, variable: Value, result: Value) -> (Function, Vec<Value>) {
    let mut depends: EntitySet<Value> = EntitySet::new();
    depends.insert(variable);
    let mut insts = Vec::new();
    for &inst in &f.order {
        let data = &f.insts[inst];
        if data.operands.iter().any(|&v| depends.contains(v)) {
            for &result in &data.results {
                depends.insert(result);
            }
            insts.push(inst);
        }
    }
    let mut program = Function::new("linear");
    let mut map = ValueMap::new();
    let param = program.param(f.ty(variable).clone(), "");
    map.insert(variable, param);
    let mut residuals = Vec::new();
    // Params first, so that those of instructions which turn out dead do no harm.
    for &inst in &insts {
        for &operand in &f.insts[inst].operands {
            if !depends.contains(operand) && map.get(operand).is_none() {
                let constant = f.def_inst(operand).filter(|_| splat(f, operand).is_some());
                match constant {
                    Some(constant) => {
                        copy_inst(&mut program, f, constant, &mut map);
                    }
                    None => {
                        let param = program.param(f.ty(operand).clone(), "");
                        map.insert(operand, param);
                        residuals.push(operand);
                    }
                }
            }
        }
    }
    for &inst in &insts {
        copy_inst(&mut program, f, inst, &mut map);
    }
    program.results.push(map.at(result));
    (tidy(program), residuals)
}
