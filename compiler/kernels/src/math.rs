//! Transcendental functions as loop IR: range reduction and polynomials from the primitive
//! operations, so that they fuse, run in lanes and give the same bits on every back end.
//!
//! f32 functions are good to a few units in the last place, f64 ones to 1e-14 relative; results
//! below the least normal number may be flushed to 0. The rational approximations of tanh and
//! erf in f32 and the fdlibm and Cephes coefficients are the usual published ones.

use crate::lir::{Comparison, LirBinary, LirUnary, Val};
use crate::nest::Nest;
use aec_runtime::Elem;

mod erf;

pub use erf::erf;

/// `a[0] + x (a[1] + x (…))`
fn poly(n: &mut Nest, x: Val, coefficients: &[f64]) -> Val {
    let elem = n.elem(x);
    let (last, rest) = coefficients.split_last().expect("a polynomial");
    let mut p = n.float(*last, elem);
    for &c in rest.iter().rev() {
        let c = n.float(c, elem);
        p = n.fma(p, x, c);
    }
    p
}

/// Smaller of `x` and a constant; NaN stays.
fn at_most(n: &mut Nest, x: Val, top: f64) -> Val {
    let top = n.float(top, n.elem(x));
    n.binary(LirBinary::Min, top, x)
}

/// Larger of `x` and a constant; NaN stays.
fn at_least(n: &mut Nest, x: Val, low: f64) -> Val {
    let low = n.float(low, n.elem(x));
    n.binary(LirBinary::Max, low, x)
}

fn test(n: &mut Nest, x: Val, op: Comparison, c: f64) -> Val {
    let c = n.float(c, n.elem(x));
    n.compare(op, x, c)
}

/// What differs between the two float types.
struct Bits {
    int: Elem,
    mantissa: i64,
    bias: i64,
    /// 1.5 * 2^mantissa: adding it rounds to an integer held in the low bits.
    magic: f64,
    magic_bits: i64,
    ln2_hi: f64,
    ln2_lo: f64,
}

fn bits(elem: Elem) -> Bits {
    match elem {
        Elem::F64 => Bits {
            int: Elem::I64,
            mantissa: 52,
            bias: 1023,
            magic: 6755399441055744.0,
            magic_bits: 6755399441055744.0f64.to_bits() as i64,
            ln2_hi: 6.931_471_803_691_238e-1,
            ln2_lo: 1.908_214_929_270_587_7e-10,
        },
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => Bits {
            int: Elem::I32,
            mantissa: 23,
            bias: 127,
            magic: 12582912.0,
            magic_bits: i64::from(12582912.0f32.to_bits()),
            ln2_hi: 0.693359375,
            ln2_lo: -2.121_944_4e-4,
        },
    }
}

/// `x = k ln 2 + r` with |r| <= ln 2 / 2: (k in the low bits of an int, k as a float, r).
fn reduce_ln2(n: &mut Nest, x: Val) -> (Val, Val, Val) {
    let elem = n.elem(x);
    let b = bits(elem);
    let magic = n.float(b.magic, elem);
    let log2e = n.float(std::f64::consts::LOG2_E, elem);
    let t = n.fma(x, log2e, magic);
    let k = n.sub(t, magic);
    let t_bits = n.bitcast(t, b.int);
    let hi = n.float(-b.ln2_hi, elem);
    let lo = n.float(-b.ln2_lo, elem);
    let r = n.fma(k, hi, x);
    let r = n.fma(k, lo, r);
    (t_bits, k, r)
}

/// `2^k` for k within the normal exponents.
fn power_of_two(n: &mut Nest, k: Val, elem: Elem) -> Val {
    let b = bits(elem);
    let bias = n.int(b.bias, b.int);
    let shift = n.int(b.mantissa, b.int);
    let e = n.add(k, bias);
    let e = n.binary(LirBinary::Shl, e, shift);
    n.bitcast(e, elem)
}

/// `(e^r - 1 - r) / r^2` near 0.
fn exp_tail(n: &mut Nest, r: Val) -> Val {
    match n.elem(r) {
        Elem::F64 => {
            let mut c = [0.0; 13];
            let mut factorial = 1.0;
            for (i, c) in c.iter_mut().enumerate() {
                factorial *= (i + 1) as f64;
                *c = 1.0 / (factorial * (i + 2) as f64);
            }
            poly(n, r, &c)
        }
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => poly(
            n,
            r,
            &[
                5.000_000_120_1e-1,
                1.666_666_545_9e-1,
                4.166_579_589_4e-2,
                8.333_451_907_3e-3,
                1.398_199_950_7e-3,
                1.987_569_15e-4,
            ],
        ),
    }
}

