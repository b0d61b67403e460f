//! Tokens to a [`Program`]: statements of one line.
//!
//! ```text
//!   file     := (simple-line | compound)*          compound: see `compound`
//!   line     := simple (';' simple)* NEWLINE
//!   simple   := target ('=' target)* '=' value | target OP'=' value | expression
//!             | pass break continue return raise print import from del global assert
//! ```
//! What is Python and not run here (`class`, `with`, `yield`, ..) is recognised by its first word and refused by name.

mod compound;
mod expr;
mod trailer;

use crate::ast::{BinOp, Expr, ExprKind, Program, Stmt, StmtKind, Target};
use crate::error::{ConfigError, Pos, Result};
use crate::lex::{Tok, Token};
use crate::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};

/// Statements that are not run here, and how an error names them.
const REFUSED: &[(&str, &str)] = &[
    ("async", "'async' statement"),
    ("class", "class definition"),
    ("exec", "'exec' statement"),
    ("with", "'with' statement"),
    ("yield", "'yield' statement"),
];

/// Words that cannot be variables.
const KEYWORDS: &[&str] = &[
    "and", "as", "assert", "break", "continue", "def", "del", "elif", "else", "except", "finally",
    "for", "from", "global", "if", "import", "in", "is", "lambda", "not", "or", "pass", "print",
    "raise", "return", "try", "while",
];

fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name) || REFUSED.iter().any(|(word, _)| *word == name)
}

pub(crate) struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    depth: usize,
    max_depth: usize,
    /// How often a name stands where it is read.
    reads: BTreeMap<String, usize>,
    bound: BTreeSet<String>,
    /// Loops around this place, in this function.
    loops: usize,
    /// Inside a function: the names that it declared `global`.
    function: Option<BTreeSet<String>>,
}

