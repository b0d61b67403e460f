//! Built-in functions over sequences, and those that call functions.

use super::methods::sort;
use super::{compare, ops, Evaluator, MEMBER};
use crate::ast::{BinOp, CompareOp};
use crate::error::{ConfigError, Pos, Result};
use crate::value::{Items, Value};

pub(super) const NAMES: &[&str] = &[
    "all",
    "any",
    "dict",
    "enumerate",
    "filter",
    "list",
    "map",
    "max",
    "min",
    "range",
    "reduce",
    "reversed",
    "sorted",
    "sum",
    "tuple",
    "xrange",
    "zip",
];

/// None: wrong arguments.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    Ok(match (name, args) {
        ("list", []) => Some(Value::list(Vec::new())),
        ("tuple", []) => Some(Value::tuple(Vec::new())),
        ("dict", []) => Some(Value::Dict(Items::new(Vec::new()))),
        ("dict", [Value::Dict(items)]) => {
            evaluator.budget.bytes(at, items.len() * MEMBER)?;
            Some(Value::Dict(Items::new(items.snapshot())))
        }
        ("dict", [pairs]) => {
            let dict = Value::Dict(Items::new(Vec::new()));
            for pair in ops::members(evaluator, pairs, at)? {
                match ops::members(evaluator, &pair, at)?.as_slice() {
                    [key, value] => {
                        ops::set_item(evaluator, &dict, key.clone(), value.clone(), at)?
                    }
                    _ => return Err(ConfigError::runtime("ValueError", at, "dict() needs pairs")),
                }
            }
            Some(dict)
        }
        ("list", [value]) => Some(Value::list(ops::members(evaluator, value, at)?)),
        ("tuple", [value]) => Some(Value::tuple(ops::members(evaluator, value, at)?)),
        ("sorted", [value]) => {
            let members = ops::members(evaluator, value, at)?;
            Some(Value::list(sort(evaluator, members, at)?))
        }
        ("reversed", [value]) => {
            let mut members = ops::members(evaluator, value, at)?;
            members.reverse();
            Some(Value::list(members))
        }
        ("any" | "all", [value]) => {
            let members = ops::members(evaluator, value, at)?;
            Some(Value::Bool(match name {
                "any" => members.iter().any(Value::truth),
                _ => members.iter().all(Value::truth),
            }))
        }
        ("enumerate", [value]) => {
            let members = ops::members(evaluator, value, at)?;
            evaluator.budget.bytes(at, members.len() * 3 * MEMBER)?;
            let pairs = members.into_iter().enumerate();
            Some(Value::list(
                pairs
                    .map(|(index, member)| Value::tuple(vec![Value::whole(index as i128), member]))
                    .collect(),
            ))
        }
        ("zip", [_, ..]) => {
            let mut all = Vec::new();
            for arg in args {
                all.push(ops::members(evaluator, arg, at)?);
            }
            let length = all.iter().map(Vec::len).min().unwrap_or(0);
            evaluator
                .budget
                .bytes(at, length.saturating_mul(all.len() + 1) * MEMBER)?;
            let row = |index: usize| {
                Value::tuple(
                    all.iter()
                        .filter_map(|one| one.get(index).cloned())
                        .collect(),
                )
            };
            Some(Value::list((0..length).map(row).collect()))
        }
        ("map" | "filter", [function, values]) => {
            let mut out = Vec::new();
            for member in ops::members(evaluator, values, at)? {
                let result = match function {
                    Value::None => member.clone(),
                    function => evaluator.call(function, vec![member.clone()], Vec::new(), at)?,
                };
                evaluator.budget.bytes(at, MEMBER)?;
                match name {
                    "map" => out.push(result),
                    _ if result.truth() => out.push(member),
                    _ => {}
                }
            }
            Some(Value::list(out))
        }
        ("reduce", [function, values] | [function, values, _]) => {
            let mut members = ops::members(evaluator, values, at)?.into_iter();
            let first = args.get(2).cloned().or_else(|| members.next());
            let mut total = first.ok_or_else(|| {
                ConfigError::runtime(
                    "TypeError",
                    at,
                    "reduce() of empty sequence with no initial value",
                )
            })?;
            for member in members {
                total = evaluator.call(function, vec![total, member], Vec::new(), at)?;
            }
            Some(total)
        }
        ("max" | "min", [only]) => {
            let members = ops::members(evaluator, only, at)?;
            Some(extreme(evaluator, name, &members, at)?)
        }
        ("max" | "min", [_, _, ..]) => Some(extreme(evaluator, name, args, at)?),
        ("sum", [value]) => {
            let mut total = Value::Int(0);
            for member in ops::members(evaluator, value, at)? {
                total = ops::binary(evaluator, BinOp::Add, &total, &member, at)?;
            }
            Some(total)
        }
        ("range" | "xrange", [_] | [_, _] | [_, _, _]) => Some(range(evaluator, args, at)?),
        _ => None,
    })
}

fn extreme(evaluator: &mut Evaluator<'_>, name: &str, members: &[Value], at: Pos) -> Result<Value> {
    let op = if name == "max" {
        CompareOp::Gt
    } else {
        CompareOp::Lt
    };
    let mut rest = members.iter();
    let mut best = rest.next().ok_or_else(|| {
        ConfigError::runtime(
            "ValueError",
            at,
            format!("{name}() arg is an empty sequence"),
        )
    })?;
    for member in rest {
        if compare::compare(evaluator, op, member, best, at)? {
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
                "TypeError",
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
            "ValueError",
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