/// `e^x`
pub fn exp(n: &mut Nest, x: Val) -> Val {
    exp_of(n, x, None)
}

/// `e^(x + more)`, `more` being far below 1.
fn exp_of(n: &mut Nest, x: Val, more: Option<Val>) -> Val {
    let elem = n.elem(x);
    let b = bits(elem);
    let (low, high) = match elem {
        Elem::F64 => (-708.396_418_532_264_1, 709.782_712_893_384),
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => (-87.336_54, 88.722_83),
    };
    let (low_k, _, r) = reduce_ln2(n, x);
    let r = match more {
        Some(more) => n.add(r, more),
        None => r,
    };
    let tail = exp_tail(n, r);
    let one = n.float(1.0, elem);
    let r2 = n.mul(r, r);
    let p = n.fma(tail, r2, r);
    let p = n.add(p, one);
    // Adding k to the exponent bits: right wherever the result is normal.
    let shift = n.int(b.mantissa, b.int);
    let e = n.binary(LirBinary::Shl, low_k, shift);
    let p_bits = n.bitcast(p, b.int);
    let p_bits = n.add(p_bits, e);
    let p = n.bitcast(p_bits, elem);
    let infinity = n.float(f64::INFINITY, elem);
    let over = test(n, x, Comparison::Gt, high);
    let p = n.select(over, infinity, p);
    // Below: 0; NaN: NaN. Both fail the comparison.
    let zero_or_nan = at_least(n, x, 0.0);
    let normal = test(n, x, Comparison::Ge, low);
    n.select(normal, p, zero_or_nan)
}

/// `e^x - 1`
pub fn expm1(n: &mut Nest, x: Val) -> Val {
    let elem = n.elem(x);
    let (low, high) = match elem {
        Elem::F64 => (-40.0, 709.782_712_893_384),
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => (-20.0, 88.722_83),
    };
    let clamped = at_least(n, x, low);
    let clamped = at_most(n, clamped, high);
    let (low_k, _, r) = reduce_ln2(n, clamped);
    let tail = exp_tail(n, r);
    let r2 = n.mul(r, r);
    let e = n.fma(tail, r2, r);
    // 2 (s e + (s - 1/2)) with s = 2^(k - 1), which does not overflow.
    let b = bits(elem);
    let above = n.int(b.magic_bits + 1, b.int);
    let k1 = n.sub(low_k, above);
    let s = power_of_two(n, k1, elem);
    let half = n.float(0.5, elem);
    let s1 = n.sub(s, half);
    let y = n.fma(s, e, s1);
    let y = n.add(y, y);
    let infinity = n.float(f64::INFINITY, elem);
    let over = test(n, x, Comparison::Gt, high);
    n.select(over, infinity, y)
}

/// `(m, e)`: positive x is `2^e m`, m from sqrt 1/2 to sqrt 2; other x give nonsense. `tiny`: x may
/// be below the normal numbers.
fn mantissa(n: &mut Nest, x: Val, tiny: bool) -> (Val, Val) {
    let elem = n.elem(x);
    let b = bits(elem);
    // Scale numbers below the normal ones.
    let (least, scale, scale_log) = match elem {
        Elem::F64 => (f64::MIN_POSITIVE, (1u64 << 54) as f64, 54.0),
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => {
            (f64::from(f32::MIN_POSITIVE), (1u64 << 24) as f64, 24.0)
        }
    };
    let (xs, e0) = if tiny {
        let small = test(n, x, Comparison::Lt, least);
        let factor = n.float(scale, elem);
        let scaled = n.mul(x, factor);
        let xs = n.select(small, scaled, x);
        let zero = n.float(0.0, elem);
        let minus = n.float(-scale_log, elem);
        (xs, Some(n.select(small, minus, zero)))
    } else {
        (x, None)
    };
    let root = match elem {
        Elem::F64 => std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64,
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => {
            i64::from(std::f32::consts::FRAC_1_SQRT_2.to_bits())
        }
    };
    let xb = n.bitcast(xs, b.int);
    let root = n.int(root, b.int);
    let shift = n.int(b.mantissa, b.int);
    let above = n.sub(xb, root);
    let ei = n.binary(LirBinary::ShrArithmetic, above, shift);
    let eb = n.binary(LirBinary::Shl, ei, shift);
    let mb = n.sub(xb, eb);
    let m = n.bitcast(mb, elem);
    // Int to float by the magic number: the exponent is small.
    let magic_bits = n.int(b.magic_bits, b.int);
    let magic = n.float(b.magic, elem);
    let e = n.add(ei, magic_bits);
    let e = n.bitcast(e, elem);
    let e = n.sub(e, magic);
    let e = match e0 {
        Some(e0) => n.add(e, e0),
        None => e,
    };
    (m, e)
}

