//! The engine behind `aec test`: finds files, runs each in a process of its own (two at a time),
//! compares with what stands beside it, and reports. How a program is started is left to the
//! caller, so that this file knows no command line.

use crate::compare::{self, Tolerance};
use crate::testhead::{Header, figures, table};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{env, fs, thread};

/// What `aec test` was asked for.
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Rewrite golden files instead of comparing.
    pub bless: bool,
    /// Run what takes minutes, too.
    pub slow: bool,
    /// Overrides the relative tolerance of files that state none.
    pub tolerance: Option<f64>,
    /// Programs at a time.
    pub jobs: usize,
}

/// One start of a program.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The file, absolute.
    pub file: PathBuf,
    /// How messages are to name it.
    pub name: String,
    /// The folder it runs in: its own, emptied afterwards.
    pub folder: PathBuf,
    /// Where it looks for files that it reads, after its own folder.
    pub look_in: Vec<PathBuf>,
    /// Run the `test` blocks instead of the script, and write their results here.
    pub report: Option<PathBuf>,
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
}

/// Starts a program and waits for it.
pub type Runner<'a> = dyn Fn(&Invocation) -> io::Result<Outcome> + Sync + 'a;

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

/// One file to test.
struct TestFile {
    path: PathBuf,
    shown: String,
    header: Header,
    has_blocks: bool,
}

/// What came of one file.
#[derive(Default)]
struct Verdict {
    lines: String,
    summary: Summary,
    rows: Vec<[String; 4]>,
}

/// Runs the tests, handing each line of the report to `print` as soon as it is known, in the
/// order of the files. Errors are about paths that cannot be read.
pub fn run_tests(
    options: &TestOptions,
    runner: &Runner<'_>,
    stop: &AtomicBool,
    print: &mut dyn FnMut(&str),
) -> Result<Summary, String> {
    let files = collect(&options.paths)?;
    let start =
        env::current_dir().map_err(|error| format!("cannot tell the current folder: {error}"))?;
    let scratch =
        Scratch::new().map_err(|error| format!("cannot make a folder to run tests in: {error}"))?;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Verdict>>> = Mutex::new(files.iter().map(|_| None).collect());
    let mut summary = Summary::default();
    let mut rows = Vec::new();
    let (send, receive) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1).min(files.len()) {
            let (files, next, done, scratch, start) = (&files, &next, &done, &scratch, &start);
            let send = send.clone();
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= files.len() || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let verdict = test_file(&files[at], at, options, runner, scratch, start);
                    if let Ok(mut done) = done.lock() {
                        done[at] = Some(verdict);
                    }
                    let _ = send.send(());
                }
            });
        }
        drop(send);
        let mut printed = 0;
        loop {
            let more = receive.recv().is_ok();
            while printed < files.len() {
                let Some(verdict) = done.lock().ok().and_then(|mut done| done[printed].take())
                else {
                    break;
                };
                printed += 1;
                summary.passed += verdict.summary.passed;
                summary.failed += verdict.summary.failed;
                summary.skipped += verdict.summary.skipped;
                if !verdict.lines.is_empty() {
                    print(verdict.lines.trim_end());
                }
                rows.extend(verdict.rows);
            }
            if !more {
                break;
            }
        }
    });
    if !rows.is_empty() {
        print("");
        print(table(&rows).trim_end());
    }
    print("");
    print(&format!(
        "{} passed, {} failed, {} skipped",
        summary.passed, summary.failed, summary.skipped
    ));
    Ok(summary)
}

/// All `.ae` files of the paths, sorted, each once. Folders whose name starts with a dot or is
/// `target` are left out. Errors are about paths that cannot be read.
pub fn scripts(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = BTreeSet::new();
    for path in paths {
        let meta = fs::metadata(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if meta.is_dir() {
            walk(path, &mut found)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        } else {
            found.insert(path.clone());
        }
    }
    Ok(found.into_iter().collect())
}

fn collect(paths: &[PathBuf]) -> Result<Vec<TestFile>, String> {
    let mut files = Vec::new();
    for path in scripts(paths)? {
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        files.push(TestFile {
            shown: path.display().to_string(),
            header: Header::parse(&text),
            has_blocks: has_test_blocks(&text),
            path,
        });
    }
    Ok(files)
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                walk(&path, found)?;
            }
        } else if name.ends_with(".ae") {
            found.insert(path);
        }
    }
    Ok(())
}

