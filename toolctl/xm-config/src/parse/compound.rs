//! Statements that hold others.
//!
//! ```text
//!   block := NEWLINE INDENT statement+ DEDENT  |  simple-line
//!   if while for def try, each with ':' and a block
//! ```

use super::{Parser, REFUSED};
use crate::ast::{Function, Stmt, StmtKind, Try};
use crate::error::{ConfigError, Pos, Result};
use crate::lex::Tok;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Parser<'_> {
    /// One line of simple statements, or a compound one.
    pub(super) fn statement(&mut self, statements: &mut Vec<Stmt>) -> Result<()> {
        let at = self.at();
        let word = match self.peek() {
            Tok::Name(word) => word.clone(),
            _ => String::new(),
        };
        if REFUSED.iter().any(|(first, _)| *first == word) {
            return self.line(statements);
        }
        let kind = match word.as_str() {
            "if" => self.if_statement()?,
            "while" => {
                self.advance();
                let test = self.expressions()?;
                let body = self.loop_block()?;
                StmtKind::While(test, body, self.otherwise()?)
            }
            "for" => {
                self.advance();
                let target = self.loop_target()?;
                let values = self.expressions()?;
                let body = self.loop_block()?;
                StmtKind::For(target, values, body, self.otherwise()?)
            }
            "def" => self.definition()?,
            "try" => self.try_statement(at)?,
            "elif" | "else" | "except" | "finally" => {
                return Err(ConfigError::syntax(
                    at,
                    format!("'{word}' belongs to nothing above it"),
                ))
            }
            _ => return self.line(statements),
        };
        statements.push(Stmt { at, kind });
        Ok(())
    }

    /// `:` and what follows it.
    fn block(&mut self) -> Result<Vec<Stmt>> {
        self.expect_op(":")?;
        let mut body = Vec::new();
        if !matches!(self.peek(), Tok::Newline) {
            self.line(&mut body)?;
            return Ok(body);
        }
        self.advance();
        if !matches!(self.peek(), Tok::Indent) {
            return Err(self.unexpected("an indented line"));
        }
        self.advance();
        self.nested(|parser| loop {
            match parser.peek() {
                Tok::Dedent => {
                    parser.advance();
                    return Ok(());
                }
                Tok::Newline => parser.advance(),
                Tok::End => return Ok(()),
                Tok::Indent => {
                    return Err(ConfigError::syntax(
                        parser.at(),
                        "this line is indented for no reason",
                    ))
                }
                _ => parser.statement(&mut body)?,
            }
        })?;
        Ok(body)
    }

    fn loop_block(&mut self) -> Result<Vec<Stmt>> {
        self.loops += 1;
        let body = self.block();
        self.loops -= 1;
        body
    }

    fn otherwise(&mut self) -> Result<Vec<Stmt>> {
        match self.take_word("else") {
            true => self.block(),
            false => Ok(Vec::new()),
        }
    }

    fn if_statement(&mut self) -> Result<StmtKind> {
        self.advance();
        let mut branches = Vec::new();
        loop {
            let test = self.expressions()?;
            branches.push((test, self.block()?));
            if !self.take_word("elif") {
                return Ok(StmtKind::If(branches, self.otherwise()?));
            }
        }
    }

    fn definition(&mut self) -> Result<StmtKind> {
        self.advance();
        let name = self.name("the function's name")?;
        self.bound.insert(name.clone());
        self.expect_op("(")?;
        let parameters = self.parameters(")")?;
        let outer = (
            self.function.replace(BTreeSet::new()),
            std::mem::take(&mut self.loops),
        );
        let body = self.block();
        let globals = self.function.take().unwrap_or_default();
        (self.function, self.loops) = outer;
        let function = Function {
            name,
            parameters,
            body: body?,
            globals,
        };
        Ok(StmtKind::Def(Rc::new(function)))
    }

    fn try_statement(&mut self, at: Pos) -> Result<StmtKind> {
        self.advance();
        let mut parts = Try {
            body: self.block()?,
            handlers: Vec::new(),
            otherwise: Vec::new(),
            finally: Vec::new(),
        };
        while self.take_word("except") {
            let mut class = None;
            let mut target = None;
            if !matches!(self.peek(), Tok::Op(":")) {
                class = Some(self.expression()?);
                if self.take_op(",") || self.take_word("as") {
                    let name = self.postfix()?;
                    target = Some(self.binding(name)?);
                }
            }
            parts.handlers.push((class, target, self.block()?));
        }
        if !parts.handlers.is_empty() {
            parts.otherwise = self.otherwise()?;
        }
        if self.take_word("finally") {
            parts.finally = self.block()?;
        } else if parts.handlers.is_empty() {
            return Err(ConfigError::syntax(
                at,
                "'try' has neither 'except' nor 'finally'",
            ));
        }
        Ok(StmtKind::Try(Box::new(parts)))
    }
}
