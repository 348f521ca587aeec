//! The text form of TIR, read. The grammar is what [`crate::print`] writes; the result is
//! well formed as a data structure, but only [`crate::verify`] says whether it is valid.

use crate::function::{Function, Guard, Type, Value};
use crate::lexer::{Placed, Token, tokens};
use crate::op::{
    Binary, Comparison, Contract, Distribution, Factor, Fault, Label, Labels, Literal, Op,
    Reduction, Unary,
};
use aec_runtime::linalg::{MatrixOp, System};
use aec_runtime::{Data, Elem, Tensor};
use aec_syntax::Span;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Why a text is not TIR. Line and column count from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Regions deeper than this are refused, so that no text overflows the stack.
const MAX_DEPTH: usize = 64;

/// Reads all functions of a text.
pub fn parse(text: &str) -> Result<Vec<Function>, ParseError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let mut functions = Vec::new();
    while *parser.peek() != Token::End {
        functions.push(parser.function()?);
    }
    Ok(functions)
}

mod regions;
mod words;

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

/// The values of the function that is being read, by the number in the text.
type Scope = HashMap<u32, Value>;
type Operands = SmallVec<[Value; 4]>;
type Parsed<T> = Result<T, ParseError>;

impl Parser {
    fn function(&mut self) -> Parsed<Function> {
        if self.depth == MAX_DEPTH {
            return self.fail(self.at, "regions are nested too deeply");
        }
        self.depth += 1;
        self.word("fn")?;
        let name = match self.peek().clone() {
            Token::Word(name) | Token::Text(name) => {
                self.next();
                name
            }
            _ => return self.expected("a function's name"),
        };
        let mut f = Function::new(name);
        let mut scope = Scope::new();
        self.mark("(")?;
        while !self.is_mark(")") {
            let at = self.at;
            let number = self.number()?;
            let name = match self.peek().clone() {
                Token::Text(name) => {
                    self.next();
                    name
                }
                _ => String::new(),
            };
            self.mark(":")?;
            let ty = self.ty()?;
            let value = f.param(ty, name);
            self.define(at, &mut scope, number, value)?;
            if !self.eat(",") {
                break;
            }
        }
        self.mark(")")?;
        self.mark("{")?;
        loop {
            if self.eat_word("return") {
                f.results = self.values(&scope)?.to_vec();
                break;
            } else if self.eat_word("alias") {
                let param = self.size()?;
                self.mark("->")?;
                let result = self.size()?;
                f.aliases.push((param, result));
            } else if self.eat_word("guard") {
                let value = self.value(&scope)?;
                f.guards.push(Guard {
                    value,
                    span: Span::NONE,
                });
            } else if matches!(self.peek(), Token::Value(_)) || self.is_mark("=") {
                self.inst(&mut f, &mut scope)?;
            } else {
                return self.expected("an instruction, `guard`, `alias` or `return`");
            }
        }
        self.mark("}")?;
        self.depth -= 1;
        Ok(f)
    }

    fn inst(&mut self, f: &mut Function, scope: &mut Scope) -> Parsed<()> {
        let mut numbers = Vec::new();
        let mut types = Vec::new();
        while !self.is_mark("=") {
            let at = self.at;
            numbers.push((at, self.number()?));
            self.mark(":")?;
            types.push(self.ty()?);
            if !self.eat(",") {
                break;
            }
        }
        self.mark("=")?;
        let (op, operands) = self.op(f, scope, &types)?;
        let inst = f.push(op, &operands, &types, Span::NONE);
        let results = f.insts[inst].results.clone();
        for (&(at, number), &value) in numbers.iter().zip(&results) {
            self.define(at, scope, number, value)?;
        }
        Ok(())
    }

