//! Runs a parsed program.
//!
//! ```text
//!   globals: command line's variables, xm_*, modules        functions see these and their own names only, as with xm
//!   locals:  what the file assigns ------------------------> Run: every variable and where it was assigned
//!      stmt --> expr --> ops, compare, format, call --> builtins, methods, modules, xm_vars
//!                              each takes from the Budget: steps, bytes, depth
//! ```
//! Nothing here touches the host: there are no files, processes or sockets to reach.

mod builtins;
mod call;
mod compare;
mod exceptions;
pub(crate) mod format;
mod methods;
mod modules;
mod ops;
mod sequences;
mod stmt;
mod xm_vars;

pub(crate) use builtins::parse_int;

use crate::ast::{Expr, ExprKind, Function, Program, UnaryOp};
use crate::error::{ConfigError, Pos, Result};
use crate::limits::{Budget, Limits};
use crate::value::{Items, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A variable that the program assigned.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its last value.
    pub value: Value,
    /// Where it was assigned last.
    pub at: Pos,
}

/// What a program leaves behind.
#[derive(Debug, Default)]
pub struct Run {
    /// Variables in order of their names.
    pub variables: BTreeMap<String, Variable>,
    /// Names declared by `xm_vars.var`.
    pub declared: BTreeSet<String>,
}

/// What a program starts with.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Names that it finds.
    pub names: BTreeMap<String, Value>,
    /// The words of the command line, for `xm_vars`.
    pub words: BTreeMap<String, String>,
    /// `xm_vars.check()` tells what is declared and ends the program.
    pub help: bool,
}

/// Runs `program`; `output` gets what it prints.
pub fn run(
    program: &Program,
    given: &Given,
    output: &mut dyn FnMut(&str),
    limits: &Limits,
) -> Result<Run> {
    let mut globals = given.names.clone();
    for name in ["errno", "os", "re", "socket", "struct", "sys", "xm_vars"] {
        globals.insert(name.to_owned(), modules::find(name, Pos::default())?);
    }
    for (name, function) in modules::GIVEN {
        globals
            .entry(name.to_owned())
            .or_insert(Value::Builtin(function));
    }
    let mut evaluator = Evaluator {
        given,
        globals,
        variables: BTreeMap::new(),
        frames: Vec::new(),
        handled: Vec::new(),
        xm_vars: Vec::new(),
        output,
        budget: Budget::new(limits),
        depth: 0,
    };
    evaluator.block(&program.body)?;
    Ok(Run {
        variables: evaluator.variables,
        declared: evaluator
            .xm_vars
            .into_iter()
            .map(|declared| declared.name)
            .collect(),
    })
}

/// A running call.
struct Frame {
    locals: BTreeMap<String, Value>,
    function: Rc<Function>,
}

struct Evaluator<'a> {
    given: &'a Given,
    globals: BTreeMap<String, Value>,
    variables: BTreeMap<String, Variable>,
    frames: Vec<Frame>,
    /// Exceptions whose handlers run, for a bare `raise`.
    handled: Vec<ConfigError>,
    xm_vars: Vec<xm_vars::Declared>,
    output: &'a mut dyn FnMut(&str),
    budget: Budget,
    depth: usize,
}

/// Bytes charged for each member of a container, about what it takes here.
const MEMBER: usize = std::mem::size_of::<Value>();

/// Statements, expressions and calls inside one another. The stack that `load` runs us on is sized for it.
const MAX_DEPTH: usize = 400;

