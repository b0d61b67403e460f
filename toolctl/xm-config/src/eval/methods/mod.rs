//! Methods of strings, lists, dicts and search results.

mod containers;
mod text;

pub(super) use containers::sort;

use super::call::no_attribute;
use super::Evaluator;
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;

/// Does the object have that method?
pub(super) fn exists(object: &Value, name: &str) -> bool {
    match object {
        Value::Str(..) => text::NAMES.contains(&name),
        Value::List(_) => containers::LIST.contains(&name),
        Value::Dict(_) => containers::DICT.contains(&name),
        Value::Match(_) => MATCH.contains(&name),
        _ => false,
    }
}

const MATCH: &[&str] = &["group", "groups"];

/// Calls `object.name(args)`.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    object: &Value,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Value> {
    if !exists(object, name) {
        return Err(no_attribute(object, name, at));
    }
    let found = match object {
        Value::Str(text, unicode) => text::call(evaluator, text, *unicode, name, args, at)?,
        Value::List(items) => containers::list(evaluator, items, name, args, at)?,
        Value::Dict(items) => containers::dict(evaluator, items, name, args, at)?,
        Value::Match(groups) => search_result(groups, name, args, at)?,
        _ => None,
    };
    found.ok_or_else(|| {
        let message = format!("{name}() cannot take these {} arguments", args.len());
        ConfigError::runtime("TypeError", at, message)
    })
}

fn search_result(
    groups: &[Option<String>],
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let value = |group: &Option<String>| match group {
        Some(text) => Value::text(text),
        None => Value::None,
    };
    Ok(match (name, args) {
        ("groups", []) => Some(Value::tuple(groups.iter().skip(1).map(value).collect())),
        ("group", [] | [_]) => {
            let index = args.first().map_or(Some(0), Value::as_whole);
            let group = index
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| groups.get(index))
                .ok_or_else(|| ConfigError::runtime("IndexError", at, "no such group"))?;
            Some(value(group))
        }
        _ => None,
    })
}
