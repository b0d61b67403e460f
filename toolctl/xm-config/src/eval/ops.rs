//! Operators and subscripts with Python 2's rules.

use super::compare::equal;
use super::{format, Evaluator, MEMBER};
use crate::ast::{BinOp, UnaryOp};
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;

fn type_error(op: BinOp, left: &Value, right: &Value, at: Pos) -> ConfigError {
    if let (BinOp::Add, Value::Str(..)) = (op, left) {
        let kind = right.type_name();
        let message = format!("cannot concatenate 'str' and '{kind}' objects");
        return ConfigError::runtime("TypeError", at, message);
    }
    ConfigError::runtime(
        "TypeError",
        at,
        format!(
            "unsupported operand type(s) for {}: '{}' and '{}'",
            op.sign(),
            left.type_name(),
            right.type_name()
        ),
    )
}

pub(super) fn binary(
    evaluator: &mut Evaluator<'_>,
    op: BinOp,
    left: &Value,
    right: &Value,
    at: Pos,
) -> Result<Value> {
    evaluator.budget.step(at)?;
    match (op, left, right) {
        (BinOp::Mod, Value::Str(text, unicode), _) => {
            let out = format::percent(evaluator, text, right.clone(), at)?;
            evaluator.budget.bytes(at, out.len())?;
            return Ok(Value::Str(out.into(), *unicode));
        }
        (BinOp::Add, Value::Str(a, ua), Value::Str(b, ub)) => {
            evaluator.budget.bytes(at, a.len() + b.len())?;
            return Ok(Value::Str(format!("{a}{b}").into(), *ua || *ub));
        }
        (BinOp::Add, Value::List(a), Value::List(b)) => {
            evaluator.budget.bytes(at, (a.len() + b.len()) * MEMBER)?;
            let mut joined = a.snapshot();
            joined.extend(b.snapshot());
            return Ok(Value::list(joined));
        }
        (BinOp::Add, Value::Tuple(a), Value::Tuple(b)) => {
            evaluator.budget.bytes(at, (a.len() + b.len()) * MEMBER)?;
            let mut joined = a.snapshot();
            joined.extend(b.snapshot());
            return Ok(Value::tuple(joined));
        }
        (BinOp::Mul, sequence, count) | (BinOp::Mul, count, sequence)
            if matches!(sequence, Value::Str(..) | Value::List(_) | Value::Tuple(_))
                && count.as_whole().is_some() =>
        {
            return repeat(evaluator, sequence, count.as_whole().unwrap_or(0), at);
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_whole(), right.as_whole()) {
        let long = matches!(left, Value::Long(_)) || matches!(right, Value::Long(_));
        return whole(op, a, b, long, at);
    }
    if let (Some(a), Some(b)) = (left.as_float(), right.as_float()) {
        return real(op, a, b, at).ok_or_else(|| type_error(op, left, right, at))?;
    }
    Err(type_error(op, left, right, at))
}

/// `a += b`: a list grows in place, so that every name of it sees that.
pub(super) fn in_place(
    evaluator: &mut Evaluator<'_>,
    op: BinOp,
    left: &Value,
    right: &Value,
    at: Pos,
) -> Result<Value> {
    match (op, left) {
        (BinOp::Add, Value::List(items)) => {
            let more = members(evaluator, right, at)?;
            items.0.borrow_mut().extend(more);
            Ok(left.clone())
        }
        _ => binary(evaluator, op, left, right, at),
    }
}

/// `del object[index]`.
pub(super) fn delete_item(
    evaluator: &mut Evaluator<'_>,
    object: &Value,
    index: &Value,
    at: Pos,
) -> Result<()> {
    match object {
        Value::List(items) => {
            let mut items = items.0.borrow_mut();
            match index
                .as_whole()
                .and_then(|number| position(number, items.len()))
            {
                Some(index) => drop(items.remove(index)),
                None => {
                    return Err(ConfigError::runtime(
                        "IndexError",
                        at,
                        "list assignment index out of range",
                    ))
                }
            }
            Ok(())
        }
        Value::Dict(items) => {
            let found = find_key(evaluator, &items.0.borrow(), index, at)?;
            match found {
                Some(found) => drop(items.0.borrow_mut().drain(found..found + 2)),
                None => return Err(ConfigError::runtime("KeyError", at, index.repr(4))),
            }
            Ok(())
        }
        other => {
            let kind = other.type_name();
            Err(ConfigError::runtime(
                "TypeError",
                at,
                format!("'{kind}' object does not support item deletion"),
            ))
        }
    }
}

fn repeat(evaluator: &mut Evaluator<'_>, value: &Value, count: i128, at: Pos) -> Result<Value> {
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    let size = match value {
        Value::Str(text, _) => text.len(),
        Value::List(items) | Value::Tuple(items) => items.len() * MEMBER,
        _ => 0,
    };
    evaluator.budget.bytes(at, size.saturating_mul(count))?;
    if size == 0 {
        return Ok(value.clone());
    }
    let copies = |items: Vec<Value>| {
        let total = items.len() * count;
        items.into_iter().cycle().take(total).collect()
    };
    Ok(match value {
        Value::Str(text, unicode) => Value::Str(text.repeat(count).into(), *unicode),
        Value::List(items) => Value::list(copies(items.snapshot())),
        Value::Tuple(items) => Value::tuple(copies(items.snapshot())),
        other => other.clone(),
    })
}

fn too_large(at: Pos) -> ConfigError {
    ConfigError::limit(at, "the result is larger than 127 bits")
}

fn whole(op: BinOp, a: i128, b: i128, long: bool, at: Pos) -> Result<Value> {
    let zero = || {
        ConfigError::runtime(
            "ZeroDivisionError",
            at,
            "integer division or modulo by zero",
        )
    };
    let result = match op {
        BinOp::Add => a.checked_add(b),
        BinOp::Sub => a.checked_sub(b),
        BinOp::Mul => a.checked_mul(b),
        BinOp::Div | BinOp::FloorDiv | BinOp::Mod if b == 0 => return Err(zero()),
        // Python rounds towards minus infinity, and the remainder has the divisor's sign.
        BinOp::Div | BinOp::FloorDiv => a.checked_div(b).and_then(|quotient| {
            let rest = a.checked_rem(b)?;
            quotient.checked_sub(i128::from(rest != 0 && (rest < 0) != (b < 0)))
        }),
        BinOp::Mod => a.checked_rem(b).map(|rest| {
            if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            }
        }),
        BinOp::Pow if b < 0 => {
            if a == 0 {
                return Err(ConfigError::runtime(
                    "ValueError",
                    at,
                    "0.0 cannot be raised to a negative power",
                ));
            }
            return Ok(Value::Float((a as f64).powf(b as f64)));
        }
        BinOp::Pow => match (a, u32::try_from(b)) {
            (0 | 1, Err(_)) => Some(a),
            (_, Err(_)) => None,
            (_, Ok(exponent)) => a.checked_pow(exponent),
        },
        BinOp::Shl | BinOp::Shr if b < 0 => {
            return Err(ConfigError::runtime(
                "ValueError",
                at,
                "negative shift count",
            ))
        }
        BinOp::Shl => match u32::try_from(b) {
            _ if a == 0 => Some(0),
            Ok(count) if count < 127 => 1i128.checked_shl(count).and_then(|f| a.checked_mul(f)),
            _ => None,
        },
        BinOp::Shr => Some(a >> b.min(127)),
        BinOp::And => Some(a & b),
        BinOp::Or => Some(a | b),
        BinOp::Xor => Some(a ^ b),
    };
    let result = result.ok_or_else(|| too_large(at))?;
    Ok(if long {
        Value::Long(result)
    } else {
        Value::whole(result)
    })
}

