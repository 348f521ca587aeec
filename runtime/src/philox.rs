//! Random numbers keyed by place: Philox4x32-10 (Salmon et al., "Parallel random numbers: as
//! easy as 1, 2, 3", 2011), uniform and normal draws from it, and a generator for `rand`.
//!
//! # The stream, version 1
//!
//! A draw is named by a seed, a site and coordinates; nothing is kept between draws.
//!
//! * key: `h = mix(mix(seed) ^ site)`, key words `[low, high]` of h, where `mix` is one step of
//!   SplitMix64 ([`key`]).
//! * Element e at coordinates (inner, example, step) is word `e % 4` of the block of counter
//!   `[e / 4, inner, example, step]`. e / 4 is taken modulo 2^32.
//! * Uniform f32 of word w: `(2 (w >> 9) + 1) / 2^24`, exactly; never 0 or 1. Its mean is 1/2.
//! * Normal f32: words 0 and 1 give elements 0 and 1, words 2 and 3 elements 2 and 3. With
//!   uniforms a and b of the two words: `r = sqrt(-2 ln a)`, `r cos(2 pi b)`, `r sin(2 pi b)`.
//! * f64 draws use 64 bits: the same word above, and below it the same word of the block with
//!   key word 1 xored with [`LOW_WORDS`]. Uniform: `(2 (w >> 12) + 1) / 2^53`. So an f64 draw
//!   is the f32 draw of the same name with more digits.
//!
//! ln, cos and sin are the polynomials below, every operation rounded as IEEE 754 says (fused
//! multiply-add where written): the same bits on every processor.

#![allow(unsafe_code)]

use std::convert::Infallible;

use rand::{SeedableRng, TryRng};

use crate::gemm::Isa;

/// Version of the stream above. A change of any bit of it is a new version.
pub const STREAM_VERSION: u32 = 1;

/// Changes the key for the low halves of f64 draws.
pub const LOW_WORDS: u32 = 0x5bd1_e995;

/// Which distribution [`aec_draw16_f32`] and its kin draw from, as they take it.
pub const UNIFORM: u32 = 0;
/// Standard normal; see [`UNIFORM`].
pub const NORMAL: u32 = 1;

/// One step of SplitMix64 from state `x`.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The key of a seed and a site.
pub const fn key(seed: u64, site: u64) -> [u32; 2] {
    let h = mix(mix(seed) ^ site);
    [h as u32, (h >> 32) as u32]
}

/// [`key`] as one number: word 0 below, word 1 above, as the draw functions take it.
pub const fn key64(seed: u64, site: u64) -> u64 {
    mix(mix(seed) ^ site)
}

/// [`key64`] for compiled code.
pub extern "C" fn aec_draw_key(seed: u64, site: u64) -> u64 {
    key64(seed, site)
}

/// The Philox4x32-10 block of a counter.
#[inline(always)]
pub const fn draw_block(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut k0, mut k1] = key;
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let mut round = 0;
    while round < 10 {
        let p0 = c0 as u64 * 0xd251_1f53;
        let p1 = c2 as u64 * 0xcd9e_8d57;
        (c0, c1, c2, c3) = (
            (p1 >> 32) as u32 ^ c1 ^ k0,
            p1 as u32,
            (p0 >> 32) as u32 ^ c3 ^ k1,
            p0 as u32,
        );
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
        round += 1;
    }
    [c0, c1, c2, c3]
}

/// Where a run of draws lies, apart from its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of [`key64`].
    pub key: u64,
    /// Flattened loop indices.
    pub inner: u32,
    /// Which example.
    pub example: u32,
    /// Which step of training.
    pub step: u32,
}

impl Place {
    #[inline(always)]
    fn words(&self, flip: u32, block: u32) -> [u32; 4] {
        let key = [self.key as u32, (self.key >> 32) as u32 ^ flip];
        draw_block(key, [block, self.inner, self.example, self.step])
    }
}

/// What is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Draw {
    /// Uniform on (0, 1).
    Uniform,
    /// Standard normal.
    Normal,
}

impl Draw {
    fn from_code(code: u32) -> Draw {
        if code == UNIFORM {
            Draw::Uniform
        } else {
            Draw::Normal
        }
    }
}

mod f32_draws {
    use super::Place;

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

