//! Directions of `jvp` and `hessian_vector`, cotangents of `vjp`.
//!
//! A direction is built like the place, a cotangent like the function's value: parts of tuples and
//! lists by their places, fields of records and params of models by their names. Each tensor of
//! reals has one of its own shape and elements there; where there is none, nothing is asked for.

use crate::error::{fail, show_type, wanted, with_origin};
use crate::leaves::leaves;
use crate::value::{Average, Repr, Tensor, TensorType, Value, may_agree};
use crate::{Elaborator, Result};
use aec_runtime::Elem;
use aec_syntax::ast::Name;
use aec_syntax::{Diagnostic, Span};

/// What a value is given as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A direction in the place of a derivative.
    Direction,
    /// Weights of the results of a function.
    Cotangent,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Direction => "direction",
            Role::Cotangent => "cotangent",
        }
    }

    /// What it is built like.
    fn like(self) -> &'static str {
        match self {
            Role::Direction => "place",
            Role::Cotangent => "function's value",
        }
    }
}

/// The part of a value that is looked at, for messages.
struct Part<'a> {
    role: Role,
    /// Dotted, empty for the whole.
    path: &'a str,
    span: Span,
}

impl Part<'_> {
    fn path_of(&self, name: &str) -> String {
        match self.path {
            "" => name.to_string(),
            path => format!("{path}.{name}"),
        }
    }

    /// `the direction is [3], but the place is [2]`
    fn message(&self, given: &str, want: &str) -> String {
        let (role, like) = (self.role.name(), self.role.like());
        match self.path {
            "" => format!("the {role} is {given}, but the {like} is {want}"),
            path => format!("`{path}` of the {role} is {given}, but that of the {like} is {want}"),
        }
    }

    fn mismatch<T>(&self, given: &Value, want: &Value) -> Result<T> {
        let error = Diagnostic::error(
            "E0310",
            self.span,
            self.message(&described(given), &described(want)),
        );
        Err(Box::new(self.explain(error)))
    }

    fn explain(&self, error: Diagnostic) -> Diagnostic {
        error.note(match self.role {
            Role::Direction => "a direction is built like the place that moves along it",
            Role::Cotangent => {
                "`vjp(f)(x, c)` is the gradient of `sum(c * f(x))`: c is built like f(x)"
            }
        })
    }
}

/// A type where there is one, else the kind of value.
fn described(value: &Value) -> String {
    match value {
        Value::Tensor(tensor) => show_type(&tensor.ty),
        other => other.describe(),
    }
}

impl Elaborator {
    /// The tensors of a direction or cotangent, one for each that a derivative is taken by in
    /// `like` (all reals of results), in the order of its leaves.
    pub(crate) fn seeds(
        &mut self,
        role: Role,
        like: &Value,
        given: &Value,
        span: Span,
    ) -> Result<Vec<Tensor>> {
        let mut found = Vec::new();
        let whole = Part {
            role,
            path: "",
            span,
        };
        self.seeds_of(&whole, like, given, &mut found)?;
        Ok(found)
    }

    fn seeds_of(
        &mut self,
        part: &Part<'_>,
        like: &Value,
        given: &Value,
        found: &mut Vec<Tensor>,
    ) -> Result<()> {
        let own: Vec<TensorType> = leaves(like)
            .into_iter()
            .filter(|leaf| leaf.trained || part.role == Role::Cotangent)
            .filter_map(|leaf| match leaf.tensor {
                Value::Tensor(tensor) if tensor.ty.elem.is_float() => Some(tensor.ty),
                _ => None,
            })
            .collect();
        if own.is_empty() {
            return Ok(());
        }
        // Of data that is not read yet nothing is known.
        if matches!(given, Value::Unknown) {
            found.extend(own.into_iter().map(|ty| Tensor {
                ty,
                repr: Repr::Unknown,
            }));
            return Ok(());
        }
        match (like, given) {
            (Value::Tensor(tensor), _) => {
                found.push(self.seed(part, tensor, given)?);
                Ok(())
            }
            // What is hidden is 0 under its flags.
            (Value::Maybe(maybe), _) => {
                self.seeds_of(part, &maybe.value, crate::missing::plain(given), found)
            }
            (Value::Ragged(ragged), Value::List(_)) => {
                match self.packed_like(ragged, given, part.span)? {
                    Some(packed) => self.seeds_of(part, &ragged.value, &packed, found),
                    None => part.mismatch(given, like),
                }
            }
            (Value::Ragged(ragged), Value::Ragged(given)) if ragged.sizes == given.sizes => {
                self.seeds_of(part, &ragged.value, &given.value, found)
            }
            (Value::Tree(like), Value::Tree(given)) => self.seeds_of(part, like, given, found),
            (Value::Tuple(like), Value::Tuple(given)) | (Value::List(like), Value::List(given))
                if like.len() == given.len() =>
            {
                for (at, (like, given)) in like.iter().zip(given.iter()).enumerate() {
                    let path = part.path_of(&at.to_string());
                    let part = Part {
                        path: &path,
                        ..*part
                    };
                    self.seeds_of(&part, like, given, found)?;
                }
                Ok(())
            }
            (Value::Record(like), Value::Record(given)) => {
                self.seeds_by_name(part, like, given, found)
            }
            (Value::Model(model), Value::Record(_) | Value::Model(_)) => {
                let kept = |average: &Average| matches!(average, Average::Kept { .. });
                if part.role == Role::Cotangent && model.averages.iter().any(kept) {
                    return part.mismatch(given, like);
                }
                match given {
                    Value::Model(given) => {
                        self.seeds_by_name(part, &model.params, &given.params, found)
                    }
                    Value::Record(given) => self.seeds_by_name(part, &model.params, given, found),
                    other => part.mismatch(other, like),
                }
            }
            _ => part.mismatch(given, like),
        }
    }

