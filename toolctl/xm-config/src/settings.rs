//! What a configuration sets: known variables with values of the right kind.

use crate::error::{ConfigError, ErrorKind, Pos, Result};
use crate::keys::{KeyDef, Kind};
use crate::value::Value;
use std::collections::BTreeMap;

/// A value that was set.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// Text.
    Text(String),
    /// Whole number.
    Int(i64),
    /// Number.
    Float(f64),
    /// Texts.
    List(Vec<String>),
}

/// Variables by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    values: BTreeMap<&'static str, (Setting, Option<Pos>)>,
}

impl Settings {
    /// Sets a variable; `at` is where the file does.
    pub fn set(&mut self, key: &KeyDef, value: Setting, at: Option<Pos>) {
        self.values.insert(key.name, (value, at));
    }

    /// Sets a variable from the command line, where every word adds to a list.
    pub fn add(&mut self, key: &KeyDef, value: Setting) {
        if let (Some((Setting::List(all), _)), Setting::List(more)) =
            (self.values.get_mut(key.name), &value)
        {
            all.extend(more.iter().cloned());
            return;
        }
        self.set(key, value, None);
    }

    /// Is it set?
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Everything that is set, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Setting)> {
        self.values.iter().map(|(name, (value, _))| (*name, value))
    }

    /// As text, numbers printed.
    pub fn text(&self, name: &str) -> Option<String> {
        match &self.values.get(name)?.0 {
            Setting::Text(text) => Some(text.clone()),
            Setting::Int(value) => Some(value.to_string()),
            Setting::Float(value) => Some(Value::Float(*value).to_text(1)),
            Setting::List(all) => Some(all.join(",")),
        }
    }

    /// As members; a single text is one, an empty text none.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.values.get(name).map(|(value, _)| value) {
            None => Vec::new(),
            Some(Setting::List(all)) => all.clone(),
            Some(Setting::Text(text)) if text.is_empty() => Vec::new(),
            Some(_) => self.text(name).into_iter().collect(),
        }
    }

    /// The raw value.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.values.get(name).map(|(value, _)| value)
    }

    /// As whole number; text is read as Python's `int()` does. An empty text is as good as unset.
    pub fn whole(&self, name: &str) -> Result<Option<i64>> {
        let Some((value, at)) = self.values.get(name) else {
            return Ok(None);
        };
        let found = match value {
            Setting::Int(value) => Some(*value),
            Setting::Float(value) if value.abs() < 9e15 => Some(*value as i64),
            Setting::Text(text) if text.trim().is_empty() => return Ok(None),
            Setting::Text(text) => crate::eval::parse_int(text, 0)
                .or_else(|| crate::eval::parse_int(text, 10))
                .and_then(|value| i64::try_from(value).ok()),
            _ => None,
        };
        found.map(Some).ok_or_else(|| {
            let shown: String = self
                .text(name)
                .unwrap_or_default()
                .chars()
                .take(40)
                .collect();
            ConfigError {
                at: *at,
                ..ConfigError::config(format!(
                    "Invalid Configuration: {name} must be a whole number, found '{shown}'"
                ))
            }
        })
    }
}

/// What becomes of a variable that a file assigned.
pub(crate) enum Harvest {
    /// It is a setting.
    Take(Setting),
    /// xm skips values of this type, silently; we say so and name it.
    Skip(&'static str),
    /// `None`: as if not assigned.
    Unset,
}

/// Checks a file's value against the variable's kind. xm took exactly `str`, `list`, `int` and `float`.
pub(crate) fn harvest(key: &KeyDef, value: &Value, at: Pos) -> Result<Harvest> {
    let setting = match value {
        Value::None => return Ok(Harvest::Unset),
        Value::Int(value) => Setting::Int(*value),
        Value::Float(value) => Setting::Float(*value),
        Value::Str(text, false) => Setting::Text(text.to_string()),
        Value::List(items) => {
            let mut members = Vec::new();
            for (index, item) in items.0.borrow().iter().enumerate() {
                match item {
                    Value::Str(..) | Value::Int(_) | Value::Long(_) => {
                        members.push(item.to_text(1))
                    }
                    other => {
                        return Err(wrong(
                            at,
                            format!(
                                "member {} of '{}' must be text, found {}",
                                index + 1,
                                key.name,
                                other.type_name()
                            ),
                        ))
                    }
                }
            }
            Setting::List(members)
        }
        other => return Ok(Harvest::Skip(other.type_name())),
    };
    match (key.kind, &setting) {
        (Kind::List, Setting::Text(text)) if text.is_empty() => {
            Ok(Harvest::Take(Setting::List(vec![])))
        }
        (Kind::List, Setting::List(_)) | (Kind::StrOrList, _) => Ok(Harvest::Take(setting)),
        (Kind::List, _) => Err(wrong(
            at,
            format!(
                "'{}' must be a list, found {}; write {} = [ ... ]",
                key.name,
                value.type_name(),
                key.name
            ),
        )),
        (_, Setting::List(_)) => Err(wrong(
            at,
            format!("'{}' must be a single value, found a list", key.name),
        )),
        _ => Ok(Harvest::Take(setting)),
    }
}

fn wrong(at: Pos, message: String) -> ConfigError {
    ConfigError::at(ErrorKind::Config, at, message)
}
