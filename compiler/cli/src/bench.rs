//! `aec bench`: how long a training step takes, for benches/run.py. One line of JSON:
//! `first_step_s` (of the process, from its start to the end of the first step), `median_us`,
//! `least_us`, `p10_us`, `p90_us` of the timed steps, `steps`, `loss_1`, `loss_10`, `peak_rss_mb`; and what a
//! lower bound of the step is made of: `product_flop` and `update_bytes` (read and written for the
//! weights and the optimizer's state), and what one core could do meanwhile, `fma_gflops` and
//! `update_gbps`.

use crate::args::RunOptions;
use crate::commands::{FAULT, print, read, session_options};
use crate::terminal;
use aec_driver::bench::{BenchClock, BenchFigures};
use aec_driver::{Ended, Session};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Runs the script up to the end of its timed steps.
pub fn run(
    file: &Path,
    steps: Option<usize>,
    budget: f64,
    by_step: bool,
    options: &RunOptions,
) -> u8 {
    let (here, age) = (Instant::now(), process_age());
    let text = match read(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let clock = Rc::new(BenchClock::new(
        Duration::try_from_secs_f64(budget).unwrap_or_default(),
        steps,
        by_step,
    ));
    let mut choices = session_options(options, Some(file), &[]);
    choices.progress = false;
    choices.bench = Some(clock.clone());
    let mut session = Session::new(choices, Box::new(io::stderr()));
    let outcome = session.run(&file.display().to_string(), &text);
    terminal::report(&session.sources().borrow(), &outcome.diagnostics);
    if outcome.ended != Ended::Well {
        return outcome.ended.exit_code();
    }
    if let Err(error) = clock.time_last_statement() {
        terminal::report(&session.sources().borrow(), &[*error]);
        return FAULT;
    }
    // Measuring the memory's rate, which the figures do, takes as much memory as the plan has.
    let peak_memory = peak_memory_mb();
    let Some(figures) = clock.figures() else {
        terminal::say("the script trains nothing, and computes nothing");
        return FAULT;
    };
    let first = figures.first_step.duration_since(here).as_secs_f64() + age;
    print(&format!(
        "{{\"first_step_s\": {first:.4}, \"median_us\": {:.2}, \"least_us\": {:.2}, \"p10_us\": {:.2}, \"p90_us\": {:.2}, \"steps\": {}, \
         \"loss_1\": {}, \"loss_10\": {}, \"peak_rss_mb\": {:.1}, \"product_flop\": {:.0}, \"update_bytes\": {}, \
         \"fma_gflops\": {:.1}, \"update_gbps\": {:.1}}}\n{}",
        figures.quantile_us(0.5),
        figures.quantile_us(0.0),
        figures.quantile_us(0.1),
        figures.quantile_us(0.9),
        figures.steps_us.len(),
        number(figures.losses.0),
        number(figures.losses.1),
        peak_memory,
        figures.work.product_flop,
        figures.work.update_bytes,
        figures.rates.0 * 1e-9,
        figures.rates.1 * 1e-9,
        by_step_table(&figures),
    ))
}

/// A number of JSON, which has none that is not finite.
fn number(value: f64) -> String {
    match value.is_finite() {
        true => value.to_string(),
        false => "null".into(),
    }
}

/// A line for each step of the plan: time (lowest decile), share of the whole, GFLOP/s, what it is.
fn by_step_table(figures: &BenchFigures) -> String {
    let whole: f64 = figures.by_step_us.iter().sum();
    let mut out = String::new();
    for (time, (text, flop)) in figures.by_step_us.iter().zip(&figures.work.steps) {
        let _ = writeln!(
            out,
            "{time:9.1} us {:5.1} % {:6.1} GFLOP/s  {text}",
            100.0 * time / whole,
            flop / time * 1e-3
        );
    }
    out
}

/// Seconds since this process started, in steps of 10 ms; 0 where /proc does not say.
fn process_age() -> f64 {
    let start = || -> Option<f64> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let ticks: f64 = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(19)?
            .parse()
            .ok()?;
        let up: f64 = fs::read_to_string("/proc/uptime")
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(up - ticks / 100.0)
    };
    start().unwrap_or(0.0).max(0.0)
}

/// The most memory that the process ever held, in MB of 2^20 bytes; 0 where /proc does not say.
fn peak_memory_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1024.0
}
