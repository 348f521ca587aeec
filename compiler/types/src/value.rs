//! Values of the elaborator: what an expression is while a script is checked, traced or run.
//!
//! One enum serves all three. A tensor's leaf says how much is known: nothing but its type
//! (checking), a compile-time constant, a value of the TIR function being built (tracing), or
//! elements in memory (running). Functions, models and distributions exist at this level only;
//! compiled code never sees one.

use crate::call::Args;
use crate::scope::Scope;
use crate::size::Size;
use aec_runtime::read::Stored;
use aec_runtime::{Elem, Tensor as HostTensor};
use aec_syntax::Span;
use aec_syntax::ast::{FnDef, Lambda, ModelDef, Name};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

/// Why a dimension is what it is: a sentence about a place, most telling first.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The place; may be `Span::NONE`.
    pub span: Span,
    /// `from Denoising(64, 32)`, `declared here`, `read from digits.csv`.
    pub text: Rc<str>,
}

/// One dimension of a tensor type.
#[derive(Clone, Debug)]
pub struct Dim {
    /// Its size.
    pub size: Size,
    /// The name that the declaration gave it, for messages: `D = 64`.
    pub name: Option<Name>,
    /// Where it came from.
    pub origin: Option<Rc<Origin>>,
}

impl Dim {
    /// A known size without a history.
    pub fn known(size: usize) -> Dim {
        Dim {
            size: Size::constant(size as i64),
            name: None,
            origin: None,
        }
    }

    /// A size without a history.
    pub fn of(size: Size) -> Dim {
        Dim {
            size,
            name: None,
            origin: None,
        }
    }
}

/// Whether two shapes may be one: as many axes, none of which certainly differ.
pub fn may_agree(a: &[Dim], b: &[Dim]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| !x.size.differs(&y.size))
}

/// The dimensions of a tensor, outermost first. Clones share them: every value that is looked up
/// takes its type along.
#[derive(Clone, Debug, Default)]
pub struct Shape(Option<Rc<[Dim]>>);

impl From<Vec<Dim>> for Shape {
    fn from(dims: Vec<Dim>) -> Shape {
        Shape((!dims.is_empty()).then(|| dims.into()))
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<I: IntoIterator<Item = Dim>>(dims: I) -> Shape {
        Vec::from_iter(dims).into()
    }
}

impl Deref for Shape {
    type Target = [Dim];

    fn deref(&self) -> &[Dim] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl DerefMut for Shape {
    fn deref_mut(&mut self) -> &mut [Dim] {
        match &mut self.0 {
            Some(dims) => Rc::make_mut(dims),
            None => &mut [],
        }
    }
}

impl<'a> IntoIterator for &'a Shape {
    type Item = &'a Dim;
    type IntoIter = std::slice::Iter<'a, Dim>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The type of a tensor.
#[derive(Clone, Debug)]
pub struct TensorType {
    /// Element type.
    pub elem: Elem,
    /// Dimensions, outermost first.
    pub shape: Shape,
}

impl TensorType {
    /// A scalar type.
    pub fn scalar(elem: Elem) -> TensorType {
        TensorType {
            elem,
            shape: Shape::default(),
        }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The dims as numbers, if all are known.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.shape
            .iter()
            .map(|dim| {
                dim.size
                    .as_constant()
                    .and_then(|size| usize::try_from(size).ok())
            })
            .collect()
    }

