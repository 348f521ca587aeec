//! Two products as one chain of additions: however they are cut, and whatever takes the tiles.

#![allow(unsafe_code)]

use aec_runtime::gemm::*;
use aec_runtime::pool::Pool;

/// Numbers between -1 and 1 that depend on their place.
fn sample(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A matrix down its columns (`by_columns`: rows are adjacent) or along its rows.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    cols: usize,
    by_columns: bool,
}

impl Shape {
    fn strides(self) -> (usize, usize) {
        match self.by_columns {
            true => (1, self.rows),
            false => (self.cols, 1),
        }
    }

    fn at(self, i: usize, j: usize) -> usize {
        let (row, col) = self.strides();
        i * row + j * col
    }

    fn of(self, x: &[f32]) -> MatRef<f32> {
        let (row_stride, col_stride) = self.strides();
        MatRef {
            ptr: x.as_ptr(),
            row_stride,
            col_stride,
        }
    }
}

/// Stores three times the rectangle in buffer 1, whose rows have as many entries as buffer 2 says.
unsafe extern "C" fn triple(buffers: *const *mut u8, args: *const i64) {
    // SAFETY: called with buffers of the sizes that the test allocates.
    unsafe {
        let buffers = std::slice::from_raw_parts(buffers, 3);
        let args = std::slice::from_raw_parts(args, EPILOGUE_ARGS);
        let (tile, out) = (buffers[0].cast::<f32>(), buffers[1].cast::<f32>());
        let n = *buffers[2].cast::<i64>();
        for i in 0..args[4] {
            for j in 0..args[5] {
                let value = *tile.add(i as usize * TILE_STRIDE + j as usize);
                *out.add(((args[0] + i) * n + args[2] + j) as usize) = 3.0 * value;
            }
        }
    }
}

/// The chain of additions that the call promises, for one element.
fn chain(factor: f32, first: &[(f32, f32)], then: &[(f32, f32)]) -> f32 {
    let add = |sum: f32, &(x, y): &(f32, f32)| x.mul_add(y, sum);
    let sum = first.iter().fold(0.0, add);
    then.iter().fold(factor * sum, add)
}

