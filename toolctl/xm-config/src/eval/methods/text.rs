//! Methods of strings.

use super::super::{ops, Evaluator};
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;

pub(super) const NAMES: &[&str] = &[
    "capitalize",
    "center",
    "count",
    "endswith",
    "find",
    "index",
    "isalnum",
    "isalpha",
    "isdigit",
    "islower",
    "isspace",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "replace",
    "rfind",
    "rjust",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "title",
    "upper",
    "zfill",
];

/// None: wrong arguments.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    text: &str,
    unicode: bool,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    evaluator.budget.work(at, text.len())?;
    let strings: Vec<Option<&str>> = args
        .iter()
        .map(|arg| match arg {
            Value::Str(text, _) => Some(&**text),
            _ => None,
        })
        .collect();
    let whole = |index: usize| args.get(index).and_then(Value::as_whole);
    let string = |text: String| Some(Value::Str(text.into(), unicode));
    let truth = |value: bool| Some(Value::Bool(value));
    let every = |test: fn(char) -> bool| truth(!text.is_empty() && text.chars().all(test));
    let position = |found: Option<usize>| {
        // Places count characters, not octets.
        let index = found
            .and_then(|at| text.get(..at))
            .map(|before| before.chars().count());
        index.map_or(-1, |index| index as i128)
    };
    let result = match (name, strings.as_slice()) {
        ("lower", []) => string(text.to_lowercase()),
        ("upper", []) => string(text.to_uppercase()),
        ("capitalize", []) => string(capitalized(text)),
        ("title", []) => string(title(text)),
        ("strip", []) => string(text.trim().into()),
        ("lstrip", []) => string(text.trim_start().into()),
        ("rstrip", []) => string(text.trim_end().into()),
        ("strip", [Some(set)]) => string(text.trim_matches(|c| set.contains(c)).into()),
        ("lstrip", [Some(set)]) => string(text.trim_start_matches(|c| set.contains(c)).into()),
        ("rstrip", [Some(set)]) => string(text.trim_end_matches(|c| set.contains(c)).into()),
        ("startswith", [Some(start)]) => truth(text.starts_with(start)),
        ("endswith", [Some(end)]) => truth(text.ends_with(end)),
        ("find", [Some(part)]) => Some(Value::whole(position(text.find(part)))),
        ("rfind", [Some(part)]) => Some(Value::whole(position(text.rfind(part)))),
        ("index", [Some(part)]) => match text.find(part) {
            None => {
                return Err(ConfigError::runtime(
                    "ValueError",
                    at,
                    "substring not found",
                ))
            }
            found => Some(Value::whole(position(found))),
        },
        ("count", [Some(part)]) if !part.is_empty() => {
            Some(Value::whole(text.matches(part).count() as i128))
        }
        ("isdigit", []) => every(|c| c.is_ascii_digit()),
        ("isalpha", []) => every(char::is_alphabetic),
        ("isalnum", []) => every(char::is_alphanumeric),
        ("isspace", []) => every(char::is_whitespace),
        ("islower", []) => {
            truth(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
        }
        ("isupper", []) => {
            truth(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
        }
        ("replace", [Some(old), Some(new), rest @ ..]) if rest.len() <= 1 => {
            let most = match args.get(2) {
                None => usize::MAX,
                Some(_) => whole(2).map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX)),
            };
            let times = match old.is_empty() {
                true => text.chars().count() + 1,
                false => text.matches(old).count(),
            };
            let grown = text
                .len()
                .saturating_add(times.min(most).saturating_mul(new.len()));
            evaluator.budget.bytes(at, grown)?;
            string(text.replacen(old, new, most))
        }
        ("split" | "rsplit", _) if args.len() <= 2 => {
            return split(evaluator, text, unicode, name, args, at)
        }
        ("splitlines", []) => {
            evaluator.budget.bytes(at, text.len() * 8)?;
            Some(Value::list(
                text.lines()
                    .map(|line| Value::Str(line.into(), unicode))
                    .collect(),
            ))
        }
        ("join", [_]) => {
            let parts = match args.first() {
                Some(values) => ops::members(evaluator, values, at)?,
                None => Vec::new(),
            };
            let mut out = String::new();
            for (index, part) in parts.iter().enumerate() {
                let Value::Str(part, _) = part else {
                    let kind = part.type_name();
                    let message = format!("sequence item {index}: expected string, {kind} found");
                    return Err(ConfigError::runtime("TypeError", at, message));
                };
                evaluator.budget.bytes(at, text.len() + part.len())?;
                if index > 0 {
                    out.push_str(text);
                }
                out.push_str(part);
            }
            string(out)
        }
        ("zfill", [_]) | ("ljust" | "rjust" | "center", [_] | [_, Some(_)]) => {
            let Some(width) = whole(0) else {
                return Ok(None);
            };
            let fill = strings
                .get(1)
                .copied()
                .flatten()
                .and_then(|fill| fill.chars().next())
                .unwrap_or(' ');
            let missing = usize::try_from(width)
                .unwrap_or(0)
                .saturating_sub(text.chars().count());
            evaluator.budget.bytes(at, missing.saturating_mul(4))?;
            let pad = |n: usize, c: char| c.to_string().repeat(n);
            match name {
                "ljust" => string(format!("{text}{}", pad(missing, fill))),
                "rjust" => string(format!("{}{text}", pad(missing, fill))),
                "center" => {
                    let left = missing / 2;
                    string(format!(
                        "{}{text}{}",
                        pad(left, fill),
                        pad(missing - left, fill)
                    ))
                }
                _ => {
                    let digits = text.trim_start_matches(['-', '+']);
                    let sign = text.get(..text.len() - digits.len()).unwrap_or("");
                    string(format!("{sign}{}{digits}", pad(missing, '0')))
                }
            }
        }
        _ => None,
    };
    Ok(result)
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().collect::<String>() + &chars.as_str().to_lowercase(),
        None => String::new(),
    }
}

