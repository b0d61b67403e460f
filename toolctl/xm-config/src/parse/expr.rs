//! Tokens to [`Expr`]s: operator precedence.
//!
//! ```text
//!   choice   a if t else b          right
//!   or, and, not
//!   compare  < <= == != <> in is    chained
//!   binary   | ^ & <<>> +- * / // % left, by the table below
//!   unary    - + ~
//!   power    **                     right
//!   postfix  a[i] a[i:j] f(x) a.b         see `trailer`
//!   atom     name number string ( ) [ ] { } lambda
//! ```

use super::{is_keyword, Parser};
use crate::ast::{BinOp, CompareOp, Expr, ExprKind, UnaryOp};
use crate::error::{ConfigError, Pos, Result};
use crate::lex::Tok;

/// Left-associative operators: sign, operator, how tightly they bind.
const BINARY: &[(&str, BinOp, u8)] = &[
    ("|", BinOp::Or, 1),
    ("^", BinOp::Xor, 2),
    ("&", BinOp::And, 3),
    ("<<", BinOp::Shl, 4),
    (">>", BinOp::Shr, 4),
    ("+", BinOp::Add, 5),
    ("-", BinOp::Sub, 5),
    ("*", BinOp::Mul, 6),
    ("/", BinOp::Div, 6),
    ("//", BinOp::FloorDiv, 6),
    ("%", BinOp::Mod, 6),
];

pub(super) fn node(at: Pos, kind: ExprKind) -> Expr {
    Expr { at, kind }
}

