//! Matrix products against plain loops: every layout, instruction set and thread count.

#![allow(unsafe_code)]

use aec_runtime::gemm::{
    Axes, Batch, EPILOGUE_ARGS, EpilogueCall, GemmCall, Isa, MatRef, PANEL_COLS, TILE_STRIDE,
    TermSums, WHOLE_ROWS_DEPTH, Walk, gemm_batched_f32, gemm_batched_f64, gemm_f32, gemm_f64,
    panels_f32, panels_f64,
};
use aec_runtime::pool::Pool;

/// A reproducible source of small numbers.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn fill(&mut self, n: usize) -> Vec<f64> {
        (0..n)
            .map(|_| f64::from((self.next() as f64 / (1u64 << 31) as f64 * 2.0 - 1.0) as f32))
            .collect()
    }
}

/// How a matrix of the test lies in memory.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Rows,
    Columns,
    Both,
}

const LAYOUTS: [Layout; 3] = [Layout::Rows, Layout::Columns, Layout::Both];

fn strides(layout: Layout, rows: usize, cols: usize, pad: usize) -> (usize, usize, usize) {
    match layout {
        Layout::Rows => (cols + pad, 1, rows * (cols + pad)),
        Layout::Columns => (1, rows + pad, cols * (rows + pad)),
        Layout::Both => (2 * cols + 1, 2, rows * (2 * cols + 1)),
    }
}

macro_rules! against_naive {
    ($name:ident, $t:ty, $gemm:ident, $tolerance:expr) => {
        #[allow(clippy::too_many_arguments)]
        fn $name(
            rng: &mut Lcg,
            (m, n, k): (usize, usize, usize),
            la: Layout,
            lb: Layout,
            pad: usize,
            accumulate: bool,
            pools: &[Pool],
        ) {
            let (ars, acs, alen) = strides(la, m, k, pad);
            let (brs, bcs, blen) = strides(lb, k, n, pad);
            let crs = n + pad;
            let a: Vec<$t> = rng.fill(alen).into_iter().map(|v| v as $t).collect();
            let b: Vec<$t> = rng.fill(blen).into_iter().map(|v| v as $t).collect();
            let start: Vec<$t> = rng.fill(m * crs).into_iter().map(|v| v as $t).collect();
            let mut want = vec![0.0f64; m * n];
            let mut chain = vec![0.0 as $t; m * n];
            let mut size = vec![0.0f64; m * n];
            for i in 0..m {
                for j in 0..n {
                    let first = if accumulate { start[i * crs + j] } else { 0.0 };
                    let (mut sum, mut fused, mut abs) =
                        (f64::from(first), first, f64::from(first.abs()));
                    for l in 0..k {
                        let (x, y) = (a[i * ars + l * acs], b[l * brs + j * bcs]);
                        sum += f64::from(x) * f64::from(y);
                        abs += (f64::from(x) * f64::from(y)).abs();
                        fused = x.mul_add(y, fused);
                    }
                    (want[i * n + j], chain[i * n + j], size[i * n + j]) = (sum, fused, abs);
                }
            }
            // Chains of additions, of operands whose sums lie side by side.
            let row_sums: Vec<$t> = match ars {
                1 => (0..m)
                    .map(|i| (0..k).fold(0.0, |sum, l| sum + a[i + l * acs]))
                    .collect(),
                _ => Vec::new(),
            };
            let column_sums: Vec<$t> = match bcs {
                1 => (0..n)
                    .map(|j| (0..k).fold(0.0, |sum, l| sum + b[l * brs + j]))
                    .collect(),
                _ => Vec::new(),
            };
            for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                let mut first: Option<Vec<$t>> = None;
                for pool in pools {
                    let mut c = start.clone();
                    let mut sums = [vec![<$t>::NAN; m + 1], vec![<$t>::NAN; n + 1]];
                    let wanted = [!row_sums.is_empty(), !column_sums.is_empty()];
                    let [to_a, to_b] = &mut sums;
                    let call = GemmCall::<$t> {
                        m,
                        n,
                        k,
                        a: MatRef {
                            ptr: a.as_ptr(),
                            row_stride: ars,
                            col_stride: acs,
                        },
                        b: MatRef {
                            ptr: b.as_ptr(),
                            row_stride: brs,
                            col_stride: bcs,
                        },
                        c: c.as_mut_ptr(),
                        c_row_stride: crs,
                        accumulate,
                        epilogue: None,
                        sums: TermSums {
                            a: if wanted[0] {
                                to_a.as_mut_ptr()
                            } else {
                                std::ptr::null_mut()
                            },
                            b: if wanted[1] {
                                to_b.as_mut_ptr()
                            } else {
                                std::ptr::null_mut()
                            },
                        },
                        before: None,
                    };
                    // SAFETY: the vectors have the sizes that `strides` says.
                    unsafe { $gemm(&call, isa, pool) };
                    let at = || format!("{isa:?} {m}x{n}x{k} threads {}", pool.threads());
                    for (got, want) in sums.iter().zip([&row_sums, &column_sums]) {
                        assert_eq!(got[..want.len()], want[..], "sums {}", at());
                        assert!(got[want.len()].is_nan(), "a sum too many {}", at());
                    }
                    for i in 0..m {
                        for j in 0..crs {
                            let got = c[i * crs + j];
                            if j >= n {
                                assert_eq!(
                                    got,
                                    start[i * crs + j],
                                    "padding of C written: {}",
                                    at()
                                );
                                continue;
                            }
                            let slack = $tolerance * (size[i * n + j] + 1e-30);
                            assert!(
                                (f64::from(got) - want[i * n + j]).abs() <= slack,
                                "({i}, {j}) {}",
                                at()
                            );
                            if isa != Isa::Portable {
                                assert_eq!(
                                    got.to_bits(),
                                    chain[i * n + j].to_bits(),
                                    "chain ({i}, {j}) {}",
                                    at()
                                );
                            }
                        }
                    }
                    match &first {
                        None => first = Some(c),
                        Some(one) => assert!(one == &c, "threads change the result: {}", at()),
                    }
                }
            }
        }
    };
}

