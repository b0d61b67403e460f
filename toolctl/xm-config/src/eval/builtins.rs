//! The built-in functions that configs use to compute values from `vmid` and its like.

use super::{ops, Evaluator};
use crate::ast::BinOp;
use crate::error::{ConfigError, ErrorKind, Pos, Result};
use crate::value::Value;

const NAMES: &[&str] = &[
    "abs",
    "bool",
    "callable",
    "chr",
    "float",
    "hasattr",
    "hex",
    "int",
    "isinstance",
    "len",
    "long",
    "oct",
    "ord",
    "pow",
    "repr",
    "round",
    "str",
    "type",
    "unicode",
];

/// What reaches files or evaluates text, and modules without a name of their own.
const REFUSED: &[(&str, &str)] = &[
    ("open", "files are"),
    ("file", "files are"),
    ("execfile", "files are"),
    ("raw_input", "the terminal is"),
    ("input", "the terminal is"),
    ("__import__", "the host's Python is"),
    ("eval", "the evaluator itself is"),
    ("compile", "the evaluator itself is"),
];

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static str> {
    NAMES
        .iter()
        .chain(super::sequences::NAMES)
        .find(|known| **known == name)
        .copied()
}

/// The error for a function that is known and kept away.
pub(super) fn refused(name: &str, at: Pos) -> Option<ConfigError> {
    const NOT_YET: &[&str] = &[
        "apply",
        "basestring",
        "cmp",
        "complex",
        "dir",
        "divmod",
        "frozenset",
        "getattr",
        "globals",
        "id",
        "iter",
        "locals",
        "next",
        "object",
        "property",
        "set",
        "setattr",
        "slice",
        "super",
        "unichr",
        "vars",
    ];
    if NOT_YET.contains(&name) {
        return Some(ConfigError::not_supported(
            at,
            &format!("function '{name}'"),
        ));
    }
    let (_, what) = REFUSED.iter().find(|(refused, _)| *refused == name)?;
    let message = format!("function '{name}': {what} out of a configuration's reach");
    Some(ConfigError::at(ErrorKind::NotSupported, at, message))
}

pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Value> {
    if super::sequences::NAMES.contains(&name) {
        return super::sequences::call(evaluator, name, args, at)?.ok_or_else(|| {
            let message = format!("{name}() cannot take these {} arguments", args.len());
            ConfigError::runtime("TypeError", at, message)
        });
    }
    match (name, args) {
        ("abs", [value]) => match value {
            Value::Float(value) => Ok(Value::Float(value.abs())),
            other => match other.as_whole().and_then(i128::checked_abs) {
                Some(value) => Ok(same_size(other, value)),
                None => Err(bad_operand("abs()", other, at)),
            },
        },
        ("bool", [value]) => Ok(Value::Bool(value.truth())),
        ("float", [value]) => float(value, at),
        ("hex", [value]) => radix(value, at, "0x", |n| format!("{n:x}")),
        ("oct", [value]) => radix(value, at, "0", |n| format!("{n:o}")),
        ("int" | "long", [value]) => int(value, 10, at).map(|n| sized(name, n)),
        ("int" | "long", [Value::Str(text, _), base]) => {
            let base = base.as_whole().and_then(|base| u32::try_from(base).ok());
            match base {
                Some(base @ (0 | 2..=36)) => {
                    int(&Value::Str(text.clone(), false), base, at).map(|n| sized(name, n))
                }
                _ => Err(ConfigError::runtime(
                    "ValueError",
                    at,
                    "int() base must be >= 2 and <= 36",
                )),
            }
        }
        ("len", [value]) => {
            let length = match value {
                Value::Str(text, _) => text.chars().count(),
                Value::List(items) | Value::Tuple(items) => items.len(),
                Value::Dict(items) => items.len() / 2,
                other => {
                    let kind = other.type_name();
                    let message = format!("object of type '{kind}' has no len()");
                    return Err(ConfigError::runtime("TypeError", at, message));
                }
            };
            Ok(Value::whole(length as i128))
        }
        ("str", [value]) => {
            let text = value.to_text(32);
            evaluator.budget.bytes(at, text.len())?;
            Ok(Value::text(&text))
        }
        ("repr", [value]) => {
            let text = value.repr(32);
            evaluator.budget.bytes(at, text.len())?;
            Ok(Value::text(&text))
        }
        ("chr", [value]) => value
            .as_whole()
            .and_then(|code| u8::try_from(code).ok())
            .map(|code| Value::text(&char::from(code).to_string()))
            .ok_or_else(|| ConfigError::runtime("ValueError", at, "chr() arg not in range(256)")),
        ("ord", [Value::Str(text, _)]) if text.chars().count() == 1 => Ok(Value::whole(
            text.chars().next().map_or(0, |c| i128::from(u32::from(c))),
        )),
        ("unicode", [value]) => {
            let text = value.to_text(32);
            evaluator.budget.bytes(at, text.len())?;
            Ok(Value::Str(text.into(), true))
        }
        ("pow", [base, exponent]) => ops::binary(evaluator, BinOp::Pow, base, exponent, at),
        ("round", [value] | [value, _]) => {
            let digits = args
                .get(1)
                .map_or(Some(0), Value::as_whole)
                .map(|digits| digits.clamp(-30, 30));
            match (value.as_float(), digits) {
                (Some(value), Some(digits)) => {
                    let scale = 10f64.powi(digits as i32);
                    Ok(Value::Float((value * scale).round() / scale))
                }
                _ => Err(ConfigError::runtime("TypeError", at, "a float is required")),
            }
        }
        ("type", [value]) => Ok(match find(value.type_name()) {
            Some(name) => Value::Builtin(name),
            None => Value::text(value.type_name()),
        }),
        ("callable", [value]) => Ok(Value::Bool(matches!(
            value,
            Value::Function(_) | Value::Builtin(_)
        ))),
        ("hasattr", [object, Value::Str(name, _)]) => Ok(Value::Bool(match object {
            Value::Module(_) => super::modules::attribute(evaluator, object, name, at).is_ok(),
            other => super::methods::exists(other, name),
        })),
        ("isinstance", [value, kind]) => {
            let kinds = match kind {
                Value::Tuple(items) => items.snapshot(),
                other => vec![other.clone()],
            };
            let mut any = false;
            for kind in kinds {
                let Value::Builtin(kind) = kind else {
                    let message =
                        "isinstance() arg 2 must be a class, type, or tuple of classes and types";
                    return Err(ConfigError::runtime("TypeError", at, message));
                };
                any |= match value {
                    Value::Exception(class, _) => super::exceptions::is_kind(class, kind),
                    // A bool is an int.
                    Value::Bool(_) => kind == "bool" || kind == "int",
                    other => other.type_name() == kind,
                };
            }
            Ok(Value::Bool(any))
        }
        _ => Err(ConfigError::runtime(
            "TypeError",
            at,
            format!("{name}() cannot take {} arguments", args.len()),
        )),
    }
}

