//! The syntax tree as indented text, for `aec show ast` and the parser's tests. One node a
//! line, children below it; operands that are names or numbers stand on the line itself.

use crate::ast::*;
use std::fmt::Write;

/// Dumps a script.
pub fn dump(script: &Script) -> String {
    let mut d = Dump {
        out: String::new(),
        depth: 0,
    };
    if let Some(doc) = &script.doc {
        d.doc(Some(doc));
    }
    for item in &script.items {
        d.item(item);
    }
    d.out
}

/// Dumps one expression.
pub fn dump_expr(e: &Expr) -> String {
    let mut d = Dump {
        out: String::new(),
        depth: 0,
    };
    d.expr("", e);
    d.out
}

struct Dump {
    out: String,
    depth: usize,
}

impl Dump {
    fn line(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(
            self.out,
            "{:width$}{}",
            "",
            text.as_ref(),
            width = self.depth * 2
        );
    }

    fn inside(&mut self, f: impl FnOnce(&mut Dump)) {
        self.depth += 1;
        f(self);
        self.depth -= 1;
    }

    fn doc(&mut self, doc: Option<&Name>) {
        for line in doc.iter().flat_map(|d| d.lines()) {
            self.line(format!("## {line}"));
        }
    }

    fn item(&mut self, item: &Item) {
        match &item.kind {
            ItemKind::Use { path, alias } => {
                let alias = alias
                    .as_ref()
                    .map_or(String::new(), |a| format!(" as {}", a.name));
                self.line(format!("use {}{alias}", dotted(path)));
            }
            ItemKind::Precision(elem) => self.line(format!("precision {}", elem.name)),
            ItemKind::Model(model) => self.model(model),
            ItemKind::Test { name, body } => {
                self.doc(item.doc.as_ref());
                self.line(format!("test {name:?}"));
                self.stmts(body);
            }
            ItemKind::Stmt(stmt) => {
                if !matches!(stmt.kind, StmtKind::Fn(_)) {
                    self.doc(item.doc.as_ref());
                }
                self.stmt(stmt);
            }
        }
    }

    fn model(&mut self, model: &ModelDef) {
        self.doc(model.doc.as_ref());
        self.line(format!("model {}", model.name.name));
        self.inside(|d| {
            d.params(&model.params);
            for item in &model.items {
                match item {
                    ModelItem::Param {
                        names, ty, init, ..
                    } => {
                        let names: Vec<&str> = names.iter().map(|n| &*n.name).collect();
                        d.line(format!(
                            "param {}{}",
                            names.join(", "),
                            annotation(ty.as_ref())
                        ));
                        d.init(init.as_ref());
                    }
                    ModelItem::Let {
                        pattern, ty, value, ..
                    } => {
                        d.line(format!(
                            "let {}{}",
                            pattern_text(pattern),
                            annotation(ty.as_ref())
                        ));
                        d.inside(|d| d.expr("= ", value));
                    }
                    ModelItem::Fn(def) => d.def(def),
                    ModelItem::Error(_) => d.line("error"),
                }
            }
        });
    }

    fn init(&mut self, init: Option<&Init>) {
        self.inside(|d| match init {
            Some(Init::Value(e)) => d.expr("= ", e),
            Some(Init::Draw(e)) => d.expr("~ ", e),
            None => {}
        });
    }

    fn params(&mut self, params: &[Param]) {
        for param in params {
            self.line(format!(
                "parameter {}{}",
                pattern_text(&param.pattern),
                annotation(param.ty.as_ref())
            ));
            if let Some(default) = &param.default {
                self.inside(|d| d.expr("= ", default));
            }
        }
    }

