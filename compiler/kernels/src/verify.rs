//! The rules of loop IR, checked in debug builds and in tests: a back end may rely on them.

use crate::lir::{
    AccOp, Access, Affine, Bound, Kernel, LirBinary, LirUnary, Stmt, Val, ValKind, Var,
};
use crate::nest::operands;
use crate::tidy::{affine, coefficient};
use aec_runtime::Elem;
use cranelift_entity::EntityRef;
use std::collections::HashSet;

struct Verifier<'a> {
    kernel: &'a Kernel,
    vals: HashSet<Val>,
    vars: Vec<Var>,
    /// Values and variables that differ between lanes.
    varying: HashSet<Val>,
    lane: Option<Var>,
    /// Accumulators set so far, and those now being fed by an open loop.
    inits: HashSet<usize>,
}

/// Checks types, scopes, access and the lane rules.
pub fn verify(kernel: &Kernel) -> Result<(), String> {
    let mut v = Verifier {
        kernel,
        vals: HashSet::new(),
        vars: Vec::new(),
        varying: HashSet::new(),
        lane: None,
        inits: HashSet::new(),
    };
    v.body(&kernel.body)
}

impl Verifier<'_> {
    fn body(&mut self, body: &[Stmt]) -> Result<(), String> {
        let known = self.vals.clone();
        for stmt in body {
            self.stmt(stmt)?;
        }
        self.vals = known;
        Ok(())
    }

    fn bound(&self, bound: Bound) -> Result<(), String> {
        match bound {
            Bound::Const(_) => Ok(()),
            Bound::Arg(n) if n < self.kernel.arg_count => Ok(()),
            Bound::Arg(n) => Err(format!("there is no argument {n}")),
            Bound::Block { of, size } | Bound::BlockEnd { of, size, .. } => {
                match self.vars.contains(&of) && size > 0 {
                    true => Ok(()),
                    false => Err(format!("there are no blocks of {of}")),
                }
            }
        }
    }

    fn index(&self, index: &Affine) -> Result<(), String> {
        let mut seen = HashSet::new();
        for &(var, _) in &index.vars {
            if !self.vars.contains(&var) {
                return Err(format!("{var} is used outside its loop"));
            }
            if !seen.insert(var) {
                return Err(format!("{var} stands twice in an index"));
            }
        }
        for &(arg, _) in &index.args {
            self.bound(Bound::Arg(arg))?;
        }
        Ok(())
    }

    fn used(&self, val: Val) -> Result<Elem, String> {
        if !self.vals.contains(&val) {
            return Err(format!("{val} is used where it is not known"));
        }
        Ok(self.kernel.values[val].elem)
    }

    fn typed(&self, val: Val, elem: Elem) -> Result<(), String> {
        let own = self.used(val)?;
        if own == elem {
            Ok(())
        } else {
            Err(format!("{val} is {own}, not {elem}"))
        }
    }

    fn access(&self, buffer: crate::lir::BufferId, elem: Elem, store: bool) -> Result<(), String> {
        let Some(data) = self.kernel.buffers.get(buffer) else {
            return Err(format!("there is no {buffer}"));
        };
        let forbidden = if store { Access::Read } else { Access::Write };
        if data.access == forbidden {
            return Err(format!("{buffer} is accessed against its kind"));
        }
        if data.elem != elem {
            return Err(format!("{buffer} holds {}, not {elem}", data.elem));
        }
        Ok(())
    }

    fn varies(&self, index: &Affine) -> bool {
        self.lane.is_some_and(|lane| coefficient(index, lane) != 0)
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), String> {
        match stmt {
            Stmt::Loop(inner) => {
                self.bound(inner.start)?;
                self.bound(inner.end)?;
                if inner.lanes && self.lane.is_some() {
                    return Err("a lane loop stands in another".to_string());
                }
                if self.vars.contains(&inner.var) {
                    return Err(format!("{} runs in two nested loops", inner.var));
                }
                self.vars.push(inner.var);
                let outer = self.lane;
                if inner.lanes {
                    self.lane = Some(inner.var);
                }
                let inits = self.inits.clone();
                self.body(&inner.body)?;
                self.inits = inits;
                self.lane = outer;
                if outer.is_none() {
                    self.varying.clear();
                }
                self.vars.pop();
            }
            Stmt::Let(val) => {
                self.value(*val)?;
                if !self.vals.insert(*val) {
                    return Err(format!("{val} is computed twice"));
                }
            }
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                self.index(index)?;
                let elem = self.used(*value)?;
                self.access(*buffer, elem, true)?;
                if self.lane.is_some() && !self.varies(index) {
                    return Err(format!("all lanes store to one place of {buffer}"));
                }
            }
            Stmt::StoreAt {
                buffer,
                index,
                at,
                value,
                ..
            } => {
                self.index(index)?;
                self.typed(*at, Elem::I64)?;
                let elem = self.used(*value)?;
                self.access(*buffer, elem, true)?;
            }
            Stmt::Init(acc) => {
                let data = self.kernel.accs[*acc];
                let logical = matches!(data.op, AccOp::All | AccOp::Any);
                if logical != (data.elem == Elem::Bool) {
                    return Err(format!("{acc} does not fit its type"));
                }
                self.inits.insert(acc.index());
            }
            Stmt::Accumulate(acc, val) => {
                if !self.inits.contains(&acc.index()) {
                    return Err(format!("{acc} is fed before it is set"));
                }
                self.typed(*val, self.kernel.accs[*acc].elem)?;
            }
            Stmt::Check {
                ok, status, detail, ..
            } => {
                self.typed(*ok, Elem::Bool)?;
                self.typed(*detail, Elem::I64)?;
                self.access(*status, Elem::I64, true)?;
            }
        }
        Ok(())
    }

    fn value(&mut self, val: Val) -> Result<(), String> {
        let Some(data) = self.kernel.values.get(val) else {
            return Err(format!("there is no {val}"));
        };
        let elem = data.elem;
        let fail = |what: &str| Err(format!("{val}: {what} of {elem}"));
        if let Some(index) = affine(&data.kind) {
            self.index(index)?;
        }
        match &data.kind {
            ValKind::Float(_) if !elem.is_float() => return fail("a float constant"),
            ValKind::Int(_) if !elem.is_int() => return fail("an int constant"),
            ValKind::Bool(_) if elem != Elem::Bool => return fail("a Bool constant"),
            ValKind::Float(_) | ValKind::Int(_) | ValKind::Bool(_) => {}
            ValKind::Index(_) => {
                if elem != Elem::I64 {
                    return fail("an index");
                }
            }
            ValKind::Load { buffer, .. } => self.access(*buffer, elem, false)?,
            ValKind::LoadAt { buffer, at, .. } => {
                self.access(*buffer, elem, false)?;
                self.typed(*at, Elem::I64)?;
            }
            ValKind::Unary(op, a) => {
                self.typed(*a, elem)?;
                let ok = match op {
                    LirUnary::Not => !elem.is_float(),
                    LirUnary::Neg => elem != Elem::Bool,
                    LirUnary::Abs | LirUnary::Sqrt | LirUnary::Floor | LirUnary::Nearest => {
                        elem.is_float()
                    }
                };
                if !ok {
                    return fail("an operation");
                }
            }
            ValKind::Binary(op, a, b) => {
                self.typed(*a, elem)?;
                self.typed(*b, elem)?;
                let ok = match op {
                    LirBinary::Add
                    | LirBinary::Sub
                    | LirBinary::Mul
                    | LirBinary::Min
                    | LirBinary::Max => elem != Elem::Bool,
                    LirBinary::Div => elem.is_float(),
                    LirBinary::And | LirBinary::Or | LirBinary::Xor => !elem.is_float(),
                    LirBinary::FloorDiv | LirBinary::FloorMod => elem.is_int(),
                    LirBinary::Shl | LirBinary::ShrLogical | LirBinary::ShrArithmetic => {
                        elem.is_int() && matches!(self.kernel.values[*b].kind, ValKind::Int(_))
                    }
                };
                if !ok {
                    return fail("an operation");
                }
            }
            ValKind::Fma(a, b, c) => {
                for operand in [a, b, c] {
                    self.typed(*operand, elem)?;
                }
                if !elem.is_float() {
                    return fail("an fma");
                }
            }
            ValKind::Compare(_, a, b) => {
                let own = self.used(*a)?;
                self.typed(*b, own)?;
                if elem != Elem::Bool || own == Elem::Bool {
                    return fail("a comparison");
                }
            }
            ValKind::Select(c, a, b) => {
                self.typed(*c, Elem::Bool)?;
                self.typed(*a, elem)?;
                self.typed(*b, elem)?;
            }
            ValKind::Convert(a) => {
                self.used(*a)?;
            }
            ValKind::Bitcast(a) => {
                let from = self.used(*a)?;
                let pair = matches!(
                    (from, elem),
                    (Elem::F32, Elem::I32)
                        | (Elem::I32, Elem::F32)
                        | (Elem::F64, Elem::I64)
                        | (Elem::I64, Elem::F64)
                );
                if !pair {
                    return fail("a bitcast");
                }
            }
            ValKind::AccRead(acc) => {
                if !self.inits.contains(&acc.index()) || self.kernel.accs[*acc].elem != elem {
                    return fail("an accumulator's reading");
                }
            }
            ValKind::DrawKey(seed, _) => self.typed(*seed, Elem::I64)?,
            ValKind::Draw {
                key,
                element,
                inner,
                example,
                step,
                ..
            } => {
                for operand in [key, inner, example, step] {
                    self.typed(*operand, Elem::I64)?;
                    if self.varying.contains(operand) {
                        return fail("a draw that is not of consecutive elements");
                    }
                }
                if let Some(lane) = self.lane
                    && coefficient(element, lane) != 1
                {
                    return fail("a draw that is not of consecutive elements");
                }
                if !elem.is_float() {
                    return fail("a draw");
                }
            }
        }
        for operand in operands(&data.kind) {
            self.used(operand)?;
        }
        let varies = affine(&data.kind).is_some_and(|index| self.varies(index))
            || operands(&data.kind)
                .iter()
                .any(|v| self.varying.contains(v))
            || (self.lane.is_some() && matches!(data.kind, ValKind::AccRead(_)));
        if varies {
            self.varying.insert(val);
        }
        Ok(())
    }
}
