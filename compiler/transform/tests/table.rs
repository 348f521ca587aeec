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
        let mut text = format!("fn encoder({}%{n}: f32[{}]) {{\n", self.bare(), self.sizes[0]);
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
    let names: String = (0..=n).map(|at| format!("%{at}, ")).collect();
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
    let _ = names;
    tir(&text)
}

fn counted(f: &Function) -> Arithmetic {
    let start = std::time::Instant::now();
    let compiled = compile(f);
    eprintln!("{:?} {}", start.elapsed(), arithmetic(&compiled));
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{compiled}");
    }
    arithmetic(&compiled)
}

#[test]
fn penalties_of_encoders() {
    for (sizes, most, largest) in [
        (vec![784, 256], 130.0, 784 * 256),
        (vec![784, 256, 64], 1450.0, 64 * 64 * 256),
        (vec![784, 512, 256, 64], 8800.0, 64 * 64 * 512),
    ] {
        let found = counted(&penalty_step(&Encoder { sizes }));
        assert!(found.flops <= most * 1e6, "{found}");
        assert!(found.largest <= largest, "{found}");
    }
}
