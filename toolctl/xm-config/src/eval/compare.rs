//! Comparisons with Python 2's rules.

use super::{ops::members, Evaluator, MEMBER};
use crate::ast::CompareOp;
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;
use std::cmp::Ordering;
use std::rc::Rc;

/// Nesting that comparisons follow.
const COMPARE_DEPTH: usize = 64;

/// `left == right`.
pub(super) fn equal(
    evaluator: &mut Evaluator<'_>,
    left: &Value,
    right: &Value,
    at: Pos,
) -> Result<bool> {
    Ok(compare_values(evaluator, left, right, at)? == Ordering::Equal)
}

/// Which comes first.
pub(super) fn compare_values(
    evaluator: &mut Evaluator<'_>,
    left: &Value,
    right: &Value,
    at: Pos,
) -> Result<Ordering> {
    order(evaluator, left, right, at, COMPARE_DEPTH)
}

/// Python 2 orders anything: numbers first, then by the type's name.
fn order(
    evaluator: &mut Evaluator<'_>,
    left: &Value,
    right: &Value,
    at: Pos,
    depth: usize,
) -> Result<Ordering> {
    evaluator.budget.step(at)?;
    if depth == 0 {
        return Err(ConfigError::limit(
            at,
            "values nested too deeply to compare",
        ));
    }
    Ok(match (left, right) {
        (Value::Str(a, _), Value::Str(b, _)) => {
            evaluator.budget.work(at, a.len().min(b.len()))?;
            a.cmp(b)
        }
        (Value::List(a), Value::List(b))
        | (Value::Tuple(a), Value::Tuple(b))
        | (Value::Dict(a), Value::Dict(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ok(Ordering::Equal);
            }
            let (a, b) = (a.snapshot(), b.snapshot());
            evaluator.budget.bytes(at, (a.len() + b.len()) * MEMBER)?;
            for (a, b) in a.iter().zip(&b) {
                let found = order(evaluator, a, b, at, depth - 1)?;
                if found != Ordering::Equal {
                    return Ok(found);
                }
            }
            a.len().cmp(&b.len())
        }
        _ => match (
            left.as_whole(),
            right.as_whole(),
            left.as_float(),
            right.as_float(),
        ) {
            (Some(a), Some(b), ..) => a.cmp(&b),
            (_, _, Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Less),
            _ => rank(left).cmp(rank(right)),
        },
    })
}

fn rank(value: &Value) -> &'static str {
    match value {
        Value::None => "",
        Value::Bool(_) | Value::Int(_) | Value::Long(_) | Value::Float(_) => " ",
        other => other.type_name(),
    }
}

pub(super) fn compare(
    evaluator: &mut Evaluator<'_>,
    op: CompareOp,
    left: &Value,
    right: &Value,
    at: Pos,
) -> Result<bool> {
    if matches!(op, CompareOp::In | CompareOp::NotIn) {
        let found = match (left, right) {
            (Value::Str(part, _), Value::Str(text, _)) => {
                evaluator.budget.work(at, text.len())?;
                text.contains(&**part)
            }
            (_, container) => {
                let mut found = false;
                for member in members(evaluator, container, at)? {
                    if equal(evaluator, &member, left, at)? {
                        found = true;
                        break;
                    }
                }
                found
            }
        };
        return Ok(found == (op == CompareOp::In));
    }
    if matches!(op, CompareOp::Is | CompareOp::IsNot) {
        return Ok(same(left, right) == (op == CompareOp::Is));
    }
    let found = order(evaluator, left, right, at, COMPARE_DEPTH)?;
    Ok(match op {
        CompareOp::Eq => found == Ordering::Equal,
        CompareOp::Ne => found != Ordering::Equal,
        CompareOp::Lt => found == Ordering::Less,
        CompareOp::Le => found != Ordering::Greater,
        CompareOp::Gt => found == Ordering::Greater,
        _ => found != Ordering::Less,
    })
}

/// `is`: the same object; small values are interned, as scripts came to rely on.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Str(a, ua), Value::Str(b, ub)) => a == b && ua == ub,
        (Value::List(a), Value::List(b))
        | (Value::Tuple(a), Value::Tuple(b))
        | (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        _ => false,
    }
}