    /// The dims in memory: of a size that varies between examples, the room that it has.
    pub fn rooms(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|dim| dim.size.room()).collect()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.elem, self.shape.is_empty()) {
            (Elem::F32, true) => "real",
            (Elem::I64, true) => "int",
            (Elem::F32, false) => "",
            (Elem::I64, false) => "int",
            (elem, _) => elem.name(),
        };
        write!(f, "{name}")?;
        if !self.shape.is_empty() {
            let sizes: Vec<String> = self.shape.iter().map(|dim| dim.size.to_string()).collect();
            write!(f, "[{}]", sizes.join(", "))?;
        }
        Ok(())
    }
}

/// How much is known of a tensor.
#[derive(Clone, Debug)]
pub enum Repr {
    /// Only its type: the script is being checked.
    Unknown,
    /// A compile-time constant: literals, sizes and what is computed from them. Floats are held
    /// as f64 whatever the type says, so that constants keep their digits until they are used.
    Static(Arc<HostTensor>),
    /// One of two compile-time ints, by a condition: it becomes real where one is wanted, as
    /// the ints would.
    Choice(Rc<Choice>),
    /// An int scalar that is a size: while a definition is checked for all sizes, or of a size
    /// that varies between examples.
    Symbolic(Size),
    /// Elements in memory, an input of whatever is compiled from it.
    Concrete(Arc<HostTensor>),
    /// A value of the function that is being traced in the frame of that number.
    Traced(u32, aec_ir::Value),
    /// Rows that stay in their file: data for `train` and `eval`, which read them batch by batch.
    Stored(Arc<Stored>),
}

/// `if condition then 1 else 0` on a condition that compiled code decides.
#[derive(Clone, Debug)]
pub struct Choice {
    /// A bool scalar.
    pub condition: Tensor,
    /// A compile-time int.
    pub then: Tensor,
    /// A compile-time int.
    pub otherwise: Tensor,
}

/// A tensor or scalar.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its type.
    pub ty: TensorType,
    /// What is known of it.
    pub repr: Repr,
}

/// A function value: source and captured scope, or a function of the compiler.
pub struct Closure {
    /// What it does.
    pub code: Code,
    /// A name for messages and draw sites.
    pub name: Name,
    /// Where it was made.
    pub span: Span,
}

/// A function of the compiler that was made at run time, such as `grad(f)`.
pub type Native = dyn Fn(&mut crate::Elaborator, &[Value], Span) -> crate::Result<Value>;

/// What a function around another does with a call's arguments.
pub type Wrapping = dyn Fn(&mut crate::Elaborator, Args, Span) -> crate::Result<Value>;

/// A function of the compiler around another, such as `grad(f)` and `remat(f)`: its parameters are
/// those of the other, with their names and defaults.
pub struct Around {
    /// The other function.
    pub of: Value,
    /// How many arguments it takes behind those: a direction or a cotangent. They have no names.
    pub behind: usize,
    /// What a call does.
    pub run: Box<Wrapping>,
}

/// What a function value runs.
pub enum Code {
    /// A named function or member, and the scope it is defined in.
    Named(Rc<FnDef>, Scope),
    /// A lambda and the values that it captured.
    Lambda(Rc<Lambda>, Scope),
    /// A function of the compiler.
    Native(Box<Native>),
    /// A function of the compiler around another.
    Around(Around),
}

/// A model definition as a value: call it with sizes to get a model.
pub struct ModelTemplate {
    /// Its source.
    pub def: Rc<ModelDef>,
    /// The scope it is defined in.
    pub scope: Scope,
    /// The module it comes from (`""` for the script), for saved files.
    pub module: Name,
    /// The calls of `running` in its members, each of which keeps an average in the model.
    pub averages: Vec<AverageSite>,
}

/// A call of `running` in a model's definition.
#[derive(Clone, PartialEq, Debug)]
pub struct AverageSite {
    /// The name of its average in saved files, which no param can have: `running.mean` for
    /// `let mean = running(…)`.
    pub name: Name,
    /// Its word `running`.
    pub span: Span,
}

/// What a model keeps for a call of `running`.
#[derive(Clone, Debug)]
pub enum Average {
    /// No batch was seen yet.
    Empty,
    /// The average of the batches so far. Their weights sum to `weight`, which begins at 0 and
    /// comes near 1; `value` is the sum divided by it.
    Kept {
        /// Of reals.
        value: Tensor,
        /// A real scalar.
        weight: Tensor,
    },
    /// In the loss that is being traced for training: the batch's own value, which is noted for
    /// the average of this number.
    Live(usize),
}

/// A model: immutable; training gives a new one.
#[derive(Clone)]
pub struct Model {
    /// Its definition.
    pub template: Rc<ModelTemplate>,
    /// Its sizes and static values, by parameter name.
    pub statics: Vec<(Name, Value)>,
    /// Its weights by param name: tensors, models, lists of models.
    pub params: Vec<(Name, Value)>,
    /// What it keeps for each of the template's `averages`.
    pub averages: Vec<Average>,
    /// Whether every param and average, at any depth, is left alone by training.
    pub frozen: bool,
    /// The call that made it, for the origin of sizes.
    pub made: Span,
    /// How it was trained; none for an untrained one.
    pub history: Option<Rc<History>>,
}

