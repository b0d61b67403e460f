//! `CONTROL` (once `DEBUG`): commands for the daemon itself, as
//! `xenstore-control` sends them. A command that there is not answers `EINVAL`
//! and is counted.

use std::fmt::Write as _;

use super::{Call, Server, Sink, OK};
use crate::perms::parse_domid;
use crate::wire::PAYLOAD_MAX;
use crate::Errno;

const HELP: &str = "check\n\
help\n\
log\ton|off\n\
memreport\n\
print\t<string>\n\
quota\t[set <name> <val>|<domid>]\n";

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
            // Requests are not traced one by one; the switch is accepted.
            ["log", "on" | "off"] => self.reply(&call, &[OK], sink),
            ["memreport"] => {
                let report = self.report();
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
                let mut out = "Quota settings:\n".to_owned();
                for (name, value) in self.quota.list() {
                    let _ = writeln!(out, "{name:<16}: {value:8}");
                }
                self.text(&call, out, sink);
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
            ["check" | "help" | "log" | "memreport" | "print" | "quota", ..] => {
                return Err(Errno::EINVAL)
            }
            _ => {
                self.counters.unknown_commands += 1;
                return Err(Errno::EINVAL);
            }
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

    fn report(&self) -> String {
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
        for (name, count) in rows {
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