against_naive!(check_f32, f32, gemm_f32, 1e-4);
against_naive!(check_f64, f64, gemm_f64, 1e-13);

#[test]
fn products_of_all_shapes_and_layouts() {
    let pools = [Pool::new(1), Pool::new(2), Pool::new(3)];
    let mut rng = Lcg(7);
    let sizes = [
        0, 1, 2, 3, 5, 7, 8, 13, 14, 15, 16, 17, 28, 31, 32, 33, 47, 64, 65,
    ];
    for la in LAYOUTS {
        for lb in LAYOUTS {
            for accumulate in [false, true] {
                for _ in 0..25 {
                    let shape = (
                        sizes[rng.below(19)],
                        sizes[rng.below(19)],
                        sizes[rng.below(19)],
                    );
                    let pad = rng.below(3);
                    check_f32(&mut rng, shape, la, lb, pad, accumulate, &pools);
                    check_f64(&mut rng, shape, la, lb, pad, accumulate, &pools);
                }
            }
        }
    }
}

/// An A that is stored transposed and whose columns cannot all stay in L1.
#[test]
fn columns_that_share_sets_are_packed() {
    let pools = [Pool::new(1), Pool::new(2)];
    let mut rng = Lcg(11);
    for shape in [
        (64, 77, 150),
        (512, 70, 40),
        (61, 130, 1100),
        (5, 200, 2600),
        // Several groups of panels down several k blocks; too much to keep.
        (90, 300, 2600),
        (1030, 70, 1100),
    ] {
        for lb in LAYOUTS {
            for accumulate in [false, true] {
                let (la, pad) = (Layout::Columns, 0);
                check_f32(&mut rng, shape, la, lb, pad, accumulate, &pools);
                check_f64(&mut rng, shape, la, lb, pad, accumulate, &pools);
            }
        }
    }
}

