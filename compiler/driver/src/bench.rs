//! Timing the steps of a training, for `aec bench`, or the runs of the last statement if a script
//! trains nothing. The clock only records; what is done with the times is decided when the run is
//! over.

use crate::exec::{Failure, Instance, Program, Work};
use crate::session::Result as Outcome;
use aec_runtime::Tensor;
use aec_runtime::machine::{multiply_add_rate, update_rate};
use aec_syntax::Span;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps that are run at least and at most.
const LEAST: usize = 40;
const MOST: usize = 3000;
/// Steps before this time, and at least so many, warm up and do not count.
const WARM_UP: Duration = Duration::from_millis(500);
const WARM_UP_STEPS: usize = 5;
/// The machine's rate is taken after every so many steps.
const RATE_EVERY: usize = 4;

/// A program that a statement ran, what on, and where it is from.
struct Ran {
    program: Rc<Program>,
    inputs: Vec<Arc<Tensor>>,
    span: Span,
}

/// What the statement at hand has run, or the last one that ran anything.
#[derive(Default)]
struct Statement {
    ran: Vec<Ran>,
    /// When it had ended.
    ended: Option<Instant>,
    /// Whether another statement has begun since.
    over: bool,
}

/// Records every step of the first training of a script.
pub struct BenchClock {
    budget: Duration,
    steps: Option<usize>,
    by_step: bool,
    record: RefCell<Record>,
    last: RefCell<Statement>,
}

impl fmt::Debug for BenchClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BenchClock")
            .field("budget", &self.budget)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Record {
    first: Option<Instant>,
    times: Vec<Duration>,
    losses: Vec<f64>,
    /// For each program of a step, nanoseconds of each step of its plan, run by run.
    by_step: Vec<Vec<Vec<f64>>>,
    work: Work,
    /// Multiply-add rates between the steps.
    rates: Vec<f64>,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct BenchFigures {
    /// When the first step ended.
    pub first_step: Instant,
    /// Times of the steps that count, ascending, in microseconds.
    pub steps_us: Vec<f64>,
    /// The loss of the first step and of the tenth.
    pub losses: (f64, f64),
    /// Microseconds of each step of the plan, if asked for: what nine of ten runs take longer
    /// than, so that a step which another program interrupts each time is still compared.
    pub by_step_us: Vec<f64>,
    /// What a step has to do.
    pub work: Work,
    /// What one core can do, taken between the steps: multiply-adds in operations per second
    /// (median), and updating in place as much memory as the plan has, in bytes per second.
    pub rates: (f64, f64),
}

impl BenchFigures {
    /// The time that a share of the steps stayed below, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let last = self.steps_us.len().saturating_sub(1);
        self.steps_us
            .get((share * self.steps_us.len() as f64) as usize)
            .or(self.steps_us.get(last))
            .copied()
            .unwrap_or(0.0)
    }
}

impl BenchClock {
    /// A clock for so many timed steps, or as many as fit the budget, which also times the
    /// steps of the plan if `by_step`.
    pub fn new(budget: Duration, steps: Option<usize>, by_step: bool) -> BenchClock {
        BenchClock {
            budget,
            steps,
            by_step,
            record: RefCell::default(),
            last: RefCell::default(),
        }
    }

    /// How many steps the training is to have.
    pub(crate) fn most(&self) -> usize {
        self.steps.unwrap_or(MOST) + 1 + MOST
    }

    /// Runs a step.
    pub(crate) fn run(&self, instance: &mut Instance) -> Result<(), Failure> {
        self.run_program(0, instance)
    }

    /// Runs a step's n-th program.
    fn run_program(&self, nth: usize, instance: &mut Instance) -> Result<(), Failure> {
        let mut record = self.record.borrow_mut();
        if record.times.is_empty() {
            record.work.add(instance.work());
        }
        if self.by_step {
            let programs = record.by_step.len().max(nth + 1);
            record.by_step.resize(programs, Vec::new());
            instance.run_timed(&mut record.by_step[nth])
        } else {
            instance.run()
        }
    }

    /// Another statement of the script begins.
    pub(crate) fn begin_statement(&self) {
        self.last.borrow_mut().over = true;
    }

    /// Notes a program that a statement has run.
    pub(crate) fn ran(&self, program: &Rc<Program>, inputs: Vec<Arc<Tensor>>, span: Span) {
        let mut last = self.last.borrow_mut();
        if last.over {
            *last = Statement::default();
        }
        last.ran.push(Ran {
            program: program.clone(),
            inputs,
            span,
        });
        last.ended = Some(Instant::now());
    }

