//! Tokens to [`Expr`]s: operator precedence.
//!
//! ```text
//!   choice   a if t else b          right
//!   or, and, not
//!   compare  < <= == != <> in is    chained
//!   binary   | ^ & <<>> +- * / // % left, by the table below
//!   unary    - + ~
//!   power    **                     right
//!   postfix  a[i] a[i:j] f(x)
//!   atom     name number string ( ) [ ] { }
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

fn node(at: Pos, kind: ExprKind) -> Expr {
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

    fn starts_expression(&self) -> bool {
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
    fn boolean(&mut self, and: bool) -> Result<Expr> {
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

    fn postfix(&mut self) -> Result<Expr> {
        let mut value = self.atom()?;
        for _ in 0..self.max_depth {
            let at = self.at();
            if self.take_op("[") {
                value = self.subscript(value, at)?;
            } else if self.take_op("(") {
                let args = self.arguments()?;
                value = node(at, ExprKind::Call(Box::new(value), args));
            } else if self.take_op(".") {
                let name = match self.peek() {
                    Tok::Name(name) => format!("attribute access ('.{name}')"),
                    _ => return Err(self.unexpected("a name after '.'")),
                };
                return Err(ConfigError::not_supported(at, &name));
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
        let empty = colons == 0 && parts[0].is_none();
        if empty || !self.take_op("]") {
            return Err(self.unexpected(if empty { "an index" } else { "']'" }));
        }
        let object = Box::new(object);
        let [first, second, third] = parts;
        Ok(match (colons, first) {
            (0, Some(index)) => node(at, ExprKind::Item(object, index)),
            (_, first) => node(at, ExprKind::Slice(object, [first, second, third])),
        })
    }

    fn arguments(&mut self) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        while !self.take_op(")") {
            let at = self.at();
            if self.take_op("*") || self.take_op("**") {
                return Err(ConfigError::not_supported(at, "'*' in a call"));
            }
            args.push(self.expression()?);
            self.no_comprehension()?;
            if matches!(self.peek(), Tok::Op("=")) {
                return Err(ConfigError::not_supported(at, "argument by name"));
            }
            if !self.take_op(",") {
                self.expect_op(")")?;
                break;
            }
        }
        Ok(args)
    }

    fn no_comprehension(&self) -> Result<()> {
        match self.peek() {
            Tok::Name(word) if word == "for" => Err(ConfigError::not_supported(
                self.at(),
                "comprehension ('for')",
            )),
            _ => Ok(()),
        }
    }

    fn atom(&mut self) -> Result<Expr> {
        let at = self.at();
        let kind = match self.peek().clone() {
            Tok::Int { value, long } => ExprKind::Int(value, long),
            Tok::Float(value) => ExprKind::Float(value),
            Tok::Str { .. } => return self.strings(at),
            Tok::Name(name) if name == "lambda" => {
                return Err(ConfigError::not_supported(at, "'lambda'"))
            }
            Tok::Name(name) if is_keyword(&name) => return Err(self.unexpected("a value")),
            Tok::Name(name) => ExprKind::Name(name),
            Tok::Op("(") => return self.parenthesis(at),
            Tok::Op("[") => {
                self.advance();
                let items = self.items("]")?;
                return Ok(node(at, ExprKind::List(items)));
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
        self.no_comprehension()?;
        self.expect_op(")")?;
        Ok(inner)
    }

    fn items(&mut self, close: &str) -> Result<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.take_op(close) {
            items.push(self.expression()?);
            self.no_comprehension()?;
            if !self.take_op(",") {
                if !self.take_op(close) {
                    return Err(self.unexpected(&format!("',' or '{close}'")));
                }
                break;
            }
        }
        Ok(items)
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
            self.no_comprehension()?;
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
