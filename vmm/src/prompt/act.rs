//! Commands about the machine as a whole.

use super::commands::{Call, Command, Outcome, DONE};
use super::subject::Subject;
use noxen_control::wish::Wish;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        names: &["stop"],
        args: "",
        words: (0, 0),
        help: "stop the guest (xm pause)",
        run: |_, subject| {
            subject.stop();
            Ok(DONE)
        },
    },
    Command {
        names: &["cont", "c"],
        args: "",
        words: (0, 0),
        help: "let the guest go on (xm unpause)",
        run: |_, subject| subject.go_on().map(|()| DONE),
    },
    Command {
        names: &["system_reset"],
        args: "",
        words: (0, 0),
        help: "press the reset button; on_reboot decides what follows",
        run: |_, subject| subject.reset().map(|()| DONE),
    },
    Command {
        names: &["system_powerdown"],
        args: "",
        words: (0, 0),
        help: "press the power button, which the guest may heed",
        run: |_, subject| subject.press_power().map(|()| DONE),
    },
    Command {
        names: &["nmi"],
        args: "[VCPU]",
        words: (0, 1),
        help: "give a vCPU (0) a non-maskable interrupt",
        run: nmi,
    },
    Command {
        names: &["quit", "q"],
        args: "",
        words: (0, 0),
        help: "destroy the domain at once",
        run: |_, _| Ok(Outcome::Wants(Wish::Quit)),
    },
];

fn nmi(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let vcpu = match call.words.first() {
        Some(word) => word
            .parse()
            .map_err(|_| format!("'{word}' is no number of a vCPU"))?,
        None => 0,
    };
    subject.nmi(vcpu).map(|()| DONE)
}
