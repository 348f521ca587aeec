//! The text form of TIR, written. [`crate::parse`] reads it back: `parse(print(f))` is
//! `f.compact()` without spans. Values are numbered by definition, params first, so that the
//! text does not depend on what passes left in the arenas.

use crate::function::{Function, Inst, Type, Value};
use crate::op::{Contract, Distribution, Fault, Label, Literal, Mode, Op, Reduction};
use aec_runtime::linalg::MatrixOp;
use aec_runtime::{Data, Elem, Tensor};
use cranelift_entity::{SecondaryMap, packed_option::PackedOption};
use std::fmt::{self, Write};

/// Dense constants longer than this are cut in [`summary`].
const SUMMARY_ELEMENTS: usize = 8;

/// The number of each value in the text.
pub(crate) struct Names {
    number: SecondaryMap<Value, PackedOption<Value>>,
}

impl Names {
    /// Numbers by definition: params, then results in order.
    pub(crate) fn of(f: &Function) -> Names {
        let mut number = SecondaryMap::new();
        let results = f
            .order
            .iter()
            .filter_map(|&inst| f.insts.get(inst))
            .flat_map(|data| data.results.iter());
        for (next, &value) in f.params.iter().chain(results).enumerate() {
            number[value] = PackedOption::from(Value::from_u32(next as u32));
        }
        Names { number }
    }
}

/// `%3`; a value that nothing defines is `%undefined12` with its number in the arena.
pub(crate) fn value_name(names: &Names, value: Value) -> String {
    match names.number[value].expand() {
        Some(number) => number.to_string(),
        None => format!("%undefined{}", value.as_u32()),
    }
}

/// `a` to `z`, then `a1`.
pub fn label_name(label: Label) -> String {
    let letter = char::from(b'a' + label % 26);
    match label / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}

/// One instruction as it stands in the text, without indentation; regions take many lines.
pub(crate) fn inst_text(f: &Function, names: &Names, inst: Inst) -> String {
    let mut printer = Printer {
        text: String::new(),
        dense_limit: SUMMARY_ELEMENTS,
    };
    printer.inst(f, names, inst, 0);
    printer.text
}

/// The text with long constants cut short: for people, not for [`crate::parse`].
pub fn summary(f: &Function) -> String {
    text(f, SUMMARY_ELEMENTS)
}

/// The text of `f`, complete.
pub fn print(f: &Function) -> String {
    text(f, usize::MAX)
}

fn text(f: &Function, dense_limit: usize) -> String {
    let mut printer = Printer {
        text: String::new(),
        dense_limit,
    };
    printer.function(f, 0);
    printer.text
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.elem)?;
        if self.dims.is_empty() {
            return Ok(());
        }
        f.write_char('[')?;
        for (axis, size) in self.dims.iter().enumerate() {
            if axis > 0 {
                f.write_char(',')?;
            }
            write!(f, "{size}")?;
        }
        f.write_char(']')
    }
}

struct Printer {
    text: String,
    dense_limit: usize,
}

/// A name as it stands, or in quotes if it is not one word.
fn word(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if plain {
        name.to_string()
    } else {
        quoted(name)
    }
}

fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn float64(value: f64) -> String {
    if value.is_nan() {
        if value.to_bits() == f64::NAN.to_bits() {
            "nan".to_string()
        } else {
            format!("nan:{:#x}", value.to_bits())
        }
    } else {
        format!("{value:?}")
    }
}

fn float32(value: f32) -> String {
    if value.is_nan() {
        if value.to_bits() == f32::NAN.to_bits() {
            "nan".to_string()
        } else {
            format!("nan:{:#x}", value.to_bits())
        }
    } else {
        format!("{value:?}")
    }
}

fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(text).collect();
    format!("[{}]", items.join(","))
}

fn sizes(items: &[usize]) -> String {
    list(items, usize::to_string)
}

impl Printer {
    fn indent(&mut self, depth: usize) {
        for _ in 0..depth {
            self.text.push_str("  ");
        }
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn function(&mut self, f: &Function, depth: usize) {
        let names = Names::of(f);
        self.indent(depth);
        self.put(&format!("fn {}(", word(&f.name)));
        for (index, &param) in f.params.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            self.put(&value_name(&names, param));
            match f.param_names.get(index) {
                Some(name) if !name.is_empty() => {
                    self.put(" ");
                    self.put(&quoted(name));
                }
                _ => {}
            }
            self.put(&format!(": {}", f.ty(param)));
        }
        self.put(") {\n");
        for &inst in &f.order {
            if f.insts.get(inst).is_none() {
                continue;
            }
            self.indent(depth + 1);
            self.inst(f, &names, inst, depth + 1);
            self.put("\n");
        }
        for &(param, result) in &f.aliases {
            self.indent(depth + 1);
            self.put(&format!("alias {param} -> {result}\n"));
        }
        for guard in &f.guards {
            self.indent(depth + 1);
            self.put(&format!("guard {}\n", value_name(&names, guard.value)));
        }
        self.indent(depth + 1);
        self.put("return");
        for (index, &result) in f.results.iter().enumerate() {
            self.put(if index > 0 { ", " } else { " " });
            self.put(&value_name(&names, result));
        }
        self.put("\n");
        self.indent(depth);
        self.put("}\n");
    }

