//! Plans by hand: every kind of step, aliases, guards, checks, sizes of 0, threads.

use aec_codegen::{CodegenOptions, Executable, Instance, RunError, run_once};
use aec_ir::{BadIndex, Fault, Type};
use aec_kernels::lir::{
    AccData, AccOp, Access, Affine, Bound, Buffer, Comparison, Kernel, LirBinary, Loop, Stmt, Val,
    ValData, ValKind, VarData,
};
use aec_kernels::plan::{
    BufferRef, CheckInfo, Condition, Gemm, KernelRef, Matrix, Place, Plan, PlanBuffer, Step,
    StepKind,
};
use aec_runtime::gemm::{Isa, Walk};
use aec_runtime::pool::Pool;
use aec_runtime::{Data, Elem, Tensor};
use aec_syntax::Span;
use aec_syntax::span::FileId;
use std::sync::Arc;

fn span(at: usize) -> Span {
    Span::new(FileId(0), at, at + 1)
}

fn buffer(plan: &mut Plan, elem: Elem, dims: &[usize], place: Place) -> BufferRef {
    plan.buffers.push(PlanBuffer {
        ty: Type::new(elem, dims),
        place,
    })
}

fn input(plan: &mut Plan, elem: Elem, dims: &[usize]) -> BufferRef {
    let place = Place::Input(plan.inputs.len() as u32);
    plan.inputs.push(Type::new(elem, dims));
    buffer(plan, elem, dims, place)
}

fn output(plan: &mut Plan, elem: Elem, dims: &[usize]) -> BufferRef {
    let place = Place::Output(plan.outputs.len() as u32);
    plan.outputs.push(Type::new(elem, dims));
    buffer(plan, elem, dims, place)
}

fn step(plan: &mut Plan, kind: StepKind) {
    let at = plan.steps.len();
    plan.steps.push(Step {
        kind,
        span: span(at),
        reason: String::new(),
    });
}

fn compile(plan: Plan) -> Arc<Executable> {
    Executable::compile(plan, CodegenOptions::default()).unwrap()
}

fn value(kernel: &mut Kernel, body: &mut Vec<Stmt>, kind: ValKind, elem: Elem) -> Val {
    let val = kernel.values.push(ValData { kind, elem });
    body.push(Stmt::Let(val));
    val
}

/// `out[i] = x[i] * x[i] + 1` over the range of args.
fn square_kernel() -> Kernel {
    let mut k = Kernel {
        name: "square".to_owned(),
        arg_count: 2,
        ..Kernel::default()
    };
    let [x, out] = [Access::Read, Access::Write].map(|access| {
        k.buffers.push(Buffer {
            elem: Elem::F32,
            access,
            name: String::new(),
        })
    });
    let var = k.vars.push(VarData);
    let index = Affine {
        vars: vec![(var, 1)],
        ..Affine::default()
    };
    let mut body = Vec::new();
    let load = ValKind::Load {
        buffer: x,
        index: index.clone(),
    };
    let x = value(&mut k, &mut body, load, Elem::F32);
    let one = value(&mut k, &mut body, ValKind::Float(1.0), Elem::F32);
    let y = value(&mut k, &mut body, ValKind::Fma(x, x, one), Elem::F32);
    body.push(Stmt::Store {
        buffer: out,
        index,
        value: y,
    });
    k.body.push(Stmt::Loop(Loop {
        var,
        start: Bound::Arg(0),
        end: Bound::Arg(1),
        lanes: true,
        body,
    }));
    k
}

/// A sum of everything, no args.
fn sum_kernel(count: i64) -> Kernel {
    let mut k = Kernel {
        name: "sum".to_owned(),
        ..Kernel::default()
    };
    let [x, out] = [Access::Read, Access::Write].map(|access| {
        k.buffers.push(Buffer {
            elem: Elem::F32,
            access,
            name: String::new(),
        })
    });
    let var = k.vars.push(VarData);
    let acc = k.accs.push(AccData {
        elem: Elem::F32,
        op: AccOp::Sum,
    });
    let mut body = Vec::new();
    let load = ValKind::Load {
        buffer: x,
        index: Affine {
            vars: vec![(var, 1)],
            ..Affine::default()
        },
    };
    let x = value(&mut k, &mut body, load, Elem::F32);
    body.push(Stmt::Accumulate(acc, x));
    let mut all = vec![
        Stmt::Init(acc),
        Stmt::Loop(Loop {
            var,
            start: Bound::Const(0),
            end: Bound::Const(count),
            lanes: true,
            body,
        }),
    ];
    let sum = value(&mut k, &mut all, ValKind::AccRead(acc), Elem::F32);
    all.push(Stmt::Store {
        buffer: out,
        index: Affine::default(),
        value: sum,
    });
    k.body = all;
    k
}

