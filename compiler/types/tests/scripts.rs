//! Small scripts through the elaborator, the passes and the reference interpreter: what they
//! print, and what they are told when they are wrong.

use aec_ir::interpret::{Precision, interpret};
use aec_runtime::Tensor;
use aec_syntax::{Diagnostic, Span};
use aec_types::{EffectArgs, Elaborator, Host, Options, Result, TrainRequest, Value};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A host without files: it interprets, and collects what is printed.
#[derive(Default)]
struct Bench {
    printed: RefCell<Vec<String>>,
    /// Instructions of the largest function that was run.
    largest: Cell<usize>,
}

fn show(value: &Value) -> String {
    match value {
        Value::Tensor(_) => match value.host() {
            Some(host) => {
                let numbers: Vec<String> = host
                    .to_f64_vec()
                    .iter()
                    .map(|v| format!("{}", (v * 1e4).round() / 1e4))
                    .collect();
                if host.rank() == 0 {
                    numbers.concat()
                } else {
                    format!("{:?}[{}]", host.dims(), numbers.join(" "))
                }
            }
            None => "not in memory".into(),
        },
        Value::Str(text) => text.to_string(),
        Value::Tuple(values) | Value::List(values) => {
            format!(
                "({})",
                values.iter().map(show).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Record(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name} = {}", show(value)))
                .collect();
            format!("({})", fields.join(", "))
        }
        other => other.describe(),
    }
}

impl Host for Bench {
    fn run(
        &self,
        function: aec_ir::Function,
        inputs: Vec<Arc<Tensor>>,
        span: Span,
    ) -> Result<Vec<Arc<Tensor>>> {
        let mut count = 0;
        aec_ir::rewrite::for_each_function(&function, &mut |f: &aec_ir::Function| {
            count += f.order.len();
        });
        self.largest.set(self.largest.get().max(count));
        let function = aec_transform::compile_time_passes(
            function,
            &mut aec_transform::Run::default(),
            &mut |_, _| {},
        )?;
        let inputs: Vec<Tensor> = inputs.iter().map(|tensor| (**tensor).clone()).collect();
        match interpret(&function, &inputs, Precision::AsTyped) {
            Ok(results) => Ok(results.into_iter().map(Arc::new).collect()),
            Err(error) => Err(Box::new(Diagnostic::error(
                "E0600",
                span,
                error.to_string(),
            ))),
        }
    }
    fn effect(&self, _: &mut Elaborator, name: &str, _: EffectArgs, span: Span) -> Result<Value> {
        Err(Box::new(Diagnostic::error(
            "E0601",
            span,
            format!("no effect `{name}` in this test"),
        )))
    }
    fn print(&self, _: &mut Elaborator, values: &[Value], _: Span) -> Result<()> {
        let line: Vec<String> = values.iter().map(show).collect();
        self.printed.borrow_mut().push(line.join(" "));
        Ok(())
    }
    fn format(&self, value: &Value, _: Option<&str>, _: Span) -> Result<String> {
        Ok(show(value))
    }
    fn train(&self, _: &mut Elaborator, request: TrainRequest) -> Result<Value> {
        Ok(request.model)
    }
    fn module(&self, path: &str) -> Option<(String, String)> {
        let text = match path {
            "prelude" => {
                "fn sigmoid(x: [..s]) -> [..s] = logistic(x)\nfn square(x: real) -> real = x * x\n"
            }
            "small" => "let k = 3\nfn twice(x: [..s]) -> [..s] = 2 * x\n",
            _ => return None,
        };
        Some((format!("{path}.ae"), text.into()))
    }
    fn library(&self) -> Vec<String> {
        vec!["prelude".into(), "small".into()]
    }
    fn check_interrupt(&self) -> Result<()> {
        Ok(())
    }
    fn check_memory(&self, _span: Span) -> Result<()> {
        Ok(())
    }
}

/// What a script prints, or the rendered diagnostics of the first stage that complains.
fn run(text: &str) -> String {
    run_on(&Rc::new(Bench::default()), text)
}

fn run_on(host: &Rc<Bench>, text: &str) -> String {
    let mut elaborator = Elaborator::new(host.clone(), Options::default());
    assert!(
        elaborator.library_faults().is_empty(),
        "{:?}",
        elaborator.library_faults()
    );
    let file = elaborator.sources().borrow_mut().add("test.ae", text);
    let (script, mut diagnostics) = aec_syntax::parse_script(file, text);
    if diagnostics.is_empty() {
        diagnostics = elaborator.check_script(&script);
    }
    if diagnostics.is_empty() {
        let result = elaborator.declare(&script).and_then(|()| {
            script
                .items
                .iter()
                .try_for_each(|item| elaborator.run_item(item).map(|_| ()))
        });
        diagnostics.extend(result.err().map(|diagnostic| *diagnostic));
    }
    if diagnostics.is_empty() {
        return host.printed.borrow().join("\n");
    }
    let sources = elaborator.sources();
    let sources = sources.borrow();
    let texts: Vec<String> = diagnostics
        .iter()
        .map(|d| aec_syntax::render(&sources, d, aec_syntax::Style::PLAIN))
        .collect();
    texts.join("\n")
}

#[track_caller]
fn prints(text: &str, expected: &str) {
    assert_eq!(run(text), expected, "\n{}", run(text));
}

#[track_caller]
fn fails(text: &str, parts: &[&str]) {
    let message = run(text);
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in\n{message}");
    }
}

