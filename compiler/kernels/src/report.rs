//! Plans and kernels as text, for `aec show` and for messages about broken kernels.

use crate::cost;
use crate::lir::{Affine, Bound, Kernel, LirBinary, LirUnary, Loop, Stmt, ValKind};
use crate::plan::{BufferRef, Place, Plan, Step, StepKind};
use aec_syntax::{SourceMap, Span};
use std::collections::HashMap;
use std::fmt::Write;

/// A kernel as text.
pub fn print_kernel(kernel: &Kernel) -> String {
    let mut out = String::new();
    let params: Vec<String> = kernel
        .buffers
        .iter()
        .map(|(id, buffer)| {
            format!(
                "{id}: {} {} {}",
                buffer.elem,
                match buffer.access {
                    crate::lir::Access::Read => "in",
                    crate::lir::Access::Write => "out",
                    crate::lir::Access::ReadWrite => "inout",
                },
                buffer.name
            )
        })
        .collect();
    let _ = writeln!(
        out,
        "kernel {}({}; {} args) {{",
        kernel.name,
        params.join(", "),
        kernel.arg_count
    );
    print_body(kernel, &kernel.body, 1, &mut out);
    out.push_str("}\n");
    out
}

fn bound(b: Bound) -> String {
    match b {
        Bound::Const(x) => x.to_string(),
        Bound::Arg(n) => format!("arg{n}"),
        Bound::Block { of, size } => format!("{size} {of}"),
        Bound::BlockEnd { of, size, limit } => format!("min({size} {of} + {size}, {limit})"),
    }
}

fn index_text(index: &Affine) -> String {
    let vars = index.vars.iter().map(|(v, c)| (v.to_string(), *c));
    let args = index.args.iter().map(|(a, c)| (format!("arg{a}"), *c));
    let mut out = String::new();
    for (name, c) in vars.chain(args) {
        if out.is_empty() {
            if c < 0 {
                out.push('-');
            }
        } else {
            out.push_str(if c < 0 { " - " } else { " + " });
        }
        if c.abs() != 1 {
            let _ = write!(out, "{}*", c.abs());
        }
        out.push_str(&name);
    }
    if out.is_empty() {
        return index.base.to_string();
    }
    if index.base != 0 {
        let sign = if index.base < 0 { '-' } else { '+' };
        let _ = write!(out, " {sign} {}", index.base.abs());
    }
    out
}

fn at_text(index: &Affine, at: crate::lir::Val, stride: i64) -> String {
    format!("{} + {stride}*{at}", index_text(index))
}

fn unary_name(op: LirUnary) -> &'static str {
    match op {
        LirUnary::Neg => "neg",
        LirUnary::Abs => "abs",
        LirUnary::Sqrt => "sqrt",
        LirUnary::Floor => "floor",
        LirUnary::Nearest => "nearest",
        LirUnary::Not => "not",
    }
}

fn binary_name(op: LirBinary) -> &'static str {
    match op {
        LirBinary::Add => "add",
        LirBinary::Sub => "sub",
        LirBinary::Mul => "mul",
        LirBinary::Div => "div",
        LirBinary::Min => "min",
        LirBinary::Max => "max",
        LirBinary::And => "and",
        LirBinary::Or => "or",
        LirBinary::Xor => "xor",
        LirBinary::Shl => "shl",
        LirBinary::ShrLogical => "shr",
        LirBinary::ShrArithmetic => "sar",
        LirBinary::FloorDiv => "floor_div",
        LirBinary::FloorMod => "floor_mod",
    }
}

fn value_text(kind: &ValKind) -> String {
    match kind {
        ValKind::Float(x) => format!("{x:?}"),
        ValKind::Int(x) => x.to_string(),
        ValKind::Bool(x) => x.to_string(),
        ValKind::Index(index) => format!("index {}", index_text(index)),
        ValKind::Load { buffer, index } => format!("{buffer}[{}]", index_text(index)),
        ValKind::LoadAt {
            buffer,
            index,
            at,
            stride,
        } => format!("{buffer}[{}]", at_text(index, *at, *stride)),
        ValKind::Unary(op, a) => format!("{} {a}", unary_name(*op)),
        ValKind::Binary(op, a, b) => format!("{} {a}, {b}", binary_name(*op)),
        ValKind::Fma(a, b, c) => format!("fma {a}, {b}, {c}"),
        ValKind::Compare(op, a, b) => format!("{} {a}, {b}", op.name()),
        ValKind::Select(c, a, b) => format!("select {c}, {a}, {b}"),
        ValKind::Convert(a) => format!("convert {a}"),
        ValKind::Bitcast(a) => format!("bitcast {a}"),
        ValKind::AccRead(acc) => format!("read {acc}"),
        ValKind::DrawKey(seed, site) => format!("draw_key {seed}, site {site:#x}"),
        ValKind::Draw {
            distribution,
            key,
            element,
            inner,
            example,
            step,
        } => format!(
            "draw {distribution:?} key {key} element {} inner {inner} example {example} step {step}",
            index_text(element)
        ),
    }
}