#[test]
fn a_kernel_is_shared_out_with_the_same_bits() {
    for count in [0, 1, 15, 16, 100_003] {
        let mut plan = Plan::default();
        let x = input(&mut plan, Elem::F32, &[count]);
        let y = output(&mut plan, Elem::F32, &[count]);
        let kernel = plan.kernels.push(square_kernel());
        let shared = StepKind::Kernel {
            kernel,
            buffers: vec![x, y],
            parallel: Some((count, 64)),
        };
        step(&mut plan, shared);
        let exe = compile(plan);
        let data: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
        let want: Vec<f32> = data.iter().map(|x| x.mul_add(*x, 1.0)).collect();
        for threads in [1, 2, 3] {
            let pool = Arc::new(Pool::new(threads));
            let mut instance = Instance::new(Arc::clone(&exe), pool, Isa::best());
            instance.bind_input(0, Arc::new(Tensor::f32(&[count], data.clone())));
            for _ in 0..3 {
                instance.run().unwrap();
                assert_eq!(instance.output(0), Tensor::f32(&[count], want.clone()));
            }
            instance.set_input(0, &Tensor::f32(&[count], vec![2.0; count]));
            instance.run().unwrap();
            assert_eq!(instance.output(0), Tensor::f32(&[count], vec![5.0; count]));
        }
    }
}

/// `loss = sum(x); guard loss; p = p * p + 1`, p being updated in place.
fn update_plan(count: usize) -> Plan {
    let mut plan = Plan::default();
    let x = input(&mut plan, Elem::F32, &[count]);
    let p = input(&mut plan, Elem::F32, &[3]);
    let loss = output(&mut plan, Elem::F32, &[]);
    plan.outputs.push(Type::new(Elem::F32, &[3]));
    plan.aliases.push((1, 1));
    let sum = plan.kernels.push(sum_kernel(count as i64));
    let square = plan.kernels.push(square_kernel());
    let kind = StepKind::Kernel {
        kernel: sum,
        buffers: vec![x, loss],
        parallel: None,
    };
    step(&mut plan, kind);
    step(&mut plan, StepKind::Guard { buffer: loss });
    let kind = StepKind::Kernel {
        kernel: square,
        buffers: vec![p, p],
        parallel: Some((3, 1)),
    };
    step(&mut plan, kind);
    plan
}

#[test]
fn aliased_results_live_in_the_input() {
    let exe = compile(update_plan(5));
    let mut instance = Instance::new(Arc::clone(&exe), Arc::new(Pool::new(2)), Isa::best());
    instance.set_input(0, &Tensor::f32(&[5], vec![1.0; 5]));
    instance.set_input(1, &Tensor::f32(&[3], vec![0.0, 1.0, 2.0]));
    instance.run().unwrap();
    assert_eq!(instance.output_scalar(0), 5.0);
    assert_eq!(instance.output(1), Tensor::f32(&[3], vec![1.0, 2.0, 5.0]));
    instance.run().unwrap();
    assert_eq!(instance.output(1), Tensor::f32(&[3], vec![2.0, 5.0, 26.0]));
    assert_eq!(instance.input(1), instance.output(1));
}

/// What lies behind the inputs that are wanted goes back to the system first, if it is much.
#[test]
fn inputs_outlive_the_memory_behind_them() {
    let (few, many) = (5_000, 3 << 20);
    let mut plan = Plan::default();
    input(&mut plan, Elem::F32, &[few]);
    input(&mut plan, Elem::F32, &[few]);
    let long = input(&mut plan, Elem::F32, &[many]);
    let loss = output(&mut plan, Elem::F32, &[]);
    let sum = plan.kernels.push(sum_kernel(many as i64));
    let kind = StepKind::Kernel {
        kernel: sum,
        buffers: vec![long, loss],
        parallel: None,
    };
    step(&mut plan, kind);
    let exe = compile(plan);
    let numbers = Tensor::f32(&[few], (1..=few).map(|at| at as f32).collect());
    let nothing = Tensor::zeros(Elem::F32, &[few]);
    for (count, want) in [(1, vec![&numbers]), (2, vec![&numbers, &nothing])] {
        let pool = Arc::new(Pool::new(1));
        let mut instance = Instance::new(Arc::clone(&exe), pool, Isa::best());
        instance.set_first_input(0, &numbers);
        instance.set_first_input(1, &nothing);
        instance.set_first_input(2, &Tensor::f32(&[many], vec![1.0; many]));
        instance.run().unwrap();
        assert_eq!(instance.output_scalar(0), many as f64);
        let kept = instance.into_inputs(count);
        assert_eq!(kept.iter().collect::<Vec<_>>(), want);
    }
}

