//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The compiler and REPL of `.ae`, a small tensor language for autoencoders.
#[derive(Parser, Debug)]
#[command(name = "aec", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 well, 1 the program or a test failed, 2 wrong use or a bug of ours, \
                        130 ended by Ctrl-C, 141 nobody read the output."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a script
    Run {
        /// The script
        file: PathBuf,
        #[command(flatten)]
        options: RunOptions,
        #[command(flatten)]
        child: ChildOptions,
        /// Show where the time went, on standard error
        #[arg(long)]
        timings: bool,
    },
    /// Check scripts without running them or opening their data
    Check {
        /// The scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// `real` and `[n]` are f64
        #[arg(long)]
        f64: bool,
        /// Print each message as a line of JSON on standard output (docs/tools.md)
        #[arg(long)]
        json: bool,
        /// Print nothing, only give the exit code
        #[arg(long, conflicts_with = "json")]
        quiet: bool,
    },
    /// Run the tests in files and folders
    Test {
        /// Files and folders [default: the current folder]
        paths: Vec<PathBuf>,
        /// Rewrite the golden files (.out, .err) with what comes now
        #[arg(long)]
        bless: bool,
        /// Also run files that say they take minutes
        #[arg(long)]
        slow: bool,
        /// Relative tolerance of numbers in files that state none
        #[arg(long, value_name = "T")]
        tolerance: Option<f64>,
    },
    /// Write scripts in the one layout
    Fmt {
        /// Files and folders, or `-` for standard input to standard output
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Only name the files that have another layout; exit code 1 if there are any
        #[arg(long)]
        check: bool,
        /// Only show what would change; exit code 1 if anything would
        #[arg(long, conflicts_with = "check")]
        diff: bool,
    },
    /// Say what an error code means, with an example and its repair
    Explain {
        /// The code, such as E0301 [default: list all]
        code: Option<String>,
    },
    /// Show what a script becomes at a stage
    Show {
        /// ast, tir, tir:PASS, tir:all, plan, kernels, lir, clif or asm
        stage: String,
        /// The script
        file: PathBuf,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Type and run, line by line
    Repl {
        #[command(flatten)]
        options: RunOptions,
    },
    /// Time the steps of a script's first training, or else all that its last statement runs; one
    /// line of JSON
    #[command(hide = true)]
    Bench {
        /// The script
        file: PathBuf,
        /// Timed steps [default: as many as fit the budget]
        #[arg(long, value_name = "N")]
        steps: Option<usize>,
        /// Seconds of timed steps
        #[arg(long, value_name = "S", default_value_t = 2.0)]
        budget: f64,
        /// Also print the time of every step of the plan
        #[arg(long)]
        by_step: bool,
        #[command(flatten)]
        options: RunOptions,
    },
    /// The weights of a script's models, and what a step of each training costs; nothing is trained
    Summary {
        /// The script
        file: PathBuf,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Train by a script's function `fit` on data from a file, and save the model
    Train {
        /// The script
        file: PathBuf,
        /// The data, as CSV or NPY; once for each parameter of `fit`
        #[arg(long, value_name = "FILE", required = true)]
        data: Vec<String>,
        /// Where to save the model
        #[arg(long, value_name = "FILE")]
        out: String,
        #[command(flatten)]
        options: RunOptions,
    },
    /// The codes of examples, by a saved model
    Encode(Apply),
    /// What codes mean, by a saved model
    Decode(Apply),
    /// How well a saved model reconstructs each example
    Reconstruct {
        #[command(flatten)]
        apply: Apply,
        /// Error above which an example is an anomaly [default: what the model's file says]
        #[arg(long, value_name = "E")]
        threshold: Option<f64>,
        /// Store the error that this share of the examples stays below as the model's threshold
        #[arg(long, value_name = "SHARE", conflicts_with = "threshold")]
        keep_threshold: Option<f64>,
    },
    /// Fill the empty cells of a table, by a saved model
    Complete(Apply),
    /// New examples of a saved model: codes drawn from its prior, decoded
    Sample {
        /// The model's file
        model: String,
        /// How many
        #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
        count: usize,
        /// Their class, for a model that makes examples of a given one
        #[arg(long, value_name = "CLASS")]
        given: Option<i64>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        options: RunOptions,
    },
    /// A text of a saved language model
    ///
    /// It begins at `<s>` and ends at `</s>`, where the model's vocabulary has them.
    Generate {
        /// The model's file
        model: String,
        /// How the text begins
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        prompt: String,
        /// Most words after that
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
        words: usize,
        /// Below 1 the likely words become likelier, above 1 the unlikely ones
        #[arg(long, value_name = "T", default_value_t = 1.0)]
        temperature: f64,
        /// Draw only among so many best words; 0 for all
        #[arg(long, value_name = "K", default_value_t = 0)]
        top_k: usize,
        /// Draw only among the words that make up this share of the probability
        #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
        nucleus: f64,
        #[command(flatten)]
        options: RunOptions,
    },
    /// What a saved model is, how it was trained, and its source
    Inspect {
        /// The model's file
        model: String,
    },
}

/// A saved model on data.
#[derive(Args, Debug)]
pub struct Apply {
    /// The model's file
    pub model: String,
    /// The data: CSV, or NPY by its name
    pub data: String,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub options: RunOptions,
}

/// Where results go.
#[derive(Args, Debug)]
pub struct Output {
    /// A file for the results, CSV or by its name NPY [default: CSV on standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<String>,
}

/// Choices of a run.
#[derive(Args, Debug, Clone)]
pub struct RunOptions {
    /// Threads to compute with; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Seed of the script's draws
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub seed: u64,
    /// Run the slow reference interpreter instead of compiled code
    #[arg(long)]
    pub interpret: bool,
    /// `real` and `[n]` are f64
    #[arg(long)]
    pub f64: bool,
    /// How freely sums of products are rearranged
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value_t,
        hide_default_value = true
    )]
    pub factorise: Factorise,
}

/// How freely sums of products are rearranged.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Factorise {
    /// Whatever is cheapest
    #[default]
    Full,
    /// Squares of sums stay as they are written: dearer derivatives, every digit
    Exact,
}

/// How `aec test` starts a run.
#[derive(Args, Debug, Clone)]
pub struct ChildOptions {
    /// How messages name the script
    #[arg(long, hide = true)]
    pub name: Option<String>,
    /// A further folder to look for data in
    #[arg(long, hide = true)]
    pub look_in: Vec<PathBuf>,
    /// Run the test blocks and write their results to this file
    #[arg(long, hide = true)]
    pub report: Option<PathBuf>,
}
