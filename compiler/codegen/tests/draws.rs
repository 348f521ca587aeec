//! Numbers that a lane loop draws ahead, against the loop IR's evaluator: loops shorter and longer
//! than what one call draws, whose bounds are known or not, in the machine's registers of all widths.

use aec_codegen::{CodegenOptions, run_kernel, why_narrow};
use aec_kernels::eval;
use aec_kernels::lir::{
    Access, Affine, Bound, Buffer, Distribution, Kernel, LirBinary, Loop, Stmt, ValData, ValKind,
    Var, VarData,
};
use aec_runtime::gemm::Isa;
use aec_runtime::{Data, Elem, Tensor};

/// Most lanes and rows.
const LANES: usize = 1100;
const ROWS: usize = 3;

/// `out[row, lane] = uniform + normal`, the numbers of example `row`, the normal ones from element
/// 6 on.
fn kernel(elem: Elem, (start, end): (Bound, Bound)) -> Kernel {
    let mut kernel = Kernel {
        name: "draws".to_owned(),
        arg_count: 2,
        ..Kernel::default()
    };
    let out = kernel.buffers.push(Buffer {
        elem,
        access: Access::Write,
        name: "out".to_owned(),
    });
    let row = kernel.vars.push(VarData);
    let lane = kernel.vars.push(VarData);
    let at = |base: i64, vars: &[(Var, i64)]| Affine {
        base,
        vars: vars.to_vec(),
        args: Vec::new(),
    };
    let mut value = |kind, elem| kernel.values.push(ValData { kind, elem });
    let seed = value(ValKind::Int(12), Elem::I64);
    let key = value(ValKind::DrawKey(seed, 77), Elem::I64);
    let example = value(ValKind::Index(at(0, &[(row, 1)])), Elem::I64);
    let mut draw = |distribution, base| {
        let kind = ValKind::Draw {
            distribution,
            key,
            element: at(base, &[(lane, 1)]),
            inner: seed,
            example,
            step: seed,
        };
        value(kind, elem)
    };
    let uniform = draw(Distribution::Uniform, 0);
    let normal = draw(Distribution::Normal, 6);
    let sum = value(ValKind::Binary(LirBinary::Add, uniform, normal), elem);
    let mut body: Vec<Stmt> = [uniform, normal, sum].map(Stmt::Let).to_vec();
    body.push(Stmt::Store {
        buffer: out,
        index: at(0, &[(row, LANES as i64), (lane, 1)]),
        value: sum,
    });
    let lanes = Stmt::Loop(Loop {
        var: lane,
        start,
        end,
        lanes: true,
        body,
    });
    let rows = Stmt::Loop(Loop {
        var: row,
        start: Bound::Const(0),
        end: Bound::Const(ROWS as i64),
        lanes: false,
        body: vec![Stmt::Let(example), lanes],
    });
    kernel.body = vec![Stmt::Let(seed), Stmt::Let(key), rows];
    kernel
}

fn agrees(kernel: &Kernel, elem: Elem, args: &[i64], isa: Isa, what: &str) {
    let count = ROWS * LANES;
    let empty = match elem {
        Elem::F64 => Data::F64(vec![0.0; count]),
        _ => Data::F32(vec![0.0; count]),
    };
    let mut want = [empty.clone()];
    eval::run_kernel(kernel, &mut want, args);
    let mut got = [Tensor::new(vec![count], empty)];
    let options = CodegenOptions { verify: true, isa };
    run_kernel(kernel, &mut got, args, options).expect("machine code");
    assert!(want[0] == *got[0].data(), "{what}");
}

#[test]
fn runs_of_all_lengths() {
    for elem in [Elem::F32, Elem::F64] {
        for length in [0, 1, 3, 15, 16, 17, 40, 255, 256, 257, 271, 512, 530, 1000] {
            for (start, known) in [(0, true), (0, false), (5, true), (5, false)] {
                let args = [start, start + length];
                let bounds = match known {
                    true => (Bound::Const(args[0]), Bound::Const(args[1])),
                    false => (Bound::Arg(0), Bound::Arg(1)),
                };
                let kernel = kernel(elem, bounds);
                for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                    let what = format!("{elem} {length} from {start}, {known}, {isa:?}");
                    agrees(&kernel, elem, &args, isa, &what);
                }
            }
        }
        // No lanes at all, which only the run tells.
        let kernel = kernel(elem, (Bound::Arg(0), Bound::Arg(1)));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            agrees(&kernel, elem, &[40, 10], isa, "backwards");
        }
    }
}

/// Draws do not keep a kernel from being wide.
#[test]
fn drawing_kernels_are_wide() {
    if !Isa::Avx2.available() {
        println!("skipped: this machine has no AVX2");
        return;
    }
    let bounds = (Bound::Const(0), Bound::Const(784));
    for elem in [Elem::F32, Elem::F64] {
        assert_eq!(why_narrow(&kernel(elem, bounds), Isa::Avx2), Ok(()));
    }
}
