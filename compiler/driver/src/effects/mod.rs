//! What a script does to the world: the table of effects, and how their arguments are read.

pub mod eval;
mod export;
mod figures;
mod files;
mod pictures;
pub(crate) mod remake;
mod rows;
pub(crate) mod weights;

use crate::progress::say;
use crate::session::{Result, World};
use aec_syntax::{Diagnostic, Span};
use aec_types::{EffectArgs, Elaborator, Value};

/// Carries out the effect of a name.
pub fn perform(
    world: &World,
    elaborator: &mut Elaborator,
    name: &str,
    args: &EffectArgs,
    span: Span,
) -> Result<Value> {
    if world.options.dry && matches!(name, "core.plot_grid" | "save" | "export") {
        return Ok(Value::Unit);
    }
    let float = elaborator.float();
    let done = match name {
        "core.read_csv" => files::csv(world, float, text(args, 0, "path", span)?, span),
        "core.read_table" => files::table(world, float, text(args, 0, "path", span)?, span),
        "core.read_idx" => files::idx(world, float, text(args, 0, "path", span)?, span),
        "core.read_labels" => files::labels(world, text(args, 0, "path", span)?, span),
        "core.read_npy" => files::npy(world, float, text(args, 0, "path", span)?, span),
        "core.read_npz" => files::npz(world, float, text(args, 0, "path", span)?, span),
        "core.read_tensors" => files::tensors(world, float, text(args, 0, "path", span)?, span),
        "core.read_image" => files::image(world, float, text(args, 0, "path", span)?, span),
        "core.read_images" => files::images(world, float, text(args, 0, "path", span)?, span),
        "core.read_classes" => files::classes(world, float, text(args, 0, "path", span)?, span),
        "core.read_stored" => files::stored(world, float, text(args, 0, "path", span)?, span),
        "core.load_rows" => files::load_rows(world, value(args, 0, "x", span)?, span),
        "core.read_text" => files::whole_text(
            world,
            text(args, 0, "path", span)?,
            text(args, 1, "encoding", span)?,
            span,
        ),
        "core.digits" => files::digits(float, span),
        "core.file_size" => files::size(world, text(args, 0, "path", span)?, span),
        "core.plot_grid" => pictures::grid(
            value(args, 0, "rows", span)?,
            text(args, 1, "path", span)?,
            value(args, 2, "width", span)?,
            span,
        ),
        "core.plot" => figures::figure(
            world,
            value(args, 0, "figure", span)?,
            text(args, 1, "path", span)?,
            span,
        ),
        "core.shuffle" => rows::shuffled(value(args, 0, "xs", span)?, args.get(1, "seed"), span),
        "core.batches" => rows::batches(
            value(args, 0, "xs", span)?,
            value(args, 1, "b", span)?,
            span,
        ),
        "core.filter" => rows::filtered(
            value(args, 0, "xs", span)?,
            value(args, 1, "keep", span)?,
            span,
        ),
        "core.unique" => rows::unique(value(args, 0, "x", span)?, span),
        "save" => weights::save(
            elaborator,
            value(args, 0, "m", span)?,
            text(args, 1, "path", span)?,
            args.get(2, "words"),
            span,
        ),
        "export" => export::export(
            value(args, 0, "x", span)?,
            text(args, 1, "path", span)?,
            span,
        ),
        "load" => weights::load(
            world,
            value(args, 0, "m", span)?,
            text(args, 1, "path", span)?,
            span,
        ),
        "eval" => eval::eval(world, elaborator, args, span),
        "debug" => {
            let shown = value(args, 0, "x", span)?;
            let text = match shown {
                Value::Str(text) => text.to_string(),
                other => crate::format::display(other),
            };
            say(&format!("{}: {text}", world.locate(span)));
            Ok(shown.clone())
        }
        other => Err(Diagnostic::error(
            "E0999",
            span,
            format!("this is a bug in aec: no effect is called {other}"),
        )
        .into()),
    };
    match (done, name.strip_prefix("core.read_")) {
        (Err(error), Some(reader)) => Err(files::of_another_kind(
            world,
            reader,
            text(args, 0, "path", span)?,
            error,
        )),
        (done, _) => done,
    }
}

/// An argument that must be there.
fn value<'a>(args: &'a EffectArgs, index: usize, name: &str, span: Span) -> Result<&'a Value> {
    args.get(index, name)
        .ok_or_else(|| wrong(span, format!("the argument `{name}` is missing")))
}

/// An argument that must be a string.
fn text<'a>(args: &'a EffectArgs, index: usize, name: &str, span: Span) -> Result<&'a str> {
    match value(args, index, name, span)? {
        Value::Str(text) => Ok(text),
        other => Err(wrong(
            span,
            format!("`{name}` wants a string, not {}", other.describe()),
        )),
    }
}

fn wrong(span: Span, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("E0814", span, message))
}

/// A file that cannot be read, as a message at the script's line.
pub(crate) fn cannot_read(
    name: &str,
    error: &aec_runtime::read::ReadError,
    span: Span,
) -> Box<Diagnostic> {
    // A file in a folder that the script names.
    let inside = error.path.display().to_string();
    let name = match error.path.ends_with(name) || name.is_empty() {
        true => name,
        false => &inside,
    };
    let place = match error.line {
        Some(line) => format!("{name}, line {line}"),
        None => name.to_string(),
    };
    let mut diagnostic = Diagnostic::error(
        "E0811",
        span,
        format!("cannot read {place}: {}", error.message),
    );
    if let Some(help) = &error.help {
        diagnostic = diagnostic.help(help);
    }
    Box::new(diagnostic)
}

/// A file that cannot be written, likewise.
pub(crate) fn cannot_write(
    name: &str,
    error: &aec_runtime::write::WriteError,
    span: Span,
) -> Box<Diagnostic> {
    let mut diagnostic = Diagnostic::error(
        "E0812",
        span,
        format!("cannot write {name}: {}", error.message),
    );
    if let Some(help) = &error.help {
        diagnostic = diagnostic.help(help);
    }
    Box::new(diagnostic)
}