/// Whether a line starts a `test "…"` block; what looks like one inside a string costs a run.
fn has_test_blocks(text: &str) -> bool {
    text.lines().any(|line| {
        line.trim_start()
            .strip_prefix("test")
            .is_some_and(|rest| rest.trim_start().starts_with('"'))
    })
}

/// A folder for the programs of one run, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("aec-test-{}-{count}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The folder that `../shared` stands for: `$AEC_SHARED`, else beside the start folder.
fn shared_root(start: &Path) -> Option<PathBuf> {
    let root = match env::var_os("AEC_SHARED") {
        Some(root) => PathBuf::from(root),
        None => start.parent()?.join("shared"),
    };
    root.is_dir().then_some(root)
}

fn need_path(need: &str, shared: Option<&Path>, start: &Path) -> PathBuf {
    match (need.strip_prefix("../shared"), shared) {
        (Some(rest), Some(shared)) => shared.join(rest.trim_start_matches('/')),
        _ => start.join(need),
    }
}

fn test_file(
    file: &TestFile,
    at: usize,
    options: &TestOptions,
    runner: &Runner<'_>,
    scratch: &Scratch,
    start: &Path,
) -> Verdict {
    let mut verdict = Verdict::default();
    let row = |verdict: &mut Verdict, figure: &str, end: &str| {
        if let Some(row) = &file.header.row {
            let reference = file.header.reference.clone().unwrap_or_default();
            verdict
                .rows
                .push([row.clone(), figure.to_string(), reference, end.to_string()]);
        }
    };
    let shared = shared_root(start);
    let missing = file
        .header
        .needs
        .iter()
        .find(|need| !need_path(need, shared.as_deref(), start).exists());
    let skip = match (missing, &file.header.slow) {
        (Some(need), _) => Some(format!("{need} is absent")),
        (None, Some(time)) if !options.slow => Some(format!("takes {time}; run with --slow")),
        _ => None,
    };
    if let Some(reason) = skip {
        verdict.summary.skipped += 1;
        let _ = writeln!(verdict.lines, "skip  {}: {reason}", file.shown);
        row(&mut verdict, "-", "skipped");
        return verdict;
    }
    let golden_out = file.path.with_extension("out");
    let golden_err = file.path.with_extension("err");
    let bless_new = options.bless && !file.has_blocks && file.header.row.is_none();
    let whole =
        golden_out.exists() || golden_err.exists() || file.header.row.is_some() || !file.has_blocks;
    let result = (|| -> io::Result<()> {
        let base = scratch.0.join(at.to_string());
        let folder = base.join("work");
        fs::create_dir_all(&folder)?;
        #[cfg(unix)]
        if let Some(shared) = &shared {
            let _ = std::os::unix::fs::symlink(shared.canonicalize()?, base.join("shared"));
        }
        let path = file.path.canonicalize()?;
        let name = path.file_name().map_or_else(
            || file.shown.clone(),
            |name| name.to_string_lossy().into_owned(),
        );
        let mut look_in: Vec<PathBuf> = path.parent().map(Path::to_path_buf).into_iter().collect();
        look_in.push(start.to_path_buf());
        let mut invocation = Invocation {
            file: path,
            name,
            folder,
            look_in,
            report: None,
        };
        if whole {
            let outcome = runner(&invocation)?;
            let golden = Golden {
                out: &golden_out,
                err: &golden_err,
                bless_new,
            };
            judge_whole(file, &golden, &outcome, options, &mut verdict)?;
            let end = if verdict.summary.failed == 0 {
                "pass"
            } else {
                "FAIL"
            };
            let figures = figures(&outcome.stdout);
            if figures.is_empty() {
                row(&mut verdict, "-", end);
            }
            for figure in &figures {
                row(&mut verdict, figure, end);
            }
        }
        if file.has_blocks {
            let report = base.join("report");
            invocation.report = Some(report.clone());
            let outcome = runner(&invocation)?;
            judge_blocks(file, &report, &outcome, &mut verdict);
        }
        let _ = fs::remove_dir_all(base);
        Ok(())
    })();
    if let Err(error) = result {
        verdict.summary.failed += 1;
        let _ = writeln!(verdict.lines, "FAIL  {}: {error}", file.shown);
    }
    verdict
}

struct Golden<'a> {
    out: &'a Path,
    err: &'a Path,
    bless_new: bool,
}

