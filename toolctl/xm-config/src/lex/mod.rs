//! Source text to tokens.
//!
//! ```text
//!   characters --(Cursor)--> words, numbers, strings, operators
//!                  |  bracket depth 0: line ends become Newline, leading blanks become Indent/Dedent
//!                  |  inside brackets or after a backslash: line ends are blanks
//!                  v
//!               Vec<Token>   ... Newline, Dedent*, End
//! ```
//! Follows the lexical chapter of the Python 2 language reference: tabs reach to the next multiple of eight columns,
//! a leading 0 makes an octal number, `L` a long one. What only Python 3 has (`0o17`, `1_000`, `b''`) is read as well.

mod number;
mod string;

use crate::error::{ConfigError, Pos, Result};
use crate::limits::Limits;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum Tok {
    /// Identifier or keyword.
    Name(String),
    /// Whole number; `long` when written with a trailing `L`.
    Int {
        /// Its value.
        value: i128,
        /// Trailing `L`.
        long: bool,
    },
    /// Number with a point or exponent.
    Float(f64),
    /// One string literal, escapes resolved.
    Str {
        /// Its text.
        text: String,
        /// Written `u'...'`.
        unicode: bool,
    },
    /// Operator or bracket.
    Op(&'static str),
    /// End of a logical line.
    Newline,
    /// Deeper indentation begins.
    Indent,
    /// An indentation ends.
    Dedent,
    /// End of the file.
    End,
}

impl Tok {
    /// How an error message names it.
    pub fn describe(&self) -> String {
        match self {
            Tok::Name(name) => format!("'{}'", cut(name)),
            Tok::Int { value, .. } => format!("number {value}"),
            Tok::Float(value) => format!("number {value}"),
            Tok::Str { text, .. } => format!("string '{}'", cut(text)),
            Tok::Op(op) => format!("'{op}'"),
            Tok::Newline => "end of line".into(),
            Tok::Indent => "indentation".into(),
            Tok::Dedent => "end of indentation".into(),
            Tok::End => "end of file".into(),
        }
    }
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(24).filter(|c| !c.is_control()).collect();
    if text.chars().nth(24).is_some() {
        shown.push_str("...");
    }
    shown
}

/// A token and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// What it is.
    pub tok: Tok,
    /// Where it starts.
    pub at: Pos,
}

/// Operators, longest first, so that the first match is the right one.
const OPERATORS: &[&str] = &[
    "**=", "//=", ">>=", "<<=", "**", "//", ">>", "<<", "<=", ">=", "==", "!=", "<>", "+=", "-=",
    "*=", "/=", "%=", "&=", "|=", "^=", "->", ":=", "+", "-", "*", "/", "%", "(", ")", "[", "]",
    "{", "}", ",", ":", ".", "`", "=", ";", "<", ">", "&", "|", "^", "~", "@",
];

/// Position in the source.
pub(crate) struct Cursor<'a> {
    rest: &'a str,
    at: Pos,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    fn starts_with(&self, text: &str) -> bool {
        self.rest.starts_with(text)
    }

    /// Takes one character. "\r\n" and a lone "\r" come out as "\n".
    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let mut c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\r' {
            self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
            c = '\n';
        }
        if c == '\n' {
            self.at.line = self.at.line.saturating_add(1);
            self.at.column = 1;
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(c)
    }

    fn take_while(&mut self, mut wanted: impl FnMut(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|&c| wanted(c)) {
            text.push(c);
            self.bump();
        }
        text
    }
}

struct Lexer<'a> {
    cursor: Cursor<'a>,
    tokens: Vec<Token>,
    /// Open brackets and where they opened.
    brackets: Vec<(&'static str, Pos)>,
    /// Columns of the open indentations; the first is 0.
    indents: Vec<usize>,
    limits: &'a Limits,
}

