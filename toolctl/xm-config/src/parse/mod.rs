//! Tokens to [`Stmt`]s: the statement level.
//!
//! ```text
//!   line  := simple (';' simple)* NEWLINE
//!   simple:= target ('=' target)* '=' value | target OP'=' value | expression | 'pass'
//! ```
//! Every other Python statement is recognised by its first word and refused by name.

mod expr;

use crate::ast::{BinOp, Expr, ExprKind, Stmt, StmtKind, Target};
use crate::error::{ConfigError, Pos, Result};
use crate::lex::{Tok, Token};
use crate::limits::Limits;

/// Statements that begin with a word of their own, and how an error names them.
const STATEMENTS: &[(&str, &str)] = &[
    ("assert", "'assert' statement"),
    ("async", "'async' statement"),
    ("break", "'break' statement"),
    ("class", "class definition"),
    ("continue", "'continue' statement"),
    ("def", "function definition ('def')"),
    ("del", "'del' statement"),
    ("elif", "'elif' statement"),
    ("else", "'else' statement"),
    ("except", "'except' statement"),
    ("exec", "'exec' statement"),
    ("finally", "'finally' statement"),
    ("for", "'for' loop"),
    ("from", "'from ... import' statement"),
    ("global", "'global' statement"),
    ("if", "'if' statement"),
    ("import", "'import' statement"),
    ("print", "'print' statement"),
    ("raise", "'raise' statement"),
    ("return", "'return' statement"),
    ("try", "'try' statement"),
    ("while", "'while' loop"),
    ("with", "'with' statement"),
    ("yield", "'yield' statement"),
];

/// Words that cannot be variables though no statement begins with them.
const OTHER_KEYWORDS: &[&str] = &["and", "as", "in", "is", "lambda", "not", "or", "pass"];

fn is_keyword(name: &str) -> bool {
    OTHER_KEYWORDS.contains(&name) || STATEMENTS.iter().any(|(word, _)| *word == name)
}

pub(crate) struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    depth: usize,
    max_depth: usize,
}

/// Parses a whole file.
pub fn parse(tokens: &[Token], limits: &Limits) -> Result<Vec<Stmt>> {
    let mut parser = Parser {
        tokens,
        next: 0,
        depth: 0,
        max_depth: limits.depth,
    };
    parser.file()
}

const END: Tok = Tok::End;