impl Model {
    /// The tensors of the averages that it keeps itself: value and weight of each.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Tensor> {
        self.averages.iter().flat_map(|average| match average {
            Average::Kept { value, weight } => vec![value.clone(), weight.clone()],
            Average::Empty | Average::Live(_) => Vec::new(),
        })
    }
}

/// How a model was trained.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// In words, for a person.
    pub words: String,
    /// The figures of each epoch by name: `loss`, its parts, `validation` …
    pub figures: Vec<(String, Vec<f64>)>,
}

/// Families of distributions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// `normal(mu, sigma)`
    Normal,
    /// `uniform(a, b)`
    Uniform,
    /// `bernoulli(p)`
    Bernoulli,
    /// `categorical(logits = …)`
    Categorical,
    /// `gumbel()`
    Gumbel,
    /// `permutation(n)`
    Permutation,
}

/// A distribution: a value that `~` draws from.
pub struct Distribution {
    /// Its family.
    pub family: Family,
    /// Its parameters in the order of the family's signature.
    pub params: Vec<Value>,
}

/// A tensor with missing entries: `?[n]`. Where `observed` is false, `value` holds 0 (or false):
/// whoever makes one sees to that (`missing.rs`), so that contractions need not look.
#[derive(Clone)]
pub struct Maybe {
    /// A [`Value::Tensor`] or [`Value::Token`].
    pub value: Value,
    /// A bool for each entry: whether it is observed.
    pub observed: Tensor,
}

/// Sequences of different lengths side by side, padded to the longest (`ragged.rs`). One of
/// them, taken out, is an ordinary tensor whose type has a size that varies.
#[derive(Clone)]
pub struct Ragged {
    /// The entries: the axes of the examples, then those of one. What is beyond an example's
    /// length means nothing.
    pub value: Value,
    /// The axes of one example whose size varies, counted from the last, and their sizes.
    pub sizes: Vec<(usize, Size)>,
    /// For each name in those sizes, by its id, an int for each example.
    pub lengths: Vec<(u32, Tensor)>,
}

impl Ragged {
    /// The axes of the examples.
    pub fn frame(&self) -> &[Dim] {
        self.lengths
            .first()
            .map_or(&[], |(_, lengths)| &lengths.ty.shape)
    }
}

/// A module: `use data` binds one.
pub struct Module {
    /// Its dotted path.
    pub path: Name,
    /// What it defines.
    pub scope: Scope,
}

/// A value.
#[derive(Clone)]
pub enum Value {
    /// Of statements and effects.
    Unit,
    /// A tensor or scalar.
    Tensor(Tensor),
    /// Words: a tensor of ints that are places in a vocabulary.
    Token(Tensor),
    /// A tensor or words, some of whose entries are hidden.
    Maybe(Rc<Maybe>),
    /// A string.
    Str(Rc<str>),
    /// `(a, b)`
    Tuple(Rc<Vec<Value>>),
    /// `(a = 1, b = 2)`
    Record(Rc<Vec<(Name, Value)>>),
    /// A list that is not a tensor.
    List(Rc<Vec<Value>>),
    /// A function.
    Fn(Rc<Closure>),
    /// A function of the compiler, by index into the table of builtins.
    Builtin(crate::builtins::BuiltinId),
    /// A model definition.
    Template(Rc<ModelTemplate>),
    /// A model.
    Model(Rc<Model>),
    /// A module.
    Module(Rc<Module>),
    /// A distribution.
    Distribution(Rc<Distribution>),
    /// Sequences of different lengths, in compiled code and as data of `train`; scripts hold a
    /// list of tensors.
    Ragged(Rc<Ragged>),
    /// A binary tree: a record of its leaves and its shape (`trees.rs`).
    Tree(Rc<Value>),
    /// A vocabulary.
    Vocab(Rc<crate::tokens::Vocab>),
    /// Nothing is known, not even the kind (after an error, or read from a file that is not
    /// opened while checking). Everything is allowed on it and gives it again.
    Unknown,
}

