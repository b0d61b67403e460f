//! The daemon as a process: pid file, background start, limits.
//!
//! ```text
//!   parent                              child (same program, own session)
//!     spawn --------------------------->  lock pid file, bind, listen
//!     read one line from its stdout <---  "ready PID"
//!     exit 0                              stdio -> /dev/null, serve
//!     or: stdout closes, exit 1           its error went to our stderr
//! ```
//!
//! Starting the same program anew instead of forking keeps this free of
//! unsafe code; the caller cannot tell the difference.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use rustix::fs::{flock, FlockOperation};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use crate::options::{Options, ANNOUNCE};

/// How long the lock of a daemon that has died may stay.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pid file, locked for as long as the daemon lives.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    locked: File,
}

impl PidFile {
    /// Locks and fills the file; fails if another daemon holds it.
    pub fn take(path: &Path) -> anyhow::Result<PidFile> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let shown = path.display();
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .with_context(|| format!("cannot open the pid file {shown}"))?;
        let deadline = Instant::now() + PATIENCE;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.seek(SeekFrom::Start(0))?;
            (&mut file).take(32).read_to_string(&mut holder).ok();
            if is_alive(holder.trim()) || Instant::now() > deadline {
                bail!(
                    "another xenstored (pid {}) holds {shown}; stop it first",
                    holder.trim()
                );
            }
            // It has died, but the lock is not free yet: a child that it was
            // about to start, or the kernel, still holds the descriptor.
            std::thread::sleep(Duration::from_millis(2));
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(PidFile {
            path: path.to_owned(),
            locked: file,
        })
    }

    /// The file as a daemon of before has locked it.
    pub fn inherited(path: &Path, locked: OwnedFd) -> PidFile {
        PidFile {
            path: path.to_owned(),
            locked: locked.into(),
        }
    }

    /// The descriptor that holds the lock.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.locked.as_fd()
    }

    /// Removes the file before the lock goes.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether this is the number of a living process. One that has ended and was
/// not waited for is not alive.
fn is_alive(pid: &str) -> bool {
    let pid = pid.parse::<u32>().ok();
    let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    let Some(status) = status else {
        return false;
    };
    let state = status
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Starts the daemon and returns once its sockets accept connections.
pub fn start_in_background(options: &Options) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find my own program file")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg(ANNOUNCE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the daemon")?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("the daemon has no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    match line.trim().strip_prefix("ready ") {
        Some(pid) => {
            if options.output_pid {
                println!("{pid}");
            }
            Ok(())
        }
        None => {
            let status = child.wait()?;
            // The daemon has said on standard error what was wrong.
            bail!("the daemon did not start ({status})");
        }
    }
}

/// Tells the parent that the sockets accept, and lets go of the terminal.
pub fn announce_ready() -> anyhow::Result<()> {
    // Fails only for a group leader, which has a session to itself already.
    let _ = rustix::process::setsid();
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    std::env::set_current_dir("/")?;
    let mut out = std::io::stdout();
    writeln!(out, "ready {}", std::process::id())?;
    out.flush()?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// A thousand domains need more descriptors than the usual soft limit.
pub fn raise_descriptor_limit() {
    let now = getrlimit(Resource::Nofile);
    // Failing leaves the soft limit, which accept() copes with.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}
