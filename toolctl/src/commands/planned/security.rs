//! Commands on labels and policies of access control: their words.

use super::{planned, word};
use crate::cli::command::{Arity, Command, Group::Security, Opt};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use Arity::{Any, Exact};

const NO_POLICY: &str = "there is no access control between domains; keep domains that must not meet on hosts of their own";

#[rustfmt::skip]
pub(super) const PLANNED: &[Command] = &[
    Command {
        run: Some(labels),
        ..planned(Security, "labels", "[policy] [type=dom|res|any]", "List the labels of a policy.", Any, NO_POLICY)
    },
    Command {
        run: Some(add_label),
        ..planned(Security, "addlabel", "<label> {dom <ConfigFile>|res <resource>|mgt <managed domain>} [<policy>]", "Label a domain, resource or managed domain.", Any, NO_POLICY)
    },
    Command {
        run: Some(of_label),
        ..planned(Security, "rmlabel", "{dom <ConfigFile>|res <Resource>|mgt <managed domain>}", "Remove a label.", Any, NO_POLICY)
    },
    Command {
        run: Some(of_label),
        ..planned(Security, "getlabel", "{dom <ConfigFile>|res <Resource>|mgt <managed domain>}", "Show a label.", Any, NO_POLICY)
    },
    planned(Security, "dry-run", "<ConfigFile>", "Test whether a domain may use its resources.", Exact(1), NO_POLICY),
    planned(Security, "resources", "", "List the labelled resources.", Exact(0), NO_POLICY),
    planned(Security, "dumppolicy", "", "Print the policy in force.", Exact(0), NO_POLICY),
    Command {
        run: Some(set_policy),
        ..planned(Security, "setpolicy", "<policytype> <policyname> [options]", "Set the policy.", Any, NO_POLICY)
    },
    planned(Security, "resetpolicy", "", "Set the policy back to the default one.", Exact(0), NO_POLICY),
    Command {
        options: &[Opt::long_flag("dumpxml", "Print the policy as XML.")],
        ..planned(Security, "getpolicy", "[options]", "Show which policy is set.", Exact(0), NO_POLICY)
    },
];

fn labels(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let (mut kinds, mut policies) = (0, 0);
    for word in &parsed.words {
        match word.split_once('=') {
            Some(("type", "dom" | "res" | "any")) => kinds += 1,
            Some(("type", kind)) => {
                return Err(Failure::usage(format!("Unknown label type '{kind}'")))
            }
            Some(_) => return Err(Failure::usage(format!("Unrecognised option: {word}"))),
            None => policies += 1,
        }
    }
    match (kinds, policies) {
        // xm's own spelling.
        (2.., _) => Err(Failure::usage("type is definied twice")),
        (_, 2..) => Err(Failure::usage("policy is defined twice")),
        _ => Ok(0),
    }
}

/// Is it one of the kinds of things that have labels?
fn is_kind(word: &str) -> bool {
    let interface = word.strip_prefix("vif-").map(str::parse::<u32>);
    matches!(word, "dom" | "res" | "mgt") || matches!(interface, Some(Ok(_)))
}

fn add_label(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if !matches!(parsed.words.len(), 3 | 4) {
        return Err(Failure::usage("Need at least 3 arguments."));
    }
    match is_kind(word(parsed, 1)) {
        true => Ok(0),
        false => Err(Failure::usage(
            "Need to specify either \"dom\", \"mgt\" or \"res\" as object to add label to.",
        )),
    }
}

fn of_label(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.words.len() != 2 {
        return Err(Failure::usage("Requires 2 arguments"));
    }
    match word(parsed, 0) {
        kind if is_kind(kind) => Ok(0),
        kind => Err(Failure::usage(format!(
            "Unrecognised type argument: {kind}"
        ))),
    }
}

fn set_policy(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if !matches!(parsed.words.len(), 2 | 3) {
        return Err(Failure::usage("Needs either 2 or 3 arguments"));
    }
    match word(parsed, 0) {
        "ACM" => Ok(0),
        other => Err(Failure::usage(format!("Unsupported policytype '{other}'."))),
    }
}
