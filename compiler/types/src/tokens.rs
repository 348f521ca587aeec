//! Words: ints that are places in a vocabulary (SEMANTICS.md F7).
//!
//! A token can be looked up (`embed[w]`), compared for equality, moved and passed as an int;
//! arithmetic on it would be arithmetic on the order of a list of words. In compiled code it is
//! an int; that it is inside the table is checked by the gather.

use crate::call::Args;
use crate::error::wanted;
use crate::ops::Operand;
use crate::size::Size;
use crate::value::{Closure, Code, Dim, Repr, Tensor, TensorType, Value};
use crate::{Elaborator, Result};
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::ast::BinaryOp;
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What a word is read as that the vocabulary does not have, if it has this.
const UNKNOWN_WORD: &str = "<unk>";

/// Words and their places; a token is a place.
pub struct Vocab {
    words: Vec<Rc<str>>,
    places: FxHashMap<Rc<str>, i64>,
    /// While a script is checked, its text is not read: then this is the number of words, the
    /// same wherever the vocabulary is used, and the rest is empty.
    unread: Option<Size>,
}

impl Vocab {
    /// A vocabulary of different words, in their order.
    pub fn of(words: Vec<Rc<str>>) -> Vocab {
        let places = words
            .iter()
            .enumerate()
            .map(|(at, word)| (word.clone(), at as i64))
            .collect();
        Vocab {
            words,
            places,
            unread: None,
        }
    }

    /// The vocabulary of a text that is not read.
    fn unread(size: Size) -> Vocab {
        Vocab {
            unread: Some(size),
            ..Vocab::of(Vec::new())
        }
    }

    /// How many words it has.
    pub(crate) fn size(&self) -> Size {
        match &self.unread {
            Some(size) => size.clone(),
            None => Size::constant(self.words.len() as i64),
        }
    }

    /// `extra` first, then the words that occur at least `min_count` times, the most frequent
    /// first, equally frequent ones as they come. If words are left out, `<unk>` stands for them.
    fn count(words: &[Rc<str>], min_count: i64, extra: Vec<Rc<str>>) -> Vocab {
        let mut counts: FxHashMap<Rc<str>, (i64, usize)> = FxHashMap::default();
        for (at, word) in words.iter().enumerate() {
            counts.entry(word.clone()).or_insert((0, at)).0 += 1;
        }
        let mut kept = Vec::new();
        for word in extra {
            if !kept.contains(&word) {
                kept.push(word);
            }
        }
        let rare = counts
            .iter()
            .any(|(word, (count, _))| *count < min_count && !kept.contains(word));
        if rare && !kept.iter().any(|word| **word == *UNKNOWN_WORD) {
            kept.push(UNKNOWN_WORD.into());
        }
        let mut found: Vec<(Rc<str>, (i64, usize))> = counts
            .into_iter()
            .filter(|(word, (count, _))| *count >= min_count && !kept.contains(word))
            .collect();
        found.sort_by_key(|(_, (count, first))| (-count, *first));
        kept.extend(found.into_iter().map(|(word, _)| word));
        Vocab::of(kept)
    }

    /// The words, in the order of their tokens.
    pub fn words(&self) -> &[Rc<str>] {
        &self.words
    }

    pub(crate) fn place(&self, word: &str, span: Span) -> Result<i64> {
        if let Some(&at) = self
            .places
            .get(word)
            .or_else(|| self.places.get(UNKNOWN_WORD))
        {
            return Ok(at);
        }
        let mut diagnostic = Diagnostic::error(
            "E0331",
            span,
            format!("the vocabulary has no word `{word}`"),
        );
        diagnostic = match aec_syntax::suggest::nearest(word, self.words.iter().map(|word| &**word))
        {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic
                .help("with `extra = [\"<unk>\"]` a vocabulary reads unknown words as `<unk>`"),
        };
        Err(Box::new(diagnostic))
    }

