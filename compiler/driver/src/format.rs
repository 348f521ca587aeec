//! Values as text: what `print` and the REPL show. Tensors look like literals of the language,
//! large ones are cut with `…` as NumPy does.

use crate::exec::elements as elements_of;
use aec_runtime::{Elem, Tensor};
use aec_types::value::{Family, Model, Value};
use std::sync::Arc;

/// Tensors of more elements are cut.
const WHOLE: usize = 1000;
/// Entries that stay at each end of a cut axis.
const EDGE: usize = 3;
/// A missing entry.
const MISSING: &str = "?";
/// Where a row of numbers is broken.
const WIDTH: usize = 88;

/// A value as `print` shows it: strings without quotes.
pub fn display(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        Value::Unit => String::new(),
        other => inspect(other),
    }
}

/// Values as `print` shows them, one after the other: the rows of a matrix stay below its first.
pub fn beside(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        let shown = display(value);
        let line = text.rsplit('\n').next().unwrap_or_default();
        let column = line.chars().count();
        match value {
            Value::Str(_) => text.push_str(&shown),
            _ => text.push_str(&shown.replace('\n', &format!("\n{:column$}", ""))),
        }
    }
    text
}

/// A value as part of another: strings in quotes.
pub fn inspect(value: &Value) -> String {
    match value {
        Value::Unit => "()".into(),
        Value::Tensor(_) | Value::Token(_) | Value::Maybe(_) => match elements_of(value) {
            Some(host) => with_missing(&host, flags_of(value).as_deref()),
            None => value.type_text().unwrap_or_default(),
        },
        Value::Str(text) => format!("{text:?}"),
        Value::Tuple(values) => format!("({})", list(values.iter().map(inspect))),
        Value::Record(fields) => {
            format!(
                "({})",
                list(
                    fields
                        .iter()
                        .map(|(name, value)| format!("{name} = {}", inspect(value)))
                )
            )
        }
        Value::List(values) => format!("[{}]", list(values.iter().map(inspect))),
        Value::Model(m) => model(m),
        Value::Distribution(d) => format!(
            "{}({})",
            family(d.family),
            list(d.params.iter().map(inspect))
        ),
        Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Ragged(_)
        | Value::Tree(_)
        | Value::Vocab(_)
        | Value::Unknown => value.describe(),
    }
}

/// The flags of a `?`, if they are known.
fn flags_of(value: &Value) -> Option<Arc<Tensor>> {
    match value {
        Value::Maybe(maybe) => elements_of(&Value::Tensor(maybe.observed.clone())),
        _ => None,
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn family(family: Family) -> &'static str {
    match family {
        Family::Normal => "normal",
        Family::Uniform => "uniform",
        Family::Bernoulli => "bernoulli",
        Family::Categorical => "categorical",
        Family::Gumbel => "gumbel",
        Family::Permutation => "permutation",
    }
}

/// `Denoising(D = 64, H = 32), 4192 weights`
fn model(model: &Model) -> String {
    let statics = list(model.statics.iter().map(|(name, value)| match value {
        Value::Model(inner) => format!("{name} = {}", inner.template.def.name.name),
        other => format!("{name} = {}", inspect(other)),
    }));
    let frozen = if model.frozen { ", frozen" } else { "" };
    let weights: usize = model.params.iter().map(|(_, value)| elements(value)).sum();
    format!(
        "{}({statics}), {weights} weights{frozen}",
        model.template.def.name.name
    )
}

fn elements(value: &Value) -> usize {
    match value {
        Value::Tensor(t) | Value::Token(t) => t.ty.dims().map_or(0, |dims| dims.iter().product()),
        Value::Maybe(maybe) => elements(&maybe.value),
        Value::Model(model) => model.params.iter().map(|(_, value)| elements(value)).sum(),
        Value::Tuple(values) | Value::List(values) => values.iter().map(elements).sum(),
        Value::Tree(parts) => elements(parts),
        Value::Ragged(ragged) => elements(&ragged.value),
        Value::Record(fields) => fields.iter().map(|(_, value)| elements(value)).sum(),
        Value::Unit
        | Value::Str(_)
        | Value::Fn(_)
        | Value::Builtin(_)
        | Value::Template(_)
        | Value::Module(_)
        | Value::Distribution(_)
        | Value::Vocab(_)
        | Value::Unknown => 0,
    }
}

/// A number on its own: six significant digits of an f32, ten of an f64.
pub fn number(value: f64, elem: Elem) -> String {
    match elem {
        Elem::Bool => if value != 0.0 { "true" } else { "false" }.into(),
        Elem::I32 | Elem::I64 => format!("{value:.0}"),
        Elem::F32 => real(value, 6),
        Elem::F64 => real(value, 10),
    }
}

/// A real with so many significant digits; always with a point or an exponent.
fn real(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    if value == 0.0 {
        return "0.0".into();
    }
    let exponent = exponent(value, digits);
    if (-4..digits as i32 + 1).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        return trim(&format!("{value:.decimals$}"));
    }
    let text = format!("{value:.*e}", digits - 1);
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trim(mantissa)),
        None => text,
    }
}

