//! Listening sockets that systemd (or systemd-socket-activate) made before it started the daemon.
//!
//! ```text
//!   LISTEN_PID is ours? ── as many as there are paths? ── each a listening unix socket on one of the paths ── listeners
//!      no: none passed       no: an error that says what NAME.socket must hold
//! ```
#![allow(unsafe_code)] // Descriptors arrive as numbers in the environment.

use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::net::AddressFamily;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether this process was given sockets. It remains true for a program that it becomes by `exec`.
pub fn happened() -> bool {
    let pid = std::env::var("LISTEN_PID").ok();
    pid.and_then(|pid| pid.parse().ok()) == Some(std::process::id())
}

/// The sockets passed for `paths`, in their order; none when none were passed. Their files belong to systemd. `unit`
/// is the socket unit's name, for errors. To be called once, before anything else opens files.
pub fn take(paths: &[PathBuf], unit: &str) -> Result<Option<Vec<UnixListener>>, String> {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    let fds = sd_notify::listen_fds()
        .map_err(|e: io::Error| format!("what systemd passed cannot be used: {e}"))?;
    let fds = fds.map(|fd| {
        // SAFETY: systemd's protocol gives this process the descriptor, `listen_fds` has found it open, and TAKEN
        // keeps it from having a second owner. There is no safe way to own an inherited descriptor.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    let fds: Vec<OwnedFd> = fds.collect();
    match fds.len() {
        0 => Ok(None),
        _ => sorted(fds, paths, unit).map(Some),
    }
}

/// The listeners in the order of `paths`.
fn sorted(fds: Vec<OwnedFd>, paths: &[PathBuf], unit: &str) -> Result<Vec<UnixListener>, String> {
    let wanted = || {
        let lines = paths
            .iter()
            .map(|path| format!("ListenStream={}", path.display()));
        lines.collect::<Vec<_>>().join(", ")
    };
    if fds.len() != paths.len() {
        return Err(format!(
            "systemd passed {} sockets, but {} are needed; give {unit} {}",
            fds.len(),
            paths.len(),
            wanted()
        ));
    }
    let mut found: Vec<Option<UnixListener>> = paths.iter().map(|_| None).collect();
    for fd in fds {
        let listens = socket_domain(fd.as_fd()).is_ok_and(|family| family == AddressFamily::UNIX)
            && socket_acceptconn(fd.as_fd()).unwrap_or(false);
        if !listens {
            return Err(format!(
                "systemd passed something that is no listening unix socket; give {unit} {}",
                wanted()
            ));
        }
        let listener = UnixListener::from(fd);
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let bound = address.as_pathname().unwrap_or(Path::new(""));
        let at = paths.iter().position(|path| same(bound, path));
        match at.and_then(|at| found.get_mut(at)) {
            Some(slot @ None) => *slot = Some(listener),
            _ => {
                return Err(format!(
                    "systemd passed the socket {}, which nobody looks for; change ListenStream= of {unit} to {}",
                    bound.display(),
                    wanted()
                ))
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// Whether two names are of one file: /var/run is a link to /run.
fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn bind(path: &Path) -> OwnedFd {
        UnixListener::bind(path).unwrap().into()
    }

    #[test]
    fn listeners_are_found_by_any_name_of_theirs_whatever_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("run"), dir.path().join("var-run"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("run", &link).unwrap();
        let fds = vec![bind(&real.join("b")), bind(&real.join("a"))];
        let paths = [link.join("a"), link.join("b")];
        let found = sorted(fds, &paths, "x.socket").unwrap();
        for (listener, name) in found.iter().zip(["a", "b"]) {
            let address = listener.local_addr().unwrap();
            assert_eq!(address.as_pathname(), Some(&*real.join(name)));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let paths = [at("a")];
        let refused = |fds| sorted(fds, &paths, "x.socket").unwrap_err();
        let error = refused(vec![bind(&at("other"))]);
        assert!(
            error.contains("change ListenStream= of x.socket"),
            "{error}"
        );
        let error = refused(vec![File::open("/dev/null").unwrap().into()]);
        assert!(error.contains("no listening unix socket"), "{error}");
        let error = refused(vec![bind(&at("a")), bind(&at("b"))]);
        assert!(
            error.contains("2 sockets, but 1 are needed; give x.socket ListenStream="),
            "{error}"
        );
        let twice = vec![bind(&at("c")), bind(&at("d"))];
        let error = sorted(twice, &[at("c"), at("c")], "x.socket").unwrap_err();
        assert!(error.contains("which nobody looks for"), "{error}");
    }
}