/// Parses a whole file.
pub fn parse(tokens: &[Token], limits: &Limits) -> Result<Program> {
    let mut parser = Parser {
        tokens,
        next: 0,
        depth: 0,
        max_depth: limits.depth,
        reads: BTreeMap::new(),
        bound: BTreeSet::new(),
        loops: 0,
        function: None,
    };
    let body = parser.file()?;
    let reads = parser
        .reads
        .into_iter()
        .filter(|(_, times)| *times > 0)
        .map(|(name, _)| name)
        .collect();
    Ok(Program {
        body,
        reads,
        bound: parser.bound,
    })
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
                _ => self.statement(&mut statements)?,
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
        let word = match self.peek() {
            Tok::Name(word) => word.clone(),
            _ => String::new(),
        };
        if let Some((_, construct)) = REFUSED.iter().find(|(first, _)| *first == word) {
            return Err(ConfigError::not_supported(at, construct));
        }
        let kind = match word.as_str() {
            "pass" | "break" | "continue" | "return" | "raise" | "print" | "import" | "from"
            | "del" | "global" | "assert" => {
                self.advance();
                self.keyword(&word, at)?
            }
            _ => self.assignment(at)?,
        };
        Ok(Stmt { at, kind })
    }

    fn at_end_of_simple(&self) -> bool {
        matches!(self.peek(), Tok::Newline | Tok::End | Tok::Op(";"))
    }

    /// A statement that begins with `word`, which has been taken.
    fn keyword(&mut self, word: &str, at: Pos) -> Result<StmtKind> {
        Ok(match word {
            "pass" => StmtKind::Pass,
            "break" | "continue" if self.loops == 0 => {
                return Err(ConfigError::syntax(
                    at,
                    format!("'{word}' outside of a loop"),
                ))
            }
            "break" => StmtKind::Break,
            "continue" => StmtKind::Continue,
            "return" if self.function.is_none() => {
                return Err(ConfigError::syntax(at, "'return' outside of a function"))
            }
            "return" if self.at_end_of_simple() => StmtKind::Return(None),
            "return" => StmtKind::Return(Some(self.expressions()?)),
            "raise" if self.at_end_of_simple() => StmtKind::Raise(None, None),
            "raise" => {
                let class = self.expression()?;
                let value = match self.take_op(",") {
                    true => Some(self.expression()?),
                    false => None,
                };
                StmtKind::Raise(Some(class), value)
            }
            "assert" => {
                let test = self.expression()?;
                let message = match self.take_op(",") {
                    true => Some(self.expression()?),
                    false => None,
                };
                StmtKind::Assert(test, message)
            }
            "print" => self.print()?,
            "del" => {
                let expr = self.expressions()?;
                let targets = match expr.kind {
                    ExprKind::Tuple(items) => items,
                    _ => vec![expr],
                };
                StmtKind::Del(
                    targets
                        .into_iter()
                        .map(|item| self.target(item))
                        .collect::<Result<_>>()?,
                )
            }
            "global" => {
                let mut names = vec![self.name("a name")?];
                while self.take_op(",") {
                    names.push(self.name("a name")?);
                }
                match &mut self.function {
                    Some(globals) => {
                        globals.extend(names.iter().cloned());
                        StmtKind::Global(names)
                    }
                    None => StmtKind::Pass,
                }
            }
            "import" => self.import()?,
            _ => self.import_names()?,
        })
    }

    fn print(&mut self) -> Result<StmtKind> {
        let mut stream = None;
        if self.take_op(">>") {
            stream = Some(self.expression()?);
            if !self.take_op(",") {
                return Ok(StmtKind::Print(stream, Vec::new(), true));
            }
        }
        let mut values = Vec::new();
        let mut ends = true;
        while !self.at_end_of_simple() {
            values.push(self.expression()?);
            ends = !self.take_op(",");
            if ends {
                break;
            }
        }
        Ok(StmtKind::Print(stream, values, ends))
    }

    fn name(&mut self, wanted: &str) -> Result<String> {
        match self.peek() {
            Tok::Name(name) if !is_keyword(name) => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn dotted(&mut self) -> Result<String> {
        let mut path = self.name("a module's name")?;
        while self.take_op(".") {
            path.push('.');
            path.push_str(&self.name("a module's name")?);
        }
        Ok(path)
    }

    fn alias(&mut self, default: &str) -> Result<String> {
        let name = match self.take_word("as") {
            true => self.name("a name after 'as'")?,
            false => default.to_owned(),
        };
        self.bound.insert(name.clone());
        Ok(name)
    }

    fn import(&mut self) -> Result<StmtKind> {
        let mut modules = Vec::new();
        loop {
            let path = self.dotted()?;
            let first = path.split('.').next().unwrap_or_default().to_owned();
            let name = self.alias(&first)?;
            // `import os.path` binds `os`, `import os.path as p` the inner module.
            let module = if name == first { first } else { path };
            modules.push((module, name));
            if !self.take_op(",") {
                return Ok(StmtKind::Import(modules));
            }
        }
    }

    fn import_names(&mut self) -> Result<StmtKind> {
        let module = self.dotted()?;
        if !self.take_word("import") {
            return Err(self.unexpected("'import'"));
        }
        if self.take_op("*") {
            return Ok(StmtKind::FromImport(module, vec![("*".into(), "*".into())]));
        }
        let open = self.take_op("(");
        let mut names = Vec::new();
        loop {
            let name = self.name("a name")?;
            let bound = self.alias(&name)?;
            names.push((name, bound));
            if !self.take_op(",") || (open && matches!(self.peek(), Tok::Op(")"))) {
                break;
            }
        }
        if open {
            self.expect_op(")")?;
        }
        Ok(StmtKind::FromImport(module, names))
    }

    fn assignment(&mut self, at: Pos) -> Result<StmtKind> {
        if self.take_op("@") {
            return Err(ConfigError::not_supported(at, "decorator ('@')"));
        }
        let first = self.expressions()?;
        if let Some(op) = self.augmented() {
            self.advance();
            let value = self.expressions()?;
            let target = self.target(first)?;
            if let Target::Unpack(_, at) = target {
                return Err(ConfigError::syntax(
                    at,
                    "cannot assign to several names here",
                ));
            }
            return Ok(StmtKind::Augmented(target, op, value));
        }
        let mut parts = vec![first];
        while self.take_op("=") {
            parts.push(self.expressions()?);
        }
        Ok(match parts.pop() {
            Some(value) if !parts.is_empty() => {
                let targets = parts
                    .into_iter()
                    .map(|part| self.target(part))
                    .collect::<Result<_>>()?;
                StmtKind::Assign(targets, value)
            }
            Some(value) => StmtKind::Expr(value),
            None => StmtKind::Pass,
        })
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

impl Parser<'_> {
    /// Reads an expression as the left side of an assignment.
    fn target(&mut self, expr: Expr) -> Result<Target> {
        let at = expr.at;
        match expr.kind {
            ExprKind::Name(name) if matches!(name.as_str(), "None" | "True" | "False") => {
                Err(ConfigError::syntax(at, format!("cannot assign to {name}")))
            }
            ExprKind::Name(name) => {
                self.unread(&name);
                Ok(Target::Name(name, at))
            }
            ExprKind::List(items) | ExprKind::Tuple(items) if !items.is_empty() => {
                let targets = items
                    .into_iter()
                    .map(|item| self.target(item))
                    .collect::<Result<_>>()?;
                Ok(Target::Unpack(targets, at))
            }
            ExprKind::Item(object, index) => Ok(Target::Item(object, index, at)),
            ExprKind::Binary(first, rest) => match hyphenated(&first, &rest) {
                Some(name) => {
                    name.split('-').for_each(|part| self.unread(part));
                    Ok(Target::Hyphenated(name, at))
                }
                None => Err(cannot(at)),
            },
            ExprKind::Slice(..) => Err(ConfigError::not_supported(at, "assignment to a slice")),
            ExprKind::Attribute(..) => {
                Err(ConfigError::not_supported(at, "assignment to an attribute"))
            }
            _ => Err(cannot(at)),
        }
    }

    /// The name was taken for one that is read; it is assigned.
    fn unread(&mut self, name: &str) {
        if let Some(times) = self.reads.get_mut(name) {
            *times = times.saturating_sub(1);
        }
    }

    /// A target that a loop or handler binds.
    fn binding(&mut self, expr: Expr) -> Result<Target> {
        let target = self.target(expr)?;
        let mut all = vec![&target];
        while let Some(one) = all.pop() {
            match one {
                Target::Name(name, _) => {
                    self.bound.insert(name.clone());
                }
                Target::Unpack(inner, _) => all.extend(inner),
                Target::Hyphenated(..) | Target::Item(..) => {}
            }
        }
        Ok(target)
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
