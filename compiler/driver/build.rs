//! Lists `stdlib/**/*.ae` so that `src/stdlib.rs` can embed them: adding a library file needs no
//! change here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = manifest.join("../../stdlib");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut Vec::new(), &mut files);
    files.sort();
    let mut code = String::from("pub(crate) static FILES: &[(&str, &str)] = &[\n");
    for (module, path) in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let path = path.canonicalize().expect("a listed file exists");
        writeln!(
            code,
            "    ({module:?}, include_str!({:?})),",
            path.display().to_string()
        )
        .expect("writing to a string");
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("stdlib.rs");
    fs::write(out, code).expect("the build folder is writable");
}

/// Adds each `.ae` file below `folder` with its dotted module path.
fn collect(folder: &Path, prefix: &mut Vec<String>, files: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        prefix.push(stem.to_string());
        if path.is_dir() {
            collect(&path, prefix, files);
        } else if path.extension().is_some_and(|extension| extension == "ae") {
            files.push((prefix.join("."), path));
        }
        prefix.pop();
    }
}
