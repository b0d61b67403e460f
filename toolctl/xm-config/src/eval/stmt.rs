//! Statements.
//!
//! ```text
//!   block --> Next ------------> following statement
//!         --> Break, Continue -> nearest loop
//!         --> Return(value) ---> call
//!         --> Err(exception) --> nearest matching except, else the user
//! ```

use super::compare::compare;
use super::{exceptions, modules, ops, Evaluator, Frame, Variable, MEMBER};
use crate::ast::{CompareOp, Expr, Stmt, StmtKind, Target, Try};
use crate::error::{ConfigError, ErrorKind, Pos, Result};
use crate::value::{Closure, Items, Value};
use std::rc::Rc;

/// Where control goes after a statement.
pub(super) enum Flow {
    Next,
    Break,
    Continue,
    Return(Value),
}

impl Evaluator<'_> {
    pub(super) fn block(&mut self, body: &[Stmt]) -> Result<Flow> {
        for stmt in body {
            match self.deeper(stmt.at, |this| this.statement(stmt))? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, stmt: &Stmt) -> Result<Flow> {
        self.budget.step(stmt.at)?;
        match &stmt.kind {
            StmtKind::Pass | StmtKind::Global(_) => {}
            StmtKind::Expr(expr) => drop(self.expr(expr)?),
            StmtKind::Assign(targets, value) => {
                let value = self.expr(value)?;
                for target in targets {
                    self.assign(target, value.clone())?;
                }
            }
            StmtKind::Augmented(target, op, value) => {
                let current = self.current(target)?;
                let value = self.expr(value)?;
                let result = ops::in_place(self, *op, &current, &value, stmt.at)?;
                self.assign(target, result)?;
            }
            StmtKind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.expr(test)?.truth() {
                        return self.block(body);
                    }
                }
                return self.block(otherwise);
            }
            StmtKind::While(test, body, otherwise) => {
                while self.expr(test)?.truth() {
                    match self.block(body)? {
                        Flow::Break => return Ok(Flow::Next),
                        Flow::Return(value) => return Ok(Flow::Return(value)),
                        Flow::Next | Flow::Continue => {}
                    }
                }
                return self.block(otherwise);
            }
            StmtKind::For(target, values, body, otherwise) => {
                let values = self.expr(values)?;
                for value in ops::members(self, &values, stmt.at)? {
                    self.assign(target, value)?;
                    match self.block(body)? {
                        Flow::Break => return Ok(Flow::Next),
                        Flow::Return(value) => return Ok(Flow::Return(value)),
                        Flow::Next | Flow::Continue => {}
                    }
                }
                return self.block(otherwise);
            }
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Return(value) => {
                return Ok(Flow::Return(match value {
                    Some(value) => self.expr(value)?,
                    None => Value::None,
                }))
            }
            StmtKind::Def(function) => {
                let closure = self.closure(function)?;
                self.bind(&function.name, closure, stmt.at)?;
            }
            StmtKind::Print(stream, values, ends) => self.print(stream.as_ref(), values, *ends)?,
            StmtKind::Import(names) => {
                for (module, name) in names {
                    let module = modules::find(module, stmt.at)?;
                    self.bind(name, module, stmt.at)?;
                }
            }
            StmtKind::FromImport(module, names) => {
                let module = modules::find(module, stmt.at)?;
                for (name, bound) in names {
                    if name == "*" {
                        for (name, function) in modules::all_of(&module) {
                            self.budget.step(stmt.at)?;
                            self.bind(name, Value::Builtin(function), stmt.at)?;
                        }
                        continue;
                    }
                    let value = modules::attribute(self, &module, name, stmt.at)?;
                    self.bind(bound, value, stmt.at)?;
                }
            }
            StmtKind::Raise(class, value) => {
                return Err(self.raise(class.as_ref(), value.as_ref(), stmt.at)?)
            }
            StmtKind::Try(parts) => return self.attempt(parts, stmt.at),
            StmtKind::Del(targets) => {
                for target in targets {
                    self.delete(target)?;
                }
            }
            StmtKind::Assert(test, message) => {
                if !self.expr(test)?.truth() {
                    let text = match message {
                        Some(message) => self.expr(message)?.to_text(32),
                        None => String::new(),
                    };
                    return Err(ConfigError::runtime("AssertionError", stmt.at, text));
                }
            }
        }
        Ok(Flow::Next)
    }

    /// The function's value: its definition and what its defaults are now.
    pub(super) fn closure(&mut self, function: &Rc<crate::ast::Function>) -> Result<Value> {
        let mut defaults = Vec::new();
        for (_, default) in &function.parameters {
            if let Some(default) = default {
                defaults.push(self.expr(default)?);
            }
        }
        Ok(Value::Function(Rc::new(Closure {
            function: Rc::clone(function),
            defaults: Items::new(defaults),
        })))
    }

    /// Binds a name where assignments go at this place.
    pub(super) fn bind(&mut self, name: &str, value: Value, at: Pos) -> Result<()> {
        self.budget.bytes(at, name.len() + MEMBER)?;
        match self.frames.last_mut() {
            Some(Frame { locals, function }) if !function.globals.contains(name) => {
                locals.insert(name.to_owned(), value);
            }
            Some(_) => {
                self.globals.insert(name.to_owned(), value);
            }
            None => {
                self.variables
                    .insert(name.to_owned(), Variable { value, at });
            }
        }
        Ok(())
    }

    pub(super) fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name, at) | Target::Hyphenated(name, at) => self.bind(name, value, *at),
            Target::Unpack(targets, at) => {
                let members = ops::members(self, &value, *at)?;
                if members.len() != targets.len() {
                    let relation = if members.len() > targets.len() {
                        "too many values to unpack".to_owned()
                    } else {
                        let (has, s) = (members.len(), if members.len() == 1 { "" } else { "s" });
                        format!("need more than {has} value{s} to unpack")
                    };
                    return Err(ConfigError::runtime("ValueError", *at, relation));
                }
                for (target, member) in targets.iter().zip(members) {
                    self.assign(target, member)?;
                }
                Ok(())
            }
            Target::Item(object, index, at) => {
                let object = self.expr(object)?;
                let index = self.expr(index)?;
                ops::set_item(self, &object, index, value, *at)
            }
        }
    }

    fn current(&mut self, target: &Target) -> Result<Value> {
        match target {
            Target::Name(name, at) => self.name(name, *at),
            Target::Item(object, index, at) => {
                let object = self.expr(object)?;
                let index = self.expr(index)?;
                ops::item(self, &object, &index, *at)
            }
            Target::Hyphenated(_, at) | Target::Unpack(_, at) => {
                Err(ConfigError::syntax(*at, "cannot assign to this"))
            }
        }
    }

    fn delete(&mut self, target: &Target) -> Result<()> {
        match target {
            Target::Name(name, at) => {
                let found = match self.frames.last_mut() {
                    Some(frame) => frame.locals.remove(name).is_some(),
                    None => self.variables.remove(name).is_some(),
                };
                if found {
                    return Ok(());
                }
                let message = format!("name '{name}' is not defined");
                Err(ConfigError::runtime("NameError", *at, message))
            }
            Target::Unpack(targets, _) => targets.iter().try_for_each(|target| self.delete(target)),
            Target::Item(object, index, at) => {
                let object = self.expr(object)?;
                let index = self.expr(index)?;
                ops::delete_item(self, &object, &index, *at)
            }
            Target::Hyphenated(_, at) => Err(ConfigError::syntax(*at, "cannot delete this")),
        }
    }

    fn print(&mut self, stream: Option<&Expr>, values: &[Expr], ends: bool) -> Result<()> {
        if let Some(stream) = stream {
            // Both streams go to the same place; anything else would be a file.
            match self.expr(stream)? {
                Value::Module("sys.stderr" | "sys.stdout") => {}
                _ => {
                    return Err(ConfigError::not_supported(
                        stream.at,
                        "'print >>' to a file",
                    ))
                }
            }
        }
        let mut line = String::new();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                line.push(' ');
            }
            let text = self.expr(value)?.to_text(32);
            self.budget.bytes(value.at, text.len())?;
            line.push_str(&text);
        }
        line.push(if ends { '\n' } else { ' ' });
        (self.output)(&line);
        Ok(())
    }

    /// The exception that a `raise` raises.
    fn raise(
        &mut self,
        class: Option<&Expr>,
        value: Option<&Expr>,
        at: Pos,
    ) -> Result<ConfigError> {
        let Some(class) = class else {
            return Ok(match self.handled.last() {
                Some(handled) => handled.clone(),
                None => {
                    ConfigError::runtime("TypeError", at, "there is no exception to raise again")
                }
            });
        };
        let raised = self.expr(class)?;
        let text = match value {
            Some(value) => match self.expr(value)? {
                Value::None => String::new(),
                value => value.to_text(32),
            },
            None => String::new(),
        };
        match raised {
            Value::Exception(class, message) => {
                Ok(ConfigError::runtime(class, at, message.to_string()))
            }
            Value::Builtin(name) if exceptions::class(name).is_some() => Ok(ConfigError::runtime(
                exceptions::class(name).unwrap_or("Exception"),
                at,
                text,
            )),
            Value::Str(message, _) => {
                Ok(ConfigError::runtime("Exception", at, message.to_string()))
            }
            other => {
                let kind = other.type_name();
                Ok(ConfigError::runtime(
                    "TypeError",
                    at,
                    format!("a {kind} cannot be raised"),
                ))
            }
        }
    }

    fn attempt(&mut self, parts: &Try, at: Pos) -> Result<Flow> {
        let frames = self.frames.len();
        let mut result = self.block(&parts.body);
        match result {
            Ok(Flow::Next) => result = self.block(&parts.otherwise),
            Err(error) if matches!(error.kind, ErrorKind::Runtime | ErrorKind::Exit(_)) => {
                self.frames.truncate(frames);
                result = self.handle(parts, error, at);
            }
            other => result = other,
        }
        // Bounds and what is not supported end the program past any handler.
        if parts.finally.is_empty()
            || matches!(&result, Err(error) if error.kind == ErrorKind::Limit)
        {
            return result;
        }
        match self.block(&parts.finally)? {
            Flow::Next => result,
            other => Ok(other),
        }
    }

    fn handle(&mut self, parts: &Try, error: ConfigError, at: Pos) -> Result<Flow> {
        for (class, target, body) in &parts.handlers {
            if let Some(class) = class {
                let filter = self.expr(class)?;
                match exceptions::catches(&filter, error.class) {
                    Some(true) => {}
                    Some(false) => continue,
                    None => {
                        let message = "'except' needs an exception's class or a tuple of them";
                        return Err(ConfigError::runtime("TypeError", at, message));
                    }
                }
            }
            if let Some(target) = target {
                let value = Value::Exception(error.class, error.message.as_str().into());
                self.assign(target, value)?;
            }
            self.handled.push(error);
            let result = self.block(body);
            self.handled.pop();
            return result;
        }
        Err(error)
    }

    /// `[value for .. in .. if ..]`: names bound by it stay bound, as in Python 2.
    pub(super) fn comprehension(
        &mut self,
        value: &Expr,
        clauses: &[crate::ast::Clause],
        out: &mut Vec<Value>,
    ) -> Result<()> {
        use crate::ast::Clause;
        match clauses.split_first() {
            None => {
                self.budget.bytes(value.at, MEMBER)?;
                let value = self.expr(value)?;
                out.push(value);
            }
            Some((Clause::If(test), rest)) => {
                if self.expr(test)?.truth() {
                    self.comprehension(value, rest, out)?;
                }
            }
            Some((Clause::For(target, values), rest)) => {
                let all = self.expr(values)?;
                for member in ops::members(self, &all, values.at)? {
                    self.budget.step(values.at)?;
                    self.assign(target, member)?;
                    self.comprehension(value, rest, out)?;
                }
            }
        }
        Ok(())
    }

    /// A chain of comparisons.
    pub(super) fn chain(
        &mut self,
        first: &Expr,
        rest: &[(CompareOp, Expr)],
        at: Pos,
    ) -> Result<bool> {
        let mut left = self.expr(first)?;
        for (op, right) in rest {
            let right = self.expr(right)?;
            if !compare(self, *op, &left, &right, at)? {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }
}