impl Value {
    /// A static int.
    pub fn int(value: i64) -> Value {
        Value::Tensor(Tensor {
            ty: TensorType::scalar(Elem::I64),
            repr: Repr::Static(Arc::new(HostTensor::i64(&[], vec![value]))),
        })
    }

    /// A static float of the type in force.
    pub fn real(value: f64, elem: Elem) -> Value {
        Value::Tensor(Tensor {
            ty: TensorType::scalar(elem),
            repr: Repr::Static(Arc::new(HostTensor::f64(&[], vec![value]))),
        })
    }

    /// A static bool.
    pub fn bool(value: bool) -> Value {
        Value::Tensor(Tensor {
            ty: TensorType::scalar(Elem::Bool),
            repr: Repr::Static(Arc::new(HostTensor::from_f64(
                Elem::Bool,
                &[],
                [f64::from(u8::from(value))],
            ))),
        })
    }

    /// A tensor in memory, as files and plans give it.
    pub fn concrete(tensor: HostTensor) -> Value {
        Value::shared(Arc::new(tensor))
    }

    /// A tensor in memory that others hold too.
    pub fn shared(tensor: Arc<HostTensor>) -> Value {
        let shape = tensor.dims().iter().map(|&size| Dim::known(size)).collect();
        Value::Tensor(Tensor {
            ty: TensorType {
                elem: tensor.elem(),
                shape,
            },
            repr: Repr::Concrete(tensor),
        })
    }

    /// A tensor in memory; `origin` says where its sizes came from (a file, say).
    pub fn concrete_from(tensor: HostTensor, origin: Origin) -> Value {
        let origin = Rc::new(origin);
        let shape = tensor
            .dims()
            .iter()
            .map(|&size| Dim {
                origin: Some(origin.clone()),
                ..Dim::known(size)
            })
            .collect();
        Value::Tensor(Tensor {
            ty: TensorType {
                elem: tensor.elem(),
                shape,
            },
            repr: Repr::Concrete(Arc::new(tensor)),
        })
    }

    /// Rows that stay in their file.
    pub fn stored(rows: Stored, origin: Origin) -> Value {
        let origin = Rc::new(origin);
        let shape = rows.dims().iter().map(|&size| Dim {
            origin: Some(origin.clone()),
            ..Dim::known(size)
        });
        Value::Tensor(Tensor {
            ty: TensorType {
                elem: rows.elem(),
                shape: shape.collect(),
            },
            repr: Repr::Stored(Arc::new(rows)),
        })
    }

    /// Words whose places are in memory.
    pub fn tokens(places: Vec<i64>) -> Value {
        match Value::concrete(HostTensor::i64(&[places.len()], places)) {
            Value::Tensor(tensor) => Value::Token(tensor),
            other => other,
        }
    }

    /// A tensor and its flags as a `?`; the tensor holds 0 where they do not hold.
    pub fn missing(value: Value, observed: Value) -> Value {
        match observed {
            Value::Tensor(observed) => Value::Maybe(Rc::new(Maybe { value, observed })),
            _ => value,
        }
    }

    /// A string.
    pub fn str(text: &str) -> Value {
        Value::Str(text.into())
    }

    /// A record.
    pub fn record(fields: Vec<(&str, Value)>) -> Value {
        Value::Record(Rc::new(
            fields
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        ))
    }

    /// A tuple.
    pub fn tuple(values: Vec<Value>) -> Value {
        Value::Tuple(Rc::new(values))
    }

    /// The elements, if they are known (static or in memory).
    pub fn host(&self) -> Option<&Arc<HostTensor>> {
        match self {
            Value::Tensor(Tensor {
                repr: Repr::Static(tensor) | Repr::Concrete(tensor),
                ..
            }) => Some(tensor),
            _ => None,
        }
    }

    /// The int that it is, if it is a known int scalar.
    pub fn as_int(&self) -> Option<i64> {
        self.host()
            .filter(|t| t.rank() == 0 && t.elem().is_int())
            .map(|t| t.get_i64(0))
    }

