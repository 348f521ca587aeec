//! File tests of passes: `tests/tir/*.tir` holds `# passes: …`, a function, a line `# ---`, and
//! what must come out. `AEC_BLESS=1` rewrites what must come out. With a line `# count` the
//! operations before and after stand below it.

use aec_ir::parse;
use aec_transform::arithmetic::arithmetic;
use aec_transform::{Run, run_pass};
use std::path::Path;

fn run(text: &str) -> Result<String, String> {
    let header = text.lines().next().unwrap_or("");
    let passes = header
        .strip_prefix("# passes:")
        .ok_or("the first line is not `# passes: …`")?;
    let mut functions = parse(text).map_err(|error| error.to_string())?;
    if functions.len() != 1 {
        return Err(format!("{} functions, not one", functions.len()));
    }
    let mut f = functions.remove(0);
    for pass in passes.split_whitespace() {
        let result =
            run_pass(pass, &f, &mut Run::default()).ok_or_else(|| format!("no pass `{pass}`"))?;
        f = match result {
            Ok(f) => f,
            Err(error) => return Ok(format!("error {}: {}\n", error.code, error.message)),
        };
    }
    let mut result = f.to_string();
    if text.lines().any(|line| line == "# count") {
        let before = parse(text).map_err(|error| error.to_string())?;
        let (before, after) = (arithmetic(&before[0]).flops, arithmetic(&f).flops);
        result.push_str(&format!("# {after} operations, {before} before\n"));
    }
    Ok(result)
}

#[test]
fn files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tir");
    let bless = std::env::var_os("AEC_BLESS").is_some();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "tir"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 5, "few files in {}", folder.display());
    let mut bad = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).expect("it can be read");
        let (input, expected) = text.split_once("# ---\n").unwrap_or((&text, ""));
        let got = match run(input) {
            Ok(got) => got,
            Err(message) => {
                bad.push(format!("{}: {message}", path.display()));
                continue;
            }
        };
        if got == expected {
            continue;
        }
        if bless {
            let mut input = input.to_string();
            if !input.ends_with('\n') {
                input.push('\n');
            }
            std::fs::write(path, format!("{input}# ---\n{got}")).expect("it can be written");
        } else {
            bad.push(format!(
                "{}: got\n{got}instead of\n{expected}",
                path.display()
            ));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
