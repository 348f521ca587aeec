//! The formatter: what it makes of cases, and that on every script of the repository and on
//! damaged ones it keeps the meaning and changes nothing the second time.

use aec_syntax::dump::dump;
use aec_syntax::format::format_script;
use aec_syntax::{FileId, parse_script, parse_script_with_comments};
use std::path::{Path, PathBuf};

#[track_caller]
fn formats(text: &str, wanted: &str) {
    assert_eq!(format_script(FileId(0), text).as_deref(), Ok(wanted));
    unchanged(wanted);
}

#[track_caller]
fn unchanged(text: &str) {
    assert_eq!(format_script(FileId(0), text).as_deref(), Ok(text));
}

#[test]
fn blanks_between_tokens() {
    formats("let   x=1+2 *y\n", "let x = 1 + 2 * y\n");
    formats(
        "print a@b',-x ^ 2, f ( x ) [ 1 ] . y,not a\n",
        "print a @ b', -x^2, f(x)[1].y, not a\n",
    );
    formats(
        "fn f( x:[n,2*n+1],y:?[k] )->[ .. s ]=x\n",
        "fn f(x: [n, 2*n+1], y: ?[k]) -> [..s] = x\n",
    );
    formats(
        "print x[ 1 .. ],x[:,1],x[..n-1], [0,-1]\n",
        "print x[1..], x[:, 1], x[..n-1], [0, -1]\n",
    );
    formats(
        "let t = (5 .1, (a,), {x}, ())\n",
        "let t = (5 .1, (a,), { x }, ())\n",
    );
    formats("let q=(p|>f( _ ))??0\n", "let q = (p |> f(_)) ?? 0\n");
    formats(
        "let m=M(2*D, a*b, a[i+1])\n",
        "let m = M(2*D, a * b, a[i+1])\n",
    );
}

#[test]
fn lines_are_the_authors() {
    formats("let a=1;let b=2\n", "let a = 1\nlet b = 2\n");
    formats("\n\nlet a = 1\n\n\n\nlet b = 2", "let a = 1\n\nlet b = 2\n");
    formats(
        "fn f(x){\n\nlet y=x;\nlet z = y; z\n\n}\n",
        "fn f(x) {\n  let y = x\n  let z = y; z\n}\n",
    );
    // Void statements go, and do not mark what follows them.
    formats(
        "for i in 0..3 { print i; ; }\n",
        "for i in 0..3 { print i }\n",
    );
    let long = "w + ".repeat(21) + "w_and_more";
    formats(
        &format!("fn f() {{\n  g(); # c\n  let lp = [{long} for i in n]\n}}\n"),
        &format!("fn f() {{\n  g()  # c\n  let lp = [\n    {long}\n    for i in n\n  ]\n}}\n"),
    );
    formats("let a = b\n+ c\n- d\n", "let a = b\n  + c\n  - d\n");
    formats("let a = b\n-c\n", "let a = b\n-c\n");
    formats(
        "if a { print 1 }\nelse { print 2 }\n",
        "if a { print 1 }\nelse { print 2 }\n",
    );
    unchanged("let g = map(fn x -> {\n  let y = x\n  -y\n}, xs)\n");
    unchanged("fn f(\n  x: [n],\n  y: [n]\n) -> [n] {\n  x + y\n}\n");
    unchanged("let o = (\n  init = a,\n  update = fn m -> {\n    m\n  })\n");
    formats("fn f(x,\n      y) {\nx\n}\n", "fn f(x,\n  y) {\n  x\n}\n");
}

#[test]
fn comments_stay_where_they_are() {
    formats(
        "## Head.\n\n# note\nuse data\n\n##  Of f.\nfn f(x) = x ## no doc\n",
        "## Head.\n\n# note\nuse data\n\n##  Of f.\nfn f(x) = x  ## no doc\n",
    );
    formats(
        "let a = 1 # one\nlet bcd = 2# two\nfn f(x) {\n# inside\nx\n   # at the end\n}\n",
        "let a = 1    # one\nlet bcd = 2  # two\nfn f(x) {\n  # inside\n  x\n  # at the end\n}\n",
    );
    formats("let a = f(1, # one\n2)\n", "let a = f(1,  # one\n  2)\n");
    // A `;` that separates nothing does not take the doc from what follows it.
    formats("## Head.\n;use data\n", "## Head.\nuse data\n");
    formats("## Of f.\n;fn f(x) = x\n", "## Of f.\nfn f(x) = x\n");
    formats(";; ## Head.\nuse data\n", "## Head.\nuse data\n");
    formats(
        "s\n## Of f.\n;\nfn f(x) = x\n",
        "s\n## Of f.\nfn f(x) = x\n",
    );
}

#[test]
fn settings_stand_in_columns_without_commas() {
    formats(
        "let m = train M(2) on x {\n optimizer = o, # why\n  batch = 4,\n epochs=3, seed = 1\n}\n",
        "let m = train M(2) on x {\n  optimizer = o  # why\n  batch     = 4\n  epochs    = 3, seed = 1\n}\n",
    );
}

