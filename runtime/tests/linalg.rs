//! Linear algebra: what factors multiply to, known systems, what has no result.

use aec_runtime::linalg::{
    BadMatrix, Factors, Fault, MatrixOp, Shape, System, apply, apply_with, kept_factors,
};
use aec_runtime::pool::Pool;

/// A deterministic generator of numbers in (-1, 1).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn matrix(&mut self, rows: usize, cols: usize) -> Vec<f64> {
        (0..rows * cols).map(|_| self.next()).collect()
    }
}

const SIZES: [usize; 5] = [0, 1, 3, 17, 65];

fn run(op: MatrixOp, shape: Shape, a: &[f64], b: &[f64]) -> Result<Vec<f64>, BadMatrix> {
    let (a_len, b_len, out_len) = op.lengths(shape);
    assert_eq!((a.len(), b.len()), (a_len, b_len));
    let mut out = vec![f64::NAN; out_len];
    apply(op, shape, a, b, &mut out, &Pool::new(1))?;
    Ok(out)
}

fn single(rows: usize, cols: usize, rhs: usize) -> Shape {
    Shape {
        batch: 1,
        rows,
        cols,
        rhs,
    }
}

/// `a` is `n x k`, `b` is `k x m`.
fn times(n: usize, k: usize, m: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; n * m];
    for i in 0..n {
        for j in 0..m {
            out[i * m + j] = (0..k).map(|l| a[i * k + l] * b[l * m + j]).sum();
        }
    }
    out
}

fn turned(n: usize, m: usize, a: &[f64]) -> Vec<f64> {
    (0..m)
        .flat_map(|j| (0..n).map(move |i| a[i * m + j]))
        .collect()
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n)
        .map(|at| f64::from(u8::from(at / n == at % n)))
        .collect()
}

fn close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |a, x| a.max(x.abs()));
    for (at, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() <= 1e-10 * scale,
            "{what}: entry {at}: {g}, not {w}"
        );
    }
}

/// `X X' + I`.
fn positive(numbers: &mut Numbers, n: usize) -> Vec<f64> {
    let x = numbers.matrix(n, n);
    let mut a = times(n, n, n, &x, &turned(n, n, &x));
    for i in 0..n {
        a[i * n + i] += 1.0;
    }
    a
}

#[test]
fn solves_multiply_back() {
    let mut numbers = Numbers(1);
    for n in SIZES {
        for k in [0, 1, 4] {
            for system in System::ALL {
                let mut a = match system {
                    System::Positive => positive(&mut numbers, n),
                    System::General { .. } | System::Lower { .. } | System::Upper { .. } => {
                        numbers.matrix(n, n)
                    }
                };
                let mut used = a.clone();
                for i in 0..n {
                    for j in 0..n {
                        match system {
                            System::Lower { .. } if j > i => used[i * n + j] = 0.0,
                            System::Upper { .. } if j < i => used[i * n + j] = 0.0,
                            System::Lower { .. } | System::Upper { .. } if i == j => {
                                a[i * n + j] += 3.0 * n as f64;
                                used[i * n + j] = a[i * n + j];
                            }
                            _ => {}
                        }
                    }
                }
                let b = numbers.matrix(n, k);
                let x = run(MatrixOp::Solve(system), single(n, n, k), &a, &b).unwrap();
                let flipped = system.name().ends_with("transposed");
                let used = if flipped { turned(n, n, &used) } else { used };
                close(&times(n, n, k, &used, &x), &b, system.name());
            }
        }
    }
}

#[test]
fn factors_multiply_back() {
    let mut numbers = Numbers(2);
    for n in SIZES {
        let a = positive(&mut numbers, n);
        let l = run(MatrixOp::Cholesky, single(n, n, 0), &a, &[]).unwrap();
        close(&times(n, n, n, &l, &turned(n, n, &l)), &a, "cholesky");
        assert!((0..n * n).all(|at| at % n.max(1) <= at / n.max(1) || l[at] == 0.0));

        let e = run(MatrixOp::Eigh, single(n, n, 0), &a, &[]).unwrap();
        let (v, w) = e.split_at(n * n);
        let mut scaled = v.to_vec();
        (0..n * n).for_each(|at| scaled[at] *= w[at % n]);
        close(&times(n, n, n, &scaled, &turned(n, n, v)), &a, "eigh");
        close(
            &times(n, n, n, &turned(n, n, v), v),
            &identity(n),
            "vectors",
        );
        assert!(w.windows(2).all(|pair| pair[0] <= pair[1]));

        let d = run(MatrixOp::LogDet, single(n, n, 0), &a, &[]).unwrap();
        close(&d, &[1.0, w.iter().map(|x| x.ln()).sum()], "logdet");

        for m in SIZES {
            let a = numbers.matrix(n, m);
            if n >= m {
                let f = run(MatrixOp::Qr, single(n, m, 0), &a, &[]).unwrap();
                let (q, r) = f.split_at(n * m);
                close(&times(n, m, m, q, r), &a, "qr");
                close(&times(m, n, m, &turned(n, m, q), q), &identity(m), "Q'Q");
                assert!((0..m * m).all(|at| at % m >= at / m || r[at] == 0.0));
                assert!((0..m).all(|i| r[i * m + i] >= 0.0));
            }
            svd_of(n, m, &a);
        }
    }
}

