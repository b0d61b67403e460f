//! Help pages, in the layout that xm had.

use super::command::{Command, Group, Standing};
use super::registry;
use super::wrap::row;

const FOOTER: &str = "<Domain> can either be the Domain Name or Id.\n\
    For more help on 'xm' see the xm(1) man page.\n\
    For more help on 'xm create' see the xmdomain.cfg(5)  man page.\n";

const HEAD: &str =
    "Usage: xm <subcommand> [args]\n\nControl, list, and manipulate Xen guest instances.\n\n";

fn command_row(command: &Command) -> String {
    row(1, command.name, 20, &summary(command), 50)
}

/// The command's sentence; honest about what only its name is there of.
fn summary(command: &Command) -> String {
    let mark = match command.standing {
        Standing::Works | Standing::Partly(_) => return command.summary.to_owned(),
        Standing::NotYet(_) => "not built yet",
        Standing::NotOnKvm(_) => "not on KVM",
    };
    format!("{} ({mark})", command.summary.trim_end_matches('.'))
}

/// What bare `xm` prints.
pub fn short() -> String {
    let mut page = format!("{HEAD}Common 'xm' commands:\n\n");
    for command in registry::common() {
        page.push_str(&command_row(command));
    }
    page.push('\n');
    page.push_str(FOOTER);
    page.push_str("\nFor a complete list of subcommands run 'xm help'.\n");
    page
}

/// What `xm help` prints; `grouped` puts the commands under headings.
pub fn long(grouped: bool) -> String {
    let mut page = format!("{HEAD}xm full list of subcommands:\n\n");
    let listed = || registry::all().filter(|command| command.group != Group::Hidden);
    if grouped {
        for (group, heading) in Group::HEADINGS {
            page.push_str(&format!("  {heading}\n"));
            for command in listed().filter(|command| command.group == *group) {
                page.push_str(&command_row(command));
            }
            page.push('\n');
        }
    } else {
        for command in listed() {
            page.push_str(&command_row(command));
        }
        page.push('\n');
    }
    page.push_str(FOOTER);
    page.push_str("\nFor the page of one subcommand run 'xm help <subcommand>'.\n");
    page
}

/// What `xm CMD --help` prints: usage, and below xm's own page what else there is to say.
pub fn help(command: &Command) -> String {
    let mut page = self::command(command);
    if !command.details.is_empty() {
        page.push_str(&super::wrap::paragraph(command.details, 78));
        page.push('\n');
    }
    if let Some(more) = command.more_help {
        page.push_str(&more());
    }
    page
}

/// `Usage: xm CMD ARGS`, what it does, its options; follows errors.
pub fn command(command: &Command) -> String {
    let mut page = format!("{}\n\n{}\n\n", usage_line(command), summary(command));
    if !command.options.is_empty() {
        for option in command.options {
            page.push_str(&row(2, &option.shown(), 30, option.help, 43));
        }
        page.push('\n');
    }
    page
}

/// The first line of a command's page.
pub fn usage_line(command: &Command) -> String {
    format!("Usage: xm {} {}", command.name, command.args)
        .trim_end()
        .to_owned()
}
