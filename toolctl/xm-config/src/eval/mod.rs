//! Runs a parsed program.
//!
//! ```text
//!   given (command line) ----> names ----> expressions --ops/format/builtins--> values
//!   [Stmt] -- assign --------> locals --^                    |
//!                                |                        Budget: steps, bytes
//!                                v
//!                               Run: every variable, where it was assigned, which names were read
//! ```
//! Nothing here touches the host: there is no import, no file, no process, no clock.

mod builtins;
pub(crate) use builtins::parse_int;
pub(crate) mod format;
mod ops;

use crate::ast::{Expr, ExprKind, Stmt, StmtKind, Target, UnaryOp};
use crate::error::{ConfigError, Pos, Result};
use crate::limits::{Budget, Limits};
use crate::value::{Items, Value};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Names that some expression read.
    pub read: BTreeSet<String>,
}

/// Runs `program`. `given` are the names it finds (`xm_file`, the command line's variables).
pub fn run(program: &[Stmt], given: &BTreeMap<String, Value>, limits: &Limits) -> Result<Run> {
    let mut evaluator = Evaluator {
        given,
        run: Run::default(),
        budget: Budget::new(limits),
    };
    for stmt in program {
        evaluator.statement(stmt)?;
    }
    Ok(evaluator.run)
}

struct Evaluator<'a> {
    given: &'a BTreeMap<String, Value>,
    run: Run,
    budget: Budget,
}

/// Bytes charged for each member of a container, about what it takes here.
const MEMBER: usize = std::mem::size_of::<Value>();

impl Evaluator<'_> {
    fn statement(&mut self, stmt: &Stmt) -> Result<()> {
        self.budget.step(stmt.at)?;
        match &stmt.kind {
            StmtKind::Pass => Ok(()),
            StmtKind::Expr(expr) => self.expr(expr).map(drop),
            StmtKind::Assign(targets, value) => {
                let value = self.expr(value)?;
                targets
                    .iter()
                    .try_for_each(|target| self.assign(target, value.clone()))
            }
            StmtKind::Augmented(target, op, value) => {
                let current = match target {
                    Target::Name(name, at) => self.name(name, *at)?,
                    Target::Item(object, index, at) => {
                        let object = self.expr(object)?;
                        let index = self.expr(index)?;
                        ops::item(self, &object, &index, *at)?
                    }
                    Target::Hyphenated(_, at) | Target::Unpack(_, at) => {
                        return Err(ConfigError::syntax(*at, "cannot assign to this"))
                    }
                };
                let value = self.expr(value)?;
                let result = ops::binary(self, *op, &current, &value, stmt.at)?;
                self.assign(target, result)
            }
        }
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name, at) | Target::Hyphenated(name, at) => {
                self.budget.bytes(*at, name.len() + MEMBER)?;
                let variable = Variable { value, at: *at };
                self.run.variables.insert(name.clone(), variable);
                Ok(())
            }
            Target::Unpack(targets, at) => {
                let members = ops::members(self, &value, *at)?;
                if members.len() != targets.len() {
                    let relation = if members.len() > targets.len() {
                        "too many values to unpack".to_owned()
                    } else {
                        let (has, s) = (members.len(), if members.len() == 1 { "" } else { "s" });
                        format!("need more than {has} value{s} to unpack")
                    };
                    return Err(ConfigError::runtime(*at, relation));
                }
                targets
                    .iter()
                    .zip(members)
                    .try_for_each(|(target, member)| self.assign(target, member))
            }
            Target::Item(object, index, at) => {
                let object = self.expr(object)?;
                let index = self.expr(index)?;
                ops::set_item(self, &object, index, value, *at)
            }
        }
    }

    fn name(&mut self, name: &str, at: Pos) -> Result<Value> {
        match name {
            "None" => return Ok(Value::None),
            "True" => return Ok(Value::Bool(true)),
            "False" => return Ok(Value::Bool(false)),
            _ => {}
        }
        if !self.run.read.contains(name) {
            self.budget.bytes(at, name.len())?;
            self.run.read.insert(name.to_owned());
        }
        if let Some(variable) = self.run.variables.get(name) {
            return Ok(variable.value.clone());
        }
        if let Some(value) = self.given.get(name) {
            return Ok(value.clone());
        }
        if name == "xm_vars" {
            return Err(ConfigError::not_supported(at, "'xm_vars'"));
        }
        if builtins::exists(name) {
            return Err(ConfigError::not_supported(
                at,
                &format!("'{name}' other than as a call"),
            ));
        }
        Err(ConfigError::runtime(
            at,
            format!("name '{name}' is not defined"),
        ))
    }

    fn exprs(&mut self, exprs: &[Expr]) -> Result<Vec<Value>> {
        if let Some(first) = exprs.first() {
            self.budget.bytes(first.at, exprs.len() * MEMBER)?;
        }
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn expr(&mut self, expr: &Expr) -> Result<Value> {
        let at = expr.at;
        self.budget.step(at)?;
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
            ExprKind::Compare(first, rest) => {
                let mut left = self.expr(first)?;
                for (op, right) in rest {
                    let right = self.expr(right)?;
                    if !ops::compare(self, *op, &left, &right, at)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
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
            ExprKind::Call(callee, args) => {
                let ExprKind::Name(name) = &callee.kind else {
                    return Err(ConfigError::not_supported(at, "this kind of call"));
                };
                // A variable of that name hides the builtin, and no variable can be called.
                if let Some(variable) = self.run.variables.get(name) {
                    let kind = variable.value.type_name();
                    return Err(ConfigError::runtime(
                        at,
                        format!("'{kind}' object is not callable"),
                    ));
                }
                let args = self.exprs(args)?;
                builtins::call(self, name, &args, callee.at)
            }
        }
    }
}

#[cfg(test)]
mod tests;
