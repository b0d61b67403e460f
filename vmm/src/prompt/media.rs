//! Commands about files: media of drives, pictures of the screen. xend opens the files.

use super::commands::{Call, Command, Outcome, DONE};
use super::subject::{Drive, Subject};
use noxen_control::wish::{Wish, MAX_FILE};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        names: &["change"],
        args: "DRIVE FILE | vnc password PASSWORD",
        words: (2, 64),
        help: "another medium in a CD or floppy drive, or another password of VNC",
        run: change,
    },
    Command {
        names: &["eject"],
        args: "[-f] DRIVE",
        words: (1, 2),
        help: "take a drive's medium out; -f even if the guest keeps it",
        run: eject,
    },
    Command {
        names: &["screendump"],
        args: "FILE",
        words: (1, 64),
        help: "the guest's screen into a file (PPM)",
        run: screendump,
    },
];

/// The names that the device models of Xen had for drives, and ours.
const DRIVES: [(&str, &str); 10] = [
    ("ide0-hd0", "hda"),
    ("ide0-hd1", "hdb"),
    ("ide1-hd0", "hdc"),
    ("ide1-hd1", "hdd"),
    ("ide0-cd0", "hda"),
    ("ide0-cd1", "hdb"),
    ("ide1-cd0", "hdc"),
    ("ide1-cd1", "hdd"),
    ("floppy0", "fda"),
    ("floppy1", "fdb"),
];

/// The drive that `name` means, whose medium can be changed.
fn drive(name: &str, subject: &dyn Subject) -> Result<Drive, String> {
    let known = DRIVES.iter().find(|(other, _)| *other == name);
    let plain = known.map_or(name, |(_, plain)| plain);
    let drives = subject.drives();
    let removable = drives.iter().filter(|drive| drive.removable);
    match drives.iter().find(|drive| drive.name == plain) {
        Some(drive) if drive.removable => Ok(drive.clone()),
        Some(_) => Err(format!("device '{name}' is not removable")),
        None => {
            let names: Vec<&str> = removable.map(|drive| drive.name).collect();
            let shown: String = name.escape_debug().take(40).collect();
            Err(format!(
                "device '{shown}' not found; drives with media: {}",
                names.join(", ")
            ))
        }
    }
}

/// The name of a file at the end of a line, which may have blanks in it.
pub(super) fn file(text: &str) -> Result<String, String> {
    let text = text.trim();
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let name = quoted.unwrap_or(text);
    if name.is_empty() || name.len() > MAX_FILE {
        return Err(format!("the name of a file has 1 to {MAX_FILE} bytes"));
    }
    Ok(name.into())
}

/// What is behind the first word.
fn behind<'a>(rest: &'a str, word: &str) -> &'a str {
    rest.strip_prefix(word).unwrap_or(rest)
}

fn change(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    if let ["vnc", what, words @ ..] = call.words {
        return match (*what, words) {
            ("password", [password]) => {
                subject.set_password(Some((*password).into()))?;
                Ok(DONE)
            }
            _ => Err("usage: change vnc password PASSWORD".into()),
        };
    }
    let drive = drive(call.words[0], subject)?;
    let file = file(behind(call.rest, call.words[0]))?;
    let has_scheme = file
        .split_once(':')
        .is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains('/'));
    if !file.starts_with('/') && !has_scheme {
        return Err(format!(
            "'{}': a path from / on, or with a scheme before it (file:, phy:)",
            file.escape_debug()
        ));
    }
    Ok(Outcome::Wants(Wish::Change {
        drive: drive.name.into(),
        file,
    }))
}

fn eject(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let (force, name) = match call.words {
        ["-f", name] => (true, name),
        [name] => (false, name),
        _ => return Err("usage: eject [-f] DRIVE".into()),
    };
    let drive = drive(name, subject)?;
    if drive.medium.is_none() {
        return Ok(DONE);
    }
    if drive.locked && !force {
        return Err(format!(
            "device '{name}' is locked: the guest keeps its medium in; eject -f takes it out"
        ));
    }
    Ok(Outcome::Wants(Wish::Eject {
        drive: drive.name.into(),
    }))
}

fn screendump(call: &Call, _: &mut dyn Subject) -> Result<Outcome, String> {
    let file = file(call.rest)?;
    if !file.starts_with('/') {
        return Err(format!("'{}': a path from / on", file.escape_debug()));
    }
    Ok(Outcome::Wants(Wish::Screendump { file }))
}
