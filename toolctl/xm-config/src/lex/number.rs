//! Numbers.

use super::{Cursor, Tok};
use crate::error::{ConfigError, Pos, Result};

/// Reads a number; the cursor stands on its first digit or point.
pub(super) fn literal(cursor: &mut Cursor<'_>, at: Pos) -> Result<Tok> {
    let text = raw(cursor);
    let lower = text.to_ascii_lowercase();
    let radix = match lower.as_bytes() {
        [b'0', b'x', ..] => 16,
        [b'0', b'o', ..] => 8,
        [b'0', b'b', ..] => 2,
        _ => 10,
    };
    if radix != 10 {
        return whole(lower.get(2..).unwrap_or(""), radix, &text, at);
    }
    if lower.ends_with('j') {
        return Err(ConfigError::not_supported(at, "complex number"));
    }
    if lower.contains(['.', 'e']) {
        let value: f64 = lower.replace('_', "").parse().map_err(|_| bad(&text, at))?;
        return Ok(Tok::Float(value));
    }
    let digits = lower.trim_end_matches('l');
    if digits.len() > 1 && digits.starts_with('0') {
        return whole(lower.get(1..).unwrap_or(""), 8, &text, at);
    }
    whole(&lower, 10, &text, at)
}

/// The characters that belong to the number: letters too, so that `12abc` is reported as one wrong number.
fn raw(cursor: &mut Cursor<'_>) -> String {
    let mut text = String::new();
    let hex = cursor.starts_with("0x") || cursor.starts_with("0X");
    while let Some(c) = cursor.peek() {
        let sign_of_exponent = matches!(c, '+' | '-') && !hex && text.ends_with(['e', 'E']);
        let point = c == '.' && !hex;
        if !(c.is_ascii_alphanumeric() || c == '_' || point || sign_of_exponent) {
            break;
        }
        text.push(c);
        cursor.bump();
    }
    text
}

fn whole(digits: &str, radix: u32, text: &str, at: Pos) -> Result<Tok> {
    let long = digits.ends_with('l');
    let digits: String = digits
        .strip_suffix('l')
        .unwrap_or(digits)
        .chars()
        .filter(|&c| c != '_')
        .collect();
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(bad(text, at));
    }
    let value = i128::from_str_radix(&digits, radix)
        .map_err(|_| ConfigError::limit(at, "number is larger than 127 bits"))?;
    Ok(Tok::Int { value, long })
}

fn bad(text: &str, at: Pos) -> ConfigError {
    let shown: String = text.chars().take(40).collect();
    ConfigError::syntax(at, format!("'{shown}' is not a number"))
}