#[test]
fn long_lines_are_broken() {
    let name = "a_name_that_is_rather_long";
    formats(
        &format!("let total = combine_all({name}, {name}(1), {name}, 2)\n"),
        &format!("let total = combine_all(\n  {name}, {name}(1), {name}, 2\n)\n"),
    );
    formats(
        &format!("let total = combine({name}, {name}({name}), {name})\n"),
        &format!("let total = combine(\n  {name},\n  {name}({name}),\n  {name}\n)\n"),
    );
    formats(
        &format!("fn f(x: [n], y: [m]) -> real = {name}({name}, {name}, x, y) + 1\n"),
        &format!("fn f(x: [n], y: [m]) -> real =\n  {name}({name}, {name}, x, y) + 1\n"),
    );
    formats(
        &format!("let y = {name} + {name} * {name} + {name}(x) - {name}\n"),
        &format!("let y = {name}\n  + {name} * {name}\n  + {name}(x)\n  - {name}\n"),
    );
    formats(
        &format!("loss_of(fn x -> {{ let y = {name}(x); {name}(y, {name}) - {name} }})\n"),
        &format!("loss_of(fn x -> {{\n  let y = {name}(x)\n  {name}(y, {name}) - {name}\n}})\n"),
    );
    let numbers = vec!["1.25"; 40].join(", ");
    let formatted = format_script(FileId(0), &format!("let x = [{numbers}]\n")).expect("it parses");
    assert!(
        formatted.lines().all(|line| line.len() <= 100),
        "{formatted}"
    );
    assert_eq!(formatted.lines().count(), 5, "{formatted}");
    unchanged(&formatted);
}

#[test]
fn what_does_not_parse_is_refused() {
    let found = format_script(FileId(0), "let a = (1\nlet b = 2\n").expect_err("a `)` is missing");
    assert_eq!(found[0].code, "E0111");
}

#[test]
fn line_ends_and_marks_of_other_systems_go() {
    formats(
        "\u{feff}let a = 1\r\n\r\n\r\nlet b = 2\r\n",
        "let a = 1\n\nlet b = 2\n",
    );
    formats("", "");
}

/// All `.ae` files of the repository.
fn scripts() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, out);
            } else if name.ends_with(".ae") {
                out.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        &mut files,
    );
    files.sort();
    let read = |path: PathBuf| std::fs::read_to_string(&path).ok().map(|text| (path, text));
    files.into_iter().filter_map(read).collect()
}

/// What must hold of any text: refused if it does not parse; else the same tree and comments, and
/// a result that stays as it is.
fn keeps_the_meaning(text: &str, what: &dyn Fn() -> String) {
    let (script, diagnostics, comments) = parse_script_with_comments(FileId(0), text);
    let formatted = match format_script(FileId(0), text) {
        Ok(formatted) => formatted,
        Err(found) => {
            assert!(!diagnostics.is_empty(), "{}: {found:?}\n{text}", what());
            return;
        }
    };
    let (again, errors, kept) = parse_script_with_comments(FileId(0), &formatted);
    assert!(errors.is_empty(), "{}: {errors:?}\n{formatted}", what());
    assert_eq!(dump(&script), dump(&again), "{}", what());
    assert_eq!(comments.len(), kept.len(), "{}", what());
    let twice = format_script(FileId(0), &formatted);
    assert_eq!(twice.as_deref(), Ok(&*formatted), "{}:\n{text}", what());
}

#[test]
fn every_script_keeps_its_meaning() {
    let scripts = scripts();
    assert!(scripts.len() > 100);
    for (path, text) in &scripts {
        keeps_the_meaning(text, &|| path.display().to_string());
        // In one column, and as one line where that parses.
        let flat: Vec<&str> = text.lines().map(str::trim).collect();
        keeps_the_meaning(&flat.join("\n"), &|| format!("{} flat", path.display()));
    }
}

#[test]
fn damaged_scripts_keep_their_meaning() {
    // Begun anew for each script: a change of one does not change what is done to the others.
    let mut state: u64;
    let random = |state: &mut u64, below: usize| {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % below.max(1)
    };
    let pieces = [
        "\n",
        "\n\n",
        " ",
        "  # c\n",
        "\n## d\n",
        ";",
        ",",
        "(",
        ")",
        " -",
        "- ",
        " + ",
        "..",
        "'",
        "{",
        "}",
        "?",
        "^",
        " fn x -> ",
        " if a then ",
        " else ",
        "\"{a}\"",
        "[",
        "]",
        "=",
        "0..",
        " |> ",
    ];
    let rounds = 12;
    let mut parsed = 0;
    for (path, text) in scripts().iter().filter(|(_, text)| text.len() < 20_000) {
        state = 0x9e37_79b9_7f4a_7c15;
        for round in 0..rounds {
            let mut damaged: Vec<char> = text.chars().collect();
            for _ in 0..=random(&mut state, 3) {
                let at = random(&mut state, damaged.len() + 1);
                match random(&mut state, 3) {
                    0 if at < damaged.len() => _ = damaged.remove(at),
                    1 => {
                        let end = (at + random(&mut state, 8)).min(damaged.len());
                        damaged.drain(at..end);
                    }
                    _ => {
                        let piece = pieces[random(&mut state, pieces.len())];
                        damaged.splice(at..at, piece.chars());
                    }
                }
            }
            let damaged: String = damaged.into_iter().collect();
            parsed += usize::from(parse_script(FileId(0), &damaged).1.is_empty());
            keeps_the_meaning(&damaged, &|| format!("{} round {round}", path.display()));
        }
    }
    assert!(parsed > 200, "only {parsed} of them parse");
}