#[test]
fn large_products_are_split_over_threads() {
    let pools = [Pool::new(1), Pool::new(2), Pool::new(4)];
    let mut rng = Lcg(11);
    for (la, lb) in [
        (Layout::Rows, Layout::Rows),
        (Layout::Columns, Layout::Rows),
        (Layout::Rows, Layout::Columns),
        (Layout::Both, Layout::Both),
    ] {
        for shape in [
            (128, 100, 130),
            (700, 33, 40),
            (20, 500, 90),
            (600, 90, 20),
            (5, 9, 20_000),
        ] {
            check_f32(&mut rng, shape, la, lb, 0, true, &pools);
        }
        check_f64(&mut rng, (150, 77, 60), la, lb, 1, false, &pools);
    }
    // A row stride of 4 KiB, and k beyond one block.
    check_f32(
        &mut rng,
        (30, 1024, 40),
        Layout::Rows,
        Layout::Rows,
        0,
        false,
        &pools,
    );
    check_f32(
        &mut rng,
        (17, 40, 5000),
        Layout::Rows,
        Layout::Rows,
        0,
        false,
        &pools,
    );
    check_f64(
        &mut rng,
        (17, 40, 4097),
        Layout::Columns,
        Layout::Columns,
        0,
        true,
        &pools,
    );
}

#[test]
fn a_row_does_not_depend_on_the_number_of_rows() {
    let pool = Pool::new(2);
    let mut rng = Lcg(3);
    let (n, k) = (70, 300);
    let a: Vec<f32> = rng.fill(200 * k).into_iter().map(|v| v as f32).collect();
    let b: Vec<f32> = rng.fill(k * n).into_iter().map(|v| v as f32).collect();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let product = |m: usize| {
            let mut c = vec![0.0f32; m * n];
            let call = GemmCall {
                m,
                n,
                k,
                a: MatRef {
                    ptr: a.as_ptr(),
                    row_stride: k,
                    col_stride: 1,
                },
                b: MatRef {
                    ptr: b.as_ptr(),
                    row_stride: n,
                    col_stride: 1,
                },
                c: c.as_mut_ptr(),
                c_row_stride: n,
                accumulate: false,
                epilogue: None,
                sums: TermSums::NONE,
                before: None,
            };
            // SAFETY: sizes as stated.
            unsafe { gemm_f32(&call, isa, &pool) };
            c
        };
        let all = product(200);
        for m in [1, 2, 13, 14, 15, 29, 128] {
            assert!(product(m) == all[..m * n], "{isa:?} m = {m}");
        }
    }
}

