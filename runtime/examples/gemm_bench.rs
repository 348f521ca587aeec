//! Prints rates of matrix products: `cargo run --release -p aec-runtime --example gemm_bench
//! [threads [m,n,k,TN ...]]`, where `TN` says that A is stored transposed.
//!
//! Each product takes turns with a loop of multiply-adds in registers, because the clock of the
//! processor moves by a tenth and more from one moment to the next: `% peak` is the median of
//! the quotients, GFLOP/s the best of many. Time is the calling thread's processor time; other
//! work on the machine still shows in the shared caches.

#![allow(unsafe_code)]

use aec_runtime::gemm::{
    Axes, Batch, GemmCall, Isa, MatRef, PANEL_COLS, TermSums, Walk, gemm_batched_f32, gemm_f32,
};
use aec_runtime::machine::multiply_add_rate;
use aec_runtime::pool::Pool;

/// m, n, k, and which of A and B are transposed.
type Shape = (usize, usize, usize, [bool; 2]);

const NN: [bool; 2] = [false, false];
const TN: [bool; 2] = [true, false];
const NT: [bool; 2] = [false, true];
const SHAPES: [Shape; 26] = [
    (512, 512, 512, NN),
    (1024, 1024, 1024, NN),
    // A layer of 784 x 128 at batch 1024, 128 and 32: forward, the input's gradient, the weights'.
    (1024, 128, 784, NT),
    (1024, 784, 128, NT),
    (1024, 128, 784, NN),
    (784, 128, 1024, TN),
    (128, 784, 1024, TN),
    (128, 128, 784, NT),
    (784, 128, 128, TN),
    (32, 128, 784, NT),
    (784, 128, 32, TN),
    // Layers of the larger cases, where rows of 1000 elements are not whole cache lines.
    (128, 400, 784, NT),
    (128, 784, 400, NN),
    (400, 784, 128, TN),
    (128, 1000, 784, NT),
    (128, 784, 1000, NN),
    (784, 1000, 128, TN),
    (512, 1000, 500, NN),
    (512, 500, 1000, NT),
    (1000, 784, 512, TN),
    // Narrow and tiny.
    (1024, 32, 128, NT),
    (32, 128, 1024, TN),
    (128, 20, 400, NT),
    (1, 400, 784, NN),
    (8, 3, 8, NN),
    (8, 8, 3, NN),
];

/// A shape written as `m,n,k,NN`.
fn shape(text: &str) -> Option<Shape> {
    let mut parts = text.split(',');
    let mut size = || parts.next()?.parse().ok();
    let (m, n, k) = (size()?, size()?, size()?);
    let layout = parts.next().unwrap_or("NN");
    Some((m, n, k, [layout.starts_with('T'), layout.ends_with('T')]))
}

fn main() {
    let threads = std::env::args()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let pool = Pool::new(threads);
    println!("{threads} threads");
    print!("{:>22} {:>3}", "m x n x k", "");
    for isa in Isa::ALL.into_iter().rev().filter(|isa| isa.available()) {
        print!(" {:>10} % peak", isa.name());
    }
    println!();
    let given: Vec<Shape> = std::env::args().skip(2).filter_map(|s| shape(&s)).collect();
    let shapes = if given.is_empty() {
        &SHAPES[..]
    } else {
        &given
    };
    for &(m, n, k, layout) in shapes {
        let (a, b) = (values(m * k), values(k * n));
        let mut c = vec![0.0f32; m * n];
        let [ta, tb] = layout;
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
            sums: TermSums::NONE,
            before: None,
        };
        let layout: String = layout.iter().map(|&t| if t { 'T' } else { 'N' }).collect();
        print!("{:>22} {layout:>3}", format!("{m} x {n} x {k}"));
        for isa in Isa::ALL.into_iter().rev().filter(|isa| isa.available()) {
            let (time, of_peak) = measure(
                || {
                    // SAFETY: the vectors have the sizes of the call.
                    unsafe { gemm_f32(&call, isa, &pool) }
                },
                2.0 * (m * n * k) as f64,
            );
            if m * n * k < 1000 {
                print!(" {:>7.0} ns {of_peak:>6.1}", time * 1e9);
            } else {
                print!(
                    " {:>10.1} {of_peak:>6.1}",
                    2.0 * (m * n * k) as f64 / time * 1e-9
                );
            }
        }
        println!();
    }
    if given.is_empty() {
        for picture in PICTURES {
            convolution(picture, &pool);
        }
        for rows in [1, 8] {
            decoding(rows, &pool);
        }
    }
    let empty = measure(|| pool.run(threads, |_| {}), 0.0).0;
    println!("an empty pool run: {:.2} us", empty * 1e6);
}

/// Size of the picture, channels before and after, stride, of 3 x 3 kernels on 64 pictures.
type Picture = (usize, usize, usize, usize);
const PICTURES: [Picture; 4] = [
    (16, 16, 32, 2),
    (16, 32, 32, 1),
    (39, 13, 24, 1),
    (30, 1, 16, 2),
];

