//! `migrate DOM HOST`: a running domain goes on on another host.

use super::save::running_guest;
use crate::cli::command::{Arity, Command, Opt, JSON};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use crate::cli::transfer;
use noxen_xend_api::migrate::{AtTimeout, Ledger, Wanted, DOWNTIME_MS};
use noxen_xend_api::{Request, Response};
use std::io::IsTerminal;
use std::str::FromStr;

/// The definition.
pub const COMMAND: Command = Command {
    name: "migrate",
    args: "<Domain> <Host> [-l|--live] [-p|--port=PORT] [-n|--node=NODE] [-s|--ssl] [-c|--change_home_server]",
    summary: "Migrate a domain to another machine.",
    details: "The other machine's xend takes domains in where its xend-config.sxp has (xend-relocation-server yes). Disks must be there under \
        the same names. With --live the domain runs while its memory is sent, and stands still only for the rest; else it stands still \
        from the beginning. Whatever goes wrong, it runs on one of the two, but for --postcopy: from the moment it runs over there until all its memory is there, a broken connection ends it. With --live, one that writes its memory faster than that is sent is held back in steps, from 20 % of the time to 99 %, until the move can end. Ctrl-C cancels, as long as the other side does not run it. Without --ssl (or xend-relocation-ssl) its memory goes over the network in the clear.",
    arity: Arity::Any,
    options: &[
        Opt::flag('l', "live", "Let the domain run while its memory is sent."),
        Opt::value('p', "port", "PORT", "Port of the other machine's xend."),
        Opt::value('n', "node", "NODE", "NUMA node of the other machine; without effect."),
        Opt::flag('s', "ssl", "By TLS: both hosts show a certificate (xend-relocation-ssl-ca-file and others in xend-config.sxp)."),
        Opt::flag('c', "change_home_server", "A managed domain is managed here no more."),
        Opt::value('r', "resource", "MBIT", "Accepted without effect, as by xm 3.2."),
        Opt::long_value("timeout", "S", "How long it may take until all is sent, seconds; what then, --at-timeout says."),
        Opt::long_value("at-timeout", "WHAT", "cancel: the domain runs on here (as without this option); force: it is stopped and the rest is sent."),
        Opt::long_value("downtime", "MS", "With --live: how long the domain may stand still for the rest of its memory."),
        Opt::long_flag("no-throttle", "With --live: do not hold the vCPUs back where the domain writes its memory faster than that is sent."),
        Opt::long_flag("by-guest", "The guest suspends itself for the last of its memory (control/shutdown), and its drivers connect anew over there."),
        Opt::long_flag("postcopy", "With --live: a domain that writes its memory faster than that is sent goes on over there before its memory is there. If the connection or either host fails before all is there, THE DOMAIN IS LOST."),
        JSON,
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn number<T: FromStr>(parsed: &Parsed, option: &str) -> Result<Option<T>, Failure> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| Failure::usage("Invalid argument."))
    };
    parsed.value(option).map(parse).transpose()
}

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain, host] = parsed.words.as_slice() else {
        return Err(Failure::usage("Invalid number of arguments"));
    };
    for ignored in ["node", "resource"] {
        number::<u32>(parsed, ignored)?;
    }
    if parsed.has("postcopy") && !parsed.has("live") {
        return Err(Failure::usage("--postcopy needs --live"));
    }
    let how = Wanted {
        host: host.clone(),
        port: number(parsed, "port")?,
        live: parsed.has("live"),
        downtime_ms: number(parsed, "downtime")?.unwrap_or(DOWNTIME_MS),
        timeout_s: number(parsed, "timeout")?,
        at_timeout: match parsed.value("at-timeout") {
            None | Some("cancel") => AtTimeout::Cancel,
            Some("force") => AtTimeout::Force,
            Some(_) => return Err(Failure::usage("--at-timeout is cancel or force")),
        },
        ssl: parsed.has("ssl"),
        change_home_server: parsed.has("change_home_server"),
        by_guest: parsed.has("by-guest"),
        no_throttle: parsed.has("no-throttle"),
        postcopy: parsed.has("postcopy"),
    };
    let text = format!("Sending domain {domain} to {host}");
    if how.timeout_s.is_none() && parsed.has("at-timeout") {
        return Err(Failure::usage("--at-timeout needs --timeout"));
    }
    let id = running_guest(context, domain, "migrate")?;
    let request = Request::Migrate {
        domain: id.clone(),
        how,
    };
    let ledger = match transfer::ask(context, &id, text, &request)? {
        Response::Moved { ledger } => ledger,
        other => return Err(unexpected(other)),
    };
    if parsed.has("json") {
        let mut value = serde_json::json!(*ledger);
        value["downtime_us"] = ledger.downtime_us().into();
        context.json(&value)?;
        return Ok(0);
    }
    // xm printed nothing; whoever looks at a terminal is told more.
    if std::io::stdout().is_terminal() {
        for line in lines(&ledger) {
            context.line(line)?;
        }
    }
    Ok(0)
}

