//! Operations with regions: maps, loops and functions with a derivative of their own.

use super::{Operands, Parsed, Parser, Scope};
use crate::function::Function;
use crate::lexer::Token;
use crate::op::{Loop, Mode, Op};

impl Parser {
    /// `(%0 mark, %1; %2`: the operands, the marks of those before `;`.
    pub(super) fn marked(&mut self, scope: &Scope, mark: &str) -> Parsed<(Operands, Vec<bool>)> {
        self.mark("(")?;
        let mut operands = Operands::new();
        let mut marks = Vec::new();
        while matches!(self.peek(), Token::Value(_)) {
            operands.push(self.value(scope)?);
            marks.push(self.eat_word(mark));
            if !self.eat(",") {
                break;
            }
        }
        if self.eat(";") {
            operands.extend(self.values(scope)?);
        }
        self.mark(")")?;
        Ok((operands, marks))
    }

    pub(super) fn region(&mut self) -> Parsed<Box<Function>> {
        self.mark("{")?;
        let body = self.function()?;
        self.mark("}")?;
        Ok(Box::new(body))
    }

    pub(super) fn map(&mut self, scope: &Scope) -> Parsed<(Op, Operands)> {
        let size = self.size()?;
        let is_batch = self.eat_word("batch");
        let (operands, mapped) = self.marked(scope, "mapped")?;
        let body = self.region()?;
        let op = Op::Map {
            size,
            mapped,
            is_batch,
            body,
        };
        Ok((op, operands))
    }

    /// `10 reverse exit recomputed nodes (state; sequences; constants; limit) { body }`
    pub(super) fn looped(&mut self, scope: &Scope) -> Parsed<(Op, Operands)> {
        let count = self.size()?;
        let reverse = self.eat_word("reverse");
        let exit = self.eat_word("exit");
        let recomputed = self.eat_word("recomputed");
        let nodes = self.eat_word("nodes");
        self.mark("(")?;
        let mut operands = self.values(scope)?;
        let carried = operands.len();
        self.mark(";")?;
        operands.extend(self.values(scope)?);
        let sliced = operands.len() - carried;
        self.mark(";")?;
        operands.extend(self.values(scope)?);
        let limited = self.eat(";");
        if limited {
            operands.push(self.value(scope)?);
        }
        self.mark(")")?;
        let body = self.region()?;
        let op = Op::Loop(Loop {
            count,
            carried,
            sliced,
            reverse,
            exit,
            recomputed,
            limited,
            nodes,
            body,
        });
        Ok((op, operands))
    }

    pub(super) fn derivative(&mut self, scope: &Scope) -> Parsed<(Op, Operands)> {
        let at = self.at;
        let name = self.name("`vjp`, `jvp` or `jacobian`")?;
        let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.name() == name) else {
            return self.fail(at, format!("`{name}` is no mode of differentiation"));
        };
        let (operands, active) = self.marked(scope, "active")?;
        let body = self.region()?;
        Ok((Op::Derivative { mode, active, body }, operands))
    }
}
