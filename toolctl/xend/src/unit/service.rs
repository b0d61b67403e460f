//! `noxen@DOMID.service`: systemd starts the process, xend hands over what it is to be.
//!
//! ```text
//!   xend                                          systemd
//!     run directory/start.sock: listen
//!     systemctl start noxen@N  ------------------>  exec `xend run-domain N`
//!     accept, pid by SO_PEERCRED -> pid file          connect
//!     one line + descriptors (SCM_RIGHTS) --------->  descriptors to the numbers that the line names
//!     pidfd                                           exec noxen-vmm: the same process, the unit's main one
//!
//!   systemctl stop noxen@N: `xend stop-domain N` asks xend for the guest's shutdown and waits; TimeoutStopSec ends that
//! ```
//! The process stands still until it has its line, so its id cannot become another's before xend has a pidfd. Should
//! xend die before that, the process finds the connection closed and ends: nothing half-made is left.

use super::{properties, told, Start};
use crate::process::{self, Process};
use crate::{atomic, cgroup, warning};
use noxen_control::fds::{receive, send_with_fds, FdQueue};
use noxen_control::framing::LineBuffer;
use noxen_systemd::PRIVATE_VARIABLES;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, Request, ShutdownKind};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The installed unit.
pub const TEMPLATE: &str = "noxen@.service";
/// Where systemd keeps what `systemctl set-property --runtime` has set.
const PROPERTIES: &str = "/run/systemd/system.control";
/// Commands of `xend` that this unit runs: the program's first word.
pub const COMMANDS: [&str; 2] = ["run-domain", "stop-domain"];
/// How long the process that systemd has started may take to ask what it is to be.
const CONNECT: Duration = Duration::from_secs(30);
/// How long xend may take to say what the process is to be.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest line that a process is told, bytes: an environment may be long.
const LINE: usize = 1 << 20;
/// How long a stop may wait for the guest if systemd lets it.
const STOP: Duration = Duration::from_secs(24 * 3600);

/// The unit of a domain.
pub fn unit(domid: u32) -> String {
    format!("noxen@{domid}.service")
}

/// How services of domains are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    control: PathBuf,
    run_dir: PathBuf,
}

/// What a process is told to become.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Orders {
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    cpus: Option<Vec<u32>>,
    /// Numbers that the descriptors get, in their order. One more descriptor follows: standard output and error.
    numbers: Vec<i32>,
    /// The domain's name, for `systemctl status`.
    name: String,
}

fn socket(run_dir: &Path, domid: u32) -> PathBuf {
    run_dir.join(domid.to_string()).join("start.sock")
}

impl Services {
    /// By this `systemctl`, for the domains of the node at `paths`.
    pub fn new(control: impl Into<PathBuf>, paths: &Paths) -> Services {
        Services {
            control: control.into(),
            run_dir: paths.domains_run_dir(),
        }
    }

    /// The `systemctl`.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// Has systemd start the unit and hands over what its process is to be.
    pub fn start(&self, start: &Start<'_>) -> io::Result<Process> {
        let path = socket(&self.run_dir, start.domid);
        let listener = UnixListener::bind(&path)?;
        let started = self.start_at(&listener, start);
        if let Err(e) = atomic::remove(&path) {
            // It goes with the domain's directory.
            warning!("{}: {e}", path.display());
        }
        started
    }

