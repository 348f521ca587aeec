//! The table of AUTODIFF.md section 1: counted arithmetic and the largest value of whole training
//! steps with a penalty on a Jacobian, and what compiling them costs.

mod common;

use aec_ir::Function;
use aec_transform::arithmetic::{Arithmetic, arithmetic};
use common::{compile, tir};

/// Layers `sizes[0] -> sizes[1] -> …` of `activation` as an encoder of `x`, batch 64.
struct Encoder {
    sizes: Vec<usize>,
}

const BATCH: usize = 64;

impl Encoder {
    fn params(&self, dims: &dyn Fn(usize, usize) -> String) -> String {
        let weights = self.sizes.windows(2).enumerate();
        weights
            .map(|(at, pair)| format!("%{at} \"W{at}\": {}, ", dims(pair[1], pair[0])))
            .collect()
    }

    fn bare(&self) -> String {
        let weights = self.sizes.windows(2).enumerate();
        weights
            .map(|(at, pair)| format!("%{at}: f32[{},{}], ", pair[1], pair[0]))
            .collect()
    }

    fn layers(&self) -> usize {
        self.sizes.len() - 1
    }

    /// The body of the encoder as a region that takes the weights and x.
    fn region(&self) -> String {
        let n = self.layers();
        let mut text = format!(
            "fn encoder({}%{n}: f32[{}]) {{\n",
            self.bare(),
            self.sizes[0]
        );
        let mut input = n;
        for (at, size) in self.sizes[1..].iter().enumerate() {
            let (a, b) = (input + 1, input + 2);
            text += &format!("%{a}: f32[{size}] = contract %{at}[a,b] %{input}[b] -> [a]\n");
            text += &format!("%{b}: f32[{size}] = logistic %{a}\n");
            input = b;
        }
        text + &format!("return %{input}\n}}\n")
    }
}

/// Value and gradient by all weights of the mean of the penalty over a batch of encoders, alone.
fn penalty_step(encoder: &Encoder) -> Function {
    let n = encoder.layers();
    let d = encoder.sizes[0];
    let k = encoder.sizes[n];
    let weights: String = (0..n).map(|at| format!("%{at} active, ")).collect();
    let plain: String = (0..n).map(|at| format!("%{at}, ")).collect();
    let types: String = encoder
        .sizes
        .windows(2)
        .enumerate()
        .map(|(at, p)| format!(", %{}: f32[{},{}]", n + 3 + at, p[1], p[0]))
        .collect();
    let results: String = (0..n).map(|at| format!(", %{}", n + 3 + at)).collect();
    let text = format!(
        "fn step({params}%{n} \"x\": f32[{BATCH},{d}]) {{
  %{ct}: f32 = constant 1.0
  %{loss}: f32{types} = derivative vjp ({weights}%{n}, %{ct}) {{
    fn loss({bare}%{n}: f32[{BATCH},{d}]) {{
      %{per}: f32[{BATCH}] = map {BATCH} batch ({plain}%{n} mapped) {{
        fn example({bare}%{n}: f32[{d}]) {{
          %{h}: f32[{k}], %{j}: f32[{k},{d}] = derivative jacobian ({plain}%{n} active) {{
            {region}
          }}
          %{p}: f32 = contract %{j}[a,b]^2 -> []
          return %{p}
        }}
      }}
      %{mean}: f32 = contract 0.0015625 %{per}[a] -> []
      return %{mean}
    }}
  }}
  return %{loss}{results}
}}",
        params = encoder.params(&|a, b| format!("f32[{a},{b}]")),
        bare = encoder.bare(),
        region = encoder.region(),
        ct = n + 1,
        loss = n + 2,
        per = n + 1,
        mean = n + 2,
        h = n + 1,
        j = n + 2,
        p = n + 3,
    );
    tir(&text)
}

fn counted(f: &Function) -> Arithmetic {
    arithmetic(&compile(f))
}

#[test]
fn penalties_of_encoders() {
    // The reconstruction is not part of these: 784-256-64-256-784 has 83 MFLOP more.
    for (sizes, most, largest) in [
        (vec![784, 256], 53.0, 784 * 256),
        (vec![784, 256, 64], 1450.0 - 83.0, 64 * 64 * 256),
        (vec![784, 512, 256, 64], 8800.0 - 211.0, 64 * 64 * 512),
    ] {
        let found = counted(&penalty_step(&Encoder { sizes }));
        assert!(found.flops <= most * 1e6, "{found}");
        assert!(found.largest <= largest, "{found}");
    }
}

/// Something of the Jacobian of `body` by its last param for each of 64 examples: the body takes
/// `shared` params first (the same for all examples), then `own` (one for each).
fn of_jacobian(
    shared: &[&str],
    own: &[&str],
    body: &str,
    dims: [usize; 2],
    tail: &str,
) -> Function {
    let count = shared.len() + own.len();
    let list = |with_batch: bool| -> String {
        let all = shared.iter().map(|d| (d.to_string(), false));
        let all = all.chain(own.iter().map(|d| (d.to_string(), with_batch)));
        all.enumerate()
            .map(|(at, (dims, batch))| {
                let lead = if batch {
                    format!("{BATCH},")
                } else {
                    String::new()
                };
                format!(
                    "{}%{at}: f32[{lead}{dims}]",
                    if at == 0 { "" } else { ", " }
                )
            })
            .collect()
    };
    let names = |mark: &str, from: usize| -> String {
        (0..count)
            .map(|at| {
                let mark = if at >= from { mark } else { "" };
                format!("{}%{at}{mark}", if at == 0 { "" } else { ", " })
            })
            .collect()
    };
    let [k, d] = dims;
    let (h, j, out) = (count, count + 1, count + 2);
    let (tail_op, tail_dims) = tail
        .split_once(" : ")
        .expect("an op and the dims of its result");
    let tail_op = tail_op.replace('J', &format!("%{j}"));
    let each = match tail_dims {
        "" => format!("f32[{BATCH}]"),
        dims => format!("f32[{BATCH},{dims}]"),
    };
    let one = match tail_dims {
        "" => "f32".to_string(),
        dims => format!("f32[{dims}]"),
    };
    tir(&format!(
        "fn f({outer}) {{
  %{count}: {each} = map {BATCH} batch ({mapped}) {{
    fn example({inner}) {{
      %{h}: f32[{k}], %{j}: f32[{k},{d}] = derivative jacobian ({active}) {{
        fn g({inner}) {{
{body}
        }}
      }}
      %{out}: {one} = {tail_op}
      return %{out}
    }}
  }}
  return %{count}
}}",
        outer = list(true),
        inner = list(false),
        mapped = names(" mapped", shared.len()),
        active = names(" active", count - 1),
    ))
}

