//! `trigger DOM TRIGGER [VCPU]`.

use crate::cli::command::{Arity, Command, Standing};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request};

/// The definition.
pub const COMMAND: Command = Command {
    name: "trigger",
    args: "<Domain> <nmi|reset|init|s3resume|power|sleep> [<VCPU>]",
    summary: "Send a trigger to a domain.",
    details: "nmi: that VCPU, 0 unless given, gets a non-maskable interrupt. Of an HVM domain also init: that VCPU begins again as after INIT; \
              power, sleep, reset: that button of the PC is pressed; s3resume: it wakes from its sleep (ACPI S3), as by power.",
    arity: Arity::Between(2, 3),
    standing: Standing::Partly("paravirtual domains know nmi only"),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let mut words = parsed.words.iter();
    let (Some(domain), Some(trigger)) = (words.next(), words.next()) else {
        return Err(Failure::usage("Invalid argument."));
    };
    let vcpu = match words.next() {
        None => 0,
        Some(vcpu) => vcpu
            .parse()
            .map_err(|_| Failure::usage("Invalid argument."))?,
    };
    context.ask_ok(&Request::Change {
        domain: domain.clone(),
        change: Change::Trigger {
            trigger: trigger.clone(),
            vcpu,
        },
    })?;
    Ok(0)
}
