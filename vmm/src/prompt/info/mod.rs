//! `info`: what can be asked about a domain, one entry each.

mod devices;
mod machine;

use super::commands::{Call, Command, Outcome};
use super::subject::Subject;
use std::fmt::Write;

pub(super) const COMMANDS: &[Command] = &[Command {
    names: &["info"],
    args: "[SUBJECT]",
    words: (0, 1),
    help: "what is known of a subject; alone: the subjects",
    run: info,
}];

/// A subject.
struct Topic {
    name: &'static str,
    help: &'static str,
    /// Lines.
    tell: fn(&Call, &mut dyn Subject) -> String,
}

fn topics() -> impl Iterator<Item = &'static Topic> {
    machine::TOPICS.iter().chain(devices::TOPICS)
}

fn info(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let Some(name) = call.words.first() else {
        let mut text = String::new();
        for topic in topics() {
            let _ = writeln!(text, "info {} -- {}", topic.name, topic.help);
        }
        return Ok(Outcome::Said(text));
    };
    match topics().find(|topic| topic.name == *name) {
        Some(topic) => Ok(Outcome::Said((topic.tell)(call, subject))),
        None => {
            let shown: String = name.escape_debug().take(40).collect();
            Err(format!(
                "nothing is known of '{shown}'; 'info' lists the subjects"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_subject_has_a_name_of_its_own() {
        let names: BTreeSet<_> = topics().map(|topic| topic.name).collect();
        assert_eq!(names.len(), topics().count());
    }
}