fn real(op: BinOp, a: f64, b: f64, at: Pos) -> Option<Result<Value>> {
    let by_zero = |what: &str| Some(Err(ConfigError::runtime("ZeroDivisionError", at, what)));
    Some(Ok(Value::Float(match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => a * b,
        BinOp::Div if b == 0.0 => return by_zero("float division by zero"),
        BinOp::FloorDiv if b == 0.0 => return by_zero("float divmod()"),
        BinOp::Mod if b == 0.0 => return by_zero("float modulo"),
        BinOp::Div => a / b,
        BinOp::FloorDiv => (a / b).floor(),
        BinOp::Mod => a - b * (a / b).floor(),
        BinOp::Pow => a.powf(b),
        _ => return None,
    })))
}

pub(super) fn unary(op: UnaryOp, value: &Value, at: Pos) -> Result<Value> {
    let wrap = |result: Option<i128>| {
        let result = result.ok_or_else(|| too_large(at))?;
        Ok(match value {
            Value::Long(_) => Value::Long(result),
            _ => Value::whole(result),
        })
    };
    match (op, value, value.as_whole()) {
        (UnaryOp::Neg, Value::Float(value), _) => Ok(Value::Float(-value)),
        (UnaryOp::Pos, Value::Float(value), _) => Ok(Value::Float(*value)),
        (UnaryOp::Neg, _, Some(number)) => wrap(number.checked_neg()),
        (UnaryOp::Pos, _, Some(number)) => wrap(Some(number)),
        (UnaryOp::Invert, _, Some(number)) => wrap(Some(!number)),
        (UnaryOp::Not, ..) => Ok(Value::Bool(!value.truth())),
        _ => Err(ConfigError::runtime(
            "TypeError",
            at,
            format!(
                "bad operand type for unary operator: '{}'",
                value.type_name()
            ),
        )),
    }
}

