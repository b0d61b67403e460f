//! The listening socket that systemd (or systemd-socket-activate) made before it started xend.
#![allow(unsafe_code)] // Descriptors arrive as numbers in the environment.

use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::net::AddressFamily;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The socket passed for `path`; none when none was passed. Its file belongs to systemd. To be called once, before
/// anything else opens files.
pub fn take(path: &Path) -> Result<Option<UnixListener>, String> {
    let passed = |e: io::Error| format!("what systemd passed cannot be used: {e}");
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    let mut fds = sd_notify::listen_fds().map_err(passed)?;
    let (Some(fd), more) = (fds.next(), fds.len()) else {
        return Ok(None);
    };
    if more > 0 {
        return Err(format!(
            "systemd passed {} sockets, but xend listens on one, {}; give xend.socket a single ListenStream=",
            more + 1,
            path.display()
        ));
    }
    // SAFETY: systemd's protocol gives this process the descriptor, `listen_fds` has found it open, and TAKEN keeps it
    // from having a second owner. There is no safe way to own an inherited descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    ours(fd, path).map(Some)
}

/// `fd` as a listener, if it is one on `path`.
fn ours(fd: OwnedFd, path: &Path) -> Result<UnixListener, String> {
    let listens = socket_domain(fd.as_fd()).is_ok_and(|family| family == AddressFamily::UNIX)
        && socket_acceptconn(fd.as_fd()).unwrap_or(false);
    if !listens {
        return Err(format!(
            "systemd passed something that is no listening unix socket; give xend.socket ListenStream={}",
            path.display()
        ));
    }
    let listener = UnixListener::from(fd);
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let bound = address.as_pathname().unwrap_or(Path::new(""));
    // By the file itself: /var/run is a link to /run.
    let same = |a: &Path, b: &Path| Some((a.canonicalize().ok()?, b.canonicalize().ok()?));
    if same(bound, path).is_none_or(|(a, b)| a != b) {
        return Err(format!(
            "systemd passed the socket {}, but toolctl looks for xend on {}; change ListenStream= of xend.socket",
            bound.display(),
            path.display()
        ));
    }
    listener.set_nonblocking(false).map_err(|e| e.to_string())?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::fs::File;

    #[test]
    fn listener_on_the_right_path_is_taken_by_any_of_its_names() {
        let dir = TempDir::new("activation");
        let (real, link) = (dir.path().join("run"), dir.path().join("var-run"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("run", &link).unwrap();
        let listener = UnixListener::bind(real.join("s")).unwrap();
        assert!(ours(listener.into(), &link.join("s")).is_ok());
    }

    #[test]
    fn anything_else_is_refused_with_what_to_do() {
        let dir = TempDir::new("activation");
        let path = dir.path().join("s");
        let other = UnixListener::bind(dir.path().join("other")).unwrap();
        let error = ours(other.into(), &path).unwrap_err();
        assert!(error.contains("change ListenStream="), "{error}");
        let file = File::open("/dev/null").unwrap();
        let error = ours(file.into(), &path).unwrap_err();
        assert!(error.contains("no listening unix socket"), "{error}");
    }
}
