//! The audit of TIR's ops: each one is evaluated, differentiated forwards and backwards, batched
//! and compiled, and what came of it is the table `docs/ops.md`. `AEC_BLESS=1` rewrites the
//! table. An op without an example here does not compile.

use aec_codegen::{CodegenOptions, Executable, run_once};
use aec_ir::{Function, Mode, Op, Precision, Type, Value, interpret, parse};
use aec_kernels::{Options, plan};
use aec_runtime::{Data, Elem, Tensor};
use aec_syntax::Span;
use aec_transform::{Run, compile_time_passes};
use std::fmt::Write;
use std::path::Path;

/// Number of ops.
const OPS: usize = 29;

/// A number for each op: a new one has to be given one here, and an example in `ops.tir`.
fn number(op: &Op) -> usize {
    match op {
        Op::Constant(_) => 0,
        Op::Dense(_) => 1,
        Op::Iota { .. } => 2,
        Op::Unary(_) => 3,
        Op::Binary(_) => 4,
        Op::Compare(_) => 5,
        Op::Select => 6,
        Op::Convert => 7,
        Op::Contract(_) => 8,
        Op::Reduce { .. } => 9,
        Op::ArgReduce { .. } => 10,
        Op::Reshape => 11,
        Op::Slice { .. } => 12,
        Op::Pad { .. } => 13,
        Op::Concat { .. } => 14,
        Op::Reverse { .. } => 15,
        Op::Gather { .. } => 16,
        Op::ScatterAdd { .. } => 17,
        Op::CumSum { .. } => 18,
        Op::ArgSort => 19,
        Op::Draw { .. } => 20,
        Op::Matrix(_) => 21,
        Op::Map { .. } => 22,
        Op::Loop(_) => 23,
        Op::Derivative { .. } => 24,
        Op::Stop => 25,
        Op::Put { .. } => 26,
        Op::Slope { .. } => 27,
        Op::Levels { .. } => 28,
        // Inside of its map's example.
        Op::BatchMean => 22,
    }
}

fn input(ty: &Type, salt: usize) -> Tensor {
    let float = |i: usize| ((i * 7 + salt * 3) % 11) as f64 / 5.0 - 0.9;
    let count = ty.len();
    let data = match ty.elem {
        Elem::F32 => Data::F32((0..count).map(|i| float(i) as f32).collect()),
        Elem::F64 => Data::F64((0..count).map(float).collect()),
        Elem::I32 => Data::I32((0..count).map(|i| (i % 3) as i32).collect()),
        Elem::I64 => Data::I64((0..count).map(|i| (i % 3) as i64).collect()),
        Elem::Bool => Data::Bool((0..count).map(|i| (i % 2) as u8).collect()),
    };
    Tensor::new(ty.dims.to_vec(), data)
}

fn inputs(f: &Function) -> Vec<Tensor> {
    f.params
        .iter()
        .enumerate()
        .map(|(at, &v)| input(f.ty(v), at))
        .collect()
}

fn passes(f: &Function) -> Result<Function, String> {
    let mut run = Run::default();
    compile_time_passes(f.clone(), &mut run, &mut |_, _| {}).map_err(|error| error.code.to_string())
}

fn eval(f: &Function) -> Result<Vec<Tensor>, String> {
    interpret(f, &inputs(f), Precision::AsTyped).map_err(|error| error.to_string())
}

fn near(a: &[Tensor], b: &[Tensor]) -> bool {
    let close = |x: f64, y: f64| (x - y).abs() <= 1e-5 * (1.0 + y.abs()) || x == y;
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            let (a, b) = (a.to_f64_vec(), b.to_f64_vec());
            a.iter().zip(&b).all(|(&x, &y)| close(x, y))
        })
}

/// The derivative of a function by all its float params.
fn differentiated(body: &Function, mode: Mode) -> Option<Function> {
    let floats = |values: &[Value]| -> Vec<Type> {
        let types = values.iter().map(|&v| body.ty(v).clone());
        types.filter(|ty| ty.elem.is_float()).collect()
    };
    let (actives, results) = (floats(&body.params), floats(&body.results));
    if actives.is_empty() || results.is_empty() {
        return None;
    }
    let mut f = Function::new("derivative");
    let mut operands: Vec<Value> = Vec::new();
    for &param in &body.params {
        operands.push(f.param(body.ty(param).clone(), ""));
    }
    let (seeds, more) = match mode {
        Mode::Vjp => (&results, &actives),
        Mode::Jvp | Mode::Jacobian => (&actives, &results),
    };
    for ty in seeds {
        operands.push(f.param(ty.clone(), ""));
    }
    let own = body.results.iter().map(|&v| body.ty(v).clone());
    let types: Vec<Type> = own.chain(more.iter().cloned()).collect();
    let active = body
        .params
        .iter()
        .map(|&v| body.ty(v).elem.is_float())
        .collect();
    let op = Op::Derivative {
        mode,
        active,
        body: Box::new(body.clone()),
    };
    let inst = f.push(op, &operands, &types, Span::NONE);
    f.results = f.insts[inst].results[body.results.len()..].to_vec();
    Some(f)
}

