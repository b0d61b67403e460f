//! From a file's name and the words of the command line to [`Settings`].
//!
//! ```text
//!   NAME --find_config--> PATH --read, bounded--> source --lex, parse, run--> variables --+
//!                                                                                         +--> Loaded
//!   var=value --(known)--> converted, wins over the file; (unknown) --> text for the file-+
//! ```
//! A variable that the file assigns, that is no known key and that nothing reads is taken for a misspelt key and is an error;
//! `lenient` makes it a warning. Names with a leading underscore are the author's own and never checked.

use crate::error::{ConfigError, ErrorKind, Pos, Result};
use crate::keys;
use crate::limits::Limits;
use crate::settings::{self, Harvest, Settings};
use crate::value::Value;
use crate::{eval, lex, parse};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Unknown keys are warnings.
    pub lenient: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Something that is worth a line but no reason to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where in the file, when it is there.
    pub at: Option<Pos>,
    /// What.
    pub message: String,
}

/// A loaded configuration.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Known variables.
    pub settings: Settings,
    /// Things to tell the user.
    pub warnings: Vec<Warning>,
}

/// The file that `name` stands for: itself, else the first of `path`'s directories (separated by colons) that has it.
/// As with xm, a candidate without a leading `/` gets `./` in front.
pub fn find_config(name: &str, path: &str) -> Option<PathBuf> {
    let joined = path.split(':').map(|dir| match dir {
        "" => name.to_owned(),
        dir if dir.ends_with('/') => format!("{dir}{name}"),
        dir => format!("{dir}/{name}"),
    });
    std::iter::once(name.to_owned())
        .chain(joined)
        .map(|candidate| match candidate.starts_with('/') {
            true => candidate,
            false => format!("./{candidate}"),
        })
        .map(PathBuf::from)
        .find(|candidate| !candidate.is_dir() && candidate.exists())
}

/// Reads a configuration or SXP file, at most as much as `limits` allow. Bytes that are no UTF-8 are read as Latin-1.
pub fn read_bounded(path: &Path, limits: &Limits) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(limits.source_bytes as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => error
            .into_bytes()
            .iter()
            .map(|&byte| char::from(byte))
            .collect(),
    })
}

/// Loads the file at `path` with the command line's `var=value` words.
pub fn load_file(path: &Path, words: &[String], options: &Options) -> Result<Loaded> {
    let shown = path.display().to_string();
    let source = read_bounded(path, &options.limits).map_err(|error| {
        let text = error.to_string();
        let reason = text
            .split(" (os error")
            .next()
            .unwrap_or_default()
            .to_owned();
        ConfigError::config(format!("Cannot read file {shown}: {reason}"))
    })?;
    load_source(&source, &shown, words, options)
}

/// Loads `source`, which came from the file named `shown`.
pub fn load_source(
    source: &str,
    shown: &str,
    words: &[String],
    options: &Options,
) -> Result<Loaded> {
    if source.starts_with('<') {
        return Err(ConfigError::config(format!(
            "{shown} is an XML configuration, which needs the Xen-API mode; that is not built yet"
        )));
    }
    let mut loaded = Loaded::default();
    let mut given = BTreeMap::new();
    given.insert("xm_file".to_owned(), Value::text(shown));
    given.insert("xm_help".to_owned(), Value::Bool(false));
    let mut strangers = Vec::new();
    for word in words {
        let Some((name, text)) = word.split_once('=') else {
            continue;
        };
        match keys::find(name) {
            Some(key) => {
                let value = keys::convert::convert(key, text)?;
                loaded.settings.add(key, value);
            }
            None => strangers.push(name),
        }
        given.insert(name.to_owned(), Value::text(text));
    }
    let run = execute(source, &given, &options.limits).map_err(|e| e.in_file(shown, source))?;
    harvest(&mut loaded, &run, options).map_err(|e| e.in_file(shown, source))?;
    for name in strangers {
        if !run.read.contains(name) && !name.starts_with('_') {
            let error = unknown(name, None, "variable on the command line");
            complain(error, options.lenient, &mut loaded.warnings)?;
        }
    }
    if !loaded.settings.has("name") {
        if let (Some(key), Some(base)) = (keys::find("name"), Path::new(shown).file_name()) {
            let base = base.to_string_lossy().into_owned();
            loaded
                .settings
                .set(key, settings::Setting::Text(base), None);
        }
    }
    Ok(loaded)
}

fn execute(source: &str, given: &BTreeMap<String, Value>, limits: &Limits) -> Result<eval::Run> {
    let tokens = lex::tokenize(source, limits)?;
    let program = parse::parse(&tokens, limits)?;
    eval::run(&program, given, limits)
}

fn harvest(loaded: &mut Loaded, run: &eval::Run, options: &Options) -> Result<()> {
    // In the file's order, so that the first mistake is the one reported.
    let mut variables: Vec<_> = run.variables.iter().collect();
    variables.sort_by_key(|(_, variable)| variable.at);
    for (name, variable) in variables {
        let Some(key) = keys::find(name) else {
            if !run.read.contains(name) && !name.starts_with('_') {
                let error = unknown(name, Some(variable.at), "key");
                complain(error, options.lenient, &mut loaded.warnings)?;
            }
            continue;
        };
        // What the command line set, the file cannot override.
        if loaded.settings.has(key.name) {
            continue;
        }
        match settings::harvest(key, &variable.value, variable.at)? {
            Harvest::Take(value) => loaded.settings.set(key, value, Some(variable.at)),
            Harvest::Unset => {}
            Harvest::Skip => loaded.warnings.push(Warning {
                at: Some(variable.at),
                message: format!(
                    "'{name}' is a {} and has no effect, as with xm{}",
                    variable.value.type_name(),
                    match variable.value {
                        Value::Bool(true) => "; write 1",
                        Value::Bool(false) => "; write 0",
                        _ => "",
                    }
                ),
            }),
        }
    }
    Ok(())
}

fn unknown(name: &str, at: Option<Pos>, what: &str) -> ConfigError {
    let shown: String = name.chars().take(64).collect();
    let hint = match keys::nearest(name, keys::all().map(|key| key.name)) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "no known key is like it".to_owned(),
    };
    ConfigError {
        kind: ErrorKind::Config,
        message: format!("unknown {what} '{shown}': {hint} (--lenient goes on without it)"),
        at,
        file: None,
        line: None,
    }
}

fn complain(error: ConfigError, lenient: bool, warnings: &mut Vec<Warning>) -> Result<()> {
    if !lenient {
        return Err(error);
    }
    let message = error
        .message
        .replace(" (--lenient goes on without it)", "; ignored");
    warnings.push(Warning {
        at: error.at,
        message,
    });
    Ok(())
}

#[cfg(test)]
mod tests;
