//! Accuracy of the functions that are expanded into loop IR.

use aec_kernels::coords::Coord;
use aec_kernels::eval::run_kernel;
use aec_kernels::lir::{Access, Val};
use aec_kernels::math;
use aec_kernels::nest::Nest;
use aec_kernels::verify::verify;
use aec_runtime::{Data, Elem, Tensor};

fn run(elem: Elem, x: &[f64], op: impl Fn(&mut Nest, Val) -> Val) -> Vec<f64> {
    let mut n = Nest::new();
    let from = n.buffer(elem, Access::Read, "x");
    let to = n.buffer(elem, Access::Write, "y");
    let i = n.open(0, x.len() as i64, true);
    let place = Coord::var(i.as_u32());
    let v = n.load(from, &place);
    let y = op(&mut n, v);
    n.store(to, &place, y);
    let kernel = n.finish();
    verify(&kernel).unwrap();
    let mut buffers: Vec<Data> = vec![
        Tensor::from_f64(elem, &[x.len()], x.iter().copied())
            .data()
            .clone(),
        Tensor::zeros(elem, &[x.len()]).data().clone(),
    ];
    run_kernel(&kernel, &mut buffers, &[]);
    Tensor::new(vec![x.len()], buffers.remove(1)).to_f64_vec()
}

/// Evenly spread numbers, and both signs of a geometric series towards 0.
fn points(low: f64, high: f64) -> Vec<f64> {
    let mut out: Vec<f64> = (0..=20_000)
        .map(|i| low + (high - low) * f64::from(i) / 20_000.0)
        .collect();
    for i in 0..400 {
        let x = 10f64.powf(-f64::from(i) / 12.0);
        out.extend([x, -x].into_iter().filter(|x| (low..=high).contains(x)));
    }
    out
}

/// Largest relative error where the exact result is a normal number.
fn worst(
    elem: Elem,
    low: f64,
    high: f64,
    op: impl Fn(&mut Nest, Val) -> Val,
    exact: impl Fn(f64) -> f64,
) -> (f64, f64) {
    let x: Vec<f64> = points(low, high)
        .into_iter()
        .map(|x| {
            if elem == Elem::F32 {
                f64::from(x as f32)
            } else {
                x
            }
        })
        .collect();
    let least = if elem == Elem::F32 { 1.2e-38 } else { 2.3e-308 };
    let y = run(elem, &x, op);
    let mut worst = (0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let e = exact(*x);
        let error = if e.abs() < least {
            (y - e).abs() / least.max(1e-300)
        } else {
            ((y - e) / e).abs()
        };
        // Near the top of the range the exact result may round to infinity.
        if error.is_nan() || error > worst.0 {
            worst = (error, *x);
        }
    }
    worst
}

macro_rules! accurate {
    ($name:ident, $op:expr, $exact:expr, f32 $lo32:expr, $hi32:expr, $tol32:expr; f64 $lo64:expr, $hi64:expr, $tol64:expr) => {
        #[test]
        fn $name() {
            let (error, at) = worst(Elem::F32, $lo32, $hi32, $op, $exact);
            assert!(error < $tol32, "f32: {error:e} at {at}");
            let (error, at) = worst(Elem::F64, $lo64, $hi64, $op, $exact);
            assert!(error < $tol64, "f64: {error:e} at {at}");
        }
    };
}

accurate!(exp, math::exp, f64::exp, f32 -87.3, 88.7, 2e-7; f64 -708.0, 709.7, 1e-15);
accurate!(expm1, math::expm1, f64::exp_m1, f32 -30.0, 88.7, 4e-7; f64 -50.0, 709.7, 2e-15);
accurate!(log, math::log, f64::ln, f32 1e-30, 100.0, 3e-7; f64 1e-30, 100.0, 2e-15);
accurate!(log1p, math::log1p, f64::ln_1p, f32 -0.9999, 1e4, 4e-7; f64 -0.9999, 1e4, 2e-15);
accurate!(tanh, math::tanh, f64::tanh, f32 -12.0, 12.0, 6e-7; f64 -25.0, 25.0, 4e-15);
accurate!(logistic, math::logistic, |x: f64| 1.0 / (1.0 + (-x).exp()), f32 -87.0, 40.0, 4e-7; f64 -700.0, 40.0, 2e-15);
accurate!(erf, math::erf, libm::erf, f32 -6.0, 6.0, 6e-7; f64 -7.0, 7.0, 2e-15);

#[test]
fn sine_and_cosine() {
    for (op, exact) in [
        (
            math::sin as fn(&mut Nest, Val) -> Val,
            f64::sin as fn(f64) -> f64,
        ),
        (math::cos, f64::cos),
    ] {
        for (elem, tolerance) in [(Elem::F32, 2e-7), (Elem::F64, 5e-16)] {
            let mut x = points(-1e6, 1e6);
            x.extend(points(-7.0, 7.0));
            let x: Vec<f64> = Tensor::from_f64(elem, &[x.len()], x).to_f64_vec();
            let y = run(elem, &x, op);
            for (x, y) in x.iter().zip(y) {
                let error = (y - exact(*x)).abs();
                assert!(error < tolerance, "{elem} {x}: {error:e}");
            }
            let y = run(elem, &[f64::INFINITY, f64::NAN, 1e30, -1e30], op);
            assert!(y[0].is_nan() && y[1].is_nan() && y[2].abs() <= 1.0 && y[3].abs() <= 1.0);
        }
    }
}

