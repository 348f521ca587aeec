//! Every public function and model of the library has its derivatives tested, in
//! `tests/language/library_gradients.ae`, or a reason here why it has none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Modules whose functions need have no derivatives, and why.
const MODULES: [(&str, &str); 8] = [
    (
        "stats",
        "gives figures of data and of trained models, for people",
    ),
    ("health", "gives figures of a training, for people"),
    ("text", "counts words and gives words, which are ints"),
    ("data", "reads files and gives data"),
    ("plot", "draws pictures"),
    ("beam", "searches over words, which are ints"),
    ("optim", "updates weights by gradients that are given"),
    ("trees", "makes trees of words"),
];

/// Functions without derivatives, or whose derivatives others show, and why.
const NONE: [(&str, &str); 29] = [
    ("autoencoders.stack", "trains"),
    ("autoencoders.classify", "trains"),
    ("autoencoders.traverse", "is the decoder on given codes"),
    ("autoencoders.walk", "is the decoder on given codes"),
    (
        "autoencoders.complete",
        "is the decoder where cells are empty",
    ),
    (
        "autoencoders.LocalFields",
        "is nn.Local, nn.l2pool and nn.lcn",
    ),
    (
        "autoencoders.Arae",
        "its parts see each other through `stop`: no gradient of the sum",
    ),
    ("autoencoders.Packed", "holds digits of a file"),
    ("autoencoders.levels", "takes ints"),
    ("autoencoders.pack", "writes a file"),
    ("autoencoders.unpack", "reads a file"),
    ("linalg.rank", "gives an int"),
    ("nn.glorot", "is a distribution for weights"),
    ("nn.glorot_normal", "is a distribution for weights"),
    ("nn.he", "is a distribution for weights"),
    ("nn.orthogonal", "draws weights"),
    (
        "nn.BatchNorm",
        "has its statistics from a training: `running.ae` compares its step with the formula's",
    ),
    (
        "nn.BatchNorm2d",
        "has its statistics from a training: `running.ae` compares its step with that of `BatchNorm`",
    ),
    ("nn.Stacked", "is a list of cells, each tested"),
    ("nn.hidden", "gives bools"),
    ("nn.positions", "takes ints"),
    ("prelude.close", "gives a bool"),
    ("prelude.count", "gives an int"),
    ("prelude.one_hot", "takes an int"),
    ("prelude.eye", "takes an int"),
    (
        "prelude.batch_var",
        "is a mean over the batch: `autoencoders.Sparse` has one",
    ),
    ("prelude.grad_check", "is a test of derivatives"),
    ("recursive.tree_of", "gives a tree by greedy choice"),
    ("recursive.five", "is a vocabulary"),
];

/// `module.name` of all functions and models at the left edge of the library's files.
fn public() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stdlib");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the library") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|ext| ext != "ae") {
            continue;
        }
        let module = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&path).expect("a text");
        for line in text.lines() {
            let Some(rest) = line
                .strip_prefix("fn ")
                .or_else(|| line.strip_prefix("model "))
            else {
                continue;
            };
            let end = |c: char| !c.is_alphanumeric() && c != '_';
            let name = rest.split(end).next().unwrap_or_default();
            names.insert(format!("{module}.{name}"));
        }
    }
    names
}

#[test]
fn derivatives_of_the_library() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/language");
    let text = fs::read_to_string(tests.join("library_gradients.ae")).expect("the tests");
    // Names stand in front, between quotes; long entries have them on a line of their own.
    let tested: BTreeSet<String> = (text.lines())
        .filter_map(|line| line.trim().trim_start_matches('(').strip_prefix('"'))
        .filter_map(|line| line.split('"').next())
        .flat_map(|names| names.split(' '))
        .map(str::to_string)
        .collect();
    let names = public();
    let mut wrong = Vec::new();
    for name in &names {
        let module = name.split('.').next().unwrap_or_default();
        let of_module = MODULES.iter().any(|(known, _)| *known == module);
        let excused = NONE.iter().any(|(known, _)| known == name);
        match (tested.contains(name), excused) {
            (false, false) if !of_module => {
                wrong.push(format!("{name} is neither tested nor excused"));
            }
            (true, true) => wrong.push(format!("{name} is both tested and excused")),
            _ => {}
        }
    }
    for (name, _) in NONE {
        if !names.contains(name) {
            wrong.push(format!("{name} is excused, but there is none"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
