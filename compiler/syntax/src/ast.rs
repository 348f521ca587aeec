//! The syntax tree of a script, as SEMANTICS.md section 5 shapes it. Nothing is resolved here:
//! names are text, types and sizes are one class, and parentheses are kept.

use crate::span::Span;
use std::rc::Rc;

/// A name as written.
pub type Name = Rc<str>;

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The text.
    pub name: Name,
    /// The place.
    pub span: Span,
}

/// A whole file: its items in order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Script {
    /// Top-level items.
    pub items: Vec<Item>,
    /// The `##` comment at the head of the file, if it has one.
    pub doc: Option<Name>,
}

/// One top-level item.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// The whole item.
    pub span: Span,
    /// The `##` comment above it.
    pub doc: Option<Name>,
}

/// The kinds of top-level item.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `use data`, `use nn.layers as l`.
    Use {
        /// Dotted path.
        path: Vec<Ident>,
        /// `as name`.
        alias: Option<Ident>,
    },
    /// `precision f64`, which stands first: what `real` and `[n]` mean in this script.
    Precision(Ident),
    /// `model M(D, H) { … }`.
    Model(Rc<ModelDef>),
    /// `test "name" { … }`.
    Test {
        /// The test's name.
        name: Name,
        /// Its statements.
        body: Rc<Vec<Stmt>>,
    },
    /// Any statement.
    Stmt(Stmt),
}

/// A model definition.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDef {
    /// The model's name.
    pub name: Ident,
    /// Sizes, static values and models it takes.
    pub params: Vec<Param>,
    /// Its members, in order.
    pub items: Vec<ModelItem>,
    /// The `##` comment above it.
    pub doc: Option<Name>,
    /// The whole definition.
    pub span: Span,
}

/// A member of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelItem {
    /// `param a, b: [H] ~ glorot`.
    Param {
        /// One or more names.
        names: Vec<Ident>,
        /// Shape or model.
        ty: Option<TypeExpr>,
        /// `= e` or `~ d`.
        init: Option<Init>,
        /// The whole item.
        span: Span,
    },
    /// `let m = (n - k) // s + 1`.
    Let {
        /// What is bound.
        pattern: Pattern,
        /// Annotation.
        ty: Option<TypeExpr>,
        /// The value.
        value: Expr,
        /// The whole item.
        span: Span,
    },
    /// `fn name(…)`, or one of `encoder decoder loss apply` written bare.
    Fn(Rc<FnDef>),
    /// What did not parse; already reported.
    Error(Span),
}

/// A named function or member.
#[derive(Clone, Debug, PartialEq)]
pub struct FnDef {
    /// Its name.
    pub name: Ident,
    /// Explicit size parameters, `fn f[n, m](…)`.
    pub sizes: Vec<TypeArg>,
    /// Its parameters.
    pub params: Vec<Param>,
    /// `-> type`.
    pub result: Option<TypeExpr>,
    /// An expression, or a block.
    pub body: Expr,
    /// The `##` comment above it.
    pub doc: Option<Name>,
    /// The whole definition.
    pub span: Span,
}

/// A parameter: `x: [D] = 0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// A name or a tuple of them.
    pub pattern: Pattern,
    /// Its type.
    pub ty: Option<TypeExpr>,
    /// Its default.
    pub default: Option<Expr>,
    /// The whole parameter.
    pub span: Span,
}

/// How a value is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// `= e`.
    Value(Expr),
    /// `~ distribution`.
    Draw(Expr),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// The whole statement.
    pub span: Span,
}