#[test]
fn arithmetic_and_shapes() {
    prints(
        "print 1 + 2 * 3, 7 // 2, mod(-7, 3), 2^10, 1 / 4",
        "7 3 2 1024 0.25",
    );
    prints(
        "let x = [1.0, 2, 3]\nprint x * 2 + 1, sum(x), mean(x), x @ x",
        "[3][3 5 7] 6 2 14",
    );
    prints(
        "let a = [[1, 2], [3, 4.0]]\nprint a', a @ [1.0, 1], a[1, 0], a[:, 1]",
        "[2, 2][1 3 2 4] [2][3 7] 3 [2][2 4]",
    );
    prints(
        "let x = [5.0, 6, 7, 8]\nprint x[1..3], x[-1], x[[0, 2]], len(x)",
        "[2][6 7] 8 [2][5 7] 4",
    );
    prints(
        "print [i * i for i in 0..4], [[j > i for j in 0..2] for i in 0..2]",
        "[4][0 1 4 9] [2, 2][0 1 0 0]",
    );
}

#[test]
fn functions_records_and_automap() {
    prints(
        "fn f(x: [n]) -> real = sum(x * x)\nprint f([1.0, 2]), f([[1.0, 2], [3, 4]])",
        "5 [2][5 25]",
    );
    prints(
        "fn f(a: real, b: real = 2) = a * b\nprint f(3), f(3, b = 5), [1.0, 2] |> map(f, _)",
        "6 15 [2][2 4]",
    );
    prints(
        "let q = (mu = 1.5, n = 2)\nlet (mu = m, n = k) = q\nprint m * k, q.mu, (1, 2).1",
        "3 1.5 2",
    );
    prints(
        "fn twice(f, x) = f(f(x))\nlet k = 3.0\nprint twice(fn x -> x * k, 2.0)",
        "18",
    );
    prints("use small\nprint small.twice([1.0, small.k])", "[2][2 6]");
}

#[test]
fn derivatives() {
    prints("print grad(fn x -> x^3)(2.0)", "12");
    prints("print grad(fn x -> sum(x * x))([1.0, 2, 3])", "[3][2 4 6]");
    prints(
        "let W = [[1.0, 2], [0, -1]]\nprint sum(jacobian(fn x -> sigmoid(W @ x))([0.0, 0])^2)",
        "0.375",
    );
    prints(
        "print hessian_vector(fn x -> sum(x^3), )([1.0, 2], [1.0, 0])",
        "[2][6 0]",
    );
    prints(
        "print jvp(fn x -> x^2)(3.0, 1.0), vjp(fn x -> 2 * x)([1.0, 1], [3.0, 4])",
        "(9, 6) [2][6 8]",
    );
    prints("print grad(grad(fn x -> x^4))(2.0)", "48");
    prints(
        "fn f(x: real, k: real = 3) = x * k^2\nprint grad(f, wrt = \"k\")(2.0), jvp(f, wrt = \"k\")(2.0, 1.0)",
        "12 (18, 12)",
    );
}