    /// Uniforms of four blocks, given as words.
    #[inline(always)]
    pub(super) fn four_uniforms(words: &[[u32; 4]; 4], out: &mut [f32; 16]) {
        for (value, &word) in out.iter_mut().zip(words.as_flattened()) {
            *value = uniform(word);
        }
    }

    /// Normals of four blocks, given as words.
    #[inline(always)]
    pub(super) fn four_normals(words: &[[u32; 4]; 4], out: &mut [f32; 16]) {
        let words = words.as_flattened();
        for p in 0..8 {
            let r = minus_two_ln(words[2 * p]).sqrt();
            let (cos, sin) = turn(words[2 * p + 1]);
            out[2 * p] = r * cos;
            out[2 * p + 1] = r * sin;
        }
    }

    /// Uniforms of `B` blocks.
    #[inline(always)]
    pub(super) fn uniforms<const B: usize>(place: &Place, block: u32, out: &mut [[f32; 4]; B]) {
        let mut words = [[0u32; B]; 4];
        for b in 0..B {
            let w = place.words(0, block.wrapping_add(b as u32));
            for (column, w) in words.iter_mut().zip(w) {
                column[b] = w;
            }
        }
        for (b, four) in out.iter_mut().enumerate() {
            for (value, column) in four.iter_mut().zip(&words) {
                *value = uniform(column[b]);
            }
        }
    }

    /// Normals of `B` blocks. The pairs are one loop, which is long enough to be made vectors
    /// of rather than unrolled.
    #[inline(always)]
    pub(super) fn normals<const B: usize>(place: &Place, block: u32, out: &mut [[f32; 4]; B]) {
        let (mut radius, mut angle) = ([[0u32; 2]; B], [[0u32; 2]; B]);
        for b in 0..B {
            let w = place.words(0, block.wrapping_add(b as u32));
            radius[b] = [w[0], w[2]];
            angle[b] = [w[1], w[3]];
        }
        let (radius, angle) = (radius.as_flattened(), angle.as_flattened());
        let pairs = out.as_flattened_mut().as_chunks_mut::<2>().0;
        for p in 0..2 * B {
            let r = minus_two_ln(radius[p]).sqrt();
            let (cos, sin) = turn(angle[p]);
            pairs[p] = [r * cos, r * sin];
        }
    }
}

mod f64_draws {
    use super::{LOW_WORDS, Place};

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

    #[inline(always)]
    fn wide_words<const B: usize>(place: &Place, block: u32) -> [[u64; B]; 4] {
        let mut words = [[0u64; B]; 4];
        for b in 0..B {
            let at = block.wrapping_add(b as u32);
            let (high, low) = (place.words(0, at), place.words(LOW_WORDS, at));
            for (column, (high, low)) in words.iter_mut().zip(high.into_iter().zip(low)) {
                column[b] = u64::from(high) << 32 | u64::from(low);
            }
        }
        words
    }

    /// Uniforms of four blocks, given as words, high and low.
    #[inline(always)]
    pub(super) fn four_uniforms(words: &[[u64; 4]; 4], out: &mut [f64; 16]) {
        for (value, &word) in out.iter_mut().zip(words.as_flattened()) {
            *value = uniform(word);
        }
    }

    /// Normals of four blocks, given as words.
    #[inline(always)]
    pub(super) fn four_normals(words: &[[u64; 4]; 4], out: &mut [f64; 16]) {
        let words = words.as_flattened();
        for p in 0..8 {
            let r = minus_two_ln(words[2 * p]).sqrt();
            let (cos, sin) = turn(words[2 * p + 1]);
            out[2 * p] = r * cos;
            out[2 * p + 1] = r * sin;
        }
    }

    /// Uniforms of `B` blocks.
    #[inline(always)]
    pub(super) fn uniforms<const B: usize>(place: &Place, block: u32, out: &mut [[f64; 4]; B]) {
        let words = wide_words::<B>(place, block);
        for (b, four) in out.iter_mut().enumerate() {
            for (value, column) in four.iter_mut().zip(&words) {
                *value = uniform(column[b]);
            }
        }
    }

    /// Normals of `B` blocks.
    #[inline(always)]
    pub(super) fn normals<const B: usize>(place: &Place, block: u32, out: &mut [[f64; 4]; B]) {
        let words = wide_words::<B>(place, block);
        let pairs = out.as_flattened_mut().as_chunks_mut::<2>().0;
        for p in 0..2 * B {
            let r = minus_two_ln(words[p % 2 * 2][p / 2]).sqrt();
            let (cos, sin) = turn(words[p % 2 * 2 + 1][p / 2]);
            pairs[p] = [r * cos, r * sin];
        }
    }
}

