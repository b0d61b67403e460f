//! `domstate DOM`: its state in one word.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::DomainInfo;

/// The definition.
pub const COMMAND: Command = Command {
    name: "domstate",
    args: "<Domain>",
    summary: "Print the state of a domain in one word.",
    details: "The first that holds of: shutoff, idle, shutdown, running, crashed, paused.",
    arity: Arity::Exact(1),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = context.domain(&parsed.words.concat())?;
    context.line(word(&domain))?;
    Ok(0)
}

/// xm's order of looking; its test for `running` could never hold, ours does.
fn word(domain: &DomainInfo) -> &'static str {
    let state = domain.state;
    match domain.domid {
        None => "shutoff",
        Some(_) if state.shutdown => "shutoff",
        Some(_) if state.blocked => "idle",
        Some(_) if state.dying => "shutdown",
        Some(_) if state.running => "running",
        Some(_) if state.crashed => "crashed",
        Some(_) if state.paused => "paused",
        // Between two states a domain runs.
        Some(_) => "running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fake;

    #[test]
    fn first_state_that_holds_is_named() {
        let mut domain = fake::domain("a", 1);
        assert_eq!(word(&domain), "idle");
        domain.state.shutdown = true;
        assert_eq!(word(&domain), "shutoff");
        domain.state = noxen_xend_api::DomainState::default();
        assert_eq!(word(&domain), "running");
        domain.state.paused = true;
        assert_eq!(word(&domain), "paused");
        domain.domid = None;
        assert_eq!(word(&domain), "shutoff");
    }
}
