//! `CONTROL` (once `DEBUG`): commands for the daemon itself, as
//! `xenstore-control` sends them. A command that there is not answers `EINVAL`
//! and is counted.

use std::fmt::Write as _;

use super::{Call, ConnId, Server, Sink, OK};
use crate::perms::parse_domid;
use crate::quota::Quota;
use crate::wire::{Header, Op, PAYLOAD_MAX};
use crate::Errno;

const HELP: &str = "check\n\
help\n\
live-update\t-f <file>|-c <options>|-s [-t <seconds>] [-F]|-a\n\
log\ton|off\n\
logfile\t<file>\n\
memreport\t[<file>]\n\
print\t<string>\n\
quota\t[set <name> <val>|<domid>]\n\
quota-soft\t[set <name> <val>]\n";

/// What a `CONTROL` command wants of the daemon around the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Log to this file from now on.
    LogTo(&'a str),
    /// Append this text to that file.
    Report {
        /// Where to.
        file: &'a str,
        /// What.
        text: &'a str,
    },
    /// Go on as another program. That one answers the request of `conn`.
    Upgrade {
        /// The program's file.
        program: &'a str,
        /// Its options; `None` for those of now.
        options: Option<&'a str>,
        /// Who asked.
        conn: ConnId,
        /// The request.
        header: Header,
    },
}

/// An upgrade that is being prepared (`live-update -f`, `-c`).
#[derive(Clone, Debug, Default)]
pub(super) struct Upgrade {
    program: String,
    options: Option<String>,
}

/// A request as the log shows it while tracing is on.
pub(super) fn traced(call: &Call<'_>) -> String {
    let op = Op::from_raw(call.header.kind).map_or("unknown", Op::name);
    let bytes = call.payload.iter().take(160);
    let payload: String = bytes
        .map(|b| match *b {
            0 => ' ',
            b if b.is_ascii_graphic() => char::from(b),
            _ => '?',
        })
        .collect();
    let tx = call.header.tx_id;
    format!("request of {:?}: {op} tx {tx}: {payload}", call.kind)
}

impl Server {
    pub(super) fn control(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        call.privileged()?;
        let strings = crate::wire::strings(call.payload).ok_or(Errno::EINVAL)?;
        let words: Vec<&str> = strings
            .map(std::str::from_utf8)
            .collect::<Result<_, _>>()
            .map_err(|_| Errno::EINVAL)?;
        match words[..] {
            ["check"] => {
                let checked = self.store.check();
                sink.log(&format!(
                    "control: check: {}",
                    if checked.is_ok() {
                        "consistent"
                    } else {
                        "INCONSISTENT"
                    }
                ));
                checked?;
                self.reply(&call, &[OK], sink);
            }
            ["help"] => self.text(&call, HELP.to_owned(), sink),
            ["log", switch @ ("on" | "off")] => {
                self.tracing = switch == "on";
                self.reply(&call, &[OK], sink);
            }
            ["logfile", file] => self.ask_daemon(&call, Task::LogTo(file), sink),
            ["live-update", ref words @ ..] => self.live_update(&call, words, sink)?,
            ["memreport", file] => {
                let text = self.report(sink);
                self.ask_daemon(&call, Task::Report { file, text: &text }, sink);
            }
            ["memreport"] => {
                let report = self.report(sink);
                self.text(&call, report, sink);
            }
            ["print", text] => {
                let shown: String = text
                    .chars()
                    .take(256)
                    .map(|c| if c.is_control() { '?' } else { c })
                    .collect();
                sink.log(&format!("control: print: {shown}"));
                self.reply(&call, &[OK], sink);
            }
            ["quota"] => {
                let list = shown("Quota settings:\n", &self.quota.list());
                self.text(&call, list, sink);
            }
            ["quota-soft"] => {
                let mut list = self.soft.list();
                list.retain(|(name, _)| Quota::SOFT.contains(name));
                self.text(&call, shown("Soft quota settings:\n", &list), sink);
            }
            ["quota-soft", "set", name, value] => {
                if !Quota::SOFT.contains(&name) {
                    return Err(Errno::EINVAL);
                }
                let value = value.parse().map_err(|_| Errno::EINVAL)?;
                self.soft.set(name, value)?;
                self.reply(&call, &[OK], sink);
            }
            ["quota", domid] => {
                let report = self.domain_report(domid)?;
                self.text(&call, report, sink);
            }
            ["quota", "set", name, value] => {
                let value = value.parse().map_err(|_| Errno::EINVAL)?;
                self.quota.set(name, value)?;
                self.reply(&call, &[OK], sink);
            }
            ["check" | "help" | "log" | "logfile" | "memreport" | "print" | "quota"
            | "quota-soft", ..] => return Err(Errno::EINVAL),
            _ => {
                self.counters.unknown_commands += 1;
                return Err(Errno::EINVAL);
            }
        }
        Ok(())
    }