/// Stores the rectangle, doubled, and counts the visits of each element in buffer 2. Buffer 3 says
/// how many columns C has.
unsafe extern "C" fn double(buffers: *const *mut u8, args: *const i64) {
    // SAFETY: called with buffers of the sizes that the test allocates.
    unsafe {
        let buffers = std::slice::from_raw_parts(buffers, 4);
        let args = std::slice::from_raw_parts(args, EPILOGUE_ARGS);
        let (tile, out, seen, n) = (
            buffers[0].cast::<f32>(),
            buffers[1].cast::<f32>(),
            buffers[2].cast::<u32>(),
            *buffers[3].cast::<i64>(),
        );
        assert_eq!(tile as usize % 64, 0);
        let [row0, row1, col0, col1, rows, cols, product] = args else {
            panic!("wrong count")
        };
        assert!(row1 - row0 == *rows && col1 - col0 == *cols);
        for i in 0..*rows {
            for j in 0..*cols {
                let value = *tile.add(i as usize * TILE_STRIDE + j as usize) * 2.0;
                let at = ((product * M as i64 + row0 + i) * n + col0 + j) as usize;
                *out.add(at) = value;
                std::sync::atomic::AtomicU32::from_ptr(seen.add(at))
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }
}

/// [`double`] of whole rows, one at a time.
unsafe extern "C" fn double_row(buffers: *const *mut u8, args: *const i64) {
    // SAFETY: as of `double`.
    unsafe {
        let n = **buffers.add(3).cast::<*const i64>();
        let (rows, cols) = (*args.add(4), *args.add(5));
        assert_eq!((*args.add(2), rows, cols), (0, 1, n));
        double(buffers, args);
    }
}

const M: usize = 61;

#[test]
fn an_epilogue_takes_every_element_once() {
    // The wide one goes by strips, unless k is cut.
    for (n, k) in [
        (77, 0),
        (77, 1),
        (77, 30),
        (77, 300),
        (77, 4500),
        (421, 1),
        (421, 300),
        (421, 2100),
        (512, 1100),
    ] {
        takes_every_element_once(n, k);
    }
}

#[test]
fn sums_of_terms_are_chains_however_a_product_is_cut() {
    for (n, k) in [(20, 300), (77, 4500), (421, 300), (421, 2100), (512, 1100)] {
        let mut rng = Lcg(9);
        let a: Vec<f32> = rng.fill(k * M).into_iter().map(|v| v as f32).collect();
        let b: Vec<f32> = rng.fill(k * n).into_iter().map(|v| v as f32).collect();
        let chains = |x: &[f32], count: usize| -> Vec<f32> {
            let chain = |i: usize| (0..k).fold(0.0, |sum, l| sum + x[l * count + i]);
            (0..count).map(chain).collect()
        };
        let want = [chains(&a, M), chains(&b, n)];
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for (threads, whole_rows) in [(1, false), (2, false), (1, true), (3, true)] {
                if whole_rows && k > WHOLE_ROWS_DEPTH {
                    continue;
                }
                let (mut out, mut seen) = (vec![0.0f32; M * n], vec![0u32; M * n]);
                let mut sums = [vec![f32::NAN; M], vec![f32::NAN; n]];
                let buffers = [
                    std::ptr::null_mut(),
                    out.as_mut_ptr().cast(),
                    seen.as_mut_ptr().cast(),
                    (&raw const n).cast_mut().cast(),
                ];
                let [to_a, to_b] = &mut sums;
                let call = GemmCall {
                    m: M,
                    n,
                    k,
                    a: MatRef {
                        ptr: a.as_ptr(),
                        row_stride: 1,
                        col_stride: M,
                    },
                    b: MatRef {
                        ptr: b.as_ptr(),
                        row_stride: n,
                        col_stride: 1,
                    },
                    c: std::ptr::null_mut(),
                    c_row_stride: n,
                    accumulate: false,
                    epilogue: Some(EpilogueCall {
                        func: if whole_rows { double_row } else { double },
                        buffers: buffers.as_ptr(),
                        buffer_count: 4,
                        whole_rows,
                        beside: 0b110,
                        chained: n % 2 == 1,
                    }),
                    sums: TermSums {
                        a: to_a.as_mut_ptr(),
                        b: to_b.as_mut_ptr(),
                    },
                    before: None,
                };
                // SAFETY: sizes as stated; the epilogue writes disjoint places.
                unsafe { gemm_f32(&call, isa, &Pool::new(threads)) };
                assert!(
                    sums == want,
                    "{isa:?} n {n} k {k} threads {threads} {whole_rows}"
                );
            }
        }
    }
}

fn takes_every_element_once(n: usize, k: usize) {
    let mut rng = Lcg(5);
    let a: Vec<f32> = rng.fill(3 * M * k).into_iter().map(|v| v as f32).collect();
    let b: Vec<f32> = rng.fill(k * n).into_iter().map(|v| v as f32).collect();
    let start: Vec<f32> = rng.fill(3 * M * n).into_iter().map(|v| v as f32).collect();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for threads in [1, 2] {
            for accumulate in [false, true] {
                let pool = Pool::new(threads);
                let mut c = start.clone();
                let batch = Batch {
                    count: 3,
                    a: Walk::step(M * k),
                    c: Walk::step(M * n),
                    ..Batch::ONE
                };
                let mut call = GemmCall {
                    m: M,
                    n,
                    k,
                    a: MatRef {
                        ptr: a.as_ptr(),
                        row_stride: k,
                        col_stride: 1,
                    },
                    b: MatRef {
                        ptr: b.as_ptr(),
                        row_stride: n,
                        col_stride: 1,
                    },
                    c: c.as_mut_ptr(),
                    c_row_stride: n,
                    accumulate,
                    epilogue: None,
                    sums: TermSums::NONE,
                    before: None,
                };
                let mut results: Vec<Vec<f32>> = Vec::new();
                let mut out = vec![f32::NAN; 3 * M * n];
                let mut seen = vec![0u32; 3 * M * n];
                let buffers = [
                    std::ptr::null_mut(),
                    out.as_mut_ptr().cast(),
                    seen.as_mut_ptr().cast(),
                    (&raw const n).cast_mut().cast(),
                ];
                for whole_rows in [false, true] {
                    if whole_rows && k > WHOLE_ROWS_DEPTH {
                        continue;
                    }
                    out.fill(f32::NAN);
                    seen.fill(0);
                    call.epilogue = Some(EpilogueCall {
                        func: if whole_rows { double_row } else { double },
                        buffers: buffers.as_ptr(),
                        buffer_count: 4,
                        whole_rows,
                        beside: 0b110,
                        chained: n % 2 == 1,
                    });
                    // SAFETY: sizes as stated; the epilogue writes disjoint places.
                    unsafe { gemm_batched_f32(&call, &batch, isa, &pool) };
                    assert!(c == start, "an epilogue's product wrote C");
                    assert!(seen.iter().all(|&count| count == 1), "{seen:?}");
                    results.push(out.clone());
                }
                assert!(results.iter().all(|twice| twice == &results[0]));
                call.epilogue = None;
                // SAFETY: sizes as stated.
                unsafe { gemm_batched_f32(&call, &batch, isa, &pool) };
                let same = c.iter().zip(&out).all(|(c, out)| c * 2.0 == *out);
                assert!(
                    same,
                    "{isa:?} k {k} threads {threads} accumulate {accumulate}"
                );
            }
        }
    }
}

