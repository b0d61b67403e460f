//! String literals: quotes, prefixes, escapes.
//!
//! A Python 2 string is bytes. Here it is text: escapes from `\x80` to `\xff` stand for the Latin-1 character of that number.

use super::{Cursor, Tok};
use crate::error::{ConfigError, Pos, Result};

/// True for `r`, `u`, `b` and their combinations, in either case.
pub(super) fn is_prefix(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "r" | "u" | "b" | "ur" | "br" | "rb" | "f" | "fr" | "rf"
    )
}

/// Reads a literal; the cursor stands on its opening quote, `prefix` has been read.
pub(super) fn literal(cursor: &mut Cursor<'_>, prefix: &str, at: Pos) -> Result<Tok> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.contains('f') {
        return Err(ConfigError::not_supported(at, "f-string"));
    }
    let raw = prefix.contains('r');
    let unicode = prefix.contains('u');
    let quote = cursor.peek().unwrap_or('\'');
    let triple = cursor.rest.chars().take(3).filter(|&c| c == quote).count() == 3;
    for _ in 0..if triple { 3 } else { 1 } {
        cursor.bump();
    }
    let end: String = std::iter::repeat_n(quote, if triple { 3 } else { 1 }).collect();
    let mut text = String::new();
    loop {
        if cursor.starts_with(&end) {
            for _ in 0..end.len() {
                cursor.bump();
            }
            return Ok(Tok::Str { text, unicode });
        }
        let here = cursor.at;
        match cursor.bump() {
            None => return Err(ConfigError::syntax(at, "string is never closed")),
            Some('\n') if !triple => {
                return Err(ConfigError::syntax(
                    at,
                    format!("string is not closed on its line; expected {quote}"),
                ))
            }
            Some('\\') if raw => {
                text.push('\\');
                // Even in a raw string a backslash keeps the next quote from closing it.
                match cursor.bump() {
                    Some(c) => text.push(c),
                    None => return Err(ConfigError::syntax(at, "string is never closed")),
                }
            }
            Some('\\') => escape(cursor, unicode, here, &mut text)?,
            Some(c) => text.push(c),
        }
    }
}

fn escape(cursor: &mut Cursor<'_>, unicode: bool, at: Pos, text: &mut String) -> Result<()> {
    let Some(c) = cursor.bump() else {
        return Err(ConfigError::syntax(at, "string is never closed"));
    };
    match c {
        '\n' => {}
        '\\' | '\'' | '"' => text.push(c),
        'a' => text.push('\x07'),
        'b' => text.push('\x08'),
        'f' => text.push('\x0c'),
        'n' => text.push('\n'),
        'r' => text.push('\r'),
        't' => text.push('\t'),
        'v' => text.push('\x0b'),
        '0'..='7' => {
            let mut value = c.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let Some(digit) = cursor.peek().and_then(|c| c.to_digit(8)) else {
                    break;
                };
                value = value * 8 + digit;
                cursor.bump();
            }
            push_code(text, value & 0xff, at)?;
        }
        'x' => {
            let value = hex(cursor, 2, at)?;
            push_code(text, value, at)?;
        }
        'u' if unicode => {
            let value = hex(cursor, 4, at)?;
            push_code(text, value, at)?;
        }
        'U' if unicode => {
            let value = hex(cursor, 8, at)?;
            push_code(text, value, at)?;
        }
        'N' if unicode => {
            return Err(ConfigError::not_supported(
                at,
                "character by name (\\N{...})",
            ))
        }
        // An unknown escape stays as written, backslash included.
        other => {
            text.push('\\');
            text.push(other);
        }
    }
    Ok(())
}

fn hex(cursor: &mut Cursor<'_>, digits: usize, at: Pos) -> Result<u32> {
    let mut value = 0u32;
    for _ in 0..digits {
        let digit = cursor.peek().and_then(|c| c.to_digit(16)).ok_or_else(|| {
            ConfigError::syntax(at, format!("escape needs {digits} hexadecimal digits"))
        })?;
        value = value << 4 | digit;
        cursor.bump();
    }
    Ok(value)
}

fn push_code(text: &mut String, code: u32, at: Pos) -> Result<()> {
    let c =
        char::from_u32(code).ok_or_else(|| ConfigError::syntax(at, "escape names no character"))?;
    text.push(c);
    Ok(())
}