fn title(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    out
}

/// `split` and `rsplit`: by blanks or by a separator, at most so many times.
fn split(
    evaluator: &mut Evaluator<'_>,
    text: &str,
    unicode: bool,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let most = match args.get(1).map(Value::as_whole) {
        None => usize::MAX,
        Some(Some(n)) => usize::try_from(n).unwrap_or(usize::MAX),
        Some(None) => return Ok(None),
    };
    // A part is a value of its own, however short.
    evaluator.budget.bytes(at, text.len().saturating_mul(40))?;
    let right = name == "rsplit";
    let parts: Vec<String> = match args.first() {
        None | Some(Value::None) => by_blanks(text, most, right),
        Some(Value::Str(separator, _)) if separator.is_empty() => {
            return Err(ConfigError::runtime("ValueError", at, "empty separator"))
        }
        Some(Value::Str(separator, _)) => {
            let pieces = most.saturating_add(1);
            match right {
                false => text
                    .splitn(pieces, &**separator)
                    .map(String::from)
                    .collect(),
                true => {
                    let mut parts: Vec<String> = text
                        .rsplitn(pieces, &**separator)
                        .map(String::from)
                        .collect();
                    parts.reverse();
                    parts
                }
            }
        }
        Some(_) => return Ok(None),
    };
    let parts = parts
        .into_iter()
        .map(|part| Value::Str(part.into(), unicode))
        .collect();
    Ok(Some(Value::list(parts)))
}

fn by_blanks(text: &str, most: usize, right: bool) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let cut = match right {
            false => rest.find(char::is_whitespace),
            true => rest.rfind(char::is_whitespace),
        };
        let Some(cut) = cut.filter(|_| parts.len() < most) else {
            parts.push(rest.to_owned());
            break;
        };
        let (head, tail) = rest.split_at(cut);
        let (part, other) = if right { (tail, head) } else { (head, tail) };
        parts.push(part.trim().to_owned());
        rest = other.trim();
    }
    if right {
        parts.reverse();
    }
    parts
}