    fn start_at(&self, listener: &UnixListener, start: &Start<'_>) -> io::Result<Process> {
        let unit = unit(start.domid);
        let mut command = Command::new(&self.control);
        command.args(["--no-ask-password", "--quiet", "start", &unit]);
        told(&mut command)?;
        let silent = || {
            let text = format!(
                "{unit} has been started and asks for nothing; see systemctl status {unit}"
            );
            io::Error::new(io::ErrorKind::TimedOut, text)
        };
        if !readable(listener, CONNECT)? {
            return Err(silent());
        }
        let (mut stream, _) = listener.accept()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
        let process = Process::adopt(pid, Process::start_of(pid)?)?;
        if start.share != (cgroup::DEFAULT_WEIGHT, 0) {
            let mut command = Command::new(&self.control);
            command.args(["set-property", "--runtime", &unit]);
            told(command.args(properties(start.share.0, start.share.1)))?;
        }
        atomic::write(start.pid_file, format!("{pid}\n").as_bytes(), 0o644)?;
        let mut line = serde_json::to_vec(&orders(start))?;
        line.push(b'\n');
        let mut fds: Vec<BorrowedFd<'_>> = start.inherit.to_vec();
        fds.push(start.output.as_fd());
        stream.set_write_timeout(Some(ANSWER))?;
        let sent = send_with_fds(&stream, &line, &fds)?;
        stream.write_all(&line[sent..])?;
        Ok(process)
    }

    /// Removes the properties that systemd keeps of a domain that has ended.
    pub fn forget(&self, domid: u32) -> io::Result<()> {
        let kept = Path::new(PROPERTIES).join(format!("{}.d", unit(domid)));
        if !kept.exists() {
            return Ok(());
        }
        // The unit is not loaded any more and no other of its name will be, so nothing has to be read again.
        let mut command = Command::new(&self.control);
        told(command.args(["--no-reload", "revert", &unit(domid)]))
    }
}

fn orders(start: &Start<'_>) -> Orders {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        (!PRIVATE_VARIABLES.contains(&name.as_str())).then_some((name, value))
    });
    Orders {
        program: start.program.to_owned(),
        args: start.args.to_vec(),
        environment: ours.collect(),
        cpus: start.affinity.map(<[u32]>::to_vec),
        numbers: start.inherit.iter().map(AsRawFd::as_raw_fd).collect(),
        name: start.name.replace(char::is_control, " "),
    }
}