#[test]
fn a_guard_stops_before_the_update() {
    let exe = compile(update_plan(40));
    let mut instance = Instance::new(exe, Arc::new(Pool::new(1)), Isa::best());
    let start = Tensor::f32(&[3], vec![0.0, 1.0, 2.0]);
    instance.set_input(1, &start);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = vec![1.0; 40];
        x[37] = bad;
        instance.set_input(0, &Tensor::f32(&[40], x));
        match instance.run() {
            Err(RunError::NotFinite { span: at, value }) => {
                assert_eq!(at, span(1));
                assert!(!value.is_finite());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(instance.input(1), start);
    }
    instance.set_input(0, &Tensor::f32(&[40], vec![1.0; 40]));
    assert_eq!(instance.run(), Ok(()));
}

/// `out[r, c] = tile[r, c] * 2 + bias[c]`.
fn epilogue_kernel(n: usize) -> Kernel {
    let mut k = Kernel {
        name: "bias".to_owned(),
        arg_count: 6,
        ..Kernel::default()
    };
    let [tile, bias, out] = [Access::Read, Access::Read, Access::Write].map(|access| {
        k.buffers.push(Buffer {
            elem: Elem::F32,
            access,
            name: String::new(),
        })
    });
    let [row, col] = [(), ()].map(|()| k.vars.push(VarData));
    let mut body = Vec::new();
    let load = ValKind::Load {
        buffer: tile,
        index: Affine {
            base: 0,
            vars: vec![(row, 32), (col, 1)],
            args: Vec::new(),
        },
    };
    let x = value(&mut k, &mut body, load, Elem::F32);
    let two = value(&mut k, &mut body, ValKind::Float(2.0), Elem::F32);
    let load = ValKind::Load {
        buffer: bias,
        index: Affine {
            base: 0,
            vars: vec![(col, 1)],
            args: vec![(2, 1)],
        },
    };
    let b = value(&mut k, &mut body, load, Elem::F32);
    let y = value(&mut k, &mut body, ValKind::Fma(x, two, b), Elem::F32);
    body.push(Stmt::Store {
        buffer: out,
        index: Affine {
            base: 0,
            vars: vec![(row, n as i64), (col, 1)],
            args: vec![(0, n as i64), (2, 1)],
        },
        value: y,
    });
    let inner = Stmt::Loop(Loop {
        var: col,
        start: Bound::Const(0),
        end: Bound::Arg(5),
        lanes: true,
        body,
    });
    k.body.push(Stmt::Loop(Loop {
        var: row,
        start: Bound::Const(0),
        end: Bound::Arg(4),
        lanes: false,
        body: vec![inner],
    }));
    k
}

fn whole(buffer: BufferRef, cols: usize, batch_stride: usize) -> Matrix {
    Matrix {
        buffer,
        offset: 0,
        rows: Walk::step(cols),
        cols: Walk::step(1),
        batch: Walk::step(batch_stride),
    }
}

fn product_plan(batch: usize, [m, n, k]: [usize; 3], epilogue: Option<bool>) -> Plan {
    let mut plan = Plan::default();
    let a = input(&mut plan, Elem::F32, &[batch, m, k]);
    let b = input(&mut plan, Elem::F32, &[k, n]);
    let bias = input(&mut plan, Elem::F32, &[n]);
    let c = output(&mut plan, Elem::F32, &[batch, m, n]);
    let epilogue = epilogue.map(|lists_tile| -> (KernelRef, Vec<BufferRef>) {
        let kernel = plan.kernels.push(epilogue_kernel(n));
        let buffers = if lists_tile {
            vec![c, bias, c]
        } else {
            vec![bias, c]
        };
        (kernel, buffers)
    });
    let gemm = Gemm {
        batch,
        m,
        n,
        k,
        a: whole(a, k, m * k),
        b: whole(b, n, 0),
        c: whole(c, n, m * n),
        accumulate: false,
        limit: None,
        epilogue,
        whole_rows: false,
        sums: [None; 2],
        before: None,
    };
    step(&mut plan, StepKind::Gemm(Box::new(gemm)));
    plan
}

fn integers(dims: &[usize], seed: usize) -> Tensor {
    let count = dims.iter().product();
    let data = (0..count)
        .map(|i: usize| ((i * 7919 + seed * 31) % 17) as f32 - 8.0)
        .collect();
    Tensor::f32(dims, data)
}

#[test]
fn products_plain_batched_and_with_epilogues() {
    let shapes = [
        [1, 1, 1],
        [5, 3, 2],
        [14, 32, 8],
        [33, 70, 20],
        [64, 100, 31],
        [0, 4, 3],
        [4, 0, 3],
        [3, 2, 0],
    ];
    for shape in shapes {
        for (batch, epilogue) in [(1, None), (3, None), (1, Some(true)), (1, Some(false))] {
            let [m, n, k] = shape;
            let exe = compile(product_plan(batch, shape, epilogue));
            let a = integers(&[batch, m, k], 1);
            let b = integers(&[k, n], 2);
            let bias = integers(&[n], 3);
            let [av, bv, cv] = [&a, &b, &bias].map(|t| t.as_f32().unwrap().to_vec());
            let mut want = vec![0.0; batch * m * n];
            for i in 0..batch * m {
                for j in 0..n {
                    let sum: f32 = (0..k).map(|l| av[i * k + l] * bv[l * n + j]).sum();
                    want[i * n + j] = match epilogue {
                        None => sum,
                        Some(_) => sum * 2.0 + cv[j],
                    };
                }
            }
            let want = Tensor::f32(&[batch, m, n], want);
            for threads in [1, 2] {
                for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                    let pool = Arc::new(Pool::new(threads));
                    let mut instance = Instance::new(Arc::clone(&exe), pool, isa);
                    for (at, tensor) in [&a, &b, &bias].into_iter().enumerate() {
                        instance.set_input(at, tensor);
                    }
                    instance.run().unwrap();
                    assert_eq!(instance.output(0), want, "{shape:?} {batch} {epilogue:?}");
                }
            }
        }
    }
}