const SQUARE: &str = "contract J[a,b]^2 -> [] : ";

/// V tanh(W x), and x added to it.
const RESIDUAL: &str = "%3: f32[256] = contract %1[a,b] %2[b] -> [a]
%4: f32[256] = tanh %3
%5: f32[784] = contract %0[a,b] %4[b] -> [a]";

#[test]
fn other_expressions_of_jacobians() {
    let residual = format!("{RESIDUAL}\n%6: f32[784] = add %2, %5\nreturn %6");
    let plain = format!("{RESIDUAL}\nreturn %5");
    let nets = ["784,256", "256,784"];
    let encoder = "%2: f32[256] = contract %0[a,b] %1[b] -> [a]
%3: f32[256] = logistic %2
return %3";
    let masked = "%3: f32[784] = contract %1[a] %2[a] -> [a]
%4: f32[256] = contract %0[a,b] %3[b] -> [a]
%5: f32[256] = logistic %4
return %5";
    let decoder = "%2: f32[784] = contract %0[a,b] %1[b] -> [a]
%3: f32[784] = logistic %2
return %3";
    let cases = [
        (
            "trace",
            of_jacobian(
                &nets,
                &["784"],
                &plain,
                [784, 784],
                "contract J[a,a] -> [] : ",
            ),
            26.5,
            16_384,
        ),
        (
            "residual",
            of_jacobian(&nets, &["784"], &residual, [784, 784], SQUARE),
            240.5,
            65_536,
        ),
        (
            "mask",
            of_jacobian(&["256,784"], &["784", "784"], masked, [256, 784], SQUARE),
            52.5,
            200_704,
        ),
        (
            "diagonal",
            of_jacobian(
                &[],
                &["784"],
                "%1: f32[784] = tanh %0\nreturn %1",
                [784, 784],
                SQUARE,
            ),
            0.31,
            50_176,
        ),
        (
            "decoder",
            of_jacobian(&["784,256"], &["256"], decoder, [784, 256], SQUARE),
            26.5,
            50_176,
        ),
        (
            "J J'",
            of_jacobian(
                &["256,784"],
                &["784"],
                encoder,
                [256, 784],
                "contract J[a,c] J[b,c] -> [a,b] : 256,256",
            ),
            137.5,
            64 * 256 * 256,
        ),
    ];
    for (what, f, most, largest) in cases {
        let compiled = compile(&f);
        let found = arithmetic(&compiled);
        assert!(found.flops <= most * 1e6, "{what}: {found}\n{compiled}");
        assert!(found.largest <= largest, "{what}: {found}\n{compiled}");
    }
}

/// `‖J(x) - J(x + n)‖²` of an encoder: what the two Jacobians have in common stands before their
/// difference.
#[test]
fn change_of_a_jacobian() {
    let one = "%3: f32[256] = contract %0[a,b] %2[b] -> [a]
%4: f32[256] = logistic %3
return %4";
    let two = "%3: f32[256] = contract %0[a,b] %2[b] -> [a]
%4: f32[256] = logistic %3
%5: f32[64] = contract %1[a,b] %4[b] -> [a]
%6: f32[64] = tanh %5
return %6";
    for (body, k, most, largest) in [
        (one, 256, 53.0, 784 * 256),
        (two, 64, 1400.0, 64 * 64 * 256),
    ] {
        let params = "%0: f32[256,784], %1: f32[64,256], %2: f32[784]";
        let f = tir(&format!(
            "fn f(%0: f32[256,784], %1: f32[64,256], %2: f32[64,784], %3: f32[64,784]) {{
  %4: f32[64] = map 64 batch (%0, %1, %2 mapped, %3 mapped) {{
    fn example({params}, %3: f32[784]) {{
      %4: f32[{k}], %5: f32[{k},784] = derivative jacobian (%0, %1, %2 active) {{
        fn g({params}) {{
{body}
        }}
      }}
      %6: f32[784] = add %2, %3
      %7: f32[{k}], %8: f32[{k},784] = derivative jacobian (%0, %1, %6 active) {{
        fn g({params}) {{
{body}
        }}
      }}
      %9: f32[{k},784] = sub %5, %8
      %10: f32 = contract %9[a,b]^2 -> []
      return %10
    }}
  }}
  return %4
}}"
        ));
        let compiled = compile(&f);
        let found = arithmetic(&compiled);
        assert!(found.flops <= most * 1e6, "{found}\n{compiled}");
        assert!(found.largest <= largest, "{found}\n{compiled}");
    }
}

#[test]
fn plans_are_deterministic() {
    let f = penalty_step(&Encoder {
        sizes: vec![784, 256, 64],
    });
    assert_eq!(compile(&f).to_string(), compile(&f).to_string());
}
