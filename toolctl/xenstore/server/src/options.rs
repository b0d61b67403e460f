//! Command line. The short names are those of Xen's C daemon, so that init
//! scripts written for it go on working.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use noxen_xenstore::locations;
use noxen_xenstore::quota::Quota;

use crate::{handover, polling};

pub const HELP: &str = "\
Usage: xenstored [options]

  -N, --foreground, --no-fork  stay in the foreground, log to standard error
  -F, --pid-file FILE          where the daemon's pid goes (default /var/run/xenstore.pid)
  -P, --output-pid             print the daemon's pid
  -T, --log-file FILE          where the log goes (default /var/log/xen/xenstored.log)
  -E, --entry-nb N             nodes that one domain may own
  -S, --entry-size N           bytes in one node's value
  -W, --watch-nb N             watches that one domain may have
  -t, --transaction N          transactions that one domain may have open
  -A, --perm-nb N              permission entries per node
  -Q, --quota NAME=N           any quota by name (see xenstore-control quota)
  -q, --quota-soft NAME=N      the same as a limit that only warns: nodes, watches, transactions
      --poll-us N              look for the next request for at most N us before sleeping (default 0:
                               never; at most 1000)
      --fresh                  forget what a daemon of before has left to go on from
  -D, --no-domain-init         accepted: there is no domain 0 ring to set up
  -I, --internal-db [on]       accepted: nodes are always in memory
  -R, --no-recovery, -V, --verbose  accepted
  -h, --help                   this text
      --version                the version

Sockets: $XENSTORED_RUNDIR or /var/run/xenstored. NOXEN_ROOT goes in front of every default.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    Help,
    Version,
    /// Whether the state on standard input could be taken over.
    CheckTakeOver,
    Run(Options),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Stay attached to the terminal.
    pub foreground: bool,
    /// Say "ready" on standard output once the sockets accept, then let go of
    /// the terminal: set by the parent that starts the daemon.
    pub announce: bool,
    /// Take the place of the daemon that has become this program.
    pub take_over: bool,
    /// Print the pid.
    pub output_pid: bool,
    /// Do not go on from the state that is there.
    pub fresh: bool,
    pub pid_file: PathBuf,
    /// `None`: standard error.
    pub log_file: Option<PathBuf>,
    pub quota: Quota,
    /// Limits that only warn.
    pub soft_quota: Quota,
    /// How long to look for the next request at most before going to sleep.
    pub poll_limit: Duration,
}

/// Name of the private switch behind [`Options::announce`].
pub const ANNOUNCE: &str = "--announce-ready";

pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    let mut options = Options {
        foreground: false,
        announce: false,
        take_over: false,
        output_pid: false,
        fresh: false,
        pid_file: locations::pid_file(),
        log_file: None,
        quota: Quota::GUEST,
        soft_quota: Quota::UNLIMITED,
        poll_limit: polling::DEFAULT_LIMIT,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (name, inline) = split(&arg);
        let mut value = || {
            let next = inline.clone().or_else(|| args.next());
            next.ok_or_else(|| format!("option {name} needs a value; see --help"))
        };
        match name.as_str() {
            "-h" | "-H" | "--help" => return Ok(Wish::Help),
            "--version" => return Ok(Wish::Version),
            "-N" | "--foreground" | "--no-fork" => options.foreground = true,
            ANNOUNCE => (options.foreground, options.announce) = (true, true),
            handover::TAKE_OVER => (options.foreground, options.take_over) = (true, true),
            handover::CHECK => return Ok(Wish::CheckTakeOver),
            "--fresh" => options.fresh = true,
            "-P" | "--output-pid" => options.output_pid = true,
            "-F" | "--pid-file" => options.pid_file = value()?.into(),
            "-T" | "--log-file" | "--trace-file" => options.log_file = Some(value()?.into()),
            "-E" | "--entry-nb" => options.quota.nodes = number(&name, &value()?)?,
            "-S" | "--entry-size" => options.quota.value_bytes = number(&name, &value()?)?,
            "-W" | "--watch-nb" => options.quota.watches = number(&name, &value()?)?,
            "-t" | "--transaction" => options.quota.transactions = number(&name, &value()?)?,
            "-A" | "--perm-nb" => options.quota.perms = number(&name, &value()?)?,
            "-Q" | "--quota" => set_quota(&mut options.quota, &value()?)?,
            "-q" | "--quota-soft" => {
                let mut soft = options.soft_quota;
                set_quota(&mut soft, &value()?)?;
                let hard = |q: Quota| {
                    q.list()
                        .into_iter()
                        .filter(|(n, _)| !Quota::SOFT.contains(n))
                };
                if !hard(soft).eq(hard(options.soft_quota)) {
                    return Err(format!("only {} can be soft", Quota::SOFT.join(", ")));
                }
                options.soft_quota = soft;
            }
            "--poll-us" => {
                let us = number(&name, &value()?)?;
                options.poll_limit = Duration::from_micros(us.into());
                if options.poll_limit > polling::GREATEST_LIMIT {
                    return Err(format!(
                        "option {name} needs a number up to 1000, found {us}"
                    ));
                }
            }
            "-I" | "--internal-db" if inline.as_deref().is_none_or(|v| v == "on") => {}
            "-D" | "--no-domain-init" | "-R" | "--no-recovery" | "-V" | "--verbose" => {}
            _ => return Err(format!("there is no option {name}; see --help")),
        }
    }
    if options.log_file.is_none() && (!options.foreground || options.announce) {
        options.log_file = Some(locations::log_file());
    }
    Ok(Wish::Run(options))
}

