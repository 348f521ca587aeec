//! What the textual form is made of: marks, names, numbers, sizes and types.

use super::{Operands, ParseError, Parsed, Parser, Scope};
use crate::function::{Type, Value};
use crate::lexer::Token;
use crate::print::elem_named;
use aec_runtime::Elem;

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.tokens[self.at].token.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    pub(super) fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        let placed = &self.tokens[at];
        Err(ParseError {
            line: placed.line,
            column: placed.column,
            message: message.into(),
        })
    }

    pub(super) fn expected<T>(&self, what: &str) -> Parsed<T> {
        let found = self.peek().describe();
        self.fail(self.at, format!("expected {what}, found {found}"))
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(found) if *found == mark)
    }

    pub(super) fn eat(&mut self, mark: &str) -> bool {
        let found = self.is_mark(mark);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn mark(&mut self, mark: &str) -> Parsed<()> {
        if self.eat(mark) {
            Ok(())
        } else {
            self.expected(&format!("`{mark}`"))
        }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found == word)
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn word(&mut self, word: &str) -> Parsed<()> {
        if self.eat_word(word) {
            Ok(())
        } else {
            self.expected(&format!("`{word}`"))
        }
    }

    pub(super) fn name(&mut self, what: &str) -> Parsed<String> {
        match self.peek().clone() {
            Token::Word(word) => {
                self.next();
                Ok(word)
            }
            _ => self.expected(what),
        }
    }

    pub(super) fn unsigned(&mut self) -> Parsed<u64> {
        if let Token::Number(text) = self.peek() {
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            if let Ok(number) = parsed {
                self.next();
                return Ok(number);
            }
        }
        self.expected("a number without sign")
    }

    pub(super) fn size(&mut self) -> Parsed<usize> {
        let at = self.at;
        let number = self.unsigned()?;
        match usize::try_from(number) {
            // Products of sizes must not overflow; nothing real comes near.
            Ok(size) if size <= 1 << 40 => Ok(size),
            _ => self.fail(at, format!("{number} is too large for a size")),
        }
    }

    /// `[item, item]`
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.mark("[")?;
        let mut items = Vec::new();
        while !self.is_mark("]") {
            items.push(item(self)?);
            if !self.eat(",") {
                break;
            }
        }
        self.mark("]")?;
        Ok(items)
    }

    pub(super) fn sizes(&mut self) -> Parsed<Vec<usize>> {
        self.list(Parser::size)
    }

    /// `a:b` or `a:b:c`; the third is `otherwise` when left out.
    pub(super) fn range(&mut self, otherwise: usize) -> Parsed<(usize, usize, usize)> {
        let first = self.size()?;
        self.mark(":")?;
        let second = self.size()?;
        let third = if self.eat(":") {
            self.size()?
        } else {
            otherwise
        };
        Ok((first, second, third))
    }

    pub(super) fn elem(&mut self) -> Parsed<Elem> {
        let at = self.at;
        let name = self.name("an element type")?;
        match elem_named(&name) {
            Some(elem) => Ok(elem),
            None => self.fail(at, format!("`{name}` is no element type")),
        }
    }

    pub(super) fn ty(&mut self) -> Parsed<Type> {
        let at = self.at;
        let elem = self.elem()?;
        let dims = if self.is_mark("[") {
            self.sizes()?
        } else {
            Vec::new()
        };
        let size = dims
            .iter()
            .try_fold(1usize, |size, &dim| size.checked_mul(dim.max(1)));
        if size.is_none_or(|size| size > 1 << 40) {
            return self.fail(at, "the type has too many elements");
        }
        Ok(Type::new(elem, &dims))
    }

    pub(super) fn number(&mut self) -> Parsed<u32> {
        match *self.peek() {
            Token::Value(number) => {
                self.next();
                Ok(number)
            }
            _ => self.expected("a value"),
        }
    }

    pub(super) fn value(&mut self, scope: &Scope) -> Parsed<Value> {
        let at = self.at;
        let number = self.number()?;
        match scope.get(&number) {
            Some(&value) => Ok(value),
            None => self.fail(at, format!("%{number} is not defined before this")),
        }
    }

    /// Whether a value is next and `:` follows: the start of the next instruction.
    pub(super) fn defines(&self) -> bool {
        matches!(
            self.tokens.get(self.at + 1).map(|placed| &placed.token),
            Some(Token::Mark(":"))
        )
    }

    pub(super) fn values(&mut self, scope: &Scope) -> Parsed<Operands> {
        let mut values = Operands::new();
        while matches!(self.peek(), Token::Value(_)) && !self.defines() {
            values.push(self.value(scope)?);
            if !self.eat(",") {
                break;
            }
        }
        Ok(values)
    }

    pub(super) fn define(
        &mut self,
        at: usize,
        scope: &mut Scope,
        number: u32,
        value: Value,
    ) -> Parsed<()> {
        match scope.insert(number, value) {
            None => Ok(()),
            Some(_) => self.fail(at, format!("%{number} is defined twice")),
        }
    }

    pub(super) fn boolean(&mut self) -> Parsed<bool> {
        if self.eat_word("true") {
            Ok(true)
        } else if self.eat_word("false") {
            Ok(false)
        } else {
            self.expected("`true` or `false`")
        }
    }

    pub(super) fn signed(&mut self) -> Parsed<i64> {
        if let Token::Number(text) = self.peek()
            && let Ok(number) = text.parse()
        {
            self.next();
            return Ok(number);
        }
        self.expected("an int")
    }

    /// The bits after `nan:`, if there are any.
    pub(super) fn nan_bits(&mut self) -> Parsed<Option<u64>> {
        if self.eat(":") {
            Ok(Some(self.unsigned()?))
        } else {
            Ok(None)
        }
    }

    pub(super) fn float(&mut self) -> Parsed<f64> {
        if self.eat_word("nan") {
            return Ok(self.nan_bits()?.map_or(f64::NAN, f64::from_bits));
        }
        let text = self.float_text()?;
        match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.expected("a float"),
        }
    }

    pub(super) fn float32(&mut self) -> Parsed<f32> {
        if self.eat_word("nan") {
            let bits = self.nan_bits()?;
            return Ok(bits.map_or(f32::NAN, |bits| f32::from_bits(bits as u32)));
        }
        let text = self.float_text()?;
        match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.expected("a float"),
        }
    }

    pub(super) fn float_text(&mut self) -> Parsed<String> {
        let negative = self.eat("-");
        match self.peek().clone() {
            Token::Number(text) if text.parse::<f64>().is_ok() && !negative => {
                self.next();
                Ok(text)
            }
            Token::Word(word) if word == "inf" => {
                self.next();
                Ok(if negative { "-inf" } else { "inf" }.to_string())
            }
            _ => self.expected("a float"),
        }
    }
}
