//! From words to uniform and normal numbers. Written once, inlined into a function for each
//! instruction set.

use super::Draw;

macro_rules! draw_of {
    ($t:ty, $word:ty) => {
        /// What the words of blocks give. The pairs are one loop, which is long enough to be made
        /// vectors of rather than unrolled.
        #[inline(always)]
        pub(in crate::philox) fn draw<const N: usize>(
            draw: Draw,
            words: &[[$word; 4]; N],
            out: &mut [[$t; 4]; N],
        ) {
            let (words, out) = (words.as_flattened(), out.as_flattened_mut());
            match draw {
                Draw::Uniform => {
                    for (value, &word) in out.iter_mut().zip(words) {
                        *value = uniform(word);
                    }
                }
                Draw::Normal => {
                    let pairs = out.as_chunks_mut::<2>().0;
                    for p in 0..2 * N {
                        let r = minus_two_ln(words[2 * p]).sqrt();
                        let (cos, sin) = turn(words[2 * p + 1]);
                        pairs[p] = [r * cos, r * sin];
                    }
                }
            }
        }
    };
}

/// f32 draws.
pub(super) mod f32_draws {
    use super::Draw;

    /// The uniform of a word.
    #[inline(always)]
    fn uniform(word: u32) -> f32 {
        (((word >> 9) << 1) | 1) as i32 as f32 * (1.0 / 16_777_216.0)
    }

    /// -2 ln of the word's uniform: Cephes' `logf`.
    #[inline(always)]
    fn minus_two_ln(word: u32) -> f32 {
        let bits = uniform(word).to_bits();
        // m in [sqrt(1/2), sqrt(2)), u = m 2^e.
        let e = (bits as i32).wrapping_sub(0x3f35_04f3) >> 23;
        let f = f32::from_bits(bits.wrapping_sub((e as u32) << 23)) - 1.0;
        let e = e as f32;
        let z = f * f;
        let mut p = 7.037_683_6e-2_f32;
        p = p.mul_add(f, -1.151_461e-1);
        p = p.mul_add(f, 1.167_699_9e-1);
        p = p.mul_add(f, -1.242_014_1e-1);
        p = p.mul_add(f, 1.424_932_3e-1);
        p = p.mul_add(f, -1.666_805_8e-1);
        p = p.mul_add(f, 2.000_071_4e-1);
        p = p.mul_add(f, -2.499_999_4e-1);
        p = p.mul_add(f, 3.333_333e-1);
        let mut y = f * z * p;
        y = e.mul_add(-2.121_944_4e-4, y);
        y = z.mul_add(-0.5, y);
        -2.0 * e.mul_add(0.693_359_4, f + y)
    }

    /// cos and sin of 2 pi times the word's uniform.
    #[inline(always)]
    fn turn(word: u32) -> (f32, f32) {
        // In units of 2^-22 quarter turns: the nearest quarter, and what is left, exactly.
        let turns = (((word >> 9) << 1) | 1) as i32;
        let quarter = (turns + (1 << 21)) >> 22;
        let rest = (turns - (quarter << 22)) as f32 * (1.0 / 4_194_304.0);
        let x = rest * std::f32::consts::FRAC_PI_2;
        let z = x * x;
        let mut s = (-1.951_529_6e-4_f32).mul_add(z, 8.332_161e-3);
        s = s.mul_add(z, -1.666_665_5e-1);
        let s = (s * z).mul_add(x, x);
        let mut c = 2.443_315_7e-5_f32.mul_add(z, -1.388_731_6e-3);
        c = c.mul_add(z, 4.166_664_6e-2);
        let c = (c * z).mul_add(z, z.mul_add(-0.5, 1.0));
        let odd = 0u32.wrapping_sub((quarter & 1) as u32);
        let (cb, sb) = (c.to_bits(), s.to_bits());
        let cos = (cb & !odd) | (sb & odd);
        let sin = (sb & !odd) | (cb & odd);
        // cos is negative in quarters 1 and 2, sin in 2 and 3.
        let cos = cos ^ ((((quarter + 1) & 2) as u32) << 30);
        let sin = sin ^ (((quarter & 2) as u32) << 30);
        (f32::from_bits(cos), f32::from_bits(sin))
    }

