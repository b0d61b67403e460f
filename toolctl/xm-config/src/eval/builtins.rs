//! The built-in functions that configs use to compute values from `vmid` and its like.

use super::{ops, Evaluator, MEMBER};
use crate::ast::CompareOp;
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;

const NAMES: &[&str] = &[
    "abs", "bool", "float", "hex", "int", "len", "list", "long", "max", "min", "oct", "range",
    "repr", "str", "sum", "tuple",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Value> {
    if !exists(name) {
        return Err(ConfigError::not_supported(
            at,
            &format!("function '{name}'"),
        ));
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
                    return Err(ConfigError::runtime(at, message));
                }
            };
            Ok(Value::whole(length as i128))
        }
        ("list", []) => Ok(Value::list(Vec::new())),
        ("list", [value]) => ops::members(evaluator, value, at).map(Value::list),
        ("tuple", [value]) => ops::members(evaluator, value, at).map(Value::tuple),
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
        ("max" | "min", [only]) => {
            let members = ops::members(evaluator, only, at)?;
            extreme(evaluator, name, &members, at)
        }
        ("max" | "min", [_, _, ..]) => extreme(evaluator, name, args, at),
        ("sum", [value]) => {
            let mut total = Value::Int(0);
            for member in ops::members(evaluator, value, at)? {
                total = ops::binary(evaluator, crate::ast::BinOp::Add, &total, &member, at)?;
            }
            Ok(total)
        }
        ("range", [_] | [_, _] | [_, _, _]) => range(evaluator, args, at),
        _ => Err(ConfigError::runtime(
            at,
            format!("{name}() cannot take {} arguments", args.len()),
        )),
    }
}

fn bad_operand(what: &str, value: &Value, at: Pos) -> ConfigError {
    let kind = value.type_name();
    ConfigError::runtime(at, format!("bad operand type for {what}: '{kind}'"))
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
            ConfigError::runtime(at, format!("could not convert string to float: {shown}"))
        });
    }
    value
        .as_float()
        .map(Value::Float)
        .ok_or_else(|| ConfigError::runtime(at, "float() argument must be a string or a number"))
}

fn int(value: &Value, base: u32, at: Pos) -> Result<i128> {
    match value {
        Value::Str(text, _) => parse_int(text, base).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            ConfigError::runtime(
                at,
                format!(
                    "invalid literal for int() with base {base}: {}",
                    crate::value::quote(&shown)
                ),
            )
        }),
        Value::Float(value) if value.is_finite() && value.abs() < 1e37 => Ok(*value as i128),
        Value::Float(value) => Err(ConfigError::runtime(
            at,
            format!("cannot convert float {value} to integer"),
        )),
        other => other.as_whole().ok_or_else(|| {
            ConfigError::runtime(
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

fn extreme(evaluator: &mut Evaluator<'_>, name: &str, members: &[Value], at: Pos) -> Result<Value> {
    let op = if name == "max" {
        CompareOp::Gt
    } else {
        CompareOp::Lt
    };
    let mut rest = members.iter();
    let mut best = rest
        .next()
        .ok_or_else(|| ConfigError::runtime(at, format!("{name}() arg is an empty sequence")))?;
    for member in rest {
        if ops::compare(evaluator, op, member, best, at)? {
            best = member;
        }
    }
    Ok(best.clone())
}

fn range(evaluator: &mut Evaluator<'_>, args: &[Value], at: Pos) -> Result<Value> {
    let mut numbers = Vec::new();
    for arg in args {
        numbers.push(arg.as_whole().ok_or_else(|| {
            let kind = arg.type_name();
            ConfigError::runtime(
                at,
                format!("range() integer argument expected, got {kind}."),
            )
        })?);
    }
    let (start, end, step) = match numbers[..] {
        [end] => (0, end, 1),
        [start, end] => (start, end, 1),
        [start, end, step] => (start, end, step),
        _ => return Ok(Value::list(Vec::new())),
    };
    if step == 0 {
        return Err(ConfigError::runtime(
            at,
            "range() step argument must not be zero",
        ));
    }
    let mut members = Vec::new();
    let mut next = start;
    while (step > 0 && next < end) || (step < 0 && next > end) {
        evaluator.budget.bytes(at, MEMBER)?;
        members.push(Value::whole(next));
        match next.checked_add(step) {
            Some(value) => next = value,
            None => break,
        }
    }
    Ok(Value::list(members))
}