    fn def(&mut self, def: &FnDef) {
        self.doc(def.doc.as_ref());
        let sizes = if def.sizes.is_empty() {
            String::new()
        } else {
            format!("[{}]", type_args(&def.sizes))
        };
        let result = def
            .result
            .as_ref()
            .map_or(String::new(), |t| format!(" -> {}", type_text(t)));
        self.line(format!("fn {}{sizes}{result}", def.name.name));
        self.inside(|d| {
            d.params(&def.params);
            d.expr("", &def.body);
        });
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        self.inside(|d| stmts.iter().for_each(|s| d.stmt(s)));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Let { pattern, ty, init } => {
                self.line(format!(
                    "let {}{}",
                    pattern_text(pattern),
                    annotation(ty.as_ref())
                ));
                self.init(Some(init));
            }
            StmtKind::Fn(def) => self.def(def),
            StmtKind::For {
                pattern,
                iter,
                body,
            } => {
                self.line(format!("for {}", pattern_text(pattern)));
                self.inside(|d| d.expr("in ", iter));
                self.stmts(body);
            }
            StmtKind::Print(values) => {
                self.line("print");
                self.inside(|d| values.iter().for_each(|e| d.expr("", e)));
            }
            StmtKind::Assert { condition, message } => {
                self.line("assert");
                self.inside(|d| {
                    d.expr("", condition);
                    message.iter().for_each(|e| d.expr("message ", e));
                });
            }
            StmtKind::If {
                condition,
                then,
                otherwise,
            } => {
                self.line("if (statement)");
                self.inside(|d| d.expr("", condition));
                self.line("then");
                self.stmts(then);
                if let Some(otherwise) = otherwise {
                    self.line("else");
                    self.stmts(otherwise);
                }
            }
            StmtKind::Expr(e) => self.expr("", e),
            StmtKind::Assign { target, value } => {
                self.line(format!("assign {}", pattern_text(target)));
                self.inside(|d| d.expr("= ", value));
            }
            StmtKind::Error => self.line("error"),
        }
    }

    /// A node and its children; `role` says what it is to its parent.
    fn expr(&mut self, role: &str, e: &Expr) {
        if let Some(text) = leaf(e) {
            return self.line(format!("{role}{text}"));
        }
        let (head, children): (String, Vec<(&str, &Expr)>) = match &e.kind {
            ExprKind::Paren(inner) => ("paren".into(), vec![("", inner)]),
            ExprKind::Tuple(items) => ("tuple".into(), items.iter().map(|e| ("", e)).collect()),
            ExprKind::List(items) => ("list".into(), items.iter().map(|e| ("", e)).collect()),
            ExprKind::Transpose(inner) => ("transpose".into(), vec![("", inner)]),
            ExprKind::Neg(inner) => ("negate".into(), vec![("", inner)]),
            ExprKind::Not(inner) => ("not".into(), vec![("", inner)]),
            ExprKind::Field { base, name } => (format!("field .{}", name.name), vec![("", base)]),
            ExprKind::TupleField { base, index } => (format!("field .{index}"), vec![("", base)]),
            ExprKind::Binary {
                op, left, right, ..
            } => (op.symbol().into(), vec![("", left), ("", right)]),
            ExprKind::Range { start, end } => ("..".into(), vec![("", start), ("", end)]),
            ExprKind::Pipe { value, into } => ("|>".into(), vec![("", value), ("", into)]),
            ExprKind::If {
                condition,
                then,
                otherwise,
            } => (
                "if".into(),
                vec![("", condition), ("then ", then), ("else ", otherwise)],
            ),
            ExprKind::Comprehension {
                element,
                pattern,
                iter,
                condition,
            } => {
                let mut children: Vec<(&str, &Expr)> = vec![("", element), ("in ", iter)];
                children.extend(condition.iter().map(|c| ("if ", &**c)));
                (
                    format!("comprehension for {}", pattern_text(pattern)),
                    children,
                )
            }
            ExprKind::Record(fields) => {
                self.line(format!("{role}record"));
                return self.inside(|d| {
                    fields
                        .iter()
                        .for_each(|(n, e)| d.expr(&format!("{} = ", n.name), e))
                });
            }
            ExprKind::Call { callee, args } => {
                self.line(format!("{role}call"));
                return self.inside(|d| {
                    d.expr("", callee);
                    for arg in args {
                        let name = arg
                            .name
                            .as_ref()
                            .map_or(String::new(), |n| format!("{} = ", n.name));
                        d.expr(&format!("arg {name}"), &arg.value);
                    }
                });
            }
            ExprKind::Index { base, indices } => {
                self.line(format!("{role}index"));
                return self.inside(|d| {
                    d.expr("", base);
                    indices.iter().for_each(|i| d.index(i));
                });
            }
            ExprKind::Lambda(lambda) => {
                self.line(format!("{role}lambda"));
                return self.inside(|d| {
                    d.params(&lambda.params);
                    d.expr("", &lambda.body);
                });
            }
            ExprKind::Train {
                model,
                data,
                settings,
            } => {
                self.line(format!("{role}train"));
                return self.inside(|d| {
                    d.expr("", model);
                    d.expr("on ", data);
                    settings
                        .iter()
                        .for_each(|(n, e)| d.expr(&format!("{} = ", n.name), e));
                });
            }
            ExprKind::Block(stmts) => {
                self.line(format!("{role}block"));
                return self.stmts(stmts);
            }
            ExprKind::Str(parts) => {
                self.line(format!("{role}string"));
                return self.inside(|d| {
                    for part in parts {
                        match part {
                            StrPart::Text(text) => d.line(format!("{text:?}")),
                            StrPart::Value { expr, format } => {
                                let format = format
                                    .as_ref()
                                    .map_or(String::new(), |f| format!("(:{f}) "));
                                d.expr(&format!("value {format}"), expr);
                            }
                        }
                    }
                });
            }
            ExprKind::Name(_)
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Hidden
            | ExprKind::Placeholder
            | ExprKind::Error => return,
        };
        self.line(format!("{role}{head}"));
        self.inside(|d| children.into_iter().for_each(|(role, e)| d.expr(role, e)));
    }

    fn index(&mut self, index: &Index) {
        match index {
            Index::At(e) => self.expr("at ", e),
            Index::Slice { start, end, .. } => {
                self.line("slice");
                self.inside(|d| {
                    start.iter().for_each(|e| d.expr("from ", e));
                    end.iter().for_each(|e| d.expr("to ", e));
                });
            }
            Index::All(_) => self.line("all"),
        }
    }
}

