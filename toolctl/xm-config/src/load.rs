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
pub use help::declared_variables;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

mod help;

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Unknown keys are warnings.
    pub lenient: bool,
    /// Bounds.
    pub limits: Limits,
    /// Gets what the file prints; None: nobody.
    pub output: Option<fn(&str)>,
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
    let mut set = BTreeMap::new();
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
        set.insert(name.to_owned(), text.to_owned());
    }
    let outcome = execute(source, shown, set, options).map_err(|e| e.in_file(shown, source))?;
    harvest(&mut loaded, &outcome, options).map_err(|e| e.in_file(shown, source))?;
    for name in strangers {
        if !outcome.used.contains(name) && !name.starts_with('_') {
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

/// What a file's variable came to.
enum Harvested {
    /// A known variable.
    Known(&'static keys::KeyDef, Harvest, &'static str),
    /// Another one that nothing reads.
    Unused,
}

/// What is left of a run once its values are gone; those cannot leave the thread that made them.
struct Outcome {
    /// In the file's order, so that the first mistake is the one reported.
    variables: Vec<(String, Pos, Result<Harvested>)>,
    /// Names that are read or declared.
    used: BTreeSet<String>,
}

/// The evaluator nests as deep as its bound allows, in debug builds too.
const STACK: usize = 64 << 20;

fn execute(
    source: &str,
    shown: &str,
    words: BTreeMap<String, String>,
    options: &Options,
) -> Result<Outcome> {
    let worker = || {
        let limits = &options.limits;
        let tokens = lex::tokenize(source, limits)?;
        let program = parse::parse(&tokens, limits)?;
        let mut names: BTreeMap<String, Value> = words
            .iter()
            .map(|(name, text)| (name.clone(), Value::text(text)))
            .collect();
        names.insert("xm_file".to_owned(), Value::text(shown));
        names.insert("xm_help".to_owned(), Value::Bool(false));
        let given = eval::Given {
            names,
            words: words.clone(),
            help: false,
        };
        let mut output = |text: &str| {
            if let Some(output) = options.output {
                output(text);
            }
        };
        let run = eval::run(&program, &given, &mut output, limits)?;
        let mut used = program.reads;
        used.extend(run.declared);
        let mut variables: Vec<_> = run
            .variables
            .iter()
            .filter_map(|(name, variable)| {
                let judged = judge(name, variable, &used, &program.bound)?;
                Some((name.clone(), variable.at, judged))
            })
            .collect();
        variables.sort_by_key(|(_, at, _)| *at);
        Ok(Outcome { variables, used })
    };
    with_stack(worker)
}

/// Runs `worker` on a stack that is large enough for the evaluator.
fn with_stack<T: Send>(worker: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, worker);
        let joined = thread
            .map_err(|error| ConfigError::config(format!("cannot start the evaluator: {error}")))?
            .join();
        joined.unwrap_or_else(|_| {
            Err(ConfigError::config(
                "the evaluator failed; please report this file",
            ))
        })
    })
}

/// None: nothing to do with a domain's settings.
fn judge(
    name: &str,
    variable: &eval::Variable,
    used: &BTreeSet<String>,
    bound: &BTreeSet<String>,
) -> Option<Result<Harvested>> {
    let value = &variable.value;
    if matches!(
        value,
        Value::Function(_)
            | Value::Builtin(_)
            | Value::Module(_)
            | Value::Exception(..)
            | Value::Match(_)
    ) {
        return None;
    }
    if let Some(key) = keys::find(name) {
        let harvested = settings::harvest(key, value, variable.at);
        return Some(harvested.map(|harvest| {
            let hint = match value {
                Value::Bool(true) => "; write 1",
                Value::Bool(false) => "; write 0",
                _ => "",
            };
            Harvested::Known(key, harvest, hint)
        }));
    }
    let checked = !used.contains(name) && !bound.contains(name) && !name.starts_with('_');
    checked.then_some(Ok(Harvested::Unused))
}

fn harvest(loaded: &mut Loaded, outcome: &Outcome, options: &Options) -> Result<()> {
    for (name, at, judged) in &outcome.variables {
        let (key, harvest, hint) = match judged {
            Ok(Harvested::Known(key, harvest, hint)) => (key, harvest, hint),
            Ok(Harvested::Unused) => {
                complain(
                    unknown(name, Some(*at), "key"),
                    options.lenient,
                    &mut loaded.warnings,
                )?;
                continue;
            }
            // What the command line set, the file cannot override, nor get wrong.
            Err(_) if loaded.settings.has(name) => continue,
            Err(error) => return Err(error.clone()),
        };
        if loaded.settings.has(key.name) {
            continue;
        }
        match harvest {
            Harvest::Take(value) => loaded.settings.set(key, value.clone(), Some(*at)),
            Harvest::Unset => {}
            Harvest::Skip(kind) => loaded.warnings.push(Warning {
                at: Some(*at),
                message: format!("'{name}' is a {kind} and has no effect, as with xm{hint}"),
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
        class: "",
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