/// The kinds of statement.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `let p: t = e`, `let p: t ~ d`.
    Let {
        /// What is bound.
        pattern: Pattern,
        /// Annotation.
        ty: Option<TypeExpr>,
        /// The value or distribution.
        init: Init,
    },
    /// `fn …`.
    Fn(Rc<FnDef>),
    /// `for p in e { … }`.
    For {
        /// What is bound.
        pattern: Pattern,
        /// What is walked.
        iter: Expr,
        /// The body.
        body: Rc<Vec<Stmt>>,
    },
    /// `print a, b`.
    Print(Vec<Expr>),
    /// `assert c, "message"`.
    Assert {
        /// What must hold.
        condition: Expr,
        /// Said when it does not.
        message: Option<Expr>,
    },
    /// `if c { … } else { … }` as a statement.
    If {
        /// The condition.
        condition: Expr,
        /// Taken when it holds.
        then: Rc<Vec<Stmt>>,
        /// Taken otherwise: a block, or one nested `If`.
        otherwise: Option<Rc<Vec<Stmt>>>,
    },
    /// An expression; the last of a block is its value.
    Expr(Expr),
    /// `p = e`.
    Assign {
        /// The names that are rebound.
        target: Pattern,
        /// Their new value.
        value: Expr,
    },
    /// What did not parse; already reported.
    Error,
}

/// What a `let`, a parameter or a `for` binds.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// A name.
    Name(Ident),
    /// `_`.
    Wildcard(Span),
    /// `(a, b)`.
    Tuple(Vec<Pattern>, Span),
    /// `(mu = m, logvar = v)`.
    Record(Vec<(Ident, Pattern)>, Span),
}

impl Pattern {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Pattern::Name(ident) => ident.span,
            Pattern::Wildcard(span) | Pattern::Tuple(_, span) | Pattern::Record(_, span) => *span,
        }
    }

    /// The names that it binds, from left to right.
    pub fn names(&self) -> Vec<&Ident> {
        match self {
            Pattern::Name(ident) => vec![ident],
            Pattern::Wildcard(_) => Vec::new(),
            Pattern::Tuple(parts, _) => parts.iter().flat_map(Pattern::names).collect(),
            Pattern::Record(fields, _) => {
                fields.iter().flat_map(|(_, part)| part.names()).collect()
            }
        }
    }
}

// The parser moves an expression once for each level of precedence, and every later stage walks a
// tree of them: rare and large parts of a kind are boxed.
const _: () = assert!(size_of::<Expr>() <= 64 && size_of::<TypeExpr>() <= 72);

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A name.
    Name(Name),
    /// `12`.
    Int(i64),
    /// `1.5`, `1e-3`.
    Float(f64),
    /// `true`, `false`.
    Bool(bool),
    /// `"text {e:.3}"`.
    Str(Vec<StrPart>),
    /// `?`.
    Hidden,
    /// `_` right of `|>`.
    Placeholder,
    /// `{ let …; e }`.
    Block(Rc<Vec<Stmt>>),
    /// `(e)`; kept for the formatter and for the rule about `??`.
    Paren(Box<Expr>),
    /// `(a, b)`.
    Tuple(Vec<Expr>),
    /// `(a = 1, b = 2)`.
    Record(Vec<(Ident, Expr)>),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `[e for p in xs if c]`.
    Comprehension {
        /// What each round gives.
        element: Box<Expr>,
        /// What is bound.
        pattern: Box<Pattern>,
        /// What is walked.
        iter: Box<Expr>,
        /// Which rounds count.
        condition: Option<Box<Expr>>,
    },
    /// `f(a, k = b)`.
    Call {
        /// What is called.
        callee: Box<Expr>,
        /// In order as written.
        args: Vec<Arg>,
    },
    /// `x[i, 2..5, :]`.
    Index {
        /// What is indexed.
        base: Box<Expr>,
        /// One for each leading axis.
        indices: Vec<Index>,
    },
    /// `e.name`.
    Field {
        /// The value.
        base: Box<Expr>,
        /// The field.
        name: Ident,
    },
    /// `e.0`.
    TupleField {
        /// The value.
        base: Box<Expr>,
        /// The place.
        index: usize,
    },
    /// `e'`.
    Transpose(Box<Expr>),
    /// `-e`.
    Neg(Box<Expr>),
    /// `not e`.
    Not(Box<Expr>),
    /// `a op b`.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Where the operator itself stands.
        op_span: Span,
        /// Left operand.
        left: Box<Expr>,
        /// Right operand.
        right: Box<Expr>,
    },
    /// `a..b` as a value: the ints from a to b - 1.
    Range {
        /// First.
        start: Box<Expr>,
        /// One past the last.
        end: Box<Expr>,
    },
    /// `a |> f(b)`.
    Pipe {
        /// The value that goes in.
        value: Box<Expr>,
        /// A call, a name, or a postfix expression.
        into: Box<Expr>,
    },
    /// `fn x, y -> e`.
    Lambda(Rc<Lambda>),
    /// `if c then a else b`, `if c { a } else { b }`.
    If {
        /// The condition.
        condition: Box<Expr>,
        /// The value where it holds.
        then: Box<Expr>,
        /// The value where it does not.
        otherwise: Box<Expr>,
    },
    /// `train m on data { … }`.
    Train {
        /// The model value.
        model: Box<Expr>,
        /// The data.
        data: Box<Expr>,
        /// The settings in order.
        settings: Vec<(Ident, Expr)>,
    },
    /// What did not parse; already reported.
    Error,
}

