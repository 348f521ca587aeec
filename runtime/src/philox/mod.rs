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

mod values;

use std::convert::Infallible;

use rand::{SeedableRng, TryRng};

use crate::gemm::Isa;
use values::{f32_draws, f64_draws};

/// Version of the stream above. A change of any bit of it is a new version.
pub const STREAM_VERSION: u32 = 1;

/// Changes the key for the low halves of f64 draws.
pub const LOW_WORDS: u32 = 0x5bd1_e995;

/// Which distribution [`aec_draw_f32`] and its kin draw from, as they take it.
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
#[repr(C)]
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

/// Blocks that the bulk functions draw at once.
const BULK: usize = 16;

/// Words of blocks, one block after the other.
type Words<const N: usize> = [[u32; 4]; N];

/// The blocks from `block` on.
#[inline(always)]
fn blocks<const N: usize>(place: &Place, flip: u32, block: u32) -> Words<N> {
    let mut words = [[0; 4]; N];
    for (b, words) in words.iter_mut().enumerate() {
        *words = place.words(flip, block.wrapping_add(b as u32));
    }
    words
}

/// The same in vectors, of which the compiler makes less.
///
/// # Safety
/// AVX2 must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn eight_blocks_avx2(place: &Place, flip: u32, block: u32) -> Words<8> {
    use std::arch::x86_64::*;
    // Words in the low halves of 64-bit lanes, of blocks 0 to 3 and of blocks 4 to 7; what is in
    // the high halves is never read.
    let word = |word: u32| _mm256_set1_epi64x(i64::from(word));
    let at = |b: u32| i64::from(block.wrapping_add(b));
    let mut c0 = [
        _mm256_set_epi64x(at(3), at(2), at(1), at(0)),
        _mm256_set_epi64x(at(7), at(6), at(5), at(4)),
    ];
    let [mut c1, mut c2, mut c3] = [place.inner, place.example, place.step].map(|w| [word(w); 2]);
    let (mut k0, mut k1) = (
        word(place.key as u32),
        word((place.key >> 32) as u32 ^ flip),
    );
    let (m0, m1) = (word(0xd251_1f53), word(0xcd9e_8d57));
    for _ in 0..10 {
        for half in 0..2 {
            let p0 = _mm256_mul_epu32(c0[half], m0);
            let p1 = _mm256_mul_epu32(c2[half], m1);
            let (h0, h1) = (_mm256_srli_epi64::<32>(p0), _mm256_srli_epi64::<32>(p1));
            c0[half] = _mm256_xor_si256(h1, _mm256_xor_si256(c1[half], k0));
            c2[half] = _mm256_xor_si256(h0, _mm256_xor_si256(c3[half], k1));
            (c1[half], c3[half]) = (p1, p0);
        }
        k0 = _mm256_add_epi32(k0, word(0x9e37_79b9));
        k1 = _mm256_add_epi32(k1, word(0xbb67_ae85));
    }
    let mut out = [[0u32; 4]; 8];
    for half in 0..2 {
        let pair = |low, high| _mm256_blend_epi32::<0xaa>(low, _mm256_slli_epi64::<32>(high));
        let (first, second) = (pair(c0[half], c1[half]), pair(c2[half], c3[half]));
        let (even, odd) = (
            _mm256_unpacklo_epi64(first, second),
            _mm256_unpackhi_epi64(first, second),
        );
        let to = out[4 * half..].as_mut_ptr().cast::<__m256i>();
        // SAFETY: 64 bytes are written to four blocks.
        unsafe {
            _mm256_storeu_si256(to, _mm256_permute2x128_si256::<0x20>(even, odd));
            _mm256_storeu_si256(to.add(1), _mm256_permute2x128_si256::<0x31>(even, odd));
        }
    }
    out
}

/// Four blocks in vectors: the compiler finds none for so few.
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
fn narrow_words<const N: usize>(
    place: &Place,
    block: u32,
    blocks: &impl Fn(&Place, u32, u32) -> Words<N>,
) -> Words<N> {
    blocks(place, 0, block)
}