fn print_body(kernel: &Kernel, body: &[Stmt], depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    for stmt in body {
        match stmt {
            Stmt::Loop(inner) => {
                let lanes = if inner.lanes { "lanes" } else { "loop" };
                let (start, end) = (bound(inner.start), bound(inner.end));
                let _ = writeln!(out, "{pad}{lanes} {} in {start}..{end} {{", inner.var);
                print_body(kernel, &inner.body, depth + 1, out);
                let _ = writeln!(out, "{pad}}}");
            }
            Stmt::Let(val) => {
                let data = &kernel.values[*val];
                let text = value_text(&data.kind);
                let _ = writeln!(out, "{pad}{val} = {}.{text}", data.elem);
            }
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                let _ = writeln!(out, "{pad}{buffer}[{}] = {value}", index_text(index));
            }
            Stmt::StoreAt {
                buffer,
                index,
                at,
                stride,
                value,
            } => {
                let at = at_text(index, *at, *stride);
                let _ = writeln!(out, "{pad}{buffer}[{at}] = {value}");
            }
            Stmt::Init(acc) => {
                let data = kernel.accs[*acc];
                let _ = writeln!(out, "{pad}{acc} = {}.{:?}", data.elem, data.op);
            }
            Stmt::Accumulate(acc, value) => {
                let _ = writeln!(out, "{pad}{acc} <- {value}");
            }
            Stmt::Check {
                ok, code, detail, ..
            } => {
                let _ = writeln!(out, "{pad}check {ok} else {code} ({detail})");
            }
        }
    }
}

/// Floating-point operations of one run of a kernel, by its constant trip counts (a range or a
/// tile counts as `range` iterations of its loop).
fn kernel_flops(kernel: &Kernel, ranges: &[usize]) -> f64 {
    fn body(kernel: &Kernel, stmts: &[Stmt], ranges: &[usize]) -> f64 {
        stmts
            .iter()
            .map(|stmt| match stmt {
                Stmt::Loop(inner) => trips(inner, ranges) * body(kernel, &inner.body, ranges),
                Stmt::Let(val) => {
                    let data = &kernel.values[*val];
                    match data.kind {
                        ValKind::Fma(..) => 2.0,
                        ValKind::Unary(..) | ValKind::Binary(..) if data.elem.is_float() => 1.0,
                        _ => 0.0,
                    }
                }
                Stmt::Accumulate(..) => 1.0,
                Stmt::Store { .. } | Stmt::StoreAt { .. } | Stmt::Init(_) | Stmt::Check { .. } => {
                    0.0
                }
            })
            .sum()
    }
    fn trips(inner: &Loop, ranges: &[usize]) -> f64 {
        match (inner.start, inner.end) {
            (Bound::Const(a), Bound::Const(b)) => (b - a).max(0) as f64,
            (Bound::Arg(n), _) | (_, Bound::Arg(n)) => {
                ranges.get(n as usize / 2).copied().unwrap_or(1) as f64
            }
            // Together the blocks make the whole; the last one may be short.
            (_, Bound::BlockEnd { size, limit, .. }) => {
                limit as f64 / (limit as f64 / size as f64).ceil()
            }
            _ => 1.0,
        }
    }
    body(kernel, &kernel.body, ranges)
}

fn place_text(place: &Place) -> String {
    match place {
        Place::Input(n) => format!("input {n}"),
        Place::Output(n) => format!("output {n}"),
        Place::Arena(offset) => format!("arena {offset}"),
        Place::Constant(_) => "constant".to_string(),
        Place::Slot { of, stride } => format!("entry of {of}, {stride} bytes each"),
        Place::Status => "status".to_string(),
    }
}