#[test]
fn directions_and_cotangents() {
    prints(
        "print vjp(fn x -> (a = x^2, b = 3 * x))(2.0, (b = 1, a = 0)), jvp(fn r -> r.a * r.b^2)((a = 2.0, b = 3.0), (b = 1, a = 0))",
        "3 (18, 12)",
    );
    prints("print jvp(fn x -> sum(x^2))([1.0, 2], [1, 0])", "(5, 2)");
    fails(
        "print vjp(fn x -> sum(x))([1.0, 2], [1.0, 2])",
        &[
            "E0301",
            "the cotangent is [2], but the function's value is real",
        ],
    );
    fails(
        "fn f(x: [n]) -> [n] = vjp(fn x -> cumsum(x))(x, [1.0, 2, 3])",
        &[
            "E0301",
            "the cotangent is [3], but the function's value is [n]",
        ],
    );
    fails(
        "print jvp(fn x -> sum(x))([1.0, 2], [1.0, 2, 3])",
        &["E0301", "the direction is [3], but the place is [2]"],
    );
    fails(
        "print jvp(fn x -> sum(x))([1.0, 2], [true, false])",
        &["E0303", "the direction is bool[2], but the place is [2]"],
    );
    fails(
        "print vjp(fn x -> (a = x, b = x))(1.0, (a = 1.0))",
        &["E0310", "the cotangent has no field `b`"],
    );
    fails(
        "print vjp(fn x -> x > 0)(1.0, 1.0)",
        &["E0501", "`vjp` wants a function with real results"],
    );
    fails(
        "fn f(x: real, y: real) = x * y\nprint jvp(f, wrt = \"y\")(2.0, 1.0)",
        &["E0401", "wants a value for `y: real`"],
    );
}

const TIED: &str = "model Tied(D, H) {
  param W: [H, D] ~ fn shape -> uniform(-1, 1)
  param b: [H] = 0
  encoder(x: [D]) -> [H] = sigmoid(W @ x + b)
  decoder(h: [H]) -> [D] = W' @ h
  loss(x: [D]) = sum((decoder(encoder(x)) - x)^2)
}
";

#[test]
fn models_are_values() {
    prints(
        &format!(
            "{TIED}let m = Tied(3, 2)\nlet x = [[1.0, 2, 3], [4, 5, 6]]\nprint shape(m.loss(x)), shape(m.W), m.D"
        ),
        "(2) (2, 3) 3",
    );
    prints(
        &format!(
            "{TIED}let m = Tied(3, 2)\nlet g = grad(fn m -> m.loss([1.0, 2, 3]))(m)\nprint shape(g.W), shape(g.b)"
        ),
        "(2, 3) (2)",
    );
    prints(
        &format!("{TIED}let m = with(Tied(2, 1), W = [[1.0, 0]])\nprint m.encoder([0.0, 5])"),
        "[1][0.5]",
    );
}

#[test]
fn draws_are_keyed_by_place() {
    prints(
        "fn f(x: real) -> real {{ let e ~ uniform(0, 1)\n x + e }}\nprint f(0) == f(0)"
            .replace("{{", "{")
            .replace("}}", "}")
            .as_str(),
        "0",
    );
    prints(
        "let a: [3] ~ uniform(0, 1)\nlet b: [3] ~ uniform(0, 1)\nprint a == b, all(a > 0 and a < 1)",
        "[3][0 0 0] 1",
    );
    prints(
        "let xs = [0.0, 0, 0]\nlet e = map(fn x -> { let n ~ normal(0, 1)\n n + x }, xs)\nprint e[0] != e[1]",
        "1",
    );
}

#[test]
fn sizes_that_do_not_fit_are_explained() {
    fails(
        "model M(D, H) {\n  param W: [H, H] ~ fn s -> normal(0, 1)\n  encoder(x: [D]) -> [H] = sigmoid(W @ x)\n}\n",
        &["error[E0301]", "`W @ x`", "[H, H]", "[D]"],
    );
    fails("print [1.0, 2] + [1.0, 2, 3]", &["E0301", "2 against 3"]);
    fails(
        "fn f(x: [n], y: [n]) = x @ y\nprint f([1.0, 2], [1.0])",
        &["E0301", "declared here"],
    );
    fails("print sigmiod(1.0)", &["E0201", "did you mean `sigmoid`"]);
    fails("print fold(1, 2)", &["E0401"]);
    fails("print [1.0, ?] == ?", &["E0321", "not observed"]);
}

/// A function over a script's list of sequences of different lengths is traced once, not for each.
#[test]
fn sequences_are_mapped_in_one_piece() {
    let traced = |body: &str, count: usize| {
        let items: Vec<String> = (0..count)
            .map(|at| format!("{:?}", vec![1.0; 1 + at % 3]))
            .collect();
        let host = Rc::new(Bench::default());
        let text = format!(
            "let xs: list[[_]] = [{}]\nlet ys = {body}",
            items.join(", ")
        );
        assert_eq!(run_on(&host, &text), "");
        host.largest.get()
    };
    for body in [
        "map(fn x -> sum(x * x), xs)",
        "[sum(x * x) for x in xs]",
        "[exp(x) for x in xs]",
        "map(fn x, y -> x @ y, xs, xs)",
    ] {
        assert_eq!(traced(body, 4), traced(body, 40), "{body}");
    }
    let drawn = "[{ let e ~ normal(0, 1)\n sum(x) + e } for x in xs]";
    assert!(traced(drawn, 40) > traced(drawn, 4));
}
