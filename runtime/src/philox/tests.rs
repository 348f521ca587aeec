//! The stream against published answers, its definition and its statistics.

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
            let low =
                draw_block([k[0], k[1] ^ LOW_WORDS], [(e / 4) as u32, 3, 17, 99])[(e % 4) as usize];
            let bits = (u64::from(word) << 32 | u64::from(low)) >> 12;
            *u = (2.0 * bits as f64 + 1.0) / (1u64 << 53) as f64;
            assert_eq!(*u, wide[i]);
        }
        let even = first / 4 * 4;
        // SAFETY: sixteen places each.
        unsafe {
            aec_draw_f32(UNIFORM, &PLACE, first, 16, narrow.as_mut_ptr());
            aec_draw_f64(NORMAL, &PLACE, even, 16, normals.as_mut_ptr());
            aec_draw_f32(NORMAL, &PLACE, even, 16, floats.as_mut_ptr());
        }
        fill_f64(Draw::Uniform, &PLACE, even, &mut wide);
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
