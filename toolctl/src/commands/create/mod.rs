//! `create`: build a domain from a configuration and start it.
//!
//! ```text
//!   words --source--> DomainConfig --(-n)--> print (vm ...)
//!                          |
//!                          v xend
//!     Create (built, paused) -> WaitForDevices -> [-c: lock and open the console] -> [no -p: Unpause] -> "Started domain"
//!                                    | any of these fails: Destroy, nothing is left     [--vncviewer: start it] [-c: attach]
//! ```
//! The console is opened while the domain is still paused, so that its first line is seen.

pub(crate) mod help;
pub(crate) mod source;
mod xml;

use super::{console, vncviewer};
use crate::cli::command::{Command, Opt};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::front::{self, Front};
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DomainConfig, DomainInfo, Request, Response};

/// What `create` and `new` take.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Opt] = &[
        Opt::long_flag("help_config", "Print the available configuration variables (vars) for the configuration script."),
        Opt::flag('q', "quiet", "Quiet."),
        Opt::long_value("path", "PATH", "Search path for configuration scripts. The value of PATH is a colon-separated directory list."),
        Opt::value('f', "defconfig", "FILE", "Use the given Python configuration script. Arguments of the form name=value override its variables."),
        Opt::value('F', "config", "FILE", "Domain configuration to use (SXP). It is not evaluated, and variables are ignored."),
        Opt::flag('n', "dryrun", "Dry run - prints the resulting configuration in SXP but does not create the domain."),
        Opt::flag('x', "xmldryrun", "The same in XML, as xm made it for the Xen-API."),
        Opt::flag('s', "skipdtd", "Skip DTD checking of XML configurations."),
        Opt::flag('p', "paused", "Leave the domain paused after it is created."),
        Opt::flag('c', "console_autoconnect", "Connect to the console after the domain is created."),
        Opt::long_flag("vncviewer", "Connect to the VNC display after the domain is created."),
        Opt::long_flag("vncviewer-autopass", "Pass the VNC password to the viewer."),
        Opt::long_flag("lenient", "Go on with a warning when the configuration sets unknown variables."),
        Opt::long_flag("json", "With --dryrun: print the configuration as JSON."),
];

/// The definition.
pub const COMMAND: Command = Command {
    name: "create",
    args: "<ConfigFile> [options] [vars]",
    summary: "Create a domain based on <ConfigFile>.",
    details: "The configuration is a program in the Python language of the day, which assigns variables; xmdomain.cfg(5) lists \
        them. It is searched by its name, then in each directory of --path. Words of the form name=value set variables and win \
        over the file; names that are no known variable are given to the program as text.",
    options: OPTIONS,
    more_help: Some(help::variables),
    usage_after_fault: false,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.has("help_config") {
        context.out.write_all(help::variables().as_bytes())?;
        source::declared(context, parsed)?;
        return Ok(0);
    }
    let config = source::configuration(context, parsed)?;
    if is_dry(parsed) {
        return dry_run(context, parsed, &config);
    }
    // What is said about the file comes before whatever xend has to say.
    context.out.flush()?;
    create(context, parsed, config)
}

/// Is the configuration only to be shown?
pub(super) fn is_dry(parsed: &Parsed) -> bool {
    parsed.has("dryrun") || parsed.has("xmldryrun")
}

pub(super) fn dry_run(
    context: &mut Context,
    parsed: &Parsed,
    config: &DomainConfig,
) -> Result<i32, Failure> {
    if parsed.has("xmldryrun") {
        let document = xml::document(config).map_err(|e| Failure::message(e.to_string()))?;
        context.out.write_all(document.as_bytes())?;
        return Ok(0);
    }
    if parsed.has("json") {
        context.json(&serde_json::json!(config))?;
        return Ok(0);
    }
    if context.front == Front::Xl {
        context.json(&front::configuration(config))?;
        return Ok(0);
    }
    let node =
        noxen_xm_config::to_sxp(config).map_err(|error| Failure::message(error.to_string()))?;
    context.line(node.pretty())?;
    Ok(0)
}

fn create(context: &mut Context, parsed: &Parsed, config: DomainConfig) -> Result<i32, Failure> {
    let quiet = parsed.has("quiet");
    let text = format!("Building domain {}", config.name);
    let wants_viewer = config.is_hvm() && config.hvm.vncconsole;
    let request = Request::Create {
        config: Box::new(config),
    };
    let built = context.saying((!quiet).then_some(text), |context| context.ask(&request));
    let domain = match built? {
        Response::Domain { domain } => *domain,
        other => return Err(unexpected(other)),
    };
    match start(context, parsed, &domain) {
        Ok(console) => {
            if !quiet {
                context.line(format!("Started domain {}{}", domain.name, id(&domain)))?;
            }
            view(context, parsed, wants_viewer, &domain);
            match console {
                Some(console) => console::attach(context, console),
                None => Ok(0),
            }
        }
        Err(failure) => {
            // The first failure is the one to report; one of the clean-up would only hide it.
            let _ = context.ask_ok(&Request::Destroy {
                domain: address(&domain),
            });
            Err(failure)
        }
    }
}

/// Opens a viewer on the screen of a domain that runs, if that is asked for by an option, or `wanted` otherwise. Without one it runs as well, so what is wrong
/// is said and nothing more.
pub(super) fn view(context: &mut Context, parsed: &Parsed, wanted: bool, domain: &DomainInfo) {
    let autopass = parsed.has("vncviewer-autopass");
    if !autopass && !wanted && !parsed.has("vncviewer") {
        return;
    }
    let started =
        vncviewer::find(context, &address(domain), autopass).and_then(|mut viewer| viewer.start());
    if let Err(failure) = started {
        let text = failure.text(rustix::process::geteuid().is_root());
        context.note(format!("Warning: {}", text.unwrap_or_default()));
    }
}

/// Everything between "built" and "running".
pub(super) fn start(
    context: &mut Context,
    parsed: &Parsed,
    domain: &DomainInfo,
) -> Result<Option<crate::console::Console>, Failure> {
    let request = Request::WaitForDevices {
        domain: address(domain),
    };
    let text = format!("Waiting for devices of {}", domain.name);
    let text = (!parsed.has("quiet")).then_some(text);
    context.saying(text, |context| context.ask_ok(&request))?;
    let console = match parsed.has("console_autoconnect") {
        true => Some(console::find(context, &address(domain), &domain.name)?),
        false => None,
    };
    if !parsed.has("paused") {
        context
            .ask_ok(&Request::Unpause {
                domain: address(domain),
            })
            .map_err(|failure| match failure {
                Failure::Client(noxen_xend_api::ClientError::Fault(fault)) => {
                    Failure::message(format!(
                        "Failed to unpause domain {}: {}",
                        domain.name, fault.message
                    ))
                }
                other => other,
            })?;
    }
    Ok(console)
}

/// How later requests name the domain: by UUID, which nothing else can be mistaken for.
pub(super) fn address(domain: &DomainInfo) -> String {
    domain.uuid.clone()
}

fn id(domain: &DomainInfo) -> String {
    domain
        .domid
        .map(|id| format!(" (id={id})"))
        .unwrap_or_default()
}