/// Turns `source` into tokens; the last one is always [`Tok::End`].
pub fn tokenize(source: &str, limits: &Limits) -> Result<Vec<Token>> {
    let start = Pos { line: 1, column: 1 };
    if source.len() > limits.source_bytes {
        let most = limits.source_bytes >> 10;
        return Err(ConfigError::limit(
            start,
            format!("file is larger than {most} KiB"),
        ));
    }
    let mut lexer = Lexer {
        cursor: Cursor {
            rest: source.strip_prefix('\u{feff}').unwrap_or(source),
            at: start,
        },
        tokens: Vec::new(),
        brackets: Vec::new(),
        indents: vec![0],
        limits,
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<()> {
        while self.cursor.peek().is_some() {
            if self.brackets.is_empty() && self.at_line_start() && !self.indentation()? {
                continue;
            }
            self.token()?;
        }
        let at = self.cursor.at;
        if let Some((open, at)) = self.brackets.last() {
            return Err(ConfigError::syntax(
                *at,
                format!("'{open}' is never closed"),
            ));
        }
        if !self.at_line_start() {
            self.push(Tok::Newline, at)?;
        }
        for _ in 1..self.indents.len() {
            self.push(Tok::Dedent, at)?;
        }
        self.push(Tok::End, at)
    }

    fn at_line_start(&self) -> bool {
        matches!(
            self.tokens.last().map(|token| &token.tok),
            None | Some(Tok::Newline | Tok::Indent | Tok::Dedent)
        )
    }

    fn push(&mut self, tok: Tok, at: Pos) -> Result<()> {
        if self.tokens.len() >= self.limits.tokens {
            let most = self.limits.tokens;
            return Err(ConfigError::limit(
                at,
                format!("more than {most} words and signs in one file"),
            ));
        }
        self.tokens.push(Token { tok, at });
        Ok(())
    }

    /// Measures the blanks before a logical line. False: the line is blank or a comment and has been skipped.
    fn indentation(&mut self) -> Result<bool> {
        if self.cursor.at.column != 1 {
            // Between `Newline` and the text of the same line we have been here already.
            if !matches!(self.cursor.peek(), Some('\n' | '\r' | '#')) {
                return Ok(true);
            }
        }
        let mut width = 0usize;
        while let Some(c) = self.cursor.peek() {
            width = match c {
                ' ' => width + 1,
                '\t' => (width / 8 + 1) * 8,
                '\x0c' => 0,
                _ => break,
            };
            self.cursor.bump();
        }
        match self.cursor.peek() {
            None => return Ok(false),
            Some('#') => {
                self.cursor.take_while(|c| c != '\n' && c != '\r');
                return Ok(false);
            }
            Some('\n' | '\r') => {
                self.cursor.bump();
                return Ok(false);
            }
            Some(_) => {}
        }
        let at = self.cursor.at;
        let current = self.indents.last().copied().unwrap_or(0);
        if width > current {
            if self.indents.len() > self.limits.depth {
                return Err(ConfigError::limit(at, "indented too deeply"));
            }
            self.indents.push(width);
            self.push(Tok::Indent, at)?;
        } else if width < current {
            while self.indents.last().is_some_and(|&open| open > width) {
                self.indents.pop();
                self.push(Tok::Dedent, at)?;
            }
            if self.indents.last() != Some(&width) {
                return Err(ConfigError::syntax(
                    at,
                    "indentation matches no line above it",
                ));
            }
        }
        Ok(true)
    }

    fn token(&mut self) -> Result<()> {
        let at = self.cursor.at;
        let Some(c) = self.cursor.peek() else {
            return Ok(());
        };
        match c {
            ' ' | '\t' | '\x0c' => {
                self.cursor.bump();
                Ok(())
            }
            '\n' | '\r' => {
                self.cursor.bump();
                if self.brackets.is_empty() && !self.at_line_start() {
                    self.push(Tok::Newline, at)?;
                }
                Ok(())
            }
            '#' => {
                self.cursor.take_while(|c| c != '\n' && c != '\r');
                Ok(())
            }
            '\\' => {
                self.cursor.bump();
                if !matches!(self.cursor.peek(), Some('\n' | '\r')) {
                    return Err(ConfigError::syntax(
                        at,
                        "a backslash outside a string must be the last character of its line",
                    ));
                }
                self.cursor.bump();
                Ok(())
            }
            '\'' | '"' => {
                let tok = string::literal(&mut self.cursor, "", at)?;
                self.push(tok, at)
            }
            '0'..='9' => {
                let tok = number::literal(&mut self.cursor, at)?;
                self.push(tok, at)
            }
            '.' if self
                .cursor
                .peek_second()
                .is_some_and(|c| c.is_ascii_digit()) =>
            {
                let tok = number::literal(&mut self.cursor, at)?;
                self.push(tok, at)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let word = self
                    .cursor
                    .take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                let quoted = matches!(self.cursor.peek(), Some('\'' | '"'));
                let tok = if quoted && string::is_prefix(&word) {
                    string::literal(&mut self.cursor, &word, at)?
                } else {
                    Tok::Name(word)
                };
                self.push(tok, at)
            }
            _ => self.operator(at),
        }
    }

    fn operator(&mut self, at: Pos) -> Result<()> {
        let Some(&op) = OPERATORS.iter().find(|op| self.cursor.starts_with(op)) else {
            let c = self.cursor.peek().unwrap_or(' ');
            return Err(ConfigError::syntax(
                at,
                format!("character {:?} has no meaning here", c),
            ));
        };
        for _ in op.chars() {
            self.cursor.bump();
        }
        match op {
            "(" | "[" | "{" => {
                if self.brackets.len() >= self.limits.depth {
                    return Err(ConfigError::limit(at, "brackets nested too deeply"));
                }
                self.brackets.push((op, at));
            }
            ")" | "]" | "}" => {
                let wanted = match op {
                    ")" => "(",
                    "]" => "[",
                    _ => "{",
                };
                match self.brackets.pop() {
                    Some((open, _)) if open == wanted => {}
                    Some((open, from)) => {
                        return Err(ConfigError::syntax(
                            at,
                            format!("'{op}' closes '{open}' of line {}", from.line),
                        ))
                    }
                    None => return Err(ConfigError::syntax(at, format!("'{op}' closes nothing"))),
                }
            }
            _ => {}
        }
        self.push(Tok::Op(op), at)
    }
}

#[cfg(test)]
mod tests;
