//! Mutates scripts and looks for panics, hangs and formats that do not keep the meaning:
//! `cargo run --release -p aec-syntax --example fuzz -- SEED SECONDS FOLDER…`. Everything follows
//! from the seed. An input that finds something is written beside, as `fuzz-SEED-ROUND.ae`: make it
//! a case of `tests/robust.rs`.

use aec_syntax::{FileId, parse_repl, parse_script};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// An input that takes longer is a finding.
const HANG: Duration = Duration::from_secs(2);

/// Pieces that scripts are made of, and some that they are not.
const PIECES: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "\\",
    "'",
    "?",
    "??",
    "..",
    "|>",
    "->",
    "~",
    "=",
    "==",
    "fn ",
    "let ",
    "model ",
    "param ",
    "train ",
    " on ",
    "if ",
    " then ",
    " else ",
    "for ",
    " in ",
    "use ",
    "precision f64\n",
    "test \"t\" ",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "1e999",
    "9999999999999999999",
    "0.",
    "_",
    "#",
    "##",
    "@",
    "^",
    "-",
    "//",
    ";",
    ",",
    ":",
    "{x:.3}",
];

/// Xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn scripts(folder: &Path, out: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            scripts(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "ae")
            && let Ok(text) = fs::read_to_string(&path)
        {
            out.push(text);
        }
    }
}

/// A place between two characters.
fn place(text: &str, random: &mut Random) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(text: &str, other: &str, random: &mut Random) -> String {
    let mut text = text.to_string();
    for _ in 0..=random.below(6) {
        let (a, b) = (place(&text, random), place(&text, random));
        let (from, to) = (a.min(b), a.max(b));
        let near = text[from..].char_indices().nth(random.below(12));
        let short = near.map_or(to, |(at, _)| from + at);
        match random.below(6) {
            0 => text.replace_range(from..short, ""),
            1 => text.replace_range(from..to, ""),
            2 => text.insert_str(from, PIECES[random.below(PIECES.len())]),
            3 => text.replace_range(from..short, PIECES[random.below(PIECES.len())]),
            4 => {
                let piece = text[from..short].repeat(1 + random.below(40));
                text.insert_str(from, &piece);
            }
            _ => {
                let (c, d) = (place(other, random), place(other, random));
                let part = &other[c.min(d)..c.max(d)];
                let part: String = part.chars().take(200).collect();
                text.insert_str(from, &part);
            }
        }
    }
    text
}

/// What is wrong with how `text` is read or written, if anything.
fn examine(text: &str) -> Option<String> {
    let (_, found) = parse_script(FileId(0), text);
    let _ = parse_repl(FileId(0), text);
    match aec_syntax::format::format_script(FileId(0), text) {
        Err(errors) if found.is_empty() => Some(format!("not formatted: {}", errors[0].message)),
        Err(_) => None,
        Ok(once) => match aec_syntax::format::format_script(FileId(0), &once) {
            Ok(twice) if twice == once => None,
            Ok(_) => Some("formatting the result changes it".into()),
            Err(errors) => Some(format!("the result has errors: {}", errors[0].message)),
        },
    }
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [seed, seconds, folders @ ..] = args.as_slice() else {
        eprintln!("fuzz SEED SECONDS FOLDER…");
        process::exit(2);
    };
    let (Ok(seed), Ok(seconds)) = (seed.parse::<u64>(), seconds.parse::<u64>()) else {
        eprintln!("the seed and the seconds are numbers");
        process::exit(2);
    };
    let mut corpus = Vec::new();
    for folder in folders {
        scripts(Path::new(folder), &mut corpus);
    }
    if corpus.is_empty() {
        eprintln!("no scripts to start from");
        process::exit(2);
    }
    let work = move || run(seed, Duration::from_secs(seconds), &corpus);
    let found = thread::Builder::new()
        .stack_size(512 << 20)
        .spawn(work)
        .ok()
        .and_then(|thread| thread.join().ok());
    process::exit(i32::from(found != Some(0)));
}

fn run(seed: u64, time: Duration, corpus: &[String]) -> usize {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let start = Instant::now();
    let (mut round, mut found) = (0, 0);
    while start.elapsed() < time {
        round += 1;
        let (a, b) = (random.below(corpus.len()), random.below(corpus.len()));
        let text = mutate(&corpus[a], &corpus[b], &mut random);
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| examine(&text)));
        let wrong = match result {
            Ok(None) if began.elapsed() > HANG => Some(format!("took {:?}", began.elapsed())),
            Ok(wrong) => wrong,
            Err(_) => Some("panicked".into()),
        };
        if let Some(wrong) = wrong {
            found += 1;
            let name = format!("fuzz-{seed}-{round}.ae");
            println!("{name}: {wrong}");
            if let Err(error) = fs::write(&name, &text) {
                println!("cannot write it: {error}");
            }
        }
    }
    println!("{round} inputs, {found} findings");
    found
}