/// Members of a list, tuple, dict (its keys) or string.
pub(super) fn members(evaluator: &mut Evaluator<'_>, value: &Value, at: Pos) -> Result<Vec<Value>> {
    let members: Vec<Value> = match value {
        Value::List(items) | Value::Tuple(items) => items.snapshot(),
        Value::Dict(items) => items.0.borrow().iter().step_by(2).cloned().collect(),
        Value::Str(text, unicode) => {
            evaluator.budget.bytes(at, text.len() * (MEMBER + 24))?;
            text.chars()
                .map(|c| Value::Str(c.to_string().into(), *unicode))
                .collect()
        }
        other => {
            let kind = other.type_name();
            let message = format!("'{kind}' object is not iterable");
            return Err(ConfigError::runtime("TypeError", at, message));
        }
    };
    evaluator.budget.bytes(at, members.len() * MEMBER)?;
    Ok(members)
}

/// Index from the end when negative; None when out of range.
pub(super) fn position(index: i128, length: usize) -> Option<usize> {
    let index = if index < 0 {
        index.checked_add(length as i128)?
    } else {
        index
    };
    usize::try_from(index).ok().filter(|&index| index < length)
}

pub(super) fn find_key(
    evaluator: &mut Evaluator<'_>,
    pairs: &[Value],
    key: &Value,
    at: Pos,
) -> Result<Option<usize>> {
    for (index, pair) in pairs.chunks(2).enumerate() {
        evaluator.budget.step(at)?;
        if let Some(found) = pair.first() {
            if equal(evaluator, found, key, at)? {
                return Ok(Some(index * 2));
            }
        }
    }
    Ok(None)
}

pub(super) fn item(
    evaluator: &mut Evaluator<'_>,
    object: &Value,
    index: &Value,
    at: Pos,
) -> Result<Value> {
    let out_of_range =
        |kind: &str| ConfigError::runtime("IndexError", at, format!("{kind} index out of range"));
    match (object, index.as_whole()) {
        (Value::List(items) | Value::Tuple(items), Some(number)) => {
            let items = items.0.borrow();
            position(number, items.len())
                .and_then(|index| items.get(index).cloned())
                .ok_or_else(|| out_of_range(object.type_name()))
        }
        (Value::Str(text, unicode), Some(number)) => {
            evaluator.budget.work(at, text.len())?;
            let length = text.chars().count();
            position(number, length)
                .and_then(|index| text.chars().nth(index))
                .map(|c| Value::Str(c.to_string().into(), *unicode))
                .ok_or_else(|| out_of_range("string"))
        }
        (Value::Dict(items), _) => {
            let pairs = items.0.borrow();
            find_key(evaluator, &pairs, index, at)?
                .and_then(|found| pairs.get(found + 1).cloned())
                .ok_or_else(|| ConfigError::runtime("KeyError", at, index.repr(4)))
        }
        (Value::List(_) | Value::Tuple(_) | Value::Str(..), None) => Err(ConfigError::runtime(
            "TypeError",
            at,
            format!(
                "{} indices must be integers, not {}",
                object.type_name(),
                index.type_name()
            ),
        )),
        _ => Err(ConfigError::runtime(
            "TypeError",
            at,
            format!("'{}' object is not subscriptable", object.type_name()),
        )),
    }
}

