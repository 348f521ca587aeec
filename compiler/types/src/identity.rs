//! Whether an autoencoder could simply copy its input: the code is at least as wide as the input,
//! and nothing forbids the identity (S3 10.3; S4 "undercomplete autoencoders"; row A11).
//!
//! The warning is for what is certain to be a plain reconstruction. The loss must compare
//! `decoder(encoder(x))` with x and add nothing to it, and what encoder and decoder compute must
//! not draw, hide, differentiate, sort or iterate; whoever does one of these has a reason for the
//! width.

use crate::Elaborator;
use crate::scope::member;
use crate::value::{Model, TensorType, Value};
use aec_syntax::ast::{BinaryOp, Expr, ExprKind, FnDef, Init, Name, Pattern, Stmt, StmtKind};
use aec_syntax::{Diagnostic, Span};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// What may stand around encoder and decoder in a plain reconstruction. Any other function may draw
/// or hide.
const PLAIN: [&str; 8] = [
    "encoder", "decoder", "sigmoid", "tanh", "relu", "softplus", "softmax", "flatten",
];

/// Losses that are least where the prediction is the target.
const RECONSTRUCTIONS: [&str; 5] = ["l2", "l1", "huber", "bce", "bce_logits"];

impl Elaborator {
    /// Warns of `train` of a model that can copy, while the script is checked.
    pub(crate) fn warn_of_identity(&mut self, model: &Value, span: Span) {
        let Value::Model(model) = model else { return };
        let Some(encoded) = member(model, "loss").and_then(|loss| reconstruction(&loss)) else {
            return;
        };
        let found = self.found.len();
        let widths = self.widths(model);
        // What is wrong with the members is told where they are checked.
        self.found.truncate(found);
        let Some((input, code)) = widths else { return };
        let (Some(wide), Some(narrow)) = (count(&code), count(&input)) else {
            return;
        };
        if wide < narrow {
            return;
        }
        let at = if model.made.is_none() {
            span
        } else {
            model.made
        };
        let mut diagnostic = Diagnostic::warning(
            "W0101",
            at,
            format!(
                "the code has {wide} numbers, the input {narrow}, and nothing keeps this autoencoder from copying it"
            ),
        );
        if let Some(encoder) = member(model, "encoder") {
            if let Some(ty) = encoder.params.first().and_then(|param| param.ty.as_ref()) {
                diagnostic = diagnostic.label(ty.span, format!("the input: {input}"));
            }
            if let Some(ty) = &encoder.result {
                diagnostic = diagnostic.label(ty.span, format!("the code: {code}"));
            }
        }
        let text = self.text(encoded);
        let noisy = format!("mask({text}, keep = 0.7) ?? 0");
        let help = format!(
            "make the code narrower; or make the task harder than copying, by noise, a mask or a penalty: encode \
             `{noisy}` in the loss"
        );
        let diagnostic = diagnostic
            .note("the identity has the least loss there is, and nothing of the data is learned");
        self.found.push(match self.in_library(encoded) {
            true => diagnostic.help(help),
            false => diagnostic.help_edit(help, encoded, noisy),
        });
    }

    /// The types of input and code, if encoder and decoder only compute.
    fn widths(&mut self, model: &Rc<Model>) -> Option<(TensorType, TensorType)> {
        if model.frozen {
            return None;
        }
        let value = Value::Model(model.clone());
        let (encoder, _) = (member(model, "encoder")?, member(model, "decoder")?);
        let ty = encoder.params.first()?.ty.as_ref()?;
        let scope = self.model_scope(model).ok()?;
        let input = self.abstract_value(ty, &scope.child()).ok()?;
        let before = self.unlike_copies;
        self.pure_depth += 1;
        self.batch_depth += 1;
        let code = self.value_of_member(&value, "encoder", &input);
        let back = code
            .as_ref()
            .and_then(|code| self.value_of_member(&value, "decoder", code));
        self.pure_depth -= 1;
        self.batch_depth -= 1;
        let Value::Tensor(input) = input else {
            return None;
        };
        match (code, back) {
            (Some(Value::Tensor(code)), Some(Value::Tensor(_))) if self.unlike_copies == before => {
                Some((input.ty, code.ty))
            }
            _ => None,
        }
    }

    fn value_of_member(&mut self, model: &Value, name: &str, arg: &Value) -> Option<Value> {
        let function = self.member_value(model, name).ok()??;
        self.apply(&function, std::slice::from_ref(arg), Span::NONE)
            .ok()
    }
}

fn count(ty: &TensorType) -> Option<usize> {
    ty.dims().map(|dims| dims.iter().product())
}