/// The decimal exponent after rounding to so many digits (9.9999999 is 1e1).
fn exponent(value: f64, digits: usize) -> i32 {
    let text = format!("{value:.*e}", digits - 1);
    text.split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0)
}

/// Without trailing zeros, but with one digit after the point.
fn trim(text: &str) -> String {
    match text.split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            format!(
                "{whole}.{}",
                if fraction.is_empty() { "0" } else { fraction }
            )
        }
        None => format!("{text}.0"),
    }
}

/// A value by a format such as `.3` (digits after the point), `8` or `8.3` (least width), `.2e`
/// (with an exponent) or `.1%` (per cent); of a tensor each entry.
pub fn with_spec(value: &Value, spec: Option<&str>) -> Result<String, String> {
    let Some(spec) = spec else {
        return Ok(display(value));
    };
    let parsed = Spec::parse(spec).ok_or_else(|| {
        format!(
            "`{spec}` is no format; `.3` gives three digits after the point, `8.3` in eight columns"
        )
    })?;
    let flags = flags_of(value);
    let apply = |host: &Tensor, at: usize| {
        if is_missing(flags.as_deref(), at) {
            format!("{MISSING:>width$}", width = parsed.width)
        } else {
            parsed.apply(host, at)
        }
    };
    match (value, elements_of(value)) {
        (_, Some(host)) if host.rank() == 0 => Ok(apply(&host, 0)),
        (_, Some(host)) => {
            let texts: Vec<String> = (0..host.len()).map(|at| apply(&host, at)).collect();
            let mut out = String::new();
            write_axis(host.dims(), 0, false, 0, &mut texts.into_iter(), &mut out);
            Ok(out)
        }
        (Value::Str(text), None)
            if parsed.decimals.is_none() && !parsed.exponent && !parsed.percent =>
        {
            Ok(format!("{text:width$}", width = parsed.width))
        }
        (other, None) => Err(format!(
            "the format `{spec}` is for numbers, but this is {}",
            other.describe()
        )),
    }
}

struct Spec {
    width: usize,
    decimals: Option<usize>,
    exponent: bool,
    percent: bool,
}

impl Spec {
    fn parse(spec: &str) -> Option<Spec> {
        let (spec, exponent) = spec
            .strip_suffix('e')
            .map_or((spec, false), |rest| (rest, true));
        let (spec, percent) = spec
            .strip_suffix('%')
            .map_or((spec, false), |rest| (rest, true));
        let spec = spec.strip_suffix('f').unwrap_or(spec);
        let (width, decimals) = spec
            .split_once('.')
            .map_or((spec, None), |(width, decimals)| (width, Some(decimals)));
        let small = |text: &str| text.parse::<usize>().ok().filter(|&number| number <= 64);
        Some(Spec {
            width: if width.is_empty() { 0 } else { small(width)? },
            decimals: decimals
                .map(small)
                .map_or(Some(None), |parsed| parsed.map(Some))?,
            exponent,
            percent,
        })
    }

    fn apply(&self, host: &Tensor, at: usize) -> String {
        let value = host.get_f64(at);
        let text = match (self.decimals, self.exponent, self.percent) {
            (None, false, false) => scalar(host, at),
            (decimals, _, true) => format!("{:.*}%", decimals.unwrap_or(1), value * 100.0),
            (decimals, true, false) => format!("{value:.*e}", decimals.unwrap_or(5)),
            (Some(decimals), false, false) => format!("{value:.decimals$}"),
        };
        let text = text.replace("NaN", "nan");
        format!("{text:>width$}", width = self.width)
    }
}

/// A tensor: scalars as numbers, others in brackets, one row a line.
pub fn tensor(tensor: &Tensor) -> String {
    with_missing(tensor, None)
}

fn is_missing(flags: Option<&Tensor>, at: usize) -> bool {
    flags.is_some_and(|flags| flags.get_f64(at) == 0.0)
}

