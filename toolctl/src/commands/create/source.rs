//! Where the configuration comes from: `-F` SXP, or a program found along the path.

use crate::cli::context::Context;
use crate::cli::failure::{reason, Failure};
use crate::cli::front::Front;
use crate::cli::getopt::Parsed;
use noxen_xend_api::DomainConfig;
use noxen_xm_config::error::ErrorKind;
use noxen_xm_config::load::read_bounded;
use noxen_xm_config::{ConfigError, Limits, Loaded, Options};
use std::io::Write;
use std::path::{Path, PathBuf};

const DEFAULT_PATH: &str = ".:/etc/xen";
const DEFAULT_NAME: &str = "xmdefconfig";

/// The configuration that the command line names.
pub(crate) fn configuration(
    context: &mut Context,
    parsed: &Parsed,
) -> Result<DomainConfig, Failure> {
    let config = match parsed.value("config") {
        Some(file) => from_sxp_file(file)?,
        None => from_program(context, parsed)?,
    };
    // Device texts that mean nothing are found before xend is bothered.
    noxen_xm_config::to_sxp(&config).map_err(|error| Failure::message(error.to_string()))?;
    Ok(config)
}

/// A reader that has gone is no reason to stop in the middle of the file.
fn printed(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

fn from_sxp_file(file: &str) -> Result<DomainConfig, Failure> {
    let limits = Limits::default();
    let text = read_bounded(Path::new(file), &limits).map_err(|error| {
        Failure::message(format!("Cannot read file {file}: {}", reason(&error)))
    })?;
    let node = noxen_xm_config::sxp::parse(&text, &limits)
        .map_err(|error| Failure::message(error.in_file(file, &text).render()))?;
    noxen_xm_config::from_sxp(&node).map_err(|error| Failure::message(format!("{file}: {error}")))
}

fn from_program(context: &mut Context, parsed: &Parsed) -> Result<DomainConfig, Failure> {
    let only_json = parsed.has("dryrun") && context.front == Front::Xl;
    let quiet = parsed.has("quiet") || parsed.has("json") || parsed.has("xmldryrun") || only_json;
    let (_, loaded) = load(context, parsed, &parsed.words, quiet)?;
    noxen_xm_config::domain_config(&loaded.settings).map_err(failed)
}

/// Tells what the file that is named, if one is, wants to be given: on standard error, as xm did.
pub(crate) fn declared(context: &mut Context, parsed: &Parsed) -> Result<(), Failure> {
    let (variables, names): (Vec<String>, Vec<String>) = parsed
        .words
        .iter()
        .cloned()
        .partition(|word| word.contains('='));
    let named = parsed
        .value("defconfig")
        .or(names.first().map(String::as_str));
    let Some(name) = named else {
        return Ok(());
    };
    let search = parsed.value("path").unwrap_or(DEFAULT_PATH);
    let path = noxen_xm_config::find_config(name, search)
        .ok_or_else(|| Failure::message(format!("Unable to open config file: {name}")))?;
    let rows = noxen_xm_config::declared_variables(&path, &variables, &Limits::default())
        .map_err(failed)?;
    if !rows.is_empty() {
        context.out.flush()?;
        context.note(format!("Configuration variables for {}:", path.display()));
        context.note(rows.trim_end());
    }
    Ok(())
}

/// An error of the configuration with its place.
pub(crate) fn failed(error: ConfigError) -> Failure {
    Failure::message(error.render())
}

/// Finds and runs the program that `words` and the options name; `quiet` leaves out its path. Warnings have been told.
pub(crate) fn load(
    context: &mut Context,
    parsed: &Parsed,
    words: &[String],
    quiet: bool,
) -> Result<(PathBuf, Loaded), Failure> {
    // The first word without "=" names the file unless -f does; later ones are ignored, as xm did.
    let (variables, names): (Vec<String>, Vec<String>) =
        words.iter().cloned().partition(|word| word.contains('='));
    let variables: Vec<String> = variables
        .iter()
        .map(|word| context.front.variable(word))
        .collect();
    let name = parsed
        .value("defconfig")
        .or(names.first().map(String::as_str))
        .unwrap_or(DEFAULT_NAME);
    let search = parsed.value("path").unwrap_or(DEFAULT_PATH);
    let path = noxen_xm_config::find_config(name, search)
        .ok_or_else(|| Failure::usage(format!("Unable to open config file: {name}")))?;
    if !quiet {
        context.line(format!("Using config file \"{}\".", path.display()))?;
    }
    let options = Options {
        lenient: parsed.has("lenient"),
        output: Some(printed),
        ..Options::default()
    };
    // What the file prints comes after what we have said.
    context.out.flush()?;
    let loaded = match noxen_xm_config::load_file(&path, &variables, &options) {
        Ok(loaded) => loaded,
        Err(error) => {
            // sys.exit: the file ends the whole command, as it did with xm.
            let ErrorKind::Exit(status) = error.kind else {
                return Err(failed(error));
            };
            if !error.message.is_empty() {
                context.note(&error.message);
            }
            return Err(Failure::Status(status));
        }
    };
    for warning in &loaded.warnings {
        let place = warning.at.map(|at| format!(":{at}")).unwrap_or_default();
        context.note(format!(
            "Warning: {}{place}: {}",
            path.display(),
            warning.message
        ));
    }
    Ok((path, loaded))
}
