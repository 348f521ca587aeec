//! Running scripts: parse, check everything, then item by item. And the REPL's turn, and a
//! script's `test` blocks.

use crate::describe;
use crate::exec::INTERRUPTED;
use crate::format;
use crate::names::needed_by_tests;
use crate::session::{Session, Stop};
use aec_runtime::Elem;
use aec_syntax::ast::{ItemKind, Script, StmtKind};
use aec_syntax::{Diagnostic, ReplInput, Severity, parse_repl, parse_script};
use aec_types::Value;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Well.
    Well,
    /// The user's program failed; the diagnostics say why.
    Failed,
    /// Ctrl-C.
    Interrupted,
    /// Nobody read standard output any more.
    ClosedPipe,
}

impl Ended {
    /// The exit code: 0, 1, 130 or (as a shell shows the end by SIGPIPE) 141.
    pub fn exit_code(self) -> u8 {
        match self {
            Ended::Well => 0,
            Ended::Failed => 1,
            Ended::Interrupted => 130,
            Ended::ClosedPipe => 141,
        }
    }
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// Errors and warnings in order.
    pub diagnostics: Vec<Diagnostic>,
}

impl Session {
    /// Parses a script and checks all of it; nothing is run and no file opened.
    pub fn check(&mut self, name: &str, text: &str) -> (Script, Vec<Diagnostic>) {
        let file = self.sources().borrow_mut().add(name, text);
        let (script, mut diagnostics) = self
            .world
            .compiler
            .timed("parse", || parse_script(file, text));
        if diagnostics
            .iter()
            .all(|diagnostic| diagnostic.severity != Severity::Error)
        {
            if let Some(ItemKind::Precision(elem)) = script.items.first().map(|item| &item.kind)
                && let Some(elem) = [Elem::F32, Elem::F64]
                    .into_iter()
                    .find(|known| known.name() == elem.name.as_ref())
            {
                self.set_float(elem);
            }
            let elaborator = &mut self.elaborator;
            diagnostics.extend(
                self.world
                    .compiler
                    .timed("check", || elaborator.check_script(&script)),
            );
        }
        (script, diagnostics)
    }

    /// Runs a script from the start: all errors that checking finds are reported before anything
    /// happens.
    pub fn run(&mut self, name: &str, text: &str) -> Outcome {
        let (script, mut diagnostics) = self.check(name, text);
        if self.world.stopped() == Some(Stop::Interrupted) {
            diagnostics.retain(|diagnostic| diagnostic.code != INTERRUPTED);
            return Outcome {
                ended: Ended::Interrupted,
                diagnostics,
            };
        }
        if has_errors(&diagnostics) {
            return Outcome {
                ended: Ended::Failed,
                diagnostics,
            };
        }
        let result = self.elaborator.declare(&script);
        let result = result.and_then(|()| {
            for item in &script.items {
                if let Some(clock) = &self.world.options.bench {
                    clock.begin_statement();
                }
                self.elaborator.run_item(item)?;
            }
            Ok(())
        });
        let ended = self.ended(result.err(), &mut diagnostics);
        Outcome { ended, diagnostics }
    }

    /// Says how a run ended, by its error and by what stopped it.
    fn ended(
        &mut self,
        error: Option<Box<Diagnostic>>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Ended {
        diagnostics.extend(self.elaborator.take_warnings());
        match (self.world.stopped(), error) {
            (Some(Stop::ClosedPipe), _) => Ended::ClosedPipe,
            (Some(Stop::Interrupted), error) => {
                diagnostics.extend(
                    error
                        .map(|error| *error)
                        .filter(|error| error.code != "E0891"),
                );
                Ended::Interrupted
            }
            (None, Some(error)) => {
                diagnostics.push(*error);
                Ended::Failed
            }
            (None, None) => Ended::Well,
        }
    }

    /// Runs the `test` blocks of a script with the definitions and `let`s that they need. The
    /// second part has each block's name and why it failed.
    pub fn run_tests(
        &mut self,
        name: &str,
        text: &str,
    ) -> (Outcome, Vec<(String, Option<Diagnostic>)>) {
        let (script, mut diagnostics) = self.check(name, text);
        if has_errors(&diagnostics) {
            return (
                Outcome {
                    ended: Ended::Failed,
                    diagnostics,
                },
                Vec::new(),
            );
        }
        let needed = needed_by_tests(&script);
        let result = self.elaborator.declare(&script);
        let result = result.and_then(|()| {
            for (item, _) in script
                .items
                .iter()
                .zip(needed)
                .filter(|(_, needed)| *needed)
            {
                self.elaborator.run_item(item)?;
            }
            Ok(())
        });
        let ended = self.ended(result.err(), &mut diagnostics);
        let mut results = Vec::new();
        if ended == Ended::Well {
            for item in &script.items {
                if let ItemKind::Test { name, body } = &item.kind {
                    let failure = self.elaborator.run_test(body).err().map(|failure| *failure);
                    results.push((name.to_string(), failure));
                    if self.world.stopped().is_some() {
                        break;
                    }
                }
            }
        }
        let ended = match self.world.stopped() {
            Some(Stop::Interrupted) => Ended::Interrupted,
            Some(Stop::ClosedPipe) => Ended::ClosedPipe,
            None if ended == Ended::Well
                && results.iter().any(|(_, failure)| failure.is_some()) =>
            {
                Ended::Failed
            }
            None => ended,
        };
        (Outcome { ended, diagnostics }, results)
    }

    /// One turn of the REPL: input that goes on is read as it stands, for its message. Errors
    /// leave the session usable.
    pub fn turn(&mut self, name: &str, text: &str) -> Outcome {
        self.items(name, text, true).0
    }

    /// Runs input as [`Session::turn`] does, and gives the value of its last expression instead
    /// of showing it.
    pub fn evaluate(&mut self, name: &str, text: &str) -> (Outcome, Option<Value>) {
        self.items(name, text, false)
    }

    fn items(&mut self, name: &str, text: &str, show: bool) -> (Outcome, Option<Value>) {
        let mut last = None;
        let file = self.sources().borrow_mut().add(name, text);
        let (script, mut diagnostics) = match parse_repl(file, text) {
            ReplInput::Incomplete => parse_script(file, text),
            ReplInput::Complete(script, diagnostics) => (script, diagnostics),
        };
        if has_errors(&diagnostics) {
            let ended = Ended::Failed;
            return (Outcome { ended, diagnostics }, None);
        }
        self.world.forget_stop();
        self.elaborator.set_interactive(true);
        let result = self.elaborator.declare(&script);
        let result = result.and_then(|()| {
            for item in &script.items {
                if let ItemKind::Test { name, body } = &item.kind {
                    self.elaborator.run_test(body)?;
                    self.world.write(&format!("test {name:?} passed\n"), item.span)?;
                    continue;
                }
                let value = self.elaborator.run_item(item)?;
                let shown = matches!(&item.kind, ItemKind::Stmt(stmt) if matches!(stmt.kind, StmtKind::Expr(_)));
                if shown && show && !matches!(value, Value::Unit) {
                    let shown = match &value {
                        Value::Fn(_) | Value::Template(_) => describe::type_of(self, &value),
                        _ => format::inspect(&value),
                    };
                    self.world.write(&format!("{shown}\n"), item.span)?;
                }
                last = shown.then_some(value);
            }
            Ok(())
        });
        let ended = self.ended(result.err(), &mut diagnostics);
        (Outcome { ended, diagnostics }, last)
    }
}

/// Whether there is an error among them, not only warnings.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}
