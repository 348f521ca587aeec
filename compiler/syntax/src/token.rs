//! The tokens: their spelling (for logos), how messages name them, and the classes that the
//! newline rule asks for. One table per fact; the layout itself is in `lexer`.

use crate::ast::Name;
use logos::Logos;
use std::rc::Rc;

/// A piece of a string literal before its expressions are parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum RawPart {
    /// Literal text, escapes resolved.
    Text(Name),
    /// The byte range of an expression, and its format.
    Value {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
        /// What stands after the colon.
        format: Option<Name>,
    },
}

fn integer(lex: &logos::Lexer<'_, Token>) -> Option<i64> {
    lex.slice().replace('_', "").parse().ok()
}

fn float(lex: &logos::Lexer<'_, Token>) -> Option<f64> {
    lex.slice()
        .replace('_', "")
        .parse()
        .ok()
        .filter(|x: &f64| x.is_finite())
}

fn place(lex: &logos::Lexer<'_, Token>) -> Option<usize> {
    lex.slice()[1..].parse().ok()
}

/// A token. Those after `Bad` never reach the grammar: `lexer` turns them into others.
#[derive(Logos, Clone, Debug, PartialEq)]
#[logos(skip r"[ \t\r\f]+")]
pub enum Token {
    /// A name that is not reserved.
    #[regex(r"[\p{XID_Start}_]\p{XID_Continue}*", |lex| Name::from(lex.slice()))]
    Ident(Name),
    /// `12`
    #[regex(r"[0-9][0-9_]*", integer)]
    Int(i64),
    /// `1.5`, `1e-3`
    #[regex(r"[0-9][0-9_]*\.[0-9][0-9_]*([eE][+-]?[0-9]+)?", float)]
    #[regex(r"[0-9][0-9_]*[eE][+-]?[0-9]+", float)]
    Float(f64),
    /// `.1`: a place in a tuple.
    #[regex(r"\.[0-9]+", place)]
    DotInt(usize),
    /// A string literal; made by the lexer from `Quote`.
    Str(Rc<[RawPart]>),
    /// `use`
    #[token("use")]
    Use,
    /// `as`
    #[token("as")]
    As,
    /// `let`
    #[token("let")]
    Let,
    /// `fn`
    #[token("fn")]
    Fn,
    /// `on`
    #[token("on")]
    On,
    /// `print`
    #[token("print")]
    Print,
    /// `assert`
    #[token("assert")]
    Assert,
    /// `for`
    #[token("for")]
    For,
    /// `in`
    #[token("in")]
    In,
    /// `if`
    #[token("if")]
    If,
    /// `then`
    #[token("then")]
    Then,
    /// `else`
    #[token("else")]
    Else,
    /// `and`
    #[token("and")]
    And,
    /// `or`
    #[token("or")]
    Or,
    /// `not`
    #[token("not")]
    Not,
    /// `true`
    #[token("true")]
    True,
    /// `false`
    #[token("false")]
    False,
    /// `model` right before a name.
    Model,
    /// `param` right before a name.
    Param,
    /// `train` right before a name.
    Train,
    /// `test` right before a string.
    Test,
    /// `(`
    #[token("(")]
    LParen,
    /// `)`
    #[token(")")]
    RParen,
    /// `[`
    #[token("[")]
    LBracket,
    /// `]`
    #[token("]")]
    RBracket,
    /// `{`
    #[token("{")]
    LBrace,
    /// `}`
    #[token("}")]
    RBrace,
    /// `,`
    #[token(",")]
    Comma,
    /// `:`
    #[token(":")]
    Colon,
    /// `.`
    #[token(".")]
    Dot,
    /// `..`
    #[token("..")]
    DotDot,
    /// `=`
    #[token("=")]
    Eq,
    /// `~`
    #[token("~")]
    Tilde,
    /// `->`
    #[token("->")]
    Arrow,
    /// `+`
    #[token("+")]
    Plus,
    /// `-`
    #[token("-")]
    Minus,
    /// `*`
    #[token("*")]
    Star,
    /// `/`
    #[token("/")]
    Slash,
    /// `//`
    #[token("//")]
    SlashSlash,
    /// `@`
    #[token("@")]
    At,
    /// `^`
    #[token("^")]
    Caret,
    /// `'`
    #[token("'")]
    Tick,
    /// `?`
    #[token("?")]
    Question,
    /// `??`
    #[token("??")]
    Fill,
    /// `|>`
    #[token("|>")]
    Pipe,
    /// `==`
    #[token("==")]
    EqEq,
    /// `!=`
    #[token("!=")]
    Ne,
    /// `<`
    #[token("<")]
    Lt,
    /// `<=`
    #[token("<=")]
    Le,
    /// `>`
    #[token(">")]
    Gt,
    /// `>=`
    #[token(">=")]
    Ge,
    /// `_`
    #[token("_", priority = 20)]
    Underscore,
    /// The end of a statement: a newline that counts, or `;`.
    #[token("\n")]
    Newline,
    /// First token of a parser call that wants a top-level item.
    StartItem,
    /// First token of a parser call that wants an expression.
    StartExpr,
    /// What the lexer has already reported.
    Bad,