#[test]
fn panels_are_read_in_place() {
    let mut rng = Lcg(17);
    for (m, n, k) in [
        (1, 20, 40),
        (1, 300, 30),
        (1, 161, 2100),
        (3, 32, 16),
        (8, 1000, 70),
        (29, 77, 33),
        (61, 420, 2100),
    ] {
        for by_columns in [false, true] {
            panels_of(&mut rng, (m, n, k), by_columns);
        }
    }
}

/// A product with its right side in panels against the same one with it in place, bit for bit.
fn panels_of(rng: &mut Lcg, (m, n, k): (usize, usize, usize), by_columns: bool) {
    let narrow = |x: Vec<f64>| -> Vec<f32> { x.into_iter().map(|v| v as f32).collect() };
    let (a, b, c) = (rng.fill(m * k), rng.fill(k * n), rng.fill(m * n));
    let (a, b, start) = (narrow(a), narrow(b), narrow(c));
    let (row_stride, col_stride) = if by_columns { (1, k) } else { (n, 1) };
    let whole = MatRef {
        ptr: b.as_ptr(),
        row_stride,
        col_stride,
    };
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let mut panels = vec![f32::NAN; n.next_multiple_of(PANEL_COLS) * k];
        // SAFETY: B has k rows and n columns, and the panels have room for them.
        unsafe { panels_f32(panels.as_mut_ptr(), whole, k, n, isa) };
        let in_panels = MatRef {
            ptr: panels.as_ptr(),
            row_stride: 0,
            col_stride: 0,
        };
        for (threads, accumulate) in [(1, false), (2, true), (3, false)] {
            let pool = Pool::new(threads);
            let product = |b: MatRef, batch: &Batch, terms: usize, doubled: bool| {
                let mut c = start.clone();
                let mut out = vec![f32::NAN; m * n];
                let mut seen = vec![0u32; m * n];
                let buffers = [
                    std::ptr::null_mut(),
                    out.as_mut_ptr().cast(),
                    seen.as_mut_ptr().cast(),
                    (&raw const n).cast_mut().cast(),
                ];
                let call = GemmCall {
                    m,
                    n,
                    k: terms,
                    a: MatRef {
                        ptr: a.as_ptr(),
                        row_stride: k,
                        col_stride: 1,
                    },
                    b,
                    c: c.as_mut_ptr(),
                    c_row_stride: n,
                    accumulate,
                    epilogue: doubled.then_some(EpilogueCall {
                        func: double,
                        buffers: buffers.as_ptr(),
                        buffer_count: 4,
                        whole_rows: false,
                        beside: 0b110,
                        chained: false,
                    }),
                    sums: TermSums::NONE,
                    before: None,
                };
                // SAFETY: sizes as stated; the epilogue writes disjoint places.
                unsafe { gemm_batched_f32(&call, batch, isa, &pool) };
                assert!(!doubled || seen.iter().all(|&count| count == 1), "{seen:?}");
                if doubled { out } else { c }
            };
            // All of B, and its first rows alone.
            for (doubled, terms) in [(false, k), (true, k), (false, k / 2)] {
                let want = product(whole, &Batch::ONE, terms, doubled);
                for backwards in [false, true] {
                    let batch = Batch {
                        b_panels: Some(k),
                        backwards,
                        ..Batch::ONE
                    };
                    let got = product(in_panels, &batch, terms, doubled);
                    let what = format!("{m} x {n} x {terms}/{k} {isa:?} {threads} {backwards}");
                    assert!(got == want, "{what}");
                }
            }
        }
    }
}