/// `(high, low)`: the sum is log x, for x as [`mantissa`] wants it.
fn log_parts(n: &mut Nest, x: Val, tiny: bool) -> (Val, Val) {
    let elem = n.elem(x);
    let b = bits(elem);
    let (m, e) = mantissa(n, x, tiny);
    let one = n.float(1.0, elem);
    let f = n.sub(m, one);
    let ln2_hi = n.float(b.ln2_hi, elem);
    let ln2_lo = n.float(b.ln2_lo, elem);
    let half = n.float(0.5, elem);
    match elem {
        Elem::F64 => {
            // fdlibm: log(1 + f) = f - (f²/2 - s (f²/2 + R(s²))), s = f / (2 + f)
            let two = n.float(2.0, elem);
            let d = n.add(f, two);
            let s = n.div(f, d);
            let z = n.mul(s, s);
            let r = poly(
                n,
                z,
                &[
                    6.666_666_666_666_735e-1,
                    3.999_999_999_940_942e-1,
                    2.857_142_874_366_239e-1,
                    2.222_219_843_214_978_4e-1,
                    1.818_357_216_161_805e-1,
                    1.531_383_769_920_937_3e-1,
                    1.479_819_860_511_658_6e-1,
                ],
            );
            let r = n.mul(r, z);
            let hf = n.mul(half, f);
            let h = n.mul(hf, f);
            let hr = n.add(h, r);
            let c = n.mul(s, hr);
            let c = n.fma(e, ln2_lo, c);
            // high + low = e ln2_hi + f, exactly, since e ln2_hi is exact.
            let eh = n.mul(e, ln2_hi);
            let high = n.add(eh, f);
            let back = n.sub(high, eh);
            let lost1 = n.sub(f, back);
            let again = n.sub(high, back);
            let lost2 = n.sub(eh, again);
            let lost = n.add(lost1, lost2);
            let low = n.sub(c, h);
            let low = n.add(low, lost);
            (high, low)
        }
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => {
            let p = poly(
                n,
                f,
                &[
                    3.333_333_117_4e-1,
                    -2.499_999_399_3e-1,
                    2.000_071_476_5e-1,
                    -1.666_805_766_5e-1,
                    1.424_932_278_7e-1,
                    -1.242_014_084_6e-1,
                    1.167_699_874e-1,
                    -1.151_461_031e-1,
                    7.037_683_629_2e-2,
                ],
            );
            let z = n.mul(f, f);
            let fz = n.mul(f, z);
            let y = n.mul(fz, p);
            let y = n.fma(e, ln2_lo, y);
            let minus_half = n.float(-0.5, elem);
            let y = n.fma(z, minus_half, y);
            let y = n.add(f, y);
            let high = n.mul(e, ln2_hi);
            (high, y)
        }
    }
}

/// Natural logarithm.
pub fn log(n: &mut Nest, x: Val) -> Val {
    log_of(n, x, true)
}

fn log_of(n: &mut Nest, x: Val, tiny: bool) -> Val {
    let elem = n.elem(x);
    let (high, low) = log_parts(n, x, tiny);
    let y = n.add(high, low);
    let infinity = n.float(f64::INFINITY, elem);
    let minus_infinity = n.float(f64::NEG_INFINITY, elem);
    let nan = n.float(f64::NAN, elem);
    // +inf stays; NaN and negative numbers are NaN; 0 gives -inf.
    let finite = n.compare(Comparison::Lt, x, infinity);
    let y = n.select(finite, y, x);
    let negative = test(n, x, Comparison::Lt, 0.0);
    let y = n.select(negative, nan, y);
    let zero = test(n, x, Comparison::Eq, 0.0);
    n.select(zero, minus_infinity, y)
}