    /// Seeds of named parts, in the order of `like`.
    fn seeds_by_name(
        &mut self,
        part: &Part<'_>,
        like: &[(Name, Value)],
        given: &[(Name, Value)],
        found: &mut Vec<Tensor>,
    ) -> Result<()> {
        let (role, of) = (part.role.name(), part.role.like());
        let stray = given.iter().find(|(name, _)| {
            let mut names = like.iter();
            !names.any(|(own, _)| own == name)
        });
        if let Some((name, _)) = stray {
            let name = part.path_of(name);
            let message = format!("the {role} has a field `{name}`, but the {of} has none");
            let error = Diagnostic::error("E0310", part.span, message);
            return Err(Box::new(part.explain(error)));
        }
        for (name, like) in like {
            let path = part.path_of(name);
            let own = given.iter().find(|(given, _)| given == name);
            // A field without reals may be left out.
            let given = own.map_or(&Value::Unit, |(_, value)| value);
            let inner = Part {
                path: &path,
                ..*part
            };
            let before = found.len();
            let result = self.seeds_of(&inner, like, given, found);
            if own.is_none() && (result.is_err() || found.len() > before) {
                let message = format!("the {role} has no field `{path}`, but the {of} has one");
                let error = Diagnostic::error("E0310", part.span, message);
                return Err(Box::new(part.explain(error)));
            }
            result?;
        }
        Ok(())
    }

    /// One tensor for one of reals: constants adapt as arguments do (F7), all else must fit.
    fn seed(&mut self, part: &Part<'_>, like: &Tensor, given: &Value) -> Result<Tensor> {
        let given = match given {
            Value::List(_) => self.stack(given, part.span)?,
            other => other.clone(),
        };
        let tensor = match &given {
            Value::Tensor(tensor) => tensor,
            Value::Maybe(_) => {
                let message = part.message(&given.describe(), &show_type(&like.ty));
                let error = Diagnostic::error("E0320", part.span, message);
                let error = error.help("fill what is missing in it: `v ?? 0`");
                return Err(Box::new(error));
            }
            Value::Token(_) | Value::Ragged(_) => {
                return wanted(part.span, &format!("a plain {}", part.role.name()), &given);
            }
            other => return part.mismatch(other, &Value::Tensor(like.clone())),
        };
        let message = part.message(&show_type(&tensor.ty), &show_type(&like.ty));
        if !may_agree(&like.ty.shape, &tensor.ty.shape) {
            let mut error = Diagnostic::error("E0301", part.span, message);
            if like.ty.rank() == tensor.ty.rank() {
                let mut dims = like.ty.shape.iter().zip(&tensor.ty.shape);
                if let Some((a, b)) = dims.find(|(a, b)| a.size.differs(&b.size)) {
                    error = with_origin(with_origin(error, a), b);
                }
            }
            return Err(Box::new(part.explain(error)));
        }
        let (from, want) = (tensor.ty.elem, like.ty.elem);
        if from == want {
            return Ok(tensor.clone());
        }
        let constant = tensor.is_static_int() || matches!(tensor.repr, Repr::Static(_));
        if constant && from != Elem::Bool {
            return self.convert(tensor, want, part.span);
        }
        let error = Diagnostic::error("E0303", part.span, message);
        Err(Box::new(match (from, want) {
            (Elem::F64, Elem::F32) => error
                .help("`f32(…)` converts")
                .help("or `precision f64` at the script's top makes all its reals f64"),
            (Elem::F32, Elem::F64) => error.help("`f64(…)` converts"),
            _ => error.help("`real(…)` converts"),
        }))
    }

    /// Seeds of a cotangent, of a function that has to have real results.
    pub(crate) fn cotangent(
        &mut self,
        value: &Value,
        cotangent: &Value,
        span: Span,
    ) -> Result<Vec<Tensor>> {
        let seeds = self.seeds(Role::Cotangent, value, cotangent, span)?;
        if !seeds.is_empty() || crate::train::holds_unknown(value) {
            return Ok(seeds);
        }
        match leaves(value).first() {
            Some(leaf) => crate::grad::of_reals(&leaf.tensor, "`vjp`", span)?,
            None => return wanted(span, "a function with real results", value),
        }
        fail("E0501", span, "`vjp` wants a function with real results")
    }
}