fn size_text(bytes: usize) -> String {
    if bytes >= 1 << 20 {
        format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
    } else if bytes >= 1 << 10 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{bytes} B")
    }
}

fn source(sources: Option<&SourceMap>, span: Span) -> String {
    match sources {
        Some(map) if !span.is_none() => {
            let text: String = map
                .text(span)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            let text: String = text.chars().take(60).collect();
            format!("  ; {} {text}", map.locate(span))
        }
        _ => String::new(),
    }
}

fn matrix_text(batch: usize, m: &crate::plan::Matrix) -> String {
    let mut out = format!("{}[{}, {}]", m.buffer, m.rows, m.cols);
    if m.offset != 0 {
        let _ = write!(out, " from {}", m.offset);
    }
    if batch > 1 {
        let _ = write!(out, " each {}", m.batch);
    }
    out
}

/// What a step does, and its floating-point operations.
pub fn step_text(plan: &Plan, kind: &StepKind) -> (String, f64) {
    match kind {
        StepKind::Kernel {
            kernel,
            buffers,
            parallel,
        } => {
            let k = &plan.kernels[*kernel];
            let range = parallel.map_or(1, |(extent, _)| extent);
            let shared = match parallel {
                Some((extent, grain)) => format!(", {extent} in parts of {grain}"),
                None => String::new(),
            };
            let list: Vec<String> = buffers.iter().map(ToString::to_string).collect();
            (
                format!("{kernel} {} ({}){shared}", k.name, list.join(", ")),
                kernel_flops(k, &[range]),
            )
        }
        StepKind::Gemm(gemm) => {
            let batch = if gemm.batch > 1 {
                format!("{} x ", gemm.batch)
            } else {
                String::new()
            };
            let mut own = gemm.flops();
            let end = match &gemm.epilogue {
                None => format!("-> {}", gemm.c.buffer),
                Some((kernel, buffers)) => {
                    let k = &plan.kernels[*kernel];
                    own += kernel_flops(k, &[gemm.m, gemm.n]);
                    let list: Vec<String> = buffers.iter().map(ToString::to_string).collect();
                    format!("then {kernel} {} ({})", k.name, list.join(", "))
                }
            };
            let sums_text = |sums: [Option<BufferRef>; 2]| -> String {
                ["A's rows", "B's columns"]
                    .iter()
                    .zip(sums)
                    .filter_map(|(what, to)| Some(format!(", sums of {what} -> {}", to?)))
                    .collect()
            };
            let sums = sums_text(gemm.sums);
            let before = gemm.before.as_ref().map_or(String::new(), |before| {
                format!(
                    ", plus {}{} of {} and {}{},",
                    match before.factor {
                        1.0 => String::new(),
                        factor => format!("{factor} times "),
                    },
                    before.k,
                    matrix_text(1, &before.a),
                    matrix_text(1, &before.b),
                    sums_text(before.sums),
                )
            });
            (
                format!(
                    "product {batch}{} x {} x {}{} of {} and {}{before} {end}{sums}",
                    gemm.m,
                    gemm.n,
                    match gemm.limit {
                        Some((limit, each)) => format!("{each} {limit} of "),
                        None => String::new(),
                    },
                    gemm.k,
                    matrix_text(gemm.batch, &gemm.a),
                    matrix_text(gemm.batch, &gemm.b),
                ),
                own,
            )
        }
        StepKind::Pack(pack) => {
            let text = format!(
                "panels of {}, {} x {} -> {}",
                matrix_text(1, &pack.from),
                pack.k,
                pack.n,
                pack.to
            );
            (text, 0.0)
        }
        StepKind::Copy { from, to } => (format!("copy {from} -> {to}"), 0.0),
        StepKind::ArgSort {
            from,
            to,
            len,
            keep,
        } => {
            let first = match keep < len {
                true => format!(", the first {keep}"),
                false => String::new(),
            };
            (format!("argsort {from} -> {to}, rows of {len}{first}"), 0.0)
        }
        StepKind::Levels(call) => (
            format!(
                "levels of {}, {} and {} -> {}, rounds of {} nodes",
                call.trees[0], call.trees[1], call.trees[2], call.to, call.rows
            ),
            0.0,
        ),
        StepKind::Matrix(call) => (
            call.to_string(),
            call.op.flops(call.shape) * call.shape.batch as f64,
        ),
        StepKind::Settle => ("stop if a check failed".to_string(), 0.0),
        StepKind::Guard { buffer } => (format!("guard {buffer}"), 0.0),
        StepKind::Loop(looped) => (
            format!(
                "loop {}{} rounds{}{}, index {}",
                match looped.limit {
                    Some(limit) => format!("{limit} of "),
                    None => String::new(),
                },
                looped.count,
                if looped.reverse { " from the end" } else { "" },
                match looped.exit {
                    Some(exit) => format!(" until {exit}"),
                    None => String::new(),
                },
                looped.index
            ),
            0.0,
        ),
    }
}

