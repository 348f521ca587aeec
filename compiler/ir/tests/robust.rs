//! What is not TIR is refused, never a panic; and contractions against the formula itself.

use aec_ir::generate::{Options, program};
use aec_ir::{Contract, Function, Label, Op, Precision, Span, interpret, parse, verify};
use aec_runtime::Tensor;

/// A small generator of its own: the tests must not depend on the one they test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides as u64) as usize
    }
}

/// The text with one thing changed.
fn damaged(text: &str, dice: &mut Dice) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    match dice.roll(4) {
        0 => {
            let at = dice.roll(chars.len());
            chars.remove(at);
        }
        1 => {
            let at = dice.roll(chars.len());
            chars[at] = ['0', '7', '%', ']', ',', 'b', ' ', '-', 'é', '"'][dice.roll(10)];
        }
        2 => {
            let digits: Vec<usize> = (0..chars.len())
                .filter(|&at| chars[at].is_ascii_digit())
                .collect();
            let at = digits[dice.roll(digits.len())];
            chars[at] = char::from(b'0' + dice.roll(10) as u8);
        }
        _ => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (a, b) = (dice.roll(lines.len()), dice.roll(lines.len()));
            lines.swap(a, b);
            return lines.join("\n");
        }
    }
    chars.into_iter().collect()
}

#[test]
fn damaged_texts_never_panic() {
    let mut dice = Dice(1);
    let (mut refused, mut invalid, mut valid) = (0, 0, 0);
    for seed in 0..60 {
        let text = program(seed, &Options::default()).function.to_string();
        for _ in 0..40 {
            match parse(&damaged(&text, &mut dice)) {
                Err(error) => {
                    assert!(error.line >= 1 && error.column >= 1);
                    refused += 1;
                }
                Ok(functions) => {
                    for f in functions {
                        match verify(&f) {
                            Err(error) => {
                                assert!(!error.to_string().is_empty());
                                invalid += 1;
                            }
                            Ok(()) => valid += 1,
                        }
                        let again = f.to_string();
                        let back = parse(&again).map(|back| back[0].to_string());
                        assert_eq!(back, Ok(again));
                    }
                }
            }
        }
    }
    assert!(
        refused > 100 && invalid > 100 && valid > 100,
        "{refused} {invalid} {valid}"
    );
}

#[test]
fn broken_functions_are_named() {
    let text = "fn f(%0: f32[2]) {\n  %1: f32[2] = exp %0\n  %2: f32[2] = sin %1\n  return %2\n}";
    let f = match parse(text) {
        Ok(mut functions) => functions.remove(0),
        Err(error) => panic!("{error}"),
    };
    let mut swapped = f.clone();
    swapped.order.swap(0, 1);
    let error = verify(&swapped).expect_err("use before definition");
    assert!(error.message.contains("not defined before"), "{error}");
    assert!(error.context.contains("> %1: f32[2] = sin %2"), "{error}");
    let mut doubled = f.clone();
    doubled.order.push(f.order[0]);
    let error = verify(&doubled).expect_err("an instruction twice");
    assert!(error.message.contains("twice"), "{error}");
    let mut cut = f.clone();
    cut.order.pop();
    let error = verify(&cut).expect_err("a result without definition");
    assert_eq!(error.place, "return");
    let mut params = f;
    let value = params.results[0];
    params.params.push(value);
    let error = verify(&params).expect_err("a result as a param");
    assert_eq!(error.place, "params");
}

/// The formula: every label on its own, deltas as factors.
fn by_formula(contract: &Contract, operands: &[Tensor]) -> Vec<f64> {
    let sizes = &contract.sizes;
    let dims = |labels: &[Label]| -> Vec<usize> {
        labels.iter().map(|&l| sizes[usize::from(l)]).collect()
    };
    let place = |labels: &[Label], index: &[usize]| -> usize {
        labels
            .iter()
            .zip(dims(labels))
            .fold(0, |place, (&label, size)| {
                place * size + index[usize::from(label)]
            })
    };
    let mut out = vec![0.0; dims(&contract.out).iter().product()];
    let total: usize = sizes.iter().product();
    for flat in 0..total {
        let mut index = vec![0; sizes.len()];
        let mut rest = flat;
        for (label, &size) in sizes.iter().enumerate() {
            index[label] = rest % size;
            rest /= size;
        }
        let mut term = contract.coefficient;
        for (factor, operand) in contract.factors.iter().zip(operands) {
            for _ in 0..factor.power {
                term *= operand.get_f64(place(&factor.labels, &index));
            }
        }
        for &(a, b) in &contract.deltas {
            if index[usize::from(a)] != index[usize::from(b)] {
                term = 0.0;
            }
        }
        out[place(&contract.out, &index)] += term;
    }
    out
}

#[test]
fn contractions_follow_the_formula() {
    let options = Options {
        ops: 30,
        elem: aec_ir::Elem::F64,
        maps: false,
        loops: true,
        draws: false,
        ..Options::default()
    };
    let (mut checked, mut with_delta, mut with_power, mut many) = (0, 0, 0, 0);
    let mut dice = Dice(2);
    for seed in 0..300 {
        let source = program(seed, &options).function;
        for &inst in &source.order {
            let data = &source.insts[inst];
            let Op::Contract(contract) = &data.op else {
                continue;
            };
            let total: usize = contract.sizes.iter().product();
            if !source.ty(data.results[0]).elem.is_float() || total > 20_000 {
                continue;
            }
            let mut f = Function::new("one");
            let mut inputs = Vec::new();
            let mut params = Vec::new();
            for &operand in &data.operands {
                let ty = source.ty(operand).clone();
                let numbers: Vec<f64> = (0..ty.len())
                    .map(|_| dice.roll(9) as f64 / 2.0 - 2.0)
                    .collect();
                inputs.push(Tensor::f64(&ty.dims, numbers));
                params.push(f.param(ty, ""));
            }
            let ty = source.ty(data.results[0]).clone();
            let result = f.push1(data.op.clone(), &params, ty, Span::NONE);
            f.results.push(result);
            let have = match interpret(&f, &inputs, Precision::AsTyped) {
                Ok(results) => results[0].to_f64_vec(),
                Err(error) => panic!("{error}"),
            };
            let want = by_formula(contract, &inputs);
            assert_eq!(have.len(), want.len());
            for (have, want) in have.iter().zip(&want) {
                assert!(
                    (have - want).abs() <= 1e-11 * (1.0 + want.abs()),
                    "{have} {want}\n{f}"
                );
            }
            checked += 1;
            with_delta += usize::from(!contract.deltas.is_empty());
            with_power += usize::from(contract.factors.iter().any(|factor| factor.power > 1));
            many += usize::from(contract.factors.len() > 2);
        }
    }
    assert!(
        checked > 300 && with_delta > 30 && with_power > 30 && many > 30,
        "{checked} {with_delta} {with_power} {many}"
    );
}
