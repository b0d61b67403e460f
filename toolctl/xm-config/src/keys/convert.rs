//! `var=value` words of the command line to values.

use super::{KeyDef, Kind};
use crate::error::{ConfigError, Result};
use crate::eval::parse_int;
use crate::settings::Setting;

/// The value of `key` that `text` stands for. List variables get one member.
pub fn convert(key: &KeyDef, text: &str) -> Result<Setting> {
    // xm put a blank into one of these messages and none into the other.
    let invalid = |between: &str| ConfigError::config(format!("Invalid value:{between}{text}"));
    match key.kind {
        Kind::Str => Ok(Setting::Text(text.to_owned())),
        Kind::StrOrList if text.starts_with('[') => list_literal(text),
        Kind::StrOrList => Ok(Setting::Text(text.to_owned())),
        Kind::List => Ok(Setting::List(vec![text.to_owned()])),
        Kind::Bool => match text {
            "yes" | "y" => Ok(Setting::Int(1)),
            "no" | "n" => Ok(Setting::Int(0)),
            _ => Err(invalid("")),
        },
        Kind::Int => number(text, 10).ok_or_else(|| invalid(" ")),
        Kind::Hex => number(text, 0).ok_or_else(|| invalid(" ")),
    }
}

fn number(text: &str, base: u32) -> Option<Setting> {
    let value = parse_int(text, base)?;
    i64::try_from(value).ok().map(Setting::Int)
}

/// `['a', 'b']` or `[0, 1]`, as `cpus=` takes it on the command line.
fn list_literal(text: &str) -> Result<Setting> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or_else(|| ConfigError::config(format!("Invalid value: {text}")))?;
    let mut members = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let (member, after) = match quote {
            Some(quote) => rest
                .get(1..)
                .and_then(|body| body.split_once(quote))
                .ok_or_else(|| ConfigError::config(format!("Invalid value: {text}")))?,
            None => match rest.find(',') {
                Some(comma) => rest.split_at(comma),
                None => (rest, ""),
            },
        };
        members.push(member.trim().to_owned());
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if after.is_empty() => "",
            None => return Err(ConfigError::config(format!("Invalid value: {text}"))),
        };
    }
    Ok(Setting::List(members))
}