impl Evaluator<'_> {
    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, at: Pos, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(ConfigError::limit(at, "calls nested too deeply"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn name(&mut self, name: &str, at: Pos) -> Result<Value> {
        match name {
            "None" => return Ok(Value::None),
            "True" => return Ok(Value::Bool(true)),
            "False" => return Ok(Value::Bool(false)),
            _ => {}
        }
        let local = match self.frames.last() {
            Some(frame) => frame.locals.get(name),
            None => self.variables.get(name).map(|variable| &variable.value),
        };
        if let Some(value) = local.or_else(|| self.globals.get(name)) {
            return Ok(value.clone());
        }
        if let Some(name) = builtins::find(name).or_else(|| exceptions::class(name)) {
            return Ok(Value::Builtin(name));
        }
        if let Some(refused) = builtins::refused(name, at) {
            return Err(refused);
        }
        let hint = match !self.frames.is_empty() && self.variables.contains_key(name) {
            true => "; a function does not see the file's own variables, give it as an argument",
            false => "",
        };
        let message = format!("name '{name}' is not defined{hint}");
        Err(ConfigError::runtime("NameError", at, message))
    }

    fn exprs(&mut self, exprs: &[Expr]) -> Result<Vec<Value>> {
        if let Some(first) = exprs.first() {
            self.budget.bytes(first.at, exprs.len() * MEMBER)?;
        }
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn expr(&mut self, expr: &Expr) -> Result<Value> {
        self.budget.step(expr.at)?;
        self.deeper(expr.at, |this| this.evaluate(expr))
    }

    fn evaluate(&mut self, expr: &Expr) -> Result<Value> {
        let at = expr.at;
        match &expr.kind {
            ExprKind::Int(value, true) => Ok(Value::Long(*value)),
            ExprKind::Int(value, false) => Ok(Value::whole(*value)),
            ExprKind::Float(value) => Ok(Value::Float(*value)),
            ExprKind::Str(text, unicode) => {
                self.budget.bytes(at, text.len())?;
                Ok(Value::Str(text.as_str().into(), *unicode))
            }
            ExprKind::Name(name) => self.name(name, at),
            ExprKind::List(items) => Ok(Value::list(self.exprs(items)?)),
            ExprKind::Tuple(items) => Ok(Value::tuple(self.exprs(items)?)),
            ExprKind::Dict(pairs) => {
                let dict = Value::Dict(Items::new(Vec::new()));
                for (key, value) in pairs {
                    let key = self.expr(key)?;
                    let value = self.expr(value)?;
                    ops::set_item(self, &dict, key, value, at)?;
                }
                Ok(dict)
            }
            ExprKind::Binary(first, rest) => {
                let mut left = self.expr(first)?;
                for (op, at, right) in rest {
                    let right = self.expr(right)?;
                    left = ops::binary(self, *op, &left, &right, *at)?;
                }
                Ok(left)
            }
            ExprKind::Unary(UnaryOp::Not, inner) => Ok(Value::Bool(!self.expr(inner)?.truth())),
            ExprKind::Unary(op, inner) => {
                let value = self.expr(inner)?;
                ops::unary(*op, &value, at)
            }
            ExprKind::Bool(and, items) => {
                let mut last = Value::None;
                for item in items {
                    last = self.expr(item)?;
                    if last.truth() != *and {
                        break;
                    }
                }
                Ok(last)
            }
            ExprKind::Compare(first, rest) => self.chain(first, rest, at).map(Value::Bool),
            ExprKind::Choice(test, yes, no) => {
                let chosen = if self.expr(test)?.truth() { yes } else { no };
                self.expr(chosen)
            }
            ExprKind::Item(object, index) => {
                let object = self.expr(object)?;
                let index = self.expr(index)?;
                ops::item(self, &object, &index, at)
            }
            ExprKind::Slice(object, parts) => {
                let object = self.expr(object)?;
                let mut bounds = [None, None, None];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    if let Some(part) = part {
                        *bound = Some(self.expr(part)?);
                    }
                }
                ops::slice(self, &object, &bounds, at)
            }
            ExprKind::Call(callee, args, named) => self.call_expr(callee, args, named, at),
            ExprKind::Attribute(object, name) => {
                let object = self.expr(object)?;
                self.attribute(&object, name, at)
            }
            ExprKind::Comprehension(value, clauses) => {
                let mut out = Vec::new();
                self.comprehension(value, clauses, &mut out)?;
                Ok(Value::list(out))
            }
            ExprKind::Lambda(function) => self.closure(function),
        }
    }
}

#[cfg(test)]
mod tests;