    draw_of!(f32, u32);
}

/// f64 draws.
pub(super) mod f64_draws {
    use super::Draw;

    #[inline(always)]
    fn uniform(bits: u64) -> f64 {
        (((bits >> 12) << 1) | 1) as i64 as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// -2 ln of the uniform: fdlibm's `log`.
    #[inline(always)]
    fn minus_two_ln(bits: u64) -> f64 {
        let bits = uniform(bits).to_bits();
        let e = (bits as i64).wrapping_sub(0x3fe6_a09e_667f_3bcd) >> 52;
        let f = f64::from_bits(bits.wrapping_sub((e as u64) << 52)) - 1.0;
        let e = e as f64;
        let s = f / (2.0 + f);
        let z = s * s;
        let mut p = 1.479_819_860_511_658_6e-1_f64;
        p = p.mul_add(z, 1.531_383_769_920_937_3e-1);
        p = p.mul_add(z, 1.818_357_216_161_805e-1);
        p = p.mul_add(z, 2.222_219_843_214_978_4e-1);
        p = p.mul_add(z, 2.857_142_874_366_239e-1);
        p = p.mul_add(z, 3.999_999_999_940_942e-1);
        p = p.mul_add(z, 6.666_666_666_666_735e-1);
        let r = p * z;
        let half = 0.5 * f * f;
        // e ln2 - ((half - (s (half + r) + e ln2_low)) - f), ln2 in two parts.
        let low = s.mul_add(half + r, e * 1.908_214_929_270_587_7e-10);
        -2.0 * e.mul_add(6.931_471_803_691_238e-1, f - (half - low))
    }

    /// cos and sin of 2 pi times the uniform: fdlibm's kernels.
    #[inline(always)]
    fn turn(bits: u64) -> (f64, f64) {
        let turns = (((bits >> 12) << 1) | 1) as i64;
        let quarter = (turns + (1 << 50)) >> 51;
        let rest = (turns - (quarter << 51)) as f64 * (1.0 / 2_251_799_813_685_248.0);
        let x = rest * std::f64::consts::FRAC_PI_2;
        let z = x * x;
        let mut s = 1.589_690_995_211_55e-10_f64;
        s = s.mul_add(z, -2.505_076_025_340_686_3e-8);
        s = s.mul_add(z, 2.755_731_370_707_006_8e-6);
        s = s.mul_add(z, -1.984_126_982_985_795e-4);
        s = s.mul_add(z, 8.333_333_333_322_49e-3);
        s = s.mul_add(z, -1.666_666_666_666_663_2e-1);
        let s = (s * z).mul_add(x, x);
        let mut c = -1.135_964_755_778_819_5e-11_f64;
        c = c.mul_add(z, 2.087_572_321_298_175e-9);
        c = c.mul_add(z, -2.755_731_435_139_066_3e-7);
        c = c.mul_add(z, 2.480_158_728_947_673e-5);
        c = c.mul_add(z, -1.388_888_888_887_411e-3);
        c = c.mul_add(z, 4.166_666_666_666_66e-2);
        let c = (c * z).mul_add(z, z.mul_add(-0.5, 1.0));
        let odd = 0u64.wrapping_sub((quarter & 1) as u64);
        let (cb, sb) = (c.to_bits(), s.to_bits());
        let cos = (cb & !odd) | (sb & odd);
        let sin = (sb & !odd) | (cb & odd);
        let cos = cos ^ ((((quarter + 1) & 2) as u64) << 62);
        let sin = sin ^ (((quarter & 2) as u64) << 62);
        (f64::from_bits(cos), f64::from_bits(sin))
    }

    draw_of!(f64, u64);
}
