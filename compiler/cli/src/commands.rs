//! The commands: each turns arguments into a session and gives an exit code.

use crate::args::{ChildOptions, Cli, Command, Factorise, RunOptions};
use crate::{bench, fmt, model, repl, terminal};
use aec_driver::saved::{Act, Generate};
use aec_driver::testing::{Invocation, Outcome as Ran, TestOptions, report_line, run_tests};
use aec_driver::{Ended, Options, Outcome, Session, has_errors, show, summary};
use aec_runtime::{Elem, interrupt};
use aec_syntax::{Style, codes, render, render_json};
use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::{env, fs, process};

/// Exit code of wrong use, and of our own faults.
pub const FAULT: u8 = 2;

/// Programs that `aec test` runs at a time.
const JOBS: usize = 2;

/// Parses the command line and does what it says.
pub fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // Standard error is the last resort: nobody could be told that it is gone.
            let _ = error.print();
            if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
                && word.ends_with(".ae")
            {
                terminal::say(&format!("a script is run with `aec run {word}`"));
            }
            return FAULT;
        }
        Err(help) => return print(&help.render().to_string()),
    };
    interrupt::install();
    match cli.command {
        Command::Run {
            file,
            options,
            child,
            timings,
        } => run_file(&file, &options, &child, timings),
        Command::Check {
            files,
            f64,
            json,
            quiet,
        } => check(&files, f64, json, quiet),
        Command::Test {
            paths,
            bless,
            slow,
            tolerance,
        } => test(paths, bless, slow, tolerance),
        Command::Fmt { paths, check, diff } => {
            let mode = match (check, diff) {
                (true, _) => fmt::Mode::Check,
                (false, true) => fmt::Mode::Diff,
                (false, false) => fmt::Mode::Write,
            };
            fmt::run(&paths, mode)
        }
        Command::Explain { code } => explain(code.as_deref()),
        Command::Show {
            stage,
            file,
            options,
        } => show_stage(&stage, &file, &options),
        // Modules of the user stand in the folder where the session began.
        Command::Repl { options } => {
            repl::run(session_options(&options, None, &[PathBuf::from(".")]))
        }
        Command::Bench {
            file,
            steps,
            budget,
            by_step,
            options,
        } => bench::run(&file, steps, budget, by_step, &options),
        Command::Summary { file, options } => summarize(&file, &options),
        Command::Train {
            file,
            data,
            out,
            options,
        } => model::train(&file, &data, &out, &options),
        Command::Encode(args) => model::apply(Act::Encode, &args),
        Command::Decode(args) => model::apply(Act::Decode, &args),
        Command::Reconstruct {
            apply,
            threshold,
            keep_threshold,
        } => model::reconstruct(&apply, threshold, keep_threshold),
        Command::Complete(args) => model::apply(Act::Complete, &args),
        Command::Sample {
            model,
            count,
            given,
            output,
            options,
        } => model::sample(&model, (count, given), &output, &options),
        Command::Generate {
            model,
            prompt,
            words,
            temperature,
            top_k,
            nucleus,
            options,
        } => {
            let how = Generate {
                prompt,
                words,
                temperature,
                top_k,
                nucleus,
            };
            model::generate(&model, &how, &options)
        }
        Command::Inspect { model } => model::inspect(&model),
    }
}

/// Writes to standard output; the exit code says whether somebody read it.
pub(crate) fn print(text: &str) -> u8 {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ended::ClosedPipe.exit_code(),
        Err(error) => {
            terminal::say(&format!("cannot write to standard output: {error}"));
            Ended::Failed.exit_code()
        }
    }
}

pub(crate) fn session_options(
    options: &RunOptions,
    file: Option<&Path>,
    look_in: &[PathBuf],
) -> Options {
    let folder = file.map(|file| match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    });
    Options {
        threads: options.threads.map_or(0, usize::from),
        interpret: options.interpret,
        exact: options.factorise == Factorise::Exact,
        seed: options.seed,
        float: if options.f64 { Elem::F64 } else { Elem::F32 },
        look_in: folder.into_iter().chain(look_in.iter().cloned()).collect(),
        progress: io::stderr().is_terminal(),
        dry: false,
        bench: None,
    }
}

/// The text of a script; what cannot be read is wrong use.
pub(crate) fn read(file: &Path) -> Result<String, u8> {
    match fs::read(file) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| {
            terminal::say(&format!(
                "cannot read {}: it is not UTF-8 text",
                file.display()
            ));
            FAULT
        }),
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file".to_string(),
                _ => error.to_string(),
            };
            terminal::say(&format!("cannot read {}: {why}", file.display()));
            Err(FAULT)
        }
    }
}

/// A session, unless the library that we carry is broken.
pub(crate) fn open(options: Options, out: Box<dyn Write>) -> Result<Session, u8> {
    let session = Session::new(options, out);
    if session.faults.is_empty() {
        return Ok(session);
    }
    terminal::report(&session.sources().borrow(), &session.faults);
    terminal::say("this is a bug in aec: the library does not load");
    Err(FAULT)
}

