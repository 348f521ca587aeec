//! Constants of 512-bit code: with more of them than registers, uses read them where they are.

use aec_codegen::{CodegenOptions, kernel_text, run_kernel};
use aec_kernels::lir::{
    Access, Affine, Bound, Buffer, Kernel, Loop, Stmt, ValData, ValKind, VarData,
};
use aec_runtime::gemm::Isa;
use aec_runtime::{Data, Elem, Tensor};

const LANES: usize = 40;

fn coefficients() -> impl DoubleEndedIterator<Item = f32> {
    (0..60).map(|at| 1.0 / (at as f32 + 1.5))
}

/// A polynomial by Horner's scheme.
fn kernel() -> Kernel {
    let mut kernel = Kernel::default();
    let [from, to] = [(Access::Read, "x"), (Access::Write, "y")].map(|(access, name)| {
        kernel.buffers.push(Buffer {
            elem: Elem::F32,
            access,
            name: name.to_owned(),
        })
    });
    let lane = kernel.vars.push(VarData);
    let index = Affine {
        base: 0,
        vars: [(lane, 1)].into_iter().collect(),
        args: Vec::new(),
    };
    let mut value = |kind| {
        let elem = Elem::F32;
        kernel.values.push(ValData { kind, elem })
    };
    let constants: Vec<_> = coefficients()
        .map(|c| value(ValKind::Float(f64::from(c))))
        .collect();
    let x = value(ValKind::Load {
        buffer: from,
        index: index.clone(),
    });
    let mut body = vec![Stmt::Let(x)];
    let mut y = constants[constants.len() - 1];
    for &c in constants.iter().rev().skip(1) {
        y = value(ValKind::Fma(y, x, c));
        body.push(Stmt::Let(y));
    }
    body.push(Stmt::Store {
        buffer: to,
        index,
        value: y,
    });
    let lanes = Stmt::Loop(Loop {
        var: lane,
        start: Bound::Const(0),
        end: Bound::Const(LANES as i64),
        lanes: true,
        body,
    });
    kernel.body = constants
        .into_iter()
        .map(Stmt::Let)
        .chain([lanes])
        .collect();
    kernel
}

#[test]
fn uses_read_constants_where_they_are() {
    let kernel = kernel();
    let options = CodegenOptions {
        verify: true,
        isa: Isa::best(),
    };
    let x: Vec<f32> = (0..LANES).map(|at| at as f32 / 30.0 - 0.6).collect();
    let tensor = |x: Vec<f32>| Tensor::new(vec![LANES], Data::F32(x));
    let mut buffers = [tensor(x.clone()), tensor(vec![0.0; LANES])];
    run_kernel(&kernel, &mut buffers, &[], options).unwrap();
    let Data::F32(got) = buffers[1].data() else {
        panic!("the buffers are f32");
    };
    for (x, got) in x.iter().zip(got) {
        let want = coefficients()
            .rev()
            .reduce(|y, c| y.mul_add(*x, c))
            .unwrap();
        assert_eq!(want.to_bits(), got.to_bits(), "at {x}");
    }
    if Isa::Avx512.available() {
        let text = kernel_text(&kernel, options).unwrap().machine;
        let sums: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("vfmadd"))
            .collect();
        let in_memory = sums.iter().filter(|line| line.contains("bcst")).count();
        let copies = text
            .lines()
            .filter(|line| line.contains("vbroadcastss"))
            .count();
        // Some constants fit registers, which are filled once.
        assert!(in_memory > sums.len() / 2, "{text}");
        assert!(copies < coefficients().count(), "{text}");
    }
}
