//! Manual pages.

use crate::cli::command::{Command, Group, Standing};
use crate::cli::registry;
use noxen_xm_config::keys;

/// Text safe in a manual page: backslashes, hyphens that are to be typed, and dots that begin a line.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

fn command(page: &mut String, command: &Command) {
    page.push_str(&format!(
        ".TP\n\\fB{}\\fR {}\n{}\n",
        escape(command.name),
        escape(command.args),
        escape(command.summary)
    ));
    match command.standing {
        Standing::Works => {}
        Standing::Partly(text) => page.push_str(&format!("But: {}.\n", escape(text))),
        Standing::NotYet(why) => page.push_str(&format!("Not built yet: {}.\n", escape(why))),
        Standing::NotOnKvm(why) => {
            page.push_str(&format!("Nothing that KVM has: {}.\n", escape(why)))
        }
    }
    if !command.details.is_empty() {
        page.push_str(&format!("{}\n", escape(command.details)));
    }
    if !command.options.is_empty() {
        page.push_str(".RS\n");
        for option in command.options {
            page.push_str(&format!(
                ".TP\n\\fB{}\\fR\n{}\n",
                escape(&option.shown()),
                escape(option.help)
            ));
        }
        page.push_str(".RE\n");
    }
}

/// xm(1).
pub(super) fn xm() -> String {
    let mut page = String::from(
        ".TH XM 1 \"\" Noxen \"Noxen\"\n.SH NAME\nxm, toolctl \\- control, list and manipulate guest domains\n\
         .SH SYNOPSIS\n.B xm\n.I subcommand\n.RI [ args ]\n\
         .SH DESCRIPTION\nA subcommand may be shortened to any prefix of two letters or more that no other one has. Options may \
         stand before or after other words. \\fIDomain\\fR is a name, a domain id or a UUID, tried in that order.\n\
         xend is started when it does not run.\n",
    );
    for (group, heading) in Group::HEADINGS {
        page.push_str(&format!(
            ".SH {}\n",
            heading.trim_end_matches(':').to_uppercase()
        ));
        for each in registry::all().filter(|each| each.group == *group) {
            command(&mut page, each);
        }
    }
    page.push_str(
        ".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nAn error, or a help page that was asked for with \\-\\-help after a subcommand.\n\
         .TP\n.B 3\nThere is no such domain.\n\
         .SH ENVIRONMENT\n.TP\n.B NOXEN_ROOT\nPut in front of every path.\n.TP\n.B NOXEN_XEND\nThe xend program to start.\n\
         .SH FILES\n.TP\n.I /etc/xen\nConfigurations.\n.TP\n.I /var/run/xend/noxen.sock\nSocket of xend.\n.TP\n.I /var/log/xen/xend.log\nLog of xend.\n\
         .SH SEE ALSO\n.BR xmdomain.cfg (5),\n.BR xend\\-config.sxp (5)\n",
    );
    page
}

/// xmdomain.cfg(5).
pub(super) fn xmdomain() -> String {
    let mut page = String::from(
        ".TH XMDOMAIN.CFG 5 \"\" Noxen \"Noxen\"\n.SH NAME\nxmdomain.cfg \\- configuration of a domain\n\
         .SH DESCRIPTION\nA program in Python 2 that assigns variables. It is evaluated by toolctl itself, in bounded time and memory and \
         without reach to files, processes or the network. Values of type str, int, float and list count; a bool, long, \
         unicode, tuple or dict has no effect and is warned of. A variable that is no known key and that nothing in the file reads is \
         an error, as it is most likely misspelt; names that begin with an underscore are never checked, and \\fBxm create \
         \\-\\-lenient\\fR warns instead.\n",
    );
    for (heading, keys) in keys::GROUPS {
        page.push_str(&format!(".SH {}\n", escape(&heading.to_uppercase())));
        for key in *keys {
            page.push_str(&format!(
                ".TP\n\\fB{}\\fR = {}\n{}\n",
                escape(key.name),
                escape(key.arg),
                escape(&crate::commands::create::help::text(key))
            ));
        }
    }
    page.push_str(".SH SEE ALSO\n.BR xm (1)\n");
    page
}