    fn op(&mut self, f: &Function, scope: &Scope, types: &[Type]) -> Parsed<(Op, Operands)> {
        let at = self.at;
        let name = self.name("an operation")?;
        let op = match name.as_str() {
            "constant" => Op::Constant(self.literal(types)?),
            "dense" => self.dense(types)?,
            "iota" => Op::Iota { axis: self.size()? },
            "select" => Op::Select,
            "convert" => Op::Convert,
            "contract" => return self.contract(f, scope, types),
            "reduce" => Op::Reduce {
                op: self.reduction()?,
                axes: SmallVec::from_vec(self.sizes()?),
            },
            "arg_reduce" => Op::ArgReduce {
                op: self.reduction()?,
                axis: self.size()?,
            },
            "reshape" => Op::Reshape,
            "slice" => {
                let ranges = self.list(|parser| parser.range(1))?;
                Op::Slice {
                    start: ranges.iter().map(|range| range.0).collect(),
                    limit: ranges.iter().map(|range| range.1).collect(),
                    stride: ranges.iter().map(|range| range.2).collect(),
                }
            }
            "pad" => {
                let ranges = self.list(|parser| parser.range(0))?;
                Op::Pad {
                    low: ranges.iter().map(|range| range.0).collect(),
                    high: ranges.iter().map(|range| range.1).collect(),
                    interior: ranges.iter().map(|range| range.2).collect(),
                }
            }
            "concat" => Op::Concat { axis: self.size()? },
            "reverse" => Op::Reverse {
                axes: SmallVec::from_vec(self.sizes()?),
            },
            "gather" => {
                self.word("batch")?;
                Op::Gather {
                    batch: self.size()?,
                    fault: if self.eat_word("observed") {
                        Fault::Unobserved
                    } else if self.eat_word("beyond") {
                        Fault::Beyond
                    } else if self.eat_word("chance") {
                        Fault::Chance
                    } else {
                        Fault::Index
                    },
                }
            }
            "scatter_add" => {
                self.word("batch")?;
                Op::ScatterAdd {
                    batch: self.size()?,
                }
            }
            "put" => {
                self.word("batch")?;
                Op::Put {
                    batch: self.size()?,
                }
            }
            "levels" => {
                self.word("rows")?;
                Op::Levels { rows: self.size()? }
            }
            "cumsum" => Op::CumSum {
                axis: self.size()?,
                reverse: self.eat_word("reverse"),
            },
            "argsort" => Op::ArgSort,
            "solve" => Op::Matrix(MatrixOp::Solve(self.system()?)),
            "cholesky" => Op::Matrix(MatrixOp::Cholesky),
            "logdet" => Op::Matrix(MatrixOp::LogDet),
            "qr" => Op::Matrix(MatrixOp::Qr),
            "svd" => Op::Matrix(MatrixOp::Svd),
            "eigh" => Op::Matrix(MatrixOp::Eigh),
            "draw" => self.draw()?,
            "map" => return self.map(scope),
            "loop" => return self.looped(scope),
            "derivative" => return self.derivative(scope),
            "batch_mean" => Op::BatchMean,
            "stop" => Op::Stop,
            "slope" => {
                self.word("batch")?;
                Op::Slope {
                    batch: self.size()?,
                }
            }
            name => {
                let unary = Unary::ALL.into_iter().find(|op| op.name() == name);
                let binary = Binary::ALL.into_iter().find(|op| op.name() == name);
                let comparison = Comparison::ALL.into_iter().find(|op| op.name() == name);
                match (unary, binary, comparison) {
                    (Some(op), _, _) => Op::Unary(op),
                    (_, Some(op), _) => Op::Binary(op),
                    (_, _, Some(op)) => Op::Compare(op),
                    (None, None, None) => {
                        return self.fail(at, format!("`{name}` is no operation"));
                    }
                }
            }
        };
        Ok((op, self.values(scope)?))
    }

    fn reduction(&mut self) -> Parsed<Reduction> {
        let at = self.at;
        let name = self.name("a reduction")?;
        match Reduction::ALL.into_iter().find(|op| op.name() == name) {
            Some(op) => Ok(op),
            None => self.fail(at, format!("`{name}` is no reduction")),
        }
    }

    fn system(&mut self) -> Parsed<System> {
        let at = self.at;
        let name = self.name("a system")?;
        match System::ALL.into_iter().find(|system| system.name() == name) {
            Some(system) => Ok(system),
            None => self.fail(at, format!("`{name}` is no system to solve")),
        }
    }

