//! Whole programs: losses of autoencoders through every pass, against finite differences.

mod common;

use aec_ir::{Function, Mode, Op};
use aec_runtime::Tensor;
use common::{Numbers, check_gradient, close, compile, differentiated, eval, floats, tir};

fn inputs(f: &Function, numbers: &mut Numbers) -> Vec<Tensor> {
    f.params
        .iter()
        .map(|&v| match f.ty(v).elem.is_float() {
            true => numbers.tensor(f.dims(v)),
            false => {
                let count = f.ty(v).len() as i64;
                Tensor::i64(f.dims(v), (0..count).map(|i| i * 3 + 1).collect())
            }
        })
        .collect()
}

/// `mean(map(loss, x))` of a variational autoencoder.
const VAE: &str = "fn mean_loss(%0 \"W1\": f64[4,6], %1 \"b1\": f64[4], %2 \"Wm\": f64[2,4], %3 \"Wv\": f64[2,4], %4 \"Wd\": f64[6,2], %5: f64[5,6], %6: i64, %7: i64[5]) {
    %8: f64[5] = map 5 batch (%0, %1, %2, %3, %4, %5 mapped, %6, %7 mapped) {
      fn loss(%0: f64[4,6], %1: f64[4], %2: f64[2,4], %3: f64[2,4], %4: f64[6,2], %5: f64[6], %6: i64, %7: i64) {
        %8: f64[4] = contract %0[a,b] %5[b] -> [a]
        %9: f64[4] = add %8, %1
        %10: f64[4] = tanh %9
        %11: f64[2] = contract %2[a,b] %10[b] -> [a]
        %12: f64[2] = contract %3[a,b] %10[b] -> [a]
        %13: f64[2] = draw normal site 0x1 batch 0 radices [] %6, %6, %7
        %14: f64[2] = contract 0.5 %12[a] -> [a]
        %15: f64[2] = exp %14
        %16: f64[2] = contract %15[a] %13[a] -> [a]
        %17: f64[2] = add %11, %16
        %18: f64[6] = contract %4[a,b] %17[b] -> [a]
        %19: f64[6] = constant 0.0
        %20: f64[6] = max %18, %19
        %21: f64[6] = contract %18[a] %5[a] -> [a]
        %22: f64[6] = abs %18
        %23: f64[6] = neg %22
        %24: f64[6] = exp %23
        %25: f64[6] = log1p %24
        %26: f64[6] = sub %20, %21
        %27: f64[6] = add %26, %25
        %28: f64 = contract %27[a] -> []
        %29: f64[2] = constant 1.0
        %30: f64[2] = add %29, %12
        %31: f64[2] = contract %11[a]^2 -> [a]
        %32: f64[2] = exp %12
        %33: f64[2] = sub %30, %31
        %34: f64[2] = sub %33, %32
        %35: f64 = contract -0.5 %34[a] -> []
        %36: f64 = add %28, %35
        return %36
      }
    }
    %9: f64 = contract 0.2 %8[a] -> []
    return %9
}";

#[test]
fn variational_autoencoder() {
    let body = tir(VAE);
    let inputs = inputs(&body, &mut Numbers(11));
    check_gradient(&body, &inputs, 1e-6);
}

/// Sum of the squares of a Jacobian for each example of a batch, by a region in a region.
fn penalty(
    encoder: &str,
    params: &str,
    jacobian: &str,
    operands: &str,
    active: &str,
    k: usize,
    n: usize,
) -> String {
    format!(
        "fn penalty({params}, %x: f64[3,{n}]) {{
          %r: f64[3] = map 3 batch ({operands}, %x mapped) {{
            fn example({params}, %x: f64[{n}]) {{
              %y: f64[{k}], %j: f64[{k},{n}] = derivative jacobian ({active}) {{
                {encoder}
              }}
              {jacobian}
            }}
          }}
          %m: f64 = contract %r[a] -> []
          return %m
        }}"
    )
}