#[test]
fn panels_of_f64() {
    let mut rng = Lcg(19);
    for (m, n, k) in [(1, 150, 20), (9, 75, 31)] {
        let (a, b) = (rng.fill(m * k), rng.fill(k * n));
        let matrix = |ptr: *const f64, row_stride: usize, col_stride: usize| MatRef {
            ptr,
            row_stride,
            col_stride,
        };
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let mut panels = vec![f64::NAN; n.next_multiple_of(PANEL_COLS) * k];
            let whole = matrix(b.as_ptr(), n, 1);
            // SAFETY: B has k rows and n columns, and the panels have room for them.
            unsafe { panels_f64(panels.as_mut_ptr(), whole, k, n, isa) };
            let in_panels = Batch {
                b_panels: Some(k),
                ..Batch::ONE
            };
            let product = |b: MatRef<f64>, batch: &Batch| {
                let mut c = vec![f64::NAN; m * n];
                let call = GemmCall {
                    m,
                    n,
                    k,
                    a: matrix(a.as_ptr(), k, 1),
                    b,
                    c: c.as_mut_ptr(),
                    c_row_stride: n,
                    accumulate: false,
                    epilogue: None,
                    sums: TermSums::NONE,
                    before: None,
                };
                // SAFETY: sizes as stated.
                unsafe { gemm_batched_f64(&call, batch, isa, &Pool::new(1)) };
                c
            };
            let want = product(whole, &Batch::ONE);
            let got = product(matrix(panels.as_ptr(), 0, 0), &in_panels);
            assert!(got == want, "{m} x {n} x {k} {isa:?}");
        }
    }
}

