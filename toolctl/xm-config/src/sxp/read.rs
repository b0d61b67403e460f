//! Text to [`Node`]s.

use super::Node;
use crate::error::{ConfigError, Pos, Result};
use crate::limits::Limits;

struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    at: Pos,
}

/// Reads exactly one expression.
pub fn parse(text: &str, limits: &Limits) -> Result<Node> {
    let mut all = parse_all(text, limits)?;
    match (all.len(), all.pop()) {
        (1, Some(only)) => Ok(only),
        (0, _) => Err(ConfigError::config("the file holds no S-expression")),
        (n, _) => Err(ConfigError::config(format!(
            "expected one S-expression, found {n}"
        ))),
    }
}

/// Reads all expressions of a text.
pub fn parse_all(text: &str, limits: &Limits) -> Result<Vec<Node>> {
    let start = Pos { line: 1, column: 1 };
    if text.len() > limits.source_bytes {
        return Err(ConfigError::limit(
            start,
            format!("larger than {} KiB", limits.source_bytes >> 10),
        ));
    }
    let mut reader = Reader {
        chars: text.chars().peekable(),
        at: start,
    };
    // Open lists from the outside in; the first holds what is at top level.
    let mut open: Vec<(Pos, Vec<Node>)> = vec![(start, Vec::new())];
    let mut tokens = 0usize;
    while let Some(c) = reader.peek() {
        let at = reader.at;
        tokens += 1;
        if tokens > limits.tokens {
            return Err(ConfigError::limit(
                at,
                format!("more than {} words", limits.tokens),
            ));
        }
        let done = match c {
            c if c.is_whitespace() => {
                reader.bump();
                tokens -= 1;
                continue;
            }
            '#' => {
                while reader.peek().is_some_and(|c| c != '\n') {
                    reader.bump();
                }
                continue;
            }
            '(' => {
                reader.bump();
                if open.len() > limits.depth {
                    return Err(ConfigError::limit(at, "lists nested too deeply"));
                }
                open.push((at, Vec::new()));
                continue;
            }
            ')' => {
                reader.bump();
                match open.pop() {
                    Some((_, members)) if !open.is_empty() => Node::List(members),
                    _ => return Err(ConfigError::syntax(at, "')' closes nothing")),
                }
            }
            '\'' | '"' => Node::Atom(reader.quoted(c, at)?),
            _ => Node::Atom(reader.bare()),
        };
        if let Some((_, members)) = open.last_mut() {
            members.push(done);
        }
    }
    match (open.len(), open.pop()) {
        (1, Some((_, members))) => Ok(members),
        (_, last) => Err(ConfigError::syntax(
            last.map_or(start, |(at, _)| at),
            "'(' is never closed",
        )),
    }
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\n' {
            self.at.line = self.at.line.saturating_add(1);
            self.at.column = 1;
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(c)
    }

    fn bare(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || matches!(c, '(' | ')' | '\'' | '"') {
                break;
            }
            text.push(c);
            self.bump();
        }
        text
    }

    fn quoted(&mut self, quote: char, at: Pos) -> Result<String> {
        let unclosed = || ConfigError::syntax(at, format!("{quote} is never closed"));
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump().ok_or_else(unclosed)? {
                c if c == quote => return Ok(text),
                '\\' => {
                    let c = self.bump().ok_or_else(unclosed)?;
                    text.push(self.escape(c)?);
                }
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, c: char) -> Result<char> {
        Ok(match c {
            'a' => '\x07',
            'b' => '\x08',
            't' => '\t',
            'n' => '\n',
            'v' => '\x0b',
            'f' => '\x0c',
            'r' => '\r',
            'x' => self.code(0, 16, 2)?,
            '0'..='7' => self.code(c.to_digit(8).unwrap_or(0), 8, 2)?,
            // Backslash, quotes; any other character stands for itself.
            other => other,
        })
    }

    fn code(&mut self, mut value: u32, radix: u32, most: usize) -> Result<char> {
        let at = self.at;
        for index in 0..most {
            match self.peek().and_then(|c| c.to_digit(radix)) {
                Some(digit) => {
                    value = value * radix + digit;
                    self.bump();
                }
                None if radix == 16 && index == 0 => {
                    return Err(ConfigError::syntax(at, "\\x needs hexadecimal digits"))
                }
                None => break,
            }
        }
        char::from_u32(value & 0xff).ok_or_else(|| ConfigError::syntax(at, "no such character"))
    }
}