fn judge_whole(
    file: &TestFile,
    golden: &Golden<'_>,
    outcome: &Outcome,
    options: &TestOptions,
    verdict: &mut Verdict,
) -> io::Result<()> {
    let mut tolerance = Tolerance::default();
    if let Some(relative) = file.header.tolerance.or(options.tolerance) {
        tolerance.relative = relative;
    }
    // A golden file of warnings alone belongs to a program that ends well.
    let told = fs::read_to_string(golden.err).ok();
    let must_fail = match (&told, options.bless) {
        (Some(told), false) => {
            told.is_empty() || told.lines().any(|line| line.starts_with("error"))
        }
        (Some(_), true) => outcome.code != Some(0),
        (None, _) => golden.bless_new && !golden.out.exists() && outcome.code != Some(0),
    };
    let mut problems = String::new();
    match (must_fail, outcome.code) {
        (false, Some(0)) | (true, Some(1)) => {}
        (true, Some(0)) => problems.push_str("it was to fail, but it ended well\n"),
        (_, Some(code)) => {
            let _ = writeln!(problems, "exit code {code}");
            if !must_fail {
                push_indented(&mut problems, &outcome.stderr);
            }
        }
        (_, None) => {
            problems.push_str("ended by a signal\n");
            push_indented(&mut problems, &outcome.stderr);
        }
    }
    let mut compare_with = |path: &Path, what: &str, actual: &str, new: bool| -> io::Result<()> {
        if options.bless && (path.exists() || new) {
            if fs::read_to_string(path)
                .ok()
                .is_none_or(|old| !compare::same(&old, actual, tolerance))
            {
                fs::write(path, actual)?;
                let _ = writeln!(verdict.lines, "bless {}", path.display());
            }
        } else if path.exists() {
            let expected = fs::read_to_string(path)?;
            if !compare::same(&expected, actual, tolerance) {
                let _ = writeln!(problems, "{what} differs (- expected, + this run)");
                problems.push_str(&compare::diff(&expected, actual, tolerance));
            }
        }
        Ok(())
    };
    compare_with(
        golden.err,
        "standard error",
        &outcome.stderr,
        golden.bless_new && must_fail,
    )?;
    compare_with(
        golden.out,
        "standard output",
        &outcome.stdout,
        golden.bless_new && !must_fail,
    )?;
    if problems.is_empty() {
        verdict.summary.passed += 1;
        let _ = writeln!(verdict.lines, "ok    {}", file.shown);
    } else {
        verdict.summary.failed += 1;
        let _ = writeln!(verdict.lines, "FAIL  {}", file.shown);
        push_indented(&mut verdict.lines, &problems);
    }
    Ok(())
}

/// One line for each block: `pass` or `fail`, a tab, its name, and for a failure a tab and the
/// message with `\n` for line ends.
pub fn report_line(name: &str, failure: Option<&str>) -> String {
    let escape = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\t', "\\t")
    };
    match failure {
        None => format!("pass\t{}\n", escape(name)),
        Some(message) => format!("fail\t{}\t{}\n", escape(name), escape(message)),
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
            (c, false) => out.push(c),
        }
    }
    out
}

fn judge_blocks(file: &TestFile, report: &Path, outcome: &Outcome, verdict: &mut Verdict) {
    let text = fs::read_to_string(report).unwrap_or_default();
    let mut seen = 0;
    let before = verdict.summary.failed;
    for line in text.lines() {
        let mut parts = line.splitn(3, '\t');
        let (state, name, message) = (parts.next(), parts.next().unwrap_or(""), parts.next());
        seen += 1;
        let name = unescape(name);
        if state == Some("pass") {
            verdict.summary.passed += 1;
            let _ = writeln!(verdict.lines, "ok    {}: {name}", file.shown);
        } else {
            verdict.summary.failed += 1;
            let _ = writeln!(verdict.lines, "FAIL  {}: {name}", file.shown);
            push_indented(&mut verdict.lines, &unescape(message.unwrap_or("")));
        }
    }
    let all_well = outcome.code == Some(0) || verdict.summary.failed > before;
    if seen == 0 || !all_well {
        verdict.summary.failed += 1;
        let _ = writeln!(
            verdict.lines,
            "FAIL  {}: its tests could not be run",
            file.shown
        );
        push_indented(&mut verdict.lines, &outcome.stderr);
    }
}