/// Blocks that the bulk functions draw at once.
const BULK: usize = 16;

/// The four blocks from `block` on.
#[inline(always)]
fn four_blocks(place: &Place, flip: u32, block: u32) -> [[u32; 4]; 4] {
    [0, 1, 2, 3].map(|b| place.words(flip, block.wrapping_add(b)))
}

/// The same in vectors: the compiler finds none for so few blocks.
///
/// # Safety
/// AVX-512 F must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn four_blocks_avx512(place: &Place, flip: u32, block: u32) -> [[u32; 4]; 4] {
    use std::arch::x86_64::*;
    // 64-bit lanes, of which the low halves count: words 0 and 2 (`even`), 1 and 3 (`odd`) of
    // the four blocks. Each round swaps the halves; the multipliers and keys swap along, `odd`
    // is swapped by hand.
    let halves = |low: u32, high: u32| {
        let (low, high) = (i64::from(low), i64::from(high));
        _mm512_set_epi64(high, high, high, high, low, low, low, low)
    };
    let swap = |x| _mm512_shuffle_i64x2::<0x4e>(x, x);
    let at = |b: u32| i64::from(block.wrapping_add(b));
    let c2 = i64::from(place.example);
    let mut even = _mm512_set_epi64(c2, c2, c2, c2, at(3), at(2), at(1), at(0));
    // In the place where the product's other half will be needed.
    let mut odd = halves(place.step, place.inner);
    let (mut k0, mut k1) = (place.key as u32, (place.key >> 32) as u32 ^ flip);
    let mut factors = [
        halves(0xd251_1f53, 0xcd9e_8d57),
        halves(0xcd9e_8d57, 0xd251_1f53),
    ];
    for round in 0..10 {
        // Round 0: lanes 0..4 hold word 0's product, which makes words 2 and 3.
        let keys = if round % 2 == 0 {
            halves(k1, k0)
        } else {
            halves(k0, k1)
        };
        let product = _mm512_mul_epu32(even, factors[0]);
        even = _mm512_ternarylogic_epi64::<0x96>(_mm512_srli_epi64::<32>(product), odd, keys);
        odd = swap(product);
        factors.swap(0, 1);
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    // After an even number of rounds `even` is words 0 and 2 again; `odd` is words 3 and 1.
    let mask = _mm512_set1_epi64(0xffff_ffff);
    let pairs = _mm512_or_si512(
        _mm512_and_si512(even, mask),
        _mm512_slli_epi64::<32>(swap(odd)),
    );
    let order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
    let words = _mm512_permutexvar_epi64(order, pairs);
    let mut out = [[0u32; 4]; 4];
    // SAFETY: 64 bytes are written to 64 bytes.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words) };
    out
}

/// The words of f32 draws.
#[inline(always)]
fn narrow_words(
    place: &Place,
    block: u32,
    four: &impl Fn(&Place, u32, u32) -> [[u32; 4]; 4],
) -> [[u32; 4]; 4] {
    four(place, 0, block)
}

/// The words of f64 draws.
#[inline(always)]
fn wide_words(
    place: &Place,
    block: u32,
    four: &impl Fn(&Place, u32, u32) -> [[u32; 4]; 4],
) -> [[u64; 4]; 4] {
    let (high, low) = (four(place, 0, block), four(place, LOW_WORDS, block));
    let mut words = [[0; 4]; 4];
    for b in 0..4 {
        for w in 0..4 {
            words[b][w] = u64::from(high[b][w]) << 32 | u64::from(low[b][w]);
        }
    }
    words
}

