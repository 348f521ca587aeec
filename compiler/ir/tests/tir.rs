//! File tests of the text form, the verifier and the interpreter: `tests/tir/*.tir`.
//!
//! A file holds functions in the exact form in which they are printed. Comment lines above a
//! function say what must come of it: `# run: [1, 2]; [3] -> [4, 5]` (inputs and results by
//! `;`, elements flat, in order; `-> error: …` for a failed run), `# error: …` (the verifier's
//! first line; at most one). A file whose first line is `# parse error: …` is expected to fail with
//! that. `AEC_BLESS=1` rewrites text, errors and results.

use aec_ir::{Function, Precision, Type, hash_structure, interpret, parse, verify};
use aec_runtime::{Elem, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tir");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tir"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no file tests in {}", folder.display());
    let trials = paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            Trial::test(name.into_owned(), move || check(&path))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn check(path: &Path) -> Result<(), Failed> {
    let have = std::fs::read_to_string(path)?;
    let want = rewritten(&have)?;
    if have == want {
        return Ok(());
    }
    if std::env::var_os("AEC_BLESS").is_some() {
        std::fs::write(path, want)?;
        return Ok(());
    }
    let mut message = String::from("file and outcome differ (AEC_BLESS=1 rewrites the file)\n");
    let (mut left, mut right) = (have.lines(), want.lines());
    for line in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                message.push_str(&format!(
                    "line {line}\n  in the file: {}\n  outcome:     {}\n",
                    a.unwrap_or("(end)"),
                    b.unwrap_or("(end)")
                ));
                break;
            }
        }
    }
    Err(message.into())
}

/// The file as it ought to be.
fn rewritten(text: &str) -> Result<String, Failed> {
    if text.starts_with("# parse error:") {
        let body = text.split_once('\n').map_or("", |(_, body)| body);
        // Lines are counted as they stand in the file.
        let outcome = match parse(text) {
            Ok(_) => "none".to_string(),
            Err(error) => error.to_string(),
        };
        return Ok(format!("# parse error: {outcome}\n{body}"));
    }
    let functions = parse(text).map_err(|error| error.to_string())?;
    let comments = comments(text);
    if comments.len() != functions.len() + 1 {
        return Err("each function starts with `fn` at the start of a line".into());
    }
    let mut out = String::new();
    for (index, (function, comments)) in functions.iter().zip(&comments).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let verdict = verify(function);
        let mut told = false;
        for comment in comments {
            if let Some(run) = comment.strip_prefix("# run:") {
                if let Err(error) = &verdict {
                    return Err(error.to_string().into());
                }
                out.push_str(&format!("# run: {}\n", outcome(function, run.trim())?));
            } else if comment.starts_with("# error:") {
                let error = verdict.as_ref().err().map(ToString::to_string);
                let first = error.as_deref().unwrap_or("none").lines().next();
                out.push_str(&format!("# error: {}\n", first.unwrap_or_default()));
                told = true;
            } else {
                out.push_str(comment);
                out.push('\n');
            }
        }
        if let (Err(error), false) = (&verdict, told) {
            return Err(error.to_string().into());
        }
        let printed = function.to_string();
        let again = parse(&printed).map_err(|error| format!("printed text: {error}"))?;
        // By hash: a NaN in a constant is not equal to itself.
        let same = |other: &Function| {
            hash_structure(other) == hash_structure(function)
                && other.param_names == function.param_names
                && other.to_string() == printed
        };
        if again.len() != 1 || !same(&again[0]) {
            return Err(format!("{} does not come back from its text", function.name).into());
        }
        out.push_str(&printed);
    }
    for comment in comments.last().into_iter().flatten() {
        out.push_str(comment);
        out.push('\n');
    }
    Ok(out)
}

/// The comment lines before each function, and those after the last.
fn comments(text: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut open = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            open.push(line.to_string());
        } else if line.starts_with("fn ") {
            if let Some(last) = all.last_mut() {
                *last = std::mem::take(&mut open);
            }
            all.push(Vec::new());
        }
    }
    if let Some(last) = all.last_mut() {
        *last = open;
    }
    all
}

/// The line of a run: as it stands if the results are within tolerance of what it says.
fn outcome(function: &Function, run: &str) -> Result<String, Failed> {
    let (inputs_text, results_text) = run.split_once("->").ok_or("a run has `->`")?;
    let types = |values: &[aec_ir::Value]| -> Vec<Type> {
        values
            .iter()
            .map(|&value| function.ty(value).clone())
            .collect()
    };
    let inputs = tensors(inputs_text, &types(&function.params))?;
    let results = match interpret(function, &inputs, Precision::AsTyped) {
        Ok(results) => results,
        Err(error) => return Ok(format!("{}-> error: {error}", inputs_text)),
    };
    let wide = interpret(function, &inputs, Precision::F64).map_err(|error| error.to_string())?;
    for (narrow, wide) in results.iter().zip(&wide) {
        if !close(narrow, wide, 1e-4) {
            return Err(format!("the precisions differ: {narrow:?} and {wide:?}").into());
        }
    }
    if let Ok(want) = tensors(results_text, &types(&function.results)) {
        let tolerance = |tensor: &Tensor| match tensor.elem() {
            Elem::F64 => 1e-12,
            _ => 2e-6,
        };
        let same = want
            .iter()
            .zip(&results)
            .all(|(want, have)| close(want, have, tolerance(have)));
        if same {
            return Ok(run.to_string());
        }
    }
    let results: Vec<String> = results.iter().map(write_tensor).collect();
    Ok(format!("{}-> {}", inputs_text, results.join("; ")))
}

fn close(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
    a.dims() == b.dims()
        && a.to_f64_vec().iter().zip(b.to_f64_vec()).all(|(&a, b)| {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1.0 + b.abs())
        })
}

fn tensors(text: &str, types: &[Type]) -> Result<Vec<Tensor>, String> {
    let text = text.trim();
    let parts: Vec<&str> = if text.is_empty() {
        Vec::new()
    } else {
        text.split(';').collect()
    };
    if parts.len() != types.len() {
        return Err(format!("{} tensors for {} types", parts.len(), types.len()));
    }
    let mut out = Vec::new();
    for (part, ty) in parts.iter().zip(types) {
        let inner = part.trim().trim_start_matches('[').trim_end_matches(']');
        let numbers: Vec<f64> = inner
            .split(',')
            .map(str::trim)
            .filter(|number| !number.is_empty())
            .map(|number| match number {
                "true" => Ok(1.0),
                "false" => Ok(0.0),
                _ => number
                    .parse()
                    .map_err(|_| format!("`{number}` is no number")),
            })
            .collect::<Result<_, _>>()?;
        if numbers.len() != ty.len() {
            return Err(format!("{} elements for {ty}", numbers.len()));
        }
        out.push(Tensor::from_f64(ty.elem, &ty.dims, numbers));
    }
    Ok(out)
}

fn write_tensor(tensor: &Tensor) -> String {
    let elements: Vec<String> = (0..tensor.len())
        .map(|at| match tensor.elem() {
            Elem::F32 | Elem::F64 if tensor.get_f64(at).is_nan() => "nan".to_string(),
            Elem::F32 => format!("{}", tensor.get_f64(at) as f32),
            Elem::F64 => format!("{}", tensor.get_f64(at)),
            Elem::I32 | Elem::I64 => tensor.get_i64(at).to_string(),
            Elem::Bool => (tensor.get_i64(at) != 0).to_string(),
        })
        .collect();
    format!("[{}]", elements.join(", "))
}