/// What a derivative is: a rule, zero, none (ints have none), or an error's code.
fn derivative(body: &Function, mode: Mode) -> String {
    let Some(f) = differentiated(body, mode) else {
        return "no floats".into();
    };
    match passes(&f) {
        Err(code) => code,
        Ok(flat) => match eval(&flat) {
            Err(error) => panic!("{error}\n{flat}"),
            Ok(values) => {
                let zero = |t: &Tensor| t.to_f64_vec().iter().all(|&x| x == 0.0);
                match values.iter().all(zero) {
                    true => "zero".into(),
                    false => "rule".into(),
                }
            }
        },
    }
}

/// Mapped over a new axis: as one by one.
fn batched(body: &Function) -> String {
    if body.params.is_empty() {
        return "as it is".into();
    }
    let mut f = Function::new("batch");
    let wide = |ty: &Type| {
        let mut ty = ty.clone();
        ty.dims.insert(0, 2);
        ty
    };
    // The seed and the step of a draw are the same for all.
    let shared = |at: usize| body.name == "draw" && at < 2;
    let mut operands = Vec::new();
    for (at, &param) in body.params.iter().enumerate() {
        let ty = body.ty(param).clone();
        let ty = if shared(at) { ty } else { wide(&ty) };
        operands.push(f.param(ty, ""));
    }
    let types: Vec<Type> = body.results.iter().map(|&v| wide(body.ty(v))).collect();
    let op = Op::Map {
        size: 2,
        mapped: (0..operands.len()).map(|at| !shared(at)).collect(),
        is_batch: false,
        body: Box::new(body.clone()),
    };
    let inst = f.push(op, &operands, &types, Span::NONE);
    f.results = f.insts[inst].results.to_vec();
    // The interpreter takes no derivatives: one by one they are the expanded body.
    let mut alone = f.clone();
    if let (Some(inner), Ok(flat)) = (alone.insts[inst].op.body_mut(), passes(body)) {
        *inner = flat;
    }
    match (passes(&f), eval(&alone)) {
        (Err(code), _) => code,
        (Ok(flat), Ok(want)) => {
            let got = eval(&flat).unwrap_or_else(|error| panic!("{error}\n{flat}"));
            assert!(near(&got, &want), "{}: {got:?} is not {want:?}", body.name);
            "rule".into()
        }
        (Ok(_), Err(error)) => panic!("{error}\n{f}"),
    }
}

/// Compiled, as interpreted.
fn compiled(body: &Function) -> String {
    let flat = passes(body).unwrap_or_else(|code| panic!("{code}\n{body}"));
    let plan = plan(&flat, &Options::default()).unwrap_or_else(|error| panic!("{error:?}\n{flat}"));
    let steps = plan.steps.iter().map(|step| step.kind.name());
    let mut kinds: Vec<&str> = steps.collect();
    kinds.dedup();
    let kinds = kinds.join(", ");
    let exe = Executable::compile(plan, CodegenOptions::default()).unwrap();
    let given = inputs(body);
    let refs: Vec<&Tensor> = given.iter().collect();
    let got = run_once(&exe, &refs).unwrap_or_else(|error| panic!("{error}\n{flat}"));
    let want = eval(&flat).unwrap_or_else(|error| panic!("{error}\n{flat}"));
    assert!(near(&got, &want), "{}: {got:?} is not {want:?}", body.name);
    match kinds.is_empty() {
        true => "no step".into(),
        false => kinds,
    }
}

#[test]
fn every_op_has_its_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(folder.join("tests/ops.tir")).unwrap();
    let examples = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut seen = [false; OPS];
    let mut table = String::from(
        "# The ops of TIR\n\n\
         Every op of the tensor IR, evaluated, differentiated, batched and compiled by a test, which wrote this table\n\
         (`compiler/driver/tests/ops.rs`; the examples are in `ops.tir` beside it). *rule*: there is one, and it was checked;\n\
         *zero*: the derivative is zero; *no floats*: there is nothing to differentiate. An error's code stands where the\n\
         answer is a diagnostic.\n\n\
         | op | family | forward mode | reverse mode | batched | compiled as |\n|---|---|---|---|---|---|\n",
    );
    for f in &examples {
        let op = &f.insts[f.order[0]].op;
        seen[number(op)] = true;
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} |",
            f.name,
            format!("{:?}", op.category()).to_lowercase(),
            derivative(f, Mode::Jvp),
            derivative(f, Mode::Vjp),
            batched(f),
            compiled(f),
        );
    }
    assert!(
        seen.iter().all(|&seen| seen),
        "ops without example: {seen:?}"
    );
    let path = folder.join("../../docs/ops.md");
    if std::env::var_os("AEC_BLESS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        have, table,
        "docs/ops.md is not what the ops do; AEC_BLESS=1 rewrites it"
    );
}