    /// `;`
    #[token(";")]
    Semicolon,
    /// `"`, where a string begins.
    #[token("\"")]
    Quote,
    /// `# …`
    #[regex(r"#[^\n]*", allow_greedy = true)]
    Comment,
    /// An operator of other languages.
    #[token("&&")]
    #[token("||")]
    #[token("!")]
    #[token("**")]
    #[token("%")]
    #[token("+=")]
    #[token("-=")]
    #[token("*=")]
    #[token("/=")]
    #[token(":=")]
    #[token("=>")]
    #[token("===")]
    #[token("!==")]
    #[token("&")]
    #[token("|")]
    #[token("**=")]
    #[token("//=")]
    #[token("^=")]
    #[token("++")]
    #[token("<>")]
    Foreign,
}

/// The reserved words. `model`, `param`, `train` and `test` are names almost everywhere.
pub const RESERVED: [&str; 17] = [
    "use", "as", "let", "fn", "on", "print", "assert", "for", "in", "if", "then", "else", "and",
    "or", "not", "true", "false",
];

impl Token {
    /// The text of a token that has only one spelling.
    pub fn spelling(&self) -> Option<&'static str> {
        Some(match self {
            Token::Use => "use",
            Token::As => "as",
            Token::Let => "let",
            Token::Fn => "fn",
            Token::On => "on",
            Token::Print => "print",
            Token::Assert => "assert",
            Token::For => "for",
            Token::In => "in",
            Token::If => "if",
            Token::Then => "then",
            Token::Else => "else",
            Token::And => "and",
            Token::Or => "or",
            Token::Not => "not",
            Token::True => "true",
            Token::False => "false",
            Token::Model => "model",
            Token::Param => "param",
            Token::Train => "train",
            Token::Test => "test",
            Token::LParen => "(",
            Token::RParen => ")",
            Token::LBracket => "[",
            Token::RBracket => "]",
            Token::LBrace => "{",
            Token::RBrace => "}",
            Token::Comma => ",",
            Token::Colon => ":",
            Token::Dot => ".",
            Token::DotDot => "..",
            Token::Eq => "=",
            Token::Tilde => "~",
            Token::Arrow => "->",
            Token::Plus => "+",
            Token::Minus => "-",
            Token::Star => "*",
            Token::Slash => "/",
            Token::SlashSlash => "//",
            Token::At => "@",
            Token::Caret => "^",
            Token::Tick => "'",
            Token::Question => "?",
            Token::Fill => "??",
            Token::Pipe => "|>",
            Token::EqEq => "==",
            Token::Ne => "!=",
            Token::Lt => "<",
            Token::Le => "<=",
            Token::Gt => ">",
            Token::Ge => ">=",
            Token::Underscore => "_",
            Token::Ident(_)
            | Token::Int(_)
            | Token::Float(_)
            | Token::DotInt(_)
            | Token::Str(_)
            | Token::Newline
            | Token::StartItem
            | Token::StartExpr
            | Token::Bad
            | Token::Semicolon
            | Token::Quote
            | Token::Comment
            | Token::Foreign => return None,
        })
    }

    /// Whether the token is one of [`RESERVED`].
    pub fn is_reserved(&self) -> bool {
        self.spelling().is_some_and(|text| RESERVED.contains(&text))
    }

    /// Whether an expression (or a type, or a block) can end here, so that a newline after it
    /// may end the statement.
    pub fn ends_expression(&self) -> bool {
        matches!(
            self,
            Token::Ident(_)
                | Token::Int(_)
                | Token::Float(_)
                | Token::DotInt(_)
                | Token::Str(_)
                | Token::True
                | Token::False
                | Token::RParen
                | Token::RBracket
                | Token::RBrace
                | Token::Tick
                | Token::Question
                | Token::Underscore
                | Token::Bad
        )
    }

    /// Whether a line that starts with this token goes on with the statement above.
    /// `-` is left to the caller: it depends on the space after it.
    pub fn continues_statement(&self) -> bool {
        matches!(
            self,
            Token::Plus
                | Token::Star
                | Token::Slash
                | Token::SlashSlash
                | Token::At
                | Token::Caret
                | Token::Fill
                | Token::Pipe
                | Token::EqEq
                | Token::Ne
                | Token::Lt
                | Token::Le
                | Token::Gt
                | Token::Ge
                | Token::And
                | Token::Or
                | Token::Then
                | Token::Else
                | Token::On
                | Token::In
                | Token::As
                | Token::Dot
                | Token::DotInt(_)
                | Token::DotDot
                | Token::Eq
                | Token::Tilde
                | Token::Arrow
                | Token::Comma
                | Token::Colon
                | Token::RParen
                | Token::RBracket
                | Token::RBrace
        )
    }

    /// Whether a line that starts with this token always begins a statement, whatever is open.
    pub fn starts_statement(&self) -> bool {
        matches!(
            self,
            Token::Let
                | Token::Model
                | Token::Param
                | Token::Use
                | Token::Test
                | Token::Print
                | Token::Assert
        )
    }

    /// Whether an operand stands behind it.
    pub fn wants_operand(&self) -> bool {
        matches!(
            self,
            Token::Plus
                | Token::Minus
                | Token::Star
                | Token::Slash
                | Token::SlashSlash
                | Token::At
                | Token::Caret
                | Token::Fill
                | Token::EqEq
                | Token::Ne
                | Token::Lt
                | Token::Le
                | Token::Gt
                | Token::Ge
                | Token::And
                | Token::Or
                | Token::Not
        )
    }

    /// Whether the token makes the tree deeper by one: an operator, prefix or
    /// postfix, or an opening bracket.
    pub fn deepens(&self) -> bool {
        self.wants_operand()
            || matches!(
                self,
                Token::Tick
                    | Token::Question
                    | Token::Pipe
                    | Token::If
                    | Token::Else
                    | Token::Fn
                    | Token::Train
                    | Token::Arrow
                    | Token::Dot
                    | Token::DotInt(_)
                    | Token::DotDot
                    | Token::LParen
                    | Token::LBracket
                    | Token::LBrace
            )
    }

    /// How a message names the token.
    pub fn describe(&self) -> String {
        match self {
            Token::Ident(name) => format!("the name `{name}`"),
            Token::Int(value) => format!("the number `{value}`"),
            Token::Float(value) => format!("the number `{value}`"),
            Token::DotInt(place) => format!("`.{place}`"),
            Token::Str(_) => "a string".to_string(),
            Token::Newline => "the end of the line".to_string(),
            _ => match self.spelling() {
                Some(text) => format!("`{text}`"),
                None => "this".to_string(),
            },
        }
    }
}
