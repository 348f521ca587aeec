//! `fuzz TARGET SEED SECONDS OUT FOLDER…` damages the scripts of the folders and gives them to
//! a target for as long as said; everything follows from the seed. What finds something is made
//! small and written into the folder OUT: repair it, and put it into `corpus/`.
//!
//! A worker process does it, so that an overflow of the stack or of the memory is a finding, too.
//! Bound its memory: `(ulimit -v 4000000; cargo run --release -p aec-fuzz -- …)`.

use aec_fuzz::mutate::{Random, mutate};
use aec_fuzz::shrink::shrink;
use aec_fuzz::{Target, Verdict, scripts, target};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// As the `aec` command has.
const STACK: usize = 512 << 20;

/// After this time an input counts as hanging for good.
const PATIENCE: Duration = Duration::from_secs(120);

/// Inputs of one worker: sessions keep what they have read, so that memory grows.
const INPUTS: usize = 2000;

/// Findings of one kind that are kept.
const KEPT: usize = 3;

/// The input under way and when it began.
static UNDER_WAY: Mutex<Option<Instant>> = Mutex::new(None);

struct Task {
    name: String,
    target: Target,
    seed: u64,
    seconds: u64,
    out: PathBuf,
    folders: Vec<String>,
}

fn task(args: &[String]) -> Result<Task, String> {
    let [name, seed, seconds, out, folders @ ..] = args else {
        return Err("fuzz parser|checker|formatter SEED SECONDS OUT FOLDER…".into());
    };
    let target = Target::ALL.iter().find(|known| known.0 == name);
    let number = |text: &String| {
        text.parse::<u64>()
            .map_err(|_| format!("{text} is no number"))
    };
    Ok(Task {
        name: name.clone(),
        target: target
            .ok_or_else(|| format!("there is no target {name}"))?
            .1,
        seed: number(seed)?,
        seconds: number(seconds)?,
        out: PathBuf::from(out),
        folders: folders.to_vec(),
    })
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let worker = args.first().is_some_and(|arg| arg == "--worker");
    let done = task(&args[usize::from(worker)..]).and_then(|task| {
        fs::create_dir_all(&task.out).map_err(|error| error.to_string())?;
        if worker { work(task) } else { supervise(&task) }
    });
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Starts workers until the time is over: one that dies is followed by one with another seed.
fn supervise(task: &Task) -> Result<usize, String> {
    let until = Instant::now() + Duration::from_secs(task.seconds);
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let (mut found, mut rounds, mut accepted) = (0, 0usize, 0usize);
    for seed in task.seed.. {
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        if left == 0 {
            break;
        }
        let status = Command::new(&program)
            .args(["--worker", &task.name, &seed.to_string(), &left.to_string()])
            .arg(&task.out)
            .args(&task.folders)
            .status()
            .map_err(|error| error.to_string())?;
        if let Ok(text) = fs::read_to_string(counts(task)) {
            let mut numbers = text
                .split(' ')
                .filter_map(|number| number.parse::<usize>().ok());
            rounds += numbers.next().unwrap_or(0);
            accepted += numbers.next().unwrap_or(0);
        }
        match status.code() {
            Some(0) => {}
            Some(1) => found += 1,
            Some(2) => return Err("the worker could not work".into()),
            _ => {
                found += 1;
                let name = format!("{}-{seed}-died.ae", task.name);
                println!("{name}: the worker died, {status}");
                fs::rename(current(task), task.out.join(name)).map_err(|e| e.to_string())?;
            }
        }
    }
    let share = 100 * accepted / rounds.max(1);
    println!(
        "{}: {rounds} inputs in {} s, {share}% of them scripts without errors, {found} workers with findings",
        task.name, task.seconds,
    );
    Ok(found)
}

/// Where a worker leaves how many inputs there were, and how many scripts without errors.
fn counts(task: &Task) -> PathBuf {
    task.out.join(format!("{}-counts", task.name))
}

/// Where the input under way is kept.
fn current(task: &Task) -> PathBuf {
    task.out.join(format!("{}-current.ae", task.name))
}

/// Ends the process when an input does not end.
fn watch() {
    loop {
        thread::sleep(Duration::from_millis(500));
        let begun = UNDER_WAY.lock().ok().and_then(|under_way| *under_way);
        if begun.is_some_and(|begun| begun.elapsed() > PATIENCE) {
            process::abort();
        }
    }
}

fn work(task: Task) -> Result<usize, String> {
    let mut seeds: Vec<String> = Vec::new();
    for folder in &task.folders {
        seeds.extend(scripts(Path::new(folder)));
    }
    // The checker's time goes by the length; long scripts say nothing that short ones don't.
    let most = if task.target == Target::Checker {
        4000
    } else {
        20_000
    };
    seeds.retain(|text| !text.is_empty() && text.len() < most);
    if seeds.is_empty() {
        return Err("no scripts to start from".into());
    }
    target::note_panics();
    thread::spawn(watch);
    let worker = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || run(&task, &seeds));
    let worker = worker.map_err(|error| error.to_string())?;
    worker
        .join()
        .map_err(|_| "the worker panicked".to_string())?
}

fn run(task: &Task, seeds: &[String]) -> Result<usize, String> {
    let mut random = Random::new(task.seed);
    let start = Instant::now();
    let (mut rounds, mut accepted) = (0usize, 0usize);
    let mut found: HashMap<String, usize> = HashMap::new();
    let current = current(task);
    while start.elapsed().as_secs() < task.seconds && rounds < INPUTS {
        rounds += 1;
        let (a, b) = (random.below(seeds.len()), random.below(seeds.len()));
        let text = mutate(&seeds[a], &seeds[b], &mut random);
        fs::write(&current, &text).map_err(|error| error.to_string())?;
        match examine(task.target, &text) {
            Verdict::Accepted => accepted += 1,
            Verdict::Refused => {}
            Verdict::Finding(wrong) => {
                let count = found.entry(wrong.clone()).or_default();
                *count += 1;
                if *count <= KEPT {
                    keep(task, rounds, &text, &wrong)?;
                }
            }
        }
    }
    fs::write(counts(task), format!("{rounds} {accepted}")).map_err(|error| error.to_string())?;
    for (wrong, count) in &found {
        println!("  {count} times: {wrong}");
    }
    Ok(found.len())
}

/// Lets the watch know how long the input takes.
fn examine(target: Target, text: &str) -> Verdict {
    let begin = |when| {
        if let Ok(mut under_way) = UNDER_WAY.lock() {
            *under_way = when;
        }
    };
    begin(Some(Instant::now()));
    let verdict = target.examine(text);
    begin(None);
    verdict
}

fn keep(task: &Task, round: usize, text: &str, wrong: &str) -> Result<(), String> {
    let same = |text: &str| task.target.examine(text) == Verdict::Finding(wrong.to_string());
    let time = if wrong == "took too long" { 0 } else { 20 };
    let small = shrink(text, Duration::from_secs(time), &same);
    let name = format!("{}-{}-{round}.ae", task.name, task.seed);
    println!("{name}: {wrong}");
    fs::write(task.out.join(&name), small).map_err(|error| error.to_string())
}
