//! A script's function `fit`, called on tables to train a model that is saved.

use super::fault;
use super::rows::Rows;
use crate::effects::weights;
use crate::format;
use crate::session::Session;
use aec_syntax::{Diagnostic, Span};
use aec_types::Value;
use aec_types::value::Origin;

/// Trains by a script: runs it, calls its function `fit` on the data, and saves the model that
/// this gives.
pub fn train(
    session: &mut Session,
    (name, text): (&str, &str),
    data: &[String],
    to: &str,
) -> crate::Outcome {
    let mut outcome = session.run(name, text);
    if outcome.ended != crate::Ended::Well {
        return outcome;
    }
    let result = fit(session, name, data, to);
    if let Err(mut found) = result {
        outcome.ended = match session.world.stopped() {
            Some(crate::session::Stop::Interrupted) => crate::Ended::Interrupted,
            _ => crate::Ended::Failed,
        };
        found.retain(|error| error.code != "E0891");
        outcome.diagnostics.append(&mut found);
    } else if session.world.stopped().is_some() {
        outcome.ended = crate::Ended::Interrupted;
    }
    outcome
}

fn fit(
    session: &mut Session,
    script: &str,
    data: &[String],
    to: &str,
) -> std::result::Result<(), Vec<Diagnostic>> {
    let Some(fit @ Value::Fn(_)) = session.elaborator.lookup("fit") else {
        return Err(vec![
            fault(
                "E0201",
                format!("{script} has no function `fit` that trains on given data"),
            )
            .help("write, say, `fn fit(x) = train Auto(len(x[0]), 32) on x { epochs = 20 }`"),
        ]);
    };
    let mut values = Vec::new();
    for path in data {
        let mut rows =
            Rows::open(path, session.elaborator.float()).map_err(|error| vec![*error])?;
        let table = rows.next(usize::MAX).map_err(|error| vec![*error])?;
        let Some(table) = table else {
            return Err(vec![fault("E0803", format!("{path} has no rows"))]);
        };
        let origin = Origin {
            span: Span::NONE,
            text: format!("read from {path}").into(),
        };
        let value = Value::concrete_from(table.values, origin.clone());
        values.push(match table.observed {
            Some(seen) => Value::missing(value, Value::concrete_from(seen, origin)),
            None => value,
        });
    }
    let names: Vec<String> = (0..values.len()).map(|at| format!("given{at}")).collect();
    for (name, value) in names.iter().zip(values) {
        session.elaborator.define(name, value);
    }
    session.elaborator.define("fit", fit);
    let model = run_kept(session, &format!("fit({})", names.join(", ")))?;
    weights::save(&mut session.elaborator, &model, to, None, Span::NONE)
        .map_err(|error| vec![*error])?;
    Ok(())
}

/// [`run`], but what an interrupted training gives counts.
fn run_kept(session: &mut Session, text: &str) -> std::result::Result<Value, Vec<Diagnostic>> {
    let (outcome, value) = session.evaluate("aec", text);
    match value {
        Some(value @ Value::Model(_)) => Ok(value),
        Some(other) => Err(vec![fault(
            "E0310",
            format!("`fit` gives {}, not a model", format::inspect(&other)),
        )]),
        None => Err(outcome.diagnostics),
    }
}
