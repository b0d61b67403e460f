//! Where the daemon's sockets and files are.
//!
//! `NOXEN_ROOT` put in front of every path keeps a test or a second instance
//! to itself. For the main socket `XENSTORED_PATH` and `XENSTORED_RUNDIR` rank
//! before it, as in Xen's own client library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Puts `NOXEN_ROOT` (if set) in front of an absolute path.
pub fn rooted(path: &str) -> PathBuf {
    rooted_in(std::env::var_os("NOXEN_ROOT"), path)
}

fn rooted_in(root: Option<OsString>, path: &str) -> PathBuf {
    match root.filter(|r| !r.is_empty()) {
        Some(root) => Path::new(&root).join(path.trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}

/// The directory of the daemon's sockets: `/var/run/xenstored`.
pub fn run_dir() -> PathBuf {
    match std::env::var_os("XENSTORED_RUNDIR").filter(|d| !d.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => rooted("/var/run/xenstored"),
    }
}

/// The socket of the tools, with domain 0's rights.
pub fn socket() -> PathBuf {
    match std::env::var_os("XENSTORED_PATH").filter(|d| !d.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => run_dir().join("socket"),
    }
}

/// The socket whose connections may only read.
pub fn socket_read_only() -> PathBuf {
    run_dir().join("socket_ro")
}

/// The socket on which noxen-vmm connects in a guest's name.
pub fn domains_socket() -> PathBuf {
    run_dir().join("domains")
}

/// Where the daemon keeps what it needs to go on after it was killed. Like
/// the store itself this does not outlive the host's run.
pub fn state_dir() -> PathBuf {
    run_dir().join("state")
}

/// The daemon's pid file, `/var/run/xenstore.pid`.
pub fn pid_file() -> PathBuf {
    rooted("/var/run/xenstore.pid")
}

/// The daemon's log, `/var/log/xen/xenstored.log`.
pub fn log_file() -> PathBuf {
    rooted("/var/log/xen/xenstored.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooted_prefix_stands_in_front_of_the_whole_path() {
        assert_eq!(
            rooted_in(Some("/t/x".into()), "/var/run/a"),
            Path::new("/t/x/var/run/a")
        );
        assert_eq!(
            rooted_in(Some("".into()), "/var/run/a"),
            Path::new("/var/run/a")
        );
        assert_eq!(rooted_in(None, "/var/run/a"), Path::new("/var/run/a"));
    }
}