#[test]
fn powers() {
    for (elem, tolerance) in [(Elem::F32, 2e-7), (Elem::F64, 1e-14)] {
        for exponent in [
            -250.7, -3.7, -2.0, -1.0, -0.5, 0.3, 0.5, 1.0, 2.0, 3.0, 7.0, 10.5, 20.0, 300.3,
        ] {
            let exponent = if elem == Elem::F32 {
                f64::from(exponent as f32)
            } else {
                exponent
            };
            let near_one = (0..600).map(|i| 0.7 + f64::from(i) * 0.001);
            let x: Vec<f64> = (1..400)
                .map(|i| f64::from(i) * 0.037)
                .chain(near_one)
                .map(|x| f64::from(x as f32))
                .collect();
            // The exponent as data, so that no shortcut is taken, and as a constant.
            let y = run(elem, &x, |n, x| {
                let e = n.float(exponent, n.elem(x));
                let zero = n.sub(x, x);
                let e = n.add(e, zero);
                math::pow(n, x, e)
            });
            let short = run(elem, &x, |n, x| {
                let e = n.float(exponent, n.elem(x));
                math::pow(n, x, e)
            });
            for ((x, y), z) in x.iter().zip(y).zip(short) {
                let exact = x.powf(exponent);
                if !(1e-37..1e38).contains(&exact.abs()) {
                    continue;
                }
                assert!(
                    ((y - exact) / exact).abs() < tolerance,
                    "{elem} {x}^{exponent}: {y} {exact}"
                );
                assert!(
                    ((z - exact) / exact).abs() < 4.0 * tolerance,
                    "{elem} {x}^{exponent}: {z}"
                );
            }
        }
        let cases = [
            (0.0, 2.5),
            (0.0, -1.5),
            (0.0, 0.0),
            (-2.0, 3.0),
            (-2.0, 9.0),
            (-2.0, 10.0),
            (-2.0, 0.5),
            (f64::INFINITY, -1.5),
            (1.0, f64::INFINITY),
            (f64::NAN, 0.0),
            (f64::NAN, 1.5),
            (2.0, f64::NAN),
            (0.5, f64::INFINITY),
        ];
        for (x, exponent) in cases {
            let got = run(elem, &[x], |n, x| {
                let e = n.float(exponent, n.elem(x));
                let zero = n.float(0.0, n.elem(x));
                // Not a constant to the shortcuts: 0 is added to it.
                let e = n.add(e, zero);
                math::pow(n, x, e)
            })[0];
            let exact = x.powf(exponent);
            let same = got == exact || (got.is_nan() && exact.is_nan());
            assert!(same, "{elem} {x}^{exponent} = {got}, not {exact}");
        }
    }
}

#[test]
fn special_values() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for elem in [Elem::F32, Elem::F64] {
        let x = [inf, -inf, nan, 0.0, 1e300, -1e300];
        let same = |got: Vec<f64>, expected: [f64; 6], what: &str| {
            for (g, e) in got.iter().zip(expected) {
                // The rational functions saturate a few units in the last place off 1.
                let near = elem == Elem::F32 && (g - e).abs() < 5e-7;
                let same = *g == e || (g.is_nan() && e.is_nan());
                assert!(same || near, "{elem} {what}: {got:?}");
            }
        };
        same(
            run(elem, &x, math::exp),
            [inf, 0.0, nan, 1.0, inf, 0.0],
            "exp",
        );
        same(
            run(elem, &x, math::expm1),
            [inf, -1.0, nan, 0.0, inf, -1.0],
            "expm1",
        );
        let y = run(elem, &x, math::log);
        same(y.clone(), [inf, nan, nan, -inf, y[4], nan], "log");
        same(
            run(elem, &x, math::tanh),
            [1.0, -1.0, nan, 0.0, 1.0, -1.0],
            "tanh",
        );
        same(
            run(elem, &x, math::logistic),
            [1.0, 0.0, nan, 0.5, 1.0, 0.0],
            "logistic",
        );
        same(
            run(elem, &x, math::erf),
            [1.0, -1.0, nan, 0.0, 1.0, -1.0],
            "erf",
        );
        let y = run(elem, &[-1.0, -2.0, inf, nan, 0.0, -0.5], math::log1p);
        assert_eq!(y[0], -inf);
        assert!(y[1].is_nan() && y[2] == inf && y[3].is_nan() && y[4] == 0.0);
        // Below the normal numbers the logarithm still holds.
        let tiny = if elem == Elem::F32 {
            1e-41f32 as f64
        } else {
            1e-310
        };
        let y = run(elem, &[tiny], math::log)[0];
        assert!((y - tiny.ln()).abs() < 1e-4, "{y}");
    }
}