fn svd_of(n: usize, m: usize, a: &[f64]) {
    let r = n.min(m);
    let f = run(MatrixOp::Svd, single(n, m, 0), a, &[]).unwrap();
    let (u, rest) = f.split_at(n * r);
    let (v, s) = rest.split_at(m * r);
    let mut scaled = u.to_vec();
    (0..n * r).for_each(|at| scaled[at] *= s[at % r]);
    close(&times(n, r, m, &scaled, &turned(m, r, v)), a, "svd");
    close(&times(r, n, r, &turned(n, r, u), u), &identity(r), "U'U");
    close(&times(r, m, r, &turned(m, r, v), v), &identity(r), "V'V");
    assert!(s.windows(2).all(|pair| pair[0] >= pair[1]) && s.iter().all(|&x| x >= 0.0));
}

#[test]
fn svd_of_matrices_of_low_rank_and_far_scales() {
    let mut numbers = Numbers(3);
    svd_of(4, 3, &[0.0; 12]);
    svd_of(3, 3, &[1.0; 9]);
    let (x, y) = (numbers.matrix(20, 2), numbers.matrix(2, 9));
    let low = times(20, 2, 9, &x, &y);
    svd_of(20, 9, &low);
    svd_of(9, 20, &turned(20, 9, &low));
    for scale in [1e-200, 1e200] {
        let a: Vec<f64> = numbers.matrix(5, 4).iter().map(|x| x * scale).collect();
        let f = run(MatrixOp::Svd, single(5, 4, 0), &a, &[]).unwrap();
        assert!(f.iter().all(|x| x.is_finite()) && f[5 * 4 + 4 * 4] > scale / 10.0);
    }
}

#[test]
fn known_values() {
    // Golden value X2 of the lecture's least squares: B~' B~ = [[6, 1], [1, 1]].
    let x = run(
        MatrixOp::Solve(System::Positive),
        single(2, 2, 1),
        &[6.0, 1.0, 1.0, 1.0],
        &[12.0, 3.0],
    );
    close(&x.unwrap(), &[1.8, 1.2], "X2");
    let det = run(
        MatrixOp::LogDet,
        single(2, 2, 0),
        &[0.0, 2.0, 3.0, 0.0],
        &[],
    );
    close(&det.unwrap(), &[-1.0, 6f64.ln()], "det");
    let singular = run(
        MatrixOp::LogDet,
        single(2, 2, 0),
        &[1.0, 2.0, 2.0, 4.0],
        &[],
    );
    assert_eq!(singular.unwrap(), [0.0, f64::NEG_INFINITY]);
    let e = run(MatrixOp::Eigh, single(2, 2, 0), &[2.0, 1.0, 1.0, 2.0], &[]);
    let h = 0.5f64.sqrt();
    close(&e.unwrap()[4..], &[1.0, 3.0], "values");
    close(
        &run(MatrixOp::Svd, single(2, 2, 0), &[3.0, 3.0, 0.0, 0.0], &[]).unwrap()[4..5],
        &[h],
        "a vector's largest entry is positive",
    );
}

#[test]
fn the_first_bad_system_is_named() {
    let good = [2.0, 1.0, 1.0, 2.0];
    let bad = [1.0, 2.0, 2.0, 4.0];
    let a: Vec<f64> = [good, good, bad, bad].concat();
    let b = vec![1.0; 8];
    let shape = Shape {
        batch: 4,
        rows: 2,
        cols: 2,
        rhs: 1,
    };
    let general = MatrixOp::Solve(System::General { transposed: false });
    let error = run(general, shape, &a, &b).unwrap_err();
    assert_eq!((error.system, error.fault), (2, Fault::Singular(1)));
    let positive = MatrixOp::Solve(System::Positive);
    let error = run(positive, shape, &a, &b).unwrap_err();
    assert_eq!((error.system, error.fault), (2, Fault::NotPositive(1)));
    assert!(error.to_string().contains("example 2"), "{error}");
    let lower = MatrixOp::Solve(System::Lower { transposed: true });
    let error = run(lower, single(2, 2, 1), &[1.0, 0.0, 5.0, 0.0], &[1.0, 1.0]).unwrap_err();
    assert_eq!(error.fault, Fault::Singular(1));
    assert!(!error.to_string().contains("example"), "{error}");
    // What f32 can not tell from singular is singular in f32.
    let nearly = [1.0f32, 1.0, 1.0, 1.0 + 1e-7];
    let mut out = [0.0f32; 2];
    let verdict = apply(
        general,
        single(2, 2, 1),
        &nearly,
        &[1.0, 1.0],
        &mut out,
        &Pool::new(1),
    );
    assert!(verdict.is_err());
}