/// A lambda.
#[derive(Clone, Debug, PartialEq)]
pub struct Lambda {
    /// Its parameters; they have no defaults.
    pub params: Vec<Param>,
    /// Its body.
    pub body: Expr,
    /// The whole lambda.
    pub span: Span,
}

/// A piece of a string.
#[derive(Clone, Debug, PartialEq)]
pub enum StrPart {
    /// Literal text, escapes resolved.
    Text(Name),
    /// `{e}` or `{e:.3}`.
    Value {
        /// The expression.
        expr: Box<Expr>,
        /// What stands after the colon.
        format: Option<Name>,
    },
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// `name =`.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// One index.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// `i`, or a tensor of ints.
    At(Expr),
    /// `a..b`, `a..`, `..b`.
    Slice {
        /// First, from the start if absent.
        start: Option<Expr>,
        /// One past the last, to the end if absent.
        end: Option<Expr>,
        /// Where it stands.
        span: Span,
    },
    /// `:`.
    All(Span),
}

/// The infix operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `//`
    FloorDiv,
    /// `@`
    MatMul,
    /// `^`
    Pow,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `and`
    And,
    /// `or`
    Or,
    /// `??`
    Fill,
}

impl BinaryOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::FloorDiv => "//",
            BinaryOp::MatMul => "@",
            BinaryOp::Pow => "^",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Fill => "??",
        }
    }
}

/// A type or a size: one class in the grammar.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeExpr {
    /// What it is.
    pub kind: TypeKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of type or size.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// `64`.
    Int(i64),
    /// `real`, `n`, `nn.Linear`.
    Path(Vec<Ident>),
    /// `f32[n]`, `token[T]`, `tree[token, node: int]`.
    Index {
        /// The element type.
        path: Vec<Ident>,
        /// What stands in brackets.
        args: Vec<TypeArg>,
    },
    /// `Linear(n, m)`: a model as the type of a `param`.
    Call {
        /// The model.
        path: Vec<Ident>,
        /// Its arguments.
        args: Vec<Arg>,
    },
    /// `[n, m]`.
    Shape(Vec<TypeArg>),
    /// `?t`.
    Maybe(Box<TypeExpr>),
    /// `(t)`, `(t, u)`, `(mu: t, logvar: u)`.
    Group(Vec<TypeArg>),
    /// `[Linear(d[i], d[i+1]) for i in 0..n]`.
    Comprehension {
        /// Each element.
        element: Box<TypeExpr>,
        /// What is bound.
        pattern: Box<Pattern>,
        /// What is walked.
        iter: Box<Expr>,
    },
    /// `2*n + 1`.
    Binary {
        /// Add, Sub, Mul, Div or FloorDiv.
        op: BinaryOp,
        /// Left operand.
        left: Box<TypeExpr>,
        /// Right operand.
        right: Box<TypeExpr>,
    },
    /// `[n] -> [k]`.
    Arrow(Box<TypeExpr>, Box<TypeExpr>),
    /// What did not parse; already reported.
    Error,
}

/// What stands in the brackets or parentheses of a type.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeArg {
    /// A type or size.
    Type(TypeExpr),
    /// `..s`.
    Rest(Ident),
    /// `mu: [Z]`.
    Named(Ident, TypeExpr),
}