    /// The token of a word.
    pub(crate) fn token(&self, word: &str, span: Span) -> Result<Value> {
        if self.unread.is_some() {
            return Ok(Value::Token(Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Unknown,
            }));
        }
        Ok(Value::Token(Tensor {
            ty: TensorType::scalar(Elem::I64),
            repr: Repr::Static(Arc::new(HostTensor::i64(
                &[],
                vec![self.place(word, span)?],
            ))),
        }))
    }

    /// The tokens of a text's words.
    fn encode(&self, text: &Value, span: Span) -> Result<Value> {
        let places: Vec<i64> = strings(text, span)?
            .iter()
            .map(|word| self.place(word, span))
            .collect::<Result<_>>()?;
        Ok(Value::Token(Tensor {
            ty: TensorType {
                elem: Elem::I64,
                shape: vec![Dim::known(places.len())].into(),
            },
            repr: Repr::Concrete(Arc::new(HostTensor::i64(&[places.len()], places))),
        }))
    }

    /// The words of tokens, with blanks between; a hidden one is `?`. Of a matrix, or of a list of
    /// sequences, a list of texts.
    fn decode(&self, tokens: &Value, span: Span) -> Result<Value> {
        if let Value::List(items) = tokens {
            let texts: Result<Vec<Value>> = items.iter().map(|w| self.decode(w, span)).collect();
            return Ok(Value::List(Rc::new(texts?)));
        }
        let Some(tensor) = tokens.tensor().filter(|tensor| tensor.ty.elem.is_int()) else {
            return wanted(span, "tokens", tokens);
        };
        if tensor.ty.rank() > 1 {
            let rows = crate::rows::split_rows(tokens);
            let texts: Result<Vec<Value>> = rows.iter().map(|row| self.decode(row, span)).collect();
            return Ok(Value::List(Rc::new(texts?)));
        }
        let (Repr::Static(places) | Repr::Concrete(places)) = &tensor.repr else {
            return wanted(span, "tokens whose values are known", tokens);
        };
        let flags = match tokens {
            Value::Maybe(maybe) => match &maybe.observed.repr {
                Repr::Static(flags) | Repr::Concrete(flags) => Some(flags.clone()),
                _ => None,
            },
            _ => None,
        };
        let mut text = String::new();
        for at in 0..places.len() {
            if at > 0 {
                text.push(' ');
            }
            if flags.as_ref().is_some_and(|flags| flags.get_f64(at) == 0.0) {
                text.push('?');
                continue;
            }
            let place = places.get_i64(at);
            match usize::try_from(place)
                .ok()
                .and_then(|place| self.words.get(place))
            {
                Some(word) => text.push_str(word),
                None => {
                    let diagnostic = Diagnostic::error(
                        "E0313",
                        span,
                        format!(
                            "token {place} is out of range for a vocabulary of {} words",
                            self.words.len()
                        ),
                    );
                    return Err(Box::new(diagnostic));
                }
            }
        }
        Ok(Value::str(&text))
    }
}

/// What a vocabulary offers: `v.size`, `v.encode(text)` …
pub(crate) const MEMBERS: [&str; 5] = ["size", "words", "encode", "decode", "has"];

/// A member of a vocabulary.
pub(crate) fn member(vocab: &Rc<Vocab>, name: &str, span: Span) -> Option<Value> {
    type Run = fn(&Vocab, &Value, Span) -> Result<Value>;
    let function = |run: Run| {
        let own = vocab.clone();
        let native = move |elaborator: &mut Elaborator, args: &[Value], at: Span| {
            let [text] = args else {
                return crate::error::fail("E0401", at, "one argument is wanted here");
            };
            if elaborator.checking() {
                return Ok(Value::Unknown);
            }
            let text = elaborator.materialize_one(text.clone(), at)?;
            run(&own, &text, at)
        };
        Value::Fn(Rc::new(Closure {
            code: Code::Native(Box::new(native)),
            name: name.into(),
            span,
        }))
    };
    Some(match name {
        "size" => Value::size(vocab.size()),
        "words" if vocab.unread.is_some() => Value::Unknown,
        "words" => Value::List(Rc::new(
            vocab
                .words
                .iter()
                .map(|word| Value::Str(word.clone()))
                .collect(),
        )),
        "encode" => function(Vocab::encode),
        "decode" => function(Vocab::decode),
        "has" => function(|vocab, word, span| match word {
            Value::Str(word) => Ok(Value::bool(vocab.places.contains_key(&**word))),
            other => wanted(span, "a word (a string)", other),
        }),
        _ => return None,
    })
}

/// The words of a text, or of a list of texts.
fn strings(value: &Value, span: Span) -> Result<Vec<Rc<str>>> {
    match value {
        Value::Str(text) => Ok(text.split_whitespace().map(Rc::from).collect()),
        Value::List(items) | Value::Tuple(items) => {
            let mut words = Vec::new();
            for item in items.iter() {
                words.extend(strings(item, span)?);
            }
            Ok(words)
        }
        other => wanted(span, "a text (a string, or a list of them)", other),
    }
}