/// `log(1 + x)`: the logarithm of the rounded sum, corrected for what rounding lost.
pub fn log1p(n: &mut Nest, x: Val) -> Val {
    let elem = n.elem(x);
    let one = n.float(1.0, elem);
    let u = n.add(one, x);
    // 0 or at least half a unit in the last place of 1.
    let y = log_of(n, u, false);
    let back = n.sub(u, one);
    let lost = n.sub(x, back);
    let c = n.div(lost, u);
    let corrected = n.add(y, c);
    let infinity = n.float(f64::INFINITY, elem);
    let positive = test(n, u, Comparison::Gt, 0.0);
    let finite = n.compare(Comparison::Lt, u, infinity);
    let inside = n.binary(LirBinary::And, positive, finite);
    n.select(inside, corrected, y)
}

/// Hyperbolic tangent.
pub fn tanh(n: &mut Nest, x: Val) -> Val {
    let elem = n.elem(x);
    match elem {
        Elem::F64 => {
            // t / (t + 2) with t = e^2|x| - 1
            let a = n.unary(LirUnary::Abs, x);
            let a = at_most(n, a, 20.0);
            let a2 = n.add(a, a);
            let t = expm1(n, a2);
            let two = n.float(2.0, elem);
            let d = n.add(t, two);
            let y = n.div(t, d);
            let minus = n.unary(LirUnary::Neg, y);
            let negative = test(n, x, Comparison::Lt, 0.0);
            n.select(negative, minus, y)
        }
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => {
            let c = at_most(n, x, 7.905_311);
            let c = at_least(n, c, -7.905_311);
            let z = n.mul(c, c);
            let p = poly(
                n,
                z,
                &[
                    4.893_524_558_917_86e-3,
                    6.372_619_288_754_36e-4,
                    1.485_722_357_179_79e-5,
                    5.122_297_090_371_14e-8,
                    -8.604_671_522_137_35e-11,
                    2.000_187_904_824_77e-13,
                    -2.760_768_477_423_55e-16,
                ],
            );
            let q = poly(
                n,
                z,
                &[
                    4.893_525_185_543_85e-3,
                    2.268_434_632_439e-3,
                    1.185_347_056_866_54e-4,
                    1.198_258_394_667_02e-6,
                ],
            );
            let p = n.mul(c, p);
            n.div(p, q)
        }
    }
}

/// `1 / (1 + e^-x)`
pub fn logistic(n: &mut Nest, x: Val) -> Val {
    let elem = n.elem(x);
    let minus = n.unary(LirUnary::Neg, x);
    let e = exp(n, minus);
    let one = n.float(1.0, elem);
    let d = n.add(e, one);
    n.div(one, d)
}

/// `x = k π/2 + r`: (k in the low bits of an int, r). |r| is hardly more than π/4, as 2/π is rounded, for |x|
/// up to 2^30 in f64 and 10^6 in f32; further out k is not exact, and |r| <= 1 is all that is kept.
fn reduce_half_pi(n: &mut Nest, x: Val) -> (Val, Val) {
    let elem = n.elem(x);
    let b = bits(elem);
    // π/2 in three parts, each what the ones before lack of it. `x - k part` of the first is exact, being
    // a multiple of the part's last digit that is no larger than the part.
    let parts = match elem {
        Elem::F64 => [
            std::f64::consts::FRAC_PI_2,
            6.123_233_995_736_766e-17,
            -1.497_384_904_859_16e-33,
        ],
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => [
            1.570_796_370_506_286_6,
            -4.371_138_828_673_793e-8,
            -1.715_124_510_005_881_9e-15,
        ],
    };
    let magic = n.float(b.magic, elem);
    let scale = n.float(std::f64::consts::FRAC_2_PI, elem);
    let t = n.fma(x, scale, magic);
    let k = n.sub(t, magic);
    let k_bits = n.bitcast(t, b.int);
    let mut r = x;
    for part in parts {
        let part = n.float(-part, elem);
        r = n.fma(k, part, r);
    }
    // NaN stays.
    let r = at_most(n, r, 1.0);
    let r = at_least(n, r, -1.0);
    (k_bits, r)
}