#[test]
fn sorts_and_copies() {
    let mut plan = Plan::default();
    let x = input(&mut plan, Elem::F64, &[2, 4]);
    let order = output(&mut plan, Elem::I64, &[2, 4]);
    let copy = output(&mut plan, Elem::F64, &[2, 4]);
    plan.arena_bytes = 256;
    let between = buffer(&mut plan, Elem::F64, &[2, 4], Place::Arena(128));
    let constant = Tensor::f64(&[], vec![2.5]);
    let constant = buffer(
        &mut plan,
        Elem::F64,
        &[],
        Place::Constant(Arc::new(constant)),
    );
    let third = output(&mut plan, Elem::F64, &[]);
    let kind = StepKind::ArgSort {
        from: x,
        to: order,
        len: 4,
        keep: 4,
    };
    step(&mut plan, kind);
    for (from, to) in [(x, between), (between, copy), (constant, third)] {
        step(&mut plan, StepKind::Copy { from, to });
    }
    let exe = compile(plan);
    let x = Tensor::f64(
        &[2, 4],
        vec![3.0, f64::NAN, 1.0, 1.0, -1.0, 5.0, -2.0, f64::NEG_INFINITY],
    );
    let results = run_once(&exe, &[&x]).unwrap();
    assert_eq!(
        results[0],
        Tensor::i64(&[2, 4], vec![2, 3, 0, 1, 3, 2, 0, 1])
    );
    assert_eq!(results[1].to_f64_vec()[2..], x.to_f64_vec()[2..]);
    assert_eq!(results[2], Tensor::f64(&[], vec![2.5]));
}