/// The text form numbers its values; this names them.
fn numbered(text: &str) -> String {
    let mut names: Vec<Vec<String>> = Vec::new();
    let mut result = String::new();
    let mut chars = text.chars().peekable();
    let mut stack_base = vec![0usize];
    let mut pending_fn = false;
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let mut name = String::new();
                while let Some(&c) = chars.peek() {
                    if !c.is_ascii_alphanumeric() && c != '_' {
                        break;
                    }
                    name.push(c);
                    chars.next();
                }
                let scope = names.last_mut().expect("inside a function");
                let at = scope.iter().position(|n| *n == name).unwrap_or_else(|| {
                    scope.push(name);
                    scope.len() - 1
                });
                result.push_str(&format!("%{at}"));
            }
            'f' if text_is_fn(&result, &mut chars) => {
                names.push(Vec::new());
                pending_fn = true;
                result.push('f');
            }
            '{' => {
                stack_base.push(usize::from(pending_fn));
                pending_fn = false;
                result.push(c);
            }
            '}' => {
                if stack_base.pop() == Some(1) {
                    names.pop();
                }
                result.push(c);
            }
            c => result.push(c),
        }
    }
    result
}

fn text_is_fn(before: &str, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    let starts = before
        .chars()
        .last()
        .is_none_or(|c| c.is_whitespace() || c == '{');
    starts && chars.peek() == Some(&'n') && {
        let mut ahead = chars.clone();
        ahead.next();
        ahead.next() == Some(' ')
    }
}

#[test]
fn contractive_penalty_has_its_known_value() {
    // Row X6: W = [[1, 2], [0, -1]], b = 0, x = 0: 0.375 for each of the three examples.
    let encoder = "fn encoder(%W: f64[2,2], %b: f64[2], %x: f64[2]) {
        %a: f64[2] = contract %W[i,j] %x[j] -> [i]
        %c: f64[2] = add %a, %b
        %h: f64[2] = logistic %c
        return %h
    }";
    let text = penalty(
        encoder,
        "%W: f64[2,2], %b: f64[2]",
        "%s: f64 = contract %j[a,b]^2 -> []\n return %s",
        "%W, %b",
        "%W, %b, %x active",
        2,
        2,
    );
    let f = tir(&numbered(&text));
    let inputs = [
        Tensor::f64(&[2, 2], vec![1.0, 2.0, 0.0, -1.0]),
        Tensor::f64(&[2], vec![0.0; 2]),
        Tensor::f64(&[3, 2], vec![0.0; 6]),
    ];
    let compiled = compile(&f);
    close(
        &eval(&compiled, &inputs)[0],
        &Tensor::f64(&[], vec![3.0 * 0.375]),
        1e-12,
        "X6",
    );
    // No value is larger than the weights or the batch of activations.
    for &inst in &compiled.order {
        let result = compiled.insts[inst].results[0];
        assert!(compiled.ty(result).len() <= 6, "{compiled}");
    }
    check_penalty(&f, 13);
}