    /// Runs the programs of the last statement that had any as often as is wanted, on what it gave
    /// them, if the script has trained nothing; what a second run of a session finds made, such as
    /// panels of weights, they find too. The first number of the last one's result stands for
    /// the loss.
    pub fn time_last_statement(&self) -> Outcome<()> {
        let last = self.last.take();
        if last.ran.is_empty() || self.record.borrow().first.is_some() {
            return Ok(());
        }
        self.record.borrow_mut().first = last.ended;
        // One instance for each program, however often a loop of the statement runs it: what is given
        // to it is not part of the time.
        let mut instances: Vec<(&Rc<Program>, Instance)> = Vec::new();
        let mut runs: Vec<(usize, &Ran)> = Vec::with_capacity(last.ran.len());
        for ran in &last.ran {
            let known = instances
                .iter()
                .position(|(program, _)| program.has_code_of(&ran.program));
            let at = known.unwrap_or_else(|| {
                instances.push((&ran.program, ran.program.instance(None)));
                instances.len() - 1
            });
            runs.push((at, ran));
        }
        loop {
            let (mut time, mut loss) = (Duration::ZERO, 0.0);
            for (nth, &(at, ran)) in runs.iter().enumerate() {
                let instance = &mut instances[at].1;
                for (at, input) in ran.inputs.iter().enumerate() {
                    instance.give(at, input);
                }
                let start = Instant::now();
                let done = self.run_program(nth, instance);
                time += start.elapsed();
                done.map_err(|failure| failure.diagnostic(ran.span))?;
                loss = instance.output_scalar(0);
            }
            if self.step(time, loss) {
                return Ok(());
            }
        }
    }

    /// Notes a step; true when no more are wanted.
    pub(crate) fn step(&self, time: Duration, loss: f64) -> bool {
        let mut record = self.record.borrow_mut();
        let first = *record.first.get_or_insert_with(Instant::now);
        record.times.push(time);
        record.losses.push(loss);
        if record.times.len().is_multiple_of(RATE_EVERY) {
            record.rates.push(multiply_add_rate());
        }
        let warm = warm_up(&record.times);
        let timed = record.times.len() - warm;
        match self.steps {
            Some(steps) => timed >= steps && first.elapsed() >= WARM_UP.min(self.budget),
            None => timed >= LEAST && (timed >= MOST || first.elapsed() >= WARM_UP + self.budget),
        }
    }

    /// What was measured, if a training ran.
    pub fn figures(&self) -> Option<BenchFigures> {
        let record = self.record.borrow();
        let first_step = record.first?;
        let mut steps_us: Vec<f64> = record.times[warm_up(&record.times)..]
            .iter()
            .map(|time| time.as_secs_f64() * 1e6)
            .collect();
        steps_us.sort_by(f64::total_cmp);
        let losses = (
            *record.losses.first()?,
            *record.losses.get(9).or(record.losses.last())?,
        );
        let by_step_us = record
            .by_step
            .iter()
            .flatten()
            .map(|times| quantile(times, 0.1) * 1e-3);
        Some(BenchFigures {
            first_step,
            steps_us,
            losses,
            by_step_us: by_step_us.collect(),
            work: record.work.clone(),
            rates: (
                quantile(&record.rates, 0.5),
                update_rate(record.work.memory_bytes),
            ),
        })
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (share * sorted.len() as f64) as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// How many of the steps warm up: the first, and what follows until time and number are reached.
fn warm_up(times: &[Duration]) -> usize {
    let mut spent = Duration::ZERO;
    for (at, time) in times.iter().enumerate().skip(1) {
        spent += *time;
        if at >= WARM_UP_STEPS && (spent >= WARM_UP || at >= 200) {
            return at + 1;
        }
    }
    times.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_is_left_out_and_the_rest_sorted() {
        let clock = BenchClock::new(Duration::ZERO, Some(3), false);
        let mut done = false;
        for at in 0..9 {
            assert!(!done, "asked for step {at}");
            done = clock.step(
                Duration::from_millis(if at < 6 { 200 } else { 10 - at }),
                at as f64,
            );
        }
        assert!(done);
        let figures = clock.figures().unwrap();
        assert_eq!(figures.steps_us, [2000.0, 3000.0, 4000.0]);
        assert_eq!(figures.losses, (0.0, 8.0));
        assert_eq!(figures.quantile_us(0.5), 3000.0);
    }

    #[test]
    fn a_script_without_training_has_no_figures() {
        assert_eq!(BenchClock::new(Duration::ZERO, None, false).figures(), None);
    }
}
