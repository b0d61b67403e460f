//! The tables of `docs/compatibility.md` on commands and on variables of configurations: one row for each definition.
//!
//! ```text
//!   registry (Standing), keys (Status) --> tables() --> between the MARKs of docs/compatibility.md, held by a test
//! ```

use crate::cli::command::{Command, Group, Standing};
use crate::cli::registry;
use noxen_xm_config::keys::{self, KeyDef, Status};

/// The lines around the tables in the document.
pub const BEGIN: &str = "<!-- what follows is printed by `toolctl gen compatibility` -->\n";
/// See [`BEGIN`].
pub const END: &str = "<!-- end of what `toolctl gen compatibility` prints -->\n";

/// The tables with the lines around them.
pub(super) fn tables() -> String {
    format!("{BEGIN}{}{}{END}", commands(), variables())
}

fn commands() -> String {
    let mut page = String::from("\n### Commands\n");
    for (group, heading) in Group::HEADINGS {
        let heading = heading.trim_end_matches(':');
        page.push_str(&format!(
            "\n| {heading} | Today | Why, or what else |\n|---|---|---|\n"
        ));
        for command in registry::all().filter(|command| command.group == *group) {
            page.push_str(&command_row(command));
        }
    }
    page.push_str("\n| Old name | Now |\n|---|---|\n");
    for (old, new) in registry::deprecated() {
        page.push_str(&format!(
            "| `{old}` | works as `{new}`, with a line that says so |\n"
        ));
    }
    page
}

fn command_row(command: &Command) -> String {
    let (today, why) = match command.standing {
        Standing::Works => ("works", ""),
        Standing::Partly(but) => ("works, but", but),
        Standing::NotYet(why) => ("not yet", why),
        Standing::NotOnKvm(why) => ("not on KVM", why),
    };
    format!("| `{}` | {today} | {} |\n", command.name, cell(why))
}

fn variables() -> String {
    let mut page = String::from("\n### Variables of a configuration\n");
    for (heading, keys) in keys::GROUPS {
        page.push_str(&format!(
            "\n| {heading} | Today | Why, or what happens |\n|---|---|---|\n"
        ));
        for key in *keys {
            page.push_str(&variable_row(key));
        }
    }
    page
}

fn variable_row(key: &KeyDef) -> String {
    let (today, why) = match key.status {
        Status::Used => ("works", ""),
        Status::Later => ("not yet", "checked, then left aside"),
        Status::Refused => ("not yet", "`create` refuses it when it is set"),
        Status::Ignored(why) => ("no effect, as with xm", why),
        Status::NotOnKvm(why) => ("not on KVM", why),
    };
    format!("| `{}` | {today} | {} |\n", key.name, cell(why))
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/compatibility.md");

    #[test]
    fn document_has_the_tables_as_the_definitions_have_them() {
        let tables = tables();
        let stale = tables.lines().find(|line| !DOCUMENT.contains(line));
        assert!(
            DOCUMENT.contains(&tables),
            "docs/compatibility.md is not what `toolctl gen compatibility` prints; first line that is not in it: {stale:?}"
        );
    }

    #[test]
    fn no_row_is_silent() {
        let tables = tables();
        for command in registry::all().filter(|command| command.group != Group::Hidden) {
            let row = command_row(command);
            assert!(tables.contains(&row), "{}", command.name);
            let text = match command.standing {
                Standing::Works => continue,
                Standing::Partly(text) | Standing::NotYet(text) | Standing::NotOnKvm(text) => text,
            };
            assert!(
                text.len() > 10 && !text.ends_with('.'),
                "{}: {text:?}",
                command.name
            );
        }
        let variables = variables();
        for key in keys::all() {
            let row = format!("| `{}` |", key.name);
            assert_eq!(variables.matches(&row).count(), 1, "{}", key.name);
        }
    }
}
