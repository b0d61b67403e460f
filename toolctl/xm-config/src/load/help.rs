//! What a file says that it wants to be given: `create --help_config FILE`.

use super::{read_bounded, with_stack};
use crate::error::{ConfigError, ErrorKind, Result};
use crate::limits::Limits;
use crate::value::Value;
use crate::{eval, lex, parse};
use std::collections::BTreeMap;
use std::path::Path;

/// Runs the file at `path` in help mode (`xm_help` is true): up to its `xm_vars.check()`, which answers with the variables
/// declared by then, a row each, instead of checking them. Empty for a file that checks nothing.
pub fn declared_variables(path: &Path, words: &[String], limits: &Limits) -> Result<String> {
    let shown = path.display().to_string();
    let source = read_bounded(path, limits)
        .map_err(|error| ConfigError::config(format!("Cannot read file {shown}: {error}")))?;
    let words: BTreeMap<String, String> = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let told = with_stack(|| {
        let tokens = lex::tokenize(&source, limits)?;
        let program = parse::parse(&tokens, limits)?;
        let mut names: BTreeMap<String, Value> = words
            .iter()
            .map(|(name, text)| (name.clone(), Value::text(text)))
            .collect();
        names.insert("xm_file".to_owned(), Value::text(&shown));
        names.insert("xm_help".to_owned(), Value::Bool(true));
        let given = eval::Given {
            names,
            words: words.clone(),
            help: true,
        };
        let mut text = String::new();
        let ended = eval::run(&program, &given, &mut |more| text.push_str(more), limits);
        match ended {
            Err(error) if !matches!(error.kind, ErrorKind::Exit(_)) => Err(error),
            _ => Ok(text),
        }
    });
    told.map_err(|error| error.in_file(&shown, &source))
}