/// The words of f64 draws.
#[inline(always)]
fn wide_words<const N: usize>(
    place: &Place,
    block: u32,
    blocks: &impl Fn(&Place, u32, u32) -> Words<N>,
) -> [[u64; 4]; N] {
    let (high, low) = (blocks(place, 0, block), blocks(place, LOW_WORDS, block));
    let mut words = [[0; 4]; N];
    for b in 0..N {
        for w in 0..4 {
            words[b][w] = u64::from(high[b][w]) << 32 | u64::from(low[b][w]);
        }
    }
    words
}

macro_rules! draws {
    ($t:ty, $draws:ident, $words:ident, $fill:ident, $fill_on:ident, $any:ident, $portable:ident, $avx2:ident, $avx512:ident,
     $extern:ident) => {
        /// Elements `element ..` into `out`, written so that vectors can be made of it: by
        /// [`BULK`] blocks, or by `N` where fewer are wanted.
        #[inline(always)]
        fn $any<const N: usize>(
            draw: Draw,
            place: &Place,
            element: u64,
            out: &mut [$t],
            few: impl Fn(&Place, u32, u32) -> Words<N>,
            many: impl Fn(&Place, u32, u32) -> Words<BULK>,
        ) {
            let mut done = 0;
            while done < out.len() {
                let at = element.wrapping_add(done as u64);
                let (block, skip) = ((at / 4) as u32, (at % 4) as usize);
                let left = &mut out[done..];
                let whole = left.as_chunks_mut().0.first_chunk_mut();
                if let Some(whole) = whole.filter(|_| skip == 0) {
                    $draws::draw::<BULK>(draw, &$words(place, block, &many), whole);
                    done += 4 * BULK;
                } else {
                    let mut drawn = [[0.0; 4]; N];
                    $draws::draw::<N>(draw, &$words(place, block, &few), &mut drawn);
                    let drawn = &drawn.as_flattened()[skip..];
                    let count = drawn.len().min(left.len());
                    left[..count].copy_from_slice(&drawn[..count]);
                    done += count;
                }
            }
        }

        fn $portable(draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            $any(draw, place, element, out, blocks::<4>, blocks);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2(draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            // SAFETY: the instruction set is that of this function.
            let eight =
                |place: &Place, flip, block| unsafe { eight_blocks_avx2(place, flip, block) };
            let many = |place: &Place, flip, block: u32| {
                let mut words = [[0; 4]; BULK];
                for (at, words) in words.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                    *words = eight(place, flip, block.wrapping_add(8 * at as u32));
                }
                words
            };
            $any(draw, place, element, out, eight, many);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
        fn $avx512(draw: Draw, place: &Place, element: u64, out: &mut [$t]) {
            // SAFETY: the instruction set is that of this function.
            let four =
                |place: &Place, flip, block| unsafe { four_blocks_avx512(place, flip, block) };
            // In a closure, for which the compiler may use the same instructions.
            let many = |place: &Place, flip, block| blocks(place, flip, block);
            $any(draw, place, element, out, four, many);
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
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx512 | Isa::Avx2 => $portable(draw, place, element, out),
                Isa::Portable => $portable(draw, place, element, out),
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

        /// `count` consecutive elements for compiled code, from any `element` on. From 64 on one
        /// costs a third of what it does in a call for 16.
        ///
        /// # Safety
        /// `place` points at a place, and `out` has room for `count` numbers.
        pub unsafe extern "C" fn $extern(
            draw: u32,
            place: *const Place,
            element: u64,
            count: u64,
            out: *mut $t,
        ) {
            // SAFETY: the caller's promise.
            let (place, out) = unsafe {
                (
                    place.read_unaligned(),
                    std::slice::from_raw_parts_mut(out, count as usize),
                )
            };
            $fill(Draw::from_code(draw), &place, element, out);
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
    aec_draw_f32
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
    aec_draw_f64
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
mod tests;