    fn inst(&mut self, f: &Function, names: &Names, inst: Inst, depth: usize) {
        let data = &f.insts[inst];
        for (index, &result) in data.results.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            self.put(&format!("{}: {}", value_name(names, result), f.ty(result)));
        }
        self.put(if data.results.is_empty() { "= " } else { " = " });
        let operands: Vec<String> = data
            .operands
            .iter()
            .map(|&operand| value_name(names, operand))
            .collect();
        self.put(data.op.name());
        match &data.op {
            Op::Constant(literal) => {
                let text = match *literal {
                    Literal::Float(value) => float64(value),
                    Literal::Int(value) => value.to_string(),
                    Literal::Bool(value) => value.to_string(),
                };
                self.put(&format!(" {text}"));
            }
            Op::Dense(tensor) => self.dense(tensor),
            Op::Iota { axis } | Op::Concat { axis } => self.put(&format!(" {axis}")),
            Op::Contract(contract) => {
                self.contract(contract, &operands);
                return;
            }
            Op::Reduce { op, axes } => self.put(&format!(" {} {}", op.name(), sizes(axes))),
            Op::ArgReduce { op, axis } => self.put(&format!(" {} {axis}", op.name())),
            Op::Slice {
                start,
                limit,
                stride,
            } => {
                let ranges: Vec<String> = (0..start.len())
                    .map(|axis| match stride[axis] {
                        1 => format!("{}:{}", start[axis], limit[axis]),
                        step => format!("{}:{}:{step}", start[axis], limit[axis]),
                    })
                    .collect();
                self.put(&format!(" [{}]", ranges.join(",")));
            }
            Op::Pad {
                low,
                high,
                interior,
            } => {
                let ranges: Vec<String> = (0..low.len())
                    .map(|axis| match interior[axis] {
                        0 => format!("{}:{}", low[axis], high[axis]),
                        between => format!("{}:{}:{between}", low[axis], high[axis]),
                    })
                    .collect();
                self.put(&format!(" [{}]", ranges.join(",")));
            }
            Op::Reverse { axes } => self.put(&format!(" {}", sizes(axes))),
            Op::Gather { batch, fault } => {
                self.put(&format!(" batch {batch}"));
                match fault {
                    Fault::Index => {}
                    Fault::Unobserved => self.put(" observed"),
                    Fault::Beyond => self.put(" beyond"),
                    Fault::Chance => self.put(" chance"),
                }
            }
            Op::Levels { rows } => self.put(&format!(" rows {rows}")),
            Op::ScatterAdd { batch } | Op::Put { batch } => self.put(&format!(" batch {batch}")),
            Op::CumSum { axis, reverse } => {
                self.put(&format!(
                    " {axis}{}",
                    if *reverse { " reverse" } else { "" }
                ));
            }
            Op::Draw {
                distribution,
                site,
                batch,
                radices,
            } => {
                self.put(&format!(
                    " {} site {site:#x} batch {batch} radices {}",
                    distribution.name(),
                    sizes(radices)
                ));
            }
            Op::Map {
                size,
                mapped,
                is_batch,
                body,
            } => {
                self.put(&format!(
                    " {size}{} (",
                    if *is_batch { " batch" } else { "" }
                ));
                self.marked(&operands, mapped, "mapped");
                self.region(body, depth);
                return;
            }
            Op::Loop(looped) => {
                self.put(&format!(
                    " {}{}{}{}{} (",
                    looped.count,
                    if looped.reverse { " reverse" } else { "" },
                    if looped.exit { " exit" } else { "" },
                    if looped.recomputed { " recomputed" } else { "" },
                    if looped.nodes { " nodes" } else { "" }
                ));
                let limit = operands.len() - usize::from(looped.limited && !operands.is_empty());
                let (operands, limit) = operands.split_at(limit);
                let (state, rest) = operands.split_at(looped.carried.min(operands.len()));
                let (slices, constants) = rest.split_at(looped.sliced.min(rest.len()));
                let mut parts = vec![state, slices, constants];
                parts.extend(looped.limited.then_some(limit));
                let parts: Vec<String> = parts.iter().map(|part| part.join(", ")).collect();
                self.put(&parts.join("; "));
                self.region(&looped.body, depth);
                return;
            }
            Op::Derivative { mode, active, body } => {
                self.put(&format!(" {} (", mode.name()));
                let split = active.len().min(operands.len());
                self.marked(&operands[..split], active, "active");
                if operands.len() > split {
                    self.put(&format!("; {}", operands[split..].join(", ")));
                }
                self.region(body, depth);
                return;
            }
            Op::Matrix(MatrixOp::Solve(system)) => self.put(&format!(" {}", system.name())),
            Op::Matrix(
                MatrixOp::Cholesky
                | MatrixOp::LogDet
                | MatrixOp::Qr
                | MatrixOp::Svd
                | MatrixOp::Eigh,
            )
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Select
            | Op::Convert
            | Op::Reshape
            | Op::ArgSort
            | Op::BatchMean
            | Op::Stop => {}
            Op::Slope { batch } => self.put(&format!(" batch {batch}")),
        }
        for (index, operand) in operands.iter().enumerate() {
            self.put(if index > 0 { ", " } else { " " });
            self.put(operand);
        }
    }

    fn marked(&mut self, operands: &[String], marks: &[bool], mark: &str) {
        for (index, operand) in operands.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            self.put(operand);
            if marks.get(index) == Some(&true) {
                self.put(" ");
                self.put(mark);
            }
        }
    }

    fn region(&mut self, body: &Function, depth: usize) {
        self.put(") {\n");
        self.function(body, depth + 1);
        self.indent(depth);
        self.put("}");
    }

    fn contract(&mut self, contract: &Contract, operands: &[String]) {
        let labels = |labels: &[Label]| list(labels, |&label| label_name(label));
        if contract.coefficient.to_bits() != 1f64.to_bits() {
            self.put(&format!(" {}", float64(contract.coefficient)));
        }
        let mut told = vec![false; contract.sizes.len()];
        let mut tell = |label: Label| {
            if let Some(told) = told.get_mut(usize::from(label)) {
                *told = true;
            }
        };
        for (index, factor) in contract.factors.iter().enumerate() {
            let operand = operands.get(index).map_or("%missing", |name| name);
            self.put(&format!(" {operand}{}", labels(&factor.labels)));
            if factor.power != 1 {
                self.put(&format!("^{}", factor.power));
            }
            factor.labels.iter().for_each(|&label| tell(label));
        }
        for &(a, b) in &contract.deltas {
            self.put(&format!(" delta{}", labels(&[a, b])));
        }
        contract.out.iter().for_each(|&label| tell(label));
        self.put(&format!(" -> {}", labels(&contract.out)));
        // Labels whose sizes no type in the line gives.
        let rest: Vec<String> = (0..told.len())
            .filter(|&label| !told[label])
            .map(|label| format!("{}={}", label_name(label as Label), contract.sizes[label]))
            .collect();
        if !rest.is_empty() {
            self.put(&format!(" where {}", rest.join(", ")));
        }
    }

    fn dense(&mut self, tensor: &Tensor) {
        let limit = self.dense_limit;
        let mut items: Vec<String> = match tensor.data() {
            Data::F32(v) => v.iter().take(limit).map(|&x| float32(x)).collect(),
            Data::F64(v) => v.iter().take(limit).map(|&x| float64(x)).collect(),
            Data::I32(v) => v.iter().take(limit).map(i32::to_string).collect(),
            Data::I64(v) => v.iter().take(limit).map(i64::to_string).collect(),
            Data::Bool(v) => v
                .iter()
                .take(limit)
                .map(|&x| (x != 0).to_string())
                .collect(),
        };
        if tensor.len() > limit {
            items.push(format!("… {} elements", tensor.len()));
        }
        self.put(&format!(" [{}]", items.join(", ")));
    }
}

impl Reduction {
    /// All of them.
    pub const ALL: [Reduction; 4] = [
        Reduction::Max,
        Reduction::Min,
        Reduction::All,
        Reduction::Any,
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Max => "max",
            Reduction::Min => "min",
            Reduction::All => "all",
            Reduction::Any => "any",
        }
    }
}

impl Distribution {
    /// All of them.
    pub const ALL: [Distribution; 2] = [Distribution::Uniform, Distribution::Normal];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Normal => "normal",
        }
    }
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Vjp, Mode::Jvp, Mode::Jacobian];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Vjp => "vjp",
            Mode::Jvp => "jvp",
            Mode::Jacobian => "jacobian",
        }
    }
}

/// The element type of that name.
pub(crate) fn elem_named(name: &str) -> Option<Elem> {
    [Elem::F32, Elem::F64, Elem::I32, Elem::I64, Elem::Bool]
        .into_iter()
        .find(|elem| elem.name() == name)
}
