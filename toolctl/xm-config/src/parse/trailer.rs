//! What follows a value (`a[i]`, `f(x)`, `a.b`), comprehensions and lambdas.

use super::expr::node;
use super::Parser;
use crate::ast::{Clause, Expr, ExprKind, Function, Stmt, StmtKind};
use crate::error::{ConfigError, Pos, Result};
use crate::lex::Tok;
use std::collections::BTreeSet;
use std::rc::Rc;

type Arguments = (Vec<Expr>, Vec<(String, Expr)>);

impl Parser<'_> {
    pub(super) fn postfix(&mut self) -> Result<Expr> {
        let mut value = self.atom()?;
        for _ in 0..self.max_depth {
            let at = self.at();
            if self.take_op("[") {
                value = self.subscript(value, at)?;
            } else if self.take_op("(") {
                let (args, named) = self.arguments()?;
                value = node(at, ExprKind::Call(Box::new(value), args, named));
            } else if self.take_op(".") {
                let name = self.name("a name after '.'")?;
                value = node(at, ExprKind::Attribute(Box::new(value), name));
            } else {
                return Ok(value);
            }
        }
        Err(ConfigError::limit(
            self.at(),
            "too many subscripts in a row",
        ))
    }

    fn subscript(&mut self, object: Expr, at: Pos) -> Result<Expr> {
        let mut parts = [None, None, None];
        let mut colons = 0;
        loop {
            if self.starts_expression() {
                let part = self.expressions()?;
                if let Some(slot) = parts.get_mut(colons) {
                    *slot = Some(Box::new(part));
                }
            }
            if colons < 2 && self.take_op(":") {
                colons += 1;
                continue;
            }
            break;
        }
        let [first, second, third] = parts;
        let empty = colons == 0 && first.is_none();
        if empty || !self.take_op("]") {
            return Err(self.unexpected(if empty { "an index" } else { "']'" }));
        }
        let object = Box::new(object);
        Ok(match (colons, first) {
            (0, Some(index)) => node(at, ExprKind::Item(object, index)),
            (_, first) => node(at, ExprKind::Slice(object, [first, second, third])),
        })
    }

    fn arguments(&mut self) -> Result<Arguments> {
        let (mut args, mut named) = (Vec::new(), Vec::new());
        while !self.take_op(")") {
            let at = self.at();
            if self.take_op("*") || self.take_op("**") {
                return Err(ConfigError::not_supported(at, "'*' in a call"));
            }
            let value = self.expression()?;
            if self.at_word("for") {
                let clauses = self.clauses()?;
                args.push(node(at, ExprKind::Comprehension(Box::new(value), clauses)));
            } else if self.take_op("=") {
                let ExprKind::Name(name) = value.kind else {
                    return Err(ConfigError::syntax(at, "expected a name before '='"));
                };
                self.unread(&name);
                named.push((name, self.expression()?));
            } else if named.is_empty() {
                args.push(value);
            } else {
                return Err(ConfigError::syntax(
                    at,
                    "an argument without a name follows one with a name",
                ));
            }
            if !self.take_op(",") {
                self.expect_op(")")?;
                break;
            }
        }
        Ok((args, named))
    }

    pub(super) fn at_word(&self, word: &str) -> bool {
        matches!(self.peek(), Tok::Name(found) if found == word)
    }

    /// `for .. in .. if ..` of a comprehension.
    pub(super) fn clauses(&mut self) -> Result<Vec<Clause>> {
        let mut clauses = Vec::new();
        loop {
            if clauses.len() >= self.max_depth {
                return Err(ConfigError::limit(
                    self.at(),
                    "comprehension nested too deeply",
                ));
            }
            if self.take_word("for") {
                let target = self.loop_target()?;
                let values = self.boolean(false)?;
                clauses.push(Clause::For(target, values));
            } else if self.take_word("if") {
                clauses.push(Clause::If(self.boolean(false)?));
            } else {
                return Ok(clauses);
            }
        }
    }

    /// The names between `for` and `in`; takes the `in`.
    pub(super) fn loop_target(&mut self) -> Result<crate::ast::Target> {
        let at = self.at();
        let mut items = vec![self.postfix()?];
        let mut comma = false;
        while self.take_op(",") {
            comma = true;
            if self.at_word("in") {
                break;
            }
            items.push(self.postfix()?);
        }
        if !self.take_word("in") {
            return Err(self.unexpected("'in'"));
        }
        let target = match (comma, items.pop()) {
            (false, Some(only)) => only,
            (_, last) => {
                items.extend(last);
                node(at, ExprKind::Tuple(items))
            }
        };
        self.binding(target)
    }

    /// Parameters up to `close`, which is taken.
    pub(super) fn parameters(&mut self, close: &str) -> Result<Vec<(String, Option<Expr>)>> {
        let mut parameters: Vec<(String, Option<Expr>)> = Vec::new();
        while !self.take_op(close) {
            let at = self.at();
            if self.take_op("*") || self.take_op("**") {
                return Err(ConfigError::not_supported(at, "'*' in a definition"));
            }
            if matches!(self.peek(), Tok::Op("(")) {
                return Err(ConfigError::not_supported(at, "tuple as a parameter"));
            }
            let name = self.name("a parameter's name")?;
            let default = match self.take_op("=") {
                true => Some(self.expression()?),
                false => None,
            };
            if default.is_none() && parameters.iter().any(|(_, default)| default.is_some()) {
                return Err(ConfigError::syntax(
                    at,
                    "a parameter without default follows one with a default",
                ));
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(ConfigError::syntax(
                    at,
                    format!("parameter '{name}' stands twice"),
                ));
            }
            parameters.push((name, default));
            if !self.take_op(",") {
                self.expect_op(close)?;
                break;
            }
        }
        Ok(parameters)
    }

    pub(super) fn lambda(&mut self, at: Pos) -> Result<Expr> {
        self.advance();
        let parameters = self.parameters(":")?;
        let value = self.nested(Self::expression)?;
        let kind = StmtKind::Return(Some(value));
        let function = Function {
            name: "<lambda>".into(),
            parameters,
            body: vec![Stmt { at, kind }],
            globals: BTreeSet::new(),
        };
        Ok(node(at, ExprKind::Lambda(Rc::new(function))))
    }
}