/// `out[i] = table[index[i]]` with a check of each index, in lanes.
fn gather_plan(rows: usize, count: usize, lanes: bool) -> Plan {
    let mut k = Kernel {
        name: "gather".to_owned(),
        ..Kernel::default()
    };
    let [table, index, out, status] = [
        (Elem::F32, Access::Read),
        (Elem::I64, Access::Read),
        (Elem::F32, Access::Write),
        (Elem::I64, Access::ReadWrite),
    ]
    .map(|(elem, access)| {
        k.buffers.push(Buffer {
            elem,
            access,
            name: String::new(),
        })
    });
    let var = k.vars.push(VarData);
    let place = Affine {
        vars: vec![(var, 1)],
        ..Affine::default()
    };
    let mut body = Vec::new();
    let load = ValKind::Load {
        buffer: index,
        index: place.clone(),
    };
    let at = value(&mut k, &mut body, load, Elem::I64);
    let zero = value(&mut k, &mut body, ValKind::Int(0), Elem::I64);
    let size = value(&mut k, &mut body, ValKind::Int(rows as i64), Elem::I64);
    let low = ValKind::Compare(Comparison::Ge, at, zero);
    let low = value(&mut k, &mut body, low, Elem::Bool);
    let high = ValKind::Compare(Comparison::Lt, at, size);
    let high = value(&mut k, &mut body, high, Elem::Bool);
    let ok = ValKind::Binary(LirBinary::And, low, high);
    let ok = value(&mut k, &mut body, ok, Elem::Bool);
    body.push(Stmt::Check {
        ok,
        status,
        code: 1,
        detail: at,
    });
    let safe = value(&mut k, &mut body, ValKind::Select(ok, at, zero), Elem::I64);
    let load = ValKind::LoadAt {
        buffer: table,
        index: Affine::default(),
        at: safe,
        stride: 1,
    };
    let x = value(&mut k, &mut body, load, Elem::F32);
    body.push(Stmt::Store {
        buffer: out,
        index: place,
        value: x,
    });
    k.body.push(Stmt::Loop(Loop {
        var,
        start: Bound::Const(0),
        end: Bound::Const(count as i64),
        lanes,
        body,
    }));
    let mut plan = Plan::default();
    let table = input(&mut plan, Elem::F32, &[rows]);
    let index = input(&mut plan, Elem::I64, &[count]);
    let out = output(&mut plan, Elem::F32, &[count]);
    let status = buffer(&mut plan, Elem::I64, &[2], Place::Status);
    let kernel = plan.kernels.push(k);
    let kind = StepKind::Kernel {
        kernel,
        buffers: vec![table, index, out, status],
        parallel: None,
    };
    step(&mut plan, kind);
    plan.checks.push(CheckInfo {
        span: span(9),
        condition: Condition::Index {
            fault: Fault::Index,
            size: 5,
        },
    });
    plan
}

#[test]
fn a_failed_check_is_told_and_forgotten() {
    for lanes in [false, true] {
        let exe = compile(gather_plan(5, 40, lanes));
        let table = Tensor::f32(&[5], vec![0.0, 10.0, 20.0, 30.0, 40.0]);
        let good: Vec<i64> = (0..40).map(|i| i * 3 % 5).collect();
        let mut instance = Instance::new(exe, Arc::new(Pool::new(1)), Isa::best());
        instance.set_input(0, &table);
        for bad in [3, 35] {
            let mut index = good.clone();
            index[bad] = 7;
            index[bad + 1] = -1;
            instance.set_input(1, &Tensor::i64(&[40], index));
            assert_eq!(
                instance.run(),
                Err(RunError::Check {
                    span: span(9),
                    bad: BadIndex {
                        fault: Fault::Index,
                        // The least of them, as threads meet them in any order.
                        index: -1,
                        size: 5,
                    },
                })
            );
        }
        instance.set_input(1, &Tensor::i64(&[40], good.clone()));
        assert_eq!(instance.run(), Ok(()));
        let want = good.iter().map(|&i| i as f32 * 10.0).collect();
        assert_eq!(instance.output(0), Tensor::f32(&[40], want));
    }
}

#[test]
fn many_executables_come_and_go() {
    for round in 0..50 {
        let exe = compile(update_plan(round));
        let x = Tensor::f32(&[round], vec![1.0; round]);
        let p = Tensor::new(vec![3], Data::F32(vec![1.0, 2.0, 3.0]));
        let results = run_once(&exe, &[&x, &p]).unwrap();
        assert_eq!(results[0].get_f64(0), round as f64);
        assert_eq!(results[1], Tensor::f32(&[3], vec![2.0, 5.0, 10.0]));
    }
}

#[test]
fn code_can_be_shown() {
    let exe = compile(update_plan(5));
    assert!(exe.clif().contains("fma"), "{}", exe.clif());
    assert!(exe.disassembly().contains("ret"), "{}", exe.disassembly());
}