fn bad_operand(what: &str, value: &Value, at: Pos) -> ConfigError {
    let kind = value.type_name();
    ConfigError::runtime(
        "TypeError",
        at,
        format!("bad operand type for {what}: '{kind}'"),
    )
}

fn sized(name: &str, value: i128) -> Value {
    if name == "long" {
        Value::Long(value)
    } else {
        Value::whole(value)
    }
}

fn same_size(like: &Value, value: i128) -> Value {
    match like {
        Value::Long(_) => Value::Long(value),
        _ => Value::whole(value),
    }
}

fn float(value: &Value, at: Pos) -> Result<Value> {
    if let Value::Str(text, _) = value {
        let parsed = text.trim().parse::<f64>().ok();
        return parsed.map(Value::Float).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            ConfigError::runtime(
                "ValueError",
                at,
                format!("could not convert string to float: {shown}"),
            )
        });
    }
    value.as_float().map(Value::Float).ok_or_else(|| {
        ConfigError::runtime(
            "TypeError",
            at,
            "float() argument must be a string or a number",
        )
    })
}

fn int(value: &Value, base: u32, at: Pos) -> Result<i128> {
    match value {
        Value::Str(text, _) => parse_int(text, base).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            ConfigError::runtime(
                "ValueError",
                at,
                format!(
                    "invalid literal for int() with base {base}: {}",
                    crate::value::quote(&shown)
                ),
            )
        }),
        Value::Float(value) if value.is_finite() && value.abs() < 1e37 => Ok(*value as i128),
        Value::Float(value) => Err(ConfigError::runtime(
            "OverflowError",
            at,
            format!("cannot convert float {value} to integer"),
        )),
        other => other.as_whole().ok_or_else(|| {
            ConfigError::runtime(
                "TypeError",
                at,
                format!(
                    "int() argument must be a string or a number, not '{}'",
                    other.type_name()
                ),
            )
        }),
    }
}

/// Python's `int(text, base)`; base 0 reads the prefix.
pub(crate) fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match (base, lower.get(..2)) {
        (0 | 16, Some("0x")) => (16, lower.get(2..)?),
        (0 | 8, Some("0o")) => (8, lower.get(2..)?),
        (0 | 2, Some("0b")) => (2, lower.get(2..)?),
        (0, _) if lower.len() > 1 && lower.starts_with('0') => (8, lower.get(1..)?),
        (0, _) => (10, lower.as_str()),
        (base, _) => (base, lower.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok()?;
    Some(if negative { -value } else { value })
}

fn radix(value: &Value, at: Pos, prefix: &str, digits: fn(u128) -> String) -> Result<Value> {
    let number = value
        .as_whole()
        .ok_or_else(|| bad_operand("hex() or oct()", value, at))?;
    let sign = if number < 0 { "-" } else { "" };
    let long = if matches!(value, Value::Long(_)) {
        "L"
    } else {
        ""
    };
    let body = digits(number.unsigned_abs());
    // oct(0) is "0", not "00".
    let prefix = if prefix == "0" && number == 0 {
        ""
    } else {
        prefix
    };
    Ok(Value::text(&format!("{sign}{prefix}{body}{long}")))
}