macro_rules! draws {
    ($t:ty, $draws:ident, $words:ident, $fill:ident, $fill_on:ident, $any:ident, $portable:ident, $avx2:ident, $avx512:ident,
     $c16:ident, $cfill:ident) => {
        /// Elements `element ..` into `out`, written so that vectors can be made of it.
        #[inline(always)]
        fn $any(
            draw: Draw,
            place: &Place,
            element: u64,
            out: &mut [$t],
            four: impl Fn(&Place, u32, u32) -> [[u32; 4]; 4],
        ) {
            let mut done = 0;
            while done < out.len() {
                let at = element.wrapping_add(done as u64);
                let (block, skip) = ((at / 4) as u32, (at % 4) as usize);
                let left = out.len() - done;
                if skip == 0 && left >= 4 * BULK {
                    let whole = out[done..].first_chunk_mut::<{ 4 * BULK }>();
                    let Some(blocks) = whole
                        .and_then(|whole| whole.as_chunks_mut::<4>().0.first_chunk_mut::<BULK>())
                    else {
                        return;
                    };
                    match draw {
                        Draw::Uniform => $draws::uniforms(place, block, blocks),
                        Draw::Normal => $draws::normals(place, block, blocks),
                    }
                    done += 4 * BULK;
                } else {
                    let words = $words(place, block, &four);
                    let mut blocks = [0.0; 16];
                    match draw {
                        Draw::Uniform => $draws::four_uniforms(&words, &mut blocks),
                        Draw::Normal => $draws::four_normals(&words, &mut blocks),
                    }
                    let drawn = &blocks[skip..];
                    let count = drawn.len().min(left);
                    out[done..done + count].copy_from_slice(&drawn[..count]);
                    done += count;
                }
            }
        }

        fn $portable(draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            $any(draw, place, element, out, four_blocks);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2(draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            $any(draw, place, element, out, four_blocks);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
        fn $avx512(draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            // SAFETY: the instruction set is that of this function.
            $any(draw, place, element, out, |place, flip, block| unsafe {
                four_blocks_avx512(place, flip, block)
            });
        }

        /// Fills `out` with the draws of elements `element ..` at `place`.
        pub fn $fill(draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            match Isa::best() {
                // SAFETY: the best instruction set is an available one.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { $avx512(draw, place, element, out) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { $avx2(draw, place, element, out) },
                Isa::Avx512 | Isa::Avx2 | Isa::Portable => $portable(draw, place, element, out),
            }
        }

        /// The same on a given instruction set, or in plain Rust if it isn't there. The bits
        /// don't depend on it.
        pub fn $fill_on(isa: Isa, draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            match isa {
                // SAFETY: the instruction set has just been seen to be available.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 if isa.available() => unsafe { $avx512(draw, place, element, out) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 if isa.available() => unsafe { $avx2(draw, place, element, out) },
                Isa::Avx512 | Isa::Avx2 | Isa::Portable => $portable(draw, place, element, out),
            }
        }

        /// Sixteen consecutive elements for compiled code, from any `element` on.
        ///
        /// # Safety
        /// `out` has room for 16 numbers.
        pub unsafe extern "C" fn $c16(
            dist: u32,
            key: u64,
            element: u64,
            inner: u32,
            example: u32,
            step: u32,
            out: *mut $t,
        ) {
            // SAFETY: the caller's promise.
            let out = unsafe { &mut *out.cast::<[$t; 16]>() };
            $fill(
                Draw::from_code(dist),
                &Place {
                    key,
                    inner,
                    example,
                    step,
                },
                element,
                out,
            );
        }

        /// `count` consecutive elements for compiled code. From 64 on this costs a third of
        /// what sixteen at a time do.
        ///
        /// # Safety
        /// `out` has room for `count` numbers.
        #[allow(clippy::too_many_arguments)]
        pub unsafe extern "C" fn $cfill(
            dist: u32,
            key: u64,
            element: u64,
            inner: u32,
            example: u32,
            step: u32,
            out: *mut $t,
            count: u64,
        ) {
            // SAFETY: the caller's promise.
            let out = unsafe { std::slice::from_raw_parts_mut(out, count as usize) };
            $fill(
                Draw::from_code(dist),
                &Place {
                    key,
                    inner,
                    example,
                    step,
                },
                element,
                out,
            );
        }
    };
}

draws!(
    f32,
    f32_draws,
    narrow_words,
    fill_f32,
    fill_f32_on,
    any_f32,
    portable_f32,
    avx2_f32,
    avx512_f32,
    aec_draw16_f32,
    aec_draw_fill_f32
);
draws!(
    f64,
    f64_draws,
    wide_words,
    fill_f64,
    fill_f64_on,
    any_f64,
    portable_f64,
    avx2_f64,
    avx512_f64,
    aec_draw16_f64,
    aec_draw_fill_f64
);

/// A generator for `rand`: the words of the blocks of counters `[i low, i high, c, d]` for
/// i = 0, 1, ... in order.
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    block: u64,
    stream: u64,
    words: [u32; 4],
    used: usize,
}

impl Philox {
    /// The generator of a key; `stream` fills the counter's upper two words.
    pub fn new(key: [u32; 2], stream: u64) -> Philox {
        Philox {
            key,
            block: 0,
            stream,
            words: [0; 4],
            used: 4,
        }
    }

    fn next_word(&mut self) -> u32 {
        if self.used == 4 {
            let (i, s) = (self.block, self.stream);
            self.words = draw_block(
                self.key,
                [i as u32, (i >> 32) as u32, s as u32, (s >> 32) as u32],
            );
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }
}

impl TryRng for Philox {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.next_word());
        Ok(u64::from(self.next_word()) << 32 | low)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(4) {
            let word = self.next_word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl SeedableRng for Philox {
    type Seed = [u8; 16];

    /// Little-endian: the key, then the stream.
    fn from_seed(seed: [u8; 16]) -> Philox {
        let word =
            |at: usize| u32::from_le_bytes([seed[at], seed[at + 1], seed[at + 2], seed[at + 3]]);
        Philox::new(
            [word(0), word(4)],
            u64::from(word(12)) << 32 | u64::from(word(8)),
        )
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt};

    use super::*;

    const PLACE: Place = Place {
        key: 0x1234_5678_9abc_def0,
        inner: 3,
        example: 17,
        step: 99,
    };

    #[test]
    fn known_answers_of_random123() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (key, counter, want) in [
            (
                [0; 2],
                [0; 4],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 2],
                [u32::MAX; 4],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0xa409_3822, 0x299f_31d0],
                pi,
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(draw_block(key, counter), want);
        }
    }

    #[test]
    fn splitmix_and_keys() {
        // First outputs of SplitMix64 from states 0 and 1234567.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
        let (seed, site) = (5, 77);
        let k = key(seed, site);
        assert_eq!(u64::from(k[1]) << 32 | u64::from(k[0]), key64(seed, site));
        assert_ne!(key(0, 1), key(1, 0));
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for draw in [Draw::Uniform, Draw::Normal] {
            for start in [0u64, 1, 2, 3, 4, 63, 1000, (1 << 34) - 8] {
                for len in [0usize, 1, 15, 16, 17, 64, 65, 200, 1000] {
                    let mut want32 = vec![0f32; len];
                    let mut want64 = vec![0f64; len];
                    fill_f32_on(Isa::Portable, draw, &PLACE, start, &mut want32);
                    fill_f64_on(Isa::Portable, draw, &PLACE, start, &mut want64);
                    for isa in Isa::ALL {
                        let mut got32 = vec![0f32; len];
                        let mut got64 = vec![0f64; len];
                        fill_f32_on(isa, draw, &PLACE, start, &mut got32);
                        fill_f64_on(isa, draw, &PLACE, start, &mut got64);
                        assert!(
                            got32
                                .iter()
                                .zip(&want32)
                                .all(|(a, b)| a.to_bits() == b.to_bits())
                        );
                        assert!(
                            got64
                                .iter()
                                .zip(&want64)
                                .all(|(a, b)| a.to_bits() == b.to_bits())
                        );
                    }
                    for (a, b) in want32.iter().zip(&want64) {
                        assert!(
                            (f64::from(*a) - b).abs() < 4e-3,
                            "f32 {a} and f64 {b} are different draws"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn draws_are_what_the_stream_says() {
        let mut uniforms = [0f64; 16];
        let mut wide = [0f64; 16];
        let mut narrow = [0f32; 16];
        let mut normals = [0f64; 16];
        let mut floats = [0f32; 16];
        for first in [0u64, 5, 40, 12_345] {
            fill_f64(Draw::Uniform, &PLACE, first, &mut wide);
            let k = [PLACE.key as u32, (PLACE.key >> 32) as u32];
            for (i, u) in uniforms.iter_mut().enumerate() {
                let e = first + i as u64;
                let word = draw_block(k, [(e / 4) as u32, 3, 17, 99])[(e % 4) as usize];
                let low = draw_block([k[0], k[1] ^ LOW_WORDS], [(e / 4) as u32, 3, 17, 99])
                    [(e % 4) as usize];
                let bits = (u64::from(word) << 32 | u64::from(low)) >> 12;
                *u = (2.0 * bits as f64 + 1.0) / (1u64 << 53) as f64;
                assert_eq!(*u, wide[i]);
            }
            // SAFETY: sixteen places each.
            unsafe {
                aec_draw16_f32(UNIFORM, PLACE.key, first, 3, 17, 99, narrow.as_mut_ptr());
                aec_draw16_f64(
                    NORMAL,
                    PLACE.key,
                    first / 4 * 4,
                    3,
                    17,
                    99,
                    normals.as_mut_ptr(),
                );
                aec_draw_fill_f32(
                    NORMAL,
                    PLACE.key,
                    first / 4 * 4,
                    3,
                    17,
                    99,
                    floats.as_mut_ptr(),
                    16,
                );
            }
            fill_f64(Draw::Uniform, &PLACE, first / 4 * 4, &mut wide);
            for i in 0..16 {
                assert!((f64::from(narrow[i]) - uniforms[i]).abs() < 1.3e-7);
                let r = (-2.0 * wide[i / 2 * 2].ln()).sqrt();
                let angle = std::f64::consts::TAU * wide[i / 2 * 2 + 1];
                let want = if i % 2 == 0 {
                    r * angle.cos()
                } else {
                    r * angle.sin()
                };
                assert!(
                    (normals[i] - want).abs() < 4e-15 * (1.0 + r),
                    "{} {want}",
                    normals[i]
                );
                assert!(
                    (f64::from(floats[i]) - want).abs() < 3e-6,
                    "{} {want}",
                    floats[i]
                );
            }
        }
    }

    #[test]
    fn extreme_words_stay_inside() {
        // Every word's uniform lies strictly inside, so ln never sees 0 and 1 - u is never 0.
        for word in [0u32, u32::MAX] {
            let u = (2 * (word >> 9) + 1) as f32 / 16_777_216.0;
            assert!(u > 0.0 && u < 1.0 && 1.0 - u > 0.0);
        }
        let mut all = vec![0f32; 1 << 18];
        fill_f32(Draw::Normal, &PLACE, 0, &mut all);
        assert!(all.iter().all(|z| z.is_finite() && z.abs() < 5.8));
    }

    #[test]
    fn moments() {
        let n = 1 << 18;
        let mut u = vec![0f32; n];
        fill_f32(Draw::Uniform, &PLACE, 0, &mut u);
        let mean = |f: &dyn Fn(f64) -> f64, x: &[f32]| {
            x.iter().map(|&v| f(f64::from(v))).sum::<f64>() / n as f64
        };
        assert!((mean(&|v| v, &u) - 0.5).abs() < 0.003);
        assert!((mean(&|v| v * v, &u) - 1.0 / 3.0).abs() < 0.003);
        fill_f32(Draw::Normal, &PLACE, 0, &mut u);
        assert!(mean(&|v| v, &u).abs() < 0.01);
        assert!((mean(&|v| v * v, &u) - 1.0).abs() < 0.015);
        assert!(mean(&|v| v * v * v, &u).abs() < 0.03);
        assert!((mean(&|v| v * v * v * v, &u) - 3.0).abs() < 0.1);
        let lag = u
            .windows(2)
            .map(|w| f64::from(w[0]) * f64::from(w[1]))
            .sum::<f64>()
            / n as f64;
        assert!(lag.abs() < 0.01);
    }

    #[test]
    fn the_generator_streams_blocks() {
        let k = key(1, 2);
        let mut rng = Philox::new(k, 0x5_0000_0007);
        let words: Vec<u32> = (0..8).map(|_| rng.next_u32()).collect();
        assert_eq!(words[..4], draw_block(k, [0, 0, 7, 5]));
        assert_eq!(words[4..], draw_block(k, [1, 0, 7, 5]));
        let mut again = Philox::new(k, 0x5_0000_0007);
        assert_eq!(
            again.next_u64(),
            u64::from(words[1]) << 32 | u64::from(words[0])
        );
        let mut bytes = [0u8; 6];
        again.fill_bytes(&mut bytes);
        assert_eq!(bytes[..4], words[2].to_le_bytes());
        let mut seeded = Philox::from_seed([0; 16]);
        assert_eq!(seeded.next_u32(), 0x6627_e8d5);
        assert!((0..100).contains(&seeded.random_range(0..100)));
    }
}