    fn only<'t>(&self, types: &'t [Type]) -> Parsed<&'t Type> {
        match types {
            [ty] => Ok(ty),
            _ => self.fail(self.at, "this operation has one result"),
        }
    }

    fn literal(&mut self, types: &[Type]) -> Parsed<Literal> {
        match self.only(types)?.elem {
            Elem::F32 | Elem::F64 => Ok(Literal::Float(self.float()?)),
            Elem::I32 | Elem::I64 => Ok(Literal::Int(self.signed()?)),
            Elem::Bool => Ok(Literal::Bool(self.boolean()?)),
        }
    }

    fn dense(&mut self, types: &[Type]) -> Parsed<Op> {
        let at = self.at;
        let ty = self.only(types)?;
        let data = match ty.elem {
            Elem::F32 => Data::F32(self.list(Parser::float32)?),
            Elem::F64 => Data::F64(self.list(Parser::float)?),
            Elem::I32 => Data::I32(self.list(|parser| {
                let at = parser.at;
                let number = parser.signed()?;
                match i32::try_from(number) {
                    Ok(number) => Ok(number),
                    Err(_) => parser.fail(at, format!("{number} is no i32")),
                }
            })?),
            Elem::I64 => Data::I64(self.list(Parser::signed)?),
            Elem::Bool => Data::Bool(self.list(|parser| Ok(u8::from(parser.boolean()?)))?),
        };
        let count = match &data {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::Bool(v) => v.len(),
        };
        if count != ty.len() {
            return self.fail(at, format!("{count} elements for {ty}"));
        }
        Ok(Op::Dense(Arc::new(Tensor::new(ty.dims.to_vec(), data))))
    }

    fn draw(&mut self) -> Parsed<Op> {
        let at = self.at;
        let name = self.name("a distribution")?;
        let found = Distribution::ALL
            .into_iter()
            .find(|distribution| distribution.name() == name);
        let Some(distribution) = found else {
            return self.fail(at, format!("`{name}` is no distribution"));
        };
        self.word("site")?;
        let site = self.unsigned()?;
        self.word("batch")?;
        let batch = self.size()?;
        self.word("radices")?;
        let radices = self.sizes()?;
        Ok(Op::Draw {
            distribution,
            site,
            batch,
            radices,
        })
    }

    fn label(&mut self) -> Parsed<Label> {
        let at = self.at;
        let name = self.name("a label")?;
        let letter = name.as_bytes()[0];
        let round = if name.len() == 1 {
            Some(0)
        } else {
            name[1..].parse().ok().filter(|&round: &u16| round > 0)
        };
        match round.map(|round| round.saturating_mul(26)) {
            Some(round) if letter.is_ascii_lowercase() => {
                let number = round.saturating_add(u16::from(letter - b'a'));
                match Label::try_from(number) {
                    Ok(label) => Ok(label),
                    Err(_) => self.fail(at, format!("label `{name}` is beyond the last one")),
                }
            }
            _ => self.fail(
                at,
                format!("`{name}` is no label (`a` to `z`, `a1` to `z1`, …)"),
            ),
        }
    }

    fn contract(&mut self, f: &Function, scope: &Scope, types: &[Type]) -> Parsed<(Op, Operands)> {
        let result = self.only(types)?;
        let mut contract = Contract {
            factors: Vec::new(),
            deltas: Vec::new(),
            out: Labels::new(),
            coefficient: 1.0,
            sizes: Vec::new(),
        };
        // `->` follows, or a number, a value or `delta`.
        let named = self.is_word("nan") || self.is_word("inf") || self.is_mark("-");
        if named || matches!(self.peek(), Token::Number(_)) {
            contract.coefficient = self.float()?;
        }
        let mut operands = Operands::new();
        let set = |sizes: &mut Vec<usize>, label: Label, size: usize| {
            let index = usize::from(label);
            if sizes.len() <= index {
                sizes.resize(index + 1, 1);
            }
            sizes[index] = size;
        };
        while matches!(self.peek(), Token::Value(_)) {
            let at = self.at;
            let value = self.value(scope)?;
            operands.push(value);
            let labels = self.list(Parser::label)?;
            let dims = f.dims(value);
            if labels.len() != dims.len() {
                let message = format!("{} labels for {}", labels.len(), f.ty(value));
                return self.fail(at, message);
            }
            for (&label, &size) in labels.iter().zip(dims) {
                set(&mut contract.sizes, label, size);
            }
            let power = if self.eat("^") {
                let at = self.at;
                match u32::try_from(self.unsigned()?) {
                    Ok(power) => power,
                    Err(_) => return self.fail(at, "the power is too large"),
                }
            } else {
                1
            };
            contract.factors.push(Factor {
                labels: Labels::from_vec(labels),
                power,
            });
        }
        while self.eat_word("delta") {
            let at = self.at;
            match self.list(Parser::label)?[..] {
                [a, b] => contract.deltas.push((a, b)),
                _ => return self.fail(at, "a delta has two labels"),
            }
        }
        self.mark("->")?;
        let at = self.at;
        contract.out = Labels::from_vec(self.list(Parser::label)?);
        if contract.out.len() != result.rank() {
            let message = format!("{} labels for {result}", contract.out.len());
            return self.fail(at, message);
        }
        for (&label, &size) in contract.out.iter().zip(&result.dims) {
            let carried = contract
                .factors
                .iter()
                .any(|factor| factor.labels.contains(&label));
            // A factor's size stands; the verifier compares it with the result's.
            if !carried {
                set(&mut contract.sizes, label, size);
            }
        }
        if self.eat_word("where") {
            loop {
                let label = self.label()?;
                self.mark("=")?;
                let size = self.size()?;
                set(&mut contract.sizes, label, size);
                if !self.eat(",") {
                    break;
                }
            }
        }
        let told = contract.sizes.len();
        if contract
            .deltas
            .iter()
            .any(|&(a, b)| usize::from(a.max(b)) >= told)
        {
            return self.fail(at, "a label of a delta has no size; add `where label=size`");
        }
        Ok((Op::Contract(contract), operands))
    }
}