/// The library that factors large matrices gives what ours says of small ones, in f32 as in f64.
#[test]
fn large_matrices() {
    let mut numbers = Numbers(5);
    let n = 100;
    let general = MatrixOp::Solve(System::General { transposed: false });
    let (mut a, b) = (numbers.matrix(n, n), numbers.matrix(n, 3));
    let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let mut x = vec![0.0f32; n * 3];
    let shape = single(n, n, 3);
    apply(
        general,
        shape,
        &narrow(&a),
        &narrow(&b),
        &mut x,
        &Pool::new(1),
    )
    .unwrap();
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for (back, want) in times(n, n, 3, &a, &wide).iter().zip(&b) {
        assert!((back - want).abs() < 1e-3, "{back}, not {want}");
    }
    let log = run(MatrixOp::LogDet, single(n, n, 0), &a, &[]).unwrap();
    let mut turned_rows = a.clone();
    turned_rows.rotate_right(n);
    let moved = run(MatrixOp::LogDet, single(n, n, 0), &turned_rows, &[]).unwrap();
    // Rows moved on by one place: a cycle of even length.
    assert_eq!(moved[0], -log[0]);
    close(&moved[1..], &log[1..], "the determinant of the same rows");

    // A column that depends on another, and a matrix that is not definite.
    for row in a.chunks_mut(n) {
        row[70] = row[3] + row[5];
    }
    let error = run(general, shape, &a, &b).unwrap_err();
    assert!(matches!(error.fault, Fault::Singular(_)), "{error}");
    let mut definite = positive(&mut numbers, n);
    assert!(run(MatrixOp::Cholesky, single(n, n, 0), &definite, &[]).is_ok());
    definite[80 * (n + 1)] = -1.0;
    let error = run(MatrixOp::Cholesky, single(n, n, 0), &definite, &[]).unwrap_err();
    assert_eq!(error.fault, Fault::NotPositive(80));
    // Rank 60: the pivot is what rounding leaves, above 0 or not.
    let thin = numbers.matrix(n, 60);
    let square = times(n, 60, n, &thin, &turned(n, 60, &thin));
    let error = run(MatrixOp::Cholesky, single(n, n, 0), &square, &[]).unwrap_err();
    assert!(matches!(error.fault, Fault::NotPositive(60..)), "{error}");
    let op = MatrixOp::Solve(System::Positive);
    let error = run(op, shape, &square, &b).unwrap_err();
    assert_eq!(error.fault, Fault::NotPositive(60));
}

#[test]
fn what_is_not_finite_gives_nan() {
    for op in [
        MatrixOp::Cholesky,
        MatrixOp::LogDet,
        MatrixOp::Qr,
        MatrixOp::Svd,
        MatrixOp::Eigh,
    ] {
        let out = run(op, single(2, 2, 0), &[1.0, f64::NAN, 0.0, 1.0], &[]).unwrap();
        assert!(out.iter().all(|x| x.is_nan()), "{op:?}");
    }
    for (system, at) in System::ALL
        .into_iter()
        .flat_map(|system| [0, 1, 2, 3].map(|at| (system, at)))
    {
        let op = MatrixOp::Solve(system);
        let unread = match system {
            System::Lower { .. } => at == 1,
            System::Upper { .. } => at == 2,
            System::General { .. } | System::Positive => false,
        };
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut a = [2.0, 0.5, 0.5, 2.0];
            a[at] = wrong;
            let out = run(op, single(2, 2, 1), &a, &[1.0, 1.0]).unwrap();
            assert!(
                out.iter().all(|x| x.is_nan() != unread),
                "{op:?} {wrong} at {at}"
            );
        }
    }
}

