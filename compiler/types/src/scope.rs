//! Scopes: chains of names. A scope may belong to a model, whose members are then visible.

use crate::value::{Closure, Code, Model, Value};
use aec_syntax::ast::{FnDef, ModelItem, Name};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// A scope; clones share it.
#[derive(Clone)]
pub struct Scope(Rc<ScopeData>);

/// The names of one scope: a few in a row, or those of a module by hash.
enum Names {
    Few(Vec<(Name, Value)>),
    Many(FxHashMap<Name, Value>),
}

impl Names {
    fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Names::Few(all) => all
                .iter()
                .find(|(known, _)| **known == *name)
                .map(|(_, value)| value),
            Names::Many(all) => all.get(name),
        }
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        match self {
            Names::Few(all) => all
                .iter_mut()
                .find(|(known, _)| **known == *name)
                .map(|(_, value)| value),
            Names::Many(all) => all.get_mut(name),
        }
    }

    fn insert(&mut self, name: Name, value: Value) {
        if let Some(slot) = self.get_mut(&name) {
            *slot = value;
            return;
        }
        match self {
            Names::Few(all) => all.push((name, value)),
            Names::Many(all) => {
                all.insert(name, value);
            }
        }
    }

    fn keys(&self) -> Vec<Name> {
        match self {
            Names::Few(all) => all.iter().map(|(name, _)| name.clone()).collect(),
            Names::Many(all) => all.keys().cloned().collect(),
        }
    }
}

struct ScopeData {
    names: RefCell<Names>,
    parent: Option<Scope>,
    model: Option<Rc<Model>>,
    module: bool,
}

impl Scope {
    /// A scope without a parent.
    pub fn root() -> Scope {
        Scope(Rc::new(ScopeData {
            names: RefCell::new(Names::Many(FxHashMap::default())),
            parent: None,
            model: None,
            module: true,
        }))
    }

    /// The scope of a module or script inside this one. Sizes in types never look here or beyond
    /// (SEMANTICS.md S1).
    pub fn module(&self) -> Scope {
        Scope(Rc::new(ScopeData {
            names: RefCell::new(Names::Many(FxHashMap::default())),
            parent: Some(self.clone()),
            model: None,
            module: true,
        }))
    }

    /// A scope inside this one.
    pub fn child(&self) -> Scope {
        Scope(Rc::new(ScopeData {
            names: RefCell::new(Names::Few(Vec::new())),
            parent: Some(self.clone()),
            model: None,
            module: false,
        }))
    }

    /// A scope inside this one in which a model's members are visible.
    pub fn of_model(&self, model: Rc<Model>) -> Scope {
        Scope(Rc::new(ScopeData {
            names: RefCell::new(Names::Few(Vec::new())),
            parent: Some(self.clone()),
            model: Some(model),
            module: false,
        }))
    }

    /// Binds a name here.
    pub fn define(&self, name: Name, value: Value) {
        self.0.names.borrow_mut().insert(name, value);
    }

    /// Rebinds the innermost binding of a name; false if there is none.
    pub fn assign(&self, name: &str, value: Value) -> bool {
        let mut scope = self;
        loop {
            if let Some(slot) = scope.0.names.borrow_mut().get_mut(name) {
                *slot = value;
                return true;
            }
            match &scope.0.parent {
                Some(parent) => scope = parent,
                None => return false,
            }
        }
    }

    /// The innermost value of a name.
    pub fn lookup(&self, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.here(name) {
                return Some(value);
            }
            scope = scope.0.parent.as_ref()?;
        }
    }

    /// The innermost value of a name below the module's own scope.
    pub fn lookup_local(&self, name: &str) -> Option<(Value, Option<Rc<Model>>)> {
        let mut scope = self;
        while !scope.0.module {
            if let Some(value) = scope.here(name) {
                return Some((value, scope.0.model.clone()));
            }
            scope = scope.0.parent.as_ref()?;
        }
        None
    }

    /// The innermost value of a name in scopes inside `outer`, which is not looked into.
    pub fn lookup_below(&self, name: &str, outer: &Scope) -> Option<Value> {
        let mut scope = self;
        while !Rc::ptr_eq(&scope.0, &outer.0) {
            if let Some(value) = scope.here(name) {
                return Some(value);
            }
            scope = scope.0.parent.as_ref()?;
        }
        None
    }

    /// What this scope itself binds a name to.
    pub fn here(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.0.names.borrow().get(name) {
            return Some(value.clone());
        }
        let model = self.0.model.as_ref()?;
        let def = member(model, name)?;
        Some(Value::Fn(Rc::new(Closure {
            name: def.name.name.clone(),
            span: def.span,
            code: Code::Named(def, self.clone()),
        })))
    }

    /// All names that can be seen, for suggestions and completion; inner ones first.
    pub fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        let mut scope = Some(self);
        while let Some(at) = scope {
            names.extend(at.0.names.borrow().keys());
            if let Some(model) = &at.0.model {
                names.extend(
                    model
                        .template
                        .def
                        .items
                        .iter()
                        .filter_map(|item| match item {
                            ModelItem::Fn(def) => Some(def.name.name.clone()),
                            ModelItem::Param { .. }
                            | ModelItem::Let { .. }
                            | ModelItem::Error(_) => None,
                        }),
                );
            }
            scope = at.0.parent.as_ref();
        }
        names
    }

    /// Whether both are the one scope.
    pub fn same(&self, other: &Scope) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The innermost model in whose scope this is.
    pub fn model(&self) -> Option<Rc<Model>> {
        let mut scope = self;
        loop {
            if let Some(model) = &scope.0.model {
                return Some(model.clone());
            }
            scope = scope.0.parent.as_ref()?;
        }
    }

    /// Whether this is the scope of a model's members.
    pub fn is_of_model(&self) -> bool {
        self.0.model.is_some()
    }

    /// Names that this scope itself binds, sorted.
    pub fn own_names(&self) -> Vec<Name> {
        let mut names = self.0.names.borrow().keys();
        names.sort();
        names
    }
}

/// The member function of that name.
pub fn member(model: &Model, name: &str) -> Option<Rc<FnDef>> {
    model.template.def.items.iter().find_map(|item| match item {
        ModelItem::Fn(def) if &*def.name.name == name => Some(def.clone()),
        ModelItem::Fn(_)
        | ModelItem::Param { .. }
        | ModelItem::Let { .. }
        | ModelItem::Error(_) => None,
    })
}
