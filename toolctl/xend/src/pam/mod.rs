//! Users of the Xen-API by PAM, as xend asked it: `(xen-api-server ((9363 pam)))`.
//!
//! ```text
//!   login_with_password(USER, PASSWORD) ──USER NUL PASSWORD──> a process of our own: xend pam-login
//!       libpam.so.0 is loaded: pam_start(SERVICE) ─ pam_authenticate ─ pam_acct_mgmt ─ pam_end ──> status 0, or 1 and a line
//! ```
//! The service is `xend` where /etc/pam.d has it, otherwise `login`, which is what xend asked. PAM's modules are foreign code that waits, may hang
//! and may crash, so they run in a process that has nothing of xend's and is ended when its time is up. libpam is loaded when it is needed: xend
//! runs on hosts without it.

mod library;

use crate::refusals::Refusals;
use noxen_xend_api::paths::Paths;
use noxen_xend_http::slot::Slot;
use noxen_xend_http::xenapi::Logins;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{pidfd_open, Pid, PidfdFlags};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::Duration;

/// The word by which xend starts itself for a login.
pub const COMMAND: &str = "pam-login";
/// Longest that modules may take; a wrong password alone takes them seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Logins that are looked at at once; who comes besides is refused.
const MOST: usize = 8;
/// Longest user and password together.
const LARGEST: u64 = 4096;

/// PAM of this host.
pub struct Pam {
    program: PathBuf,
    patience: Duration,
    under_way: Arc<AtomicUsize>,
    refusals: Refusals,
}

impl Pam {
    /// Asked by `program`, which is xend's own.
    pub fn new(program: PathBuf) -> Pam {
        Pam {
            program,
            patience: PATIENCE,
            under_way: Arc::default(),
            refusals: Refusals::default(),
        }
    }

    fn ask(&self, user: &str, password: &str) -> Result<(), String> {
        if user.contains('\0') || password.contains('\0') {
            return Err("a NUL in a user's name or password".into());
        }
        let slot = Slot::take(&self.under_way, MOST);
        match slot.is_free() {
            true => self.ask_process(user, password),
            false => Err(format!("{MOST} logins are looked at already")),
        }
    }

    fn ask_process(&self, user: &str, password: &str) -> Result<(), String> {
        let failed = |e: io::Error| format!("cannot ask PAM: {e}");
        let mut child = Command::new(&self.program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // A process that has ended already says why itself.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(format!("{user}\0{password}").as_bytes());
        }
        if !ends_within(&child, self.patience).map_err(failed)? {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("PAM took more than {} s", self.patience.as_secs()));
        }
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(stderr) = child.stderr.take() {
            // What cannot be read of a reason is not missed.
            let _ = stderr.take(LARGEST).read_to_string(&mut said);
        }
        match said.trim() {
            "" => Err(format!("the process that asked PAM ended with {status}")),
            line => Err(line.to_owned()),
        }
    }
}

impl Logins for Pam {
    fn admits(&self, user: &str, secret: &str) -> bool {
        match self.ask(user, secret) {
            Ok(()) => true,
            Err(why) => {
                self.refusals.note(user, &why);
                false
            }
        }
    }
}

fn ends_within(child: &Child, time: Duration) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    loop {
        match poll(&mut fds, Some(&time)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `xend pam-login`: is the password on standard input the user's? Status 0, or 1 and a line.
pub fn command(paths: &Paths) -> ExitCode {
    let mut words = Vec::new();
    let read = io::stdin().lock().take(LARGEST).read_to_end(&mut words);
    let outcome = match (read, words.iter().position(|byte| *byte == 0)) {
        (Ok(_), Some(at)) => {
            let (user, password) = words.split_at(at);
            let root = paths.root();
            let services = root.join("etc/pam.d");
            let service = match services.join("xend").is_file() {
                true => "xend",
                false => "login",
            };
            let services = (root != Path::new("/")).then_some(services);
            let password = password.get(1..).unwrap_or_default();
            library::check(services.as_deref(), service, user, password)
        }
        _ => Err("a user, a NUL and a password are expected on standard input".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("{line}");
            ExitCode::from(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    fn by(directory: &TempDir, script: &str) -> Pam {
        let program = directory.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Pam::new(program)
    }

    #[test]
    fn process_is_told_both_words_and_its_status_is_the_answer() {
        let directory = TempDir::new("pam");
        let pam = by(
            &directory,
            "[ \"$(tr '\\0' ' ')\" = 'amy secret' ] || { echo no >&2; exit 1; }",
        );
        assert_eq!(pam.ask("amy", "secret"), Ok(()));
        assert_eq!(pam.ask("amy", "other"), Err("no".into()));
        assert!(pam.ask("amy\0secret", "").is_err());
        assert!(!pam.admits("amy", ""));
    }

    #[test]
    fn module_that_hangs_or_dies_admits_nobody() {
        let directory = TempDir::new("pam");
        let mut pam = by(&directory, "kill -SEGV $$");
        let told = pam.ask("a", "b").unwrap_err();
        assert!(told.contains("signal: 11"), "{told}");
        pam = by(&directory, "exec sleep 600");
        pam.patience = Duration::from_millis(200);
        let before = Instant::now();
        assert_eq!(pam.ask("a", "b"), Err("PAM took more than 0 s".into()));
        assert!(before.elapsed() < Duration::from_secs(60));
        pam.under_way
            .store(MOST, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(
            pam.ask("a", "b"),
            Err("8 logins are looked at already".into())
        );
    }
}
