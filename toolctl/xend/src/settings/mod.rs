//! `/etc/xen/xend-config.sxp`: how the administrator wants xend (xm-reference: "xend-config.sxp").
//!
//! ```text
//!   file --sxp--> (key value..) --table--> value of its kind, or "invalid xend config KEY: expected bool: VALUE"
//!                                   \----> remarks: unknown keys, keys whose effect this version has not
//!   no file -> every default
//! ```
//! Of a key that stands there twice the first one counts, as ever. Values are checked when the file is read, not when
//! they are needed, so that a mistake keeps xend from starting instead of a domain from being made.

mod page;
mod table;

pub use page::{page, table};

use noxen_xend_api::paths::Paths;
use noxen_xm_config::keys::nearest;
use noxen_xm_config::sxp::{parse_all, Node as Sxp};
use noxen_xm_config::Limits;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use table::{Effect, Key, Kind, KEYS};

/// Environment variable with another path of the file.
pub const CONFIG_ENV: &str = "XEND_CONFIG";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is there and cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// It is no list of S-expressions.
    #[error("{path}: {reason}", path = .path.display())]
    Syntax {
        /// File.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A value is not of its key's kind.
    #[error("invalid xend config {key}: expected {expected}: {found}")]
    Value {
        /// Key.
        key: String,
        /// Kind.
        expected: String,
        /// What stands there.
        found: String,
    },
}

/// The settings in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    given: BTreeMap<&'static str, String>,
    remarks: Vec<String>,
}

/// The file that counts: `$XEND_CONFIG`, else the usual one.
pub fn path(paths: &Paths) -> PathBuf {
    std::env::var_os(CONFIG_ENV)
        .filter(|path| !path.is_empty())
        .map_or_else(|| paths.xend_config(), PathBuf::from)
}

impl Settings {
    /// Reads `path`; a file that is not there sets nothing.
    pub fn load(path: &Path) -> Result<Settings, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Settings::parse(&text, path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(source) => Err(SettingsError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    pub(crate) fn parse(text: &str, path: &Path) -> Result<Settings, SettingsError> {
        let syntax = |reason: String| SettingsError::Syntax {
            path: path.to_owned(),
            reason,
        };
        let expressions = parse_all(text, &Limits::default()).map_err(|e| syntax(e.to_string()))?;
        let mut settings = Settings::default();
        for expression in &expressions {
            let key = expression
                .key()
                .ok_or_else(|| syntax(format!("expected (KEY VALUE), found {expression}")))?;
            let Some(known) = KEYS.iter().find(|known| known.name == key) else {
                settings.remarks.push(unknown(key));
                continue;
            };
            if settings.given.contains_key(known.name) {
                settings
                    .remarks
                    .push(format!("{key} is set twice; the first value counts"));
                continue;
            }
            let value = value_of(expression);
            known.check(&value)?;
            settings.remarks.extend(known.remark(&value));
            settings.given.insert(known.name, value);
        }
        Ok(settings)
    }

    /// What the administrator should hear: one line each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// A text; the key's default when it is not set. Unknown keys are empty.
    pub fn text(&self, key: &str) -> &str {
        let default = || {
            let known = KEYS.iter().find(|known| known.name == key);
            known.map_or("", |known| known.default)
        };
        self.given.get(key).map_or_else(default, String::as_str)
    }

    /// Every key with its value; `(set)` in place of a password.
    pub fn all(&self) -> BTreeMap<String, String> {
        let shown = |key: &Key| match (key.name, self.text(key.name)) {
            ("vncpasswd", password) if !password.is_empty() => "(set)".to_owned(),
            (_, value) => value.to_owned(),
        };
        KEYS.iter()
            .map(|key| (key.name.to_owned(), shown(key)))
            .collect()
    }

    /// A truth.
    pub fn bool(&self, key: &str) -> bool {
        truth(self.text(key)).unwrap_or(false)
    }

    /// A number.
    pub fn int(&self, key: &str) -> i64 {
        self.text(key).trim().parse().unwrap_or(0)
    }

    /// xend's log, below the root of `paths`.
    pub fn log_file(&self, paths: &Paths) -> PathBuf {
        paths
            .root()
            .join(self.text("logfile").trim_start_matches('/'))
    }
}

/// `(key)` is empty, `(key word)` the word, anything else the text of the members.
fn value_of(expression: &Sxp) -> String {
    match expression.members() {
        [] => String::new(),
        [Sxp::Atom(text)] => text.clone(),
        several => {
            let words: Vec<String> = several.iter().map(Sxp::to_string).collect();
            words.join(" ")
        }
    }
}

fn unknown(key: &str) -> String {
    match nearest(key, KEYS.iter().map(|known| known.name)) {
        Some(near) => format!("{key} is no setting of xend's and has no effect; is {near} meant?"),
        None => format!("{key} is no setting of xend's and has no effect"),
    }
}

/// xend's words for true and false.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "1" | "on" | "true" | "t" => Some(true),
        "no" | "n" | "0" | "off" | "false" | "f" => Some(false),
        _ => None,
    }
}

impl Key {
    fn check(&self, value: &str) -> Result<(), SettingsError> {
        let (fits, expected) = match self.kind {
            Kind::Bool => (truth(value).is_some(), "bool".to_owned()),
            Kind::Int => (value.trim().parse::<i64>().is_ok(), "int".to_owned()),
            Kind::Word(words) => (
                words.iter().any(|word| word.eq_ignore_ascii_case(value)),
                format!("one of {}", words.join(" ")),
            ),
            Kind::Path => (value.starts_with('/'), "absolute path".to_owned()),
            Kind::Text => (true, String::new()),
        };
        match fits {
            true => Ok(()),
            false => Err(SettingsError::Value {
                key: self.name.to_owned(),
                expected,
                found: value.to_owned(),
            }),
        }
    }

    /// What to say when the file sets this key to `value`.
    fn remark(&self, value: &str) -> Option<String> {
        let says = |why: &str| Some(format!("{} is set to {value}, but {why}", self.name));
        let same = match self.kind {
            Kind::Bool => truth(value) == truth(self.default),
            _ => value == self.default,
        };
        match self.effect {
            Effect::Used => None,
            // What is off anyway need not be spoken of; what is on by default is missed only when asked for.
            Effect::Missing(why) if self.kind == Kind::Bool => match truth(value) {
                Some(true) => says(why),
                _ => None,
            },
            Effect::Missing(why) | Effect::Fixed(why) if !same => says(why),
            Effect::Missing(_) | Effect::Fixed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
