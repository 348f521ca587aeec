//! Square roots of 512-bit code, which are multiply-adds where the instruction's bits come out
//! (`widen::roots`), against the instruction.

use aec_codegen::{CodegenOptions, run_kernel, why_narrow};
use aec_kernels::lir::{
    Access, Affine, Bound, Buffer, Kernel, LirBinary, LirUnary, Loop, Stmt, ValData, ValKind,
    VarData,
};
use aec_runtime::gemm::Isa;
use aec_runtime::pool::flush_denormals;
use aec_runtime::{Data, Elem, Tensor};
use std::hint::black_box;

/// `sqrt(x)` of what is read from memory, and `sqrt(x + 0) - x`, which needs `x` afterwards.
fn kernel(count: usize) -> Kernel {
    let mut kernel = Kernel::default();
    let mut buffer = |access, name: &str| {
        kernel.buffers.push(Buffer {
            elem: Elem::F32,
            access,
            name: name.to_owned(),
        })
    };
    let from = buffer(Access::Read, "x");
    let to = [Access::Write; 2].map(|access| buffer(access, "root"));
    let lane = kernel.vars.push(VarData);
    let place = Affine {
        base: 0,
        vars: [(lane, 1)].into_iter().collect(),
        args: Vec::new(),
    };
    let mut value = |kind| {
        let elem = Elem::F32;
        kernel.values.push(ValData { kind, elem })
    };
    let mut load = || {
        value(ValKind::Load {
            buffer: from,
            index: place.clone(),
        })
    };
    let (x, again) = (load(), load());
    let root = value(ValKind::Unary(LirUnary::Sqrt, x));
    let zero = value(ValKind::Float(0.0));
    let sum = value(ValKind::Binary(LirBinary::Add, again, zero));
    let of_sum = value(ValKind::Unary(LirUnary::Sqrt, sum));
    let rest = value(ValKind::Binary(LirBinary::Sub, of_sum, sum));
    let mut body = [x, root, again, sum, of_sum, rest].map(Stmt::Let).to_vec();
    for (buffer, value) in to.into_iter().zip([root, rest]) {
        body.push(Stmt::Store {
            buffer,
            index: place.clone(),
            value,
        });
    }
    let lanes = Stmt::Loop(Loop {
        var: lane,
        start: Bound::Const(0),
        end: Bound::Const(count as i64),
        lanes: true,
        body,
    });
    kernel.body = vec![Stmt::Let(zero), lanes];
    kernel
}

/// NaNs are all one.
fn bits(x: f32) -> u32 {
    if x.is_nan() { u32::MAX } else { x.to_bits() }
}

/// Compares the roots of numbers with these bits, as kernels compute: denormals are zeros.
fn compare(numbers: impl Iterator<Item = u32>) {
    let x: Vec<f32> = numbers.map(f32::from_bits).collect();
    let kernel = kernel(x.len());
    for isa in [Isa::Avx2, Isa::Avx512] {
        let narrow = why_narrow(&kernel, isa);
        assert!(narrow.is_ok() || !isa.available(), "{isa:?}: {narrow:?}");
    }
    let tensor = |x: &[f32]| Tensor::new(vec![x.len()], Data::F32(x.to_vec()));
    let blank = vec![0.0; x.len()];
    for isa in Isa::ALL {
        let mut buffers = [tensor(&x), tensor(&blank), tensor(&blank)];
        let options = CodegenOptions { verify: true, isa };
        run_kernel(&kernel, &mut buffers, &[], options).unwrap();
        let [_, Data::F32(roots), Data::F32(rests)] = buffers.each_ref().map(Tensor::data) else {
            panic!("the buffers are f32");
        };
        let _denormals = flush_denormals();
        for ((x, root), rest) in x.iter().zip(roots).zip(rests) {
            // In one optimized build the NaN of an expectation was not told from numbers without this.
            let want = black_box(black_box(*x).sqrt());
            assert_eq!(bits(*root), bits(want), "{isa:?}: root of {x:e}");
            let sum = black_box(x + 0.0);
            let want = black_box(black_box(sum.sqrt()) - sum);
            assert_eq!(bits(*rest), bits(want), "{isa:?}: rest of {x:e}");
        }
    }
}

/// A power of 4 changes nothing but exponents, so these stand for all whose steps stay in range.
#[test]
fn roots_of_all_numbers_from_1_to_4() {
    for part in 0..16 {
        let start = 1.0_f32.to_bits() + (part << 20);
        compare(start..start + (1 << 20));
    }
}

/// Vectors around zero, around the least that multiply-adds are for, around infinity and among
/// what is not a number, of both signs; of all exponents.
#[test]
fn roots_at_the_ends_of_the_range() {
    let signs = [0, 1 << 31];
    let ends = [
        0,
        1 << 23,
        0x0d80_0000,
        f32::INFINITY.to_bits(),
        0x7fc0_0000,
    ];
    for start in ends
        .into_iter()
        .flat_map(|end: u32| signs.map(|sign| end | sign))
    {
        let start = start.wrapping_sub(1003);
        compare((0..2011).map(|at| start.wrapping_add(at)));
    }
    compare((0..1 << 20).map(|at| at << 12 | at >> 3));
    compare((0..1 << 20).map(|at: u32| at.wrapping_mul(0x9e37_79b9)));
}

/// One lane that the steps are not for among some that they are for.
#[test]
fn roots_beside_other_lanes() {
    let others = [
        0.0,
        -0.0,
        1e-40,
        1e-35,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for other in others {
        for place in 0..23 {
            compare((0..23).map(|at: u32| {
                let x = if at == place { other } else { at as f32 / 3.0 };
                x.to_bits()
            }));
        }
    }
}

/// The steps themselves, from every guess that `vrsqrt14ps` may make on any processor, of the
/// numbers whose roots are nearest to halfway between two.
#[test]
fn any_guess_gives_the_root() {
    let (one, four) = (1.0_f32.to_bits(), 4.0_f32.to_bits());
    for bits in (one..one + 600).chain(four - 600..four) {
        let x = f32::from_bits(bits);
        let exact = 1.0 / f64::from(x).sqrt();
        let [low, high] = [-1.0, 1.0].map(|sign| (exact * (1.0 + sign / 16384.0)) as f32);
        for guess in low.to_bits()..=high.to_bits() {
            let y = f32::from_bits(guess);
            let (g, h) = (x * y, 0.5 * y);
            let r = (-g).mul_add(h, 0.5);
            let (g, h) = (g.mul_add(r, g), h.mul_add(r, h));
            let d = (-g).mul_add(g, x);
            assert_eq!(d.mul_add(h, g), x.sqrt(), "root of {x:e} from {y:e}");
        }
    }
}