/// Sine (`quarter` 0) or cosine (`quarter` 1).
fn sin_shifted(n: &mut Nest, x: Val, quarter: i64) -> Val {
    let elem = n.elem(x);
    let (k_bits, r) = reduce_half_pi(n, x);
    let z = n.mul(r, r);
    let (s, c) = match elem {
        Elem::F64 => (
            poly(
                n,
                z,
                &[
                    -1.666_666_666_666_663_2e-1,
                    8.333_333_333_322_49e-3,
                    -1.984_126_982_985_795e-4,
                    2.755_731_370_707_006_8e-6,
                    -2.505_076_025_340_686_3e-8,
                    1.589_690_995_211_55e-10,
                ],
            ),
            poly(
                n,
                z,
                &[
                    4.166_666_666_666_66e-2,
                    -1.388_888_888_887_411e-3,
                    2.480_158_728_947_673e-5,
                    -2.755_731_435_139_066_3e-7,
                    2.087_572_321_298_175e-9,
                    -1.135_964_755_778_819_5e-11,
                ],
            ),
        ),
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => (
            poly(
                n,
                z,
                &[-1.666_665_461_1e-1, 8.332_160_873_6e-3, -1.951_529_589_1e-4],
            ),
            poly(
                n,
                z,
                &[
                    4.166_664_568_298_827e-2,
                    -1.388_731_625_493_765e-3,
                    2.443_315_711_809_948e-5,
                ],
            ),
        ),
    };
    let rz = n.mul(r, z);
    let sine = n.fma(rz, s, r);
    let one = n.float(1.0, elem);
    let minus_half = n.float(-0.5, elem);
    let c1 = n.fma(z, minus_half, one);
    let zz = n.mul(z, z);
    let cosine = n.fma(zz, c, c1);
    let int = n.elem(k_bits);
    let quarter = n.int(quarter, int);
    let turn = n.add(k_bits, quarter);
    let one_int = n.int(1, int);
    let two_int = n.int(2, int);
    let zero_int = n.int(0, int);
    let odd = n.binary(LirBinary::And, turn, one_int);
    let odd = n.compare(Comparison::Ne, odd, zero_int);
    let y = n.select(odd, cosine, sine);
    let half_turn = n.binary(LirBinary::And, turn, two_int);
    let half_turn = n.compare(Comparison::Ne, half_turn, zero_int);
    let minus = n.unary(LirUnary::Neg, y);
    let y = n.select(half_turn, minus, y);
    // An infinite x gives NaN, as x - x does.
    let a = n.unary(LirUnary::Abs, x);
    let finite = test(n, a, Comparison::Lt, f64::INFINITY);
    let nan = n.float(f64::NAN, elem);
    n.select(finite, y, nan)
}

/// Sine.
pub fn sin(n: &mut Nest, x: Val) -> Val {
    sin_shifted(n, x, 0)
}

/// Cosine.
pub fn cos(n: &mut Nest, x: Val) -> Val {
    sin_shifted(n, x, 1)
}

/// `x ^ y`, by a logarithm in two parts.
pub fn pow(n: &mut Nest, x: Val, y: Val) -> Val {
    let elem = n.elem(x);
    let known = n.as_float(y);
    if let Some(y) = known
        && let Some(z) = constant_pow(n, x, y)
    {
        return z;
    }
    let one = n.float(1.0, elem);
    let a = n.unary(LirUnary::Abs, x);
    let (high, low) = match elem {
        Elem::F64 => log_parts(n, a, true),
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => log_pair(n, a),
    };
    // 0 and infinity have infinite logarithms.
    let infinity = n.float(f64::INFINITY, elem);
    let minus_infinity = n.float(f64::NEG_INFINITY, elem);
    let zero = n.float(0.0, elem);
    let finite = n.compare(Comparison::Lt, a, infinity);
    let high = n.select(finite, high, a);
    let low = n.select(finite, low, zero);
    let is_zero = n.compare(Comparison::Eq, a, zero);
    let high = n.select(is_zero, minus_infinity, high);
    let low = n.select(is_zero, zero, low);
    let high2 = n.add(high, low);
    let regular = n.unary(LirUnary::Abs, high2);
    let regular = n.compare(Comparison::Lt, regular, infinity);
    let lost = n.sub(high2, high);
    let low = n.sub(low, lost);
    let p = n.mul(y, high2);
    let minus_p = n.unary(LirUnary::Neg, p);
    let error = n.fma(y, high2, minus_p);
    let correction = n.fma(y, low, error);
    let size = n.unary(LirUnary::Abs, correction);
    let small = test(n, size, Comparison::Lt, 1e-3);
    let usable = n.binary(LirBinary::And, regular, small);
    let correction = n.select(usable, correction, zero);
    let r = exp_of(n, p, Some(correction));
    // A negative base: the sign of an odd power, NaN for a fraction.
    let minus_r = n.unary(LirUnary::Neg, r);
    let nan = n.float(f64::NAN, elem);
    let negative = n.compare(Comparison::Lt, x, zero);
    if let Some(y) = known.filter(|y| y.is_finite() && *y != 0.0) {
        let negative_result = match (y == y.floor(), 0.5 * y == (0.5 * y).floor()) {
            (false, _) => nan,
            (true, true) => r,
            (true, false) => minus_r,
        };
        return n.select(negative, negative_result, r);
    }
    let floor = n.unary(LirUnary::Floor, y);
    let whole = n.compare(Comparison::Eq, floor, y);
    let half = n.float(0.5, elem);
    let halved = n.mul(y, half);
    let halved_floor = n.unary(LirUnary::Floor, halved);
    let odd = n.compare(Comparison::Ne, halved, halved_floor);
    let signed = n.select(odd, minus_r, r);
    let negative_result = n.select(whole, signed, nan);
    let r = n.select(negative, negative_result, r);
    let one_base = n.compare(Comparison::Eq, x, one);
    let r = n.select(one_base, one, r);
    let no_power = n.compare(Comparison::Eq, y, zero);
    n.select(no_power, one, r)
}