#[test]
fn many_small_products() {
    let mut rng = Lcg(9);
    let (m, n, k, count) = (8, 3, 5, 4000);
    let a = rng.fill(count * m * k);
    let b = rng.fill(count * n * k);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads);
            let mut c = vec![0.0f64; count * m * n];
            let call = GemmCall {
                m,
                n,
                k,
                a: MatRef {
                    ptr: a.as_ptr(),
                    row_stride: k,
                    col_stride: 1,
                },
                b: MatRef {
                    ptr: b.as_ptr(),
                    row_stride: 1,
                    col_stride: k,
                },
                c: c.as_mut_ptr(),
                c_row_stride: n,
                accumulate: false,
                epilogue: None,
                sums: TermSums::NONE,
                before: None,
            };
            let batch = Batch {
                count,
                a: Walk::step(m * k),
                b: Walk::step(n * k),
                c: Walk::step(m * n),
                ..Batch::ONE
            };
            // SAFETY: sizes as stated.
            unsafe { gemm_batched_f64(&call, &batch, isa, &pool) };
            for p in 0..count {
                for i in 0..m {
                    for j in 0..n {
                        let want: f64 = (0..k)
                            .map(|l| a[p * m * k + i * k + l] * b[p * n * k + j * k + l])
                            .sum();
                        assert!((c[p * m * n + i * n + j] - want).abs() < 1e-13);
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_have_names() {
    for isa in Isa::ALL {
        assert_eq!(Isa::from_name(isa.name()), isa.available().then_some(isa));
    }
    assert_eq!(Isa::from_name("mmx"), None);
    assert!(Isa::best().available());
}

/// An axis of random nested axes with so many entries, and the number of elements it spans.
fn random_walk(rng: &mut Lcg, entries: &mut usize, unit: bool) -> (Walk, usize) {
    let mut axes: Vec<(usize, i64)> = (0..1 + rng.below(3))
        .map(|_| (1 + rng.below(4), rng.below(40) as i64))
        .collect();
    axes.push((1 + rng.below(21), if unit { 1 } else { 3 }));
    *entries = axes.iter().map(|(count, _)| count).product();
    let walk = Walk::nested(axes.iter().copied()).expect("four axes");
    let last = axes
        .iter()
        .map(|&(count, step)| (count - 1) * step as usize);
    (walk, last.sum::<usize>() + 1)
}

#[test]
fn axes_of_memory_are_packed() {
    let mut rng = Lcg(13);
    let pools = [Pool::new(1), Pool::new(2), Pool::new(3)];
    for round in 0..60 {
        let (mut m, mut n, mut k) = (1 + rng.below(50), 1 + rng.below(50), 0);
        // Which operand has axes, and whether the runs are in its rows or columns.
        let (left, by_rows) = (round % 2 == 0, round % 3 == 0);
        let outer = if left { &mut m } else { &mut n };
        let (outer, outer_span) = random_walk(&mut rng, outer, by_rows == left);
        let (inner, inner_span) = random_walk(&mut rng, &mut k, by_rows != left);
        let span = outer_span + inner_span;
        let x: Vec<f32> = rng.fill(span).into_iter().map(|v| v as f32).collect();
        let other = rng.fill(k * if left { n } else { m });
        let y: Vec<f32> = other.into_iter().map(|v| v as f32).collect();
        let place = |i: usize, l: usize| outer.at(i) + inner.at(l);
        let plain = MatRef {
            ptr: y.as_ptr(),
            row_stride: if left { n } else { k },
            col_stride: 1,
        };
        let walked = MatRef {
            ptr: x.as_ptr(),
            row_stride: 0,
            col_stride: 0,
        };
        let axes = |rows, cols| Some(Axes { rows, cols });
        let batch = Batch {
            a_axes: if left { axes(outer, inner) } else { None },
            b_axes: if left { None } else { axes(inner, outer) },
            ..Batch::ONE
        };
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let mut first: Option<Vec<f32>> = None;
            for pool in &pools {
                let mut c = vec![0.0f32; m * n];
                let call = GemmCall {
                    m,
                    n,
                    k,
                    a: if left { walked } else { plain },
                    b: if left { plain } else { walked },
                    c: c.as_mut_ptr(),
                    c_row_stride: n,
                    accumulate: false,
                    epilogue: None,
                    sums: TermSums::NONE,
                    before: None,
                };
                // SAFETY: the walks end within `x`, and `y` and `c` are whole matrices.
                unsafe { gemm_batched_f32(&call, &batch, isa, pool) };
                for i in 0..m {
                    for j in 0..n {
                        let term = |sum: f32, l: usize| match left {
                            true => x[place(i, l)].mul_add(y[l * n + j], sum),
                            false => y[i * k + l].mul_add(x[place(j, l)], sum),
                        };
                        let want = (0..k).fold(0.0, term);
                        let got = c[i * n + j];
                        if isa == Isa::Portable {
                            assert!((got - want).abs() <= 1e-4 * (k as f32).sqrt());
                        } else {
                            assert_eq!(got.to_bits(), want.to_bits(), "{isa:?} {m}x{n}x{k}");
                        }
                    }
                }
                match &first {
                    None => first = Some(c),
                    Some(one) => assert!(one == &c, "threads change the result"),
                }
            }
        }
    }
}