impl Parser<'_> {
    /// One expression or, with commas, a tuple of them.
    pub(super) fn expressions(&mut self) -> Result<Expr> {
        let at = self.at();
        let first = self.expression()?;
        if !matches!(self.peek(), Tok::Op(",")) {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            if !self.starts_expression() {
                break;
            }
            items.push(self.expression()?);
        }
        Ok(node(at, ExprKind::Tuple(items)))
    }

    pub(super) fn starts_expression(&self) -> bool {
        match self.peek() {
            Tok::Op(op) => matches!(*op, "(" | "[" | "{" | "-" | "+" | "~" | "`"),
            Tok::Name(name) => !is_keyword(name) || matches!(name.as_str(), "not" | "lambda"),
            Tok::Int { .. } | Tok::Float(_) | Tok::Str { .. } => true,
            _ => false,
        }
    }

    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.nested(|parser| {
            let value = parser.boolean(false)?;
            let at = parser.at();
            if !parser.take_word("if") {
                return Ok(value);
            }
            let test = parser.boolean(false)?;
            if !parser.take_word("else") {
                return Err(parser.unexpected("'else'"));
            }
            let other = parser.expression()?;
            let kind = ExprKind::Choice(Box::new(test), Box::new(value), Box::new(other));
            Ok(node(at, kind))
        })
    }

    /// `or` chains of `and` chains.
    pub(super) fn boolean(&mut self, and: bool) -> Result<Expr> {
        let at = self.at();
        let word = if and { "and" } else { "or" };
        let operand = |parser: &mut Self| {
            if and {
                parser.negation()
            } else {
                parser.boolean(true)
            }
        };
        let first = operand(self)?;
        let mut items = vec![first];
        while self.take_word(word) {
            items.push(operand(self)?);
        }
        Ok(match (items.len(), items.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                items.extend(last);
                node(at, ExprKind::Bool(and, items))
            }
        })
    }

    fn negation(&mut self) -> Result<Expr> {
        let at = self.at();
        if !self.take_word("not") {
            return self.comparison();
        }
        let inner = self.nested(Self::negation)?;
        Ok(node(at, ExprKind::Unary(UnaryOp::Not, Box::new(inner))))
    }

    fn comparison(&mut self) -> Result<Expr> {
        let first = self.binary(1)?;
        let at = self.at();
        let mut rest = Vec::new();
        while let Some(op) = self.compare_op()? {
            rest.push((op, self.binary(1)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(node(at, ExprKind::Compare(Box::new(first), rest)))
    }

    fn compare_op(&mut self) -> Result<Option<CompareOp>> {
        let op = match self.peek() {
            Tok::Op("==") => CompareOp::Eq,
            Tok::Op("!=" | "<>") => CompareOp::Ne,
            Tok::Op("<") => CompareOp::Lt,
            Tok::Op("<=") => CompareOp::Le,
            Tok::Op(">") => CompareOp::Gt,
            Tok::Op(">=") => CompareOp::Ge,
            Tok::Name(word) if word == "in" => CompareOp::In,
            Tok::Name(word) if word == "is" => {
                self.advance();
                let not = self.take_word("not");
                return Ok(Some(if not { CompareOp::IsNot } else { CompareOp::Is }));
            }
            Tok::Name(word) if word == "not" => {
                self.advance();
                if !self.take_word("in") {
                    return Err(self.unexpected("'in'"));
                }
                return Ok(Some(CompareOp::NotIn));
            }
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(op))
    }

    fn binary(&mut self, least: u8) -> Result<Expr> {
        let mut left = self.unary()?;
        // Strengths met by this loop never rise, for `right` takes all that binds tighter.
        let mut chain_strength = None;
        loop {
            let at = self.at();
            let Tok::Op(sign) = self.peek() else {
                return Ok(left);
            };
            let Some(&(_, op, strength)) = BINARY.iter().find(|(text, ..)| text == sign) else {
                return Ok(left);
            };
            if strength < least {
                return Ok(left);
            }
            self.advance();
            let right = self.binary(strength + 1)?;
            match &mut left.kind {
                ExprKind::Binary(_, rest) if chain_strength == Some(strength) => {
                    rest.push((op, at, right));
                }
                _ => {
                    left = node(
                        left.at,
                        ExprKind::Binary(Box::new(left), vec![(op, at, right)]),
                    )
                }
            }
            chain_strength = Some(strength);
        }
    }

    fn unary(&mut self) -> Result<Expr> {
        let at = self.at();
        let op = match self.peek() {
            Tok::Op("-") => UnaryOp::Neg,
            Tok::Op("+") => UnaryOp::Pos,
            Tok::Op("~") => UnaryOp::Invert,
            _ => return self.power(),
        };
        self.advance();
        let inner = self.nested(Self::unary)?;
        Ok(node(at, ExprKind::Unary(op, Box::new(inner))))
    }

    fn power(&mut self) -> Result<Expr> {
        let base = self.postfix()?;
        let at = self.at();
        if !self.take_op("**") {
            return Ok(base);
        }
        let exponent = self.nested(Self::unary)?;
        let kind = ExprKind::Binary(Box::new(base), vec![(BinOp::Pow, at, exponent)]);
        Ok(node(at, kind))
    }

    pub(super) fn atom(&mut self) -> Result<Expr> {
        let at = self.at();
        let kind = match self.peek().clone() {
            Tok::Int { value, long } => ExprKind::Int(value, long),
            Tok::Float(value) => ExprKind::Float(value),
            Tok::Str { .. } => return self.strings(at),
            Tok::Name(name) if name == "lambda" => return self.lambda(at),
            Tok::Name(name) if is_keyword(&name) => return Err(self.unexpected("a value")),
            Tok::Name(name) => {
                *self.reads.entry(name.clone()).or_default() += 1;
                ExprKind::Name(name)
            }
            Tok::Op("(") => return self.parenthesis(at),
            Tok::Op("[") => {
                self.advance();
                return self.list(at);
            }
            Tok::Op("{") => return self.dict(at),
            Tok::Op("`") => return Err(ConfigError::not_supported(at, "backquotes (`...`)")),
            _ => return Err(self.unexpected("a value")),
        };
        self.advance();
        Ok(node(at, kind))
    }

    fn strings(&mut self, at: Pos) -> Result<Expr> {
        let mut joined = String::new();
        let mut any_unicode = false;
        while let Tok::Str { text, unicode } = self.peek() {
            joined.push_str(text);
            any_unicode |= unicode;
            self.advance();
        }
        Ok(node(at, ExprKind::Str(joined, any_unicode)))
    }

    fn parenthesis(&mut self, at: Pos) -> Result<Expr> {
        self.advance();
        if self.take_op(")") {
            return Ok(node(at, ExprKind::Tuple(Vec::new())));
        }
        let inner = self.expressions()?;
        if self.at_word("for") {
            // A generator is run at once and becomes a list, which its readers cannot tell apart.
            let clauses = self.clauses()?;
            self.expect_op(")")?;
            return Ok(node(at, ExprKind::Comprehension(Box::new(inner), clauses)));
        }
        self.expect_op(")")?;
        Ok(inner)
    }

    /// After `[`: members, or a comprehension.
    fn list(&mut self, at: Pos) -> Result<Expr> {
        let mut items = Vec::new();
        while !self.take_op("]") {
            items.push(self.expression()?);
            if items.len() == 1 && self.at_word("for") {
                let clauses = self.clauses()?;
                self.expect_op("]")?;
                let value = Box::new(items.remove(0));
                return Ok(node(at, ExprKind::Comprehension(value, clauses)));
            }
            if !self.take_op(",") {
                if !self.take_op("]") {
                    return Err(self.unexpected("',' or ']'"));
                }
                break;
            }
        }
        Ok(node(at, ExprKind::List(items)))
    }

    fn dict(&mut self, at: Pos) -> Result<Expr> {
        self.advance();
        let mut items = Vec::new();
        while !self.take_op("}") {
            let key = self.expression()?;
            if !self.take_op(":") {
                return match self.peek() {
                    Tok::Op("," | "}") => Err(ConfigError::not_supported(at, "set ('{a, b}')")),
                    _ => Err(self.unexpected("':'")),
                };
            }
            let value = self.expression()?;
            if self.at_word("for") {
                return Err(ConfigError::not_supported(self.at(), "dict comprehension"));
            }
            items.push((key, value));
            if !self.take_op(",") {
                if !self.take_op("}") {
                    return Err(self.unexpected("',' or '}'"));
                }
                break;
            }
        }
        Ok(node(at, ExprKind::Dict(items)))
    }
}