/// `(high, low)`: the sum is log x to twice the precision of f32, all but a few bits, for positive x.
fn log_pair(n: &mut Nest, x: Val) -> (Val, Val) {
    let elem = n.elem(x);
    let b = bits(elem);
    let (m, e) = mantissa(n, x, true);
    let one = n.float(1.0, elem);
    // log m = 2 atanh s, s = (m - 1) / (m + 1), as s + s_low.
    let f = n.sub(m, one);
    let d = n.add(m, one);
    let back = n.sub(d, one);
    let d_low = n.sub(m, back);
    let inverse = n.div(one, d);
    let s = n.mul(f, inverse);
    let minus_s = n.unary(LirUnary::Neg, s);
    let rest = n.fma(minus_s, d, f);
    let rest = n.fma(minus_s, d_low, rest);
    let s_low = n.mul(rest, inverse);
    let z = n.mul(s, s);
    // Of atanh s = s + s³/3 + s⁵/5 + …: z is 0.03 at most.
    let series: Vec<f64> = (1..=6).map(|k| 2.0 / f64::from(2 * k + 1)).collect();
    let p = poly(n, z, &series);
    let sz = n.mul(s, z);
    let tail = n.mul(sz, p);
    let two = n.float(2.0, elem);
    let tail = n.fma(s_low, two, tail);
    let ln2_hi = n.float(b.ln2_hi, elem);
    let ln2_lo = n.float(b.ln2_lo, elem);
    let tail = n.fma(e, ln2_lo, tail);
    let s2 = n.add(s, s);
    // e ln2_hi is exact, and 0 or larger than 2 s.
    let eh = n.mul(e, ln2_hi);
    let high = n.add(eh, s2);
    let back = n.sub(high, eh);
    let lost = n.sub(s2, back);
    let low = n.add(lost, tail);
    (high, low)
}

/// Whole powers up to 8 and roots by products.
fn constant_pow(n: &mut Nest, x: Val, y: f64) -> Option<Val> {
    let elem = n.elem(x);
    let one = n.float(1.0, elem);
    if y == y.trunc() && y.abs() <= 8.0 {
        let z = power(n, x, y.abs() as u32);
        return Some(if y < 0.0 { n.div(one, z) } else { z });
    }
    if y == 0.5 {
        return Some(n.unary(LirUnary::Sqrt, x));
    }
    if y == -0.5 {
        let root = n.unary(LirUnary::Sqrt, x);
        return Some(n.div(one, root));
    }
    None
}

/// `x ^ k` by squaring.
pub fn power(n: &mut Nest, x: Val, k: u32) -> Val {
    let elem = n.elem(x);
    let mut result = None;
    let mut square = x;
    let mut rest = k;
    while rest > 0 {
        if rest & 1 == 1 {
            result = Some(match result {
                None => square,
                Some(r) => n.mul(r, square),
            });
        }
        rest >>= 1;
        if rest > 0 {
            square = n.mul(square, square);
        }
    }
    result.unwrap_or_else(|| n.float(1.0, elem))
}