/// `core.vocab(words, min_count, extra)`.
pub(crate) fn vocab(elaborator: &mut Elaborator, args: &Args, span: Span) -> Result<Value> {
    if elaborator.checking() {
        let size = elaborator.later_size("V");
        return Ok(Value::Vocab(Rc::new(Vocab::unread(size))));
    }
    let [(text, text_at), (least, least_at), (extra, extra_at)] = args.positional.as_slice() else {
        return crate::error::fail("E0401", span, "three arguments are wanted here");
    };
    let Some(least) = least.as_int() else {
        return wanted(*least_at, "an int", least);
    };
    let words = strings(text, *text_at)?;
    let extra = strings(extra, *extra_at)?;
    Ok(Value::Vocab(Rc::new(Vocab::count(&words, least, extra))))
}

fn of_text(
    elaborator: &Elaborator,
    args: &Args,
    parts: impl FnOnce(&str) -> Value,
) -> Result<Value> {
    match &args.positional[0] {
        // What a file holds is not known before it is read.
        _ if elaborator.checking() => Ok(Value::Unknown),
        (Value::Str(text), _) => Ok(parts(text)),
        (other, at) => wanted(*at, "a text (a string)", other),
    }
}

/// `core.words(x)`.
pub(crate) fn words(elaborator: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    of_text(elaborator, args, |text| {
        Value::List(Rc::new(text.split_whitespace().map(Value::str).collect()))
    })
}

/// `core.lines(x)`.
pub(crate) fn lines(elaborator: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    of_text(elaborator, args, |text| {
        Value::List(Rc::new(text.lines().map(Value::str).collect()))
    })
}

/// `core.lower(x)`: small letters, each sign of punctuation a word of its own.
pub(crate) fn lower(elaborator: &mut Elaborator, args: &Args, _: Span) -> Result<Value> {
    of_text(elaborator, args, |text| {
        let mut out = String::new();
        for letter in text.chars() {
            if letter.is_alphanumeric() || letter.is_whitespace() || letter == '\'' {
                out.extend(letter.to_lowercase());
            } else {
                out.extend([' ', letter, ' ']);
            }
        }
        let words: Vec<&str> = out.split_whitespace().collect();
        Value::str(&words.join(" "))
    })
}

/// The value as a number's tensor: words become ints.
pub(crate) fn as_ints(value: &Value) -> Value {
    match value {
        Value::Token(tensor) => Value::Tensor(tensor.clone()),
        other => other.clone(),
    }
}

/// Words where numbers are wanted.
pub(crate) fn refuse(span: Span, what: &str, got: &Value) -> Diagnostic {
    Diagnostic::error(
        "E0330",
        span,
        format!("{what} is wanted here, but this is {}", got.describe()),
    )
    .note("a token is a place in a vocabulary: a name, not a quantity")
    .help(
        "look up its vector, `embed[w]`, and compute with that; what noise is for numbers, `mask(w, keep = 0.85)` \
         is for words; `int(w)` is the place in the vocabulary",
    )
}

impl Elaborator {
    /// `a op b` with words on a side: equality, and nothing else.
    pub(crate) fn binary_tokens(
        &mut self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        span: Span,
    ) -> Result<Value> {
        if matches!(a.0, Value::Unknown) || matches!(b.0, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        if matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            let (x, y) = (as_ints(a.0), as_ints(b.0));
            return self.binary(op, (&x, a.1), (&y, b.1), span);
        }
        if op == BinaryOp::Fill {
            return Ok(a.0.clone());
        }
        let text = self.text(span);
        let noisy = matches!(op, BinaryOp::Add | BinaryOp::Sub)
            && [a.0, b.0]
                .iter()
                .any(|side| matches!(side, Value::Tensor(Tensor { ty, .. }) if ty.elem.is_float()));
        let mut diagnostic = Diagnostic::error(
            "E0330",
            span,
            format!("`{}` has no meaning for words in `{text}`", op.symbol()),
        )
        .label(a.1, a.0.describe())
        .label(b.1, b.0.describe())
        .note("a token is a place in a vocabulary: a name, not a quantity, and its neighbours there are unrelated words");
        diagnostic = if noisy {
            diagnostic.help(
                "noise for words replaces or hides them: `mask(w, keep = 0.85)`; or add it to their vectors, `embed[w] + …`",
            )
        } else {
            diagnostic.help(
                "look up their vectors, `embed[w]`, and compute with those; `int(w)` is the place in the vocabulary",
            )
        };
        Err(Box::new(diagnostic))
    }
}