/// A tensor with `?` where the flags do not hold.
fn with_missing(tensor: &Tensor, flags: Option<&Tensor>) -> String {
    let elem = tensor.elem();
    if tensor.rank() == 0 && is_missing(flags, 0) {
        return MISSING.into();
    }
    if tensor.rank() == 0 {
        return scalar(tensor, 0);
    }
    if tensor.is_empty() {
        let dims = list(tensor.dims().iter().map(usize::to_string));
        return if tensor.rank() == 1 {
            "[]".into()
        } else {
            format!("{elem}[{dims}]")
        };
    }
    let cut = tensor.len() > WHOLE;
    let mut shown = Vec::new();
    visible(tensor.dims(), 0, cut, &mut shown);
    let mut texts = if elem.is_float() {
        reals(tensor, &shown)
    } else {
        shown.iter().map(|&at| scalar(tensor, at)).collect()
    };
    for (text, &at) in texts.iter_mut().zip(&shown) {
        if is_missing(flags, at) {
            *text = MISSING.into();
        }
    }
    let width = texts.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    let mut texts = texts.into_iter();
    write_axis(tensor.dims(), 0, cut, width, &mut texts, &mut out);
    out
}

fn scalar(tensor: &Tensor, at: usize) -> String {
    match tensor.elem() {
        Elem::I32 | Elem::I64 => tensor.get_i64(at).to_string(),
        elem @ (Elem::F32 | Elem::F64 | Elem::Bool) => number(tensor.get_f64(at), elem),
    }
}

/// The positions along an axis that are shown; `None` stands for the cut.
fn positions(size: usize, cut: bool) -> Vec<Option<usize>> {
    if cut && size > 2 * EDGE {
        (0..EDGE)
            .map(Some)
            .chain([None])
            .chain((size - EDGE..size).map(Some))
            .collect()
    } else {
        (0..size).map(Some).collect()
    }
}

fn visible(dims: &[usize], base: usize, cut: bool, out: &mut Vec<usize>) {
    match dims.split_first() {
        None => out.push(base),
        Some((&size, rest)) => {
            let stride: usize = rest.iter().product();
            for at in positions(size, cut).into_iter().flatten() {
                visible(rest, base + at * stride, cut, out);
            }
        }
    }
}

/// Reals of one tensor with a common number of decimals, or all with exponents.
fn reals(tensor: &Tensor, shown: &[usize]) -> Vec<String> {
    let digits = if tensor.elem() == Elem::F32 { 5 } else { 8 };
    let values: Vec<f64> = shown.iter().map(|&at| tensor.get_f64(at)).collect();
    let largest = values
        .iter()
        .filter(|v| v.is_finite())
        .fold(0.0f64, |m, v| m.max(v.abs()));
    let top = if largest == 0.0 {
        0
    } else {
        exponent(largest, digits)
    };
    let special = |v: f64| {
        if v.is_nan() {
            "nan".to_string()
        } else {
            real(v, digits)
        }
    };
    if !(-4..=7).contains(&top) {
        return values
            .iter()
            .map(|&v| {
                if v.is_finite() {
                    format!("{v:.*e}", digits - 1)
                } else {
                    special(v)
                }
            })
            .collect();
    }
    let mut decimals = (digits as i32 - 1 - top).clamp(1, 10);
    // What is not 0 is not shown as 0 if two more digits reach it.
    let smallest = values
        .iter()
        .filter(|v| v.is_finite() && **v != 0.0)
        .fold(largest, |m, v| m.min(v.abs()));
    if smallest > 0.0 {
        let first = -exponent(smallest, digits);
        if first + top < digits as i32 + 2 {
            decimals = decimals.max(first);
        }
    }
    let decimals = decimals as usize;
    let texts: Vec<String> = values
        .iter()
        .map(|&v| {
            if v.is_finite() {
                format!("{v:.decimals$}")
            } else {
                special(v)
            }
        })
        .collect();
    // Zeros that all of them end in say nothing.
    let needed = texts
        .iter()
        .filter_map(|text| text.split_once('.'))
        .map(|(_, fraction)| fraction.trim_end_matches('0').len())
        .max()
        .unwrap_or(1)
        .max(1);
    texts
        .into_iter()
        .map(|text| match text.find('.') {
            Some(point) => text[..(point + 1 + needed).min(text.len())].to_string(),
            None => text,
        })
        .collect()
}

