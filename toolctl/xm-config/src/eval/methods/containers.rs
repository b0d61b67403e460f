//! Methods of lists and dicts.

use super::super::{compare, ops, Evaluator, MEMBER};
use crate::error::{ConfigError, Pos, Result};
use crate::value::{Items, Value};
use std::rc::Rc;

pub(super) const LIST: &[&str] = &[
    "append", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort",
];
pub(super) const DICT: &[&str] = &[
    "clear",
    "copy",
    "get",
    "has_key",
    "items",
    "iteritems",
    "iterkeys",
    "itervalues",
    "keys",
    "pop",
    "setdefault",
    "update",
    "values",
];

/// Index into a list as `insert` takes it: clamped.
fn clamped(index: i128, length: usize) -> usize {
    let index = if index < 0 {
        index.saturating_add(length as i128)
    } else {
        index
    };
    usize::try_from(index.max(0))
        .unwrap_or(usize::MAX)
        .min(length)
}

fn find(
    evaluator: &mut Evaluator<'_>,
    items: &Items,
    value: &Value,
    at: Pos,
) -> Result<Option<usize>> {
    for (index, item) in items.snapshot().iter().enumerate() {
        if compare::equal(evaluator, item, value, at)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// None: wrong arguments.
pub(super) fn list(
    evaluator: &mut Evaluator<'_>,
    items: &Rc<Items>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    // What copies or moves members pays for them.
    evaluator.budget.work(at, items.len())?;
    let missing = |text: &str| ConfigError::runtime("ValueError", at, text.to_owned());
    Ok(match (name, args) {
        ("append", [value]) => {
            evaluator.budget.bytes(at, MEMBER)?;
            items.0.borrow_mut().push(value.clone());
            Some(Value::None)
        }
        ("extend", [values]) => {
            let more = ops::members(evaluator, values, at)?;
            items.0.borrow_mut().extend(more);
            Some(Value::None)
        }
        ("insert", [index, value]) => {
            let Some(index) = index.as_whole() else {
                return Ok(None);
            };
            evaluator.budget.bytes(at, MEMBER)?;
            let mut items = items.0.borrow_mut();
            let index = clamped(index, items.len());
            items.insert(index, value.clone());
            Some(Value::None)
        }
        ("pop", [] | [_]) => {
            let index = match args.first() {
                None => -1,
                Some(index) => match index.as_whole() {
                    Some(index) => index,
                    None => return Ok(None),
                },
            };
            let mut items = items.0.borrow_mut();
            match ops::position(index, items.len()) {
                Some(index) => Some(items.remove(index)),
                None => {
                    let text = if items.is_empty() {
                        "pop from empty list"
                    } else {
                        "pop index out of range"
                    };
                    return Err(ConfigError::runtime("IndexError", at, text));
                }
            }
        }
        ("remove", [value]) => {
            let index = find(evaluator, items, value, at)?
                .ok_or_else(|| missing("list.remove(x): x not in list"))?;
            items.0.borrow_mut().remove(index);
            Some(Value::None)
        }
        ("index", [value]) => {
            let index = find(evaluator, items, value, at)?
                .ok_or_else(|| missing("the value is not in the list"))?;
            Some(Value::whole(index as i128))
        }
        ("count", [value]) => {
            let mut count = 0;
            for item in items.snapshot() {
                count += i128::from(compare::equal(evaluator, &item, value, at)?);
            }
            Some(Value::whole(count))
        }
        ("reverse", []) => {
            items.0.borrow_mut().reverse();
            Some(Value::None)
        }
        ("sort", []) => {
            let sorted = sort(evaluator, items.snapshot(), at)?;
            *items.0.borrow_mut() = sorted;
            Some(Value::None)
        }
        _ => None,
    })
}

/// Members in order. The first failed comparison ends it.
pub(in crate::eval) fn sort(
    evaluator: &mut Evaluator<'_>,
    mut members: Vec<Value>,
    at: Pos,
) -> Result<Vec<Value>> {
    let mut failed = None;
    members.sort_by(|a, b| match compare::compare_values(evaluator, a, b, at) {
        _ if failed.is_some() => std::cmp::Ordering::Equal,
        Ok(order) => order,
        Err(error) => {
            failed = Some(error);
            std::cmp::Ordering::Equal
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(members),
    }
}

/// None: wrong arguments.
pub(super) fn dict(
    evaluator: &mut Evaluator<'_>,
    items: &Rc<Items>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let pairs = items.snapshot();
    evaluator.budget.work(at, pairs.len() * MEMBER)?;
    let dict = Value::Dict(Rc::clone(items));
    let of = |index: usize| {
        pairs
            .iter()
            .skip(index)
            .step_by(2)
            .cloned()
            .collect::<Vec<_>>()
    };
    Ok(match (name, args) {
        ("keys" | "iterkeys", []) => {
            evaluator.budget.bytes(at, pairs.len() * MEMBER)?;
            Some(Value::list(of(0)))
        }
        ("values" | "itervalues", []) => {
            evaluator.budget.bytes(at, pairs.len() * MEMBER)?;
            Some(Value::list(of(1)))
        }
        ("items" | "iteritems", []) => {
            evaluator.budget.bytes(at, pairs.len() * 2 * MEMBER)?;
            Some(Value::list(
                pairs
                    .chunks(2)
                    .map(|pair| Value::tuple(pair.to_vec()))
                    .collect(),
            ))
        }
        ("copy", []) => {
            evaluator.budget.bytes(at, pairs.len() * MEMBER)?;
            Some(Value::Dict(Items::new(pairs)))
        }
        ("clear", []) => {
            items.0.borrow_mut().clear();
            Some(Value::None)
        }
        ("has_key", [key]) => Some(Value::Bool(
            ops::find_key(evaluator, &pairs, key, at)?.is_some(),
        )),
        ("get" | "setdefault" | "pop", [key] | [key, _]) => {
            let found = ops::find_key(evaluator, &pairs, key, at)?;
            let value = found.and_then(|index| pairs.get(index + 1).cloned());
            match (name, value, args.get(1)) {
                ("pop", Some(value), _) => {
                    ops::delete_item(evaluator, &dict, key, at)?;
                    Some(value)
                }
                ("pop", None, None) => {
                    return Err(ConfigError::runtime("KeyError", at, key.repr(4)))
                }
                (_, Some(value), _) => Some(value),
                ("setdefault", None, default) => {
                    let default = default.cloned().unwrap_or(Value::None);
                    ops::set_item(evaluator, &dict, key.clone(), default.clone(), at)?;
                    Some(default)
                }
                (_, None, default) => Some(default.cloned().unwrap_or(Value::None)),
            }
        }
        ("update", [Value::Dict(other)]) => {
            for pair in other.snapshot().chunks(2) {
                if let [key, value] = pair {
                    ops::set_item(evaluator, &dict, key.clone(), value.clone(), at)?;
                }
            }
            Some(Value::None)
        }
        _ => None,
    })
}
