//! Prints nanoseconds per random number: `cargo run --release --example draw_bench`.

use std::time::Instant;

use aec_runtime::gemm::Isa;
use aec_runtime::philox::{Draw, Place, fill_f32_on, fill_f64_on};

fn main() {
    let place = Place {
        key: 1,
        inner: 0,
        example: 0,
        step: 0,
    };
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for draw in [Draw::Uniform, Draw::Normal] {
            for chunk in [16, 4096] {
                let mut out32 = vec![0f32; 4096];
                let mut out64 = vec![0f64; 4096];
                let (mut best32, mut best64) = (f64::INFINITY, f64::INFINITY);
                for _ in 0..300 {
                    let start = Instant::now();
                    for (at, part) in out32.chunks_mut(chunk).enumerate() {
                        fill_f32_on(isa, draw, &place, (at * chunk) as u64, part);
                    }
                    best32 = best32.min(start.elapsed().as_nanos() as f64 / 4096.0);
                    let start = Instant::now();
                    for (at, part) in out64.chunks_mut(chunk).enumerate() {
                        fill_f64_on(isa, draw, &place, (at * chunk) as u64, part);
                    }
                    best64 = best64.min(start.elapsed().as_nanos() as f64 / 4096.0);
                }
                println!("{isa:?} {draw:?} by {chunk}: f32 {best32:.2} ns, f64 {best64:.2} ns");
            }
        }
    }
}
