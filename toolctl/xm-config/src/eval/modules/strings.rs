//! `string` and `os.path`: both only compute texts.

use super::super::{methods, Evaluator};
use crate::error::{Pos, Result};
use crate::value::Value;

/// `string.NAME(text, ...)` is `text.NAME(...)`, but for `join` and `atoi`. None: wrong arguments.
pub(super) fn string(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let method = name.trim_start_matches("string.");
    Ok(match (method, args) {
        ("join", [values]) => Some(methods::call(
            evaluator,
            &Value::text(" "),
            "join",
            std::slice::from_ref(values),
            at,
        )?),
        ("join", [values, separator @ Value::Str(..)]) => Some(methods::call(
            evaluator,
            separator,
            "join",
            std::slice::from_ref(values),
            at,
        )?),
        ("atoi", _) => Some(super::super::builtins::call(evaluator, "int", args, at)?),
        // Alone among them, zfill takes what is no text yet.
        ("zfill", [value, rest @ ..]) if !matches!(value, Value::Str(..)) => {
            let text = Value::text(&value.repr(32));
            Some(methods::call(evaluator, &text, method, rest, at)?)
        }
        (_, [text @ Value::Str(..), rest @ ..]) => {
            Some(methods::call(evaluator, text, method, rest, at)?)
        }
        _ => None,
    })
}

/// None: wrong arguments.
pub(super) fn path(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let mut texts = Vec::new();
    for arg in args {
        match arg {
            Value::Str(text, _) => texts.push(&**text),
            _ => return Ok(None),
        }
    }
    evaluator
        .budget
        .bytes(at, texts.iter().map(|text| text.len() + 1).sum())?;
    let pair =
        |(head, tail): (&str, &str)| Value::tuple(vec![Value::text(head), Value::text(tail)]);
    Ok(match (name, texts.as_slice()) {
        ("os.path.join", [first, rest @ ..]) => {
            let mut joined = (*first).to_owned();
            for part in rest {
                if part.starts_with('/') {
                    joined.clear();
                } else if !joined.is_empty() && !joined.ends_with('/') {
                    joined.push('/');
                }
                joined.push_str(part);
            }
            Some(Value::text(&joined))
        }
        ("os.path.basename", [path]) => Some(Value::text(split(path).1)),
        ("os.path.dirname", [path]) => Some(Value::text(split(path).0)),
        ("os.path.split", [path]) => Some(pair(split(path))),
        ("os.path.splitext", [path]) => {
            let name = split(path).1;
            let dot = name
                .rfind('.')
                .filter(|dot| !name.get(..*dot).unwrap_or("").trim_matches('.').is_empty());
            let cut = dot.map_or(path.len(), |dot| path.len() - name.len() + dot);
            Some(pair(path.split_at(cut)))
        }
        ("os.path.isabs", [path]) => Some(Value::Bool(path.starts_with('/'))),
        ("os.path.normpath", [path]) => Some(Value::text(&normal(path))),
        _ => None,
    })
}

/// Directory, without the slashes that end it, and name.
fn split(path: &str) -> (&str, &str) {
    let (head, tail) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
    let trimmed = head.trim_end_matches('/');
    (if trimmed.is_empty() { head } else { trimmed }, tail)
}

fn normal(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            ("..", None) if absolute => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}