fn lines(ledger: &Ledger) -> Vec<String> {
    let ms = |us: u64| format!("{}.{:03} ms", us / 1000, us % 1000);
    let mut lines = Vec::new();
    for (index, round) in (1..).zip(&ledger.rounds) {
        let held = match round.throttle {
            0 => String::new(),
            percent => format!(", vCPUs held back {percent} %"),
        };
        lines.push(format!(
            "round {index:2}: {:8} KiB in {}, {} KiB written meanwhile{held}",
            round.bytes >> 10,
            ms(round.micros),
            round.written >> 10
        ));
    }
    lines.push(format!(
        "sent {} KiB in {}",
        ledger.bytes >> 10,
        ms(ledger.total_us)
    ));
    if let Some(after) = ledger.postcopy {
        lines.push(format!(
            "{} KiB of it went after the domain in {}, {} pages because they were asked for",
            after.bytes >> 10,
            ms(after.micros),
            after.asked
        ));
    }
    if !ledger.encrypted {
        lines.push("Warning: all of it went in the clear; --ssl encrypts it.".to_owned());
    }
    lines.push(format!(
        "stood still for {}: stopping {}, last memory {}, state {}, start {}",
        ms(ledger.downtime_us()),
        ms(ledger.stop_us),
        ms(ledger.last_us),
        ms(ledger.state_us),
        ms(ledger.start_us)
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_xend_api::migrate::{Postcopy, Round};

    #[test]
    fn ledger_names_each_round_and_the_parts_of_the_downtime() {
        let ledger = Ledger {
            rounds: [0, 30]
                .map(|throttle| Round {
                    bytes: 2048,
                    micros: 1500,
                    written: 4096,
                    throttle,
                })
                .to_vec(),
            bytes: 4096,
            stop_us: 1000,
            last_us: 2000,
            state_us: 3000,
            start_us: 4001,
            total_us: 12_000,
            paused: false,
            encrypted: false,
            postcopy: Some(Postcopy {
                bytes: 8192,
                asked: 1,
                micros: 2500,
            }),
        };
        let text = lines(&ledger).join("\n");
        assert!(
            text.contains("round  1:        2 KiB in 1.500 ms, 4 KiB written meanwhile\n"),
            "{text}"
        );
        assert!(text.contains("meanwhile, vCPUs held back 30 %\n"), "{text}");
        assert!(text.contains("stood still for 10.001 ms"), "{text}");
        assert!(text.contains("in the clear"), "{text}");
        assert!(
            text.contains("8 KiB of it went after the domain in 2.500 ms, 1 pages"),
            "{text}"
        );
        let encrypted = Ledger {
            encrypted: true,
            ..ledger
        };
        assert!(!lines(&encrypted).join("\n").contains("in the clear"));
    }
}