/// A convolution and the gradient by its kernel, their pieces read from the picture, beside the
/// same products of the pieces' matrix.
fn convolution((size, from, to, stride): Picture, pool: &Pool) {
    let out = (size - 3) / stride + 1;
    let (m, n, k) = (64 * out * out, to, 9 * from);
    let axes = Axes {
        rows: Walk::nested([
            (64, (size * size * from) as i64),
            (out, (stride * size * from) as i64),
            (out, (stride * from) as i64),
        ])
        .expect("three axes"),
        cols: Walk::nested([(3, (size * from) as i64), (3 * from, 1)]).expect("two axes"),
    };
    let (x, y) = (values(64 * size * size * from), values(m * n));
    let (pieces, w) = (values(m * k), values(k * n));
    let (mut forward, mut gradient) = (vec![0.0f32; m * n], vec![0.0f32; k * n]);
    let matrix = |ptr: *const f32, row_stride: usize, col_stride: usize| MatRef {
        ptr,
        row_stride,
        col_stride,
    };
    for (name, a, b) in [
        ("in place", Some(axes), None),
        ("pieces", None, None),
        ("in place, gradient", None, Some(axes)),
        ("pieces, gradient", None, None),
    ] {
        let by_kernel = name.ends_with("gradient");
        let x = if name.starts_with("in") { &x } else { &pieces };
        let call = if by_kernel {
            GemmCall {
                m: n,
                n: k,
                k: m,
                a: matrix(y.as_ptr(), 1, n),
                b: matrix(x.as_ptr(), k, 1),
                c: gradient.as_mut_ptr(),
                c_row_stride: k,
                accumulate: false,
                epilogue: None,
                sums: TermSums::NONE,
                before: None,
            }
        } else {
            GemmCall {
                m,
                n,
                k,
                a: matrix(x.as_ptr(), k, 1),
                b: matrix(w.as_ptr(), 1, k),
                c: forward.as_mut_ptr(),
                c_row_stride: n,
                accumulate: false,
                epilogue: None,
                sums: TermSums::NONE,
                before: None,
            }
        };
        let batch = Batch {
            a_axes: a,
            b_axes: b,
            ..Batch::ONE
        };
        print!("{:>26}", format!("{size}x{size}x{from} to {to}, {stride}"));
        for isa in Isa::ALL.into_iter().rev().filter(|isa| isa.available()) {
            let flops = 2.0 * (m * n * k) as f64;
            // SAFETY: the vectors have the sizes of the call.
            let run = || unsafe { gemm_batched_f32(&call, &batch, isa, pool) };
            let (time, of_peak) = measure(run, flops);
            print!(" {:>10.1} {of_peak:>6.1}", flops / time * 1e-9);
        }
        println!("  {name}");
    }
}

/// Terms and columns of the products that a round of decoding takes one after the other: their
/// weights are a little more than L2 holds.
const DECODING: [(usize, usize); 3] = [(128, 768), (256, 768), (256, 1000)];

/// Rounds of decoding with a few rows: weights as they lie, in panels, and in panels that are
/// taken from alternate ends.
fn decoding(rows: usize, pool: &Pool) {
    let padded = |n: usize| n.next_multiple_of(PANEL_COLS);
    let x = values(rows * 256);
    let mut y = vec![0.0f32; rows * 1000];
    let weights: Vec<Vec<f32>> = DECODING
        .iter()
        .map(|&(k, n)| values(k * padded(n)))
        .collect();
    for (name, panels, turns) in [
        ("in place", false, false),
        ("panels", true, false),
        ("panels, turns", true, true),
    ] {
        print!("{:>26}", format!("{rows} x 32 words"));
        for isa in Isa::ALL.into_iter().rev().filter(|isa| isa.available()) {
            let mut round = 0;
            let run = || {
                round += 1;
                for (&(k, n), w) in DECODING.iter().zip(&weights) {
                    let matrix = |ptr: *const f32, row_stride: usize| MatRef {
                        ptr,
                        row_stride,
                        col_stride: 1,
                    };
                    let call = GemmCall {
                        m: rows,
                        n,
                        k,
                        a: matrix(x.as_ptr(), k),
                        b: matrix(w.as_ptr(), n),
                        c: y.as_mut_ptr(),
                        c_row_stride: n,
                        accumulate: false,
                        epilogue: None,
                        sums: TermSums::NONE,
                        before: None,
                    };
                    let batch = Batch {
                        b_panels: panels.then_some(k),
                        backwards: turns && round % 2 == 1,
                        ..Batch::ONE
                    };
                    // SAFETY: the vectors have the sizes of the calls.
                    unsafe { gemm_batched_f32(&call, &batch, isa, pool) };
                }
            };
            let words: usize = DECODING.iter().map(|&(k, n)| k * n).sum();
            let (time, of_peak) = measure(run, (2 * rows * words) as f64);
            print!(" {:>5.1} us {of_peak:>6.1}", time * 1e6);
        }
        println!("  {name}");
    }
}

/// Numbers in -1..1 without a pattern: what is computed decides the power drawn, and so the clock.
fn values(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
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

/// Seconds of the fastest of many calls, and the median percentage of the peak rate that calls
/// with `flops` operations reach. Timed in groups long enough for the clock.
fn measure(mut work: impl FnMut(), flops: f64) -> (f64, f64) {
    let mut time = |group: u32| {
        let start = now();
        for _ in 0..group {
            work();
        }
        (now() - start) / f64::from(group)
    };
    let mut group = 1;
    while time(group) * f64::from(group) < 50e-6 {
        group *= 2;
    }
    let (begin, mut fastest, mut of_peak) = (now(), f64::INFINITY, Vec::new());
    while now() - begin < 0.3 {
        let before = multiply_add_rate();
        let seconds = time(group);
        let rate = flops / seconds;
        fastest = fastest.min(seconds);
        of_peak.push(100.0 * rate / f64::midpoint(before, multiply_add_rate()));
    }
    of_peak.sort_by(f64::total_cmp);
    (fastest, of_peak[of_peak.len() / 2])
}