fn check((m, n): (usize, usize), depths: [usize; 2], by_columns: [bool; 4]) {
    let shapes = [
        (m, depths[0]),
        (depths[0], n),
        (m, depths[1]),
        (depths[1], n),
    ];
    let shapes: Vec<Shape> = (shapes.iter().zip(by_columns))
        .map(|(&(rows, cols), by_columns)| Shape {
            rows,
            cols,
            by_columns,
        })
        .collect();
    let data: Vec<Vec<f32>> = (shapes.iter().zip(3..))
        .map(|(shape, seed)| sample(shape.rows * shape.cols, seed))
        .collect();
    let start = sample(m * n, 11);
    let terms = |a: usize, i: usize, j: usize| -> Vec<(f32, f32)> {
        let (left, right) = (shapes[a], shapes[a + 1]);
        (0..left.cols)
            .map(|l| (data[a][left.at(i, l)], data[a + 1][right.at(l, j)]))
            .collect()
    };
    let sums_of = |x: usize, axis: usize| -> Vec<f32> {
        let shape = shapes[x];
        let (count, depth) = match axis {
            0 => (shape.rows, shape.cols),
            _ => (shape.cols, shape.rows),
        };
        let entry = |own: usize, l: usize| match axis {
            0 => data[x][shape.at(own, l)],
            _ => data[x][shape.at(l, own)],
        };
        let chain = |own: usize| (0..depth).fold(0.0, |sum, l| sum + entry(own, l));
        (0..count).map(chain).collect()
    };
    for factor in [1.0, -1.0, 0.3] {
        let mut want = vec![0.0f32; m * n];
        for i in 0..m {
            for j in 0..n {
                want[i * n + j] = chain(factor, &terms(0, i, j), &terms(2, i, j));
            }
        }
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let mut before: Option<Vec<f32>> = None;
            for (threads, epilogue) in [(1, false), (2, false), (1, true), (3, true)] {
                let mut c = start.clone();
                let mut out = vec![f32::NAN; m * n];
                let columns = n as i64;
                let buffers = [
                    std::ptr::null_mut(),
                    out.as_mut_ptr().cast(),
                    (&raw const columns).cast_mut().cast(),
                ];
                // Sums of operands whose sums lie side by side.
                let mut sums: Vec<Vec<f32>> = Vec::new();
                for (x, shape) in shapes.iter().enumerate() {
                    let left = x % 2 == 0;
                    let wanted = shape.by_columns == left;
                    let count = if left { m } else { n };
                    sums.push(vec![f32::NAN; if wanted { count } else { 0 }]);
                }
                let mut places = sums.iter_mut().map(|sum| match sum.is_empty() {
                    true => std::ptr::null_mut(),
                    false => sum.as_mut_ptr(),
                });
                let mut pair = || TermSums {
                    a: places.next().unwrap(),
                    b: places.next().unwrap(),
                };
                let sums_before = pair();
                let call = GemmCall {
                    m,
                    n,
                    k: depths[1],
                    a: shapes[2].of(&data[2]),
                    b: shapes[3].of(&data[3]),
                    c: c.as_mut_ptr(),
                    c_row_stride: n,
                    accumulate: false,
                    epilogue: epilogue.then_some(EpilogueCall {
                        func: triple,
                        buffers: buffers.as_ptr(),
                        buffer_count: 3,
                        whole_rows: false,
                        beside: 0,
                        chained: false,
                    }),
                    sums: pair(),
                    before: Some(Before {
                        k: depths[0],
                        a: shapes[0].of(&data[0]),
                        b: shapes[1].of(&data[1]),
                        factor,
                        sums: sums_before,
                    }),
                };
                // SAFETY: sizes as stated; the epilogue writes disjoint places.
                unsafe { gemm_f32(&call, isa, &Pool::new(threads)) };
                let at = format!("{isa:?} {m}x{n} {depths:?} factor {factor} threads {threads}");
                let got: Vec<f32> = match epilogue {
                    true => out.iter().map(|x| x / 3.0).collect(),
                    false => c.clone(),
                };
                if epilogue {
                    assert_eq!(c, start, "C is written: {at}");
                }
                let depth = (depths[0] + depths[1]) as f32;
                for (got, want) in got.iter().zip(&want) {
                    let slack = 1e-6 * (depth + 1.0);
                    assert!((got - want).abs() <= slack, "{got} for {want}: {at}");
                    if isa != Isa::Portable && !epilogue {
                        assert_eq!(got.to_bits(), want.to_bits(), "chain: {at}");
                    }
                }
                for (x, sum) in sums.iter().enumerate().filter(|(_, sum)| !sum.is_empty()) {
                    assert_eq!(*sum, sums_of(x, x % 2), "sums of operand {x}: {at}");
                }
                let same = if epilogue { out } else { c };
                match (&before, threads) {
                    (_, 1) => before = Some(same),
                    (Some(one), _) => assert!(*one == same, "threads change it: {at}"),
                    (None, _) => {}
                }
            }
        }
    }
}

#[test]
fn two_products_are_one_chain() {
    // A tile, several, strips; terms that are cut into blocks, and none.
    for shape in [(1, 1), (5, 20), (14, 32), (61, 77), (40, 421)] {
        for depths in [[3, 1], [0, 5], [5, 0], [64, 64], [300, 17]] {
            check(shape, depths, [true, false, true, false]);
        }
    }
    check((29, 50), [2100, 70], [true, false, true, false]);
    check((29, 250), [70, 2100], [false, false, true, false]);
}

#[test]
fn each_product_may_lie_in_its_own_way() {
    for layouts in 0..16 {
        let by_columns = [0, 1, 2, 3].map(|bit| layouts >> bit & 1 == 1);
        check((31, 70), [19, 40], by_columns);
        check((57, 33), [130, 16], by_columns);
    }
}
