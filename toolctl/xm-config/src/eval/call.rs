//! Calls: functions of the file, built-in ones, methods, functions of modules.

use super::stmt::Flow;
use super::{builtins, exceptions, methods, modules, Evaluator, Frame, MEMBER};
use crate::ast::{Expr, ExprKind};
use crate::error::{ConfigError, Pos, Result};
use crate::value::{Closure, Value};
use std::collections::BTreeMap;

/// Arguments by name.
pub(super) type Named = Vec<(String, Value)>;

impl Evaluator<'_> {
    pub(super) fn call_expr(
        &mut self,
        callee: &Expr,
        args: &[Expr],
        named: &[(String, Expr)],
        at: Pos,
    ) -> Result<Value> {
        // A method is looked up on its object here; it never becomes a value of its own.
        if let ExprKind::Attribute(object, name) = &callee.kind {
            let object = self.expr(object)?;
            if !matches!(object, Value::Module(_)) {
                let args = self.exprs(args)?;
                let named = self.named(named)?;
                if let Some((name, _)) = named.first() {
                    return Err(unexpected_name(name, at));
                }
                return methods::call(self, &object, name, &args, callee.at);
            }
            let function = modules::attribute(self, &object, name, callee.at)?;
            let args = self.exprs(args)?;
            let named = self.named(named)?;
            return self.call(&function, args, named, at);
        }
        let function = self.expr(callee)?;
        let args = self.exprs(args)?;
        let named = self.named(named)?;
        self.call(&function, args, named, callee.at)
    }

    fn named(&mut self, named: &[(String, Expr)]) -> Result<Named> {
        named
            .iter()
            .map(|(name, value)| Ok((name.clone(), self.expr(value)?)))
            .collect()
    }

    /// Calls a value.
    pub(super) fn call(
        &mut self,
        function: &Value,
        args: Vec<Value>,
        named: Named,
        at: Pos,
    ) -> Result<Value> {
        match function {
            Value::Function(closure) => {
                self.deeper(at, |this| this.call_closure(closure, args, named, at))
            }
            Value::Builtin(name) => {
                if let Some(class) = exceptions::class(name) {
                    let text = match args.as_slice() {
                        [] => String::new(),
                        [only] => only.to_text(32),
                        _ => Value::tuple(args).repr(32),
                    };
                    self.budget.bytes(at, text.len())?;
                    return Ok(Value::Exception(class, text.into()));
                }
                if name.contains('.') {
                    return modules::call(self, name, &args, &named, at);
                }
                if let Some((name, _)) = named.first() {
                    return Err(unexpected_name(name, at));
                }
                builtins::call(self, name, &args, at)
            }
            other => {
                let kind = other.type_name();
                Err(ConfigError::runtime(
                    "TypeError",
                    at,
                    format!("'{kind}' object is not callable"),
                ))
            }
        }
    }

    fn call_closure(
        &mut self,
        closure: &Closure,
        args: Vec<Value>,
        named: Named,
        at: Pos,
    ) -> Result<Value> {
        let function = &closure.function;
        let parameters = &function.parameters;
        self.budget.bytes(at, parameters.len() * MEMBER)?;
        let wrong = || {
            let n = parameters.len();
            let s = if n == 1 { "" } else { "s" };
            let message = format!(
                "{}() takes {n} argument{s} ({} given)",
                function.name,
                args.len() + named.len()
            );
            ConfigError::runtime("TypeError", at, message)
        };
        if args.len() > parameters.len() {
            return Err(wrong());
        }
        let mut locals = BTreeMap::new();
        let defaults = closure.defaults.snapshot();
        let first_default = parameters.len().saturating_sub(defaults.len());
        for (index, (name, _)) in parameters.iter().enumerate() {
            let by_name = named
                .iter()
                .find(|(given, _)| given == name)
                .map(|(_, value)| value.clone());
            let default = index
                .checked_sub(first_default)
                .and_then(|index| defaults.get(index).cloned());
            match args.get(index).cloned().or(by_name).or(default) {
                Some(value) => locals.insert(name.clone(), value),
                None => return Err(wrong()),
            };
        }
        if let Some((name, _)) = named.iter().find(|(name, _)| !locals.contains_key(name)) {
            return Err(unexpected_name(name, at));
        }
        self.frames.push(Frame {
            locals,
            function: std::rc::Rc::clone(function),
        });
        let result = self.block(&function.body);
        self.frames.pop();
        Ok(match result? {
            Flow::Return(value) => value,
            _ => Value::None,
        })
    }

    /// `object.name` that is not called.
    pub(super) fn attribute(&mut self, object: &Value, name: &str, at: Pos) -> Result<Value> {
        match object {
            Value::Module(_) => modules::attribute(self, object, name, at),
            Value::Exception(_, message) if matches!(name, "message" | "args") => Ok(match name {
                "message" => Value::text(message),
                _ => Value::tuple(vec![Value::text(message)]),
            }),
            other if methods::exists(other, name) => Err(ConfigError::not_supported(
                at,
                &format!("method '{name}' other than as a call"),
            )),
            other => Err(no_attribute(other, name, at)),
        }
    }
}

/// Python's word for an attribute that is not there.
pub(super) fn no_attribute(object: &Value, name: &str, at: Pos) -> ConfigError {
    let kind = object.type_name();
    ConfigError::runtime(
        "AttributeError",
        at,
        format!("'{kind}' object has no attribute '{name}'"),
    )
}

fn unexpected_name(name: &str, at: Pos) -> ConfigError {
    let message = format!("there is no argument called '{name}' here");
    ConfigError::runtime("TypeError", at, message)
}