fn write_axis(
    dims: &[usize],
    depth: usize,
    cut: bool,
    width: usize,
    texts: &mut impl Iterator<Item = String>,
    out: &mut String,
) {
    out.push('[');
    let indent = depth + 1;
    let inner = dims.len() == 1;
    let mut column = indent;
    for (place, at) in positions(dims[0], cut).into_iter().enumerate() {
        if place > 0 {
            out.push(',');
            column += 1;
            if inner {
                if column + 1 + width > WIDTH {
                    out.push('\n');
                    out.push_str(&" ".repeat(indent));
                    column = indent;
                } else {
                    out.push(' ');
                    column += 1;
                }
            } else {
                out.push_str(&"\n".repeat(dims.len() - 1));
                out.push_str(&" ".repeat(indent));
            }
        }
        match at {
            None => {
                out.push('…');
                column += 1;
            }
            Some(_) if inner => {
                let text = texts.next().unwrap_or_default();
                out.push_str(&format!("{text:>width$}"));
                column += width;
            }
            Some(_) => write_axis(&dims[1..], depth + 1, cut, width, texts, out),
        }
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_six_digits() {
        let show = |v| number(v, Elem::F32);
        assert_eq!(show(0.738_412_34), "0.738412");
        assert_eq!(show(3.0), "3.0");
        assert_eq!(show(105.5893), "105.589");
        assert_eq!(show(1234567.0), "1234567.0");
        assert_eq!(show(0.000_012_345_6), "1.23456e-5");
        assert_eq!(show(-0.001), "-0.001");
        assert_eq!(show(f64::NAN), "nan");
        assert_eq!(show(f64::NEG_INFINITY), "-inf");
        assert_eq!(show(9.999_999_9), "10.0");
        assert_eq!(show(2.5e12), "2.5e12");
        assert_eq!(number(1.0 / 3.0, Elem::F64), "0.3333333333");
    }

    #[test]
    fn tensors_look_like_literals() {
        assert_eq!(
            tensor(&Tensor::f32(&[3], vec![1.0, 2.5, -3.0])),
            "[ 1.0,  2.5, -3.0]"
        );
        assert_eq!(
            tensor(&Tensor::i64(&[2, 2], vec![1, 2, 30, 4])),
            "[[ 1,  2],\n [30,  4]]"
        );
        assert_eq!(tensor(&Tensor::f32(&[], vec![0.5])), "0.5");
        assert_eq!(tensor(&Tensor::f32(&[0], vec![])), "[]");
        assert_eq!(tensor(&Tensor::f32(&[0, 3], vec![])), "f32[0, 3]");
        let cube = tensor(&Tensor::i64(&[2, 1, 2], vec![1, 2, 3, 4]));
        assert_eq!(cube, "[[[1, 2]],\n\n [[3, 4]]]");
        assert_eq!(
            tensor(&Tensor::f32(&[2], vec![1e-9, 2.0e-9])),
            "[1.0000e-9, 2.0000e-9]"
        );
    }

    #[test]
    fn formats_set_digits_and_width() {
        let show = |spec: &str| with_spec(&Value::real(1234.5678, Elem::F64), Some(spec));
        assert_eq!(show(".2").unwrap(), "1234.57");
        assert_eq!(show("9.1").unwrap(), "   1234.6");
        assert_eq!(show(".2e").unwrap(), "1.23e3");
        assert_eq!(
            with_spec(&Value::real(0.256, Elem::F64), Some(".1%")).unwrap(),
            "25.6%"
        );
        assert_eq!(with_spec(&Value::int(7), Some("3")).unwrap(), "  7");
        assert!(show("wide").is_err());
        assert!(show(".999999999999").is_err());
        assert!(with_spec(&Value::str("x"), Some(".3")).is_err());
        let vector = Value::concrete(Tensor::f32(&[2], vec![1.0, 2.0]));
        assert_eq!(with_spec(&vector, Some(".1")).unwrap(), "[1.0, 2.0]");
    }

    #[test]
    fn large_tensors_are_cut() {
        let text = tensor(&Tensor::i64(&[100, 100], (0..10_000).collect()));
        assert_eq!(text.lines().count(), 7);
        assert!(text.lines().next().unwrap().contains('…'), "{text}");
        assert!(text.contains("9999"), "{text}");
        assert!(text.len() < 400, "{text}");
    }

    #[test]
    fn long_rows_are_broken() {
        let text = tensor(&Tensor::i64(&[100], (0..100).collect()));
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|line| line.len() <= WIDTH + 1), "{text}");
    }
}
