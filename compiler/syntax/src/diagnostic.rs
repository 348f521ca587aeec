//! Diagnostics as data. Every stage makes them; only `render` turns them into text.

use crate::span::Span;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Severity {
    /// The program cannot mean anything; exit code 1.
    Error,
    /// Suspicious, but it runs.
    Warning,
}

/// A marked place. The first primary label is where the diagnostic points.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is to be said there; may be empty.
    pub text: String,
    /// The place of the error itself, not of what explains it.
    pub primary: bool,
}

/// A way out, with the edit that performs it where there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Help {
    /// The sentence.
    pub text: String,
    /// Replace the span by the text.
    pub edit: Option<(Span, String)>,
}

/// One message to the user: code, sentence, places, help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// `E0301`: stable, explained by `aec explain`.
    pub code: &'static str,
    /// One sentence in plain words, no full stop.
    pub message: String,
    /// Places, the primary one first.
    pub labels: Vec<Label>,
    /// Further facts.
    pub notes: Vec<String>,
    /// Ways out.
    pub help: Vec<Help>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: vec![Label {
                span,
                text: String::new(),
                primary: true,
            }],
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A warning at `span`.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(code, span, message)
        }
    }

    /// Says something at the primary place.
    pub fn here(mut self, text: impl Into<String>) -> Diagnostic {
        self.labels[0].text = text.into();
        self
    }

    /// Marks a further place; dropped when there is no source text for it.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        if !span.is_none() {
            self.labels.push(Label {
                span,
                text: text.into(),
                primary: false,
            });
        }
        self
    }

    /// Adds a fact.
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// Adds a way out.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(Help {
            text: text.into(),
            edit: None,
        });
        self
    }

    /// Adds a way out that can be applied mechanically.
    pub fn help_edit(
        mut self,
        text: impl Into<String>,
        span: Span,
        replacement: impl Into<String>,
    ) -> Diagnostic {
        self.help.push(Help {
            text: text.into(),
            edit: Some((span, replacement.into())),
        });
        self
    }

    /// The place the diagnostic points at.
    pub fn span(&self) -> Span {
        self.labels.first().map_or(Span::NONE, |label| label.span)
    }
}