    /// The size that an int scalar is: a known int, or symbolic while checking.
    pub fn as_size(&self) -> Option<Size> {
        match self {
            Value::Tensor(Tensor {
                repr: Repr::Symbolic(size),
                ..
            }) => Some(size.clone()),
            _ => self.as_int().map(Size::constant),
        }
    }

    /// An int scalar of a size.
    pub fn size(size: Size) -> Value {
        match size.as_constant() {
            Some(value) => Value::int(value),
            None => Value::Tensor(Tensor {
                ty: TensorType::scalar(Elem::I64),
                repr: Repr::Symbolic(size),
            }),
        }
    }

    /// The number that it is, if it is a known scalar of ints or floats.
    pub fn as_f64(&self) -> Option<f64> {
        self.host()
            .filter(|t| t.rank() == 0 && t.elem() != Elem::Bool)
            .map(|t| t.get_f64(0))
    }

    /// The bool that it is, if it is a known one.
    pub fn as_bool(&self) -> Option<bool> {
        self.host()
            .filter(|t| t.rank() == 0 && t.elem() == Elem::Bool)
            .map(|t| t.get_f64(0) != 0.0)
    }

    /// The tensor of a tensor, of words, or below a `?`.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) | Value::Token(tensor) => Some(tensor),
            Value::Maybe(maybe) => maybe.value.tensor(),
            Value::Unit
            | Value::Str(_)
            | Value::Tuple(_)
            | Value::Record(_)
            | Value::List(_)
            | Value::Fn(_)
            | Value::Builtin(_)
            | Value::Template(_)
            | Value::Model(_)
            | Value::Module(_)
            | Value::Distribution(_)
            | Value::Ragged(_)
            | Value::Tree(_)
            | Value::Vocab(_)
            | Value::Unknown => None,
        }
    }

    /// Its type in a message: `?[3]`, `token[T]`; none for what is no tensor.
    pub fn type_text(&self) -> Option<String> {
        match self {
            Value::Tensor(tensor) => Some(tensor.ty.to_string()),
            Value::Token(tensor) => Some(tensor.ty.to_string().replacen("int", "token", 1)),
            Value::Maybe(maybe) => maybe.value.type_text().map(|text| format!("?{text}")),
            _ => None,
        }
    }

    /// The field of a record.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Record(fields) => fields
                .iter()
                .find(|(field, _)| &**field == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// What kind of thing it is, for messages: `a tensor [3, 4]`, `a function`.
    pub fn describe(&self) -> String {
        match self {
            Value::Unit => "nothing".into(),
            Value::Tensor(tensor) if tensor.ty.shape.is_empty() => match tensor.ty.elem {
                Elem::F32 | Elem::F64 => "a real number".into(),
                Elem::I32 | Elem::I64 => "an int".into(),
                Elem::Bool => "a bool".into(),
            },
            Value::Tensor(tensor) => format!("a tensor {}", tensor.ty),
            Value::Token(tensor) if tensor.ty.shape.is_empty() => "a token".into(),
            Value::Token(_) => format!("words {}", self.type_text().unwrap_or_default()),
            Value::Maybe(_) => format!("a `{}`", self.type_text().unwrap_or_default()),
            Value::Str(_) => "a string".into(),
            Value::Tuple(values) => format!("a tuple of {}", values.len()),
            Value::Record(fields) => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
                format!("a record ({})", names.join(", "))
            }
            Value::List(values) => format!("a list of {}", values.len()),
            Value::Fn(closure) => format!("the function `{}`", closure.name),
            Value::Builtin(id) => format!("the function `{}`", id.name()),
            Value::Template(template) => format!("the model `{}`", template.def.name.name),
            Value::Model(model) => format!("a model {}", model.template.def.name.name),
            Value::Module(module) => format!("the module `{}`", module.path),
            Value::Distribution(_) => "a distribution".into(),
            Value::Ragged(ragged) => crate::ragged::describe(ragged),
            Value::Tree(_) => crate::trees::describe(self),
            Value::Vocab(vocab) => format!("a vocabulary of {} words", vocab.size()),
            Value::Unknown => "unknown".into(),
        }
    }
}
