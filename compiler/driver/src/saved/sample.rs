//! New examples of a saved model.

use super::{Saved, fault, parameters, parts, run};
use crate::format;
use crate::session::Session;
use aec_runtime::Tensor;
use aec_syntax::Diagnostic;
use aec_types::Value;

/// `count` examples, `[count, columns]`. A model with a member `sample` makes each of noise from
/// the standard normal distribution; any other decodes codes from its member `prior`, or if it has
/// none from the standard normal distribution. `given` is the class for a prior that wants one.
pub fn sample(
    session: &mut Session,
    saved: &Saved,
    count: usize,
    given: Option<i64>,
) -> std::result::Result<Tensor, Vec<Diagnostic>> {
    let name = saved.name();
    let own = session.elaborator.member(&saved.model, "sample").is_some();
    let maker = if own { "sample" } else { "decoder" };
    let Some((dims, _)) = session.elaborator.takes(&saved.model, maker) else {
        return Err(vec![fault(
            "E0202",
            format!(
                "the model {name} in {} has no `decoder` of a code of known size",
                saved.path
            ),
        )]);
    };
    let classes = |member| parameters(&saved.model, member);
    let prior = (!own).then(|| classes("prior")).flatten();
    let wants_class = prior == Some(1) || classes(maker) == Some(2);
    let class = match (wants_class, given) {
        (true, Some(class)) => class.to_string(),
        (false, None) => String::new(),
        (true, None) => {
            return Err(vec![
                fault("E0803", format!("{name} makes examples of a given class"))
                    .help("name one, as in `--given 3`"),
            ]);
        }
        (false, Some(_)) => {
            return Err(vec![fault(
                "E0803",
                format!("{name} makes examples without a class, so `--given` says nothing to it"),
            )]);
        }
    };
    let sizes: Vec<String> = dims.iter().map(|size| format!(", {size}")).collect();
    let sizes = sizes.concat();
    let mut text = format!("let e: [{count}{sizes}] ~ normal(0, 1)\n");
    let of_class = if prior == Some(1) { class.as_str() } else { "" };
    let p = match prior {
        Some(_) => Some(run(session, &format!("model.prior({of_class})"))?),
        None => None,
    };
    // A mean and a spread, or a distribution.
    text.push_str(&match &p {
        None => "let z = e\n".to_string(),
        Some(Value::Distribution(_)) => {
            format!("let z = map(fn i -> {{ let z ~ model.prior({of_class}); z }}, 0..{count})\n")
        }
        Some(Value::Record(fields)) if fields.len() == 2 => format!(
            "let p = model.prior({of_class})\nlet z = map(fn e -> p.{} + p.{} * e, e)\n",
            fields[0].0, fields[1].0
        ),
        Some(Value::Tuple(parts)) if parts.len() == 2 => {
            format!("let p = model.prior({of_class})\nlet z = map(fn e -> p.0 + p.1 * e, e)\n")
        }
        Some(other) => {
            return Err(vec![
                fault(
                    "E0202",
                    format!("`prior` of {name} gives {}", format::inspect(other)),
                )
                .help("it gives a distribution, or a mean and a standard deviation"),
            ]);
        }
    });
    text.push_str(&match (classes(maker), wants_class) {
        (Some(2), true) => format!("model.{maker}(z, {class})"),
        _ => format!("model.{maker}(z)"),
    });
    let parts = parts(&run(session, &text)?);
    let Some(first) = parts.first() else {
        return Err(vec![fault("E0202", format!("the {maker} gives no tensor"))]);
    };
    let dims = [count, first.len() / count.max(1)];
    Ok(Tensor::new(dims.to_vec(), first.data().clone()))
}