fn run_file(file: &Path, options: &RunOptions, child: &ChildOptions, timings: bool) -> u8 {
    let text = match read(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let mut session = match open(
        session_options(options, Some(file), &child.look_in),
        Box::new(io::stdout()),
    ) {
        Ok(session) => session,
        Err(code) => return code,
    };
    let name = child
        .name
        .clone()
        .unwrap_or_else(|| file.display().to_string());
    if let Some(report) = &child.report {
        return run_blocks(&mut session, &name, &text, report);
    }
    let outcome = session.run(&name, &text);
    terminal::report(&session.sources().borrow(), &outcome.diagnostics);
    if timings {
        for (step, time) in session.world.compiler.times() {
            terminal::say(&format!("{:>12.3} ms  {step}", time.as_secs_f64() * 1e3));
        }
    }
    outcome.ended.exit_code()
}

fn run_blocks(session: &mut Session, name: &str, text: &str, report: &Path) -> u8 {
    let (outcome, results) = session.run_tests(name, text);
    terminal::report(&session.sources().borrow(), &outcome.diagnostics);
    let sources = session.sources();
    let lines: String = results
        .iter()
        .map(|(name, failure)| {
            let message = failure
                .as_ref()
                .map(|failure| render(&sources.borrow(), failure, Style::PLAIN));
            report_line(name, message.as_deref())
        })
        .collect();
    if let Err(error) = fs::write(report, lines) {
        terminal::say(&format!("cannot write {}: {error}", report.display()));
        return FAULT;
    }
    outcome.ended.exit_code()
}

/// Checks files: messages as text on standard error, or as JSON on standard output.
fn check(files: &[PathBuf], f64: bool, json: bool, quiet: bool) -> u8 {
    let options = RunOptions {
        threads: None,
        seed: 0,
        interpret: true,
        f64,
        factorise: Factorise::Full,
    };
    let mut worst = 0;
    for file in files {
        let session = || {
            open(
                session_options(&options, Some(file), &[]),
                Box::new(io::sink()),
            )
        };
        let code = match read(file).and_then(|text| Ok((text, session()?))) {
            Ok((text, mut session)) => {
                let (_, diagnostics) = session.check(&file.display().to_string(), &text);
                let printed = if json {
                    let sources = session.sources();
                    let lines = diagnostics
                        .iter()
                        .map(|diagnostic| render_json(&sources.borrow(), diagnostic) + "\n");
                    print(&lines.collect::<String>())
                } else {
                    if !quiet {
                        terminal::report(&session.sources().borrow(), &diagnostics);
                    }
                    0
                };
                printed.max(u8::from(has_errors(&diagnostics)))
            }
            Err(code) => code,
        };
        worst = worst.max(code);
    }
    worst
}

fn explain(code: Option<&str>) -> u8 {
    let Some(code) = code else {
        let list = codes::pages().map(|page| format!("{}  {}\n", page.code, page.title));
        return print(&list.collect::<String>());
    };
    match codes::page(code) {
        Some(page) => print(&page.plain()),
        None => {
            terminal::say(&format!(
                "there is no error {code}; `aec explain` lists all"
            ));
            FAULT
        }
    }
}

fn test(paths: Vec<PathBuf>, bless: bool, slow: bool, tolerance: Option<f64>) -> u8 {
    let exe = match env::current_exe() {
        Ok(exe) => exe,
        Err(error) => {
            terminal::say(&format!("cannot find this program's own file: {error}"));
            return FAULT;
        }
    };
    let paths = if paths.is_empty() {
        vec![PathBuf::from(".")]
    } else {
        paths
    };
    let options = TestOptions {
        paths,
        bless,
        slow,
        tolerance,
        jobs: JOBS,
    };
    let stop = AtomicBool::new(false);
    let mut code = 0;
    let runner = |invocation: &Invocation| {
        if interrupt::requested() {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        start(&exe, invocation)
    };
    let summary = run_tests(&options, &runner, &stop, &mut |line| {
        if code == 0 {
            code = print(&format!("{line}\n"));
        }
    });
    match summary {
        Err(message) => {
            terminal::say(&message);
            FAULT
        }
        Ok(_) if interrupt::requested() => Ended::Interrupted.exit_code(),
        Ok(_) if code != 0 => code,
        Ok(summary) => u8::from(summary.failed > 0),
    }
}

/// Runs a script in a process of its own. One thread each, as several run at a time.
fn start(exe: &Path, invocation: &Invocation) -> io::Result<Ran> {
    let mut command = process::Command::new(exe);
    command
        .arg("run")
        .arg("--threads")
        .arg("1")
        .arg("--name")
        .arg(&invocation.name);
    for folder in &invocation.look_in {
        command.arg("--look-in").arg(folder);
    }
    if let Some(report) = &invocation.report {
        command.arg("--report").arg(report);
    }
    let output = command
        .arg("--")
        .arg(&invocation.file)
        .current_dir(&invocation.folder)
        .stdin(process::Stdio::null())
        .env_remove("COLUMNS")
        .output()?;
    Ok(Ran {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
    })
}

/// Runs a script dry, trainings only compiled and its output left out, and prints what `text_of`
/// makes of it.
fn dry(
    file: &Path,
    options: &RunOptions,
    text_of: impl FnOnce(&mut Session, &str, &str) -> (String, Outcome),
) -> u8 {
    let text = match read(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let mut options = session_options(options, Some(file), &[]);
    options.dry = true;
    options.progress = false;
    let mut session = match open(options, Box::new(io::sink())) {
        Ok(session) => session,
        Err(code) => return code,
    };
    let (shown, outcome) = text_of(&mut session, &file.display().to_string(), &text);
    let code = print(&shown);
    terminal::report(&session.sources().borrow(), &outcome.diagnostics);
    if code != 0 {
        code
    } else {
        outcome.ended.exit_code()
    }
}

fn summarize(file: &Path, options: &RunOptions) -> u8 {
    dry(file, options, summary::summary)
}

fn show_stage(stage: &str, file: &Path, options: &RunOptions) -> u8 {
    match show::Wanted::parse(stage) {
        Ok(stage) => dry(file, options, |session, name, text| {
            show::show(session, &stage, name, text)
        }),
        Err(message) => {
            terminal::say(&message);
            FAULT
        }
    }
}
