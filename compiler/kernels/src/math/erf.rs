//! The error function: a rational approximation in f32, the four pieces of fdlibm in f64.

use super::{at_least, at_most, exp, poly, test};
use crate::lir::{Comparison, LirUnary, Val};
use crate::nest::Nest;
use aec_runtime::Elem;

/// Error function.
pub fn erf(n: &mut Nest, x: Val) -> Val {
    match n.elem(x) {
        Elem::F64 => erf_f64(n, x),
        Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool => {
            let c = at_most(n, x, 4.0);
            let c = at_least(n, c, -4.0);
            let z = n.mul(c, c);
            let p = poly(
                n,
                z,
                &[
                    -1.609_603_332_624_15e-2,
                    -2.954_599_808_540_25e-3,
                    -7.349_906_303_268_55e-4,
                    -5.692_506_394_623_46e-5,
                    -2.101_023_928_7e-6,
                    2.770_681_424_959_02e-8,
                    -2.726_142_258_013_06e-10,
                ],
            );
            let q = poly(
                n,
                z,
                &[
                    -1.426_473_905_141_89e-2,
                    -7.373_329_167_204_68e-3,
                    -1.682_826_974_382_03e-3,
                    -2.133_740_552_789_05e-4,
                    -1.456_607_184_649_96e-5,
                ],
            );
            let p = n.mul(c, p);
            n.div(p, q)
        }
    }
}

/// The four pieces of fdlibm, chosen by selects.
fn erf_f64(n: &mut Nest, x: Val) -> Val {
    let elem = Elem::F64;
    let one = n.float(1.0, elem);
    let z = n.mul(x, x);
    let p = poly(
        n,
        z,
        &[
            1.283_791_670_955_125_6e-1,
            -3.250_421_072_470_015e-1,
            -2.848_174_957_559_851e-2,
            -5.770_270_296_489_442e-3,
            -2.376_301_665_665_016_3e-5,
        ],
    );
    let q = poly(
        n,
        z,
        &[
            1.0,
            3.979_172_239_591_553_5e-1,
            6.502_224_998_876_73e-2,
            5.081_306_281_875_766e-3,
            1.324_947_380_043_216_4e-4,
            -3.960_228_278_775_368e-6,
        ],
    );
    let y = n.div(p, q);
    let inner = n.fma(x, y, x);
    let a = n.unary(LirUnary::Abs, x);
    let a = at_most(n, a, 6.0);
    let s = n.sub(a, one);
    let p = poly(
        n,
        s,
        &[
            -2.362_118_560_752_659_4e-3,
            4.148_561_186_837_483e-1,
            -3.722_078_760_357_013e-1,
            3.183_466_199_011_617_5e-1,
            -1.108_946_942_823_966_8e-1,
            3.547_830_432_561_823_6e-2,
            -2.166_375_594_868_791e-3,
        ],
    );
    let q = poly(
        n,
        s,
        &[
            1.0,
            1.064_208_804_008_442_3e-1,
            5.403_979_177_021_71e-1,
            7.182_865_441_419_627e-2,
            1.261_712_198_087_616_4e-1,
            1.363_708_391_202_905e-2,
            1.198_449_984_679_911e-2,
        ],
    );
    let y = n.div(p, q);
    let erx = n.float(8.450_629_115_104_675e-1, elem);
    let middle = n.add(erx, y);
    // The tail, 1 - e^(-x² - 0.5625 + R/S) / x.
    let a_tail = at_least(n, a, 0.84375);
    let a2 = n.mul(a_tail, a_tail);
    let s = n.div(one, a2);
    let ra = poly(
        n,
        s,
        &[
            -9.864_944_034_847_148e-3,
            -6.938_585_727_071_818e-1,
            -1.055_862_622_532_329_1e1,
            -6.237_533_245_032_601e1,
            -1.623_966_694_625_734_7e2,
            -1.846_050_929_067_110_4e2,
            -8.128_743_550_630_66e1,
            -9.814_329_344_169_145,
        ],
    );
    let sa = poly(
        n,
        s,
        &[
            1.0,
            1.965_127_166_743_925_7e1,
            1.376_577_541_435_190_4e2,
            4.345_658_774_752_292_3e2,
            6.453_872_717_332_679e2,
            4.290_081_400_275_678_3e2,
            1.086_350_055_417_794_4e2,
            6.570_249_770_319_282,
            -6.042_441_521_485_81e-2,
        ],
    );
    let rb = poly(
        n,
        s,
        &[
            -9.864_942_924_700_1e-3,
            -7.992_832_376_805_23e-1,
            -1.775_795_491_775_475_2e1,
            -1.606_363_848_558_219_2e2,
            -6.375_664_433_683_896e2,
            -1.025_095_131_611_077_2e3,
            -4.835_191_916_086_514e2,
        ],
    );
    let sb = poly(
        n,
        s,
        &[
            1.0,
            3.033_806_074_348_246e1,
            3.257_925_129_965_739e2,
            1.536_729_586_084_437e3,
            3.199_858_219_508_595_5e3,
            2.553_050_406_433_164_4e3,
            4.745_285_412_069_553_7e2,
            -2.244_095_244_658_582e1,
        ],
    );
    let near = test(n, a_tail, Comparison::Lt, 1.0 / 0.35);
    let r = n.select(near, ra, rb);
    let s = n.select(near, sa, sb);
    let q = n.div(r, s);
    let offset = n.float(-0.5625, elem);
    let q = n.add(q, offset);
    let e = n.sub(q, a2);
    let e = exp(n, e);
    let e = n.div(e, a_tail);
    let tail = n.sub(one, e);
    let is_middle = test(n, a, Comparison::Lt, 1.25);
    let outer = n.select(is_middle, middle, tail);
    let minus = n.unary(LirUnary::Neg, outer);
    let negative = test(n, x, Comparison::Lt, 0.0);
    let outer = n.select(negative, minus, outer);
    let is_outer = test(n, a, Comparison::Ge, 0.84375);
    n.select(is_outer, outer, inner)
}