fn readable(fd: impl AsFd, timeout: Duration) -> io::Result<bool> {
    let time = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// `xend run-domain N` and `xend stop-domain N`: what the unit runs.
pub fn command(paths: &Paths, words: &[String]) -> ExitCode {
    let done = match words {
        [verb, id] => match (verb.as_str(), id.parse::<u32>()) {
            ("run-domain", Ok(domid)) => {
                run(&paths.domains_run_dir(), domid).map(|never| match never {})
            }
            ("stop-domain", Ok(domid)) => stop(paths, domid),
            _ => Err(format!("{verb} {id}: not a domain's id")),
        },
        _ => Err(format!(
            "{} takes a domain's id; systemd runs it as noxen@ID.service",
            COMMANDS.join(", ")
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("xend: {line}");
            ExitCode::FAILURE
        }
    }
}

/// Asks xend what to be, and becomes that.
fn run(run_dir: &Path, domid: u32) -> Result<std::convert::Infallible, String> {
    let path = socket(run_dir, domid);
    let stream = UnixStream::connect(&path).map_err(|e| {
        let at = path.display();
        format!("no xend is making domain {domid} ({at}: {e}); domains are made by xm create, not by systemctl start")
    })?;
    let (orders, mut fds) = hear(&stream).map_err(|e| format!("domain {domid}: {e}"))?;
    drop(stream);
    let output = fds.pop().ok_or("xend sent no log")?;
    // Where there is no systemd to be told there is nobody to show it to either.
    let _ = noxen_systemd::status(&format!("Domain {}", orders.name));
    let mut command = Command::new(&orders.program);
    command
        .args(&orders.args)
        .env_clear()
        .envs(orders.environment);
    let program = orders.program.display().to_string();
    let error = process::become_program(process::Become {
        command,
        fds: fds.into_iter().zip(orders.numbers).collect(),
        output,
        cpus: orders.cpus,
    });
    Err(format!("domain {domid}: cannot become {program}: {error}"))
}

/// The line and its descriptors, as many as it says and the log.
fn hear(stream: &UnixStream) -> io::Result<(Orders, Vec<OwnedFd>)> {
    stream.set_read_timeout(Some(ANSWER))?;
    let (mut buffer, mut queue, mut bytes) =
        (LineBuffer::new(LINE), FdQueue::default(), vec![0; 64 << 10]);
    let line = loop {
        let n = receive(stream, &mut bytes, &mut queue)?;
        if n == 0 {
            return Err(io::Error::other(
                "xend has ended before it said what to run",
            ));
        }
        buffer.push(&bytes[..n]).map_err(io::Error::other)?;
        if let Some(line) = buffer.next_line() {
            break line;
        }
    };
    let orders: Orders = serde_json::from_slice(&line)?;
    let count = orders.numbers.len() + 1;
    let fds = queue.take(u32::try_from(count).unwrap_or(u32::MAX));
    let fds = fds.map_err(|there| {
        io::Error::other(format!("{there} descriptors came instead of {count}"))
    })?;
    Ok((orders, fds))
}

/// Has the guest shut down and waits until its monitor has ended; systemd says how long.
fn stop(paths: &Paths, domid: u32) -> Result<(), String> {
    // Without a main process the domain has ended by itself, which is the other reason for this to be run.
    let Some(pid) = std::env::var("MAINPID")
        .ok()
        .and_then(|pid| pid.parse().ok())
    else {
        return Ok(());
    };
    let process = Process::start_of(pid).and_then(|start| Process::adopt(pid, start));
    let Ok(process) = process else {
        return Ok(()); // It has ended meanwhile.
    };
    let request = Request::Shutdown {
        domain: domid.to_string(),
        kind: ShutdownKind::Poweroff,
    };
    let asked = Client::connect(paths).and_then(|mut client| client.ask_ok(&request));
    asked.map_err(|e| format!("domain {domid} is not asked to shut down: {e}"))?;
    process.wait(STOP);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn told_to(orders: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<(Orders, Vec<OwnedFd>)> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sent = send_with_fds(&ours, orders, fds).unwrap();
        (&ours).write_all(&orders[sent..]).unwrap();
        drop(ours);
        hear(&theirs)
    }

    #[test]
    fn orders_come_with_the_descriptors_that_they_name() {
        let null = File::open("/dev/null").unwrap();
        let start = Start {
            domid: 3,
            name: "web\n1",
            share: (256, 0),
            program: Path::new("/x/noxen-vmm"),
            args: &["--spec-fd".to_owned(), "7".into()],
            inherit: &[null.as_fd(), null.as_fd()],
            output: &null,
            affinity: Some(&[1]),
            pid_file: Path::new("/x/pid"),
        };
        let mut line = serde_json::to_vec(&orders(&start)).unwrap();
        line.push(b'\n');
        let (heard, fds) = told_to(&line, &[null.as_fd(); 3]).unwrap();
        assert_eq!((heard.name.as_str(), fds.len()), ("web 1", 3));
        assert_eq!(heard.numbers, [null.as_raw_fd(); 2]);
        assert_eq!(heard.cpus, Some(vec![1]));
        assert!(!heard.environment.iter().any(|(n, _)| n == "NOTIFY_SOCKET"));

        let few = told_to(&line, &[null.as_fd(); 2]).unwrap_err().to_string();
        assert_eq!(few, "2 descriptors came instead of 3");
        let cut = told_to(&line[..9], &[]).unwrap_err().to_string();
        assert!(cut.contains("ended before"), "{cut}");
        assert!(told_to(b"{}\n", &[]).is_err());
    }

    #[test]
    fn run_without_a_xend_that_makes_the_domain_says_what_to_do() {
        let dir = crate::testing::TempDir::new("unit");
        let Err(line) = run(dir.path(), 9);
        assert!(
            line.contains("no xend is making domain 9") && line.contains("xm create"),
            "{line}"
        );
    }
}