/// `--name=value` in its two halves.
fn split(arg: &OsStr) -> (String, Option<OsString>) {
    let text = arg.to_string_lossy().into_owned();
    match text.split_once('=') {
        Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.into())),
        _ => (text, None),
    }
}

fn number(name: &str, value: &OsStr) -> Result<u32, String> {
    let text = value.to_string_lossy();
    text.parse()
        .map_err(|_| format!("option {name} needs a number, found {text:?}"))
}

fn set_quota(quota: &mut Quota, value: &OsStr) -> Result<(), String> {
    let text = value.to_string_lossy();
    let (name, count) = text
        .split_once('=')
        .ok_or_else(|| format!("--quota needs NAME=N, found {text:?}"))?;
    let count = number("--quota", OsStr::new(count))?;
    quota.set(name, count).map_err(|_| {
        let names: Vec<_> = quota.list().iter().map(|(n, _)| *n).collect();
        format!("there is no quota {name:?}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Options, String> {
        match parse(args.iter().map(OsString::from))? {
            Wish::Run(options) => Ok(options),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn parse_c_daemons_switches_are_understood() {
        let o = run(&[
            "-N",
            "-F",
            "/x/pid",
            "-W",
            "7",
            "--quota",
            "outstanding=9",
            "-R",
            "-q",
            "nodes=2",
            "--entry-nb=3",
            "--poll-us=0",
        ])
        .unwrap();
        assert!(o.foreground && o.log_file.is_none());
        assert_eq!(o.pid_file, PathBuf::from("/x/pid"));
        assert_eq!(
            o.quota,
            Quota {
                watches: 7,
                outstanding_bytes: 9,
                nodes: 3,
                ..Quota::GUEST
            }
        );
        assert!(o.poll_limit.is_zero());
        assert_eq!(
            o.soft_quota,
            Quota {
                nodes: 2,
                ..Quota::UNLIMITED
            }
        );
    }

    #[test]
    fn parse_mistakes_get_one_line_that_names_them() {
        for (args, part) in [
            (&["--bogus"][..], "--bogus"),
            (&["-F"], "-F needs a value"),
            (&["-W", "many"], "\"many\""),
            (&["-Q", "nodes"], "NAME=N"),
            (&["-Q", "bogus=1"], "nodes, size"),
            (&["-q", "size=1"], "only nodes, watches, transactions"),
            (&["--internal-db=off"], "--internal-db"),
            (&["--poll-us", "1001"], "up to 1000, found 1001"),
        ] {
            let line = run(args).unwrap_err();
            assert!(line.contains(part) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn parse_background_logs_to_the_file() {
        assert!(run(&[]).unwrap().log_file.is_some());
        assert!(run(&[ANNOUNCE]).unwrap().log_file.is_some());
    }
}