pub(super) fn set_item(
    evaluator: &mut Evaluator<'_>,
    object: &Value,
    index: Value,
    value: Value,
    at: Pos,
) -> Result<()> {
    match object {
        Value::List(items) => {
            let mut items = items.0.borrow_mut();
            let slot = index
                .as_whole()
                .and_then(|number| position(number, items.len()))
                .and_then(|index| items.get_mut(index));
            match slot {
                Some(slot) => {
                    *slot = value;
                    Ok(())
                }
                None => Err(ConfigError::runtime(
                    "IndexError",
                    at,
                    "list assignment index out of range",
                )),
            }
        }
        Value::Dict(items) => {
            if matches!(index, Value::List(_) | Value::Dict(_)) {
                let kind = index.type_name();
                return Err(ConfigError::runtime(
                    "TypeError",
                    at,
                    format!("unhashable type: '{kind}'"),
                ));
            }
            evaluator.budget.bytes(at, 2 * MEMBER)?;
            // The search borrows the members only for its own time: a key may hold the dict itself.
            let found = find_key(evaluator, &items.0.borrow(), &index, at)?;
            match found {
                Some(found) => {
                    if let Some(slot) = items.0.borrow_mut().get_mut(found + 1) {
                        *slot = value;
                    }
                }
                None => items.0.borrow_mut().extend([index, value]),
            }
            Ok(())
        }
        other => Err(ConfigError::runtime(
            "TypeError",
            at,
            format!(
                "'{}' object does not support item assignment",
                other.type_name()
            ),
        )),
    }
}

pub(super) fn slice(
    evaluator: &mut Evaluator<'_>,
    object: &Value,
    bounds: &[Option<Value>; 3],
    at: Pos,
) -> Result<Value> {
    if !matches!(object, Value::Str(..) | Value::List(_) | Value::Tuple(_)) {
        let kind = object.type_name();
        return Err(ConfigError::runtime(
            "TypeError",
            at,
            format!("'{kind}' object cannot be sliced"),
        ));
    }
    let members = members(evaluator, object, at)?;
    let bound = |value: &Option<Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => value.as_whole().map(Some).ok_or_else(|| {
            ConfigError::runtime("TypeError", at, "slice indices must be integers or None")
        }),
    };
    let (start, stop) = (bound(&bounds[0])?, bound(&bounds[1])?);
    let step = bound(&bounds[2])?.unwrap_or(1);
    if step == 0 {
        return Err(ConfigError::runtime(
            "ValueError",
            at,
            "slice step cannot be zero",
        ));
    }
    let length = members.len() as i128;
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let clamp = |value: Option<i128>, default: i128| match value {
        None => default,
        Some(value) if value < 0 => value.saturating_add(length).max(low),
        Some(value) => value.min(high),
    };
    let mut next = clamp(start, if step > 0 { 0 } else { high });
    let end = clamp(stop, if step > 0 { high } else { -1 });
    let mut picked = Vec::new();
    while (step > 0 && next < end) || (step < 0 && next > end) {
        if let Some(member) = usize::try_from(next).ok().and_then(|i| members.get(i)) {
            picked.push(member.clone());
        }
        next = next.saturating_add(step);
    }
    Ok(match object {
        Value::Str(_, unicode) => {
            let text: String = picked.iter().map(|member| member.to_text(1)).collect();
            Value::Str(text.into(), *unicode)
        }
        Value::Tuple(_) => Value::tuple(picked),
        _ => Value::list(picked),
    })
}