impl Parser<'_> {
    fn peek(&self) -> &Tok {
        self.tokens.get(self.next).map_or(&END, |token| &token.tok)
    }

    fn at(&self) -> Pos {
        self.tokens
            .get(self.next)
            .or(self.tokens.last())
            .map_or(Pos { line: 1, column: 1 }, |token| token.at)
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn take_op(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Tok::Op(found) if *found == op);
        if found {
            self.advance();
        }
        found
    }

    fn expect_op(&mut self, op: &str) -> Result<()> {
        if self.take_op(op) {
            return Ok(());
        }
        Err(self.unexpected(&format!("'{op}'")))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Tok::Name(found) if found == word);
        if found {
            self.advance();
        }
        found
    }

    fn unexpected(&self, wanted: &str) -> ConfigError {
        ConfigError::syntax(
            self.at(),
            format!("expected {wanted}, found {}", self.peek().describe()),
        )
    }

    /// Runs `inner` one level deeper; refuses when that is too deep.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= self.max_depth {
            return Err(ConfigError::limit(
                self.at(),
                "expression nested too deeply",
            ));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn file(&mut self) -> Result<Vec<Stmt>> {
        let mut statements = Vec::new();
        loop {
            match self.peek() {
                Tok::End => return Ok(statements),
                Tok::Newline => self.advance(),
                Tok::Indent => {
                    return Err(ConfigError::syntax(
                        self.at(),
                        "this line is indented for no reason",
                    ))
                }
                _ => self.line(&mut statements)?,
            }
        }
    }

    fn line(&mut self, statements: &mut Vec<Stmt>) -> Result<()> {
        loop {
            statements.push(self.simple()?);
            let more = self.take_op(";");
            if matches!(self.peek(), Tok::Newline | Tok::End) {
                self.advance();
                return Ok(());
            }
            if !more {
                return Err(self.unexpected("end of line"));
            }
        }
    }

    fn simple(&mut self) -> Result<Stmt> {
        let at = self.at();
        if let Tok::Name(word) = self.peek() {
            if word == "pass" {
                self.advance();
                return Ok(Stmt {
                    at,
                    kind: StmtKind::Pass,
                });
            }
            if let Some((_, construct)) = STATEMENTS.iter().find(|(first, _)| first == word) {
                return Err(ConfigError::not_supported(at, construct));
            }
        }
        if self.take_op("@") {
            return Err(ConfigError::not_supported(at, "decorator ('@')"));
        }
        let first = self.expressions()?;
        if let Some(op) = self.augmented() {
            self.advance();
            let value = self.expressions()?;
            let target = target(first)?;
            if let Target::Unpack(_, at) = target {
                return Err(ConfigError::syntax(
                    at,
                    "cannot assign to several names here",
                ));
            }
            return Ok(Stmt {
                at,
                kind: StmtKind::Augmented(target, op, value),
            });
        }
        let mut parts = vec![first];
        while self.take_op("=") {
            parts.push(self.expressions()?);
        }
        let kind = match parts.pop() {
            Some(value) if !parts.is_empty() => {
                let targets = parts.into_iter().map(target).collect::<Result<_>>()?;
                StmtKind::Assign(targets, value)
            }
            Some(value) => StmtKind::Expr(value),
            None => StmtKind::Pass,
        };
        Ok(Stmt { at, kind })
    }

    fn augmented(&self) -> Option<BinOp> {
        let Tok::Op(op) = self.peek() else {
            return None;
        };
        Some(match *op {
            "+=" => BinOp::Add,
            "-=" => BinOp::Sub,
            "*=" => BinOp::Mul,
            "/=" => BinOp::Div,
            "//=" => BinOp::FloorDiv,
            "%=" => BinOp::Mod,
            "**=" => BinOp::Pow,
            "<<=" => BinOp::Shl,
            ">>=" => BinOp::Shr,
            "&=" => BinOp::And,
            "|=" => BinOp::Or,
            "^=" => BinOp::Xor,
            _ => return None,
        })
    }
}

/// Reads an expression as the left side of an assignment.
fn target(expr: Expr) -> Result<Target> {
    let at = expr.at;
    match expr.kind {
        ExprKind::Name(name) if matches!(name.as_str(), "None" | "True" | "False") => {
            Err(ConfigError::syntax(at, format!("cannot assign to {name}")))
        }
        ExprKind::Name(name) => Ok(Target::Name(name, at)),
        ExprKind::List(items) | ExprKind::Tuple(items) if !items.is_empty() => {
            let targets = items.into_iter().map(target).collect::<Result<_>>()?;
            Ok(Target::Unpack(targets, at))
        }
        ExprKind::Item(object, index) => Ok(Target::Item(object, index, at)),
        ExprKind::Binary(first, rest) => hyphenated(&first, &rest)
            .map(|name| Target::Hyphenated(name, at))
            .ok_or_else(|| cannot(at)),
        ExprKind::Slice(..) => Err(ConfigError::not_supported(at, "assignment to a slice")),
        _ => Err(cannot(at)),
    }
}

fn cannot(at: Pos) -> ConfigError {
    ConfigError::syntax(
        at,
        "cannot assign to this; expected a variable's name before '='",
    )
}

/// `full-screen`, which Python reads as a subtraction, as one name.
fn hyphenated(first: &Expr, rest: &[(BinOp, Pos, Expr)]) -> Option<String> {
    let name = |expr: &Expr| match &expr.kind {
        ExprKind::Name(name) => Some(name.clone()),
        _ => None,
    };
    let mut joined = name(first)?;
    for (op, _, part) in rest {
        if *op != BinOp::Sub {
            return None;
        }
        joined.push('-');
        joined.push_str(&name(part)?);
    }
    Some(joined)
}

#[cfg(test)]
mod tests;
