//! `re`: regular expressions, run by an engine whose time is bounded by pattern times text.

use super::super::Evaluator;
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;
use regex_lite::{Captures, Regex, RegexBuilder};
use std::rc::Rc;

/// Longest pattern, bytes, and how much of it compiled may take.
const MAX_PATTERN: usize = 4096;
const MAX_COMPILED: usize = 1 << 20;

fn compile(
    evaluator: &mut Evaluator<'_>,
    pattern: &str,
    text: &str,
    anchored: bool,
    at: Pos,
) -> Result<Regex> {
    if pattern.len() > MAX_PATTERN {
        return Err(ConfigError::limit(at, "regular expression is too long"));
    }
    // Each octet of the text may be held against each of the pattern; compiling costs as well.
    let work = pattern.len().saturating_mul(text.len() + 64);
    evaluator.budget.work(at, work.saturating_mul(16))?;
    // Python writes \Z for the end of the text.
    let pattern = pattern.replace("\\Z", "\\z");
    let pattern = if anchored {
        format!("^(?:{pattern})")
    } else {
        pattern
    };
    RegexBuilder::new(&pattern)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| {
            ConfigError::runtime("ValueError", at, format!("regular expression: {error}"))
        })
}

fn found(captures: Option<Captures<'_>>) -> Value {
    match captures {
        None => Value::None,
        Some(captures) => {
            let groups = captures
                .iter()
                .map(|group| group.map(|group| group.as_str().to_owned()));
            Value::Match(Rc::new(groups.collect()))
        }
    }
}

/// None: wrong arguments.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let texts: Vec<&str> = args
        .iter()
        .filter_map(|arg| match arg {
            Value::Str(text, _) => Some(&**text),
            _ => None,
        })
        .collect();
    if texts.len() != args.len() {
        let message = "expected string or buffer";
        return Err(ConfigError::runtime("TypeError", at, message));
    }
    Ok(match (name, texts.as_slice()) {
        ("re.search" | "re.match", [pattern, text]) => {
            let regex = compile(evaluator, pattern, text, name == "re.match", at)?;
            evaluator.budget.bytes(at, text.len())?;
            Some(found(regex.captures(text)))
        }
        ("re.findall", [pattern, text]) => {
            let regex = compile(evaluator, pattern, text, false, at)?;
            evaluator.budget.bytes(at, text.len().saturating_mul(40))?;
            let group = |captures: &Captures<'_>, index: usize| {
                Value::text(captures.get(index).map_or("", |group| group.as_str()))
            };
            let all = regex
                .captures_iter(text)
                .map(|captures| match captures.len() {
                    1 => group(&captures, 0),
                    2 => group(&captures, 1),
                    n => Value::tuple((1..n).map(|index| group(&captures, index)).collect()),
                });
            Some(Value::list(all.collect()))
        }
        ("re.split", [pattern, text]) => {
            let regex = compile(evaluator, pattern, text, false, at)?;
            evaluator.budget.bytes(at, text.len().saturating_mul(40))?;
            Some(Value::list(regex.split(text).map(Value::text).collect()))
        }
        ("re.sub", [pattern, replacement, text]) => {
            let regex = compile(evaluator, pattern, text, false, at)?;
            let mut out = String::new();
            let mut end = 0;
            for captures in regex.captures_iter(text) {
                let Some(whole) = captures.get(0) else {
                    continue;
                };
                let before = text.get(end..whole.start()).unwrap_or("");
                let new = expanded(replacement, &captures);
                evaluator.budget.bytes(at, before.len() + new.len())?;
                out.push_str(before);
                out.push_str(&new);
                end = whole.end();
            }
            out.push_str(text.get(end..).unwrap_or(""));
            Some(Value::text(&out))
        }
        ("re.escape", [text]) => {
            evaluator.budget.bytes(at, text.len() * 2)?;
            Some(Value::text(&regex_lite::escape(text)))
        }
        _ => None,
    })
}

/// `\1` in a replacement is the first group.
fn expanded(replacement: &str, captures: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(digit @ '0'..='9') => {
                let index = digit.to_digit(10).unwrap_or(0) as usize;
                out.push_str(captures.get(index).map_or("", |group| group.as_str()));
            }
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}