    fn ask_daemon(&self, call: &Call<'_>, task: Task<'_>, sink: &mut dyn Sink) {
        match sink.task(task) {
            Ok(()) => self.reply(call, &[OK], sink),
            Err(why) => self.text(call, why, sink),
        }
    }

    /// `live-update`: program and options are named first, one request each,
    /// then `-s` starts. What is wrong is said in the reply, as Xen's daemon does.
    /// Open transactions move along, so there is nothing to wait for (`-t`, `-F`).
    fn live_update(
        &mut self,
        call: &Call<'_>,
        words: &[&str],
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        match *words {
            ["-f", program] => {
                let options = self.upgrade.take().and_then(|u| u.options);
                let program = program.to_owned();
                self.upgrade = Some(Upgrade { program, options });
                self.reply(call, &[OK], sink);
            }
            ["-c", options] => match &mut self.upgrade {
                Some(upgrade) => {
                    upgrade.options = Some(options.to_owned());
                    self.reply(call, &[OK], sink);
                }
                None => self.text(call, "Not in live-update session.".to_owned(), sink),
            },
            ["-a"] => {
                self.upgrade = None;
                self.reply(call, &[OK], sink);
            }
            ["-s", ref more @ ..] => {
                let known = match more {
                    [] | ["-F"] => true,
                    ["-t", seconds] | ["-t", seconds, "-F"] | ["-F", "-t", seconds] => {
                        seconds.parse::<u32>().is_ok()
                    }
                    _ => false,
                };
                if !known {
                    return Err(Errno::EINVAL);
                }
                let Some(upgrade) = self.upgrade.take() else {
                    self.text(call, "Not in live-update session.".to_owned(), sink);
                    return Ok(());
                };
                let task = Task::Upgrade {
                    program: &upgrade.program,
                    options: upgrade.options.as_deref(),
                    conn: call.conn,
                    header: call.header,
                };
                if let Err(why) = sink.task(task) {
                    self.text(call, why, sink);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn text(&self, call: &Call<'_>, mut text: String, sink: &mut dyn Sink) {
        let mut end = text.len().min(PAYLOAD_MAX - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('\0');
        self.reply(call, &[text.as_bytes()], sink);
    }

    fn report(&self, sink: &dyn Sink) -> String {
        let mut out = String::new();
        let connections = self.slots.iter().filter(|s| s.conn.is_some()).count();
        let open = self
            .slots
            .iter()
            .filter_map(|s| s.conn.as_ref())
            .map(|c| c.transactions.len());
        let nodes: i64 = self.store.holdings().iter().map(|(_, n)| n).sum();
        let rows = [
            ("nodes", nodes as u64),
            ("domains", self.domains.len() as u64),
            ("connections", connections as u64),
            ("watches", self.watches.total() as u64),
            ("transactions", open.sum::<usize>() as u64),
            ("events sent", self.counters.events),
            ("conflicts", self.counters.conflicts),
            ("unknown operations", self.counters.unknown_operations),
            ("unknown commands", self.counters.unknown_commands),
        ];
        for (name, count) in rows.into_iter().chain(sink.figures()) {
            let _ = writeln!(out, "{name:<20}: {count}");
        }
        for (op, count) in &self.counters.requests {
            let _ = writeln!(out, "request {:<12}: {count}", op.name());
        }
        for (name, count) in &self.counters.errors {
            let _ = writeln!(out, "error {name:<14}: {count}");
        }
        out
    }

    fn domain_report(&self, domid: &str) -> Result<String, Errno> {
        let id = parse_domid(domid.as_bytes()).ok_or(Errno::EINVAL)?;
        if id != 0 && !self.domains.contains_key(&id) {
            return Err(Errno::ENOENT);
        }
        let conn = self.guests.get(&id).copied();
        let watches = conn.map_or(0, |c| self.watches.count(c));
        let open = conn
            .and_then(|c| self.conn(c))
            .map_or(0, |c| c.transactions.len());
        let nodes = self.store.holdings().of(id);
        Ok(format!(
            "Domain {id}:\n{:<16}: {nodes:8}\n{:<16}: {watches:8}\n{:<16}: {open:8}\n",
            "nodes", "watches", "transactions"
        ))
    }
}

fn shown(title: &str, list: &[(&str, u32)]) -> String {
    let mut out = title.to_owned();
    for (name, value) in list {
        let _ = if *value == u32::MAX {
            writeln!(out, "{name:<16}: {:>8}", "none")
        } else {
            writeln!(out, "{name:<16}: {value:8}")
        };
    }
    out
}
