//! Texts of a saved language model.

use super::{Saved, fault, parameters, parts, run};
use crate::session::Session;
use aec_syntax::Diagnostic;
use aec_types::tokens::Vocab;

/// How a text is made.
pub struct Generate {
    /// What it begins with.
    pub prompt: String,
    /// Most words after that.
    pub words: usize,
    /// Divides the logits.
    pub temperature: f64,
    /// Only so many best words; 0 for all.
    pub top_k: usize,
    /// Only the words that make up this share of the probability.
    pub nucleus: f64,
}

/// A text of a language model: one that was saved with its vocabulary and has a member
/// `step(state, word) -> (state, logits)`. It starts from `start()`, or from a state of zeros.
pub fn generate(
    session: &mut Session,
    saved: &Saved,
    how: &Generate,
) -> std::result::Result<String, Vec<Diagnostic>> {
    let name = saved.name();
    let Some(words) = saved.weights.metadata.get("aec.words") else {
        return Err(vec![
            fault(
                "E0813",
                format!("{} does not say what the words of {name} are", saved.path),
            )
            .help(
                "`save(m, \"m.safetensors\", words = v)` keeps the vocabulary `v` with the model",
            ),
        ]);
    };
    if parameters(&saved.model, "step") != Some(2) {
        return Err(vec![
            fault(
                "E0202",
                format!("the model {name} in {} does not say how a text goes on", saved.path),
            )
            .help("it needs a member `step(h: [H], w: token) -> ([H], [V])`: the next state, and the logits of the next word"),
        ]);
    }
    let vocab = Vocab::of(words.lines().map(Into::into).collect());
    let place = |word: &str| vocab.words().iter().position(|known| **known == *word);
    let start = match (
        parameters(&saved.model, "start"),
        session.elaborator.takes(&saved.model, "step"),
    ) {
        (Some(0), _) => "model.start()".to_string(),
        (_, Some((dims, _))) => {
            let sizes: Vec<String> = dims.iter().map(usize::to_string).collect();
            format!("zeros[{}]", sizes.join(", "))
        }
        _ => {
            return Err(vec![
                fault(
                    "E0202",
                    format!("nothing says where a text of {name} starts"),
                )
                .help("a member `start()` gives the state before the first word"),
            ]);
        }
    };
    let mut prompt: Vec<usize> = Vec::new();
    for word in how.prompt.split_whitespace() {
        match place(word).or_else(|| place("<unk>")) {
            Some(at) => prompt.push(at),
            None => {
                let near = aec_syntax::suggest::nearest(word, vocab.words().iter().map(|w| &**w));
                let error = fault("E0331", format!("{name} does not know the word `{word}`"));
                return Err(vec![match near {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error,
                }]);
            }
        }
    }
    // A text begins with its start mark, if the vocabulary has one, or with any word.
    let first = match (prompt.split_first(), place("<s>")) {
        (Some(_), Some(mark)) => mark,
        (Some((&first, _)), None) => first,
        (None, Some(mark)) => mark,
        (None, None) => {
            return Err(vec![
                fault("E0803", format!("{name} has no word that begins a text"))
                    .help("say how it begins, with `--prompt`"),
            ]);
        }
    };
    let spoken = if place("<s>").is_some() {
        &prompt[..]
    } else {
        &prompt[1..]
    };
    let end = place("</s>").map_or(-1, |at| at as i64);
    let mut text = format!("use beam\nlet s = {start}\nlet w = {first}\n");
    for (at, word) in spoken.iter().enumerate() {
        let last = if at == 0 {
            "w".to_string()
        } else {
            format!("w{}", at - 1)
        };
        let state = if at == 0 {
            "s".to_string()
        } else {
            format!("s{}", at - 1)
        };
        text.push_str(&format!(
            "let s{at} = model.step({state}, {last}).0\nlet w{at} = {word}\n"
        ));
    }
    let (state, last) = match spoken.len() {
        0 => ("s".to_string(), "w".to_string()),
        n => (format!("s{}", n - 1), format!("w{}", n - 1)),
    };
    text.push_str(&format!(
        "beam.sample(model.step, {state}, {last}, {end}, {}, temperature = {:?}, k = {}, nucleus = {:?}).tokens",
        how.words, how.temperature, how.top_k, how.nucleus
    ));
    let made = run(session, &text)?;
    let Some(made) = parts(&made).into_iter().next() else {
        return Err(vec![fault(
            "E0202",
            format!("`step` of {name} gives no logits"),
        )]);
    };
    let mut said: Vec<&str> = prompt.iter().map(|&at| &*vocab.words()[at]).collect();
    for at in 0..made.len() {
        let word = made.get_i64(at);
        if word == end {
            break;
        }
        said.push(
            usize::try_from(word)
                .ok()
                .and_then(|at| vocab.words().get(at))
                .map_or("?", |w| w),
        );
    }
    Ok(said.join(" "))
}