/// The script text of what a loss encodes, if all it does is to compare `decoder(encoder(x))`
/// with its x.
fn reconstruction(loss: &FnDef) -> Option<Span> {
    let [param] = loss.params.as_slice() else {
        return None;
    };
    let Pattern::Name(x) = &param.pattern else {
        return None;
    };
    let mut scope = Lets {
        x: &x.name,
        lets: FxHashMap::default(),
    };
    let body = scope.value(&loss.body)?;
    scope.compared(body)
}

/// The names of a loss that stand for expressions.
struct Lets<'a> {
    x: &'a Name,
    lets: FxHashMap<Name, &'a Expr>,
}

impl<'a> Lets<'a> {
    /// An expression without parentheses and blocks; none if it draws or does more than that.
    fn value(&mut self, expr: &'a Expr) -> Option<&'a Expr> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.value(inner),
            ExprKind::Block(stmts) => {
                let (last, lets) = stmts.split_last()?;
                for stmt in lets {
                    self.bind(stmt)?;
                }
                match &last.kind {
                    StmtKind::Expr(value) => self.value(value),
                    _ => None,
                }
            }
            ExprKind::Name(name) if let Some(&bound) = self.lets.get(name) => self.value(bound),
            _ => Some(expr),
        }
    }

    fn bind(&mut self, stmt: &'a Stmt) -> Option<()> {
        let StmtKind::Let {
            pattern: Pattern::Name(name),
            init: Init::Value(value),
            ..
        } = &stmt.kind
        else {
            return None;
        };
        // A name that is bound again, or x itself, would need more care than this.
        if name.name == *self.x || self.lets.insert(name.name.clone(), value).is_some() {
            return None;
        }
        Some(())
    }

    fn is_x(&mut self, expr: &'a Expr) -> bool {
        let x = self.x;
        matches!(self.value(expr).map(|expr| &expr.kind), Some(ExprKind::Name(name)) if name == x)
    }

    /// `l2(p, x)`, `sum((p - x)^2)`, either times a number, where p decodes the code of x.
    fn compared(&mut self, expr: &'a Expr) -> Option<Span> {
        let expr = self.value(expr)?;
        match &expr.kind {
            ExprKind::Call { callee, args } => {
                let name = called(callee)?;
                if args.iter().any(|arg| arg.name.is_some()) {
                    return None;
                }
                match args.as_slice() {
                    [p, t] if RECONSTRUCTIONS.contains(&name) && self.is_x(&t.value) => {
                        self.decoded(&p.value)
                    }
                    [all] if matches!(name, "sum" | "mean") => self.differences(&all.value),
                    _ => None,
                }
            }
            ExprKind::Binary {
                op: BinaryOp::Mul | BinaryOp::Div,
                left,
                right,
                ..
            } => match (&left.kind, &right.kind) {
                (ExprKind::Int(_) | ExprKind::Float(_), _) => self.compared(right),
                (_, ExprKind::Int(_) | ExprKind::Float(_)) => self.compared(left),
                _ => None,
            },
            _ => None,
        }
    }

    /// `(p - x)^2`, `abs(x - p)`.
    fn differences(&mut self, expr: &'a Expr) -> Option<Span> {
        let expr = self.value(expr)?;
        let inner = match &expr.kind {
            ExprKind::Binary {
                op: BinaryOp::Pow,
                left,
                ..
            } => left,
            ExprKind::Call { callee, args } if called(callee) == Some("abs") => {
                &args.first()?.value
            }
            _ => return None,
        };
        let ExprKind::Binary {
            op: BinaryOp::Sub,
            left,
            right,
            ..
        } = &self.value(inner)?.kind
        else {
            return None;
        };
        match (self.is_x(left), self.is_x(right)) {
            (false, true) => self.decoded(left),
            (true, false) => self.decoded(right),
            _ => None,
        }
    }

    /// `decoder(encoder(x))`, perhaps with a squashing function: the place of x.
    fn decoded(&mut self, expr: &'a Expr) -> Option<Span> {
        let mut expr = self.value(expr)?;
        let (mut decoded, mut encoded) = (false, false);
        loop {
            let (callee, inner) = match &expr.kind {
                ExprKind::Call { callee, args } => match args.as_slice() {
                    [arg] if arg.name.is_none() => (&**callee, &arg.value),
                    _ => return None,
                },
                ExprKind::Pipe { value, into } => (&**into, &**value),
                _ => return None,
            };
            let name = called(callee).filter(|name| PLAIN.contains(name))?;
            decoded |= name == "decoder";
            encoded |= name == "encoder" && decoded;
            if self.is_x(inner) {
                return encoded.then_some(inner.span);
            }
            expr = self.value(inner)?;
        }
    }
}

/// The name of a function, `l2` of `losses.l2`.
fn called(callee: &Expr) -> Option<&str> {
    match &callee.kind {
        ExprKind::Name(name) => Some(name),
        ExprKind::Field { name, .. } => Some(&name.name),
        _ => None,
    }
}
