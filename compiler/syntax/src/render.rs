//! Diagnostics as text and as JSON. The drawing is annotate-snippets'; this file owns the
//! order of the parts, and makes any span safe to draw: cut to the text, on character
//! boundaries, with unprintable bytes shown as such.

use crate::diagnostic::{Diagnostic, Label, Severity};
use crate::span::{FileId, SourceFile, SourceMap, Span};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt::Write;
use std::ops::Range;

/// How to draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// ANSI colours.
    pub color: bool,
    /// Columns of the terminal; longer source lines are cut.
    pub width: usize,
}

impl Style {
    /// No colours, 100 columns: for files and tests.
    pub const PLAIN: Style = Style {
        color: false,
        width: 100,
    };
}

/// The message as it is printed, with a newline at its end.
pub fn render(sources: &SourceMap, diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(
        level
            .primary_title(&*diagnostic.message)
            .id(diagnostic.code),
    );
    for (id, labels) in by_file(sources, diagnostic) {
        let Some(file) = sources.get(id) else {
            continue;
        };
        let Some(lines) = Lines::around(file, &labels) else {
            continue;
        };
        let snippet = Snippet::source(lines.text.clone())
            .line_start(lines.first_line)
            .path(&*file.name);
        group = group.element(snippet.annotations(labels.iter().map(|label| {
            let kind = if label.primary {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let annotation = kind.span(lines.range(label.span));
            if label.text.is_empty() {
                annotation
            } else {
                annotation.label(&*label.text)
            }
        })));
    }
    for label in diagnostic
        .labels
        .iter()
        .filter(|l| !l.primary && sources.get(l.span.file).is_none())
    {
        if !label.text.is_empty() {
            group = group.element(Level::NOTE.message(&*label.text));
        }
    }
    // A message about no script, such as a file that a command is given, stands without a place.
    if sources.get(diagnostic.span().file).is_none()
        && let Some(label) = diagnostic.labels.first().filter(|l| !l.text.is_empty())
    {
        group = group.element(Level::NOTE.message(&*label.text));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(&*help.text));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note));
    }
    let renderer = if style.color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let width = style.width.max(40);
    let mut text = renderer.term_width(width).render(&[group]);
    text.push('\n');
    text
}

/// The labels of each file, the primary one's first.
fn by_file<'d>(sources: &SourceMap, diagnostic: &'d Diagnostic) -> Vec<(FileId, Vec<&'d Label>)> {
    let mut files: Vec<(FileId, Vec<&Label>)> = Vec::new();
    for label in &diagnostic.labels {
        let id = label.span.file;
        if sources.get(id).is_none() {
            continue;
        }
        match files.iter_mut().find(|(file, _)| *file == id) {
            Some((_, labels)) => labels.push(label),
            None => files.push((id, vec![label])),
        }
    }
    files
}

/// The lines of a file that its labels touch, and what lies between.
struct Lines {
    text: String,
    /// Byte offset of the text in its file.
    start: usize,
    first_line: usize,
    /// The file's text length, for spans out of range.
    limit: usize,
}

/// Beyond this distance the lines between two labels are not copied for the renderer.
const MAX_BYTES: usize = 1 << 20;

impl Lines {
    fn around(file: &SourceFile, labels: &[&Label]) -> Option<Lines> {
        let limit = file.text.len();
        let first = labels
            .iter()
            .map(|l| (l.span.start as usize).min(limit))
            .min()?;
        let last = labels
            .iter()
            .map(|l| (l.span.end.max(l.span.start) as usize).min(limit))
            .max()?;
        let bytes = file.text.as_bytes();
        let start = bytes[..first]
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |n| n + 1);
        let end = bytes[last..]
            .iter()
            .position(|&b| b == b'\n')
            .map_or(limit, |n| last + n);
        let end = floor(&file.text, end.min(start + MAX_BYTES));
        let (first_line, _) = file.line_column(start as u32);
        // One byte for one byte, so that spans stay right; annotate-snippets draws the rest.
        let text = file.text[start..end].replace(['\r', '\u{c}'], " ");
        Some(Lines {
            text,
            start,
            first_line,
            limit: end,
        })
    }

    fn range(&self, span: Span) -> Range<usize> {
        let at = |offset: u32| {
            floor(
                &self.text,
                (offset as usize).clamp(self.start, self.limit) - self.start,
            )
        };
        let (start, end) = (at(span.start), at(span.end));
        start..end.max(start)
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One JSON object on one line: `severity`, `code`, `message`, `file`, `line`, `column`,
/// `labels` (`file`, `line`, `column`, `start`, `end`, `text`, `primary`), `help` (`text`, and
/// `edit` with `file`, `start`, `end`, `replacement`, or null), `notes`. Offsets are bytes,
/// lines and columns begin at 1 and count characters; `file` is null for what has no source.
pub fn render_json(sources: &SourceMap, diagnostic: &Diagnostic) -> String {
    let mut out = String::from("{");
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let _ = write!(out, "\"severity\":\"{severity}\",\"code\":");
    quote(&mut out, diagnostic.code);
    out.push_str(",\"message\":");
    quote(&mut out, &diagnostic.message);
    out.push(',');
    place(&mut out, sources, diagnostic.span());
    list(&mut out, "labels", &diagnostic.labels, |out, label| {
        out.push('{');
        place(out, sources, label.span);
        let _ = write!(
            out,
            ",\"start\":{},\"end\":{},\"text\":",
            label.span.start, label.span.end
        );
        quote(out, &label.text);
        let _ = write!(out, ",\"primary\":{}}}", label.primary);
    });
    list(&mut out, "help", &diagnostic.help, |out, help| {
        out.push_str("{\"text\":");
        quote(out, &help.text);
        out.push_str(",\"edit\":");
        match &help.edit {
            Some((span, replacement)) => {
                out.push('{');
                place(out, sources, *span);
                let _ = write!(
                    out,
                    ",\"start\":{},\"end\":{},\"replacement\":",
                    span.start, span.end
                );
                quote(out, replacement);
                out.push_str("}}");
            }
            None => out.push_str("null}"),
        }
    });
    list(&mut out, "notes", &diagnostic.notes, |out, note| {
        quote(out, note)
    });
    out.push('}');
    out
}

fn list<T>(out: &mut String, key: &str, items: &[T], mut each: impl FnMut(&mut String, &T)) {
    let _ = write!(out, ",\"{key}\":[");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

fn name(out: &mut String, sources: &SourceMap, span: Span) {
    match sources.get(span.file) {
        Some(file) => quote(out, &file.name),
        None => out.push_str("null"),
    }
}

fn place(out: &mut String, sources: &SourceMap, span: Span) {
    out.push_str("\"file\":");
    name(out, sources, span);
    match sources.get(span.file) {
        Some(file) => {
            let at = |offset: u32| file.line_column(floor(&file.text, offset as usize) as u32);
            let (line, column) = at(span.start);
            let (end_line, end_column) = at(span.end.max(span.start));
            let _ = write!(
                out,
                ",\"line\":{line},\"column\":{column},\"end_line\":{end_line},\"end_column\":{end_column}"
            );
        }
        None => {
            out.push_str(",\"line\":null,\"column\":null,\"end_line\":null,\"end_column\":null")
        }
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
