//! `text % values`.
//!
//! Conversions of the Python 2 library reference, "String formatting operations": flags `# 0 - + blank`, width and precision
//! (also `*`), `(name)` keys, and `d i u o x X e E f F g G c r s %`.

use super::Evaluator;
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;

/// Longest width or precision; a config has no use for more.
const MAX_WIDTH: usize = 4096;

#[derive(Default)]
struct Spec {
    alternate: bool,
    zero: bool,
    left: bool,
    plus: bool,
    blank: bool,
    width: usize,
    precision: Option<usize>,
}

/// Hands out the operand's members one by one.
struct Arguments {
    positional: Vec<Value>,
    next: usize,
    mapping: Option<Vec<Value>>,
    used_mapping: bool,
}

impl Arguments {
    fn take(&mut self, at: Pos) -> Result<Value> {
        let value = self.positional.get(self.next).cloned().ok_or_else(|| {
            ConfigError::runtime("TypeError", at, "not enough arguments for format string")
        })?;
        self.next += 1;
        Ok(value)
    }

    fn named(&mut self, name: &str, at: Pos) -> Result<Value> {
        self.used_mapping = true;
        let pairs = self
            .mapping
            .as_ref()
            .ok_or_else(|| ConfigError::runtime("TypeError", at, "format requires a mapping"))?;
        pairs
            .chunks(2)
            .find_map(|pair| match pair {
                [Value::Str(key, _), value] if &**key == name => Some(value.clone()),
                _ => None,
            })
            .ok_or_else(|| ConfigError::runtime("KeyError", at, crate::value::quote(name)))
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Formats `text` with `operand`; `at` is the place of the `%`.
pub(super) fn percent(
    evaluator: &mut Evaluator<'_>,
    text: &str,
    operand: Value,
    at: Pos,
) -> Result<String> {
    let mut args = match operand {
        Value::Tuple(items) => Arguments {
            positional: items.snapshot(),
            next: 0,
            mapping: None,
            used_mapping: false,
        },
        other => Arguments {
            mapping: match &other {
                Value::Dict(items) => Some(items.snapshot()),
                _ => None,
            },
            positional: vec![other],
            next: 0,
            used_mapping: false,
        },
    };
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let piece = conversion(evaluator, &mut chars, &mut args, at)?;
        evaluator.budget.bytes(at, piece.len())?;
        out.push_str(&piece);
    }
    let all_used =
        args.next >= args.positional.len() || args.used_mapping || args.mapping.is_some();
    if !all_used {
        return Err(ConfigError::runtime(
            "TypeError",
            at,
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

fn incomplete(at: Pos) -> ConfigError {
    ConfigError::runtime("ValueError", at, "incomplete format")
}

fn conversion(
    evaluator: &mut Evaluator<'_>,
    chars: &mut Chars<'_>,
    args: &mut Arguments,
    at: Pos,
) -> Result<String> {
    evaluator.budget.step(at)?;
    let mut named = None;
    if chars.next_if_eq(&'(').is_some() {
        let mut name = String::new();
        loop {
            match chars.next() {
                Some(')') => break,
                Some(c) => name.push(c),
                None => {
                    return Err(ConfigError::runtime(
                        "ValueError",
                        at,
                        "incomplete format key",
                    ))
                }
            }
        }
        named = Some(args.named(&name, at)?);
    }
    let mut spec = Spec::default();
    while let Some(flag) = chars.next_if(|c| "#0-+ ".contains(*c)) {
        match flag {
            '#' => spec.alternate = true,
            '0' => spec.zero = true,
            '-' => spec.left = true,
            '+' => spec.plus = true,
            _ => spec.blank = true,
        }
    }
    spec.width = size(chars, args, &mut spec.left, at)?.unwrap_or(0);
    if chars.next_if_eq(&'.').is_some() {
        let mut ignored = false;
        spec.precision = Some(size(chars, args, &mut ignored, at)?.unwrap_or(0));
    }
    while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
    let kind = chars.next().ok_or_else(|| incomplete(at))?;
    if kind == '%' {
        return Ok("%".into());
    }
    let value = match named {
        Some(value) => value,
        None => args.take(at)?,
    };
    let body = convert(kind, &value, &spec, at)?;
    Ok(pad(body, kind, &spec))
}

/// Width or precision: digits or `*`; a negative `*` means left-justified.
fn size(
    chars: &mut Chars<'_>,
    args: &mut Arguments,
    left: &mut bool,
    at: Pos,
) -> Result<Option<usize>> {
    let mut value: Option<usize> = None;
    if chars.next_if_eq(&'*').is_some() {
        let Some(number) = args.take(at)?.as_whole() else {
            return Err(ConfigError::runtime("TypeError", at, "* wants int"));
        };
        *left |= number < 0;
        value = Some(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX));
    }
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    if value.is_some_and(|value| value > MAX_WIDTH) {
        return Err(ConfigError::limit(
            at,
            format!("format width is larger than {MAX_WIDTH}"),
        ));
    }
    Ok(value)
}

fn convert(kind: char, value: &Value, spec: &Spec, at: Pos) -> Result<String> {
    let cut = |text: String| match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    match kind {
        's' => Ok(cut(value.to_text(32))),
        'r' => Ok(cut(value.repr(32))),
        'c' => match value {
            Value::Str(text, _) if text.chars().count() == 1 => Ok(text.to_string()),
            other => other
                .as_whole()
                .and_then(|code| u32::try_from(code).ok())
                .filter(|&code| code < 256)
                .and_then(char::from_u32)
                .map(String::from)
                .ok_or_else(|| ConfigError::runtime("TypeError", at, "%c requires int or char")),
        },
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            let number = match value {
                Value::Float(value) => Some(*value as i128),
                other => other.as_whole(),
            };
            let number = number.ok_or_else(|| {
                let wanted = format!(
                    "%{kind} format: a number is required, not {}",
                    value.type_name()
                );
                ConfigError::runtime("TypeError", at, wanted)
            })?;
            let size = number.unsigned_abs();
            let (prefix, mut digits) = match kind {
                'o' => (if spec.alternate { "0" } else { "" }, format!("{size:o}")),
                'x' => (if spec.alternate { "0x" } else { "" }, format!("{size:x}")),
                'X' => (if spec.alternate { "0X" } else { "" }, format!("{size:X}")),
                _ => ("", size.to_string()),
            };
            let least = spec.precision.unwrap_or(0);
            if digits.len() < least {
                digits = format!("{digits:0>least$}");
            }
            Ok(format!("{}{prefix}{digits}", sign(number < 0, spec)))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = value.as_float().ok_or_else(|| {
                ConfigError::runtime(
                    "TypeError",
                    at,
                    format!("float argument required, not {}", value.type_name()),
                )
            })?;
            let digits = spec.precision.unwrap_or(6);
            let size = number.abs();
            let body = match kind {
                _ if !size.is_finite() => {
                    if size.is_nan() {
                        "nan".into()
                    } else {
                        "inf".into()
                    }
                }
                'f' | 'F' => format!("{size:.digits$}"),
                'e' | 'E' => exponent(size, digits),
                _ => general(size, digits, spec.alternate),
            };
            let text = format!(
                "{}{body}",
                sign(number.is_sign_negative() && !number.is_nan(), spec)
            );
            Ok(if kind.is_ascii_uppercase() {
                text.to_ascii_uppercase()
            } else {
                text
            })
        }
        other => Err(ConfigError::runtime(
            "ValueError",
            at,
            format!(
                "unsupported format character '{}' (0x{:x})",
                other.escape_default(),
                other as u32
            ),
        )),
    }
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.blank) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn pad(body: String, kind: char, spec: &Spec) -> String {
    let length = body.chars().count();
    let missing = spec.width.saturating_sub(length);
    if missing == 0 {
        return body;
    }
    if spec.left {
        return body + &" ".repeat(missing);
    }
    if !spec.zero || "csr".contains(kind) {
        return " ".repeat(missing) + &body;
    }
    // Zeros go between the sign or base and the digits.
    let head = body
        .find(|c: char| !matches!(c, '-' | '+' | ' '))
        .unwrap_or(0);
    let base = body
        .get(head..)
        .is_some_and(|rest| spec.alternate && (rest.starts_with("0x") || rest.starts_with("0X")));
    let (head, rest) = body.split_at(head + if base { 2 } else { 0 });
    format!("{head}{}{rest}", "0".repeat(missing))
}

/// C's `%.{digits}e`.
fn exponent(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, size) = match exponent.strip_prefix('-') {
        Some(size) => ('-', size),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{size:0>2}")
}

/// C's `%.{digits}g`; `keep_zeros` is its `#` flag.
pub(crate) fn general(value: f64, digits: usize, keep_zeros: bool) -> String {
    let digits = digits.max(1);
    let scientific = exponent(value, digits - 1);
    let power: i64 = scientific
        .split_once('e')
        .and_then(|(_, power)| power.parse().ok())
        .unwrap_or(0);
    let trim = |text: &str| {
        if keep_zeros || !text.contains('.') {
            text.to_owned()
        } else {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    if power < -4 || power >= digits as i64 {
        let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
        return format!("{}e{power}", trim(mantissa));
    }
    let decimals = (digits as i64 - 1 - power).max(0) as usize;
    trim(&format!("{value:.decimals$}"))
}
