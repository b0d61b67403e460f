//! `config check FILE`, `config show FILE`: what a configuration says, without building anything. Not a command of xm's.

use super::create::source::{failed, load};
use crate::cli::command::{Command, Group, Opt, JSON};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;
use noxen_xm_config::keys::{self, Status};
use noxen_xm_config::settings::{Setting, Settings};

/// The definition.
pub const COMMAND: Command = Command {
    name: "config",
    args: "check|show <ConfigFile> [options] [vars]",
    summary: "Check a configuration, or show what it sets.",
    details: "check reports the first error with its place, and names each variable that is set and has no effect; show prints \
        the variables with their values after the program has run.",
    options: &[
        Opt::long_value("path", "PATH", "Search path, as for create."),
        Opt::long_flag("lenient", "Unknown variables are warnings."),
        JSON,
    ],
    group: Group::Hidden,
    usage_after_fault: false,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    match parsed.words.split_first() {
        Some((verb, words)) if verb == "check" && !words.is_empty() => {
            check(context, parsed, words)
        }
        Some((verb, words)) if verb == "show" && !words.is_empty() => show(context, parsed, words),
        _ => Err(Failure::usage("say check or show, then the file")),
    }
}

fn check(context: &mut Context, parsed: &Parsed, words: &[String]) -> Result<i32, Failure> {
    let (path, loaded) = load(context, parsed, words, true)?;
    let config = noxen_xm_config::domain_config(&loaded.settings).map_err(failed)?;
    noxen_xm_config::to_sxp(&config).map_err(failed)?;
    let mut notes = Vec::new();
    if !context.by_xen_api() {
        let config = Box::new(config);
        match context.ask_if_running(&Request::Check { config })? {
            Some(_) => {}
            None => notes.push(
                "kernel, disks and what this host can give were not looked at, since xend does not run".to_owned(),
            ),
        }
    }
    for (name, _) in loaded.settings.iter() {
        let Some(key) = keys::find(name) else {
            continue;
        };
        match key.status {
            Status::Used => {}
            Status::Later => notes.push(format!("{name}: no effect yet")),
            Status::Refused => notes.push(format!(
                "{name}: not built yet; create refuses it unless it is empty"
            )),
            Status::Ignored(reason) | Status::NotOnKvm(reason) => {
                notes.push(format!("{name}: no effect: {reason}"))
            }
        }
    }
    if parsed.has("json") {
        let path = path.display().to_string();
        context.json(&serde_json::json!({ "file": path, "ok": true, "notes": notes }))?;
        return Ok(0);
    }
    for note in notes {
        context.line(format!("{}: {note}", path.display()))?;
    }
    context.line(format!("{}: no errors", path.display()))?;
    Ok(0)
}

fn show(context: &mut Context, parsed: &Parsed, words: &[String]) -> Result<i32, Failure> {
    let (_, loaded) = load(context, parsed, words, true)?;
    if parsed.has("json") {
        context.json(&as_json(&loaded.settings))?;
        return Ok(0);
    }
    for (name, value) in loaded.settings.iter() {
        context.line(format!("{name} = {}", python(value)))?;
    }
    Ok(0)
}

/// As a file would hold it.
fn python(value: &Setting) -> String {
    use noxen_xm_config::value::quote;
    match value {
        Setting::Text(text) => quote(text),
        Setting::Int(value) => value.to_string(),
        Setting::Float(value) => format!("{value:?}"),
        Setting::List(all) => {
            let members: Vec<String> = all.iter().map(|text| quote(text)).collect();
            format!("[{}]", members.join(", "))
        }
    }
}

fn as_json(settings: &Settings) -> serde_json::Value {
    let value = |setting: &Setting| match setting {
        Setting::Text(text) => serde_json::json!(text),
        Setting::Int(value) => serde_json::json!(value),
        Setting::Float(value) => serde_json::json!(value),
        Setting::List(all) => serde_json::json!(all),
    };
    settings
        .iter()
        .map(|(name, setting)| (name.to_owned(), value(setting)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