/// Nodes without children.
fn leaf(e: &Expr) -> Option<String> {
    Some(match &e.kind {
        ExprKind::Name(name) => name.to_string(),
        ExprKind::Int(value) => value.to_string(),
        ExprKind::Float(value) => format!("{value:?}"),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Hidden => "?".to_string(),
        ExprKind::Placeholder => "_".to_string(),
        ExprKind::Error => "error".to_string(),
        ExprKind::Str(parts) => match parts.as_slice() {
            [] => "\"\"".to_string(),
            [StrPart::Text(text)] => format!("{text:?}"),
            _ => return None,
        },
        _ => return None,
    })
}

fn dotted(path: &[Ident]) -> String {
    let names: Vec<&str> = path.iter().map(|p| &*p.name).collect();
    names.join(".")
}

fn annotation(ty: Option<&TypeExpr>) -> String {
    ty.map_or(String::new(), |t| format!(": {}", type_text(t)))
}

/// A pattern on one line, as written.
pub fn pattern_text(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Name(ident) => ident.name.to_string(),
        Pattern::Wildcard(_) => "_".to_string(),
        Pattern::Tuple(parts, _) => {
            let parts: Vec<String> = parts.iter().map(pattern_text).collect();
            format!("({})", parts.join(", "))
        }
        Pattern::Record(fields, _) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(n, p)| format!("{} = {}", n.name, pattern_text(p)))
                .collect();
            format!("({})", fields.join(", "))
        }
    }
}

fn type_args(args: &[TypeArg]) -> String {
    let text = |arg: &TypeArg| match arg {
        TypeArg::Type(t) => type_text(t),
        TypeArg::Rest(name) => format!("..{}", name.name),
        TypeArg::Named(name, t) => format!("{}: {}", name.name, type_text(t)),
    };
    args.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// A type on one line, with parentheses around every operation so that its tree can be seen.
pub fn type_text(ty: &TypeExpr) -> String {
    match &ty.kind {
        TypeKind::Int(value) => value.to_string(),
        TypeKind::Path(path) => dotted(path),
        TypeKind::Index { path, args } => format!("{}[{}]", dotted(path), type_args(args)),
        TypeKind::Call { path, args } => {
            let arg = |a: &Arg| {
                let name = a
                    .name
                    .as_ref()
                    .map_or(String::new(), |n| format!("{} = ", n.name));
                format!("{name}{}", inline(&a.value))
            };
            format!(
                "{}({})",
                dotted(path),
                args.iter().map(arg).collect::<Vec<_>>().join(", ")
            )
        }
        TypeKind::Shape(args) => format!("[{}]", type_args(args)),
        TypeKind::Maybe(t) => format!("?{}", type_text(t)),
        TypeKind::Group(args) => format!("({})", type_args(args)),
        TypeKind::Comprehension {
            element,
            pattern,
            iter,
        } => {
            format!(
                "[{} for {} in {}]",
                type_text(element),
                pattern_text(pattern),
                inline(iter)
            )
        }
        TypeKind::Binary { op, left, right } => {
            format!("({} {} {})", type_text(left), op.symbol(), type_text(right))
        }
        TypeKind::Arrow(from, to) => format!("{} -> {}", type_text(from), type_text(to)),
        TypeKind::Error => "error".to_string(),
    }
}

/// An expression's dump on one line: `call(f, arg x)`.
fn inline(e: &Expr) -> String {
    let text = dump_expr(e);
    let mut out = String::new();
    let mut depth = 0;
    for line in text.lines() {
        let indent = (line.len() - line.trim_start().len()) / 2;
        if indent > depth {
            out.push('(');
        } else {
            out.push_str(&")".repeat(depth - indent));
            if !out.is_empty() {
                out.push_str(", ");
            }
        }
        out.push_str(line.trim_start());
        depth = indent;
    }
    out.push_str(&")".repeat(depth));
    out
}