fn push_indented(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "      {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stdout: &str, stderr: &str, code: i32) -> io::Result<Outcome> {
        Ok(Outcome {
            stdout: stdout.into(),
            stderr: stderr.into(),
            code: Some(code),
        })
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, files: &[(&str, &str)]) -> Folder {
            let path = env::temp_dir().join(format!("aec-testing-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            for (name, text) in files {
                fs::write(path.join(name), text).unwrap();
            }
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn run(options: &TestOptions, runner: &Runner<'_>) -> (Summary, String) {
        let mut text = String::new();
        let summary = run_tests(options, runner, &AtomicBool::new(false), &mut |line| {
            text.push_str(line);
            text.push('\n');
        });
        (summary.unwrap(), text)
    }

    #[test]
    fn goldens_failures_blocks_and_rows_are_judged() {
        let folder = Folder::new(
            "judge",
            &[
                ("good.ae", "print 1.0"),
                ("good.out", "1.00001\n"),
                ("bad.ae", "print 2"),
                ("bad.out", "3\n"),
                ("fails.ae", "x"),
                ("fails.err", "error: no x\n"),
                (
                    "blocks.ae",
                    "test \"a\" { assert true }\ntest \"b\" { assert false }",
                ),
                ("row.ae", "# row: A1\n# reference: 0.7 (0.6-0.8)\nprint 1"),
                ("slow.ae", "# row: I7\n# slow: 5 min\nprint 1"),
                ("needs.ae", "# needs: no/such/file\nprint 1"),
            ],
        );
        let options = TestOptions {
            paths: vec![folder.0.clone()],
            jobs: 2,
            ..TestOptions::default()
        };
        let (summary, text) = run(&options, &|invocation| match invocation.name.as_str() {
            "good.ae" => outcome("1.0\n", "", 0),
            "bad.ae" => outcome("2\n", "", 0),
            "fails.ae" => outcome("", "error: no x\n", 1),
            "blocks.ae" => {
                let lines = report_line("a", None) + &report_line("b", Some("E: two\nlines"));
                fs::write(invocation.report.as_ref().unwrap(), lines)?;
                outcome("", "", 1)
            }
            "row.ae" => outcome("figure: test SSE 0.71\n", "", 0),
            other => panic!("{other} was to be skipped"),
        });
        assert_eq!(
            summary,
            Summary {
                passed: 4,
                failed: 2,
                skipped: 2
            },
            "{text}"
        );
        assert!(text.contains("- 3") && text.contains("+ 2"), "{text}");
        assert!(text.contains("      lines"), "{text}");
        assert!(
            text.contains("A1  | test SSE 0.71 | 0.7 (0.6-0.8) | pass"),
            "{text}"
        );
        assert!(text.contains("takes 5 min"), "{text}");
        assert!(
            text.trim_end().ends_with("4 passed, 2 failed, 2 skipped"),
            "{text}"
        );
    }

    #[test]
    fn bless_writes_what_came() {
        let folder = Folder::new("bless", &[("new.ae", "print 1"), ("wrong.ae", "x")]);
        let options = TestOptions {
            paths: vec![folder.0.join("new.ae"), folder.0.join("wrong.ae")],
            bless: true,
            ..TestOptions::default()
        };
        let runner: &Runner<'_> = &|invocation| match invocation.name.as_str() {
            "new.ae" => outcome("1\n", "", 0),
            _ => outcome("", "error\n", 1),
        };
        let (summary, text) = run(&options, runner);
        assert_eq!(summary.failed, 0, "{text}");
        assert_eq!(fs::read_to_string(folder.0.join("new.out")).unwrap(), "1\n");
        assert_eq!(
            fs::read_to_string(folder.0.join("wrong.err")).unwrap(),
            "error\n"
        );
        let again = TestOptions {
            bless: false,
            ..options
        };
        assert_eq!(
            run(&again, runner).0,
            Summary {
                passed: 2,
                failed: 0,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_program_that_should_fail_but_does_not_is_a_failure() {
        let folder = Folder::new("must-fail", &[("a.ae", "print 1"), ("a.err", "error\n")]);
        let options = TestOptions {
            paths: vec![folder.0.clone()],
            ..TestOptions::default()
        };
        let (summary, text) = run(&options, &|_| outcome("", "error\n", 0));
        assert_eq!(summary.failed, 1, "{text}");
    }

    #[test]
    fn a_missing_path_is_an_error() {
        let options = TestOptions {
            paths: vec!["no/such/folder".into()],
            ..TestOptions::default()
        };
        let error = run_tests(
            &options,
            &|_| outcome("", "", 0),
            &AtomicBool::new(false),
            &mut |_| {},
        );
        assert!(error.unwrap_err().contains("no/such/folder"));
    }
}
