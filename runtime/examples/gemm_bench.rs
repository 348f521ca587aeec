//! Prints GFLOP/s of matrix products: `cargo run --release --example gemm_bench [threads]`.
//! Each figure is the best of many runs by the calling thread's processor time (with more threads
//! that is the time of the calling thread's share, waiting included). Other work on the machine
//! still shows in the clock rate and the shared caches.

#![allow(unsafe_code)]

use aec_runtime::gemm::{GemmCall, Isa, MatRef, gemm_f32};
use aec_runtime::pool::Pool;

fn main() {
    let threads = std::env::args()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let pool = Pool::new(threads);
    println!("{threads} threads");
    println!(
        "{:>22} {:>5} {:>10} {:>10} {:>10}",
        "m x n x k", "", "avx512", "avx2", "portable"
    );
    for (m, n, k, layout) in [
        (512, 512, 512, "NN"),
        (1024, 1024, 1024, "NN"),
        (128, 128, 784, "NN"),
        (128, 400, 784, "NN"),
        (128, 784, 400, "NN"),
        (128, 1000, 784, "NN"),
        (32, 400, 784, "NN"),
        (1024, 400, 784, "NN"),
        (1024, 784, 400, "NN"),
        (784, 400, 128, "TN"),
        (400, 784, 128, "TN"),
        (784, 128, 32, "TN"),
        (128, 784, 400, "NT"),
        (128, 400, 784, "NT"),
        (1024, 784, 400, "NT"),
        (128, 20, 400, "NN"),
        (128, 400, 20, "NN"),
        (32, 64, 64, "NN"),
        (1, 400, 784, "NN"),
        (8, 3, 8, "NN"),
        (8, 8, 3, "NN"),
    ] {
        print!("{:>5.0} ", peak());
        let a = vec![0.5f32; m * k];
        let b = vec![0.25f32; k * n];
        let mut c = vec![0.0f32; m * n];
        let (ta, tb) = (layout.starts_with('T'), layout.ends_with('T'));
        let call = GemmCall {
            m,
            n,
            k,
            a: MatRef {
                ptr: a.as_ptr(),
                row_stride: if ta { 1 } else { k },
                col_stride: if ta { m } else { 1 },
            },
            b: MatRef {
                ptr: b.as_ptr(),
                row_stride: if tb { 1 } else { n },
                col_stride: if tb { k } else { 1 },
            },
            c: c.as_mut_ptr(),
            c_row_stride: n,
            accumulate: false,
            epilogue: None,
        };
        print!("{:>22} {layout:>5}", format!("{m} x {n} x {k}"));
        for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
            if !isa.available() {
                print!(" {:>10}", "-");
                continue;
            }
            let time = best(|| {
                // SAFETY: the vectors have the sizes of the call.
                unsafe { gemm_f32(&call, isa, &pool) }
            });
            let flops = 2.0 * (m * n * k) as f64;
            print!(" {:>10.1}", flops / time * 1e-9);
            if m * n * k < 1000 {
                print!(" ({:.0} ns)", time * 1e9);
            }
        }
        println!();
    }
    println!("peak of one core now: {:.0} GFLOP/s", peak());
    let empty = best(|| pool.run(threads, |_| {}));
    println!("an empty pool run: {:.2} us", empty * 1e6);
}

/// Processor seconds of this thread, which other processes don't count towards.
fn now() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock writes to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Seconds of the fastest of many calls, timed in groups long enough for the clock.
fn best(mut work: impl FnMut()) -> f64 {
    let mut group = 1;
    loop {
        let start = now();
        for _ in 0..group {
            work();
        }
        if now() - start > 50e-6 {
            break;
        }
        group *= 2;
    }
    let begin = now();
    let mut fastest = f64::INFINITY;
    while now() - begin < 0.15 {
        let start = now();
        for _ in 0..group {
            work();
        }
        fastest = fastest.min((now() - start) / f64::from(group));
    }
    fastest
}

/// GFLOP/s of multiply-adds in registers, in the widest vectors here.
#[cfg(target_arch = "x86_64")]
fn peak() -> f64 {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx512f")]
    fn loop512(n: usize, x: f32) -> f32 {
        let mut acc = [_mm512_set1_ps(x); 12];
        let (y, z) = (_mm512_set1_ps(x), _mm512_set1_ps(-x));
        for _ in 0..n {
            for a in &mut acc {
                *a = _mm512_fmadd_ps(y, z, *a);
            }
        }
        acc.iter().map(|a| _mm512_reduce_add_ps(*a)).sum()
    }
    if !Isa::Avx512.available() {
        return f64::NAN;
    }
    let n = 4000;
    // SAFETY: AVX-512 is there.
    let time = best(|| unsafe {
        std::hint::black_box(loop512(n, std::hint::black_box(0.25)));
    });
    (n * 12 * 32) as f64 / time * 1e-9
}

#[cfg(not(target_arch = "x86_64"))]
fn peak() -> f64 {
    f64::NAN
}