#[test]
fn threads_and_neighbours_do_not_change_bits() {
    let mut numbers = Numbers(4);
    let (batch, n) = (37, 24);
    let shape = Shape {
        batch,
        rows: n,
        cols: n,
        rhs: 2,
    };
    let general = numbers.matrix(batch * n, n);
    let definite: Vec<f64> = (0..batch).flat_map(|_| positive(&mut numbers, n)).collect();
    let b = numbers.matrix(batch * n, 2);
    for (system, a) in [
        (System::General { transposed: false }, &general),
        (System::General { transposed: true }, &general),
        (System::Lower { transposed: false }, &definite),
        (System::Upper { transposed: true }, &definite),
        (System::Positive, &definite),
    ] {
        let op = MatrixOp::Solve(system);
        let one = run(op, shape, a, &b).unwrap();
        let mut out = vec![0.0; one.len()];
        apply(op, shape, a, &b, &mut out, &Pool::new(3)).unwrap();
        assert_eq!(one, out);
        // Alone as in the batch, beside one that is not finite as well.
        let alone = |a: &[f64], at: usize| {
            let (a, b) = (&a[at * n * n..][..n * n], &b[at * n * 2..][..n * 2]);
            run(op, single(n, n, 2), a, b).unwrap()
        };
        assert_eq!(alone(a, 5), one[5 * n * 2..][..n * 2]);
        let mut odd = a.clone();
        odd[4 * n * n] = f64::NAN;
        let out = run(op, shape, &odd, &b).unwrap();
        assert!(out[4 * n * 2..][..n * 2].iter().all(|x| x.is_nan()));
        assert_eq!(out[5 * n * 2..], one[5 * n * 2..]);
        assert_eq!(out[..4 * n * 2], one[..4 * n * 2]);
    }
}

/// Factorizations and determinants of a batch have the bits that one alone has, and factors multiply back.
#[test]
fn small_factors_do_not_know_their_neighbours() {
    let mut numbers = Numbers(8);
    for (n, batch) in [(1, 9), (6, 8), (7, 21), (24, 10), (48, 3)] {
        let shape = |batch| Shape {
            batch,
            rows: n,
            cols: n,
            rhs: 0,
        };
        let definite: Vec<f64> = (0..batch).flat_map(|_| positive(&mut numbers, n)).collect();
        let mut any = numbers.matrix(batch * n, n);
        // A singular one among them has its own result.
        any[..n].fill(0.0);
        for (op, a) in [(MatrixOp::Cholesky, &definite), (MatrixOp::LogDet, &any)] {
            let all = run(op, shape(batch), a, &[]).unwrap();
            let each = all.len() / batch;
            for at in 0..batch {
                let own = &a[at * n * n..][..n * n];
                let alone = run(op, shape(1), own, &[]).unwrap();
                assert_eq!(alone, all[at * each..][..each], "{op:?} of {n}");
                if op == MatrixOp::Cholesky {
                    close(&times(n, n, n, &alone, &turned(n, n, &alone)), own, "L L'");
                }
            }
            if op == MatrixOp::LogDet {
                assert_eq!(all[..2], [0.0, f64::NEG_INFINITY]);
            }
        }
    }
}

/// Factors that one call keeps give another the bits that its own would.
#[test]
fn factors_are_shared() {
    let mut numbers = Numbers(6);
    let general = |transposed| MatrixOp::Solve(System::General { transposed });
    let positive_definite = MatrixOp::Solve(System::Positive);
    for (op, other) in [
        (positive_definite, positive_definite),
        (general(false), general(true)),
        (general(true), general(false)),
    ] {
        for (n, batch) in [9, 16, 17, 32]
            .into_iter()
            .flat_map(|n| [1, 3, 8, 17, 65].map(|batch| (n, batch)))
        {
            let shape = Shape {
                batch,
                rows: n,
                cols: n,
                rhs: 2,
            };
            let mut a: Vec<f64> = match op == positive_definite {
                true => (0..batch).flat_map(|_| positive(&mut numbers, n)).collect(),
                false => numbers.matrix(batch * n, n),
            };
            if batch > 8 {
                a[9 * n * n + 1] = f64::NAN;
            }
            let first = numbers.matrix(batch * n, 2);
            let second = numbers.matrix(batch * n, 2);
            let bit = |x: &f64| if x.is_nan() { u64::MAX } else { x.to_bits() };
            let bits = |x: &[f64]| x.iter().map(bit).collect::<Vec<u64>>();
            let want = [(op, &first), (other, &second)]
                .map(|(op, b)| bits(&run(op, shape, &a, b).unwrap()));
            for threads in [1, 3] {
                let pool = Pool::new(threads);
                let (kind, len) = kept_factors(op, shape).unwrap();
                assert_eq!(kept_factors(other, shape), Some((kind, len)));
                let mut kept = vec![0.0; len];
                let mut out = vec![0.0; first.len()];
                let make = Factors::Keep(&mut kept);
                apply_with(op, shape, &a, &first, make, &mut out, &pool).unwrap();
                assert_eq!(bits(&out), want[0]);
                // The matrices are not read again.
                let unread = vec![0.0; a.len()];
                let take = Factors::Known(&kept);
                apply_with(other, shape, &unread, &second, take, &mut out, &pool).unwrap();
                assert_eq!(bits(&out), want[1]);
            }
        }
    }
}