/// Gradient of a function with derivative regions inside, by differences of the compiled
/// function (the interpreter runs no derivative).
fn check_penalty(f: &Function, seed: u64) {
    let mut numbers = Numbers(seed);
    let inputs = inputs(f, &mut numbers);
    let value = compile(f);
    let vjp = compile(&differentiated(f, Mode::Vjp, &floats(f)));
    let mut all = inputs.clone();
    all.push(Tensor::f64(&[], vec![1.0]));
    let results = eval(&vjp, &all);
    close(
        &results[0],
        &eval(&value, &inputs)[0],
        1e-10,
        "the value beside its gradient",
    );
    let step = 1e-5;
    for (index, input) in inputs.iter().enumerate() {
        for at in 0..input.len() {
            let side = |by: f64| {
                let mut values = input.to_f64_vec();
                values[at] += by;
                let mut moved = inputs.clone();
                moved[index] = Tensor::f64(input.dims(), values);
                eval(&value, &moved)[0].get_f64(0)
            };
            let expected = (side(step) - side(-step)) / (2.0 * step);
            let got = results[1 + index].get_f64(at);
            assert!(
                (got - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                "entry {at} of param {index}: {got}, by differences {expected}\n{vjp}"
            );
        }
    }
}

#[test]
fn residual_encoder_penalty_counts_the_batch() {
    // x + V tanh(W x): the identity part has no batch label of its own (AUTODIFF.md, R3).
    let encoder = "fn encoder(%V: f64[4,2], %W: f64[2,4], %x: f64[4]) {
        %a: f64[2] = contract %W[i,j] %x[j] -> [i]
        %h: f64[2] = tanh %a
        %d: f64[4] = contract %V[i,j] %h[j] -> [i]
        %y: f64[4] = add %x, %d
        return %y
    }";
    let text = penalty(
        encoder,
        "%V: f64[4,2], %W: f64[2,4]",
        "%s: f64 = contract %j[a,b]^2 -> []\n return %s",
        "%V, %W",
        "%V, %W, %x active",
        4,
        4,
    );
    let f = tir(&numbered(&text));
    let inputs = inputs(&f, &mut Numbers(17));
    let (v, w, x) = (
        inputs[0].to_f64_vec(),
        inputs[1].to_f64_vec(),
        inputs[2].to_f64_vec(),
    );
    let mut expected = 0.0;
    for b in 0..3 {
        let slope: Vec<f64> = (0..2)
            .map(|i| {
                let a: f64 = (0..4).map(|j| w[i * 4 + j] * x[b * 4 + j]).sum();
                1.0 - a.tanh().powi(2)
            })
            .collect();
        for i in 0..4 {
            for j in 0..4 {
                let through: f64 = (0..2).map(|k| v[i * 2 + k] * slope[k] * w[k * 4 + j]).sum();
                expected += (f64::from(u8::from(i == j)) + through).powi(2);
            }
        }
    }
    let got = eval(&compile(&f), &inputs);
    close(
        &got[0],
        &Tensor::f64(&[], vec![expected]),
        1e-12,
        "residual penalty",
    );
    check_penalty(&f, 17);
}

#[test]
fn deep_encoder_penalty() {
    let encoder = "fn encoder(%V: f64[2,3], %W: f64[3,4], %x: f64[4]) {
        %a: f64[3] = contract %W[i,j] %x[j] -> [i]
        %h: f64[3] = logistic %a
        %d: f64[2] = contract %V[i,j] %h[j] -> [i]
        %y: f64[2] = tanh %d
        return %y
    }";
    let text = penalty(
        encoder,
        "%V: f64[2,3], %W: f64[3,4]",
        "%s: f64 = contract %j[a,b]^2 -> []\n return %s",
        "%V, %W",
        "%V, %W, %x active",
        2,
        4,
    );
    check_penalty(&tir(&numbered(&text)), 23);
}

#[test]
fn trace_of_a_diagonal_jacobian_makes_no_square() {
    let encoder = "fn encoder(%s: f64, %x: f64[5]) {
        %z: f64[5] = constant 0.0
        %c: bool[5] = gt %x, %z
        %e: f64[5] = exp %x
        %q: f64[5] = select %c, %e, %z
        %y: f64[5] = contract %q[i] %s[] -> [i]
        return %y
    }";
    let text = penalty(
        encoder,
        "%s: f64",
        "%t: f64 = contract %j[a,b]^2 -> []\n return %t",
        "%s",
        "%s, %x active",
        5,
        5,
    );
    let f = tir(&numbered(&text));
    let compiled = compile(&f);
    for &inst in &compiled.order {
        let result = compiled.insts[inst].results[0];
        assert!(compiled.ty(result).len() <= 15, "{compiled}");
    }
    check_penalty(&f, 29);
}

#[test]
fn every_sum_of_products_is_binary_in_the_end() {
    let body = tir(VAE);
    let f = compile(&differentiated(&body, Mode::Vjp, &floats(&body)));
    for &inst in &f.order {
        let Op::Contract(contract) = &f.insts[inst].op else {
            continue;
        };
        let summed = contract.sizes.len() > contract.out.len();
        assert!(!summed || contract.factors.len() <= 2, "{f}");
        assert!(!summed || contract.deltas.is_empty(), "{f}");
    }
}