/// What the steps of a plan add up to.
#[derive(Default)]
struct Tally {
    flops: f64,
    bytes: usize,
}

/// Steps as text, indented by `depth`; they run `rounds` times.
fn describe_steps(
    plan: &Plan,
    steps: &[Step],
    sources: Option<&SourceMap>,
    depth: usize,
    rounds: usize,
    tally: &mut Tally,
) -> String {
    let mut out = String::new();
    let pad = "  ".repeat(depth);
    for (at, step) in steps.iter().enumerate() {
        let touched: usize = step
            .kind
            .buffers()
            .into_iter()
            .map(|buffer| {
                let ty = &plan.buffers[buffer].ty;
                ty.len() * ty.elem.bytes()
            })
            .sum();
        let (text, own) = step_text(plan, &step.kind);
        tally.flops += own * rounds as f64;
        let _ = writeln!(out, "{at:4}  {pad}{text}{}", source(sources, step.span));
        if let StepKind::Loop(looped) = &step.kind {
            let _ = writeln!(out, "        {pad}{}", step.reason);
            let rounds = rounds * looped.count;
            out.push_str(&describe_steps(
                plan,
                &looped.steps,
                sources,
                depth + 1,
                rounds,
                tally,
            ));
            continue;
        }
        tally.bytes += touched * rounds;
        let _ = writeln!(
            out,
            "        {pad}{}; {:.3} Mflop, {}",
            step.reason,
            own / 1e6,
            size_text(touched)
        );
    }
    out
}

/// A plan as text: its steps with their reasons, its buffers and kernels, and what a run costs.
pub fn describe(plan: &Plan, sources: Option<&SourceMap>) -> String {
    let mut out = String::new();
    let mut lives: HashMap<BufferRef, (usize, usize)> = HashMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        for buffer in step.kind.buffers() {
            let life = lives.entry(buffer).or_insert((at, at));
            life.1 = at;
        }
    }
    let _ = writeln!(out, "plan {}: {} steps", plan.name, plan.steps.len());
    let mut tally = Tally::default();
    out.push_str(&describe_steps(
        plan,
        &plan.steps,
        sources,
        0,
        1,
        &mut tally,
    ));
    let _ = writeln!(out, "buffers:");
    for (id, buffer) in &plan.buffers {
        let life = lives
            .get(&id)
            .map_or("unused".to_string(), |(a, b)| format!("steps {a}..={b}"));
        let _ = writeln!(
            out,
            "  {id}: {} {}, {}, {life}",
            buffer.ty,
            size_text(buffer.ty.len() * buffer.ty.elem.bytes()),
            place_text(&buffer.place),
        );
    }
    for &(result, input) in &plan.aliases {
        let _ = writeln!(out, "  result {result} lives in input {input}");
    }
    // Rounds that are not run are counted.
    let limited = plan
        .steps
        .iter()
        .any(|step| matches!(&step.kind, StepKind::Loop(looped) if looped.limit.is_some()));
    let _ = writeln!(
        out,
        "arena {}; {}{:.3} Mflop and {} touched in each run",
        size_text(plan.arena_bytes),
        if limited { "at most " } else { "" },
        tally.flops / 1e6,
        size_text(tally.bytes)
    );
    out
}

/// The texts of all kernels of a plan.
pub fn print_kernels(plan: &Plan) -> String {
    let mut out = String::new();
    for (id, kernel) in &plan.kernels {
        // A range or a tile costs what it is long.
        if kernel.arg_count == 0 {
            let _ = writeln!(out, "{id}: estimated {:.0} cycles", cost::cost(kernel));
        } else {
            let _ = writeln!(out, "{id}:");
        }
        out.push_str(&print_kernel(kernel));
    }
    out
}
