//! The standard library's text, embedded, and the rule by which `use` finds a module.

use std::fs;
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/stdlib.rs"));

/// The text of a library module (`data`, `nn.layers`).
pub fn embedded(module: &str) -> Option<&'static str> {
    FILES
        .binary_search_by_key(&module, |&(name, _)| name)
        .ok()
        .map(|at| FILES[at].1)
}

/// Names of all library modules, sorted.
pub fn modules() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|&(name, _)| name)
}

/// The text of a module and a name for messages: the library's, else `a/b.ae` for `a.b` beside
/// the script.
pub fn find(module: &str, folder: Option<&Path>) -> Option<(String, String)> {
    if let Some(text) = embedded(module) {
        return Some((format!("<{module}>"), text.to_string()));
    }
    let folder = folder?;
    let mut path = PathBuf::from(folder);
    for part in module.split('.') {
        path.push(part);
    }
    path.set_extension("ae");
    let text = fs::read_to_string(&path).ok()?;
    let shown = path.strip_prefix(folder).unwrap_or(&path);
    Some((shown.display().to_string(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_sorted_for_the_search() {
        let names: Vec<&str> = modules().collect();
        assert!(names.is_sorted());
        for name in names {
            assert!(embedded(name).is_some(), "{name}");
        }
        assert!(embedded("no_such_module").is_none());
    }

    #[test]
    fn a_module_beside_the_script_is_found() {
        let folder = std::env::temp_dir().join(format!("aec-stdlib-{}", std::process::id()));
        fs::create_dir_all(folder.join("own")).unwrap();
        fs::write(folder.join("own/part.ae"), "let a = 1\n").unwrap();
        let found = find("own.part", Some(&folder)).unwrap();
        assert_eq!(found.1, "let a = 1\n");
        assert!(find("own.other", Some(&folder)).is_none());
        fs::remove_dir_all(folder).unwrap();
    }
}
