//! The listing of configuration variables: `create --help_config`, and the second half of `create --help`.

use crate::cli::wrap::row;
use noxen_xm_config::keys::{self, Guests, KeyDef, Status};

/// All variables by group.
pub(crate) fn variables() -> String {
    let mut page = String::from(
        "Configuration variables (name=value on the command line, or assigned in the file):\n",
    );
    for (heading, keys) in keys::GROUPS {
        page.push_str(&format!("\n{heading}:\n"));
        for key in *keys {
            let left = format!("{}={}", key.name, key.arg);
            page.push_str(&row(2, &left, 30, &text(key), 43));
        }
    }
    page.push('\n');
    page
}

/// What a row says: purpose, default, kind of domain, whether it takes effect today.
pub fn text(key: &KeyDef) -> String {
    let mut text = key.help.to_owned();
    if !key.default.is_empty() {
        text.push_str(&format!(" Default: {}.", key.default));
    }
    match key.guests {
        Guests::All => {}
        Guests::Pv => text.push_str(" (PV)"),
        Guests::Hvm => text.push_str(" (HVM)"),
    }
    match key.status {
        Status::Used => {}
        Status::Later => text.push_str(" [accepted, no effect yet]"),
        Status::Refused => text.push_str(" [not built yet: refused]"),
        Status::Ignored(reason) | Status::NotOnKvm(reason) => {
            text.push_str(&format!(" [accepted, no effect: {reason}]"))
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_listed_with_its_state() {
        let page = variables();
        for key in keys::all() {
            assert!(page.contains(&format!("\n  {}=", key.name)), "{}", key.name);
        }
        assert!(
            page.contains("  memory=MIB                     Memory in MiB. Default: 128."),
            "{page}"
        );
        assert!(page
            .lines()
            .all(|line| line.trim_end().chars().count() <= 90));
    }
}
